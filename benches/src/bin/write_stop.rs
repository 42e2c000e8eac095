//! How long writes stop at a cut-over and at the way back, and whether anything that was acknowledged is lost: 5.6 (RDS-like) to
//! 9.7 and back, with an application of several clients that writes all the time, on whichever side takes it.
//!
//! `cargo run --release -p dts-bench --bin write_stop -- [--rounds N] [--seconds N] [--rate N] [--gate read-only|lock-accounts]`
//!
//! Each round is a cut-over with a reverse channel, `--seconds` of writes on the target (default 5), and a rollback. The stop is
//! what the application sees: from its first refused write on the one side to its first accepted one on the other. A
//! transaction inserts an order with three lines, updates a row of the stock, and fires a trigger.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dts_bench::median;
use dts_core::checker::{CheckOptions, CheckProgress};
use dts_core::cutover::{CutoverOptions, CutoverReport};
use dts_core::data::GateKind;
use dts_core::migration::{Hooks, Migration, MigrationOptions, Until};
use dts_core::progress::Progress;
use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable as _;

const CLIENTS: u64 = 8;
const STOCK: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    let number = |name: &str, or: u64| value(name).map_or(or, |text| text.parse().expect(name));
    let (rounds, seconds, rate) = (number("--rounds", 5), number("--seconds", 5), number("--rate", 500));
    let gate = match value("--gate").as_deref() {
        None | Some("lock-accounts") => GateKind::LockAccounts,
        Some("read-only") => GateKind::ReadOnly,
        Some(other) => panic!("--gate {other}"),
    };
    let source = Server::start(ServerOptions::new(Version::Mysql56).rds_like().durable()).expect("source");
    let target =
        Server::start(ServerOptions::new(Version::Mysql97).durable().arg("--lower-case-table-names=1"))
            .expect("target");
    prepare(&source, &target);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let migration = migration(&source, &target, folder.path());
    let stop = StopToken::new();
    migration.run(Until::Synced, &stop, &Progress::new()).expect("in sync");
    target.exec("SET GLOBAL read_only = 1");
    let checked =
        migration.check(CheckOptions::default(), true, &stop, &CheckProgress::new()).expect("a check");
    println!("check: {:?}, {} rows", checked.conclusion, checked.rows_compared);

    let application = Application::start([source.port(), target.port()], rate);
    let mut options = CutoverOptions::new(gate);
    options.reverse = true;
    options.require_clean_check = true;
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        applying(&migration, Duration::from_secs(5));
        let hand_over = || {
            migration
                .cutover(&options, Hooks::telling(&|_| {}), true, &stop)
                .unwrap_or_else(|error| panic!("{error:?}"))
        };
        there.push(application.measure(1, hand_over, &format!("round {round}, there")));
        applying(&migration, Duration::from_secs(seconds));
        let roll_back = || {
            migration
                .rollback(&options, Hooks::telling(&|_| {}), true, &stop)
                .unwrap_or_else(|error| panic!("{error:?}"))
        };
        back.push(application.measure(0, roll_back, &format!("round {round}, back")));
    }
    let acknowledged = application.finish();
    migration.run(Until::Synced, &stop, &Progress::new()).expect("in sync");
    let mut lost = 0;
    for (client, numbers) in acknowledged.iter().enumerate() {
        for server in [&source, &target] {
            let sql = format!(
                "SELECT COUNT(DISTINCT number) FROM shop.orders WHERE client = {client} AND number <= {numbers}"
            );
            lost += numbers - server.query_one::<u64>(&sql);
        }
    }
    let count = "SELECT (SELECT COUNT(*) FROM shop.orders), (SELECT COUNT(*) FROM shop.lines), (SELECT SUM(sold) FROM shop.stock), \
                 (SELECT COUNT(*) FROM shop.audit)";
    let (ours, theirs) =
        (source.query_one::<(u64, u64, u64, u64)>(count), target.query_one::<(u64, u64, u64, u64)>(count));
    println!(
        "acknowledged {} transactions, lost {lost}; source {ours:?}, target {theirs:?}",
        acknowledged.iter().sum::<u64>()
    );
    println!("write stop there, median of {rounds}: {:.3} s", median(there.iter().copied()));
    println!("write stop back,  median of {rounds}: {:.3} s", median(back.iter().copied()));
    assert!(lost == 0 && ours == theirs, "something is lost or doubled");
}

fn prepare(source: &Server, target: &Server) {
    source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.stock (id INT PRIMARY KEY, sold BIGINT NOT NULL DEFAULT 0, name VARCHAR(60)); \
         CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, client INT NOT NULL, number BIGINT NOT NULL, placed DATETIME NOT \
         NULL, note VARCHAR(100), UNIQUE KEY (client, number)); CREATE TABLE shop.lines (order_id BIGINT, line INT, stock_id INT, price \
         DECIMAL(10,2), PRIMARY KEY (order_id, line), KEY (stock_id)); CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, \
         order_id BIGINT); CREATE TRIGGER shop.ordered AFTER INSERT ON shop.orders FOR EACH ROW INSERT INTO shop.audit (order_id) \
         VALUES (NEW.id)",
    );
    let ids: Vec<u64> = (1..=STOCK).collect();
    for part in ids.chunks(1000) {
        let rows: Vec<String> = part.iter().map(|id| format!("({id}, 'thing {id}')")).collect();
        source.exec(&format!("INSERT INTO shop.stock (id, name) VALUES {}", rows.join(",")));
    }
    for server in [source, target] {
        server.create_account("app", "app-secret", &["ALL PRIVILEGES ON shop.*"]);
    }
}

