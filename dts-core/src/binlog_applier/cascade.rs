//! What foreign keys change by themselves (CASCADE, SET NULL), repeated on the target.
//!
//! # The problem
//! Before MySQL 9.6 InnoDB makes these changes below the binary log: the log holds the parent's change only. Leaving them to
//! the target's own keys was tried. MySQL 9.7 runs them by other code: it refuses trees of more than 30 inner rows (error
//! 6575), and where a child has two keys to one parent and children of its own, or where keys form a circle, it left rows
//! as they were (9.7.4, found by comparing random schemas with 5.6). And versions differ in how deep they go.
//!
//! # The method
//! The keys that act are read from the target's catalog; the changes are made by statements, with foreign key checks off, right
//! after the parent's own change, in the same transaction. Each level is one statement for each key. Where a changed child has
//! children itself, the values that they refer to are read first. This is what InnoDB does row by row:
//! - a row refers to a parent only when all columns of the key have values;
//! - DELETE of the parent deletes the children or sets their columns of the key to NULL, UPDATE of a column referred to (when
//!   a byte changes) sets them to the new values or to NULL, and each changed child is a parent in its turn;
//! - nothing else of a child changes: no ON UPDATE CURRENT_TIMESTAMP.
//!
//! It ends: every row found is changed before its own children are looked for, so that it is not found again; and where
//! values go round in a circle the source has refused the statement.
//!
//! It is right only when all tables that are tied hold what they held on the source at this point of the log: they come from one
//! exact snapshot, and are changed in order.
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::data::{Column, ColumnKind, RowImage, TableName, Value};
use crate::error::Result;
use crate::server::ServerFacts;
use crate::server::catalog::{self, KeyAction};
use crate::sql::literal::{self, Place};
use crate::sql::write::is_same;
use crate::sql::{quote, select};
use crate::wire::Connection;

/// The keys that act, directly or in turn, when a table's rows change.
#[derive(Debug)]
pub(super) struct Cascades {
    root: TableName,
    parents: HashMap<TableName, Parent>,
}

/// A table that others refer to.
#[derive(Debug)]
struct Parent {
    columns: Vec<Column>,
    keys: Vec<ActingKey>,
}

/// A key that acts on a child.
#[derive(Debug)]
struct ActingKey {
    child: TableName,
    /// The child's columns, in the order of the key.
    columns: Vec<Column>,
    /// The parent's columns that they refer to, as positions.
    referred: Vec<usize>,
    on_delete: KeyAction,
    on_update: KeyAction,
    /// Columns of the child that an UPDATE would set to the present time.
    clocks: Vec<String>,
}

/// A value as a literal: to compare with, and to assign. `None` is NULL.
type Cell = Option<(Vec<u8>, Vec<u8>)>;

/// A row that changed: its values that others refer to, by position. No `new`: it was deleted.
struct Changed {
    table: TableName,
    old: BTreeMap<usize, Cell>,
    new: Option<BTreeMap<usize, Cell>>,
}

