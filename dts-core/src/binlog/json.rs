//! Binary JSON to the text that the server prints, and the differences of partial updates.
//!
//! A document is a type byte and a value. Objects and arrays begin with their element count and their length in bytes,
//! then tables of offsets, counted from their own beginning, of keys and values; small scalars stand in the table itself.
//! "Small" ones have offsets of two bytes, "large" ones of four.
//!
//! Offsets could point anywhere, also twice to the same place: a document of some hundred bytes could so have a text
//! without end. A server writes every byte for one value only, so the text is refused as soon as values that
//! were printed have more bytes than the document.
use super::damaged;
use super::decimal::DecimalShape;
use super::reader::Bytes;
use super::table_map::column_type as ty;
use super::temporal::{JsonTemporal, json_temporal};
use crate::data::json_number::push_double;
use crate::data::{JsonDiff, JsonDiffOperation};
use crate::error::Result;

/// The server allows 100.
const DEPTH_MAX: u32 = 100;
const WHAT: &str = "JSON document";

mod kind {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Returns the text of a document, as `CAST(document AS CHAR)` prints it on 8.0 and later.
///
/// A document without bytes is `null`, as the server reads it.
///
/// # Errors
///
/// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when the bytes are no document that a server writes.
pub fn json_text(document: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(document.len() + document.len() / 2);
    let Some((kind, value)) = document.split_first() else {
        return Ok(b"null".to_vec());
    };
    let mut printer = Printer { text: &mut text, budget: document.len() };
    printer.value(*kind, value, 1)?;
    Ok(text)
}

/// Reads the differences that a partial update holds in place of a document.
///
/// # Errors
///
/// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when one is cut off or is none.
pub fn json_diffs(bytes: &[u8]) -> Result<Vec<JsonDiff>> {
    let mut bytes = Bytes::new(bytes, "JSON differences");
    let mut diffs = Vec::new();
    while !bytes.is_empty() {
        let operation = match bytes.u8()? {
            0 => JsonDiffOperation::Replace,
            1 => JsonDiffOperation::Insert,
            2 => JsonDiffOperation::Remove,
            _ => return Err(bytes.damaged("an operation that is not known")),
        };
        let path = bytes.lenenc_bytes()?.to_vec();
        let value = match operation {
            JsonDiffOperation::Remove => Vec::new(),
            JsonDiffOperation::Replace | JsonDiffOperation::Insert => json_text(bytes.lenenc_bytes()?)?,
        };
        diffs.push(JsonDiff { operation, path, value });
    }
    Ok(diffs)
}

struct Printer<'t> {
    text: &'t mut Vec<u8>,
    /// How many bytes of the document were not printed yet.
    budget: usize,
}

