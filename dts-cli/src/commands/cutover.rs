//! `dts cutover` and `dts rollback`: the writers go over to the target, and back.
use dts_core::checker::CheckMode;
use dts_core::cutover::CutoverStep;
use dts_core::error::{Error, Result};
use dts_core::migration::{Action, Migration, State};
use dts_core::stop::StopToken;
use serde_json::json;

use super::ask::{self, Asked, Question, ask_or_take};
use super::validate::read_task_file;
use crate::args::{CutoverArgs, HandoverFlags, RollbackArgs};
use crate::config::account_passwords;
use crate::engine::{CutoverWish, Engine};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::CutoverDocument;
use crate::output::next_action::shell_word;
use crate::output::{Console, cutover, ending};
use crate::runner::{Call, Goal, Job, Runner, Service, What};
use crate::signals;
use crate::store::{Answer, Store};

/// Which way the writers go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Way {
    /// The command, which is also the kind of request.
    fn name(self) -> &'static str {
        match self {
            Way::There => "cutover",
            Way::Back => "rollback",
        }
    }

    fn action(self) -> Action {
        match self {
            Way::There => Action::Cutover,
            Way::Back => Action::Rollback,
        }
    }
}

/// What was typed, of either command.
pub(super) struct HandoverArgs {
    way: Way,
    name: String,
    wish: CutoverWish,
    abort: bool,
}

impl HandoverArgs {
    fn new(way: Way, flags: HandoverFlags, wish: CutoverWish) -> Self {
        let (gate, hook) = flags.gate.unzip();
        let wish = CutoverWish {
            gate,
            hook: hook.flatten(),
            open_hook: flags.open_hook,
            dry_run: flags.dry_run,
            max_lag_seconds: flags.max_lag,
            patience_seconds: flags.patience,
            keep: flags.keep,
            ..wish
        };
        HandoverArgs { way, name: flags.name, wish, abort: flags.abort }
    }
}

impl TryFrom<CutoverArgs> for HandoverArgs {
    type Error = Error;

    fn try_from(args: CutoverArgs) -> Result<Self> {
        let wish = CutoverWish {
            reverse: args.reverse,
            // The process that works on the task may be in another folder. The file travels by its name, never by what is in it.
            passwords: args.passwords.as_deref().map(account_passwords::absolute).transpose()?,
            ignore_accounts: args.ignore_accounts,
            ..CutoverWish::default()
        };
        Ok(HandoverArgs::new(Way::There, args.flags, wish))
    }
}

impl From<RollbackArgs> for HandoverArgs {
    fn from(args: RollbackArgs) -> Self {
        HandoverArgs::new(Way::Back, args.flags, CutoverWish::default())
    }
}

/// Asks the process that works on the task, or does it here when none does.
pub(super) fn execute(args: &HandoverArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let (name, way, wish) = (args.name.as_str(), args.way, &args.wish);
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    store.get(name)?;
    if args.abort {
        return abort(args, store, home, console, &stop);
    }
    let question = Question {
        task: name,
        kind: way.name(),
        payload: &json!(wish),
        ends_work: !wish.dry_run && !wish.reverse && way == Way::There,
    };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    let task = store.get(name)?;
    // A call that died in the middle left the task so; it goes on.
    if task.state != State::Completing {
        task.state.allow(way.action())?;
    }
    let file = read_task_file(&task.file, home, console)?;
    let migration = Migration::new(file.options.clone());
    if wish.dry_run {
        let observer = |step: &CutoverStep| console.text(&cutover::step(step));
        let wish = CutoverWish { require_clean_check: file.check.mode != CheckMode::None, ..wish.clone() };
        let report = match way {
            Way::There => Engine::cutover(&migration, &wish, true, &stop, &observer)?,
            Way::Back => Engine::rollback(&migration, &wish, true, &stop, &observer)?,
        };
        let document = CutoverDocument::new(name, way == Way::Back, &report);
        drop(lease);
        return Ok(ask::print(&Answer::done(json!(document), cutover::done(&document)), console));
    }
    let runner = Runner::new(Job::new(&file, &migration), store, lease, console, &stop)?.until_back();
    let outcome = runner.hand_over(if way == Way::Back { What::RollBack } else { What::CutOver }, wish)?;
    let (document, text) = ending::answer(name, State::Completed, &outcome);
    let answer = Answer::done(document, text);
    if way == Way::Back || !outcome.goes_on {
        drop(runner);
        return Ok(ask::print(&answer, console));
    }
    // Nobody else does it: what is written on the target goes to the source as long as this process lives.
    console.text(&answer.text);
    console.note(&format!(
        "{name}: the reverse channel runs here until rollback or complete; Ctrl-C pauses it, dts run goes on"
    ));
    let ended = runner.run(Goal::StayInSync);
    drop(runner);
    let status = match ended {
        Ok(outcome) if outcome.ended_by != Some(What::Pause) => {
            let state = Store::open(home)?.get(name)?.state;
            console.text(&ending::answer(name, state, &outcome).1);
            ExitStatus::Done
        }
        Ok(_) => ExitStatus::Interrupted,
        Err(error) if error.is_interrupted() => ExitStatus::Interrupted,
        // The error is the document then: there is one only. What the cut-over did is in the report.
        Err(error) => return Err(error),
    };
    console.document(&answer.document);
    Ok(status)
}

