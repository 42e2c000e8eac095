//! The documented flow from several shells: queue, schedule, worker, pause, resume, stop, complete, clean, set, on real servers
//! with an application that writes.
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dts_testbed::dump;
use dts_testbed::shop::{Shop, ShopOptions, Writer, WriterOptions};
use serde_json::Value;

use crate::program::{Dts, Pair, Running, text};

const NO_CHECK: &str = "[check]\nmode = \"none\"\n";
/// So slow that a test can look at a copy under way.
const SLOW: &str = "[load]\nrows_per_second_max = 500\nchunk_mib = 1\n[check]\nmode = \"none\"\n";

fn shop(pair: &Pair, database: &str, rows: u64) -> Shop {
    Shop::create(&pair.source, &ShopOptions { database: database.to_owned(), rows, ..ShopOptions::default() })
}

/// Writes the task file of a task that moves the database of its name.
fn task(dts: &Dts, pair: &Pair, name: &str, sections: &str, task_lines: &str) -> PathBuf {
    let file = pair.task(dts, sections);
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("name = \"shop\"\n", &format!("name = \"{name}\"\n{task_lines}"))
        .replace("[\"shop\"]", &format!("[\"{name}\"]"));
    dts.write(&format!("{name}.toml"), &text)
}

fn step<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap()
}

/// Waits until the task is ready to be completed.
fn wait_until_ready(dts: &Dts, name: &str) -> Value {
    dts.wait_for(name, |status| status["state"] == "ready_to_complete")
}

fn has_trigger(pair: &Pair, database: &str) -> bool {
    let sql = format!("SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = '{database}'");
    pair.target.query_one::<u64>(&sql) > 0
}

fn interrupt(running: Running) {
    running.signal("INT");
    running.end().ends_with(130);
}

#[test]
fn tasks_run_one_after_another_and_a_scheduled_one_joins_at_its_time() {
    let (dts, pair) = (Dts::new(), Pair::start());
    let writing = shop(&pair, "first", 3_000);
    for name in ["second", "third", "revoked", "later"] {
        shop(&pair, name, 1_000);
    }
    let writer = Writer::start(
        &pair.source,
        &writing,
        &WriterOptions { transactions_per_second: 100, ..WriterOptions::default() },
    );
    for name in ["first", "second", "revoked", "third"] {
        let file = task(&dts, &pair, name, NO_CHECK, "");
        let document = dts.run(&["submit", text(&file), "--json"]).ends_with(0).json();
        assert_eq!((&document["state"], &document["workers"]), (&"queued".into(), &serde_json::json!([])));
    }
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let later = task(&dts, &pair, "later", NO_CHECK, &format!("start_at = \"{at}\"\n"));
    let ended = dts.run(&["submit", text(&later)]).ends_with(0);
    assert!(
        ended.out.contains("scheduled; it joins the queue at") && ended.out.contains("dts worker"),
        "{ended:?}"
    );
    let ended = dts.run(&["submit", text(&later)]).ends_with(2);
    assert!(ended.err.contains("'submit' is not possible while the task is scheduled"), "{ended:?}");
    // Revoked before its turn.
    let ended = dts.run(&["stop", "revoked"]).ends_with(0);
    assert!(ended.out.contains("never began: nothing of it is on the target"), "{ended:?}");
    assert_eq!(dts.status("third")["state"], "queued");

    let worker = dts.start(&["worker"]);
    wait_until_ready(&dts, "first");
    let second = wait_until_ready(&dts, "second");
    let third = wait_until_ready(&dts, "third");
    let later = wait_until_ready(&dts, "later");
    let first = dts.status("first");
    // In the order of the queue; the next one begins when the one before is in sync.
    let order = [&first, &second, &third, &later];
    for pair in order.windows(2) {
        let (before, after) =
            (&step(pair[0], "in_sync")["started_at"], &step(pair[1], "structure")["started_at"]);
        assert!(
            before.as_str() <= after.as_str(),
            "{} {before} {} {after}",
            pair[0]["name"],
            pair[1]["name"]
        );
    }
    assert!(step(&later, "structure")["started_at"].as_str().unwrap() > at.to_string().as_str(), "{later}");
    assert_eq!(dts.status("revoked")["state"], "stopped");

    // One is completed from another shell while the worker goes on with the others.
    writer.stop();
    let document = dts.run(&["complete", "first", "--json"]).ends_with(0).json();
    assert_eq!((&document["state"], &document["not_applied"]), (&"completed".into(), &Value::Null));
    assert!(document["source_position"].is_string() && document["target_position"].is_string(), "{document}");
    dump::assert_equal(&pair.source, &pair.target, "first");
    assert_eq!(dts.status("second")["state"], "ready_to_complete");
    let first = dts.status("first");
    assert!(first["rows_done"].as_u64() > Some(1_000) && first["tables"][0]["state"] == "done", "{first}");
    // A worker that is ended puts its tasks back; the next one takes them.
    interrupt(worker);
    assert_eq!(dts.status("second")["state"], "queued");
    let ended = dts.run(&["worker", "--drain"]).ends_with(0);
    assert!(ended.out.contains("second: paused") && !ended.out.contains("first:"), "{ended:?}");
    for name in ["second", "third", "later"] {
        dts.run(&["complete", name]).ends_with(0);
        dump::assert_equal(&pair.source, &pair.target, name);
    }
}

