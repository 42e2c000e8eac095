//! Decides whether two servers hold the same bytes, without using any code of dts.
//!
//! Every row is read through the `mysql` crate as exact text made by the server itself: character and binary columns
//! as hexadecimal digits of the stored bytes (no character set conversion takes part), numbers, dates and ordinals as
//! digits. Sessions run with time zone `+00:00` and an empty SQL mode, so that session settings have no say. Rows are
//! reduced to 128-bit digests and sorted here, so that neither collations nor the order of rows matter and a table of
//! half a million rows is a matter of seconds; rows that differ are read again to show what differs in them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use mysql::prelude::Queryable;
use mysql::{Conn, Row, Value};

use crate::Server;

/// How many differing rows a report shows per table.
const SHOWN_MAX: usize = 10;
/// How many differing rows are held in memory to find the ones to show.
const COLLECTED_MAX: usize = 10_000;
/// How many characters of a value a report shows.
const VALUE_SHOWN_MAX: usize = 80;
/// Comes from the server instead of a value that it could not render.
const TOO_LONG: &str = "value-too-long-for-max_allowed_packet";

/// What a table holds, reduced to one digest per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDump {
    columns: Vec<String>,
    /// Sorted, so that it is a multiset: the same row twice counts twice.
    rows: Vec<u128>,
}

impl TableDump {
    /// Returns the names of all columns in order, generated and invisible ones included.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Returns how many rows there are.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Returns one digest of all column names and rows.
    pub fn digest(&self) -> u128 {
        digest(&(&self.columns, &self.rows))
    }
}

/// One column with the expression that renders it exactly.
struct Column {
    name: String,
    expression: String,
    in_primary_key: bool,
}

/// Reads a table. The server must be at rest: rows are read in one statement but not with other tables.
///
/// # Panics
/// If the table does not exist or cannot be read whole.
pub fn table(server: &Server, database: &str, table: &str) -> TableDump {
    let mut conn = session(server);
    let columns = columns(&mut conn, database, table);
    table_of(&mut conn, database, table, &columns)
}

/// Reads a table's rows as the exact texts that are compared; for small tables.
///
/// Character and binary values, geometries and JSON are upper-case hexadecimal digits; other values are the server's
/// text. Rows come sorted by these texts.
///
/// # Panics
/// If the table does not exist or cannot be read whole.
pub fn rows(server: &Server, database: &str, table: &str) -> Vec<Vec<Option<String>>> {
    let mut conn = session(server);
    let columns = columns(&mut conn, database, table);
    let mut rows = Vec::new();
    for_each_row(&mut conn, database, table, &columns, |row| rows.push(row));
    rows.sort();
    rows
}

/// Returns the names of a database's base tables, sorted.
pub fn tables(server: &Server, database: &str) -> Vec<String> {
    let mut conn = session(server);
    let mut names: Vec<String> = conn
        .exec(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'",
            (database,),
        )
        .unwrap_or_else(|error| panic!("{error}, while listing the tables of {database}"));
    names.sort();
    names
}

/// Checks that a database has the same tables with the same bytes on both servers.
///
/// # Panics
/// With each table that differs and its first differing rows.
#[track_caller]
pub fn assert_equal(source: &Server, target: &Server, database: &str) {
    assert_equal_renamed(source, database, target, database);
}

/// Checks that two databases have the same tables with the same bytes.
///
/// # Panics
/// With each table that differs and its first differing rows.
#[track_caller]
pub fn assert_equal_renamed(source: &Server, source_database: &str, target: &Server, target_database: &str) {
    let found = differences(source, source_database, target, target_database);
    assert!(found.is_empty(), "source and target differ:\n{}", found.join("\n"));
}

/// Checks that two tables hold the same bytes.
///
/// # Panics
/// With the first differing rows.
#[track_caller]
pub fn assert_table_equal(source: (&Server, &str, &str), target: (&Server, &str, &str)) {
    let found = table_differences(source, target);
    assert!(found.is_empty(), "source and target differ:\n{}", found.join("\n"));
}

/// Compares two databases; each text is one difference, and none means that they are equal.
///
/// # Panics
/// If a server cannot be read, or if neither side has any table, which no test means.
pub fn differences(
    source: &Server,
    source_database: &str,
    target: &Server,
    target_database: &str,
) -> Vec<String> {
    let on_source = tables(source, source_database);
    let on_target = tables(target, target_database);
    assert!(
        !(on_source.is_empty() && on_target.is_empty()),
        "there is nothing to compare in {source_database} and {target_database}"
    );
    let mut found = Vec::new();
    for name in &on_source {
        if on_target.contains(name) {
            found.extend(table_differences((source, source_database, name), (target, target_database, name)));
        } else {
            found.push(format!("{source_database}.{name}: missing on the target"));
        }
    }
    for name in on_target.iter().filter(|name| !on_source.contains(name)) {
        found.push(format!("{target_database}.{name}: only on the target"));
    }
    found
}

