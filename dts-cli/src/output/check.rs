//! The outcome of a comparison for people.
use dts_core::checker::{CheckReport, Conclusion, TableCheck};

use super::format::{count, counted};
use super::json::{check_mode, conclusion, difference_kind};
use super::table::{Tone, cell, render, table};

/// How many differing keys of one table are listed; the JSON document has all that were found.
const KEYS_SHOWN: usize = 10;

/// Returns a line per table, the first differing keys, and the conclusion.
pub(crate) fn full(report: &CheckReport, color: bool) -> String {
    let mut tables: Vec<&TableCheck> = report.tables.iter().collect();
    tables.sort_by_key(|table| (!is_different(table), table.skipped.is_none()));
    let mut text = String::new();
    if !tables.is_empty() {
        text.push_str(&rows(&tables, color));
        text.push_str("\n\n");
    }
    for table in tables.iter().filter(|table| !table.differences.is_empty()) {
        text.push_str(&keys(table));
    }
    text.push_str(&in_one_line(report));
    text.push('\n');
    text
}

/// Returns the conclusion with what it rests on.
pub(crate) fn in_one_line(report: &CheckReport) -> String {
    let chunks: u64 = report.tables.iter().map(|table| table.chunks).sum();
    let differences: usize = report.tables.iter().map(|table| table.differences.len()).sum();
    let skipped = report.tables.iter().filter(|table| table.skipped.is_some()).count();
    let mut text = format!(
        "check: {} (mode {}, {} compared in {} of {}, seed {}",
        conclusion(report.conclusion),
        check_mode(report.mode),
        counted(report.rows_compared, "row"),
        counted(chunks, "chunk"),
        counted(report.tables.len() as u64, "table"),
        report.seed,
    );
    if report.conclusion == Conclusion::Different {
        text.push_str(&format!(", {} listed", counted(differences as u64, "differing row")));
    }
    if skipped > 0 {
        text.push_str(&format!(", {} not compared", counted(skipped as u64, "table")));
    }
    text.push(')');
    text
}

fn rows(tables: &[&TableCheck], color: bool) -> String {
    let mut out =
        table(&["result", "table", "rows source", "rows target", "compared", "chunks", "different"], color);
    for table in tables {
        let (word, tone) = match (&table.skipped, is_different(table)) {
            (Some(_), _) => ("skipped", Tone::Doubtful),
            (None, true) => ("different", Tone::Bad),
            (None, false) => ("same", Tone::Good),
        };
        let name = if table.source == table.target {
            table.source.to_string()
        } else {
            format!("{} -> {}", table.source, table.target)
        };
        out.add_row([
            cell(word, tone),
            cell(name, Tone::Plain),
            cell(count(table.rows_source), Tone::Plain),
            cell(count(table.rows_target), Tone::Plain),
            cell(table.skipped.clone().unwrap_or_else(|| count(table.rows_compared)), Tone::Plain),
            cell(count(table.chunks), Tone::Plain),
            cell(count(table.chunks_different), Tone::Plain),
        ]);
    }
    render(&out)
}

fn keys(table: &TableCheck) -> String {
    let mut text =
        format!("{}: {}\n", table.source, counted(table.differences.len() as u64, "differing row"));
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
    if table.differences.len() > KEYS_SHOWN {
        text.push_str(&format!("  and {} more: --json lists them\n", table.differences.len() - KEYS_SHOWN));
    }
    text.push('\n');
    text
}

fn is_different(table: &TableCheck) -> bool {
    table.chunks_different > 0 || !table.differences.is_empty()
}
