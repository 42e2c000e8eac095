//! How far a check is, for whoever watches it.
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a running check; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct CheckProgress {
    tables: AtomicU64,
    tables_done: AtomicU64,
    rows_estimated: AtomicU64,
    rows_compared: AtomicU64,
    chunks_done: AtomicU64,
    chunks_different: AtomicU64,
    differences: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckCounts {
    /// Tables that take part.
    pub tables: u64,
    /// Tables that are done.
    pub tables_done: u64,
    /// Rows of the source's tables, as its storage engine estimates them.
    pub rows_estimated: u64,
    /// Rows compared.
    pub rows_compared: u64,
    /// Chunks compared.
    pub chunks_done: u64,
    /// Chunks with a confirmed difference.
    pub chunks_different: u64,
    /// Confirmed differences.
    pub differences: u64,
}

impl CheckProgress {
    /// Makes counters that are all 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the counters.
    pub fn counts(&self) -> CheckCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CheckCounts {
            tables: read(&self.tables),
            tables_done: read(&self.tables_done),
            rows_estimated: read(&self.rows_estimated),
            rows_compared: read(&self.rows_compared),
            chunks_done: read(&self.chunks_done),
            chunks_different: read(&self.chunks_different),
            differences: read(&self.differences),
        }
    }

    pub(super) fn begin(&self, tables: usize, rows_estimated: u64) {
        self.tables.store(tables as u64, Ordering::Relaxed);
        self.rows_estimated.store(rows_estimated, Ordering::Relaxed);
    }

    pub(super) fn table_done(&self) {
        self.tables_done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn chunk_done(&self, rows: u64, differences: u64) {
        self.rows_compared.fetch_add(rows, Ordering::Relaxed);
        self.chunks_done.fetch_add(1, Ordering::Relaxed);
        self.chunks_different.fetch_add(u64::from(differences > 0), Ordering::Relaxed);
        self.differences.fetch_add(differences, Ordering::Relaxed);
    }
}
