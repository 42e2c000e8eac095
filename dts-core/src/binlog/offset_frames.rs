//! Gives the transactions of a log without GTIDs names: a GTID event of [`LogOffsets`] before each.
use super::event::{EventHeader, EventType, RawEvent};
use super::group::{GroupEdge, GroupTracker};
use super::gtid_event::GtidEvent;
use super::{Rotate, refused};
use crate::data::{GtidSet, LogOffsets};
use crate::error::Result;

/// An event that is in no log.
pub type MadeEvent = (EventHeader, Vec<u8>);

/// What becomes of an event.
#[derive(Debug, Default)]
pub struct Framed {
    /// To be handed out before it.
    pub begins: Option<MadeEvent>,
    /// Whether it is to be handed out.
    pub keep: bool,
}

/// Follows the events of a log from a place on, and puts a GTID event before every transaction. Transactions that are known are
/// left out, as a source with GTIDs leaves them out.
#[derive(Debug)]
pub struct OffsetFrames {
    known: GtidSet,
    at: LogOffsets,
    /// The number of the last transaction that began, or of the end that was told.
    before: u64,
    tracker: GroupTracker,
    skips: bool,
}

impl OffsetFrames {
    /// Starts where `known` has its first gap; `None` when it is no set of offsets.
    pub fn new(known: &GtidSet) -> Option<Self> {
        let (at, before) = LogOffsets::frontier(known)?;
        Some(OffsetFrames { known: known.clone(), at, before, tracker: GroupTracker::new(), skips: false })
    }

    /// Returns the place behind the last event taken; at first, where the stream must begin.
    pub fn place(&self) -> LogOffsets {
        self.at
    }

