//! What a hand-over says when it stops: in what state both sides are comes first, whatever the cause.
use std::cell::Cell;

use dts_core::cutover::{CutoverReport, CutoverStep};
use dts_core::data::GateKind;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{GateHook, Hooks, Migration, Until};
use dts_core::stop::StopToken;
use dts_testbed::Server;

use crate::handover_crash::{end_at, has_schema, in_sync, prepare, reversing, write};
use crate::support::{Generation, Pair, run, wait_until};

fn synced(pair: &Pair) -> Migration {
    prepare(pair);
    pair.source.exec("INSERT INTO shop.plain (why) VALUES ('one'), ('two')");
    in_sync(pair)
}

fn call(migration: &Migration, is_back: bool, gate: GateKind, hooks: Hooks<'_>) -> Result<CutoverReport> {
    match is_back {
        false => migration.cutover(&reversing(gate), hooks, true, &StopToken::new()),
        true => migration.rollback(&reversing(gate), hooks, true, &StopToken::new()),
    }
}

/// Makes a change that cannot be applied on the other side, when it closes.
struct Breaking<'s> {
    here: &'s Server,
    there: &'s Server,
}

impl GateHook for Breaking<'_> {
    fn close(&self) -> Result<Vec<String>> {
        self.there.exec("SET SESSION sql_log_bin = 0; DELETE FROM shop.plain WHERE id = 1");
        self.here.exec("UPDATE shop.plain SET why = 'changed' WHERE id = 1");
        Ok(Vec::new())
    }

    fn open(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// The applier dies while it is waited for: its error is the cause, and who may write is said all the same.
#[test]
fn the_state_of_both_sides_is_said_when_the_applier_dies() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let breaking = Breaking { here: &pair.source, there: &pair.target };
    let hooks = || Hooks { gate: Some(&breaking), ..Hooks::telling(&|_| {}) };
    let error = call(&migration, false, GateKind::Hook, hooks()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Divergence { .. }), "{error:?}");
    assert!(
        error.hint().starts_with("The gate was opened again: applications write on the source"),
        "{error:?}"
    );
    assert!(error.hint().contains("dts check"), "{error:?}");
    let mut number = 0;
    assert_eq!(write(&pair, &mut number), [true, false]);

    // Neither does a failure that has its own advice hide it.
    pair.target.exec("SET SESSION sql_log_bin = 0; INSERT INTO shop.plain VALUES (1, 'one')");
    run(&migration, Until::Synced);
    struct Failing;
    impl GateHook for Failing {
        fn close(&self) -> Result<Vec<String>> {
            Err(Error::from(ErrorKind::CutOver { why: "no".into() }).with_hint("Look at the proxy."))
        }
        fn open(&self) -> Result<Vec<String>> {
            Err(Error::from(ErrorKind::CutOver { why: "never".into() }).with_hint("Look at the proxy."))
        }
    }
    let hooks = || Hooks { gate: Some(&Failing), ..Hooks::telling(&|_| {}) };
    let error = call(&migration, false, GateKind::Hook, hooks()).unwrap_err();
    assert!(error.to_string().contains("the hand-over stops: no"), "{error}");
    let hint = error.hint();
    assert!(hint.starts_with("The gate could not be opened again either"), "{hint}");
    assert!(hint.contains("--abort") && hint.ends_with("Look at the proxy."), "{hint}");
    let error = migration.take_back_cutover(hooks(), &StopToken::new()).unwrap_err();
    assert!(error.hint().contains("the source may still be closed"), "{error:?}");
    assert!(!error.hint().contains("Nothing was changed"), "{error:?}");
    let opening = Breaking { here: &pair.source, there: &pair.target };
    let hooks = Hooks { gate: Some(&opening), ..Hooks::telling(&|_| {}) };
    migration.take_back_cutover(hooks, &StopToken::new()).unwrap();
}

