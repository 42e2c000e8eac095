//! One run of the flow, from where the target's ledger says that it stands.
use std::time::{Duration, Instant};

use super::{Ends, Migration, MigrationOptions, accounts, applier, ending, receiver};
use crate::accounts::AccountReport;
use crate::binlog_applier::{ApplyMode, ApplyUntil};
use crate::data::{GtidSet, LogOffsets, Position};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::full_loader::{FullLoadReport, FullLoader, TablePlan, TableReport};
use crate::progress::{Progress, Step, StepState};
use crate::server;
use crate::source::start_position;
use crate::spool::Spool;
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::target::ledger::{Phase, TableRow, TaskRow};
use crate::target::watch_mark;
use crate::validator::TaskType;

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

impl Migration {
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
            let mut run = Run::new(&self.options, &ends, spool, stop, progress);
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
pub(super) struct Run<'a> {
    options: &'a MigrationOptions,
    ends: &'a Ends,
    spool: Option<&'a Spool>,
    stop: &'a StopToken,
    progress: &'a Progress,
    tables: Vec<TablePlan>,
    loaded: Vec<TableReport>,
    rewrites: Vec<String>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        options: &'a MigrationOptions,
        ends: &'a Ends,
        spool: Option<&'a Spool>,
        stop: &'a StopToken,
        progress: &'a Progress,
    ) -> Self {
        Run {
            options,
            ends,
            spool,
            stop,
            progress,
            tables: Vec::new(),
            loaded: Vec::new(),
            rewrites: Vec::new(),
        }
    }

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

    pub(super) fn apply(&self, mode: ApplyMode, until: &ApplyUntil) -> Result<()> {
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

fn converge_set(position: Position) -> Result<GtidSet> {
    match position {
        Position::Gtid(set) => Ok(set),
        Position::Coordinates(at) => {
            Err(ErrorKind::Unsupported { what: format!("to converge at {at}") }.into())
        }
    }
}
