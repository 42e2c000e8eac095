//! Changes one after the other, in the order of the log, and what is done with those that do not fit.
//!
//! Statements go out many at a time, and the answers tell whether each change fitted. When one did not, what was done is taken
//! back and done again change by change, so that the one is found and the rule for it is followed: the others, before and
//! after it, are applied as they are.
use std::sync::Arc;

use crate::data::RowImage;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::write::InsertForm;

use super::change::{Change, Span};
use super::statements::{self, PACKET_BYTES, Statements};
use super::worker::{Divergence, Worker};
use super::{ApplyMode, OnDivergence};

/// How changes are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) mode: ApplyMode,
    pub(super) on_divergence: OnDivergence,
}

/// Applies changes in the worker's open target transaction, in this order. Returns those that did not fit.
///
/// # Errors
/// A divergence, or what the target answered. The worker is of no use afterwards: dropping it rolls back.
pub(super) fn execute_by_rules<'c, C>(
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

/// Applies changes in this order, many at a time; the target transaction begins with them unless it is open.
///
/// # Errors
/// As [`execute_by_rules`]; a divergence is an error whatever the rules say.
pub(super) fn execute<'c>(
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
///
/// # Errors
/// As [`execute_by_rules`].
pub(super) fn execute_each<'c>(
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
    insert.insert(table, span, before, after, InsertForm::Plain)?;
    worker.execute(insert)
}

/// Adds which row it was: shown to the operator, kept out of logs.
fn with_key(error: Error, change: &Change) -> Error {
    let image = if change.before.is_empty() { &change.after } else { &change.before };
    error.for_key(change.table.writer.key_text(image))
}

/// Returns whether a change did not fit.
pub(super) fn is_divergence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Divergence { .. })
}
