//! Moving the writers: what an application was told to be committed is on the target, and never can both sides be written.
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dts_core::checker::{CheckMode, CheckOptions, CheckProgress, Conclusion};
use dts_core::cutover::{CutoverOptions, CutoverReport, CutoverStep, StepName};
use dts_core::data::{GateKind, TableName};
use dts_core::error::{ErrorKind, Result};
use dts_core::migration::{GateHook, Hooks, Migration, Until};
use dts_core::stop::StopToken;
use dts_testbed::{Application, Server};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, run, wait_until};

fn prepare(pair: &Pair) {
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         INSERT INTO shop.audit (number) VALUES (1), (2), (3); DELETE FROM shop.audit WHERE id = 3; \
         CREATE TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) VALUES (NEW.number); \
         CREATE EVENT shop.tick ON SCHEDULE EVERY 1 DAY STARTS '2038-01-01' DO DELETE FROM shop.audit WHERE number < 0",
    );
    for server in [&pair.source, &pair.target] {
        server.create_account("app", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
    }
}

fn synced(pair: &Pair) -> Migration {
    let migration = pair.migration("cut", &["shop"]);
    run(&migration, Until::Synced);
    migration
}

fn cutover(migration: &Migration, options: &CutoverOptions) -> Result<CutoverReport> {
    let observer = |step: &CutoverStep| eprintln!("{:12} {:?} {:?}", step.name.name(), step.took, step.saw);
    migration.cutover(options, Hooks::telling(&observer), true, &StopToken::new())
}

fn numbers(server: &Server) -> (u64, u64, u64) {
    server.query_one("SELECT COUNT(*), MAX(number), (SELECT COUNT(*) FROM shop.audit WHERE number > 3 OR id > 3) FROM shop.log")
}

fn nothing_acknowledged_is_lost(generation: Generation, gate: GateKind) {
    let pair = Pair::start(generation);
    prepare(&pair);
    let app = Application::start(&pair.source);
    let migration = synced(&pair);
    app.wait_for_progress();
    pair.target.exec("SET GLOBAL read_only = 1");

    let report = cutover(&migration, &CutoverOptions::new(gate)).unwrap();
    eprintln!("{generation:?} {gate}: the writes stopped for {:?}", report.write_stop);
    std::thread::sleep(Duration::from_millis(50));
    let acknowledged = app.finish();

    // The application still tries on the source and gets nowhere.
    let (count, last, _) = numbers(&pair.source);
    assert!(
        last >= acknowledged && last <= acknowledged + 1,
        "{last} on the source, {acknowledged} acknowledged"
    );
    assert_eq!(numbers(&pair.target).0, count);
    assert_eq!(numbers(&pair.target), numbers(&pair.source));
    let counter = "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'log'";
    let (ours, theirs) = (pair.target.query_one::<u64>(counter), pair.source.query_one::<u64>(counter));
    assert!(ours >= theirs, "AUTO_INCREMENT {ours} on the target, {theirs} on the source");

    // On the target it goes on, with its triggers; the event is enabled there and disabled on the source.
    assert_eq!(pair.target.query_one::<u64>("SELECT @@GLOBAL.read_only"), 0);
    pair.target
        .conn("app", "app-secret")
        .query_drop(format!("INSERT INTO shop.log (number) VALUES ({})", last + 1))
        .unwrap();
    let (after, _, audited) = numbers(&pair.target);
    assert_eq!((after, audited), (count + 1, numbers(&pair.source).2 + 1));
    let event = "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'";
    assert_eq!(pair.target.query_one::<String>(event), "ENABLED");
    assert_eq!(pair.source.query_one::<String>(event), "DISABLED");

    // Asking once more changes nothing and says the same.
    let again = cutover(&migration, &CutoverOptions::new(gate)).unwrap();
    assert!(again.resumed);
    assert_eq!(again.source_position, report.source_position);
    assert_eq!(again.target_position, report.target_position);
    let error = migration.take_back_cutover(Hooks::telling(&|_| {}), &StopToken::new()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error}");
}

#[test]
fn cutover_behind_locked_accounts_loses_nothing() {
    nothing_acknowledged_is_lost(Generation::Old, GateKind::LockAccounts);
    nothing_acknowledged_is_lost(Generation::New, GateKind::LockAccounts);
}

#[test]
fn cutover_behind_read_only_loses_nothing() {
    nothing_acknowledged_is_lost(Generation::Old, GateKind::ReadOnly);
    nothing_acknowledged_is_lost(Generation::New, GateKind::ReadOnly);
}

