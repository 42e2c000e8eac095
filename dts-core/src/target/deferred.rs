//! Indexes and foreign keys that were left out when a table was created, built later from what the ledger keeps of them.
use crate::data::TableName;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::server::{ServerFacts, catalog};
use crate::sql::create_table::{self, CreateTable, DefinitionKind};
use crate::target::ledger::TableRow;
use crate::transform::Route;
use crate::wire::Connection;

/// Builds the indexes of a table that are not there yet. The table's state is left to the caller.
///
/// # Errors
/// [`ErrorKind::Divergence`] when a UNIQUE index finds a value twice; else what the target answered.
pub fn build_indexes(connection: &mut Connection, facts: &ServerFacts, row: &TableRow) -> Result<()> {
    if row.deferred.indexes.is_empty() {
        return Ok(());
    }
    let there = catalog::table(connection, facts, &row.target)?;
    let missing: Vec<&String> = row
        .deferred
        .indexes
        .iter()
        .filter(|clause| {
            let name = index_name(clause);
            !there
                .indexes
                .iter()
                .any(|index| name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&index.name)))
        })
        .collect();
    for statement in create_table::build_indexes_statements(&row.target, &missing) {
        connection.execute(statement, "building indexes").map_err(|error| duplicate(error, &row.target))?;
    }
    Ok(())
}

/// Adds the foreign keys of a table, unless they are there.
///
/// # Errors
/// What the target answered.
pub fn add_foreign_keys(
    connection: &mut Connection,
    facts: &ServerFacts,
    row: &TableRow,
    route: &Route,
) -> Result<()> {
    if row.deferred.foreign_keys.is_empty() {
        return Ok(());
    }
    let there = catalog::table(connection, facts, &row.target)?;
    if !there.foreign_keys.is_empty() {
        return Ok(()); // One ALTER adds all of a table's keys: some there means all there.
    }
    let keys = &row.deferred.foreign_keys;
    if let Some(sql) = create_table::add_foreign_keys_sql(&row.target, keys, &row.source.database, route)? {
        connection.execute(sql, "adding foreign keys").map_err(|error| error.for_table(&row.target))?;
    }
    Ok(())
}

/// A duplicate found by a UNIQUE index after the converge point cannot come from the copy.
fn duplicate(error: Error, table: &TableName) -> Error {
    if error.server_error().is_some_and(|server| server.code == 1062) {
        let what = "a UNIQUE index could not be built, because a value is there twice".to_owned();
        return Error::from(ErrorKind::Divergence { what }).on(Side::Target).for_table(table);
    }
    error.for_table(table)
}

/// Returns the name of an index from its clause.
fn index_name(clause: &str) -> Option<String> {
    let table = CreateTable::parse(&format!("CREATE TABLE `t` (\n  {clause}\n) ENGINE=InnoDB")).ok()?;
    match &table.definitions().first()?.kind {
        DefinitionKind::Index { name, .. } => Some(name.clone()),
        DefinitionKind::Column { .. }
        | DefinitionKind::PrimaryKey { .. }
        | DefinitionKind::ForeignKey { .. }
        | DefinitionKind::Check
        | DefinitionKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::index_name;

    #[test]
    fn names_of_all_sorts_of_indexes() {
        for (clause, name) in [
            ("KEY `a``b` (`x`)", "a`b"),
            ("UNIQUE KEY `u` (`x`,`y`(10))", "u"),
            ("FULLTEXT KEY `f` (`t`) /*!50100 WITH PARSER `ngram` */", "f"),
            ("KEY `e` ((lower(`x`)))", "e"),
        ] {
            assert_eq!(index_name(clause).as_deref(), Some(name), "{clause}");
        }
    }
}
