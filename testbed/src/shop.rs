//! A shop: tables with awkward data, and an application that keeps writing to them.
//!
//! [`Shop::create`] fills the tables within seconds; [`Writer::start`] runs the application until [`Writer::stop`]. Both
//! take their choices from a seed and the shop prints none of its own: whoever starts it prints the seed. The fill is
//! the same for the same seed; what the writer does is the same per thread, but threads interleave as they like.
//!
//! What is awkward, and why it is there:
//!
//! - ids that are 0, which an AUTO_INCREMENT column replaces unless told not to;
//! - text in latin1, gbk (with second bytes that are a backslash), utf8 and utf8mb4, in keys that ignore case and trailing
//!   blanks, and `CHAR` padding;
//! - zero dates, partly zero dates, year 0, negative times, fractions of a second;
//! - DECIMAL(65,30), FLOAT, DOUBLE, BIT, ENUM with the empty text as a member, SET, unsigned 64-bit numbers at their upper
//!   end, negative MEDIUMINT;
//! - binary keys that end in zero bytes, blobs of every byte value, empty values beside NULL;
//! - secondary UNIQUE keys whose values move from row to row, key columns that change, several rows per statement,
//!   several tables per transaction, roll-backs and savepoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;

use crate::server::exec_on;
use crate::{Server, Version};

/// What an account needs on a source, for [`Server::create_account`].
pub const SOURCE_GRANTS: [&str; 1] =
    ["SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, RELOAD, LOCK TABLES, REPLICATION SLAVE, \
     REPLICATION CLIENT ON *.*"];

/// What an account needs on a target.
pub const TARGET_GRANTS: [&str; 1] =
    ["ALTER, ALTER ROUTINE, CREATE, CREATE ROUTINE, CREATE TEMPORARY TABLES, CREATE USER, \
     CREATE VIEW, DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, LOCK TABLES, PROCESS, REFERENCES, RELOAD, \
     REPLICATION CLIENT, SELECT, SHOW DATABASES, SHOW VIEW, TRIGGER, UPDATE ON *.*"];

/// How many rows one statement of the fill makes.
const BATCH: u64 = 10_000;

/// What a shop begins with.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// The name of its database. Default `shop`.
    pub database: String,
    /// Rows over all tables, about. Default 200,000, least 1,000.
    pub rows: u64,
    /// The same seed makes the same rows. Default 1.
    pub seed: u64,
}

impl Default for ShopOptions {
    fn default() -> Self {
        Self { database: "shop".to_owned(), rows: 200_000, seed: 1 }
    }
}

/// A database full of awkward data.
#[derive(Clone, Debug)]
pub struct Shop {
    database: String,
    seed: u64,
    customers: u64,
    products: u64,
    orders: u64,
    stock: u64,
    sessions: u64,
}

