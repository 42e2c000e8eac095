//! Whole-process comparison of apply: one fixed range of a binary log, replayed by dts (5.6 to 9.7, 9.7 to 9.7) and by MySQL's
//! own replica (9.7 to 9.7, 1 and 4 workers), in turn, from the same restored data folder.
//!
//! `cargo run --release -p dts-bench --bin binlog_apply -- [--quick] [--hot | --large] [--rounds N] [--workers N] [--rtt MS]
//! [--only dts|replica] [--from 5.6|9.7] [--wait]`
//!
//! Needs sysbench for the data. The range is 100,000 transactions of sysbench's `oltp_write_only` over 2 x 500,000 rows (`--quick`:
//! 20,000 over 2 x 100,000); `--hot`: as many updates of 100 rows; `--large`: a few transactions of up to 300,000 rows. The target
//! is durable and has its secondary indexes. `--rtt` puts a delaying proxy before the target and measures with and without.
//!
//! `--wait` waits for a line on standard input when everything is prepared: for getting a shared machine quiet.
//!
//! For dts the time is that of the whole run of a child process, connections included; the replica's begins when its relay log
//! is complete.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dts_bench::{measure, median, own_usage};
use dts_core::binlog_applier::EngineChoice;
use dts_core::migration::{Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Proxy, Server, ServerOptions, Version};

const TABLES: u64 = 2;
const HOT_ROWS: u64 = 100;

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Mixed,
    Hot,
    Large,
}

struct Options {
    transactions: u64,
    rows: u64,
    load: Load,
    rounds: usize,
    workers: usize,
    rtt_ms: u64,
    only: Option<String>,
    from: Option<String>,
    wait: bool,
}

/// What one replay took.
#[derive(Clone, Copy, Default)]
struct Replay {
    wall: f64,
    client_cpu: f64,
    target_cpu: f64,
    rss_mib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "child") {
        child(&arguments[1..]);
        return;
    }
    let options = parse(&arguments);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut ranges: Vec<Range> = Vec::new();
    for (version, name) in [(Version::Mysql56, "5.6"), (Version::Mysql97, "9.7")] {
        if options.from.as_ref().is_none_or(|from| from == name) {
            ranges.push(Range::make(version, &options, &folder.path().join(name)));
        }
    }
    if options.wait {
        println!("prepared; waiting for a line");
        std::io::stdin().read_line(&mut String::new()).expect("standard input");
    }
    let lines: Vec<Line> = ranges.iter_mut().flat_map(|range| range.replay(&options)).collect();
    print(&lines, &options);
}

fn parse(arguments: &[String]) -> Options {
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let number = |name: &str, or: u64| value(name).map_or(or, |text| text.parse().expect(name));
    let (transactions, rows) = if has("--quick") { (20_000, 100_000) } else { (100_000, 500_000) };
    Options {
        transactions: number("--transactions", transactions),
        rows: number("--rows", rows),
        load: match (has("--hot"), has("--large")) {
            (true, _) => Load::Hot,
            (_, true) => Load::Large,
            _ => Load::Mixed,
        },
        rounds: usize::try_from(number("--rounds", 1)).expect("--rounds"),
        workers: usize::try_from(number("--workers", 4)).expect("--workers"),
        rtt_ms: number("--rtt", 0),
        only: value("--only"),
        from: value("--from"),
        wait: has("--wait"),
    }
}

/// One tool's replays of one range.
struct Line {
    tool: String,
    row_events: f64,
    transactions: f64,
    replays: Vec<Replay>,
}

impl Line {
    fn median(&self, of: impl Fn(&Replay) -> f64) -> f64 {
        median(self.replays.iter().map(of))
    }
}

/// A range of a source's log, and a target that stands at its beginning.
struct Range {
    version: Version,
    source: Server,
    target: Server,
    /// The target's data folder at the beginning.
    loaded: PathBuf,
    /// The GTIDs before the range.
    start: String,
    row_events: f64,
    transactions: f64,
}

