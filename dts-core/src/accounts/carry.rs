//! Makes the accounts of the target what they should be.
//!
//! # The order
//! All accounts are created first, so that roles and proxies can name each other. An account gets its row in the journal before it
//! is created, and the row says what it is about to be given before it has it: a call that ends in the middle is repeated by the
//! next one, and what it gave is taken away again when the source does not want it any more.
//!
//! What the task's account may grant is found out by trying: a statement that the server refuses is tried again right by right,
//! and what is refused then is told. Only errors that somebody else's work can cause (a deadlock, a lost connection) end the call.
use std::collections::{BTreeMap, BTreeSet};

use rand::Rng as _;

use super::difference::Difference;
use super::{Accounts, Looked, report};
use crate::accounts::report::AccountReport;
use crate::data::{Account, AccountDefinition, Attribute, Grant, Scope};
use crate::error::{Error, ErrorKind, Recovery, Result, Side};
use crate::server::accounts as catalog;
use crate::sql::account::{self, AccountSyntax, Login, UnknownPassword};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::account_journal::{AccountJournal, AccountRecord};
use crate::transform::account::{AccountFate, MappedAccount};
use crate::wire::Connection;

/// How long another process may be at it, in seconds.
const LOCK_PATIENCE: u32 = 30;

pub(super) fn carry(
    accounts: &Accounts<'_>,
    may: &dyn Fn(&mut Connection) -> Result<bool>,
    stop: &StopToken,
) -> Result<Option<AccountReport>> {
    let (mut source, mut target) = (accounts.source.control(stop)?, accounts.target.control(stop)?);
    // Statements with hashes go through it: an answer may quote a part of them.
    target.withhold_texts();
    let journal = AccountJournal::new(accounts.task);
    journal.prepare(&mut target)?;
    if !journal.lock(&mut target, LOCK_PATIENCE)? {
        return Err(Error::from(ErrorKind::IllegalState {
            action: "carry the accounts".into(),
            state: "having them carried by another session".into(),
            allowed: "waiting until it ends".into(),
        })
        .on(Side::Target));
    }
    let mut looked = accounts.look(&mut source, &mut target)?;
    if !may(&mut target)? {
        return Ok(None);
    }
    if !looked.unknown.is_empty() {
        looked.remarks.iter().for_each(|remark| log::warn!("{remark}"));
        return Ok(None);
    }
    let mut work = Work {
        syntax: if catalog::known_attributes(accounts.target.facts()).contains(&Attribute::Lock) {
            AccountSyntax::New
        } else {
            AccountSyntax::Old
        },
        journal: &journal,
        target: &mut target,
        renamed: looked.renamed.clone(),
        has_changed: false,
        stop,
    };
    let dropped = work.drop_gone(&mut looked)?;
    let mut created = BTreeSet::new();
    for (name, fate) in &looked.fates {
        if let AccountFate::Carried(mapped) = fate
            && !looked.present.contains_key(name)
            && !looked.was_dropped(name)
            && work.create(mapped)?
        {
            created.insert(name);
        }
    }
    if !created.is_empty() {
        let now = super::by_name(catalog::accounts(work.target)?);
        looked.present.extend(now.into_iter().filter(|(name, _)| created.contains(name)));
        looked.records = journal.read(work.target)?;
    }
    for (name, fate) in &looked.fates {
        let (AccountFate::Carried(mapped), Some(present)) = (fate, looked.present.get(name)) else {
            continue;
        };
        work.change(&looked, mapped, present)?;
    }
    if work.has_changed {
        looked = accounts.look(&mut source, &mut target)?;
    }
    let mut report = report::of(&looked);
    report.dropped = dropped;
    Ok(Some(report))
}

struct Work<'w> {
    syntax: AccountSyntax,
    journal: &'w AccountJournal,
    target: &'w mut Connection,
    /// Accounts that a gate holds under another name, with that name.
    renamed: BTreeMap<Account, Account>,
    has_changed: bool,
    stop: &'w StopToken,
}

