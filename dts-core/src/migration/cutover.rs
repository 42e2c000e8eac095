//! The cut-over: its pieces from [`crate::cutover`] in order, with what the other stages add.
use std::time::Instant;

use crate::cutover::gate::{self, EventStatus, Gate};
use crate::cutover::{CutoverOptions, CutoverReport, StepName};
use crate::data::{GateKind, GateRecord, GtidSet, HeldEvent, ObjectKind, TableName};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::server;
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::target::journal::{CutoverJournal, CutoverPhase, CutoverRow};
use crate::target::ledger::Phase;

use super::handover::{COMPARE, Handover, Hooks};
use super::reverse::{Channel, channel_name};
use super::way::Way;
use super::{Ends, Migration, accounts, table_pairs};

impl Migration {
    /// Moves the writers from the source to the target. Each step is told to `hooks` as soon as it is done.
    ///
    /// With `apply_here` changes are applied meanwhile; without it another process is expected to apply. A cut-over that was
    /// cut short goes on where the journal says.
    ///
    /// # Errors
    /// [`ErrorKind::CutOver`] with what both sides are in; everything that was changed is taken back then, unless the target was
    /// already about to be opened. [`ErrorKind::IllegalState`] before the task is in sync.
    pub fn cutover(
        &self,
        options: &CutoverOptions,
        hooks: Hooks<'_>,
        apply_here: bool,
        stop: &StopToken,
    ) -> Result<CutoverReport> {
        let ends = self.connect(stop)?;
        let mut target = ends.target.control(stop)?;
        let task = if ends.ledger.exists(&mut target)? { ends.ledger.task(&mut target)? } else { None };
        let mut phase = task.map(|task| task.phase);
        if phase.is_some() {
            // Tables of the schema that came with later versions.
            ends.ledger.create_schema(&mut target)?;
            let row = CutoverJournal::new(self.options.name.clone()).read(&mut target)?;
            if let Some(row) = row.filter(|row| row.phase < CutoverPhase::Opening) {
                Way::There.refuse_other_gate(&row.gate, options, &hooks)?;
                if phase == Some(Phase::Completing) && !options.dry_run {
                    // Somebody may have written since: that must be applied, and its triggers must not fire.
                    self.withdraw(&ends, self.channel_of(&ends, &row, stop)?.as_ref(), stop).map_err(
                        |error| error.in_stage(Stage::CutOver).with_state(Way::There.not_taken_back()),
                    )?;
                    phase = Some(Phase::InSync);
                }
            }
        }
        // Once triggers are being created no change may be applied any more.
        let applies = apply_here && phase == Some(Phase::InSync);
        let applying = stop.child();
        self.beside_applier(&ends, applies, (stop, &applying), |stop| {
            let mut run = CutoverRun::new(self, &ends, options, hooks, (stop, &applying))?;
            run.whole().map_err(|error| error.in_stage(Stage::CutOver))?;
            Ok(run.handover.report)
        })
    }

    /// Takes a cut-over back that was cut short: applications write on the source again.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when none was begun, or the target was already about to be opened.
    pub fn take_back_cutover(&self, hooks: Hooks<'_>, stop: &StopToken) -> Result<()> {
        let ends = self.connect(stop)?;
        let options = CutoverOptions::new(GateKind::None);
        let mut run = CutoverRun::new(self, &ends, &options, hooks, (stop, stop))?;
        let row = run.row()?.filter(|row| row.phase < CutoverPhase::Opening).ok_or_else(|| {
            Error::from(ErrorKind::IllegalState {
                action: "take the cut-over back".into(),
                state: "without a cut-over that could be taken back".into(),
                allowed: "cutover, check".into(),
            })
        })?;
        if row.gate.kind == GateKind::Hook && hooks.gate.is_none() {
            return Err(Error::invalid("gate", "missing", "the command that closed it: --gate hook=CMD"));
        }
        run.channel = self.channel_of(&ends, &row, stop)?;
        run.take_back(&row.gate)
            .map_err(|error| error.in_stage(Stage::CutOver).with_state(Way::There.not_taken_back()))
    }

    fn channel_of(&self, ends: &Ends, row: &CutoverRow, stop: &StopToken) -> Result<Option<Channel>> {
        row.channel.as_deref().map(|name| Channel::connect(&self.options, ends, name, stop)).transpose()
    }

    /// Undoes what a cut-over has made for the time after it: changes can be applied again. Nobody may write on the target. Can be
    /// repeated.
    fn withdraw(&self, ends: &Ends, channel: Option<&Channel>, stop: &StopToken) -> Result<()> {
        self.structure(ends).drop_held_back(stop)?;
        if let Some(channel) = channel {
            // Before anybody writes there again.
            channel.restore_triggers(stop)?;
            channel.forget(stop)?;
        }
        ends.ledger.set_phase(&mut ends.target.control(stop)?, Phase::InSync)
    }
}

