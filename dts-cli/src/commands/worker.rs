//! `dts worker`: runs queued tasks, one after another in queue order.
//!
//! A task that is in sync goes on applying changes beside the next ones and does not count: copying is what strains the servers,
//! and a task stays in sync until somebody completes it.
use std::collections::BTreeMap;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{Migration, State};
use dts_core::stop::StopToken;

use super::run::status_document;
use super::validate::{exit_status, read_task_file};
use crate::args::WorkerArgs;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::metrics::Metrics;
use crate::notify::{Change, Notifier, tell_settled};
use crate::output::json::{ErrorDocument, TasksDocument};
use crate::output::{Console, summary, validation};
use crate::runner::{Goal, Job, Runner, What};
use crate::signals;
use crate::store::{Lease, Store, Task};

/// How often the queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a worker shows that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// When a task that could not be taken is looked at again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A task that this worker works on.
struct Active<'scope> {
    name: String,
    /// Stopped once the task was in sync.
    in_sync: StopToken,
    thread: ScopedJoinHandle<'scope, Result<ExitStatus>>,
}

/// What the threads of a worker share.
struct Shop<'a> {
    home: &'a Home,
    console: &'a Console,
    /// Ends the work on every task.
    stop: StopToken,
    /// Tasks whose work is ended by a signal go back into the queue; those of a drained queue do not.
    puts_back: bool,
}

/// Works until it is told to end or, with `--drain`, until nothing is left to copy.
pub(super) fn execute(args: &WorkerArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let signal = StopToken::new();
    signals::stop_on_signals(
        &signal,
        console,
        "putting the tasks back into the queue… (once more to end at once)",
    )?;
    let _metrics = args.metrics.map(|address| Metrics::serve(address, home)).transpose()?;
    let mut entry = store.enter_worker()?;
    console.note(&format!("worker {} waits for tasks in {}", std::process::id(), home.path().display()));
    let shop = Shop { home, console, stop: signal.child(), puts_back: true };
    let drained = Shop { home, console, stop: shop.stop.clone(), puts_back: false };
    let mut statuses: BTreeMap<String, ExitStatus> = BTreeMap::new();
    let looked = std::thread::scope(|scope| {
        let mut active: Vec<Active<'_>> = Vec::new();
        let mut postponed: BTreeMap<String, Instant> = BTreeMap::new();
        let mut beat_at = Instant::now();
        let result = loop {
            let shop = if args.drain { &drained } else { &shop };
            match look(args, shop, scope, &mut store, &mut active, &mut postponed, &mut statuses) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                // What was begun goes on; a store that cannot be used for a moment is looked at again.
                Err(error) if !active.is_empty() => log::error!("{error}"),
                Err(error) => break Err(error),
            }
            if Instant::now() >= beat_at {
                beat_at = Instant::now() + BEAT_EVERY;
                if let Err(error) = entry.beat() {
                    log::warn!("{error}");
                }
            }
            if signal.sleep(LOOK_EVERY).is_err() {
                break Ok(());
            }
        };
        shop.stop.stop();
        for task in active {
            statuses.insert(task.name.clone(), joined(task, console));
        }
        result
    });
    looked?;
    let mut documents = Vec::new();
    for name in statuses.keys() {
        if store.find(name)?.is_some() {
            documents.push(status_document(name, &mut store)?);
        }
    }
    for document in &documents {
        console.text(&format!("{}: {}\nnext: {}", document.name, document.state, document.next_action));
    }
    console.document(&TasksDocument { tasks: documents });
    if signal.is_stopped() {
        return Ok(ExitStatus::Interrupted);
    }
    let order = [ExitStatus::Operator, ExitStatus::Usage, ExitStatus::Transient, ExitStatus::Findings];
    Ok(order
        .into_iter()
        .find(|status| statuses.values().any(|seen| seen == status))
        .unwrap_or(ExitStatus::Done))
}

/// One look at the queue. Returns whether there will be another one.
fn look<'scope, 'env>(
    args: &WorkerArgs,
    shop: &'env Shop<'_>,
    scope: &'scope Scope<'scope, 'env>,
    store: &mut Store,
    active: &mut Vec<Active<'scope>>,
    postponed: &mut BTreeMap<String, Instant>,
    statuses: &mut BTreeMap<String, ExitStatus>,
) -> Result<bool> {
    let (ended, going): (Vec<_>, Vec<_>) =
        std::mem::take(active).into_iter().partition(|task| task.thread.is_finished());
    *active = going;
    for task in ended {
        statuses.insert(task.name.clone(), joined(task, shop.console));
    }
    for name in store.admit_due()? {
        shop.console.note(&format!("{name}: its time has come, it is in the queue"));
        let file = store.get(&name)?.file;
        // In a thread of its own: the queue does not wait for the operator's command.
        scope.spawn(move || {
            let (from, to, reason) = (State::Scheduled, State::Queued, "its time has come");
            Notifier::of_file(&file).tell(&Change { task: &name, from, to, reason, error: None });
        });
    }
    let queue = store.queue()?;
    for settled in store.take_settled() {
        shop.console.note(&format!("{}: {}", settled.task, settled.error.message));
        scope.spawn(move || tell_settled(&settled));
    }
    let copying = active.iter().filter(|task| !task.in_sync.is_stopped()).count();
    if copying < usize::try_from(args.concurrency).unwrap_or(usize::MAX) {
        postponed.retain(|_, until| *until > Instant::now());
        let turn = queue.iter().find(|task| {
            !postponed.contains_key(&task.name) && !active.iter().any(|active| active.name == task.name)
        });
        if let Some(task) = turn {
            match begin(task, shop, scope, store) {
                Ok(begun) => active.push(begun),
                // Another worker was faster, or a command has the task for a moment.
                Err(error) if matches!(error.kind(), ErrorKind::IllegalState { .. }) => {
                    log::info!("{}: {error}", task.name);
                    postponed.insert(task.name.clone(), Instant::now() + AGAIN_AFTER);
                }
                Err(error) => return Err(error),
            }
            return Ok(true);
        }
    }
    Ok(!(args.drain && queue.is_empty() && copying == 0))
}

