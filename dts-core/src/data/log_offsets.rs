//! Positions of a source without GTIDs, as sets: so that checkpoints of several workers, unions and "includes" are one thing.
//!
//! # The axis
//! A place in the binary log is the number of its file and an offset. Both together are one number on an axis, twice: an even
//! number is the place itself, the odd one behind it is the transaction that begins there.
//!
//! A transaction that begins at `s` is called by the [`Span`] behind the last one that was seen, up to the odd number of `s`. So
//! the spans of a log are disjoint and leave no gap, also from one file to the next, and what a span covers is known when the
//! transaction begins. At the end of the log, where nothing has begun yet, an empty transaction goes up to the even number of
//! that place.
//!
//! "Applied" is then a [`GtidSet`] of one UUID that no server has. A transaction is in it when its last number is. "All up to place
//! p" is `1 ..= even(p)`: it holds what begins before p, and not what begins at p. The end of the first interval is where a
//! stream has to resume: at the place itself when it is even; when it is odd, at the transaction that begins there, which is
//! known to be applied and is left out.
use super::coordinates::BinlogCoordinates;
use super::gtid::{GtidInterval, GtidSet};
use super::span::Span;

/// Bits of the axis for an offset: 256 GiB in a file. The numbers of files then reach to 16 million.
const OFFSET_BITS: u32 = 38;
const OFFSET_MAX: u64 = (1 << OFFSET_BITS) - 1;
const FILE_MAX: u64 = (1 << (62 - OFFSET_BITS)) - 2;

/// A place in the log on the axis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogOffsets {
    /// The number of the file.
    pub file: u64,
    /// The offset in it.
    pub offset: u64,
}

impl LogOffsets {
    /// The UUID that stands for "offsets of a log": `64747320-6c6f-6720-6f66-667365747300`, which is text and no UUID of a server.
    pub const UUID: [u8; 16] = *b"dts log offsets\0";

    /// Returns the place of coordinates; `None` when their file has no number or they are beyond what the axis holds.
    pub fn of(coordinates: &BinlogCoordinates) -> Option<Self> {
        Self::new(coordinates.file_number()?, coordinates.offset)
    }

    /// Returns a place; `None` beyond what the axis holds.
    pub fn new(file: u64, offset: u64) -> Option<Self> {
        (file <= FILE_MAX && (1..=OFFSET_MAX).contains(&offset)).then_some(LogOffsets { file, offset })
    }

    fn even(self) -> u64 {
        ((self.file << OFFSET_BITS) | self.offset) << 1
    }

    /// Returns everything that begins before this place.
    pub fn all_before(self) -> GtidSet {
        let mut set = GtidSet::new();
        set.insert_interval(&Self::UUID, None, GtidInterval { start: 1, end: self.even() + 1 });
        set
    }

    /// Returns the number of the transaction that begins here.
    pub fn transaction(self) -> u64 {
        self.even() + 1
    }

    /// Returns the number of the empty transaction that ends here.
    pub fn end_here(self) -> u64 {
        self.even()
    }

    /// Returns the span that ends with `number`, behind the one that ended with `before`.
    pub fn span(before: u64, number: u64) -> Span {
        let start = before.min(number.saturating_sub(1)) + 1;
        Span { uuid: Self::UUID, tag: None, numbers: GtidInterval { start, end: number.saturating_add(1) } }
    }

    /// Returns where a stream resumes that has brought what is in the set, and the last number of it that has no gap before.
    /// `None` when the set is none of offsets.
    pub fn frontier(set: &GtidSet) -> Option<(Self, u64)> {
        let first = set.intervals(&Self::UUID, None).first().filter(|first| first.start == 1)?;
        let number = first.end - 1;
        Some((Self::of_number(number), number))
    }

    /// Returns the place of a number.
    pub fn of_number(number: u64) -> Self {
        let place = number >> 1;
        LogOffsets { file: place >> OFFSET_BITS, offset: place & OFFSET_MAX }
    }

    /// Returns whether a number is in a set.
    pub fn has(set: &GtidSet, number: u64) -> bool {
        let intervals = set.intervals(&Self::UUID, None);
        let after = intervals.partition_point(|interval| interval.start <= number);
        after > 0 && number < intervals[after - 1].end
    }

