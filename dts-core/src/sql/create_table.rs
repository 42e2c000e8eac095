//! Works on the text of `SHOW CREATE TABLE` of MySQL 5.6 and later and of MariaDB.
//!
//! The text is split into definitions, options and the partition clause and otherwise left as the server wrote it. A type, a
//! default or an expression is never interpreted: what this module does not know goes to the target unchanged, and the
//! target says if it cannot do it.
//!
//! The session that asked for the text must have `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES` off.
mod alter;
mod explicit;
mod parse;

pub use alter::{add_foreign_keys_sql, build_indexes_sql, build_indexes_statements, cascading_parent};
pub use explicit::{CharsetNames, ColumnCharset, Explicit, Rewrite};
pub(super) use explicit::{is_innodb_row_format, rename_charsets, why_not};

use self::parse::{not_understood, parse_options, split_list};
use crate::data::TableName;
use crate::error::Result;
use crate::sql::quote;
use crate::sql::token::{Dialect, Tokens};

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
    /// [`ErrorKind::Protocol`](crate::error::ErrorKind::Protocol) when the text is no such thing.
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
}

impl Definition {
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

#[cfg(test)]
mod tests;
