//! ROTATE_EVENT: the file that comes next.
use super::name;
use super::reader::Bytes;
use crate::error::Result;

/// The file that comes next; an artificial event names the file that is being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotate {
    /// Where in the file the next event is, in bytes.
    pub position: u64,
    /// The name of the file.
    pub file: String,
}

impl Rotate {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when it is too short, or the name is not UTF-8.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let mut bytes = Bytes::new(body, "rotate event");
        Ok(Rotate { position: bytes.u64()?, file: name(bytes.rest(), "rotate event")? })
    }
}
