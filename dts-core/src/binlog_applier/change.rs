//! What flows from the intake to an engine: transactions with their row changes, in the order of the log.
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::data::{Gtid, GtidInterval, GtidSet, RowImage};

use super::tables::TargetTable;

/// What a transaction is called in a checkpoint: an interval of numbers under one UUID. One number for a GTID.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) uuid: [u8; 16],
    pub(super) tag: Option<Box<str>>,
    pub(super) numbers: GtidInterval,
}

impl Span {
    pub(super) fn add_to(&self, set: &mut GtidSet) {
        set.insert_interval(&self.uuid, self.tag.as_deref(), self.numbers);
    }

    /// Returns whether all of it is in a set.
    pub(super) fn is_in(&self, set: &GtidSet) -> bool {
        let intervals = set.intervals(&self.uuid, self.tag.as_deref());
        let after = intervals.partition_point(|interval| interval.start <= self.numbers.start);
        after > 0 && self.numbers.end <= intervals[after - 1].end
    }
}

impl From<Gtid> for Span {
    fn from(gtid: Gtid) -> Self {
        let numbers = GtidInterval { start: gtid.gno, end: gtid.gno.saturating_add(1) };
        Span { uuid: gtid.uuid, tag: gtid.tag, numbers }
    }
}

/// Prints as a GTID or an interval of them, as the server does.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = GtidSet::new();
        self.add_to(&mut set);
        set.fmt(f)
    }
}

/// One row's insert (no `before`), update, or delete (no `after`).
#[derive(Debug)]
pub(super) struct Change {
    pub(super) table: Arc<TargetTable>,
    /// The row as it was; empty for an insert.
    pub(super) before: RowImage,
    /// The row as it became; empty for a delete.
    pub(super) after: RowImage,
    /// The source's foreign keys changed other rows with it, and the log does not say so: [`TargetTable::cascades`] must be
    /// followed after it, and it must be applied in order.
    pub(super) cascades: bool,
}

impl Change {
    /// Returns about how many bytes of memory it holds.
    pub(super) fn byte_count(&self) -> usize {
        let image = |image: &RowImage| {
            image.capacity() * size_of::<crate::data::Value>()
                + image.iter().map(crate::data::Value::heap_bytes).sum::<usize>()
        };
        size_of::<Change>() + image(&self.before) + image(&self.after)
    }
}

/// A whole transaction, or one of several parts of a large one: the parts of one transaction follow each other.
#[derive(Debug)]
pub(super) struct TransactionPart {
    pub(super) span: Arc<Span>,
    /// What an XA transaction was prepared as: it becomes applied together with its end.
    pub(super) prepared: Option<Arc<Span>>,
    /// When the source committed it first.
    pub(super) committed_at: SystemTime,
    /// Changes of selected tables that are not in the copied rows already.
    pub(super) changes: Vec<Change>,
    /// About how many bytes of memory the changes hold.
    pub(super) bytes: usize,
    /// No part came before.
    pub(super) first: bool,
    /// It ends with this part.
    pub(super) last: bool,
}

impl TransactionPart {
    /// Adds the part that follows.
    pub(super) fn append(&mut self, next: TransactionPart) {
        self.changes.extend(next.changes);
        self.bytes += next.bytes;
        self.last = next.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_in_a_set_only_as_a_whole() {
        let uuid = [7; 16];
        let span = |start, end| Span { uuid, tag: None, numbers: GtidInterval { start, end } };
        let mut set = GtidSet::new();
        span(5, 10).add_to(&mut set);
        for (start, end, inside) in
            [(5, 10, true), (6, 7, true), (4, 6, false), (9, 11, false), (10, 11, false), (1, 2, false)]
        {
            assert_eq!(span(start, end).is_in(&set), inside, "{start}..{end}");
        }
        assert!(!Span { tag: Some("t".into()), ..span(5, 6) }.is_in(&set));
        assert_eq!(span(5, 6).to_string(), "07070707-0707-0707-0707-070707070707:5");
        assert_eq!(span(5, 8).to_string(), "07070707-0707-0707-0707-070707070707:5-7");
    }
}
