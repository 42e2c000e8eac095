//! Every type, with its awkward values, arrives byte-equal: through the copy, and through binlog INSERT, UPDATE and DELETE.
use dts_core::full_loader::LoadMethod;
use dts_core::migration::{Migration, Until};
use dts_testbed::dump;
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, run};

/// Columns of every version: definition and values (SQL expressions, one row each; the last one is used again when a column
/// has fewer).
pub(crate) const COLUMNS: &[(&str, &[&str])] = &[
    ("ti TINYINT", &["-128", "127", "0", "NULL"]),
    ("tu TINYINT UNSIGNED", &["255", "128", "0", "NULL"]),
    ("si SMALLINT", &["-32768", "32767", "-1"]),
    ("su SMALLINT UNSIGNED", &["65535", "32768", "0"]),
    ("mi MEDIUMINT", &["-8388608", "-1", "8388607", "-256"]),
    ("mu MEDIUMINT UNSIGNED", &["16777215", "8388608", "0"]),
    ("ii INT", &["-2147483648", "2147483647", "-1"]),
    ("iu INT UNSIGNED", &["4294967295", "2147483648", "0"]),
    ("bi BIGINT", &["-9223372036854775808", "9223372036854775807", "-1"]),
    ("bu BIGINT UNSIGNED", &["18446744073709551615", "9223372036854775808", "0"]),
    ("zf INT(8) UNSIGNED ZEROFILL", &["42", "0", "4294967295"]),
    ("b1 BIT(1)", &["b'1'", "b'0'", "NULL"]),
    ("b13 BIT(13)", &["b'1010101010101'", "b'0'", "b'1111111111111'", "x'0A'"]),
    ("b64 BIT(64)", &["x'FFFFFFFFFFFFFFFF'", "x'5C090A00'", "b'0'"]),
    (
        "d1 DECIMAL(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-0.000000000000000000000000000001",
            "0",
        ],
    ),
    ("d2 DECIMAL(10,0)", &["-9999999999", "9999999999", "0"]),
    ("d3 DECIMAL(5,5)", &["0.12345", "-0.99999", "0.00001"]),
    ("d4 DECIMAL(9,2) UNSIGNED", &["1234567.89", "0.10", "0"]),
    ("f FLOAT", &["16777217", "1.2345678", "-3.4028234e38", "1.17549435e-38", "0.1", "-0e0"]),
    ("fd FLOAT(7,3)", &["1234.567", "-0.001", "0"]),
    (
        "db DOUBLE",
        &["1.7976931348623157e308", "2.2250738585072014e-308", "0.1", "-0e0", "12345678901234567", "1e22"],
    ),
    ("dt DATE", &["'0000-00-00'", "'2020-00-00'", "'1000-01-01'", "'9999-12-31'", "'2000-02-29'"]),
    ("t0 TIME", &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"]),
    ("t1 TIME(1)", &["'-00:00:00.1'", "'-12:34:56.9'", "'00:00:00.1'"]),
    ("t2 TIME(2)", &["'-00:00:00.01'", "'-838:59:58.99'", "'01:02:03.04'"]),
    ("t3 TIME(3)", &["'-00:00:00.001'", "'23:59:59.999'"]),
    ("t4 TIME(4)", &["'-00:00:00.0001'", "'00:00:00.9999'"]),
    ("t6 TIME(6)", &["'-00:00:00.000001'", "'838:59:58.999999'"]),
    (
        "dt0 DATETIME",
        &["'0000-00-00 00:00:00'", "'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'2020-01-00 10:00:00'"],
    ),
    ("dt3 DATETIME(3)", &["'1969-12-31 23:59:59.999'", "'0000-00-00 00:00:00'", "'2038-01-19 03:14:08.001'"]),
    ("dt6 DATETIME(6)", &["'2020-06-01 12:34:56.000001'", "'9999-12-31 23:59:59.999999'"]),
    (
        "ts0 TIMESTAMP NULL DEFAULT NULL",
        &["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'", "NULL"],
    ),
    (
        "ts6 TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        &["'2020-03-29 02:30:00.123456'", "'0000-00-00 00:00:00.000000'", "'1970-01-01 00:00:01.000001'"],
    ),
    ("y YEAR", &["0", "1901", "2155", "2000"]),
    ("ch CHAR(10) CHARACTER SET utf8mb4", &["'trail   '", "''", "'\u{1F600}x'", "'A\\\\b\\tc\\nd'"]),
    (
        "vc VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        &["'trail   '", "CONCAT('nul',CHAR(0),'x')", "'\\'quote\\' \\\\N \\\\'", "''"],
    ),
    ("vl VARCHAR(300) CHARACTER SET latin1", &["x'E9E8FF80'", "REPEAT('\u{e9}', 300)", "''"]),
    ("vg VARCHAR(50) CHARACTER SET gbk", &["x'C4E3BAC3'", "x'815C'", "'ascii'"]),
    ("vs VARCHAR(50) CHARACTER SET sjis", &["x'835C8145'", "'a'"]),
    ("vu VARCHAR(50) CHARACTER SET utf16", &["'\u{4f60}\u{597d}'", "'\u{1F600}'", "x'000A005C'"]),
    ("v3 VARCHAR(50) CHARACTER SET utf8", &["'\u{4f60}\u{597d}\u{e9}'", "''"]),
    ("bn BINARY(8)", &["x'0100000000000000'", "x'00'", "''", "x'2020202020202020'", "x'5C0A09000D1A2722'"]),
    ("vb VARBINARY(20)", &["x'FF00FE00'", "''", "x'C080'", "x'00'"]),
    ("tb TINYBLOB", &["x'00'", "''", "NULL"]),
    ("bl BLOB", &["REPEAT(x'0009000A5C0D1A2722FFC3', 500)", "''", "x'00'"]),
    ("mb MEDIUMBLOB", &["REPEAT('m', 100000)", "NULL"]),
    ("lb LONGBLOB", &["REPEAT(x'FF', 300000)", "''"]),
    ("tt TINYTEXT CHARACTER SET latin1", &["x'FFE9'", "''"]),
    ("tx TEXT CHARACTER SET utf8mb4", &["REPEAT('\u{1F600}\\\\\\t', 1000)", "''", "NULL"]),
    ("mt MEDIUMTEXT CHARACTER SET gbk", &["REPEAT(x'815C', 1000)", "'a'"]),
    ("lt LONGTEXT CHARACTER SET utf8mb4", &["REPEAT('x', 200000)", "NULL"]),
    ("en ENUM('a','b,c','d''e','\u{e9}') CHARACTER SET utf8mb4", &["1", "2", "3", "4", "0", "NULL"]),
    ("ee ENUM('','x') CHARACTER SET latin1", &["1", "2", "0"]),
    ("st SET('a','b','c''d','\u{4f60}') CHARACTER SET utf8mb4", &["15", "0", "5", "NULL"]),
    (
        "s64 SET('1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17')",
        &["131071", "65536", "1"],
    ),
    (
        "g GEOMETRY",
        &["ST_GeomFromText('POINT(1.5 -2)', 4326)", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')", "NULL"],
    ),
    ("pt POINT", &["ST_GeomFromText('POINT(3 4)', 0)", "NULL"]),
];

pub(crate) const COLUMNS_NEW: &[(&str, &[&str])] = &[
    (
        "js JSON",
        &[
            "JSON_OBJECT('d', CAST('1.10' AS DECIMAL(5,2)), 't', CAST('2020-01-02 03:04:05.6' AS DATETIME(6)), 'x', CAST('12:00:00' AS TIME))",
            "'{\"a\": [1, -1, 1.5, 1e100, 18446744073709551615, null, true, \"\u{e9}\\\\u0000\\\\n\\\\\\\\\"], \"\": {}}'",
            "CAST(CAST('12345678901234567890.1234567890' AS DECIMAL(40,10)) AS JSON)",
            "JSON_ARRAY(CAST('0.000' AS DECIMAL(4,3)), JSON_OBJECT('k\"\\\\', CAST(-5.50 AS DECIMAL(4,2))), '1.10')",
            "'\"\"'",
            "NULL",
        ],
    ),
    ("vv VECTOR(3)", &["STRING_TO_VECTOR('[1.5,-2,3e10]')", "NULL"]),
    ("gv INT GENERATED ALWAYS AS (ti + 1) VIRTUAL", &[]),
    ("gs VARCHAR(20) GENERATED ALWAYS AS (HEX(bn)) STORED", &[]),
    ("hid INT INVISIBLE DEFAULT 7", &["5", "NULL"]),
];

/// The table, with each value of each column in at least one row. Returns the CREATE and the INSERT for a name.
fn statements(name: &str, columns: &[&(&str, &[&str])]) -> (String, String, Vec<String>) {
    let definitions: Vec<&str> = columns.iter().map(|(definition, _)| *definition).collect();
    let written: Vec<_> = columns.iter().filter(|(_, values)| !values.is_empty()).collect();
    let names: Vec<String> =
        written.iter().map(|(definition, _)| definition.split(' ').next().unwrap().to_owned()).collect();
    let row_count = written.iter().map(|(_, values)| values.len()).max().unwrap();
    let rows: Vec<String> = (0..row_count)
        .map(|row| {
            let values: Vec<&str> =
                written.iter().map(|(_, values)| values[row.min(values.len() - 1)]).collect();
            format!("({},{})", row, values.join(","))
        })
        .collect();
    let create = format!(
        "CREATE TABLE types.{name} (id INT NOT NULL, {}, PRIMARY KEY (id)) DEFAULT CHARSET=utf8mb4",
        definitions.join(", ")
    );
    let insert = format!("INSERT INTO types.{name} (id,{}) VALUES {}", names.join(","), rows.join(","));
    (create, insert, names)
}

/// The same table without its key.
pub(crate) fn statements_without_key(name: &str, columns: &[&(&str, &[&str])]) -> (String, String) {
    let (create, insert, _) = statements(name, columns);
    (create.replace(", PRIMARY KEY (id)", ""), insert)
}

fn every_type(generation: Generation, method: LoadMethod) {
    let pair = Pair::start(generation);
    let columns: Vec<_> = match generation {
        Generation::Old => COLUMNS.iter().collect(),
        Generation::New => COLUMNS.iter().chain(COLUMNS_NEW).collect(),
    };
    let mut source = pair.source.root();
    source.query_drop("SET NAMES utf8mb4").unwrap();
    source.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'").unwrap();
    source.query_drop("CREATE DATABASE types").unwrap();
    let mut names = Vec::new();
    for table in ["copied", "inserted", "updated", "deleted"] {
        let (create, insert, columns) = statements(table, &columns);
        source.query_drop(create).unwrap();
        if table != "inserted" {
            source.query_drop(insert).unwrap();
        }
        names = columns;
    }
    let mut options = pair.options("types", &["types"]);
    options.load.method = method;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "types");

    let columns = names.join(",");
    source
        .query_drop(format!(
            "INSERT INTO types.inserted (id,{columns}) SELECT id,{columns} FROM types.copied"
        ))
        .unwrap();
    // Every row takes the values of the next one.
    let count: u64 = source.query_first("SELECT COUNT(*) FROM types.copied").unwrap().unwrap();
    let set: Vec<String> = names.iter().map(|name| format!("u.{name} = c.{name}")).collect();
    source
        .query_drop(format!(
            "UPDATE types.updated u JOIN types.copied c ON c.id = (u.id + 1) % {count} SET {}",
            set.join(", ")
        ))
        .unwrap();
    source.query_drop("DELETE FROM types.deleted WHERE id % 2 = 0").unwrap();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "types");
    let left: u64 = pair.target.query_one("SELECT COUNT(*) FROM types.deleted");
    assert_eq!(left, count / 2);
}

