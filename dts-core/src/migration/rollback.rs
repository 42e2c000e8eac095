//! The way back: the cut-over mirrored. The writers leave the target, the reverse channel is drained, the source is opened.
//!
//! # Why there are never two writable sides, and nothing is lost
//! As for the cut-over (see [`crate::cutover`]): the target is opened again only in a phase before
//! [`Opening`](CutoverPhase::Opening), the source only after that phase is durable. Then the channel's end becomes the position of the
//! other direction: all that the source has at that moment came from the target or is there already, so the task goes on
//! syncing from there. That position is written down with the phase, before anybody can write on the source.
use std::time::Instant;

use crate::cutover::{CutoverOptions, CutoverReport, StepName, gate};
use crate::data::{GateKind, GateRecord, GtidSet, Position};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::server;
use crate::stop::StopToken;
use crate::target::clean_check;
use crate::target::journal::{CutoverJournal, CutoverPhase, CutoverRow};
use crate::target::ledger::Phase;
use crate::target::watch_mark;

use super::handover::{Handover, Hooks};
use super::reverse::Channel;
use super::way::Way;
use super::{Ends, Migration};

impl Migration {
    /// Moves the writers back from the target to the source, while the reverse channel runs. Afterwards the task is in sync as it
    /// was before the cut-over.
    ///
    /// With `apply_here` the channel runs in this call; without it another process is expected to run it. A way back that was cut
    /// short goes on where the journal says.
    ///
    /// # Errors
    /// [`ErrorKind::CutOver`] with what both sides are in; everything that was changed is taken back then, unless the source was
    /// already about to be opened. [`ErrorKind::IllegalState`] without a reverse channel.
    pub fn rollback(
        &self,
        options: &CutoverOptions,
        hooks: Hooks<'_>,
        apply_here: bool,
        stop: &StopToken,
    ) -> Result<CutoverReport> {
        self.rollback_staged(options, hooks, apply_here, stop).map_err(|error| error.in_stage(Stage::CutOver))
    }

    fn rollback_staged(
        &self,
        options: &CutoverOptions,
        hooks: Hooks<'_>,
        apply_here: bool,
        stop: &StopToken,
    ) -> Result<CutoverReport> {
        let there = self.connect(stop)?;
        let mut target = there.target.control(stop)?;
        let back = CutoverJournal::of_rollback(&self.options.name);
        let row = if there.ledger.exists(&mut target)? { back.read(&mut target)? } else { None };
        if let Some(row) = row.as_ref().filter(|row| row.phase == CutoverPhase::Done) {
            let cutover = CutoverJournal::new(self.options.name.clone()).read(&mut target)?;
            if cutover.is_none() {
                return Ok(done_before(row.clone(), &there));
            }
        }
        if there.ledger.task(&mut target)?.is_some_and(|task| task.phase == Phase::Ended) {
            return Err(ErrorKind::IllegalState {
                action: "rollback".into(),
                state: "completed or stopped".into(),
                allowed: "nothing, the task has ended".into(),
            }
            .into());
        }
        let channel = self.channel(&there, stop)?;
        let mut phase = channel.phase(stop)?;
        if let Some(row) = row.filter(|row| row.phase < CutoverPhase::Opening) {
            Way::Back.refuse_other_gate(&row.gate, options, &hooks)?;
            if phase == Some(Phase::Completing) && !options.dry_run {
                // Somebody may have written since: that must be applied, and the source's triggers must not fire.
                withdraw(&channel, stop).map_err(|error| error.with_state(Way::Back.not_taken_back()))?;
                phase = Some(Phase::InSync);
            }
        }
        let applies = apply_here && phase == Some(Phase::InSync);
        let applying = stop.child();
        channel.beside(&self.options.apply, applies, (stop, &applying), |stop| {
            let mut run = RollbackRun::new(self, &there, &channel, options, hooks, (stop, &applying))?;
            run.whole()?;
            Ok(run.handover.report)
        })
    }

