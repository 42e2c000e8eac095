//! What an account may really do, from `SHOW GRANTS`.
use std::collections::BTreeSet;

use crate::data::TableName;
use crate::error::Result;
use crate::server::ServerFacts;
use crate::wire::Connection;

/// The effective privileges of the connected account, its active roles included.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    grants: Vec<Grant>,
    /// Partial revokes (8.0): taken away from a global grant for single databases.
    revokes: Vec<Grant>,
    /// With `partial_revokes`, `%` and `_` in a database-level grant stand for themselves.
    wildcards_are_literal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    privileges: BTreeSet<String>,
    all: bool,
    grant_option: bool,
    scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Global,
    /// A name or pattern as the grant has it.
    Database(String),
    Table(TableName),
    /// A routine, or something this version has and dts does not know.
    Other,
}

impl Grants {
    /// Asks the server about the account that is connected.
    pub(super) fn read(connection: &mut Connection, facts: &ServerFacts) -> Result<Grants> {
        let mut sql = "SHOW GRANTS".to_owned();
        if facts.is_mysql_at_least(8, 0, 0) {
            // Only active roles count: the sessions of a task get the same ones when they log in.
            let roles = connection.query_row("SELECT CURRENT_ROLE()", "asking for the active roles")?;
            let roles = roles.map(|row| row.string(0)).unwrap_or_default();
            if roles.starts_with('`') {
                sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
            }
        }
        let rows = connection.query(sql, "reading the account's grants")?;
        let lines: Vec<String> = rows.iter().map(|row| row.string(0)).collect();
        Ok(Grants::parse(&lines, facts.is_on("partial_revokes") == Some(true)))
    }

    fn parse(lines: &[impl AsRef<str>], wildcards_are_literal: bool) -> Grants {
        let mut grants = Grants { wildcards_are_literal, ..Grants::default() };
        for line in lines {
            if let Some(rest) = line.as_ref().strip_prefix("GRANT ") {
                grants.grants.extend(Grant::parse(rest));
            } else if let Some(rest) = line.as_ref().strip_prefix("REVOKE ") {
                grants.revokes.extend(Grant::parse(rest));
            }
        }
        grants
    }

    pub(super) fn has_global(&self, privilege: &str) -> bool {
        self.grants.iter().any(|grant| grant.scope == Scope::Global && grant.has(privilege))
    }

    /// For the whole database, tables that do not exist yet included.
    pub(super) fn has_on_database(&self, privilege: &str, database: &str) -> bool {
        let fits = |grant: &&Grant| match &grant.scope {
            Scope::Database(pattern) => self.fits(pattern, database),
            Scope::Global | Scope::Table(_) | Scope::Other => false,
        };
        let is_revoked = self.revokes.iter().any(|revoke| {
            matches!(&revoke.scope, Scope::Database(name) if name == database) && revoke.has(privilege)
        });
        (self.has_global(privilege) && !is_revoked)
            || self.grants.iter().filter(fits).any(|grant| grant.has(privilege))
    }

    pub(super) fn has_on_table(&self, privilege: &str, table: &TableName) -> bool {
        self.has_on_database(privilege, &table.database)
            || self.grants.iter().any(|grant| {
                matches!(&grant.scope, Scope::Table(name) if name == table) && grant.has(privilege)
            })
    }

    /// Which of these are granted anywhere at all.
    pub(super) fn any_of<'p>(&self, privileges: &[&'p str]) -> Vec<&'p str> {
        privileges
            .iter()
            .filter(|privilege| self.grants.iter().any(|grant| grant.has(privilege)))
            .copied()
            .collect()
    }

    fn fits(&self, pattern: &str, database: &str) -> bool {
        if self.wildcards_are_literal { pattern == database } else { like(pattern, database) }
    }
}

impl Grant {
    /// Reads what follows `GRANT` or `REVOKE`; `None` for roles and proxies.
    fn parse(text: &str) -> Option<Grant> {
        let (privileges, rest) = split_at_word(text, " ON ")?;
        let names: BTreeSet<String> = split_outside(privileges, ',')
            .iter()
            // A privilege for some columns only is not one for the table.
            .filter(|name| !name.contains('('))
            .map(|name| canonical(name.trim()))
            .collect();
        if names.contains("PROXY") {
            return None;
        }
        let (object, tail) =
            split_at_word(rest, " TO ").or_else(|| split_at_word(rest, " FROM ")).unwrap_or((rest, ""));
        let object = object.strip_prefix("TABLE ").unwrap_or(object).trim();
        let is_other =
            ["FUNCTION ", "PROCEDURE ", "PACKAGE ", "LIBRARY "].iter().any(|kind| object.starts_with(kind));
        let parts = split_outside(object, '.');
        let scope = match parts.as_slice() {
            _ if is_other => Scope::Other,
            ["*", "*"] => Scope::Global,
            [database, "*"] => Scope::Database(unquoted(database)),
            [database, table] => Scope::Table(TableName::new(unquoted(database), unquoted(table))),
            _ => Scope::Other,
        };
        Some(Grant {
            all: names.contains("ALL PRIVILEGES") || names.contains("ALL"),
            grant_option: tail.ends_with("GRANT OPTION") || tail.contains("GRANT OPTION "),
            privileges: names,
            scope,
        })
    }

    fn has(&self, privilege: &str) -> bool {
        if privilege == "GRANT OPTION" {
            return self.grant_option;
        }
        (self.all && (self.scope == Scope::Global || !GLOBAL_ONLY.contains(&privilege)))
            || self.privileges.contains(privilege)
    }
}

