//! What the commands need of a migration; a trait so that their decisions can be tested without servers.
use std::path::PathBuf;
use std::time::Duration;

use dts_core::checker::{CheckOptions, CheckProgress, CheckReport};
use dts_core::cutover::{CutoverOptions, CutoverReport, CutoverStep};
use dts_core::data::GateKind;
use dts_core::error::{Error, Result, Stage};
use dts_core::migration::{CompletionReport, GateHook, Hooks, Migration, Remains, RunReport, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_core::validator::ValidationReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::account_passwords;
use crate::hook::CommandHook;

/// What the commands need of a migration. The methods are those of [`Migration`].
pub(crate) trait Engine: Sync {
    /// Looks whether the migration may start.
    fn validate(&self, stop: &StopToken) -> Result<ValidationReport>;

    /// Returns whether the writers are on the target, with a reverse channel to the source.
    fn is_reversed(&self, stop: &StopToken) -> Result<bool>;

    /// Works until `until` is reached, from wherever the last run stood.
    fn run(&self, until: Until, stop: &StopToken, progress: &Progress) -> Result<RunReport>;

    /// Compares both sides; with `apply_here` changes are applied meanwhile.
    fn check(
        &self,
        options: CheckOptions,
        apply_here: bool,
        stop: &StopToken,
        progress: &CheckProgress,
    ) -> Result<CheckReport>;

    /// Ends the task as planned.
    fn complete(&self, immediately: bool, stop: &StopToken, progress: &Progress) -> Result<CompletionReport>;

    /// Moves the writers to the target; with `apply_here` changes are applied meanwhile.
    fn cutover(
        &self,
        wish: &CutoverWish,
        apply_here: bool,
        stop: &StopToken,
        observer: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport>;

    /// Moves the writers back to the source; with `apply_here` the reverse channel runs meanwhile.
    fn rollback(
        &self,
        wish: &CutoverWish,
        apply_here: bool,
        stop: &StopToken,
        observer: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport>;

    /// Ends the task for good before it was complete.
    fn end(&self, stop: &StopToken) -> Result<Remains>;
}

impl Engine for Migration {
    fn validate(&self, stop: &StopToken) -> Result<ValidationReport> {
        Migration::validate(self, stop)
    }

    fn is_reversed(&self, stop: &StopToken) -> Result<bool> {
        Migration::is_reversed(self, stop)
    }

    fn run(&self, until: Until, stop: &StopToken, progress: &Progress) -> Result<RunReport> {
        Migration::run(self, until, stop, progress)
    }

    fn check(
        &self,
        options: CheckOptions,
        apply_here: bool,
        stop: &StopToken,
        progress: &CheckProgress,
    ) -> Result<CheckReport> {
        Migration::check(self, options, apply_here, stop, progress)
    }

    fn complete(&self, immediately: bool, stop: &StopToken, progress: &Progress) -> Result<CompletionReport> {
        Migration::complete(self, immediately, stop, progress)
    }

    fn cutover(
        &self,
        wish: &CutoverWish,
        apply_here: bool,
        stop: &StopToken,
        observer: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport> {
        let gate = match wish.gate {
            None if wish.dry_run => GateKind::None,
            None => return Err(Error::invalid("--gate", "missing", GATES).in_stage(Stage::CutOver)),
            Some(gate) => gate,
        };
        let options = wish.options(gate)?;
        wish.with_hooks(observer, stop, |hooks| Migration::cutover(self, &options, hooks, apply_here, stop))
    }

    fn rollback(
        &self,
        wish: &CutoverWish,
        apply_here: bool,
        stop: &StopToken,
        observer: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport> {
        let gate = match wish.gate {
            Some(gate) => gate,
            // Refused like anything else that stops a way back before it began.
            None => self
                .gate_of_rollback(stop)
                .and_then(|journaled| rollback_gate(journaled, wish.dry_run))
                .map_err(|error| error.in_stage(Stage::CutOver))?,
        };
        let options = wish.options(gate)?;
        wish.with_hooks(observer, stop, |hooks| Migration::rollback(self, &options, hooks, apply_here, stop))
    }

    fn end(&self, stop: &StopToken) -> Result<Remains> {
        Migration::end(self, stop)
    }
}

/// What may be typed as a gate.
const GATES: &str = "read-only, lock-accounts, hook=CMD or none";

/// Returns the gate of a rollback that names none, from the journaled one.
fn rollback_gate(journaled: Option<GateKind>, dry_run: bool) -> Result<GateKind> {
    match journaled {
        Some(gate @ (GateKind::ReadOnly | GateKind::LockAccounts | GateKind::None)) => Ok(gate),
        // Nobody is held; the rest can be looked at.
        Some(GateKind::Hook) | None if dry_run => Ok(GateKind::None),
        Some(GateKind::Hook) => Err(Error::invalid("--gate", "missing", GATES).with_hint(
            "The source was closed by a command, and that command need not fit the target. Name the gate of the target, for \
             example --gate hook=CMD.",
        )),
        None => Err(Error::invalid("--gate", "missing", GATES)
            .with_hint("The target has no record of how the source was closed. Name the gate of the target.")),
    }
}

/// How a cut-over or a rollback is to be done, as it travels between processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CutoverWish {
    /// `None`: a rollback takes the cut-over's kind, a look holds nobody.
    #[serde(default)]
    pub(crate) gate: Option<GateKind>,
    /// The command of the gate `hook`.
    pub(crate) hook: Option<String>,
    /// The command that had closed the other side earlier.
    #[serde(default)]
    pub(crate) open_hook: Option<String>,
    /// With a reverse channel afterwards.
    #[serde(default)]
    pub(crate) reverse: bool,
    /// Only after a check that found both sides equal.
    #[serde(default)]
    pub(crate) require_clean_check: bool,
    pub(crate) dry_run: bool,
    pub(crate) max_lag_seconds: u64,
    pub(crate) patience_seconds: u64,
    pub(crate) keep: Vec<String>,
    /// The file with the accounts' passwords.
    #[serde(default)]
    pub(crate) passwords: Option<PathBuf>,
    #[serde(default)]
    pub(crate) ignore_accounts: bool,
}

impl CutoverWish {
    /// Reads what another process wrote.
    ///
    /// # Errors
    /// When it is of another version.
    pub(crate) fn from_json(payload: &Value) -> Result<Self> {
        Self::deserialize(payload)
            .map_err(|error| Error::internal(format!("a wish to cut over cannot be read: {error}")))
    }

    fn options(&self, gate: GateKind) -> Result<CutoverOptions> {
        let mut options = CutoverOptions::new(gate);
        options.dry_run = self.dry_run;
        options.max_lag = Duration::from_secs(self.max_lag_seconds);
        options.patience = Duration::from_secs(self.patience_seconds);
        options.keep.clone_from(&self.keep);
        options.reverse = self.reverse;
        options.require_clean_check = self.require_clean_check;
        options.ignore_accounts = self.ignore_accounts;
        if let Some(path) = &self.passwords {
            options.passwords = account_passwords::read(path, &mut Vec::new())?;
        }
        Ok(options)
    }

    /// Does `work` with the hooks that are wished for. `stop` ends one that closes a gate.
    pub(crate) fn with_hooks<T>(
        &self,
        observer: &dyn Fn(&CutoverStep),
        stop: &StopToken,
        work: impl FnOnce(Hooks<'_>) -> T,
    ) -> T {
        let patience = Duration::from_secs(self.patience_seconds);
        let hook = |command| CommandHook { command, patience, stop };
        let gate = self.hook.as_deref().map(hook);
        let opener = self.open_hook.as_deref().map(hook);
        work(Hooks {
            gate: gate.as_ref().map(|hook| hook as &dyn GateHook),
            opener: opener.as_ref().map(|hook| hook as &dyn GateHook),
            observer,
            passing: &crate::failpoint::pass,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_without_a_gate_takes_the_cut_overs_unless_that_was_a_command() {
        for gate in [GateKind::ReadOnly, GateKind::LockAccounts, GateKind::None] {
            assert_eq!(rollback_gate(Some(gate), false).unwrap(), gate);
        }
        for unknown in [Some(GateKind::Hook), None] {
            let error = rollback_gate(unknown, false).unwrap_err();
            assert!(error.to_string().contains("--gate"), "{error}");
            assert_eq!(rollback_gate(unknown, true).unwrap(), GateKind::None);
        }
    }
}
