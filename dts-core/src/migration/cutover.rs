//! The cut-over: its pieces from [`crate::cutover`] in order, with what the other stages add.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cutover::gate::{self, Gate};
use crate::cutover::{AppSession, CutoverOptions, CutoverReport, CutoverStep, StepName, counters};
use crate::data::{GateKind, GateRecord, GtidSet, Position, TableName};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::server;
use crate::source::start_position;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::target::journal::{CutoverJournal, CutoverPhase, CutoverRow};
use crate::target::ledger::Phase;
use crate::wire::Connection;

use super::{Ends, Migration, accounts, table_pairs};

/// How often a position or the list of sessions is read again while a step waits.
const POLL: Duration = Duration::from_millis(10);

/// How many looks in a row must see no session: one that is inside a trigger may be shown under another name.
const EMPTY_LOOKS: u32 = 5;
/// A target that needs no longer than this for what the source has at one moment follows closely.
const CLOSE: Duration = Duration::from_millis(200);

/// What the embedding program does when the gate is [`GateKind::Hook`].
pub trait GateHook: Sync {
    /// Keeps applications from writing on the source; lines for people.
    ///
    /// # Errors
    /// Whatever kept it from that; the cut-over is taken back then.
    fn close(&self) -> Result<Vec<String>>;

    /// Lets them write there again. May be called without a `close` before it, and more than once.
    ///
    /// # Errors
    /// Whatever kept it from that.
    fn open(&self) -> Result<Vec<String>>;
}

impl Migration {
    /// Moves the writers from the source to the target. Each step is told to `observer` as soon as it is done.
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
        hook: Option<&dyn GateHook>,
        apply_here: bool,
        stop: &StopToken,
        observer: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport> {
        let ends = self.connect(stop)?;
        let mut target = ends.target.control(stop)?;
        let task = if ends.ledger.exists(&mut target)? { ends.ledger.task(&mut target)? } else { None };
        // Once triggers are being created no change may be applied any more.
        let applies = apply_here && task.is_some_and(|task| task.phase == Phase::InSync);
        self.beside_applier(&ends, applies, stop, |stop| {
            let mut run = CutoverRun::new(self, &ends, options, hook, stop, observer)?;
            run.whole().map_err(|error| error.in_stage(Stage::CutOver))?;
            Ok(run.report)
        })
    }

    /// Takes a cut-over back that was cut short: applications write on the source again.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] when none was begun, or the target was already about to be opened.
    pub fn take_back_cutover(&self, hook: Option<&dyn GateHook>, stop: &StopToken) -> Result<()> {
        let ends = self.connect(stop)?;
        let options = CutoverOptions::new(GateKind::None);
        let mut run = CutoverRun::new(self, &ends, &options, hook, stop, &|_| {})?;
        let row = run.row()?.filter(|row| row.phase < CutoverPhase::Opening).ok_or_else(|| {
            Error::from(ErrorKind::IllegalState {
                action: "take the cut-over back".into(),
                state: "without a cut-over that could be taken back".into(),
                allowed: "cutover, check".into(),
            })
        })?;
        if row.gate.kind == GateKind::Hook && hook.is_none() {
            return Err(Error::invalid("gate", "missing", "the command that closed it: --gate hook=CMD"));
        }
        run.take_back(&row.gate).map_err(|error| error.in_stage(Stage::CutOver))
    }
}

/// One cut-over under way.
struct CutoverRun<'a> {
    migration: &'a Migration,
    ends: &'a Ends,
    options: &'a CutoverOptions,
    hook: Option<&'a dyn GateHook>,
    stop: &'a StopToken,
    observer: &'a dyn Fn(&CutoverStep),
    journal: CutoverJournal,
    source: Connection,
    target: Connection,
    /// All sessions that were seen to be an application's, with their users.
    sessions: BTreeMap<u64, String>,
    report: CutoverReport,
}

