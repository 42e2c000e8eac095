//! The row events: inserts, updates and deletes of one table.
use super::column_value::ColumnLayout;
use super::event::{EventType, RawEvent};
use super::reader::{Bytes, bit};
use super::table_map::TableMap;
use super::{damaged, in_column};
use crate::data::{RowImage, Value};
use crate::error::Result;

pub use super::column_value::ColumnHint;

/// One row's insert, update or delete. Columns that an image does not hold are [`Value::Absent`].
#[derive(Clone, PartialEq, Debug)]
pub enum RowChange {
    /// A row was inserted.
    Insert {
        /// The row as it became.
        after: RowImage,
    },
    /// A row was updated.
    Update {
        /// The row as it was.
        before: RowImage,
        /// The row as it became.
        after: RowImage,
    },
    /// A row was deleted.
    Delete {
        /// The row as it was.
        before: RowImage,
    },
}

/// What a row event does with its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowsKind {
    /// Inserts them.
    Insert,
    /// Updates them.
    Update,
    /// Updates them; JSON columns of the after image may be differences.
    PartialUpdate,
    /// Deletes them.
    Delete,
}

impl RowsKind {
    fn has_before(self) -> bool {
        !matches!(self, RowsKind::Insert)
    }

    fn has_after(self) -> bool {
        !matches!(self, RowsKind::Delete)
    }
}

/// Row changes of one table, not decoded yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowsEvent<'a> {
    /// What is done with the rows.
    pub kind: RowsKind,
    /// The number that the table map gave the table.
    pub table_id: u64,
    /// The flags.
    pub flags: u16,
    /// How many columns the table has.
    pub column_count: usize,
    /// Which columns the before images hold; empty for inserts.
    before: &'a [u8],
    /// Which columns the after images hold; empty for deletes.
    after: &'a [u8],
    rows: &'a [u8],
}

impl<'a> RowsEvent<'a> {
    /// Flag: the statement ends with this event, and its table numbers with it.
    pub const STATEMENT_END: u16 = 0x01;
    /// Flag: `foreign_key_checks` was off.
    pub const NO_FOREIGN_KEY_CHECKS: u16 = 0x02;
    /// Flag: `unique_checks` was off.
    pub const RELAXED_UNIQUE_CHECKS: u16 = 0x04;
    /// Flag: the images hold all columns.
    pub const COMPLETE_ROWS: u16 = 0x08;
    /// Flag: foreign keys are followed above the storage engine, and the log holds what they change (9.6 and later).
    pub const SQL_FOREIGN_KEYS: u16 = 0x10;

    /// Reads an event of any of the types for row changes; `binlog_row_image` may be any.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a part is cut off, or it is another event.
    pub fn parse(event: &RawEvent<'a>) -> Result<Self> {
        let mut bytes = Bytes::new(event.body, "row event");
        let (kind, is_v2) = match event.header.event_type {
            EventType::WriteRowsV1 => (RowsKind::Insert, false),
            EventType::UpdateRowsV1 => (RowsKind::Update, false),
            EventType::DeleteRowsV1 => (RowsKind::Delete, false),
            EventType::WriteRows => (RowsKind::Insert, true),
            EventType::UpdateRows => (RowsKind::Update, true),
            EventType::DeleteRows => (RowsKind::Delete, true),
            EventType::PartialUpdateRows => (RowsKind::PartialUpdate, true),
            _ => return Err(bytes.damaged("another event's type")),
        };
        let table_id = bytes.u48()?;
        let flags = bytes.u16()?;
        if is_v2 {
            // Partition numbers and NDB's own data: nothing that a row needs. The length counts itself.
            const OWN_LENGTH: u16 = 2;
            match bytes.u16()?.checked_sub(OWN_LENGTH) {
                Some(length) => bytes.take(usize::from(length))?,
                None => return Err(bytes.damaged("an impossible length of the extra data")),
            };
        }
        let column_count = bytes.lenenc_usize()?;
        let bitmap_length = column_count.div_ceil(8);
        let before = bytes.take(if kind.has_before() { bitmap_length } else { 0 })?;
        let after = bytes.take(if kind.has_after() { bitmap_length } else { 0 })?;
        Ok(RowsEvent { kind, table_id, flags, column_count, before, after, rows: bytes.rest() })
    }

