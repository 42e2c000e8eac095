//! Waiting until the target has applied what the source had executed: a position, never a pause, decides.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::data::{BinlogCoordinates, GtidSet, Position};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::server::{self, ServerFacts};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::wire::Connection;

/// How long a commit under way is waited for.
const COMMIT_PATIENCE: Duration = Duration::from_secs(1);

/// Tells what of the source has been applied to the target.
pub trait AppliedPosition: Sync {
    /// Returns what of the source's changes is durable and visible on the target: every transaction in the set, or before
    /// the coordinates, can be seen by a read that starts after this call returned. It never goes back.
    ///
    /// `None`: nothing applies. Both sides are then compared as they are, without waiting.
    ///
    /// # Errors
    /// Whatever keeps it from being known; the check ends with it.
    fn applied(&self) -> Result<Option<Position>>;
}

/// Nothing applies: both sides are compared as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingApplies;

impl AppliedPosition for NothingApplies {
    fn applied(&self) -> Result<Option<Position>> {
        Ok(None)
    }
}

/// What a task has applied, read from its checkpoint rows on the target.
///
/// Those rows are written in the transactions that write the data, so what they tell is visible. It works for a task that
/// runs in another process, and for one that is stopped. An XA transaction that is prepared on the source shows nothing there, so
/// it counts as applied as soon as who applies has noted it.
pub struct CheckpointPosition {
    target: TargetEndpoint,
    task: String,
    stop: StopToken,
    connection: Mutex<Option<Connection>>,
}

impl CheckpointPosition {
    /// Looks at the checkpoint rows of `task`. No connection is opened before it is asked.
    pub fn new(target: &TargetEndpoint, task: impl Into<String>, stop: &StopToken) -> Self {
        CheckpointPosition {
            target: target.clone(),
            task: task.into(),
            stop: stop.clone(),
            connection: Mutex::new(None),
        }
    }

    fn read(&self, connection: &mut Connection) -> Result<Option<Position>> {
        let task = quote::string_literal(&self.task);
        let sql = format!("SELECT applied, 0 FROM __dts__.checkpoint WHERE task = {task}");
        let with_prepared =
            format!("{sql} UNION ALL SELECT transactions, 1 FROM __dts__.prepared WHERE task = {task}");
        // 1049 unknown database, 1146 unknown table: no task was ever run here, or by an earlier version.
        let is_missing = |error: &Error| error.server_error().is_some_and(|e| matches!(e.code, 1049 | 1146));
        let rows = match connection.query(with_prepared, "reading the checkpoint") {
            Err(error) if is_missing(&error) => connection.query(sql, "reading the checkpoint"),
            rows => rows,
        };
        let rows = match rows {
            Err(error) if is_missing(&error) => return Ok(None),
            rows => rows?,
        };
        if rows.iter().all(|row| row.u64(1) == Some(1)) {
            return Ok(None);
        }
        let positions = rows.iter().map(|row| row.string(0).parse()).collect::<Result<Vec<Position>>>()?;
        join(positions)
    }
}

/// The rows of several workers add up: GTID sets to their union. Coordinates do not add up; the smallest is sure.
fn join(positions: Vec<Position>) -> Result<Option<Position>> {
    let mut joined: Option<Position> = None;
    for position in positions {
        joined = Some(match (joined, position) {
            (None, position) => position,
            (Some(Position::Gtid(mut set)), Position::Gtid(other)) => {
                set.merge(&other);
                Position::Gtid(set)
            }
            (Some(here), other) => match here.includes(&other) {
                Some(true) => other,
                Some(false) => here,
                None => return Err(Error::internal("checkpoint rows of two kinds of position")),
            },
        });
    }
    Ok(joined)
}

impl AppliedPosition for CheckpointPosition {
    fn applied(&self) -> Result<Option<Position>> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match slot.take().filter(|connection| !connection.is_broken()) {
            Some(connection) => connection,
            None => self.target.control(&self.stop)?,
        };
        let answer = self.read(&mut connection);
        *slot = Some(connection);
        answer
    }
}

