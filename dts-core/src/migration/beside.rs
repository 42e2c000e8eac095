//! An applier in a thread of its own beside other work, both of which end together.
use super::{Ends, Migration, MigrationOptions, receiver, reverse};
use crate::binlog_applier::{ApplyMode, ApplyUntil, BinlogApplier};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::spool::Spool;
use crate::stop::StopToken;

impl Migration {
    /// Does `work` while changes are applied beside it; with `apply_here` in a thread of this call, without it another process
    /// is expected to apply. See [`beside`].
    pub(super) fn beside_applier<T>(
        &self,
        ends: &Ends,
        apply_here: bool,
        (stop, applying): (&StopToken, &StopToken),
        work: impl FnOnce(&StopToken) -> Result<T>,
    ) -> Result<T> {
        if !apply_here {
            return work(stop);
        }
        let task = ends.ledger.task(&mut ends.target.control(stop)?)?;
        let task = task.ok_or_else(|| Error::internal("a task that applies has no row"))?;
        receiver::beside(&self.options, ends, &task, stop, &Progress::new(), |spool, stop| {
            self.with_applier(ends, spool, (stop, applying), work)
        })
    }

    fn with_applier<T>(
        &self,
        ends: &Ends,
        spool: Option<&Spool>,
        (stop, applying): (&StopToken, &StopToken),
        work: impl FnOnce(&StopToken) -> Result<T>,
    ) -> Result<T> {
        let apply = |stop: &StopToken| {
            let mut applier = applier(&self.options, ends, ApplyMode::Strict);
            if let Some(spool) = spool {
                applier = applier.reading_from(spool);
            }
            applier.run(&ApplyUntil::Stopped, stop, &Progress::new()).map(drop)
        };
        beside(stop, applying, apply, work)
    }
}

/// Joins what applies the source's changes on the target. What the task's reverse channel wrote on the source is left out.
pub(super) fn applier<'e>(options: &MigrationOptions, ends: &'e Ends, mode: ApplyMode) -> BinlogApplier<'e> {
    let uuid = ends.target.facts().server_uuid().unwrap_or_default();
    BinlogApplier::new(&ends.source, &ends.target, &ends.ledger, &ends.transform, mode)
        .with_objects(options.objects)
        .with_options(options.apply.clone())
        .without_changes_of(reverse::channel_name(&options.name, uuid))
}

/// Does `work` while `apply` runs in a thread of this call. The work ends with the applier, and the applier with the work, or
/// when the work stops `applying`: what the applier meets after that is of no matter.
pub(super) fn beside<T>(
    stop: &StopToken,
    applying: &StopToken,
    apply: impl FnOnce(&StopToken) -> Result<()> + Send,
    work: impl FnOnce(&StopToken) -> Result<T>,
) -> Result<T> {
    let working = stop.child();
    std::thread::scope(|scope| {
        // Also when the work panics: the scope would wait for the applier for ever.
        let _end = StopOnDrop(applying);
        let applier = scope.spawn(|| {
            let ended = apply(applying);
            if !applying.is_stopped() {
                // Without an applier the work would wait in vain.
                working.stop();
            }
            ended
        });
        let done = work(&working);
        let was_wanted = !applying.is_stopped();
        applying.stop();
        let applied = applier.join().map_err(|_| Error::internal("the applier panicked"))?;
        match (done, applied) {
            // The applier's end is the cause when it was not asked to stop.
            (Err(error), Err(cause)) if was_wanted && error.is_interrupted() && !cause.is_interrupted() => {
                Err(cause.with_state_of(&error))
            }
            (done, _) => done,
        }
    })
}

/// Stops a token when it goes out of sight.
struct StopOnDrop<'a>(&'a StopToken);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
