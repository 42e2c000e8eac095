//! All rows of a table at exactly one position, for tables that a lock-free copy cannot carry.
//!
//! # The problem
//! A lock-free copy is made exact by replaying changes *by key*: replaying one that the copy has seen already does no harm.
//! Without a key every replayed change counts: an insert that was copied and then replayed is a row too many. So there
//! must be one position S such that the copied rows hold every change in S and none outside of it; the applier then
//! leaves out what is in S and applies everything else exactly once.
//!
//! # What the server does
//! A commit goes through: the GTID is owned; the binary log is flushed and synced; the engine commits, from when on the row
//! is visible to snapshots that open; the GTID is no longer owned; the transaction's metadata locks are released. The
//! GTID enters `gtid_executed` at the flush in 5.6 (so before it is visible) and right after the engine's commit from
//! 5.7 on (so after it is visible; either was measured). So neither "in `gtid_executed`" nor "visible" implies the other,
//! while a transaction is anywhere in between.
//!
//! # The ladder
//! What must hold is: for every transaction T that changed one of the tables, "the snapshot sees T" and "T is in S" are the
//! same. Transactions that did not change them do not matter: nothing of them is left out or applied twice.
//!
//! 1. **Table lock.** `LOCK TABLES t READ`, open the snapshots, S = `gtid_executed`, `UNLOCK TABLES`. From 5.7 on the lock
//!    waits for every transaction that changed the table, because such a one keeps its metadata lock (SHARED_WRITE)
//!    until after its commit, its entry in `gtid_executed` included. 5.6 takes a weaker metadata lock, which an open
//!    transaction does not hinder; therefore the lock is taken with `autocommit=0` and `innodb_table_locks=1`, whereby
//!    InnoDB's own table lock (S) waits for every open transaction that has changed a row of it (IX), until its engine
//!    commit; and in 5.6 whatever was committed in the engine was added to `gtid_executed` earlier, at the flush.
//!    Either way no T is in between while we hold the lock: it is visible *and* in the set, or it has not begun.
//! 2. **Global lock**, when the account may not lock tables: `FLUSH TABLES WITH READ LOCK` waits until every commit under
//!    way is through (a commit holds the metadata lock of COMMIT from before the flush until after the engine's commit) and
//!    lets no other one begin. Open transactions are not waited for: they are invisible and not in the set. XA
//!    transactions are the exception from 5.7 on: a prepared one is in the set and invisible, so there must be none.
//! 3. **Optimistic**, when that is denied, too: read E1 = `gtid_executed`, O1 = `gtid_owned`; open the snapshots; read O2 =
//!    `gtid_owned`, E2 = `gtid_executed`, in this order. What is in E1 and not in O1 was committed before the snapshot, and is
//!    visible. What is visible had got its GTID before the snapshot opened, so at O2 it was still owned, or was through
//!    and in E2. So when E2 ∪ O2 holds nothing that E1 − O1 has not, S = E1 − O1 is exact: nothing was in between. On a
//!    source that is never quiet for a few round trips this does not succeed, and says so. Not without GTIDs.
//!
//! Without GTIDs S is everything before the end of the log ([`LogOffsets`](crate::data::LogOffsets)), read under the lock: who has
//! changed one of the tables is through, and who will change one is written behind it.
//!
//! A table that another session holds for long is waited for in short turns, because a waiting lock can hold up those who
//! come after it; between the turns the optimistic way is tried.
//!
//! # Assumptions
//! GTIDs. The tables are of InnoDB: other engines have no snapshots. The definition does not change between the snapshot
//! and the read: each snapshot touches the tables at once, and its metadata lock then keeps DDL away until its end.
use std::time::{Duration, Instant};

pub use crate::data::Rung;
use crate::data::{GtidSet, TableName};
use crate::error::{Error, ErrorKind, Result, ServerError};
use crate::server;
use crate::source::{SourceEndpoint, start_position};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::wire::Connection;

/// How long one wait for a lock may hold up others, in seconds: the first times, and from then on.
const LOCK_WAIT_SECONDS: [u32; 3] = [1, 2, 3];
/// How often a lock is tried before it is given up.
const LOCK_TRIES: u32 = 20;
/// For how long a moment without commits is looked for.
const OPTIMISTIC_PATIENCE: Duration = Duration::from_secs(60);

