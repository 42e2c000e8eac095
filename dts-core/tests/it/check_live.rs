//! The checker beside a task that applies: under a writer, with schema changes, repairs and strangers.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dts_core::binlog_applier::EngineChoice;
use dts_core::checker::{CheckCounts, CheckMode, CheckOptions, CheckProgress, CheckReport, Conclusion};
use dts_core::migration::{Migration, Until};
use dts_core::stop::StopToken;
use dts_testbed::Server;
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, Writer, run, seed};

fn options() -> CheckOptions {
    let mut options = CheckOptions::default();
    options.chunk_rows = 1_000;
    options.patience = Duration::from_secs(20);
    options
}

fn check(migration: &Migration, options: &CheckOptions) -> CheckReport {
    let report = migration
        .check(options.clone(), true, &StopToken::new(), &CheckProgress::new())
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(report.structure.as_ref().map(|structure| structure.differences.clone()), Some(vec![]));
    report
}

fn assert_same(report: &CheckReport) {
    assert_eq!(report.conclusion, Conclusion::Same, "{report:#?}");
}

/// Table, key and columns of each difference.
fn found(report: &CheckReport) -> Vec<String> {
    let lines = report.tables.iter().flat_map(|table| {
        table.differences.iter().map(move |difference| {
            let key: Vec<&str> = difference.key.iter().map(|(_, value)| value.as_str()).collect();
            let mark = if difference.repaired { " repaired" } else { "" };
            format!("{} {} {:?}{mark}", table.source.table, key.join(","), difference.kind)
        })
    });
    lines.collect()
}

/// Rows at rest, rows that are written all the time, a counter, a table without a key.
fn prepare(source: &Server) {
    source.exec(
        "CREATE DATABASE d; USE d; CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, v VARCHAR(60), u INT, UNIQUE KEY u (u)) CHARSET utf8;
         CREATE TABLE counter (id INT PRIMARY KEY, n BIGINT NOT NULL); INSERT INTO counter VALUES (1, 0), (2, 0);
         CREATE TABLE log (n INT, v VARCHAR(20)); INSERT INTO log VALUES (1, 'a'), (1, 'a'), (2, 'b');
         INSERT INTO t (n, v) VALUES (0, 'x')",
    );
    for _ in 0..14 {
        source.exec("INSERT INTO d.t (n, v) SELECT n, SHA2(RAND(), 224) FROM d.t");
    }
    // 5.6 leaves gaps.
    source.exec("SET @n := 0; UPDATE d.t SET id = (@n := @n + 1) ORDER BY id; UPDATE d.t SET u = id");
}

/// One step of an application; rows from 15,000 on are left alone.
fn step(connection: &mut mysql::Conn, dice: &mut Dice) {
    let id = 1 + dice.roll(14_000);
    let sql = match dice.roll(16) {
        0..=7 => format!("UPDATE d.t SET n = n + 1 WHERE id = {id}"),
        8..=11 => "UPDATE d.counter SET n = n + 1 WHERE id = 1".to_owned(),
        12 => "INSERT INTO d.t (n, v) VALUES (1, 'new')".to_owned(),
        13 => "DELETE FROM d.t WHERE id > 16384 AND id < 2000000000 ORDER BY id LIMIT 1".to_owned(),
        14 => "INSERT INTO d.log VALUES (1, 'a')".to_owned(),
        _ => "DELETE FROM d.log WHERE n = 1 LIMIT 1".to_owned(),
    };
    connection.query_drop(sql).unwrap();
    // Faster than the applier can follow, the check could only wait; at full speed it is tried by `benches`.
    std::thread::sleep(Duration::from_micros(500));
}

