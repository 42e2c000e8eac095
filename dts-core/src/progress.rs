//! What a run is doing: counters that stages raise and programs poll. Nothing here prints.
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

mod step;
mod table;

pub use step::{Step, StepProgress, StepState};
pub use table::{CopyFacts, TableProgress, TableSnapshot, TableState};

use crate::data::{Position, TableName};

/// What applies changes, at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ApplySnapshot {
    /// Connections that write.
    pub workers: usize,
    /// Those of them that have something to do.
    pub workers_busy: usize,
    /// Rows written for the row events of this run: fewer, where several changes of one row were one.
    pub rows_written: u64,
    /// Deadlocks and lock wait timeouts on the target in this run.
    pub conflicts: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct ProgressSnapshot {
    /// The present step.
    pub step: Option<Step>,
    /// All steps in order.
    pub steps: Vec<StepProgress>,
    /// All tables of the full load.
    pub tables: Vec<TableSnapshot>,
    /// Sum over the tables.
    pub rows_done: u64,
    /// Sum over the tables; never less than `rows_done`.
    pub rows_estimated: u64,
    /// Sum over the tables.
    pub bytes_done: u64,
    /// Sum over the tables; never less than `bytes_done`.
    pub bytes_estimated: u64,
    /// Transactions applied in this run.
    pub transactions_applied: u64,
    /// Row events applied in this run.
    pub row_events_applied: u64,
    /// Bytes of binary log received in this run.
    pub binlog_bytes: u64,
    /// Bytes of binary log that lie in the spool, not yet applied.
    pub spool_bytes: u64,
    /// How far behind the source the target is; `None` before anything was applied or found to be in sync.
    pub lag: Option<Duration>,
    /// Bytes of the source's binary log that were not taken yet: those in the spool count, what the workers have under way
    /// does not. `None` where the source does not tell the sizes of its log files.
    pub lag_bytes: Option<u64>,
    /// What applies.
    pub apply: ApplySnapshot,
    /// How often something was tried again.
    pub retries: u64,
    /// Changes that did not fit the target's row, and were repaired or left out as `apply.on_divergence` says, in this run.
    pub divergences: u64,
    /// What is different on the target and why, as far as this run has made it so.
    pub rewrites: Vec<String>,
    /// P0: where the copy started.
    pub start_position: Option<Position>,
    /// The newest position known of the source.
    pub source_position: Option<Position>,
    /// What is durable on the target.
    pub applied_position: Option<Position>,
    /// Whether everything is copied and indexed, and all that the source had at one of the last two looks (a second apart) is applied.
    pub in_sync: bool,
    /// The writers are on the target: changes go from there to the source.
    pub reverse: bool,
}

impl ProgressSnapshot {
    /// Returns how much of the copy is done, 0 to 1, by the bytes of the rows.
    pub fn load_part(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a part, to be shown")]
        let part = self.bytes_done as f64 / self.bytes_estimated as f64;
        if self.bytes_estimated > 0 { part.min(1.0) } else { 1.0 }
    }

    /// Returns the bytes that are still to be copied; `None` when that is not known, because a table has more rows than its
    /// estimate.
    pub fn load_bytes_left(&self) -> Option<u64> {
        let is_known = self.tables.iter().all(|table| table.is_estimate_good);
        is_known.then(|| self.bytes_estimated.saturating_sub(self.bytes_done))
    }

    /// Returns how much of all index builds is done, 0 to 1: tables weigh as their bytes do.
    pub fn index_part(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a part, to be shown")]
        // One byte more: empty tables count, too.
        let weight = |table: &TableSnapshot| table.bytes_done as f64 + 1.0;
        let all: f64 = self.tables.iter().map(weight).sum();
        let done: f64 = self.tables.iter().map(|table| weight(table) * table.index_part).sum();
        if all > 0.0 { done / all } else { 0.0 }
    }
}