fn migration(source: &Server, target: &Server, folder: &std::path::Path) -> Migration {
    let connection = |server: &Server| {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
        ConnectionOptions::new(address, "root", Secret::new(""))
    };
    let selection = ObjectSelection::new(&["shop"], &[], &[]).expect("a selection");
    let transform = Transform::new(selection, Route::identity()).expect("a transform");
    let mut options = MigrationOptions::new(
        "write-stop",
        SourceOptions::new(connection(source)),
        TargetOptions::new(connection(target)),
        transform,
    )
    .expect("options");
    options.apply.spool_folder = Some(folder.join("spool"));
    Migration::new(options)
}

/// Applies for a while, in whichever direction changes go.
fn applying(migration: &Migration, time: Duration) {
    let stop = StopToken::new();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| migration.run(Until::Stopped, &stop, &Progress::new()));
        std::thread::sleep(time);
        stop.stop();
        match run.join().expect("the applier") {
            Err(error) if error.is_interrupted() => {}
            other => panic!("{other:?}"),
        }
    });
}

/// Clients that write on whichever side takes it.
struct Application {
    ports: [u16; 2],
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<u64>>,
}

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    /// The side on which a write was accepted or refused, when, and which of the two.
    seen: Mutex<Vec<(usize, Instant, bool)>>,
}

impl Application {
    fn start(ports: [u16; 2], rate: u64) -> Self {
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Shared::default()));
        let clients = (0..CLIENTS)
            .map(|client| {
                let (stop, shared) = (stop.clone(), shared.clone());
                std::thread::spawn(move || write(client, ports, rate, &stop, &shared))
            })
            .collect();
        Application { ports, stop, shared, clients }
    }

    /// Does a hand-over to a side; returns how long no write was accepted.
    fn measure(&self, to: usize, hand_over: impl FnOnce() -> CutoverReport, what: &str) -> f64 {
        let (done, begun) = (self.shared.done.load(Ordering::Relaxed), Instant::now());
        self.shared.seen.lock().expect("the list").clear();
        std::thread::sleep(Duration::from_secs(1));
        let rate = self.shared.done.load(Ordering::Relaxed) - done;
        let report = hand_over();
        std::thread::sleep(Duration::from_millis(500));
        let seen = self.shared.seen.lock().expect("the list").clone();
        let first = |side: usize, accepted: bool| {
            seen.iter().filter(|seen| seen.0 == side && seen.2 == accepted).map(|seen| seen.1).min()
        };
        let refused = first(1 - to, false).expect("no write was refused");
        let accepted =
            first(to, true).unwrap_or_else(|| panic!("no write was accepted on {}", self.ports[to]));
        let last = seen.iter().filter(|seen| seen.0 != to && seen.2).map(|seen| seen.1).max();
        assert!(last.is_none_or(|last| last < accepted), "both sides took writes");
        let stopped = accepted.duration_since(refused).as_secs_f64();
        println!(
            "{what}: {rate} tx/s before; the application could not write for {stopped:.3} s (dts says {:.3} s, all of it {:.1} s)",
            report.write_stop.map_or(0.0, |stop| stop.as_secs_f64()),
            begun.elapsed().as_secs_f64()
        );
        for step in &report.steps {
            println!(
                "    {:<13}{:>7.1} ms  {}",
                step.name.name(),
                step.took.as_secs_f64() * 1e3,
                step.saw.join("; ")
            );
        }
        stopped
    }

    fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().expect("a client")).collect()
    }
}

/// One client; returns the last number that was acknowledged.
fn write(client: u64, ports: [u16; 2], rate: u64, stop: &AtomicBool, shared: &Shared) -> u64 {
    let pause = Duration::from_micros(1_000_000 * CLIENTS / rate);
    let (mut side, mut number, mut next) = (0, 0, Instant::now());
    let mut connection: Option<mysql::Conn> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            let options = mysql::OptsBuilder::new()
                .ip_or_hostname(Some("127.0.0.1"))
                .tcp_port(ports[side])
                .prefer_socket(false)
                .user(Some("app"))
                .pass(Some("app-secret"));
            match mysql::Conn::new(options) {
                Ok(open) => connection = Some(open),
                Err(_) => {
                    shared.seen.lock().expect("the list").push((side, Instant::now(), false));
                    side = 1 - side;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            continue;
        };
        let asked = Instant::now();
        let outcome = transaction(open, client, number + 1);
        let is_there = match &outcome {
            Ok(()) => true,
            // A COMMIT whose answer was lost.
            Err(mysql::Error::MySqlError(error)) => error.code == 1062,
            Err(_) => false,
        };
        let at = if is_there { Instant::now() } else { asked };
        shared.seen.lock().expect("the list").push((side, at, is_there));
        if is_there {
            number += 1;
            shared.done.fetch_add(1, Ordering::Relaxed);
            next += pause;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if next + Duration::from_secs(1) < Instant::now() {
                next = Instant::now();
            }
        } else {
            connection = None;
            side = 1 - side;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    number
}

fn transaction(connection: &mut mysql::Conn, client: u64, number: u64) -> mysql::Result<()> {
    let mut transaction = connection.start_transaction(mysql::TxOpts::default())?;
    transaction.query_drop(format!(
        "INSERT INTO shop.orders (client, number, placed, note) VALUES ({client}, {number}, NOW(), REPEAT('n', 40))"
    ))?;
    let order = transaction.last_insert_id().unwrap_or(0);
    let stock = (client * 7_919 + number * 31) % STOCK + 1;
    transaction.query_drop(format!(
        "INSERT INTO shop.lines VALUES ({order}, 1, {stock}, 9.99), ({order}, 2, {stock}, 1.01), ({order}, 3, {stock}, 0.50)"
    ))?;
    transaction.query_drop(format!("UPDATE shop.stock SET sold = sold + 1 WHERE id = {stock}"))?;
    transaction.commit()
}
