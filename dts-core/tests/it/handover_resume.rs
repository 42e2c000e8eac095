//! A hand-over that is taken up again: nothing that was noted before is believed once somebody may have written, and nothing but
//! the hand-over itself ends it.
use dts_core::checker::{CheckOptions, CheckProgress};
use dts_core::cutover::{CutoverOptions, CutoverReport, POINTS_TAKEN_BACK, StepName};
use dts_core::data::GateKind;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{GateHook, Hooks, Migration, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::{Server, dump};
use mysql::prelude::Queryable;

use crate::handover_crash::{dies_at, end_at, has_schema, holds, in_sync, prepare, reversing, write};
use crate::support::{Generation, Pair, run};

fn synced(pair: &Pair) -> Migration {
    prepare(pair);
    in_sync(pair)
}

fn there(migration: &Migration, gate: GateKind) -> Result<CutoverReport> {
    migration.cutover(&reversing(gate), Hooks::telling(&|_| {}), true, &StopToken::new())
}

fn back(migration: &Migration, gate: GateKind) -> Result<CutoverReport> {
    migration.rollback(&reversing(gate), Hooks::telling(&|_| {}), true, &StopToken::new())
}

/// What an operator's command does to a server. It can end the process right after it has opened it.
struct Switch<'s> {
    server: &'s Server,
    dies: bool,
}

impl GateHook for Switch<'_> {
    fn close(&self) -> Result<Vec<String>> {
        self.server.exec("SET GLOBAL read_only = 1");
        // Whoever is in the middle of something.
        for id in self.server.query::<u64>("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app'")
        {
            self.server.exec(&format!("KILL {id}"));
        }
        Ok(vec!["closed".into()])
    }

    fn open(&self) -> Result<Vec<String>> {
        self.server.exec("SET GLOBAL read_only = 0");
        if self.dies {
            std::panic::panic_any("opened by the hook");
        }
        Ok(vec!["opened".into()])
    }
}

/// The process dies in the middle of a take-back, the application writes on the side that is open again, and the hand-over is run
/// once more.
#[test]
fn take_back_that_dies_after_the_gate_was_opened_loses_nothing() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let mut number = 0;
    let options = reversing(GateKind::Hook);
    let stop = StopToken::new();
    let (source, target) =
        (Switch { server: &pair.source, dies: true }, Switch { server: &pair.target, dies: true });
    let hand = |hook: &Switch<'_>, hooks: Hooks<'_>| {
        let hooks =
            Hooks { gate: Some(hook), opener: Some(&Switch { server: &pair.source, dies: false }), ..hooks };
        migration.cutover(&options, hooks, true, &StopToken::new())
    };
    // The hook opens, and nothing after it happens.
    for point in ["end_position", "drained", "completing", "reverse"] {
        end_at(point, &|hooks| hand(&source, hooks));
        let hooks = Hooks { gate: Some(&source), ..Hooks::telling(&|_| {}) };
        dies_at("opened by the hook", || migration.take_back_cutover(hooks, &stop));
        assert_eq!(write(&pair, &mut number), [true, false], "{point}");
    }
    hand(&source, Hooks::telling(&|_| {})).unwrap();
    assert_eq!(write(&pair, &mut number), [false, true]);
    assert_eq!(holds(&pair.target), (number, number, number), "acknowledged on the source");

    let hand_back = |hooks: Hooks<'_>| {
        let opener = Switch { server: &pair.source, dies: false };
        let hooks = Hooks { gate: Some(&target), opener: Some(&opener), ..hooks };
        migration.rollback(&options, hooks, true, &StopToken::new())
    };
    for point in ["end_position", "drained", "completing", "objects"] {
        end_at(point, &hand_back);
        let hooks = Hooks { gate: Some(&target), ..Hooks::telling(&|_| {}) };
        dies_at("opened by the hook", || migration.take_back_rollback(hooks, &stop));
        assert_eq!(write(&pair, &mut number), [false, true], "{point}");
    }
    hand_back(Hooks::telling(&|_| {})).unwrap();
    assert_eq!(write(&pair, &mut number), [true, false]);
    assert_eq!(holds(&pair.source), (number, number, number), "acknowledged on the target");
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "shop");
}

