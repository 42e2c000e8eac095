//! Statements about accounts: CREATE USER, ALTER USER, GRANT, REVOKE.
//!
//! Those that carry a hash or a password are bytes for the server alone: they are never logged or put into an error.
use std::collections::{BTreeMap, BTreeSet};

use crate::data::{Account, Attribute, AuthString, Grant, RoutineKind, Scope};
use crate::sql::quote;

/// How an account is to log in.
#[derive(Clone, Debug)]
pub enum Login<'a> {
    /// With what this plugin keeps of a password; empty: without a password.
    Kept {
        /// The plugin's name.
        plugin: &'a str,
        /// What it keeps.
        auth: &'a AuthString,
    },
    /// With the server's usual plugin and a password that nobody knows.
    Unknown(&'a UnknownPassword),
}

/// A password made by chance and told to nobody.
pub struct UnknownPassword(pub(crate) String);

impl std::fmt::Debug for UnknownPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnknownPassword(..)")
    }
}

/// Returns `'user'@'host'`.
pub fn account(account: &Account) -> String {
    format!("{}@{}", quote::string_literal(&account.user), quote::string_literal(&account.host))
}

/// How the server wants accounts to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountSyntax {
    /// 5.6: attributes are part of GRANT.
    Old,
    /// 5.7.6 and later.
    New,
}

impl AccountSyntax {
    /// Returns the statements that create an account without rights; all but the first can be repeated.
    pub fn create(
        self,
        name: &Account,
        login: &Login<'_>,
        attributes: &BTreeMap<Attribute, String>,
    ) -> Vec<Vec<u8>> {
        let wanted: Vec<Attribute> = clause_order(attributes)
            .into_iter()
            .filter(|attribute| !attribute.is_default(&attributes[attribute]))
            .collect();
        let mut create = format!("CREATE USER {}", account(name)).into_bytes();
        self.push_login(&mut create, login);
        let mut statements = match self {
            AccountSyntax::New => {
                push_clauses(&mut create, attributes, &wanted);
                vec![create]
            }
            AccountSyntax::Old => {
                let mut statements = vec![create];
                statements.extend(self.set(name, attributes, &wanted));
                statements
            }
        };
        statements.extend(expire(name, attributes));
        statements
    }

    /// Returns the statements that give an account some of these attributes.
    pub fn alter(
        self,
        name: &Account,
        attributes: &BTreeMap<Attribute, String>,
        which: &BTreeSet<Attribute>,
    ) -> Vec<Vec<u8>> {
        let clauses: Vec<Attribute> =
            clause_order(attributes).into_iter().filter(|attribute| which.contains(attribute)).collect();
        let mut statements: Vec<Vec<u8>> = self.set(name, attributes, &clauses).into_iter().collect();
        if which.contains(&Attribute::Expired) {
            statements.extend(expire(name, attributes));
        }
        statements
    }

    fn set(
        self,
        name: &Account,
        attributes: &BTreeMap<Attribute, String>,
        which: &[Attribute],
    ) -> Option<Vec<u8>> {
        if which.is_empty() {
            return None;
        }
        let mut sql = match self {
            AccountSyntax::Old => format!("GRANT USAGE ON *.* TO {}", account(name)),
            AccountSyntax::New => format!("ALTER USER {}", account(name)),
        }
        .into_bytes();
        push_clauses(&mut sql, attributes, which);
        Some(sql)
    }

    /// Returns the statement that changes how an account logs in.
    pub fn change_login(self, name: &Account, login: &Login<'_>) -> Vec<u8> {
        match (self, login) {
            (AccountSyntax::Old, Login::Kept { auth, .. }) => {
                let mut sql = format!("SET PASSWORD FOR {} = ", account(name)).into_bytes();
                quote::push_string_literal(&mut sql, &auth.0);
                sql
            }
            _ => {
                let mut sql = format!("ALTER USER {}", account(name)).into_bytes();
                self.push_login(&mut sql, login);
                sql
            }
        }
    }

    fn push_login(self, sql: &mut Vec<u8>, login: &Login<'_>) {
        match login {
            Login::Unknown(password) => {
                sql.extend_from_slice(b" IDENTIFIED BY ");
                quote::push_string_literal(sql, password.0.as_bytes());
            }
            Login::Kept { auth, .. } if self == AccountSyntax::Old && auth.is_empty() => {}
            // 5.6 keeps this one's hash where its other plugins keep nothing, and only this form writes there.
            Login::Kept { plugin: "mysql_native_password", auth } if self == AccountSyntax::Old => {
                sql.extend_from_slice(b" IDENTIFIED BY PASSWORD ");
                quote::push_string_literal(sql, &auth.0);
            }
            Login::Kept { plugin, auth } => {
                sql.extend_from_slice(b" IDENTIFIED WITH ");
                quote::push_string_literal(sql, plugin.as_bytes());
                if !auth.is_empty() {
                    sql.extend_from_slice(b" AS ");
                    quote::push_string_literal(sql, &auth.0);
                }
            }
        }
    }
}

