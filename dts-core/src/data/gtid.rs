//! GTIDs and sets of them, with the tags of MySQL 8.3 and later.
//!
//! MariaDB's GTIDs (`domain-server-sequence`) are another thing with other rules (a position is one number per domain,
//! not a set) and do not fit these types; a MariaDB source is followed by its binary log coordinates.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// One past the largest transaction number that a server hands out (`GNO_END` of the server).
const GNO_END: u64 = i64::MAX.unsigned_abs();
/// The most characters of a tag.
const TAG_LENGTH_MAX: usize = 32;

/// The identifier of one transaction: where it was born, and its number there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Gtid {
    /// The `server_uuid` of the server that committed it first.
    pub uuid: [u8; 16],
    /// The tag (MySQL 8.3 and later), lower-case; `None` for an untagged transaction.
    pub tag: Option<Box<str>>,
    /// The number, from 1.
    pub gno: u64,
}

/// Prints `uuid:gno` or `uuid:tag:gno`, as the server does.
impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.uuid)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, ":{}", self.gno)
    }
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let set = GtidSet::parse(text)?;
        let mut sids = set.sids();
        match (sids.next(), sids.next()) {
            (Some((uuid, tag, [only])), None) if only.count() == 1 => {
                Ok(Gtid { uuid: *uuid, tag: tag.map(Into::into), gno: only.start })
            }
            _ => Err(Error::invalid("GTID", text, "one transaction as in 'uuid:23' or 'uuid:tag:23'")),
        }
    }
}

/// A half-open range of transaction numbers: `start` belongs to it, `end` does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GtidInterval {
    /// The first number.
    pub start: u64,
    /// One past the last number.
    pub end: u64,
}

impl GtidInterval {
    /// Returns how many transactions it holds.
    pub fn count(&self) -> u64 {
        self.end - self.start
    }
}

/// The intervals of one UUID and one tag: never empty, sorted, disjoint and not touching.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Tagged {
    tag: Option<Box<str>>,
    intervals: Vec<GtidInterval>,
}

/// A set of transactions, such as `@@GLOBAL.gtid_executed`.
///
/// Always in normal form, so that equal sets compare equal. Prints on one line by `{}`, which every server accepts; `{:#}`
/// is to the letter what the server prints, with a line break after each comma. Serialized as the one-line text.
///
/// # Examples
///
/// ```
/// use dts_core::data::GtidSet;
///
/// let executed = GtidSet::parse("3E11FA47-71CA-11E1-9E33-C80AA9429562:1-3:4-5:7,\n ")?;
/// assert_eq!(executed.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7");
/// assert!(GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:5")?.is_subset(&executed));
/// assert!(GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:9-7").is_err());
/// # Ok::<(), dts_core::error::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct GtidSet {
    /// Sorted by UUID, each list sorted by tag with the untagged part first.
    sids: BTreeMap<[u8; 16], Vec<Tagged>>,
}

impl GtidSet {
    /// Returns the empty set.
    pub fn new() -> Self {
        GtidSet::default()
    }

