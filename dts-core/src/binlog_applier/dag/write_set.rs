//! What a row change touches, for the [`Graph`](super::graph::Graph).
//!
//! - The row key, before and after: changes of one row keep their order.
//! - The key in every other UNIQUE index that the change frees or takes: whoever takes a value waits for who frees it, also when the
//!   rows are different ones. A UNIQUE key that stays as it is need not be touched: who had it, or wants it, is in order with
//!   *that row's* changes by the row key.
//! - The parent's key of every foreign key, which must stay as it is; and, on the parent's side, keys that are referred to and
//!   come or go. So a child appears after its parent and goes before it, for whoever reads the target.
//! - All rows of a table without a row key: they are told apart by all that is in them, and no index leads to them.
//! - All rows of all tables that are tied by foreign keys that change rows themselves, unseen in the log: nobody knows which rows a
//!   change reaches.
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::data::{KeyIdentity, KeyParts, TableSchema, Value};

use super::graph::Touched;

/// What changes of one table touch, prepared.
#[derive(Debug)]
pub(in super::super) struct TableKeys {
    /// All changes touch all of it: a table without a row key, or tied tables.
    serial: Option<u64>,
    row: Option<Key>,
    uniques: Vec<Key>,
    parents: Vec<Key>,
    referenced: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    space: u64,
    parts: KeyParts,
}

impl TableKeys {
    /// Prepares a table.
    ///
    /// `referenced`: the lists of columns that other tables' foreign keys refer to. `is_tied`: its changes change rows elsewhere,
    /// or are made so, by foreign keys.
    pub(in super::super) fn new(schema: &TableSchema, referenced: &[Vec<String>], is_tied: bool) -> Self {
        let position =
            |name: &String| schema.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
        let row_key = schema.row_key();
        let of_index = |index: &crate::data::Index| Key {
            space: hash(&("index", &schema.name, &index.name)),
            parts: KeyParts::of_index(schema, index),
        };
        let is_row_key = |name: &str| row_key.as_ref().is_some_and(|key| key.index == name);
        let serial = match (is_tied, &row_key) {
            (true, _) => Some(hash(&"tied tables")),
            (false, None) => Some(hash(&("table", &schema.name))),
            (false, Some(_)) => None,
        };
        let parents = schema
            .foreign_keys
            .iter()
            .filter(|key| key.columns.len() == key.referenced_columns.len())
            .map(|key| Key {
                space: hash(&("referenced", &key.referenced_table, &key.referenced_columns)),
                parts: KeyParts::of_columns(schema, &key.columns),
            })
            .collect();
        let referenced = referenced
            .iter()
            .filter_map(|names| {
                let columns: Option<Vec<usize>> = names.iter().map(position).collect();
                Some(Key {
                    space: hash(&("referenced", &schema.name, names)),
                    parts: KeyParts::of_columns(schema, &columns?),
                })
            })
            .collect();
        // Whoever has the whole table to himself needs no keys of its rows.
        let alone = serial.is_some();
        let own = |index: &&crate::data::Index| !alone && index.unique;
        TableKeys {
            serial,
            row: schema.indexes.iter().filter(own).find(|index| is_row_key(&index.name)).map(of_index),
            uniques: schema
                .indexes
                .iter()
                .filter(own)
                .filter(|index| !is_row_key(&index.name))
                .map(of_index)
                .collect(),
            parents,
            referenced,
        }
    }

    /// Adds what a change touches. An insert has no before image (an empty one), a delete no after image.
    pub(in super::super) fn touch(
        &self,
        before: &[Value],
        after: &[Value],
        buffer: &mut Vec<u8>,
        into: &mut Vec<Touched>,
    ) {
        if let Some(space) = self.serial
            && into.last() != Some(&Touched::All { space })
        {
            into.push(Touched::All { space });
        }
        let is_update = !before.is_empty() && !after.is_empty();
        if let Some(row) = &self.row {
            let changed = !is_update || row.parts.may_change(before, after);
            if !before.is_empty() {
                row.push(before, true, buffer, into);
            }
            if !after.is_empty() && changed {
                row.push(after, true, buffer, into);
            }
        }
        for (keys, writes) in [(&self.uniques, true), (&self.referenced, true), (&self.parents, false)] {
            for key in keys {
                if is_update && !key.parts.may_change(before, after) {
                    continue;
                }
                for image in [before, after].into_iter().filter(|image| !image.is_empty()) {
                    key.push(image, writes, buffer, into);
                }
            }
        }
    }
}

impl Key {
    fn push(&self, image: &[Value], writes: bool, buffer: &mut Vec<u8>, into: &mut Vec<Touched>) {
        let space = self.space;
        match self.parts.identify(image, buffer) {
            KeyIdentity::Exact => {
                let key = hash(&(space, &*buffer));
                into.push(if writes { Touched::Write { space, key } } else { Touched::Read { space, key } });
            }
            KeyIdentity::Wildcard => into.push(Touched::All { space }),
            KeyIdentity::Null => {}
        }
    }
}

/// Keys that collide only make somebody wait in vain.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
