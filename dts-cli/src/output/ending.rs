//! How a task was paused, stopped or completed: the document, and the same for people.
use dts_core::migration::State;
use serde_json::{Value, json};

use super::cutover;
use super::format::{counted, counted_as, duration};
use super::json::{CompletionDocument, RemainsDocument};
use crate::runner::Outcome;

/// How many tables and objects are listed; the document has all.
const SHOWN: usize = 30;

/// Returns what is told to whoever asked for the end of a run.
pub(crate) fn answer(task: &str, state: State, outcome: &Outcome) -> (Value, String) {
    if let Some(completion) = &outcome.completion {
        return (json!(completion), completed(completion));
    }
    if let Some(document) = &outcome.cutover {
        return (json!(document), cutover::done(document));
    }
    if let Some(remains) = &outcome.remains {
        return (json!(remains), stopped(remains));
    }
    (json!({ "task": task, "state": state.name() }), rests(task, state))
}

/// Returns where a task is that does not run any more.
pub(crate) fn rests(task: &str, state: State) -> String {
    match state {
        State::Paused => {
            format!("{task}: paused; what is done stays done.\nnext: dts resume {task}")
        }
        _ => format!("{task}: {state}"),
    }
}

/// Returns how a task was completed.
pub(crate) fn completed(document: &CompletionDocument) -> String {
    let task = &document.task;
    let mut text = if document.immediately {
        format!("{task}: completed at once, as asked for")
    } else {
        format!("{task}: completed; the target has everything that the source had")
    };
    let elapsed = std::time::Duration::try_from_secs_f64(document.seconds).unwrap_or_default();
    text.push_str(&format!(" ({})\n", duration(elapsed)));
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<16} {value}\n"));
    line("source position", document.source_position.as_deref().unwrap_or("-"));
    line("applied", document.applied_position.as_deref().unwrap_or("-"));
    line("target position", document.target_position.as_deref().unwrap_or("-"));
    match &document.not_applied {
        Some(missing) if document.immediately => line("NOT on the target", missing),
        Some(later) => line(
            "came later",
            &format!(
                "{later} (heartbeats of the source; if an application wrote it, it is not on the target)"
            ),
        ),
        None => {}
    }
    let mut created =
        vec![counted(document.triggers as u64, "trigger"), counted(document.events as u64, "event")];
    if document.programs > 0 {
        created.push(counted(document.programs as u64, "later routine"));
    }
    if document.views > 0 {
        created.push(counted(document.views as u64, "later view"));
    }
    line("created", &created.join(", "));
    if document.counters > 0 {
        line("AUTO_INCREMENT", &format!("raised on {}", counted(document.counters as u64, "table")));
    }
    for rewrite in &document.rewrites {
        line("rewritten", rewrite);
    }
    text.push_str(&format!(
        "next: see that the target's read_only is off and start the application on it; to compare once more: dts check {task}; \
         to remove dts's own records: dts clean {task}"
    ));
    text
}

/// Returns what a stopped task has left, and how to take it away.
pub(crate) fn stopped(document: &RemainsDocument) -> String {
    let task = &document.task;
    let mut text = format!("{task}: stopped for good\n");
    if !document.known {
        text.push_str(&format!(
            "  The target could not be asked what is left on it. Once it can be reached: dts clean {task}"
        ));
        return text;
    }
    if document.phase.is_none() {
        text.push_str("  The task never began: nothing of it is on the target.");
        return text;
    }
    text.push_str("  nothing was changed on the source; left on the target:\n");
    for table in document.tables.iter().take(SHOWN) {
        text.push_str(&format!(
            "    table {} ({}, {})\n",
            table.table,
            table.state,
            counted_as(table.rows, "row copied", "rows copied")
        ));
    }
    for object in document.objects.iter().take(SHOWN) {
        text.push_str(&format!("    {} {}\n", object.kind, object.name));
    }
    let more = document.tables.len().saturating_sub(SHOWN) + document.objects.len().saturating_sub(SHOWN);
    if more > 0 {
        text.push_str(&format!("    and {more} more; --json lists all\n"));
    }
    text.push_str("    the task's records in the schema `__dts__`\n");
    text.push_str(&format!(
        "next: dts clean {task} removes the records and keeps the data; dts clean {task} --drop-data drops the tables and objects \
         above, too"
    ));
    text
}
