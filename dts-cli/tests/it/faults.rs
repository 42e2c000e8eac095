//! Homes and stores that cannot be used: each is named with what to do, and nothing is lost.
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;

use dts_testbed::dump;
use dts_testbed::shop::{Shop, ShopOptions};

use crate::program::{Dts, Pair, Running, task_file, text};

/// Starts the program with a limit on the size of any file that it writes, in KiB: a disk that is full at that point.
fn start_on_small_disk(dts: &Dts, kib: u32, args: &[&str]) -> Running {
    let mut command = std::process::Command::new("sh");
    // The signal is ignored, so that writing fails as on a full disk. dash counts in blocks of 512 bytes.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2)]);
    command
        .arg(env!("CARGO_BIN_EXE_dts"))
        .args(args)
        .current_dir(dts.path("."))
        .env("DTS_HOME", dts.path("home"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::new(command.spawn().unwrap())
}

/// Every command that uses the store, each with what it needs to get that far.
fn commands(file: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["list"],
        vec!["status", "shop"],
        vec!["validate", file],
        vec!["run", file],
        vec!["submit", file],
        vec!["worker", "--drain"],
        vec!["pause", "shop"],
        vec!["resume", "shop"],
        vec!["stop", "shop"],
        vec!["set", "shop", "load.rows_per_second_max=1"],
        vec!["check", "shop"],
        vec!["complete", "shop"],
        vec!["cutover", "shop", "--gate", "none"],
        vec!["clean", "shop"],
        vec!["report", "shop"],
        vec!["report", "shop", "--html"],
    ]
}

#[test]
fn a_store_that_is_no_database_is_named_by_every_command() {
    let dts = Dts::new();
    dts.write("password", "x");
    let file = dts.write("shop.toml", &task_file(1, 2, ""));
    fs::create_dir(dts.path("home")).unwrap();
    let damaged = "this was a database once, but a disk has lost it ".repeat(200);
    fs::write(dts.path("home/tasks.sqlite"), &damaged).unwrap();
    for command in commands(text(&file)) {
        let ended = dts.run(&command).ends_with(2);
        assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("tasks.sqlite"), "{ended:?}");
        assert!(ended.err.contains("Move this file away"), "{ended:?}");
        let error = dts.run(&[&command[..], &["--json"]].concat()).ends_with(2).json();
        assert_eq!(error["error"]["code"], "DTS-1002");
    }
    assert_eq!(fs::read_to_string(dts.path("home/tasks.sqlite")).unwrap(), damaged, "it is left as it was");
}

/// The head of the file is sound, what lies behind it is not.
#[test]
fn a_store_that_is_damaged_in_the_middle_is_named_by_every_command() {
    let dts = Dts::new();
    dts.write("password", "x");
    let file = dts.write("shop.toml", &task_file(1, 2, ""));
    dts.run(&["validate", text(&file)]).ends_with(1);
    dts.run(&["status", "shop"]).ends_with(0);
    let store = dts.path("home/tasks.sqlite");
    let mut bytes = fs::read(&store).unwrap();
    assert!(bytes.len() > 8 * 4096, "{}", bytes.len());
    bytes[4096..].fill(0x5a);
    fs::write(&store, &bytes).unwrap();
    for name in ["tasks.sqlite-wal", "tasks.sqlite-shm"] {
        let _ = fs::remove_file(dts.path("home").join(name));
    }
    for command in commands(text(&file)) {
        let ended = dts.run(&command).ends_with(2);
        assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("tasks.sqlite"), "{ended:?}");
        assert!(ended.err.contains("Move this file away"), "{ended:?}");
    }
    assert!(fs::read(&store).unwrap() == bytes, "it is left as it was");
}

/// As another user, who may read the home and not write it: for root nothing is read-only.
#[test]
fn a_home_that_is_read_only_is_named_by_every_command() {
    let dts = Dts::new();
    dts.write("password", "x");
    let file = dts.write("shop.toml", &task_file(1, 2, ""));
    dts.run(&["validate", text(&file)]).ends_with(1);
    let (program, home) = (dts.path("dts"), dts.path("home"));
    fs::copy(env!("CARGO_BIN_EXE_dts"), &program).unwrap();
    let allow =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for name in fs::read_dir(&home).unwrap() {
        let path = name.unwrap().path();
        if path.is_file() {
            allow(&path, 0o444);
        }
    }
    allow(&home, 0o555);
    allow(&dts.path("."), 0o755);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let before = fs::read(home.join("tasks.sqlite")).unwrap();
    for command in commands(text(&file)) {
        let mut process = if is_root {
            let mut process = std::process::Command::new("setpriv");
            process.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            process
        } else {
            std::process::Command::new(&program)
        };
        process.args(&command).current_dir(dts.path(".")).env("DTS_HOME", &home).stdin(Stdio::null());
        let child = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = Running::new(child).end().ends_with(2);
        assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("tasks.sqlite"), "{ended:?}");
        assert!(ended.err.contains("--home or $DTS_HOME"), "{ended:?}");
    }
    assert!(fs::read(home.join("tasks.sqlite")).unwrap() == before, "nothing was written");
    allow(&home, 0o755);
}

