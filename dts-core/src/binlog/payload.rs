//! TRANSACTION_PAYLOAD_EVENT: the events of a compressed transaction.
use std::io::Read;

use super::event::{ChecksumAlgorithm, EventHeader, HEADER_LENGTH, RawEvent};
use super::reader::Bytes;
use super::{damaged, refused};
use crate::error::Result;

/// The events of a compressed transaction, still compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionPayload<'a> {
    is_compressed: bool,
    uncompressed_size: Option<u64>,
    payload: &'a [u8],
}

impl<'a> TransactionPayload<'a> {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a compression that is not known here.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        const WHAT: &str = "transaction payload event";
        let mut bytes = Bytes::new(body, WHAT);
        let (mut size, mut compression, mut uncompressed_size) = (None, None, None);
        loop {
            let field = bytes.lenenc()?;
            if field == 0 {
                break;
            }
            let length = bytes.lenenc()?;
            let mut value = bytes.part(length, WHAT)?;
            match field {
                1 => size = Some(value.lenenc()?),
                2 => compression = Some(value.lenenc()?),
                3 => uncompressed_size = Some(value.lenenc()?),
                _ => {}
            }
        }
        let is_compressed = match compression {
            Some(0) => true,
            Some(255) => false,
            Some(other) => return Err(refused(format!("transaction payload of compression {other}"))),
            None => return Err(bytes.damaged("no compression is named")),
        };
        let payload = match size {
            Some(size) => bytes.take_u64(size)?,
            None => bytes.rest(),
        };
        Ok(TransactionPayload { is_compressed, uncompressed_size, payload })
    }

    /// Returns how many bytes the events have, if the event says so. Not to be trusted.
    pub fn uncompressed_size(&self) -> Option<u64> {
        self.uncompressed_size
    }

    /// Begins to decompress the events, one at a time.
    ///
    /// Memory is taken for the largest event only, as its bytes arrive, and for the window of zstd (at most 128 MiB).
    ///
    /// # Errors
    ///
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) when the events have more than `bytes_max` bytes, as far
    /// as the event says so.
    pub fn events(&self, bytes_max: u64) -> Result<PayloadEvents<'a>> {
        let limit = match self.uncompressed_size {
            Some(size) if size > bytes_max => return Err(too_large(bytes_max)),
            Some(size) => size,
            None => bytes_max,
        };
        let source = if self.is_compressed {
            let decoder = zstd::stream::read::Decoder::with_buffer(self.payload);
            Source::Zstd(Box::new(decoder.map_err(|error| undecodable(&error))?))
        } else {
            Source::Plain(self.payload)
        };
        Ok(PayloadEvents {
            source,
            event: Vec::new(),
            left: limit,
            declared: self.uncompressed_size.is_some(),
            bytes_max,
        })
    }
}

enum Source<'a> {
    Plain(&'a [u8]),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Source::Plain(bytes) => bytes.read(buffer),
            Source::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// The events of a compressed transaction, one at a time.
///
/// Not an `Iterator`: each event lives in the same buffer, until the next one is asked for.
pub struct PayloadEvents<'a> {
    source: Source<'a>,
    event: Vec<u8>,
    left: u64,
    declared: bool,
    bytes_max: u64,
}