/// One cut-over under way.
struct CutoverRun<'a> {
    handover: Handover<'a>,
    /// The reverse channel, when there is to be one.
    channel: Option<Channel>,
    /// Says that the target was closed by an earlier way back.
    earlier: CutoverJournal,
}

impl<'a> CutoverRun<'a> {
    fn new(
        migration: &'a Migration,
        ends: &'a Ends,
        options: &'a CutoverOptions,
        hooks: Hooks<'a>,
        stops: (&'a StopToken, &'a StopToken),
    ) -> Result<Self> {
        Ok(CutoverRun {
            handover: Handover::new(migration, Way::There, ends, options, hooks, stops)?,
            channel: None,
            earlier: CutoverJournal::of_rollback(&migration.options.name),
        })
    }

    fn whole(&mut self) -> Result<()> {
        let row = self.row()?;
        let options = self.handover.options;
        self.handover.report.resumed = row.is_some();
        if let Some(row) = row.clone().filter(|row| row.phase >= CutoverPhase::Opening) {
            if row.phase == CutoverPhase::Done && self.earlier.read(&mut self.handover.to)?.is_some() {
                return Err(Error::from(ErrorKind::IllegalState {
                    action: "cutover".into(),
                    state: "in the middle of the way back".into(),
                    allowed: "rollback (goes on), rollback --abort (the application stays on the target)"
                        .into(),
                }));
            }
            let log_name = self.handover.ends.source.facts().log_name();
            self.handover.report.source_position =
                row.end_position.clone().map(|end| end.shown(log_name).to_string());
            self.handover.report.target_position.clone_from(&row.opened_position);
            self.handover.report.reverse = row.channel.is_some();
            if row.phase == CutoverPhase::Done {
                return Ok(());
            }
            return self.open(row.channel.is_some(), &row.gate, Some(&row));
        }
        self.must_be_in_sync(row.is_some())?;
        let name = match &row {
            Some(row) => row.channel.clone(),
            None => options.reverse.then(|| {
                let uuid = self.handover.ends.target.facts().server_uuid().unwrap_or_default();
                channel_name(self.handover.migration_name(), uuid)
            }),
        };
        self.handover.report.reverse = name.is_some();
        if let Some(name) = &name {
            let run = &self.handover;
            self.channel = Some(Channel::connect(&run.migration.options, run.ends, name, run.stop)?);
        }
        let gate = match &row {
            Some(row) => row.gate.clone(),
            None => self.begin(name.as_deref())?,
        };
        if options.dry_run {
            return Ok(());
        }
        if row.is_none() {
            self.handover.pass("begun");
        }
        let closing = Instant::now();
        if let Err(error) = self.until_ready(&gate, row.as_ref()) {
            return Err(match self.take_back(&gate) {
                Ok(()) => error.with_state(Way::There.taken_back()),
                Err(second) => {
                    log::error!("the cut-over could not be taken back: {second}; {}", second.hint());
                    error.with_state(Way::There.stuck())
                }
            });
        }
        self.open(name.is_some(), &gate, None)?;
        if row.is_none() {
            self.handover.report.write_stop = Some(closing.elapsed());
        }
        Ok(())
    }

    fn row(&mut self) -> Result<Option<CutoverRow>> {
        if !self.handover.ends.ledger.exists(&mut self.handover.to)? {
            return Ok(None);
        }
        self.handover.row()
    }

    fn phase(&mut self) -> Result<Option<Phase>> {
        let ledger = &self.handover.ends.ledger;
        if !ledger.exists(&mut self.handover.to)? {
            return Ok(None);
        }
        Ok(ledger.task(&mut self.handover.to)?.map(|task| task.phase))
    }

    fn must_be_in_sync(&mut self, begun: bool) -> Result<()> {
        let (state, allowed) = match self.phase()? {
            Some(Phase::InSync) => return Ok(()),
            // This far only a cut-over that was cut short, or a completion.
            Some(Phase::Completing) if begun => return Ok(()),
            Some(Phase::Completing) => ("being completed", "complete"),
            Some(Phase::Ended) => ("completed or stopped", "check"),
            Some(Phase::Reversed) => ("cut over already", "rollback, complete"),
            _ => ("not in sync yet", "run --until synced"),
        };
        Err(ErrorKind::IllegalState {
            action: "cutover".into(),
            state: state.into(),
            allowed: allowed.into(),
        }
        .into())
    }

