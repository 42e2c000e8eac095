//! What validations and comparisons found.
use std::collections::BTreeMap;

use super::{Block, Finding, Grid, ReportDocument, Word, folded_when_long, moment, note, parsed};
use crate::output::format::{count, counted};
use crate::output::report::rows::{
    ComparedTable, Comparison, Structure, StructurePart, Validation, ValidationItem, Writers,
};
use crate::output::table::Tone;

/// How many differing rows of a table are named; the document for programs has more.
const KEYS_SHOWN: usize = 20;

/// Returns what the last validation found, and that there were others.
pub(super) fn validation(document: &ReportDocument) -> Vec<Block> {
    let Some(last) = document.validations.last() else { return vec![note("It was never validated.")] };
    let found = parsed::<Validation>(&last.document).unwrap_or_default();
    let number = |result: &str| found.items.iter().filter(|item| item.result == result).count() as u64;
    let counts: Vec<String> = ["fail", "blocked", "warn", "ignored", "pass"]
        .into_iter()
        .filter(|result| number(result) > 0)
        .map(|result| format!("{} {result}", number(result)))
        .collect();
    let lead = format!("{} at {}: {}.", found.result, moment(&last.at), counts.join(", "));
    let mut blocks = vec![Block::Note(Word::new(lead, result_tone(&found.result)))];
    let is_clean = |item: &&ValidationItem| item.result == "pass";
    let mut findings: Vec<&ValidationItem> = found.items.iter().filter(|item| !is_clean(item)).collect();
    findings.sort_by_key(|item| match item.result.as_str() {
        "fail" => 0,
        "blocked" => 1,
        "warn" => 2,
        _ => 3,
    });
    if !findings.is_empty() {
        blocks.push(Block::Findings(findings.into_iter().map(finding).collect()));
    }
    let passed: Vec<Vec<Word>> = found
        .items
        .iter()
        .filter(is_clean)
        .map(|item| vec![Word::plain(&item.id), Word::plain(&item.actual)])
        .collect();
    if !passed.is_empty() {
        let title = format!("{} passed", counted(passed.len() as u64, "item"));
        blocks.push(Block::Folded(title, Grid { head: vec!["item", "seen"], rows: passed }));
    }
    if document.validations.len() > 1 {
        let rows = document
            .validations
            .iter()
            .map(|kept| vec![Word::plain(moment(&kept.at)), Word::new(&kept.word, result_tone(&kept.word))]);
        let title = format!("all {} validations", document.validations.len());
        blocks.push(Block::Folded(title, Grid { head: vec!["time", "result"], rows: rows.collect() }));
    }
    blocks
}

fn finding(item: &ValidationItem) -> Finding {
    let all = [
        ("seen", item.actual.clone()),
        ("expected", item.expected.clone()),
        ("objects", item.objects.join(", ")),
        ("fix", item.fix.clone()),
    ];
    Finding {
        result: Word::new(&item.result, result_tone(&item.result)),
        id: item.id.clone(),
        message: item.message.clone(),
        details: all.into_iter().filter(|(_, text)| !text.is_empty()).collect(),
    }
}

