//! Tables tied by foreign keys that change rows by themselves. Before MySQL 9.6 the log does not hold what they change.
use std::time::Duration;

use dts_core::migration::{Migration, RunReport, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::{Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, Writer, run, seed};

/// `audit` and `plain` are tied to nothing by a key that acts.
const SCHEMA: &str = "
CREATE DATABASE fam DEFAULT CHARACTER SET utf8mb4;
USE fam;
CREATE TABLE region (id INT NOT NULL, code VARCHAR(10) NOT NULL, name VARCHAR(30), PRIMARY KEY (id), UNIQUE KEY code (code));
CREATE TABLE customer (id INT NOT NULL AUTO_INCREMENT, region INT, name VARCHAR(40), changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
  ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (id), UNIQUE KEY name (name), CONSTRAINT lives FOREIGN KEY (region) REFERENCES region (id) ON DELETE
  CASCADE ON UPDATE CASCADE);
CREATE TABLE `a``order` (id INT NOT NULL AUTO_INCREMENT, customer INT, code VARCHAR(10), pad VARBINARY(300), PRIMARY KEY (id), CONSTRAINT `b``y`
  FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE ON UPDATE CASCADE, CONSTRAINT sold FOREIGN KEY (code) REFERENCES region (code)
  ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE line (an_order INT, what VARCHAR(20), CONSTRAINT part FOREIGN KEY (an_order) REFERENCES `a``order` (id) ON DELETE CASCADE);
CREATE TABLE staff (id INT NOT NULL, boss INT, PRIMARY KEY (id), CONSTRAINT boss FOREIGN KEY (boss) REFERENCES staff (id) ON DELETE CASCADE);
CREATE TABLE one (id INT NOT NULL, two INT, PRIMARY KEY (id));
CREATE TABLE two (id INT NOT NULL, one INT, PRIMARY KEY (id), CONSTRAINT to_one FOREIGN KEY (one) REFERENCES one (id) ON DELETE CASCADE);
ALTER TABLE one ADD CONSTRAINT to_two FOREIGN KEY (two) REFERENCES two (id) ON DELETE SET NULL;
CREATE TABLE audit (id INT NOT NULL AUTO_INCREMENT, customer INT, what VARCHAR(20), PRIMARY KEY (id), CONSTRAINT seen FOREIGN KEY (customer)
  REFERENCES customer (id));
CREATE TABLE plain (id INT NOT NULL AUTO_INCREMENT, n INT, PRIMARY KEY (id))";

const TIED: [&str; 7] = ["region", "customer", "a`order", "line", "staff", "one", "two"];

fn fill(source: &Server, customers: u64) {
    source.exec(&format!("SET SESSION sql_mode = ''; {SCHEMA}"));
    let mut connection = source.root();
    let mut insert = |table: &str, count: u64, row: &dyn Fn(u64) -> String| {
        for start in (1..=count).step_by(500) {
            let rows: Vec<String> = (start..=count.min(start + 499)).map(row).collect();
            connection.query_drop(format!("INSERT INTO fam.{table} VALUES {}", rows.join(","))).unwrap();
        }
    };
    insert("region", 40, &|n| format!("({n},'c{n}','region {n}')"));
    insert("customer", customers, &|n| format!("({n},{},'customer {n}','2020-01-01')", n % 40 + 1));
    insert("`a``order`", customers * 3, &|n| {
        format!("({n},{},'C{}',REPEAT(x'005C27FF',60))", n % customers + 1, n % 39 + 1)
    });
    insert("line", customers * 4, &|n| format!("({},'what {}')", n % (customers * 3) + 1, n % 3));
    insert("staff", 1000, &|n| {
        format!("({n},{})", if n < 10 { "NULL".into() } else { (n / 10).to_string() })
    });
    insert("one", 300, &|n| format!("({n},NULL)"));
    insert("two", 300, &|n| format!("({n},{n})"));
    insert("audit", 500, &|n| format!("({n},{},'x')", n * 2));
    insert("plain", 5000, &|n| format!("({n},{n})"));
    connection.query_drop("UPDATE fam.one SET two = id % 300 + 1").unwrap();
}

/// Changes of parents, of children, and of both in one transaction. Some are refused by a key.
fn step(connection: &mut mysql::Conn, dice: &mut Dice, customers: u64) {
    let (c, r, s) = (dice.roll(customers) + 1, dice.roll(60) + 1, dice.roll(1000) + 1);
    let sql = match dice.roll(17) {
        0 => format!("DELETE FROM fam.customer WHERE id = {c}"),
        1 => format!("DELETE FROM fam.customer WHERE id BETWEEN {c} AND {c} + 3"),
        2 => format!("INSERT IGNORE INTO fam.customer (id, region, name) VALUES ({c},{r},'new {c}'),(NULL,NULL,NULL)"),
        3 => format!("UPDATE fam.customer SET id = id + {customers} WHERE id = {c}"),
        4 => format!("INSERT INTO fam.`a``order` (customer, code, pad) VALUES ({c},'c{r}','x')"),
        5 => format!("INSERT INTO fam.line SELECT id, 'new' FROM fam.`a``order` WHERE customer = {c}"),
        6 => format!("UPDATE fam.region SET code = 'x{r}', name = 'y' WHERE id = {r}"),
        7 => format!("UPDATE fam.region SET code = UPPER(code) WHERE id = {r}"),
        8 => format!("UPDATE fam.region SET id = id + 20, code = 'c{r}' WHERE id = {r}"),
        9 => format!("DELETE FROM fam.region WHERE id = {r}"),
        10 => format!("INSERT INTO fam.region VALUES ({r},'c{r}','again')"),
        11 => format!("DELETE FROM fam.staff WHERE id IN ({s},{s}*10,{s}*10+1,{s} DIV 10)"),
        12 => format!("INSERT IGNORE INTO fam.staff VALUES ({s},NULLIF({s} DIV 10,0))"),
        13 => format!("DELETE FROM fam.one WHERE id = {0} % 300; INSERT INTO fam.one VALUES ({0} % 300,NULL)", s),
        14 => format!("DELETE FROM fam.two WHERE id = {0} % 300; INSERT INTO fam.two VALUES ({0} % 300,{r})", s),
        15 => format!(
            "BEGIN; INSERT IGNORE INTO fam.customer (id, region, name) VALUES ({c},{r},NULL); INSERT INTO fam.`a``order` (customer, code) VALUES ({c},NULL);
             UPDATE fam.customer SET id = {c} + 100000 WHERE id = {c}; DELETE FROM fam.customer WHERE id = {c} + 100000; INSERT INTO fam.audit (customer,
             what) SELECT MAX(id), 'z' FROM fam.customer; COMMIT"
        ),
        // Nothing cascades here; the orphans stay.
        _ => format!(
            "SET foreign_key_checks = 0; DELETE FROM fam.`a``order` WHERE id = {c}; DELETE FROM fam.staff WHERE id = {s}; UPDATE fam.plain SET n = {c} WHERE
             id = {s}; SET foreign_key_checks = 1"
        ),
    };
    // A statement may be refused in the middle of others.
    for statement in sql.split(';') {
        let _ = connection.query_drop(statement);
    }
    let _ = connection.query_drop("SET foreign_key_checks = 1; COMMIT");
}

fn migration(pair: &Pair) -> Migration {
    let mut options = pair.options("fam", &["fam"]);
    options.load.chunk_bytes = 64 << 10;
    Migration::new(options)
}

fn consistency(report: &RunReport) -> Vec<(&str, &'static str)> {
    report.tables.iter().map(|table| (table.source.table.as_str(), table.consistency)).collect()
}

fn assert_consistency(report: &RunReport, generation: Generation) {
    let seen = consistency(report);
    for (table, how) in &seen {
        let is_exact = match generation {
            Generation::Old => TIED.contains(table),
            // The log holds what the keys changed: only the table without a key needs a snapshot.
            Generation::New => *table == "line",
        };
        let expected: &[&str] = if is_exact { &["table lock", "optimistic"] } else { &["lock-free"] };
        assert!(expected.contains(how), "{table}: {how} of {seen:?}");
    }
    assert_eq!(seen.len(), TIED.len() + 2);
}

fn cascades_while_written(generation: Generation) {
    let pair = Pair::start(generation);
    let customers = 2_000;
    fill(&pair.source, customers);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, customers));
    let migration = migration(&pair);
    let report = run(&migration, Until::Synced);
    assert_consistency(&report, generation);
    writer.wait_for(300);
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "fam");
}

