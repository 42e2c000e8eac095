use proptest::prelude::*;

use super::*;
use crate::binlog::table_map::column_type as ty;
use crate::binlog::table_map::tests::body;
use crate::binlog::{ChecksumAlgorithm, Event, EventHeader};
use crate::error::ErrorKind;

/// Makes a whole event with its checksum.
fn packet(event_type: EventType, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![1, 0, 0, 0, event_type.code(), 7, 0, 0, 0];
    packet.extend(u32::try_from(19 + body.len() + 4).unwrap().to_le_bytes());
    packet.extend([0, 1, 0, 0, 0, 0]);
    packet.extend(body);
    packet.extend(crc32fast::hash(&packet).to_le_bytes());
    packet
}

fn raw(event_type: EventType, body: &[u8]) -> RawEvent<'_> {
    let header = EventHeader { timestamp: 0, event_type, server_id: 1, event_size: 0, log_pos: 0, flags: 0 };
    RawEvent { header, body }
}

/// The head of a row event: table 9, statement end, extra data in version 2.
fn head(is_v2: bool, column_count: u8, bitmaps: &[u8]) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
    if is_v2 {
        body.extend([5, 0, 1, 2, 3]);
    }
    body.push(column_count);
    body.extend(bitmaps);
    body
}

/// `id INT, name VARCHAR(20) NULL, balance BIGINT`
fn orders() -> TableMap {
    let columns: &[(u8, &[u8])] = &[(ty::LONG, &[]), (ty::VARCHAR, &[20, 0]), (ty::LONGLONG, &[])];
    TableMap::parse(&body(columns, &[])).unwrap()
}

fn changes(event: &RowsEvent<'_>, decoder: &RowDecoder) -> Result<Vec<RowChange>> {
    let changes = event.rows(decoder)?.collect::<Result<Vec<_>>>()?;
    assert_eq!(event.row_count(decoder).unwrap(), u64::try_from(changes.len()).unwrap());
    Ok(changes)
}

