//! `dts validate`, on real servers.
use std::net::TcpListener;

use crate::program::{Dts, Pair, task_file, text};

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
    let ended = dts.run(&["validate", text(&file)]).ends_with(0);
    assert!(ended.out.contains("RESULT") && ended.out.contains("next: dts run"), "{}", ended.out);
    assert!(ended.out.contains("plan: 1 table and 0 views"), "{}", ended.out);
    assert!(!ended.out.contains('\x1b'), "no colours without a terminal");
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
