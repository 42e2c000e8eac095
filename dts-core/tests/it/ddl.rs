//! Schema changes: during the copy and while catching up, exactly once through crashes, in filtered and renamed tasks, of everything
//! that a database holds, and what stops a task.
use std::time::Duration;

use dts_core::error::{Code, Error};
use dts_core::full_loader::RateLimit;
use dts_core::migration::{Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::dump;
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, Writer, run, seed};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

fn fails(migration: &Migration) -> Error {
    migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err()
}

fn definitions(server: &dts_testbed::Server, database: &str) -> Vec<String> {
    server
        .query::<(String, String, String, String)>(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME, REPLACE(IFNULL(COLLATION_NAME, '-'), 'utf8mb3', 'utf8'), \
             CONCAT(IS_NULLABLE, IF(EXTRA LIKE '%auto_inc%', ' auto', ''), ' ', IFNULL(COLUMN_DEFAULT, 'NULL')) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{database}' ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ))
        .into_iter()
        .map(|(table, column, collation, rest)| format!("{table}.{column} {collation} {rest}"))
        .chain(
            server
                .query::<(String, String, u8, String)>(&format!(
                    "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, GROUP_CONCAT(COLUMN_NAME ORDER BY SEQ_IN_INDEX) FROM \
                     information_schema.STATISTICS WHERE TABLE_SCHEMA = '{database}' GROUP BY 1, 2, 3 ORDER BY 1, 2"
                ))
                .into_iter()
                .map(|(table, index, unique, columns)| format!("{table} index {index} {unique} {columns}")),
        )
        .collect()
}

/// Rows, columns, collations and indexes are the same.
fn assert_same(pair: &Pair, database: &str) {
    dump::assert_equal(&pair.source, &pair.target, database);
    assert_eq!(definitions(&pair.target, database), definitions(&pair.source, database));
}

/// Fills `d.a`, `d.b` … with rows, so that their copy takes a while.
fn fill(pair: &Pair, tables: &[&str], rows: u32) {
    pair.source.exec("CREATE DATABASE d; CREATE TABLE d.n (i INT PRIMARY KEY)");
    pair.source.exec("INSERT INTO d.n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)");
    for table in tables {
        pair.source.exec(&format!(
            "CREATE TABLE d.{table} (id INT NOT NULL AUTO_INCREMENT, x INT NOT NULL, y INT, s VARCHAR(40), PRIMARY KEY (id), KEY y (y)); \
             INSERT INTO d.{table} (x, y, s) SELECT p.i, q.i, REPEAT('r', 30) FROM d.n p, d.n q, d.n r, d.n s, d.n t LIMIT {rows}"
        ));
    }
}

/// One schema change of an application, or rows in between.
fn restless_step(connection: &mut mysql::Conn, dice: &mut Dice, step: u64) {
    let table = ["a", "b", "c"][usize::try_from(dice.roll(3)).unwrap()];
    let id = dice.roll(6000);
    let sql = match step % 25 {
        10 => match dice.roll(12) {
            0 => format!("ALTER TABLE d.{table} ADD COLUMN z{step} INT NOT NULL DEFAULT 7 AFTER id"),
            1 => format!("ALTER TABLE d.{table} ADD COLUMN f{step} VARCHAR(10) DEFAULT 'f' FIRST"),
            2 => format!("ALTER TABLE d.{table} MODIFY s VARCHAR({})", 50 + step % 100),
            3 => format!("ALTER TABLE d.{table} MODIFY x INT NOT NULL AFTER s"),
            4 => format!("ALTER TABLE d.{table} MODIFY x INT NOT NULL AFTER id"),
            5 => format!("ALTER TABLE d.{table} MODIFY x BIGINT NOT NULL"),
            6 => format!(
                "CREATE TABLE d.new{step} (id INT PRIMARY KEY, v VARCHAR(9) NOT NULL); INSERT INTO d.new{step} VALUES (1, 'one'), \
                          (2, 'two'); UPDATE d.new{step} SET v = 'zwei' WHERE id = 2"
            ),
            7 => format!(
                "CREATE TABLE d.short{step} LIKE d.{table}; INSERT INTO d.short{step} (x) VALUES (1), (2); DROP TABLE d.short{step}"
            ),
            8 => format!("TRUNCATE TABLE d.{table}; INSERT INTO d.{table} (x, y) VALUES (1, 1), (2, 2)"),
            // gh-ost
            9 => format!(
                "CREATE TABLE d._{table}_gho LIKE d.{table}; ALTER TABLE d._{table}_gho ADD COLUMN g{step} INT; INSERT INTO \
                          d._{table}_gho (id, x, y) SELECT id, x, y FROM d.{table}; RENAME TABLE d.{table} TO d._{table}_del, d._{table}_gho TO \
                          d.{table}; DROP TABLE d._{table}_del"
            ),
            // pt-online-schema-change, without its triggers
            10 => format!(
                "CREATE TABLE d._{table}_new LIKE d.{table}; ALTER TABLE d._{table}_new MODIFY y BIGINT; INSERT LOW_PRIORITY IGNORE \
                           INTO d._{table}_new SELECT * FROM d.{table}; RENAME TABLE d.{table} TO d._{table}_old, d._{table}_new TO d.{table}; \
                           DROP TABLE IF EXISTS d._{table}_old"
            ),
            _ => format!("ALTER TABLE d.{table} ADD INDEX i{step} (y, x)"),
        },
        _ => match dice.roll(4) {
            0 => format!("INSERT INTO d.{table} (x, y, s) VALUES ({step}, {id}, 'new')"),
            1 => format!("UPDATE d.{table} SET y = {id}, s = 'up' WHERE id = {id}"),
            2 => format!("DELETE FROM d.{table} WHERE id = {id}"),
            _ => format!("UPDATE d.{table} SET x = {step} WHERE y = {}", id % 10),
        },
    };
    connection.query_iter(sql).unwrap().for_each(drop);
    std::thread::sleep(Duration::from_millis(3));
}

fn schema_changes_all_the_time(generation: Generation) {
    let pair = Pair::start(generation);
    fill(&pair, &["a", "b", "c"], 20_000);
    // A column in the middle must be able to vanish, too.
    let mut dice = Dice(seed());
    let writer =
        Writer::start(&pair.source, move |connection, step| restless_step(connection, &mut dice, step));
    let mut options = pair.options("ddl", &["d"]);
    options.load.chunk_bytes = 200_000;
    options.load.threads = 2;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    writer.wait_for(200);
    writer.finish();
    run(&migration, Until::Synced);
    assert_same(&pair, "d");
}

#[test]
fn ddl_all_the_time_old_to_new() {
    schema_changes_all_the_time(Generation::Old);
}

#[test]
fn ddl_all_the_time_new_to_new() {
    schema_changes_all_the_time(Generation::New);
}

/// Only the tables whose definition changes while rows are copied are copied again.
#[test]
fn ddl_during_the_copy_restarts_that_table_only() {
    for generation in BOTH {
        let pair = Pair::start(generation);
        fill(&pair, &["a", "b", "c", "e", "gone"], 4_000);
        pair.source.exec(
            "CREATE TABLE d.keyless (x INT, y INT); INSERT INTO d.keyless VALUES (1, 2), (1, 2), (3, 4)",
        );
        let mut options = pair.options("ddl", &["d"]);
        options.load.chunk_bytes = 10_000;
        options.load.rate_limit = RateLimit::new(8_000);
        let migration = Migration::new(options);
        std::thread::scope(|scope| {
            let copy = scope.spawn(|| run(&migration, Until::Synced));
            let chunks = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '__dts__' AND TABLE_NAME = 'chunk'";
            while pair.target.query_one::<u32>(chunks) == 0
                || pair.target.query_one::<u32>("SELECT COUNT(*) FROM __dts__.chunk") < 5
            {
                assert!(!copy.is_finished(), "the copy was too fast");
                std::thread::sleep(Duration::from_millis(5));
            }
            pair.source.exec(
                "USE d; UPDATE a SET y = y + 1, s = 'old' WHERE id < 100; DELETE FROM b WHERE id = 5; UPDATE c SET y = 1 WHERE id = 7; \
                 ALTER TABLE a DROP COLUMN x; UPDATE a SET y = y + 1 WHERE id < 50; RENAME TABLE gone TO elsewhere; INSERT INTO elsewhere \
                 (x) VALUES (1); UPDATE e SET y = 4 WHERE id < 9; TRUNCATE TABLE e; INSERT INTO e (x) VALUES (1), (2); INSERT INTO keyless \
                 VALUES (5, 6); CREATE TABLE later (id INT PRIMARY KEY); INSERT INTO later VALUES (1); ALTER TABLE later ADD v INT DEFAULT 4",
            );
            copy.join().unwrap();
        });
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
        let again: Vec<String> =
            pair.target.query("SELECT source_table FROM __dts__.table_copy WHERE restarts > 0 ORDER BY 1");
        assert_eq!(again, ["a", "elsewhere"], "{generation:?}");
    }
}

/// The source's definition was changed between P0 and the moment in which it was read, and again while rows were read.
#[test]
fn ddl_between_the_start_position_and_the_definition() {
    for generation in BOTH {
        let pair = Pair::start(generation);
        fill(&pair, &["a", "b", "c", "gone"], 1_000);
        pair.source.exec(
            "CREATE TABLE d.keyless (x INT, y INT); INSERT INTO d.keyless VALUES (1, 2), (1, 2), (3, 4)",
        );
        let migration = pair.migration("ddl", &["d"]);
        // The ledger is made, P0 taken, and then the run ends before the structure: so says a table that is in the way.
        pair.target.exec("CREATE DATABASE d; CREATE TABLE d.a (i INT PRIMARY KEY)");
        assert_eq!(fails(&migration).code(), Code(1005));
        pair.target.exec("DROP TABLE d.a");
        pair.source.exec(
            "USE d; UPDATE a SET y = 5 WHERE id < 9; ALTER TABLE a MODIFY x INT NOT NULL AFTER s; UPDATE a SET x = 50, s = 'fifty' WHERE id < 9; \
             INSERT INTO b (x, y, s) VALUES (77, 78, 'b'); ALTER TABLE b DROP COLUMN x, ADD COLUMN w BIGINT NOT NULL DEFAULT 3 AFTER id; \
             UPDATE b SET w = 9 WHERE id = 9; INSERT INTO gone (x) VALUES (5); RENAME TABLE gone TO moved; UPDATE moved SET x = 6 WHERE \
             id = 3; UPDATE c SET y = 1; DROP TABLE c; CREATE TABLE c (id VARCHAR(20) PRIMARY KEY, t TEXT); INSERT INTO c VALUES ('c', 'new'); \
             INSERT INTO keyless VALUES (5, 6); ALTER TABLE keyless ADD COLUMN z INT FIRST; INSERT INTO keyless VALUES (7, 8, 9); \
             CREATE TABLE brief (id INT PRIMARY KEY); INSERT INTO brief VALUES (1); ALTER TABLE brief ADD x INT; DROP TABLE brief",
        );
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
    }
}
