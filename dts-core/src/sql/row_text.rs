//! The text of a row that is hashed, written by a server or by us: the same bytes either way.
//!
//! # What a row's hash is
//! `SHA2(CONCAT(_binary'' COLLATE 'binary', e1, e2, ...), 256)`, of which the first 128 bits are used. Each `e` is the encoding
//! of one column, and says by itself where it ends, so that no two different rows have the same text: NULL is `N`, which no
//! other encoding begins with.
//!
//! What stands first in the CONCAT makes all of it binary, because an explicit collation is stronger than a column's: no
//! value is converted to another character set, and none needs a CAST of its own (which costs 9.7 a quarter of a
//! microsecond for each).
//!
//! | columns | encoding | why |
//! | --- | --- | --- |
//! | integers, DECIMAL, YEAR, BIT | the number, `,` | `+0` where ZEROFILL would pad, and for BIT |
//! | DATE, TIME, DATETIME, TIMESTAMP | the text, `,` | the sessions have `time_zone = '+00:00'` |
//! | FLOAT, DOUBLE | `HEX(POINT(c, 0))` | the IEEE bits. 9.7 cuts `c*1e0` to 22 characters inside a string function, 5.6 and MariaDB do not; the bits need no text, and cost less |
//! | CHAR, VARCHAR, BINARY, VARBINARY, TINYTEXT, TINYBLOB | length, `:`, the bytes | NULL has no length: it is `N:` |
//! | TEXT, BLOB, JSON, GEOMETRY, VECTOR | `SHA2(c, 256)` | hashed first: CONCAT answers NULL when its result is longer than `max_allowed_packet` (lp#1592608) |
//! | ENUM, SET | number, `/`, length, `:`, label | the number tells the label '' from the error value, the label sees a reordered definition |
//!
//!
//! # Why there are two ways
//! A server that computes the hash sends 16 bytes for a chunk instead of its rows. A server that cannot (it lacks SHA2, or a
//! row's text is longer than its `max_allowed_packet`) sends the cells, and [`RowHasher`] writes the same text from them.
//! So each side is read in its own way and the two still compare; and each way checks the other in the tests.
use sha2::{Digest as _, Sha256};

use super::quote;
use crate::data::{Column, ColumnKind};
use crate::error::{Error, Result};
use crate::wire::Cells;

/// One column on both sides.
#[derive(Clone, Copy, Debug)]
pub struct ColumnPair<'a> {
    /// As the source has it.
    pub source: &'a Column,
    /// As the target has it.
    pub target: &'a Column,
}

/// How a column is written into a row's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Number,
    Float,
    ShortBytes,
    LongBytes,
    Labels,
}

fn class_of(column: &Column) -> Class {
    let long = |short: &[&str]| {
        if short.iter().any(|name| column.type_text.to_ascii_lowercase().starts_with(name)) {
            Class::ShortBytes
        } else {
            Class::LongBytes
        }
    };
    match column.kind {
        ColumnKind::Integer(_)
        | ColumnKind::Decimal
        | ColumnKind::Year
        | ColumnKind::Bit
        | ColumnKind::Date
        | ColumnKind::Time
        | ColumnKind::DateTime
        | ColumnKind::Timestamp => Class::Number,
        ColumnKind::Float | ColumnKind::Double => Class::Float,
        ColumnKind::Binary(_) => Class::ShortBytes,
        ColumnKind::Text => long(&["char", "varchar", "tinytext"]),
        ColumnKind::Blob => long(&["varbinary", "tinyblob"]),
        ColumnKind::Enum(_) | ColumnKind::Set(_) => Class::Labels,
        ColumnKind::Json | ColumnKind::Geometry | ColumnKind::Vector | ColumnKind::Other(_) => {
            Class::LongBytes
        }
    }
}

/// The class under which both sides write a column, though their types may differ.
fn common_class(pair: ColumnPair<'_>) -> Class {
    match (class_of(pair.source), class_of(pair.target)) {
        (source, target) if source == target => source,
        (Class::LongBytes, _) | (_, Class::LongBytes) => Class::LongBytes,
        _ => Class::ShortBytes,
    }
}