/// Closes nothing and counts.
#[derive(Default)]
struct Counting(AtomicU64, AtomicU64);

impl GateHook for Counting {
    fn close(&self) -> Result<Vec<String>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(vec!["asked the application to stop".into()])
    }

    fn open(&self) -> Result<Vec<String>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

/// An application that does not stop keeps the cut-over from going on, and goes on itself as if nothing had been.
#[test]
fn cutover_is_taken_back_when_sessions_are_left() {
    let pair = Pair::start(Generation::Old);
    prepare(&pair);
    let app = Application::start(&pair.source);
    let migration = synced(&pair);
    let mut options = CutoverOptions::new(GateKind::Hook);
    options.patience = Duration::from_millis(300);
    let hook = Counting::default();
    let seen = RefCell::new(Vec::new());
    let error = migration
        .cutover(
            &options,
            Hooks { gate: Some(&hook), ..Hooks::telling(&|step| seen.borrow_mut().push(step.name)) },
            true,
            &StopToken::new(),
        )
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(*seen.borrow(), [StepName::Preflight, StepName::Gate], "{text}");
    assert!(text.contains("sessions of applications are left") && text.contains("'app'"), "{text}");
    assert!(error.hint().contains("opened again"), "{}", error.hint());
    assert_eq!((hook.0.into_inner(), hook.1.into_inner()), (1, 1));
    app.wait_for_progress();
    let event = "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop'";
    assert_eq!(pair.source.query_one::<String>(event), "ENABLED");
    assert_eq!(
        pair.target.query_one::<u64>(
            "SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'shop'"
        ),
        0
    );

    // A dry run only looks.
    let mut options = CutoverOptions::new(GateKind::LockAccounts);
    options.dry_run = true;
    let report = cutover(&migration, &options).unwrap();
    let saw = report.steps[0].saw.join("\n");
    assert!(saw.contains("'app'@") && saw.contains("event shop.tick"), "{saw}");
    app.wait_for_progress();

    // With a gate that holds it the same task goes through.
    let report = cutover(&migration, &CutoverOptions::new(GateKind::LockAccounts)).unwrap();
    assert!(!report.resumed);
    let acknowledged = app.finish();
    assert!(numbers(&pair.target).1 >= acknowledged);
    assert_eq!(numbers(&pair.target), numbers(&pair.source));
}

/// Changes a row on the target alone, when the gate is closed and the source's last change has come.
struct Corrupting<'p>(&'p Pair);

