//! One life of the applier: what is known between two reconnects.
use std::time::{Duration, Instant, SystemTime};

use crate::binlog::EventBatch;
use crate::data::{GtidSet, Position};
use crate::error::{ErrorKind, Result};
use crate::progress::Progress;
use crate::server;
use crate::stop::StopToken;
use crate::target::prepared_mark;
use crate::wire::Connection;

use super::change::TransactionPart;
use super::choice::Distance;
use super::coordinator::Coordinator;
use super::dag::DagEngine;
use super::engine::Engine;
use super::epoch::EpochEngine;
use super::intake::{Intake, Outlet, Taken};
use super::loop_guard::LoopGuard;
use super::queue::{EventQueue, Received};
use super::rules::Rules;
use super::schema_change::{KnownTables, LoggedChange, SchemaChanger};
use super::tables::Tables;
use super::{ApplyMode, ApplyUntil, BinlogApplier, EngineChoice, Manner};

/// How long a change waits for company when no more events are there.
const LINGER: Duration = Duration::from_millis(5);
/// How long a change waits for company under a steady trickle, in which the queue is never idle.
const LINGER_MAX: Duration = Duration::from_millis(100);
/// How often the source is asked for its position while the stream is idle or the target behind.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// One life of the applier.
pub(super) struct Session<'a> {
    intake: Intake<'a>,
    apply: Apply<'a>,
    source: Connection,
    /// The prepared XA transactions that the ledger tells others of.
    prepared_noted: GtidSet,
    /// The last look at the source.
    look: Option<Look>,
}

/// What the source had executed at a moment.
struct Look {
    executed: GtidSet,
    at: Instant,
    /// All of it is applied.
    is_reached: bool,
}

/// Where what comes out of the log goes.
struct Apply<'a> {
    applier: &'a BinlogApplier<'a>,
    coordinator: Coordinator<'a>,
    engine: Box<dyn Engine>,
    changer: SchemaChanger<'a>,
    kind: Kind,
    distance: Distance,
    /// Until all of these are applied, one by one.
    careful: &'a GtidSet,
    /// Windows go by one worker for a while.
    alone: bool,
    /// Since when something waits for company.
    waiting_since: Option<Instant>,
    stop: &'a StopToken,
    progress: &'a Progress,
}

/// Which engine is at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Whole transactions.
    Dag,
    /// Windows.
    Epoch,
}

