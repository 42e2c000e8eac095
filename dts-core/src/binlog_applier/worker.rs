//! The connections that write on the target, each with its own row of the checkpoint.
//!
//! A [`Worker`] records what it has applied in the same target transaction as the changes: that is what makes them applied
//! exactly once. The server does not answer a change that does not fit with an error, so the COMMIT travels apart, once all
//! answers were found right: a target transaction costs two round trips.
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::data::{GtidSet, TableName};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::wire::Connection;

use super::OnDivergence;
use super::change::{Change, Span, TransactionPart};
use super::queue::receive_within;
use super::statements::Statements;

/// Workers of a window wait for each other before they commit, so that one that waits for a lock of another waits in vain, and no
/// server sees a deadlock in that. (A DELETE of many rows of a small table reads, and locks, the whole table.)
const LOCK_WAIT: &str = "SET SESSION innodb_lock_wait_timeout = 2";
/// How long to wait for another session that applies for the same task.
const OTHER_APPLIER_PATIENCE: Duration = Duration::from_secs(60);

/// What row 0 of the checkpoint holds for sure; workers need not repeat it in their own.
#[derive(Clone, Default)]
pub(super) struct LowWater(Arc<Mutex<Arc<GtidSet>>>);

impl LowWater {
    pub(super) fn set(&self, durable: GtidSet) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(durable);
    }

    fn get(&self) -> Arc<GtidSet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One connection that writes, and its row of the checkpoint.
pub(super) struct Worker {
    /// Number of the row. 0 is the coordinator's.
    number: u32,
    connection: Connection,
    /// What the target takes at once, in bytes.
    packet_max: usize,
    ledger: Ledger,
    /// A transaction is open.
    begun: bool,
    /// What the row holds.
    own: GtidSet,
    low_water: LowWater,
    trimmed_at: Arc<GtidSet>,
    /// What earlier jobs left in the open transaction.
    carried: Committed,
}

impl Worker {
    pub(super) fn new(
        number: u32,
        (target, connection): (&TargetEndpoint, Connection),
        ledger: Ledger,
        low_water: LowWater,
    ) -> Self {
        let trimmed_at = low_water.get();
        Worker {
            number,
            connection,
            packet_max: usize::try_from(target.facts().max_allowed_packet()).unwrap_or(usize::MAX),
            ledger,
            begun: false,
            own: GtidSet::new(),
            low_water,
            trimmed_at,
            carried: Committed::default(),
        }
    }

