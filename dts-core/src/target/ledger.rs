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
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::data::{GtidSet, ObjectKind, Position, Rung, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::quote;
use crate::sql::select::{Bound, KeyRange};
use crate::wire::{Connection, TextRow};

/// Name of the schema.
pub const SCHEMA: &str = crate::data::LEDGER_SCHEMA;

/// Highest number of an apply worker, whatever is configured.
pub const WORKERS_MAX: u32 = 64;

/// Which phase of the flow a task has reached. It goes back only when a cut-over is taken back, and by the way back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Tables are being created.
    Structure,
    /// Rows are being copied.
    FullLoad,
    /// All rows are copied; changes are applied idempotently until the converge point.
    CatchUp,
    /// The copy is consistent; indexes are being built.
    IndexBuild,
    /// Changes are applied strictly.
    InSync,
    /// Triggers and events are being created: from here on no change may be applied any more, it would fire them.
    Completing,
    /// The writers are on the target, and the reverse channel carries their changes to the source. A way back leads to
    /// [`InSync`](Self::InSync).
    Reversed,
    /// The task was completed or stopped: nothing more is applied.
    Ended,
}

impl Phase {
    const ALL: [Phase; 8] = [
        Phase::Structure,
        Phase::FullLoad,
        Phase::CatchUp,
        Phase::IndexBuild,
        Phase::InSync,
        Phase::Completing,
        Phase::Reversed,
        Phase::Ended,
    ];

    /// Returns the name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Structure => "structure",
            Phase::FullLoad => "full_load",
            Phase::CatchUp => "catch_up",
            Phase::IndexBuild => "index_build",
            Phase::InSync => "in_sync",
            Phase::Completing => "completing",
            Phase::Reversed => "reversed",
            Phase::Ended => "ended",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        Phase::ALL.into_iter().find(|phase| phase.name() == name).ok_or_else(|| {
            Error::internal(format!("phase '{name}' in {SCHEMA}.task is not known to this version"))
        })
    }
}

/// The row of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// `server_uuid` of the source when the task started.
    pub source_uuid: String,
    /// P0.
    pub start_position: Position,
    /// Where the copy became consistent: the source's position after the last chunk was read.
    pub converge_position: Option<Position>,
    /// How far the task is.
    pub phase: Phase,
}

/// How far the copy of a table is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CopyState {
    /// Its definition was changed in the log while rows were copied, or it came from outside of the selection: it will be
    /// created and copied anew, and nothing of the log is applied to it until then.
    Restart,
    /// The table was created; chunks may be copied.
    Created,
    /// All chunks are copied.
    Copied,
    /// The changes up to the converge point are applied: its rows are those of the source at the applied position.
    Converged,
    /// Its indexes are built.
    Indexed,
}

impl CopyState {
    /// Returns the name in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            CopyState::Restart => "restart",
            CopyState::Created => "created",
            CopyState::Copied => "copied",
            CopyState::Converged => "converged",
            CopyState::Indexed => "indexed",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        use CopyState::{Converged, Copied, Created, Indexed, Restart};
        [Restart, Created, Copied, Converged, Indexed]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("state '{name}' in {SCHEMA}.table_copy is not known")))
    }
}

/// What is still to be built on a table when its rows are there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Deferred {
    /// Clauses of secondary indexes, as in CREATE TABLE.
    pub indexes: Vec<String>,
    /// Clauses of foreign keys, as in CREATE TABLE.
    pub foreign_keys: Vec<String>,
}

/// The row of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// Its number within the task.
    pub id: u32,
    /// Its name on the source.
    pub source: TableName,
    /// Its name on the target.
    pub target: TableName,
    /// How far it is.
    pub state: CopyState,
    /// What is still to be built.
    pub deferred: Deferred,
    /// For a table that was created later than the others: its definition was read after this position, so changes and
    /// schema changes up to it are in the table already.
    pub start_position: Option<Position>,
    /// It is copied from one exact snapshot although its rows can be told apart.
    pub is_exact: bool,
    /// How often it was created anew.
    pub restarts: u32,
    /// For a table that was copied by one exact snapshot: the position of that snapshot. Changes up to it are already in
    /// the rows.
    pub snapshot_position: Option<Position>,
    /// How that snapshot was taken.
    pub snapshot_rung: Option<Rung>,
    /// Rows copied.
    pub row_count: u64,
    /// Bytes copied, as the source sent them.
    pub byte_count: u64,
    /// The highest number of a chunk that was ever begun.
    pub chunks_begun: u32,
    /// How many times a chunk was begun that had been begun before, because a run or a connection had ended in the middle of
    /// it, or because the table was restarted.
    pub chunks_again: u64,
}

