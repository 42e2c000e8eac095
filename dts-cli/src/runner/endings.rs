//! What a round of work is ended for: the task rests, ends, or its writers go over. Done between two rounds, or by a command when
//! no process works on the task.
use dts_core::checker::CheckMode;
use dts_core::cutover::CutoverStep;
use dts_core::error::{ErrorKind, Result};
use dts_core::migration::State;
use serde_json::{Value, json};

use super::serve::{Ending, What};
use super::{Goal, Outcome, Runner, is_refusal};
use crate::engine::CutoverWish;
use crate::output::cutover;
use crate::output::json::{CompletionDocument, CutoverDocument, ErrorDocument, RemainsDocument};

impl Runner<'_> {
    /// Ends the task, which rests: stops it for good or completes it.
    ///
    /// # Errors
    /// What the engine returns. A completion that was interrupted or refused leaves the task paused, one that failed failed.
    pub(crate) fn end(&self, what: What) -> Result<Outcome> {
        self.end_with(what, Value::Null)
    }

    /// Moves the writers to the target or back; the task rests, also afterwards if it goes on.
    ///
    /// # Errors
    /// What the engine returns. A cut-over that was taken back leaves the task as it was.
    pub(crate) fn hand_over(&self, what: What, wish: &CutoverWish) -> Result<Outcome> {
        self.end_with(what, json!(wish))
    }

    fn end_with(&self, what: What, payload: Value) -> Result<Outcome> {
        let before = self.desk().state;
        let ending = Ending { what, payload, request: None };
        self.end_round(ending.clone(), "asked for")?;
        self.take_ending();
        let result = self.attended(Some(Goal::Synced), || {
            let result = self.finish(&ending);
            if result.as_ref().is_ok_and(|outcome| outcome.goes_on) {
                self.advance(State::Paused, "changes go on with the next run", None)?;
            }
            if let Err(error) = &result
                && !self.desk().state.is_final()
            {
                if is_refusal(error) && matches!(before, State::Paused | State::Failed) {
                    self.advance(before, "it was refused", Some(&ErrorDocument::from(error)))?;
                } else {
                    self.rest(error)?;
                }
            }
            result
        });
        self.unless_lost(result)?
    }

    /// Does what the round was ended for.
    pub(super) fn finish(&self, ending: &Ending) -> Result<Outcome> {
        let what = ending.what;
        let round = self.stop.child();
        self.desk().round = round.clone();
        let mut outcome = Outcome { ended_by: Some(what), ..Outcome::default() };
        match what {
            What::Pause => self.advance(State::Paused, "dts pause", None)?,
            What::Stop => {
                // A task whose target is gone must be stoppable, too.
                let remains = match self.job.engine.end(&round) {
                    Ok(remains) => Some(remains),
                    Err(error)
                        if error.is_interrupted()
                            || matches!(error.kind(), ErrorKind::IllegalState { .. }) =>
                    {
                        return Err(error);
                    }
                    Err(error) => {
                        self.console
                            .note(&format!("what is left on the target could not be looked at: {error}"));
                        None
                    }
                };
                let document = RemainsDocument::new(self.job.task, remains.as_ref());
                self.record("stop", &document)?;
                self.advance(State::Stopped, "stopped for good", None)?;
                outcome.remains = Some(document);
            }
            What::Complete { immediately } => {
                // What was counted stays: it is the end of the same run.
                let progress = self.desk().progress.clone();
                let report = self.patiently(|| self.job.engine.complete(immediately, &round, &progress))?;
                let document = CompletionDocument::new(self.job.task, immediately, &report);
                self.desk().target_position.clone_from(&report.target_position);
                self.record("completion", &document)?;
                self.advance(State::Completed, "completed", None)?;
                outcome.completion = Some(document);
            }
            What::CutOver | What::RollBack => {
                let mut wish = CutoverWish::from_json(&ending.payload)?;
                wish.require_clean_check = self.job.check.mode != CheckMode::None;
                let say = |line: &str| match ending.request {
                    Some(id) => {
                        if let Err(error) = self.desk().store.add_line(id, false, line) {
                            log::warn!("a line of an answer could not be written: {error}");
                        }
                    }
                    None => self.console.text(line),
                };
                let observer = |step: &CutoverStep| say(&cutover::step(step));
                let is_back = what == What::RollBack;
                let report = if is_back {
                    self.job.engine.rollback(&wish, true, &round, &observer)?
                } else {
                    self.job.engine.cutover(&wish, true, &round, &observer)?
                };
                let document = CutoverDocument::new(self.job.task, is_back, &report);
                self.desk().target_position.clone_from(&report.target_position);
                self.record(if is_back { "rollback" } else { "cutover" }, &document)?;
                outcome.goes_on = is_back || report.reverse;
                self.desk().progress.set_reverse(report.reverse);
                if !outcome.goes_on {
                    self.advance(State::Completed, "cut over", None)?;
                }
                outcome.cutover = Some(document);
            }
        }
        Ok(outcome)
    }

    fn record(&self, kind: &str, document: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string(document).unwrap_or_default();
        self.desk().store.add_record(self.job.task, kind, &text)
    }
}
