//! Writes out what a server takes as given, and replaces what the target cannot have.
use super::parse::not_understood;
use super::{CreateTable, Definition, DefinitionKind, IndexClass, TableOption};
use crate::error::Result;
use crate::sql::quote;
use crate::sql::token::{Dialect, Edits, Tokens};

/// The character set and collation of a column, from `information_schema.columns`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnCharset {
    /// The column.
    pub column: String,
    /// `CHARACTER_SET_NAME`
    pub charset: String,
    /// `COLLATION_NAME`
    pub collation: String,
}

/// How a target calls the three-byte UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CharsetNames {
    /// The character set is `utf8mb3` (else `utf8`).
    pub mb3_charset: bool,
    /// The collations are `utf8mb3_…` (else `utf8_…`).
    pub mb3_collation: bool,
}

impl CharsetNames {
    /// Returns the names for a MySQL target; the version is written as version comments write it: 80030.
    pub fn of_mysql(version: u32) -> Self {
        CharsetNames { mb3_charset: version >= 8_00_00, mb3_collation: version >= 8_00_30 }
    }

    /// Returns the names for a MariaDB target; the version is written as version comments write it: 100600.
    pub fn of_mariadb(version: u32) -> Self {
        CharsetNames { mb3_charset: version >= 10_06_00, mb3_collation: version >= 10_06_00 }
    }

    /// Returns the character set's name on the target.
    pub fn charset<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "utf8" | "utf8mb3" if self.mb3_charset => "utf8mb3",
            "utf8" | "utf8mb3" => "utf8",
            other => other,
        }
    }

    /// Returns the collation's name on the target.
    pub fn collation(&self, name: &str) -> String {
        match name.strip_prefix("utf8mb3_").or_else(|| name.strip_prefix("utf8_")) {
            Some(rest) if self.mb3_collation => format!("utf8mb3_{rest}"),
            Some(rest) => format!("utf8_{rest}"),
            None => name.to_owned(),
        }
    }
}

/// What the server knows and `SHOW CREATE TABLE` leaves out; input of [`CreateTable::explicit`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explicit<'a> {
    /// `TABLE_COLLATION` of `information_schema.tables`.
    pub table_collation: &'a str,
    /// Every column that has a collation.
    pub columns: &'a [ColumnCharset],
    /// The names that the target knows.
    pub names: CharsetNames,
    /// The target is MariaDB: what only MariaDB knows stays.
    pub mariadb_target: bool,
}

/// Something of the definition that is different on the target, for the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    /// What was changed.
    pub what: String,
    /// The reason.
    pub why: String,
}

impl CreateTable {
    /// Writes out what the server takes as given, and replaces what the target cannot have.
    ///
    /// - The table's character set and collation, and those of each column that differs from the table, are written out:
    ///   the defaults of two servers differ (`utf8mb4` means `utf8mb4_general_ci` on 5.7 and `utf8mb4_0900_ai_ci` on 8.0).
    /// - `utf8` and `utf8mb3` are named as the target names them.
    /// - Every storage engine becomes InnoDB, and what InnoDB does not take goes.
    /// - Places on the source's disk (`DATA DIRECTORY`, `TABLESPACE`) go.
    /// - For a MySQL target, what MariaDB writes otherwise is written as MySQL wants it (`DEFAULT uuid()` in parentheses,
    ///   `IGNORED` as `INVISIBLE`).
    ///
    /// Returns what is different on the target; written-out collations are not listed, they change nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`](crate::error::ErrorKind::Protocol) when a part of the text is not understood.
    pub fn explicit(&mut self, explicit: &Explicit<'_>) -> Result<Vec<Rewrite>> {
        let mut rewrites = Vec::new();
        let is_converted = self.rewrite_options(explicit, &mut rewrites);
        for definition in &mut self.definitions {
            definition.make_explicit(explicit)?;
        }
        if let Some(partition) = self.partition.take() {
            self.partition = Some(rewrite_partition(&partition, explicit.names, &mut rewrites)?);
        }
        if is_converted {
            self.add_index_for_auto_increment(&mut rewrites);
        }
        Ok(rewrites)
    }

