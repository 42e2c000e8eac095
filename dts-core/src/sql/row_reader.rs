//! Digests and hashes on our side: read from a server's answer, or made from the cells that it sends.
use super::digest::{RowDigest, Rows};
use super::row_text::{Hash, RowHasher, hex};
use crate::error::Result;
use crate::wire::Cells;

/// The digest of some rows, as a server computed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// The number of rows.
    pub rows: u64,
    /// XOR, or sum, of the first 64 bits of the rows' hashes.
    sum: u128,
}

impl Digest {
    /// The digest of no rows.
    pub const EMPTY: Digest = Digest { rows: 0, sum: 0 };

    /// Reads the answer to [`RowDigest::digest`], given as the row's cells. `None` when it is not one.
    pub fn parse(cells: &[Option<&[u8]>]) -> Option<Digest> {
        let number = |cell: Option<&[u8]>| std::str::from_utf8(cell?).ok()?.parse::<u128>().ok();
        let rows = u64::try_from(number(*cells.first()?)?).ok()?;
        let sum = match cells {
            [_] => 0,
            // Of no rows the sum is NULL.
            [_, _] if rows == 0 => 0,
            [_, sum] => number(*sum)?,
            _ => return None,
        };
        Some(Digest { rows, sum })
    }

    /// Adds a row that was hashed on our side. With a key hashes are XORed, without one they are summed.
    pub fn add(&mut self, hash: &Hash, has_key: bool) {
        self.rows += 1;
        let number = hash[..8].iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        self.sum = if has_key { self.sum ^ number } else { self.sum.wrapping_add(number) };
    }
}

/// Makes identities and hashes of rows from their cells, on our side.
pub struct RowReader<'a> {
    pub(super) digest: &'a RowDigest,
    pub(super) hasher: RowHasher<'a>,
    pub(super) rows: Rows<'a>,
    /// Of a table without a key: the hashes looked for.
    pub(super) wanted: Option<std::collections::HashSet<&'a [u8]>>,
}

impl RowReader<'_> {
    /// Takes a row. `None`: it is not one of those asked for.
    ///
    /// # Errors
    /// A malformed row.
    pub fn read(&mut self, cells: &mut Cells<'_>) -> Result<Option<(Vec<Vec<u8>>, Hash)>> {
        let mut identity = Vec::with_capacity(self.digest.key.len().max(1));
        for _ in &self.digest.key {
            identity.push(cells.next_cell()?.unwrap_or_default().to_vec());
        }
        let hash = self.hasher.hash(cells)?;
        if let Rows::Bucket { index, count, .. } = self.rows {
            let mut crc = crc32fast::Hasher::new();
            if self.digest.has_key() {
                for &position in &self.digest.key_positions {
                    crc.update(self.hasher.column(position));
                }
            } else {
                // The server takes the whole of the hash here.
                crc.update(&self.hasher.whole_hash());
            }
            if u64::from(crc.finalize()) % count != index {
                return Ok(None);
            }
        }
        if !self.digest.has_key() {
            identity.push(hex(&hash).to_vec());
            if self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(identity[0].as_slice())) {
                return Ok(None);
            }
        }
        Ok(Some((identity, hash)))
    }

    /// Takes a row and returns its hash alone; not for buckets and identities.
    ///
    /// # Errors
    /// A malformed row.
    pub fn read_hash(&mut self, cells: &mut Cells<'_>) -> Result<Hash> {
        for _ in &self.digest.key {
            cells.next_cell()?;
        }
        self.hasher.hash(cells)
    }

    /// Returns a hash of each column of the row that was read last.
    pub fn column_hashes(&self) -> Vec<Hash> {
        self.hasher.column_hashes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_a_number_of_rows_and_a_sum() {
        let digest = Digest::parse(&[Some(b"2"), Some(b"18446744073709551615")]).unwrap();
        assert_eq!((digest.rows, digest.sum), (2, u128::from(u64::MAX)));
        assert_eq!(Digest::parse(&[Some(b"0"), None]), Some(Digest::EMPTY), "no rows are no rows");
        assert_eq!(Digest::parse(&[Some(b"0"), Some(b"0")]), Some(Digest::EMPTY));
        assert_eq!(Digest::parse(&[Some(b"7")]).map(|digest| digest.rows), Some(7));
        let one: Option<&[u8]> = Some(b"1");
        for wrong in [&[][..], &[None], &[one, None], &[one, Some(b"0x")], &[one, one, one]] {
            assert_eq!(Digest::parse(wrong), None);
        }
    }

    #[test]
    fn equal_rows_cancel_only_where_a_key_forbids_them() {
        let hash = [0xff; 16];
        let twice = |has_key| {
            let mut digest = Digest::EMPTY;
            digest.add(&hash, has_key);
            digest.add(&hash, has_key);
            digest
        };
        assert_eq!((twice(true).rows, twice(true).sum), (2, 0));
        assert_eq!(twice(false).sum, 2 * u128::from(u64::MAX));
    }
}
