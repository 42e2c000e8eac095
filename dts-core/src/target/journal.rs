//! The journal of cut-overs: how far each one is, on the target, in `__dts__`.`cutover`.
//!
//! # The rule
//! What a step is about to change is written down before it is changed, and a phase is written down when it is reached. So
//! whoever reads the row after a crash knows at least what may have been changed, and resolves the rest by looking at the
//! servers. Phases only go forward, until the hand-over is taken back: before that lets anybody write again the row says
//! [`Gating`](CutoverPhase::Gating) and forgets the end position, and last it is removed.
//!
//! An end position is what was true when it was read. The gate may have been opened since, by a take-back that did not come to
//! its end, by an operator, by a restart of the server: whoever goes on before [`Opening`](CutoverPhase::Opening) reads it anew.
//!
//! # The way back
//! A cut-over and a rollback have a row each, both on the target. A row that is [`Done`](CutoverPhase::Done) says which side is
//! closed, and by what: a cut-over's the source, a rollback's the target. Whoever opens that side again removes the row in the
//! same transaction that ends its own. So between two of them there is exactly one row.
use crate::data::{GateRecord, Position};
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

use super::ledger::SCHEMA;

/// The table, for [`Ledger::create_schema`](super::ledger::Ledger::create_schema).
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`cutover` (task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     phase VARCHAR(32) NOT NULL, gate LONGTEXT NOT NULL, end_position LONGTEXT, opened_position LONGTEXT, channel VARCHAR(64), verified_position LONGTEXT, \
     begun_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// How far a cut-over is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CutoverPhase {
    /// The gate is being closed: some of its changes may have been made.
    Gating,
    /// The gate is closed, and no session of an application from before is left.
    Gated,
    /// Everything up to the end position is applied, and was verified.
    Drained,
    /// The other side is being opened. From here on the gate is never opened again: both sides could be written.
    Opening,
    /// The other side is open.
    Done,
}

impl CutoverPhase {
    const ALL: [CutoverPhase; 5] = [
        CutoverPhase::Gating,
        CutoverPhase::Gated,
        CutoverPhase::Drained,
        CutoverPhase::Opening,
        CutoverPhase::Done,
    ];

    /// Returns the name used in outputs and records.
    pub fn name(self) -> &'static str {
        match self {
            CutoverPhase::Gating => "gating",
            CutoverPhase::Gated => "gated",
            CutoverPhase::Drained => "drained",
            CutoverPhase::Opening => "opening",
            CutoverPhase::Done => "done",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        CutoverPhase::ALL.into_iter().find(|phase| phase.name() == name).ok_or_else(|| {
            Error::internal(format!("phase '{name}' in {SCHEMA}.cutover is not known to this version"))
        })
    }
}

/// The row of a cut-over.
#[derive(Clone, PartialEq, Debug)]
pub struct CutoverRow {
    /// How far it is.
    pub phase: CutoverPhase,
    /// What closing the gate changes.
    pub gate: GateRecord,
    /// The gated side's position after its last write; known from [`CutoverPhase::Gated`] on, to be believed from
    /// [`CutoverPhase::Opening`] on.
    pub end_position: Option<Position>,
    /// The opened side's own position when it was opened, as the server prints it.
    pub opened_position: Option<String>,
    /// The name of the reverse channel in the ledger on the source; `None` without one.
    pub channel: Option<String>,
    /// The gated side's position up to which touched rows were compared before the gate was closed: who goes on compares from there.
    pub verified_position: Option<Position>,
}

/// The journal of one task's cut-over.
#[derive(Clone, Debug)]
pub struct CutoverJournal {
    task: String,
}

impl CutoverJournal {
    /// Names the task. Nothing is read or written yet.
    pub fn new(task: impl Into<String>) -> Self {
        CutoverJournal { task: task.into() }
    }

    /// As [`new`](Self::new), for the task's way back.
    pub fn of_rollback(task: &str) -> Self {
        CutoverJournal { task: rollback_name(task) }
    }