impl Shop {
    /// Creates the database and fills it.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn create(server: &Server, options: &ShopOptions) -> Self {
        let rows = options.rows.max(1_000);
        let shop = Self {
            database: options.database.clone(),
            seed: options.seed,
            customers: rows * 15 / 100,
            products: rows * 5 / 100,
            orders: rows * 20 / 100,
            stock: rows * 10 / 100,
            sessions: rows * 10 / 100,
        };
        let mut conn = server.root();
        let database = &shop.database;
        exec_on(&mut conn, &format!("CREATE DATABASE {database} DEFAULT CHARACTER SET utf8"));
        exec_on(&mut conn, &format!("USE {database}"));
        session(&mut conn, "+00:00");
        exec_on(&mut conn, TABLES);
        exec_on(&mut conn, NUMBERS);
        shop.fill(&mut conn, rows);
        if server.version() != Version::Mysql56 {
            exec_on(&mut conn, JSON_TABLE);
            fill_table(&mut conn, "documents", "id, body", JSON_ROW, shop.products, shop.seed);
        }
        exec_on(&mut conn, "DROP TEMPORARY TABLE numbers");
        shop
    }

    fn fill(&self, conn: &mut Conn, rows: u64) {
        let items = rows * 40 / 100;
        let (customers, products, orders) = (self.customers, self.products, self.orders);
        fill_table(
            conn,
            "customers",
            "id, email, name, nickname, born, last_seen, kind, interests, credit, flags, rating, created",
            CUSTOMER_ROW,
            customers,
            self.seed,
        );
        fill_table(
            conn,
            "products",
            "sku, title, price, exact_price, barcode, weight, made, picture, description",
            PRODUCT_ROW,
            products,
            self.seed,
        );
        fill_table(
            conn,
            "orders",
            "id, customer_id, number, pickup_slot, state, placed, changed, total, note",
            &ORDER_ROW.replace("{customers}", &customers.to_string()),
            orders,
            self.seed,
        );
        fill_table(
            conn,
            "order_items",
            "order_id, line, sku, quantity, price, remark",
            &ITEM_ROW.replace("{orders}", &orders.to_string()).replace("{products}", &products.to_string()),
            items,
            self.seed,
        );
        fill_table(
            conn,
            "stock",
            "warehouse, sku, amount, reserved, counted, bin",
            &STOCK_ROW.replace("{products}", &products.to_string()),
            self.stock,
            self.seed,
        );
        fill_table(
            conn,
            "sessions",
            "token, agent, payload, idle, expires",
            SESSION_ROW,
            self.sessions,
            self.seed,
        );
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns whether a user with this password may write to the shop on a server now; nothing is changed.
    pub fn may_be_written(&self, server: &Server, (user, password): &(String, String)) -> bool {
        let Ok(mut conn) = server.try_conn(user, password) else { return false };
        conn.query_drop(format!("DELETE FROM {}.sessions WHERE 1 = 0", self.database)).is_ok()
    }

    /// Counts the rows of all tables.
    ///
    /// # Panics
    /// If they cannot be counted.
    pub fn row_count(&self, server: &Server) -> u64 {
        let mut conn = server.root();
        crate::dump::tables(server, &self.database)
            .iter()
            .map(|table| {
                let sql = format!("SELECT COUNT(*) FROM {}.{table}", self.database);
                conn.query_first::<u64, _>(&sql)
                    .unwrap_or_else(|error| panic!("{error}, in: {sql}"))
                    .unwrap_or(0)
            })
            .sum()
    }
}

