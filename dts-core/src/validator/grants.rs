//! What an account may really do, from `SHOW GRANTS`.
use std::collections::BTreeSet;

use crate::data::TableName;
use crate::error::Result;
use crate::server::ServerFacts;
use crate::sql::quote;
use crate::wire::Connection;

/// The effective privileges of the connected account, its active roles included.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    grants: Vec<Grant>,
    /// Partial revokes (8.0): taken away from a global grant for single databases.
    revokes: Vec<Grant>,
    /// With `partial_revokes`, `%` and `_` in a database-level grant stand for themselves.
    wildcards_are_literal: bool,
    /// With active roles MySQL adds up all patterns that fit a database (tried on 9.7).
    adds_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    privileges: BTreeSet<String>,
    all: bool,
    grant_option: bool,
    scope: Scope,
    /// The account or, on MariaDB, its role.
    grantee: String,
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
        let mut has_roles = false;
        if facts.is_mysql_at_least(8, 0, 0) {
            // Only active roles count: the sessions of a task get the same ones when they log in.
            let roles = connection.query_row("SELECT CURRENT_ROLE()", "asking for the active roles")?;
            let roles = roles.map(|row| row.string(0)).unwrap_or_default();
            has_roles = roles.starts_with('`');
            if has_roles {
                sql = format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}");
            }
        }
        let rows = connection.query(sql, "reading the account's grants")?;
        let lines: Vec<String> = rows.iter().map(|row| row.string(0)).collect();
        let grants = Grants::parse(&lines, facts.is_on("partial_revokes") == Some(true));
        Ok(Grants { adds_up: has_roles, ..grants })
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
        let is_revoked = self.revokes.iter().any(|revoke| {
            matches!(&revoke.scope, Scope::Database(name) if name == database) && revoke.has(privilege)
        });
        (self.has_global(privilege) && !is_revoked)
            || self.of_database(database).iter().any(|(_, grant)| grant.has(privilege))
    }

    /// Which of these are missing on the database, tables that do not exist yet included.
    pub(super) fn missing_on_database<'p>(&self, needed: &[&'p str], database: &str) -> Vec<&'p str> {
        needed.iter().filter(|privilege| !self.has_on_database(privilege, database)).copied().collect()
    }

    /// Whether a grant on the very name would hide what the account has on the database by a pattern.
    pub(super) fn is_by_pattern(&self, database: &str) -> bool {
        let of_pattern = |(pattern, _): &(&str, &Grant)| unescaped(pattern).as_deref() != Some(database);
        !self.adds_up && !self.wildcards_are_literal && self.of_database(database).iter().any(of_pattern)
    }

    /// The grants that count for a database. Of those whose patterns fit, the server takes only the most specific one: the
    /// one with the longest beginning without wildcards (tried on 5.6, 9.7 and MariaDB 10.11).
    fn of_database(&self, database: &str) -> Vec<(&str, &Grant)> {
        let fitting: Vec<(&str, &Grant)> = self
            .grants
            .iter()
            .filter_map(|grant| match &grant.scope {
                Scope::Database(pattern) if self.fits(pattern, database) => Some((pattern.as_str(), grant)),
                Scope::Database(_) | Scope::Global | Scope::Table(_) | Scope::Other => None,
            })
            .collect();
        if self.adds_up {
            return fitting;
        }
        let is_best = |(pattern, grant): &&(&str, &Grant)| {
            let others = fitting.iter().filter(|(_, other)| other.grantee == grant.grantee);
            others.map(|(pattern, _)| specificity(pattern)).max() == Some(specificity(pattern))
        };
        fitting.iter().filter(is_best).copied().collect()
    }

    pub(super) fn has_on_table(&self, privilege: &str, table: &TableName) -> bool {
        self.has_on_database(privilege, &table.database)
            || self.grants.iter().any(|grant| {
                matches!(&grant.scope, Scope::Table(name) if name == table) && grant.has(privilege)
            })
    }

    /// Whether the server lists every database to the account, those without any right included (tried on 5.6, 9.7 and MariaDB
    /// 10.11): for a right on everything that is one on databases, or SHOW DATABASES itself.
    pub(super) fn sees_all_databases(&self) -> bool {
        const OF_DATABASES: [&str; 17] = [
            "ALTER",
            "ALTER ROUTINE",
            "CREATE",
            "CREATE ROUTINE",
            "CREATE TEMPORARY TABLES",
            "CREATE VIEW",
            "DELETE",
            "DROP",
            "EVENT",
            "EXECUTE",
            "INDEX",
            "INSERT",
            "LOCK TABLES",
            "SELECT",
            "SHOW VIEW",
            "TRIGGER",
            "UPDATE",
        ];
        self.has_global("SHOW DATABASES")
            || self.revokes.is_empty() && OF_DATABASES.iter().any(|privilege| self.has_global(privilege))
    }

    /// Whether the server lists the database's routines to the account; otherwise it leaves those out that the account has no
    /// right on (tried on 5.6, 9.7 and MariaDB 10.11).
    pub(super) fn lists_routines(&self, facts: &ServerFacts, database: &str) -> bool {
        self.shows_routines(facts, database)
            || ["EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE"]
                .iter()
                .any(|privilege| self.has_on_database(privilege, database))
    }

    /// Whether the server shows the texts of the database's routines to the account, whoever their definer is.
    fn shows_routines(&self, facts: &ServerFacts, database: &str) -> bool {
        if facts.is_mysql_at_least(8, 0, 0) {
            return self.has_global("SHOW_ROUTINE")
                || self.has_global("SELECT") && self.has_on_database("SELECT", database);
        }
        self.has_on_table("SELECT", &TableName::new("mysql", "proc"))
            || self.has_on_database("SHOW CREATE ROUTINE", database)
    }

    /// Which of these are granted anywhere at all.
    pub(super) fn any_of<'p>(&self, privileges: &[&'p str]) -> Vec<&'p str> {
        privileges
            .iter()
            .filter(|privilege| self.grants.iter().any(|grant| grant.has(privilege)))
            .copied()
            .collect()
    }

    /// A database's name for a GRANT to this account: `_` and `%` must not work as wildcards. Where they never do, a backslash
    /// before them would be part of the name (tried on 9.7 with `partial_revokes`).
    pub(super) fn database_to_grant_on(&self, name: &str) -> String {
        if self.wildcards_are_literal { quote::identifier(name) } else { escaped_database(name) }
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
            grantee: tail.split([' ']).next().unwrap_or_default().to_owned(),
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
    quote::unquote_identifier(name).unwrap_or_else(|| name.to_owned())
}

