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

mod random;
mod writer;

use mysql::Conn;
use mysql::prelude::Queryable;

pub use random::Random;
pub use writer::{Writer, WriterOptions, WriterReport};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
