//! How the program ends.
use std::process::ExitCode;

use dts_core::error::{Error, ErrorKind, Recovery, Stage};

/// How the program ends. The numbers are part of what scripts rely on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitStatus {
    /// Done and clean.
    Done,
    /// Done, but a validation failed or differences were found.
    Findings,
    /// Wrong usage or configuration.
    Usage,
    /// An operator must act.
    Operator,
    /// Transient: run again and it resumes.
    Transient,
    /// Interrupted: run again and it resumes.
    Interrupted,
}

impl ExitStatus {
    /// Returns the status of a number; an unknown one means that somebody must look.
    pub(crate) fn from_number(number: u8) -> Self {
        let all = [
            ExitStatus::Done,
            ExitStatus::Findings,
            ExitStatus::Usage,
            ExitStatus::Operator,
            ExitStatus::Transient,
            ExitStatus::Interrupted,
        ];
        all.into_iter().find(|status| status.number() == number).unwrap_or(ExitStatus::Operator)
    }

    /// Returns the number for the shell.
    pub(crate) fn number(self) -> u8 {
        match self {
            ExitStatus::Done => 0,
            ExitStatus::Findings => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Operator => 3,
            ExitStatus::Transient => 4,
            ExitStatus::Interrupted => 130,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        ExitCode::from(status.number())
    }
}

impl From<&Error> for ExitStatus {
    fn from(error: &Error) -> Self {
        // Input, files and states are the user's when the program itself looked at them; when a stage found them on a
        // server they are the operator's.
        let own = error.stage().is_none() && error.side().is_none();
        match error.kind() {
            ErrorKind::Interrupted => ExitStatus::Interrupted,
            ErrorKind::ValidationFailed { .. } => ExitStatus::Findings,
            // The validator reports what is wrong with a server as an item, and a hand-over stops for it: a wrong input is that of
            // their options.
            ErrorKind::InvalidInput { .. }
                if matches!(error.stage(), Some(Stage::Validate | Stage::CutOver))
                    && error.side().is_none() =>
            {
                ExitStatus::Usage
            }
            ErrorKind::InvalidInput { .. }
            | ErrorKind::File { .. }
            | ErrorKind::IllegalState { .. }
            | ErrorKind::NotFound { .. }
                if own =>
            {
                ExitStatus::Usage
            }
            _ => match error.recovery() {
                Recovery::Retry => ExitStatus::Transient,
                Recovery::Operator | Recovery::Restart => ExitStatus::Operator,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use dts_core::error::Side;

    use super::*;

    #[test]
    fn who_must_act_decides() {
        let lost = || Error::from(ErrorKind::ConnectionLost(std::io::ErrorKind::BrokenPipe.into()));
        let state = || {
            Error::from(ErrorKind::IllegalState {
                action: "a".into(),
                state: "b".into(),
                allowed: "c".into(),
            })
        };
        assert_eq!(ExitStatus::from(&lost()), ExitStatus::Transient);
        assert_eq!(ExitStatus::from(&lost().on(Side::Source)), ExitStatus::Transient);
        assert_eq!(ExitStatus::from(&state()), ExitStatus::Usage);
        assert_eq!(ExitStatus::from(&state().in_stage(Stage::FullLoad)), ExitStatus::Operator);
        assert_eq!(ExitStatus::from(&Error::internal("x")), ExitStatus::Operator);
        assert_eq!(ExitStatus::from(&ErrorKind::Interrupted.into()), ExitStatus::Interrupted);
        assert_eq!(ExitStatus::Interrupted.number(), 130);
    }
}
