//! What was done to a task at its end: cut-over, completion, stop, and whatever later versions record.
use super::{Block, Grid, ReportDocument, Word, moment, note, parsed};
use crate::output::format::counted;
use crate::output::json::RemainsDocument;
use crate::output::report::rows::{Completion, Cutover};
use crate::output::table::Tone;
use crate::store::Kept;

/// Returns all records, first to last.
pub(super) fn blocks(document: &ReportDocument) -> Vec<Block> {
    if document.records.is_empty() {
        return vec![note("The task was not cut over, completed or stopped.")];
    }
    document.records.iter().flat_map(record).collect()
}

fn record(kept: &Kept) -> Vec<Block> {
    let at = moment(&kept.at);
    match kept.word.as_str() {
        "cutover" | "rollback" => parsed(&kept.document).map(|cutover| self::cutover(&cutover, &at)),
        "completion" => parsed(&kept.document).map(|completion| self::completion(&completion, &at)),
        "stop" => parsed(&kept.document).map(|remains| stop(&remains, &at)),
        _ => None,
    }
    .unwrap_or_else(|| {
        let text = serde_json::to_string_pretty(&kept.document).unwrap_or_default();
        vec![
            Block::Head(format!("{} at {at}", kept.word)),
            Block::List(text.lines().map(Into::into).collect()),
        ]
    })
}

fn cutover(cutover: &Cutover, at: &str) -> Vec<Block> {
    let rows = cutover.steps.iter().map(|step| {
        vec![
            Word::plain(step.name.replace('_', " ")),
            Word::plain(format!("{:.3} s", step.seconds)),
            Word::plain(step.saw.join("\n")),
        ]
    });
    let (title, closed, opened) =
        if cutover.back { ("Way back", "target", "source") } else { ("Cut-over", "source", "target") };
    let mut lead = match cutover.write_stop_seconds {
        Some(seconds) => {
            format!(
                "From the first refused write on the {closed} until the {opened} was open: {seconds:.3} s."
            )
        }
        None => {
            format!("An earlier call had closed the {closed}, so that the time without writes is not known.")
        }
    };
    if cutover.reverse {
        lead.push_str(" From then on the source followed the target.");
    }
    let resumed = if cutover.resumed { ", gone on with after an earlier call" } else { "" };
    vec![
        Block::Head(format!("{title}, done at {at}{resumed}")),
        note(lead),
        Block::Grid(Grid { head: vec!["step", "took", "saw"], rows: rows.collect() }),
    ]
}

fn completion(completion: &Completion, at: &str) -> Vec<Block> {
    let mut facts = vec![
        ("took", format!("{:.1} s", completion.seconds)),
        (
            "created",
            format!("{}, {}", counted(completion.triggers, "trigger"), counted(completion.events, "event")),
        ),
    ];
    if completion.counters > 0 {
        facts.push(("AUTO_INCREMENT raised on", counted(completion.counters, "table")));
    }
    let mut blocks = vec![Block::Head(format!("Completed at {at}"))];
    if let Some(missing) = &completion.not_applied {
        let text = if completion.immediately {
            format!("NOT on the target, as lag 0 was not waited for: {missing}")
        } else {
            format!(
                "came later: {missing} (heartbeats of the source; if an application wrote it, it is not on the target)"
            )
        };
        let tone = if completion.immediately { Tone::Bad } else { Tone::Doubtful };
        blocks.push(Block::Note(Word::new(text, tone)));
    }
    blocks.push(Block::Facts(facts));
    blocks
}

fn stop(remains: &RemainsDocument, at: &str) -> Vec<Block> {
    let head = Block::Head(format!("Stopped for good at {at}"));
    if !remains.known {
        return vec![head, note("The target could not be asked what is left on it.")];
    }
    if remains.phase.is_none() {
        return vec![head, note("The task never began: nothing of it is on the target.")];
    }
    let tables = remains.tables.iter().map(|table| {
        format!("table {} ({}, {} copied)", table.table, table.state, counted(table.rows, "row"))
    });
    let objects = remains.objects.iter().map(|object| format!("{} {}", object.kind, object.name));
    vec![head, note("Left on the target:"), Block::List(tables.chain(objects).collect())]
}
