//! What a server answers: done, a row, an error.
use std::borrow::Cow;

use super::packet::protocol;
use crate::error::{Result, ServerError};

/// The end of a statement that returned no rows, or of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows inserted, deleted, or *matched* by an update (`CLIENT_FOUND_ROWS` is on): an update that changes nothing
    /// counts, so that "no row" can be told from "no change". INSERT ... ON DUPLICATE KEY UPDATE: 1 for a new row, 2 for
    /// an updated one, and 1 for one that was already so.
    pub affected_rows: u64,
    /// Warnings of the statement.
    pub warnings: u16,
    /// Whether a transaction is open afterwards.
    pub in_transaction: bool,
    pub(super) more_results: bool,
}

const SERVER_STATUS_IN_TRANS: u16 = 0x0001;
const SERVER_MORE_RESULTS_EXISTS: u16 = 0x0008;

impl Done {
    fn from_status(affected_rows: u64, status: u16, warnings: u16) -> Self {
        Done {
            affected_rows,
            warnings,
            in_transaction: status & SERVER_STATUS_IN_TRANS != 0,
            more_results: status & SERVER_MORE_RESULTS_EXISTS != 0,
        }
    }

    /// Reads an OK packet, its first byte included.
    pub(super) fn parse_ok(packet: &[u8]) -> Result<Done> {
        let mut rest = &packet[1..];
        let parsed = (|| {
            let affected_rows = lenenc_int(&mut rest)?;
            let _last_insert_id = lenenc_int(&mut rest)?;
            let status = u16_le(&mut rest)?;
            let warnings = u16_le(&mut rest)?;
            Some(Done::from_status(affected_rows, status, warnings))
        })();
        parsed.ok_or_else(|| protocol("a short OK packet"))
    }

    /// Reads an EOF packet, its first byte included.
    pub(super) fn parse_eof(packet: &[u8]) -> Result<Done> {
        let mut rest = &packet[1..];
        let parsed = (|| {
            let warnings = u16_le(&mut rest)?;
            let status = u16_le(&mut rest)?;
            Some(Done::from_status(0, status, warnings))
        })();
        parsed.ok_or_else(|| protocol("a short EOF packet"))
    }
}

/// Tells an EOF packet from a row whose first cell is longer than 16 MiB (both start with 0xfe).
pub(super) fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// Reads an ERR packet, its first byte included.
pub(super) fn parse_error(packet: &[u8]) -> ServerError {
    let code = match packet {
        [_, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let rest = packet.get(3..).unwrap_or_default();
    let (state, message) = match rest {
        [b'#', state @ ..] if state.len() >= 5 => state.split_at(5),
        _ => (&b"HY000"[..], rest),
    };
    ServerError {
        code,
        state: String::from_utf8_lossy(state).into_owned(),
        message: String::from_utf8_lossy(message).into_owned(),
    }
}

/// The cells of one row in the text protocol: slices of the receive buffer.
#[derive(Clone, Copy)]
pub struct Cells<'a>(&'a [u8]);

impl<'a> Cells<'a> {
    /// Takes a row's packet, without the packet's header. What is wrong with it shows when cells are read.
    pub fn new(packet: &'a [u8]) -> Self {
        Cells(packet)
    }

    /// Returns the size of the row as it came, in bytes.
    pub fn byte_count(&self) -> usize {
        self.0.len()
    }

    /// Returns the next cell, `None` for NULL.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`](crate::error::ErrorKind::Protocol) past the last cell or when the row is malformed.
    #[inline]
    pub fn next_cell(&mut self) -> Result<Option<&'a [u8]>> {
        // The common case first: a cell of up to 250 bytes.
        let length = match self.0 {
            [length @ 0..=250, rest @ ..] => {
                let length = usize::from(*length);
                if let Some((cell, rest)) = rest.split_at_checked(length) {
                    self.0 = rest;
                    return Ok(Some(cell));
                }
                None
            }
            [0xfb, rest @ ..] => {
                self.0 = rest;
                return Ok(None);
            }
            _ => lenenc_int(&mut self.0).and_then(|length| usize::try_from(length).ok()),
        };
        let cell = length.and_then(|length| self.0.split_at_checked(length));
        let (cell, rest) = cell.ok_or_else(|| protocol("a malformed row"))?;
        self.0 = rest;
        Ok(Some(cell))
    }
}

/// A whole row, copied; for small results of the control plane.
#[derive(Clone, PartialEq, Eq)]
pub struct TextRow(Vec<Option<Vec<u8>>>);

impl TextRow {
    pub(super) fn copy(mut cells: Cells<'_>, column_count: usize) -> Result<Self> {
        let mut row = Vec::with_capacity(column_count);
        for _ in 0..column_count {
            row.push(cells.next_cell()?.map(<[u8]>::to_vec));
        }
        Ok(TextRow(row))
    }

    /// Returns a cell's bytes; `None` for NULL or a column that is not there.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        self.0.get(column)?.as_deref()
    }

    /// Returns a cell as text; bytes that are not UTF-8 are replaced. `None` for NULL.
    pub fn text(&self, column: usize) -> Option<Cow<'_, str>> {
        self.bytes(column).map(String::from_utf8_lossy)
    }

    /// Returns a cell as owned text, empty for NULL.
    pub fn string(&self, column: usize) -> String {
        self.text(column).unwrap_or_default().into_owned()
    }

    /// Returns a cell as an unsigned number; `None` for NULL or anything else.
    pub fn u64(&self, column: usize) -> Option<u64> {
        self.text(column)?.parse().ok()
    }

    /// Returns the number of columns.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the row has no column, which no server sends.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shows only the shape: cells may be row content.
impl std::fmt::Debug for TextRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextRow({} cells)", self.0.len())
    }
}

pub(super) fn lenenc_int(rest: &mut &[u8]) -> Option<u64> {
    let (&first, tail) = rest.split_first()?;
    let size = match first {
        0..=0xfa => {
            *rest = tail;
            return Some(u64::from(first));
        }
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return None,
    };
    let (bytes, tail) = tail.split_at_checked(size)?;
    let mut wide = [0; 8];
    wide[..size].copy_from_slice(bytes);
    *rest = tail;
    Some(u64::from_le_bytes(wide))
}

fn u16_le(rest: &mut &[u8]) -> Option<u16> {
    let (bytes, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_every_length_form() {
        let mut packet = vec![3, b'a', b'b', b'c', 0xfb, 0];
        packet.extend([0xfc, 0x2c, 0x01]);
        packet.extend([b'x'; 300]);
        let mut cells = Cells::new(&packet);
        assert_eq!(cells.next_cell().unwrap(), Some(&b"abc"[..]));
        assert_eq!(cells.next_cell().unwrap(), None);
        assert_eq!(cells.next_cell().unwrap(), Some(&b""[..]));
        assert_eq!(cells.next_cell().unwrap().unwrap().len(), 300);
        assert!(cells.next_cell().is_err());
    }

    #[test]
    fn a_cell_longer_than_its_row_is_an_error() {
        assert!(Cells::new(&[5, b'a']).next_cell().is_err());
        assert!(Cells::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 1]).next_cell().is_err());
    }
}
