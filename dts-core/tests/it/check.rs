//! The checker against real servers: equal data is "same", every planted corruption is found with its key.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dts_core::checker::{
    AppliedPosition, CheckMethod, CheckMode, CheckOptions, CheckProgress, CheckReport, Checker,
    CheckpointPosition, Conclusion, DifferenceKind, NothingApplies, TableCheck, TablePair,
};
use dts_core::data::{Position, TableName};
use dts_core::error::Result;
use dts_core::server::catalog;
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::sql::digest::{Content, DigestSide, RowDigest, Rows};
use dts_core::sql::row_reader::Digest;
use dts_core::sql::row_text::ColumnPair;
use dts_core::sql::select::KeyRange;
use dts_core::stop::StopToken;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

fn connection(server: &Server) -> ConnectionOptions {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
    ConnectionOptions::new(address, "root", Secret::default())
}

fn start(version: Version) -> Server {
    let options = ServerOptions::new(version);
    Server::start(if version == Version::Mysql56 { options.rds_like() } else { options }).unwrap()
}

struct Pair {
    source: Server,
    target: Server,
}

impl Pair {
    fn start(source: Version, target: Version) -> Self {
        std::thread::scope(|scope| {
            let source = scope.spawn(|| start(source));
            let target = scope.spawn(|| start(target));
            Pair { source: source.join().unwrap(), target: target.join().unwrap() }
        })
    }

    /// Runs the same statements on both servers, so that they hold the same data by ordinary means.
    fn exec(&self, sql: &str) {
        for server in [&self.source, &self.target] {
            server.exec(&format!("SET NAMES utf8mb4; SET sql_mode = ''; SET time_zone = '+00:00'; {sql}"));
        }
    }

    fn corrupt(&self, sql: &str) {
        self.target.exec(&format!("SET NAMES utf8mb4; SET sql_mode = ''; SET time_zone = '+00:00'; {sql}"));
    }

    fn endpoints(&self) -> (SourceEndpoint, TargetEndpoint) {
        let stop = StopToken::new();
        (
            SourceEndpoint::connect(SourceOptions::new(connection(&self.source)), &stop).unwrap(),
            TargetEndpoint::connect(TargetOptions::new(connection(&self.target)), &stop).unwrap(),
        )
    }

    fn check_with(
        &self,
        tables: &[&str],
        options: CheckOptions,
        applied: &dyn AppliedPosition,
    ) -> CheckReport {
        let (source, target) = self.endpoints();
        let pairs = tables.iter().map(|table| TablePair::same(TableName::new("d", *table))).collect();
        let progress = CheckProgress::new();
        let report = Checker::new(&source, &target, pairs, options, applied)
            .run(&StopToken::new(), &progress)
            .unwrap();
        let counts = progress.counts();
        if report.mode == CheckMode::Full {
            assert_eq!(counts.rows_compared, report.rows_compared);
            assert_eq!(counts.tables_done + skipped(&report), counts.tables);
        }
        report
    }

    fn check(&self, tables: &[&str]) -> CheckReport {
        self.check_with(tables, options(), &NothingApplies)
    }
}

fn skipped(report: &CheckReport) -> u64 {
    report.tables.iter().filter(|table| table.skipped.is_some()).count() as u64
}

fn options() -> CheckOptions {
    let mut options = CheckOptions::default();
    options.chunk_rows = 100;
    options.patience = Duration::from_secs(20);
    options
}

/// All cells are read, and hashed here.
fn streamed() -> CheckOptions {
    let mut options = options();
    options.method = CheckMethod::Stream;
    options
}

/// `kind key=value,...: columns` of each difference.
fn lines(table: &TableCheck) -> Vec<String> {
    let line = |difference: &dts_core::checker::Difference| {
        let key: Vec<String> = difference.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let columns = difference.columns.join(",");
        format!("{:?} {}: {columns}", difference.kind, key.join(","))
            .trim_end()
            .trim_end_matches(':')
            .to_owned()
    };
    assert!(table.differences.len() as u64 <= table.differences_count);
    table.differences.iter().map(line).collect()
}

