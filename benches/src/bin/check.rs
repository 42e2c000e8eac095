//! The check against the full load, and against a check that fetches the rows of both sides.
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin check -- [ROUNDS] [ROWS]`
//!
//! Needs sysbench for the data. One MySQL 5.6 and one MySQL 9.7 with durable defaults; in each round the load, the check by
//! digest and the check by stream run in turn, whole processes. Wanted: the check in at most a quarter of the load's time and
//! at most 0.3 of the time of the stream, with less than 0.1 s of client CPU.
//!
//! `... --bin check -- soak [SECONDS]` keeps two writers at full speed on the source for so long, and for ten checks at least:
//! each must end with "same" and status 0. Then, still under the writers, a row is changed on the target without its binary
//! log: it must be the only one reported. At last somebody writes there with the log on and takes it back: rows are the
//! same, and the check must raise its alarm.
//!
//! `... --bin check -- network [ROWS] [MBIT]` does the same once over a network: each server behind a link of its own, of so many
//! Mbit/s (1,000 without a number), with a round trip of a millisecond.
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dts_bench::{Usage, measure, median};
use dts_testbed::{Proxy, Server, ServerOptions, Version};
use mysql::prelude::Queryable;
use serde_json::Value;

const TABLES: u64 = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, usual: u64| {
        arguments.get(position).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    if arguments.first().is_some_and(|word| word == "soak") {
        return soak(number(1, 120));
    }
    if arguments.first().is_some_and(|word| word == "network") {
        let (source, target) = servers(false);
        let proxies = [Proxy::start(address(source.port())), Proxy::start(address(target.port()))];
        for proxy in &proxies {
            proxy.set_latency(Duration::from_micros(500));
            proxy.set_bytes_per_second(125_000_000 * number(2, 1_000) / 1_000);
        }
        let ports = [proxies[0].addr().port(), proxies[1].addr().port()];
        return compare(&source, &target, ports, 1, number(1, 500_000));
    }
    let (source, target) = servers(false);
    compare(&source, &target, [source.port(), target.port()], number(0, 3), number(1, 500_000));
}

fn address(port: u16) -> (&'static str, u16) {
    ("127.0.0.1", port)
}

/// Loads and checks in turn, over these ports.
fn compare(source: &Server, target: &Server, ports: [u16; 2], rounds: u64, rows: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dts = dts_program();
    let file = task_file(folder.path(), ports);
    sysbench(source, &["prepare"], rows);
    source.exec("ANALYZE TABLE sbtest.sbtest1, sbtest.sbtest2");

    let mut usage: [Vec<(Usage, f64, f64)>; 3] = Default::default();
    for round in 1..=rounds {
        target.exec("DROP DATABASE IF EXISTS sbtest; DROP DATABASE IF EXISTS __dts__");
        let home = tempfile::tempdir().expect("a temporary folder");
        for (position, (name, arguments)) in [
            ("full load", vec!["run", text(&file), "--until", "synced"]),
            ("check by digest", vec!["check", "bench", "--mode", "full", "--method", "digest"]),
            ("check by stream", vec!["check", "bench", "--mode", "full", "--method", "stream"]),
        ]
        .into_iter()
        .enumerate()
        {
            let before = (source.cpu_seconds(), target.cpu_seconds());
            let mut command = Command::new(&dts);
            command.arg("--home").arg(home.path()).arg("--no-progress").args(arguments);
            let used = measure(&mut command).expect("dts");
            let cpu = (source.cpu_seconds() - before.0, target.cpu_seconds() - before.1);
            println!("round {round} {name:16} {:7.2} s wall {:6.2} s client CPU", used.wall, used.cpu);
            usage[position].push((used, cpu.0, cpu.1));
        }
    }
    println!("\n{TABLES} x {rows} rows, medians\n");
    println!(
        "{:16} {:>8} {:>10} {:>11} {:>11} {:>11} {:>8} {:>9}",
        "what", "wall s", "client CPU", "source CPU", "target CPU", "RSS MiB", "x load", "x stream"
    );
    let wall = |position: usize| median(usage[position].iter().map(|one| one.0.wall));
    for (position, name) in ["full load", "check by digest", "check by stream"].into_iter().enumerate() {
        let of = |f: &dyn Fn(&(Usage, f64, f64)) -> f64| median(usage[position].iter().map(f));
        println!(
            "{name:16} {:8.2} {:10.2} {:11.2} {:11.2} {:11.0} {:8.2} {:9.2}",
            wall(position),
            of(&|one| one.0.cpu),
            of(&|one| one.1),
            of(&|one| one.2),
            of(&|one| one.0.rss_mib),
            wall(position) / wall(0),
            wall(position) / wall(2),
        );
    }
}

fn servers(is_fast: bool) -> (Server, Server) {
    let source = ServerOptions::new(Version::Mysql56).rds_like().buffer_pool_mib(1024);
    let target = ServerOptions::new(Version::Mysql97).buffer_pool_mib(1024).arg("--lower-case-table-names=1");
    let target = if is_fast { target } else { target.durable() };
    (Server::start(source).expect("source"), Server::start(target).expect("target"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain text")
}

fn dts_program() -> PathBuf {
    let beside = std::env::current_exe().expect("our own path").with_file_name("dts");
    assert!(beside.exists(), "{} is missing: cargo build --release -p dts-cli", beside.display());
    beside
}

fn task_file(folder: &Path, ports: [u16; 2]) -> PathBuf {
    let end = |port: u16| {
        format!(
            "host = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\npassword = \"\"\ntls = {{ mode = \"disabled\" }}\n"
        )
    };
    let file = folder.join("task.toml");
    let text = format!(
        "[task]\nname = \"bench\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ndatabases = [\"sbtest\"]\n\
         [check]\nmode = \"none\"\n",
        end(ports[0]),
        end(ports[1])
    );
    std::fs::write(&file, text).expect("the task file");
    file
}

fn sysbench(source: &Server, what: &[&str], rows: u64) {
    if what == ["prepare"] {
        source.exec("CREATE DATABASE sbtest");
    }
    measure(
        Command::new("sysbench")
            .args(["oltp_write_only", "--mysql-host=127.0.0.1", "--mysql-user=root", "--mysql-db=sbtest"])
            .arg(format!("--mysql-port={}", source.port()))
            .args([format!("--tables={TABLES}"), format!("--table-size={rows}"), "--threads=2".into()])
            .args(what),
    )
    .expect("sysbench (apt-get install sysbench)");
}

/// Checks while a writer is at work; `dts run` applies meanwhile.
fn soak(seconds: u64) {
    let rows = 100_000;
    let (source, target) = servers(true);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = tempfile::tempdir().expect("a temporary folder");
    let dts = dts_program();
    let file = task_file(folder.path(), [source.port(), target.port()]);
    sysbench(&source, &["prepare"], rows);
    source.exec("CREATE TABLE sbtest.counter (id INT PRIMARY KEY, n BIGINT); INSERT INTO sbtest.counter VALUES (1, 0); \
         CREATE TABLE sbtest.still (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO sbtest.still VALUES (1, 'a'), (2, 'b')");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&dts);
        command.arg("--home").arg(home.path()).arg("--no-progress").args(arguments);
        command
    };
    measure(&mut command(&["run", text(&file), "--until", "synced"])).expect("dts run");
    let mut running = command(&["run", text(&file)]).spawn().expect("dts run");
    // It validates first, and a check is refused meanwhile.
    let may_check = || {
        let printed = command(&["status", "bench", "--json"]).output().expect("dts status").stdout;
        let status: Value = serde_json::from_slice(&printed).unwrap_or_default();
        status["state"] == "ready_to_complete" || status["step"] == "in_sync" && status["state"] == "running"
    };
    let asked = Instant::now();
    while !may_check() {
        assert!(asked.elapsed() < Duration::from_secs(60), "the task did not get in sync");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut wrong = 0;
    std::thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (source, stop, writes) = (&source, &stop, &writes);
            scope.spawn(move || {
                let mut connection = source.root();
                let mut state = 88_172_645_463_325_252 + writer;
                while !stop.load(Ordering::Relaxed) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let (table, id) = (1 + state % TABLES, 1 + (state >> 8) % rows);
                    let sql = match (state >> 40) % 8 {
                        0 => "UPDATE sbtest.counter SET n = n + 1 WHERE id = 1".to_owned(),
                        1 => format!("DELETE FROM sbtest.sbtest{table} WHERE id = {id}"),
                        2 => format!("INSERT IGNORE INTO sbtest.sbtest{table} (id, k, c, pad) VALUES ({id}, {id}, 'c', 'p')"),
                        3..=5 => format!("UPDATE sbtest.sbtest{table} SET k = k + 1 WHERE id = {id}"),
                        _ => format!("UPDATE sbtest.sbtest{table} SET c = SHA2({state}, 512) WHERE id = {id}"),
                    };
                    connection.query_drop(sql).expect("the writer");
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        let mut checks = Checks { writes: &writes, wrong: 0, done: 0 };
        let check = || command(&["check", "bench", "--mode", "full", "--json"]).output().expect("dts check");
        while begun.elapsed() < Duration::from_secs(seconds) || checks.done < 10 {
            checks.judge("nothing", &check, ("same", 0, 0, 0));
        }
        let silent = |value: &str| {
            target.exec(&format!("SET sql_log_bin = 0; UPDATE sbtest.still SET v = '{value}' WHERE id = 2"));
        };
        silent("wrong");
        checks.judge("a row, not logged", &check, ("different", 1, 0, 1));
        silent("b");
        checks.judge("nothing", &check, ("same", 0, 0, 0));
        target.exec(
            "UPDATE sbtest.still SET v = 'c' WHERE id = 2; UPDATE sbtest.still SET v = 'b' WHERE id = 2",
        );
        checks.judge("a stranger's two writes", &check, ("same", 0, 2, 1));
        checks.judge("nothing", &check, ("same", 0, 0, 0));
        stop.store(true, Ordering::Relaxed);
        wrong = checks.wrong;
        println!(
            "{} checks, {} not as they should be, {} writes",
            checks.done,
            wrong,
            writes.load(Ordering::Relaxed)
        );
    });
    drop(running.kill());
    drop(running.wait());
    assert_eq!(wrong, 0);
}

/// Checks under the writers.
struct Checks<'a> {
    writes: &'a AtomicU64,
    wrong: u32,
    done: u32,
}

impl Checks<'_> {
    /// Checks once. Wanted are the conclusion, how many rows differ, how many transactions are of strangers, the exit status.
    fn judge(&mut self, planted: &str, check: &dyn Fn() -> Output, wanted: (&str, usize, u64, i32)) {
        let begun = Instant::now();
        let output = check();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let differences: Vec<&Value> = report["tables"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|table| table["differences"].as_array().into_iter().flatten())
            .collect();
        let strangers = report["target_writers"]["transactions"].as_u64().unwrap_or(u64::MAX);
        let conclusion = report["conclusion"].as_str().unwrap_or("");
        let seen = (conclusion, differences.len(), strangers, output.status.code().unwrap_or(-1));
        // Only the row that was planted has this key and this column.
        let is_right = seen == wanted
            && differences.iter().all(|one| one["key"]["id"] == "2" && one["columns"][0] == "v");
        self.done += 1;
        println!(
            "check {:2}: planted {planted}; {conclusion}, {} rows compared, {} differ, {strangers} writes of others, exit {}, {:.1} s, {} writes{}",
            self.done,
            report["rows_compared"],
            seen.1,
            seen.3,
            begun.elapsed().as_secs_f64(),
            self.writes.load(Ordering::Relaxed),
            if is_right { "" } else { " WRONG" }
        );
        if !is_right {
            self.wrong += 1;
            println!("{report:#}\n{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
