//! The task's tables as the log sees them: which of them a change of the log may touch.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data::{Position, TableName};
use crate::target::ledger::{CopyState, Deferred, TableRow};

use super::super::ApplyMode;
use super::super::change::Span;

/// The rows of the ledger, kept in step with the schema changes that are carried. Clones share them.
#[derive(Clone)]
pub(in super::super) struct KnownTables(Arc<Mutex<Inner>>);

struct Inner {
    /// By the name on the source, in lower case where case does not matter there.
    rows: HashMap<TableName, TableRow>,
    folds: bool,
    mode: ApplyMode,
    /// A table was marked to be copied anew.
    wants_copy: bool,
}

/// How a table stands at a change of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Standing {
    /// It is none of the task's tables, or not yet.
    Unknown,
    /// It will be copied anew from a later position, so the change will be in it.
    Waiting,
    /// Its definition was read after the change.
    Included,
    /// It was copied, and nobody can tell whether its definition or rows are of before the change or after it.
    Copying,
    /// It is as the source's table was right before the change.
    Settled,
}

impl KnownTables {
    /// Takes the rows of the ledger. `folds`: the case of names does not matter on the source.
    pub(in super::super) fn new(rows: Vec<TableRow>, folds: bool, mode: ApplyMode) -> Self {
        let mut inner = Inner { rows: HashMap::new(), folds, mode, wants_copy: false };
        for row in rows {
            inner.rows.insert(inner.key(&row.source), row);
        }
        inner.wants_copy = inner.rows.values().any(TableRow::wants_copy);
        KnownTables(Arc::new(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether changes must fit the rows that they find.
    pub(in super::super) fn is_strict(&self) -> bool {
        self.inner().mode == ApplyMode::Strict
    }

    /// Returns whether a table waits to be copied anew.
    pub(in super::super) fn wants_copy(&self) -> bool {
        self.inner().wants_copy
    }

    /// Returns whether a table's rows came from an exact snapshot.
    pub(in super::super) fn has_snapshot(&self, table: &TableName) -> bool {
        self.inner().row(table).is_some_and(|row| row.snapshot_position.is_some())
    }

    /// Returns whether a change is in a table's rows already.
    pub(in super::super) fn is_in_rows(&self, table: &TableName, gtid: Option<&Span>) -> bool {
        let inner = self.inner();
        let Some(row) = inner.row(table) else { return false };
        let position = row.snapshot_position.as_ref().or(row.start_position.as_ref());
        position.and_then(Position::gtid_set).zip(gtid).is_some_and(|(set, gtid)| gtid.is_in(set))
    }

    /// Returns whether a change of rows is left out: it is in the rows already, or will be.
    pub(in super::super) fn leaves_out(&self, table: &TableName, gtid: Option<&Span>) -> bool {
        self.standing(table, gtid) == Standing::Waiting || self.is_in_rows(table, gtid)
    }

    /// Returns the row of a table.
    pub(super) fn row(&self, table: &TableName) -> Option<TableRow> {
        self.inner().row(table).cloned()
    }

    /// Returns the rows of a database.
    pub(super) fn rows_of(&self, database: &str) -> Vec<TableRow> {
        let inner = self.inner();
        let key = inner.key(&TableName::new(database, ""));
        let mut rows: Vec<TableRow> = inner
            .rows
            .iter()
            .filter(|(name, _)| name.database == key.database)
            .map(|(_, row)| row.clone())
            .collect();
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// Returns whether a name on the target is that of one of the task's tables.
    pub(super) fn is_ours(&self, target: &TableName) -> bool {
        self.inner().rows.values().any(|row| row.target == *target)
    }

    /// Returns how a table stands at a change.
    pub(in super::super) fn standing(&self, table: &TableName, gtid: Option<&Span>) -> Standing {
        let inner = self.inner();
        let Some(row) = inner.row(table) else { return Standing::Unknown };
        let holds = |position: &Option<Position>| {
            let set = position.as_ref().and_then(Position::gtid_set);
            set.zip(gtid).is_some_and(|(set, gtid)| gtid.is_in(set))
        };
        match row.state {
            // It was not there at that position; what comes later is as with a name that was never used.
            CopyState::Restart if row.snapshot_position.is_some() && !holds(&row.snapshot_position) => {
                Standing::Unknown
            }
            CopyState::Restart => Standing::Waiting,
            _ if holds(&row.start_position) => Standing::Included,
            // The definition was read before the snapshot was taken: on which side of the change is not known.
            _ if holds(&row.snapshot_position) => Standing::Copying,
            CopyState::Converged | CopyState::Indexed => Standing::Settled,
            _ if row.snapshot_position.is_some() || inner.mode == ApplyMode::Strict => Standing::Settled,
            CopyState::Created | CopyState::Copied => Standing::Copying,
        }
    }

    /// Returns whether a change that does not fit may be one of another definition, which the log will tell of later.
    pub(super) fn may_misfit(&self, table: &TableName) -> bool {
        let inner = self.inner();
        inner.mode == ApplyMode::Idempotent
            && inner.row(table).is_some_and(|row| {
                matches!(row.state, CopyState::Created | CopyState::Copied) && row.snapshot_position.is_none()
            })
    }

    /// Makes the row of a table that begins to exist in the log.
    pub(super) fn new_row(&self, source: &TableName, target: TableName, state: CopyState) -> TableRow {
        let id = self.inner().rows.values().map(|row| row.id).max().unwrap_or(0) + 1;
        TableRow {
            id,
            source: source.clone(),
            target,
            state,
            deferred: Deferred::default(),
            start_position: None,
            is_exact: false,
            restarts: 0,
            snapshot_position: None,
            snapshot_rung: None,
            row_count: 0,
            byte_count: 0,
            chunks_begun: 0,
            chunks_again: 0,
        }
    }

    /// Takes a row, instead of the one of that name, whose number is returned when it is another one.
    pub(super) fn put(&self, row: TableRow) -> Option<u32> {
        let mut inner = self.inner();
        inner.wants_copy |= row.wants_copy();
        let (key, id) = (inner.key(&row.source), row.id);
        inner.rows.insert(key, row).map(|replaced| replaced.id).filter(|replaced| *replaced != id)
    }

    /// Takes a table out.
    pub(super) fn remove(&self, table: &TableName) -> Option<TableRow> {
        let mut inner = self.inner();
        let key = inner.key(table);
        inner.rows.remove(&key)
    }
}

impl Inner {
    fn key(&self, table: &TableName) -> TableName {
        if self.folds {
            TableName::new(table.database.to_lowercase(), table.table.to_lowercase())
        } else {
            table.clone()
        }
    }

    fn row(&self, table: &TableName) -> Option<&TableRow> {
        self.rows.get(&self.key(table))
    }
}
