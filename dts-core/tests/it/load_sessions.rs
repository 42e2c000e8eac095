//! What the sessions of the copy do to both servers: no lock and no long transaction on the source; on the target, sessions whose
//! client is gone are waited for.
use std::time::Duration;

use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{Route, Transform};
use dts_core::validator::TaskType;
use dts_core::wire::{Address, ConnectionOptions, Secret, TlsMode};
use dts_testbed::{Proxy, Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, Writer, connection, run, select};

fn fill(source: &Server, rows: u64) {
    source.exec(
        "CREATE DATABASE z; CREATE TABLE z.t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, pad VARCHAR(200), KEY a (a), KEY p (pad(20)))",
    );
    let mut connection = source.root();
    for start in (1..=rows).step_by(1000) {
        let rows: Vec<String> =
            (start..start + 1000).map(|n| format!("({n},{},REPEAT('p',{}))", n % 97, n % 190)).collect();
        connection.query_drop(format!("INSERT INTO z.t VALUES {}", rows.join(","))).unwrap();
    }
    connection.query_drop("ANALYZE TABLE z.t").unwrap();
}

/// Waits for a state of the target's sessions; the number of those in it.
fn wait_for(server: &Server, state: &str) {
    let sql = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE '{state}'");
    for _ in 0..6000 {
        if server.query_one::<u64>(&sql) > 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no session is in the state '{state}'");
}

/// Makes the ledger's tables, so that they can be locked before the task begins.
fn make_ledger(pair: &Pair) {
    let mut options = pair.options("other", &["z"]);
    options.transform = Transform::new(select(&["z"]), Route::new([("z", "elsewhere")]).unwrap()).unwrap();
    options.task_type = TaskType::Structure;
    run(&Migration::new(options), Until::Synced);
}

/// The last packet of a run that was killed still commits its chunk; the next run must know.
#[test]
fn chunk_that_commits_after_its_client_is_gone() {
    let pair = Pair::start(Generation::New);
    fill(&pair.source, 5_000);
    make_ledger(&pair);
    let migration = pair.migration("late", &["z"]);
    let mut lock = pair.target.root();
    // The rows may be written; the chunk's row must wait.
    lock.query_drop("LOCK TABLES __dts__.chunk READ").unwrap();
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| migration.run(Until::Synced, &stop, &Progress::new()));
        wait_for(&pair.target, "Waiting for table metadata lock");
        stop.stop();
        assert!(first.join().unwrap().is_err_and(|error| error.is_interrupted()));
        let second = scope.spawn(|| migration.run(Until::Synced, &StopToken::new(), &Progress::new()));
        // Long enough to read the chunks' rows before the late one is there.
        std::thread::sleep(Duration::from_secs(1));
        lock.query_drop("UNLOCK TABLES").unwrap();
        let report = second.join().unwrap().unwrap();
        assert_eq!((report.tables[0].chunks, report.tables[0].rows), (1, 5_000));
        assert_eq!(report.tables[0].chunks_copied_again, 0, "it had been copied");
    });
    dump::assert_equal(&pair.source, &pair.target, "z");
}

/// The server goes on with an ALTER TABLE whose client was killed; it must be neither repeated nor forgotten.
#[test]
fn index_build_that_goes_on_after_its_client_is_gone() {
    let pair = Pair::start(Generation::New);
    fill(&pair.source, 20_000);
    let migration = pair.migration("build", &["z"]);
    run(&migration, Until::Loaded);
    let mut reader = pair.target.root();
    // The ALTER can do all its work, and then waits for this one before it ends.
    reader.query_drop("BEGIN").unwrap();
    reader.query_drop("SELECT * FROM z.t LIMIT 1").unwrap();
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| migration.run(Until::Synced, &stop, &Progress::new()));
        wait_for(&pair.target, "Waiting for table metadata lock");
        stop.stop();
        assert!(first.join().unwrap().is_err_and(|error| error.is_interrupted()));
        let second = scope.spawn(|| migration.run(Until::Synced, &StopToken::new(), &Progress::new()));
        std::thread::sleep(Duration::from_secs(1));
        reader.query_drop("COMMIT").unwrap();
        second.join().unwrap().unwrap();
    });
    let alters: u64 = pair.target.query_one::<(String, u64)>("SHOW GLOBAL STATUS LIKE 'Com_alter_table'").1;
    eprintln!("{alters} ALTER TABLE statements");
    let indexes =
        "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'z'";
    assert_eq!(pair.target.query_one::<u64>(indexes), 3);
    dump::assert_equal(&pair.source, &pair.target, "z");
}

