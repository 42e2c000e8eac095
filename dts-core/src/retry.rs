//! Trying again, with a bound: asks the error whether it can help.
use std::time::Duration;

use crate::error::{Error, Recovery, Result};
use crate::progress::Progress;
use crate::stop::StopToken;

/// How often and how patiently something is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries_max: u32,
    /// Wait before the first retry; doubles each time.
    pub wait: Duration,
    /// Longest wait between two attempts.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    /// About two minutes in all: a restart of a server or a fail-over fits in.
    fn default() -> Self {
        RetryPolicy { retries_max: 20, wait: Duration::from_millis(100), wait_max: Duration::from_secs(10) }
    }
}

/// One thing's attempts.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    used: u32,
}

impl Attempts {
    /// Starts counting.
    pub fn new(policy: RetryPolicy) -> Self {
        Attempts { policy, used: 0 }
    }

    /// Forgets earlier attempts: something has succeeded.
    pub fn succeeded(&mut self) {
        self.used = 0;
    }

    /// Decides after a failure: waits and returns, so that the caller tries again, or gives the error back.
    ///
    /// # Errors
    /// The error itself, when it is not one that passes, when the attempts are used up, or when somebody asked to stop.
    pub fn wait_after(&mut self, error: Error, stop: &StopToken, progress: &Progress) -> Result<()> {
        if error.is_interrupted()
            || error.recovery() != Recovery::Retry
            || self.used >= self.policy.retries_max
        {
            return Err(error);
        }
        stop.check()?;
        let wait = self.policy.wait.saturating_mul(1 << self.used.min(16)).min(self.policy.wait_max);
        self.used += 1;
        log::warn!(
            "{error}; attempt {} of {} in {} ms",
            self.used,
            self.policy.retries_max,
            wait.as_millis()
        );
        progress.add_retry();
        stop.sleep(wait)
    }
}
