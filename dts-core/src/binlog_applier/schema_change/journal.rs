//! What the target's tables look like, as a digest: whether a schema change was run is read from it.
use std::collections::BTreeSet;

use crate::data::TableName;
use crate::error::Result;
use crate::server::ServerFacts;
use crate::sql::quote;
use crate::wire::Connection;

/// `ER_NO_SUCH_TABLE`, `ER_BAD_DB_ERROR`
const MISSING: [u16; 2] = [1146, 1049];

/// Returns a digest of the definitions of tables on the target, missing ones included, and of InnoDB's own numbers of them: two tables
/// that look alike have different numbers, and one that is swapped, emptied or rebuilt is known by its number.
///
/// The next AUTO_INCREMENT value is left out.
///
/// # Errors
/// What the target answered.
pub(super) fn digest(
    connection: &mut Connection,
    facts: &ServerFacts,
    tables: &BTreeSet<TableName>,
) -> Result<Digest> {
    let mut text = String::new();
    let mut has_numbers = true;
    for table in tables {
        let shown = format!("SHOW CREATE TABLE {}", quote::table(table));
        let definition = match connection.query_row(shown, "reading a table's definition") {
            Ok(row) => row.map(|row| row.string(1)).unwrap_or_default(),
            Err(error) if error.server_error().is_some_and(|answer| MISSING.contains(&answer.code)) => {
                String::new()
            }
            Err(error) => return Err(error),
        };
        text.push_str(&format!("{table}\n{}\n", without_next_number(&definition)));
        let numbers = numbers(connection, facts, table)?.unwrap_or_default();
        has_numbers &= definition.is_empty() || !numbers.is_empty();
        text.push_str(&numbers);
    }
    let sql = format!("SELECT SHA2({}, 256)", quote::string_literal(&text));
    let digest =
        connection.query_row(sql, "computing a digest")?.map(|row| row.string(0)).unwrap_or_default();
    Ok(Digest { digest, has_numbers })
}

/// What tables look like.
pub(super) struct Digest {
    pub(super) digest: String,
    /// The target told InnoDB's numbers of the tables.
    pub(super) has_numbers: bool,
}

/// Returns InnoDB's numbers of a table and its partitions; `None` when the account may not see them.
fn numbers(connection: &mut Connection, facts: &ServerFacts, table: &TableName) -> Result<Option<String>> {
    let view = if facts.is_mysql_at_least(8, 0, 0) { "INNODB_TABLES" } else { "INNODB_SYS_TABLES" };
    let name = format!("{}/{}", file_name(&table.database), file_name(&table.table));
    let sql = format!(
        "SELECT NAME, TABLE_ID FROM information_schema.{view} WHERE NAME = {0} OR NAME LIKE CONCAT(REPLACE(REPLACE({0}, \
         '_', '\\\\_'), '%', '\\\\%'), '#P#%') ORDER BY NAME",
        quote::string_literal(&name)
    );
    match connection.query(sql, "reading InnoDB's numbers of a table") {
        Ok(rows) => {
            Ok(Some(rows.iter().map(|row| format!("{} {}\n", row.string(0), row.string(1))).collect()))
        }
        Err(error) if error.server_error().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a name as InnoDB does: everything but ASCII letters, digits, `_` and `$`… as `@` and four hexadecimal digits.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '0'..='9' | 'a'..='z' | 'A'..='Z' | '_' => character.to_string(),
            other => format!("@{:04x}", u32::from(other)),
        })
        .collect()
}

/// Takes `AUTO_INCREMENT=n` out of the table options.
fn without_next_number(definition: &str) -> String {
    let Some(options) = definition.rfind("\n)") else { return definition.to_owned() };
    let (head, tail) = definition.split_at(options);
    match tail.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|character: char| character.is_ascii_digit());
            format!("{head}{before}{rest}")
        }
        None => definition.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{file_name, without_next_number};

    #[test]
    fn the_next_number_does_not_count() {
        let shown = "CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=7'\n) ENGINE=InnoDB AUTO_INCREMENT=12 COMMENT='x'";
        let wanted = "CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=7'\n) ENGINE=InnoDB COMMENT='x'";
        assert_eq!(without_next_number(shown), wanted);
        assert_eq!(without_next_number(wanted), wanted);
    }

    #[test]
    fn names_as_innodb_writes_them() {
        assert_eq!(file_name("a-b_1"), "a@002db_1");
    }
}