impl<'a> CutoverRun<'a> {
    fn new(
        migration: &'a Migration,
        ends: &'a Ends,
        options: &'a CutoverOptions,
        hook: Option<&'a dyn GateHook>,
        stop: &'a StopToken,
        observer: &'a dyn Fn(&CutoverStep),
    ) -> Result<Self> {
        Ok(CutoverRun {
            migration,
            ends,
            options,
            hook,
            stop,
            observer,
            journal: CutoverJournal::new(migration.options.name.clone()),
            source: ends.source.control(stop)?,
            target: ends.target.control(stop)?,
            sessions: BTreeMap::new(),
            report: CutoverReport { dry_run: options.dry_run, ..CutoverReport::default() },
        })
    }

    fn whole(&mut self) -> Result<()> {
        let row = self.row()?;
        self.report.resumed = row.is_some();
        if let Some(row) = row.clone().filter(|row| row.phase >= CutoverPhase::Opening) {
            self.report.source_position = row.end_position.map(|end| end.to_string());
            self.report.target_position = row.opened_position;
            return self.open();
        }
        let begun = row;
        self.must_be_in_sync(begun.is_some())?;
        let gate = match &begun {
            Some(row) => row.gate.clone(),
            None => {
                let gate = self.preflight()?;
                self.accounts()?;
                gate
            }
        };
        if self.options.dry_run {
            return Ok(());
        }
        if begun.is_none() {
            self.journal.begin(&mut self.target, &gate)?;
        }
        let closing = Instant::now();
        if let Err(error) = self.until_drained(&gate, begun.as_ref()) {
            return Err(match self.take_back(&gate) {
                Ok(()) => error.with_hint(
                    "The gate was opened again: applications write on the source as before, the task goes on syncing. Mend the \
                     cause and run the cut-over again.",
                ),
                Err(second) => {
                    log::error!("the cut-over could not be taken back: {second}");
                    error.with_hint(
                        "The gate could not be opened again either (see the log): the source may be closed for applications, \
                         the target is not open. Run the cut-over again to go on, or take it back with --abort.",
                    )
                }
            });
        }
        self.open()?;
        if begun.is_none() {
            self.report.write_stop = Some(closing.elapsed());
        }
        Ok(())
    }

    fn row(&mut self) -> Result<Option<CutoverRow>> {
        if !self.ends.ledger.exists(&mut self.target)? {
            return Ok(None);
        }
        self.journal.read(&mut self.target)
    }

    fn must_be_in_sync(&mut self, begun: bool) -> Result<()> {
        let phase = if self.ends.ledger.exists(&mut self.target)? {
            self.ends.ledger.task(&mut self.target)?.map(|task| task.phase)
        } else {
            None
        };
        let (state, allowed) = match phase {
            Some(Phase::InSync) => return Ok(()),
            // This far only a cut-over that was cut short, or a completion.
            Some(Phase::Completing) if begun => return Ok(()),
            Some(Phase::Ended) => ("completed or stopped", "check"),
            _ => ("not in sync yet", "run --until synced"),
        };
        Err(ErrorKind::IllegalState {
            action: "cutover".into(),
            state: state.into(),
            allowed: allowed.into(),
        }
        .into())
    }

    /// Runs one step, keeps what it saw, and tells it.
    fn step(&mut self, name: StepName, work: impl FnOnce(&mut Self) -> Result<Vec<String>>) -> Result<()> {
        self.stop.check()?;
        let begun = Instant::now();
        let saw = work(self)?;
        let step = CutoverStep { name, saw, took: begun.elapsed() };
        (self.observer)(&step);
        self.report.steps.push(step);
        Ok(())
    }