#[test]
fn check_of_a_task_under_a_writer() {
    let pair = Pair::start(Generation::Old);
    prepare(&pair.source);
    let migration = pair.migration("live", &["d"]);
    run(&migration, Until::Synced);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice));
    for round in 0..3 {
        let report = check(&migration, &options());
        assert_same(&report);
        assert_eq!(report.target_writers.as_ref().unwrap().transactions, 0, "{:?}", report.target_writers);
        eprintln!("round {round}: {} rows, {} writes", report.rows_compared, writer.steps());
    }
    // Two values of a UNIQUE column exchanged, a row changed, one lost, one too many, one without a key too many.
    pair.target.exec(
        "USE d; UPDATE t SET u = NULL WHERE id = 15001; UPDATE t SET u = 15001 WHERE id = 15002; UPDATE t SET u = 15002 WHERE id = 15001;
         UPDATE t SET v = 'wrong' WHERE id = 15003; DELETE FROM t WHERE id = 15004; INSERT INTO t (id, n) VALUES (2000000000, 9);
         INSERT INTO log VALUES (7, 'stranger')",
    );
    let expected = [
        "t 15001 Different",
        "t 15002 Different",
        "t 15003 Different",
        "t 15004 Missing",
        "t 2000000000 Extra",
    ];
    let report = migration.check(options(), true, &StopToken::new(), &CheckProgress::new()).unwrap();
    let mut lines = found(&report);
    let keyless = lines.iter().position(|line| line.starts_with("log ")).map(|at| lines.remove(at));
    assert!(keyless.is_some_and(|line| line.ends_with("Extra")));
    assert_eq!((report.conclusion, lines), (Conclusion::Different, expected.map(str::to_owned).to_vec()));
    let strangers = report.target_writers.unwrap();
    assert_eq!((strangers.transactions, strangers.incomplete), (7, None));
    assert_eq!(strangers.writes[6].tables, ["d.log"]);

    let mut mending = options();
    mending.repair = true;
    mending.show_values = true;
    let report = migration.check(mending.clone(), true, &StopToken::new(), &CheckProgress::new()).unwrap();
    assert_same(&report);
    let repaired: u64 = report.tables.iter().map(|table| table.rows_repaired).sum();
    assert_eq!((repaired, found(&report).len()), (6, 6));
    assert!(found(&report).iter().all(|line| line.ends_with(" repaired")));
    let shown =
        report.tables.iter().flat_map(|table| &table.differences).find(|found| found.columns == ["v"]);
    assert_eq!(shown.unwrap().values[0].target.as_deref(), Some("wrong"));
    // The row too many is gone; the next AUTO_INCREMENT value of the target stays behind it.
    pair.target.exec("ALTER TABLE d.t AUTO_INCREMENT = 1");
    // A repair is none of a stranger's writes, and the next check finds nothing to do.
    let report = check(&migration, &mending);
    assert_same(&report);
    assert_eq!((found(&report), report.target_writers.unwrap().transactions), (vec![], 0));
    assert!(writer.finish() > 100);
    assert_same(&check(&migration, &options()));
}

#[test]
fn check_goes_on_when_a_table_is_changed_under_it() {
    let pair = Pair::start(Generation::New);
    prepare(&pair.source);
    let migration = pair.migration("ddl", &["d"]);
    run(&migration, Until::Synced);
    let progress = CheckProgress::new();
    let done = AtomicBool::new(false);
    let mut small = options();
    small.chunk_rows = 10;
    small.threads = 1;
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&progress, |counts| counts.chunks_done >= 5);
            pair.source
                .exec("ALTER TABLE d.t ADD w INT DEFAULT 5, MODIFY v VARCHAR(70) CHARACTER SET utf8mb4");
            done.store(true, Ordering::Relaxed);
        });
        migration.check(small, true, &StopToken::new(), &progress).unwrap()
    });
    assert!(done.load(Ordering::Relaxed), "the change came during the check");
    assert_same(&report);
    let table = report.tables.iter().find(|table| table.source.table == "t").unwrap();
    assert_eq!((table.rows_compared, &table.incomplete), (table.rows_source, &None));
    assert_eq!(table.rows_source, 1 << 14);
    // The new column takes part.
    pair.target.exec("UPDATE d.t SET w = 6 WHERE id = 1");
    assert_eq!(found(&check(&migration, &options())), ["t 1 Different"]);
}

fn wait_for(progress: &CheckProgress, reached: impl Fn(CheckCounts) -> bool) {
    for _ in 0..60_000 {
        if reached(progress.counts()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the check did not get that far: {:?}", progress.counts());
}

#[test]
fn check_that_was_ended_goes_on_where_it_was() {
    let pair = Pair::start(Generation::Old);
    prepare(&pair.source);
    let migration = pair.migration("resume", &["d"]);
    run(&migration, Until::Synced);
    pair.target.exec("UPDATE d.t SET n = 7 WHERE id IN (100, 1200, 2300, 16000)");
    let folder = tempfile::tempdir().unwrap();
    let mut journaled = options();
    journaled.chunk_rows = 100;
    journaled.journal = Some(folder.path().join("check.journal"));
    journaled.mode = CheckMode::Partial;
    journaled.ratio = 90.0;
    journaled.seed = Some(4);
    journaled.threads = 1;
    let (progress, stop) = (CheckProgress::new(), StopToken::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&progress, |counts| counts.chunks_done >= 20);
            stop.stop();
        });
        assert!(migration.check(journaled.clone(), true, &stop, &progress).is_err());
    });
    let done = progress.counts().chunks_done;
    let mut afresh = journaled.clone();
    afresh.journal = None;
    let whole = check(&migration, &afresh);
    // The seed of the check that is continued is taken over.
    journaled.seed = None;
    let report = check(&migration, &journaled);
    assert!(
        report.chunks_resumed >= 19 && report.chunks_resumed <= done,
        "{} of {done}",
        report.chunks_resumed
    );
    assert_eq!((report.seed, whole.chunks_resumed), (Some(4), 0));
    assert_eq!(found(&report), found(&whole));
    assert!(!found(&report).is_empty());
    for (one, other) in report.tables.iter().zip(&whole.tables) {
        assert_eq!(
            (one.rows_compared, one.chunks, one.rows_source),
            (other.rows_compared, other.chunks, other.rows_source)
        );
    }
    assert!(!folder.path().join("check.journal").exists(), "a check that ended leaves nothing");
    assert_eq!(check(&migration, &journaled).chunks_resumed, 0);
}

