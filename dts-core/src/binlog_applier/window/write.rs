//! A window as statements.
//!
//! Each row is written at most once, whatever happened to it in the window: deletes first, then what takes its place. Keys
//! that the server takes for equal although their bytes differ (`a` and `A`) cannot both be there at the end of the window, so
//! that order is right under any collation, as long as one worker writes both.
//!
//! With a further UNIQUE index a row may take the value of another one. So all rows that give one up are deleted first, by all
//! workers, and only then rows are inserted: a value that is still taken is then seen. Never by REPLACE or an upsert, which
//! would overwrite the wrong row.
use std::sync::Arc;

use crate::data::Value;
use crate::error::Result;
use crate::sql::write::InsertForm;

use super::super::OnDivergence;
use super::super::change::Change;
use super::super::rules::{self, Rules};
use super::super::statements::{Hits, PACKET_BYTES, Statements};
use super::super::tables::TargetTable;
use super::super::worker::{Divergence, Worker};
use super::sealed::{self, Sealed};
use super::{Held, NetChange};

/// Collects statements and runs them, a packet's worth at a time.
struct Sink<'w> {
    worker: &'w mut Worker,
    statements: Statements,
}

impl Sink<'_> {
    fn push(&mut self, push: impl FnOnce(&mut Statements) -> Result<()>) -> Result<()> {
        push(&mut self.statements)?;
        if self.statements.byte_count() >= PACKET_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        self.worker.execute(std::mem::take(&mut self.statements))
    }
}

/// Writes all of a worker's rows, apart from the changes in order.
///
/// # Errors
/// A divergence, or what the target answered.
pub(in super::super) fn write_reduced<C: Held>(
    window: &Sealed<C>,
    number: usize,
    strict: bool,
    worker: &mut Worker,
) -> Result<()> {
    write_first_phase(window, number, strict, worker)?;
    second_phase(window, number, strict, worker)
}

/// Everything of a worker (from 0) but the inserts into tables with a further UNIQUE index, and the changes in order.
pub(in super::super) fn write_first_phase<C: Held>(
    window: &Sealed<C>,
    number: usize,
    strict: bool,
    worker: &mut Worker,
) -> Result<()> {
    let mut sink = Sink { worker, statements: Statements::default() };
    for table in &window.tables {
        let rows = window.share(table, number);
        let written = if strict {
            write_strictly(&table.table, rows, &mut sink)
        } else {
            write_whatever_was(&table.table, rows, &mut sink)
        };
        written.map_err(|error| error.for_table(&table.table.source))?;
    }
    sink.send()
}

/// The inserts into tables with a further UNIQUE index: all of a table by one worker.
pub(in super::super) fn second_phase<C: Held>(
    window: &Sealed<C>,
    number: usize,
    strict: bool,
    worker: &mut Worker,
) -> Result<()> {
    let mut sink = Sink { worker, statements: Statements::default() };
    for (table, row) in inserted_late(window, number, strict) {
        let (before, after, form) = (row.before.as_ref(), row.after.as_ref(), InsertForm::Plain);
        sink.push(|statements| statements.insert(table, &row.span, before, after, form))
            .map_err(|error| error.for_table(&table.source))?;
    }
    sink.send()
}

/// The same row by row, with the rule for each whose UNIQUE value is taken by a row that the window does not touch. One that is left
/// out was deleted in the first phase; it becomes again what it was.
pub(in super::super) fn second_phase_by_rules<C: Held>(
    window: &Sealed<C>,
    number: usize,
    strict: bool,
    rules: Rules,
    worker: &mut Worker,
) -> Result<Vec<Divergence>> {
    let mut divergences = Vec::new();
    for (table, row) in inserted_late(window, number, strict) {
        let mut insert = |image: &[Value]| {
            let (table, after) = (table.clone(), image.to_vec());
            let change = Change { table, before: Vec::new(), after, cascades: false };
            rules::execute_by_rules(worker, || std::iter::once((&change, &row.span)), rules)
        };
        let found = insert(row.after.as_ref())?;
        let is_left_out = !found.is_empty() && rules.on_divergence == OnDivergence::Log;
        if is_left_out && row.was_there {
            // Where another row has taken its old value, that row is the one that stays.
            insert(row.before.as_ref())?;
        }
        divergences.extend(found);
    }
    Ok(divergences)
}

