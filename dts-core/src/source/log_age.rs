//! How old the source's binary log is.
//!
//! No statement tells it. But every log file begins with an event that carries the time at which the file was made, and a
//! replica that asks for the file from its beginning gets that event first.
use std::time::Duration;

use mysql_common::packets::{BinlogDumpFlags, ComBinlogDump};
use mysql_common::proto::MySerialize;
use rand::Rng;

use crate::binlog::{EventType, RawEvent};
use crate::error::Result;
use crate::source::{SourceEndpoint, binlog_stream};
use crate::stop::StopToken;
use crate::wire::{BinlogPacket, Connection};

/// Events that may stand before the one that is looked for; there are one or two.
const LOOK_AT: usize = 5;

/// The oldest log file that the source still has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldestLog {
    /// Its name, such as `binlog.000042`.
    pub(crate) file: String,
    /// How long ago it was made, by the source's clock; `None` when the file does not tell.
    pub(crate) age: Option<Duration>,
}

impl OldestLog {
    /// Returns whether it is the first that the source ever wrote (or wrote since a RESET): nothing was removed before it.
    pub(crate) fn is_first(&self) -> bool {
        self.file.rsplit_once('.').and_then(|(_, number)| number.parse::<u64>().ok()) == Some(1)
    }
}

/// Finds the oldest log file and asks for its first events. `None` when there is none.
///
/// # Errors
/// What the source answered; the account needs REPLICATION CLIENT and REPLICATION SLAVE.
pub(crate) fn oldest(source: &SourceEndpoint, stop: &StopToken) -> Result<Option<OldestLog>> {
    let mut control = source.control(stop)?;
    let Some(row) = control.query("SHOW BINARY LOGS", "listing the binary logs")?.into_iter().next() else {
        return Ok(None);
    };
    let file = row.string(0);
    let now = control.query_row("SELECT UNIX_TIMESTAMP()", "asking for the time")?.and_then(|row| row.u64(0));
    // The stream takes a connection whole.
    let made = first_time(source, control, &file)?;
    let age = now.zip(made).map(|(now, made)| Duration::from_secs(now.saturating_sub(made)));
    Ok(Some(OldestLog { file, age }))
}

/// Returns when a file was made, in seconds since 1970.
fn first_time(source: &SourceEndpoint, mut connection: Connection, file: &str) -> Result<Option<u64>> {
    let checksum = binlog_stream::set_up(&mut connection, source)?;
    connection.set_answer_timeout(Duration::from_secs(15));
    let mut request = Vec::new();
    ComBinlogDump::new(rand::rng().random_range(0x8000_0000..=u32::MAX))
        .with_pos(4)
        .with_filename(file.as_bytes())
        .with_flags(BinlogDumpFlags::BINLOG_DUMP_NON_BLOCK)
        .serialize(&mut request);
    connection.start_binlog_dump(&request)?;
    for _ in 0..LOOK_AT {
        let BinlogPacket::Event(packet) = connection.next_binlog_packet()? else { break };
        let event = RawEvent::parse(packet, checksum)?;
        if event.header.event_type == EventType::FormatDescription {
            return Ok(Some(u64::from(event.header.timestamp)).filter(|time| *time > 0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::OldestLog;

    #[test]
    fn only_number_one_is_the_first() {
        let is_first = |file: &str| OldestLog { file: file.into(), age: None }.is_first();
        assert!(is_first("binlog.000001") && is_first("a.b.000001"));
        assert!(!is_first("binlog.000010") && !is_first("binlog.1000001") && !is_first("binlog"));
    }
}
