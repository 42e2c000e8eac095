//! One column's bytes in a row image to a [`Value`].
use super::decimal::DecimalShape;
use super::reader::Bytes;
use super::table_map::{WireColumn, column_type as ty};
use super::temporal::{self, Fsp};
use super::text::StackText;
use super::{damaged, json, refused};
use crate::data::{AsciiText, RowImage, Value};
use crate::error::Result;

/// What a column's definition says and its table map may leave out.
///
/// Taken from the table's schema. Where the table map has its own word (8.0 and later), that one counts.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ColumnHint {
    /// The column is UNSIGNED.
    pub unsigned: bool,
    /// The column is BINARY(n): the zero bytes that the log leaves out at its end are put back. Not for CHAR with a
    /// `_bin` collation, whose padding is spaces.
    pub binary: bool,
}

impl ColumnHint {
    /// Makes a hint.
    pub fn new(unsigned: bool, binary: bool) -> Self {
        ColumnHint { unsigned, binary }
    }
}

/// The number of the collation `binary`.
const COLLATION_BINARY: u16 = 63;

/// How the bytes of one column are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ColumnLayout {
    Null,
    /// A signed integer of so many bytes.
    Int(u8),
    /// An unsigned integer of so many bytes, ENUM, SET.
    UInt(u8),
    Float,
    Double,
    Decimal(DecimalShape),
    /// So many bytes, the highest bits first.
    Bit(u8),
    Year,
    Date,
    Time(Fsp),
    TimeV1,
    Datetime(Fsp),
    DatetimeV1,
    Timestamp(Fsp),
    TimestampV1,
    /// A length of `prefix` bytes, then bytes. `pad_to` is the length of BINARY, 0 for others.
    Bytes {
        prefix: u8,
        length_max: u32,
        pad_to: u16,
    },
    Json {
        prefix: u8,
    },
}

impl ColumnLayout {
    /// Chooses the layout of a column.
    pub(super) fn new(column: &WireColumn, hint: ColumnHint) -> Result<Self> {
        let [low, high] = column.meta.to_le_bytes();
        let unsigned = column.unsigned.unwrap_or(hint.unsigned);
        let integer = |length| if unsigned { ColumnLayout::UInt(length) } else { ColumnLayout::Int(length) };
        Ok(match column.type_code {
            ty::TINY => integer(1),
            ty::SHORT => integer(2),
            ty::INT24 => integer(3),
            ty::LONG => integer(4),
            ty::LONGLONG => integer(8),
            ty::FLOAT => ColumnLayout::Float,
            ty::DOUBLE => ColumnLayout::Double,
            ty::NEWDECIMAL => ColumnLayout::Decimal(DecimalShape::new(high, low)?),
            ty::BIT => {
                let bits = u16::from(high) * 8 + u16::from(low);
                match u8::try_from(bits.div_ceil(8)) {
                    Ok(length @ 1..=8) if low < 8 => ColumnLayout::Bit(length),
                    _ => return Err(damaged(format!("BIT({bits}) is not possible"))),
                }
            }
            ty::YEAR => ColumnLayout::Year,
            ty::DATE | ty::NEWDATE => ColumnLayout::Date,
            ty::TIME => ColumnLayout::TimeV1,
            ty::TIME2 => ColumnLayout::Time(Fsp::new(column.meta)?),
            ty::DATETIME => ColumnLayout::DatetimeV1,
            ty::DATETIME2 => ColumnLayout::Datetime(Fsp::new(column.meta)?),
            ty::TIMESTAMP => ColumnLayout::TimestampV1,
            ty::TIMESTAMP2 => ColumnLayout::Timestamp(Fsp::new(column.meta)?),
            ty::VARCHAR | ty::VAR_STRING => ColumnLayout::Bytes {
                prefix: prefix_for(column.meta),
                length_max: column.meta.into(),
                pad_to: 0,
            },
            ty::STRING => {
                let is_binary =
                    column.collation.map_or(hint.binary, |collation| collation == COLLATION_BINARY);
                ColumnLayout::Bytes {
                    prefix: prefix_for(column.meta),
                    length_max: column.meta.into(),
                    pad_to: if is_binary { column.meta } else { 0 },
                }
            }
            ty::ENUM if matches!(column.meta, 1 | 2) => ColumnLayout::UInt(low),
            ty::SET if matches!(column.meta, 1..=8) => ColumnLayout::UInt(low),
            ty::TINY_BLOB | ty::MEDIUM_BLOB | ty::LONG_BLOB | ty::BLOB | ty::GEOMETRY | ty::VECTOR
                if matches!(column.meta, 1..=4) =>
            {
                ColumnLayout::Bytes { prefix: low, length_max: u32::MAX, pad_to: 0 }
            }
            ty::JSON if matches!(column.meta, 1..=4) => ColumnLayout::Json { prefix: low },
            ty::NULL => ColumnLayout::Null,
            ty::ENUM
            | ty::SET
            | ty::TINY_BLOB
            | ty::MEDIUM_BLOB
            | ty::LONG_BLOB
            | ty::BLOB
            | ty::GEOMETRY
            | ty::VECTOR
            | ty::JSON => {
                let (type_code, meta) = (column.type_code, column.meta);
                return Err(damaged(format!("a column of type {type_code} with lengths of {meta} bytes")));
            }
            ty::MARIADB_BLOB_COMPRESSED | ty::MARIADB_VARCHAR_COMPRESSED => {
                return Err(refused("a COMPRESSED column of MariaDB"));
            }
            ty::TYPED_ARRAY => return Err(refused("a multi-valued index column")),
            ty::DECIMAL => return Err(refused("a DECIMAL column of MySQL 4")),
            other => return Err(refused(format!("a column of type {other}, which is not known"))),
        })
    }

