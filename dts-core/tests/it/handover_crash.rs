//! A cut-over and a rollback that end at every point at which they change something, as if the process were killed: the next call
//! ends well, nothing acknowledged is lost, and never can both sides be written.
use std::panic::{AssertUnwindSafe, catch_unwind};

use dts_core::cutover::{CutoverOptions, CutoverReport, POINTS, POINTS_BACK};
use dts_core::data::GateKind;
use dts_core::error::Result;
use dts_core::migration::{Hooks, Migration, Until};
use dts_core::stop::StopToken;
use dts_testbed::{Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, run};

pub(crate) fn prepare(pair: &Pair) {
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.plain (id BIGINT AUTO_INCREMENT PRIMARY KEY, why VARCHAR(40)); CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         CREATE TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) VALUES (NEW.number); \
         CREATE EVENT shop.tick ON SCHEDULE EVERY 1 DAY STARTS '2038-01-01' DO DELETE FROM shop.audit WHERE number < 0",
    );
    for server in [&pair.source, &pair.target] {
        server.create_account("app", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
    }
}

/// A task in sync, with a target that is closed until the cut-over.
pub(crate) fn in_sync(pair: &Pair) -> Migration {
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    pair.target.exec("SET GLOBAL read_only = 1");
    migration
}

pub(crate) fn reversing(gate: GateKind) -> CutoverOptions {
    let mut options = CutoverOptions::new(gate);
    options.reverse = true;
    options
}

/// Writes the next number where the application can write, and says where that was.
pub(crate) fn write(pair: &Pair, number: &mut u64) -> [bool; 2] {
    [&pair.source, &pair.target].map(|server| {
        let options = mysql::OptsBuilder::new()
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(server.port())
            .prefer_socket(false)
            .user(Some("app"))
            .pass(Some("app-secret"));
        let Ok(mut connection) = mysql::Conn::new(options) else { return false };
        let done = connection.exec_drop("INSERT INTO shop.log (number) VALUES (?)", (*number + 1,)).is_ok();
        *number += u64::from(done);
        done
    })
}

/// Calls a hand-over that ends at a point. The next call must end well.
pub(crate) fn end_at(point: &'static str, hand_over: &dyn Fn(Hooks<'_>) -> Result<CutoverReport>) {
    let passing = |passed: &'static str| {
        if passed == point {
            std::panic::panic_any(point);
        }
    };
    let hooks = Hooks { passing: &passing, ..Hooks::telling(&|_| {}) };
    dies_at(point, || hand_over(hooks));
}

