//! The documented flow, joined: validate, structure, full load, catch up, build indexes, stay in sync.
//!
//! [`Migration`] owns the order of the stages, the hand-over of positions between them and the resume logic; each stage
//! does its own work and knows nothing of the others. Where a migration stands is read from the target's ledger at every
//! start, so a run can end anywhere and be continued by any process that can reach both servers.
mod accounts;
mod cutover;
mod ending;
mod handover;
mod journaled_gate;
mod options;
mod receiver;
mod reverse;
mod rollback;
mod state;
mod verify;
mod way;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub use crate::transform::ObjectKinds;
pub use ending::{CleanReport, CompletionReport, RemainingTable, Remains};
pub use handover::{GateHook, Hooks};
pub use options::MigrationOptions;
pub use state::{Action, State};

use crate::accounts::AccountReport;
use crate::binlog_applier::{ApplyMode, ApplyUntil, BinlogApplier};
use crate::checker::{
    AppliedPosition, CheckMode, CheckOptions, CheckProgress, CheckReport, Checker, CheckpointPosition,
    Conclusion, NothingApplies, StructureChecker, TablePair, WritersReport, WritersSearch,
};
use crate::data::{GtidSet, LogOffsets, Position};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::full_loader::{FullLoadReport, FullLoader, LoadMethod, TablePlan, TableReport};
use crate::progress::{Progress, Step, StepState};
use crate::server::{self, ServerFacts, catalog};
use crate::source::{SourceEndpoint, start_position};
use crate::spool::Spool;
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::target::clean_check::{self, LastCheck};
use crate::target::ledger::{Ledger, Phase, TableRow, TaskRow};
use crate::target::{TargetEndpoint, prepared_mark, watch_mark};
use crate::transform::Transform;
use crate::validator::{TaskType, ValidationReport, Validator, ValidatorOptions};

/// When a run ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// All rows are copied.
    Loaded,
    /// Everything is copied, indexes are built, and all that the source had when this was asked is applied.
    Synced,
    /// Never: changes are applied until somebody asks to stop.
    Stopped,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// The task had been begun by an earlier run.
    pub resumed: bool,
    /// P0: where the copy started.
    pub start_position: Option<Position>,
    /// What is applied on the target.
    pub applied_position: Option<Position>,
    /// The target's own position in its binary log, as the target prints it.
    pub target_position: Option<String>,
    /// The tables copied, in this run or earlier ones.
    pub tables: Vec<TableReport>,
    /// What is different on the target and why.
    pub rewrites: Vec<String>,
    /// How long this run took.
    pub elapsed: Duration,
}

/// One task, from its first validation to its end.
pub struct Migration {
    options: MigrationOptions,
}

/// Both ends, connected.
struct Ends {
    source: SourceEndpoint,
    target: TargetEndpoint,
    transform: Transform,
    ledger: Ledger,
}

impl Migration {
    /// Takes what is to be done. Nothing is connected yet.
    pub fn new(options: MigrationOptions) -> Self {
        Migration { options }
    }

    /// Returns what is to be done.
    pub fn options(&self) -> &MigrationOptions {
        &self.options
    }

    /// Looks whether the task may start. Changes nothing but the scratch databases of [`Validator`] on the target.
    ///
    /// # Errors
    /// As [`Validator::run`]; what is wrong with the servers is an item of the report, not an error.
    pub fn validate(&self, stop: &StopToken) -> Result<ValidationReport> {
        Validator::new(self.validator_options()).run(stop)
    }

    /// Returns what [`validate`](Self::validate) looks at, to look at a part of it only.
    pub fn validator_options(&self) -> ValidatorOptions {
        let from = &self.options;
        let mut options = ValidatorOptions::new(
            from.name.clone(),
            from.source.clone(),
            from.target.clone(),
            from.transform.clone(),
        );
        options.source_kind = from.source_kind;
        options.target_kind = from.target_kind;
        options.task_type = from.task_type;
        options.views = from.objects.views;
        options.routines = from.objects.routines;
        options.triggers = from.objects.triggers;
        options.events = from.objects.events;
        options.accounts = from.objects.accounts;
        options.ignore.clone_from(&from.validate_ignore);
        options.try_structure = from.try_structure;
        options.load_by_insert = from.load.method == LoadMethod::Insert;
        options
    }

