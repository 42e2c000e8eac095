//! The way back: what an application wrote on the target is on the source, nothing goes in a circle, and the task goes on.
use std::time::Duration;

use dts_core::checker::{CheckOptions, CheckProgress, Conclusion};
use dts_core::cutover::{CutoverOptions, CutoverReport, CutoverStep, StepName};
use dts_core::data::GateKind;
use dts_core::error::{ErrorKind, Result};
use dts_core::migration::{Hooks, Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::application::can_write;
use dts_testbed::{Application, Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, StopAtEnd, run, wait_until};

const TYPES: &str = "CREATE TABLE shop.everything (a INT NOT NULL, b VARCHAR(20) NOT NULL, c DECIMAL(20,6), d DATETIME(3) NULL, \
    e TIMESTAMP(6) NULL, f ENUM('x','y'), g SET('p','q','r'), h BINARY(4), i BLOB, j DOUBLE, k FLOAT, l BIT(9), m YEAR, n TIME(2), \
    o BIGINT UNSIGNED, p TEXT, PRIMARY KEY (a, b)) DEFAULT CHARSET=utf8mb4; \
    INSERT INTO shop.everything (a, b, p) VALUES (1, 'ä', 'before'), (2, 'gone', NULL); CREATE TABLE shop.`od``d.name` (id INT) \
    DEFAULT CHARSET=latin1; INSERT INTO shop.`od``d.name` VALUES (1), (1), (2)";

fn prepare(pair: &Pair) {
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         CREATE TABLE shop.parent (id INT PRIMARY KEY); CREATE TABLE shop.child (id INT PRIMARY KEY, pid INT, FOREIGN KEY (pid) \
         REFERENCES shop.parent (id) ON DELETE CASCADE); INSERT INTO shop.parent VALUES (1), (2), (3); INSERT INTO shop.child VALUES \
         (10, 1), (11, 1), (20, 2), (30, 3); \
         CREATE DEFINER = 'someone'@'%' TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) \
         VALUES (NEW.number); \
         CREATE EVENT shop.tick ON SCHEDULE EVERY 1 DAY STARTS '2038-01-01' DO DELETE FROM shop.audit WHERE number < 0",
    );
    pair.source.exec(TYPES);
    for server in [&pair.source, &pair.target] {
        server.create_account("app", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
        server.create_account("someone", "secret", &["ALL PRIVILEGES ON shop.*"]);
    }
}

fn tell(step: &CutoverStep) {
    eprintln!("{:12} {:?} {:?}", step.name.name(), step.took, step.saw);
}

fn options(gate: GateKind) -> CutoverOptions {
    let mut options = CutoverOptions::new(gate);
    options.reverse = true;
    options.keep = vec!["someone".into()];
    options
}

fn cut_over(migration: &Migration, gate: GateKind) -> CutoverReport {
    migration.cutover(&options(gate), Hooks::telling(&tell), true, &StopToken::new()).unwrap()
}

fn roll_back(migration: &Migration, gate: GateKind) -> Result<CutoverReport> {
    migration.rollback(&options(gate), Hooks::telling(&tell), true, &StopToken::new())
}

fn numbers(server: &Server) -> (u64, u64, u64) {
    server.query_one("SELECT COUNT(*), MAX(number), (SELECT COUNT(*) FROM shop.audit) FROM shop.log")
}

fn triggers(server: &Server) -> Vec<(String, String, String, String)> {
    server.query(
        "SELECT TRIGGER_NAME, DEFINER, SQL_MODE, TRIM(TRAILING ';' FROM ACTION_STATEMENT) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'",
    )
}

fn event(server: &Server) -> Vec<String> {
    server.query("SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'")
}

fn has_schema(server: &Server) -> bool {
    server.query_one::<u64>("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '__dts__'")
        == 1
}

