//! Every type with its edge values: equal data is the same, and the servers and we hash alike.
use super::*;

/// Every type that 5.6, 9.7 and MariaDB have, with its edge values.
const TYPES: &str = "
CREATE TABLE types (id INT PRIMARY KEY,
 ti TINYINT, tiu TINYINT UNSIGNED, si SMALLINT, siu SMALLINT UNSIGNED, mi MEDIUMINT, miu MEDIUMINT UNSIGNED, i INT,
 iu INT UNSIGNED, bi BIGINT, biu BIGINT UNSIGNED, iz INT(8) ZEROFILL, de DECIMAL(65,30), dm DECIMAL(10,2),
 dz DECIMAL(10,2) ZEROFILL, f FLOAT, f72 FLOAT(7,2), d DOUBLE, d103 DOUBLE(20,3), b1 BIT(1), b9 BIT(9), b64 BIT(64),
 y YEAR, da DATE, t TIME, t6 TIME(6), dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts3 TIMESTAMP(3) NULL,
 e ENUM('a','','c'), e16 ENUM('ä','ö') CHARACTER SET utf16, s SET('x','y','z') CHARACTER SET gbk,
 l1 VARCHAR(20) CHARACTER SET latin1, u16 VARCHAR(20) CHARACTER SET utf16, gbk CHAR(20) CHARACTER SET gbk,
 u32 TEXT CHARACTER SET utf32, sj LONGTEXT CHARACTER SET sjis, u8 VARCHAR(20) CHARACTER SET utf8,
 u4 VARCHAR(20) CHARACTER SET utf8mb4, b5 TINYTEXT CHARACTER SET big5, mt MEDIUMTEXT CHARACTER SET utf8mb4,
 bi8 BINARY(8), vb VARBINARY(20), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, g GEOMETRY, gp POINT, gl LINESTRING)
 ENGINE=InnoDB DEFAULT CHARSET=utf8;
INSERT INTO types VALUES
(1, -128,255,-32768,65535,-8388608,16777215,-2147483648,4294967295,-9223372036854775808,18446744073709551615,42,
 123456789012345678901234567890.123456789012345678901234567891,-99999999.99,12.5,1.2345678,12345.67,1.2345678901234567,
 123456789.123,1,b'101010101',x'FFFFFFFFFFFFFFFF',2024,'2024-02-29','-838:59:59','-12:34:56.000001','2024-01-01 00:00:00',
 '2024-01-01 00:00:00.120000','2024-01-01 00:00:00','2024-01-01 00:00:00.5','a','ö','x,z','é€','日本 a','中文','日本','テスト',
 'é','😀','中',REPEAT('😀',1000),x'01020000','ab\\0c',x'00ff',x'00',x'c3',x'5c27',ST_GeomFromText('POINT(1 2)'),
 ST_GeomFromText('POINT(-1.5 2e10)'),ST_GeomFromText('LINESTRING(0 0,1 1)')),
(2, 0,0,0,0,0,0,0,0,0,0,0,0,0,0,3.4028234e38,0,1.7976931348623157e308,0,0,0,0,0,'0000-00-00','00:00:00','0:0:0','0000-00-00',
 '0000-00-00','0000-00-00','0000-00-00','','ä','','','','','','','','','','','','','','','','',NULL,NULL,NULL),
(3, 1,1,1,1,-1,1,1,1,1,1,99999999,-1.5,0.1,0,-1.17549435e-38,-0.01,-2.2250738585072014e-308,-1.5,1,1,x'8000000000000000',1901,
 '2024-00-00','838:59:59','1:1:1.5','9999-12-31 23:59:59','1000-01-01','2038-01-19 03:14:07','2038-01-19 03:14:07.999','bogus',
 'ä','y','a ','b','c ','d','e','A','a','a','a ','a','a','a ','a','a','a',NULL,NULL,NULL),
(4, NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,
 NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL),
(5, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,16777216,-0e0,-0.000012345678901234567,1e15,0,5,3,2155,'1970-01-01','1:1:1','-1:1:1',
 '1970-01-01','1970-01-01','1970-01-01 00:00:01','1970-01-01 00:00:01','c','ö','x','N','N','N','N','N','N','N','N','N','N','N',
 'N','N','N','N',NULL,NULL,NULL),
