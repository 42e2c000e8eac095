//! The engine for being far behind: a stretch of the log at a time, each row written once.
//!
//! A *window* is a run of whole transactions, bounded in bytes, reduced to what each row was before it and is after it
//! ([`window`](super::window)). All workers write it at once, each the rows of its share, while the next window fills. A
//! hundred updates of one row are one.
//!
//! # Why it is right
//! The target is as the source was before the window (or, before the converge point, rows may be newer). Transactions of the
//! window touch certain rows; what these are after the window follows from the last image of each alone, and other rows are
//! not touched. Between begin and end of the window the target is like no state of the source; nobody reads it then.
//!
//! # Why each transaction is applied exactly once
//! The parts of a window are several target transactions, so that a crash may leave it half done. Therefore:
//! 1. All workers execute their parts, and every answer is verified; nothing is committed. What does not fit ends it here,
//!    without a trace, and the same transactions are then applied one by one, which finds the culprit or clears it.
//! 2. The ledger records, durably, which transactions the window holds.
//! 3. The workers commit. Then the inserts that had to wait for all deletes, if any.
//! 4. The coordinator's own transaction writes what counts once each (tables without a key, images that do not hold all
//!    columns), records the window as applied in row 0, and takes the record of step 2 back.
//!
//! After a crash before step 2 or after step 4 there is nothing to mend. In between, each row of the window is either as
//! before it or as after it, or (deleted, its insert still to come) not there; the rows of step 4 are as before. The next life
//! finds the record, reads the same transactions again, and writes *what each touched row is after the window, whatever it
//! was*: which is right from all three. They had been verified in step 1, so nothing is papered over that was not already
//! found right. This window must hold all recorded transactions before it may be written, because a row that is as after it
//! cannot be followed through the middle of it; it may hold more, such as those that another server sends between them.
//! From then on everything is strict again. The record is written before the converge point, too: a half window could
//! otherwise reach past that point.
//!
//! Small windows, and all windows of a single worker, are one target transaction with that worker's row of the checkpoint.
//!
//! # Large transactions
//! One that is larger than a quarter of a window goes, reduced in pieces, through one worker in one target transaction.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::{GtidSet, TableName};
use crate::error::{Error, ErrorKind, Result, Side};

use super::ApplyMode;
use super::change::{Change, TransactionPart};
use super::coordinator::Coordinator;
use super::engine::Engine;
use super::rules::{self, Rules};
use super::window::{self, Sealed, Window};
use super::worker::{Committed, Divergence, Job, Worker};

/// Memory that a window holds at most. Two are there at a time: one fills while the other is written.
const WINDOW_BYTES_MAX: usize = 64 << 20;
/// A window that is smaller waits for more, as long as more comes: the larger it is, the fewer rows are written twice. The
/// first one is small, because nothing is written before it; the wanted size doubles from there.
const FIRST_WINDOW_BYTES: usize = 8 << 20;
/// Where that ends.
const WINDOW_BYTES_WANTED: usize = 48 << 20;
/// How long a window may wait for more while the target is idle.
const FILLING_MAX: Duration = Duration::from_millis(500);
/// A transaction that is larger goes in pieces.
const TRANSACTION_BYTES_MAX: usize = WINDOW_BYTES_MAX / 4;
/// Size of such a piece.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces that are with the worker or on their way to it.
const PIECES_UNDER_WAY: usize = 2;
/// A window of fewer rows is not worth a meeting of all workers.
const SHARED_ROWS_MIN: usize = 400;
/// Windows that one worker writes after workers have locked each other out: what they are about may be so for a while.
const WINDOWS_ALONE: u32 = 20;
/// How long one wait for the workers lasts before the stop token is looked at.
const PATIENCE: Duration = Duration::from_millis(100);

