//! GTID_LOG_EVENT, ANONYMOUS_GTID_LOG_EVENT, GTID_TAGGED_LOG_EVENT and MariaDB's GTID_EVENT: a transaction begins.
use super::reader::Bytes;
use super::refused;
use crate::data::{Gtid, LogOffsets, Span};
use crate::error::Result;

/// A transaction begins; its identifier and when it was committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GtidEvent {
    /// Bit 0: the transaction may hold changes logged as statements (always set by 5.6).
    pub flags: u8,
    /// The UUID of the server that first committed it; zeros when anonymous.
    pub source_id: [u8; 16],
    /// The tag of the identifier (8.4 and later).
    pub tag: Option<String>,
    /// The number of the transaction; 0 when anonymous.
    pub gno: u64,
    /// `sequence_number` of the last transaction in the same file that this one must wait for (5.7 and later).
    pub last_committed: u64,
    /// Number of the transaction within its file; 0 before 5.7.
    pub sequence_number: u64,
    /// When the server that sends it committed it, in microseconds since 1970 (8.0 and later).
    pub immediate_commit_timestamp: Option<u64>,
    /// When the server that first executed it committed it, in microseconds since 1970 (8.0 and later).
    pub original_commit_timestamp: Option<u64>,
    /// Length of the transaction with this event, in bytes (8.0 and later).
    pub transaction_length: Option<u64>,
}

impl GtidEvent {
    /// Reads the body of an event without a tag.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off.
    pub fn parse(body: &[u8]) -> Result<Self> {
        const LOGICAL_CLOCK: u8 = 2;
        const HAS_ORIGINAL: u64 = 1 << 55;
        let mut bytes = Bytes::new(body, "GTID event");
        let mut event = GtidEvent {
            flags: bytes.u8()?,
            source_id: bytes.array()?,
            tag: None,
            gno: bytes.u64()?,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_timestamp: None,
            original_commit_timestamp: None,
            transaction_length: None,
        };
        // 5.6 ends here; 5.7 before its release wrote other clocks.
        if bytes.is_empty() || bytes.u8()? != LOGICAL_CLOCK {
            return Ok(event);
        }
        event.last_committed = bytes.u64()?;
        event.sequence_number = bytes.u64()?;
        // 5.7 ends here.
        if bytes.left() < 7 {
            return Ok(event);
        }
        let immediate = bytes.u56()?;
        event.immediate_commit_timestamp = Some(immediate & !HAS_ORIGINAL);
        event.original_commit_timestamp =
            if immediate & HAS_ORIGINAL != 0 { Some(bytes.u56()?) } else { Some(immediate) };
        if !bytes.is_empty() {
            event.transaction_length = Some(bytes.lenenc()?);
        }
        Ok(event)
    }

    /// Reads the body of an event with a tag.
    ///
    /// Its layout is that of MySQL's serialization library: a version, the length of the whole, the highest field that
    /// must not be skipped, then numbered fields in ascending order.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off or out of its range;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a version, or a field that must not be skipped, that
    /// is not known here.
    pub fn parse_tagged(body: &[u8]) -> Result<Self> {
        const VERSION: u64 = 1;
        const FIELD_KNOWN_MAX: u64 = 11;
        let mut bytes = Bytes::new(body, "tagged GTID event");
        let version = varlen(&mut bytes)?;
        if version != VERSION {
            return Err(refused(format!("tagged GTID event of version {version}, only {VERSION} is known")));
        }
        let size = varlen(&mut bytes)?;
        // The length counts itself and the version.
        let read = body.len() - bytes.left();
        let rest = usize::try_from(size).ok().and_then(|size| size.checked_sub(read));
        let Some(rest) = rest else {
            return Err(bytes.damaged("a length that is impossible"));
        };
        let mut bytes = Bytes::new(bytes.take(rest)?, "tagged GTID event");
        let required = varlen(&mut bytes)?;
        // One more than the field's number; 0 for none.
        if required > FIELD_KNOWN_MAX + 1 {
            return Err(refused(format!(
                "tagged GTID event with the required field {required}, which is not known"
            )));
        }
        let mut event = GtidEvent {
            flags: 0,
            source_id: [0; 16],
            tag: None,
            gno: 0,
            last_committed: 0,
            sequence_number: 0,
            immediate_commit_timestamp: None,
            original_commit_timestamp: None,
            transaction_length: None,
        };
        while !bytes.is_empty() {
            match varlen(&mut bytes)? {
                0 => {
                    let flags = varlen(&mut bytes)?;
                    event.flags = u8::try_from(flags).map_err(|_| bytes.damaged("flags beyond one byte"))?;
                }
                1 => {
                    for byte in &mut event.source_id {
                        let value = varlen(&mut bytes)?;
                        *byte =
                            u8::try_from(value).map_err(|_| bytes.damaged("a UUID byte beyond one byte"))?;
                    }
                }
                2 => event.gno = varlen_positive(&mut bytes)?,
                3 => {
                    let length = varlen(&mut bytes)?;
                    let tag = super::name(bytes.take_u64(length)?, "tagged GTID event")?;
                    event.tag = if tag.is_empty() { None } else { Some(tag) };
                }
                4 => event.last_committed = varlen_positive(&mut bytes)?,
                5 => event.sequence_number = varlen_positive(&mut bytes)?,
                6 => event.immediate_commit_timestamp = Some(varlen(&mut bytes)?),
                7 => event.original_commit_timestamp = Some(varlen(&mut bytes)?),
                8 => event.transaction_length = Some(varlen(&mut bytes)?),
                // The versions of the two servers, the group ticket.
                9..=11 => {
                    varlen(&mut bytes)?;
                }
                // Fields have no length of their own: behind one that is not known nothing can be read.
                _ => break,
            }
        }
        if event.original_commit_timestamp.is_none() {
            event.original_commit_timestamp = event.immediate_commit_timestamp;
        }
        Ok(event)
    }

