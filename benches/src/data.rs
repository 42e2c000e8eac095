//! The data sets that copies are measured with.
use std::fmt;
use std::process::Command;
use std::str::FromStr;

use dts_testbed::Server;

use crate::measure;

/// The database that all sets are in.
pub const DATABASE: &str = "sbtest";

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSet {
    /// Two tables of sysbench: about 195 bytes a row, a primary key and one secondary index.
    Sysbench,
    /// One table of ten columns: numbers, texts, times, an ENUM, NULLs, and three secondary indexes, one of them UNIQUE.
    Mixed,
    /// One table of BLOBs: 1 to 32 KiB of any bytes, 16 KiB on the average.
    Blob,
}

impl DataSet {
    /// All of them.
    pub const ALL: [DataSet; 3] = [DataSet::Sysbench, DataSet::Mixed, DataSet::Blob];

    /// Returns the tables' names.
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            DataSet::Sysbench => &["sbtest1", "sbtest2"],
            DataSet::Mixed => &["mixed"],
            DataSet::Blob => &["picture"],
        }
    }

    /// Returns how many rows each table has by default: some 150 to 250 MB in all.
    pub fn rows_default(self) -> u64 {
        match self {
            DataSet::Sysbench => 500_000,
            DataSet::Mixed => 1_000_000,
            DataSet::Blob => 10_000,
        }
    }

    /// Creates the database and fills each table with `rows` rows.
    ///
    /// # Panics
    /// When the server refuses it, or when sysbench is missing for its own set.
    pub fn fill(self, server: &Server, rows: u64) {
        server.exec(&format!("CREATE DATABASE {DATABASE}"));
        match self {
            DataSet::Sysbench => sysbench(server, rows),
            DataSet::Mixed => mixed(server, rows),
            DataSet::Blob => blobs(server, rows),
        }
        for table in self.tables() {
            server.exec(&format!("ANALYZE TABLE {DATABASE}.{table}"));
        }
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DataSet::Sysbench => "sysbench",
            DataSet::Mixed => "mixed",
            DataSet::Blob => "blob",
        })
    }
}

impl FromStr for DataSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        DataSet::ALL
            .into_iter()
            .find(|set| set.to_string() == text)
            .ok_or_else(|| format!("'{text}' is none of sysbench, mixed, blob"))
    }
}

fn sysbench(server: &Server, rows: u64) {
    measure(
        Command::new("sysbench")
            .args(["oltp_read_write", "--mysql-host=127.0.0.1", "--mysql-user=root", "--threads=2"])
            .args([format!("--mysql-db={DATABASE}"), format!("--mysql-port={}", server.port())])
            .args(["--tables=2".into(), format!("--table-size={rows}")])
            .arg("prepare"),
    )
    .expect("sysbench (apt-get install sysbench)");
}

fn mixed(server: &Server, rows: u64) {
    server.exec(&format!(
        "SET SESSION sql_mode = ''; CREATE TABLE {DATABASE}.mixed (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, code VARCHAR(20) NOT \
         NULL, name VARCHAR(100) CHARACTER SET utf8mb4 NOT NULL, amount DECIMAL(12,2) NOT NULL, rate DOUBLE, born DATE, changed \
         DATETIME(3) NOT NULL, seen TIMESTAMP NULL, state ENUM('new','paid','sent','closed') NOT NULL, note TEXT, PRIMARY KEY (id), \
         UNIQUE KEY code (code), KEY state (state, changed), KEY name (name(16))) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    ));
    let values = "CONCAT(LPAD(i, 9, '0'), LEFT(MD5(i), 8)), CONCAT(MD5(i * 3), ' \u{e4}\u{4e2d} ', i), i / 100, IF(i % 7 = 0, NULL, \
                  1 / (i + 1)), IF(i % 5 = 0, NULL, DATE('2000-01-01') + INTERVAL i % 9000 DAY), TIMESTAMP('2024-01-01') + INTERVAL \
                  i * 12345 MICROSECOND, IF(i % 3 = 0, NULL, FROM_UNIXTIME(1500000000 + i)), 1 + i % 4, IF(i % 2 = 0, NULL, \
                  REPEAT(SHA1(i), 1 + i % 4))";
    numbered(server, rows, |numbers| {
        format!(
            "SET SESSION sql_mode = ''; INSERT INTO {DATABASE}.mixed SELECT i + 1, {values} FROM ({numbers}) n"
        )
    });
}

fn blobs(server: &Server, rows: u64) {
    server.exec(&format!(
        "CREATE TABLE {DATABASE}.picture (id INT UNSIGNED NOT NULL AUTO_INCREMENT, name VARCHAR(60) NOT NULL, content MEDIUMBLOB \
         NOT NULL, PRIMARY KEY (id), KEY name (name)) ENGINE=InnoDB DEFAULT CHARSET=latin1"
    ));
    // 64 bytes of a hash, 16 to 496 times, and the number between them, so that no two rows are alike.
    let content =
        "LEFT(REPEAT(CONCAT(UNHEX(SHA2(i, 512)), UNHEX(SHA2(i * 7, 512))), 256), 1024 * (1 + (i * 17) % 32))";
    numbered(server, rows, |numbers| {
        format!(
            "INSERT INTO {DATABASE}.picture SELECT i + 1, CONCAT('picture ', MD5(i)), {content} FROM ({numbers}) n"
        )
    });
}

/// Runs the statement for all numbers below `rows`, ten thousand at a time, in ascending order.
fn numbered(server: &Server, rows: u64, statement: impl Fn(&str) -> String) {
    const AT_ONCE: u64 = 10_000;
    let digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5 UNION \
                  ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    for start in (0..rows).step_by(usize::try_from(AT_ONCE).expect("small")) {
        let numbers = format!(
            "SELECT {start} + a.d * 1000 + b.d * 100 + c.d * 10 + e.d AS i FROM {digits} a, {digits} b, {digits} c, {digits} e HAVING i \
             < {rows} ORDER BY i"
        );
        server.exec(&statement(&numbers));
    }
}