/// Takes back a hand-over whose process died.
fn abort(
    args: &HandoverArgs,
    mut store: Store,
    home: &Home,
    console: &Console,
    stop: &StopToken,
) -> Result<ExitStatus> {
    let (name, way) = (args.name.as_str(), args.way);
    let doing = if way == Way::There { "cutover --abort" } else { "rollback --abort" };
    let lease = store.take_lease(name, doing, stop)?;
    let task = store.get(name)?;
    let file = read_task_file(&task.file, home, console)?;
    let migration = Migration::new(file.options);
    args.wish.with_hooks(&|_| {}, stop, |hooks| match way {
        Way::There => migration.take_back_cutover(hooks, stop),
        Way::Back => migration.take_back_rollback(hooks, stop),
    })?;
    if task.state == State::Completing {
        store.advance(name, State::Paused, &format!("the {} was taken back", way.name()), None)?;
    }
    drop(lease);
    let side = if way == Way::There { "source" } else { "target" };
    let text = format!(
        "{name}: the {} was taken back; applications write on the {side}.\nnext: dts run {} here, or dts resume {name} for a worker",
        way.name(),
        shell_word(&task.file)
    );
    Ok(ask::print(&Answer::done(json!({ "task": name, "taken_back": true }), text), console))
}

/// `--dry-run` beside the applier of the process that works on the task.
pub(crate) struct CutoverLook;

/// The same of a rollback.
pub(crate) struct RollbackLook;

impl Service for CutoverLook {
    fn kind(&self) -> &'static str {
        Way::There.name()
    }

    fn allow(&self, state: State) -> Result<()> {
        allow_look(Way::There, state)
    }

    fn serve(&self, call: &mut Call<'_>) -> Result<Answer> {
        serve_look(Way::There, call)
    }
}

impl Service for RollbackLook {
    fn kind(&self) -> &'static str {
        Way::Back.name()
    }

    fn allow(&self, state: State) -> Result<()> {
        allow_look(Way::Back, state)
    }

    fn serve(&self, call: &mut Call<'_>) -> Result<Answer> {
        serve_look(Way::Back, call)
    }
}

fn allow_look(way: Way, state: State) -> Result<()> {
    if state == State::Running { Ok(()) } else { state.allow(way.action()) }
}

fn serve_look(way: Way, call: &mut Call<'_>) -> Result<Answer> {
    let mut wish = CutoverWish::from_json(call.payload)?;
    wish.require_clean_check = call.check.mode != CheckMode::None;
    let report = match way {
        Way::There => call.engine.cutover(&wish, false, call.stop, &|_| {})?,
        Way::Back => call.engine.rollback(&wish, false, call.stop, &|_| {})?,
    };
    for step in &report.steps {
        call.say(&cutover::step(step));
    }
    let document = CutoverDocument::new(call.task, way == Way::Back, &report);
    Ok(Answer::done(json!(document), cutover::done(&document)))
}