    /// Returns whether the column is JSON, which has its own bit in partial updates.
    pub(super) fn is_json(self) -> bool {
        matches!(self, ColumnLayout::Json { .. })
    }

    /// Reads a value that is not NULL, onto the end of an image.
    ///
    /// Every arm pushes for itself: a `Value` returned through one place is written in pieces and copied as a whole,
    /// which costs a third of the time.
    #[inline]
    pub(super) fn read(self, bytes: &mut Bytes<'_>, image: &mut RowImage) -> Result<()> {
        match self {
            ColumnLayout::Null => image.push(Value::Null),
            ColumnLayout::Int(length) => image.push(Value::Int(signed(bytes, length)?)),
            ColumnLayout::UInt(length) => image.push(Value::UInt(unsigned(bytes, length)?)),
            ColumnLayout::Float => image.push(Value::Float(f32::from_le_bytes(bytes.array()?))),
            ColumnLayout::Double => image.push(Value::Double(f64::from_le_bytes(bytes.array()?))),
            ColumnLayout::Decimal(shape) => image.push(ascii(&shape.read(bytes)?)),
            ColumnLayout::Bit(length) => image.push(Value::UInt(bytes.uint_be(length)?)),
            ColumnLayout::Year => image.push(Value::UInt(match bytes.u8()? {
                0 => 0,
                since_1900 => 1900 + u64::from(since_1900),
            })),
            ColumnLayout::Date => image.push(ascii(&temporal::date(bytes)?)),
            ColumnLayout::Time(fsp) => image.push(ascii(&temporal::time2(bytes, fsp)?)),
            ColumnLayout::TimeV1 => image.push(ascii(&temporal::time_v1(bytes)?)),
            ColumnLayout::Datetime(fsp) => image.push(ascii(&temporal::datetime2(bytes, fsp)?)),
            ColumnLayout::DatetimeV1 => image.push(ascii(&temporal::datetime_v1(bytes)?)),
            ColumnLayout::Timestamp(fsp) => image.push(ascii(&temporal::timestamp2(bytes, fsp)?)),
            ColumnLayout::TimestampV1 => image.push(ascii(&temporal::timestamp_v1(bytes)?)),
            ColumnLayout::Bytes { prefix, length_max, pad_to } => {
                let length = bytes.uint_le(prefix)?;
                if length > u64::from(length_max) {
                    return Err(bytes.damaged("a text is longer than its column"));
                }
                let stored = bytes.take_u64(length)?;
                let mut value = Vec::with_capacity(stored.len().max(usize::from(pad_to)));
                value.extend_from_slice(stored);
                if value.len() < usize::from(pad_to) {
                    value.resize(usize::from(pad_to), 0);
                }
                image.push(Value::Bytes(value));
            }
            ColumnLayout::Json { prefix } => {
                let length = bytes.uint_le(prefix)?;
                image.push(Value::Json(json::json_text(bytes.take_u64(length)?)?));
            }
        }
        Ok(())
    }

