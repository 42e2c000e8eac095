//! The main job: a live server moves to another while an application writes, and both are byte-equal afterwards.
use dts_core::migration::Until;
use dts_testbed::dump;
use mysql::prelude::Queryable;

use crate::support::{Dice, Generation, Pair, Writer, run, seed};

const SCHEMA: &str = "
CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4;
USE shop;
CREATE TABLE customer (id INT UNSIGNED NOT NULL AUTO_INCREMENT, email VARCHAR(100) NOT NULL, name VARCHAR(60) CHARACTER SET latin1,
  note TEXT, seen TIMESTAMP NULL, PRIMARY KEY (id), UNIQUE KEY email (email), KEY name (name(10)));
CREATE TABLE item (code VARCHAR(20) CHARACTER SET utf8 COLLATE utf8_general_ci NOT NULL, size SMALLINT NOT NULL, price DECIMAL(12,4),
  picture BLOB, born DATE NOT NULL DEFAULT '0000-00-00', PRIMARY KEY (code, size));
CREATE TABLE orders (id BIGINT NOT NULL AUTO_INCREMENT, customer INT UNSIGNED NOT NULL, slot INT, total DOUBLE, state ENUM('new','paid','sent'),
  changed DATETIME(6) NOT NULL, PRIMARY KEY (id), UNIQUE KEY slot (slot), KEY customer (customer, changed));
";

fn fill(pair: &Pair, rows: u64) {
    pair.source.exec(&format!("SET SESSION sql_mode = ''; {SCHEMA}"));
    let mut connection = pair.source.root();
    connection.query_drop("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'").unwrap();
    for start in (0..rows).step_by(500) {
        let ids: Vec<u64> = (start..(start + 500).min(rows)).collect();
        let list = |row: &dyn Fn(&u64) -> String| ids.iter().map(row).collect::<Vec<_>>().join(",");
        connection
            .query_drop(format!(
                "INSERT INTO shop.customer VALUES {}",
                list(&|id| format!("({id},'c{id}@x','n\u{e9}{id}',REPEAT('t\\\\\\t\\n',{}),NULL)", id % 7))
            ))
            .unwrap();
        connection
            .query_drop(format!(
                "INSERT INTO shop.item VALUES {}",
                list(&|id| format!(
                    "('Code{}',{},{id}.25,REPEAT(x'00FF5C0A09',{}),'0000-00-00')",
                    id / 3,
                    id % 3,
                    id % 5
                ))
            ))
            .unwrap();
        connection
            .query_drop(format!(
                "INSERT INTO shop.orders VALUES {}",
                list(&|id| format!("({id},{id},{id},{id}/3,{},'2020-01-01 00:00:00.5')", id % 4))
            ))
            .unwrap();
    }
}

/// One step of an application: inserts, updates, deletes, key changes, UNIQUE values that move, several tables at once.
fn step(connection: &mut mysql::Conn, dice: &mut Dice, rows: u64) {
    let (a, b) = (dice.roll(rows * 2), dice.roll(rows * 2));
    let sql = match dice.roll(8) {
        0 => format!("INSERT IGNORE INTO shop.customer VALUES ({a},'c{a}@x','new',NULL,NOW())"),
        1 => format!("UPDATE shop.customer SET note = CONCAT('n', RAND()), seen = NOW() WHERE id = {a}"),
        2 => format!("DELETE FROM shop.orders WHERE id = {a}"),
        3 => format!("UPDATE IGNORE shop.customer SET id = {b} WHERE id = {a}"),
        4 => format!(
            "BEGIN; DELETE FROM shop.orders WHERE id IN ({a},{b}) OR slot IN ({a},{b}); INSERT INTO shop.orders VALUES \
             ({a},1,{b},1.5,'new',NOW(6)),({b},2,{a},2.5,'paid',NOW(6)); UPDATE shop.item SET price = price + 1 WHERE \
             code = 'CODE{}' ; COMMIT",
            a / 3
        ),
        5 => format!("REPLACE INTO shop.item VALUES ('code{}',{},1.5,x'5C',NOW())", a / 3, b % 4),
        6 => format!("UPDATE IGNORE shop.orders SET slot = {b} WHERE slot = {a}"),
        _ => format!("DELETE FROM shop.item WHERE code = 'cODE{}' AND size = {}", a / 3, b % 3),
    };
    connection.query_iter(sql).unwrap().for_each(drop);
}

fn moves_while_written(generation: Generation) {
    let pair = Pair::start(generation);
    let rows = 20_000;
    fill(&pair, rows);
    let mut dice = Dice(seed());
    let writer = Writer::start(&pair.source, move |connection, _| step(connection, &mut dice, rows));
    let migration = pair.migration("live", &["shop"]);
    let report = run(&migration, Until::Synced);
    assert!(!report.resumed);
    assert!(report.tables.iter().map(|table| table.rows).sum::<u64>() >= 3 * rows / 2);
    writer.wait_for(200);
    writer.finish();
    let report = run(&migration, Until::Synced);
    assert!(report.resumed);
    dump::assert_equal(&pair.source, &pair.target, "shop");
    let indexes: Vec<String> = pair.target.query(
        "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'shop' ORDER BY 1",
    );
    assert_eq!(indexes, ["customer", "email", "name", "PRIMARY", "slot"]);
}

#[test]
fn old_to_new_while_written() {
    moves_while_written(Generation::Old);
}

#[test]
fn new_to_new_while_written() {
    moves_while_written(Generation::New);
}