fn name(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

#[test]
fn inserts_of_both_versions() {
    let decoder = RowDecoder::new(&orders(), &[]).unwrap();
    let rows = [&[0, 1, 0, 0, 0, 2][..], b"ab", &[5, 0, 0, 0, 0, 0, 0, 0], &[0b010, 2, 0, 0, 0], &[0xff; 8]]
        .concat();
    for (event_type, is_v2) in [(EventType::WriteRows, true), (EventType::WriteRowsV1, false)] {
        let body = [head(is_v2, 3, &[0b111]), rows.clone()].concat();
        let event = RowsEvent::parse(&raw(event_type, &body)).unwrap();
        assert!(event.is_full() && event.is_statement_end() && event.has_after(2) && !event.has_after(3));
        let changes = changes(&event, &decoder).unwrap();
        assert_eq!(
            changes,
            [
                RowChange::Insert { after: vec![Value::Int(1), name("ab"), Value::Int(5)] },
                RowChange::Insert { after: vec![Value::Int(2), Value::Null, Value::Int(-1)] },
            ]
        );
    }
}

// maxwell#198: the null bitmap has a bit per column of the image, not of the table.
#[test]
fn minimal_images_hold_some_columns() {
    let decoder = RowDecoder::new(&orders(), &[ColumnHint::new(true, false)]).unwrap();
    let rows = [&[0, 1, 0, 0, 0][..], &[0b01, 5, 0, 0, 0, 0, 0, 0, 0]].concat();
    let body = [head(true, 3, &[0b001, 0b110]), rows].concat();
    let event = RowsEvent::parse(&raw(EventType::UpdateRows, &body)).unwrap();
    assert!(!event.is_full() && event.has_before(0) && !event.has_before(1));
    let before = vec![Value::UInt(1), Value::Absent, Value::Absent];
    let after = vec![Value::Absent, Value::Null, Value::Int(5)];
    assert_eq!(changes(&event, &decoder).unwrap(), [RowChange::Update { before: before.clone(), after }]);
    let body = [head(false, 3, &[0b001]), vec![0, 1, 0, 0, 0]].concat();
    let event = RowsEvent::parse(&raw(EventType::DeleteRowsV1, &body)).unwrap();
    assert_eq!(changes(&event, &decoder).unwrap(), [RowChange::Delete { before }]);
}

#[test]
fn a_row_without_bytes_is_damaged() {
    let decoder = RowDecoder::new(&orders(), &[]).unwrap();
    let body = head(true, 3, &[0]);
    let event = RowsEvent::parse(&raw(EventType::WriteRows, &body)).unwrap();
    assert_eq!(changes(&event, &decoder).unwrap(), []);
    // Bytes that belong to no column would be read for ever.
    let body = [body, vec![1]].concat();
    let event = RowsEvent::parse(&raw(EventType::WriteRows, &body)).unwrap();
    assert!(event.rows(&decoder).unwrap().next().unwrap().is_err());
    assert!(event.row_count(&decoder).is_err());
}

#[test]
fn partial_updates_have_a_bit_per_json_column_of_the_table() {
    let columns: &[(u8, &[u8])] = &[(ty::JSON, &[4]), (ty::LONG, &[]), (ty::JSON, &[4])];
    let decoder = RowDecoder::new(&TableMap::parse(&body(columns, &[])).unwrap(), &[]).unwrap();
    let removed = b"\x02\x03$.a";
    // The after image holds the two last columns; the second JSON column is a difference.
    let rows = [&[0, 7, 0, 0, 0][..], &[1, 0b10], &[0, 8, 0, 0, 0], &[5, 0, 0, 0], removed].concat();
    let body = [head(true, 3, &[0b010, 0b110]), rows].concat();
    let event = RowsEvent::parse(&raw(EventType::PartialUpdateRows, &body)).unwrap();
    let mut changes = changes(&event, &decoder).unwrap();
    let Some(RowChange::Update { before, after }) = changes.pop() else { panic!("{changes:?}") };
    assert_eq!(before, [Value::Absent, Value::Int(7), Value::Absent]);
    assert_eq!(after[..2], [Value::Absent, Value::Int(8)]);
    assert!(matches!(&after[2], Value::JsonDiff(diffs) if diffs.len() == 1));
}

#[test]
fn images_are_used_again() {
    let decoder = RowDecoder::new(&orders(), &[]).unwrap();
    let body = [head(true, 3, &[0b101]), vec![0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0], vec![0b11]].concat();
    let event = RowsEvent::parse(&raw(EventType::WriteRows, &body)).unwrap();
    let (mut before, mut after) = (RowImage::new(), RowImage::new());
    let mut rows = event.rows(&decoder).unwrap();
    assert!(rows.read_into(&mut before, &mut after).unwrap());
    assert_eq!((before.len(), after.as_slice()), (0, &[Value::Int(1), Value::Absent, Value::Int(5)][..]));
    assert!(rows.read_into(&mut before, &mut after).unwrap());
    assert_eq!(after, [Value::Null, Value::Absent, Value::Null]);
    assert!(!rows.read_into(&mut before, &mut after).unwrap());
}

#[test]
fn another_tables_decoder_is_refused() {
    let mut map = orders();
    map.table_id = 10;
    let decoder = RowDecoder::new(&map, &[]).unwrap();
    let body = [head(true, 3, &[0b111])].concat();
    let event = RowsEvent::parse(&raw(EventType::WriteRows, &body)).unwrap();
    assert!(event.rows(&decoder).is_err());
}

#[test]
fn a_cut_event_is_damaged_and_ends() {
    let decoder = RowDecoder::new(&orders(), &[]).unwrap();
    let rows = [&[0, 1, 0, 0, 0, 2][..], b"ab", &[5, 0, 0, 0, 0, 0, 0, 0]].concat();
    let whole = [head(true, 3, &[0b111]), rows].concat();
    for length in 0..whole.len() {
        let Ok(event) = RowsEvent::parse(&raw(EventType::WriteRows, &whole[..length])) else { continue };
        let mut rows = event.rows(&decoder).unwrap();
        if event.row_bytes() > 0 {
            assert!(matches!(rows.next().unwrap().unwrap_err().kind(), ErrorKind::BinlogDamaged { .. }));
        }
        assert!(rows.next().is_none());
    }
}

#[test]
fn checksums_are_verified() {
    let whole = packet(EventType::Xid, &[1, 0, 0, 0, 0, 0, 0, 0]);
    let event = RawEvent::parse(&whole, ChecksumAlgorithm::Crc32).unwrap();
    assert_eq!(Event::parse(&event).unwrap(), Event::Xid(1));
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        assert!(RawEvent::parse(&damaged, ChecksumAlgorithm::Crc32).is_err(), "{byte}");
    }
    for length in 0..whole.len() {
        assert!(RawEvent::parse(&whole[..length], ChecksumAlgorithm::Crc32).is_err());
        assert!(RawEvent::parse(&whole[..length], ChecksumAlgorithm::None).is_err());
    }
}

fn format_description(version: &str, algorithm: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0];
    body.extend(version.as_bytes());
    body.resize(52, 0);
    body.extend([0, 0, 0, 0, 19]);
    let mut lengths = vec![0; 42];
    for (event_type, length) in [(EventType::Query, 13), (EventType::TableMap, 8), (EventType::WriteRows, 10)]
    {
        lengths[usize::from(event_type.code()) - 1] = length;
    }
    body.extend(lengths);
    body.extend(algorithm);
    body
}

