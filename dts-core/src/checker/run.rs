//! The run of a check: tables over workers, chunks over tables.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::alignment::{Alignment, AppliedPosition};
use super::journal::{Header, Journal};
use super::plan::{self, Chunk, Facts, TablePlan};
use super::progress::CheckProgress;
use super::repair::RepairFile;
use super::report::{CheckReport, Difference, TableCheck};
use super::sessions::{Ends, Methods, Sessions};
use super::throttle::Throttle;
use super::window::{ChunkOutcome, Piece, WINDOW_CHUNKS, Window};
use super::{CheckMode, CheckOptions, TablePair};
use crate::data::{TableName, TableSchema};
use crate::error::{Error, Recovery, Result, Side, Stage};
use crate::server::{ServerFacts, catalog};
use crate::source::SourceEndpoint;
use crate::sql::digest::Content;
use crate::stop::StopToken;
use crate::target::{TargetEndpoint, repair_mark};
use crate::wire::Connection;

/// How often one chunk is tried when connections break.
const ATTEMPTS: u32 = 4;
/// How often tables are planned anew whose definition changed during the check.
const REPLANS: u32 = 3;

/// Compares the data of both sides. What looks at the servers before a task is the validator.
///
/// It reads only, takes no lock, and may run at any time and any number of times: before, while and after a task applies
/// changes, in the same process or another one.
///
/// # Guarantees
/// - What is reported as different was different: see the module's `settle.rs` for the argument under live writes.
/// - [`Conclusion::Same`](super::Conclusion::Same) means that every row of every pair (in [`CheckMode::Partial`] of every
///   chosen chunk) was equal at some moment of the check; what was not compared makes it
///   [`Incomplete`](super::Conclusion::Incomplete).
pub struct Checker<'a> {
    pub(super) source: &'a SourceEndpoint,
    pub(super) target: &'a TargetEndpoint,
    pairs: Vec<TablePair>,
    pub(super) options: CheckOptions,
    applied: &'a dyn AppliedPosition,
}

/// What the workers share.
pub(super) struct Run<'a> {
    pub(super) checker: &'a Checker<'a>,
    pub(super) alignment: Alignment<'a>,
    methods: Methods,
    seed: u64,
    /// Each table's findings, in the order of the report.
    tables: Vec<Mutex<TableCheck>>,
    progress: &'a CheckProgress,
    stop: &'a StopToken,
    journal: Option<&'a Journal>,
    pub(super) repair_file: Option<&'a RepairFile>,
    /// Chunks that an earlier run of this check had verified.
    chunks_resumed: AtomicU64,
}

