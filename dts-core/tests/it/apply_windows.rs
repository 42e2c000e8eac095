//! The engine for being far behind: each row is written once for a stretch of log, by several workers.
use std::time::Duration;

use dts_core::binlog_applier::{EngineChoice, OnDivergence};
use dts_core::error::{Code, Error, Recovery};
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::dump;
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, run, seed};

/// A task whose changes always go in windows.
fn windows(pair: &Pair, database: &str) -> Migration {
    let mut options = pair.options("windows", &[database]);
    options.apply.engine = EngineChoice::Windows;
    Migration::new(options)
}

const SCHEMA: &str = "CREATE DATABASE w DEFAULT CHARACTER SET utf8mb4; USE w;
CREATE TABLE plain (id INT PRIMARY KEY, a INT, t VARCHAR(50), at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY a (a));
CREATE TABLE uniq (id INT PRIMARY KEY, u INT, v VARCHAR(20), n INT, UNIQUE KEY u (u), UNIQUE KEY v (v));
CREATE TABLE pair (a INT, b VARCHAR(10) COLLATE utf8mb4_bin, n DOUBLE, PRIMARY KEY (b, a));
CREATE TABLE word (w VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, n INT, PRIMARY KEY (w));
CREATE TABLE pre (b VARBINARY(20), n INT, PRIMARY KEY (b(3)));
CREATE TABLE log (n INT, t VARCHAR(20));
CREATE TABLE doc (id BIGINT UNSIGNED PRIMARY KEY, d LONGTEXT)";

/// Some of them are equal to the server.
const WORDS: [&str; 8] = ["a", "A", "\u{e4}", "\u{c4}", "b", "straße", "strasse", "x "];

/// One transaction of several statements: inserts, key changes, UNIQUE swaps, moves between equal keys of other bytes, rows
/// that live shortly, a table without a key.
fn transaction(dice: &mut Dice, number: u64) -> String {
    let mut sql = String::from("BEGIN;");
    for _ in 0..=dice.roll(4) {
        let (id, other, n) = (dice.roll(300), dice.roll(300), dice.roll(1000));
        let mut word = || WORDS[usize::try_from(dice.roll(8)).unwrap()];
        let (word, to) = (word(), word());
        sql.push_str(&match dice.roll(16) {
            0 => format!("INSERT IGNORE INTO plain (id, a, t) VALUES ({id},{n},'t\u{1F600}{n}'),({other},{n},NULL);"),
            1 => format!("UPDATE plain SET a = a + 1 WHERE id BETWEEN {id} AND {id} + 20;"),
            2 => format!("UPDATE IGNORE plain SET id = {other} WHERE id = {id};"),
            3 => format!("DELETE FROM plain WHERE id = {id};"),
            4 => format!("INSERT IGNORE INTO uniq VALUES ({id},{n},'v{n}',0);"),
            5 => format!("UPDATE uniq SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 9;"),
            // Two rows swap their UNIQUE values by way of NULL.
            6 => format!(
                "SET @u = (SELECT u FROM uniq WHERE id = {id}), @o = (SELECT u FROM uniq WHERE id = {other}); \
                 UPDATE uniq SET u = NULL WHERE id IN ({id},{other}); UPDATE uniq SET u = @o WHERE id = {id}; \
                 UPDATE uniq SET u = IF({id} = {other}, u, @u) WHERE id = {other};"
            ),
            7 => format!("DELETE FROM uniq WHERE id = {id}; INSERT IGNORE INTO uniq VALUES ({other},{n},NULL,1);"),
            8 => format!("REPLACE INTO uniq VALUES ({id},{n},'v{other}',2);"),
            9 => format!("INSERT INTO pair VALUES ({},'{to}',{n}) ON DUPLICATE KEY UPDATE n = -n;", id % 9),
            10 => format!("UPDATE IGNORE pair SET a = {}, b = '{word}' WHERE a = {};", other % 9, id % 9),
            11 => format!("INSERT INTO word VALUES ('{word}',{n}) ON DUPLICATE KEY UPDATE n = {n}, w = VALUES(w);"),
            12 => format!("UPDATE IGNORE word SET w = '{to}' WHERE w = '{word}';"),
            13 => format!("DELETE FROM word WHERE w = '{word}'; INSERT IGNORE INTO word VALUES ('{to}',{n});"),
            14 => format!(
                "INSERT INTO pre VALUES ('{:03}-{n}',{n}) ON DUPLICATE KEY UPDATE b = VALUES(b), n = {n};",
                id % 40
            ),
            _ => format!(
                "INSERT INTO plain (id) VALUES ({0}); UPDATE plain SET a = 1 WHERE id = {0}; DELETE FROM plain WHERE id = {0};",
                1000 + number
            ),
        });
    }
    sql.push_str(&format!("INSERT INTO log VALUES ({number}, 'one'); "));
    if dice.roll(5) == 0 {
        sql.push_str(
            "DELETE FROM log WHERE n % 7 = 3 LIMIT 1; UPDATE log SET t = 'two' WHERE n % 5 = 1 LIMIT 1;",
        );
    }
    sql.push_str("COMMIT");
    sql
}

