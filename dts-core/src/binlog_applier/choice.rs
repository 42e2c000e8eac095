//! Which engine: window by window while far behind, transaction by transaction near the head.

use std::time::{Duration, Instant};

/// Log that came without a pause makes us far behind.
const BACKLOG_BYTES: u64 = 4 << 20;
/// A time in which nothing came. Shorter ones are only the receiver's breath.
const PAUSE: Duration = Duration::from_millis(100);

/// How far behind the applier is. Told by the log alone: the clocks of source and applier need not agree.
#[derive(Debug, Default)]
pub(super) struct Distance {
    bytes_since_pause: u64,
    quiet_since: Option<Instant>,
}

impl Distance {
    /// Log came.
    pub(super) fn received(&mut self, bytes: u64) {
        self.bytes_since_pause += bytes;
        self.quiet_since = None;
    }

    /// Everything that was sent is taken.
    pub(super) fn nothing_came(&mut self, now: Instant) {
        let since = *self.quiet_since.get_or_insert(now);
        if now.duration_since(since) >= PAUSE {
            self.bytes_since_pause = 0;
        }
    }

    /// Returns whether the applier is far behind.
    pub(super) fn is_far(&self) -> bool {
        self.bytes_since_pause >= BACKLOG_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_by_log_without_a_pause() {
        let mut distance = Distance::default();
        let mut now = Instant::now();
        distance.received(BACKLOG_BYTES - 1);
        assert!(!distance.is_far());
        distance.nothing_came(now);
        distance.received(1);
        assert!(distance.is_far(), "no pause yet");
        for _ in 0..20 {
            now += PAUSE - Duration::from_millis(1);
            distance.nothing_came(now);
            distance.received(1);
        }
        assert!(distance.is_far(), "many short ones are no pause");
        distance.nothing_came(now);
        distance.nothing_came(now + PAUSE);
        assert!(!distance.is_far());
    }
}
