//! The indexes and foreign keys that were held back while rows were copied.
//!
//! # When
//! A table that was copied from an exact snapshot is finished before its first change is applied
//! ([`Structure::finish_snapshot_tables`]): it holds the rows of one moment, so no UNIQUE index can find a value twice, changes of
//! a table without a key find their row by an index, and the target's catalog tells which foreign keys change rows by
//! themselves. All others wait until the copy is consistent ([`Structure::build_indexes`]).
//!
//! # Resuming
//! The server goes on with an ALTER TABLE whose client is gone. Each session that builds has a lock that lives as long as it
//! does, so a new run waits for what is under way, then reads what is there, and adds only what is missing. InnoDB's ALTER
//! TABLE is atomic from 8.0 on, and leaves the old table before.
//!
//! # How
//! One ALTER per table adds all its indexes, so that its rows are read once. Several tables are built at the same time,
//! largest first. What a build may use of the target is set in its own session ([`Share`]): the server's defaults sort in
//! pieces of 1 MiB, and writing and merging these pieces is most of the work of a small index.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::data::TableName;
use crate::error::{Error, Result, Stage};
use crate::full_loader::TablePlan;
use crate::progress::{Progress, TableState};
use crate::server::{ServerFacts, session};
use crate::sql::create_table;
use crate::stop::StopToken;
use crate::target::ledger::{CopyState, TableRow};
use crate::target::{SessionKind, deferred};
use crate::wire::Connection;

use super::Structure;

/// An index build may take hours without a byte on the connection.
const BUILD_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The number of the session that adds foreign keys; those before it build indexes.
const FOREIGN_KEY_SESSION: usize = 63;
/// How often the server is asked how far its builds are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Builds together may sort in this part of the target's buffer pool (the memory is taken beside the pool).
const POOL_PART: u64 = 16;
/// The most that one build sorts in; more gained nothing.
const SORT_BYTES_MAX: u64 = 256 << 20;
/// The server's default of `innodb_ddl_buffer_size`.
const SORT_BYTES_MIN: u64 = 1 << 20;
/// The default of `innodb_buffer_pool_size`, when the server hides its own.
const POOL_BYTES_DEFAULT: u64 = 128 << 20;

/// The work of every session that builds, in the server's own units.
const STAGES: &str = "SELECT t.PROCESSLIST_ID, s.WORK_COMPLETED, s.WORK_ESTIMATED FROM \
    performance_schema.events_stages_current s JOIN performance_schema.threads t USING (THREAD_ID) WHERE s.EVENT_NAME LIKE \
    'stage/innodb/alter table%' AND t.PROCESSLIST_ID IS NOT NULL";

