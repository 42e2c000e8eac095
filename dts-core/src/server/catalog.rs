//! Databases, tables and other objects, from `information_schema` into [`TableSchema`] and [`ObjectDefinition`].
//!
//! Names are compared as `information_schema` stores them; queries that name a database filter by it, so that the server
//! opens only that database's tables. System schemas are never listed.
use std::collections::{BTreeSet, HashMap};

use crate::data::{Column, ColumnKind, ForeignKey, Index, IndexPart, ObjectKind, TableName, TableSchema};
use crate::error::{ErrorKind, Result};
use crate::server::{Flavor, ServerFacts};
use crate::sql::quote;
use crate::wire::{Connection, TextRow};

/// A database and its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Default character set.
    pub charset: String,
    /// Default collation.
    pub collation: String,
}

/// Lists the databases that the account may see.
///
/// # Errors
/// What the server answered.
pub fn databases(connection: &mut Connection) -> Result<Vec<Database>> {
    let rows = connection.query(
        "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA \
         ORDER BY SCHEMA_NAME",
        "listing databases",
    )?;
    Ok(rows
        .iter()
        .map(|row| Database { name: row.string(0), charset: row.string(1), collation: row.string(2) })
        .collect())
}

/// Lists the base tables of a database, by name.
///
/// # Errors
/// What the server answered.
pub fn table_names(connection: &mut Connection, database: &str) -> Result<Vec<TableName>> {
    names_of_kind(connection, database, "BASE TABLE")
}

/// Lists the views of a database, by name.
///
/// # Errors
/// What the server answered.
pub fn view_names(connection: &mut Connection, database: &str) -> Result<Vec<TableName>> {
    names_of_kind(connection, database, "VIEW")
}

fn names_of_kind(connection: &mut Connection, database: &str, kind: &str) -> Result<Vec<TableName>> {
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = '{kind}' ORDER BY TABLE_NAME",
        literal(database)
    );
    let rows = connection.query(sql, "listing tables")?;
    Ok(rows.iter().map(|row| TableName::new(database, row.string(0))).collect())
}

/// Reads what the tables of a database are, those that `wanted` selects.
///
/// # Errors
/// What the server answered.
pub fn tables(
    connection: &mut Connection,
    facts: &ServerFacts,
    database: &str,
    wanted: impl Fn(&TableName) -> bool,
) -> Result<Vec<TableSchema>> {
    read(connection, facts, database, None, wanted)
}

/// Reads what one table is.
///
/// # Errors
/// [`ErrorKind::NotFound`], or what the server answered.
pub fn table(connection: &mut Connection, facts: &ServerFacts, name: &TableName) -> Result<TableSchema> {
    read(connection, facts, &name.database, Some(&name.table), |_| true)?
        .into_iter()
        .next()
        .ok_or_else(|| ErrorKind::NotFound { what: "table", name: name.to_string() }.into())
}

/// Returns the statement that made a table, as the server prints it.
///
/// # Errors
/// What the server answered.
pub fn show_create_table(connection: &mut Connection, name: &TableName) -> Result<String> {
    let row = connection
        .query_row(format!("SHOW CREATE TABLE {}", quote::table(name)), "reading a table's definition")
        .map_err(|error| error.for_table(name))?;
    Ok(row.map(|row| row.string(1)).unwrap_or_default())
}

/// What the server keeps with the definition of a view, stored program, trigger or event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDefinition {
    /// Which sort of object.
    pub kind: ObjectKind,
    /// Its database and its name.
    pub name: TableName,
    /// The account in whose name it runs, as `user@host`.
    pub definer: String,
    /// Runs with the privileges of whoever uses it, not of its definer. Never for triggers and events.
    pub is_invoker: bool,
    /// The session's settings that the text was written under. Views have no `sql_mode` and no `database_collation`.
    pub context: CreationContext,
    /// The table of a trigger.
    pub table: Option<String>,
    /// The time zone of an event.
    pub time_zone: Option<String>,
    /// The comment of a stored program or event.
    pub comment: String,
}

/// The settings under which the text of a stored object has its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreationContext {
    /// `sql_mode`, flags separated by commas.
    pub sql_mode: String,
    /// `character_set_client`
    pub charset_client: String,
    /// `collation_connection`
    pub collation_connection: String,
    /// The default collation that its database had.
    pub database_collation: String,
}