#[test]
fn a_home_that_cannot_be_written_is_named_by_every_command() {
    let dts = Dts::new();
    dts.write("password", "x");
    let file = dts.write("shop.toml", &task_file(1, 2, ""));
    // Not even root may make a folder there.
    for command in commands(text(&file)) {
        let ended = dts.run(&[&["--home", "/sys/dts-home"], &command[..]].concat()).ends_with(2);
        assert!(ended.err.contains("[DTS-1002] cannot create '/sys/dts-home'"), "{ended:?}");
        assert!(ended.err.contains("--home or $DTS_HOME"), "{ended:?}");
    }
}

/// What the store has is of a time that is still to come: states, queue and leases go on, and a report says what it can.
#[test]
fn a_clock_that_was_set_back_stops_nothing() {
    let dts = Dts::new();
    dts.write("password", "x");
    let file = dts.write("shop.toml", &task_file(1, 2, ""));
    dts.run(&["validate", text(&file)]).ends_with(1);
    let store = rusqlite::Connection::open(dts.path("home/tasks.sqlite")).unwrap();
    store
        .execute_batch(
            "UPDATE task SET created_at = '2099-01-01T00:00:00.000Z', updated_at = created_at;
             UPDATE transition SET at = '2099-01-01T00:00:00.000Z'; UPDATE validation SET at = '2099-01-01T00:00:00.000Z';
             INSERT INTO sample (task, at, step, rows_done, bytes_done, transactions_applied, rows_per_second, spool_bytes)
             VALUES ('shop', '2099-01-01T00:00:01.000Z', 'full_load', 1, 1, 1, 1, 1),
                    ('shop', '2020-01-01T00:00:00.000Z', 'full_load', 2, 2, 2, 1, 1);",
        )
        .unwrap();
    drop(store);
    dts.run(&["validate", text(&file)]).ends_with(1);
    assert_eq!(dts.status("shop")["state"], "validation_failed");
    dts.run(&["list"]).ends_with(0);
    let report = dts.run(&["report", "shop"]).ends_with(0).out;
    assert!(report.contains("2099-01-01 00:00:00") && report.contains("Nothing was measured"), "{report}");
    dts.run(&["report", "shop", "--html"]).ends_with(0);
    dts.run(&["worker", "--drain"]).ends_with(0);
    dts.run(&["stop", "shop"]).ends_with(0);
    assert_eq!(dts.status("shop")["state"], "stopped");
}

#[test]
fn a_disk_without_space_for_the_store_is_named() {
    let dts = Dts::new();
    let ended = start_on_small_disk(&dts, 8, &["list"]).end().ends_with(2);
    assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("Free space on this disk"), "{ended:?}");
    // With space it is as new.
    dts.run(&["list"]).ends_with(0);
}

#[test]
fn a_lost_store_and_a_full_disk_lose_nothing_of_a_task() {
    let (dts, pair) = (Dts::new(), Pair::start());
    Shop::create(&pair.source, &ShopOptions { rows: 5_000, ..ShopOptions::default() });
    let file =
        pair.task(&dts, "[load]\nrows_per_second_max = 2000\nchunk_mib = 1\n[check]\nmode = \"none\"\n");
    // The store is full in the middle of the run; whatever comes of that, it is no success that is none.
    let ended = start_on_small_disk(&dts, 256, &["run", text(&file), "--until", "loaded"]).end();
    assert!([0, 2, 3, 4].contains(&ended.code), "{ended:?}");
    eprintln!(
        "on the small disk it ended with {}: {}",
        ended.code,
        ended.err.lines().last().unwrap_or_default()
    );
    // The store is lost whole.
    for name in ["tasks.sqlite", "tasks.sqlite-wal", "tasks.sqlite-shm"] {
        let _ = fs::remove_file(dts.path("home").join(name));
    }
    fs::write(dts.path("home/tasks.sqlite"), "x".repeat(5000)).unwrap();
    dts.run(&["run", text(&file)]).ends_with(2);
    fs::remove_file(dts.path("home/tasks.sqlite")).unwrap();
    let ended = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(ended.out.contains("resumed"), "the target knows: {ended:?}");
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

#[test]
fn a_task_file_that_changed_or_went_away_while_it_waited_is_noticed() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)",
    );
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    let submitted = fs::read_to_string(&file).unwrap();
    dts.run(&["submit", text(&file)]).ends_with(0);
    // It is validated again in its new form, and not started: the selection is empty now.
    fs::write(&file, submitted.replace("[\"shop\"]", "[\"nothing\"]")).unwrap();
    let ended = dts.run(&["worker", "--drain"]).ends_with(1);
    assert!(ended.out.contains("objects_exist"), "{ended:?}");
    assert_eq!(dts.status("shop")["state"], "validation_failed");
    fs::write(&file, &submitted).unwrap();
    dts.run(&["submit", text(&file)]).ends_with(0);
    fs::remove_file(&file).unwrap();
    let ended = dts.run(&["worker", "--drain"]).ends_with(2);
    assert!(ended.err.contains("read the task file"), "{ended:?}");
    let status = dts.status("shop");
    assert_eq!((&status["state"], &status["error"]["code"]), (&"failed".into(), &"DTS-1002".into()));
    fs::write(&file, submitted).unwrap();
    dts.run(&["resume", "shop"]).ends_with(0);
    dts.run(&["worker", "--drain"]).ends_with(0);
    assert_eq!(dts.status("shop")["state"], "paused");
    dump::assert_equal(&pair.source, &pair.target, "shop");
}
