//! P0: the position from which replay makes a lock-free copy exact.
//!
//! # The problem
//! The server makes a group commit in three steps: the binary log is flushed, it is synced (from here a dump thread may send
//! it), and only then does the storage engine commit, which makes the rows visible. A binlog *file position* read in
//! between is already past a transaction whose rows a SELECT does not see yet. A copy that starts from such a position
//! loses that transaction (gh-ost#1030).
//!
//! # The method
//! With GTIDs: `@@GLOBAL.gtid_executed` without what is owned afterwards ([`server::gtid_committed`]), read **before** the
//! first row is read. Every transaction in that set is committed in the engine and visible to any read that starts
//! later; every other one is replayed from the log. (From 5.7 on `gtid_executed` alone would do; in 5.6 it is ahead of
//! the engine.)
//!
//! Without GTIDs: the beginning of the present log file, as [`LogOffsets`](crate::data::LogOffsets). A server begins a new file
//! only when all that is in the one before is committed in the engine. At most one file is replayed in vain.
//!
//! # Why it suffices
//! Let every chunk be read by its own consistent read at any time after P0. Replay all events that are not in P0, in log
//! order, as {insert and update: upsert the after image by key, delete the before key when the key changed; delete:
//! delete by key}. When the replay has passed the last chunk's read, the target equals the source at the replay
//! position: a key without a replayed event was constant over all reads, and exactly one chunk read it; any other key
//! is fixed by its last event alone. No lock, no long transaction, no write on the source.
//!
//! # Assumptions
//! Full row images; chunks that partition the key space under the server's own comparison; every change logged as rows.
//! XA: `XA PREPARE` is logged under a GTID of its own while its rows stay invisible until `XA COMMIT`, so P0 must not
//! lie between the two.
use std::time::{Duration, Instant};

use crate::data::Position;
use crate::error::{Error, ErrorKind, Result};
use crate::server::{self, Flavor};
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::wire::Connection;

/// How long to wait for prepared XA transactions to end.
const XA_PATIENCE: Duration = Duration::from_secs(30);
/// How often they are looked for.
const XA_POLL: Duration = Duration::from_millis(50);

/// Takes P0. Rows may be read from any moment after this returns.
///
/// # Errors
/// [`ErrorKind::SystemVariable`] when the source has no binary log; [`ErrorKind::IllegalState`] when a prepared XA
/// transaction stays open.
pub fn take(source: &SourceEndpoint, connection: &mut Connection, stop: &StopToken) -> Result<Position> {
    if source.facts().flavor == Flavor::MariaDb {
        return Err(
            ErrorKind::Unsupported { what: "to follow the changes of a MariaDB source yet".into() }.into()
        );
    }
    let begun = Instant::now();
    loop {
        // One that is prepared before P0 is read and committed after it would be in the log after P0 without its rows. It is
        // listed before, or it is prepared meanwhile: then it is listed afterwards, or its XA COMMIT was counted.
        let commits = commit_count(connection)?;
        let before = prepared_count(connection)?;
        let position = Position::Gtid(server::gtid_committed(connection)?);
        let prepared = before.max(prepared_count(connection)?);
        let is_late = begun.elapsed() >= XA_PATIENCE;
        // Where they are committed all the time, who applies says so should it have happened.
        if prepared == 0 && (is_late || commits == commit_count(connection)?) {
            return Ok(position);
        }
        if is_late {
            return Err(Error::from(ErrorKind::IllegalState {
                action: "start the full load".into(),
                state: format!("waiting for {prepared} prepared XA transactions on the source"),
                allowed: "XA COMMIT or XA ROLLBACK of each that XA RECOVER lists".into(),
            }));
        }
        stop.sleep(XA_POLL)?;
    }
}

/// Returns how many XA COMMITs the server has begun.
fn commit_count(connection: &mut Connection) -> Result<Option<u64>> {
    let sql = "SHOW GLOBAL STATUS LIKE 'Com_xa_commit'";
    Ok(connection.query_row(sql, "counting XA transactions")?.and_then(|row| row.u64(1)))
}

/// `ER_XAER_RMERR`: what 8.0 and later answer to XA RECOVER without XA_RECOVER_ADMIN.
const XA_REFUSED: u16 = 1401;

/// Counts prepared XA transactions; 0 where the account may not look.
pub(crate) fn prepared_count(connection: &mut Connection) -> Result<usize> {
    match connection.query("XA RECOVER", "looking for prepared XA transactions") {
        Ok(rows) => Ok(rows.len()),
        Err(error)
            if error
                .server_error()
                .is_some_and(|server| server.is_privilege() || server.code == XA_REFUSED) =>
        {
            log::warn!("cannot look for prepared XA transactions: {error}");
            Ok(0)
        }
        Err(error) => Err(error),
    }
}
