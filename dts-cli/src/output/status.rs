//! Where a task stands: the document, and the same for people.
use std::time::{Duration, SystemTime};

use dts_core::data::Position;
use dts_core::migration::{Action, State};
use dts_core::progress::{CopyFacts, ProgressSnapshot, Step, StepProgress, StepState};
use jiff::Timestamp;

use super::format::{bytes, count, counted, duration, per_second};
use super::json::{ApplyDocument, CopyDocument, StatusDocument, StepDocument, TableDocument};
use super::next_action::next_action;
use super::progress::View;
use super::table::{Tone, cell, render, table};
use crate::store::Task;

/// Returns the document of a task: what its process wrote last, under the state that the store knows.
pub(crate) fn document(task: &Task, conclusion: Option<&str>) -> StatusDocument {
    let written = task.status.as_deref().and_then(|text| serde_json::from_str::<StatusDocument>(text).ok());
    let mut document = written.unwrap_or_else(|| StatusDocument {
        steps: Step::ALL
            .iter()
            .map(|step| StepDocument {
                name: step.name().to_owned(),
                state: StepState::Waiting.name().to_owned(),
                ..StepDocument::default()
            })
            .collect(),
        ..StatusDocument::default()
    });
    document.name.clone_from(&task.name);
    document.state = task.state.name().to_owned();
    if !task.state.is_active() {
        // Rates are of the moment; nobody works at this one.
        document.rows_per_second = 0.0;
        document.eta_seconds = None;
        let now = if task.state == State::Failed { StepState::Failed } else { StepState::Waiting };
        for step in document.steps.iter_mut().filter(|step| step.state == StepState::Running.name()) {
            now.name().clone_into(&mut step.state);
        }
    }
    document.allowed_actions =
        task.state.allowed_actions().iter().map(|action| action.name().to_owned()).collect();
    if task.state == State::Running && document.step.as_deref() == Some(Step::InSync.name()) {
        // Behind for a moment: these begin with catching up.
        let ends = [Action::Cutover, Action::Rollback, Action::Complete];
        document.allowed_actions.extend(ends.map(|action| action.name().to_owned()));
    }
    // After a cut-over with a reverse channel there is another way to go.
    let impossible: &[Action] =
        if document.reverse { &[Action::Cutover, Action::Stop] } else { &[Action::Rollback] };
    document.allowed_actions.retain(|name| !impossible.iter().any(|action| action.name() == name));
    document.error.clone_from(&task.error);
    document.next_action = next_action(task, &document, conclusion);
    document
}

/// Returns one task for people.
pub(crate) fn one(task: &Task, document: &StatusDocument, color: bool) -> String {
    let mut text = format!("{}: {}", document.name, document.state);
    if let (Some(step), true) = (&document.step, task.state.is_active()) {
        text.push_str(&format!(", {step}"));
    }
    text.push('\n');
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<10} {value}\n"));
    line("file", task.file.display().to_string());
    if let Some(holder) = &task.holder {
        line("process", format!("{} on {}", holder.pid, holder.host));
    }
    line("updated", task.updated_at.clone());
    if let (State::Scheduled, Some(time)) = (task.state, task.start_at) {
        line("starts at", time.to_string());
    }
    if let Some(place) = task.queue_number.filter(|_| task.state == State::Queued) {
        line("queue", format!("number {place}"));
    }
    if !task.settings.in_words().is_empty() {
        line("set", task.settings.in_words());
    }
    if document.rows_estimated > 0 {
        let mut rows = format!("{} of about {}", count(document.rows_done), count(document.rows_estimated));
        if document.rows_per_second > 0.0 {
            rows.push_str(&format!(", {}", per_second(document.rows_per_second)));
        }
        rows.push_str(&format!(", {}", bytes(document.bytes_done)));
        if let Some(eta) = document.eta_seconds {
            rows.push_str(&format!(", {} left", duration(Duration::from_secs(eta))));
        }
        line("rows", rows);
    }
    if let Some(lag) = document.lag_seconds {
        let when = if task.state.is_active() { "" } else { " when it was looked at last" };
        let waiting = document.lag_bytes.unwrap_or(document.spool_bytes);
        line("lag", format!("{lag:.1} s, {} waiting{when}", bytes(waiting)));
    }
    let apply = &document.apply;
    if apply.row_events > 0 {
        let mut text = format!(
            "{}, {}, {} of {} busy",
            counted(apply.transactions, "transaction"),
            counted(apply.row_events, "row event"),
            apply.workers_busy,
            counted(apply.workers, "worker")
        );
        if let Some(ratio) = apply.compaction_ratio {
            text.push_str(&format!(", {ratio:.1} events a row written"));
        }
        if apply.conflicts > 0 {
            text.push_str(&format!(", {}", counted(apply.conflicts, "conflict")));
        }
        line("apply", text);
    }
    if document.retries > 0 {
        line("retries", document.retries.to_string());
    }
    if document.divergences > 0 {
        line(
            "divergences",
            format!(
                "{} did not fit the target; run dts check {}",
                counted(document.divergences, "change"),
                document.name
            ),
        );
    }
    for (name, position) in [
        ("source", &document.source_position),
        ("applied", &document.applied_position),
        ("target", &document.target_position),
    ] {
        if let Some(position) = position {
            line(name, position.clone());
        }
    }
    if let Some(error) = &document.error {
        line("error", format!("[{}] {}", error.code, error.message));
        line("what to do", error.hint.clone());
    }
    text.push('\n');
    text.push_str(&steps(&document.steps, color));
    if !document.tables.is_empty() {
        text.push_str("\n\n");
        // Only after something went wrong there is something to say here.
        let is_again = document.tables.iter().any(|entry| entry.copy.chunks_again > Some(0));
        let mut head = vec!["table", "rows", "of about", "state"];
        if is_again {
            head.push("chunks again");
        }
        let mut out = table(&head, color);
        for entry in &document.tables {
            let tone =
                if matches!(entry.state.as_str(), "done" | "copied") { Tone::Good } else { Tone::Plain };
            let mut row = vec![
                cell(&entry.table, Tone::Plain),
                cell(count(entry.rows_done), Tone::Plain),
                cell(count(entry.rows_estimated), Tone::Plain),
                cell(&entry.state, tone),
            ];
            if is_again {
                row.push(cell(entry.copy.chunks_again.map_or(String::new(), count), Tone::Plain));
            }
            out.add_row(row);
        }
        text.push_str(&render(out));
    }
    text.push_str(&format!("\n\nnext: {}\n", document.next_action));
    text
}

