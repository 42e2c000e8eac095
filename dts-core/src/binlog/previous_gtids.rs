//! PREVIOUS_GTIDS_LOG_EVENT: the GTIDs of all files before.
use super::reader::Bytes;
use super::refused;
use crate::error::Result;

/// The GTIDs of all files before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreviousGtids {
    /// One entry per server and tag.
    pub sources: Vec<PreviousGtidsOf>,
}

/// The GTIDs of one server and tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreviousGtidsOf {
    /// The UUID of the server.
    pub source_id: [u8; 16],
    /// The tag (8.4 and later).
    pub tag: Option<String>,
    /// The transactions, ascending.
    pub intervals: Vec<GtidInterval>,
}

/// Transactions numbered from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GtidInterval {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
}

impl PreviousGtids {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off or an interval is empty;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a format that is not known here.
    pub fn parse(body: &[u8]) -> Result<Self> {
        const INTERVAL_LENGTH: u64 = 16;
        let mut bytes = Bytes::new(body, "previous GTIDs event");
        let head = bytes.u64()?;
        // The format is in the highest byte. Sets with tags repeat it in the lowest, and count in the six between.
        let (count, tagged) = match head >> 56 {
            0 => (head, false),
            1 => ((head >> 8) & 0xffff_ffff_ffff, true),
            other => return Err(refused(format!("previous GTIDs event of format {other}"))),
        };
        let mut sources = Vec::new();
        for _ in 0..count {
            let source_id = bytes.array()?;
            let mut tag = None;
            if tagged {
                // The length is an integer of variable length; a tag has at most 32 bytes, so it has one byte.
                let length = bytes.u8()?;
                if length & 1 != 0 {
                    return Err(bytes.damaged("a tag that is too long"));
                }
                let text = super::name(bytes.take(usize::from(length >> 1))?, "previous GTIDs event")?;
                tag = Some(text).filter(|tag| !tag.is_empty());
            }
            let interval_count = bytes.u64()?;
            let length = interval_count.saturating_mul(INTERVAL_LENGTH);
            let mut part = bytes.part(length, "previous GTIDs event")?;
            let mut intervals = Vec::new();
            while !part.is_empty() {
                let (first, end) = (part.u64()?, part.u64()?);
                if first == 0 || end <= first {
                    return Err(part.damaged("an empty interval"));
                }
                intervals.push(GtidInterval { first, last: end - 1 });
            }
            sources.push(PreviousGtidsOf { source_id, tag, intervals });
        }
        Ok(PreviousGtids { sources })
    }
}
