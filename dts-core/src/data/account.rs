//! Accounts of a server: who may log in, how, and what they may do.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::TableName;

/// An account of a server.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The user's name; may be empty.
    pub user: String,
    /// The host part, with wildcards.
    pub host: String,
}

impl Account {
    /// Takes the two parts. Servers compare hosts without regard to case, and later ones keep them in lower case; so does this.
    pub fn new(user: impl Into<String>, host: impl Into<String>) -> Self {
        Account { user: user.into(), host: host.into().to_lowercase() }
    }

    /// Reads `user@host` as `CURRENT_USER()` returns it; a text without `@` is a user at any host.
    pub fn parse(text: &str) -> Self {
        match text.rsplit_once('@') {
            Some((user, host)) => Account::new(user, host),
            None => Account::new(text, "%"),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'@'{}'", self.user, self.host)
    }
}

/// What a server keeps of a password: a hash, never shown, and compared in bytes only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthString(pub(crate) Vec<u8>);

impl AuthString {
    /// Returns whether the account has no password.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for AuthString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "AuthString(none)" } else { "AuthString(..)" })
    }
}

/// What kind of stored program a grant is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum RoutineKind {
    /// A function.
    Function,
    /// A procedure.
    Procedure,
}

impl RoutineKind {
    /// Returns the keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            RoutineKind::Function => "FUNCTION",
            RoutineKind::Procedure => "PROCEDURE",
        }
    }
}

/// Where a privilege holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Taken away again in this database (a partial revoke, MySQL 8.0.16).
    Except(String),
    /// In the databases of this name or pattern, as the server keeps it: `%` and `_` are wildcards, `\` makes them none. (With
    /// `partial_revokes` they never are.)
    Database(String),
    /// On a table or view.
    Table(TableName),
    /// On a column.
    Column(TableName, String),
    /// On a stored program.
    Routine(RoutineKind, TableName),
    /// Acting as another account.
    Proxy(Account),
    /// Having a role.
    Role(Account),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Global => f.write_str("*.*"),
            Scope::Except(database) => write!(f, "all but {database}.*"),
            Scope::Database(pattern) => write!(f, "{pattern}.*"),
            Scope::Table(table) => table.fmt(f),
            Scope::Column(table, column) => write!(f, "{table} ({column})"),
            Scope::Routine(kind, name) => write!(f, "{} {name}", kind.keyword()),
            Scope::Proxy(account) => write!(f, "{account} (proxy)"),
            Scope::Role(role) => write!(f, "role {role}"),
        }
    }
}

/// The smallest thing that can be granted: one privilege at one place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    pub scope: Scope,
    /// The privilege's name in capitals, as in GRANT; one of [`Grant::OPTION`], [`Grant::MEMBER`] or
    /// [`Grant::DEFAULT`], too.
    pub privilege: String,
    /// A dynamic privilege (8.0) that may be passed on. The others have [`Grant::OPTION`] beside them.
    pub is_grantable: bool,
}

impl Grant {
    /// The right to pass on what one has in the same place; for a role, the right to give it to others.
    pub const OPTION: &'static str = "GRANT OPTION";
    /// Having a role, or being allowed to act as another account.
    pub const MEMBER: &'static str = "MEMBER";
    /// Having a role from the login on.
    pub const DEFAULT: &'static str = "DEFAULT";

    /// Returns whether it is a dynamic privilege (8.0). Their names, and no others, have an underscore.
    pub fn is_dynamic(&self) -> bool {
        self.privilege.contains('_')
    }

    /// Takes a place and a privilege.
    pub fn new(scope: Scope, privilege: impl Into<String>) -> Self {
        Grant { scope, privilege: privilege.into(), is_grantable: false }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.privilege, self.scope)?;
        if self.is_grantable { f.write_str(" with grant option") } else { Ok(()) }
    }
}