const TABLES: &str = "
CREATE TABLE customers (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT,
    email VARCHAR(80) CHARACTER SET latin1 COLLATE latin1_general_ci NOT NULL,
    name VARCHAR(40) CHARACTER SET gbk NOT NULL,
    nickname VARCHAR(60) CHARACTER SET utf8mb4 DEFAULT NULL,
    born DATE NOT NULL DEFAULT '0000-00-00',
    last_seen DATETIME DEFAULT NULL,
    kind ENUM('person', 'company', '', 'gäst') NOT NULL DEFAULT 'person',
    interests SET('books', 'music', 'café', 'food') NOT NULL DEFAULT '',
    credit DECIMAL(14,4) NOT NULL DEFAULT '0.0000',
    flags BIT(10) NOT NULL DEFAULT b'0',
    rating FLOAT DEFAULT NULL,
    created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (id),
    UNIQUE KEY email (email),
    KEY name (name, born)
) ENGINE=InnoDB DEFAULT CHARSET=utf8 COMMENT='back\\\\slash and ''quote''';
CREATE TABLE products (
    sku VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
    title VARCHAR(120) CHARACTER SET utf8mb4 NOT NULL,
    price DECIMAL(20,6) NOT NULL,
    exact_price DECIMAL(65,30) DEFAULT NULL,
    barcode BIGINT UNSIGNED NOT NULL,
    weight DOUBLE DEFAULT NULL,
    made YEAR NOT NULL,
    picture MEDIUMBLOB,
    description MEDIUMTEXT CHARACTER SET latin1,
    PRIMARY KEY (sku),
    UNIQUE KEY barcode (barcode)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE orders (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    customer_id INT UNSIGNED NOT NULL,
    number CHAR(12) CHARACTER SET ascii COLLATE ascii_bin DEFAULT NULL,
    pickup_slot INT DEFAULT NULL,
    state ENUM('new', 'paid', 'sent', 'returned') NOT NULL DEFAULT 'new',
    placed DATETIME(6) NOT NULL,
    changed TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
    total DECIMAL(12,2) NOT NULL,
    note TEXT CHARACTER SET latin1,
    PRIMARY KEY (id),
    UNIQUE KEY number (number),
    UNIQUE KEY pickup_slot (pickup_slot),
    KEY customer_id (customer_id, placed)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE order_items (
    order_id BIGINT UNSIGNED NOT NULL,
    line SMALLINT NOT NULL,
    sku VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
    quantity MEDIUMINT NOT NULL,
    price DECIMAL(20,6) NOT NULL,
    remark VARCHAR(100) CHARACTER SET utf8mb4 DEFAULT NULL,
    PRIMARY KEY (order_id, line),
    KEY sku (sku)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE stock (
    warehouse CHAR(3) CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL,
    sku VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
    amount INT NOT NULL,
    reserved MEDIUMINT NOT NULL DEFAULT '0',
    counted DATE NOT NULL DEFAULT '0000-00-00',
    bin VARBINARY(8) DEFAULT NULL,
    PRIMARY KEY (warehouse, sku),
    UNIQUE KEY bin (bin)
) ENGINE=InnoDB DEFAULT CHARSET=utf8;
CREATE TABLE sessions (
    token BINARY(16) NOT NULL,
    agent VARCHAR(120) CHARACTER SET latin1 NOT NULL,
    payload BLOB,
    idle TIME(2) NOT NULL,
    expires DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00',
    PRIMARY KEY (token),
    KEY expires (expires)
) ENGINE=InnoDB DEFAULT CHARSET=latin1";

const JSON_TABLE: &str = "
CREATE TABLE documents (
    id BIGINT NOT NULL,
    body JSON,
    PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4";

/// A helper of the fill, gone afterwards: 10,000 numbers.
const NUMBERS: &str = "
CREATE TEMPORARY TABLE numbers (n INT UNSIGNED NOT NULL PRIMARY KEY) ENGINE=InnoDB;
INSERT INTO numbers SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d FROM
    (SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
     UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) a,
    (SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
     UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) b,
    (SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
     UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) c,
    (SELECT 0 d UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4
     UNION SELECT 5 UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) e";

// In the rows below `i` is the row's number and `r` a number below 2^32 that the seed and `i` decide.

const CUSTOMER_ROW: &str = "
    i,
    CONCAT(ELT(1 + r % 4, 'user', 'Jörg.', 'ÀÉÎ', 'MiXeD'), i, '@example.com'),
    ELT(1 + r % 5, _gbk 0xC0EEC4C8, _gbk 0xBF5CCDF5, _gbk 0xCDF5CEB0, _gbk 0x41815C42, 'plain'),
    ELT(1 + r % 6, NULL, 'smile 😀', 'trailing blanks  ', '', 'tab\\tand\\nbreak', 'quote''s and back\\\\slash'),
    ELT(1 + r % 4, '0000-00-00', '1970-02-00', '2000-02-29', DATE_ADD('1950-01-01', INTERVAL r % 20000 DAY)),
    IF(r % 3 = 0, NULL, DATE_ADD('2001-01-01', INTERVAL r % 700000000 SECOND)),
    1 + r % 4,
    r % 16,
    (r % 2000000000 - 1000000000) / 10000,
    r % 1024,
    IF(r % 7 = 0, NULL, (r % 100000) / 7),
    FROM_UNIXTIME(1 + r % 2000000000)";

const PRODUCT_ROW: &str = "
    CONCAT(ELT(1 + r % 4, 'sku-', 'SKU-', 'Ärt-', 'ＷＩＤＥ-'), i),
    CONCAT(ELT(1 + r % 3, 'Tea 茶', 'Stuhl für 3', 'emoji 🚲'), ' ', i),
    r / 1000,
    ELT(1 + r % 4, NULL, -0.000000000000000000000000000001, 12345678901234567890123456789012345.5, r / 7),
    18446744073709551615 - i,
    ELT(1 + r % 4, NULL, 1e-300, r * 1.1e200, -r / 3),
    ELT(1 + r % 4, 0, 1901, 2155, 2000 + r % 50),
    ELT(1 + r % 4, NULL, '', UNHEX(SHA2(r, 512)), REPEAT(UNHEX(SHA2(i, 256)), 1 + r % 60)),
    ELT(1 + r % 3, NULL, REPEAT('Größe ', 1 + r % 50), _latin1 0x80E4F6FC9F00FF27225C)";

const ORDER_ROW: &str = "
    i,
    r % {customers},
    IF(r % 5 = 0, NULL, CONCAT('N', LPAD(i, 9, '0'))),
    IF(r % 3 = 0, NULL, i - 100),
    1 + r % 4,
    DATE_ADD('2015-01-01 00:00:00.000001', INTERVAL r % 400000000 * 1000001 MICROSECOND),
    FROM_UNIXTIME(1400000000 + r % 300000000 + (r % 1000) / 1000),
    (r % 1000000) / 100,
    ELT(1 + r % 5, NULL, '', 'please ring', _latin1 0xE4E5F6, REPEAT('long note ', 1 + r % 80))";

const ITEM_ROW: &str = "
    i DIV 2 % {orders},
    IF(i DIV 2 DIV {orders} = 0, 0, 10 * (i DIV 2 DIV {orders})) + i % 2,
    CONCAT('sku-', r % {products}),
    r % 16777215 - 8388608,
    r / 1000,
    ELT(1 + r % 4, NULL, 'gift 🎁', 'red / rot / 红', CONCAT('size ', r % 40))";

const STOCK_ROW: &str = "
    ELT(1 + i % 4, 'BER', 'a', 'SZX', 'ös'),
    CONCAT('Sku-', i DIV 4),
    r % 4294967296 - 2147483648,
    r % 16777216 - 8388608,
    ELT(1 + r % 3, '0000-00-00', '2019-00-00', '2021-12-31'),
    IF(r % 4 = 0, NULL, UNHEX(LPAD(HEX(i * 256), 12, '0')))";

const SESSION_ROW: &str = "
    CONCAT(UNHEX(LEFT(SHA2(CONCAT('{seed}', i), 256), 24)), UNHEX(LPAD(HEX(i % 7), 2, '0'))),
    ELT(1 + r % 3, 'curl/7', 'Mozilla/5.0 (très vieux)', ''),
    ELT(1 + r % 4, NULL, '', UNHEX('00010203040506070809'), REPEAT(UNHEX(SHA2(r, 512)), 1 + r % 30)),
    ELT(1 + r % 3, '-838:59:59', '00:00:00.01', SEC_TO_TIME(r % 86400)),
    ELT(1 + r % 3, '0000-00-00', '9999-12-31 23:59:59', DATE_ADD('2020-01-01', INTERVAL r % 100000000 SECOND))";

const JSON_ROW: &str = "
    i,
    ELT(1 + r % 5, NULL, 'null', '{}', JSON_OBJECT('n', r, 'd', CAST(r / 7 AS DECIMAL(30,10)), 'when', NOW(6), 'deep', JSON_ARRAY(1.5, 'ü', TRUE)),
        JSON_ARRAY(i, r, -1, 18446744073709551615, 1e300))";

/// Fills a table with `rows` rows of select expressions over `i` and `r`.
fn fill_table(conn: &mut Conn, table: &str, columns: &str, row: &str, rows: u64, seed: u64) {
    let row = row.replace("{seed}", &seed.to_string());
    for start in (0..rows).step_by(usize::try_from(BATCH).unwrap_or(usize::MAX)) {
        let count = BATCH.min(rows - start);
        exec_on(
            conn,
            &format!(
                "INSERT INTO {table} ({columns}) SELECT {row} FROM
                 (SELECT CAST({start} + n AS SIGNED) AS i, CAST(CRC32(CONCAT('{table}{seed}-', {start} + n)) AS SIGNED) AS r FROM numbers WHERE n < {count}) x"
            ),
        );
    }
}

/// How sessions of the shop are set up: an id of 0 stays 0, zero dates are dates.
fn session(conn: &mut Conn, time_zone: &str) {
    exec_on(conn, "SET NAMES utf8mb4");
    exec_on(conn, &format!("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '{time_zone}'"));
}

/// How the application writes.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Connections that write at the same time. Default 2.
    pub threads: u32,
    /// Transactions per second over all threads; 0 is as fast as it goes. Default 200.
    pub transactions_per_second: u32,
    /// What each thread does follows from it. Default 1.
    pub seed: u64,
    /// The user and the password to write with, over TCP. Default none: root over the socket, which no gate holds. One that has an
    /// account ends when its connection is ended, as it is at a cut-over.
    pub account: Option<(String, String)>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { threads: 2, transactions_per_second: 200, seed: 1, account: None }
    }
}

/// What the application has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterReport {
    /// Transactions that the server acknowledged.
    pub transactions: u64,
    /// Transactions that were rolled back, by choice or because another one was in the way.
    pub rolled_back: u64,
    /// Rows that the statements of acknowledged transactions inserted, changed or deleted, as the server counts them.
    pub rows: u64,
    /// How long it wrote.
    pub elapsed: Duration,
}

/// An application that writes until it is stopped. Dropping it stops it too.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    transactions: AtomicU64,
    rolled_back: AtomicU64,
    rows: AtomicU64,
}

