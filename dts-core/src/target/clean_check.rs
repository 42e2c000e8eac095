//! What the last check of all tables found, in the schema `__dts__`, and since when rows may have changed.
use crate::data::Position;
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::wire::Connection;

/// The last check of all tables that came to a result.
#[derive(Clone, PartialEq, Debug)]
pub struct LastCheck {
    /// Whether both sides were found equal.
    pub is_clean: bool,
    /// How thoroughly was compared.
    pub mode: String,
    /// The source's position before it began: what is not in it may have changed a row after it was compared.
    pub position: Position,
    /// When, by the target's clock, in UTC.
    pub at: String,
}

/// Reads it; `None` when there was none.
///
/// # Errors
/// What the target answered, or a row that cannot be read.
pub fn read(connection: &mut Connection, task: &str) -> Result<Option<LastCheck>> {
    let sql = format!(
        "SELECT is_clean, mode, position, ended_at FROM `__dts__`.`last_check` WHERE task = {}",
        quote::string_literal(task)
    );
    let row = match connection.query_row(sql, "reading what the last check found") {
        // Unknown database, unknown table: nobody ever looked.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => None,
        row => row?,
    };
    row.map(|row| {
        let position = row.string(2).parse().map_err(|error: Error| {
            Error::internal(format!("unreadable row in __dts__.last_check: {error}"))
        })?;
        Ok(LastCheck { is_clean: row.u64(0) == Some(1), mode: row.string(1), position, at: row.string(3) })
    })
    .transpose()
}

/// Writes it down.
///
/// # Errors
/// What the target answered.
pub fn write(
    connection: &mut Connection,
    task: &str,
    is_clean: bool,
    mode: &str,
    position: &Position,
) -> Result<()> {
    connection.execute(
        "CREATE TABLE IF NOT EXISTS `__dts__`.`last_check` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
         is_clean TINYINT NOT NULL, mode VARCHAR(16) NOT NULL, position LONGTEXT NOT NULL, ended_at DATETIME NOT NULL, PRIMARY KEY \
         (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "making the place for what a check found",
    )?;
    let sql = format!(
        "REPLACE INTO `__dts__`.`last_check` (task, is_clean, mode, position, ended_at) VALUES ({}, {}, {}, {}, UTC_TIMESTAMP())",
        quote::string_literal(task),
        u8::from(is_clean),
        quote::string_literal(mode),
        quote::string_literal(&position.to_string())
    );
    connection.execute(sql, "writing down what a check found").map(drop)
}

/// Forgets it.
///
/// # Errors
/// What the target answered.
pub fn forget(connection: &mut Connection, task: &str) -> Result<()> {
    let sql = format!("DELETE FROM `__dts__`.`last_check` WHERE task = {}", quote::string_literal(task));
    match connection.execute(sql, "forgetting what a check found") {
        // Unknown database, unknown table: nobody ever looked.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => Ok(()),
        done => done.map(drop),
    }
}
