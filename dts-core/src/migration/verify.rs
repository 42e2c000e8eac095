//! The comparison inside a hand-over: all that was touched since the last clean check, on both sides.
//!
//! # Why it suffices
//! Let every row have been equal at some moment after position P, and let every row that the log changed after P be equal now. Then
//! all rows are equal now: a row without a change is what it was. P is taken before the check begins. So the number of rows is
//! the same, too; that of small tables is counted all the same, because it costs little.
//!
//! # Why it costs little while nobody may write
//! Before the gate is closed the touched rows are compared along with the applier, again and again, until little is left. What
//! is left is what was written since the last look, a second or less.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Ends;
use crate::checker::{
    CheckReport, CheckpointPosition, Conclusion, KeyCheck, NothingApplies, RowKeys, TablePair,
};
use crate::cutover::touched::TouchedRows;
use crate::data::{GtidSet, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::server::{self, catalog};
use crate::stop::StopToken;

/// Looks before the gate is closed, at most: an application writes faster than this, or little is left.
const ROUNDS_MAX: u32 = 20;
/// So few rows may be left for the time in which nobody may write.
const FEW_ROWS: usize = 500;
/// So long may a look take that nothing is gained by another.
const SHORT: Duration = Duration::from_millis(300);
/// How long the comparison waits for the applier, and rows for rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows of all tables that are counted while nobody may write: some tens of milliseconds.
const COUNTED_ROWS_MAX: u64 = 100_000;

/// Compares touched rows. Its ends are those of the direction in which changes flow.
pub(super) struct Verifier<'a> {
    rows: TouchedRows,
    keys: KeyCheck<'a>,
    /// From where on touched rows are looked for.
    since: GtidSet,
    /// Up to where all touched rows are compared.
    reached: GtidSet,
    compared: u64,
    /// Tables whose touched rows nobody can name.
    untold: BTreeMap<TableName, &'static str>,
}

impl<'a> Verifier<'a> {
    /// Prepares the comparison of what was touched after `since`.
    pub(super) fn open(
        ends: &'a Ends,
        pairs: Vec<TablePair>,
        since: &GtidSet,
        stop: &'a StopToken,
    ) -> Result<Self> {
        let mut control = ends.source.control(stop)?;
        let mut tables = Vec::new();
        let databases: std::collections::BTreeSet<_> =
            pairs.iter().map(|pair| &pair.source.database).collect();
        for database in databases {
            tables.extend(catalog::tables(&mut control, ends.source.facts(), database, |name| {
                pairs.iter().any(|pair| pair.source == *name)
            })?);
        }
        Ok(Verifier {
            rows: TouchedRows::open(&ends.source, &tables, since, stop)?,
            keys: KeyCheck::open(&ends.source, &ends.target, pairs, PATIENCE, stop)?,
            since: since.clone(),
            reached: since.clone(),
            compared: 0,
            untold: BTreeMap::new(),
        })
    }

    /// Up to where all touched rows are compared, and nothing is left to be said of them.
    pub(super) fn told(&self) -> &GtidSet {
        // Whoever goes on from there must find again what could not be compared.
        if self.untold.is_empty() { &self.reached } else { &self.since }
    }

    /// Compares along with the applier until little is left; lines for people.
    pub(super) fn approach(&mut self, ends: &Ends, stop: &StopToken) -> Result<Vec<String>> {
        let begun = Instant::now();
        let applied = CheckpointPosition::new(&ends.target, ends.ledger.task_name(), stop);
        let mut control = ends.source.control(stop)?;
        let mut rounds = 0;
        loop {
            let round = Instant::now();
            let goal = server::gtid_executed(&mut control)?;
            let mut rows = 0;
            loop {
                let is_all = self.rows.read(&goal, stop)?;
                rows += self.rows.count();
                self.compare(Some(&applied), stop)?;
                if is_all {
                    break;
                }
            }
            rounds += 1;
            self.reached = goal;
            if rounds >= ROUNDS_MAX || (rows <= FEW_ROWS && round.elapsed() <= SHORT) {
                break;
            }
        }
        Ok(vec![format!(
            "{} touched rows compared in {:.1} s, {rounds} looks at the log: no difference",
            self.compared,
            begun.elapsed().as_secs_f64()
        )])
    }

    /// Compares the rest, up to the end position; everything is applied and nobody may write. Lines for people.
    pub(super) fn finish(&mut self, end: &GtidSet, stop: &StopToken) -> Result<Vec<String>> {
        let before = self.compared;
        loop {
            let is_all = self.rows.read(end, stop)?;
            self.compare(None, stop)?;
            if is_all {
                break;
            }
        }
        let counted = self.keys.count(COUNTED_ROWS_MAX)?;
        if let Some((table, source, target)) = counted.different.first() {
            return Err(differs(format!(
                "{} tables have another number of rows; {table}: {source} and {target}",
                counted.different.len()
            )));
        }
        let mut saw = vec![format!(
            "{} rows touched since the last clean check are the same, {} of them compared now",
            self.compared,
            self.compared - before
        )];
        saw.push(format!("{} tables counted: {} rows on both sides", counted.tables, counted.rows));
        if counted.left_out > 0 {
            saw.push(format!(
                "{} larger tables not counted: all their touched rows are the same, so their number is",
                counted.left_out
            ));
        }
        saw.extend(self.untold.iter().map(|(table, why)| {
            format!("NOT compared: {table} was written since the last check, and {why}")
        }));
        Ok(saw)
    }

    fn compare(&mut self, applied: Option<&CheckpointPosition>, stop: &StopToken) -> Result<()> {
        self.untold.extend(self.rows.take_untold());
        let keys: Vec<RowKeys> = self
            .rows
            .take_keys()
            .into_iter()
            .map(|touched| RowKeys { table: touched.table, columns: touched.columns, keys: touched.keys })
            .collect();
        let report = match applied {
            Some(applied) => self.keys.compare(&keys, applied, stop)?,
            None => self.keys.compare(&keys, &NothingApplies, stop)?,
        };
        self.compared += report.rows_compared;
        self.judge(&report)
    }

    fn judge(&mut self, report: &CheckReport) -> Result<()> {
        let mut different = Vec::new();
        for table in &report.tables {
            if table.differences_count > 0 {
                different.push(format!("{} rows of {}", table.differences_count, table.source));
            } else if let Some(reason) = &table.skipped {
                log::warn!("{}: {reason}", table.source);
                self.untold.insert(table.source.clone(), "its rows cannot be compared by key");
            }
        }
        if !different.is_empty() {
            return Err(differs(different.join(", ")));
        }
        let unsettled: u64 = report.tables.iter().map(|table| table.rows_unsettled).sum();
        if report.conclusion == Conclusion::Incomplete && unsettled > 0 {
            return Err(Error::from(ErrorKind::CutOver {
                why: format!("{unsettled} touched rows did not settle within {} s", PATIENCE.as_secs()),
            })
            .with_hint(
                "They are written again and again, or the other side is behind. Run this again when there is less to do; `dts check \
                 NAME` shows the rows.",
            ));
        }
        Ok(())
    }
}

fn differs(what: String) -> Error {
    Error::from(ErrorKind::CutOver { why: format!("both sides differ: {what}") }).with_hint(
        "`dts check NAME --tables T` shows which rows. Mend them, compare all with `dts check NAME`, then run this again.",
    )
}
