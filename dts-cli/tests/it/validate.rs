//! `dts validate`, on real servers.
use std::net::TcpListener;

use dts_testbed::shop::{SOURCE_GRANTS, TARGET_GRANTS};
use dts_testbed::{Server, ServerOptions, Version, dump};

use crate::program::{Dts, PASSWORD, Pair, task_file, text};

/// Returns the item of this id.
#[track_caller]
fn item<'d>(document: &'d serde_json::Value, id: &str) -> &'d serde_json::Value {
    let items = document["items"].as_array().unwrap();
    items.iter().find(|item| item["id"] == id).unwrap_or_else(|| panic!("no item {id} in {document}"))
}

#[test]
fn a_task_that_may_start_passes_and_nothing_is_changed() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
    let file = pair.task(&dts, "");
    let ended = dts.run(&["validate", text(&file), "--json"]).ends_with(0);
    let document = ended.json();
    assert!(document["result"] == "pass" || document["result"] == "warn", "{document}");
    let keys: Vec<&String> = document["items"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["id", "group", "result", "expected", "actual", "message", "fix", "objects"]);
    assert_eq!(
        (&document["plan"]["tables"], &document["plan"]["lock_free"][0]),
        (&1.into(), &"shop.t".into())
    );
    let ended = dts.run(&["validate", text(&file)]).ends_with(0);
    assert!(ended.out.contains("RESULT") && ended.out.contains("next: dts run"), "{}", ended.out);
    assert!(ended.out.contains("plan: 1 table and 0 views"), "{}", ended.out);
    assert!(!ended.out.contains('\x1b'), "no colours without a terminal");
    let untried = dts.write(
        "untried.toml",
        &task_file(pair.source.port(), pair.target.port(), "[validate]\ntry_structure = false\n")
            .replace("\"shop\"\n[s", "\"untried\"\n[s"),
    );
    let document = dts.run(&["validate", text(&untried), "--json"]).ends_with(0).json();
    assert_eq!(item(&document, "upgrade.tables")["actual"], "not tried");
    let one = dts.run(&["validate", text(&file), "--item", "log_bin", "--json"]).ends_with(0).json();
    assert_eq!(one["items"].as_array().unwrap().len(), 1, "{one}");
    let unknown = dts.run(&["validate", text(&file), "--item", "log_bim", "--json"]).ends_with(2).json();
    assert_eq!(unknown["error"]["code"], "DTS-1001", "{unknown}");
    assert!(dts.run(&["validate", text(&file), "--color", "always"]).out.contains('\x1b'));
    assert!(pair.target_is_untouched());
    let status = dts.status("shop");
    assert_eq!(status["state"], "validated");
    assert!(status["next_action"].as_str().unwrap().contains("dts run"), "{status}");
}

#[test]
fn servers_that_cannot_be_reached_fail_with_what_was_tried() {
    let (dts, pair) = (Dts::new(), Pair::start());
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    dts.write("password", "wrong");
    let file = dts.write("shop.toml", &task_file(pair.source.port(), nobody, ""));
    let document = dts.run(&["validate", text(&file), "--json"]).ends_with(1).json();
    assert_eq!(document["result"], "fail");
    let (source, target) = (item(&document, "source_connect"), item(&document, "target_connect"));
    assert_eq!((&source["result"], &target["result"]), (&"fail".into(), &"fail".into()));
    assert!(
        source.to_string().contains("Access denied") || source.to_string().contains("password"),
        "{source}"
    );
    assert!(target.to_string().contains(&nobody.to_string()), "{target}");
    assert_eq!(item(&document, "log_bin")["result"], "blocked");
    // `run` validates first and ends the same way; what failed is printed.
    let ended = dts.run(&["run", text(&file), "--until", "loaded"]).ends_with(1);
    assert!(ended.out.contains("source_connect") && ended.out.contains("validation: fail"), "{ended:?}");
    assert_eq!(dts.run(&["run", text(&file), "--json"]).ends_with(1).json()["result"], "fail");
    assert_eq!(dts.status("shop")["state"], "validation_failed");
    assert!(pair.target_is_untouched());

    // A check has no list of items: it cannot be made, and says who must act.
    let error = dts.run(&["check", text(&file), "--json"]).ends_with(3).json();
    assert_eq!(error["error"]["code"], "DTS-4003", "{error}");
    let file = dts.write("shop.toml", &task_file(nobody, pair.target.port(), ""));
    let error = dts.run(&["check", text(&file), "--json"]).ends_with(4).json();
    assert_eq!(error["error"]["code"], "DTS-4002", "{error}");
}

#[test]
fn a_target_that_is_the_source_is_refused() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.target.exec("CREATE DATABASE other; CREATE TABLE other.t (id INT PRIMARY KEY)");
    pair.task(&dts, "");
    let port = pair.target.port();
    let file = dts.write("shop.toml", &task_file(port, port, "").replace("\"shop\"]", "\"other\"]"));
    let document = dts.run(&["validate", text(&file), "--json"]).ends_with(1).json();
    assert_eq!(item(&document, "same_server")["result"], "fail");
    dts.run(&["run", text(&file)]).ends_with(1);
    assert!(pair.target_is_untouched());
}

/// Returns the items of the printed table as (result, group, item), in their order.
fn printed(out: &str) -> Vec<(String, String, String)> {
    let rows = out
        .lines()
        .skip_while(|line| !line.starts_with("RESULT"))
        .skip(1)
        .take_while(|line| !line.is_empty());
    // Folded cells continue on lines that begin with blanks.
    rows.filter(|line| !line.starts_with(' '))
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}

