//! Tables for people.
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

/// How a cell stands out, where there are colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    Faint,
}

/// Makes an empty table with a head. On a terminal its columns are fitted to the width; elsewhere lines are as long as
/// they are, so that `grep` finds what is on them.
pub(super) fn table(head: &[&str], color: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(head.iter().map(|name| {
        let cell = Cell::new(name.to_uppercase());
        if color { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    if has_width(&table) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Whether it goes to a terminal that knows how wide it is. Those of `script` and of some CI runners say 0.
fn has_width(table: &Table) -> bool {
    const LEAST: u16 = 20;
    table.is_tty() && table.width().is_some_and(|width| width >= LEAST)
}

/// Folds long cells where there is no terminal, too: for texts that nobody cuts into fields.
pub(super) fn fit_to(table: &mut Table, width: u16) {
    if !has_width(table) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
}

/// Makes a cell.
pub(super) fn cell(text: impl ToString, tone: Tone) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Doubtful => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
    }
}

/// Returns the lines, without a margin and without the blanks that fill the last column.
pub(super) fn render(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.trim_fmt()
}