    /// Returns whether the engine was changed.
    fn rewrite_options(&mut self, explicit: &Explicit<'_>, rewrites: &mut Vec<Rewrite>) -> bool {
        let engine = self.option("ENGINE").unwrap_or("InnoDB").trim_matches(['`', '\'', '"']).to_owned();
        let is_converted = !engine.eq_ignore_ascii_case("InnoDB");
        if is_converted {
            rewrites
                .push(Rewrite { what: format!("ENGINE={engine} to InnoDB"), why: why_not(&engine).into() });
        }
        let is_compressed =
            self.option("ROW_FORMAT").is_some_and(|value| value.eq_ignore_ascii_case("COMPRESSED"));
        let mut kept = vec![TableOption::plain("ENGINE", "ENGINE=", "InnoDB")];
        for option in self.options.drain(..) {
            let why = match option.name.as_str() {
                "ENGINE" | "CHARSET" | "COLLATE" | "START TRANSACTION" => continue,
                "ROW_FORMAT" if !is_innodb_row_format(&option.value) => {
                    "InnoDB does not have this row format"
                }
                "KEY_BLOCK_SIZE" if is_converted && !is_compressed => {
                    "it was meant for another storage engine"
                }
                "COMPRESSION" if is_converted => "it was meant for another storage engine",
                "DATA DIRECTORY" | "INDEX DIRECTORY" | "TABLESPACE" | "STORAGE" => {
                    "it names a place on the source's disk; the target decides where the table lies"
                }
                "SECONDARY_ENGINE" => {
                    "the target may not have it, and a table with it refuses schema changes"
                }
                name if is_carried_option(name) || (explicit.mariadb_target && is_mariadb_option(name)) => {
                    kept.push(option);
                    continue;
                }
                "SYSTEM VERSIONING" => {
                    "MySQL does not keep old versions of rows; only the present rows are moved"
                }
                _ => "the target does not know this option",
            };
            // The address of a FEDERATED table may hold a password.
            let what = if option.name == "CONNECTION" { "CONNECTION".to_owned() } else { option.text };
            rewrites.push(Rewrite { what: format!("{what} left out"), why: why.into() });
        }
        let collation = explicit.names.collation(explicit.table_collation);
        let charset = explicit.names.charset(charset_of(explicit.table_collation));
        // Behind AUTO_INCREMENT, where the server shows them.
        let place = 1 + usize::from(kept.get(1).is_some_and(|option| option.name == "AUTO_INCREMENT"));
        kept.insert(place, TableOption::plain("CHARSET", "DEFAULT CHARSET=", charset));
        kept.insert(place + 1, TableOption::plain("COLLATE", "COLLATE=", &collation));
        self.options = kept;
        is_converted
    }

    /// MyISAM takes an `AUTO_INCREMENT` column that is a later part of an index; InnoDB wants it first in one.
    fn add_index_for_auto_increment(&mut self, rewrites: &mut Vec<Rewrite>) {
        let Some(column) = self.auto_increment_column().cloned() else { return };
        let leads = |columns: &[Option<String>]| columns.first() == Some(&Some(column.clone()));
        let is_led = self.definitions.iter().any(|definition| match &definition.kind {
            DefinitionKind::PrimaryKey { columns } | DefinitionKind::Index { columns, .. } => leads(columns),
            _ => false,
        });
        if is_led {
            return;
        }
        let taken = |wanted: &str| {
            self.definitions.iter().any(|definition| {
                matches!(&definition.kind, DefinitionKind::Index { name, .. } if name.eq_ignore_ascii_case(wanted))
            })
        };
        let mut name = "dts_auto_increment".to_owned();
        while taken(&name) {
            name.push('_');
        }
        let text = format!("KEY {} ({})", quote::identifier(&name), quote::identifier(&column));
        rewrites.push(Rewrite {
            what: format!("{text} added"),
            why: "InnoDB needs an index that starts with the AUTO_INCREMENT column; numbers are then given per table, \
                  no longer per group"
                .into(),
        });
        let columns = vec![Some(column)];
        let kind = DefinitionKind::Index { name, class: IndexClass::Plain, columns };
        let place = self
            .definitions
            .iter()
            .rposition(|d| {
                matches!(
                    d.kind,
                    DefinitionKind::Column { .. }
                        | DefinitionKind::PrimaryKey { .. }
                        | DefinitionKind::Index { .. }
                )
            })
            .map_or(self.definitions.len(), |last| last + 1);
        self.definitions.insert(place, Definition { kind, text });
    }
}

