//! What real servers write into their binary logs decodes to what they print.
//!
//! The files are read from the data folder; what is right is what `SELECT` answers through another client.
#![expect(clippy::print_stdout, reason = "the seed of random documents must be seen when they fail")]
mod every_type;
mod json;
mod log;

use dts_core::binlog::{ColumnHint, EventType, RowChange, TableMap};
use dts_core::data::{RowImage, Value};
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

use self::every_type::{Column, columns};
use self::log::Log;

const SESSION: &str = "SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES'";

/// What the schema of a version without metadata in its table maps has to say.
fn hints_of(columns: &[Column]) -> Vec<ColumnHint> {
    let hint = |column: &Column| {
        let unsigned = column.definition.contains("UNSIGNED") || column.definition.contains("ZEROFILL");
        ColumnHint::new(unsigned, column.definition.starts_with("BINARY"))
    };
    std::iter::once(ColumnHint::default()).chain(columns.iter().map(hint)).collect()
}

/// Makes the table, fills it, changes and empties it; returns what it held.
fn write_every_type(server: &Server, columns: &[Column]) -> Vec<Vec<Option<String>>> {
    let mut conn = server.root();
    conn.query_drop("CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4").unwrap();
    conn.query_drop("USE shop").unwrap();
    conn.query_drop(SESSION).unwrap();
    conn.query_drop("SET NAMES utf8mb4").unwrap();
    let definitions: Vec<String> =
        columns.iter().map(|column| format!("`{}` {}", column.name, column.definition)).collect();
    let table = format!("CREATE TABLE every_type (id INT PRIMARY KEY, {})", definitions.join(", "));
    conn.query_drop(&table).unwrap_or_else(|error| panic!("{error} in {table}"));
    let row_count = columns.iter().map(|column| column.values.len()).max().unwrap() + 1;
    let names: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
    for row in 0..row_count {
        let value = |column: &Column| match column.values.as_slice() {
            [value] if value == "DEFAULT" => "DEFAULT".to_owned(),
            values => values.get(row).cloned().unwrap_or("NULL".to_owned()),
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        let insert = format!(
            "INSERT INTO every_type (id, {}) VALUES ({row}, {})",
            names.join(", "),
            values.join(", ")
        );
        conn.query_drop(&insert).unwrap_or_else(|error| panic!("{error} in {insert}"));
    }
    let expressions: Vec<String> = columns.iter().map(Column::expression).collect();
    let select = format!("SELECT {} FROM every_type ORDER BY id", expressions.join(", "));
    let printed: Vec<mysql::Row> = conn.query(&select).unwrap_or_else(|error| panic!("{error} in {select}"));
    // One statement per row: more than one table map, and more than one event.
    conn.query_drop("UPDATE every_type SET id = id + 1000 ORDER BY id DESC").unwrap();
    conn.query_drop("DELETE FROM every_type ORDER BY id").unwrap();
    printed
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(mysql::from_value::<Option<Vec<u8>>>).map(to_text).collect())
        .collect()
}

fn to_text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes).expect("the server prints UTF-8"))
}

/// Compares an image with what the server printed for its row.
fn assert_image(
    image: &RowImage,
    id_offset: i64,
    columns: &[Column],
    printed: &[Vec<Option<String>>],
    absent: bool,
) {
    assert_eq!(image.len(), columns.len() + 1);
    let Value::Int(id) = &image[0] else { panic!("{:?}", image[0]) };
    let row = usize::try_from(id - id_offset).unwrap();
    for (place, column) in columns.iter().enumerate() {
        let value = &image[place + 1];
        if absent && matches!(value, Value::Absent) {
            continue;
        }
        let printed = printed[row][place].as_deref();
        assert!(
            column.is_equal(value, printed),
            "{} in row {row}: decoded {}, the server prints {printed:?}",
            column.definition,
            Column::show(value)
        );
    }
}