fn same(pair: &Pair) {
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

/// There and back, and there again; with an application that writes all the time.
fn there_and_back(generation: Generation, gate: GateKind) {
    let pair = Pair::start(generation);
    prepare(&pair);
    let before = triggers(&pair.source);
    let app = Application::start(&pair.source);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    pair.target.exec("SET GLOBAL read_only = 1");

    let report = cut_over(&migration, gate);
    assert!(report.reverse);
    eprintln!("{generation:?} {gate}: there in {:?}", report.write_stop);
    let first = app.finish();
    assert!(can_write(&pair.target) && !can_write(&pair.source), "one side is open, and it is the target");
    assert_eq!(triggers(&pair.source), []);
    assert!(numbers(&pair.target).1 >= first);

    // On the target: its triggers, its own foreign keys, every type, rows without a key.
    let app = Application::start(&pair.target);
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        let channel = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        pair.target.exec(
            "DELETE FROM shop.parent WHERE id = 1; UPDATE shop.everything SET p = 'after €', c = -1.5, d = '2024-02-29 23:59:59.999', \
             e = '2037-01-01 00:00:00.123456', f = 'y', g = 'p,r', h = 'ab', i = x'00ff27', j = -1.7976931348623157e308, k = 3.14, \
             l = b'101', m = 2155, n = '-838:59:58.99', o = 18446744073709551615 WHERE a = 1; DELETE FROM shop.everything WHERE a = 2; \
             INSERT INTO shop.everything (a, b) VALUES (3, '日本'); DELETE FROM shop.`od``d.name` WHERE id = 1 LIMIT 1; \
             INSERT INTO shop.`od``d.name` VALUES (7), (7)",
        );
        wait_until("the application writes on the target", || app.acknowledged() > first + 200);
        wait_until("the channel carries it", || numbers(&pair.source).1 > first + 100);
        stop.stop();
        assert!(channel.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    // A run that asks for it catches up, and does the same as one that stays.
    run(&migration, Until::Synced);

    let report = roll_back(&migration, gate).unwrap();
    eprintln!("{generation:?} {gate}: back in {:?}", report.write_stop);
    let second = app.finish();
    assert!(second > first + 200);
    let (count, last, audited) = numbers(&pair.source);
    assert!(last >= second && last <= second + 1, "{last} on the source, {second} acknowledged");
    assert_eq!(numbers(&pair.target), (count, last, audited));
    assert_eq!(audited, count, "each number is audited once");
    assert!(can_write(&pair.source) && !can_write(&pair.target), "one side is open, and it is the source");
    assert_eq!(triggers(&pair.source), before);
    assert_eq!(event(&pair.source), ["ENABLED"]);
    assert!(event(&pair.target).is_empty() && triggers(&pair.target).is_empty());
    assert!(!has_schema(&pair.source), "nothing of dts is left on the source");
    same(&pair);
    let again = roll_back(&migration, gate).unwrap();
    assert!(again.resumed && again.source_position.is_some());
    let error = migration.complete(true, &StopToken::new(), &Progress::new()).unwrap_err();
    assert!(error.to_string().contains("cutover (opens it)"), "{error}");

    // The task goes on as if nothing had been, and can cut over again; this time for good.
    let app = Application::start(&pair.source);
    wait_until("the application goes on", || app.acknowledged() > second + 50);
    run(&migration, Until::Synced);
    let mut final_options = options(gate);
    final_options.reverse = false;
    let report = migration.cutover(&final_options, Hooks::telling(&tell), true, &StopToken::new()).unwrap();
    assert!(!report.reverse);
    let third = app.finish();
    assert!(can_write(&pair.target) && !can_write(&pair.source));
    assert_eq!(numbers(&pair.source), numbers(&pair.target));
    assert!(numbers(&pair.target).1 >= third);
    same(&pair);
}

#[test]
fn rollback_behind_locked_accounts_loses_nothing_old() {
    there_and_back(Generation::Old, GateKind::LockAccounts);
}

#[test]
fn rollback_behind_read_only_loses_nothing_new() {
    there_and_back(Generation::New, GateKind::ReadOnly);
}

/// What keeps a way back from being possible is found before anything is changed.
#[test]
fn rollback_must_be_possible_before_a_cut_over_with_reverse() {
    let pair = Pair::start(Generation::New);
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY); INSERT INTO shop.a VALUES (1); \
         CREATE TABLE shop.b (id INT PRIMARY KEY, t VARCHAR(10))",
    );
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    let refused = || {
        let seen = std::cell::RefCell::new(Vec::new());
        let observer = |step: &CutoverStep| seen.borrow_mut().push(step.name);
        let error = migration
            .cutover(&options(GateKind::ReadOnly), Hooks::telling(&observer), true, &StopToken::new())
            .unwrap_err();
        assert!(seen.borrow().is_empty(), "{seen:?}");
        assert!(!has_schema(&pair.source));
        assert_eq!(pair.source.query_one::<u64>("SELECT @@GLOBAL.read_only"), 0);
        error.to_string()
    };
    pair.target.exec("SET GLOBAL binlog_row_image = MINIMAL");
    let error = refused();
    assert!(error.contains("binlog_row_image on the target is 'MINIMAL', expected 'FULL'"), "{error}");
    pair.target.exec(
        "SET GLOBAL binlog_row_image = FULL; ALTER TABLE shop.b MODIFY t VARCHAR(10) CHARACTER SET latin1",
    );
    let error = refused();
    assert!(error.contains("shop.b on the source cannot hold"), "{error}");
    // A dry run changes nothing on the source either.
    pair.target.exec("ALTER TABLE shop.b MODIFY t VARCHAR(10) CHARACTER SET utf8mb4");
    let mut dry = options(GateKind::ReadOnly);
    dry.dry_run = true;
    let report = migration.cutover(&dry, Hooks::telling(&tell), true, &StopToken::new()).unwrap();
    assert_eq!(report.steps.len(), 1);
    assert!(report.steps[0].saw.iter().any(|line| line.contains("reverse channel: 2 tables")), "{report:?}");
    assert!(!has_schema(&pair.source));
    let error = migration
        .rollback(&options(GateKind::ReadOnly), Hooks::telling(&tell), true, &StopToken::new())
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
}

