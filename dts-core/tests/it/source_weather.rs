//! Sources that misbehave: fail-overs, lost and purged logs, heartbeats, commits that stall, logs without GTIDs.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dts_core::binlog::EventType;
use dts_core::data::{LogOffsets, Position};
use dts_core::error::{Code, Error};
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::server;
use dts_core::source::binlog_stream::BinlogStream;
use dts_core::source::{SourceEndpoint, SourceOptions, start_position};
use dts_core::stop::StopToken;
use dts_testbed::{Server, ServerOptions, Version, dump};
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, StopAtEnd, Writer, connection, run, seed};

const SHOP: &str = "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, KEY a (a)); INSERT INTO d.t VALUES (1,1),(2,2),(3,3);
    CREATE TABLE d.log (a BIGINT, b VARCHAR(40)); INSERT INTO d.log VALUES (0,'x'),(0,'x')";

fn fails(migration: &Migration) -> Error {
    migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pair(source: ServerOptions) -> Pair {
    let target = ServerOptions::new(Version::Mysql97);
    Pair { source: Server::start(source).expect("source"), target: Server::start(target).expect("target") }
}

/// Rows that count (no key), key changes, several tables, DDL now and then.
fn write(connection: &mut mysql::Conn, step: u64) {
    let (a, b) = (step * 31 % 200 + 10, step * 17 % 200 + 10);
    let sql = match step % 5 {
        0 => format!("REPLACE INTO d.t VALUES ({a}, {step})"),
        1 => format!("INSERT INTO d.log VALUES ({step}, 'again')"),
        2 => format!("UPDATE IGNORE d.t SET id = {b}, a = a + 1 WHERE id = {a}"),
        3 => format!(
            "BEGIN; INSERT INTO d.log VALUES ({step}, 'with others'); DELETE FROM d.t WHERE id = {a}; UPDATE d.log SET b = 'seen' \
             WHERE a = {} LIMIT 1; COMMIT",
            step.saturating_sub(2)
        ),
        _ => format!("DELETE FROM d.log WHERE a = {} LIMIT 1", step.saturating_sub(3)),
    };
    connection.query_iter(sql).unwrap().for_each(drop);
}

/// The source's replica takes over, with another `server_uuid`; later one that never had all that was applied.
#[test]
fn failover_to_another_server() {
    let pair = pair(ServerOptions::new(Version::Mysql97));
    let replica = Server::start(ServerOptions::new(Version::Mysql97)).expect("replica");
    let executed = |server: &Server| server.query_one::<String>("SELECT @@GLOBAL.gtid_executed");
    let source_uuid: String = pair.source.query_one("SELECT @@server_uuid");
    replica.exec(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA",
        pair.source.port()
    ));
    pair.source.exec(SHOP);
    let home = tempfile::tempdir().unwrap();
    let mut options = pair.options("failover", &["d"]);
    options.apply.spool_folder = Some(home.path().join("failover"));
    run(&Migration::new(options.clone()), Until::Synced);
    pair.source.exec("INSERT INTO d.t VALUES (10, 10); INSERT INTO d.log VALUES (10, 'before')");
    wait_until("the replica has everything", || executed(&replica).contains(&executed(&pair.source)));
    replica.exec("STOP REPLICA");
    // What only the old source has is applied, and then lost.
    let lonely = || pair.source.exec("INSERT INTO d.t VALUES (11, 11)");

    let mut moved = options.clone();
    moved.source = SourceOptions::new(connection(&replica));
    replica.exec("INSERT INTO d.t VALUES (12, 12); INSERT INTO d.log VALUES (12, 'after')");
    let progress = Progress::new();
    Migration::new(moved.clone()).run(Until::Synced, &StopToken::new(), &progress).unwrap();
    dump::assert_equal(&replica, &pair.target, "d");

    // The target now has a transaction of the replica, which the old source lacks; and the other way round.
    lonely();
    let error = fails(&Migration::new(options));
    assert_eq!(error.code(), Code(3002), "{error}");
    let replica_uuid: String = replica.query_one("SELECT @@server_uuid");
    assert!(
        error.to_string().contains(&replica_uuid) && !error.to_string().contains(&source_uuid),
        "{error}"
    );
    run(&Migration::new(moved), Until::Synced);
    dump::assert_equal(&replica, &pair.target, "d");
}