fn assert_same(report: &CheckReport) {
    for table in &report.tables {
        assert_eq!(lines(table), Vec::<String>::new(), "{}", table.source);
        assert_eq!((&table.incomplete, &table.skipped), (&None, &None), "{}", table.source);
    }
    assert_eq!(report.conclusion, Conclusion::Same);
}

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

const TYPE_TABLES: [&str; 11] = [
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

fn types(pair: &Pair) {
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

/// A table with its rows, what is done to it on the target, and what must be found.
struct Corruption {
    table: &'static str,
    sql: &'static str,
    found: &'static [&'static str],
}

const CORRUPTIONS: &[Corruption] = &[
    Corruption {
        table: "v VARCHAR(20)|(1,'abc'),(2,'abd')",
        sql: "UPDATE T SET v='abe' WHERE id=2",
        found: &["Different id=2: v"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'a'),(2,'b'),(3,'c')",
        sql: "DELETE FROM T WHERE id=2",
        found: &["Missing id=2"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'a')",
        sql: "INSERT INTO T VALUES (9,'b')",
        found: &["Extra id=9"],
    },
    Corruption {
        table: "v VARCHAR(20)|(5,'a')",
        sql: "INSERT INTO T VALUES (-9,'b')",
        found: &["Extra id=-9"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'a'),(2,'b'),(3,'c')",
        sql: "UPDATE T SET v=IF(id=1,'b','a') WHERE id IN (1,2)",
        found: &["Different id=1: v", "Different id=2: v"],
    },
    Corruption {
        table: "v VARCHAR(20), w VARCHAR(20)|(1,'a','b'),(2,'x','y')",
        sql: "UPDATE T SET v='b', w='a' WHERE id=1",
        found: &["Different id=1: v,w"],
    },
    Corruption {
        table: "v VARCHAR(20), w VARCHAR(20)|(1,'ab','c')",
        sql: "UPDATE T SET v='a', w='bc'",
        found: &["Different id=1: v,w"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,NULL),(2,NULL)",
        sql: "UPDATE T SET v='' WHERE id=1",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,NULL),(2,NULL)",
        sql: "UPDATE T SET v='N' WHERE id=1",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v INT, w INT|(1,NULL,1)",
        sql: "UPDATE T SET v=1, w=NULL",
        found: &["Different id=1: v,w"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'abc')",
        sql: "UPDATE T SET v='ABC'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'cafe')",
        sql: "UPDATE T SET v='café'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20)|(1,'abc')",
        sql: "UPDATE T SET v='abc '",
        found: &["Different id=1: v"],
    },
    Corruption { table: "v TEXT|(1,'abc')", sql: "UPDATE T SET v='abc '", found: &["Different id=1: v"] },
    Corruption {
        table: "v LONGBLOB|(1,REPEAT('x',3000000))",
        sql: "UPDATE T SET v=CONCAT(REPEAT('x',2999999),'y')",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v FLOAT|(1,1.2345678)",
        sql: "UPDATE T SET v=1.2345679",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v DOUBLE|(1,-2.2250738585072014e-308)",
        sql: "UPDATE T SET v=-2.225073858507202e-308",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v DOUBLE|(1,0.1)",
        sql: "UPDATE T SET v=0.10000000000000002",
        found: &["Different id=1: v"],
    },
    Corruption { table: "v DOUBLE|(1,0e0)", sql: "UPDATE T SET v=-0e0", found: &["Different id=1: v"] },
    Corruption {
        table: "v DECIMAL(10,4)|(1,1.5)",
        sql: "UPDATE T SET v=1.5001",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARBINARY(8)|(1,x'01020000')",
        sql: "UPDATE T SET v=x'0102'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v BINARY(4)|(1,x'20')",
        sql: "UPDATE T SET v=x'20202020'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v BIT(12)|(1,b'100000000001')",
        sql: "UPDATE T SET v=b'100000000000'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v BIGINT UNSIGNED|(1,18446744073709551615)",
        sql: "UPDATE T SET v=18446744073709551614",
        found: &["Different id=1: v"],
    },
    Corruption { table: "v ENUM('a','b','')|(1,'')", sql: "UPDATE T SET v=0", found: &["Different id=1: v"] },
    Corruption {
        table: "v ENUM('a','b')|(1,'a'),(2,'b')",
        sql: "ALTER TABLE T MODIFY v ENUM('b','a')",
        found: &["Different id=1: v", "Different id=2: v"],
    },
    Corruption {
        table: "v SET('a','b')|(1,'a,b')",
        sql: "UPDATE T SET v='a'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v TIME(6)|(1,'1:1:1.5')",
        sql: "UPDATE T SET v='-1:1:1.5'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v DATETIME|(1,'0000-00-00')",
        sql: "UPDATE T SET v=NULL",
        found: &["Different id=1: v"],
    },
    Corruption { table: "v YEAR|(1,0)", sql: "UPDATE T SET v=2000", found: &["Different id=1: v"] },
    Corruption {
        table: "v DATE|(1,'2024-00-00')",
        sql: "UPDATE T SET v='2024-00-01'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v GEOMETRY|(1,ST_GeomFromText('POINT(1 2)',0))",
        sql: "UPDATE T SET v=ST_GeomFromText('POINT(2 1)',4326)",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20) CHARACTER SET latin1|(1,'é')",
        sql: "UPDATE T SET v=CONVERT(_latin1 x'C3A9' USING latin1)",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20) CHARACTER SET utf8|(1,'é')",
        sql: "ALTER TABLE T MODIFY v VARCHAR(20) CHARACTER SET latin1",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VARCHAR(20) CHARACTER SET utf8mb4|(1,'😀')",
        sql: "UPDATE T SET v='?'",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v MEDIUMTEXT|(1,REPEAT('x',70000))",
        sql: "UPDATE T SET v=REPEAT('x',65535)",
        found: &["Different id=1: v"],
    },
];

