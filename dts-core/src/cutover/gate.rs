//! The gate: applications can no longer write on one side.
//!
//! # Why nothing is written behind it
//! - `read-only`: the server refuses the COMMIT of a transaction that began before, and every write after (1290). Accounts with
//!   SUPER or CONNECTION_ADMIN are not held; they are named before the gate is closed.
//! - `lock-accounts`: nobody logs in any more, and then every session of a held account is ended, which rolls its transaction
//!   back. On servers without `ACCOUNT LOCK` (before 5.7.6) the account is renamed: its password and grants stay with it.
//! - The event scheduler writes without a session, so the events of the selected databases are disabled, whatever the kind.
//!
//! Closing and opening can be repeated at any point: what is already so is left so.
use std::collections::BTreeMap;

use crate::data::{Account, GateKind, GateRecord, HeldAccount, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{Flavor, ServerFacts, ServerVersion, is_system_account};
use crate::sql::quote;
use crate::wire::Connection;

/// What a server calls the user of a session that has not logged in yet.
const LOGGING_IN: &str = "unauthenticated user";
/// How long `SET GLOBAL read_only` waits for statements that are running, in seconds. It holds up new writes meanwhile.
const READ_ONLY_PATIENCE: u64 = 5;

/// The gate of one server.
pub(crate) struct Gate<'a> {
    facts: &'a ServerFacts,
    keep: &'a [String],
}

impl<'a> Gate<'a> {
    /// `keep`: users that are no applications: neither held nor waited for.
    pub(crate) fn new(facts: &'a ServerFacts, keep: &'a [String]) -> Self {
        Gate { facts, keep }
    }

    /// Looks what closing the gate will change. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Privilege`] when the accounts cannot be listed; else what the server answered.
    pub(crate) fn plan(
        &self,
        connection: &mut Connection,
        kind: GateKind,
        databases: &[String],
    ) -> Result<GateRecord> {
        let was_read_only = is_read_only(connection)?;
        let accounts = match kind {
            GateKind::LockAccounts => self.accounts_to_hold(connection)?,
            GateKind::ReadOnly | GateKind::Hook | GateKind::None => Vec::new(),
        };
        let mut events = Vec::new();
        for database in databases {
            let sql = format!(
                "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND STATUS = 'ENABLED'",
                quote::string_literal(database)
            );
            let rows = connection.query(sql, "looking for events")?;
            events.extend(rows.iter().map(|row| TableName::new(database.clone(), row.string(0))));
        }
        Ok(GateRecord { kind, was_read_only, accounts, events })
    }

    /// Closes the gate. What [`GateKind::Hook`] and [`GateKind::None`] do is not done here.
    ///
    /// # Errors
    /// What the server answered; the gate may be half closed then.
    pub(crate) fn close(&self, connection: &mut Connection, record: &GateRecord) -> Result<()> {
        self.set_events(connection, record, "DISABLE")?;
        match record.kind {
            GateKind::ReadOnly => {
                connection.execute(
                    format!("SET SESSION lock_wait_timeout = {READ_ONLY_PATIENCE}"),
                    "preparing the gate",
                )?;
                connection.execute("SET GLOBAL read_only = 1", "making the server read-only").map_err(|error| {
                    error.with_hint(
                        "The account needs SUPER, or SYSTEM_VARIABLES_ADMIN from 8.0 on; error 1205 means that a statement \
                         ran for longer than the gate waits: look at SHOW PROCESSLIST. Or use another --gate.",
                    )
                })?;
            }
            GateKind::LockAccounts => {
                for held in &record.accounts {
                    self.hold(connection, held)?;
                }
            }
            GateKind::Hook | GateKind::None => {}
        }
        Ok(())
    }

    /// Opens the gate again: everything that the record names is as it was before.
    ///
    /// # Errors
    /// What the server answered; call it again then.
    pub(crate) fn open(&self, connection: &mut Connection, record: &GateRecord) -> Result<()> {
        match record.kind {
            GateKind::ReadOnly if !record.was_read_only => {
                connection.execute("SET GLOBAL read_only = 0", "taking read_only back")?;
            }
            GateKind::LockAccounts => {
                for held in &record.accounts {
                    self.release(connection, held)?;
                }
            }
            GateKind::ReadOnly | GateKind::Hook | GateKind::None => {}
        }
        self.set_events(connection, record, "ENABLE")
    }

