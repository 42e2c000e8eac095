//! The checker against real servers: equal data is "same", every planted corruption is found with its key.
mod every_type;
mod planted;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dts_core::checker::{
    AppliedPosition, CheckMethod, CheckMode, CheckOptions, CheckProgress, CheckReport, Checker,
    CheckpointPosition, Conclusion, DifferenceKind, NothingApplies, TableCheck, TablePair,
};
use dts_core::data::{Position, TableName};
use dts_core::error::Result;
use dts_core::server::catalog;
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::sql::digest::{Content, DigestSide, RowDigest, Rows};
use dts_core::sql::row_reader::Digest;
use dts_core::sql::row_text::ColumnPair;
use dts_core::sql::select::KeyRange;
use dts_core::stop::StopToken;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

use every_type::types;

fn connection(server: &Server) -> ConnectionOptions {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
    ConnectionOptions::new(address, "root", Secret::default())
}

fn start(version: Version) -> Server {
    let options = ServerOptions::new(version);
    Server::start(if version == Version::Mysql56 { options.rds_like() } else { options }).unwrap()
}

struct Pair {
    source: Server,
    target: Server,
}

impl Pair {
    fn start(source: Version, target: Version) -> Self {
        std::thread::scope(|scope| {
            let source = scope.spawn(|| start(source));
            let target = scope.spawn(|| start(target));
            Pair { source: source.join().unwrap(), target: target.join().unwrap() }
        })
    }

    /// Runs the same statements on both servers, so that they hold the same data by ordinary means.
    fn exec(&self, sql: &str) {
        for server in [&self.source, &self.target] {
            server.exec(&format!("SET NAMES utf8mb4; SET sql_mode = ''; SET time_zone = '+00:00'; {sql}"));
        }
    }

    fn corrupt(&self, sql: &str) {
        self.target.exec(&format!("SET NAMES utf8mb4; SET sql_mode = ''; SET time_zone = '+00:00'; {sql}"));
    }

    fn endpoints(&self) -> (SourceEndpoint, TargetEndpoint) {
        let stop = StopToken::new();
        (
            SourceEndpoint::connect(SourceOptions::new(connection(&self.source)), &stop).unwrap(),
            TargetEndpoint::connect(TargetOptions::new(connection(&self.target)), &stop).unwrap(),
        )
    }

    fn check_with(
        &self,
        tables: &[&str],
        options: CheckOptions,
        applied: &dyn AppliedPosition,
    ) -> CheckReport {
        let (source, target) = self.endpoints();
        let pairs = tables.iter().map(|table| TablePair::same(TableName::new("d", *table))).collect();
        let progress = CheckProgress::new();
        let report = Checker::new(&source, &target, pairs, options, applied)
            .run(&StopToken::new(), &progress)
            .unwrap();
        let counts = progress.counts();
        if report.mode == CheckMode::Full {
            assert_eq!(counts.rows_compared, report.rows_compared);
            assert_eq!(counts.tables_done + skipped(&report), counts.tables);
        }
        report
    }

    fn check(&self, tables: &[&str]) -> CheckReport {
        self.check_with(tables, options(), &NothingApplies)
    }
}

fn skipped(report: &CheckReport) -> u64 {
    report.tables.iter().filter(|table| table.skipped.is_some()).count() as u64
}

fn options() -> CheckOptions {
    let mut options = CheckOptions::default();
    options.chunk_rows = 100;
    options.patience = Duration::from_secs(20);
    options
}

/// All cells are read, and hashed here.
fn streamed() -> CheckOptions {
    let mut options = options();
    options.method = CheckMethod::Stream;
    options
}

/// `kind key=value,...: columns` of each difference.
fn lines(table: &TableCheck) -> Vec<String> {
    let line = |difference: &dts_core::checker::Difference| {
        let key: Vec<String> = difference.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let columns = difference.columns.join(",");
        format!("{:?} {}: {columns}", difference.kind, key.join(","))
            .trim_end()
            .trim_end_matches(':')
            .to_owned()
    };
    assert!(table.differences.len() as u64 <= table.differences_count);
    table.differences.iter().map(line).collect()
}

fn assert_same(report: &CheckReport) {
    for table in &report.tables {
        assert_eq!(lines(table), Vec::<String>::new(), "{}", table.source);
        assert_eq!((&table.incomplete, &table.skipped), (&None, &None), "{}", table.source);
    }
    assert_eq!(report.conclusion, Conclusion::Same);
}

