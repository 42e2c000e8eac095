//! `dts cutover --reverse` and `dts rollback`, from other shells and by themselves, also killed with `kill -9` at points that the
//! seed chooses; it is printed, and `DTS_SEED` repeats it.
use std::process::Stdio;

use dts_core::cutover::{POINTS, POINTS_BACK};
use dts_testbed::shop::Random;
use dts_testbed::{Application, Server, application};

use crate::program::{Dts, Pair, Running, seed, text};

const GATE: [&str; 2] = ["--gate", "lock-accounts"];

/// A shop with a table that the application fills, and accounts that may do what both ways need.
fn pair() -> Pair {
    let pair = Pair::start();
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         CREATE TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) VALUES (NEW.number); \
         GRANT CREATE USER, SUPER, PROCESS ON *.* TO dts; GRANT SELECT ON mysql.* TO dts; GRANT ALL ON shop.* TO dts; \
         GRANT ALL ON __dts__.* TO dts",
    );
    pair.target.exec(
        "GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION SLAVE, SET_ANY_DEFINER ON *.* TO dts; \
         SET GLOBAL read_only = 1, log_bin_trust_function_creators = 1",
    );
    for server in [&pair.source, &pair.target] {
        server.create_account(application::USER, application::PASSWORD, &["ALL PRIVILEGES ON shop.*"]);
    }
    pair
}

fn holds(server: &Server) -> (u64, u64, u64) {
    server.query_one(
        "SELECT COUNT(*), COALESCE(MAX(number), 0), (SELECT COUNT(*) FROM shop.audit) FROM shop.log",
    )
}

/// Returns where the application's account may write now.
fn open_sides(pair: &Pair) -> [bool; 2] {
    [&pair.source, &pair.target].map(application::can_write)
}

