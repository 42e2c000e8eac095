//! The task store: what this machine knows of its tasks, in an embedded database that several processes share.
//!
//! The store is for people and for the queue. What a migration has done is recorded on the target, in the same
//! transactions as the data; a lost store costs the history and nothing else.
//!
//! - [`Store`]: tasks and their states; every change of state is checked against the table in `dts_core`;
//! - [`Lease`]: the right to work on a task, held by at most one process;
//! - `queue`: the order in which tasks are worked on, and the workers;
//! - [`request`]: what one process asks of the one that works on a task;
//! - `history`: validations, checks and samples of progress.
mod history;
mod lease;
mod queue;
pub(crate) mod request;
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::State;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

pub(crate) use history::{Kept, KeptSample, Sample, Transition};
pub(crate) use lease::{Holder, Lease};
pub(crate) use request::{Answer, Request, RequestId, Standing};

use crate::config::{Settings, TaskFile};
use crate::home::Home;
use crate::output::json::ErrorDocument;

/// How long to wait for another process that writes; each holds the store for milliseconds.
const BUSY_WITHIN: Duration = Duration::from_secs(10);

/// How often in a row a task whose worker died goes back into the queue by itself: what kills every worker must not go on
/// doing so.
const TAKEN_OVER_MAX: i64 = 5;

/// What this machine knows of its tasks.
#[derive(Debug)]
pub(crate) struct Store {
    home: Home,
    connection: Connection,
    settled: Vec<Settled>,
}

/// A task whose process was found to be gone, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The task.
    pub(crate) task: String,
    /// Its task file.
    pub(crate) file: PathBuf,
    /// The state that its process had left it in.
    pub(crate) from: State,
    /// The state that it has now: failed, or back in the queue.
    pub(crate) to: State,
    /// That the process is gone.
    pub(crate) error: ErrorDocument,
}

/// One task as it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Its name.
    pub(crate) name: String,
    /// Its task file.
    pub(crate) file: PathBuf,
    /// Where it stands.
    pub(crate) state: State,
    /// The last status document that a process wrote, as JSON.
    pub(crate) status: Option<String>,
    /// The error that brought it into its state.
    pub(crate) error: Option<ErrorDocument>,
    /// Who works on it.
    pub(crate) holder: Option<Holder>,
    /// When something about it changed last.
    pub(crate) updated_at: String,
    /// When it joins the queue, when that was asked for.
    pub(crate) start_at: Option<Timestamp>,
    /// Its place in the queue; smaller is sooner.
    pub(crate) queue_number: Option<i64>,
    /// What `dts set` changed, in words; empty when nothing.
    pub(crate) settings: Settings,
}

impl Store {
    /// Opens the store of a home, and creates both if need be.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the folder or the file cannot be used.
    pub(crate) fn open(home: &Home) -> Result<Self> {
        home.create()?;
        let path = home.store();
        let connection = schema::open(&path, BUSY_WITHIN).map_err(|error| failed(&path, error))?;
        Ok(Store { home: home.clone(), connection, settled: Vec::new() })
    }

