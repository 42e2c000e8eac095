//! The row of a schema change that was carried from the log.
use super::{Ledger, SCHEMA};
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`ddl` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
    gtid VARCHAR(96) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, state VARCHAR(16) NOT NULL, statement LONGTEXT NOT \
    NULL, before_digest CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, begun_at TIMESTAMP NOT NULL DEFAULT \
    CURRENT_TIMESTAMP, PRIMARY KEY (task, gtid)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

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

impl Ledger {
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
}
