//! The simple engine: one worker applies everything in the order of the log, several transactions in one commit.
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sql::write::InsertForm;

use super::ApplyMode;
use super::change::{Change, Span, TransactionPart};
use super::coordinator::Coordinator;
use super::engine::Engine;
use super::statements::Statements;
use super::worker::Committed;

/// Bytes of statements that are sent at once.
const BATCH_BYTES: usize = 1 << 20;
/// Source transactions that share a target commit at most.
const BATCH_TRANSACTIONS: u64 = 1000;
/// Batches that are with the worker or on their way to it.
const BATCHES_UNDER_WAY: usize = 2;
/// How long one wait for the worker lasts before the stop token is looked at.
const PATIENCE: Duration = Duration::from_millis(100);

/// One worker, in order.
pub(super) struct OrderedEngine {
    mode: ApplyMode,
    statements: Statements,
    /// What the next commit makes durable.
    next: Committed,
    /// A transaction was begun whose last part is still to come.
    is_inside: bool,
}

impl OrderedEngine {
    pub(super) fn new(mode: ApplyMode) -> Self {
        OrderedEngine {
            mode,
            statements: Statements::default(),
            next: Committed::default(),
            is_inside: false,
        }
    }

    /// Gives the worker what there is; `commits` at the end of a transaction, else the worker's stays open.
    fn send(&mut self, coordinator: &mut Coordinator<'_>, commits: bool) -> Result<()> {
        while coordinator.pool().waiting(0) >= BATCHES_UNDER_WAY {
            coordinator.settle(PATIENCE)?;
            coordinator.check_stop()?;
        }
        let statements = std::mem::take(&mut self.statements);
        let committed = if commits { std::mem::take(&mut self.next) } else { Committed::default() };
        coordinator.submit(
            0,
            Box::new(move |worker| {
                worker.execute(statements)?;
                if commits {
                    worker.commit(&committed.done)?;
                }
                Ok(committed)
            }),
        );
        Ok(())
    }
}

impl Engine for OrderedEngine {
    fn take(&mut self, coordinator: &mut Coordinator<'_>, mut part: TransactionPart) -> Result<()> {
        if part.first == self.is_inside {
            return Err(Error::internal("a part of a transaction does not follow the one before it"));
        }
        for change in std::mem::take(&mut part.changes) {
            push_in_order(&mut self.statements, &change, &part.span, self.mode)?;
            self.next.row_events += 1;
            if change.cascades {
                self.send(coordinator, false)?;
                let span = part.span.clone();
                coordinator.submit(
                    0,
                    Box::new(move |worker| {
                        worker.follow_cascades(&change, &span)?;
                        Ok(Committed::default())
                    }),
                );
            } else if self.statements.byte_count() >= BATCH_BYTES {
                self.send(coordinator, false)?;
            }
        }
        self.is_inside = !part.last;
        if part.last {
            self.next.end_transaction(&part);
            if self.next.transactions >= BATCH_TRANSACTIONS || self.statements.byte_count() >= BATCH_BYTES / 2
            {
                self.send(coordinator, true)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        if self.is_waiting() { self.send(coordinator, true) } else { Ok(()) }
    }

    fn is_waiting(&self) -> bool {
        !self.is_inside && self.next.transactions > 0
    }
}

/// Appends one change such that it is right after everything before it.
///
/// Without a key nothing is idempotent, and where the rows are exactly of the applied position nothing needs to be.
///
/// # Errors
/// [`ErrorKind::Value`](crate::error::ErrorKind::Value) with table and position.
pub(super) fn push_in_order(
    statements: &mut Statements,
    change: &Change,
    span: &Arc<Span>,
    mode: ApplyMode,
) -> Result<()> {
    let Change { table, before, after, .. } = change;
    let is_exact = table.writer.is_keyless() || table.is_exact;
    let mode = if is_exact { ApplyMode::Strict } else { mode };
    let pushed = match (mode, before.is_empty(), after.is_empty()) {
        (ApplyMode::Strict, true, _) => statements.insert(table, span, after, InsertForm::Plain),
        (ApplyMode::Strict, false, false) => statements.update(table, span, before, after),
        (ApplyMode::Strict, false, true) => statements.delete(table, span, before, true),
        (ApplyMode::Idempotent, false, true) => statements.delete(table, span, before, false),
        (ApplyMode::Idempotent, true, true) => Ok(()),
        (ApplyMode::Idempotent, no_before, false) => {
            let moves = !no_before && table.writer.changes_key(before, after);
            let freed = if moves { statements.delete(table, span, before, false) } else { Ok(()) };
            freed.and_then(|()| {
                if table.has_other_unique {
                    // An upsert could overwrite the row that the other index finds: make place by key alone.
                    statements.delete(table, span, after, false)?;
                    statements.insert(table, span, after, InsertForm::Plain)
                } else {
                    statements.insert(table, span, after, InsertForm::Upsert)
                }
            })
        }
    };
    pushed.map_err(|error| error.for_table(&table.source).at(span))
}
