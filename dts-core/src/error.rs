//! The one error type of the library: what went wrong, where, who can mend it, and how.
//!
//! [`Error`] is one word wide, so that `Result<T>` stays cheap on the hot path. Inside it are an [`ErrorKind`] (what),
//! and the context that was known on the way up (stage, side, table, position). Context that is added later never
//! overwrites what was already there: the innermost place knows best.
//!
//! No decision is ever made on message text. Server errors are told apart by their number.
use std::borrow::Cow;
use std::fmt;

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

/// What went wrong.
///
/// Codes: 1xxx input and configuration, 2xxx server set-up, 3xxx replication position, 4xxx server and network,
/// 5xxx data that cannot be carried, 6xxx the cut-over, 9xxx a broken invariant of dts itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value given by the caller cannot be used.
    #[error("{what} is '{actual}', expected {expected}")]
    InvalidInput {
        /// Which value.
        what: Cow<'static, str>,
        /// What was given.
        actual: String,
        /// What would have been right.
        expected: Cow<'static, str>,
    },
    /// A file could not be read or written.
    #[error("cannot {action} '{path}'")]
    File {
        /// What was tried: `read`, `write`, `create`.
        action: &'static str,
        /// The file.
        path: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The asked-for action is not allowed in this state.
    #[error("'{action}' is not possible while the task is {state}; allowed now: {allowed}")]
    IllegalState {
        /// What was asked for.
        action: String,
        /// The task's present state.
        state: String,
        /// What could be asked for instead.
        allowed: String,
    },
    /// No such object on the server.
    #[error("{what} '{name}' does not exist")]
    NotFound {
        /// What kind of object.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Objects of the same name are already on the target.
    #[error("the target already has {count} of the objects that would be created: {names}")]
    TargetConflict {
        /// How many there are.
        count: usize,
        /// The first few.
        names: String,
    },
    /// Validation found items that fail.
    #[error("validation failed: {items}")]
    ValidationFailed {
        /// The ids of the failed items.
        items: String,
    },
    /// A server setting does not allow what is needed.
    #[error("system variable '{name}' is '{actual}', must be '{expected}'")]
    SystemVariable {
        /// The variable.
        name: &'static str,
        /// What is needed.
        expected: Cow<'static, str>,
        /// What was seen.
        actual: String,
    },
    /// The server lacks something that dts needs.
    #[error("the server cannot do this: {what}")]
    Unsupported {
        /// What is missing.
        what: String,
    },
    /// The account may not do what is needed.
    #[error("missing privilege for {what}")]
    Privilege {
        /// What was tried.
        what: String,
        /// The server's answer.
        #[source]
        source: ServerError,
    },
    /// The source no longer has the binary log where the stream must resume.
    #[error("the source has purged binary log that is still needed; missing: {missing}")]
    BinlogPurged {
        /// The GTID set or file that is gone.
        missing: String,
    },
    /// The source does not know transactions that were applied from it: restored, reset or failed over.
    #[error("the source does not have transactions that were already applied from it: {unknown}")]
    SourceDiverged {
        /// GTIDs that the source lacks.
        unknown: String,
    },
    /// A binlog event that cannot be carried to the target.
    #[error("cannot carry a binlog event: {what}")]
    BinlogEvent {
        /// Which event and why.
        what: String,
    },
    /// Bytes of the binlog are not what the format says.
    #[error("damaged binlog event: {what}")]
    BinlogDamaged {
        /// What was expected and what was seen.
        what: String,
    },
    /// A schema change that cannot be carried.
    #[error("cannot carry a schema change: {why}; statement: {statement}")]
    SchemaChange {
        /// The reason.
        why: String,
        /// The statement.
        statement: String,
    },
    /// The name of the host has no address.
    #[error("cannot resolve host name '{host}'")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        #[source]
        source: std::io::Error,
    },
    /// No connection could be made.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address tried, with the IP.
        address: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The server refused the account.
    #[error("the server refused the login of '{user}'")]
    AccessDenied {
        /// The account used.
        user: String,
        /// The server's answer.
        #[source]
        source: ServerError,
    },
    /// A TLS connection could not be made.
    #[error("cannot make a TLS connection to {address}: {why}")]
    Tls {
        /// The address tried.
        address: String,
        /// The reason.
        why: String,
    },
    /// The connection broke.
    #[error("connection lost")]
    ConnectionLost(#[source] std::io::Error),
    /// The server did not answer in time.
    #[error("no answer within {seconds} s")]
    Timeout {
        /// How long was waited.
        seconds: u64,
    },
    /// The server and the client disagree about the protocol.
    #[error("unexpected answer from the server: {what}")]
    Protocol {
        /// What was expected and what was seen.
        what: String,
    },
    /// The server answered a statement with an error.
    #[error("{doing} failed")]
    Server {
        /// What the statement was for; never contains row content.
        doing: Cow<'static, str>,
        /// The server's answer.
        #[source]
        source: ServerError,
    },
    /// A write stored another number of rows than it was sent, or the server warned.
    #[error("wrote {expected} rows, the server reports {actual} rows and {warnings} warnings{detail}")]
    RowCount {
        /// Rows sent.
        expected: u64,
        /// Rows that the server says it stored.
        actual: u64,
        /// Warnings of the statement.
        warnings: u64,
        /// The numbers of the first warnings.
        detail: String,
    },
    /// A table has no key that dts can use.
    #[error("the table has no primary key and no UNIQUE key of NOT NULL columns")]
    NoKey,
    /// A value that cannot be carried.
    #[error("column '{column}' holds a value that cannot be carried: {why}")]
    Value {
        /// The column.
        column: String,
        /// The reason, without the value.
        why: String,
    },
    /// After the converge point a change did not fit the target's row.
    #[error("the target differs from the source: {what}")]
    Divergence {
        /// Which change found what, without row content.
        what: String,
    },
    /// The target does not take the definitions of some objects.
    #[error("the target refuses {count} of the objects: {objects}")]
    ObjectsRefused {
        /// How many there are.
        count: usize,
        /// Each one with the target's answer and what to do.
        objects: String,
    },
    /// A step of a cut-over or of a rollback saw something that stops it.
    #[error("the hand-over stops: {why}")]
    CutOver {
        /// What was seen.
        why: String,
    },
    /// A queue, spool or disk is full.
    #[error("{what} is full ({limit})")]
    Full {
        /// What is full.
        what: String,
        /// Its limit.
        limit: String,
    },
    /// A file of the spool is not what was written.
    #[error("the spool is damaged: '{path}': {what}")]
    SpoolDamaged {
        /// The file.
        path: String,
        /// What was seen.
        what: String,
    },
    /// Somebody asked to stop. Not a failure; everything that was recorded is durable.
    #[error("interrupted")]
    Interrupted,
    /// A broken invariant of dts itself.
    #[error("internal error: {what}")]
    Internal {
        /// Which invariant.
        what: String,
    },
}

impl ErrorKind {
    /// Returns the stable code of this kind.
    pub fn code(&self) -> Code {
        // No wildcard arm: a new kind does not compile without a code. `docs/errors.md` has an entry for each.
        Code(match self {
            Self::InvalidInput { .. } => 1001,
            Self::File { .. } => 1002,
            Self::IllegalState { .. } => 1003,
            Self::NotFound { .. } => 1004,
            Self::TargetConflict { .. } => 1005,
            Self::ValidationFailed { .. } => 1006,
            Self::SystemVariable { .. } => 2001,
            Self::Unsupported { .. } => 2002,
            Self::Privilege { .. } => 2003,
            Self::BinlogPurged { .. } => 3001,
            Self::SourceDiverged { .. } => 3002,
            Self::BinlogEvent { .. } => 3003,
            Self::BinlogDamaged { .. } => 3004,
            Self::SchemaChange { .. } => 3005,
            Self::Resolve { .. } => 4001,
            Self::Connect { .. } => 4002,
            Self::AccessDenied { .. } => 4003,
            Self::Tls { .. } => 4004,
            Self::ConnectionLost(_) => 4005,
            Self::Timeout { .. } => 4006,
            Self::Protocol { .. } => 4007,
            Self::Server { .. } => 4008,
            Self::Full { .. } => 4009,
            Self::SpoolDamaged { .. } => 4010,
            Self::RowCount { .. } => 5001,
            Self::NoKey => 5002,
            Self::Value { .. } => 5003,
            Self::Divergence { .. } => 5004,
            Self::ObjectsRefused { .. } => 5005,
            Self::CutOver { .. } => 6001,
            Self::Interrupted => 8001,
            Self::Internal { .. } => 9001,
        })
    }

    /// Returns who can make progress possible again.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::ConnectionLost(_)
            | Self::Timeout { .. }
            | Self::Connect { .. }
            | Self::Resolve { .. }
            | Self::Interrupted => Recovery::Retry,
            Self::Server { source, .. } => source.recovery(),
            Self::BinlogPurged { .. } | Self::SourceDiverged { .. } => Recovery::Restart,
            Self::InvalidInput { .. }
            | Self::File { .. }
            | Self::IllegalState { .. }
            | Self::NotFound { .. }
            | Self::TargetConflict { .. }
            | Self::ValidationFailed { .. }
            | Self::SystemVariable { .. }
            | Self::Unsupported { .. }
            | Self::Privilege { .. }
            | Self::BinlogEvent { .. }
            | Self::BinlogDamaged { .. }
            | Self::SchemaChange { .. }
            | Self::AccessDenied { .. }
            | Self::Tls { .. }
            | Self::Protocol { .. }
            | Self::Full { .. }
            | Self::SpoolDamaged { .. }
            | Self::RowCount { .. }
            | Self::NoKey
            | Self::Value { .. }
            | Self::Divergence { .. }
            | Self::ObjectsRefused { .. }
            | Self::CutOver { .. }
            | Self::Internal { .. } => Recovery::Operator,
        }
    }

    /// Returns what to do about it, as one or two sentences.
    pub fn hint(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::InvalidInput { .. } => "Correct the value and run the command again; nothing was changed.",
            Self::File { .. } => "Check that the path exists and that this user may use it.",
            Self::IllegalState { .. } => "Choose one of the allowed actions.",
            Self::NotFound { .. } => "Check the name (and its case), and that the account may see it.",
            Self::TargetConflict { .. } => {
                "Drop or rename these objects on the target, or rename the task's objects with objects.rename."
            }
            Self::ValidationFailed { .. } => {
                "Mend each failed item as its fix says, then run the command again."
            }
            Self::SystemVariable { .. } => {
                "Change the setting on the server (console or my.cnf), then run again."
            }
            Self::Unsupported { .. } => "See docs/requirements.md for what each server version must offer.",
            Self::Privilege { .. } => {
                "Run `dts validate`: it prints all missing privileges as one GRANT statement."
            }
            Self::BinlogPurged { .. } => {
                "The changes in between are lost to this task: raise the source's binlog retention and start a new task."
            }
            Self::SourceDiverged { .. } => {
                "The source was restored, reset or failed over to a server without these transactions. Start a new task, \
                 or point the task at the server that has them."
            }
            Self::BinlogEvent { .. } => {
                "Every change must be logged as rows: set binlog_format=ROW and binlog_row_image=FULL in all sessions, \
                 then start a new task."
            }
            Self::BinlogDamaged { .. } => {
                "The event failed its checks and nothing of it was applied. Run again; if it stays, check the source's \
                 binary log with mysqlbinlog --verify-binlog-checksum."
            }
            Self::SchemaChange { .. } => {
                "Carry the change out on the target by hand and run with --skip-ddl and its GTID, or start a new task."
            }
            Self::Resolve { .. } => "Check the host name and this machine's DNS.",
            Self::Connect { .. } => {
                "Check host and port, that the server runs, and that this machine's address is in the server's whitelist \
                 or security group."
            }
            Self::AccessDenied { .. } => "Check user, password and the host part of the account.",
            Self::Tls { .. } => {
                "See docs/requirements.md (TLS), or use tls.mode = \"disabled\" through a private network or tunnel."
            }
            Self::ConnectionLost(_) | Self::Timeout { .. } => {
                "Run the command again: it resumes where it stood."
            }
            Self::Protocol { .. } => "Check that the address is a MySQL server and not a proxy.",
            Self::Server { .. } => "The server's own error number and text say what it refused.",
            Self::RowCount { .. } => {
                "The target changed or refused values. Compare the table's definition on both sides and its sql_mode."
            }
            Self::NoKey => "Add a primary key on the source, or exclude the table.",
            Self::Value { .. } => "Correct the value on the source, or exclude the table.",
            Self::Divergence { .. } => {
                "Somebody else writes on the target, or rows were changed there. Run `dts check` to see which rows differ."
            }
            Self::ObjectsRefused { .. } => {
                "Mend or drop these objects on the source, or leave them out (objects.exclude, or objects.views, .routines, \
                 .triggers, .events = false), then run again. No rows were copied yet."
            }
            Self::CutOver { .. } => "Mend the cause and run the same command again; --dry-run only looks.",
            Self::Full { .. } => "Free space or raise the limit, then run again: it resumes where it stood.",
            Self::SpoolDamaged { .. } => {
                "Check the disk. Then delete the folder of that file and run again: everything that is not applied is asked from \
                 the source once more. If the source has purged it by then, that run says so."
            }
            Self::Interrupted => "Run the command again: it resumes where it stood.",
            Self::Internal { .. } => "This is a bug of dts: please report it with the log.",
        })
    }
}

