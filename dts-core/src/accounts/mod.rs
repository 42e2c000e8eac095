//! Stage: the accounts of the source, with what they may do, on the target.
//!
//! - [`Accounts`] lists and carries them; what became of each is an [`AccountEntry`] of the [`AccountReport`];
//! - [`LoginCheck`]: whether real logins work on the target, with passwords that the operator supplies.
//!
//! What an account becomes is decided in [`transform::account`](crate::transform::account), without servers; what has to be done
//! for it in `difference.rs`. Everything is read anew each time, from both servers, so carrying can be repeated at any time, after
//! any crash: what is so already is left so.
//!
//! # Why accounts are compared, and not replayed from the binary log
//! RDS changes accounts by writing its system tables, which is not logged as statements; `GRANT` can name accounts and tables that the
//! task renames or leaves out; and what the target lacks has to be looked at as a whole (see docs/decisions.md).
mod carry;
mod difference;
mod held;
mod login;
mod report;

use std::collections::{BTreeMap, BTreeSet};

pub use login::{LoginCheck, LoginOutcome};
pub use report::{AccountEntry, AccountReport, AccountResult, AccountState};

use crate::data::{Account, AccountDefinition};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::server::accounts::{self as catalog, AccountCatalog};
use crate::server::{Flavor, ServerFacts, is_system_account};
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::account_journal::{AccountJournal, AccountRecord};
use crate::target::held_accounts::HeldAccounts;
use crate::transform::Transform;
use crate::transform::account::{AccountFate, AccountTransform};
use crate::wire::{Connection, Secret};

/// Lists, carries and tries the accounts of a task.
pub struct Accounts<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    transform: &'a Transform,
    task: &'a str,
    is_managed: bool,
}

/// Everything that is known at one moment.
struct Looked {
    fates: BTreeMap<Account, AccountFate>,
    present: BTreeMap<Account, AccountDefinition>,
    records: BTreeMap<Account, AccountRecord>,
    /// Accounts of the target that a gate holds under another name, with that name.
    renamed: BTreeMap<Account, Account>,
    /// Accounts that other tasks have carried.
    others: BTreeSet<Account>,
    /// Accounts of the source under names of a gate of which the target knows nothing: whoever they were looks dropped.
    unknown: Vec<Account>,
    journal: AccountJournal,
    remarks: Vec<String>,
}

impl Looked {
    /// Returns whether an account was carried, and somebody dropped it on the target since.
    fn was_dropped(&self, name: &Account) -> bool {
        let record = self.records.get(name);
        record.is_some_and(|record| record.is_done && record.failure.is_none())
            && !self.present.contains_key(name)
    }
}

