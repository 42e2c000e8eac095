//! Comparing single rows that are known by their keys, quickly: what a hand-over does with the rows that were touched lately.
//!
//! Connections and plans are made once; after that a comparison costs two statements for each 200 rows. How rows are judged
//! is `settle.rs`'s business, whether anything applies meanwhile or not.
use super::alignment::{Alignment, AppliedPosition};
use super::plan::{Facts, TablePlan, find};
use super::report::{CheckReport, TableCheck};
use super::sessions::{Ends, Methods, Sessions};
use super::settle::{LOOKUP_ROWS, Settled, Settler};
use super::{CheckMethod, CheckMode, CheckOptions, Checker, NothingApplies, TablePair};
use crate::data::TableName;
use crate::error::{Error, Recovery, Result, Side, Stage};
use crate::server::ServerFacts;
use crate::source::SourceEndpoint;
use crate::sql::digest::{Content, Rows};
use crate::sql::row_identity::Identity;
use crate::sql::select::KeyRange;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use std::time::Duration;

/// Rows that share one wait for the applier.
const BATCH_ROWS: usize = 4_000;
/// How often a table is tried when connections break.
const ATTEMPTS: u32 = 3;

/// Rows of one table, by their keys.
#[derive(Clone)]
pub struct RowKeys {
    /// The table's name on the source.
    pub table: TableName,
    /// The names of the key's columns.
    pub columns: Vec<String>,
    /// The cells of each key, as the source would send them as text.
    pub keys: Vec<Vec<Vec<u8>>>,
}

/// What counting rows came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CountReport {
    /// Tables that were counted.
    pub tables: usize,
    /// Rows in them on the source.
    pub rows: u64,
    /// Tables that are too large to be counted now.
    pub left_out: usize,
    /// Tables with their numbers of rows on the source and on the target, where these differ.
    pub different: Vec<(TableName, u64, u64)>,
}

/// Compares rows by key, with connections that stay open.
pub struct KeyCheck<'a> {
    sessions: Sessions<'a>,
    source_facts: ServerFacts,
    plans: Vec<(TablePair, std::result::Result<TablePlan, String>)>,
    patience: Duration,
}

impl<'a> KeyCheck<'a> {
    /// Connects and plans the comparison of these tables.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub fn open(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        pairs: Vec<TablePair>,
        patience: Duration,
        stop: &'a StopToken,
    ) -> Result<Self> {
        let opened = || -> Result<Self> {
            let checker =
                Checker::new(source, target, pairs.clone(), CheckOptions::default(), &NothingApplies);
            let all: Vec<&TablePair> = pairs.iter().collect();
            let (sources, targets) = checker.schemas(&all, stop)?;
            let facts = Facts { source: source.facts(), target: target.facts() };
            let plans = pairs
                .iter()
                .map(|pair| {
                    let plan = find(pair, &sources, &targets).and_then(|(source, target)| {
                        TablePlan::new(0, &facts, source, target, Content::Values)
                    });
                    (pair.clone(), plan)
                })
                .collect();
            let methods = Methods::find(CheckMethod::Digest, source, target, stop)?;
            let mut sessions = Sessions::new(Ends { source, target, stop }, methods);
            for side in [Side::Source, Side::Target] {
                // Now, because nobody waits yet.
                sessions.on(side)?;
            }
            Ok(KeyCheck { sessions, source_facts: source.facts().clone(), plans, patience })
        };
        opened().map_err(|error| error.in_stage(Stage::Check))
    }

    /// Compares rows, along with whoever applies. Only tables that have any are in the report.
    ///
    /// # Errors
    /// [`Interrupted`](crate::error::ErrorKind::Interrupted); what a server answered. A difference is not an error.
    pub fn compare(
        &mut self,
        rows: &[RowKeys],
        applied: &dyn AppliedPosition,
        stop: &StopToken,
    ) -> Result<CheckReport> {
        let alignment = Alignment::new(applied, self.patience)?;
        let mut tables = Vec::new();
        for rows in rows.iter().filter(|rows| !rows.keys.is_empty()) {
            let known = self.plans.iter().find(|(pair, _)| pair.source == rows.table);
            let mut table = TableCheck::new(
                rows.table.clone(),
                known.map_or_else(|| rows.table.clone(), |(pair, _)| pair.target.clone()),
            );
            match known {
                None => {
                    table.skipped = Some("the table was not there when the comparison was prepared".into())
                }
                Some((_, Err(reason))) => table.skipped = Some(reason.clone()),
                Some((_, Ok(plan))) => {
                    let columns = plan.source.key_columns().iter().map(|column| column.name.as_str());
                    if columns.eq(rows.columns.iter().map(String::as_str)) {
                        let settler = Settler {
                            plan,
                            alignment: &alignment,
                            source_facts: &self.source_facts,
                            stop,
                            differences_max: 10,
                            show_values: false,
                        };
                        let empty = table.clone();
                        let compared = attempt(&mut self.sessions, stop, |sessions| {
                            table.clone_from(&empty);
                            compare_table(&settler, sessions, rows, &mut table)
                        });
                        match compared {
                            Err(error) if is_gone(&error) => {
                                table = empty;
                                table.skipped = Some(error.to_string());
                            }
                            compared => compared
                                .map_err(|error| error.for_table(&rows.table).in_stage(Stage::Check))?,
                        }
                    } else {
                        table.skipped = Some("its rows cannot be found by the key that the log shows".into());
                    }
                }
            }
            tables.push(table);
        }
        Ok(CheckReport::new(CheckMode::Partial, None, tables))
    }

    /// Counts the rows of the smallest tables on both sides, of about `rows_max` rows in all. Nobody may write meanwhile.
    ///
    /// # Errors
    /// What a server answered. A table that is no longer there is left out.
    pub fn count(&mut self, rows_max: u64, stop: &StopToken) -> Result<CountReport> {
        let mut plans: Vec<_> =
            self.plans.iter().filter_map(|(pair, plan)| Some((pair, plan.as_ref().ok()?))).collect();
        plans.sort_by_key(|(_, plan)| plan.rows_estimated);
        let (mut report, mut room, whole) = (CountReport::default(), rows_max, KeyRange::default());
        for (pair, plan) in plans {
            // An estimate may be far off: a small table costs at least this.
            let cost = plan.rows_estimated.max(100);
            if cost > room {
                report.left_out += 1;
                continue;
            }
            room -= cost;
            let counted = attempt(&mut self.sessions, stop, |sessions| {
                let mut counted = [0, 0];
                for (count, (side, digest)) in
                    counted.iter_mut().zip([(Side::Source, &plan.source), (Side::Target, &plan.target)])
                {
                    let row =
                        sessions.on(side)?.query_row(digest.count(Rows::Range(&whole))?, "counting rows")?;
                    *count = row.and_then(|row| row.u64(0)).unwrap_or(0);
                }
                Ok(counted)
            });
            let counted = match counted {
                Err(error) if is_gone(&error) => {
                    report.left_out += 1;
                    continue;
                }
                counted => counted?,
            };
            report.tables += 1;
            report.rows += counted[0];
            if counted[0] != counted[1] {
                report.different.push((pair.source.clone(), counted[0], counted[1]));
            }
        }
        Ok(report)
    }
}

