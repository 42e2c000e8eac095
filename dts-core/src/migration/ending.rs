//! How a task ends: completed at lag 0, or stopped for good; and what is left of it on the target.
//!
//! # Why completing is a phase of its own
//! Triggers and events come last, because a trigger that fires for a change that we apply would do a second time what the
//! source's trigger did and what comes as changes of its own. So once the first one is created, no change may be applied any
//! more, not even after a crash: [`Phase::Completing`] is recorded *before* the first one is created, a run refuses to start in
//! that phase, and [`Migration::complete`] takes it up from there.
use std::time::{Duration, Instant};

use super::run::Run;
use super::{Ends, Migration, accounts, receiver, table_pairs};
use crate::accounts::{AccountReport, Accounts};
use crate::binlog_applier::{ApplyMode, ApplyUntil};
use crate::cutover::counters;
use crate::data::{Account, GtidSet, ObjectKind, Position, TableName};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::format;
use crate::progress::{Progress, Step, StepState};
use crate::server;
use crate::spool::Spool;
use crate::stop::StopToken;
use crate::structure::{self, Structure};
use crate::target::TargetEndpoint;
use crate::target::account_journal::AccountJournal;
use crate::target::journal::{CutoverJournal, CutoverPhase};
use crate::target::ledger::{CopyState, Ledger, Phase, WORKERS_MAX};
use crate::wire::Connection;

/// How long a source that goes on being written is given to come to rest, once everything that it had is applied.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
/// For how long no selected row may change then. Heartbeats of a managed source come once a second, and count for nothing: they
/// change other tables. One look would not do: a fast applier has everything between two transactions of an application.
const QUIET_FOR: Duration = Duration::from_secs(1);
/// How often is looked meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait for a session that still applies for this task.
const APPLIER_PATIENCE: Duration = Duration::from_secs(60);

/// What completing a task did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CompletionReport {
    /// Where the source was at the end.
    pub source_position: Option<Position>,
    /// What is applied on the target, for good.
    pub applied_position: Option<Position>,
    /// The target's own position in its binary log after everything, as the target prints it.
    pub target_position: Option<String>,
    /// Transactions of the source that are not on the target: all that it had beyond the checkpoint when the task was completed
    /// without waiting for lag 0, else what came in the moment between the last look and the end (heartbeats of a managed
    /// source), or after an earlier call that ended before its end.
    pub not_applied: GtidSet,
    /// Triggers created by this call.
    pub triggers: usize,
    /// Events created by this call.
    pub events: usize,
    /// Procedures and functions that came to be on the source after the structure was made.
    pub programs: usize,
    /// Views that came to be on the source after the structure was made.
    pub views: usize,
    /// Tables whose AUTO_INCREMENT was behind that of the source and was raised.
    pub counters: usize,
    /// What is different on the target and why, for people.
    pub rewrites: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a task has put on the target.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Remains {
    /// How far the task came, as the ledger names it; `None` when it never began.
    pub phase: Option<&'static str>,
    /// What of the source is applied.
    pub applied_position: Option<Position>,
    /// The tables that it created.
    pub tables: Vec<RemainingTable>,
    /// The other objects that it created.
    pub objects: Vec<(ObjectKind, TableName)>,
    /// The accounts that it created.
    pub accounts: Vec<Account>,
}

/// A table that a task has created on the target.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemainingTable {
    /// Its name on the target.
    pub name: TableName,
    /// Rows that the copy brought; what was applied since is not counted.
    pub rows: u64,
    /// Whether its indexes are built, too.
    pub state: CopyState,
}

/// What was cleaned.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CleanReport {
    /// Objects and tables dropped, in order.
    pub dropped: Vec<String>,
    /// The task had rows in the schema `__dts__`, and they are gone.
    pub rows_removed: bool,
    /// No other task was left there, so the schema `__dts__` was dropped.
    pub schema_dropped: bool,
}

