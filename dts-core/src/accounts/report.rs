//! What became of the accounts.
use crate::accounts::Looked;
use crate::accounts::difference::{Difference, is_password_set};
use crate::data::{Account, AccountDefinition, Attribute, Grant};
use crate::sql::account;
use crate::target::account_journal::AccountRecord;
use crate::transform::account::{AccountFate, MappedAccount, Note};

/// What became of an account.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AccountResult {
    /// Not on the target as the source has it: somebody has to decide or to act.
    Impossible,
    /// On the target, but it can do less or cannot log in as on the source.
    Degraded,
    /// As on the source.
    Normal,
    /// Takes no part.
    Skipped,
}

impl AccountResult {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            AccountResult::Impossible => "impossible",
            AccountResult::Degraded => "degraded",
            AccountResult::Normal => "normal",
            AccountResult::Skipped => "skipped",
        }
    }
}

/// How far an account is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountState {
    /// It is on the target with all that it can have there.
    Carried,
    /// It is not on the target yet, or changes of the source are not.
    Waiting,
    /// It is left alone.
    Untouched,
}

impl AccountState {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            AccountState::Carried => "carried",
            AccountState::Waiting => "waiting",
            AccountState::Untouched => "untouched",
        }
    }
}

/// One account of the source.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AccountEntry {
    /// Its name, the same on both sides.
    pub account: Account,
    /// What became of it, or would.
    pub result: AccountResult,
    /// How far it is.
    pub state: AccountState,
    /// Why, losses first.
    pub notes: Vec<Note>,
    /// What an operator can run on the target to mend it; `…` stands for a password.
    pub statements: Vec<String>,
    /// Nobody can log in with it: it is locked on the target, as on the source or because its password could not be carried.
    pub is_locked: bool,
    /// Its password could not be carried, and nobody has set one since.
    pub(super) login_is_lost: bool,
}

impl AccountEntry {
    /// Returns whether it can log in on the source and not on the target: it is locked there for want of its password.
    pub fn has_lost_its_login(&self) -> bool {
        self.login_is_lost
    }
}

/// All accounts of the source.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AccountReport {
    /// In the order of their names.
    pub accounts: Vec<AccountEntry>,
    /// What is not about one account.
    pub remarks: Vec<String>,
    /// Accounts that are no longer on the source, and were dropped or lost their rights on the target by this call.
    pub dropped: Vec<Account>,
}

impl AccountReport {
    /// Returns how many accounts ended so.
    pub fn count(&self, result: AccountResult) -> usize {
        self.accounts.iter().filter(|entry| entry.result == result).count()
    }

    /// Returns a line for every account that somebody should look at.
    pub fn needing_attention(&self) -> impl Iterator<Item = String> {
        self.accounts
            .iter()
            .filter(|entry| matches!(entry.result, AccountResult::Degraded | AccountResult::Impossible))
            .map(|entry| {
                let notes: Vec<&str> = entry.notes.iter().map(|note| note.text.as_str()).collect();
                format!("account {}: {}: {}", entry.account, entry.result.name(), notes.join("; "))
            })
    }
}

/// Makes the report of what was looked at.
pub(super) fn of(looked: &Looked) -> AccountReport {
    let accounts = looked.fates.iter().map(|(name, fate)| match fate {
        AccountFate::Skipped(reason) => AccountEntry {
            account: name.clone(),
            result: AccountResult::Skipped,
            state: AccountState::Untouched,
            notes: vec![Note::remark(reason.clone())],
            statements: Vec::new(),
            is_locked: false,
            login_is_lost: false,
        },
        AccountFate::Carried(mapped) => entry(looked, name, mapped),
    });
    AccountReport { accounts: accounts.collect(), remarks: looked.remarks.clone(), dropped: Vec::new() }
}