fn steps(steps: &[StepDocument], color: bool) -> String {
    let mut out = table(&["step", "state", "percent", "started", "finished"], color);
    for step in steps {
        let tone = match step.state.as_str() {
            "done" => Tone::Good,
            "failed" => Tone::Bad,
            "running" => Tone::Doubtful,
            _ => Tone::Faint,
        };
        out.add_row([
            cell(&step.name, Tone::Plain),
            cell(&step.state, tone),
            cell(step.percent.map_or(String::new(), |percent| format!("{percent:.1}")), Tone::Plain),
            cell(step.started_at.as_deref().unwrap_or_default(), Tone::Plain),
            cell(step.finished_at.as_deref().unwrap_or_default(), Tone::Plain),
        ]);
    }
    render(out)
}

/// Returns all tasks for people.
pub(crate) fn list(tasks: &[(Task, StatusDocument)], color: bool) -> String {
    if tasks.is_empty() {
        return "no tasks yet; begin with: dts init task.toml\n".to_owned();
    }
    let mut out = table(&["task", "state", "step", "rows", "lag", "updated", "next"], color);
    for (task, document) in tasks {
        let tone = match task.state {
            State::Failed | State::ValidationFailed => Tone::Bad,
            State::ReadyToComplete | State::Completed => Tone::Good,
            State::Running | State::Retrying => Tone::Doubtful,
            _ => Tone::Plain,
        };
        let step = if task.state.is_active() { document.step.as_deref() } else { None };
        out.add_row([
            cell(&task.name, Tone::Plain),
            cell(task.state, tone),
            cell(step.unwrap_or("-"), Tone::Plain),
            cell(count(document.rows_done), Tone::Plain),
            cell(document.lag_seconds.map_or("-".to_owned(), |lag| format!("{lag:.1} s")), Tone::Plain),
            cell(&task.updated_at, Tone::Plain),
            cell(&document.next_action, Tone::Plain),
        ]);
    }
    format!("{}\n", render(out))
}

/// Returns the document of a task that this process works on.
pub(crate) fn of_progress(view: &View<'_>) -> StatusDocument {
    let View { name, state, snapshot, rates, check: _ } = view;
    let time = |time: Option<SystemTime>| {
        time.and_then(|time| Timestamp::try_from(time).ok()).map(|time| format!("{time:.3}"))
    };
    let seconds = |duration: Duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0;
    StatusDocument {
        name: (*name).to_owned(),
        state: state.name().to_owned(),
        step: snapshot.step.map(|step| step.name().to_owned()),
        steps: snapshot
            .steps
            .iter()
            .map(|step| StepDocument {
                name: step.step.name().to_owned(),
                state: step.state.name().to_owned(),
                percent: percent_of(step, snapshot),
                started_at: time(step.started_at),
                finished_at: time(step.finished_at),
            })
            .collect(),
        tables: snapshot
            .tables
            .iter()
            .map(|table| TableDocument {
                table: table.table.to_string(),
                rows_done: table.rows_done,
                rows_estimated: table.rows_estimated,
                bytes_done: table.bytes_done,
                state: table.state.name().to_owned(),
                copy: table.facts.as_ref().map(copy_of).unwrap_or_default(),
            })
            .collect(),
        rows_done: snapshot.rows_done,
        rows_estimated: snapshot.rows_estimated,
        bytes_done: snapshot.bytes_done,
        rows_per_second: rates.rows.round(),
        eta_seconds: rates.eta.map(|eta| eta.as_secs()),
        lag_seconds: snapshot.lag.map(seconds),
        lag_bytes: snapshot.lag_bytes,
        reverse: snapshot.reverse,
        spool_bytes: snapshot.spool_bytes,
        start_position: snapshot.start_position.as_ref().map(Position::to_string),
        source_position: snapshot.source_position.as_ref().map(Position::to_string),
        applied_position: snapshot.applied_position.as_ref().map(Position::to_string),
        retries: snapshot.retries,
        divergences: snapshot.divergences,
        rewrites: snapshot.rewrites.clone(),
        apply: ApplyDocument {
            transactions: snapshot.transactions_applied,
            row_events: snapshot.row_events_applied,
            transactions_per_second: rates.transactions.round(),
            row_events_per_second: rates.row_events.round(),
            compaction_ratio: (snapshot.apply.rows_written > 0)
                .then(|| snapshot.row_events_applied as f64 / snapshot.apply.rows_written as f64),
            workers: snapshot.apply.workers as u64,
            workers_busy: snapshot.apply.workers_busy as u64,
            conflicts: snapshot.apply.conflicts,
        },
        ..StatusDocument::default()
    }
}