/// Writes every type on a server and compares what its log says; returns the log.
fn check_every_type(options: ServerOptions, use_hints: bool) -> Log {
    let server = Server::start(options).unwrap();
    let columns = columns(server.version());
    let printed = write_every_type(&server, &columns);
    let hints =
        |map: &TableMap| if use_hints && map.table == "every_type" { hints_of(&columns) } else { Vec::new() };
    let log = Log::read(&server, &hints);
    let changes = log.of("every_type");
    assert_eq!(changes.len(), printed.len() * 3);
    let absent = log.has_partial_images;
    for change in changes {
        match change {
            RowChange::Insert { after } => assert_image(after, 0, &columns, &printed, absent),
            RowChange::Update { before, after } if absent => {
                assert_image(before, 0, &columns, &printed, true);
                assert!(matches!(after[0], Value::Int(1000..)));
                let present = after.iter().skip(1).filter(|value| **value != Value::Absent).count();
                // MINIMAL: what was set, and generated columns; NOBLOB: all but blobs.
                assert!(present < columns.len());
            }
            RowChange::Update { before, after } => {
                assert_image(before, 0, &columns, &printed, false);
                assert_image(after, 1000, &columns, &printed, false);
            }
            RowChange::Delete { before } => assert_image(before, 1000, &columns, &printed, absent),
        }
    }
    log
}

#[test]
fn every_type_from_5_6() {
    let log = check_every_type(ServerOptions::new(Version::Mysql56), true);
    assert!(log.count(EventType::WriteRows) > 0 && log.formats[0].server_version.starts_with("5.6"));
    assert!(!log.has_partial_images);
}

#[test]
fn every_type_from_5_6_with_rows_of_version_1_and_gtids() {
    let log = check_every_type(ServerOptions::new(Version::Mysql56).rds_like(), true);
    assert!(log.count(EventType::WriteRowsV1) > 0 && log.count(EventType::WriteRows) == 0);
    assert!(log.gtids.iter().enumerate().all(|(place, gtid)| gtid.gno == u64::try_from(place).unwrap() + 1));
}

#[test]
fn every_type_from_5_6_without_checksums() {
    let log = check_every_type(ServerOptions::new(Version::Mysql56).arg("--binlog-checksum=NONE"), true);
    assert_eq!(log.formats[0].checksum, dts_core::binlog::ChecksumAlgorithm::None);
}

#[test]
fn every_type_from_9_7_with_its_own_metadata() {
    let log = check_every_type(ServerOptions::new(Version::Mysql97), false);
    let map = log.last_map("every_type");
    assert_eq!(map.columns[2].unsigned, Some(true));
    assert_eq!(map.columns[2].name, None);
}

#[test]
fn every_type_from_9_7_with_full_metadata_and_small_events() {
    let options = ServerOptions::new(Version::Mysql97);
    let options = options.args(["--binlog-row-metadata=FULL", "--binlog-row-event-max-size=256"]);
    let log = check_every_type(options.arg("--binlog-rows-query-log-events=ON"), false);
    let map = log.last_map("every_type");
    assert_eq!(map.columns[0].name.as_deref(), Some("id"));
    assert_eq!(map.primary_key.as_ref().map(Vec::len), Some(1));
    let columns = columns(Version::Mysql97);
    for (column, wire) in columns.iter().zip(&map.columns[1..]) {
        assert_eq!(wire.name.as_deref(), Some(column.name.as_str()));
        assert_eq!(wire.visible, Some(!column.definition.contains("INVISIBLE")));
        assert_eq!(
            wire.labels.is_some(),
            column.definition.starts_with("ENUM") || column.definition.starts_with("SET")
        );
        assert_eq!(wire.vector_dimensions.is_some(), column.definition.starts_with("VECTOR"));
        if let Some(unsigned) = wire.unsigned {
            let expected = column.definition.contains("UNSIGNED") || column.definition.contains("ZEROFILL");
            // YEAR counts as an unsigned number.
            assert_eq!(unsigned, expected || column.definition == "YEAR", "{}", column.definition);
        }
        if column.definition.contains("BLOB") || column.definition.contains("BINARY") {
            assert_eq!(wire.collation, Some(63), "{}", column.definition);
        }
    }
    assert!(log.count(EventType::UpdateRows) > 10);
    assert!(log.rows_queries.iter().any(|text| text.starts_with("DELETE FROM every_type")));
}