impl Structure<'_> {
    /// Finishes the tables that were copied from exact snapshots: all their indexes, and the foreign keys between them that
    /// change rows by themselves. To be called before changes are applied; what is there already stays.
    ///
    /// # Errors
    /// As [`build_indexes`](Self::build_indexes).
    pub fn finish_snapshot_tables(
        &self,
        tables: &[TablePlan],
        threads: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        self.build_staged(tables, Part::OfSnapshots, threads, stop, progress)
            .map_err(|error| error.in_stage(Stage::Structure))
    }

    /// Builds the deferred indexes of all tables, largest first, with at most `threads` threads of the target, then the
    /// foreign keys.
    ///
    /// Changes of the tables must not be applied meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Divergence`](crate::error::ErrorKind::Divergence) when a UNIQUE index finds a value twice; else what the target answered.
    pub fn build_indexes(
        &self,
        tables: &[TablePlan],
        threads: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        self.build_staged(tables, Part::All, threads, stop, progress)
            .map_err(|error| error.in_stage(Stage::Structure))
    }

    fn build_staged(
        &self,
        tables: &[TablePlan],
        part: Part,
        threads: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        let mut control = self.target.control(stop)?;
        self.ledger.wait_for_sessions(&mut control, SessionKind::Build, stop)?;
        let rows: BTreeMap<u32, TableRow> =
            self.ledger.tables(&mut control)?.into_iter().map(|row| (row.id, row)).collect();
        let mut waiting: Vec<(&TablePlan, &TableRow)> = tables
            .iter()
            .filter_map(|plan| rows.get(&plan.id).map(|row| (plan, row)))
            .filter(|(_, row)| row.state != CopyState::Indexed && part.takes(row))
            .collect();
        waiting.sort_by_key(|(plan, _)| std::cmp::Reverse(plan.schema.data_bytes));
        let builds = threads.clamp(1, FOREIGN_KEY_SESSION).min(waiting.len());
        let settings = Share::of(self.target.facts(), builds, threads).settings(self.target.facts());
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let next = AtomicUsize::new(0);
        let under_way = Mutex::new(BTreeMap::new());
        let first_error: Mutex<Option<Error>> = Mutex::new(None);
        let stop = stop.child();
        let build = |number: usize| -> Result<()> {
            let mut connection = self.builder(number, &stop)?;
            let refused = session::wish(&mut connection, &settings)?;
            log::debug!("index build without: {refused:?}");
            while let Some((plan, row)) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                stop.check()?;
                lock(&under_way).insert(connection.connection_id(), &plan.schema.name);
                self.build_table(&mut connection, plan, row, progress)?;
            }
            Ok(())
        };
        let watching = stop.child();
        std::thread::scope(|scope| {
            scope.spawn(|| self.watch(&under_way, &watching, progress));
            std::thread::scope(|builders| {
                for number in 0..builds {
                    let (build, first_error, stop) = (&build, &first_error, &stop);
                    builders.spawn(move || {
                        if let Err(error) = build(number) {
                            let mut first = lock(first_error);
                            if first.as_ref().is_none_or(Error::is_interrupted) {
                                *first = Some(error);
                            }
                            stop.stop();
                        }
                    });
                }
            });
            watching.stop();
        });
        if let Some(error) = first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        self.add_foreign_keys(tables, part, &rows, &stop)
    }

    /// Opens a session whose end a later run waits for.
    fn builder(&self, number: usize, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.target.loader_control(stop)?;
        connection.set_answer_timeout(BUILD_PATIENCE);
        self.ledger.lock_session(&mut connection, SessionKind::Build, number, &mut None, stop)?;
        Ok(connection)
    }

    /// Shows how far the server is with each build, where its own accounting of stages is on
    /// (`performance_schema.setup_consumers`, `events_stages_current`; off by default, and not ours to turn on).
    fn watch(&self, under_way: &Mutex<BTreeMap<u32, &TableName>>, stop: &StopToken, progress: &Progress) {
        let look = || -> Result<()> {
            // Small builds end before anybody would look.
            stop.sleep(LOOK_EVERY)?;
            let mut connection = self.target.control(stop)?;
            loop {
                let rows = connection.query(STAGES, "looking how far the index builds are")?;
                let tables = lock(under_way).clone();
                for row in rows {
                    let table = row.u64(0).and_then(|id| tables.get(&u32::try_from(id).ok()?).copied());
                    let counters = table.and_then(|table| progress.table(table));
                    if let (Some(counters), Some(done), Some(estimated)) = (counters, row.u64(1), row.u64(2))
                    {
                        counters.set_index_work(done, estimated);
                    }
                }
                stop.sleep(LOOK_EVERY)?;
            }
        };
        if let Err(error) = look()
            && !error.is_interrupted()
        {
            log::debug!("index builds are not watched: {error}");
        }
    }

    fn build_table(
        &self,
        connection: &mut Connection,
        plan: &TablePlan,
        row: &TableRow,
        progress: &Progress,
    ) -> Result<()> {
        if let Some(counters) = progress.table(&plan.schema.name) {
            counters.set_state(TableState::Indexing);
        }
        deferred::build_indexes(connection, self.target.facts(), row)?;
        self.ledger.set_table_state(connection, plan.id, CopyState::Indexed)?;
        if let Some(counters) = progress.table(&plan.schema.name) {
            counters.set_state(TableState::Done);
        }
        Ok(())
    }

    fn add_foreign_keys(
        &self,
        tables: &[TablePlan],
        part: Part,
        rows: &BTreeMap<u32, TableRow>,
        stop: &StopToken,
    ) -> Result<()> {
        let of_snapshots: Vec<&TableName> =
            rows.values().filter(|row| Part::OfSnapshots.takes(row)).map(|row| &row.source).collect();
        let mut connection = None;
        for plan in tables {
            let Some(row) = rows.get(&plan.id).filter(|row| part.takes(row)) else { continue };
            let mut wanted: Vec<&String> = row.deferred.foreign_keys.iter().collect();
            if part == Part::OfSnapshots {
                wanted.retain(|clause| {
                    create_table::cascading_parent(clause, &plan.schema.name.database)
                        .is_some_and(|parent| of_snapshots.contains(&&parent))
                });
            }
            if wanted.is_empty() {
                continue;
            }
            stop.check()?;
            let connection = match &mut connection {
                Some(open) => open,
                none => none.insert(self.builder(FOREIGN_KEY_SESSION, stop)?),
            };
            let (facts, route) = (self.target.facts(), &self.transform.route);
            deferred::add_foreign_keys(connection, facts, row, wanted, route)?;
        }
        Ok(())
    }
}