    /// Looks whether all that follows can work, and what the gate will change.
    fn preflight(&mut self) -> Result<GateRecord> {
        let mut planned = None;
        self.step(StepName::Preflight, |run| {
            let mut saw = Vec::new();
            if run.options.gate == GateKind::Hook && run.hook.is_none() {
                return Err(Error::invalid("gate", "hook", "a gate with its command"));
            }
            let prepared = start_position::prepared_count(&mut run.source)?;
            if prepared > 0 {
                return Err(run.stopped(format!(
                    "{prepared} prepared XA transactions are open on the source (XA RECOVER lists them)"
                )));
            }
            saw.push(format!("the target follows within {:.2} s", run.catch_up()?.as_secs_f64()));
            let databases = run.databases()?;
            let gate = Gate::new(run.ends.source.facts(), &run.options.keep);
            let record = gate.plan(&mut run.source, run.options.gate, &databases)?;
            saw.push(format!("gate: {}", record.kind));
            if record.was_read_only {
                saw.push("the source is read-only already".into());
            }
            saw.extend(record.accounts.iter().map(|held| match &held.renamed_to {
                None => format!("account {} will be locked", held.account),
                Some(name) => format!("account {} will be held under the name '{name}'", held.account),
            }));
            saw.extend(
                record.events.iter().map(|event| format!("event {event} will be disabled on the source")),
            );
            let sessions = gate.application_sessions(&mut run.source, &mut run.sessions)?;
            saw.push(format!("{} sessions of applications on the source", sessions.len()));
            saw.extend(sessions.iter().map(AppSession::to_string));
            let closed = gate::is_read_only(&mut run.target)?;
            saw.push(format!("the target is {}", if closed { "read-only" } else { "open" }));
            planned = Some(record);
            Ok(saw)
        })?;
        planned.ok_or_else(|| Error::internal("preflight planned no gate"))
    }

    /// The accounts, before the gate: it may rename those of the source, and nobody waits for the logins.
    fn accounts(&mut self) -> Result<()> {
        if !self.migration.options.objects.accounts {
            return Ok(());
        }
        self.step(StepName::Accounts, |run| {
            let readiness = accounts::readiness(run.migration.options(), run.ends, run.options, run.stop)?;
            if !run.options.ignore_accounts && !run.options.dry_run && !readiness.obstacles.is_empty() {
                let count = readiness.obstacles.len();
                let why = format!("{count} accounts cannot log in on the target: {}", readiness.obstacles.join("; "));
                return Err(run.stopped(why).with_hint(
                    "Nothing was changed on the source. `dts accounts NAME` shows each account and what to run on the target; \
                     --ignore-accounts goes on without them.",
                ));
            }
            Ok(readiness.saw)
        })
    }

