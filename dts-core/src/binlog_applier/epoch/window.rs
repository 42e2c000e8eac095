//! A stretch of the log, reduced to what each row was at its beginning and is at its end.
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::data::{ColumnKind, RowImage, TableName, TableSchema, Value};
use crate::error::{Error, ErrorKind, Result};

use super::super::change::{Change, Span, TransactionPart};
use super::super::tables::TargetTable;
use super::super::worker::Committed;

/// A stretch of the log. Whole transactions; or, of one that is too large, some of its parts.
#[derive(Default)]
pub(super) struct Window {
    pub(super) tables: Vec<TableWindow>,
    by_name: HashMap<TableName, usize>,
    /// Changes that count once each (tables without a key), or whose images do not hold all columns: in order.
    pub(super) in_order: Vec<(Change, Arc<Span>)>,
    /// The transactions that end in it.
    pub(super) committed: Committed,
    /// About how many bytes of memory it holds.
    pub(super) bytes: usize,
}

/// The rows of one table that a window touches.
pub(super) struct TableWindow {
    pub(super) table: Arc<TargetTable>,
    /// Keys that the server takes for equal have equal bytes: rows may go to different workers.
    is_exact: bool,
    /// By the bytes of the key.
    pub(super) rows: HashMap<Box<[u8]>, NetChange>,
}

/// What a window does to one row.
pub(super) struct NetChange {
    /// There was such a row before the window.
    pub(super) was_there: bool,
    /// The row before the window; when there was none, the row as the window deleted it, if it did.
    pub(super) before: RowImage,
    /// The row after the window; empty: there is none.
    pub(super) after: RowImage,
    /// The last transaction that touched it.
    pub(super) span: Arc<Span>,
    /// Decides which worker writes it.
    pub(super) hash: u64,
}

impl Window {
    /// Returns whether there is nothing to do and nothing to record.
    pub(super) fn is_empty(&self) -> bool {
        self.committed.transactions == 0 && self.tables.is_empty() && self.in_order.is_empty()
    }

    /// Returns how many rows are left of the row events.
    pub(super) fn row_count(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum::<usize>() + self.in_order.len()
    }

    /// Takes a part of a transaction. `in_order`: further tables whose changes are kept in order; one whose images do not hold
    /// all columns is added. `strict`: a change that does
    /// not fit the one before it of the same row is an error.
    ///
    /// # Errors
    /// [`ErrorKind::Divergence`].
    pub(super) fn take(
        &mut self,
        part: TransactionPart,
        in_order: &mut HashSet<TableName>,
        strict: bool,
    ) -> Result<()> {
        if part.last {
            self.committed.end_transaction(&part);
        }
        let mut place: Option<(Arc<TargetTable>, usize)> = None;
        for change in part.changes {
            self.committed.row_events += 1;
            if !change.table.in_order && is_partial(&change) {
                in_order.insert(change.table.source.clone());
            }
            if change.table.in_order || in_order.contains(&change.table.source) {
                self.bytes += change.byte_count();
                self.in_order.push((change, part.span.clone()));
                continue;
            }
            let index = match &place {
                Some((table, index)) if Arc::ptr_eq(table, &change.table) => *index,
                _ => {
                    let index = self.table(&change.table);
                    place = Some((change.table.clone(), index));
                    index
                }
            };
            let window = &mut self.tables[index];
            let (gained, lost) = window
                .take(change, &part.span, strict)
                .map_err(|error| error.for_table(&window.table.source).at(&part.span))?;
            self.bytes = (self.bytes + gained).saturating_sub(lost);
        }
        Ok(())
    }

    fn table(&mut self, table: &Arc<TargetTable>) -> usize {
        if let Some(index) = self.by_name.get(&table.source) {
            return *index;
        }
        let index = self.tables.len();
        self.by_name.insert(table.source.clone(), index);
        let writer = &table.writer;
        let is_exact = writer.is_key_whole() && is_exact(writer.schema(), writer.key_columns());
        self.tables.push(TableWindow { table: table.clone(), is_exact, rows: HashMap::new() });
        index
    }
}

/// Returns whether a change's images do not hold all columns: it cannot be reduced with others of its row.
fn is_partial(change: &Change) -> bool {
    !is_whole(change, &change.before) || !is_whole(change, &change.after)
}

/// Returns whether an image is empty or holds all columns.
fn is_whole(change: &Change, image: &RowImage) -> bool {
    image.is_empty()
        || image.len() >= change.table.writer.schema().columns.len()
            && !image.iter().any(|value| matches!(value, Value::Absent | Value::JsonDiff(_)))
}

