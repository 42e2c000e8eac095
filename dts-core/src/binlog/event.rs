//! [`RawEvent`]: one event cut out of a packet, its length and checksum verified.
use super::format_description::{carries_checksum_algorithm, checksum_algorithm_of};
use super::reader::Bytes;
use super::{damaged, refused};
use crate::error::Result;

pub(super) const HEADER_LENGTH: usize = EventHeader::LENGTH;
const CHECKSUM_LENGTH: usize = 4;
/// Flag: the server is still writing to this file. Only in the file's first event.
const FLAG_IN_USE: u16 = 0x01;

/// How events are protected against damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChecksumAlgorithm {
    /// Events end with their body.
    None,
    /// Four bytes of CRC32 follow the body.
    Crc32,
}

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The type of an event, MySQL 5.6 to 9.x and MariaDB.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum EventType {
            $($(#[$doc])* $name,)*
            /// A code that is not known here.
            Other(u8),
        }

        impl EventType {
            /// Returns the type with this code on the wire.
            pub fn from_code(code: u8) -> Self {
                match code {
                    $($code => EventType::$name,)*
                    other => EventType::Other(other),
                }
            }

            /// Returns the code on the wire.
            pub fn code(self) -> u8 {
                match self {
                    $(EventType::$name => $code,)*
                    EventType::Other(code) => code,
                }
            }
        }
    };
}

event_types! {
    /// Never written.
    Unknown = 0,
    /// First event of a file before MySQL 5.0.
    StartV3 = 1,
    /// A statement.
    Query = 2,
    /// The server shut down.
    Stop = 3,
    /// The next file.
    Rotate = 4,
    /// `LAST_INSERT_ID` or `INSERT_ID` for the next statement.
    Intvar = 5,
    /// `LOAD DATA` before 5.0.
    Load = 6,
    /// Never written.
    Slave = 7,
    /// `LOAD DATA` before 5.0.
    CreateFile = 8,
    /// A part of the file of a `LOAD DATA` statement.
    AppendBlock = 9,
    /// `LOAD DATA` before 5.0.
    ExecLoad = 10,
    /// The file of a `LOAD DATA` statement is not needed.
    DeleteFile = 11,
    /// `LOAD DATA` before 5.0.
    NewLoad = 12,
    /// Seeds of `RAND()` for the next statement.
    Rand = 13,
    /// A user variable for the next statement.
    UserVar = 14,
    /// First event of a file.
    FormatDescription = 15,
    /// COMMIT of a transactional engine.
    Xid = 16,
    /// The file of a `LOAD DATA` statement begins.
    BeginLoadQuery = 17,
    /// A `LOAD DATA` statement.
    ExecuteLoadQuery = 18,
    /// Table of the following row changes.
    TableMap = 19,
    /// Row inserts of 5.1 before its release.
    PreGaWriteRows = 20,
    /// Row updates of 5.1 before its release.
    PreGaUpdateRows = 21,
    /// Row deletes of 5.1 before its release.
    PreGaDeleteRows = 22,
    /// Row inserts, 5.1 to 5.5 and MariaDB, or `log_bin_use_v1_row_events`.
    WriteRowsV1 = 23,
    /// Row updates, version 1.
    UpdateRowsV1 = 24,
    /// Row deletes, version 1.
    DeleteRowsV1 = 25,
    /// Something happened that is not in the log.
    Incident = 26,
    /// Nothing new.
    Heartbeat = 27,
    /// May be ignored.
    Ignorable = 28,
    /// The statement that made the following row changes.
    RowsQuery = 29,
    /// Row inserts.
    WriteRows = 30,
    /// Row updates.
    UpdateRows = 31,
    /// Row deletes.
    DeleteRows = 32,
    /// A transaction with a GTID begins.
    Gtid = 33,
    /// A transaction without a GTID begins.
    AnonymousGtid = 34,
    /// GTIDs of the files before.
    PreviousGtids = 35,
    /// For group replication's certification.
    TransactionContext = 36,
    /// The group of a group replication changed.
    ViewChange = 37,
    /// An XA transaction is prepared.
    XaPrepare = 38,
    /// Row updates with JSON columns as differences.
    PartialUpdateRows = 39,
    /// A compressed transaction.
    TransactionPayload = 40,
    /// Nothing new, with a position beyond 4 GiB.
    HeartbeatV2 = 41,
    /// A transaction with a tagged GTID begins.
    GtidTagged = 42,
    /// MariaDB: the statement that made the following row changes.
    MariadbAnnotateRows = 160,
    /// MariaDB: oldest file that crash recovery needs.
    MariadbBinlogCheckpoint = 161,
    /// MariaDB: a transaction begins.
    MariadbGtid = 162,
    /// MariaDB: GTIDs of the files before.
    MariadbGtidList = 163,
    /// MariaDB: what follows is encrypted.
    MariadbStartEncryption = 164,
    /// MariaDB: a compressed statement.
    MariadbQueryCompressed = 165,
    /// MariaDB: compressed row inserts, version 1.
    MariadbWriteRowsCompressedV1 = 166,
    /// MariaDB: compressed row updates, version 1.
    MariadbUpdateRowsCompressedV1 = 167,
    /// MariaDB: compressed row deletes, version 1.
    MariadbDeleteRowsCompressedV1 = 168,
    /// MariaDB: compressed row inserts.
    MariadbWriteRowsCompressed = 169,
    /// MariaDB: compressed row updates.
    MariadbUpdateRowsCompressed = 170,
    /// MariaDB: compressed row deletes.
    MariadbDeleteRowsCompressed = 171,
}