/// What `ALL PRIVILEGES` of a database does not include.
const GLOBAL_ONLY: [&str; 9] = [
    "CREATE USER",
    "FILE",
    "PROCESS",
    "RELOAD",
    "REPLICATION CLIENT",
    "REPLICATION SLAVE",
    "SHOW DATABASES",
    "SHUTDOWN",
    "SUPER",
];

/// MariaDB 10.5 renamed some.
fn canonical(privilege: &str) -> String {
    match privilege.to_ascii_uppercase().as_str() {
        "BINLOG MONITOR" => "REPLICATION CLIENT".to_owned(),
        "REPLICATION REPLICA" => "REPLICATION SLAVE".to_owned(),
        other => other.to_owned(),
    }
}

/// Splits before the first `word` that stands outside quotes and brackets.
fn split_at_word<'t>(text: &'t str, word: &str) -> Option<(&'t str, &'t str)> {
    outside(text).find(|&at| text[at..].starts_with(word)).map(|at| (&text[..at], &text[at + word.len()..]))
}

fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in outside(text) {
        if text[at..].starts_with(separator) {
            parts.push(&text[start..at]);
            start = at + separator.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The positions of the characters outside quotes and brackets.
fn outside(text: &str) -> impl Iterator<Item = usize> + '_ {
    let mut quote: Option<char> = None;
    let mut depth = 0_u32;
    text.char_indices().filter_map(move |(at, character)| {
        let is_outside = quote.is_none() && depth == 0;
        match (quote, character) {
            // A doubled quote closes and opens again.
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '`' | '\'' | '"') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        is_outside.then_some(at)
    })
}

fn unquoted(name: &str) -> String {
    let name = name.trim();
    crate::sql::quote::unquote_identifier(name).unwrap_or_else(|| name.to_owned())
}

/// LIKE with `\` as escape, as the server matches database-level grants.
fn like(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
            ['\\', escaped, rest @ ..] => text.first() == Some(escaped) && matches(rest, &text[1..]),
            ['_', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            [plain, rest @ ..] => text.first() == Some(plain) && matches(rest, &text[1..]),
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    matches(&chars(pattern), &chars(text))
}

/// A database name for a GRANT, where `_` and `%` must not work as wildcards.
pub(super) fn escaped_database(name: &str) -> String {
    let escaped: String =
        name.chars().flat_map(|c| matches!(c, '_' | '%').then_some('\\').into_iter().chain([c])).collect();
    crate::sql::quote::identifier(&escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines, false)
    }

    #[test]
    fn lines_of_real_servers() {
        let of_56 = grants(&[
            "GRANT SELECT, REPLICATION SLAVE ON *.* TO 'dts'@'%' IDENTIFIED BY PASSWORD <secret> WITH GRANT OPTION",
            "GRANT ALL PRIVILEGES ON `shop\\_a`.* TO 'dts'@'%'",
            "GRANT SELECT (a, `b ON c`), INSERT ON `crm`.`t.1` TO 'dts'@'%'",
            "GRANT EXECUTE ON PROCEDURE `crm`.`p` TO 'dts'@'%'",
            "GRANT PROXY ON ''@'' TO 'root'@'localhost' WITH GRANT OPTION",
        ]);
        assert!(of_56.has_global("SELECT") && of_56.has_global("GRANT OPTION") && !of_56.has_global("EVENT"));
        assert!(of_56.has_on_database("EVENT", "shop_a") && !of_56.has_on_database("EVENT", "shopXa"));
        let table = TableName::new("crm", "t.1");
        assert!(of_56.has_on_table("INSERT", &table) && of_56.has_on_table("SELECT", &table));
        assert!(!of_56.has_on_table("EXECUTE", &table) && !of_56.has_on_database("INSERT", "crm"));
        assert_eq!(of_56.any_of(&["INSERT", "SUPER", "GRANT OPTION"]), ["INSERT", "GRANT OPTION"]);

        let of_97 = grants(&[
            "GRANT SELECT, RELOAD ON *.* TO `dts`@`%`",
            "GRANT BACKUP_ADMIN,XA_RECOVER_ADMIN ON *.* TO `dts`@`%`",
            "REVOKE SELECT ON `secret`.* FROM `dts`@`%`",
            "GRANT `reader`@`%` TO `dts`@`%`",
        ]);
        assert!(of_97.has_global("XA_RECOVER_ADMIN") && of_97.has_on_database("SELECT", "shop"));
        assert!(!of_97.has_on_database("SELECT", "secret") && of_97.has_on_database("RELOAD", "secret"));

        let of_mariadb =
            grants(&["GRANT BINLOG MONITOR ON *.* TO `dts`@`%` IDENTIFIED BY PASSWORD '*A ON B'"]);
        assert!(of_mariadb.has_global("REPLICATION CLIENT"));
    }

    #[test]
    fn columns_are_not_the_table() {
        let some = grants(&["GRANT SELECT (a) ON `d`.`t` TO `u`@`%`"]);
        assert!(!some.has_on_table("SELECT", &TableName::new("d", "t")));
    }

    #[test]
    fn wildcards_and_their_escapes() {
        assert!(like("shop%", "shop_1") && like("shop\\_%", "shop_1") && !like("shop\\_%", "shop1"));
        assert!(like("a_c", "abc") && !like("a\\_c", "abc") && like("%", ""));
        let literal = Grants::parse(&["GRANT SELECT ON `a_c`.* TO `u`@`%`"], true);
        assert!(literal.has_on_database("SELECT", "a_c") && !literal.has_on_database("SELECT", "abc"));
        assert_eq!(escaped_database("a_b%c`"), "`a\\_b\\%c```");
    }
}