impl Cascades {
    /// Reads the keys from the target; `None` when none acts on a change of this table.
    pub(super) fn read(
        connection: &mut Connection,
        facts: &ServerFacts,
        root: &TableName,
    ) -> Result<Option<Cascades>> {
        let mut parents = HashMap::new();
        let mut waiting = VecDeque::from([root.clone()]);
        while let Some(name) = waiting.pop_front() {
            let keys = catalog::acting_keys(connection, &name)?;
            if keys.is_empty() || parents.contains_key(&name) {
                continue;
            }
            let columns = catalog::table(connection, facts, &name)?.columns;
            let mut acting = Vec::new();
            for key in keys {
                let child = catalog::table(connection, facts, &key.child)?;
                let column = |name: &String| {
                    child.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)).cloned()
                };
                let referred =
                    |name: &String| columns.iter().position(|column| column.name.eq_ignore_ascii_case(name));
                let is_clock = |column: &&Column| {
                    matches!(column.kind, ColumnKind::DateTime | ColumnKind::Timestamp)
                        && !column.generated
                        && !key.columns.iter().any(|name| column.name.eq_ignore_ascii_case(name))
                };
                acting.push(ActingKey {
                    columns: key.columns.iter().filter_map(column).collect(),
                    referred: key.referred.iter().filter_map(referred).collect(),
                    on_delete: key.on_delete,
                    on_update: key.on_update,
                    clocks: child.columns.iter().filter(is_clock).map(|column| column.name.clone()).collect(),
                    child: key.child.clone(),
                });
                waiting.push_back(key.child);
            }
            parents.insert(name, Parent { columns, keys: acting });
        }
        Ok(parents.contains_key(root).then(|| Cascades { root: root.clone(), parents }))
    }

    /// Changes what a change of one row of the table changes elsewhere; that change was made already. `after` is empty for a
    /// DELETE.
    ///
    /// # Errors
    /// What the target answered.
    pub(super) fn follow(
        &self,
        connection: &mut Connection,
        before: &RowImage,
        after: &RowImage,
    ) -> Result<()> {
        let Some(parent) = self.parents.get(&self.root) else { return Ok(()) };
        let cells = |image: &RowImage| -> Result<BTreeMap<usize, Cell>> {
            let referred = parent.keys.iter().flat_map(|key| &key.referred);
            referred.map(|&at| Ok((at, cell_of_value(image.get(at), &parent.columns[at])?))).collect()
        };
        let new = if after.is_empty() { None } else { Some(cells(after)?) };
        let mut old = cells(before)?;
        if let Some(new) = &new {
            // What is stored alike is written alike, whatever the literal.
            for (at, cell) in &mut old {
                if before.get(*at).zip(after.get(*at)).is_some_and(|(one, other)| is_same(one, other)) {
                    cell.clone_from(&new[at]);
                }
            }
            if old == *new {
                return Ok(());
            }
        }
        let mut waiting = vec![Changed { table: self.root.clone(), old, new }];
        while let Some(changed) = waiting.pop() {
            let Some(parent) = self.parents.get(&changed.table) else { continue };
            for key in &parent.keys {
                self.act(connection, key, &changed, &mut waiting)?;
            }
        }
        Ok(())
    }

    /// Does what one key asks for; the children that are parents themselves are added to `waiting`.
    fn act(
        &self,
        connection: &mut Connection,
        key: &ActingKey,
        changed: &Changed,
        waiting: &mut Vec<Changed>,
    ) -> Result<()> {
        let old: Vec<&Cell> = key.referred.iter().map(|at| &changed.old[at]).collect();
        let new: Option<Vec<&Cell>> =
            changed.new.as_ref().map(|new| key.referred.iter().map(|at| &new[at]).collect());
        let action = match &new {
            None => key.on_delete,
            Some(new) if *new == old => KeyAction::None,
            Some(_) => key.on_update,
        };
        if action == KeyAction::None {
            return Ok(());
        }
        let mut rows = b" WHERE ".to_vec();
        for (index, (column, cell)) in key.columns.iter().zip(&old).enumerate() {
            let Some((compared, _)) = cell else { return Ok(()) };
            if index > 0 {
                rows.extend_from_slice(b" AND ");
            }
            quote::push_identifier(&mut rows, &column.name);
            rows.push(b'=');
            rows.extend_from_slice(compared);
        }
        let deletes = new.is_none() && action == KeyAction::Cascade;
        let null = None;
        let assigned: Vec<&Cell> = match (&new, action) {
            (Some(new), KeyAction::Cascade) => new.clone(),
            _ => vec![&null; key.columns.len()],
        };
        if let Some(child) = self.parents.get(&key.child) {
            waiting.extend(children(connection, child, key, &rows, (!deletes).then_some(&assigned))?);
        }
        let mut sql = Vec::new();
        if deletes {
            sql.extend_from_slice(b"DELETE FROM ");
            quote::push_table(&mut sql, &key.child);
        } else {
            sql.extend_from_slice(b"UPDATE ");
            quote::push_table(&mut sql, &key.child);
            for (index, (column, cell)) in key.columns.iter().zip(assigned).enumerate() {
                sql.extend_from_slice(if index == 0 { b" SET " } else { b"," });
                quote::push_identifier(&mut sql, &column.name);
                sql.push(b'=');
                sql.extend_from_slice(cell.as_ref().map_or(b"NULL", |(_, assigned)| assigned.as_slice()));
            }
            for clock in &key.clocks {
                let name = quote::identifier(clock);
                sql.extend_from_slice(format!(",{name}={name}").as_bytes());
            }
        }
        sql.extend_from_slice(&rows);
        connection
            .execute(sql, "repeating what a foreign key changed")
            .map(drop)
            .map_err(|error| error.for_table(&key.child))
    }
}

