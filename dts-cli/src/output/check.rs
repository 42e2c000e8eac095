//! The outcome of a comparison for people.
use dts_core::checker::{CheckReport, Conclusion, TableCheck};

use super::format::{count, counted};
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
    for table in tables.iter().filter(|table| table.differences_count > 0) {
        text.push_str(&keys(table));
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
    let mut text = format!("{}: {}\n", table.source, counted(table.differences_count, "differing row"));
    for difference in table.differences.iter().take(KEYS_SHOWN) {
        let key: Vec<String> =
            difference.key.iter().map(|(column, value)| format!("{column}={value}")).collect();
        let columns = if difference.columns.is_empty() {
            String::new()
        } else {
            format!(" in {}", difference.columns.join(", "))
        };
        text.push_str(&format!("  {:9} {}{columns}\n", difference_kind(difference.kind), key.join(" ")));
    }
    let shown = table.differences.len().min(KEYS_SHOWN) as u64;
    if table.differences_count > shown {
        text.push_str(&format!(
            "  and {} more; --json lists more of them\n",
            count(table.differences_count - shown)
        ));
    }
    text.push('\n');
    text
}