/// Whatever fails while a side is being opened, the message says which of them is open.
#[test]
fn the_state_of_both_sides_is_said_when_opening_fails() {
    let pair = Pair::start(Generation::New);
    let migration = synced(&pair);
    let mut number = 0;
    let tell = |step: &CutoverStep| eprintln!("{:12} {:?}", step.name.name(), step.saw);
    for (is_back, ours, theirs) in [(false, "cutover", "target"), (true, "rollback", "source")] {
        let ours_side = if is_back { "target" } else { "source" };
        for (point, state) in [
            (
                "opening",
                format!(
                    "The {ours_side} is closed, and everything is on the {theirs}, which may not be open yet. Run `dts {ours}`"
                ),
            ),
            ("opened", format!("The {theirs} is open, and everything is on it. Run `dts {ours}` again")),
        ] {
            // The journal goes out of reach for a moment.
            let armed = Cell::new(true);
            let passing = |passed: &'static str| {
                if passed == point && armed.replace(false) {
                    pair.target.exec(
                        "RENAME TABLE __dts__.task TO __dts__.task2, __dts__.cutover TO __dts__.cutover2, __dts__.object TO __dts__.object2",
                    );
                }
            };
            let error = call(
                &migration,
                is_back,
                GateKind::ReadOnly,
                Hooks { passing: &passing, ..Hooks::telling(&tell) },
            )
            .unwrap_err();
            pair.target
                .exec("RENAME TABLE __dts__.task2 TO __dts__.task, __dts__.cutover2 TO __dts__.cutover, __dts__.object2 TO __dts__.object");
            assert!(error.hint().starts_with(&state), "{error:?}");
            let open = write(&pair, &mut number);
            assert_eq!(open, [is_back && point == "opened", !is_back && point == "opened"]);
            call(&migration, is_back, GateKind::ReadOnly, Hooks::telling(&tell)).unwrap();
            assert_eq!(write(&pair, &mut number), [is_back, !is_back]);
            if point == "opening" {
                // There once more.
                call(&migration, !is_back, GateKind::ReadOnly, Hooks::telling(&tell)).unwrap();
            }
        }
    }
    // Before that it can still be taken back.
    end_at("counters", &|hooks| call(&migration, false, GateKind::ReadOnly, hooks));
    let stop = StopToken::new();
    let stopping = |passed: &'static str| {
        if passed == "reverse" {
            stop.stop();
        }
    };
    let hooks = Hooks { passing: &stopping, ..Hooks::telling(&tell) };
    let error = migration.cutover(&reversing(GateKind::ReadOnly), hooks, true, &stop).unwrap_err();
    assert!(error.is_interrupted(), "{error:?}");
    assert!(error.hint().starts_with("The source is closed, and the target was not opened."), "{error:?}");
    assert!(error.hint().contains("--abort"), "{error:?}");
    migration.take_back_cutover(Hooks::telling(&tell), &StopToken::new()).unwrap();
    assert_eq!(write(&pair, &mut number), [true, false]);
}

/// A cut-over that is refused before it begins leaves the source as it was, also when it had tried a reverse channel out there.
#[test]
fn nothing_is_left_on_the_source_by_a_cut_over_that_is_refused() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let mut options = pair.options("shop", &["shop"]);
    options.objects.accounts = true;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    pair.target.exec("ALTER USER app@'%' IDENTIFIED BY 'another' ACCOUNT LOCK");
    let error = call(&migration, false, GateKind::ReadOnly, Hooks::telling(&|_| {})).unwrap_err();
    assert!(error.to_string().contains("cannot log in on the target"), "{error:?}");
    assert!(
        error.hint().starts_with("Nothing was closed, and nothing was changed on the source."),
        "{error:?}"
    );
    assert!(!has_schema(&pair.source));
    let mut number = 0;
    assert!(write(&pair, &mut number)[0]);
    wait_until("the source is as it was", || pair.source.query_one::<u64>("SELECT @@GLOBAL.read_only") == 0);
}
