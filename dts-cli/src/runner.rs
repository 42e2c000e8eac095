//! Works on one task: validation, the run itself, the comparison at its end, and all that other processes see of it.
//!
//! Two threads share the work. The one that calls [`Runner::run`] drives the engine, tries again after transient errors
//! and decides the task's next state. The other one (`desk`) looks at the counters a few times a second: it draws progress,
//! shows that this process lives, writes the status that `dts status` reads, and takes what other processes ask for
//! (`serve`). What happens before a run is in `ready`, what it is ended for in `endings`.
//!
//! The work goes in rounds. A wish to pause, stop or complete ends the round; a completion that is refused (the source is
//! still being written) begins the next one.
mod desk;
mod endings;
mod nearness;
mod ready;
mod serve;
mod service;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dts_core::checker::{CheckMode, CheckOptions, CheckProgress, CheckReport};
use dts_core::error::{Error, ErrorKind, Recovery, Result, Stage};
use dts_core::full_loader::RateLimit;
use dts_core::migration::{RunReport, State, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_core::validator::TaskType;

pub(crate) use serve::What;
pub(crate) use service::{Call, Service};

use self::desk::Desk;
use crate::config::TaskFile;
use crate::engine::Engine;
use crate::notify::{Change, Notifier};
use crate::output::Console;
use crate::output::json::{
    CheckDocument, CompletionDocument, CutoverDocument, ErrorDocument, RemainsDocument, StatusDocument,
};
use crate::output::{check, ending, format};
use crate::store::{Answer, Lease, Store};

/// How often counters are looked at, and what others ask for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    /// What somebody else ended the run for.
    pub(crate) ended_by: Option<What>,
    /// How the task was completed.
    pub(crate) completion: Option<CompletionDocument>,
    /// How the writers went over, or back.
    pub(crate) cutover: Option<CutoverDocument>,
    /// Changes are to be applied from here on, in the other direction than before.
    pub(crate) goes_on: bool,
    /// What a task that was stopped for good has left.
    pub(crate) remains: Option<RemainsDocument>,
}

/// What a runner is to work on.
pub(crate) struct Job<'a> {
    /// The task's name.
    pub(crate) task: &'a str,
    /// What the task carries.
    pub(crate) task_type: TaskType,
    /// The comparison that is made in sync.
    pub(crate) check: CheckOptions,
    /// Limits that may change while it runs.
    pub(crate) limits: &'a RateLimit,
    /// Who is told of changes of state.
    pub(crate) notifier: Notifier,
    /// What does the work.
    pub(crate) engine: &'a dyn Engine,
}

impl<'a> Job<'a> {
    /// Takes what a task file says.
    pub(crate) fn new(file: &'a TaskFile, engine: &'a dyn Engine) -> Self {
        let options = &file.options;
        Job {
            task: &options.name,
            task_type: options.task_type,
            check: file.check.clone(),
            limits: &options.load.rate_limit,
            notifier: Notifier::new(file.notify.clone()),
            engine,
        }
    }
}