#[test]
fn every_type_from_9_7_compressed() {
    let options = ServerOptions::new(Version::Mysql97).arg("--binlog-transaction-compression=ON");
    let log = check_every_type(options, false);
    assert!(log.count(EventType::TransactionPayload) > 0);
}

#[test]
fn every_type_in_minimal_and_noblob_images() {
    for version in [Version::Mysql56, Version::Mysql97] {
        for image in ["MINIMAL", "NOBLOB"] {
            let options = ServerOptions::new(version).arg(format!("--binlog-row-image={image}"));
            assert!(check_every_type(options, version == Version::Mysql56).has_partial_images);
        }
    }
}

#[test]
fn every_type_from_mariadb() {
    let log = check_every_type(ServerOptions::new(Version::Mariadb1011), true);
    assert!(log.formats[0].is_mariadb());
    assert!(log.count(EventType::MariadbGtid) > 0);
    let full = ServerOptions::new(Version::Mariadb1011).arg("--binlog-row-metadata=FULL");
    assert!(check_every_type(full, false).last_map("every_type").primary_key.is_some());
    // MariaDB can still write the temporal formats of before 5.6.4.
    let server =
        Server::start(ServerOptions::new(Version::Mariadb1011).arg("--mysql56-temporal-format=OFF")).unwrap();
    server.exec(&format!(
        "{SESSION}; CREATE DATABASE shop; CREATE TABLE shop.old (id INT PRIMARY KEY, t TIME, d DATETIME, s TIMESTAMP NULL); \
         INSERT INTO shop.old VALUES (1, '-838:59:59', '9999-12-31 23:59:59', '2038-01-19 03:14:07'), \
         (2, '00:00:00', '0000-00-00', '0000-00-00'), (3, '-00:00:01', '2024-00-00 01:02:03', '1970-01-01 00:00:01')"
    ));
    let log = Log::read(&server, &|_| Vec::new());
    let codes: Vec<u8> = log.last_map("old").columns.iter().map(|column| column.type_code).collect();
    assert_eq!(codes, [3, 11, 12, 7]);
    let texts: Vec<String> = log
        .of("old")
        .iter()
        .map(|change| match change {
            RowChange::Insert { after } => after.iter().map(Column::show).collect::<Vec<_>>().join(" "),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "1 -838:59:59 9999-12-31 23:59:59 2038-01-19 03:14:07",
            "2 00:00:00 0000-00-00 00:00:00 0000-00-00 00:00:00",
            "3 -00:00:01 2024-00-00 01:02:03 1970-01-01 00:00:01"
        ]
    );
}

// So no event holds a row without bytes.
#[test]
fn a_row_of_which_nothing_would_be_logged_is_refused_by_the_server() {
    for version in [Version::Mysql56, Version::Mysql97] {
        let server = Server::start(ServerOptions::new(version).arg("--binlog-row-image=MINIMAL")).unwrap();
        server.exec("CREATE DATABASE shop; CREATE TABLE shop.d (a INT DEFAULT 5, b INT)");
        match server.root().query_drop("INSERT INTO shop.d () VALUES (), ()") {
            Err(mysql::Error::MySqlError(error)) => assert_eq!(error.code, 1534),
            other => panic!("{other:?}"),
        }
        server.exec("INSERT INTO shop.d (b) VALUES (1); UPDATE shop.d SET b = 2");
        let log = Log::read(&server, &|_| Vec::new());
        let shown: Vec<String> = log.of("d").iter().map(|change| format!("{change:?}")).collect();
        // Without a key the update has the whole row before.
        assert_eq!(
            shown,
            ["Insert { after: [Absent, Int] }", "Update { before: [Int, Int], after: [Absent, Int] }"],
            "{version}"
        );
    }
}

