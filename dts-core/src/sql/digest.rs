//! Digests of rows, computed by the servers: the same text on both sides, the same bits from MySQL 5.6 to 9.7 and MariaDB.
//!
//! What the hash of one row is, is said in [`row_text`](super::row_text).
//!
//! # What a chunk's digest is
//! The number of rows and the XOR of their hashes. Rows of a table with a key are distinct, so that no two cancel; a
//! change is missed with a probability of 2^-128. (XOR of CRC32 is not enough: CRC32 is linear, and an even number of
//! rows with the same difference cancels.) For tables without a key, where equal rows are allowed and an even number of
//! them would cancel, it is the *sum* of the hashes.
//!
//! A hash that the server cannot compute is NULL, and BIT_XOR leaves NULL out without a word. So inside a digest NULL is
//! replaced by the hash of a `UUID()`: such a digest never equals another, the rows are then looked at one by one, and a
//! row without a hash is reported as not comparable.
//!
//! BIT_XOR is 64 bits wide before MySQL 8.0 and on MariaDB, where it is computed in two halves over a derived table
//! (`LIMIT` keeps the optimizer from merging it, which would compute SHA2 once for each half). 8.0 and later XOR the
//! binary string: same bits, a third of the cost (262,144 sysbench rows: 9.7 270 ms against 730 ms, 5.6 680 ms for two
//! halves against 910 ms for four).
use super::row_text::{ColumnPair, Encoding, Hash, RowHasher, hex, is_zerofill};
use super::select::{self, KeyColumns, KeyRange};
use super::{literal, quote};
use crate::data::{Column, ColumnKind, TableName};
use crate::error::{Error, Result};
use crate::wire::Cells;

/// What of a row is hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// All columns.
    Values,
    /// Nothing: rows are only counted, and all have the same hash.
    Existence,
}

/// How one table is digested on one side.
///
/// Made in pairs, one for each side, so that both have the same columns in the same order with the same encodings.
#[derive(Clone, Debug)]
pub struct RowDigest {
    table: TableName,
    /// Names of the compared columns and how they are written.
    columns: Vec<(String, Encoding)>,
    /// The key's columns, as the source has them, but under this side's names; empty without a key.
    key: Vec<Column>,
    /// The other side's columns of the key, for literals that carry the other side's character set.
    foreign_key: Vec<Column>,
    /// How the key's columns are written.
    key_encodings: Vec<Encoding>,
    /// The key's columns among the compared ones.
    key_positions: Vec<usize>,
    /// How the key's cells are read.
    key_reads: Vec<String>,
    /// The index of the key on this side.
    index: Option<String>,
    binary_xor: bool,
    content: Content,
}

/// One side of a comparison, for [`RowDigest::pair`].
#[derive(Clone, Copy, Debug)]
pub struct DigestSide<'a> {
    /// The table's name there.
    pub table: &'a TableName,
    /// The index there whose columns are the key; `None` when there is none, then nothing is hinted.
    pub index: Option<&'a str>,
    /// Whether BIT_XOR takes binary strings there: MySQL 8.0 and later.
    pub binary_xor: bool,
}

/// Which rows.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// A range of the key, in this server's own order; the open range is the whole table.
    Range(&'a KeyRange),
    /// Those rows of a range whose key (without a key: whose hash) falls into one of `count` buckets.
    Bucket {
        /// The range.
        range: &'a KeyRange,
        /// Which bucket, from 0.
        index: u64,
        /// How many there are.
        count: u64,
    },
    /// Rows with one of these identities: key cells, or for a table without a key the row's hash.
    Identities(&'a [Identity]),
}

/// By what a row is found again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The key's cells; for a table without a key the row's hash in hexadecimal.
    pub cells: Vec<Vec<u8>>,
    /// Whether the cells were read on the target: text then has the character set of the target's column.
    pub from_target: bool,
}

/// Shows only the shape: cells are row content.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({} cells)", self.cells.len())
    }
}