    fn accounts_to_hold(&self, connection: &mut Connection) -> Result<Vec<HeldAccount>> {
        let renames = !self.has_account_lock();
        let sql = match (self.facts.flavor, renames) {
            (Flavor::MySql, false) => "SELECT User, Host FROM mysql.user WHERE account_locked = 'N'",
            (Flavor::MariaDb, false) => {
                "SELECT User, Host FROM mysql.global_priv WHERE COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') NOT IN \
                 ('1', 'true') AND COALESCE(JSON_VALUE(Priv, '$.is_role'), '0') NOT IN ('1', 'true')"
            }
            (_, true) => "SELECT User, Host FROM mysql.user",
        };
        let rows = match connection.query(sql, "listing the accounts") {
            // RDS hides the table and offers a view.
            Err(error) if error.server_error().is_some_and(|server| server.is_privilege()) => connection
                .query("SELECT User, Host FROM mysql.user_view", "listing the accounts")
                .map_err(|_| error)?,
            other => other?,
        };
        let mut accounts: Vec<Account> = rows
            .iter()
            .map(|row| Account { user: row.string(0), host: row.string(1) })
            // `root` is not locked, so that nobody is locked out; its sessions count as an application's all the same.
            .filter(|account| account.user != "root" && !self.is_ours_or_system(&account.user))
            .collect();
        accounts.sort_unstable();
        Ok(accounts
            .into_iter()
            .enumerate()
            .map(|(number, account)| HeldAccount {
                account,
                // 16 characters are the most that 5.6 takes.
                renamed_to: renames.then(|| format!("dts_gate_{number}")),
            })
            .collect())
    }

    fn has_account_lock(&self) -> bool {
        match self.facts.flavor {
            Flavor::MySql => self.facts.version >= ServerVersion(5, 7, 6),
            Flavor::MariaDb => self.facts.version >= ServerVersion(10, 4, 2),
        }
    }

    fn hold(&self, connection: &mut Connection, held: &HeldAccount) -> Result<()> {
        let sql = match &held.renamed_to {
            None => format!("ALTER USER {} ACCOUNT LOCK", literal(&held.account)),
            Some(name) => {
                let hidden = Account { user: name.clone(), host: held.account.host.clone() };
                if exists(connection, &hidden)? {
                    return Ok(());
                }
                format!("RENAME USER {} TO {}", literal(&held.account), literal(&hidden))
            }
        };
        connection.execute(sql, "locking an account").map(drop).map_err(explain_accounts)
    }

    fn release(&self, connection: &mut Connection, held: &HeldAccount) -> Result<()> {
        let sql = match &held.renamed_to {
            None => format!("ALTER USER {} ACCOUNT UNLOCK", literal(&held.account)),
            Some(name) => {
                let hidden = Account { user: name.clone(), host: held.account.host.clone() };
                if !exists(connection, &hidden)? {
                    return Ok(());
                }
                format!("RENAME USER {} TO {}", literal(&hidden), literal(&held.account))
            }
        };
        connection.execute(sql, "unlocking an account").map(drop).map_err(explain_accounts)
    }