#[test]
fn check_finds_every_planted_corruption_with_its_key() {
    let pair = Pair::start(Version::Mysql56, Version::Mysql97);
    planted(&pair, CORRUPTIONS);
}

/// Plants each, and finds exactly each.
fn planted(pair: &Pair, corruptions: &[Corruption]) {
    let mut sql = "CREATE DATABASE d DEFAULT CHARACTER SET utf8; USE d;".to_owned();
    let names: Vec<String> = (0..corruptions.len()).map(|n| format!("c{n}")).collect();
    for (name, corruption) in names.iter().zip(corruptions) {
        let (columns, rows) = corruption.table.split_once('|').unwrap();
        sql += &format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, {columns}); INSERT INTO {name} VALUES {rows};"
        );
    }
    pair.exec(&sql);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_same(&pair.check(&names));
    for (name, corruption) in names.iter().zip(corruptions) {
        pair.corrupt(&format!("USE d; {}", corruption.sql.replace(" T ", &format!(" {name} "))));
    }
    for options in [options(), streamed()] {
        let report = pair.check_with(&names, options, &NothingApplies);
        assert_eq!(report.conclusion, Conclusion::Different);
        for (table, corruption) in report.tables.iter().zip(corruptions) {
            assert_eq!(lines(table), corruption.found, "{}: {}", corruption.table, corruption.sql);
            assert_eq!(table.chunks_different, 1);
            assert_eq!((&table.incomplete, table.rows_unsettled), (&None, 0));
        }
    }
}

