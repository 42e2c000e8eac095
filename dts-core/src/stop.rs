//! The one way to end a run early: a token that every loop and every wait looks at.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};

/// A shared flag that asks a run to end. Clones share the flag.
///
/// Everything that was recorded before a stop is durable, so that a stop is a pause: the next run resumes.
#[derive(Clone, Default)]
pub struct StopToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stopped: Mutex<bool>,
    changed: Condvar,
    parent: Option<StopToken>,
}

impl StopToken {
    /// Makes a token that is not stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a token that is stopped when this one is, and can be stopped on its own without stopping this one.
    #[must_use]
    pub fn child(&self) -> Self {
        StopToken(Arc::new(Shared { parent: Some(self.clone()), ..Shared::default() }))
    }

    /// Asks to stop. Cheap, may be called from any thread and any number of times.
    pub fn stop(&self) {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }

    /// Returns whether somebody asked to stop.
    pub fn is_stopped(&self) -> bool {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
            || self.0.parent.as_ref().is_some_and(StopToken::is_stopped)
    }

    /// Returns [`ErrorKind::Interrupted`] when somebody asked to stop.
    ///
    /// # Errors
    /// Only that one.
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Waits for `duration`, or until somebody asks to stop.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when somebody asked to stop, at once.
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        // A parent's stop does not wake this condition variable, so the wait is cut into slices.
        const SLICE: Duration = Duration::from_millis(100);
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let stopped = self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            if !*stopped {
                drop(self.0.changed.wait_timeout(stopped, left.min(SLICE)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = StopToken::new();
        let child = parent.child();
        let sibling = parent.child();
        sibling.stop();
        assert!(!parent.is_stopped() && !child.is_stopped());
        parent.stop();
        assert!(child.check().is_err_and(|e| e.is_interrupted()));
    }
}
