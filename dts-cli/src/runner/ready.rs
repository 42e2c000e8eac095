//! Before a task runs: may it?
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::State;
use dts_core::validator::{ItemResult, ValidationReport};

use super::serve::{Ending, What};
use super::{Outcome, Runner};
use crate::output::ending;
use crate::output::json::{ErrorDocument, ValidationDocument};
use crate::store::Answer;

impl Runner<'_> {
    /// Makes the task ready to run: validates it, unless its writers are on the target. What is looked at before a copy does not hold
    /// for the way back; the cut-over has proven that. Returns what a validation found, which may be that it must not run.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub(crate) fn make_ready(&self) -> Result<Option<ValidationReport>> {
        let is_reversed = match self.job.engine.is_reversed(&self.stop) {
            Err(error) if error.is_interrupted() => return Err(error),
            Err(error) => {
                // A target that is away for a moment, more likely than not. If its task is on the way back, the run waits for it.
                log::warn!(
                    "task {}: the target could not be asked which way changes go: {error}",
                    self.job.task
                );
                self.desk().written.reverse
            }
            Ok(is_reversed) => is_reversed,
        };
        if !is_reversed {
            return self.validate().map(Some);
        }
        let reason = "the writers are on the target";
        let state = self.desk().state;
        if state == State::Scheduled {
            self.advance(State::Queued, reason, None)?;
        }
        // Another home began it, or somebody validated it although its writers were away.
        if matches!(state, State::Created | State::ValidationFailed) {
            self.advance(State::Validating, reason, None)?;
            self.advance(State::Validated, reason, None)?;
        }
        Ok(None)
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
        let round = self.desk().round.clone();
        let validated = self.unless_lost(self.attended(None, || self.job.engine.validate(&round)))?;
        let ending = self.take_ending();
        match validated {
            _ if ending.as_ref().is_some_and(|ending| ending.what == What::Stop) => {
                self.advance(State::Stopping, "dts stop", None)?;
                let finished = match &ending {
                    Some(ending) => self.finish(ending),
                    None => Err(Error::internal("a validation ended for nothing")),
                };
                self.end_broken_off(ending, finished)
            }
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
                    // It leaves the queue only by an error that its owner can see.
                    State::Queued | State::Scheduled if !error.is_interrupted() => State::Failed,
                    State::Queued | State::Scheduled => State::Paused,
                    _ => State::Created,
                };
                if error.is_interrupted() {
                    self.advance(back, "the validation was broken off", None)?;
                    let outcome = Outcome { ended_by: Some(What::Pause), ..Outcome::default() };
                    return self.end_broken_off(ending, Ok(outcome));
                }
                self.advance(back, "the validation could not find out", Some(&ErrorDocument::from(&error)))?;
                Err(error)
            }
        }
    }

    /// Answers whoever ended a validation.
    fn end_broken_off(&self, ending: Option<Ending>, finished: Result<Outcome>) -> Result<ValidationReport> {
        let answer = match &finished {
            Ok(outcome) => {
                let (document, text) = ending::answer(self.job.task, self.desk().state, outcome);
                Answer::done(document, text)
            }
            Err(error) => Answer::failed(error),
        };
        self.answer_ending(ending.and_then(|ending| ending.request), &answer);
        finished.and_then(|_| Err(ErrorKind::Interrupted.into()))
    }
}
