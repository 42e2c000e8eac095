//! The writing end: events in, blocks out.
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Instant;

use super::segment::{self, BUFFER_KEPT, BlockWriter, SegmentHeader};
use super::table_filter::TableFilter;
use super::{Segment, Shared, disk};
use crate::binlog::{EventType, GroupEdge, GroupTracker, RawEvent};
use crate::data::{GtidSet, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::transform::ObjectSelection;

/// The free space is asked for again after so many bytes.
const SPACE_ASKED_EVERY: u64 = 4 << 20;

/// The writing end of a spool. There is one.
///
/// After an error call [`rewind`](Self::rewind) before anything else is written.
pub struct SpoolWriter {
    shared: Arc<Shared>,
    filter: TableFilter,
    tracker: GroupTracker,
    /// The transaction under way is in the spool already.
    skips: bool,
    file: Option<OpenFile>,
    blocks: BlockWriter,
    block: Vec<u8>,
    /// Events that are in no block yet.
    raw: Vec<u8>,
    /// So many bytes of `raw` end between two transactions.
    whole: usize,
    /// Transactions that end within `whole`.
    ended: Vec<Span>,
    space_asked_at: u64,
    written: u64,
}

struct OpenFile {
    file: File,
    number: u64,
    length: u64,
    readable: u64,
    synced_at: Instant,
}

impl SpoolWriter {
    pub(super) fn new(shared: Arc<Shared>, selection: ObjectSelection) -> Result<Self> {
        let blocks = BlockWriter::new().map_err(|error| Error::internal(format!("zstd: {error}")))?;
        Ok(SpoolWriter {
            shared,
            filter: TableFilter::new(selection),
            tracker: GroupTracker::new(),
            skips: false,
            file: None,
            blocks,
            block: Vec::new(),
            raw: Vec::new(),
            whole: 0,
            ended: Vec::new(),
            space_asked_at: 0,
            written: 0,
        })
    }

    /// Takes the next event of the stream. Readers see it once its transaction is whole and [`flush`](Self::flush) was called,
    /// or enough has gathered.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] before the limit is passed or the disk is full; [`ErrorKind::File`];
    /// [`ErrorKind::BinlogDamaged`] for events that no stream can have in this order.
    pub fn append(&mut self, event: &RawEvent<'_>) -> Result<()> {
        let starts_anew = matches!(event.header.event_type, EventType::Rotate | EventType::FormatDescription);
        if starts_anew && self.tracker.is_inside() {
            // The server died while it wrote the last file.
            self.flush()?;
            self.rewind()?;
        }
        let edge = self.tracker.take(event)?;
        if let GroupEdge::Begins(span) = &edge {
            self.skips = span.is_in(&self.shared.state().spooled);
        }
        if self.skips && edge != GroupEdge::Outside {
            self.skips = !matches!(edge, GroupEdge::Ends(_));
            return Ok(());
        }
        if self.filter.wants(event)? {
            segment::push_event(&mut self.raw, event).map_err(|error| Error::internal(error.to_string()))?;
        }
        match edge {
            GroupEdge::Ends(span) => {
                self.ended.push(span);
                self.whole = self.raw.len();
            }
            GroupEdge::Outside => self.whole = self.raw.len(),
            GroupEdge::Begins(_) | GroupEdge::Inside => {}
        }
        if self.raw.len() >= self.shared.options.block_limit() {
            self.flush()?;
            if self.raw.len() >= self.shared.options.block_limit() {
                // A large transaction: stays out of sight until its end is there.
                self.write_block(self.raw.len())?;
            }
        }
        Ok(())
    }

    /// Lets readers see all whole transactions. To be called whenever nothing more is there.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn flush(&mut self) -> Result<()> {
        if self.whole > 0 {
            self.write_block(self.whole)?;
            self.publish()?;
        }
        Ok(())
    }

    /// Takes the unfinished transaction back: the stream ended in the middle of it, or it could not be written. Whole ones
    /// that were not written yet are forgotten, too: [`Spool::spooled`](super::Spool::spooled) does not have them.
    ///
    /// # Errors
    /// [`ErrorKind::File`].
    pub fn rewind(&mut self) -> Result<()> {
        self.tracker.reset();
        self.skips = false;
        self.raw.clear();
        self.whole = 0;
        self.ended.clear();
        let Some(open) = &mut self.file else { return Ok(()) };
        let path = disk::path_of(&self.shared.options.folder, open.number);
        let cut =
            open.file.set_len(open.readable).and_then(|()| open.file.seek(SeekFrom::Start(open.readable)));
        cut.map_err(|error| disk::failed("write", &path, error))?;
        open.length = open.readable;
        self.shared.set_length(open.number, open.readable);
        Ok(())
    }

    /// Completes the file that is written, so that it can be deleted when it is applied.
    ///
    /// # Errors
    /// [`ErrorKind::File`].
    pub fn complete_file(&mut self) -> Result<()> {
        let Some(mut open) = self.file.take() else { return Ok(()) };
        let path = disk::path_of(&self.shared.options.folder, open.number);
        let completed = segment::end_block()
            .and_then(|block| open.file.write_all(&block).map(|()| block.len()))
            .and_then(|length| open.file.sync_data().map(|()| length));
        let length = completed.map_err(|error| disk::failed("write", &path, error))?;
        let mut state = self.shared.state();
        if let Some(segment) = state.segments.back_mut().filter(|segment| segment.number == open.number) {
            segment.length = open.readable + length as u64;
            segment.complete = true;
        }
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Writes the first `count` bytes of `raw` as one block.
    fn write_block(&mut self, count: usize) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let part = self.raw.get(..count).unwrap_or_default();
        self.blocks.write(part, &mut block).map_err(|error| Error::internal(format!("zstd: {error}")))?;
        let outcome = self.write_bytes(&block);
        block.clear();
        if block.capacity() <= BUFFER_KEPT {
            self.block = block;
        }
        outcome?;
        self.raw.drain(..count);
        if self.raw.capacity() > 2 * BUFFER_KEPT {
            self.raw.shrink_to(BUFFER_KEPT);
        }
        self.whole = self.whole.saturating_sub(count);
        Ok(())
    }

    fn write_bytes(&mut self, block: &[u8]) -> Result<()> {
        let more = block.len() as u64;
        if self.file.is_none() {
            let open = self.begin_file(more)?;
            self.file = Some(open);
        } else {
            self.make_sure_of_room(more)?;
        }
        let Some(open) = &mut self.file else { return Err(Error::internal("no segment is open")) };
        let path = disk::path_of(&self.shared.options.folder, open.number);
        if let Err(error) = open.file.write_all(block) {
            // A part may have been written.
            drop(open.file.set_len(open.length).and_then(|()| open.file.seek(SeekFrom::Start(open.length))));
            return Err(disk::failed("write", &path, error));
        }
        open.length += more;
        self.written += more;
        self.shared.set_length(open.number, open.length);
        Ok(())
    }

    /// Lets readers see what was written.
    fn publish(&mut self) -> Result<()> {
        let Some(open) = &mut self.file else { return Ok(()) };
        open.readable = open.length;
        let mut state = self.shared.state();
        self.ended.iter().for_each(|span| span.add_to(&mut state.spooled));
        if let Some(segment) = state.segments.back_mut() {
            segment.readable = open.readable;
            self.ended.drain(..).for_each(|span| span.add_to(&mut segment.own));
        }
        drop(state);
        self.shared.changed.notify_all();
        if open.length >= self.shared.options.segment_limit() {
            return self.complete_file();
        }
        if open.synced_at.elapsed() >= self.shared.options.sync_every {
            let path = disk::path_of(&self.shared.options.folder, open.number);
            open.file.sync_data().map_err(|error| disk::failed("write", &path, error))?;
            open.synced_at = Instant::now();
        }
        Ok(())
    }

    fn begin_file(&mut self, more: u64) -> Result<OpenFile> {
        let (number, start) = {
            let state = self.shared.state();
            (state.next_number, state.spooled.clone())
        };
        let header = SegmentHeader { identity: self.shared.identity.clone(), number, start };
        let bytes = header.to_bytes().map_err(|error| Error::internal(error.to_string()))?;
        let length = bytes.len() as u64;
        self.space_asked_at = 0;
        self.make_sure_of_room(length + more)?;
        let folder = &self.shared.options.folder;
        let path = disk::path_of(folder, number);
        // Of a file that could not be begun, only the name may be there.
        let begun =
            File::options().create(true).truncate(true).write(true).open(&path).and_then(|mut file| {
                file.write_all(&bytes)?;
                Ok(file)
            });
        let file = match begun {
            Ok(file) => file,
            Err(error) => {
                disk::remove(&path)?;
                return Err(disk::failed("write", &path, error));
            }
        };
        disk::sync_folder(folder)?;
        let mut state = self.shared.state();
        state.next_number += 1;
        state.segments.push_back(Segment {
            number,
            own: GtidSet::new(),
            length,
            readable: length,
            complete: false,
        });
        Ok(OpenFile { file, number, length, readable: length, synced_at: Instant::now() })
    }

    fn make_sure_of_room(&mut self, more: u64) -> Result<()> {
        let options = &self.shared.options;
        let used = self.shared.state().byte_count();
        if used + more > options.bytes_max {
            let what = format!("the spool '{}'", options.folder.display());
            return Err(Error::from(ErrorKind::Full { what, limit: mib(options.bytes_max) }).with_hint(
                "The changes since the start no longer fit. Raise apply.spool_gib_max (and free as much on that disk), then run \
                 again: it resumes where it stood. Nothing was lost.",
            ));
        }
        if self.space_asked_at == 0 || self.written >= self.space_asked_at + SPACE_ASKED_EVERY {
            let free = disk::free_bytes(&options.folder)?;
            if free < options.free_bytes_min.saturating_add(more + SPACE_ASKED_EVERY) {
                let limit = format!("{} free, {} must stay free", mib(free), mib(options.free_bytes_min));
                return Err(disk::disk_full(&options.folder, limit));
            }
            self.space_asked_at = self.written.max(1);
        }
        Ok(())
    }
}

impl Shared {
    fn set_length(&self, number: u64, length: u64) {
        if let Some(segment) = self.state().segments.back_mut().filter(|segment| segment.number == number) {
            segment.length = length;
        }
    }
}

fn mib(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 30) == 0 => format!("{} GiB", bytes >> 30),
        bytes => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}
