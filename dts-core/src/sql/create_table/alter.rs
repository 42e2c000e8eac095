//! What is added to a table later: its secondary indexes and foreign keys.
use super::parse::{find_parent, not_understood};
use crate::data::TableName;
use crate::error::Result;
use crate::sql::quote;
use crate::sql::token::{Dialect, Edits, Tokens};
use crate::transform::Route;

/// Returns one `ALTER TABLE` that adds all the indexes; `None` when there are none.
///
/// Several `FULLTEXT` indexes in one statement make the server copy the table rather than build in place; see
/// [`build_indexes_statements`].
pub fn build_indexes_sql<S: AsRef<str>>(target: &TableName, clauses: &[S]) -> Option<String> {
    alter_table(target, clauses.iter().map(AsRef::as_ref))
}

/// Returns the statements that add all the indexes with the least work: one `ALTER TABLE` for all but the `FULLTEXT`
/// indexes, then one for each of these, because InnoDB builds only one of them at a time in place.
pub fn build_indexes_statements<S: AsRef<str>>(target: &TableName, clauses: &[S]) -> Vec<String> {
    let is_full_text =
        |clause: &&str| clause.get(..8).is_some_and(|word| word.eq_ignore_ascii_case("FULLTEXT"));
    let clauses: Vec<&str> = clauses.iter().map(AsRef::as_ref).collect();
    let (full_text, plain): (Vec<&str>, Vec<&str>) = clauses.into_iter().partition(is_full_text);
    let together = alter_table(target, plain.into_iter());
    together
        .into_iter()
        .chain(full_text.into_iter().filter_map(|clause| alter_table(target, [clause].into_iter())))
        .collect()
}

/// Returns one `ALTER TABLE` that adds all the foreign keys, the names of the parents as the route has them; `None` when
/// there are none.
///
/// # Errors
/// [`ErrorKind::Protocol`](crate::error::ErrorKind::Protocol) when a clause is no foreign key.
pub fn add_foreign_keys_sql<S: AsRef<str>>(
    target: &TableName,
    clauses: &[S],
    source_database: &str,
    route: &Route,
) -> Result<Option<String>> {
    let routed = clauses
        .iter()
        .map(|clause| {
            let clause = clause.as_ref();
            let tokens = Tokens::new(clause, Dialect::default())
                .ok_or_else(|| not_understood("a quote is not closed"))?;
            let Some((range, parent)) = find_parent(&tokens, source_database) else {
                return Err(not_understood("a foreign key names no table"));
            };
            let mut edits = Edits::default();
            edits.replace(tokens.span(range), quote::table(&route.target_of(&parent)));
            Ok(edits.apply(clause))
        })
        .collect::<Result<Vec<String>>>()?;
    Ok(alter_table(target, routed.iter().map(String::as_str)))
}

/// Returns the parent that a foreign key names, when a change of the parent changes rows of the child (CASCADE, SET NULL, SET
/// DEFAULT); `database` is the child's.
pub fn cascading_parent(clause: &str, database: &str) -> Option<TableName> {
    let tokens = Tokens::new(clause, Dialect::default())?;
    let (range, parent) = find_parent(&tokens, database)?;
    let acts = |at: usize| tokens.is(at, "CASCADE") || tokens.is(at, "SET");
    (range.end..tokens.len())
        .any(|at| tokens.is(at, "ON") && tokens.is_any(at + 1, &["DELETE", "UPDATE"]) && acts(at + 2))
        .then_some(parent)
}

fn alter_table<'a>(target: &TableName, clauses: impl Iterator<Item = &'a str>) -> Option<String> {
    let clauses: Vec<String> = clauses.map(|clause| format!("ADD {clause}")).collect();
    (!clauses.is_empty())
        .then(|| format!("ALTER TABLE {}\n  {}", quote::table(target), clauses.join(",\n  ")))
}
