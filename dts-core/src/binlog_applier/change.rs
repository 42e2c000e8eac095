//! What flows from the intake to an engine: transactions with their row changes, in the order of the log.
use std::sync::Arc;
use std::time::SystemTime;

use crate::data::RowImage;

use super::tables::TargetTable;

pub(super) use crate::data::Span;

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
