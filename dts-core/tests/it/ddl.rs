//! Schema changes: during the copy and while catching up, exactly once through crashes, in filtered and renamed tasks, of everything
//! that a database holds, and what stops a task.
use std::time::Duration;

use dts_core::data::Gtid;
use dts_core::error::{Code, Error, Side};
use dts_core::full_loader::RateLimit;
use dts_core::migration::{Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::wire::{Address, Connection, ConnectionOptions, Secret, TlsMode};
use dts_testbed::{Proxy, Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, StopAtEnd, Writer, connection, run, seed};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

fn fails(migration: &Migration) -> Error {
    migration.run(Until::Synced, &StopToken::new(), &Progress::new()).map(drop).unwrap_err()
}

/// A pair in sync, with these statements run before.
fn in_sync(generation: Generation, sql: &str) -> (Pair, Migration) {
    let pair = Pair::start(generation);
    pair.source.exec(sql);
    let migration = pair.migration("ddl", &["d"]);
    run(&migration, Until::Synced);
    (pair, migration)
}

fn definitions(server: &Server, database: &str) -> Vec<String> {
    let mut all: Vec<String> = server
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
        .collect();
    // By table, which the versions sort otherwise; columns stay in their order.
    all.sort_by_key(|line| line.split(['.', ' ']).next().map(str::to_owned));
    all
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
    fill(&pair, &["a", "b", "c"], 6_000);
    let mut dice = Dice(seed());
    let writer =
        Writer::start(&pair.source, move |connection, step| restless_step(connection, &mut dice, step));
    let mut options = pair.options("ddl", &["d"]);
    options.load.chunk_bytes = 60_000;
    options.load.threads = 2;
    options.load.rate_limit = RateLimit::new(20_000);
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

/// A pair in sync whose target is reached through a proxy.
fn behind_a_proxy(sql: &str) -> (Pair, Proxy, MigrationOptions) {
    let pair = Pair::start(Generation::New);
    pair.source.exec(sql);
    let proxy = Proxy::start(pair.target.addr());
    let mut options = pair.options("ddl", &["d"]);
    let address = Address::Tcp { host: "127.0.0.1".into(), port: proxy.port() };
    let mut connection = ConnectionOptions::new(address, "root", Secret::new(""));
    connection.tls.mode = TlsMode::Disabled;
    options.target = TargetOptions::new(connection);
    run(&Migration::new(options.clone()), Until::Synced);
    (pair, proxy, options)
}

/// Whether these bytes run a statement, rather than write about it in the ledger.
fn runs(bytes: &[u8], statement: &str) -> bool {
    let has = |wanted: &str| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes());
    has(statement) && !has("__dts__") && !has("SHOW CREATE")
}

/// tiflow#12514: a schema change whose outcome is not known is run once, neither twice nor not at all. The connection breaks after
/// the statement was run and before its answer comes, before it arrives, and after it was run when dts ends, too.
#[test]
fn ddl_of_unknown_outcome_is_run_once() {
    let (pair, proxy, options) = behind_a_proxy(
        "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT); INSERT INTO t VALUES (1, 1, 1), (2, 2, 2); \
         CREATE TABLE one LIKE t; CREATE TABLE two LIKE t; INSERT INTO one VALUES (1, 1, 1); INSERT INTO two VALUES (2, 2, 2)",
    );
    pair.target.exec("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON");
    for round in [0, 2, 1] {
        let cases = [
            (
                format!("ALTER TABLE t ADD COLUMN k{round} INT NOT NULL DEFAULT 3 AFTER id"),
                format!("ADD COLUMN k{round}"),
            ),
            (format!("ALTER TABLE t DROP COLUMN k{round}"), format!("DROP COLUMN k{round}")),
            (format!("ALTER TABLE t ADD INDEX i{round} (a)"), format!("ADD INDEX i{round}")),
            (format!("CREATE INDEX j{round} ON t (b)"), format!("CREATE INDEX j{round}")),
            (format!("DROP INDEX j{round} ON t"), format!("DROP INDEX j{round}")),
            (format!("CREATE TABLE c{round} (id INT PRIMARY KEY)"), format!("CREATE TABLE c{round}")),
            (format!("CREATE TABLE IF NOT EXISTS l{round} LIKE t"), format!("EXISTS l{round} LIKE")),
            (format!("RENAME TABLE c{round} TO r{round}"), format!("RENAME TABLE c{round}")),
            (format!("DROP TABLE r{round}"), format!("DROP TABLE `d`.`r{round}`")),
            // Two tables that look alike change places.
            (
                format!("RENAME TABLE one TO x{round}, two TO one, x{round} TO two"),
                format!("one TO x{round}"),
            ),
            (format!("TRUNCATE TABLE /* {round} */ one"), format!("TRUNCATE TABLE /* {round}")),
            (format!("CREATE VIEW v{round} AS SELECT id FROM t"), format!("VIEW `v{round}`")),
            (format!("CREATE TABLE s{round} AS SELECT * FROM t"), format!("CREATE TABLE `s{round}`")),
        ];
        // Before it arrives nothing has happened yet, whatever it is.
        let count = if round == 1 { 4 } else { cases.len() };
        for (statement, marker) in cases.into_iter().take(count) {
            pair.source.exec(&format!(
                "USE d; UPDATE t SET a = a + 1; {statement}; UPDATE t SET b = b + 1; INSERT INTO one (id) SELECT IFNULL(MAX(id), 0) + 1 FROM one"
            ));
            let stop = StopToken::new();
            let hook = {
                let (marker, stop) = (marker.clone(), stop.clone());
                move |bytes: &[u8]| {
                    let found = runs(bytes, &marker);
                    if found && round == 2 {
                        stop.stop();
                    }
                    found
                }
            };
            if round == 1 {
                proxy.cut_before(hook);
            } else {
                proxy.cut_when(hook);
            }
            let migration = Migration::new(options.clone());
            let outcome = migration.run(Until::Synced, &stop, &Progress::new());
            assert!(proxy.has_triggered(), "{statement}: was not seen");
            assert_eq!(outcome.is_err(), round == 2, "{statement}: {outcome:?}");
            if round == 2 {
                run(&migration, Until::Synced);
            }
            assert_same(&pair, "d");
            // A statement that leaves the same may be run again.
            let times: u32 = pair.target.query_one(&format!(
                "SELECT COUNT(*) FROM mysql.general_log WHERE argument LIKE '%{marker}%' AND argument NOT LIKE '%\\_\\_dts\\_\\_%' AND \
                 argument NOT LIKE 'SELECT%'"
            ));
            let again =
                u32::from(round != 1 && (statement.starts_with("TRUNCATE") || statement.contains("VIEW")));
            assert_eq!(times, 1 + again, "{statement} in round {round}");
        }
    }
}

fn shown(server: &Server, what: &str, column: usize) -> String {
    let row: mysql::Row = server.query_one(&format!("SHOW CREATE {what}"));
    row.get(column).unwrap()
}

/// Views, procedures, functions and databases are created, changed and dropped; triggers and events wait for the completion.
#[test]
fn ddl_of_everything_besides_tables() {
    for generation in BOTH {
        let (pair, migration) = in_sync(
            generation,
            "CREATE DATABASE d DEFAULT CHARACTER SET latin1; USE d; CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20)); CREATE VIEW old AS \
             SELECT id FROM t; CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f() RETURNS INT DETERMINISTIC NO SQL RETURN 1; CREATE VIEW \
             vanishing AS SELECT 1 AS one",
        );
        pair.source.exec(
            "USE d; ALTER TABLE t ADD COLUMN b INT; CREATE VIEW v AS SELECT id, b FROM t WHERE a = 'x'; ALTER VIEW old AS SELECT id, a FROM t; \
             DROP VIEW vanishing; CREATE OR REPLACE VIEW v AS SELECT b FROM t; RENAME TABLE old TO young; DROP PROCEDURE p; CREATE PROCEDURE p(IN \
             x INT) COMMENT 'new' INSERT INTO t (id) VALUES (x); ALTER FUNCTION f COMMENT 'old one'; CREATE FUNCTION g(x INT) RETURNS INT \
             DETERMINISTIC RETURN x + 1; DROP FUNCTION IF EXISTS nothing; CALL p(7); CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET \
             NEW.a = CONCAT(NEW.a, '!'); INSERT INTO t VALUES (8, 'eight', 8); CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO DELETE FROM t; \
             ALTER DATABASE d DEFAULT CHARACTER SET utf8mb4; CREATE TABLE plain (s VARCHAR(9)); ALTER TABLE t ADD COLUMN c TEXT",
        );
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
        let names = |server: &Server| {
            server.query::<String>(
                "SELECT CONCAT('view ', TABLE_NAME) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'd' UNION ALL SELECT CONCAT(ROUTINE_TYPE, \
                 ' ', ROUTINE_NAME, ' ', ROUTINE_COMMENT) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd' ORDER BY 1",
            )
        };
        assert_eq!(names(&pair.target), names(&pair.source), "{generation:?}");
        assert_eq!(pair.target.query_one::<i32>("SELECT d.g(41)"), 42);
        let held: u32 = pair.target.query_one(
            "SELECT (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'd') + (SELECT COUNT(*) FROM \
             information_schema.EVENTS WHERE EVENT_SCHEMA = 'd')",
        );
        assert_eq!(held, 0, "triggers and events wait");
        let recorded: u32 =
            pair.target.query_one("SELECT COUNT(*) FROM __dts__.ddl WHERE state = 'held_back'");
        assert_eq!(recorded, 2);
        // The names are the task's, so that nobody takes them for somebody else's later.
        let ours: Vec<String> =
            pair.target.query("SELECT CONCAT(kind, ' ', object_name) FROM __dts__.object ORDER BY 1");
        assert_eq!(ours, ["function f", "function g", "procedure p", "view v", "view young"]);

        pair.source.exec("CREATE TABLE d.last (id INT PRIMARY KEY); DROP DATABASE d");
        pair.target.exec("CREATE TABLE d.strange (id INT PRIMARY KEY)");
        let error = fails(&migration);
        assert_eq!(error.code(), Code(3005), "{error}");
        assert!(error.to_string().contains("d.strange"), "{error}");
        pair.target.exec("DROP TABLE d.strange");
        run(&migration, Until::Synced);
        assert!(pair.target.query::<String>("SHOW DATABASES LIKE 'd'").is_empty());
        pair.source.exec("CREATE DATABASE d CHARACTER SET utf8; CREATE TABLE d.t (id INT PRIMARY KEY, a TEXT); INSERT INTO d.t VALUES (1, 'again')");
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
        let charset = "SELECT REPLACE(DEFAULT_COLLATION_NAME, 'utf8mb3', 'utf8') FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'd'";
        assert_eq!(pair.target.query_one::<String>(charset), pair.source.query_one::<String>(charset));
    }
}

/// DM PR 3769 and what else the text of a schema change means on 5.6 and not on 9.7: default collations, engines, zero dates,
/// removed flags of `sql_mode`, implied TIMESTAMP attributes, literals of another character set, the clock.
#[test]
fn ddl_text_of_5_6_means_the_same_on_9_7() {
    let (pair, migration) = in_sync(
        Generation::Old,
        "SET GLOBAL time_zone = '+05:00'; CREATE DATABASE d DEFAULT CHARACTER SET utf8mb4; CREATE TABLE d.t (id INT PRIMARY KEY)",
    );
    let elsewhere = tempfile::tempdir().unwrap();
    pair.source.exec(&
        "USE d; INSERT INTO t VALUES (1), (2); CREATE TABLE c (a VARCHAR(20), b VARCHAR(20) CHARACTER SET utf8mb4, c CHAR(3) CHARACTER SET latin1, \
         d VARCHAR(9) CHARACTER SET utf8 COLLATE utf8_bin, e NATIONAL CHAR(4)) CHARSET=utf8mb4; CREATE TABLE m (id INT(11) UNSIGNED ZEROFILL, \
         y YEAR(4)) ENGINE=MyISAM ROW_FORMAT=FIXED DATA DIRECTORY='ELSEWHERE' CHARSET utf8; ALTER TABLE t ENGINE = MyISAM, ADD COLUMN engine VARCHAR(7); \
         SET SESSION sql_mode = 'ORACLE,NO_AUTO_CREATE_USER,NO_BACKSLASH_ESCAPES,ANSI_QUOTES'; CREATE TABLE \"q\" (\"id\" INT PRIMARY KEY, \"s\" \
         VARCHAR(9) DEFAULT 'a\\b'); SET SESSION sql_mode = ''; CREATE TABLE z (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00', ts \
         TIMESTAMP, ts2 TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00', dt DATETIME DEFAULT '0000-00-00 00:00:00'); INSERT INTO z (id) VALUES (1); \
         ALTER TABLE t ADD COLUMN d DATE NOT NULL; SET SESSION timestamp = 1500000000; ALTER TABLE t ADD COLUMN n \
         TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, ADD COLUMN l TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00'; SET SESSION timestamp = DEFAULT; \
         CREATE TABLE tz (id INT PRIMARY KEY, l TIMESTAMP NOT NULL DEFAULT '2021-01-01 00:00:00'); INSERT INTO tz (id) \
         VALUES (1); ALTER TABLE m MODIFY y YEAR; CREATE TABLE g (id INT PRIMARY KEY) DEFAULT CHARSET gbk; ALTER TABLE g CONVERT TO CHARACTER SET utf8mb4"
            .replace("ELSEWHERE", elsewhere.path().to_str().unwrap()),
    );
    // Text in latin1, and in gbk, where the second byte of a character may be a backslash.
    let mut old = Connection::open(&connection(&pair.source), Side::Source, &StopToken::new()).unwrap();
    let mut send = |sql: &[u8]| assert_eq!(old.execute(sql, "being an old client").unwrap().affected_rows, 0);
    send(b"SET NAMES latin1");
    send(b"CREATE TABLE d.l (id INT PRIMARY KEY, s VARCHAR(9) CHARACTER SET utf8 DEFAULT 'caf\xe9') COMMENT 'h\xf4tel'");
    send(b"SET NAMES gbk");
    send(b"ALTER TABLE d.l ADD COLUMN k VARCHAR(9) CHARACTER SET utf8mb4 DEFAULT '\x81\x5c'");
    run(&migration, Until::Synced);
    assert_same(&pair, "d");
    let engines: Vec<String> =
        pair.target.query("SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'");
    assert_eq!(engines, ["InnoDB"]);
    let comment = "SELECT HEX(TABLE_COMMENT) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' AND TABLE_NAME = 'l'";
    assert_eq!(pair.target.query_one::<String>(comment), pair.source.query_one::<String>(comment));
    assert!(
        shown(&pair.target, "TABLE d.z", 1)
            .contains("`ts` timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP")
    );
}

/// Field bugs 31 and 54: a CREATE TABLE … SELECT is one transaction whose first part is a statement.
#[test]
fn ddl_create_table_select() {
    let (pair, migration) = in_sync(
        Generation::New,
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a VARCHAR(9)); INSERT INTO d.t VALUES (1, 'a'), (2, 'b')",
    );
    pair.source.exec(
        "USE d; INSERT INTO t VALUES (3, 'c'); CREATE TABLE s AS SELECT * FROM t; INSERT INTO s VALUES (9, 'z'); CREATE TABLE k (PRIMARY KEY (id)) \
         SELECT id, a AS other FROM t WHERE id > 1; SET SESSION binlog_transaction_compression = ON; CREATE TABLE z SELECT * FROM s; SET SESSION \
         binlog_transaction_compression = OFF; CREATE TABLE e AS SELECT * FROM t WHERE 1 = 0; UPDATE k SET other = 'x'",
    );
    run(&migration, Until::Synced);
    assert_same(&pair, "d");
}

