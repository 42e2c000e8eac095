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

use crate::error::Result;
use crate::sql::write::InsertForm;

use super::super::change::{Change, Span};
use super::super::dag::{self, Rules};
use super::super::statements::{Hits, Statements};
use super::super::worker::{Divergence, Worker};
use super::window::{NetChange, TableWindow, Window};

/// Bytes of statements that are sent at once.
const PACKET_BYTES: usize = 1 << 20;

/// Which worker of how many.
pub(super) type Share = (u64, u64);

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

/// Everything but the inserts into tables with a further UNIQUE index.
pub(super) fn first_phase(window: &Window, share: Share, strict: bool, worker: &mut Worker) -> Result<()> {
    let mut sink = Sink { worker, statements: Statements::default() };
    for table in &window.tables {
        let rows = table.share(share);
        let written = if strict {
            write_strictly(table, &rows, &mut sink)
        } else {
            write_whatever_was(table, &rows, &mut sink)
        };
        written.map_err(|error| error.for_table(&table.table.source))?;
    }
    sink.send()
}

/// The inserts into tables with a further UNIQUE index: all of a table by one worker, because two that insert next to each
/// other in a UNIQUE index lock each other out.
pub(super) fn second_phase(window: &Window, share: Share, strict: bool, worker: &mut Worker) -> Result<()> {
    let mut sink = Sink { worker, statements: Statements::default() };
    for (table, row) in inserted_late(window, share, strict) {
        let form = InsertForm::Plain;
        sink.push(|statements| statements.insert(&table.table, &row.span, &row.before, &row.after, form))
            .map_err(|error| error.for_table(&table.table.source))?;
    }
    sink.send()
}

/// The same row by row, with the rule for each whose UNIQUE value is taken by a row that the window does not touch.
pub(super) fn second_phase_by_rules(
    window: &Window,
    share: Share,
    strict: bool,
    rules: Rules,
    worker: &mut Worker,
) -> Result<Vec<Divergence>> {
    let inserts: Vec<(Change, Arc<Span>)> = inserted_late(window, share, strict)
        .map(|(table, row)| {
            let (table, after) = (table.table.clone(), row.after.clone());
            (Change { table, before: Vec::new(), after, cascades: false }, row.span.clone())
        })
        .collect();
    dag::execute_by_rules(worker, || inserts.iter().map(|(change, span)| (change, span)), rules)
}

fn inserted_late(
    window: &Window,
    share: Share,
    strict: bool,
) -> impl Iterator<Item = (&TableWindow, &NetChange)> {
    let of_share =
        move |place: u64, table: &TableWindow| place % share.1 == share.0 && table.table.has_other_unique;
    let is_inserted = move |table: &TableWindow, row: &NetChange| {
        !row.after.is_empty() && (!strict || !row.was_there || frees_a_value(table, row))
    };
    (0..)
        .zip(&window.tables)
        .filter(move |(place, table)| of_share(*place, table))
        .flat_map(|(_, table)| table.share((0, 1)).into_iter().map(move |row| (table, row)))
        .filter(move |(table, row)| is_inserted(table, row))
}

/// What must be in the order of the log. Returns what did not fit, where the rules allow that.
pub(super) fn in_order(window: &Window, rules: Rules, worker: &mut Worker) -> Result<Vec<Divergence>> {
    if window.in_order.is_empty() {
        return Ok(Vec::new());
    }
    dag::execute_by_rules(worker, || window.in_order.iter().map(|(change, span)| (change, span)), rules)
}

/// Returns whether the second phase has anything to do.
pub(super) fn has_second_phase(window: &Window) -> bool {
    window.tables.iter().any(|table| table.table.has_other_unique)
}

/// Every change must fit the row that it finds.
fn write_strictly(window: &TableWindow, rows: &[&NetChange], sink: &mut Sink<'_>) -> Result<()> {
    let table = &window.table;
    let unique = table.has_other_unique;
    for row in rows {
        let goes = row.after.is_empty() || unique && frees_a_value(window, row);
        if row.was_there && goes {
            sink.push(|statements| statements.delete(table, &row.span, &row.before, Hits::Every))?;
        }
    }
    for row in rows {
        if !row.was_there && !row.after.is_empty() {
            sink.push(|statements| {
                if unique {
                    statements.delete(table, &row.span, &row.after, Hits::None)
                } else {
                    statements.insert(table, &row.span, &row.before, &row.after, InsertForm::Plain)
                }
            })?;
        }
    }
    for row in rows {
        let is_update = row.was_there && !row.after.is_empty();
        if !is_update || !table.writer.changes_row(&row.before, &row.after) {
            continue;
        }
        if !unique {
            sink.push(|statements| statements.overwrite(table, &row.span, &row.before, &row.after))?;
        } else if !frees_a_value(window, row) {
            sink.push(|statements| statements.update(table, &row.span, &row.before, &row.after))?;
        }
    }
    Ok(())
}

/// What a row is after the window is written, whatever it was.
fn write_whatever_was(window: &TableWindow, rows: &[&NetChange], sink: &mut Sink<'_>) -> Result<()> {
    let table = &window.table;
    for row in rows {
        let key = if row.after.is_empty() { &row.before } else { &row.after };
        if table.has_other_unique || row.after.is_empty() {
            sink.push(|statements| statements.delete(table, &row.span, key, Hits::Any))?;
        }
    }
    for row in rows {
        if !table.has_other_unique && !row.after.is_empty() {
            sink.push(|statements| {
                statements.insert(table, &row.span, &row.before, &row.after, InsertForm::Upsert)
            })?;
        }
    }
    Ok(())
}

/// Returns whether an update changes a value of a further UNIQUE index, as far as can be told.
fn frees_a_value(window: &TableWindow, row: &NetChange) -> bool {
    let table = &window.table;
    match &table.unique_columns {
        Some(columns) => table.writer.changes_any(columns, &row.before, &row.after),
        None => true,
    }
}