/// Connections that see the rows of one moment, and that moment's position.
pub struct ExactSnapshot {
    /// Connections for rows (as [`SourceEndpoint::reader`]), each inside a read-only transaction on the same snapshot. The
    /// snapshot lives until they are dropped.
    pub connections: Vec<Connection>,
    /// Exactly the transactions that the snapshot sees, as far as they changed the tables asked for.
    pub position: GtidSet,
    /// How it was taken.
    pub rung: Rung,
}

/// What came of one attempt.
enum Attempt {
    Taken(Vec<Connection>, GtidSet),
    /// The account may not do it.
    Denied(Error),
    /// Somebody else was in the way.
    Busy(Error),
}

/// Takes a snapshot of some tables, with so many connections that see it. No other table is locked, except for moments by
/// [`Rung::GlobalLock`]; no lock is held when this returns.
///
/// # Errors
/// [`ErrorKind::Privilege`] with what to grant when locks are denied and the
/// source is never quiet enough to do without; what the source answered.
pub fn take(
    source: &SourceEndpoint,
    tables: &[&TableName],
    connection_count: usize,
    stop: &StopToken,
) -> Result<ExactSnapshot> {
    let mut ladder = Ladder { source, tables, connection_count, stop };
    let mut cause = None;
    for rung in [Rung::TableLock, Rung::GlobalLock] {
        match ladder.climb(rung)? {
            Ok(snapshot) => return Ok(snapshot),
            // A lock that others keep from us is no reason for a wider one.
            Err((error, false)) => {
                cause = Some(error);
                break;
            }
            Err((error, true)) => cause = cause.or(Some(error)),
        }
    }
    let begun = Instant::now();
    // The end of a log without GTIDs runs ahead of the engine, and nothing tells by how much.
    let optimistic = source.facts().has_gtids();
    while optimistic && begun.elapsed() < OPTIMISTIC_PATIENCE {
        match ladder.optimistic()? {
            Attempt::Taken(connections, position) => {
                return Ok(ExactSnapshot { connections, position, rung: Rung::Optimistic });
            }
            Attempt::Denied(error) => return Err(error),
            Attempt::Busy(_) => stop.sleep(Duration::from_millis(20))?,
        }
    }
    let databases: Vec<String> = tables.iter().map(|table| quote::identifier(&table.database)).collect();
    let error = cause.unwrap_or_else(|| Error::internal("an exact snapshot failed without a reason"));
    Err(error.with_hint(format!(
        "Tables without a usable key need an exact snapshot, and the source is never quiet enough to take one without a \
         lock. GRANT LOCK TABLES, SELECT ON {}.* to the account (the lock is held for milliseconds), end long transactions \
         on these tables, or give them a primary key.",
        databases.first().map_or("*", String::as_str)
    )))
}

/// What the rungs have in common.
struct Ladder<'a> {
    source: &'a SourceEndpoint,
    tables: &'a [&'a TableName],
    connection_count: usize,
    stop: &'a StopToken,
}