    /// Runs the flow from where the target's ledger says that it stands, until `until`.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when asked to stop; [`ErrorKind::IllegalState`] for a task that has ended; else what a stage
    /// returned. What was recorded stays, and another call goes on from there.
    pub fn run(&self, until: Until, stop: &StopToken, progress: &Progress) -> Result<RunReport> {
        let outcome = self.run_steps(until, stop, progress);
        if let Err(error) = &outcome
            && !error.is_interrupted()
        {
            progress.fail_step();
        }
        outcome
    }

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

    /// Does `work` while changes are applied beside it; with `apply_here` in a thread of this call, without it another process
    /// is expected to apply. See [`beside`].
    fn beside_applier<T>(
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
            let mut applier = self.applier(ends, ApplyMode::Strict);
            if let Some(spool) = spool {
                applier = applier.reading_from(spool);
            }
            applier.run(&ApplyUntil::Stopped, stop, &Progress::new()).map(drop)
        };
        beside(stop, applying, apply, work)
    }

    fn applier<'e>(&self, ends: &'e Ends, mode: ApplyMode) -> BinlogApplier<'e> {
        applier(&self.options, ends, mode)
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

    fn run_steps(&self, until: Until, stop: &StopToken, progress: &Progress) -> Result<RunReport> {
        let begun = Instant::now();
        let ends = self.connect(stop)?;
        progress.set_log_name(ends.source.facts().log_name());
        let (task, resumed) = self.begin(&ends, stop)?;
        progress.set_start_position(task.start_position.clone());
        progress.set_reverse(task.phase == Phase::Reversed);
        if task.phase == Phase::Reversed {
            return self.run_reverse(&ends, until, stop, progress);
        }
        let steps = |spool: Option<&Spool>, stop: &StopToken| {
            let mut run = Run {
                options: &self.options,
                ends: &ends,
                spool,
                stop,
                progress,
                tables: Vec::new(),
                loaded: Vec::new(),
                rewrites: Vec::new(),
            };
            run.steps(&task, until).map(|()| (run.loaded, run.rewrites))
        };
        let (loaded, rewrites) = match self.options.task_type {
            TaskType::Structure => steps(None, stop)?,
            // From here on, before the first row is read, the source may purge its log.
            TaskType::Full | TaskType::FullAndIncremental => {
                receiver::beside(&self.options, &ends, &task, stop, progress, steps)?
            }
        };
        if self.options.task_type == TaskType::Full
            && until != Until::Loaded
            && let Some(folder) = &self.options.apply.spool_folder
        {
            Spool::discard(folder)?;
        }
        let mut target = ends.target.control(stop)?;
        let applied = ends.ledger.checkpoint(&mut target)?.applied;
        let log_name = ends.source.facts().log_name();
        Ok(RunReport {
            resumed,
            start_position: Some(task.start_position.shown(log_name)),
            applied_position: Some(Position::Gtid(applied).shown(log_name)),
            target_position: server::binlog_position(&mut target, ends.target.facts())?,
            tables: loaded,
            rewrites,
            elapsed: begun.elapsed(),
        })
    }

    fn connect(&self, stop: &StopToken) -> Result<Ends> {
        let source = SourceEndpoint::connect(self.options.source.clone(), stop)?;
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        refuse_same_server(source.facts(), target.facts())?;
        let mut transform = self.options.transform.clone();
        if source.facts().lower_case_table_names() != 0 {
            transform = transform.ignoring_case();
        }
        Ok(Ends { source, target, transform, ledger: Ledger::new(self.options.name.clone()) })
    }

    /// Reads the task's row, or makes it: P0 is taken here, before the first row is read.
    fn begin(&self, ends: &Ends, stop: &StopToken) -> Result<(TaskRow, bool)> {
        let mut target = ends.target.control(stop)?;
        ends.ledger.create_schema(&mut target)?;
        if let Some(row) = ends.ledger.task(&mut target)? {
            if matches!(row.phase, Phase::Completing | Phase::Ended) {
                // Only a cut-over knows which side is closed, and how to open one.
                ending::refuse_in_cutover(&self.options.name, "run", &mut target)?;
            }
            let refused = match row.phase {
                Phase::Ended => Some(("completed or stopped", "a new task under another name")),
                // Its triggers may be on the target already and would fire.
                Phase::Completing => Some(("being completed", "complete")),
                _ => None,
            };
            if let Some((state, allowed)) = refused {
                return Err(ErrorKind::IllegalState {
                    action: "run".into(),
                    state: state.into(),
                    allowed: allowed.into(),
                }
                .into());
            }
            let uuid = ends.source.facts().server_uuid().unwrap_or_default();
            if row.source_uuid != uuid && row.start_position.gtid_set().is_some_and(LogOffsets::is_in) {
                return Err(Error::from(ErrorKind::SourceDiverged {
                    unknown: format!("all: server {uuid} has another binary log than {}", row.source_uuid),
                })
                .on(Side::Source)
                .with_hint(
                    "Without GTIDs a position means something to one server alone. Point the task at the server that it began \
                     with, or start a new task.",
                ));
            }
            if row.source_uuid != uuid {
                log::warn!(
                    "the source is now server {uuid}, the task began on {}: a fail-over",
                    row.source_uuid
                );
            }
            return Ok((row, true));
        }
        let start = match self.options.task_type {
            TaskType::Structure => Position::Gtid(GtidSet::new()),
            TaskType::Full | TaskType::FullAndIncremental => {
                start_position::take(&ends.source, &mut ends.source.control(stop)?, stop)?
            }
        };
        log::info!("start position {start}");
        let uuid = ends.source.facts().server_uuid().unwrap_or_default();
        ends.ledger.begin_task(&mut target, uuid, &start)?;
        let row = ends.ledger.task(&mut target)?.ok_or_else(|| Error::internal("the task's row is gone"))?;
        Ok((row, false))
    }
}

