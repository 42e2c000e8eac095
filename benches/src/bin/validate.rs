//! How long `dts validate` takes on a source with many tables, and how many statements it sends.
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin validate -- [TABLES] [SHAPES]`
//!
//! TABLES (5,000) InnoDB tables of SHAPES (300) different definitions, a view for every fiftieth and a procedure for every
//! hundredth; three runs with the structure tried on the target, one without. MySQL 5.6 to 9.7, then 9.7 to 9.7.
use std::path::PathBuf;
use std::process::Command;

use dts_bench::measure;
use dts_testbed::{Server, ServerOptions, Version};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("[TABLES] [SHAPES]"));
    let tables = numbers.next().unwrap_or(5_000);
    let shapes = numbers.next().unwrap_or(300);
    let dts = std::env::current_exe().expect("our own path").with_file_name("dts");
    assert!(dts.exists(), "{} is missing: cargo build --release -p dts-cli", dts.display());
    let many = ["--table-open-cache=8000", "--table-definition-cache=8000", "--open-files-limit=30000"];
    let of_97 = || ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1");
    let pairs = [
        ("5.6 to 9.7", ServerOptions::new(Version::Mysql56).rds_like().args(many)),
        ("9.7 to 9.7", of_97().args(many)),
    ];
    for (name, of_source) in pairs {
        let source = Server::start(of_source).expect("source");
        let target = Server::start(of_97()).expect("target");
        fill(&source, tables, shapes);
        let bench = Bench { dts: dts.clone(), source, target };
        println!("{name}: {tables} tables of {shapes} definitions");
        for tries in [true, true, true, false] {
            bench.validate(tries);
        }
    }
}

fn fill(source: &Server, tables: u64, shapes: u64) {
    let mut sql = "CREATE DATABASE many; USE many; ".to_owned();
    for number in 0..tables {
        let shape = number % shapes;
        sql.push_str(&format!(
            "CREATE TABLE t{number} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR({}) NOT NULL, price DECIMAL(10,2), \
             made DATETIME, KEY (name), KEY (made, price)) ENGINE=InnoDB;",
            10 + shape
        ));
        if number % 50 == 0 {
            sql.push_str(&format!("CREATE VIEW v{number} AS SELECT id, name FROM t{number};"));
        }
        if number % 100 == 0 {
            sql.push_str(&format!("CREATE PROCEDURE p{number}() SELECT COUNT(*) FROM t{number};"));
        }
        if number % 500 == 499 {
            source.exec(&sql);
            sql = "USE many; ".to_owned();
        }
    }
    source.exec(&format!("{sql} DO 0"));
}

struct Bench {
    dts: PathBuf,
    source: Server,
    target: Server,
}

impl Bench {
    fn validate(&self, tries: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let end = |server: &Server| {
            format!("host = \"127.0.0.1\"\nport = {}\nuser = \"root\"\npassword = \"\"\n", server.port())
        };
        let file = folder.path().join("task.toml");
        let text = format!(
            "[task]\nname = \"many\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ndatabases = \
             [\"many\"]\n[validate]\ntry_structure = {tries}\n",
            end(&self.source),
            end(&self.target)
        );
        std::fs::write(&file, text).expect("the task file");
        let before = [&self.source, &self.target].map(questions);
        let mut command = Command::new(&self.dts);
        command.arg("--home").arg(folder.path()).args(["--no-progress", "validate"]).arg(&file);
        let usage = measure(&mut command).expect("dts validate");
        let after = [&self.source, &self.target].map(questions);
        println!(
            "  {:<28} {:>6.1} s wall {:>6.2} s CPU {:>7.1} MiB peak {:>7} statements on the source {:>6} on the target",
            if tries { "with the structure tried" } else { "without" },
            usage.wall,
            usage.cpu,
            usage.rss_mib,
            after[0] - before[0],
            after[1] - before[1]
        );
    }
}

fn questions(server: &Server) -> u64 {
    let (_, count): (String, u64) = server.query_one("SHOW GLOBAL STATUS LIKE 'Questions'");
    count
}
