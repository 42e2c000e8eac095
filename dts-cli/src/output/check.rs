//! The outcome of a comparison for people.
use dts_core::checker::{
    CheckReport, Conclusion, StructureDifference, StructureReport, TableCheck, WritersReport,
};

use super::format::{count, counted, counted_as};
use super::json::{check_mode, conclusion, difference_kind};
use super::table::{Tone, cell, render, table};

/// How many differing keys of one table are listed; the JSON document has all that were kept.
const KEYS_SHOWN: usize = 10;

/// Returns a line per table, the first differing keys, and the conclusion.
pub(crate) fn full(report: &CheckReport, color: bool) -> String {
    let mut tables: Vec<&TableCheck> = report.tables.iter().collect();
    tables.sort_by_key(|table| match table.conclusion() {
        Conclusion::Different => 0,
        Conclusion::Incomplete => 1,
        Conclusion::Same => 2,
    });
    let mut text = String::new();
    if !tables.is_empty() {
        text.push_str(&rows(&tables, color));
        text.push_str("\n\n");
    }
    for table in tables.iter().filter(|table| !table.differences.is_empty()) {
        text.push_str(&keys(table));
    }
    if let Some(structure) = &report.structure {
        text.push_str(&structure_section(structure));
    }
    if let Some(writers) = &report.target_writers {
        text.push_str(&writers_section(writers));
    }
    text.push_str(&in_one_line(report));
    text.push('\n');
    text
}

/// Returns the conclusion with what it rests on.
pub(crate) fn in_one_line(report: &CheckReport) -> String {
    let sum = |of: fn(&TableCheck) -> u64| report.tables.iter().map(of).sum::<u64>();
    let mut facts = vec![
        format!("mode {}", check_mode(report.mode)),
        format!(
            "{} compared in {} of {}",
            counted(report.rows_compared, "row"),
            counted(sum(|table| table.chunks), "chunk"),
            counted(report.tables.len() as u64, "table"),
        ),
    ];
    if let Some(seed) = report.seed {
        facts.push(format!(
            "{} of the chunks chosen with seed {seed}",
            count(sum(|table| table.chunks_total))
        ));
    }
    let differences = sum(|table| table.differences_count);
    if differences > 0 {
        facts.push(counted(differences, "differing row"));
    }
    let repaired = sum(|table| table.rows_repaired);
    if repaired > 0 {
        facts.push(format!("{} repaired", counted(repaired, "row")));
    }
    if report.chunks_resumed > 0 {
        facts.push(format!(
            "{} found equal by a check that was ended before",
            counted(report.chunks_resumed, "chunk")
        ));
    }
    if let Some(structure) = &report.structure {
        facts.push(match structure.differences.len() {
            0 => "structure same".to_owned(),
            count => counted_as(count as u64, "difference of structure", "differences of structure"),
        });
    }
    if let Some(writers) = report.target_writers.as_ref().filter(|writers| writers.transactions > 0) {
        facts.push(format!("{} by others on the target", counted(writers.transactions, "transaction")));
    }
    let incomplete =
        report.tables.iter().filter(|table| table.conclusion() == Conclusion::Incomplete).count();
    if incomplete > 0 {
        facts.push(format!("{} not compared whole", counted(incomplete as u64, "table")));
    }
    format!("check: {} ({})", conclusion(report.conclusion), facts.join(", "))
}

fn rows(tables: &[&TableCheck], color: bool) -> String {
    let mut out = table(
        &["result", "table", "rows source", "rows target", "compared", "chunks", "different", "note"],
        color,
    );
    for table in tables {
        let (word, tone) = match (&table.skipped, table.conclusion()) {
            (Some(_), _) => ("skipped", Tone::Doubtful),
            (None, Conclusion::Different) => ("different", Tone::Bad),
            (None, Conclusion::Incomplete) => ("incomplete", Tone::Doubtful),
            (None, Conclusion::Same) => ("same", Tone::Good),
        };
        let name = if table.source == table.target {
            table.source.to_string()
        } else {
            format!("{} -> {}", table.source, table.target)
        };
        let mut note = table.skipped.clone().or_else(|| table.incomplete.clone()).unwrap_or_default();
        if table.rows_unsettled > 0 {
            note.push_str(&format!(" ({} kept changing)", counted(table.rows_unsettled, "row")));
        }
        out.add_row([
            cell(word, tone),
            cell(name, Tone::Plain),
            cell(count(table.rows_source), Tone::Plain),
            cell(count(table.rows_target), Tone::Plain),
            cell(count(table.rows_compared), Tone::Plain),
            cell(format!("{} of {}", count(table.chunks), count(table.chunks_total)), Tone::Plain),
            cell(count(table.differences_count), Tone::Plain),
            cell(note.trim(), Tone::Plain),
        ]);
    }
    render(out)
}

fn keys(table: &TableCheck) -> String {
    let mut text = format!("{}: {}", table.source, counted(table.differences_count, "differing row"));
    if table.rows_repaired > 0 {
        text.push_str(&format!(", {} repaired", count(table.rows_repaired)));
    }
    text.push('\n');
    for difference in table.differences.iter().take(KEYS_SHOWN) {
        let key: Vec<String> =
            difference.key.iter().map(|(column, value)| format!("{column}={value}")).collect();
        let columns = if difference.columns.is_empty() {
            String::new()
        } else {
            format!(" in {}", difference.columns.join(", "))
        };
        let kind = if difference.repaired { "repaired" } else { difference_kind(difference.kind) };
        text.push_str(&format!("  {kind:9} {}{columns}\n", key.join(" ")));
        for values in &difference.values {
            let shown = |value: &Option<String>| {
                value.as_ref().map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"))
            };
            text.push_str(&format!(
                "            {}: source {}, target {}\n",
                values.column,
                shown(&values.source),
                shown(&values.target)
            ));
        }
    }
    let shown = table.differences.len().min(KEYS_SHOWN) as u64;
    let all = table.differences_count + table.rows_repaired;
    if all > shown {
        text.push_str(&format!("  and {} more; --json lists more of them\n", count(all - shown)));
    }
    text.push('\n');
    text
}

fn structure_section(structure: &StructureReport) -> String {
    let mut text = String::new();
    let lines = |text: &mut String, title: &str, found: &[StructureDifference]| {
        if !found.is_empty() {
            text.push_str(&format!("{title}:\n"));
        }
        for one in found {
            let nothing = || "nothing".to_owned();
            let part = if one.part.is_empty() { String::new() } else { format!(": {}", one.part) };
            text.push_str(&format!(
                "  {}{part}\n    source {}\n    target {}\n",
                one.object,
                one.source.clone().unwrap_or_else(nothing),
                one.target.clone().unwrap_or_else(nothing)
            ));
        }
    };
    lines(&mut text, "structure differs", &structure.differences);
    lines(&mut text, "structure printed differently, may be the same", &structure.unclear);
    for (title, names) in [
        ("not yet on the target; comes when the task is completed", &structure.not_yet),
        ("only on the target", &structure.only_on_target),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("{title}:\n  {}\n", names.join("\n  ")));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn writers_section(writers: &WritersReport) -> String {
    let mut text = String::new();
    if writers.transactions > 0 {
        text.push_str(&format!(
            "ALARM: somebody else writes on the target, {}:\n",
            counted(writers.transactions, "transaction")
        ));
        for write in writers.writes.iter().take(KEYS_SHOWN) {
            text.push_str(&format!("  {} {} in {}\n", write.time, write.gtid, write.tables.join(", ")));
        }
    }
    if let Some(why) = &writers.incomplete {
        text.push_str(&format!("writes of others on the target: {why}\n"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