/// Waits for the applied position, for all workers of a check.
pub(super) struct Alignment<'a> {
    applied: &'a dyn AppliedPosition,
    patience: Duration,
    /// Whether anything applies at all.
    live: bool,
    known: Mutex<Known>,
    /// How long the last wait took.
    waited_ms: AtomicU64,
}

struct Known {
    position: Option<Position>,
    changed: Instant,
    /// Somebody waited in vain; nobody waits again until the position moves.
    stalled: bool,
}

impl<'a> Alignment<'a> {
    pub(super) fn new(applied: &'a dyn AppliedPosition, patience: Duration) -> Result<Self> {
        let position = applied.applied()?;
        let live = position.is_some();
        let known = Known { position, changed: Instant::now(), stalled: false };
        Ok(Alignment { applied, patience, live, known: Mutex::new(known), waited_ms: AtomicU64::new(0) })
    }

    /// Returns for how long the source may be read before the target's turn comes: nothing when nothing applies, else several
    /// times as long as the last wait took.
    pub(super) fn window(&self) -> Duration {
        if !self.live {
            return Duration::ZERO;
        }
        let waited = Duration::from_millis(self.waited_ms.load(Ordering::Relaxed));
        (4 * waited).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }

    /// As [`wait`](Self::wait), and remembers how long it took.
    pub(super) fn wait_measured(&self, high: Option<&Position>, stop: &StopToken) -> Result<bool> {
        let begun = Instant::now();
        let outcome = self.wait(high, stop)?;
        let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.waited_ms.store(waited.min(60_000), Ordering::Relaxed);
        Ok(outcome)
    }

    /// Returns whether anything applies; if not, there is nothing to wait for.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Reads up to where the source has come: what was visible before this call is included.
    ///
    /// `None` when nothing applies.
    ///
    /// GTIDs: a transaction enters `gtid_executed` at about the moment when its rows become visible, but not atomically
    /// with it; `settle.rs` says why that does no harm. Coordinates run ahead of what is visible, which only means to wait
    /// for more.
    pub(super) fn source_position(
        &self,
        facts: &ServerFacts,
        connection: &mut Connection,
    ) -> Result<Option<Position>> {
        let by_gtid = match &self.known().position {
            None => return Ok(None),
            Some(Position::Gtid(_)) => true,
            Some(Position::Coordinates(_)) => false,
        };
        let position = if by_gtid {
            Position::Gtid(server::gtid_executed(connection)?)
        } else {
            let sql = if facts.is_mysql_at_least(8, 4, 0) {
                "SHOW BINARY LOG STATUS"
            } else {
                "SHOW MASTER STATUS"
            };
            let row = connection.query_row(sql, "reading the binary log position")?;
            let row = row.ok_or_else(|| {
                Error::from(ErrorKind::SystemVariable {
                    name: "log_bin",
                    expected: "ON".into(),
                    actual: "OFF".into(),
                })
                .on(Side::Source)
            })?;
            Position::Coordinates(BinlogCoordinates::parse(&format!("{}:{}", row.string(0), row.string(1)))?)
        };
        Ok(Some(position))
    }

    /// As [`source_position`](Self::source_position), and holds all that was visible before the call for certain: commits that
    /// are under way are waited for.
    pub(super) fn visible_position(
        &self,
        facts: &ServerFacts,
        connection: &mut Connection,
        stop: &StopToken,
    ) -> Result<Option<Position>> {
        match &self.known().position {
            Some(Position::Gtid(_)) => {}
            _ => return self.source_position(facts, connection),
        }
        server::gtid_visible(connection, COMMIT_PATIENCE, stop).map(|set| Some(Position::Gtid(set)))
    }

    /// Waits until all of `high` is applied; `false` when the applied position stood still for as long as our patience.
    ///
    /// The pauses between two looks grow with the time waited, up to 50 ms, so that a short lag is not made longer.
    pub(super) fn wait(&self, high: Option<&Position>, stop: &StopToken) -> Result<bool> {
        self.wait_doing(high, stop, |pause| stop.sleep(pause))
    }

