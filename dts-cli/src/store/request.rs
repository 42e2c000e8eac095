//! What one process asks of the process that works on a task, over the store.
//!
//! `dts pause shop` in one shell must reach `dts run` or `dts worker` in another. Both have the store, so that is the way:
//!
//! ```text
//! asker                        store                          the process that holds the lease
//! ask(task, kind, payload) --> asked
//!                              taken      <-- take_request    (every 200 ms)
//! look_at: lines           <-- lines      <-- add_line        what it does, as it does it
//! cancel (Ctrl-C)          --> cancelled  <-- is_cancelled    breaks off if it can
//! look_at: answer          <-- answered   <-- answer          document, text, exit status or error
//! ```
//!
//! A request has a kind (the name of the command), a payload and an answer as JSON; the store does not know what they mean.
//!
//! - A request that was not taken can be withdrawn, so that nothing happens later that nobody waits for any more. One whose
//!   asker died before it was taken is never taken.
//! - A process that takes the lease abandons what the dead one before it had taken. The asker sees that and asks the new
//!   one, or does the work itself when there is none: what is asked for must bear being begun twice.
//! - No time of day decides anything: waits are measured by the one who waits.
//!
//! # How to build an action on this
//! An action that runs beside the applier (a check, a cut-over) is a [`Service`](crate::runner::Service): implement the trait and
//! add it to `services()` in `runner/service.rs`. The process that runs the task calls it in a thread of its own; `Call::say` and
//! `Call::progress` print in the asking shell at once, the returned [`Answer`] is what the asking command prints and ends with.
//! While it runs, `pause`, `stop` and `complete` are refused; Ctrl-C in the asking shell stops `Call::stop`.
//!
//! The command calls `ask_or_take` in `commands/ask.rs`. It returns the answer of the process that works on the task, or the lease
//! when none does: then this process does the work. One that needs an applier beside it makes a `Runner` with that lease, asks
//! *itself* with [`Store::ask`] (the runner's second thread takes it like any other request), calls `Runner::run`, and prints
//! [`Store::lines_of`] from another thread. `commands/check.rs` is an example.
//!
//! An action that ends or changes the run (`pause`, `stop`, `complete`, `set`) is an arm in `runner/serve.rs`: it ends the present
//! round of work with `end_round`, and `Runner::finish` does the rest.
use dts_core::error::{Error, Result};
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lease::{Holder, lives_here, this_process};
use super::{Store, now};
use crate::exit::ExitStatus;
use crate::output::json::ErrorDocument;

/// How many requests of a task are kept once they have ended.
const KEPT: i64 = 50;

/// One request. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct RequestId(i64);

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    /// Name of the action.
    pub(crate) kind: String,
    /// What the action needs to know.
    pub(crate) payload: Value,
    /// Who asked, in words.
    pub(crate) asker: String,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// How the asking command ends.
    pub(crate) exit: u8,
    /// For programs.
    #[serde(default)]
    pub(crate) document: Value,
    /// For people.
    #[serde(default)]
    pub(crate) text: String,
    /// Why it was not done.
    #[serde(default)]
    pub(crate) error: Option<ErrorDocument>,
}

impl Answer {
    /// An action that was done.
    pub(crate) fn done(document: Value, text: impl Into<String>) -> Self {
        Answer { exit: ExitStatus::Done.number(), document, text: text.into(), error: None }
    }

    /// An action that could not be done.
    pub(crate) fn failed(error: &Error) -> Self {
        Answer {
            exit: ExitStatus::from(error).number(),
            document: Value::Null,
            text: String::new(),
            error: Some(ErrorDocument::from(error)),
        }
    }
}

/// Something that the process which does it has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: i64,
    pub(crate) is_progress: bool,
    pub(crate) text: String,
}

/// How far a request is, as its asker sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// Nobody has seen it yet.
    Asked,
    /// It is being done.
    Taken,
    /// It has ended.
    Answered(Box<Answer>),
    /// Nobody will answer it: it was withdrawn, or the process that took it is gone.
    Abandoned,
}

