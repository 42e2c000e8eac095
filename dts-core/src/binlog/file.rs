//! [`BinlogFile`]: the events in the bytes of a binary log file.
use super::damaged;
use super::event::{ChecksumAlgorithm, EventHeader, EventType, RawEvent};
use super::format_description::checksum_algorithm_of;
use crate::error::Result;

const MAGIC: &[u8] = b"\xfebin";

/// The events in the bytes of a binary log file, in order; ends at the first error.
#[derive(Clone, Debug)]
pub struct BinlogFile<'a> {
    rest: &'a [u8],
    checksum: ChecksumAlgorithm,
}

impl<'a> BinlogFile<'a> {
    /// Takes the bytes of a file.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when they do not begin as a binary log file does.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        match bytes.strip_prefix(MAGIC) {
            Some(rest) => Ok(BinlogFile { rest, checksum: ChecksumAlgorithm::None }),
            None => Err(damaged("the bytes do not begin as a binary log file does")),
        }
    }

    fn cut(&mut self) -> Result<RawEvent<'a>> {
        let size = EventHeader::parse(self.rest)?.size();
        let Some((packet, rest)) = self.rest.split_at_checked(size) else {
            return Err(damaged(format!("the last event has {size} bytes, {} are there", self.rest.len())));
        };
        let event = RawEvent::parse(packet, self.checksum)?;
        if event.header.event_type == EventType::FormatDescription {
            self.checksum = checksum_algorithm_of(event.body)?;
        }
        self.rest = rest;
        Ok(event)
    }
}

impl<'a> Iterator for BinlogFile<'a> {
    type Item = Result<RawEvent<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let event = self.cut();
        if event.is_err() {
            self.rest = &[];
        }
        Some(event)
    }
}
