//! What is copied: one table, its columns and its keys.
use crate::data::{Column, RowKey, TableName, TableSchema};

/// A table to copy.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its number in the ledger.
    pub id: u32,
    /// What it is on the source.
    pub schema: TableSchema,
    /// Its name on the target.
    pub target: TableName,
}

impl TablePlan {
    /// Returns the columns that are copied: all but the generated ones.
    pub fn columns(&self) -> Vec<&Column> {
        self.schema.stored_columns().map(|position| &self.schema.columns[position]).collect()
    }

    /// Returns whether the table has no key by which its rows are told apart: it is copied from an exact snapshot.
    pub fn is_keyless(&self) -> bool {
        self.schema.row_key().is_none()
    }

    /// Returns the key along which the table is cut into chunks: the leading columns of its row key over which ranges are
    /// exact. `None`: the table is copied in one piece.
    pub fn chunk_key(&self) -> Option<RowKey> {
        let key = self.schema.row_key()?;
        let columns: Vec<usize> = key
            .columns
            .into_iter()
            .take_while(|&column| self.schema.columns[column].is_rangeable())
            .collect();
        (!columns.is_empty()).then_some(RowKey { index: key.index, columns })
    }
}