    /// Opens the same store once more, for another thread.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn reopen(&self) -> Result<Self> {
        Store::open(&self.home)
    }

    /// Enters a task, or notes that its file changed.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when another task file already has this name.
    pub(crate) fn enter(&mut self, file: &TaskFile) -> Result<()> {
        let name = &file.options.name;
        if let Some(known) = self.find(name)?
            && known.file != file.path
            && may_be_named(&known.file, name)
        {
            let expected = format!("a name of its own: {} already has it", known.file.display());
            return Err(Error::invalid(
                format!("task.name in {}", file.path.display()),
                name.as_str(),
                expected,
            ));
        }
        let (path, now) = (file.path.display().to_string(), now());
        let start_at = file.start_at.map(|time| time.to_string());
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO task (name, file, content_hash, state, start_at, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                 ON CONFLICT (name) DO UPDATE SET file = ?2, content_hash = ?3, start_at = ?5,
                 settings = CASE WHEN content_hash = ?3 THEN settings END",
                params![name, path, file.hash, State::Created.name(), start_at, now],
            )?;
            Ok(())
        })
    }

    /// Returns a task, when there is one of this name.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the store cannot be read.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Task>> {
        let task = self
            .connection
            .query_row(&format!("{SELECT_TASK} WHERE name = ?1"), [name], read_task)
            .optional()
            .map_err(|error| self.failed(error))?;
        let Some(task) = task else { return Ok(None) };
        self.settle(task).map(Some)
    }

    /// Returns the task of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the names that are known.
    pub(crate) fn get(&mut self, name: &str) -> Result<Task> {
        if let Some(task) = self.find(name)? {
            return Ok(task);
        }
        let names: Vec<String> = self.tasks()?.into_iter().map(|task| task.name).collect();
        let hint = if names.is_empty() {
            format!(
                "There is no task in {} yet: `dts validate FILE` or `dts run FILE` enters one.",
                self.home.path().display()
            )
        } else {
            format!("The tasks in {} are: {}.", self.home.path().display(), names.join(", "))
        };
        Err(Error::from(ErrorKind::NotFound { what: "task", name: name.to_owned() }).with_hint(hint))
    }

    /// Returns all tasks, oldest first.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the store cannot be read.
    pub(crate) fn tasks(&mut self) -> Result<Vec<Task>> {
        let tasks: rusqlite::Result<Vec<Task>> = (|| {
            let mut statement = self.connection.prepare(&format!("{SELECT_TASK} ORDER BY rowid"))?;
            statement.query_map([], read_task)?.collect()
        })();
        let tasks = tasks.map_err(|error| self.failed(error))?;
        tasks.into_iter().map(|task| self.settle(task)).collect()
    }

    /// Brings a task into its next state and returns the one it had.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when that state may not follow.
    pub(crate) fn advance(
        &mut self,
        name: &str,
        next: State,
        reason: &str,
        error: Option<&ErrorDocument>,
    ) -> Result<State> {
        let moved = self.write(|transaction| {
            let state: String =
                transaction.query_row("SELECT state FROM task WHERE name = ?1", [name], |row| row.get(0))?;
            let state = state_of(&state)?;
            match state.advance(next) {
                Ok(_) => move_to(transaction, name, (state, next), reason, error).map(|()| Ok(state)),
                Err(refused) => Ok(Err(refused)),
            }
        })?;
        let from = moved?;
        log::info!("task {name}: {from} -> {next} ({reason})");
        Ok(from)
    }

    /// Keeps the status document that `dts status` shows.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the store cannot be written.
    pub(crate) fn write_status(&mut self, name: &str, document: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE task SET status = ?2, updated_at = ?3 WHERE name = ?1",
                params![name, document, now()],
            )?;
            Ok(())
        })
    }

    /// Forgets a task with all that is known of it. Nobody may hold its lease.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the store cannot be written.
    pub(crate) fn forget(&mut self, name: &str) -> Result<()> {
        self.write(|transaction| {
            for table in ["transition", "validation", "comparison", "sample", "request", "record"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE task = ?1"), [name])?;
            }
            transaction.execute("DELETE FROM task WHERE name = ?1", [name]).map(drop)
        })
    }

    /// Returns the tasks whose process this value has found to be gone, each once: whoever finds it tells it.
    pub(crate) fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// A task whose process is gone has failed, whatever its last word was.
    fn settle(&mut self, task: Task) -> Result<Task> {
        if !task.state.is_active() || task.holder.as_ref().is_some_and(Holder::is_alive) {
            return Ok(task);
        }
        let process =
            task.holder.as_ref().map_or("its process".to_owned(), |holder| format!("process {}", holder.pid));
        let error = ErrorDocument {
            code: "DTS-8001".to_owned(),
            message: format!(
                "{process} ended without a word while the task was {} (killed, or the machine stopped)",
                task.state
            ),
            hint: "Run the task again: it resumes where it stood.".to_owned(),
            position: None,
        };
        let name = task.name.clone();
        let mut is_found = false;
        let settled = self.write(|transaction| {
            // Another process may have taken it over since.
            let now = transaction.query_row(&format!("{SELECT_TASK} WHERE name = ?1"), [&name], read_task)?;
            is_found = now.state == task.state && now.holder == task.holder;
            if is_found {
                let (place, taken_over) = queue::place(transaction, &name)?;
                move_to(transaction, &name, (task.state, State::Failed), &error.message, Some(&error))?;
                lease::clear(transaction, &name)?;
                // A dead worker's task goes back to where it was in the queue: the next worker takes it over.
                if let Some(place) = place
                    && task.state != State::Stopping
                    && taken_over < TAKEN_OVER_MAX
                {
                    move_to(
                        transaction,
                        &name,
                        (State::Failed, State::Queued),
                        "back in the queue",
                        Some(&error),
                    )?;
                    queue::put_back(transaction, &name, place, taken_over + 1)?;
                }
            }
            transaction.query_row(&format!("{SELECT_TASK} WHERE name = ?1"), [&name], read_task)
        })?;
        if is_found {
            let (from, to, file) = (task.state, settled.state, task.file);
            self.settled.push(Settled { task: name, file, from, to, error });
        }
        Ok(settled)
    }

    /// Runs `work` as one transaction that has the right to write from its beginning.
    fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let result = (|| {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        result.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: rusqlite::Error) -> Error {
        failed(&self.home.store(), error)
    }
}