/// Compares two tables, each given as server, database and table; each text is one difference.
///
/// # Panics
/// If a server cannot be read.
pub fn table_differences(source: (&Server, &str, &str), target: (&Server, &str, &str)) -> Vec<String> {
    let (mut source_conn, mut target_conn) = (session(source.0), session(target.0));
    let source_columns = columns(&mut source_conn, source.1, source.2);
    let target_columns = columns(&mut target_conn, target.1, target.2);
    let names = |columns: &[Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let label = format!("{}.{}", source.1, source.2);
    if names(&source_columns) != names(&target_columns) {
        return vec![format!(
            "{label}: columns are {:?} on the source, {:?} on the target",
            names(&source_columns),
            names(&target_columns)
        )];
    }
    let ours = table_of(&mut source_conn, source.1, source.2, &source_columns);
    let theirs = table_of(&mut target_conn, target.1, target.2, &target_columns);
    if ours == theirs {
        return Vec::new();
    }
    let (only_ours, only_theirs) = multiset_differences(&ours.rows, &theirs.rows);
    let mut found = vec![format!(
        "{label}: {} rows on the source, {} on the target; {} only on the source, {} only on the target",
        ours.rows.len(),
        theirs.rows.len(),
        only_ours.values().sum::<usize>(),
        only_theirs.values().sum::<usize>()
    )];
    let ours = rows_with_digest(&mut source_conn, source.1, source.2, &source_columns, &only_ours);
    let theirs = rows_with_digest(&mut target_conn, target.1, target.2, &target_columns, &only_theirs);
    found.extend(describe(&source_columns, &ours, &theirs).into_iter().map(|line| format!("  {line}")));
    found
}

fn session(server: &Server) -> Conn {
    let mut conn = server.root();
    conn.query_drop("SET SESSION time_zone = '+00:00', sql_mode = '', net_write_timeout = 600")
        .unwrap_or_else(|error| panic!("{error}"));
    conn
}

fn columns(conn: &mut Conn, database: &str, table: &str) -> Vec<Column> {
    // Servers name these result columns in different cases, so they are taken by position.
    let found: Vec<(String, String, String)> = conn
        .exec(
            "SELECT column_name, data_type, column_key FROM information_schema.columns \
             WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            (database, table),
        )
        .unwrap_or_else(|error| panic!("{error}, while reading the columns of {database}.{table}"));
    assert!(!found.is_empty(), "there is no table {database}.{table}");
    found
        .into_iter()
        .map(|(name, data_type, key)| Column {
            expression: exact(&format!("`{}`", name.replace('`', "``")), &data_type.to_ascii_lowercase()),
            name,
            in_primary_key: key == "PRI",
        })
        .collect()
}

/// Returns the expression that renders a column without loss.
fn exact(column: &str, data_type: &str) -> String {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "date" | "datetime"
        | "timestamp" | "time" | "year" => format!("CAST({column} AS CHAR)"),
        // The eight bytes behind SRID, byte order and type of a point: as text a FLOAT has six digits, and 9.7 cuts a
        // DOUBLE to 22 characters inside a string function.
        "float" | "double" => format!("SUBSTR(HEX(POINT({column}, 0)), 19, 16)"),
        "bit" => format!("CAST(CAST({column} AS UNSIGNED) AS CHAR)"),
        // The label alone would not show a wrong ordinal, nor the ordinal a wrong label.
        "enum" | "set" => format!("CONCAT(HEX({column}), ':', CAST({column} AS UNSIGNED))"),
        "json" => or_too_long(column, &format!("HEX(CAST({column} AS CHAR CHARACTER SET utf8mb4))")),
        // Character strings as bytes of their own character set, binary strings, and geometries as stored: SRID, WKB.
        _ => or_too_long(column, &format!("HEX({column})")),
    }
}

/// A function whose result is longer than max_allowed_packet gives NULL and a warning, which would make two long
/// values equal.
fn or_too_long(column: &str, expression: &str) -> String {
    format!("IF({column} IS NULL, NULL, COALESCE({expression}, '{TOO_LONG}'))")
}

fn table_of(conn: &mut Conn, database: &str, table: &str, columns: &[Column]) -> TableDump {
    let mut rows = Vec::new();
    for_each_row(conn, database, table, columns, |row| rows.push(digest(&row)));
    rows.sort_unstable();
    TableDump { columns: columns.iter().map(|column| column.name.clone()).collect(), rows }
}

fn for_each_row(
    conn: &mut Conn,
    database: &str,
    table: &str,
    columns: &[Column],
    mut visit: impl FnMut(Vec<Option<String>>),
) {
    let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
    let expressions: Vec<&str> = columns.iter().map(|column| column.expression.as_str()).collect();
    let sql = format!("SELECT {} FROM {}.{}", expressions.join(", "), quote(database), quote(table));
    let fail = |error: mysql::Error| -> ! { panic!("{error}, in: {sql}") };
    let rows = conn.query_iter(&sql).unwrap_or_else(|error| fail(error));
    for row in rows {
        let row = row.map_err(|error| fail(error)).map(Row::unwrap).unwrap_or_default();
        visit(row.into_iter().zip(columns).map(|(value, column)| text(value, column, table)).collect());
    }
}