/// What only newer servers have.
const CORRUPTIONS_97: &[Corruption] = &[
    // The value prints alike; its type does not.
    Corruption {
        table: "v JSON|(1,'[1, 2]'),(2,'{\"a\": 1}')",
        sql: "UPDATE T SET v='{\"a\": \"1\"}' WHERE id=2",
        found: &["Different id=2: v"],
    },
    Corruption {
        table: "v JSON|(1,'null'),(2,NULL)",
        sql: "UPDATE T SET v=NULL WHERE id=1",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v JSON|(1,'{\"a\": 1.5}')",
        // An UPDATE would find the two equal, and write nothing.
        sql: "DELETE FROM T WHERE id=1; INSERT INTO T VALUES (1,JSON_OBJECT('a', CAST('1.50' AS DECIMAL(5,2))))",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v GEOMETRY|(1,ST_GeomFromText('POINT(1 2)',4326))",
        sql: "UPDATE T SET v=ST_SRID(v, 0)",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v VECTOR(2)|(1,STRING_TO_VECTOR('[1,2]'))",
        sql: "UPDATE T SET v=STRING_TO_VECTOR('[1,2.0000002]')",
        found: &["Different id=1: v"],
    },
    Corruption {
        table: "v INT, g INT AS (v + 1) STORED|(1,1,DEFAULT)",
        sql: "UPDATE T SET v=2",
        found: &["Different id=1: v"],
    },
    Corruption { table: "v INT INVISIBLE|(1)", sql: "UPDATE T SET v=3", found: &["Different id=1: v"] },
    Corruption {
        table: "v DOUBLE, w DATETIME(6)|(1,1e-320,'2024-01-01 00:00:00.000001')",
        sql: "UPDATE T SET w='2024-01-01 00:00:00.000002'",
        found: &["Different id=1: w"],
    },
];

#[test]
fn check_finds_every_planted_corruption_of_newer_types() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    planted(&pair, CORRUPTIONS_97);
}

/// An even number of rows changed in the same way: what an XOR of checksums of single columns does not see.
#[test]
fn check_finds_a_shift_of_a_thousand_timestamps() {
    let pair = Pair::start(Version::Mysql56, Version::Mysql97);
    let rows: Vec<String> =
        (1..=2000).map(|id| format!("({id},'2020-01-01' + INTERVAL {id} MINUTE)")).collect();
    for server in [&pair.source, &pair.target] {
        server.exec(&format!(
            "CREATE DATABASE IF NOT EXISTS d; CREATE TABLE d.shifted (id INT PRIMARY KEY, ts TIMESTAMP NULL); INSERT INTO \
             d.shifted VALUES {}",
            rows.join(",")
        ));
    }
    assert_eq!(pair.check(&["shifted"]).conclusion, Conclusion::Same);
    pair.corrupt("UPDATE d.shifted SET ts = ts + INTERVAL 8 HOUR WHERE id BETWEEN 501 AND 1500");
    let report = pair.check(&["shifted"]);
    let shifted: Vec<String> = (501..=1500).map(|id| format!("Different id={id}: ts")).collect();
    assert_eq!(lines(&report.tables[0]), shifted);
}