    /// Runs statements in the worker's transaction, which begins with them unless it is open, and verifies every answer.
    ///
    /// # Errors
    /// A divergence, or what the target answered. The worker is of no use afterwards: dropping it rolls back.
    pub(super) fn execute(&mut self, statements: Statements) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        statements.send(&mut self.connection, self.begun, self.packet_max)?;
        self.begun = true;
        Ok(())
    }

    /// Opens a transaction, unless one is open.
    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.begun {
            self.connection.execute("BEGIN", "beginning a transaction")?;
            self.begun = true;
        }
        Ok(())
    }

    /// Commits what was executed as a part of a window; the ledger knows that it is under way. The worker's row is touched, so that
    /// whoever reads the target's log knows the part as ours.
    ///
    /// # Errors
    /// What the target answered.
    pub(super) fn commit_part(&mut self) -> Result<()> {
        if std::mem::take(&mut self.begun) {
            let touch = self.ledger.touch_checkpoint_statement(self.number);
            self.connection.execute(format!("{touch};COMMIT"), "committing a part of a window")?;
        }
        Ok(())
    }

    /// Takes back all that is not committed.
    pub(super) fn rollback(&mut self) -> Result<()> {
        self.begun = false;
        self.connection.execute("ROLLBACK", "taking changes back").map(drop)
    }

    /// What earlier jobs left in the open transaction, for the job that commits it.
    pub(super) fn carried(&mut self) -> &mut Committed {
        &mut self.carried
    }

    /// Remembers this place in the open transaction, instead of an earlier one.
    pub(super) fn set_savepoint(&mut self) -> Result<()> {
        self.connection.execute("SAVEPOINT dts", "setting a savepoint").map(drop)
    }

    /// Takes back what came after the savepoint.
    pub(super) fn rollback_to_savepoint(&mut self) -> Result<()> {
        self.connection.execute("ROLLBACK TO SAVEPOINT dts", "taking changes back").map(drop)
    }

    /// Runs statements of which any number of rows may be hit, in the open transaction.
    pub(super) fn execute_plain(&mut self, sql: &[u8]) -> Result<()> {
        if sql.is_empty() { Ok(()) } else { self.connection.execute(sql, "making way for a row").map(drop) }
    }

    /// Changes, in the worker's transaction, what a change of a parent changes elsewhere. The change itself was executed.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(super) fn follow_cascades(&mut self, change: &Change, span: &Span) -> Result<()> {
        let Some(cascades) = &change.table.cascades else { return Ok(()) };
        cascades
            .follow(&mut self.connection, &change.before, &change.after)
            .map_err(|error| error.for_table(&change.table.source).at(span))
    }

    /// Runs one statement of the ledger in a transaction of its own.
    pub(super) fn note(&mut self, sql: &str, doing: &'static str) -> Result<()> {
        self.connection.execute(sql, doing).map(drop)
    }

    /// Records that `done` is applied and commits, both in the transaction of the changes.
    ///
    /// # Errors
    /// What the target answered. After a lost connection the outcome is in the row: it must be read.
    pub(super) fn commit(&mut self, done: &GtidSet) -> Result<()> {
        self.commit_with(done, None)
    }

    /// As [`commit`](Self::commit), with one more statement in the same transaction.
    pub(super) fn commit_with(&mut self, done: &GtidSet, more: Option<&str>) -> Result<()> {
        let low_water = self.low_water.get();
        if self.number > 0 && !Arc::ptr_eq(&low_water, &self.trimmed_at) {
            self.own = self.own.subtract(&low_water);
            self.trimmed_at = low_water;
        }
        self.own.merge(done);
        let checkpoint = self.ledger.checkpoint_statement(self.number, &self.own);
        let end = match (self.begun, more) {
            (false, None) => checkpoint,
            (false, Some(more)) => format!("BEGIN;{checkpoint};{more};COMMIT"),
            (true, None) => format!("{checkpoint};COMMIT"),
            (true, Some(more)) => format!("{checkpoint};{more};COMMIT"),
        };
        self.connection.execute(end, "recording what was applied")?;
        self.begun = false;
        Ok(())
    }
}

/// Work for a worker: changes, and a commit at the end of them.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) -> Result<Committed> + Send>;

/// A change that did not fit its row.
#[derive(Clone, Debug)]
pub(super) struct Divergence {
    pub(super) table: TableName,
    pub(super) span: Arc<Span>,
    pub(super) what: String,
    /// What was done about it.
    pub(super) done: OnDivergence,
}

/// What a job has made durable.
#[derive(Clone, Default, Debug)]
pub(super) struct Committed {
    /// The transactions that are now applied.
    pub(super) done: GtidSet,
    pub(super) transactions: u64,
    pub(super) row_events: u64,
    /// What was left of the row events to write.
    pub(super) rows_written: u64,
    /// When the source committed the newest of them.
    pub(super) newest: Option<SystemTime>,
    /// Changes that did not fit.
    pub(super) divergences: Vec<Divergence>,
    /// How often it was tried again because of others' locks.
    pub(super) lock_conflicts: u64,
}

impl Committed {
    /// Adds a transaction whose last part this is.
    pub(super) fn end_transaction(&mut self, part: &TransactionPart) {
        part.span.add_to(&mut self.done);
        if let Some(prepared) = &part.prepared {
            prepared.add_to(&mut self.done);
        }
        self.transactions += 1;
        self.newest = self.newest.max(Some(part.committed_at));
    }
}

/// Workers 1 to n, each in a thread that takes one job after the other.
pub(super) struct WorkerPool {
    jobs: Vec<Sender<Job>>,
    reports: Receiver<(usize, Result<Committed>)>,
    /// Jobs not reported yet, by worker.
    waiting: Vec<usize>,
}

