//! Keeps a transaction of ours from being carried back to where it came from.
//!
//! Whatever applies changes on a server writes its row of the checkpoint there, in the same transaction; a part of a window, which
//! has nothing to record yet, touches it all the same. So a transaction in that
//! server's log that changes such a row of the opposite channel was made by that channel, and is left out. The row is told by its
//! task: another task's transactions are data like any other (a chain of migrations, for example).
use std::collections::HashMap;

use crate::binlog::{RowDecoder, RowsEvent, TableMap, mapped_name};
use crate::data::{RowImage, Value, is_mark};
use crate::error::Result;

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

    /// Takes the body of a table map's event. Only names are read, unless it is the table of the rows.
    pub(super) fn map(&mut self, body: &[u8]) -> Result<()> {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let (table_id, database, table) = mapped_name(body)?;
        if is_mark(database, table) {
            self.by_id.insert(table_id, RowDecoder::new(&TableMap::parse(body)?, &[])?);
        } else if !self.by_id.is_empty() {
            self.by_id.remove(&table_id);
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