fn inserted_late<C: Held>(
    window: &Sealed<C>,
    number: usize,
    strict: bool,
) -> impl Iterator<Item = (&Arc<TargetTable>, &NetChange<C::Image>)> {
    window
        .inserted_by(number)
        .flat_map(|(table, rows)| rows.iter().map(move |row| (&table.table, row)))
        .filter(move |(table, row)| {
            row.is_there() && (!strict || !row.was_there || frees_a_value(table, row))
        })
}

/// What must be in the order of the log. Returns what did not fit, where the rules allow that.
pub(in super::super) fn write_in_order<C: Held>(
    window: &Sealed<C>,
    rules: Rules,
    worker: &mut Worker,
) -> Result<Vec<Divergence>> {
    if window.in_order().next().is_none() {
        return Ok(Vec::new());
    }
    rules::execute_by_rules(worker, || window.in_order(), rules)
}

/// Returns whether the second phase has anything to do.
pub(in super::super) fn has_second_phase<C: Held>(window: &Sealed<C>) -> bool {
    window.tables.iter().any(|table| table.table.has_other_unique)
}

/// Every change must fit the row that it finds.
fn write_strictly<I: AsRef<[Value]>>(
    table: &Arc<TargetTable>,
    rows: &[NetChange<I>],
    sink: &mut Sink<'_>,
) -> Result<()> {
    let unique = table.has_other_unique;
    for row in rows {
        let goes = !row.is_there() || unique && frees_a_value(table, row);
        if row.was_there && goes {
            sink.push(|statements| statements.delete(table, &row.span, row.before.as_ref(), Hits::Every))?;
        }
    }
    // A row that comes and goes in the window must not have been there either. To the server it may be one under a key of other
    // bytes, which was there and is there again.
    let is_exact = sealed::has_exact_key(table);
    for row in rows {
        if is_exact && !row.was_there && !row.is_there() {
            sink.push(|statements| statements.delete(table, &row.span, row.before.as_ref(), Hits::None))?;
        }
    }
    for row in rows {
        if !row.was_there && row.is_there() {
            let (before, after) = (row.before.as_ref(), row.after.as_ref());
            sink.push(|statements| {
                if unique {
                    statements.delete(table, &row.span, after, Hits::None)
                } else {
                    statements.insert(table, &row.span, before, after, InsertForm::Plain)
                }
            })?;
        }
    }
    for row in rows {
        let (before, after) = (row.before.as_ref(), row.after.as_ref());
        if !row.was_there || !row.is_there() || !table.writer.changes_row(before, after) {
            continue;
        }
        if !unique {
            sink.push(|statements| statements.overwrite(table, &row.span, before, after))?;
        } else if !frees_a_value(table, row) {
            sink.push(|statements| statements.update(table, &row.span, before, after))?;
        }
    }
    Ok(())
}

/// What a row is after the window is written, whatever it was.
fn write_whatever_was<I: AsRef<[Value]>>(
    table: &Arc<TargetTable>,
    rows: &[NetChange<I>],
    sink: &mut Sink<'_>,
) -> Result<()> {
    for row in rows {
        let key = if row.is_there() { &row.after } else { &row.before };
        if table.has_other_unique || !row.is_there() {
            sink.push(|statements| statements.delete(table, &row.span, key.as_ref(), Hits::Any))?;
        }
    }
    for row in rows {
        if !table.has_other_unique && row.is_there() {
            let (before, after) = (row.before.as_ref(), row.after.as_ref());
            sink.push(|statements| statements.insert(table, &row.span, before, after, InsertForm::Upsert))?;
        }
    }
    Ok(())
}

/// Returns whether an update changes a value of a further UNIQUE index, as far as can be told.
fn frees_a_value<I: AsRef<[Value]>>(table: &TargetTable, row: &NetChange<I>) -> bool {
    match &table.unique_columns {
        Some(columns) => table.writer.changes_any(columns, row.before.as_ref(), row.after.as_ref()),
        None => true,
    }
}
