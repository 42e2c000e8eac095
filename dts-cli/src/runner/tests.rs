//! Tests of the runner's decisions, with an engine that does what the test says.
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use dts_core::cutover::{CutoverReport, CutoverStep};
use dts_core::data::GateKind;
use dts_core::error::{Error, Side};
use dts_core::migration::{CompletionReport, Remains};
use dts_core::progress::{Step, StepState};
use dts_core::validator::{Item, ItemResult, ValidationReport};
use serde_json::{Value, json};

use super::*;
use crate::args::Args;
use crate::engine::CutoverWish;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::StatusDocument;
use crate::output::status;
use crate::store::{Answer, Standing};

type Run = Box<dyn FnOnce(&StopToken, &Progress) -> Result<RunReport> + Send>;

/// Answers from a script, first to last.
#[derive(Default)]
struct Scripted {
    validations: Mutex<Vec<Result<ItemResult>>>,
    reversed: Mutex<Vec<Result<bool>>>,
    runs: Mutex<Vec<Run>>,
    asked: Mutex<Vec<Until>>,
    completions: Mutex<Vec<Result<CompletionReport>>>,
    cutovers: Mutex<Vec<Result<CutoverReport>>>,
    rollbacks: Mutex<Vec<Result<CutoverReport>>>,
}

impl Scripted {
    fn validates(self, result: Result<ItemResult>) -> Self {
        lock(&self.validations).push(result);
        self
    }

    fn goes_back(self, result: Result<bool>) -> Self {
        lock(&self.reversed).push(result);
        self
    }

    fn runs(self, run: impl FnOnce(&StopToken, &Progress) -> Result<RunReport> + Send + 'static) -> Self {
        lock(&self.runs).push(Box::new(run));
        self
    }

    fn fails(self, kind: fn() -> ErrorKind) -> Self {
        self.runs(move |_, _| Err(kind().into()))
    }

    /// Applies until it is stopped.
    fn stays_in_sync(self) -> Self {
        self.runs(|stop, progress| {
            progress.set_step(Step::InSync, StepState::Running);
            progress.set_in_sync(true);
            progress.set_lag(Some(Duration::ZERO));
            stop.sleep(Duration::from_secs(60))?;
            Err(Error::internal("nobody ended it"))
        })
    }

    fn completes(self, result: Result<CompletionReport>) -> Self {
        lock(&self.completions).push(result);
        self
    }

    fn cuts_over(self, result: Result<CutoverReport>) -> Self {
        lock(&self.cutovers).push(result);
        self
    }

    fn rolls_back(self, result: Result<CutoverReport>) -> Self {
        lock(&self.rollbacks).push(result);
        self
    }

    fn succeeds(self) -> Self {
        self.runs(|_, _| Ok(RunReport::default()))
    }
}

impl Engine for Scripted {
    fn validate(&self, _: &StopToken) -> Result<ValidationReport> {
        let result = lock(&self.validations).remove(0)?;
        let mut report = ValidationReport::default();
        let text = String::new;
        report.items.push(Item {
            id: "x",
            group: "g",
            result,
            expected: text(),
            actual: text(),
            message: text(),
            fix: text(),
            objects: Vec::new(),
        });
        Ok(report)
    }

    fn is_reversed(&self, _: &StopToken) -> Result<bool> {
        lock(&self.reversed).remove(0)
    }

    fn run(&self, until: Until, stop: &StopToken, progress: &Progress) -> Result<RunReport> {
        lock(&self.asked).push(until);
        let run = lock(&self.runs).remove(0);
        run(stop, progress)
    }

    fn check(&self, _: CheckOptions, _: bool, _: &StopToken, _: &CheckProgress) -> Result<CheckReport> {
        Err(ErrorKind::NoKey.into())
    }

    fn complete(&self, _: bool, _: &StopToken, _: &Progress) -> Result<CompletionReport> {
        lock(&self.completions).remove(0)
    }

