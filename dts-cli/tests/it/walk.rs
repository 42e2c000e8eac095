//! The whole document, step by step, on a 5.6 set up like RDS and a 9.7, with an application that writes all the time: task files,
//! validation, queue and schedule, progress, pause, revoke, check, cut-over, completion, restart of the business, report.
use std::path::PathBuf;
use std::time::Instant;

use dts_testbed::shop::{Shop, ShopOptions};
use dts_testbed::{Application, Server, application, dump};
use serde_json::Value;

use crate::program::{Dts, Pair, text};

/// So slow that there is time to pause and to revoke.
const SLOW: &str = "[load]\nrows_per_second_max = 400\nchunk_mib = 1\n";

/// The databases of four tasks, the application's among them, and accounts as the document wants them.
fn business() -> Pair {
    let pair = Pair::start();
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL); \
         CREATE TRIGGER shop.logged AFTER INSERT ON shop.log FOR EACH ROW INSERT INTO shop.audit (number) VALUES (NEW.number); \
         GRANT CREATE USER, SUPER, PROCESS ON *.* TO dts; GRANT SELECT ON mysql.* TO dts; GRANT EVENT ON *.* TO dts",
    );
    for (database, rows) in [("crm", 2_500), ("wiki", 1_000), ("old", 4_000)] {
        Shop::create(
            &pair.source,
            &ShopOptions { database: database.to_owned(), rows, ..ShopOptions::default() },
        );
    }
    pair.target.exec(
        "GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO dts; \
         SET GLOBAL read_only = 1, log_bin_trust_function_creators = 1",
    );
    for server in [&pair.source, &pair.target] {
        server.create_account(application::USER, application::PASSWORD, &["ALL PRIVILEGES ON shop.*"]);
    }
    pair
}

fn task(dts: &Dts, pair: &Pair, name: &str, sections: &str, task_lines: &str) -> PathBuf {
    let file = pair.task(dts, &format!("{sections}[check]\nmode = \"none\"\n"));
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("name = \"shop\"\n", &format!("name = \"{name}\"\n{task_lines}"))
        .replace("[\"shop\"]", &format!("[\"{name}\"]"));
    dts.write(&format!("{name}.toml"), &text)
}

fn began(status: &Value, step: &str) -> String {
    let step = status["steps"].as_array().unwrap().iter().find(|known| known["name"] == step).unwrap();
    step["started_at"].as_str().unwrap().to_owned()
}

/// Returns the names of a cut-over's steps as they are printed.
fn steps(printed: &str) -> Vec<&str> {
    let is_step = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" s  ");
    printed.lines().filter(is_step).filter_map(|line| line.split(' ').next()).collect()
}

/// Returns how many of the first `last` numbers that were acknowledged are there.
fn kept(server: &Server, last: u64) -> u64 {
    server.query_one(&format!("SELECT COUNT(*) FROM shop.log WHERE number BETWEEN 1 AND {last}"))
}

