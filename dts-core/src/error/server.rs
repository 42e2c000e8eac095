//! What a server answered, and what its number says.
use super::Recovery;

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
