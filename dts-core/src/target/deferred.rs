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
            let name = clause_name(clause);
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

/// Adds those of `wanted` foreign keys of a table that are not there yet; `wanted`: clauses of the row.
///
/// # Errors
/// What the target answered.
pub fn add_foreign_keys(
    connection: &mut Connection,
    facts: &ServerFacts,
    row: &TableRow,
    mut wanted: Vec<&String>,
    route: &Route,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let there = catalog::table(connection, facts, &row.target)?;
    wanted.retain(|clause| {
        let name = clause_name(clause);
        !there
            .foreign_keys
            .iter()
            .any(|key| name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&key.name)))
    });
    if let Some(sql) = create_table::add_foreign_keys_sql(&row.target, &wanted, &row.source.database, route)?
    {
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

/// Returns the name of an index or a foreign key from its clause.
fn clause_name(clause: &str) -> Option<String> {
    let table = CreateTable::parse(&format!("CREATE TABLE `t` (\n  {clause}\n) ENGINE=InnoDB")).ok()?;
    match &table.definitions().first()?.kind {
        DefinitionKind::Index { name, .. } => Some(name.clone()),
        DefinitionKind::ForeignKey { name, .. } => name.clone(),
        DefinitionKind::Column { .. }
        | DefinitionKind::PrimaryKey { .. }
        | DefinitionKind::Check
        | DefinitionKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::clause_name;

    #[test]
    fn names_of_all_sorts_of_clauses() {
        for (clause, name) in [
            ("KEY `a``b` (`x`)", "a`b"),
            ("UNIQUE KEY `u` (`x`,`y`(10))", "u"),
            ("FULLTEXT KEY `f` (`t`) /*!50100 WITH PARSER `ngram` */", "f"),
            ("KEY `e` ((lower(`x`)))", "e"),
            ("CONSTRAINT `c``f` FOREIGN KEY (`x`) REFERENCES `p` (`id`) ON DELETE CASCADE", "c`f"),
        ] {
            assert_eq!(clause_name(clause).as_deref(), Some(name), "{clause}");
        }
    }
}
