//! What a cut-over compares: all that was touched since the last clean check, also where the log does not say it row by row, or says
//! it at another time.
use std::time::Duration;

use dts_core::checker::{
    CheckOptions, CheckProgress, Conclusion, KeyCheck, NothingApplies, RowKeys, TablePair,
};
use dts_core::cutover::{CutoverOptions, CutoverReport, StepName};
use dts_core::data::{GateKind, TableName};
use dts_core::error::{Error, Result};
use dts_core::migration::{GateHook, Hooks, Migration, Until};
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_testbed::Server;
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, connection, run};

/// A gate that closes nothing, and does something else instead.
struct Closing<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> GateHook for Closing<F> {
    fn close(&self) -> Result<Vec<String>> {
        (self.0)();
        Ok(Vec::new())
    }

    fn open(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

fn cut_over(migration: &Migration, at_the_gate: impl Fn() + Sync) -> Result<CutoverReport> {
    let hook = Closing(at_the_gate);
    let observer =
        |step: &dts_core::cutover::CutoverStep| eprintln!("{:12} {:?}", step.name.name(), step.saw);
    let mut options = CutoverOptions::new(GateKind::Hook);
    options.require_clean_check = true;
    migration.cutover(
        &options,
        Hooks { gate: Some(&hook), ..Hooks::telling(&observer) },
        true,
        &StopToken::new(),
    )
}

/// What the comparison of the gate's time has seen.
fn verified(report: &CutoverReport) -> String {
    report.steps.iter().find(|step| step.name == StepName::Verify).unwrap().saw.join("\n")
}

fn check(migration: &Migration, apply_here: bool) -> Conclusion {
    let mut options = CheckOptions::default();
    options.patience = Duration::from_secs(10);
    migration.check(options, apply_here, &StopToken::new(), &CheckProgress::new()).unwrap().conclusion
}

/// What foreign keys change by themselves is in no log before 9.6: the tables are compared whole.
#[test]
fn touched_rows_of_foreign_keys() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec(
        "CREATE DATABASE shop; USE shop; CREATE TABLE parent (id INT PRIMARY KEY, n INT); CREATE TABLE child (id INT PRIMARY KEY, parent \
         INT, KEY (parent), CONSTRAINT c FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE CASCADE); CREATE TABLE \
         other (id INT PRIMARY KEY, parent INT, KEY (parent), CONSTRAINT o FOREIGN KEY (parent) REFERENCES parent (id)); INSERT INTO parent \
         VALUES (1,0),(2,0),(3,0),(4,0); INSERT INTO child VALUES (10,1),(20,2),(30,3); INSERT INTO other VALUES (5,4); CREATE TABLE leaf \
         (id INT PRIMARY KEY, root INT, v CHAR(1), KEY (root)); CREATE TABLE root (id INT PRIMARY KEY); INSERT INTO root VALUES (1),(2),(3); \
         INSERT INTO leaf VALUES (1, 1, 'x')",
    );
    for _ in 0..17 {
        pair.source.exec("SET @n := (SELECT MAX(id) FROM shop.leaf); INSERT INTO shop.leaf SELECT id + @n, 1, v FROM shop.leaf");
    }
    pair.source.exec(
        "USE shop; UPDATE leaf SET root = 2 WHERE id = 7; UPDATE leaf SET root = 3 WHERE id = 8; ALTER TABLE leaf ADD CONSTRAINT l FOREIGN \
         KEY (root) REFERENCES root (id) ON DELETE SET NULL; ANALYZE TABLE leaf",
    );
    let migration = pair.migration("keys", &["shop"]);
    run(&migration, Until::Synced);
    assert_eq!(check(&migration, true), Conclusion::Same);

    // As if the applier had not repeated it: the number of rows is the same.
    pair.source.exec("DELETE FROM shop.parent WHERE id = 1");
    run(&migration, Until::Synced);
    pair.target.exec("SET SESSION foreign_key_checks = 0; UPDATE shop.child SET parent = 1 WHERE id = 10");
    let error = cut_over(&migration, || ()).map(drop).unwrap_err();
    assert!(error.to_string().contains("1 row of shop.child"), "{error}");
    pair.target.exec("UPDATE shop.child SET parent = NULL WHERE id = 10");

    // Found while nobody may write, too.
    let at_the_gate = || {
        pair.source.exec("UPDATE shop.parent SET id = 9 WHERE id = 2");
        crate::support::wait_until("it is applied", || {
            pair.target.query_one::<u64>("SELECT COUNT(*) FROM shop.child WHERE parent = 9") == 1
        });
        pair.target
            .exec("SET SESSION foreign_key_checks = 0; UPDATE shop.child SET parent = 2 WHERE id = 20");
    };
    let error = cut_over(&migration, at_the_gate).map(drop).unwrap_err();
    assert!(error.to_string().contains("1 row of shop.child"), "{error}");
    pair.target.exec("UPDATE shop.child SET parent = 9 WHERE id = 20");

    // A larger table is compared before the gate is closed; what comes later is not, and that is said. What changes no column that
    // a key refers to ties nothing.
    pair.source.exec("DELETE FROM shop.root WHERE id = 2");
    let report = cut_over(&migration, || {
        pair.source.exec("DELETE FROM shop.root WHERE id = 3; UPDATE shop.parent SET n = n + 1");
    })
    .unwrap();
    let preflight = report.steps[0].saw.join("\n");
    assert!(preflight.contains("2 tables compared whole"), "{preflight}");
    let saw = verified(&report);
    assert!(saw.contains("NOT compared: shop.leaf"), "{saw}");
    assert!(!saw.contains("shop.child") && !saw.contains("shop.other"), "{saw}");
}

/// The rows of an XA transaction are compared after its XA COMMIT.
#[test]
fn touched_rows_of_xa_transactions() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')");
    let migration = pair.migration("xa", &["shop"]);
    run(&migration, Until::Synced);
    let prepare = |xid: &str, sql: &str| {
        pair.source.exec(&format!("USE shop; XA START '{xid}'; {sql}; XA END '{xid}'; XA PREPARE '{xid}'"));
    };
    let differs = |error: Error| assert!(error.to_string().contains("1 row of shop.t"), "{error}");