    /// Reads the differences that a partial update holds in place of a JSON document.
    pub(super) fn read_json_diffs(self, bytes: &mut Bytes<'_>) -> Result<Value> {
        let ColumnLayout::Json { prefix } = self else {
            return Err(bytes.damaged("a partial value of a column that is not JSON"));
        };
        let length = bytes.uint_le(prefix)?;
        Ok(Value::JsonDiff(json::json_diffs(bytes.take_u64(length)?)?))
    }

    /// Steps over a value that is not NULL.
    pub(super) fn skip(self, bytes: &mut Bytes<'_>) -> Result<()> {
        let length = match self {
            ColumnLayout::Null => 0,
            ColumnLayout::Int(length) | ColumnLayout::UInt(length) | ColumnLayout::Bit(length) => length,
            ColumnLayout::Float | ColumnLayout::TimestampV1 => 4,
            ColumnLayout::Double | ColumnLayout::DatetimeV1 => 8,
            ColumnLayout::Decimal(shape) => shape.bytes(),
            ColumnLayout::Year => 1,
            ColumnLayout::Date | ColumnLayout::TimeV1 => 3,
            ColumnLayout::Time(fsp) => 3 + fsp.bytes(),
            ColumnLayout::Datetime(fsp) => 5 + fsp.bytes(),
            ColumnLayout::Timestamp(fsp) => 4 + fsp.bytes(),
            ColumnLayout::Bytes { prefix, .. } | ColumnLayout::Json { prefix } => {
                let length = bytes.uint_le(prefix)?;
                bytes.take_u64(length)?;
                return Ok(());
            }
        };
        bytes.take(usize::from(length))?;
        Ok(())
    }
}

/// Returns how many bytes the length of a CHAR or VARCHAR has.
fn prefix_for(length_max: u16) -> u8 {
    if length_max > 255 { 2 } else { 1 }
}

#[inline]
fn ascii(text: &StackText) -> Value {
    Value::Ascii(AsciiText::new(text.as_bytes()))
}

#[inline]
fn signed(bytes: &mut Bytes<'_>, length: u8) -> Result<i64> {
    Ok(match length {
        1 => i64::from(i8::from_le_bytes(bytes.array()?)),
        2 => i64::from(i16::from_le_bytes(bytes.array()?)),
        3 => {
            let [a, b, c] = bytes.array()?;
            i64::from(i32::from_le_bytes([0, a, b, c]) >> 8)
        }
        4 => i64::from(i32::from_le_bytes(bytes.array()?)),
        _ => i64::from_le_bytes(bytes.array()?),
    })
}

#[inline]
fn unsigned(bytes: &mut Bytes<'_>, length: u8) -> Result<u64> {
    match length {
        1 => bytes.u8().map(u64::from),
        2 => bytes.u16().map(u64::from),
        4 => bytes.u32().map(u64::from),
        8 => bytes.u64(),
        _ => bytes.uint_le(length),
    }
}

#[cfg(test)]
mod tests;