    /// Begins elsewhere: at an earlier place in the same file.
    pub fn begin_at(&mut self, at: LogOffsets) {
        self.at = at;
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// As [`GroupTracker::take`]; [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a file without a number.
    pub fn take(&mut self, event: &RawEvent<'_>) -> Result<Framed> {
        let start = self.at;
        match event.header.event_type {
            EventType::Rotate => {
                let rotate = Rotate::parse(event.body)?;
                let coordinates = crate::data::BinlogCoordinates::new(rotate.file, rotate.position);
                self.at = LogOffsets::of(&coordinates)
                    .ok_or_else(|| refused(format!("the log file of {coordinates} has no usable number")))?;
                self.tracker.reset();
                self.skips = false;
                return Ok(Framed { begins: None, keep: true });
            }
            EventType::Heartbeat | EventType::HeartbeatV2 => return Ok(Framed { begins: None, keep: true }),
            // The header's position wraps at 4 GiB; events that the server made up have none.
            _ if event.header.log_pos != 0 => self.at.offset = unwrapped(start.offset, event.header.log_pos),
            _ => {}
        }
        let names_itself = matches!(
            event.header.event_type,
            EventType::Gtid | EventType::AnonymousGtid | EventType::GtidTagged
        );
        let begins = !self.tracker.is_inside()
            && (names_itself
                || matches!(event.header.event_type, EventType::Query | EventType::TransactionPayload));
        let mut framed = Framed { begins: None, keep: !names_itself };
        if begins {
            let number = LogOffsets::new(start.file, start.offset)
                .ok_or_else(|| refused("the binary log's file is too large to be followed by position"))?
                .transaction();
            let made = gtid_event(self.before, number, event.header.timestamp);
            self.tracker.take(&RawEvent { header: made.0, body: &made.1 })?;
            self.skips = LogOffsets::has(&self.known, number);
            self.before = self.before.max(number);
            framed.begins = (!self.skips).then_some(made);
        }
        let edge = if names_itself { GroupEdge::Inside } else { self.tracker.take(event)? };
        if self.skips && edge != GroupEdge::Outside {
            framed.keep = false;
            self.skips = !matches!(edge, GroupEdge::Ends(_));
        }
        Ok(framed)
    }

    /// Returns whether [`end`](Self::end) has something to tell.
    pub fn has_end(&self) -> bool {
        !self.tracker.is_inside() && self.at.end_here() > self.before
    }

    /// Makes an empty transaction that says that the log ends here, for now; to be asked for when nothing more has come.
    /// `now` in seconds since 1970.
    pub fn end(&mut self, now: u32) -> Option<[MadeEvent; 3]> {
        if !self.has_end() {
            return None;
        }
        let number = self.at.end_here();
        let gtid = gtid_event(self.before, number, now);
        self.before = number;
        let query = |text: &str| made(EventType::Query, [&[0; 14][..], text.as_bytes()].concat(), now);
        Some([gtid, query("BEGIN"), query("COMMIT")])
    }
}

/// Makes a whole offset of the low 32 bits of one that is not before `start`.
fn unwrapped(start: u64, low: u32) -> u64 {
    const WRAP: u64 = 1 << 32;
    let near = (start & !(WRAP - 1)) | u64::from(low);
    if near < start { near + WRAP } else { near }
}

fn gtid_event(before: u64, number: u64, timestamp: u32) -> MadeEvent {
    made(EventType::Gtid, GtidEvent::body_of_offsets(before, number), timestamp)
}

fn made(event_type: EventType, body: Vec<u8>, timestamp: u32) -> MadeEvent {
    let event_size = u32::try_from(EventHeader::LENGTH + body.len()).unwrap_or(u32::MAX);
    let header = EventHeader { timestamp, event_type, server_id: 0, event_size, log_pos: 0, flags: 0x20 };
    (header, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of 5.6: events with their ends, each 100 bytes.
    struct Log {
        frames: OffsetFrames,
        at: u64,
        /// What came out: `G` and the span, `.` for an event that was kept.
        out: String,
    }

    impl Log {
        fn from(known: &GtidSet) -> Log {
            let frames = OffsetFrames::new(known).unwrap();
            let at = frames.place().offset;
            Log { frames, at, out: String::new() }
        }

        fn show(&mut self, made: &MadeEvent) {
            let event = GtidEvent::parse(&made.1).unwrap();
            let numbers = event.span().numbers;
            self.out += &format!("G{}-{} ", numbers.start % 100_000, numbers.end % 100_000 - 1);
        }

        fn event(&mut self, event_type: EventType, body: &[u8]) {
            self.at += 100;
            let log_pos = u32::try_from(self.at & 0xffff_ffff).unwrap();
            let header =
                EventHeader { timestamp: 5, event_type, server_id: 1, event_size: 100, log_pos, flags: 0 };
            let framed = self.frames.take(&RawEvent { header, body }).unwrap();
            if let Some(made) = &framed.begins {
                self.show(made);
            }
            self.out += if framed.keep { ". " } else { "" };
        }

        fn query(&mut self, text: &str) {
            self.event(EventType::Query, &[&[0; 14][..], text.as_bytes()].concat());
        }

        fn transaction(&mut self) {
            self.query("BEGIN");
            self.event(EventType::TableMap, b"");
            self.event(EventType::Xid, &[0; 8]);
        }

        fn rotate(&mut self, file: &str) {
            let header = EventHeader {
                timestamp: 0,
                event_type: EventType::Rotate,
                server_id: 1,
                event_size: 0,
                log_pos: 0,
                flags: 0x20,
            };
            let body = [&4_u64.to_le_bytes()[..], file.as_bytes()].concat();
            assert!(self.frames.take(&RawEvent { header, body: &body }).unwrap().keep);
            self.at = 4;
        }

        fn idle(&mut self) {
            if let Some([gtid, ..]) = self.frames.end(9) {
                self.show(&gtid);
            }
            assert!(self.frames.end(9).is_none());
        }
    }

    #[test]
    fn transactions_get_spans_without_gaps() {
        let p0 = LogOffsets::new(0, 4).unwrap().all_before();
        let mut log = Log::from(&p0);
        log.event(EventType::FormatDescription, b"");
        log.transaction();
        log.query("DROP TABLE t");
        log.idle();
        log.transaction();
        log.rotate("b.000000");
        // 104 -> 209, 404 -> 809, end 504 -> 1008, 504 -> 1009.
        assert_eq!(log.out, ". G9-209 . . . G210-809 . G810-1008 G1009-1009 . . . ");
    }

    #[test]
    fn what_is_known_is_left_out() {
        let mut known = LogOffsets::new(0, 104).unwrap().all_before();
        LogOffsets::span(208, 209).add_to(&mut known);
        // The second of three was applied by another worker.
        LogOffsets::span(809, 1409).add_to(&mut known);
        let mut log = Log::from(&known);
        assert_eq!(log.frames.place().offset, 104);
        (0..5).for_each(|_| log.transaction());
        assert_eq!(log.out, "G210-809 . . . G1410-2009 . . . G2010-2609 . . . ");
    }

    #[test]
    fn offsets_go_beyond_four_gibibytes() {
        let start = (1 << 32) - 150;
        let mut log = Log::from(&LogOffsets::new(0, start).unwrap().all_before());
        log.transaction();
        assert_eq!(log.frames.place().offset, start + 300);
        assert_eq!((unwrapped(10, 10), unwrapped(1 << 32, 1)), (10, (1 << 32) + 1));
    }

    #[test]
    fn anonymous_gtids_are_replaced() {
        let mut log = Log::from(&LogOffsets::new(0, 4).unwrap().all_before());
        log.event(EventType::AnonymousGtid, &[0; 25]);
        log.query("BEGIN");
        log.event(EventType::Xid, &[0; 8]);
        assert_eq!(log.out, "G9-9 . . ");
    }
}