    /// Reads everything that a server prints or accepts as a GTID set: any white space, several intervals, tags,
    /// upper-case, empty parts between commas, the same UUID twice.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let mut set = GtidSet::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            set.parse_part(part).ok_or_else(|| {
                Error::invalid(
                    "GTID set",
                    part,
                    "'uuid:1-5:7' or 'uuid:1-5:tag:1-3', several of them separated by ','",
                )
            })?;
        }
        Ok(set)
    }

    fn parse_part(&mut self, part: &str) -> Option<()> {
        let mut elements = part.split(':').map(str::trim);
        let uuid = parse_uuid(elements.next()?)?;
        let mut tag: Option<Box<str>> = None;
        let mut has_interval = false;
        for element in elements {
            if element.starts_with(|c: char| c.is_ascii_digit()) {
                let (start, last) = match element.split_once('-') {
                    Some((start, last)) => (parse_gno(start)?, parse_gno(last)?),
                    None => (parse_gno(element)?, parse_gno(element)?),
                };
                if last < start {
                    return None;
                }
                self.insert_interval(&uuid, tag.as_deref(), GtidInterval { start, end: last + 1 });
                has_interval = true;
            } else {
                // A tag that nothing follows is as wrong as a UUID that nothing follows.
                if tag.is_some() && !has_interval {
                    return None;
                }
                tag = Some(parse_tag(element)?);
                has_interval = false;
            }
        }
        has_interval.then_some(())
    }

    /// Adds one transaction; returns whether it was new.
    ///
    /// Cheap and without allocation where numbers come in rising order, even with gaps that fill up soon after.
    pub fn insert(&mut self, gtid: &Gtid) -> bool {
        let interval = GtidInterval { start: gtid.gno, end: gtid.gno.saturating_add(1) };
        self.insert_interval(&gtid.uuid, gtid.tag.as_deref(), interval)
    }

    /// Adds all transactions of an interval; returns whether any of them was new.
    ///
    /// An empty interval adds nothing.
    pub fn insert_interval(&mut self, uuid: &[u8; 16], tag: Option<&str>, interval: GtidInterval) -> bool {
        if interval.start >= interval.end {
            return false;
        }
        let tags = self.sids.entry(*uuid).or_default();
        match tags.binary_search_by(|tagged| tagged.tag.as_deref().cmp(&tag)) {
            Ok(index) => add(&mut tags[index].intervals, interval),
            Err(index) => {
                tags.insert(index, Tagged { tag: tag.map(Into::into), intervals: vec![interval] });
                true
            }
        }
    }

    /// Returns whether the transaction is in the set.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        let intervals = self.intervals(&gtid.uuid, gtid.tag.as_deref());
        let after = intervals.partition_point(|interval| interval.start <= gtid.gno);
        after > 0 && gtid.gno < intervals[after - 1].end
    }

    /// Returns whether every transaction of `other` is in this set.
    pub fn contains_set(&self, other: &GtidSet) -> bool {
        other.is_subset(self)
    }

    /// Returns whether every transaction of this set is in `other`.
    pub fn is_subset(&self, other: &GtidSet) -> bool {
        self.sids().all(|(uuid, tag, intervals)| {
            let others = other.intervals(uuid, tag);
            intervals.iter().all(|interval| {
                let after = others.partition_point(|o| o.start <= interval.start);
                after > 0 && interval.end <= others[after - 1].end
            })
        })
    }

    /// Returns whether the two sets have a transaction in common.
    pub fn intersects(&self, other: &GtidSet) -> bool {
        self.sids().any(|(uuid, tag, intervals)| {
            let others = other.intervals(uuid, tag);
            intervals.iter().any(|interval| {
                let after = others.partition_point(|o| o.start < interval.end);
                after > 0 && interval.start < others[after - 1].end
            })
        })
    }

    /// Adds all transactions of `other`.
    pub fn merge(&mut self, other: &GtidSet) {
        for (uuid, tag, intervals) in other.sids() {
            for interval in intervals {
                self.insert_interval(uuid, tag, *interval);
            }
        }
    }

    /// Returns the transactions of either set.
    #[must_use]
    pub fn union(&self, other: &GtidSet) -> GtidSet {
        let mut set = self.clone();
        set.merge(other);
        set
    }

    /// Returns the transactions of this set that are not in `other`, as `GTID_SUBTRACT()` does.
    #[must_use]
    pub fn subtract(&self, other: &GtidSet) -> GtidSet {
        let mut set = GtidSet::new();
        for (uuid, tag, intervals) in self.sids() {
            let others = other.intervals(uuid, tag);
            for interval in intervals {
                let mut start = interval.start;
                for hole in &others[others.partition_point(|o| o.end <= start)..] {
                    if hole.start >= interval.end {
                        break;
                    }
                    set.insert_interval(uuid, tag, GtidInterval { start, end: hole.start });
                    start = hole.end;
                }
                set.insert_interval(uuid, tag, GtidInterval { start, end: interval.end });
            }
        }
        set
    }

    /// Returns the transactions that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &GtidSet) -> GtidSet {
        self.subtract(&self.subtract(other))
    }

    /// Returns whether there is no transaction in the set.
    pub fn is_empty(&self) -> bool {
        self.sids.is_empty()
    }

    /// Returns how many transactions are in the set.
    pub fn count(&self) -> u64 {
        self.sids()
            .flat_map(|(_, _, intervals)| intervals)
            .fold(0, |sum: u64, i| sum.saturating_add(i.count()))
    }

    /// Returns the parts of the set, sorted by UUID and then by tag, the untagged part first.
    ///
    /// What a `COM_BINLOG_DUMP_GTID` request is written from.
    pub fn sids(&self) -> impl Iterator<Item = (&[u8; 16], Option<&str>, &[GtidInterval])> {
        self.sids.iter().flat_map(|(uuid, tags)| {
            tags.iter().map(move |tagged| (uuid, tagged.tag.as_deref(), tagged.intervals.as_slice()))
        })
    }

    /// Returns whether any transaction has a tag: only servers of MySQL 8.3 and later understand such a set.
    pub fn has_tags(&self) -> bool {
        self.sids().any(|(_, tag, _)| tag.is_some())
    }

    /// Returns the intervals of one UUID and tag; none when the set has no such transaction.
    pub fn intervals(&self, uuid: &[u8; 16], tag: Option<&str>) -> &[GtidInterval] {
        self.sids
            .get(uuid)
            .and_then(|tags| {
                let index = tags.binary_search_by(|tagged| tagged.tag.as_deref().cmp(&tag)).ok()?;
                Some(tags[index].intervals.as_slice())
            })
            .unwrap_or_default()
    }
}