fn entry(looked: &Looked, name: &Account, mapped: &MappedAccount) -> AccountEntry {
    let record = looked.records.get(name).filter(|record| record.failure.is_none());
    let present = looked.present.get(name);
    let mut entry = AccountEntry {
        account: name.clone(),
        result: AccountResult::Normal,
        state: AccountState::Carried,
        notes: mapped.notes.clone(),
        statements: Vec::new(),
        is_locked: present.map_or(mapped.is_withheld || is_locked(&mapped.definition), is_locked),
        login_is_lost: false,
    };
    match present {
        None if looked.was_dropped(name) => {
            entry.state = AccountState::Untouched;
            entry.result = AccountResult::Impossible;
            entry.notes.push(Note::loss(
                "was dropped on the target, so it stays away; the statement makes dts forget that it was there, and carry it anew",
            ));
            entry.statements.push(looked.journal.remove_statement(name) + ";");
        }
        None => {
            entry.state = AccountState::Waiting;
            withheld(&mut entry, mapped);
            if let Some(failure) = looked.records.get(name).and_then(|record| record.failure.as_ref()) {
                entry.notes.push(Note::loss(failure.clone()));
                entry.result = AccountResult::Impossible;
            }
        }
        Some(present) if record.is_some() || looked.others.contains(name) => {
            if record.is_some_and(|record| is_password_set(mapped, record, present)) {
                entry.notes.push(Note::remark("its password was set on the target"));
            } else {
                withheld(&mut entry, mapped);
            }
            compared(&mut entry, mapped, record, present, looked.others.contains(name));
        }
        Some(present) if is_same(mapped, present) => entry.state = AccountState::Waiting,
        Some(present) => conflict(&mut entry, mapped, present),
    }
    if entry.result == AccountResult::Normal && entry.notes.iter().any(|note| note.is_loss) {
        entry.result = AccountResult::Degraded;
    }
    entry.notes.sort_by_key(|note| !note.is_loss);
    entry
}

/// Says of an account that is locked for want of its password what to do.
fn withheld(entry: &mut AccountEntry, mapped: &MappedAccount) {
    let Some(statement) = &mapped.login_statement else { return };
    entry.notes.push(Note::loss(
        "locked and without its password: the target cannot use what the source keeps of it, and no password can be computed \
         from that",
    ));
    entry.statements.push(statement.clone());
    entry.login_is_lost = mapped.loses_login;
}

/// Somebody else's account of this name is on the target.
fn conflict(entry: &mut AccountEntry, mapped: &MappedAccount, present: &AccountDefinition) {
    entry.state = AccountState::Untouched;
    entry.result = AccountResult::Impossible;
    let difference = Difference::find(mapped, None, present);
    let mut differs: Vec<String> = Vec::new();
    if !difference.grant.is_empty() {
        differs.push(format!("lacks {}", some(&difference.grant)));
    }
    if !difference.extra.is_empty() {
        differs.push(format!("has more: {}", some(&difference.extra)));
    }
    differs.extend(difference.attributes.iter().map(|attribute| format!("has another {}", attribute.name())));
    if difference.login && !mapped.is_withheld {
        differs.push("has another password or login plugin".into());
    }
    entry.notes.push(Note::loss(format!(
        "exists on the target already and is different, so it is left alone: it {}; drop it there to have it carried, or mend it",
        differs.join("; ")
    )));
    entry
        .statements
        .extend(account::grant(&entry.account, &difference.grant).into_iter().map(|sql| sql + ";"));
}

/// Returns whether an account that somebody else created is what would be carried. A password that cannot be carried is not
/// compared.
pub(super) fn is_same(mapped: &MappedAccount, present: &AccountDefinition) -> bool {
    let difference = Difference::find(mapped, None, present);
    difference.grant.is_empty()
        && difference.extra.is_empty()
        && difference.attributes.is_empty()
        && (mapped.is_withheld || !difference.login)
}

fn compared(
    entry: &mut AccountEntry,
    mapped: &MappedAccount,
    record: Option<&AccountRecord>,
    present: &AccountDefinition,
    is_shared: bool,
) {
    let mut difference = Difference::find(mapped, record, present);
    if is_shared && record.is_none_or(|record| !record.is_created) {
        difference.keep_to_rights();
        entry.notes.push(Note::remark("another task carries it, too"));
    }
    entry.notes.append(&mut difference.foreign());
    if let Some(record) = record {
        difference.grant.retain(|grant| !record.refused.contains(grant));
        entry.notes.extend(record.problems.iter().map(Note::loss));
        if !record.is_created {
            entry.notes.push(Note::remark("was on the target before the task"));
        }
        if !record.is_done {
            entry.state = AccountState::Waiting;
        }
    }
    if !difference.is_nothing() {
        entry.state = AccountState::Waiting;
        entry.notes.push(Note::remark("changes of the source are not carried yet"));
    }
}

fn is_locked(definition: &AccountDefinition) -> bool {
    definition.attributes.get(&Attribute::Lock).is_some_and(|lock| lock == "ACCOUNT LOCK")
}

fn some<'g>(grants: impl IntoIterator<Item = &'g Grant>) -> String {
    const SHOWN: usize = 6;
    let all: Vec<String> = grants.into_iter().map(ToString::to_string).collect();
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        text.push_str(&format!(" and {} more", all.len() - SHOWN));
    }
    text
}
