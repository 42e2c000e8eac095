//! Works on the text of `SHOW CREATE TABLE` of MySQL 5.6 and later and of MariaDB.
//!
//! The text is split into definitions, options and the partition clause and otherwise left as the server wrote it. A type, a
//! default or an expression is never interpreted: what this module does not know goes to the target unchanged, and the
//! target says if it cannot do it.
//!
//! The session that asked for the text must have `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES` off.
use crate::data::TableName;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::quote;
use crate::sql::token::{Dialect, Edits, TokenKind, Tokens};
use crate::transform::Route;

/// A `CREATE TABLE` statement, split into its parts.
///
/// # Examples
///
/// ```
/// use dts_core::data::TableName;
/// use dts_core::sql::create_table::CreateTable;
///
/// let shown = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  `a` int,\n  PRIMARY KEY (`id`),\n  KEY `a` (`a`)\n) ENGINE=InnoDB";
/// let deferred = CreateTable::parse(shown)?.without_deferred(&TableName::new("d", "t"), &[]);
/// assert_eq!(
///     deferred.create_sql,
///     "CREATE TABLE `d`.`t` (\n  `id` int NOT NULL,\n  `a` int,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
/// );
/// assert_eq!(deferred.indexes, ["KEY `a` (`a`)"]);
/// # Ok::<(), dts_core::error::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateTable {
    name: String,
    definitions: Vec<Definition>,
    options: Vec<TableOption>,
    partition: Option<String>,
}

/// One line between the parentheses: a column, an index, a constraint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// What it defines.
    pub kind: DefinitionKind,
    /// Its text, without the comma.
    pub text: String,
}

/// What a [`Definition`] defines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DefinitionKind {
    /// A column.
    Column {
        /// Its name.
        name: String,
    },
    /// The primary key.
    PrimaryKey {
        /// Its columns in order.
        columns: Vec<Option<String>>,
    },
    /// A secondary index.
    Index {
        /// Its name; empty when the text gives none.
        name: String,
        /// Which sort.
        class: IndexClass,
        /// Its columns in order, `None` for an expression.
        columns: Vec<Option<String>>,
    },
    /// A foreign key.
    ForeignKey {
        /// The constraint's name, when the text gives one.
        name: Option<String>,
        /// The database of the parent, when the text gives one.
        database: Option<String>,
        /// The parent.
        table: String,
    },
    /// A `CHECK` constraint.
    Check,
    /// Anything else, such as MariaDB's `PERIOD FOR SYSTEM_TIME`.
    Other,
}

/// The sort of a secondary index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexClass {
    /// `KEY`
    Plain,
    /// `UNIQUE KEY`
    Unique,
    /// `FULLTEXT KEY`
    FullText,
    /// `SPATIAL KEY`
    Spatial,
    /// MariaDB's `VECTOR KEY`
    Vector,
}

/// One table option.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TableOption {
    /// In upper case, `DEFAULT` left out and `CHARACTER SET` written `CHARSET`.
    name: String,
    /// The value as it is written; empty when there is none.
    value: String,
    /// The whole option as it is written.
    text: String,
    /// The opening of the version comment that it stands in.
    version: Option<String>,
}

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

/// A table whose secondary indexes and foreign keys come later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deferred {
    /// The `CREATE TABLE` without them.
    pub create_sql: String,
    /// The indexes, for [`build_indexes_sql`].
    pub indexes: Vec<String>,
    /// The foreign keys, for [`add_foreign_keys_sql`].
    pub foreign_keys: Vec<String>,
}

