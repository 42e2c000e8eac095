//! The row of a task: where it started, where its copy became consistent, and its phase.
use super::{Ledger, SCHEMA, position};
use crate::data::Position;
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`task` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
    source_uuid VARCHAR(64) NOT NULL, start_position LONGTEXT NOT NULL, converge_position LONGTEXT, \
    phase VARCHAR(32) NOT NULL, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (task)) \
    ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

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

impl Ledger {
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
}
