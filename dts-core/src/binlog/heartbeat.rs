//! HEARTBEAT_LOG_EVENT, both versions: the source has nothing new.
use super::event::EventHeader;
use super::name;
use super::reader::Bytes;
use crate::error::Result;

/// The source has nothing new, and stands here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The source's present file.
    pub file: String,
    /// The position in it; wraps at 4 GiB in version 1.
    pub position: u64,
}

impl Heartbeat {
    /// Reads the body of version 1.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the name is not UTF-8.
    pub fn parse_v1(header: &EventHeader, body: &[u8]) -> Result<Self> {
        Ok(Heartbeat { file: name(body, "heartbeat event")?, position: u64::from(header.log_pos) })
    }

    /// Reads the body of version 2.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off.
    pub fn parse_v2(body: &[u8]) -> Result<Self> {
        let mut bytes = Bytes::new(body, "heartbeat event");
        let mut heartbeat = Heartbeat { file: String::new(), position: 0 };
        while !bytes.is_empty() {
            let field = bytes.lenenc()?;
            if field == 0 {
                break;
            }
            let length = bytes.lenenc()?;
            let mut value = bytes.part(length, "heartbeat event")?;
            match field {
                1 => heartbeat.file = name(value.rest(), "heartbeat event")?,
                2 => heartbeat.position = value.lenenc()?,
                _ => {}
            }
        }
        Ok(heartbeat)
    }
}