#[test]
fn every_type_old_to_new() {
    every_type(Generation::Old, LoadMethod::Auto);
}

#[test]
fn every_type_new_to_new() {
    every_type(Generation::New, LoadMethod::Auto);
}

#[test]
fn every_type_by_insert() {
    every_type(Generation::New, LoadMethod::Insert);
}

/// Every type that `docs/types.md` speaks of is a column here.
#[test]
fn every_line_of_the_document_is_a_column() {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/types.md");
    let text = std::fs::read_to_string(path).unwrap();
    let is_there = |word: &str| {
        COLUMNS
            .iter()
            .chain(COLUMNS_NEW)
            .any(|(definition, _)| definition.split([' ', '(']).any(|part| part == word))
    };
    let mut lines = 0;
    for line in text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| type") && !line.starts_with("| ---"))
    {
        let name = line.split('|').nth(1).unwrap().trim();
        lines += 1;
        let types: Vec<&str> = match name {
            "TINYINT ... BIGINT, UNSIGNED, ZEROFILL" => {
                vec!["TINYINT", "SMALLINT", "MEDIUMINT", "INT", "BIGINT", "UNSIGNED", "ZEROFILL"]
            }
            "GEOMETRY and subtypes" => vec!["GEOMETRY", "POINT"],
            "generated columns" => vec!["GENERATED"],
            "invisible columns" => vec!["INVISIBLE"],
            _ => name.split(", ").map(|name| name.split('(').next().unwrap()).collect(),
        };
        for word in types {
            assert!(is_there(word), "no column is of {word}, of the line {line}");
        }
    }
    assert!(lines >= 18, "{lines} lines");
}
