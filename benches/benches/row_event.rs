//! The hot path of apply: a row event of the log to values, and values to the text of a statement.
//!
//! `cargo bench -p dts-bench --bench row_event`
//!
//! Time is per row event (one row of sysbench: id, k, c CHAR(120), pad CHAR(60)).
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use dts_core::binlog::{ColumnHint, EventHeader, EventType, RawEvent, RowDecoder, RowsEvent, TableMap};
use dts_core::data::{Column, ColumnKind, Index, IndexPart, RowImage, TableName, TableSchema};
use dts_core::sql::write::{InsertForm, TableWriter};

const TABLE: u64 = 108;
const TEXT: &[u8] = b"68487932199-96439406143-93774651418-41631865787-96406072701-20604855487-25459966574-28203206787-41238978918-19503783441";
/// A statement's worth of text.
const STATEMENT: usize = 128 << 10;

fn table_map() -> Vec<u8> {
    let mut body = TABLE.to_le_bytes()[..6].to_vec();
    body.extend_from_slice(&[1, 0, 6]);
    body.extend_from_slice(b"sbtest\0\x07sbtest1\0");
    // LONG, LONG, STRING(120), STRING(60); none may be NULL.
    body.extend_from_slice(&[4, 3, 3, 254, 254, 4, 254, 120, 254, 60, 0]);
    body
}

fn push_row(body: &mut Vec<u8>, id: u32, k: u32) {
    body.push(0);
    body.extend_from_slice(&id.to_le_bytes());
    body.extend_from_slice(&k.to_le_bytes());
    for text in [TEXT, &TEXT[..59]] {
        body.push(u8::try_from(text.len()).expect("short"));
        body.extend_from_slice(text);
    }
}

/// A version 1 row event, as 5.6 logs it under RDS's settings.
fn update() -> Vec<u8> {
    let mut body = TABLE.to_le_bytes()[..6].to_vec();
    body.extend_from_slice(&[1, 0, 4, 0xff, 0xff]);
    push_row(&mut body, 500_001, 249_937);
    push_row(&mut body, 500_001, 249_938);
    body
}

fn header(event_type: EventType, body: &[u8]) -> EventHeader {
    let event_size = u32::try_from(body.len() + EventHeader::LENGTH).expect("small");
    EventHeader { timestamp: 1, event_type, server_id: 1, event_size, log_pos: 4, flags: 0 }
}

fn schema() -> TableSchema {
    let column = |name: &str, kind, type_text: &str, charset: Option<&str>| Column {
        name: name.into(),
        kind,
        type_text: type_text.into(),
        nullable: false,
        unsigned: false,
        charset: charset.map(Into::into),
        collation: charset.map(|charset| format!("{charset}_general_ci")),
        generated: false,
        invisible: false,
        auto_increment: false,
    };
    let index = |name: &str, unique, column| Index {
        name: name.into(),
        unique,
        parts: vec![IndexPart { column: Some(column), prefix: None }],
        index_type: "BTREE".into(),
    };
    TableSchema {
        name: TableName::new("sbtest", "sbtest1"),
        columns: vec![
            column("id", ColumnKind::Integer(4), "int", None),
            column("k", ColumnKind::Integer(4), "int", None),
            column("c", ColumnKind::Text, "char(120)", Some("utf8mb3")),
            column("pad", ColumnKind::Text, "char(60)", Some("utf8mb3")),
        ],
        indexes: vec![index("PRIMARY", true, 0), index("k_1", false, 1)],
        foreign_keys: Vec::new(),
        engine: "InnoDB".into(),
        charset: "utf8mb3".into(),
        collation: "utf8mb3_general_ci".into(),
        rows_estimated: 500_000,
        data_bytes: 0,
        index_bytes: 0,
        partitioned: false,
    }
}

fn decode_and_write(criterion: &mut Criterion) {
    let map = TableMap::parse(&table_map()).expect("a table map");
    let decoder = RowDecoder::new(&map, &[ColumnHint::default(); 4]).expect("a decoder");
    let body = update();
    let raw = RawEvent { header: header(EventType::UpdateRowsV1, &body), body: &body };
    let (mut before, mut after) = (RowImage::new(), RowImage::new());
    let mut group = criterion.benchmark_group("row_event");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode an update", |bencher| {
        bencher.iter(|| {
            let rows = RowsEvent::parse(black_box(&raw)).expect("a row event");
            let mut rows = rows.rows(&decoder).expect("its decoder");
            assert!(rows.read_into(&mut before, &mut after).expect("a row"));
        });
    });
    group.finish();

    let writer = TableWriter::new(schema(), true);
    let mut group = criterion.benchmark_group("statement");
    let mut sql = Vec::with_capacity(STATEMENT + 4096);
    let full = |sql: &mut Vec<u8>| {
        if sql.len() >= STATEMENT {
            sql.clear();
        }
    };
    group.bench_function("a row of a multi-row upsert", |bencher| {
        bencher.iter(|| {
            full(&mut sql);
            sql.push(b',');
            writer.push_row(&mut sql, black_box(&before), black_box(&after)).expect("a row")
        });
    });
    group.bench_function("an upsert of one row", |bencher| {
        bencher.iter(|| {
            full(&mut sql);
            writer.begin_insert(&mut sql);
            writer.push_row(&mut sql, black_box(&before), black_box(&after)).expect("a row");
            writer.end_insert(&mut sql, InsertForm::Upsert);
        });
    });
    group.bench_function("an update of one row", |bencher| {
        bencher.iter(|| {
            full(&mut sql);
            writer.push_update(&mut sql, black_box(&before), black_box(&after)).expect("a row")
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decode_and_write(&mut criterion);
    criterion.final_summary();
}