    /// Reads the row; `None` when no cut-over has begun, or it was taken back.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn read(&self, connection: &mut Connection) -> Result<Option<CutoverRow>> {
        let sql = format!(
            "SELECT phase, gate, end_position, opened_position, channel, verified_position FROM `__dts__`.`cutover` WHERE task = {}",
            self.literal()
        );
        let Some(row) = connection.query_row(sql, "reading the cut-over's row")? else { return Ok(None) };
        let unreadable = |error: &dyn std::fmt::Display| {
            Error::internal(format!("unreadable row in {SCHEMA}.cutover: {error}"))
        };
        Ok(Some(CutoverRow {
            phase: CutoverPhase::parse(&row.string(0))?,
            gate: serde_json::from_str(&row.string(1)).map_err(|error| unreadable(&error))?,
            end_position: row
                .text(2)
                .map(|text| text.parse().map_err(|error: Error| unreadable(&error)))
                .transpose()?,
            opened_position: row.text(3).map(Into::into),
            channel: row.text(4).map(Into::into),
            verified_position: row
                .text(5)
                .map(|text| text.parse().map_err(|error: Error| unreadable(&error)))
                .transpose()?,
        }))
    }

    /// Writes down what closing the gate is about to change, the name of the reverse channel if there is to be one, and
    /// up to where touched rows were compared.
    ///
    /// # Errors
    /// What the target answered; 1062 when another process just did the same.
    pub fn begin(
        &self,
        connection: &mut Connection,
        gate: &GateRecord,
        channel: Option<&str>,
        verified: Option<&Position>,
    ) -> Result<()> {
        let gate = serde_json::to_string(gate).map_err(|error| Error::internal(error.to_string()))?;
        let sql = format!(
            "INSERT INTO `__dts__`.`cutover` (task, phase, gate, channel, verified_position) VALUES ({}, '{}', {}, {}, {})",
            self.literal(),
            CutoverPhase::Gating.name(),
            quote::string_literal(&gate),
            channel.map_or("NULL".to_owned(), quote::string_literal),
            verified.map_or("NULL".to_owned(), |position| quote::string_literal(&position.to_string())),
        );
        connection.execute(sql, "writing down the gate").map(drop)
    }

    /// Writes down the end position with the phase [`CutoverPhase::Gated`].
    ///
    /// # Errors
    /// What the target answered.
    pub fn gated(&self, connection: &mut Connection, end: &Position) -> Result<()> {
        self.update(connection, CutoverPhase::Gated, "end_position", &end.to_string())
    }

    /// Writes down that the gate is about to be opened again: from here on the end position means nothing.
    ///
    /// # Errors
    /// What the target answered.
    pub fn taking_back(&self, connection: &mut Connection) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`cutover` SET phase = '{}', end_position = NULL WHERE task = {}",
            CutoverPhase::Gating.name(),
            self.literal()
        );
        connection.execute(sql, "recording the cut-over's phase").map(drop)
    }

    /// Writes down that everything is applied.
    ///
    /// # Errors
    /// What the target answered.
    pub fn drained(&self, connection: &mut Connection) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`cutover` SET phase = '{}' WHERE task = {}",
            CutoverPhase::Drained.name(),
            self.literal()
        );
        connection.execute(sql, "recording the cut-over's phase").map(drop)
    }

    /// Writes down where the side that is about to be opened stands.
    ///
    /// # Errors
    /// What the target answered.
    pub fn opening(&self, connection: &mut Connection, position: &str) -> Result<()> {
        self.update(connection, CutoverPhase::Opening, "opened_position", position)
    }

    /// Writes down that the other side is open, and removes the row that said that it was closed, if there is one.
    ///
    /// # Errors
    /// What the target answered.
    pub fn done(&self, connection: &mut Connection, undone: &CutoverJournal) -> Result<()> {
        let sql = format!(
            "BEGIN; UPDATE `__dts__`.`cutover` SET phase = '{}' WHERE task = {}; DELETE FROM `__dts__`.`cutover` WHERE task = \
             {}; COMMIT",
            CutoverPhase::Done.name(),
            self.literal(),
            undone.literal()
        );
        connection.execute(sql, "recording the cut-over's phase").map(drop)
    }

    /// Removes the row: the cut-over was taken back.
    ///
    /// # Errors
    /// What the target answered.
    pub fn remove(&self, connection: &mut Connection) -> Result<()> {
        let sql = format!("DELETE FROM `__dts__`.`cutover` WHERE task = {}", self.literal());
        connection.execute(sql, "removing the cut-over's row").map(drop)
    }

    fn update(
        &self,
        connection: &mut Connection,
        phase: CutoverPhase,
        column: &'static str,
        value: &str,
    ) -> Result<()> {
        let sql = format!(
            "UPDATE `__dts__`.`cutover` SET phase = '{}', {column} = {} WHERE task = {}",
            phase.name(),
            quote::string_literal(value),
            self.literal()
        );
        connection.execute(sql, "recording the cut-over's phase").map(drop)
    }

    fn literal(&self) -> String {
        quote::string_literal(&self.task)
    }
}

/// Behind a task's name; a colon is no character of one.
const ROLLBACK: &str = ":rollback";

fn rollback_name(task: &str) -> String {
    format!("{task}{ROLLBACK}")
}

/// Returns whether a row is of a way back, by its name.
pub(super) fn is_of_rollback(name: &str) -> bool {
    name.ends_with(ROLLBACK)
}

/// Builds the statement that removes all rows of a task.
pub(super) fn forget_statement(task: &str) -> String {
    format!(
        "DELETE FROM `__dts__`.`cutover` WHERE task IN ({}, {})",
        quote::string_literal(task),
        quote::string_literal(&rollback_name(task))
    )
}
