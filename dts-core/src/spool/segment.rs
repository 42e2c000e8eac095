//! The format of a segment file.
//!
//! ```text
//! header   magic (8), version (4), length of the text (4), CRC32 of all other bytes of the header (4), text (JSON)
//! block*   stored length (4), raw length (4), kind (1), zeros (3), CRC32 of the 12 bytes before and of what follows (4), bytes
//! end      a block of kind End without bytes: the file is complete
//! ```
//! Integers are little-endian. A block's raw bytes are events: length of the body (4), header (19), body. A file begins and
//! ends between two transactions; a transaction may span blocks.
//!
//! What is read is not trusted: a length is compared with what the file has before anything of that length is read, bytes are
//! looked at only when their CRC is right, and memory grows with the bytes that are there.
use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::binlog::{EventHeader, RawEvent};
use crate::data::GtidSet;

const MAGIC: [u8; 8] = *b"dts\0spl\n";
const VERSION: u32 = 1;
/// Magic, version, length, CRC.
const PREAMBLE_LENGTH: usize = 20;
/// Length of what stands before a block's bytes, and of a whole End block.
pub(super) const BLOCK_HEADER_LENGTH: u64 = 16;
/// Blocks of fewer raw bytes are stored as they are: compressing costs more than it brings.
const COMPRESS_FROM: usize = 400;
/// Up to so many raw bytes memory is taken at once; beyond it grows as bytes appear.
const RAW_AT_ONCE: usize = 4 << 20;
/// Buffers larger than this are given back after use.
pub(super) const BUFFER_KEPT: usize = 4 << 20;
/// The fastest level that still finds what repeats in row events.
const LEVEL: i32 = 1;

/// What a segment says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SegmentHeader {
    /// Whose events they are.
    pub(super) identity: String,
    /// Segments of a spool are numbered without gaps.
    pub(super) number: u64,
    /// What the stream did not have to bring any more when the segment was begun.
    pub(super) start: GtidSet,
}

/// What a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlockKind {
    /// Events.
    Events,
    /// The file is complete.
    End,
}

/// Why bytes could not be read.
#[derive(Debug)]
pub(super) enum Damage {
    /// The operating system's answer.
    Io(io::Error),
    /// They end too early, or are not what the format says.
    Wrong(&'static str),
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Damage::Wrong("it ends too early")
        } else {
            Damage::Io(error)
        }
    }
}

impl SegmentHeader {
    /// Returns the bytes that a file begins with.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        crc.update(&text);
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend(text);
        Ok(bytes)
    }

    /// Reads what a file of `available` bytes begins with; returns its length, too.
    pub(super) fn read(input: &mut impl Read, available: u64) -> Result<(Self, u64), Damage> {
        let mut preamble = [0; PREAMBLE_LENGTH];
        input.read_exact(&mut preamble)?;
        let (head, crc) = preamble.split_at(PREAMBLE_LENGTH - 4);
        if head.get(..8) != Some(&MAGIC) {
            return Err(Damage::Wrong("it is no segment of a spool"));
        }
        if u32_at(head, 8) != VERSION {
            return Err(Damage::Wrong("it was written by another version of dts"));
        }
        let length = u64::from(u32_at(head, 12));
        let whole = length + PREAMBLE_LENGTH as u64;
        if whole > available {
            return Err(Damage::Wrong("it ends too early"));
        }
        let mut text = Vec::new();
        read_bytes(input, length, &mut text)?;
        let mut check = crc32fast::Hasher::new();
        check.update(head);
        check.update(&text);
        if check.finalize() != u32_at(crc, 0) {
            return Err(Damage::Wrong("the checksum of its header is wrong"));
        }
        let header = serde_json::from_slice(&text).map_err(|_| Damage::Wrong("its header cannot be read"))?;
        Ok((header, whole))
    }
}

/// Makes blocks.
pub(super) struct BlockWriter {
    compressor: zstd::bulk::Compressor<'static>,
}

impl BlockWriter {
    pub(super) fn new() -> io::Result<Self> {
        Ok(BlockWriter { compressor: zstd::bulk::Compressor::new(LEVEL)? })
    }

    /// Replaces `block` by a block with these raw bytes.
    pub(super) fn write(&mut self, raw: &[u8], block: &mut Vec<u8>) -> io::Result<()> {
        block.clear();
        block.resize(usize::try_from(BLOCK_HEADER_LENGTH).unwrap_or(16), 0);
        let mut kind = KIND_PLAIN;
        if raw.len() >= COMPRESS_FROM {
            let packed = self.compressor.compress(raw)?;
            if packed.len() < raw.len() {
                kind = KIND_ZSTD;
                block.extend_from_slice(&packed);
            }
        }
        if kind == KIND_PLAIN {
            block.extend_from_slice(raw);
        }
        seal_block(block, raw.len(), kind)
    }
}

/// Returns the block that says that a file is complete.
pub(super) fn end_block() -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(BLOCK_HEADER_LENGTH).unwrap_or(16)];
    seal_block(&mut block, 0, KIND_END)?;
    Ok(block)
}

const KIND_ZSTD: u8 = 1;
const KIND_PLAIN: u8 = 2;
const KIND_END: u8 = 3;

fn seal_block(block: &mut [u8], raw_length: usize, kind: u8) -> io::Result<()> {
    let Some((head, stored)) = block.split_first_chunk_mut::<16>() else {
        return Err(io::Error::other("a block without room for its header"));
    };
    let stored_length = u32::try_from(stored.len()).map_err(io::Error::other)?;
    let raw_length = u32::try_from(raw_length).map_err(io::Error::other)?;
    head[..4].copy_from_slice(&stored_length.to_le_bytes());
    head[4..8].copy_from_slice(&raw_length.to_le_bytes());
    head[8] = kind;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..12]);
    crc.update(stored);
    let crc = crc.finalize();
    head[12..].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Reads blocks.