    /// Takes a way back that was cut short back: applications write on the target again.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when none was begun, or the source was already about to be opened.
    pub fn take_back_rollback(&self, hooks: Hooks<'_>, stop: &StopToken) -> Result<()> {
        let there = self.connect(stop)?;
        let channel = self.channel(&there, stop)?;
        let options = CutoverOptions::new(GateKind::None);
        let mut run = RollbackRun::new(self, &there, &channel, &options, hooks, (stop, stop))?;
        let row = run.handover.row()?.filter(|row| row.phase < CutoverPhase::Opening).ok_or_else(|| {
            Error::from(ErrorKind::IllegalState {
                action: "take the way back back".into(),
                state: "without a way back that could be taken back".into(),
                allowed: "rollback, check".into(),
            })
        })?;
        if row.gate.kind == GateKind::Hook && hooks.gate.is_none() {
            return Err(Error::invalid("gate", "missing", "the command that closed it: --gate hook=CMD"));
        }
        run.take_back(&row.gate)
            .map_err(|error| error.in_stage(Stage::CutOver).with_state(Way::Back.not_taken_back()))
    }
}

/// Undoes what a way back has made on the source for the time after it: changes can be applied there again. Nobody may write
/// there. Can be repeated.
fn withdraw(channel: &Channel, stop: &StopToken) -> Result<()> {
    channel.hold_triggers(stop)?;
    let mut source = channel.ends.target.control(stop).map_err(Error::mirrored)?;
    channel.ends.ledger.set_phase(&mut source, Phase::InSync).map_err(Error::mirrored)
}

fn done_before(row: CutoverRow, there: &Ends) -> CutoverReport {
    let log_name = there.target.facts().log_name();
    CutoverReport {
        resumed: true,
        source_position: row.opened_position,
        target_position: row.end_position.map(|end| end.shown(log_name).to_string()),
        ..CutoverReport::default()
    }
}

/// One way back under way.
struct RollbackRun<'a> {
    handover: Handover<'a>,
    /// The ends in the direction of the task.
    there: &'a Ends,
    channel: &'a Channel,
    /// Says how the source was closed.
    cutover: CutoverJournal,
}

impl<'a> RollbackRun<'a> {
    fn new(
        migration: &'a Migration,
        there: &'a Ends,
        channel: &'a Channel,
        options: &'a CutoverOptions,
        hooks: Hooks<'a>,
        stops: (&'a StopToken, &'a StopToken),
    ) -> Result<Self> {
        Ok(RollbackRun {
            handover: Handover::new(migration, Way::Back, &channel.ends, options, hooks, stops)?,
            there,
            channel,
            cutover: CutoverJournal::new(migration.options.name.clone()),
        })
    }

    fn whole(&mut self) -> Result<()> {
        let row = self.handover.row()?;
        let closed = self.cutover.read(&mut self.handover.from)?;
        let Some(closed) = closed.filter(|row| row.phase == CutoverPhase::Done) else {
            return Err(ErrorKind::IllegalState {
                action: "rollback".into(),
                state: "in the middle of a cut-over".into(),
                allowed: "cutover (goes on)".into(),
            }
            .into());
        };
        self.handover.report.resumed = row.is_some();
        if let Some(row) = row.clone().filter(|row| row.phase >= CutoverPhase::Opening) {
            let log_name = self.handover.ends.source.facts().log_name();
            self.handover.report.target_position =
                row.end_position.clone().map(|end| end.shown(log_name).to_string());
            self.handover.report.source_position.clone_from(&row.opened_position);
            return self.open(&closed.gate, Some(&row));
        }
        let gate = match &row {
            Some(row) => row.gate.clone(),
            None => {
                let planned = self.preflight(&closed.gate).and_then(|()| self.handover.plan_gate());
                planned.map_err(|error| error.with_state("Nothing was changed."))?
            }
        };
        if self.handover.options.dry_run {
            return Ok(());
        }
        if row.is_none() {
            let journal = self.handover.journal.clone();
            let verified = self.handover.verified();
            journal.begin(&mut self.handover.from, &gate, None, verified.as_ref())?;
            self.handover.pass("begun");
        }
        let closing = Instant::now();
        if let Err(error) = self.until_ready(&gate, row.as_ref()) {
            return Err(match self.take_back(&gate) {
                Ok(()) => error.with_state(Way::Back.taken_back()),
                Err(second) => {
                    log::error!("the way back could not be taken back: {second}; {}", second.hint());
                    error.with_state(Way::Back.stuck())
                }
            });
        }
        self.open(&closed.gate, None)?;
        if row.is_none() {
            self.handover.report.write_stop = Some(closing.elapsed());
        }
        Ok(())
    }

