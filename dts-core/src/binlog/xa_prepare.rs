//! XA_PREPARE_LOG_EVENT: the first phase of an XA transaction ends.
use super::reader::Bytes;
use crate::error::Result;

/// An XA transaction is prepared, or committed in one phase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XaPrepare<'a> {
    /// Whether it is committed by this event (`XA COMMIT ... ONE PHASE`).
    pub one_phase: bool,
    /// First part of the transaction's name: the format.
    pub format_id: u32,
    /// Second part: the global transaction.
    pub gtrid: &'a [u8],
    /// Third part: the branch.
    pub bqual: &'a [u8],
}

impl<'a> XaPrepare<'a> {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a part is longer than XA allows or cut off.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        const PART_LENGTH_MAX: u32 = 64;
        let mut bytes = Bytes::new(body, "XA prepare event");
        let one_phase = bytes.u8()? != 0;
        let format_id = bytes.u32()?;
        let gtrid_length = bytes.u32()?;
        let bqual_length = bytes.u32()?;
        if gtrid_length > PART_LENGTH_MAX || bqual_length > PART_LENGTH_MAX {
            return Err(bytes.damaged("a part of the transaction's name is too long"));
        }
        let gtrid = bytes.take_u64(u64::from(gtrid_length))?;
        let bqual = bytes.take_u64(u64::from(bqual_length))?;
        Ok(XaPrepare { one_phase, format_id, gtrid, bqual })
    }
}
