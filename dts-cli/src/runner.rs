//! Works on one task: validation, the run itself, the comparison at its end, and all that other processes see of it.
//!
//! Two threads share the work. The one that calls [`Runner::run`] drives the engine, tries again after transient errors
//! and decides the task's next state. The other one ([`Runner::report`]) looks at the counters a few times a second: it
//! draws progress, shows that this process lives, and writes the status that `dts status` reads.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dts_core::checker::{CheckMode, CheckOptions, CheckProgress, CheckReport};
use dts_core::error::{Error, ErrorKind, Recovery, Result};
use dts_core::migration::{RunReport, State, Until};
use dts_core::progress::{Progress, ProgressSnapshot};
use dts_core::stop::StopToken;
use dts_core::validator::{ItemResult, TaskType, ValidationReport};

use crate::config::TaskFile;
use crate::engine::Engine;
use crate::output::Console;
use crate::output::json::{CheckDocument, ErrorDocument, ValidationDocument};
use crate::output::progress::{Display, Meter, Rates, View};
use crate::output::{check, format, status};
use crate::store::{Lease, Sample, Store};

/// How often counters are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the status is written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often a sample is kept for the report.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// A task that lags no more than this is ready to be completed: the clocks of two servers differ, and a source that is
/// written to all the time is never at exactly 0.
const READY_LAG: Duration = Duration::from_secs(1);
/// A ready task that lags more than this is not ready any more. Far from the other limit, so that it does not flicker.
const BEHIND_LAG: Duration = Duration::from_secs(10);

/// How often and how patiently something is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Attempts in a row.
    pub(crate) attempts_max: u32,
    /// The first wait; each next one is twice as long.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) longest: Duration,
    /// An attempt that lasted this long had worked; the next failure counts as the first one.
    pub(crate) recovered: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 s: about three minutes, enough for a server's restart or fail-over.
        Patience {
            attempts_max: 8,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            recovered: Duration::from_secs(300),
        }
    }
}

/// How far a run goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// All rows are copied.
    Loaded,
    /// In sync.
    Synced,
    /// Stay in sync until somebody stops it.
    StayInSync,
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What the last part of the run did.
    pub(crate) report: Option<RunReport>,
    /// The comparison, when there was one.
    pub(crate) check: Option<CheckReport>,
}

/// What a runner is to work on.
pub(crate) struct Job<'a> {
    /// The task's name.
    pub(crate) task: &'a str,
    /// What the task carries.
    pub(crate) task_type: TaskType,
    /// The comparison that is made in sync.
    pub(crate) check: CheckOptions,
    /// What does the work.
    pub(crate) engine: &'a dyn Engine,
}

impl<'a> Job<'a> {
    /// Takes what a task file says.
    pub(crate) fn new(file: &'a TaskFile, engine: &'a dyn Engine) -> Self {
        let options = &file.options;
        Job { task: &options.name, task_type: options.task_type, check: file.check.clone(), engine }
    }
}

/// Works on one task, with the right to do so.
pub(crate) struct Runner<'a> {
    job: Job<'a>,
    console: &'a Console,
    stop: StopToken,
    patience: Patience,
    desk: Mutex<Desk>,
    lease: Mutex<Lease>,
}

/// What both threads write to.
struct Desk {
    store: Store,
    state: State,
    /// The counters of the present attempt; each begins with fresh ones.
    progress: Progress,
    /// The counters of the comparison under way.
    check: Option<Arc<CheckProgress>>,
    retries: u64,
    target_position: Option<String>,
    lease_lost: Option<Error>,
}

