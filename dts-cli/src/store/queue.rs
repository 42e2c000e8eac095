//! The order in which tasks are worked on, and the workers that do it.
//!
//! A task that is submitted gets the next number; the smallest number is the task whose turn it is. It keeps its number while
//! it waits, is validated and runs, so that a task whose worker died or was restarted has not lost its turn; it gives it up when
//! it rests by an operator's wish, ends or fails. A scheduled task gets its number when its time has come. Only that compares
//! times of day: a clock that is set back lets scheduled tasks wait longer and changes nothing else.
use dts_core::error::Result;
use dts_core::migration::State;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::lease::{lives_here, this_process};
use super::{SELECT_TASK, Store, Task, move_to, now, read_task};

/// Without watching it: how old the beat of a worker on another machine may be.
const BEAT_AGE_MAX_S: i64 = 30;

/// Returns whether a task in this state is still the queue's business, when it was before.
pub(super) fn keeps_place(state: State) -> bool {
    !matches!(
        state,
        State::Created
            | State::ValidationFailed
            | State::Scheduled
            | State::Paused
            | State::Failed
            | State::Stopped
            | State::Completed
    )
}

/// Returns a task's place in the queue, and how often in a row its workers died.
pub(super) fn place(transaction: &Transaction<'_>, task: &str) -> rusqlite::Result<(Option<i64>, i64)> {
    let sql = "SELECT queue_number, taken_over FROM task WHERE name = ?1";
    transaction.query_row(sql, [task], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Gives a task the place that it had.
pub(super) fn put_back(
    transaction: &Transaction<'_>,
    task: &str,
    place: i64,
    taken_over: i64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE task SET queue_number = ?2, taken_over = ?3 WHERE name = ?1";
    transaction.execute(sql, params![task, place, taken_over]).map(drop)
}

/// Gives a task the next number.
fn append(transaction: &Transaction<'_>, task: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE task SET queue_number = (SELECT COALESCE(MAX(queue_number), 0) + 1 FROM task) WHERE name = ?1";
    transaction.execute(sql, [task]).map(drop)
}

/// The presence of a worker. Taken back when dropped.
#[derive(Debug)]
pub(crate) struct WorkerEntry {
    store: Store,
    token: String,
}

impl Store {
    /// Puts a task into the queue, or into the schedule when its time lies ahead. Returns the state it has then.
    ///
    /// # Errors
    /// [`IllegalState`](dts_core::error::ErrorKind::IllegalState) in a state that does not allow it;
    /// [`File`](dts_core::error::ErrorKind::File) when the store cannot be written, as for all of these.
    pub(crate) fn enqueue(&mut self, task: &str, start_at: Option<Timestamp>, reason: &str) -> Result<State> {
        let ahead = start_at.filter(|time| *time > Timestamp::now());
        let next = if ahead.is_some() { State::Scheduled } else { State::Queued };
        self.advance(task, next, reason, None)?;
        if next == State::Queued {
            self.write(|transaction| append(transaction, task))?;
        }
        Ok(next)
    }

    /// Gives a task that its worker let go the place in the queue that it had.
    pub(crate) fn requeue(&mut self, task: &str, place: i64, reason: &str) -> Result<()> {
        self.advance(task, State::Queued, reason, None)?;
        self.write(|transaction| put_back(transaction, task, place, 0))
    }

    /// Lets scheduled tasks whose time has come join the queue, in the order of their times. Returns their names.
    pub(crate) fn admit_due(&mut self) -> Result<Vec<String>> {
        let mut due: Vec<(Timestamp, String)> = self
            .tasks()?
            .into_iter()
            .filter(|task| task.state == State::Scheduled)
            // Without a readable time there is nothing to wait for.
            .map(|task| (task.start_at.unwrap_or(Timestamp::MIN), task.name))
            .filter(|(time, _)| *time <= Timestamp::now())
            .collect();
        due.sort();
        let mut admitted = Vec::new();
        for (_, name) in due {
            let moved = self.write(|transaction| {
                let task =
                    transaction.query_row(&format!("{SELECT_TASK} WHERE name = ?1"), [&name], read_task)?;
                // Another worker may have been faster, or an operator.
                if task.state != State::Scheduled {
                    return Ok(false);
                }
                move_to(transaction, &name, (State::Scheduled, State::Queued), "its time has come", None)?;
                append(transaction, &name)?;
                Ok(true)
            })?;
            if moved {
                admitted.push(name);
            }
        }
        Ok(admitted)
    }

    /// Returns the tasks that wait for their turn, first to last.
    pub(crate) fn queue(&mut self) -> Result<Vec<Task>> {
        let mut waiting: Vec<Task> =
            self.tasks()?.into_iter().filter(|task| task.state == State::Queued).collect();
        waiting.sort_by_key(|task| task.queue_number.unwrap_or(i64::MAX));
        Ok(waiting)
    }

    /// Shows that a worker is there.
    pub(crate) fn enter_worker(&mut self) -> Result<WorkerEntry> {
        let (pid, started, host) = this_process();
        let token = format!("{host}-{pid}-{started}");
        self.write(|transaction| {
            let sql =
                "INSERT OR REPLACE INTO worker (token, pid, started, host, at) VALUES (?1, ?2, ?3, ?4, ?5)";
            transaction.execute(sql, params![token, pid, started, host, now()]).map(drop)
        })?;
        Ok(WorkerEntry { store: self.reopen()?, token })
    }

    /// Returns the process ids of the workers that live; those that do not are forgotten.
    pub(crate) fn workers(&mut self) -> Result<Vec<u32>> {
        self.write(|transaction| {
            let mut statement = transaction.prepare("SELECT token, pid, started, host, at FROM worker")?;
            let rows: Vec<(String, u32, i64, String, String)> = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let mut living = Vec::new();
            for (token, pid, started, host, at) in rows {
                let lives = lives_here(&host, pid, started).unwrap_or_else(|| {
                    let age = at.parse::<Timestamp>().map(|at| Timestamp::now().as_second() - at.as_second());
                    age.is_ok_and(|age| age.abs() < BEAT_AGE_MAX_S)
                });
                if lives {
                    living.push(pid);
                } else {
                    transaction.execute("DELETE FROM worker WHERE token = ?1", [token])?;
                }
            }
            Ok(living)
        })
    }

    /// Returns how many tasks stand before this one in the queue.
    pub(crate) fn before_in_queue(&self, task: &str) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM task WHERE state = 'queued' AND queue_number <
                   (SELECT queue_number FROM task WHERE name = ?1)";
        self.connection
            .query_row(sql, [task], |row| row.get(0))
            .optional()
            .map(Option::unwrap_or_default)
            .map_err(|error| self.failed(error))
    }
}

impl WorkerEntry {
    /// Shows that the worker is still there.
    ///
    /// # Errors
    /// [`File`](dts_core::error::ErrorKind::File) when the store cannot be written.
    pub(crate) fn beat(&mut self) -> Result<()> {
        let token = &self.token;
        self.store.write(|transaction| {
            transaction.execute("UPDATE worker SET at = ?2 WHERE token = ?1", params![token, now()]).map(drop)
        })
    }
}

impl Drop for WorkerEntry {
    fn drop(&mut self) {
        let token = &self.token;
        let gone = self
            .store
            .write(|transaction| transaction.execute("DELETE FROM worker WHERE token = ?1", [token]));
        if let Err(error) = gone {
            log::warn!("the worker's entry could not be removed: {error}");
        }
    }
}