/// A setting of an account besides its password and its grants. Its value is the clause of `CREATE USER` that says so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attribute {
    /// What TLS the login needs: `REQUIRE …`.
    Require,
    /// Limits for each hour, and of sessions at a time: `WITH MAX_QUERIES_PER_HOUR …`.
    Limits,
    /// When the password will expire: `PASSWORD EXPIRE DEFAULT`, `NEVER` or `INTERVAL …` (5.7.6).
    Lifetime,
    /// Rules for new passwords: `PASSWORD HISTORY …` (8.0.13).
    PasswordRules,
    /// What stops guessing: `FAILED_LOGIN_ATTEMPTS …` (8.0.19).
    LoginAttempts,
    /// `ACCOUNT LOCK` or `ACCOUNT UNLOCK` (5.7.6).
    Lock,
    /// Notes for people: `ATTRIBUTE '{…}'` (8.0.21).
    Notes,
    /// `PASSWORD EXPIRE` when the password has expired, otherwise nothing.
    Expired,
    /// No clause: when the password was last changed and 16 bits that tell it from another of the same second, or
    /// [`PASSWORD_WITHHELD`]. Never a password or a hash.
    PasswordMark,
}

impl Attribute {
    /// Returns whether this clause is what an account has when nobody says anything.
    pub(crate) fn is_default(self, clause: &str) -> bool {
        match self {
            Attribute::Require => clause == "REQUIRE NONE",
            Attribute::Limits => clause.split(' ').all(|word| word.parse::<u64>().is_err() || word == "0"),
            Attribute::Lifetime => clause == "PASSWORD EXPIRE DEFAULT",
            Attribute::PasswordRules => {
                clause
                    == "PASSWORD HISTORY DEFAULT PASSWORD REUSE INTERVAL DEFAULT PASSWORD REQUIRE CURRENT DEFAULT"
            }
            Attribute::LoginAttempts => clause.starts_with("FAILED_LOGIN_ATTEMPTS 0 "),
            Attribute::Lock => clause == "ACCOUNT UNLOCK",
            Attribute::Expired => clause.is_empty(),
            Attribute::Notes => false,
            Attribute::PasswordMark => true,
        }
    }

    /// Returns what people call it.
    pub fn name(self) -> &'static str {
        match self {
            Attribute::Require => "TLS requirement",
            Attribute::Limits => "resource limits",
            Attribute::Lifetime => "password lifetime",
            Attribute::PasswordRules => "rules for new passwords",
            Attribute::LoginAttempts => "limit of failed logins",
            Attribute::Lock => "lock",
            Attribute::Notes => "attributes",
            Attribute::Expired => "password expiry",
            Attribute::PasswordMark => "password",
        }
    }
}

/// The mark of an account whose password the target could not take: it has one that nobody knows.
pub const PASSWORD_WITHHELD: &str = "withheld";

/// All that a server knows of an account.
#[derive(Clone, PartialEq, Debug)]
pub struct AccountDefinition {
    /// Its name.
    pub account: Account,
    /// The plugin that looks at its password.
    pub plugin: String,
    /// What the plugin keeps of it.
    pub auth: AuthString,
    /// It has a second password or a second factor (8.0).
    pub has_more_secrets: bool,
    /// Its settings.
    pub attributes: BTreeMap<Attribute, String>,
    /// What it may do.
    pub grants: BTreeSet<Grant>,
    /// What was read but is not understood, for people: columns of `mysql.user` with privileges that only this server has.
    pub unknown: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_not_shown() {
        assert_eq!(format!("{:?}", AuthString(b"*ABC".to_vec())), "AuthString(..)");
    }

    #[test]
    fn accounts_are_read() {
        assert_eq!(Account::parse("a@b@%"), Account::new("a@b", "%"));
        assert_eq!(Account::parse("app"), Account::new("app", "%"));
        assert_eq!(Account::parse("@localhost"), Account::new("", "localhost"));
    }
}