impl TableRow {
    /// Returns whether the table waits to be created and copied anew. One that waits and has a snapshot position was not on
    /// the source at that position.
    pub fn wants_copy(&self) -> bool {
        self.state == CopyState::Restart && self.snapshot_position.is_none()
    }
}

/// How far a schema change is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeState {
    /// It is about to be run, or was run; the real schema tells.
    Started,
    /// It was run, and the server changed values to make them fit: an operator must decide.
    Lossy,
    /// It was run.
    Finished,
    /// An operator has seen to it.
    Skipped,
    /// It creates, changes or drops a trigger or an event, which come to the target when the task is completed.
    HeldBack,
}

impl ChangeState {
    fn name(self) -> &'static str {
        match self {
            ChangeState::Started => "started",
            ChangeState::Lossy => "lossy",
            ChangeState::Finished => "finished",
            ChangeState::Skipped => "skipped",
            ChangeState::HeldBack => "held_back",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        use ChangeState::{Finished, HeldBack, Lossy, Skipped, Started};
        [Started, Lossy, Finished, Skipped, HeldBack]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::internal(format!("state '{name}' in {SCHEMA}.ddl is not known")))
    }
}

/// The row of a schema change.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaChangeRow {
    /// How far it is.
    pub state: ChangeState,
    /// What the tables looked like before it: a digest of their definitions.
    pub before_digest: String,
}