pub(super) struct BlockReader {
    decompressor: zstd::bulk::Decompressor<'static>,
    stored: Vec<u8>,
}

impl BlockReader {
    pub(super) fn new() -> io::Result<Self> {
        Ok(BlockReader { decompressor: zstd::bulk::Decompressor::new()?, stored: Vec::new() })
    }

    /// Reads a block of at most `available` bytes and replaces `raw` by what is in it; returns its length in the file, too.
    pub(super) fn read(
        &mut self,
        input: &mut impl Read,
        available: u64,
        raw: &mut Vec<u8>,
    ) -> Result<(BlockKind, u64), Damage> {
        raw.clear();
        let mut head = [0; 16];
        input.read_exact(&mut head)?;
        let (stored_length, raw_length) = (u64::from(u32_at(&head, 0)), u32_at(&head, 4));
        let length = stored_length + BLOCK_HEADER_LENGTH;
        if length > available {
            return Err(Damage::Wrong("a block is longer than the file"));
        }
        self.stored.clear();
        read_bytes(input, stored_length, &mut self.stored)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..12]);
        crc.update(&self.stored);
        if crc.finalize() != u32_at(&head, 12) {
            return Err(Damage::Wrong("the checksum of a block is wrong"));
        }
        let raw_length =
            usize::try_from(raw_length).map_err(|_| Damage::Wrong("a block does not fit into memory"))?;
        let kind = match head[8] {
            KIND_ZSTD => {
                self.unpack(raw_length, raw)?;
                BlockKind::Events
            }
            KIND_PLAIN => {
                raw.extend_from_slice(&self.stored);
                BlockKind::Events
            }
            KIND_END => BlockKind::End,
            _ => return Err(Damage::Wrong("a block is of a kind that is not known")),
        };
        if raw.len() != raw_length {
            return Err(Damage::Wrong("a block has another length than it says"));
        }
        if self.stored.capacity() > BUFFER_KEPT {
            self.stored = Vec::new();
        }
        Ok((kind, length))
    }

    fn unpack(&mut self, raw_length: usize, raw: &mut Vec<u8>) -> Result<(), Damage> {
        const WRONG: Damage = Damage::Wrong("a block cannot be decompressed");
        if raw_length <= RAW_AT_ONCE {
            raw.reserve(raw_length);
            return match self.decompressor.decompress_to_buffer(&self.stored, raw) {
                Ok(_) => Ok(()),
                Err(_) => Err(WRONG),
            };
        }
        let decoder = zstd::stream::read::Decoder::with_buffer(&self.stored[..]).map_err(|_| WRONG)?;
        // One byte beyond, to see that there is one.
        decoder.take(raw_length as u64 + 1).read_to_end(raw).map_err(|_| WRONG)?;
        Ok(())
    }
}

/// Adds an event to the raw bytes of a block.
pub(super) fn push_event(raw: &mut Vec<u8>, event: &RawEvent<'_>) -> io::Result<()> {
    let length = u32::try_from(event.body.len()).map_err(io::Error::other)?;
    raw.extend_from_slice(&length.to_le_bytes());
    event.header.write_to(raw);
    raw.extend_from_slice(event.body);
    Ok(())
}

/// Calls `take` for each event of a block's raw bytes.
pub(super) fn for_each_event<'a>(
    mut raw: &'a [u8],
    mut take: impl FnMut(RawEvent<'a>) -> Result<(), Damage>,
) -> Result<(), Damage> {
    const WRONG: Damage = Damage::Wrong("an event in a block is cut off");
    while !raw.is_empty() {
        let (length, rest) = raw.split_first_chunk::<4>().ok_or(WRONG)?;
        let (header, rest) = rest.split_at_checked(EventHeader::LENGTH).ok_or(WRONG)?;
        let header = EventHeader::parse(header).map_err(|_| WRONG)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| WRONG)?;
        let (body, rest) = rest.split_at_checked(length).ok_or(WRONG)?;
        take(RawEvent { header, body })?;
        raw = rest;
    }
    Ok(())
}

/// Reads any bytes as a segment, for the fuzz target; returns how many events are in it before the first damage.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn count_events(bytes: &[u8]) -> usize {
    let mut count = 0;
    let mut input = bytes;
    let Ok((_, mut at)) = SegmentHeader::read(&mut input, bytes.len() as u64) else { return 0 };
    let Ok(mut blocks) = BlockReader::new() else { return 0 };
    let mut raw = Vec::new();
    while let Ok((BlockKind::Events, length)) =
        blocks.read(&mut input, (bytes.len() as u64).saturating_sub(at), &mut raw)
    {
        at += length;
        let whole = for_each_event(&raw, |_| {
            count += 1;
            Ok(())
        });
        if whole.is_err() {
            break;
        }
    }
    count
}

fn u32_at(bytes: &[u8], index: usize) -> u32 {
    let four = bytes.get(index..).and_then(|rest| rest.first_chunk::<4>());
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

/// Reads exactly so many bytes; memory grows as they arrive.
fn read_bytes(input: &mut impl Read, length: u64, bytes: &mut Vec<u8>) -> Result<(), Damage> {
    let read = input.take(length).read_to_end(bytes)?;
    if read as u64 == length { Ok(()) } else { Err(Damage::Wrong("it ends too early")) }
}