impl Migration {
    /// Ends the task as planned: applies what the source has, creates triggers and events, and records the end.
    ///
    /// The task must be in sync, and no other process may apply for it. With `immediately` nothing more is applied: what the
    /// source had beyond the checkpoint is not on the target, and is in the report. A call that was interrupted is taken up by
    /// the next one.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when the task never got in sync or has ended, and, on the side of the source, when the source
    /// is still being written: nothing has changed then, and a run goes on. [`ErrorKind::Interrupted`]; else what a stage
    /// returned.
    pub fn complete(
        &self,
        immediately: bool,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<CompletionReport> {
        let begun = Instant::now();
        let ends = self.connect(stop)?;
        let mut target = ends.target.control(stop)?;
        let task = if ends.ledger.exists(&mut target)? { ends.ledger.task(&mut target)? } else { None };
        let task = task.ok_or_else(|| refused("not begun yet", "run"))?;
        let mut rewrites = Vec::new();
        // Whatever the phase: in the middle of a cut-over only that knows which side is closed.
        ends.ledger.create_schema(&mut target)?;
        refuse_in_cutover(&self.options.name, "complete", &mut target)?;
        if task.phase != Phase::Ended {
            refuse_in_rollback(&self.options.name, "complete", &mut target)?;
        }
        match task.phase {
            Phase::Ended => return Err(refused("completed or stopped", "nothing, the task has ended")),
            Phase::Completing => {}
            Phase::Reversed => return self.complete_reversed(&ends, begun, stop, progress),
            Phase::InSync => {
                if !immediately {
                    receiver::beside(&self.options, &ends, &task, stop, progress, |spool, stop| {
                        self.catch_up(&ends, spool, &mut target, stop, progress)
                    })?;
                }
                lock(&ends.ledger, &mut target, stop)?;
                let carried = accounts::carry(&self.options, &ends, stop)?;
                rewrites.extend(carried.iter().flat_map(AccountReport::needing_attention));
                ends.ledger.set_phase(&mut target, Phase::Completing)?;
            }
            _ => return Err(refused("not in sync yet", "run --until synced")),
        }
        let structure =
            Structure::new(&ends.source, &ends.target, &ends.ledger, &ends.transform, self.options.objects);
        let held_back = structure.create_held_back(stop)?;
        rewrites.extend(held_back.rewrites);
        let mut source = ends.source.control(stop)?;
        let pairs: Vec<_> =
            table_pairs(&ends, stop)?.into_iter().map(|pair| (pair.source, pair.target)).collect();
        let counters = counters::raise(&mut source, &mut target, &pairs)?.len();
        let executed = server::gtid_executed(&mut source)?;
        let applied = ends.ledger.checkpoint(&mut target)?.applied;
        ends.ledger.set_phase(&mut target, Phase::Ended)?;
        self.discard_spool();
        progress.set_step(Step::InSync, StepState::Done);
        let not_applied = executed.subtract(&applied);
        Ok(CompletionReport {
            source_position: Some(Position::Gtid(executed).shown(ends.source.facts().log_name())),
            applied_position: Some(Position::Gtid(applied).shown(ends.source.facts().log_name())),
            target_position: server::binlog_position(&mut target, ends.target.facts())?,
            not_applied,
            triggers: held_back.triggers,
            events: held_back.events,
            programs: held_back.programs,
            views: held_back.views,
            counters,
            rewrites,
            elapsed: begun.elapsed(),
        })
    }

    /// Ends the reverse channel: the application stays on the target. The source stays closed, its triggers are there again.
    fn complete_reversed(
        &self,
        ends: &Ends,
        begun: Instant,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<CompletionReport> {
        let mut target = ends.target.control(stop)?;
        let channel = self.channel(ends, stop)?;
        let mut source = channel.ends.target.control(stop)?;
        let mut not_applied = GtidSet::new();
        if channel.phase(stop)?.is_some() {
            lock(&channel.ends.ledger, &mut source, stop)?;
            let carried = channel.ends.ledger.checkpoint(&mut source)?.applied;
            not_applied = server::gtid_executed(&mut target)?.subtract(&carried);
        }
        let rewrites = channel.restore_triggers(stop)?.rewrites;
        channel.forget(stop)?;
        ends.ledger.set_phase(&mut target, Phase::Ended)?;
        progress.set_step(Step::InSync, StepState::Done);
        let applied = ends.ledger.checkpoint(&mut target)?.applied;
        log::info!("the reverse channel ended; not carried to the source: {not_applied}");
        Ok(CompletionReport {
            source_position: server::binlog_position(&mut source, ends.source.facts())?
                .map(|text| text.parse())
                .transpose()?,
            applied_position: Some(Position::Gtid(applied).shown(ends.source.facts().log_name())),
            target_position: server::binlog_position(&mut target, ends.target.facts())?,
            rewrites,
            elapsed: begun.elapsed(),
            ..CompletionReport::default()
        })
    }

    /// Applies until no row has changed on the source for a while.
    fn catch_up(
        &self,
        ends: &Ends,
        spool: Option<&Spool>,
        target: &mut Connection,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        let run = Run::new(&self.options, ends, spool, stop, progress);
        for step in [Step::Structure, Step::FullLoad, Step::CatchUp, Step::IndexBuild] {
            progress.set_step(step, StepState::Done);
        }
        progress.set_step(Step::InSync, StepState::Running);
        let mut source = ends.source.control(stop)?;
        // Since when no row has changed, and how many had changed by then.
        let mut quiet: Option<(Instant, u64)> = None;
        let mut reached = None;
        loop {
            let wanted = server::gtid_executed(&mut source)?;
            if !ends.ledger.checkpoint(target)?.applied.contains_set(&wanted) {
                run.apply(ApplyMode::Strict, &ApplyUntil::Applied(wanted))?;
            }
            let changes = progress.snapshot().row_events_applied;
            match quiet {
                Some((since, before)) if before == changes => {
                    if since.elapsed() >= QUIET_FOR {
                        progress.set_lag(Some(Duration::ZERO));
                        return Ok(());
                    }
                }
                _ => quiet = Some((Instant::now(), changes)),
            }
            // How long it takes to get here does not matter; from here on the source decides.
            let (since, first) = *reached.get_or_insert_with(|| (Instant::now(), changes));
            if since.elapsed() > QUIET_WITHIN {
                let state = format!(
                    "still being written on the source ({} since it was caught up with)",
                    format::counted(changes - first, "row change", "row changes")
                );
                let hint = "Stop the application's writes on the source and complete again (or let `dts cutover` do both). \
                            To end the task here, without what is written from now on: --immediately.";
                return Err(refused(&state, "check, cutover, complete --immediately")
                    .on(Side::Source)
                    .with_hint(hint));
            }
            stop.sleep(LOOK_EVERY)?;
        }
    }

    /// Ends the task for good before it was complete, and returns what is left of it on the target. Only the target is
    /// asked. No other process may apply for the task.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] in the middle of a cut-over: the source would stay closed. Else what the target answered.
    pub fn end(&self, stop: &StopToken) -> Result<Remains> {
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        let ledger = Ledger::new(self.options.name.clone());
        let mut control = target.control(stop)?;
        if !ledger.exists(&mut control)? || ledger.task(&mut control)?.is_none() {
            return Ok(Remains::default());
        }
        ledger.create_schema(&mut control)?;
        refuse_in_cutover(&self.options.name, "stop", &mut control)?;
        if ledger.task(&mut control)?.is_some_and(|task| task.phase == Phase::Reversed) {
            return Err(ErrorKind::IllegalState {
                action: "stop".into(),
                state: "cut over, with a reverse channel to the source".into(),
                allowed: "complete (the application stays on the target), rollback".into(),
            }
            .into());
        }
        lock(&ledger, &mut control, stop)?;
        let remains = remains(&ledger, &mut control)?;
        ledger.set_phase(&mut control, Phase::Ended)?;
        self.discard_spool();
        Ok(remains)
    }

    /// Nothing of it will be applied any more. What cannot be removed is only in the way of the disk.
    fn discard_spool(&self) {
        if let Some(folder) = &self.options.apply.spool_folder
            && let Err(error) = Spool::discard(folder)
        {
            log::warn!("the spool was not removed: {error}");
        }
    }

    /// Returns what the task has put on the target. Only the target is asked.
    ///
    /// # Errors
    /// What the target answered.
    pub fn remains(&self, stop: &StopToken) -> Result<Remains> {
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        let ledger = Ledger::new(self.options.name.clone());
        let mut control = target.control(stop)?;
        if !ledger.exists(&mut control)? {
            return Ok(Remains::default());
        }
        remains(&ledger, &mut control)
    }

    /// Removes what dts recorded about the task on the target, with `drop_data` also all that the task created there. Only
    /// the target is asked.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when the task has not ended: without its records it could not go on; else what the target
    /// answered. Can be repeated.
    pub fn clean(&self, drop_data: bool, stop: &StopToken) -> Result<CleanReport> {
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        let ledger = Ledger::new(self.options.name.clone());
        let mut control = target.control(stop)?;
        if !ledger.exists(&mut control)? {
            return Ok(CleanReport::default());
        }
        // Tables of the schema that came with later versions.
        ledger.create_schema(&mut control)?;
        refuse_in_cutover(&self.options.name, "clean", &mut control)?;
        let task = ledger.task(&mut control)?;
        if task.as_ref().is_some_and(|task| task.phase != Phase::Ended) {
            return Err(ErrorKind::IllegalState {
                action: "clean".into(),
                state: "not at its end".into(),
                allowed: "stop".into(),
            }
            .into());
        }
        let mut dropped =
            if drop_data { structure::drop_created(&target, &ledger, stop)? } else { Vec::new() };
        if drop_data {
            let accounts = Accounts::drop_created(&target, &self.options.name, stop)?;
            dropped.extend(accounts.iter().map(|account| format!("account {account}")));
        }
        ledger.forget(&mut control)?;
        let schema_dropped = ledger.drop_unused_schema(&mut control)?;
        Ok(CleanReport { dropped, rows_removed: task.is_some(), schema_dropped })
    }
}

/// In the middle of a cut-over the source is closed for its applications, and only the cut-over knows how to open it.
pub(super) fn refuse_in_cutover(task: &str, action: &str, target: &mut Connection) -> Result<()> {
    let allowed = match CutoverJournal::new(task).read(target)?.map(|row| row.phase) {
        None | Some(CutoverPhase::Done) => return Ok(()),
        Some(CutoverPhase::Opening) => "cutover (goes on)",
        Some(CutoverPhase::Gating | CutoverPhase::Gated | CutoverPhase::Drained) => {
            "cutover (goes on), cutover --abort (opens the source again)"
        }
    };
    Err(ErrorKind::IllegalState {
        action: action.into(),
        state: "in the middle of a cut-over, with the source closed for applications".into(),
        allowed: allowed.into(),
    }
    .into())
}

/// In the middle of the way back, and after it, the target is closed for its applications, and only a rollback or a cut-over knows
/// how to open it.
fn refuse_in_rollback(task: &str, action: &str, target: &mut Connection) -> Result<()> {
    let Some(row) = CutoverJournal::of_rollback(task).read(target)? else { return Ok(()) };
    let (state, allowed) = if row.phase == CutoverPhase::Done {
        (
            "back on the source, with the target closed for applications by the rollback",
            "cutover (opens it), stop",
        )
    } else {
        (
            "in the middle of the way back, with the target closed for applications",
            "rollback (goes on), rollback --abort (opens the target again)",
        )
    };
    Err(ErrorKind::IllegalState { action: action.into(), state: state.into(), allowed: allowed.into() }
        .into())
}

fn remains(ledger: &Ledger, control: &mut Connection) -> Result<Remains> {
    let Some(task) = ledger.task(control)? else { return Ok(Remains::default()) };
    let tables = ledger.tables(control)?.into_iter();
    let tables = tables
        .map(|table| RemainingTable { name: table.target, rows: table.row_count, state: table.state })
        .collect();
    let mut objects = Vec::new();
    for kind in ObjectKind::ALL {
        objects.extend(ledger.objects(control, kind)?.into_iter().map(|name| (kind, name)));
    }
    let applied_position = Some(Position::Gtid(ledger.checkpoint(control)?.applied));
    let records = AccountJournal::new(ledger.task_name()).read(control)?.into_iter();
    let accounts = records
        .filter(|(_, record)| record.is_created && record.failure.is_none())
        .map(|(name, _)| name)
        .collect();
    Ok(Remains { phase: Some(task.phase.name()), applied_position, tables, objects, accounts })
}

/// Waits until no session applies for the task any more, and keeps others from it as long as `control` lives: only who has the
/// coordinator's lock starts workers.
fn lock(ledger: &Ledger, control: &mut Connection, stop: &StopToken) -> Result<()> {
    let begun = Instant::now();
    while !ledger.lock_apply(control, 0, 1)? {
        stop.check()?;
        be_patient(ledger, control, 0, begun)?;
    }
    for worker in 1..=WORKERS_MAX {
        while ledger.apply_lock_holder(control, worker)?.is_some() {
            stop.sleep(Duration::from_millis(50))?;
            be_patient(ledger, control, worker, begun)?;
        }
    }
    Ok(())
}

fn be_patient(ledger: &Ledger, control: &mut Connection, worker: u32, begun: Instant) -> Result<()> {
    if begun.elapsed() <= APPLIER_PATIENCE {
        return Ok(());
    }
    let holder = ledger.apply_lock_holder(control, worker)?.unwrap_or_default();
    Err(Error::from(ErrorKind::IllegalState {
        action: "end the task".into(),
        state: format!("applied by another session, number {holder} on the target"),
        allowed: "waiting until it ends".into(),
    })
    .on(Side::Target)
    .with_hint(format!(
        "Another process runs this task, or the network to one broke: end that process, then KILL {holder} on the target."
    )))
}

fn refused(state: &str, allowed: &str) -> Error {
    ErrorKind::IllegalState { action: "complete".into(), state: state.into(), allowed: allowed.into() }.into()
}