    fn cutover(
        &self,
        _: &CutoverWish,
        _: bool,
        _: &StopToken,
        _: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport> {
        lock(&self.cutovers).remove(0)
    }

    fn rollback(
        &self,
        _: &CutoverWish,
        _: bool,
        _: &StopToken,
        _: &dyn Fn(&CutoverStep),
    ) -> Result<CutoverReport> {
        lock(&self.rollbacks).remove(0)
    }

    fn end(&self, _: &StopToken) -> Result<Remains> {
        Ok(Remains::default())
    }
}

/// A home with one task in it.
struct Place {
    folder: tempfile::TempDir,
    file: TaskFile,
    console: Console,
    stop: StopToken,
}

impl Place {
    fn new(task_type: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.toml");
        let end = "host = 'a'\nuser = 'u'\n";
        let text = format!(
            "[task]\nname = 'shop'\ntype = '{task_type}'\n[source]\n{end}[target]\n{end}[objects]\ndatabases = ['shop']\n\
             [check]\nmode = 'none'\n"
        );
        std::fs::write(&path, text).unwrap();
        let file = TaskFile::read(&path, Path::new("/")).unwrap();
        let args = <Args as clap::Parser>::parse_from(["dts", "--no-progress", "--json", "list"]);
        Place { folder, file, console: Console::new(&args.global), stop: StopToken::new() }
    }

    fn store(&self) -> Store {
        Store::open(&Home::at(self.folder.path().join("home"))).unwrap()
    }

    fn runner<'a>(&'a self, engine: &'a Scripted) -> Runner<'a> {
        let mut store = self.store();
        store.enter(&self.file).unwrap();
        let lease = store.take_lease("shop", "run", &self.stop).unwrap();
        let mut runner =
            Runner::new(Job::new(&self.file, engine), store, lease, &self.console, &self.stop).unwrap();
        let wait = Duration::from_millis(1);
        runner.patience =
            Patience { attempts_max: 3, first: wait, longest: wait, recovered: Duration::from_secs(60) };
        runner
    }

    /// Asks the running process and waits for its answer.
    fn ask(&self, kind: &str, payload: &Value) -> Answer {
        let mut store = self.store();
        let id = store.ask("shop", kind, payload).unwrap();
        for _ in 0..300 {
            let holder = store.get("shop").unwrap().holder;
            match store.look_at(id, holder.as_ref()).unwrap() {
                Standing::Answered(answer) => return *answer,
                Standing::Abandoned => panic!("{kind} was abandoned"),
                Standing::Asked | Standing::Taken => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        panic!("nobody answered {kind}");
    }

    fn wait_for(&self, state: State) {
        for _ in 0..300 {
            if self.state() == state {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the task is {} instead of {state}", self.state());
    }

    /// Lets a runner stay in sync while `others` ask.
    fn during<T: Send>(&self, engine: &Scripted, others: impl FnOnce() -> T + Send) -> (Result<Outcome>, T) {
        let runner = self.runner(engine);
        runner.validate().unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                self.wait_for(State::ReadyToComplete);
                let result = others();
                // Ends a run that the test has left going on.
                self.stop.stop();
                result
            });
            let outcome = runner.run(Goal::StayInSync);
            (outcome, asking.join().unwrap())
        })
    }

    fn state(&self) -> State {
        self.store().get("shop").unwrap().state
    }