/// The row of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRow {
    /// Its number within the table; chunks follow each other in key order.
    pub sequence: u32,
    /// The range of keys.
    pub range: KeyRange,
    /// Rows copied.
    pub row_count: u64,
    /// Bytes copied, as the source sent them.
    pub byte_count: u64,
}

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
            "CREATE TABLE IF NOT EXISTS `__dts__`.`task` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             source_uuid VARCHAR(64) NOT NULL, start_position LONGTEXT NOT NULL, converge_position LONGTEXT, \
             phase VARCHAR(32) NOT NULL, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (task)) \
             ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            "CREATE TABLE IF NOT EXISTS `__dts__`.`table_copy` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
             NULL, table_id INT UNSIGNED NOT NULL, source_database VARCHAR(64) NOT NULL, source_table VARCHAR(64) NOT NULL, \
             target_database VARCHAR(64) NOT NULL, target_table VARCHAR(64) NOT NULL, state VARCHAR(32) NOT NULL, \
             deferred LONGTEXT NOT NULL, start_position LONGTEXT, is_exact TINYINT NOT NULL DEFAULT 0, restarts INT UNSIGNED NOT NULL \
             DEFAULT 0, snapshot_position LONGTEXT, snapshot_rung VARCHAR(32), chunks_begun INT UNSIGNED NOT NULL DEFAULT 0, \
             chunks_again INT UNSIGNED NOT NULL DEFAULT 0, PRIMARY KEY (task, table_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            "CREATE TABLE IF NOT EXISTS `__dts__`.`chunk` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             table_id INT UNSIGNED NOT NULL, sequence INT UNSIGNED NOT NULL, lower_bound LONGBLOB, upper_bound LONGBLOB, \
             row_count BIGINT UNSIGNED NOT NULL, byte_count BIGINT UNSIGNED NOT NULL, PRIMARY KEY (task, table_id, \
             sequence)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            "CREATE TABLE IF NOT EXISTS `__dts__`.`object` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, database_name VARCHAR(64) NOT NULL, \
             object_name VARCHAR(64) NOT NULL, PRIMARY KEY (task, kind, database_name, object_name)) \
             ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            "CREATE TABLE IF NOT EXISTS `__dts__`.`ddl` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             gtid VARCHAR(96) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, state VARCHAR(16) NOT NULL, statement LONGTEXT NOT \
             NULL, before_digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, begun_at TIMESTAMP NOT NULL DEFAULT \
             CURRENT_TIMESTAMP, PRIMARY KEY (task, gtid)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            "CREATE TABLE IF NOT EXISTS `__dts__`.`checkpoint` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
             NULL, worker INT UNSIGNED NOT NULL, applied LONGTEXT NOT NULL, PRIMARY KEY (task, worker)) \
             ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
            super::journal::CREATE_TABLE,
            super::account_journal::CREATE_TABLE,
            super::prepared_mark::CREATE_TABLE,
            "CREATE TABLE IF NOT EXISTS `__dts__`.`apply_window` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
             NULL, up_to LONGTEXT NOT NULL, PRIMARY KEY (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
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

    /// Reads the task's row.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn task(&self, connection: &mut Connection) -> Result<Option<TaskRow>> {
        let sql = format!(
            "SELECT source_uuid, start_position, converge_position, phase FROM `__dts__`.`task` WHERE task = {}",
            self.literal()
        );
        connection
            .query_row(sql, "reading the task's row")?
            .map(|row| {
                Ok(TaskRow {
                    source_uuid: row.string(0),
                    start_position: position(&row.string(1))?,
                    converge_position: row.text(2).map(|text| position(&text)).transpose()?,
                    phase: Phase::parse(&row.string(3))?,
                })
            })
            .transpose()
    }

    /// Writes the task's first row and the applier's first checkpoint (P0), in one transaction.
    ///
    /// # Errors
    /// What the target answered; 1062 when another process just did the same.
    pub fn begin_task(&self, connection: &mut Connection, source_uuid: &str, start: &Position) -> Result<()> {
        let sql = format!(
            "BEGIN; INSERT INTO `__dts__`.`task` (task, source_uuid, start_position, phase) VALUES ({task}, {uuid}, {start}, \
             'structure'); INSERT INTO `__dts__`.`checkpoint` (task, worker, applied) VALUES ({task}, 0, {start}); COMMIT",
            task = self.literal(),
            uuid = quote::string_literal(source_uuid),
            start = quote::string_literal(&start.to_string()),
        );
        connection.execute(sql, "writing the task's row").map(drop)
    }

    /// Moves the task to a phase.
    ///
    /// # Errors
    /// What the target answered.
    pub fn set_phase(&self, connection: &mut Connection, phase: Phase) -> Result<()> {
        let sql =
            format!("UPDATE `__dts__`.`task` SET phase = '{}' WHERE task = {}", phase.name(), self.literal());
        connection.execute(sql, "recording the phase").map(drop)
    }

    /// Records where the copy becomes consistent, and moves the task to catching up.
    ///
    /// # Errors
    /// What the target answered.
    pub fn set_converge_position(&self, connection: &mut Connection, at: &Position) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`task` SET converge_position = {}, phase = '{}' WHERE task = {}",
            quote::string_literal(&at.to_string()),
            Phase::CatchUp.name(),
            self.literal()
        );
        connection.execute(sql, "recording the converge point").map(drop)
    }

    /// Reads the rows of all tables.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn tables(&self, connection: &mut Connection) -> Result<Vec<TableRow>> {
        let sql = format!(
            "SELECT t.table_id, t.source_database, t.source_table, t.target_database, t.target_table, t.state, t.deferred, \
             t.snapshot_position, t.chunks_again, (SELECT SUM(row_count) FROM `__dts__`.`chunk` c WHERE c.task = t.task AND \
             c.table_id = t.table_id), (SELECT SUM(byte_count) FROM `__dts__`.`chunk` c WHERE c.task = t.task AND \
             c.table_id = t.table_id), t.snapshot_rung, t.chunks_begun, t.start_position, t.is_exact, t.restarts FROM `__dts__`.`table_copy` t WHERE t.task = {} ORDER BY t.table_id",
            self.literal()
        );
        connection.query(sql, "reading the tables' rows")?.iter().map(table_row).collect()
    }

    /// Writes the first row of a table.
    ///
    /// # Errors
    /// What the target answered.
    pub fn add_table(&self, connection: &mut Connection, row: &TableRow) -> Result<()> {
        connection.execute(self.table_statement(row)?, "recording a table").map(drop)
    }

    /// Builds the statement that writes a table's row, whether one is there or not. What is counted from chunks is not written.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when what is deferred cannot be written as JSON.
    pub fn table_statement(&self, row: &TableRow) -> Result<String> {
        let deferred =
            serde_json::to_string(&row.deferred).map_err(|error| Error::internal(error.to_string()))?;
        let optional = |position: &Option<Position>| {
            position
                .as_ref()
                .map_or("NULL".to_owned(), |position| quote::string_literal(&position.to_string()))
        };
        Ok(format!(
            "REPLACE INTO `__dts__`.`table_copy` (task, table_id, source_database, source_table, target_database, \
             target_table, state, deferred, start_position, is_exact, restarts, snapshot_position, snapshot_rung, chunks_begun, \
             chunks_again) VALUES ({}, {}, {}, {}, {}, {}, '{}', {}, {}, {}, {}, {}, {}, {}, {})",
            self.literal(),
            row.id,
            quote::string_literal(&row.source.database),
            quote::string_literal(&row.source.table),
            quote::string_literal(&row.target.database),
            quote::string_literal(&row.target.table),
            row.state.name(),
            quote::string_literal(&deferred),
            optional(&row.start_position),
            u8::from(row.is_exact),
            row.restarts,
            optional(&row.snapshot_position),
            row.snapshot_rung.map_or("NULL".to_owned(), |rung| quote::string_literal(rung.name())),
            row.chunks_begun,
            row.chunks_again,
        ))
    }

    /// Builds the statements that take a table's row and those of its chunks away.
    pub fn forget_table_statements(&self, id: u32) -> [String; 2] {
        ["table_copy", "chunk"].map(|table| {
            format!("DELETE FROM `__dts__`.`{table}` WHERE task = {} AND table_id = {id}", self.literal())
        })
    }

    /// Writes the row of a table that was created anew, and forgets its chunks, in one transaction.
    ///
    /// # Errors
    /// What the target answered.
    pub fn restart_table(&self, connection: &mut Connection, row: &TableRow) -> Result<()> {
        let [_, chunks] = self.forget_table_statements(row.id);
        let sql = format!("BEGIN; {chunks}; {}; COMMIT", self.table_statement(row)?);
        connection.execute(sql, "recording that a table is copied anew").map(drop)
    }

    /// Records that the changes up to the converge point are applied to all tables that were copied.
    ///
    /// # Errors
    /// What the target answered.
    pub fn set_converged(&self, connection: &mut Connection) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`table_copy` SET state = '{}' WHERE task = {} AND state = '{}'",
            CopyState::Converged.name(),
            self.literal(),
            CopyState::Copied.name()
        );
        connection.execute(sql, "recording that tables have converged").map(drop)
    }

    /// Reads the row of a schema change; `gtid` as it prints.
    ///
    /// # Errors
    /// What the target answered.
    pub fn schema_change(&self, connection: &mut Connection, gtid: &str) -> Result<Option<SchemaChangeRow>> {
        let sql = format!(
            "SELECT state, before_digest FROM `__dts__`.`ddl` WHERE task = {} AND gtid = '{gtid}'",
            self.literal()
        );
        connection
            .query_row(sql, "reading a schema change's row")?
            .map(|row| {
                let state = ChangeState::parse(&row.string(0))?;
                Ok(SchemaChangeRow { state, before_digest: row.string(1) })
            })
            .transpose()
    }

    /// Builds the statement that records how far a schema change is; `statement` is the source's text.
    pub fn schema_change_statement(&self, gtid: &str, row: &SchemaChangeRow, statement: &str) -> String {
        format!(
            "INSERT INTO `__dts__`.`ddl` (task, gtid, state, statement, before_digest) VALUES ({}, '{gtid}', '{state}', {}, \
             '{}') ON DUPLICATE KEY UPDATE state = '{state}'",
            self.literal(),
            quote::string_literal(statement),
            row.before_digest,
            state = row.state.name(),
        )
    }

    /// Becomes the only session that changes the schema for the task, for as long as it lives; waits for `seconds`. Returns
    /// the number of the session that holds the lock when it was not given.
    ///
    /// A schema change goes on when its client is gone. What it leaves must not be looked at before it has ended.
    ///
    /// # Errors
    /// What the target answered.
    pub fn lock_schema(&self, connection: &mut Connection, seconds: u32) -> Result<Option<u64>> {
        let name = self.lock_name(":ddl");
        let row = connection.query_row(
            format!("SELECT GET_LOCK({name}, {seconds}), IS_USED_LOCK({name})"),
            "becoming the only one",
        )?;
        let taken = row.as_ref().and_then(|row| row.u64(0)) == Some(1);
        Ok(if taken { None } else { Some(row.and_then(|row| row.u64(1)).unwrap_or(0)) })
    }

    /// Reads which objects of a kind the task has created, or was about to create, by their names on the target.
    ///
    /// # Errors
    /// What the target answered.
    pub fn objects(&self, connection: &mut Connection, kind: ObjectKind) -> Result<BTreeSet<TableName>> {
        let sql = format!(
            "SELECT database_name, object_name FROM `__dts__`.`object` WHERE task = {} AND kind = '{kind}'",
            self.literal()
        );
        let rows = connection.query(sql, "reading the objects' rows")?;
        Ok(rows.iter().map(|row| TableName::new(row.string(0), row.string(1))).collect())
    }

    /// Records that an object's name on the target is the task's; before it is created.
    ///
    /// # Errors
    /// What the target answered.
    pub fn add_object(&self, connection: &mut Connection, kind: ObjectKind, name: &TableName) -> Result<()> {
        connection.execute(self.object_statement(kind, name), "recording an object").map(drop)
    }

    /// Builds the statement that records an object.
    pub fn object_statement(&self, kind: ObjectKind, name: &TableName) -> String {
        format!(
            "INSERT IGNORE INTO `__dts__`.`object` (task, kind, database_name, object_name) VALUES ({}, '{kind}', {}, {})",
            self.literal(),
            quote::string_literal(&name.database),
            quote::string_literal(&name.table),
        )
    }

    /// Takes an object's record back; after it was dropped.
    ///
    /// # Errors
    /// What the target answered.
    pub fn remove_object(
        &self,
        connection: &mut Connection,
        kind: ObjectKind,
        name: &TableName,
    ) -> Result<()> {
        let sql = self.forget_object_statement(kind, name);
        connection.execute(sql, "taking an object's record back").map(drop)
    }

    /// Builds the statement that takes an object's record back.
    pub fn forget_object_statement(&self, kind: ObjectKind, name: &TableName) -> String {
        format!(
            "DELETE FROM `__dts__`.`object` WHERE task = {} AND kind = '{kind}' AND database_name = {} AND object_name = {}",
            self.literal(),
            quote::string_literal(&name.database),
            quote::string_literal(&name.table),
        )
    }

    /// Moves a table to a state.
    ///
    /// # Errors
    /// What the target answered.
    pub fn set_table_state(&self, connection: &mut Connection, id: u32, state: CopyState) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`table_copy` SET state = '{}' WHERE task = {} AND table_id = {id}",
            state.name(),
            self.literal()
        );
        connection.execute(sql, "recording a table's state").map(drop)
    }

    /// Builds the statement that records that a chunk is begun; it is committed before the chunk's own transaction, so that
    /// whoever finds the chunk unfinished knows that it is copied again. `again`: it had been begun before.
    pub fn chunk_begun_statement(&self, id: u32, sequence: u32, again: bool) -> String {
        format!(
            "UPDATE `__dts__`.`table_copy` SET chunks_begun = GREATEST(chunks_begun, {sequence}), chunks_again = chunks_again + \
             {} WHERE task = {} AND table_id = {id}",
            u8::from(again),
            self.literal()
        )
    }

    /// Forgets which chunks of some tables are copied: they are copied anew, all together.
    ///
    /// # Errors
    /// What the target answered; then nothing is forgotten.
    pub fn restart_tables(&self, connection: &mut Connection, ids: &[u32]) -> Result<()> {
        let (task, list) = (self.literal(), number_list(ids));
        let sql = format!(
            "BEGIN; DELETE FROM `__dts__`.`chunk` WHERE task = {task} AND table_id IN ({list}); UPDATE `__dts__`.`table_copy` SET \
             state = '{}', snapshot_position = NULL, snapshot_rung = NULL WHERE task = {task} AND table_id IN ({list}); COMMIT",
            CopyState::Created.name()
        );
        connection.execute(sql, "forgetting a copy that starts anew").map(drop)
    }

    /// Records that some tables are copied, all of them from one exact snapshot.
    ///
    /// # Errors
    /// What the target answered; then it is recorded for none of them.
    pub fn finish_snapshot(
        &self,
        connection: &mut Connection,
        ids: &[u32],
        position: &Position,
        rung: Rung,
    ) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`table_copy` SET state = '{}', snapshot_position = {}, snapshot_rung = '{}' WHERE task = {} AND \
             table_id IN ({})",
            CopyState::Copied.name(),
            quote::string_literal(&position.to_string()),
            rung.name(),
            self.literal(),
            number_list(ids)
        );
        connection.execute(sql, "recording a snapshot").map(drop)
    }

    /// Reads the chunks of a table that are copied, in order.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn chunks(&self, connection: &mut Connection, id: u32) -> Result<Vec<ChunkRow>> {
        let sql = format!(
            "SELECT sequence, lower_bound, upper_bound, row_count, byte_count FROM `__dts__`.`chunk` WHERE task = {} AND \
             table_id = {id} ORDER BY sequence",
            self.literal()
        );
        connection.query(sql, "reading the chunks' rows")?.iter().map(chunk_row).collect()
    }

    /// Builds the statement that records a chunk; it belongs into the transaction that loads the rows.
    pub fn chunk_statement(&self, id: u32, chunk: &ChunkRow) -> Vec<u8> {
        let mut sql = format!(
            "INSERT INTO `__dts__`.`chunk` (task, table_id, sequence, lower_bound, upper_bound, row_count, byte_count) VALUES \
             ({}, {id}, {}, ",
            self.literal(),
            chunk.sequence
        )
        .into_bytes();
        for bound in [&chunk.range.lower, &chunk.range.upper] {
            match bound {
                Some(bound) => quote::push_hex_literal(&mut sql, &encode_bound(bound)),
                None => sql.extend_from_slice(b"NULL"),
            }
            sql.extend_from_slice(b", ");
        }
        sql.extend_from_slice(format!("{}, {})", chunk.row_count, chunk.byte_count).as_bytes());
        sql
    }

    /// Builds the statement that records the exact snapshot that a table's rows came from; it belongs into the transaction
    /// that loads the rows.
    pub fn snapshot_statement(&self, id: u32, position: &Position, rung: Rung) -> String {
        format!(
            "UPDATE `__dts__`.`table_copy` SET snapshot_position = {}, snapshot_rung = '{}' WHERE task = {} AND table_id = {id}",
            quote::string_literal(&position.to_string()),
            rung.name(),
            self.literal()
        )
    }

    /// Returns whether a chunk is recorded: the answer to a COMMIT whose own answer was lost.
    ///
    /// # Errors
    /// What the target answered.
    pub fn has_chunk(&self, connection: &mut Connection, id: u32, sequence: u32) -> Result<bool> {
        let sql = format!(
            "SELECT COUNT(*) FROM `__dts__`.`chunk` WHERE task = {} AND table_id = {id} AND sequence = {sequence}",
            self.literal()
        );
        Ok(connection.query_row(sql, "looking for a chunk's row")?.and_then(|row| row.u64(0)) == Some(1))
    }

    /// Reads what was applied: the union of the workers' sets, and each worker's own.
    ///
    /// # Errors
    /// What the target answered, or a set that cannot be read.
    pub fn checkpoint(&self, connection: &mut Connection) -> Result<Checkpoint> {
        let sql =
            format!("SELECT worker, applied FROM `__dts__`.`checkpoint` WHERE task = {}", self.literal());
        let mut checkpoint = Checkpoint::default();
        for row in connection.query(sql, "reading the checkpoint")? {
            let set = match position(&row.string(1))? {
                Position::Gtid(set) => set,
                Position::Coordinates(at) => {
                    return Err(ErrorKind::Unsupported {
                        what: format!("a checkpoint by file and offset ({at})"),
                    }
                    .into());
                }
            };
            checkpoint.applied.merge(&set);
            checkpoint
                .workers
                .insert(row.u64(0).and_then(|worker| u32::try_from(worker).ok()).unwrap_or(0), set);
        }
        Ok(checkpoint)
    }

    /// Builds the statement that records what a worker has applied; it belongs into the transaction of the changes.
    pub fn checkpoint_statement(&self, worker: u32, applied: &GtidSet) -> String {
        format!(
            "INSERT INTO `__dts__`.`checkpoint` (task, worker, applied) VALUES ({}, {worker}, {}) ON DUPLICATE KEY UPDATE \
             applied = VALUES(applied)",
            self.literal(),
            quote::string_literal(&applied.to_string())
        )
    }

    /// Builds the statement that changes a worker's row without changing what it says: a space more or less at its end.
    pub fn touch_checkpoint_statement(&self, worker: u32) -> String {
        format!(
            "UPDATE `__dts__`.`checkpoint` SET applied = IF(applied LIKE '% ', RTRIM(applied), CONCAT(applied, ' ')) WHERE task = {} AND \
             worker = {worker}",
            self.literal()
        )
    }

    /// Moves all that was applied into row 0, and gives each of `workers` workers an empty row of its own; rows of others
    /// are removed. In one transaction. Only while no worker is at work.
    ///
    /// The empty rows are there before the workers' sessions: the next life learns from them which sessions it must wait for.
    ///
    /// # Errors
    /// What the target answered.
    pub fn gather_checkpoint(
        &self,
        connection: &mut Connection,
        applied: &GtidSet,
        workers: u32,
    ) -> Result<()> {
        let mut sql = format!(
            "BEGIN; DELETE FROM `__dts__`.`checkpoint` WHERE task = {} AND worker > 0; {}",
            self.literal(),
            self.checkpoint_statement(0, applied)
        );
        for worker in 1..=workers {
            sql.push_str("; ");
            sql.push_str(&self.checkpoint_statement(worker, &GtidSet::new()));
        }
        sql.push_str("; COMMIT");
        connection.execute(sql, "gathering the checkpoint").map(drop)
    }

    /// Reads which stretch of the log several workers were applying in parts: the transactions in it.
    ///
    /// # Errors
    /// What the target answered, or a set that cannot be read.
    pub fn apply_window(&self, connection: &mut Connection) -> Result<Option<GtidSet>> {
        let sql = format!("SELECT up_to FROM `__dts__`.`apply_window` WHERE task = {}", self.literal());
        connection
            .query_row(sql, "reading the window under way")?
            .map(|row| GtidSet::parse(&row.string(0)))
            .transpose()
    }

    /// Builds the statement that records that workers begin to apply these transactions in parts. It is durable before any
    /// part is.
    pub fn begin_window_statement(&self, transactions: &GtidSet) -> String {
        format!(
            "INSERT INTO `__dts__`.`apply_window` (task, up_to) VALUES ({}, {}) ON DUPLICATE KEY UPDATE up_to = VALUES(up_to)",
            self.literal(),
            quote::string_literal(&transactions.to_string())
        )
    }

    /// Builds the statement that ends a window; it belongs into the transaction that records it as applied.
    pub fn end_window_statement(&self) -> String {
        format!("DELETE FROM `__dts__`.`apply_window` WHERE task = {}", self.literal())
    }

    /// Makes this session the only one that applies changes for the task as that worker, for as long as it lives; waits for
    /// `seconds`. Worker 0 is the coordinator: whoever has its lock is the only applier.
    ///
    /// A session whose client is gone goes on with what it was sent, its COMMIT included. Whoever reads the checkpoint must
    /// first know that no such session is left: the server gives its lock away only when it has ended.
    ///
    /// # Errors
    /// What the target answered.
    pub fn lock_apply(&self, connection: &mut Connection, worker: u32, seconds: u32) -> Result<bool> {
        let sql = format!("SELECT GET_LOCK({}, {seconds})", self.lock_name(apply_session(worker)));
        Ok(connection.query_row(sql, "becoming the only applier")?.and_then(|row| row.u64(0)) == Some(1))
    }

    /// Returns the connection number of the session that holds the lock of [`lock_apply`](Self::lock_apply).
    ///
    /// # Errors
    /// What the target answered.
    pub fn apply_lock_holder(&self, connection: &mut Connection, worker: u32) -> Result<Option<u64>> {
        let sql = format!("SELECT IS_USED_LOCK({})", self.lock_name(apply_session(worker)));
        Ok(connection.query_row(sql, "looking for another applier")?.and_then(|row| row.u64(0)))
    }

    /// An expression of at most 64 characters, whatever the task's name.
    pub(super) fn lock_name(&self, session: impl std::fmt::Display) -> String {
        format!("CONCAT('dts:', LEFT(SHA2({}, 256), 40), '{session}')", self.literal())
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

    pub(super) fn literal(&self) -> String {
        quote::string_literal(&self.task)
    }
}

