//! The checker's comparison of the structure: nothing is reported after a migration, and every planted change is.
use std::time::Duration;

use dts_core::checker::{NothingApplies, StructureChecker, StructureReport};
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_core::transform::{ObjectKinds, Transform};

use crate::support::{Generation, Pair, connection, select};

/// Compares, as for a task that has ended or for one that still applies.
pub(crate) fn compare(pair: &Pair, transform: &Transform, is_completed: bool) -> StructureReport {
    let stop = StopToken::new();
    let source = SourceEndpoint::connect(SourceOptions::new(connection(&pair.source)), &stop).unwrap();
    let target = TargetEndpoint::connect(TargetOptions::new(connection(&pair.target)), &stop).unwrap();
    let mut transform = transform.clone();
    if source.facts().lower_case_table_names() != 0 {
        transform = transform.ignoring_case();
    }
    let checker = StructureChecker {
        source: &source,
        target: &target,
        transform: &transform,
        objects: ObjectKinds::default(),
        is_completed,
        tables: None,
        applied: &NothingApplies,
        patience: Duration::from_secs(10),
    };
    checker.run(&stop).unwrap()
}

/// What is done on the target, and the `object: part` that must be reported.
const CHANGES: &[(&str, &[&str])] = &[
    ("ALTER TABLE t DROP KEY k", &["table s.t: index k"]),
    ("ALTER TABLE t DROP KEY k, ADD KEY k (v, n)", &["table s.t: index k"]),
    ("ALTER TABLE t DROP KEY k, ADD UNIQUE KEY k (n, v)", &["table s.t: index k"]),
    ("ALTER TABLE t ADD KEY extra (n)", &["table s.t: index extra"]),
    ("ALTER TABLE t DROP KEY pre, ADD KEY pre (v(5))", &["table s.t: index pre"]),
    ("ALTER TABLE t MODIFY v VARCHAR(31)", &["table s.t: column v"]),
    (
        "ALTER TABLE t MODIFY v VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        &["table s.t: column v"],
    ),
    ("ALTER TABLE t MODIFY n INT", &["table s.t: column n"]),
    ("ALTER TABLE t MODIFY n INT NOT NULL DEFAULT 8", &["table s.t: column n"]),
    ("ALTER TABLE t MODIFY n BIGINT NOT NULL DEFAULT 7", &["table s.t: column n"]),
    ("ALTER TABLE t MODIFY n INT NOT NULL DEFAULT 7 COMMENT 'other'", &["table s.t: column n"]),
    ("ALTER TABLE t MODIFY n INT NOT NULL DEFAULT 7 AFTER v", &["table s.t: order of columns"]),
    ("ALTER TABLE t ADD w INT", &["table s.t: column w"]),
    ("ALTER TABLE t COMMENT = 'other'", &["table s.t: comment"]),
    ("ALTER TABLE t AUTO_INCREMENT = 5000", &["table s.t: AUTO_INCREMENT"]),
    ("ALTER TABLE child DROP FOREIGN KEY fk", &["table s.child: foreign key fk"]),
    (
        "ALTER TABLE child DROP FOREIGN KEY fk, ADD CONSTRAINT fk2 FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE",
        &["table s.child: foreign key fk", "table s.child: foreign key fk2"],
    ),
    (
        "ALTER TABLE child DROP FOREIGN KEY fk; ALTER TABLE child ADD CONSTRAINT fk FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE SET NULL",
        &["table s.child: foreign key fk"],
    ),
    ("ALTER TABLE parts PARTITION BY HASH (id) PARTITIONS 5", &["table s.parts: partitions"]),
    ("ALTER TABLE parts ENGINE = InnoDB REMOVE PARTITIONING", &["table s.parts: partitions"]),
    ("DROP TABLE gone", &["table s.gone: "]),
    ("ALTER TABLE gone ENGINE = MyISAM", &["table s.gone: engine"]),
    ("ALTER TABLE gone DROP PRIMARY KEY", &["table s.gone: primary key"]),
    ("DROP VIEW w", &["view s.w: "]),
    ("DROP PROCEDURE p; CREATE PROCEDURE p() SELECT 2", &["procedure s.p: definition"]),
    ("DROP FUNCTION f", &["function s.f: "]),
    (
        "DROP TRIGGER tr; CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 2",
        &["trigger s.tr: definition"],
    ),
    ("DROP EVENT e", &["event s.e: "]),
    ("ALTER EVENT e DISABLE", &["event s.e: definition"]),
    ("ALTER DATABASE s COLLATE utf8mb4_bin", &["database s: collation"]),
];