impl Range {
    fn make(version: Version, options: &Options, loaded: &Path) -> Range {
        let mut source_options = ServerOptions::new(version).buffer_pool_mib(512);
        let mut target_options = ServerOptions::new(Version::Mysql97).durable().buffer_pool_mib(1024);
        if version == Version::Mysql56 {
            source_options = source_options.rds_like();
            target_options = target_options.arg("--lower-case-table-names=1");
        }
        let source = Server::start(source_options).expect("source");
        let mut target = Server::start(target_options).expect("target");
        prepare(&source, options.rows);
        run_child(&source, target.port(), 4, "automatic").expect("the copy");
        let start: String = source.query_one("SELECT @@GLOBAL.gtid_executed");
        target.stop();
        copy(target.datadir(), loaded);
        let (row_events, transactions) = work(&source, options);
        println!("\nfrom {version}: {transactions} transactions, {row_events} row events");
        Range { version, source, target, loaded: loaded.to_owned(), start, row_events, transactions }
    }

    fn replay(&mut self, options: &Options) -> Vec<Line> {
        let Range { version, source, target, loaded, start, row_events, transactions } = self;
        let (version, row_events, transactions) = (*version, *row_events, *transactions);
        let mut tools: Vec<(String, Tool)> = Vec::new();
        if options.only.as_deref() != Some("replica") {
            tools.push((format!("dts {version} -> 9.7"), Tool::Dts(None)));
            tools.push((format!("dts {version}, transactions"), Tool::Transactions));
            if options.rtt_ms > 0 {
                tools.push((format!("dts {version} -> 9.7, proxy"), Tool::Dts(Some(0))));
                tools.push((
                    format!("dts {version} -> 9.7, {} ms", options.rtt_ms),
                    Tool::Dts(Some(options.rtt_ms)),
                ));
            }
        }
        if version == Version::Mysql97 && options.only.as_deref() != Some("dts") {
            for workers in [1, 4] {
                tools.push((format!("replica, {workers} workers"), Tool::Replica(workers)));
            }
        }
        let mut lines: Vec<Line> = tools
            .iter()
            .map(|(tool, _)| Line { tool: tool.clone(), row_events, transactions, replays: Vec::new() })
            .collect();
        for round in 1..=options.rounds {
            for ((name, tool), line) in tools.iter().zip(&mut lines) {
                target.stop();
                drop(std::fs::remove_dir_all(target.datadir()));
                copy(loaded, target.datadir());
                target.restart();
                warm(target);
                let cpu = target.cpu_seconds();
                let mut replay = match tool {
                    Tool::Dts(delay) => dts(source, target, options.workers, *delay, "automatic"),
                    Tool::Transactions => dts(source, target, options.workers, None, "transactions"),
                    Tool::Replica(workers) => replica(source, target, start, *workers),
                };
                replay.target_cpu = target.cpu_seconds() - cpu;
                println!(
                    "round {round} {name:24} {:7.2} s wall, {:8.0} row events/s, client CPU {:5.2} s, target CPU {:6.2} s, {:4.0} MiB",
                    replay.wall,
                    row_events / replay.wall,
                    replay.client_cpu,
                    replay.target_cpu,
                    replay.rss_mib
                );
                assert_equal(source, target);
                line.replays.push(replay);
            }
        }
        lines
    }
}

enum Tool {
    /// With a proxy of that many milliseconds before the target.
    Dts(Option<u64>),
    /// Transaction by transaction, however far behind.
    Transactions,
    Replica(u32),
}

fn dts(source: &Server, target: &Server, workers: usize, delay: Option<u64>, engine: &str) -> Replay {
    let proxy = delay.map(|milliseconds| {
        let proxy = Proxy::start(target.addr());
        proxy.set_latency(Duration::from_micros(milliseconds * 500));
        proxy
    });
    let port = proxy.as_ref().map_or(target.port(), Proxy::port);
    let begun = Instant::now();
    let (client_cpu, rss_mib) = run_child(source, port, workers, engine).expect("dts");
    Replay { wall: begun.elapsed().as_secs_f64(), client_cpu, target_cpu: 0.0, rss_mib }
}

