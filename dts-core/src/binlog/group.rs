//! Where transactions begin and end, from the types of events alone: nothing is decoded.
use super::event::{EventType, RawEvent};
use super::gtid_event::GtidEvent;
use super::query::QueryEvent;
use super::{damaged, refused};
use crate::data::Span;
use crate::error::Result;

/// What an event is to the transaction under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupEdge {
    /// It belongs to none.
    Outside,
    /// A transaction begins with it.
    Begins(Span),
    /// It is in the middle of one.
    Inside,
    /// It is the last of this one.
    Ends(Span),
}

/// Follows a stream of events from one transaction to the next.
///
/// An end is only what surely is one: XID, COMMIT, ROLLBACK, the prepare of XA, a payload that holds a whole transaction, or a
/// statement that commits by itself. What would follow behind a wrong guess is an error, never a part of the next one.
#[derive(Clone, Default, Debug)]
pub struct GroupTracker {
    group: Option<Span>,
    /// BEGIN was seen.
    open: bool,
}

impl GroupTracker {
    /// Starts between two transactions.
    pub fn new() -> Self {
        GroupTracker::default()
    }

    /// Returns whether a transaction is under way.
    pub fn is_inside(&self) -> bool {
        self.group.is_some()
    }

    /// Forgets the transaction under way: the stream broke.
    pub fn reset(&mut self) {
        *self = GroupTracker::default();
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when transactions overlap or a change is in none;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a transaction without a GTID.
    pub fn take(&mut self, event: &RawEvent<'_>) -> Result<GroupEdge> {
        match event.header.event_type {
            EventType::Gtid | EventType::AnonymousGtid => self.begin(&GtidEvent::parse(event.body)?),
            EventType::GtidTagged => self.begin(&GtidEvent::parse_tagged(event.body)?),
            EventType::Query => self.query(event.body),
            EventType::Xid | EventType::XaPrepare | EventType::TransactionPayload => self.end(),
            // What it announces is told by who applies it.
            EventType::Incident if self.group.is_some() => self.end(),
            EventType::Rotate | EventType::FormatDescription | EventType::PreviousGtids => {
                // A log file ends with a whole transaction, unless the server died in the middle of writing one.
                self.reset();
                Ok(GroupEdge::Outside)
            }
            _ if self.group.is_some() => Ok(GroupEdge::Inside),
            EventType::TableMap
            | EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::WriteRowsV1
            | EventType::UpdateRowsV1
            | EventType::DeleteRowsV1
            | EventType::PartialUpdateRows => Err(damaged("a change of rows belongs to no transaction")),
            _ => Ok(GroupEdge::Outside),
        }
    }

    fn begin(&mut self, event: &GtidEvent) -> Result<GroupEdge> {
        if event.is_anonymous() {
            return Err(refused("a transaction without a GTID (gtid_mode was not ON)"));
        }
        if self.group.is_some() {
            return Err(damaged("a transaction begins inside another"));
        }
        let span = event.span();
        self.group = Some(span.clone());
        self.open = false;
        Ok(GroupEdge::Begins(span))
    }

    fn query(&mut self, body: &[u8]) -> Result<GroupEdge> {
        let statement = QueryEvent::statement_of(body)?;
        let is = |word: &str| statement.trim_ascii().eq_ignore_ascii_case(word.as_bytes());
        let begins = |word: &str| {
            statement.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
        };
        if self.group.is_none() {
            return Err(damaged("a statement belongs to no transaction"));
        }
        if self.open {
            let ends = is("COMMIT") || is("ROLLBACK") || begins("XA COMMIT") || begins("XA ROLLBACK");
            return if ends { self.end() } else { Ok(GroupEdge::Inside) };
        }
        // CREATE TABLE ... SELECT of 8.0.21 and later carries its rows in the same transaction.
        const WITH_ROWS: &[u8] = b"START TRANSACTION";
        let tail = statement.trim_ascii_end();
        let with_rows = tail
            .len()
            .checked_sub(WITH_ROWS.len())
            .and_then(|start| tail.get(start..))
            .is_some_and(|end| end.eq_ignore_ascii_case(WITH_ROWS));
        if is("BEGIN") || begins("XA START") || begins("XA BEGIN") || with_rows {
            self.open = true;
            return Ok(GroupEdge::Inside);
        }
        self.end()
    }

    fn end(&mut self) -> Result<GroupEdge> {
        match self.group.take() {
            Some(span) => {
                self.open = false;
                Ok(GroupEdge::Ends(span))
            }
            None => Err(damaged("a transaction ends that did not begin")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::EventHeader;

    fn take(tracker: &mut GroupTracker, event_type: EventType, body: &[u8]) -> Result<GroupEdge> {
        let header =
            EventHeader { timestamp: 0, event_type, server_id: 1, event_size: 19, log_pos: 0, flags: 0 };
        tracker.take(&RawEvent { header, body })
    }

    fn gtid(gno: u64) -> Vec<u8> {
        [&[1][..], &[7; 16], &gno.to_le_bytes()].concat()
    }

    fn query(text: &str) -> Vec<u8> {
        [&[0; 8][..], &[1, 0, 0, 2, 0, 9, 9], b"d\0", text.as_bytes()].concat()
    }

    /// Takes events and says which transactions ended.
    fn ended(events: &[(EventType, Vec<u8>)]) -> Result<Vec<u64>> {
        let mut tracker = GroupTracker::new();
        let mut ended = Vec::new();
        for (event_type, body) in events {
            if let GroupEdge::Ends(span) = take(&mut tracker, *event_type, body)? {
                ended.push(span.numbers.start);
            }
        }
        Ok(ended)
    }

    #[test]
    fn transactions_of_every_shape() {
        use EventType::{Gtid, Query, Rotate, TableMap, TransactionPayload, WriteRows, XaPrepare, Xid};
        let q = |text: &str| (Query, query(text));
        let events = [
            (Rotate, vec![]),
            (Gtid, gtid(1)),
            q("BEGIN"),
            (TableMap, vec![]),
            (WriteRows, vec![]),
            q("SAVEPOINT a"),
            q("ROLLBACK TO a"),
            (Xid, vec![0; 8]),
            (Gtid, gtid(2)),
            q("ALTER TABLE t ADD a INT"),
            (Gtid, gtid(3)),
            q("begin"),
            q("COMMIT"),
            (Gtid, gtid(4)),
            (TransactionPayload, vec![]),
            (Gtid, gtid(5)),
            q("XA START X'61',X'',1"),
            (WriteRows, vec![]),
            q("XA END X'61',X'',1"),
            (XaPrepare, vec![]),
            (Gtid, gtid(6)),
            q("XA COMMIT X'61',X'',1"),
            (Gtid, gtid(7)),
            q("CREATE TABLE `c` (\n  `a` int\n) START TRANSACTION"),
            (WriteRows, vec![]),
            (Xid, vec![0; 8]),
        ];
        assert_eq!(ended(&events).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_belongs_to_no_transaction_is_an_error() {
        use EventType::{Gtid, Heartbeat, Query, WriteRows, Xid};
        assert!(ended(&[(WriteRows, vec![])]).is_err());
        assert!(ended(&[(Xid, vec![])]).is_err());
        assert!(ended(&[(Query, query("BEGIN"))]).is_err());
        assert!(ended(&[(Gtid, gtid(1)), (Gtid, gtid(2))]).is_err());
        assert!(ended(&[(Gtid, gtid(0))]).is_err());
        assert!(ended(&[(Heartbeat, vec![])]).unwrap().is_empty());
    }
}
