//! Changes since: schema changes in order, divergence, what cannot be carried, and connections that break.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dts_core::binlog_applier::EngineChoice;
use dts_core::error::{Code, Error, Recovery};
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::{Server, ServerOptions, Version, dump};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, StopOnDrop, Writer, run, wait_until};

/// A pair with `d.t (id, a)` of ten rows, in sync.
fn in_sync(generation: Generation) -> (Pair, Migration) {
    let pair = Pair::start(generation);
    pair.source.exec(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, UNIQUE KEY a (a)); INSERT INTO d.t VALUES (1,1),(2,2),\
         (3,3),(4,4),(5,5),(6,6),(7,7),(8,8),(9,9),(10,10)",
    );
    let migration = pair.migration("apply", &["d"]);
    run(&migration, Until::Synced);
    (pair, migration)
}

fn fails(migration: &Migration) -> Error {
    migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err()
}

fn schema_changes_are_carried_in_order(generation: Generation) {
    let (pair, migration) = in_sync(generation);
    pair.source.exec(
        "USE d; INSERT INTO t VALUES (11,11); ALTER TABLE t ADD COLUMN b VARCHAR(20) CHARACTER SET latin1 NOT NULL DEFAULT 'x' AFTER id;
         INSERT INTO t VALUES (12,'\u{e9}',12); ALTER TABLE t DROP COLUMN a, ADD COLUMN c TIMESTAMP(3) NULL FIRST;
         UPDATE t SET b = 'y', c = '2020-01-01 00:00:00.123' WHERE id < 4; CREATE INDEX b ON t (b); RENAME TABLE t TO u;
         DELETE FROM u WHERE id = 4; CREATE TABLE n (id INT AUTO_INCREMENT PRIMARY KEY, v DECIMAL(5,2)) DEFAULT CHARSET utf8mb4;
         INSERT INTO n (v) VALUES (1.5),(2.5); CREATE TABLE l LIKE n; INSERT INTO l SELECT * FROM n; TRUNCATE TABLE n;
         INSERT INTO n VALUES (7, 7.7); CREATE TABLE gone (id INT PRIMARY KEY); INSERT INTO gone VALUES (1); DROP TABLE gone;
         RENAME TABLE n TO n_old, l TO n; UPDATE n SET v = 9",
    );
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

#[test]
fn apply_schema_changes_old_to_new() {
    schema_changes_are_carried_in_order(Generation::Old);
}

#[test]
fn apply_schema_changes_new_to_new() {
    schema_changes_are_carried_in_order(Generation::New);
}

/// Somebody else wrote on the target: every kind of change that does not fit is reported, with table and position.
#[test]
fn apply_reports_divergence() {
    for (planted, change) in [
        ("DELETE FROM d.t WHERE id = 1", "UPDATE d.t SET a = 100 WHERE id = 1"),
        ("DELETE FROM d.t WHERE id = 1", "DELETE FROM d.t WHERE id = 1"),
        ("INSERT INTO d.t VALUES (20, 20)", "INSERT INTO d.t VALUES (20, 21)"),
        ("INSERT INTO d.t VALUES (20, 20)", "INSERT INTO d.t VALUES (21, 20)"),
    ] {
        let (pair, migration) = in_sync(Generation::New);
        pair.target.exec(planted);
        pair.source.exec(change);
        let error = fails(&migration);
        assert_eq!(error.code(), Code(5004), "{change}: {error}");
        assert_eq!(error.table().unwrap().to_string(), "d.t");
        assert!(error.position().is_some(), "{error}");
        // It stays so until somebody mends it; nothing of the transaction was applied.
        assert_eq!(fails(&migration).code(), Code(5004));
    }
}

/// A change of rows that was logged as a statement must never be skipped (maxwell#345, ghostferry#183).
#[test]
fn apply_stops_at_a_statement() {
    let (pair, migration) = in_sync(Generation::Old);
    pair.source.exec("SET SESSION binlog_format = STATEMENT; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; UPDATE d.t SET a = a + 100 WHERE id = 1");
    let error = fails(&migration);
    assert_eq!(error.code(), Code(3003), "{error}");
    assert!(error.position().is_some(), "{error}");
    let untouched: i32 = pair.target.query_one("SELECT a FROM d.t WHERE id = 1");
    assert_eq!(untouched, 1);
}

#[test]
fn apply_carries_what_tools_and_applications_do() {
    let (pair, migration) = in_sync(Generation::New);
    pair.source.exec(
        "USE d; BEGIN; INSERT INTO t VALUES (30,30); SAVEPOINT s; INSERT INTO t VALUES (31,31); ROLLBACK TO s; INSERT INTO t VALUES
         (32,32); COMMIT; BEGIN; DELETE FROM t WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3;
         COMMIT; INSERT INTO t VALUES (33,33) ON DUPLICATE KEY UPDATE a = 34; REPLACE INTO t VALUES (40,5);
         SET SESSION binlog_transaction_compression = ON; UPDATE t SET a = a + 1000; SET SESSION binlog_transaction_compression = OFF;
         SET SESSION binlog_row_image = MINIMAL; UPDATE t SET a = a + 1000; DELETE FROM t WHERE id > 32;
         SET SESSION gtid_next = 'AUTOMATIC:batch'; INSERT INTO t VALUES (50, 50); SET SESSION gtid_next = 'AUTOMATIC';
         ANALYZE TABLE t; CREATE TEMPORARY TABLE x (id INT); INSERT INTO x VALUES (1); DROP TEMPORARY TABLE x",
    );
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    pair.source.exec("INSERT INTO d.t VALUES (60, 60)");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// LOAD DATA in all its forms is in the log as rows, in one transaction each.
fn load_data_on_the_source(generation: Generation) {
    let (pair, migration) = in_sync(generation);
    let rows: String = (100..3_000).map(|id| format!("{id}\t{}\n", id * 7)).collect();
    let folder = pair.source.datadir().join("d");
    std::fs::write(folder.join("new.txt"), rows).unwrap();
    std::fs::write(folder.join("again.txt"), "1\t1\n2\t9\n4000\t\\N\n100\t5\n").unwrap();
    for name in ["new.txt", "again.txt"] {
        let path = folder.join(name).display().to_string();
        // Servers may read only what everybody may.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let how = if name == "new.txt" { ["", "IGNORE"] } else { ["IGNORE", "REPLACE"] };
        for word in how {
            pair.source.exec(&format!("LOAD DATA INFILE '{path}' {word} INTO TABLE d.t"));
        }
    }
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    let count: u64 = pair.target.query_one("SELECT COUNT(*) FROM d.t");
    assert!(count > 2_900, "{count} rows");
}

#[test]
fn apply_load_data_old_to_new() {
    load_data_on_the_source(Generation::Old);
}

#[test]
fn apply_load_data_new_to_new() {
    load_data_on_the_source(Generation::New);
}

/// Many rows that each fit the target's `max_allowed_packet`, and together do not: statements are cut by bytes (spirit PR 1036).
#[test]
fn apply_keeps_to_a_small_packet_of_the_target() {
    let target = ServerOptions::new(Version::Mysql97).arg("--max-allowed-packet=1M");
    let pair = Pair {
        source: Server::start(ServerOptions::new(Version::Mysql97)).expect("source"),
        target: Server::start(target).expect("target"),
    };
    pair.source.exec(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, u INT, v LONGTEXT, UNIQUE KEY u (u)); CREATE TABLE d.log (v LONGTEXT)",
    );
    for engine in [EngineChoice::Windows, EngineChoice::Transactions] {
        let mut options = pair.options("apply", &["d"]);
        options.apply.engine = engine;
        let migration = Migration::new(options);
        run(&migration, Until::Synced);
        let rows: Vec<String> =
            (0..12).map(|id| format!("({id}, {id}, REPEAT('{}', 400000))", id % 10)).collect();
        pair.source.exec(&format!(
            "USE d; BEGIN; INSERT INTO t VALUES {}; INSERT INTO log SELECT v FROM t; UPDATE t SET u = u + 100, v = REVERSE(v); DELETE FROM log \
             LIMIT 3; COMMIT",
            rows.join(",")
        ));
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "d");
        pair.source.exec("DELETE FROM d.t; DELETE FROM d.log");
    }
}

