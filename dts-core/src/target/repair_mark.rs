//! Tells our repairs from other people's writes in the target's binary log.
use crate::data::TableName;
use crate::error::Result;
use crate::sql::quote;
use crate::wire::Connection;

/// Makes the place for the marks.
///
/// # Errors
/// What the target answered.
pub fn create(connection: &mut Connection) -> Result<()> {
    for sql in [
        "CREATE DATABASE IF NOT EXISTS `__dts__` DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "CREATE TABLE IF NOT EXISTS `__dts__`.`repair` (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, table_name VARCHAR(200) NOT \
         NULL, row_count BIGINT UNSIGNED NOT NULL, repaired_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id)) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    ] {
        connection.execute(sql, "making the place for repair marks")?;
    }
    Ok(())
}

/// Builds the statement that belongs into the transaction of a repair.
pub fn statement(table: &TableName, row_count: u64) -> String {
    format!(
        "INSERT INTO `__dts__`.`repair` (table_name, row_count) VALUES ({}, {row_count})",
        quote::string_literal(&table.to_string())
    )
}