#[test]
fn the_application_goes_and_comes_back_from_another_shell() {
    let (dts, pair) = (Dts::new(), pair());
    let application = Application::start(&pair.source);
    let file = pair.task(&dts, "");
    let run = dts.start(&["run", text(&file)]);
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete");
    let checked = dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
    assert!(checked.out.contains("check: same"), "{checked:?}");
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete");

    let there = dts.run(&["cutover", "shop", GATE[0], GATE[1], "--reverse", "--json"]).ends_with(0).json();
    eprintln!("there: writes stopped for {} s", there["write_stop_seconds"]);
    assert_eq!((&there["reverse"], &there["back"]), (&true.into(), &false.into()));
    let first = application.finish();
    assert_eq!(open_sides(&pair), [false, true]);
    let status =
        dts.wait_for("shop", |status| status["state"] == "ready_to_complete" && status["reverse"] == true);
    let actions: Vec<&str> =
        status["allowed_actions"].as_array().unwrap().iter().filter_map(|action| action.as_str()).collect();
    assert!(actions.contains(&"rollback") && actions.contains(&"complete"), "{actions:?}");
    assert!(!actions.contains(&"cutover") && !actions.contains(&"stop"), "{actions:?}");
    assert!(status["next_action"].as_str().unwrap().contains("dts rollback shop"), "{status}");
    let refused = dts.run(&["stop", "shop"]);
    assert!(refused.code != 0 && refused.err.contains("rollback"), "{refused:?}");

    let application = Application::start(&pair.target);
    // The gate that was not named is that of the cut-over.
    let dry = dts.run(&["rollback", "shop", "--dry-run"]).ends_with(0);
    assert!(dry.out.contains("gate: lock-accounts") && dry.out.contains("'app'@'%'"), "{dry:?}");
    assert!(dry.out.contains("nothing was changed. Next: dts rollback shop"), "{dry:?}");
    let report = dts.run(&["report", "shop"]).ends_with(0).out;
    assert!(report.contains("The application is on the target: the source follows it"), "{report}");
    let checked = dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
    assert!(checked.out.contains("check: same"), "{checked:?}");
    // It begins anew with numbers that are there already.
    let begun = std::time::Instant::now();
    while application.acknowledged() <= first {
        assert!(begun.elapsed().as_secs() < 60, "the application gets nothing new committed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let back = dts.run(&["rollback", "shop", "--json"]).ends_with(0).json();
    eprintln!("back: writes stopped for {} s", back["write_stop_seconds"]);
    assert_eq!(back["back"], true);
    let second = application.finish();
    assert!(second > first);
    assert_eq!(open_sides(&pair), [true, false]);
    assert!(holds(&pair.source).1 >= second);
    assert_eq!(holds(&pair.source), holds(&pair.target));

    // The same process follows the source again.
    let application = Application::start(&pair.source);
    let last = application.finish();
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete" && status["reverse"] == false);
    let end = std::time::Instant::now();
    while holds(&pair.target).1 < last {
        assert!(end.elapsed().as_secs() < 60, "the target does not follow");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    dts.run(&["pause", "shop"]).ends_with(0);
    run.end();
    assert_eq!(holds(&pair.source), holds(&pair.target));

    let report = dts.run(&["report", "shop"]).ends_with(0).out;
    for part in [
        "Cut-over, done at",
        "Way back, done at",
        "first refused write on the target",
        "source when it was opened",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("\"steps\""), "a record is shown raw: {report}");
}

/// Who began the reverse channel and gets an error from it prints that error, and nothing else besides.
#[test]
fn a_channel_that_fails_leaves_one_document() {
    let (dts, pair) = (Dts::new(), pair());
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    // Whoever looks need not choose a gate.
    let dry = dts.run(&["cutover", "shop", "--dry-run"]).ends_with(0);
    assert!(dry.out.contains("Next: dts cutover shop --gate GATE"), "{dry:?}");
    let channel = dts.start(&["cutover", "shop", "--gate", "hook=true", "--reverse", "--json"]);
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete" && status["reverse"] == true);
    let refused = dts.run(&["rollback", "shop"]).ends_with(2);
    assert!(refused.err.contains("--gate hook=CMD"), "{refused:?}");
    pair.target.exec("ALTER TABLE shop.log ADD COLUMN later INT");
    let error = channel.end().ends_with(3).json();
    assert_eq!(error["error"]["code"], "DTS-3005", "{error}");
    let status = dts.status("shop");
    assert_eq!((&status["state"], &status["reverse"]), (&"failed".into(), &true.into()), "{status}");

    // A target that is away for a moment does not bring it into a state that has no way out.
    let at = pair.target.port().to_string();
    let written = std::fs::read_to_string(&file).unwrap();
    dts.write("shop.toml", &written.replace(&format!("port = {at}"), "port = 1"));
    let run = dts.start(&["run", text(&file)]);
    run.wait_for_note("tried again in");
    run.signal("INT");
    run.end().ends_with(130);
    let status = dts.status("shop");
    assert_eq!((&status["state"], &status["reverse"]), (&"paused".into(), &true.into()), "{status}");
    dts.write("shop.toml", &written);
    dts.run(&["complete", "shop"]).ends_with(0);
}

/// Kills a command at a point.
fn killed_at(dts: &Dts, point: &str, args: &[&str]) {
    let mut command = dts.command(args);
    command.env("DTS_TEST_DIE_AT", point).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Running::new(command.spawn().unwrap()).end();
    assert_eq!(ended.code, -1, "'{point}' was not reached: {ended:?}");
}

#[test]
fn killed_at_points_of_both_ways_it_goes_on() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (dts, pair) = (Dts::new(), pair());
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    pair.source.exec("INSERT INTO shop.log (number) VALUES (1)");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    let there = ["cutover", "shop", GATE[0], GATE[1], "--reverse"];
    let back = ["rollback", "shop", GATE[0], GATE[1]];
    let mut pick =
        |points: &[&'static str]| points[usize::try_from(random.below(points.len() as u64)).unwrap()];
    for turn in 0..3_u64 {
        let point = pick(POINTS);
        if turn == 0 {
            // The process that works on the task dies; who asked for the cut-over goes on with it.
            let mut command = dts.command(&["run", text(&file)]);
            command.env("DTS_TEST_DIE_AT", point).stdout(Stdio::piped()).stderr(Stdio::piped());
            let _worker = Running::new(command.spawn().unwrap());
            dts.wait_for("shop", |status| status["state"] == "ready_to_complete");
            eprintln!("the worker is killed at '{point}'");
        } else {
            killed_at(&dts, point, &there);
            eprintln!("there, killed at '{point}': {:?}", open_sides(&pair));
            assert_ne!(open_sides(&pair), [true, true]);
        }
        let channel = dts.start(&there);
        dts.wait_for("shop", |status| status["state"] == "ready_to_complete" && status["reverse"] == true);
        assert_eq!(open_sides(&pair), [false, true]);
        pair.target.exec(&format!("INSERT INTO shop.log (number) VALUES ({})", turn * 2 + 2));
        // The channel dies, too, and nothing is lost.
        channel.signal("KILL");
        channel.end();

        let point = pick(POINTS_BACK);
        killed_at(&dts, point, &back);
        eprintln!("back, killed at '{point}': {:?}", open_sides(&pair));
        assert_ne!(open_sides(&pair), [true, true]);
        dts.run(&back).ends_with(0);
        assert_eq!(open_sides(&pair), [true, false]);
        pair.source.exec(&format!("INSERT INTO shop.log (number) VALUES ({})", turn * 2 + 3));
        dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
        let count = turn * 2 + 3;
        assert_eq!(holds(&pair.source), (count, count, count));
        assert_eq!(holds(&pair.target), (count, count, count));
    }
}
