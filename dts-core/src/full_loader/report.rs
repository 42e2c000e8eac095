//! What the full load did.
use crate::data::{Position, TableName};

/// What the full load did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FullLoadReport {
    /// Each table, in the order of the ledger.
    pub tables: Vec<TableReport>,
    /// The position that the source had after the last chunk was read: once changes up to it are applied, the copy is
    /// consistent.
    pub converge_position: Position,
}

/// What was done with one table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableReport {
    /// Its name on the source.
    pub source: TableName,
    /// Its name on the target.
    pub target: TableName,
    /// Rows copied, in all runs.
    pub rows: u64,
    /// Bytes copied, as the source sent them, in all runs.
    pub bytes: u64,
    /// Chunks recorded.
    pub chunks: u64,
    /// Chunks that had to be copied a second time because a run ended in the middle of them.
    pub chunks_copied_again: u64,
    /// `load-data` or `insert`.
    pub method: &'static str,
    /// How its rows were read: `lock-free` or the kind of exact snapshot.
    pub consistency: &'static str,
}
