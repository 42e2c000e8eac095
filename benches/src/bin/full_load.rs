//! Whole-process comparison of the full copy: dts, mydumper + myloader, mysqldump | mysql, and the floor that the target
//! itself sets (LOAD DATA INFILE from ready-made files, one connection a table, the index added after).
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin full_load -- [ROUNDS] [ROWS]`
//!
//! Needs sysbench for the data; a peer that is not installed is left out and named. All run in turn within each round, on
//! the same two servers: MySQL 5.6 to MySQL 9.7 with durable defaults.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use dts_bench::{Usage, measure, median};
use dts_testbed::{Server, ServerOptions, Version};

const TABLES: u64 = 2;

/// A name and what to run.
type Tool<'a> = (&'static str, Box<dyn FnMut() -> Usage + 'a>);

struct Result {
    tool: &'static str,
    usage: Vec<(Usage, f64, f64)>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let rows: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let dts = dts_program();
    let source =
        Server::start(ServerOptions::new(Version::Mysql56).rds_like().buffer_pool_mib(1024)).expect("source");
    let target = Server::start(
        ServerOptions::new(Version::Mysql97)
            .durable()
            .buffer_pool_mib(1024)
            .arg("--lower-case-table-names=1"),
    )
    .expect("target");
    let folder = tempfile::tempdir().expect("a temporary folder");
    prepare(&source, rows);
    let files = dump_files(&source, folder.path());

    let mut tools: Vec<Tool<'_>> = vec![
        ("floor: LOAD DATA INFILE", Box::new(|| floor(&source, &target, &files))),
        ("dts, binlog off", Box::new(|| run_dts(&dts, &source, &target, folder.path(), "off"))),
        ("dts, binlog on", Box::new(|| run_dts(&dts, &source, &target, folder.path(), "on"))),
    ];
    if has("mydumper") && has("myloader") {
        tools.push(("mydumper + myloader", Box::new(|| mydumper(&source, &target, folder.path()))));
    } else {
        println!("mydumper is not installed: left out");
    }
    if has("mariadb-dump") {
        tools.push(("mysqldump | mysql", Box::new(|| mysqldump(&source, &target))));
    }
    let mut results: Vec<Result> = tools.iter().map(|(tool, _)| Result { tool, usage: Vec::new() }).collect();
    for round in 1..=rounds {
        for ((tool, run), result) in tools.iter_mut().zip(&mut results) {
            target.exec("DROP DATABASE IF EXISTS sbtest; DROP DATABASE IF EXISTS __dts__");
            let before = (source.cpu_seconds(), target.cpu_seconds());
            let usage = run();
            let cpu = (source.cpu_seconds() - before.0, target.cpu_seconds() - before.1);
            println!("round {round} {tool:26} {:7.2} s wall {:6.2} s client CPU", usage.wall, usage.cpu);
            check_counts(&target, rows);
            result.usage.push((usage, cpu.0, cpu.1));
        }
    }
    print(&results, rows);
}

fn print(results: &[Result], rows: u64) {
    let wall = |tool: &str| {
        results
            .iter()
            .find(|result| result.tool.starts_with(tool))
            .map_or(0.0, |result| median(result.usage.iter().map(|u| u.0.wall)))
    };
    let (floor, peer) = (wall("floor"), wall("mydumper"));
    println!("\n{TABLES} x {rows} rows, medians; ratios of wall time\n");
    println!(
        "{:26} {:>8} {:>9} {:>11} {:>11} {:>11} {:>9} {:>8} {:>11}",
        "tool",
        "wall s",
        "rows/s",
        "client CPU",
        "source CPU",
        "target CPU",
        "RSS MiB",
        "x floor",
        "x mydumper"
    );
    for result in results {
        let of = |f: &dyn Fn(&(Usage, f64, f64)) -> f64| median(result.usage.iter().map(f));
        let wall = of(&|u| u.0.wall);
        println!(
            "{:26} {wall:8.2} {:9.0} {:11.2} {:11.2} {:11.2} {:9.0} {:8.2} {:11.2}",
            result.tool,
            (TABLES * rows) as f64 / wall,
            of(&|u| u.0.cpu),
            of(&|u| u.1),
            of(&|u| u.2),
            of(&|u| u.0.rss_mib),
            wall / floor,
            if peer > 0.0 { wall / peer } else { 0.0 },
        );
    }
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn dts_program() -> PathBuf {
    let beside = std::env::current_exe().expect("our own path").with_file_name("dts");
    assert!(beside.exists(), "{} is missing: cargo build --release -p dts-cli", beside.display());
    beside
}

fn prepare(source: &Server, rows: u64) {
    source.exec("CREATE DATABASE sbtest");
    measure(
        Command::new("sysbench")
            .args(["oltp_read_write", "--mysql-host=127.0.0.1", "--mysql-user=root", "--mysql-db=sbtest"])
            .arg(format!("--mysql-port={}", source.port()))
            .args([format!("--tables={TABLES}"), format!("--table-size={rows}"), "--threads=2".into()])
            .arg("prepare"),
    )
    .expect("sysbench (apt-get install sysbench)");
    source.exec("ANALYZE TABLE sbtest.sbtest1, sbtest.sbtest2");
}

fn dump_files(source: &Server, folder: &Path) -> Vec<PathBuf> {
    (1..=TABLES)
        .map(|table| {
            let path = folder.join(format!("sbtest{table}.txt"));
            source.exec(&format!("SELECT * FROM sbtest.sbtest{table} INTO OUTFILE '{}'", path.display()));
            path
        })
        .collect()
}

/// What the target needs by itself: nothing is read, nothing is sent.
fn floor(source: &Server, target: &Server, files: &[PathBuf]) -> Usage {
    let creates: Vec<String> = (1..=TABLES)
        .map(|table| {
            source.query_one::<(String, String)>(&format!("SHOW CREATE TABLE sbtest.sbtest{table}")).1
        })
        .collect();
    let begun = Instant::now();
    target.exec("CREATE DATABASE sbtest");
    std::thread::scope(|scope| {
        for (create, file) in creates.iter().zip(files) {
            scope.spawn(move || {
                let name = create.split('`').nth(1).expect("a name");
                let index = format!("ALTER TABLE sbtest.{name} ADD KEY k_1 (k)");
                let create: String =
                    create.lines().filter(|line| !line.trim_start().starts_with("KEY ")).collect::<Vec<_>>().join("\n");
                let create = create.replace("PRIMARY KEY (`id`),", "PRIMARY KEY (`id`)").replace("CREATE TABLE ", "CREATE TABLE sbtest.");
                target.exec(&format!(
                    "SET SESSION sql_log_bin = 0; SET SESSION sql_mode = ''; {create}; LOAD DATA INFILE '{}' INTO TABLE \
                     sbtest.{name} CHARACTER SET binary; {index}",
                    file.display()
                ));
            });
        }
    });
    Usage { wall: begun.elapsed().as_secs_f64(), ..Usage::default() }
}

