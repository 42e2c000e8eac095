//! Who writes which rows of a window.
//!
//! # Why no worker waits for another
//! The workers of a window meet before they commit, each with its locks. One that waited for a lock of another would wait in
//! vain, and no server would see a deadlock in that. So what two workers write must not share a lock:
//! - Rows of different tables do not: foreign keys are off in our sessions, and what acts by them all the same is written in
//!   order, by one.
//! - A table of which the target's statistics tell few rows is one worker's. To find many keys of it the server reads all rows,
//!   whatever index it is told to use, and locks each on its way (9.7.4: 16 keys of a table of 300 rows, FORCE INDEX or not).
//! - In a large table each row is found by its key, and under READ COMMITTED only that row is locked. So its rows may go to
//!   several workers, in ranges of keys, if keys that the server takes for equal have equal bytes. Not the inserts into
//!   one with a further UNIQUE index: two that insert next to deleted entries lock each other out (the check for duplicates takes
//!   gap locks, under READ COMMITTED, too). All of these are one worker's.
//!
//! Where that is not enough, because the statistics are old, say, the server ends the wait (1205); the same log is then
//! written by one worker.
use std::sync::Arc;

use crate::data::{ColumnKind, TableSchema};

use super::super::change::{Change, Span};
use super::super::tables::TargetTable;
use super::{Held, NetChange, Window};

/// Rows of a table from which on several workers write it.
const SHARED_TABLE_ROWS_MIN: u64 = 50_000;

/// A window that takes no more changes.
pub(in super::super) struct Sealed<C: Held> {
    pub(super) tables: Vec<SealedTable<C::Image>>,
    in_order: Vec<(C, Arc<Span>)>,
    workers: usize,
}

/// The rows of one table.
pub(super) struct SealedTable<I> {
    pub(super) table: Arc<TargetTable>,
    /// In the order of their keys.
    rows: Vec<NetChange<I>>,
    owner: Owner,
}

/// Whose rows they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// One worker's.
    One(usize),
    /// Everybody has a range of keys, but one worker inserts what waits for all deletes.
    All { inserter: usize },
}

impl<C: Held> Window<C> {
    /// Ends it, and gives its rows to so many workers.
    pub(in super::super) fn seal(self, workers: usize) -> Sealed<C> {
        let workers = workers.max(1);
        let mut tables: Vec<SealedTable<C::Image>> = self
            .tables
            .into_iter()
            .map(|window| {
                let mut rows = Vec::from_iter(window.rows);
                rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                let rows = rows.into_iter().map(|(_, row)| row).collect();
                SealedTable { table: window.table, rows, owner: Owner::One(0) }
            })
            .collect();
        let sizes: Vec<(usize, bool)> =
            tables.iter().map(|table| (table.rows.len(), is_divisible(&table.table))).collect();
        for (table, owner) in tables.iter_mut().zip(owners(&sizes, workers)) {
            table.owner = owner;
        }
        Sealed { tables, in_order: self.in_order, workers }
    }
}

impl<C: Held> Sealed<C> {
    /// Returns how many rows are left of the row events.
    pub(in super::super) fn row_count(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum::<usize>() + self.in_order.len()
    }

    /// Returns whether more than one worker has something to do.
    pub(in super::super) fn is_shared(&self) -> bool {
        let first = self.tables.first().map(|table| table.owner);
        self.tables.iter().any(|table| matches!(table.owner, Owner::All { .. }) || Some(table.owner) != first)
    }

    /// Returns the changes that go in the order of the log.
    pub(in super::super) fn in_order(&self) -> impl Iterator<Item = (&Change, &Arc<Span>)> {
        self.in_order.iter().map(|(change, span)| (change.borrow(), span))
    }

