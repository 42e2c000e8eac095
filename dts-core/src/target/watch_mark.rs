//! Up to where the target's own binary log was searched for writes of others, in the schema `__dts__`.
use crate::data::GtidSet;
use crate::error::Result;
use crate::sql::quote;
use crate::wire::Connection;

/// Reads how far the log was searched for a task; `None` when it never was.
///
/// # Errors
/// What the target answered, or a set that cannot be read.
pub fn read(connection: &mut Connection, task: &str) -> Result<Option<GtidSet>> {
    let sql = format!("SELECT searched FROM `__dts__`.`watch` WHERE task = {}", quote::string_literal(task));
    match connection.query_row(sql, "reading how far the target's log was searched") {
        Ok(row) => row.map(|row| GtidSet::parse(&row.string(0))).transpose(),
        // Unknown database, unknown table: nobody ever looked.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes how far the log is searched.
///
/// # Errors
/// What the target answered.
pub fn write(connection: &mut Connection, task: &str, searched: &GtidSet) -> Result<()> {
    connection.execute(
        "CREATE TABLE IF NOT EXISTS `__dts__`.`watch` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
         searched LONGTEXT NOT NULL, PRIMARY KEY (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "making the place for how far the target's log is searched",
    )?;
    let sql = format!(
        "INSERT INTO `__dts__`.`watch` (task, searched) VALUES ({}, {}) ON DUPLICATE KEY UPDATE searched = VALUES(searched)",
        quote::string_literal(task),
        quote::string_literal(&searched.to_string())
    );
    connection.execute(sql, "recording how far the target's log is searched").map(drop)
}

/// Forgets it.
///
/// # Errors
/// What the target answered.
pub fn forget(connection: &mut Connection, task: &str) -> Result<()> {
    let sql = format!("DELETE FROM `__dts__`.`watch` WHERE task = {}", quote::string_literal(task));
    match connection.execute(sql, "forgetting how far the log was searched") {
        // Unknown database, unknown table: nobody ever looked.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => Ok(()),
        done => done.map(drop),
    }
}