fn copy_of(facts: &CopyFacts) -> CopyDocument {
    CopyDocument {
        target: Some(facts.target.to_string()),
        chunks: Some(facts.chunks),
        chunks_again: Some(facts.chunks_again),
        method: Some(facts.method.to_owned()),
        consistency: Some(facts.consistency.to_owned()),
    }
}

/// Takes over from an earlier document what a later run does not count again: what was copied, and when steps were done.
pub(crate) fn keep_what_was_done(document: &mut StatusDocument, before: &StatusDocument) {
    if document.tables.is_empty() {
        document.tables.clone_from(&before.tables);
        document.rows_done = before.rows_done;
        document.rows_estimated = before.rows_estimated;
        document.bytes_done = before.bytes_done;
    }
    let done = StepState::Done.name();
    for step in document.steps.iter_mut().filter(|step| step.state == done) {
        if let Some(earlier) =
            before.steps.iter().find(|earlier| earlier.name == step.name && earlier.state == done)
        {
            step.clone_from(earlier);
        }
    }
    if document.step.is_none() {
        document.step.clone_from(&before.step);
        if document.steps.iter().all(|step| step.state == StepState::Waiting.name()) {
            document.steps.clone_from(&before.steps);
        }
    }
    let mut rewrites = before.rewrites.clone();
    rewrites.extend(document.rewrites.drain(..).filter(|note| !before.rewrites.contains(note)));
    document.rewrites = rewrites;
    document.start_position = document.start_position.take().or_else(|| before.start_position.clone());
    document.source_position = document.source_position.take().or_else(|| before.source_position.clone());
    document.applied_position = document.applied_position.take().or_else(|| before.applied_position.clone());
}

fn percent_of(step: &StepProgress, snapshot: &ProgressSnapshot) -> Option<f64> {
    match (step.state, step.step) {
        (StepState::Done, _) => Some(100.0),
        (StepState::Waiting, _) => Some(0.0),
        (StepState::Skipped, _) => None,
        (_, Step::FullLoad) => Some(100.0 * snapshot.load_part()),
        (_, Step::IndexBuild) => Some(100.0 * snapshot.index_part()),
        // How far these are cannot be told in percent; the lag can.
        (_, Step::Structure | Step::CatchUp | Step::InSync) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, state: &str, started_at: Option<&str>) -> StepDocument {
        StepDocument {
            name: name.into(),
            state: state.into(),
            started_at: started_at.map(Into::into),
            ..StepDocument::default()
        }
    }

    #[test]
    fn what_an_earlier_run_did_stays_in_the_status() {
        let before = StatusDocument {
            rows_done: 9,
            rewrites: vec!["a".into(), "b".into()],
            tables: vec![TableDocument { table: "shop.t".into(), ..TableDocument::default() }],
            steps: vec![step("full_load", "done", Some("1")), step("in_sync", "running", Some("2"))],
            ..StatusDocument::default()
        };
        let mut resumed = StatusDocument {
            step: Some("in_sync".into()),
            rewrites: vec!["b".into(), "c".into()],
            steps: vec![step("full_load", "done", Some("7")), step("in_sync", "running", Some("8"))],
            ..StatusDocument::default()
        };
        keep_what_was_done(&mut resumed, &before);
        assert_eq!((resumed.rows_done, resumed.tables.len()), (9, 1));
        assert_eq!(resumed.rewrites, ["a", "b", "c"]);
        assert_eq!(resumed.steps[0].started_at.as_deref(), Some("1"));
        assert_eq!(resumed.steps[1].started_at.as_deref(), Some("8"));
        let mut counted =
            StatusDocument { tables: resumed.tables.clone(), rows_done: 4, ..StatusDocument::default() };
        keep_what_was_done(&mut counted, &before);
        assert_eq!(counted.rows_done, 4, "what is counted anew is what counts");
    }
}