const STRUCTURE: &str = "
CREATE DATABASE s DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci; USE s;
CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL DEFAULT 7, v VARCHAR(30), KEY k (n, v), KEY pre (v(10))) COMMENT 'c';
CREATE TABLE child (id INT PRIMARY KEY, t_id INT, KEY t_id (t_id), CONSTRAINT fk FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE);
CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4;
CREATE TABLE gone (id INT PRIMARY KEY);
CREATE VIEW w AS SELECT id, n + 1 AS m FROM t WHERE n > 3;
CREATE PROCEDURE p() SELECT 1; CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN a + 1;
CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1;
CREATE EVENT e ON SCHEDULE EVERY 1 YEAR STARTS '2035-01-01 00:00:00' DO SELECT 1;
";

#[test]
fn check_of_the_structure_finds_every_planted_change() {
    let pair = Pair::start(Generation::Old);
    let transform = Transform::new(select(&["s"]), dts_core::transform::Route::identity()).unwrap();
    let setting = "SET sql_mode = '', collation_connection = utf8mb4_general_ci, time_zone = '+00:00';";
    pair.source.exec(&format!("{setting} {STRUCTURE}"));
    for (change, expected) in CHANGES {
        pair.target.exec(&format!("DROP DATABASE IF EXISTS s; {setting} {STRUCTURE}"));
        if *change == CHANGES[0].0 {
            let report = compare(&pair, &transform, true);
            assert_eq!((report.differences, report.unclear), (vec![], vec![]));
            assert_eq!((report.compared, report.only_on_target.len()), (9, 0));
        }
        pair.target.exec(&format!("SET sql_mode = ''; USE s; {change}"));
        let report = compare(&pair, &transform, true);
        let found: Vec<String> =
            report.differences.iter().map(|found| format!("{}: {}", found.object, found.part)).collect();
        assert_eq!(found, *expected, "{change}: {report:?}");
    }
    // 5.6 does not count a number that an UPDATE makes, 8.0 and later do: the rows explain the larger one.
    let moved = "USE s; CREATE TABLE moved (id INT AUTO_INCREMENT PRIMARY KEY); INSERT INTO moved VALUES (1); UPDATE moved SET id = 100";
    pair.source.exec(moved);
    pair.target.exec(&format!("DROP DATABASE IF EXISTS s; {setting} {STRUCTURE} {moved}"));
    for is_completed in [true, false] {
        let report = compare(&pair, &transform, is_completed);
        let numbers = report.differences.iter().filter(|found| found.part == "AUTO_INCREMENT");
        assert_eq!(numbers.count(), 0, "{report:?}");
    }
    pair.target.exec("ALTER TABLE s.moved AUTO_INCREMENT = 102");
    assert_eq!(compare(&pair, &transform, true).differences[0].object, "table s.moved");
    pair.source.exec("DROP TABLE s.moved");
    // While the task applies, triggers and events are not there yet, and AUTO_INCREMENT may lag.
    pair.target.exec(&format!("DROP DATABASE IF EXISTS s; {setting} {STRUCTURE} DROP TRIGGER tr; DROP EVENT e; CREATE TABLE mine (a INT)"));
    pair.source.exec("USE s; INSERT INTO t (v) VALUES ('a'); DELETE FROM t");
    let report = compare(&pair, &transform, false);
    assert_eq!(report.differences, vec![]);
    assert_eq!(report.not_yet.len(), 3, "{:?}", report.not_yet);
    assert_eq!(report.only_on_target, ["table s.mine"]);
    pair.target.exec("CREATE TRIGGER s.tr BEFORE INSERT ON s.t FOR EACH ROW SET NEW.n = 1");
    let report = compare(&pair, &transform, false);
    assert_eq!(report.differences.len(), 1, "a trigger that is there too early: {report:?}");
}
