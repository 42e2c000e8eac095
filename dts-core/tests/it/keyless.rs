//! Tables whose rows cannot be told apart by a key: exact snapshots, and one row for each change.
use dts_core::data::GtidSet;
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::source::exact_snapshot::{self, Rung};
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::transform::{Route, Transform};
use dts_core::wire::{ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version, dump};
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, StopOnDrop, Writer, connection, run, seed, select};
use crate::types::{COLUMNS, COLUMNS_NEW, statements_without_key};

const SCHEMA: &str = "
CREATE DATABASE log DEFAULT CHARACTER SET utf8mb4;
USE log;
CREATE TABLE plain (a INT, b VARCHAR(20), c TEXT, d BLOB, e DOUBLE, at DATETIME(3));
CREATE TABLE loose (u INT, v VARCHAR(10) CHARACTER SET latin1, w INT, UNIQUE KEY u (u), UNIQUE KEY v (v, w), KEY w (w));
CREATE TABLE keyed (id INT NOT NULL AUTO_INCREMENT, n INT, PRIMARY KEY (id), UNIQUE KEY n (n));
";

fn fill(source: &Server, rows: u64) {
    source.exec(&format!("SET SESSION sql_mode = ''; {SCHEMA}"));
    let mut connection = source.root();
    for start in (0..rows).step_by(500) {
        let list = |row: &dyn Fn(u64) -> String| (start..start + 500).map(row).collect::<Vec<_>>().join(",");
        connection
            .query_drop(format!("INSERT INTO log.plain VALUES {}", list(&|n| plain_row(n % 40))))
            .unwrap();
        connection
            .query_drop(format!(
                "INSERT INTO log.loose VALUES {}",
                list(&|n| if n % 3 == 0 {
                    "(NULL,NULL,NULL)".into()
                } else {
                    format!("({n},IF({n}%2,NULL,'v'),{n})")
                })
            ))
            .unwrap();
        connection
            .query_drop(format!("INSERT INTO log.keyed VALUES {}", list(&|n| format!("({},{n})", n + 1))))
            .unwrap();
    }
}

/// One of a few rows that are easily mistaken for each other.
fn plain_row(n: u64) -> String {
    let b = ["NULL", "'a'", "'A'", "'\u{e4}'", "''", "' '"][usize::try_from(n % 6).unwrap()];
    let e = ["NULL", "0e0", "0.1", "-1.5e300"][usize::try_from(n % 4).unwrap()];
    let long = n % 5;
    format!(
        "({},{b},REPEAT('t\u{1F600}',{}),REPEAT(x'005C27FF',{}),{e},IF({n}%2,NULL,'2020-01-01 00:00:00.500'))",
        n % 3,
        long * 40,
        long * 300
    )
}

fn step(connection: &mut mysql::Conn, dice: &mut Dice, rows: u64) {
    let (n, m) = (dice.roll(40), dice.roll(rows));
    let sql = match dice.roll(9) {
        0 => format!("INSERT INTO log.plain VALUES {0},{0},{1}", plain_row(n), plain_row(n / 2)),
        1 => format!("DELETE FROM log.plain WHERE a = {} LIMIT 2", n % 3),
        2 => format!("UPDATE log.plain SET b = 'A', e = -e WHERE a = {} LIMIT 3", n % 3),
        3 => "DELETE FROM log.loose WHERE u IS NULL LIMIT 1".to_owned(),
        4 => format!("INSERT IGNORE INTO log.loose VALUES ({m},'V',{m}),(NULL,NULL,NULL),(NULL,'v',NULL)"),
        5 => format!("UPDATE IGNORE log.loose SET v = 'x', w = w + 1 WHERE u = {m}"),
        6 => format!(
            "BEGIN; INSERT INTO log.plain VALUES {}; INSERT INTO log.keyed (n) VALUES (NULL); UPDATE log.keyed SET n = NULL \
             WHERE id = {m}; DELETE FROM log.plain WHERE a = 1 LIMIT 1; UPDATE log.loose SET w = 7 WHERE u IS NULL LIMIT 2; \
             COMMIT",
            plain_row(n)
        ),
        7 => format!("DELETE FROM log.keyed WHERE id = {m}"),
        _ => format!(
            "BEGIN; DELETE FROM log.loose WHERE u = {m}; INSERT INTO log.loose VALUES ({m},NULL,1); COMMIT"
        ),
    };
    connection.query_iter(sql).unwrap().for_each(drop);
}

