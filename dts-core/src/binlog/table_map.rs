//! TABLE_MAP_EVENT: the table of the following row changes, and how its columns are laid out in them.
use super::name;
use super::reader::{Bytes, bit, bit_from_high};
use crate::error::Result;

/// MySQL and MariaDB allow no more columns in a table.
const COLUMN_COUNT_MAX: usize = 4096;

/// Type codes of columns.
#[rustfmt::skip]
pub(super) mod column_type {
    pub(in super::super) const DECIMAL: u8 = 0;
    pub(in super::super) const TINY: u8 = 1;
    pub(in super::super) const SHORT: u8 = 2;
    pub(in super::super) const LONG: u8 = 3;
    pub(in super::super) const FLOAT: u8 = 4;
    pub(in super::super) const DOUBLE: u8 = 5;
    pub(in super::super) const NULL: u8 = 6;
    pub(in super::super) const TIMESTAMP: u8 = 7;
    pub(in super::super) const LONGLONG: u8 = 8;
    pub(in super::super) const INT24: u8 = 9;
    pub(in super::super) const DATE: u8 = 10;
    pub(in super::super) const TIME: u8 = 11;
    pub(in super::super) const DATETIME: u8 = 12;
    pub(in super::super) const YEAR: u8 = 13;
    pub(in super::super) const NEWDATE: u8 = 14;
    pub(in super::super) const VARCHAR: u8 = 15;
    pub(in super::super) const BIT: u8 = 16;
    pub(in super::super) const TIMESTAMP2: u8 = 17;
    pub(in super::super) const DATETIME2: u8 = 18;
    pub(in super::super) const TIME2: u8 = 19;
    pub(in super::super) const TYPED_ARRAY: u8 = 20;
    pub(in super::super) const MARIADB_BLOB_COMPRESSED: u8 = 140;
    pub(in super::super) const MARIADB_VARCHAR_COMPRESSED: u8 = 141;
    pub(in super::super) const VECTOR: u8 = 242;
    pub(in super::super) const JSON: u8 = 245;
    pub(in super::super) const NEWDECIMAL: u8 = 246;
    pub(in super::super) const ENUM: u8 = 247;
    pub(in super::super) const SET: u8 = 248;
    pub(in super::super) const TINY_BLOB: u8 = 249;
    pub(in super::super) const MEDIUM_BLOB: u8 = 250;
    pub(in super::super) const LONG_BLOB: u8 = 251;
    pub(in super::super) const BLOB: u8 = 252;
    pub(in super::super) const VAR_STRING: u8 = 253;
    pub(in super::super) const STRING: u8 = 254;
    pub(in super::super) const GEOMETRY: u8 = 255;
}
use column_type as ty;

/// The table of the following row changes.
///
/// The event comes before every statement's rows: when its body is that of the last one, keep what was made of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableMap {
    /// What row events call the table.
    pub table_id: u64,
    /// The flags.
    pub flags: u16,
    /// The database.
    pub database: String,
    /// The table.
    pub table: String,
    /// All columns in the order of the table's definition, also generated, invisible and hidden key columns.
    pub columns: Vec<WireColumn>,
    /// The columns of the primary key, in its order (`binlog_row_metadata = FULL`).
    pub primary_key: Option<Vec<KeyPart>>,
}

/// One column of the table of row changes. What is `None` was not sent.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct WireColumn {
    /// The type's code on the wire; ENUM and SET by their own codes (247, 248).
    pub type_code: u8,
    /// What the type needs to be read: lengths, precision and scale, fraction digits.
    pub meta: u16,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether it is UNSIGNED (8.0 and later).
    pub unsigned: Option<bool>,
    /// The number of its collation (8.0 and later); 63 is binary. Characters, ENUM and SET only.
    pub collation: Option<u16>,
    /// Its name (`binlog_row_metadata = FULL`).
    pub name: Option<String>,
    /// Whether it is visible (`binlog_row_metadata = FULL`).
    pub visible: Option<bool>,
    /// The labels of ENUM and SET in the column's character set (`binlog_row_metadata = FULL`).
    pub labels: Option<Vec<Vec<u8>>>,
    /// The kind of GEOMETRY (8.0 and later).
    pub geometry_type: Option<u64>,
    /// The dimensions of VECTOR (9.0 and later).
    pub vector_dimensions: Option<u64>,
}

impl WireColumn {
    /// Returns whether it is a BIGINT.
    pub fn is_bigint(&self) -> bool {
        self.type_code == ty::LONGLONG
    }
}

