//! What a task comes to: one sentence, and the numbers that matter most.
use std::time::Duration;

use super::{
    Block, ReportDocument, Tile, Word, between, last_completion, last_cutover, last_record, last_rollback,
    moment, parsed,
};
use crate::output::format::{bytes, count, counted, duration, per_second};
use crate::output::json::StepDocument;
use crate::output::report::rows::{Comparison, Validation};
use crate::output::table::Tone;
use crate::store::KeptSample;

/// Returns a sentence.
pub(super) fn verdict(document: &ReportDocument) -> String {
    let status = &document.status;
    let ended = document.history.last().map(|change| moment(&change.at)).unwrap_or_default();
    match status.state.as_str() {
        "completed" => {
            let over = last_record(document, "cutover").map(|record| moment(&record.at));
            if let (Some(over), Some(_)) = (&over, last_completion(document)) {
                return format!("Cut over at {over} and completed at {ended}: the application stays on the target.");
            }
            if let (Some(over), Some(cutover)) = (over, last_cutover(document)) {
                let stop = cutover
                    .write_stop_seconds
                    .map_or(String::new(), |seconds| format!(" Writes stopped for {seconds:.3} s."));
                return format!(
                    "Cut over at {over}: the target has everything that the source had, and is open.{stop}"
                );
            }
            match last_completion(document) {
                Some(end) if end.immediately && end.not_applied.is_some() => {
                    format!(
                        "Completed at {ended} as it was, on request: what the source wrote last is NOT on the target."
                    )
                }
                _ => format!("Completed at {ended}: the target has everything that the source had."),
            }
        }
        "ready_to_complete" | "running" | "retrying" if status.reverse => {
            let lag = status.lag_seconds.map_or(String::new(), |lag| format!(", lag {lag:.1} s"));
            format!("The application is on the target: the source follows it{lag}, until the task is rolled back or completed.")
        }
        "paused" if status.reverse => {
            "The reverse channel rests: the application is on the target, and what it writes waits there for the source.".to_owned()
        }
        "ready_to_complete" => {
            let lag = status.lag_seconds.map_or(String::new(), |lag| format!(", lag {lag:.1} s"));
            format!("In sync{lag}: the target follows the source until the task is cut over or completed.")
        }
        "failed" | "validation_failed" => "It cannot go on by itself: an operator must act.".to_owned(),
        "stopped" => format!("Stopped for good at {ended}, before it was complete."),
        "paused" => "It rests; what is done stays done.".to_owned(),
        "created" | "validating" | "validated" | "scheduled" | "queued" => {
            "It has not begun to copy.".to_owned()
        }
        _ => match &status.step {
            Some(step) => format!("Under way: {}.", step.replace('_', " ")),
            None => "Under way.".to_owned(),
        },
    }
}

/// Returns the numbers that matter most, and between which servers.
pub(super) fn blocks(document: &ReportDocument) -> Vec<Block> {
    let mut blocks = vec![Block::Tiles(tiles(document))];
    let mut facts = vec![("task file", document.file.clone())];
    let validation =
        document.validations.last().and_then(|kept| parsed::<Validation>(&kept.document)).unwrap_or_default();
    let seen = |id: &str| validation.items.iter().find(|item| item.id == id).map(|item| item.actual.clone());
    facts.extend(seen("source_connect").map(|seen| ("source", seen)));
    facts.extend(seen("target_connect").map(|seen| ("target", seen)));
    if !document.settings.is_empty() {
        facts.push(("changed while running", document.settings.clone()));
    }
    blocks.push(Block::Facts(facts));
    blocks
}

