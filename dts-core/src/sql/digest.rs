//! Digests of rows, computed by the servers: the same text on both sides, the same bits from MySQL 5.6 to 9.7 and MariaDB.
//!
//! What the hash of one row is, is said in [`row_text`].
//!
//! # What a chunk's digest is
//! The number of rows and the XOR of the first 64 bits of their hashes. Rows of a table with a key are distinct, so that no two
//! cancel; a change is missed with a probability of 2^-64, and where digests differ rows are compared by 128 bits. (XOR of
//! CRC32 is not enough: CRC32 is linear, and an even number of rows with the same difference cancels.) For tables without a
//! key, where equal rows are allowed and an even number of them would cancel, it is the *sum* of the hashes.
//!
//! A hash that the server cannot compute is NULL, and BIT_XOR leaves NULL out without a word. So inside a digest NULL is
//! replaced by the hash of a `UUID()`: such a digest never equals another, the rows are then looked at one by one, and those
//! without a hash are read and hashed on our side.
//!
//! Why 64 bits: BIT_XOR is that wide before MySQL 8.0 and on MariaDB. More would need the hash twice, from a derived table, and
//! cost 5.6 a fifth of the whole digest (2.5 µs against 3.1 µs a row of sysbench). 8.0 and later XOR a binary string: the same
//! bits, for less.
use super::quote;
use super::row_identity::{Identity, key_read, push_key_literal};
use super::row_reader::RowReader;
use super::row_text::{self, ColumnPair, Encoding, RowHasher};
use super::select::{self, KeyColumns, KeyRange};
use crate::data::{Column, ColumnKind, TableName};
use crate::error::Result;

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
    pub(super) key: Vec<Column>,
    /// The other side's columns of the key, for literals that carry the other side's character set.
    foreign_key: Vec<Column>,
    /// How the key's columns are written.
    key_encodings: Vec<Encoding>,
    /// The key's columns among the compared ones.
    pub(super) key_positions: Vec<usize>,
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

/// What a server is asked before it is trusted with hashes: everything that a digest is made of.
pub const PROBE: &str = "SELECT SHA2(CONCAT(_binary'' COLLATE 'binary','a','b','c'),256),HEX(POINT(1.5,0)),CONV(LEFT('00000000000000ff',16),16,10),\
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
        format!("SHA2({},256)", row_text::concat(self.columns.iter().map(|(_, encoding)| encoding)))
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
                // A row without a hash must be in some bucket.
                let number = if self.has_key() {
                    format!("CRC32({})", row_text::concat(self.key_encodings.iter()))
                } else {
                    format!("IFNULL(CRC32({}),0)", self.row_hash())
                };
                sql.extend_from_slice(format!(" {word} {number}%{count}={index}").as_bytes());
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

    /// Builds the query for the digest of some rows: one row; read it with
    /// [`Digest::parse`](super::row_reader::Digest::parse).
    ///
    /// # Errors
    /// A bound that is not of the key's type.
    pub fn digest(&self, rows: Rows<'_>) -> Result<Vec<u8>> {
        if self.content == Content::Existence {
            return self.count(rows);
        }
        let hash = format!("LEFT(IFNULL({},SHA2(UUID(),256)),16)", self.row_hash());
        let number = format!("CAST(CONV({hash},16,10) AS UNSIGNED)");
        let aggregate = match (self.has_key(), self.binary_xor) {
            (true, true) => format!("CONV(HEX(BIT_XOR(UNHEX({hash}))),16,10)"),
            (true, false) => format!("BIT_XOR({number})"),
            (false, _) => format!("SUM({number})"),
        };
        let mut sql = format!("SELECT COUNT(*),{aggregate}").into_bytes();
        self.push_from(&mut sql, rows)?;
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
            let column = row_text::concat(std::iter::once(encoding));
            sql.extend_from_slice(format!(",LEFT(SHA2({column},256),32)").as_bytes());
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

    /// Builds the query for the smallest and the largest key; `None` unless the key is one integer.
    pub fn extremes(&self) -> Option<Vec<u8>> {
        let [column] = &self.key[..] else { return None };
        let index = self.index.as_deref()?;
        matches!(column.kind, ColumnKind::Integer(_))
            .then(|| select::extremes(&self.table, &KeyColumns { index, columns: vec![column] }))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnKind, type_text: &str, nullable: bool) -> Column {
        Column {
            type_text: type_text.into(),
            nullable,
            charset: Some("latin1".into()),
            ..Column::example(name, kind)
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
        let row = "SHA2(CONCAT(_binary'' COLLATE 'binary',`id`,',',IFNULL(LENGTH(`v`),'N'),':',IFNULL(`v`,''),\
                   IFNULL(HEX(POINT(`f`,0)),'N'),SHA2(`b`,256)),256)";
        let range = KeyRange { lower: Some(vec![b"5".to_vec()]), upper: None };
        assert_eq!(
            text(target.digest(Rows::Range(&range))),
            format!(
                "SELECT COUNT(*),CONV(HEX(BIT_XOR(UNHEX(LEFT(IFNULL({row},SHA2(UUID(),256)),16)))),16,10) FROM `d`.`t` \
                 FORCE INDEX (`PRIMARY`) WHERE (`id`>5)"
            )
        );
        assert_eq!(
            text(source.digest(Rows::Range(&KeyRange::default()))),
            format!(
                "SELECT COUNT(*),BIT_XOR(CAST(CONV(LEFT(IFNULL({row},SHA2(UUID(),256)),16),16,10) AS UNSIGNED)) FROM `d`.`t`"
            )
        );
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
                .starts_with("SELECT COUNT(*),SUM(CAST(CONV(LEFT(")
        );
        assert_eq!(
            text(target.rows(Rows::Bucket { range: &KeyRange::default(), index: 1, count: 4 })),
            "SELECT LEFT(SHA2(CONCAT(_binary'' COLLATE 'binary',IFNULL(`a`,'N'),','),256),32),COUNT(*) FROM `d`.`t` WHERE \
             IFNULL(CRC32(SHA2(CONCAT(_binary'' COLLATE 'binary',IFNULL(`a`,'N'),','),256)),0)%4=1 GROUP BY 1 ORDER BY NULL"
        );
    }
}
