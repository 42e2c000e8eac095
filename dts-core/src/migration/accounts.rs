//! When accounts are carried: before the task is in sync, every now and then while it is, and before the gate of a cut-over.
use crate::accounts::{AccountReport, AccountResult, Accounts, LoginCheck, LoginOutcome};
use crate::cutover::CutoverOptions;
use crate::data::Account;
use crate::error::Result;
use crate::stop::StopToken;
use crate::target::journal::{CutoverJournal, CutoverPhase};
use crate::validator::EndpointKind;
use crate::wire::{Connection, Secret};

use super::{Ends, Migration, MigrationOptions};

impl Migration {
    /// Says of every account of the source what became of it on the target, or would. Changes nothing.
    ///
    /// # Errors
    /// As [`Accounts::list`].
    pub fn accounts(&self, stop: &StopToken) -> Result<AccountReport> {
        let ends = self.connect(stop)?;
        of(&self.options, &ends).list(stop)
    }

    /// Tries to log in on the target with each account that takes part. `password` supplies their passwords.
    ///
    /// # Errors
    /// As [`Accounts::list`] and [`Accounts::try_logins`].
    pub fn try_logins(
        &self,
        password: &mut dyn FnMut(&Account) -> Result<Option<Secret>>,
        stop: &StopToken,
    ) -> Result<(AccountReport, Vec<LoginCheck>)> {
        let ends = self.connect(stop)?;
        let accounts = of(&self.options, &ends);
        let report = accounts.list(stop)?;
        let checks = accounts.try_logins(&report, password, stop)?;
        Ok((report, checks))
    }
}

pub(super) fn of<'a>(options: &'a MigrationOptions, ends: &'a Ends) -> Accounts<'a> {
    let is_managed = options.target_kind == EndpointKind::TencentDb;
    Accounts::new(&ends.source, &ends.target, &ends.transform, &options.name, is_managed)
}

/// Carries the accounts. `None` where the task carries none, and in the middle of its own cut-over or way back: accounts may be
/// locked, renamed and opened at that very moment.
///
/// That is asked *after* the source was read. A hand-over writes its row before it closes the gate, so what was read before there
/// was a row is what the accounts are. What the gates of hand-overs that have ended, and of other tasks, did to accounts is taken off
/// by [`Accounts`] itself.
pub(super) fn carry(
    options: &MigrationOptions,
    ends: &Ends,
    stop: &StopToken,
) -> Result<Option<AccountReport>> {
    if !options.objects.accounts {
        return Ok(None);
    }
    let may = |target: &mut Connection| -> Result<bool> {
        for journal in [CutoverJournal::new(options.name.clone()), CutoverJournal::of_rollback(&options.name)]
        {
            if journal.read(target)?.is_some_and(|row| row.phase != CutoverPhase::Done) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    of(options, ends).carry(&may, stop)
}

/// Carries the accounts every now and then, until asked to stop. What goes wrong is logged and tried again: changes of rows go on.
pub(super) fn follow(options: &MigrationOptions, ends: &Ends, stop: &StopToken) {
    if !options.objects.accounts {
        return;
    }
    while stop.sleep(options.accounts_every).is_ok() {
        match carry(options, ends, stop) {
            Err(error) if !error.is_interrupted() => {
                log::warn!("accounts are not carried at the moment: {error}; {}", error.hint());
            }
            Ok(Some(report)) => {
                report
                    .dropped
                    .iter()
                    .for_each(|account| log::info!("account {account} is gone, as on the source"));
            }
            _ => {}
        }
    }
}

/// Whether the applications' accounts are ready for a cut-over.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Lines for people.
    pub(super) saw: Vec<String>,
    /// Accounts that could not log in.
    pub(super) obstacles: Vec<String>,
}

/// Carries the accounts (with a dry run: only looks), and tries the logins whose passwords are there.
pub(super) fn readiness(
    options: &MigrationOptions,
    ends: &Ends,
    cutover: &CutoverOptions,
    stop: &StopToken,
) -> Result<Readiness> {
    let accounts = of(options, ends);
    let carried = if cutover.dry_run { None } else { carry(options, ends, stop)? };
    let report = match carried {
        Some(report) => report,
        None => accounts.list(stop)?,
    };
    let count = |result| report.count(result);
    let mut readiness = Readiness::default();
    readiness.saw.push(format!(
        "accounts: {} normal, {} degraded, {} impossible, {} skipped",
        count(AccountResult::Normal),
        count(AccountResult::Degraded),
        count(AccountResult::Impossible),
        count(AccountResult::Skipped)
    ));
    readiness.saw.extend(report.needing_attention());
    readiness.obstacles.extend(
        report
            .accounts
            .iter()
            .filter(|entry| entry.result == AccountResult::Impossible || entry.has_lost_its_login())
            .map(|entry| format!("{} ({})", entry.account, entry.result.name())),
    );
    if cutover.passwords.is_empty() {
        readiness.saw.push("no login was tried: no passwords were supplied".into());
        return Ok(readiness);
    }
    let names = report.accounts.iter().map(|entry| &entry.account);
    for name in cutover.passwords.unused(names) {
        readiness.obstacles.push(format!("{name} (a password was supplied, but there is no such account)"));
    }
    let checks = accounts.try_logins(&report, &mut |account| Ok(cutover.passwords.of(account)), stop)?;
    for check in checks {
        readiness.saw.push(format!("login {}: {}: {}", check.account, check.outcome.name(), check.message));
        if check.outcome == LoginOutcome::Failed {
            readiness.obstacles.push(format!("{} ({})", check.account, check.message));
        }
    }
    readiness.obstacles.dedup();
    Ok(readiness)
}
