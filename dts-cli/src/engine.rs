//! What the commands need of a migration; a trait so that their decisions can be tested without servers.
use dts_core::checker::{CheckOptions, CheckProgress, CheckReport};
use dts_core::error::Result;
use dts_core::migration::{CompletionReport, Migration, Remains, RunReport, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_core::validator::ValidationReport;

/// What the commands need of a migration. The methods are those of [`Migration`].
pub(crate) trait Engine: Sync {
    /// Looks whether the migration may start.
    fn validate(&self, stop: &StopToken) -> Result<ValidationReport>;

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

    /// Ends the task for good before it was complete.
    fn end(&self, stop: &StopToken) -> Result<Remains>;
}

impl Engine for Migration {
    fn validate(&self, stop: &StopToken) -> Result<ValidationReport> {
        Migration::validate(self, stop)
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

    fn end(&self, stop: &StopToken) -> Result<Remains> {
        Migration::end(self, stop)
    }
}