    fn status(&self) -> StatusDocument {
        status::document(&self.store().get("shop").unwrap(), None)
    }
}

fn lost() -> ErrorKind {
    ErrorKind::ConnectionLost(std::io::ErrorKind::BrokenPipe.into())
}

fn pass() -> Scripted {
    Scripted::default().validates(Ok(ItemResult::Pass))
}

#[test]
fn a_failed_item_keeps_the_task_from_starting() {
    let place = Place::new("full-and-incremental");
    let engine = Scripted::default().validates(Ok(ItemResult::Fail));
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    assert_eq!(place.state(), State::ValidationFailed);
    let error = runner.run(Goal::Synced).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
    assert!(lock(&engine.asked).is_empty(), "the engine was not asked to run");
}

#[test]
fn a_validation_that_cannot_find_out_leaves_the_task_where_it_was() {
    let place = Place::new("full-and-incremental");
    let engine = pass().validates(Err(lost().into())).succeeds().validates(Err(lost().into()));
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    runner.validate().unwrap_err();
    assert_eq!(place.state(), State::Created, "what was validated before may not hold any more");
    lock(&engine.validations).insert(0, Ok(ItemResult::Warn));
    runner.validate().unwrap();
    runner.run(Goal::Synced).unwrap();
    assert_eq!(place.state(), State::Paused);
    runner.validate().unwrap_err();
    assert_eq!(place.state(), State::Paused);
    assert_eq!(place.status().error.unwrap().code, "DTS-4005");
}

#[test]
fn transient_errors_are_tried_again_and_counted() {
    let place = Place::new("full-and-incremental");
    let engine = pass().fails(lost).fails(lost).succeeds();
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    runner.run(Goal::Synced).unwrap();
    assert_eq!(place.state(), State::Paused);
    let status = place.status();
    assert_eq!(status.retries, 2);
    assert_eq!(status.error, None);
    assert_eq!(*lock(&engine.asked), [Until::Synced; 3]);
}

#[test]
fn trying_again_has_an_end() {
    let place = Place::new("full-and-incremental");
    let engine = pass().fails(lost).fails(lost).fails(lost).fails(lost);
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    let error = runner.run(Goal::StayInSync).unwrap_err();
    assert_eq!(ExitStatus::from(&error), ExitStatus::Transient);
    assert_eq!(place.state(), State::Failed);
    assert_eq!(lock(&engine.asked).len(), 4);
    assert!(place.status().next_action.contains("dts run"), "{}", place.status().next_action);
}

#[test]
fn what_an_operator_must_mend_is_not_tried_again() {
    let place = Place::new("full-and-incremental");
    let engine = pass().fails(|| ErrorKind::NoKey);
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    let error = runner.run(Goal::Synced).unwrap_err();
    assert_eq!(ExitStatus::from(&error), ExitStatus::Operator);
    assert_eq!(place.state(), State::Failed);
    assert_eq!(place.status().error.unwrap().code, "DTS-5002");
}

#[test]
fn a_stop_pauses_the_task_also_between_two_attempts() {
    for attempts_before in [0, 1] {
        let place = Place::new("full-and-incremental");
        let mut engine = pass();
        for _ in 0..attempts_before {
            engine = engine.fails(lost);
        }
        let engine = engine.runs(|stop, _| {
            stop.stop();
            // Long enough for the other thread to see it.
            std::thread::sleep(2 * LOOK_EVERY);
            stop.check().map(|()| RunReport::default())
        });
        let runner = place.runner(&engine);
        runner.validate().unwrap();
        let error = runner.run(Goal::StayInSync).unwrap_err();
        assert_eq!(ExitStatus::from(&error), ExitStatus::Interrupted);
        assert_eq!(place.state(), State::Paused);
    }
}

#[test]
fn a_full_task_is_complete_when_it_is_loaded_and_consistent() {
    let place = Place::new("full");
    let engine = pass().succeeds().succeeds().validates(Ok(ItemResult::Pass));
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    runner.run(Goal::Loaded).unwrap();
    assert_eq!(place.state(), State::Paused, "indexes are missing");
    runner.run(Goal::StayInSync).unwrap();
    assert_eq!(place.state(), State::Completed);
    assert_eq!(*lock(&engine.asked), [Until::Loaded, Until::Synced]);
}

#[test]
fn the_status_is_written_while_the_task_runs() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let place = Place::new("full-and-incremental");
    let engine = pass().runs(|_, progress| {
        progress.set_step(Step::InSync, StepState::Running);
        progress.set_in_sync(true);
        progress.set_lag(Some(Duration::ZERO));
        for _ in 0..100 {
            if SEEN.load(Ordering::Relaxed) {
                return Ok(RunReport::default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(Error::internal("nobody saw it"))
    });
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let status = place.status();
                if status.state == "ready_to_complete" && status.lag_seconds == Some(0.0) {
                    assert_eq!(status.step.as_deref(), Some("in_sync"));
                    assert!(
                        status.allowed_actions.contains(&"check".to_owned()),
                        "{:?}",
                        status.allowed_actions
                    );
                    assert!(status.next_action.starts_with("in sync, lag 0.0 s"), "{}", status.next_action);
                    SEEN.store(true, Ordering::Relaxed);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        runner.run(Goal::StayInSync).unwrap();
    });
}

#[test]
fn a_process_whose_lease_was_taken_stops() {
    let place = Place::new("full-and-incremental");
    let database = place.folder.path().join("home/tasks.sqlite");
    let engine = pass().runs(move |stop, _| {
        rusqlite::Connection::open(&database)
            .unwrap()
            .execute_batch("UPDATE task SET lease_token = 'another', lease_host = 'elsewhere', lease_pid = 1")
            .unwrap();
        stop.sleep(Duration::from_secs(30)).map(|()| RunReport::default())
    });
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    let error = runner.run(Goal::StayInSync).unwrap_err().to_string();
    assert!(error.contains("taken over by process 1 on elsewhere"), "{error}");
    assert_eq!(place.state(), State::Running, "the state is the new holder's to change");
}

#[test]
fn another_process_may_pause_a_run() {
    let place = Place::new("full-and-incremental");
    let engine = pass().stays_in_sync();
    let (outcome, answer) = place.during(&engine, || place.ask("pause", &json!({})));
    assert_eq!(outcome.unwrap().ended_by, Some(What::Pause));
    assert_eq!((answer.exit, &answer.document["state"]), (0, &json!("paused")));
    assert_eq!(place.state(), State::Paused);
}

#[test]
fn another_process_may_stop_a_run_for_good() {
    let place = Place::new("full-and-incremental");
    let engine = pass().stays_in_sync();
    let (outcome, answer) = place.during(&engine, || place.ask("stop", &json!({})));
    assert_eq!(outcome.unwrap().ended_by, Some(What::Stop));
    assert_eq!((answer.exit, &answer.document["known"]), (0, &json!(true)));
    assert_eq!(place.state(), State::Stopped);
}

#[test]
fn another_process_may_complete_a_run() {
    let place = Place::new("full-and-incremental");
    let engine = pass().stays_in_sync().completes(Ok(CompletionReport::default()));
    let (outcome, answer) = place.during(&engine, || place.ask("complete", &json!({ "immediately": true })));
    assert!(outcome.unwrap().completion.is_some());
    assert!(answer.text.contains("completed"), "{answer:?}");
    assert_eq!(place.state(), State::Completed);
}

#[test]
fn a_completion_that_is_refused_changes_nothing() {
    let refused =
        ErrorKind::IllegalState { action: "complete".into(), state: "busy".into(), allowed: "x".into() };
    let place = Place::new("full-and-incremental");
    let engine = pass().stays_in_sync().completes(Err(Error::from(refused).on(Side::Source))).stays_in_sync();
    let (outcome, answers) = place.during(&engine, || {
        let refused = place.ask("complete", &json!({}));
        place.wait_for(State::ReadyToComplete);
        (refused, place.ask("pause", &json!({})))
    });
    assert_eq!(outcome.unwrap().ended_by, Some(What::Pause));
    let (refused, paused) = answers;
    assert_eq!((refused.exit, refused.error.unwrap().code.as_str()), (3, "DTS-1003"));
    assert_eq!(paused.exit, 0);
    assert_eq!(lock(&engine.asked).len(), 2, "it went on applying");
}

#[test]
fn what_cannot_be_done_is_answered_and_the_run_goes_on() {
    let place = Place::new("full-and-incremental");
    let engine = pass().stays_in_sync();
    let (outcome, answers) = place.during(&engine, || {
        let check = json!({
            "tables": [], "color": false, "show_values": false, "repair": false, "journal": "/nowhere/journal"
        });
        let set = place.ask("set", &json!({ "load.rows_per_second_max": 77 }));
        (place.ask("dance", &json!({})), place.ask("check", &check), set)
    });
    assert!(outcome.unwrap_err().is_interrupted());
    let (unknown, check, set) = answers;
    assert_eq!((unknown.exit, unknown.error.unwrap().code.as_str()), (2, "DTS-1001"));
    // A service beside the work; this engine cannot compare.
    assert_eq!(check.error.unwrap().code, "DTS-5002");
    assert_eq!(set.document["settings"]["load.rows_per_second_max"], 77);
    assert_eq!(place.file.options.load.rate_limit.get(), 77);
    assert_eq!(place.store().settings("shop").unwrap().in_words(), "load.rows_per_second_max=77");
}

/// A cut-over that was taken back leaves the task in sync; one that was done ends it.
#[test]
fn a_cut_over_ends_the_task_or_leaves_it_syncing() {
    let place = Place::new("full-and-incremental");
    let left = Error::from(ErrorKind::CutOver { why: "sessions are left".into() }).in_stage(Stage::CutOver);
    let engine =
        pass().stays_in_sync().cuts_over(Err(left)).stays_in_sync().cuts_over(Ok(CutoverReport::default()));
    let wish =
        CutoverWish { gate: Some(GateKind::Hook), hook: Some("true".into()), ..CutoverWish::default() };
    let (outcome, (refused, done)) = place.during(&engine, || {
        let refused = place.ask("cutover", &json!(wish));
        place.wait_for(State::ReadyToComplete);
        (refused, place.ask("cutover", &json!(wish)))
    });
    assert_eq!((refused.exit, refused.error.unwrap().code.as_str()), (3, "DTS-6001"));
    assert_eq!(done.exit, 0);
    assert!(done.text.contains("the target is open"), "{}", done.text);
    assert_eq!(outcome.unwrap().ended_by, Some(What::CutOver));
    assert_eq!(place.state(), State::Completed);
    assert_eq!(lock(&engine.asked).len(), 2, "it went on applying");
}

/// With a reverse channel the same process goes on, in the other direction, until the writers come back or the task is completed.
#[test]
fn a_reverse_channel_goes_on_where_the_task_ran() {
    let place = Place::new("full-and-incremental");
    let mut reversed = CutoverReport::default();
    reversed.reverse = true;
    let engine = pass()
        .stays_in_sync()
        .cuts_over(Ok(reversed))
        .stays_in_sync()
        .rolls_back(Ok(CutoverReport::default()))
        .stays_in_sync()
        .completes(Ok(CompletionReport::default()));
    let wish = CutoverWish { gate: Some(GateKind::ReadOnly), reverse: true, ..CutoverWish::default() };
    let (outcome, (there, back, done)) = place.during(&engine, || {
        let there = place.ask("cutover", &json!(wish));
        place.wait_for(State::ReadyToComplete);
        let back = place.ask("rollback", &json!(wish));
        place.wait_for(State::ReadyToComplete);
        (there, back, place.ask("complete", &json!({})))
    });
    assert_eq!((there.exit, back.exit, done.exit), (0, 0, 0));
    assert!(there.text.contains("dts rollback shop"), "{}", there.text);
    assert!(back.text.contains("the source is open"), "{}", back.text);
    assert_eq!(outcome.unwrap().ended_by, Some(What::Complete { immediately: false }));
    assert_eq!(place.state(), State::Completed);
    assert_eq!(lock(&engine.asked).len(), 3);
}

/// A target that is away for a moment must not bring a task on the way back into a state that it cannot leave.
#[test]
fn a_reverse_channel_survives_a_target_that_cannot_be_asked() {
    let place = Place::new("full-and-incremental");
    place.store().enter(&place.file).unwrap();
    let status = StatusDocument { reverse: true, ..StatusDocument::default() };
    for state in [State::Validating, State::Validated, State::Running, State::Paused] {
        place.store().advance("shop", state, "", None).unwrap();
    }
    place.store().write_status("shop", &serde_json::to_string(&status).unwrap()).unwrap();

    // It is tried as long as everything is, and then rests so that it can go on.
    let engine = Scripted::default().goes_back(Err(lost().into()));
    let engine = (0..4).fold(engine, |engine, _| engine.fails(lost));
    let runner = place.runner(&engine);
    assert!(runner.make_ready().unwrap().is_none(), "nothing is validated");
    assert!(runner.run(Goal::StayInSync).is_err());
    drop(runner);
    assert_eq!(place.state(), State::Failed);
    assert!(place.status().reverse, "it is still on the way back");

    let engine = Scripted::default().goes_back(Ok(true)).succeeds();
    let runner = place.runner(&engine);
    assert!(runner.make_ready().unwrap().is_none());
    runner.run(Goal::Synced).unwrap();
}

/// A validation of a task on the way back, which had to fail, does not keep it from going on; nor does a home that is new to it.
#[test]
fn a_reverse_channel_goes_on_after_a_validation_that_failed() {
    for has_failed in [false, true] {
        let place = Place::new("full-and-incremental");
        let engine = Scripted::default().validates(Ok(ItemResult::Fail)).goes_back(Ok(true)).succeeds();
        let runner = place.runner(&engine);
        if has_failed {
            runner.validate().unwrap();
            assert_eq!(place.state(), State::ValidationFailed);
        }
        assert!(runner.make_ready().unwrap().is_none());
        runner.run(Goal::Synced).unwrap();
        assert_eq!(place.state(), State::Paused);
    }
}

#[test]
fn a_task_on_its_way_there_is_validated() {
    for asked in [Ok(false), Err(lost().into())] {
        let place = Place::new("full-and-incremental");
        let engine = Scripted::default().goes_back(asked).validates(Ok(ItemResult::Fail));
        let report = place.runner(&engine).make_ready().unwrap().unwrap();
        assert_eq!(report.result(), ItemResult::Fail);
        assert_eq!(place.state(), State::ValidationFailed);
    }
}

#[test]
fn a_task_at_rest_is_completed_or_stopped_where_that_is_asked_for() {
    let place = Place::new("full-and-incremental");
    let engine = pass().succeeds().completes(Err(lost().into())).completes(Ok(CompletionReport::default()));
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    runner.run(Goal::Synced).unwrap();
    runner.end(What::Complete { immediately: false }).unwrap();
    assert_eq!(place.state(), State::Completed, "a lost connection was tried again");

    let place = Place::new("full-and-incremental");
    let engine = pass();
    let runner = place.runner(&engine);
    runner.validate().unwrap();
    runner.end(What::Stop).unwrap();
    assert_eq!(place.state(), State::Stopped);
}
