//! The accounts of a server and what they may do, from its system tables.
//!
//! The tables are read, not `SHOW GRANTS`: all accounts come with a handful of queries, nothing has to be parsed, and an account
//! that a managed service lets see only some of the tables (RDS: `mysql.user_view` instead of `mysql.user`) still sees those.
//! A table that is hidden is named in [`AccountCatalog::hidden`], so that what is missing is never taken for "no grants".
mod definition;

use std::collections::{BTreeMap, BTreeSet};

use crate::data::{Account, AccountDefinition, Attribute, Grant, RoutineKind, Scope, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::server::ServerFacts;
use crate::sql::quote;
use crate::transform::account::{AccountSource, AccountTarget};
use crate::wire::Connection;
use definition::{Named, definition};

/// The accounts of a server.
#[derive(Clone, Debug, Default)]
pub struct AccountCatalog {
    /// All of them, roles included, in the order of their names.
    pub accounts: Vec<AccountDefinition>,
    /// Rows of `mysql.db` without a user: they hold for everybody. 5.6 is installed with such for databases called `test`.
    pub for_everybody: Vec<Grant>,
    /// Tables with grants that the account may not read.
    pub hidden: Vec<&'static str>,
}

/// Reads all accounts.
///
/// # Errors
/// [`ErrorKind::Privilege`] or [`ErrorKind::NotFound`] when neither `mysql.user` nor `mysql.user_view` can be read; a broken
/// connection.
pub fn accounts(connection: &mut Connection) -> Result<AccountCatalog> {
    let mut reader = Reader { connection, catalog: AccountCatalog::default(), accounts: BTreeMap::new() };
    reader.users()?;
    reader.databases()?;
    reader.tables()?;
    reader.routines()?;
    reader.proxies()?;
    reader.dynamic()?;
    reader.roles()?;
    let Reader { mut catalog, accounts, .. } = reader;
    catalog.accounts = accounts.into_values().collect();
    Ok(catalog)
}

/// Describes the source of accounts. `catalog`: its accounts.
///
/// # Errors
/// What the server answered.
pub fn describe_source(
    connection: &mut Connection,
    facts: &ServerFacts,
    catalog: &AccountCatalog,
) -> Result<AccountSource> {
    Ok(AccountSource {
        own: Account::parse(&facts.current_user),
        databases: super::catalog::databases(connection)?.into_iter().map(|database| database.name).collect(),
        has_dynamic_privileges: facts.is_mysql_at_least(8, 0, 0),
        wildcards_are_literal: facts.is_on("partial_revokes") == Some(true),
        hidden: catalog.hidden.clone(),
    })
}

/// Describes the target of accounts. `is_managed`: a managed service runs it.
///
/// # Errors
/// What the server answered.
pub fn describe_target(
    connection: &mut Connection,
    facts: &ServerFacts,
    is_managed: bool,
) -> Result<AccountTarget> {
    Ok(AccountTarget {
        own: Account::parse(&facts.current_user),
        seen_from: facts.seen_from.clone(),
        privileges: known_privileges(connection)?,
        plugins: login_plugins(connection)?,
        attributes: known_attributes(facts),
        wildcards_are_literal: facts.is_on("partial_revokes") == Some(true),
        is_managed,
    })
}

/// Returns the settings that accounts of this version have.
pub fn known_attributes(facts: &ServerFacts) -> BTreeSet<Attribute> {
    let mut known = BTreeSet::from([Attribute::Require, Attribute::Limits, Attribute::Expired]);
    let since = [
        (Attribute::Lock, (5, 7, 6)),
        (Attribute::Lifetime, (5, 7, 6)),
        (Attribute::PasswordRules, (8, 0, 13)),
        (Attribute::LoginAttempts, (8, 0, 19)),
        (Attribute::Notes, (8, 0, 21)),
    ];
    known.extend(
        since
            .into_iter()
            .filter(|(_, (major, minor, patch))| facts.is_mysql_at_least(*major, *minor, *patch))
            .map(|(attribute, _)| attribute),
    );
    known
}

/// Reads which privileges a server knows at all, in capitals.
fn known_privileges(connection: &mut Connection) -> Result<BTreeSet<String>> {
    let rows = connection.query("SHOW PRIVILEGES", "asking which privileges there are")?;
    Ok(rows.iter().map(|row| row.string(0).to_ascii_uppercase()).collect())
}

/// Reads which plugins can look at passwords.
///
/// # Errors
/// What the server answered.
pub fn login_plugins(connection: &mut Connection) -> Result<BTreeSet<String>> {
    let sql = "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE = 'AUTHENTICATION' AND PLUGIN_STATUS = 'ACTIVE'";
    Ok(connection.query(sql, "reading the login plugins")?.iter().map(|row| row.string(0)).collect())
}

struct Reader<'c> {
    connection: &'c mut Connection,
    catalog: AccountCatalog,
    accounts: BTreeMap<Account, AccountDefinition>,
}