/// Adds an interval to a sorted list; returns whether anything was new.
fn add(intervals: &mut Vec<GtidInterval>, new: GtidInterval) -> bool {
    // The common case: the next number of a server that is being followed.
    if let Some(last) = intervals.last_mut() {
        if new.start == last.end {
            last.end = new.end;
            return true;
        }
        if new.start > last.end {
            intervals.push(new);
            return true;
        }
    }
    // `first..after` are those that overlap or touch the new one.
    let first = intervals.partition_point(|interval| interval.end < new.start);
    let after = intervals.partition_point(|interval| interval.start <= new.end);
    if first == after {
        intervals.insert(first, new);
        return true;
    }
    let merged = GtidInterval {
        start: new.start.min(intervals[first].start),
        end: new.end.max(intervals[after - 1].end),
    };
    if merged == intervals[first] {
        return false;
    }
    intervals[first] = merged;
    intervals.drain(first + 1..after);
    true
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(text).as_bytes();
    let mut uuid = [0; 16];
    let mut nibbles = 0;
    for (index, byte) in text.iter().enumerate() {
        if *byte == b'-' && text.len() == 36 && matches!(index, 8 | 13 | 18 | 23) {
            continue;
        }
        let nibble = u8::try_from(char::from(*byte).to_digit(16)?).ok()?;
        let slot = uuid.get_mut(nibbles / 2)?;
        *slot = (*slot << 4) | nibble;
        nibbles += 1;
    }
    (nibbles == 32).then_some(uuid)
}

fn parse_gno(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|gno| (1..GNO_END).contains(gno))
}