impl CreateTable {
    /// Splits the text of `SHOW CREATE TABLE`.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] when the text is no such thing.
    pub fn parse(shown: &str) -> Result<Self> {
        let tokens =
            Tokens::new(shown, Dialect::default()).ok_or_else(|| not_understood("a quote is not closed"))?;
        let mut at = 1;
        while tokens.is_any(at, &["OR", "REPLACE", "TEMPORARY"]) {
            at += 1;
        }
        if !tokens.is(0, "CREATE") || !tokens.is(at, "TABLE") {
            return Err(not_understood("it is no CREATE TABLE"));
        }
        at += 1;
        if tokens.are(at, &["IF", "NOT", "EXISTS"]) {
            at += 3;
        }
        if tokens.is_punctuation(at + 1, b'.') {
            at += 2;
        }
        let name = tokens.name(at).ok_or_else(|| not_understood("the table has no name"))?;
        if !tokens.is_punctuation(at + 1, b'(') {
            return Err(not_understood("no list of definitions follows the name"));
        }
        let after = tokens.after_group(at + 1);
        if !tokens.is_punctuation(after - 1, b')') {
            return Err(not_understood("the list of definitions is not closed"));
        }
        let definitions = split_list(&tokens, at + 2, after - 1)
            .map(|range| Definition::parse(tokens.slice(range)))
            .collect::<Result<Vec<_>>>()?;
        let (options, partition) = parse_options(&tokens, after)?;
        Ok(CreateTable { name, definitions, options, partition })
    }

    /// Returns the table's name as the text has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the definitions in their order.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// Returns whether the table has partitions.
    pub fn is_partitioned(&self) -> bool {
        self.partition.is_some()
    }

    /// Returns the partition clause as it is written.
    pub fn partition(&self) -> Option<&str> {
        self.partition.as_deref()
    }

    /// Returns the value of a table option as it is written, by its name in upper case (`ENGINE`, `CHARSET`, `ROW_FORMAT`).
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|option| option.name == name).map(|option| option.value.as_str())
    }

    /// Returns the parents of the table's foreign keys; `database` is the table's own.
    pub fn referenced_tables(&self, database: &str) -> Vec<TableName> {
        self.definitions
            .iter()
            .filter_map(|definition| match &definition.kind {
                DefinitionKind::ForeignKey { database: parent, table, .. } => {
                    Some(TableName::new(parent.as_deref().unwrap_or(database), table))
                }
                _ => None,
            })
            .collect()
    }

    /// Returns the whole statement for a table of the given name.
    pub fn to_sql(&self, target: &TableName) -> String {
        self.render(target, self.definitions.iter())
    }

    /// Returns the statement without secondary indexes and foreign keys, and these apart.
    ///
    /// The primary key, `CHECK` constraints and the indexes named in `keep` stay (the caller names the index that serves as
    /// row key where there is no primary key), and so does one index that starts with the `AUTO_INCREMENT` column where
    /// none of the others does: the server refuses the table without.
    pub fn without_deferred(&self, target: &TableName, keep: &[&str]) -> Deferred {
        let needed = self.index_for_auto_increment(keep);
        let (mut stay, mut deferred) = (
            Vec::new(),
            Deferred { create_sql: String::new(), indexes: Vec::new(), foreign_keys: Vec::new() },
        );
        for (position, definition) in self.definitions.iter().enumerate() {
            match &definition.kind {
                DefinitionKind::Index { name, .. }
                    if !keep.contains(&name.as_str()) && needed != Some(position) =>
                {
                    deferred.indexes.push(definition.text.clone());
                }
                DefinitionKind::ForeignKey { .. } => deferred.foreign_keys.push(definition.text.clone()),
                _ => stay.push(definition),
            }
        }
        deferred.create_sql = self.render(target, stay.into_iter());
        deferred
    }

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
    /// [`ErrorKind::Protocol`] when a part of the text is not understood.
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

    fn render<'a>(&self, target: &TableName, definitions: impl Iterator<Item = &'a Definition>) -> String {
        let lines: Vec<&str> = definitions.map(|definition| definition.text.as_str()).collect();
        let mut sql = format!("CREATE TABLE {} (\n  {}\n)", quote::table(target), lines.join(",\n  "));
        for option in &self.options {
            sql.push(' ');
            match &option.version {
                Some(version) => sql.push_str(&format!("{version} {} */", option.text)),
                None => sql.push_str(&option.text),
            }
        }
        if let Some(partition) = &self.partition {
            sql.push('\n');
            sql.push_str(partition);
        }
        sql
    }

    /// Returns the place of the index that must stay so that the `AUTO_INCREMENT` column leads an index.
    fn index_for_auto_increment(&self, keep: &[&str]) -> Option<usize> {
        let column = self.auto_increment_column()?;
        let leads = |columns: &[Option<String>]| columns.first().and_then(Option::as_ref) == Some(column);
        let is_led = self.definitions.iter().any(|definition| match &definition.kind {
            DefinitionKind::PrimaryKey { columns } => leads(columns),
            DefinitionKind::Index { name, columns, .. } => keep.contains(&name.as_str()) && leads(columns),
            _ => false,
        });
        if is_led {
            return None;
        }
        self.definitions.iter().position(|definition| match &definition.kind {
            DefinitionKind::Index { columns, class, .. } => {
                matches!(class, IndexClass::Plain | IndexClass::Unique) && leads(columns)
            }
            _ => false,
        })
    }

    fn auto_increment_column(&self) -> Option<&String> {
        self.definitions.iter().find_map(|definition| match &definition.kind {
            DefinitionKind::Column { name } if definition.has_word("AUTO_INCREMENT") => Some(name),
            _ => None,
        })
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
}

