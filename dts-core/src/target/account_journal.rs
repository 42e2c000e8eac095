//! The journal of carried accounts: `__dts__`.`account` on the target.
//!
//! # The rule
//! What is about to be done to an account is written down before it is done: that it is created, and what it is given. So an
//! account that is on the target without a row is somebody else's, and is never changed; one with a row is compared in three
//! ways: what the source has now, what was carried last, what the target has. What the source changed since is carried; what
//! somebody changed on the target stays and is told, also that it was dropped there.
//!
//! Neither a password nor a hash is ever in it; of each hash there are 16 bits of a digest, which tell two passwords of the same second
//! apart. Whoever can read them rules out all but one in 65536 guesses, so the schema `__dts__` is not for applications.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::data::{Account, Attribute, Grant};
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

use super::ledger::{Ledger, SCHEMA};

/// The table, for [`Ledger::create_schema`](super::ledger::Ledger::create_schema).
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`account` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     user VARBINARY(128) NOT NULL, host VARBINARY(255) NOT NULL, record LONGTEXT NOT NULL, changed_at TIMESTAMP NOT NULL \
     DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (task, user, host)) ENGINE=InnoDB DEFAULT \
     CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// What was carried of an account.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AccountRecord {
    /// dts created it on the target (or is about to); otherwise it was there before and was the same.
    pub is_created: bool,
    /// All that is recorded was carried; otherwise it is being changed, or a run ended in the middle.
    pub is_done: bool,
    /// What it was given; until it is done, what it was given or is about to be.
    pub grants: BTreeSet<Grant>,
    /// What it was set to; until it is done, without what is about to be set.
    pub attributes: BTreeMap<Attribute, String>,
    /// What the target refused.
    pub refused: BTreeSet<Grant>,
    /// What went wrong, for people.
    pub problems: Vec<String>,
    /// Why it could not be created: it is not on the target, or somebody else created it since.
    pub failure: Option<String>,
}

/// The journal of one task's accounts.
#[derive(Clone, Debug)]
pub struct AccountJournal {
    task: String,
}

impl AccountJournal {
    /// Names the task. Nothing is read or written yet.
    pub fn new(task: impl Into<String>) -> Self {
        AccountJournal { task: task.into() }
    }

    /// Makes the place for the rows, where an earlier version has not.
    ///
    /// # Errors
    /// What the target answered.
    pub fn prepare(&self, connection: &mut Connection) -> Result<()> {
        if !self.is_there(connection)? {
            connection.execute(CREATE_TABLE, "making the place for accounts")?;
        }
        Ok(())
    }

    fn is_there(&self, connection: &mut Connection) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '__dts__' AND TABLE_NAME = 'account'";
        Ok(connection.query_row(sql, "looking for the accounts' table")?.and_then(|row| row.u64(0))
            == Some(1))
    }

    /// Reads all rows of the task; none when no task was ever begun.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn read(&self, connection: &mut Connection) -> Result<BTreeMap<Account, AccountRecord>> {
        if !self.is_there(connection)? {
            return Ok(BTreeMap::new());
        }
        let sql =
            format!("SELECT user, host, record FROM `__dts__`.`account` WHERE task = {}", self.literal());
        let mut records = BTreeMap::new();
        for row in connection.query(sql, "reading which accounts were carried")? {
            let record = serde_json::from_str(&row.string(2))
                .map_err(|error| Error::internal(format!("unreadable row in {SCHEMA}.account: {error}")))?;
            records.insert(Account::new(row.string(0), row.string(1)), record);
        }
        Ok(records)
    }

    /// Reads the accounts that other tasks carry.
    ///
    /// # Errors
    /// What the target answered.
    pub fn of_others(&self, connection: &mut Connection) -> Result<BTreeSet<Account>> {
        if !self.is_there(connection)? {
            return Ok(BTreeSet::new());
        }
        let sql = format!("SELECT user, host FROM `__dts__`.`account` WHERE task <> {}", self.literal());
        let rows = connection.query(sql, "reading which accounts other tasks carry")?;
        Ok(rows.iter().map(|row| Account::new(row.string(0), row.string(1))).collect())
    }

    /// Writes the row of an account.
    ///
    /// # Errors
    /// What the target answered.
    pub fn write(
        &self,
        connection: &mut Connection,
        account: &Account,
        record: &AccountRecord,
    ) -> Result<()> {
        let text = serde_json::to_string(record).map_err(|error| Error::internal(error.to_string()))?;
        let sql = format!(
            "INSERT INTO `__dts__`.`account` (task, user, host, record) VALUES ({}, {}, {}, {}) ON DUPLICATE KEY UPDATE record = \
             VALUES(record)",
            self.literal(),
            quote::string_literal(&account.user),
            quote::string_literal(&account.host),
            quote::string_literal(&text)
        );
        connection.execute(sql, "recording an account").map(drop)
    }

    /// Removes the row of an account.
    ///
    /// # Errors
    /// What the target answered.
    pub fn remove(&self, connection: &mut Connection, account: &Account) -> Result<()> {
        connection.execute(self.remove_statement(account), "forgetting an account").map(drop)
    }

    /// Builds the statement that removes the row of an account.
    pub fn remove_statement(&self, account: &Account) -> String {
        format!(
            "DELETE FROM `__dts__`.`account` WHERE task = {} AND user = {} AND host = {}",
            self.literal(),
            quote::string_literal(&account.user),
            quote::string_literal(&account.host)
        )
    }

    /// Waits until no other session carries accounts for the task, and keeps others from it as long as `connection` lives.
    /// Returns whether that was possible within `seconds`.
    ///
    /// # Errors
    /// What the target answered.
    pub fn lock(&self, connection: &mut Connection, seconds: u32) -> Result<bool> {
        let name = Ledger::new(self.task.clone()).lock_name(":accounts");
        let sql = format!("SELECT GET_LOCK({name}, {seconds})");
        let row = connection.query_row(sql, "waiting for the accounts' lock")?;
        Ok(row.and_then(|row| row.u64(0)) == Some(1))
    }

    fn literal(&self) -> String {
        quote::string_literal(&self.task)
    }
}
