//! A report in words: sections in the order in which a person reads them, made of a few kinds of blocks.
mod actions;
mod checks;
mod summary;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ReportDocument;
use super::chart::{self, Figure};
use super::rows::{Completion, Cutover};
use crate::output::format::{bytes, count, counted, duration};
use crate::output::json::ErrorDocument;
use crate::output::table::Tone;
use crate::store::Kept;

/// A report in words.
#[derive(Debug)]
pub(super) struct View {
    pub(super) task: String,
    pub(super) state: Word,
    /// What it comes to, in a sentence.
    pub(super) verdict: String,
    pub(super) error: Option<ErrorDocument>,
    pub(super) next: String,
    pub(super) generated_at: String,
    pub(super) version: String,
    pub(super) sections: Vec<Section>,
}

/// A part with a title.
#[derive(Debug)]
pub(super) struct Section {
    /// For links.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// What sections are made of.
#[derive(Debug)]
pub(super) enum Block {
    /// A sentence.
    Note(Word),
    /// A sub-title.
    Head(String),
    /// Single values that matter most.
    Tiles(Vec<Tile>),
    /// Names and values.
    Facts(Vec<(&'static str, String)>),
    /// A table.
    Grid(Grid),
    /// A long table that not everybody reads.
    Folded(String, Grid),
    /// Lines of text.
    List(Vec<String>),
    /// What a validation found.
    Findings(Vec<Finding>),
    /// Plots.
    Figures(Vec<Figure>),
}

/// A value that matters.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) label: &'static str,
    pub(super) value: Word,
    pub(super) note: String,
}

/// A table.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Word>>,
}

/// A text and how it stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// Something that a validation did not pass, and what to do.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) result: Word,
    pub(super) id: String,
    pub(super) message: String,
    /// Names and texts; texts may have several lines.
    pub(super) details: Vec<(&'static str, String)>,
}

impl Word {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Word { text: text.into(), tone: Tone::Plain }
    }

    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Word { text: text.into(), tone }
    }
}

impl Section {
    fn new(id: &'static str, title: &'static str, blocks: Vec<Block>) -> Self {
        Section { id, title, blocks }
    }
}

impl View {
    /// Says in words what the document has.
    pub(super) fn new(document: &ReportDocument) -> Self {
        let sections = vec![
            Section::new("summary", "Summary", summary::blocks(document)),
            Section::new("timeline", "Timeline", timeline(document)),
            Section::new("progress", "Throughput and lag", progress(document)),
            Section::new("tables", "Tables", tables(document)),
            Section::new("validation", "Validation", checks::validation(document)),
            Section::new("checks", "Checks of the data", checks::comparisons(document)),
            Section::new("cutover", "Cut-over and end", actions::blocks(document)),
            Section::new("rewritten", "Rewritten and degraded", rewritten(document)),
            Section::new("positions", "Positions", positions(document)),
        ];
        let status = &document.status;
        View {
            task: document.task.clone(),
            state: state(&status.state),
            verdict: summary::verdict(document),
            error: status.error.clone(),
            next: status.next_action.clone(),
            generated_at: moment(&document.generated_at),
            version: document.version.clone(),
            sections,
        }
    }
}

/// Returns a state as it stands out.
fn state(name: &str) -> Word {
    let tone = match name {
        "failed" | "validation_failed" => Tone::Bad,
        "completed" | "ready_to_complete" => Tone::Good,
        "running" | "retrying" | "stopped" | "stopping" => Tone::Doubtful,
        _ => Tone::Plain,
    };
    Word::new(name.replace('_', " "), tone)
}

/// Returns a time as people read it: without its zone, which is UTC everywhere.
fn moment(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

/// Returns how long it was from one time to another; nothing when that cannot be told or the clock was set back.
fn between(from: &str, to: &str) -> Option<std::time::Duration> {
    let (from, to): (Timestamp, Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    to.duration_since(from).try_into().ok()
}

fn lasted(from: Option<&str>, to: Option<&str>) -> String {
    from.zip(to).and_then(|(from, to)| between(from, to)).map_or(String::new(), duration)
}

/// Returns a stored document as what it should be; nothing when it is something else.
fn parsed<T: DeserializeOwned>(document: &Value) -> Option<T> {
    serde_json::from_value(document.clone()).ok()
}

/// Returns the last record of a kind.
fn last_record<'d>(document: &'d ReportDocument, kind: &str) -> Option<&'d Kept> {
    document.records.iter().rev().find(|record| record.word == kind)
}

fn last_cutover(document: &ReportDocument) -> Option<Cutover> {
    last_record(document, "cutover").and_then(|record| parsed(&record.document))
}

fn last_rollback(document: &ReportDocument) -> Option<Cutover> {
    last_record(document, "rollback").and_then(|record| parsed(&record.document))
}

fn last_completion(document: &ReportDocument) -> Option<Completion> {
    last_record(document, "completion").and_then(|record| parsed(&record.document))
}