/// One run under way.
struct Run<'a> {
    options: &'a MigrationOptions,
    ends: &'a Ends,
    spool: Option<&'a Spool>,
    stop: &'a StopToken,
    progress: &'a Progress,
    tables: Vec<TablePlan>,
    loaded: Vec<TableReport>,
    rewrites: Vec<String>,
}

impl Run<'_> {
    fn steps(&mut self, task: &TaskRow, until: Until) -> Result<()> {
        let structure = Structure::new(
            &self.ends.source,
            &self.ends.target,
            &self.ends.ledger,
            &self.ends.transform,
            self.options.objects,
        );
        self.progress.set_step(Step::Structure, StepState::Running);
        if task.phase == Phase::Structure {
            let created = structure.create(self.stop)?;
            self.tables = created.tables;
            self.note(created.rewrites);
            self.set_phase(Phase::FullLoad)?;
        } else if task.phase < Phase::InSync {
            // Once in sync the tables of the beginning are no longer asked for: schema changes have been carried since.
            self.tables = structure.recorded(task.phase > Phase::FullLoad, self.stop)?;
        }
        self.progress.set_step(Step::Structure, StepState::Done);

        if self.options.task_type == TaskType::Structure {
            return self.finish_structure(&structure);
        }
        let converge = self.load(task)?;
        if until == Until::Loaded {
            return Ok(());
        }
        if task.phase <= Phase::CatchUp {
            self.step(Step::CatchUp, |run| {
                run.converge(&structure, converge)?;
                run.set_phase(Phase::IndexBuild)
            })?;
        }
        if task.phase <= Phase::IndexBuild {
            // Tables may have been created, renamed and dropped since.
            self.tables = structure.recorded(true, self.stop)?;
        }
        self.progress.set_step(Step::CatchUp, StepState::Done);
        if task.phase <= Phase::IndexBuild {
            self.step(Step::IndexBuild, |run| {
                structure.build_indexes(&run.tables, run.options.load.threads, run.stop, run.progress)?;
                run.watch_target()
            })?;
            self.carry_accounts()?;
            self.set_phase(Phase::InSync)?;
        } else if let Err(error) = self.carry_accounts() {
            // They were carried once; what keeps the task from it now does not keep it from carrying rows.
            if error.is_interrupted() {
                return Err(error);
            }
            log::warn!("accounts are not carried at the moment: {error}; {}", error.hint());
        }
        self.progress.set_step(Step::IndexBuild, StepState::Done);
        if self.options.task_type == TaskType::Full {
            self.progress.set_step(Step::InSync, StepState::Skipped);
            self.create_held_back(&structure)?;
            return self.set_phase(Phase::Ended);
        }
        self.progress.set_step(Step::InSync, StepState::Running);
        // What was known before the indexes were built is of the past.
        self.progress.set_lag(None);
        let until = match until {
            Until::Stopped => ApplyUntil::Stopped,
            Until::Loaded | Until::Synced => {
                let mut source = self.ends.source.control(self.stop)?;
                ApplyUntil::Applied(server::gtid_executed(&mut source)?)
            }
        };
        let beside = self.stop.child();
        std::thread::scope(|scope| {
            if matches!(until, ApplyUntil::Stopped) {
                scope.spawn(|| accounts::follow(self.options, self.ends, &beside));
            }
            let applied = self.stay_in_sync(&structure, &until);
            beside.stop();
            applied
        })?;
        self.progress.set_in_sync(true);
        Ok(())
    }

    fn stay_in_sync(&self, structure: &Structure<'_>, until: &ApplyUntil) -> Result<()> {
        loop {
            // Tables that come from outside of the selection.
            let plans = structure.restart_tables(true, self.stop)?;
            if !plans.is_empty() {
                self.progress.set_in_sync(false);
                self.copy_anew(&plans)?;
                structure.build_indexes(&plans, self.options.load.threads, self.stop, self.progress)?;
            }
            match self.apply(ApplyMode::Strict, until) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::IllegalState { .. }) && self.wants_copy()? => {}
                applied => return applied,
            }
        }
    }

    fn carry_accounts(&mut self) -> Result<()> {
        let report = accounts::carry(self.options, self.ends, self.stop)?;
        self.rewrites.extend(report.iter().flat_map(AccountReport::needing_attention));
        Ok(())
    }

    /// Applies changes until all tables are consistent. Tables whose definition was changed in the meantime are copied anew and
    /// take another turn.
    fn converge(&self, structure: &Structure<'_>, mut until: GtidSet) -> Result<()> {
        structure.finish_snapshot_tables(
            &self.tables,
            self.options.load.threads,
            self.stop,
            self.progress,
        )?;
        loop {
            let plans = structure.restart_tables(false, self.stop)?;
            if !plans.is_empty() {
                let converge_position = self.copy_anew(&plans)?.converge_position;
                let threads = self.options.load.threads;
                structure.finish_snapshot_tables(&plans, threads, self.stop, self.progress)?;
                let mut target = self.ends.target.control(self.stop)?;
                self.ends.ledger.set_converge_position(&mut target, &converge_position)?;
                until = converge_set(converge_position)?;
            }
            self.apply(ApplyMode::Idempotent, &ApplyUntil::Applied(until.clone()))?;
            self.ends.ledger.set_converged(&mut self.ends.target.control(self.stop)?)?;
            if !self.wants_copy()? {
                return Ok(());
            }
        }
    }

    fn copy_anew(&self, plans: &[TablePlan]) -> Result<FullLoadReport> {
        FullLoader::new(
            &self.ends.source,
            &self.ends.target,
            &self.ends.ledger,
            plans,
            self.options.load.clone(),
        )
        .run(self.stop, self.progress)
    }

    /// Returns whether a table waits to be copied anew.
    fn wants_copy(&self) -> Result<bool> {
        let rows = self.ends.ledger.tables(&mut self.ends.target.control(self.stop)?)?;
        Ok(rows.iter().any(TableRow::wants_copy))
    }

    /// Copies what is not copied yet and returns the converge point.
    fn load(&mut self, task: &TaskRow) -> Result<GtidSet> {
        let loader = FullLoader::new(
            &self.ends.source,
            &self.ends.target,
            &self.ends.ledger,
            &self.tables,
            self.options.load.clone(),
        );
        let recorded = task.converge_position.as_ref().and_then(Position::gtid_set).cloned();
        if let Some(converge) = recorded {
            self.loaded = loader.report(self.stop, self.progress)?;
            self.progress.set_step(Step::FullLoad, StepState::Done);
            return Ok(converge);
        }
        self.progress.set_step(Step::FullLoad, StepState::Running);
        let report = loader.run(self.stop, self.progress)?;
        let mut target = self.ends.target.control(self.stop)?;
        self.ends.ledger.set_converge_position(&mut target, &report.converge_position)?;
        self.progress.set_step(Step::FullLoad, StepState::Done);
        self.loaded = report.tables;
        converge_set(report.converge_position)
    }

    fn apply(&self, mode: ApplyMode, until: &ApplyUntil) -> Result<()> {
        let mut applier = applier(self.options, self.ends, mode);
        if let Some(spool) = self.spool {
            applier = applier.reading_from(spool);
        }
        applier.run(until, self.stop, self.progress).map(drop)
    }

    /// A task that applies no changes is complete as soon as its tables are.
    fn create_held_back(&mut self, structure: &Structure<'_>) -> Result<()> {
        let report = structure.create_held_back(self.stop)?;
        self.note(report.rewrites);
        Ok(())
    }

    /// Remembers what is different on the target, for whoever reads the report.
    fn note(&mut self, rewrites: Vec<String>) {
        self.progress.add_rewrites(&rewrites);
        for note in rewrites {
            if !self.rewrites.contains(&note) {
                self.rewrites.push(note);
            }
        }
    }

    fn finish_structure(&mut self, structure: &Structure<'_>) -> Result<()> {
        for step in [Step::FullLoad, Step::CatchUp, Step::InSync] {
            self.progress.set_step(step, StepState::Skipped);
        }
        self.step(Step::IndexBuild, |run| {
            structure.build_indexes(&run.tables, run.options.load.threads, run.stop, run.progress)
        })?;
        self.carry_accounts()?;
        self.create_held_back(structure)?;
        self.set_phase(Phase::Ended)
    }

    fn step(&self, step: Step, work: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.progress.set_step(step, StepState::Running);
        work(self)?;
        self.progress.set_step(step, StepState::Done);
        Ok(())
    }

    /// From now on writes of others on the target are looked for.
    fn watch_target(&self) -> Result<()> {
        if !self.ends.target.facts().has_gtids() {
            return Ok(());
        }
        let mut target = self.ends.target.control(self.stop)?;
        let executed = server::gtid_executed(&mut target)?;
        watch_mark::write(&mut target, &self.options.name, &executed)
    }

    fn set_phase(&self, phase: Phase) -> Result<()> {
        self.ends.ledger.set_phase(&mut self.ends.target.control(self.stop)?, phase)
    }
}

