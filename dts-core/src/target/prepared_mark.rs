//! Which XA transactions of the source are prepared and not ended, as far as who applies knows, in the schema `__dts__`.
//!
//! Nothing of them is to be seen on the source, so that a target without them shows all that the source shows. A note that is out of
//! date does no harm: the end of such a transaction has a GTID of its own, which is applied together with its rows.
use crate::data::GtidSet;
use crate::error::Result;
use crate::sql::quote;
use crate::wire::Connection;

/// Creates the table.
pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`prepared` (task VARCHAR(64) CHARACTER SET ascii COLLATE \
    ascii_bin NOT NULL, transactions LONGTEXT NOT NULL, PRIMARY KEY (task)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// Reads which are noted for a task, by the GTIDs of their XA PREPARE.
///
/// # Errors
/// What the target answered, or a set that cannot be read.
pub fn read(connection: &mut Connection, task: &str) -> Result<GtidSet> {
    let sql =
        format!("SELECT transactions FROM `__dts__`.`prepared` WHERE task = {}", quote::string_literal(task));
    match connection.query_row(sql, "reading which XA transactions are prepared") {
        Ok(row) => row.map_or(Ok(GtidSet::new()), |row| GtidSet::parse(&row.string(0))),
        // Unknown database, unknown table: an earlier version ran the task.
        Err(error) if error.server_error().is_some_and(|answer| matches!(answer.code, 1049 | 1146)) => {
            Ok(GtidSet::new())
        }
        Err(error) => Err(error),
    }
}

/// Builds the statement that notes them.
pub fn statement(task: &str, transactions: &GtidSet) -> String {
    format!(
        "INSERT INTO `__dts__`.`prepared` (task, transactions) VALUES ({}, {}) ON DUPLICATE KEY UPDATE transactions = \
         VALUES(transactions)",
        quote::string_literal(task),
        quote::string_literal(&transactions.to_string())
    )
}
