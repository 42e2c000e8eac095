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

#[test]
fn structure_strangers_values_and_repairs_are_told() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20), KEY v (v)) CHARSET utf8;
         INSERT INTO shop.t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    );
    let file = pair.task(
        &dts,
        "[check]\nmode = \"full\"\nmethod = \"stream\"\nthreads = 1\nmax_threads_running = 500\n",
    );
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    let ended = dts.run(&["check", "shop"]).ends_with(0);
    assert!(ended.out.contains("check: same") && ended.out.contains("structure same"), "{ended:?}");
    assert!(ended.out.contains("grant REPLICATION SLAVE"), "{ended:?}");
    pair.target.exec("GRANT REPLICATION SLAVE ON *.* TO dts");

    pair.target.exec("ALTER TABLE shop.t DROP KEY v; UPDATE shop.t SET v = 'TWO' WHERE id = 2; DELETE FROM shop.t WHERE id = 3");
    let sql = dts.path("repair.sql");
    let asked =
        ["check", "shop", "--method", "digest", "--json", "--show-values", "--repair-sql", text(&sql)];
    let document = dts.run(&asked).ends_with(1).json();
    assert_eq!(document["conclusion"], "different");
    assert_eq!(document["structure"]["differences"][0]["part"], "index v");
    assert_eq!(document["target_writers"]["transactions"], 2, "{}", document["target_writers"]);
    assert_eq!(document["target_writers"]["writes"][0]["tables"][0], "shop.t");
    let difference = &document["tables"][0]["differences"][0];
    assert_eq!((&difference["key"]["id"], &difference["columns"][0]), (&"2".into(), &"v".into()));
    assert_eq!(
        (&difference["values"][0]["source"], &difference["values"][0]["target"]),
        (&"two".into(), &"TWO".into())
    );
    let statements = std::fs::read_to_string(&sql).unwrap();
    assert!(
        statements.contains("DELETE FROM `shop`.`t`") && statements.contains("INSERT INTO `shop`.`t`"),
        "{statements}"
    );

    // The rows are the same again; the structure is not, and that alone is a finding.
    let ended = dts.run(&["check", "shop", "--method", "digest", "--repair"]).ends_with(1);
    assert!(ended.out.contains("check: same") && ended.out.contains("2 rows repaired"), "{ended:?}");
    assert!(ended.out.contains("structure differs") && ended.out.contains("index v"), "{ended:?}");
    pair.target.exec("ALTER TABLE shop.t ADD KEY v (v)");
    dts.run(&["check", "shop"]).ends_with(0);
}

#[test]
fn a_check_that_was_killed_goes_on() {
    let (dts, pair) = (Dts::new(), Pair::start());
    pair.source.exec("CREATE DATABASE shop; CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200)) CHARSET utf8; INSERT INTO shop.t (v) VALUES ('x')");
    for _ in 0..18 {
        pair.source.exec("INSERT INTO shop.t (v) SELECT SHA2(id, 512) FROM shop.t");
    }
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    pair.target.exec("UPDATE shop.t SET v = 'wrong' ORDER BY id LIMIT 1");
    let asked = ["check", "shop", "--mode", "full", "--json", "--method", "stream", "--threads", "1"];
    let running = dts.start(&asked);
    let journal = dts.path("home/checks/shop.journal");
    // The first line says what check it is; then there is one for each chunk.
    let lines = || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    let mut looks = 0;
    while lines() < 4 {
        looks += 1;
        assert!(looks < 60_000, "no chunk was verified");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    running.signal("KILL");
    running.end();
    let document = dts.run(&asked).ends_with(1).json();
    let resumed = document["chunks_resumed"].as_u64().unwrap();
    let chunks = document["tables"][0]["chunks"].as_u64().unwrap();
    assert!(resumed >= 3 && resumed < chunks, "{resumed} of {chunks}");
    let afresh = dts.run(&asked).ends_with(1).json();
    assert_eq!(afresh["chunks_resumed"], 0);
    for what in ["rows_compared", "chunks", "differences", "rows_source"] {
        assert_eq!(document["tables"][0][what], afresh["tables"][0][what], "{what}");
    }
}