/// A filtered and renamed task: tables that come into the selection are copied, those that leave it are dropped, and of a statement
/// about several tables only what is selected is carried.
#[test]
fn ddl_of_filtered_and_renamed_tasks() {
    for generation in BOTH {
        let pair = Pair::start(generation);
        pair.source.exec(
            "CREATE DATABASE d; CREATE DATABASE other; USE d; CREATE TABLE t (id INT PRIMARY KEY, a INT); CREATE TABLE u (id INT PRIMARY KEY, a INT, \
             KEY a (a)); CREATE TABLE not_me (id INT PRIMARY KEY); CREATE TABLE w (id INT PRIMARY KEY); CREATE TABLE other.o (id INT PRIMARY KEY); \
             INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO u VALUES (1, 1), (2, 2)",
        );
        let selection = ObjectSelection::new(&["d"], &[], &["d.not_*", "d._*"]).unwrap();
        let route = Route::new([("d", "n"), ("d.t", "n.tt")]).unwrap();
        let migration = Migration::new(pair.options_with("ddl", Transform::new(selection, route).unwrap()));
        run(&migration, Until::Synced);
        let assert_tables = |pairs: &[(&str, &str)]| {
            for (source, target) in pairs {
                dump::assert_table_equal((&pair.source, "d", source), (&pair.target, "n", target));
            }
            let tables = dump::tables(&pair.target, "n");
            assert_eq!(
                tables,
                pairs.iter().map(|(_, target)| (*target).to_owned()).collect::<Vec<_>>(),
                "{generation:?}"
            );
        };
        // What is about others is left out; what is about some of both is divided.
        pair.source.exec(
            "USE d; ALTER TABLE t ADD COLUMN b INT DEFAULT 5 FIRST; UPDATE t SET b = 6 WHERE id = 1; ALTER TABLE not_me ADD x INT; DROP TABLE w, not_me; \
             CREATE TABLE not_2 (id INT PRIMARY KEY, v INT); INSERT INTO not_2 VALUES (1, 1); CREATE TABLE other.p LIKE t; RENAME TABLE u TO u2; \
             INSERT INTO u2 VALUES (3, 3); DROP TABLE other.o; CREATE TABLE l LIKE not_2; INSERT INTO l VALUES (1, 2)",
        );
        run(&migration, Until::Synced);
        assert_tables(&[("l", "l"), ("t", "tt"), ("u2", "u2")]);
        // Out of the selection, changed there, and back.
        pair.source.exec(
            "USE d; RENAME TABLE u2 TO not_u, l TO l2; UPDATE not_u SET a = 9 WHERE id = 1; ALTER TABLE not_u ADD COLUMN c INT DEFAULT 8; INSERT INTO l2 \
             VALUES (2, 2)",
        );
        run(&migration, Until::Synced);
        assert_tables(&[("l2", "l2"), ("t", "tt")]);
        pair.source.exec("USE d; UPDATE not_u SET a = 10 WHERE id = 2; RENAME TABLE not_u TO u; INSERT INTO u VALUES (7, 7, 7); UPDATE t SET a = 0");
        run(&migration, Until::Synced);
        assert_tables(&[("l2", "l2"), ("t", "tt"), ("u", "u")]);
        assert!(pair.target.query_one::<u32>("SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'n' AND INDEX_NAME = 'a'") == 1);
        // gh-ost in a task that selects the table and not its ghosts: what was swapped in is copied.
        pair.source.exec(
            "USE d; CREATE TABLE _t_gho LIKE t; ALTER TABLE _t_gho ADD COLUMN g INT NOT NULL DEFAULT 4 AFTER id; INSERT INTO _t_gho (id, a, b) SELECT id, a, \
             b FROM t; UPDATE t SET a = 33 WHERE id = 2; REPLACE INTO _t_gho (id, a, b) SELECT id, a, b FROM t; RENAME TABLE t TO _t_del, _t_gho TO t; \
             INSERT INTO t VALUES (50, 50, 50, 50); DROP TABLE _t_del; UPDATE u SET a = 11",
        );
        run(&migration, Until::Synced);
        assert_tables(&[("l2", "l2"), ("t", "tt"), ("u", "u")]);
        pair.source.exec("DROP DATABASE d; CREATE DATABASE d; CREATE TABLE d.t (x INT PRIMARY KEY); INSERT INTO d.t VALUES (5)");
        run(&migration, Until::Synced);
        assert_tables(&[("t", "tt")]);
    }
}

