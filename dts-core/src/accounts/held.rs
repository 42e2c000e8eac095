//! Accounts that the gate of a hand-over holds, seen as they are when it is open.
//!
//! A gate locks accounts, or renames them where there is no lock. Read so, each of them would look as if somebody had locked or
//! dropped it, and a `dts_gate_0` would be new. The gate's record says what it did, so that can be taken off again.
use std::collections::BTreeMap;

use crate::data::{Account, Attribute, HeldAccount};
use crate::server::accounts::AccountCatalog;

/// Takes off what gates did. Returns the accounts that have another name on the server meanwhile, with that name.
pub(super) fn as_before(catalog: &mut AccountCatalog, held: &[HeldAccount]) -> BTreeMap<Account, Account> {
    let mut renamed = BTreeMap::new();
    for held in held {
        let name = Account::new(&held.account.user, &held.account.host);
        let is_there = catalog.accounts.iter().any(|definition| definition.account == name);
        // The catalog has hosts in lower case.
        let hidden = held.hidden().map(|hidden| Account::new(hidden.user, hidden.host));
        match hidden {
            None => {
                let definition = catalog.accounts.iter_mut().find(|definition| definition.account == name);
                // A record names accounts that were not locked.
                if let Some(lock) =
                    definition.and_then(|definition| definition.attributes.get_mut(&Attribute::Lock))
                {
                    "ACCOUNT UNLOCK".clone_into(lock);
                }
            }
            Some(hidden) if !is_there => {
                let definition = catalog.accounts.iter_mut().find(|definition| definition.account == hidden);
                if let Some(definition) = definition {
                    definition.account = name.clone();
                    renamed.insert(name, hidden);
                }
            }
            // Not renamed yet, or not any more.
            Some(_) => {}
        }
    }
    renamed
}

/// Removes accounts that a gate holds of which nothing is known: one of a task with another target. Returns them.
pub(super) fn take_unknown(catalog: &mut AccountCatalog) -> Vec<Account> {
    let is_hidden = |account: &Account| HeldAccount::is_hidden_user(&account.user);
    let unknown =
        catalog.accounts.iter().map(|definition| &definition.account).filter(|account| is_hidden(account));
    let unknown: Vec<Account> = unknown.cloned().collect();
    catalog.accounts.retain(|definition| !is_hidden(&definition.account));
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{AccountDefinition, AuthString};

    fn catalog(accounts: &[(&str, &str)]) -> AccountCatalog {
        let accounts = accounts.iter().map(|(user, lock)| AccountDefinition {
            account: Account::new(*user, "%"),
            plugin: "mysql_native_password".into(),
            auth: AuthString::default(),
            has_more_secrets: false,
            attributes: BTreeMap::from([(Attribute::Lock, (*lock).to_owned())]),
            grants: Default::default(),
            unknown: Vec::new(),
        });
        AccountCatalog { accounts: accounts.collect(), ..AccountCatalog::default() }
    }

    fn names(catalog: &AccountCatalog) -> Vec<(&str, &str)> {
        let lock = |definition: &AccountDefinition| definition.attributes[&Attribute::Lock].clone();
        let names = catalog.accounts.iter().map(|definition| {
            let lock = if lock(definition) == "ACCOUNT LOCK" { "ACCOUNT LOCK" } else { "ACCOUNT UNLOCK" };
            (definition.account.user.as_str(), lock)
        });
        names.collect()
    }

    fn held(user: &str, renamed_to: Option<&str>) -> HeldAccount {
        HeldAccount { account: Account::new(user, "%"), renamed_to: renamed_to.map(Into::into) }
    }

    #[test]
    fn what_a_gate_did_is_taken_off() {
        let mut seen = catalog(&[("app", "ACCOUNT LOCK"), ("closed", "ACCOUNT LOCK")]);
        assert!(as_before(&mut seen, &[held("app", None), held("gone", None)]).is_empty());
        assert_eq!(names(&seen), [("app", "ACCOUNT UNLOCK"), ("closed", "ACCOUNT LOCK")]);

        let gate = [held("app", Some("dts_gate_0")), held("not_yet", Some("dts_gate_1"))];
        let mut seen =
            catalog(&[("dts_gate_0", ""), ("not_yet", ""), ("dts_gate_7", ""), ("dts_gate_x", "")]);
        let renamed = as_before(&mut seen, &gate);
        assert_eq!(renamed, BTreeMap::from([(Account::new("app", "%"), Account::new("dts_gate_0", "%"))]));
        assert_eq!(take_unknown(&mut seen), [Account::new("dts_gate_7", "%")]);
        let users: Vec<&str> = names(&seen).iter().map(|(user, _)| *user).collect();
        assert_eq!(users, ["app", "not_yet", "dts_gate_x"]);
    }
}