/// The attributes that are clauses, in the order in which the server's grammar wants them.
fn clause_order(attributes: &BTreeMap<Attribute, String>) -> Vec<Attribute> {
    attributes
        .keys()
        .copied()
        .filter(|attribute| !matches!(attribute, Attribute::Expired | Attribute::PasswordMark))
        .collect()
}

fn push_clauses(sql: &mut Vec<u8>, attributes: &BTreeMap<Attribute, String>, which: &[Attribute]) {
    for attribute in which {
        sql.push(b' ');
        sql.extend_from_slice(attributes[attribute].as_bytes());
    }
}

fn expire(name: &Account, attributes: &BTreeMap<Attribute, String>) -> Option<Vec<u8>> {
    attributes
        .get(&Attribute::Expired)
        .filter(|clause| !clause.is_empty())
        .map(|clause| format!("ALTER USER {} {clause}", account(name)).into_bytes())
}

/// Returns the statements that grant these; one for each place.
///
/// ```
/// use dts_core::data::{Account, Grant, Scope};
/// use dts_core::sql::account::grant;
///
/// let grants = [Grant::new(Scope::Database("shop".into()), "INSERT"), Grant::new(Scope::Database("shop".into()), "SELECT")];
/// assert_eq!(grant(&Account::new("app", "%"), &grants), ["GRANT INSERT, SELECT ON `shop`.* TO 'app'@'%'"]);
/// ```
pub fn grant<'g>(to: &Account, grants: impl IntoIterator<Item = &'g Grant>) -> Vec<String> {
    statements(to, grants, true)
}

/// Returns the statements that take these away; one for each place.
pub fn revoke<'g>(from: &Account, grants: impl IntoIterator<Item = &'g Grant>) -> Vec<String> {
    statements(from, grants, false)
}

/// What one statement can be about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Global,
    /// Dynamic privileges: apart from the others, whose GRANT OPTION would be theirs, too.
    Dynamic,
    /// Those that may be passed on.
    Passed,
    Except(String),
    Database(String),
    Table(String),
    Routine(RoutineKind, String),
    Proxy(Account),
    Role(Account),
}

fn statements<'g>(
    account: &Account,
    grants: impl IntoIterator<Item = &'g Grant>,
    is_grant: bool,
) -> Vec<String> {
    let mut places: BTreeMap<Place, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        let place = match &grant.scope {
            Scope::Global if grant.is_grantable => Place::Passed,
            Scope::Global if grant.is_dynamic() => Place::Dynamic,
            Scope::Global => Place::Global,
            Scope::Except(database) => Place::Except(database.clone()),
            Scope::Database(pattern) => Place::Database(pattern.clone()),
            Scope::Table(table) | Scope::Column(table, _) => Place::Table(quote::table(table)),
            Scope::Routine(kind, name) => Place::Routine(*kind, quote::table(name)),
            Scope::Proxy(proxied) => Place::Proxy(proxied.clone()),
            // Default roles are one list; see `default_roles`.
            Scope::Role(_) if grant.privilege == Grant::DEFAULT => continue,
            Scope::Role(role) => Place::Role(role.clone()),
        };
        places.entry(place).or_default().push(grant);
    }
    let name = self::account(account);
    places
        .iter()
        .map(|(place, grants)| {
            let has_option = grants.iter().any(|grant| grant.privilege == Grant::OPTION);
            let with = |word: &str| {
                if has_option && is_grant { format!(" WITH {word} OPTION") } else { String::new() }
            };
            let (verb, preposition) = if is_grant { ("GRANT", "TO") } else { ("REVOKE", "FROM") };
            let on = |object: String, with: String| {
                format!("{verb} {} ON {object} {preposition} {name}{with}", privileges(grants, is_grant))
            };
            match place {
                Place::Global => on("*.*".into(), with("GRANT")),
                Place::Passed if is_grant => on("*.*".into(), " WITH GRANT OPTION".into()),
                Place::Dynamic | Place::Passed => on("*.*".into(), String::new()),
                Place::Database(pattern) => on(format!("{}.*", quote::identifier(pattern)), with("GRANT")),
                Place::Table(table) => on(table.clone(), with("GRANT")),
                Place::Routine(kind, routine) => on(format!("{} {routine}", kind.keyword()), with("GRANT")),
                // Granting an exception takes away, and the other way round.
                Place::Except(database) => {
                    let (verb, preposition) = if is_grant { ("REVOKE", "FROM") } else { ("GRANT", "TO") };
                    let list = privileges(grants, is_grant);
                    format!("{verb} {list} ON {}.* {preposition} {name}", quote::identifier(database))
                }
                Place::Proxy(proxied) => {
                    format!(
                        "{verb} PROXY ON {} {preposition} {name}{}",
                        self::account(proxied),
                        with("GRANT")
                    )
                }
                Place::Role(role)
                    if !is_grant && grants.iter().all(|grant| grant.privilege == Grant::OPTION) =>
                {
                    format!("REVOKE ADMIN OPTION FOR {} FROM {name}", self::account(role))
                }
                Place::Role(role) => {
                    format!("{verb} {} {preposition} {name}{}", self::account(role), with("ADMIN"))
                }
            }
        })
        .collect()
}