/// A table that should have been copied anew was gone when its turn came; its name comes back while what was known of its
/// indexes is still there (ghost tables).
#[test]
fn ddl_of_a_name_that_was_gone_when_it_was_to_be_copied() {
    let (pair, migration) = in_sync(
        Generation::New,
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, KEY a (a)); CREATE TABLE d.x LIKE d.t",
    );
    // What is left when a table is dropped after a run has missed it, and before the log has told so.
    pair.source.exec("DROP TABLE d.x");
    let missed: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    pair.target.exec(&format!(
        "DROP TABLE d.x; UPDATE __dts__.table_copy SET state = 'restart', snapshot_position = '{missed}' WHERE source_table = 'x'"
    ));
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        let run = scope.spawn(|| {
            let ended = migration.run(Until::Stopped, &stop, &progress).unwrap_err();
            assert!(ended.is_interrupted(), "{ended}");
        });
        let until = |what: &str, holds: &dyn Fn() -> bool| {
            while !holds() {
                assert!(!run.is_finished(), "the run ended before: {what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until("in sync", &|| progress.snapshot().in_sync);
        pair.source.exec("CREATE TABLE d.x LIKE d.t; INSERT INTO d.x VALUES (1, 1)");
        let there =
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' AND TABLE_NAME = 'x'";
        until("the new table arrives", &|| pair.target.query_one::<u64>(there) == 1);
        stop.stop();
        run.join().unwrap();
    });
    run(&migration, Until::Synced);
    assert_same(&pair, "d");
}

