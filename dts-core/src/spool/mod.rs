//! The spool: the source's binary log on a local disk, from P0 until it is applied.
//!
//! An hour-long copy must not lose the source's log to its purge, and must not be held up by changes either. So events are
//! written to local files as they come, and applied from there. This room knows files only: who receives events gives them
//! to the [`SpoolWriter`], who applies them takes them from a [`SpoolReader`]. Both may work at the same time.
//!
//! # What it promises
//! - A reader sees whole transactions only, in the order of the log, each at most once. A transaction that broke off (the stream
//!   ended in the middle) is taken back before anybody saw it.
//! - After a crash, whatever is whole and verified is still there; [`Spool::spooled`] says what that is. Everything else is
//!   asked from the source again: a damaged end is cut off. Damage elsewhere is an error that says what to do, because what
//!   follows it must not be applied without what is in it.
//! - Rows of tables that are not selected are left out; their transactions stay as empty ones, so that they count as applied.
//! - The files never hold more than [`SpoolOptions::bytes_max`], and [`SpoolOptions::free_bytes_min`] stays free: before that
//!   writing ends with [`ErrorKind::Full`](crate::error::ErrorKind::Full), and can go on later.
//! - A file is deleted once all its transactions are applied ([`Spool::release`]).
//!
//! # What is durable
//! The spool is a copy of what the source still has, as long as the source has it. Files are flushed to the device when they are
//! complete and every few seconds, so that what a power failure can take is a few seconds of log, which no source purges that
//! soon. A process that dies takes nothing with it that it had written.
//!
//! # Why no queue in memory
//! Near the head a block is written the moment nothing more has arrived, and read from the page cache at once: that costs tens
//! of microseconds, less than one round trip to any server.
mod disk;
mod options;
mod reader;
mod segment;
mod table_filter;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use options::SpoolOptions;
pub use reader::SpoolReader;
pub use writer::SpoolWriter;

use crate::binlog::{GroupEdge, GroupTracker};
use crate::data::{GtidSet, Span};
use crate::error::Result;
use crate::transform::ObjectSelection;
use segment::{BLOCK_HEADER_LENGTH, BlockKind, BlockReader, Damage, SegmentHeader};

/// The spool of one task. Clones share it; the folder is locked as long as one of them, a writer or a reader lives.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// Somebody applies what is spooled.
pub struct BeingApplied {
    shared: Arc<Shared>,
}

impl Drop for BeingApplied {
    fn drop(&mut self) {
        self.shared.state().appliers -= 1;
    }
}

struct Shared {
    options: SpoolOptions,
    identity: String,
    state: Mutex<State>,
    changed: Condvar,
    /// Held, not used.
    _lock: File,
}

struct State {
    /// In the order of the log; the last one may be the one that is written.
    segments: VecDeque<Segment>,
    /// What the stream need not bring any more.
    spooled: GtidSet,
    /// What was applied when somebody last said so.
    applied: GtidSet,
    appliers: usize,
    next_number: u64,
}

/// One file.
struct Segment {
    number: u64,
    /// Transactions that end in it.
    own: GtidSet,
    /// Bytes that are written.
    length: u64,
    /// Bytes that hold whole transactions.
    readable: u64,
    complete: bool,
}

impl Spool {
    /// Opens the spool in its folder with what is there, and begins to write behind it.
    ///
    /// `identity` says whose events they are: it must be another one for another task, start position or selection. `applied` is
    /// what is durable on the target. A spool that does not fit these is deleted, with a line in the log: of another identity,
    /// or with a gap between what is applied and where it begins.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`](crate::error::ErrorKind::IllegalState) when another process holds it;
    /// [`ErrorKind::SpoolDamaged`](crate::error::ErrorKind::SpoolDamaged);
    /// [`ErrorKind::File`](crate::error::ErrorKind::File).
    pub fn open(
        options: SpoolOptions,
        identity: &str,
        selection: &ObjectSelection,
        applied: &GtidSet,
    ) -> Result<(Spool, SpoolWriter)> {
        let lock = disk::lock(&options.folder)?;
        let mut segments = VecDeque::new();
        let mut spooled = GtidSet::new();
        match recover(&options.folder, identity, applied)? {
            Recovered::Fits(found, set) => (segments, spooled) = (found, set),
            Recovered::Unfit(why) => {
                log::warn!("the spool in '{}' is discarded: {why}", options.folder.display());
                remove_all(&options.folder)?;
            }
        }
        spooled.merge(applied);
        let next_number = segments.back().map_or(1, |last: &Segment| last.number + 1);
        let state = State { segments, spooled, applied: applied.clone(), appliers: 0, next_number };
        let shared = Arc::new(Shared {
            options,
            identity: identity.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            _lock: lock,
        });
        let spool = Spool { shared };
        spool.release(applied)?;
        let writer = SpoolWriter::new(spool.shared.clone(), selection.clone())?;
        Ok((spool, writer))
    }