    /// Returns whether the statement ends with this event.
    pub fn is_statement_end(&self) -> bool {
        self.flags & Self::STATEMENT_END != 0
    }

    /// Returns whether the before images hold a column.
    pub fn has_before(&self, column: usize) -> bool {
        column < self.column_count && bit(self.before, column)
    }

    /// Returns whether the after images hold a column.
    pub fn has_after(&self, column: usize) -> bool {
        column < self.column_count && bit(self.after, column)
    }

    /// Returns whether all images hold all columns (`binlog_row_image = FULL`).
    pub fn is_full(&self) -> bool {
        (0..self.column_count).all(|column| {
            (!self.kind.has_before() || bit(self.before, column))
                && (!self.kind.has_after() || bit(self.after, column))
        })
    }

    /// Returns how many bytes the rows have, undecoded.
    pub fn row_bytes(&self) -> usize {
        self.rows.len()
    }

    /// Begins to decode the rows, with a decoder made of this table's map.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the decoder is that of another table.
    pub fn rows<'d>(&self, decoder: &'d RowDecoder) -> Result<Rows<'a, 'd>> {
        if self.table_id != decoder.table_id || self.column_count != decoder.layouts.len() {
            return Err(damaged(format!(
                "rows of table number {} with {} columns; its table map has number {} with {} columns",
                self.table_id,
                self.column_count,
                decoder.table_id,
                decoder.layouts.len()
            )));
        }
        Ok(Rows {
            decoder,
            kind: self.kind,
            before: Present::new(self.before, self.column_count),
            after: Present::new(self.after, self.column_count),
            bytes: Bytes::new(self.rows, "rows of a row event"),
        })
    }

    /// Returns how many rows there are, stepping over them without decoding.
    ///
    /// # Errors
    ///
    /// As [`RowsEvent::rows`], and when a row is cut off.
    pub fn row_count(&self, decoder: &RowDecoder) -> Result<u64> {
        let mut rows = self.rows(decoder)?;
        let mut row_count = 0;
        while rows.skip_row()? {
            row_count += 1;
        }
        Ok(row_count)
    }
}

/// How the rows of one table are read: its map and its schema, put together once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowDecoder {
    table_id: u64,
    layouts: Vec<ColumnLayout>,
    json_count: usize,
}

impl RowDecoder {
    /// Makes the decoder of a table. Hints are in the order of the columns; missing ones are taken as all false.
    ///
    /// # Errors
    ///
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a column of a type that cannot be carried;
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) for one that is not possible.
    pub fn new(map: &TableMap, hints: &[ColumnHint]) -> Result<Self> {
        let hints = hints.iter().copied().chain(std::iter::repeat(ColumnHint::default()));
        let layout = |(index, (column, hint))| {
            ColumnLayout::new(column, hint).map_err(|error| in_column(error, index))
        };
        let layouts = map.columns.iter().zip(hints).enumerate().map(layout).collect::<Result<Vec<_>>>()?;
        let json_count = layouts.iter().filter(|layout| layout.is_json()).count();
        Ok(RowDecoder { table_id: map.table_id, layouts, json_count })
    }
}

/// Which columns an image holds.
#[derive(Clone, Copy)]
struct Present<'a> {
    bitmap: &'a [u8],
    count: usize,
    is_full: bool,
}

impl<'a> Present<'a> {
    fn new(bitmap: &'a [u8], column_count: usize) -> Self {
        let count = count(bitmap, column_count);
        Present { bitmap, count, is_full: count == column_count }
    }

    #[inline]
    fn has(&self, column: usize) -> bool {
        self.is_full || bit(self.bitmap, column)
    }
}

fn count(bitmap: &[u8], column_count: usize) -> usize {
    (0..column_count).filter(|column| bit(bitmap, *column)).count()
}

/// The rows of an event, decoded one at a time; ends at the first error.
pub struct Rows<'a, 'd> {
    decoder: &'d RowDecoder,
    kind: RowsKind,
    before: Present<'a>,
    after: Present<'a>,
    bytes: Bytes<'a>,
}