/// A definition that changes on the target ends the channel, which says what to do; nothing before it is lost.
#[test]
fn rollback_waits_for_an_operator_after_a_schema_change_on_the_target() {
    let pair = Pair::start(Generation::Old);
    pair.source.exec("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY); CREATE TABLE shop.t1 (id INT PRIMARY KEY)");
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    cut_over(&migration, GateKind::ReadOnly);
    pair.target.exec(
        "INSERT INTO shop.a VALUES (1); ANALYZE TABLE shop.a; CREATE DATABASE other; CREATE TABLE other.t (id INT); \
         ALTER TABLE shop.a ADD COLUMN b INT; INSERT INTO shop.a VALUES (2, 2)",
    );
    let error = migration.run(Until::Synced, &StopToken::new(), &Progress::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::SchemaChange { .. }), "{error:?}");
    assert!(error.to_string().contains("ADD COLUMN b INT"), "{error}");
    let gtid = error.position().unwrap().to_owned();
    assert!(error.hint().contains(&format!("--skip-ddl {gtid}")), "{}", error.hint());
    let ids = || pair.source.query::<u64>("SELECT id FROM shop.a ORDER BY id");
    assert_eq!(ids(), [1]);

    // Carried out by hand, it goes on.
    pair.source.exec("ALTER TABLE shop.a ADD COLUMN b INT");
    let mut with_skip = pair.options("shop", &["shop"]);
    with_skip.apply.skip_ddl.push(gtid.parse().unwrap());
    let migration = Migration::new(with_skip);
    run(&migration, Until::Synced);
    assert_eq!(ids(), [1, 2]);
    roll_back(&migration, GateKind::ReadOnly).unwrap();
    same(&pair);
}