impl Ladder<'_> {
    /// Tries a rung until it is taken, denied, or given up. The inner error says whether it was denied.
    fn climb(&mut self, rung: Rung) -> Result<Result<ExactSnapshot, (Error, bool)>> {
        let mut last = None;
        for attempt in 0..LOCK_TRIES {
            let turn = usize::try_from(attempt).unwrap_or(usize::MAX).min(LOCK_WAIT_SECONDS.len() - 1);
            match self.locked(rung, LOCK_WAIT_SECONDS[turn])? {
                Attempt::Taken(connections, position) => {
                    return Ok(Ok(ExactSnapshot { connections, position, rung }));
                }
                Attempt::Denied(error) => {
                    log::info!("no snapshot by {}: {error}", rung.name());
                    return Ok(Err((error, true)));
                }
                Attempt::Busy(error) => {
                    log::info!("no snapshot by {} yet: {error}", rung.name());
                    last = Some(error);
                }
            }
            if let Attempt::Taken(connections, position) = self.optimistic()? {
                return Ok(Ok(ExactSnapshot { connections, position, rung: Rung::Optimistic }));
            }
            self.stop.sleep(Duration::from_millis(250) * (attempt + 1).min(8))?;
        }
        let error = last.unwrap_or_else(|| Error::internal("a lock failed without a reason"));
        Ok(Err((error, false)))
    }

    /// One attempt with a lock.
    fn locked(&self, rung: Rung, wait_seconds: u32) -> Result<Attempt> {
        let mut control = self.source.control(self.stop)?;
        let mut readers = self.readers()?;
        let (lock, doing) = match rung {
            Rung::TableLock => {
                let names: Vec<String> =
                    self.tables.iter().map(|table| format!("{} READ", quote::table(table))).collect();
                (format!("LOCK TABLES {}", names.join(", ")), "locking a table for a snapshot")
            }
            Rung::GlobalLock => {
                ("FLUSH TABLES WITH READ LOCK".to_owned(), "locking all tables for a snapshot")
            }
            Rung::Optimistic => return Err(Error::internal("the optimistic way takes no lock")),
        };
        control.execute(
            format!(
                "SET SESSION lock_wait_timeout = {wait_seconds}, innodb_lock_wait_timeout = {wait_seconds}, \
                 innodb_table_locks = 1, autocommit = 0"
            ),
            "setting up the session of a lock",
        )?;
        // Dropping the connection releases the lock, whatever happens from here on.
        if let Err(error) = control.execute(lock, doing) {
            return refused(error);
        }
        let opened = self.open(&mut readers).and_then(|()| server::gtid_executed(&mut control));
        control.execute("UNLOCK TABLES; COMMIT", "unlocking after a snapshot")?;
        let position = match opened {
            Ok(position) => position,
            Err(error) => return refused(error),
        };
        self.without_prepared(&mut control, readers, position)
    }

    /// One attempt without a lock.
    fn optimistic(&self) -> Result<Attempt> {
        let mut control = self.source.control(self.stop)?;
        let mut readers = self.readers()?;
        let executed = server::gtid_executed(&mut control)?;
        let position = executed.subtract(&server::gtid_owned(&mut control)?);
        if let Err(error) = self.open(&mut readers) {
            return refused(error);
        }
        let owned = server::gtid_owned(&mut control)?;
        let executed = server::gtid_executed(&mut control)?;
        if !position.contains_set(&owned) || !position.contains_set(&executed) {
            return Ok(busy("waiting for a moment without commits on the source"));
        }
        self.without_prepared(&mut control, readers, position)
    }

    /// Refuses a moment in which XA transactions were prepared: their GTIDs are in the set, their rows invisible.
    fn without_prepared(
        &self,
        control: &mut Connection,
        readers: Vec<Connection>,
        position: GtidSet,
    ) -> Result<Attempt> {
        if start_position::prepared_count(control)? > 0 {
            return Ok(busy("waiting for prepared XA transactions on the source"));
        }
        Ok(Attempt::Taken(readers, position))
    }

    fn readers(&self) -> Result<Vec<Connection>> {
        (0..self.connection_count)
            .map(|_| {
                let mut reader = self.source.reader(self.stop)?;
                reader.execute(
                    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET SESSION lock_wait_timeout = 1",
                    "setting up a snapshot",
                )?;
                Ok(reader)
            })
            .collect()
    }

    /// Opens the snapshots and keeps DDL away from the tables.
    fn open(&self, readers: &mut [Connection]) -> Result<()> {
        for reader in readers.iter_mut() {
            let done = reader
                .execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", "opening a snapshot")?;
            if done.warnings > 0 {
                return Err(ErrorKind::Unsupported { what: "consistent snapshots".into() }.into());
            }
        }
        for reader in readers {
            for table in self.tables {
                let sql = format!("SELECT 1 FROM {} LIMIT 1", quote::table(table));
                reader
                    .execute(sql, "touching a table in a snapshot")
                    .map_err(|error| error.for_table(table))?;
            }
        }
        Ok(())
    }
}

/// Tells a denial and a lock held by others from any other error, by number.
fn refused(error: Error) -> Result<Attempt> {
    match error.server_error() {
        Some(server) if server.is_privilege() => Ok(Attempt::Denied(error)),
        Some(ServerError { code: 1205 | 1213, .. }) => Ok(Attempt::Busy(error)),
        _ => Err(error),
    }
}

fn busy(state: &str) -> Attempt {
    Attempt::Busy(
        ErrorKind::IllegalState {
            action: "take an exact snapshot".into(),
            state: state.into(),
            allowed: "trying again in a quieter moment".into(),
        }
        .into(),
    )
}