impl GateHook for Corrupting<'_> {
    fn close(&self) -> Result<Vec<String>> {
        self.0.source.exec("UPDATE shop.t SET v = 'last' WHERE id = 7");
        wait_until("the last change is applied", || {
            self.0.target.query_one::<u64>("SELECT COUNT(*) FROM shop.t WHERE id = 7 AND v = 'last'") == 1
        });
        self.0.target.exec("UPDATE shop.t SET v = 'wrong' WHERE id = 7");
        Ok(Vec::new())
    }

    fn open(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// What was touched since the last clean check is compared while nobody may write; a difference stops the cut-over.
#[test]
fn cutover_compares_what_was_touched_since_the_last_clean_check() {
    for generation in [Generation::Old, Generation::New] {
        let pair = Pair::start(generation);
        pair.source.exec(
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(20)) DEFAULT CHARSET=utf8mb4; \
             CREATE TABLE shop.`text key` (a CHAR(10), b DATETIME(3), c DECIMAL(6,2), d BINARY(3), e ENUM('x','y'), v INT, PRIMARY KEY \
             (a, b, c, d, e)) DEFAULT CHARSET=utf8mb4; CREATE TABLE shop.keyless (v INT)",
        );
        let values: Vec<String> = (1..=100).map(|id| format!("({id}, 'v{id}')")).collect();
        pair.source.exec(&format!("INSERT INTO shop.t VALUES {}", values.join(", ")));
        let migration = synced(&pair);
        let mut options = CutoverOptions::new(GateKind::Hook);
        options.require_clean_check = true;
        let corrupting = Corrupting(&pair);
        let try_it = |options: &CutoverOptions| {
            let seen = RefCell::new(Vec::new());
            let observer = |step: &CutoverStep| {
                eprintln!("{:12} {:?} {:?}", step.name.name(), step.took, step.saw);
                seen.borrow_mut().push(step.clone());
            };
            let hooks = Hooks { gate: Some(&corrupting), ..Hooks::telling(&observer) };
            let outcome = migration.cutover(options, hooks, true, &StopToken::new());
            (outcome, seen.into_inner())
        };
        let (outcome, _) = try_it(&options);
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("no check has found both sides equal"), "{error}");

        let check = || {
            migration
                .check(CheckOptions::default(), true, &StopToken::new(), &CheckProgress::new())
                .unwrap()
                .conclusion
        };
        assert_eq!(check(), Conclusion::Same);
        // Rows of every kind of key; three of them are there twice, before and after.
        pair.source.exec(
            "UPDATE shop.t SET v = 'touched' WHERE id BETWEEN 11 AND 30; DELETE FROM shop.t WHERE id = 31; \
             INSERT INTO shop.`text key` VALUES ('ä', '2024-02-29 00:00:00.5', -1.5, 'ab', 'y', 1), ('Z', '2024-01-01', 0, '', 'x', 2); \
             UPDATE shop.`text key` SET a = 'ö' WHERE v = 1",
        );
        let (outcome, steps) = try_it(&options);
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("both sides differ: 1 row of shop.t"), "{error}");
        assert!(error.hint().contains("opened again"), "{}", error.hint());
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        assert_eq!(names.last(), Some(&StepName::Drain), "{names:?}");
        assert!(
            steps[0].saw.iter().any(|line| line.contains("24 touched rows compared")),
            "{:?}",
            steps[0].saw
        );

        // The next one finds it before anything is closed.
        let (outcome, steps) = try_it(&options);
        assert!(
            outcome.unwrap_err().to_string().contains("both sides differ: 1 row of shop.t")
                && steps.is_empty()
        );
        assert_eq!(check(), Conclusion::Different);
        let (outcome, steps) = try_it(&options);
        assert!(outcome.unwrap_err().to_string().contains("found differences") && steps.is_empty());
        pair.target.exec("UPDATE shop.t SET v = 'last' WHERE id = 7");
        assert_eq!(check(), Conclusion::Same);
        let report = cutover(&migration, &CutoverOptions::new(GateKind::ReadOnly)).unwrap();
        let verify = report.steps.iter().find(|step| step.name == StepName::Verify).unwrap();
        assert!(
            verify.saw.iter().any(|line| line.contains("3 tables counted: 101 rows")),
            "{:?}",
            verify.saw
        );
    }
}

/// A difference counts whatever was looked at: of one table, or the number of rows alone. Only a check of everything clears it.
#[test]
fn cutover_is_refused_after_any_check_that_found_a_difference() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let migration = synced(&pair);
    let check = |options: CheckOptions| {
        migration.check(options, true, &StopToken::new(), &CheckProgress::new()).unwrap().conclusion
    };
    let mut options = CutoverOptions::new(GateKind::ReadOnly);
    options.require_clean_check = true;
    let mut of_one_table = CheckOptions::default();
    of_one_table.tables = Some(vec![TableName::new("shop", "audit")]);
    let mut counting = CheckOptions::default();
    counting.mode = CheckMode::RowsCount;
    let mut partial = CheckOptions::default();
    partial.mode = CheckMode::Partial;
    let mut look = options.clone();
    look.dry_run = true;
    let preflight = || cutover(&migration, &look).unwrap().steps[0].saw.join("\n");
    assert_eq!(check(partial.clone()), Conclusion::Same);
    assert!(preflight().contains("are equal is NOT proven"), "{}", preflight());
    for narrow in [of_one_table, counting] {
        assert_eq!(check(CheckOptions::default()), Conclusion::Same);
        assert_eq!(check(partial.clone()), Conclusion::Same);
        assert!(preflight().contains("clean check (full)"), "{}", preflight());
        pair.target.exec("DELETE FROM shop.audit WHERE id = 1");
        assert_eq!(check(narrow.clone()), Conclusion::Different);
        let error = cutover(&migration, &options).unwrap_err();
        assert!(error.to_string().contains("found differences"), "{error}");
        pair.target.exec("INSERT INTO shop.audit VALUES (1, 1)");
        assert_eq!(check(narrow), Conclusion::Same);
        assert_eq!(check(partial.clone()), Conclusion::Same);
        assert!(cutover(&migration, &options).is_err(), "what else differs nobody knows");
    }
    assert_eq!(check(CheckOptions::default()), Conclusion::Same);
    cutover(&migration, &options).unwrap();
}