    /// Looks whether all that follows can work and what the gate will change, and writes that down. When that fails, nothing is left
    /// on the source of what was tried there.
    fn begin(&mut self, channel: Option<&str>) -> Result<GateRecord> {
        let begun = self.look_and_note(channel);
        // 1062: another process just did the same, and the channel is its own now.
        let is_others = |error: &Error| error.server_error().is_some_and(|server| server.code == 1062);
        if let (Err(error), Some(channel), false) = (&begun, &self.channel, self.handover.options.dry_run)
            && !is_others(error)
            && let Err(error) = channel.forget(&StopToken::new())
        {
            log::warn!("what was tried on the source could not be removed: {error}");
        }
        begun.map_err(|error| error.with_state("Nothing was closed, and nothing was changed on the source."))
    }

    fn look_and_note(&mut self, channel: Option<&str>) -> Result<GateRecord> {
        self.preflight()?;
        self.accounts()?;
        // Both may take long.
        let gate = self.handover.plan_gate()?;
        if !self.handover.options.dry_run {
            let (journal, verified) = (self.handover.journal.clone(), self.handover.verified());
            journal.begin(&mut self.handover.to, &gate, channel, verified.as_ref())?;
        }
        Ok(gate)
    }

    /// Looks whether all that follows can work, and what the gate will change.
    fn preflight(&mut self) -> Result<()> {
        let (channel, earlier) = (&self.channel, &self.earlier);
        self.handover.step(StepName::Preflight, |run| {
            let mut saw = Vec::new();
            let databases = run.migration.databases(run.ends, run.stop)?;
            let closed = earlier.read(&mut run.to)?;
            if closed.as_ref().is_some_and(|row| row.gate.kind == GateKind::Hook)
                && run.hooks.opener.is_none()
            {
                return Err(Error::invalid(
                    "open-hook",
                    "missing",
                    "the command that had closed the target at the way back: --open-hook CMD",
                ));
            }
            if let Some(channel) = channel {
                saw.extend(channel.preflight(!run.options.dry_run, run.stop)?);
            }
            run.look_at_gate(&mut saw, databases)?;
            let since = compared_since(run, &mut saw)?;
            let pairs = table_pairs(run.ends, run.stop)?;
            saw.extend(run.approach(&since, pairs)?);
            Ok(saw)
        })
    }

    /// The accounts, before the gate: it may rename those of the source, and nobody waits for the logins.
    fn accounts(&mut self) -> Result<()> {
        if !self.handover.migration.options.objects.accounts {
            return Ok(());
        }
        self.handover.step(StepName::Accounts, |run| {
            let readiness = accounts::readiness(run.migration.options(), run.ends, run.options, run.stop)?;
            if !run.options.ignore_accounts && !run.options.dry_run && !readiness.obstacles.is_empty() {
                let count = readiness.obstacles.len();
                let why = format!(
                    "{count} accounts cannot log in on the target: {}",
                    readiness.obstacles.join("; ")
                );
                return Err(run.stopped(why).with_hint(
                    "`dts accounts NAME` shows each account and what to run on the target; \
                     --ignore-accounts goes on without them.",
                ));
            }
            Ok(readiness.saw)
        })
    }

    /// Closes the gate, and goes on until the target is as the source was.
    fn until_ready(&mut self, record: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let run = &mut self.handover;
        let end = run.until_drained(record)?;
        let pairs = table_pairs(run.ends, run.stop)?;
        run.verify(begun, &end, pairs)?;
        run.drained()?;
        // Nothing more is to come; whatever came would meet the triggers that are made now.
        run.applying.stop();
        run.pass("drained");
        run.raise_counters()?;
        run.step(StepName::Objects, |run| {
            // From here on no change may be applied any more: it would fire the triggers.
            run.ends.ledger.set_phase(&mut run.to, Phase::Completing)?;
            run.pass("completing");
            // The gate had disabled the events on the source, and they come over so.
            let report = run.migration.structure(run.ends).create_held_back(run.stop)?;
            run.report.rewrites.clone_from(&report.rewrites);
            Ok(vec![format!("{} triggers and {} events created", report.triggers, report.events)])
        })?;
        if let Some(channel) = &self.channel {
            self.handover.step(StepName::Reverse, |run| channel.begin(run.stop))?;
        }
        Ok(())
    }

    /// From here on nothing is taken back. `begun`: the row of a call that was cut short here.
    fn open(&mut self, reverse: bool, record: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let opened = self.open_staged(reverse, record, begun);
        opened.map_err(|error| error.with_state(self.handover.while_opening()))
    }

