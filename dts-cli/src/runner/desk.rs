//! The second thread of a runner: looks at the counters a few times a second, draws progress, shows that this process lives,
//! writes the status that `dts status` reads, and takes what other processes ask for.
use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use dts_core::checker::CheckProgress;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::State;
use dts_core::progress::{Progress, ProgressSnapshot, Step};
use dts_core::stop::StopToken;

use super::nearness::Nearness;
use super::serve::{Ending, Served, What};
use super::{Goal, LOOK_EVERY, Runner, lock};
use crate::output::json::{ErrorDocument, StatusDocument};
use crate::output::progress::{Display, Meter, Rates, View};
use crate::output::status;
use crate::store::{Sample, Store};

/// How often the status is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often a sample is kept for the report: more often at first, so that a short run has a picture, too.
const SAMPLE_EVERY: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(2)];
/// How many samples of a run are kept at the first of these paces.
const EARLY_SAMPLES: u32 = 75;
/// What both threads write to.
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) state: State,
    /// The counters of the present attempt; each begins with fresh ones.
    pub(super) progress: Progress,
    /// The counters of the comparison under way.
    pub(super) check: Option<Arc<CheckProgress>>,
    pub(super) retries: u64,
    pub(super) target_position: Option<String>,
    /// The status that was written last, here or by an earlier run.
    pub(super) written: StatusDocument,
    pub(super) lease_lost: Option<Error>,
    /// Ends the present round of work; the next round has another one.
    pub(super) round: StopToken,
    /// What the present round is ended for.
    pub(super) ending: Option<Ending>,
    /// What is being done for others beside the work.
    pub(super) served: Vec<Served>,
}

