//! The states of a task as a pure table: which follow which, and what may be asked for in each.
//!
//! ```text
//! created -> validating -> validated -> [scheduled ->] queued -> running <-> ready_to_complete -> completing -> completed
//!                 |                                                 |  ^
//!                 v                                                 v  |
//!          validation_failed                    pausing -> paused, retrying, failed;   stopping -> stopped
//! ```
//!
//! Nothing here does I/O: whoever keeps tasks asks [`State::advance`] before it writes a new state down.
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum State {
    /// Known, never validated.
    Created,
    /// The items of the validation are being looked at.
    Validating,
    /// All items passed, warned or are ignored by name: the task may start.
    Validated,
    /// At least one item failed.
    ValidationFailed,
    /// Waits for its start time.
    Scheduled,
    /// Waits for its turn.
    Queued,
    /// A process works on it; the step says on what.
    Running,
    /// In sync with lag 0. A process still applies every change, until the task is completed.
    ReadyToComplete,
    /// Was asked to pause and writes down where it stands.
    Pausing,
    /// Nobody works on it; it resumes where it stood.
    Paused,
    /// A transient error happened; it is tried again in a moment.
    Retrying,
    /// Was asked to end for good.
    Stopping,
    /// Ended for good before it was complete.
    Stopped,
    /// Applies the rest and creates what comes last.
    Completing,
    /// Ended as planned.
    Completed,
    /// Ended by an error; it resumes where it stood once the cause is mended.
    Failed,
}

/// What an operator may ask for. The names are those of the commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Action {
    /// Look whether it may start.
    Validate,
    /// Put it into the queue.
    Submit,
    /// Work on it in the foreground.
    Run,
    /// Let it rest.
    Pause,
    /// Put a resting or failed one back into the queue.
    Resume,
    /// End it for good.
    Stop,
    /// Compare both sides.
    Check,
    /// Move the writers to the target.
    Cutover,
    /// Move the writers back to the source.
    Rollback,
    /// End it as planned.
    Complete,
}

impl Action {
    /// All actions, in the order in which outputs list them.
    pub const ALL: [Action; 10] = [
        Action::Validate,
        Action::Submit,
        Action::Run,
        Action::Pause,
        Action::Resume,
        Action::Stop,
        Action::Check,
        Action::Cutover,
        Action::Rollback,
        Action::Complete,
    ];