impl Printer<'_> {
    /// Prints a value whose bytes begin `bytes`.
    fn value(&mut self, kind: u8, bytes: &[u8], depth: u32) -> Result<()> {
        let mut bytes = Bytes::new(bytes, WHAT);
        match kind {
            kind::SMALL_OBJECT => self.container::<Small>(bytes, true, depth),
            kind::LARGE_OBJECT => self.container::<Large>(bytes, true, depth),
            kind::SMALL_ARRAY => self.container::<Small>(bytes, false, depth),
            kind::LARGE_ARRAY => self.container::<Large>(bytes, false, depth),
            kind::STRING => {
                let string = variable_length(&mut bytes)?;
                self.spend(string.len() + 1)?;
                self.string(string);
                Ok(())
            }
            kind::OPAQUE => self.opaque(bytes),
            _ => {
                self.spend(1)?;
                self.scalar(kind, bytes)
            }
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        match self.budget.checked_sub(bytes) {
            Some(budget) => {
                self.budget = budget;
                Ok(())
            }
            None => Err(damaged("JSON document: two values are in the same place")),
        }
    }

    /// Prints a value that is not a container, a string or an opaque one.
    fn scalar(&mut self, kind: u8, mut bytes: Bytes<'_>) -> Result<()> {
        match kind {
            kind::LITERAL => {
                let literal: &[u8] = match bytes.u8()? {
                    0 => b"null",
                    1 => b"true",
                    2 => b"false",
                    _ => return Err(bytes.damaged("a literal that is not known")),
                };
                self.text.extend_from_slice(literal);
            }
            kind::INT16 => self.signed(i16::from_le_bytes(bytes.array()?).into()),
            kind::UINT16 => self.unsigned(bytes.u16()?.into()),
            kind::INT32 => self.signed(i32::from_le_bytes(bytes.array()?).into()),
            kind::UINT32 => self.unsigned(bytes.u32()?.into()),
            kind::INT64 => self.signed(i64::from_le_bytes(bytes.array()?)),
            kind::UINT64 => self.unsigned(bytes.u64()?),
            kind::DOUBLE => {
                let value = f64::from_le_bytes(bytes.array()?);
                if !value.is_finite() {
                    return Err(bytes.damaged("a number without a value"));
                }
                push_double(self.text, value);
            }
            _ => return Err(bytes.damaged("a type that is not known")),
        }
        Ok(())
    }

    fn container<W: Width>(&mut self, bytes: Bytes<'_>, is_object: bool, depth: u32) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(bytes.damaged("nested too deeply"));
        }
        let mut head = bytes;
        let count = W::read(&mut head)?;
        let size = W::read(&mut head)?;
        // Offsets count from here, and none may point beyond the container's own length.
        let container = Bytes::new(bytes.clone().take(size)?, WHAT).rest();
        let mut head = Bytes::new(container, WHAT);
        head.take(2 * W::BYTES)?;
        let key_length = if is_object { W::BYTES + 2 } else { 0 };
        let tables = (key_length + 1 + W::BYTES).checked_mul(count);
        let tables = tables
            .filter(|length| *length <= head.left())
            .ok_or_else(|| head.damaged("too many elements"))?;
        self.spend(2 * W::BYTES + tables)?;
        let mut keys = Bytes::new(head.take(key_length * count)?, WHAT);
        let mut values = Bytes::new(head.take(tables - key_length * count)?, WHAT);
        self.text.push(if is_object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.text.extend_from_slice(b", ");
            }
            if is_object {
                let offset = W::read(&mut keys)?;
                let length = usize::from(keys.u16()?);
                let Some(key) = container.get(offset..).and_then(|rest| rest.get(..length)) else {
                    return Err(keys.damaged("a key is outside of its object"));
                };
                self.spend(length)?;
                self.string(key);
                self.text.extend_from_slice(b": ");
            }
            let kind = values.u8()?;
            if W::is_inlined(kind) {
                let inlined = values.take(W::BYTES)?;
                // Its bytes are part of the table, which is spent already.
                self.scalar(kind, Bytes::new(inlined, WHAT))?;
            } else {
                let offset = W::read(&mut values)?;
                let Some(value) = container.get(offset..) else {
                    return Err(values.damaged("a value is outside of its container"));
                };
                self.value(kind, value, depth + 1)?;
            }
        }
        self.text.push(if is_object { b'}' } else { b']' });
        Ok(())
    }

    /// Prints a value of a type that JSON does not have.
    fn opaque(&mut self, mut bytes: Bytes<'_>) -> Result<()> {
        let type_code = bytes.u8()?;
        let value = variable_length(&mut bytes)?;
        self.spend(2 + value.len())?;
        let temporal = match type_code {
            ty::NEWDECIMAL => {
                let mut value = Bytes::new(value, WHAT);
                let shape = DecimalShape::new(value.u8()?, value.u8()?)?;
                self.text.extend_from_slice(shape.read(&mut value)?.as_bytes());
                return Ok(());
            }
            ty::DATE => Some(JsonTemporal::Date),
            ty::TIME => Some(JsonTemporal::Time),
            ty::DATETIME | ty::TIMESTAMP => Some(JsonTemporal::Datetime),
            _ => None,
        };
        self.text.push(b'"');
        if let Some(temporal) = temporal {
            let packed = i64::from_le_bytes(Bytes::new(value, WHAT).array()?);
            self.text.extend_from_slice(json_temporal(packed, temporal)?.as_bytes());
        } else {
            self.text.extend_from_slice(b"base64:type");
            self.unsigned(type_code.into());
            self.text.push(b':');
            push_base64(self.text, value);
        }
        self.text.push(b'"');
        Ok(())
    }

    fn signed(&mut self, value: i64) {
        if value < 0 {
            self.text.push(b'-');
        }
        self.unsigned(value.unsigned_abs());
    }

    fn unsigned(&mut self, value: u64) {
        push_integer(self.text, value);
    }

    fn string(&mut self, string: &[u8]) {
        self.text.push(b'"');
        let mut rest = string;
        while let Some(plain) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            let (before, from) = rest.split_at(plain);
            self.text.extend_from_slice(before);
            let Some((special, after)) = from.split_first() else { break };
            push_escaped(self.text, *special);
            rest = after;
        }
        self.text.extend_from_slice(rest);
        self.text.push(b'"');
    }
}