#[test]
fn cascades_while_written_old_to_new() {
    cascades_while_written(Generation::Old);
}

#[test]
fn cascades_while_written_new_to_new() {
    cascades_while_written(Generation::New);
}

/// Ended in the middle again and again: the tied tables start anew together, and only as long as they are not all copied.
fn interrupted(generation: Generation) {
    let pair = Pair::start(generation);
    let customers = 3_000;
    fill(&pair.source, customers);
    let seed = seed();
    let mut dice = Dice(seed);
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, customers));
    let migration = migration(&pair);
    let mut patience = Dice(seed ^ 77);
    for round in 0..8 {
        let (stop, progress) = (StopToken::new(), Progress::new());
        let outcome = std::thread::scope(|scope| {
            let run = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
            if round < 5 {
                // In the middle of the copy, as long as there is one.
                while progress.snapshot().rows_done == 0 && !run.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(patience.roll(60)));
            } else {
                std::thread::sleep(Duration::from_millis(patience.roll(900)));
            }
            stop.stop();
            run.join().unwrap()
        });
        assert!(outcome.as_ref().is_err_and(|error| error.is_interrupted()), "{outcome:?}");
    }
    writer.finish();
    let report = run(&migration, Until::Synced);
    assert_consistency(&report, generation);
    eprintln!("chunks copied again: {}", report.tables.iter().map(|t| t.chunks_copied_again).sum::<u64>());
    dump::assert_equal(&pair.source, &pair.target, "fam");
}

#[test]
fn cascades_interrupted_old_to_new() {
    interrupted(Generation::Old);
}

#[test]
fn cascades_interrupted_new_to_new() {
    interrupted(Generation::New);
}
