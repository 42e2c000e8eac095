//! The binary log's format: bytes in, values out. No connection, no I/O.
//!
//! [`RawEvent`] cuts one event out of a packet and proves it undamaged: length and CRC32. [`Event`] is what it says.
//! A [`TableMap`] and the table's [`ColumnHint`]s make a [`RowDecoder`]; with it a [`RowsEvent`] yields one [`RowChange`]
//! per row. A [`TransactionPayload`] holds the events of a compressed transaction. [`BinlogFile`] walks the bytes of a
//! binary log file.
//!
//! Whatever the bytes are, nothing here panics, reads outside of them, recurses without limit, or allocates by a length
//! that the bytes only claim. Bytes that break the format are [`ErrorKind::BinlogDamaged`]; an intact event that
//! cannot be carried is [`ErrorKind::BinlogEvent`]. No error text holds row content.
mod column_value;
mod decimal;
mod event;
mod event_batch;
mod file;
mod format_description;
mod group;
mod gtid_event;
mod heartbeat;
mod json;
mod offset_frames;
mod payload;
mod previous_gtids;
mod query;
mod reader;
mod rotate;
mod rows;
mod table_map;
mod temporal;
mod text;
mod xa_prepare;

use crate::error::{Error, ErrorKind, Result};

pub use self::event::{ChecksumAlgorithm, EventHeader, EventType, RawEvent};
pub use self::event_batch::EventBatch;
pub use self::file::BinlogFile;
pub use self::format_description::FormatDescription;
pub use self::group::{GroupEdge, GroupTracker};
pub use self::gtid_event::{GtidEvent, MariadbGtidEvent};
pub use self::heartbeat::Heartbeat;
pub use self::json::{json_diffs, json_text};
pub use self::offset_frames::{Framed, MadeEvent, OffsetFrames};
pub use self::payload::{PayloadEvents, TransactionPayload};
pub use self::previous_gtids::{GtidInterval, PreviousGtids, PreviousGtidsOf};
pub use self::query::{QueryEvent, StatusVars};
pub use self::rotate::Rotate;
pub use self::rows::{ColumnHint, RowChange, RowDecoder, Rows, RowsEvent, RowsKind};
pub use self::table_map::{KeyPart, TableMap, WireColumn, mapped_name};
pub use self::xa_prepare::XaPrepare;

/// What one event says.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The first event of a file: how the others are laid out.
    FormatDescription(FormatDescription),
    /// The file that comes next; artificial ones name the present file.
    Rotate(Rotate),
    /// A transaction with a GTID begins; also anonymous and tagged ones.
    Gtid(GtidEvent),
    /// A transaction of a MariaDB server begins.
    MariadbGtid(MariadbGtidEvent),
    /// A statement: BEGIN, COMMIT, DDL, or a change logged as a statement.
    Query(QueryEvent<'a>),
    /// A transaction ends with the COMMIT of this number.
    Xid(u64),
    /// The first phase of an XA transaction ends.
    XaPrepare(XaPrepare<'a>),
    /// The source has nothing new.
    Heartbeat(Heartbeat),
    /// The text of the statement that made the row changes that follow (`binlog_rows_query_log_events`).
    RowsQuery(&'a [u8]),
    /// Which table the following row changes are of.
    TableMap(TableMap),
    /// Row changes of one table.
    Rows(RowsEvent<'a>),
    /// The events of a compressed transaction.
    TransactionPayload(TransactionPayload<'a>),
    /// The GTIDs in all files before.
    PreviousGtids(PreviousGtids),
    /// An event whose type is all that is read of it.
    Other(EventType),
}

impl<'a> Event<'a> {
    /// Reads what an event says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BinlogDamaged`] when the bytes are not what the event's type asks for; [`ErrorKind::BinlogEvent`]
    /// when their layout is one that is not known here.
    pub fn parse(event: &RawEvent<'a>) -> Result<Self> {
        let body = event.body;
        Ok(match event.header.event_type {
            EventType::FormatDescription => Event::FormatDescription(FormatDescription::parse(body)?),
            EventType::Rotate => Event::Rotate(Rotate::parse(body)?),
            EventType::Gtid | EventType::AnonymousGtid => Event::Gtid(GtidEvent::parse(body)?),
            EventType::GtidTagged => Event::Gtid(GtidEvent::parse_tagged(body)?),
            EventType::MariadbGtid => Event::MariadbGtid(MariadbGtidEvent::parse(body)?),
            EventType::Query => Event::Query(QueryEvent::parse(body)?),
            EventType::Xid => Event::Xid(reader::Bytes::new(body, "xid event").u64()?),
            EventType::XaPrepare => Event::XaPrepare(XaPrepare::parse(body)?),
            EventType::Heartbeat => Event::Heartbeat(Heartbeat::parse_v1(&event.header, body)?),
            EventType::HeartbeatV2 => Event::Heartbeat(Heartbeat::parse_v2(body)?),
            // The first byte is a length that cannot hold more than 255; the text goes to the end.
            EventType::RowsQuery => Event::RowsQuery(body.get(1..).unwrap_or_default()),
            EventType::MariadbAnnotateRows => Event::RowsQuery(body),
            EventType::TableMap => Event::TableMap(TableMap::parse(body)?),
            EventType::WriteRowsV1
            | EventType::UpdateRowsV1
            | EventType::DeleteRowsV1
            | EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::PartialUpdateRows => Event::Rows(RowsEvent::parse(event)?),
            EventType::TransactionPayload => Event::TransactionPayload(TransactionPayload::parse(body)?),
            EventType::PreviousGtids => Event::PreviousGtids(PreviousGtids::parse(body)?),
            other => Event::Other(other),
        })
    }
}

/// Makes an [`ErrorKind::BinlogDamaged`].
#[cold]
fn damaged(what: impl Into<String>) -> Error {
    ErrorKind::BinlogDamaged { what: what.into() }.into()
}

/// Makes an [`ErrorKind::BinlogEvent`].
#[cold]
fn refused(what: impl Into<String>) -> Error {
    ErrorKind::BinlogEvent { what: what.into() }.into()
}

/// Adds which column an error is about, counted from 1 as the server does.
#[cold]
fn in_column(error: Error, index: usize) -> Error {
    let number = index + 1;
    match error.kind() {
        ErrorKind::BinlogDamaged { what } => damaged(format!("column {number}: {what}")),
        ErrorKind::BinlogEvent { what } => refused(format!("column {number}: {what}")),
        _ => error,
    }
}

/// Makes a `String` of a name on the wire.
fn name(bytes: &[u8], what: &'static str) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(damaged(format!("{what}: a name of {} bytes is not UTF-8", bytes.len()))),
    }
}