#[test]
fn check_finds_corruption_in_tables_with_other_keys() {
    let pair = Pair::start(Version::Mysql56, Version::Mysql97);
    types(&pair);
    pair.corrupt(
        "USE d;
        UPDATE many SET ts = ts + INTERVAL 8 HOUR WHERE id BETWEEN 51 AND 150;
        UPDATE text_key SET v = 2 WHERE k = 'ä' AND n = 2;
        DELETE FROM text_key WHERE k = 'Z' AND n = 2;
        UPDATE latin1_key SET k = 'E' WHERE k = 'é';
        UPDATE binary_key SET t = '2024-01-01 00:00:00.4' WHERE d = 1.5;
        UPDATE enum_key SET v = 9 WHERE e = 'a';
        DELETE FROM enum_key WHERE b = 7;
        INSERT INTO keyless VALUES (1,'x',1,0.1),(7,'new',7,7);
        DELETE FROM keyless WHERE a IS NULL LIMIT 1;
        UPDATE nullable_unique SET b = 4 WHERE a = 2;
        INSERT INTO no_rows VALUES (3);
        INSERT INTO no_rows_keyless VALUES (3),(3);
        UPDATE parts SET v = 9 WHERE id = 4;",
    );
    let report = pair.check(&TYPE_TABLES);
    let other = pair.check_with(&TYPE_TABLES, streamed(), &NothingApplies);
    for (one, other) in report.tables.iter().zip(&other.tables) {
        assert_eq!(one.differences, other.differences, "both methods agree on {}", one.source);
        assert_eq!(one.rows_compared, other.rows_compared);
    }
    let found = |table: &str| {
        let table = report.tables.iter().find(|check| check.source.table == table).unwrap();
        lines(table)
    };
    assert_eq!(report.conclusion, Conclusion::Different);
    assert!(found("types").is_empty());
    let shifted: Vec<String> = (51..=150).map(|id| format!("Different id={id}: ts")).collect();
    assert_eq!(found("many"), shifted);
    assert_eq!(found("text_key"), ["Missing k=Z,n=2", "Different k=ä,n=2: v"]);
    assert_eq!(found("latin1_key"), ["Missing k=0xE9", "Extra k=E"]);
    assert_eq!(
        found("binary_key"),
        [
            "Extra k=0x00000000,d=1.500,t=2024-01-01 00:00:00.400",
            "Missing k=0x00000000,d=1.500,t=2024-01-01 00:00:00.500"
        ]
    );
    assert_eq!(
        found("enum_key"),
        ["Missing e=,b=7,f=-9.999999350456404e-39", "Different e=a,b=1,f=1.2345677614212036: v"]
    );
    let kinds = |table: &str| {
        let table = report.tables.iter().find(|check| check.source.table == table).unwrap();
        let mut kinds: Vec<DifferenceKind> =
            table.differences.iter().map(|difference| difference.kind).collect();
        kinds.sort_by_key(|kind| *kind as u8);
        kinds
    };
    use DifferenceKind::{Extra, Missing};
    assert_eq!(kinds("keyless"), [Missing, Extra, Extra]);
    assert_eq!(kinds("nullable_unique"), [Missing, Extra]);
    assert_eq!(found("no_rows"), ["Extra a=3"]);
    assert_eq!(kinds("no_rows_keyless"), [Extra]);
    assert_eq!(found("parts"), ["Different id=4,p=4: v"]);
}

#[test]
fn check_keeps_few_differences_and_counts_all() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    types(&pair);
    pair.corrupt("DELETE FROM d.many WHERE id > 20; INSERT INTO d.many (id) SELECT 10000 + id FROM d.many");
    let mut few = options();
    few.differences_max = 10;
    let report = pair.check_with(&["many"], few, &NothingApplies);
    let many = &report.tables[0];
    assert_eq!((many.differences.len(), many.differences_count), (10, 236 + 20));
    assert_eq!((many.rows_source, many.rows_target), (256, 40));
}

#[test]
fn check_compares_only_what_the_mode_says() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    types(&pair);
    let run = |mode: CheckMode, change: fn(&mut CheckOptions)| {
        let mut options = options();
        options.mode = mode;
        options.seed = Some(7);
        options.chunk_rows = 10;
        change(&mut options);
        pair.check_with(&["many", "keyless", "no_rows"], options, &NothingApplies)
    };
    assert_same(&run(CheckMode::RowsCount, |_| ()));
    let partial = run(CheckMode::Partial, |options| options.ratio = 20.0);
    assert_same(&partial);
    let many = &partial.tables[0];
    assert_eq!((partial.seed, many.chunks_total, many.rows_source), (Some(7), 26, 256));
    assert!((1..15).contains(&many.chunks) && many.rows_compared < 150, "{many:?}");
    let again = run(CheckMode::Partial, |options| options.ratio = 20.0);
    assert_eq!(again.tables[0].rows_compared, many.rows_compared);
    let least = run(CheckMode::Partial, |options| options.ratio = 0.0);
    assert_eq!(least.tables[0].chunks, 1);

    let none = run(CheckMode::None, |_| ());
    assert_eq!((none.conclusion, none.rows_compared), (Conclusion::Incomplete, 0));

    // A changed value is not what rows-count looks at; a lost row is, by key.
    pair.corrupt("UPDATE d.many SET v = 'x' WHERE id = 77; DELETE FROM d.many WHERE id = 99; DELETE FROM d.keyless LIMIT 1");
    let counted = run(CheckMode::RowsCount, |_| ());
    assert_eq!(counted.conclusion, Conclusion::Different);
    assert_eq!(lines(&counted.tables[0]), ["Missing id=99"]);
    assert_eq!(counted.tables[1].differences[0].kind, DifferenceKind::Missing);
    assert_eq!((counted.tables[1].rows_source, counted.tables[1].rows_target), (6, 5));
    // The row count sees the lost row in a chunk that was not chosen.
    let partial = run(CheckMode::Partial, |options| options.ratio = 0.0);
    assert!(lines(&partial.tables[0]).contains(&"Missing id=99".to_owned()));
    let uncounted = run(CheckMode::Partial, |options| {
        options.ratio = 0.0;
        options.row_count_ratio = 0.0;
        options.tables = Some(vec![TableName::new("d", "many")]);
    });
    assert_same(&uncounted);
}