/// Returns whether the key's cells can be compared with literals, so that a row can be found again.
pub fn is_findable(column: &Column) -> bool {
    column.is_rangeable()
        || matches!(
            column.kind,
            ColumnKind::Float
                | ColumnKind::Double
                | ColumnKind::Bit
                | ColumnKind::Enum(_)
                | ColumnKind::Set(_)
        )
}

fn key_read(pair: ColumnPair<'_>, column: &Column) -> String {
    let name = quote::identifier(&column.name);
    let zerofill = [pair.source, pair.target].iter().any(|column| is_zerofill(column));
    match column.kind {
        // At the top of a SELECT list all digits are printed.
        ColumnKind::Float => format!("{name}*1e0"),
        ColumnKind::Bit | ColumnKind::Enum(_) | ColumnKind::Set(_) => format!("{name}+0"),
        _ if zerofill => format!("{name}+0"),
        _ => name,
    }
}

fn push_key_literal(sql: &mut Vec<u8>, cell: &[u8], column: &Column) -> Result<()> {
    match column.kind {
        ColumnKind::Float
        | ColumnKind::Double
        | ColumnKind::Bit
        | ColumnKind::Enum(_)
        | ColumnKind::Set(_) => {
            let is_number = !cell.is_empty()
                && cell.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e'));
            if !is_number {
                return Err(Error::internal(format!(
                    "column '{}' gave a key that is no number",
                    column.name
                )));
            }
            sql.extend_from_slice(cell);
            // So that it is read as a DOUBLE and not as a DECIMAL.
            if matches!(column.kind, ColumnKind::Float | ColumnKind::Double) && !cell.contains(&b'e') {
                sql.extend_from_slice(b"e0");
            }
            Ok(())
        }
        _ => literal::push_cell(sql, cell, column),
    }
}

/// What a server is asked before it is trusted with hashes: everything that a digest is made of.
pub const PROBE: &str = "SELECT SHA2(CONCAT('a','b','c'),256),HEX(POINT(1.5,0)),CONV(LEFT('00000000000000ff',16),16,10),\
    CRC32('abc'),HEX(UNHEX('ff')),LENGTH(UUID())>0,CAST('a' AS BINARY)";

/// Returns whether the answer to [`PROBE`] is the right one. A server built without TLS answers NULL for SHA2.
pub fn can_hash(answer: &[Option<Vec<u8>>]) -> bool {
    let expected: [&[u8]; 7] = [
        b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        b"000000000101000000000000000000F83F0000000000000000",
        b"255",
        b"891568578",
        b"FF",
        b"1",
        b"a",
    ];
    answer.len() == expected.len()
        && answer.iter().zip(expected).all(|(cell, wanted)| cell.as_deref() == Some(wanted))
}

/// SQL text of the two halves of the hashes `h`, put together by an aggregate.
fn halves(aggregate: &str) -> String {
    format!(
        "{aggregate}(CAST(CONV(LEFT(h,16),16,10) AS UNSIGNED)),{aggregate}(CAST(CONV(SUBSTR(h,17,16),16,10) AS UNSIGNED))"
    )
}

