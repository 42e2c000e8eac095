//! Events of the source's binary log, as they come.
//!
//! [`BinlogStream`] asks for everything after a position and hands out verified packets. It does not reconnect: who reads
//! it knows what was made durable, and opens another one from there.
//!
//! A source without GTIDs is asked by file and offset. Its transactions are given GTIDs of [`LogOffsets`], so that everybody else
//! need not know.
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mysql_common::packets::{ComBinlogDump, ComBinlogDumpGtid, GnoInterval, Sid, Tag};
use mysql_common::proto::MySerialize;
use rand::Rng;

use crate::binlog::{ChecksumAlgorithm, Event, EventType, MadeEvent, OffsetFrames, RawEvent};
use crate::data::{BinlogCoordinates, GtidSet, LogOffsets, Position};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::server;
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::wire::{BinlogPacket, Connection};

/// Every log file begins with four bytes that are no event.
const FIRST_EVENT: u64 = 4;

/// Events after a position.
pub struct BinlogStream {
    connection: Connection,
    checksum: ChecksumAlgorithm,
    file: String,
    /// Of a source without GTIDs.
    frames: Option<OffsetFrames>,
    /// Events that come before the next packet.
    ready: VecDeque<MadeEvent>,
    /// The body of the last of them.
    body: Vec<u8>,
}

impl BinlogStream {
    /// Asks the source for all transactions that are not in `position`.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogPurged`] when the source no longer has all of them, [`ErrorKind::SourceDiverged`] when `position`
    /// holds transactions that the source does not know; both name the GTIDs. A server would skip silently in the second
    /// case (spirit#1076). [`ErrorKind::Unsupported`] for a position that is no set.
    pub fn open(source: &SourceEndpoint, position: &Position, stop: &StopToken) -> Result<Self> {
        let Position::Gtid(known) = position else {
            return Err(ErrorKind::Unsupported {
                what: format!("to stream from {position}: only GTID sets are"),
            }
            .into());
        };
        let mut connection = source.control(stop)?;
        let mut frames = OffsetFrames::new(known);
        let log_name = match &frames {
            Some(frames) => refuse_lost_log(&mut connection, frames.place())?,
            None => {
                refuse_gaps(&mut connection, known, stop)?;
                String::new()
            }
        };
        let checksum = set_up(&mut connection, source)?;
        // Heartbeats come every few seconds: three times that without one is a dead source.
        connection.set_answer_timeout((source.options().heartbeat * 3).max(Duration::from_secs(15)));
        let server_id = match source.options().server_id {
            0 => rand::rng().random_range(0x8000_0000..=u32::MAX),
            chosen => chosen,
        };
        let mut request = Vec::new();
        match &mut frames {
            Some(frames) => {
                let place = frames.place();
                // The request has 32 bits for the offset. What comes once more is known by its number.
                let offset = u32::try_from(place.offset).unwrap_or(4);
                frames.begin_at(LogOffsets { offset: offset.into(), ..place });
                ComBinlogDump::new(server_id)
                    .with_pos(offset)
                    .with_filename(place.coordinates(&log_name).file.into_bytes())
                    .serialize(&mut request);
            }
            None => ComBinlogDumpGtid::new(server_id)
                .with_pos(FIRST_EVENT)
                .with_sids(sids(known)?)
                .serialize(&mut request),
        }
        connection.start_binlog_dump(&request)?;
        Ok(BinlogStream {
            connection,
            checksum,
            file: String::new(),
            frames,
            ready: VecDeque::new(),
            body: Vec::new(),
        })
    }

    /// Waits for the next event and returns its whole packet, verified: header, body and checksum.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogDamaged`]; [`ErrorKind::ConnectionLost`] also when the source ended the stream;
    /// [`ErrorKind::Timeout`] when not even a heartbeat came.
    pub fn next_packet(&mut self) -> Result<RawEvent<'_>> {
        if self.frames.is_none() {
            return receive(&mut self.connection, &mut self.checksum, &mut self.file);
        }
        while self.ready.is_empty() {
            self.receive_framed()?;
        }
        match self.ready.pop_front() {
            Some((header, body)) => {
                self.body = body;
                Ok(RawEvent { header, body: &self.body })
            }
            None => Err(Error::internal("no event is ready")),
        }
    }

    /// Receives an event of a log without GTIDs, or tells that there is none at the moment.
    fn receive_framed(&mut self) -> Result<()> {
        let Some(frames) = &mut self.frames else { return Err(Error::internal("the log has GTIDs")) };
        if !self.connection.has_more() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if let Some(end) = frames.end(u32::try_from(now).unwrap_or(u32::MAX)) {
                self.ready.extend(end);
                return Ok(());
            }
        }
        let event = receive(&mut self.connection, &mut self.checksum, &mut self.file)?;
        let framed = frames.take(&event)?;
        self.ready.extend(framed.begins);
        if framed.keep {
            self.ready.push_back((event.header, event.body.to_vec()));
        }
        Ok(())
    }

    /// Returns whether bytes of a further event have arrived already.
    pub fn has_more(&self) -> bool {
        !self.ready.is_empty()
            || self.connection.has_more()
            || self.frames.as_ref().is_some_and(OffsetFrames::has_end)
    }

    /// Returns the name of the log file that events come from.
    pub fn file(&self) -> &str {
        &self.file
    }
}