#[test]
fn check_says_what_it_cannot_compare() {
    let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap();
    // A row's text does not fit into a packet here: the server answers NULL for it.
    let target =
        Server::start(ServerOptions::new(Version::Mysql97).arg("--max-allowed-packet=16384")).unwrap();
    let pair = Pair { source, target };
    pair.exec(
        "CREATE DATABASE d DEFAULT CHARACTER SET latin1; USE d;
        CREATE TABLE wide (id INT PRIMARY KEY, v VARCHAR(30000)); INSERT INTO wide VALUES (1, REPEAT('x',10));
        CREATE TABLE ok (id INT PRIMARY KEY); INSERT INTO ok VALUES (1);
        CREATE TABLE more (id INT PRIMARY KEY);
        CREATE VIEW view1 AS SELECT 1 AS a;",
    );
    assert_same(&pair.check(&["wide", "ok"]));
    for server in [&pair.source, &pair.target] {
        server.exec("USE d; UPDATE wide SET v = REPEAT(REPEAT('x', 100), 150)");
        server.exec("USE d; UPDATE wide SET v = CONCAT(LEFT(v, 15000), LEFT(v, 500))");
        server.exec("USE d; ALTER TABLE wide ADD w VARCHAR(20000); UPDATE wide SET w = v");
    }
    // The row is hashed here, then.
    assert_same(&pair.check(&["wide", "ok"]));
    pair.corrupt("UPDATE d.wide SET w = INSERT(w, 15500, 1, 'y')");
    assert_eq!(lines(&pair.check(&["wide"]).tables[0]), ["Different id=1: w"]);

    pair.target.exec("USE d; ALTER TABLE more ADD w INT");
    let report = pair.check(&["more", "view1", "absent", "ok"]);
    let reasons: Vec<_> =
        report.tables.iter().map(|table| table.skipped.clone().unwrap_or_default()).collect();
    assert!(reasons[0].contains("column 'w'"), "{reasons:?}");
    assert!(reasons[1].contains("base table") && reasons[2].contains("base table"), "{reasons:?}");
    assert_eq!(reasons[3], "");
    assert_eq!(report.conclusion, Conclusion::Incomplete);
}

/// Rows that a server cannot hash, of a table without a key: read and hashed here, however many rows there are beside them.
#[test]
fn check_of_long_rows_without_a_key() {
    for (small_source, version) in
        [(true, Version::Mysql97), (true, Version::Mysql56), (false, Version::Mysql56)]
    {
        let server = |version: Version, small: bool| {
            let options = ServerOptions::new(version);
            let options = if version == Version::Mysql56 { options.rds_like() } else { options };
            Server::start(if small { options.arg("--max-allowed-packet=16384") } else { options }).unwrap()
        };
        let pair =
            Pair { source: server(version, small_source), target: server(Version::Mysql97, !small_source) };
        pair.exec(
            "CREATE DATABASE d DEFAULT CHARACTER SET latin1; USE d;
            CREATE TABLE wide (a INT, v VARCHAR(20000), w VARCHAR(20000));
            INSERT INTO wide VALUES (1, REPEAT('x', 9000), REPEAT('y', 9000)), (1, REPEAT('x', 9000), REPEAT('y', 9000)), (2, '', NULL);
            CREATE TABLE many (a INT, v VARCHAR(20000), w VARCHAR(20000)); INSERT INTO many VALUES (1, '', '')",
        );
        for _ in 0..17 {
            pair.exec("INSERT INTO d.many SELECT a + 1, '', '' FROM d.many");
        }
        pair.exec("INSERT INTO d.many SELECT * FROM d.wide");
        assert_same(&pair.check(&["wide", "many"]));
        pair.corrupt("UPDATE d.wide SET w = INSERT(w, 8000, 1, 'z') WHERE a = 1 LIMIT 1; UPDATE d.many SET w = INSERT(w, 8000, 1, 'z') WHERE a = 1 AND v <> '' LIMIT 1");
        let report = pair.check(&["wide", "many"]);
        assert_eq!(report.conclusion, Conclusion::Different, "{version:?} {small_source}");
        for table in &report.tables {
            let kinds: Vec<_> = table.differences.iter().map(|difference| difference.kind).collect();
            assert_eq!((kinds.len(), table.rows_unsettled), (2, 0), "{version:?} {small_source} {table:?}");
        }
    }
}