/// What cannot be carried stops the task with statement and position, and an operator who has seen to it can go on after it.
#[test]
fn ddl_that_stops_and_is_skipped() {
    let (pair, migration) = in_sync(
        Generation::Old,
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, s VARCHAR(20)); INSERT INTO d.t VALUES (1, 1, 'short'), (2, 2, 'very long text')",
    );
    let skipping = |error: &Error| {
        let mut options = pair.options("ddl", &["d"]);
        options.apply.skip_ddl = vec![error.position().unwrap().parse::<Gtid>().unwrap()];
        assert!(error.hint().contains("--skip-ddl"), "{}", error.hint());
        Migration::new(options)
    };
    // The target has what the source has not (gh-ost#1633): a UNIQUE index cannot be built.
    pair.target.exec("INSERT INTO d.t VALUES (3, 1, 'extra')");
    pair.source.exec("USE d; INSERT INTO t VALUES (4, 4, 'before'); ALTER TABLE t ADD UNIQUE KEY u (a); INSERT INTO t VALUES (5, 5, 'after')");
    for _ in 0..2 {
        let error = fails(&migration);
        assert_eq!(error.code(), Code(3005), "{error}");
        assert!(
            error.to_string().contains("ADD UNIQUE KEY u") && error.to_string().contains("1062"),
            "{error}"
        );
        assert_eq!(error.table().unwrap().to_string(), "d.t");
    }
    // What hinders it is mended, and it is tried again.
    pair.target.exec("DELETE FROM d.t WHERE id = 3");
    run(&migration, Until::Synced);
    assert_same(&pair, "d");

    // It changes values: another version may change them otherwise.
    pair.source.exec("ALTER TABLE d.t MODIFY s VARCHAR(5); INSERT INTO d.t VALUES (6, 6, 'six')");
    let mut last = fails(&migration);
    for _ in 0..2 {
        assert_eq!(last.code(), Code(3005), "{last}");
        assert!(last.to_string().contains("1265") || last.to_string().contains("changed values"), "{last}");
        assert_eq!(last.table().unwrap().to_string(), "d.t");
        last = fails(&migration);
    }
    run(&skipping(&last), Until::Synced);
    assert_same(&pair, "d");

    // What the target does not know is done by hand there, with another text.
    pair.source.exec("CREATE TABLE d.rank (rank INT PRIMARY KEY)");
    pair.source.exec("INSERT INTO d.rank VALUES (7)");
    let error = fails(&migration);
    assert_eq!(error.code(), Code(3005), "{error}");
    assert!(error.to_string().contains("CREATE TABLE d.rank") && error.position().is_some(), "{error}");
    pair.target.exec("CREATE TABLE d.`rank` (`rank` INT PRIMARY KEY)");
    run(&skipping(&error), Until::Synced);
    assert_same(&pair, "d");
    let states: Vec<String> = pair.target.query("SELECT state FROM __dts__.ddl ORDER BY begun_at, gtid");
    assert_eq!(states, ["finished", "skipped", "skipped"]);
    // It is recorded: nobody needs to say it again.
    run(&migration, Until::Synced);
}

