//! The engine near the head: whole transactions by several workers, strict, each exactly once; XA; awkward keys.
use std::time::Duration;

use dts_core::binlog_applier::EngineChoice;
use dts_core::error::{Error, Recovery};
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::dump;

use crate::apply_windows::{create, work};
use crate::support::{Dice, Generation, Pair, run, seed};

/// A task whose changes always go transaction by transaction.
fn transactions(pair: &Pair, database: &str, workers: usize) -> Migration {
    let mut options = pair.options("transactions", &[database]);
    options.apply.engine = EngineChoice::Transactions;
    options.apply.workers = workers;
    Migration::new(options)
}

/// The transactions that a checkpoint does not hold.
fn not_applied(pair: &Pair) -> String {
    let rows: Vec<String> =
        pair.target.query("SELECT applied FROM __dts__.checkpoint WHERE task = 'transactions'");
    pair.source.query_one(&format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{}')", rows.join(",")))
}

fn random_work(generation: Generation) {
    let pair = Pair::start(generation);
    create(&pair);
    let mut dice = Dice(seed());
    work(&pair, &mut dice, 0, 100);
    run(&transactions(&pair, "w", 4), Until::Loaded);
    for (round, workers) in [8, 4, 1, 3].into_iter().enumerate() {
        work(&pair, &mut dice, 100 + round as u64 * 400, 400);
        run(&transactions(&pair, "w", workers), Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "w");
        assert_eq!(not_applied(&pair), "");
    }
}

#[test]
fn transactions_of_random_work_old_to_new() {
    random_work(Generation::Old);
}

#[test]
fn transactions_of_random_work_new_to_new() {
    random_work(Generation::New);
}

/// Workers and the target die at any moment; the table without a key shows that each transaction is applied exactly once.
#[test]
fn transactions_are_applied_once_whatever_ends() {
    let pair = &mut Pair::start(Generation::New);
    create(pair);
    let seed = seed();
    let (mut dice, mut moments) = (Dice(seed), Dice(seed ^ 0x5555));
    let migration = transactions(pair, "w", 4);
    run(&migration, Until::Synced);
    for round in 0..8 {
        work(pair, &mut dice, round * 250, 250);
        let (stop, progress) = (StopToken::new(), Progress::new());
        std::thread::scope(|scope| {
            let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
            std::thread::sleep(Duration::from_millis(100 + moments.roll(900)));
            if round % 2 == 0 {
                pair.target.kill();
                pair.target.restart();
            }
            stop.stop();
            let retried = |error: Error| error.recovery() == Recovery::Retry;
            assert!(applied.join().unwrap().is_err_and(retried));
        });
    }
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "w");
}