#[test]
fn the_worst_is_on_top_and_what_is_ignored_starts() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE shop.log (a INT) ENGINE=InnoDB; \
         SET GLOBAL connect_timeout = 5; SET GLOBAL binlog_format = 'MIXED'",
    );
    let file = pair.task(&dts, "");
    let ended = dts.run(&["validate", text(&file)]).ends_with(1);
    let items = printed(&ended.out);
    let rank =
        |result: &str| ["fail", "blocked", "warn", "ignored", "pass"].iter().position(|word| *word == result);
    // Groups stay together; the worst item leads its group, and the group with the worst item leads.
    let mut groups: Vec<&str> = items.iter().map(|item| item.1.as_str()).collect();
    groups.dedup();
    let mut unique = groups.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(groups.len(), unique.len(), "{groups:?}");
    for pair in items.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
        assert!(rank(&pair[0].0) <= rank(&pair[1].0), "{pair:?}");
    }
    let leads: Vec<_> =
        groups.iter().map(|group| rank(&items.iter().find(|item| item.1 == *group).unwrap().0)).collect();
    assert!(leads.is_sorted() && leads[0] == Some(0), "{items:?}");
    assert!(ended.out.contains("SET GLOBAL connect_timeout = 10;"), "{}", ended.out);
    assert!(
        ended.out.contains("from an exact snapshot, under a lock of milliseconds: shop.log"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("copied without a lock: 1 table"), "{}", ended.out);
    dts.run(&["validate", text(&file), "--item", "connect_timeout"]).ends_with(1);
    dts.run(&["validate", text(&file), "--item", "log_bin"]).ends_with(0);

    // What can be survived may be ignored; what cannot says why.
    let file = pair.task(
        &dts,
        "[validate]\nignore = [\"connect_timeout\", \"binlog_format\", \"tables_without_key\"]\n",
    );
    let document = dts.run(&["validate", text(&file), "--json"]).ends_with(1).json();
    assert_eq!(item(&document, "connect_timeout")["result"], "ignored");
    assert_eq!(item(&document, "tables_without_key")["result"], "ignored");
    let format = item(&document, "binlog_format");
    assert!(
        format["result"] == "fail" && format["message"].as_str().unwrap().contains("cannot be ignored"),
        "{format}"
    );
    pair.source.exec("SET GLOBAL binlog_format = 'ROW'");
    dts.run(&["validate", text(&file)]).ends_with(0);
    assert_eq!(dts.status("shop")["state"], "validated");

    // The file says something else now: the validation of before counts for nothing.
    pair.task(&dts, "");
    let ended = dts.run(&["run", text(&file), "--until", "loaded"]).ends_with(1);
    assert!(ended.out.contains("connect_timeout"), "{ended:?}");
    assert_eq!(dts.status("shop")["state"], "validation_failed");
    assert!(pair.target_is_untouched());
    let unknown = dts.write(
        "odd.toml",
        &task_file(pair.source.port(), pair.target.port(), "[validate]\nignore = [\"no_such\"]\n")
            .replace("\"shop\"\n[s", "\"odd\"\n[s"),
    );
    let error = dts.run(&["validate", text(&unknown), "--json"]).ends_with(2).json();
    assert!(error["error"]["message"].as_str().unwrap().contains("no_such"), "{error}");
}

/// `script` gives the program a terminal.
#[test]
fn colours_are_for_terminals() {
    let dts = Dts::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    dts.write("password", "wrong");
    let file = dts.write("shop.toml", &task_file(nobody, nobody, ""));
    let plain = dts.run(&["validate", text(&file)]).ends_with(1);
    assert!(plain.out.contains("source_connect") && !plain.out.contains('\x1b'), "{plain:?}");
    let on_terminal = |no_color: &str| {
        let own = dts.command(&[]);
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &format!("{} validate shop.toml", env!("CARGO_BIN_EXE_dts")), "/dev/null"]);
        command
            .current_dir(own.get_current_dir().unwrap())
            .env("DTS_HOME", dts.path("home"))
            .env("NO_COLOR", no_color);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(out.contains("source_connect"), "{out}");
        out
    };
    assert!(on_terminal("").contains("\x1b["));
    let without = on_terminal("1");
    assert!(!without.contains("\x1b[3") && !without.contains("\x1b[1m"), "{without}");
}

/// From RDS, whose names are in lower case, to a TencentDB as it is made: the first thing that stops such a migration.
#[test]
fn a_target_that_tells_cases_apart_takes_names_in_lower_case() {
    let dts = Dts::new();
    let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap();
    let target = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    source.exec("CREATE DATABASE Shop; CREATE TABLE Shop.Orders (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO Shop.ORDERS VALUES (1), (2)");
    source.create_account("dts", PASSWORD, &SOURCE_GRANTS);
    target.create_account("dts", PASSWORD, &TARGET_GRANTS);
    dts.write("password", PASSWORD);
    let text_of = |key: &str| task_file(source.port(), target.port(), key);
    let file = dts.write("shop.toml", &text_of(""));
    let document = dts.run(&["validate", text(&file), "--json"]).ends_with(1).json();
    let case = item(&document, "lower_case_table_names");
    assert!(
        case["result"] == "fail" && case["fix"].as_str().unwrap().contains("objects.lower_case_names = true"),
        "{case}"
    );
    dts.write("shop.toml", &text_of("lower_case_names = true\n"));
    let document = dts.run(&["validate", text(&file), "--json"]).ends_with(0).json();
    assert_eq!(item(&document, "lower_case_table_names")["result"], "warn");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&source, &target, "shop");
    source.exec(
        "CREATE TABLE Shop.Later (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO shop.LATER VALUES (3)",
    );
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&source, &target, "shop");
}