    /// Returns the rows of a table that a worker writes.
    pub(super) fn share<'s>(
        &self,
        table: &'s SealedTable<C::Image>,
        worker: usize,
    ) -> &'s [NetChange<C::Image>] {
        let rows = &table.rows;
        let border = |worker: usize| rows.len() * worker / self.workers;
        match table.owner {
            Owner::One(owner) if owner == worker => rows,
            Owner::One(_) => &[],
            Owner::All { .. } => &rows[border(worker)..border(worker + 1)],
        }
    }

    /// Returns the tables into which a worker inserts what had to wait for all deletes, with all of their rows.
    pub(super) fn inserted_by(
        &self,
        worker: usize,
    ) -> impl Iterator<Item = (&SealedTable<C::Image>, &[NetChange<C::Image>])> {
        self.tables
            .iter()
            .filter(move |table| {
                table.table.has_other_unique
                    && matches!(table.owner, Owner::One(owner) | Owner::All { inserter: owner } if owner == worker)
            })
            .map(|table| (table, table.rows.as_slice()))
    }
}

/// Gives tables (rows that are written, whether they may be divided) to workers, such that each has about as much.
fn owners(sizes: &[(usize, bool)], workers: usize) -> Vec<Owner> {
    let total: usize = sizes.iter().map(|(rows, _)| rows).sum();
    let mut load = vec![0; workers];
    let mut owners = vec![Owner::One(0); sizes.len()];
    let mut largest_first: Vec<usize> = (0..sizes.len()).collect();
    largest_first.sort_by_key(|table| std::cmp::Reverse(sizes[*table].0));
    for table in largest_first {
        let (rows, is_divisible) = sizes[table];
        let idle = (0..workers).min_by_key(|worker| load[*worker]).unwrap_or_default();
        // One that is no more than its worker's share is better left whole.
        if is_divisible && workers > 1 && rows * workers > total {
            owners[table] = Owner::All { inserter: idle };
            load.iter_mut().for_each(|load| *load += rows.div_ceil(workers));
        } else {
            owners[table] = Owner::One(idle);
            load[idle] += rows;
        }
    }
    owners
}

/// Returns whether several workers may write a table.
fn is_divisible(table: &TargetTable) -> bool {
    table.writer.schema().rows_estimated >= SHARED_TABLE_ROWS_MIN && has_exact_key(table)
}

/// Returns whether keys of a table that the server takes for equal have equal bytes.
pub(super) fn has_exact_key(table: &TargetTable) -> bool {
    let writer = &table.writer;
    writer.is_key_whole() && is_exact(writer.schema(), writer.key_columns())
}

/// Returns whether keys that the server takes for equal have equal bytes. Text has its collation, -0 equals 0.
fn is_exact(schema: &TableSchema, columns: &[usize]) -> bool {
    columns.iter().all(|&column| match schema.columns[column].kind {
        ColumnKind::Integer(_)
        | ColumnKind::Bit
        | ColumnKind::Year
        | ColumnKind::Date
        | ColumnKind::Time
        | ColumnKind::DateTime
        | ColumnKind::Timestamp
        | ColumnKind::Binary(_)
        | ColumnKind::Blob => true,
        ColumnKind::Decimal
        | ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Text
        | ColumnKind::Enum(_)
        | ColumnKind::Set(_)
        | ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Other(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_about_as_much() {
        let whole = |rows: &[usize], workers| {
            let sizes: Vec<(usize, bool)> = rows.iter().map(|rows| (*rows, false)).collect();
            owners(&sizes, workers)
        };
        assert_eq!(whole(&[5], 1), [Owner::One(0)]);
        assert_eq!(whole(&[1, 5, 4], 2), [Owner::One(1), Owner::One(0), Owner::One(1)]);
        let one = |index: usize| Owner::One(index);
        assert_eq!(whole(&[3, 3, 3], 4), [one(0), one(1), one(2)]);
        assert_eq!(owners(&[(100, true)], 1), [one(0)]);
        // Only what one worker would have too much of is divided.
        let divided = owners(&[(100, true), (10, true), (90, false)], 2);
        assert_eq!(divided, [one(0), one(1), one(1)]);
        let divided = owners(&[(120, true), (20, true), (60, false)], 2);
        assert_eq!(divided, [Owner::All { inserter: 0 }, one(1), one(0)]);
    }
}