/// Reads the views of a database, or its stored programs, triggers or events; triggers in the order in which they act.
///
/// # Errors
/// What the server answered.
pub fn objects(
    connection: &mut Connection,
    kind: ObjectKind,
    database: &str,
) -> Result<Vec<ObjectDefinition>> {
    let rows = connection
        .query(objects_sql(kind, database, ""), "reading views, stored programs, triggers and events")?;
    Ok(rows.iter().map(|row| object_definition(kind, database, row)).collect())
}

/// An object with what the server shows of its text.
#[derive(Clone, Debug)]
pub struct ObjectText {
    /// What is kept with it.
    pub definition: ObjectDefinition,
    /// The text after the head; empty where the account may not see it.
    pub body: String,
    /// When a trigger acts, and on what: `BEFORE` and `INSERT`, for example.
    pub acts: Option<(String, String)>,
}

/// Reads the same objects as [`objects`], in the same order, with their texts.
///
/// # Errors
/// What the server answered.
pub fn object_texts(
    connection: &mut Connection,
    kind: ObjectKind,
    database: &str,
) -> Result<Vec<ObjectText>> {
    let text = match kind {
        ObjectKind::View => ", VIEW_DEFINITION",
        ObjectKind::Procedure | ObjectKind::Function => ", ROUTINE_DEFINITION",
        ObjectKind::Trigger => ", ACTION_STATEMENT, ACTION_TIMING, EVENT_MANIPULATION",
        ObjectKind::Event => ", EVENT_DEFINITION",
    };
    let rows = connection.query(objects_sql(kind, database, text), "reading definitions")?;
    let text = |row: &TextRow| ObjectText {
        definition: object_definition(kind, database, row),
        body: row.string(10),
        acts: (kind == ObjectKind::Trigger).then(|| (row.string(11), row.string(12))),
    };
    Ok(rows.iter().map(text).collect())
}

/// Asks for name, definer, security, sql_mode, client, connection, database, table, time zone, comment, and for `more`.
fn objects_sql(kind: ObjectKind, database: &str, more: &str) -> String {
    let schema = literal(database);
    match kind {
        ObjectKind::View => format!(
            "SELECT TABLE_NAME, DEFINER, SECURITY_TYPE, '', CHARACTER_SET_CLIENT, COLLATION_CONNECTION, '', NULL, NULL, ''{more} FROM \
             information_schema.VIEWS WHERE TABLE_SCHEMA = {schema} ORDER BY TABLE_NAME"
        ),
        ObjectKind::Procedure | ObjectKind::Function => format!(
            "SELECT ROUTINE_NAME, DEFINER, SECURITY_TYPE, SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
             DATABASE_COLLATION, NULL, NULL, ROUTINE_COMMENT{more} FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {schema} AND \
             ROUTINE_TYPE = '{}' ORDER BY ROUTINE_NAME",
            kind.keyword()
        ),
        ObjectKind::Trigger => format!(
            "SELECT TRIGGER_NAME, DEFINER, 'DEFINER', SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
             DATABASE_COLLATION, EVENT_OBJECT_TABLE, NULL, ''{more} FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {schema} \
             ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER, TRIGGER_NAME"
        ),
        ObjectKind::Event => format!(
            "SELECT EVENT_NAME, DEFINER, 'DEFINER', SQL_MODE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION, \
             DATABASE_COLLATION, NULL, TIME_ZONE, EVENT_COMMENT{more} FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {schema} \
             ORDER BY EVENT_NAME"
        ),
    }
}

fn object_definition(kind: ObjectKind, database: &str, row: &TextRow) -> ObjectDefinition {
    ObjectDefinition {
        kind,
        name: TableName::new(database, row.string(0)),
        definer: row.string(1),
        is_invoker: row.string(2) == "INVOKER",
        context: CreationContext {
            sql_mode: row.string(3),
            charset_client: row.string(4),
            collation_connection: row.string(5),
            database_collation: row.string(6),
        },
        table: row.text(7).map(Into::into),
        time_zone: row.text(8).map(Into::into),
        comment: row.string(9),
    }
}

