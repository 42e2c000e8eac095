//! What the target refuses or no longer has, in forms that are easy to overlook.
use dts_core::validator::EndpointKind;
use dts_core::validator::ItemResult::{Fail, Pass, Warn};
use dts_testbed::{ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::validate::{
    PASSWORD, READER_GRANTS, SHOP, WRITER_GRANTS, connection, one, options, start, transform,
};

/// A target does not take a view of a function that it does not know, while it takes a procedure.
#[test]
fn views_of_removed_functions() {
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec(
        "CREATE VIEW shop.secret AS SELECT ENCODE(name, 'x') AS s FROM shop.customers; CREATE PROCEDURE shop.p() SELECT \
         ENCODE('a', 'b')",
    );
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    let refused = one(&options, "upgrade.views", Fail);
    assert!(
        refused.objects.len() == 1 && refused.objects[0].starts_with("shop.secret: server error 1305"),
        "{refused:#?}"
    );
    one(&options, "upgrade.syntax", Pass);
    let called = one(&options, "upgrade.removed_functions", Warn);
    assert_eq!(called.objects, ["view shop.secret: ENCODE", "procedure shop.p: ENCODE"]);
    assert!(called.message.contains("upgrade.views"), "{called:#?}");
    // A function of somebody is another thing, whatever its name: it may be there when the task runs.
    source.exec(
        "DROP VIEW shop.secret; SET GLOBAL log_bin_trust_function_creators = 1; CREATE FUNCTION shop.encode(a INT) RETURNS INT RETURN a; \
         CREATE VIEW shop.own AS SELECT shop.encode(id) AS e FROM shop.customers",
    );
    options.routines = false;
    let skipped = one(&options, "upgrade.views", Warn);
    assert!(skipped.objects[0].starts_with("shop.own: it calls a stored function"), "{skipped:#?}");
}

/// Every built-in function of 5.6 that 9.7 lacks was found by calling it on both. These are the ones that are easy to forget.
#[test]
fn functions_that_are_gone() {
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)");
    target.exec("CREATE DATABASE shop");
    let mut calls: Vec<String> =
        ["LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"]
            .iter()
            .flat_map(|shape| [format!("{shape}FROMTEXT('')"), format!("{shape}FROMWKB('')")])
            .collect();
    calls.extend(["X('')", "Y('')", "MBREQUAL('', '')", "OLD_PASSWORD('x')"].map(str::to_owned));
    calls.push("WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS('', 0)".to_owned());
    let mut expected = Vec::new();
    let mut on_target = target.root();
    on_target.query_drop("USE shop").unwrap();
    for (number, call) in calls.iter().enumerate() {
        source.exec(&format!("CREATE PROCEDURE shop.p{number:02}() DO {call}"));
        let name = call.split('(').next().unwrap();
        expected.push(format!("procedure shop.p{number:02}: {name}"));
        let gone = on_target.query_drop(format!("DO {call}")).unwrap_err().to_string();
        assert!(gone.contains("1305"), "{call}: {gone}");
    }
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let options = options(connection(&source, "dts"), connection(&target, "dts"));
    assert_eq!(one(&options, "upgrade.removed_functions", Warn).objects, expected);
    // They are accepted all the same.
    one(&options, "upgrade.syntax", Pass);
}

/// Tables of one shape are tried once; what makes a shape is all that a target may refuse.
#[test]
fn twins_with_other_defaults_and_checks() {
    let source = start(ServerOptions::new(Version::Mariadb1011));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(
        "CREATE DATABASE shop; USE shop; CREATE TABLE a_plain (id INT PRIMARY KEY, v VARCHAR(40)); CREATE TABLE by_default (id INT \
         PRIMARY KEY, v VARCHAR(40) DEFAULT json_compact('{}')); CREATE TABLE checked (id INT PRIMARY KEY, v VARCHAR(40), CHECK \
         (json_exists(v, '$.a'))); CREATE TABLE twin (id INT PRIMARY KEY, v VARCHAR(40))",
    );
    source.create_account(
        "dts",
        PASSWORD,
        &["SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, REPLICATION SLAVE, BINLOG MONITOR, LOCK TABLES ON *.*"],
    );
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.source_kind = EndpointKind::MariaDb;
    let refused = one(&options, "upgrade.tables", Fail);
    let names: Vec<&str> = refused.objects.iter().map(|object| object.split(':').next().unwrap()).collect();
    assert_eq!(names, ["shop.by_default", "shop.checked"], "{refused:#?}");
    // A function of the source's own flavor in a view is no stored function.
    source.exec("CREATE VIEW shop.compact AS SELECT json_compact('{}') AS j");
    let view = one(&options, "upgrade.views", Fail);
    assert!(view.objects[0].starts_with("shop.compact: server error 1305"), "{view:#?}");
    // Twins in all of it are still tried once.
    source.exec("DROP TABLE shop.by_default, shop.checked");
    assert!(one(&options, "upgrade.tables", Pass).actual.starts_with("1 created"));
}

