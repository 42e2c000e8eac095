//! The row of a table: what it is called on both sides, how far its copy is, and what is still to be built on it.
use serde::{Deserialize, Serialize};

use super::{Ledger, SCHEMA, position};
use crate::data::{Position, Rung, TableName};
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::{Connection, TextRow};

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`table_copy` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
    NULL, table_id INT UNSIGNED NOT NULL, source_database VARCHAR(64) NOT NULL, source_table VARCHAR(64) NOT NULL, \
    target_database VARCHAR(64) NOT NULL, target_table VARCHAR(64) NOT NULL, state VARCHAR(32) NOT NULL, \
    deferred LONGTEXT NOT NULL, start_position LONGTEXT, is_exact TINYINT NOT NULL DEFAULT 0, restarts INT UNSIGNED NOT NULL \
    DEFAULT 0, snapshot_position LONGTEXT, snapshot_rung VARCHAR(32), chunks_begun INT UNSIGNED NOT NULL DEFAULT 0, \
    chunks_again INT UNSIGNED NOT NULL DEFAULT 0, PRIMARY KEY (task, table_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

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

impl Ledger {
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
    /// [`ErrorKind::Internal`](crate::error::ErrorKind::Internal) when what is deferred cannot be written as JSON.
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

fn number_list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