#[test]
fn a_killed_worker_is_replaced_and_a_paused_task_resumes() {
    let (dts, pair) = (Dts::new(), Pair::start());
    let moved = shop(&pair, "shop", 6_000);
    pair.target.exec("SET GLOBAL log_bin_trust_function_creators = 1");
    pair.source.exec("CREATE TRIGGER shop.t BEFORE INSERT ON shop.sessions FOR EACH ROW SET @x = 1");
    let writer = Writer::start(
        &pair.source,
        &moved,
        &WriterOptions { transactions_per_second: 50, ..WriterOptions::default() },
    );
    let file = task(&dts, &pair, "shop", SLOW, "");
    dts.run(&["submit", text(&file)]).ends_with(0);
    let first = dts.start(&["worker"]);
    let copied = |status: &Value| status["rows_done"].as_u64().unwrap_or(0);
    dts.wait_for("shop", |status| copied(status) > 300);
    // The second one finds nothing to do while the first one lives.
    let second = dts.start(&["worker"]);
    std::thread::sleep(Duration::from_secs(1));
    assert!(dts.run(&["status", "shop"]).out.contains(&format!("process    {}", first.pid())));
    first.signal("KILL");
    first.end();
    dts.wait_for("shop", |status| status["state"] == "running" && copied(status) > 800);
    assert!(dts.run(&["status", "shop"]).out.contains(&format!("process    {}", second.pid())));

    let ended = dts.run(&["pause", "shop"]).ends_with(0);
    assert!(ended.out.contains("shop: paused") && ended.out.contains("next: dts resume shop"), "{ended:?}");
    assert_eq!(dts.status("shop")["state"], "paused");
    // A worker leaves a paused task alone.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(dts.status("shop")["state"], "paused");
    let ended = dts.run(&["pause", "shop"]).ends_with(2);
    assert!(
        ended.err.contains("[DTS-1003]") && ended.err.contains("allowed now: validate, run, resume"),
        "{ended:?}"
    );
    let ended = dts.run(&["complete", "shop"]).ends_with(2);
    assert!(ended.err.contains("not in sync yet"), "{ended:?}");
    assert_eq!(dts.status("shop")["state"], "paused");
    let ended = dts.run(&["resume", "shop"]).ends_with(0);
    assert!(ended.out.contains(&format!("worker {} takes it", second.pid())), "{ended:?}");

    // The limit is lifted while it runs.
    dts.wait_for("shop", |status| status["state"] == "running");
    let document = dts.run(&["set", "shop", "load.rows_per_second_max=0", "--json"]).ends_with(0).json();
    assert_eq!(
        (&document["running"], &document["settings"]["load.rows_per_second_max"]),
        (&true.into(), &0.into())
    );
    let status = wait_until_ready(&dts, "shop");
    assert!(status["next_action"].as_str().unwrap().contains("dts complete shop"), "{status}");

    // While the application writes, lag 0 is never reached for good: it is refused and the task goes on.
    let ended = dts.run(&["complete", "shop"]).ends_with(3);
    assert!(ended.err.contains("still being written") && ended.err.contains("--immediately"), "{ended:?}");
    assert!(!has_trigger(&pair, "shop"));
    wait_until_ready(&dts, "shop");
    writer.stop();
    let ended = dts.run(&["complete", "shop"]).ends_with(0);
    assert!(ended.out.contains("1 trigger, 0 events") && ended.out.contains("target position"), "{ended:?}");
    assert!(has_trigger(&pair, "shop"));
    dump::assert_equal(&pair.source, &pair.target, "shop");
    let again: u64 = pair
        .target
        .query_one("SELECT CAST(COALESCE(SUM(chunks_again), 0) AS UNSIGNED) FROM __dts__.table_copy");
    eprintln!("{again} chunks were copied again after a kill, a pause and a resume");
    interrupt(second);

    for command in ["run", "submit"] {
        let ended = dts.run(&[command, text(&file)]).ends_with(2);
        assert!(ended.err.contains("completed"), "{ended:?}");
    }
    let ended = dts.run(&["clean", "shop", "--drop-data", "--yes"]).ends_with(2);
    assert!(ended.err.contains("drop them by hand"), "{ended:?}");
    let document = dts.run(&["clean", "shop", "--json"]).ends_with(0).json();
    assert_eq!((&document["rows_removed"], &document["schema_dropped"]), (&true.into(), &true.into()));
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

#[test]
fn a_stopped_task_says_what_is_left_and_can_be_cleaned_away() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair, "shop", 3_000);
    pair.source.exec("CREATE VIEW shop.v AS SELECT id FROM shop.customers");
    let file = task(&dts, &pair, "shop", SLOW, "");
    let running = dts.start(&["run", text(&file)]);
    dts.wait_for("shop", |status| status["rows_done"].as_u64() > Some(200));
    let ended = dts.run(&["clean", "shop"]).ends_with(2);
    assert!(ended.err.contains("worked on by process"), "{ended:?}");
    let asked = Instant::now();
    let document = dts.run(&["stop", "shop", "--json"]).ends_with(0).json();
    eprintln!("stop took {} ms", asked.elapsed().as_millis());
    assert_eq!((&document["state"], &document["phase"]), (&"stopped".into(), &"full_load".into()));
    let names: Vec<&str> =
        document["tables"].as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect();
    assert!(names.contains(&"shop.customers"), "{names:?}");
    assert_eq!(document["objects"][0], serde_json::json!({ "kind": "view", "name": "shop.v" }));
    let ended = running.end().ends_with(3);
    assert!(
        ended.out.contains("stopped for good") && ended.out.contains("dts clean shop --drop-data"),
        "{ended:?}"
    );

    // For good: neither here nor from another home.
    for command in [&["run", text(&file)][..], &["resume", "shop"], &["stop", "shop"], &["complete", "shop"]]
    {
        let ended = dts.run(command).ends_with(2);
        assert!(ended.err.contains("[DTS-1003]") && ended.err.contains("stopped"), "{ended:?}");
    }
    let elsewhere = dts.path("elsewhere");
    let ended = dts.run(&["--home", text(&elsewhere), "run", text(&file)]);
    assert!(ended.code == 2 && ended.err.contains("completed or stopped"), "{ended:?}");

    // Nobody is at the keyboard to confirm.
    let ended = dts.run(&["clean", "shop", "--drop-data"]).ends_with(2);
    assert!(ended.err.contains("Nothing was dropped") && ended.err.contains("--yes"), "{ended:?}");
    pair.target.exec("CREATE TABLE shop.not_ours (id INT PRIMARY KEY)");
    let ended = dts.run(&["clean", "shop", "--drop-data", "--yes", "--forget"]).ends_with(0);
    assert!(
        ended.out.contains("dropped table shop.customers") && ended.out.contains("dropped view shop.v"),
        "{ended:?}"
    );
    let left = dump::tables(&pair.target, "shop");
    assert_eq!(left, ["not_ours"]);
    dts.run(&["status", "shop"]).ends_with(2);
    pair.target.exec("DROP TABLE shop.not_ours");
    // The name is free again.
    let file = task(&dts, &pair, "shop", NO_CHECK, "");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, "shop");
    // A completion that was cut short after it had begun to create triggers: no change may be applied any more.
    pair.source.exec("INSERT INTO shop.sessions VALUES (0x00, 'late', NULL, '00:00:01', '0000-00-00')");
    pair.target.exec("UPDATE __dts__.task SET phase = 'completing'");
    let ended = dts.run(&["run", text(&file)]).ends_with(2);
    assert!(ended.err.contains("while the task is being completed; allowed now: complete"), "{ended:?}");
    assert_eq!(dts.status("shop")["state"], "failed");
    let document = dts.run(&["complete", "shop", "--json"]).ends_with(0).json();
    assert_eq!(document["state"], "completed");
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM shop.sessions WHERE agent = 'late'"), 0);
    assert!(document["not_applied"].is_string(), "it is said: {document}");
}

