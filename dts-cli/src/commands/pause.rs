//! `dts pause` and `dts resume`.
use dts_core::error::Result;
use dts_core::migration::{Action, State};
use dts_core::stop::StopToken;
use serde_json::json;

use super::ask::{self, Asked, Question, ask_or_take};
use super::queue::say_where;
use crate::args::{NameArgs, ResumeArgs};
use crate::config::Settings;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::notify::{Change, Notifier};
use crate::output::Console;
use crate::output::ending;
use crate::signals;
use crate::store::Store;

/// Lets a task rest.
pub(super) fn pause(args: &NameArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    store.get(&args.name)?.state.allow(Action::Pause)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let question = Question { task: &args.name, kind: "pause", payload: &json!({}), ends_work: true };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    // Nobody works on it: it waits for its time or its turn, or its process has just ended.
    let state = store.get(&args.name)?.state;
    if state != State::Paused {
        state.allow(Action::Pause)?;
        let (to, reason) = (State::Paused, "dts pause");
        let from = store.advance(&args.name, to, reason, None)?;
        Notifier::of_file(&store.get(&args.name)?.file).tell(&Change {
            task: &args.name,
            from,
            to,
            reason,
            error: None,
        });
    }
    drop(lease);
    console.text(&ending::rests(&args.name, State::Paused));
    console.document(&json!({ "task": args.name, "state": State::Paused.name() }));
    Ok(ExitStatus::Done)
}

/// Puts a task that rests or has failed back into the queue.
pub(super) fn resume(args: &ResumeArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let task = store.get(&args.name)?;
    task.state.allow(Action::Resume)?;
    let lease = store.take_lease(&args.name, "resume", &StopToken::new())?;
    let from = store.get(&args.name)?.state;
    from.allow(Action::Resume)?;
    if !args.skip_ddl.is_empty() {
        store.change_settings(&args.name, &Settings::skipping(&args.skip_ddl))?;
    }
    let reason = "dts resume";
    let to = store.enqueue(&args.name, None, reason)?;
    drop(lease);
    Notifier::of_file(&task.file).tell(&Change { task: &args.name, from, to, reason, error: None });
    say_where(&args.name, &mut store, console)?;
    Ok(ExitStatus::Done)
}