/// The same at each point at which a take-back changes something, with gates that dts opens.
fn take_back_dies_at_every_point(generation: Generation, gate: GateKind) {
    let pair = Pair::start(generation);
    let migration = synced(&pair);
    let mut number = 0;
    let stop = StopToken::new();
    for point in POINTS_TAKEN_BACK {
        let passing = |passed: &'static str| {
            if passed == *point {
                std::panic::panic_any(*point);
            }
        };
        let hooks = Hooks { passing: &passing, ..Hooks::telling(&|_| {}) };
        end_at("reverse", &|hooks| migration.cutover(&reversing(gate), hooks, true, &StopToken::new()));
        dies_at(point, || migration.take_back_cutover(hooks, &stop));
        pair.source.exec("INSERT INTO shop.plain (why) VALUES ('there')");
        let open = write(&pair, &mut number);
        eprintln!("there, taken back to '{point}': source open {}, target open {}", open[0], open[1]);
        assert_eq!(open, [*point == "reopened", false]);
        // Nobody may believe the end position of before.
        let row = "SELECT CONCAT(phase, COALESCE(end_position, '')) FROM __dts__.cutover WHERE task = 'shop'";
        assert_eq!(pair.target.query_one::<String>(row), "gating");
        there(&migration, gate).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(write(&pair, &mut number), [false, true]);

        end_at("objects", &|hooks| migration.rollback(&reversing(gate), hooks, true, &StopToken::new()));
        dies_at(point, || migration.take_back_rollback(hooks, &stop));
        pair.target.exec("INSERT INTO shop.plain (why) VALUES ('back')");
        let open = write(&pair, &mut number);
        eprintln!("back, taken back to '{point}': source open {}, target open {}", open[0], open[1]);
        assert_eq!(open, [false, *point == "reopened"]);
        back(&migration, gate).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(write(&pair, &mut number), [true, false]);
        run(&migration, Until::Synced);
        assert_eq!(holds(&pair.source), (number, number, number));
        dump::assert_equal(&pair.source, &pair.target, "shop");
    }
}

#[test]
fn take_back_that_dies_at_any_point_goes_on_behind_locked_accounts() {
    take_back_dies_at_every_point(Generation::Old, GateKind::LockAccounts);
}

#[test]
fn take_back_that_dies_at_any_point_goes_on_behind_read_only() {
    take_back_dies_at_every_point(Generation::New, GateKind::ReadOnly);
}

fn refused<T: std::fmt::Debug>(outcome: Result<T>, allowed: &str) {
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::IllegalState { .. }), "{error:?}");
    assert!(error.to_string().contains(allowed), "{error}");
}

/// Only the cut-over knows which side is closed: nothing else ends the task, and whoever is refused is told so.
#[test]
fn only_the_cut_over_ends_a_cut_over() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let mut number = 0;
    let (stop, progress) = (StopToken::new(), Progress::new());
    for point in ["begun", "completing", "reverse"] {
        end_at(point, &|hooks| {
            migration.cutover(&reversing(GateKind::ReadOnly), hooks, true, &StopToken::new())
        });
        for immediately in [false, true] {
            refused(migration.complete(immediately, &stop, &progress), "cutover --abort");
        }
        if point != "begun" {
            refused(migration.run(Until::Synced, &stop, &progress), "cutover --abort");
        }
        migration.take_back_cutover(Hooks::telling(&|_| {}), &stop).unwrap();
        assert_eq!(write(&pair, &mut number), [true, false]);
    }
    // The target is about to be opened: no way but on. Here with a reverse channel, below without.
    end_at("ended", &|hooks| {
        migration.cutover(&reversing(GateKind::ReadOnly), hooks, true, &StopToken::new())
    });
    refused(migration.complete(true, &stop, &progress), "cutover (goes on)");
    there(&migration, GateKind::ReadOnly).unwrap();
    assert_eq!(write(&pair, &mut number), [false, true]);
    back(&migration, GateKind::ReadOnly).unwrap();
    run(&migration, Until::Synced);
    let options = CutoverOptions::new(GateKind::ReadOnly);
    end_at("ended", &|hooks| migration.cutover(&options, hooks, true, &StopToken::new()));
    refused(migration.clean(false, &stop), "cutover (goes on)");
    refused(migration.run(Until::Synced, &stop, &progress), "cutover (goes on)");
    migration.cutover(&options, Hooks::telling(&|_| {}), true, &stop).unwrap();
    assert_eq!(write(&pair, &mut number), [false, true]);
    migration.clean(false, &stop).unwrap();
}

