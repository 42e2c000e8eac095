//! The documents for programs. Their names and forms are part of what scripts rely on: fields may be added, never
//! renamed or removed.
mod endings;

use std::time::Duration;

use dts_core::checker::{
    CheckMode, CheckReport, ColumnValues, Conclusion, DifferenceKind, StructureReport, WritersReport,
};
use dts_core::data::TableName;
use dts_core::error::Error;
use dts_core::validator::{Plan, ValidationReport};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use endings::{CompletionDocument, CutoverDocument, RemainsDocument};

/// A failed command.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) error: ErrorDocument,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorDocument {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) hint: String,
    #[serde(default)]
    pub(crate) position: Option<String>,
}

impl From<&Error> for ErrorDocument {
    fn from(error: &Error) -> Self {
        let code = error.code().to_string();
        let text = error.to_string();
        let message = text.strip_prefix(&format!("[{code}] ")).unwrap_or(&text).to_owned();
        ErrorDocument {
            code,
            message,
            hint: error.hint().to_owned(),
            position: error.position().map(ToOwned::to_owned),
        }
    }
}

/// `dts status`, and the end of `dts run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatusDocument {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) step: Option<String>,
    pub(crate) steps: Vec<StepDocument>,
    pub(crate) tables: Vec<TableDocument>,
    pub(crate) rows_done: u64,
    pub(crate) rows_estimated: u64,
    pub(crate) bytes_done: u64,
    pub(crate) rows_per_second: f64,
    pub(crate) eta_seconds: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) lag_bytes: Option<u64>,
    pub(crate) spool_bytes: u64,
    /// Where the copy started.
    pub(crate) start_position: Option<String>,
    pub(crate) source_position: Option<String>,
    pub(crate) applied_position: Option<String>,
    pub(crate) target_position: Option<String>,
    pub(crate) retries: u64,
    pub(crate) divergences: u64,
    pub(crate) apply: ApplyDocument,
    /// What is different on the target and why.
    pub(crate) rewrites: Vec<String>,
    pub(crate) allowed_actions: Vec<String>,
    pub(crate) next_action: String,
    pub(crate) error: Option<ErrorDocument>,
    /// The writers are on the target, and changes go from there to the source.
    pub(crate) reverse: bool,
}

/// What applies changes; counted since the run began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ApplyDocument {
    pub(crate) transactions: u64,
    pub(crate) row_events: u64,
    pub(crate) transactions_per_second: f64,
    pub(crate) row_events_per_second: f64,
    /// Row events for each row written.
    pub(crate) compaction_ratio: Option<f64>,
    pub(crate) workers: u64,
    pub(crate) workers_busy: u64,
    pub(crate) conflicts: u64,
}

/// One step of a status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StepDocument {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) percent: Option<f64>,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
}

impl StepDocument {
    /// Returns how long it took; nothing before its end.
    pub(crate) fn took(&self) -> Option<Duration> {
        let time = |time: &Option<String>| time.as_deref()?.parse::<Timestamp>().ok();
        let took = time(&self.finished_at)?.duration_since(time(&self.started_at)?);
        // A clock that was set back says nothing.
        took.try_into().ok()
    }
}

/// One table of a status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableDocument {
    pub(crate) table: String,
    pub(crate) rows_done: u64,
    pub(crate) rows_estimated: u64,
    pub(crate) bytes_done: u64,
    pub(crate) state: String,
    /// How it was copied; null while it is being copied.
    #[serde(flatten)]
    pub(crate) copy: CopyDocument,
}

/// How a table was copied; nothing is known of it before its rows are there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CopyDocument {
    /// Its name on the target.
    pub(crate) target: Option<String>,
    pub(crate) chunks: Option<u64>,
    /// Chunks that had to be copied a second time because a run ended in the middle of them.
    pub(crate) chunks_again: Option<u64>,
    /// `load-data` or `insert`.
    pub(crate) method: Option<String>,
    /// `lock-free`, or the kind of exact snapshot.
    pub(crate) consistency: Option<String>,
}

/// `dts list`.
#[derive(Debug, Serialize)]
pub(crate) struct TasksDocument {
    pub(crate) tasks: Vec<StatusDocument>,
}

/// `dts validate`.
#[derive(Debug, Serialize)]
pub(crate) struct ValidationDocument {
    result: &'static str,
    items: Vec<ItemDocument>,
    /// Null when the source's tables could not be read.
    plan: Option<PlanDocument>,
}

/// What the task will do, as far as it can be told before it starts.
#[derive(Debug, Serialize)]
struct PlanDocument {
    tables: usize,
    views: usize,
    rows_estimated: u64,
    data_bytes: u64,
    index_bytes: u64,
    lock_free: Vec<String>,
    short_lock: Vec<String>,
    write_method: &'static str,
    duration_estimated_seconds: u64,
    target_bytes: u64,
    spool_bytes: u64,
    rewrites: Vec<String>,
}