    /// Deletes a spool and its folder. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalState`](crate::error::ErrorKind::IllegalState) when a process holds it;
    /// [`ErrorKind::File`](crate::error::ErrorKind::File).
    pub fn discard(folder: &Path) -> Result<()> {
        if !folder.exists() {
            return Ok(());
        }
        let lock = disk::lock(folder)?;
        remove_all(folder)?;
        drop(lock);
        std::fs::remove_dir_all(folder).map_err(|error| disk::failed("remove", folder, error))
    }

    /// Returns what need not be asked from the source: what was applied when the spool was opened and all transactions in it.
    pub fn spooled(&self) -> GtidSet {
        self.shared.state().spooled.clone()
    }

    /// Begins to read all transactions that are not in `applied`.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn reader(&self, applied: &GtidSet) -> Result<SpoolReader> {
        SpoolReader::new(self.shared.clone(), applied.clone())
    }

    /// Deletes the files of which all is in `applied`, which must be durable on the target.
    ///
    /// # Errors
    /// [`ErrorKind::File`](crate::error::ErrorKind::File) when a file cannot be deleted.
    pub fn release(&self, applied: &GtidSet) -> Result<()> {
        let mut done = Vec::new();
        let mut state = self.shared.state();
        state.applied.merge(applied);
        while let Some(first) = state.segments.front()
            && first.complete
            && first.own.is_subset(&state.applied)
        {
            done.push(first.number);
            state.segments.pop_front();
        }
        drop(state);
        self.shared.changed.notify_all();
        for number in done {
            disk::remove(&disk::path_of(&self.shared.options.folder, number))?;
        }
        Ok(())
    }

    /// Returns how many bytes the files have in which something is not applied yet.
    pub fn bytes_waiting(&self) -> u64 {
        let state = self.shared.state();
        if state.is_applied() { 0 } else { state.byte_count() }
    }

    /// Says that somebody applies what is spooled, as long as the answer lives: room is going to be made, so that a full spool is
    /// worth waiting for. A reader alone says little: the applier closes its own when it reconnects.
    pub fn being_applied(&self) -> BeingApplied {
        self.shared.state().appliers += 1;
        BeingApplied { shared: self.shared.clone() }
    }

    /// Returns whether somebody applies what is spooled.
    pub fn is_being_applied(&self) -> bool {
        self.shared.state().appliers > 0
    }

    /// Returns whether all that is spooled is applied.
    pub fn is_applied(&self) -> bool {
        self.shared.state().is_applied()
    }

    /// Returns whether so much was freed that writing is worth while again: a quarter of the limit.
    pub fn has_room(&self) -> bool {
        let used = self.shared.state().byte_count();
        let limit = self.shared.options.bytes_max;
        used <= limit - limit / 4
            && disk::free_bytes(&self.shared.options.folder)
                .is_ok_and(|free| free >= self.shared.options.free_bytes_min)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn byte_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn is_applied(&self) -> bool {
        self.segments.iter().all(|segment| segment.own.is_subset(&self.applied))
    }
}

/// Reads any bytes as a file of a spool; returns how many events come before the first damage.
#[cfg(feature = "fuzzing")]
pub(crate) fn count_events(bytes: &[u8]) -> usize {
    segment::count_events(bytes)
}

fn remove_all(folder: &Path) -> Result<()> {
    for number in disk::numbers(folder)? {
        disk::remove(&disk::path_of(folder, number))?;
    }
    Ok(())
}

enum Recovered {
    Fits(VecDeque<Segment>, GtidSet),
    Unfit(String),
}

