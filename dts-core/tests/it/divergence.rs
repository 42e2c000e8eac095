//! Somebody else wrote on the target: each kind of change that does not fit, under each rule for it.
use dts_core::binlog_applier::OnDivergence;
use dts_core::error::Code;
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::dump;

use crate::support::{Generation, Pair, run};

/// A pair in sync: `d.t` with a UNIQUE key and a prefix UNIQUE key, `d.k` without a key.
fn in_sync(generation: Generation) -> Pair {
    let pair = Pair::start(generation);
    pair.source.exec(
        "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20) CHARACTER SET utf8mb4, c TEXT,
         UNIQUE KEY a (a), UNIQUE KEY b (b(3))) DEFAULT CHARSET utf8mb4; CREATE TABLE k (a INT, b VARCHAR(10))
         DEFAULT CHARSET utf8mb4; INSERT INTO t VALUES (1,1,'one',''),(2,2,'two',''),(3,3,'three',''),(4,4,'four',''),
         (5,5,NULL,''),(6,NULL,'six',''); INSERT INTO k VALUES (1,'a'),(1,'a'),(2,'b')",
    );
    run(&pair.migration("divergence", &["d"]), Until::Synced);
    pair
}

fn migration(pair: &Pair, rule: OnDivergence) -> Migration {
    let mut options = pair.options("divergence", &["d"]);
    options.apply.on_divergence = rule;
    Migration::new(options)
}

/// What is done on the target behind our back, what the source then does, and how many changes do not fit.
const CASES: [(&str, &str, u64); 8] = [
    // An update and a delete that find no row.
    ("DELETE FROM d.t WHERE id = 1", "UPDATE d.t SET c = 'new' WHERE id = 1", 1),
    ("DELETE FROM d.t WHERE id = 2", "DELETE FROM d.t WHERE id = 2", 1),
    // An insert that finds one: by the row key, by another UNIQUE key, by both, by a prefix.
    ("INSERT INTO d.t VALUES (20,20,NULL,'theirs')", "INSERT INTO d.t VALUES (20,21,NULL,'ours')", 1),
    ("INSERT INTO d.t VALUES (30,30,NULL,'theirs')", "INSERT INTO d.t VALUES (31,30,'31','ours')", 1),
    (
        "INSERT INTO d.t VALUES (40,40,NULL,''),(41,41,'41x','')",
        "INSERT INTO d.t VALUES (40,41,NULL,'ours')",
        1,
    ),
    ("INSERT INTO d.t VALUES (50,50,'Fifty','')", "INSERT INTO d.t VALUES (51,51,'fiftyone','')", 1),
    // An update that takes a value that another row has; among others that fit.
    (
        "INSERT INTO d.t VALUES (60,60,NULL,'theirs')",
        "BEGIN; UPDATE d.t SET c = 'x' WHERE id = 3; UPDATE d.t SET a = 60, id = 61 WHERE id = 3; UPDATE d.t SET c = 'y' \
         WHERE id = 4; COMMIT",
        1,
    ),
    // Without a key.
    (
        "DELETE FROM d.k WHERE a = 1",
        "BEGIN; UPDATE d.k SET b = 'z' WHERE a = 1; DELETE FROM d.k WHERE a = 2; COMMIT",
        2,
    ),
];

/// The task stops before the transaction; the row is named to who asks, and nowhere else. Mended by hand, it goes on.
#[test]
fn divergence_stops() {
    let pair = in_sync(Generation::New);
    let migration = migration(&pair, OnDivergence::Stop);
    for (planted, change, _) in CASES {
        let before: Vec<(i32, Option<i32>, String)> =
            pair.target.query("SELECT id, a, c FROM d.t ORDER BY id");
        pair.target.exec(planted);
        pair.source.exec(change);
        let progress = Progress::new();
        let error = migration.run(Until::Synced, &StopToken::new(), &progress).map(drop).unwrap_err();
        assert_eq!(error.code(), Code(5004), "{change}: {error}");
        let table = if change.contains("d.k") { "d.k" } else { "d.t" };
        assert_eq!(error.table().unwrap().to_string(), table);
        assert!(error.position().is_some(), "{error}");
        let key = error.key().expect("the row is named");
        assert!(key.starts_with("id = ") || table == "d.k", "{key}");
        assert!(!error.to_string().contains(key), "row content in {error}");
        assert_eq!(progress.snapshot().divergences, 0);
        // Mended by hand: what was planted is taken back.
        pair.target.exec("DELETE FROM d.t WHERE id >= 20 AND c <> 'ours' AND id NOT IN (51, 61)");
        let missing: Vec<&str> = match planted {
            "DELETE FROM d.t WHERE id = 1" => vec!["INSERT INTO d.t VALUES (1,1,'one','')"],
            "DELETE FROM d.t WHERE id = 2" => vec!["INSERT INTO d.t VALUES (2,2,'two','')"],
            "DELETE FROM d.k WHERE a = 1" => vec!["INSERT INTO d.k VALUES (1,'a'),(1,'a')"],
            _ => vec![],
        };
        missing.into_iter().for_each(|sql| pair.target.exec(sql));
        let after: Vec<(i32, Option<i32>, String)> =
            pair.target.query("SELECT id, a, c FROM d.t ORDER BY id");
        assert_eq!(before, after, "nothing of the transaction was applied");
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "d");
    }
}

fn repairs(generation: Generation) {
    let pair = in_sync(generation);
    let migration = migration(&pair, OnDivergence::Repair);
    for (planted, change, count) in CASES {
        pair.target.exec(planted);
        pair.source.exec(change);
        let progress = Progress::new();
        migration.run(Until::Synced, &StopToken::new(), &progress).unwrap();
        assert_eq!(progress.snapshot().divergences, count, "{change}");
        let position: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
        assert_eq!(progress.snapshot().applied_position.unwrap().to_string(), position.replace('\n', ""));
        dump::assert_equal(&pair.source, &pair.target, "d");
    }
}

/// The rows that the change is about become what the source has.
#[test]
fn divergence_repairs_old_to_new() {
    repairs(Generation::Old);
}

#[test]
fn divergence_repairs_new_to_new() {
    repairs(Generation::New);
}

/// The change alone is left out; the others of its transaction are applied, and it is counted.
#[test]
fn divergence_is_left_out() {
    let pair = in_sync(Generation::New);
    let migration = migration(&pair, OnDivergence::Log);
    let mut counted = 0;
    for (planted, change, count) in CASES {
        pair.target.exec(planted);
        pair.source.exec(change);
        let progress = Progress::new();
        migration.run(Until::Synced, &StopToken::new(), &progress).unwrap();
        assert_eq!(progress.snapshot().divergences, count, "{change}");
        counted += count;
    }
    assert_eq!(counted, 9);
    let rows: Vec<(i32, Option<i32>, String)> = pair.target.query("SELECT id, a, c FROM d.t ORDER BY id");
    let row = |id: i32, a: i32, c: &str| (id, Some(a), c.to_owned());
    let expected = [
        row(3, 3, "x"),
        row(4, 4, "y"),
        row(5, 5, ""),
        (6, None, String::new()),
        row(20, 20, "theirs"),
        row(30, 30, "theirs"),
        row(40, 40, ""),
        row(41, 41, ""),
        row(50, 50, ""),
        row(60, 60, "theirs"),
    ];
    assert_eq!(rows, expected);
    let keyless: Vec<i32> = pair.target.query("SELECT a FROM d.k");
    assert!(keyless.is_empty(), "the delete of the row that was there was applied: {keyless:?}");
}
