//! What has to be done to an account on the target: a comparison in three ways.
//!
//! *desired* is what the source has now, turned into what the target can have; *record* is what was carried last; *present* is
//! what the target has. What differs between desired and record has changed on the source, and is carried. What differs between
//! record and present has been changed on the target by somebody else, and stays.
use std::collections::BTreeSet;

use crate::data::{AccountDefinition, Attribute, Grant, PASSWORD_WITHHELD, Scope};
use crate::target::account_journal::AccountRecord;
use crate::transform::account::{MappedAccount, Note};

/// What has to be done, and what somebody else has done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    pub(super) grant: BTreeSet<Grant>,
    pub(super) revoke: BTreeSet<Grant>,
    /// Was carried, and cannot be seen on the source any more: nobody knows whether it was taken away.
    pub(super) kept: BTreeSet<Grant>,
    pub(super) attributes: BTreeSet<Attribute>,
    /// How it logs in.
    pub(super) login: bool,
    /// Was carried, and somebody took it away on the target.
    pub(super) taken: BTreeSet<Grant>,
    /// Somebody gave it on the target.
    pub(super) extra: BTreeSet<Grant>,
    /// Was carried, and somebody changed it on the target.
    pub(super) changed: BTreeSet<Attribute>,
}

impl Difference {
    /// Compares. Without a record everything that differs is to be done.
    pub(super) fn find(
        desired: &MappedAccount,
        record: Option<&AccountRecord>,
        present: &AccountDefinition,
    ) -> Difference {
        let nothing = AccountRecord::default();
        let record = record.unwrap_or(&nothing);
        let wanted = &desired.definition;
        let mut found = Difference::default();
        for grant in wanted.grants.difference(&present.grants) {
            // Until the record is done it names what was to be given, too.
            if record.is_done && record.grants.contains(grant) {
                found.taken.insert(grant.clone());
            } else {
                found.grant.insert(grant.clone());
            }
        }
        for grant in present.grants.difference(&wanted.grants) {
            // What was refused was tried again since, perhaps by a run that ended in the middle.
            let is_ours = record.grants.contains(grant) || record.refused.contains(grant);
            if is_ours && desired.may_be_hidden(grant) {
                found.kept.insert(grant.clone());
            } else if is_ours {
                found.revoke.insert(grant.clone());
            } else {
                found.extra.insert(grant.clone());
            }
        }
        for (attribute, clause) in &wanted.attributes {
            let is_done = match attribute {
                Attribute::PasswordMark => true,
                // What has expired can only be set anew.
                Attribute::Expired if clause.is_empty() => true,
                _ => present.attributes.get(attribute) == Some(clause),
            };
            if is_done {
            } else if record.attributes.get(attribute) == Some(clause) {
                found.changed.insert(*attribute);
            } else {
                found.attributes.insert(*attribute);
            }
        }
        let mark = wanted.attributes.get(&Attribute::PasswordMark);
        let is_marked = mark.is_some_and(|mark| !mark.is_empty())
            && mark == record.attributes.get(&Attribute::PasswordMark);
        if desired.is_withheld {
            found.login = !is_marked;
        } else if (&wanted.plugin, &wanted.auth) != (&present.plugin, &present.auth) {
            // Without a mark (5.6) nobody knows which side changed it: the source is right.
            found.login = !is_marked;
            if is_marked {
                found.changed.insert(Attribute::PasswordMark);
            }
        }
        found
    }

    /// Leaves password and settings alone: another task, or whoever created the account, looks after them.
    pub(super) fn keep_to_rights(&mut self) {
        self.login = false;
        self.attributes.clear();
        self.extra.clear();
        self.changed.clear();
    }

    /// Returns whether there is nothing to be done.
    pub(super) fn is_nothing(&self) -> bool {
        self.grant.is_empty() && self.revoke.is_empty() && self.attributes.is_empty() && !self.login
    }

    /// Returns what somebody else has done, for people.
    pub(super) fn foreign(&self) -> Vec<Note> {
        let taken =
            self.taken.iter().map(|grant| Note::loss(format!("{grant} was taken away on the target")));
        let extra = self.extra.iter().map(|grant| Note::remark(format!("has {grant} on the target only")));
        let changed = self
            .changed
            .iter()
            .map(|attribute| Note::remark(format!("its {} was changed on the target", attribute.name())));
        taken.chain(extra).chain(changed).collect()
    }

    /// Returns whether the list of roles that are active from the login on is another one.
    pub(super) fn has_default_roles(&self) -> bool {
        self.grant
            .iter()
            .chain(&self.revoke)
            .any(|grant| matches!(grant.scope, Scope::Role(_)) && grant.privilege == Grant::DEFAULT)
    }
}

