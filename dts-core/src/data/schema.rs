//! What a table is: columns, keys, character sets.
use super::TableName;

/// A base table, as one server describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema {
    /// Database and table.
    pub name: TableName,
    /// All columns in the order of the table's definition: generated and invisible ones too, those that the server hides
    /// from `information_schema` not.
    pub columns: Vec<Column>,
    /// All indexes, the primary key first.
    pub indexes: Vec<Index>,
    /// The table names that this table's foreign keys refer to, with their rules.
    pub foreign_keys: Vec<ForeignKey>,
    /// Storage engine, for example `InnoDB`.
    pub engine: String,
    /// The table's default character set.
    pub charset: String,
    /// The table's default collation.
    pub collation: String,
    /// Rows, as the storage engine estimates them (InnoDB: may be off by half).
    pub rows_estimated: u64,
    /// Bytes of rows, as the storage engine estimates them.
    pub data_bytes: u64,
    /// Bytes of secondary indexes, as the storage engine estimates them.
    pub index_bytes: u64,
    /// Whether it is partitioned.
    pub partitioned: bool,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as far as values depend on it.
    pub kind: ColumnKind,
    /// The type as `information_schema` writes it, for example `int(10) unsigned`.
    pub type_text: String,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// Integer and decimal types: UNSIGNED.
    pub unsigned: bool,
    /// Character set of text, ENUM and SET columns.
    pub charset: Option<String>,
    /// Collation of text, ENUM and SET columns.
    pub collation: Option<String>,
    /// Computed by the server: never written.
    pub generated: bool,
    /// Left out of `SELECT *`.
    pub invisible: bool,
    /// Has AUTO_INCREMENT.
    pub auto_increment: bool,
}

/// The type of a column, as far as values depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// TINYINT to BIGINT; the number of bytes (1, 2, 3, 4, 8).
    Integer(u8),
    /// DECIMAL.
    Decimal,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// BIT(n).
    Bit,
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// DATETIME.
    DateTime,
    /// TIMESTAMP.
    Timestamp,
    /// CHAR, VARCHAR and the TEXT types.
    Text,
    /// BINARY(n): padded with zero bytes to `n`.
    Binary(usize),
    /// VARBINARY and the BLOB types.
    Blob,
    /// ENUM with its labels.
    Enum(Vec<String>),
    /// SET with its labels.
    Set(Vec<String>),
    /// JSON of MySQL (MariaDB's is text).
    Json,
    /// GEOMETRY and its subtypes.
    Geometry,
    /// VECTOR (9.0).
    Vector,
    /// Anything that dts does not know; the type's name. Its tables cannot be carried.
    Other(String),
}

/// An index of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Its name, `PRIMARY` for the primary key.
    pub name: String,
    /// Whether it forbids duplicates.
    pub unique: bool,
    /// Its parts in order.
    pub parts: Vec<IndexPart>,
    /// `BTREE`, `HASH`, `FULLTEXT` or `SPATIAL`.
    pub index_type: String,
}

/// A part of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexPart {
    /// The position of the column in [`TableSchema::columns`]; `None` for an expression.
    pub column: Option<usize>,
    /// Only that many characters (bytes for binary types) of the value take part.
    pub prefix: Option<u32>,
}

/// A foreign key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// Our columns, by position.
    pub columns: Vec<usize>,
    /// The table referred to.
    pub referenced_table: TableName,
    /// The columns referred to.
    pub referenced_columns: Vec<String>,
    /// Whether a change of the parent changes or deletes rows here (CASCADE, SET NULL, SET DEFAULT): such changes are
    /// not in the binary log before MySQL 9.6.
    pub cascades: bool,
}

/// The key by which rows are told apart: the primary key, or else a UNIQUE key without NULLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// The index's name.
    pub index: String,
    /// Its columns, as positions in [`TableSchema::columns`].
    pub columns: Vec<usize>,
}

impl TableSchema {
    /// Returns the key by which rows are told apart, or `None` when equal rows may exist.
    ///
    /// A prefix part is allowed: a unique prefix makes the whole value unique. A nullable column is not (several rows may
    /// hold NULL), and neither is an expression.
    pub fn row_key(&self) -> Option<RowKey> {
        let usable = |index: &&Index| {
            index.unique
                && index.parts.iter().all(|part| {
                    part.column
                        .and_then(|column| self.columns.get(column))
                        .is_some_and(|column| !column.nullable)
                })
        };
        let primary = self.indexes.iter().find(|index| index.name == "PRIMARY" && usable(index));
        // Among UNIQUE keys the one with the fewest columns, integers first: it makes the cheapest ranges.
        let best = primary.or_else(|| {
            self.indexes.iter().filter(usable).min_by_key(|index| {
                let integers = index.parts.iter().all(|part| {
                    part.column.is_some_and(|c| matches!(self.columns[c].kind, ColumnKind::Integer(_)))
                });
                (!integers, index.parts.len())
            })
        })?;
        Some(RowKey {
            index: best.name.clone(),
            columns: best.parts.iter().filter_map(|part| part.column).collect(),
        })
    }

    /// Returns the columns whose values are stored, as positions: all but the generated ones.
    pub fn stored_columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().enumerate().filter(|(_, column)| !column.generated).map(|(position, _)| position)
    }
}

impl Column {
    /// Returns whether the type is one whose bytes have a character set.
    pub fn is_text(&self) -> bool {
        matches!(self.kind, ColumnKind::Text)
    }

    /// Returns whether ranges over this column order rows the same way on every server and index.
    ///
    /// ENUM and SET order by ordinal but compare by label in a WHERE (mysql-shell BUG#38475999); FLOAT and DOUBLE have
    /// no exact literal in every version.
    pub fn is_rangeable(&self) -> bool {
        match self.kind {
            ColumnKind::Integer(_)
            | ColumnKind::Decimal
            | ColumnKind::Year
            | ColumnKind::Date
            | ColumnKind::Time
            | ColumnKind::DateTime
            | ColumnKind::Timestamp
            | ColumnKind::Text
            | ColumnKind::Binary(_)
            | ColumnKind::Blob => true,
            ColumnKind::Float
            | ColumnKind::Double
            | ColumnKind::Bit
            | ColumnKind::Enum(_)
            | ColumnKind::Set(_)
            | ColumnKind::Json
            | ColumnKind::Geometry
            | ColumnKind::Vector
            | ColumnKind::Other(_) => false,
        }
    }
}
