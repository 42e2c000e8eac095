//! Stage 3: the changes since.
//!
//! [`BinlogApplier`] reads the source's binary log from a position and makes the target follow, transaction by transaction.
//!
//! # How it is built
//! The `queue` receives events; the `intake` makes whole transactions of them; an `engine` decides which worker applies
//! what, and when; each `worker` is a connection with its own row of the checkpoint; the `coordinator` knows what is
//! applied in all. A schema change is a barrier between two of an engine's drains.
//!
//! # Exactly once
//! The set of applied transactions is written in the same target transaction as their changes. Whatever goes wrong, the
//! applier forgets what it has in memory, reads that set, and asks the source for everything else. Nothing is skipped by
//! counting, and no answer is guessed. Before that set is read, the sessions of an earlier life must have ended on the target,
//! because they go on with what they were sent when their client is gone: locks that live as long as their sessions tell.
//!
//! # Two disciplines
//! Until the converge point rows may be newer than the changes that arrive, so changes are applied idempotently
//! ([`ApplyMode::Idempotent`]): what a row is after a change is written, whatever it was. From the converge point on every
//! change must fit exactly ([`ApplyMode::Strict`]): an update or delete that finds no row, or an insert that finds one, means
//! that somebody else writes on the target or that a row was lost, and is reported.
//!
//! Tables that were copied from an exact snapshot are strict from the start: the changes in it are left out, and each of the
//! others must fit. Without a key it changes exactly one row, found by all its bytes.
//!
//! Foreign keys are checked by the source; on the target they are off. What they change by themselves is repeated by
//! `cascade` where the source does not log it.
mod cascade;
mod change;
mod choice;
mod coordinator;
mod dag;
mod engine;
mod epoch;
mod intake;
mod options;
mod prepared;
mod queue;
mod rules;
mod schema_change;
mod session;
mod statements;
mod tables;
mod window;
mod worker;

pub use options::{BinlogApplyOptions, EngineChoice, OnDivergence};

use crate::data::GtidSet;
use crate::error::{ErrorKind, Result, Stage};
use crate::progress::Progress;
use crate::retry::{Attempts, RetryPolicy};
use crate::source::SourceEndpoint;
use crate::spool::Spool;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::transform::{ObjectKinds, Transform};

use coordinator::Coordinator;
use queue::{EventQueue, Feed};
use session::Session;
use worker::OwnSessions;

/// How changes are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApplyMode {
    /// Rows may be newer than the changes: what a row is after a change is written, whatever it was.
    Idempotent,
    /// Every change must fit the row that it finds.
    Strict,
}

/// When to end.
#[derive(Clone, Debug, PartialEq)]
pub enum ApplyUntil {
    /// As soon as all these transactions are durable on the target.
    Applied(GtidSet),
    /// Only when asked to.
    Stopped,
}

/// Makes the target follow the source's binary log.
pub struct BinlogApplier<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    ledger: &'a Ledger,
    transform: &'a Transform,
    mode: ApplyMode,
    objects: ObjectKinds,
    options: BinlogApplyOptions,
    spool: Option<&'a Spool>,
}

impl<'a> BinlogApplier<'a> {
    /// Joins the two ends, the ledger that holds the position, and the selection.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        ledger: &'a Ledger,
        transform: &'a Transform,
        mode: ApplyMode,
    ) -> Self {
        BinlogApplier {
            source,
            target,
            ledger,
            transform,
            mode,
            objects: ObjectKinds::default(),
            options: BinlogApplyOptions::default(),
            spool: None,
        }
    }

    /// Says which other objects' definitions are carried from the log. All, unless this is called.
    #[must_use]
    pub fn with_objects(mut self, objects: ObjectKinds) -> Self {
        self.objects = objects;
        self
    }

    /// Sets how changes are applied.
    #[must_use]
    pub fn with_options(mut self, options: BinlogApplyOptions) -> Self {
        self.options = options;
        self
    }

    /// Takes events from a spool, which somebody else fills from the source, and releases what is applied. Without one the
    /// source's log is read directly, when it is applied.
    #[must_use]
    pub fn reading_from(mut self, spool: &'a Spool) -> Self {
        self.spool = Some(spool);
        self
    }

    /// Applies until `until`, from where the ledger says. Reconnects when a connection breaks. Returns what is applied.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when asked to stop: everything received whole is
    /// durable then, or is read again by the next run. [`Divergence`](crate::error::ErrorKind::Divergence) in strict mode;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) and [`SchemaChange`](crate::error::ErrorKind::SchemaChange) with
    /// the position for what cannot be carried; [`BinlogPurged`](crate::error::ErrorKind::BinlogPurged),
    /// [`SourceDiverged`](crate::error::ErrorKind::SourceDiverged).
    pub fn run(&self, until: &ApplyUntil, stop: &StopToken, progress: &Progress) -> Result<GtidSet> {
        let _makes_room = self.spool.map(Spool::being_applied);
        let mut attempts = Attempts::new(RetryPolicy::default());
        let mut own = OwnSessions::default();
        let mut manner = Manner::default();
        loop {
            let life = self.run_once(until, stop, progress, &manner, &mut own);
            let error = match life.ended {
                Ok(applied) => return Ok(applied),
                Err(error) => error.in_stage(Stage::Apply),
            };
            if life.commits > 0 {
                attempts.succeeded();
            }
            if schema_change::restart_misfit(&error, self.target, self.ledger, self.mode, stop)? {
                continue;
            }
            // Two workers that lock each other out may do so again.
            manner.alone = error.server_error().is_some_and(|server| matches!(server.code, 1205 | 1213));
            if manner.alone {
                progress.add_conflict();
            }
            if matches!(error.kind(), ErrorKind::Divergence { .. })
                && !manner.careful.contains_set(&life.suspects)
            {
                log::warn!("{error}; its transactions are now applied one by one");
                manner.careful.merge(&life.suspects);
                continue;
            }
            attempts.wait_after(error, stop, progress)?;
        }
    }

    /// One life of the connections.
    fn run_once(
        &self,
        until: &ApplyUntil,
        stop: &StopToken,
        progress: &Progress,
        manner: &Manner,
        own: &mut OwnSessions,
    ) -> Life {
        let (mut commits, mut suspects) = (0, GtidSet::new());
        let workers = u32::try_from(self.options.workers.clamp(1, 64)).unwrap_or(1);
        // The threads end with this life.
        let life = stop.child();
        let ended = std::thread::scope(|scope| {
            let mut run = || -> Result<GtidSet> {
                let ends = (self.target, self.ledger);
                let coordinator = Coordinator::start(scope, ends, workers, own, (stop, &life), progress)?;
                let feed = self.spool.map_or(Feed::Source(self.source), Feed::Spool);
                let (applied, progress_of_feed) = (coordinator.applied(), progress.clone());
                let queue = EventQueue::start(scope, feed, applied, life.clone(), progress_of_feed)?;
                let mut session = Session::new(self, coordinator, manner, stop, progress)?;
                let ended = session.follow(&queue, until);
                (commits, suspects) = (session.commits(), session.suspects());
                ended.map(|()| session.applied().clone())
            };
            let ended = run();
            life.stop();
            ended
        });
        Life { ended, commits, suspects }
    }
}

/// How the next life is led, after what ended the one before.
#[derive(Default)]
struct Manner {
    /// Transactions that are applied one by one.
    careful: GtidSet,
    /// Windows go by one worker for a while.
    alone: bool,
}

/// What came of a life.
struct Life {
    ended: Result<GtidSet>,
    commits: u64,
    /// Among these transactions is what diverged, when nothing of them was committed.
    suspects: GtidSet,
}
