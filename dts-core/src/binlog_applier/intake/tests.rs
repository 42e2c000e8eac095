use super::*;
use crate::data::Gtid;

fn group(changes: usize) -> Group {
    let gtid = Gtid { uuid: [1; 16], tag: None, gno: 1 };
    let table = super::super::tables::tests::table("InnoDB");
    let mut group = Group {
        span: Arc::new(gtid.into()),
        open: true,
        committed_at: UNIX_EPOCH,
        changes: Vec::new(),
        bytes: 0,
        handed_over: 0,
        begun: false,
        is_ours: false,
        savepoints: Vec::new(),
        deleted: Deleted::default(),
        held_back: None,
        prepared: None,
    };
    for _ in 0..changes {
        add(&mut group, &table);
    }
    group
}

fn add(group: &mut Group, table: &Arc<super::super::tables::TargetTable>) {
    let change =
        Change { table: table.clone(), before: RowImage::new(), after: RowImage::new(), cascades: false };
    group.bytes += change.byte_count();
    group.changes.push(change);
}

/// The log holds a rollback to a savepoint only beside changes that cannot be taken back (spirit#1065).
#[test]
fn changes_after_a_savepoint_are_taken_back() {
    let mut group = group(2);
    let (table, bytes) = (group.changes[0].table.clone(), group.bytes);
    group.set_savepoint("a");
    add(&mut group, &table);
    group.set_savepoint("b");
    add(&mut group, &table);
    group.roll_back_to("B").unwrap();
    assert_eq!(group.changes.len(), 3);
    // A name that is used again is the newer one; those after it are gone.
    add(&mut group, &table);
    group.set_savepoint("A");
    add(&mut group, &table);
    group.roll_back_to("a").unwrap();
    assert_eq!(group.changes.len(), 4);
    assert_eq!(group.bytes, 2 * bytes);
    assert!(group.roll_back_to("c").is_err());
    group.truncate(0).unwrap();
    assert_eq!((group.changes.len(), group.bytes), (0, 0));
}

#[test]
fn what_was_handed_over_is_not_taken_back() {
    let mut group = group(2);
    let table = group.changes[0].table.clone();
    group.set_savepoint("early");
    add(&mut group, &table);
    let part = group.part(false);
    assert_eq!((part.changes.len(), part.first, part.last), (3, true, false));
    group.set_savepoint("late");
    add(&mut group, &table);
    group.roll_back_to("late").unwrap();
    assert!(group.changes.is_empty());
    assert!(group.roll_back_to("early").is_err());
}

#[test]
fn tables_outside_of_transactions_are_not_rolled_back() {
    let mut group = group(1);
    add(&mut group, &super::super::tables::tests::table("MyISAM"));
    assert!(group.truncate(0).is_err());
    assert_eq!(group.changes.len(), 2);
    group.truncate(2).unwrap();
}

#[test]
fn offsets_go_beyond_four_gibibytes() {
    const GIB: u64 = 1 << 30;
    assert_eq!((offset_after(4, 200), offset_after(4 * GIB - 100, 50)), (200, 4 * GIB + 50));
    assert_eq!(offset_after(4 * GIB + 50, 900), 4 * GIB + 900);
    // A transaction that the stream begins anew.
    assert_eq!(offset_after(2 * GIB, 500), 500);
}