/// What a worker's half at the source hands to the other.
enum Handed<'p> {
    Window(&'p TablePlan, Window),
    /// There is nothing more of a table for this worker.
    End(&'p TablePlan),
}

/// Both sides' tables.
type Schemas = (Vec<TableSchema>, Vec<TableSchema>);

impl<'a> Checker<'a> {
    /// Prepares a check; nothing is asked from the servers yet.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        pairs: Vec<TablePair>,
        options: CheckOptions,
        alignment: &'a dyn AppliedPosition,
    ) -> Self {
        Checker { source, target, pairs, options, applied: alignment }
    }

    /// Compares, and returns what was found.
    ///
    /// Blocks until all is compared; `progress` tells how far it is.
    ///
    /// # Errors
    /// Options that cannot be; [`Interrupted`](crate::error::ErrorKind::Interrupted) when somebody asked to stop; a
    /// server that cannot be reached. What a server refuses for one table is in the report, not an error.
    pub fn run(&self, stop: &StopToken, progress: &CheckProgress) -> Result<CheckReport> {
        self.run_inner(stop, progress).map_err(|error| error.in_stage(Stage::Check))
    }

    fn run_inner(&self, stop: &StopToken, progress: &CheckProgress) -> Result<CheckReport> {
        plan::validate(&self.options)?;
        let mode = self.options.mode;
        if mode == CheckMode::None {
            return Ok(CheckReport::new(mode, None, Vec::new()));
        }
        let wanted = |pair: &&TablePair| {
            self.options.tables.as_ref().is_none_or(|tables| tables.contains(&pair.source))
        };
        let pairs: Vec<&TablePair> = self.pairs.iter().filter(wanted).collect();
        let seed = self.options.seed.unwrap_or_else(rand::random);
        let journal = self.journal(seed)?;
        let seed = journal.as_ref().and_then(|journal| journal.seed).unwrap_or(seed);
        let repair_file = self.options.repair_sql.as_deref().map(RepairFile::create).transpose()?;
        if self.options.repair {
            repair_mark::create(&mut self.target.control(stop)?)?;
        }
        let run = Run {
            checker: self,
            alignment: Alignment::new(self.applied, self.options.patience)?,
            methods: Methods::find(self.options.method, self.source, self.target, stop)?,
            seed,
            tables: pairs
                .iter()
                .map(|pair| Mutex::new(TableCheck::new(pair.source.clone(), pair.target.clone())))
                .collect(),
            progress,
            stop,
            journal: journal.as_ref(),
            repair_file: repair_file.as_ref(),
            chunks_resumed: AtomicU64::new(0),
        };
        run.all_tables(&pairs)?;
        if mode == CheckMode::Partial {
            run.count_rows(&pairs)?;
        }
        let chunks_resumed = run.chunks_resumed.into_inner();
        let mut tables: Vec<TableCheck> = run
            .tables
            .into_iter()
            .map(|table| table.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        for table in &mut tables {
            // Workers finish in any order; the report does not depend on it.
            table.differences.sort_by(Difference::compare_keys);
        }
        if let Some(journal) = journal {
            journal.finish();
        }
        let seed = (mode == CheckMode::Partial).then_some(seed);
        let mut report = CheckReport::new(mode, seed, tables);
        report.chunks_resumed = chunks_resumed;
        Ok(report)
    }

    fn journal(&self, seed: u64) -> Result<Option<Journal>> {
        let options = &self.options;
        let Some(path) = &options.journal else { return Ok(None) };
        let name = |facts: &ServerFacts| {
            facts.server_uuid().map_or_else(|| facts.version_text.clone(), str::to_owned)
        };
        let header = Header {
            version: 1,
            mode: options.mode,
            ratio: options.ratio,
            chunk_rows: options.chunk_rows,
            seed,
            servers: vec![name(self.source.facts()), name(self.target.facts())],
            tables: options.tables.as_ref().map(|tables| tables.iter().map(ToString::to_string).collect()),
        };
        Journal::open(path, &header, options.seed.is_none()).map(Some)
    }

    /// Reads what the tables of both sides are.
    pub(super) fn schemas(&self, pairs: &[&TablePair], stop: &StopToken) -> Result<Schemas> {
        let read = |connection: &mut Connection, facts: &ServerFacts, side: Side| {
            let name = |pair: &TablePair| match side {
                Side::Source => pair.source.clone(),
                Side::Target => pair.target.clone(),
            };
            let names: BTreeSet<_> = pairs.iter().map(|pair| name(pair)).collect();
            let databases: BTreeSet<_> = names.iter().map(|name| name.database.as_str()).collect();
            let mut tables = Vec::new();
            for database in databases {
                tables.extend(catalog::tables(connection, facts, database, |table| names.contains(table))?);
            }
            Ok::<_, Error>(tables)
        };
        let sources = read(&mut self.source.control(stop)?, self.source.facts(), Side::Source)?;
        let targets = read(&mut self.target.control(stop)?, self.target.facts(), Side::Target)?;
        Ok((sources, targets))
    }
}

impl Run<'_> {
    pub(super) fn table(&self, position: usize) -> MutexGuard<'_, TableCheck> {
        self.tables[position].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares all tables, and those again whose definition changed meanwhile.
    fn all_tables(&self, pairs: &[&TablePair]) -> Result<()> {
        let content = match self.checker.options.mode {
            CheckMode::RowsCount => Content::Existence,
            _ => Content::Values,
        };
        let mut pending: Vec<usize> = (0..pairs.len()).collect();
        let mut replans_left = REPLANS;
        let mut schemas = self.checker.schemas(pairs, self.stop)?;
        loop {
            let plans = self.plans(pairs, &schemas, content, |position| pending.contains(&position));
            if replans_left == REPLANS {
                self.progress.begin(pairs.len(), plans.iter().map(|plan| plan.rows_estimated).sum());
            }
            self.work(&plans)?;
            for plan in &plans {
                self.table(plan.position).chunks_total = plan.chunks();
            }
            let now = self.schemas_applied(pairs)?;
            pending.retain(|&position| {
                let pair = pairs[position];
                let is_same = |before: &[TableSchema], now: &[TableSchema], name: &TableName| {
                    let find = |tables: &[TableSchema]| tables.iter().position(|table| table.name == *name);
                    match (find(before), find(now)) {
                        (Some(one), Some(other)) => plan::is_same_definition(&before[one], &now[other]),
                        (one, other) => one.is_none() == other.is_none(),
                    }
                };
                !is_same(&schemas.0, &now.0, &pair.source) || !is_same(&schemas.1, &now.1, &pair.target)
            });
            if pending.is_empty() {
                return Ok(());
            }
            for &position in &pending {
                let pair = pairs[position];
                log::info!("{}: its definition changed during the check", pair.source);
                let mut table = self.table(position);
                if replans_left == 0 {
                    table.incomplete = Some("its definition kept changing during the check".into());
                } else {
                    // What was found may come from the change alone.
                    *table = TableCheck::new(pair.source.clone(), pair.target.clone());
                }
            }
            if replans_left == 0 {
                return Ok(());
            }
            replans_left -= 1;
            schemas = now;
        }
    }

    /// Reads the tables' definitions at a moment when the target has all that the source had.
    fn schemas_applied(&self, pairs: &[&TablePair]) -> Result<Schemas> {
        if self.alignment.is_live() {
            let mut source = self.checker.source.control(self.stop)?;
            let high = self.alignment.source_position(self.checker.source.facts(), &mut source)?;
            self.alignment.wait(high.as_ref(), self.stop)?;
        }
        self.checker.schemas(pairs, self.stop)
    }

    /// Plans the tables that `wanted` selects, largest first; what cannot be planned is marked as skipped.
    fn plans(
        &self,
        pairs: &[&TablePair],
        (sources, targets): &Schemas,
        content: Content,
        wanted: impl Fn(usize) -> bool,
    ) -> Vec<TablePlan> {
        let facts = Facts { source: self.checker.source.facts(), target: self.checker.target.facts() };
        let mut plans = Vec::new();
        for (position, pair) in pairs.iter().enumerate().filter(|(position, _)| wanted(*position)) {
            let planned = plan::find(pair, sources, targets)
                .and_then(|(source, target)| TablePlan::new(position, &facts, source, target, content));
            match planned {
                Ok(mut plan) => {
                    if let Some(journal) = self.journal {
                        let table = plan.source.table().to_string();
                        plan.set_verified(journal.verified(&table, plan.fingerprint));
                    }
                    plans.push(plan);
                }
                Err(reason) => self.table(position).skipped = Some(reason),
            }
        }
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.rows_estimated));
        plans
    }

    /// Works on the plans with as many workers as the options say.
    ///
    /// A worker is two threads, one that digests on the source and one that compares with the target: so neither server waits
    /// for the other. What the first has read is handed over before it reads on.
    fn work(&self, plans: &[TablePlan]) -> Result<()> {
        if plans.is_empty() {
            return Ok(());
        }
        // The first error stops the other workers; it is the one that is returned.
        let stop = self.stop.child();
        let watched = |outcome: Result<()>| {
            if outcome.is_err() {
                stop.stop();
            }
            outcome
        };
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.checker.options.threads)
                .flat_map(|_| {
                    let (sender, receiver) = mpsc::sync_channel(0);
                    let (watched, stop) = (&watched, &stop);
                    let reader = scope.spawn(move || watched(self.read_source(plans, &sender, stop)));
                    let comparer = scope.spawn(move || watched(self.compare_target(&receiver, stop)));
                    [reader, comparer]
                })
                .collect();
            let internal = |_| Err(Error::internal("a worker of the check panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(internal)).collect()
        });
        let mut errors: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
        // An interruption may be the echo of another worker's error.
        errors.sort_by_key(Error::is_interrupted);
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// A worker's half at the source: digests chunk after chunk of all tables, and hands them over.
    fn read_source<'p>(
        &self,
        plans: &'p [TablePlan],
        windows: &mpsc::SyncSender<Handed<'p>>,
        stop: &StopToken,
    ) -> Result<()> {
        let mut sessions = self.sessions(stop);
        let mut throttle = Throttle::new(self.checker.options.threads_running_max);
        for plan in plans {
            while let Some(window) = self.read_window(plan, &mut sessions, &mut throttle, stop)? {
                // The other half ended with an error, which is the one to be told.
                let Ok(()) = windows.send(Handed::Window(plan, window)) else { return Ok(()) };
            }
            let Ok(()) = windows.send(Handed::End(plan)) else { return Ok(()) };
        }
        Ok(())
    }

    /// A worker's half at the target: compares what it is handed.
    fn compare_target(&self, windows: &mpsc::Receiver<Handed<'_>>, stop: &StopToken) -> Result<()> {
        let mut sessions = self.sessions(stop);
        while let Ok(handed) = windows.recv() {
            match handed {
                Handed::Window(plan, window) => {
                    if self.compare_window(plan, &window, &mut sessions, stop)? {
                        self.compare_cut(plan, &mut sessions, stop)?;
                    }
                }
                Handed::End(plan) if plan.pass() == self.checker.options.threads => {
                    self.progress.table_done();
                }
                Handed::End(_) => {}
            }
        }
        Ok(())
    }

    /// Compares a table in chunks that was to be counted whole: the numbers differ. Its readers have gone on.
    fn compare_cut(&self, plan: &TablePlan, sessions: &mut Sessions<'_>, stop: &StopToken) -> Result<()> {
        plan.reopen();
        let mut throttle = Throttle::new(self.checker.options.threads_running_max);
        while let Some(window) = self.read_window(plan, sessions, &mut throttle, stop)? {
            self.compare_window(plan, &window, sessions, stop)?;
        }
        Ok(())
    }

    fn sessions<'s>(&'s self, stop: &'s StopToken) -> Sessions<'s> {
        Sessions::new(Ends { source: self.checker.source, target: self.checker.target, stop }, self.methods)
    }

    /// Digests the next chunks of a table on the source; `None` when there is none left.
    fn read_window(
        &self,
        plan: &TablePlan,
        sessions: &mut Sessions<'_>,
        throttle: &mut Throttle,
        stop: &StopToken,
    ) -> Result<Option<Window>> {
        let mut pieces = Vec::new();
        let begun = Instant::now();
        let span = self.alignment.window();
        while pieces.is_empty() || begun.elapsed() < span && pieces.len() < WINDOW_CHUNKS {
            let step = self.attempt(plan, sessions, stop, |sessions| {
                throttle.wait(sessions, stop)?;
                plan.next_chunk(sessions.on(Side::Source)?, &self.checker.options, self.seed)
            })?;
            let Some(Some(chunk)) = step else { break };
            if let Some(rows) = chunk.verified {
                self.chunks_resumed.fetch_add(1, Ordering::Relaxed);
                self.record(plan, None, ChunkOutcome::same(rows))?;
                continue;
            }
            let digest = self.attempt(plan, sessions, stop, |sessions| {
                sessions.digest(Side::Source, &plan.source, &chunk.range)
            })?;
            // A server refused: the table says so, and no other chunk of it is handed out.
            let Some(source) = digest else { break };
            pieces.push(Piece { chunk, source });
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let high = self.attempt(plan, sessions, stop, |sessions| {
            self.alignment.source_position(self.checker.source.facts(), sessions.on(Side::Source)?)
        })?;
        Ok(high.map(|high| Window { pieces, high }))
    }

    /// Compares what was read on the source with the target. Returns whether the table must be cut into chunks to see where
    /// it differs.
    fn compare_window(
        &self,
        plan: &TablePlan,
        window: &Window,
        sessions: &mut Sessions<'_>,
        stop: &StopToken,
    ) -> Result<bool> {
        let outcomes =
            self.attempt(plan, sessions, stop, |sessions| self.compare(plan, window, sessions, stop))?;
        let mut is_uncut = false;
        for (piece, outcome) in window.pieces.iter().zip(outcomes.into_iter().flatten()) {
            match outcome {
                Some(outcome) => self.record(plan, Some(&piece.chunk), outcome)?,
                None => is_uncut = true,
            }
        }
        Ok(is_uncut)
    }

    /// Runs `step`, with new connections when they break. `None`: a server refused, and the table says so.
    fn attempt<T>(
        &self,
        plan: &TablePlan,
        sessions: &mut Sessions<'_>,
        stop: &StopToken,
        mut step: impl FnMut(&mut Sessions<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut pause = Duration::from_millis(200);
        let mut attempts_left = ATTEMPTS;
        loop {
            stop.check()?;
            sessions.renew();
            let outcome = step(sessions);
            attempts_left -= 1;
            match outcome {
                Ok(value) => return Ok(Some(value)),
                Err(error) if error.is_interrupted() => return Err(error),
                Err(error) if error.recovery() == Recovery::Retry && attempts_left > 0 => {
                    log::warn!("the check tries again: {error}");
                    stop.sleep(pause)?;
                    pause *= 3;
                }
                Err(error) if error.server_error().is_some() && error.recovery() != Recovery::Retry => {
                    // A table that was dropped or changed meanwhile, a missing privilege: the other tables go on.
                    plan.abandon();
                    self.table(plan.position).incomplete = Some(error.to_string());
                    return Ok(None);
                }
                Err(error) => return Err(error.for_table(plan.source.table())),
            }
        }
    }

    fn record(&self, plan: &TablePlan, chunk: Option<&Chunk>, outcome: ChunkOutcome) -> Result<()> {
        let ChunkOutcome { rows_source, rows_target, settled } = outcome;
        let rows_compared = rows_source.max(rows_target).saturating_sub(settled.rows_unsettled);
        let is_same = settled.differences_count == 0 && settled.rows_unsettled == 0;
        if let (Some(journal), Some(chunk), true) =
            (self.journal, chunk, is_same && plan.source.hashes_values())
        {
            let table = plan.source.table().to_string();
            journal.add(&table, plan.fingerprint, chunk.number, &chunk.range, rows_source)?;
        }
        let mut table = self.table(plan.position);
        table.chunks += 1;
        table.rows_source += rows_source;
        table.rows_target += rows_target;
        table.rows_compared += rows_compared;
        table.chunks_different += u64::from(settled.differences_count > 0);
        table.differences_count += settled.differences_count;
        table.rows_repaired += settled.rows_repaired;
        table.rows_unsettled += settled.rows_unsettled;
        let room = self.checker.options.differences_max.saturating_sub(table.differences.len());
        table.differences.extend(settled.differences.into_iter().take(room));
        if settled.reason.is_some() {
            table.incomplete = settled.reason;
        }
        drop(table);
        self.progress.chunk_done(rows_compared, settled.differences_count);
        Ok(())
    }

    /// Counts the rows of some tables whole, and finds the missing and extra keys where the numbers differ.
    fn count_rows(&self, pairs: &[&TablePair]) -> Result<()> {
        let ratio = self.checker.options.row_count_ratio;
        let schemas = self.checker.schemas(pairs, self.stop)?;
        let scratch = CheckProgress::new();
        let fresh = |pair: &&TablePair| Mutex::new(TableCheck::new(pair.source.clone(), pair.target.clone()));
        let counting = Run {
            checker: self.checker,
            alignment: Alignment::new(self.checker.applied, self.checker.options.patience)?,
            methods: self.methods,
            seed: self.seed,
            tables: pairs.iter().map(fresh).collect(),
            progress: &scratch,
            stop: self.stop,
            journal: None,
            repair_file: None,
            chunks_resumed: AtomicU64::new(0),
        };
        let plans = counting.plans(pairs, &schemas, Content::Existence, |position| {
            plan::is_chosen(self.seed, &pairs[position].source.to_string(), u64::MAX, ratio)
        });
        counting.work(&plans)?;
        for plan in &plans {
            self.table(plan.position)
                .add_count(&counting.table(plan.position), self.checker.options.differences_max);
        }
        Ok(())
    }
}
