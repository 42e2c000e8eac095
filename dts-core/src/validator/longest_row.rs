//! How long the rows of a source are, where they may be long.
//!
//! Statistics know only averages, and finding the longest row would read everything. So the first and the last rows by key are
//! measured of those tables that may hold long ones: a few megabytes of each, which for a small table is all of it.
use std::time::{Duration, Instant};

use crate::data::{Column, ColumnKind, TableName, TableSchema};
use crate::error::Side;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::survey::{Blocked, Survey};

/// Tables looked at, those with the longest average rows first.
const TABLES_MAX: usize = 20;
/// About how many bytes of rows are read at either end of a table.
const BYTES_MAX: u64 = 8 << 20;
/// Rows measured at either end of a table at most.
const ROWS_MAX: u64 = 10_000;

/// The longest row that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LongestRow {
    pub(super) table: TableName,
    /// Bytes of its long columns.
    pub(super) bytes: u64,
}

/// Looks for at most a third of an item's deadline. `None` where no selected table may hold rows of megabytes, or where the
/// account may not read them.
pub(super) fn look(survey: &Survey, stop: &StopToken) -> Result<Option<LongestRow>, Blocked> {
    let mut tables: Vec<&TableSchema> =
        survey.source_objects()?.tables.iter().filter(|table| long_columns(table).next().is_some()).collect();
    if tables.is_empty() {
        return Ok(None);
    }
    tables.sort_by_key(|table| std::cmp::Reverse(average(table)));
    let ends = Instant::now() + survey.options.item_deadline.mul_f32(0.3);
    let mut connection = survey.connect(Side::Source, stop)?;
    let mut longest: Option<LongestRow> = None;
    for table in tables.into_iter().take(TABLES_MAX) {
        for sql in statements(table) {
            if ends.saturating_duration_since(Instant::now()) == Duration::ZERO {
                return Ok(longest);
            }
            let rows = match connection.query(sql, "measuring rows") {
                Ok(rows) => rows,
                // Not for this account, or gone meanwhile: other items tell.
                Err(error) if error.server_error().is_some() => {
                    log::debug!("{}: rows are not measured: {error}", table.name);
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let bytes = rows.iter().filter_map(|row| row.u64(0)).max().unwrap_or(0);
            if longest.as_ref().is_none_or(|longest| longest.bytes < bytes) {
                longest = Some(LongestRow { table: table.name.clone(), bytes });
            }
        }
    }
    Ok(longest)
}

/// Returns the average row by the source's statistics, in bytes.
pub(super) fn average(table: &TableSchema) -> u64 {
    table.data_bytes / table.rows_estimated.max(1)
}

fn long_columns(table: &TableSchema) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| {
        let holds_megabytes = match column.kind {
            ColumnKind::Json | ColumnKind::Geometry => true,
            ColumnKind::Text | ColumnKind::Blob => {
                column.type_text.starts_with("long") || column.type_text.starts_with("medium")
            }
            _ => false,
        };
        holds_megabytes && !column.generated
    })
}

/// Returns the statements that measure the rows at both ends of a table.
fn statements(table: &TableSchema) -> Vec<String> {
    let lengths: Vec<String> = long_columns(table)
        .map(|column| format!("IFNULL(LENGTH({}), 0)", quote::identifier(&column.name)))
        .collect();
    let limit = (BYTES_MAX / average(table).max(1)).clamp(1, ROWS_MAX);
    let select = format!("SELECT {} FROM {}", lengths.join(" + "), quote::table(&table.name));
    let Some(key) = table.row_key() else { return vec![format!("{select} LIMIT {limit}")] };
    let by = |direction: &str| {
        let columns: Vec<String> = key
            .columns
            .iter()
            .map(|&column| format!("{}{direction}", quote::identifier(&table.columns[column].name)))
            .collect();
        format!(
            "{select} FORCE INDEX ({}) ORDER BY {} LIMIT {limit}",
            quote::identifier(&key.index),
            columns.join(", ")
        )
    };
    vec![by(""), by(" DESC")]
}
