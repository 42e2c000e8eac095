//! Receives the source's binary log into the spool, from P0 until the run ends, whatever the other steps do.
use std::time::{Duration, Instant};

use super::{Ends, MigrationOptions};
use crate::data::{GtidSet, Position};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::progress::Progress;
use crate::retry::{Attempts, RetryPolicy};
use crate::source::SourceEndpoint;
use crate::source::binlog_stream::BinlogStream;
use crate::spool::{Spool, SpoolOptions, SpoolWriter};
use crate::stop::StopToken;
use crate::target::ledger::TaskRow;

/// How often the size of the spool is told.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// How often a full spool is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Does `work` while the source's log is received beside it, into the task's spool. Without a folder for one, `work` gets none.
///
/// # Errors
/// What `work` returns; when receiving fails for good, `work` is asked to stop and that error is returned.
pub(super) fn beside<T>(
    options: &MigrationOptions,
    ends: &Ends,
    task: &TaskRow,
    stop: &StopToken,
    progress: &Progress,
    work: impl FnOnce(Option<&Spool>, &StopToken) -> Result<T>,
) -> Result<T> {
    let Some(folder) = &options.apply.spool_folder else { return work(None, stop) };
    let applied = ends.ledger.checkpoint(&mut ends.target.control(stop)?)?.applied;
    let mut spool_options = SpoolOptions::new(folder);
    spool_options.bytes_max = options.apply.spool_bytes_max;
    let selection = &ends.transform.selection;
    let (spool, mut writer) =
        Spool::open(spool_options, &identity(options, ends, task), selection, &applied)?;
    let (working, receiving) = (stop.child(), stop.child());
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let ended = receive(&ends.source, &spool, &mut writer, &receiving, progress);
            if !receiving.is_stopped() {
                working.stop();
            }
            ended
        });
        let done = work(Some(&spool), &working);
        receiving.stop();
        let received = receiver.join().map_err(|_| Error::internal("the receiver panicked"))?;
        match (done, received) {
            // The receiver's end is the cause, unless somebody asked to stop.
            (Err(error), Err(cause)) if error.is_interrupted() && !cause.is_interrupted() => {
                Err(cause.with_state_of(&error))
            }
            (done, _) => done,
        }
    })
}

/// Says whose events a spool holds: another task, start or selection needs another spool.
fn identity(options: &MigrationOptions, ends: &Ends, task: &TaskRow) -> String {
    format!(
        "task {}\nsource {}\nstart {}\nselection {:?}",
        options.name, task.source_uuid, task.start_position, ends.transform.selection
    )
}

/// Receives until asked to stop; reconnects when the stream breaks.
fn receive(
    source: &SourceEndpoint,
    spool: &Spool,
    writer: &mut SpoolWriter,
    stop: &StopToken,
    progress: &Progress,
) -> Result<()> {
    let mut attempts = Attempts::new(RetryPolicy::default());
    let ended = loop {
        let known = spool.spooled();
        let Err(error) = receive_once(source, spool, &known, writer, stop, progress);
        if let Err(error) = writer.rewind() {
            break Err(error);
        }
        if spool.spooled() != known {
            attempts.succeeded();
        }
        let waited = match error.kind() {
            ErrorKind::Full { .. } => wait_for_room(error, spool, &known, writer, stop),
            _ => attempts.wait_after(error, stop, progress),
        };
        if let Err(error) = waited {
            break Err(error);
        }
    };
    progress.set_spool_bytes(spool.bytes_waiting());
    // So that the next run can delete it without reading it.
    writer.complete_file()?;
    ended.map_err(|error: Error| error.in_stage(Stage::Apply))
}

/// One life of the stream.
fn receive_once(
    source: &SourceEndpoint,
    spool: &Spool,
    known: &GtidSet,
    writer: &mut SpoolWriter,
    stop: &StopToken,
    progress: &Progress,
) -> Result<std::convert::Infallible> {
    let mut stream = BinlogStream::open(source, &Position::Gtid(known.clone()), stop)?;
    let mut told = Instant::now();
    loop {
        let event = stream.next_packet()?;
        progress.add_binlog_bytes(u64::from(event.header.event_size));
        writer.append(&event)?;
        if !stream.has_more() {
            writer.flush()?;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            stop.check()?;
            progress.set_spool_bytes(spool.bytes_waiting());
        }
    }
}

/// Waits until the applier has made room; gives the error back when nobody will.
fn wait_for_room(
    error: Error,
    spool: &Spool,
    known: &GtidSet,
    writer: &mut SpoolWriter,
    stop: &StopToken,
) -> Result<()> {
    writer.complete_file()?;
    // One transaction alone is too large: more room than all of it will never be.
    if spool.is_applied() && spool.spooled() == *known {
        return Err(error);
    }
    log::warn!("{error}");
    while !spool.has_room() {
        if !spool.is_being_applied() || spool.is_applied() {
            return Err(error);
        }
        stop.sleep(LOOK_EVERY)?;
    }
    Ok(())
}
