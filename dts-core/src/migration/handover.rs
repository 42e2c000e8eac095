//! What a cut-over and a rollback have in common: closing one side, and waiting until the other has everything.
//!
//! The ends are those of the direction in which changes flow: `from` is the side that is closed, `to` the side that will be
//! opened. The journal is on the task's target, whichever of the two that is.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::verify::Verifier;
use super::way::Way;
use super::{Ends, Migration, table_pairs};
use crate::checker::TablePair;
use crate::cutover::gate::{self, Gate};
use crate::cutover::session::{self, Remnants};
use crate::cutover::{AppSession, CutoverOptions, CutoverReport, CutoverStep, StepName, counters};
use crate::data::{GateKind, GateRecord, GtidSet, Position};
use crate::error::{Error, ErrorKind, Result};
use crate::server;
use crate::source::start_position;
use crate::stop::StopToken;
use crate::target::clean_check;
use crate::target::journal::{CutoverJournal, CutoverRow};
use crate::wire::Connection;

/// How often a position or the list of sessions is read again while a step waits.
const POLL: Duration = Duration::from_millis(10);
/// How many looks in a row must see no session: one that is inside a trigger may be shown under another name.
const EMPTY_LOOKS: u32 = 5;
/// How long a session that began to log in before the gate was closed is waited for. The server looks at the account's lock at the
/// end of that, so one that takes longer is refused.
const LOGIN_PATIENCE: Duration = Duration::from_millis(200);
/// A side that needs no longer than this for what the other has at one moment follows closely.
const CLOSE: Duration = Duration::from_millis(200);

/// What the embedding program does when a gate is [`GateKind::Hook`].
pub trait GateHook: Sync {
    /// Keeps applications from writing; lines for people. May be called when it has done that already.
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

/// What the embedding program adds to a cut-over or a rollback.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    /// Closes the side that is written now, when its gate is [`GateKind::Hook`], and opens it again when it is taken back.
    pub gate: Option<&'a dyn GateHook>,
    /// Opens the other side, when an earlier hand-over had closed it by a hook.
    pub opener: Option<&'a dyn GateHook>,
    /// Is told of each step as soon as it is done.
    pub observer: &'a dyn Fn(&CutoverStep),
    /// Is told the names of [`POINTS`](crate::cutover::POINTS) as they are passed: a test ends the process there.
    pub passing: &'a dyn Fn(&'static str),
}

impl<'a> Hooks<'a> {
    /// Only tells of steps.
    pub fn telling(observer: &'a dyn Fn(&CutoverStep)) -> Self {
        Hooks { gate: None, opener: None, observer, passing: &|_| {} }
    }
}

/// One hand-over under way.
pub(super) struct Handover<'a> {
    pub(super) migration: &'a Migration,
    pub(super) way: Way,
    /// In the direction in which changes flow.
    pub(super) ends: &'a Ends,
    pub(super) options: &'a CutoverOptions,
    pub(super) hooks: Hooks<'a>,
    pub(super) stop: &'a StopToken,
    /// Ends the applier of this call.
    pub(super) applying: &'a StopToken,
    pub(super) journal: CutoverJournal,
    pub(super) from: Connection,
    pub(super) to: Connection,
    /// The databases of the side that is closed whose events are disabled.
    databases: Vec<String>,
    /// All sessions that were seen to be an application's, with their users.
    sessions: BTreeMap<u64, String>,
    /// Compares what was touched.
    verifier: Option<Verifier<'a>>,
    /// The other side was opened by this call.
    pub(super) is_open: bool,
    pub(super) report: CutoverReport,
}

impl<'a> Handover<'a> {
    pub(super) fn new(
        migration: &'a Migration,
        way: Way,
        ends: &'a Ends,
        options: &'a CutoverOptions,
        hooks: Hooks<'a>,
        (stop, applying): (&'a StopToken, &'a StopToken),
    ) -> Result<Self> {
        let name = &migration.options.name;
        Ok(Handover {
            migration,
            way,
            ends,
            options,
            hooks,
            stop,
            applying,
            journal: match way {
                Way::There => CutoverJournal::new(name.clone()),
                Way::Back => CutoverJournal::of_rollback(name),
            },
            from: ends.source.control(stop)?,
            to: ends.target.control(stop)?,
            databases: Vec::new(),
            sessions: BTreeMap::new(),
            verifier: None,
            is_open: false,
            report: CutoverReport { dry_run: options.dry_run, ..CutoverReport::default() },
        })
    }

