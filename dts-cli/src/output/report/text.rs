//! A report as text.
use super::view::{Block, Finding, Grid};
use super::{ReportDocument, View};
use crate::output::table::{cell, fit_to, render, table};

/// How wide tables are where there is no terminal.
const WIDTH: u16 = 160;

/// Returns the report for people who read text.
pub(crate) fn text(document: &ReportDocument, color: bool) -> String {
    let view = View::new(document);
    let mut text = format!("{}: {}\n{}\n", view.task, view.state.text, view.verdict);
    if let Some(error) = &view.error {
        text.push_str(&format!("error: [{}] {}\n  what to do: {}\n", error.code, error.message, error.hint));
    }
    for section in &view.sections {
        text.push_str(&format!("\n== {} ==\n", section.title));
        for block in &section.blocks {
            push(&mut text, block, color);
        }
    }
    text.push_str(&format!("\nnext: {}\n", view.next));
    text.push_str(&format!("made at {} by dts {}; all times are UTC\n", view.generated_at, view.version));
    text
}

fn push(text: &mut String, block: &Block, color: bool) {
    match block {
        Block::Note(note) => text.push_str(&format!("{}\n", note.text)),
        Block::Head(title) => text.push_str(&format!("\n{title}\n")),
        Block::Tiles(tiles) => {
            for tile in tiles {
                text.push_str(&format!("  {:<22} {} ({})\n", tile.label, tile.value.text, tile.note));
            }
        }
        Block::Facts(facts) => {
            for (name, value) in facts {
                text.push_str(&format!("  {name:<26} {value}\n"));
            }
        }
        Block::Grid(grid) => text.push_str(&lines(grid, color)),
        // Nobody can fold them away here.
        Block::Folded(title, _) => text.push_str(&format!("\n{title}; --html and --json have them\n")),
        Block::List(list) => list.iter().for_each(|line| text.push_str(&format!("  {line}\n"))),
        Block::Findings(findings) => {
            findings.iter().for_each(|finding| text.push_str(&self::finding(finding)))
        }
        Block::Figures(figures) => {
            for figure in figures {
                text.push_str(&format!("  {:<36} {}\n", figure.title, figure.caption));
            }
        }
    }
}

fn lines(grid: &Grid, color: bool) -> String {
    let mut out = table(&grid.head, color);
    fit_to(&mut out, WIDTH);
    for row in &grid.rows {
        out.add_row(row.iter().map(|word| cell(&word.text, word.tone)));
    }
    format!("{}\n", render(out))
}

fn finding(finding: &Finding) -> String {
    let mut text = format!("\n{} {}: {}\n", finding.result.text, finding.id, finding.message);
    for (name, value) in &finding.details {
        text.push_str(&format!("  {name}: {}\n", value.replace('\n', "\n    ")));
    }
    text
}