    /// Waits until the target follows closely, so that little is left to drain while nobody may write.
    fn catch_up(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let now = server::gtid_visible(&mut self.source, Duration::from_secs(1), self.stop)?;
            let asked = Instant::now();
            self.wait_applied(&now, self.options.max_lag).map_err(|error| {
                error.with_hint(
                    "The target is too far behind: wait until `dts status` shows a small lag, or raise --max-lag.",
                )
            })?;
            let took = asked.elapsed();
            if took <= CLOSE || begun.elapsed() >= self.options.max_lag {
                return Ok(took);
            }
        }
    }

    /// Closes the gate, and goes on until the target has everything.
    fn until_drained(&mut self, record: &GateRecord, begun: Option<&CutoverRow>) -> Result<()> {
        let phase = begun.map_or(CutoverPhase::Gating, |row| row.phase);
        self.step(StepName::Gate, |run| {
            let gate = Gate::new(run.ends.source.facts(), &run.options.keep);
            gate.close(&mut run.source, record)?;
            let mut saw = vec![match record.kind {
                GateKind::ReadOnly => "the source is read-only".to_owned(),
                GateKind::LockAccounts => format!("{} accounts are locked", record.accounts.len()),
                GateKind::Hook => "the hook was called".to_owned(),
                GateKind::None => "nothing to do: the operator closed it".to_owned(),
            }];
            if let (GateKind::Hook, Some(hook)) = (record.kind, run.hook) {
                saw.extend(hook.close()?);
            }
            Ok(saw)
        })?;
        self.step(StepName::Sessions, |run| run.end_sessions(record))?;
        let end =
            match begun.and_then(|row| row.end_position.clone()).filter(|_| phase >= CutoverPhase::Gated) {
                Some(end) => end,
                None => self.end_position()?,
            };
        self.report.source_position = Some(end.to_string());
        let Some(wanted) = end.gtid_set().cloned() else {
            return Err(ErrorKind::Unsupported { what: format!("to cut over at {end}") }.into());
        };
        self.step(StepName::Drain, |run| {
            run.wait_applied(&wanted, run.options.patience)?;
            run.journal.drained(&mut run.target)?;
            Ok(vec!["everything up to the end position is applied".into()])
        })?;
        self.step(StepName::Counters, |run| {
            let pairs: Vec<_> =
                table_pairs(run.ends, run.stop)?.into_iter().map(|pair| (pair.source, pair.target)).collect();
            let raised = counters::raise(&mut run.source, &mut run.target, &pairs)?;
            Ok(vec![match raised.len() {
                0 => "no counter was behind".to_owned(),
                count => format!("{count} counters were raised"),
            }])
        })?;
        self.step(StepName::Objects, |run| {
            // From here on no change may be applied any more: it would fire the triggers.
            run.ends.ledger.set_phase(&mut run.target, Phase::Completing)?;
            let report = run.structure().create_held_back(run.stop)?;
            for event in &record.events {
                // The gate had disabled it on the source, and it came over so.
                let target = run.ends.transform.route.target_database(&event.database);
                let name = TableName::new(target, &event.table);
                let sql = format!("ALTER EVENT {} ENABLE", quote::table(&name));
                match run.target.execute(sql, "enabling an event") {
                    // 1539: it takes no part, or ran for the last time.
                    Err(error) if error.server_error().is_some_and(|server| server.code == 1539) => {}
                    other => drop(other?),
                }
            }
            run.report.rewrites.clone_from(&report.rewrites);
            Ok(vec![format!("{} triggers and {} events created", report.triggers, report.events)])
        })
    }

    /// Ends the sessions of before and waits until they are gone: one that was in the middle of its COMMIT ends it first.
    fn end_sessions(&mut self, record: &GateRecord) -> Result<Vec<String>> {
        let gate = Gate::new(self.ends.source.facts(), &self.options.keep);
        // Behind `read_only` applications may come back, they cannot write; behind the other gates nobody may be left.
        let only_earlier = record.kind == GateKind::ReadOnly;
        let before = gate.application_sessions(&mut self.source, &mut self.sessions)?;
        let earlier = self.sessions.clone();
        let begun = Instant::now();
        let mut empty_looks = 0;
        while empty_looks < EMPTY_LOOKS {
            let mut left = gate.application_sessions(&mut self.source, &mut self.sessions)?;
            left.retain(|session| !only_earlier || earlier.contains_key(&session.id));
            if left.is_empty() {
                empty_looks += 1;
            } else {
                empty_looks = 0;
                if self.options.end_sessions {
                    gate::end_sessions(&mut self.source, &left)?;
                }
                if begun.elapsed() > self.options.patience {
                    let names: Vec<String> = left.iter().take(10).map(AppSession::to_string).collect();
                    return Err(self.stopped(format!(
                        "{} sessions of applications are left on the source: {}",
                        left.len(),
                        names.join("; ")
                    )));
                }
            }
            self.stop.sleep(POLL)?;
        }
        let mut saw = vec![format!("{} sessions ended, none is left", before.len())];
        saw.extend(before.iter().map(AppSession::to_string));
        Ok(saw)
    }

    fn end_position(&mut self) -> Result<Position> {
        let mut end = None;
        self.step(StepName::EndPosition, |run| {
            let begun = Instant::now();
            let mut last = server::gtid_visible(&mut run.source, Duration::from_secs(1), run.stop)?;
            loop {
                run.stop.sleep(POLL)?;
                let now = server::gtid_visible(&mut run.source, Duration::from_secs(1), run.stop)?;
                if now == last {
                    break;
                }
                // A managed source writes a heartbeat of its own every second; anything more is somebody who writes.
                if begun.elapsed() > run.options.patience {
                    return Err(
                        run.stopped("the source is still written: its position never stood still".into())
                    );
                }
                last = now;
            }
            let position = Position::Gtid(last);
            run.journal.gated(&mut run.target, &position)?;
            let saw = vec![format!("the source ends at {position}, read twice")];
            end = Some(position);
            Ok(saw)
        })?;
        end.ok_or_else(|| Error::internal("no end position"))
    }

    fn wait_applied(&mut self, wanted: &GtidSet, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let applied = self.ends.ledger.checkpoint(&mut self.target)?.applied;
            let missing = wanted.subtract(&applied);
            if missing.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > patience {
                return Err(self.stopped(format!(
                    "{} transactions are not applied after {:.0} s",
                    missing.count(),
                    patience.as_secs_f64()
                )));
            }
            self.stop.sleep(POLL)?;
        }
    }

    /// From here on nothing is taken back.
    fn open(&mut self) -> Result<()> {
        self.step(StepName::Open, |run| {
            let position = server::binlog_position(&mut run.target, run.ends.target.facts())?.unwrap_or_default();
            if run.report.target_position.is_none() {
                run.journal.opening(&mut run.target, &position)?;
                run.report.target_position = Some(position);
            }
            run.ends.ledger.set_phase(&mut run.target, Phase::Ended)?;
            let was_closed = gate::is_read_only(&mut run.target)?;
            if was_closed {
                run.target.execute("SET GLOBAL read_only = 0", "opening the target").map_err(|error| {
                    error.on(Side::Target).with_hint(
                        "The source is closed and everything is on the target. Switch the target's read-only off in its \
                         console (or SET GLOBAL read_only = 0), then run the cut-over again: it notes the rest.",
                    )
                })?;
            }
            run.journal.done(&mut run.target)?;
            let position = run.report.target_position.clone().unwrap_or_default();
            Ok(vec![
                format!("the target {}", if was_closed { "was opened" } else { "is open" }),
                format!("its own position was {position}"),
            ])
        })
    }

    /// Makes the source what it was before: the changes that the record names are undone, then the row is removed.
    fn take_back(&mut self, record: &GateRecord) -> Result<()> {
        // The wish to stop must not keep us from it, nor a connection that broke.
        let stop = StopToken::new();
        self.source = self.ends.source.control(&stop)?;
        self.target = self.ends.target.control(&stop)?;
        self.structure().drop_held_back(&stop)?;
        self.ends.ledger.set_phase(&mut self.target, Phase::InSync)?;
        if let (GateKind::Hook, Some(hook)) = (record.kind, self.hook) {
            hook.open()?;
        }
        Gate::new(self.ends.source.facts(), &self.options.keep).open(&mut self.source, record)?;
        self.journal.remove(&mut self.target)
    }

    fn structure(&self) -> Structure<'a> {
        Structure::new(
            &self.ends.source,
            &self.ends.target,
            &self.ends.ledger,
            &self.ends.transform,
            self.migration.options.objects,
        )
    }

    fn databases(&self) -> Result<Vec<String>> {
        let mut source = self.ends.source.control(self.stop)?;
        let all = server::catalog::databases(&mut source)?;
        Ok(all
            .into_iter()
            .map(|database| database.name)
            .filter(|name| self.ends.transform.selection.selects_database(name))
            .collect())
    }

    fn stopped(&self, why: String) -> Error {
        ErrorKind::CutOver { why }.into()
    }
}