/// Returns the statement that makes these the roles that an account has from its login on.
pub fn default_roles<'r>(of: &Account, roles: impl IntoIterator<Item = &'r Account>) -> String {
    let roles: Vec<String> = roles.into_iter().map(account).collect();
    let list = if roles.is_empty() { "NONE".to_owned() } else { roles.join(", ") };
    format!("ALTER USER {} DEFAULT ROLE {list}", account(of))
}

/// The list of one statement: privileges of the place, and of its columns with these in parentheses.
fn privileges(grants: &[&Grant], is_grant: bool) -> String {
    let mut list: Vec<String> = Vec::new();
    let mut columns: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for grant in grants {
        match &grant.scope {
            Scope::Column(_, column) => {
                columns.entry(&grant.privilege).or_default().push(quote::identifier(column));
            }
            // It stands at the end of a GRANT.
            _ if is_grant && grant.privilege == Grant::OPTION => {}
            _ => list.push(grant.privilege.clone()),
        }
    }
    list.extend(columns.iter().map(|(privilege, columns)| format!("{privilege} ({})", columns.join(", "))));
    if list.is_empty() { "USAGE".to_owned() } else { list.join(", ") }
}

/// Returns the databases' pattern that means this name alone: `_` and `%` are escaped, unless they stand for themselves on
/// this server (`partial_revokes`).
pub fn database_pattern(name: &str, wildcards_are_literal: bool) -> String {
    if wildcards_are_literal {
        return name.to_owned();
    }
    let mut pattern = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '_' | '%' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

/// A database-level grant's pattern, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabasePattern(Vec<Piece>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Piece {
    One(char),
    AnyOne,
    AnyMany,
}

