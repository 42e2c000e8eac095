//! What is copied: one table, its columns and its keys.
use crate::data::{Column, ColumnKind, RowKey, TableName, TableSchema};

/// A table to copy.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its number in the ledger.
    pub id: u32,
    /// What it is on the source.
    pub schema: TableSchema,
    /// Its name on the target.
    pub target: TableName,
    /// It is copied in one piece from one exact snapshot, although its rows can be told apart.
    pub is_exact: bool,
}

impl TablePlan {
    /// Returns the columns that are copied: all but the generated ones.
    pub fn columns(&self) -> Vec<&Column> {
        self.schema.stored_columns().map(|position| &self.schema.columns[position]).collect()
    }

    /// Returns whether the table is copied from an exact snapshot: it has no key by which its rows are told apart, or that was
    /// asked for.
    pub fn needs_snapshot(&self) -> bool {
        self.is_exact || self.schema.row_key().is_none()
    }

    /// Returns the key along which the table is cut into chunks: the leading columns of its row key over which ranges are
    /// exact. `None`: the table is copied in one piece.
    pub fn chunk_key(&self) -> Option<RowKey> {
        let key = self.schema.row_key().filter(|_| !self.is_exact)?;
        let columns: Vec<usize> = key
            .columns
            .into_iter()
            .take_while(|&column| self.schema.columns[column].is_rangeable())
            .collect();
        (!columns.is_empty()).then_some(RowKey { index: key.index, columns })
    }
}

/// Returns the columns of a table and their types, as far as two servers of different versions print them alike.
pub(super) fn column_types(schema: &TableSchema) -> Vec<(String, String)> {
    let type_of = |column: &Column| {
        let text = column.type_text.to_ascii_lowercase();
        match &column.kind {
            // Later versions print no display width.
            ColumnKind::Integer(_) | ColumnKind::Year => format!("{:?} {}", column.kind, column.unsigned),
            _ => text.replace(" unsigned", "").replace(" zerofill", ""),
        }
    };
    schema.columns.iter().map(|column| (column.name.clone(), type_of(column))).collect()
}