impl Work<'_> {
    /// Returns the name that an account has on the target at this moment.
    fn present_name(&self, name: &Account) -> Account {
        self.renamed.get(name).unwrap_or(name).clone()
    }

    /// Creates an account, without rights. Returns whether it is there now.
    fn create(&mut self, mapped: &MappedAccount) -> Result<bool> {
        self.stop.check()?;
        self.has_changed = true;
        let definition = &mapped.definition;
        let mut record = AccountRecord { is_created: true, ..AccountRecord::default() };
        self.journal.write(self.target, &definition.account, &record)?;
        let unknown = unknown_password();
        let login = login(mapped, &unknown);
        let mut attributes = definition.attributes.clone();
        if mapped.is_withheld {
            self.lock(&mut attributes);
        }
        let mut statements = self.syntax.create(&definition.account, &login, &attributes).into_iter();
        let create = statements.next().unwrap_or_default();
        if let Some(answer) = refused(self.target.execute(create, "creating an account"))? {
            record.failure = Some(format!("the target refuses to create it: {answer}"));
            self.journal.write(self.target, &definition.account, &record)?;
            return Ok(false);
        }
        record.attributes.clone_from(&definition.attributes);
        for statement in statements {
            if let Some(answer) = refused(self.target.execute(statement, "setting up an account"))? {
                record.problems.push(format!("a setting was refused: {answer}"));
                record.attributes.clear();
            }
        }
        self.journal.write(self.target, &definition.account, &record)?;
        Ok(true)
    }

    fn lock(&self, attributes: &mut BTreeMap<Attribute, String>) {
        if self.syntax == AccountSyntax::New {
            attributes.insert(Attribute::Lock, "ACCOUNT LOCK".to_owned());
        }
    }

    /// Gives an account what it should have, unless it is somebody else's.
    fn change(&mut self, looked: &Looked, mapped: &MappedAccount, present: &AccountDefinition) -> Result<()> {
        self.stop.check()?;
        let name = &mapped.definition.account;
        let earlier = looked.records.get(name).filter(|record| record.failure.is_none());
        let is_shared = looked.others.contains(name);
        if earlier.is_none() && !is_shared && !report::is_same(mapped, present) {
            return Ok(());
        }
        let mut difference = Difference::find(mapped, earlier, present);
        if earlier.is_none() || (is_shared && earlier.is_some_and(|record| !record.is_created)) {
            difference.keep_to_rights();
        }
        let wanted = &mapped.definition;
        self.begin_change(name, earlier, &difference)?;
        let here = self.present_name(name);
        let mut record = AccountRecord {
            is_created: earlier.is_some_and(|record| record.is_created),
            is_done: true,
            grants: wanted.grants.clone(),
            attributes: wanted.attributes.clone(),
            refused: BTreeSet::new(),
            problems: Vec::new(),
            failure: None,
        };
        if difference.login {
            let unknown = unknown_password();
            let mut statements = vec![self.syntax.change_login(&here, &login(mapped, &unknown))];
            if mapped.is_withheld {
                let mut attributes = BTreeMap::new();
                self.lock(&mut attributes);
                let which = attributes.keys().copied().collect();
                statements.extend(self.syntax.alter(&here, &attributes, &which));
            }
            for statement in statements {
                self.has_changed = true;
                if let Some(answer) = refused(self.target.execute(statement, "changing a password"))? {
                    record.problems.push(format!("its password could not be carried: {answer}"));
                    record.attributes.remove(&Attribute::PasswordMark);
                }
            }
        }
        for statement in self.syntax.alter(&here, &wanted.attributes, &difference.attributes) {
            self.has_changed = true;
            if let Some(answer) = refused(self.target.execute(statement, "changing an account"))? {
                let names: Vec<&str> =
                    difference.attributes.iter().map(|attribute| attribute.name()).collect();
                record.problems.push(format!("{}: refused: {answer}", names.join(", ")));
                record.attributes.retain(|attribute, _| !difference.attributes.contains(attribute));
            }
        }
        self.grants(&here, &difference.revoke, Verb::Revoke, &mut record)?;
        self.grants(&here, &difference.grant, Verb::Grant, &mut record)?;
        if difference.has_default_roles() {
            let roles = wanted.grants.iter().filter_map(|grant| match &grant.scope {
                Scope::Role(role) if grant.privilege == Grant::DEFAULT => Some(role),
                _ => None,
            });
            self.has_changed = true;
            let sql = account::default_roles(&here, roles);
            if let Some(answer) = refused(self.target.execute(sql, "setting default roles"))? {
                record.problems.push(format!("its default roles: refused: {answer}"));
                record.grants.retain(|grant| grant.privilege != Grant::DEFAULT);
            }
        }
        record.grants.retain(|grant| !record.refused.contains(grant));
        record.grants.append(&mut difference.kept);
        if earlier != Some(&record) {
            self.has_changed = true;
            self.journal.write(self.target, name, &record)?;
        }
        Ok(())
    }

    /// Writes down what an account is about to be given, and forgets what it is about to be set to.
    fn begin_change(
        &mut self,
        name: &Account,
        earlier: Option<&AccountRecord>,
        difference: &Difference,
    ) -> Result<()> {
        let mut begun = earlier.cloned().unwrap_or_default();
        // What was refused is tried each time, and is named by the record already.
        begun.grants.extend(difference.grant.difference(&begun.refused).cloned());
        begun.attributes.retain(|attribute, _| !difference.attributes.contains(attribute));
        if difference.login {
            begun.attributes.remove(&Attribute::PasswordMark);
        }
        if difference.is_nothing() || earlier == Some(&begun) {
            return Ok(());
        }
        begun.is_done = false;
        self.journal.write(self.target, name, &begun)
    }

    fn grants(
        &mut self,
        name: &Account,
        grants: &BTreeSet<Grant>,
        verb: Verb,
        record: &mut AccountRecord,
    ) -> Result<()> {
        for statement in verb.statements(name, grants.iter()) {
            if refused(self.target.execute(statement, verb.doing()))?.is_none() {
                self.has_changed = true;
                continue;
            }
            // All of it was refused; perhaps for one right alone. What was given in another statement is given again.
            return self.one_by_one(name, grants, verb, record);
        }
        Ok(())
    }

    fn one_by_one(
        &mut self,
        name: &Account,
        grants: &BTreeSet<Grant>,
        verb: Verb,
        record: &mut AccountRecord,
    ) -> Result<()> {
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for grant in grants {
            self.stop.check()?;
            for statement in verb.statements(name, [grant]) {
                match refused(self.target.execute(statement, verb.doing()))? {
                    None => self.has_changed = true,
                    Some(answer) => {
                        answers.entry(answer).or_default().push(grant.to_string());
                        if verb == Verb::Grant {
                            record.refused.insert(grant.clone());
                        } else {
                            // It is still there; the next call tries again.
                            record.grants.insert(grant.clone());
                        }
                    }
                }
            }
        }
        for (answer, grants) in answers {
            record.problems.push(format!("{} could not be {}: {answer}", grants.join(", "), verb.done()));
        }
        Ok(())
    }

    /// Accounts that are no longer on the source lose what dts gave them.
    fn drop_gone(&mut self, looked: &mut Looked) -> Result<Vec<Account>> {
        let gone: Vec<(Account, AccountRecord)> = looked
            .records
            .iter()
            .filter(|(name, _)| !matches!(looked.fates.get(name), Some(AccountFate::Carried(_))))
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect();
        let mut dropped = Vec::new();
        for (name, record) in gone {
            self.stop.check()?;
            self.has_changed = true;
            if record.failure.is_none()
                && let Some(present) = looked.present.get(&name)
            {
                let here = self.present_name(&name);
                let statements = if record.is_created && !looked.others.contains(&name) {
                    vec![format!("DROP USER {}", account::account(&here))]
                } else {
                    let ours: Vec<Grant> = record.grants.intersection(&present.grants).cloned().collect();
                    account::revoke(&here, &ours)
                };
                let mut is_refused = false;
                for statement in statements {
                    if let Some(answer) = refused(self.target.execute(statement, "dropping an account"))? {
                        log::warn!(
                            "account {name} is no longer on the source and stays on the target: {answer}"
                        );
                        is_refused = true;
                    }
                }
                if is_refused {
                    continue;
                }
                dropped.push(name.clone());
                looked.present.remove(&name);
            }
            self.journal.remove(self.target, &name)?;
            looked.records.remove(&name);
        }
        Ok(dropped)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Grant,
    Revoke,
}