/// What the appliers have made durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// All that was applied.
    pub applied: GtidSet,
    /// Each worker's own set.
    pub workers: BTreeMap<u32, GtidSet>,
}

fn table_row(row: &TextRow) -> Result<TableRow> {
    let deferred = serde_json::from_str(&row.string(6))
        .map_err(|error| Error::internal(format!("unreadable row in {SCHEMA}.table_copy: {error}")))?;
    Ok(TableRow {
        id: row.u64(0).and_then(|id| u32::try_from(id).ok()).unwrap_or(0),
        source: TableName::new(row.string(1), row.string(2)),
        target: TableName::new(row.string(3), row.string(4)),
        state: CopyState::parse(&row.string(5))?,
        deferred,
        snapshot_position: row.text(7).map(|text| position(&text)).transpose()?,
        snapshot_rung: row.text(11).and_then(|name| Rung::parse(&name)),
        chunks_begun: row.u64(12).and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        chunks_again: row.u64(8).unwrap_or(0),
        start_position: row.text(13).map(|text| position(&text)).transpose()?,
        is_exact: row.u64(14) == Some(1),
        restarts: row.u64(15).and_then(|times| u32::try_from(times).ok()).unwrap_or(0),
        row_count: row.u64(9).unwrap_or(0),
        byte_count: row.u64(10).unwrap_or(0),
    })
}