/// Applies window by window.
pub(super) struct EpochEngine {
    rules: Rules,
    workers: usize,
    /// So many windows are still for one worker alone.
    alone: u32,
    filling: Filling,
    /// A smaller window waits for more.
    wanted_bytes: usize,
    /// The transaction under way.
    parts: Vec<TransactionPart>,
    parts_bytes: usize,
    /// The transaction under way goes in pieces; this is the next one.
    piece: Option<Filling>,
    /// Tables with images that do not hold all columns: from the first of them on, changes are kept in order, and written after
    /// what was reduced before it.
    in_order: HashSet<TableName>,
    stage: Stage,
    /// What an earlier life has left half done: the window that fills must hold all of it.
    half_done: Option<GtidSet>,
    /// The transactions of the last window that was begun.
    launched: GtidSet,
}

/// A window that fills.
#[derive(Default)]
struct Filling {
    window: Window<Change>,
    /// The transactions that end in it.
    committed: Committed,
    /// When it got its first change.
    since: Option<Instant>,
}

/// A window that is written.
struct Closed {
    window: Sealed<Change>,
    committed: Committed,
}

/// How far the window is that is being written.
enum Stage {
    /// There is none, or a worker does all of it.
    Idle,
    /// The workers execute their parts.
    Executing(Arc<Closed>, Rigour),
    /// The workers commit them.
    Committing(Arc<Closed>, Rigour),
    /// The workers insert what had to wait.
    Inserting(Arc<Closed>),
}

/// Whether every change must fit the row that it finds.
#[derive(Clone, Copy)]
struct Rigour {
    strict: bool,
    /// Of the changes in order, which are never half done.
    rules: Rules,
    /// How many workers share it.
    workers: usize,
}

impl EpochEngine {
    /// `workers`: how many share a window; `alone`: but not yet, because workers have locked each other out. `half_done`: what an earlier life has left.
    pub(super) fn new(rules: Rules, workers: usize, alone: bool, half_done: Option<GtidSet>) -> Self {
        EpochEngine {
            rules,
            workers,
            alone: if alone { WINDOWS_ALONE } else { 0 },
            filling: Filling::default(),
            wanted_bytes: FIRST_WINDOW_BYTES,
            parts: Vec::new(),
            parts_bytes: 0,
            piece: None,
            in_order: HashSet::new(),
            stage: Stage::Idle,
            half_done,
            launched: GtidSet::new(),
        }
    }

    /// Whether rows are exactly as the log says.
    fn is_strict(&self) -> bool {
        self.rules.mode == ApplyMode::Strict && self.half_done.is_none()
    }

    /// Returns whether the window that fills may be written.
    fn may_close(&self, coordinator: &Coordinator<'_>) -> bool {
        self.half_done.as_ref().is_none_or(|half_done| {
            coordinator.applied().union(&self.filling.committed.done).contains_set(half_done)
        })
    }

