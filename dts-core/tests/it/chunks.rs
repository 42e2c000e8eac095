//! Tables are cut along every sort of key, and no row is left out or copied twice: small chunks, awkward keys, odd tables.
use dts_core::full_loader::{LoadMethod, TableReport};
use dts_core::migration::{Migration, RunReport, Until};
use dts_testbed::{Server, ServerOptions, Version, dump};
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, Writer, run, seed};

/// How many chunks a table of about a thousand rows must be cut into.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cut {
    /// Along its key.
    Many,
    /// In one piece: the first column of its key is not one for ranges.
    One,
}

/// A table, its columns and key, how it is cut, and its rows: `n` is 0 to 999.
type Keyed = (&'static str, &'static str, Cut, fn(u64) -> String);

fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Letters in both cases, accents, blanks, wide characters; different for every `n` under a collation that ignores all that.
fn word(n: u64) -> String {
    let decoration = ["a", "A", "\u{e4}", "\u{df}", " ", "\u{4e2d}", "\u{1F600}", "_", "%", "\\\\", "''"];
    format!(
        "'{}{n}{}'",
        decoration[usize::try_from(n % 11).unwrap()],
        "z".repeat(usize::try_from(n % 7).unwrap())
    )
}

fn latin_word(n: u64) -> String {
    let decoration = ["a", "A", "\u{e4}", "\u{df}", "\u{d8}", "~", "\\\\"];
    format!("'{}{n}'", decoration[usize::try_from(n % 7).unwrap()])
}

fn bytes(n: u64) -> String {
    let text: String = scatter(n).to_be_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    format!("x'{text}'")
}

const KEYED: &[Keyed] = &[
    ("dense", "k INT NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| n.to_string()),
    ("negative", "k INT NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| (n.cast_signed() - 500).to_string()),
    // FLINK-38247, flink e7238f240
    ("top_of_unsigned", "k BIGINT UNSIGNED NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        (u64::MAX - n).to_string()
    }),
    ("all_unsigned", "k BIGINT UNSIGNED NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| match n {
        0 => "0".into(),
        1 => u64::MAX.to_string(),
        2 => (1u64 << 63).to_string(),
        3 => ((1u64 << 63) - 1).to_string(),
        _ => scatter(n).to_string(),
    }),
    ("all_signed", "k BIGINT NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| match n {
        0 => i64::MIN.to_string(),
        1 => i64::MAX.to_string(),
        _ => scatter(n).cast_signed().to_string(),
    }),
    // mydumper#1249
    ("gaps", "k INT NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| (n + n / 100 * 1_000_000).to_string()),
    ("auto_zero", "k INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (k)", Cut::Many, |n| n.to_string()),
    // spirit#1080, flink-cdc#2964
    ("general_ci", "k VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL, PRIMARY KEY (k)", Cut::Many, word),
    ("unicode_ci", "k VARCHAR(40) COLLATE utf8mb4_unicode_ci NOT NULL, PRIMARY KEY (k)", Cut::Many, word),
    ("text_bin", "k VARCHAR(40) COLLATE utf8mb4_bin NOT NULL, PRIMARY KEY (k)", Cut::Many, word),
    ("utf8_ci", "k CHAR(40) CHARACTER SET utf8 NOT NULL, PRIMARY KEY (k)", Cut::Many, latin_word),
    (
        "latin1_german2",
        "k VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_german2_ci NOT NULL, PRIMARY KEY (k)",
        Cut::Many,
        latin_word,
    ),
    ("gbk_text", "k VARCHAR(40) CHARACTER SET gbk NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        format!("'\u{8ba2}\u{5355}{n}'")
    }),
    // flink-cdc b8edfcfd3, spirit#1030
    ("binary8", "k BINARY(8) NOT NULL, PRIMARY KEY (k)", Cut::Many, bytes),
    ("varbinary", "k VARBINARY(20) NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| match n % 3 {
        0 => format!("'0x{n:04x}'"),
        1 => format!("CONCAT({},x'00')", bytes(n)),
        _ => format!("CONCAT(x'00275C',{n})"),
    }),
    ("decimal", "k DECIMAL(20,5) NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        format!("{}.{:05}", n.cast_signed() - 300, n * 7)
    }),
    ("dates", "k DATE NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        if n == 0 { "'0000-00-00'".into() } else { format!("'1990-01-01' + INTERVAL {n} DAY") }
    }),
    ("datetimes", "k DATETIME(6) NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        if n == 0 {
            "'2020-00-00 10:00:00'".into()
        } else {
            format!("'1969-12-31 23:59:59.999000' + INTERVAL {} MICROSECOND", n * 333)
        }
    }),
    ("timestamps", "k TIMESTAMP(3) NOT NULL DEFAULT '2000-01-01', PRIMARY KEY (k)", Cut::Many, |n| {
        format!("'2020-03-29 01:59:00.001' + INTERVAL {n} SECOND")
    }),
    ("times", "k TIME(2) NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| {
        format!("SEC_TO_TIME({})", n.cast_signed() * 7 - 3000)
    }),
    // flink-cdc#2676, mydumper#1904, ghostferry PR 287
    ("b_then_a", "a INT NOT NULL, k INT NOT NULL, PRIMARY KEY (k, a)", Cut::Many, |n| {
        format!("{},{n}", n % 3)
    }),
    (
        "wide_key",
        "a VARCHAR(10) NOT NULL, b DATETIME NOT NULL, c VARBINARY(8) NOT NULL, k INT NOT NULL, PRIMARY KEY (a, b, c, k)",
        Cut::Many,
        |n| {
            format!(
                "'{}','2020-01-0{}',x'{:02X}00',{n}",
                ["x", "X ", "\u{e9}"][usize::try_from(n % 2).unwrap()],
                n % 5 + 1,
                n % 7
            )
        },
    ),
    ("unique_key", "k INT NOT NULL, o INT, UNIQUE KEY u (k), UNIQUE KEY o (o)", Cut::Many, |n| {
        format!("{n},NULL")
    }),
    ("text_prefix", "k TEXT NOT NULL, PRIMARY KEY (k(20))", Cut::Many, |n| {
        format!("'{n:05} and a tail that is longer'")
    }),
    ("by_range", "k INT NOT NULL, PRIMARY KEY (k)", Cut::Many, |n| n.to_string()),
    // mysql-shell BUG#38475999, vitess#9546
    ("enum_second", "k INT NOT NULL, e ENUM('z','m','a') NOT NULL, PRIMARY KEY (k, e)", Cut::Many, |n| {
        format!("{},{}", n / 3, n % 3 + 1)
    }),
    ("enum_first", "e ENUM('z','m','a') NOT NULL, k INT NOT NULL, PRIMARY KEY (e, k)", Cut::One, |n| {
        format!("{},{n}", n % 3 + 1)
    }),
    ("set_key", "e SET('z','m','a') NOT NULL, k INT NOT NULL, PRIMARY KEY (e, k)", Cut::One, |n| {
        format!("{},{n}", n % 8)
    }),
    ("float_key", "k FLOAT NOT NULL, PRIMARY KEY (k)", Cut::One, |n| format!("{n} / 7")),
    ("double_key", "k DOUBLE NOT NULL, PRIMARY KEY (k)", Cut::One, |n| format!("{n} / 7e0")),
    ("bit_key", "k BIT(20) NOT NULL, PRIMARY KEY (k)", Cut::One, |n| n.to_string()),
];

