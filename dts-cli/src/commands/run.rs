//! `dts run`: validate, copy, catch up, stay in sync.
use dts_core::checker::Conclusion;
use dts_core::error::Result;
use dts_core::migration::{Action, Migration, State, Until};
use dts_core::stop::StopToken;

use super::validate::{exit_status, read_task_file};
use crate::args::{RunArgs, UntilChoice};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::metrics::Metrics;
use crate::output::json::{StatusDocument, ValidationDocument};
use crate::output::{Console, check, ending, status, summary, validation};
use crate::runner::{Goal, Job, Outcome, Runner, What};
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
    let _metrics = args.metrics.map(|address| Metrics::serve(address, home)).transpose()?;
    store.get(name)?.state.allow(Action::Run)?;

    let mut options = file.options.clone();
    options.apply.skip_ddl.clone_from(&args.skip_ddl);
    store.settings(name)?.prepare(&mut options);
    let migration = Migration::new(options);
    let mut reader = store.reopen()?;
    let runner = Runner::new(Job::new(&file, &migration), store, lease, console, &stop)?;
    if let Some(report) = runner.make_ready()? {
        console.text(&validation::brief(&report, console.has_color()));
        if exit_status(&report) != ExitStatus::Done {
            console.document(&ValidationDocument::from(&report));
            return Ok(ExitStatus::Findings);
        }
    }

    let goal = match args.until {
        Some(UntilChoice::Loaded) => Goal::Loaded,
        Some(UntilChoice::Synced) => Goal::Synced,
        None => Goal::StayInSync,
    };
    let outcome = match runner.run(goal) {
        Ok(Outcome { ended_by: Some(What::Pause), .. }) => None,
        Ok(outcome) => Some(outcome),
        Err(error) if error.is_interrupted() => None,
        Err(error) => return Err(error),
    };
    drop(runner);

    let document = status_document(name, &mut reader)?;
    console.document(&document);
    let Some(outcome) = outcome else {
        console.text(&format!("{name}: paused; what is done stays done. Run again to resume."));
        console.text(&format!("next: {}", document.next_action));
        return Ok(ExitStatus::Interrupted);
    };
    if outcome.ended_by.is_some() {
        let state = State::from_name(&document.state).unwrap_or(State::Failed);
        console.text(&ending::answer(name, state, &outcome).1);
        // A run that somebody revoked has not done what it was started for.
        return Ok(if state == State::Completed { ExitStatus::Done } else { ExitStatus::Operator });
    }
    if let Some(report) = &outcome.report {
        let until = if goal == Goal::Loaded { Until::Loaded } else { Until::Synced };
        console.text(&summary::run(name, until, report, &document.steps, console.has_color()));
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

/// Returns the status document of a task.
pub(super) fn status_document(name: &str, store: &mut Store) -> Result<StatusDocument> {
    let task = store.get(name)?;
    Ok(status::document(&task, store.last_conclusion(name)?.as_deref()))
}