impl RowDigest {
    /// Makes the digests of a table's two sides.
    ///
    /// `key` are positions in `columns`; empty for a table without a key.
    pub fn pair(
        source: DigestSide<'_>,
        target: DigestSide<'_>,
        columns: &[ColumnPair<'_>],
        key: &[usize],
        content: Content,
    ) -> (RowDigest, RowDigest) {
        let one = |side: DigestSide<'_>, is_source: bool| {
            let pick =
                |pair: ColumnPair<'_>| if is_source { pair.source.clone() } else { pair.target.clone() };
            let encode =
                |pair: ColumnPair<'_>| Encoding::of(pair, if is_source { pair.source } else { pair.target });
            // A literal is converted from its own character set: so it has that of the side it was read on, and the
            // name of the side it is used on.
            let own_name = |mut column: Column, pair: ColumnPair<'_>| {
                column.name = pick(pair).name;
                column
            };
            RowDigest {
                table: side.table.clone(),
                columns: columns.iter().map(|&pair| (pair.source.name.clone(), encode(pair))).collect(),
                key: key.iter().map(|&c| own_name(columns[c].source.clone(), columns[c])).collect(),
                foreign_key: key.iter().map(|&c| own_name(columns[c].target.clone(), columns[c])).collect(),
                key_encodings: key.iter().map(|&c| encode(columns[c])).collect(),
                key_reads: key.iter().map(|&c| key_read(columns[c], &pick(columns[c]))).collect(),
                key_positions: key.to_vec(),
                index: side.index.map(str::to_owned),
                binary_xor: side.binary_xor,
                content,
            }
        };
        (one(source, true), one(target, false))
    }

    /// Returns whether rows have a key.
    pub fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// Returns the table's name on this side.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// Returns the names of the compared columns, in order.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the key's columns as the source has them.
    pub fn key_columns(&self) -> &[Column] {
        &self.key
    }

    fn row_hash(&self) -> String {
        if self.content == Content::Existence {
            return "REPEAT('0',32)".to_owned();
        }
        let encodings: Vec<&str> =
            self.columns.iter().map(|(_, encoding)| encoding.expression.as_str()).collect();
        format!("SHA2(CONCAT({}),256)", encodings.join(","))
    }

    /// Appends ` FROM table ... WHERE ...`.
    fn push_from(&self, sql: &mut Vec<u8>, rows: Rows<'_>) -> Result<()> {
        sql.extend_from_slice(b" FROM ");
        quote::push_table(sql, &self.table);
        match rows {
            Rows::Range(range) => {
                self.push_range(sql, range)?;
            }
            Rows::Bucket { range, index, count } => {
                let word = if self.push_range(sql, range)? { "AND" } else { "WHERE" };
                let text = if self.has_key() {
                    let key: Vec<&str> = self.key_encodings.iter().map(|e| e.expression.as_str()).collect();
                    format!("CONCAT({})", key.join(","))
                } else {
                    self.row_hash()
                };
                sql.extend_from_slice(format!(" {word} CRC32({text})%{count}={index}").as_bytes());
            }
            Rows::Identities(identities) => self.push_identities(sql, identities)?,
        }
        Ok(())
    }

    /// Appends the range's condition and tells whether there is one.
    fn push_range(&self, sql: &mut Vec<u8>, range: &KeyRange) -> Result<bool> {
        if range.lower.is_none() && range.upper.is_none() {
            return Ok(false);
        }
        if let Some(index) = &self.index {
            sql.extend_from_slice(b" FORCE INDEX (");
            quote::push_identifier(sql, index);
            sql.push(b')');
        }
        let key = KeyColumns { index: "", columns: self.key.iter().collect() };
        select::push_where(sql, &key, range)?;
        Ok(true)
    }

    fn push_identities(&self, sql: &mut Vec<u8>, identities: &[Identity]) -> Result<()> {
        sql.extend_from_slice(b" WHERE ");
        if identities.is_empty() {
            sql.extend_from_slice(b"FALSE");
        }
        if !self.has_key() {
            sql.extend_from_slice(format!("LEFT({},32) IN (", self.row_hash()).as_bytes());
            for (position, identity) in identities.iter().enumerate() {
                if position > 0 {
                    sql.push(b',');
                }
                quote::push_string_literal(sql, identity.cells.first().map_or(&[][..], Vec::as_slice));
            }
            sql.push(b')');
            return Ok(());
        }
        for (position, identity) in identities.iter().enumerate() {
            if position > 0 {
                sql.extend_from_slice(b" OR ");
            }
            sql.push(b'(');
            for (part, column) in self.key.iter().enumerate() {
                if part > 0 {
                    sql.extend_from_slice(b" AND ");
                }
                let spoken = if identity.from_target { &self.foreign_key[part] } else { column };
                quote::push_identifier(sql, &column.name);
                sql.push(b'=');
                push_key_literal(sql, &identity.cells[part], spoken)?;
            }
            sql.push(b')');
        }
        Ok(())
    }

    /// Builds the query for the number of rows: one row, one cell.
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn count(&self, rows: Rows<'_>) -> Result<Vec<u8>> {
        let mut sql = b"SELECT COUNT(*)".to_vec();
        self.push_from(&mut sql, rows)?;
        Ok(sql)
    }

    /// Builds the query for the digest of some rows: one row; read it with [`Digest::parse`].
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn digest(&self, rows: Rows<'_>) -> Result<Vec<u8>> {
        if self.content == Content::Existence {
            return self.count(rows);
        }
        let hash = format!("IFNULL({},SHA2(UUID(),256))", self.row_hash());
        let mut sql = Vec::new();
        if self.has_key() && self.binary_xor {
            sql.extend_from_slice(format!("SELECT COUNT(*),HEX(BIT_XOR(UNHEX(LEFT({hash},32))))").as_bytes());
            self.push_from(&mut sql, rows)?;
        } else {
            let aggregate = if self.has_key() { "BIT_XOR" } else { "SUM" };
            sql.extend_from_slice(
                format!("SELECT COUNT(*),{} FROM (SELECT {hash} h", halves(aggregate)).as_bytes(),
            );
            self.push_from(&mut sql, rows)?;
            sql.extend_from_slice(b" LIMIT 18446744073709551615) d");
        }
        Ok(sql)
    }

    /// Builds the query for the rows one by one: the identity's cells, then the hash (NULL when the server cannot compute
    /// it); for a table without a key the hash and the number of rows that have it.
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn rows(&self, rows: Rows<'_>) -> Result<Vec<u8>> {
        let hash = format!("LEFT({},32)", self.row_hash());
        let mut sql = b"SELECT ".to_vec();
        if self.has_key() {
            for read in &self.key_reads {
                sql.extend_from_slice(read.as_bytes());
                sql.push(b',');
            }
            sql.extend_from_slice(hash.as_bytes());
            self.push_from(&mut sql, rows)?;
        } else {
            sql.extend_from_slice(format!("{hash},COUNT(*)").as_bytes());
            self.push_from(&mut sql, rows)?;
            sql.extend_from_slice(b" GROUP BY 1 ORDER BY NULL");
        }
        Ok(sql)
    }

    /// Builds the query for a hash of each column of some rows: the key's cells, then one hash for each compared column.
    ///
    /// # Errors
    /// A key that is not of the key's type.
    pub fn column_hashes(&self, identities: &[Identity]) -> Result<Vec<u8>> {
        let mut sql = b"SELECT ".to_vec();
        sql.extend_from_slice(self.key_reads.join(",").as_bytes());
        for (_, encoding) in &self.columns {
            sql.extend_from_slice(format!(",LEFT(SHA2(CONCAT({}),256),32)", encoding.expression).as_bytes());
        }
        self.push_from(&mut sql, Rows::Identities(identities))?;
        Ok(sql)
    }

    /// Returns whether a row's hash depends on its values; if not, rows are only counted.
    pub fn hashes_values(&self) -> bool {
        self.content == Content::Values
    }

    /// Builds the query for the rows' cells, for [`RowReader`]: what a server is asked that does not hash.
    ///
    /// Of a bucket the whole range is read, and of a table without a key the whole table: the reader leaves out the rest.
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn cells(&self, rows: Rows<'_>) -> Result<Vec<u8>> {
        let reads = self.columns.iter().map(|(_, encoding)| &encoding.reads);
        let reads: Vec<&str> = self.key_reads.iter().chain(reads).map(String::as_str).collect();
        let mut sql = format!("SELECT {}", reads.join(",")).into_bytes();
        let whole = KeyRange::default();
        let rows = match rows {
            Rows::Bucket { range, .. } => Rows::Range(range),
            Rows::Identities(_) if !self.has_key() => Rows::Range(&whole),
            rows => rows,
        };
        self.push_from(&mut sql, rows)?;
        Ok(sql)
    }

    /// Reads the answers to [`cells`](Self::cells).
    pub fn reader<'a>(&'a self, rows: Rows<'a>) -> RowReader<'a> {
        let wanted = match rows {
            Rows::Identities(identities) if !self.has_key() => Some(
                identities.iter().filter_map(|identity| identity.cells.first()).map(Vec::as_slice).collect(),
            ),
            _ => None,
        };
        RowReader {
            digest: self,
            hasher: RowHasher::new(self.columns.iter().map(|(_, encoding)| encoding)),
            rows,
            wanted,
        }
    }

    /// Builds the query for whole rows: the identity's cells (for a table without a key the hash), then the columns as
    /// [`push_read_expression`](select::push_read_expression) reads them.
    ///
    /// # Errors
    /// A key that is not of the key's type.
    pub fn values(&self, columns: &[&Column], identities: &[Identity]) -> Result<Vec<u8>> {
        let mut sql = b"SELECT ".to_vec();
        if self.has_key() {
            sql.extend_from_slice(self.key_reads.join(",").as_bytes());
        } else {
            sql.extend_from_slice(format!("LEFT({},32)", self.row_hash()).as_bytes());
        }
        for column in columns {
            sql.push(b',');
            select::push_read_expression(&mut sql, column);
        }
        self.push_from(&mut sql, Rows::Identities(identities))?;
        Ok(sql)
    }

    /// Builds the statement that deletes rows, at most so many.
    ///
    /// # Errors
    /// A key that is not of the key's type.
    pub fn delete(&self, identities: &[Identity], rows_max: u64) -> Result<Vec<u8>> {
        let mut sql = b"DELETE".to_vec();
        self.push_from(&mut sql, Rows::Identities(identities))?;
        sql.extend_from_slice(format!(" LIMIT {rows_max}").as_bytes());
        Ok(sql)
    }

    /// Builds the query of [`rows`](Self::rows) so that it locks the rows, and the gaps where they would be.
    ///
    /// # Errors
    /// A key that is not of the key's type.
    pub fn locked_rows(&self, identities: &[Identity]) -> Result<Vec<u8>> {
        let mut sql = self.rows(Rows::Identities(identities))?;
        sql.extend_from_slice(b" FOR UPDATE");
        Ok(sql)
    }

    /// Builds the query for the end of the next chunk: the key of the `rows`-th row after `lower`.
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn boundary(&self, range: &KeyRange, rows: u64) -> Result<Vec<u8>> {
        let mut sql = b"SELECT ".to_vec();
        sql.extend_from_slice(self.key_reads.join(",").as_bytes());
        self.push_from(&mut sql, Rows::Range(range))?;
        if let (None, None, Some(index)) = (&range.lower, &range.upper, &self.index) {
            sql.extend_from_slice(b" FORCE INDEX (");
            quote::push_identifier(&mut sql, index);
            sql.push(b')');
        }
        sql.extend_from_slice(b" ORDER BY ");
        let names: Vec<&str> = self.key.iter().map(|column| column.name.as_str()).collect();
        sql.extend_from_slice(quote::identifiers(names).as_bytes());
        sql.extend_from_slice(format!(" LIMIT 1 OFFSET {}", rows.saturating_sub(1)).as_bytes());
        Ok(sql)
    }
}

