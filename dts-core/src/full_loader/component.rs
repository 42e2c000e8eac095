//! Tables tied by foreign keys that change rows by themselves (CASCADE, SET NULL): copied together, from one exact snapshot.
//!
//! # The problem
//! What such a key changes in the child is not in the binary log before MySQL 9.6: only the parent's change is. So the
//! target's own keys must repeat it, and they repeat it rightly only when all tables that are tied hold, at that moment of
//! the replay, exactly the rows that they held on the source. A lock-free copy does not: a replayed DELETE of a parent row
//! that was inserted again later would take copied children with it that no later change brings back.
//!
//! # The method
//! All tables of a component are read at one position S. Changes up to S are left out for all of them; the others are
//! applied strictly and in order, with the keys in place. Nothing of it depends on tables outside: they are neither changed by
//! a cascade nor the cause of one.
//!
//! # After a crash
//! A snapshot cannot be opened twice. As long as its tables are not all recorded as copied, in one statement, the whole
//! component starts anew: its tables are emptied. Sessions of an earlier attempt have ended before that (see
//! [`SessionKind`]), so nothing arrives late.
use std::sync::Mutex;

use crate::data::{Position, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::TableState;
use crate::retry::{Attempts, RetryPolicy};
use crate::source::exact_snapshot;
use crate::sql::quote;
use crate::target::SessionKind;

use super::LoadRun;
use super::plan::TablePlan;
use super::work::RowSource;
use super::worker::Reads;

/// Returns the sets of tables that are tied by keys that change rows by themselves. A parent that is not among the tables ties
/// nothing.
pub(super) fn components(tables: &[TablePlan]) -> Vec<Vec<&TablePlan>> {
    let mut group: Vec<usize> = (0..tables.len()).collect();
    let mut is_tied = vec![false; tables.len()];
    let place = |name: &TableName| tables.iter().position(|plan| plan.schema.name == *name);
    for (child, plan) in tables.iter().enumerate() {
        for key in plan.schema.foreign_keys.iter().filter(|key| key.cascades) {
            let Some(parent) = place(&key.referenced_table) else { continue };
            (is_tied[child], is_tied[parent]) = (true, true);
            let (from, to) = (group[child], group[parent]);
            for member in group.iter_mut().filter(|member| **member == from) {
                *member = to;
            }
        }
    }
    (0..tables.len())
        .map(|number| {
            let members = (0..tables.len()).filter(|&member| is_tied[member] && group[member] == number);
            members.map(|member| &tables[member]).collect::<Vec<_>>()
        })
        .filter(|component| !component.is_empty())
        .collect()
}

/// Copies a component, from the beginning, as often as it takes.
pub(super) fn copy(run: &LoadRun<'_>, component: &[&TablePlan]) -> Result<()> {
    let other = component.iter().find(|plan| !plan.schema.engine.eq_ignore_ascii_case("InnoDB"));
    if let Some(plan) = other {
        let what = format!("an exact snapshot of a table of engine {}", plan.schema.engine);
        return Err(Error::from(ErrorKind::Unsupported { what }).for_table(&plan.schema.name));
    }
    let mut attempts = Attempts::new(RetryPolicy::default());
    loop {
        match copy_once(run, component) {
            Ok(()) => return Ok(()),
            // One that was changed takes the others along when it is copied anew.
            Err(error) if give_up(run, component, &error)? => return Ok(()),
            Err(error) => attempts.wait_after(error, run.stop, run.progress)?,
        }
    }
}

/// Gives a component up for now when the error is about a table of it whose definition was changed.
fn give_up(run: &LoadRun<'_>, component: &[&TablePlan], error: &Error) -> Result<bool> {
    match component.iter().find(|plan| Some(&plan.schema.name) == error.table()) {
        Some(plan) => run.crew.give_up(plan, error, run.stop),
        None => Ok(false),
    }
}

fn copy_once(run: &LoadRun<'_>, component: &[&TablePlan]) -> Result<()> {
    let ids: Vec<u32> = component.iter().map(|plan| plan.id).collect();
    let names: Vec<&TableName> = component.iter().map(|plan| &plan.schema.name).collect();
    empty(run, component, &ids)?;

    let mut work: Vec<_> = component.iter().map(|plan| run.work(plan, &[], Reads::LentSnapshot)).collect();
    let bytes: u64 = component.iter().map(|plan| plan.schema.data_bytes).sum();
    let chunks = usize::try_from(bytes / run.loader.options.chunk_bytes.max(1)).unwrap_or(usize::MAX);
    let count = run.crew.size().min(chunks.saturating_add(component.len()));
    let snapshot = exact_snapshot::take(run.loader.source, &names, count, run.stop)?;
    log::info!("{} tied tables: exact snapshot by {}", names.len(), snapshot.rung.name());
    run.crew.copy_all(&mut work, &RowSource::Snapshot(Mutex::new(snapshot.connections)), run.stop)?;

    let mut control = run.loader.target.control(run.stop)?;
    run.loader.ledger.finish_snapshot(
        &mut control,
        &ids,
        &Position::Gtid(snapshot.position),
        snapshot.rung,
    )?;
    for work in &work {
        work.set_state(TableState::Copied);
    }
    Ok(())
}

/// Forgets and removes what an earlier attempt has copied.
fn empty(run: &LoadRun<'_>, component: &[&TablePlan], ids: &[u32]) -> Result<()> {
    let ledger = run.loader.ledger;
    let mut control = run.loader.target.loader_control(run.stop)?;
    ledger.wait_for_sessions(&mut control, SessionKind::Load, run.stop)?;
    let tables = ledger.tables(&mut control)?;
    if !tables.iter().any(|row| ids.contains(&row.id) && row.chunks_begun > 0) {
        return Ok(());
    }
    ledger.restart_tables(&mut control, ids)?;
    for plan in component {
        if let Some(counters) = run.progress.table(&plan.schema.name) {
            counters.start_anew();
        }
        run.stop.check()?;
        control
            .execute(
                format!("TRUNCATE TABLE {}", quote::table(&plan.target)),
                "emptying a table to copy it anew",
            )
            .map_err(|error| error.for_table(&plan.target))?;
    }
    Ok(())
}
