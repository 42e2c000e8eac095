//! Structure survives: every kind of table, view, stored program, trigger and event, from 5.6 and from 9.7 to 9.7.
//!
//! Tables are compared by what both servers print, after [`normalised`] has taken out what legitimately differs between
//! versions; character sets and collations are compared by `information_schema`.
use std::collections::BTreeMap;

use dts_core::error::Error;
use dts_core::migration::{Migration, MigrationOptions, ObjectKinds, Until};
use dts_core::progress::Progress;
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::structure::{HeldBackReport, Structure};
use dts_core::target::ledger::Ledger;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_core::transform::{Route, Transform};
use dts_core::validator::{ItemResult, TaskType};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::check_structure;
use crate::support::{Generation, Pair, connection, run, select};

/// On which sources a case can be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Both,
    Old,
    New,
}

/// A name for the report, the tables it makes (the first one is compared), and the statements.
type Case = (&'static str, On, &'static [&'static str], &'static str);

const CASES: &[Case] = &[
    ("PK(b,a) order", On::Both, &["pk_order"], "CREATE TABLE pk_order (a INT NOT NULL, b INT NOT NULL, c INT, PRIMARY KEY (b, a))"),
    ("PK prefix on TEXT", On::Both, &["pk_prefix"], "CREATE TABLE pk_prefix (t TEXT NOT NULL, n INT, PRIMARY KEY (t(20)))"),
    (
        "partitions by range, list, hash and key",
        On::Both,
        &["p_range", "p_list", "p_hash", "p_key", "p_columns"],
        "CREATE TABLE p_range (id INT NOT NULL, d DATE NOT NULL, PRIMARY KEY (id, d), KEY d (d)) PARTITION BY RANGE (TO_DAYS(d)) \
         SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (TO_DAYS('2020-01-01')) COMMENT = 'old ''one''', \
         PARTITION p1 VALUES LESS THAN MAXVALUE);
         CREATE TABLE p_list (id INT NOT NULL) PARTITION BY LIST (id) (PARTITION a VALUES IN (1,2), PARTITION b VALUES IN (3,NULL));
         CREATE TABLE p_hash (id INT NOT NULL PRIMARY KEY) PARTITION BY LINEAR HASH (id) PARTITIONS 3;
         CREATE TABLE p_key (id INT NOT NULL PRIMARY KEY) PARTITION BY KEY () PARTITIONS 2;
         CREATE TABLE p_columns (a VARCHAR(10) NOT NULL, b INT NOT NULL) DEFAULT CHARSET latin1 PARTITION BY RANGE COLUMNS (a, b) \
         (PARTITION x VALUES LESS THAN ('m''x', 10), PARTITION y VALUES LESS THAN (MAXVALUE, MAXVALUE))",
    ),
    (
        "ROW_FORMAT",
        On::Both,
        &["f_compact", "f_redundant", "f_dynamic", "f_compressed"],
        "CREATE TABLE f_compact (id INT PRIMARY KEY) ROW_FORMAT=COMPACT; CREATE TABLE f_redundant (id INT PRIMARY KEY) \
         ROW_FORMAT=REDUNDANT; CREATE TABLE f_dynamic (id INT PRIMARY KEY) ROW_FORMAT=DYNAMIC; \
         CREATE TABLE f_compressed (id INT PRIMARY KEY) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
    ),
    ("AUTO_INCREMENT start", On::Both, &["ai_start"], "CREATE TABLE ai_start (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT=12345678901"),
    (
        "comments of table, column, index",
        On::Both,
        &["comments"],
        r#"CREATE TABLE comments (id INT PRIMARY KEY COMMENT 'a\\b ''q'' "d" ; -- # /* */ `x`', a INT COMMENT 'line\nbreak, 注释',
           KEY a (a) COMMENT 'index ''a'' \\ b') COMMENT='tab\\le ''x'' ,)('"#,
    ),
    (
        "backslashes and quotes in defaults",
        On::Both,
        &["defaults"],
        r#"CREATE TABLE defaults (id INT PRIMARY KEY, a VARCHAR(20) NOT NULL DEFAULT 'a\\b', b VARCHAR(20) DEFAULT 'it''s "x"',
           c VARCHAR(20) DEFAULT '', d VARCHAR(20) DEFAULT 'NULL', e VARBINARY(9) DEFAULT 'x\\', f CHAR(3) DEFAULT '`,)', g BIT(3) DEFAULT b'101',
           h DECIMAL(10,3) DEFAULT '-1.500', i VARCHAR(20) DEFAULT '订单\n')"#,
    ),
    (
        "zero and fractional temporal defaults",
        On::Both,
        &["temporal"],
        "CREATE TABLE temporal (id INT PRIMARY KEY, a TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
         b DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3), c TIMESTAMP NULL DEFAULT NULL, d DATE NOT NULL DEFAULT '0000-00-00', e DATETIME NOT NULL DEFAULT
         '0000-00-00 00:00:00', f TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00', g YEAR NOT NULL DEFAULT '0000', h TIME(2) DEFAULT '-01:00:00.5')",
    ),
    (
        "ENUM and SET members with comma and quote",
        On::Both,
        &["members"],
        r"CREATE TABLE members (id INT PRIMARY KEY, e ENUM('a,b','c''d','e\\f','','(') DEFAULT 'a,b', s SET('x y','it''s','订') NOT NULL DEFAULT 'it''s')",
    ),
    (
        "AUTO_INCREMENT on a key that is not the primary one",
        On::Both,
        &["ai_second", "ai_unique", "ai_only"],
        "CREATE TABLE ai_second (a INT NOT NULL PRIMARY KEY, n INT NOT NULL AUTO_INCREMENT, b INT, KEY b (b), KEY n (n, b)) AUTO_INCREMENT=50;
         CREATE TABLE ai_unique (a INT NOT NULL PRIMARY KEY, n INT UNSIGNED NOT NULL AUTO_INCREMENT, UNIQUE KEY n (n));
         CREATE TABLE ai_only (n INT NOT NULL AUTO_INCREMENT, KEY n (n))",
    ),
    ("tables that differ only in case", On::Both, &["Case", "case"], "CREATE TABLE `Case` (id INT PRIMARY KEY, upper INT); CREATE TABLE `case` (id INT PRIMARY KEY, lower INT)"),
    (
        "per-column character sets",
        On::Both,
        &["charsets"],
        "CREATE TABLE charsets (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1, b VARCHAR(9) CHARACTER SET gbk COLLATE gbk_bin, c TEXT CHARACTER SET utf8
         COLLATE utf8_bin, d ENUM('x') CHARACTER SET ascii, e VARCHAR(9) COLLATE utf8mb4_unicode_ci, f VARCHAR(9), g CHAR(4) CHARACTER SET utf8, h VARBINARY(4))
         DEFAULT CHARSET=utf8mb4",
    ),
    ("a table of utf8", On::Both, &["utf8_table"], "CREATE TABLE utf8_table (id INT PRIMARY KEY, a VARCHAR(9), b VARCHAR(9) CHARACTER SET utf8mb4, KEY a (a)) DEFAULT CHARSET=utf8"),
    (
        "prefix, FULLTEXT, SPATIAL, UNIQUE, USING, KEY_BLOCK_SIZE indexes",
        On::Both,
        &["indexes"],
        "CREATE TABLE indexes (id INT PRIMARY KEY, a VARCHAR(100) NOT NULL, t TEXT NOT NULL, u INT, b BLOB, UNIQUE KEY u (u, a(5)), KEY a (a(10), id), KEY b (b(7)),
         KEY h (u) USING BTREE, FULLTEXT KEY ft (t), FULLTEXT KEY ft2 (t, a))",
    ),
    (
        "DESC, functional, invisible and SPATIAL indexes",
        On::New,
        &["new_indexes"],
        "CREATE TABLE new_indexes (id INT PRIMARY KEY, a INT, b VARCHAR(20), g GEOMETRY NOT NULL SRID 4326, j JSON, KEY d (a DESC, b), KEY f ((LOWER(b))), KEY i (a) INVISIBLE,
         UNIQUE KEY fu ((a + 1), b(5) DESC), SPATIAL KEY g (g), KEY m ((CAST(j->'$[*]' AS UNSIGNED ARRAY))))",
    ),
    (
        "generated columns",
        On::New,
        &["generated_columns"],
        r"CREATE TABLE generated_columns (id INT PRIMARY KEY, a INT, v INT GENERATED ALWAYS AS (a * 2) VIRTUAL, s VARCHAR(40) GENERATED ALWAYS AS (CONCAT(a, ' \\ ''x''')) STORED NOT NULL COMMENT 'g', KEY v (v),
          UNIQUE KEY s (s))",
    ),
    (
        "CHECK constraints",
        On::New,
        &["checks"],
        r"CREATE TABLE checks (id INT PRIMARY KEY, a INT CHECK (a > 0), b VARCHAR(20), CONSTRAINT `odd ``name` CHECK (b <> 'it''s' OR a IN (1,2)), CONSTRAINT off CHECK (a < 100) NOT ENFORCED)",
    ),
    (
        "expression defaults, invisible columns, GIPK-like names",
        On::New,
        &["modern"],
        "CREATE TABLE modern (id INT PRIMARY KEY, a JSON DEFAULT (JSON_OBJECT('a', 1)), b BINARY(16) DEFAULT (UUID_TO_BIN('6ccd780c-baba-1026-9564-5b8c656024db')), c INT INVISIBLE DEFAULT 3,
         d TEXT DEFAULT ('it''s'), e VECTOR(3), f DATE DEFAULT (CURRENT_DATE + INTERVAL 1 YEAR)) COMMENT='x' STATS_PERSISTENT=1 COMPRESSION='zlib'",
    ),
    (
        "odd names",
        On::Both,
        &["odd `back``tick`", "dot.ted", "sp ace", "quo'te\"s", "订单表", "$dollar$", "select"],
        r#"CREATE TABLE `odd ``back````tick``` (`a``b` INT PRIMARY KEY, `c d` INT, `e.f` INT, KEY `k``1` (`c d`), KEY `k.2` (`e.f`));
           CREATE TABLE `dot.ted` (`a.b` INT PRIMARY KEY); CREATE TABLE `sp ace` (`a b` INT PRIMARY KEY); CREATE TABLE `quo'te"s` (`a'b"c` INT PRIMARY KEY, `x'` INT, KEY `k'` (`x'`));
           CREATE TABLE `订单表` (`编号` INT PRIMARY KEY, `名称` VARCHAR(9) DEFAULT '无', KEY `索引` (`名称`)); CREATE TABLE `$dollar$` (`$a` INT PRIMARY KEY, b$ INT, KEY `$k` (b$));
           CREATE TABLE `select` (`from` INT PRIMARY KEY, `rank` INT, KEY `key` (`rank`))"#,
    ),
    (
        "FK: composite, rules, child sorted before its parent",
        On::Both,
        &["fk_a_child", "fk_z_parent"],
        "CREATE TABLE fk_z_parent (a INT NOT NULL, b VARCHAR(5) NOT NULL, c INT, PRIMARY KEY (a, b), UNIQUE KEY c (c));
         CREATE TABLE fk_a_child (id INT PRIMARY KEY, x INT, y VARCHAR(5), z INT, KEY xy (x, y), CONSTRAINT `comp``osite` FOREIGN KEY (x, y) REFERENCES fk_z_parent (a, b) ON DELETE CASCADE ON UPDATE
         SET NULL, CONSTRAINT second FOREIGN KEY (z) REFERENCES fk_z_parent (c) ON DELETE SET NULL ON UPDATE CASCADE)",
    ),
    (
        "FK: self reference and cycle",
        On::Both,
        &["fk_self", "fk_one", "fk_two"],
        "CREATE TABLE fk_self (id INT PRIMARY KEY, boss INT, CONSTRAINT boss FOREIGN KEY (boss) REFERENCES fk_self (id) ON DELETE CASCADE);
         CREATE TABLE fk_one (id INT PRIMARY KEY, two INT); CREATE TABLE fk_two (id INT PRIMARY KEY, one INT, CONSTRAINT to_one FOREIGN KEY (one) REFERENCES fk_one (id));
         ALTER TABLE fk_one ADD CONSTRAINT to_two FOREIGN KEY (two) REFERENCES fk_two (id) ON UPDATE CASCADE",
    ),
    ("FK: to another database", On::Both, &["fk_abroad"], "CREATE TABLE fk_abroad (id INT PRIMARY KEY, CONSTRAINT abroad FOREIGN KEY (id) REFERENCES `fid.2`.parent (id))"),
    (
        "MyISAM and MEMORY become InnoDB",
        On::Both,
        &["e_myisam", "e_memory"],
        "CREATE TABLE e_myisam (id INT PRIMARY KEY, t TEXT, FULLTEXT KEY t (t)) ENGINE=MyISAM; CREATE TABLE e_memory (id INT PRIMARY KEY, a INT, KEY a (a) USING BTREE) ENGINE=MEMORY",
    ),
    (
        "MyISAM SPATIAL",
        On::Old,
        &["e_spatial"],
        "CREATE TABLE e_spatial (id INT PRIMARY KEY, g GEOMETRY NOT NULL, SPATIAL KEY g (g)) ENGINE=MyISAM",
    ),
    (
        "integers with widths and ZEROFILL",
        On::Both,
        &["widths"],
        "CREATE TABLE widths (id INT(5) UNSIGNED ZEROFILL PRIMARY KEY, a TINYINT(1), b BIGINT(20) UNSIGNED, c SMALLINT(3), d MEDIUMINT, e DOUBLE(8,2), f FLOAT(7,3), g FLOAT UNSIGNED, h NUMERIC)",
    ),
    ("no key at all, only a nullable UNIQUE", On::Both, &["keyless", "nullable"], "CREATE TABLE keyless (a INT, b TEXT); CREATE TABLE nullable (a INT, UNIQUE KEY a (a))"),
];