/// tiflow#5066, #6188: what a statement does to rows depends on the clock, or on nothing that can be repeated.
#[test]
fn ddl_that_is_not_deterministic() {
    for generation in BOTH {
        let (pair, migration) = in_sync(
            generation,
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2); CREATE TABLE d.keyless (a INT, b INT); INSERT \
             INTO d.keyless VALUES (9, 1), (8, 2), (7, 3)",
        );
        pair.source.exec(
            "USE d; SET SESSION timestamp = 1500000000.25; ALTER TABLE t ADD COLUMN n DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, ADD COLUMN m TIMESTAMP(3) \
             NOT NULL DEFAULT CURRENT_TIMESTAMP(3); SET SESSION timestamp = DEFAULT; SET SESSION auto_increment_increment = 5; DELETE FROM keyless WHERE \
             a = 8; INSERT INTO keyless VALUES (6, 4); ALTER TABLE keyless ADD COLUMN id INT NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST; INSERT INTO \
             keyless (a) VALUES (5); ALTER TABLE t ADD COLUMN number INT AUTO_INCREMENT UNIQUE",
        );
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
    }
}

/// tiflow#5002, #8253, dm#565: changes right before and right after a schema change, with a stop and a new start between any two.
#[test]
fn ddl_loses_no_change_at_its_border() {
    let (pair, migration) = in_sync(
        Generation::New,
        "CREATE DATABASE d; CREATE TABLE d.log (a INT); CREATE TABLE d.t (id INT PRIMARY KEY)",
    );
    for step in 0..6 {
        pair.source.exec(&format!(
            "USE d; INSERT INTO log (a) VALUES ({step}); ALTER TABLE log ADD COLUMN c{step} INT DEFAULT {step} FIRST; INSERT INTO log (a) VALUES ({step}); \
             INSERT INTO t VALUES ({step})"
        ));
        let gtids: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
        let applied: u32 = pair.target.query_one(&format!(
            "SELECT GTID_SUBSET('{gtids}', applied) FROM __dts__.checkpoint WHERE worker = 0"
        ));
        assert_eq!(applied, 1);
    }
}

