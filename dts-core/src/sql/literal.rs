//! A value as a literal: from a binlog image ([`Value`]), or from a cell of the text protocol.
//!
//! The statements go over a session with `SET NAMES binary`, so that the bytes between the quotes arrive as they are. A
//! binary string assigned to a text column is taken as bytes of the column's own character set; compared with one, it
//! would force a binary comparison and lose the index, so that there it carries the column's character set as an
//! introducer.
use super::{json, quote};
use crate::data::{Column, ColumnKind, Value};
use crate::error::{Error, ErrorKind, Result};

/// Where the literal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is assigned: VALUES or SET.
    Assigned,
    /// It is compared with its column: WHERE.
    Compared,
}

/// Appends the literal of a binlog value.
///
/// # Errors
/// [`ErrorKind::Value`] for a value that has no literal: one that the image does not hold.
pub fn push_value(sql: &mut Vec<u8>, value: &Value, column: &Column, place: Place) -> Result<()> {
    match value {
        Value::Null => sql.extend_from_slice(b"NULL"),
        Value::Int(number) => push_display(sql, number),
        Value::UInt(number) => push_unsigned(sql, *number, column, place),
        // Widened first: the shortest text of a FLOAT is not always the nearest DOUBLE of the same FLOAT.
        Value::Float(number) => push_double(sql, f64::from(*number)),
        Value::Double(number) => push_double(sql, *number),
        Value::Ascii(text) => match column.kind {
            ColumnKind::Decimal => sql.extend_from_slice(text.as_bytes()),
            _ => quote::push_string_literal(sql, text.as_bytes()),
        },
        Value::Bytes(bytes) => push_bytes(sql, bytes, column, place),
        Value::Json(text) => match place {
            Place::Assigned => json::push_expression(sql, text),
            // Compared as a document, not as a string (ghostferry PR 147).
            Place::Compared => {
                sql.extend_from_slice(b"CAST(");
                json::push_expression(sql, text);
                sql.extend_from_slice(b" AS JSON)");
            }
        },
        Value::Absent | Value::JsonDiff(_) => {
            return Err(ErrorKind::Value {
                column: column.name.clone(),
                why: "the row image does not hold it (binlog_row_image is not FULL)".into(),
            }
            .into());
        }
    }
    Ok(())
}

fn push_unsigned(sql: &mut Vec<u8>, number: u64, column: &Column, place: Place) {
    match (&column.kind, place) {
        // A label keeps the index usable; the error value 0 has none.
        (ColumnKind::Enum(labels), Place::Compared) if number > 0 => {
            match usize::try_from(number - 1).ok().and_then(|ordinal| labels.get(ordinal)) {
                Some(label) => quote::push_introduced_literal(sql, "utf8mb4", label.as_bytes()),
                None => push_display(sql, number),
            }
        }
        // A number of four digits means the year itself; 0 as a number is the year 0000 too.
        _ => push_display(sql, number),
    }
}

fn push_bytes(sql: &mut Vec<u8>, bytes: &[u8], column: &Column, place: Place) {
    match (&column.kind, &column.charset, place) {
        (ColumnKind::Text, Some(charset), Place::Compared) => {
            // The three-byte UTF-8 is deprecated by any name, and each use is a warning; as a constant of the four-byte
            // one it is converted before the comparison, and the index serves.
            let charset = if matches!(charset.as_str(), "utf8" | "utf8mb3") { "utf8mb4" } else { charset };
            quote::push_introduced_literal(sql, charset, bytes);
        }
        _ => quote::push_string_literal(sql, bytes),
    }
}

fn push_display(sql: &mut Vec<u8>, number: impl std::fmt::Display) {
    use std::io::Write;
    write!(sql, "{number}").expect("writing to memory cannot fail");
}

/// Appends a DOUBLE so that it is read back to the bit: the shortest text that identifies it, with an exponent, so that
/// the server takes it for a DOUBLE and not for a DECIMAL.
fn push_double(sql: &mut Vec<u8>, number: f64) {
    use std::io::Write;
    write!(sql, "{number:e}").expect("writing to memory cannot fail");
}

/// Appends the literal of a cell of the text protocol for a comparison with its column.
///
/// Used for the bounds of key ranges, which are carried as the bytes that the server sent (spirit#1030).
///
/// # Errors
/// [`ErrorKind::Internal`] when the column is not one that ranges are made over.
pub fn push_cell(sql: &mut Vec<u8>, cell: &[u8], column: &Column) -> Result<()> {
    match &column.kind {
        ColumnKind::Integer(_) | ColumnKind::Decimal | ColumnKind::Year => {
            let is_number =
                !cell.is_empty() && cell.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
            if !is_number {
                return Err(Error::internal(format!(
                    "column '{}' gave a bound that is no number",
                    column.name
                )));
            }
            sql.extend_from_slice(cell);
        }
        ColumnKind::Date | ColumnKind::Time | ColumnKind::DateTime | ColumnKind::Timestamp => {
            quote::push_string_literal(sql, cell);
        }
        ColumnKind::Text | ColumnKind::Binary(_) | ColumnKind::Blob => {
            push_bytes(sql, cell, column, Place::Compared);
        }
        ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Bit
        | ColumnKind::Enum(_)
        | ColumnKind::Set(_)
        | ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Other(_) => {
            return Err(Error::internal(format!("column '{}' is not one for ranges", column.name)));
        }
    }
    Ok(())
}