#[test]
fn changes_of_state_are_told_and_numbers_are_served() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair, "shop", 1_000);
    let told = dts.path("told");
    let notify = format!("[notify]\ncommand = \"cat >> '{}'; sleep 0.2\"\n{NO_CHECK}", told.display());
    let file = task(&dts, &pair, "shop", &notify, "");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let running = dts.start(&["run", text(&file), "--metrics", &address]);
    wait_until_ready(&dts, "shop");
    let mut connection = TcpStream::connect(&address).unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    for line in [
        "dts_task_state{task=\"shop\",state=\"ready_to_complete\"} 1",
        "dts_task_step{task=\"shop\",step=\"in_sync\"} 1",
        "# TYPE dts_task_lag_seconds gauge",
    ] {
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(line), "{line}: {answer}");
    }
    // The address is taken, which is said before anything else is begun.
    let ended = dts.run(&["worker", "--metrics", &address]).ends_with(2);
    assert!(ended.err.contains("listen at") && ended.err.contains(&address), "{ended:?}");
    let ended = dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
    assert!(
        ended.out.contains("the process that runs it compares") && ended.out.contains("check: same"),
        "{ended:?}"
    );
    dts.run(&["complete", "shop"]).ends_with(0);
    running.end().ends_with(0);
    let told = std::fs::read_to_string(told).unwrap();
    let states: Vec<String> = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["validating", "validated", "running", "ready_to_complete", "completing", "completed"];
    let mut left = states.iter();
    assert!(expected.iter().all(|wanted| left.any(|state| state == wanted)), "{states:?}");
}