#[test]
fn format_descriptions_bring_their_own_checksum() {
    for (code, checksum) in [(0, ChecksumAlgorithm::None), (1, ChecksumAlgorithm::Crc32)] {
        let mut whole = packet(EventType::FormatDescription, &format_description("5.6.24-log", &[code]));
        // Set after the checksum was computed, while the file is written to.
        whole[17] |= 1;
        for asked in [ChecksumAlgorithm::None, ChecksumAlgorithm::Crc32] {
            let event = RawEvent::parse(&whole, asked).unwrap();
            let Event::FormatDescription(description) = Event::parse(&event).unwrap() else { panic!() };
            assert_eq!(description.checksum, checksum);
            assert_eq!(description.server_version, "5.6.24-log");
            assert_eq!(description.header_lengths.len(), 42);
        }
        whole[30] ^= 1;
        assert!(RawEvent::parse(&whole, ChecksumAlgorithm::None).is_err());
    }
    // 5.5 knows no checksums.
    let body = format_description("5.5.60-log", &[]);
    assert_eq!(crate::binlog::FormatDescription::parse(&body).unwrap().checksum, ChecksumAlgorithm::None);
    let mut body = format_description("8.0.36", &[1]);
    body[57 + 18] = 6;
    let error = crate::binlog::FormatDescription::parse(&body).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::BinlogEvent { .. }), "{error}");
}

proptest! {
    #[test]
    fn any_event_is_safe(code: u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Event::parse(&raw(EventType::from_code(code), &body));
        let _ = RawEvent::parse(&body, ChecksumAlgorithm::Crc32);
    }

    #[test]
    fn damaged_rows_are_safe(
        types in proptest::collection::vec((any::<u8>(), any::<[u8; 4]>()), 1..8),
        event_type in 19_u8..45,
        rows in proptest::collection::vec(any::<u8>(), 0..200),
        meta_length in 0_usize..20,
    ) {
        let mut map = vec![9, 0, 0, 0, 0, 0, 1, 0];
        map.extend(b"\x01a\0\x01b\0");
        map.push(u8::try_from(types.len()).unwrap());
        map.extend(types.iter().map(|(type_code, _)| *type_code));
        let meta: Vec<u8> = types.iter().flat_map(|(_, meta)| *meta).take(meta_length).collect();
        map.push(u8::try_from(meta.len()).unwrap());
        map.extend(meta);
        map.push(0xff);
        let map = TableMap::parse(&map);
        let body = [head(true, u8::try_from(types.len()).unwrap(), &[0xff]), rows].concat();
        let event = RowsEvent::parse(&raw(EventType::from_code(event_type), &body));
        if let (Ok(map), Ok(event)) = (map, event)
            && let Ok(decoder) = RowDecoder::new(&map, &[])
        {
            let _ = changes_of(&event, &decoder);
            let _ = event.row_count(&decoder);
        }
    }

    #[test]
    fn rows_of_possible_columns_are_safe(
        types in proptest::collection::vec(0_usize..12, 1..8),
        event_type in prop_oneof![Just(23_u8), Just(24), Just(25), Just(30), Just(31), Just(32), Just(39)],
        bitmaps: [u8; 2],
        rows in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..300),
    ) {
        const COLUMNS: [(u8, &[u8]); 12] = [
            (ty::LONG, &[]), (ty::VARCHAR, &[20, 0]), (ty::JSON, &[1]), (ty::NEWDECIMAL, &[10, 3]), (ty::TIME2, &[2]),
            (ty::DATETIME2, &[6]), (ty::TIMESTAMP2, &[3]), (ty::BIT, &[1, 1]), (ty::STRING, &[ty::SET, 3]),
            (ty::BLOB, &[2]), (ty::INT24, &[]), (ty::STRING, &[0xfe, 9]),
        ];
        let columns: Vec<(u8, &[u8])> = types.iter().map(|column| COLUMNS[*column]).collect();
        let decoder = RowDecoder::new(&TableMap::parse(&body(&columns, &[])).unwrap(), &[]).unwrap();
        let body = [head(event_type >= 30, u8::try_from(types.len()).unwrap(), &bitmaps), rows].concat();
        if let Ok(event) = RowsEvent::parse(&raw(EventType::from_code(event_type), &body))
            && let Ok(count) = changes_of(&event, &decoder)
        {
            prop_assert_eq!(event.row_count(&decoder).unwrap(), count);
        }
    }
}

fn changes_of(event: &RowsEvent<'_>, decoder: &RowDecoder) -> Result<u64> {
    let mut row_count = 0;
    for change in event.rows(decoder)? {
        change?;
        row_count += 1;
    }
    Ok(row_count)
}