/// Lists the names of a database's objects of a kind. Tables and views share their names, so for views the tables are listed
/// too.
///
/// # Errors
/// What the server answered.
pub fn object_names(
    connection: &mut Connection,
    kind: ObjectKind,
    database: &str,
) -> Result<BTreeSet<String>> {
    let (name, table, schema, and) = match kind {
        ObjectKind::View => ("TABLE_NAME", "TABLES", "TABLE_SCHEMA", ""),
        ObjectKind::Procedure => {
            ("ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA", " AND ROUTINE_TYPE = 'PROCEDURE'")
        }
        ObjectKind::Function => {
            ("ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA", " AND ROUTINE_TYPE = 'FUNCTION'")
        }
        ObjectKind::Trigger => ("TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA", ""),
        ObjectKind::Event => ("EVENT_NAME", "EVENTS", "EVENT_SCHEMA", ""),
    };
    let sql =
        format!("SELECT {name} FROM information_schema.{table} WHERE {schema} = {}{and}", literal(database));
    Ok(connection.query(sql, "listing objects")?.iter().map(|row| row.string(0)).collect())
}

/// Returns the statement that made an object, as the server prints it; `None` when the account may not see it.
///
/// # Errors
/// What the server answered.
pub fn show_create_object(
    connection: &mut Connection,
    kind: ObjectKind,
    name: &TableName,
) -> Result<Option<String>> {
    let sql = format!("SHOW CREATE {} {}", kind.keyword(), quote::table(name));
    let row = connection.query_row(sql, "reading an object's definition")?;
    let column = match kind {
        ObjectKind::View => 1,
        ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Trigger => 2,
        // After the sql_mode there is the time zone.
        ObjectKind::Event => 3,
    };
    Ok(row.and_then(|row| row.text(column).map(Into::into)))
}

/// A string literal for the control plane's session (utf8mb4).
fn literal(text: &str) -> String {
    let mut sql = Vec::new();
    quote::push_string_literal(&mut sql, text.as_bytes());
    String::from_utf8_lossy(&sql).into_owned()
}

fn read(
    connection: &mut Connection,
    facts: &ServerFacts,
    database: &str,
    only: Option<&str>,
    wanted: impl Fn(&TableName) -> bool,
) -> Result<Vec<TableSchema>> {
    let schema = literal(database);
    let one =
        |column: &str| only.map_or_else(String::new, |table| format!(" AND {column} = {}", literal(table)));
    let sql = format!(
        "SELECT t.TABLE_NAME, t.ENGINE, t.TABLE_COLLATION, c.CHARACTER_SET_NAME, t.TABLE_ROWS, t.DATA_LENGTH, \
         t.INDEX_LENGTH, t.CREATE_OPTIONS FROM information_schema.TABLES t LEFT JOIN \
         information_schema.COLLATION_CHARACTER_SET_APPLICABILITY c ON c.COLLATION_NAME = t.TABLE_COLLATION \
         WHERE t.TABLE_SCHEMA = {schema}{} AND t.TABLE_TYPE = 'BASE TABLE' ORDER BY t.TABLE_NAME",
        one("t.TABLE_NAME")
    );
    let mut tables: Vec<TableSchema> = connection
        .query(sql, "reading tables")?
        .iter()
        .map(|row| TableSchema {
            name: TableName::new(database, row.string(0)),
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            engine: row.string(1),
            collation: row.string(2),
            charset: row.string(3),
            rows_estimated: row.u64(4).unwrap_or(0),
            data_bytes: row.u64(5).unwrap_or(0),
            index_bytes: row.u64(6).unwrap_or(0),
            partitioned: row.text(7).is_some_and(|options| options.contains("partitioned")),
        })
        .filter(|table| wanted(&table.name))
        .collect();
    if tables.is_empty() {
        return Ok(tables);
    }
    let by_name: HashMap<String, usize> =
        tables.iter().enumerate().map(|(position, table)| (table.name.table.clone(), position)).collect();

    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, CHARACTER_SET_NAME, COLLATION_NAME, EXTRA, \
         CHARACTER_OCTET_LENGTH FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema}{} \
         ORDER BY TABLE_NAME, ORDINAL_POSITION",
        one("TABLE_NAME")
    );
    for row in connection.query(sql, "reading columns")? {
        if let Some(&position) = by_name.get(&row.string(0)) {
            tables[position].columns.push(column(&row, facts));
        }
    }

    // EXPRESSION exists from 8.0.13 on: functional parts have no COLUMN_NAME.
    let sql = format!(
        "SELECT TABLE_NAME, INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, INDEX_TYPE FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {schema}{} ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
        one("TABLE_NAME")
    );
    for row in connection.query(sql, "reading indexes")? {
        let Some(&position) = by_name.get(&row.string(0)) else { continue };
        let table = &mut tables[position];
        let name = row.string(1);
        if table.indexes.last().is_none_or(|index| index.name != name) {
            table.indexes.push(Index {
                name,
                unique: row.u64(2) == Some(0),
                parts: Vec::new(),
                index_type: row.string(5),
            });
        }
        let column = row.text(3).and_then(|name| table.columns.iter().position(|column| column.name == name));
        let prefix = row.u64(4).and_then(|prefix| u32::try_from(prefix).ok());
        if let Some(index) = table.indexes.last_mut() {
            index.parts.push(IndexPart { column, prefix });
        }
    }
    for table in &mut tables {
        table.indexes.sort_by_key(|index| index.name != "PRIMARY");
    }

    let sql = format!(
        "SELECT k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, \
         k.REFERENCED_COLUMN_NAME, r.UPDATE_RULE, r.DELETE_RULE FROM information_schema.KEY_COLUMN_USAGE k JOIN \
         information_schema.REFERENTIAL_CONSTRAINTS r ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND \
         r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME WHERE k.TABLE_SCHEMA = {schema} AND \
         k.REFERENCED_TABLE_NAME IS NOT NULL{} ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION",
        one("k.TABLE_NAME")
    );
    for row in connection.query(sql, "reading foreign keys")? {
        let Some(&position) = by_name.get(&row.string(0)) else { continue };
        let table = &mut tables[position];
        let name = row.string(1);
        if table.foreign_keys.last().is_none_or(|key| key.name != name) {
            let rules = [row.string(6), row.string(7)];
            table.foreign_keys.push(ForeignKey {
                name,
                columns: Vec::new(),
                referenced_table: TableName::new(row.string(3), row.string(4)),
                referenced_columns: Vec::new(),
                cascades: rules.iter().any(|rule| rule == "CASCADE" || rule.starts_with("SET ")),
            });
        }
        let column = row.text(2).and_then(|name| table.columns.iter().position(|column| column.name == name));
        if let Some(key) = table.foreign_keys.last_mut() {
            key.columns.extend(column);
            key.referenced_columns.push(row.string(5));
        }
    }
    Ok(tables)
}