/// Keys that engines get wrong: swapped, moved in chains, differing in case, padding, prefix, NULLs, bytes and signs.
fn awkward_keys(generation: Generation) {
    let pair = Pair::start(generation);
    pair.source.exec(
        "CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4; USE d; SET NAMES utf8mb4; SET SESSION sql_mode = '';
         CREATE TABLE n (id INT PRIMARY KEY, u INT, v INT, UNIQUE KEY u (u), UNIQUE KEY uv (u, v));
         CREATE TABLE ci (k VARCHAR(20) CHARACTER SET utf8 COLLATE utf8_general_ci PRIMARY KEY, n INT);
         CREATE TABLE uni (id INT PRIMARY KEY, k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, UNIQUE KEY (k));
         CREATE TABLE pre (id INT PRIMARY KEY, t TEXT CHARACTER SET utf8mb4, b BLOB, UNIQUE KEY (t(2)), UNIQUE KEY (b(2)));
         CREATE TABLE bin (k VARBINARY(10) PRIMARY KEY, n INT); CREATE TABLE fix (k BINARY(4) PRIMARY KEY, n INT);
         CREATE TABLE two (a VARCHAR(5) COLLATE utf8mb4_bin, b VARCHAR(5) COLLATE utf8mb4_bin, n INT, PRIMARY KEY (a, b));
         CREATE TABLE fl (k FLOAT PRIMARY KEY, d DOUBLE, n INT, UNIQUE KEY (d));
         CREATE TABLE nul (id INT PRIMARY KEY, a INT, b INT, UNIQUE KEY (a, b)); CREATE TABLE free (a INT, b VARCHAR(9), UNIQUE KEY (a));
         INSERT INTO n VALUES (1,1,1),(2,2,2),(3,3,3),(4,NULL,4); INSERT INTO ci VALUES ('abc',1),('straße',2),('x',3);
         INSERT INTO uni VALUES (1,'a'),(2,'é '),(3,NULL),(4,'B'); INSERT INTO pre VALUES (1,'aab','aab'),(2,'ééb',x'00ff01'),(3,NULL,NULL);
         INSERT INTO bin VALUES ('a',1),('a ',2),('a\\0',3),('',4); INSERT INTO fix VALUES ('a',1),('a\\0b',2);
         INSERT INTO two VALUES ('a','bc',1),('ab','c',2),('','abc',3); INSERT INTO fl VALUES (0.1,0.1,1),(-0.0,-0.0,2),(1e30,1e300,3);
         INSERT INTO nul VALUES (1,NULL,1),(2,NULL,1),(3,1,NULL),(4,1,NULL); INSERT INTO free VALUES (NULL,'a'),(NULL,'a'),(1,'b')",
    );
    let migration = transactions(&pair, "d", 4);
    run(&migration, Until::Synced);
    for _ in 0..2 {
        pair.source.exec(
            "USE d; SET NAMES utf8mb4; SET SESSION sql_mode = '';
             BEGIN; UPDATE n SET u = NULL WHERE id = 1; UPDATE n SET u = 1 WHERE id = 2; UPDATE n SET u = 2 WHERE id = 1; COMMIT;
             BEGIN; UPDATE n SET id = 99 WHERE id = 1; UPDATE n SET id = 1 WHERE id = 2; UPDATE n SET id = 2 WHERE id = 99; COMMIT;
             UPDATE n SET id = id + 1 ORDER BY id DESC; UPDATE n SET id = id - 1 ORDER BY id; UPDATE n SET u = u + 1 ORDER BY u DESC;
             INSERT INTO n VALUES (10,10,10); UPDATE n SET id = 11 WHERE id = 10; UPDATE n SET id = 12 WHERE id = 11; DELETE FROM n WHERE id = 12;
             INSERT INTO n VALUES (10,10,11); DELETE FROM n WHERE id = 10; REPLACE INTO n VALUES (4,4,9); UPDATE n SET u = NULL WHERE id = 4;
             UPDATE ci SET k = 'ABC' WHERE k = 'abc'; UPDATE ci SET k = 'STRASSE', n = n + 1 WHERE k = 'straße'; DELETE FROM ci WHERE k = 'STRASSE';
             INSERT INTO ci VALUES ('straße',9); UPDATE ci SET k = 'X ' WHERE k = 'x'; UPDATE ci SET k = 'x' WHERE k = 'X';
             UPDATE ci SET k = 'abc' WHERE k = 'abc';
             BEGIN; UPDATE uni SET k = 'c' WHERE id = 1; UPDATE uni SET k = 'A' WHERE id = 2; COMMIT; UPDATE uni SET k = 'é ' WHERE id = 2;
             BEGIN; DELETE FROM uni WHERE id = 2; UPDATE uni SET k = 'É' WHERE id = 4; COMMIT; UPDATE uni SET k = 'B' WHERE id = 4;
             INSERT INTO uni VALUES (2,'é '); UPDATE uni SET k = 'a1' WHERE id = 1; UPDATE uni SET k = NULL WHERE id = 3;
             BEGIN; UPDATE pre SET t = 'zz' WHERE id = 1; UPDATE pre SET t = 'aaX' WHERE id = 2; UPDATE pre SET t = 'ÉÉ' WHERE id = 1; COMMIT;
             BEGIN; UPDATE pre SET b = NULL WHERE id = 1; UPDATE pre SET b = 'aazz' WHERE id = 3; COMMIT; UPDATE pre SET b = x'00fe' WHERE id = 1;
             UPDATE pre SET b = NULL WHERE id = 3; UPDATE pre SET b = 'aab' WHERE id = 1; BEGIN; UPDATE pre SET t = NULL; UPDATE pre SET t = 'aab' WHERE id = 1;
             UPDATE pre SET t = 'ééb' WHERE id = 2; COMMIT;
             UPDATE bin SET n = n + 1 WHERE k = 'a '; DELETE FROM bin WHERE k = 'a\\0'; INSERT INTO bin VALUES ('a\\0',7); UPDATE bin SET k = 'b' WHERE k = '';
             UPDATE bin SET k = '' WHERE k = 'b'; UPDATE fix SET k = 'A' WHERE k = 'a\\0\\0\\0'; UPDATE fix SET k = 'a' WHERE k = 'A\\0\\0\\0';
             UPDATE fix SET n = n + 1 WHERE k = 'a\\0b\\0'; UPDATE two SET n = n + 10 WHERE a = 'ab'; DELETE FROM two WHERE a = 'a';
             INSERT INTO two VALUES ('a','bc',5); UPDATE fl SET n = n + 1; UPDATE fl SET k = 0.2, d = 0.2 WHERE d = 0.1;
             UPDATE fl SET k = 0.1, d = 0.1 WHERE d = 0.2; DELETE FROM fl WHERE d = 0; INSERT INTO fl VALUES (0.0,0.0,3);
             UPDATE nul SET b = b + 1 WHERE id < 3; DELETE FROM nul WHERE id = 3; INSERT INTO nul VALUES (3,1,NULL); UPDATE nul SET a = NULL WHERE id = 4;
             UPDATE nul SET a = 1 WHERE id = 4; UPDATE free SET b = 'c' WHERE a IS NULL LIMIT 1; DELETE FROM free WHERE b = 'c' LIMIT 1;
             INSERT INTO free VALUES (NULL,'a'); UPDATE free SET a = 2 WHERE a = 1; UPDATE free SET a = 1 WHERE a = 2",
        );
        run(&migration, Until::Synced);
        dump::assert_equal(&pair.source, &pair.target, "d");
    }
}