pub(crate) fn work(pair: &Pair, dice: &mut Dice, from: u64, count: u64) {
    let mut connection = pair.source.root();
    connection.query_drop("SET NAMES utf8mb4").unwrap();
    connection.query_drop("SET SESSION sql_mode = ''").unwrap();
    connection.query_drop("USE w").unwrap();
    for number in from..from + count {
        if number % 50 == 49 {
            connection.query_drop("SET SESSION binlog_row_image = MINIMAL").unwrap();
            connection.query_drop(format!("UPDATE doc SET d = REPEAT('m', {number}) WHERE id = 1")).unwrap();
            connection.query_drop("SET SESSION binlog_row_image = FULL").unwrap();
        }
        connection.query_iter(transaction(dice, number)).unwrap().for_each(drop);
    }
}

pub(crate) fn create(pair: &Pair) {
    pair.source.exec(&format!(
        "SET SESSION sql_mode = ''; {SCHEMA}; INSERT INTO doc VALUES (1,'x'),(18446744073709551615,REPEAT('y',70000))"
    ));
}

/// Before the converge point, after it, and over runs that end anywhere.
fn random_work(generation: Generation) {
    let pair = Pair::start(generation);
    create(&pair);
    let mut dice = Dice(seed());
    work(&pair, &mut dice, 0, 200);
    let migration = windows(&pair, "w");
    run(&migration, Until::Loaded);
    work(&pair, &mut dice, 200, 400);
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "w");
    for round in 0..3 {
        work(&pair, &mut dice, 600 + round * 400, 400);
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "w");
    }
    // What was half done is taken back with the last window.
    let half_done: u64 = pair.target.query_one("SELECT COUNT(*) FROM __dts__.apply_window");
    assert_eq!(half_done, 0);
}

#[test]
fn windows_of_random_work_old_to_new() {
    random_work(Generation::Old);
}

#[test]
fn windows_of_random_work_new_to_new() {
    random_work(Generation::New);
}