fn consistency_of(report: &dts_core::migration::RunReport, table: &str) -> &'static str {
    report.tables.iter().find(|report| report.source.table == table).unwrap().consistency
}

fn duplicates_while_written(generation: Generation) {
    let pair = Pair::start(generation);
    let rows = 3_000;
    fill(&pair.source, rows);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, rows));
    let migration = pair.migration("log", &["log"]);
    let report = run(&migration, Until::Synced);
    assert_eq!(consistency_of(&report, "keyed"), "lock-free");
    for table in ["plain", "loose"] {
        assert!(["table lock", "optimistic"].contains(&consistency_of(&report, table)), "{report:?}");
    }
    writer.wait_for(200);
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "log");
}

#[test]
fn duplicates_while_written_old_to_new() {
    duplicates_while_written(Generation::Old);
}

#[test]
fn duplicates_while_written_new_to_new() {
    duplicates_while_written(Generation::New);
}

/// Ended again and again in the middle of copy and apply: nothing is lost, nothing is there twice.
fn interrupted(generation: Generation) {
    let pair = Pair::start(generation);
    let rows = 5_000;
    fill(&pair.source, rows);
    let seed = seed();
    let mut dice = Dice(seed);
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, rows));
    let migration = pair.migration("log", &["log"]);
    let mut patience = Dice(seed ^ 77);
    for round in 0..8 {
        let (stop, progress) = (StopToken::new(), Progress::new());
        let outcome = std::thread::scope(|scope| {
            let _ends_with_the_test = StopOnDrop(&stop);
            let run = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
            if round % 2 == 0 {
                // In the middle of the copy, as long as there is one.
                while progress.snapshot().rows_done == 0 && !run.is_finished() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(patience.roll(700)));
            stop.stop();
            run.join().unwrap()
        });
        assert!(outcome.is_err_and(|error| error.is_interrupted()));
    }
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "log");
}

#[test]
fn interrupted_old_to_new() {
    interrupted(Generation::Old);
}

#[test]
fn interrupted_new_to_new() {
    interrupted(Generation::New);
}

/// The snapshot sees exactly as many rows as the position has transactions, whichever way it was taken.
fn exact(options: ServerOptions) {
    let source = Server::start(options).unwrap();
    source.exec("CREATE DATABASE e; CREATE TABLE e.t (n INT); CREATE TABLE e.other (n INT)");
    source.create_account(
        "tables",
        "pw",
        &["SELECT, LOCK TABLES ON e.*", "REPLICATION CLIENT, REPLICATION SLAVE ON *.*"],
    );
    source.create_account("reload", "pw", &["SELECT ON e.*", "RELOAD, REPLICATION CLIENT ON *.*"]);
    source.create_account("least", "pw", &["SELECT ON e.*", "REPLICATION CLIENT ON *.*"]);
    let base = GtidSet::parse(&source.query_one::<String>("SELECT @@GLOBAL.gtid_executed")).unwrap();
    let pause = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let writers: Vec<Writer> = (0..6)
        .map(|_| {
            let pause = pause.clone();
            Writer::start(&source, move |connection, _| {
                connection.query_drop("INSERT INTO e.t VALUES (1)").unwrap();
                let millis = pause.load(std::sync::atomic::Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(millis));
            })
        })
        .collect();
    let stop = StopToken::new();
    for (user, rung, rounds) in
        [("tables", Rung::TableLock, 40), ("reload", Rung::GlobalLock, 40), ("least", Rung::Optimistic, 15)]
    {
        // Somebody must be quiet for a moment where nothing may be locked.
        pause.store(if rung == Rung::Optimistic { 40 } else { 0 }, std::sync::atomic::Ordering::Relaxed);
        let mut options = connection(&source);
        options = ConnectionOptions::new(options.address.clone(), user, Secret::new("pw"));
        let endpoint = SourceEndpoint::connect(SourceOptions::new(options), &stop).unwrap();
        let table = dts_core::data::TableName::new("e", "t");
        for _ in 0..rounds {
            let mut snapshot = exact_snapshot::take(&endpoint, &[&table], 2, &stop).unwrap();
            // Under a table lock that others held up, the way without a lock may have come first.
            assert!(snapshot.rung == rung || snapshot.rung == Rung::Optimistic, "{:?}", snapshot.rung);
            let expected = snapshot.position.subtract(&base).count();
            for connection in &mut snapshot.connections {
                let rows = connection.query_row("SELECT COUNT(*) FROM e.t", "counting").unwrap().unwrap();
                assert_eq!(rows.u64(0), Some(expected), "{user} {:?}", snapshot.rung);
            }
        }
    }
    drop(writers);
}

