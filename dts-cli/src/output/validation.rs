//! The outcome of a validation for people: worst first.
use dts_core::validator::{Item, ItemResult, Plan, ValidationReport};

use super::format::{bytes, count, counted, duration};
use super::table::{Tone, cell, fit_to, render, table};

/// Returns all items, grouped, with the worst first; then what each item that did not pass means and what to do.
pub(crate) fn full(report: &ValidationReport, color: bool) -> String {
    let plan = report.plan.as_ref().map(plan).unwrap_or_default();
    format!("{}{plan}", of(report.worst_first(), report, color))
}

/// Returns what will happen when the task runs.
fn plan(plan: &Plan) -> String {
    let mut text = format!(
        "\nplan: {} and {}, about {} rows, {} of data and {} of indexes; written by {}; about {} for the copy, about {} on the \
         target and {} for the spool\n",
        counted(plan.table_count as u64, "table"),
        counted(plan.view_count as u64, "view"),
        count(plan.rows_estimated),
        bytes(plan.data_bytes),
        bytes(plan.index_bytes),
        plan.write_method.as_str(),
        duration(plan.duration_estimated),
        bytes(plan.target_bytes),
        bytes(plan.spool_bytes),
    );
    if !plan.lock_free.is_empty() {
        text.push_str(&format!(
            "  copied without a lock: {}\n",
            counted(plan.lock_free.len() as u64, "table")
        ));
    }
    if !plan.short_lock.is_empty() {
        let names: Vec<String> = plan.short_lock.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "  from an exact snapshot, under a lock of milliseconds: {}\n",
            some_of(&names)
        ));
    }
    for rewrite in &plan.rewrites {
        text.push_str(&format!("  different on the target: {rewrite}\n"));
    }
    text
}

/// Returns only what needs attention, and the conclusion.
pub(crate) fn brief(report: &ValidationReport, color: bool) -> String {
    let items: Vec<&Item> =
        report.worst_first().into_iter().filter(|item| item.result != ItemResult::Pass).collect();
    if items.is_empty() { format!("{}\n", conclusion(report)) } else { of(items, report, color) }
}

fn of(items: Vec<&Item>, report: &ValidationReport, color: bool) -> String {
    let details: String = items.iter().copied().map(details).collect();
    format!("{}\n\n{details}{}{}\n", rows(&items, color), blocked(&items), conclusion(report))
}

fn rows(items: &[&Item], color: bool) -> String {
    let mut out = table(&["result", "group", "item", "seen"], color);
    fit_to(&mut out, 140);
    for item in items {
        let tone = match item.result {
            ItemResult::Pass => Tone::Good,
            ItemResult::Warn | ItemResult::Ignored => Tone::Doubtful,
            ItemResult::Fail => Tone::Bad,
            ItemResult::Blocked => Tone::Faint,
        };
        out.add_row([
            cell(item.result, tone),
            cell(item.group, Tone::Faint),
            cell(item.id, Tone::Plain),
            cell(&item.actual, Tone::Plain),
        ]);
    }
    render(out)
}

/// Returns what an item means and what to do: as a block of whole lines, so that statements can be copied.
fn details(item: &Item) -> String {
    if matches!(item.result, ItemResult::Pass | ItemResult::Blocked) {
        return String::new();
    }
    let mut text = format!("{} {}: {}\n", item.result, item.id, item.message);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("  {name}: {}\n", value.replace('\n', "\n    ")));
        }
    };
    line("seen", &item.actual);
    line("expected", &item.expected);
    line("objects", &some_of(&item.objects));
    line("fix", &item.fix);
    text.push('\n');
    text
}

/// Returns why items could not be looked at: each reason once, as most are blocked by the same one.
fn blocked(items: &[&Item]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for item in items.iter().filter(|item| item.result == ItemResult::Blocked) {
        match reasons.iter_mut().find(|(reason, _)| *reason == item.message) {
            Some((_, ids)) => ids.push(item.id.to_owned()),
            None => reasons.push((&item.message, vec![item.id.to_owned()])),
        }
    }
    reasons
        .iter()
        .map(|(reason, ids)| format!("blocked {}: {}\n\n", some_of(ids), reason.replace('\n', "\n    ")))
        .collect()
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
        (ItemResult::Blocked, "blocked"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_why_an_item_was_blocked() {
        let text = String::new;
        let item = |id, message: &str| Item {
            id,
            group: "binlog",
            result: ItemResult::Blocked,
            expected: text(),
            actual: text(),
            message: message.to_owned(),
            fix: text(),
            objects: Vec::new(),
        };
        let mut report = ValidationReport::default();
        report.items = vec![item("a", "no answer"), item("b", "lost privilege"), item("c", "no answer")];
        let shown = brief(&report, false);
        for part in ["blocked a, c: no answer\n", "blocked b: lost privilege\n", "(3 items: 3 blocked)"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