#[test]
fn check_keeps_few_differences_and_counts_all() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    types(&pair);
    pair.corrupt("DELETE FROM d.many WHERE id > 20; INSERT INTO d.many (id) SELECT 10000 + id FROM d.many");
    let mut few = options();
    few.differences_max = 10;
    let report = pair.check_with(&["many"], few, &NothingApplies);
    let many = &report.tables[0];
    assert_eq!((many.differences.len(), many.differences_count), (10, 236 + 20));
    assert_eq!((many.rows_source, many.rows_target), (256, 40));
}

#[test]
fn check_compares_only_what_the_mode_says() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    types(&pair);
    let run = |mode: CheckMode, change: fn(&mut CheckOptions)| {
        let mut options = options();
        options.mode = mode;
        options.seed = Some(7);
        options.chunk_rows = 10;
        change(&mut options);
        pair.check_with(&["many", "keyless", "no_rows"], options, &NothingApplies)
    };
    assert_same(&run(CheckMode::RowsCount, |_| ()));
    let partial = run(CheckMode::Partial, |options| options.ratio = 20.0);
    assert_same(&partial);
    let many = &partial.tables[0];
    assert_eq!((partial.seed, many.chunks_total, many.rows_source), (Some(7), 26, 256));
    assert!((1..15).contains(&many.chunks) && many.rows_compared < 150, "{many:?}");
    let again = run(CheckMode::Partial, |options| options.ratio = 20.0);
    assert_eq!(again.tables[0].rows_compared, many.rows_compared);
    let least = run(CheckMode::Partial, |options| options.ratio = 0.0);
    assert_eq!(least.tables[0].chunks, 1);

    let none = run(CheckMode::None, |_| ());
    assert_eq!((none.conclusion, none.rows_compared), (Conclusion::Incomplete, 0));

    // A changed value is not what rows-count looks at; a lost row is, by key.
    pair.corrupt("UPDATE d.many SET v = 'x' WHERE id = 77; DELETE FROM d.many WHERE id = 99; DELETE FROM d.keyless LIMIT 1");
    let counted = run(CheckMode::RowsCount, |_| ());
    assert_eq!(counted.conclusion, Conclusion::Different);
    assert_eq!(lines(&counted.tables[0]), ["Missing id=99"]);
    assert_eq!(counted.tables[1].differences[0].kind, DifferenceKind::Missing);
    assert_eq!((counted.tables[1].rows_source, counted.tables[1].rows_target), (6, 5));
    // The row count sees the lost row in a chunk that was not chosen.
    let partial = run(CheckMode::Partial, |options| options.ratio = 0.0);
    assert!(lines(&partial.tables[0]).contains(&"Missing id=99".to_owned()));
    let uncounted = run(CheckMode::Partial, |options| {
        options.ratio = 0.0;
        options.row_count_ratio = 0.0;
        options.tables = Some(vec![TableName::new("d", "many")]);
    });
    assert_same(&uncounted);
}

#[test]
fn check_says_what_it_cannot_compare() {
    let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap();
    // A row's text does not fit into a packet here: the server answers NULL for it.
    let target =
        Server::start(ServerOptions::new(Version::Mysql97).arg("--max-allowed-packet=16384")).unwrap();
    let pair = Pair { source, target };
    pair.exec(
        "CREATE DATABASE d DEFAULT CHARACTER SET latin1; USE d;
        CREATE TABLE wide (id INT PRIMARY KEY, v VARCHAR(30000)); INSERT INTO wide VALUES (1, REPEAT('x',10));
        CREATE TABLE ok (id INT PRIMARY KEY); INSERT INTO ok VALUES (1);
        CREATE TABLE more (id INT PRIMARY KEY);
        CREATE VIEW view1 AS SELECT 1 AS a;",
    );
    assert_same(&pair.check(&["wide", "ok"]));
    for server in [&pair.source, &pair.target] {
        server.exec("USE d; UPDATE wide SET v = REPEAT(REPEAT('x', 100), 150)");
        server.exec("USE d; UPDATE wide SET v = CONCAT(LEFT(v, 15000), LEFT(v, 500))");
        server.exec("USE d; ALTER TABLE wide ADD w VARCHAR(20000); UPDATE wide SET w = v");
    }
    // The row is hashed here, then.
    assert_same(&pair.check(&["wide", "ok"]));
    pair.corrupt("UPDATE d.wide SET w = INSERT(w, 15500, 1, 'y')");
    assert_eq!(lines(&pair.check(&["wide"]).tables[0]), ["Different id=1: w"]);

    pair.target.exec("USE d; ALTER TABLE more ADD w INT");
    let report = pair.check(&["more", "view1", "absent", "ok"]);
    let reasons: Vec<_> =
        report.tables.iter().map(|table| table.skipped.clone().unwrap_or_default()).collect();
    assert!(reasons[0].contains("column 'w'"), "{reasons:?}");
    assert!(reasons[1].contains("base table") && reasons[2].contains("base table"), "{reasons:?}");
    assert_eq!(reasons[3], "");
    assert_eq!(report.conclusion, Conclusion::Incomplete);
}