impl Kind {
    fn engine(
        self,
        applier: &BinlogApplier<'_>,
        workers: usize,
        alone: bool,
        half_done: Option<GtidSet>,
    ) -> Box<dyn Engine> {
        let rules = Rules { mode: applier.mode, on_divergence: applier.options.on_divergence };
        match self {
            Kind::Dag => Box::new(DagEngine::new(rules, workers)),
            Kind::Epoch => Box::new(EpochEngine::new(rules, workers, alone, half_done)),
        }
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(
        applier: &'a BinlogApplier<'a>,
        coordinator: Coordinator<'a>,
        manner: &'a Manner,
        stop: &'a StopToken,
        progress: &'a Progress,
    ) -> Result<Self> {
        let mut control = applier.target.control(stop)?;
        let rows = applier.ledger.tables(&mut control)?;
        let prepared_noted = prepared_mark::read(&mut control, applier.ledger.task_name())?;
        let folds = applier.source.facts().lower_case_table_names() != 0;
        let known = KnownTables::new(rows, folds, applier.mode);
        let changer = SchemaChanger {
            source: applier.source,
            target: applier.target,
            ledger: applier.ledger,
            transform: applier.transform,
            objects: applier.objects,
            skipped: &applier.options.skip_ddl,
            known: known.clone(),
            stop,
        };
        let half_done = coordinator.pending_window().cloned();
        let kind = if half_done.is_some() { Kind::Epoch } else { Kind::Dag };
        Ok(Session {
            intake: Intake::new(
                Tables::new(applier.target, applier.transform, known, applier.source.facts().logs_cascades()),
                LoopGuard::new(applier.opposite.clone()),
                stop,
            ),
            apply: Apply {
                applier,
                engine: kind.engine(applier, coordinator.worker_count(), manner.alone, half_done),
                kind,
                distance: Distance::default(),
                careful: &manner.careful,
                alone: manner.alone,
                coordinator,
                changer,
                waiting_since: None,
                stop,
                progress,
            },
            source: applier.source.control(stop)?,
            prepared_noted,
            look: None,
        })
    }

    /// Returns what is durable on the target.
    pub(super) fn applied(&self) -> &GtidSet {
        self.apply.coordinator.applied()
    }

    /// Returns whether the target shows all that the source shows at a position. What is prepared there shows nothing yet.
    fn has(&self, position: &GtidSet) -> bool {
        self.applied().contains_set(position) || {
            let prepared = self.intake.prepared();
            !prepared.is_empty() && self.applied().union(&prepared).contains_set(position)
        }
    }

    /// Returns how many commits there were.
    pub(super) fn commits(&self) -> u64 {
        self.apply.coordinator.commits()
    }

    /// Returns among which transactions a divergence is, when that is not known better.
    pub(super) fn suspects(&self) -> GtidSet {
        self.apply.engine.suspects()
    }

    /// Applies what the queue brings, until `until`.
    pub(super) fn follow(&mut self, queue: &EventQueue, until: &ApplyUntil) -> Result<()> {
        loop {
            // Before anybody is told that all is applied.
            if self.apply.changer.known.wants_copy() && self.apply.changer.known.is_strict() {
                self.apply.engine.drain(&mut self.apply.coordinator)?;
                self.apply.coordinator.advance()?;
                return Err(ErrorKind::IllegalState {
                    action: "apply".into(),
                    state: "waiting for the copy of a table that came into the selection".into(),
                    allowed: "run".into(),
                }
                .into());
            }
            if let ApplyUntil::Applied(wanted) = until
                && self.has(wanted)
                && self.apply.coordinator.pending_window().is_none()
            {
                self.apply.engine.drain(&mut self.apply.coordinator)?;
                self.note_prepared()?;
                return self.apply.coordinator.advance();
            }
            self.apply.stop.check()?;
            let is_busy = self.apply.coordinator.pool().busy() > 0;
            // A worker that is at work has the next turn; without one, what waits for company has.
            let patience = match (is_busy, self.apply.engine.is_waiting()) {
                (true, _) => Duration::ZERO,
                (false, true) => LINGER,
                (false, false) => LAG_INTERVAL / 4,
            };
            match queue.receive(patience)? {
                Received::Batch(batch) => self.take_all(&batch)?,
                Received::Nothing => {
                    self.apply.distance.nothing_came(Instant::now());
                    self.apply.move_on()?;
                    self.apply.coordinator.settle(LINGER)?;
                    self.apply.coordinator.advance_when_due()?;
                }
            }
            self.watch_lag()?;
        }
    }

    fn take_all(&mut self, batch: &EventBatch) -> Result<()> {
        for event in batch.events() {
            self.apply.distance.received(u64::from(event.header.event_size));
            self.intake.take(&event, &mut self.apply)?;
        }
        while self.apply.coordinator.settle(Duration::ZERO)?.is_some() {}
        if self.apply.waiting_since.is_some_and(|since| since.elapsed() >= LINGER_MAX) {
            self.apply.move_on()?;
        }
        Ok(())
    }

    /// Asks the source now and then where it is: an idle stream must show no lag, and a busy one the true distance.
    ///
    /// A source that is written all the time is never reached at the moment of a look, so the target is in sync as long as each
    /// look is reached before the next one.
    fn watch_lag(&mut self) -> Result<()> {
        if let Some(look) = self.look.take() {
            let is_recent = look.at.elapsed() < LAG_INTERVAL;
            let is_reached = look.is_reached || self.has(&look.executed);
            if is_reached && !look.is_reached || !is_reached && !is_recent {
                self.show_in_sync(is_reached);
            }
            if is_recent {
                self.look = Some(Look { is_reached, ..look });
                return Ok(());
            }
        }
        if let Some(spool) = self.apply.applier.spool {
            spool.release(self.applied())?;
            self.apply.progress.set_spool_bytes(spool.bytes_waiting());
        }
        self.note_prepared()?;
        let executed = server::gtid_executed(&mut self.source)?;
        let is_reached = self.has(&executed);
        let progress = self.apply.progress;
        progress.set_source_position(Position::Gtid(executed.clone()));
        let files = server::binlog_files(&mut self.source)?;
        let behind = files.and_then(|files| self.intake.bytes_behind(&files));
        progress.set_lag_bytes(if is_reached { Some(0) } else { behind });
        if is_reached {
            self.show_in_sync(true);
            progress.set_lag(Some(Duration::ZERO));
        }
        self.look = Some(Look { executed, at: Instant::now(), is_reached });
        Ok(())
    }

    /// Tells others which XA transactions need not be waited for. What was told once holds until it is applied.
    fn note_prepared(&mut self) -> Result<()> {
        let prepared = self.intake.prepared();
        if prepared.is_empty() && self.prepared_noted.is_empty() {
            return Ok(());
        }
        let now = prepared.union(&self.prepared_noted.subtract(self.applied()));
        if now != self.prepared_noted {
            self.apply.coordinator.note_prepared(&now)?;
            self.prepared_noted = now;
        }
        Ok(())
    }

    fn show_in_sync(&self, in_sync: bool) {
        self.apply.progress.set_in_sync(in_sync && self.apply.applier.mode == ApplyMode::Strict);
    }
}

impl Apply<'_> {
    /// What waits for company has waited; far behind, its company is on the way.
    fn move_on(&mut self) -> Result<()> {
        self.waiting_since = None;
        if self.distance.is_far() {
            self.engine.proceed(&mut self.coordinator)
        } else {
            self.engine.flush(&mut self.coordinator)
        }
    }