#[test]
fn the_whole_document_with_an_application_running() {
    let begun = Instant::now();
    let (dts, pair) = (Dts::new(), business());
    let tell = |what: &str| eprintln!("[{:5.1} s] {what}", begun.elapsed().as_secs_f64());
    tell("the application writes on the source");
    let application = Application::start(&pair.source);

    // 1 and 2: task files, validation.
    let told = dts.path("told");
    let notify =
        format!("{SLOW}[notify]\ncommand = \"echo $DTS_STATE_BEFORE-$DTS_STATE >> '{}'\"\n", told.display());
    let files = [("shop", ""), ("crm", notify.as_str()), ("wiki", "")]
        .map(|(name, sections)| task(&dts, &pair, name, sections, ""));
    let validated = dts.run(&["validate", text(&files[0])]).ends_with(0);
    assert!(
        validated.out.contains("source_connect") && validated.out.contains("next: dts run"),
        "{validated:?}"
    );

    // 3: three at once, and one for later; none has begun before there is a worker.
    for (before, file) in files.iter().enumerate() {
        let document = dts.run(&["submit", text(file), "--json"]).ends_with(0).json();
        assert_eq!(
            (&document["state"], &document["before"]),
            (&"queued".into(), &before.into()),
            "{document}"
        );
    }
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let old = task(&dts, &pair, "old", SLOW, &format!("start_at = \"{at}\"\n"));
    let submitted = dts.run(&["submit", text(&old)]).ends_with(0);
    assert!(submitted.out.contains("scheduled; it joins the queue at"), "{submitted:?}");
    let listed = dts.run(&["list"]).ends_with(0).out;
    assert!(["shop", "crm", "wiki", "old"].iter().all(|name| listed.contains(name)), "{listed}");
    tell("submitted three tasks and a scheduled one");
    let worker = dts.start(&["worker"]);

    // One is paused in the middle of its copy, so that the next one's turn comes, and resumed.
    dts.wait_for("crm", |status| status["rows_done"].as_u64() > Some(300));
    let shop = dts.status("shop");
    assert_eq!(shop["state"], "ready_to_complete", "the one before is in sync: {shop}");
    assert!(began(&shop, "in_sync") <= began(&dts.status("crm"), "structure"));
    dts.run(&["pause", "crm"]).ends_with(0);
    tell("paused crm in the middle of its copy");
    let paused = dts.status("crm");
    assert_eq!((&paused["state"], &paused["step"]), (&"paused".into(), &"full_load".into()), "{paused}");
    let wiki = dts.wait_for("wiki", |status| status["state"] == "ready_to_complete");

    // The scheduled one, at its time and its turn; revoked while it copies, and cleaned away.
    let running = dts.wait_for("old", |status| status["rows_done"].as_u64() > Some(100));
    assert!(began(&running, "structure").as_str() > at.to_string().as_str(), "{running}");
    assert!(began(&wiki, "in_sync") <= began(&running, "structure"), "{wiki} {running}");
    let stopped = dts.run(&["stop", "old"]).ends_with(0);
    assert!(
        stopped.out.contains("left on the target") && stopped.out.contains("dts clean old"),
        "{stopped:?}"
    );
    dts.run(&["clean", "old", "--drop-data", "--yes"]).ends_with(0);
    assert_eq!(dump::tables(&pair.target, "old"), Vec::<String>::new());
    tell("revoked the scheduled task and cleaned it away");

    dts.run(&["set", "crm", "load.rows_per_second_max=0"]).ends_with(0);
    dts.run(&["resume", "crm"]).ends_with(0);
    let crm = dts.wait_for("crm", |status| status["state"] == "ready_to_complete");
    assert!(crm["rows_done"].as_u64() >= Some(2_000), "{crm}");
    tell("crm was resumed and is in sync");

    // 5: looked at, compared under live writes, cut over with the writer still trying.
    let status = dts.run(&["status", "shop"]).ends_with(0).out;
    assert!(status.contains("Next: dts cutover shop --gate GATE or dts complete shop"), "{status}");
    let checked = dts.run(&["check", "shop", "--mode", "full", "--json"]).ends_with(0).json();
    assert_eq!(checked["conclusion"], "same", "{checked}");
    let looked = dts.run(&["cutover", "shop", "--gate", "lock-accounts", "--dry-run"]).ends_with(0);
    assert!(looked.out.contains("'app'@'%'") && looked.out.contains("nothing was changed"), "{looked:?}");
    application.wait_for_progress();
    let over = dts.run(&["cutover", "shop", "--gate", "lock-accounts"]).ends_with(0);
    let stop = over.out.lines().find_map(|line| line.split("writes stopped for ").nth(1));
    let flow = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flow.md");
    let shown = std::fs::read_to_string(flow).unwrap();
    let shown = shown.split("$ dts cutover shop --gate lock-accounts\n").nth(1).unwrap();
    assert_eq!(steps(shown.split("```").next().unwrap()), steps(&over.out), "the steps in docs/flow.md");
    tell(&format!("cut over; writes stopped for {}", stop.unwrap_or_else(|| panic!("{over:?}"))));
    assert!(over.out.contains("source position") && over.out.contains("target position"), "{over:?}");

    // Every commit that the application was told of is on the target, and nothing but the source's.
    let acknowledged = application.finish();
    assert_eq!(kept(&pair.target, acknowledged), acknowledged, "acknowledged commits are lost");
    dump::assert_equal(&pair.source, &pair.target, "shop");

    // 7: the business goes on there; the source stays closed.
    let last: u64 = pair.target.query_one("SELECT MAX(number) FROM shop.log");
    let application = Application::start_after(&pair.target, last);
    application.wait_for_progress();
    let acknowledged = application.finish();
    assert_eq!(kept(&pair.target, acknowledged), acknowledged);
    let audited: u64 = pair.target.query_one("SELECT COUNT(*) FROM shop.audit");
    assert!(audited >= acknowledged, "the trigger works there: {audited} of {acknowledged}");
    assert_eq!(pair.source.query_one::<u64>("SELECT COUNT(*) FROM mysql.user WHERE User = 'app'"), 0);
    tell(&format!("the application goes on on the target; {acknowledged} commits, none lost"));

    // 6: the others are completed, and the worker has nothing left.
    for name in ["wiki", "crm"] {
        dts.run(&["complete", name]).ends_with(0);
        dump::assert_equal(&pair.source, &pair.target, name);
    }
    worker.signal("INT");
    worker.end().ends_with(130);
    let states: Vec<(String, String)> = dts.run(&["list", "--json"]).ends_with(0).json()["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["name"].to_string(), task["state"].to_string()))
        .collect();
    assert_eq!(
        states.iter().filter(|(_, state)| state == "\"completed\"").count(),
        3,
        "{states:?}, and one that was revoked"
    );
    // Every change of the one that names a command was told, those that commands made included.
    let told = std::fs::read_to_string(told).unwrap();
    let mut left = told.lines();
    for change in [
        "validated-queued",
        "running-pausing",
        "pausing-paused",
        "paused-queued",
        "running-ready_to_complete",
        "completing-completed",
    ] {
        assert!(left.any(|line| line == change), "{change}: {told}");
    }
    let report = dts.run(&["report", "crm"]).ends_with(0).out;
    assert!(report.contains("dts pause") && report.contains("Completed at"), "{report}");
    let page = dts.path("shop.html");
    dts.run(&["report", "shop", "--html", text(&page)]).ends_with(0);
    assert!(std::fs::read_to_string(page).unwrap().contains("Cut over at"));
    tell("done");
}