impl<'a> Accounts<'a> {
    /// Joins the two ends and the selection. `is_managed`: a managed service runs the target.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        transform: &'a Transform,
        task: &'a str,
        is_managed: bool,
    ) -> Self {
        Accounts { source, target, transform, task, is_managed }
    }

    /// Says of every account of the source what became of it, or would. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when a server does not show its accounts; else what a server answered.
    pub fn list(&self, stop: &StopToken) -> Result<AccountReport> {
        let list = || -> Result<AccountReport> {
            let (mut source, mut target) = (self.source.control(stop)?, self.target.control(stop)?);
            Ok(report::of(&self.look(&mut source, &mut target)?))
        };
        list().map_err(|error| error.in_stage(Stage::Accounts))
    }

    /// Creates accounts that are missing on the target, and carries what was changed on the source since the last time.
    ///
    /// `may` is asked between reading the source and changing the target; `false` ends the call with `None`. (While a cut-over
    /// holds the source's accounts, what is read there is not what they are.)
    ///
    /// # Errors
    /// As [`list`](Self::list), and [`ErrorKind::IllegalState`] when another process is at it. That an account is impossible is
    /// not an error but its result. After an error it can be called again.
    pub fn carry(
        &self,
        may: &dyn Fn(&mut Connection) -> Result<bool>,
        stop: &StopToken,
    ) -> Result<Option<AccountReport>> {
        carry::carry(self, may, stop).map_err(|error| error.in_stage(Stage::Accounts))
    }

    /// Tries to log in on the target with each account of a report that takes part.
    ///
    /// `password` supplies an account's password, `None` when the operator has none; it is asked only where a login from this
    /// machine can work. Sessions are made as the task's own ones: to the same address, with the same TLS settings.
    ///
    /// # Errors
    /// What `password` returned; [`ErrorKind::Interrupted`]; what kept the target from being reached at all. A refusal is an
    /// outcome.
    pub fn try_logins(
        &self,
        report: &AccountReport,
        password: &mut dyn FnMut(&Account) -> Result<Option<Secret>>,
        stop: &StopToken,
    ) -> Result<Vec<LoginCheck>> {
        let (options, seen_from) = (&self.target.options().connection, &self.target.facts().seen_from);
        login::try_all(report, options, seen_from, password, stop)
            .map_err(|error| error.in_stage(Stage::Accounts))
    }

    /// Drops the accounts that the task has created on the target, unless another task carries them, too, and forgets them.
    ///
    /// # Errors
    /// What the target answered. Can be repeated.
    pub fn drop_created(target: &TargetEndpoint, task: &str, stop: &StopToken) -> Result<Vec<Account>> {
        carry::drop_created(target, task, stop).map_err(|error| error.in_stage(Stage::Accounts))
    }

    fn look(&self, source: &mut Connection, target: &mut Connection) -> Result<Looked> {
        let (source_facts, target_facts) = (self.source.facts(), self.target.facts());
        supported(source_facts).map_err(|error| error.on(Side::Source))?;
        supported(target_facts).map_err(|error| error.on(Side::Target))?;
        let uuid = source_facts.server_uuid().unwrap_or_default();
        let mut held = HeldAccounts::read(target, uuid)?;
        let mut theirs = catalog::accounts(source).map_err(|error| error.on(Side::Source))?;
        let own = Account::parse(&source_facts.current_user);
        if !theirs.accounts.iter().any(|definition| definition.account == own) {
            // Whoever is missing here would be taken for dropped.
            return Err(Error::from(ErrorKind::Unsupported {
                what: format!("to list all accounts: not even the task's own, {own}, is in the list"),
            })
            .on(Side::Source));
        }
        let mut ours = catalog::accounts(target).map_err(|error| error.on(Side::Target))?;
        if !ours.hidden.is_empty() {
            let name = format!("mysql.{}", ours.hidden.join(", mysql."));
            return Err(Error::from(ErrorKind::NotFound { what: "readable table", name })
                .on(Side::Target)
                .with_hint("GRANT SELECT ON mysql.* to the task's account on the target, or set objects.accounts = false."));
        }
        // A gate may have been closed while the accounts were read, or opened.
        held.add(HeldAccounts::read(target, uuid)?);
        held::as_before(&mut theirs, &held.source);
        let renamed = held::as_before(&mut ours, &held.target);
        let unknown = held::take_unknown(&mut theirs);
        let journal = AccountJournal::new(self.task);
        let records = journal.read(target)?;
        let from = catalog::describe_source(source, source_facts, &theirs)?;
        let to = catalog::describe_target(target, target_facts, self.is_managed)?;
        let transform = AccountTransform { transform: self.transform, source: &from, target: &to };
        let fates =
            transform.all(&theirs.accounts, &|account| is_system_account(&account.user), &|account| {
                records.contains_key(account)
            });
        Ok(Looked {
            fates,
            present: by_name(ours),
            records,
            renamed,
            others: journal.of_others(target)?,
            remarks: remarks(&theirs, &unknown),
            unknown,
            journal,
        })
    }
}

fn by_name(catalog: AccountCatalog) -> BTreeMap<Account, AccountDefinition> {
    catalog.accounts.into_iter().map(|definition| (definition.account.clone(), definition)).collect()
}

fn supported(facts: &ServerFacts) -> Result<()> {
    if facts.flavor == Flavor::MySql {
        return Ok(());
    }
    Err(Error::from(ErrorKind::Unsupported { what: "to carry accounts from or to MariaDB".into() })
        .with_hint("Set objects.accounts = false and create the accounts by hand."))
}

/// What people should know that is not of one account.
fn remarks(catalog: &AccountCatalog, unknown: &[Account]) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(first) = unknown.first() {
        remarks.push(format!(
            "a cut-over to another target holds {} accounts of the source ({first}, …): nothing is carried before it is taken back",
            unknown.len()
        ));
    }
    let places: BTreeSet<String> =
        catalog.for_everybody.iter().map(|grant| grant.scope.to_string()).collect();
    if !places.is_empty() {
        remarks.push(format!(
            "everybody has rights on {} on the source (rows of mysql.db without a user); they are not carried",
            places.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    if !catalog.hidden.is_empty() {
        remarks.push(format!(
            "a part of the rights could not be read on the source: mysql.{}",
            catalog.hidden.join(", mysql.")
        ));
    }
    remarks
}
