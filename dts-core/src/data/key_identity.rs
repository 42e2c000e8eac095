//! By what one index tells rows apart, without asking the server.
//!
//! # What it is for
//! Two changes must keep their order when they are about the same row, or when one of them frees a UNIQUE value that the other
//! takes. So for every index that forbids duplicates, a row has an identity. It errs to one side only: whenever the server
//! takes two keys for equal, their identities are the same bytes, or at least one is a [`Wildcard`](KeyIdentity::Wildcard), which
//! may be equal to any other. (MySQL's own writesets forgot collations, stopped at a zero byte and mixed up prefixes:
//! MySQL#86078, #111027.)
//!
//! The other direction holds, too: two exact identities that are the same are keys that the server takes for equal. So changes
//! may be merged by them. Both are tested against servers, over many collations.
//!
//! # How
//! - Numbers, temporal values, ENUM, SET, BIT: by value; `-0` is `0`.
//! - Bytes and text of a `_bin` collation: by bytes, without the padding that does not count.
//! - Text of a collation that is known well ([`TextEquality`]): by its bytes, without case where the collation has none, and only
//!   when it is printable ASCII.
//! - Everything else, an expression, and a column that the row image does not hold: wildcard.
//! - A prefix part is cut first.
//! - Each part has its length in front, so that no two keys run into one (spirit#920).
use super::text_equality::TextEquality;
use super::{Column, ColumnKind, Index, TableSchema, Value};

/// What one index sees of a row. The bytes of an exact one are in the buffer that was filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyIdentity {
    /// The bytes tell: same bytes, same key; other bytes, other key.
    Exact,
    /// May be equal to any other key of the index.
    Wildcard,
    /// A part is NULL: no other row has an equal key.
    Null,
}