fn run_dts(dts: &Path, source: &Server, target: &Server, folder: &Path, binlog: &str) -> Usage {
    let home = tempfile::tempdir().expect("a temporary folder");
    let file = folder.join("task.toml");
    let end = |server: &Server| {
        format!(
            "host = \"127.0.0.1\"\nport = {}\nuser = \"root\"\npassword = \"\"\ntls = {{ mode = \"disabled\" }}\n",
            server.port()
        )
    };
    let text = format!(
        "[task]\nname = \"bench\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ndatabases = [\"sbtest\"]\n\
         [load]\ntarget_binlog = \"{binlog}\"\n[check]\nmode = \"none\"\n",
        end(source),
        end(target)
    );
    std::fs::write(&file, text).expect("the task file");
    measure(
        Command::new(dts)
            .arg("--home")
            .arg(home.path())
            .args(["--no-progress", "run"])
            .arg(&file)
            .args(["--until", "synced"]),
    )
    .expect("dts")
}

fn mydumper(source: &Server, target: &Server, folder: &Path) -> Usage {
    let dump = folder.join("mydumper");
    drop(std::fs::remove_dir_all(&dump));
    let to = |command: &mut Command, server: &Server| {
        command.args(["-h", "127.0.0.1", "-u", "root", "-t", "4", "-P", &server.port().to_string()]);
    };
    let mut out = Command::new("mydumper");
    to(&mut out, source);
    out.args(["-B", "sbtest", "-r", "100000", "-o"]).arg(&dump);
    let first = measure(&mut out).expect("mydumper");
    let mut load = Command::new("myloader");
    to(&mut load, target);
    load.args(["-d"]).arg(&dump);
    let second = measure(&mut load).expect("myloader");
    Usage {
        wall: first.wall + second.wall,
        cpu: first.cpu + second.cpu,
        rss_mib: first.rss_mib.max(second.rss_mib),
    }
}

fn mysqldump(source: &Server, target: &Server) -> Usage {
    target.exec("CREATE DATABASE sbtest");
    let line = format!(
        "mariadb-dump -h127.0.0.1 -uroot -P{} --single-transaction sbtest | mariadb -uroot -S {} sbtest",
        source.port(),
        target.socket().display()
    );
    measure(Command::new("bash").args(["-o", "pipefail", "-c", &line])).expect("mysqldump | mysql")
}

fn check_counts(target: &Server, rows: u64) {
    for table in 1..=TABLES {
        let count: u64 = target.query_one(&format!("SELECT COUNT(*) FROM sbtest.sbtest{table}"));
        assert_eq!(count, rows, "sbtest{table}");
    }
}