/// How the server sorts the patterns of databases: by what stands before the first wildcard, in bytes; without one first.
fn specificity(pattern: &str) -> usize {
    let mut bytes = pattern.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'%' | b'_' => return (at + 1).min(127),
            _ => {}
        }
    }
    128
}

/// Returns the one name that a pattern fits; `None` when it has wildcards.
fn unescaped(pattern: &str) -> Option<String> {
    (specificity(pattern) == 128).then(|| pattern.replace("\\_", "_").replace("\\%", "%"))
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

/// A database name for a GRANT in which `_` and `%` are wildcards.
fn escaped_database(name: &str) -> String {
    let escaped: String =
        name.chars().flat_map(|c| matches!(c, '_' | '%').then_some('\\').into_iter().chain([c])).collect();
    quote::identifier(&escaped)
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
    fn only_the_most_specific_database_counts() {
        let some = grants(&[
            "GRANT SELECT ON `shop%`.* TO `u`@`%`",
            "GRANT INSERT ON `shop\\_1`.* TO `u`@`%`",
            "GRANT EVENT ON `%`.* TO `u`@`%`",
        ]);
        assert!(some.has_on_database("INSERT", "shop_1") && !some.has_on_database("SELECT", "shop_1"));
        assert!(some.has_on_database("SELECT", "shop_2") && !some.has_on_database("EVENT", "shop_2"));
        assert!(some.has_on_database("EVENT", "crm"));
        assert_eq!(some.missing_on_database(&["SELECT", "INSERT"], "shop_1"), ["SELECT"]);
        assert_eq!(some.missing_on_database(&["SELECT", "INSERT"], "shop_2"), ["INSERT"]);
        assert!(!some.is_by_pattern("shop_1") && some.is_by_pattern("shop_2") && some.is_by_pattern("crm"));
        // Each role of MariaDB counts for itself.
        let with_role = grants(&[
            "GRANT SELECT ON `shop%`.* TO `r`",
            "GRANT INSERT ON `shop_2`.* TO `u`@`%` WITH GRANT OPTION",
        ]);
        assert!(
            with_role.has_on_database("SELECT", "shop_2") && with_role.has_on_database("INSERT", "shop_2")
        );
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
        assert_eq!(literal.database_to_grant_on("a_c"), "`a_c`");
    }
}