#[test]
fn exact_snapshots_of_an_old_server() {
    exact(ServerOptions::new(Version::Mysql56).rds_like().durable());
}

#[test]
fn exact_snapshots_of_a_new_server() {
    exact(ServerOptions::new(Version::Mysql97).durable());
}

/// What an open transaction has changed is neither in the snapshot nor left out afterwards; other tables stay free.
fn open_transaction(generation: Generation) {
    let pair = Pair::start(generation);
    pair.source
        .exec(&format!("SET SESSION sql_mode = ''; {SCHEMA} INSERT INTO plain (a) VALUES (1),(1),(2)"));
    let mut open = pair.source.root();
    open.query_drop("SET SESSION autocommit = 0").unwrap();
    open.query_drop("INSERT INTO log.plain (a) VALUES (3)").unwrap();
    open.query_drop("DELETE FROM log.plain WHERE a = 1 LIMIT 1").unwrap();
    let migration = pair.migration("log", &["log"]);
    let committed = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        open.query_drop("COMMIT").unwrap();
    });
    let report = run(&migration, Until::Loaded);
    eprintln!("{}", consistency_of(&report, "plain"));
    committed.join().unwrap();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "log");
}

#[test]
fn open_transaction_old_to_new() {
    open_transaction(Generation::Old);
}

#[test]
fn open_transaction_new_to_new() {
    open_transaction(Generation::New);
}

/// Every type finds its row again by its bytes alone.
fn every_type(generation: Generation) {
    let pair = Pair::start(generation);
    let columns: Vec<_> = match generation {
        Generation::Old => COLUMNS.iter().collect(),
        Generation::New => COLUMNS.iter().chain(COLUMNS_NEW).collect(),
    };
    let mut source = pair.source.root();
    source.query_drop("SET NAMES utf8mb4").unwrap();
    source.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'").unwrap();
    source.query_drop("CREATE DATABASE types").unwrap();
    for table in ["updated", "deleted"] {
        let (create, insert) = statements_without_key(table, &columns);
        source.query_drop(create).unwrap();
        source.query_drop(&insert).unwrap();
        source.query_drop(&insert).unwrap();
    }
    let migration = pair.migration("types", &["types"]);
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "types");
    // One of each two equal rows.
    let ids: u64 = source.query_first("SELECT COUNT(DISTINCT id) FROM types.updated").unwrap().unwrap();
    for id in 0..ids {
        source
            .query_drop(format!("UPDATE types.updated SET id = id + 1000 WHERE id = {id} LIMIT 1"))
            .unwrap();
        source.query_drop(format!("DELETE FROM types.deleted WHERE id = {id} LIMIT 1")).unwrap();
    }
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "types");
}

#[test]
fn every_type_old_to_new() {
    every_type(Generation::Old);
}

#[test]
fn every_type_new_to_new() {
    every_type(Generation::New);
}

/// An account that may lock nothing.
#[test]
fn without_the_right_to_lock() {
    let pair = Pair::start(Generation::New);
    fill(&pair.source, 1000);
    pair.source.create_account(
        "least",
        "pw",
        &["SELECT, SHOW VIEW, TRIGGER ON log.*", "REPLICATION CLIENT, REPLICATION SLAVE ON *.*"],
    );
    let mut options = pair.options_with("log", Transform::new(select(&["log"]), Route::identity()).unwrap());
    let address = options.source.connection.address.clone();
    options.source.connection = ConnectionOptions::new(address, "least", Secret::new("pw"));
    let migration = Migration::new(options);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| {
        step(connection, &mut dice, 1000);
        std::thread::sleep(std::time::Duration::from_millis(20));
    });
    let report = run(&migration, Until::Synced);
    assert_eq!(consistency_of(&report, "plain"), "optimistic");
    assert_eq!(consistency_of(&report, "loose"), "optimistic");
    writer.wait_for(50);
    writer.finish();
    let report = run(&migration, Until::Synced);
    assert_eq!(consistency_of(&report, "loose"), "optimistic", "known to a later run, too");
    dump::assert_equal(&pair.source, &pair.target, "log");
}