/// The columns of an index, prepared for [`KeyIdentity`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyParts {
    /// `None`: an expression.
    parts: Option<Vec<Part>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Part {
    /// Position in the table.
    column: usize,
    prefix: Option<u32>,
    equality: Equality,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Equality {
    /// The value itself; text that the server prints for a number or a moment.
    Value,
    Binary,
    Text(TextEquality),
    Unknown,
}

impl KeyParts {
    /// Prepares an index of a table.
    pub fn of_index(schema: &TableSchema, index: &Index) -> Self {
        let parts = index
            .parts
            .iter()
            .map(|part| part.column.map(|column| Part::new(schema, column, part.prefix)))
            .collect();
        KeyParts { parts }
    }

    /// Prepares whole columns, by position: those of a foreign key, or those that it refers to.
    pub fn of_columns(schema: &TableSchema, columns: &[usize]) -> Self {
        KeyParts { parts: Some(columns.iter().map(|&column| Part::new(schema, column, None)).collect()) }
    }

    /// Prepares the table's row key, with its prefixes; `None` when equal rows may exist.
    pub fn of_row_key(schema: &TableSchema) -> Option<Self> {
        let key = schema.row_key()?;
        let index = schema.indexes.iter().find(|index| index.name == key.index)?;
        Some(Self::of_index(schema, index))
    }

    /// Replaces the content of `into` by the identity of a row's key.
    pub fn identify(&self, image: &[Value], into: &mut Vec<u8>) -> KeyIdentity {
        into.clear();
        let Some(parts) = &self.parts else { return KeyIdentity::Wildcard };
        let mut identity = KeyIdentity::Exact;
        for part in parts {
            match part.push(image, into) {
                KeyIdentity::Exact => {}
                // Whatever the other parts are.
                KeyIdentity::Null => return KeyIdentity::Null,
                KeyIdentity::Wildcard => identity = KeyIdentity::Wildcard,
            }
        }
        identity
    }

    /// Returns whether an update may change the key. A column that is not in the after image was not changed.
    pub fn may_change(&self, before: &[Value], after: &[Value]) -> bool {
        let Some(parts) = &self.parts else { return true };
        parts.iter().any(|part| match (before.get(part.column), after.get(part.column)) {
            (_, None | Some(Value::Absent)) => false,
            // A column that was there is there afterwards, unless only the after image holds it.
            (Some(before), Some(after)) => before != after,
            (None, Some(_)) => true,
        })
    }
}

impl Part {
    fn new(schema: &TableSchema, column: usize, prefix: Option<u32>) -> Self {
        let equality = schema.columns.get(column).map_or(Equality::Unknown, Equality::of);
        Part { column, prefix, equality }
    }

    fn push(&self, image: &[Value], into: &mut Vec<u8>) -> KeyIdentity {
        let Some(value) = image.get(self.column) else { return KeyIdentity::Wildcard };
        let length_at = into.len();
        into.extend_from_slice(&[0; 4]);
        let start = into.len();
        let known = match (self.equality, value) {
            (_, Value::Null) => return KeyIdentity::Null,
            (Equality::Value, Value::Int(number)) => {
                into.extend_from_slice(&number.to_le_bytes());
                true
            }
            (Equality::Value, Value::UInt(number)) => {
                into.extend_from_slice(&number.to_le_bytes());
                true
            }
            (Equality::Value, Value::Float(number)) => {
                // The sum makes 0 of -0.
                into.extend_from_slice(&(number + 0.0).to_le_bytes());
                true
            }
            (Equality::Value, Value::Double(number)) => {
                into.extend_from_slice(&(number + 0.0).to_le_bytes());
                true
            }
            (Equality::Value, Value::Ascii(text)) => {
                let text = text.as_bytes();
                let is_zero = !text.iter().any(|byte| matches!(byte, b'1'..=b'9'));
                into.extend_from_slice(text.strip_prefix(b"-").filter(|_| is_zero).unwrap_or(text));
                true
            }
            (Equality::Binary, Value::Bytes(bytes)) => {
                let end = self.prefix.and_then(|prefix| usize::try_from(prefix).ok());
                into.extend_from_slice(&bytes[..end.unwrap_or(bytes.len()).min(bytes.len())]);
                true
            }
            (Equality::Text(equality), Value::Bytes(text)) => equality.push_identity(text, self.prefix, into),
            _ => false,
        };
        match u32::try_from(into.len() - start) {
            Ok(length) if known => {
                into[length_at..start].copy_from_slice(&length.to_le_bytes());
                KeyIdentity::Exact
            }
            _ => KeyIdentity::Wildcard,
        }
    }
}

impl Equality {
    fn of(column: &Column) -> Self {
        match &column.kind {
            ColumnKind::Integer(_)
            | ColumnKind::Decimal
            | ColumnKind::Float
            | ColumnKind::Double
            | ColumnKind::Bit
            | ColumnKind::Year
            | ColumnKind::Date
            | ColumnKind::Time
            | ColumnKind::DateTime
            | ColumnKind::Timestamp
            | ColumnKind::Enum(_)
            | ColumnKind::Set(_) => Equality::Value,
            ColumnKind::Binary(_) | ColumnKind::Blob => Equality::Binary,
            ColumnKind::Text => match &column.collation {
                Some(collation) => Equality::Text(TextEquality::of_collation(collation)),
                None => Equality::Unknown,
            },
            ColumnKind::Json | ColumnKind::Geometry | ColumnKind::Vector | ColumnKind::Other(_) => {
                Equality::Unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{AsciiText, IndexPart};

    fn schema(columns: &[(ColumnKind, Option<&str>)]) -> TableSchema {
        let column = |(place, (kind, collation)): (usize, &(ColumnKind, Option<&str>))| Column {
            collation: collation.map(Into::into),
            ..Column::example(&format!("c{place}"), kind.clone())
        };
        TableSchema::example("t", columns.iter().enumerate().map(column).collect())
    }

    fn all(schema: &TableSchema) -> KeyParts {
        KeyParts::of_columns(schema, &(0..schema.columns.len()).collect::<Vec<_>>())
    }

    fn identity(parts: &KeyParts, image: &[Value]) -> (KeyIdentity, Vec<u8>) {
        let mut bytes = vec![7; 7];
        let identity = parts.identify(image, &mut bytes);
        (identity, bytes)
    }

    fn bytes(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let schema = schema(&[(ColumnKind::Blob, None), (ColumnKind::Blob, None)]);
        let parts = all(&schema);
        let one = identity(&parts, &[bytes("a"), bytes("bc")]);
        assert_eq!(one.0, KeyIdentity::Exact);
        assert_ne!(one, identity(&parts, &[bytes("ab"), bytes("c")]));
        assert_ne!(one, identity(&parts, &[bytes("abc"), bytes("")]));
        assert_eq!(one, identity(&parts, &[bytes("a"), bytes("bc")]));
    }

    #[test]
    fn null_is_no_key_even_beside_a_wildcard() {
        let schema = schema(&[(ColumnKind::Json, None), (ColumnKind::Integer(4), None)]);
        let parts = all(&schema);
        assert_eq!(identity(&parts, &[bytes("{}"), Value::Null]).0, KeyIdentity::Null);
        assert_eq!(identity(&parts, &[Value::Null, Value::Int(1)]).0, KeyIdentity::Null);
        assert_eq!(identity(&parts, &[bytes("{}"), Value::Int(1)]).0, KeyIdentity::Wildcard);
        assert_eq!(identity(&parts, &[Value::Absent, Value::Int(1)]).0, KeyIdentity::Wildcard);
        assert_eq!(identity(&parts, &[bytes("{}")]).0, KeyIdentity::Wildcard);
    }

    #[test]
    fn zeros_have_no_sign() {
        for (kind, negative, positive) in [
            (ColumnKind::Float, Value::Float(-0.0), Value::Float(0.0)),
            (ColumnKind::Double, Value::Double(-0.0), Value::Double(0.0)),
            (
                ColumnKind::Decimal,
                Value::Ascii(AsciiText::new(b"-0.00")),
                Value::Ascii(AsciiText::new(b"0.00")),
            ),
            (
                ColumnKind::Time,
                Value::Ascii(AsciiText::new(b"-00:00:00")),
                Value::Ascii(AsciiText::new(b"00:00:00")),
            ),
        ] {
            let parts = all(&schema(&[(kind, None)]));
            assert_eq!(identity(&parts, &[negative]), identity(&parts, &[positive]));
        }
        let parts = all(&schema(&[(ColumnKind::Decimal, None)]));
        let decimal = |text: &[u8]| identity(&parts, &[Value::Ascii(AsciiText::new(text))]);
        assert_ne!(decimal(b"-0.10"), decimal(b"0.10"));
    }

    #[test]
    fn prefixes_are_cut_and_expressions_are_unknown() {
        let schema = schema(&[(ColumnKind::Text, Some("utf8mb4_general_ci")), (ColumnKind::Blob, None)]);
        let index = |parts: Vec<IndexPart>| {
            KeyParts::of_index(
                &schema,
                &Index { name: "u".into(), unique: true, parts, index_type: "BTREE".into() },
            )
        };
        let prefixed = index(vec![
            IndexPart { column: Some(0), prefix: Some(2) },
            IndexPart { column: Some(1), prefix: Some(3) },
        ]);
        let one = identity(&prefixed, &[bytes("ABc"), bytes("xyzzy")]);
        assert_eq!(one, identity(&prefixed, &[bytes("abd"), bytes("xyz")]));
        assert_ne!(one, identity(&prefixed, &[bytes("abd"), bytes("xyZ")]));
        let expression = index(vec![IndexPart { column: None, prefix: None }]);
        assert_eq!(identity(&expression, &[bytes("a"), bytes("b")]).0, KeyIdentity::Wildcard);
        assert!(expression.may_change(&[], &[]));
    }

    #[test]
    fn changes_are_seen_by_bytes() {
        let schema = schema(&[(ColumnKind::Text, Some("utf8mb4_general_ci")), (ColumnKind::Blob, None)]);
        let parts = KeyParts::of_columns(&schema, &[0]);
        assert!(!parts.may_change(&[bytes("a"), bytes("x")], &[bytes("a"), bytes("y")]));
        assert!(parts.may_change(&[bytes("a"), bytes("x")], &[bytes("A"), bytes("x")]));
        // MINIMAL images: the before image holds the row key only, the after image what was set.
        assert!(!parts.may_change(&[Value::Absent, bytes("x")], &[Value::Absent, bytes("y")]));
        assert!(parts.may_change(&[Value::Absent, bytes("x")], &[bytes("a"), bytes("x")]));
    }
}
