//! Stage 2: the rows that exist.
//!
//! [`FullLoader`] copies tables that were created on the target, in chunks, several at a time. Each chunk is its own short
//! read on the source and its own transaction on the target, which also records it; so a run that ends anywhere is
//! continued by the next one, and no chunk is lost or loaded twice. A table without a key is one chunk, read from an exact
//! snapshot ([`crate::source::exact_snapshot`]); it is copied whole or not at all. Why the copy becomes exact although it takes no lock is
//! argued in [`crate::source::start_position`].
//!
//! It is not a dump: without the changes since the start position the rows are of different moments.
mod chunker;
mod options;
mod plan;
mod report;
mod throttle;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use options::{FullLoadOptions, LoadMethod, RateLimit};
pub use plan::TablePlan;
pub use report::{FullLoadReport, TableReport};

use crate::data::{Position, Rung};
use crate::error::{Error, ErrorKind, Recovery, Result, Stage};
use crate::progress::{Progress, TableState};
use crate::retry::{Attempts, RetryPolicy};
use crate::server::{self, catalog};
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::{CopyState, Ledger};
use crate::wire::Connection;

use chunker::{Chunk, Chunker};
use throttle::Throttle;
use worker::{Outcome, TableCopy};

/// How long a commit may take from when its rows are visible until its GTID is in `gtid_executed`.
const COMMIT_PATIENCE: Duration = Duration::from_secs(3);

/// Copies the rows that exist.
pub struct FullLoader<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    ledger: &'a Ledger,
    tables: &'a [TablePlan],
    options: FullLoadOptions,
}

/// One table's work, shared by the workers.
struct Work<'a> {
    copy: TableCopy<'a>,
    chunker: Mutex<Chunker>,
    active: AtomicUsize,
    by_insert: AtomicBool,
    /// Its definition was changed meanwhile: it will be created and copied anew.
    abandoned: AtomicBool,
}

