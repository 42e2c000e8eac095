//! `dts check`, on real servers.
use crate::program::{Dts, Pair, text};

#[test]
fn differences_are_found_and_listed_by_key() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20)) CHARSET utf8;
         CREATE TABLE shop.u (id INT PRIMARY KEY);
         INSERT INTO shop.t VALUES (1, 'one'), (2, 'two'), (3, 'three'); INSERT INTO shop.u VALUES (1)",
    );
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    let ended = dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    assert!(!ended.out.contains("check:"), "{ended:?}");
    pair.target.exec("UPDATE shop.t SET v = 'TWO' WHERE id = 2; DELETE FROM shop.t WHERE id = 3; INSERT INTO shop.t VALUES (9, '')");

    let document = dts.run(&["check", "shop", "--mode", "full", "--json"]).ends_with(1).json();
    assert_eq!((&document["conclusion"], &document["mode"]), (&"different".into(), &"full".into()));
    let table =
        document["tables"].as_array().unwrap().iter().find(|table| table["table"] == "shop.t").unwrap();
    let found: Vec<String> = table["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| format!("{} {}", d["key"]["id"], d["kind"]))
        .collect();
    assert_eq!(found, [r#""2" "different""#, r#""3" "missing""#, r#""9" "extra""#]);

    let ended = dts.run(&["check", text(&file), "--mode", "full"]).ends_with(1);
    assert!(ended.out.contains("check: different") && ended.out.contains("id=2 in v"), "{ended:?}");
    assert!(ended.out.find("shop.t") < ended.out.find("shop.u"), "the worst first: {ended:?}");
    assert!(dts.status("shop")["allowed_actions"].as_array().unwrap().contains(&"check".into()));

    dts.run(&["check", "shop", "--mode", "full", "--tables", "shop.u"]).ends_with(0);
    let ended = dts.run(&["check", "shop", "--tables", "shop.nothing"]).ends_with(2);
    assert!(ended.err.contains("shop.nothing"), "{ended:?}");
    let document =
        dts.run(&["check", "shop", "--mode", "partial", "--ratio", "100", "--seed", "5", "--json"]).json();
    assert_eq!(document["seed"], 5);
    // Nothing compared is never "same".
    dts.run(&["check", "shop", "--mode", "none"]).ends_with(1);
}