#[test]
fn two_workers_share_a_queue_and_never_a_task() {
    let (dts, pair) = (Dts::new(), Pair::start());
    for name in ["a", "b", "c", "d"] {
        shop(&pair, name, 1_000);
        dts.run(&["submit", text(&task(&dts, &pair, name, NO_CHECK, ""))]).ends_with(0);
    }
    let workers =
        [dts.start(&["worker", "--drain"]), dts.start(&["worker", "--drain", "--concurrency", "2"])];
    let mut done = Vec::new();
    for worker in workers {
        let ended = worker.end().ends_with(0);
        assert!(!ended.err.contains("error"), "{ended:?}");
        done.extend(
            ["a", "b", "c", "d"].into_iter().filter(|name| ended.out.contains(&format!("{name}: paused"))),
        );
    }
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c", "d"], "each by exactly one");
    for name in done {
        dts.run(&["complete", name]).ends_with(0);
        dump::assert_equal(&pair.source, &pair.target, name);
    }
}

#[test]
fn a_schema_change_that_was_made_by_hand_is_left_out() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)",
    );
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    // A word that only the target reserves.
    pair.source.exec("CREATE TABLE shop.rank (rank INT PRIMARY KEY)");
    pair.source.exec("INSERT INTO shop.rank VALUES (7); INSERT INTO shop.t VALUES (2)");
    let stopped = dts.run(&["run", text(&file), "--until", "synced", "--json"]).ends_with(3).json();
    assert_eq!(stopped["error"]["code"], "DTS-3005", "{stopped}");
    assert!(stopped["error"]["hint"].as_str().unwrap().contains("--skip-ddl"), "{stopped}");
    let gtid = stopped["error"]["position"].as_str().unwrap();
    assert_eq!(dts.status("shop")["state"], "failed");
    pair.target.exec("CREATE TABLE shop.`rank` (`rank` INT PRIMARY KEY)");
    dts.run(&["resume", "shop", "--skip-ddl", gtid]).ends_with(0);
    dts.run(&["worker", "--drain"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, "shop");
    // It is recorded with the task: nobody needs to say it again.
    pair.source.exec("INSERT INTO shop.rank VALUES (8)");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, "shop");
}