impl Runner<'_> {
    /// Looks, draws, writes and serves until `ended`. Without a goal there is nothing to draw and nothing to count.
    pub(super) fn attend<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        goal: Option<Goal>,
        ended: &StopToken,
    ) {
        let mut display = if goal.is_some() { Display::new(self.console) } else { Display::Off };
        let (mut meter, mut nearness) = (Meter::default(), Nearness::default());
        let (mut write_at, mut sample_at) = (Instant::now(), Instant::now());
        let mut samples = 0;
        let (mut last_step, mut announced) = (None, false);
        loop {
            let is_last = ended.is_stopped();
            let now = Instant::now();
            let (state, progress, check) = {
                let desk = self.desk();
                (desk.state, desk.progress.clone(), desk.check.as_ref().map(|check| check.counts()))
            };
            let snapshot = progress.snapshot();
            nearness.look(now, &snapshot);
            let rates = meter.rates(now, &snapshot);
            let is_ready = nearness.is_ready(now) && snapshot.lag.is_some();
            if is_ready {
                self.in_sync_once.stop();
            }
            let next = self.state_after(state, is_ready, nearness.is_behind(now));
            let shown = next.map_or(state, |(next, _)| next);
            let view = View { name: self.job.task, state: shown, snapshot: &snapshot, rates, check };
            display.show(&view);
            if now >= write_at || is_last || next.is_some() || snapshot.step != last_step {
                write_at = now + WRITE_EVERY;
                last_step = snapshot.step;
                self.write(&view);
            }
            // After the status is written, so that nobody sees a new state beside old counters.
            if let Some((next, reason)) = next {
                self.follow(state, next, reason);
                if next == State::ReadyToComplete && goal == Some(Goal::StayInSync) && !announced {
                    announced = true;
                    self.announce();
                }
            }
            // At the end of a task nobody raises these counters any more.
            let is_counted = goal.is_some() && !matches!(state, State::Completing | State::Stopping);
            if (now >= sample_at || is_last) && is_counted {
                sample_at = now + SAMPLE_EVERY[usize::from(samples >= EARLY_SAMPLES)];
                samples += 1;
                self.sample(&snapshot, rates);
            }
            if is_last {
                return display.finish(&view);
            }
            self.take_requests(scope, &snapshot);
            let _ = ended.sleep(LOOK_EVERY);
        }
    }

    /// Says what to do next, once there is something to do.
    fn announce(&self) {
        let task = self.desk().store.get(self.job.task);
        if let Ok(task) = task {
            self.console.note(&format!("{}: {}", self.job.task, status::document(&task, None).next_action));
        }
    }

    /// Returns the state that the counters show to follow, and why.
    fn state_after(&self, state: State, is_ready: bool, is_behind: bool) -> Option<(State, &'static str)> {
        let is_stopped = || {
            let desk = self.desk();
            desk.ending.is_none() && desk.round.is_stopped()
        };
        match state {
            State::Running | State::ReadyToComplete | State::Retrying if is_stopped() => {
                Some((State::Pausing, "asked to stop"))
            }
            State::Running if is_ready => Some((State::ReadyToComplete, "in sync")),
            State::ReadyToComplete if is_behind => Some((State::Running, "fell behind")),
            _ => None,
        }
    }

    /// Brings the task from `state` to `next`, unless the other thread has changed its state meanwhile.
    fn follow(&self, state: State, next: State, reason: &str) {
        let mut desk = self.desk();
        if desk.state == state && desk.lease_lost.is_none() {
            match desk.store.advance(self.job.task, next, reason, None) {
                Ok(_) => {
                    desk.state = next;
                    drop(desk);
                    self.notify(state, next, reason, None);
                }
                Err(error) => log::warn!("{error}"),
            }
        }
    }

    fn write(&self, view: &View<'_>) {
        let mut document = status::of_progress(view);
        let mut desk = self.desk();
        if desk.lease_lost.is_some() {
            // What is written about the task is the new holder's business.
            return;
        }
        document.target_position.clone_from(&desk.target_position);
        status::keep_what_was_done(&mut document, &desk.written);
        let text = serde_json::to_string(&document).unwrap_or_default();
        // A validation has no counters; what an earlier run reached is still true.
        let written = match desk.state {
            State::Validating => Ok(()),
            _ => desk.store.write_status(self.job.task, &text),
        };
        if desk.state != State::Validating {
            desk.written = document;
        }
        drop(desk);
        if let Err(error) = written {
            log::warn!("the status could not be written: {error}");
        }
        let beat = lock(&self.lease).beat();
        match beat {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::IllegalState { .. }) => {
                // Two processes on one task must never be.
                self.desk().lease_lost.get_or_insert(error);
                self.stop.stop();
            }
            Err(error) => log::warn!("the lease could not be renewed: {error}"),
        }
    }

    fn sample(&self, snapshot: &ProgressSnapshot, rates: Rates) {
        let sample = Sample {
            step: snapshot.step.map(Step::name),
            rows_done: snapshot.rows_done,
            bytes_done: snapshot.bytes_done,
            transactions_applied: snapshot.transactions_applied,
            rows_per_second: rates.rows,
            lag_seconds: snapshot.lag.map(|lag| lag.as_secs_f64()),
            spool_bytes: snapshot.spool_bytes,
        };
        if let Err(error) = self.desk().store.add_sample(self.job.task, &sample) {
            log::warn!("a sample could not be written: {error}");
        }
    }

    /// Brings the task into its next state.
    pub(super) fn advance(&self, next: State, reason: &str, error: Option<&ErrorDocument>) -> Result<()> {
        let mut desk = self.desk();
        if desk.lease_lost.is_some() {
            return Err(ErrorKind::Interrupted.into());
        }
        let is_ending = matches!(desk.state, State::Pausing | State::Stopping | State::Completing);
        if is_ending && matches!(next, State::Running | State::Retrying) && desk.round.is_stopped() {
            // The wish to end came between two attempts.
            return desk.round.check();
        }
        let from = desk.store.advance(self.job.task, next, reason, error)?;
        desk.state = next;
        drop(desk);
        self.notify(from, next, reason, error);
        Ok(())
    }

    /// Ends the present round for `what`, and says so in the task's state.
    pub(super) fn end_round(&self, ending: Ending, reason: &str) -> Result<()> {
        let state = match ending.what {
            What::Pause => State::Pausing,
            What::Stop => State::Stopping,
            What::Complete { .. } | What::CutOver | What::RollBack => State::Completing,
        };
        // A validation is only broken off; what it leads to is seen at its end.
        if self.desk().state != State::Validating {
            self.advance(state, reason, None)?;
        }
        let mut desk = self.desk();
        desk.ending = Some(ending);
        desk.round.stop();
        Ok(())
    }
}