/// Works on one task, with the right to do so.
pub(crate) struct Runner<'a> {
    job: Job<'a>,
    console: &'a Console,
    /// Ends everything: a signal, or a lease that was lost.
    stop: StopToken,
    patience: Patience,
    desk: Mutex<Desk>,
    lease: Mutex<Lease>,
    /// The lease's token.
    token: String,
    /// Stopped as soon as the task was in sync once.
    in_sync_once: StopToken,
    /// The run ends when the writers are back on the source.
    until_back: bool,
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
        let task = store.get(job.task)?;
        let state = task.state;
        let written: Option<StatusDocument> =
            task.status.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let written = written.unwrap_or_default();
        let progress = Progress::new();
        // Until the target says it again.
        progress.set_reverse(written.reverse);
        store.settings(job.task)?.apply(job.limits);
        let stop = stop.child();
        let desk = Desk {
            store,
            state,
            progress,
            check: None,
            retries: 0,
            target_position: None,
            written,
            lease_lost: None,
            round: stop.child(),
            ending: None,
            served: Vec::new(),
        };
        Ok(Runner {
            job,
            console,
            stop,
            patience: Patience::default(),
            desk: Mutex::new(desk),
            token: lease.token().to_owned(),
            lease: Mutex::new(lease),
            in_sync_once: StopToken::new(),
            until_back: false,
        })
    }

    /// Stops `token` as soon as the task has been in sync.
    pub(crate) fn telling_when_in_sync(mut self, token: StopToken) -> Self {
        self.in_sync_once = token;
        self
    }

    /// Ends the run when the writers are back on the source.
    pub(crate) fn until_back(mut self) -> Self {
        self.until_back = true;
        self
    }

    /// Works until the goal is reached. The task must be validated.
    ///
    /// # Errors
    /// What the engine returns, after patient attempts where it was transient. The task is then paused (somebody
    /// stopped it) or failed.
    pub(crate) fn run(&self, goal: Goal) -> Result<Outcome> {
        self.advance(State::Running, "run", None)?;
        let result = self.attended(Some(goal), || self.rounds(goal));
        self.unless_lost(result)?
    }

    fn unless_lost<T>(&self, result: T) -> Result<T> {
        match self.desk().lease_lost.take() {
            Some(lost) => Err(lost),
            None => Ok(result),
        }
    }

    /// Does `work` with the second thread beside it.
    fn attended<T>(&self, goal: Option<Goal>, work: impl FnOnce() -> T) -> T {
        let ended = StopToken::new();
        std::thread::scope(|scope| {
            // Also when the work panics: the other thread would be waited for in vain.
            let guard = StopOnDrop(&ended);
            scope.spawn(|| self.attend(scope, goal, &ended));
            let result = work();
            drop(guard);
            result
        })
    }

    /// Works in rounds until one ends the run.
    fn rounds(&self, goal: Goal) -> Result<Outcome> {
        loop {
            let result = self.work(goal);
            let Some(ending) = self.take_ending() else { return self.settle(goal, result) };
            let finished = match (ending.what, result) {
                // What failed by itself has failed, whatever was wished meanwhile; but a wish to stop it for good stays.
                (What::Pause | What::Complete { .. } | What::CutOver | What::RollBack, Err(error))
                    if !error.is_interrupted() =>
                {
                    Err(error)
                }
                // It was done just before the wish came.
                (What::Pause, Ok(outcome)) => self
                    .settle(goal, Ok(outcome))
                    .map(|outcome| Outcome { ended_by: Some(What::Pause), ..outcome }),
                _ => self.finish(&ending),
            };
            match finished {
                Ok(outcome) => {
                    let (document, text) = ending::answer(self.job.task, self.desk().state, &outcome);
                    let is_over = !outcome.goes_on || (self.until_back && ending.what == What::RollBack);
                    if outcome.goes_on {
                        let next = if is_over { State::Paused } else { State::Running };
                        self.advance(next, "changes go the other way", None)?;
                    }
                    self.answer_ending(ending.request, &Answer::done(document, text));
                    if is_over {
                        return Ok(outcome);
                    }
                    continue;
                }
                Err(error) => {
                    let answer = Answer::failed(&error);
                    if is_refusal(&error) && !self.stop.is_stopped() {
                        self.advance(State::Running, "it was refused", None)?;
                        self.answer_ending(ending.request, &answer);
                        continue;
                    }
                    let settled = self.settle(goal, Err(error));
                    self.answer_ending(ending.request, &answer);
                    return settled;
                }
            }
        }
    }

    fn work(&self, goal: Goal) -> Result<Outcome> {
        let round = self.desk().round.clone();
        let is_incremental = self.job.task_type == TaskType::FullAndIncremental;
        if is_incremental && goal == Goal::StayInSync {
            return self.stay_in_sync(&round);
        }
        // A task without changes ends by itself once its rows are consistent and its indexes are built.
        let until = if goal == Goal::Loaded { Until::Loaded } else { Until::Synced };
        let report = self.patiently(|| self.job.engine.run(until, &round, &self.fresh_progress()))?;
        self.desk().target_position.clone_from(&report.target_position);
        if goal == Goal::Loaded || !is_incremental {
            return Ok(Outcome { report: Some(report), ..Outcome::default() });
        }
        // Nobody applies while this thread compares, so the check does.
        let check = match self.job.check.mode {
            CheckMode::None => None,
            _ => Some(self.patiently(|| self.check(true, &round))?),
        };
        Ok(Outcome { report: Some(report), check, ..Outcome::default() })
    }

    /// Applies until it is stopped, and compares beside it once it is in sync.
    fn stay_in_sync(&self, round: &StopToken) -> Result<Outcome> {
        let beside = round.child();
        std::thread::scope(|scope| {
            scope.spawn(|| self.check_once_in_sync(&beside));
            let result =
                self.patiently(|| self.job.engine.run(Until::Stopped, round, &self.fresh_progress()));
            // Without an applier the check would wait in vain.
            beside.stop();
            result.map(|report| Outcome { report: Some(report), ..Outcome::default() })
        })
    }

    /// A comparison that cannot be made is no reason to stop applying: it is said, and can be made by hand.
    fn check_once_in_sync(&self, stop: &StopToken) {
        if self.job.check.mode == CheckMode::None {
            return;
        }
        while !self.in_sync_once.is_stopped() {
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
            let round = self.desk().round.clone();
            if !is_transient || round.is_stopped() {
                return Err(error);
            }
            attempts = if begun.elapsed() >= self.patience.recovered { 1 } else { attempts + 1 };
            if attempts > self.patience.attempts_max {
                return Err(error);
            }
            let wait =
                self.patience.first.saturating_mul(1 << (attempts - 1).min(20)).min(self.patience.longest);
            self.desk().retries += 1;
            // A completion is one step for whoever looks; attempts within it are not states.
            let is_run = self.desk().state != State::Completing;
            if is_run {
                self.advance(State::Retrying, "transient error", Some(&ErrorDocument::from(&error)))?;
            }
            self.console.note(&format!(
                "{error}\n  tried again in {} (attempt {attempts} of {})",
                format::duration(wait),
                self.patience.attempts_max
            ));
            round.sleep(wait)?;
            if is_run {
                self.advance(State::Running, "tried again", None)?;
            }
        }
    }

    fn fresh_progress(&self) -> Progress {
        let progress = Progress::new();
        let mut desk = self.desk();
        (0..desk.retries).for_each(|_| progress.add_retry());
        progress.set_reverse(desk.progress.snapshot().reverse);
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
            Err(error) => self.rest(error)?,
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

    /// Brings the task to rest after an error.
    fn rest(&self, error: &Error) -> Result<()> {
        // What was to end for good does not rest.
        if error.is_interrupted() && self.desk().state != State::Stopping {
            return self.pause("interrupted");
        }
        self.advance(State::Failed, &error.to_string(), Some(&ErrorDocument::from(error)))
    }

    fn pause(&self, reason: &str) -> Result<()> {
        if self.desk().state == State::Retrying {
            self.advance(State::Pausing, reason, None)?;
        }
        self.advance(State::Paused, reason, None)
    }

    /// Tells whoever wants to know of a change of state.
    fn notify(&self, from: State, to: State, reason: &str, error: Option<&ErrorDocument>) {
        self.job.notifier.tell(&Change { task: self.job.task, from, to, reason, error });
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

/// Stops a token when it goes out of sight.
struct StopOnDrop<'a>(&'a StopToken);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Returns whether the engine refused an action and has changed nothing: the source is still being written, for example.
fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::IllegalState { .. }) || error.stage() == Some(Stage::CutOver)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