impl Writer {
    /// Starts to write.
    ///
    /// # Panics
    /// If the server refuses a connection.
    pub fn start(server: &Server, shop: &Shop, options: &WriterOptions) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = options.threads.max(1);
        let pause = match options.transactions_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(f64::from(threads) / f64::from(rate)),
        };
        let spawn = |number: u32| {
            let mut conn = match &options.account {
                Some((user, password)) => server.conn(user, password),
                None => server.root(),
            };
            exec_on(&mut conn, &format!("USE {}", shop.database));
            // Sessions of one application need not agree on the time zone.
            session(&mut conn, if number.is_multiple_of(2) { "+08:00" } else { "-03:30" });
            let random = Random::new(options.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
            let mut clerk = Clerk {
                conn,
                random,
                shop: shop.clone(),
                shared: shared.clone(),
                number: u64::from(number),
                may_be_ended: options.account.is_some(),
                written: 0,
                next: 0,
            };
            std::thread::spawn(move || clerk.work(pause))
        };
        Self { threads: (0..threads).map(spawn).collect(), shared, started: Instant::now() }
    }

    /// Returns what was written so far.
    pub fn so_far(&self) -> WriterReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriterReport {
            transactions: read(&self.shared.transactions),
            rolled_back: read(&self.shared.rolled_back),
            rows: read(&self.shared.rows),
            elapsed: self.started.elapsed(),
        }
    }

    /// Stops after the transactions under way and returns what was written.
    ///
    /// # Panics
    /// If a statement failed in a way that no application would expect.
    pub fn stop(mut self) -> WriterReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        self.so_far()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One connection of the application.
