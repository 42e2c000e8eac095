//! Binary log coordinates: a log file and an offset in it.
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A place in a server's binary log.
///
/// Ordered by the number of the file, not by its text, and then by the offset. Files of different base names (the server's
/// `log_bin` was changed, or they belong to two servers) cannot be compared: all comparisons are false. Prints as
/// `file:offset` and is serialized so.
///
/// # Examples
///
/// ```
/// use dts_core::data::BinlogCoordinates;
///
/// let older = BinlogCoordinates::parse("binlog.999999:700")?;
/// let newer = BinlogCoordinates::parse("binlog.1000000:4")?;
/// let other = BinlogCoordinates::parse("mysql-bin.1000000:4")?;
/// assert!(older < newer);
/// assert_eq!(newer.partial_cmp(&other), None);
/// # Ok::<(), dts_core::error::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BinlogCoordinates {
    /// The name of the file, without its folder.
    pub file: String,
    /// The offset in bytes; 4 is before the first event.
    pub offset: u64,
}

impl BinlogCoordinates {
    /// The offset of a file's first event, after the magic number.
    pub const FIRST_EVENT: u64 = 4;

    /// Joins a file and an offset.
    pub fn new(file: impl Into<String>, offset: u64) -> Self {
        BinlogCoordinates { file: file.into(), offset }
    }

    /// Returns the place before the first event of a file.
    pub fn start_of(file: impl Into<String>) -> Self {
        BinlogCoordinates::new(file, Self::FIRST_EVENT)
    }

    /// Reads `file:offset`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] when it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.trim().rsplit_once(':').filter(|(file, offset)| {
            !file.is_empty()
                && !file.contains(['\n', ','])
                && offset.bytes().all(|byte| byte.is_ascii_digit())
        });
        parts.and_then(|(file, offset)| Some(BinlogCoordinates::new(file, offset.parse().ok()?))).ok_or_else(
            || Error::invalid("binlog coordinates", text, "'file:offset' as in 'binlog.000012:1542'"),
        )
    }

    /// Returns the number of the file: 12 for `binlog.000012`; `None` for a name that does not end in a number.
    pub fn file_number(&self) -> Option<u64> {
        self.split().map(|(_, number)| number)
    }

    /// Splits the name of the file into its base and its number.
    fn split(&self) -> Option<(&str, u64)> {
        let (base, number) = self.file.rsplit_once('.')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some((base, number.parse().ok()?))
    }
}

impl PartialOrd for BinlogCoordinates {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self.file == other.file {
            return Some(self.offset.cmp(&other.offset));
        }
        let ((base, number), (other_base, other_number)) = (self.split()?, other.split()?);
        if base != other_base || number == other_number {
            return None;
        }
        Some(number.cmp(&other_number))
    }
}

impl fmt::Display for BinlogCoordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for BinlogCoordinates {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        BinlogCoordinates::parse(text)
    }
}

impl Serialize for BinlogCoordinates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BinlogCoordinates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BinlogCoordinates::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> BinlogCoordinates {
        BinlogCoordinates::parse(text).unwrap()
    }

    #[test]
    fn is_ordered_by_number_and_offset() {
        assert!(at("binlog.000001:9") < at("binlog.000002:4"));
        assert!(at("binlog.000002:4") < at("binlog.000002:5"));
        assert!(at("binlog.999999:4") < at("binlog.1000000:4"));
        assert!(at("a.b.000001:4") < at("a.b.000002:4"));
    }

    #[test]
    fn other_base_names_cannot_be_compared() {
        assert_eq!(at("binlog.000001:4").partial_cmp(&at("mysql-bin.000002:4")), None);
        assert_eq!(at("binlog.000001:4").partial_cmp(&at("binlog.1:4")), None);
        assert_eq!(at("binlog.x:4").partial_cmp(&at("binlog.y:4")), None);
        assert_eq!(at("binlog.x:4").partial_cmp(&at("binlog.x:4")), Some(Ordering::Equal));
    }

    #[test]
    fn refuses_what_has_no_offset() {
        for wrong in ["", ":", "binlog.000001", "binlog.000001:", ":4", "binlog.000001:x", "binlog.000001:-4"]
        {
            assert!(BinlogCoordinates::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(file in "[a-z.:-]{1,9}\\.[0-9]{6,7}", offset: u64) {
            let coordinates = BinlogCoordinates::new(file, offset);
            prop_assert_eq!(at(&coordinates.to_string()), coordinates);
        }

        #[test]
        fn order_of_two_is_the_order_turned_round(a in 0..20_u64, b in 0..20_u64, x in 4..8_u64, y in 4..8_u64) {
            let (left, right) = (at(&format!("b.{a:06}:{x}")), at(&format!("b.{b:06}:{y}")));
            prop_assert_eq!(left.partial_cmp(&right), Some((a, x).cmp(&(b, y))));
            prop_assert_eq!(left.partial_cmp(&right), right.partial_cmp(&left).map(Ordering::reverse));
        }
    }
}