const PAD: u64 = 60;

fn create(source: &Server) {
    let mut connection = source.root();
    connection.query_drop("SET NAMES utf8mb4").unwrap();
    connection.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'").unwrap();
    connection.query_drop("CREATE DATABASE cut DEFAULT CHARACTER SET utf8mb4").unwrap();
    for (name, definition, _, row) in KEYED {
        let tail = if *name == "by_range" {
            " PARTITION BY RANGE (k) (PARTITION p0 VALUES LESS THAN (333), PARTITION p1 VALUES LESS THAN MAXVALUE)"
        } else {
            ""
        };
        connection
            .query_drop(format!(
                "CREATE TABLE cut.{name} ({definition}, pad VARCHAR(200) CHARACTER SET ascii){tail}"
            ))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let rows: Vec<String> = (0..1000).map(|n| format!("({},REPEAT('p',{PAD}))", row(n))).collect();
        let columns = definition
            .split(", ")
            .take_while(|part| !part.contains(" KEY "))
            .map(|part| part.split(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join(",");
        connection
            .query_drop(format!("INSERT INTO cut.{name} ({columns},pad) VALUES {}", rows.join(",")))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let tables: Vec<String> = KEYED.iter().map(|(name, ..)| format!("cut.{name}")).collect();
    connection.query_drop(format!("ANALYZE TABLE {}", tables.join(","))).unwrap();
}

fn table<'a>(report: &'a RunReport, name: &str) -> &'a TableReport {
    report.tables.iter().find(|table| table.source.table == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Every key, with an application that inserts, deletes and moves keys.
fn every_key(generation: Generation) {
    let pair = Pair::start(generation);
    create(&pair.source);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| {
        let n = dice.roll(1000);
        let tables = [
            "dense",
            "negative",
            "gaps",
            "auto_zero",
            "unique_key",
            "b_then_a",
            "by_range",
            "enum_first",
            "enum_second",
            "set_key",
        ];
        let table = tables[usize::try_from(dice.roll(10)).unwrap()];
        let sql = match dice.roll(4) {
            0 => format!("DELETE FROM cut.{table} WHERE k = {n}"),
            1 => format!("UPDATE cut.{table} SET k = {} WHERE k = {n}", dice.roll(5000)),
            2 => {
                format!("UPDATE IGNORE cut.general_ci SET k = CONCAT(UPPER(k), {n}) ORDER BY k DESC LIMIT 2")
            }
            _ => format!("UPDATE cut.{table} SET pad = CONCAT('q', {n}) WHERE k > {n} ORDER BY k LIMIT 3"),
        };
        // A new key may be taken.
        let _ = connection.query_drop(sql);
    });
    let mut options = pair.options("cut", &["cut"]);
    options.load.chunk_bytes = 8 << 10;
    let migration = Migration::new(options);
    let report = run(&migration, Until::Synced);
    writer.wait_for(100);
    writer.finish();
    run(&migration, Until::Synced);
    for (name, _, cut, _) in KEYED {
        let report = table(&report, name);
        let is_right = match cut {
            // Equal values of the leading columns stay together.
            Cut::Many => report.chunks >= 3,
            Cut::One => report.chunks == 1,
        };
        assert!(is_right, "{name}: {} chunks, wanted {cut:?}", report.chunks);
        assert_eq!(report.consistency, "lock-free", "{name}");
    }
    dump::assert_equal(&pair.source, &pair.target, "cut");
}

#[test]
fn every_key_old_to_new() {
    every_key(Generation::Old);
}

#[test]
fn every_key_new_to_new() {
    every_key(Generation::New);
}

/// Servers that tell `T` from `t`, and take rows of 20 MB.
fn roomy(generation: Generation) -> Pair {
    let source = match generation {
        Generation::Old => ServerOptions::new(Version::Mysql56).args([
            "--gtid-mode=ON",
            "--log-slave-updates",
            "--enforce-gtid-consistency",
            "--innodb-log-file-size=300M",
        ]),
        Generation::New => ServerOptions::new(Version::Mysql97),
    };
    let packet = "--max-allowed-packet=128M";
    Pair {
        source: Server::start(source.arg(packet)).unwrap(),
        target: Server::start(ServerOptions::new(Version::Mysql97).arg(packet)).unwrap(),
    }
}

/// Tables of odd shapes: what the nearest peer refused, lost or changed.
fn odd_tables(generation: Generation, method: LoadMethod) {
    let pair = roomy(generation);
    let mut source = pair.source.root();
    let wide: Vec<String> = (0..330).map(|n| format!("c{n} INT DEFAULT '{n}'")).collect();
    let texts: Vec<String> = (0..300).map(|n| format!("c{n} VARCHAR(20) DEFAULT 'v{n}'")).collect();
    for sql in [
        "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'".to_owned(),
        "CREATE DATABASE odd DEFAULT CHARACTER SET utf8mb4".into(),
        "USE odd".into(),
        format!("CREATE TABLE columns_331 (id INT PRIMARY KEY, {})", wide.join(",")),
        "INSERT INTO columns_331 (id) VALUES (0),(1),(2)".into(),
        format!("CREATE TABLE columns_300 (id INT PRIMARY KEY, {}) DEFAULT CHARSET=latin1", texts.join(",")),
        "INSERT INTO columns_300 (id) VALUES (0),(1),(2)".into(),
        "CREATE TABLE empty_table (id INT PRIMARY KEY, a INT, KEY a (a))".into(),
        "CREATE TABLE one_row (id INT PRIMARY KEY, a INT)".into(),
        "INSERT INTO one_row VALUES (0,NULL)".into(),
        "CREATE TABLE row_of_20_mb (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)".into(),
        "INSERT INTO row_of_20_mb VALUES (1,REPEAT(x'00275C0A',5242880),'x'),(2,'y',REPEAT('\\'a\\\\',100)),(3,NULL,NULL)".into(),
        "CREATE TABLE `Case` (id INT PRIMARY KEY, upper INT)".into(),
        "CREATE TABLE `case` (id INT PRIMARY KEY, lower VARCHAR(9))".into(),
        "INSERT INTO `Case` VALUES (1,1),(2,2)".into(),
        "INSERT INTO `case` VALUES (1,'a'),(3,'c')".into(),
        "CREATE TABLE id_zero (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT)".into(),
        "INSERT INTO id_zero VALUES (0,1),(1,2),(-1,3)".into(),
        "CREATE TABLE z_parent (a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (b, a))".into(),
        "CREATE TABLE a_child (id INT PRIMARY KEY, x INT, y INT, KEY y (y, x), FOREIGN KEY (y, x) REFERENCES z_parent (b, a))".into(),
        "INSERT INTO z_parent VALUES (1,2),(2,1)".into(),
        "INSERT INTO a_child VALUES (1,1,2),(2,NULL,1)".into(),
        "CREATE TABLE self (id INT PRIMARY KEY, boss INT, FOREIGN KEY (boss) REFERENCES self (id))".into(),
        "INSERT INTO self VALUES (3,NULL),(1,3),(2,2)".into(),
        "CREATE TABLE egg (id INT PRIMARY KEY, hen INT)".into(),
        "CREATE TABLE hen (id INT PRIMARY KEY, egg INT, FOREIGN KEY (egg) REFERENCES egg (id))".into(),
        "ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen (id)".into(),
        "INSERT INTO egg VALUES (1,NULL)".into(),
        "INSERT INTO hen VALUES (1,1)".into(),
        "UPDATE egg SET hen = 1".into(),
        "CREATE TABLE `tick``s . ' \" \u{8868} $` (`a``b` INT PRIMARY KEY, `c.d` INT, KEY `e``f` (`c.d`))".into(),
        "INSERT INTO `tick``s . ' \" \u{8868} $` VALUES (1,2)".into(),
        "CREATE TABLE zero_dates (id INT PRIMARY KEY, a DATE NOT NULL, b DATETIME, c YEAR, d TIMESTAMP NULL, e DATE)".into(),
        "INSERT INTO zero_dates VALUES (1,0,0,0,0,'2000-00-00'),(2,'2000-00-00','2000-01-00',2000,NULL,0)".into(),
        "CREATE TABLE enums (id INT PRIMARY KEY, e ENUM('a,b','it''s','c'), s SET('x','it''s'))".into(),
        "INSERT IGNORE INTO enums VALUES (1,'a,b','it''s,x'),(2,'it''s',''),(3,'wrong','x')".into(),
    ] {
        source.query_drop(&sql).unwrap_or_else(|error| panic!("{error}: {}", &sql[..sql.len().min(200)]));
    }
    let mut options = pair.options("odd", &["odd"]);
    options.load.method = method;
    let migration = Migration::new(options);
    let report = run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "odd");
    assert_eq!((table(&report, "empty_table").rows, table(&report, "one_row").rows), (0, 1));
    for sql in [
        "UPDATE columns_331 SET c329 = -1, c0 = NULL WHERE id = 1",
        "UPDATE columns_300 SET c299 = 'x' WHERE id = 2",
        "INSERT INTO empty_table VALUES (0,0)",
        "DELETE FROM one_row",
        "UPDATE row_of_20_mb SET b = REPEAT(x'FF27', 10485760) WHERE id = 2",
        "DELETE FROM row_of_20_mb WHERE id = 1",
        "UPDATE `Case` SET upper = 9 WHERE id = 1",
        "DELETE FROM `case` WHERE id = 1",
        "INSERT INTO id_zero (a) VALUES (7)",
        "UPDATE id_zero SET a = 8 WHERE id = 0",
        "DELETE FROM a_child WHERE id = 1",
        "DELETE FROM z_parent WHERE a = 1",
        "UPDATE self SET boss = 1 WHERE id = 2",
        "UPDATE egg SET hen = NULL",
        "DELETE FROM hen",
        "UPDATE `tick``s . ' \" \u{8868} $` SET `c.d` = 3, `a``b` = 4",
        "UPDATE zero_dates SET b = 0, e = '1999-00-00', d = 0 WHERE id = 2",
        "UPDATE enums SET e = 'c' WHERE id = 3",
    ] {
        source.query_drop(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "odd");
    let foreign_keys =
        "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = 'odd'";
    assert_eq!(pair.target.query_one::<u64>(foreign_keys), 4);
}

#[test]
fn odd_tables_old_to_new() {
    odd_tables(Generation::Old, LoadMethod::Auto);
}

#[test]
fn odd_tables_new_to_new() {
    odd_tables(Generation::New, LoadMethod::Auto);
}

#[test]
fn odd_tables_by_insert() {
    odd_tables(Generation::Old, LoadMethod::Insert);
}