    // Prepared before the check, and known to who applies.
    prepare("one", "UPDATE t SET v = 'one' WHERE id = 1");
    run(&migration, Until::Synced);
    assert_eq!(check(&migration, true), Conclusion::Same);
    pair.source.exec("XA COMMIT 'one'");
    run(&migration, Until::Synced);
    pair.target.exec("UPDATE shop.t SET v = 'wrong' WHERE id = 1");
    differs(cut_over(&migration, || ()).map(drop).unwrap_err());
    pair.target.exec("UPDATE shop.t SET v = 'one' WHERE id = 1");
    assert_eq!(check(&migration, true), Conclusion::Same);

    // Prepared after it; looked at when it is committed, which is at the gate. What is rolled back is nothing.
    let at_the_gate = || {
        prepare("two", "UPDATE t SET v = 'two' WHERE id = 2");
        prepare("three", "UPDATE t SET v = 'three' WHERE id = 3");
        pair.source.exec("XA COMMIT 'two'; XA ROLLBACK 'three'");
        crate::support::wait_until("it is applied", || {
            pair.target.query_one::<u64>("SELECT COUNT(*) FROM shop.t WHERE v = 'two'") == 1
        });
        pair.target.exec("UPDATE shop.t SET v = 'wrong' WHERE id = 2");
    };
    differs(cut_over(&migration, at_the_gate).map(drop).unwrap_err());
    pair.target.exec("UPDATE shop.t SET v = 'two' WHERE id = 2");

    // Prepared before the check, and nobody applied: its rows cannot be known.
    prepare("four", "UPDATE t SET v = 'four' WHERE id = 1");
    assert_eq!(check(&migration, false), Conclusion::Same);
    pair.source.exec("XA COMMIT 'four'");
    let saw = verified(&cut_over(&migration, || ()).unwrap());
    assert!(saw.contains("NOT compared: shop.t"), "{saw}");
}