impl Reader<'_> {
    /// Reads a system table with whatever columns it has on this server. `None` when it is not there or hidden.
    fn read(&mut self, table: &'static str) -> Result<Option<Named>> {
        let sql = format!(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME = '{table}' ORDER BY \
             ORDINAL_POSITION"
        );
        let columns: Vec<String> = self
            .connection
            .query(sql, "reading the columns of a table with accounts")?
            .iter()
            .map(|row| row.string(0))
            .collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let sql = format!("SELECT {} FROM mysql.{}", quote::identifiers(&columns), quote::identifier(table));
        match self.connection.query(sql, "reading accounts and grants") {
            Ok(rows) => {
                let columns = columns.iter().map(|column| column.to_ascii_lowercase()).collect();
                Ok(Some(Named { columns, rows }))
            }
            // 1146 no such table, 1356 a view that its owner may no longer read.
            Err(error)
                if error
                    .server_error()
                    .is_some_and(|answer| answer.is_privilege() || matches!(answer.code, 1146 | 1356)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`read`](Self::read), and notes a table that every version has and that is hidden here.
    fn read_old(&mut self, table: &'static str) -> Result<Option<Named>> {
        let named = self.read(table)?;
        if named.is_none() {
            self.catalog.hidden.push(table);
        }
        Ok(named)
    }

    fn users(&mut self) -> Result<()> {
        let mut found = None;
        // RDS hides `user` and shows `user_view` instead.
        for table in ["user", "user_view"] {
            found = self.read(table)?.filter(|named| named.index("user").is_some());
            if found.is_some() {
                break;
            }
        }
        let Some(named) = found else {
            let name = "mysql.user, mysql.user_view".to_owned();
            return Err(Error::from(ErrorKind::NotFound { what: "readable table", name }).with_hint(
                "The task's account may not read the accounts: GRANT SELECT ON mysql.* TO it, or set objects.accounts = false.",
            ));
        };
        for row in &named.rows {
            // Roles of MariaDB are rows of this table, too.
            if named.string(row, "is_role") == "Y" {
                continue;
            }
            let definition = definition(&named, row);
            self.accounts.insert(definition.account.clone(), definition);
        }
        Ok(())
    }

    fn add(&mut self, account: &Account, grant: Grant) {
        match self.accounts.get_mut(account) {
            Some(definition) => {
                definition.grants.insert(grant);
            }
            None if account.user.is_empty() => self.catalog.for_everybody.push(grant),
            // Rows that a deleted account left behind.
            None => {}
        }
    }

    fn databases(&mut self) -> Result<()> {
        let Some(named) = self.read_old("db")? else { return Ok(()) };
        for row in &named.rows {
            let scope = Scope::Database(named.string(row, "db"));
            for privilege in named.privileges(row).collect::<Vec<_>>() {
                self.add(&named.account(row), Grant::new(scope.clone(), privilege));
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<()> {
        if let Some(named) = self.read_old("tables_priv")? {
            for row in &named.rows {
                let table = TableName::new(named.string(row, "db"), named.string(row, "table_name"));
                for privilege in set_members(&named.string(row, "table_priv")) {
                    self.add(&named.account(row), Grant::new(Scope::Table(table.clone()), privilege));
                }
            }
        }
        if let Some(named) = self.read_old("columns_priv")? {
            for row in &named.rows {
                let table = TableName::new(named.string(row, "db"), named.string(row, "table_name"));
                let scope = Scope::Column(table, named.string(row, "column_name"));
                for privilege in set_members(&named.string(row, "column_priv")) {
                    self.add(&named.account(row), Grant::new(scope.clone(), privilege));
                }
            }
        }
        Ok(())
    }

    fn routines(&mut self) -> Result<()> {
        let Some(named) = self.read_old("procs_priv")? else { return Ok(()) };
        for row in &named.rows {
            let name = TableName::new(named.string(row, "db"), named.string(row, "routine_name"));
            let kind = match named.string(row, "routine_type").as_str() {
                "FUNCTION" => RoutineKind::Function,
                "PROCEDURE" => RoutineKind::Procedure,
                other => {
                    let account = named.account(row);
                    if let Some(definition) = self.accounts.get_mut(&account) {
                        definition.unknown.push(format!("its rights on {other} {name}"));
                    }
                    continue;
                }
            };
            for privilege in set_members(&named.string(row, "proc_priv")) {
                self.add(&named.account(row), Grant::new(Scope::Routine(kind, name.clone()), privilege));
            }
        }
        Ok(())
    }

    fn proxies(&mut self) -> Result<()> {
        let Some(named) = self.read_old("proxies_priv")? else { return Ok(()) };
        for row in &named.rows {
            let proxied = Account::new(named.string(row, "proxied_user"), named.string(row, "proxied_host"));
            let scope = Scope::Proxy(proxied);
            self.add(&named.account(row), Grant::new(scope.clone(), Grant::MEMBER));
            if named.string(row, "with_grant") == "1" {
                self.add(&named.account(row), Grant::new(scope, Grant::OPTION));
            }
        }
        Ok(())
    }

    /// What came with 8.0.
    fn dynamic(&mut self) -> Result<()> {
        let Some(named) = self.read("global_grants")? else { return Ok(()) };
        for row in &named.rows {
            let grant = Grant {
                scope: Scope::Global,
                privilege: named.string(row, "priv").to_ascii_uppercase(),
                is_grantable: named.string(row, "with_grant_option") == "Y",
            };
            self.add(&named.account(row), grant);
        }
        Ok(())
    }

    fn roles(&mut self) -> Result<()> {
        if let Some(named) = self.read("role_edges")? {
            for row in &named.rows {
                let role = Account::new(named.string(row, "from_user"), named.string(row, "from_host"));
                let to = Account::new(named.string(row, "to_user"), named.string(row, "to_host"));
                self.add(&to, Grant::new(Scope::Role(role.clone()), Grant::MEMBER));
                if named.string(row, "with_admin_option") == "Y" {
                    self.add(&to, Grant::new(Scope::Role(role), Grant::OPTION));
                }
            }
        }
        if let Some(named) = self.read("default_roles")? {
            for row in &named.rows {
                let role = Account::new(
                    named.string(row, "default_role_user"),
                    named.string(row, "default_role_host"),
                );
                self.add(&named.account(row), Grant::new(Scope::Role(role), Grant::DEFAULT));
            }
        }
        Ok(())
    }
}

/// The members of a SET column as names of privileges; 5.6 and later write them as `Create View`.
fn set_members(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|member| !member.is_empty())
        .map(|member| match member.to_ascii_uppercase().as_str() {
            "GRANT" => Grant::OPTION.to_owned(),
            other => other.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read() {
        assert_eq!(set_members("Select,Create View,Grant"), ["SELECT", "CREATE VIEW", "GRANT OPTION"]);
        assert!(set_members("").is_empty());
    }
}
