//! What is durable on the target: the schema `__dts__`.
//!
//! # The rule
//! Progress is what the target has committed. Whatever moves data also writes what it moved, in the same transaction: a
//! chunk of the full load writes its row of `chunk`, an applier's transaction writes the applier's row of `checkpoint`.
//! After a crash, and after a COMMIT whose answer was lost, these rows are read; nothing is guessed.
//!
//! # Tables
//! - `task`: one row per task. Where it started (P0), where the copy became consistent (the converge point), its phase.
//! - `table_copy`: one row per table. What it is called on both sides, how far it is, and the definitions of indexes and
//!   foreign keys that are still to be built (the source's own definition may have changed by then).
//! - `chunk`: one row per copied chunk, with the ends of its key range as the source sent them.
//! - `object`: one row per view, stored program, trigger or event that the task has created or is about to create, so that
//!   somebody else's object of the same name is never taken for ours.
//! - `account`: one row per account that the task carries. See [`account_journal`](super::account_journal).
//! - `ddl`: one row per schema change that was carried from the log: begun, ended, or left out by an operator. See
//!   [`SchemaChangeRow`].
//! - `checkpoint`: one row per apply worker. Row 0 is the coordinator's: the low-water mark. A worker's row holds what it has
//!   applied since; the set applied in all is the union of the rows.
//! - `prepared`: XA transactions of the source that are prepared. See [`prepared_mark`](super::prepared_mark).
//! - `apply_window`: the stretch of log that several workers are applying in parts; none when all that is there is whole.
//!
//! The target's binary log carries these rows too (unless the load leaves it out), so that a replica of the target holds
//! the same progress as the data, and so that a reverse channel can tell our transactions from an application's.

mod checkpoint;
mod chunk;
mod object;
mod schema_change;
mod table;
mod task;

pub use checkpoint::{Checkpoint, WORKERS_MAX};
pub use chunk::ChunkRow;
pub use schema_change::{ChangeState, SchemaChangeRow};
pub use table::{CopyState, Deferred, TableRow};
pub use task::{Phase, TaskRow};

use crate::data::Position;
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

/// Name of the schema.
pub const SCHEMA: &str = crate::data::LEDGER_SCHEMA;

/// The ledger of one task.
#[derive(Clone, Debug)]
pub struct Ledger {
    task: String,
}

impl Ledger {
    /// Names the task. Nothing is read or written yet.
    pub fn new(task: impl Into<String>) -> Self {
        Ledger { task: task.into() }
    }

    /// Returns the task's name.
    pub fn task_name(&self) -> &str {
        &self.task
    }

    /// Creates the schema where it is missing.
    ///
    /// # Errors
    /// What the target answered.
    pub fn create_schema(&self, connection: &mut Connection) -> Result<()> {
        let doing = "creating the schema __dts__";
        for sql in [
            "CREATE DATABASE IF NOT EXISTS `__dts__` DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            task::CREATE_TABLE,
            table::CREATE_TABLE,
            chunk::CREATE_TABLE,
            object::CREATE_TABLE,
            schema_change::CREATE_TABLE,
            checkpoint::CREATE_TABLE,
            super::journal::CREATE_TABLE,
            super::account_journal::CREATE_TABLE,
            super::prepared_mark::CREATE_TABLE,
            checkpoint::CREATE_WINDOW_TABLE,
        ] {
            connection.execute(sql, doing)?;
        }
        Ok(())
    }

    /// Returns whether the schema is there.
    ///
    /// # Errors
    /// What the target answered.
    pub fn exists(&self, connection: &mut Connection) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '__dts__' AND TABLE_NAME IN \
                   ('task', 'table_copy', 'chunk', 'object', 'ddl', 'checkpoint')";
        Ok(connection.query_row(sql, "looking for the schema __dts__")?.and_then(|row| row.u64(0)) == Some(6))
    }

    /// Removes everything recorded for the task. The data stay. Triggers that are held back stay written down.
    ///
    /// # Errors
    /// What the target answered.
    pub fn forget(&self, connection: &mut Connection) -> Result<()> {
        super::clean_check::forget(connection, &self.task)?;
        super::watch_mark::forget(connection, &self.task)?;
        let task = self.literal();
        let tables = [
            "chunk",
            "table_copy",
            "object",
            "ddl",
            "apply_window",
            "checkpoint",
            "prepared",
            "account",
            "task",
        ];
        let sql: Vec<String> = tables
            .iter()
            .map(|table| format!("DELETE FROM `__dts__`.`{table}` WHERE task = {task}"))
            .chain([super::journal::forget_statement(&self.task)])
            .collect();
        connection.execute(format!("BEGIN; {}; COMMIT", sql.join("; ")), "removing the task's rows").map(drop)
    }

    /// Drops the schema `__dts__` when no task is recorded in it any more. Returns whether it did.
    ///
    /// # Errors
    /// What the target answered.
    pub fn drop_unused_schema(&self, connection: &mut Connection) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM `__dts__`.`task`";
        let is_unused =
            connection.query_row(sql, "counting the tasks")?.and_then(|row| row.u64(0)) == Some(0);
        if is_unused {
            connection.execute("DROP DATABASE `__dts__`", "dropping the schema __dts__")?;
        }
        Ok(is_unused)
    }

    /// An expression of at most 64 characters, whatever the task's name.
    pub(super) fn lock_name(&self, session: impl std::fmt::Display) -> String {
        format!("CONCAT('dts:', LEFT(SHA2({}, 256), 40), '{session}')", self.literal())
    }

    pub(super) fn literal(&self) -> String {
        quote::string_literal(&self.task)
    }
}

fn position(text: &str) -> Result<Position> {
    text.parse().map_err(|error| Error::internal(format!("unreadable position in {SCHEMA}: {error}")))
}
