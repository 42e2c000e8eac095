//! AUTO_INCREMENT: the next number that a table gives.
//!
//! Applied rows move the target's counter past the largest number they hold. It still falls behind where the source gave
//! numbers that no row has any more, and an application may rely on a number never being given twice.
use std::collections::BTreeMap;

use crate::data::TableName;
use crate::error::Result;
use crate::sql::quote;
use crate::wire::Connection;

/// Raises the counters of `to` that are behind those of `from`, and returns the tables. `pairs`: names on both sides.
///
/// 8.0 and later remember a counter for up to a day in `information_schema`; the sessions of the endpoints switch that off.
///
/// # Errors
/// What a server answered.
pub(crate) fn raise(
    from: &mut Connection,
    to: &mut Connection,
    pairs: &[(TableName, TableName)],
) -> Result<Vec<TableName>> {
    let ahead = read(from, pairs.iter().map(|(name, _)| name))?;
    let behind = read(to, pairs.iter().map(|(_, name)| name))?;
    let mut raised = Vec::new();
    for (from_name, to_name) in pairs {
        let Some(wanted) = ahead.get(from_name) else { continue };
        if behind.get(to_name).is_some_and(|present| present < wanted) {
            let sql = format!("ALTER TABLE {} AUTO_INCREMENT = {wanted}", quote::table(to_name));
            to.execute(sql, "raising an AUTO_INCREMENT counter")?;
            raised.push(to_name.clone());
        }
    }
    Ok(raised)
}

fn read<'n>(
    connection: &mut Connection,
    names: impl Iterator<Item = &'n TableName>,
) -> Result<BTreeMap<TableName, u64>> {
    let mut databases: Vec<&str> = names.map(|name| name.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    let mut counters = BTreeMap::new();
    for database in databases {
        let sql = format!(
            "SELECT TABLE_NAME, AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND AUTO_INCREMENT IS \
             NOT NULL",
            quote::string_literal(database)
        );
        for row in connection.query(sql, "reading AUTO_INCREMENT counters")? {
            if let Some(next) = row.u64(1) {
                counters.insert(TableName::new(database, row.string(0)), next);
            }
        }
    }
    Ok(counters)
}
