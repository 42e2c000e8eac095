//! Triggers that are away for a while, in the schema `__dts__` of the server that they belong to.
//!
//! While changes are applied to a server its triggers must not act: they would do a second time what comes as changes of rows.
//! There is no switch for that, so they are written down whole, dropped, and made again from what was written.
use serde::{Deserialize, Serialize};

use crate::data::{ObjectKind, TableName};
use crate::error::{Error, Result};
use crate::server::catalog::{CreationContext, ObjectDefinition};
use crate::sql::quote;
use crate::wire::Connection;

/// A trigger and all that its text means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldTrigger {
    database: String,
    name: String,
    table: String,
    definer: String,
    sql_mode: String,
    charset_client: String,
    collation_connection: String,
    database_collation: String,
    /// The statement that makes it.
    pub text: String,
}

impl HeldTrigger {
    /// Takes what the server says of a trigger, and the statement that makes it.
    pub fn new(definition: &ObjectDefinition, text: String) -> Self {
        HeldTrigger {
            database: definition.name.database.clone(),
            name: definition.name.table.clone(),
            table: definition.table.clone().unwrap_or_default(),
            definer: definition.definer.clone(),
            sql_mode: definition.context.sql_mode.clone(),
            charset_client: definition.context.charset_client.clone(),
            collation_connection: definition.context.collation_connection.clone(),
            database_collation: definition.context.database_collation.clone(),
            text,
        }
    }

    /// Returns what the server said of it.
    pub fn definition(&self) -> ObjectDefinition {
        ObjectDefinition {
            kind: ObjectKind::Trigger,
            name: TableName::new(&self.database, &self.name),
            definer: self.definer.clone(),
            is_invoker: false,
            context: CreationContext {
                sql_mode: self.sql_mode.clone(),
                charset_client: self.charset_client.clone(),
                collation_connection: self.collation_connection.clone(),
                database_collation: self.database_collation.clone(),
            },
            table: Some(self.table.clone()),
            time_zone: None,
            comment: String::new(),
        }
    }
}

/// Makes the place for them.
///
/// # Errors
/// What the server answered.
pub fn create(connection: &mut Connection) -> Result<()> {
    let sql = "CREATE TABLE IF NOT EXISTS `__dts__`.`held_trigger` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, task VARCHAR(64) \
               CHARACTER SET ascii COLLATE ascii_bin NOT NULL, trigger_name VARCHAR(160) NOT NULL, definition LONGTEXT NOT NULL, \
               PRIMARY KEY (id), UNIQUE KEY (task, trigger_name)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";
    connection.execute(sql, "making the place for triggers that are held back").map(drop)
}

/// Writes a trigger down. One that is written down already keeps its place in the order.
///
/// # Errors
/// What the server answered.
pub fn add(connection: &mut Connection, task: &str, trigger: &HeldTrigger) -> Result<()> {
    let definition = serde_json::to_string(trigger).map_err(|error| Error::internal(error.to_string()))?;
    let sql = format!(
        "INSERT INTO `__dts__`.`held_trigger` (task, trigger_name, definition) VALUES ({}, {}, {}) ON DUPLICATE KEY UPDATE \
         definition = VALUES(definition)",
        quote::string_literal(task),
        quote::string_literal(&format!("{}.{}", trigger.database, trigger.name)),
        quote::string_literal(&definition)
    );
    connection.execute(sql, "writing a trigger down").map(drop)
}

/// Reads all, in the order in which they were written; none where there is no place for them.
///
/// # Errors
/// What the server answered, or a row that cannot be read.
pub fn list(connection: &mut Connection, task: &str) -> Result<Vec<HeldTrigger>> {
    let sql = format!(
        "SELECT definition FROM `__dts__`.`held_trigger` WHERE task = {} ORDER BY id",
        quote::string_literal(task)
    );
    let rows = match connection.query(sql, "reading the triggers that are held back") {
        // Unknown database, unknown table.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => {
            return Ok(Vec::new());
        }
        rows => rows?,
    };
    let read = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| Error::internal(format!("unreadable row in __dts__.held_trigger: {error}")))
    };
    rows.iter().map(|row| read(row.string(0))).collect()
}

/// Forgets all of a task; they are there again.
///
/// # Errors
/// What the server answered.
pub fn forget(connection: &mut Connection, task: &str) -> Result<()> {
    let sql = format!("DELETE FROM `__dts__`.`held_trigger` WHERE task = {}", quote::string_literal(task));
    match connection.execute(sql, "forgetting the triggers that were held back") {
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => Ok(()),
        done => done.map(drop),
    }
}