impl<'a> Rows<'a, '_> {
    /// Decodes the next row into images that are used again, and returns whether there was one.
    ///
    /// The image that the event's kind does not have is left empty.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the row is cut off or a value is impossible. The
    /// images then hold what was read before it, and no more rows come.
    pub fn read_into(&mut self, before: &mut RowImage, after: &mut RowImage) -> Result<bool> {
        before.clear();
        after.clear();
        if self.bytes.is_empty() {
            return Ok(false);
        }
        let read = self.read_images(before, after);
        self.end_row(read)
    }

    /// Steps over the next row, and returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the row is cut off; no more rows come then.
    pub fn skip_row(&mut self) -> Result<bool> {
        if self.bytes.is_empty() {
            return Ok(false);
        }
        let skipped = self.skip_images();
        self.end_row(skipped)
    }

    fn end_row(&mut self, outcome: Result<()>) -> Result<bool> {
        if outcome.is_err() {
            self.bytes.rest();
        }
        outcome.map(|()| true)
    }

    fn read_images(&mut self, before: &mut RowImage, after: &mut RowImage) -> Result<()> {
        let left = self.bytes.left();
        if self.kind.has_before() {
            read_image(&mut self.bytes, self.decoder, self.before, &[], before)?;
        }
        if self.kind.has_after() {
            let partial = self.partial_bits()?;
            read_image(&mut self.bytes, self.decoder, self.after, partial, after)?;
        }
        self.check_progress(left)
    }

    fn skip_images(&mut self) -> Result<()> {
        let left = self.bytes.left();
        if self.kind.has_before() {
            skip_image(&mut self.bytes, self.decoder, self.before)?;
        }
        if self.kind.has_after() {
            self.partial_bits()?;
            skip_image(&mut self.bytes, self.decoder, self.after)?;
        }
        self.check_progress(left)
    }

    /// A row of no bytes would come again for ever. No server logs one: MySQL fails such an insert (error 1534).
    fn check_progress(&self, left_before: usize) -> Result<()> {
        if self.bytes.left() == left_before {
            return Err(self.bytes.damaged("bytes that belong to no column"));
        }
        Ok(())
    }

    /// Reads which JSON columns of an after image are differences: one bit per JSON column of the table.
    fn partial_bits(&mut self) -> Result<&'a [u8]> {
        const PARTIAL_JSON: u64 = 1;
        if self.kind == RowsKind::PartialUpdate && self.bytes.lenenc()? & PARTIAL_JSON != 0 {
            self.bytes.take(self.decoder.json_count.div_ceil(8))
        } else {
            Ok(&[])
        }
    }
}

/// Decodes an image: a bit per column that it holds, set for NULL, then the values of the others.
fn read_image(
    bytes: &mut Bytes<'_>,
    decoder: &RowDecoder,
    present: Present<'_>,
    partial: &[u8],
    image: &mut RowImage,
) -> Result<()> {
    let nulls = bytes.take(present.count.div_ceil(8))?;
    image.reserve_exact(decoder.layouts.len());
    let mut place = 0;
    let mut json_place = 0;
    for (column, layout) in decoder.layouts.iter().enumerate() {
        let mut is_partial = false;
        if layout.is_json() && !partial.is_empty() {
            is_partial = bit(partial, json_place);
            json_place += 1;
        }
        if !present.has(column) {
            image.push(Value::Absent);
            continue;
        }
        let is_null = bit(nulls, place);
        place += 1;
        match (is_null, is_partial) {
            (true, _) => image.push(Value::Null),
            (false, false) => layout.read(bytes, image).map_err(|error| in_column(error, column))?,
            (false, true) => {
                image.push(layout.read_json_diffs(bytes).map_err(|error| in_column(error, column))?);
            }
        }
    }
    Ok(())
}

fn skip_image(bytes: &mut Bytes<'_>, decoder: &RowDecoder, present: Present<'_>) -> Result<()> {
    let nulls = bytes.take(present.count.div_ceil(8))?;
    let mut place = 0;
    for (column, layout) in decoder.layouts.iter().enumerate() {
        if present.has(column) {
            if !bit(nulls, place) {
                layout.skip(bytes)?;
            }
            place += 1;
        }
    }
    Ok(())
}

impl Iterator for Rows<'_, '_> {
    type Item = Result<RowChange>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut before, mut after) = (RowImage::new(), RowImage::new());
        match self.read_into(&mut before, &mut after) {
            Ok(true) => Some(Ok(match self.kind {
                RowsKind::Insert => RowChange::Insert { after },
                RowsKind::Update | RowsKind::PartialUpdate => RowChange::Update { before, after },
                RowsKind::Delete => RowChange::Delete { before },
            })),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests;
