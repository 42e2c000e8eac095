//! `dts stop`, `dts complete` and `dts clean`: how a task ends, and what is done away with afterwards.
use std::io::{BufRead as _, IsTerminal as _};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{Action, Migration, State};
use dts_core::stop::StopToken;
use serde_json::json;

use super::ask::{self, Asked, Question, ask_or_take};
use super::validate::read_task_file;
use crate::args::{CleanArgs, CompleteArgs, NameArgs};
use crate::config::TaskFile;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::format::counted;
use crate::output::json::RemainsDocument;
use crate::output::{Console, ending};
use crate::runner::{Job, Runner, What};
use crate::signals;
use crate::store::{Answer, Lease, Store};

/// Ends a task for good and says what is left on the target.
pub(super) fn stop(args: &NameArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let (mut store, stop) = begin(&args.name, Action::Stop, console, home)?;
    let question = Question { task: &args.name, kind: "stop", payload: &json!({}), ends_work: true };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    let task = store.get(&args.name)?;
    task.state.allow(Action::Stop)?;
    match read_task_file(&task.file, home, console) {
        Ok(file) => end_here(&file, What::Stop, store, lease, console, &stop),
        Err(error) => {
            // A task whose file or password is gone must be stoppable, too.
            console.note(&format!("the target was not asked what is left on it: {error}"));
            store.advance(&args.name, State::Stopping, "dts stop", None)?;
            store.advance(&args.name, State::Stopped, "dts stop", None)?;
            let document = RemainsDocument::new(&args.name, None);
            Ok(ask::print(&Answer::done(json!(document), ending::stopped(&document)), console))
        }
    }
}

/// Ends a task as planned, at lag 0.
pub(super) fn complete(args: &CompleteArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let task = store.get(&args.name)?;
    // Behind for a moment is no reason to refuse: who works on it decides, and catches up first.
    if task.state != State::Running {
        task.state.allow(Action::Complete)?;
    }
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let payload = json!({ "immediately": args.immediately });
    let question = Question { task: &args.name, kind: "complete", payload: &payload, ends_work: true };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    let task = store.get(&args.name)?;
    task.state.allow(Action::Complete)?;
    let file = read_task_file(&task.file, home, console)?;
    end_here(&file, What::Complete { immediately: args.immediately }, store, lease, console, &stop)
}

fn begin(name: &str, action: Action, console: &Console, home: &Home) -> Result<(Store, StopToken)> {
    let mut store = Store::open(home)?;
    store.get(name)?.state.allow(action)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    Ok((store, stop))
}

/// Ends a task that no process works on.
fn end_here(
    file: &TaskFile,
    what: What,
    store: Store,
    lease: Lease,
    console: &Console,
    stop: &StopToken,
) -> Result<ExitStatus> {
    let name = file.options.name.as_str();
    let mut options = file.options.clone();
    store.settings(name)?.prepare(&mut options);
    let migration = Migration::new(options);
    let runner = Runner::new(Job::new(file, &migration), store, lease, console, stop)?;
    let outcome = runner.end(what)?;
    drop(runner);
    let state = if what == What::Stop { State::Stopped } else { State::Completed };
    let (document, text) = ending::answer(name, state, &outcome);
    Ok(ask::print(&Answer::done(document, text), console))
}

/// Removes what dts keeps of a task that has ended.
pub(super) fn clean(args: &CleanArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let name = args.name.as_str();
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    store.get(name)?;
    let lease = store.take_lease(name, "clean", &stop)?;
    let task = store.get(name)?;
    let refuse = |allowed: &str| {
        Error::from(ErrorKind::IllegalState {
            action: if args.drop_data { "clean --drop-data" } else { "clean" }.to_owned(),
            state: task.state.name().to_owned(),
            allowed: allowed.to_owned(),
        })
    };
    if !task.state.is_final() {
        return Err(refuse("stop or complete, then clean"));
    }
    if args.drop_data && task.state == State::Completed {
        return Err(refuse("clean").with_hint(
            "The data on the target of a completed task are what it was made for; drop them by hand if you must.",
        ));
    }
    let file = read_task_file(&task.file, home, console)?;
    let migration = Migration::new(file.options.clone());
    if task.state == State::Stopped {
        // A target that could not be reached when the task was stopped does not know of it yet.
        migration.end(&stop)?;
    }
    if args.drop_data && !args.yes {
        let remains = migration.remains(&stop)?;
        console.text(&ending::stopped(&RemainsDocument::new(name, Some(&remains))));
        confirm(name, file.options.target.connection.address.to_string(), console)?;
    }
    let report = migration.clean(args.drop_data, &stop)?;
    let spool = home.path().join("spool").join(name);
    let spool_removed = spool.is_dir() && std::fs::remove_dir_all(&spool).is_ok();
    drop(lease);
    if args.forget {
        store.forget(name)?;
    }
    let mut text = format!(
        "{name}: {}",
        if report.rows_removed {
            "its records on the target are removed"
        } else {
            "nothing was recorded on the target"
        }
    );
    if report.schema_dropped {
        text.push_str(", and the schema `__dts__`, as no other task is in it");
    }
    for dropped in &report.dropped {
        text.push_str(&format!("\n  dropped {dropped}"));
    }
    if args.drop_data {
        text.push_str(&format!(
            "\n  {} dropped; databases stay",
            counted(report.dropped.len() as u64, "object")
        ));
    }
    text.push_str(&if args.forget {
        "\n  forgotten on this machine; the name is free".to_owned()
    } else {
        format!("\n  its history stays on this machine; `dts clean {name} --forget` removes that, too, and frees the name")
    });
    console.text(&text);
    console.document(&json!({
        "task": name,
        "rows_removed": report.rows_removed,
        "schema_dropped": report.schema_dropped,
        "dropped": report.dropped,
        "spool_removed": spool_removed,
        "forgotten": args.forget,
    }));
    Ok(ExitStatus::Done)
}

/// Lets the operator type the task's name before data are dropped.
fn confirm(name: &str, target: String, console: &Console) -> Result<()> {
    let refused = || {
        Error::invalid("the confirmation", "not the task's name", format!("'{name}', or the option --yes"))
            .with_hint("Nothing was dropped.")
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused());
    }
    console.note(&format!("All of this is dropped on {target}. To confirm, type the task's name:"));
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(_) if line.trim() == name => Ok(()),
        _ => Err(refused()),
    }
}
