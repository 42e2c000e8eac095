//! XA transactions between their XA PREPARE and their end.
use std::collections::HashMap;
use std::sync::Arc;

use crate::binlog::{Event, EventBatch, EventType, RawEvent};
use crate::data::GtidSet;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::sql::statement::StatementKind;

use super::change::Span;
use super::schema_change::SchemaChange;

/// Bytes of events that are held back at most, of all XA transactions together.
const BYTES_MAX: usize = 64 << 20;

/// The events of one XA transaction, not decoded.
pub(super) struct HeldBack {
    /// Its name as the log writes it.
    xid: String,
    events: EventBatch,
}

impl HeldBack {
    pub(super) fn new(xid: &str) -> Self {
        HeldBack { xid: xid.to_owned(), events: EventBatch::default() }
    }

    /// Returns whether an event belongs to the transaction, and not to its frame or to the stream.
    pub(super) fn takes(&self, raw: &RawEvent<'_>) -> Result<bool> {
        Ok(match raw.header.event_type {
            EventType::XaPrepare
            // Its content comes here event by event.
            | EventType::TransactionPayload
            | EventType::Gtid
            | EventType::GtidTagged
            | EventType::AnonymousGtid
            | EventType::Rotate
            | EventType::FormatDescription
            | EventType::Heartbeat
            | EventType::HeartbeatV2 => false,
            EventType::Query => match Event::parse(raw)? {
                Event::Query(query) => {
                    !matches!(SchemaChange::read(&query).statement.kind, StatementKind::XaEnd { .. })
                }
                _ => true,
            },
            _ => true,
        })
    }

    /// Returns the events in order.
    pub(super) fn events(&self) -> impl Iterator<Item = RawEvent<'_>> {
        self.events.events()
    }
}

/// All XA transactions that are prepared, and the bytes of the one that is not yet.
#[derive(Default)]
pub(super) struct Prepared {
    by_xid: HashMap<String, (Arc<Span>, HeldBack)>,
    byte_count: usize,
}

impl Prepared {
    /// Adds an event to a transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] when too much would be held back.
    pub(super) fn hold(&mut self, held_back: &mut HeldBack, raw: &RawEvent<'_>) -> Result<()> {
        self.byte_count += raw.body.len();
        if self.byte_count > BYTES_MAX {
            return Err(Error::from(ErrorKind::Full {
                what: "the room for XA transactions that are prepared".into(),
                limit: format!("{} MiB", BYTES_MAX >> 20),
            })
            .on(Side::Source)
            .with_hint(
                "XA transactions of the source change too much at once, one that ends with XA COMMIT ... ONE PHASE included: it is \
                 in the log for good. End those that XA RECOVER lists there and start a new task, with smaller ones.",
            ));
        }
        held_back.events.push(raw);
        Ok(())
    }

    /// A transaction is prepared.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogDamaged`] when one of the same name is prepared already.
    pub(super) fn add(&mut self, span: Arc<Span>, held_back: HeldBack) -> Result<()> {
        match self.by_xid.insert(held_back.xid.clone(), (span, held_back)) {
            None => Ok(()),
            Some(_) => Err(ErrorKind::BinlogDamaged {
                what: "an XA transaction is prepared under a name that another has".into(),
            }
            .into()),
        }
    }

    /// A transaction ends; returns what it was prepared as, and its events.
    pub(super) fn end(&mut self, xid: &str) -> Option<(Arc<Span>, HeldBack)> {
        let (span, held_back) = self.by_xid.remove(xid)?;
        self.forget_bytes(&held_back);
        Some((span, held_back))
    }

    /// The events of a transaction are no longer held back.
    pub(super) fn forget_bytes(&mut self, held_back: &HeldBack) {
        self.byte_count -= held_back.events.byte_count().min(self.byte_count);
    }

    /// Returns what all of them were prepared as.
    pub(super) fn spans(&self) -> GtidSet {
        let mut set = GtidSet::new();
        self.by_xid.values().for_each(|(span, _)| span.add_to(&mut set));
        set
    }
}
