//! Events on their way from the thread that receives them to the one that applies them: bounded in bytes.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use crate::binlog::EventBatch;
use crate::data::{GtidSet, Position};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::SourceEndpoint;
use crate::source::binlog_stream::BinlogStream;
use crate::spool::{Spool, SpoolReader};
use crate::stop::StopToken;

/// Events handed over at once.
const BATCH_BYTES: usize = 128 << 10;
/// Bytes that may wait in the queue; one event that is larger waits alone.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How long a wish to stop may go unseen by a reader of the spool. Each run of the applier ends with it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Where events come from.
#[derive(Clone, Copy)]
pub(super) enum Feed<'a> {
    /// The source, from the position applied on.
    Source(&'a SourceEndpoint),
    /// The spool, which somebody else fills.
    Spool(&'a Spool),
}

/// The receiving end.
pub(super) struct EventQueue {
    batches: Receiver<Result<EventBatch>>,
    waiting: Arc<AtomicUsize>,
}

/// What a wait for events brought.
pub(super) enum Received {
    /// Events.
    Batch(EventBatch),
    /// Nothing in that time.
    Nothing,
}

impl EventQueue {
    /// Begins with the first transaction that is not in `applied`, and receives in a thread of `scope`.
    pub(super) fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        feed: Feed<'_>,
        applied: &GtidSet,
        stop: StopToken,
        progress: Progress,
    ) -> Result<EventQueue> {
        let (sender, batches) = crossbeam_channel::bounded(1024);
        let waiting = Arc::new(AtomicUsize::new(0));
        let entrance = Entrance { sender, waiting: waiting.clone(), stop };
        match feed {
            Feed::Source(source) => {
                let position = Position::Gtid(applied.clone());
                let mut stream = BinlogStream::open(source, &position, &entrance.stop)?;
                scope.spawn(move || entrance.let_in(|entrance| receive(&mut stream, entrance, &progress)));
            }
            Feed::Spool(spool) => {
                let mut reader = spool.reader(applied)?;
                scope.spawn(move || entrance.let_in(|entrance| read(&mut reader, entrance)));
            }
        }
        Ok(EventQueue { batches, waiting })
    }

    /// Waits for events.
    pub(super) fn receive(&self, patience: Duration) -> Result<Received> {
        match receive_within(&self.batches, patience) {
            Ok(Ok(batch)) => {
                self.waiting.fetch_sub(batch.byte_count(), Ordering::Relaxed);
                Ok(Received::Batch(batch))
            }
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(Received::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::internal("the thread that receives events is gone"))
            }
        }
    }
}

/// Waits for a message. Without patience it only looks: a wait with a deadline spins first, even if the deadline is now.
pub(super) fn receive_within<T>(
    receiver: &Receiver<T>,
    patience: Duration,
) -> std::result::Result<T, RecvTimeoutError> {
    if !patience.is_zero() {
        return receiver.recv_timeout(patience);
    }
    receiver.try_recv().map_err(|error| match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
    })
}

/// The end that events come in at.
struct Entrance {
    sender: Sender<Result<EventBatch>>,
    waiting: Arc<AtomicUsize>,
    stop: StopToken,
}

impl Entrance {
    fn let_in(self, work: impl FnOnce(&Entrance) -> Result<()>) {
        if let Err(error) = work(&self) {
            // The applier may be gone already; then nobody needs the error.
            drop(self.sender.send(Err(error)));
        }
    }

    /// Waits for room and hands a batch over; returns whether the applier is still there.
    fn push(&self, batch: EventBatch) -> Result<bool> {
        let bytes = batch.byte_count();
        loop {
            let waiting = self.waiting.load(Ordering::Relaxed);
            if waiting == 0 || waiting + bytes <= QUEUE_BYTES_MAX {
                break;
            }
            self.stop.sleep(Duration::from_millis(5))?;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        Ok(self.sender.send(Ok(batch)).is_ok())
    }
}

fn receive(stream: &mut BinlogStream, entrance: &Entrance, progress: &Progress) -> Result<()> {
    let mut batch = EventBatch::default();
    loop {
        let event = stream.next_packet()?;
        progress.add_binlog_bytes(u64::from(event.header.event_size));
        batch.push(&event);
        if batch.byte_count() < BATCH_BYTES && stream.has_more() {
            continue;
        }
        if !entrance.push(std::mem::take(&mut batch))? {
            return Ok(());
        }
    }
}

fn read(reader: &mut SpoolReader, entrance: &Entrance) -> Result<()> {
    loop {
        entrance.stop.check()?;
        if let Some(batch) = reader.next(LOOK_EVERY)?
            && !entrance.push(batch)?
        {
            return Ok(());
        }
    }
}
