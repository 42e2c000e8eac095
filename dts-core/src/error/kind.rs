//! What can go wrong: each kind with its stable code, who can mend it, and how.
use std::borrow::Cow;

use super::{Code, Recovery, ServerError};

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
