//! Doors for the fuzz targets: bytes in, nothing out, never a panic.
use crate::binlog::{
    BinlogFile, ChecksumAlgorithm, Event, EventHeader, EventType, RawEvent, RowDecoder, RowsEvent, TableMap,
    json_diffs, json_text,
};

/// No input makes a compressed transaction larger than this.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

/// Reads bytes as an event with and without a checksum, as a file, and as a table map with row events.
///
/// The first byte chooses an event type, the next two the length of the table map.
pub fn decode_event(bytes: &[u8]) {
    for checksum in [ChecksumAlgorithm::None, ChecksumAlgorithm::Crc32] {
        if let Ok(event) = RawEvent::parse(bytes, checksum) {
            read(&event);
        }
    }
    if let Ok(file) = BinlogFile::new(bytes) {
        file.map_while(Result::ok).for_each(|event| read(&event));
    }
    let Some(([code, low, high], rest)) = bytes.split_first_chunk() else { return };
    // Without a checksum to guess, mutations reach further.
    read(&with_type(EventType::from_code(*code), rest));
    let Some((map, rows)) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into()) else { return };
    let Ok(map) = TableMap::parse(map) else { return };
    let Ok(decoder) = RowDecoder::new(&map, &[]) else { return };
    for event_type in
        [EventType::WriteRows, EventType::UpdateRows, EventType::PartialUpdateRows, EventType::DeleteRowsV1]
    {
        let Ok(event) = RowsEvent::parse(&with_type(event_type, rows)) else { continue };
        let Ok(rows) = event.rows(&decoder) else { continue };
        if let Ok(changes) = rows.collect::<Result<Vec<_>, _>>() {
            // What can be decoded can be stepped over, and has as many rows.
            let row_count = event.row_count(&decoder);
            assert!(row_count.is_ok_and(|row_count| usize::try_from(row_count) == Ok(changes.len())));
        }
    }
}

/// Reads bytes as a JSON document and as differences; what is printed is at most some times as long.
pub fn decode_json(bytes: &[u8]) {
    if let Ok(text) = json_text(bytes) {
        // A control character is six bytes; a number of eight bytes has up to 34; a decimal of two shows up to 40.
        assert!(text.len() <= 40 * bytes.len() + 40);
    }
    let _ = json_diffs(bytes);
}

/// Reads bytes as a file of the spool; an event takes at least its length and its header.
pub fn read_segment(bytes: &[u8]) {
    // Compression makes many events of few bytes; 1 GiB of them is not a matter of few bytes.
    assert!(crate::spool::count_events(bytes) < 1 << 26);
}

fn with_type(event_type: EventType, body: &[u8]) -> RawEvent<'_> {
    let header = EventHeader { timestamp: 0, event_type, server_id: 0, event_size: 0, log_pos: 0, flags: 0 };
    RawEvent { header, body }
}

fn read(event: &RawEvent<'_>) {
    let Ok(Event::TransactionPayload(payload)) = Event::parse(event) else { return };
    let Ok(mut events) = payload.events(PAYLOAD_BYTES_MAX) else { return };
    while let Ok(Some(event)) = events.next_event() {
        let _ = Event::parse(&event);
    }
}
