//! The check of a task's rows and structure, along with whichever applier carries the changes.
use std::collections::BTreeSet;

use super::{Ends, Migration};
use crate::checker::{
    AppliedPosition, CheckMode, CheckOptions, CheckProgress, CheckReport, Checker, CheckpointPosition,
    Conclusion, NothingApplies, StructureChecker, TablePair, WritersReport, WritersSearch,
};
use crate::data::{GtidSet, Position};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{self, catalog};
use crate::stop::StopToken;
use crate::target::clean_check::{self, LastCheck};
use crate::target::ledger::Phase;
use crate::target::{prepared_mark, watch_mark};

impl Migration {
    /// Compares the rows and the structure of both sides, as often as wanted.
    ///
    /// A source that is being written is compared along with the applier: with `apply_here` one runs beside the check,
    /// without it another process is expected to apply. A task that has ended, and one that was never begun, is compared as
    /// it is.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] while rows are still being copied; [`ErrorKind::Interrupted`]; else what a server answered.
    /// A difference is not an error.
    pub fn check(
        &self,
        options: CheckOptions,
        apply_here: bool,
        stop: &StopToken,
        progress: &CheckProgress,
    ) -> Result<CheckReport> {
        let ends = self.connect(stop)?;
        let mut control = ends.target.control(stop)?;
        let begun = if ends.ledger.exists(&mut control)? { ends.ledger.task(&mut control)? } else { None };
        let phase = begun.map_or(Phase::Ended, |task| task.phase);
        if phase < Phase::InSync {
            return Err(ErrorKind::IllegalState {
                action: "check".into(),
                state: "not in sync yet".into(),
                allowed: "run --until synced".into(),
            }
            .into());
        }
        if phase == Phase::Reversed {
            return self.check_reversed(&ends, options, apply_here, stop, progress);
        }
        let pairs = table_pairs(&ends, stop)?;
        let (still, checkpoint) =
            (NothingApplies, CheckpointPosition::new(&ends.target, self.options.name.clone(), stop));
        let applies = phase < Phase::Completing;
        let applied: &dyn AppliedPosition = if applies { &checkpoint } else { &still };
        let check = |stop: &StopToken| -> Result<CheckReport> {
            let since = if applies { Some(compared_from(&ends, stop)?) } else { None };
            let mut report = Checker::new(&ends.source, &ends.target, pairs, options.clone(), applied)
                .run(stop, progress)?;
            if let Some(since) = since {
                note_check(&ends, &options, &report, since, stop)?;
            }
            if options.mode != CheckMode::None {
                let structure = StructureChecker {
                    source: &ends.source,
                    target: &ends.target,
                    transform: &ends.transform,
                    objects: self.options.objects,
                    is_completed: phase == Phase::Ended,
                    tables: options.tables.as_deref(),
                    applied,
                    patience: options.patience,
                };
                report.structure = Some(structure.run(stop)?);
                if applies {
                    report.target_writers = Some(self.target_writers(&ends, stop)?);
                }
            }
            Ok(report)
        };
        self.beside_applier(&ends, applies && apply_here, (stop, &stop.child()), check)
    }

    /// As [`check`](Self::check), along with the reverse channel: its source is the task's target.
    fn check_reversed(
        &self,
        there: &Ends,
        mut options: CheckOptions,
        apply_here: bool,
        stop: &StopToken,
        progress: &CheckProgress,
    ) -> Result<CheckReport> {
        let channel = self.channel(there, stop)?;
        let ends = &channel.ends;
        let pairs = channel.pairs();
        if let Some(tables) = &mut options.tables {
            *tables = tables.iter().map(|table| there.transform.route.target_of(table)).collect();
        }
        let applied = CheckpointPosition::new(&ends.target, ends.ledger.task_name(), stop);
        channel.beside(&self.options.apply, apply_here, (stop, &stop.child()), |stop| {
            let check = || {
                let since = compared_from(ends, stop)?;
                let report = Checker::new(&ends.source, &ends.target, pairs, options.clone(), &applied)
                    .run(stop, progress)?;
                note_check(ends, &options, &report, since, stop)?;
                Ok(report)
            };
            check().map_err(Error::mirrored)
        })
    }