/// Ended in the middle of the last chunks: what was begun and is begun again is counted, whether or not a later one is recorded.
#[test]
fn chunks_copied_again_are_counted_at_the_end_too() {
    let pair = Pair::start(Generation::New);
    fill(&pair.source, 5_000);
    make_ledger(&pair);
    let migration = pair.migration("again", &["z"]);
    let mut lock = pair.target.root();
    // No row can be written: the only chunk is under way, and nothing of it is recorded.
    pair.target.exec("CREATE DATABASE IF NOT EXISTS z");
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| migration.run(Until::Synced, &stop, &Progress::new()));
        let created = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'z'";
        while pair.target.query_one::<u64>(created) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        lock.query_drop("LOCK TABLES z.t READ").unwrap();
        let begun = "SELECT COALESCE(MAX(chunks_begun), 0) FROM __dts__.table_copy WHERE task = 'again'";
        while pair.target.query_one::<u64>(begun) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.stop();
        assert!(first.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    let copied: u64 = pair.target.query_one("SELECT COUNT(*) FROM __dts__.chunk WHERE task = 'again'");
    lock.query_drop("UNLOCK TABLES").unwrap();
    let report = run(&migration, Until::Synced);
    assert_eq!(report.tables[0].chunks_copied_again, 1 - copied, "{copied} were copied");
    dump::assert_equal(&pair.source, &pair.target, "z");
}

/// The source's own view of the copy of tables with keys: every transaction is one reading statement, and there is no lock.
fn gentle(generation: Generation) {
    let pair = Pair::start(generation);
    fill(&pair.source, 60_000);
    pair.source.create_account(
        "mover",
        "pw",
        &["SELECT ON z.*", "REPLICATION CLIENT, REPLICATION SLAVE, RELOAD ON *.*", "LOCK TABLES ON z.*"],
    );
    let status =
        |name: &str| pair.source.query_one::<(String, u64)>(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).1;
    let counters = ["Com_lock_tables", "Com_flush", "Com_begin", "Com_savepoint"];
    let before = counters.map(status);
    let mut options = pair.options("gentle", &["z"]);
    let address = connection(&pair.source).address;
    options.source = SourceOptions::new(ConnectionOptions::new(address, "mover", Secret::new("pw")));
    options.load.chunk_bytes = 256 << 10;
    // Slow enough to be looked at.
    options.load.rate_limit.set(20_000);
    let migration = Migration::new(options);
    let writer = Writer::start(&pair.source, |connection, step| {
        connection.query_drop(format!("UPDATE z.t SET a = a + 1 WHERE id = {}", step % 50_000)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    });
    let mut watcher = pair.source.root();
    let (mut reads, mut transactions) = (0, 0);
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| run(&migration, Until::Loaded));
        while !run.is_finished() {
            // One reading statement by itself is not listed by 5.6 at all, and by later versions as what it is.
            let open: Vec<(u64, u64, Option<String>)> = watcher
                .query(
                    "SELECT t.trx_autocommit_non_locking, t.trx_tables_locked + t.trx_rows_locked, t.trx_query FROM
                     information_schema.INNODB_TRX t JOIN information_schema.PROCESSLIST p ON p.ID = t.trx_mysql_thread_id WHERE p.USER = 'mover'",
                )
                .unwrap();
            for (alone, locks, sql) in open {
                transactions += 1;
                assert_eq!((alone, locks), (1, 0), "{sql:?}");
            }
            let running: Vec<String> = watcher
                .query("SELECT INFO FROM information_schema.PROCESSLIST WHERE USER = 'mover' AND INFO LIKE '%`z`.`t`%'")
                .unwrap();
            // A definition is looked at, too.
            for sql in running.iter().filter(|sql| !sql.starts_with("SHOW CREATE TABLE ")) {
                reads += 1;
                let words = ["LOCK TABLE", "READ LOCK", "FOR UPDATE", "FOR SHARE", "SHARE MODE"];
                let is_gentle = sql.starts_with("SELECT ") && !words.iter().any(|word| sql.contains(word));
                assert!(is_gentle, "{sql}");
            }
        }
        run.join().unwrap()
    });
    writer.finish();
    let after = counters.map(status);
    eprintln!("{reads} reads and {transactions} transactions seen in {} chunks", report.tables[0].chunks);
    assert!(reads > 5, "the copy was over before it was seen: {reads} reads");
    assert!(report.tables[0].chunks > 10, "{report:?}");
    assert_eq!(report.tables[0].consistency, "lock-free");
    assert_eq!(before, after, "{counters:?}");
}

