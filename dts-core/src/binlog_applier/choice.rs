//! Which engine: window by window while far behind, transaction by transaction near the head.
use std::time::{Duration, SystemTime};

/// Log that came without a pause makes us far behind.
const BACKLOG_BYTES: u64 = 4 << 20;
/// A transaction that was committed so long ago makes us far behind.
const LAG_FAR: Duration = Duration::from_secs(30);
/// Only with the newest transaction this near, and a pause in the log, we are near again.
const LAG_NEAR: Duration = Duration::from_secs(5);

/// How far behind the applier is, with hysteresis.
#[derive(Debug, Default)]
pub(super) struct Distance {
    bytes_since_pause: u64,
    lag: Duration,
    is_far: bool,
}

impl Distance {
    /// Log came.
    pub(super) fn received(&mut self, bytes: u64) {
        self.bytes_since_pause += bytes;
        self.is_far |= self.bytes_since_pause >= BACKLOG_BYTES;
    }

    /// A transaction is next.
    pub(super) fn reached(&mut self, committed_at: SystemTime, now: SystemTime) {
        self.lag = now.duration_since(committed_at).unwrap_or_default();
        self.is_far |= self.lag >= LAG_FAR;
    }

    /// Everything that the source has sent was taken.
    pub(super) fn paused(&mut self) {
        self.bytes_since_pause = 0;
        self.is_far &= self.lag >= LAG_NEAR;
    }

    /// Returns whether the applier is far behind.
    pub(super) fn is_far(&self) -> bool {
        self.is_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_only_after_a_pause_far_by_bytes_or_time() {
        let now = SystemTime::now();
        let mut distance = Distance::default();
        distance.received(BACKLOG_BYTES - 1);
        distance.paused();
        distance.received(1);
        assert!(!distance.is_far());
        distance.received(BACKLOG_BYTES);
        assert!(distance.is_far());
        distance.reached(now - LAG_NEAR, now);
        distance.paused();
        assert!(distance.is_far(), "a pause alone is not the head: the source may only be slow to send");
        distance.reached(now, now);
        assert!(distance.is_far());
        distance.paused();
        assert!(!distance.is_far());
        distance.reached(now - LAG_FAR, now);
        assert!(distance.is_far());
    }
}