    fn preflight(&mut self, closed: &GateRecord) -> Result<()> {
        let (channel, there) = (self.channel, self.there);
        self.handover.step(StepName::Preflight, |run| {
            let phase = channel.phase(run.stop)?;
            if phase != Some(Phase::InSync) {
                let why = "the source has no record of the reverse channel: it was removed there by hand, or the source was restored";
                return Err(run.stopped(why.into()));
            }
            if closed.kind == GateKind::Hook && run.hooks.opener.is_none() {
                return Err(Error::invalid(
                    "open-hook",
                    "missing",
                    "the command that had closed the source at the cut-over: --open-hook CMD",
                ));
            }
            let mut databases = Vec::new();
            for database in run.migration.databases(there, run.stop)? {
                databases.extend(there.transform.route.target_databases(&database));
            }
            databases.sort_unstable();
            databases.dedup();
            let mut saw = Vec::new();
            run.look_at_gate(&mut saw, databases)?;
            let since = compared_since(run, &mut saw)?;
            saw.extend(run.approach(&since, channel.pairs())?);
            saw.push(match closed.kind {
                GateKind::ReadOnly => "the source will be opened: read_only is switched off there".into(),
                GateKind::LockAccounts => {
                    format!("the source will be opened: {} accounts are unlocked there", closed.accounts.len())
                }
                GateKind::Hook => "the source will be opened by its command".into(),
                GateKind::None => "the source must be opened by you afterwards: you had closed it".into(),
            });
            Ok(saw)
        })
    }

    fn until_ready(&mut self, record: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let (run, channel) = (&mut self.handover, self.channel);
        let end = run.until_drained(record)?;
        run.verify(begun, &end, channel.pairs())?;
        run.drained()?;
        // Nothing more is to come; whatever came would meet the triggers that are made now.
        run.applying.stop();
        run.pass("drained");
        run.raise_counters()?;
        run.step(StepName::Objects, |run| {
            // From here on no change may be applied any more: it would fire the triggers.
            run.ends.ledger.set_phase(&mut run.to, Phase::Completing)?;
            run.pass("completing");
            let restored = channel.restore_triggers(run.stop)?;
            let mut saw = vec![format!("{} triggers are on the source again", restored.triggers)];
            saw.extend(restored.rewrites.iter().cloned());
            run.report.rewrites = restored.rewrites;
            Ok(saw)
        })
    }

    /// From here on nothing is taken back. `begun`: the row of a call that was cut short here.
    fn open(&mut self, closed: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let opened = self.open_staged(closed, begun);
        opened.map_err(|error| error.with_state(self.handover.while_opening()))
    }