/// Connections of either side are killed all the time; nothing is lost or applied twice.
#[test]
fn apply_reconnects() {
    let (pair, migration) = in_sync(Generation::New);
    let writer = Writer::start(&pair.source, |connection, step| {
        let id = 100 + step;
        connection.query_drop(format!("INSERT INTO d.t VALUES ({id}, {id})")).unwrap();
    });
    let stop = StopToken::new();
    let progress = Progress::new();
    std::thread::scope(|scope| {
        let _ends_with_the_test = StopOnDrop(&stop);
        let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        for round in 0..6 {
            std::thread::sleep(Duration::from_millis(400));
            let server = if round % 2 == 0 { &pair.source } else { &pair.target };
            let own: u64 = server.query_one("SELECT CONNECTION_ID()");
            let others: Vec<u64> = server.query(&format!(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> {own} AND (COMMAND LIKE 'Binlog%' OR DB IS NULL) AND USER = 'root'"
            ));
            let mut killer = server.root();
            for id in others.into_iter().filter(|_| round % 2 == 1) {
                drop(killer.query_drop(format!("KILL {id}")));
            }
            if round % 2 == 0 {
                let dumps = || -> Vec<u64> {
                    server.query("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog%'")
                };
                wait_until("a binlog stream is open", || !dumps().is_empty());
                for id in dumps() {
                    drop(killer.query_drop(format!("KILL {id}")));
                }
            }
        }
        writer.finish();
        stop.stop();
        assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    assert!(progress.snapshot().retries >= 2, "{} retries", progress.snapshot().retries);
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// The target dies in the middle and comes back.
#[test]
fn apply_outlives_a_dead_target() {
    let (mut pair, migration) = in_sync(Generation::New);
    let writer = Writer::start(&pair.source, |connection, step| {
        let id = 100 + step;
        connection.query_drop(format!("INSERT INTO d.t VALUES ({id}, {id})")).unwrap();
    });
    let stop = StopToken::new();
    let progress = Progress::new();
    std::thread::scope(|scope| {
        let _ends_with_the_test = StopOnDrop(&stop);
        let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            pair.target.kill();
            pair.target.restart();
        }
        writer.finish();
        stop.stop();
        assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// Both servers die again and again, with an application that writes whenever it can; `DTS_KILLS` asks for more than a normal run
/// has time for. Every change has its effect once.
#[test]
fn apply_outlives_servers_that_die() {
    let kills = std::env::var("DTS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let (mut pair, migration) = in_sync(Generation::Old);
    pair.source.exec("CREATE TABLE d.effects (step BIGINT, what VARCHAR(20))");
    pair.source.create_account("app", "pw", &["ALL ON d.*"]);
    let port = pair.source.port();
    let (over, stop, progress) = (AtomicBool::new(false), StopToken::new(), Progress::new());
    let steps = std::thread::scope(|scope| {
        let _ends_with_the_test = StopOnDrop(&stop);
        let _application_too = SetOnDrop(&over);
        let application = scope.spawn(|| {
            let options = mysql::OptsBuilder::new()
                .ip_or_hostname(Some("127.0.0.1"))
                .tcp_port(port)
                .user(Some("app"))
                .pass(Some("pw"))
                .prefer_socket(false);
            let (mut connection, mut step) = (None, 0_u64);
            while !over.load(Ordering::Relaxed) {
                let Some(open) = &mut connection else {
                    connection = mysql::Conn::new(options.clone()).ok();
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                };
                step += 1;
                let (id, other) = (step * 31 % 90, step * 17 % 90);
                let sql = match step % 4 {
                    0 => format!("REPLACE INTO d.t VALUES ({id}, {step})"),
                    1 => format!("INSERT INTO d.effects VALUES ({step}, 'once')"),
                    2 => format!("UPDATE IGNORE d.t SET id = {other} WHERE id = {id}"),
                    _ => format!(
                        "BEGIN; INSERT INTO d.effects VALUES ({step}, 'twice'), ({step}, 'twice'); DELETE FROM d.effects WHERE step = {} LIMIT 1; \
                         DELETE FROM d.t WHERE id = {other}; COMMIT",
                        step.saturating_sub(8)
                    ),
                };
                if open.query_iter(sql).is_err() {
                    connection = None;
                }
            }
            step
        });
        let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        for _ in 0..kills {
            for server in [&mut pair.source, &mut pair.target] {
                std::thread::sleep(Duration::from_millis(400));
                server.kill();
                server.restart();
            }
            assert!(!applied.is_finished(), "{:?}", applied.join().unwrap());
        }
        over.store(true, Ordering::Relaxed);
        let steps = application.join().unwrap();
        stop.stop();
        assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
        steps
    });
    eprintln!("each server was killed {kills} times in {steps} steps");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A source that purged what we need, and one that lost what we have, are told apart; both name the GTIDs.
#[test]
fn apply_refuses_gaps_in_the_log() {
    let (pair, migration) = in_sync(Generation::New);
    pair.source.exec("INSERT INTO d.t VALUES (70,70); FLUSH BINARY LOGS; INSERT INTO d.t VALUES (71,71)");
    let last: Vec<mysql::Row> = pair.source.query("SHOW BINARY LOGS");
    let name: String = last.last().unwrap().get(0).unwrap();
    pair.source.exec(&format!("PURGE BINARY LOGS TO '{name}'"));
    let error = fails(&migration);
    assert_eq!(error.code(), Code(3001), "{error}");
    let uuid: String = pair.source.query_one("SELECT @@server_uuid");
    assert!(error.to_string().contains(&uuid), "{error}");
}

/// A source whose log was thrown away and begins anew (canal#4203): its numbers are ours once more, and mean something else.
#[test]
fn apply_refuses_a_log_that_began_anew() {
    for (generation, reset) in
        [(Generation::Old, "RESET MASTER"), (Generation::New, "RESET BINARY LOGS AND GTIDS")]
    {
        let (pair, migration) = in_sync(generation);
        pair.source.exec(&format!("UPDATE d.t SET a = a + 100; {reset}; INSERT INTO d.t VALUES (80, 80)"));
        let error = fails(&migration);
        assert_eq!(error.code(), Code(3002), "{error}");
        assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM d.t WHERE id = 80"), 0);
    }
}

/// The source cannot be reached when a task is to go on: nothing that was done is forgotten, or done again (spirit PR 1046).
#[test]
fn apply_keeps_its_progress_when_it_cannot_go_on() {
    let (mut pair, migration) = in_sync(Generation::New);
    let progress = |pair: &Pair| -> (String, u64) {
        pair.target.query_one(
            "SELECT (SELECT GROUP_CONCAT(applied ORDER BY worker) FROM __dts__.checkpoint), (SELECT COUNT(*) FROM __dts__.chunk)",
        )
    };
    let before = progress(&pair);
    pair.source.stop();
    let error = fails(&migration);
    assert_eq!(error.recovery(), Recovery::Retry, "{error}");
    assert_eq!(progress(&pair), before);
    pair.source.restart();
    pair.source.exec("INSERT INTO d.t VALUES (81, 81)");
    let report = run(&migration, Until::Synced);
    assert!(report.resumed && report.tables.iter().all(|table| table.chunks_copied_again == 0), "{report:?}");
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// A table may have the name that the statements of the applier give to the row that is inserted.
#[test]
fn apply_to_tables_called_new() {
    for engine in [EngineChoice::Transactions, EngineChoice::Windows] {
        let pair = Pair::start(Generation::New);
        pair.source.exec(
            "CREATE DATABASE d; USE d; CREATE TABLE `new` (id INT PRIMARY KEY, `new` INT, `__dts_new` INT); CREATE TABLE `NEW` (id INT PRIMARY \
             KEY, a INT); CREATE TABLE `__dts_new` (`new` INT PRIMARY KEY, a INT); INSERT INTO `new` VALUES (1,1,1),(2,2,2); INSERT INTO `NEW` \
             VALUES (1,1),(2,2); INSERT INTO `__dts_new` VALUES (1,1),(2,2)",
        );
        let mut options = pair.options("new", &["d"]);
        options.apply.engine = engine;
        let migration = Migration::new(options);
        let change = |number: u32| {
            for table in ["new", "NEW", "__dts_new"] {
                pair.source.exec(&format!(
                    "USE d; INSERT INTO `{table}` SELECT * FROM (SELECT {number} AS x, 0 AS y{}) n",
                    if table == "new" { ", 0 AS z" } else { "" }
                ));
            }
            pair.source.exec(
                "USE d; UPDATE `new` SET `new` = `new` + 10, `__dts_new` = 7; UPDATE `NEW` SET a = a + 10; UPDATE `__dts_new` SET a = a + 10; \
                 DELETE FROM `new` WHERE id = 2",
            );
        };
        run(&migration, Until::Loaded);
        // Before the converge point, and after it.
        change(3);
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "d");
        change(4);
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "d");
    }
}