    /// The connection to the task's target, where the journal is.
    pub(super) fn records(&mut self) -> &mut Connection {
        match self.way {
            Way::There => &mut self.to,
            Way::Back => &mut self.from,
        }
    }

    pub(super) fn row(&mut self) -> Result<Option<CutoverRow>> {
        let journal = self.journal.clone();
        journal.read(self.records())
    }

    /// Passes a point at which a test may end the process.
    pub(super) fn pass(&self, point: &'static str) {
        (self.hooks.passing)(point);
    }

    /// Runs one step, keeps what it saw, and tells it.
    pub(super) fn step(
        &mut self,
        name: StepName,
        work: impl FnOnce(&mut Self) -> Result<Vec<String>>,
    ) -> Result<()> {
        self.stop.check()?;
        let begun = Instant::now();
        let saw = work(self)?;
        let step = CutoverStep { name, saw, took: begun.elapsed() };
        (self.hooks.observer)(&step);
        self.report.steps.push(step);
        self.pass(name.name());
        Ok(())
    }

    /// Looks whether the side can be closed, and what closing it will change. `databases`: those whose events are disabled.
    pub(super) fn look_at_gate(&mut self, saw: &mut Vec<String>, databases: Vec<String>) -> Result<()> {
        self.databases = databases;
        let (from, to) = (self.way.from(), self.way.to());
        if self.options.gate == GateKind::Hook && self.hooks.gate.is_none() {
            return Err(Error::invalid("gate", "hook", "a gate with its command"));
        }
        self.refuse_prepared()?;
        saw.push(format!("the {to} follows within {:.2} s", self.catch_up()?.as_secs_f64()));
        let record = self.plan_gate()?;
        saw.push(format!("gate: {}", record.kind));
        if record.was_read_only {
            saw.push(format!("the {from} is read-only already"));
        }
        saw.extend(record.accounts.iter().map(|held| match &held.renamed_to {
            None => format!("account {} will be locked", held.account),
            Some(name) => format!("account {} will be held under the name '{name}'", held.account),
        }));
        saw.extend(
            record.events.iter().map(|event| format!("event {} will be disabled on the {from}", event.name)),
        );
        let gate = Gate::new(self.ends.source.facts(), &self.options.keep);
        let sessions = gate.application_sessions(&mut self.from, &mut self.sessions)?;
        saw.push(format!("{} sessions of applications on the {from}", sessions.len()));
        saw.extend(sessions.iter().map(AppSession::to_string));
        saw.extend(gate.look_at_exempt(&mut self.from, record.kind, &sessions)?);
        let closed = gate::is_read_only(&mut self.to)?;
        saw.push(format!("the {to} is {}", if closed { "read-only" } else { "not read-only" }));
        Ok(())
    }

    /// Looks what closing the gate changes at this moment. An account that is made after that is not held.
    pub(super) fn plan_gate(&mut self) -> Result<GateRecord> {
        let gate = Gate::new(self.ends.source.facts(), &self.options.keep);
        gate.plan(&mut self.from, self.options.gate, &self.databases)
    }

    /// Opens the gate of a hand-over that is taken back.
    pub(super) fn open_gate(&mut self, record: &GateRecord) -> Result<()> {
        let gate = Gate::new(self.ends.source.facts(), &self.options.keep);
        for line in gate.open(&mut self.from, record)? {
            log::warn!("{line}");
        }
        Ok(())
    }

    /// A prepared transaction outlives its session and the gate, and is applied nowhere before its end.
    fn refuse_prepared(&mut self) -> Result<()> {
        let from = self.way.from();
        match start_position::prepared_count(&mut self.from)? {
            0 => Ok(()),
            1 => Err(self
                .stopped(format!("1 prepared XA transaction is open on the {from} (XA RECOVER lists it)"))),
            more => Err(self.stopped(format!(
                "{more} prepared XA transactions are open on the {from} (XA RECOVER lists them)"
            ))),
        }
    }