impl DatabasePattern {
    /// Reads a pattern as the server keeps it.
    pub fn parse(text: &str, wildcards_are_literal: bool) -> Self {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                _ if wildcards_are_literal => Piece::One(character),
                '\\' => Piece::One(characters.next().unwrap_or('\\')),
                '_' => Piece::AnyOne,
                '%' => Piece::AnyMany,
                _ => Piece::One(character),
            });
        }
        DatabasePattern(pieces)
    }

    /// Returns the name, when no wildcard is in it.
    pub fn as_name(&self) -> Option<String> {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::One(character) => Some(*character),
                Piece::AnyOne | Piece::AnyMany => None,
            })
            .collect()
    }

    /// Returns whether the whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        // Names have at most 64 characters: a row of the table of all prefixes for each piece.
        let mut fits = vec![false; name.len() + 1];
        fits[0] = true;
        for piece in &self.0 {
            let mut next = vec![false; name.len() + 1];
            for at in 0..=name.len() {
                next[at] = match piece {
                    Piece::AnyMany => fits[at] || (at > 0 && next[at - 1]),
                    Piece::AnyOne => at > 0 && fits[at - 1],
                    Piece::One(character) => at > 0 && fits[at - 1] && name[at - 1] == *character,
                };
            }
            fits = next;
        }
        fits[name.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TableName;

    fn app() -> Account {
        Account::new("app", "%")
    }

    #[test]
    fn each_place_is_one_statement() {
        let orders = TableName::new("shop", "orders");
        let role = Account::new("reader", "%");
        let grants = [
            Grant::new(Scope::Global, "PROCESS"),
            Grant { is_grantable: true, ..Grant::new(Scope::Global, "ROLE_ADMIN") },
            Grant::new(Scope::Except("mysql".into()), "SELECT"),
            Grant::new(Scope::Database(r"crm\_%".into()), "SELECT"),
            Grant::new(Scope::Database(r"crm\_%".into()), Grant::OPTION),
            Grant::new(Scope::Table(orders.clone()), "DELETE"),
            Grant::new(Scope::Column(orders.clone(), "id".into()), "SELECT"),
            Grant::new(Scope::Column(orders, "a`b".into()), "SELECT"),
            Grant::new(Scope::Routine(RoutineKind::Procedure, TableName::new("shop", "p")), "EXECUTE"),
            Grant::new(Scope::Proxy(Account::new("boss", "")), Grant::MEMBER),
            Grant::new(Scope::Role(role.clone()), Grant::MEMBER),
            Grant::new(Scope::Role(role.clone()), Grant::OPTION),
            Grant::new(Scope::Role(role.clone()), Grant::DEFAULT),
        ];
        let mut expected = vec![
            "GRANT PROCESS ON *.* TO 'app'@'%'",
            "GRANT ROLE_ADMIN ON *.* TO 'app'@'%' WITH GRANT OPTION",
            "REVOKE SELECT ON `mysql`.* FROM 'app'@'%'",
            r"GRANT SELECT ON `crm\_%`.* TO 'app'@'%' WITH GRANT OPTION",
            "GRANT DELETE, SELECT (`id`, `a``b`) ON `shop`.`orders` TO 'app'@'%'",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO 'app'@'%'",
            "GRANT PROXY ON 'boss'@'' TO 'app'@'%'",
            "GRANT 'reader'@'%' TO 'app'@'%' WITH ADMIN OPTION",
        ];
        assert_eq!(grant(&app(), &grants), expected);
        assert_eq!(
            grant(&app(), &grants[4..5]),
            [r"GRANT USAGE ON `crm\_%`.* TO 'app'@'%' WITH GRANT OPTION"]
        );
        expected = vec![
            "REVOKE PROCESS ON *.* FROM 'app'@'%'",
            "REVOKE ROLE_ADMIN ON *.* FROM 'app'@'%'",
            "GRANT SELECT ON `mysql`.* TO 'app'@'%'",
            r"REVOKE SELECT, GRANT OPTION ON `crm\_%`.* FROM 'app'@'%'",
        ];
        assert_eq!(revoke(&app(), &grants[..5]), expected);
        assert_eq!(default_roles(&app(), [&role]), "ALTER USER 'app'@'%' DEFAULT ROLE 'reader'@'%'");
        assert_eq!(default_roles(&app(), []), "ALTER USER 'app'@'%' DEFAULT ROLE NONE");
    }

    #[test]
    fn attributes_stand_in_the_order_of_the_grammar() {
        let attributes = BTreeMap::from([
            (Attribute::Notes, "ATTRIBUTE '{}'".to_owned()),
            (Attribute::Lock, "ACCOUNT LOCK".to_owned()),
            (Attribute::Require, "REQUIRE SSL".to_owned()),
            (Attribute::Expired, "PASSWORD EXPIRE".to_owned()),
            (Attribute::PasswordMark, "2026".to_owned()),
        ]);
        let auth = AuthString(b"*H'".to_vec());
        let text = |dialect: AccountSyntax| -> Vec<String> {
            dialect
                .create(&app(), &Login::Kept { plugin: "mysql_native_password", auth: &auth }, &attributes)
                .into_iter()
                .map(|sql| String::from_utf8(sql).unwrap())
                .collect()
        };
        assert_eq!(
            text(AccountSyntax::New),
            [
                r"CREATE USER 'app'@'%' IDENTIFIED WITH 'mysql_native_password' AS '*H\'' REQUIRE SSL ACCOUNT LOCK ATTRIBUTE '{}'",
                "ALTER USER 'app'@'%' PASSWORD EXPIRE",
            ]
        );
        let old: BTreeMap<Attribute, String> =
            attributes.iter().take(1).map(|(key, value)| (*key, value.clone())).collect();
        let auth = AuthString::default();
        let made = AccountSyntax::Old.create(
            &app(),
            &Login::Kept { plugin: "mysql_native_password", auth: &auth },
            &old,
        );
        assert_eq!(
            made,
            [b"CREATE USER 'app'@'%'".to_vec(), b"GRANT USAGE ON *.* TO 'app'@'%' REQUIRE SSL".to_vec()]
        );
    }

    #[test]
    fn patterns_match_as_the_servers() {
        let matches = |pattern: &str, name: &str| DatabasePattern::parse(pattern, false).matches(name);
        assert!(matches("shop", "shop") && !matches("shop", "shop2"));
        assert!(matches("my_db", "my_db") && matches("my_db", "myxdb") && !matches(r"my\_db", "myxdb"));
        assert!(
            matches("crm%", "crm")
                && matches("crm%", "crm_eu")
                && matches("%a%b", "xaxab")
                && !matches("%a%b", "ba")
        );
        assert!(DatabasePattern::parse("my_db", true).as_name().is_some());
        assert_eq!(DatabasePattern::parse(r"my\_db", false).as_name().unwrap(), "my_db");
        assert_eq!(database_pattern(r"a_b%c\", false), r"a\_b\%c\\");
        for name in ["a_b", "a%", "x\\y"] {
            let back = DatabasePattern::parse(&database_pattern(name, false), false);
            assert_eq!(back.as_name().as_deref(), Some(name));
        }
    }
}