#[test]
fn gtids_with_tags_and_previous_gtids() {
    let server = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    server.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); \
         SET gtid_next = 'AUTOMATIC:blue'; INSERT INTO shop.t VALUES (1); INSERT INTO shop.t VALUES (2); \
         SET gtid_next = 'AUTOMATIC:a234567890123456789012345678901x'; INSERT INTO shop.t VALUES (3); \
         SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:red:12345678901'; INSERT INTO shop.t VALUES (4); \
         SET gtid_next = 'AUTOMATIC'; INSERT INTO shop.t VALUES (5); FLUSH BINARY LOGS",
    );
    let log = Log::read(&server, &|_| Vec::new());
    let tagged: Vec<(Option<&str>, u64)> = log
        .gtids
        .iter()
        .map(|gtid| (gtid.tag.as_deref(), gtid.gno))
        .skip_while(|(tag, _)| tag.is_none())
        .collect();
    assert_eq!(
        tagged[..4],
        [
            (Some("blue"), 1),
            (Some("blue"), 2),
            (Some("a234567890123456789012345678901x"), 1),
            (Some("red"), 12_345_678_901)
        ]
    );
    assert_eq!(tagged[4].0, None);
    assert_eq!(log.count(EventType::GtidTagged), 4);
    let uuid = |bytes: &[u8; 16]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    };
    let server_uuid: String = server.query_one("SELECT @@server_uuid");
    for gtid in &log.gtids {
        assert!(gtid.last_committed < gtid.sequence_number);
        assert!(gtid.immediate_commit_timestamp > Some(1_700_000_000_000_000));
        assert_eq!(gtid.original_commit_timestamp, gtid.immediate_commit_timestamp);
        assert!(gtid.transaction_length > Some(0));
        let expected = if gtid.tag.as_deref() == Some("red") {
            "3e11fa47-71ca-11e1-9e33-c80aa9429562"
        } else {
            &server_uuid
        };
        assert_eq!(uuid(&gtid.source_id), expected);
    }
    // The same set as the server prints it.
    let executed: String = server.query_one("SELECT @@gtid_executed");
    let mut printed: Vec<String> = Vec::new();
    for source in &log.previous_gtids.last().expect("every file has one").sources {
        for interval in &source.intervals {
            let tag = source.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            let numbers = match (interval.first, interval.last) {
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            };
            printed.push(format!("{}{tag}:{numbers}", uuid(&source.source_id)));
        }
    }
    let mut expected = Vec::new();
    for part in executed.split(',').map(str::trim) {
        let mut pieces = part.split(':');
        let source = pieces.next().unwrap();
        let mut tag = String::new();
        for piece in pieces {
            if piece.starts_with(|first: char| first.is_ascii_digit()) {
                expected.push(format!("{source}{tag}:{piece}"));
            } else {
                tag = format!(":{piece}");
            }
        }
    }
    printed.sort();
    expected.sort();
    assert_eq!(printed, expected);
}

#[test]
fn statements_with_their_settings_and_xa() {
    for version in Version::ALL {
        let server = Server::start(ServerOptions::new(version)).unwrap();
        server.exec(
            "CREATE DATABASE shop; USE shop; SET sql_mode = 'ANSI_QUOTES', time_zone = '+02:00', NAMES latin1; \
             CREATE TABLE t (id INT PRIMARY KEY, s TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6)); \
             CREATE USER 'u'@'%'; \
             XA START 'x1', 'b'; INSERT INTO t (id) VALUES (1); XA END 'x1', 'b'; XA PREPARE 'x1', 'b'; XA COMMIT 'x1', 'b'; \
             XA START 'x2'; INSERT INTO t (id) VALUES (2); XA END 'x2'; XA COMMIT 'x2' ONE PHASE; DROP TABLE t",
        );
        let log = Log::read(&server, &|_| Vec::new());
        let has = |text: &str| log.statements.iter().any(|(_, statement)| statement.contains(text));
        assert!(has("CREATE DATABASE shop") && has("CREATE TABLE t (id") && has("DROP TABLE"), "{version}");
        assert!(
            log.statements
                .iter()
                .any(|(database, text)| database == "shop" && text.contains("CREATE TABLE t (id"))
        );
        assert_eq!(log.of("t").len(), 2, "{version}");
        if version == Version::Mysql97 {
            assert_eq!(log.prepared, [(false, "x1".to_owned()), (true, "x2".to_owned())]);
        }
    }
}