/// Returns one `ALTER TABLE` that adds all the indexes; `None` when there are none.
///
/// Several `FULLTEXT` indexes in one statement make the server copy the table rather than build in place; see
/// [`build_indexes_statements`].
pub fn build_indexes_sql<S: AsRef<str>>(target: &TableName, clauses: &[S]) -> Option<String> {
    alter_table(target, clauses.iter().map(AsRef::as_ref))
}

/// Returns the statements that add all the indexes with the least work: one `ALTER TABLE` for all but the `FULLTEXT`
/// indexes, then one for each of these, because InnoDB builds only one of them at a time in place.
pub fn build_indexes_statements<S: AsRef<str>>(target: &TableName, clauses: &[S]) -> Vec<String> {
    let is_full_text =
        |clause: &&str| clause.get(..8).is_some_and(|word| word.eq_ignore_ascii_case("FULLTEXT"));
    let clauses: Vec<&str> = clauses.iter().map(AsRef::as_ref).collect();
    let (full_text, plain): (Vec<&str>, Vec<&str>) = clauses.into_iter().partition(is_full_text);
    let together = alter_table(target, plain.into_iter());
    together
        .into_iter()
        .chain(full_text.into_iter().filter_map(|clause| alter_table(target, [clause].into_iter())))
        .collect()
}

/// Returns one `ALTER TABLE` that adds all the foreign keys, the names of the parents as the route has them; `None` when
/// there are none.
///
/// # Errors
/// [`ErrorKind::Protocol`] when a clause is no foreign key.
pub fn add_foreign_keys_sql<S: AsRef<str>>(
    target: &TableName,
    clauses: &[S],
    source_database: &str,
    route: &Route,
) -> Result<Option<String>> {
    let routed = clauses
        .iter()
        .map(|clause| {
            let clause = clause.as_ref();
            let tokens = Tokens::new(clause, Dialect::default())
                .ok_or_else(|| not_understood("a quote is not closed"))?;
            let Some((range, parent)) = find_parent(&tokens, source_database) else {
                return Err(not_understood("a foreign key names no table"));
            };
            let mut edits = Edits::default();
            edits.replace(tokens.span(range), quote::table(&route.target_of(&parent)));
            Ok(edits.apply(clause))
        })
        .collect::<Result<Vec<String>>>()?;
    Ok(alter_table(target, routed.iter().map(String::as_str)))
}

/// Returns the parent that a foreign key names, when a change of the parent changes rows of the child (CASCADE, SET NULL, SET
/// DEFAULT); `database` is the child's.
pub fn cascading_parent(clause: &str, database: &str) -> Option<TableName> {
    let tokens = Tokens::new(clause, Dialect::default())?;
    let (range, parent) = find_parent(&tokens, database)?;
    let acts = |at: usize| tokens.is(at, "CASCADE") || tokens.is(at, "SET");
    (range.end..tokens.len())
        .any(|at| tokens.is(at, "ON") && tokens.is_any(at + 1, &["DELETE", "UPDATE"]) && acts(at + 2))
        .then_some(parent)
}