/// How wide the offsets of a container are.
trait Width {
    const BYTES: usize;
    fn read(bytes: &mut Bytes<'_>) -> Result<usize>;
    /// Returns whether values of a type stand in the table in place of an offset.
    fn is_inlined(kind: u8) -> bool;
}

struct Small;
struct Large;

impl Width for Small {
    const BYTES: usize = 2;
    fn read(bytes: &mut Bytes<'_>) -> Result<usize> {
        bytes.u16().map(usize::from)
    }
    fn is_inlined(kind: u8) -> bool {
        matches!(kind, kind::LITERAL | kind::INT16 | kind::UINT16)
    }
}

impl Width for Large {
    const BYTES: usize = 4;
    fn read(bytes: &mut Bytes<'_>) -> Result<usize> {
        Ok(usize::try_from(bytes.u32()?).unwrap_or(usize::MAX))
    }
    fn is_inlined(kind: u8) -> bool {
        Small::is_inlined(kind) || matches!(kind, kind::INT32 | kind::UINT32)
    }
}

/// Reads a length of one to five bytes, seven bits in each, and as many bytes.
fn variable_length<'a>(bytes: &mut Bytes<'a>) -> Result<&'a [u8]> {
    let mut length = 0_u64;
    for place in 0..5 {
        let byte = bytes.u8()?;
        length |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes.take_u64(length);
        }
    }
    Err(bytes.damaged("a length that does not end"))
}

fn push_escaped(text: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        control => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            text.extend_from_slice(b"\\u00");
            text.extend_from_slice(&[digit(control >> 4), digit(control & 0x0f)]);
            return;
        }
    };
    text.extend_from_slice(&[b'\\', short]);
}

fn push_integer(text: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 10] = b"0123456789";
    let start = text.len();
    let mut rest = value;
    loop {
        let digit = usize::try_from(rest % 10).unwrap_or_default();
        text.push(DIGITS.get(digit).copied().unwrap_or(b'0'));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = text.get_mut(start..) {
        digits.reverse();
    }
}

/// Prints base64 as 9.7 does: a line break, escaped, after every 76 characters.
fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const GROUPS_PER_LINE: usize = 19;
    for (index, group) in bytes.chunks(3).enumerate() {
        if index > 0 && index % GROUPS_PER_LINE == 0 {
            text.extend_from_slice(b"\\n");
        }
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = (at(0) << 16) | (at(1) << 8) | at(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from((bits >> shift) & 0x3f).unwrap_or_default();
            text.push(if place > group.len() { b'=' } else { ALPHABET.get(digit).copied().unwrap_or(b'=') });
        }
    }
}

#[cfg(test)]
mod tests;
