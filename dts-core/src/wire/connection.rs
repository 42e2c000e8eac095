//! A logged-in connection: statements, streamed rows, LOAD DATA LOCAL, binlog dump.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use super::handshake::{self, Greeting};
use super::options::ConnectionOptions;
use super::packet::{PacketStream, protocol};
use super::result::{self, Cells, Done, TextRow};
use crate::error::{Error, ErrorKind, Result, ServerError, Side};
use crate::stop::StopToken;

const COM_QUERY: u8 = 0x03;
/// LOAD DATA LOCAL goes out in packets of about this size: larger ones gain nothing (`facts`: 64 to 256 KiB).
const LOAD_PACKET: usize = 192 << 10;

/// A logged-in connection.
///
/// After any error that is not the server's answer to a statement (I/O, timeout, protocol, stop), and after a result
/// that was not read to its end, the connection is *broken*: it refuses further use, because the next answer read
/// could belong to an earlier question. Drop it and open another.
pub struct Connection {
    packets: PacketStream,
    greeting: Greeting,
    side: Side,
    answer_timeout: Duration,
    /// Set while a command is under way, cleared when its answer was read whole.
    broken: bool,
    /// Whether server texts may quote row content and are left out of errors.
    private_texts: bool,
}

/// One packet of a binlog dump.
pub enum BinlogPacket<'a> {
    /// An event: header, body and, when the log has them, four bytes of checksum.
    Event(&'a [u8]),
    /// The server ended the stream: it shuts down, or another client with our identity displaced us.
    End,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// `Resolve`, `Connect`, `Tls`, `AccessDenied`, `Timeout`, or what the server answered.
    pub fn open(options: &ConnectionOptions, side: Side, stop: &StopToken) -> Result<Connection> {
        let (packets, greeting) = handshake::connect(options, stop).map_err(|error| error.on(side))?;
        Ok(Connection {
            packets,
            greeting,
            side,
            answer_timeout: options.answer_timeout,
            broken: false,
            private_texts: false,
        })
    }

    /// Returns the server's version text, from its greeting.
    pub fn server_version(&self) -> &str {
        &self.greeting.server_version
    }

    /// Returns the server's id of this connection, as in its process list.
    pub fn connection_id(&self) -> u32 {
        self.greeting.connection_id
    }

    /// Returns our own and the server's address, for TCP.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.packets.stream().addresses()
    }

    /// Returns whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.packets.stream().is_tls()
    }

    /// Returns whether the connection can no longer be used.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Changes the longest silence while an answer is expected.
    pub fn set_answer_timeout(&mut self, timeout: Duration) {
        self.answer_timeout = timeout;
    }

    /// From now on keeps server texts that may quote row content out of errors.
    pub(crate) fn withhold_texts(&mut self) {
        self.private_texts = true;
    }

    /// Runs one statement that returns no rows (rows are read and dropped).
    ///
    /// `doing` says in an error what the statement was for.
    ///
    /// # Errors
    /// What the server answered, or a broken connection.
    pub fn execute(&mut self, sql: impl AsRef<[u8]>, doing: &'static str) -> Result<Done> {
        let mut last = Done::default();
        self.each_result(sql.as_ref(), doing, |done| last = done)?;
        Ok(last)
    }

    /// Runs several statements in one packet, separated by `;`, and pushes what each answered to `answers`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). The server stops at the first statement that fails: `answers` then holds those
    /// before it.
    pub fn execute_all(&mut self, sql: &[u8], doing: &'static str, answers: &mut Vec<Done>) -> Result<()> {
        self.each_result(sql, doing, |done| answers.push(done))
    }

    /// Runs a query and returns its rows, for results that fit into memory.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn query(&mut self, sql: impl AsRef<[u8]>, doing: &'static str) -> Result<Vec<TextRow>> {
        let mut rows = Vec::new();
        let mut stream = self.stream(sql, doing)?;
        let column_count = stream.column_count();
        while let Some(cells) = stream.next_row()? {
            rows.push(TextRow::copy(cells, column_count)?);
        }
        Ok(rows)
    }

    /// Runs a query that returns at most one row.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn query_row(&mut self, sql: impl AsRef<[u8]>, doing: &'static str) -> Result<Option<TextRow>> {
        Ok(self.query(sql, doing)?.into_iter().next())
    }

    /// Runs a query and hands out its rows one by one, as slices of the receive buffer.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn stream(&mut self, sql: impl AsRef<[u8]>, doing: &'static str) -> Result<Rows<'_>> {
        self.send_query(sql.as_ref())?;
        let column_count = match self.read_head(doing)? {
            Head::Done(done) if !done.more_results => {
                self.broken = false;
                0
            }
            Head::Done(_) => return Err(protocol("several results where one was expected").on(self.side)),
            Head::Columns(count) => {
                self.skip_columns(count)?;
                count
            }
        };
        Ok(Rows { finished: column_count == 0, column_count, connection: self, doing })
    }

    /// Runs a `LOAD DATA LOCAL INFILE` statement; `fill` writes the file's content.
    ///
    /// Memory: one packet of about 200 KiB, or one row when that is larger.
    ///
    /// # Errors
    /// What `fill` returned: the connection is then broken, and dropping it makes the server roll the statement back.
    /// Otherwise as [`execute`](Self::execute). The caller must compare the number of rows and warnings: LOCAL turns
    /// errors of a row into warnings.
    pub fn load_data(
        &mut self,
        sql: impl AsRef<[u8]>,
        doing: &'static str,
        fill: impl FnOnce(&mut LoadSink<'_>) -> Result<()>,
    ) -> Result<Done> {
        self.send_query(sql.as_ref())?;
        let timeout = self.answer_timeout;
        let packet = self.packets.read(timeout).map_err(|error| error.on(self.side))?;
        match packet.first() {
            Some(0xfb) => {}
            Some(0xff) => {
                let error = result::parse_error(packet);
                return Err(self.answered(error, doing));
            }
            _ => return Err(protocol("no request for the file's content").on(self.side)),
        }
        let mut sink = LoadSink { connection: self, buffer: Vec::with_capacity(LOAD_PACKET + 64 * 1024) };
        sink.buffer.extend_from_slice(&[0; 4]);
        fill(&mut sink)?;
        sink.send()?;
        self.packets.write(&[], timeout).map_err(|error| error.on(self.side))?;
        let packet = self.packets.read(timeout).map_err(|error| error.on(self.side))?;
        match packet.first() {
            Some(0x00) => {
                let done = Done::parse_ok(packet)?;
                self.broken = false;
                Ok(done)
            }
            Some(0xff) => {
                let error = result::parse_error(packet);
                Err(self.answered(error, doing))
            }
            _ => Err(protocol("an unknown answer to LOAD DATA").on(self.side)),
        }
    }

    /// Asks for the binlog; from then on only [`next_binlog_packet`](Self::next_binlog_packet) may be called.
    pub(crate) fn start_binlog_dump(&mut self, command: &[u8]) -> Result<()> {
        self.begin()?;
        self.packets.write(command, self.answer_timeout).map_err(|error| error.on(self.side))
    }

    /// Waits for the next event of a binlog dump, at most the answer timeout.
    pub(crate) fn next_binlog_packet(&mut self) -> Result<BinlogPacket<'_>> {
        let side = self.side;
        let packet = self.packets.read(self.answer_timeout).map_err(|error| error.on(side))?;
        match packet.split_first() {
            Some((0x00, event)) => Ok(BinlogPacket::Event(event)),
            Some((0xff, _)) => {
                let source = result::parse_error(packet);
                Err(Error::from(ErrorKind::Server { doing: "reading the binary log".into(), source })
                    .on(side))
            }
            Some((0xfe, _)) if result::is_eof(packet) => Ok(BinlogPacket::End),
            _ => Err(protocol("a packet that is not a binlog event").on(side)),
        }
    }

    /// Returns whether bytes of a further packet have arrived already.
    pub(crate) fn has_more(&self) -> bool {
        self.packets.has_more()
    }

    fn begin(&mut self) -> Result<()> {
        if self.broken {
            return Err(Error::internal("a broken connection was used again").on(self.side));
        }
        self.broken = true;
        self.packets.begin_command();
        Ok(())
    }

    fn send_query(&mut self, sql: &[u8]) -> Result<()> {
        self.begin()?;
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(COM_QUERY);
        command.extend_from_slice(sql);
        self.packets.write(&command, self.answer_timeout).map_err(|error| error.on(self.side))
    }

    /// Runs `sql` and calls `each` for every result, dropping rows.
    fn each_result(&mut self, sql: &[u8], doing: &'static str, mut each: impl FnMut(Done)) -> Result<()> {
        self.send_query(sql)?;
        loop {
            let done = match self.read_head(doing)? {
                Head::Done(done) => done,
                Head::Columns(count) => {
                    self.skip_columns(count)?;
                    loop {
                        if let Some(done) = self.read_row(doing)? {
                            break done;
                        }
                    }
                }
            };
            each(done);
            if !done.more_results {
                self.broken = false;
                return Ok(());
            }
        }
    }

    /// Reads the first packet of an answer.
    fn read_head(&mut self, doing: &'static str) -> Result<Head> {
        let packet = self.packets.read(self.answer_timeout).map_err(|error| error.on(self.side))?;
        match packet.first() {
            Some(0x00) => Ok(Head::Done(Done::parse_ok(packet)?)),
            Some(0xff) => {
                let error = result::parse_error(packet);
                Err(self.answered(error, doing))
            }
            Some(0xfb) => Err(protocol("a request for a local file").on(self.side)),
            Some(_) => {
                let count =
                    result::lenenc_int(&mut &packet[..]).and_then(|count| usize::try_from(count).ok());
                count.map(Head::Columns).ok_or_else(|| protocol("a malformed column count").on(self.side))
            }
            None => Err(protocol("an empty answer").on(self.side)),
        }
    }

    fn skip_columns(&mut self, count: usize) -> Result<()> {
        for _ in 0..=count {
            self.packets.read(self.answer_timeout).map_err(|error| error.on(self.side))?;
        }
        Ok(())
    }

    /// Reads the next packet of a result; `Some` at its end. A row is then in `self.packets.message()`.
    fn read_row(&mut self, doing: &'static str) -> Result<Option<Done>> {
        self.packets.receive(self.answer_timeout).map_err(|error| error.on(self.side))?;
        let packet = self.packets.message();
        if packet.first() == Some(&0xff) {
            let error = result::parse_error(packet);
            return Err(self.answered(error, doing));
        }
        if result::is_eof(packet) { Ok(Some(Done::parse_eof(packet)?)) } else { Ok(None) }
    }

    /// The server answered with an error: the connection stays usable.
    fn answered(&mut self, source: ServerError, doing: &'static str) -> Error {
        self.broken = false;
        statement_error(source, doing, self.private_texts).on(self.side)
    }
}

