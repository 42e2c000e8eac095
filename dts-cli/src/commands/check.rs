//! `dts check`: are both sides the same?
use std::path::Path;
use std::time::{Duration, Instant};

use dts_core::checker::{CheckMode, CheckOptions, CheckProgress, Conclusion};
use dts_core::data::TableName;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::Migration;
use dts_core::stop::StopToken;
use dts_core::validator::TaskType;

use super::validate::read_task_file;
use crate::args::{CheckArgs, ModeChoice};
use crate::config::TaskFile;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::CheckDocument;
use crate::output::progress::Display;
use crate::output::{Console, check};
use crate::signals;
use crate::store::{Holder, Lease, Store};

/// Compares both sides, beside the process that runs the task or, without one, applying changes meanwhile.
pub(super) fn execute(args: CheckArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let file = find(&args.task, &mut store, home, console)?;
    let name = file.options.name.as_str();
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let options = options(&args, &file)?;
    let asked_for = options.tables.clone();

    let is_run_elsewhere = store.get(name)?.holder.as_ref().is_some_and(Holder::is_alive);
    let lease = if is_run_elsewhere { None } else { Some(store.take_lease(name, "check", &stop)?) };
    let apply_here = lease.is_some() && file.options.task_type == TaskType::FullAndIncremental;
    let migration = Migration::new(file.options.clone());
    let progress = CheckProgress::new();
    let ended = StopToken::new();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| watch(name, lease, &progress, &ended, &stop, console));
        let report = migration.check(options, apply_here, &stop, &progress);
        ended.stop();
        report
    })?;

    for table in asked_for.iter().flatten() {
        if !report.tables.iter().any(|found| found.source == *table) {
            let hint = "Write names as on the source, and only tables that the task selects.";
            return Err(
                Error::from(ErrorKind::NotFound { what: "table", name: table.to_string() }).with_hint(hint)
            );
        }
    }
    let document = CheckDocument::from(&report);
    store.add_comparison(name, document.conclusion, &serde_json::to_string(&document).unwrap_or_default())?;
    console.text(&check::full(&report, console.has_color()));
    console.document(&document);
    Ok(match report.conclusion {
        Conclusion::Same => ExitStatus::Done,
        Conclusion::Different | Conclusion::Incomplete => ExitStatus::Findings,
    })
}

/// Shows how far it is, and that this process lives.
fn watch(
    name: &str,
    mut lease: Option<Lease>,
    progress: &CheckProgress,
    ended: &StopToken,
    stop: &StopToken,
    console: &Console,
) {
    let mut display = Display::new(console);
    let mut beat_at = Instant::now();
    while ended.sleep(Duration::from_millis(200)).is_ok() {
        display.show_check(name, &progress.counts());
        if let Some(lease) = &mut lease
            && Instant::now() >= beat_at
        {
            beat_at = Instant::now() + Duration::from_secs(1);
            if let Err(error) = lease.beat() {
                log::error!("{error}");
                stop.stop();
            }
        }
    }
    display.clear();
}

/// Reads the task file that was named, or that of the task that was named.
fn find(task: &str, store: &mut Store, home: &Home, console: &Console) -> Result<TaskFile> {
    let path = Path::new(task);
    // A task's name has neither dots nor slashes.
    let is_path = task.contains(['/', '.']) || (store.find(task)?.is_none() && path.is_file());
    if !is_path {
        let known = store.get(task)?.file;
        return read_task_file(&known, home, console);
    }
    let file = read_task_file(path, home, console)?;
    store.enter(&file)?;
    Ok(file)
}

fn options(args: &CheckArgs, file: &TaskFile) -> Result<CheckOptions> {
    let mut options = file.check.clone();
    if let Some(mode) = args.mode {
        options.mode = match mode {
            ModeChoice::Full => CheckMode::Full,
            ModeChoice::Partial => CheckMode::Partial,
            ModeChoice::RowsCount => CheckMode::RowsCount,
            ModeChoice::None => CheckMode::None,
        };
    }
    options.ratio = args.ratio.unwrap_or(options.ratio);
    options.seed = args.seed.or(options.seed);
    if !args.tables.is_empty() {
        options.tables = Some(args.tables.iter().map(|name| table_name(name)).collect::<Result<_>>()?);
    }
    Ok(options)
}

/// Reads `database.table`; a name with a dot is written in backticks.
fn table_name(text: &str) -> Result<TableName> {
    let wrong = || Error::invalid("--tables", text, "database.table; write a name with a dot in backticks");
    let (database, rest) = name_part(text).ok_or_else(wrong)?;
    let (table, rest) = rest.strip_prefix('.').and_then(name_part).ok_or_else(wrong)?;
    if rest.is_empty() { Ok(TableName::new(database, table)) } else { Err(wrong()) }
}

fn name_part(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(quoted) => quoted.split_once('`')?,
        None => text.split_at(text.find('.').unwrap_or(text.len())),
    };
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_database() {
        assert_eq!(table_name("shop.orders").unwrap(), TableName::new("shop", "orders"));
        assert_eq!(table_name("`a.b`.`c.d`").unwrap(), TableName::new("a.b", "c.d"));
        for wrong in ["orders", "", ".", "shop.", ".orders", "a.b.c", "`a.b"] {
            assert!(table_name(wrong).is_err(), "{wrong}");
        }
    }
}
