//! What is applied in all: row 0 of the checkpoint, and the workers' reports.
//!
//! # Exactly once with several workers
//! Worker *w* writes row *w* = the transactions that it applied since the low-water mark, in the same target transaction as
//! their changes. Row 0 is the low-water mark; it takes over only what a worker has reported durable, so the union of the
//! rows never holds a transaction whose changes are not committed, and always holds one whose changes are. Where a life
//! begins, the union is read after every session of an earlier life has ended, and moved into row 0 in one transaction.
//! A worker forgets what row 0 has only after row 0 was committed.
use std::time::{Duration, Instant, SystemTime};

use crate::data::{GtidSet, Position};
use crate::error::Result;
use crate::progress::Progress;
use crate::stop::StopToken;
use crate::target::ledger::Ledger;
use crate::target::{TargetEndpoint, prepared_mark};

use super::change::Span;
use super::worker::{self, Committed, Divergence, Job, LowWater, OwnSessions, Worker, WorkerPool};

/// How often row 0 takes over what the workers' rows hold.
const ADVANCE_INTERVAL: Duration = Duration::from_secs(1);
/// How long one wait for a report lasts before the stop token is looked at.
const REPORT_PATIENCE: Duration = Duration::from_millis(100);

/// Knows what is applied, and gives work to the workers.
pub(super) struct Coordinator<'a> {
    main: Worker,
    ledger: &'a Ledger,
    /// What is half done, from an earlier life.
    pending: Option<GtidSet>,
    pool: WorkerPool,
    /// Durable on the target.
    applied: GtidSet,
    low_water: LowWater,
    /// Some worker's row holds what row 0 does not.
    is_spread: bool,
    advanced_at: Instant,
    commits: u64,
    stop: &'a StopToken,
    progress: &'a Progress,
}

impl<'a> Coordinator<'a> {
    /// Takes over from all earlier lives: waits for their sessions, reads what they made durable, and opens `count` workers.
    pub(super) fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        (target, ledger): (&TargetEndpoint, &'a Ledger),
        count: u32,
        own: &mut OwnSessions,
        (stop, life): (&'a StopToken, &StopToken),
        progress: &'a Progress,
    ) -> Result<Coordinator<'a>> {
        let mut connection = target.writer(life)?;
        own.become_only(&mut connection, ledger, 0, stop)?;
        let low_water = LowWater::default();
        let earlier = ledger.checkpoint(&mut connection)?.workers;
        let workers = worker::open(target, ledger, count, &low_water, own, life)?;
        for number in earlier.into_keys().filter(|number| *number > count) {
            own.become_only(&mut target.writer(life)?, ledger, number, stop)?;
        }
        // Only now nobody writes any more but us.
        let applied = ledger.checkpoint(&mut connection)?.applied;
        ledger.gather_checkpoint(&mut connection, &applied, count)?;
        let pending = ledger.apply_window(&mut connection)?.filter(|window| !applied.contains_set(window));
        low_water.set(applied.clone());
        progress.set_applied_position(Position::Gtid(applied.clone()));
        Ok(Coordinator {
            main: Worker::new(0, (target, connection), ledger.clone(), low_water.clone()),
            ledger,
            pending,
            pool: WorkerPool::start(scope, workers),
            applied,
            low_water,
            is_spread: false,
            advanced_at: Instant::now(),
            commits: 0,
            stop,
            progress,
        })
    }

    /// Returns what is durable on the target.
    pub(super) fn applied(&self) -> &GtidSet {
        &self.applied
    }

    /// Returns how many commits there were in this life.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Returns the workers.
    pub(super) fn pool(&mut self) -> &mut WorkerPool {
        &mut self.pool
    }

    /// Returns how many workers there are.
    pub(super) fn worker_count(&self) -> usize {
        self.pool.len()
    }

    /// Gives a worker (from 0) a job.
    pub(super) fn submit(&mut self, worker: usize, job: Job) {
        self.pool.submit(worker, job);
        self.show_workers();
    }

    fn show_workers(&self) {
        self.progress.set_workers(self.pool.busy(), self.pool.len());
    }

    /// Takes the reports that are there, or waits for one; returns which worker ended a job, if any did.
    ///
    /// # Errors
    /// Why a job failed.
    pub(super) fn settle(&mut self, patience: Duration) -> Result<Option<usize>> {
        let Some((worker, committed)) = self.pool.receive(patience)? else { return Ok(None) };
        self.show_workers();
        self.is_spread |= !committed.done.is_empty();
        self.note(&committed);
        self.advance_when_due()?;
        Ok(Some(worker))
    }