    /// Returns the name used in outputs, which is that of the command.
    pub fn name(self) -> &'static str {
        match self {
            Action::Validate => "validate",
            Action::Submit => "submit",
            Action::Run => "run",
            Action::Pause => "pause",
            Action::Resume => "resume",
            Action::Stop => "stop",
            Action::Check => "check",
            Action::Cutover => "cutover",
            Action::Rollback => "rollback",
            Action::Complete => "complete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    /// All states, in the order of the flow.
    pub const ALL: [State; 16] = [
        State::Created,
        State::Validating,
        State::Validated,
        State::ValidationFailed,
        State::Scheduled,
        State::Queued,
        State::Running,
        State::ReadyToComplete,
        State::Pausing,
        State::Paused,
        State::Retrying,
        State::Stopping,
        State::Stopped,
        State::Completing,
        State::Completed,
        State::Failed,
    ];

    /// Returns the name used in outputs, for example `ready_to_complete`.
    pub fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Validating => "validating",
            State::Validated => "validated",
            State::ValidationFailed => "validation_failed",
            State::Scheduled => "scheduled",
            State::Queued => "queued",
            State::Running => "running",
            State::ReadyToComplete => "ready_to_complete",
            State::Pausing => "pausing",
            State::Paused => "paused",
            State::Retrying => "retrying",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Completing => "completing",
            State::Completed => "completed",
            State::Failed => "failed",
        }
    }

    /// Returns the state of a name, when there is one.
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Returns the states that may follow this one.
    pub fn successors(self) -> &'static [State] {
        use State::{
            Completed, Completing, Created, Failed, Paused, Pausing, Queued, ReadyToComplete, Retrying,
            Running, Scheduled, Stopped, Stopping, Validated, Validating, ValidationFailed,
        };
        match self {
            Created => &[Validating, Stopping],
            // A validation that could not find out leaves the task where it was.
            Validating => &[Created, Validated, ValidationFailed, Paused, Stopping, Failed],
            Validated => &[Created, Validating, Scheduled, Queued, Running, Stopping],
            ValidationFailed => &[Validating, Stopping],
            Scheduled => &[Queued, Paused, Stopping, Failed],
            // The task file may have changed while the task waited; then it is validated again.
            Queued => &[Validating, Running, Paused, Stopping, Failed],
            Running => &[ReadyToComplete, Pausing, Paused, Retrying, Stopping, Completing, Failed],
            ReadyToComplete => &[Running, Pausing, Paused, Retrying, Stopping, Completing, Failed],
            // The work may have been done just before the wish to pause was seen.
            Pausing => &[Paused, Stopping, Completing, Failed],
            Paused => &[Validating, Queued, Running, Stopping, Completing],
            Retrying => &[Running, Pausing, Stopping, Failed],
            // In the middle of a cut-over it is refused.
            Stopping => &[Stopped, Running, Paused, Failed],
            Stopped | Completed => &[],
            // An interrupted completion is taken up by the next one; one that is refused because the source is still being
            // written changes nothing. After a cut-over with a reverse channel, and after the way back, changes go on.
            Completing => &[Completed, Running, Paused, Failed],
            Failed => &[Validating, Queued, Running, Stopping, Completing],
        }
    }

    /// Returns whether `next` may follow this state.
    pub fn can_become(self, next: State) -> bool {
        self.successors().contains(&next)
    }

    /// Returns `next` when it may follow this state.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] with what is allowed instead.
    pub fn advance(self, next: State) -> Result<State> {
        if self.can_become(next) {
            return Ok(next);
        }
        Err(self.refuse(format!("become {next}")))
    }

    /// Returns what an operator may ask for in this state. Whether there is a way back only the task's journal knows.
    pub fn allowed_actions(self) -> &'static [Action] {
        use Action::{Check, Complete, Cutover, Pause, Resume, Rollback, Run, Stop, Submit, Validate};
        match self {
            State::Created | State::ValidationFailed => &[Validate, Run, Stop],
            State::Validated => &[Validate, Submit, Run, Stop],
            State::Validating => &[Pause, Stop],
            State::Pausing | State::Stopping | State::Completing => &[],
            State::Scheduled | State::Queued => &[Run, Pause, Stop],
            State::Running | State::Retrying => &[Pause, Stop, Check],
            State::ReadyToComplete => &[Pause, Stop, Check, Cutover, Rollback, Complete],
            State::Paused | State::Failed => {
                &[Validate, Run, Resume, Stop, Check, Cutover, Rollback, Complete]
            }
            State::Stopped => &[],
            State::Completed => &[Check],
        }
    }

    /// Checks that an operator may ask for `action` in this state.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`] with what is allowed instead.
    pub fn allow(self, action: Action) -> Result<()> {
        if self.allowed_actions().contains(&action) {
            Ok(())
        } else {
            Err(self.refuse(action.name().to_owned()))
        }
    }

    /// Returns whether the task has ended for good.
    pub fn is_final(self) -> bool {
        self.successors().is_empty()
    }

    /// Returns whether a process works on the task in this state.
    pub fn is_active(self) -> bool {
        matches!(
            self,
            State::Validating
                | State::Running
                | State::ReadyToComplete
                | State::Pausing
                | State::Retrying
                | State::Stopping
                | State::Completing
        )
    }

    fn refuse(self, action: String) -> Error {
        let allowed: Vec<&str> = self.allowed_actions().iter().map(|action| action.name()).collect();
        let allowed = match (allowed.is_empty(), self.is_final()) {
            (false, _) => allowed.join(", "),
            (true, true) => "nothing, the task has ended".to_owned(),
            (true, false) => "nothing until this is done".to_owned(),
        };
        ErrorKind::IllegalState { action, state: self.name().to_owned(), allowed }.into()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::State::*;
    use super::*;

    /// Every legal transition, written down a second time, by what it is for.
    const LEGAL: &[(State, State, &str)] = &[
        (Created, Validating, "dts validate"),
        (Created, Stopping, "revoked"),
        (Validating, Validated, "all items pass"),
        (Validating, ValidationFailed, "an item fails"),
        (Validating, Created, "could not find out, first time"),
        (Validating, Paused, "could not find out, begun before"),
        (Validating, Stopping, "revoked"),
        (Validating, Failed, "could not find out, failed before"),
        (Validated, Created, "the task file changed"),
        (Validated, Validating, "dts validate again"),
        (Validated, Scheduled, "submitted with a start time"),
        (Validated, Queued, "submitted"),
        (Validated, Running, "dts run"),
        (Validated, Stopping, "revoked"),
        (ValidationFailed, Validating, "mended"),
        (ValidationFailed, Stopping, "revoked"),
        (Scheduled, Queued, "its time has come"),
        (Scheduled, Paused, "dts pause"),
        (Scheduled, Stopping, "revoked"),
        (Scheduled, Failed, "its file is gone"),
        (Queued, Validating, "a worker takes it and its file changed"),
        (Queued, Running, "a worker takes it"),
        (Queued, Paused, "dts pause"),
        (Queued, Stopping, "revoked"),
        (Queued, Failed, "its file is gone"),
        (Running, ReadyToComplete, "in sync, lag 0"),
        (Running, Pausing, "Ctrl-C or dts pause"),
        (Running, Paused, "--until reached"),
        (Running, Retrying, "transient error"),
        (Running, Stopping, "revoked"),
        (Running, Completing, "a full task is loaded"),
        (Running, Failed, "an operator must act"),
        (ReadyToComplete, Running, "fell behind"),
        (ReadyToComplete, Pausing, "Ctrl-C or dts pause"),
        (ReadyToComplete, Paused, "--until reached"),
        (ReadyToComplete, Retrying, "transient error"),
        (ReadyToComplete, Stopping, "revoked"),
        (ReadyToComplete, Completing, "dts complete or cutover"),
        (ReadyToComplete, Failed, "an operator must act"),
        (Pausing, Paused, "written down"),
        (Pausing, Stopping, "revoked"),
        (Pausing, Completing, "was done before the pause came"),
        (Pausing, Failed, "an error while writing down"),
        (Paused, Validating, "dts run validates first"),
        (Paused, Queued, "dts resume"),
        (Paused, Running, "a worker resumes it"),
        (Paused, Stopping, "revoked"),
        (Paused, Completing, "dts complete without a process"),
        (Retrying, Running, "tried again"),
        (Retrying, Pausing, "Ctrl-C or dts pause"),
        (Retrying, Stopping, "revoked"),
        (Retrying, Failed, "gave up"),
        (Stopping, Stopped, "cleaned up"),
        (Stopping, Running, "refused in the middle of a cut-over"),
        (Stopping, Paused, "the same, when nobody works on it"),
        (Stopping, Failed, "could not clean up"),
        (Completing, Completed, "all done"),
        (Completing, Running, "refused, the source is still being written"),
        (Completing, Paused, "interrupted"),
        (Completing, Failed, "could not be completed"),
        (Failed, Validating, "dts run validates first"),
        (Failed, Queued, "dts resume"),
        (Failed, Running, "a worker resumes it"),
        (Failed, Stopping, "revoked"),
        (Failed, Completing, "dts complete without a process"),
    ];

    #[test]
    fn exactly_the_legal_transitions_are_allowed() {
        for from in State::ALL {
            for to in State::ALL {
                let legal = LEGAL.iter().any(|(a, b, _)| (*a, *b) == (from, to));
                assert_eq!(from.can_become(to), legal, "{from} -> {to}");
                assert_eq!(from.advance(to).is_ok(), legal, "{from} -> {to}");
            }
        }
        let pairs: BTreeSet<_> = LEGAL.iter().map(|(from, to, _)| (*from, *to)).collect();
        assert_eq!(pairs.len(), LEGAL.len(), "a transition is listed twice");
    }

    #[test]
    fn every_state_can_be_reached_and_all_but_the_final_ones_can_be_left() {
        let mut reached = BTreeSet::from([Created]);
        loop {
            let next: BTreeSet<State> =
                reached.iter().flat_map(|state| state.successors()).chain(&reached).copied().collect();
            if next == reached {
                break;
            }
            reached = next;
        }
        assert_eq!(reached.len(), State::ALL.len());
        let last: Vec<State> = State::ALL.into_iter().filter(|state| state.is_final()).collect();
        assert_eq!(last, [Stopped, Completed]);
    }

    #[test]
    fn a_task_can_be_stopped_unless_it_has_ended_or_is_about_to() {
        for state in State::ALL {
            assert_eq!(
                state.allow(Action::Stop).is_ok(),
                state.can_become(Stopping) && state != Pausing,
                "{state}"
            );
        }
    }

    #[test]
    fn names_go_both_ways() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
        }
        assert_eq!(State::from_name("Running"), None);
        let names: BTreeSet<&str> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
    }

    #[test]
    fn a_refusal_says_what_is_allowed() {
        let error = Completed.allow(Action::Run).unwrap_err().to_string();
        assert!(
            error.contains("'run' is not possible while the task is completed; allowed now: check"),
            "{error}"
        );
        let error = Stopped.advance(Running).unwrap_err().to_string();
        assert!(error.contains("nothing, the task has ended"), "{error}");
    }
}