#[test]
fn no_lock_and_no_long_transaction_on_an_old_source() {
    gentle(Generation::Old);
}

#[test]
fn no_lock_and_no_long_transaction_on_a_new_source() {
    gentle(Generation::New);
}

/// Connections break in the middle of rows, before a COMMIT, and after one whose answer is lost; a chunk is neither lost nor loaded
/// twice (mydumper PR 1162).
fn broken_connections(generation: Generation) {
    let pair = Pair::start(generation);
    fill(&pair.source, 40_000);
    let (to_source, to_target) = (Proxy::start(pair.source.addr()), Proxy::start(pair.target.addr()));
    let through = |proxy: &Proxy| {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: proxy.port() };
        let mut options = ConnectionOptions::new(address, "root", Secret::new(""));
        // The proxy must see what is sent.
        options.tls.mode = TlsMode::Disabled;
        options
    };
    let mut options = pair.options("broken", &["z"]);
    options.source = SourceOptions::new(through(&to_source));
    options.target = TargetOptions::new(through(&to_target));
    options.load.chunk_bytes = 256 << 10;
    options.load.rate_limit.set(40_000);
    let migration = Migration::new(options);
    let contains = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    let writer = Writer::start(&pair.source, |connection, step| {
        connection.query_drop(format!("UPDATE z.t SET a = a + 1 WHERE id = {}", step * 37 % 40_000)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    });
    let progress = Progress::new();
    let report = std::thread::scope(|scope| {
        let run = scope.spawn(|| migration.run(Until::Synced, &StopToken::new(), &progress));
        let mut triggered = 0;
        for fault in 0..5 {
            let enough = fault * 6_000 + 1;
            while progress.snapshot().rows_done < enough && !run.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            match fault {
                0 => to_target.cut_after_client_bytes(100_000),
                1 => {
                    to_target.cut_when(move |bytes| contains(bytes, b"`chunk`") && contains(bytes, b"COMMIT"))
                }
                2 => to_target
                    .cut_before(move |bytes| contains(bytes, b"`chunk`") && contains(bytes, b"COMMIT")),
                3 => to_source.cut(),
                _ => to_target.cut(),
            }
            while !(to_target.has_triggered() || run.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            triggered += u64::from(!run.is_finished());
        }
        assert!(triggered >= 4, "the copy was over after {triggered} faults");
        run.join().unwrap().unwrap()
    });
    assert!(progress.snapshot().retries >= 4, "{} retries", progress.snapshot().retries);
    assert_eq!(report.tables[0].rows, 40_000);
    eprintln!("{} of {} chunks copied again", report.tables[0].chunks_copied_again, report.tables[0].chunks);
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "z");
}

#[test]
fn broken_connections_old_to_new() {
    broken_connections(Generation::Old);
}

#[test]
fn broken_connections_new_to_new() {
    broken_connections(Generation::New);
}

/// LOCAL makes the server leave out a row that it cannot store, with a warning only: counted, and an error (mydumper PR 839).
#[test]
fn rows_that_the_target_leaves_out_are_an_error() {
    let pair = Pair::start(Generation::New);
    fill(&pair.source, 2_000);
    make_ledger(&pair);
    let migration = pair.migration("fewer", &["z"]);
    let mut lock = pair.target.root();
    lock.query_drop("LOCK TABLES __dts__.chunk READ").unwrap();
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| migration.run(Until::Synced, &stop, &Progress::new()));
        wait_for(&pair.target, "Waiting for table metadata lock");
        stop.stop();
        assert!(first.join().unwrap().is_err());
    });
    lock.query_drop("UNLOCK TABLES").unwrap();
    let chunks = "SELECT COUNT(*) FROM __dts__.chunk WHERE task = 'fewer'";
    while pair.target.query_one::<u64>(chunks) == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    // As if nothing had been copied, and somebody had given the table an index that the rows do not fit.
    pair.target.exec(
        "TRUNCATE TABLE z.t; DELETE FROM __dts__.chunk WHERE task = 'fewer'; ALTER TABLE z.t ADD UNIQUE KEY once (a)",
    );
    let error = migration.run(Until::Synced, &StopToken::new(), &Progress::new()).unwrap_err();
    assert_eq!(error.code().to_string(), "DTS-5001", "{error}");
    assert_eq!(pair.target.query_one::<u64>(chunks), 0);
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM z.t"), 0, "taken back");
}
