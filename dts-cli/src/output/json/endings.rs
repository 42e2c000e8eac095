//! What a task was ended, cut over or rolled back with.
use dts_core::cutover::{CutoverReport, CutoverStep};
use dts_core::data::Position;
use dts_core::migration::{CompletionReport, Remains, State};
use serde::{Deserialize, Serialize};

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
    /// It was the way back.
    #[serde(default)]
    pub(crate) back: bool,
    /// There is a reverse channel now.
    #[serde(default)]
    pub(crate) reverse: bool,
    /// Nothing was changed.
    pub(crate) dry_run: bool,
    /// An earlier call had begun it.
    pub(crate) resumed: bool,
    pub(crate) steps: Vec<CutoverStepDocument>,
    /// Where the source was after its last write; of the way back, when it was opened.
    pub(crate) source_position: Option<String>,
    /// The target's own position when it was opened; of the way back, after its last write.
    pub(crate) target_position: Option<String>,
    /// From the first refused write on the one side until the other was open; null when another call closed the gate.
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
    pub(crate) fn new(task: &str, back: bool, report: &CutoverReport) -> Self {
        let step = |step: &CutoverStep| CutoverStepDocument {
            name: step.name.name().to_owned(),
            saw: step.saw.clone(),
            seconds: step.took.as_secs_f64(),
        };
        CutoverDocument {
            task: task.to_owned(),
            back,
            reverse: report.reverse,
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
        let accounts = remains.iter().flat_map(|remains| &remains.accounts);
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
                .chain(accounts.map(|account| RemainingObjectDocument {
                    kind: "account".to_owned(),
                    name: account.to_string(),
                }))
                .collect(),
        }
    }
}
