//! The application that writes to a shop.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql::Conn;
use mysql::prelude::Queryable;

use super::{Random, Shop, session};
use crate::Server;
use crate::server::exec_on;

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
    /// account ends when its session is ended, as it is at a cut-over.
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

/// Returns whether this is how a session learns that it was ended: no connection, or 1317 by a statement that was under way.
fn is_end(error: &mysql::Error) -> bool {
    match error {
        mysql::Error::MySqlError(error) => error.code == 1317,
        mysql::Error::IoError(_) | mysql::Error::CodecError(_) | mysql::Error::DriverError(_) => true,
        _ => false,
    }
}

/// One connection of the application.
struct Clerk {
    conn: Conn,
    random: Random,
    shop: Shop,
    shared: Arc<Shared>,
    number: u64,
    /// Its session may be ended by others.
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
            let result = match self.transaction() {
                // A deadlock, a lock that was not given, or a key that another clerk has taken: as in life.
                Err(mysql::Error::MySqlError(error)) if matches!(error.code, 1062 | 1205 | 1213) => {
                    self.conn.query_drop("ROLLBACK").map(|()| false)
                }
                result => result,
            };
            match result {
                Ok(true) => {
                    self.shared.transactions.fetch_add(1, Ordering::Relaxed);
                    self.shared.rows.fetch_add(self.written, Ordering::Relaxed);
                }
                Ok(false) => {
                    self.shared.rolled_back.fetch_add(1, Ordering::Relaxed);
                }
                // Nobody told it that this transaction is committed.
                Err(error) if self.may_be_ended && is_end(&error) => return,
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
