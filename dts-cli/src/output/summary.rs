//! The end of a run for people.
use dts_core::migration::{RunReport, Until};

use super::format::{bytes, count, counted, duration, percent};
use super::json::StepDocument;
use super::table::{Tone, cell, render, table};

/// Returns what a run did. `steps` are those of the task's status: also what earlier runs did.
pub(crate) fn run(
    name: &str,
    until: Until,
    report: &RunReport,
    steps: &[StepDocument],
    color: bool,
) -> String {
    let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
    let size: u64 = report.tables.iter().map(|table| table.bytes).sum();
    let reached = match until {
        Until::Loaded => "all rows are copied",
        Until::Synced => "in sync",
        Until::Stopped => "ended",
    };
    let how = if report.resumed { "resumed, " } else { "" };
    let mut text = format!(
        "{name}: {reached} ({how}{} of {}, {}, {})\n",
        counted(rows, "row"),
        counted(report.tables.len() as u64, "table"),
        bytes(size),
        duration(report.elapsed),
    );
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<16} {value}\n"));
    let took: Vec<String> =
        steps.iter().filter_map(|step| Some(format!("{} {}", step.name, duration(step.took()?)))).collect();
    if !took.is_empty() {
        line("steps", &took.join(", "));
    }
    if let Some(position) = &report.start_position {
        line("started from", &position.to_string());
    }
    if let Some(position) = &report.applied_position {
        line("source position", &position.to_string());
    }
    if let Some(position) = &report.target_position {
        line("target position", position);
    }
    for rewrite in &report.rewrites {
        line("rewritten", rewrite);
    }
    if !report.tables.is_empty() {
        let mut out = table(
            &["table", "target", "rows", "size", "share", "chunks", "again", "method", "consistency"],
            color,
        );
        for table in &report.tables {
            let target =
                if table.source == table.target { "same name".to_owned() } else { table.target.to_string() };
            out.add_row([
                cell(&table.source, Tone::Plain),
                cell(target, Tone::Plain),
                cell(count(table.rows), Tone::Plain),
                cell(bytes(table.bytes), Tone::Plain),
                cell(format!("{:.1} %", percent(table.bytes, size)), Tone::Plain),
                cell(count(table.chunks), Tone::Plain),
                cell(count(table.chunks_copied_again), Tone::Plain),
                cell(table.method, Tone::Plain),
                cell(table.consistency, Tone::Plain),
            ]);
        }
        text.push('\n');
        text.push_str(&render(out));
        text.push('\n');
    }
    text
}