fn parse_tag(text: &str) -> Option<Box<str>> {
    let valid = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= TAG_LENGTH_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    valid.then(|| text.to_ascii_lowercase().into())
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (uuid, tags)) in self.sids.iter().enumerate() {
            if index > 0 {
                f.write_str(if f.alternate() { ",\n" } else { "," })?;
            }
            write_uuid(f, uuid)?;
            for Tagged { tag, intervals } in tags {
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                for interval in intervals {
                    match interval.count() {
                        1 => write!(f, ":{}", interval.start)?,
                        _ => write!(f, ":{}-{}", interval.start, interval.end - 1)?,
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        GtidSet::parse(text)
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<I: IntoIterator<Item = Gtid>>(&mut self, gtids: I) {
        for gtid in gtids {
            self.insert(&gtid);
        }
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut set = GtidSet::new();
        set.extend(gtids);
        set
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GtidSet::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::StrDeserializer;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

    fn normal(text: &str) -> String {
        GtidSet::parse(text).unwrap().to_string()
    }

    #[test]
    fn reads_what_servers_print() {
        assert_eq!(normal(""), "");
        assert_eq!(normal(" \n,, "), "");
        assert_eq!(normal(&format!("{A}:1-3:5:7-9")), format!("{A}:1-3:5:7-9"));
        assert_eq!(normal(&format!("{B}:1-9,\n{A}:1")), format!("{A}:1,{B}:1-9"));
        assert_eq!(normal(&format!(" {A} : 1 - 3 : 4 , {A}:9 ")), format!("{A}:1-4:9"));
        assert_eq!(normal(&(A.to_uppercase().replace('-', "") + ":1")), format!("{A}:1"));
        assert_eq!(normal(&format!("{{{A}}}:1")), format!("{A}:1"));
        assert_eq!(
            normal(&format!("{A}:1-3:Tag:1-5:othertag:7:tag:6")),
            format!("{A}:1-3:othertag:7:tag:1-6")
        );
        assert_eq!(normal(&format!("{A}:tag:1-2")), format!("{A}:tag:1-2"));
        assert_eq!(normal(&format!("{A}:1-9223372036854775806")), format!("{A}:1-9223372036854775806"));
    }

    #[test]
    fn prints_line_breaks_as_the_server_does_in_alternate_form() {
        assert_eq!(
            format!("{:#}", GtidSet::parse(&format!("{A}:1,{B}:2")).unwrap()),
            format!("{A}:1,\n{B}:2")
        );
    }

    #[test]
    fn refuses_what_is_not_a_set() {
        for wrong in [
            "x",
            A,
            &format!("{A}:"),
            &format!("{A}:0"),
            &format!("{A}:3-1"),
            &format!("{A}:1-"),
            &format!("{A}:+1"),
            &format!("{A}:1-2-3"),
            &format!("{A}:tag"),
            &format!("{A}:tag:other:1"),
            &format!("{A}:1:ta-g:1"),
            &format!("{A}:9223372036854775807"),
            &format!("{A}0:1"),
            &format!("{}:1", &A[1..]),
            &format!("{}:1", A.replace('-', "_")),
            "3e11fa-4771ca-11e1-9e33-c80aa9429562:1",
            "0-1-100",
            "binlog.000001:4",
        ] {
            assert!(GtidSet::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_gtid_round_trips() {
        for text in [format!("{A}:23"), format!("{A}:tag:23")] {
            assert_eq!(text.parse::<Gtid>().unwrap().to_string(), text);
        }
        assert!(format!("{A}:1-2").parse::<Gtid>().is_err());
        assert!("".parse::<Gtid>().is_err());
    }

    #[test]
    fn is_a_string_to_serde() {
        let deserializer: StrDeserializer<'_, serde::de::value::Error> =
            "4350f323-7565-4e59-8763-4b1b83a0ce0e:1-2".into_deserializer();
        assert_eq!(GtidSet::deserialize(deserializer).unwrap().count(), 2);
    }

    type Model = BTreeSet<(u8, Option<&'static str>, u64)>;

    fn gtid((uuid, tag, gno): (u8, Option<&'static str>, u64)) -> Gtid {
        Gtid { uuid: [uuid; 16], tag: tag.map(Into::into), gno }
    }

    fn of(model: &Model) -> GtidSet {
        model.iter().copied().map(gtid).collect()
    }

    fn element() -> impl Strategy<Value = (u8, Option<&'static str>, u64)> {
        (0..2_u8, prop::sample::select(vec![None, Some("a"), Some("b_1")]), 1..20_u64)
    }

    proptest! {
        #[test]
        fn insertion_in_any_order_gives_the_normal_form(elements in prop::collection::vec(element(), 0..80)) {
            let mut set = GtidSet::new();
            let mut model = Model::new();
            for element in elements {
                prop_assert_eq!(set.insert(&gtid(element)), model.insert(element));
                prop_assert!(set.contains(&gtid(element)));
                prop_assert_eq!(set.count(), u64::try_from(model.len()).unwrap());
            }
            prop_assert_eq!(&set, &of(&model));
            for (_, _, intervals) in set.sids() {
                prop_assert!(intervals.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
            prop_assert_eq!(&GtidSet::parse(&set.to_string()).unwrap(), &set);
            prop_assert_eq!(&GtidSet::parse(&format!("{set:#}")).unwrap(), &set);
        }

        #[test]
        fn set_operations_agree_with_a_naive_set(
            left in prop::collection::btree_set(element(), 0..60),
            right in prop::collection::btree_set(element(), 0..60),
            probe in element(),
        ) {
            let (a, b) = (of(&left), of(&right));
            prop_assert_eq!(a.contains(&gtid(probe)), left.contains(&probe));
            prop_assert_eq!(a.union(&b), of(&left.union(&right).copied().collect()));
            prop_assert_eq!(a.subtract(&b), of(&left.difference(&right).copied().collect()));
            prop_assert_eq!(a.intersection(&b), of(&left.intersection(&right).copied().collect()));
            prop_assert_eq!(a.intersects(&b), !left.is_disjoint(&right));
            prop_assert_eq!(a.is_subset(&b), left.is_subset(&right));
            prop_assert_eq!(a.contains_set(&b), left.is_superset(&right));
            prop_assert_eq!(a.is_empty(), left.is_empty());
            prop_assert!(a.union(&b).contains_set(&a) && a.intersection(&b).is_subset(&b));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f:,\\- \\n{}_]{0,60}") {
            let _ = GtidSet::parse(&text);
        }
    }
}