/// One column of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPart {
    /// The column's place in the table, from 0.
    pub column: usize,
    /// How many characters of it count; `None` for all.
    pub prefix: Option<u64>,
}

/// Reads the table's number, its database and its name, and nothing else.
///
/// # Errors
///
/// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a part is cut off.
pub fn mapped_name(body: &[u8]) -> Result<(u64, &[u8], &[u8])> {
    let mut bytes = Bytes::new(body, "table map");
    let table_id = bytes.u48()?;
    bytes.u16()?;
    let database = bytes.short_bytes()?;
    bytes.u8()?;
    Ok((table_id, database, bytes.short_bytes()?))
}

impl TableMap {
    /// Returns the number that the body of a table map's event gives the table, without reading the rest.
    pub fn table_id_of(body: &[u8]) -> Option<u64> {
        let &[a, b, c, d, e, f] = body.first_chunk()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a part is cut off or contradicts another one.
    pub fn parse(body: &[u8]) -> Result<Self> {
        const WHAT: &str = "table map";
        let mut bytes = Bytes::new(body, WHAT);
        let table_id = bytes.u48()?;
        let flags = bytes.u16()?;
        let database = name(bytes.short_bytes()?, WHAT)?;
        bytes.u8()?;
        let table = name(bytes.short_bytes()?, WHAT)?;
        bytes.u8()?;
        let column_count = bytes.lenenc_usize()?;
        if column_count > COLUMN_COUNT_MAX {
            return Err(bytes.damaged("more columns than a table can have"));
        }
        let types = bytes.take(column_count)?;
        let meta_length = bytes.lenenc()?;
        let mut meta = bytes.part(meta_length, "column metadata of a table map")?;
        let nullable = bytes.take(column_count.div_ceil(8))?;
        let mut columns = Vec::with_capacity(column_count);
        for (index, type_code) in types.iter().enumerate() {
            let (type_code, meta) = column_meta(*type_code, &mut meta)?;
            columns.push(WireColumn {
                type_code,
                meta,
                nullable: bit(nullable, index),
                ..WireColumn::default()
            });
        }
        if !meta.is_empty() {
            return Err(meta.damaged("more bytes than the columns need"));
        }
        let mut map = TableMap { table_id, flags, database, table, columns, primary_key: None };
        map.read_optional(bytes)?;
        Ok(map)
    }

    /// Reads the parts that 8.0 and later add.
    fn read_optional(&mut self, mut bytes: Bytes<'_>) -> Result<()> {
        while !bytes.is_empty() {
            let kind = bytes.u8()?;
            let length = bytes.lenenc()?;
            let mut part = bytes.part(length, "optional metadata of a table map")?;
            match kind {
                1 => {
                    let bits = part.rest();
                    if bits.len() != self.of_kind(is_numeric).count().div_ceil(8) {
                        return Err(part.damaged("signs of another number of columns"));
                    }
                    for (index, column) in self.of_kind(is_numeric).enumerate() {
                        column.unsigned = Some(bit_from_high(bits, index));
                    }
                }
                2 => self.read_default_collations(is_character, part)?,
                3 => self.read_collations(is_character, part)?,
                4 => {
                    for column in &mut self.columns {
                        column.name = Some(name(part.lenenc_bytes()?, "table map")?);
                    }
                }
                5 => self.read_labels(ty::SET, part)?,
                6 => self.read_labels(ty::ENUM, part)?,
                7 => {
                    for column in self.of_kind(|type_code| type_code == ty::GEOMETRY) {
                        column.geometry_type = Some(part.lenenc()?);
                    }
                }
                8 | 9 => {
                    let mut key = Vec::new();
                    while !part.is_empty() {
                        let column = part.lenenc_usize()?;
                        let prefix =
                            if kind == 9 { Some(part.lenenc()?).filter(|length| *length > 0) } else { None };
                        if column >= self.columns.len() {
                            return Err(part.damaged("the primary key has a column that the table has not"));
                        }
                        key.push(KeyPart { column, prefix });
                    }
                    self.primary_key = Some(key);
                }
                10 => self.read_default_collations(is_enum_or_set, part)?,
                11 => self.read_collations(is_enum_or_set, part)?,
                12 => {
                    let bits = part.rest();
                    for (index, column) in self.columns.iter_mut().enumerate() {
                        column.visible = Some(bit_from_high(bits, index));
                    }
                }
                13 => {
                    for column in self.of_kind(|type_code| type_code == ty::VECTOR) {
                        column.vector_dimensions = Some(part.lenenc()?);
                    }
                }
                // A later server's; each part says how long it is.
                _ => {}
            }
        }
        Ok(())
    }

    fn of_kind(&mut self, is_kind: fn(u8) -> bool) -> impl Iterator<Item = &mut WireColumn> {
        self.columns.iter_mut().filter(move |column| is_kind(column.type_code))
    }

    /// Reads the collation of most columns of a kind, then those of the others with their numbers within the kind.
    fn read_default_collations(&mut self, is_kind: fn(u8) -> bool, mut part: Bytes<'_>) -> Result<()> {
        let most = collation(&mut part)?;
        for column in self.of_kind(is_kind) {
            column.collation = Some(most);
        }
        for _ in 0..self.columns.len() {
            if part.is_empty() {
                break;
            }
            let index = part.lenenc_usize()?;
            let other = collation(&mut part)?;
            match self.of_kind(is_kind).nth(index) {
                Some(column) => column.collation = Some(other),
                None => return Err(part.damaged("a collation of a column that the table has not")),
            }
        }
        Ok(())
    }

    /// Reads one collation for each column of a kind.
    fn read_collations(&mut self, is_kind: fn(u8) -> bool, mut part: Bytes<'_>) -> Result<()> {
        for column in self.of_kind(is_kind) {
            column.collation = Some(collation(&mut part)?);
        }
        Ok(())
    }

    fn read_labels(&mut self, type_code: u8, mut part: Bytes<'_>) -> Result<()> {
        for column in self.columns.iter_mut().filter(|column| column.type_code == type_code) {
            let count = part.lenenc()?;
            let mut labels = Vec::new();
            for _ in 0..count {
                labels.push(part.lenenc_bytes()?.to_vec());
            }
            column.labels = Some(labels);
        }
        Ok(())
    }
}

fn collation(part: &mut Bytes<'_>) -> Result<u16> {
    let number = part.lenenc()?;
    u16::try_from(number).map_err(|_| part.damaged("a collation beyond two bytes"))
}

/// Returns the type that is really meant, and its metadata.
fn column_meta(type_code: u8, meta: &mut Bytes<'_>) -> Result<(u8, u16)> {
    Ok(match type_code {
        ty::FLOAT
        | ty::DOUBLE
        | ty::TINY_BLOB
        | ty::MEDIUM_BLOB
        | ty::LONG_BLOB
        | ty::BLOB
        | ty::MARIADB_BLOB_COMPRESSED
        | ty::GEOMETRY
        | ty::JSON
        | ty::VECTOR
        | ty::TIMESTAMP2
        | ty::DATETIME2
        | ty::TIME2 => (type_code, u16::from(meta.u8()?)),
        // Bits beyond whole bytes first, then whole bytes.
        ty::BIT | ty::VARCHAR | ty::VAR_STRING | ty::MARIADB_VARCHAR_COMPRESSED => (type_code, meta.u16()?),
        // Precision first, then scale.
        ty::NEWDECIMAL => (type_code, u16::from_be_bytes(meta.array()?)),
        // The real type first; a CHAR of more than 255 bytes has two bits of its length in it, inverted.
        ty::STRING | ty::ENUM | ty::SET => {
            let [real, length] = meta.array()?;
            match real {
                0 => (type_code, u16::from(length)),
                ty::ENUM | ty::SET | ty::STRING => (real, u16::from(length)),
                _ if real | 0x30 == ty::STRING => {
                    (ty::STRING, u16::from(length) | (u16::from((real & 0x30) ^ 0x30) << 4))
                }
                _ => return Err(meta.damaged("a CHAR column of a type that is not known")),
            }
        }
        // A multi-valued index. Only its length matters here: rows with such a column are refused.
        ty::TYPED_ARRAY => {
            match meta.u8()? {
                ty::VARCHAR => {
                    meta.u24()?;
                }
                ty::TYPED_ARRAY => return Err(meta.damaged("an array of arrays")),
                element => {
                    column_meta(element, meta)?;
                }
            }
            (type_code, 0)
        }
        _ => (type_code, 0),
    })
}

fn is_numeric(type_code: u8) -> bool {
    matches!(
        type_code,
        ty::DECIMAL
            | ty::TINY
            | ty::SHORT
            | ty::LONG
            | ty::FLOAT
            | ty::DOUBLE
            | ty::LONGLONG
            | ty::INT24
            | ty::YEAR
            | ty::NEWDECIMAL
    )
}

fn is_character(type_code: u8) -> bool {
    matches!(
        type_code,
        ty::VARCHAR
            | ty::VAR_STRING
            | ty::STRING
            | ty::TINY_BLOB
            | ty::MEDIUM_BLOB
            | ty::LONG_BLOB
            | ty::BLOB
    )
}

fn is_enum_or_set(type_code: u8) -> bool {
    matches!(type_code, ty::ENUM | ty::SET)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes the body of an event from types with their metadata.
    pub(in super::super) fn body(columns: &[(u8, &[u8])], optional: &[u8]) -> Vec<u8> {
        let count = u8::try_from(columns.len()).unwrap();
        let meta: Vec<u8> = columns.iter().flat_map(|(_, meta)| meta.iter().copied()).collect();
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x04shop\0\x06orders\0");
        body.push(count);
        body.extend(columns.iter().map(|(type_code, _)| *type_code));
        body.push(u8::try_from(meta.len()).unwrap());
        body.extend(meta);
        body.extend(vec![0b0000_0010; columns.len().div_ceil(8)]);
        body.extend(optional);
        body
    }

    #[test]
    fn names_types_and_metadata() {
        let body = body(
            &[
                (ty::LONG, &[]),
                (ty::VARCHAR, &[0x2c, 0x01]),
                (ty::STRING, &[0xfe, 20]),
                // CHAR(255) of utf8mb4: 1020 bytes.
                (ty::STRING, &[0xce, 0xfc]),
                (ty::STRING, &[ty::ENUM, 2]),
                (ty::STRING, &[ty::SET, 8]),
                (ty::NEWDECIMAL, &[10, 2]),
                (ty::BIT, &[1, 2]),
                (ty::TYPED_ARRAY, &[ty::VARCHAR, 1, 2, 3]),
                (ty::TYPED_ARRAY, &[ty::LONGLONG]),
                (ty::TIME2, &[6]),
            ],
            &[],
        );
        let map = TableMap::parse(&body).unwrap();
        assert_eq!((map.table_id, map.database.as_str(), map.table.as_str()), (9, "shop", "orders"));
        let types: Vec<(u8, u16)> =
            map.columns.iter().map(|column| (column.type_code, column.meta)).collect();
        assert_eq!(
            types,
            [
                (3, 0),
                (15, 300),
                (254, 20),
                (254, 1020),
                (247, 2),
                (248, 8),
                (246, 0x0a02),
                (16, 0x0201),
                (20, 0),
                (20, 0),
                (19, 6)
            ]
        );
        assert!(map.columns[1].nullable && !map.columns[0].nullable);
        for length in 0..body.len() {
            assert!(TableMap::parse(&body[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn optional_metadata() {
        let optional = [
            &[1, 1, 0b1010_0000][..],
            // An unknown part is skipped by its length.
            &[99, 3, 1, 2, 3],
            &[2, 4, 45, 1, 253, 63],
            &[4, 10],
            b"\x01a\x01b\x01c\x01d\x01e",
            &[6, 5, 2, 1, b'x', 1, b'y'],
            &[9, 4, 0, 0, 4, 5],
            &[10, 1, 8],
            &[12, 1, 0b1110_1000],
        ]
        .concat();
        let columns: &[(u8, &[u8])] = &[
            (ty::LONG, &[]),
            (ty::TINY, &[]),
            (ty::LONGLONG, &[]),
            (ty::STRING, &[ty::ENUM, 1]),
            (ty::VARCHAR, &[10, 0]),
        ];
        // 253 begins a three-byte number: cut off.
        assert!(TableMap::parse(&body(columns, &optional)).is_err());
        let optional = [&optional[..8], &[2, 1, 45], &optional[14..]].concat();
        let map = TableMap::parse(&body(columns, &optional)).unwrap();
        let unsigned: Vec<_> = map.columns.iter().map(|column| column.unsigned).collect();
        assert_eq!(unsigned, [Some(true), Some(false), Some(true), None, None]);
        assert_eq!(map.columns[3].collation, Some(8));
        assert_eq!(map.columns[4].collation, Some(45));
        assert_eq!(map.columns[4].name.as_deref(), Some("e"));
        assert_eq!(map.columns[3].labels, Some(vec![b"x".to_vec(), b"y".to_vec()]));
        assert_eq!(map.columns[3].visible, Some(false));
        assert_eq!(
            map.primary_key,
            Some(vec![KeyPart { column: 0, prefix: None }, KeyPart { column: 4, prefix: Some(5) }])
        );
    }

    #[test]
    fn more_columns_than_possible_are_damaged() {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
        body.extend(b"\x01a\0\x01b\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff");
        assert!(TableMap::parse(&body).is_err());
    }
}
