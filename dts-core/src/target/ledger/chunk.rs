//! The row of a copied chunk: the ends of its key range, as the source sent them.
use super::{Ledger, SCHEMA};
use crate::error::{Error, Result};
use crate::sql::quote;
use crate::sql::select::{Bound, KeyRange};
use crate::wire::{Connection, TextRow};

pub(super) const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS `__dts__`.`chunk` (task VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
    table_id INT UNSIGNED NOT NULL, sequence INT UNSIGNED NOT NULL, lower_bound LONGBLOB, upper_bound LONGBLOB, \
    row_count BIGINT UNSIGNED NOT NULL, byte_count BIGINT UNSIGNED NOT NULL, PRIMARY KEY (task, table_id, \
    sequence)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin";

/// The row of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRow {
    /// Its number within the table; chunks follow each other in key order.
    pub sequence: u32,
    /// The range of keys.
    pub range: KeyRange,
    /// Rows copied.
    pub row_count: u64,
    /// Bytes copied, as the source sent them.
    pub byte_count: u64,
}

impl Ledger {
    /// Reads the chunks of a table that are copied, in order.
    ///
    /// # Errors
    /// What the target answered, or a row that cannot be read.
    pub fn chunks(&self, connection: &mut Connection, id: u32) -> Result<Vec<ChunkRow>> {
        let sql = format!(
            "SELECT sequence, lower_bound, upper_bound, row_count, byte_count FROM `__dts__`.`chunk` WHERE task = {} AND \
             table_id = {id} ORDER BY sequence",
            self.literal()
        );
        connection.query(sql, "reading the chunks' rows")?.iter().map(chunk_row).collect()
    }

    /// Builds the statement that records that a chunk is begun; it is committed before the chunk's own transaction, so that
    /// whoever finds the chunk unfinished knows that it is copied again. `again`: it had been begun before.
    pub fn chunk_begun_statement(&self, id: u32, sequence: u32, again: bool) -> String {
        format!(
            "UPDATE `__dts__`.`table_copy` SET chunks_begun = GREATEST(chunks_begun, {sequence}), chunks_again = chunks_again + \
             {} WHERE task = {} AND table_id = {id}",
            u8::from(again),
            self.literal()
        )
    }

    /// Builds the statement that records a chunk; it belongs into the transaction that loads the rows.
    pub fn chunk_statement(&self, id: u32, chunk: &ChunkRow) -> Vec<u8> {
        let mut sql = format!(
            "INSERT INTO `__dts__`.`chunk` (task, table_id, sequence, lower_bound, upper_bound, row_count, byte_count) VALUES \
             ({}, {id}, {}, ",
            self.literal(),
            chunk.sequence
        )
        .into_bytes();
        for bound in [&chunk.range.lower, &chunk.range.upper] {
            match bound {
                Some(bound) => quote::push_hex_literal(&mut sql, &encode_bound(bound)),
                None => sql.extend_from_slice(b"NULL"),
            }
            sql.extend_from_slice(b", ");
        }
        sql.extend_from_slice(format!("{}, {})", chunk.row_count, chunk.byte_count).as_bytes());
        sql
    }

    /// Returns whether a chunk is recorded: the answer to a COMMIT whose own answer was lost.
    ///
    /// # Errors
    /// What the target answered.
    pub fn has_chunk(&self, connection: &mut Connection, id: u32, sequence: u32) -> Result<bool> {
        let sql = format!(
            "SELECT COUNT(*) FROM `__dts__`.`chunk` WHERE task = {} AND table_id = {id} AND sequence = {sequence}",
            self.literal()
        );
        Ok(connection.query_row(sql, "looking for a chunk's row")?.and_then(|row| row.u64(0)) == Some(1))
    }
}

fn chunk_row(row: &TextRow) -> Result<ChunkRow> {
    let bound = |column: usize| row.bytes(column).map(decode_bound).transpose();
    Ok(ChunkRow {
        sequence: row.u64(0).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        range: KeyRange { lower: bound(1)?, upper: bound(2)? },
        row_count: row.u64(3).unwrap_or(0),
        byte_count: row.u64(4).unwrap_or(0),
    })
}

/// Writes each cell with its length in front, so that any bytes may be in it.
fn encode_bound(bound: &Bound) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in bound {
        let length = u32::try_from(cell.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(cell);
    }
    bytes
}

fn decode_bound(mut bytes: &[u8]) -> Result<Bound> {
    let mut bound = Vec::new();
    while !bytes.is_empty() {
        let cell = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
        });
        let Some((cell, rest)) = cell else {
            return Err(Error::internal(format!("unreadable bound in {SCHEMA}.chunk")));
        };
        bound.push(cell.to_vec());
        bytes = rest;
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_keep_any_bytes() {
        for bound in [vec![vec![]], vec![b"0xab".to_vec(), vec![0, 255, b'\'']], vec![vec![7; 1000]]] {
            assert_eq!(decode_bound(&encode_bound(&bound)).unwrap(), bound);
        }
        assert!(decode_bound(&[0, 0, 0, 9, 1]).is_err());
    }
}
