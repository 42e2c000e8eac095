//! Foreign keys that change rows by themselves (CASCADE, SET NULL), and in which tables they may do so.
use std::collections::{BTreeSet, HashMap};

use crate::data::{RowImage, TableName, TableSchema, Value};
use crate::sql::write::is_same;

/// A foreign key that changes rows of other tables, seen from the parent.
pub(super) struct ActingKey {
    /// The parent's columns that it refers to; one that is not known may change at any time.
    referred: Option<Vec<usize>>,
    /// The child, its own children, and so on.
    pub(super) tied: BTreeSet<TableName>,
}

impl ActingKey {
    /// Returns whether an update of the parent may act.
    pub(super) fn minds(&self, before: &RowImage, after: &RowImage) -> bool {
        self.referred.as_ref().is_none_or(|columns| {
            columns.iter().any(|&column| match (before.get(column), after.get(column)) {
                (_, None | Some(Value::Absent)) => false,
                (Some(before), Some(after)) => !is_same(before, after),
                (None, Some(_)) => true,
            })
        })
    }
}

/// Returns the keys that act, by their parent.
pub(super) fn of(tables: &[TableSchema]) -> HashMap<TableName, Vec<ActingKey>> {
    let mut children: HashMap<&TableName, Vec<&TableName>> = HashMap::new();
    let keys = || {
        tables.iter().flat_map(|table| {
            table.foreign_keys.iter().filter(|key| key.cascades).map(move |key| (&table.name, key))
        })
    };
    for (child, key) in keys() {
        children.entry(&key.referenced_table).or_default().push(child);
    }
    let mut acting: HashMap<TableName, Vec<ActingKey>> = HashMap::new();
    for (child, key) in keys() {
        let parent = tables.iter().find(|table| table.name == key.referenced_table);
        let position = |parent: &TableSchema, name: &String| {
            parent.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
        };
        let referred = parent.and_then(|parent| {
            key.referenced_columns.iter().map(|name| position(parent, name)).collect::<Option<Vec<_>>>()
        });
        let (mut tied, mut waiting) = (BTreeSet::new(), vec![child]);
        while let Some(table) = waiting.pop() {
            if tied.insert(table.clone()) {
                waiting.extend(children.get(table).into_iter().flatten());
            }
        }
        acting.entry(key.referenced_table.clone()).or_default().push(ActingKey { referred, tied });
    }
    acting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Column, ColumnKind, ForeignKey};

    fn name(table: &str) -> TableName {
        TableName::new("d", table)
    }

    /// A table with the columns `id` and `n`, and keys to other tables' `id`: (parent, whether it acts).
    fn table(own: &str, parents: &[(&str, bool)]) -> TableSchema {
        let key = |(parent, cascades): &(&str, bool)| ForeignKey {
            name: format!("{own}_{parent}"),
            columns: vec![1],
            referenced_table: name(parent),
            referenced_columns: vec!["ID".into()],
            cascades: *cascades,
        };
        let column = |name: &str| Column::example(name, ColumnKind::Integer(4));
        TableSchema {
            foreign_keys: parents.iter().map(key).collect(),
            ..TableSchema::example(own, vec![column("id"), column("n")])
        }
    }

    #[test]
    fn keys_that_act_tie_children_and_theirs() {
        let tables = [
            table("a", &[("c", true)]),
            table("b", &[("a", true), ("elsewhere", true)]),
            table("c", &[("b", true), ("plain", false)]),
            table("plain", &[]),
        ];
        let acting = of(&tables);
        let tied = |parent: &str| -> Vec<Vec<TableName>> {
            let keys = acting.get(&name(parent)).map_or(&[][..], Vec::as_slice);
            keys.iter().map(|key| key.tied.iter().cloned().collect()).collect()
        };
        // They form a circle.
        for parent in ["a", "b", "c", "elsewhere"] {
            assert_eq!(tied(parent), [[name("a"), name("b"), name("c")]], "{parent}");
        }
        assert!(tied("plain").is_empty());
        let row = |id: i64, n: i64| vec![Value::Int(id), Value::Int(n)];
        let key = &acting[&name("a")][0];
        assert!(key.minds(&row(1, 1), &row(2, 1)) && !key.minds(&row(1, 1), &row(1, 2)));
        // A minimal image holds only what changed; of a table that is not watched nothing is known.
        assert!(!key.minds(&row(1, 1), &vec![Value::Absent, Value::Int(2)]));
        assert!(acting[&name("elsewhere")][0].minds(&row(1, 1), &row(1, 2)));
    }
}
