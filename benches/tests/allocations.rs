//! The full load allocates nothing per row: counted in a real copy between two servers, with an allocator that counts.
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

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Copies one database whose table is one chunk, and returns how often memory was allocated.
fn copy(source: &Server, target: &Server, database: &str, rows: u64) -> u64 {
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
    task.load.chunk_bytes = 1 << 30;
    task.load.threads = 1;
    let migration = Migration::new(task);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let report = migration
        .run(Until::Loaded, &StopToken::new(), &Progress::new())
        .unwrap_or_else(|error| panic!("{error:?}"));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!((report.tables[0].rows, report.tables[0].chunks), (rows, 1));
    allocations
}

#[test]
fn no_allocation_per_row() {
    let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like()).expect("source");
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
    // What is allocated once per process is not the rows'.
    fill("first", 1);
    copy(&source, &target, "first", 4);
    let (of_few, of_many) = (copy(&source, &target, "few", few), copy(&source, &target, "many", many));
    eprintln!("{few} rows: {of_few} allocations; {many} rows: {of_many} allocations");
    // The answers of the servers (statistics, digits of numbers) differ a little in length; 63,488 rows more cannot hide here.
    assert!(of_many < of_few + 100, "{of_few} allocations for {few} rows, {of_many} for {many}");
}
