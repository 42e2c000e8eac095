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
    // What a key changes is repeated statement by statement: the applier must be able to follow on a small machine.
    std::thread::sleep(Duration::from_millis(3));
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
    let customers = 1_000;
    fill(&pair.source, customers);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, customers));
    let migration = migration(&pair);
    let report = run(&migration, Until::Synced);
    assert_consistency(&report, generation);
    writer.wait_for(150);
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
    let customers = 1_500;
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

/// Databases of a few tables with keys of every sort between them: several to one parent, circles, to themselves.
fn random_keys(source: &Server, dice: &mut Dice, database: &str) -> u64 {
    let tables = dice.roll(3) + 2;
    let mut sql = format!("CREATE DATABASE {database}; USE {database};");
    for table in 0..tables {
        sql += &format!(
            "CREATE TABLE t{table} (id INT PRIMARY KEY, u VARCHAR(9) NOT NULL, f INT, g VARCHAR(9), at DATETIME DEFAULT '2000-01-01' ON UPDATE
             CURRENT_TIMESTAMP, UNIQUE KEY u (u), KEY f (f), KEY g (g)) DEFAULT CHARSET=utf8mb4;"
        );
    }
    let rules = ["CASCADE", "SET NULL", "RESTRICT", "CASCADE", "SET NULL"];
    let mut keys = Vec::new();
    for table in 0..tables {
        for (column, referred) in [("f", "id"), ("g", "u")] {
            if dice.roll(10) < 8 {
                let parent = if dice.roll(10) < 7 { dice.roll(table.max(1)) } else { dice.roll(tables) };
                let mut rule = || rules[usize::try_from(dice.roll(5)).unwrap()];
                keys.push(format!(
                    "ALTER TABLE t{table} ADD FOREIGN KEY ({column}) REFERENCES t{parent} ({referred}) ON DELETE {} ON UPDATE {}",
                    rule(),
                    rule()
                ));
            }
        }
    }
    eprintln!("{database}: {keys:?}");
    source.exec(&format!("{sql}{}", keys.join(";")));
    tables
}

fn random_change(dice: &mut Dice, tables: u64) -> String {
    let (table, id, n) = (dice.roll(tables), dice.roll(9), dice.roll(9));
    let number = |dice: &mut Dice| match dice.roll(11) {
        n @ 0..9 => n.to_string(),
        _ => "NULL".to_owned(),
    };
    let (f, g) = (number(dice), number(dice));
    let word = |text: &str| if text == "NULL" { text.to_owned() } else { format!("'k{text}'") };
    match dice.roll(20) {
        0..12 => format!("INSERT INTO t{table} (id, u, f, g) VALUES ({id},'k{n}',{f},{})", word(&g)),
        12..15 => format!("DELETE FROM t{table} WHERE id = {id}"),
        15 => format!("DELETE FROM t{table} WHERE id IN ({id},{n})"),
        16 => format!("UPDATE t{table} SET id = {n} WHERE id = {id}"),
        17 => format!("UPDATE t{table} SET u = 'K{n}' WHERE id = {id}"),
        18 => format!("UPDATE t{table} SET id = {n}, u = 'k{id}', f = {f} WHERE id = {id}"),
        _ => format!("UPDATE t{table} SET f = {f}, g = {} WHERE id > {id}", word(&g)),
    }
}

/// Whatever the source's keys did, the target's tables hold the same.
fn any_keys(generation: Generation) {
    let pair = Pair::start(generation);
    let mut dice = Dice(seed());
    let databases: Vec<(String, u64)> = (0..14)
        .map(|number| {
            let name = format!("keys{number}");
            let tables = random_keys(&pair.source, &mut dice, &name);
            (name, tables)
        })
        .collect();
    let names: Vec<&str> = databases.iter().map(|(name, _)| name.as_str()).collect();
    let migration = pair.migration("keys", &names);
    let mut connection = pair.source.root();
    let mut succeeded = 0;
    for part in 0..3 {
        if part == 1 {
            // What follows is applied before the copy is consistent, and then after it.
            run(&migration, Until::Loaded);
        }
        for (database, tables) in &databases {
            connection.query_drop(format!("USE {database}")).unwrap();
            for _ in 0..70 {
                let sql = random_change(&mut dice, *tables);
                succeeded += u64::from(connection.query_drop(sql).is_ok());
            }
        }
        if part > 0 {
            run(&migration, Until::Synced);
            for name in &names {
                dump::assert_equal(&pair.source, &pair.target, name);
            }
        }
    }
    eprintln!("{succeeded} changes");
    assert!(succeeded > 500);
}

/// The log of 9.6 and later holds a row twice that its own cascade deletes.
#[test]
fn circle_of_keys_new_to_new() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE ring; CREATE TABLE ring.one (id INT PRIMARY KEY, f INT, FOREIGN KEY (f) REFERENCES ring.one (id) ON DELETE CASCADE); \
         CREATE TABLE ring.a (id INT PRIMARY KEY, b INT); CREATE TABLE ring.b (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES \
         ring.a (id) ON DELETE CASCADE); ALTER TABLE ring.a ADD FOREIGN KEY (b) REFERENCES ring.b (id) ON DELETE CASCADE; \
         INSERT INTO ring.one VALUES (9, 9)",
    );
    let migration = pair.migration("ring", &["ring"]);
    run(&migration, Until::Synced);
    pair.source.exec(
        "SET foreign_key_checks = 0; INSERT INTO ring.one VALUES (0, 3), (3, 0), (5, 5), (6, 6), (7, 6), (8, NULL); \
         INSERT INTO ring.a VALUES (1, 1), (2, 2), (3, 3); INSERT INTO ring.b VALUES (1, 1), (2, 2), (3, 3); SET foreign_key_checks = 1; \
         DELETE FROM ring.one WHERE id = 3; DELETE FROM ring.one WHERE id IN (5, 6); DELETE FROM ring.a WHERE id = 1; \
         DELETE FROM ring.a WHERE id = 2 OR id = 3; REPLACE INTO ring.one VALUES (9, NULL), (9, 9), (9, 8)",
    );
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "ring");
}

#[test]
fn any_keys_old_to_new() {
    any_keys(Generation::Old);
}

#[test]
fn any_keys_new_to_new() {
    any_keys(Generation::New);
}