    /// Moves the window under way as far as it goes without waiting; returns whether none is left.
    fn advance(&mut self, coordinator: &mut Coordinator<'_>) -> Result<bool> {
        loop {
            while coordinator.settle(Duration::ZERO)?.is_some() {}
            if coordinator.pool().busy() > 0 {
                return Ok(false);
            }
            match std::mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Idle => return Ok(true),
                Stage::Executing(closed, rigour) => {
                    coordinator.begin_window(&closed.committed.done)?;
                    submit_all(coordinator, rigour, |_| {
                        Box::new(|worker| worker.commit_part().map(|()| Committed::default()))
                    });
                    self.stage = Stage::Committing(closed, rigour);
                }
                Stage::Committing(closed, rigour) if window::has_second_phase(&closed.window) => {
                    submit_all(coordinator, rigour, |number| {
                        let closed = closed.clone();
                        Box::new(move |worker| insert(&closed.window, number, rigour, worker))
                    });
                    self.stage = Stage::Inserting(closed);
                }
                Stage::Committing(closed, _) | Stage::Inserting(closed) => {
                    let rules = self.rules;
                    let ended = coordinator.end_window(&closed.committed, |worker| {
                        window::write_in_order(&closed.window, rules, worker)
                    });
                    if ended.is_err() {
                        // Its parts are committed: there is nothing left to be tried one by one.
                        self.stage = Stage::Inserting(closed);
                    }
                    ended?;
                }
            }
        }
    }

    /// Waits until no window is under way.
    fn settle(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        while !self.advance(coordinator)? {
            coordinator.settle(PATIENCE)?;
            coordinator.check_stop()?;
        }
        Ok(())
    }

    /// Begins to write the window that fills. Only when none is under way.
    fn launch(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let was_half_done = self.half_done.is_some();
        let is_small = !was_half_done && self.filling.window.row_count() < SHARED_ROWS_MIN;
        let workers = if self.alone > 0 || is_small { 1 } else { self.workers };
        self.alone = self.alone.saturating_sub(1);
        let rigour = Rigour { strict: self.is_strict(), rules: self.rules, workers };
        self.half_done = None;
        let closed = Arc::new(std::mem::take(&mut self.filling).close(workers));
        self.launched.clone_from(&closed.committed.done);
        if !was_half_done && !closed.window.is_shared() {
            coordinator.submit(
                0,
                Box::new(move |worker| {
                    let divergences = write_whole(&closed.window, rigour, worker)?;
                    worker.commit(&closed.committed.done)?;
                    Ok(Committed { divergences, ..closed.committed.clone() })
                }),
            );
            return Ok(());
        }
        submit_all(coordinator, rigour, |number| {
            let closed = closed.clone();
            Box::new(move |worker| {
                window::write_first_phase(&closed.window, number, rigour.strict, worker)
                    .map(|()| Committed::default())
            })
        });
        self.stage = Stage::Executing(closed, rigour);
        Ok(())
    }

    /// Writes what there is as soon as possible.
    fn close(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        self.settle(coordinator)?;
        self.launch(coordinator)
    }

    /// Takes the waiting parts of a transaction that goes in pieces.
    fn take_piece(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if self.piece.is_none() {
            self.close(coordinator)?;
            self.settle(coordinator)?;
            self.launched = GtidSet::new();
            self.parts.iter().for_each(|part| part.span.add_to(&mut self.launched));
        }
        let strict = self.is_strict();
        for part in std::mem::take(&mut self.parts) {
            let last = part.last;
            let piece = self.piece.get_or_insert_default();
            piece.take(part, &mut self.in_order, strict)?;
            if last || piece.window.bytes >= PIECE_BYTES {
                while coordinator.pool().waiting(0) >= PIECES_UNDER_WAY {
                    coordinator.settle(PATIENCE)?;
                    coordinator.check_stop()?;
                }
                let Closed { window, mut committed } = std::mem::take(piece).close(1);
                let rigour = Rigour { strict, rules: self.rules, workers: 1 };
                coordinator.submit(
                    0,
                    Box::new(move |worker| {
                        committed.divergences = write_whole(&window, rigour, worker)?;
                        if last {
                            worker.commit(&committed.done)?;
                        }
                        Ok(committed)
                    }),
                );
            }
            if last {
                self.piece = None;
                self.parts_bytes = 0;
            }
        }
        Ok(())
    }
}

impl Filling {
    fn is_empty(&self) -> bool {
        self.committed.transactions == 0 && self.window.is_empty()
    }

    /// Takes a part of a transaction. `in_order`: as in [`Window::take_change`].
    fn take(&mut self, part: TransactionPart, in_order: &mut HashSet<TableName>, strict: bool) -> Result<()> {
        self.since.get_or_insert_with(Instant::now);
        if part.last {
            self.committed.end_transaction(&part);
        }
        self.committed.row_events += part.changes.len() as u64;
        for change in part.changes {
            self.window.take_change(change, &part.span, in_order, strict)?;
        }
        Ok(())
    }

