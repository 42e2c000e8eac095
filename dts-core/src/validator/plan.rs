//! What a task will do: how much is moved, how, and about how long that takes.
use std::time::Duration;

use crate::data::{TableName, TableSchema};
use crate::error::Side;
use crate::validator::options::{TaskType, ValidatorOptions};
use crate::validator::privileges::needs_exact_snapshot;
use crate::validator::survey::{SourceObjects, Survey};

/// How rows will be written to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMethod {
    /// LOAD DATA LOCAL INFILE, streamed from memory.
    LoadData,
    /// Multi-row INSERT.
    Insert,
}

impl WriteMethod {
    /// Returns the word used in task files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteMethod::LoadData => "load-data",
            WriteMethod::Insert => "insert",
        }
    }
}

/// What a task will do, as far as it can be told before it starts. Sizes and times are estimates: InnoDB's row counts may be
/// off by half, and both servers and the network decide the speed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How many tables are carried.
    pub table_count: usize,
    /// How many views are carried.
    pub view_count: usize,
    /// Their rows, as the source estimates them.
    pub rows_estimated: u64,
    /// Bytes of rows on the source, as it estimates them, without secondary indexes.
    pub data_bytes: u64,
    /// Bytes of secondary indexes on the source.
    pub index_bytes: u64,
    /// Tables copied without any lock.
    pub lock_free: Vec<TableName>,
    /// Tables that need an exact snapshot under a short lock: no key, or changed by foreign keys without a trace in the log.
    pub short_lock: Vec<TableName>,
    /// How rows are written.
    pub write_method: WriteMethod,
    /// About how long the copy and the building of indexes take.
    pub duration_estimated: Duration,
    /// About how much disk the target needs, its own binary log of the load included.
    pub target_bytes: u64,
    /// About how much disk the spool needs for changes during the copy, at the rate of change assumed (a tenth of the data each
    /// hour, at least 64 MiB).
    pub spool_bytes: u64,
    /// What will be different on the target and why. Known only where the structure was tried.
    pub rewrites: Vec<String>,
}

/// Bytes of rows per second over both servers, measured between two servers of two cores each; real ones are faster.
const LOAD_DATA_RATE: u64 = 40 << 20;
const INSERT_RATE: u64 = 24 << 20;
/// Bytes of secondary indexes built per second.
const INDEX_RATE: u64 = 20 << 20;

pub(super) fn of(survey: &Survey) -> Option<Plan> {
    let objects = survey.source_objects().ok()?;
    let method = write_method(survey);
    let mut plan = estimated(&survey.options, objects, method);
    if let Ok(trial) = survey.trial() {
        plan.rewrites.clone_from(&trial.rewrites);
    }
    if let Ok(definitions) = survey.definitions() {
        plan.rewrites.extend(super::stored::definer_rewrites(survey, definitions));
    }
    Some(plan)
}

/// A target that cannot be reached leaves it open; the slower one is assumed.
pub(super) fn write_method(survey: &Survey) -> WriteMethod {
    let allowed = survey.facts(Side::Target).is_ok_and(|facts| facts.is_on("local_infile") == Some(true));
    if allowed && !survey.options.load_by_insert { WriteMethod::LoadData } else { WriteMethod::Insert }
}

/// The estimate from the list of tables alone.
pub(super) fn estimated(options: &ValidatorOptions, objects: &SourceObjects, method: WriteMethod) -> Plan {
    let carries_rows = match options.task_type {
        TaskType::Structure => false,
        TaskType::Full | TaskType::FullAndIncremental => true,
    };
    let sum =
        |of: fn(&TableSchema) -> u64| if carries_rows { objects.tables.iter().map(of).sum() } else { 0 };
    let (rows_estimated, data_bytes, index_bytes) =
        (sum(|table| table.rows_estimated), sum(|table| table.data_bytes), sum(|table| table.index_bytes));
    let rate = match method {
        WriteMethod::LoadData => LOAD_DATA_RATE,
        WriteMethod::Insert => INSERT_RATE,
    };
    // A table takes a few statements even when it is empty.
    let overhead = u64::try_from(objects.tables.len()).unwrap_or(u64::MAX) / 20;
    let seconds = data_bytes / rate + index_bytes / INDEX_RATE + overhead + 1;
    let short_lock: Vec<TableName> =
        if carries_rows { needs_exact_snapshot(objects).into_iter().cloned().collect() } else { Vec::new() };
    let lock_free =
        objects.tables.iter().map(|table| &table.name).filter(|name| !short_lock.contains(name)).cloned();
    Plan {
        table_count: objects.tables.len(),
        view_count: objects.views.len(),
        rows_estimated,
        data_bytes,
        index_bytes,
        lock_free: lock_free.collect(),
        write_method: method,
        duration_estimated: Duration::from_secs(seconds),
        // 1.2 x the data with its indexes, and the binary log of the load, which has the rows once more.
        target_bytes: (data_bytes + index_bytes) / 5 * 6
            + if options.target.load_binlog { data_bytes } else { 0 },
        spool_bytes: if carries_rows { (data_bytes / 10 * (1 + seconds / 3600)).max(64 << 20) } else { 0 },
        rewrites: Vec::new(),
        short_lock,
    }
}
