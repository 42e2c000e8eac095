//! FORMAT_DESCRIPTION_EVENT: the server's version, and how the events of its file are laid out.
use super::event::{ChecksumAlgorithm, EventType, HEADER_LENGTH};
use super::reader::Bytes;
use super::{damaged, refused};
use crate::error::Result;

const BINLOG_VERSION: u16 = 4;
const SERVER_VERSION_LENGTH: usize = 50;

/// How the events of a file are laid out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatDescription {
    /// The version of the server that wrote the file, such as `5.6.24-log` or `10.11.6-MariaDB`.
    pub server_version: String,
    /// When the file was begun by a server start, in seconds since 1970; 0 when it was begun by a rotation.
    pub created: u32,
    /// Length of the fixed part of each event type's body, from type 1 on.
    pub header_lengths: Vec<u8>,
    /// What follows the events of the file.
    pub checksum: ChecksumAlgorithm,
}

impl FormatDescription {
    /// Reads the body of the event, without its checksum.
    ///
    /// # Errors
    ///
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) when events are laid out in a way that is not known here.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let mut bytes = Bytes::new(body, "format description");
        let version = bytes.u16()?;
        if version != BINLOG_VERSION {
            return Err(refused(format!("binlog version {version}, only {BINLOG_VERSION} is known")));
        }
        let server_version = bytes.take(SERVER_VERSION_LENGTH)?;
        let server_version = server_version.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(server_version).into_owned();
        let created = bytes.u32()?;
        let header_length = bytes.u8()?;
        if usize::from(header_length) != HEADER_LENGTH {
            return Err(refused(format!(
                "events begin with {header_length} bytes, only {HEADER_LENGTH} are known"
            )));
        }
        let mut header_lengths = bytes.rest();
        let mut checksum = ChecksumAlgorithm::None;
        if carries_checksum_algorithm(body) {
            checksum = checksum_algorithm_of(body)?;
            header_lengths = header_lengths.split_last().map(|(_, lengths)| lengths).unwrap_or_default();
        }
        let description =
            FormatDescription { server_version, created, header_lengths: header_lengths.to_vec(), checksum };
        description.check_header_lengths()?;
        Ok(description)
    }

    fn check_header_lengths(&self) -> Result<()> {
        for (event_type, expected) in [
            (EventType::Query, 13),
            (EventType::Rotate, 8),
            (EventType::TableMap, 8),
            (EventType::WriteRowsV1, 8),
            (EventType::UpdateRowsV1, 8),
            (EventType::DeleteRowsV1, 8),
            (EventType::WriteRows, 10),
            (EventType::UpdateRows, 10),
            (EventType::DeleteRows, 10),
            (EventType::PartialUpdateRows, 10),
        ] {
            match self.header_lengths.get(usize::from(event_type.code()) - 1) {
                // Not written by this server.
                None | Some(0) => {}
                Some(actual) if *actual == expected => {}
                Some(actual) => {
                    let code = event_type.code();
                    return Err(refused(format!(
                        "events of type {code} have {actual} fixed bytes, only {expected} are known"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns whether a MariaDB server wrote the file.
    pub fn is_mariadb(&self) -> bool {
        self.server_version.contains("MariaDB") || self.header_lengths.len() > usize::from(u8::MAX / 2)
    }
}

/// Returns whether a format description ends with the algorithm and a checksum: servers from 5.6.1 on.
pub(super) fn carries_checksum_algorithm(body: &[u8]) -> bool {
    let version = body.get(2..2 + SERVER_VERSION_LENGTH).unwrap_or_default();
    let mut numbers = version.split(|byte| !byte.is_ascii_digit()).map(|digits| {
        digits
            .iter()
            .fold(0_u32, |number, digit| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
    });
    let mut number = || numbers.next().unwrap_or_default();
    (number(), number(), number()) >= (5, 6, 1)
}

/// Returns the algorithm that a format description, without its checksum, names.
pub(super) fn checksum_algorithm_of(body: &[u8]) -> Result<ChecksumAlgorithm> {
    if !carries_checksum_algorithm(body) {
        return Ok(ChecksumAlgorithm::None);
    }
    match body.last() {
        Some(code) if body.len() > 2 + SERVER_VERSION_LENGTH + 5 => ChecksumAlgorithm::from_code(*code),
        _ => Err(damaged("format description: too short for its checksum algorithm")),
    }
}