/// Which tables are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Those copied from an exact snapshot.
    OfSnapshots,
    All,
}

impl Part {
    fn takes(self, row: &TableRow) -> bool {
        self == Part::All || row.snapshot_position.is_some()
    }
}

/// What one build may use of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    threads: usize,
    sort_bytes: u64,
}

impl Share {
    fn of(target: &ServerFacts, builds: usize, threads: usize) -> Self {
        let pool = target.number("innodb_buffer_pool_size").unwrap_or(POOL_BYTES_DEFAULT);
        let own = target.number("innodb_ddl_buffer_size").unwrap_or(SORT_BYTES_MIN);
        Share::divide(pool, own, builds, threads)
    }

    /// Divides `threads`, and a part of the target's buffer pool, among the builds. `own`: what the target gives every build.
    fn divide(pool: u64, own: u64, builds: usize, threads: usize) -> Self {
        let builds = builds.max(1);
        let share = pool / POOL_PART / u64::try_from(builds).unwrap_or(u64::MAX);
        Share {
            threads: (threads / builds).clamp(1, 64),
            // Whoever gave more on purpose keeps it.
            sort_bytes: share.clamp(SORT_BYTES_MIN, SORT_BYTES_MAX).max(own),
        }
    }

    /// Returns the statements for a session. MySQL has these settings since 8.0.14 and 8.0.27.
    fn settings(self, target: &ServerFacts) -> Vec<String> {
        let threads = u64::try_from(self.threads).unwrap_or(1);
        [
            ("innodb_parallel_read_threads", threads),
            ("innodb_ddl_threads", threads),
            ("innodb_ddl_buffer_size", self.sort_bytes),
        ]
        .into_iter()
        .filter(|(name, _)| target.variable(name).is_some())
        .map(|(name, value)| format!("SET SESSION {name} = {value}"))
        .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn builds_share_threads_and_memory() {
        let (mib, gib) = (1 << 20, 1 << 30);
        assert_eq!(Share::divide(gib, mib, 2, 4), Share { threads: 2, sort_bytes: 32 * mib });
        assert_eq!(Share::divide(gib, mib, 1, 4), Share { threads: 4, sort_bytes: 64 * mib });
        // More tables than threads: one thread each, and together no more than a sixteenth of the pool.
        assert_eq!(Share::divide(gib, mib, 4, 4), Share { threads: 1, sort_bytes: 16 * mib });
        assert_eq!(Share::divide(64 * gib, mib, 1, 1), Share { threads: 1, sort_bytes: 256 * mib });
        assert_eq!(Share::divide(8 * mib, mib, 4, 4).sort_bytes, mib, "never less than the default");
        assert_eq!(Share::divide(gib, 512 * mib, 4, 4).sort_bytes, 512 * mib, "nor than the target's own");
    }
}
