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

const HIDDEN: &str = "dts_gate_";

/// An account that the gate holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldAccount {
    /// The account.
    pub account: Account,
    /// The user's name while it is held. `None`: `ACCOUNT LOCK` holds it (5.7.6 and later). 5.6 has no such lock; there the
    /// account keeps its password and its grants under a name that nobody knows.
    pub renamed_to: Option<String>,
}

impl HeldAccount {
    /// Returns the account as it is called while it is held; `None` when it keeps its name.
    pub fn hidden(&self) -> Option<Account> {
        let user = self.renamed_to.clone()?;
        Some(Account { user, host: self.account.host.clone() })
    }

    /// Makes a user's name for an account that is held. 16 characters are the most that 5.6 takes.
    pub fn hidden_user(number: u32) -> String {
        format!("{HIDDEN}{number}")
    }

    /// Returns whether a user's name is one of those.
    pub fn is_hidden_user(user: &str) -> bool {
        user.strip_prefix(HIDDEN)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// An event of the event scheduler that the gate disables.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldEvent {
    /// The event.
    #[serde(flatten)]
    pub name: TableName,
    /// In whose name it runs: `ALTER EVENT` makes whoever runs it the definer, so whoever switches the event must name this one.
    /// `None`: an earlier version of dts has not written it down.
    #[serde(default)]
    pub definer: Option<Account>,
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
    pub events: Vec<HeldEvent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_earlier_versions_can_be_read() {
        let text = r#"{"kind":"read-only","was_read_only":false,"accounts":[],"events":[{"database":"shop","table":"tick"}]}"#;
        let mut record: GateRecord = serde_json::from_str(text).unwrap();
        assert_eq!(record.events, [HeldEvent { name: TableName::new("shop", "tick"), definer: None }]);
        record.events[0].definer = Some(Account { user: "app".into(), host: "%".into() });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<GateRecord>(&text).unwrap(), record);
    }
}
