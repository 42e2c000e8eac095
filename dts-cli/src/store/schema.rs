//! The tables of the store and their versions.
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// Each entry leads from one version to the next; none is ever changed once released.
const VERSIONS: [&str; 2] = ["
CREATE TABLE task (
    name          TEXT PRIMARY KEY NOT NULL,
    file          TEXT NOT NULL,
    content_hash  TEXT NOT NULL,
    state         TEXT NOT NULL,
    status        TEXT,            -- the last status document, JSON
    error         TEXT,            -- what brought it into its state, JSON
    start_at      TEXT,
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL,
    lease_token   TEXT,            -- who works on it; all NULL when nobody does
    lease_pid     INTEGER,
    lease_started INTEGER,         -- tells a process from a later one with the same id
    lease_host    TEXT,
    lease_beat    INTEGER,         -- counted up every second
    lease_at      TEXT
) STRICT;
CREATE TABLE transition (
    id         INTEGER PRIMARY KEY,
    task       TEXT NOT NULL REFERENCES task (name),
    at         TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state   TEXT NOT NULL,
    reason     TEXT NOT NULL
) STRICT;
CREATE INDEX transition_of_task ON transition (task, id);
CREATE TABLE validation (
    id           INTEGER PRIMARY KEY,
    task         TEXT NOT NULL REFERENCES task (name),
    at           TEXT NOT NULL,
    content_hash TEXT NOT NULL,    -- of the task file that was validated
    result       TEXT NOT NULL,
    document     TEXT NOT NULL
) STRICT;
CREATE INDEX validation_of_task ON validation (task, id);
CREATE TABLE comparison (
    id         INTEGER PRIMARY KEY,
    task       TEXT NOT NULL REFERENCES task (name),
    at         TEXT NOT NULL,
    conclusion TEXT NOT NULL,
    document   TEXT NOT NULL
) STRICT;
CREATE INDEX comparison_of_task ON comparison (task, id);
CREATE TABLE sample (
    id                   INTEGER PRIMARY KEY,
    task                 TEXT NOT NULL REFERENCES task (name),
    at                   TEXT NOT NULL,
    step                 TEXT,
    rows_done            INTEGER NOT NULL,
    bytes_done           INTEGER NOT NULL,
    transactions_applied INTEGER NOT NULL,
    rows_per_second      REAL NOT NULL,
    lag_seconds          REAL,
    spool_bytes          INTEGER NOT NULL
) STRICT;
CREATE INDEX sample_of_task ON sample (task, id);
", "
ALTER TABLE task ADD COLUMN queue_number INTEGER;       -- its place in the queue; NULL when it is not the queue's business
ALTER TABLE task ADD COLUMN taken_over INTEGER NOT NULL DEFAULT 0; -- how often in a row its worker died
ALTER TABLE task ADD COLUMN settings TEXT;              -- what `dts set` changed, JSON; dropped when the task file changes
CREATE TABLE request (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,    -- never used twice: others wait for it
    task          TEXT NOT NULL REFERENCES task (name),
    at            TEXT NOT NULL,
    kind          TEXT NOT NULL,
    payload       TEXT NOT NULL,   -- JSON
    asker_pid     INTEGER NOT NULL,
    asker_started INTEGER NOT NULL,
    asker_host    TEXT NOT NULL,
    standing      TEXT NOT NULL,   -- asked, taken, answered, withdrawn, abandoned
    taken_by      TEXT,            -- the lease of the process that took it
    cancelled     INTEGER NOT NULL DEFAULT 0,
    answer        TEXT             -- JSON
) STRICT;
CREATE INDEX request_of_task ON request (task, standing, id);
CREATE TABLE request_line (
    id      INTEGER PRIMARY KEY,
    request INTEGER NOT NULL REFERENCES request (id) ON DELETE CASCADE,
    at      TEXT NOT NULL,
    kind    TEXT NOT NULL,         -- output, progress
    line    TEXT NOT NULL
) STRICT;
CREATE INDEX line_of_request ON request_line (request, id);
CREATE TABLE worker (
    token   TEXT PRIMARY KEY NOT NULL,
    pid     INTEGER NOT NULL,
    started INTEGER NOT NULL,
    host    TEXT NOT NULL,
    at      TEXT NOT NULL
) STRICT;
CREATE TABLE record (              -- what an action did, for reports: completion, stop, cutover, ...
    id       INTEGER PRIMARY KEY,
    task     TEXT NOT NULL REFERENCES task (name),
    at       TEXT NOT NULL,
    kind     TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX record_of_task ON record (task, id);
"];

/// Opens the file and brings it to the newest version.
pub(super) fn open(path: &Path, busy_within: Duration) -> rusqlite::Result<Connection> {
    let deadline = Instant::now() + busy_within;
    loop {
        match open_once(path, busy_within) {
            // Two processes that make the file at once: the change to WAL does not wait by itself.
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn open_once(path: &Path, busy_within: Duration) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(busy_within)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let newest = i64::try_from(VERSIONS.len()).unwrap_or(i64::MAX);
    if version > newest {
        let problem =
            format!("made by a newer dts (version {version} of the store, this dts knows {newest})");
        return Err(rusqlite::Error::InvalidParameterName(problem));
    }
    for statements in VERSIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(statements)?;
    }
    if version < newest {
        transaction.pragma_update(None, "user_version", newest)?;
    }
    transaction.commit()?;
    Ok(connection)
}