    /// Returns whether a set is one of offsets.
    pub fn is_in(set: &GtidSet) -> bool {
        !set.intervals(&Self::UUID, None).is_empty()
    }

    /// Prints a set of offsets as people know it: `file:offset`, of the place up to which everything is in it.
    pub fn shown(set: &GtidSet, log_name: &str) -> Option<BinlogCoordinates> {
        let (place, _) = Self::frontier(set)?;
        Some(place.coordinates(log_name))
    }

    /// Returns the coordinates in a log of this base name.
    pub fn coordinates(self, log_name: &str) -> BinlogCoordinates {
        BinlogCoordinates::new(format!("{log_name}.{:06}", self.file), self.offset)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(file: u64, offset: u64) -> LogOffsets {
        LogOffsets::new(file, offset).unwrap()
    }

    #[test]
    fn order_goes_over_files_and_the_seventh_digit() {
        assert!(place(1, 1 << 37).all_before().is_subset(&place(2, 4).all_before()));
        let (old, new) = (
            BinlogCoordinates::parse("b.999999:1073741824").unwrap(),
            BinlogCoordinates::parse("b.1000000:4").unwrap(),
        );
        let (old, new) = (LogOffsets::of(&old).unwrap(), LogOffsets::of(&new).unwrap());
        assert!(old < new && old.all_before().is_subset(&new.all_before()));
        assert_eq!(new.coordinates("b").to_string(), "b.1000000:4");
        assert_eq!(old.coordinates("b").to_string(), "b.999999:1073741824");
        assert!(LogOffsets::new(1 << 24, 4).is_none() && LogOffsets::new(1, 1 << 38).is_none());
        // What the server takes as the largest number of a GTID is never reached.
        assert!(place(FILE_MAX, OFFSET_MAX).transaction() < i64::MAX.unsigned_abs());
    }

    #[test]
    fn text_and_back() {
        let set = place(3, 120).all_before();
        assert_eq!(GtidSet::parse(&set.to_string()).unwrap(), set);
        assert_eq!(LogOffsets::shown(&set, "mysql-bin").unwrap().to_string(), "mysql-bin.000003:120");
        assert!(LogOffsets::frontier(&GtidSet::new()).is_none());
    }

    proptest! {
        /// Transactions of a log that are applied in any order: what is in the set is exactly what was put in, and a stream
        /// resumes before the first that is missing.
        #[test]
        fn sets_hold_exactly_what_was_applied(
            lengths in prop::collection::vec((1..2000_u64, any::<bool>(), any::<bool>()), 1..40),
            order in any::<u64>(),
        ) {
            let (mut file, mut offset) = (7, 120);
            let mut set = place(7, 4).all_before();
            let (_, mut before) = LogOffsets::frontier(&set).unwrap();
            let mut log = Vec::new();
            for (index, (length, rotates, idles)) in lengths.iter().enumerate() {
                if *rotates {
                    (file, offset) = (file + 1, 4);
                }
                let start = place(file, offset);
                let number = start.transaction();
                log.push((start, number, LogOffsets::span(before, number), (order >> (index % 64)) & 1 == 1));
                before = number;
                offset += length;
                if *idles {
                    let number = place(file, offset).end_here();
                    log.push((place(file, offset), number, LogOffsets::span(before, number), true));
                    before = number;
                }
            }
            for (_, _, span, applied) in &log {
                prop_assert!(!span.is_in(&set));
                if *applied {
                    span.add_to(&mut set);
                }
            }
            for (_, number, span, applied) in &log {
                prop_assert_eq!(LogOffsets::has(&set, *number), *applied);
                prop_assert_eq!(span.is_in(&set), *applied);
            }
            let (resume, _) = LogOffsets::frontier(&set).unwrap();
            for (start, _, _, applied) in &log {
                prop_assert!(*applied || resume <= *start);
            }
            let end = place(file, offset).all_before();
            prop_assert_eq!(set.contains_set(&end), log.last().is_some_and(|last| last.1 % 2 == 0)
                && log.iter().all(|(_, _, _, applied)| *applied));
        }
    }
}