(6, 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1e-45,99999.99,-4.9e-324,12345678901.123,0,5,3,2155,'1970-01-01','1:1:1','-1:1:1',
 '1970-01-01','1970-01-01','1970-01-01 00:00:01','1970-01-01 00:00:01','c','ö','x','1:a','1:','0',',','N,','N','N','N','N','N','N',
 'N','N','N','N',NULL,NULL,NULL);
CREATE TABLE text_key (k VARCHAR(20) CHARACTER SET utf8 COLLATE utf8_general_ci, n INT, v INT, PRIMARY KEY (k, n));
INSERT INTO text_key VALUES ('',1,1),('a',1,1),('ä',2,1),('ß',1,1),('ss',1,1),('z',1,1),('Z',2,1),('中',1,1),('a b',1,1);
CREATE TABLE latin1_key (k VARCHAR(20) CHARACTER SET latin1, v INT, PRIMARY KEY (k));
INSERT INTO latin1_key VALUES ('',1),('a',1),('é',1),('ß',1),('it''s',1),('back\\\\slash',1);
CREATE TABLE binary_key (k BINARY(4), d DECIMAL(10,3), t TIMESTAMP(3) NOT NULL, PRIMARY KEY (k, d, t));
INSERT INTO binary_key VALUES (x'00',1.5,'2024-01-01 00:00:00.5'),(x'00',1.25,'2024-01-01'),(x'FFFFFFFF',-1,'1970-01-01 00:00:01'),(x'275C0A0D',0,'2038-01-19');
CREATE TABLE enum_key (e ENUM('b','a','') NOT NULL, b BIT(9) NOT NULL, f FLOAT NOT NULL, v INT, PRIMARY KEY (e, b, f));
INSERT INTO enum_key VALUES ('a',1,1.2345678,1),('b',511,3.4e38,1),('',0,0.1,1),('bogus',0,0.1,1),(3,7,-1e-38,1);
CREATE TABLE keyless (a INT, b VARCHAR(20) CHARACTER SET utf8mb4, h INT, d DOUBLE);
INSERT INTO keyless VALUES (1,'x',1,0.1),(1,'x',1,0.1),(1,'x',1,0.1),(NULL,NULL,NULL,NULL),(NULL,NULL,NULL,NULL),(2,'😀',2,1e300);
CREATE TABLE nullable_unique (a INT UNIQUE, b INT);
INSERT INTO nullable_unique VALUES (1,1),(2,2),(NULL,3),(NULL,3);
CREATE TABLE no_rows (a INT PRIMARY KEY);
CREATE TABLE no_rows_keyless (a INT);
CREATE TABLE many (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, v VARCHAR(40), ts TIMESTAMP NOT NULL DEFAULT '2000-01-01') ENGINE=InnoDB;
INSERT INTO many (v, ts) VALUES (MD5X(1), '2001-01-01');
CREATE TABLE parts (id INT, p INT, v INT, PRIMARY KEY (id, p)) PARTITION BY HASH (p) PARTITIONS 4;
INSERT INTO parts VALUES (1,1,1),(2,2,2),(3,3,3),(4,4,4),(5,5,5);
";

pub(super) const TYPE_TABLES: [&str; 11] = [
    "types",
    "text_key",
    "latin1_key",
    "binary_key",
    "enum_key",
    "keyless",
    "nullable_unique",
    "no_rows",
    "no_rows_keyless",
    "many",
    "parts",
];

/// What only 9.7 has.
const TYPES_97: &str = "
CREATE TABLE new_types (id INT PRIMARY KEY, j JSON, v VECTOR(3), g GEOMETRY SRID 4326, gen INT AS (id + 1), st INT AS (id * 2) STORED,
 inv INT INVISIBLE);
INSERT INTO new_types (id, j, v, g, inv) VALUES
 (1, '{\"b\": 1.10, \"a\": [1, \"\\\\u00e9\", null, true], \"c\": 1e100}', STRING_TO_VECTOR('[1,2.5,-3]'), ST_GeomFromText('POINT(10 20)', 4326), 7),
 (2, NULL, NULL, ST_GeomFromText('POINT(0 0)', 4326), NULL),
 (3, JSON_OBJECT('d', CAST('1.10' AS DECIMAL(5,2)), 't', CAST('2024-01-01' AS DATE)), NULL, ST_GeomFromText('POINT(1 2)', 4326), 0);
CREATE TABLE hidden (a INT) ;
INSERT INTO hidden VALUES (1),(1);
";