/// Rows of one table go to several workers: none of them waits for a lock of another, which nobody would see.
#[test]
fn windows_share_a_large_table() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "SET SESSION cte_max_recursion_depth = 100000; CREATE DATABASE l; CREATE TABLE l.t (id INT PRIMARY KEY, u INT, v VARCHAR(20), n INT, \
         UNIQUE KEY u (u), UNIQUE KEY v (v), KEY n (n)); INSERT INTO l.t WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s \
         WHERE i < 80000) SELECT i, i, CONCAT('v', i), 0 FROM s",
    );
    let migration = windows(&pair, "l");
    run(&migration, Until::Synced);
    pair.target.exec("ANALYZE TABLE l.t");
    let mut dice = Dice(seed());
    let mut source = pair.source.root();
    for round in 0..3 {
        for step in 0..700 {
            let (id, other) = (1 + dice.roll(80_000), 1 + dice.roll(80_000));
            let sql = match dice.roll(5) {
                0 => format!("UPDATE l.t SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 20"),
                1 => format!("DELETE FROM l.t WHERE id BETWEEN {id} AND {id} + 2"),
                2 => format!("REPLACE INTO l.t VALUES ({id},{other},'v{id}',{step})"),
                // Neighbours in the UNIQUE index move by one, downwards.
                3 => format!("UPDATE IGNORE l.t SET u = u - 1 WHERE u BETWEEN {id} AND {id} + 10 ORDER BY u"),
                _ => format!("UPDATE IGNORE l.t SET id = {other}, v = NULL WHERE id = {id}"),
            };
            source.query_drop(sql).unwrap();
        }
        let progress = Progress::new();
        migration.run(Until::Synced, &StopToken::new(), &progress).unwrap();
        assert_eq!(progress.snapshot().retries, 0, "round {round}");
        dump::assert_equal(&pair.source, &pair.target, "l");
    }
}

/// Workers die in the middle of windows, and so does the whole target: each transaction is applied exactly once.
#[test]
fn windows_are_whole_after_any_end() {
    let pair = &mut Pair::start(Generation::New);
    create(pair);
    let seed = seed();
    let (mut dice, mut moments) = (Dice(seed), Dice(seed ^ 0x5555));
    let migration = windows(pair, "w");
    run(&migration, Until::Synced);
    let mut half_done = 0;
    for round in 0..8 {
        work(pair, &mut dice, round * 250, 250);
        let (stop, progress) = (StopToken::new(), Progress::new());
        std::thread::scope(|scope| {
            let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
            std::thread::sleep(Duration::from_millis(100 + moments.roll(900)));
            match round % 3 {
                0 => {
                    pair.target.kill();
                    pair.target.restart();
                }
                1 => {
                    let sessions: Vec<u64> = pair.target.query(
                        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root' AND ID <> CONNECTION_ID()",
                    );
                    let mut killer = pair.target.root();
                    for id in sessions {
                        drop(killer.query_drop(format!("KILL {id}")));
                    }
                }
                _ => {}
            }
            stop.stop();
            // Interrupted; or killed before it had begun, where nothing is tried again yet.
            let retried = |error: Error| error.recovery() == Recovery::Retry;
            assert!(applied.join().unwrap().is_err_and(retried));
        });
        half_done += pair.target.query_one::<u64>("SELECT COUNT(*) FROM __dts__.apply_window");
    }
    eprintln!("{half_done} windows were left half done");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "w");
}