/// The digest of some rows, as a server computed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// The number of rows.
    pub rows: u64,
    /// XOR, or sum, of the first and the second half of the hashes. A sum keeps 128 bits.
    halves: [u128; 2],
}

impl Digest {
    /// Reads the answer to [`RowDigest::digest`], given as the row's cells. `None` when it is not one.
    pub fn parse(cells: &[Option<&[u8]>]) -> Option<Digest> {
        let number = |cell: Option<&[u8]>| std::str::from_utf8(cell?).ok()?.parse::<u128>().ok();
        let rows = u64::try_from(number(*cells.first()?)?).ok()?;
        let halves = match cells {
            _ if rows == 0 => [0; 2],
            [_] => [0; 2],
            [_, Some(binary)] => {
                let (first, second) = std::str::from_utf8(binary).ok()?.split_at_checked(16)?;
                let hex = |text: &str| {
                    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(u128::from)
                };
                [hex(first)?, hex(second)?]
            }
            [_, first, second] => [number(*first)?, number(*second)?],
            _ => return None,
        };
        Some(Digest { rows, halves })
    }
}

impl Digest {
    /// The digest of no rows.
    pub const EMPTY: Digest = Digest { rows: 0, halves: [0; 2] };

    /// Adds a row that was hashed on our side. With a key hashes are XORed, without one they are summed.
    pub fn add(&mut self, hash: &Hash, has_key: bool) {
        self.rows += 1;
        let (first, second) = hash.split_at(8);
        for (half, bytes) in self.halves.iter_mut().zip([first, second]) {
            let number = bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
            *half = if has_key { *half ^ number } else { half.wrapping_add(number) };
        }
    }
}