enum Head {
    Done(Done),
    Columns(usize),
}

/// Errors whose text quotes values: duplicate entry, syntax near, truncated or incorrect value, invalid JSON or character.
const TEXTS_WITH_VALUES: [u16; 14] =
    [1062, 1064, 1264, 1265, 1292, 1300, 1366, 1367, 1411, 1586, 3140, 3141, 3143, 3156];

fn statement_error(mut source: ServerError, doing: &'static str, private_texts: bool) -> Error {
    if private_texts && TEXTS_WITH_VALUES.contains(&source.code) {
        source.message = "(text left out: it may quote row content)".into();
    }
    if source.is_privilege() {
        ErrorKind::Privilege { what: doing.into(), source }.into()
    } else {
        ErrorKind::Server { doing: Cow::Borrowed(doing), source }.into()
    }
}

/// The rows of a query, one at a time.
///
/// Dropped before its end, it leaves the connection broken: the rest of the answer was not read.
pub struct Rows<'c> {
    connection: &'c mut Connection,
    column_count: usize,
    finished: bool,
    doing: &'static str,
}

impl Rows<'_> {
    /// Returns the number of columns.
    pub fn column_count(&self) -> usize {
        self.column_count
    }

    /// Returns the next row, valid until the next call.
    ///
    /// # Errors
    /// What the server answered instead of a row, or a broken connection.
    pub fn next_row(&mut self) -> Result<Option<Cells<'_>>> {
        if self.finished {
            return Ok(None);
        }
        match self.connection.read_row(self.doing)? {
            None => Ok(Some(Cells::new(self.connection.packets.message()))),
            Some(done) => {
                self.finished = true;
                if done.more_results {
                    return Err(protocol("several results where one was expected").on(self.connection.side));
                }
                self.connection.broken = false;
                Ok(None)
            }
        }
    }
}

