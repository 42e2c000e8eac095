//! Reading a table: which columns how, and which range of its key.
use super::{literal, quote};
use crate::data::{Column, ColumnKind, TableName, TableSchema};
use crate::error::Result;

/// One end of a key range: the key's cells as the server sent them, one for each column of the key.
pub type Bound = Vec<Vec<u8>>;

/// A half-open range of a table's key: after `lower`, up to and with `upper`, in the server's own order.
///
/// `None` is open. The ranges of a table's chunks follow each other without a gap, the first and the last are open, so
/// every row belongs to exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// Rows after this key.
    pub lower: Option<Bound>,
    /// Rows up to this key, which belongs to the range.
    pub upper: Option<Bound>,
}

/// The columns of a key, in the order of its index.
pub struct KeyColumns<'a> {
    /// The index, named in a hint so that no plan reads the whole table.
    pub index: &'a str,
    /// Its columns.
    pub columns: Vec<&'a Column>,
}

impl<'a> KeyColumns<'a> {
    /// Takes the columns of a key from its table.
    pub fn of(schema: &'a TableSchema, index: &'a str, columns: &[usize]) -> Self {
        KeyColumns { index, columns: columns.iter().map(|&position| &schema.columns[position]).collect() }
    }
}

/// Appends the expression that reads a column without loss through the text protocol.
///
/// FLOAT is widened, because its text has six digits only.
pub fn push_read_expression(sql: &mut Vec<u8>, column: &Column) {
    quote::push_identifier(sql, &column.name);
    match column.kind {
        ColumnKind::Float => sql.extend_from_slice(b"*1e0"),
        // Where '' is a label, the text does not tell it from the error value: the ordinal does.
        ColumnKind::Enum(_) if reads_ordinal(column) => sql.extend_from_slice(b"+0"),
        _ => {}
    }
}

/// Returns whether an ENUM is read by ordinal: it has '' as a label, as which the error value is printed too.
pub fn reads_ordinal(column: &Column) -> bool {
    matches!(&column.kind, ColumnKind::Enum(labels) if labels.iter().any(String::is_empty))
}

/// Builds `SELECT columns FROM table [WHERE range]`, in the order of the key.
///
/// # Errors
/// A bound that is not of the key's type.
pub fn rows_in_range(
    table: &TableName,
    columns: &[&Column],
    key: Option<&KeyColumns<'_>>,
    range: &KeyRange,
) -> Result<Vec<u8>> {
    let mut sql = b"SELECT ".to_vec();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            sql.push(b',');
        }
        push_read_expression(&mut sql, column);
    }
    sql.extend_from_slice(b" FROM ");
    quote::push_table(&mut sql, table);
    if let Some(key) = key {
        push_index_hint(&mut sql, key);
        push_where(&mut sql, key, range)?;
        push_order(&mut sql, key);
    }
    Ok(sql)
}

/// Builds the query for the key of the `rows`-th row after `lower`: the end of the next chunk. No row: `lower` is in the
/// last chunk.
///
/// # Errors
/// A bound that is not of the key's type.
pub fn boundary(
    table: &TableName,
    key: &KeyColumns<'_>,
    lower: Option<&Bound>,
    rows: u64,
) -> Result<Vec<u8>> {
    let mut sql = b"SELECT ".to_vec();
    push_names(&mut sql, key);
    sql.extend_from_slice(b" FROM ");
    quote::push_table(&mut sql, table);
    push_index_hint(&mut sql, key);
    push_where(&mut sql, key, &KeyRange { lower: lower.cloned(), upper: None })?;
    push_order(&mut sql, key);
    sql.extend_from_slice(format!(" LIMIT 1 OFFSET {}", rows.saturating_sub(1)).as_bytes());
    Ok(sql)
}

/// Builds the query for the smallest and the largest value of a key's first column.
pub fn extremes(table: &TableName, key: &KeyColumns<'_>) -> Vec<u8> {
    let mut sql = Vec::new();
    let name = quote::identifier(&key.columns[0].name);
    sql.extend_from_slice(format!("SELECT MIN({name}), MAX({name}) FROM {}", quote::table(table)).as_bytes());
    push_index_hint(&mut sql, key);
    sql
}

fn push_names(sql: &mut Vec<u8>, key: &KeyColumns<'_>) {
    for (index, column) in key.columns.iter().enumerate() {
        if index > 0 {
            sql.push(b',');
        }
        quote::push_identifier(sql, &column.name);
    }
}

fn push_index_hint(sql: &mut Vec<u8>, key: &KeyColumns<'_>) {
    sql.extend_from_slice(b" FORCE INDEX (");
    quote::push_identifier(sql, key.index);
    sql.push(b')');
}

fn push_order(sql: &mut Vec<u8>, key: &KeyColumns<'_>) {
    sql.extend_from_slice(b" ORDER BY ");
    push_names(sql, key);
}

/// Appends ` WHERE` and the range, or nothing when it is open on both sides.
///
/// # Errors
/// A bound that is not of the key's type.
pub fn push_where(sql: &mut Vec<u8>, key: &KeyColumns<'_>, range: &KeyRange) -> Result<()> {
    let mut word: &[u8] = b" WHERE ";
    if let Some(lower) = &range.lower {
        sql.extend_from_slice(word);
        push_comparison(sql, key, lower, b">", b">")?;
        word = b" AND ";
    }
    if let Some(upper) = &range.upper {
        sql.extend_from_slice(word);
        push_comparison(sql, key, upper, b"<", b"<=")?;
    }
    Ok(())
}

/// Appends a comparison of the whole key with a bound, as `(a > 1 OR (a = 1 AND b > 2))`: row constructors would not use
/// the index before 8.0.
fn push_comparison(
    sql: &mut Vec<u8>,
    key: &KeyColumns<'_>,
    bound: &Bound,
    strict: &[u8],
    last: &[u8],
) -> Result<()> {
    let count = key.columns.len();
    let one = |sql: &mut Vec<u8>, position: usize, operator: &[u8]| {
        let column = key.columns[position];
        quote::push_identifier(sql, &column.name);
        sql.extend_from_slice(operator);
        literal::push_cell(sql, &bound[position], column)
    };
    sql.push(b'(');
    for position in 0..count {
        if position > 0 {
            sql.extend_from_slice(b" OR (");
            for equal in 0..position {
                one(sql, equal, b"=")?;
                sql.extend_from_slice(b" AND ");
            }
        }
        one(sql, position, if position + 1 == count { last } else { strict })?;
        if position > 0 {
            sql.push(b')');
        }
    }
    sql.push(b')');
    Ok(())
}