impl Definition {
    fn make_explicit(&mut self, explicit: &Explicit<'_>) -> Result<()> {
        let tokens = Tokens::new(&self.text, Dialect::default())
            .ok_or_else(|| not_understood("a quote is not closed"))?;
        let mut edits = Edits::default();
        match &self.kind {
            DefinitionKind::Column { name } => {
                if let Some(column) = explicit.columns.iter().find(|column| column.column == *name) {
                    write_column_charset(&tokens, column, explicit, &mut edits);
                }
                if !explicit.mariadb_target {
                    parenthesize_default(&tokens, &mut edits);
                }
            }
            DefinitionKind::Index { .. } => {
                drop_clustering(&tokens, &mut edits);
                if !explicit.mariadb_target {
                    write_invisible(&tokens, &mut edits);
                }
            }
            DefinitionKind::PrimaryKey { .. }
            | DefinitionKind::ForeignKey { .. }
            | DefinitionKind::Check
            | DefinitionKind::Other => {}
        }
        rename_charsets(&tokens, explicit.names, &mut edits);
        self.text = edits.apply(&self.text).trim_end().to_owned();
        Ok(())
    }
}

/// Replaces what the target cannot have in a partition clause.
fn rewrite_partition(partition: &str, names: CharsetNames, rewrites: &mut Vec<Rewrite>) -> Result<String> {
    let tokens =
        Tokens::new(partition, Dialect::default()).ok_or_else(|| not_understood("a quote is not closed"))?;
    let mut edits = Edits::default();
    let mut is_moved = false;
    for at in 0..tokens.len() {
        let is_directory = tokens.is_any(at, &["DATA", "INDEX"]) && tokens.is(at + 1, "DIRECTORY");
        if tokens.is(at, "ENGINE") && tokens.is_punctuation(at + 1, b'=') {
            edits.replace(tokens.span(at + 2..at + 3), "InnoDB");
        } else if is_directory && tokens.is_punctuation(at + 2, b'=') {
            edits.replace(tokens.span(at..at + 4), "");
            is_moved = true;
        } else if tokens.is(at, "TABLESPACE") && tokens.is_punctuation(at + 1, b'=') {
            edits.replace(tokens.span(at..at + 3), "");
            is_moved = true;
        }
    }
    if is_moved {
        rewrites.push(Rewrite {
            what: "DATA DIRECTORY, INDEX DIRECTORY and TABLESPACE of partitions left out".into(),
            why: "they name places on the source's disk; the target decides where the table lies".into(),
        });
    }
    rename_charsets(&tokens, names, &mut edits);
    Ok(edits.apply(partition))
}

/// Writes the character set and collation of a column behind its type, where they are not the table's.
fn write_column_charset(
    tokens: &Tokens<'_>,
    column: &ColumnCharset,
    explicit: &Explicit<'_>,
    edits: &mut Edits,
) {
    const TEXT_TYPES: [&str; 8] =
        ["CHAR", "VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET"];
    if !tokens.is_any(1, &TEXT_TYPES) {
        return;
    }
    let mut at = if tokens.is_punctuation(2, b'(') { tokens.after_group(2) } else { 2 };
    let type_end = tokens.span(0..at).end;
    let mut is_written = false;
    let text = format!(
        "CHARACTER SET {} COLLATE {}",
        explicit.names.charset(&column.charset),
        explicit.names.collation(&column.collation)
    );
    loop {
        let length = if tokens.are(at, &["CHARACTER", "SET"]) {
            3
        } else if tokens.is_any(at, &["CHARSET", "COLLATE"]) {
            2
        } else if tokens.is(at, "COMPRESSED") {
            // MariaDB's compressed columns.
            at += 1;
            continue;
        } else {
            break;
        };
        let span = tokens.span(at..at + length);
        if is_written {
            // With the space before it.
            edits.replace(span.start - 1..span.end, "");
        } else {
            edits.replace(span, text.clone());
            is_written = true;
        }
        at += length;
    }
    if !is_written && column.collation != explicit.table_collation {
        edits.replace(type_end..type_end, format!(" {text}"));
    }
}

