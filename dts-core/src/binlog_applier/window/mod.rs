//! A stretch of the log, reduced to what each row was at its beginning and is at its end.
//!
//! A [`Window`] takes changes; [`Sealed`] says who writes what; [`write`](self::write) makes statements of it. Windows of the
//! epoch engine hold their changes; those of a target commit of the other engine only refer to them.
mod sealed;
mod write;

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::data::{RowImage, TableName, Value};
use crate::error::{Error, ErrorKind, Result};

use super::change::{Change, Span};
use super::tables::TargetTable;

pub(super) use sealed::Sealed;
pub(super) use write::{
    has_second_phase, second_phase, second_phase_by_rules, write_first_phase, write_in_order, write_reduced,
};

/// A change that a window takes: as it is, or a reference to it.
pub(super) trait Held: Borrow<Change> {
    /// A row's image; empty: there is none.
    type Image: AsRef<[Value]> + Default;

    /// Returns the images before and after.
    fn into_images(self) -> (Self::Image, Self::Image);
}

impl Held for Change {
    type Image = RowImage;

    fn into_images(self) -> (RowImage, RowImage) {
        (self.before, self.after)
    }
}

impl<'c> Held for &'c Change {
    type Image = &'c [Value];

    fn into_images(self) -> (&'c [Value], &'c [Value]) {
        (&self.before, &self.after)
    }
}

/// A stretch of the log that grows. Whole transactions; or, of one that is too large, some of its parts.
pub(super) struct Window<C: Held> {
    tables: Vec<TableWindow<C::Image>>,
    by_name: HashMap<TableName, usize>,
    /// The table of the last change: the next one is often of the same.
    latest: usize,
    /// Changes that count once each (tables without a key), or whose images do not hold all columns: in order.
    in_order: Vec<(C, Arc<Span>)>,
    /// About how many bytes of memory it holds.
    pub(super) bytes: usize,
}

/// The rows of one table that a window touches.
struct TableWindow<I> {
    table: Arc<TargetTable>,
    /// By the bytes of the key.
    rows: HashMap<Box<[u8]>, NetChange<I>>,
}

/// What a window does to one row.
pub(super) struct NetChange<I> {
    /// There was such a row before the window.
    was_there: bool,
    /// The row before the window; when there was none, the row as the window deleted it, if it did.
    before: I,
    /// The row after the window; empty: there is none.
    after: I,
    /// The last transaction that touched it.
    span: Arc<Span>,
}

impl<I: AsRef<[Value]>> NetChange<I> {
    /// Returns whether there is such a row after the window.
    fn is_there(&self) -> bool {
        !self.after.as_ref().is_empty()
    }
}

impl<C: Held> Default for Window<C> {
    fn default() -> Self {
        Window { tables: Vec::new(), by_name: HashMap::new(), latest: 0, in_order: Vec::new(), bytes: 0 }
    }
}

impl<C: Held> Window<C> {
    /// Returns whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.in_order.is_empty()
    }

    /// Returns how many rows are left of the row events.
    pub(super) fn row_count(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum::<usize>() + self.in_order.len()
    }

    /// Takes the next change of the log. `in_order`: further tables whose changes are kept in order; one whose images do not hold
    /// all columns is added. `strict`: a change that does not fit the one before it of the same row is an error.
    ///
    /// # Errors
    /// [`ErrorKind::Divergence`].
    pub(super) fn take_change(
        &mut self,
        held: C,
        span: &Arc<Span>,
        in_order: &mut HashSet<TableName>,
        strict: bool,
    ) -> Result<()> {
        let change: &Change = held.borrow();
        let table = &change.table;
        if !table.in_order && is_partial(change) {
            in_order.insert(table.source.clone());
        }
        if table.in_order || in_order.contains(&table.source) {
            self.bytes += change.byte_count();
            self.in_order.push((held, span.clone()));
            return Ok(());
        }
        let index = match self.tables.get(self.latest) {
            Some(latest) if Arc::ptr_eq(&latest.table, table) => self.latest,
            _ => self.table(&table.clone()),
        };
        self.latest = index;
        let window = &mut self.tables[index];
        let (gained, lost) = window
            .take(held, span, strict)
            .map_err(|error| error.for_table(&window.table.source).at(span))?;
        self.bytes = (self.bytes + gained).saturating_sub(lost);
        Ok(())
    }

    fn table(&mut self, table: &Arc<TargetTable>) -> usize {
        if let Some(index) = self.by_name.get(&table.source) {
            return *index;
        }
        let index = self.tables.len();
        self.by_name.insert(table.source.clone(), index);
        self.tables.push(TableWindow { table: table.clone(), rows: HashMap::new() });
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

impl<I: AsRef<[Value]> + Default> TableWindow<I> {
    /// Returns how many bytes came and how many went.
    fn take<C: Held<Image = I>>(
        &mut self,
        held: C,
        span: &Arc<Span>,
        strict: bool,
    ) -> Result<(usize, usize)> {
        let writer = &self.table.writer;
        let (before, after) = held.into_images();
        let (old, new) = (before.as_ref(), after.as_ref());
        let mut key = Vec::with_capacity(32);
        if old.is_empty() || new.is_empty() || writer.changes_key(old, new) {
            let mut new_key = Vec::new();
            let comes = !new.is_empty();
            if comes {
                push_key(&mut new_key, writer.key_columns(), new)?;
            }
            let mut bytes = (0, 0);
            if !old.is_empty() {
                push_key(&mut key, writer.key_columns(), old)?;
                let freed = self.set(&key, (before, I::default()), span, strict)?;
                bytes = (bytes.0 + freed.0, bytes.1 + freed.1);
            }
            if comes {
                let gained = self.set(&new_key, (I::default(), after), span, strict)?;
                bytes = (bytes.0 + gained.0, bytes.1 + gained.1);
            }
            return Ok(bytes);
        }
        push_key(&mut key, writer.key_columns(), old)?;
        self.set(&key, (before, after), span, strict)
    }

    fn set(
        &mut self,
        key: &[u8],
        (before, after): (I, I),
        span: &Arc<Span>,
        strict: bool,
    ) -> Result<(usize, usize)> {
        if let Some(row) = self.rows.get_mut(key) {
            if strict && row.is_there() == before.as_ref().is_empty() {
                let what = if before.as_ref().is_empty() {
                    "an insert of a row that an earlier change has made"
                } else {
                    "a change of a row that an earlier change has deleted"
                };
                return Err(ErrorKind::Divergence { what: what.into() }.into());
            }
            let mut lost = byte_count(&row.after);
            row.after = after;
            if !row.is_there() && !row.was_there {
                // It must not be there, or, where the target may be ahead of the log, be deleted all the same.
                lost += byte_count(&row.before);
                row.before = before;
                return Ok((byte_count(&row.before), lost));
            }
            if !Arc::ptr_eq(&row.span, span) {
                row.span = span.clone();
            }
            return Ok((byte_count(&row.after), lost));
        }
        let row = NetChange { was_there: !before.as_ref().is_empty(), before, after, span: span.clone() };
        let gained =
            byte_count(&row.before) + byte_count(&row.after) + size_of::<NetChange<I>>() + key.len() + 32;
        self.rows.insert(key.into(), row);
        Ok((gained, 0))
    }
}

fn byte_count(image: &impl AsRef<[Value]>) -> usize {
    let image = image.as_ref();
    size_of_val(image) + image.iter().map(Value::heap_bytes).sum::<usize>()
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