fn chunk_row(row: &TextRow) -> Result<ChunkRow> {
    let bound = |column: usize| row.bytes(column).map(decode_bound).transpose();
    Ok(ChunkRow {
        sequence: row.u64(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        range: KeyRange { lower: bound(1)?, upper: bound(2)? },
        row_count: row.u64(3).unwrap_or(0),
        byte_count: row.u64(4).unwrap_or(0),
    })
}

fn position(text: &str) -> Result<Position> {
    text.parse().map_err(|error| Error::internal(format!("unreadable position in {SCHEMA}: {error}")))
}

/// Worker 0 is the coordinator, whose lock has the task's bare name.
fn apply_session(worker: u32) -> String {
    if worker == 0 { String::new() } else { format!(":{worker}") }
}

fn number_list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes each cell with its length in front, so that any bytes may be in it.
fn encode_bound(bound: &Bound) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in bound {
        let length = u32::try_from(cell.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(cell);
    }
    bytes
}

fn decode_bound(mut bytes: &[u8]) -> Result<Bound> {
    let mut bound = Vec::new();
    while !bytes.is_empty() {
        let cell = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        let Some((cell, rest)) = cell else {
            return Err(Error::internal(format!("unreadable bound in {SCHEMA}.chunk")));
        };
        bound.push(cell.to_vec());
        bytes = rest;
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_keep_any_bytes() {
        for bound in [vec![vec![]], vec![b"0xab".to_vec(), vec![0, 255, b'\'']], vec![vec![7; 1000]]] {
            assert_eq!(decode_bound(&encode_bound(&bound)).unwrap(), bound);
        }
        assert!(decode_bound(&[0, 0, 0, 9, 1]).is_err());
    }
}