/// RDS writes heartbeats into `mysql.*` all the time: they are neither applied nor lag. A dump thread that ends is a reconnect.
#[test]
fn heartbeats_and_an_idle_source() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(&format!("CREATE TABLE mysql.ha_health_check (id INT PRIMARY KEY, at BIGINT); INSERT INTO mysql.ha_health_check VALUES (1, 0); {SHOP}"));
    let home = tempfile::tempdir().unwrap();
    let mut options = pair.options("idle", &["d"]);
    options.apply.spool_folder = Some(home.path().join("idle"));
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    let (stop, progress) = (StopToken::new(), Progress::new());
    let beats = Writer::start(&pair.source, |connection, step| {
        connection.query_drop(format!("UPDATE mysql.ha_health_check SET at = {step}")).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    });
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        let _end = StopAtEnd(&stop);
        let caught_up = || progress.snapshot().lag == Some(Duration::ZERO) && progress.snapshot().in_sync;
        wait_until("in sync under heartbeats", || progress.snapshot().in_sync);
        beats.wait_for(20);
        wait_until("heartbeats count as applied", || progress.snapshot().transactions_applied >= 15);
        assert_eq!(progress.snapshot().row_events_applied, 0);
        beats.finish();
        wait_until("in sync when idle", caught_up);
        // Idle for longer than heartbeats and questions take.
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(progress.snapshot().lag, Some(Duration::ZERO));
        }
        let retries = progress.snapshot().retries;
        let dumps: Vec<u64> =
            pair.source.query("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog%'");
        assert_eq!(dumps.len(), 1, "one stream is open");
        pair.source.exec(&format!("KILL {}; INSERT INTO d.t VALUES (70, 70)", dumps[0]));
        wait_until("the row arrives", || {
            pair.target.query_one::<u64>("SELECT COUNT(*) FROM d.t WHERE id = 70") == 1
        });
        assert!(progress.snapshot().retries > retries);
        stop.stop();
        assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    dump::assert_equal(&pair.source, &pair.target, "d");
    let strangers: u64 = pair
        .target
        .query_one("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'ha_health_check'");
    assert_eq!(strangers, 0);
}

/// A log without GTIDs, over many files, with stops of dts, restarts and a crash of the source, an application that writes, and tables
/// in which every change counts.
fn without_gtids(source: ServerOptions) {
    let mut pair = pair(source.arg("--max-binlog-size=16384"));
    pair.source.exec(SHOP);
    let home = tempfile::tempdir().unwrap();
    let mut options = pair.options("offsets", &["d"]);
    options.apply.spool_folder = Some(home.path().join("offsets"));
    let spooled = Migration::new(options.clone());
    options.apply.spool_folder = None;
    let direct = Migration::new(options);
    let steps = std::sync::Arc::new(AtomicU64::new(0));
    let start = |pair: &Pair| {
        let steps = steps.clone();
        Writer::start(&pair.source, move |connection, _| {
            write(connection, steps.fetch_add(1, Ordering::SeqCst))
        })
    };
    let writer = start(&pair);
    let first = run(&spooled, Until::Synced);
    let from = first.start_position.unwrap();
    assert_eq!(from.coordinates().expect("file and offset").offset, 4, "{from}");
    for round in 0..4 {
        let migration = if round % 2 == 0 { &spooled } else { &direct };
        let (stop, progress) = (StopToken::new(), Progress::new());
        std::thread::scope(|scope| {
            let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
            let _end = StopAtEnd(&stop);
            wait_until("changes are applied", || progress.snapshot().transactions_applied > 100);
            stop.stop();
            assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
        });
    }
    writer.finish();
    // A restart begins a new file; so does a crash, behind what it cut off.
    pair.source.restart();
    let writer = start(&pair);
    writer.wait_for(50);
    run(&spooled, Until::Synced);
    writer.finish();
    run(&direct, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    pair.source.kill();
    pair.source.restart();
    let writer = start(&pair);
    let last = run(&direct, Until::Synced);
    let at = last.applied_position.unwrap();
    let files =
        at.coordinates().unwrap().file_number().unwrap() - from.coordinates().unwrap().file_number().unwrap();
    assert!(files >= 5, "from {from} to {at}");
    writer.finish();
    // Idle, the end of the log is applied, too: lag 0.
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        scope.spawn(|| spooled.run(Until::Stopped, &stop, &progress));
        let _end = StopAtEnd(&stop);
        wait_until("in sync", || {
            progress.snapshot().in_sync && progress.snapshot().lag == Some(Duration::ZERO)
        });
        assert!(matches!(progress.snapshot().applied_position, Some(Position::Coordinates(_))));
    });
    dump::assert_equal(&pair.source, &pair.target, "d");
    let rows: u64 = pair.source.query_one("SELECT COUNT(*) FROM d.log");
    assert!(rows > 20, "{rows}");

    // Gone files are named, with what to do.
    pair.source.exec("INSERT INTO d.t VALUES (1000, 1); FLUSH LOGS; INSERT INTO d.t VALUES (1001, 1)");
    let logs: Vec<mysql::Row> = pair.source.query("SHOW BINARY LOGS");
    let newest: String = logs.last().unwrap().get(0).unwrap();
    pair.source.exec(&format!("PURGE BINARY LOGS TO '{newest}'"));
    let error = fails(&direct);
    assert_eq!(error.code(), Code(3001), "{error}");
    assert!(error.to_string().contains(&newest), "{error}");
    pair.source.exec("RESET MASTER");
    assert_eq!(fails(&direct).code(), Code(3002));
}

#[test]
fn without_gtids_old_to_new() {
    without_gtids(ServerOptions::new(Version::Mysql56));
}

/// Commits that wait for a replica's answer: in the log, sent to whoever reads it, and invisible.
struct Stall<'a> {
    source: &'a Server,
}