fn receive<'c>(
    connection: &'c mut Connection,
    checksum: &mut ChecksumAlgorithm,
    file: &mut String,
) -> Result<RawEvent<'c>> {
    let packet = match connection.next_binlog_packet() {
        Ok(BinlogPacket::Event(packet)) => packet,
        Ok(BinlogPacket::End) => return Err(ended()),
        Err(error) => return Err(explain(error)),
    };
    let event = RawEvent::parse(packet, *checksum)?;
    match event.header.event_type {
        EventType::FormatDescription => {
            if let Event::FormatDescription(format) = Event::parse(&event)? {
                *checksum = format.checksum;
            }
        }
        EventType::Rotate => {
            if let Event::Rotate(rotate) = Event::parse(&event)? {
                *file = rotate.file;
            }
        }
        _ => {}
    }
    Ok(event)
}

fn ended() -> Error {
    let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the source ended the binlog stream");
    Error::from(ErrorKind::ConnectionLost(source)).on(Side::Source)
}

/// 1236 is what the server sends for everything that is wrong with a position or a file. What was purged is found out by
/// GTID sets when the stream is opened, so this is something else, or it happened since.
fn explain(error: Error) -> Error {
    match error.server_error() {
        Some(server) if server.code == 1236 => error.with_hint(
            "The source cannot read on in its binary log. Run again: if the log was purged meanwhile, the missing GTIDs are \
             named then. Otherwise check the log with mysqlbinlog, and that the source's max_allowed_packet is not smaller \
             than its largest event.",
        ),
        _ => error,
    }
}

/// How long a transaction that we already have may be missing from the source's `gtid_executed`: it enters only after the
/// engine's commit, which semi-synchronous replication can hold up after the event was sent.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

fn refuse_gaps(connection: &mut Connection, known: &GtidSet, stop: &StopToken) -> Result<()> {
    let purged = server::gtid_purged(connection)?;
    let missing = purged.subtract(known);
    if !missing.is_empty() {
        return Err(Error::from(ErrorKind::BinlogPurged { missing: missing.to_string() }).on(Side::Source));
    }
    let patience_ends = Instant::now() + COMMIT_PATIENCE;
    loop {
        let unknown = known.subtract(&server::gtid_executed(connection)?);
        if unknown.is_empty() {
            return Ok(());
        }
        if Instant::now() >= patience_ends {
            return Err(
                Error::from(ErrorKind::SourceDiverged { unknown: unknown.to_string() }).on(Side::Source)
            );
        }
        stop.sleep(Duration::from_millis(500))?;
    }
}

/// Without GTIDs: the file must still be there, and the log must reach to the place. Returns what the log's files are called.
fn refuse_lost_log(connection: &mut Connection, place: LogOffsets) -> Result<String> {
    let (oldest, end) = (server::log_start(connection)?, server::log_end(connection)?);
    let number = |coordinates: &BinlogCoordinates| LogOffsets::of(coordinates);
    let name = end.file.rsplit_once('.').map_or("", |(name, _)| name).to_owned();
    if number(&oldest).is_none_or(|oldest| place.file < oldest.file) {
        let missing = format!("{} to {}", place.coordinates(&name), oldest.file);
        return Err(Error::from(ErrorKind::BinlogPurged { missing }).on(Side::Source));
    }
    if number(&end).is_none_or(|end| place > end) {
        let unknown = format!("{} (its log ends at {end})", place.coordinates(&name));
        return Err(Error::from(ErrorKind::SourceDiverged { unknown }).on(Side::Source));
    }
    Ok(name)
}

pub(super) fn set_up(connection: &mut Connection, source: &SourceEndpoint) -> Result<ChecksumAlgorithm> {
    let checksum = connection
        .query_row("SELECT @@GLOBAL.binlog_checksum", "asking for the binlog's checksum")?
        .map(|row| row.string(0))
        .unwrap_or_default();
    let nanoseconds = source.options().heartbeat.max(Duration::from_secs(2)).as_nanos();
    // A name of our own: a second reader with the same one would displace us. Old and new words, for all versions.
    let uuid = random_uuid();
    connection.execute(
        format!(
            "SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum, \
             @master_heartbeat_period = {nanoseconds}, @source_heartbeat_period = {nanoseconds}, \
             @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"
        ),
        "preparing the binlog stream",
    )?;
    Ok(if checksum.eq_ignore_ascii_case("NONE") { ChecksumAlgorithm::None } else { ChecksumAlgorithm::Crc32 })
}

fn random_uuid() -> String {
    let [a, b, c, d] = rand::rng().random::<[u32; 4]>();
    format!("{a:08x}-{:04x}-{:04x}-{:04x}-{:04x}{d:08x}", b >> 16, b & 0xffff, c >> 16, c & 0xffff)
}

fn sids(set: &GtidSet) -> Result<Vec<Sid<'static>>> {
    let mut sids = Vec::new();
    for (uuid, tag, intervals) in set.sids() {
        let mut sid = Sid::new(*uuid);
        if let Some(tag) = tag {
            let tag =
                Tag::new(tag.to_owned()).map_err(|_| Error::internal(format!("tag '{tag}' is not one")))?;
            sid = sid.with_tag(tag);
        }
        for interval in intervals {
            sid = sid.with_interval(GnoInterval::new(interval.start, interval.end));
        }
        sids.push(sid);
    }
    Ok(sids)
}
