//! The comparison inside a hand-over: all that was touched since the last clean check, on both sides.
//!
//! # Why it suffices
//! Let every row have been equal at some moment after position P, and let every row that was changed after P be equal now. Then
//! all rows are equal now: a row without a change is what it was. P is taken before the check begins. So the number of rows is
//! the same, too; that of small tables is counted all the same, because it costs little.
//!
//! The log names the rows that were changed, with one exception: before MySQL 9.6 what a foreign key changes by itself (CASCADE, SET
//! NULL) is not in it. Where a change of a parent may have acted, the children, theirs, and so on are compared whole: before the
//! gate is closed, and once more behind it when a parent was changed again. What is too large for that is told as not compared.
//!
//! # Why it costs little while nobody may write
//! Before the gate is closed the touched rows are compared along with the applier, again and again, until little is left. What
//! is left is what was written since the last look, a second or less.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Ends;
use crate::checker::{
    AppliedPosition, CheckOptions, CheckProgress, CheckReport, Checker, CheckpointPosition, Conclusion,
    KeyCheck, NothingApplies, RowKeys, TablePair,
};
use crate::cutover::touched::TouchedRows;
use crate::data::{GtidSet, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::server::{self, catalog};
use crate::stop::StopToken;
use crate::wire::Connection;

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
/// Rows of tied tables that are compared whole before the gate is closed: about a minute, in which writes go on.
const TIED_ROWS_MAX: u64 = 20_000_000;

/// Compares touched rows. Its ends are those of the direction in which changes flow.
pub(super) struct Verifier<'a> {
    rows: TouchedRows,
    keys: KeyCheck<'a>,
    /// From where on touched rows are looked for.
    since: GtidSet,
    pairs: Vec<TablePair>,
    /// How many rows the source's statistics tell.
    rows_estimated: BTreeMap<TableName, u64>,
    /// Up to where all touched rows are compared.
    reached: GtidSet,
    compared: u64,
    /// Tables whose touched rows nobody can name.
    untold: BTreeMap<TableName, &'static str>,
    /// Tables in which foreign keys may have changed rows since they were compared whole.
    tied: BTreeSet<TableName>,
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
            rows: TouchedRows::open(&ends.source, &tables, &ends.transform.selection, since, stop)?,
            keys: KeyCheck::open(&ends.source, &ends.target, pairs.clone(), PATIENCE, stop)?,
            pairs,
            since: since.clone(),
            rows_estimated: tables.into_iter().map(|table| (table.name, table.rows_estimated)).collect(),
            reached: since.clone(),
            compared: 0,
            untold: BTreeMap::new(),
            tied: BTreeSet::new(),
        })
    }

    /// Up to where all touched rows are compared, and nothing is left to be said of them.
    pub(super) fn told(&self) -> &GtidSet {
        // Whoever goes on from there must find again what could not be compared, or not row by row.
        if self.untold.is_empty() && self.tied.is_empty() { &self.reached } else { &self.since }
    }

    /// Compares along with the applier until little is left; lines for people.
    pub(super) fn approach(&mut self, ends: &Ends, stop: &StopToken) -> Result<Vec<String>> {
        let begun = Instant::now();
        let applied = CheckpointPosition::new(&ends.target, ends.ledger.task_name(), stop);
        let mut control = ends.source.control(stop)?;
        let mut rounds = self.look_until_little(&applied, &mut control, stop)?;
        let whole = self.compare_tied(ends, &applied, TIED_ROWS_MAX, stop)?;
        if !whole.is_empty() {
            rounds += self.look_until_little(&applied, &mut control, stop)?;
        }
        let mut saw = vec![format!(
            "{} touched rows compared in {:.1} s, {rounds} looks at the log: no difference",
            self.compared,
            begun.elapsed().as_secs_f64()
        )];
        saw.extend(tell_whole(&whole));
        Ok(saw)
    }

    /// Reads the log and compares, again and again, until a look finds little. Returns how many looks it took.
    fn look_until_little(
        &mut self,
        applied: &CheckpointPosition,
        control: &mut Connection,
        stop: &StopToken,
    ) -> Result<u32> {
        let mut rounds = 0;
        loop {
            let round = Instant::now();
            let goal = server::gtid_executed(control)?;
            let mut rows = 0;
            loop {
                let is_all = self.rows.read(&goal, stop)?;
                rows += self.rows.count();
                self.compare(applied, stop)?;
                if is_all {
                    break;
                }
            }
            rounds += 1;
            // Who goes on after a crash reads from here, and must find again which tables are tied.
            if self.tied.is_empty() {
                self.reached = goal;
            }
            if rounds >= ROUNDS_MAX || (rows <= FEW_ROWS && round.elapsed() <= SHORT) {
                return Ok(rounds);
            }
        }
    }

    /// Compares the rest, up to the end position; everything is applied and nobody may write. Lines for people.
    pub(super) fn finish(&mut self, ends: &Ends, end: &GtidSet, stop: &StopToken) -> Result<Vec<String>> {
        let before = self.compared;
        loop {
            let is_all = self.rows.read(end, stop)?;
            self.compare(&NothingApplies, stop)?;
            if is_all {
                break;
            }
        }
        let whole = self.compare_tied(ends, &NothingApplies, COUNTED_ROWS_MAX, stop)?;
        // Nobody writes: all of their rows are equal now.
        self.untold.retain(|table, _| !whole.contains(table));
        for table in std::mem::take(&mut self.tied) {
            self.untold.insert(table, "foreign keys may have changed rows of it that are not in the log");
        }
        for table in self.rows.unwatched() {
            self.untold.insert(table.clone(), "it was not there when the comparison was prepared");
        }
        let counted = self.keys.count(COUNTED_ROWS_MAX, stop)?;
        if let Some((table, source, target)) = counted.different.first() {
            return Err(differs(format!(
                "{} with another number of rows; {table}: {source} and {target}",
                format::counted(counted.different.len(), "table", "tables")
            )));
        }
        let mut saw = vec![format!(
            "{} touched since the last clean check, the same on both sides; {} compared now",
            format::counted(self.compared, "row", "rows"),
            format::count(self.compared - before)
        )];
        saw.push(format!(
            "{} counted: {} on both sides",
            format::counted(counted.tables, "table", "tables"),
            format::counted(counted.rows, "row", "rows")
        ));
        saw.extend(tell_whole(&whole));
        if counted.left_out > 0 {
            let but = if self.untold.is_empty() { "" } else { ", but for those named below" };
            saw.push(format!(
                "{} not counted: all touched rows are the same, so their number is{but}",
                format::counted(counted.left_out, "larger table", "larger tables")
            ));
        }
        saw.extend(self.untold.iter().map(|(table, why)| {
            format!("NOT compared: {table} was written since the last check, and {why}")
        }));
        Ok(saw)
    }

    /// Compares tied tables whole, the smallest first, of about `rows_max` rows in all. Returns which; the others stay tied.
    fn compare_tied(
        &mut self,
        ends: &Ends,
        applied: &dyn AppliedPosition,
        rows_max: u64,
        stop: &StopToken,
    ) -> Result<BTreeSet<TableName>> {
        let size = |table: &TableName| self.rows_estimated.get(table).copied().unwrap_or(0);
        let mut tied: Vec<&TablePair> =
            self.pairs.iter().filter(|pair| self.tied.contains(&pair.source)).collect();
        tied.sort_by_key(|pair| size(&pair.source));
        let mut room = rows_max;
        let fits = |pair: &&TablePair| {
            let left = room.checked_sub(size(&pair.source));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let pairs: Vec<TablePair> = tied.into_iter().take_while(fits).cloned().collect();
        let whole: BTreeSet<TableName> = pairs.iter().map(|pair| pair.source.clone()).collect();
        self.tied.retain(|table| !whole.contains(table));
        if !whole.is_empty() {
            let options = CheckOptions { patience: PATIENCE, ..CheckOptions::default() };
            let checker = Checker::new(&ends.source, &ends.target, pairs, options, applied);
            let report = checker.run(stop, &CheckProgress::new())?;
            self.judge(&report)?;
        }
        Ok(whole)
    }

    fn compare(&mut self, applied: &dyn AppliedPosition, stop: &StopToken) -> Result<()> {
        self.untold.extend(self.rows.take_untold());
        self.tied.extend(self.rows.take_tied());
        let keys: Vec<RowKeys> = self
            .rows
            .take_keys()
            .into_iter()
            .map(|touched| RowKeys { table: touched.table, columns: touched.columns, keys: touched.keys })
            .collect();
        let report = self.keys.compare(&keys, applied, stop)?;
        self.compared += report.rows_compared;
        self.judge(&report)
    }

    fn judge(&mut self, report: &CheckReport) -> Result<()> {
        let mut different = Vec::new();
        for table in &report.tables {
            if table.differences_count > 0 {
                different.push(format!(
                    "{} of {}",
                    format::counted(table.differences_count, "row", "rows"),
                    table.source
                ));
            } else if let Some(reason) = &table.skipped {
                log::warn!("{}: {reason}", table.source);
                self.untold.insert(table.source.clone(), "its rows cannot be compared");
            } else if let (Some(reason), 0) = (&table.incomplete, table.rows_unsettled) {
                log::warn!("{}: {reason}", table.source);
                self.untold.insert(table.source.clone(), "a server refused to read it");
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

fn tell_whole(tables: &BTreeSet<TableName>) -> Option<String> {
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} tables compared whole, because foreign keys change their rows: {}",
            names.len(),
            names.join(", ")
        )
    })
}

fn differs(what: String) -> Error {
    Error::from(ErrorKind::CutOver { why: format!("both sides differ: {what}") }).with_hint(
        "`dts check NAME --tables T` shows which rows. Mend them, compare all with `dts check NAME`, then run this again.",
    )
}
