//! The documents for programs. Their names and forms are part of what scripts rely on: fields may be added, never
//! renamed or removed.
use dts_core::checker::{
    CheckMode, CheckReport, ColumnValues, Conclusion, DifferenceKind, StructureReport, WritersReport,
};
use dts_core::cutover::{CutoverReport, CutoverStep};
use dts_core::data::{Position, TableName};
use dts_core::error::Error;
use dts_core::migration::{CompletionReport, Remains, State};
use dts_core::validator::{Plan, ValidationReport};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    pub(crate) source_position: Option<String>,
    pub(crate) applied_position: Option<String>,
    pub(crate) target_position: Option<String>,
    pub(crate) retries: u64,
    pub(crate) divergences: u64,
    pub(crate) apply: ApplyDocument,
    pub(crate) allowed_actions: Vec<String>,
    pub(crate) next_action: String,
    pub(crate) error: Option<ErrorDocument>,
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

/// One table of a status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableDocument {
    pub(crate) table: String,
    pub(crate) rows_done: u64,
    pub(crate) rows_estimated: u64,
    pub(crate) state: String,
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

/// The end of a task as planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CompletionDocument {
    pub(crate) task: String,
    pub(crate) state: String,
    /// Where the source was at the end, and what of it is on the target.
    pub(crate) source_position: Option<String>,
    pub(crate) applied_position: Option<String>,
    /// The target's own position after everything.
    pub(crate) target_position: Option<String>,
    /// What the source had beyond that, when it had anything.
    pub(crate) not_applied: Option<String>,
    /// Whether lag 0 was not waited for.
    pub(crate) immediately: bool,
    pub(crate) triggers: usize,
    pub(crate) events: usize,
    pub(crate) programs: usize,
    pub(crate) views: usize,
    /// Tables whose AUTO_INCREMENT was raised.
    pub(crate) counters: usize,
    pub(crate) rewrites: Vec<String>,
    pub(crate) seconds: f64,
}

impl CompletionDocument {
    /// Takes what a completion reports.
    pub(crate) fn new(task: &str, immediately: bool, report: &CompletionReport) -> Self {
        let text = |position: &Option<Position>| position.as_ref().map(Position::to_string);
        CompletionDocument {
            task: task.to_owned(),
            state: State::Completed.name().to_owned(),
            source_position: text(&report.source_position),
            applied_position: text(&report.applied_position),
            target_position: report.target_position.clone(),
            immediately,
            not_applied: (!report.not_applied.is_empty()).then(|| report.not_applied.to_string()),
            triggers: report.triggers,
            events: report.events,
            programs: report.programs,
            views: report.views,
            counters: report.counters,
            rewrites: report.rewrites.clone(),
            seconds: report.elapsed.as_secs_f64(),
        }
    }
}

/// How the writers went over to the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CutoverDocument {
    pub(crate) task: String,
    /// Nothing was changed.
    pub(crate) dry_run: bool,
    /// An earlier call had begun it.
    pub(crate) resumed: bool,
    pub(crate) steps: Vec<CutoverStepDocument>,
    /// Where the source was after its last write.
    pub(crate) source_position: Option<String>,
    /// The target's own position when it was opened.
    pub(crate) target_position: Option<String>,
    /// From the first refused write on the source until the target was open; null when another call closed the gate.
    pub(crate) write_stop_seconds: Option<f64>,
    pub(crate) rewrites: Vec<String>,
}

/// A step of a cut-over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CutoverStepDocument {
    pub(crate) name: String,
    pub(crate) saw: Vec<String>,
    pub(crate) seconds: f64,
}

impl CutoverDocument {
    /// Takes what a cut-over reports.
    pub(crate) fn new(task: &str, report: &CutoverReport) -> Self {
        let step = |step: &CutoverStep| CutoverStepDocument {
            name: step.name.name().to_owned(),
            saw: step.saw.clone(),
            seconds: step.took.as_secs_f64(),
        };
        CutoverDocument {
            task: task.to_owned(),
            dry_run: report.dry_run,
            resumed: report.resumed,
            steps: report.steps.iter().map(step).collect(),
            source_position: report.source_position.clone(),
            target_position: report.target_position.clone(),
            write_stop_seconds: report.write_stop.map(|stop| stop.as_secs_f64()),
            rewrites: report.rewrites.clone(),
        }
    }
}

/// What a task that was stopped for good has left on the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RemainsDocument {
    pub(crate) task: String,
    pub(crate) state: String,
    /// Whether the target could be asked.
    pub(crate) known: bool,
    /// How far the task came, in the words of the ledger; null when it never began.
    pub(crate) phase: Option<String>,
    pub(crate) applied_position: Option<String>,
    pub(crate) tables: Vec<RemainingTableDocument>,
    pub(crate) objects: Vec<RemainingObjectDocument>,
}

/// A table that a task has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RemainingTableDocument {
    pub(crate) table: String,
    /// Rows that the copy brought.
    pub(crate) rows: u64,
    pub(crate) state: String,
}

/// Another object that a task has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RemainingObjectDocument {
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl RemainsDocument {
    /// Takes what the target says; `None` when it could not be asked.
    pub(crate) fn new(task: &str, remains: Option<&Remains>) -> Self {
        let tables = remains.iter().flat_map(|remains| &remains.tables);
        let objects = remains.iter().flat_map(|remains| &remains.objects);
        RemainsDocument {
            task: task.to_owned(),
            state: State::Stopped.name().to_owned(),
            known: remains.is_some(),
            phase: remains.and_then(|remains| remains.phase).map(ToOwned::to_owned),
            applied_position: remains
                .and_then(|remains| remains.applied_position.as_ref())
                .map(Position::to_string),
            tables: tables
                .map(|table| RemainingTableDocument {
                    table: table.name.to_string(),
                    rows: table.rows,
                    state: table.state.name().to_owned(),
                })
                .collect(),
            objects: objects
                .map(|(kind, name)| RemainingObjectDocument {
                    kind: kind.to_string(),
                    name: name.to_string(),
                })
                .collect(),
        }
    }
}
