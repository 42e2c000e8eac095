//! What a worker does with the transactions of one target commit.
//!
//! Statements go out many at a time, and the answers tell whether each change fitted. When one did not, what was done is rolled
//! back and done again change by change, so that the one is found and the rule for it is followed: the others, before and
//! after it, are applied as they are.
use std::sync::Arc;
use std::time::Duration;

use crate::data::RowImage;
use crate::error::{Error, ErrorKind, Result};

use super::super::change::{Change, Span, TransactionPart};
use super::super::statements::{self, Statements};
use super::super::worker::{Committed, Divergence, Worker};
use super::super::{ApplyMode, OnDivergence};

/// Bytes of statements that are sent at once.
const PACKET_BYTES: usize = 1 << 20;
/// How often a commit is tried that others' locks stand in the way of.
const LOCK_ATTEMPTS: u32 = 10;
/// The wait before the second attempt; each further one waits longer.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How changes are applied.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rules {
    pub(in super::super) mode: ApplyMode,
    pub(in super::super) on_divergence: OnDivergence,
}

/// Applies whole transactions in one target transaction, in this order, and records them.
///
/// # Errors
/// A divergence, or what the target answered. Nothing is durable then, unless the connection was lost: read the checkpoint.
pub(in super::super) fn apply(
    worker: &mut Worker,
    transactions: &[TransactionPart],
    rules: Rules,
) -> Result<Committed> {
    let mut committed = Committed::default();
    for transaction in transactions {
        committed.end_transaction(transaction);
        committed.row_events += transaction.changes.len() as u64;
        committed.rows_written += transaction.changes.len() as u64;
    }
    let mut attempt = 1;
    loop {
        let changes = || changes(transactions);
        let done = match execute(worker, changes(), rules.mode) {
            Err(error) if is_divergence(&error) => {
                worker.rollback()?;
                worker.begin()?;
                execute_each(worker, changes(), rules)
            }
            done => done.map(|()| Vec::new()),
        };
        match done {
            Ok(divergences) => {
                committed.divergences = divergences;
                break;
            }
            // Two workers may stand in each other's way by locks that are wider than the rows. Nothing was committed.
            Err(error) if is_lock_conflict(&error) && attempt < LOCK_ATTEMPTS => {
                log::debug!("attempt {attempt} of a commit: {error}");
                worker.rollback()?;
                committed.lock_conflicts += 1;
                std::thread::sleep(LOCK_PAUSE * attempt);
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
    worker.commit(&committed.done)?;
    Ok(committed)
}

/// Applies a part of a large transaction in the worker's open target transaction; records and commits it when it is the last.
///
/// # Errors
/// As [`apply`].
pub(in super::super) fn apply_part(
    worker: &mut Worker,
    part: &TransactionPart,
    rules: Rules,
) -> Result<Committed> {
    let divergences = execute_by_rules(worker, || changes(std::slice::from_ref(part)), rules)?;
    let carried = worker.carried();
    carried.row_events += part.changes.len() as u64;
    carried.rows_written += part.changes.len() as u64;
    carried.divergences.extend(divergences);
    if !part.last {
        return Ok(Committed::default());
    }
    let mut committed = std::mem::take(carried);
    committed.end_transaction(part);
    worker.commit(&committed.done)?;
    Ok(committed)
}

/// Applies changes in the worker's open target transaction, in this order. Returns those that did not fit.
///
/// # Errors
/// As [`apply`].
pub(in super::super) fn execute_by_rules<'c, C>(
    worker: &mut Worker,
    changes: impl Fn() -> C,
    rules: Rules,
) -> Result<Vec<Divergence>>
where
    C: Iterator<Item = (&'c Change, &'c Arc<Span>)>,
{
    worker.begin()?;
    worker.set_savepoint()?;
    match execute(worker, changes(), rules.mode) {
        Err(error) if is_divergence(&error) => {
            worker.rollback_to_savepoint()?;
            execute_each(worker, changes(), rules)
        }
        done => done.map(|()| Vec::new()),
    }
}

fn changes(transactions: &[TransactionPart]) -> impl Iterator<Item = (&Change, &Arc<Span>)> {
    transactions
        .iter()
        .flat_map(|transaction| transaction.changes.iter().map(move |change| (change, &transaction.span)))
}

fn execute<'c>(
    worker: &mut Worker,
    changes: impl Iterator<Item = (&'c Change, &'c Arc<Span>)>,
    mode: ApplyMode,
) -> Result<()> {
    let mut statements = Statements::default();
    for (change, span) in changes {
        statements::push_in_order(&mut statements, change, span, mode)?;
        if change.cascades || statements.byte_count() >= PACKET_BYTES {
            worker.execute(std::mem::take(&mut statements))?;
        }
        if change.cascades {
            worker.follow_cascades(change, span)?;
        }
    }
    worker.execute(statements)
}

/// Applies change by change in the open target transaction. Returns those that did not fit, with what was done about them.
fn execute_each<'c>(
    worker: &mut Worker,
    changes: impl Iterator<Item = (&'c Change, &'c Arc<Span>)>,
    rules: Rules,
) -> Result<Vec<Divergence>> {
    let mut divergences = Vec::new();
    for (change, span) in changes {
        let mut statements = Statements::default();
        statements::push_in_order(&mut statements, change, span, rules.mode)?;
        let error = match worker.execute(statements) {
            Ok(()) if change.cascades => {
                worker.follow_cascades(change, span)?;
                continue;
            }
            Ok(()) => continue,
            Err(error) if is_divergence(&error) => error,
            Err(error) => return Err(error),
        };
        // Before the converge point another UNIQUE index may hold a value of a moment that is still to come; the change of that
        // row is still to come, too.
        let is_expected = rules.mode == ApplyMode::Idempotent && !change.table.is_exact();
        if is_expected {
            repair(worker, change, span)?;
            continue;
        }
        match rules.on_divergence {
            OnDivergence::Stop => return Err(with_key(error, change)),
            OnDivergence::Repair => {
                repair(worker, change, span).map_err(|error| with_key(error, change))?;
                if change.cascades {
                    worker.follow_cascades(change, span)?;
                }
            }
            OnDivergence::Log => {}
        }
        divergences.push(Divergence {
            table: change.table.source.clone(),
            span: span.clone(),
            what: error.kind().to_string(),
            done: rules.on_divergence,
        });
    }
    Ok(divergences)
}

