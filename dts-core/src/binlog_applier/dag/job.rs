//! What a worker does with the transactions of one target commit.
//!
//! Between them nobody looks, so what is written is what each row is after all of them: an update of a row that another one
//! changes again costs the target nothing, and rows of one table share statements ([`window`]). Every row must be as the
//! first of its changes found it. When something does not fit, what was done is taken back and done again change by change,
//! which finds the one that it was ([`rules`]).
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};

use super::super::ApplyMode;
use super::super::change::{Change, Span, TransactionPart};
use super::super::rules::{self, Rules};
use super::super::window::{self, Sealed, Window};
use super::super::worker::{Committed, Divergence, Worker};

/// How often a commit is tried that others' locks stand in the way of.
const LOCK_ATTEMPTS: u32 = 10;
/// The wait before the second attempt; each further one waits longer.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Applies whole transactions in one target transaction, as if in this order, and records them.
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
    }
    let reduced = reduce(transactions, rules.mode);
    let mut attempt = 1;
    loop {
        match write(worker, transactions, reduced.as_ref(), rules) {
            Ok((rows_written, divergences)) => {
                (committed.rows_written, committed.divergences) = (rows_written as u64, divergences);
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

/// What rows are before and after all of these transactions.
///
/// # Errors
/// A divergence, when one change does not fit another.
fn reduce(transactions: &[TransactionPart], mode: ApplyMode) -> Result<Sealed<&Change>> {
    let mut window: Window<&Change> = Window::default();
    let mut in_order = HashSet::new();
    for (change, span) in changes(transactions) {
        window.take_change(change, span, &mut in_order, mode == ApplyMode::Strict)?;
    }
    Ok(window.seal(1))
}

/// Writes transactions in the worker's target transaction. Returns how many rows were written, and what did not fit.
fn write(
    worker: &mut Worker,
    transactions: &[TransactionPart],
    reduced: std::result::Result<&Sealed<&Change>, &Error>,
    rules: Rules,
) -> Result<(usize, Vec<Divergence>)> {
    let written = match reduced {
        Ok(reduced) => window::write_reduced(reduced, 0, rules.mode == ApplyMode::Strict, worker)
            .and_then(|()| rules::execute(worker, reduced.in_order(), rules.mode))
            .map(|()| reduced.row_count()),
        // Where each change is looked at for itself the rule for it is followed.
        Err(_) => {
            worker.begin()?;
            let divergences = rules::execute_each(worker, changes(transactions), rules)?;
            return Ok((changes(transactions).count(), divergences));
        }
    };
    match written {
        Err(error) if rules::is_divergence(&error) => {
            worker.rollback()?;
            worker.begin()?;
            let divergences = rules::execute_each(worker, changes(transactions), rules)?;
            Ok((changes(transactions).count(), divergences))
        }
        written => written.map(|rows| (rows, Vec::new())),
    }
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
    let divergences = rules::execute_by_rules(worker, || changes(std::slice::from_ref(part)), rules)?;
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

fn changes(transactions: &[TransactionPart]) -> impl Iterator<Item = (&Change, &Arc<Span>)> {
    transactions
        .iter()
        .flat_map(|transaction| transaction.changes.iter().map(move |change| (change, &transaction.span)))
}

/// Returns whether the target rolled back because of others' locks: 1205 lock wait timeout, 1213 deadlock.
fn is_lock_conflict(error: &Error) -> bool {
    error.server_error().is_some_and(|server| matches!(server.code, 1205 | 1213))
}