    /// Changes the engine between two transactions, when it is time to.
    fn choose(&mut self) -> Result<()> {
        let careful = !self.careful.is_empty() && !self.coordinator.applied().contains_set(self.careful);
        let is_far = match self.applier.options.engine {
            EngineChoice::Automatic => self.distance.is_far(),
            EngineChoice::Windows => true,
            EngineChoice::Transactions => false,
        };
        let wanted = if is_far && !careful { Kind::Epoch } else { Kind::Dag };
        if wanted == self.kind || self.coordinator.pending_window().is_some() {
            return Ok(());
        }
        self.engine.drain(&mut self.coordinator)?;
        log::info!("apply: {:?} engine from here", wanted);
        self.kind = wanted;
        self.engine = wanted.engine(self.applier, self.coordinator.worker_count(), self.alone, None);
        Ok(())
    }
}

impl Outlet for Apply<'_> {
    fn part(&mut self, part: TransactionPart) -> Result<()> {
        if part.first {
            self.choose()?;
        }
        self.engine.take(&mut self.coordinator, part)?;
        if self.engine.is_waiting() {
            self.waiting_since.get_or_insert_with(Instant::now);
        } else {
            self.waiting_since = None;
        }
        Ok(())
    }

    fn statement(&mut self, statement: &LoggedChange<'_>, committed_at: SystemTime) -> Result<Taken> {
        if !self.applier.frozen.is_empty() {
            let allowed = self.changer.refuse_in(&self.applier.frozen, statement);
            if allowed.is_err() {
                // What is before it is carried all the same.
                self.engine.drain(&mut self.coordinator)?;
            }
            return allowed.map(|()| Taken::Skipped);
        }
        let Some(prepared) = self.changer.prepare(statement)? else { return Ok(Taken::Skipped) };
        // A barrier: everything before is durable, nothing after has begun.
        self.engine.drain(&mut self.coordinator)?;
        self.waiting_since = None;
        let also = self.changer.carry(&prepared, statement)?;
        if statement.is_inside {
            return Ok(Taken::RunInside);
        }
        if let Some(span) = statement.span {
            self.coordinator.record(span, &also)?;
            self.coordinator.show_lag(committed_at);
        }
        Ok(Taken::Run)
    }
}