#[test]
fn transactions_with_awkward_keys_old_to_new() {
    awkward_keys(Generation::Old);
}

#[test]
fn transactions_with_awkward_keys_new_to_new() {
    awkward_keys(Generation::New);
}

/// A transaction that is too large to be held goes in parts, in one target transaction, between others.
#[test]
fn transactions_of_any_size() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(200)); INSERT INTO t VALUES (0, 0, '')",
    );
    let migration = transactions(&pair, "d", 3);
    run(&migration, Until::Synced);
    pair.source.exec(
        "USE d; SET SESSION cte_max_recursion_depth = 100000; UPDATE t SET a = 1; \
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT i, i, REPEAT('x', 150) FROM n; \
         UPDATE t SET a = -a; DELETE FROM t WHERE id = 7; DELETE FROM t WHERE id % 3 = 0; INSERT INTO t VALUES (7, 7, '7')",
    );
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    assert_eq!(not_applied(&pair), "");
}

/// The rows of an XA transaction are there when it is committed, over restarts of dts and new log files; until then its
/// XA PREPARE does not count as applied, and nobody waits for it.
#[test]
fn transactions_of_xa() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, a INT, UNIQUE KEY (a)); CREATE TABLE k (a INT); \
         INSERT INTO t VALUES (1,1),(2,2); INSERT INTO k VALUES (1)",
    );
    let migration = transactions(&pair, "d", 4);
    run(&migration, Until::Synced);
    pair.source.exec(
        "USE d; XA START 'one','branch',7; INSERT INTO t VALUES (10,10),(11,11); INSERT INTO k VALUES (10); SAVEPOINT s; UPDATE t SET a = 20 \
         WHERE id = 2; XA END 'one','branch',7; XA PREPARE 'one','branch',7",
    );
    pair.source.exec("USE d; XA START 'two'; DELETE FROM t WHERE id = 1; INSERT INTO k VALUES (99); XA END 'two'; XA PREPARE 'two'");
    pair.source.exec(
        "USE d; INSERT INTO t VALUES (3,3); FLUSH BINARY LOGS; SET SESSION binlog_transaction_compression = ON; XA START 'three'; \
         INSERT INTO t VALUES (30,30); XA END 'three'; XA PREPARE 'three'; XA COMMIT 'three'; \
         XA START 'four'; INSERT INTO t VALUES (40,40); INSERT INTO k VALUES (40); XA END 'four'; XA COMMIT 'four' ONE PHASE",
    );
    for _ in 0..2 {
        run(&migration, Until::Synced);
        let ids: Vec<i32> = pair.target.query("SELECT id FROM d.t ORDER BY id");
        assert_eq!(ids, [1, 2, 3, 30, 40]);
        let waiting = not_applied(&pair);
        assert!(!waiting.is_empty() && !waiting.contains(','), "{waiting}");
        let prepared: u64 = waiting
            .rsplit(':')
            .next()
            .unwrap()
            .split('-')
            .map(|n| n.parse().unwrap())
            .fold(0, |a: u64, b| if a == 0 { b } else { b - a + 1 });
        assert_eq!(prepared, 2, "{waiting}");
    }
    pair.source.exec("FLUSH BINARY LOGS; XA COMMIT 'one','branch',7; USE d; UPDATE t SET a = 12 WHERE id = 11; XA ROLLBACK 'two'; DELETE FROM t WHERE id = 1");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    assert_eq!(not_applied(&pair), "");
}
