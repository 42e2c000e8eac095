//! `kill -9` at random moments of the copy, of the index build and of applying, with an application writing: every run resumes, and
//! in the end both sides are byte-equal. The seed is printed; `DTS_SEED` repeats it.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dts_testbed::dump;
use dts_testbed::shop::{Random, Shop, ShopOptions, Writer, WriterOptions};

use crate::program::{Dts, Pair, seed, text};

fn shop(pair: &Pair, rows: u64, seed: u64) -> Shop {
    Shop::create(&pair.source, &ShopOptions { rows, seed, ..ShopOptions::default() })
}

fn writer(pair: &Pair, shop: &Shop, seed: u64) -> Writer {
    let options = WriterOptions { seed, transactions_per_second: 100, ..WriterOptions::default() };
    Writer::start(&pair.source, shop, &options)
}

/// How many times the program is killed; `DTS_KILLS` asks for more than the few that a normal run has time for.
fn kills() -> u64 {
    std::env::var("DTS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Two fifths of the kills fall into the copy, two fifths into the index build, the others into what comes before, between and
/// after.
#[test]
fn killed_in_the_copy_and_in_the_index_build() {
    let (seed, kills) = (seed(), kills());
    let mut random = Random::new(seed);
    let pair = Pair::start();
    let dts = Dts::new();
    let shop = shop(&pair, 60_000, seed);
    // Small chunks and a limit of rows, so that the copy lasts long enough to be hit in its middle.
    let limits = "[load]\nchunk_mib = 1\nrows_per_second_max = 12000\n[check]\nmode = \"none\"\n";
    let file = pair.task(&dts, limits);
    let application = writer(&pair, &shop, seed);
    let run = || dts.start(&["run", text(&file)]);

    let in_copy = (kills * 2).div_ceil(5);
    for kill in 0..in_copy {
        let run = run();
        let wanted = (kill * 50_000 + random.below(50_000)) / in_copy;
        dts.wait_for("shop", |status| {
            let is_past = matches!(status["step"].as_str(), Some("catch_up" | "index_build" | "in_sync"));
            status["rows_done"].as_u64() >= Some(wanted.max(1)) || is_past
        });
        run.signal("KILL");
        run.end();
        let chunks: u64 = pair.target.query_one("SELECT COUNT(*) FROM __dts__.chunk");
        eprintln!("killed in the copy after {chunks} chunks");
    }
    let again: u64 =
        pair.target.query_one("SELECT CAST(SUM(chunks_again) AS UNSIGNED) FROM __dts__.table_copy");

    // A transaction that has read a table lets its ALTER do all the work and not end.
    let reader = pair.target.reading(shop.database());
    for _ in 0..in_copy {
        let run = run();
        dts.wait_for("shop", |status| {
            matches!(status["step"].as_str(), Some("catch_up" | "index_build" | "in_sync"))
        });
        let building = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_STATE = 'Waiting for table metadata lock'";
        while pair.target.query_one::<u64>(building) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        run.signal("KILL");
        run.end();
        let phase: String = pair.target.query_one("SELECT phase FROM __dts__.task");
        eprintln!("killed in the index build ({phase})");
    }
    drop(reader);
    for _ in in_copy * 2..kills {
        let run = run();
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        run.signal("KILL");
        run.end();
        let phase: String = pair.target.query_one("SELECT phase FROM __dts__.task");
        eprintln!("killed in {phase}");
    }
    let report = application.stop();
    eprintln!("the application committed {} transactions", report.transactions);
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, shop.database());
    // Nothing was copied a second time but the chunks that a kill had hit: one for each of the four threads.
    eprintln!("{again} chunks were begun again in {in_copy} kills");
    assert!(again <= in_copy * 4, "{again} chunks were copied again");
    dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
}

/// One piece of work: several UNIQUE indexes, key changes, swaps of UNIQUE values, several tables at once, tables in which every
/// change counts; and a schema change now and then.
fn restless_step(random: &mut Random, step: u64) -> String {
    let (id, other) = (1 + random.below(200), 1 + random.below(200));
    match step % 400 {
        150 => format!("ALTER TABLE shop.u ADD COLUMN c{step} INT NOT NULL DEFAULT {id}"),
        151 => "ALTER TABLE shop.u ADD INDEX n (n)".into(),
        300 => "ALTER TABLE shop.u DROP INDEX n".into(),
        350 => format!(
            "CREATE TABLE shop.t{step} (id INT PRIMARY KEY, v VARCHAR(9)); INSERT INTO shop.t{step} VALUES (1, 'one'), (2, 'two'); UPDATE \
             shop.t{step} SET v = 'zwei' WHERE id = 2"
        ),
        399 => format!("DROP TABLE shop.t{}; TRUNCATE TABLE shop.v", step - 49),
        _ => match random.below(8) {
            0 => format!("REPLACE INTO shop.u (id, a, b, n) VALUES ({id}, {other}, 'b{other}', {step})"),
            1 => format!("UPDATE IGNORE shop.u SET id = {other} WHERE id = {id}"),
            2 => format!(
                "BEGIN; SELECT a INTO @one FROM shop.u WHERE id = {id}; SELECT a INTO @other FROM shop.u WHERE id = {other}; UPDATE shop.u SET a \
                 = NULL WHERE id = {id}; UPDATE shop.u SET a = @one WHERE id = {other} AND @other IS NOT NULL; UPDATE IGNORE shop.u SET a = \
                 @other WHERE id = {id}; COMMIT"
            ),
            3 => format!("DELETE FROM shop.u WHERE id = {id}"),
            4 => format!(
                "BEGIN; INSERT INTO shop.effects VALUES ({step}, 'several'), ({step}, 'several'); INSERT IGNORE INTO shop.v VALUES ({id}, \
                 {step}); UPDATE shop.u SET n = n + 1 WHERE id = {id}; COMMIT"
            ),
            5 => format!(
                "UPDATE shop.effects SET what = 'again' WHERE step = {} LIMIT 1",
                step.saturating_sub(5)
            ),
            6 => format!("DELETE FROM shop.effects WHERE step = {} LIMIT 1", step.saturating_sub(9)),
            _ => format!("INSERT INTO shop.effects VALUES ({step}, 'once')"),
        },
    }
}

/// Killed at any moment of applying: each transaction has its effects exactly once, and each schema change.
#[test]
fn killed_while_changes_are_applied() {
    let (seed, kills) = (seed(), kills());
    let mut random = Random::new(seed);
    let pair = Pair::start();
    let dts = Dts::new();
    pair.source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.u (id INT PRIMARY KEY, a INT, b VARCHAR(20), n INT, UNIQUE KEY a (a), UNIQUE KEY b (b)); \
         CREATE TABLE shop.v (id INT PRIMARY KEY, n BIGINT); CREATE TABLE shop.effects (step BIGINT, what VARCHAR(20))",
    );
    let file = pair.task(&dts, "[check]\nmode = \"none\"\n");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    let is_over = AtomicBool::new(false);
    let steps = std::thread::scope(|scope| {
        let application = scope.spawn(|| {
            let (mut random, mut step) = (Random::new(seed), 1);
            while !is_over.load(Ordering::Relaxed) {
                pair.source.exec(&restless_step(&mut random, step));
                step += 1;
                std::thread::sleep(Duration::from_millis(4));
            }
            step
        });
        let _end = AtEnd(&is_over);
        for _ in 0..kills {
            let run = dts.start(&["run", text(&file)]);
            std::thread::sleep(Duration::from_millis(200 + random.below(1300)));
            run.signal("KILL");
            run.end();
        }
        is_over.store(true, Ordering::Relaxed);
        application.join().unwrap()
    });
    let effects: u64 = pair.source.query_one("SELECT COUNT(*) FROM shop.effects");
    eprintln!("{kills} kills in {steps} steps, {effects} rows that count");
    dts.run(&["run", text(&file), "--until", "synced"]).ends_with(0);
    dump::assert_equal(&pair.source, &pair.target, "shop");
    dts.run(&["check", "shop", "--mode", "full"]).ends_with(0);
}

/// Ends the application when the test fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