fn alter_table<'a>(target: &TableName, clauses: impl Iterator<Item = &'a str>) -> Option<String> {
    let clauses: Vec<String> = clauses.map(|clause| format!("ADD {clause}")).collect();
    (!clauses.is_empty())
        .then(|| format!("ALTER TABLE {}\n  {}", quote::table(target), clauses.join(",\n  ")))
}

/// Returns the tokens of the name after `REFERENCES`, and the name.
fn find_parent(tokens: &Tokens<'_>, database: &str) -> Option<(std::ops::Range<usize>, TableName)> {
    let at = (0..tokens.len()).find(|index| tokens.is(*index, "REFERENCES"))? + 1;
    let first = tokens.name(at)?;
    if tokens.is_punctuation(at + 1, b'.') {
        return Some((at..at + 3, TableName::new(first, tokens.name(at + 2)?)));
    }
    Some((at..at + 1, TableName::new(database, first)))
}

impl Definition {
    fn parse(text: &str) -> Result<Self> {
        let tokens =
            Tokens::new(text, Dialect::default()).ok_or_else(|| not_understood("a quote is not closed"))?;
        let kind = definition_kind(&tokens).ok_or_else(|| not_understood("a definition has no name"))?;
        Ok(Definition { kind, text: text.to_owned() })
    }

