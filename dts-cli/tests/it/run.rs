//! `dts run` and `dts status`, on real servers.
use std::process::{Command, Stdio};

use dts_testbed::dump;
use dts_testbed::shop::{Shop, ShopOptions, Writer, WriterOptions};

use crate::program::{Dts, Pair, Running, text};

const SHOP_ROWS: u64 = 5_000;
/// So slow that a test can look at a copy under way.
const SLOW: &str = "[load]\nrows_per_second_max = 800\nchunk_mib = 1\n";

fn shop(pair: &Pair) -> Shop {
    Shop::create(&pair.source, &ShopOptions { rows: SHOP_ROWS, ..ShopOptions::default() })
}

#[test]
fn a_live_shop_moves_in_several_runs_and_arrives_equal() {
    let (dts, pair) = (Dts::new(), Pair::start());
    let shop = shop(&pair);
    let file = pair.task(&dts, "[check]\nmode = \"full\"\n");
    let writer = Writer::start(&pair.source, &shop, &WriterOptions::default());

    let ended = dts.run(&["run", text(&file), "--until", "loaded"]).ends_with(0);
    assert!(
        ended.out.contains("all rows are copied") && ended.out.contains("next: go on: dts run"),
        "{ended:?}"
    );
    assert_eq!(dts.status("shop")["state"], "paused");

    let ended = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(ended.out.contains("in sync (resumed") && ended.out.contains("check: same"), "{ended:?}");

    writer.stop();
    let status = dts.run(&["run", text(&file), "--until", "synced", "--json"]).ends_with(0).json();
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "name",
            "state",
            "step",
            "steps",
            "tables",
            "rows_done",
            "rows_estimated",
            "bytes_done",
            "rows_per_second",
            "eta_seconds",
            "lag_seconds",
            "lag_bytes",
            "spool_bytes",
            "start_position",
            "source_position",
            "applied_position",
            "target_position",
            "retries",
            "divergences",
            "apply",
            "rewrites",
            "allowed_actions",
            "next_action",
            "error",
            "reverse"
        ]
    );
    assert_eq!((&status["name"], &status["state"]), (&"shop".into(), &"paused".into()));
    assert_eq!(status["steps"][1]["name"], "full_load");
    assert_eq!(status["steps"][1]["state"], "done");
    let executed: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    assert_eq!(status["applied_position"], executed.replace('\n', ""));
    assert!(status["target_position"].is_string(), "{status}");
    dump::assert_equal(&pair.source, &pair.target, "shop");
    let list = dts.run(&["list", "--json"]).ends_with(0).json();
    assert_eq!(list["tasks"][0], status);
}

#[test]
fn ctrl_c_pauses_and_running_again_resumes() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair);
    let file = pair.task(&dts, SLOW);
    let running = dts.start(&["run", text(&file)]);
    let status = dts.wait_for("shop", |status| status["rows_done"].as_u64() > Some(0));
    assert_eq!((&status["state"], &status["step"]), (&"running".into(), &"full_load".into()));

    running.signal("INT");
    let ended = running.end().ends_with(130);
    assert!(ended.err.contains("pausing") && ended.out.contains("Run again to resume"), "{ended:?}");
    assert!(ended.err.contains("task=shop state="), "a status line at the end: {ended:?}");
    let status = dts.status("shop");
    assert_eq!(status["state"], "paused");
    assert_eq!(
        status["allowed_actions"],
        serde_json::json!(["validate", "run", "resume", "stop", "check", "cutover", "complete"])
    );

    // SIGTERM is the same; with --json the status is what is printed.
    let running = dts.start(&["run", text(&file), "--json", "--no-progress"]);
    dts.wait_for("shop", |status| status["state"] == "running");
    running.signal("TERM");
    let ended = running.end().ends_with(130);
    assert_eq!(ended.json()["state"], "paused");

    pair.task(&dts, "");
    let ended = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(ended.out.contains("resumed"), "{ended:?}");
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

