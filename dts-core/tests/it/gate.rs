//! What the gate of a hand-over changes on a server, and that all of it is as before when the gate is open again.
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dts_core::cutover::{CutoverOptions, CutoverReport, CutoverStep};
use dts_core::data::GateKind;
use dts_core::error::Result;
use dts_core::migration::{Hooks, Migration, Until};
use dts_core::stop::StopToken;
use dts_core::wire::Secret;
use dts_testbed::Server;
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, StopAtEnd, run, wait_until};

const SHOP: &str = "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)";

/// Events of somebody else's, of somebody who is gone, and one that rests.
const EVENTS: &str = "SET time_zone = '+03:00', sql_mode = 'ANSI_QUOTES'; \
    CREATE DEFINER = app@'%' EVENT shop.daily ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' ON COMPLETION PRESERVE COMMENT 'each day' \
    DO DELETE FROM shop.t WHERE id < 0; \
    CREATE DEFINER = app@'%' EVENT shop.once ON SCHEDULE AT '2037-01-01' DO DELETE FROM shop.t WHERE id < 0; \
    CREATE DEFINER = app@'%' EVENT shop.rests ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DISABLE DO DELETE FROM shop.t WHERE id < 0; \
    CREATE DEFINER = nobody@'%' EVENT shop.orphan ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DELETE FROM shop.t WHERE id < 0";