impl PayloadEvents<'_> {
    /// Decompresses the next event; `None` at the end.
    ///
    /// The events inside have no checksums; zstd's own and that of the event around them protect them.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the payload cannot be decompressed, ends within
    /// an event, or has another length than it said; [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) when it goes
    /// beyond the caller's limit. Nothing more comes after an error.
    pub fn next_event(&mut self) -> Result<Option<RawEvent<'_>>> {
        let read = self.read_event();
        if !matches!(read, Ok(true)) {
            self.source = Source::Plain(&[]);
            self.event = Vec::new();
            self.declared = false;
        }
        if read? { RawEvent::parse(&self.event, ChecksumAlgorithm::None).map(Some) } else { Ok(None) }
    }

    fn read_event(&mut self) -> Result<bool> {
        self.event.clear();
        self.read_to(HEADER_LENGTH)?;
        if self.event.is_empty() {
            if self.declared && self.left > 0 {
                return Err(damaged(format!(
                    "transaction payload: ends {} bytes before its length",
                    self.left
                )));
            }
            return Ok(false);
        }
        let size = EventHeader::parse(&self.event)?.size();
        self.read_to(size)?;
        if self.event.len() < size {
            return Err(damaged(format!(
                "transaction payload: an event of {size} bytes ends after {}",
                self.event.len()
            )));
        }
        Ok(true)
    }

    /// Reads until the event has so many bytes, or the payload ends.
    fn read_to(&mut self, size: usize) -> Result<()> {
        let wanted = u64::try_from(size.saturating_sub(self.event.len())).unwrap_or(u64::MAX);
        // One byte beyond the limit, to see that there is one.
        let wanted = wanted.min(self.left.saturating_add(1));
        // `read_to_end` grows the buffer as bytes arrive, not by what the header claims.
        let read = (&mut self.source)
            .take(wanted)
            .read_to_end(&mut self.event)
            .map_err(|error| undecodable(&error))?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None if self.declared => return Err(damaged("transaction payload: longer than its length")),
            None => return Err(too_large(self.bytes_max)),
        }
        Ok(())
    }
}

#[cold]
fn undecodable(error: &std::io::Error) -> crate::error::Error {
    damaged(format!("transaction payload: {error}"))
}

#[cold]
fn too_large(bytes_max: u64) -> crate::error::Error {
    refused(format!("a compressed transaction has more than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u8, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0, 0, 0, 0, code, 1, 0, 0, 0];
        event.extend(u32::try_from(HEADER_LENGTH + body.len()).unwrap().to_le_bytes());
        event.extend([0; 6]);
        event.extend(body);
        event
    }

    fn payload(events: &[u8], declared: usize) -> Vec<u8> {
        let packed = zstd::encode_all(events, 3).unwrap();
        let mut body = vec![2, 1, 0, 3, 9, 254];
        body.extend(u64::try_from(declared).unwrap().to_le_bytes());
        body.extend([77, 2, 1, 2, 1, 9, 254]);
        body.extend(u64::try_from(packed.len()).unwrap().to_le_bytes());
        body.push(0);
        body.extend(packed);
        body
    }

    fn sizes(body: &[u8], bytes_max: u64) -> Result<Vec<usize>> {
        let mut events = TransactionPayload::parse(body)?.events(bytes_max)?;
        let mut sizes = Vec::new();
        while let Some(event) = events.next_event()? {
            sizes.push(event.body.len());
        }
        assert!(events.next_event()?.is_none());
        Ok(sizes)
    }

    #[test]
    fn events_come_one_by_one() {
        let events = [event(19, &[1; 30]), event(30, &vec![7; 300_000]), event(16, &[0; 8])].concat();
        assert_eq!(sizes(&payload(&events, events.len()), 1 << 20).unwrap(), [30, 300_000, 8]);
    }

    #[test]
    fn a_wrong_length_is_damaged() {
        let events = [event(19, &[1; 30]), event(16, &[0; 8])].concat();
        for declared in [0, 1, events.len() - 1, events.len() + 1] {
            let error = sizes(&payload(&events, declared), 1 << 20).unwrap_err();
            assert!(matches!(error.kind(), crate::error::ErrorKind::BinlogDamaged { .. }), "{error}");
        }
        let cut = payload(&events[..events.len() - 3], events.len() - 3);
        assert!(sizes(&cut, 1 << 20).is_err());
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let events = event(30, &vec![0; 50_000_000]);
        let error = sizes(&payload(&events, events.len()), 1 << 20).unwrap_err();
        assert!(matches!(error.kind(), crate::error::ErrorKind::BinlogEvent { .. }));
        // It says that it is small, and is not.
        let error = sizes(&payload(&events, 5000), 1 << 20).unwrap_err();
        assert!(matches!(error.kind(), crate::error::ErrorKind::BinlogDamaged { .. }));
    }
}