    /// Returns the transaction's identifier.
    pub fn gtid(&self) -> Gtid {
        Gtid { uuid: self.source_id, tag: self.tag.as_deref().map(Into::into), gno: self.gno }
    }

    /// Returns what the transaction is called in a set.
    pub fn span(&self) -> Span {
        if self.source_id == LogOffsets::UUID {
            LogOffsets::span(self.last_committed, self.gno)
        } else {
            self.gtid().into()
        }
    }

    /// Returns the body of the event that stands before a transaction of a log without GTIDs; `before` is the number of the
    /// transaction before.
    pub fn body_of_offsets(before: u64, number: u64) -> Vec<u8> {
        const LOGICAL_CLOCK: u8 = 2;
        let mut body = vec![0];
        body.extend(LogOffsets::UUID);
        body.extend(number.to_le_bytes());
        body.push(LOGICAL_CLOCK);
        body.extend(before.to_le_bytes());
        body.extend(number.to_le_bytes());
        body
    }

    /// Returns whether the transaction has no GTID (`gtid_mode` is off).
    pub fn is_anonymous(&self) -> bool {
        self.gno == 0
    }
}

/// Reads an integer of 1 to 9 bytes: as many bytes follow the first as that has ones at its low end.
fn varlen(bytes: &mut Bytes<'_>) -> Result<u64> {
    let first = bytes.u8()?;
    let ones = first.trailing_ones();
    if ones == u8::BITS {
        return bytes.u64();
    }
    let more = u8::try_from(ones).map_err(|_| bytes.damaged("an impossible length"))?;
    let high = bytes.uint_le(more)?;
    let low = u64::from(first) >> (ones + 1);
    // At 7 more bytes the first one has no value bits left: 0 + 56 bits.
    Ok(low | (high << (7 - ones)))
}

/// Reads a signed integer that must not be negative: its lowest bit is the sign.
fn varlen_positive(bytes: &mut Bytes<'_>) -> Result<u64> {
    let value = varlen(bytes)?;
    if value & 1 != 0 {
        return Err(bytes.damaged("a number is negative"));
    }
    Ok(value >> 1)
}

/// A transaction of a MariaDB server begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MariadbGtidEvent {
    /// The domain; the server id is in the event's header.
    pub domain_id: u32,
    /// The number of the transaction within its domain.
    pub sequence_number: u64,
    /// The flags.
    pub flags: u8,
    /// Transactions with the same number were committed together.
    pub commit_id: Option<u64>,
}

impl MariadbGtidEvent {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off.
    pub fn parse(body: &[u8]) -> Result<Self> {
        const HAS_COMMIT_ID: u8 = 2;
        let mut bytes = Bytes::new(body, "MariaDB GTID event");
        let sequence_number = bytes.u64()?;
        let domain_id = bytes.u32()?;
        let flags = bytes.u8()?;
        let commit_id = if flags & HAS_COMMIT_ID != 0 { Some(bytes.u64()?) } else { None };
        Ok(MariadbGtidEvent { domain_id, sequence_number, flags, commit_id })
    }

    /// Returns whether the event is a whole transaction by itself, such as DDL: no COMMIT follows.
    pub fn is_standalone(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Returns whether the transaction is a schema change.
    pub fn is_ddl(&self) -> bool {
        self.flags & 32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length() {
        let read = |bytes: &[u8]| varlen(&mut Bytes::new(bytes, "test")).ok();
        assert_eq!(read(&[0x02]), Some(1));
        assert_eq!(read(&[0xfe]), Some(127));
        assert_eq!(read(&[0x01, 0x02]), Some(128));
        assert_eq!(read(&[0xfd, 0xff]), Some(16383));
        assert_eq!(read(&[0x7f, 1, 0, 0, 0, 0, 0, 0]), Some(1));
        assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some((1 << 56) - 1));
        assert_eq!(read(&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80]), Some(0x8000_0000_0000_0001));
        assert_eq!(read(&[0x01]), None);
    }

    #[test]
    fn gtid_of_5_6_and_of_8_0() {
        let mut body = vec![1];
        body.extend([7; 16]);
        body.extend(42_u64.to_le_bytes());
        let old = GtidEvent::parse(&body).unwrap();
        assert_eq!((old.source_id, old.gno, old.sequence_number, old.tag), ([7; 16], 42, 0, None));
        body.push(2);
        body.extend(5_u64.to_le_bytes());
        body.extend(6_u64.to_le_bytes());
        assert_eq!(GtidEvent::parse(&body).unwrap().sequence_number, 6);
        body.extend([1, 0, 0, 0, 0, 0, 0x80]);
        assert!(GtidEvent::parse(&body).is_err());
        body.extend([2, 0, 0, 0, 0, 0, 0]);
        body.push(200);
        let new = GtidEvent::parse(&body).unwrap();
        assert_eq!(new.immediate_commit_timestamp, Some(1));
        assert_eq!(new.original_commit_timestamp, Some(2));
        assert_eq!(new.transaction_length, Some(200));
    }
}