    fn close(self, workers: usize) -> Closed {
        let Filling { window, mut committed, since: _ } = self;
        let window = window.seal(workers);
        committed.rows_written = window.row_count() as u64;
        Closed { window, committed }
    }
}

/// Gives each of the window's workers (from 0) its job.
fn submit_all(coordinator: &mut Coordinator<'_>, rigour: Rigour, job: impl Fn(usize) -> Job) {
    for worker in 0..rigour.workers {
        coordinator.submit(worker, job(worker));
    }
}

/// Inserts what had to wait for all deletes, and commits.
fn insert(window: &Sealed<Change>, number: usize, rigour: Rigour, worker: &mut Worker) -> Result<Committed> {
    let Rigour { strict, rules, .. } = rigour;
    let divergences = match window::second_phase(window, number, strict, worker) {
        // The parts are committed, so that this is not found by applying the transactions one by one.
        Err(error) if rules::is_divergence(&error) => {
            worker.rollback()?;
            window::second_phase_by_rules(window, number, strict, rules, worker)?
        }
        done => done.map(|()| Vec::new())?,
    };
    worker.commit_part()?;
    Ok(Committed { divergences, ..Committed::default() })
}

/// Writes a window by one worker, without a commit.
fn write_whole(window: &Sealed<Change>, rigour: Rigour, worker: &mut Worker) -> Result<Vec<Divergence>> {
    window::write_reduced(window, 0, rigour.strict, worker)?;
    window::write_in_order(window, rigour.rules, worker)
}

impl Engine for EpochEngine {
    fn take(&mut self, coordinator: &mut Coordinator<'_>, part: TransactionPart) -> Result<()> {
        self.advance(coordinator)?;
        self.parts_bytes += part.bytes;
        let last = part.last;
        self.parts.push(part);
        if self.piece.is_some() || self.parts_bytes > TRANSACTION_BYTES_MAX && self.half_done.is_none() {
            return self.take_piece(coordinator);
        }
        if !last {
            return Ok(());
        }
        self.parts_bytes = 0;
        let strict = self.is_strict();
        for part in std::mem::take(&mut self.parts) {
            self.filling.take(part, &mut self.in_order, strict)?;
        }
        if self.may_close(coordinator) {
            // What was half done is finished by itself: only its rows may be anything.
            if self.half_done.is_some() || self.filling.window.bytes >= WINDOW_BYTES_MAX {
                self.close(coordinator)?;
            } else if self.filling.window.bytes >= self.wanted_bytes && self.advance(coordinator)? {
                self.wanted_bytes = (2 * self.wanted_bytes).min(WINDOW_BYTES_WANTED);
                self.launch(coordinator)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if self.advance(coordinator)? && self.may_close(coordinator) {
            self.launch(coordinator)?;
        }
        Ok(())
    }

    fn proceed(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if !self.advance(coordinator)? {
            return Ok(());
        }
        let is_due = self.filling.since.is_some_and(|since| since.elapsed() >= FILLING_MAX);
        if is_due { self.flush(coordinator) } else { Ok(()) }
    }

    fn drain(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if !self.may_close(coordinator) {
            return Err(Error::from(ErrorKind::Unsupported {
                what: "a schema change between transactions that an earlier run has begun to apply together"
                    .into(),
            })
            .on(Side::Source));
        }
        self.close(coordinator)?;
        self.settle(coordinator)
    }

    fn suspects(&self) -> GtidSet {
        if matches!(self.stage, Stage::Committing(..) | Stage::Inserting(_)) {
            return GtidSet::new();
        }
        let mut suspects = self.launched.union(&self.filling.committed.done);
        self.parts.iter().for_each(|part| part.span.add_to(&mut suspects));
        suspects
    }

    fn is_waiting(&self) -> bool {
        !self.filling.is_empty() || !matches!(self.stage, Stage::Idle)
    }
}
