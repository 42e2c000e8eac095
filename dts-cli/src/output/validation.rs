//! The outcome of a validation for people: worst first.
use dts_core::validator::{Item, ItemResult, ValidationReport};

use super::table::{Tone, cell, render, table};

/// Returns all items, grouped; groups and items with the worst first.
pub(crate) fn full(report: &ValidationReport, color: bool) -> String {
    format!("{}\n\n{}\n", rows(report.worst_first(), color), conclusion(report))
}

/// Returns only what needs attention, and the conclusion.
pub(crate) fn brief(report: &ValidationReport, color: bool) -> String {
    let items: Vec<&Item> =
        report.worst_first().into_iter().filter(|item| item.result != ItemResult::Pass).collect();
    if items.is_empty() {
        return format!("{}\n", conclusion(report));
    }
    format!("{}\n\n{}\n", rows(items, color), conclusion(report))
}

fn rows<'i>(items: impl IntoIterator<Item = &'i Item>, color: bool) -> String {
    let mut out = table(&["result", "group", "item", "seen", "what it means"], color);
    for item in items {
        let tone = match item.result {
            ItemResult::Pass => Tone::Good,
            ItemResult::Warn | ItemResult::Ignored => Tone::Doubtful,
            ItemResult::Fail => Tone::Bad,
            ItemResult::Blocked => Tone::Faint,
        };
        let mut meaning = item.message.clone();
        if item.result != ItemResult::Pass {
            if !item.expected.is_empty() && item.result != ItemResult::Blocked {
                meaning.push_str(&format!("\nexpected: {}", item.expected));
            }
            if !item.objects.is_empty() {
                meaning.push_str(&format!("\nobjects: {}", some_of(&item.objects)));
            }
            if !item.fix.is_empty() {
                meaning.push_str(&format!("\nfix: {}", item.fix));
            }
        }
        out.add_row([
            cell(item.result, tone),
            cell(item.group, Tone::Faint),
            cell(item.id, Tone::Plain),
            cell(&item.actual, Tone::Plain),
            cell(meaning, Tone::Plain),
        ]);
    }
    render(&out)
}

/// Returns the first few names and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// Returns the result with how many items ended how.
pub(crate) fn conclusion(report: &ValidationReport) -> String {
    let number = |result| report.items.iter().filter(|item| item.result == result).count();
    let counts = [
        (ItemResult::Fail, "failed"),
        (ItemResult::Blocked, "blocked by a failed one"),
        (ItemResult::Warn, "warned"),
        (ItemResult::Ignored, "ignored"),
        (ItemResult::Pass, "passed"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(result, word)| (number(result), word))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"))
        .collect();
    format!("validation: {} ({} items: {})", report.result(), report.items.len(), counts.join(", "))
}