    /// Looks who else wrote on the target since the task got in sync, or since the last check.
    fn target_writers(&self, ends: &Ends, stop: &StopToken) -> Result<WritersReport> {
        let mut target = ends.target.control(stop)?;
        let mut databases = BTreeSet::new();
        for database in catalog::databases(&mut ends.source.control(stop)?)? {
            if ends.transform.selection.selects_database(&database.name) {
                databases.extend(ends.transform.route.target_databases(&database.name));
            }
        }
        let recorded = watch_mark::read(&mut target, &self.options.name)?;
        let since = match &recorded {
            Some(since) => since.clone(),
            None if ends.target.facts().has_gtids() => server::gtid_executed(&mut target)?,
            None => GtidSet::new(),
        };
        let search = WritersSearch { target: &ends.target, databases: &databases, since: &since };
        let (mut report, searched) = search.run(stop)?;
        if recorded.is_none() && report.incomplete.is_none() {
            report.incomplete = Some("writes of others on the target are looked for from now on".into());
        }
        watch_mark::write(&mut target, &self.options.name, &searched)?;
        Ok(report)
    }
}

/// Writes down what a check found, with the ledger of the direction in which changes flow: a hand-over compares what was touched
/// since the last one. A difference counts whatever was looked at; that there is none says only a check of all values.
fn note_check(
    ends: &Ends,
    options: &CheckOptions,
    report: &CheckReport,
    since: GtidSet,
    stop: &StopToken,
) -> Result<()> {
    let compares_values = matches!(report.mode, CheckMode::Full | CheckMode::Partial);
    // What an earlier run of the same check had found equal may have changed before this one began.
    let is_whole = options.tables.is_none() && report.chunks_resumed == 0;
    let is_clean = match report.conclusion {
        Conclusion::Different => false,
        Conclusion::Same if compares_values && is_whole => true,
        Conclusion::Same | Conclusion::Incomplete => return Ok(()),
    };
    let mode = match report.mode {
        CheckMode::Full => "full",
        CheckMode::Partial => "partial",
        CheckMode::RowsCount => "rows-count",
        CheckMode::None => "none",
    };
    let mut target = ends.target.control(stop)?;
    let task = ends.ledger.task_name();
    if is_clean && mode == "partial" {
        // It says less than one that compared all, and nothing of a difference that was found elsewhere.
        let says_more = |last: LastCheck| !last.is_clean || last.mode == "full";
        if clean_check::read(&mut target, task)?.is_some_and(says_more) {
            return Ok(());
        }
    }
    clean_check::write(&mut target, task, is_clean, mode, &Position::Gtid(since))
}

/// Returns after which position of the source rows may change that a check from now on has compared. What is prepared changes rows
/// when it is committed, so it is not in it.
fn compared_from(ends: &Ends, stop: &StopToken) -> Result<GtidSet> {
    let prepared = prepared_mark::read(&mut ends.target.control(stop)?, ends.ledger.task_name())?;
    Ok(server::gtid_committed(&mut ends.source.control(stop)?)?.subtract(&prepared))
}

/// Returns which tables are compared with which: all that are selected, as the source has them now.
pub(super) fn table_pairs(ends: &Ends, stop: &StopToken) -> Result<Vec<TablePair>> {
    let mut source = ends.source.control(stop)?;
    let mut pairs = Vec::new();
    for database in catalog::databases(&mut source)? {
        if ends.transform.selection.selects_database(&database.name) {
            for source in catalog::table_names(&mut source, &database.name)? {
                if let Some(target) = ends.transform.target_of(&source) {
                    pairs.push(TablePair { source, target });
                }
            }
        }
    }
    Ok(pairs)
}