/// Makes identities and hashes of rows from their cells, on our side.
pub struct RowReader<'a> {
    digest: &'a RowDigest,
    hasher: RowHasher<'a>,
    rows: Rows<'a>,
    /// Of a table without a key: the hashes looked for.
    wanted: Option<std::collections::HashSet<&'a [u8]>>,
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

    fn column(name: &str, kind: ColumnKind, type_text: &str, nullable: bool) -> Column {
        Column {
            name: name.into(),
            kind,
            type_text: type_text.into(),
            nullable,
            unsigned: false,
            charset: Some("latin1".into()),
            collation: None,
            generated: false,
            invisible: false,
            auto_increment: false,
        }
    }

    fn pair_of(columns: &[Column], key: &[usize]) -> (RowDigest, RowDigest) {
        let table = TableName::new("d", "t");
        let pairs: Vec<ColumnPair<'_>> =
            columns.iter().map(|column| ColumnPair { source: column, target: column }).collect();
        let source = DigestSide { table: &table, index: Some("PRIMARY"), binary_xor: false };
        let target = DigestSide { binary_xor: true, ..source };
        RowDigest::pair(source, target, &pairs, key, Content::Values)
    }

    fn text(sql: Result<Vec<u8>>) -> String {
        String::from_utf8(sql.unwrap()).unwrap()
    }

    #[test]
    fn both_forms_of_a_digest() {
        let columns = [
            column("id", ColumnKind::Integer(4), "int(11)", false),
            column("v", ColumnKind::Text, "varchar(9)", true),
            column("f", ColumnKind::Float, "float", true),
            column("b", ColumnKind::Blob, "longblob", false),
        ];
        let (source, target) = pair_of(&columns, &[0]);
        let row = "SHA2(CONCAT(`id`,',',IFNULL(CONCAT(LENGTH(`v`),':',CAST(`v` AS BINARY)),'N'),\
                   IFNULL(HEX(POINT(`f`,0)),'N'),SHA2(`b`,256)),256)";
        let range = KeyRange { lower: Some(vec![b"5".to_vec()]), upper: None };
        assert_eq!(
            text(target.digest(Rows::Range(&range))),
            format!(
                "SELECT COUNT(*),HEX(BIT_XOR(UNHEX(LEFT(IFNULL({row},SHA2(UUID(),256)),32)))) FROM `d`.`t` \
                 FORCE INDEX (`PRIMARY`) WHERE (`id`>5)"
            )
        );
        assert_eq!(
            text(source.digest(Rows::Range(&KeyRange::default()))),
            format!(
                "SELECT COUNT(*),BIT_XOR(CAST(CONV(LEFT(h,16),16,10) AS UNSIGNED)),\
                 BIT_XOR(CAST(CONV(SUBSTR(h,17,16),16,10) AS UNSIGNED)) FROM \
                 (SELECT IFNULL({row},SHA2(UUID(),256)) h FROM `d`.`t` LIMIT 18446744073709551615) d"
            )
        );
    }

    #[test]
    fn both_forms_of_a_digest_parse_to_the_same() {
        let binary = Digest::parse(&[Some(b"2"), Some(b"00000000000000FF8000000000000000")]).unwrap();
        let split = Digest::parse(&[Some(b"2"), Some(b"255"), Some(b"9223372036854775808")]).unwrap();
        assert_eq!(binary, split);
        assert_eq!(
            Digest::parse(&[Some(b"0"), Some(b"0000")]),
            Digest::parse(&[Some(b"0"), None, None]),
            "no rows are no rows"
        );
        let (one, short): (Option<&[u8]>, Option<&[u8]>) = (Some(b"1"), Some(b"00"));
        for wrong in [&[][..], &[None], &[one, None], &[one, short], &[one, None, None]] {
            assert_eq!(Digest::parse(wrong), None);
        }
    }

    fn encoding(pair: ColumnPair<'_>, column: &Column) -> String {
        Encoding::of(pair, column).expression
    }

    #[test]
    fn a_server_that_answers_wrongly_is_not_trusted() {
        assert!(!can_hash(&[]));
        let right: Vec<Option<Vec<u8>>> = [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "000000000101000000000000000000F83F0000000000000000",
            "255",
            "891568578",
            "FF",
            "1",
            "a",
        ]
        .iter()
        .map(|cell| Some(cell.as_bytes().to_vec()))
        .collect();
        assert!(can_hash(&right));
        let mut without_tls = right.clone();
        without_tls[0] = None;
        assert!(!can_hash(&without_tls));
    }

    #[test]
    fn types_that_differ_meet_in_one_class() {
        let int = column("a", ColumnKind::Integer(4), "int(5) unsigned zerofill", false);
        let big = column("a", ColumnKind::Integer(8), "bigint", true);
        let blob = column("a", ColumnKind::Blob, "blob", false);
        let varbinary = column("a", ColumnKind::Blob, "varbinary(9)", false);
        let pair = ColumnPair { source: &int, target: &big };
        assert_eq!(encoding(pair, &int), "IFNULL(`a`+0,'N'),','");
        assert_eq!(encoding(pair, &big), encoding(pair, &int));
        let pair = ColumnPair { source: &varbinary, target: &blob };
        assert_eq!(encoding(pair, &varbinary), "SHA2(CAST(`a` AS BINARY),256)");
        assert_eq!(encoding(pair, &blob), "SHA2(`a`,256)");
    }

    #[test]
    fn composite_keys_are_found_by_their_cells() {
        let columns = [
            column("a", ColumnKind::Enum(vec!["x".into()]), "enum('x')", false),
            column("b", ColumnKind::Float, "float", false),
            column("c", ColumnKind::Text, "varchar(9)", false),
        ];
        let (source, _) = pair_of(&columns, &[0, 1, 2]);
        let one =
            Identity { cells: vec![b"1".to_vec(), b"1.5".to_vec(), b"it's".to_vec()], from_target: false };
        assert_eq!(
            text(source.count(Rows::Identities(&[one.clone(), one]))),
            "SELECT COUNT(*) FROM `d`.`t` WHERE (`a`=1 AND `b`=1.5e0 AND `c`=_latin1'it\\'s') OR \
             (`a`=1 AND `b`=1.5e0 AND `c`=_latin1'it\\'s')"
        );
        let evil =
            Identity { cells: vec![b"1 OR 1".to_vec(), b"1".to_vec(), b"".to_vec()], from_target: false };
        assert!(source.count(Rows::Identities(&[evil])).is_err());
    }

    #[test]
    fn without_a_key_hashes_are_summed_and_grouped() {
        let columns = [column("a", ColumnKind::Integer(4), "int", true)];
        let (_, target) = pair_of(&columns, &[]);
        assert!(
            text(target.digest(Rows::Range(&KeyRange::default())))
                .contains("SUM(CAST(CONV(LEFT(h,16),16,10) AS UNSIGNED))")
        );
        assert_eq!(
            text(target.rows(Rows::Bucket { range: &KeyRange::default(), index: 1, count: 4 })),
            "SELECT LEFT(SHA2(CONCAT(IFNULL(`a`,'N'),','),256),32),COUNT(*) FROM `d`.`t` WHERE \
             CRC32(SHA2(CONCAT(IFNULL(`a`,'N'),','),256))%4=1 GROUP BY 1 ORDER BY NULL"
        );
    }
}
