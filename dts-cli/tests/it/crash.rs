//! `kill -9` at random moments of the copy and of the catch-up, with an application writing: every run resumes, and in the end
//! both sides are byte-equal. The seed is printed; `DTS_SEED` repeats it.
use std::time::Duration;

use dts_testbed::dump;
use dts_testbed::shop::{Random, Shop, ShopOptions, Writer, WriterOptions};

use crate::program::{Dts, Pair, text};

fn seed() -> u64 {
    let given = std::env::var("DTS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    eprintln!("DTS_SEED={seed}");
    seed
}

fn shop(pair: &Pair, rows: u64, seed: u64) -> Shop {
    Shop::create(&pair.source, &ShopOptions { rows, seed, ..ShopOptions::default() })
}

fn writer(pair: &Pair, shop: &Shop, seed: u64) -> Writer {
    let options = WriterOptions { seed, transactions_per_second: 100, ..WriterOptions::default() };
    Writer::start(&pair.source, shop, &options)
}

#[test]
fn killed_in_the_copy_and_in_the_catch_up() {
    let seed = seed();
    let mut random = Random::new(seed);
    let pair = Pair::start();
    let dts = Dts::new();
    let shop = shop(&pair, 60_000, seed);
    // Small chunks and a limit of rows, so that the copy lasts long enough to be hit in its middle.
    let limits = "[load]\nchunk_mib = 1\nrows_per_second_max = 12000\n[check]\nmode = \"none\"\n";
    let file = pair.task(&dts, limits);
    let application = writer(&pair, &shop, seed);

    for kill in 0..5 {
        let run = dts.start(&["run", text(&file), "--until", "synced"]);
        let wanted = 4_000 + kill * 8_000 + random.below(4_000);
        dts.wait_for("shop", |status| {
            status["rows_done"].as_u64().unwrap_or(0) >= wanted
                || status["step"] != "full_load" && status["rows_done"].as_u64() > Some(wanted)
        });
        run.signal("KILL");
        run.end();
        let chunks: u64 = pair.target.query_one("SELECT COUNT(*) FROM __dts__.chunk");
        eprintln!("killed in the copy after {chunks} chunks");
    }
    for _ in 0..5 {
        let run = dts.start(&["run", text(&file)]);
        dts.wait_for("shop", |status| {
            matches!(status["step"].as_str(), Some("catch_up" | "index_build" | "in_sync"))
        });
        std::thread::sleep(Duration::from_millis(random.below(700)));
        run.signal("KILL");
        run.end();
    }
    let report = application.stop();
    eprintln!("the application committed {} transactions", report.transactions);
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, shop.database());
    // Nothing was copied a second time but the chunks that a kill had hit.
    let (tables, again): (u64, u64) =
        pair.target.query_one("SELECT COUNT(*), CAST(SUM(chunks_again) AS UNSIGNED) FROM __dts__.table_copy");
    assert!(again <= 5 * 4 * tables, "{again} chunks were copied again");
    dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
}
