//! The limit of rows per second, shared by all workers.
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::stop::StopToken;

use super::options::RateLimit;

/// How long a wait goes on before the limit is looked at again.
const SLICE: Duration = Duration::from_millis(500);

/// Makes workers wait so that together they keep to the limit, which may change at any time.
pub(super) struct Throttle {
    limit: RateLimit,
    stop: StopToken,
    account: Mutex<Account>,
}

/// Rows taken, and rows that the limit has allowed since; both only grow. Kept in rows and not in time, so that what is owed
/// at one limit is paid at the next one's pace.
struct Account {
    taken: f64,
    allowed: f64,
    at: Instant,
}

impl Account {
    /// Takes rows and returns the mark that `allowed` must reach before the taker may go on.
    fn take(&mut self, rows: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let rows = rows as f64;
        self.taken += rows;
        self.taken
    }

    /// Lets time pass at a limit. Time in which nothing was owed gives no credit.
    fn advance(&mut self, limit: u64, now: Instant) {
        #[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let earned = limit as f64 * now.saturating_duration_since(self.at).as_secs_f64();
        self.allowed = (self.allowed + earned).min(self.taken);
        self.at = now;
    }

    /// Returns how long it takes at this limit until `mark` is reached; `None` when it is.
    fn left(&self, mark: f64, limit: u64) -> Option<Duration> {
        let rows = mark - self.allowed;
        #[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
        let seconds = rows / limit as f64;
        (rows > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

impl Throttle {
    pub(super) fn new(limit: RateLimit, stop: StopToken) -> Self {
        let account = Account { taken: 0.0, allowed: 0.0, at: Instant::now() };
        Throttle { limit, stop, account: Mutex::new(account) }
    }

    /// Takes rows that were just copied and waits until the limit allows more.
    pub(super) fn take(&self, rows: u64) -> Result<()> {
        let mut mark = None;
        loop {
            let limit = self.limit.get();
            if limit == 0 {
                return Ok(());
            }
            let left = {
                let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
                account.advance(limit, Instant::now());
                let mark = *mark.get_or_insert_with(|| account.take(rows));
                account.left(mark, limit)
            };
            let Some(left) = left else { return Ok(()) };
            self.stop.sleep(left.min(SLICE))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_paid_at_the_present_limit() {
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut account = Account { taken: 0.0, allowed: 0.0, at: start };
        let mark = account.take(3600);
        assert_eq!(account.left(mark, 1), Some(Duration::from_secs(3600)));
        account.advance(1, after(10_000));
        assert_eq!(account.left(mark, 1), Some(Duration::from_secs(3590)));
        // Raised: those who wait and those who come next pay at the new limit.
        let next = account.take(410);
        assert_eq!(account.left(next, 1000), Some(Duration::from_secs(4)));
        account.advance(1000, after(13_600));
        assert_eq!(account.left(mark, 1000), None);
        assert_eq!(account.left(next, 1000), Some(Duration::from_millis(400)));
        // Lowered again.
        assert_eq!(account.left(next, 40), Some(Duration::from_secs(10)));
        // An hour without work is no credit for the next.
        account.advance(1000, after(3_600_000));
        let late = account.take(1000);
        assert_eq!(account.left(late, 1000), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_raised_limit_frees_who_waits() {
        let limit = RateLimit::new(1);
        let throttle = Throttle::new(limit.clone(), StopToken::new());
        std::thread::scope(|scope| {
            // Days at one row a second.
            let waiting = scope.spawn(|| throttle.take(1_000_000));
            while throttle.account.lock().unwrap().taken == 0.0 {
                std::thread::yield_now();
            }
            limit.set(u64::MAX);
            waiting.join().unwrap().unwrap();
        });
        throttle.take(1).unwrap();
    }

    #[test]
    fn a_stop_ends_a_wait_and_no_limit_is_none() {
        let limit = RateLimit::default();
        let stop = StopToken::new();
        let throttle = Throttle::new(limit.clone(), stop.clone());
        throttle.take(1_000_000).unwrap();
        limit.set(1);
        stop.stop();
        assert!(throttle.take(1_000_000).unwrap_err().is_interrupted());
    }
}