/// Rows that a server cannot hash, of a table without a key: read and hashed here, however many rows there are beside them.
#[test]
fn check_of_long_rows_without_a_key() {
    for (small_source, version) in
        [(true, Version::Mysql97), (true, Version::Mysql56), (false, Version::Mysql56)]
    {
        let server = |version: Version, small: bool| {
            let options = ServerOptions::new(version);
            let options = if version == Version::Mysql56 { options.rds_like() } else { options };
            Server::start(if small { options.arg("--max-allowed-packet=16384") } else { options }).unwrap()
        };
        let pair =
            Pair { source: server(version, small_source), target: server(Version::Mysql97, !small_source) };
        pair.exec(
            "CREATE DATABASE d DEFAULT CHARACTER SET latin1; USE d;
            CREATE TABLE wide (a INT, v VARCHAR(20000), w VARCHAR(20000));
            INSERT INTO wide VALUES (1, REPEAT('x', 9000), REPEAT('y', 9000)), (1, REPEAT('x', 9000), REPEAT('y', 9000)), (2, '', NULL);
            CREATE TABLE many (a INT, v VARCHAR(20000), w VARCHAR(20000)); INSERT INTO many VALUES (1, '', '')",
        );
        for _ in 0..17 {
            pair.exec("INSERT INTO d.many SELECT a + 1, '', '' FROM d.many");
        }
        pair.exec("INSERT INTO d.many SELECT * FROM d.wide");
        assert_same(&pair.check(&["wide", "many"]));
        pair.corrupt("UPDATE d.wide SET w = INSERT(w, 8000, 1, 'z') WHERE a = 1 LIMIT 1; UPDATE d.many SET w = INSERT(w, 8000, 1, 'z') WHERE a = 1 AND v <> '' LIMIT 1");
        let report = pair.check(&["wide", "many"]);
        assert_eq!(report.conclusion, Conclusion::Different, "{version:?} {small_source}");
        for table in &report.tables {
            let kinds: Vec<_> = table.differences.iter().map(|difference| difference.kind).collect();
            assert_eq!((kinds.len(), table.rows_unsettled), (2, 0), "{version:?} {small_source} {table:?}");
        }
    }
}

/// What MySQL's own replication has applied: the oracle for a live check.
struct Replica<'a>(&'a Server);

impl AppliedPosition for Replica<'_> {
    fn applied(&self) -> Result<Option<Position>> {
        let set: String = self.0.query_one("SELECT @@GLOBAL.gtid_executed");
        Ok(Some(set.parse()?))
    }
}

fn replicate(pair: &Pair) {
    pair.source.exec("CREATE USER r@'%' IDENTIFIED WITH caching_sha2_password BY ''; GRANT REPLICATION SLAVE ON *.* TO r@'%'");
    pair.target.exec(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='r',
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; SET GLOBAL replica_parallel_workers = 2; START REPLICA",
        pair.source.port()
    ));
}

