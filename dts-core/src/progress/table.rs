//! How far one table is.
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock;
use crate::data::TableName;

/// How far a table's copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableState {
    /// Not begun.
    Waiting,
    /// Rows are being copied.
    Copying,
    /// All rows are copied.
    Copied,
    /// Its indexes are being built.
    Indexing,
    /// Complete.
    Done,
}

impl TableState {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            TableState::Waiting => "waiting",
            TableState::Copying => "copying",
            TableState::Copied => "copied",
            TableState::Indexing => "indexing",
            TableState::Done => "done",
        }
    }
}

/// How a table was copied; known once its rows are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyFacts {
    /// Its name on the target.
    pub target: TableName,
    /// Chunks recorded.
    pub chunks: u64,
    /// Chunks that had to be copied a second time because a run ended in the middle of them.
    pub chunks_again: u64,
    /// `load-data` or `insert`.
    pub method: &'static str,
    /// How its rows were read: `lock-free` or the kind of exact snapshot.
    pub consistency: &'static str,
}

/// From what part of the key space on what was found there says more than the statistics.
const KEY_SPACE_LEAST: f64 = 0.02;

/// Counters of one table; shared between the workers that copy it.
#[derive(Debug)]
pub struct TableProgress {
    /// The table's name on the source.
    pub table: TableName,
    rows_estimated: u64,
    bytes_estimated: AtomicU64,
    rows_done: AtomicU64,
    bytes_done: AtomicU64,
    /// The part of the key space that is copied, 0 to 1, and the rows that were in it.
    key_space: Mutex<(f64, u64)>,
    /// Done and estimated work of its index build, in the server's units.
    index_work: Mutex<(u64, u64)>,
    facts: Mutex<Option<CopyFacts>>,
    state: Mutex<TableState>,
}

impl TableProgress {
    pub(super) fn new(table: TableName, rows_estimated: u64, state: TableState) -> Self {
        TableProgress {
            table,
            rows_estimated,
            bytes_estimated: AtomicU64::new(0),
            rows_done: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            key_space: Mutex::new((0.0, 0)),
            index_work: Mutex::new((0, 0)),
            facts: Mutex::new(None),
            state: Mutex::new(state),
        }
    }

    /// Adds copied rows, as the source sent them.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what a chunk that failed had added.
    pub fn take_back(&self, rows: u64, bytes: u64) {
        self.rows_done.fetch_sub(rows, Ordering::Relaxed);
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes back everything: the table is copied from its beginning again.
    pub fn start_anew(&self) {
        self.rows_done.store(0, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
    }

    /// Sets how many bytes the rows are estimated to have, when a copy begins and nothing is known of them.
    pub fn set_bytes_estimated(&self, bytes: u64) {
        self.bytes_estimated.store(bytes, Ordering::Relaxed);
        // A copy that begins again sees the key space again.
        *lock(&self.key_space) = (0.0, 0);
    }

    /// Adds a copied part of the table's key space (all of it is 1) and the rows found in it. That corrects the estimate of the
    /// statistics: what is left is taken to be as dense as what was seen.
    pub fn add_key_space(&self, part: f64, rows: u64) {
        let mut seen = lock(&self.key_space);
        *seen = ((seen.0 + part).min(1.0), seen.1 + rows);
    }

    /// Returns how many rows the table is thought to have, and whether that can still be believed.
    fn estimate(&self, rows_done: u64) -> (u64, bool) {
        let (part, rows) = *lock(&self.key_space);
        if part < KEY_SPACE_LEAST {
            return (self.rows_estimated.max(rows_done), rows_done <= self.rows_estimated);
        }
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate, and `as` keeps to the limits of u64"
        )]
        let all = (rows as f64 / part).round() as u64;
        (all.max(rows_done), true)
    }

    /// Sets how far its index build is, in the target's own units; the server corrects its estimate as it goes.
    pub fn set_index_work(&self, done: u64, estimated: u64) {
        *lock(&self.index_work) = (done, estimated);
    }

    /// Sets how it was copied.
    pub fn set_facts(&self, facts: CopyFacts) {
        *lock(&self.facts) = Some(facts);
    }

    /// Changes the state.
    pub fn set_state(&self, state: TableState) {
        *lock(&self.state) = state;
    }

    /// Takes everything at this moment.
    pub(super) fn snapshot(&self) -> TableSnapshot {
        let rows_done = self.rows_done.load(Ordering::Relaxed);
        let state = *lock(&self.state);
        let complete = matches!(state, TableState::Copied | TableState::Indexing | TableState::Done);
        let bytes_done = self.bytes_done.load(Ordering::Relaxed);
        let (rows_estimated, is_estimate_good) =
            if complete { (rows_done, true) } else { self.estimate(rows_done) };
        let bytes_estimated = match rows_done {
            _ if complete => bytes_done,
            0 => self.bytes_estimated.load(Ordering::Relaxed),
            _ => {
                let bytes = u128::from(bytes_done) * u128::from(rows_estimated) / u128::from(rows_done);
                u64::try_from(bytes).unwrap_or(u64::MAX).max(bytes_done)
            }
        };
        let (index_done, index_estimated) = *lock(&self.index_work);
        #[allow(clippy::cast_precision_loss, reason = "a part, to be shown")]
        let index_part = match state {
            TableState::Done => 1.0,
            TableState::Indexing if index_estimated > 0 => {
                (index_done as f64 / index_estimated as f64).min(1.0)
            }
            _ => 0.0,
        };
        TableSnapshot {
            table: self.table.clone(),
            rows_done,
            rows_estimated,
            bytes_done,
            bytes_estimated,
            is_estimate_good,
            index_part,
            facts: lock(&self.facts).clone(),
            state,
        }
    }
}

/// Counters of one table at one moment.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    /// The table's name on the source.
    pub table: TableName,
    /// Rows copied.
    pub rows_done: u64,
    /// Rows that it is thought to have. For a key of numbers what was found in the key space so far tells; for others the
    /// source's statistics do, which may be off by half.
    pub rows_estimated: u64,
    /// Bytes copied, as the source sent them.
    pub bytes_done: u64,
    /// Bytes that its rows are thought to have.
    pub bytes_estimated: u64,
    /// Whether the estimate can still be believed: more rows than estimated may have come.
    pub is_estimate_good: bool,
    /// How much of its index build is done, 0 to 1: what the target accounts, else nothing until all is done.
    pub index_part: f64,
    /// How it was copied; `None` while it is being copied.
    pub facts: Option<CopyFacts>,
    /// How far it is.
    pub state: TableState,
}
