//! The local spool under a migration: the source's log may go, dts may die, the disk may fill up.
use std::path::Path;
use std::time::{Duration, Instant};

use dts_core::error::Code;
use dts_core::migration::{Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::stop::StopToken;
use dts_testbed::{Server, dump};
use mysql::prelude::Queryable;

use crate::support::{Generation, Pair, StopAtEnd, Writer, run};

const TABLES: &str = "CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b VARCHAR(200), KEY a (a));
    CREATE TABLE d.log (a INT, b VARCHAR(50)); CREATE DATABASE other; CREATE TABLE other.o (id INT PRIMARY KEY, b BLOB)";

fn fill(source: &Server, rows: u32) {
    source.exec(TABLES);
    let mut connection = source.root();
    for start in (0..rows).step_by(1000) {
        let list: Vec<String> =
            (start..start + 1000).map(|id| format!("({},{id},REPEAT('x',{}))", id + 1, id % 150)).collect();
        connection.query_drop(format!("INSERT INTO d.t VALUES {}", list.join(","))).unwrap();
    }
}

/// Changes everywhere; among them rows that count (a table without a key) and large rows of a table that is not selected.
fn write(connection: &mut mysql::Conn, step: u64, rows: u64) {
    let id = step * 7919 % rows + 1;
    let sql = match step % 4 {
        0 => format!("UPDATE d.t SET a = a + 1 WHERE id = {id}"),
        1 => format!(
            "BEGIN; INSERT INTO d.log VALUES ({step}, 'x'); INSERT INTO other.o VALUES ({step}, REPEAT('secret', 500)); \
             INSERT INTO d.t (a, b) VALUES ({id}, SHA2(RAND(), 512)); COMMIT"
        ),
        2 => format!("DELETE FROM d.t WHERE id = {id}"),
        _ => format!("REPLACE INTO d.t VALUES ({id}, {step}, 'again')"),
    };
    connection.query_iter(sql).unwrap().for_each(drop);
}

fn with_spool(pair: &Pair, folder: &Path) -> MigrationOptions {
    let mut options = pair.options("spooled", &["d"]);
    options.apply.spool_folder = Some(folder.join("spooled"));
    options
}

/// Long enough a copy for everything to happen meanwhile.
fn slowly(mut options: MigrationOptions) -> MigrationOptions {
    options.load.chunk_bytes = 64 << 10;
    options.load.rate_limit.set(6000);
    options
}

fn newest_log(source: &Server) -> String {
    let logs: Vec<mysql::Row> = source.query("SHOW BINARY LOGS");
    logs.last().unwrap().get(0).unwrap()
}

/// Purges every log file but the one that is being written; returns how many went.
fn purge(source: &Server) -> usize {
    source.exec("FLUSH BINARY LOGS");
    let before = source.query::<mysql::Row>("SHOW BINARY LOGS").len();
    source.exec(&format!("PURGE BINARY LOGS TO '{}'", newest_log(source)));
    before - source.query::<mysql::Row>("SHOW BINARY LOGS").len()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The source purges its log all the time while rows are copied; what was written meanwhile is in the spool.
fn source_purges_during_the_copy(generation: Generation) {
    let pair = Pair::start(generation);
    let home = tempfile::tempdir().unwrap();
    let rows = 20_000;
    fill(&pair.source, rows);
    let writer = Writer::start(&pair.source, move |connection, step| write(connection, step, rows.into()));
    let migration = Migration::new(slowly(with_spool(&pair, home.path())));
    let (stop, progress) = (StopToken::new(), Progress::new());
    let mut purged = 0;
    std::thread::scope(|scope| {
        let copied = scope.spawn(|| migration.run(Until::Loaded, &stop, &progress));
        let _end = StopAtEnd(&stop);
        wait_until("rows are copied", || progress.snapshot().rows_done > 0);
        while !copied.is_finished() {
            std::thread::sleep(Duration::from_millis(300));
            if progress.snapshot().rows_done < u64::from(rows) * 9 / 10 {
                purged += purge(&pair.source);
            }
        }
        copied.join().unwrap().unwrap();
    });
    assert!(purged >= 3, "only {purged} files were purged");
    assert!(size_of(home.path()) > 0);
    // Without the spool this would be lost now.
    let report = run(&migration, Until::Synced);
    assert!(report.resumed);
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join("spooled")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    found.sort();
    found
}

fn size_of(folder: &Path) -> u64 {
    files(folder).iter().map(|path| path.metadata().unwrap().len()).sum()
}

#[test]
fn source_purges_during_the_copy_old_to_new() {
    source_purges_during_the_copy(Generation::Old);
}

#[test]
fn source_purges_during_the_copy_new_to_new() {
    source_purges_during_the_copy(Generation::New);
}

/// The limit is a clear stop during the copy; with a higher one the same run goes on, and nothing is lost.
#[test]
fn spool_full_stops_and_goes_on() {
    let pair = Pair::start(Generation::New);
    let home = tempfile::tempdir().unwrap();
    let rows = 20_000;
    fill(&pair.source, rows);
    let writer = Writer::start(&pair.source, move |connection, step| write(connection, step, rows.into()));
    let mut options = slowly(with_spool(&pair, home.path()));
    options.apply.spool_bytes_max = 20_000;
    let error =
        Migration::new(options.clone()).run(Until::Loaded, &StopToken::new(), &Progress::new()).unwrap_err();
    assert_eq!(error.code(), Code(4009), "{error}");
    assert!(error.hint().contains("spool_gib_max"), "{error:?}");
    assert!((1..=20_100).contains(&size_of(home.path())), "{}", size_of(home.path()));
    options.apply.spool_bytes_max = 1 << 30;
    options.load.rate_limit.set(0);
    let migration = Migration::new(options);
    assert!(run(&migration, Until::Synced).resumed);
    writer.finish();
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// While the applier works, a full spool only waits: it is emptied meanwhile.
#[test]
fn spool_full_while_applying_waits() {
    let pair = Pair::start(Generation::New);
    let home = tempfile::tempdir().unwrap();
    fill(&pair.source, 1000);
    let mut options = with_spool(&pair, home.path());
    run(&Migration::new(options.clone()), Until::Synced);
    let mut connection = pair.source.root();
    (0..3000).for_each(|step| write(&mut connection, step, 1000));
    options.apply.spool_bytes_max = 60_000;
    let migration = Migration::new(options);
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// Files that were damaged while nobody looked: at the end they are cut and asked for again; in the middle it is said so, and
/// what the hint says helps.
#[test]
fn spool_damaged() {
    let pair = Pair::start(Generation::New);
    let home = tempfile::tempdir().unwrap();
    let rows = 4000;
    fill(&pair.source, rows);
    let writer = Writer::start(&pair.source, move |connection, step| write(connection, step, rows.into()));
    let mut options = slowly(with_spool(&pair, home.path()));
    options.load.rate_limit.set(3000);
    // Small files: an eighth of this.
    options.apply.spool_bytes_max = 4 << 20;
    let migration = Migration::new(options);
    run(&migration, Until::Loaded);
    writer.finish();
    let mut found = files(home.path());
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    };
    cut(&found.pop().unwrap());
    run(&migration, Until::Loaded);
    let first = files(home.path())[0].clone();
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    if files(home.path()).len() > 1 {
        let error = migration.run(Until::Synced, &StopToken::new(), &Progress::new()).unwrap_err();
        assert_eq!(error.code(), Code(4010), "{error}");
        std::fs::remove_dir_all(home.path().join("spooled")).unwrap();
    }
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
}

/// In sync nothing waits, and the files are gone.
#[test]
fn spool_is_empty_in_sync() {
    let pair = Pair::start(Generation::New);
    let home = tempfile::tempdir().unwrap();
    fill(&pair.source, 1000);
    let migration = Migration::new(with_spool(&pair, home.path()));
    run(&migration, Until::Synced);
    let (stop, progress) = (StopToken::new(), Progress::new());
    std::thread::scope(|scope| {
        let applied = scope.spawn(|| migration.run(Until::Stopped, &stop, &progress));
        let _end = StopAtEnd(&stop);
        let mut connection = pair.source.root();
        (0..200).for_each(|step| write(&mut connection, step, 1000));
        wait_until("in sync", || {
            let seen = progress.snapshot();
            seen.in_sync && seen.lag == Some(Duration::ZERO) && seen.spool_bytes == 0
        });
        stop.stop();
        assert!(applied.join().unwrap().is_err_and(|error| error.is_interrupted()));
    });
    run(&migration, Until::Synced);
    dump::assert_equal(&pair.source, &pair.target, "d");
    let report = run(&migration, Until::Synced);
    assert!(report.resumed);
    assert!(size_of(home.path()) < 10_000, "{:?}", files(home.path()));
}
