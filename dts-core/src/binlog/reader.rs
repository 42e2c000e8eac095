//! [`Bytes`]: a cursor over bytes of the wire; every read is checked.
use super::damaged;
use crate::error::{Error, Result};

/// Bytes that were not read yet, and what they are for error texts.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Bytes { rest: bytes, what }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns how many bytes were not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes all bytes that are left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[cold]
    fn short(&self, wanted: usize) -> Error {
        damaged(format!("{}: expected {wanted} more bytes, {} are left", self.what, self.rest.len()))
    }

    /// Makes a "damaged" error that names what is being read.
    #[cold]
    pub(super) fn damaged(&self, why: &str) -> Error {
        damaged(format!("{}: {why}", self.what))
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.short(length)),
        }
    }

    /// Takes as many bytes as a length from the wire says.
    #[inline]
    pub(super) fn take_u64(&mut self, length: u64) -> Result<&'a [u8]> {
        // A length beyond usize is beyond the bytes that are there as well.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Takes a part to be read on its own.
    pub(super) fn part(&mut self, length: u64, what: &'static str) -> Result<Bytes<'a>> {
        Ok(Bytes { rest: self.take_u64(length)?, what })
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(self.short(N)),
        }
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u24(&mut self) -> Result<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u48(&mut self) -> Result<u64> {
        self.uint_le(6)
    }

    #[inline]
    pub(super) fn u56(&mut self) -> Result<u64> {
        self.uint_le(7)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads up to 8 bytes, the lowest first.
    #[inline]
    pub(super) fn uint_le(&mut self, length: u8) -> Result<u64> {
        let bytes = self.take(usize::from(length))?;
        Ok(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// Reads up to 8 bytes, the highest first.
    #[inline]
    pub(super) fn uint_be(&mut self, length: u8) -> Result<u64> {
        let bytes = self.take(usize::from(length))?;
        Ok(bytes.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// Reads an integer of 1, 3, 4 or 9 bytes, as the protocol packs lengths.
    #[inline]
    pub(super) fn lenenc(&mut self) -> Result<u64> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => self.uint_le(2),
            253 => self.uint_le(3),
            254 => self.u64(),
            251 | 255 => Err(self.damaged("a packed length begins with a byte that none begins with")),
        }
    }

    /// Reads a packed integer as a length or a count.
    pub(super) fn lenenc_usize(&mut self) -> Result<usize> {
        let value = self.lenenc()?;
        usize::try_from(value).map_err(|_| self.damaged("a packed length does not fit"))
    }

    /// Reads a packed length and as many bytes.
    pub(super) fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.lenenc()?;
        self.take_u64(length)
    }

    /// Reads a length of one byte and as many bytes.
    pub(super) fn short_bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// Reads to a zero byte, which is taken but not returned.
    pub(super) fn null_terminated(&mut self) -> Result<&'a [u8]> {
        match self.rest.iter().position(|byte| *byte == 0) {
            Some(end) => {
                let text = self.take(end)?;
                self.take(1)?;
                Ok(text)
            }
            None => Err(self.damaged("a name has no end")),
        }
    }
}

/// Returns bit `index`, counted from the lowest bit of the first byte; a bit that is not there is not set.
#[inline]
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}

/// Returns bit `index`, counted from the highest bit of the first byte; a bit that is not there is not set.
pub(super) fn bit_from_high(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_lengths() {
        let read = |bytes: &[u8]| Bytes::new(bytes, "test").lenenc().ok();
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[250]), Some(250));
        assert_eq!(read(&[252, 251, 0]), Some(251));
        assert_eq!(read(&[253, 0, 0, 1]), Some(0x10000));
        assert_eq!(read(&[254, 1, 2, 3, 4, 5, 6, 7, 8]), Some(0x0807_0605_0403_0201));
        assert_eq!(read(&[251]), None);
        assert_eq!(read(&[255]), None);
        assert_eq!(read(&[254, 1, 2, 3]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_length_is_checked_before_anything_is_taken() {
        let mut bytes = Bytes::new(&[254, 255, 255, 255, 255, 255, 255, 255, 255, 7], "test");
        assert!(bytes.lenenc_bytes().is_err());
        assert_eq!(bytes.left(), 1);
        assert!(bytes.null_terminated().is_err());
    }

    #[test]
    fn bits_count_from_both_ends() {
        assert!(bit(&[0, 0b10], 9) && !bit(&[0, 0b10], 8) && !bit(&[0xff], 8));
        assert!(bit_from_high(&[0, 0x40], 9) && !bit_from_high(&[0xff], 8));
    }
}
