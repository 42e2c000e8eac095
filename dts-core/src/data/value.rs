//! One MySQL value as a binlog row image carries it, without loss.
use std::fmt;

/// One column's value in a row image.
///
/// Lossless: what MySQL stored can be written to another server from this and its column's definition alone.
/// `Debug` shows only the kind and the length, never the content: row content does not belong into logs.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// The image does not hold this column (`binlog_row_image` MINIMAL or NOBLOB). Not the same as NULL.
    Absent,
    /// SQL NULL.
    Null,
    /// TINYINT, SMALLINT, MEDIUMINT, INT, BIGINT without UNSIGNED.
    Int(i64),
    /// The integer types with UNSIGNED, YEAR (0 is the year `0000`), BIT (the bits as a number), ENUM (the ordinal; 0 is
    /// the error value `''`), SET (the bitmap).
    UInt(u64),
    /// FLOAT, to the bit.
    Float(f32),
    /// DOUBLE, to the bit.
    Double(f64),
    /// DECIMAL, DATE, TIME, DATETIME, TIMESTAMP: the ASCII text that the server prints for the value, with as many
    /// fraction digits as the column has. TIMESTAMP is UTC. Zero and partial dates are kept.
    Ascii(AsciiText),
    /// CHAR, VARCHAR, TEXT (bytes in the column's own character set), BINARY (padded with zero bytes to its length),
    /// VARBINARY, BLOB, GEOMETRY (4 bytes SRID, then WKB), VECTOR.
    Bytes(Vec<u8>),
    /// JSON, as the text that the server prints, in utf8mb4.
    Json(Vec<u8>),
    /// The changes of a JSON column in a partial update: apply them in order to the stored document.
    JsonDiff(Vec<JsonDiff>),
}

/// One change inside a JSON document (`binlog_row_value_options = PARTIAL_JSON`).
#[derive(Clone, PartialEq)]
pub struct JsonDiff {
    /// What is done at `path`.
    pub operation: JsonDiffOperation,
    /// A JSON path such as `$.a[2]`.
    pub path: Vec<u8>,
    /// The new value as JSON text; empty for [`JsonDiffOperation::Remove`].
    pub value: Vec<u8>,
}

/// What a [`JsonDiff`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonDiffOperation {
    /// The value at an existing path is replaced (`JSON_REPLACE`).
    Replace,
    /// A member is added to an object, or an element is inserted into an array (`JSON_SET`, `JSON_ARRAY_INSERT`).
    Insert,
    /// The value at the path is removed (`JSON_REMOVE`).
    Remove,
}

/// All columns of a table in the order of its definition: one image of one row.
pub type RowImage = Vec<Value>;

/// Up to 127 bytes of ASCII; 39 of them are kept without an allocation.
///
/// 39 holds every temporal value and DECIMAL up to 37 digits.
#[derive(Clone)]
pub struct AsciiText(Repr);

const INLINE_LENGTH_MAX: usize = 39;

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE_LENGTH_MAX] },
    Heap(Box<[u8]>),
}

impl AsciiText {
    /// Copies the text.
    pub fn new(text: &[u8]) -> Self {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= INLINE_LENGTH_MAX => {
                let mut bytes = [0; INLINE_LENGTH_MAX];
                bytes[..text.len()].copy_from_slice(text);
                AsciiText(Repr::Inline { length, bytes })
            }
            _ => AsciiText(Repr::Heap(text.into())),
        }
    }

    /// Returns the text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for AsciiText {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Value {
    /// Returns whether the value is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Returns about how many bytes of memory the value holds beyond its own size, for bounded queues.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Bytes(bytes) | Value::Json(bytes) => bytes.capacity(),
            Value::JsonDiff(diffs) => diffs.iter().map(|d| 64 + d.path.len() + d.value.len()).sum(),
            Value::Ascii(AsciiText(Repr::Heap(bytes))) => bytes.len(),
            Value::Absent
            | Value::Null
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Double(_)
            | Value::Ascii(_) => 0,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Absent => f.write_str("Absent"),
            Value::Null => f.write_str("Null"),
            Value::Int(_) => f.write_str("Int"),
            Value::UInt(_) => f.write_str("UInt"),
            Value::Float(_) => f.write_str("Float"),
            Value::Double(_) => f.write_str("Double"),
            Value::Ascii(text) => write!(f, "Ascii({} bytes)", text.as_bytes().len()),
            Value::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Value::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Value::JsonDiff(diffs) => write!(f, "JsonDiff({})", diffs.len()),
        }
    }
}

impl fmt::Debug for AsciiText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsciiText({} bytes)", self.as_bytes().len())
    }
}

impl fmt::Debug for JsonDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonDiff({:?}, {} bytes)", self.operation, self.value.len())
    }
}