/// Runs a process that brings the target in sync; returns its CPU seconds and its memory in MiB.
fn run_child(source: &Server, target: u16, workers: usize, engine: &str) -> std::io::Result<(f64, f64)> {
    let output = Command::new(std::env::current_exe()?)
        .arg("child")
        .args([source.port().to_string(), target.to_string(), workers.to_string(), engine.into()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    print!("{text}");
    let last = text.lines().last().unwrap_or_default();
    let mut numbers = last.split(' ').filter_map(|word| word.parse::<f64>().ok());
    Ok((numbers.next().expect("CPU seconds"), numbers.next().expect("MiB")))
}

/// The measured process.
fn child(arguments: &[String]) {
    let connection = |port: &str| {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: port.parse().expect("a port") };
        let mut options = ConnectionOptions::new(address, "root", Secret::new(""));
        options.tls.mode = dts_core::wire::TlsMode::Disabled;
        options
    };
    let selection = ObjectSelection::new(&["sbtest"], &[], &[]).expect("a selection");
    let mut options = MigrationOptions::new(
        "bench",
        SourceOptions::new(connection(&arguments[0])),
        TargetOptions::new(connection(&arguments[1])),
        Transform::new(selection, Route::identity()).expect("a transform"),
    )
    .expect("options");
    options.apply.workers = arguments[2].parse().expect("workers");
    if arguments[3] == "transactions" {
        options.apply.engine = EngineChoice::Transactions;
    }
    let progress = Progress::new();
    let begun = Instant::now();
    let watched = progress.clone();
    let watch = std::thread::spawn(move || {
        while watched.snapshot().row_events_applied == 0 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    });
    if let Err(error) = Migration::new(options).run(Until::Synced, &StopToken::new(), &progress) {
        eprintln!("{error:?}");
        std::process::exit(1);
    }
    let seen = progress.snapshot();
    let usage = own_usage();
    println!(
        "  {:.2} s ({:.2} s until the first commit): {} transactions, {} row events, {} rows written, {} retries",
        begun.elapsed().as_secs_f64(),
        if seen.row_events_applied > 0 { watch.join().expect("the watch").as_secs_f64() } else { 0.0 },
        seen.transactions_applied,
        seen.row_events_applied,
        seen.apply.rows_written,
        seen.retries
    );
    println!("  cpu {:.3} rss {:.1}", usage.cpu, usage.rss_mib);
}

/// MySQL's own replica: the relay log is fetched first, then applied by so many workers.
fn replica(source: &Server, target: &Server, start: &str, workers: u32) -> Replay {
    target.exec(&format!(
        "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{start}'; SET GLOBAL replica_parallel_workers = {workers}; \
         CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', SOURCE_PASSWORD = '', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA IO_THREAD",
        source.port()
    ));
    let end: String = source.query_one("SELECT @@GLOBAL.gtid_executed");
    let fetched = format!(
        "SELECT GTID_SUBSET('{end}', CONCAT_WS(',', '{start}', RECEIVED_TRANSACTION_SET)) FROM performance_schema.replication_connection_status"
    );
    while target.query_one::<u8>(&fetched) == 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let begun = Instant::now();
    target.exec("START REPLICA SQL_THREAD");
    let applied: u8 = target.query_one(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{end}', 3000)"));
    assert_eq!(applied, 0, "the replica did not get there");
    let replay = Replay { wall: begun.elapsed().as_secs_f64(), ..Replay::default() };
    target.exec("STOP REPLICA; RESET REPLICA ALL");
    replay
}

fn sysbench(source: &Server, script: &str, more: &[String], action: &str) {
    measure(
        Command::new("sysbench")
            .args([script, "--mysql-host=127.0.0.1", "--mysql-user=root", "--mysql-db=sbtest"])
            .arg(format!("--mysql-port={}", source.port()))
            .args(["--rand-seed=7", "--time=0"])
            .args(more)
            .arg(action),
    )
    .expect("sysbench (apt-get install sysbench)");
}

fn prepare(source: &Server, rows: u64) {
    source.exec("CREATE DATABASE sbtest");
    let size = [format!("--tables={TABLES}"), format!("--table-size={rows}"), "--threads=2".into()];
    sysbench(source, "oltp_write_only", &size, "prepare");
    source.exec("ANALYZE TABLE sbtest.sbtest1, sbtest.sbtest2");
}

/// Makes the range; returns its row events and transactions.
fn work(source: &Server, options: &Options) -> (f64, f64) {
    let events = format!("--events={}", options.transactions);
    let tables = format!("--tables={TABLES}");
    let counted = || -> (u64, u64) {
        let status = |name: &str| {
            let row: (String, u64) = source.query_one(&format!("SHOW GLOBAL STATUS LIKE '{name}'"));
            row.1
        };
        let rows = ["Innodb_rows_inserted", "Innodb_rows_updated", "Innodb_rows_deleted"];
        (rows.iter().map(|name| status(name)).sum(), status("Handler_commit"))
    };
    let gtids = || -> u64 {
        let set: String = source.query_one("SELECT @@GLOBAL.gtid_executed");
        dts_core::data::GtidSet::parse(&set).expect("a GTID set").count()
    };
    let (rows_before, gtids_before) = (counted().0, gtids());
    match options.load {
        Load::Mixed => {
            let size = format!("--table-size={}", options.rows);
            sysbench(source, "oltp_write_only", &[tables, size, events, "--threads=4".into()], "run");
        }
        Load::Hot => {
            let size = format!("--table-size={}", HOT_ROWS / TABLES);
            sysbench(source, "oltp_update_index", &[tables, size, events, "--threads=4".into()], "run");
        }
        Load::Large => {
            let (rows, mut left) = (options.rows, 2 * options.transactions);
            for (step, size) in [10_000, 30_000, 5_000, 300_000, 20_000].into_iter().cycle().enumerate() {
                let size = size.min(rows * 3 / 5).min(left);
                let first = 1 + (u64::try_from(step).expect("few") * 7919) % (rows - size);
                let (table, last) = (1 + step % 2, first + size - 1);
                source.exec(&match step % 3 {
                    0 => format!(
                        "UPDATE sbtest.sbtest{table} SET k = k + 1, c = REVERSE(c) WHERE id BETWEEN {first} AND {last}"
                    ),
                    1 => format!(
                        "BEGIN; DELETE FROM sbtest.sbtest{table} WHERE id BETWEEN {first} AND {last}; INSERT INTO \
                         sbtest.sbtest{table} SELECT id, k, pad, c FROM (SELECT id, k, LEFT(c, 60) pad, pad c FROM \
                         sbtest.sbtest{} WHERE id BETWEEN {first} AND {last}) x; COMMIT",
                        3 - table
                    ),
                    _ => format!(
                        "UPDATE sbtest.sbtest{table} SET k = id WHERE id BETWEEN {first} AND {last}"
                    ),
                });
                left -= size;
                if left == 0 {
                    break;
                }
            }
        }
    }
    // The engine's own counters; system tables hardly change meanwhile.
    ((counted().0 - rows_before) as f64, (gtids() - gtids_before) as f64)
}

/// Reads the tables, so that every tool begins with the same warm pages.
fn warm(target: &Server) {
    for table in 1..=TABLES {
        target.exec(&format!(
            "SELECT SUM(LENGTH(c)) FROM sbtest.sbtest{table}; SELECT SUM(k) FROM sbtest.sbtest{table} FORCE INDEX (k_{table})"
        ));
    }
}

fn assert_equal(source: &Server, target: &Server) {
    for table in 1..=TABLES {
        let sql = format!(
            "SELECT COUNT(*), CAST(SUM(CRC32(CONCAT_WS('#', id, k, c, pad))) AS CHAR) FROM sbtest.sbtest{table}"
        );
        let (ours, theirs): ((u64, String), (u64, String)) = (source.query_one(&sql), target.query_one(&sql));
        assert_eq!(ours, theirs, "sbtest{table}");
    }
}

fn copy(from: &Path, to: &Path) {
    measure(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to)).expect("cp");
}

fn print(lines: &[Line], options: &Options) {
    let replica = lines.iter().find(|line| line.tool.starts_with("replica, 4"));
    let replica = replica.map(|line| line.row_events / line.median(|r| r.wall));
    println!("\nmedians of {}\n", options.rounds);
    println!(
        "{:24} {:>8} {:>12} {:>8} {:>11} {:>12} {:>11} {:>8} {:>12}",
        "tool",
        "wall s",
        "row events/s",
        "trx/s",
        "client CPU",
        "us/row event",
        "target CPU",
        "RSS MiB",
        "x replica 4"
    );
    for line in lines {
        let wall = line.median(|r| r.wall);
        let (cpu, rate) = (line.median(|r| r.client_cpu), line.row_events / wall);
        println!(
            "{:24} {wall:8.2} {rate:12.0} {:8.0} {cpu:11.2} {:12.2} {:11.2} {:8.0} {:12.2}",
            line.tool,
            line.transactions / wall,
            cpu * 1e6 / line.row_events,
            line.median(|r| r.target_cpu),
            line.median(|r| r.rss_mib),
            replica.map_or(0.0, |replica| rate / replica),
        );
    }
}