/// Joins what applies the source's changes on the target. What the task's reverse channel wrote on the source is left out.
fn applier<'e>(options: &MigrationOptions, ends: &'e Ends, mode: ApplyMode) -> BinlogApplier<'e> {
    let uuid = ends.target.facts().server_uuid().unwrap_or_default();
    BinlogApplier::new(&ends.source, &ends.target, &ends.ledger, &ends.transform, mode)
        .with_objects(options.objects)
        .with_options(options.apply.clone())
        .without_changes_of(reverse::channel_name(&options.name, uuid))
}

/// Returns after which position of the source rows may change that a check from now on has compared. What is prepared changes rows
/// when it is committed, so it is not in it.
fn compared_from(ends: &Ends, stop: &StopToken) -> Result<GtidSet> {
    let prepared = prepared_mark::read(&mut ends.target.control(stop)?, ends.ledger.task_name())?;
    Ok(server::gtid_committed(&mut ends.source.control(stop)?)?.subtract(&prepared))
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

/// Does `work` while `apply` runs in a thread of this call. The work ends with the applier, and the applier with the work, or
/// when the work stops `applying`: what the applier meets after that is of no matter.
fn beside<T>(
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

fn converge_set(position: Position) -> Result<GtidSet> {
    match position {
        Position::Gtid(set) => Ok(set),
        Position::Coordinates(at) => {
            Err(ErrorKind::Unsupported { what: format!("to converge at {at}") }.into())
        }
    }
}

/// Returns which tables are compared with which: all that are selected, as the source has them now.
fn table_pairs(ends: &Ends, stop: &StopToken) -> Result<Vec<TablePair>> {
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

/// The last guard: the validator says it better, but nothing may ever be copied onto itself.
fn refuse_same_server(source: &ServerFacts, target: &ServerFacts) -> Result<()> {
    match (source.server_uuid(), target.server_uuid()) {
        (Some(source), Some(target)) if source == target => Err(Error::invalid(
            "target",
            format!("the same server as the source ({source})"),
            "another server",
        )
        .on(Side::Target)),
        _ => Ok(()),
    }
}