/// Where the content of a LOAD DATA LOCAL goes.
pub struct LoadSink<'c> {
    connection: &'c mut Connection,
    /// Four free bytes for the packet header, then content.
    buffer: Vec<u8>,
}

impl LoadSink<'_> {
    /// Returns the buffer to append rows to.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Tells that a row is complete; sends when a packet's worth has come together.
    ///
    /// # Errors
    /// A broken connection.
    #[inline]
    pub fn end_row(&mut self) -> Result<()> {
        if self.buffer.len() >= LOAD_PACKET { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        if self.buffer.len() == 4 {
            return Ok(());
        }
        let timeout = self.connection.answer_timeout;
        let side = self.connection.side;
        if self.buffer.len() < (8 << 20) {
            self.connection
                .packets
                .write_framed(&mut self.buffer, timeout)
                .map_err(|error| error.on(side))?;
        } else {
            // The file's content is a stream: a giant row may be cut into packets anywhere.
            for part in self.buffer[4..].chunks(4 << 20) {
                self.connection.packets.write(part, timeout).map_err(|error| error.on(side))?;
            }
        }
        if self.buffer.capacity() > (4 << 20) {
            self.buffer = Vec::with_capacity(LOAD_PACKET + 64 * 1024);
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; 4]);
        Ok(())
    }
}