#[test]
fn check_waits_while_a_server_is_busy() {
    let pair = Pair::start(Generation::New);
    prepare(&pair.source);
    let migration = pair.migration("busy", &["d"]);
    run(&migration, Until::Synced);
    let busy = AtomicBool::new(true);
    let (progress, stop) = (CheckProgress::new(), StopToken::new());
    let mut polite = options();
    polite.threads_running_max = Some(8);
    std::thread::scope(|scope| {
        let mut sleepers = Vec::new();
        for _ in 0..10 {
            let mut connection = pair.source.root();
            let id = connection.connection_id();
            scope.spawn(move || drop(connection.query_drop("SELECT SLEEP(60)")));
            sleepers.push(id);
        }
        while pair.source.query_one::<(String, u64)>("SHOW GLOBAL STATUS LIKE 'Threads_running'").1 < 10 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let checking = scope.spawn(|| migration.check(polite, true, &stop, &progress).unwrap());
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(progress.counts().chunks_done, 0, "nothing is read while the source is busy");
        busy.store(false, Ordering::Relaxed);
        for id in sleepers {
            pair.source.exec(&format!("KILL {id}"));
        }
        assert_same(&checking.join().unwrap());
    });
}

#[test]
fn check_writes_statements_that_repair() {
    let pair = Pair::start(Generation::Old);
    prepare(&pair.source);
    let migration = pair.migration("file", &["d"]);
    run(&migration, Until::Synced);
    pair.target.exec(
        "USE d; UPDATE t SET v = 'it\\'s' WHERE id = 5; DELETE FROM t WHERE id = 6; INSERT INTO t (id, n) VALUES (20000, 9);
         DELETE FROM log WHERE n = 1 LIMIT 1; INSERT INTO log VALUES (NULL, NULL), (NULL, NULL)",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut writing = options();
    writing.repair_sql = Some(folder.path().join("repair.sql"));
    let report = migration.check(writing, true, &StopToken::new(), &CheckProgress::new()).unwrap();
    // Two equal rows too many are one difference.
    assert_eq!(report.tables.iter().map(|table| table.differences_count).sum::<u64>(), 5);
    let statements = std::fs::read_to_string(folder.path().join("repair.sql")).unwrap();
    pair.target.exec(&statements);
    let report = migration.check(options(), true, &StopToken::new(), &CheckProgress::new()).unwrap();
    assert_same(&report);
}

/// What is prepared shows nothing: neither source nor target is waited for.
#[test]
fn check_beside_a_prepared_transaction() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1,1),(2,2),(3,3)");
    let migration = pair.migration("xa", &["d"]);
    run(&migration, Until::Synced);
    pair.source.exec("USE d; XA START 'x'; UPDATE t SET n = 7 WHERE id = 1; XA END 'x'; XA PREPARE 'x'; UPDATE t SET n = 8 WHERE id = 2");
    pair.target.exec("UPDATE d.t SET n = 9 WHERE id = 3");
    let mut hasty = options();
    hasty.patience = Duration::from_secs(3);
    for apply_here in [true, false] {
        let report =
            migration.check(hasty.clone(), apply_here, &StopToken::new(), &CheckProgress::new()).unwrap();
        assert_eq!(
            (report.conclusion, found(&report)),
            (Conclusion::Different, vec!["t 3 Different".to_owned()]),
            "{report:#?}"
        );
    }
    pair.target.exec("UPDATE d.t SET n = 3 WHERE id = 3");
    pair.source.exec("XA COMMIT 'x'");
    assert_same(&check(&migration, &options()));
    let rows: Vec<(i32, i32)> = pair.target.query("SELECT id, n FROM d.t ORDER BY id");
    assert_eq!(rows, [(1, 7), (2, 8), (3, 3)]);
}

/// Windows that several workers write in parts are no stranger's writes either.
#[test]
fn check_knows_windows_for_ours() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE d; USE d; CREATE TABLE a (id INT PRIMARY KEY, n INT); CREATE TABLE b (id INT PRIMARY KEY, n INT UNIQUE); INSERT INTO a VALUES (1,1)");
    for _ in 0..10 {
        pair.source.exec("SET @n := (SELECT MAX(id) FROM d.a); INSERT INTO d.a SELECT id + @n, n FROM d.a");
    }
    pair.source.exec("INSERT INTO d.b SELECT id, id FROM d.a");
    let mut task = pair.options("windows", &["d"]);
    task.apply.engine = EngineChoice::Windows;
    task.apply.workers = 3;
    let migration = Migration::new(task);
    run(&migration, Until::Synced);
    assert_same(&check(&migration, &options()));
    for _ in 0..3 {
        pair.source.exec("USE d; UPDATE a SET n = n + 1; UPDATE b SET n = -n");
        run(&migration, Until::Synced);
    }
    let report = check(&migration, &options());
    assert_same(&report);
    let strangers = report.target_writers.unwrap();
    assert_eq!((strangers.transactions, strangers.incomplete), (0, None), "{:?}", strangers.writes);
}