fn asks_for(error: &Error, gate: &str) {
    assert!(matches!(error.kind(), ErrorKind::InvalidInput { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("--gate {gate}")), "{error:?}");
}

/// A hand-over goes on with the gate that it began with: another one would leave the side open and say that it is closed.
#[test]
fn another_gate_is_refused_when_a_hand_over_goes_on() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let mut number = 0;
    let (source, target) =
        (Switch { server: &pair.source, dies: false }, Switch { server: &pair.target, dies: false });
    let with = |gate: GateKind, hook: Option<&Switch<'_>>, hooks: Hooks<'_>| {
        let hooks = Hooks { gate: hook.map(|hook| hook as &dyn GateHook), ..hooks };
        migration.cutover(&reversing(gate), hooks, true, &StopToken::new())
    };
    end_at("begun", &|hooks| with(GateKind::Hook, Some(&source), hooks));
    for (gate, hook) in
        [(GateKind::ReadOnly, None), (GateKind::ReadOnly, Some(&source)), (GateKind::Hook, None)]
    {
        asks_for(&with(gate, hook, Hooks::telling(&|_| {})).unwrap_err(), "hook");
    }
    assert_eq!(write(&pair, &mut number), [true, false]);
    let report = with(GateKind::Hook, Some(&source), Hooks::telling(&|_| {})).unwrap();
    let closing = report.steps.iter().find(|step| step.name == StepName::Gate).unwrap();
    assert_eq!(closing.saw.last().map(String::as_str), Some("closed"));
    assert_eq!(write(&pair, &mut number), [false, true]);

    let with = |gate: GateKind, hook: Option<&Switch<'_>>, hooks: Hooks<'_>| {
        let hooks = Hooks { gate: hook.map(|hook| hook as &dyn GateHook), opener: Some(&source), ..hooks };
        migration.rollback(&reversing(gate), hooks, true, &StopToken::new())
    };
    end_at("completing", &|hooks| with(GateKind::LockAccounts, None, hooks));
    for (gate, hook) in [(GateKind::None, None), (GateKind::Hook, Some(&target))] {
        asks_for(&with(gate, hook, Hooks::telling(&|_| {})).unwrap_err(), "lock-accounts");
    }
    with(GateKind::LockAccounts, None, Hooks::telling(&|_| {})).unwrap();
    assert_eq!(write(&pair, &mut number), [true, false]);
    assert_eq!(holds(&pair.source), (number, number, number));
}

/// What could not be compared before the process died is said by the one that goes on.
#[test]
fn what_was_not_compared_is_said_after_a_crash_too() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    pair.source.exec("CREATE TABLE shop.keyless (v INT); INSERT INTO shop.keyless VALUES (1)");
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    migration.check(CheckOptions::default(), true, &StopToken::new(), &CheckProgress::new()).unwrap();
    pair.source.exec("UPDATE shop.keyless SET v = 2");
    end_at("gate", &|hooks| {
        migration.cutover(&reversing(GateKind::ReadOnly), hooks, true, &StopToken::new())
    });
    let report = there(&migration, GateKind::ReadOnly).unwrap();
    let verify = report.steps.iter().find(|step| step.name == StepName::Verify).unwrap();
    assert!(verify.saw.iter().any(|line| line.contains("NOT compared: shop.keyless")), "{:?}", verify.saw);
}

/// A transaction that an application prepared at the last moment outlives its session: it would never come to the target.
#[test]
fn transaction_prepared_at_the_last_moment_stops_the_cut_over() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let app = std::cell::RefCell::new(pair.source.conn("app", "app-secret"));
    let observer = |step: &dts_core::cutover::CutoverStep| {
        if step.name == StepName::Preflight {
            app.borrow_mut()
                .query_drop(
                    "XA START 'last'; INSERT INTO shop.log (number) VALUES (1); XA END 'last'; XA PREPARE 'last'",
                )
                .unwrap();
        }
    };
    let error = migration
        .cutover(&reversing(GateKind::LockAccounts), Hooks::telling(&observer), true, &StopToken::new())
        .unwrap_err();
    assert!(error.to_string().contains("1 prepared XA transaction"), "{error}");
    assert!(error.hint().contains("opened again"), "{}", error.hint());
    assert!(!has_schema(&pair.source));
    pair.source.exec("XA COMMIT 'last'");
    let mut number = 1;
    assert_eq!(write(&pair, &mut number), [true, false]);
    there(&migration, GateKind::LockAccounts).unwrap();
    assert_eq!(holds(&pair.target), (2, 2, 2));
}

/// A task that was cleaned away leaves nothing that a later one of the same name would believe.
#[test]
fn clean_leaves_no_check_of_the_task() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let other = pair.migration("other", &["nothing"]);
    pair.source.exec("CREATE DATABASE nothing; CREATE TABLE nothing.t (id INT PRIMARY KEY)");
    run(&other, Until::Synced);
    migration.check(CheckOptions::default(), true, &StopToken::new(), &CheckProgress::new()).unwrap();
    let rows = || {
        ["last_check", "watch"].map(|table| {
            pair.target.query_one::<u64>(&format!("SELECT COUNT(*) FROM __dts__.{table} WHERE task = 'shop'"))
        })
    };
    assert_eq!(rows(), [1, 1]);
    migration.end(&StopToken::new()).unwrap();
    assert!(!migration.clean(true, &StopToken::new()).unwrap().schema_dropped);
    assert_eq!(rows(), [0, 0]);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    let mut options = CutoverOptions::new(GateKind::ReadOnly);
    options.require_clean_check = true;
    let error = migration.cutover(&options, Hooks::telling(&|_| {}), true, &StopToken::new()).unwrap_err();
    assert!(error.to_string().contains("no check has found both sides equal"), "{error}");
}
