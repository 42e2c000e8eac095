//! Every corruption that is planted is found with its key, and nothing else.
use super::every_type::TYPE_TABLES;
use super::*;

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