impl<'a> Stall<'a> {
    fn begin(source: &'a Server) -> Stall<'a> {
        source.exec(
            "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; SET GLOBAL rpl_semi_sync_source_timeout = 3600000; \
             SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON; SET GLOBAL rpl_semi_sync_source_wait_point = AFTER_SYNC; \
             SET GLOBAL rpl_semi_sync_source_enabled = ON",
        );
        Stall { source }
    }

    fn wait_for(&self, sessions: u64) {
        wait_until("commits stall", || {
            let waiting = "SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_wait_sessions'";
            self.source.query_one::<String>(waiting).parse::<u64>().unwrap() >= sessions
        });
    }

    fn end(self) {
        self.source.exec("SET GLOBAL rpl_semi_sync_source_enabled = OFF");
    }
}

/// A commit stalls before P0 is taken and ends only when all rows are copied: it must come from the log.
fn commit_that_stalls(gtid_mode: &str) {
    let pair = pair(
        ServerOptions::new(Version::Mysql97)
            .arg(format!("--gtid-mode={gtid_mode}"))
            .arg(format!("--enforce-gtid-consistency={gtid_mode}")),
    );
    pair.source.exec(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT); INSERT INTO d.t VALUES (1,1),(2,2)",
    );
    let stall = Stall::begin(&pair.source);
    let mut stalled = pair.source.root();
    let commit = std::thread::spawn(move || stalled.query_drop("INSERT INTO d.t VALUES (3, 3)").unwrap());
    stall.wait_for(1);
    assert_eq!(pair.source.query_one::<u64>("SELECT COUNT(*) FROM d.t"), 2, "it is visible");

    // A start from the end of the log would lose the row: no copy from now on sees it while the stall lasts, and the log behind
    // that place does not bring it.
    let stop = StopToken::new();
    let mut options = SourceOptions::new(connection(&pair.source));
    options.heartbeat = Duration::from_secs(2);
    let source = SourceEndpoint::connect(options, &stop).unwrap();
    let mut control = source.control(&stop).unwrap();
    let end = LogOffsets::of(&server::log_end(&mut control).unwrap()).unwrap();
    let ours = start_position::take(&source, &mut control, &stop).unwrap();
    let brings = |position: &Position| {
        let mut stream = BinlogStream::open(&source, position, &stop).unwrap();
        // The first heartbeat may only say that transactions are skipped; the next ones, that the end is reached.
        let mut heartbeats = 0;
        while heartbeats < 3 {
            match stream.next_packet().unwrap().header.event_type {
                EventType::WriteRows => return true,
                EventType::Heartbeat | EventType::HeartbeatV2 => heartbeats += 1,
                _ => {}
            }
        }
        false
    };
    assert!(!brings(&Position::Gtid(end.all_before())), "file and position are not ahead of the engine");
    assert!(brings(&ours), "our start position {ours} loses the row");

    let migration = pair.migration("stalled", &["d"]);
    let copied = run(&migration, Until::Loaded);
    let rows: u64 = copied.tables.iter().map(|table| table.rows).sum();
    assert_eq!(rows, 2, "the copy saw it: nothing was tested");
    assert!(!commit.is_finished(), "the stall ended too early");
    stall.end();
    commit.join().unwrap();
    run(&migration, Until::Synced);
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM d.t"), 3);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

#[test]
fn commit_that_stalls_with_gtids() {
    commit_that_stalls("ON");
}

#[test]
fn commit_that_stalls_without_gtids() {
    commit_that_stalls("OFF");
}

/// P0 never lies between an XA PREPARE and its XA COMMIT: the log after it would hold no rows of the transaction.
#[test]
fn start_positions_hold_xa_transactions_whole() {
    let source = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    source.exec(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, n INT); INSERT INTO d.t VALUES (1, 0)",
    );
    let before: u64 =
        source.query_one("SELECT SUBSTRING_INDEX(SUBSTRING_INDEX(@@GLOBAL.gtid_executed, '-', -1), ':', -1)");
    let mut dice = Dice(seed());
    let writer = Writer::start(&source, move |connection, step| {
        let mut run = |sql: &str| connection.query_drop(format!("{sql} 'x{step}'")).unwrap();
        run("XA START");
        connection.query_drop("UPDATE d.t SET n = n + 1").unwrap();
        let mut run = |sql: &str| connection.query_drop(format!("{sql} 'x{step}'")).unwrap();
        run("XA END");
        run("XA PREPARE");
        std::thread::sleep(Duration::from_micros(dice.roll(1_500)));
        run("XA COMMIT");
        std::thread::sleep(Duration::from_millis(4));
    });
    let stop = StopToken::new();
    let endpoint = SourceEndpoint::connect(SourceOptions::new(connection(&source)), &stop).unwrap();
    let mut control = endpoint.control(&stop).unwrap();
    let mut halves = Vec::new();
    for _ in 0..150 {
        let position = start_position::take(&endpoint, &mut control, &stop).unwrap();
        let taken = position.gtid_set().unwrap().count() - before;
        // A PREPARE and a COMMIT each.
        if taken % 2 == 1 {
            halves.push(position.to_string());
        }
    }
    writer.finish();
    assert!(halves.is_empty(), "{} of 150: {}", halves.len(), halves[0]);
}
