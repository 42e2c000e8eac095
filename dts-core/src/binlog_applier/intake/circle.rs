//! Rows whose delete the log holds twice.
//!
//! MySQL 9.6 and later log what their foreign keys change. Where keys that cascade make a circle, a row that a statement deletes is also
//! deleted by its own cascade, and the log holds both (9.7.4: `ON DELETE CASCADE` to the table itself, rows (0, parent 3) and (3, parent
//! 0): `DELETE ... WHERE id = 3` logs the deletes of 0, 3 and 3, in one event or in two). The second one finds no row on any target.
//!
//! It is left out: within one statement, a key that was deleted and has not come back by an insert or update since is not there to be
//! deleted. In a table without a key equal rows can be many, so there nothing is left out.
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use super::{Change, TargetTable};
use crate::binlog::RowsEvent;
use crate::data::Value;

/// What the statement under way has deleted, as places in the changes of its transaction. Those of a statement that is so large
/// that it is handed over in parts are forgotten then: a second delete is told as a divergence.
#[derive(Default)]
pub(super) struct Deleted(HashMap<u64, usize>);

impl Deleted {
    /// Returns whether a change deletes what the statement has deleted already. `changes` are those before it.
    pub(super) fn has(
        &mut self,
        event: &RowsEvent<'_>,
        table: &Arc<TargetTable>,
        (before, after): (&[Value], &[Value]),
        changes: &[Change],
    ) -> bool {
        if event.flags & RowsEvent::SQL_FOREIGN_KEYS == 0 || table.writer.is_keyless() {
            return false;
        }
        if !after.is_empty() {
            if !self.0.is_empty() {
                self.0.remove(&hash(table, after));
            }
            return false;
        }
        if key(table, before).any(|value| matches!(value, None | Some(Value::Absent))) {
            // An image that does not hold the key names no row.
            return false;
        }
        let hash = hash(table, before);
        let is_same = |place: &usize| {
            changes.get(*place).is_some_and(|change| {
                Arc::ptr_eq(&change.table, table) && key(table, &change.before).eq(key(table, before))
            })
        };
        if self.0.get(&hash).is_some_and(is_same) {
            return true;
        }
        self.0.insert(hash, changes.len());
        false
    }

    /// The statement has ended, or its changes are elsewhere.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn key<'v>(table: &'v TargetTable, image: &'v [Value]) -> impl Iterator<Item = Option<&'v Value>> {
    table.writer.key_columns().iter().map(|column| image.get(*column))
}

fn hash(table: &Arc<TargetTable>, image: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_usize(Arc::as_ptr(table).addr());
    for value in key(table, image).flatten() {
        match value {
            Value::Int(number) => hasher.write_i64(*number),
            Value::UInt(number) => hasher.write_u64(*number),
            Value::Ascii(text) => hasher.write(text.as_bytes()),
            Value::Bytes(bytes) => hasher.write(bytes),
            // Rare in keys, and equality is looked at in any case.
            _ => {}
        }
    }
    hasher.finish()
}
