use super::*;
use crate::data::{Column, ColumnKind, ForeignKey, Index, IndexPart, TableName};

fn index(name: &str, columns: &[usize]) -> Index {
    Index {
        name: name.into(),
        unique: true,
        parts: columns.iter().map(|&column| IndexPart { column: Some(column), prefix: None }).collect(),
        index_type: "BTREE".into(),
    }
}

/// `id`, a nullable number `a`, a text `b`.
fn schema(indexes: Vec<Index>) -> TableSchema {
    let column = |name: &str, kind, nullable| Column {
        nullable,
        collation: Some("utf8mb4_general_ci".into()),
        ..Column::example(name, kind)
    };
    let columns = vec![
        column("id", ColumnKind::Integer(4), false),
        column("a", ColumnKind::Integer(4), true),
        column("b", ColumnKind::Text, true),
    ];
    TableSchema { indexes, ..TableSchema::example("t", columns) }
}

fn row(id: i64, a: Option<i64>, b: &str) -> Vec<Value> {
    vec![Value::Int(id), a.map_or(Value::Null, Value::Int), Value::Bytes(b.as_bytes().to_vec())]
}

fn touch(keys: &TableKeys, before: &[Value], after: &[Value]) -> Vec<Touched> {
    let mut into = Vec::new();
    keys.touch(before, after, &mut Vec::new(), &mut into);
    into
}

fn shares(one: &[Touched], other: &[Touched]) -> bool {
    one.iter().any(|touched| other.contains(touched))
}

#[test]
fn a_row_key_before_and_after() {
    let keys = TableKeys::new(&schema(vec![index("PRIMARY", &[0])]), &[], false);
    let inserted = touch(&keys, &[], &row(1, None, "x"));
    let moved = touch(&keys, &row(1, None, "x"), &row(2, None, "x"));
    let deleted = touch(&keys, &row(2, None, "x"), &[]);
    assert_eq!((inserted.len(), moved.len(), deleted.len()), (1, 2, 1));
    assert!(shares(&inserted, &moved) && shares(&moved, &deleted) && !shares(&inserted, &deleted));
}

#[test]
fn a_unique_value_that_is_freed_and_taken() {
    let keys =
        TableKeys::new(&schema(vec![index("PRIMARY", &[0]), index("a", &[1]), index("b", &[2])]), &[], false);
    let freed = touch(&keys, &row(1, Some(7), "x"), &row(1, None, "x"));
    let taken = touch(&keys, &[], &row(2, Some(7), "y"));
    let beside = touch(&keys, &row(3, Some(8), "z"), &row(3, Some(9), "z"));
    assert!(shares(&freed, &taken));
    assert!(!shares(&freed, &beside) && !shares(&taken, &beside));
    // NULL is no key, and what stays needs none: the row alone.
    assert_eq!(touch(&keys, &row(1, None, "x"), &row(1, None, "x")).len(), 1);
    // Case does not count, and what is not known counts for everything.
    let upper = touch(&keys, &[], &row(4, None, "XY"));
    assert!(shares(&upper, &touch(&keys, &[], &row(5, None, "xy"))));
    let unknown = touch(&keys, &[], &row(6, None, "\u{e4}"));
    assert!(unknown.iter().any(|touched| matches!(touched, Touched::All { .. })));
    // The same number is another key in another index and another table.
    let numbers = touch(&keys, &[], &row(7, Some(7), "7"));
    assert_eq!(numbers.iter().collect::<std::collections::HashSet<_>>().len(), 3);
}

#[test]
fn without_a_row_key_all_is_one() {
    let keys = TableKeys::new(&schema(vec![index("a", &[1])]), &[], false);
    let one = touch(&keys, &[], &row(1, None, "x"));
    assert_eq!(one.len(), 1);
    assert!(matches!(one[0], Touched::All { .. }));
    assert_eq!(one, touch(&keys, &row(2, Some(3), "y"), &[]));
    let keyed = TableKeys::new(&schema(vec![index("PRIMARY", &[0])]), &[], true);
    assert!(matches!(touch(&keyed, &[], &row(1, None, "x"))[..], [Touched::All { .. }]));
}

#[test]
fn children_wait_for_parents_and_not_for_each_other() {
    let parent = TableKeys::new(&schema(vec![index("PRIMARY", &[0])]), &[vec!["id".into()]], false);
    let mut child = schema(vec![index("PRIMARY", &[0])]);
    child.name = TableName::new("d", "child");
    child.foreign_keys = vec![ForeignKey {
        name: "f".into(),
        columns: vec![1],
        referenced_table: TableName::new("d", "t"),
        referenced_columns: vec!["id".into()],
        cascades: false,
    }];
    let child = TableKeys::new(&child, &[], false);
    let came = touch(&parent, &[], &row(5, None, "p"));
    let born = touch(&child, &[], &row(1, Some(5), "c"));
    let referred = |touched: &[Touched], writes: bool| {
        touched.iter().find_map(|touched| match *touched {
            Touched::Write { space, key } if writes => Some((space, key)),
            Touched::Read { space, key } if !writes => Some((space, key)),
            _ => None,
        })
    };
    let read = referred(&born, false).unwrap();
    assert!(came.contains(&Touched::Write { space: read.0, key: read.1 }));
    // A change of the parent beside its key, and of the child beside its parent: nothing between them.
    assert_eq!(touch(&parent, &row(5, None, "p"), &row(5, None, "q")).len(), 1);
    assert_eq!(touch(&child, &row(1, Some(5), "c"), &row(1, Some(5), "d")).len(), 1);
    assert_eq!(touch(&child, &[], &row(2, None, "c")).len(), 1);
}
