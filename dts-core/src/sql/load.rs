//! Rows of the text protocol into the content of a LOAD DATA LOCAL, or into VALUES of an INSERT.
//!
//! This is the hot path of the full load: a cell goes from the source's packet into the output buffer once, and nothing is
//! allocated per cell or row. What a column needs is decided once per table ([`CellCoding`]).
//!
//! The format is LOAD DATA's own default (tab, line feed, backslash). With `CHARACTER SET binary` the server takes every
//! byte as it is; only backslash, tab and line feed need an escape, and NULL is `\N`.
use super::select::reads_ordinal;
use super::{json, quote};
use crate::data::{Column, ColumnKind, TableName};
use crate::error::Result;
use crate::wire::Cells;

/// What a column's cells need on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellCoding {
    /// Digits, signs, dates: no byte can need an escape.
    Bare,
    /// Any bytes.
    Escaped,
    /// An ENUM's label; '' is the error value, for which the server warns.
    EnumLabel,
    /// An ENUM's ordinal; 0 is the error value, for which the server warns.
    EnumOrdinal,
    /// A JSON document.
    Json,
}

impl CellCoding {
    /// Decides for a column, as [`push_read_expression`](super::select::push_read_expression) reads it.
    pub fn of(column: &Column) -> Self {
        match &column.kind {
            ColumnKind::Integer(_)
            | ColumnKind::Decimal
            | ColumnKind::Float
            | ColumnKind::Double
            | ColumnKind::Year
            | ColumnKind::Date
            | ColumnKind::Time
            | ColumnKind::DateTime
            | ColumnKind::Timestamp => CellCoding::Bare,
            ColumnKind::Enum(_) if reads_ordinal(column) => CellCoding::EnumOrdinal,
            ColumnKind::Enum(_) => CellCoding::EnumLabel,
            ColumnKind::Json => CellCoding::Json,
            ColumnKind::Bit
            | ColumnKind::Text
            | ColumnKind::Binary(_)
            | ColumnKind::Blob
            | ColumnKind::Set(_)
            | ColumnKind::Geometry
            | ColumnKind::Vector
            | ColumnKind::Other(_) => CellCoding::Escaped,
        }
    }
}

/// What one row turned into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowOutcome {
    /// It was appended; the server will warn about so many of its values (ENUM error values).
    Appended {
        /// How many warnings are right.
        warnings: u64,
    },
    /// It holds a JSON document that LOAD DATA would change; nothing was appended. Send it as an INSERT.
    NeedsInsert,
}

/// Appends one row as a line of LOAD DATA.
///
/// # Errors
/// A malformed row.
#[inline]
pub fn append_line(output: &mut Vec<u8>, mut cells: Cells<'_>, codings: &[CellCoding]) -> Result<RowOutcome> {
    let start = output.len();
    output.reserve(cells.byte_count() + codings.len() + 16);
    let mut warnings = 0;
    for coding in codings {
        match cells.next_cell()? {
            None => output.extend_from_slice(b"\\N"),
            Some(cell) => match coding {
                CellCoding::Bare => output.extend_from_slice(cell),
                CellCoding::Escaped => append_escaped(output, cell),
                CellCoding::EnumLabel => {
                    warnings += u64::from(cell.is_empty());
                    append_escaped(output, cell);
                }
                CellCoding::EnumOrdinal => {
                    warnings += u64::from(cell == b"0");
                    output.extend_from_slice(cell);
                }
                CellCoding::Json => {
                    if json::needs_constructors(cell) {
                        output.truncate(start);
                        return Ok(RowOutcome::NeedsInsert);
                    }
                    append_escaped(output, cell);
                }
            },
        }
        output.push(b'\t');
    }
    // The last column's tab becomes the end of the line.
    if let Some(last) = output.last_mut() {
        *last = b'\n';
    }
    Ok(RowOutcome::Appended { warnings })
}

#[inline]
fn append_escaped(output: &mut Vec<u8>, cell: &[u8]) {
    let mut rest = cell;
    while let Some(position) = memchr::memchr3(b'\\', b'\t', b'\n', rest) {
        output.extend_from_slice(&rest[..position]);
        output.extend_from_slice(match rest[position] {
            b'\\' => b"\\\\",
            b'\t' => b"\\t",
            _ => b"\\n",
        });
        rest = &rest[position + 1..];
    }
    output.extend_from_slice(rest);
}

/// Appends one row as `(…)` for the VALUES of an INSERT. Returns how many warnings are right.
///
/// # Errors
/// A malformed row.
pub fn append_values(output: &mut Vec<u8>, mut cells: Cells<'_>, codings: &[CellCoding]) -> Result<u64> {
    let mut warnings = 0;
    output.push(b'(');
    for (index, coding) in codings.iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        match cells.next_cell()? {
            None => output.extend_from_slice(b"NULL"),
            Some(cell) => match coding {
                CellCoding::EnumOrdinal => {
                    warnings += u64::from(cell == b"0");
                    output.extend_from_slice(cell);
                }
                CellCoding::EnumLabel => {
                    warnings += u64::from(cell.is_empty());
                    quote::push_string_literal(output, cell);
                }
                CellCoding::Json => json::push_expression(output, cell),
                CellCoding::Bare | CellCoding::Escaped => quote::push_string_literal(output, cell),
            },
        }
    }
    output.push(b')');
    Ok(warnings)
}

/// Builds the LOAD DATA statement for a table.
///
/// JSON does not take a binary string, and an ordinal must arrive as a number: both go through a user variable.
pub fn load_data_statement(table: &TableName, columns: &[&Column]) -> Vec<u8> {
    let mut sql = b"LOAD DATA LOCAL INFILE 'dts' INTO TABLE ".to_vec();
    quote::push_table(&mut sql, table);
    sql.extend_from_slice(b" CHARACTER SET binary (");
    let mut set = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            sql.push(b',');
        }
        let variable = format!("@v{index}");
        let expression = match CellCoding::of(column) {
            CellCoding::Json => format!("CONVERT({variable} USING utf8mb4)"),
            CellCoding::EnumOrdinal => format!("{variable}+0"),
            CellCoding::Bare | CellCoding::Escaped | CellCoding::EnumLabel => {
                quote::push_identifier(&mut sql, &column.name);
                continue;
            }
        };
        sql.extend_from_slice(variable.as_bytes());
        set.extend_from_slice(if set.is_empty() { b" SET " } else { b", " });
        quote::push_identifier(&mut set, &column.name);
        set.push(b'=');
        set.extend_from_slice(expression.as_bytes());
    }
    sql.push(b')');
    sql.extend_from_slice(&set);
    sql
}

/// Builds `INSERT INTO table (columns) VALUES `.
pub fn insert_head(table: &TableName, columns: &[&Column]) -> Vec<u8> {
    let mut sql = b"INSERT INTO ".to_vec();
    quote::push_table(&mut sql, table);
    sql.extend_from_slice(b" (");
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            sql.push(b',');
        }
        quote::push_identifier(&mut sql, &column.name);
    }
    sql.extend_from_slice(b") VALUES ");
    sql
}
