//! The oracle sees every byte, on both sides of a version gap.

use dts_testbed::{Server, ServerOptions, Version, dump};

/// Every column type that both servers know, with values at which renderings usually lose something.
const TYPES: &str = r"
CREATE DATABASE d CHARACTER SET latin1; USE d; SET NAMES utf8, sql_mode = '', time_zone = '+02:00';
CREATE TABLE types (
    id BIGINT UNSIGNED NOT NULL PRIMARY KEY, ti TINYINT, si SMALLINT, mi MEDIUMINT ZEROFILL, bi BIGINT,
    de DECIMAL(65,30), fl FLOAT, f7 FLOAT(7,2), dou DOUBLE, d10 DOUBLE(10,2), bt BIT(64),
    ch CHAR(10) CHARACTER SET utf8, vc VARCHAR(20) CHARACTER SET latin1, gb VARCHAR(20) CHARACTER SET gbk,
    u2 VARCHAR(20) CHARACTER SET ucs2, mb VARCHAR(20) CHARACTER SET utf8mb4, tx LONGTEXT,
    bn BINARY(5), vb VARBINARY(20), bl LONGBLOB,
    en ENUM('', 'a', 'b') NOT NULL, se SET('x','y','z'), da DATE, dt DATETIME(6), ts TIMESTAMP(3) NULL, tm TIME(6),
    ye YEAR, ge GEOMETRY, po POINT
);
INSERT INTO types VALUES
    (1, -128, -32768, 7, -9223372036854775808, 12345678901234567890123456789012345.123456789012345678901234567891,
     1.2345678, 12345.67, 0.1, 1.239, b'1000000000000000000000000000000000000000000000000000000000000001',
     'é ', 'é', '中', '中', '😀', REPEAT('x', 100000), 'ab', 'ab\0', 0x00FF,
     'b', 'x,z', '2024-02-00', '2024-02-29 23:59:59.999999', '2024-06-01 12:00:00.123', '-838:59:59.000000',
     1901, ST_GeomFromText('POINT(1 2)', 0), ST_GeomFromText('POINT(1 2)', 0)),
    (18446744073709551615, NULL, NULL, NULL, NULL, NULL, 16777216, NULL, -0e0, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, 'nonsense', 0, '0000-00-00', '0000-00-00', '0000-00-00', NULL, 0, NULL, NULL);
CREATE TABLE keyless (a INT, b VARCHAR(10));
INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (2, NULL);
CREATE TABLE bare (a INT);
CREATE VIEW seen AS SELECT * FROM keyless;
";