/// Looks at what is in the folder: all headers, the ends of complete files, and the whole of the last one.
fn recover(folder: &Path, identity: &str, applied: &GtidSet) -> Result<Recovered> {
    let numbers = disk::numbers(folder)?;
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut spooled = GtidSet::new();
    for (index, &number) in numbers.iter().enumerate() {
        let is_last = index + 1 == numbers.len();
        let path = disk::path_of(folder, number);
        if segments.back().is_some_and(|before| before.number + 1 != number) {
            return Ok(Recovered::Unfit(format!("the file before '{}' is missing", path.display())));
        }
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| disk::failed("read", &path, error))?;
        let length = file.metadata().map_err(|error| disk::failed("read", &path, error))?.len();
        let mut input = BufReader::new(file);
        let (header, header_length) = match SegmentHeader::read(&mut input, length) {
            Ok(read) => read,
            Err(Damage::Io(error)) => return Err(disk::failed("read", &path, error)),
            // It was being begun when the process died: nothing was in it yet.
            Err(Damage::Wrong(_)) if is_last => {
                disk::remove(&path)?;
                break;
            }
            Err(Damage::Wrong(what)) => return Err(disk::damaged(&path, what)),
        };
        if header.identity != identity || header.number != number {
            return Ok(Recovered::Unfit(
                "it was written for another task, start position, source or selection".into(),
            ));
        }
        if segments.is_empty() && !header.start.is_subset(applied) {
            return Ok(Recovered::Unfit("it begins behind what is applied".into()));
        }
        if let Some(before) = segments.back_mut() {
            before.own = header.start.subtract(&spooled);
        }
        spooled = header.start;
        let segment = if is_last {
            let (segment, set) = scan(&path, input, number, header_length, length)?;
            spooled.merge(&set);
            segment
        } else {
            check_end(&path, &mut input, length)?;
            let readable = length.saturating_sub(BLOCK_HEADER_LENGTH);
            Some(Segment { number, own: GtidSet::new(), length, readable, complete: true })
        };
        match segment {
            Some(segment) => segments.push_back(segment),
            None => disk::remove(&path)?,
        }
    }
    Ok(Recovered::Fits(segments, spooled))
}

/// Verifies the last file, cuts off what is not whole, and completes it. `None` when nothing is left.
fn scan(
    path: &Path,
    mut input: BufReader<File>,
    number: u64,
    header_length: u64,
    length: u64,
) -> Result<(Option<Segment>, GtidSet)> {
    let mut blocks = BlockReader::new().map_err(|error| disk::failed("read", path, error))?;
    let mut tracker = GroupTracker::new();
    let (mut own, mut raw) = (GtidSet::new(), Vec::new());
    let mut ended = Vec::new();
    let (mut at, mut readable) = (header_length, header_length);
    let what = loop {
        if at == length {
            break None;
        }
        let (kind, block_length) = match blocks.read(&mut input, length - at, &mut raw) {
            Ok(read) => read,
            Err(Damage::Io(error)) => return Err(disk::failed("read", path, error)),
            Err(Damage::Wrong(what)) => break Some(what),
        };
        if kind == BlockKind::End {
            break None;
        }
        let read = segment::for_each_event(&raw, |event| {
            match tracker.take(&event) {
                Ok(GroupEdge::Ends(span)) => ended.push(span),
                Ok(_) => {}
                Err(_) => return Err(Damage::Wrong("its events are out of order")),
            }
            Ok(())
        });
        if let Err(Damage::Wrong(what)) = read {
            break Some(what);
        }
        at += block_length;
        if !tracker.is_inside() {
            ended.drain(..).for_each(|span: Span| span.add_to(&mut own));
            readable = at;
        }
    };
    if let Some(what) = what {
        log::warn!("the end of '{}' is cut off and asked for again: {what}", path.display());
    }
    if own.is_empty() {
        return Ok((None, own));
    }
    let mut file = input.into_inner();
    let completed = (|| {
        file.set_len(readable)?;
        file.seek(SeekFrom::Start(readable))?;
        file.write_all(&segment::end_block()?)?;
        file.sync_data()
    })();
    completed.map_err(|error| disk::failed("write", path, error))?;
    let segment = Segment {
        number,
        own: own.clone(),
        length: readable + BLOCK_HEADER_LENGTH,
        readable,
        complete: true,
    };
    Ok((Some(segment), own))
}

/// A file that others follow must be complete.
fn check_end(path: &Path, input: &mut BufReader<File>, length: u64) -> Result<()> {
    let start = length.saturating_sub(BLOCK_HEADER_LENGTH);
    input.seek(SeekFrom::Start(start)).map_err(|error| disk::failed("read", path, error))?;
    let mut blocks = BlockReader::new().map_err(|error| disk::failed("read", path, error))?;
    match blocks.read(input, BLOCK_HEADER_LENGTH, &mut Vec::new()) {
        Ok((BlockKind::End, _)) => Ok(()),
        Err(Damage::Io(error)) => Err(disk::failed("read", path, error)),
        Ok(_) | Err(Damage::Wrong(_)) => Err(disk::damaged(path, "its end is missing")),
    }
}
