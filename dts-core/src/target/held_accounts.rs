//! Which accounts the gates of hand-overs hold at this moment: of this task and of all others that share the target.
//!
//! A gate's row is written before it is closed and removed after it was opened. So an account that is held when it is looked at is
//! named by a row that is there before or after that look.
use crate::data::{GateKind, GateRecord, HeldAccount};
use crate::error::{Error, Result};
use crate::wire::Connection;

use super::journal;
use super::ledger::SCHEMA;

/// Accounts that are held, of either side.
#[derive(Clone, Debug, Default)]
pub struct HeldAccounts {
    /// On the source, by cut-overs.
    pub source: Vec<HeldAccount>,
    /// On the target, by ways back.
    pub target: Vec<HeldAccount>,
}

impl HeldAccounts {
    /// Reads those of a source and of the target that `connection` leads to. `source_uuid`: the source's `server_uuid`; tasks of other
    /// sources hold other accounts.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn read(connection: &mut Connection, source_uuid: &str) -> Result<Self> {
        let sql = "SELECT c.task, c.gate, t.source_uuid FROM `__dts__`.`cutover` c LEFT JOIN `__dts__`.`task` t ON t.task = c.task";
        let rows = match connection.query(sql, "reading which accounts are held") {
            // Unknown database, unknown table: nobody ever cut over.
            Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => {
                return Ok(HeldAccounts::default());
            }
            rows => rows?,
        };
        let mut held = HeldAccounts::default();
        for row in rows {
            let gate: GateRecord = serde_json::from_str(&row.string(1))
                .map_err(|error| Error::internal(format!("unreadable row in {SCHEMA}.cutover: {error}")))?;
            if gate.kind != GateKind::LockAccounts {
                continue;
            }
            if journal::is_of_rollback(&row.string(0)) {
                held.target.extend(gate.accounts);
            } else if row.string(2) == source_uuid {
                held.source.extend(gate.accounts);
            }
        }
        Ok(held)
    }

    /// Adds those that were held at another moment.
    pub fn add(&mut self, other: HeldAccounts) {
        self.source.extend(other.source);
        self.target.extend(other.target);
    }
}