/// MySQL wants parentheses around a default that is an expression, and around every default of a TEXT or BLOB column;
/// MariaDB does not show them.
fn parenthesize_default(tokens: &Tokens<'_>, edits: &mut Edits) {
    const CLOCKS: [&str; 5] = ["CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "NULL"];
    const LONG_TYPES: [&str; 8] =
        ["TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"];
    let mut at = 1;
    while at < tokens.len() && !tokens.is(at, "DEFAULT") {
        at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
    }
    let value = at + 1;
    let is_call = tokens.is_punctuation(value + 1, b'(') && !tokens.word(value).is_empty();
    let end = if is_call && !tokens.is_any(value, &CLOCKS) {
        tokens.after_group(value + 1)
    } else if tokens.is_any(1, &LONG_TYPES) && tokens.is_text(value) {
        value + 1
    } else {
        return;
    };
    let span = tokens.span(value..end);
    edits.replace(span.start..span.start, "(");
    edits.replace(span.end..span.end, ")");
}

/// Writes MariaDB's `IGNORED` as `INVISIBLE`.
fn write_invisible(tokens: &Tokens<'_>, edits: &mut Edits) {
    let list = (0..tokens.len()).find(|at| tokens.is_punctuation(*at, b'(')).unwrap_or(tokens.len());
    for at in tokens.after_group(list)..tokens.len() {
        if tokens.is(at, "IGNORED") {
            edits.replace(tokens.span(at..at + 1), "INVISIBLE");
        }
    }
}

/// Names `utf8` and `utf8mb3` as the target does, wherever a character set or a collation is named.
pub(in crate::sql) fn rename_charsets(tokens: &Tokens<'_>, names: CharsetNames, edits: &mut Edits) {
    for at in 0..tokens.len() {
        let is_set = tokens.are(at, &["CHARACTER", "SET"]);
        let mut value = at + 1 + usize::from(is_set);
        if tokens.is_punctuation(value, b'=') {
            value += 1;
        }
        let word = tokens.word(value);
        let lower = word.to_ascii_lowercase();
        if tokens.is(at, "COLLATE") {
            let name = names.collation(&lower);
            if name != lower {
                edits.replace(tokens.span(value..value + 1), name);
            }
        } else if is_set || tokens.is_any(at, &["CHARSET", "USING"]) {
            let name = names.charset(&lower);
            if name != lower {
                edits.replace(tokens.span(value..value + 1), name);
            }
        } else if tokens.is_text(at + 1) && tokens.is_any(at, &["_utf8", "_utf8mb3"]) {
            edits.replace(tokens.span(at..at + 1), format!("_{}", names.charset("utf8")));
        }
    }
}

/// Takes out TokuDB's `CLUSTERING`.
fn drop_clustering(tokens: &Tokens<'_>, edits: &mut Edits) {
    let list = (0..tokens.len()).find(|at| tokens.is_punctuation(*at, b'(')).unwrap_or(0);
    for at in 0..tokens.len() {
        if !tokens.is(at, "CLUSTERING") {
            continue;
        }
        if at < list && tokens.is_any(at + 1, &["KEY", "INDEX"]) {
            edits.replace(tokens.span(at..at + 1).start..tokens.span(at + 1..at + 2).start, "");
        } else if at > list && tokens.is_punctuation(at + 1, b'=') {
            edits.replace(tokens.span(at..at + 3), "");
        }
    }
}

/// Returns the character set that a collation belongs to.
fn charset_of(collation: &str) -> &str {
    collation.split_once('_').map_or(collation, |(charset, _)| charset)
}

pub(in crate::sql) fn is_innodb_row_format(value: &str) -> bool {
    ["DEFAULT", "DYNAMIC", "COMPRESSED", "REDUNDANT", "COMPACT"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(value))
}

/// Options that every MySQL takes for an InnoDB table, or ignores without a word.
fn is_carried_option(name: &str) -> bool {
    matches!(
        name,
        "AUTO_INCREMENT"
            | "ROW_FORMAT"
            | "KEY_BLOCK_SIZE"
            | "COMMENT"
            | "STATS_PERSISTENT"
            | "STATS_AUTO_RECALC"
            | "STATS_SAMPLE_PAGES"
            | "MAX_ROWS"
            | "MIN_ROWS"
            | "AVG_ROW_LENGTH"
            | "PACK_KEYS"
            | "CHECKSUM"
            | "DELAY_KEY_WRITE"
            | "COMPRESSION"
            | "ENCRYPTION"
            | "AUTOEXTEND_SIZE"
    )
}

/// Options of MariaDB's InnoDB.
fn is_mariadb_option(name: &str) -> bool {
    matches!(
        name,
        "SYSTEM VERSIONING"
            | "PAGE_COMPRESSED"
            | "PAGE_COMPRESSION_LEVEL"
            | "ENCRYPTED"
            | "ENCRYPTION_KEY_ID"
    )
}

pub(in crate::sql) fn why_not(engine: &str) -> &'static str {
    match engine.to_ascii_uppercase().as_str() {
        "MYISAM" | "ARIA" | "CSV" | "ARCHIVE" => {
            "this engine has no transactions, so its changes cannot be applied exactly once"
        }
        "MEMORY" | "HEAP" => "the rows of a MEMORY table are lost when the target restarts",
        "FEDERATED" | "CONNECT" | "SPIDER" | "MRG_MYISAM" | "MERGE" => {
            "the table only shows rows of other tables; on the target it is an ordinary table with a copy of these rows"
        }
        "BLACKHOLE" => "the table keeps no rows on the source; on the target it does",
        _ => "the target does not have this storage engine",
    }
}