impl Verb {
    fn statements<'g>(self, name: &Account, grants: impl IntoIterator<Item = &'g Grant>) -> Vec<String> {
        match self {
            Verb::Grant => account::grant(name, grants),
            Verb::Revoke => account::revoke(name, grants),
        }
    }

    fn doing(self) -> &'static str {
        match self {
            Verb::Grant => "granting rights",
            Verb::Revoke => "revoking rights",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Grant => "granted",
            Verb::Revoke => "revoked",
        }
    }
}

fn login<'m>(mapped: &'m MappedAccount, unknown: &'m UnknownPassword) -> Login<'m> {
    if mapped.is_withheld {
        Login::Unknown(unknown)
    } else {
        Login::Kept { plugin: &mapped.definition.plugin, auth: &mapped.definition.auth }
    }
}

/// 192 random bits and one character of each kind that a server's rules may ask for.
fn unknown_password() -> UnknownPassword {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let mut random = rand::rng();
    let text: String =
        (0..32).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect();
    UnknownPassword(format!("{text}aZ7#"))
}

/// Returns the server's answer when it refused; an error when the statement should be tried again later, or nobody knows what became
/// of it. That there is nothing to revoke is no refusal.
fn refused<T>(outcome: Result<T>) -> Result<Option<String>> {
    // No such grant: of an account, on a table, on a routine.
    const NOT_GRANTED: [u16; 3] = [1141, 1147, 1403];
    match outcome {
        Ok(_) => Ok(None),
        Err(error) => match error.server_error() {
            Some(answer) if NOT_GRANTED.contains(&answer.code) => Ok(None),
            Some(answer) if error.recovery() != Recovery::Retry => {
                Ok(Some(format!("error {}: {}", answer.code, answer.message)))
            }
            _ => Err(error.on(Side::Target)),
        },
    }
}

pub(super) fn drop_created(target: &TargetEndpoint, task: &str, stop: &StopToken) -> Result<Vec<Account>> {
    let mut connection = target.control(stop)?;
    let journal = AccountJournal::new(task);
    let records = journal.read(&mut connection)?;
    let others = journal.of_others(&mut connection)?;
    let created = |record: &AccountRecord| record.is_created && record.failure.is_none();
    let names: Vec<Account> = records
        .into_iter()
        .filter(|(name, record)| created(record) && !others.contains(name))
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        return Ok(names);
    }
    let present = super::by_name(catalog::accounts(&mut connection)?);
    let mut dropped = Vec::new();
    for name in names {
        stop.check()?;
        if present.contains_key(&name) {
            connection.execute(format!("DROP USER {}", account::account(&name)), "dropping an account")?;
            dropped.push(name.clone());
        }
        journal.remove(&mut connection, &name)?;
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::unknown_password;

    #[test]
    fn unknown_passwords_differ_and_are_not_shown() {
        let (one, two) = (unknown_password(), unknown_password());
        assert!(one.0 != two.0 && one.0.len() == 36);
        assert_eq!(format!("{one:?}"), "UnknownPassword(..)");
    }
}
