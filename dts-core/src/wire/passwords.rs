//! Passwords that an operator supplies for accounts of an application.
use std::collections::BTreeMap;

use super::options::Secret;
use crate::data::Account;

/// Passwords of accounts: of one account, or of a user at all hosts. Never printed.
#[derive(Clone, Default, Debug)]
pub struct AccountPasswords {
    accounts: BTreeMap<Account, Secret>,
    users: BTreeMap<String, Secret>,
}

impl AccountPasswords {
    /// Adds a password. `name` is `user@host`, or a user's name alone for all of its hosts.
    pub fn add(&mut self, name: &str, password: Secret) {
        if name.contains('@') {
            self.accounts.insert(Account::parse(name), password);
        } else {
            self.users.insert(name.to_owned(), password);
        }
    }

    /// Returns the password of an account; the one of the account itself comes before that of its user.
    pub fn of(&self, account: &Account) -> Option<Secret> {
        self.accounts.get(account).or_else(|| self.users.get(&account.user)).cloned()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.users.is_empty()
    }

    /// Returns the names that fit none of these accounts: mistyped, most likely.
    pub fn unused<'a>(&self, accounts: impl Iterator<Item = &'a Account> + Clone) -> Vec<String> {
        let of_accounts =
            self.accounts.keys().filter(|name| accounts.clone().all(|account| account != *name));
        let of_users =
            self.users.keys().filter(|user| accounts.clone().all(|account| account.user != **user));
        of_accounts.map(ToString::to_string).chain(of_users.cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_comes_before_its_user() {
        let mut passwords = AccountPasswords::default();
        passwords.add("app", Secret::new("one"));
        passwords.add("app@10.%", Secret::new("two"));
        passwords.add("ghost", Secret::new("three"));
        let (anywhere, there) = (Account::new("app", "%"), Account::new("app", "10.%"));
        assert!(passwords.of(&anywhere) == Some(Secret::new("one")));
        assert!(passwords.of(&there) == Some(Secret::new("two")));
        assert!(passwords.of(&Account::new("crm", "%")).is_none());
        assert_eq!(passwords.unused([anywhere, there].iter()), ["ghost"]);
        assert!(!format!("{passwords:?}").contains("two"));
    }
}