impl From<&Plan> for PlanDocument {
    fn from(plan: &Plan) -> Self {
        let names = |tables: &[TableName]| tables.iter().map(ToString::to_string).collect();
        PlanDocument {
            tables: plan.table_count,
            views: plan.view_count,
            rows_estimated: plan.rows_estimated,
            data_bytes: plan.data_bytes,
            index_bytes: plan.index_bytes,
            lock_free: names(&plan.lock_free),
            short_lock: names(&plan.short_lock),
            write_method: plan.write_method.as_str(),
            duration_estimated_seconds: plan.duration_estimated.as_secs(),
            target_bytes: plan.target_bytes,
            spool_bytes: plan.spool_bytes,
            rewrites: plan.rewrites.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct ItemDocument {
    id: &'static str,
    group: &'static str,
    result: &'static str,
    expected: String,
    actual: String,
    message: String,
    fix: String,
    objects: Vec<String>,
}

impl From<&ValidationReport> for ValidationDocument {
    fn from(report: &ValidationReport) -> Self {
        let items = report.items.iter().map(|item| ItemDocument {
            id: item.id,
            group: item.group,
            result: item.result.as_str(),
            expected: item.expected.clone(),
            actual: item.actual.clone(),
            message: item.message.clone(),
            fix: item.fix.clone(),
            objects: item.objects.clone(),
        });
        ValidationDocument {
            result: report.result().as_str(),
            items: items.collect(),
            plan: report.plan.as_ref().map(PlanDocument::from),
        }
    }
}

/// `dts check`.
#[derive(Debug, Serialize)]
pub(crate) struct CheckDocument {
    pub(crate) conclusion: &'static str,
    mode: &'static str,
    seed: Option<u64>,
    pub(crate) rows_compared: u64,
    /// Chunks that a check that was killed had found equal, and that were not compared again.
    chunks_resumed: u64,
    tables: Vec<TableCheckDocument>,
    structure: Option<StructureReport>,
    target_writers: Option<WritersReport>,
}

#[derive(Debug, Serialize)]
struct TableCheckDocument {
    table: String,
    target: String,
    rows_source: u64,
    rows_target: u64,
    rows_compared: u64,
    chunks: u64,
    chunks_total: u64,
    chunks_different: u64,
    differences: Vec<DifferenceDocument>,
    differences_count: u64,
    rows_repaired: u64,
    rows_unsettled: u64,
    incomplete: Option<String>,
    skipped: Option<String>,
}

#[derive(Debug, Serialize)]
struct DifferenceDocument {
    key: Map<String, Value>,
    kind: &'static str,
    columns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<ColumnValues>,
    repaired: bool,
}

impl From<&CheckReport> for CheckDocument {
    fn from(report: &CheckReport) -> Self {
        let tables = report.tables.iter().map(|table| TableCheckDocument {
            table: table.source.to_string(),
            target: table.target.to_string(),
            rows_source: table.rows_source,
            rows_target: table.rows_target,
            rows_compared: table.rows_compared,
            chunks: table.chunks,
            chunks_total: table.chunks_total,
            chunks_different: table.chunks_different,
            differences_count: table.differences_count,
            rows_repaired: table.rows_repaired,
            rows_unsettled: table.rows_unsettled,
            incomplete: table.incomplete.clone(),
            differences: table
                .differences
                .iter()
                .map(|difference| DifferenceDocument {
                    key: difference
                        .key
                        .iter()
                        .map(|(column, value)| (column.clone(), Value::String(value.clone())))
                        .collect(),
                    kind: difference_kind(difference.kind),
                    columns: difference.columns.clone(),
                    values: difference.values.clone(),
                    repaired: difference.repaired,
                })
                .collect(),
            skipped: table.skipped.clone(),
        });
        CheckDocument {
            conclusion: conclusion(report.conclusion),
            mode: check_mode(report.mode),
            seed: report.seed,
            rows_compared: report.rows_compared,
            chunks_resumed: report.chunks_resumed,
            tables: tables.collect(),
            structure: report.structure.clone(),
            target_writers: report.target_writers.clone(),
        }
    }
}

/// Returns the word for what a comparison concludes.
pub(crate) fn conclusion(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Same => "same",
        Conclusion::Different => "different",
        Conclusion::Incomplete => "incomplete",
    }
}

/// Returns the word for how much was compared, as in the task file.
pub(crate) fn check_mode(mode: CheckMode) -> &'static str {
    match mode {
        CheckMode::Full => "full",
        CheckMode::Partial => "partial",
        CheckMode::RowsCount => "rows-count",
        CheckMode::None => "none",
    }
}

/// Returns the word for a kind of difference.
pub(crate) fn difference_kind(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Extra => "extra",
        DifferenceKind::Different => "different",
    }
}