/// The schema changes of `baselines.md` that the nearest peer got wrong, under lag: everything is in the log before any of it is read.
#[test]
fn ddl_under_lag() {
    for generation in BOTH {
        let (pair, migration) = in_sync(
            generation,
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, a INT, b INT, c VARCHAR(9), KEY b (b)); INSERT INTO d.t VALUES (1, 1, 1, 'x'), (2, 2, \
             2, 'y'), (3, 3, 3, 'z'); CREATE TABLE d.e (id INT PRIMARY KEY, v ENUM('one', 'two', 'three')); INSERT INTO d.e VALUES (1, 'one'), (2, 'two')",
        );
        pair.source.exec(
            "USE d; UPDATE t SET a = 11, b = 12 WHERE id = 1; ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 13 WHERE id = 2; ALTER TABLE t MODIFY c VARCHAR(9) \
             AFTER id; UPDATE t SET c = 'reorder', b = 4 WHERE id = 3; ALTER TABLE t ADD COLUMN n INT NOT NULL DEFAULT 5 AFTER id; INSERT INTO t VALUES (4, 6, \
             'four', 7); UPDATE e SET v = 'three' WHERE id = 1; ALTER TABLE e MODIFY v ENUM('three', 'zero', 'two', 'one'); UPDATE e SET v = 'one' WHERE id = 2; \
             CREATE TABLE l LIKE t; ALTER TABLE l ADD COLUMN extra INT FIRST, DROP COLUMN n; INSERT INTO l SELECT 1, id, c, b FROM t; CREATE TABLE _t_gho LIKE t; \
             CREATE TABLE _t_ghc (id INT AUTO_INCREMENT PRIMARY KEY, hint VARCHAR(64)); ALTER TABLE _t_gho ADD COLUMN g INT NOT NULL DEFAULT 9 AFTER id, DROP \
             COLUMN n; INSERT INTO _t_gho (id, c, b) SELECT id, c, b FROM t WHERE id < 3; UPDATE t SET b = 99 WHERE id = 3; REPLACE INTO _t_gho (id, c, b) SELECT \
             id, c, b FROM t WHERE id >= 3; INSERT INTO _t_ghc (hint) VALUES ('cut'); CREATE TABLE _t_del (id INT PRIMARY KEY) COMMENT 'ghost-cut-over-sentry'; \
             DROP TABLE _t_del; RENAME TABLE t TO _t_del, _t_gho TO t; UPDATE t SET g = g + 1; DROP TABLE _t_ghc; INSERT INTO t (id) VALUES (77)",
        );
        run(&migration, Until::Synced);
        assert_same(&pair, "d");
    }
}

