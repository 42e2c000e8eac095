//! Bars that move, on a terminal.
use std::cmp::Reverse;

use dts_core::checker::CheckCounts;
use dts_core::progress::{ProgressSnapshot, Step, TableSnapshot, TableState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::View;
use crate::output::Console;
use crate::output::format::{bytes, count, duration, per_second, percent, whole};

/// How many tables are shown at the same time.
const TABLES_MAX: usize = 8;
/// How many characters a bar has.
const WIDTH: usize = 24;

/// A line for the task and one for each table that is being worked on.
///
/// The lines are made here and only drawn by indicatif, which knows how not to tear them.
pub(crate) struct Bars {
    area: MultiProgress,
    lines: Vec<ProgressBar>,
    has_color: bool,
}

impl Bars {
    pub(super) fn new(console: &Console) -> Self {
        Bars { area: console.bars().clone(), lines: Vec::new(), has_color: console.has_color_on_stderr() }
    }

    pub(super) fn show(&mut self, view: &View<'_>) {
        let texts = self.texts(view);
        self.draw(texts);
    }

    pub(super) fn show_check(&mut self, counts: &CheckCounts) {
        let text = check_text(counts, self.has_color);
        self.draw(vec![text]);
    }

    fn draw(&mut self, texts: Vec<String>) {
        while self.lines.len() > texts.len() {
            if let Some(line) = self.lines.pop() {
                line.finish_and_clear();
                self.area.remove(&line);
            }
        }
        while self.lines.len() < texts.len() {
            let line = self.area.add(ProgressBar::new_spinner());
            // Cut to the terminal's width, so that a line never becomes two.
            line.set_style(
                ProgressStyle::with_template("{wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            self.lines.push(line);
        }
        for (line, text) in self.lines.iter().zip(texts) {
            line.set_message(text);
            line.tick();
        }
    }

    pub(super) fn clear(mut self) {
        for line in self.lines.drain(..) {
            line.finish_and_clear();
            self.area.remove(&line);
        }
    }

    fn texts(&self, view: &View<'_>) -> Vec<String> {
        let mut texts = vec![head(view, self.has_color)];
        texts.extend(view.check.iter().map(|counts| check_text(counts, self.has_color)));
        let is_worked_on =
            |table: &&TableSnapshot| matches!(table.state, TableState::Copying | TableState::Indexing);
        let mut tables: Vec<(usize, &TableSnapshot)> =
            view.snapshot.tables.iter().filter(is_worked_on).enumerate().collect();
        // Those with the most left, in an order that does not change while they are copied.
        tables.sort_by_key(|(_, table)| Reverse(table.rows_estimated.saturating_sub(table.rows_done)));
        tables.truncate(TABLES_MAX);
        tables.sort_by_key(|(position, _)| *position);
        let tables = tables.into_iter().map(|(_, table)| table);
        let width = tables.clone().map(|table| table.table.to_string().chars().count()).max().unwrap_or(0);
        texts.extend(tables.map(|table| {
            let part = match table.state {
                TableState::Indexing => 100.0 * table.index_part,
                _ => percent(table.rows_done, table.rows_estimated),
            };
            format!(
                "  {:<width$} {} {part:5.1} %  {} of {} rows, {}",
                table.table.to_string(),
                bar(part, self.has_color),
                count(table.rows_done),
                count(table.rows_estimated),
                table.state.name(),
            )
        }));
        texts
    }
}

fn head(view: &View<'_>, has_color: bool) -> String {
    let View { name, state, snapshot, rates, check: _ } = view;
    let step = snapshot.step.map_or("starting", Step::name);
    let mut parts = Vec::new();
    match snapshot.step {
        None | Some(Step::Structure) => {}
        Some(Step::FullLoad) => {
            let part = 100.0 * snapshot.load_part();
            parts.push(format!("{} {part:5.1} %", bar(part, has_color)));
            parts.push(format!("{} of {} rows", count(snapshot.rows_done), count(snapshot.rows_estimated)));
            parts.push(tables(snapshot, |state| !matches!(state, TableState::Waiting | TableState::Copying)));
            parts.push(per_second(rates.rows));
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is never negative, and `as` keeps to the limits of u64"
            )]
            parts.push(format!("{}/s", bytes(rates.bytes as u64)));
            if let Some(eta) = rates.eta {
                parts.push(format!("{} left", duration(eta)));
            }
        }
        Some(Step::IndexBuild) => {
            let part = 100.0 * snapshot.index_part();
            parts.push(format!("{} {part:5.1} %", bar(part, has_color)));
            parts.push(tables(snapshot, |state| state == TableState::Done));
        }
        Some(Step::CatchUp | Step::InSync) => {
            parts.push(snapshot.lag.map_or("lag unknown".to_owned(), |lag| format!("lag {}", duration(lag))));
            parts.push(format!(
                "{} transactions ({})",
                count(snapshot.transactions_applied),
                per_second(rates.transactions)
            ));
            parts.push(format!("{} row events/s", whole(rates.row_events)));
        }
    }
    if snapshot.spool_bytes > 0 {
        parts.push(format!("spool {}", bytes(snapshot.spool_bytes)));
    }
    if snapshot.retries > 0 {
        parts.push(format!("retries {}", snapshot.retries));
    }
    format!("{name}  {state}  {step}  {}", parts.join("  "))
}

/// Returns how many of the tables are done.
fn tables(snapshot: &ProgressSnapshot, is_done: impl Fn(TableState) -> bool) -> String {
    let done = snapshot.tables.iter().filter(|table| is_done(table.state)).count();
    format!("{done} of {} tables", snapshot.tables.len())
}

fn check_text(counts: &CheckCounts, has_color: bool) -> String {
    let rows = counts.rows_estimated.max(counts.rows_compared);
    let part = percent(counts.rows_compared, rows);
    format!(
        "check  {} {part:5.1} %  {} of {} rows  {} of {} tables  {} differences",
        bar(part, has_color),
        count(counts.rows_compared),
        count(rows),
        counts.tables_done,
        counts.tables,
        count(counts.differences),
    )
}

fn bar(part: f64, has_color: bool) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between 0 and the width"
    )]
    let full = ((part / 100.0 * WIDTH as f64).round() as usize).min(WIDTH);
    let (full, rest) = ("█".repeat(full), "░".repeat(WIDTH - full));
    if has_color { format!("\x1b[32m{full}\x1b[2m{rest}\x1b[0m") } else { format!("{full}{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_always_the_same_width() {
        for part in [0.0, 0.1, 33.3, 50.0, 99.99, 100.0, 120.0] {
            assert_eq!(bar(part, false).chars().count(), WIDTH);
        }
    }
}