    /// Returns whether the keyword stands outside all parentheses and quotes.
    fn has_word(&self, keyword: &str) -> bool {
        let Some(tokens) = Tokens::new(&self.text, Dialect::default()) else { return false };
        let mut at = 0;
        while at < tokens.len() {
            if tokens.is(at, keyword) {
                return true;
            }
            at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
        }
        false
    }

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

fn definition_kind(tokens: &Tokens<'_>) -> Option<DefinitionKind> {
    let mut at = 0;
    let mut constraint = None;
    if tokens.is(0, "CONSTRAINT") {
        at = 1;
        if !tokens.is_any(1, &["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
            constraint = Some(tokens.name(1)?);
            at = 2;
        }
    }
    if tokens.are(at, &["PRIMARY", "KEY"]) {
        return Some(DefinitionKind::PrimaryKey { columns: index_columns(tokens, at + 2) });
    }
    if tokens.are(at, &["FOREIGN", "KEY"]) {
        let (range, parent) = find_parent(tokens, "")?;
        let database = (range.len() > 1).then_some(parent.database);
        return Some(DefinitionKind::ForeignKey { name: constraint, database, table: parent.table });
    }
    if tokens.is(at, "CHECK") {
        return Some(DefinitionKind::Check);
    }
    if tokens.are(at, &["PERIOD", "FOR"]) {
        return Some(DefinitionKind::Other);
    }
    let words = (at..).take_while(|index| tokens.is_any(*index, &INDEX_WORDS)).count();
    let is_index = tokens.is_any(at, &["UNIQUE", "FULLTEXT", "SPATIAL"])
        || (at..at + words).any(|index| tokens.is_any(index, &["KEY", "INDEX"]));
    if !is_index {
        return Some(DefinitionKind::Column { name: tokens.name(at)? });
    }
    let class = match tokens.word(at).to_ascii_uppercase().as_str() {
        "UNIQUE" => IndexClass::Unique,
        "FULLTEXT" => IndexClass::FullText,
        "SPATIAL" => IndexClass::Spatial,
        "VECTOR" => IndexClass::Vector,
        _ => IndexClass::Plain,
    };
    at += words;
    let is_named = !tokens.is_punctuation(at, b'(') && !tokens.is(at, "USING");
    let name = if is_named { tokens.name(at)? } else { constraint.unwrap_or_default() };
    Some(DefinitionKind::Index { name, class, columns: index_columns(tokens, at) })
}

const INDEX_WORDS: [&str; 7] = ["UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "CLUSTERING", "KEY", "INDEX"];

/// Returns the columns of the first list in parentheses from `at` on, `None` for an expression.
fn index_columns(tokens: &Tokens<'_>, at: usize) -> Vec<Option<String>> {
    let Some(open) = (at..tokens.len()).find(|index| tokens.is_punctuation(*index, b'(')) else {
        return Vec::new();
    };
    let close = tokens.after_group(open) - 1;
    split_list(tokens, open + 1, close).map(|part| tokens.name(part.start)).collect()
}

/// Splits tokens at the commas outside parentheses.
fn split_list(tokens: &Tokens<'_>, from: usize, to: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (from, from);
    while at < to {
        if tokens.is_punctuation(at, b',') {
            parts.push(start..at);
            start = at + 1;
        }
        at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
    }
    parts.push(start..to);
    parts.into_iter().filter(|part| !part.is_empty())
}

impl TableOption {
    fn plain(name: &str, text: &str, value: &str) -> Self {
        TableOption {
            name: name.to_owned(),
            value: value.to_owned(),
            text: format!("{text}{value}"),
            version: None,
        }
    }
}

fn parse_options(tokens: &Tokens<'_>, from: usize) -> Result<(Vec<TableOption>, Option<String>)> {
    let mut options = Vec::new();
    let mut at = from;
    while let Some(first) = tokens.get(at) {
        if matches!(first.kind, TokenKind::Punctuation(b',' | b';')) {
            at += 1;
            continue;
        }
        let version = first
            .comment
            .map(|index| &tokens.comments[index])
            .map(|c| tokens.text[c.start..c.contents].to_owned());
        if tokens.are(at, &["PARTITION", "BY"]) {
            let rest = tokens.text[first.start..].trim_end_matches(|c: char| c.is_whitespace() || c == ';');
            let partition = version.map_or_else(|| rest.to_owned(), |version| format!("{version} {rest}"));
            return Ok((options, Some(partition)));
        }
        let start = first.start;
        if tokens.is(at, "DEFAULT") {
            at += 1;
        }
        let (name, words, has_value) = if tokens.are(at, &["CHARACTER", "SET"]) {
            ("CHARSET".to_owned(), 2, true)
        } else if tokens.are(at, &["START", "TRANSACTION"]) {
            ("START TRANSACTION".to_owned(), 2, false)
        } else if tokens.are(at, &["WITH", "SYSTEM", "VERSIONING"]) {
            ("SYSTEM VERSIONING".to_owned(), 3, false)
        } else if tokens.is_any(at, &["DATA", "INDEX"]) && tokens.is(at + 1, "DIRECTORY") {
            (format!("{} DIRECTORY", tokens.word(at).to_ascii_uppercase()), 2, true)
        } else {
            // MariaDB quotes the options of an engine.
            let name = tokens.name(at).ok_or_else(|| not_understood("a table option has no name"))?;
            (name.to_ascii_uppercase(), 1, true)
        };
        at += words;
        if tokens.is_punctuation(at, b'=') {
            at += 1;
        }
        let value_start = at;
        if has_value {
            at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
        }
        let end = tokens.get(at - 1).ok_or_else(|| not_understood("a table option has no value"))?.end;
        let value =
            tokens.get(value_start).filter(|_| has_value).map_or("", |value| &tokens.text[value.start..end]);
        options.push(TableOption {
            name,
            value: value.to_owned(),
            text: tokens.text[start..end].to_owned(),
            version,
        });
    }
    Ok((options, None))
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
pub(super) fn rename_charsets(tokens: &Tokens<'_>, names: CharsetNames, edits: &mut Edits) {
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

pub(super) fn is_innodb_row_format(value: &str) -> bool {
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

pub(super) fn why_not(engine: &str) -> &'static str {
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

fn not_understood(why: &str) -> Error {
    ErrorKind::Protocol { what: format!("the text of SHOW CREATE TABLE is not understood: {why}") }.into()
}

#[cfg(test)]
mod tests;