fn prepared(generation: Generation) -> Pair {
    let pair = Pair::start(generation);
    pair.source.exec(SHOP);
    for server in [&pair.source, &pair.target] {
        server.create_account("app", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
    }
    pair
}

fn tell(step: &CutoverStep) {
    eprintln!("{:12} {:?}", step.name.name(), step.saw);
}

fn options(gate: GateKind) -> CutoverOptions {
    let mut options = CutoverOptions::new(gate);
    options.reverse = true;
    options
}

/// `passing` is told each point that is passed.
fn cut_over(
    migration: &Migration,
    options: &CutoverOptions,
    passing: &dyn Fn(&'static str),
) -> Result<CutoverReport> {
    let hooks = Hooks { passing, ..Hooks::telling(&tell) };
    migration.cutover(options, hooks, true, &StopToken::new())
}

fn roll_back(
    migration: &Migration,
    options: &CutoverOptions,
    passing: &dyn Fn(&'static str),
) -> Result<CutoverReport> {
    let hooks = Hooks { passing, ..Hooks::telling(&tell) };
    migration.rollback(options, hooks, true, &StopToken::new())
}

fn at(wanted: &'static str, work: impl Fn()) -> impl Fn(&'static str) {
    move |point| {
        if point == wanted {
            work();
        }
    }
}

/// All of the events but their status, then their status.
fn events(server: &Server) -> (Vec<String>, Vec<String>) {
    let kept = "SELECT CONCAT_WS(' ', EVENT_NAME, DEFINER, TIME_ZONE, SQL_MODE, ON_COMPLETION, EVENT_TYPE, STARTS, EXECUTE_AT, EVENT_COMMENT) \
                FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop' ORDER BY EVENT_NAME";
    let status = "SELECT CONCAT(EVENT_NAME, ' ', STATUS) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop' ORDER BY EVENT_NAME";
    (server.query(kept), server.query(status))
}

const RUNNING: [&str; 4] = ["daily ENABLED", "once ENABLED", "orphan ENABLED", "rests DISABLED"];
const RESTING: [&str; 4] = ["daily DISABLED", "once DISABLED", "orphan DISABLED", "rests DISABLED"];

/// `ALTER EVENT` makes whoever runs it the definer, on every version.
#[test]
fn gate_leaves_the_definers_of_events() {
    for generation in [Generation::Old, Generation::New] {
        let pair = prepared(generation);
        pair.source.exec(EVENTS);
        let (before, status) = events(&pair.source);
        assert_eq!(status, RUNNING);
        assert!(before[0].contains("app@% +03:00 ANSI_QUOTES PRESERVE"), "{before:?}");
        let migration = pair.migration("shop", &["shop"]);
        run(&migration, Until::Synced);

        // Taken back.
        let mut hurried = options(GateKind::LockAccounts);
        hurried.patience = Duration::from_millis(200);
        hurried.end_sessions = false;
        let mut held = pair.source.conn("app", "app-secret");
        let error = cut_over(&migration, &hurried, &|_| {}).unwrap_err();
        assert!(error.to_string().contains("sessions of applications are left"), "{error}");
        held.query_drop("INSERT INTO shop.t VALUES (1)").unwrap();
        drop(held);
        assert_eq!(events(&pair.source), (before.clone(), RUNNING.map(str::to_owned).to_vec()));

        // There.
        cut_over(&migration, &options(GateKind::LockAccounts), &|_| {}).unwrap();
        assert_eq!(events(&pair.source), (before.clone(), RESTING.map(str::to_owned).to_vec()));
        let (there, status) = events(&pair.target);
        assert_eq!((there, status), (before.clone(), RUNNING.map(str::to_owned).to_vec()));

        // And back.
        roll_back(&migration, &options(GateKind::LockAccounts), &|_| {}).unwrap();
        assert_eq!(events(&pair.source), (before, RUNNING.map(str::to_owned).to_vec()));
    }
}

/// An account that may not name another definer becomes the definer itself on the side that is closed. That is said, and the other
/// side gets the definer that the event had.
#[test]
fn gate_says_which_definers_it_could_not_leave() {
    let pair = prepared(Generation::Old);
    pair.source.exec(EVENTS);
    pair.source.exec(
        "CREATE USER mover@'%' IDENTIFIED BY 'Mover-1'; GRANT ALL ON shop.* TO mover@'%'; GRANT SELECT ON mysql.* TO mover@'%'; \
         GRANT CREATE USER, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO mover@'%'",
    );
    let (before, _) = events(&pair.source);
    let mut limited = pair.options("shop", &["shop"]);
    limited.source.connection.user = "mover".into();
    limited.source.connection.password = Secret::new("Mover-1");
    let migration = Migration::new(limited);
    run(&migration, Until::Synced);
    let mut options = CutoverOptions::new(GateKind::None);
    options.end_sessions = false;
    let report = cut_over(&migration, &options, &|_| {}).unwrap();
    let saw: Vec<&String> = report.steps.iter().flat_map(|step| &step.saw).collect();
    for event in ["daily", "once", "orphan"] {
        let lines = saw.iter().filter(|line| line.contains(&format!("event shop.{event}")));
        assert!(
            lines.clone().any(|line| line.contains("definer") && line.contains("mover@%")),
            "{event}: {saw:?}"
        );
    }
    assert_eq!(events(&pair.target), (before, RUNNING.map(str::to_owned).to_vec()));
    let (_, status) = events(&pair.source);
    assert_eq!(status, RESTING);
}

fn can_log_in(server: &Server, user: &str) -> bool {
    server.try_conn(user, "app-secret").is_ok()
}

/// What the gate holds may be dropped meanwhile: by somebody before it is closed, or days later.
#[test]
fn gate_opens_although_an_account_that_it_holds_is_gone() {
    for generation in [Generation::Old, Generation::New] {
        let pair = prepared(generation);
        for user in ["early", "late", "later"] {
            for server in [&pair.source, &pair.target] {
                server.create_account(user, "app-secret", &["ALL PRIVILEGES ON shop.*"]);
            }
        }
        let migration = pair.migration("shop", &["shop"]);
        run(&migration, Until::Synced);
        let options = options(GateKind::LockAccounts);
        cut_over(&migration, &options, &at("begun", || pair.source.exec("DROP USER early@'%'"))).unwrap();
        assert!(!can_log_in(&pair.source, "app") && !can_log_in(&pair.source, "late"));
        let late = match generation {
            // In the order of their names: app, early, late.
            Generation::Old => "dts_gate_2",
            Generation::New => "late",
        };
        pair.source.exec(&format!("DROP USER {late}@'%'"));
        roll_back(&migration, &options, &|_| {}).unwrap();
        assert!(can_log_in(&pair.source, "app") && !can_log_in(&pair.source, "late"));
        assert!(!can_log_in(&pair.target, "app"));
        pair.target.exec("DROP USER later@'%'");
        cut_over(&migration, &options, &|_| {}).unwrap();
        assert!(can_log_in(&pair.target, "app") && can_log_in(&pair.target, "late"));
        assert!(!can_log_in(&pair.source, "app"));
    }
}

/// The gate is planned before the accounts are carried and looked at, which may take long.
#[test]
fn gate_holds_what_came_after_it_was_planned() {
    for generation in [Generation::Old, Generation::New] {
        let pair = prepared(generation);
        let migration = pair.migration("shop", &["shop"]);
        run(&migration, Until::Synced);
        pair.source.exec("CREATE EVENT shop.tick ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DISABLE DO DELETE FROM shop.t WHERE id < 0");
        let come = |server: &Server| {
            server.create_account("late", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
            server.exec("ALTER EVENT shop.tick ENABLE");
        };
        let options = options(GateKind::LockAccounts);
        cut_over(&migration, &options, &at("preflight", || come(&pair.source))).unwrap();
        assert!(!can_log_in(&pair.source, "app") && !can_log_in(&pair.source, "late"));
        assert_eq!(events(&pair.source).1, ["tick DISABLED"]);
        assert_eq!(events(&pair.target).1, ["tick ENABLED"]);
        pair.target.exec("ALTER EVENT shop.tick DISABLE");
        roll_back(&migration, &options, &at("preflight", || come(&pair.target))).unwrap();
        assert!(can_log_in(&pair.source, "late") && !can_log_in(&pair.target, "late"));
        assert_eq!(events(&pair.source).1, ["tick ENABLED"]);
    }
}

/// `read_only` does not hold an account with SUPER or CONNECTION_ADMIN.
#[test]
fn gate_read_only_is_not_taken_for_one_that_holds_privileged_accounts() {
    for generation in [Generation::Old, Generation::New] {
        let pair = prepared(generation);
        pair.source.create_account("boss", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
        match generation {
            Generation::Old => pair.source.exec("GRANT SUPER ON *.* TO boss@'%'"),
            // By a role.
            Generation::New => pair.source.exec(
                "CREATE ROLE bosses; GRANT CONNECTION_ADMIN ON *.* TO bosses; GRANT bosses TO boss@'%'; SET DEFAULT ROLE ALL TO boss@'%'",
            ),
        }
        let migration = pair.migration("shop", &["shop"]);
        run(&migration, Until::Synced);
        let mut options = options(GateKind::ReadOnly);

        // Its session is seen before anything is closed.
        let mut session = pair.source.conn("boss", "app-secret");
        session.query_drop("INSERT INTO shop.t VALUES (1)").unwrap();
        for dry_run in [true, false] {
            options.dry_run = dry_run;
            let error = cut_over(&migration, &options, &|_| {}).unwrap_err();
            assert!(error.to_string().contains("'boss'") && error.hint().contains("--keep"), "{error:?}");
        }
        assert_eq!(pair.source.query_one::<u64>("SELECT @@GLOBAL.read_only"), 0);
        drop(session);
        let left = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'boss'";
        wait_until("its session is gone", || pair.source.query_one::<u64>(left) == 0);

        // Without a session it is named.
        let report = cut_over(&migration, &options, &|_| {}).unwrap();
        let saw = report.steps[0].saw.join("\n");
        assert!(saw.contains("'boss'@'%'"), "{saw}");
        roll_back(&migration, &options, &|_| {}).unwrap();

        // It comes when the sessions of before are being waited for.
        options.end_sessions = false;
        options.patience = Duration::from_secs(1);
        let app = RefCell::new(Some(pair.source.conn("app", "app-secret")));
        let late = std::thread::scope(|scope| {
            let late = RefCell::new(None);
            let come = at("gate", || {
                let (app, source) = (app.take(), &pair.source);
                *late.borrow_mut() = Some(scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    let session = source.conn("boss", "app-secret");
                    drop(app);
                    session
                }));
            });
            let error = cut_over(&migration, &options, &come).unwrap_err().to_string();
            assert!(
                error.contains("sessions of applications are left") && error.contains("'boss'"),
                "{error}"
            );
            late.take().unwrap().join().unwrap()
        });
        assert_eq!(pair.source.query_one::<u64>("SELECT @@GLOBAL.read_only"), 0);

        // The operator says that it does not write.
        options.keep = vec!["boss".into()];
        options.patience = Duration::from_secs(30);
        cut_over(&migration, &options, &|_| {}).unwrap();
        drop(late);
    }
}

/// A session that is ended while it logs in can stay for hours on 5.6. It keeps no cut-over from going on.
#[test]
fn gate_does_not_wait_for_what_is_left_of_sessions() {
    let pair = prepared(Generation::Old);
    let migration = pair.migration("shop", &["shop"]);
    run(&migration, Until::Synced);
    let (stop, source) = (StopToken::new(), &pair.source);
    std::thread::scope(|scope| {
        let _end = StopAtEnd(&stop);
        scope.spawn(|| {
            while !stop.is_stopped() {
                drop(source.try_conn("app", "app-secret"));
            }
        });
        let mut root = source.root();
        wait_until("a session stays", || {
            let rows: Vec<(u64, String, i64)> = root
                .query("SELECT ID, COMMAND, TIME FROM information_schema.PROCESSLIST WHERE USER = 'app'")
                .unwrap();
            for (id, ..) in rows.iter().filter(|(_, command, _)| command != "Killed") {
                // It may be gone by itself.
                let _ = root.query_drop(format!("KILL {id}"));
            }
            rows.iter().any(|(_, command, seconds)| command == "Killed" && *seconds >= 2)
        });
    });
    let mut options = options(GateKind::LockAccounts);
    options.patience = Duration::from_secs(10);
    let report = cut_over(&migration, &options, &|_| {}).unwrap();
    let left = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Killed'";
    assert!(source.query_one::<u64>(left) > 0, "{report:?}");
}

/// Ends a hand-over at a point as if the process were killed.
#[track_caller]
pub(crate) fn end_at(point: &'static str, hand_over: &dyn Fn(Hooks<'_>) -> Result<CutoverReport>) {
    let passing = at(point, move || std::panic::panic_any(point));
    let hooks = Hooks { passing: &passing, ..Hooks::telling(&tell) };
    let panicked = catch_unwind(AssertUnwindSafe(|| hand_over(hooks).map(drop))).unwrap_err();
    assert_eq!(panicked.downcast_ref::<&'static str>(), Some(&point));
}
