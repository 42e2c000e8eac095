//! How rows are copied.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How rows are written to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LoadMethod {
    /// LOAD DATA where the target allows `local_infile`, else INSERT.
    #[default]
    Auto,
    /// LOAD DATA LOCAL INFILE, streamed from memory; fails where the target refuses it.
    LoadData,
    /// Multi-row INSERT; about 1.7 times the target's work of LOAD DATA.
    Insert,
}

/// A limit of rows per second that may be changed while the load runs. Clones share it. 0 is no limit.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(Arc<AtomicU64>);

impl RateLimit {
    /// Starts with a limit; 0 is none.
    pub fn new(rows_per_second_max: u64) -> Self {
        RateLimit(Arc::new(AtomicU64::new(rows_per_second_max)))
    }

    /// Changes the limit; takes effect within a second.
    pub fn set(&self, rows_per_second_max: u64) {
        self.0.store(rows_per_second_max, Ordering::Relaxed);
    }

    /// Returns the limit; 0 is none.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How rows are copied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FullLoadOptions {
    /// Chunks copied at the same time, each over one connection to either side. 1 to 64, default 4. More load both servers
    /// more; beyond the cores of the smaller one nothing is gained.
    pub threads: usize,
    /// Bytes of rows that one chunk should have; one chunk is one transaction on the target. 1 MiB to 1 GiB, default
    /// 16 MiB. Smaller repeats less after a crash, larger commits less often.
    pub chunk_bytes: u64,
    /// Rows per second over all threads. Default no limit.
    pub rate_limit: RateLimit,
    /// How rows are written.
    pub method: LoadMethod,
}

impl Default for FullLoadOptions {
    fn default() -> Self {
        FullLoadOptions {
            threads: 4,
            chunk_bytes: 16 << 20,
            rate_limit: RateLimit::default(),
            method: LoadMethod::default(),
        }
    }
}
