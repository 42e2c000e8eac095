//! `dts submit`: puts a task into the queue, or into the schedule.
use dts_core::error::Result;
use dts_core::migration::{Action, Migration, State};
use dts_core::stop::StopToken;
use serde_json::json;

use super::validate::{exit_status, read_task_file};
use crate::args::SubmitArgs;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::notify::{Change, Notifier};
use crate::output::json::ValidationDocument;
use crate::output::next_action::shell_word;
use crate::output::{Console, validation};
use crate::runner::{Job, Runner};
use crate::signals;
use crate::store::Store;

/// Validates a task and queues it, at once or for its `start_at`.
pub(super) fn submit(args: &SubmitArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let file = read_task_file(&args.file, home, console)?;
    let name = file.options.name.as_str();
    let mut store = Store::open(home)?;
    store.enter(&file)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let lease = store.take_lease(name, "submit", &stop)?;
    // One that was never looked at, or not in this form, is looked at first.
    match store.get(name)?.state {
        State::Created | State::ValidationFailed => {}
        state => state.allow(Action::Submit)?,
    }
    let migration = Migration::new(file.options.clone());
    let runner = Runner::new(Job::new(&file, &migration), store.reopen()?, lease, console, &stop)?;
    let report = runner.validate()?;
    console.text(&validation::brief(&report, console.has_color()));
    if exit_status(&report) != ExitStatus::Done {
        console.document(&ValidationDocument::from(&report));
        console.text(&format!("next: mend what failed, then: dts submit {}", shell_word(&args.file)));
        return Ok(ExitStatus::Findings);
    }
    drop(runner);
    let from = store.get(name)?.state;
    let reason = "dts submit";
    let to = store.enqueue(name, file.start_at, reason)?;
    Notifier::new(file.notify.clone()).tell(&Change { task: name, from, to, reason, error: None });
    say_where(name, &mut store, console)?;
    Ok(ExitStatus::Done)
}

/// Says where in the queue a task stands, and who will take it.
pub(super) fn say_where(name: &str, store: &mut Store, console: &Console) -> Result<()> {
    let task = store.get(name)?;
    let workers = store.workers()?;
    let before = store.before_in_queue(name)?;
    let file = shell_word(&task.file);
    let mut text = match (task.state, task.start_at) {
        (State::Scheduled, Some(time)) => format!("{name}: scheduled; it joins the queue at {time}"),
        (State::Queued, _) if before > 0 => format!("{name}: queued, {before} before it"),
        (State::Queued, _) => format!("{name}: queued, it is next"),
        (state, _) => format!("{name}: {state}"),
    };
    text.push('\n');
    text.push_str(&match workers.first() {
        Some(pid) => format!("next: worker {pid} takes it; to follow it: dts status {name} --watch"),
        None => format!("next: no worker runs. Start one: dts worker; or run this task here: dts run {file}"),
    });
    console.text(&text);
    console.document(&json!({
        "task": name,
        "state": task.state.name(),
        "start_at": task.start_at.map(|time| time.to_string()),
        "before": before,
        "workers": workers,
    }));
    Ok(())
}
