//! What a transaction is called in a set: one number, or a range of them.
use std::fmt;

use super::LogOffsets;
use super::gtid::{Gtid, GtidInterval, GtidSet};

/// What a transaction is called in a checkpoint: an interval of numbers under one UUID. One number for a GTID; the bytes of the log
/// up to where the transaction begins for one without (see [`LogOffsets`](super::LogOffsets)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// The server, or [`LogOffsets::UUID`](super::LogOffsets::UUID).
    pub uuid: [u8; 16],
    /// The tag of the GTID.
    pub tag: Option<Box<str>>,
    /// Never empty.
    pub numbers: GtidInterval,
}

impl Span {
    /// Adds all numbers to a set.
    pub fn add_to(&self, set: &mut GtidSet) {
        set.insert_interval(&self.uuid, self.tag.as_deref(), self.numbers);
    }

    /// Returns whether the transaction is in a set: its last number says so. (The first one depends on what a reader of a log without
    /// GTIDs saw before, and another reader may have seen less.)
    pub fn is_in(&self, set: &GtidSet) -> bool {
        let last = self.numbers.end.saturating_sub(1);
        let intervals = set.intervals(&self.uuid, self.tag.as_deref());
        let after = intervals.partition_point(|interval| interval.start <= last);
        after > 0 && last < intervals[after - 1].end
    }
}

impl From<Gtid> for Span {
    fn from(gtid: Gtid) -> Self {
        let numbers = GtidInterval { start: gtid.gno, end: gtid.gno.saturating_add(1) };
        Span { uuid: gtid.uuid, tag: gtid.tag, numbers }
    }
}

/// Prints as a GTID or an interval of them, as the server does; of a log without GTIDs as the number of the file and the offset.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uuid == LogOffsets::UUID {
            let place = LogOffsets::of_number(self.numbers.end.saturating_sub(1));
            return write!(f, "{:06}:{}", place.file, place.offset);
        }
        let mut set = GtidSet::new();
        self.add_to(&mut set);
        set.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_in_a_set_when_its_last_number_is() {
        let uuid = [7; 16];
        let span = |start, end| Span { uuid, tag: None, numbers: GtidInterval { start, end } };
        let mut set = GtidSet::new();
        span(5, 10).add_to(&mut set);
        for (start, end, inside) in
            [(5, 10, true), (6, 7, true), (4, 6, true), (9, 11, false), (10, 11, false), (1, 2, false)]
        {
            assert_eq!(span(start, end).is_in(&set), inside, "{start}..{end}");
        }
        assert!(!Span { tag: Some("t".into()), ..span(5, 6) }.is_in(&set));
        assert_eq!(span(5, 6).to_string(), "07070707-0707-0707-0707-070707070707:5");
        assert_eq!(span(5, 8).to_string(), "07070707-0707-0707-0707-070707070707:5-7");
        let place = LogOffsets::new(12, 345).expect("a place");
        assert_eq!(LogOffsets::span(9, place.transaction()).to_string(), "000012:345");
    }
}
