//! How closely the target follows the source, without asking a clock what time it is.
//!
//! A source that is busy all the time is never wholly applied at the moment when one looks, and a lag computed from two
//! machines' clocks is wrong by as much as they differ. So the source's position is remembered with the moment when it was
//! seen, on this process's own steady clock: once the target has it, it is no more behind than that was ago.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dts_core::data::{GtidSet, Position};
use dts_core::progress::{ProgressSnapshot, Step};

/// A target that has everything of this long ago is ready to be completed. The source is looked at once a second.
const READY_WITHIN: Duration = Duration::from_millis(2500);
/// A target that has not is not ready any more. Far from the other limit, so that it does not flicker.
const BEHIND_AFTER: Duration = Duration::from_secs(10);
/// How many positions are remembered; on a long way back the old ones are the first to be reached.
const LOOKS_MAX: usize = 64;

/// Remembers where the source was, and when the target had that.
#[derive(Default)]
pub(super) struct Nearness {
    looks: VecDeque<(GtidSet, Instant)>,
    /// When the newest position that the target has was seen.
    reached: Option<Instant>,
}

impl Nearness {
    /// Takes a look at the counters.
    pub(super) fn look(&mut self, now: Instant, snapshot: &ProgressSnapshot) {
        if snapshot.step != Some(Step::InSync) {
            // What was reached idempotently says nothing.
            *self = Nearness::default();
            return;
        }
        if snapshot.in_sync {
            self.looks.clear();
            self.reached = Some(now);
            return;
        }
        if let Some(Position::Gtid(seen)) = &snapshot.source_position
            && self.looks.back().is_none_or(|(last, _)| last != seen)
        {
            if self.looks.len() == LOOKS_MAX {
                // Every second one is enough.
                let mut index = 0;
                self.looks.retain(|_| {
                    index += 1;
                    index % 2 == 0
                });
            }
            self.looks.push_back((seen.clone(), now));
        }
        if let Some(Position::Gtid(applied)) = &snapshot.applied_position {
            while let Some((_, at)) = self.looks.front().filter(|(seen, _)| applied.contains_set(seen)) {
                self.reached = Some(*at);
                self.looks.pop_front();
            }
        }
    }

    /// Returns whether the target follows closely.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.reached.is_some_and(|at| now.duration_since(at) <= READY_WITHIN)
    }

    /// Returns whether the target follows no more.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        self.reached.is_none_or(|at| now.duration_since(at) > BEHIND_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use dts_core::progress::{Progress, StepState};

    use super::*;

    const SOURCE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(until: u32) -> Position {
        Position::Gtid(GtidSet::parse(&format!("{SOURCE}:1-{until}")).unwrap())
    }

    #[test]
    fn a_busy_source_is_followed_closely_though_never_reached() {
        let (progress, start) = (Progress::new(), Instant::now());
        let mut nearness = Nearness::default();
        progress.set_step(Step::InSync, StepState::Running);
        for look in 1..40_u32 {
            let now = start + Duration::from_millis(200) * look;
            // The source is looked at every second; the target has what it had half a second ago.
            progress.set_source_position(set(1000 * (look / 5 * 5) + 1000));
            progress.set_applied_position(set(1000 * look.saturating_sub(2) + 1));
            nearness.look(now, &progress.snapshot());
            assert_eq!(nearness.is_ready(now), look >= 3, "{look}");
        }
    }

    #[test]
    fn a_target_that_falls_behind_is_noticed_but_not_at_once() {
        let (progress, start) = (Progress::new(), Instant::now());
        let mut nearness = Nearness::default();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(nearness.is_behind(start), "nothing was reached yet");
        progress.set_step(Step::InSync, StepState::Running);
        progress.set_in_sync(true);
        nearness.look(start, &progress.snapshot());
        assert!(nearness.is_ready(start));
        progress.set_in_sync(false);
        progress.set_applied_position(set(1));
        for second in 1..200 {
            progress.set_source_position(set(u32::try_from(second).unwrap() * 10));
            nearness.look(at(second), &progress.snapshot());
            assert_eq!(nearness.is_ready(at(second)), second <= 2);
            assert_eq!(nearness.is_behind(at(second)), second > 10);
        }
        assert!(nearness.looks.len() <= LOOKS_MAX);
        // It catches up with what was seen lately.
        progress.set_applied_position(set(1_995));
        nearness.look(at(200), &progress.snapshot());
        assert!(nearness.is_ready(at(200)), "it has what the source had a second ago");
    }

    #[test]
    fn catching_up_before_the_indexes_does_not_count() {
        let progress = Progress::new();
        let mut nearness = Nearness::default();
        progress.set_step(Step::CatchUp, StepState::Running);
        progress.set_in_sync(true);
        progress.set_lag(Some(Duration::ZERO));
        nearness.look(Instant::now(), &progress.snapshot());
        assert!(!nearness.is_ready(Instant::now()));
    }
}
