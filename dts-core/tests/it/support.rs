//! What tests against two servers share: endpoints, a task, an application that keeps writing.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dts_core::migration::{Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

/// A source and a target.
pub(crate) struct Pair {
    pub(crate) source: Server,
    pub(crate) target: Server,
}

/// The two pairs that every promise is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// RDS-like 5.6 to 9.7.
    Old,
    /// 9.7 to 9.7.
    New,
}

impl Pair {
    pub(crate) fn start(generation: Generation) -> Pair {
        let source = match generation {
            Generation::Old => ServerOptions::new(Version::Mysql56).rds_like(),
            Generation::New => ServerOptions::new(Version::Mysql97),
        };
        // RDS stores names in lower case; the target must do so, too.
        let mut target = ServerOptions::new(Version::Mysql97);
        if generation == Generation::Old {
            target = target.arg("--lower-case-table-names=1");
        }
        let (source, target) =
            (Server::start(source).expect("source"), Server::start(target).expect("target"));
        Pair { source, target }
    }

    pub(crate) fn options(&self, task: &str, databases: &[&str]) -> MigrationOptions {
        self.options_with(task, Transform::new(select(databases), Route::identity()).unwrap())
    }

    pub(crate) fn options_with(&self, task: &str, transform: Transform) -> MigrationOptions {
        MigrationOptions::new(
            task,
            SourceOptions::new(connection(&self.source)),
            TargetOptions::new(connection(&self.target)),
            transform,
        )
        .unwrap()
    }

    pub(crate) fn migration(&self, task: &str, databases: &[&str]) -> Migration {
        Migration::new(self.options(task, databases))
    }
}

pub(crate) fn select(databases: &[&str]) -> ObjectSelection {
    ObjectSelection::new(databases, &[], &[]).unwrap()
}

pub(crate) fn connection(server: &Server) -> ConnectionOptions {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
    ConnectionOptions::new(address, "root", Secret::new(""))
}

pub(crate) fn run(migration: &Migration, until: Until) -> dts_core::migration::RunReport {
    let progress = Progress::new();
    let outcome = migration.run(until, &StopToken::new(), &progress);
    let seen = progress.snapshot();
    for step in &seen.steps {
        let took = step.started_at.zip(step.finished_at).and_then(|(from, to)| to.duration_since(from).ok());
        eprintln!("{:12} {:8} {took:?}", step.step.name(), step.state.name());
    }
    eprintln!(
        "rows copied {}, transactions {}, row events {}, retries {}",
        seen.rows_done, seen.transactions_applied, seen.row_events_applied, seen.retries
    );
    outcome.unwrap_or_else(|error| panic!("{error:?}"))
}

/// An application: runs `step` again and again over its own connection until it is dropped.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(
        server: &Server,
        mut step: impl FnMut(&mut mysql::Conn, u64) + Send + 'static,
    ) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let steps = Arc::new(AtomicU64::new(0));
        let mut connection = server.root();
        connection.query_drop("SET SESSION sql_mode = ''").unwrap();
        let thread = {
            let (stop, steps) = (stop.clone(), steps.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    step(&mut connection, steps.fetch_add(1, Ordering::Relaxed));
                }
            })
        };
        let writer = Writer { stop, steps, thread: Some(thread) };
        writer.wait_for(20);
        writer
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Waits until so many more steps are done.
    pub(crate) fn wait_for(&self, more: u64) {
        let wanted = self.steps() + more;
        while self.steps() < wanted {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the writer died");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("the writer");
        self.steps()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Ends a run beside the test when the test fails: a scope would wait for its threads for ever.
pub(crate) struct StopAtEnd<'a>(pub &'a StopToken);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A small generator that is the same everywhere; its seed is printed by who uses it.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

pub(crate) fn seed() -> u64 {
    let seed = std::env::var("DTS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) << 32 | now.as_secs() | 1
    });
    eprintln!("DTS_SEED={seed}");
    seed
}

/// Stops a run when a test ends, also by a failed assertion: a scope would wait for the run for ever.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a StopToken);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Waits for something that must come; a minute without it is a failure.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
