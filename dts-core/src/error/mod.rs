//! The one error type of the library: what went wrong, where, who can mend it, and how.
//!
//! [`Error`] is one word wide, so that `Result<T>` stays cheap on the hot path. Inside it are an [`ErrorKind`] (what),
//! and the context that was known on the way up (stage, side, table, position). Context that is added later never
//! overwrites what was already there: the innermost place knows best.
//!
//! No decision is ever made on message text. Server errors are told apart by their number.
use std::borrow::Cow;
use std::fmt;

mod kind;
mod server;

pub use kind::ErrorKind;
pub use server::ServerError;

use crate::data::TableName;

/// A `Result` with the library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which of the two servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The server read from.
    Source,
    /// The server written to.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

/// Which part of the flow an error came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// Looking before the start.
    Validate,
    /// Creating databases and tables on the target.
    Structure,
    /// Copying the rows that exist.
    FullLoad,
    /// Applying the changes since.
    Apply,
    /// Comparing both sides.
    Check,
    /// Carrying accounts and what they may do.
    Accounts,
    /// Moving the writers.
    CutOver,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Validate => "validate",
            Stage::Structure => "structure",
            Stage::FullLoad => "full load",
            Stage::Apply => "apply",
            Stage::Check => "check",
            Stage::Accounts => "accounts",
            Stage::CutOver => "cut-over",
        })
    }
}

/// Who can make progress possible again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Nobody has to do anything: try again, and the work resumes where it stood.
    Retry,
    /// An operator must act; the hint says how.
    Operator,
    /// What was done so far cannot be used: the task must start anew.
    Restart,
}

/// A stable number of a kind of error, printed as `DTS-4002`. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DTS-{:04}", self.0)
    }
}

/// What went wrong, where, who can mend it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    stage: Option<Stage>,
    side: Option<Side>,
    table: Option<TableName>,
    position: Option<String>,
    key: Option<String>,
    hint: Option<Cow<'static, str>>,
    state: Option<Cow<'static, str>>,
}

impl Error {
    /// Returns what went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns the stable code.
    pub fn code(&self) -> Code {
        self.0.kind.code()
    }

    /// Returns who can make progress possible again.
    pub fn recovery(&self) -> Recovery {
        self.0.kind.recovery()
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> &str {
        match &self.0.hint {
            Some(hint) => hint,
            None => match self.0.kind.hint() {
                Cow::Borrowed(text) => text,
                Cow::Owned(_) => "",
            },
        }
    }

    /// Returns where in the source's binary log it happened, when that is known.
    pub fn position(&self) -> Option<&str> {
        self.0.position.as_deref()
    }

    /// Returns the table it is about, when that is known.
    pub fn table(&self) -> Option<&TableName> {
        self.0.table.as_ref()
    }

    /// Returns which row it is about, as text for the operator's eyes: row content, so it is in neither `Display` nor `Debug`.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Returns the side it came from, when that is known.
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// Returns the stage it came from, when that is known.
    pub fn stage(&self) -> Option<Stage> {
        self.0.stage
    }

    /// Returns the server's error packet, when a server's answer is the cause.
    pub fn server_error(&self) -> Option<&ServerError> {
        match &self.0.kind {
            ErrorKind::Server { source, .. }
            | ErrorKind::AccessDenied { source, .. }
            | ErrorKind::Privilege { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns whether it is only somebody's wish to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Interrupted)
    }

    /// Adds the stage, unless it is known already.
    #[must_use]
    pub fn in_stage(mut self, stage: Stage) -> Self {
        self.0.stage.get_or_insert(stage);
        self
    }

    /// Adds the side, unless it is known already.
    #[must_use]
    pub fn on(mut self, side: Side) -> Self {
        self.0.side.get_or_insert(side);
        self
    }

    /// Adds the table, unless it is known already.
    #[must_use]
    pub fn for_table(mut self, table: &TableName) -> Self {
        self.0.table.get_or_insert_with(|| table.clone());
        self
    }

    /// Adds the position in the source's binary log, unless it is known already.
    #[must_use]
    pub fn at(mut self, position: impl fmt::Display) -> Self {
        self.0.position.get_or_insert_with(|| position.to_string());
        self
    }

    /// Adds which row it is about, unless it is known already. It is shown only by who asks for [`key`](Self::key).
    #[must_use]
    pub fn for_key(mut self, key: impl Into<String>) -> Self {
        self.0.key.get_or_insert_with(|| key.into());
        self
    }

    /// Replaces the general hint of the kind by one that fits the case.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Says in what state everything is left, in front of whatever the hint is, unless that is said already. Whole sentences.
    #[must_use]
    pub fn with_state(mut self, state: impl Into<Cow<'static, str>>) -> Self {
        if self.0.state.is_none() {
            let state = state.into();
            self.0.hint = Some(format!("{state} {}", self.hint()).into());
            self.0.state = Some(state);
        }
        self
    }

    /// Says the state that another error knows: this one is its cause.
    #[must_use]
    pub(crate) fn with_state_of(self, other: &Error) -> Self {
        match &other.0.state {
            Some(state) => self.with_state(state.clone()),
            None => self,
        }
    }

    /// Names the other side, for work that goes from the target to the source.
    pub(crate) fn mirrored(mut self) -> Self {
        self.0.side = self.0.side.map(|side| match side {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        });
        self
    }

    /// Makes an [`ErrorKind::Internal`].
    pub fn internal(what: impl Into<String>) -> Self {
        ErrorKind::Internal { what: what.into() }.into()
    }

    /// Makes an [`ErrorKind::InvalidInput`].
    pub fn invalid(
        what: impl Into<Cow<'static, str>>,
        actual: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        ErrorKind::InvalidInput { what: what.into(), actual: actual.into(), expected: expected.into() }.into()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Error(Box::new(Inner {
            kind,
            stage: None,
            side: None,
            table: None,
            position: None,
            key: None,
            hint: None,
            state: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code(), self.0.kind)?;
        let mut cause = std::error::Error::source(&self.0.kind);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if let Some(stage) = self.0.stage {
            write!(f, "; stage {stage}")?;
        }
        if let Some(side) = self.0.side {
            write!(f, "; {side}")?;
        }
        if let Some(table) = &self.0.table {
            write!(f, "; table {table}")?;
        }
        if let Some(position) = &self.0.position {
            write!(f, "; position {position}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (hint: {})", self.hint())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_of_the_innermost_place_wins() {
        let error =
            Error::from(ErrorKind::Interrupted).on(Side::Source).on(Side::Target).in_stage(Stage::Apply);
        assert_eq!(error.to_string(), "[DTS-8001] interrupted; stage apply; source");
    }

    #[test]
    fn a_key_is_for_who_asks() {
        let error = Error::from(ErrorKind::NoKey).for_key("id = 4711");
        assert_eq!(error.key(), Some("id = 4711"));
        assert!(!format!("{error} {error:?}").contains("4711"));
    }

    #[test]
    fn a_state_comes_before_every_hint_and_once() {
        let stopped = || Error::from(ErrorKind::CutOver { why: "no".into() });
        let with_own =
            stopped().with_hint("Look there.").with_state("It is open.").with_state("It is closed.");
        assert_eq!(with_own.hint(), "It is open. Look there.");
        let general = stopped().with_state("It is open.");
        assert_eq!(general.hint(), format!("It is open. {}", stopped().hint()));
        assert_eq!(
            stopped().with_hint("Look there.").with_state_of(&general).hint(),
            "It is open. Look there."
        );
        assert_eq!(stopped().with_hint("Look there.").with_state_of(&stopped()).hint(), "Look there.");
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
