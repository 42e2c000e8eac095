//! The check against the full load, and against a check that fetches the rows of both sides.
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin check -- [ROUNDS] [ROWS]`
//!
//! Needs sysbench for the data. One MySQL 5.6 and one MySQL 9.7 with durable defaults; in each round the load, the check by
//! digest and the check by stream run in turn, whole processes. Wanted: the check in at most a quarter of the load's time and
//! at most 0.3 of the time of the stream, with less than 0.1 s of client CPU.
//!
//! `... --bin check -- soak [SECONDS]` keeps a writer at full speed on the source for so long and checks again and again: each
//! check must end with "same", and a row that is changed on the target meanwhile must be the only one reported.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dts_bench::{Usage, measure, median};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

const TABLES: u64 = 2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, usual: u64| {
        arguments.get(position).and_then(|text| text.parse().ok()).unwrap_or(usual)
    };
    if arguments.first().is_some_and(|word| word == "soak") {
        return soak(number(1, 120));
    }
    let (rounds, rows) = (number(0, 3), number(1, 500_000));
    let (source, target) = servers(false);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dts = dts_program();
    let file = task_file(folder.path(), &source, &target);
    sysbench(&source, &["prepare"], rows);
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

fn task_file(folder: &Path, source: &Server, target: &Server) -> PathBuf {
    let end = |server: &Server| {
        format!(
            "host = \"127.0.0.1\"\nport = {}\nuser = \"root\"\npassword = \"\"\ntls = {{ mode = \"disabled\" }}\n",
            server.port()
        )
    };
    let file = folder.join("task.toml");
    let text = format!(
        "[task]\nname = \"bench\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ndatabases = [\"sbtest\"]\n\
         [check]\nmode = \"none\"\n",
        end(source),
        end(target)
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
    let file = task_file(folder.path(), &source, &target);
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
    let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut same, mut other) = (0, 0);
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
        let mut round = 0;
        while begun.elapsed() < Duration::from_secs(seconds) || round < 11 {
            round += 1;
            let is_planted = round == 6;
            if is_planted {
                target.exec("UPDATE sbtest.still SET v = 'wrong' WHERE id = 2");
            }
            let check_begun = Instant::now();
            let output =
                command(&["check", "bench", "--mode", "full", "--json"]).output().expect("dts check");
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let conclusion =
                printed.split("\"conclusion\":").nth(1).map_or("", |rest| &rest[..14.min(rest.len())]);
            let found = printed.matches("\"kind\":").count();
            let key = printed.contains("\"id\": \"2\"") || printed.contains("\"id\":\"2\"");
            println!(
                "round {round}: {conclusion} {found} differences, planted {is_planted}, {:.1} s, {} writes, exit {:?}",
                check_begun.elapsed().as_secs_f64(),
                writes.load(Ordering::Relaxed),
                output.status.code()
            );
            let is_right = if is_planted {
                found == 1 && key && conclusion.contains("different")
            } else {
                found == 0 && conclusion.contains("same")
            };
            if is_right {
                same += 1
            } else {
                other += 1
            }
            if !is_right {
                println!("{printed}\n{}", String::from_utf8_lossy(&output.stderr));
            }
            if is_planted {
                target.exec("UPDATE sbtest.still SET v = 'b' WHERE id = 2");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    drop(running.kill());
    drop(running.wait());
    println!("{same} checks as they should be, {other} others, {} writes", writes.load(Ordering::Relaxed));
    assert_eq!(other, 0);
}
