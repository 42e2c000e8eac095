//! The memory of `dts` during a full copy, against the number of rows and against their size.
//!
//! `cargo build --release -p dts-cli && cargo run --release -p dts-bench --bin load_memory -- [ROWS_MAX] [GIANTS]`
//!
//! One table grows from 100,000 rows to ROWS_MAX (5,000,000) and is copied at each size; then GIANTS (24) rows of 20 MB are
//! copied by 4 threads. Each copy is a process of its own; its peak is what the kernel says at its end. MySQL 5.6 to 9.7.
use std::path::{Path, PathBuf};
use std::process::Command;

use dts_bench::data::DATABASE;
use dts_bench::{Usage, measure};
use dts_testbed::{Server, ServerOptions, Version};

/// Bytes of a giant row's value.
const GIANT: u64 = 20 << 20;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("[ROWS_MAX] [GIANTS]"));
    let rows_max = numbers.next().unwrap_or(5_000_000);
    let giants = numbers.next().unwrap_or(24);
    let dts = std::env::current_exe().expect("our own path").with_file_name("dts");
    assert!(dts.exists(), "{} is missing: cargo build --release -p dts-cli", dts.display());
    let source = Server::start(
        ServerOptions::new(Version::Mysql56)
            .rds_like()
            .buffer_pool_mib(512)
            // 5.6 takes a row only into a redo log of ten times its size.
            .arg("--innodb-log-file-size=512M"),
    )
    .expect("source");
    let target = Server::start(
        ServerOptions::new(Version::Mysql97).buffer_pool_mib(512).arg("--lower-case-table-names=1"),
    )
    .expect("target");
    let bench = Bench { dts, source, target };

    bench.source.exec(&format!(
        "CREATE DATABASE {DATABASE}; CREATE TABLE {DATABASE}.narrow (id INT UNSIGNED NOT NULL AUTO_INCREMENT, k INT UNSIGNED NOT \
         NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, PRIMARY KEY (id), KEY k (k)) ENGINE=InnoDB DEFAULT CHARSET=latin1"
    ));
    println!("{:>10} rows of 190 bytes, 4 threads", "");
    let mut rows = 0;
    for size in [100_000, 300_000, 1_000_000, 2_500_000, 5_000_000] {
        if size > rows_max {
            break;
        }
        bench.grow(rows, size);
        rows = size;
        bench.copy(size, "narrow");
    }

    println!("{:>10} rows of 20 MiB, 4 threads", "");
    bench.source.exec(&format!(
        "CREATE TABLE {DATABASE}.giant (id INT UNSIGNED NOT NULL, v LONGBLOB NOT NULL, PRIMARY KEY (id)) ENGINE=InnoDB"
    ));
    for id in 0..giants {
        // Bytes of a hash: some need an escape.
        let hashes = GIANT / 64;
        bench.source.exec(&format!(
            "INSERT INTO {DATABASE}.giant VALUES ({id}, REPEAT(UNHEX(SHA2('{id}', 512)), {hashes}))"
        ));
    }
    bench.source.exec(&format!("ANALYZE TABLE {DATABASE}.giant"));
    bench.copy(giants, "giant");
}

struct Bench {
    dts: PathBuf,
    source: Server,
    target: Server,
}

impl Bench {
    /// Adds rows until there are `to`.
    fn grow(&self, from: u64, to: u64) {
        let ten = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION \
                   ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
        for start in (from..to).step_by(100_000) {
            self.source.exec(&format!(
                "INSERT INTO {DATABASE}.narrow (k, c, pad) SELECT {start} + a.d * 10000, REPEAT(MD5(a.d + b.d), 3), MD5(c.d) FROM {ten} \
                 a, {ten} b, {ten} c, {ten} d, {ten} e"
            ));
        }
        self.source.exec(&format!("ANALYZE TABLE {DATABASE}.narrow"));
    }

    /// Copies one table and prints the peak.
    fn copy(&self, rows: u64, table: &str) {
        self.target.exec(&format!("DROP DATABASE IF EXISTS {DATABASE}; DROP DATABASE IF EXISTS __dts__"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let usage = self.run(folder.path(), table);
        let copied: u64 = self.target.query_one(&format!("SELECT COUNT(*) FROM {DATABASE}.{table}"));
        assert_eq!(copied, rows, "rows of {table}");
        println!(
            "{rows:>10} {:>8.1} MiB peak {:>8.1} s wall {:>7.2} s CPU",
            usage.rss_mib, usage.wall, usage.cpu
        );
    }

    fn run(&self, folder: &Path, table: &str) -> Usage {
        let end = |server: &Server| {
            format!(
                "host = \"127.0.0.1\"\nport = {}\nuser = \"root\"\npassword = \"\"\ntls = {{ mode = \"disabled\" }}\n",
                server.port()
            )
        };
        let file = folder.join("task.toml");
        let text = format!(
            "[task]\nname = \"memory\"\n[source]\nkind = \"mysql\"\n{}[target]\nkind = \"mysql\"\n{}[objects]\ntables = \
             [\"{DATABASE}.{table}\"]\n[load]\nthreads = 4\n[check]\nmode = \"none\"\n",
            end(&self.source),
            end(&self.target)
        );
        std::fs::write(&file, text).expect("the task file");
        let mut command = Command::new(&self.dts);
        command
            .arg("--home")
            .arg(folder)
            .args(["--no-progress", "run"])
            .arg(&file)
            .args(["--until", "synced"]);
        measure(&mut command).expect("dts")
    }
}