/// What MySQL's own replication has applied: the oracle for a live check.
struct Replica<'a>(&'a Server);

impl AppliedPosition for Replica<'_> {
    fn applied(&self) -> Result<Option<Position>> {
        let set: String = self.0.query_one("SELECT @@GLOBAL.gtid_executed");
        Ok(Some(set.parse()?))
    }
}

fn replicate(pair: &Pair) {
    pair.source.exec("CREATE USER r@'%' IDENTIFIED WITH caching_sha2_password BY ''; GRANT REPLICATION SLAVE ON *.* TO r@'%'");
    pair.target.exec(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='r',
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; SET GLOBAL replica_parallel_workers = 2; START REPLICA",
        pair.source.port()
    ));
}

#[test]
fn check_under_a_writer_is_same_and_finds_exactly_the_planted_row() {
    let pair = Pair::start(Version::Mysql97, Version::Mysql97);
    replicate(&pair);
    let mut source = pair.source.root();
    source.query_drop("CREATE DATABASE d").unwrap();
    source
        .query_drop("CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL, flip TINYINT NOT NULL, v VARCHAR(60))")
        .unwrap();
    source.query_drop("CREATE TABLE d.log (n INT, v VARCHAR(20))").unwrap();
    source.query_drop("INSERT INTO d.t (n, flip, v) VALUES (0, 0, 'x')").unwrap();
    for _ in 0..14 {
        source.query_drop("INSERT INTO d.t (n, flip, v) SELECT n, flip, SHA2(RAND(), 224) FROM d.t").unwrap();
    }
    let victim: u32 = pair.source.query_one("SELECT id FROM d.t WHERE id > 4000 ORDER BY id LIMIT 1");
    let stop = AtomicBool::new(false);
    let writes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..2u32 {
            let (pair, stop, writes) = (&pair, &stop, &writes);
            scope.spawn(move || {
                let mut conn = pair.source.root();
                let mut seed = 88_172_645_463_325_252_u64 + u64::from(writer);
                while !stop.load(Ordering::Relaxed) {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    let id = 1 + seed % 20_000;
                    let sql = match seed >> 60 {
                        0..=6 => format!("UPDATE d.t SET n = n + 1 WHERE id = {id} AND id <> {victim}"),
                        // Rows that flip between two versions all the time.
                        7..=10 => format!("UPDATE d.t SET flip = 1 - flip WHERE id = {}", 1 + writer),
                        11..=12 => "INSERT INTO d.t (n, flip, v) VALUES (1, 1, 'new')".to_owned(),
                        13 => format!("DELETE FROM d.t WHERE id = {id} AND id > 5000"),
                        14 => "INSERT INTO d.log VALUES (1, 'a')".to_owned(),
                        _ => "DELETE FROM d.log LIMIT 1".to_owned(),
                    };
                    conn.query_drop(sql).unwrap();
                    // Faster than the replica can follow, the check could only wait.
                    std::thread::sleep(Duration::from_micros(500));
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens to the assertions below, the writers end.
        struct StopWriters<'a>(&'a AtomicBool);
        impl Drop for StopWriters<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _guard = StopWriters(&stop);
        let applied = Replica(&pair.target);
        let mut live = options();
        live.chunk_rows = 2_000;
        for round in 0..6 {
            let begun = Instant::now();
            let report = pair.check_with(&["t"], live.clone(), &applied);
            println!(
                "round {round}: {:?}, {} rows, {} writes",
                begun.elapsed(),
                report.rows_compared,
                writes.load(Ordering::Relaxed)
            );
            assert_same(&report);
        }
        pair.target.exec(&format!("SET sql_log_bin = 0; UPDATE d.t SET v = 'corrupt' WHERE id = {victim}"));
        let report = pair.check_with(&["t"], live.clone(), &applied);
        assert_eq!(report.conclusion, Conclusion::Different);
        assert_eq!(lines(&report.tables[0]), [format!("Different id={victim}: v")]);
        assert_eq!(report.tables[0].rows_unsettled, 0);
        pair.target.exec(&format!("SET sql_log_bin = 0; DELETE FROM d.t WHERE id = {victim}"));
        let report = pair.check_with(&["t"], live.clone(), &applied);
        assert_eq!(lines(&report.tables[0]), [format!("Missing id={victim}")]);
        // While nothing is applied the check does not guess.
        pair.target.exec("STOP REPLICA SQL_THREAD");
        std::thread::sleep(Duration::from_millis(200));
        let mut hasty = live.clone();
        hasty.patience = Duration::from_millis(300);
        let report = pair.check_with(&["t"], hasty, &applied);
        assert!(report.tables[0].differences.is_empty(), "{:?}", lines(&report.tables[0]));
        assert_eq!(report.conclusion, Conclusion::Incomplete);
        assert!(report.tables[0].rows_unsettled > 0);
    });
}

#[test]
fn check_reads_the_checkpoint_rows_of_a_task() {
    let pair = Pair::start(Version::Mysql56, Version::Mysql97);
    pair.exec("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let (_, target) = pair.endpoints();
    let stop = StopToken::new();
    let applied = CheckpointPosition::new(&target, "it's", &stop);
    assert_eq!(applied.applied().unwrap(), None, "no task was ever run here");
    pair.target.exec(
        "CREATE DATABASE __dts__; CREATE TABLE __dts__.checkpoint (task VARCHAR(190), worker INT, applied LONGTEXT, PRIMARY KEY (task, worker));
         INSERT INTO __dts__.checkpoint VALUES ('other', 0, '3e11fa47-71ca-11e1-9e33-c80aa9429562:9')",
    );
    assert_eq!(applied.applied().unwrap(), None);
    let executed: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
    let (uuid, _) = executed.split_once(':').unwrap();
    pair.target.exec(&format!(
        "INSERT INTO __dts__.checkpoint VALUES ('it''s', 0, '{executed}'), ('it''s', 1, '{uuid}:1000')"
    ));
    assert_eq!(applied.applied().unwrap().unwrap().to_string(), format!("{executed}:1000"));
    pair.target.exec("DELETE FROM __dts__.checkpoint WHERE worker = 1");

    // The target is behind by one row: the check waits for it to be applied.
    pair.source.exec("INSERT INTO d.t VALUES (2)");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            let now: String = pair.source.query_one("SELECT @@GLOBAL.gtid_executed");
            pair.target.exec(&format!(
                "BEGIN; INSERT INTO d.t VALUES (2); UPDATE __dts__.checkpoint SET applied = '{now}' WHERE task = 'it''s'; COMMIT"
            ));
        });
        let begun = Instant::now();
        let report = pair.check_with(&["t"], options(), &applied);
        assert_same(&report);
        assert_eq!(report.rows_compared, 2);
        assert!(begun.elapsed() > Duration::from_millis(300));
    });
    // With a position that says all is applied, a lost row is a difference.
    pair.corrupt("DELETE FROM d.t WHERE id = 1");
    let report = pair.check_with(&["t"], options(), &applied);
    assert_eq!(lines(&report.tables[0]), ["Missing id=1"]);
}
