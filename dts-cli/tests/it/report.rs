//! The report of a task with awkward names: as text, as JSON, and as a page that a browser shows.
use std::path::Path;

use dts_testbed::chromium::{Chromium, Look};
use dts_testbed::{Application, application};
use serde_json::Value;

use crate::program::{Dts, Pair, text};

const SECTIONS: [&str; 9] = [
    "summary",
    "timeline",
    "progress",
    "tables",
    "validation",
    "checks",
    "cutover",
    "rewritten",
    "positions",
];
/// Legal as the name of a table, and as that of a column.
const TABLE: &str = "<b>bold</b> & \"quoted\" <script>alert(1)";

/// A shop with a table of each kind of copy, a table whose name is HTML, and something that cannot be taken over as it is.
fn pair() -> Pair {
    let pair = Pair::start();
    pair.source.exec(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.log (id BIGINT AUTO_INCREMENT PRIMARY KEY, number BIGINT NOT NULL UNIQUE); \
         CREATE TABLE shop.`{TABLE}` (`<i>id</i>` INT PRIMARY KEY, t TEXT) ENGINE=MyISAM; \
         INSERT INTO shop.`{TABLE}` VALUES (1, '</table>'), (2, NULL), (3, 'x'); \
         CREATE TABLE shop.keyless (a INT, b VARCHAR(20)); INSERT INTO shop.keyless VALUES (1, 'a'), (1, 'a'), (2, 'b'); \
         CREATE TABLE shop.empty_one (id INT PRIMARY KEY); \
         CREATE TABLE shop.many (id INT AUTO_INCREMENT PRIMARY KEY, pad VARCHAR(200)); \
         INSERT INTO shop.many (pad) VALUES (REPEAT('p', 200)), (REPEAT('q', 200)), (REPEAT('r', 200)), (REPEAT('s', 200)); \
         CREATE TRIGGER shop.touched BEFORE INSERT ON shop.many FOR EACH ROW SET @x = 1; \
         GRANT CREATE USER, SUPER, PROCESS ON *.* TO dts; GRANT SELECT ON mysql.* TO dts; GRANT EVENT ON shop.* TO dts"
    ));
    for _ in 0..11 {
        pair.source.exec("INSERT INTO shop.many (pad) SELECT pad FROM shop.many");
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

/// Keeps what the test made, for people: `DTS_REPORT_KEEP` names a folder.
fn keep(file: &Path) {
    if let Some(folder) = std::env::var_os("DTS_REPORT_KEEP") {
        std::fs::copy(file, Path::new(&folder).join(file.file_name().unwrap())).unwrap();
    }
}

/// Looks at the page's text: nothing from outside, no markup but ours, and what it must say.
#[track_caller]
fn text_is_sound(page: &Path, parts: &[&str]) {
    let html = std::fs::read_to_string(page).unwrap();
    assert!(!html.contains("<b>bold") && !html.contains("<script"), "a name became markup");
    for outside in ["http://www", "https://", "src=", "@import", "url("] {
        assert!(!html.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
    }
    for part in parts {
        assert!(html.contains(part), "{part}");
    }
}

/// Looks at the page in a browser, on a screen and on a phone.
#[track_caller]
fn page_is_sound(chromium: &Chromium, page: &Path, parts: &[&str]) {
    text_is_sound(page, &[]);
    let wide = Look { width: 1280, height: 900, dark: false };
    let seen = chromium.look(page, wide).unwrap();
    assert_eq!(seen.console, Vec::<String>::new());
    for section in SECTIONS {
        assert!(seen.dom.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    for part in parts {
        assert!(seen.dom.contains(part), "{part}");
    }
    // As wide as the phone, and no wider: measured by the page around it.
    let width = 390;
    let narrow = Chromium::narrow(page, width, 844).unwrap();
    let seen = chromium.look(&narrow, Look { width: 700, height: 844, dark: false }).unwrap();
    assert_eq!(seen.console, Vec::<String>::new());
    let measured = seen.dom.split_once("<output>").unwrap().1.split_once("</output>").unwrap().0;
    let (measured_width, height) = measured.split_once(" x ").unwrap();
    assert_eq!(measured_width.parse(), Ok(width), "{measured}");
    assert!(height.parse::<u32>().unwrap() > 844, "{measured}");
}

#[test]
fn a_report_says_what_happened_in_three_forms() {
    let (dts, pair) = (Dts::new(), pair());
    let chromium = Chromium::obtain().unwrap();
    // Slow enough to be sampled more than once in the middle of the copy.
    let slow = "[load]\nrows_per_second_max = 4000\nchunk_mib = 1\n[check]\nmode = \"none\"\n";
    let file = pair.task(&dts, slow);
    let ended = dts.run(&["report", "shop"]).ends_with(2);
    assert!(ended.err.contains("[DTS-1004]"), "{ended:?}");
    dts.run(&["validate", text(&file)]).ends_with(0);
    // Before anything happened there is a report, too.
    let page = dts.path("early.html");
    dts.run(&["report", "shop", "--html", text(&page)]).ends_with(0);
    text_is_sound(&page, &["It has not begun to copy.", "No table has been copied."]);

    let application = Application::start(&pair.source);
    let run = dts.start(&["run", text(&file)]);
    dts.wait_for("shop", |status| status["state"] == "ready_to_complete");
    // A difference that somebody made on the target.
    pair.target.exec(&format!(
        "SET GLOBAL read_only = 0; UPDATE shop.`{TABLE}` SET t = 'secret' WHERE `<i>id</i>` = 3"
    ));
    dts.run(&["check", "shop", "--mode", "full", "--show-values"]).ends_with(1);
    pair.target
        .exec(&format!("UPDATE shop.`{TABLE}` SET t = 'x' WHERE `<i>id</i>` = 3; SET GLOBAL read_only = 1"));
    let report = dts.run(&["report", "shop"]).ends_with(0).out;
    for part in ["last check             different", "<i>id</i>=3", "different", "ready to complete"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("secret"), "values of rows are nobody's business: {report}");
    let page = dts.path("live.html");
    dts.run(&["report", "shop", "--html", text(&page)]).ends_with(0);
    text_is_sound(&page, &["In sync, lag", "differing row"]);
    keep(&page);
    dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
    dts.run(&["cutover", "shop", "--gate", "lock-accounts"]).ends_with(0);
    run.end().ends_with(0);
    drop(application);

    let document = dts.run(&["report", "shop", "--json"]).ends_with(0).json();
    let states: Vec<&str> =
        document["history"].as_array().unwrap().iter().map(|change| change["to"].as_str().unwrap()).collect();
    let mut left = states.iter();
    let expected = ["validated", "running", "ready_to_complete", "completing", "completed"];
    assert!(expected.iter().all(|wanted| left.any(|state| state == wanted)), "{states:?}");
    assert_eq!(
        document["validations"][0]["document"]["items"][0]["id"].as_str().map(str::is_empty),
        Some(false)
    );
    assert_eq!(document["checks"][1]["word"], "same");
    assert_eq!(document["records"][0]["word"], "cutover");
    assert!(document["samples"].as_array().unwrap().len() >= 3, "{document}");
    let tables = document["status"]["tables"].as_array().unwrap();
    let table = |name: &str| tables.iter().find(|table| table["table"] == format!("shop.{name}")).unwrap();
    assert_eq!(table("many")["consistency"], "lock-free");
    assert_ne!(table("keyless")["consistency"], "lock-free");
    assert_eq!((&table("many")["method"], &table("many")["chunks_again"]), (&"load-data".into(), &0.into()));
    assert_eq!((&table("many")["rows_done"], &table("many")["target"]), (&8192.into(), &"shop.many".into()));
    let rewrites = document["status"]["rewrites"].to_string();
    assert!(rewrites.contains("MyISAM") || rewrites.contains("InnoDB"), "{rewrites}");
    assert!(
        document["status"]["start_position"].is_string()
            && document["status"]["applied_position"].is_string()
    );

    let report = dts.run(&["report", "shop"]).ends_with(0).out;
    for part in [
        "Writes stopped for",
        "== Timeline ==",
        "in sync",
        "Rows copied",
        "Transactions applied",
        "shop.keyless",
        "lock-free",
        "validation",
        "same",
        "Cut-over, done at",
        "gate",
        "MyISAM",
        "the copy started from",
        "target when it was opened",
        "next:",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // Without a file name it lies in the home.
    let ended = dts.run(&["report", "shop", "--html"]).ends_with(0);
    let page = dts.path("home/reports/shop.html");
    assert!(ended.out.contains(text(&page)), "{ended:?}");
    page_is_sound(
        &chromium,
        &page,
        &[
            "Cut over at",
            "&lt;b&gt;bold&lt;/b&gt; &amp; ",
            "lock-free",
            "Lag",
            "Cut-over, done at",
            "the copy started from",
        ],
    );
    keep(&page);
    pictures(&chromium, &page);

    let ended = dts.run(&["report", "shop", "--html", "no/such/folder/x.html"]).ends_with(2);
    assert!(ended.err.contains("[DTS-1002]") && ended.err.contains("folder that exists"), "{ended:?}");
}

/// Pictures of the page in both lights and on paper; each must be one.
fn pictures(chromium: &Chromium, page: &Path) {
    for (name, dark) in [("light", false), ("dark", true)] {
        let picture = page.with_extension(format!("{name}.png"));
        chromium.picture(page, Look { width: 1280, height: 2600, dark }, &picture).unwrap();
        assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
        keep(&picture);
    }
    let narrow = Chromium::narrow(page, 390, 5200).unwrap();
    let picture = page.with_extension("phone.png");
    chromium.picture(&narrow, Look { width: 500, height: 5200, dark: false }, &picture).unwrap();
    keep(&picture);
    let paper = page.with_extension("pdf");
    chromium.print(page, &paper).unwrap();
    let bytes = std::fs::read(&paper).unwrap();
    assert!(bytes.starts_with(b"%PDF") && bytes.len() > 10_000, "{} bytes", bytes.len());
    keep(&paper);
}

/// The page of a task whose status and records come from another version.
#[test]
fn a_report_of_what_another_version_wrote_is_made_all_the_same() {
    let dts = Dts::new();
    dts.run(&["list"]).ends_with(0);
    let sql = "
        INSERT INTO task (name, file, content_hash, state, status, created_at, updated_at)
        VALUES ('old', '/x/<u>.toml', 'h', 'completed', '{\"tables\":[{\"table\":\"a.<b>\",\"rows_done\":7}],\"new\":1}', 'x', 'y');
        INSERT INTO transition (task, at, from_state, to_state, reason) VALUES
          ('old', 'no time', 'created', 'validating', '<img src=x>'), ('old', '', 'validating', 'a new state', 'é');
        INSERT INTO record (task, at, kind, document) VALUES
          ('old', 'x', 'cutover', '{\"steps\":\"not a list\"}'), ('old', 'x', 'rollback', '{\"steps\":\"not a list\"}'), ('old', 'x', 'y', 'no JSON <i>');
        INSERT INTO comparison (task, at, conclusion, document) VALUES ('old', 'x', 'same', '[]');
        INSERT INTO validation (task, at, content_hash, result, document) VALUES ('old', 'x', 'h', 'warn', '{}');
        INSERT INTO sample (task, at, rows_done, bytes_done, transactions_applied, rows_per_second, spool_bytes)
        VALUES ('old', 'never', -1, -1, 1, 1, 1), ('old', 'x', 1, 1, 1, 1, 1);";
    let connection = rusqlite::Connection::open(dts.path("home/tasks.sqlite")).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let document: Value = dts.run(&["report", "old", "--json"]).ends_with(0).json();
    assert_eq!(document["records"][2]["document"], "no JSON <i>");
    let report = dts.run(&["report", "old"]).ends_with(0).out;
    assert!(report.contains("a new state") && report.contains("rollback at x"), "{report}");
    let page = dts.path("old.html");
    dts.run(&["report", "old", "--html", text(&page)]).ends_with(0);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(!html.contains("<img") && !html.contains("no JSON <i>") && !html.contains("/x/<u>"), "{html}");
    assert!(html.contains("Completed at"), "{html}");
}
