//! `dts cutover`: the writers go over to the target.
use dts_core::data::GateKind;
use dts_core::error::{Error, Result};
use dts_core::migration::{Action, GateHook, Migration, State};
use dts_core::stop::StopToken;
use serde_json::json;

use super::ask::{self, Asked, Question, ask_or_take};
use super::validate::read_task_file;
use crate::args::{CutoverArgs, GateChoice};
use crate::config::account_passwords;
use crate::engine::{CutoverWish, Engine};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::hook::CommandHook;
use crate::output::json::CutoverDocument;
use crate::output::{Console, cutover, ending};
use crate::runner::{Call, Job, Runner, Service};
use crate::signals;
use crate::store::{Answer, Store};

/// Asks the process that works on the task, or does it here when none does.
pub(super) fn execute(args: &CutoverArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let name = args.name.as_str();
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    store.get(name)?;
    if args.abort {
        return abort(args, store, home, console, &stop);
    }
    let wish = wish(args)?;
    let question = Question { task: name, kind: "cutover", payload: &json!(wish), ends_work: !wish.dry_run };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    let task = store.get(name)?;
    // A call that died in the middle left the task so; it goes on.
    if task.state != State::Completing {
        task.state.allow(Action::Cutover)?;
    }
    let file = read_task_file(&task.file, home, console)?;
    let migration = Migration::new(file.options.clone());
    if wish.dry_run {
        let report =
            Engine::cutover(&migration, &wish, true, &stop, &|step| console.text(&cutover::step(step)))?;
        let document = CutoverDocument::new(name, &report);
        drop(lease);
        return Ok(ask::print(&Answer::done(json!(document), cutover::done(&document)), console));
    }
    let runner = Runner::new(Job::new(&file, &migration), store, lease, console, &stop)?;
    let outcome = runner.cut_over(&wish)?;
    drop(runner);
    let (document, text) = ending::answer(name, State::Completed, &outcome);
    Ok(ask::print(&Answer::done(document, text), console))
}

fn wish(args: &CutoverArgs) -> Result<CutoverWish> {
    let gate = args.gate.clone().ok_or_else(|| Error::internal("a cut-over without a gate"))?;
    let (gate, hook) = match gate {
        GateChoice::ReadOnly => (GateKind::ReadOnly, None),
        GateChoice::LockAccounts => (GateKind::LockAccounts, None),
        GateChoice::Hook(command) => (GateKind::Hook, Some(command)),
        GateChoice::None => (GateKind::None, None),
    };
    Ok(CutoverWish {
        gate,
        hook,
        dry_run: args.dry_run,
        max_lag_seconds: args.max_lag,
        patience_seconds: args.patience,
        keep: args.keep.clone(),
        // The process that works on the task may be in another folder. The file travels by its name, never by what is in it.
        passwords: args.passwords.as_deref().map(account_passwords::absolute).transpose()?,
        ignore_accounts: args.ignore_accounts,
    })
}

/// Takes back a cut-over whose process died.
fn abort(
    args: &CutoverArgs,
    mut store: Store,
    home: &Home,
    console: &Console,
    stop: &StopToken,
) -> Result<ExitStatus> {
    let name = args.name.as_str();
    let lease = store.take_lease(name, "cutover --abort", stop)?;
    let task = store.get(name)?;
    let file = read_task_file(&task.file, home, console)?;
    let hook = match &args.gate {
        Some(GateChoice::Hook(command)) => Some(CommandHook { command }),
        _ => None,
    };
    Migration::new(file.options).take_back_cutover(hook.as_ref().map(|hook| hook as &dyn GateHook), stop)?;
    if task.state == State::Completing {
        store.advance(name, State::Paused, "the cut-over was taken back", None)?;
    }
    drop(lease);
    let text = format!(
        "{name}: the cut-over was taken back; applications write on the source.\nnext: dts run or dts resume {name}"
    );
    Ok(ask::print(&Answer::done(json!({ "task": name, "taken_back": true }), text), console))
}

/// `--dry-run` beside the applier of the process that works on the task.
pub(crate) struct CutoverLook;

impl Service for CutoverLook {
    fn kind(&self) -> &'static str {
        "cutover"
    }

    fn allow(&self, state: State) -> Result<()> {
        if state == State::Running { Ok(()) } else { state.allow(Action::Cutover) }
    }

    fn serve(&self, call: &mut Call<'_>) -> Result<Answer> {
        let wish = CutoverWish::from_json(call.payload)?;
        let report = call.engine.cutover(&wish, false, call.stop, &|_| {})?;
        for step in &report.steps {
            call.say(&cutover::step(step));
        }
        let document = CutoverDocument::new(call.task, &report);
        Ok(Answer::done(json!(document), cutover::done(&document)))
    }
}
