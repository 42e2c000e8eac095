//! The reading end: whole transactions in the order of the log.
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::segment::{self, BUFFER_KEPT, BlockKind, BlockReader, Damage, SegmentHeader};
use super::{Shared, disk};
use crate::binlog::{EventBatch, GroupEdge, GroupTracker};
use crate::data::GtidSet;
use crate::error::{Error, Result};

/// The reading end of a spool; follows the writer.
pub struct SpoolReader {
    shared: Arc<Shared>,
    /// What need not be read.
    applied: GtidSet,
    at: Option<OpenFile>,
    /// The file that comes next.
    next: u64,
    tracker: GroupTracker,
    /// The transaction under way is applied already.
    skips: bool,
    blocks: BlockReader,
    raw: Vec<u8>,
}

struct OpenFile {
    input: BufReader<File>,
    number: u64,
    offset: u64,
}

/// What there is to read.
enum Ahead {
    /// Bytes of the file that is open.
    Bytes(u64),
    /// Another file.
    File(u64),
    Nothing,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>, applied: GtidSet) -> Result<Self> {
        let blocks = BlockReader::new().map_err(|error| Error::internal(format!("zstd: {error}")))?;
        Ok(SpoolReader {
            shared,
            applied,
            at: None,
            next: 0,
            tracker: GroupTracker::new(),
            skips: false,
            blocks,
            raw: Vec::new(),
        })
    }

    /// Waits for events, at most for `patience`; `None` when none came.
    ///
    /// A batch holds the events of a block that are not applied yet. A large transaction spans several, and all of it is there
    /// when the first comes.
    ///
    /// # Errors
    /// [`ErrorKind::SpoolDamaged`](crate::error::ErrorKind::SpoolDamaged) when a file is not what was written;
    /// [`ErrorKind::File`](crate::error::ErrorKind::File).
    pub fn next(&mut self, patience: Duration) -> Result<Option<EventBatch>> {
        let end = Instant::now() + patience;
        loop {
            match self.look_ahead(end) {
                Ahead::Nothing => return Ok(None),
                Ahead::File(number) => self.open(number)?,
                Ahead::Bytes(available) => {
                    let batch = self.read_block(available)?;
                    if !batch.is_empty() {
                        return Ok(Some(batch));
                    }
                }
            }
        }
    }

    fn look_ahead(&mut self, end: Instant) -> Ahead {
        let mut state = self.shared.state();
        loop {
            if let Some(open) = &self.at {
                let present = state.segments.iter().find(|segment| segment.number == open.number);
                if let Some(segment) = present
                    && open.offset < segment.readable
                {
                    return Ahead::Bytes(segment.readable - open.offset);
                }
                // A file that is gone was applied as a whole.
                if present.is_none_or(|segment| segment.complete) {
                    self.next = open.number + 1;
                    self.at = None;
                }
            }
            if self.at.is_none() {
                let next = state.segments.iter().find(|segment| {
                    segment.number >= self.next && !(segment.complete && segment.own.is_subset(&self.applied))
                });
                if let Some(segment) = next {
                    return Ahead::File(segment.number);
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ahead::Nothing;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn open(&mut self, number: u64) -> Result<()> {
        let path = disk::path_of(&self.shared.options.folder, number);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Deleted since we looked, when all of it was applied.
                let is_released =
                    !self.shared.state().segments.iter().any(|segment| segment.number == number);
                if is_released {
                    self.next = number + 1;
                    return Ok(());
                }
                return Err(disk::damaged(&path, "it is gone"));
            }
            Err(error) => return Err(disk::failed("read", &path, error)),
        };
        let length = file.metadata().map_err(|error| disk::failed("read", &path, error))?.len();
        let mut input = BufReader::new(file);
        let header = SegmentHeader::read(&mut input, length);
        let offset = match header {
            Ok((header, length)) if header.number == number && header.identity == self.shared.identity => {
                length
            }
            Ok(_) => return Err(disk::damaged(&path, "it was exchanged for another")),
            Err(Damage::Io(error)) => return Err(disk::failed("read", &path, error)),
            Err(Damage::Wrong(what)) => return Err(disk::damaged(&path, what)),
        };
        self.at = Some(OpenFile { input, number, offset });
        Ok(())
    }

    fn read_block(&mut self, available: u64) -> Result<EventBatch> {
        let Some(open) = &mut self.at else { return Ok(EventBatch::default()) };
        let path = disk::path_of(&self.shared.options.folder, open.number);
        let at = open.offset;
        let damage = |damage: Damage| match damage {
            Damage::Io(error) => disk::failed("read", &path, error),
            Damage::Wrong(what) => disk::damaged(&path, format!("{what}, at byte {at}")),
        };
        // What is buffered may be from before the writer took an unfinished transaction back.
        open.input.seek(SeekFrom::Start(at)).map_err(|error| disk::failed("read", &path, error))?;
        let (kind, length) = self.blocks.read(&mut open.input, available, &mut self.raw).map_err(damage)?;
        if kind == BlockKind::End {
            return Err(disk::damaged(&path, format!("it ends before its end, at byte {at}")));
        }
        open.offset += length;
        let mut batch = EventBatch::default();
        let (tracker, skips, applied) = (&mut self.tracker, &mut self.skips, &self.applied);
        segment::for_each_event(&self.raw, |event| {
            let edge = tracker.take(&event).map_err(|_| Damage::Wrong("its events are out of order"))?;
            if let GroupEdge::Begins(span) = &edge {
                *skips = span.is_in(applied);
            }
            if !*skips || edge == GroupEdge::Outside {
                batch.push(&event);
            } else if matches!(edge, GroupEdge::Ends(_)) {
                *skips = false;
            }
            Ok(())
        })
        .map_err(damage)?;
        if self.raw.capacity() > BUFFER_KEPT {
            self.raw = Vec::new();
        }
        Ok(batch)
    }
}
