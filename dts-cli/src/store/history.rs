//! What happened to a task: validations, comparisons and samples of progress, for status and reports.
use dts_core::error::Result;
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;
use serde_json::Value;

use super::{Store, now};
use crate::config::Settings;

/// How many samples of one task are kept; then every second one is dropped, so that old ones become sparse.
const SAMPLES_MAX: i64 = if cfg!(test) { 20 } else { 20_000 };

/// The progress of a task at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) step: Option<&'static str>,
    pub(crate) rows_done: u64,
    pub(crate) bytes_done: u64,
    pub(crate) transactions_applied: u64,
    pub(crate) rows_per_second: f64,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) spool_bytes: u64,
}

/// One change of a task's state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Transition {
    pub(crate) at: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) reason: String,
}

/// A document that was kept of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Kept {
    pub(crate) at: String,
    /// The result of a validation, the conclusion of a comparison, the kind of a record.
    pub(crate) word: String,
    pub(crate) document: Value,
}

/// A sample that was kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct KeptSample {
    pub(crate) at: String,
    pub(crate) step: Option<String>,
    pub(crate) rows_done: u64,
    pub(crate) bytes_done: u64,
    pub(crate) transactions_applied: u64,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) spool_bytes: u64,
}

impl Store {
    /// Returns all changes of a task's state, in the order in which they were made.
    ///
    /// # Errors
    /// [`ErrorKind::File`](dts_core::error::ErrorKind::File) when the store cannot be read, as for all of these.
    pub(crate) fn transitions(&self, task: &str) -> Result<Vec<Transition>> {
        let sql = "SELECT at, from_state, to_state, reason FROM transition WHERE task = ?1 ORDER BY id";
        self.rows(sql, task, |row| {
            Ok(Transition { at: row.get(0)?, from: row.get(1)?, to: row.get(2)?, reason: row.get(3)? })
        })
    }

    /// Returns all validations of a task, first to last.
    pub(crate) fn validations(&self, task: &str) -> Result<Vec<Kept>> {
        self.rows("SELECT at, result, document FROM validation WHERE task = ?1 ORDER BY id", task, kept)
    }

    /// Returns all comparisons of a task, first to last.
    pub(crate) fn comparisons(&self, task: &str) -> Result<Vec<Kept>> {
        self.rows("SELECT at, conclusion, document FROM comparison WHERE task = ?1 ORDER BY id", task, kept)
    }

    /// Returns what actions have recorded of a task, first to last.
    pub(crate) fn records(&self, task: &str) -> Result<Vec<Kept>> {
        self.rows("SELECT at, kind, document FROM record WHERE task = ?1 ORDER BY id", task, kept)
    }

    /// Returns the samples of a task's progress, first to last.
    pub(crate) fn samples(&self, task: &str) -> Result<Vec<KeptSample>> {
        let sql = "SELECT at, step, rows_done, bytes_done, transactions_applied, lag_seconds, spool_bytes FROM sample
                   WHERE task = ?1 ORDER BY id";
        self.rows(sql, task, |row| {
            let count = |column| row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0));
            Ok(KeptSample {
                at: row.get(0)?,
                step: row.get(1)?,
                rows_done: count(2)?,
                bytes_done: count(3)?,
                transactions_applied: count(4)?,
                lag_seconds: row.get(5)?,
                spool_bytes: count(6)?,
            })
        })
    }

    fn rows<T>(
        &self,
        sql: &str,
        task: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let rows: rusqlite::Result<Vec<T>> = (|| {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map([task], read)?.collect()
        })();
        rows.map_err(|error| self.failed(error))
    }

    /// Keeps the outcome of a validation of the task's present file.
    ///
    /// # Errors
    /// [`ErrorKind::File`](dts_core::error::ErrorKind::File) when the store cannot be written, as for all of these.
    pub(crate) fn add_validation(&mut self, task: &str, result: &str, document: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO validation (task, at, content_hash, result, document)
                 SELECT name, ?2, content_hash, ?3, ?4 FROM task WHERE name = ?1",
                params![task, now(), result, document],
            )?;
            Ok(())
        })
    }

    /// Keeps the outcome of a comparison.
    pub(crate) fn add_comparison(&mut self, task: &str, conclusion: &str, document: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO comparison (task, at, conclusion, document) VALUES (?1, ?2, ?3, ?4)",
                params![task, now(), conclusion, document],
            )?;
            Ok(())
        })
    }

    /// Keeps what an action did, for reports: `completion`, `stop`, `cutover` and the like, as JSON.
    pub(crate) fn add_record(&mut self, task: &str, kind: &str, document: &str) -> Result<()> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO record (task, at, kind, document) VALUES (?1, ?2, ?3, ?4)",
                params![task, now(), kind, document],
            )?;
            Ok(())
        })
    }

    /// Returns what was changed of the task's settings while it ran.
    pub(crate) fn settings(&self, task: &str) -> Result<Settings> {
        self.connection
            .query_row("SELECT settings FROM task WHERE name = ?1", [task], |row| {
                row.get::<_, Option<String>>(0)
            })
            .optional()
            .map(|text| Settings::from_text(text.flatten().as_deref()))
            .map_err(|error| self.failed(error))
    }

    /// Changes settings of a task, which hold until its task file changes. Returns all that are changed now.
    pub(crate) fn change_settings(&mut self, task: &str, changes: &Settings) -> Result<Settings> {
        self.write(|transaction| {
            let before: Option<String> =
                transaction
                    .query_row("SELECT settings FROM task WHERE name = ?1", [task], |row| row.get(0))?;
            let mut settings = Settings::from_text(before.as_deref());
            settings.merge(changes);
            transaction.execute(
                "UPDATE task SET settings = ?2 WHERE name = ?1",
                params![task, settings.to_json().to_string()],
            )?;
            Ok(settings)
        })
    }

    /// Returns the conclusion of the last comparison.
    pub(crate) fn last_conclusion(&self, task: &str) -> Result<Option<String>> {
        self.connection
            .query_row(
                "SELECT conclusion FROM comparison WHERE task = ?1 ORDER BY id DESC LIMIT 1",
                [task],
                |row| row.get(0),
            )
            .optional()
            .map_err(|error| self.failed(error))
    }

    /// Keeps a sample of progress.
    pub(crate) fn add_sample(&mut self, task: &str, sample: &Sample) -> Result<()> {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO sample (task, at, step, rows_done, bytes_done, transactions_applied, rows_per_second,
                 lag_seconds, spool_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    task,
                    now(),
                    sample.step,
                    count(sample.rows_done),
                    count(sample.bytes_done),
                    count(sample.transactions_applied),
                    sample.rows_per_second,
                    sample.lag_seconds,
                    count(sample.spool_bytes),
                ],
            )?;
            let kept: i64 =
                transaction.query_row("SELECT COUNT(*) FROM sample WHERE task = ?1", [task], |row| row.get(0))?;
            if kept > SAMPLES_MAX {
                transaction.execute(
                    "DELETE FROM sample WHERE id IN (SELECT id FROM
                     (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS n FROM sample WHERE task = ?1) WHERE n % 2 = 0)",
                    [task],
                )?;
            }
            Ok(())
        })
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let text: String = row.get(2)?;
    // What another version wrote and this one cannot read is shown as text.
    let document = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Kept { at: row.get(0)?, word: row.get(1)?, document })
}
