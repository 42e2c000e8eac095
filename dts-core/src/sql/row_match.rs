//! A column compared with a value byte by byte, for rows that have no key.
//!
//! Rows of a table without a key are told apart by all that is stored of them, so nothing may count as equal that is not:
//! not two spellings that a collation takes for one, not `-0` and `0`, not a label and its number. NULL equals NULL.
//!
//! Temporal values are compared as the text that the server prints, because it refuses to take a partial date
//! (`2020-00-00`) for a date in a comparison. Long values travel as their SHA-256, so that a statement does not grow with
//! what is only looked for. Where an index begins with the column, a comparison that the index can serve stands in
//! front; it is never the stricter one.
//!
//! JSON documents are compared as documents: `1` and `1.0` are one there.
use sha2::{Digest, Sha256};

use super::literal::{self, Place};
use super::quote;
use crate::data::{Column, ColumnKind, Value};
use crate::error::Result;

/// Values longer than this are compared by their digest.
const PLAIN_BYTES_MAX: usize = 128;

/// Appends a condition that holds exactly for rows that store this value. `leads_index`: an index begins with the column.
///
/// # Errors
/// [`ErrorKind::Value`](crate::error::ErrorKind::Value) for a value that the image does not hold.
pub fn push_equal(sql: &mut Vec<u8>, value: &Value, column: &Column, leads_index: bool) -> Result<()> {
    let name = quote::identifier(&column.name);
    if value.is_null() {
        sql.extend_from_slice(format!("{name} IS NULL").as_bytes());
        return Ok(());
    }
    match (&column.kind, value) {
        // As a number, exactly: in a sum they would be a DOUBLE.
        (
            ColumnKind::Bit | ColumnKind::Year | ColumnKind::Enum(_) | ColumnKind::Set(_),
            Value::UInt(number),
        ) => {
            sql.extend_from_slice(format!("CAST({name} AS UNSIGNED)={number}").as_bytes());
            Ok(())
        }
        (ColumnKind::Text | ColumnKind::Binary(_) | ColumnKind::Blob, Value::Bytes(bytes)) => {
            if leads_index && bytes.len() <= PLAIN_BYTES_MAX {
                push_plain(sql, &name, value, column)?;
                if !column.is_text() {
                    return Ok(());
                }
                sql.extend_from_slice(b" AND ");
            }
            push_bytes_equal(sql, &name, bytes);
            Ok(())
        }
        // A geometry is not compared as bytes everywhere; its digest is.
        (ColumnKind::Geometry | ColumnKind::Vector, Value::Bytes(bytes)) => {
            push_digest_equal(sql, &name, bytes);
            Ok(())
        }
        (
            ColumnKind::Date | ColumnKind::Time | ColumnKind::DateTime | ColumnKind::Timestamp,
            Value::Ascii(text),
        ) => {
            if leads_index && !is_partial_date(text.as_bytes()) {
                push_plain(sql, &name, value, column)?;
                sql.extend_from_slice(b" AND ");
            }
            sql.extend_from_slice(format!("CAST({name} AS CHAR)=").as_bytes());
            quote::push_string_literal(sql, text.as_bytes());
            Ok(())
        }
        (_, Value::Float(0.0) | Value::Double(0.0)) => {
            push_plain(sql, &name, value, column)?;
            let negative = match value {
                Value::Float(number) => number.is_sign_negative(),
                Value::Double(number) => number.is_sign_negative(),
                _ => false,
            };
            let not = if negative { "" } else { "NOT " };
            sql.extend_from_slice(format!(" AND CAST({name} AS CHAR) {not}LIKE '-%'").as_bytes());
            Ok(())
        }
        _ => push_plain(sql, &name, value, column),
    }
}

fn push_plain(sql: &mut Vec<u8>, name: &str, value: &Value, column: &Column) -> Result<()> {
    sql.extend_from_slice(name.as_bytes());
    sql.push(b'=');
    literal::push_value(sql, value, column, Place::Compared)
}

fn push_bytes_equal(sql: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    if bytes.len() > PLAIN_BYTES_MAX {
        push_digest_equal(sql, name, bytes);
        return;
    }
    sql.extend_from_slice(format!("CAST({name} AS BINARY)=").as_bytes());
    quote::push_string_literal(sql, bytes);
}

fn push_digest_equal(sql: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    sql.extend_from_slice(
        format!("LENGTH({name})={} AND SHA2({name},256)='{digest}'", bytes.len()).as_bytes(),
    );
}

/// Returns whether a date has a month, day or year of zero.
fn is_partial_date(text: &[u8]) -> bool {
    text.starts_with(b"0000-") || text.get(4..7) == Some(b"-00") || text.get(7..10) == Some(b"-00")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::AsciiText;

    fn column(kind: ColumnKind) -> Column {
        let is_text = matches!(kind, ColumnKind::Text);
        Column {
            charset: is_text.then(|| "utf8mb4".into()),
            collation: is_text.then(|| "utf8mb4_general_ci".into()),
            ..Column::example("c`d", kind)
        }
    }

    fn condition(kind: ColumnKind, value: &Value, leads_index: bool) -> String {
        let mut sql = Vec::new();
        push_equal(&mut sql, value, &column(kind), leads_index).unwrap();
        String::from_utf8(sql).unwrap()
    }

    #[test]
    fn nothing_is_equal_that_is_not() {
        let date = Value::Ascii(AsciiText::new(b"2020-00-00"));
        for (kind, value, leads_index, expected) in [
            (ColumnKind::Integer(4), Value::Null, false, "`c``d` IS NULL"),
            (ColumnKind::Integer(4), Value::Int(-5), true, "`c``d`=-5"),
            (
                ColumnKind::Set(vec![]),
                Value::UInt(u64::MAX),
                false,
                "CAST(`c``d` AS UNSIGNED)=18446744073709551615",
            ),
            (ColumnKind::Text, Value::Bytes(b"a".to_vec()), false, "CAST(`c``d` AS BINARY)='a'"),
            (
                ColumnKind::Text,
                Value::Bytes(b"a".to_vec()),
                true,
                "`c``d`=_utf8mb4'a' AND CAST(`c``d` AS BINARY)='a'",
            ),
            (
                ColumnKind::Double,
                Value::Double(-0.0),
                false,
                "`c``d`=-0e0 AND CAST(`c``d` AS CHAR) LIKE '-%'",
            ),
            (
                ColumnKind::Float,
                Value::Float(0.0),
                false,
                "`c``d`=0e0 AND CAST(`c``d` AS CHAR) NOT LIKE '-%'",
            ),
            (ColumnKind::Date, date, true, "CAST(`c``d` AS CHAR)='2020-00-00'"),
        ] {
            assert_eq!(condition(kind, &value, leads_index), expected);
        }
        let long = condition(ColumnKind::Blob, &Value::Bytes(vec![b'x'; 1000]), false);
        assert!(
            long.starts_with("LENGTH(`c``d`)=1000 AND SHA2(`c``d`,256)='44f8354494a5ba03ba1792a8d3e9c534"),
            "{long}"
        );
    }
}