#[test]
fn only_one_process_runs_a_task_and_a_killed_one_is_noticed() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair);
    let file = pair.task(&dts, SLOW);
    let running = dts.start(&["run", text(&file)]);
    dts.wait_for("shop", |status| status["rows_done"].as_u64() > Some(0));
    let ended = dts.run(&["run", text(&file)]).ends_with(2);
    assert!(ended.err.contains(&format!("worked on by process {}", running.pid())), "{ended:?}");
    // Looking is always possible.
    dts.run(&["validate", text(&file)]).ends_with(0);
    assert_eq!(dts.status("shop")["state"], "running");

    running.signal("KILL");
    let pid = running.pid();
    running.end();
    let status = dts.status("shop");
    assert_eq!(status["state"], "failed");
    assert!(
        status["error"]["message"].as_str().unwrap().contains(&format!("process {pid} ended")),
        "{status}"
    );

    pair.task(&dts, "");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

#[test]
fn a_task_in_sync_says_so_and_goes_on() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair);
    let file = pair.task(&dts, "[check]\nmode = \"rows-count\"\n");
    let running = dts.start(&["run", text(&file)]);
    let status = dts.wait_for("shop", |status| status["state"] == "ready_to_complete");
    assert_eq!(status["step"], "in_sync");
    assert!(status["next_action"].as_str().unwrap().starts_with("in sync, lag"), "{status}");
    pair.source.exec("INSERT INTO shop.sessions VALUES (0x00, 'last', NULL, '00:00:01', '0000-00-00')");
    let executed: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    dts.wait_for("shop", |status| status["applied_position"] == executed.replace('\n', ""));
    // Beside the running process.
    let ended = dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
    assert!(ended.out.contains("check: same (mode full"), "{ended:?}");
    running.signal("INT");
    let ended = running.end().ends_with(130);
    assert!(ended.out.contains("check: same (mode rows-count"), "the check in sync: {ended:?}");
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

#[test]
fn a_full_task_ends_by_itself_and_cannot_run_again() {
    let (dts, pair) = (Dts::new(), Pair::start());
    shop(&pair);
    let file = pair.task(&dts, "");
    let full = std::fs::read_to_string(&file)
        .unwrap()
        .replace("name = \"shop\"\n", "name = \"shop\"\ntype = \"full\"\n");
    dts.write("shop.toml", &full);
    dts.run(&["run", text(&file)]).ends_with(0);
    assert_eq!(dts.status("shop")["state"], "completed");
    dump::assert_equal(&pair.source, &pair.target, "shop");
    let ended = dts.run(&["run", text(&file)]).ends_with(2);
    assert!(ended.err.contains("[DTS-1003]") && ended.err.contains("completed"), "{ended:?}");
}

/// `script` gives the program a terminal.
#[test]
fn on_a_terminal_there_are_bars_and_elsewhere_lines() {
    let (dts, pair) = (Dts::new(), Pair::start());
    Shop::create(&pair.source, &ShopOptions { rows: 4_000, ..ShopOptions::default() });
    let file =
        pair.task(&dts, "[load]\nrows_per_second_max = 1000\nchunk_mib = 1\n[check]\nmode = \"none\"\n");
    let typed = format!(
        "stty cols 140 rows 40; '{}' run '{}' --until loaded",
        env!("CARGO_BIN_EXE_dts"),
        text(&file)
    );
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &typed, "/dev/null"]).current_dir(dts.path("."));
    command
        .env("DTS_HOME", dts.path("home"))
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env_remove("NO_COLOR");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Running::new(command.spawn().unwrap()).end().ends_with(0);
    // A line of the task with its step, its bar, rows, both speeds and what is left, and a line for each table under way.
    for part in ["full_load", "█", "░", " rows", "/s", "iB/s", " left", " tables", "shop.", "copying"] {
        assert!(ended.out.contains(part), "{part}: {}", ended.out);
    }
    assert!(ended.out.contains("steps            structure "), "how long each step took: {}", ended.out);

    // Without a terminal there is no bar, and the last moment is one line in which everything has its place.
    let ended = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(!ended.err.contains('█') && !ended.err.contains('\x1b'), "{ended:?}");
    assert!(
        ended.err.lines().any(|line| line.contains("task=shop state=") && line.contains(" lag_s=")),
        "{ended:?}"
    );
}