struct Clerk {
    conn: Conn,
    random: Random,
    shop: Shop,
    shared: Arc<Shared>,
    number: u64,
    /// It may lose its connection for good.
    may_be_ended: bool,
    /// Rows written by the transaction under way.
    written: u64,
    /// Counts what this clerk has made up, so that its new keys are its own.
    next: u64,
}

impl Clerk {
    fn work(&mut self, pause: Duration) {
        let mut due = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.written = 0;
            match self.transaction() {
                Ok(true) => {
                    self.shared.transactions.fetch_add(1, Ordering::Relaxed);
                    self.shared.rows.fetch_add(self.written, Ordering::Relaxed);
                }
                Ok(false) => {
                    self.shared.rolled_back.fetch_add(1, Ordering::Relaxed);
                }
                // A deadlock, a lock that was not given, or a key that another clerk has taken: as in life.
                Err(mysql::Error::MySqlError(error)) if matches!(error.code, 1062 | 1205 | 1213) => {
                    exec_on(&mut self.conn, "ROLLBACK");
                    self.shared.rolled_back.fetch_add(1, Ordering::Relaxed);
                }
                // Its session was ended: 1317 by a statement that was under way. Nobody told it that this transaction is committed.
                Err(mysql::Error::MySqlError(error)) if self.may_be_ended && error.code == 1317 => return,
                Err(
                    mysql::Error::IoError(_) | mysql::Error::CodecError(_) | mysql::Error::DriverError(_),
                ) if self.may_be_ended => {
                    return;
                }
                Err(error) => panic!("the shop's application failed: {error}"),
            }
            due += pause;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // After a stall it does not try to make up for all that it missed.
            due = due.max(Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(due));
        }
    }

    /// Does one thing; false when it was rolled back by choice.
    fn transaction(&mut self) -> mysql::Result<bool> {
        match self.random.below(100) {
            0..30 => self.place_order(),
            30..50 => self.change_order(),
            50..60 => self.delete_order(),
            60..68 => self.swap_slots(),
            68..72 => self.swap_barcodes(),
            72..75 => self.rename_product(),
            75..78 => self.move_stock(),
            78..84 => self.open_session(),
            84..90 => self.change_session(),
            90..95 => self.change_customer(),
            95..97 => self.change_of_mind(),
            97..99 => self.renumber_items(),
            _ => self.reprice(),
        }
    }

    fn place_order(&mut self) -> mysql::Result<bool> {
        let (customer, total) = (self.random.below(self.shop.customers), self.random.below(100_000));
        let slot = self.new_number();
        let note = ["NULL", "''", "'vor 8 Uhr läuten'", "_latin1 0xE4FF5C27"][self.random.index(4)];
        self.run("BEGIN")?;
        self.run(format!(
            "INSERT INTO orders (customer_id, number, pickup_slot, state, placed, total, note) VALUES
             ({customer}, 'W{}-{slot:08}', {}, 'new', NOW(6), {total}, {note})",
            self.number,
            self.own(slot),
        ))?;
        let order = self.conn.last_insert_id();
        let items: Vec<String> = (0..=self.random.below(4))
            .map(|line| {
                let (sku, quantity) = (self.random.below(self.shop.products), self.random.below(20));
                format!("({order}, {line}, 'sku-{sku}', {quantity} - 3, {sku} / 7, 'web 🛒')")
            })
            .collect();
        self.run(format!(
            "INSERT INTO order_items (order_id, line, sku, quantity, price, remark) VALUES {}",
            items.join(", ")
        ))?;
        let sku = self.random.below(self.shop.stock / 4 + 1);
        self.run(format!(
            "UPDATE stock SET amount = amount DIV 2, reserved = -reserved WHERE sku = 'SKU-{sku}'"
        ))?;
        self.run(format!(
            "UPDATE customers SET credit = -credit / 3, last_seen = NOW() WHERE id = {customer}"
        ))?;
        self.run("COMMIT")
    }

    fn change_order(&mut self) -> mysql::Result<bool> {
        let order = self.random.below(self.shop.orders);
        let change = match self.random.below(4) {
            0 => "state = 'paid'".to_owned(),
            1 => format!("total = total + {}, note = NULL", self.random.below(50)),
            2 => format!("note = REPEAT('ä', {})", self.random.below(500)),
            _ => "state = 'returned', placed = '0000-00-00'".to_owned(),
        };
        self.run(format!("UPDATE orders SET {change} WHERE id = {order}"))
    }

    fn delete_order(&mut self) -> mysql::Result<bool> {
        let order = self.random.below(self.shop.orders);
        self.run("BEGIN")?;
        self.run(format!("DELETE FROM order_items WHERE order_id = {order}"))?;
        self.run(format!("DELETE FROM orders WHERE id = {order}"))?;
        self.run("COMMIT")
    }

    /// Two rows change their UNIQUE values with each other.
    fn swap_slots(&mut self) -> mysql::Result<bool> {
        let (a, b) = (self.random.below(self.shop.orders), self.random.below(self.shop.orders));
        self.run("BEGIN")?;
        let slots: Vec<(u64, Option<i64>)> = self.conn.query(format!(
            "SELECT id, pickup_slot FROM orders WHERE id IN ({a}, {b}) ORDER BY id FOR UPDATE"
        ))?;
        if let [(first, first_slot), (second, second_slot)] = slots[..] {
            let text = |slot: Option<i64>| slot.map_or("NULL".to_owned(), |slot| slot.to_string());
            self.run(format!("UPDATE orders SET pickup_slot = NULL WHERE id = {first}"))?;
            self.run(format!("UPDATE orders SET pickup_slot = {} WHERE id = {second}", text(first_slot)))?;
            self.run(format!("UPDATE orders SET pickup_slot = {} WHERE id = {first}", text(second_slot)))?;
        }
        self.run("COMMIT")
    }

    /// A UNIQUE value goes to another row in transactions of their own, so that each is visible by itself.
    fn swap_barcodes(&mut self) -> mysql::Result<bool> {
        let sku = self.random.below(self.shop.products);
        let barcode: Option<u64> =
            self.conn.query_first(format!("SELECT barcode FROM products WHERE sku = 'sku-{sku}'"))?;
        let Some(barcode) = barcode else { return Ok(false) };
        let (number, new) = (self.number, self.new_number());
        self.run(format!("DELETE FROM products WHERE sku = 'sku-{sku}' AND barcode = {barcode}"))?;
        self.run(format!(
            "INSERT INTO products (sku, title, price, barcode, made) VALUES
             ('Neu-{number}-{new}', 'nachgekauft ✓', 1.5, {barcode}, 2024)"
        ))
    }

    /// The key changes, at times only in its case.
    fn rename_product(&mut self) -> mysql::Result<bool> {
        let sku = self.random.below(self.shop.products);
        let (number, new) = (self.number, self.new_number());
        let new = match self.random.below(3) {
            0 => "UPPER(sku)".to_owned(),
            1 => "LOWER(sku)".to_owned(),
            _ => format!("'moved-{number}-{new}'"),
        };
        self.run(format!("UPDATE products SET sku = {new} WHERE sku = 'sku-{sku}'"))
    }

    fn move_stock(&mut self) -> mysql::Result<bool> {
        let sku = self.random.below(self.shop.stock / 4 + 1);
        match self.random.below(3) {
            0 => self.run(format!("UPDATE stock SET warehouse = 'NEW' WHERE sku = 'sku-{sku}' AND warehouse = 'BER'")),
            1 => self.run(format!("DELETE FROM stock WHERE sku = 'sku-{sku}' AND warehouse = 'A'")),
            _ => self.run(format!(
                "INSERT INTO stock (warehouse, sku, amount, counted) VALUES ('A', 'sku-{sku}', 5, '2020-00-00')
                 ON DUPLICATE KEY UPDATE amount = amount DIV 3, counted = '0000-00-00'"
            )),
        }
    }

    fn open_session(&mut self) -> mysql::Result<bool> {
        let token = format!("{:014X}0000", self.random.number() >> 8);
        let length = self.random.below(2_000);
        self.run(format!(
            "INSERT INTO sessions (token, agent, payload, idle, expires) VALUES
             (0x{token}, 'Zürich', REPEAT(0x00FF27, {length}), '-00:00:00.50', '0000-00-00')"
        ))
    }

    fn change_session(&mut self) -> mysql::Result<bool> {
        // Tokens are random: a range finds some, at times none.
        let from = format!("{:04X}", self.random.below(0x10000));
        if self.random.below(2) == 0 {
            self.run(format!("DELETE FROM sessions WHERE token >= 0x{from} ORDER BY token LIMIT 2"))
        } else {
            self.run(format!(
                "UPDATE sessions SET payload = CONCAT(COALESCE(payload, ''), 0x00), idle = '838:59:59' WHERE token >= 0x{from}
                 ORDER BY token LIMIT 3"
            ))
        }
    }

    fn change_customer(&mut self) -> mysql::Result<bool> {
        let (customer, new) = (self.random.below(self.shop.customers), self.new_number());
        let number = self.number;
        match self.random.below(4) {
            0 => self.run(format!(
                "INSERT INTO customers (email, name, nickname, kind, flags) VALUES
                 ('neu{number}-{new}@example.com', _gbk 0xBF5CBF5C, '👋', '', b'1010101010')"
            )),
            1 => self.run(format!("UPDATE customers SET name = '王', kind = 'gäst', rating = 16777217 WHERE id = {customer}")),
            2 => self.run(format!("UPDATE customers SET email = 'Moved{number}-{new}@Example.COM' WHERE id = {customer}")),
            _ => self.run(format!(
                "REPLACE INTO customers (id, email, name, born) VALUES ({customer}, 'r{number}-{new}@example.com', '李', '1999-00-00')"
            )),
        }
    }

    /// Begins, writes, takes a part back, and at times all of it.
    fn change_of_mind(&mut self) -> mysql::Result<bool> {
        let order = self.random.below(self.shop.orders);
        self.run("BEGIN")?;
        self.run(format!("UPDATE orders SET total = total + 1 WHERE id = {order}"))?;
        self.run("SAVEPOINT before_delete")?;
        self.run(format!("DELETE FROM order_items WHERE order_id = {order}"))?;
        self.run("ROLLBACK TO SAVEPOINT before_delete")?;
        if self.random.below(2) == 0 {
            self.run("ROLLBACK")?;
            return Ok(false);
        }
        self.run("COMMIT")
    }

    /// Every row of a statement changes its key.
    fn renumber_items(&mut self) -> mysql::Result<bool> {
        let order = self.random.below(self.shop.orders);
        self.run(format!(
            "UPDATE order_items SET line = line + 100 WHERE order_id = {order} ORDER BY line DESC"
        ))
    }

    /// One statement with some hundreds of rows.
    fn reprice(&mut self) -> mysql::Result<bool> {
        let first = self.random.below(self.shop.orders);
        self.run(format!("UPDATE orders SET total = total * 1.01 WHERE id BETWEEN {first} AND {first} + 300"))
    }

    fn run(&mut self, sql: impl AsRef<str>) -> mysql::Result<bool> {
        self.conn.query_drop(sql)?;
        self.written += self.conn.affected_rows();
        Ok(true)
    }

    fn new_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Returns a pickup slot that no other clerk and no row of the fill has.
    fn own(&self, number: u64) -> u64 {
        1_000_000_000 + self.number * 100_000_000 + number
    }
}

/// SplitMix64: small, fast, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `limit`; 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ServerOptions, dump};

    #[test]
    fn the_same_seed_fills_the_same_shop_on_every_version() {
        let options = ShopOptions { rows: 3_000, seed: 7, ..ShopOptions::default() };
        let old = Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap();
        let new = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
        let shop = Shop::create(&old, &options);
        Shop::create(&new, &options);
        for table in dump::tables(&old, shop.database()) {
            // FLOAT and DOUBLE are computed by either server and `created` by its own clock; keys and numbers are not.
            let count = |server| dump::table(server, "shop", &table).row_count();
            assert_eq!(count(&old), count(&new), "{table}");
        }
        let rows = shop.row_count(&old);
        assert!((2_700..=3_300).contains(&rows), "{rows}");

        let writer = Writer::start(
            &old,
            &shop,
            &WriterOptions { transactions_per_second: 0, ..WriterOptions::default() },
        );
        while writer.so_far().transactions < 2_000 {
            std::thread::sleep(Duration::from_millis(10));
        }
        let report = writer.stop();
        assert!(report.rows > report.transactions, "{report:?}");
        assert!(report.rolled_back < report.transactions / 4, "{report:?}");
    }
}
