//! What the appliers have made durable, the window that they are applying in parts, and who may apply.
use std::collections::BTreeMap;

use super::{Ledger, position};
use crate::data::{GtidSet, Position};
use crate::error::{ErrorKind, Result};
use crate::sql::quote;
use crate::wire::Connection;

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`checkpoint` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
    NULL, worker INT UNSIGNED NOT NULL, applied LONGTEXT NOT NULL, PRIMARY KEY (task, worker)) \
    ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

pub(super) const CREATE_WINDOW_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`apply_window` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT \
    NULL, up_to LONGTEXT NOT NULL, PRIMARY KEY (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// Highest number of an apply worker, whatever is configured.
pub const WORKERS_MAX: u32 = 64;

/// What the appliers have made durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// All that was applied.
    pub applied: GtidSet,
    /// Each worker's own set.
    pub workers: BTreeMap<u32, GtidSet>,
}

impl Ledger {
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
}

/// Worker 0 is the coordinator, whose lock has the task's bare name.
fn apply_session(worker: u32) -> String {
    if worker == 0 { String::new() } else { format!(":{worker}") }
}