    fn open_staged(&mut self, closed: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let (there, channel, cutover) = (self.there, self.channel, self.cutover.clone());
        self.handover.step(StepName::Open, |run| {
            let journal = run.journal.clone();
            if run.report.source_position.is_none() {
                let position = server::gtid_visible(&mut run.to, run.options.patience, run.stop)?;
                let position = Position::Gtid(position).to_string();
                journal.opening(&mut run.from, &position)?;
                run.report.source_position = Some(position);
                run.pass("opening");
            }
            let text = run.report.source_position.clone().unwrap_or_default();
            let position = text.parse::<Position>()?;
            let Some(position) = position.gtid_set() else {
                return Err(Error::internal("a position of the source that is no set"));
            };
            // Changes will be applied to the target again.
            run.migration.structure(there).drop_held_back(run.stop)?;
            run.pass("dropped");
            take_over(there, position, run.stop)?;
            run.pass("taken_over");
            let mut saw = begun.map(|row| run.close_again(row)).transpose()?.unwrap_or_default();
            let (mut source, facts) = (there.source.control(run.stop)?, there.source.facts());
            let opened = run.reopen(facts, &mut source, closed);
            saw.extend(opened.map_err(|error| {
                error
                    .on(Side::Source)
                    .with_hint("If the account may not, open the source in its console before that.")
            })?);
            run.is_open = true;
            run.pass("opened");
            let is_closed = gate::is_read_only(&mut source)?;
            // Only now: until here everybody but a rollback is refused.
            there.ledger.set_phase(&mut run.from, Phase::InSync)?;
            run.pass("ended");
            // Before the last row that names the channel is gone.
            channel.forget(run.stop)?;
            run.pass("forgotten");
            journal.done(&mut run.from, &cutover)?;
            saw.extend([
                if is_closed {
                    "the source is read-only, as it was before the cut-over".to_owned()
                } else {
                    "the source is open".to_owned()
                },
                format!("its own position was {}", Position::Gtid(position.clone()).shown(facts.log_name())),
                "the target stays closed and follows the source again".to_owned(),
            ]);
            Ok(saw)
        })
    }

    /// Makes the target what it was before.
    fn take_back(&mut self, record: &GateRecord) -> Result<()> {
        let (run, channel) = (&mut self.handover, self.channel);
        // The wish to stop must not keep us from it, nor a connection that broke.
        let stop = StopToken::new();
        run.from = run.ends.source.control(&stop)?;
        run.to = run.ends.target.control(&stop)?;
        run.journal.taking_back(&mut run.from)?;
        run.pass("taking_back");
        withdraw(channel, &stop)?;
        run.pass("withdrawn");
        if let (GateKind::Hook, Some(hook)) = (record.kind, run.hooks.gate) {
            hook.open()?;
        }
        run.open_gate(record)?;
        run.pass("reopened");
        run.journal.remove(&mut run.from)
    }
}

/// Returns from where on rows may differ from what the last check saw, be it the one before the cut-over; says what there was.
fn compared_since(run: &mut Handover<'_>, saw: &mut Vec<String>) -> Result<GtidSet> {
    if let Some(since) = run.last_check(saw)? {
        return Ok(since);
    }
    // The journal's side, where the check before the cut-over is.
    let name = run.migration_name();
    let earlier = clean_check::read(&mut run.from, name)?;
    saw.push(if earlier.is_some_and(|last| last.is_clean) {
        "both sides were compared at the cut-over; what was written since is compared now".into()
    } else {
        "NO check has found both sides equal: only what was written since the cut-over is compared".into()
    });
    let begun = run.ends.ledger.task(&mut run.to)?.map(|task| task.start_position);
    begun
        .as_ref()
        .and_then(Position::gtid_set)
        .cloned()
        .ok_or_else(|| Error::internal("a reverse channel without a beginning"))
}

/// Lets the task go on from the source's position: everything in it is on the target.
fn take_over(there: &Ends, position: &GtidSet, stop: &StopToken) -> Result<()> {
    let mut target = there.target.control(stop)?;
    let applied = there.ledger.checkpoint(&mut target)?.applied.union(position);
    there.ledger.gather_checkpoint(&mut target, &applied, 0)?;
    if there.target.facts().has_gtids() {
        // What the application wrote there was no stranger's.
        let executed = server::gtid_executed(&mut target)?;
        watch_mark::write(&mut target, there.ledger.task_name(), &executed)?;
    }
    Ok(())
}
