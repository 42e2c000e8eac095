//! Events on their way from the thread that receives them to the one that applies them: bounded in bytes.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::binlog::{EventHeader, RawEvent};
use crate::data::Position;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::SourceEndpoint;
use crate::source::binlog_stream::BinlogStream;
use crate::stop::StopToken;

/// Events handed over at once.
const BATCH_BYTES: usize = 128 << 10;
/// Bytes that may wait in the queue; one event that is larger waits alone.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// Several events, copied out of the receive buffer.
#[derive(Default)]
pub(super) struct EventBatch {
    events: Vec<(EventHeader, usize)>,
    bodies: Vec<u8>,
}

impl EventBatch {
    fn push(&mut self, event: &RawEvent<'_>) {
        self.bodies.extend_from_slice(event.body);
        self.events.push((event.header, self.bodies.len()));
    }

    /// Returns the events in order.
    pub(super) fn events(&self) -> impl Iterator<Item = RawEvent<'_>> {
        self.events.iter().scan(0, |start, &(header, end)| {
            let body = &self.bodies[*start..end];
            *start = end;
            Some(RawEvent { header, body })
        })
    }
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
    /// Opens the stream and starts to receive in a thread of `scope`.
    pub(super) fn start<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        source: &'scope SourceEndpoint,
        position: &Position,
        stop: StopToken,
        progress: Progress,
    ) -> Result<EventQueue> {
        let mut stream = BinlogStream::open(source, position, &stop)?;
        let (sender, batches) = crossbeam_channel::bounded(1024);
        let waiting = Arc::new(AtomicUsize::new(0));
        let shared = waiting.clone();
        scope.spawn(move || {
            if let Err(error) = receive(&mut stream, &sender, &shared, &stop, &progress) {
                // The applier may be gone already; then nobody needs the error.
                drop(sender.send(Err(error)));
            }
        });
        Ok(EventQueue { batches, waiting })
    }

    /// Waits for events.
    pub(super) fn receive(&self, patience: Duration) -> Result<Received> {
        match self.batches.recv_timeout(patience) {
            Ok(Ok(batch)) => {
                self.waiting.fetch_sub(batch.bodies.len(), Ordering::Relaxed);
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

fn receive(
    stream: &mut BinlogStream,
    sender: &Sender<Result<EventBatch>>,
    waiting: &AtomicUsize,
    stop: &StopToken,
    progress: &Progress,
) -> Result<()> {
    let mut batch = EventBatch::default();
    loop {
        let event = stream.next_packet()?;
        progress.add_binlog_bytes(u64::from(event.header.event_size));
        batch.push(&event);
        if batch.bodies.len() < BATCH_BYTES && stream.has_more() {
            continue;
        }
        let bytes = batch.bodies.len();
        while waiting.load(Ordering::Relaxed) > 0 && waiting.load(Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX
        {
            stop.sleep(Duration::from_millis(5))?;
        }
        waiting.fetch_add(bytes, Ordering::Relaxed);
        if sender.send(Ok(std::mem::take(&mut batch))).is_err() {
            return Ok(()); // The applier ended.
        }
    }
}
