//! `dts check`: are both sides the same?
use std::path::Path;
use std::time::Duration;

use dts_core::checker::{CheckMode, CheckOptions, CheckProgress, Conclusion};
use dts_core::error::Result;
use dts_core::migration::{Migration, TaskType};
use dts_core::stop::StopToken;

use super::validate::read_task_file;
use crate::args::{CheckArgs, ModeChoice};
use crate::config::TaskFile;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::CheckDocument;
use crate::output::{Console, check};
use crate::signals;
use crate::store::{Holder, Store};

/// Compares both sides, beside the process that runs the task or, without one, applying changes meanwhile.
pub(super) fn execute(args: CheckArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let file = find(&args.task, &mut store, home, console)?;
    let name = file.options.name.as_str();
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let options = options(&args, &file)?;

    let is_run_elsewhere = store.get(name)?.holder.as_ref().is_some_and(Holder::is_alive);
    let lease = if is_run_elsewhere { None } else { Some(store.take_lease(name, "check", &stop)?) };
    let apply_here = lease.is_some() && file.options.task_type == TaskType::FullAndIncremental;
    let migration = Migration::new(file.options.clone());
    let ended = StopToken::new();
    let report = std::thread::scope(|scope| {
        if let Some(mut lease) = lease {
            let (ended, stop) = (ended.clone(), stop.clone());
            scope.spawn(move || {
                while ended.sleep(Duration::from_secs(1)).is_ok() {
                    if let Err(error) = lease.beat() {
                        log::error!("{error}");
                        stop.stop();
                    }
                }
            });
        }
        let report = migration.check(options, apply_here, &stop, &CheckProgress::default());
        ended.stop();
        report
    })?;

    let document = CheckDocument::from(&report);
    store.add_comparison(name, document.conclusion, &serde_json::to_string(&document).unwrap_or_default())?;
    console.text(&check::full(&report, console.has_color()));
    console.document(&document);
    Ok(match report.conclusion {
        Conclusion::Same => ExitStatus::Done,
        Conclusion::Different | Conclusion::Incomplete => ExitStatus::Findings,
    })
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
    let mut options = file.options.check.clone();
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
    options.tables.clone_from(&args.tables);
    Ok(options)
}