/// A table that comes while the cut-over runs is not compared, and that is said.
#[test]
fn touched_rows_of_new_tables() {
    let pair = Pair::start(Generation::New);
    pair.source.exec("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); CREATE TABLE shop.old (id INT PRIMARY KEY); INSERT INTO shop.old VALUES (1)");
    let migration = pair.migration("new", &["shop"]);
    run(&migration, Until::Synced);
    assert_eq!(check(&migration, true), Conclusion::Same);
    let report = cut_over(&migration, || {
        pair.source.exec(
            "USE shop; CREATE TABLE late (id INT PRIMARY KEY); INSERT INTO late VALUES (1); CREATE TABLE gone (id INT PRIMARY KEY); INSERT INTO \
             gone VALUES (1); DROP TABLE gone; RENAME TABLE old TO young; INSERT INTO t VALUES (1)",
        );
    })
    .unwrap();
    let saw = verified(&report);
    for table in ["late", "young"] {
        assert!(saw.contains(&format!("NOT compared: shop.{table} ")), "{saw}");
    }
    assert!(!saw.contains("shop.gone") && !saw.contains("shop.t "), "{saw}");
}

fn end_sessions(server: &Server) {
    let ids: Vec<u64> = server
        .query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'root' AND ID <> CONNECTION_ID()");
    let mut killer = server.root();
    for id in ids {
        drop(killer.query_drop(format!("KILL {id}")));
    }
}

/// A connection that ends between two comparisons, or in the middle of the wait for the gate, costs nothing.
#[test]
fn touched_rows_over_connections_that_end() {
    let pair = Pair::start(Generation::New);
    for server in [&pair.source, &pair.target] {
        server.exec(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1),(2),(3)",
        );
    }
    let stop = StopToken::new();
    let source = SourceEndpoint::connect(SourceOptions::new(connection(&pair.source)), &stop).unwrap();
    let target = TargetEndpoint::connect(TargetOptions::new(connection(&pair.target)), &stop).unwrap();
    let table = TableName::new("d", "t");
    let patience = Duration::from_secs(10);
    let pairs = vec![TablePair::same(table.clone())];
    let mut keys = KeyCheck::open(&source, &target, pairs, patience, &stop).unwrap();
    let rows =
        [RowKeys { table, columns: vec!["id".into()], keys: vec![vec![b"1".to_vec()], vec![b"3".to_vec()]] }];
    for server in [&pair.source, &pair.target] {
        let report = keys.compare(&rows, &NothingApplies, &stop).unwrap();
        assert_eq!((report.conclusion, report.rows_compared), (Conclusion::Same, 2));
        end_sessions(server);
        let report = keys.compare(&rows, &NothingApplies, &stop).unwrap();
        assert_eq!((report.conclusion, report.rows_compared), (Conclusion::Same, 2));
        end_sessions(server);
        assert_eq!(keys.count(1_000, &stop).unwrap().rows, 3);
    }
}

/// A way back raises counters on the source: the tables are compared all the same when the application goes there again.
#[test]
fn touched_rows_of_a_table_whose_counter_was_raised() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, n INT); INSERT INTO shop.t (n) VALUES (1), (2)",
    );
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    assert_eq!(check(&migration, true), Conclusion::Same);
    pair.source.exec("UPDATE shop.t SET n = 3 WHERE id = 1; ALTER TABLE shop.t AUTO_INCREMENT = 500");
    run(&migration, Until::Synced);
    pair.target.exec("UPDATE shop.t SET n = 4 WHERE id = 1");
    let error = cut_over(&migration, || {}).unwrap_err();
    assert!(error.to_string().contains("both sides differ: 1 row of shop.t"), "{error}");
    pair.target.exec("UPDATE shop.t SET n = 3 WHERE id = 1");
    let seen = verified(&cut_over(&migration, || {}).unwrap());
    assert!(!seen.contains("NOT compared"), "{seen}");
}