impl TableWindow {
    /// Returns how many bytes came and how many went.
    fn take(&mut self, change: Change, span: &Arc<Span>, strict: bool) -> Result<(usize, usize)> {
        let Change { table, before, after, .. } = change;
        let columns = table.writer.key_columns();
        let mut key = Vec::with_capacity(32);
        if before.is_empty() || after.is_empty() || table.writer.changes_key(&before, &after) {
            let mut bytes = (0, 0);
            if !before.is_empty() {
                push_key(&mut key, columns, &before)?;
                let freed = self.set(&key, (before, RowImage::new()), span, strict)?;
                bytes = (bytes.0 + freed.0, bytes.1 + freed.1);
                key.clear();
            }
            if !after.is_empty() {
                push_key(&mut key, columns, &after)?;
                let gained = self.set(&key, (RowImage::new(), after), span, strict)?;
                bytes = (bytes.0 + gained.0, bytes.1 + gained.1);
            }
            return Ok(bytes);
        }
        push_key(&mut key, columns, &before)?;
        self.set(&key, (before, after), span, strict)
    }

    fn set(
        &mut self,
        key: &[u8],
        (before, after): (RowImage, RowImage),
        span: &Arc<Span>,
        strict: bool,
    ) -> Result<(usize, usize)> {
        if let Some(row) = self.rows.get_mut(key) {
            if strict && row.after.is_empty() != before.is_empty() {
                let what = if before.is_empty() {
                    "an insert of a row that an earlier change has made"
                } else {
                    "a change of a row that an earlier change has deleted"
                };
                return Err(ErrorKind::Divergence { what: what.into() }.into());
            }
            let mut lost = byte_count(&row.after);
            row.after = after;
            if row.after.is_empty() && !row.was_there {
                // Where the target may be ahead of the log, it must be deleted all the same.
                lost += byte_count(&row.before);
                row.before = before;
                return Ok((byte_count(&row.before), lost));
            }
            if !Arc::ptr_eq(&row.span, span) {
                row.span = span.clone();
            }
            return Ok((byte_count(&row.after), lost));
        }
        let hash = self.hash(key);
        let row = NetChange { was_there: !before.is_empty(), before, after, span: span.clone(), hash };
        let gained =
            byte_count(&row.before) + byte_count(&row.after) + size_of::<NetChange>() + key.len() + 32;
        self.rows.insert(key.into(), row);
        Ok((gained, 0))
    }

    /// Rows whose keys the server may take for equal must have the same hash.
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.table.source.hash(&mut hasher);
        if self.is_exact {
            key.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Returns the rows of a worker, in the order of their keys.
    pub(super) fn share(&self, (worker, workers): (u64, u64)) -> Vec<&NetChange> {
        let mut rows: Vec<(&[u8], &NetChange)> = self
            .rows
            .iter()
            .filter(|(_, row)| row.hash % workers == worker)
            .map(|(key, row)| (key.as_ref(), row))
            .collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

fn byte_count(image: &RowImage) -> usize {
    image.capacity() * size_of::<Value>() + image.iter().map(Value::heap_bytes).sum::<usize>()
}

/// Returns whether keys that the server takes for equal have equal bytes. Text has its collation, -0 equals 0.
fn is_exact(schema: &TableSchema, columns: &[usize]) -> bool {
    columns.iter().all(|&column| match schema.columns[column].kind {
        ColumnKind::Integer(_)
        | ColumnKind::Bit
        | ColumnKind::Year
        | ColumnKind::Date
        | ColumnKind::Time
        | ColumnKind::DateTime
        | ColumnKind::Timestamp
        | ColumnKind::Binary(_)
        | ColumnKind::Blob => true,
        ColumnKind::Decimal
        | ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Text
        | ColumnKind::Enum(_)
        | ColumnKind::Set(_)
        | ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Other(_) => false,
    })
}

/// Appends the key of a row such that different keys have different bytes, and most kinds sort as the server sorts them.
fn push_key(key: &mut Vec<u8>, columns: &[usize], image: &[Value]) -> Result<()> {
    let push_text = |key: &mut Vec<u8>, bytes: &[u8]| {
        // The length stands behind, so that the whole can be taken apart from its end, and the text sorts.
        key.extend_from_slice(bytes);
        key.extend_from_slice(&bytes.len().to_be_bytes());
    };
    for &column in columns {
        match image.get(column) {
            Some(Value::Int(number)) => key.extend_from_slice(&(number ^ i64::MIN).to_be_bytes()),
            Some(Value::UInt(number)) => key.extend_from_slice(&number.to_be_bytes()),
            Some(Value::Float(number)) => key.extend_from_slice(&number.to_be_bytes()),
            Some(Value::Double(number)) => key.extend_from_slice(&number.to_be_bytes()),
            Some(Value::Ascii(text)) => push_text(key, text.as_bytes()),
            Some(Value::Bytes(bytes) | Value::Json(bytes)) => push_text(key, bytes),
            Some(Value::Null | Value::Absent | Value::JsonDiff(_)) | None => {
                return Err(Error::internal("a row image without its key was to be reduced"));
            }
        }
    }
    Ok(())
}
