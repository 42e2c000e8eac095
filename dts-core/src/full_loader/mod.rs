//! Stage 2: the rows that exist.
//!
//! [`FullLoader`] copies tables that were created on the target, in chunks, several at a time. Each chunk is its own short
//! read on the source and its own transaction on the target, which also records it; so a run that ends anywhere is
//! continued by the next one, and no chunk is lost or loaded twice. A table without a key is one chunk, read from an exact
//! snapshot ([`crate::source::exact_snapshot`]); it is copied whole or not at all. Tables tied by foreign keys that change rows by
//! themselves are copied together from one exact snapshot, all of them or none ([`TableReport::consistency`] says which). Why
//! the copy of all others becomes exact although it takes no lock is argued in [`crate::source::start_position`].
//!
//! It is not a dump: without the changes since the start position the rows are of different moments.
mod chunker;
mod component;
mod options;
mod plan;
mod report;
mod throttle;
mod work;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

pub use options::{FullLoadOptions, LoadMethod, RateLimit};
pub use plan::TablePlan;
pub use report::{FullLoadReport, TableReport};

use crate::data::{Position, Rung};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::progress::{CopyFacts, Progress, TableState};
use crate::server;
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::ledger::{ChunkRow, CopyState, Ledger, TableRow};
use crate::target::{SessionKind, TargetEndpoint};
use crate::wire::Connection;

use chunker::Chunker;
use component::components;
use throttle::Throttle;
use work::{Crew, RowSource, Work};
use worker::{Reads, TableCopy};

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
        let mut control = self.target.control(&stop)?;
        // What an earlier run sent may still become durable: its chunks are known only when its sessions have ended.
        self.ledger.wait_for_sessions(&mut control, SessionKind::Load, &stop)?;
        let rows: BTreeMap<u32, TableRow> =
            self.ledger.tables(&mut control)?.into_iter().map(|row| (row.id, row)).collect();
        let run = LoadRun {
            loader: self,
            crew: Crew::new(self.source, self.target, self.ledger, self.options.threads, progress.clone()),
            throttle: Throttle::new(self.options.rate_limit.clone(), stop.clone()),
            rows: &rows,
            by_insert,
            stop: &stop,
            progress,
        };
        // One that waits to be created anew is not copied as it is.
        let is_copied =
            |plan: &TablePlan| rows.get(&plan.id).is_some_and(|row| row.state != CopyState::Created);
        let tied = if self.source.facts().logs_cascades() { Vec::new() } else { components(self.tables) };
        for component in &tied {
            if !component.iter().all(|plan| is_copied(plan)) {
                component::copy(&run, component)?;
            }
        }
        let is_tied = |id: u32| tied.iter().flatten().any(|plan| plan.id == id);
        let mut work = Vec::new();
        // A new connection: the copy may have taken longer than an idle one lives.
        control = self.target.control(&stop)?;
        for plan in self.tables.iter().filter(|plan| !is_tied(plan.id) && !is_copied(plan)) {
            let reads = if plan.needs_snapshot() { Reads::OwnSnapshot } else { Reads::LockFree };
            let chunks = self.ledger.chunks(&mut control, plan.id)?;
            work.push(run.work(plan, &chunks, reads));
        }
        run.crew.copy_all(&mut work, &RowSource::Readers, &stop)?;

        control = self.target.control(&stop)?;
        for work in work.iter().filter(|work| !work.is_abandoned()) {
            self.ledger.set_table_state(&mut control, work.plan().id, CopyState::Copied)?;
            work.set_state(TableState::Copied);
        }
        let mut source = self.source.control(&stop)?;
        let converge_position = Position::Gtid(server::gtid_visible(&mut source, COMMIT_PATIENCE, &stop)?);
        let tables = self.read_report(&mut control, by_insert, progress)?;
        Ok(FullLoadReport { tables, converge_position })
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

    /// Reports what earlier runs copied, without copying.
    ///
    /// # Errors
    /// What the target answered.
    pub fn report(&self, stop: &StopToken, progress: &Progress) -> Result<Vec<TableReport>> {
        self.read_report(&mut self.target.control(stop)?, self.inserts()?, progress)
    }

    fn read_report(
        &self,
        control: &mut Connection,
        by_insert: bool,
        progress: &Progress,
    ) -> Result<Vec<TableReport>> {
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
        for report in &reports {
            let counters = progress.table(&report.source).unwrap_or_else(|| {
                let counters = progress.add_table(report.source.clone(), report.rows, TableState::Copied);
                counters.add(report.rows, report.bytes);
                counters
            });
            counters.set_facts(CopyFacts {
                target: report.target.clone(),
                chunks: report.chunks,
                chunks_again: report.chunks_copied_again,
                method: report.method,
                consistency: report.consistency,
            });
        }
        Ok(reports)
    }
}

/// One run under way: what all tables share.
struct LoadRun<'a> {
    loader: &'a FullLoader<'a>,
    crew: Crew<'a>,
    throttle: Throttle,
    rows: &'a BTreeMap<u32, TableRow>,
    by_insert: bool,
    stop: &'a StopToken,
    progress: &'a Progress,
}

impl LoadRun<'_> {
    /// Prepares what is left of a table; `recorded`: its chunks that are copied.
    fn work<'w>(&'w self, plan: &'w TablePlan, recorded: &[ChunkRow], reads: Reads) -> Work<'w> {
        let FullLoader { source, target, ledger, options, .. } = self.loader;
        let counters = self.progress.table(&plan.schema.name).unwrap_or_else(|| {
            let (name, rows) = (plan.schema.name.clone(), plan.schema.rows_estimated);
            self.progress.add_table(name, rows, TableState::Waiting)
        });
        counters.set_bytes_estimated(plan.schema.data_bytes);
        for chunk in recorded {
            counters.add(chunk.row_count, chunk.byte_count);
        }
        let copy = TableCopy::new(
            plan,
            ledger,
            counters,
            &self.throttle,
            source,
            self.stop,
            target.facts().max_allowed_packet(),
            reads,
        );
        let begun = self.rows.get(&plan.id).map_or(0, |row| row.chunks_begun);
        Work::new(
            copy,
            Chunker::new(plan, recorded, options.chunk_bytes, self.crew.size()),
            begun,
            self.by_insert,
        )
    }
}