    fn open_staged(&mut self, reverse: bool, record: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let earlier = self.earlier.clone();
        self.handover.step(StepName::Open, |run| {
            let position = server::binlog_position(&mut run.to, run.ends.target.facts())?.unwrap_or_default();
            let journal = run.journal.clone();
            if run.report.target_position.is_none() {
                journal.opening(&mut run.to, &position)?;
                run.report.target_position = Some(position);
                run.pass("opening");
            }
            let phase = if reverse { Phase::Reversed } else { Phase::Ended };
            run.ends.ledger.set_phase(&mut run.to, phase)?;
            run.pass("ended");
            let mut saw = begun.map(|row| run.close_again(row)).transpose()?.unwrap_or_default();
            let refused = "If the account may not, open the target in its console (or SET GLOBAL read_only = 0) before that.";
            if let Some(closed) = earlier.read(&mut run.to)? {
                let (mut target, facts) = (run.ends.target.control(run.stop)?, run.ends.target.facts());
                let opened = run.reopen(facts, &mut target, &closed.gate);
                saw.extend(opened.map_err(|error| error.on(Side::Target).with_hint(refused))?);
            }
            let was_closed = gate::is_read_only(&mut run.to)?;
            if was_closed {
                run.to
                    .execute("SET GLOBAL read_only = 0", "opening the target")
                    .map_err(|error| error.on(Side::Target).with_hint(refused))?;
            }
            run.is_open = true;
            run.pass("opened");
            saw.extend(enable_events(run, record)?);
            run.pass("events");
            journal.done(&mut run.to, &earlier)?;
            let position = run.report.target_position.clone().unwrap_or_default();
            saw.extend([
                format!("the target {}", if was_closed { "was opened" } else { "is open" }),
                format!("its own position was {position}"),
            ]);
            Ok(saw)
        })
    }

    /// Makes the source what it was before: the changes that the record names are undone, then the row is removed.
    fn take_back(&mut self, record: &GateRecord) -> Result<()> {
        let run = &mut self.handover;
        // The wish to stop must not keep us from it, nor a connection that broke.
        let stop = StopToken::new();
        run.from = run.ends.source.control(&stop)?;
        run.to = run.ends.target.control(&stop)?;
        run.journal.taking_back(&mut run.to)?;
        run.pass("taking_back");
        run.migration.withdraw(run.ends, self.channel.as_ref(), &stop)?;
        run.pass("withdrawn");
        if let (GateKind::Hook, Some(hook)) = (record.kind, run.hooks.gate) {
            hook.open()?;
        }
        run.open_gate(record)?;
        run.pass("reopened");
        run.journal.remove(&mut run.to)
    }
}

/// Lets the events that the gate had stopped on the source run on the target, each under the definer that it had before: what they
/// write goes where the application's writes go, so not before the target is open. Those of others are left alone.
fn enable_events(run: &mut Handover<'_>, record: &GateRecord) -> Result<Vec<String>> {
    let ours = run.ends.ledger.objects(&mut run.to, ObjectKind::Event)?;
    let route = &run.ends.transform.route;
    let events: Vec<HeldEvent> = record
        .events
        .iter()
        .map(|event| HeldEvent {
            name: TableName::new(route.target_database(&event.name.database), &event.name.table),
            definer: event.definer.clone(),
        })
        .filter(|event| ours.contains(&event.name))
        .collect();
    Gate::new(run.ends.target.facts(), &[])
        .switch_events(&mut run.to, &events, EventStatus::Enable)
        .map_err(|error| error.on(Side::Target))
}

/// Returns from where on rows may differ from what the last check saw; says what there was.
fn compared_since(run: &mut Handover<'_>, saw: &mut Vec<String>) -> Result<GtidSet> {
    match run.last_check(saw)? {
        Some(since) => Ok(since),
        None if run.options.require_clean_check => {
            Err(run.stopped("no check has found both sides equal yet".into()).with_hint(COMPARE))
        }
        None => {
            saw.push(
                "NO check has found both sides equal: only what is written from now on is compared".into(),
            );
            server::gtid_committed(&mut run.from)
        }
    }
}

impl Migration {
    pub(super) fn structure<'e>(&self, ends: &'e Ends) -> Structure<'e> {
        Structure::new(&ends.source, &ends.target, &ends.ledger, &ends.transform, self.options.objects)
    }

    /// Returns the selected databases of the source.
    pub(super) fn databases(&self, ends: &Ends, stop: &StopToken) -> Result<Vec<String>> {
        let all = server::catalog::databases(&mut ends.source.control(stop)?)?;
        Ok(all
            .into_iter()
            .map(|database| database.name)
            .filter(|name| ends.transform.selection.selects_database(name))
            .collect())
    }
}
