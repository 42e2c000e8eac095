//! Tests of the store: several processes are played by several connections, dead ones by ids of processes that ended.
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use dts_core::stop::StopToken;
use serde_json::json;

use super::*;
use crate::exit::ExitStatus;

/// A home with task files.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn home(&self) -> Home {
        Home::at(self.folder.path().join("home"))
    }

    fn file(&self, path: &str, name: &str) -> TaskFile {
        let path = self.folder.path().join(path);
        let end = "host = 'a'\nuser = 'u'\n";
        let text = format!(
            "[task]\nname = '{name}'\n[source]\n{end}[target]\n{end}[objects]\ndatabases = ['shop']\n"
        );
        std::fs::write(&path, text).unwrap();
        TaskFile::read(&path, &self.folder.path().join("home")).unwrap()
    }

    /// Opens the store with the task `shop` in it.
    fn store(&self) -> Store {
        let mut store = Store::open(&self.home()).unwrap();
        store.enter(&self.file("shop.toml", "shop")).unwrap();
        store
    }
}

fn change_lease(store: &Store, assignments: &str) {
    store.connection.execute_batch(&format!("UPDATE task SET {assignments}")).unwrap();
}

/// Returns the id of a process that has ended.
fn dead_process() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn transitions(store: &Store) -> Vec<String> {
    let mut statement =
        store.connection.prepare("SELECT from_state || ' ' || to_state FROM transition ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(|text| text.unwrap()).collect()
}

#[test]
fn a_task_is_entered_once_and_found_by_its_name() {
    let place = Place::new();
    let mut store = place.store();
    store.enter(&place.file("crm.toml", "crm")).unwrap();
    store.enter(&place.file("shop.toml", "shop")).unwrap();
    let names: Vec<String> = store.tasks().unwrap().into_iter().map(|task| task.name).collect();
    assert_eq!(names, ["shop", "crm"]);
    let task = store.get("shop").unwrap();
    assert_eq!(task.state, State::Created);
    assert!(task.file.ends_with("shop.toml") && task.holder.is_none() && task.status.is_none());
    let error = store.get("shp").unwrap_err();
    assert!(error.hint().ends_with("are: shop, crm."), "{}", error.hint());
    assert_eq!(ExitStatus::from(&error), ExitStatus::Usage);
}

#[test]
fn two_task_files_cannot_have_one_name_but_a_file_may_be_moved() {
    let place = Place::new();
    let mut store = place.store();
    let other = place.file("other.toml", "shop");
    let error = store.enter(&other).unwrap_err().to_string();
    assert!(error.contains("task.name") && error.contains("shop.toml already has it"), "{error}");
    std::fs::remove_file(place.folder.path().join("shop.toml")).unwrap();
    store.enter(&other).unwrap();
    assert!(store.get("shop").unwrap().file.ends_with("other.toml"));
}

#[test]
fn states_follow_the_table_and_are_remembered() {
    let place = Place::new();
    let mut store = place.store();
    assert_eq!(store.advance("shop", State::Validating, "test", None).unwrap(), State::Created);
    store.advance("shop", State::Validated, "test", None).unwrap();
    let error = store.advance("shop", State::Completed, "test", None).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
    assert_eq!(store.get("shop").unwrap().state, State::Validated);
    assert_eq!(transitions(&store), ["created validating", "validating validated"]);
}

#[test]
fn only_one_process_works_on_a_task() {
    let place = Place::new();
    let (mut first, mut second) = (place.store(), place.store());
    let stop = StopToken::new();
    let mut lease = first.take_lease("shop", "run", &stop).unwrap();
    lease.beat().unwrap();
    let error = second.take_lease("shop", "run", &stop).unwrap_err();
    assert!(error.to_string().contains(&format!("worked on by process {}", std::process::id())), "{error}");
    assert_eq!(second.get("shop").unwrap().holder.unwrap().pid, std::process::id());
    drop(lease);
    assert!(second.get("shop").unwrap().holder.is_none());
    second.take_lease("shop", "run", &stop).unwrap();
}

#[test]
fn the_lease_of_a_dead_process_is_taken_over() {
    let place = Place::new();
    let mut store = place.store();
    let stop = StopToken::new();
    let mut lost = store.take_lease("shop", "run", &stop).unwrap();
    change_lease(&store, &format!("lease_pid = {}", dead_process()));
    let mut lease = store.take_lease("shop", "run", &stop).unwrap();
    lease.beat().unwrap();
    // The one that lost it notices, and giving it back does not take it from the new one.
    let error = lost.beat().unwrap_err();
    assert!(error.to_string().contains("taken over by process"), "{error}");
    drop(lost);
    lease.beat().unwrap();
}

#[test]
fn a_process_id_that_was_given_out_again_is_not_the_holder() {
    let place = Place::new();
    let mut store = place.store();
    let stop = StopToken::new();
    let _lease = store.take_lease("shop", "run", &stop).unwrap();
    change_lease(&store, "lease_started = lease_started + 1");
    assert!(!store.get("shop").unwrap().holder.unwrap().is_alive());
    store.take_lease("shop", "run", &stop).unwrap();
}

#[test]
fn a_process_of_another_machine_lives_as_long_as_its_beat_goes_on() {
    let place = Place::new();
    let mut store = place.store();
    let stop = StopToken::new();
    let _lease = store.take_lease("shop", "run", &stop).unwrap();
    change_lease(&store, "lease_host = 'elsewhere'");
    assert!(store.get("shop").unwrap().holder.unwrap().is_alive());
    let (beating, done) = (place.store(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                change_lease(&beating, "lease_beat = lease_beat + 1");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let error = store.take_lease("shop", "run", &stop).unwrap_err();
        done.store(true, Ordering::Relaxed);
        assert!(error.to_string().contains(" on elsewhere"), "{error}");
    });
    // Silent from now on; a clock that is set back in between makes no difference.
    change_lease(&store, "lease_at = '2099-01-01T00:00:00Z'");
    store.take_lease("shop", "run", &stop).unwrap();
}

#[test]
fn a_task_whose_process_is_gone_has_failed_and_says_so() {
    let place = Place::new();
    let mut store = place.store();
    let _lease = store.take_lease("shop", "run", &StopToken::new()).unwrap();
    for state in [State::Validating, State::Validated, State::Running] {
        store.advance("shop", state, "test", None).unwrap();
    }
    assert_eq!(store.get("shop").unwrap().state, State::Running);
    let pid = dead_process();
    change_lease(&store, &format!("lease_pid = {pid}"));
    let mut finder = place.store();
    let task = finder.get("shop").unwrap();
    assert_eq!(task.state, State::Failed);
    assert!(task.holder.is_none());
    // Told once, by whoever found it.
    let found = finder.take_settled();
    assert_eq!((found.len(), found[0].from, found[0].to), (1, State::Running, State::Failed));
    assert_eq!(found[0].error.code, "DTS-8001");
    assert_eq!(finder.get("shop").unwrap().state, State::Failed);
    assert_eq!((finder.take_settled(), store.take_settled()), (vec![], vec![]));
    let message = task.error.unwrap().message;
    assert!(
        message.starts_with(&format!("process {pid} ended without a word while the task was running")),
        "{message}"
    );
}

#[test]
fn a_damaged_store_says_what_is_lost_and_what_not() {
    let place = Place::new();
    place.home().create().unwrap();
    std::fs::write(
        place.home().store(),
        "this is no database, but it is long enough to be taken for one ".repeat(50),
    )
    .unwrap();
    let error = Store::open(&place.home()).unwrap_err();
    assert!(error.to_string().contains("tasks.sqlite"), "{error}");
    assert!(error.hint().contains("recorded on the target"), "{}", error.hint());
    assert_eq!(ExitStatus::from(&error), ExitStatus::Usage);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let place = Place::new();
    place.store().connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Store::open(&place.home()).unwrap_err().to_string();
    assert!(error.contains("made by a newer dts"), "{error}");
}

#[test]
fn a_home_that_cannot_be_made_is_named() {
    let place = Place::new();
    let blocked = place.folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let error = Store::open(&Home::at(blocked.join("home"))).unwrap_err();
    assert!(error.to_string().contains("file/home") && error.hint().contains("--home"), "{error:?}");
}

#[test]
fn many_processes_may_make_the_store_at_once() {
    let place = Place::new();
    let file = place.file("shop.toml", "shop");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut store = Store::open(&place.home()).unwrap();
                store.enter(&file).unwrap();
                for _ in 0..10 {
                    store.write_status("shop", "{}").unwrap();
                }
            });
        }
    });
    assert_eq!(place.store().tasks().unwrap().len(), 1);
}

