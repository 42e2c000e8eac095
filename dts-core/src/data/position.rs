//! Where a stream of changes stands.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::{BinlogCoordinates, GtidSet, LogOffsets};
use crate::error::{Error, Result};

/// Where a stream of changes stands: everything before it is known, everything after it is still to come.
///
/// Prints as the GTID set or as `file:offset`, is read back from that, and is serialized so. The two cannot be mixed
/// up: the file of coordinates always has a dot in its name, a UUID never has. The empty text is the empty GTID set.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Position {
    /// The transactions that are known.
    Gtid(GtidSet),
    /// The place in the binary log that was reached.
    Coordinates(BinlogCoordinates),
}

impl Position {
    /// Returns the GTID set, when the position is one.
    pub fn gtid_set(&self) -> Option<&GtidSet> {
        match self {
            Position::Gtid(set) => Some(set),
            Position::Coordinates(_) => None,
        }
    }

    /// Returns the coordinates, when the position is such.
    pub fn coordinates(&self) -> Option<&BinlogCoordinates> {
        match self {
            Position::Gtid(_) => None,
            Position::Coordinates(coordinates) => Some(coordinates),
        }
    }

    /// Returns the position as people know it: a set of [`LogOffsets`] as coordinates in a log of this name, any other as it is.
    #[must_use]
    pub fn shown(self, log_name: Option<&str>) -> Position {
        match self.gtid_set().and_then(|set| LogOffsets::shown(set, log_name.unwrap_or("binlog"))) {
            Some(coordinates) => Position::Coordinates(coordinates),
            None => self,
        }
    }

    /// Returns whether everything that `other` knows is known here too; `None` when the two cannot be compared.
    pub fn includes(&self, other: &Position) -> Option<bool> {
        match (self, other) {
            (Position::Gtid(set), Position::Gtid(other)) => Some(set.contains_set(other)),
            (Position::Coordinates(here), Position::Coordinates(other)) => {
                here.partial_cmp(other).map(std::cmp::Ordering::is_ge)
            }
            (Position::Gtid(_), Position::Coordinates(_)) | (Position::Coordinates(_), Position::Gtid(_)) => {
                None
            }
        }
    }
}

impl From<GtidSet> for Position {
    fn from(set: GtidSet) -> Self {
        Position::Gtid(set)
    }
}

impl From<BinlogCoordinates> for Position {
    fn from(coordinates: BinlogCoordinates) -> Self {
        Position::Coordinates(coordinates)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Gtid(set) => set.fmt(f),
            Position::Coordinates(coordinates) => coordinates.fmt(f),
        }
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(set) = GtidSet::parse(text) {
            return Ok(Position::Gtid(set));
        }
        match BinlogCoordinates::parse(text) {
            Ok(coordinates) if coordinates.file.contains('.') => Ok(Position::Coordinates(coordinates)),
            _ => Err(Error::invalid("position", text, "a GTID set or 'file:offset'")),
        }
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn both_forms_round_trip() {
        for text in ["", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:tag:7", "mysql-bin.000003:154"] {
            assert_eq!(position(text).to_string(), text);
        }
        assert!(position("binlog.000001:4").coordinates().is_some());
        assert!(position("").gtid_set().is_some());
        assert!("3e11fa47-71ca-11e1-9e33-c80aa9429562:0".parse::<Position>().is_err());
    }

    #[test]
    fn includes_only_what_can_be_compared() {
        let set = position("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3");
        assert_eq!(set.includes(&position("")), Some(true));
        assert_eq!(position("").includes(&set), Some(false));
        assert_eq!(set.includes(&position("b.000001:4")), None);
        assert_eq!(position("b.000002:4").includes(&position("b.000001:9")), Some(true));
        assert_eq!(position("b.000002:4").includes(&position("a.000001:9")), None);
    }
}