/// What all events begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventHeader {
    /// When the statement began, in seconds since 1970; 0 in artificial events.
    pub timestamp: u32,
    /// The type.
    pub event_type: EventType,
    /// The server that first executed it.
    pub server_id: u32,
    /// Length of the event with this header and its checksum, in bytes.
    pub event_size: u32,
    /// Where the next event begins in the file; wraps at 4 GiB, and is 0 in artificial events and inside a compressed
    /// transaction.
    pub log_pos: u32,
    /// The flags.
    pub flags: u16,
}

impl EventHeader {
    /// Length of the header that all events begin with, in bytes.
    pub const LENGTH: usize = 19;

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when it is too short or the event's length is
    /// impossible.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut bytes = Bytes::new(bytes, "event header");
        let header = EventHeader {
            timestamp: bytes.u32()?,
            event_type: EventType::from_code(bytes.u8()?),
            server_id: bytes.u32()?,
            event_size: bytes.u32()?,
            log_pos: bytes.u32()?,
            flags: bytes.u16()?,
        };
        if header.size() < HEADER_LENGTH {
            return Err(damaged(format!(
                "event header: an event of {} bytes is shorter than its header",
                header.size()
            )));
        }
        Ok(header)
    }

    /// Writes the header as it is in the log.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.to_le_bytes());
        bytes.push(self.event_type.code());
        bytes.extend_from_slice(&self.server_id.to_le_bytes());
        bytes.extend_from_slice(&self.event_size.to_le_bytes());
        bytes.extend_from_slice(&self.log_pos.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
    }

    /// Returns the event's length as a length of memory.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.event_size).unwrap_or(usize::MAX)
    }

    /// Returns whether the source's dump thread made the event up: it is in no file.
    pub fn is_artificial(&self) -> bool {
        self.flags & 0x20 != 0
    }

    /// Returns whether a reader that does not know the event's type may skip it.
    pub fn is_ignorable(&self) -> bool {
        self.flags & 0x80 != 0
    }
}

/// One event, its length and checksum verified, its body unread.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RawEvent<'a> {
    /// The header.
    pub header: EventHeader,
    /// The bytes after the header, without the checksum.
    pub body: &'a [u8],
}

impl<'a> RawEvent<'a> {
    /// Cuts an event out of a packet, which holds exactly one.
    ///
    /// `checksum` is what the present format description says, or, before the first one, what the reader told the
    /// server that it understands. A format description brings its own: its bytes say whether it has a checksum, and
    /// `checksum` is not looked at.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the length or the checksum is wrong.
    pub fn parse(packet: &'a [u8], checksum: ChecksumAlgorithm) -> Result<Self> {
        let header = EventHeader::parse(packet)?;
        if header.size() != packet.len() {
            return Err(damaged(format!(
                "event of type {} says that it has {} bytes, {} are there",
                header.event_type.code(),
                header.event_size,
                packet.len()
            )));
        }
        let is_first = header.event_type == EventType::FormatDescription;
        let has_checksum = match checksum {
            _ if is_first => carries_checksum_algorithm(packet.get(HEADER_LENGTH..).unwrap_or_default()),
            ChecksumAlgorithm::None => false,
            ChecksumAlgorithm::Crc32 => true,
        };
        let end = if has_checksum { verify_crc32(packet, is_first)? } else { packet.len() };
        let body =
            packet.get(HEADER_LENGTH..end).ok_or_else(|| damaged("event without room for its checksum"))?;
        if is_first {
            checksum_algorithm_of(body)?;
        }
        Ok(RawEvent { header, body })
    }
}

/// Returns where the checksum begins, when it is right.
fn verify_crc32(packet: &[u8], is_first: bool) -> Result<usize> {
    let Some((content, stored)) = packet.split_last_chunk::<CHECKSUM_LENGTH>() else {
        return Err(damaged("event without room for its checksum"));
    };
    let mut crc32 = crc32fast::Hasher::new();
    match content.split_at_checked(HEADER_LENGTH) {
        // The server computes the checksum of the first event once and sets the flag later.
        Some((header, body)) if is_first => {
            let mut header = header.to_vec();
            if let Some(flags) = header.last_chunk_mut::<2>() {
                *flags = (u16::from_le_bytes(*flags) & !FLAG_IN_USE).to_le_bytes();
            }
            crc32.update(&header);
            crc32.update(body);
        }
        Some(_) => crc32.update(content),
        None => return Err(damaged("event without room for its checksum")),
    }
    if crc32.finalize() == u32::from_le_bytes(*stored) {
        Ok(content.len())
    } else {
        let code = packet.get(4).copied().unwrap_or_default();
        Err(damaged(format!("checksum of an event of type {code} and {} bytes is wrong", packet.len())))
    }
}

impl ChecksumAlgorithm {
    /// Returns the algorithm with this code on the wire.
    pub(super) fn from_code(code: u8) -> Result<Self> {
        match code {
            // 255 is "undefined": written by servers that do not know checksums.
            0 | 255 => Ok(ChecksumAlgorithm::None),
            1 => Ok(ChecksumAlgorithm::Crc32),
            other => Err(refused(format!("checksum algorithm {other} is not known"))),
        }
    }
}