    /// Returns [`ErrorKind::Interrupted`](crate::error::ErrorKind::Interrupted) when somebody asked to stop.
    pub(super) fn check_stop(&self) -> Result<()> {
        self.stop.check()
    }

    /// Moves the low-water mark, once in a while.
    pub(super) fn advance_when_due(&mut self) -> Result<()> {
        if self.advanced_at.elapsed() >= ADVANCE_INTERVAL { self.advance() } else { Ok(()) }
    }

    /// Waits until no worker has anything to do.
    ///
    /// # Errors
    /// Why a job failed, or the stop token.
    pub(super) fn settle_all(&mut self) -> Result<()> {
        while self.pool.busy() > 0 {
            self.settle(REPORT_PATIENCE)?;
            self.stop.check()?;
        }
        Ok(())
    }

    /// Moves the low-water mark to all that is durable.
    pub(super) fn advance(&mut self) -> Result<()> {
        self.advanced_at = Instant::now();
        if std::mem::take(&mut self.is_spread) {
            self.main.commit(&self.applied)?;
            self.low_water.set(self.applied.clone());
        }
        Ok(())
    }

    /// Records a transaction whose effect is already there, such as a schema change, and what else the ledger keeps of it. Only
    /// while no worker is at work.
    pub(super) fn record(&mut self, span: &Span, also: &[String]) -> Result<()> {
        let mut committed = Committed { transactions: 1, ..Committed::default() };
        span.add_to(&mut committed.done);
        let all = self.applied.union(&committed.done);
        let also = also.join(";");
        self.main.commit_with(&all, Some(also.as_str()).filter(|also| !also.is_empty()))?;
        self.is_spread = false;
        self.low_water.set(all);
        self.note(&committed);
        Ok(())
    }

    /// Records that workers are about to commit a window in parts.
    pub(super) fn begin_window(&mut self, transactions: &GtidSet) -> Result<()> {
        let sql = self.ledger.begin_window_statement(transactions);
        self.main.note(&sql, "recording a window")
    }

    /// Notes which XA transactions are prepared.
    pub(super) fn note_prepared(&mut self, transactions: &GtidSet) -> Result<()> {
        let sql = prepared_mark::statement(self.ledger.task_name(), transactions);
        self.main.note(&sql, "noting prepared XA transactions")
    }

    /// Records a window as applied, together with the last of its changes, which `write` writes. Only while no worker is at
    /// work.
    pub(super) fn end_window(
        &mut self,
        committed: &Committed,
        write: impl FnOnce(&mut Worker) -> Result<Vec<Divergence>>,
    ) -> Result<()> {
        let divergences = write(&mut self.main)?;
        let all = self.applied.union(&committed.done);
        self.main.commit_with(&all, Some(&self.ledger.end_window_statement()))?;
        self.is_spread = false;
        self.low_water.set(all);
        self.pending = None;
        self.note_divergences(&divergences);
        self.note(committed);
        Ok(())
    }

    /// Returns the window that an earlier life has left half done.
    pub(super) fn pending_window(&self) -> Option<&GtidSet> {
        self.pending.as_ref()
    }

    /// Shows how far behind the newest applied transaction is.
    pub(super) fn show_lag(&self, committed_at: SystemTime) {
        self.progress.set_lag(Some(SystemTime::now().duration_since(committed_at).unwrap_or_default()));
    }

    fn note_divergences(&self, divergences: &[Divergence]) {
        for Divergence { table, span, what, done } in divergences {
            log::warn!("{what}; table {table}; position {span}; apply.on_divergence = {}", done.name());
        }
        self.progress.add_divergences(divergences.len() as u64);
    }

    fn note(&mut self, committed: &Committed) {
        // A part of a large transaction has made nothing durable, but its rows count.
        self.progress.add_applied(committed.transactions, committed.row_events, committed.rows_written);
        self.note_divergences(&committed.divergences);
        for _ in 0..committed.lock_conflicts {
            self.progress.add_conflict();
        }
        if committed.done.is_empty() {
            return;
        }
        self.commits += 1;
        self.applied.merge(&committed.done);
        self.progress.set_applied_position(Position::Gtid(self.applied.clone()));
        if let Some(newest) = committed.newest {
            self.show_lag(newest);
        }
    }
}
