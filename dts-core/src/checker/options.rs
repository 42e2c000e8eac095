//! What is compared, and how thoroughly.
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::TableName;

/// How thoroughly tables are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMode {
    /// Every row, every column.
    #[default]
    Full,
    /// Random chunks of every table, as many as [`CheckOptions::ratio`] says.
    Partial,
    /// Only how many rows there are; where the numbers differ, which keys are missing or extra.
    RowsCount,
    /// Nothing. The conclusion is [`Incomplete`](super::Conclusion::Incomplete): nothing was compared.
    None,
}

/// Who computes the hashes of rows. The hashes are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckMethod {
    /// The servers, each its own: one row for each chunk comes back. A server that cannot is read as with
    /// [`Stream`](CheckMethod::Stream).
    #[default]
    Digest,
    /// This process: both servers send all cells. Costs the network and this machine, and little on the servers.
    Stream,
}

/// A table on both sides.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct TablePair {
    /// Its name on the source.
    pub source: TableName,
    /// Its name on the target.
    pub target: TableName,
}

impl TablePair {
    /// Makes the pair of a table that has the same name on both sides.
    pub fn same(name: TableName) -> Self {
        TablePair { source: name.clone(), target: name }
    }
}

/// What is compared, and how thoroughly.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckOptions {
    /// How thoroughly. Default: everything.
    pub mode: CheckMode,
    /// [`CheckMode::Partial`]: percent of each table's chunks, 0 to 100; at least one chunk of each table is compared.
    /// Tables without a key that can be cut into ranges are compared whole. Default 10.
    pub ratio: f64,
    /// [`CheckMode::Partial`]: percent of the tables whose rows are counted as well, 0 to 100. Default 100.
    pub row_count_ratio: f64,
    /// [`CheckMode::Partial`]: from what chunks and tables are chosen; the same seed chooses the same. Default: a random
    /// one, which the report tells.
    pub seed: Option<u64>,
    /// Who computes the hashes of rows. Default: the servers.
    pub method: CheckMethod,
    /// While more threads than this run on one of the servers (its status `Threads_running`, this check's own among them),
    /// no further chunk is begun. Default: no limit.
    pub threads_running_max: Option<u64>,
    /// Where to note which chunks are verified, so that a check that was killed can go on: run again with the same options it
    /// does not compare them again. The file holds keys at which chunks end. It is removed when a check ends. Default: none.
    pub journal: Option<PathBuf>,
    /// Whether differing columns are reported with their values on both sides. They are row content. Default: no.
    pub show_values: bool,
    /// A file for statements that would make the target's differing rows equal to the source's. Default: none.
    pub repair_sql: Option<PathBuf>,
    /// Whether differing rows are repaired on the target. Default: no.
    pub repair: bool,
    /// Chunks read at once on each of the two servers, while others are read on the other one. More load both servers more.
    /// Default 2.
    pub threads: usize,
    /// Rows of a chunk. Larger ones need fewer round trips; smaller ones hold shorter read views, and need less work
    /// where the source is being written. Default 10,000.
    pub chunk_rows: u64,
    /// Only these tables, by their names on the source. Default: all pairs.
    pub tables: Option<Vec<TableName>>,
    /// Longest time in which the applied position may stand still while the check waits for it, and longest time that one
    /// batch of keys may take to settle. What is not settled by then is reported as incomplete. Default 60 s.
    pub patience: Duration,
    /// Differences kept for each table; all are counted. Default 1,000.
    pub differences_max: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions {
            mode: CheckMode::Full,
            ratio: 10.0,
            row_count_ratio: 100.0,
            seed: None,
            method: CheckMethod::Digest,
            threads_running_max: None,
            journal: None,
            show_values: false,
            repair_sql: None,
            repair: false,
            threads: 2,
            chunk_rows: 10_000,
            tables: None,
            patience: Duration::from_secs(60),
            differences_max: 1_000,
        }
    }
}