/// Returns the expression with which a server writes `column`, which is one side of `pair`.
fn expression(pair: ColumnPair<'_>, column: &Column) -> String {
    let name = quote::identifier(&column.name);
    let nullable = pair.source.nullable || pair.target.nullable;
    let or_null = |text: String| if nullable { format!("IFNULL({text},'N')") } else { text };
    let zerofill = [pair.source, pair.target].iter().any(|column| is_zerofill(column));
    match common_class(pair) {
        Class::Number if zerofill || column.kind == ColumnKind::Bit => {
            format!("{},','", or_null(format!("{name}+0")))
        }
        Class::Number => format!("{},','", or_null(name)),
        Class::Float => or_null(format!("HEX(POINT({name},0))")),
        Class::ShortBytes => {
            let (length, bytes) = if class_of(column) == Class::ShortBytes {
                (format!("LENGTH({name})"), name)
            } else {
                // Not the number but its text, when the other side has text.
                (format!("LENGTH({name})"), format!("CAST({name} AS BINARY)"))
            };
            let bytes = if nullable { format!("IFNULL({bytes},'')") } else { bytes };
            format!("{},':',{bytes}", or_null(length))
        }
        Class::LongBytes => match column.kind {
            ColumnKind::Json => or_null(format!("SHA2(CAST({name} AS CHAR CHARACTER SET utf8mb4),256)")),
            // Not the number but its text, when the other side has text.
            _ if class_of(column) != Class::LongBytes => or_null(format!("SHA2(CAST({name} AS BINARY),256)")),
            _ => or_null(format!("SHA2({name},256)")),
        },
        Class::Labels => {
            // Without a NULL to catch, the parts can stand in the row's own CONCAT.
            let parts = format!("{name}+0,'/',LENGTH({name}),':',CAST({name} AS BINARY)");
            if nullable { or_null(format!("CONCAT({parts})")) } else { parts }
        }
    }
}

/// Puts the encodings of columns together, as bytes.
pub(super) fn concat<'e>(encodings: impl Iterator<Item = &'e Encoding>) -> String {
    let expressions: Vec<&str> = encodings.map(|encoding| encoding.expression.as_str()).collect();
    format!("CONCAT(_binary'' COLLATE 'binary',{})", expressions.join(","))
}

pub(super) fn is_zerofill(column: &Column) -> bool {
    column.type_text.to_ascii_lowercase().contains("zerofill")
}

/// How one column is written on one side of a pair.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    /// With this expression a server writes it.
    pub(super) expression: String,
    /// These are read when we write it.
    pub(super) reads: String,
    class: Class,
}

