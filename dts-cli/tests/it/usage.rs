//! What needs no server: help, wrong usage, task files that are wrong.
use crate::program::{Dts, task_file, text};

/// Compares with a file of `golden/`; `UPDATE_GOLDEN=1` writes it anew.
#[track_caller]
fn assert_golden(name: &str, actual: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, actual, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

/// Returns the commands that the help lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn help_says_what_there_is() {
    let dts = Dts::new();
    let mut all = dts.run(&["--help"]).ends_with(0).out;
    let commands: Vec<String> = commands(&all);
    assert!(commands.len() >= 20, "{commands:?}");
    for command in &commands {
        let help = dts.run(&["help", command]).ends_with(0).out;
        // The global options are the same everywhere.
        let own = help.split("Global options:").next().unwrap();
        all.push_str(&format!("\n== dts {command} ==\n{own}"));
    }
    assert_golden("help.txt", &all);
    assert_eq!(dts.run(&["--version"]).ends_with(0).out.trim(), format!("dts {}", env!("CARGO_PKG_VERSION")));
}

/// What README and flow.md say of the validation's items is what there is.
#[test]
fn documents_count_the_items_of_the_validation() {
    let count = dts_core::validator::entries().count().to_string();
    let read =
        |name: &str| std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(read("README.md").contains(&format!("validation of {count} items")), "README.md: {count} items");
    let shown = read("docs/flow.md");
    let counts: Vec<&str> =
        shown.split("validation: warn (").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert!(
        !counts.is_empty() && counts.iter().all(|shown| *shown == count),
        "docs/flow.md: {counts:?}, not {count}"
    );
}

#[test]
fn wrong_usage_ends_with_2_and_says_so() {
    let dts = Dts::new();
    for args in
        [&["rum"][..], &["run"], &["run", "x", "--until", "done"], &["check", "x", "--ratio", "0"], &[]]
    {
        let ended = dts.run(args).ends_with(2);
        assert!(ended.out.is_empty() && ended.err.contains("--help"), "{ended:?}");
    }
    let ended = dts.run(&["rum", "--json"]).ends_with(2);
    assert_eq!(ended.json()["error"]["code"], "DTS-1001");
    assert!(ended.err.is_empty(), "{ended:?}");
    dts.run(&["status", "x", "--watch", "--json"]).ends_with(2);
}

#[test]
fn init_writes_a_task_file_that_is_one_and_never_overwrites() {
    let dts = Dts::new();
    let ended = dts.run(&["init", "my.toml"]).ends_with(0);
    assert!(ended.out.contains("dts validate my.toml"), "{ended:?}");
    let written = std::fs::read_to_string(dts.path("my.toml")).unwrap();
    let ended = dts.run(&["init", "my.toml"]).ends_with(2);
    assert!(ended.err.contains("never overwrites"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(dts.path("my.toml")).unwrap(), written);
    // The passwords are what is missing in it, and the first thing that is asked for.
    let ended = dts.run(&["validate", "my.toml"]).ends_with(2);
    assert!(ended.err.contains("DTS_SOURCE_PASSWORD") && ended.err.contains("export"), "{ended:?}");
    dts.run(&["init"]).ends_with(0);
    assert!(dts.path("task.toml").exists());
}

#[test]
fn a_wrong_task_file_is_refused_with_key_line_and_what_was_meant() {
    let dts = Dts::new();
    dts.write("password", "x");
    for (sections, parts) in [
        ("[load]\nthread = 4\n", &["line 18, column 1", "'load.thread'", "'load.threads'"][..]),
        ("[load]\nthreads = \"four\"\n", &["line 18, column 11", "load.threads is 'a text'", "whole number"]),
        ("[load]\nthreads = 1000\n", &["line 18", "'1000'", "1 to 64"]),
        ("[lod]\n", &["line 17, column 2", "'lod'", "'load'"]),
        ("[load\n", &["line 17"]),
    ] {
        let file = dts.write("task.toml", &task_file(1, 2, sections));
        for command in ["validate", "run", "check"] {
            let ended = dts.run(&[command, text(&file)]).ends_with(2);
            for part in parts {
                assert!(ended.err.contains(part), "{part}: {ended:?}");
            }
            assert!(ended.err.contains("[DTS-1001]") && ended.err.contains("what to do:"), "{ended:?}");
            let error = dts.run(&[command, text(&file), "--json"]).ends_with(2).json();
            assert_eq!(error["error"]["code"], "DTS-1001");
            assert_eq!(error.as_object().unwrap().len(), 1);
            assert!(error["error"]["message"].as_str().unwrap().contains(parts[0]), "{error}");
        }
    }
}

#[test]
fn files_and_tasks_that_do_not_exist_are_named() {
    let dts = Dts::new();
    for command in ["validate", "run", "check", "submit"] {
        let ended = dts.run(&[command, "nowhere.toml"]).ends_with(2);
        assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("nowhere.toml"), "{ended:?}");
    }
    // Every command that takes a task's name, and nothing else that must be typed.
    let mut seen = 0;
    for command in commands(&dts.run(&["--help"]).ends_with(0).out) {
        let help = dts.run(&["help", &command]).ends_with(0).out;
        let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap();
        if !usage.contains("<NAME") || command == "set" {
            continue;
        }
        let mut args = vec![command.as_str(), "shop", "--json"];
        if command == "cutover" {
            args.extend(["--gate", "none"]);
        }
        let ended = dts.run(&args).ends_with(2);
        assert_eq!(ended.json()["error"]["code"], "DTS-1004", "{command}");
        seen += 1;
    }
    assert_eq!(seen, 11, "commands that take a task's name");
    let ended = dts.run(&["set", "shop", "load.rows_per_second_max=1"]).ends_with(2);
    assert!(ended.err.contains("[DTS-1004]"), "{ended:?}");
    let ended = dts.run(&["set", "shop", "load.threads=1"]).ends_with(2);
    assert!(ended.err.contains("load.rows_per_second_max=N"), "{ended:?}");
    let ended = dts.run(&["list", "--json"]).ends_with(0);
    assert_eq!(ended.out.trim(), r#"{"tasks":[]}"#);
}

#[test]
fn a_home_that_cannot_be_used_is_named() {
    let dts = Dts::new();
    let file = dts.write("file", "");
    let ended = dts.run(&["--home", text(&file), "list"]).ends_with(2);
    assert!(ended.err.contains("--home"), "{ended:?}");
}

#[test]
fn logs_go_to_the_file_that_was_named() {
    let dts = Dts::new();
    let ended = dts.run(&["--log-file", "no/folder/x.log", "list"]).ends_with(2);
    assert!(ended.err.contains("open the log file"), "{ended:?}");
    dts.run(&["--log-file", "x.log", "list"]).ends_with(0);
    assert!(dts.path("x.log").exists());
}

#[test]
fn completions_are_scripts() {
    let dts = Dts::new();
    for (shell, part) in [("bash", "_dts()"), ("zsh", "#compdef dts"), ("fish", "complete -c dts")] {
        assert!(dts.run(&["completions", shell]).ends_with(0).out.contains(part), "{shell}");
    }
}