fn joined(task: Active<'_>, console: &Console) -> ExitStatus {
    let result =
        task.thread.join().unwrap_or_else(|_| Err(Error::internal("a thread of the worker panicked")));
    match result {
        Ok(status) => status,
        Err(error) if error.is_interrupted() => ExitStatus::Done,
        Err(error) => {
            console.note(&format!("{}: {error}\n  what to do: {}", task.name, error.hint()));
            ExitStatus::from(&error)
        }
    }
}

/// Takes a task and begins to work on it.
fn begin<'scope, 'env>(
    task: &Task,
    shop: &'env Shop<'_>,
    scope: &'scope Scope<'scope, 'env>,
    store: &mut Store,
) -> Result<Active<'scope>> {
    let lease = store.take_lease(&task.name, "work on it", &shop.stop)?;
    let now = store.get(&task.name)?;
    if now.state != State::Queued {
        return Err(ErrorKind::IllegalState {
            action: "work on it".to_owned(),
            state: now.state.name().to_owned(),
            allowed: "waiting for the next look".to_owned(),
        }
        .into());
    }
    let in_sync = StopToken::new();
    let (store, synced, name) = (store.reopen()?, in_sync.clone(), now.name.clone());
    let thread = scope.spawn(move || {
        let place = now.queue_number;
        let result = work(&now, shop, store, lease, &synced);
        // Whatever it ended with, it does not keep the others waiting.
        synced.stop();
        if let (true, true, Some(place)) = (shop.stop.is_stopped(), shop.puts_back, place) {
            let mut store = Store::open(shop.home)?;
            if store.get(&now.name)?.state == State::Paused {
                let (from, to, reason) = (State::Paused, State::Queued, "its worker ends");
                store.requeue(&now.name, place, reason)?;
                Notifier::of_file(&now.file).tell(&Change { task: &now.name, from, to, reason, error: None });
            }
        }
        result
    });
    Ok(Active { name, in_sync, thread })
}

/// Works on one task until it ends or is ended.
fn work(
    task: &Task,
    shop: &Shop<'_>,
    mut store: Store,
    lease: Lease,
    synced: &StopToken,
) -> Result<ExitStatus> {
    let (name, console) = (task.name.as_str(), shop.console);
    let file = match read_again(task, shop, &mut store) {
        Ok(file) => file,
        Err(error) => {
            // Nothing was begun; its owner must see why it left the queue.
            store.advance(name, State::Failed, &error.to_string(), Some(&ErrorDocument::from(&error)))?;
            drop(lease);
            return Err(error);
        }
    };
    console.note(&format!("{name}: its turn has come"));
    let mut options = file.options.clone();
    store.settings(name)?.prepare(&mut options);
    let migration = Migration::new(options);
    let runner = Runner::new(Job::new(&file, &migration), store.reopen()?, lease, console, &shop.stop)?
        .telling_when_in_sync(synced.clone());
    if let Some(report) = runner.make_ready()?
        && exit_status(&report) != ExitStatus::Done
    {
        console.text(&validation::brief(&report, console.has_color()));
        return Ok(ExitStatus::Findings);
    }
    let outcome = runner.run(Goal::StayInSync)?;
    if let (Some(report), None) = (&outcome.report, outcome.ended_by) {
        let document = status_document(name, &mut store)?;
        let until = dts_core::migration::Until::Synced;
        console.text(&summary::run(name, until, report, &document.steps, console.has_color()));
    }
    let what = match outcome.ended_by {
        Some(What::Pause) => "paused",
        Some(What::Stop) => "stopped for good",
        Some(What::Complete { .. }) => "completed",
        Some(What::CutOver) => "cut over",
        Some(What::RollBack) => "rolled back",
        None => "done",
    };
    console.note(&format!("{name}: {what}"));
    Ok(ExitStatus::Done)
}

fn read_again(task: &Task, shop: &Shop<'_>, store: &mut Store) -> Result<crate::config::TaskFile> {
    let file = read_task_file(&task.file, shop.home, shop.console)?;
    if file.options.name != task.name {
        let expected = format!("'{}', as when it was submitted", task.name);
        return Err(Error::invalid(
            format!("task.name in {}", task.file.display()),
            file.options.name.as_str(),
            expected,
        ));
    }
    store.enter(&file)?;
    Ok(file)
}