/// A window that is half done is finished whatever its rows are, and everything after it is strict again.
#[test]
fn windows_left_half_done_are_finished() {
    let pair = Pair::start(Generation::New);
    create(&pair);
    pair.source.exec("INSERT INTO w.uniq VALUES (1,1,'a',0),(2,2,'b',0),(3,3,'c',0); INSERT INTO w.plain (id, a) VALUES (1,1),(2,2),(3,3)");
    let migration = windows(&pair, "w");
    run(&migration, Until::Synced);
    let before: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    pair.source.exec(
        "USE w; BEGIN; UPDATE uniq SET u = NULL WHERE id = 1; UPDATE uniq SET u = 1 WHERE id = 2; UPDATE uniq SET u = 2 WHERE id = 1; COMMIT;
         UPDATE uniq SET n = 7 WHERE id = 3; INSERT INTO uniq VALUES (4,4,'d',0); UPDATE uniq SET u = 40 WHERE id = 4;
         UPDATE plain SET a = 10 WHERE id = 1; DELETE FROM plain WHERE id = 2; INSERT INTO plain (id, a) VALUES (4,4);
         INSERT INTO log VALUES (1,'x'),(1,'x')",
    );
    let window: String =
        pair.source.query_one(&format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')"));
    // As if all deletes and some of the inserts and updates had been committed.
    pair.target.exec(&format!(
        "SET SESSION sql_mode = ''; INSERT INTO __dts__.apply_window VALUES ('windows', '{window}'); DELETE FROM w.uniq WHERE id IN (1, 2, 4); \
         INSERT INTO w.uniq VALUES (1,2,'a',0),(4,40,'d',0); DELETE FROM w.plain WHERE id = 2; UPDATE w.plain SET a = 10 WHERE id = 1"
    ));
    run(&migration, Until::Synced);
    pair.target.exec("UPDATE w.plain SET at = '2020-01-01' WHERE id = 1");
    pair.source.exec("UPDATE w.plain SET at = '2020-01-01' WHERE id = 1");
    pair.target.exec("DELETE FROM w.plain WHERE id = 1");
    let error = migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err();
    assert_eq!(error.code(), Code(5004), "{error}");
    assert_eq!(error.table().unwrap().to_string(), "w.plain");
    pair.target.exec("INSERT INTO w.plain SELECT * FROM (SELECT 1 id, 10 a, NULL t, '2020-02-02' at) x");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "w");
}

/// Somebody else wrote on the target. The divergence is found in the window, and named by its transaction alone.
#[test]
fn windows_report_divergence() {
    let pair = Pair::start(Generation::New);
    for (case, (planted, change)) in [
        ("DELETE FROM plain WHERE id = 1", "UPDATE plain SET a = 100 WHERE id = 1"),
        ("DELETE FROM plain WHERE id = 1", "DELETE FROM plain WHERE id = 1"),
        ("INSERT INTO plain (id) VALUES (20)", "INSERT INTO plain (id) VALUES (20)"),
        // Nothing of it is left at the end of the window.
        (
            "INSERT INTO plain (id) VALUES (20)",
            "BEGIN; INSERT INTO plain (id) VALUES (20); DELETE FROM plain WHERE id = 20; COMMIT",
        ),
        ("DELETE FROM uniq WHERE id = 1", "UPDATE uniq SET n = 100 WHERE id = 1"),
        ("DELETE FROM uniq WHERE id = 1", "UPDATE uniq SET u = 100 WHERE id = 1"),
        ("INSERT INTO uniq VALUES (20,20,'z',0)", "INSERT INTO uniq VALUES (20,21,'y',0)"),
        ("INSERT INTO uniq VALUES (20,20,'z',0)", "INSERT INTO uniq VALUES (21,20,'y',0)"),
        ("DELETE FROM log", "UPDATE log SET t = 'b'"),
    ]
    .into_iter()
    .enumerate()
    {
        let database = format!("w{case}");
        pair.source.exec(&format!(
            "CREATE DATABASE {database}; USE {database}; CREATE TABLE plain (id INT PRIMARY KEY, a INT); CREATE TABLE uniq (id INT \
             PRIMARY KEY, u INT UNIQUE, v VARCHAR(9) UNIQUE, n INT); CREATE TABLE log (n INT, t TEXT); INSERT INTO plain VALUES \
             (1,1),(2,2); INSERT INTO uniq VALUES (1,1,'a',0); INSERT INTO log VALUES (1,'a')"
        ));
        let mut options = pair.options(&database, &[&database]);
        options.apply.engine = EngineChoice::Windows;
        let migration = Migration::new(options);
        run(&migration, Until::Synced);
        pair.target.exec(&format!("USE {database}; {planted}"));
        pair.source.exec(&format!("USE {database}; UPDATE plain SET a = 5 WHERE id = 2; {change}"));
        let culprit: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
        let number = culprit.rsplit(['-', ':']).next().unwrap().to_owned();
        pair.source.exec(&format!("UPDATE {database}.plain SET a = 6 WHERE id = 2"));
        for _ in 0..2 {
            let error =
                migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err();
            assert_eq!(error.code(), Code(5004), "{change}: {error}");
            assert_eq!(
                error.position().unwrap().rsplit(':').next(),
                Some(number.as_str()),
                "{change}: {error}"
            );
        }
    }
}