fn timeline(document: &ReportDocument) -> Vec<Block> {
    let steps = document.status.steps.iter().map(|step| {
        let tone = match step.state.as_str() {
            "done" => Tone::Good,
            "failed" => Tone::Bad,
            "running" => Tone::Doubtful,
            _ => Tone::Faint,
        };
        let time = |time: &Option<String>| Word::plain(time.as_deref().map(moment).unwrap_or_default());
        let end = step
            .finished_at
            .as_deref()
            .or_else(|| (step.state == "running").then_some(document.generated_at.as_str()));
        vec![
            Word::plain(step.name.replace('_', " ")),
            Word::new(&step.state, tone),
            time(&step.started_at),
            time(&step.finished_at),
            Word::plain(lasted(step.started_at.as_deref(), end)),
        ]
    });
    let steps = Grid { head: vec!["step", "state", "started", "finished", "took"], rows: steps.collect() };
    let ends = document.history.iter().skip(1).map(|next| Some(next.at.as_str()));
    let changes = document.history.iter().zip(ends.chain([None])).map(|(change, end)| {
        vec![
            Word::plain(moment(&change.at)),
            state(&change.to),
            Word::plain(&change.reason),
            Word::plain(lasted(Some(&change.at), end)),
        ]
    });
    let changes = Grid { head: vec!["time", "state", "why", "lasted"], rows: changes.collect() };
    let head = |text: &str| Block::Head(text.to_owned());
    if changes.rows.is_empty() {
        return vec![head("Steps"), Block::Grid(steps), note("Nothing has happened yet.")];
    }
    vec![
        head("Steps, as of the last run that did them"),
        Block::Grid(steps),
        head("States"),
        Block::Grid(changes),
    ]
}

fn progress(document: &ReportDocument) -> Vec<Block> {
    let figures = chart::figures(&document.samples);
    if figures.is_empty() {
        return vec![note("Nothing was measured: no run lasted long enough.")];
    }
    vec![Block::Figures(figures)]
}

fn tables(document: &ReportDocument) -> Vec<Block> {
    let tables = &document.status.tables;
    if tables.is_empty() {
        return vec![note("No table has been copied.")];
    }
    let checked = checks::words_by_table(document);
    let rows = tables.iter().map(|table| {
        let copy = &table.copy;
        let text = |text: &Option<String>| Word::plain(text.clone().unwrap_or_default());
        let again = copy.chunks_again.unwrap_or(0);
        let tone = if matches!(table.state.as_str(), "done" | "copied") { Tone::Good } else { Tone::Plain };
        vec![
            Word::plain(&table.table),
            match &copy.target {
                Some(target) if *target == table.table => Word::new("same name", Tone::Faint),
                target => text(target),
            },
            Word::plain(count(table.rows_done)),
            Word::plain(bytes(table.bytes_done)),
            Word::new(&table.state, tone),
            text(&copy.consistency),
            text(&copy.method),
            Word::plain(copy.chunks.map_or(String::new(), count)),
            Word::new(count(again), if again > 0 { Tone::Doubtful } else { Tone::Faint }),
            checked.get(&table.table).cloned().unwrap_or_else(|| Word::new("not compared", Tone::Faint)),
        ]
    });
    let grid = Grid {
        head: vec![
            "table",
            "on the target",
            "rows copied",
            "size",
            "state",
            "read",
            "written",
            "chunks",
            "copied again",
            "last check",
        ],
        rows: rows.collect(),
    };
    let lead = format!(
        "{} copied. Read: lock-free in chunks, or from an exact snapshot where rows have no key or foreign keys change them. \
         Copied again: chunks that a run which ended had begun. Rows that came later as changes are not counted here.",
        counted(tables.len() as u64, "table")
    );
    vec![note(lead), folded_when_long(grid)]
}

/// A table that nobody reads from its beginning to its end is folded away.
fn folded_when_long(grid: Grid) -> Block {
    const LONG: usize = 200;
    if grid.rows.len() <= LONG {
        return Block::Grid(grid);
    }
    Block::Folded(format!("all {}", counted(grid.rows.len() as u64, "table")), grid)
}

fn rewritten(document: &ReportDocument) -> Vec<Block> {
    let mut lines = document.status.rewrites.clone();
    let later = last_completion(document).map(|end| end.rewrites).into_iter();
    let moved = [last_cutover(document), last_rollback(document)].into_iter().flatten();
    for line in later.chain(moved.map(|end| end.rewrites)).flatten() {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return vec![note("Nothing: everything is on the target as it is on the source.")];
    }
    vec![note("What is different on the target, and why:"), Block::List(lines)]
}

fn positions(document: &ReportDocument) -> Vec<Block> {
    let status = &document.status;
    let mut facts = Vec::new();
    let mut add = |name, value: &Option<String>| {
        if let Some(value) = value {
            facts.push((name, value.clone()));
        }
    };
    add("the copy started from", &status.start_position);
    add("source, last seen", &status.source_position);
    add("applied on the target", &status.applied_position);
    add("target's own, last seen", &status.target_position);
    if let Some(cutover) = last_cutover(document) {
        add("source at the cut-over", &cutover.source_position);
        add("target when it was opened", &cutover.target_position);
    }
    if let Some(back) = last_rollback(document) {
        add("target at the way back", &back.target_position);
        add("source when it was opened", &back.source_position);
    }
    if let Some(completion) = last_completion(document) {
        add("source at the completion", &completion.source_position);
        add("applied at the completion", &completion.applied_position);
        add("target at the completion", &completion.target_position);
        add("NOT applied", &completion.not_applied);
    }
    if facts.is_empty() { vec![note("None yet: no run has begun.")] } else { vec![Block::Facts(facts)] }
}

fn note(text: impl Into<String>) -> Block {
    Block::Note(Word::plain(text))
}
