//! Whole-process comparison of the full copy: dts, mydumper + myloader, mysqldump | mysql, and the floor that the target
//! itself sets (LOAD DATA INFILE from ready-made files, one connection a table, the indexes added after).
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin full_load -- [ROUNDS] [ROWS] [--data SET] [--source 5.6|9.7] [--only TOOL]... [--log FILE] [--load LINE]...`
//!
//! ROUNDS is 5, SET is sysbench, mixed or blob, ROWS (of each table) depends on it. sysbench is needed for its own set; a
//! peer that is not installed is left out and named. All run in turn within each round, on the same two servers: MySQL 5.6,
//! or what `--source` says, to MySQL 9.7 with durable defaults. `--only` is how a tool's name begins; `--log` is where dts
//! writes how long its steps took, `--load` is a line of a task's section of that name, with which dts
//! runs once more.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use dts_bench::data::{DATABASE, DataSet};
use dts_bench::{Usage, measure, measure_pipe, median};
use dts_testbed::{Server, ServerOptions, Version};

/// A name and what to run.
type Tool<'a> = (String, Box<dyn FnMut() -> Usage + 'a>);

/// What one round of a tool took.
struct Round {
    client: Usage,
    source_cpu: f64,
    target_cpu: f64,
}

struct Outcome {
    tool: String,
    rounds: Vec<Round>,
}

fn main() {
    let Arguments { rounds, rows, set, source: version, only, log, load } = Arguments::parse();
    let dts = dts_program();
    let source = Server::start(ServerOptions::new(version).rds_like().buffer_pool_mib(1024)).expect("source");
    let target = Server::start(
        ServerOptions::new(Version::Mysql97)
            .durable()
            .buffer_pool_mib(1024)
            .arg("--lower-case-table-names=1"),
    )
    .expect("target");
    let folder = tempfile::tempdir().expect("a temporary folder");
    set.fill(&source, rows);
    let tables: Vec<FloorTable> =
        set.tables().iter().map(|name| FloorTable::dump(&source, name, folder.path())).collect();

    let run = &DtsRun {
        program: &dts,
        source: &source,
        target: &target,
        folder: folder.path(),
        log: log.as_deref(),
    };
    let mut tools: Vec<Tool<'_>> = vec![
        ("floor: LOAD DATA INFILE".into(), Box::new(|| floor(&target, &tables))),
        ("dts, binlog off".into(), Box::new(|| run.dts("target_binlog = \"off\""))),
        ("dts, binlog on".into(), Box::new(|| run.dts("target_binlog = \"on\""))),
    ];
    for line in &load {
        tools.push((
            format!("dts, {line}"),
            Box::new(move || run.dts(&format!("target_binlog = \"off\"\n{line}"))),
        ));
    }
    if has("mydumper") && has("myloader") {
        tools.push(("mydumper + myloader".into(), Box::new(|| mydumper(&source, &target, folder.path()))));
    } else {
        println!("mydumper is not installed: left out");
    }
    if version == Version::Mysql97 && target.installation().client_program("mysqldump").is_some() {
        tools.push(("mysqldump | mysql".into(), Box::new(|| mysqldump(&source, &target))));
    } else {
        // MySQL 9's cannot log in on 5.6 (no mysql_native_password), MariaDB's asks 5.6 for columns that it has not.
        println!("mysqldump: left out (with --source 9.7 it can be run)");
    }
    tools.retain(|(tool, _)| only.is_empty() || only.iter().any(|wanted| tool.starts_with(wanted)));
    let mut outcomes: Vec<Outcome> =
        tools.iter().map(|(tool, _)| Outcome { tool: tool.clone(), rounds: Vec::new() }).collect();
    for round in 1..=rounds {
        for ((tool, run), outcome) in tools.iter_mut().zip(&mut outcomes) {
            target.exec("DROP DATABASE IF EXISTS sbtest; DROP DATABASE IF EXISTS __dts__");
            let before = (source.cpu_seconds(), target.cpu_seconds());
            let client = run();
            let (source_cpu, target_cpu) = (source.cpu_seconds() - before.0, target.cpu_seconds() - before.1);
            println!(
                "round {round} {tool:26} {:7.2} s wall {:6.2} s client CPU {source_cpu:6.2} s source CPU {target_cpu:6.2} s target CPU \
                 {:6.0} MiB (load {})",
                client.wall,
                client.cpu,
                client.rss_mib,
                load_average(),
            );
            for table in set.tables() {
                let count: u64 = target.query_one(&format!("SELECT COUNT(*) FROM {DATABASE}.{table}"));
                assert_eq!(count, rows, "{tool}: rows of {table}");
            }
            outcome.rounds.push(Round { client, source_cpu, target_cpu });
        }
    }
    print(&outcomes, set, rows);
}

struct Arguments {
    rounds: usize,
    rows: u64,
    set: DataSet,
    source: Version,
    only: Vec<String>,
    log: Option<PathBuf>,
    load: Vec<String>,
}

impl Arguments {
    fn parse() -> Arguments {
        let mut numbers = Vec::new();
        let mut set = DataSet::Sysbench;
        let mut source = Version::Mysql56;
        let mut only = Vec::new();
        let mut log = None;
        let mut load = Vec::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--data" {
                set = words.next().unwrap_or_default().parse().expect("--data");
            } else if word == "--only" {
                only.extend(words.next());
            } else if word == "--log" {
                log = words.next().map(PathBuf::from);
            } else if word == "--load" {
                load.extend(words.next());
            } else if word == "--source" {
                source = match words.next().as_deref() {
                    Some("5.6") => Version::Mysql56,
                    Some("9.7") => Version::Mysql97,
                    _ => panic!("--source 5.6 or 9.7"),
                };
            } else {
                numbers.push(word.parse::<u64>().expect("[ROUNDS] [ROWS] [--data SET]"));
            }
        }
        let rounds = numbers.first().copied().unwrap_or(5);
        Arguments {
            rounds: usize::try_from(rounds).expect("few rounds"),
            rows: numbers.get(1).copied().unwrap_or(set.rows_default()),
            set,
            source,
            only,
            log,
            load,
        }
    }
}

fn print(outcomes: &[Outcome], set: DataSet, rows: u64) {
    let wall = |tool: &str| {
        outcomes
            .iter()
            .find(|outcome| outcome.tool.starts_with(tool))
            .map(|outcome| outcome.rounds.iter().map(|round| round.client.wall).collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let (floor, peer) = (wall("floor"), wall("mydumper"));
    let total = rows * set.tables().len() as u64;
    println!("\n{set}: {} x {rows} rows, medians; ratios of the median wall times\n", set.tables().len());
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
    for outcome in outcomes {
        let of = |value: &dyn Fn(&Round) -> f64| median(outcome.rounds.iter().map(value));
        let wall = of(&|round| round.client.wall);
        let ratio = |to: &[f64]| {
            let to = median(to.iter().copied());
            if to > 0.0 { format!("{:.2}", wall / to) } else { "-".to_owned() }
        };
        println!(
            "{:26} {wall:8.2} {:9.0} {:11.2} {:11.2} {:11.2} {:9.0} {:>8} {:>11}",
            outcome.tool,
            total as f64 / wall,
            of(&|round| round.client.cpu),
            of(&|round| round.source_cpu),
            of(&|round| round.target_cpu),
            of(&|round| round.client.rss_mib),
            ratio(&floor),
            ratio(&peer),
        );
    }
    println!("\nwall times of each round (s), and their ratios to the floor of the same round");
    for outcome in outcomes {
        let walls: Vec<String> =
            outcome.rounds.iter().map(|round| format!("{:.2}", round.client.wall)).collect();
        let ratios: Vec<String> = outcome
            .rounds
            .iter()
            .zip(&floor)
            .map(|(round, floor)| format!("{:.2}", round.client.wall / floor))
            .collect();
        println!("{:26} {}   ({})", outcome.tool, walls.join(" "), ratios.join(" "));
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("-").to_owned()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn dts_program() -> PathBuf {
    let beside = std::env::current_exe().expect("our own path").with_file_name("dts");
    assert!(beside.exists(), "{} is missing: cargo build --release -p dts-cli", beside.display());
    beside
}

/// A table as the floor loads it: its rows in a file on the server, its secondary indexes apart.
struct FloorTable {
    name: String,
    create: String,
    indexes: String,
    file: PathBuf,
}

impl FloorTable {
    fn dump(source: &Server, name: &str, folder: &Path) -> FloorTable {
        let (_, shown): (String, String) = source.query_one(&format!("SHOW CREATE TABLE {DATABASE}.{name}"));
        let is_index = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("KEY ") || line.starts_with("UNIQUE KEY ")
        };
        let (indexes, others): (Vec<&str>, Vec<&str>) = shown.lines().partition(is_index);
        // The line before the closing bracket must not end with a comma.
        let create =
            others.join("\n").replace(",\n)", "\n)").replacen("CREATE TABLE ", "CREATE TABLE sbtest.", 1);
        let adds: Vec<String> =
            indexes.iter().map(|line| format!("ADD {}", line.trim().trim_end_matches(','))).collect();
        let file = folder.join(format!("{name}.txt"));
        source.exec(&format!("SELECT * FROM {DATABASE}.{name} INTO OUTFILE '{}'", file.display()));
        let indexes = format!("ALTER TABLE {DATABASE}.{name} {}", adds.join(", "));
        FloorTable { name: name.to_owned(), create, indexes, file }
    }
}

/// What the target needs by itself: nothing is read, nothing is sent.
fn floor(target: &Server, tables: &[FloorTable]) -> Usage {
    let begun = Instant::now();
    target.exec(&format!("CREATE DATABASE {DATABASE}"));
    std::thread::scope(|scope| {
        for table in tables {
            scope.spawn(move || {
                target.exec(&format!(
                    "SET SESSION sql_log_bin = 0; SET SESSION sql_mode = ''; {}; LOAD DATA INFILE '{}' INTO TABLE {DATABASE}.{} \
                     CHARACTER SET binary; {}",
                    table.create,
                    table.file.display(),
                    table.name,
                    table.indexes
                ));
            });
        }
    });
    Usage { wall: begun.elapsed().as_secs_f64(), ..Usage::default() }
}

/// A whole run of dts.
struct DtsRun<'a> {
    program: &'a Path,
    source: &'a Server,
    target: &'a Server,
    folder: &'a Path,
    log: Option<&'a Path>,
}

impl DtsRun<'_> {
    /// `load` is the section of the task file.
    fn dts(&self, load: &str) -> Usage {
        let home = tempfile::tempdir().expect("a temporary folder");
        let file = self.folder.join("task.toml");
        let end = |server: &Server| {
            format!(
                "host = \"127.0.0.1\"\nport = {}\nuser = \"root\"\npassword = \"\"\ntls = {{ mode = \"disabled\" }}\n",
                server.port()
            )
        };
        let text = format!(
            "[task]\nname = \"bench\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ndatabases = [\"{DATABASE}\"]\n\
             [load]\n{load}\n[check]\nmode = \"none\"\n",
            end(self.source),
            end(self.target)
        );
        std::fs::write(&file, text).expect("the task file");
        let mut command = Command::new(self.program);
        command.arg("--home").arg(home.path()).arg("--no-progress");
        if let Some(log) = self.log {
            command.arg("--log-file").arg(log);
        }
        measure(command.arg("run").arg(&file).args(["--until", "synced"])).expect("dts")
    }
}

fn mydumper(source: &Server, target: &Server, folder: &Path) -> Usage {
    let dump = folder.join("mydumper");
    drop(std::fs::remove_dir_all(&dump));
    let to = |command: &mut Command, server: &Server| {
        command.args(["-h", "127.0.0.1", "-u", "root", "-t", "4", "-P", &server.port().to_string()]);
    };
    let mut out = Command::new("mydumper");
    to(&mut out, source);
    out.args(["-B", DATABASE, "-r", "100000", "-o"]).arg(&dump);
    let first = measure(&mut out).expect("mydumper");
    let mut load = Command::new("myloader");
    to(&mut load, target);
    load.args(["-d"]).arg(&dump);
    first.then(measure(&mut load).expect("myloader"))
}

/// The programs of the target's own version, as its manual says.
fn mysqldump(source: &Server, target: &Server) -> Usage {
    target.exec(&format!("CREATE DATABASE {DATABASE}"));
    let client = |name: &str, server: &Server| {
        let mut command = target.installation().client_program(name).expect("looked for before");
        command.args(["--no-defaults", "-h127.0.0.1", "-uroot", &format!("-P{}", server.port())]);
        command
    };
    let mut dump = client("mysqldump", source);
    dump.args(["--single-transaction", "--set-gtid-purged=OFF", DATABASE]);
    let mut load = client("mysql", target);
    load.args(["--binary-mode", DATABASE]);
    measure_pipe(&mut dump, &mut load).expect("mysqldump | mysql")
}