/// Reads what others refer to in the children that are about to change. `assigned`: the new values of the key's columns; `None`
/// when they are deleted.
fn children(
    connection: &mut Connection,
    child: &Parent,
    key: &ActingKey,
    rows: &[u8],
    assigned: Option<&Vec<&Cell>>,
) -> Result<Vec<Changed>> {
    let set = |at: usize| key.columns.iter().position(|column| column.name == child.columns[at].name);
    let matters = |grandchild: &&ActingKey| match assigned {
        None => grandchild.on_delete != KeyAction::None,
        Some(_) => {
            grandchild.on_update != KeyAction::None && grandchild.referred.iter().any(|&at| set(at).is_some())
        }
    };
    if !child.keys.iter().any(|grandchild| matters(&grandchild)) {
        return Ok(Vec::new());
    }
    let mut positions: Vec<usize> = child.keys.iter().flat_map(|key| key.referred.iter().copied()).collect();
    positions.sort_unstable();
    positions.dedup();
    let mut sql = b"SELECT ".to_vec();
    for (index, &at) in positions.iter().enumerate() {
        if index > 0 {
            sql.push(b',');
        }
        select::push_read_expression(&mut sql, &child.columns[at]);
    }
    sql.extend_from_slice(b" FROM ");
    quote::push_table(&mut sql, &key.child);
    sql.extend_from_slice(rows);
    let mut changed = Vec::new();
    for row in connection.query(sql, "reading the rows that a foreign key changes")? {
        let mut old = BTreeMap::new();
        for (index, &at) in positions.iter().enumerate() {
            old.insert(at, cell_of_text(row.bytes(index), &child.columns[at])?);
        }
        let new = assigned.map(|assigned| {
            let value = |(&at, cell): (&usize, &Cell)| (at, set(at).map_or(cell, |n| assigned[n]).clone());
            old.iter().map(value).collect()
        });
        changed.push(Changed { table: key.child.clone(), old, new });
    }
    Ok(changed)
}

fn cell_of_value(value: Option<&Value>, column: &Column) -> Result<Cell> {
    let value = value.unwrap_or(&Value::Absent);
    if matches!(value, Value::Null) {
        return Ok(None);
    }
    let (mut compared, mut assigned) = (Vec::new(), Vec::new());
    literal::push_value(&mut compared, value, column, Place::Compared)?;
    literal::push_value(&mut assigned, value, column, Place::Assigned)?;
    Ok(Some((compared, assigned)))
}

fn cell_of_text(cell: Option<&[u8]>, column: &Column) -> Result<Cell> {
    let Some(cell) = cell else { return Ok(None) };
    let mut compared = Vec::new();
    literal::push_cell(&mut compared, cell, column)?;
    let assigned = if column.is_text() {
        let mut literal = Vec::new();
        quote::push_string_literal(&mut literal, cell);
        literal
    } else {
        compared.clone()
    };
    Ok(Some((compared, assigned)))
}