/// Defaults, checks and parts of indexes that are expressions belong to the shape on MySQL as well.
#[test]
fn twins_with_other_expressions() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(
        "CREATE DATABASE shop; USE shop; CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(40)); CREATE TABLE b (id INT PRIMARY KEY, v \
         VARCHAR(40) DEFAULT (UUID())); CREATE TABLE c (id INT PRIMARY KEY, v VARCHAR(40), CONSTRAINT CHECK (v <> 'c')); CREATE TABLE d \
         (id INT PRIMARY KEY, v VARCHAR(40), KEY k ((UPPER(v)))); CREATE TABLE e (id INT PRIMARY KEY, v VARCHAR(40), KEY k \
         ((LOWER(v)))); CREATE TABLE f (id INT PRIMARY KEY, v VARCHAR(40) DEFAULT 'f'); CREATE TABLE g LIKE a",
    );
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let options = options(connection(&source, "dts"), connection(&target, "dts"));
    let tried = one(&options, "upgrade.tables", Pass);
    assert!(tried.actual.starts_with("6 created"), "{tried:#?}");
}

/// InnoDB's own list has the names of tables as files are named.
#[test]
fn long_foreign_keys_of_tables_with_other_characters() {
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    // The key gets its name from the table, which is renamed: longer than any name that can be given.
    let long = |name: &str| {
        let filled: String = format!("{name}{}", "x".repeat(60 - name.chars().count()));
        format!(
            "CREATE TABLE short (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id)) ENGINE=InnoDB; RENAME TABLE short TO \
             `{filled}`;"
        )
    };
    source.exec(&format!(
        "SET NAMES utf8; CREATE DATABASE `my-shop`; USE `my-shop`; CREATE TABLE p (id INT PRIMARY KEY) ENGINE=InnoDB; {}{}{} CREATE \
         TABLE `order-items` (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id)) ENGINE=InnoDB; CREATE TABLE `{}` (id INT \
         PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id)) ENGINE=InnoDB",
        long("order-items-"),
        long("größe"),
        long("at@home@"),
        "订单-".repeat(10),
    ));
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.transform = transform(&["my-shop"], &[], &[]);
    let mut found = one(&options, "upgrade.foreign_key_length", Fail).objects;
    found.sort();
    let mut starts = found.iter().map(|name| name.chars().take(13).collect::<String>());
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        starts.all(|start| ["my-shop.at@ho", "my-shop.größe", "my-shop.order"].contains(&start.as_str()))
    );
    // All of these are refused, and nothing else is.
    let mut refused: Vec<String> = one(&options, "upgrade.tables", Fail)
        .objects
        .iter()
        .map(|object| object.split([' ', ':']).next().unwrap().to_owned())
        .collect();
    refused.sort();
    assert_eq!(refused, found);
}

/// Every bound that a current server refuses, and none that it takes.
#[test]
fn bounds_of_partitions() {
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec("CREATE DATABASE shop");
    let bounds = [
        ("2020-01-01", true),
        ("20200101", true),
        ("2020-1-1", true),
        ("2020-01-01 10:11:12", true),
        ("2020-01-01T10:11:12", true),
        ("2020.01.01", false),
        ("20.01.01", false),
        ("2020-01.01", false),
        ("2020/1/1", false),
        ("2020--01-01", false),
        ("2020-01-01 10.11.12", false),
    ];
    for (number, (bound, _)) in bounds.iter().enumerate() {
        source.exec(&format!(
            "CREATE TABLE shop.t{number:02} (d DATETIME NOT NULL PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE COLUMNS (d) (PARTITION p \
             VALUES LESS THAN ('{bound}'))"
        ));
    }
    // The date is not the only column, or not the first value; a text that looks like one is none.
    source.exec(
        "USE shop; CREATE TABLE more (a INT, d DATE, v VARCHAR(20)) ENGINE=InnoDB PARTITION BY RANGE COLUMNS (a, d, v) (PARTITION p VALUES \
         LESS THAN (1, '2020.01.01', 'it''s, a')); CREATE TABLE list (d DATE) ENGINE=InnoDB PARTITION BY LIST COLUMNS (d) (PARTITION p \
         VALUES IN ('2020-01-01', '2021/1/1', NULL)); CREATE TABLE words (v VARCHAR(20)) ENGINE=InnoDB PARTITION BY LIST COLUMNS (v) \
         (PARTITION p VALUES IN ('2020.01.01'))",
    );
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let options = options(connection(&source, "dts"), connection(&target, "dts"));
    let told = one(&options, "upgrade.partition_bounds", Warn).objects;
    let mut wanted: Vec<String> = bounds
        .iter()
        .enumerate()
        .filter(|(_, (_, is_taken))| !is_taken)
        .map(|(number, _)| format!("shop.t{number:02}"))
        .collect();
    wanted.splice(0..0, ["shop.list".to_owned(), "shop.more".to_owned()]);
    assert_eq!(told, wanted);
    let refused = one(&options, "upgrade.tables", Fail).objects;
    let refused: Vec<&str> = refused.iter().map(|object| object.split(':').next().unwrap()).collect();
    assert_eq!(refused, wanted);
}