/// Runs `step`, with new connections when they break.
fn attempt<T>(
    sessions: &mut Sessions<'_>,
    stop: &StopToken,
    mut step: impl FnMut(&mut Sessions<'_>) -> Result<T>,
) -> Result<T> {
    let mut attempts_left = ATTEMPTS;
    loop {
        sessions.renew();
        attempts_left -= 1;
        match step(sessions) {
            Err(error)
                if error.recovery() == Recovery::Retry && !error.is_interrupted() && attempts_left > 0 =>
            {
                log::warn!("rows are compared again: {error}");
                stop.check()?;
            }
            outcome => return outcome,
        }
    }
}

/// Returns whether a table, or a column of it, is no longer what it was when the comparison was planned.
fn is_gone(error: &Error) -> bool {
    // 1054 unknown column, 1146 no such table.
    error.server_error().is_some_and(|answer| matches!(answer.code, 1054 | 1146))
}

fn compare_table(
    settler: &Settler<'_>,
    sessions: &mut Sessions<'_>,
    rows: &RowKeys,
    table: &mut TableCheck,
) -> Result<()> {
    let identities: Vec<Identity> =
        rows.keys.iter().map(|cells| Identity { cells: cells.clone(), from_target: false }).collect();
    for batch in identities.chunks(BATCH_ROWS) {
        let parts: Vec<(usize, Rows<'_>)> =
            batch.chunks(LOOKUP_ROWS).map(|part| (0, Rows::Identities(part))).collect();
        let mut settled = [Settled::default()];
        settler.settle_parts(sessions, &parts, &mut settled, &mut |_, _| {})?;
        let [settled] = settled;
        (table.chunks, table.chunks_total) = (table.chunks + 1, table.chunks_total + 1);
        table.rows_compared += (batch.len() as u64).saturating_sub(settled.rows_unsettled);
        table.differences_count += settled.differences_count;
        table.rows_unsettled += settled.rows_unsettled;
        let room = settler.differences_max.saturating_sub(table.differences.len());
        table.differences.extend(settled.differences.into_iter().take(room));
        if settled.reason.is_some() {
            table.incomplete = settled.reason;
        }
    }
    Ok(())
}