/// Makes the rows that a change is about what it says.
fn repair(worker: &mut Worker, change: &Change, span: &Arc<Span>) -> Result<()> {
    let Change { table, before, after, .. } = change;
    if after.is_empty() {
        // The row is gone already.
        return Ok(());
    }
    let mut sql = Vec::new();
    let itself: Option<&RowImage> = (!before.is_empty()).then_some(before);
    table.writer.push_clear_way(&mut sql, after, itself.map(Vec::as_slice))?;
    worker.execute_plain(&sql)?;
    if !before.is_empty() {
        let mut update = Statements::default();
        update.update(table, span, before, after)?;
        match worker.execute(update) {
            Err(error) if is_divergence(&error) => {}
            done => return done,
        }
    }
    let mut insert = Statements::default();
    insert.insert(table, span, before, after, crate::sql::write::InsertForm::Plain)?;
    worker.execute(insert)
}

/// Adds which row it was: shown to the operator, kept out of logs.
fn with_key(error: Error, change: &Change) -> Error {
    let image = if change.before.is_empty() { &change.after } else { &change.before };
    error.for_key(change.table.writer.key_text(image))
}

pub(in super::super) fn is_divergence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Divergence { .. })
}

/// Returns whether the target rolled back because of others' locks: 1205 lock wait timeout, 1213 deadlock.
fn is_lock_conflict(error: &Error) -> bool {
    error.server_error().is_some_and(|server| matches!(server.code, 1205 | 1213))
}