    /// Returns from where on rows may differ from what the last clean check in this direction saw; `None` without one. Says when
    /// that was.
    ///
    /// # Errors
    /// [`ErrorKind::CutOver`] when the last check found differences.
    pub(super) fn last_check(&mut self, saw: &mut Vec<String>) -> Result<Option<GtidSet>> {
        let Some(last) = clean_check::read(&mut self.to, self.ends.ledger.task_name())? else {
            return Ok(None);
        };
        if !last.is_clean {
            let why = format!("the last check, at {} UTC, found differences", last.at);
            return Err(self.stopped(why).with_hint(COMPARE));
        }
        saw.push(format!("the last clean check ({}) ended at {} UTC", last.mode, last.at));
        if last.mode == "partial" {
            saw.push("it compared a part of the rows: that the others are equal is NOT proven".into());
        }
        let since = last.position.gtid_set().cloned();
        since.map(Some).ok_or_else(|| Error::internal("a check at no GTID set"))
    }

    /// Prepares the comparison of what was touched after `since`, and compares along with the applier until little is left.
    pub(super) fn approach(&mut self, since: &GtidSet, pairs: Vec<TablePair>) -> Result<Vec<String>> {
        let mut verifier = Verifier::open(self.ends, pairs, since, self.stop).map_err(explain_purged)?;
        let saw = verifier.approach(self.ends, self.stop)?;
        self.verifier = Some(verifier);
        Ok(saw)
    }

    /// Returns up to where touched rows are compared, for a call that goes on after this one was cut short.
    pub(super) fn verified(&self) -> Option<Position> {
        self.verifier.as_ref().map(|verifier| Position::Gtid(verifier.told().clone()))
    }

    /// Compares the rest of what was touched: everything is applied and nobody may write. An earlier call that was cut short has
    /// compared up to what its row says.
    pub(super) fn verify(
        &mut self,
        begun: Option<&CutoverRow>,
        end: &GtidSet,
        pairs: Vec<TablePair>,
    ) -> Result<()> {
        self.step(StepName::Verify, |run| {
            let mut verifier = match run.verifier.take() {
                Some(verifier) => verifier,
                None => {
                    let since = begun
                        .and_then(|row| row.verified_position.as_ref())
                        .and_then(Position::gtid_set)
                        .ok_or_else(|| Error::internal("a hand-over that has compared nothing"))?;
                    Verifier::open(run.ends, pairs, since, run.stop).map_err(explain_purged)?
                }
            };
            verifier.finish(run.ends, end, run.stop)
        })
    }