fn pair_with_case(generation: Generation) -> Pair {
    let source = match generation {
        Generation::Old => ServerOptions::new(Version::Mysql56)
            .args(["--innodb-file-format=Barracuda", "--innodb-large-prefix=1"]),
        Generation::New => ServerOptions::new(Version::Mysql97),
    };
    Pair {
        source: Server::start(source).unwrap(),
        target: Server::start(ServerOptions::new(Version::Mysql97)).unwrap(),
    }
}

fn structure_only(mut options: MigrationOptions) -> Migration {
    options.task_type = TaskType::Structure;
    Migration::new(options)
}

fn wide_table() -> String {
    let columns: Vec<String> = (0..330).map(|n| format!("c{n} INT DEFAULT '{n}'")).collect();
    format!("CREATE TABLE wide (id INT PRIMARY KEY, {}, KEY k (c7, c300))", columns.join(", "))
}

fn tables_survive(generation: Generation) {
    let pair = pair_with_case(generation);
    pair.source.exec("CREATE DATABASE fid DEFAULT CHARACTER SET utf8mb4; CREATE DATABASE `fid.2`; CREATE TABLE `fid.2`.parent (id INT PRIMARY KEY)");
    let mut tables = vec![("331 columns", "wide")];
    let prefix = "SET SESSION sql_mode = '', foreign_key_checks = 0; USE fid; ";
    pair.source.exec(&format!("{prefix}{}", wide_table()));
    for (name, on, made, sql) in CASES {
        if matches!((on, generation), (On::Both, _) | (On::Old, Generation::Old) | (On::New, Generation::New))
        {
            pair.source.exec(&format!("{prefix}{sql}"));
            tables.extend(made.iter().map(|table| (*name, *table)));
        }
    }
    run(&structure_only(pair.options("fidelity", &["fid", "`fid.2`"])), Until::Synced);
    let mut differences = Vec::new();
    for (case, table) in tables {
        let is_converted = table.starts_with("e_");
        let (source, target) = (
            normalised(&shown(&pair.source, "fid", table), is_converted),
            normalised(&shown(&pair.target, "fid", table), is_converted),
        );
        for line in source.iter().filter(|line| !target.contains(line)) {
            differences.push(format!("{case}: {table}: only on the source: {line}"));
        }
        for line in target.iter().filter(|line| !source.contains(line)) {
            differences.push(format!("{case}: {table}: only on the target: {line}"));
        }
        let (source, target) = (collations(&pair.source, table), collations(&pair.target, table));
        if source != target {
            differences.push(format!("{case}: {table}: collations {source:?} became {target:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let transform = pair.options("fidelity", &["fid", "`fid.2`"]).transform;
    let report = check_structure::compare(&pair, &transform, true);
    assert_eq!((report.differences, report.unclear), (vec![], vec![]));
    assert!(report.compared > 30);
}

fn shown(server: &Server, database: &str, table: &str) -> String {
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let (_, text): (String, String) =
        server.query_one(&format!("SHOW CREATE TABLE {}.{}", quoted(database), quoted(table)));
    text
}

/// The collations of a table and its columns, `utf8` under one name.
fn collations(server: &Server, table: &str) -> Vec<(String, Option<String>)> {
    let table = format!("CAST(TABLE_NAME AS BINARY) = '{}'", table.replace('\'', "''"));
    let rows: Vec<(String, Option<String>)> = server.query(&format!(
        "SELECT '' AS c, TABLE_COLLATION FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'fid' AND {table} UNION ALL SELECT COLUMN_NAME,
         COLLATION_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'fid' AND {table} ORDER BY c"
    ));
    rows.into_iter()
        .map(|(column, name)| (column, name.map(|name| name.replace("utf8mb3_", "utf8_"))))
        .collect()
}

/// Takes out of a table's definition what legitimately differs; quoted text is left alone.
///
/// - names of character sets and collations: compared by [`collations`];
/// - display widths of integers, except `tinyint(1)` and those of ZEROFILL; `year(4)`;
/// - the order of indexes and constraints: lines are compared as a set;
/// - how the partition clause is laid out: its version comment and white space, names in backticks, `TO_DAYS` in lower case;
/// - `ON DELETE NO ACTION` and `RESTRICT`, of which each version leaves out another one and which do the same in InnoDB;
/// - the engine where the case is about it.
fn normalised(text: &str, is_converted: bool) -> Vec<String> {
    let (definitions, partition) =
        match text.find("PARTITION BY").filter(|at| *at > text.rfind("ENGINE=").unwrap_or(0)) {
            Some(at) => text.split_at(at),
            None => match text.rfind("\n/*!50") {
                Some(at) => text.split_at(at),
                None => (text, ""),
            },
        };
    let mut lines: Vec<String> = definitions
        .lines()
        .map(|line| {
            let mut out = String::new();
            let mut rest = line;
            while let Some(at) = rest.find(['`', '\'']) {
                let quote = &rest[at..=at];
                let end = closing(rest, at, quote);
                out.push_str(&plain(&rest[..at]));
                out.push_str(&rest[at..end]);
                rest = &rest[end..];
            }
            out.push_str(&plain(rest));
            let out = out.trim_end().trim_end_matches("/*!50100").trim_end_matches(',').trim_end().to_owned();
            if is_converted {
                out.replace("ENGINE=MyISAM", "ENGINE=InnoDB").replace("ENGINE=MEMORY", "ENGINE=InnoDB")
            } else {
                out
            }
        })
        .collect();
    let partition: String = partition
        .replace(['`', '\n', ' '], "")
        .replace("/*!50100", "")
        .replace("/*!50500", "")
        .replace("*/", "");
    lines.push(partition.replace("TO_DAYS(", "to_days("));
    lines
}

fn closing(text: &str, open: usize, quote: &str) -> usize {
    let bytes = text.as_bytes();
    let quote = quote.as_bytes()[0];
    let mut at = open + 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' && quote == b'\'' {
            at += 1;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for word in [" CHARACTER SET ", " COLLATE ", " DEFAULT CHARSET=", " COLLATE="] {
        while let Some(at) = text.find(word) {
            let value = at + word.len();
            let end = text[value..].find([' ', ',', ')']).map_or(text.len(), |end| value + end);
            text.replace_range(at..end, "");
        }
    }
    for word in [" ON DELETE NO ACTION", " ON UPDATE NO ACTION", " ON DELETE RESTRICT", " ON UPDATE RESTRICT"]
    {
        text = text.replace(word, "");
    }
    if !text.contains("zerofill") {
        for word in [" smallint(", " mediumint(", " int(", " bigint(", " year("] {
            if let Some(at) = text.find(word) {
                let open = at + word.len() - 1;
                let end = text[open..].find(')').map_or(text.len(), |end| open + end + 1);
                text.replace_range(open..end, "");
            }
        }
    }
    text
}

#[test]
fn tables_old_to_new() {
    tables_survive(Generation::Old);
}

#[test]
fn tables_new_to_new() {
    tables_survive(Generation::New);
}

#[test]
fn the_normaliser_hides_little() {
    let one = |text: &str| normalised(text, false).remove(0);
    assert_eq!(
        one("  `a int(11)` int(11) CHARACTER SET utf8 COLLATE utf8_bin DEFAULT ' COLLATE x int(3)',"),
        "  `a int(11)` int DEFAULT ' COLLATE x int(3)'"
    );
    assert_eq!(one("  `a` int(5) unsigned zerofill"), "  `a` int(5) unsigned zerofill");
    assert_ne!(one("  PRIMARY KEY (`b`,`a`)"), one("  PRIMARY KEY (`a`,`b`)"));
}

const OBJECTS: &str = "
CREATE DATABASE shop DEFAULT CHARACTER SET latin1; CREATE DATABASE crm; USE shop;
CREATE TABLE orders (id INT PRIMARY KEY, n INT, name VARCHAR(20) CHARACTER SET utf8mb4); CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(200) CHARACTER SET utf8mb4);
CREATE TABLE crm.client (id INT PRIMARY KEY, name VARCHAR(20));
CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC NO SQL COMMENT 'doubles; it''s \\\\' SQL SECURITY INVOKER RETURN a * 2;
CREATE PROCEDURE note(IN what VARCHAR(100), OUT n INT) MODIFIES SQL DATA BEGIN INSERT INTO log (what) VALUES (what); SELECT COUNT(*) INTO n FROM shop.orders; END;
CREATE VIEW v_c AS SELECT id, n, twice(n) AS n2 FROM orders WHERE n > 0 WITH LOCAL CHECK OPTION;
CREATE ALGORITHM=TEMPTABLE SQL SECURITY INVOKER VIEW v_b AS SELECT c.id, c.n2, o.name FROM v_c c JOIN orders o ON o.id = c.id;
CREATE VIEW v_a AS SELECT b.id, b.name, 'it''s' AS q FROM v_b b, crm.client WHERE client.id = b.id;
CREATE VIEW crm.v_0 AS SELECT COUNT(*) AS n FROM shop.v_a;
SET SESSION sql_mode = 'ANSI';
CREATE VIEW v_ansi AS SELECT 'a' || \"name\" AS \"q\"\"x\" FROM \"orders\";
CREATE PROCEDURE \"ansi\"(OUT r VARCHAR(20)) SET r = 'a' || 'b';
SET SESSION sql_mode = '';
SET NAMES gbk; CREATE PROCEDURE gbk(OUT r VARCHAR(20) CHARACTER SET utf8) SET r = _utf8 0xE8AEA2; SET NAMES utf8mb4;
SET NAMES latin1; CREATE PROCEDURE latin1_text(OUT r VARCHAR(20) CHARACTER SET utf8) COMMENT 'caf\u{e9}' SET r = 'na\u{ef}ve \u{20ac}';
CREATE VIEW v_latin1 AS SELECT 'na\u{ef}ve' AS e, _utf8 0xE8AEA2 AS d; SET NAMES utf8mb4;
CREATE TRIGGER t_first BEFORE INSERT ON orders FOR EACH ROW SET NEW.name = CONCAT(NEW.name, '1');
CREATE TRIGGER crm.t_client AFTER DELETE ON crm.client FOR EACH ROW INSERT INTO shop.log (what) VALUES (OLD.name);
CREATE EVENT e_on ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 03:00:00' ON COMPLETION PRESERVE COMMENT 'ENABLE' DO INSERT INTO shop.log (what) VALUES ('e');
CREATE EVENT e_off ON SCHEDULE AT '2035-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO BEGIN DELETE FROM log; END;
INSERT INTO crm.client VALUES (1, 'c'); INSERT INTO orders VALUES (1, 5, 'x'), (2, -5, 'y');
";

fn held_back(pair: &Pair, task: &str, transform: &Transform) -> Result<HeldBackReport, Error> {
    let stop = StopToken::new();
    let source = SourceEndpoint::connect(SourceOptions::new(connection(&pair.source)), &stop)?;
    let target = TargetEndpoint::connect(TargetOptions::new(connection(&pair.target)), &stop)?;
    let mut transform = transform.clone();
    if source.facts().lower_case_table_names() != 0 {
        transform = transform.ignoring_case();
    }
    Structure::new(&source, &target, &Ledger::new(task), &transform, ObjectKinds::default())
        .create_held_back(&stop)
}

fn count(server: &Server, table: &str) -> u64 {
    let schema = match table {
        "EVENTS" => "EVENT_SCHEMA",
        "ROUTINES" => "ROUTINE_SCHEMA",
        "TRIGGERS" => "TRIGGER_SCHEMA",
        _ => "TABLE_SCHEMA",
    };
    server.query_one(&format!("SELECT COUNT(*) FROM information_schema.{table} WHERE {schema} NOT IN ('mysql','sys','performance_schema')"))
}

fn objects_survive(generation: Generation, rules: &[(&str, &str)]) {
    let pair = Pair::start(generation);
    pair.source.exec(&format!("SET SESSION sql_mode = '', time_zone = '+08:00'; {OBJECTS}"));
    pair.source.exec("CREATE DEFINER = nobody@nowhere PROCEDURE shop.orphan() SELECT 1");
    if generation == Generation::Old {
        pair.source.exec(
            "SET SESSION sql_mode = 'ORACLE,NO_AUTO_CREATE_USER'; CREATE PROCEDURE shop.ancient(OUT r VARCHAR(20)) SET r = 'a' || 'b'",
        );
    } else {
        pair.source.exec(
            "USE shop; CREATE TRIGGER t_zeroth BEFORE INSERT ON orders FOR EACH ROW PRECEDES t_first SET NEW.name = CONCAT(NEW.name, '0');
             CREATE TRIGGER t_after BEFORE INSERT ON orders FOR EACH ROW FOLLOWS t_first SET NEW.name = CONCAT(NEW.name, '2')",
        );
    }
    let transform =
        Transform::new(select(&["shop", "crm"]), Route::new(rules.iter().copied()).unwrap()).unwrap();
    let route = transform.route.clone();
    let shop = route.target_database("shop");
    let orders = route.target_of(&dts_core::data::TableName::new("shop", "orders"));
    let migration = Migration::new(pair.options_with("objects", transform.clone()));
    let report = run(&migration, Until::Synced);
    eprintln!("{:#?}", report.rewrites);
    assert!(
        report.rewrites.iter().any(|note| note.contains("nobody@nowhere") && note.contains("does not exist"))
    );

    // A run that ended in the middle does all of it again.
    assert_eq!((count(&pair.target, "TRIGGERS"), count(&pair.target, "EVENTS")), (0, 0));
    pair.target.exec("UPDATE __dts__.task SET phase = 'structure'");
    run(&migration, Until::Synced);
    for table in ["VIEWS", "ROUTINES"] {
        assert_eq!(count(&pair.source, table), count(&pair.target, table), "{table}");
    }

    let mut target = pair.target.root();
    let views: Vec<(i64, String, String)> =
        target.query(format!("SELECT id, name, q FROM `{shop}`.v_a")).unwrap();
    assert_eq!(views, pair.source.query::<(i64, String, String)>("SELECT id, name, q FROM shop.v_a"));
    assert_eq!(views.len(), 1);
    assert_eq!(target.query_first::<i64, _>("SELECT n FROM crm.v_0").unwrap(), Some(1));
    assert_eq!(
        target.query::<String, _>(format!("SELECT `q\"x` FROM `{shop}`.v_ansi ORDER BY 1")).unwrap().len(),
        2
    );
    let facts = |server: &Server, shop: &str| -> Vec<(String, String, String, String)> {
        server.query(&format!(
            "SELECT TABLE_NAME, CHECK_OPTION, SECURITY_TYPE, DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = '{shop}' ORDER BY 1"
        ))
    };
    assert_eq!(facts(&pair.source, "shop"), facts(&pair.target, &shop));
    let (_, text, _, _): (String, String, String, String) =
        pair.target.query_one(&format!("SHOW CREATE VIEW `{shop}`.v_b"));
    assert!(text.contains("ALGORITHM=TEMPTABLE"), "{text}");

    let programs = |server: &Server, shop: &str| -> Vec<mysql::Row> {
        server.query(&format!(
            "SELECT ROUTINE_NAME, ROUTINE_TYPE, IS_DETERMINISTIC, SQL_DATA_ACCESS, SECURITY_TYPE, ROUTINE_COMMENT, DEFINER, CHARACTER_SET_CLIENT,
             REPLACE(COLLATION_CONNECTION, 'utf8mb3', 'utf8'), REPLACE(DATABASE_COLLATION, 'utf8mb3', 'utf8'), 
             IF(ROUTINE_NAME = 'ancient', '', TRIM(TRAILING ',ANSI' FROM SQL_MODE))
             FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = '{shop}' ORDER BY 1"
        ))
    };
    let values = |rows: Vec<mysql::Row>| rows.into_iter().map(mysql::Row::unwrap).collect::<Vec<_>>();
    assert_eq!(values(programs(&pair.source, "shop")), values(programs(&pair.target, &shop)));
    for (call, expected) in [("ansi", "ab"), ("gbk", "订")]
        .into_iter()
        .chain((generation == Generation::Old).then_some(("ancient", "ab")))
    {
        target.query_drop(format!("CALL `{shop}`.`{call}`(@r)")).unwrap();
        assert_eq!(target.query_first::<String, _>("SELECT @r").unwrap().unwrap(), expected, "{call}");
    }
    // Texts that are no UTF-8 on the server.
    let latin1 = |server: &Server, shop: &str| -> (String, String, String) {
        let mut connection = server.root();
        connection.query_drop(format!("CALL `{shop}`.latin1_text(@r)")).unwrap();
        connection
            .query_first(format!("SELECT HEX(@r), CONCAT(CHARSET(e), HEX(e)), CONCAT(CHARSET(d), HEX(d)) FROM `{shop}`.v_latin1"))
            .unwrap()
            .unwrap()
    };
    let (text, e, d) = latin1(&pair.source, "shop");
    assert_eq!(latin1(&pair.target, &shop), (text, e, d.replace("utf8E", "utf8mb3E")));
    target.query_drop(format!("CALL `{shop}`.note('n', @n)")).unwrap();
    assert_eq!(target.query_first::<i64, _>("SELECT @n").unwrap(), Some(2));

    pair.source.exec("CREATE VIEW shop.v_late AS SELECT 1 AS one; CREATE PROCEDURE shop.late() SELECT 1");
    let report = held_back(&pair, "objects", &transform).unwrap();
    assert_eq!((report.programs, report.views), (1, 1));
    let triggers = if generation == Generation::Old { 2 } else { 4 };
    assert_eq!((report.triggers, report.events), (triggers, 2));
    let report = held_back(&pair, "objects", &transform).unwrap();
    assert_eq!((report.triggers, report.events), (0, 0));
    let mut report = check_structure::compare(&pair, &transform, true);
    // Rows were written to the target above.
    report.differences.retain(|found| found.part != "AUTO_INCREMENT");
    assert_eq!(report.differences, vec![], "{:?}", report.unclear);
    assert!(report.compared > 15);
    eprintln!("unclear: {:#?}", report.unclear);
    let events = |server: &Server, shop: &str| -> Vec<mysql::Row> {
        server.query(&format!(
            "SELECT EVENT_NAME, TIME_ZONE, STATUS, ON_COMPLETION, EXECUTE_AT, STARTS, EVENT_COMMENT, SQL_MODE FROM
             information_schema.EVENTS WHERE EVENT_SCHEMA = '{shop}' ORDER BY 1"
        ))
    };
    assert_eq!(values(events(&pair.source, "shop")), values(events(&pair.target, &shop)));
    let table = format!("`{}`.`{}`", orders.database, orders.table);
    target.query_drop(format!("INSERT INTO {table} VALUES (9, 9, 'n')")).unwrap();
    let name: String = target.query_first(format!("SELECT name FROM {table} WHERE id = 9")).unwrap().unwrap();
    assert_eq!(name, if generation == Generation::Old { "n1" } else { "n012" });
    target.query_drop("DELETE FROM crm.client").unwrap();
    assert_eq!(
        target.query_first::<i64, _>(format!("SELECT COUNT(*) FROM `{shop}`.log WHERE what = 'c'")).unwrap(),
        Some(1)
    );
}

#[test]
fn objects_old_to_new() {
    objects_survive(Generation::Old, &[]);
}

#[test]
fn objects_new_to_new() {
    objects_survive(Generation::New, &[]);
}

#[test]
fn objects_of_renamed_databases_and_tables_old_to_new() {
    objects_survive(
        Generation::Old,
        &[("shop", "my.shop"), ("shop.orders", "my.shop.orders2")]
            .map(|(from, to)| (from, if to == "my.shop" { "`my.shop`" } else { "`my.shop`.orders2" })),
    );
}

#[test]
fn objects_of_renamed_databases_and_tables_new_to_new() {
    objects_survive(Generation::New, &[("shop", "shop2"), ("shop.orders", "shop2.orders2")]);
}

fn fails(migration: &Migration) -> Error {
    migration.run(Until::Synced, &StopToken::new(), &Progress::new()).unwrap_err()
}

#[test]
fn what_the_target_refuses_is_named_at_once_before_rows_move() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(
        "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1);
         CREATE VIEW v AS SELECT a, COUNT(*) AS n FROM t GROUP BY a DESC; CREATE VIEW v_of_v AS SELECT * FROM v; CREATE VIEW fine AS SELECT 1 AS one;
         CREATE PROCEDURE p() SELECT SQL_CACHE * FROM t; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW BEGIN DECLARE rank INT; SET rank = 1; END;
         CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN DECLARE window INT; END; CREATE TABLE gone (id INT); CREATE VIEW broken AS SELECT * FROM gone; DROP TABLE gone;
         CREATE TRIGGER good AFTER INSERT ON t FOR EACH ROW SET @a = 1",
    );
    let migration = pair.migration("refused", &["shop"]);
    let error = fails(&migration);
    assert_eq!(error.code().to_string(), "DTS-5005", "{error}");
    let text = error.to_string();
    for part in [
        "view shop.v:",
        "view shop.v_of_v:",
        "procedure shop.p:",
        "trigger shop.g:",
        "event shop.e:",
        "view shop.broken:",
        "not work on the source",
        "1064",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert!(!text.contains("fine") && !text.contains("good"), "{text}");
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM shop.t"), 0);
    assert_eq!((count(&pair.target, "TRIGGERS"), count(&pair.target, "EVENTS")), (0, 0));
    pair.source.exec("USE shop; DROP VIEW v, v_of_v, broken; DROP PROCEDURE p; DROP TRIGGER g; DROP EVENT e");
    run(&migration, Until::Synced);
    assert_eq!(pair.target.query_one::<u64>("SELECT COUNT(*) FROM shop.t"), 1);
    assert_eq!(count(&pair.target, "TRIGGERS"), 0);
}

#[test]
fn somebody_elses_objects_are_never_replaced() {
    let pair = Pair::start(Generation::New);
    let sql = |n: u32| {
        format!(
            "CREATE DATABASE shop; USE shop; CREATE VIEW v AS SELECT {n} AS a; CREATE PROCEDURE p() SELECT {n}; CREATE EVENT e ON SCHEDULE EVERY {n} DAY DO SELECT {n}"
        )
    };
    pair.source.exec(&format!("{}; CREATE TABLE t (id INT PRIMARY KEY)", sql(1)));
    pair.target.exec(&sql(2));
    let migration = pair.migration("conflict", &["shop"]);
    let error = fails(&migration);
    assert_eq!(error.code().to_string(), "DTS-1005", "{error}");
    assert!(error.to_string().contains("has 3 of the objects"), "{error}");
    assert_eq!(pair.target.query_one::<u64>("SELECT a FROM shop.v"), 2);
    assert_eq!(pair.target.query::<String>("SHOW TABLES FROM shop"), ["v"], "nothing was created");
    // An event that appeared after the structure was made stays, too.
    pair.target.exec("DROP VIEW shop.v; DROP PROCEDURE shop.p; DROP EVENT shop.e");
    run(&migration, Until::Synced);
    let again = migration.validate(&StopToken::new()).unwrap();
    let item = again.items.iter().find(|item| item.id == "target_conflict").unwrap();
    assert_eq!(item.result, ItemResult::Pass, "{item:#?}");
    pair.target.exec("CREATE EVENT shop.e ON SCHEDULE EVERY 2 DAY DO SELECT 2");
    let transform = Transform::new(select(&["shop"]), Route::identity()).unwrap();
    let error = held_back(&pair, "conflict", &transform).unwrap_err();
    assert_eq!(error.code().to_string(), "DTS-1005", "{error}");
    assert_eq!(
        pair.target.query_one::<u64>(
            "SELECT INTERVAL_VALUE FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'"
        ),
        2
    );
}

/// The account of a managed target may not name other accounts.
fn definers_are_rewritten(generation: Generation) {
    let pair = Pair::start(generation);
    pair.source.exec(
        "SET SESSION sql_mode = ''; CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY);
         CREATE DEFINER = app@`10.%` VIEW v AS SELECT * FROM t; CREATE DEFINER = app@`10.%` PROCEDURE p() SELECT 1; CREATE DEFINER = app@`10.%` FUNCTION f() RETURNS INT
         DETERMINISTIC RETURN 1; CREATE DEFINER = app@`10.%` TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a = 1; CREATE DEFINER = app@`10.%` EVENT e ON SCHEDULE EVERY 1 DAY
         DO SELECT 1",
    );
    pair.target.create_account(
        "mover",
        "secret",
        &["ALTER, ALTER ROUTINE, CREATE, CREATE ROUTINE, CREATE VIEW, DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, REFERENCES, SELECT, SHOW VIEW, TRIGGER, UPDATE ON *.*"],
    );
    pair.target.exec("SET GLOBAL log_bin_trust_function_creators = 1");
    let address = Address::Tcp { host: "127.0.0.1".into(), port: pair.target.port() };
    let options = MigrationOptions::new(
        "definers",
        SourceOptions::new(connection(&pair.source)),
        TargetOptions::new(ConnectionOptions::new(address, "mover", Secret::new("secret"))),
        Transform::new(select(&["shop"]), Route::identity()).unwrap(),
    )
    .unwrap();
    let report = run(&structure_only(options), Until::Synced);
    for kind in ["view", "procedure", "function", "trigger", "event"] {
        assert!(
            report.rewrites.iter().any(|note| note.starts_with(kind) && note.contains("app@10.%")),
            "{kind}: {:?}",
            report.rewrites
        );
    }
    let found: Vec<(String, String, String)> = pair.target.query(
        "SELECT TABLE_NAME, DEFINER, SECURITY_TYPE FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'shop' UNION ALL SELECT ROUTINE_NAME, DEFINER, SECURITY_TYPE FROM
         information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'shop' UNION ALL SELECT TRIGGER_NAME, DEFINER, '' FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop' UNION ALL
         SELECT EVENT_NAME, DEFINER, '' FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'",
    );
    let expected: BTreeMap<&str, &str> =
        [("v", "INVOKER"), ("p", "INVOKER"), ("f", "INVOKER"), ("g", ""), ("e", "")].into();
    assert_eq!(found.len(), expected.len());
    for (name, definer, security) in &found {
        assert_eq!((definer.as_str(), security.as_str()), ("mover@%", expected[name.as_str()]), "{name}");
    }
}

#[test]
fn definers_are_rewritten_old_to_new() {
    definers_are_rewritten(Generation::Old);
}

#[test]
fn definers_are_rewritten_new_to_new() {
    definers_are_rewritten(Generation::New);
}

/// A text without character sets takes them from the database, as it was when the text was written.
#[test]
fn programs_keep_the_collation_that_their_database_had() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE shop DEFAULT CHARACTER SET latin1; USE shop; CREATE TABLE t (id INT PRIMARY KEY); CREATE PROCEDURE p(OUT r VARCHAR(99)) BEGIN DECLARE x VARCHAR(9);
         SET r = CHARSET(x); END; ALTER DATABASE shop DEFAULT CHARACTER SET utf8mb4",
    );
    run(&structure_only(pair.options("collation", &["shop"])), Until::Synced);
    let mut target = pair.target.root();
    target.query_drop("CALL shop.p(@r)").unwrap();
    assert_eq!(target.query_first::<String, _>("SELECT @r").unwrap().unwrap(), "latin1");
    let (_, text): (String, String) = pair.target.query_one("SHOW CREATE DATABASE shop");
    assert!(text.contains("utf8mb4"), "{text}");
}

#[test]
fn a_database_of_views_only() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE shop; CREATE VIEW shop.v AS SELECT 1 AS one");
    run(&pair.migration("views", &["shop"]), Until::Synced);
    assert_eq!(pair.target.query_one::<u64>("SELECT one FROM shop.v"), 1);
}