impl Encoding {
    pub(super) fn of(pair: ColumnPair<'_>, column: &Column) -> Self {
        let name = quote::identifier(&column.name);
        let class = common_class(pair);
        let zerofill = [pair.source, pair.target].iter().any(|column| is_zerofill(column));
        let reads = match class {
            Class::Number if zerofill || column.kind == ColumnKind::Bit => format!("{name}+0"),
            Class::Number => name,
            // At the top of a SELECT list all digits are printed.
            Class::Float => format!("{name}*1e0"),
            Class::Labels => format!("{name}+0,CAST({name} AS BINARY)"),
            Class::LongBytes if column.kind == ColumnKind::Json => {
                format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)")
            }
            Class::ShortBytes | Class::LongBytes
                if matches!(class_of(column), Class::ShortBytes | Class::LongBytes) =>
            {
                name
            }
            // Not the number but its text, when the other side has text.
            Class::ShortBytes | Class::LongBytes => format!("CAST({name} AS BINARY)"),
        };
        Encoding { expression: expression(pair, column), reads, class }
    }

    /// Takes the column's cells and appends what the server would write for them.
    fn append(&self, text: &mut Vec<u8>, cells: &mut Cells<'_>) -> Result<()> {
        let Some(cell) = cells.next_cell()? else {
            if self.class == Class::Labels {
                cells.next_cell()?;
            }
            text.push(b'N');
            match self.class {
                Class::Number => text.push(b','),
                Class::ShortBytes => text.push(b':'),
                Class::Float | Class::LongBytes | Class::Labels => {}
            }
            return Ok(());
        };
        match self.class {
            Class::Number => {
                text.extend_from_slice(cell);
                text.push(b',');
            }
            Class::Float => {
                let number: f64 = std::str::from_utf8(cell)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(|| Error::internal("a FLOAT or DOUBLE that cannot be read"))?;
                // HEX(POINT(number, 0)): no SRID, little endian, type 1, two DOUBLEs.
                text.extend_from_slice(b"000000000101000000");
                push_hex(text, &number.to_le_bytes(), b"0123456789ABCDEF");
                text.extend_from_slice(&[b'0'; 16]);
            }
            Class::ShortBytes => push_short(text, cell),
            Class::LongBytes => push_hex(text, &Sha256::digest(cell), HEX),
            Class::Labels => {
                text.extend_from_slice(cell);
                text.push(b'/');
                push_short(text, cells.next_cell()?.unwrap_or_default());
            }
        }
        Ok(())
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_hex(text: &mut Vec<u8>, bytes: &[u8], digits: &[u8; 16]) {
    for byte in bytes {
        text.extend_from_slice(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
    }
}

fn push_short(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(bytes.len().to_string().as_bytes());
    text.push(b':');
    text.extend_from_slice(bytes);
}

/// The first 128 bits of a text's SHA-256.
pub type Hash = [u8; 16];

/// Writes a hash as the server does: 32 lower-case digits.
pub fn hex(hash: &Hash) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    digits
}

/// Writes and hashes rows on our side, from the cells that a server sends. Its buffer serves all rows.
#[derive(Debug)]
pub struct RowHasher<'a> {
    columns: Vec<&'a Encoding>,
    text: Vec<u8>,
    /// Where each column ends in the text.
    ends: Vec<usize>,
}

impl<'a> RowHasher<'a> {
    pub(super) fn new(columns: impl Iterator<Item = &'a Encoding>) -> Self {
        RowHasher { columns: columns.collect(), text: Vec::new(), ends: Vec::new() }
    }

    /// Takes the cells of a row and returns its hash.
    ///
    /// # Errors
    /// A malformed row.
    pub fn hash(&mut self, cells: &mut Cells<'_>) -> Result<Hash> {
        self.text.clear();
        self.ends.clear();
        for column in &self.columns {
            column.append(&mut self.text, cells)?;
            self.ends.push(self.text.len());
        }
        Ok(first_half(&self.text))
    }

    /// Returns a hash of each column of the last row.
    pub fn column_hashes(&self) -> Vec<Hash> {
        (0..self.ends.len()).map(|column| first_half(self.column(column))).collect()
    }

    /// Returns the last row's whole hash as the server writes it.
    pub(super) fn whole_hash(&self) -> Vec<u8> {
        let mut digits = Vec::with_capacity(64);
        push_hex(&mut digits, &Sha256::digest(&self.text), HEX);
        digits
    }

    /// Returns what the last row's text has for a column.
    pub(super) fn column(&self, position: usize) -> &[u8] {
        let begin = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin..self.ends[position]]
    }
}

fn first_half(text: &[u8]) -> Hash {
    let whole = Sha256::digest(text);
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_is_what_the_server_writes() {
        let mut text = Vec::new();
        push_short(&mut text, b"a:1");
        push_hex(&mut text, &[0x0f, 0xa0], HEX);
        assert_eq!(text, b"3:a:10fa0");
        assert_eq!(&hex(&[0xab; 16]), b"abababababababababababababababab");
        // SELECT LEFT(SHA2('abc',256),32)
        assert_eq!(&hex(&first_half(b"abc")), b"ba7816bf8f01cfea414140de5dae2223");
    }
}
