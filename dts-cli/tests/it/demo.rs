//! `dts demo`, small.
use crate::program::Dts;

#[test]
fn the_demo_proves_what_it_moved_and_leaves_its_report() {
    let dts = Dts::new();
    let ended = dts.run(&["demo", "--rows", "5000", "--seed", "7", "--json"]).ends_with(0);
    let document = ended.json();
    assert_eq!(document["seed"], 7);
    assert_eq!(document["live_check"]["conclusion"], "same");
    assert_eq!(document["final_check"]["conclusion"], "same");
    assert_eq!(document["differences"], serde_json::json!([]));
    assert_eq!(document["moved_over"], true, "{document}");
    assert!(document["write_stop_seconds"].as_f64() > Some(0.0), "{document}");
    assert!(document["application"]["transactions"].as_u64() > Some(0), "{document}");
    let left: Vec<_> =
        std::fs::read_dir(dts.path("home")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["reports"], "the demo has a home of its own");
    let page = std::fs::read_to_string(document["report"].as_str().unwrap()).unwrap();
    assert!(page.contains("<section id=\"tables\">") && page.contains("shop."), "{document}");
    assert!(page.contains("Cut over at") && !page.contains("was not cut over"), "{document}");
}

#[test]
fn a_demo_that_is_kept_runs_until_it_is_interrupted() {
    let dts = Dts::new();
    let running = dts.start(&["demo", "--rows", "2000", "--keep", "--no-progress"]);
    running.wait_for_note("Both servers run until Enter or Ctrl-C.");
    running.signal("INT");
    let ended = running.end().ends_with(0);
    assert!(ended.out.contains("EQUAL") && ended.err.contains("mysql --socket="), "{ended:?}");
}

#[test]
fn a_demo_that_is_interrupted_ends_at_once() {
    let dts = Dts::new();
    let running = dts.start(&["demo", "--no-progress"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    running.signal("INT");
    let ended = running.end().ends_with(130);
    assert!(ended.err.contains("ending the demo"), "{ended:?}");
}
