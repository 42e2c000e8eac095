//! The right to work on a task: at most one process has it.
//!
//! A lease names its process. On the same machine that process is looked for: it must exist and have started when the
//! lease says, so that a process id that was given out again is not mistaken for it. Of a process on another machine
//! (a shared home) only its beat can be seen, a number that it counts up every second; it is watched rather than
//! compared with a clock, so that clocks that differ or jump do no harm.
//!
//! A process whose lease was taken notices at its next beat and must stop.
use std::time::{Duration, Instant};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::stop::StopToken;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::request;
use super::{SELECT_TASK, Store, now, read_task};

/// How long the beat of a process on another machine is watched before it counts as dead.
const WATCH: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// Without watching, as for a list: how old the beat of another machine may be.
const BEAT_AGE_MAX_S: i64 = 30;

/// Who works on a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    token: String,
    /// Its process id.
    pub(crate) pid: u32,
    started: i64,
    /// Its machine.
    pub(crate) host: String,
    beat: i64,
    at: String,
}

impl Holder {
    /// Returns whether the process lives, as far as one look can tell.
    pub(crate) fn is_alive(&self) -> bool {
        match self.is_alive_here() {
            Some(alive) => alive,
            None => {
                let age =
                    self.at.parse::<Timestamp>().map(|at| Timestamp::now().as_second() - at.as_second());
                age.is_ok_and(|age| age.abs() < BEAT_AGE_MAX_S)
            }
        }
    }

    /// Returns whether the process lives, when it would be on this machine.
    fn is_alive_here(&self) -> Option<bool> {
        lives_here(&self.host, self.pid, self.started)
    }

    /// Returns whether this is the lease of that token.
    pub(super) fn has_token(&self, token: &str) -> bool {
        self.token == token
    }

    /// Returns whether this is the same lease, whatever its beat.
    pub(crate) fn is_same(&self, other: &Holder) -> bool {
        self.token == other.token
    }

    /// Returns the process in words, for example `process 4711 on db7`.
    pub(crate) fn in_words(&self) -> String {
        let place = if self.host == host() { String::new() } else { format!(" on {}", self.host) };
        format!("process {}{place}", self.pid)
    }
}

/// Returns whether a process of this machine lives; `None` for one of another machine.
pub(super) fn lives_here(on: &str, pid: u32, since: i64) -> Option<bool> {
    (on == host()).then(|| started(pid) == Some(since))
}

/// Returns the id, the start and the machine of this process.
pub(super) fn this_process() -> (u32, i64, String) {
    let pid = std::process::id();
    (pid, started(pid).unwrap_or(0), host())
}

/// The right to work on a task. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    task: String,
    token: String,
}

impl Store {
    /// Takes the right to work on a task; one of a dead process is taken over.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when a living process has it, with its id; [`ErrorKind::Interrupted`].
    pub(crate) fn take_lease(&mut self, task: &str, action: &str, stop: &StopToken) -> Result<Lease> {
        let (pid, started, host) = this_process();
        let token = format!("{host}-{pid}-{started}-{}", Timestamp::now().as_nanosecond());
        let watched_until = Instant::now() + WATCH;
        let mut first_beat = None;
        loop {
            let held_by = self.write(|transaction| {
                let holder = transaction.query_row(&format!("{SELECT_TASK} WHERE name = ?1"), [task], read_task)?.holder;
                if let Some(holder) = holder
                    && match holder.is_alive_here() {
                        Some(alive) => alive,
                        None => *first_beat.get_or_insert(holder.beat) != holder.beat || Instant::now() < watched_until,
                    }
                {
                    return Ok(Some(holder));
                }
                transaction.execute(
                    "UPDATE task SET lease_token = ?2, lease_pid = ?3, lease_started = ?4, lease_host = ?5, lease_beat = 0,
                     lease_at = ?6 WHERE name = ?1",
                    params![task, token, pid, started, host, now()],
                )?;
                // What the one before was doing for others, nobody does any more.
                request::abandon(transaction, task, &token)?;
                Ok(None)
            })?;
            match held_by {
                None => return Ok(Lease { store: self.reopen()?, task: task.to_owned(), token }),
                // Its beat goes on, or it is a process of this machine.
                Some(holder) if first_beat.is_none_or(|first| first != holder.beat) => {
                    return Err(self.refused(task, action, &holder));
                }
                Some(_) => stop.sleep(Duration::from_millis(500))?,
            }
        }
    }

    fn refused(&self, task: &str, action: &str, holder: &Holder) -> Error {
        Error::from(ErrorKind::IllegalState {
            action: action.to_owned(),
            state: format!("worked on by {}", holder.in_words()),
            allowed: format!("`dts status {task} --watch` shows what it does"),
        })
        .with_hint("Only one process may work on a task. End the other one with Ctrl-C or SIGTERM first; it resumes where it stood.")
    }
}

impl Lease {
    /// Returns what tells this lease from every other one.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Shows that this process lives.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when another process has taken the lease, because this one seemed dead.
    pub(crate) fn beat(&mut self) -> Result<()> {
        let (task, token) = (&self.task, &self.token);
        let kept = self.store.write(|transaction| {
            transaction.execute(
                "UPDATE task SET lease_beat = lease_beat + 1, lease_at = ?3 WHERE name = ?1 AND lease_token = ?2",
                params![task, token, now()],
            )
        })?;
        if kept == 1 {
            return Ok(());
        }
        let holder = self.store.find(&self.task)?.and_then(|task| task.holder);
        let state = holder.map_or("no longer leased".to_owned(), |holder| {
            format!("taken over by process {} on {}", holder.pid, holder.host)
        });
        Err(ErrorKind::IllegalState {
            action: "go on".to_owned(),
            state,
            allowed: format!("`dts status {} --watch` shows what it does", self.task),
        }
        .into())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (task, token) = (self.task.clone(), self.token.clone());
        let given_back = self.store.write(|transaction| {
            let token_now: Option<Option<String>> = transaction
                .query_row("SELECT lease_token FROM task WHERE name = ?1", [&task], |row| row.get(0))
                .optional()?;
            if token_now.flatten().as_deref() == Some(&token) { clear(transaction, &task) } else { Ok(()) }
        });
        if let Err(error) = given_back {
            log::warn!("the lease of task {task} could not be given back: {error}");
        }
    }
}

/// Takes the lease off a task.
pub(super) fn clear(transaction: &Transaction<'_>, task: &str) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE task SET lease_token = NULL, lease_pid = NULL, lease_started = NULL, lease_host = NULL, lease_beat = NULL,
         lease_at = NULL WHERE name = ?1",
        [task],
    )?;
    Ok(())
}

pub(super) fn read_holder(row: &Row<'_>) -> rusqlite::Result<Option<Holder>> {
    let Some(token) = row.get("lease_token")? else { return Ok(None) };
    Ok(Some(Holder {
        token,
        pid: row.get("lease_pid")?,
        started: row.get("lease_started")?,
        host: row.get("lease_host")?,
        beat: row.get("lease_beat")?,
        at: row.get("lease_at")?,
    }))
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// Returns when a process started, in ticks since the machine started; `None` when there is none of this id.
fn started(pid: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold blanks; the start is the 22nd field. A process
    // that ended and was not waited for yet (state Z) does nothing any more.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