/// A generated invisible primary key is copied as what it is, whether the server shows it or not.
fn generated_key(shown: bool) {
    let pair = Pair::start(Generation::New);
    let shown = if shown { "ON" } else { "OFF" };
    for server in [&pair.source, &pair.target] {
        server.exec(&format!("SET GLOBAL show_gipk_in_create_table_and_information_schema = {shown}"));
    }
    pair.source.exec(
        "SET SESSION sql_generate_invisible_primary_key = ON; CREATE DATABASE g; CREATE TABLE g.t (a INT, b TEXT); \
         INSERT INTO g.t VALUES (1,'x'),(1,'x'),(2,NULL)",
    );
    let writer = Writer::start(&pair.source, |connection, step| {
        let sql = match step % 3 {
            0 => "INSERT INTO g.t VALUES (1,'x'),(3,'y')",
            1 => "DELETE FROM g.t WHERE a = 3 LIMIT 1",
            _ => "UPDATE g.t SET b = CONCAT(b, 'z') WHERE a = 1 ORDER BY my_row_id DESC LIMIT 1",
        };
        connection.query_drop(sql).unwrap();
    });
    let migration = pair.migration("g", &["g"]);
    let report = run(&migration, Until::Synced);
    assert_eq!(consistency_of(&report, "t"), "lock-free");
    writer.wait_for(100);
    writer.finish();
    run(&migration, Until::Synced);
    let rows = "SELECT my_row_id, a, b FROM g.t ORDER BY my_row_id";
    let ours: Vec<(u64, u64, Option<String>)> = pair.source.query(rows);
    assert_eq!(ours, pair.target.query(rows));
    dump::assert_equal(&pair.source, &pair.target, "g");
}

#[test]
fn generated_key_shown() {
    generated_key(true);
}

#[test]
fn generated_key_hidden() {
    generated_key(false);
}

/// RDS logs a row id behind the columns of a table without a key, which nothing else shows. Here a column takes its part
/// that the target does not have.
#[test]
fn hidden_row_id_of_rds() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(
        "CREATE DATABASE r; CREATE TABLE r.t (a INT, b VARCHAR(10), hidden BIGINT); \
         INSERT INTO r.t VALUES (1,'x',1),(1,'x',2),(2,NULL,3)",
    );
    let migration = pair.migration("r", &["r"]);
    run(&migration, Until::Synced);
    pair.target.exec("ALTER TABLE r.t DROP COLUMN hidden");
    pair.source.exec(
        "INSERT INTO r.t VALUES (1,'x',4),(3,'y',5); DELETE FROM r.t WHERE hidden = 2; UPDATE r.t SET b = 'z' WHERE a = 2",
    );
    run(&migration, Until::Synced);
    let rows = "SELECT a, b FROM r.t ORDER BY a, b";
    let ours: Vec<(u64, Option<String>)> = pair.source.query(rows);
    assert_eq!(ours, pair.target.query(rows));
}

/// A session whose client is gone goes on with what it was sent. The next run must not begin before it has ended.
#[test]
fn session_without_its_client() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE z; CREATE TABLE z.t (a INT); INSERT INTO z.t VALUES (0)");
    let migration = pair.migration("z", &["z"]);
    run(&migration, Until::Synced);
    pair.source.exec("INSERT INTO z.t VALUES (1),(1)");
    let mut lock = pair.target.root();
    lock.query_drop("LOCK TABLES z.t WRITE").unwrap();
    let waiting = || {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock'";
        pair.target.query_one::<u64>(sql)
    };
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let _ends_with_the_test = StopOnDrop(&stop);
        let first = scope.spawn(|| migration.run(Until::Stopped, &stop, &Progress::new()));
        while waiting() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        stop.stop();
        assert!(first.join().unwrap().is_err_and(|error| error.is_interrupted()));
        let second = scope.spawn(|| migration.run(Until::Synced, &StopToken::new(), &Progress::new()));
        // Long enough to read a checkpoint that the first session is about to change.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let seen = waiting();
        lock.query_drop("UNLOCK TABLES").unwrap();
        second.join().unwrap().unwrap();
        assert_eq!(seen, 1, "only the first session's");
    });
    dump::assert_equal(&pair.source, &pair.target, "z");
}