/// Counters that stages raise and programs poll. Clones share them.
#[derive(Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    steps: Mutex<Vec<StepProgress>>,
    tables: Mutex<Vec<Arc<TableProgress>>>,
    transactions: AtomicU64,
    row_events: AtomicU64,
    binlog_bytes: AtomicU64,
    spool_bytes: AtomicU64,
    /// Milliseconds; -1 while unknown.
    lag_ms: AtomicI64,
    /// -1 while unknown.
    lag_bytes: AtomicI64,
    apply: Mutex<ApplySnapshot>,
    retries: AtomicU64,
    divergences: AtomicU64,
    in_sync: AtomicBool,
    reverse: AtomicBool,
    positions: Mutex<(Option<Position>, Option<Position>)>,
    start_position: Mutex<Option<Position>>,
    rewrites: Mutex<Vec<String>>,
    log_name: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters stay meaningful when a thread that held the lock panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Starts at nothing.
    pub fn new() -> Self {
        let progress = Progress::default();
        progress.0.lag_ms.store(-1, Ordering::Relaxed);
        progress.0.lag_bytes.store(-1, Ordering::Relaxed);
        *lock(&progress.0.steps) = Step::ALL
            .iter()
            .map(|&step| StepProgress {
                step,
                state: StepState::Waiting,
                started_at: None,
                finished_at: None,
            })
            .collect();
        progress
    }

    /// Changes a step's state; times are taken now.
    pub fn set_step(&self, step: Step, state: StepState) {
        let now = SystemTime::now();
        for entry in lock(&self.0.steps).iter_mut().filter(|entry| entry.step == step) {
            entry.state = state;
            match state {
                StepState::Running => entry.started_at = Some(now),
                StepState::Done | StepState::Failed => {
                    let started_at = *entry.started_at.get_or_insert(now);
                    if entry.finished_at.is_none() {
                        let took = now.duration_since(started_at).unwrap_or_default();
                        log::info!(
                            "step {}: {} after {:.3} s",
                            step.name(),
                            state.name(),
                            took.as_secs_f64()
                        );
                    }
                    entry.finished_at = Some(now);
                }
                StepState::Waiting | StepState::Skipped => {}
            }
        }
    }

    /// Marks the running step, if any, as failed.
    pub fn fail_step(&self) {
        for entry in lock(&self.0.steps).iter_mut().filter(|entry| entry.state == StepState::Running) {
            entry.state = StepState::Failed;
            entry.finished_at = Some(SystemTime::now());
        }
    }

    /// Adds a table.
    pub fn add_table(&self, table: TableName, rows_estimated: u64, state: TableState) -> Arc<TableProgress> {
        let entry = Arc::new(TableProgress::new(table, rows_estimated, state));
        lock(&self.0.tables).push(entry.clone());
        entry
    }

    /// Returns the counters of a table, when it was added.
    pub fn table(&self, table: &TableName) -> Option<Arc<TableProgress>> {
        lock(&self.0.tables).iter().find(|entry| entry.table == *table).cloned()
    }

    /// Adds applied work. `rows_written`: what was left of the row events to write.
    pub fn add_applied(&self, transactions: u64, row_events: u64, rows_written: u64) {
        self.0.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.0.row_events.fetch_add(row_events, Ordering::Relaxed);
        lock(&self.0.apply).rows_written += rows_written;
    }

    /// Sets how many of the apply workers have something to do.
    pub fn set_workers(&self, busy: usize, all: usize) {
        let mut apply = lock(&self.0.apply);
        (apply.workers_busy, apply.workers) = (busy, all);
    }

    /// Counts a deadlock or lock wait timeout of an apply worker.
    pub fn add_conflict(&self) {
        lock(&self.0.apply).conflicts += 1;
    }

    /// Adds received binary log.
    pub fn add_binlog_bytes(&self, bytes: u64) {
        self.0.binlog_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets what lies in the spool.
    pub fn set_spool_bytes(&self, bytes: u64) {
        self.0.spool_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Sets how far behind the source the target is.
    pub fn set_lag(&self, lag: Option<Duration>) {
        let milliseconds = lag.map_or(-1, |lag| i64::try_from(lag.as_millis()).unwrap_or(i64::MAX));
        self.0.lag_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Sets how many bytes of the source's binary log were not taken yet.
    pub fn set_lag_bytes(&self, bytes: Option<u64>) {
        let bytes = bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        self.0.lag_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts one more attempt.
    pub fn add_retry(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets what the files of the source's binary log are called: positions of a source without GTIDs are shown so.
    pub fn set_log_name(&self, name: Option<&str>) {
        *lock(&self.0.log_name) = name.map(str::to_owned);
    }

    /// Counts changes that did not fit the target's row and did not stop the task.
    pub fn add_divergences(&self, count: u64) {
        self.0.divergences.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds what is different on the target and why; what is known already is not added again.
    pub fn add_rewrites(&self, notes: &[String]) {
        let mut rewrites = lock(&self.0.rewrites);
        for note in notes {
            if !rewrites.contains(note) {
                rewrites.push(note.clone());
            }
        }
    }

    /// Sets where the copy started.
    pub fn set_start_position(&self, position: Position) {
        *lock(&self.0.start_position) = Some(position);
    }

    /// Sets the newest position known of the source.
    pub fn set_source_position(&self, position: Position) {
        lock(&self.0.positions).0 = Some(position);
    }

    /// Sets what is durable on the target.
    pub fn set_applied_position(&self, position: Position) {
        lock(&self.0.positions).1 = Some(position);
    }

    /// Sets whether the target has all that the source had lately.
    pub fn set_in_sync(&self, in_sync: bool) {
        self.0.in_sync.store(in_sync, Ordering::Relaxed);
    }

    /// Sets whether changes go from the target to the source.
    pub fn set_reverse(&self, reverse: bool) {
        self.0.reverse.store(reverse, Ordering::Relaxed);
    }

    /// Takes everything at this moment.
    pub fn snapshot(&self) -> ProgressSnapshot {
        let tables: Vec<TableSnapshot> = lock(&self.0.tables).iter().map(|table| table.snapshot()).collect();
        let steps = lock(&self.0.steps).clone();
        let (source_position, applied_position) = lock(&self.0.positions).clone();
        let log_name = lock(&self.0.log_name).clone();
        let shown = |position: Option<Position>| position.map(|position| position.shown(log_name.as_deref()));
        let (source_position, applied_position) = (shown(source_position), shown(applied_position));
        ProgressSnapshot {
            step: steps
                .iter()
                .rev()
                .find(|s| matches!(s.state, StepState::Running | StepState::Failed))
                .map(|s| s.step),
            steps,
            rows_done: tables.iter().map(|t| t.rows_done).sum(),
            rows_estimated: tables.iter().map(|t| t.rows_estimated).sum(),
            bytes_done: tables.iter().map(|t| t.bytes_done).sum(),
            bytes_estimated: tables.iter().map(|t| t.bytes_estimated).fold(0, u64::saturating_add),
            tables,
            transactions_applied: self.0.transactions.load(Ordering::Relaxed),
            row_events_applied: self.0.row_events.load(Ordering::Relaxed),
            binlog_bytes: self.0.binlog_bytes.load(Ordering::Relaxed),
            spool_bytes: self.0.spool_bytes.load(Ordering::Relaxed),
            lag: u64::try_from(self.0.lag_ms.load(Ordering::Relaxed)).ok().map(Duration::from_millis),
            lag_bytes: u64::try_from(self.0.lag_bytes.load(Ordering::Relaxed)).ok(),
            apply: *lock(&self.0.apply),
            retries: self.0.retries.load(Ordering::Relaxed),
            divergences: self.0.divergences.load(Ordering::Relaxed),
            rewrites: lock(&self.0.rewrites).clone(),
            start_position: shown(lock(&self.0.start_position).clone()),
            source_position,
            applied_position,
            in_sync: self.0.in_sync.load(Ordering::Relaxed),
            reverse: self.0.reverse.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_step_is_the_last_one_running() {
        let progress = Progress::new();
        assert_eq!(progress.snapshot().step, None);
        progress.set_step(Step::Structure, StepState::Done);
        progress.set_step(Step::FullLoad, StepState::Running);
        assert_eq!(progress.snapshot().step, Some(Step::FullLoad));
    }

    #[test]
    fn an_index_build_is_as_far_as_its_bytes() {
        let progress = Progress::new();
        let add = |name: &str, bytes| {
            let table = progress.add_table(TableName::new("a", name), 10, TableState::Copied);
            table.add(10, bytes);
            table
        };
        let (small, large) = (add("s", 1000), add("l", 3000));
        assert_eq!(progress.snapshot().index_part(), 0.0);
        small.set_state(TableState::Done);
        large.set_state(TableState::Indexing);
        assert!((progress.snapshot().index_part() - 0.25).abs() < 0.001);
        large.set_index_work(50, 100);
        assert!((progress.snapshot().index_part() - 0.625).abs() < 0.001);
        large.set_index_work(150, 100);
        assert!((progress.snapshot().index_part() - 1.0).abs() < 0.001, "an estimate that was too low");
        assert_eq!(Progress::new().snapshot().index_part(), 0.0);
    }

    #[test]
    fn the_key_space_corrects_the_statistics() {
        let progress = Progress::new();
        let table = progress.add_table(TableName::new("a", "t"), 1_000, TableState::Copying);
        table.set_bytes_estimated(64_000);
        let seen = progress.snapshot();
        assert_eq!(
            (seen.rows_estimated, seen.bytes_estimated, seen.load_bytes_left()),
            (1_000, 64_000, Some(64_000))
        );
        // A quarter of the keys held a thousand rows, and another chunk is under way.
        table.add(1_000, 100_000);
        table.add_key_space(0.25, 1_000);
        table.add(500, 50_000);
        let seen = progress.snapshot();
        assert_eq!((seen.rows_estimated, seen.bytes_estimated), (4_000, 400_000));
        assert_eq!(seen.load_bytes_left(), Some(250_000));
        assert!((seen.load_part() - 0.375).abs() < 1e-9);
        table.set_state(TableState::Copied);
        let seen = progress.snapshot();
        assert_eq!((seen.rows_estimated, seen.load_bytes_left()), (1_500, Some(0)));
    }

    #[test]
    fn what_is_left_is_not_guessed_when_the_statistics_were_wrong() {
        let progress = Progress::new();
        let table = progress.add_table(TableName::new("a", "t"), 1_000, TableState::Copying);
        table.add(999, 9_990);
        assert_eq!(progress.snapshot().load_bytes_left(), Some(10));
        table.add(500, 5_000);
        assert_eq!(progress.snapshot().load_bytes_left(), None);
    }

    #[test]
    fn an_estimate_never_stays_below_what_was_done() {
        let progress = Progress::new();
        let table = progress.add_table(TableName::new("a", "t"), 10, TableState::Copying);
        table.add(15, 1500);
        assert_eq!(progress.snapshot().rows_estimated, 15);
    }
}
