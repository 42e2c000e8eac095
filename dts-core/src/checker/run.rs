//! The run of a check: tables over workers, chunks over tables.
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::alignment::{Alignment, AppliedPosition};
use super::plan::{self, Chunk, Facts, TablePlan};
use super::progress::CheckProgress;
use super::report::{CheckReport, Difference, TableCheck};
use super::sessions::Sessions;
use super::settle::{Settled, Settler};
use super::{CheckMode, CheckOptions, TablePair};
use crate::data::TableSchema;
use crate::error::{Error, Recovery, Result, Side, Stage};
use crate::server::{ServerFacts, catalog};
use crate::source::SourceEndpoint;
use crate::sql::digest::{Content, Rows};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::wire::Connection;

/// How often one chunk is tried when connections break.
const ATTEMPTS: u32 = 4;

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
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    pairs: Vec<TablePair>,
    options: CheckOptions,
    applied: &'a dyn AppliedPosition,
}

/// What the workers share.
struct Run<'a> {
    checker: &'a Checker<'a>,
    alignment: Alignment<'a>,
    seed: u64,
    /// Each table's findings, in the order of the report.
    tables: Vec<Mutex<TableCheck>>,
    progress: &'a CheckProgress,
    stop: &'a StopToken,
}

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
        let seed = self.options.seed.unwrap_or_else(rand::random);
        let wanted = |pair: &&TablePair| {
            self.options.tables.as_ref().is_none_or(|tables| tables.contains(&pair.source))
        };
        let pairs: Vec<&TablePair> = self.pairs.iter().filter(wanted).collect();
        let schemas = self.schemas(&pairs, stop)?;
        let run = Run {
            checker: self,
            alignment: Alignment::new(self.applied, self.options.patience)?,
            seed,
            tables: pairs
                .iter()
                .map(|pair| Mutex::new(TableCheck::new(pair.source.clone(), pair.target.clone())))
                .collect(),
            progress,
            stop,
        };
        let content = if mode == CheckMode::RowsCount { Content::Existence } else { Content::Values };
        let plans = run.plans(&pairs, &schemas, content, |_| true);
        progress.begin(pairs.len(), plans.iter().map(|plan| plan.rows_estimated).sum());
        run.work(&plans)?;
        for plan in &plans {
            run.table(plan.position).chunks_total = plan.chunks();
        }
        if mode == CheckMode::Partial {
            let alignment = Alignment::new(self.applied, self.options.patience)?;
            run.count_rows(&pairs, &schemas, alignment)?;
        }
        let mut tables: Vec<TableCheck> = run
            .tables
            .into_iter()
            .map(|table| table.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        for table in &mut tables {
            // Workers finish in any order; the report does not depend on it.
            table.differences.sort_by(Difference::compare_keys);
        }
        Ok(CheckReport::new(mode, (mode == CheckMode::Partial).then_some(seed), tables))
    }

    /// Reads what the tables of both sides are.
    fn schemas(
        &self,
        pairs: &[&TablePair],
        stop: &StopToken,
    ) -> Result<(Vec<TableSchema>, Vec<TableSchema>)> {
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
    fn table(&self, position: usize) -> MutexGuard<'_, TableCheck> {
        self.tables[position].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans the tables that `wanted` selects, largest first; what cannot be planned is marked as skipped.
    fn plans(
        &self,
        pairs: &[&TablePair],
        (sources, targets): &(Vec<TableSchema>, Vec<TableSchema>),
        content: Content,
        wanted: impl Fn(&TablePair) -> bool,
    ) -> Vec<TablePlan> {
        let facts = Facts { source: self.checker.source.facts(), target: self.checker.target.facts() };
        let mut plans = Vec::new();
        for (position, pair) in pairs.iter().enumerate().filter(|(_, pair)| wanted(pair)) {
            let planned = plan::find(pair, sources, targets)
                .and_then(|(source, target)| TablePlan::new(position, &facts, source, target, content));
            match planned {
                Ok(plan) => plans.push(plan),
                Err(reason) => self.table(position).skipped = Some(reason),
            }
        }
        plans.sort_by_key(|plan| std::cmp::Reverse(plan.rows_estimated));
        plans
    }

    /// Works on the plans with as many workers as the options say.
    fn work(&self, plans: &[TablePlan]) -> Result<()> {
        if plans.is_empty() {
            return Ok(());
        }
        // The first error stops the other workers; it is the one that is returned.
        let stop = self.stop.child();
        let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.checker.options.threads)
                .map(|_| {
                    let stop = &stop;
                    scope.spawn(move || {
                        let outcome = self.worker(plans, stop);
                        if outcome.is_err() {
                            stop.stop();
                        }
                        outcome
                    })
                })
                .collect();
            let internal = |_| Err(Error::internal("a worker of the check panicked"));
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(internal)).collect()
        });
        let mut errors: Vec<Error> = outcomes.into_iter().filter_map(Result::err).collect();
        // An interruption may be the echo of another worker's error.
        errors.sort_by_key(Error::is_interrupted);
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    fn worker(&self, plans: &[TablePlan], stop: &StopToken) -> Result<()> {
        let mut sessions = self.open(stop)?;
        for plan in plans {
            while self.next(plan, &mut sessions, stop)? {}
            if plan.pass() == self.checker.options.threads {
                self.progress.table_done();
            }
        }
        Ok(())
    }

    fn open(&self, stop: &StopToken) -> Result<Sessions> {
        Sessions::open(self.checker.source, self.checker.target, stop)
    }

    /// Compares the next chunk of a table; `false` when there is none.
    fn next(&self, plan: &TablePlan, sessions: &mut Sessions, stop: &StopToken) -> Result<bool> {
        let chunk = self.attempt(plan, sessions, stop, |sessions| {
            plan.next_chunk(sessions.on(Side::Source), &self.checker.options, self.seed)
        })?;
        let Some(Some(chunk)) = chunk else { return Ok(false) };
        let outcome =
            self.attempt(plan, sessions, stop, |sessions| self.compare(plan, &chunk, sessions, stop))?;
        match outcome {
            Some(Some(outcome)) => self.record(plan, outcome),
            Some(None) => plan.reopen(),
            None => {}
        }
        Ok(true)
    }

    /// Runs `step`, with new connections when they break. `None`: a server refused, and the table says so.
    fn attempt<T>(
        &self,
        plan: &TablePlan,
        sessions: &mut Sessions,
        stop: &StopToken,
        mut step: impl FnMut(&mut Sessions) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut pause = Duration::from_millis(200);
        let mut attempts_left = ATTEMPTS;
        loop {
            stop.check()?;
            let outcome = if sessions.is_broken() {
                self.open(stop).and_then(|fresh| {
                    *sessions = fresh;
                    step(sessions)
                })
            } else {
                step(sessions)
            };
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

    /// Compares a chunk. `None`: the numbers of rows differ, and the table must be cut into chunks to see where.
    fn compare(
        &self,
        plan: &TablePlan,
        chunk: &Chunk,
        sessions: &mut Sessions,
        stop: &StopToken,
    ) -> Result<Option<ChunkOutcome>> {
        let rows = Rows::Range(&chunk.range);
        let source = sessions.digest(Side::Source, &plan.source, rows)?;
        let high = self.alignment.source_position(self.checker.source.facts(), sessions.on(Side::Source))?;
        self.alignment.wait(high.as_ref(), stop)?;
        let target = sessions.digest(Side::Target, &plan.target, rows)?;
        let rows = source.rows.max(target.rows);
        let settled = if source == target {
            Settled::default()
        } else if chunk.whole_count && rows > self.checker.options.chunk_rows {
            return Ok(None);
        } else {
            let kept = self.table(plan.position).differences.len();
            let settler = Settler {
                plan,
                alignment: &self.alignment,
                source_facts: self.checker.source.facts(),
                stop,
                differences_max: self.checker.options.differences_max.saturating_sub(kept),
            };
            settler.settle(sessions, &chunk.range, rows)?
        };
        Ok(Some(ChunkOutcome { rows_source: source.rows, rows_target: target.rows, settled }))
    }

    fn record(&self, plan: &TablePlan, outcome: ChunkOutcome) {
        let ChunkOutcome { rows_source, rows_target, settled } = outcome;
        let rows_compared = rows_source.max(rows_target).saturating_sub(settled.rows_unsettled);
        let mut table = self.table(plan.position);
        table.chunks += 1;
        table.rows_source += rows_source;
        table.rows_target += rows_target;
        table.rows_compared += rows_compared;
        table.chunks_different += u64::from(settled.differences_count > 0);
        table.differences_count += settled.differences_count;
        table.rows_unsettled += settled.rows_unsettled;
        let room = self.checker.options.differences_max.saturating_sub(table.differences.len());
        table.differences.extend(settled.differences.into_iter().take(room));
        if settled.reason.is_some() {
            table.incomplete = settled.reason;
        }
        drop(table);
        self.progress.chunk_done(rows_compared, settled.differences_count);
    }

    /// Counts the rows of some tables whole, and finds the missing and extra keys where the numbers differ.
    fn count_rows(
        &self,
        pairs: &[&TablePair],
        schemas: &(Vec<TableSchema>, Vec<TableSchema>),
        alignment: Alignment<'_>,
    ) -> Result<()> {
        let ratio = self.checker.options.row_count_ratio;
        let scratch = CheckProgress::new();
        let fresh = |pair: &&TablePair| Mutex::new(TableCheck::new(pair.source.clone(), pair.target.clone()));
        let counting = Run {
            checker: self.checker,
            alignment,
            seed: self.seed,
            tables: pairs.iter().map(fresh).collect(),
            progress: &scratch,
            stop: self.stop,
        };
        let plans = counting.plans(pairs, schemas, Content::Existence, |pair| {
            plan::is_chosen(self.seed, &pair.source.to_string(), u64::MAX, ratio)
        });
        counting.work(&plans)?;
        for plan in &plans {
            self.table(plan.position)
                .add_count(&counting.table(plan.position), self.checker.options.differences_max);
        }
        Ok(())
    }
}

/// What came out of a chunk.
struct ChunkOutcome {
    rows_source: u64,
    rows_target: u64,
    settled: Settled,
}
