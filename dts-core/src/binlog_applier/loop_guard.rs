//! Keeps a transaction of ours from being carried back to where it came from.
//!
//! Whatever applies changes on a server writes its row of the checkpoint there, in the same transaction. So a transaction in that
//! server's log that changes such a row of the opposite channel was made by that channel, and is left out. The row is told by its
//! task: another task's transactions are data like any other (a chain of migrations, for example).
use std::collections::HashMap;

use crate::binlog::{RowDecoder, RowsEvent, TableMap};
use crate::data::{RowImage, Value};
use crate::error::Result;
use crate::target::ledger::SCHEMA;

/// The table that holds the rows.
const TABLE: &str = "checkpoint";

/// Tells our own transactions.
pub(super) struct LoopGuard {
    /// The names in the ledger of who applies in the opposite direction.
    tasks: Vec<String>,
    by_id: HashMap<u64, RowDecoder>,
}

impl LoopGuard {
    pub(super) fn new(tasks: Vec<String>) -> Self {
        LoopGuard { tasks, by_id: HashMap::new() }
    }

    /// Returns whether there is something to guard against.
    pub(super) fn is_on(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Takes a table map.
    pub(super) fn map(&mut self, map: &TableMap) -> Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        if map.database == SCHEMA && map.table == TABLE {
            self.by_id.insert(map.table_id, RowDecoder::new(map, &[])?);
        } else {
            self.by_id.remove(&map.table_id);
        }
        Ok(())
    }

    /// Forgets the numbers of tables.
    pub(super) fn forget_numbers(&mut self) {
        self.by_id.clear();
    }

    /// Returns whether a row event shows that its transaction is one of ours.
    pub(super) fn marks(&self, rows: &RowsEvent<'_>) -> Result<bool> {
        let Some(decoder) = self.by_id.get(&rows.table_id) else { return Ok(false) };
        let mut images = rows.rows(decoder)?;
        let (mut before, mut after) = (RowImage::new(), RowImage::new());
        let is_ours = |image: &RowImage| match image.first() {
            Some(Value::Bytes(task)) => self.tasks.iter().any(|ours| ours.as_bytes() == task.as_slice()),
            _ => false,
        };
        while images.read_into(&mut before, &mut after)? {
            if is_ours(&before) || is_ours(&after) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