impl Store {
    /// Asks the process that works on `task`.
    ///
    /// # Errors
    /// [`File`](dts_core::error::ErrorKind::File) when the store cannot be written, as for all of these.
    pub(crate) fn ask(&mut self, task: &str, kind: &str, payload: &Value) -> Result<RequestId> {
        let (pid, started, host) = this_process();
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM request WHERE task = ?1 AND standing NOT IN ('asked', 'taken') AND id NOT IN
                 (SELECT id FROM request WHERE task = ?1 ORDER BY id DESC LIMIT ?2)",
                params![task, KEPT],
            )?;
            transaction.execute(
                "INSERT INTO request (task, at, kind, payload, asker_pid, asker_started, asker_host, standing)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'asked')",
                params![task, now(), kind, payload.to_string(), pid, started, host],
            )?;
            Ok(RequestId(transaction.last_insert_rowid()))
        })
    }

    /// Looks how far a request is. `holder` is who works on the task now.
    pub(crate) fn look_at(&self, id: RequestId, holder: Option<&Holder>) -> Result<Standing> {
        let row: Option<(String, Option<String>, Option<String>)> = self
            .connection
            .query_row("SELECT standing, taken_by, answer FROM request WHERE id = ?1", [id.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(|error| self.failed(error))?;
        let Some((standing, taken_by, answer)) = row else { return Ok(Standing::Abandoned) };
        Ok(match standing.as_str() {
            "asked" => Standing::Asked,
            "taken"
                if holder.is_some_and(|holder| taken_by.is_some_and(|token| holder.has_token(&token))) =>
            {
                Standing::Taken
            }
            "answered" => {
                let answer = answer.and_then(|text| serde_json::from_str(&text).ok());
                Standing::Answered(Box::new(answer.ok_or_else(|| {
                    Error::internal(format!("the answer of request {} cannot be read", id.0))
                })?))
            }
            _ => Standing::Abandoned,
        })
    }

    /// Returns what was said about a request after line number `after`.
    pub(crate) fn lines_of(&self, id: RequestId, after: i64) -> Result<Vec<Line>> {
        let lines: rusqlite::Result<Vec<Line>> = (|| {
            let sql = "SELECT id, kind, line FROM request_line WHERE request = ?1 AND id > ?2 ORDER BY id";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![id.0, after], |row| {
                let kind: String = row.get(1)?;
                Ok(Line { number: row.get(0)?, is_progress: kind == "progress", text: row.get(2)? })
            })?;
            rows.collect()
        })();
        lines.map_err(|error| self.failed(error))
    }

    /// Takes a request back. Returns whether that was in time: nobody will do it then.
    pub(crate) fn withdraw(&mut self, id: RequestId) -> Result<bool> {
        self.write(|transaction| {
            let sql = "UPDATE request SET standing = 'withdrawn' WHERE id = ?1 AND standing = 'asked'";
            Ok(transaction.execute(sql, [id.0])? == 1)
        })
    }

    /// Asks to break off what was asked for.
    pub(crate) fn cancel(&mut self, id: RequestId) -> Result<()> {
        self.write(|transaction| {
            transaction.execute("UPDATE request SET cancelled = 1 WHERE id = ?1", [id.0]).map(drop)
        })
    }

    /// Takes the oldest request of a task, for the process that holds the lease `token`.
    pub(crate) fn take_request(&mut self, task: &str, token: &str) -> Result<Option<Request>> {
        // Asked often: without a request it is a look into the index, and no other process waits for it.
        let any: Option<i64> = self
            .connection
            .prepare_cached("SELECT id FROM request WHERE task = ?1 AND standing = 'asked' LIMIT 1")
            .and_then(|mut statement| statement.query_row([task], |row| row.get(0)).optional())
            .map_err(|error| self.failed(error))?;
        if any.is_none() {
            return Ok(None);
        }
        self.write(|transaction| {
            loop {
                let found = transaction
                    .query_row(
                        "SELECT id, kind, payload, asker_pid, asker_started, asker_host FROM request
                         WHERE task = ?1 AND standing = 'asked' AND
                         EXISTS (SELECT 1 FROM task WHERE name = ?1 AND lease_token = ?2) ORDER BY id LIMIT 1",
                        params![task, token],
                        |row| {
                            let (pid, started): (u32, i64) = (row.get(3)?, row.get(4)?);
                            let host: String = row.get(5)?;
                            let payload: String = row.get(2)?;
                            let request = Request {
                                id: RequestId(row.get(0)?),
                                kind: row.get(1)?,
                                payload: serde_json::from_str(&payload).unwrap_or_default(),
                                asker: format!("process {pid}"),
                            };
                            Ok((request, lives_here(&host, pid, started)))
                        },
                    )
                    .optional()?;
                let Some((request, lives)) = found else { return Ok(None) };
                let standing = if lives == Some(false) { "withdrawn" } else { "taken" };
                transaction.execute(
                    "UPDATE request SET standing = ?2, taken_by = ?3 WHERE id = ?1",
                    params![request.id.0, standing, token],
                )?;
                if lives != Some(false) {
                    return Ok(Some(request));
                }
            }
        })
    }

    /// Returns whether the asker wants it broken off.
    pub(crate) fn is_cancelled(&self, id: RequestId) -> Result<bool> {
        self.connection
            .prepare_cached("SELECT cancelled FROM request WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([id.0], |row| row.get(0)).optional())
            .map(|cancelled| cancelled.unwrap_or(false))
            .map_err(|error| self.failed(error))
    }

    /// Tells the asker what is being done. A line of progress is one that only matters while it lasts.
    pub(crate) fn add_line(&mut self, id: RequestId, is_progress: bool, line: &str) -> Result<()> {
        let kind = if is_progress { "progress" } else { "output" };
        self.write(|transaction| {
            let sql = "INSERT INTO request_line (request, at, kind, line) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, params![id.0, now(), kind, line]).map(drop)
        })
    }

    /// Ends a request that this process has taken.
    pub(crate) fn answer(&mut self, id: RequestId, answer: &Answer) -> Result<()> {
        let answer = serde_json::to_string(answer).map_err(|error| Error::internal(error.to_string()))?;
        self.write(|transaction| {
            let sql =
                "UPDATE request SET standing = 'answered', answer = ?2 WHERE id = ?1 AND standing = 'taken'";
            transaction.execute(sql, params![id.0, answer]).map(drop)
        })
    }

    /// Returns a summary of the last requests of a task: kind and standing, newest first.
    #[cfg(test)]
    pub(crate) fn requests(&self, task: &str) -> Vec<(String, String)> {
        let sql = "SELECT kind, standing FROM request WHERE task = ?1 ORDER BY id DESC";
        let mut statement = self.connection.prepare(sql).unwrap();
        statement
            .query_map([task], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(|row| row.unwrap())
            .collect()
    }
}

/// Gives up what other leases had taken of a task.
pub(super) fn abandon(transaction: &Transaction<'_>, task: &str, token: &str) -> rusqlite::Result<()> {
    let sql =
        "UPDATE request SET standing = 'abandoned' WHERE task = ?1 AND standing = 'taken' AND taken_by <> ?2";
    transaction.execute(sql, params![task, token]).map(drop)
}
