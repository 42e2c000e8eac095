//! What keeps applications from writing on a server, written down so that any process can take it back.
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Account, TableName};

/// How applications are kept from writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// `SET GLOBAL read_only`: needs SUPER or SYSTEM_VARIABLES_ADMIN, does not hold accounts with such privileges.
    ReadOnly,
    /// Every account of an application is locked and its sessions are ended: needs CREATE USER and PROCESS.
    LockAccounts,
    /// The embedding program does it.
    Hook,
    /// The operator did it already.
    None,
}

impl GateKind {
    /// Returns the name used in outputs and records, for example `lock-accounts`.
    pub fn name(self) -> &'static str {
        match self {
            GateKind::ReadOnly => "read-only",
            GateKind::LockAccounts => "lock-accounts",
            GateKind::Hook => "hook",
            GateKind::None => "none",
        }
    }
}

impl fmt::Display for GateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An account that the gate holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldAccount {
    /// The account.
    pub account: Account,
    /// The user's name while it is held. `None`: `ACCOUNT LOCK` holds it (5.7.6 and later). 5.6 has no such lock; there the
    /// account keeps its password and its grants under a name that nobody knows.
    pub renamed_to: Option<String>,
}

/// All that closing the gate changes. Written down before the first change, so that it names at least what was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GateRecord {
    /// How.
    pub kind: GateKind,
    /// The server's `read_only` before.
    pub was_read_only: bool,
    /// Accounts that are held. Those that were locked before are not among them.
    pub accounts: Vec<HeldAccount>,
    /// Events of the event scheduler that are disabled meanwhile: they write without a session.
    pub events: Vec<TableName>,
}