fn result_tone(result: &str) -> Tone {
    match result {
        "pass" => Tone::Good,
        "warn" | "ignored" => Tone::Doubtful,
        "fail" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// Returns all comparisons, and the last one of them whole.
pub(super) fn comparisons(document: &ReportDocument) -> Vec<Block> {
    let Some(last) = document.checks.last() else {
        return vec![note(format!("No check was made: dts check {}", document.task))];
    };
    let rows = document.checks.iter().map(|kept| {
        let check = parsed::<Comparison>(&kept.document).unwrap_or_default();
        let differences: u64 = check.tables.iter().map(|table| table.differences_count).sum();
        vec![
            Word::plain(moment(&kept.at)),
            Word::new(&kept.word, conclusion_tone(&kept.word)),
            Word::plain(check.mode),
            Word::plain(count(check.rows_compared)),
            Word::plain(count(check.tables.len() as u64)),
            Word::new(count(differences), if differences > 0 { Tone::Bad } else { Tone::Plain }),
        ]
    });
    let head = vec!["time", "conclusion", "mode", "rows compared", "tables", "differing rows"];
    let mut blocks = vec![Block::Grid(Grid { head, rows: rows.collect() })];
    let check = parsed::<Comparison>(&last.document).unwrap_or_default();
    let seed = check.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    blocks.push(Block::Head(format!("The last check, {}{seed}", moment(&last.at))));
    let tables = check.tables.iter().map(|table| {
        let missing = table.skipped.as_ref().or(table.incomplete.as_ref());
        let mut why = missing.cloned().unwrap_or_default();
        if table.rows_unsettled > 0 {
            why.push_str(&format!(" ({} kept changing)", counted(table.rows_unsettled, "row")));
        }
        if table.rows_repaired > 0 {
            why.push_str(&format!(" ({} repaired)", counted(table.rows_repaired, "row")));
        }
        vec![
            Word::plain(&table.table),
            word_of(table),
            Word::plain(count(table.rows_source)),
            Word::plain(count(table.rows_target)),
            Word::plain(count(table.rows_compared)),
            Word::plain(format!("{} of {}", count(table.chunks), count(table.chunks_total))),
            Word::plain(count(table.differences_count)),
            Word::plain(why.trim()),
        ]
    });
    let head =
        vec!["table", "result", "rows source", "rows target", "compared", "chunks", "differing", "remark"];
    blocks.push(folded_when_long(Grid { head, rows: tables.collect() }));
    for table in check.tables.iter().filter(|table| !table.differences.is_empty()) {
        blocks.extend(differences(table));
    }
    blocks.extend(check.structure.iter().flat_map(structure));
    blocks.extend(check.target_writers.as_ref().and_then(writers));
    blocks
}

/// Returns what the last check says of each table.
pub(super) fn words_by_table(document: &ReportDocument) -> BTreeMap<String, Word> {
    let last = document.checks.last().and_then(|kept| parsed::<Comparison>(&kept.document));
    last.unwrap_or_default().tables.iter().map(|table| (table.table.clone(), word_of(table))).collect()
}

fn word_of(table: &ComparedTable) -> Word {
    match table {
        _ if table.skipped.is_some() => Word::new("skipped", Tone::Doubtful),
        _ if table.differences_count > 0 => Word::new("different", Tone::Bad),
        _ if table.incomplete.is_some() || table.rows_unsettled > 0 => {
            Word::new("incomplete", Tone::Doubtful)
        }
        _ => Word::new("same", Tone::Good),
    }
}

fn conclusion_tone(conclusion: &str) -> Tone {
    match conclusion {
        "same" => Tone::Good,
        "different" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

fn differences(table: &ComparedTable) -> Vec<Block> {
    let rows = table.differences.iter().take(KEYS_SHOWN).map(|difference| {
        let key: Vec<String> = difference
            .key
            .iter()
            .map(|(column, value)| format!("{column}={}", value.as_str().unwrap_or_default()))
            .collect();
        let kind = if difference.repaired { "repaired" } else { &difference.kind };
        vec![
            Word::plain(key.join(" ")),
            Word::new(kind, Tone::Bad),
            Word::plain(difference.columns.join(", ")),
        ]
    });
    let all = table.differences_count + table.rows_repaired;
    let shown = table.differences.len().min(KEYS_SHOWN) as u64;
    let more = if all > shown { format!(", {} of them shown", count(shown)) } else { String::new() };
    vec![
        Block::Head(format!("{}: {}{more}", table.table, counted(all, "differing row"))),
        Block::Grid(Grid { head: vec!["row", "on the target", "columns"], rows: rows.collect() }),
    ]
}

fn structure(structure: &Structure) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut parts = |title: &str, parts: &[StructurePart], tone: Tone| {
        if parts.is_empty() {
            return;
        }
        let nothing = || "nothing".to_owned();
        let rows = parts.iter().map(|part| {
            vec![
                Word::new(&part.object, tone),
                Word::plain(&part.part),
                Word::plain(part.source.clone().unwrap_or_else(nothing)),
                Word::plain(part.target.clone().unwrap_or_else(nothing)),
            ]
        });
        blocks.push(Block::Head(title.to_owned()));
        let head = vec!["object", "part", "source", "target"];
        blocks.push(Block::Grid(Grid { head, rows: rows.collect() }));
    };
    parts("Structure that differs", &structure.differences, Tone::Bad);
    parts("Structure that is printed differently and may be the same", &structure.unclear, Tone::Doubtful);
    for (title, names) in [
        ("Not yet on the target; comes when the task is completed", &structure.not_yet),
        ("Only on the target", &structure.only_on_target),
    ] {
        if !names.is_empty() {
            blocks.push(Block::Head(title.to_owned()));
            blocks.push(Block::List(names.clone()));
        }
    }
    if structure.differences.is_empty() {
        let lead = format!("Structure: same ({} compared).", counted(structure.compared, "object"));
        blocks.insert(0, Block::Note(Word::new(lead, Tone::Good)));
    }
    blocks
}

fn writers(writers: &Writers) -> Option<Block> {
    if writers.transactions > 0 {
        let text = format!(
            "ALARM: somebody else writes on the target, {}.",
            counted(writers.transactions, "transaction")
        );
        return Some(Block::Note(Word::new(text, Tone::Bad)));
    }
    let why = writers.incomplete.as_ref()?;
    Some(Block::Note(Word::new(format!("Writes of others on the target: {why}."), Tone::Faint)))
}
