//! The rows of views, stored programs, triggers and events that are the task's.
use std::collections::BTreeSet;

use super::Ledger;
use crate::data::{ObjectKind, TableName};
use crate::error::Result;
use crate::sql::quote;
use crate::wire::Connection;

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`object` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
    kind VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, database_name VARCHAR(64) NOT NULL, \
    object_name VARCHAR(64) NOT NULL, PRIMARY KEY (task, kind, database_name, object_name)) \
    ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

impl Ledger {
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
}
