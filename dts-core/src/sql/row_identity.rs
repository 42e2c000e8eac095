//! By what a row is found again: the cells of its key, or without a key the hash of the whole row.
use super::row_text::{ColumnPair, is_zerofill};
use super::{literal, quote};
use crate::data::{Column, ColumnKind};
use crate::error::{Error, Result};

/// By what a row is found again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The key's cells; for a table without a key the row's hash in hexadecimal.
    pub cells: Vec<Vec<u8>>,
    /// Whether the cells were read on the target: text then has the character set of the target's column.
    pub from_target: bool,
}

/// Shows only the shape: cells are row content.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} cells)", self.cells.len())
    }
}

/// Returns whether the key's cells can be compared with literals, so that a row can be found again.
pub fn is_findable(column: &Column) -> bool {
    column.is_rangeable()
        || matches!(
            column.kind,
            ColumnKind::Float
                | ColumnKind::Double
                | ColumnKind::Bit
                | ColumnKind::Enum(_)
                | ColumnKind::Set(_)
        )
}

/// Returns the expression with which a key's column is read, so that [`push_key_literal`] understands the cell.
pub(super) fn key_read(pair: ColumnPair<'_>, column: &Column) -> String {
    let name = quote::identifier(&column.name);
    let zerofill = [pair.source, pair.target].iter().any(|column| is_zerofill(column));
    match column.kind {
        // At the top of a SELECT list all digits are printed.
        ColumnKind::Float => format!("{name}*1e0"),
        ColumnKind::Bit | ColumnKind::Enum(_) | ColumnKind::Set(_) => format!("{name}+0"),
        _ if zerofill => format!("{name}+0"),
        _ => name,
    }
}

/// Appends a key's cell as a literal of its column's type.
pub(super) fn push_key_literal(sql: &mut Vec<u8>, cell: &[u8], column: &Column) -> Result<()> {
    match column.kind {
        ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Bit
        | ColumnKind::Enum(_)
        | ColumnKind::Set(_) => {
            let is_number = !cell.is_empty()
                && cell.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e'));
            if !is_number {
                return Err(Error::internal(format!(
                    "column '{}' gave a key that is no number",
                    column.name
                )));
            }
            sql.extend_from_slice(cell);
            // So that it is read as a DOUBLE and not as a DECIMAL.
            if matches!(column.kind, ColumnKind::Float | ColumnKind::Double) && !cell.contains(&b'e') {
                sql.extend_from_slice(b"e0");
            }
            Ok(())
        }
        _ => literal::push_cell(sql, cell, column),
    }
}