    fn set_events(&self, connection: &mut Connection, record: &GateRecord, what: &str) -> Result<()> {
        for event in &record.events {
            let sql = format!("ALTER EVENT {} {what}", quote::table(event));
            match connection.execute(sql, "switching an event of the event scheduler") {
                // 1539: the event is gone meanwhile; one that runs once drops itself.
                Err(error) if error.server_error().is_some_and(|server| server.code == 1539) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Lists the sessions that may be an application's: neither ours, nor the server's own, nor a replica's, nor of a user
    /// that was named as none. `known`: those seen before with their users, which grows.
    ///
    /// A server shows a session that is inside a trigger or a stored program under the *definer's* name, which may be ours. So
    /// a session that was an application's once is one until it is gone, and one look that sees none proves nothing.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) fn application_sessions(
        &self,
        connection: &mut Connection,
        known: &mut BTreeMap<u64, String>,
    ) -> Result<Vec<AppSession>> {
        let rows = connection.query("SHOW PROCESSLIST", "listing the sessions")?;
        let mut sessions: Vec<AppSession> = rows
            .iter()
            .map(|row| AppSession {
                id: row.u64(0).unwrap_or(0),
                user: row.string(1),
                host: row.string(2),
                database: row.text(3).map(Into::into),
                command: row.string(4),
                seconds: row.u64(5).unwrap_or(0),
            })
            .filter(|session| {
                known.contains_key(&session.id)
                    || (!self.is_ours_or_system(&session.user)
                        && !matches!(session.user.as_str(), "system user" | "event_scheduler")
                        && !matches!(session.command.as_str(), "Binlog Dump" | "Binlog Dump GTID" | "Daemon"))
            })
            .collect();
        // Whose session it will be is not known yet; it may be ours.
        for session in sessions.iter_mut().filter(|session| !session.is_logging_in()) {
            session.user.clone_from(known.entry(session.id).or_insert_with(|| session.user.clone()));
        }
        Ok(sessions)
    }

    fn is_ours_or_system(&self, user: &str) -> bool {
        self.own_user() == user || is_system_account(user) || self.keep.iter().any(|kept| kept == user)
    }

    fn own_user(&self) -> &str {
        self.facts.current_user.rsplit_once('@').map_or(self.facts.current_user.as_str(), |(user, _)| user)
    }
}

/// A session that may be an application's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSession {
    /// Its number, for KILL.
    pub id: u64,
    /// Its user.
    pub user: String,
    /// Where it comes from.
    pub host: String,
    /// Its database.
    pub database: Option<String>,
    /// What it does: `Sleep`, `Query`, …
    pub command: String,
    /// For how long, in seconds.
    pub seconds: u64,
}

impl AppSession {
    /// Returns whether nobody knows yet whose it is.
    pub fn is_logging_in(&self) -> bool {
        self.user == LOGGING_IN
    }
}

impl std::fmt::Display for AppSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}' from {}", self.id, self.user, self.host)?;
        if let Some(database) = &self.database {
            write!(f, " in {database}")?;
        }
        write!(f, ", {} for {} s", self.command, self.seconds)
    }
}

/// Ends sessions. One that is gone meanwhile is as good; one that is still logging in may be ours and is left alone.
///
/// # Errors
/// What the server answered; a hint when the account may not.
pub(crate) fn end_sessions(connection: &mut Connection, sessions: &[AppSession]) -> Result<()> {
    for session in sessions.iter().filter(|session| !session.is_logging_in()) {
        match connection.execute(format!("KILL {}", session.id), "ending a session") {
            // 1094: no such session.
            Err(error) if error.server_error().is_some_and(|server| server.code == 1094) => {}
            Err(error) => {
                return Err(error.with_hint(
                    "Ending other accounts' sessions needs SUPER, or CONNECTION_ADMIN from 8.0 on. Stop the application, or \
                     end its sessions in the console, and run the cut-over again.",
                ));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Returns whether the server refuses writes of ordinary accounts at this moment.
///
/// # Errors
/// What the server answered.
pub(crate) fn is_read_only(connection: &mut Connection) -> Result<bool> {
    let row = connection.query_row("SELECT @@GLOBAL.read_only", "asking whether the server is read-only")?;
    Ok(row.is_some_and(|row| row.string(0) == "1"))
}

fn exists(connection: &mut Connection, account: &Account) -> Result<bool> {
    match connection.query(format!("SHOW GRANTS FOR {}", literal(account)), "looking for an account") {
        Ok(_) => Ok(true),
        // 1141: no such grant: the account does not exist.
        Err(error) if error.server_error().is_some_and(|server| server.code == 1141) => Ok(false),
        Err(error) => Err(error),
    }
}

fn literal(account: &Account) -> String {
    format!("{}@{}", quote::string_literal(&account.user), quote::string_literal(&account.host))
}

fn explain_accounts(error: Error) -> Error {
    match error.server_error() {
        Some(server) if server.is_privilege() => Error::from(ErrorKind::Privilege {
            what: "locking and unlocking accounts (CREATE USER)".into(),
            source: server.clone(),
        }),
        _ => error,
    }
}