/// A way back that cannot go on is taken back: the application stays where it is.
#[test]
fn rollback_is_taken_back_when_sessions_are_left() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    cut_over(&migration, GateKind::LockAccounts);
    let mut held = pair.target.conn("app", "app-secret");
    held.query_drop("INSERT INTO shop.parent VALUES (77)").unwrap();
    let mut hurried = options(GateKind::None);
    hurried.patience = Duration::from_millis(300);
    let seen = std::cell::RefCell::new(Vec::new());
    let observer = |step: &CutoverStep| seen.borrow_mut().push(step.name);
    let error = migration.rollback(&hurried, Hooks::telling(&observer), true, &StopToken::new()).unwrap_err();
    assert!(error.to_string().contains("sessions of applications are left on the target"), "{error}");
    assert!(error.hint().contains("write on the target as before"), "{}", error.hint());
    assert_eq!(*seen.borrow(), [StepName::Preflight, StepName::Gate]);
    held.query_drop("INSERT INTO shop.parent VALUES (78)").unwrap();
    assert!(triggers(&pair.source).is_empty());
    drop(held);
    roll_back(&migration, GateKind::LockAccounts).unwrap();
    assert_eq!(pair.source.query_one::<u64>("SELECT COUNT(*) FROM shop.parent WHERE id IN (77, 78)"), 2);
    same(&pair);
}

/// With a reverse channel a task is completed on the target: the source gets its triggers back and stays closed.
#[test]
fn rollback_is_given_up_by_completing() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let before = triggers(&pair.source);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    cut_over(&migration, GateKind::LockAccounts);
    let error = migration.end(&StopToken::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
    pair.target.exec("INSERT INTO shop.parent VALUES (5)");
    run(&migration, Until::Synced);
    assert_eq!(pair.source.query_one::<u64>("SELECT COUNT(*) FROM shop.parent WHERE id = 5"), 1);
    migration.complete(false, &StopToken::new(), &Progress::new()).unwrap();
    assert_eq!(triggers(&pair.source), before);
    assert!(!has_schema(&pair.source) && !can_write(&pair.source) && can_write(&pair.target));
    let error = roll_back(&migration, GateKind::LockAccounts).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
}

/// The target's log of the cut-over is gone: a check since then proves as much.
#[test]
fn rollback_goes_from_the_last_clean_check() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    cut_over(&migration, GateKind::ReadOnly);
    pair.target.exec("INSERT INTO shop.parent VALUES (50)");
    run(&migration, Until::Synced);
    let check = || {
        migration
            .check(CheckOptions::default(), true, &StopToken::new(), &CheckProgress::new())
            .unwrap()
            .conclusion
    };
    // The channel has carried everything, and nobody reads this log any more.
    pair.target.exec("FLUSH BINARY LOGS; INSERT INTO shop.parent VALUES (51)");
    run(&migration, Until::Synced);
    let (log,): (String,) = pair.target.query_one("SELECT SUBSTRING_INDEX(LOG_NAME, '/', -1) FROM (SELECT FILE_NAME AS LOG_NAME FROM \
        performance_schema.file_instances WHERE EVENT_NAME = 'wait/io/file/sql/binlog') AS logs ORDER BY 1 DESC LIMIT 1");
    pair.target.exec(&format!("PURGE BINARY LOGS TO '{log}'"));
    let error = roll_back(&migration, GateKind::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("was purged"), "{error:?}");
    assert!(error.hint().contains("dts check NAME"), "{error:?}");
    assert!(can_write(&pair.target));

    // One that finds a difference counts, too.
    pair.source.exec("DELETE FROM shop.parent WHERE id = 50");
    assert_eq!(check(), Conclusion::Different);
    let error = roll_back(&migration, GateKind::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("found differences"), "{error:?}");
    pair.source.exec("INSERT INTO shop.parent VALUES (50)");
    assert_eq!(check(), Conclusion::Same);
    roll_back(&migration, GateKind::ReadOnly).unwrap();
    assert!(can_write(&pair.source) && !has_schema(&pair.source));
    same(&pair);
}