fn tiles(document: &ReportDocument) -> Vec<Tile> {
    let status = &document.status;
    let mut tiles = Vec::new();
    let mut add = |label, value: Word, note: String| tiles.push(Tile { label, value, note });
    if status.rows_done > 0 {
        let note =
            format!("{} of {}", bytes(status.bytes_done), counted(status.tables.len() as u64, "table"));
        add("rows copied", Word::plain(count(status.rows_done)), note);
    }
    let copy = status.steps.iter().find(|step| step.name == "full_load" && step.state == "done");
    let took = copy.and_then(StepDocument::took);
    if let Some(took) = took.filter(|took| *took > Duration::ZERO && status.rows_done > 0) {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = || per_second(status.rows_done as f64 / took.as_secs_f64());
        let note =
            if is_copied_at_once(document) { rate() } else { "in the last run that copied".to_owned() };
        add("copy took", Word::plain(duration(took)), note);
    }
    let applied = applied(&document.samples).max(status.apply.transactions);
    if applied > 0 {
        add("changes applied", Word::plain(count(applied)), "transactions, in all runs".to_owned());
    }
    let follows = ["ready_to_complete", "running"].contains(&status.state.as_str());
    if let Some(lag) = status.lag_seconds.filter(|_| follows) {
        add("lag", Word::plain(format!("{lag:.1} s")), "when it was looked at last".to_owned());
    }
    if let Some(stop) = last_cutover(document).and_then(|cutover| cutover.write_stop_seconds) {
        add("writes stopped for", Word::plain(format!("{stop:.3} s")), "at the cut-over".to_owned());
    }
    if let Some(stop) = last_rollback(document).and_then(|back| back.write_stop_seconds) {
        add("writes stopped for", Word::plain(format!("{stop:.3} s")), "at the way back".to_owned());
    }
    if let Some(check) = document.checks.last() {
        let compared = parsed::<Comparison>(&check.document).unwrap_or_default();
        let tone = match check.word.as_str() {
            "same" => Tone::Good,
            "different" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        let note = format!("{}, {}", compared.mode, counted(compared.rows_compared, "row"));
        add("last check", Word::new(&check.word, tone), note);
    }
    if let Some(validation) = document.validations.last() {
        let tone = match validation.word.as_str() {
            "pass" => Tone::Good,
            "fail" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        add("validation", Word::new(&validation.word, tone), moment(&validation.at));
    }
    if status.retries > 0 {
        add("tried again", Word::new(count(status.retries), Tone::Doubtful), "in the last run".to_owned());
    }
    if status.divergences > 0 {
        add(
            "did not fit",
            Word::new(count(status.divergences), Tone::Bad),
            "changes, in the last run".to_owned(),
        );
    }
    if let Some((first, last)) = document.history.first().zip(document.history.last()) {
        let end = if status.state == "completed" || status.state == "stopped" {
            &last.at
        } else {
            &document.generated_at
        };
        if let Some(took) = between(&first.at, end) {
            add("in all", Word::plain(duration(took)), format!("since {}", moment(&first.at)));
        }
    }
    tiles
}

/// Returns whether one run has copied all: the times of steps are those of the last run.
fn is_copied_at_once(document: &ReportDocument) -> bool {
    let begun = document.history.iter().filter(|change| change.to == "running");
    let copied = document.status.steps.iter().find(|step| step.name == "full_load");
    let Some(end) = copied.and_then(|step| step.finished_at.as_deref()) else { return false };
    begun.filter(|change| change.at.as_str() <= end).count() <= 1
}

/// Returns how many transactions were applied in all runs: each counts anew.
fn applied(samples: &[KeptSample]) -> u64 {
    let (mut all, mut run) = (0_u64, 0_u64);
    for sample in samples {
        if sample.transactions_applied < run {
            all += run;
        }
        run = sample.transactions_applied;
    }
    all + run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_runs_are_added_up() {
        let samples = [0, 5, 9, 0, 3, 3, 1]
            .map(|transactions_applied| KeptSample { transactions_applied, ..KeptSample::default() });
        assert_eq!(applied(&samples), 9 + 3 + 1);
        assert_eq!(applied(&[]), 0);
    }
}