#[test]
fn old_samples_become_sparse_instead_of_many() {
    let place = Place::new();
    let mut store = place.store();
    for rows_done in 0..200 {
        store.add_sample("shop", &Sample { rows_done, ..Sample::default() }).unwrap();
    }
    let kept: Vec<i64> = {
        let mut statement = store.connection.prepare("SELECT rows_done FROM sample ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(|rows| rows.unwrap()).collect()
    };
    assert!((10..=21).contains(&kept.len()), "{kept:?}");
    assert_eq!((kept[0], *kept.last().unwrap()), (0, 199));
}

#[test]
fn a_request_is_taken_once_and_answered() {
    let place = Place::new();
    let (mut asker, mut worker) = (place.store(), place.store());
    let lease = worker.take_lease("shop", "run", &StopToken::new()).unwrap();
    let holder = asker.get("shop").unwrap().holder;
    assert!(worker.take_request("shop", lease.token()).unwrap().is_none());
    let id = asker.ask("shop", "pause", &json!({ "a": [1, "b"] })).unwrap();
    assert_eq!(asker.look_at(id, holder.as_ref()).unwrap(), Standing::Asked);
    assert!(worker.take_request("shop", "another lease").unwrap().is_none());
    let request = worker.take_request("shop", lease.token()).unwrap().unwrap();
    assert_eq!((request.kind.as_str(), &request.payload["a"][1]), ("pause", &json!("b")));
    assert!(worker.take_request("shop", lease.token()).unwrap().is_none());
    assert!(!asker.withdraw(id).unwrap(), "too late");
    worker.add_line(id, false, "first").unwrap();
    worker.add_line(id, true, "second").unwrap();
    let lines = asker.lines_of(id, 0).unwrap();
    assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(asker.lines_of(id, lines[0].number).unwrap(), lines[1..]);
    assert!(!worker.is_cancelled(id).unwrap());
    asker.cancel(id).unwrap();
    assert!(worker.is_cancelled(id).unwrap());
    let answer = Answer::done(json!({ "state": "paused" }), "done");
    worker.answer(id, &answer).unwrap();
    // The answer outlives the process that gave it.
    drop(lease);
    assert_eq!(asker.look_at(id, None).unwrap(), Standing::Answered(Box::new(answer)));
}

#[test]
fn what_a_dead_process_had_taken_is_abandoned() {
    let place = Place::new();
    let (mut asker, mut worker) = (place.store(), place.store());
    let stop = StopToken::new();
    let lost = worker.take_lease("shop", "run", &stop).unwrap();
    let (taken, waiting) =
        (asker.ask("shop", "check", &json!({})).unwrap(), asker.ask("shop", "pause", &json!({})).unwrap());
    worker.take_request("shop", lost.token()).unwrap().unwrap();
    change_lease(&worker, &format!("lease_pid = {}", dead_process()));
    let lease = worker.take_lease("shop", "run", &stop).unwrap();
    let holder = asker.get("shop").unwrap().holder;
    assert_eq!(asker.look_at(taken, holder.as_ref()).unwrap(), Standing::Abandoned);
    assert_eq!(asker.look_at(waiting, holder.as_ref()).unwrap(), Standing::Asked, "the new one does it");
    assert_eq!(worker.take_request("shop", lease.token()).unwrap().unwrap().kind, "pause");
    assert_eq!(worker.requests("shop")[1], ("check".to_owned(), "abandoned".to_owned()));
    drop(lost);
}

#[test]
fn a_request_that_nobody_waits_for_is_not_done() {
    let place = Place::new();
    let mut store = place.store();
    let lease = store.take_lease("shop", "run", &StopToken::new()).unwrap();
    let withdrawn = store.ask("shop", "pause", &json!({})).unwrap();
    assert!(store.withdraw(withdrawn).unwrap());
    let orphan = store.ask("shop", "stop", &json!({})).unwrap();
    let sql = format!("UPDATE request SET asker_pid = {} WHERE kind = 'stop'", dead_process());
    store.connection.execute_batch(&sql).unwrap();
    assert!(store.take_request("shop", lease.token()).unwrap().is_none());
    for id in [withdrawn, orphan] {
        assert_eq!(store.look_at(id, None).unwrap(), Standing::Abandoned);
    }
}

#[test]
fn the_queue_is_in_the_order_of_submission_and_places_are_kept() {
    let place = Place::new();
    let mut store = Store::open(&place.home()).unwrap();
    for name in ["b", "a", "c"] {
        store.enter(&place.file(&format!("{name}.toml"), name)).unwrap();
        store.advance(name, State::Validating, "test", None).unwrap();
        store.advance(name, State::Validated, "test", None).unwrap();
        store.enqueue(name, None, "test").unwrap();
    }
    let names = |store: &mut Store| -> Vec<String> {
        store.queue().unwrap().into_iter().map(|task| task.name).collect()
    };
    assert_eq!(names(&mut store), ["b", "a", "c"]);
    assert_eq!(store.before_in_queue("c").unwrap(), 2);
    // One that is worked on keeps its place for the case that its worker ends; a paused one goes to the end.
    let number = store.get("b").unwrap().queue_number.unwrap();
    for state in [State::Validating, State::Validated, State::Running, State::Pausing, State::Paused] {
        store.advance("b", state, "test", None).unwrap();
    }
    assert_eq!(store.get("b").unwrap().queue_number, None);
    store.requeue("b", number, "its worker ends").unwrap();
    assert_eq!(names(&mut store), ["b", "a", "c"]);
    store.advance("a", State::Paused, "dts pause", None).unwrap();
    store.enqueue("a", None, "dts resume").unwrap();
    assert_eq!(names(&mut store), ["b", "c", "a"]);
}

#[test]
fn a_task_whose_worker_died_is_taken_over_but_not_for_ever() {
    let place = Place::new();
    let mut store = place.store();
    store.advance("shop", State::Validating, "test", None).unwrap();
    store.advance("shop", State::Validated, "test", None).unwrap();
    store.enqueue("shop", None, "test").unwrap();
    let number = store.get("shop").unwrap().queue_number;
    for attempt in 0..=TAKEN_OVER_MAX {
        let lease = store.take_lease("shop", "work", &StopToken::new()).unwrap();
        for state in [State::Validating, State::Validated, State::Running] {
            store.advance("shop", state, "test", None).unwrap();
        }
        change_lease(&store, &format!("lease_pid = {}", dead_process()));
        let task = store.get("shop").unwrap();
        if attempt < TAKEN_OVER_MAX {
            assert_eq!((task.state, task.queue_number), (State::Queued, number), "{attempt}");
        } else {
            assert_eq!((task.state, task.queue_number), (State::Failed, None));
        }
        drop(lease);
    }
}

#[test]
fn scheduled_tasks_join_the_queue_at_their_times_whatever_the_clock_does() {
    let place = Place::new();
    let mut store = Store::open(&place.home()).unwrap();
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    for name in ["late", "early", "past"] {
        store.enter(&place.file(&format!("{name}.toml"), name)).unwrap();
        store.advance(name, State::Validating, "test", None).unwrap();
        store.advance(name, State::Validated, "test", None).unwrap();
    }
    assert_eq!(store.enqueue("late", at("2199-01-02T00:00:00Z"), "test").unwrap(), State::Scheduled);
    assert_eq!(store.enqueue("early", at("2199-01-01T00:00:00Z"), "test").unwrap(), State::Scheduled);
    assert_eq!(store.enqueue("past", at("2001-01-01T00:00:00Z"), "test").unwrap(), State::Queued);
    let time = |store: &Store, name: &str, time: &str| {
        let sql = format!("UPDATE task SET start_at = '{time}' WHERE name = '{name}'");
        store.connection.execute_batch(&sql).unwrap();
    };
    time(&store, "late", "2199-01-02T00:00:00Z");
    time(&store, "early", "2199-01-01T00:00:00Z");
    assert!(store.admit_due().unwrap().is_empty());
    // To a task it is the same whether its time comes or the clock moves.
    time(&store, "late", "2002-01-02T00:00:00Z");
    time(&store, "early", "2002-01-01T00:00:00Z");
    assert_eq!(store.admit_due().unwrap(), ["early", "late"]);
    // Set back after it has joined: it stays in the queue, in its place.
    time(&store, "early", "2199-01-01T00:00:00Z");
    assert!(store.admit_due().unwrap().is_empty());
    let names: Vec<String> = store.queue().unwrap().into_iter().map(|task| task.name).collect();
    assert_eq!(names, ["past", "early", "late"]);
}

#[test]
fn workers_are_known_while_they_live() {
    let place = Place::new();
    let mut store = place.store();
    let mut entry = store.enter_worker().unwrap();
    entry.beat().unwrap();
    assert_eq!(store.workers().unwrap(), [std::process::id()]);
    store.connection.execute_batch(&format!("UPDATE worker SET pid = {}", dead_process())).unwrap();
    assert!(store.workers().unwrap().is_empty());
}

#[test]
fn settings_hold_until_the_task_file_changes() {
    let place = Place::new();
    let mut store = place.store();
    let changes = Settings::parse(&["load.rows_per_second_max=9".to_owned()]).unwrap();
    store.change_settings("shop", &changes).unwrap();
    store.enter(&place.file("shop.toml", "shop")).unwrap();
    assert_eq!(store.settings("shop").unwrap(), changes);
    let path = place.folder.path().join("shop.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}# changed\n")).unwrap();
    store.enter(&TaskFile::read(&path, &place.folder.path().join("home")).unwrap()).unwrap();
    assert_eq!(store.settings("shop").unwrap(), Settings::default());
}

#[test]
fn a_task_can_be_forgotten_whole() {
    let place = Place::new();
    let mut store = place.store();
    store.advance("shop", State::Validating, "test", None).unwrap();
    store.add_validation("shop", "pass", "{}").unwrap();
    store.add_record("shop", "stop", "{}").unwrap();
    let id = store.ask("shop", "pause", &json!({})).unwrap();
    store.add_line(id, false, "x").unwrap();
    store.forget("shop").unwrap();
    assert!(store.find("shop").unwrap().is_none());
    place.store();
}