    /// As [`wait`](Self::wait); between two looks `meanwhile` is done, which may take as long as the pause that it is given.
    pub(super) fn wait_doing(
        &self,
        high: Option<&Position>,
        stop: &StopToken,
        mut meanwhile: impl FnMut(Duration) -> Result<()>,
    ) -> Result<bool> {
        let Some(high) = high else { return Ok(true) };
        if includes(self.known().position.as_ref(), high)? {
            return Ok(true);
        }
        let begun = Instant::now();
        loop {
            let position = self.applied.applied()?;
            {
                let mut known = self.known();
                if position != known.position {
                    known.position = merged(known.position.take(), position);
                    known.changed = Instant::now();
                    known.stalled = false;
                }
                if includes(known.position.as_ref(), high)? {
                    return Ok(true);
                }
                let still = known.changed.max(begun).elapsed();
                if known.stalled || still >= self.patience || begun.elapsed() >= 10 * self.patience {
                    known.stalled = true;
                    return Ok(false);
                }
            }
            stop.check()?;
            meanwhile((begun.elapsed() / 8).clamp(Duration::from_millis(1), Duration::from_millis(50)))?;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The applied position never goes back, and two workers may look in any order: so what is known only grows.
fn merged(known: Option<Position>, seen: Option<Position>) -> Option<Position> {
    match (known, seen) {
        (Some(Position::Gtid(known)), Some(Position::Gtid(seen))) => Some(Position::Gtid(known.union(&seen))),
        (Some(known), Some(seen)) if known.includes(&seen) == Some(true) => Some(known),
        (known, None) => known,
        (_, seen) => seen,
    }
}

fn includes(applied: Option<&Position>, high: &Position) -> Result<bool> {
    let empty = Position::Gtid(GtidSet::new());
    applied.unwrap_or(&empty).includes(high).ok_or_else(|| {
        Error::internal("the applied position cannot be compared with the source's").on(Side::Source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    /// Each look finds one more transaction applied, up to `last`.
    struct Counting {
        looks: AtomicU64,
        last: u64,
    }

    impl AppliedPosition for Counting {
        fn applied(&self) -> Result<Option<Position>> {
            let look = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Some(format!("{UUID}:1-{}", look.min(self.last)).parse()?))
        }
    }

    fn position(last: u64) -> Position {
        format!("{UUID}:1-{last}").parse().unwrap()
    }

    #[test]
    fn waits_as_long_as_it_moves_and_gives_up_when_it_stands_still() {
        let applied = Counting { looks: AtomicU64::new(0), last: 6 };
        let alignment = Alignment::new(&applied, Duration::from_millis(30)).unwrap();
        let stop = StopToken::new();
        assert!(alignment.wait(Some(&position(6)), &stop).unwrap());
        let looks = applied.looks.load(Ordering::Relaxed);
        assert!(alignment.wait(Some(&position(3)), &stop).unwrap());
        assert_eq!(applied.looks.load(Ordering::Relaxed), looks, "what is known is not asked again");
        assert!(!alignment.wait(Some(&position(7)), &stop).unwrap());
        let begun = Instant::now();
        assert!(!alignment.wait(Some(&position(7)), &stop).unwrap());
        assert!(begun.elapsed() < Duration::from_millis(25), "one wait in vain is enough");
        assert!(alignment.wait(None, &stop).unwrap());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let applied = Counting { looks: AtomicU64::new(0), last: 1 };
        let alignment = Alignment::new(&applied, Duration::from_secs(60)).unwrap();
        let stop = StopToken::new();
        stop.stop();
        assert!(alignment.wait(Some(&position(2)), &stop).is_err_and(|error| error.is_interrupted()));
    }

    #[test]
    fn rows_of_several_workers_add_up() {
        let gtids = vec![position(3), format!("{UUID}:5-9").parse().unwrap()];
        assert_eq!(join(gtids).unwrap().unwrap().to_string(), format!("{UUID}:1-3:5-9"));
        let files = vec!["b.000002:9".parse().unwrap(), "b.000002:5".parse().unwrap()];
        assert_eq!(join(files).unwrap().unwrap().to_string(), "b.000002:5");
        assert_eq!(join(vec![]).unwrap(), None);
        assert!(join(vec![position(3), "b.000002:5".parse().unwrap()]).is_err());
    }
}