impl<'a> FullLoader<'a> {
    /// Joins the two ends and the tables, which must exist on the target and in the ledger.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        ledger: &'a Ledger,
        tables: &'a [TablePlan],
        options: FullLoadOptions,
    ) -> Self {
        FullLoader { source, target, ledger, tables, options }
    }

    /// Copies what is not copied yet. Blocks until all rows are durable.
    ///
    /// # Errors
    /// What [`exact_snapshot::take`](crate::source::exact_snapshot::take) returns for a table whose rows cannot be told apart;
    /// [`ErrorKind::Interrupted`] when asked to stop; else what a server answered, after retries where they can help.
    /// What was recorded stays; another call goes on from there.
    pub fn run(&self, stop: &StopToken, progress: &Progress) -> Result<FullLoadReport> {
        self.run_staged(stop, progress).map_err(|error| error.in_stage(Stage::FullLoad))
    }

    fn run_staged(&self, stop: &StopToken, progress: &Progress) -> Result<FullLoadReport> {
        let by_insert = self.inserts()?;
        let stop = stop.child();
        let throttle = Throttle::new(self.options.rate_limit.clone(), stop.clone());
        let mut control = self.target.control(&stop)?;
        let mut work = Vec::new();
        let rows = self.ledger.tables(&mut control)?;
        let states: BTreeMap<u32, CopyState> = rows.iter().map(|row| (row.id, row.state)).collect();
        for plan in self.tables {
            if states.get(&plan.id).is_some_and(|state| *state != CopyState::Created) {
                continue;
            }
            work.push(self.prepare(plan, &mut control, &throttle, &stop, progress, by_insert)?);
        }
        work.sort_by_key(|work| std::cmp::Reverse(work.copy.plan.schema.data_bytes));
        self.copy_all(&work, &stop, progress)?;

        // A new connection: the copy may have taken longer than an idle one lives.
        control = self.target.control(&stop)?;
        for work in work.iter().filter(|work| !work.abandoned.load(Ordering::Relaxed)) {
            self.ledger.set_table_state(&mut control, work.copy.plan.id, CopyState::Copied)?;
            work.copy.progress.set_state(TableState::Copied);
        }
        let mut source = self.source.control(&stop)?;
        let converge_position = Position::Gtid(server::gtid_visible(&mut source, COMMIT_PATIENCE, &stop)?);
        Ok(FullLoadReport { tables: self.read_report(&mut control, by_insert)?, converge_position })
    }

    /// Decides how rows are written.
    fn inserts(&self) -> Result<bool> {
        let allowed = self.target.facts().is_on("local_infile") == Some(true);
        match self.options.method {
            LoadMethod::Insert => Ok(true),
            LoadMethod::Auto => {
                if !allowed {
                    log::info!("the target does not allow local_infile: rows are written by INSERT");
                }
                Ok(!allowed)
            }
            LoadMethod::LoadData if allowed => Ok(false),
            LoadMethod::LoadData => Err(Error::from(ErrorKind::SystemVariable {
                name: "local_infile",
                expected: "ON".into(),
                actual: self.target.facts().variable("local_infile").unwrap_or("hidden").into(),
            })
            .with_hint("Set local_infile=ON on the target, or load.method = \"auto\".")),
        }
    }

    fn prepare<'w>(
        &'w self,
        plan: &'w TablePlan,
        control: &mut Connection,
        throttle: &'w Throttle,
        stop: &StopToken,
        progress: &Progress,
        by_insert: bool,
    ) -> Result<Work<'w>> {
        let recorded = self.ledger.chunks(control, plan.id)?;
        let chunker = Chunker::new(plan, &recorded, self.options.chunk_bytes);
        if chunker.gap_count() > 0 {
            let count = u64::try_from(chunker.gap_count()).unwrap_or(u64::MAX);
            self.ledger.add_chunks_again(control, plan.id, count)?;
        }
        let counters = progress.table(&plan.schema.name).unwrap_or_else(|| {
            progress.add_table(plan.schema.name.clone(), plan.schema.rows_estimated, TableState::Waiting)
        });
        for chunk in &recorded {
            counters.add(chunk.row_count, chunk.byte_count);
        }
        Ok(Work {
            copy: TableCopy::new(
                plan,
                self.ledger,
                counters,
                throttle,
                self.source,
                stop,
                self.target.facts().max_allowed_packet(),
            ),
            chunker: Mutex::new(chunker),
            active: AtomicUsize::new(0),
            by_insert: AtomicBool::new(by_insert),
            abandoned: AtomicBool::new(false),
        })
    }

    fn copy_all(&self, work: &[Work<'_>], stop: &StopToken, progress: &Progress) -> Result<()> {
        let first_error: Mutex<Option<Error>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads.clamp(1, 64).min(work.len().max(1) * 64) {
                scope.spawn(|| {
                    if let Err(error) = self.work_until_done(work, stop, progress) {
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        // The others end with "interrupted" because of this one.
                        if first.as_ref().is_none_or(Error::is_interrupted) {
                            *first = Some(error);
                        }
                        stop.stop();
                    }
                });
            }
        });
        first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// One worker: takes chunks until there are none, over its own two connections.
    fn work_until_done(&self, work: &[Work<'_>], stop: &StopToken, progress: &Progress) -> Result<()> {
        let mut attempts = Attempts::new(RetryPolicy::default());
        let mut connections: Option<(Connection, Connection)> = None;
        let mut unfinished: Option<(usize, Chunk)> = None;
        loop {
            stop.check()?;
            let step = (|| -> Result<bool> {
                let (source, target) = match &mut connections {
                    Some(open) => open,
                    none => none.insert((self.source.reader(stop)?, self.target.loader(stop)?)),
                };
                if unfinished.is_none() {
                    unfinished = take_chunk(work, source)?;
                } else if let Some((position, chunk)) = &unfinished {
                    // The connection broke somewhere in this chunk; its row tells whether the COMMIT arrived.
                    let work = &work[*position];
                    if self.ledger.has_chunk(target, work.copy.plan.id, chunk.sequence)? {
                        work.finish(None);
                        unfinished = None;
                        return Ok(true);
                    }
                }
                let Some((position, chunk)) = &unfinished else { return Ok(false) };
                let work = &work[*position];
                work.copy.progress.set_state(TableState::Copying);
                let by_insert = work.by_insert.load(Ordering::Relaxed);
                match work.copy.copy(source, target, chunk, by_insert)? {
                    Outcome::Copied(row) => {
                        unfinished = None;
                        work.finish(Some((row.row_count, row.byte_count)));
                    }
                    Outcome::NeedsInsert => work.by_insert.store(true, Ordering::Relaxed),
                }
                Ok(true)
            })();
            match step {
                Ok(true) => attempts.succeeded(),
                Ok(false) => return Ok(()),
                Err(error) => {
                    // Whatever it was, an open transaction must not live on: a new connection starts clean.
                    connections = None;
                    if self.abandon(work, &error, stop)? {
                        unfinished = None;
                        continue;
                    }
                    attempts.wait_after(error, stop, progress)?;
                }
            }
        }
    }

    /// Gives a table up for now whose definition was changed while it was copied. The log will tell of that change.
    fn abandon(&self, work: &[Work<'_>], error: &Error, stop: &StopToken) -> Result<bool> {
        let about = |work: &&Work<'_>| Some(&work.copy.plan.schema.name) == error.table();
        let Some(work) = work.iter().find(about) else { return Ok(false) };
        if error.is_interrupted() || error.recovery() != Recovery::Operator {
            return Ok(false);
        }
        if work.abandoned.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if !self.has_changed(work.copy.plan, error, stop)? {
            return Ok(false);
        }
        let name = &work.copy.plan.schema.name;
        log::warn!("{name} will be copied anew: its definition was changed while it was copied ({error})");
        let mut control = self.target.control(stop)?;
        self.ledger.set_table_state(&mut control, work.copy.plan.id, CopyState::Restart)?;
        work.abandoned.store(true, Ordering::Relaxed);
        work.copy.progress.set_state(TableState::Waiting);
        Ok(true)
    }

    /// Returns whether a table is another one than it was when it was created on the target.
    fn has_changed(&self, plan: &TablePlan, error: &Error, stop: &StopToken) -> Result<bool> {
        // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR, ER_BAD_FIELD_ERROR, ER_TABLE_DEF_CHANGED
        if error.server_error().is_some_and(|answer| matches!(answer.code, 1146 | 1049 | 1054 | 1412)) {
            return Ok(true);
        }
        let source = catalog::table(&mut self.source.control(stop)?, self.source.facts(), &plan.schema.name);
        let target = catalog::table(&mut self.target.control(stop)?, self.target.facts(), &plan.target);
        let (source, target) = match (source, target) {
            (Ok(source), Ok(target)) => (source, target),
            (Err(error), _) | (_, Err(error)) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {
                return Ok(true);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let now = plan::column_types(&source);
        Ok(now != plan::column_types(&plan.schema) || now != plan::column_types(&target))
    }

    /// Reports what earlier runs copied, without copying.
    ///
    /// # Errors
    /// What the target answered.
    pub fn report(&self, stop: &StopToken, progress: &Progress) -> Result<Vec<TableReport>> {
        let reports = self.read_report(&mut self.target.control(stop)?, self.inserts()?)?;
        for report in &reports {
            if progress.table(&report.source).is_none() {
                let counters = progress.add_table(report.source.clone(), report.rows, TableState::Copied);
                counters.add(report.rows, report.bytes);
            }
        }
        Ok(reports)
    }

    fn read_report(&self, control: &mut Connection, by_insert: bool) -> Result<Vec<TableReport>> {
        let mut reports = Vec::new();
        for row in self.ledger.tables(control)? {
            let chunks = self.ledger.chunks(control, row.id)?.len();
            reports.push(TableReport {
                source: row.source,
                target: row.target,
                rows: row.row_count,
                bytes: row.byte_count,
                chunks: u64::try_from(chunks).unwrap_or(u64::MAX),
                chunks_copied_again: row.chunks_again,
                method: if by_insert { "insert" } else { "load-data" },
                consistency: row.snapshot_rung.map_or("lock-free", Rung::name),
            });
        }
        Ok(reports)
    }
}

impl Work<'_> {
    /// Counts a chunk as done, and shows the table as copied after the last one.
    fn finish(&self, size: Option<(u64, u64)>) {
        let mut chunker = self.chunker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((rows, bytes)) = size {
            chunker.learn(rows, bytes);
        }
        if self.active.fetch_sub(1, Ordering::Relaxed) == 1 && chunker.is_finished() {
            self.copy.progress.set_state(TableState::Copied);
        }
    }
}

/// Takes the next chunk of the table that has most left for each worker on it.
fn take_chunk(work: &[Work<'_>], source: &mut Connection) -> Result<Option<(usize, Chunk)>> {
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&position| {
        let work = &work[position];
        let share = work.copy.plan.schema.data_bytes / (1 + work.active.load(Ordering::Relaxed) as u64);
        std::cmp::Reverse(share)
    });
    for position in order {
        let work = &work[position];
        if work.abandoned.load(Ordering::Relaxed) {
            continue;
        }
        let mut chunker = work.chunker.lock().unwrap_or_else(PoisonError::into_inner);
        let next = chunker.next(work.copy.plan, source);
        if let Some(chunk) = next.map_err(|error| error.for_table(&work.copy.plan.schema.name))? {
            work.active.fetch_add(1, Ordering::Relaxed);
            return Ok(Some((position, chunk)));
        }
    }
    Ok(None)
}
