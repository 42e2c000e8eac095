//! The memory of the full load, seen in real copies between two servers by an allocator that counts: nothing is allocated per
//! row, and of giant rows each thread holds a few and no more.
//!
//! Here and not in `dts-core`, because an allocator is `unsafe`.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use dts_core::migration::{Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::wire::{Address, ConnectionOptions, Secret, TlsMode};
use dts_testbed::{Server, ServerOptions, Version};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes allocated now, and the most so far.
static LIVE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

fn grow(bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(0);
    PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        grow(size);
        shrink(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Copies one database of one table and returns how often memory was allocated.
fn copy(
    source: &Server,
    target: &Server,
    database: &str,
    rows: u64,
    change: impl FnOnce(&mut MigrationOptions),
) -> u64 {
    let options = |server: &Server| {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
        let mut connection = ConnectionOptions::new(address, "root", Secret::new(""));
        // rustls allocates for every record of 16 KiB.
        connection.tls.mode = TlsMode::Disabled;
        connection
    };
    let selection = ObjectSelection::new(&[database], &[], &[]).expect("a selection");
    let mut task = MigrationOptions::new(
        database,
        SourceOptions::new(options(source)),
        TargetOptions::new(options(target)),
        Transform::new(selection, Route::identity()).expect("a transform"),
    )
    .expect("a task");
    change(&mut task);
    let migration = Migration::new(task);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let report = migration
        .run(Until::Loaded, &StopToken::new(), &Progress::new())
        .unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(report.tables[0].rows, rows);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// One test, because the allocator is one for all threads.
#[test]
fn no_allocation_per_row_and_a_bound_for_giants() {
    // 5.6 takes a row only into a redo log of ten times its size.
    let source =
        Server::start(ServerOptions::new(Version::Mysql56).rds_like().arg("--innodb-log-file-size=64M"))
            .expect("source");
    let target = Server::start(ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1"))
        .expect("target");
    let fill = |database: &str, doublings: u32| -> u64 {
        source.exec(&format!(
            "CREATE DATABASE {database}; CREATE TABLE {database}.t (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, a \
             VARCHAR(200) NOT NULL, b BLOB, c DECIMAL(10,2), d ENUM('x','y'), e DATETIME(3)); INSERT INTO {database}.t (a, b, c, d, e) \
             VALUES ('tab\\tand line\\n', x'00095C0AFF', 1.25, 'x', NOW(3)), (REPEAT('a', 200), NULL, NULL, NULL, NULL)"
        ));
        for _ in 0..doublings {
            source.exec(&format!(
                "INSERT INTO {database}.t (a, b, c, d, e) SELECT a, b, c, d, e FROM {database}.t"
            ));
        }
        source.exec(&format!("ANALYZE TABLE {database}.t"));
        source.query_one(&format!("SELECT COUNT(*) FROM {database}.t"))
    };
    let (few, many) = (fill("few", 10), fill("many", 15));
    let one_chunk = |task: &mut MigrationOptions| {
        task.load.chunk_bytes = 1 << 30;
        task.load.threads = 1;
    };
    // What is allocated once per process is not the rows'.
    let first = fill("first", 1);
    copy(&source, &target, "first", first, one_chunk);
    let of_few = copy(&source, &target, "few", few, one_chunk);
    let of_many = copy(&source, &target, "many", many, one_chunk);
    eprintln!("{few} rows: {of_few} allocations; {many} rows: {of_many} allocations");
    // The answers of the servers (statistics, digits of numbers) differ a little in length; 63,488 rows more cannot hide here.
    assert!(of_many < of_few + 100, "{of_few} allocations for {few} rows, {of_many} for {many}");

    const GIANT: u64 = 8 << 20;
    source.exec(
        "CREATE DATABASE giants; CREATE TABLE giants.t (id INT NOT NULL PRIMARY KEY, v LONGBLOB NOT NULL)",
    );
    for id in 0..16 {
        source.exec(&format!(
            "INSERT INTO giants.t VALUES ({id}, REPEAT(UNHEX(SHA2('{id}', 512)), {}))",
            GIANT / 64
        ));
    }
    source.exec("ANALYZE TABLE giants.t");
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    copy(&source, &target, "giants", 16, |task| task.load.threads = 4);
    let peak = PEAK.load(Ordering::Relaxed) - before;
    eprintln!("giants: peak of {} MiB", peak >> 20);
    // As it came and as it goes out, each in a buffer that doubles as it grows and is moved while it does.
    assert!(peak < 4 * 6 * GIANT, "{} MiB for 4 threads and rows of 8 MiB", peak >> 20);
    let left = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    assert!(left < GIANT / 8, "{left} bytes stay after the copy");
}