impl<'a> Runner<'a> {
    /// Makes a runner for a task that is in the store and that `lease` allows to work on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(
        job: Job<'a>,
        mut store: Store,
        lease: Lease,
        console: &'a Console,
        stop: &StopToken,
    ) -> Result<Self> {
        let state = store.get(job.task)?.state;
        let desk = Desk {
            store,
            state,
            progress: Progress::new(),
            check: None,
            retries: 0,
            target_position: None,
            lease_lost: None,
        };
        Ok(Runner {
            job,
            console,
            stop: stop.clone(),
            patience: Patience::default(),
            desk: Mutex::new(desk),
            lease: Mutex::new(lease),
        })
    }

    /// Looks whether the task may start, and keeps what was found.
    ///
    /// # Errors
    /// What the engine returns when it could not find out; the task is then where it was.
    pub(crate) fn validate(&self) -> Result<ValidationReport> {
        let before = self.desk().state;
        if before == State::Scheduled {
            self.advance(State::Queued, "started by hand", None)?;
        }
        self.advance(State::Validating, "validation", None)?;
        match self.job.engine.validate(&self.stop) {
            Ok(report) => {
                let document = ValidationDocument::from(&report);
                let text = serde_json::to_string(&document).unwrap_or_default();
                self.desk().store.add_validation(self.job.task, report.result().as_str(), &text)?;
                if report.result() == ItemResult::Fail {
                    self.advance(State::ValidationFailed, "items failed", None)?;
                } else {
                    self.advance(State::Validated, "no item failed", None)?;
                }
                Ok(report)
            }
            Err(error) => {
                let back = match before {
                    State::Paused | State::Failed => before,
                    _ => State::Created,
                };
                self.advance(back, "the validation could not find out", Some(&ErrorDocument::from(&error)))?;
                Err(error)
            }
        }
    }

    /// Works until the goal is reached. The task must be validated.
    ///
    /// # Errors
    /// What the engine returns, after patient attempts where it was transient. The task is then paused (somebody
    /// stopped it) or failed.
    pub(crate) fn run(&self, goal: Goal) -> Result<Outcome> {
        self.advance(State::Running, "run", None)?;
        let ended = StopToken::new();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| self.report(&ended));
            let result = self.work(goal);
            ended.stop();
            result
        });
        let result = match self.desk().lease_lost.take() {
            Some(lost) => return Err(lost),
            None => result,
        };
        self.settle(goal, result)
    }

    fn work(&self, goal: Goal) -> Result<Outcome> {
        let is_incremental = self.job.task_type == TaskType::FullAndIncremental;
        if is_incremental && goal == Goal::StayInSync {
            return self.stay_in_sync();
        }
        // A task without changes ends by itself once its rows are consistent and its indexes are built.
        let until = if goal == Goal::Loaded { Until::Loaded } else { Until::Synced };
        let report = self.patiently(|| self.job.engine.run(until, &self.stop, &self.fresh_progress()))?;
        self.desk().target_position.clone_from(&report.target_position);
        if goal == Goal::Loaded || !is_incremental {
            return Ok(Outcome { report: Some(report), check: None });
        }
        // Nobody applies while this thread compares, so the check does.
        let check = match self.job.check.mode {
            CheckMode::None => None,
            _ => Some(self.patiently(|| self.check(true, &self.stop))?),
        };
        Ok(Outcome { report: Some(report), check })
    }

    /// Applies until it is stopped, and compares beside it once it is in sync.
    fn stay_in_sync(&self) -> Result<Outcome> {
        let beside = self.stop.child();
        std::thread::scope(|scope| {
            scope.spawn(|| self.check_once_in_sync(&beside));
            let result =
                self.patiently(|| self.job.engine.run(Until::Stopped, &self.stop, &self.fresh_progress()));
            // Without an applier the check would wait in vain.
            beside.stop();
            result.map(|report| Outcome { report: Some(report), check: None })
        })
    }

    /// A comparison that cannot be made is no reason to stop applying: it is said, and can be made by hand.
    fn check_once_in_sync(&self, stop: &StopToken) {
        if self.job.check.mode == CheckMode::None {
            return;
        }
        while !self.desk().progress.snapshot().in_sync {
            if stop.sleep(LOOK_EVERY).is_err() {
                return;
            }
        }
        match self.check(false, stop) {
            Ok(report) => self.console.text(&check::full(&report, self.console.has_color())),
            Err(error) if error.is_interrupted() => {}
            Err(error) => self.console.note(&format!(
                "the check in sync could not be made: {error}\n  what to do: dts check {}",
                self.job.task
            )),
        }
    }

    fn check(&self, apply_here: bool, stop: &StopToken) -> Result<CheckReport> {
        let progress = Arc::new(CheckProgress::new());
        self.desk().check = Some(progress.clone());
        let report = self.job.engine.check(self.job.check.clone(), apply_here, stop, &progress);
        self.desk().check = None;
        let report = report?;
        let document = CheckDocument::from(&report);
        let text = serde_json::to_string(&document).unwrap_or_default();
        self.desk().store.add_comparison(self.job.task, document.conclusion, &text)?;
        Ok(report)
    }

    /// Tries again after transient errors, with growing waits.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut attempts = 0;
        loop {
            let begun = Instant::now();
            let error = match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_transient = error.recovery() == Recovery::Retry && !error.is_interrupted();
            if !is_transient || self.stop.is_stopped() {
                return Err(error);
            }
            attempts = if begun.elapsed() >= self.patience.recovered { 1 } else { attempts + 1 };
            if attempts > self.patience.attempts_max {
                return Err(error);
            }
            let wait =
                self.patience.first.saturating_mul(1 << (attempts - 1).min(20)).min(self.patience.longest);
            self.desk().retries += 1;
            self.advance(State::Retrying, "transient error", Some(&ErrorDocument::from(&error)))?;
            self.console.note(&format!(
                "{error}\n  tried again in {} (attempt {attempts} of {})",
                format::duration(wait),
                self.patience.attempts_max
            ));
            self.stop.sleep(wait)?;
            self.advance(State::Running, "tried again", None)?;
        }
    }

    fn fresh_progress(&self) -> Progress {
        let progress = Progress::new();
        let mut desk = self.desk();
        (0..desk.retries).for_each(|_| progress.add_retry());
        desk.progress = progress.clone();
        progress
    }

    /// Brings the task into the state that follows from the result.
    fn settle(&self, goal: Goal, result: Result<Outcome>) -> Result<Outcome> {
        match &result {
            Ok(_) if self.is_whole(goal) => {
                self.advance(State::Completing, "all that the task carries is there", None)?;
                self.advance(State::Completed, "done", None)?;
            }
            Ok(_) => {
                let reason = match goal {
                    Goal::Loaded => "loaded, as asked for",
                    Goal::Synced => "in sync, as asked for",
                    Goal::StayInSync => "ended",
                };
                self.pause(reason)?;
            }
            Err(error) if error.is_interrupted() => self.pause("interrupted")?,
            Err(error) => {
                self.advance(State::Failed, &error.to_string(), Some(&ErrorDocument::from(error)))?;
            }
        }
        result
    }

    /// Returns whether a run that reached its goal has done all that the task is about.
    fn is_whole(&self, goal: Goal) -> bool {
        match self.job.task_type {
            TaskType::Structure => true,
            TaskType::Full => goal != Goal::Loaded,
            TaskType::FullAndIncremental => false,
        }
    }

    fn pause(&self, reason: &str) -> Result<()> {
        if self.desk().state == State::Retrying {
            self.advance(State::Pausing, reason, None)?;
        }
        self.advance(State::Paused, reason, None)
    }

    /// The second thread: shows and writes what the counters say until `ended`.
    fn report(&self, ended: &StopToken) {
        let mut display = Display::new(self.console);
        let mut meter = Meter::default();
        let (mut write_at, mut sample_at) = (Instant::now(), Instant::now() + SAMPLE_EVERY);
        let (mut last_step, mut announced) = (None, false);
        loop {
            let is_last = ended.is_stopped();
            let now = Instant::now();
            let (state, progress, check) = {
                let desk = self.desk();
                (desk.state, desk.progress.clone(), desk.check.as_ref().map(|check| check.counts()))
            };
            let snapshot = progress.snapshot();
            let rates = meter.rates(now, &snapshot);
            let next = self.state_after(state, &snapshot);
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
                if next == State::ReadyToComplete && !announced {
                    announced = true;
                    self.announce();
                }
            }
            if now >= sample_at {
                sample_at = now + SAMPLE_EVERY;
                self.sample(&snapshot, rates);
            }
            if is_last {
                return display.finish(&view);
            }
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
    fn state_after(&self, state: State, snapshot: &ProgressSnapshot) -> Option<(State, &'static str)> {
        let lag_is = |within: fn(Duration) -> bool| snapshot.lag.is_some_and(within);
        match state {
            State::Running | State::ReadyToComplete | State::Retrying if self.stop.is_stopped() => {
                Some((State::Pausing, "asked to stop"))
            }
            State::Running if snapshot.in_sync && lag_is(|lag| lag <= READY_LAG) => {
                Some((State::ReadyToComplete, "in sync"))
            }
            State::ReadyToComplete if !snapshot.in_sync || !lag_is(|lag| lag <= BEHIND_LAG) => {
                Some((State::Running, "fell behind"))
            }
            _ => None,
        }
    }

    /// Brings the task from `state` to `next`, unless the other thread has changed its state meanwhile.
    fn follow(&self, state: State, next: State, reason: &str) {
        let mut desk = self.desk();
        if desk.state == state && desk.lease_lost.is_none() {
            match desk.store.advance(self.job.task, next, reason, None) {
                Ok(_) => desk.state = next,
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
        let text = serde_json::to_string(&document).unwrap_or_default();
        let written = desk.store.write_status(self.job.task, &text);
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
            step: snapshot.step.map(dts_core::progress::Step::name),
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

    fn advance(&self, next: State, reason: &str, error: Option<&ErrorDocument>) -> Result<()> {
        let mut desk = self.desk();
        if desk.lease_lost.is_some() {
            return Err(ErrorKind::Interrupted.into());
        }
        if desk.state == State::Pausing && matches!(next, State::Running | State::Retrying) {
            // The stop came between two attempts.
            return self.stop.check();
        }
        desk.store.advance(self.job.task, next, reason, error)?;
        desk.state = next;
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