/// What a foreign key does to a child when its parent changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyAction {
    /// RESTRICT, NO ACTION.
    None,
    /// CASCADE.
    Cascade,
    /// SET NULL.
    SetNull,
}

impl KeyAction {
    fn parse(rule: &str) -> Self {
        match rule {
            "CASCADE" => KeyAction::Cascade,
            "SET NULL" => KeyAction::SetNull,
            _ => KeyAction::None,
        }
    }
}

/// A foreign key that changes rows by itself, seen from the parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ActingKey {
    /// The table whose rows it changes.
    pub child: TableName,
    /// The child's columns.
    pub columns: Vec<String>,
    /// The parent's columns that they refer to.
    pub referred: Vec<String>,
    /// When a parent's row is deleted.
    pub on_delete: KeyAction,
    /// When a column referred to changes.
    pub on_update: KeyAction,
}

/// Returns the foreign keys by which a change of a table's rows changes other rows.
///
/// # Errors
/// What the server answered.
pub fn acting_keys(connection: &mut Connection, parent: &TableName) -> Result<Vec<ActingKey>> {
    let sql = format!(
        "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, \
         r.UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS r JOIN information_schema.KEY_COLUMN_USAGE k ON \
         k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME AND k.TABLE_NAME = r.TABLE_NAME \
         WHERE r.UNIQUE_CONSTRAINT_SCHEMA = {0} AND r.REFERENCED_TABLE_NAME = {1} AND k.REFERENCED_TABLE_SCHEMA = {0} AND \
         k.REFERENCED_TABLE_NAME = {1} ORDER BY k.CONSTRAINT_SCHEMA, k.CONSTRAINT_NAME, k.TABLE_NAME, k.ORDINAL_POSITION",
        quote::string_literal(&parent.database),
        quote::string_literal(&parent.table)
    );
    let mut keys: Vec<(String, ActingKey)> = Vec::new();
    for row in connection.query(sql, "reading the foreign keys to a table")? {
        let (child, name) = (TableName::new(row.string(0), row.string(1)), row.string(2));
        if keys.last().is_none_or(|(last, key)| *last != name || key.child != child) {
            let key = ActingKey {
                child,
                columns: Vec::new(),
                referred: Vec::new(),
                on_delete: KeyAction::parse(&row.string(5)),
                on_update: KeyAction::parse(&row.string(6)),
            };
            keys.push((name, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(row.string(3));
            key.referred.push(row.string(4));
        }
    }
    let acts = |key: &ActingKey| key.on_delete != KeyAction::None || key.on_update != KeyAction::None;
    Ok(keys.into_iter().map(|(_, key)| key).filter(acts).collect())
}

/// Returns the lists of a table's columns that foreign keys refer to.
///
/// # Errors
/// What the server answered.
pub fn referred_columns(connection: &mut Connection, parent: &TableName) -> Result<Vec<Vec<String>>> {
    let sql = format!(
        "SELECT CONSTRAINT_SCHEMA, CONSTRAINT_NAME, REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE \
         REFERENCED_TABLE_SCHEMA = {} AND REFERENCED_TABLE_NAME = {} ORDER BY CONSTRAINT_SCHEMA, CONSTRAINT_NAME, \
         ORDINAL_POSITION",
        quote::string_literal(&parent.database),
        quote::string_literal(&parent.table)
    );
    let mut lists: Vec<((String, String), Vec<String>)> = Vec::new();
    for row in connection.query(sql, "reading what foreign keys refer to")? {
        let name = (row.string(0), row.string(1));
        match lists.last_mut() {
            Some((last, columns)) if *last == name => columns.push(row.string(2)),
            _ => lists.push((name, vec![row.string(2)])),
        }
    }
    let mut lists: Vec<Vec<String>> = lists.into_iter().map(|(_, columns)| columns).collect();
    lists.sort();
    lists.dedup();
    Ok(lists)
}

fn column(row: &TextRow, facts: &ServerFacts) -> Column {
    let data_type = row.string(2).to_ascii_lowercase();
    let type_text = row.string(3);
    let extra = row.string(7).to_ascii_uppercase();
    let kind = match data_type.as_str() {
        "tinyint" => ColumnKind::Integer(1),
        "smallint" => ColumnKind::Integer(2),
        "mediumint" => ColumnKind::Integer(3),
        "int" => ColumnKind::Integer(4),
        "bigint" => ColumnKind::Integer(8),
        "decimal" => ColumnKind::Decimal,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit,
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        "datetime" => ColumnKind::DateTime,
        "timestamp" => ColumnKind::Timestamp,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" => ColumnKind::Binary(row.u64(8).and_then(|n| usize::try_from(n).ok()).unwrap_or(1)),
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Blob,
        "enum" => ColumnKind::Enum(labels(&type_text)),
        "set" => ColumnKind::Set(labels(&type_text)),
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => ColumnKind::Geometry,
        "vector" if facts.flavor == Flavor::MySql => ColumnKind::Vector,
        _ => ColumnKind::Other(data_type.clone()),
    };
    Column {
        name: row.string(1),
        unsigned: type_text.to_ascii_lowercase().contains("unsigned")
            && matches!(
                kind,
                ColumnKind::Integer(_) | ColumnKind::Decimal | ColumnKind::Float | ColumnKind::Double
            ),
        kind,
        type_text,
        nullable: row.string(4) == "YES",
        charset: row.text(5).map(Into::into),
        collation: row.text(6).map(Into::into),
        generated: extra.contains("VIRTUAL GENERATED")
            || extra.contains("STORED GENERATED")
            || extra.contains("PERSISTENT")
            // 5.7 and MariaDB: `VIRTUAL` alone; `DEFAULT_GENERATED` is an expression default, not a generated column.
            || extra == "VIRTUAL",
        invisible: extra.split([' ', ',']).any(|word| word == "INVISIBLE"),
        auto_increment: extra.contains("AUTO_INCREMENT"),
    }
}

/// Reads the labels of `enum('a','b''c')`: quotes are doubled, backslash, NUL, line feed and carriage return are escaped
/// with a backslash (`append_unescaped` of the server, whatever the sql_mode).
fn labels(type_text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut characters = type_text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\'' {
            continue;
        }
        let mut label = String::new();
        while let Some(character) = characters.next() {
            match character {
                '\'' if characters.peek() == Some(&'\'') => {
                    characters.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.extend(characters.next().map(|escaped| match escaped {
                    '0' => '\0',
                    'n' => '\n',
                    'r' => '\r',
                    other => other,
                })),
                other => label.push(other),
            }
        }
        labels.push(label);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::labels;

    #[test]
    fn labels_with_commas_quotes_and_brackets() {
        assert_eq!(labels("enum('a','b,c','d''e',')','')"), ["a", "b,c", "d'e", ")", ""]);
        assert_eq!(labels(r"set('a\\b','c\nd')"), ["a\\b", "c\nd"]);
    }
}
