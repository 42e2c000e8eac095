//! Row changes as statements: INSERT, upsert, UPDATE, DELETE by key.
//!
//! [`TableWriter`] holds what does not change between the rows of one table. Generated columns are never written. Rows are
//! found by the table's row key, compared under the column's own collation; without a key, by all their bytes
//! ([`row_match`]), one row for each change.
use super::literal::{self, Place};
use super::{quote, row_match};
use crate::data::{ColumnKind, JsonDiff, JsonDiffOperation, RowKey, TableSchema, Value};
use crate::error::Result;

/// Builds the statements of one table.
#[derive(Clone, Debug)]
pub struct TableWriter {
    schema: TableSchema,
    /// `None`: equal rows may exist.
    key: Option<RowKey>,
    stored: Vec<usize>,
    insert_head: Vec<u8>,
    upsert_tail: Vec<u8>,
}

/// Which form an insert takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertForm {
    /// A row with the same key is an error.
    Plain,
    /// A row with the same key is overwritten. Only for tables without another UNIQUE index: with two of them, MySQL may
    /// overwrite the row that the *other* one finds.
    Upsert,
}

impl TableWriter {
    /// Prepares a table, as the target has it.
    ///
    /// `row_alias`: the target knows `VALUES … AS new` (MySQL 8.0.19 and later), where `VALUES()` is deprecated. The alias is
    /// another one where the table itself has that name (1066).
    pub fn new(schema: TableSchema, row_alias: bool) -> Self {
        let key = schema.row_key();
        let stored: Vec<usize> = schema.stored_columns().collect();
        let columns: Vec<_> = stored.iter().map(|&position| &schema.columns[position]).collect();
        let insert_head = super::load::insert_head(&schema.name, &columns);
        let alias = if schema.name.table.eq_ignore_ascii_case("new") { "__dts_new" } else { "new" };
        let mut upsert_tail = Vec::new();
        if row_alias {
            upsert_tail.extend_from_slice(format!(" AS {alias}").as_bytes());
        }
        upsert_tail.extend_from_slice(b" ON DUPLICATE KEY UPDATE ");
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                upsert_tail.push(b',');
            }
            let name = quote::identifier(&column.name);
            let assignment =
                if row_alias { format!("{name}={alias}.{name}") } else { format!("{name}=VALUES({name})") };
            upsert_tail.extend_from_slice(assignment.as_bytes());
        }
        TableWriter { schema, key, stored, insert_head, upsert_tail }
    }

    /// Returns whether the table has no key: every statement then changes one row, found by all its bytes, and a change that
    /// is applied twice counts twice.
    pub fn is_keyless(&self) -> bool {
        self.key.is_none()
    }

    /// Returns the table as the target has it.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Begins an INSERT of one or more rows.
    pub fn begin_insert(&self, sql: &mut Vec<u8>) {
        sql.extend_from_slice(&self.insert_head);
    }

    /// Appends one row's `(…)`: the row as it is after a change. What the after image does not hold is taken from the before
    /// image; `before` is empty for an insert. Returns how many warnings the server will give for it (ENUM error values).
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::error::ErrorKind::Value) when neither image holds a column.
    pub fn push_row(&self, sql: &mut Vec<u8>, before: &[Value], after: &[Value]) -> Result<u64> {
        let mut warnings = 0;
        for (index, &position) in self.stored.iter().enumerate() {
            sql.push(if index == 0 { b'(' } else { b',' });
            match value(after, position) {
                Value::Absent => warnings += self.push_assigned(sql, position, before)?,
                // Changes inside a document need the document: a new row has none.
                Value::JsonDiff(diffs) => {
                    let mut document = Vec::new();
                    let column = &self.schema.columns[position];
                    literal::push_value(&mut document, value(before, position), column, Place::Compared)?;
                    push_json_diffs(sql, &document, diffs);
                }
                _ => warnings += self.push_assigned(sql, position, after)?,
            }
        }
        sql.push(b')');
        Ok(warnings)
    }

    /// Appends statements that delete whatever stands in the way of a row as it is after a change: rows with its row key or its
    /// key in another UNIQUE index, but not the row that has the row key of `itself`.
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::error::ErrorKind::Value) when the images do not hold what is needed.
    pub fn push_clear_way(&self, sql: &mut Vec<u8>, after: &[Value], itself: Option<&[Value]>) -> Result<()> {
        for index in self.schema.indexes.iter().filter(|index| index.unique) {
            let parts: Option<Vec<(usize, Option<u32>)>> =
                index.parts.iter().map(|part| Some((part.column?, part.prefix))).collect();
            // What an expression gives is not known here; the server will tell. NULL is in nobody's way, and neither is a
            // column that the change leaves as it is.
            let Some(parts) = parts else { continue };
            if parts.iter().any(|(column, _)| matches!(value(after, *column), Value::Null | Value::Absent)) {
                continue;
            }
            if !sql.is_empty() {
                sql.push(b';');
            }
            sql.extend_from_slice(b"DELETE FROM ");
            quote::push_table(sql, &self.schema.name);
            sql.extend_from_slice(b" WHERE ");
            for (place, (position, prefix)) in parts.into_iter().enumerate() {
                if place > 0 {
                    sql.extend_from_slice(b" AND ");
                }
                let column = &self.schema.columns[position];
                let mut compared = Vec::new();
                literal::push_value(&mut compared, value(after, position), column, Place::Compared)?;
                push_part(sql, &quote::identifier(&column.name), prefix);
                sql.push(b'=');
                push_part(sql, &compared, prefix);
            }
            if let (Some(itself), Some(key)) = (itself, &self.key) {
                sql.extend_from_slice(b" AND NOT (");
                self.push_key(sql, key, itself)?;
                sql.push(b')');
            }
        }
        Ok(())
    }

    /// Returns the row key of an image as text for people, such as `id = 5`: row content, so not for logs.
    pub fn key_text(&self, image: &[Value]) -> String {
        let Some(key) = &self.key else { return "the table has no key".into() };
        let shown = key.columns.iter().map(|&position| {
            let column = &self.schema.columns[position];
            let mut text = Vec::new();
            match literal::push_value(&mut text, value(image, position), column, Place::Assigned) {
                Ok(()) => format!("{} = {}", column.name, String::from_utf8_lossy(&text)),
                Err(_) => format!("{} is not in the image", column.name),
            }
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Ends an INSERT.
    pub fn end_insert(&self, sql: &mut Vec<u8>, form: InsertForm) {
        if form == InsertForm::Upsert {
            sql.extend_from_slice(&self.upsert_tail);
        }
    }

    /// Appends an UPDATE of one row. Returns how many warnings the server will give for it.
    ///
    /// Sets what changed, and every DATETIME and TIMESTAMP, which could have ON UPDATE CURRENT_TIMESTAMP.
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::error::ErrorKind::Value) when the key is not in the before image.
    pub fn push_update(&self, sql: &mut Vec<u8>, before: &[Value], after: &[Value]) -> Result<u64> {
        sql.extend_from_slice(b"UPDATE ");
        quote::push_table(sql, &self.schema.name);
        sql.extend_from_slice(b" SET ");
        let mut warnings = 0;
        let mut any = false;
        for &position in &self.stored {
            let column = &self.schema.columns[position];
            let is_clock = matches!(column.kind, ColumnKind::DateTime | ColumnKind::Timestamp);
            let (old, new) = (value(before, position), value(after, position));
            if matches!(new, Value::Absent) || (!is_clock && is_same(old, new)) {
                continue;
            }
            if any {
                sql.push(b',');
            }
            any = true;
            quote::push_identifier(sql, &column.name);
            sql.push(b'=');
            warnings += self.push_assigned(sql, position, after)?;
        }
        if !any {
            // Nothing changed that is stored; the row must be there all the same.
            let first = self.key.as_ref().map_or(self.stored[0], |key| key.columns[0]);
            let name = quote::identifier(&self.schema.columns[first].name);
            sql.extend_from_slice(format!("{name}={name}").as_bytes());
        }
        sql.extend_from_slice(b" WHERE ");
        match &self.key {
            Some(key) => self.push_key(sql, key, before)?,
            None => self.push_whole_row(sql, before)?,
        }
        Ok(warnings)
    }

    /// Begins a DELETE of one or more rows; of one row when the table has no key.
    ///
    /// Without the hint a DELETE of many rows of a small table reads the whole table, and waits for every row that another
    /// session has locked. Only the form with USING takes a hint.
    pub fn begin_delete(&self, sql: &mut Vec<u8>) {
        sql.extend_from_slice(b"DELETE FROM ");
        quote::push_table(sql, &self.schema.name);
        if let Some(key) = &self.key {
            sql.extend_from_slice(b" USING ");
            quote::push_table(sql, &self.schema.name);
            sql.extend_from_slice(b" FORCE INDEX (");
            quote::push_identifier(sql, &key.index);
            sql.push(b')');
        }
        sql.extend_from_slice(b" WHERE ");
        if let Some(only) = self.only_key_column() {
            quote::push_identifier(sql, &self.schema.columns[only].name);
            sql.extend_from_slice(b" IN (");
        }
    }

    /// Appends one row's key to a DELETE.
    ///
    /// # Errors
    /// [`ErrorKind::Value`](crate::error::ErrorKind::Value) when the key is not in the image.
    pub fn push_deleted(&self, sql: &mut Vec<u8>, before: &[Value], first: bool) -> Result<()> {
        let Some(key) = &self.key else {
            return self.push_whole_row(sql, before);
        };
        if let Some(only) = self.only_key_column() {
            if !first {
                sql.push(b',');
            }
            let column = &self.schema.columns[only];
            return literal::push_value(sql, value(before, only), column, Place::Compared);
        }
        sql.extend_from_slice(if first { b"(" } else { b" OR (" });
        self.push_key(sql, key, before)?;
        sql.push(b')');
        Ok(())
    }

    /// Ends a DELETE.
    pub fn end_delete(&self, sql: &mut Vec<u8>) {
        if self.only_key_column().is_some() {
            sql.push(b')');
        }
    }

    /// Returns whether an update changes the key, by bytes: a change that the collation does not see counts too.
    pub fn changes_key(&self, before: &[Value], after: &[Value]) -> bool {
        self.key
            .iter()
            .flat_map(|key| &key.columns)
            .any(|&position| !is_same(value(before, position), value(after, position)))
    }

    /// Returns the columns of the key, as positions; none without a key.
    pub fn key_columns(&self) -> &[usize] {
        self.key.as_ref().map_or(&[], |key| &key.columns)
    }

    /// Returns whether keys are compared by their whole values, and not by the first characters of one of them.
    pub fn is_key_whole(&self) -> bool {
        self.key.iter().all(|key| {
            let index = self.schema.indexes.iter().find(|index| index.name == key.index);
            index.is_some_and(|index| index.parts.iter().all(|part| part.prefix.is_none()))
        })
    }

    /// Returns whether an update changes any of these columns, by bytes.
    pub fn changes_any(&self, columns: &[usize], before: &[Value], after: &[Value]) -> bool {
        columns.iter().any(|&position| !is_same(value(before, position), value(after, position)))
    }

    /// Returns whether an update changes anything that is stored, by bytes.
    pub fn changes_row(&self, before: &[Value], after: &[Value]) -> bool {
        self.changes_any(&self.stored, before, after)
    }

    fn only_key_column(&self) -> Option<usize> {
        match self.key.as_ref()?.columns[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Appends what finds one of the rows that are equal to an image.
    fn push_whole_row(&self, sql: &mut Vec<u8>, image: &[Value]) -> Result<()> {
        for (index, &position) in self.stored.iter().enumerate() {
            if index > 0 {
                sql.extend_from_slice(b" AND ");
            }
            let column = &self.schema.columns[position];
            let leads_index = self
                .schema
                .indexes
                .iter()
                .any(|i| i.parts.first().is_some_and(|p| p.column == Some(position)));
            row_match::push_equal(sql, value(image, position), column, leads_index)?;
        }
        sql.extend_from_slice(b" LIMIT 1");
        Ok(())
    }

    fn push_key(&self, sql: &mut Vec<u8>, key: &RowKey, image: &[Value]) -> Result<()> {
        for (index, &position) in key.columns.iter().enumerate() {
            if index > 0 {
                sql.extend_from_slice(b" AND ");
            }
            let column = &self.schema.columns[position];
            quote::push_identifier(sql, &column.name);
            sql.push(b'=');
            literal::push_value(sql, value(image, position), column, Place::Compared)?;
        }
        Ok(())
    }

    fn push_assigned(&self, sql: &mut Vec<u8>, position: usize, image: &[Value]) -> Result<u64> {
        let column = &self.schema.columns[position];
        match value(image, position) {
            Value::JsonDiff(diffs) => {
                push_json_diffs(sql, quote::identifier(&column.name).as_bytes(), diffs);
                Ok(0)
            }
            other => {
                literal::push_value(sql, other, column, Place::Assigned)?;
                Ok(u64::from(matches!((&column.kind, other), (ColumnKind::Enum(_), Value::UInt(0)))))
            }
        }
    }
}

/// A column's value in an image; images shorter than the table (columns added behind) hold nothing for it.
fn value(image: &[Value], position: usize) -> &Value {
    image.get(position).unwrap_or(&Value::Absent)
}

/// Returns whether two values are stored alike: `-0` and `0` are equal numbers, but not the same.
pub(crate) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (Value::Double(one), Value::Double(other)) => one.to_bits() == other.to_bits(),
        _ => one == other,
    }
}

/// Appends a column or literal, or the part of it that an index sees.
fn push_part(sql: &mut Vec<u8>, operand: &(impl AsRef<[u8]> + ?Sized), prefix: Option<u32>) {
    match prefix {
        Some(prefix) => {
            sql.extend_from_slice(b"LEFT(");
            sql.extend_from_slice(operand.as_ref());
            sql.extend_from_slice(format!(",{prefix})").as_bytes());
        }
        None => sql.extend_from_slice(operand.as_ref()),
    }
}

/// Nests the changes of a document around the column or the document: the first change is innermost.
fn push_json_diffs(sql: &mut Vec<u8>, document: &[u8], diffs: &[JsonDiff]) {
    for diff in diffs.iter().rev() {
        sql.extend_from_slice(match diff.operation {
            JsonDiffOperation::Replace => b"JSON_REPLACE(".as_slice(),
            JsonDiffOperation::Insert if diff.path.ends_with(b"]") => b"JSON_ARRAY_INSERT(",
            JsonDiffOperation::Insert => b"JSON_SET(",
            JsonDiffOperation::Remove => b"JSON_REMOVE(",
        });
    }
    sql.extend_from_slice(document);
    for diff in diffs {
        sql.push(b',');
        quote::push_introduced_literal(sql, "utf8mb4", &diff.path);
        if diff.operation != JsonDiffOperation::Remove {
            sql.extend_from_slice(b",CAST(");
            super::json::push_expression(sql, &diff.value);
            sql.extend_from_slice(b" AS JSON)");
        }
        sql.push(b')');
    }
}