/// An error packet of a MySQL server.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("server error {code} ({state}): {message}")]
pub struct ServerError {
    /// The server's error number, for example 1062.
    pub code: u16,
    /// SQLSTATE, five characters.
    pub state: String,
    /// The server's text. For people only; never decided on, and emptied where it could hold row content.
    pub message: String,
}

impl ServerError {
    /// Returns whether trying again can help, by the error number alone.
    ///
    /// Numbers from the server error reference: 1205 lock wait timeout, 1213 deadlock, 3572 NOWAIT, 1040 too many
    /// connections, 1053 shutdown, 1077..1079 shutdown notices, 1129 host blocked, 1158..1161 network,
    /// 1203 and 1226 connection limits, 1290 read-only (a fail-over in progress), 1317 query killed, 1927 connection killed.
    pub fn recovery(&self) -> Recovery {
        match self.code {
            1205
            | 1213
            | 3572
            | 1040
            | 1053
            | 1077..=1079
            | 1129
            | 1158..=1161
            | 1203
            | 1226
            | 1290
            | 1317
            | 1836
            | 1927
            | 3169 => Recovery::Retry,
            _ => Recovery::Operator,
        }
    }

    /// Returns whether the number says that a privilege is missing.
    ///
    /// 1044 database, 1045 login, 1142 table, 1143 column, 1227 SUPER and its parts, 1370 routine, 1419 trigger and
    /// binary log, 3879 and 3530 (8.0).
    pub fn is_privilege(&self) -> bool {
        matches!(self.code, 1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1419 | 1698 | 3530 | 3879)
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