    /// Waits until the other side follows closely, so that little is left to drain while nobody may write.
    fn catch_up(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let now = server::gtid_visible(&mut self.from, Duration::from_secs(1), self.stop)?;
            let asked = Instant::now();
            self.wait_applied(&now, self.options.max_lag).map_err(|error| {
                error.with_hint(
                    "It is too far behind: wait until `dts status` shows a small lag, or raise --max-lag.",
                )
            })?;
            let took = asked.elapsed();
            if took <= CLOSE || begun.elapsed() >= self.options.max_lag {
                return Ok(took);
            }
        }
    }

    /// Closes the gate and goes on until the other side has everything. Returns where this side ends.
    ///
    /// So does a call that goes on: what was noted of the end is not believed, the gate may have been open meanwhile.
    pub(super) fn until_drained(&mut self, record: &GateRecord) -> Result<GtidSet> {
        let from = self.way.from();
        self.step(StepName::Gate, |run| {
            let gate = Gate::new(run.ends.source.facts(), &run.options.keep);
            let closing = gate.close(&mut run.from, record)?;
            let mut saw = vec![match record.kind {
                GateKind::ReadOnly => format!("the {from} is read-only"),
                GateKind::LockAccounts => format!("{} accounts are locked", record.accounts.len()),
                GateKind::Hook => "the hook was called".to_owned(),
                GateKind::None => "nothing to do: the operator closed it".to_owned(),
            }];
            saw.extend(closing);
            if let (GateKind::Hook, Some(hook)) = (record.kind, run.hooks.gate) {
                saw.extend(hook.close()?);
            }
            Ok(saw)
        })?;
        self.step(StepName::Sessions, |run| run.end_sessions(record))?;
        let end = self.end_position()?;
        let shown = Some(end.clone().shown(self.ends.source.facts().log_name()).to_string());
        match self.way {
            Way::There => self.report.source_position = shown,
            Way::Back => self.report.target_position = shown,
        }
        let Some(wanted) = end.gtid_set().cloned() else {
            return Err(ErrorKind::Unsupported { what: format!("to hand over at {end}") }.into());
        };
        self.step(StepName::Drain, |run| {
            run.wait_applied(&wanted, run.options.patience)?;
            Ok(vec!["everything up to the end position is applied".into()])
        })?;
        Ok(wanted)
    }

    /// Writes down that everything is applied and was compared.
    pub(super) fn drained(&mut self) -> Result<()> {
        let journal = self.journal.clone();
        journal.drained(self.records())
    }

    /// Raises the AUTO_INCREMENT counters of the side that will be opened.
    pub(super) fn raise_counters(&mut self) -> Result<()> {
        self.step(StepName::Counters, |run| {
            let pairs: Vec<_> =
                table_pairs(run.ends, run.stop)?.into_iter().map(|pair| (pair.source, pair.target)).collect();
            let raised = counters::raise(&mut run.from, &mut run.to, &pairs)?;
            Ok(vec![match raised.len() {
                0 => "no counter was behind".to_owned(),
                count => format!("{count} counters were raised"),
            }])
        })
    }

    /// Ends the sessions of before and waits until they are gone: one that was in the middle of its COMMIT ends it first.
    fn end_sessions(&mut self, record: &GateRecord) -> Result<Vec<String>> {
        let gate = Gate::new(self.ends.source.facts(), &self.options.keep);
        // Behind `read_only` applications may come back, they cannot write, unless their privileges let them; behind the other gates
        // nobody may be left.
        let only_earlier = record.kind == GateKind::ReadOnly;
        let exempt = if only_earlier { gate.exempt_users(&mut self.from)? } else { BTreeSet::new() };
        let before = gate.application_sessions(&mut self.from, &mut self.sessions)?;
        let earlier = self.sessions.clone();
        // Whoever begins to log in from here on meets the gate.
        let logging_in: BTreeSet<u64> =
            before.iter().filter(|session| session.is_logging_in()).map(|session| session.id).collect();
        let begun = Instant::now();
        let (mut empty_looks, mut remnants) = (0, Remnants::default());
        while empty_looks < EMPTY_LOOKS {
            let mut left = gate.application_sessions(&mut self.from, &mut self.sessions)?;
            remnants.take_from(&mut left);
            let settles = begun.elapsed() <= LOGIN_PATIENCE;
            left.retain(|session| !session.is_logging_in() || (settles && logging_in.contains(&session.id)));
            left.retain(|session| {
                !only_earlier
                    || earlier.contains_key(&session.id)
                    || logging_in.contains(&session.id)
                    || exempt.contains(&session.user)
            });
            if left.is_empty() {
                empty_looks += 1;
            } else {
                empty_looks = 0;
                if self.options.end_sessions {
                    session::end_sessions(&mut self.from, &left)?;
                }
                if begun.elapsed() > self.options.patience {
                    let names: Vec<String> = left.iter().take(10).map(AppSession::to_string).collect();
                    return Err(self.stopped(format!(
                        "{} sessions of applications are left on the {}: {}",
                        left.len(),
                        self.way.from(),
                        names.join("; ")
                    )));
                }
            }
            self.stop.sleep(POLL)?;
        }
        // One that was prepared since the preflight has outlived its session.
        self.refuse_prepared()?;
        let mut saw = vec![format!("{} sessions ended, none is left", before.len())];
        saw.extend(before.iter().map(AppSession::to_string));
        Ok(saw)
    }

    fn end_position(&mut self) -> Result<Position> {
        let mut end = None;
        self.step(StepName::EndPosition, |run| {
            let from = run.way.from();
            let begun = Instant::now();
            let mut last = server::gtid_visible(&mut run.from, Duration::from_secs(1), run.stop)?;
            loop {
                run.stop.sleep(POLL)?;
                let now = server::gtid_visible(&mut run.from, Duration::from_secs(1), run.stop)?;
                if now == last {
                    break;
                }
                // A managed source writes a heartbeat of its own every second; anything more is somebody who writes.
                if begun.elapsed() > run.options.patience {
                    return Err(
                        run.stopped(format!("the {from} is still written: its position never stood still"))
                    );
                }
                last = now;
            }
            let position = Position::Gtid(last);
            let journal = run.journal.clone();
            journal.gated(run.records(), &position)?;
            let shown = position.clone().shown(run.ends.source.facts().log_name());
            let saw = vec![format!("the {from} ends at {shown}, read twice")];
            end = Some(position);
            Ok(saw)
        })?;
        end.ok_or_else(|| Error::internal("no end position"))
    }

    pub(super) fn wait_applied(&mut self, wanted: &GtidSet, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let applied = self.ends.ledger.checkpoint(&mut self.to)?.applied;
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

    /// Says in what state both sides are when the last step fails.
    pub(super) fn while_opening(&self) -> String {
        let noted = match self.way {
            Way::There => &self.report.target_position,
            Way::Back => &self.report.source_position,
        };
        self.way.while_opening(noted.is_some(), self.is_open)
    }

    /// Closes this side again before the other is opened by a call that goes on: a restart of the server forgets `read_only`. Lines for
    /// people.
    pub(super) fn close_again(&mut self, begun: &CutoverRow) -> Result<Vec<String>> {
        if begun.gate.kind != GateKind::ReadOnly || gate::is_read_only(&mut self.from)? {
            return Ok(Vec::new());
        }
        Gate::new(self.ends.source.facts(), &self.options.keep).close(&mut self.from, &begun.gate)?;
        let now = server::gtid_visible(&mut self.from, Duration::from_secs(1), self.stop)?;
        let end = begun.end_position.as_ref().and_then(Position::gtid_set).cloned().unwrap_or_default();
        let (from, to) = (self.way.from(), self.way.to());
        let later = now.subtract(&end);
        let mut saw = vec![format!("the {from} was no longer read-only, and is again")];
        if !later.is_empty() {
            saw.push(format!("NOT on the {to}: what was written on the {from} meanwhile ({later})"));
        }
        Ok(saw)
    }

    /// Opens a side that an earlier hand-over had closed, as its row says; lines for people.
    pub(super) fn reopen(
        &self,
        facts: &server::ServerFacts,
        connection: &mut Connection,
        closed: &GateRecord,
    ) -> Result<Vec<String>> {
        let mut saw = Gate::new(facts, &self.options.keep).open(connection, closed)?;
        match (closed.kind, self.hooks.opener) {
            (GateKind::Hook, Some(hook)) => saw.extend(hook.open()?),
            (GateKind::Hook, None) => {
                saw.push(format!("open the {} yourself: a command had closed it", self.way.to()));
            }
            (GateKind::None, _) => {
                saw.push(format!("open the {} yourself: you had closed it", self.way.to()))
            }
            (GateKind::ReadOnly | GateKind::LockAccounts, _) => {}
        }
        Ok(saw)
    }

    pub(super) fn stopped(&self, why: String) -> Error {
        ErrorKind::CutOver { why }.into()
    }

    pub(super) fn migration_name(&self) -> &'a str {
        &self.migration.options.name
    }
}

/// What to do where no check says from where on rows were touched.
pub(super) const COMPARE: &str =
    "Compare both sides with `dts check NAME`, mend what differs, then run this again.";

/// The log since the last clean check must be there to be read.
fn explain_purged(error: Error) -> Error {
    match error.kind() {
        ErrorKind::BinlogPurged { missing } => Error::from(ErrorKind::CutOver {
            why: format!("the log since the last clean check was purged, so nobody can tell what was touched ({missing})"),
        })
        .with_hint(COMPARE),
        _ => error,
    }
}