/// Left out, a change leaves the row as it was, also where its old version had to be deleted first.
#[test]
fn windows_leave_out_what_does_not_fit() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE d; USE d; CREATE TABLE plain (id INT PRIMARY KEY, n INT); CREATE TABLE uniq (id INT PRIMARY KEY, u INT UNIQUE, n INT); INSERT INTO plain VALUES (1,1)");
    for _ in 0..10 {
        pair.source.exec(
            "SET @n := (SELECT MAX(id) FROM d.plain); INSERT INTO d.plain SELECT id + @n, n FROM d.plain",
        );
    }
    pair.source.exec("INSERT INTO d.uniq SELECT id, id, 0 FROM d.plain WHERE id <= 20");
    let mut options = pair.options("log", &["d"]);
    options.apply.engine = EngineChoice::Windows;
    options.apply.workers = 3;
    options.apply.on_divergence = OnDivergence::Log;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    pair.target.exec("INSERT INTO d.uniq VALUES (1000,1000,9)");
    pair.source.exec(
        "USE d; BEGIN; UPDATE plain SET n = n + 1; UPDATE uniq SET u = 1000, n = 5 WHERE id = 1; UPDATE uniq SET u = 2000 WHERE id = 2; INSERT INTO uniq \
         VALUES (500,500,0); COMMIT",
    );
    let progress = Progress::new();
    migration.run(Until::Synced, &StopToken::new(), &progress).unwrap();
    assert_eq!(progress.snapshot().divergences, 1);
    let rows: Vec<(i32, i32, i32)> =
        pair.target.query("SELECT * FROM d.uniq WHERE id < 3 OR id > 20 ORDER BY id");
    assert_eq!(rows, [(1, 1, 0), (2, 2000, 0), (500, 500, 0), (1000, 1000, 9)]);
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM d.plain WHERE n = 2"), 1024);
}

/// A change that does not fit after parts of its window were committed ends the run at once: nothing is left to be tried one by one.
#[test]
fn windows_with_committed_parts_are_not_tried_again() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE d; USE d; CREATE TABLE a (id INT PRIMARY KEY, n INT); CREATE TABLE b (id INT PRIMARY KEY, n INT); CREATE TABLE free (n INT); INSERT INTO a VALUES (1,1)");
    for _ in 0..10 {
        pair.source.exec("SET @n := (SELECT MAX(id) FROM d.a); INSERT INTO d.a SELECT id + @n, n FROM d.a");
    }
    pair.source.exec("INSERT INTO d.b SELECT * FROM d.a; INSERT INTO d.free VALUES (1)");
    let mut options = pair.options("parts", &["d"]);
    options.apply.engine = EngineChoice::Windows;
    options.apply.workers = 2;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    pair.target.exec("DELETE FROM d.free; SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1");
    pair.source.exec("USE d; BEGIN; UPDATE a SET n = 2; UPDATE b SET n = 2; UPDATE free SET n = 2; COMMIT");
    let error = migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err();
    assert_eq!((error.code(), error.table().unwrap().to_string()), (Code(5004), "d.free".to_owned()));
    assert_eq!(
        pair.target.query_one::<u64>("SELECT COUNT(*) FROM d.a WHERE n = 2"),
        1024,
        "parts were committed"
    );
    let said: Vec<String> =
        pair.target.query("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log");
    // Each life begins with the coordinator's lock.
    let lives =
        said.iter().filter(|sql| sql.starts_with("SELECT GET_LOCK(") && sql.ends_with(", ''), 1)")).count();
    assert_eq!(lives, 1);
    pair.target.exec("INSERT INTO d.free VALUES (1)");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}