/// Tables that are tied by CASCADE hold the rows of one position: when one is copied anew, all are.
#[test]
fn ddl_of_tied_tables_restarts_them_together() {
    let pair = Pair::start(Generation::Old);
    fill(&pair, &["big"], 3_000);
    pair.source.exec(
        "USE d; CREATE TABLE p (id INT PRIMARY KEY, v INT); CREATE TABLE c (id INT PRIMARY KEY, p INT, KEY p (p), CONSTRAINT cp FOREIGN KEY (p) REFERENCES p \
         (id) ON DELETE CASCADE ON UPDATE CASCADE); CREATE TABLE lone (id INT PRIMARY KEY, p INT); INSERT INTO p SELECT id, id FROM big WHERE id < 500; INSERT \
         INTO c SELECT id, id FROM big WHERE id < 500; INSERT INTO lone SELECT id, id FROM big WHERE id < 500",
    );
    let migration = pair.migration("ddl", &["d"]);
    pair.target.exec("CREATE DATABASE d; CREATE TABLE d.p (i INT PRIMARY KEY)");
    assert_eq!(fails(&migration).code(), Code(1005));
    pair.target.exec("DROP TABLE d.p");
    // Between P0 and the definitions: the parent changes, and a table without ties gets one.
    pair.source.exec(
        "USE d; DELETE FROM p WHERE id < 10; ALTER TABLE p ADD COLUMN w INT DEFAULT 1 FIRST; DELETE FROM p WHERE id BETWEEN 10 AND 20; INSERT INTO p VALUES \
         (2, 15, 15); INSERT INTO c VALUES (15, 15); ALTER TABLE lone ADD CONSTRAINT lp FOREIGN KEY (p) REFERENCES big (id) ON DELETE SET NULL; DELETE FROM \
         big WHERE id IN (30, 31)",
    );
    let writer = Writer::start(&pair.source, |connection, step| {
        let id = 21 + step % 400;
        let sql = match step % 3 {
            0 => format!("DELETE FROM d.p WHERE id = {id}"),
            1 => format!(
                "INSERT IGNORE INTO d.p VALUES (3, {0}, 7), (3, {id}, 7); REPLACE INTO d.c VALUES ({0}, {0})",
                id - 1
            ),
            _ => format!("DELETE FROM d.big WHERE id = {id}"),
        };
        connection.query_iter(sql).unwrap().for_each(drop);
    });
    run(&migration, Until::Synced);
    writer.wait_for(100);
    writer.finish();
    run(&migration, Until::Synced);
    assert_same(&pair, "d");
}