fn text(value: Value, column: &Column, table: &str) -> Option<String> {
    let bytes = match value {
        Value::NULL => return None,
        Value::Bytes(bytes) => bytes,
        other => panic!("{table}.{}: expected text, got {other:?}", column.name),
    };
    let text = String::from_utf8(bytes).unwrap_or_else(|_| panic!("{table}.{}: not text", column.name));
    assert_ne!(
        text, TOO_LONG,
        "{table}.{}: half the server's max_allowed_packet is less than a value",
        column.name
    );
    Some(text)
}

/// Returns 128 bits, of which two different rows share all with no probability worth naming.
fn digest(value: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// Returns how often each digest occurs more often in one sorted list than in the other, for both.
fn multiset_differences(ours: &[u128], theirs: &[u128]) -> (HashMap<u128, usize>, HashMap<u128, usize>) {
    let (mut only_ours, mut only_theirs) = (HashMap::new(), HashMap::new());
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        match (ours.peek(), theirs.peek()) {
            (None, None) => return (only_ours, only_theirs),
            (Some(left), Some(right)) if left == right => {
                ours.next();
                theirs.next();
            }
            (Some(left), right) if right.is_none_or(|right| left < right) => {
                *only_ours.entry(**left).or_default() += 1;
                ours.next();
            }
            (_, Some(right)) => {
                *only_theirs.entry(**right).or_default() += 1;
                theirs.next();
            }
            (Some(_), None) => unreachable!("the arm before takes it"),
        }
    }
}

type Texts = Vec<Option<String>>;

/// Reads the table again and returns the rows behind `wanted`, sorted by primary key (numbers by value).
fn rows_with_digest(
    conn: &mut Conn,
    database: &str,
    table: &str,
    columns: &[Column],
    wanted: &HashMap<u128, usize>,
) -> Vec<(Texts, Texts)> {
    let mut left = wanted.clone();
    let mut rows = Vec::new();
    if wanted.is_empty() {
        return rows;
    }
    for_each_row(conn, database, table, columns, |row| {
        if rows.len() < COLLECTED_MAX
            && let Some(count) = left.get_mut(&digest(&row))
            && *count > 0
        {
            *count -= 1;
            let in_key = columns.iter().zip(&row).filter(|(column, _)| column.in_primary_key);
            let key: Texts = in_key.map(|(_, value)| value.clone()).collect();
            rows.push((key, row));
        }
    });
    // Without leading zeros longer digits are larger numbers; good enough to show the first rows first.
    rows.sort_by_cached_key(|(key, row)| {
        let by_size = |texts: &Texts| {
            texts.iter().map(|text| (text.as_ref().map(String::len), text.clone())).collect::<Vec<_>>()
        };
        (by_size(key), by_size(row))
    });
    rows
}

/// Describes the first differing rows, paired by primary key where there is one.
fn describe(columns: &[Column], ours: &[(Texts, Texts)], theirs: &[(Texts, Texts)]) -> Vec<String> {
    let has_key = columns.iter().any(|column| column.in_primary_key);
    let show_key = |key: &Texts| {
        let names = columns.iter().filter(|column| column.in_primary_key);
        let parts: Vec<String> =
            names.zip(key).map(|(column, value)| format!("{}={}", column.name, shown(value))).collect();
        parts.join(", ")
    };
    let show_row = |row: &Texts| {
        let parts: Vec<String> =
            columns.iter().zip(row).map(|(c, value)| format!("{}={}", c.name, shown(value))).collect();
        parts.join(", ")
    };
    let by_key: HashMap<&Texts, &Texts> = theirs.iter().map(|(key, row)| (key, row)).collect();
    let our_keys: HashSet<&Texts> = ours.iter().map(|(key, _)| key).collect();
    let mut lines = Vec::new();
    for (key, row) in ours {
        match by_key.get(key).filter(|_| has_key) {
            Some(other) => {
                let mut line = format!("differs at {}:", show_key(key));
                for (column, (left, right)) in columns.iter().zip(row.iter().zip(other.iter())) {
                    if left != right {
                        let _ = write!(line, " {} is {} / {};", column.name, shown(left), shown(right));
                    }
                }
                lines.push(line);
            }
            None => lines.push(format!("only on the source: {}", show_row(row))),
        }
    }
    for (key, row) in theirs {
        if !has_key || !our_keys.contains(key) {
            lines.push(format!("only on the target: {}", show_row(row)));
        }
    }
    if lines.len() > SHOWN_MAX {
        let rest = lines.len() - SHOWN_MAX;
        lines.truncate(SHOWN_MAX);
        lines.push(format!("and {rest} more"));
    }
    lines
}

fn shown(value: &Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.len() > VALUE_SHOWN_MAX => {
            format!("{}... ({} characters)", &text[..VALUE_SHOWN_MAX], text.len())
        }
        Some(text) => text.clone(),
    }
}
