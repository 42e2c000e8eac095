//! `dts set`: changes limits of a task while it runs.
use dts_core::error::{ErrorKind, Result};
use dts_core::stop::StopToken;
use serde_json::json;

use super::ask::{self, Asked, Question, ask_or_take};
use crate::args::SetArgs;
use crate::config::Settings;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::Console;
use crate::signals;
use crate::store::{Answer, Store};

/// Changes settings of a run under way, and of later ones until the task file changes.
pub(super) fn execute(args: &SetArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let changes = Settings::parse(&args.settings)?;
    let mut store = Store::open(home)?;
    let state = store.get(&args.name)?.state;
    if state.is_final() {
        return Err(ErrorKind::IllegalState {
            action: "set".into(),
            state: state.name().into(),
            allowed: "nothing, the task has ended".into(),
        }
        .into());
    }
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let payload = changes.to_json();
    let question = Question { task: &args.name, kind: "set", payload: &payload, ends_work: false };
    let (mut answer, when) = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => (*answer, "now"),
        Asked::Ours(lease) => {
            let all = store.change_settings(&args.name, &changes)?;
            drop(lease);
            let document = json!({ "task": args.name, "settings": all.to_json(), "running": false });
            (Answer::done(document, ""), "when it runs next")
        }
    };
    if answer.error.is_none() {
        answer.text =
            format!("{}: {} holds {when}, until the task file changes", args.name, changes.in_words());
    }
    Ok(ask::print(&answer, console))
}
