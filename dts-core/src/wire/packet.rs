//! Framing: packets of up to 16 MiB - 1 with a sequence number, larger payloads in several of them.
//!
//! A packet that lies whole in the receive buffer is handed out as a slice of it, without a copy. Buffers grow for a
//! giant and shrink again afterwards, so that one 20 MB row does not stay in memory for the life of the connection.
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::stop::StopToken;

/// Largest payload of one packet; a packet of exactly this size is followed by another.
const PAYLOAD_MAX: usize = 0xff_ffff;
/// Receive buffer in normal operation: large enough that a read call fetches hundreds of rows.
const BUFFER: usize = 128 << 10;
/// Largest payload over several packets that is accepted: the server's own limit of `max_allowed_packet`.
const MESSAGE_MAX: usize = 1 << 30;

pub(super) struct PacketStream {
    stream: Stream,
    stop: StopToken,
    sequence: u8,
    /// Received and not yet handed out: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A message of several packets, put together.
    large: Vec<u8>,
    /// Where the message read last lies in `buffer`; `None` when it is in `large`.
    last: Option<(usize, usize)>,
}

impl PacketStream {
    pub(super) fn new(stream: Stream, stop: StopToken) -> Self {
        PacketStream {
            stream,
            stop,
            sequence: 0,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            large: Vec::new(),
            last: None,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Takes the stream out, to wrap it in TLS. Bytes that came too early would be lost: there must be none.
    pub(super) fn into_stream(self) -> Result<Stream> {
        if self.start != self.end {
            return Err(protocol("bytes after the server's greeting"));
        }
        Ok(self.stream)
    }

    /// Starts a command: its first packet has sequence number 0.
    pub(super) fn begin_command(&mut self) {
        self.sequence = 0;
    }

    pub(super) fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// Reads one message and returns it. `silence_max` bounds each wait for the next bytes.
    pub(super) fn read(&mut self, silence_max: Duration) -> Result<&[u8]> {
        self.receive(silence_max)?;
        Ok(self.message())
    }

    /// Returns whether bytes of a further message lie in the buffer.
    pub(super) fn has_more(&self) -> bool {
        self.start < self.end
    }

    /// Returns the message received last.
    pub(super) fn message(&self) -> &[u8] {
        match self.last {
            Some((start, end)) => &self.buffer[start..end],
            None => &self.large,
        }
    }

    /// Reads one message, to be looked at with [`message`](Self::message).
    pub(super) fn receive(&mut self, silence_max: Duration) -> Result<()> {
        if self.large.capacity() > (4 << 20) {
            self.large = Vec::new();
        }
        self.large.clear();
        let mut several = false;
        loop {
            self.fill(4, silence_max)?;
            let header = &self.buffer[self.start..self.start + 4];
            let length = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
            let sequence = header[3];
            if sequence != self.sequence {
                return Err(protocol(format!(
                    "packet number {sequence} where {} was expected",
                    self.sequence
                )));
            }
            self.sequence = self.sequence.wrapping_add(1);
            if length < PAYLOAD_MAX && !several {
                self.fill(4 + length, silence_max)?;
                let start = self.start + 4;
                self.start = start + length;
                self.last = Some((start, self.start));
                return Ok(());
            }
            several = true;
            self.start += 4;
            if self.large.len() + length > MESSAGE_MAX {
                return Err(protocol("a message of more than 1 GiB"));
            }
            self.read_into_large(length, silence_max)?;
            if length < PAYLOAD_MAX {
                self.last = None;
                return Ok(());
            }
        }
    }

    /// Moves `length` bytes to the end of `large`; grows it only as the bytes arrive.
    fn read_into_large(&mut self, length: usize, silence_max: Duration) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill(1, silence_max)?;
            }
            let take = left.min(self.end - self.start);
            self.large.extend_from_slice(&self.buffer[self.start..self.start + take]);
            self.start += take;
            left -= take;
        }
        Ok(())
    }

    /// Receives until `wanted` bytes lie in the buffer.
    fn fill(&mut self, wanted: usize, silence_max: Duration) -> Result<()> {
        if self.end - self.start >= wanted {
            return Ok(());
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > (1 << 20) && wanted <= BUFFER && self.end <= BUFFER {
            self.buffer.truncate(BUFFER);
            self.buffer.shrink_to_fit();
        }
        let mut silent_since: Option<Instant> = None;
        while self.end < wanted {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    let source =
                        io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
                    return Err(ErrorKind::ConnectionLost(source).into());
                }
                Ok(count) => {
                    self.end += count;
                    silent_since = None;
                }
                Err(error) => self.wait(error, &mut silent_since, silence_max)?,
            }
        }
        Ok(())
    }

    /// Sends one message of any size.
    pub(super) fn write(&mut self, payload: &[u8], silence_max: Duration) -> Result<()> {
        // Small messages go out with their header in one call (and one TCP segment).
        if payload.len() <= (64 << 10) {
            let mut message = Vec::with_capacity(payload.len() + 4);
            message.extend_from_slice(&self.header(payload.len()));
            message.extend_from_slice(payload);
            return self.send(&message, silence_max);
        }
        for chunk in payload.chunks(PAYLOAD_MAX) {
            let header = self.header(chunk.len());
            self.send(&header, silence_max)?;
            self.send(chunk, silence_max)?;
        }
        if payload.len().is_multiple_of(PAYLOAD_MAX) {
            let header = self.header(0);
            self.send(&header, silence_max)?;
        }
        Ok(())
    }

    /// Sends a packet whose first four bytes were left free for the header. The payload is below [`PAYLOAD_MAX`].
    pub(super) fn write_framed(&mut self, framed: &mut [u8], silence_max: Duration) -> Result<()> {
        let header = self.header(framed.len() - 4);
        framed[..4].copy_from_slice(&header);
        self.send(framed, silence_max)
    }

    fn header(&mut self, length: usize) -> [u8; 4] {
        let bytes = length.to_le_bytes();
        let header = [bytes[0], bytes[1], bytes[2], self.sequence];
        self.sequence = self.sequence.wrapping_add(1);
        header
    }

    fn send(&mut self, mut bytes: &[u8], silence_max: Duration) -> Result<()> {
        let mut silent_since: Option<Instant> = None;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => {
                    let source = io::Error::new(io::ErrorKind::WriteZero, "the server closed the connection");
                    return Err(ErrorKind::ConnectionLost(source).into());
                }
                Ok(count) => {
                    bytes = &bytes[count..];
                    silent_since = None;
                }
                Err(error) => self.wait(error, &mut silent_since, silence_max)?,
            }
        }
        loop {
            match self.stream.flush() {
                Ok(()) => return Ok(()),
                Err(error) => self.wait(error, &mut silent_since, silence_max)?,
            }
        }
    }

    /// Decides what a failed system call means: a tick of waiting, the end of patience, or a broken connection.
    fn wait(
        &self,
        error: io::Error,
        silent_since: &mut Option<Instant>,
        silence_max: Duration,
    ) -> Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                self.stop.check()?;
                // The first tick has already passed when the call returns.
                let since = *silent_since.get_or_insert_with(|| Instant::now() - super::stream::TICK);
                if since.elapsed() >= silence_max {
                    return Err(ErrorKind::Timeout { seconds: silence_max.as_secs() }.into());
                }
                Ok(())
            }
            _ => Err(ErrorKind::ConnectionLost(error).into()),
        }
    }
}

pub(super) fn protocol(what: impl Into<String>) -> Error {
    ErrorKind::Protocol { what: what.into() }.into()
}