/// Calls what panics with `point`.
pub(crate) fn dies_at<T: std::fmt::Debug>(point: &'static str, work: impl FnOnce() -> Result<T>) {
    let ended = catch_unwind(AssertUnwindSafe(work));
    match ended {
        Err(panicked) => assert_eq!(panicked.downcast_ref::<&'static str>(), Some(&point)),
        Ok(outcome) => panic!("'{point}' was not passed: {outcome:?}"),
    }
}

pub(crate) fn holds(server: &Server) -> (u64, u64, u64) {
    server.query_one(
        "SELECT COUNT(*), COALESCE(MAX(number), 0), (SELECT COUNT(*) FROM shop.audit) FROM shop.log",
    )
}

fn at_every_point(generation: Generation, gate: GateKind) {
    let pair = Pair::start(generation);
    prepare(&pair);
    let migration = pair.migration("shop", &["shop"]);
    let mut number = 0;
    assert!(write(&pair, &mut number)[0]);
    run(&migration, Until::Synced);
    let mut options = CutoverOptions::new(gate);
    options.reverse = true;
    let there = |hooks: Hooks<'_>| migration.cutover(&options, hooks, true, &StopToken::new());
    let back = |hooks: Hooks<'_>| migration.rollback(&options, hooks, true, &StopToken::new());
    // The application may write on the target only while it is open; at first that is the operator's business.
    pair.target.exec("SET GLOBAL read_only = 1");

    for turn in 0..POINTS.len().max(POINTS_BACK.len()) {
        if let Some(point) = POINTS.get(turn) {
            end_at(point, &there);
            look(&pair, &mut number, "there", point);
            open_by_hand(&pair.source, gate, point, POINTS);
        }
        there(Hooks::telling(&|_| {})).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(look(&pair, &mut number, "there", "done"), [false, true]);
        run(&migration, Until::Synced);
        if let Some(point) = POINTS_BACK.get(turn) {
            end_at(point, &back);
            look(&pair, &mut number, "back", point);
            open_by_hand(&pair.target, gate, point, POINTS_BACK);
        }
        back(Hooks::telling(&|_| {})).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(look(&pair, &mut number, "back", "done"), [true, false]);
        run(&migration, Until::Synced);
        assert_eq!(holds(&pair.source), (number, number, number));
        dump::assert_equal(&pair.source, &pair.target, "shop");
        assert!(!has_schema(&pair.source), "something of dts is left on the source");
    }
}

/// Somebody opens the side that the dead process had closed, or it was restarted, and it is written: what is noted of its end is of
/// the past. Once the other side may be open, too, nothing of that can be carried, but this side must be closed again.
fn open_by_hand(server: &Server, gate: GateKind, point: &str, points: &[&str]) {
    let place = |name| points.iter().position(|other| *other == name);
    // Nobody locks root out.
    if gate == GateKind::ReadOnly && point != "open" {
        server.exec("SET GLOBAL read_only = 0");
    }
    if place(point) < place("opening") {
        server.exec(&format!("INSERT INTO shop.plain (why) VALUES ('opened by hand at {point}')"));
    }
}

pub(crate) fn has_schema(server: &Server) -> bool {
    server.query_one::<u64>("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '__dts__'")
        == 1
}

fn look(pair: &Pair, number: &mut u64, way: &str, point: &str) -> [bool; 2] {
    let open = write(pair, number);
    eprintln!("{way}, {point}: source open {}, target open {}", open[0], open[1]);
    assert_ne!(open, [true, true], "both sides can be written ({way}, {point})");
    let event = |server: &Server| {
        let sql =
            "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop' AND STATUS = 'ENABLED'";
        server.query::<String>(sql).len()
    };
    assert!(event(&pair.source) + event(&pair.target) <= 1, "both sides run the event ({way}, {point})");
    let phase: Option<String> =
        pair.target.query("SELECT phase FROM __dts__.cutover WHERE task = 'shop'").into_iter().next();
    assert!(
        event(&pair.target) == 0 || matches!(phase.as_deref(), Some("opening" | "done")),
        "the event runs on the target in the phase {phase:?} ({way}, {point})"
    );
    open
}

#[test]
fn handover_that_dies_at_any_point_goes_on_behind_locked_accounts() {
    at_every_point(Generation::New, GateKind::LockAccounts);
}

#[test]
fn handover_that_dies_at_any_point_goes_on_behind_read_only() {
    at_every_point(Generation::Old, GateKind::ReadOnly);
}

/// What died is taken back as well as it goes on, as long as the other side was not about to be opened.
#[test]
fn handover_that_dies_is_taken_back() {
    let pair = Pair::start(Generation::New);
    prepare(&pair);
    let migration: Migration = pair.migration("shop", &["shop"]);
    let mut number = 0;
    write(&pair, &mut number);
    run(&migration, Until::Synced);
    pair.target.exec("SET GLOBAL read_only = 1");
    let mut options = CutoverOptions::new(GateKind::LockAccounts);
    options.reverse = true;
    let there = |hooks: Hooks<'_>| migration.cutover(&options, hooks, true, &StopToken::new());
    let back = |hooks: Hooks<'_>| migration.rollback(&options, hooks, true, &StopToken::new());
    let stop = StopToken::new();
    for point in ["begun", "gate", "end_position", "drained", "completing", "reverse"] {
        end_at(point, &there);
        migration
            .take_back_cutover(Hooks::telling(&|_| {}), &stop)
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(look(&pair, &mut number, "there", point), [true, false]);
        run(&migration, Until::Synced);
        assert_eq!(holds(&pair.target), (number, number, number));
    }
    end_at("opening", &there);
    assert!(migration.take_back_cutover(Hooks::telling(&|_| {}), &stop).is_err());
    there(Hooks::telling(&|_| {})).unwrap();
    for point in ["begun", "gate", "end_position", "drained", "completing", "objects"] {
        end_at(point, &back);
        migration
            .take_back_rollback(Hooks::telling(&|_| {}), &stop)
            .unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(look(&pair, &mut number, "back", point), [false, true]);
        run(&migration, Until::Synced);
        assert_eq!(holds(&pair.source), (number, number, number));
    }
    end_at("opening", &back);
    assert!(migration.take_back_rollback(Hooks::telling(&|_| {}), &stop).is_err());
    back(Hooks::telling(&|_| {})).unwrap();
    assert_eq!(look(&pair, &mut number, "back", "done"), [true, false]);
}