impl WorkerPool {
    /// Gives each worker a thread of `scope`. The threads end when the pool is dropped, and at the first error of their own.
    pub(super) fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        workers: Vec<Worker>,
    ) -> WorkerPool {
        let (sender, reports) = crossbeam_channel::unbounded();
        let waiting = vec![0; workers.len()];
        let jobs = workers
            .into_iter()
            .enumerate()
            .map(|(index, mut worker)| {
                let (jobs, to_do) = crossbeam_channel::unbounded::<Job>();
                let reports = sender.clone();
                scope.spawn(move || {
                    for job in to_do {
                        // A panic must not leave the others waiting for this worker.
                        let outcome = catch_unwind(AssertUnwindSafe(|| job(&mut worker)))
                            .unwrap_or_else(|_| Err(Error::internal("an apply worker panicked")));
                        let failed = outcome.is_err();
                        // Nobody listens any more when the applier has ended.
                        if reports.send((index, outcome)).is_err() || failed {
                            return;
                        }
                    }
                });
                jobs
            })
            .collect();
        WorkerPool { jobs, reports, waiting }
    }

    /// Returns how many workers there are.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Returns how many jobs a worker (from 0) has not reported yet.
    pub(super) fn waiting(&self, worker: usize) -> usize {
        self.waiting[worker]
    }

    /// Returns how many workers are at work.
    pub(super) fn busy(&self) -> usize {
        self.waiting.iter().filter(|waiting| **waiting > 0).count()
    }

    /// Gives a worker (from 0) a job; it is done after those that it has.
    pub(super) fn submit(&mut self, worker: usize, job: Job) {
        self.waiting[worker] += 1;
        // A worker that ended has reported why; that report is still to be received.
        drop(self.jobs[worker].send(job));
    }

    /// Waits for the end of any job; `None` when none ended in that time, or none is under way.
    ///
    /// # Errors
    /// Why a job failed.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<Option<(usize, Committed)>> {
        if self.busy() == 0 {
            return Ok(None);
        }
        match receive_within(&self.reports, patience) {
            Ok((worker, outcome)) => {
                self.waiting[worker] -= 1;
                outcome.map(|committed| Some((worker, committed)))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal("the apply workers are gone")),
        }
    }
}

/// Sessions of our own earlier lives in this process, by worker: they may be ended.
#[derive(Default)]
pub(super) struct OwnSessions(HashMap<u32, u64>);

impl OwnSessions {
    /// Waits until no other session applies for the task as this worker. One that lost its client may still be at work on
    /// what it was sent; what it commits must be in the checkpoint that is read next.
    pub(super) fn become_only(
        &mut self,
        target: &mut Connection,
        ledger: &Ledger,
        worker: u32,
        stop: &StopToken,
    ) -> Result<()> {
        let begun = Instant::now();
        while !ledger.lock_apply(target, worker, 1)? {
            stop.check()?;
            let Some(holder) = ledger.apply_lock_holder(target, worker)? else { continue };
            if self.0.get(&worker) == Some(&holder) {
                // It may be idle, behind a broken network, and would stay so for hours. Gone meanwhile is as good.
                match target.execute(format!("KILL {holder}"), "ending our last session") {
                    Err(error) if error.server_error().is_none() => return Err(error),
                    _ => {}
                }
            } else if begun.elapsed() > OTHER_APPLIER_PATIENCE {
                return Err(Error::from(ErrorKind::IllegalState {
                    action: "apply".into(),
                    state: format!("applied by another session, number {holder} on the target"),
                    allowed: "waiting until it ends".into(),
                })
                .on(Side::Target)
                .with_hint(format!(
                    "Another process runs this task, or the network to one broke: end that process, then KILL {holder} on \
                     the target."
                )));
            }
        }
        self.0.insert(worker, u64::from(target.connection_id()));
        Ok(())
    }
}

/// Opens the connections of workers 1 to `count`, each the only one of its number, all at once.
pub(super) fn open(
    target: &TargetEndpoint,
    ledger: &Ledger,
    count: u32,
    low_water: &LowWater,
    own: &mut OwnSessions,
    stop: &StopToken,
) -> Result<Vec<Worker>> {
    let connections: Vec<Result<Connection>> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = target.writer(stop)?;
                    connection.execute(LOCK_WAIT, "setting up a worker's session")?;
                    Ok(connection)
                })
            })
            .collect();
        let opened = |thread: std::thread::ScopedJoinHandle<'_, Result<Connection>>| {
            thread.join().unwrap_or_else(|_| Err(Error::internal("connecting a worker panicked")))
        };
        opening.into_iter().map(opened).collect()
    });
    (1..=count)
        .zip(connections)
        .map(|(number, connection)| {
            let mut connection = connection?;
            own.become_only(&mut connection, ledger, number, stop)?;
            Ok(Worker::new(number, (target, connection), ledger.clone(), low_water.clone()))
        })
        .collect()
}
