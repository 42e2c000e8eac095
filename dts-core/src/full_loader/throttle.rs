//! The limit of rows per second, shared by all workers.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::stop::StopToken;

use super::options::RateLimit;

/// Makes workers wait so that together they keep to the limit, which may change at any time.
pub(super) struct Throttle {
    limit: RateLimit,
    stop: StopToken,
    /// When the rows taken so far are paid for.
    paid_until: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(limit: RateLimit, stop: StopToken) -> Self {
        Throttle { limit, stop, paid_until: Mutex::new(Instant::now()) }
    }

    /// Takes rows that were just copied and waits until the limit allows more.
    pub(super) fn take(&self, rows: u64) -> Result<()> {
        let limit = self.limit.get();
        if limit == 0 {
            return Ok(());
        }
        let cost = Duration::from_nanos(rows.saturating_mul(1_000_000_000) / limit);
        let now = Instant::now();
        let until = {
            let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            *paid_until = (*paid_until).max(now) + cost;
            *paid_until
        };
        // Short slices, so that a raised limit is felt soon.
        while Instant::now() < until && self.limit.get() == limit {
            self.stop
                .sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(500)))?;
        }
        Ok(())
    }
}
