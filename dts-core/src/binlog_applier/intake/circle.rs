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
    /// Returns whether a change deletes what the statement has deleted already. `flags`: its event's; `changes` are those before it.
    pub(super) fn has(
        &mut self,
        flags: u16,
        table: &Arc<TargetTable>,
        (before, after): (&[Value], &[Value]),
        changes: &[Change],
    ) -> bool {
        if flags & RowsEvent::SQL_FOREIGN_KEYS == 0 || table.writer.is_keyless() {
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

#[cfg(test)]
mod tests {
    use super::super::super::tables::tests::of;
    use super::*;
    use crate::data::{Column, ColumnKind, Index, IndexPart, TableSchema};

    /// A table with the key `id` and a number.
    fn keyed() -> Arc<TargetTable> {
        let id = Column { nullable: false, ..Column::example("id", ColumnKind::Integer(4)) };
        let primary = Index {
            name: "PRIMARY".into(),
            unique: true,
            parts: vec![IndexPart { column: Some(0), prefix: None }],
            index_type: "BTREE".into(),
        };
        let columns = vec![id, Column::example("n", ColumnKind::Integer(4))];
        of(TableSchema { indexes: vec![primary], ..TableSchema::example("t", columns) })
    }

    /// Which of these changes of one statement are left out.
    fn left_out(
        flags: u16,
        table: &Arc<TargetTable>,
        changes: &[(Option<Value>, Option<Value>)],
    ) -> Vec<bool> {
        let mut deleted = Deleted::default();
        let mut before_it = Vec::new();
        let image =
            |id: &Option<Value>| id.iter().flat_map(|id| [id.clone(), Value::Int(1)]).collect::<Vec<_>>();
        let one = |(before, after): &(Option<Value>, Option<Value>)| {
            let (before, after) = (image(before), image(after));
            let is_left_out = deleted.has(flags, table, (&before, &after), &before_it);
            before_it.push(Change { table: table.clone(), before, after, cascades: false });
            is_left_out
        };
        changes.iter().map(one).collect()
    }

    #[test]
    fn second_delete_of_a_key_is_left_out_until_it_comes_back() {
        let (keyed, follows) = (keyed(), RowsEvent::SQL_FOREIGN_KEYS);
        let delete = |id: i64| (Some(Value::Int(id)), None);
        let insert = |id: i64| (None, Some(Value::Int(id)));
        let change = |from: i64, to: i64| (Some(Value::Int(from)), Some(Value::Int(to)));
        assert_eq!(left_out(follows, &keyed, &[delete(3), delete(0), delete(3)]), [false, false, true]);
        assert_eq!(left_out(follows, &keyed, &[delete(3), insert(3), delete(3)]), [false; 3]);
        assert_eq!(left_out(follows, &keyed, &[delete(3), change(4, 3), delete(3)]), [false; 3]);
        // Older servers log no cascades, and a delete of nothing is a divergence.
        assert_eq!(left_out(0, &keyed, &[delete(3), delete(3)]), [false; 2]);
        // Equal rows can be many.
        let keyless = of(TableSchema::example("t", vec![Column::example("id", ColumnKind::Integer(4))]));
        assert_eq!(left_out(follows, &keyless, &[delete(3), delete(3)]), [false; 2]);
        // Images without the key are equal and say nothing.
        let unknown = || (Some(Value::Absent), None);
        assert_eq!(left_out(follows, &keyed, &[unknown(), unknown()]), [false; 2]);
    }
}
