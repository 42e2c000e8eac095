//! Random JSON documents on a real server: their text, and the differences of partial updates.
use dts_core::binlog::{EventType, RowChange};
use dts_core::data::{JsonDiff, JsonDiffOperation, Value};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::log::Log;

/// Returns a seed that the output of a failed test shows; `DTS_SEED` repeats it.
fn seed() -> u64 {
    let seed = match std::env::var("DTS_SEED") {
        Ok(seed) => seed.parse().expect("DTS_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("DTS_SEED={seed}");
    seed
}

fn quoted(text: &str) -> String {
    let mut sql = String::from("_utf8mb4 x'");
    for byte in text.bytes() {
        sql.push_str(&format!("{byte:02x}"));
    }
    sql.push('\'');
    sql
}

fn random_text(random: &mut StdRng) -> String {
    let length = match random.random_range(0..200) {
        0..10 => random.random_range(100..300),
        10 => random.random_range(16_000..17_000),
        _ => random.random_range(0..12),
    };
    let character = |random: &mut StdRng| match random.random_range(0..8) {
        0 => char::from(random.random_range(0..32_u8)),
        1 => *['"', '\\', '/', '\u{7f}', 'é', '🦀', '\u{2028}'].get(random.random_range(0..7_usize)).unwrap(),
        _ => char::from(random.random_range(b' '..=b'~')),
    };
    (0..length).map(|_| character(random)).collect()
}

fn random_double(random: &mut StdRng) -> f64 {
    loop {
        let value = match random.random_range(0..4) {
            0 => f64::from(random.random_range(-100_000..100_000)) / 1000.0,
            1 => 10_f64.powi(random.random_range(-20..20)) * f64::from(random.random_range(1..1000)),
            _ => f64::from_bits(random.random()),
        };
        if value.is_finite() && (value == 0.0 || value.is_normal()) {
            return value;
        }
    }
}

/// Returns an expression that makes a scalar. `plain` ones survive being written as text and read again.
fn scalar(random: &mut StdRng, plain: bool) -> String {
    match random.random_range(0..if plain { 7 } else { 13 }) {
        0 => "NULL".to_owned(),
        1 => ["TRUE", "FALSE"][random.random_range(0..2)].to_owned(),
        2 => random.random_range(-70_000_i64..70_000).to_string(),
        3 => random.random::<i64>().to_string(),
        4 => format!("CAST({} AS UNSIGNED)", random.random::<u64>()),
        5 => quoted(&random_text(random)),
        6 => format!("{:e}", random_double(random)),
        7 => format!("{}.{:03}", random.random::<i32>(), random.random_range(0..1000)),
        8 => format!("CAST('{}' AS DECIMAL(65,30))", random.random_range(-1e9..1e9)),
        9 => format!("DATE'{:04}-02-28'", random.random_range(1..9999)),
        10 => format!(
            "CAST('{}:20:30.{:06}' AS TIME(6))",
            random.random_range(-800..800),
            random.random_range(0..1_000_000)
        ),
        11 => format!(
            "TIMESTAMP'{:04}-12-01 23:59:58.{:06}'",
            random.random_range(1..9999),
            random.random_range(0..1_000_000)
        ),
        _ => {
            let length = random.random_range(0..150);
            let hex: String = (0..length).map(|_| format!("{:02x}", random.random::<u8>())).collect();
            format!("CAST(x'{hex}' AS BINARY)")
        }
    }
}

/// Returns an expression that makes a document.
fn document(random: &mut StdRng, plain: bool, depth: u32) -> String {
    if depth == 0 || random.random_range(0..4) == 0 {
        return scalar(random, plain);
    }
    let count = random.random_range(0..6);
    let is_object = random.random();
    let mut parts = Vec::new();
    for _ in 0..count {
        if is_object {
            parts.push(quoted(&random_text(random)));
        }
        parts.push(document(random, plain, depth - 1));
    }
    let function = if is_object { "JSON_OBJECT" } else { "JSON_ARRAY" };
    format!("{function}({})", parts.join(", "))
}

fn json(value: &Value) -> &[u8] {
    match value {
        Value::Json(text) => text,
        Value::Null => b"NULL",
        other => panic!("{other:?}"),
    }
}

#[test]
fn random_documents_print_as_the_server_prints_them() {
    let mut random = StdRng::seed_from_u64(seed());
    let server = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    let mut conn = server.root();
    conn.query_drop("CREATE DATABASE shop; ").unwrap();
    conn.query_drop("CREATE TABLE shop.j (id INT PRIMARY KEY, j JSON)").unwrap();
    const ROWS: usize = 400;
    for id in 0..ROWS {
        let depth = if id % 20 == 0 { 5 } else { 3 };
        let document = format!("JSON_ARRAY({})", document(&mut random, false, depth));
        let insert = format!("INSERT INTO shop.j VALUES ({id}, {document})");
        conn.query_drop(&insert).unwrap_or_else(|error| panic!("{error} in {insert:.3000}"));
    }
    // Many doubles, whose shortest digits two programs must agree on.
    for id in ROWS..ROWS + 20 {
        let doubles: Vec<String> = (0..2000).map(|_| format!("{:e}", random_double(&mut random))).collect();
        conn.query_drop(format!("INSERT INTO shop.j VALUES ({id}, '[{}]')", doubles.join(","))).unwrap();
    }
    // Changed in place: documents with gaps, and with values out of order.
    for _ in 0..3 {
        conn.query_drop("UPDATE shop.j SET j = JSON_REPLACE(j, '$[0][0]', 'in place')").unwrap();
        conn.query_drop("UPDATE shop.j SET j = JSON_REMOVE(j, '$[0][1]')").unwrap();
        conn.query_drop("UPDATE shop.j SET j = JSON_SET(j, '$[0][2]', JSON_ARRAY(1, 'two'), '$[0][0]', 1.5)")
            .unwrap();
    }
    let printed: Vec<(usize, Option<Vec<u8>>)> =
        conn.query("SELECT id, CAST(j AS CHAR) FROM shop.j ORDER BY id").unwrap();
    let log = Log::read(&server, &|_| Vec::new());
    let mut last: Vec<Vec<u8>> = vec![Vec::new(); printed.len()];
    let mut update_count = 0;
    for change in log.of("j") {
        let (before, after) = match change {
            RowChange::Insert { after } => (None, after),
            RowChange::Update { before, after } => (Some(before), after),
            RowChange::Delete { .. } => panic!("nothing was deleted"),
        };
        let Value::Int(id) = after[0] else { panic!() };
        let id = usize::try_from(id).unwrap();
        if let Some(before) = before {
            assert!(json(&before[1]) == last[id], "row {id}: the before image is not the last after image");
            update_count += 1;
        }
        last[id] = json(&after[1]).to_vec();
    }
    assert!(update_count > ROWS);
    for (id, printed) in printed {
        let printed = printed.unwrap_or(b"NULL".to_vec());
        let (decoded, printed) = (String::from_utf8_lossy(&last[id]), String::from_utf8_lossy(&printed));
        let at = decoded.bytes().zip(printed.bytes()).take_while(|(ours, theirs)| ours == theirs).count();
        assert!(
            decoded == printed,
            "row {id} at byte {at}: decoded {:?}, the server prints {:?}",
            decoded.as_bytes()[at.saturating_sub(40)..]
                .escape_ascii()
                .to_string()
                .chars()
                .take(120)
                .collect::<String>(),
            printed.as_bytes()[at.saturating_sub(40)..]
                .escape_ascii()
                .to_string()
                .chars()
                .take(120)
                .collect::<String>(),
        );
    }
}

/// Makes an expression that applies differences to a document.
fn applied(document: &[u8], diffs: &[JsonDiff]) -> String {
    let literal = |bytes: &[u8]| quoted(std::str::from_utf8(bytes).unwrap());
    let mut sql = format!("CAST({} AS JSON)", literal(document));
    for diff in diffs {
        let path = literal(&diff.path);
        sql = match diff.operation {
            JsonDiffOperation::Replace => {
                format!("JSON_REPLACE({sql}, {path}, CAST({} AS JSON))", literal(&diff.value))
            }
            JsonDiffOperation::Insert if diff.path.ends_with(b"]") => {
                format!("JSON_ARRAY_INSERT({sql}, {path}, CAST({} AS JSON))", literal(&diff.value))
            }
            JsonDiffOperation::Insert => {
                format!("JSON_SET({sql}, {path}, CAST({} AS JSON))", literal(&diff.value))
            }
            JsonDiffOperation::Remove => format!("JSON_REMOVE({sql}, {path})"),
        };
    }
    sql
}

#[test]
fn differences_make_the_new_document_of_the_old_one() {
    let mut random = StdRng::seed_from_u64(seed());
    for options in [
        &["--binlog-row-image=FULL"][..],
        &["--binlog-row-image=MINIMAL", "--binlog-transaction-compression=ON"],
    ] {
        let options = options.iter().copied().chain(["--binlog-row-value-options=PARTIAL_JSON"]);
        let server = Server::start(ServerOptions::new(Version::Mysql97).args(options)).unwrap();
        let mut conn = server.root();
        conn.query_drop("CREATE DATABASE shop").unwrap();
        // More JSON columns than the statements touch: their bits are there nevertheless.
        conn.query_drop("CREATE TABLE shop.j (a JSON, id INT PRIMARY KEY, b JSON, n INT, c JSON)").unwrap();
        let mut expected = Vec::new();
        for id in 0..60 {
            let [a, b] = [0; 2].map(|_| document(&mut random, true, 4));
            let (a, b) = (
                format!("JSON_ARRAY({a}, {b}, 1, 2, 3)"),
                format!("JSON_OBJECT('k', {b}, 'pad', REPEAT('p', 2000))"),
            );
            let insert = format!("INSERT INTO shop.j VALUES ({a}, {id}, {b}, 0, JSON_ARRAY({b}))");
            conn.query_drop(&insert).unwrap_or_else(|error| panic!("{error} in {insert:.3000}"));
            for _ in 0..4 {
                let value = document(&mut random, true, 2);
                let set = match random.random_range(0..6) {
                    0 => format!("a = JSON_SET(a, '$[1]', {value})"),
                    1 => format!("b = JSON_SET(b, '$.k', {value}, '$.\"new key\"', {value})"),
                    2 => "a = JSON_REMOVE(a, '$[0]'), b = JSON_REMOVE(b, '$.k')".to_owned(),
                    3 => format!("c = JSON_REPLACE(c, '$[0].k', {value}), n = n + 1"),
                    4 => format!("a = JSON_SET(a, '$[10]', {value}), c = NULL"),
                    _ => format!("b = JSON_SET(b, '$.k', JSON_ARRAY({value})), a = JSON_ARRAY({value})"),
                };
                let select = format!(
                    "SELECT CAST(a AS CHAR), CAST(b AS CHAR), CAST(c AS CHAR) FROM shop.j WHERE id = {id}"
                );
                type Texts = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);
                let before: Texts = conn.query_first(&select).unwrap().unwrap();
                conn.query_drop(format!("UPDATE shop.j SET {set} WHERE id = {id}")).unwrap();
                let changed_count = conn.affected_rows();
                let after: Texts = conn.query_first(&select).unwrap().unwrap();
                if changed_count > 0 {
                    expected.push(([before.0, before.1, before.2], [after.0, after.1, after.2]));
                }
            }
        }
        let log = Log::read(&server, &|_| Vec::new());
        assert!(log.count(EventType::PartialUpdateRows) > 20);
        let updates = log.of("j").into_iter().filter_map(|change| match change {
            RowChange::Update { after, .. } => Some(after),
            _ => None,
        });
        let updates: Vec<_> = updates.collect();
        assert_eq!(updates.len(), expected.len());
        let mut diff_count = 0;
        for (update, (before, after)) in updates.into_iter().zip(expected) {
            for (place, column) in [0, 2, 4].into_iter().enumerate() {
                let after = after[place].clone().unwrap_or(b"NULL".to_vec());
                match &update[column] {
                    Value::JsonDiff(diffs) => {
                        let sql = format!(
                            "SELECT CAST({} AS CHAR)",
                            applied(before[place].as_ref().unwrap(), diffs)
                        );
                        let made: Option<Vec<u8>> = conn.query_first(sql).unwrap().unwrap();
                        assert!(made.unwrap() == after, "the differences make another document");
                        diff_count += diffs.len();
                    }
                    Value::Absent => assert!(before[place].clone().unwrap_or(b"NULL".to_vec()) == after),
                    whole => assert!(json(whole) == after),
                }
            }
        }
        assert!(diff_count > 20);
    }
}
