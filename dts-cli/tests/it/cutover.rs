//! `dts cutover` from another shell, killed at random moments, and taken back. The seed is printed; `DTS_SEED` repeats it.
use std::time::Duration;

use dts_testbed::shop::Random;
use dts_testbed::{Application, Server, application};

use crate::program::{Dts, Pair, seed, text};

/// A shop with a table that the application fills, and accounts that may do what a cut-over needs.
fn pair() -> Pair {
    let pair = Pair::start();
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         CREATE TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) VALUES (NEW.number); \
         GRANT CREATE USER, SUPER, PROCESS ON *.* TO dts; GRANT SELECT ON mysql.* TO dts; GRANT EVENT ON shop.* TO dts",
    );
    pair.target
        .exec("GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO dts; SET GLOBAL read_only = 1, log_bin_trust_function_creators = 1");
    for server in [&pair.source, &pair.target] {
        server.create_account(application::USER, application::PASSWORD, &["ALL PRIVILEGES ON shop.*"]);
    }
    pair
}

fn is_open(target: &Server) -> bool {
    target.query_one::<u64>("SELECT @@GLOBAL.read_only") == 0
}

/// Returns whether the application could log in on the source.
fn is_ungated(source: &Server) -> bool {
    source.query_one::<u64>("SELECT COUNT(*) FROM mysql.user WHERE User = 'app'") == 1
}

fn counts(server: &Server) -> (u64, Option<u64>, u64) {
    server.query_one("SELECT COUNT(*), MAX(number), (SELECT COUNT(*) FROM shop.audit) FROM shop.log")
}

fn nothing_is_lost(pair: &Pair, application: Application) {
    let acknowledged = application.finish();
    assert!(is_open(&pair.target) && !is_ungated(&pair.source));
    let (source, target) = (counts(&pair.source), counts(&pair.target));
    assert_eq!(source, target);
    assert!(target.1 >= Some(acknowledged), "{target:?} on the target, {acknowledged} acknowledged");
    // The application goes on there, with its trigger.
    let next = target.1.unwrap_or_default() + 1;
    pair.target.exec(&format!("INSERT INTO shop.log (number) VALUES ({next})"));
    assert_eq!(counts(&pair.target).2, target.2 + 1);
}

#[test]
fn the_writers_go_over_while_another_shell_runs_the_task() {
    let (dts, pair) = (Dts::new(), pair());
    let application = Application::start(&pair.source);
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    let run = dts.start(&["run", text(&file)]);
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete");

    let ended = dts.run(&["cutover", "shop"]).ends_with(2);
    assert!(ended.err.contains("--gate"), "{ended:?}");
    let looked = dts.run(&["cutover", "shop", "--gate", "lock-accounts", "--dry-run"]).ends_with(0);
    assert!(looked.out.contains("'app'@'%'") && looked.out.contains("nothing was changed"), "{looked:?}");
    application.wait_for_progress();

    // An application that does not go: the gate is opened again, and the task goes on.
    let left = dts.run(&["cutover", "shop", "--gate", "hook=true", "--patience", "1"]).ends_with(3);
    assert!(left.err.contains("DTS-6001") && left.err.contains("opened again"), "{left:?}");
    application.wait_for_progress();
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete");

    let document = dts.run(&["cutover", "shop", "--gate", "lock-accounts", "--json"]).ends_with(0).json();
    eprintln!("writes stopped for {} s", document["write_stop_seconds"]);
    assert!(document["write_stop_seconds"].as_f64() > Some(0.0), "{document}");
    run.end().ends_with(0);
    assert_eq!(dts.status("shop")["state"], "completed");
    nothing_is_lost(&pair, application);
}

#[test]
fn a_cut_over_that_is_killed_goes_on_and_never_leaves_two_open_sides() {
    let seed = seed();
    let mut random = Random::new(seed);
    let (dts, pair) = (Dts::new(), pair());
    let application = Application::start(&pair.source);
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);

    // Killed by the gate's own command: nobody opens the gate but --abort.
    let killed = dts.run(&["cutover", "shop", "--gate", "hook=kill -9 $PPID #"]);
    assert_ne!(killed.code, 0);
    // A run meanwhile applies what is there, and nothing else.
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    let aborted = dts.run(&["cutover", "shop", "--abort"]).ends_with(2);
    assert!(aborted.err.contains("--gate hook=CMD"), "{aborted:?}");
    dts.run(&["cutover", "shop", "--abort", "--gate", "hook=true"]).ends_with(0);
    application.wait_for_progress();
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);

    let cutover = ["cutover", "shop", "--gate", "lock-accounts"];
    for _ in 0..6 {
        let run = dts.start(&cutover);
        std::thread::sleep(Duration::from_millis(200 + random.below(1_500)));
        run.signal("KILL");
        let ended = run.end();
        let (ungated, open) = (is_ungated(&pair.source), is_open(&pair.target));
        eprintln!("killed (ended with {}): source open {ungated}, target open {open}", ended.code);
        assert!(!(ungated && open), "both sides can be written");
        if ended.code == 0 {
            break;
        }
    }
    dts.run(&cutover);
    nothing_is_lost(&pair, application);
    assert_eq!(dts.status("shop")["state"], "completed");
}