pub(super) fn types(pair: &Pair) {
    // 256 rows by doubling, with values that depend on the id alone.
    let doubling: String = (0..8)
        .map(|_| "INSERT INTO many (v, ts) SELECT '', '2001-01-01' FROM many;")
        .chain(["SET @n := 0; UPDATE many SET id = (@n := @n + 1) + 1000000 ORDER BY id; UPDATE many SET id = id - 1000000;",
            "UPDATE many SET v = SHA2(id, 224), ts = '2001-01-01' + INTERVAL id HOUR;"])
        .collect();
    let sql = TYPES
        .replace("MD5X(1)", "''")
        .replace("CREATE TABLE parts", &format!("{doubling} CREATE TABLE parts"));
    pair.exec(&format!("CREATE DATABASE d DEFAULT CHARACTER SET utf8; USE d; {sql}"));
}

#[test]
fn check_of_equal_data_is_same_for_every_type_and_pair_of_versions() {
    for (source, target) in [
        (Version::Mysql56, Version::Mysql97),
        (Version::Mysql97, Version::Mysql97),
        (Version::Mysql97, Version::Mysql56),
        (Version::Mariadb1011, Version::Mysql97),
    ] {
        let pair = Pair::start(source, target);
        types(&pair);
        let mut tables = TYPE_TABLES.to_vec();
        if (source, target) == (Version::Mysql97, Version::Mysql97) {
            pair.exec(&format!("USE d; {TYPES_97}"));
            tables.extend(["new_types", "hidden"]);
        }
        let report = pair.check(&tables);
        println!("{source} -> {target}");
        assert_same(&report);
        assert_same(&pair.check_with(&tables, streamed(), &NothingApplies));
        let many = report.tables.iter().find(|table| table.source.table == "many").unwrap();
        assert_eq!((many.rows_source, many.rows_target, many.rows_compared, many.chunks), (256, 256, 256, 3));
        let empty = report.tables.iter().find(|table| table.source.table == "no_rows").unwrap();
        assert_eq!((empty.rows_compared, empty.chunks), (0, 1));
    }
}

/// What we hash from the cells is, bit for bit, what each server hashes, for every type.
#[test]
fn check_hashes_rows_as_the_servers_do() {
    let stop = StopToken::new();
    for (source, target) in [(Version::Mysql56, Version::Mysql97), (Version::Mariadb1011, Version::Mysql97)] {
        let pair = Pair::start(source, target);
        types(&pair);
        pair.target.exec(&format!("USE d; SET NAMES utf8mb4; {TYPES_97}"));
        let (source, target) = pair.endpoints();
        let (mut old, mut new) = (source.reader(&stop).unwrap(), target.writer(&stop).unwrap());
        let sources =
            catalog::tables(&mut source.control(&stop).unwrap(), source.facts(), "d", |_| true).unwrap();
        let targets =
            catalog::tables(&mut target.control(&stop).unwrap(), target.facts(), "d", |_| true).unwrap();
        for table in &targets {
            let other = sources.iter().find(|other| other.name == table.name).unwrap_or(table);
            let columns: Vec<ColumnPair<'_>> = other
                .columns
                .iter()
                .zip(&table.columns)
                .map(|(source, target)| ColumnPair { source, target })
                .collect();
            let key = other.row_key().map(|key| key.columns).unwrap_or_default();
            let side = |table, binary_xor| DigestSide { table, index: None, binary_xor };
            let (one, two) = RowDigest::pair(
                side(&table.name, false),
                side(&table.name, true),
                &columns,
                &key,
                Content::Values,
            );
            let whole = KeyRange::default();
            let rows = Rows::Range(&whole);
            for (digest, connection) in [(&one, &mut old), (&two, &mut new)] {
                if std::ptr::eq(other, table) && std::ptr::eq(digest, &one) {
                    continue; // Only the target has it.
                }
                let answer = connection.query_row(digest.digest(rows).unwrap(), "hashing").unwrap().unwrap();
                let cells: Vec<_> = (0..answer.len()).map(|cell| answer.bytes(cell)).collect();
                let theirs = Digest::parse(&cells).unwrap();
                let mut ours = Digest::EMPTY;
                let mut reader = digest.reader(rows);
                let mut stream = connection.stream(digest.cells(rows).unwrap(), "reading").unwrap();
                while let Some(mut cells) = stream.next_row().unwrap() {
                    ours.add(&reader.read_hash(&mut cells).unwrap(), digest.has_key());
                }
                assert_eq!(ours, theirs, "{}", table.name);
                assert!(theirs.rows > 0 || table.name.table.starts_with("no_rows"));
            }
        }
    }
}