const SELECT_TASK: &str =
    "SELECT name, file, state, status, error, updated_at, start_at, queue_number, settings, taken_over,
    lease_token, lease_pid, lease_started, lease_host, lease_beat, lease_at FROM task";

fn read_task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let state: String = row.get("state")?;
    let error: Option<String> = row.get("error")?;
    Ok(Task {
        name: row.get("name")?,
        file: PathBuf::from(row.get::<_, String>("file")?),
        state: state_of(&state)?,
        status: row.get("status")?,
        error: error.and_then(|text| serde_json::from_str(&text).ok()),
        holder: lease::read_holder(row)?,
        updated_at: row.get("updated_at")?,
        start_at: row.get::<_, Option<String>>("start_at")?.and_then(|text| text.parse().ok()),
        queue_number: row.get("queue_number")?,
        settings: Settings::from_text(row.get::<_, Option<String>>("settings")?.as_deref()),
    })
}

fn state_of(name: &str) -> rusqlite::Result<State> {
    // Only a newer or a damaged store has other names.
    State::from_name(name).ok_or_else(|| rusqlite::Error::InvalidParameterName(format!("state '{name}'")))
}

fn move_to(
    transaction: &Transaction<'_>,
    name: &str,
    (from, to): (State, State),
    reason: &str,
    error: Option<&ErrorDocument>,
) -> rusqlite::Result<()> {
    let now = now();
    let error = error.and_then(|error| serde_json::to_string(error).ok());
    transaction.execute(
        "UPDATE task SET state = ?2, error = ?3, updated_at = ?4 WHERE name = ?1",
        params![name, to.name(), error, now],
    )?;
    if !queue::keeps_place(to) {
        transaction.execute("UPDATE task SET queue_number = NULL, taken_over = 0 WHERE name = ?1", [name])?;
    }
    transaction.execute(
        "INSERT INTO transition (task, at, from_state, to_state, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![name, now, from.name(), to.name(), reason],
    )?;
    Ok(())
}

/// Returns the present time as the store writes it.
fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

/// Returns whether a file may still be the task file of this name, so that the name is taken. Only the name is read:
/// another task's passwords are not this one's business.
fn may_be_named(path: &Path, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    match text.parse::<toml::Table>() {
        Ok(table) => {
            table.get("task").and_then(|task| task.get("name")).and_then(toml::Value::as_str) == Some(name)
        }
        // Somebody is editing it.
        Err(_) => true,
    }
}

fn failed(path: &Path, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "Move this file away and run the task file again: what was migrated is recorded on the target, and the task \
             resumes there. Only the history of this machine is lost."
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "Choose a folder that this user may write to, with --home or $DTS_HOME."
        }
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            "Free space on this disk, or choose another folder with --home or $DTS_HOME."
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another process holds the store; try again in a moment."
        }
        _ => "Run again; if it stays, move this file away: what was migrated is recorded on the target.",
    };
    let source = std::io::Error::other(error);
    Error::from(ErrorKind::File { action: "use the task store", path: path.display().to_string(), source })
        .with_hint(hint)
}

#[cfg(test)]
mod tests;
