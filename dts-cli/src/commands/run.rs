//! `dts run`: validate, copy, catch up, stay in sync.
use dts_core::checker::Conclusion;
use dts_core::error::Result;
use dts_core::migration::{Action, Migration, Until};
use dts_core::stop::StopToken;

use super::validate::{exit_status, read_task_file};
use crate::args::{RunArgs, UntilChoice};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::ValidationDocument;
use crate::output::{Console, check, status, summary, validation};
use crate::runner::{Goal, Job, Runner};
use crate::signals;
use crate::store::Store;

/// Works on a task in the foreground, from wherever it stood.
pub(super) fn execute(args: &RunArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let file = read_task_file(&args.file, home, console)?;
    let name = file.options.name.as_str();
    let mut store = Store::open(home)?;
    store.enter(&file)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "pausing… (once more to end at once)")?;
    let lease = store.take_lease(name, "run", &stop)?;
    store.get(name)?.state.allow(Action::Run)?;

    let migration = Migration::new(file.options.clone());
    let mut reader = store.reopen()?;
    let runner = Runner::new(Job::new(&file, &migration), store, lease, console, &stop)?;
    let report = runner.validate()?;
    console.text(&validation::brief(&report, console.has_color()));
    if exit_status(&report) != ExitStatus::Done {
        console.document(&ValidationDocument::from(&report));
        return Ok(ExitStatus::Findings);
    }

    let goal = match args.until {
        Some(UntilChoice::Loaded) => Goal::Loaded,
        Some(UntilChoice::Synced) => Goal::Synced,
        None => Goal::StayInSync,
    };
    let outcome = match runner.run(goal) {
        Ok(outcome) => Some(outcome),
        Err(error) if error.is_interrupted() => None,
        Err(error) => return Err(error),
    };
    drop(runner);

    let task = reader.get(name)?;
    let document = status::document(&task, reader.last_conclusion(name)?.as_deref());
    console.document(&document);
    let Some(outcome) = outcome else {
        console.text(&format!("{name}: paused; what is done stays done. Run again to resume."));
        console.text(&format!("next: {}", document.next_action));
        return Ok(ExitStatus::Interrupted);
    };
    if let Some(report) = &outcome.report {
        let until = if goal == Goal::Loaded { Until::Loaded } else { Until::Synced };
        console.text(&summary::run(name, until, report, console.has_color()));
    }
    if let Some(report) = &outcome.check {
        console.text(&check::full(report, console.has_color()));
    }
    console.text(&format!("next: {}", document.next_action));
    Ok(match outcome.check.map(|check| check.conclusion) {
        None | Some(Conclusion::Same) => ExitStatus::Done,
        Some(Conclusion::Different | Conclusion::Incomplete) => ExitStatus::Findings,
    })
}
