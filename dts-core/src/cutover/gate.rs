//! The gate: applications can no longer write on one side.
//!
//! # Why nothing is written behind it
//! - `read-only`: the server refuses the COMMIT of a transaction that began before, and every write after (1290). Accounts with
//!   SUPER or CONNECTION_ADMIN are not held: a session of one stops the hand-over before the gate is closed, and one that comes
//!   later is ended like those of before.
//! - `lock-accounts`: nobody logs in any more, and then every session of a held account is ended, which rolls its transaction
//!   back. On servers without `ACCOUNT LOCK` (before 5.7.6) the account is renamed: its password and grants stay with it.
//! - The event scheduler writes without a session, so the events of the selected databases are disabled, whatever the kind.
//!
//! Closing and opening can be repeated at any point: what is already so is left so, and an account or event that is gone meanwhile
//! needs neither.
use std::collections::{BTreeMap, BTreeSet};

use crate::data::{Account, GateKind, GateRecord, HeldAccount, HeldEvent, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{Flavor, ServerFacts, ServerVersion, is_system_account};
use crate::sql::quote;
use crate::wire::{Connection, TextRow};

use super::session::AppSession;

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
                "SELECT EVENT_NAME, DEFINER FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} AND STATUS = 'ENABLED'",
                quote::string_literal(database)
            );
            let rows = connection.query(sql, "looking for events")?;
            events.extend(rows.iter().map(|row| {
                HeldEvent {
                    name: TableName::new(database.clone(), row.string(0)),
                    // As it is written: a host in other letters would be another text.
                    definer: row
                        .string(1)
                        .rsplit_once('@')
                        .map(|(user, host)| Account { user: user.into(), host: host.into() }),
                }
            }));
        }
        Ok(GateRecord { kind, was_read_only, accounts, events })
    }

    /// Closes the gate; lines for people. What [`GateKind::Hook`] and [`GateKind::None`] do is not done here.
    ///
    /// # Errors
    /// What the server answered; the gate may be half closed then.
    pub(crate) fn close(&self, connection: &mut Connection, record: &GateRecord) -> Result<Vec<String>> {
        let mut saw = self.switch_events(connection, &record.events, EventStatus::Disable)?;
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
                    saw.extend(self.hold(connection, held)?);
                }
            }
            GateKind::Hook | GateKind::None => {}
        }
        Ok(saw)
    }

    /// Opens the gate again: everything that the record names is as it was before; lines for people about what could not be so.
    ///
    /// # Errors
    /// What the server answered; call it again then.
    pub(crate) fn open(&self, connection: &mut Connection, record: &GateRecord) -> Result<Vec<String>> {
        let mut saw = Vec::new();
        match record.kind {
            GateKind::ReadOnly if !record.was_read_only => {
                connection.execute("SET GLOBAL read_only = 0", "taking read_only back")?;
            }
            GateKind::LockAccounts => {
                for held in &record.accounts {
                    saw.extend(self.release(connection, held)?);
                }
            }
            GateKind::ReadOnly | GateKind::Hook | GateKind::None => {}
        }
        saw.extend(self.switch_events(connection, &record.events, EventStatus::Enable)?);
        Ok(saw)
    }

    fn accounts_to_hold(&self, connection: &mut Connection) -> Result<Vec<HeldAccount>> {
        let renames = !self.has_account_lock();
        let all = self.accounts(connection, true)?;
        let accounts: Vec<Account> = all
            .iter()
            // `root` is not locked, so that nobody is locked out; its sessions count as an application's all the same.
            .filter(|account| account.user != "root" && !self.is_ours_or_system(&account.user))
            // Another task's gate holds it already.
            .filter(|account| !HeldAccount::is_hidden_user(&account.user))
            .cloned()
            .collect();
        let free = (0..)
            .map(HeldAccount::hidden_user)
            .filter(|name| !all.iter().any(|account| account.user == *name));
        if renames {
            let held = accounts.into_iter().zip(free);
            return Ok(held.map(|(account, name)| HeldAccount { account, renamed_to: Some(name) }).collect());
        }
        Ok(accounts.into_iter().map(|account| HeldAccount { account, renamed_to: None }).collect())
    }

    /// Lists the server's accounts, in the order of their names; `unlocked`: only those that are not locked.
    fn accounts(&self, connection: &mut Connection, unlocked: bool) -> Result<BTreeSet<Account>> {
        let sql = match (self.facts.flavor, unlocked && self.has_account_lock()) {
            (Flavor::MySql, true) => "SELECT User, Host FROM mysql.user WHERE account_locked = 'N'",
            (Flavor::MariaDb, true) => {
                "SELECT User, Host FROM mysql.global_priv WHERE COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') NOT IN \
                 ('1', 'true') AND COALESCE(JSON_VALUE(Priv, '$.is_role'), '0') NOT IN ('1', 'true')"
            }
            (_, false) => "SELECT User, Host FROM mysql.user",
        };
        let rows = match connection.query(sql, "listing the accounts") {
            // RDS hides the table and offers a view.
            Err(error) if error.server_error().is_some_and(|server| server.is_privilege()) => connection
                .query("SELECT User, Host FROM mysql.user_view", "listing the accounts")
                .map_err(|_| error)?,
            other => other?,
        };
        Ok(rows.iter().map(|row| Account { user: row.string(0), host: row.string(1) }).collect())
    }

    fn has_account_lock(&self) -> bool {
        match self.facts.flavor {
            Flavor::MySql => self.facts.version >= ServerVersion(5, 7, 6),
            Flavor::MariaDb => self.facts.version >= ServerVersion(10, 4, 2),
        }
    }

    fn hold(&self, connection: &mut Connection, held: &HeldAccount) -> Result<Option<String>> {
        let sql = match held.hidden() {
            None => format!("ALTER USER {} ACCOUNT LOCK", literal(&held.account)),
            Some(hidden) => format!("RENAME USER {} TO {}", literal(&held.account), literal(&hidden)),
        };
        let Err(refused) = self.change_account(connection, held, sql, "locking an account")? else {
            return Ok(None);
        };
        match (refused.is_there, refused.is_hidden) {
            (false, true) => Ok(None),
            (false, false) => Ok(Some(format!("account {} is gone: there is nothing to hold", held.account))),
            (true, false) => Err(refused.error),
            (true, true) => Err(Error::from(ErrorKind::CutOver {
                why: format!(
                    "account {} was made anew while the gate held it under the name '{}'",
                    held.account,
                    held.renamed_to.as_deref().unwrap_or_default()
                ),
            })
            .with_hint("Drop one of the two, then run the same command again.")),
        }
    }

    fn release(&self, connection: &mut Connection, held: &HeldAccount) -> Result<Option<String>> {
        let sql = match held.hidden() {
            None => format!("ALTER USER {} ACCOUNT UNLOCK", literal(&held.account)),
            Some(hidden) => format!("RENAME USER {} TO {}", literal(&hidden), literal(&held.account)),
        };
        let Err(refused) = self.change_account(connection, held, sql, "unlocking an account")? else {
            return Ok(None);
        };
        match (refused.is_there, refused.is_hidden) {
            (false, false) => Ok(Some(format!("account {} is gone: there is nothing to open", held.account))),
            (true, false) if held.renamed_to.is_some() => Ok(None),
            // Whoever made it anew decided who may log in.
            (true, true) => Ok(Some(format!(
                "account {} was made anew while the gate held it: what it was before is left as '{}'",
                held.account,
                held.renamed_to.as_deref().unwrap_or_default()
            ))),
            (true | false, _) => Err(refused.error),
        }
    }

    /// Runs a statement about an account. Where the server cannot carry it out (1396), looks what is there.
    fn change_account(
        &self,
        connection: &mut Connection,
        held: &HeldAccount,
        sql: String,
        doing: &'static str,
    ) -> Result<std::result::Result<(), Refused>> {
        let error = match connection.execute(sql, doing) {
            Ok(_) => return Ok(Ok(())),
            Err(error) => error,
        };
        if error.server_error().is_none_or(|server| server.code != 1396) {
            return Err(explain_accounts(error));
        }
        // Hosts are compared without regard to case.
        let fold = |account: &Account| Account::new(&account.user, &account.host);
        let there: BTreeSet<Account> = self.accounts(connection, false)?.iter().map(fold).collect();
        Ok(Err(Refused {
            error,
            is_there: there.contains(&fold(&held.account)),
            is_hidden: held.hidden().is_some_and(|hidden| there.contains(&fold(&hidden))),
        }))
    }

    /// Switches events of the event scheduler on or off; each keeps the definer that its record names. One that is gone meanwhile
    /// is as good. Lines for people about definers that the server does not let the account name.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) fn switch_events(
        &self,
        connection: &mut Connection,
        events: &[HeldEvent],
        status: EventStatus,
    ) -> Result<Vec<String>> {
        const DOING: &str = "switching an event of the event scheduler";
        let mut saw = Vec::new();
        for event in events {
            let plain = format!("EVENT {} {}", quote::table(&event.name), status.keyword());
            let outcome = match &event.definer {
                None => connection.execute(format!("ALTER {plain}"), DOING),
                Some(definer) => {
                    let sql = format!("ALTER DEFINER = {} {plain}", literal(definer));
                    match connection.execute(sql, DOING) {
                        // It takes SUPER, SET_USER_ID, SET_ANY_DEFINER, …: which one differs.
                        Err(error)
                            if error
                                .server_error()
                                .is_some_and(|server| matches!(server.code, 1227 | 1449)) =>
                        {
                            saw.push(format!(
                                "event {}: its definer '{}'@'{}' cannot be kept, {} is it now (the server does not let this account name \
                                 another one)",
                                event.name, definer.user, definer.host, self.facts.current_user
                            ));
                            connection.execute(format!("ALTER {plain}"), DOING)
                        }
                        other => other,
                    }
                }
            };
            match outcome {
                // 1539, 1049: the event or its database is gone meanwhile; one that runs once drops itself.
                Err(error)
                    if error.server_error().is_some_and(|server| matches!(server.code, 1049 | 1539)) => {}
                other => drop(other?),
            }
        }
        Ok(saw)
    }

    /// Looks who could write behind [`GateKind::ReadOnly`] all the same; lines for people.
    ///
    /// # Errors
    /// [`ErrorKind::CutOver`] when one of `sessions` is of such an account; what the server answered.
    pub(crate) fn look_at_exempt(
        &self,
        connection: &mut Connection,
        kind: GateKind,
        sessions: &[AppSession],
    ) -> Result<Vec<String>> {
        if kind != GateKind::ReadOnly {
            return Ok(Vec::new());
        }
        let Some(exempt) = self.exempt_accounts(connection)? else {
            return Ok(vec![
                "which accounts read_only does not hold (SUPER, CONNECTION_ADMIN) cannot be seen without SELECT on mysql.*: make sure \
                 that none of them writes"
                    .into(),
            ]);
        };
        let writers: BTreeSet<String> = sessions
            .iter()
            .filter(|session| !session.is_ended && exempt.iter().any(|account| account.user == session.user))
            .map(|session| format!("'{}'", session.user))
            .collect();
        if !writers.is_empty() {
            let names: Vec<String> = writers.into_iter().collect();
            return Err(Error::from(ErrorKind::CutOver {
                why: format!(
                    "read_only does not hold accounts with SUPER or CONNECTION_ADMIN, and these have sessions: {}",
                    names.join(", ")
                ),
            })
            .with_hint(
                "End their sessions, or take the privilege from them, or use another --gate. Those that do not \
                 write can be named by --keep USER.",
            ));
        }
        Ok(exempt
            .iter()
            .map(|account| format!("account {account} is not held by read_only (SUPER or CONNECTION_ADMIN); it has no session"))
            .collect())
    }

    /// Returns the users that `read_only` does not hold: neither ours, nor the server's own, nor those to be kept.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) fn exempt_users(&self, connection: &mut Connection) -> Result<BTreeSet<String>> {
        let exempt = self.exempt_accounts(connection)?.unwrap_or_default();
        Ok(exempt.into_iter().map(|account| account.user).collect())
    }

    /// `None` when the server does not show other accounts' privileges.
    fn exempt_accounts(&self, connection: &mut Connection) -> Result<Option<BTreeSet<Account>>> {
        const DOING: &str = "looking for accounts that read_only does not hold";
        let rows = connection.query(
            "SELECT GRANTEE, MAX(PRIVILEGE_TYPE IN ('SUPER', 'CONNECTION_ADMIN', 'READ ONLY ADMIN', 'READ_ONLY ADMIN')) FROM \
             information_schema.USER_PRIVILEGES GROUP BY GRANTEE",
            DOING,
        )?;
        let grantee = |row: &TextRow| {
            let text = row.string(0);
            let (user, host) = text.rsplit_once("'@'")?;
            Some(Account::new(user.strip_prefix('\'')?, host.strip_suffix('\'')?))
        };
        if rows.len() <= 1 {
            // There are always several accounts; without SELECT on the system tables one sees oneself.
            return Ok(None);
        }
        let mut exempt: BTreeSet<Account> =
            rows.iter().filter(|row| row.u64(1) == Some(1)).filter_map(grantee).collect();
        if self.facts.is_mysql_at_least(8, 0, 0) {
            // A role gives its privileges on, through other roles, too.
            let sql = "SELECT FROM_USER, FROM_HOST, TO_USER, TO_HOST FROM mysql.role_edges";
            let edges: Vec<(Account, Account)> = connection
                .query(sql, DOING)?
                .iter()
                .map(|row| {
                    (Account::new(row.string(0), row.string(1)), Account::new(row.string(2), row.string(3)))
                })
                .collect();
            loop {
                let count = exempt.len();
                for (role, account) in &edges {
                    if exempt.contains(role) {
                        exempt.insert(account.clone());
                    }
                }
                if exempt.len() == count {
                    break;
                }
            }
        }
        exempt.retain(|account| !self.is_ours_or_system(&account.user));
        Ok(Some(exempt))
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
                // Neither a state nor a statement.
                is_ended: row.string(4) == "Killed" && row.string(6).is_empty() && row.string(7).is_empty(),
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

/// Why an account could not be changed, and which of its names are there.
struct Refused {
    error: Error,
    is_there: bool,
    is_hidden: bool,
}

/// What becomes of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EventStatus {
    Enable,
    Disable,
}

impl EventStatus {
    fn keyword(self) -> &'static str {
        match self {
            EventStatus::Enable => "ENABLE",
            EventStatus::Disable => "DISABLE",
        }
    }
}

/// Returns whether the server refuses writes of ordinary accounts at this moment.
///
/// # Errors
/// What the server answered.
pub(crate) fn is_read_only(connection: &mut Connection) -> Result<bool> {
    let row = connection.query_row("SELECT @@GLOBAL.read_only", "asking whether the server is read-only")?;
    Ok(row.is_some_and(|row| row.string(0) == "1"))
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