#[test]
fn check_under_a_writer_is_same_and_finds_exactly_the_planted_row() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    replicate(&pair);
    let mut source = pair.source.root();
    source.query_drop("CREATE DATABASE d").unwrap();
    source
        .query_drop("CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, flip TINYINT NOT NULL, v VARCHAR(60))")
        .unwrap();
    source.query_drop("CREATE TABLE d.log (n INT, v VARCHAR(20))").unwrap();
    source.query_drop("INSERT INTO d.t (n, flip, v) VALUES (0, 0, 'x')").unwrap();
    for _ in 0..14 {
        source.query_drop("INSERT INTO d.t (n, flip, v) SELECT n, flip, SHA2(RAND(), 224) FROM d.t").unwrap();
    }
    let victim: u32 = pair.source.query_one("SELECT id FROM d.t WHERE id > 4000 ORDER BY id LIMIT 1");
    let stop = AtomicBool::new(false);
    let writes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..2u32 {
            let (pair, stop, writes) = (&pair, &stop, &writes);
            scope.spawn(move || {
                let mut conn = pair.source.root();
                let mut seed = 88_172_645_463_325_252_u64 + u64::from(writer);
                while !stop.load(Ordering::Relaxed) {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let id = 1 + seed % 20_000;
                    let sql = match seed >> 60 {
                        0..=6 => format!("UPDATE d.t SET n = n + 1 WHERE id = {id} AND id <> {victim}"),
                        // Rows that flip between two versions all the time.
                        7..=10 => format!("UPDATE d.t SET flip = 1 - flip WHERE id = {}", 1 + writer),
                        11..=12 => "INSERT INTO d.t (n, flip, v) VALUES (1, 1, 'new')".to_owned(),
                        13 => format!("DELETE FROM d.t WHERE id = {id} AND id > 5000"),
                        14 => "INSERT INTO d.log VALUES (1, 'a')".to_owned(),
                        _ => "DELETE FROM d.log LIMIT 1".to_owned(),
                    };
                    conn.query_drop(sql).unwrap();
                    // Faster than the replica can follow, the check could only wait.
                    std::thread::sleep(Duration::from_micros(500));
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens to the assertions below, the writers end.
        struct StopWriters<'a>(&'a AtomicBool);
        impl Drop for StopWriters<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _guard = StopWriters(&stop);
        let applied = Replica(&pair.target);
        let mut live = options();
        live.chunk_rows = 2_000;
        for round in 0..6 {
            let begun = Instant::now();
            let report = pair.check_with(&["t"], live.clone(), &applied);
            println!(
                "round {round}: {:?}, {} rows, {} writes",
                begun.elapsed(),
                report.rows_compared,
                writes.load(Ordering::Relaxed)
            );
            assert_same(&report);
        }
        pair.target.exec(&format!("SET sql_log_bin = 0; UPDATE d.t SET v = 'corrupt' WHERE id = {victim}"));
        let report = pair.check_with(&["t"], live.clone(), &applied);
        assert_eq!(report.conclusion, Conclusion::Different);
        assert_eq!(lines(&report.tables[0]), [format!("Different id={victim}: v")]);
        assert_eq!(report.tables[0].rows_unsettled, 0);
        pair.target.exec(&format!("SET sql_log_bin = 0; DELETE FROM d.t WHERE id = {victim}"));
        let report = pair.check_with(&["t"], live.clone(), &applied);
        assert_eq!(lines(&report.tables[0]), [format!("Missing id={victim}")]);
        // While nothing is applied the check does not guess.
        pair.target.exec("STOP REPLICA SQL_THREAD");
        std::thread::sleep(Duration::from_millis(200));
        let mut hasty = live.clone();
        hasty.patience = Duration::from_millis(300);
        let report = pair.check_with(&["t"], hasty, &applied);
        assert!(report.tables[0].differences.is_empty(), "{:?}", lines(&report.tables[0]));
        assert_eq!(report.conclusion, Conclusion::Incomplete);
        assert!(report.tables[0].rows_unsettled > 0);
    });
}

#[test]
fn check_reads_the_checkpoint_rows_of_a_task() {
    let pair = Pair::start(Version::Mysql56, Version::Mysql97);
    pair.exec("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let (_, target) = pair.endpoints();
    let stop = StopToken::new();
    let applied = CheckpointPosition::new(&target, "it's", &stop);
    assert_eq!(applied.applied().unwrap(), None, "no task was ever run here");
    pair.target.exec(
        "CREATE DATABASE __dts__; CREATE TABLE __dts__.checkpoint (task VARCHAR(190), worker INT, applied LONGTEXT, PRIMARY KEY (task, worker));
         INSERT INTO __dts__.checkpoint VALUES ('other', 0, '3e11fa47-71ca-11e1-9e33-c80aa9429562:9')",
    );
    assert_eq!(applied.applied().unwrap(), None);
    let executed: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    let (uuid, _) = executed.split_once(':').unwrap();
    pair.target.exec(&format!(
        "INSERT INTO __dts__.checkpoint VALUES ('it''s', 0, '{executed}'), ('it''s', 1, '{uuid}:1000')"
    ));
    assert_eq!(applied.applied().unwrap().unwrap().to_string(), format!("{executed}:1000"));
    pair.target.exec("DELETE FROM __dts__.checkpoint WHERE worker = 1");

    // The target is behind by one row: the check waits for it to be applied.
    pair.source.exec("INSERT INTO d.t VALUES (2)");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            let now: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
            pair.target.exec(&format!(
                "BEGIN; INSERT INTO d.t VALUES (2); UPDATE __dts__.checkpoint SET applied = '{now}' WHERE task = 'it''s'; COMMIT"
            ));
        });
        let begun = Instant::now();
        let report = pair.check_with(&["t"], options(), &applied);
        assert_same(&report);
        assert_eq!(report.rows_compared, 2);
        assert!(begun.elapsed() > Duration::from_millis(300));
    });
    // With a position that says all is applied, a lost row is a difference.
    pair.corrupt("DELETE FROM d.t WHERE id = 1");
    let report = pair.check_with(&["t"], options(), &applied);
    assert_eq!(lines(&report.tables[0]), ["Missing id=1"]);
}