fn start(version: Version) -> Server {
    Server::start(ServerOptions::new(version)).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes one change, expects exactly the difference that it is, and expects none after it is taken back.
fn sees(source: &Server, target: &Server, change: &str, back: &str, expected: &[&str]) {
    target.exec(&format!("SET sql_mode = '', time_zone = '+00:00'; USE d; {change}"));
    let found = dump::differences(source, "d", target, "d").join("\n");
    assert!(expected.iter().all(|part| found.contains(part)), "{change}: {found}");
    target.exec(&format!("SET sql_mode = '', time_zone = '+00:00'; USE d; {back}"));
    dump::assert_equal(source, target, "d");
}

#[test]
fn a_changed_byte_is_found_across_versions() {
    let (source, target) = (start(Version::Mysql56), start(Version::Mysql97));
    for server in [&source, &target] {
        server.exec(TYPES);
    }
    dump::assert_equal(&source, &target, "d");
    assert_eq!(dump::tables(&source, "d"), ["bare", "keyless", "types"]);

    let sees = |change: &str, back: &str, expected: &[&str]| sees(&source, &target, change, back, expected);
    sees(
        "UPDATE types SET fl = 1.2345679 WHERE id = 1",
        "UPDATE types SET fl = 1.2345678 WHERE id = 1",
        &["d.types", "differs at id=1:", "fl is 00000020CAC0F33F / 00000040CAC0F33F"],
    );
    sees(
        "UPDATE types SET d10 = 1.23 WHERE id = 1",
        "UPDATE types SET d10 = 1.239 WHERE id = 1",
        &["d10 is"],
    );
    sees("UPDATE types SET en = '' WHERE id > 1", "UPDATE types SET en = 0 WHERE id > 1", &["en is :0 / :1"]);
    sees(
        "UPDATE types SET dou = 0 WHERE id > 1",
        "UPDATE types SET dou = -0e0 WHERE id > 1",
        &["dou is 0000000000000080 / 0000000000000000"],
    );
    sees(
        "UPDATE types SET vc = 'E' WHERE id = 1",
        "UPDATE types SET vc = 0xE9 WHERE id = 1",
        &["vc is E9 / 45"],
    );
    sees(
        "UPDATE types SET ge = ST_GeomFromText('POINT(1 2)', 4326) WHERE id = 1",
        "UPDATE types SET ge = ST_GeomFromText('POINT(1 2)', 0) WHERE id = 1",
        &["ge is 00000000", "/ E6100000"],
    );
    sees(
        "UPDATE types SET da = '2024-01-00' WHERE id = 1",
        "UPDATE types SET da = '2024-02-00' WHERE id = 1",
        &["da is"],
    );
    sees(
        "DELETE FROM keyless LIMIT 1",
        "INSERT INTO keyless VALUES (1, 'x')",
        &["d.keyless: 3 rows", "only on the source: a=1, b=78"],
    );
    sees("INSERT INTO bare VALUES (NULL)", "DELETE FROM bare", &["only on the target: a=NULL"]);
    sees("DROP TABLE bare", "CREATE TABLE bare (a INT)", &["d.bare: missing on the target"]);
    sees("ALTER TABLE bare RENAME COLUMN a TO b", "ALTER TABLE bare RENAME COLUMN b TO a", &["columns are"]);
}

#[test]
fn columns_that_only_newer_servers_have_are_compared() {
    let (source, target) = (start(Version::Mysql97), start(Version::Mysql97));
    for server in [&source, &target] {
        server.exec(
            "CREATE DATABASE d; USE d; CREATE TABLE t (id INT PRIMARY KEY, j JSON, g INT AS (id * 2) STORED, \
             hidden INT INVISIBLE, v VECTOR(2)); \
             INSERT INTO t (id, j, hidden, v) VALUES (1, '{\"b\": 1, \"a\": [1.50, null]}', 5, TO_VECTOR('[1,2]'))",
        );
    }
    dump::assert_equal(&source, &target, "d");
    assert_eq!(dump::table(&source, "d", "t").columns(), ["id", "j", "g", "hidden", "v"]);
    let back = "UPDATE t SET j = '{\"b\": 1, \"a\": [1.50, null]}', hidden = 5, v = TO_VECTOR('[1,2]')";
    sees(&source, &target, "UPDATE t SET hidden = 6", back, &["hidden is 5 / 6"]);
    sees(&source, &target, "UPDATE t SET j = JSON_SET(j, '$.a[1]', 0)", back, &["j is"]);
    sees(&source, &target, "UPDATE t SET v = TO_VECTOR('[1,3]')", back, &["v is"]);
}

#[test]
fn a_value_that_cannot_be_rendered_is_not_equal_to_another() {
    let server = Server::start(ServerOptions::new(Version::Mysql56).arg("--max-allowed-packet=1M")).unwrap();
    server.exec(
        "CREATE DATABASE d; CREATE TABLE d.t (b LONGBLOB); INSERT INTO d.t VALUES (REPEAT('x', 1000000))",
    );
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dump::table(&server, "d", "t")));
    assert!(outcome.is_err());
}

#[test]
fn half_a_million_rows_are_a_matter_of_seconds() {
    let server = start(Version::Mysql97);
    server.exec(
        "CREATE DATABASE d; USE d; SET cte_max_recursion_depth = 1000000; \
         CREATE TABLE t (id INT PRIMARY KEY, c CHAR(100) NOT NULL); \
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) \
         SELECT i, SHA2(i, 256) FROM n; CREATE DATABASE e; CREATE TABLE e.t LIKE d.t; INSERT INTO e.t SELECT * FROM t; \
         UPDATE e.t SET c = 'x' WHERE id IN (77, 400000)",
    );
    let begun = std::time::Instant::now();
    let found = dump::differences(&server, "d", &server, "e");
    eprintln!("2 x 500000 rows compared, differing ones read again: {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[1].contains("differs at id=77:") && found[2].contains("differs at id=400000:"),
        "{found:?}"
    );
}