/// Returns whether the password of an account that could not get its own was set on the target since.
pub(super) fn is_password_set(
    desired: &MappedAccount,
    record: &AccountRecord,
    present: &AccountDefinition,
) -> bool {
    desired.is_withheld
        && record.attributes.get(&Attribute::PasswordMark).is_some_and(|mark| mark == PASSWORD_WITHHELD)
        && present.attributes.get(&Attribute::Lock).is_some_and(|lock| lock == "ACCOUNT UNLOCK")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Account, AuthString};
    use std::collections::BTreeMap;

    fn shop(privilege: &str) -> Grant {
        Grant::new(Scope::Database("shop".into()), privilege)
    }

    fn account(privileges: &[&str], attributes: &[(Attribute, &str)]) -> AccountDefinition {
        AccountDefinition {
            account: Account::new("app", "%"),
            plugin: "caching_sha2_password".into(),
            auth: AuthString(b"hash".to_vec()),
            has_more_secrets: false,
            attributes: attributes.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            grants: privileges.iter().map(|privilege| shop(privilege)).collect(),
            unknown: Vec::new(),
        }
    }

    fn desired(definition: AccountDefinition) -> MappedAccount {
        MappedAccount {
            definition,
            is_withheld: false,
            hidden: Vec::new(),
            loses_login: false,
            notes: Vec::new(),
            login_statement: None,
        }
    }

    fn record(privileges: &[&str], attributes: &[(Attribute, &str)]) -> AccountRecord {
        AccountRecord {
            is_done: true,
            grants: privileges.iter().map(|privilege| shop(privilege)).collect(),
            attributes: attributes.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
            ..AccountRecord::default()
        }
    }

    #[test]
    fn changes_of_the_source_are_carried_and_those_of_the_target_stay() {
        let wanted = desired(account(&["SELECT", "INSERT", "UPDATE"], &[]));
        let found = Difference::find(
            &wanted,
            Some(&record(&["SELECT", "UPDATE", "DELETE"], &[])),
            &account(&["SELECT", "DELETE", "DROP"], &[]),
        );
        assert_eq!(found.grant, BTreeSet::from([shop("INSERT")]));
        assert_eq!(found.revoke, BTreeSet::from([shop("DELETE")]));
        let texts: Vec<String> = found.foreign().into_iter().map(|note| note.text).collect();
        assert_eq!(
            texts,
            ["UPDATE on shop.* was taken away on the target", "has DROP on shop.* on the target only"]
        );
        assert!(!found.login);
    }

    #[test]
    fn what_was_to_be_given_is_given_or_taken_away() {
        let mut begun = record(&["SELECT", "INSERT"], &[]);
        begun.is_done = false;
        let find = |wanted: &[&str], present: &[&str]| {
            Difference::find(&desired(account(wanted, &[])), Some(&begun), &account(present, &[]))
        };
        // It was not given yet, and is still wanted; it was, and is not wanted any more.
        let found = find(&["SELECT", "INSERT"], &["SELECT"]);
        assert!(found.grant == BTreeSet::from([shop("INSERT")]) && found.taken.is_empty(), "{found:?}");
        let found = find(&["SELECT"], &["SELECT", "INSERT"]);
        assert!(found.revoke == BTreeSet::from([shop("INSERT")]) && found.extra.is_empty(), "{found:?}");
    }

    #[test]
    fn what_can_no_longer_be_read_is_not_revoked() {
        let mut wanted = desired(account(&[], &[]));
        wanted.hidden = vec!["db"];
        let found = Difference::find(&wanted, Some(&record(&["SELECT"], &[])), &account(&["SELECT"], &[]));
        assert!(found.revoke.is_empty() && found.kept == BTreeSet::from([shop("SELECT")]), "{found:?}");
        wanted.hidden = vec!["procs_priv"];
        let found = Difference::find(&wanted, Some(&record(&["SELECT"], &[])), &account(&["SELECT"], &[]));
        assert!(found.kept.is_empty() && found.revoke.len() == 1, "{found:?}");
    }

    #[test]
    fn without_a_record_everything_is_to_be_done() {
        let tls = [(Attribute::Require, "REQUIRE SSL"), (Attribute::Expired, "")];
        let found = Difference::find(
            &desired(account(&["SELECT"], &tls)),
            None,
            &account(&[], &[(Attribute::Require, "REQUIRE NONE")]),
        );
        assert_eq!(found.attributes, BTreeSet::from([Attribute::Require]));
        assert_eq!(found.grant.len(), 1);
        let found = Difference::find(
            &desired(account(&[], &tls)),
            Some(&record(&[], &tls)),
            &account(&[], &[(Attribute::Require, "REQUIRE NONE")]),
        );
        assert!(found.is_nothing() && found.foreign().len() == 1, "{found:?}");
    }

    #[test]
    fn a_password_is_carried_when_the_source_changed_it() {
        let at = |time| [(Attribute::PasswordMark, time)];
        let mut present = account(&[], &[]);
        present.auth = AuthString(b"other".to_vec());
        let login = |wanted: &MappedAccount, carried: &AccountRecord| {
            Difference::find(wanted, Some(carried), &present)
        };
        assert!(login(&desired(account(&[], &at("2"))), &record(&[], &at("1"))).login);
        let found = login(&desired(account(&[], &at("2"))), &record(&[], &at("2")));
        assert!(!found.login && found.foreign().len() == 1);
        // 5.6 does not say when it was changed.
        assert!(login(&desired(account(&[], &at(""))), &record(&[], &at(""))).login);

        let mut withheld = desired(account(&[], &at(PASSWORD_WITHHELD)));
        withheld.is_withheld = true;
        assert!(login(&withheld, &record(&[], &[])).login);
        let carried = record(&[], &at(PASSWORD_WITHHELD));
        assert!(login(&withheld, &carried).is_nothing());
        let lock = |clause: &str| AccountDefinition {
            attributes: BTreeMap::from([(Attribute::Lock, clause.to_owned())]),
            ..account(&[], &[])
        };
        assert!(is_password_set(&withheld, &carried, &lock("ACCOUNT UNLOCK")));
        assert!(!is_password_set(&withheld, &carried, &lock("ACCOUNT LOCK")));
    }
}
