//! Tells the kind of a statement of the binary log and finds the names in it.
//!
//! Only kinds and names: what a schema change does to a table is found out by running it on a server. Names are found with
//! their places in the text, so that [`rewrite`] can put others there and leave every other byte as it was.
//!
//! The text must be UTF-8 or, at least, in a character set in which every byte below 0x80 is ASCII.
mod parser;
mod query;

use std::ops::Range;

use crate::data::TableName;
use crate::sql::quote;
use crate::sql::statement::parser::{find_start_transaction, parse};
use crate::sql::token::{Dialect, Edits, Tokens};
use crate::transform::Route;

/// A statement, as far as its kind and its names go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// The names in it, in the order of the text.
    pub names: Vec<NameReference>,
    /// The names are no longer those of the text.
    is_lowered: bool,
}

/// What a statement does.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StatementKind {
    /// Nothing but white space and comments; servers write such for events that they skip.
    Empty,
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`
    Commit,
    /// `ROLLBACK` of the whole transaction
    Rollback,
    /// `SAVEPOINT`
    Savepoint {
        /// The savepoint.
        name: String,
    },
    /// `ROLLBACK TO`
    RollbackTo {
        /// The savepoint.
        name: String,
    },
    /// `RELEASE SAVEPOINT`
    ReleaseSavepoint {
        /// The savepoint.
        name: String,
    },
    /// `XA START`, `XA BEGIN`
    XaStart {
        /// The identifier as it is written, without white space: `X'61',X'',1`.
        xid: String,
    },
    /// `XA END`
    XaEnd {
        /// The identifier as it is written.
        xid: String,
    },
    /// `XA PREPARE`
    XaPrepare {
        /// The identifier as it is written.
        xid: String,
    },
    /// `XA COMMIT`
    XaCommit {
        /// The identifier as it is written.
        xid: String,
        /// `ONE PHASE`: the transaction was not prepared before.
        one_phase: bool,
    },
    /// `XA ROLLBACK`
    XaRollback {
        /// The identifier as it is written.
        xid: String,
    },
    /// `CREATE TABLE`
    CreateTable {
        /// `LIKE` another table.
        like: bool,
        /// With rows of a query.
        select: bool,
        /// `IF NOT EXISTS`
        if_not_exists: bool,
        /// `TEMPORARY`
        temporary: bool,
        /// Ends in `START TRANSACTION`: the rows of a `CREATE TABLE … SELECT` follow as row events of the same transaction
        /// (MySQL 8.0.21 and later). To be run without that, see [`without_start_transaction`].
        start_transaction: bool,
    },
    /// `ALTER TABLE`
    AlterTable {
        /// With `RENAME TO`.
        renames: bool,
    },
    /// `DROP TABLE`
    DropTable {
        /// `IF EXISTS`
        if_exists: bool,
        /// `TEMPORARY`
        temporary: bool,
    },
    /// `TRUNCATE TABLE`
    TruncateTable,
    /// `RENAME TABLE`
    RenameTable,
    /// `CREATE INDEX`
    CreateIndex,
    /// `DROP INDEX`
    DropIndex,
    /// `CREATE VIEW`
    CreateView,
    /// `ALTER VIEW`
    AlterView,
    /// `DROP VIEW`
    DropView,
    /// `CREATE DATABASE`
    CreateDatabase,
    /// `ALTER DATABASE`; without a name the default database is meant.
    AlterDatabase,
    /// `DROP DATABASE`
    DropDatabase,
    /// `CREATE`, `ALTER` or `DROP` of a stored program.
    StoredProgram {
        /// What is done.
        action: Action,
        /// With what.
        object: StoredObject,
    },
    /// Accounts, roles and privileges.
    Account,
    /// A change of rows, or a query that may make one, written as a statement.
    Dml,
    /// Upkeep and settings that change no schema and no rows: `ANALYZE`, `OPTIMIZE`, `FLUSH`, `SET`, …
    Admin,
    /// `CREATE`, `ALTER` or `DROP` of what belongs to the server as a whole: tablespaces, servers, resource groups, loadable
    /// functions, plugins.
    ServerObject,
    /// Anything else, and text that cannot be split.
    Unknown,
}

/// What is done with an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// `CREATE`
    Create,
    /// `ALTER`
    Alter,
    /// `DROP`
    Drop,
}

/// The sort of a stored program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoredObject {
    /// `PROCEDURE`
    Procedure,
    /// `FUNCTION`
    Function,
    /// `TRIGGER`
    Trigger,
    /// `EVENT`
    Event,
}

/// A name in a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameReference {
    /// What the name is in the statement.
    pub role: NameRole,
    /// The database; where the text gives none, the one that the server takes: the default database, for the parent of a
    /// foreign key that of the child, in a stored program that of the program.
    pub database: String,
    /// The name in that database; empty for [`NameRole::Database`].
    pub name: String,
    /// Where the database stands, when the text gives one.
    pub database_span: Option<Range<usize>>,
    /// Where the name stands; for [`NameRole::Database`] that of the database.
    pub name_span: Range<usize>,
    has_alias: bool,
}

/// What a name is in a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRole {
    /// The table or view that is created, changed, dropped or written.
    Table,
    /// The name that a table gets.
    NewName,
    /// The table that `LIKE` copies.
    Like,
    /// The parent of a foreign key.
    Parent,
    /// The other table of `EXCHANGE PARTITION`.
    Exchanged,
    /// A part of a MERGE table.
    Merged,
    /// A table that a query reads: in a view, in a stored program, in `CREATE TABLE … SELECT`.
    Read,
    /// The database and table before a column's name.
    Column,
    /// A database.
    Database,
    /// A procedure, function, trigger or event.
    Stored,
}

impl NameReference {
    /// Returns database and name.
    pub fn table_name(&self) -> TableName {
        TableName::new(&self.database, &self.name)
    }

    fn span(&self) -> Range<usize> {
        self.database_span.as_ref().map_or(self.name_span.start, |span| span.start)..self.name_span.end
    }
}

impl StatementKind {
    /// Returns whether the statement begins, ends or divides a transaction.
    pub fn is_transaction_control(&self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Commit
                | Self::Rollback
                | Self::Savepoint { .. }
                | Self::RollbackTo { .. }
                | Self::ReleaseSavepoint { .. }
                | Self::XaStart { .. }
                | Self::XaEnd { .. }
                | Self::XaPrepare { .. }
                | Self::XaCommit { .. }
                | Self::XaRollback { .. }
        )
    }

    /// Returns whether the statement may change the columns, keys, name or existence of tables or databases.
    ///
    /// Temporary tables do not count.
    pub fn is_table_ddl(&self) -> bool {
        match self {
            Self::CreateTable { temporary, .. } | Self::DropTable { temporary, .. } => !temporary,
            Self::AlterTable { .. }
            | Self::TruncateTable
            | Self::RenameTable
            | Self::CreateIndex
            | Self::DropIndex
            | Self::CreateDatabase
            | Self::AlterDatabase
            | Self::DropDatabase => true,
            _ => false,
        }
    }
}

impl Statement {
    /// Takes all names of databases and tables in lower case, as a server with `lower_case_table_names = 1` does; a rewritten text
    /// has them so, too.
    #[must_use]
    pub fn lowering(mut self) -> Self {
        for name in &mut self.names {
            name.database = name.database.to_lowercase();
            if name.role != NameRole::Stored {
                name.name = name.name.to_lowercase();
            }
        }
        self.is_lowered = true;
        self
    }

    /// Returns the tables and views that the statement creates, changes, renames (both names) or drops.
    pub fn changed_tables(&self) -> impl Iterator<Item = TableName> {
        self.names
            .iter()
            .filter(|name| matches!(name.role, NameRole::Table | NameRole::NewName | NameRole::Exchanged))
            .map(NameReference::table_name)
    }

    /// Returns all tables and views that are named, the ones that are only read included.
    pub fn tables(&self) -> impl Iterator<Item = (NameRole, TableName)> {
        self.names
            .iter()
            .filter(|name| !matches!(name.role, NameRole::Column | NameRole::Database | NameRole::Stored))
            .map(|name| (name.role, name.table_name()))
    }

    /// Returns the databases that the statement creates, changes or drops.
    pub fn databases(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter(|name| name.role == NameRole::Database).map(|name| name.database.as_str())
    }

    /// Returns the old and the new name of each table that is renamed, in order: `RENAME TABLE a TO b, c TO a` is two steps.
    pub fn renames(&self) -> Vec<(TableName, TableName)> {
        let mut renames = Vec::new();
        let mut old = None;
        for name in &self.names {
            match (name.role, &old) {
                (NameRole::Table, _) => old = Some(name.table_name()),
                (NameRole::NewName, Some(old)) => renames.push((old.clone(), name.table_name())),
                _ => {}
            }
        }
        renames
    }

    /// Returns the text with the names that the route gives; `statement` is the text that was classified.
    ///
    /// To be run with the route's name of the default database as default database.
    pub fn rewrite(&self, statement: &str, route: &Route) -> String {
        if route.is_identity() && !self.is_lowered {
            return statement.to_owned();
        }
        let mut edits = Edits::default();
        for name in &self.names {
            // A name without a database is always given one: what it is looked up in differs (the default database, the child's
            // for the parent of a foreign key, the program's own in its body), and may have moved elsewhere than the table.
            let is_bare = name.database_span.is_none() && !name.database.is_empty();
            let stays = |target: &TableName| *target == name.table_name() && !is_bare && !self.is_lowered;
            match name.role {
                NameRole::Database => {
                    edits.replace(name.span(), quote::identifier(&route.target_database(&name.database)));
                }
                NameRole::Column => {
                    let database = route.target_of(&name.table_name()).database;
                    if let Some(span) =
                        name.database_span.clone().filter(|_| database != name.database || self.is_lowered)
                    {
                        edits.replace(span, quote::identifier(&database));
                    }
                }
                NameRole::Stored => {
                    let target = TableName::new(self.target_of_stored(name, route), &name.name);
                    if !stays(&target) {
                        edits.replace(name.span(), quote::table(&target));
                    }
                }
                NameRole::Read => {
                    let target = route.target_of(&name.table_name());
                    if !stays(&target) {
                        let mut text = quote::table(&target);
                        // Columns may be qualified by the table's old name.
                        if target.table != name.name && !name.has_alias {
                            text = format!("{text} AS {}", quote::identifier(&name.name));
                        }
                        edits.replace(name.span(), text);
                    }
                }
                NameRole::Table
                | NameRole::NewName
                | NameRole::Like
                | NameRole::Parent
                | NameRole::Exchanged
                | NameRole::Merged => {
                    let target = route.target_of(&name.table_name());
                    if !stays(&target) {
                        edits.replace(name.span(), quote::table(&target));
                    }
                }
            }
        }
        edits.apply(statement)
    }

    /// A trigger lives in the database of its table.
    fn target_of_stored(&self, name: &NameReference, route: &Route) -> String {
        let is_trigger = matches!(
            self.kind,
            StatementKind::StoredProgram { action: Action::Create, object: StoredObject::Trigger }
        );
        let is_own_name = self.names.first() == Some(name);
        match self
            .names
            .iter()
            .find(|other| other.role == NameRole::Table)
            .filter(|_| is_trigger && is_own_name)
        {
            Some(table) => route.target_of(&table.table_name()).database,
            None => route.target_database(&name.database),
        }
    }
}

/// Tells the kind of a statement and finds its names.
///
/// `default_database` is that of the session that ran it; empty when it had none.
///
/// # Examples
///
/// ```
/// use dts_core::data::TableName;
/// use dts_core::sql::statement::{StatementKind, classify};
///
/// let statement = classify("/* app */ ALTER TABLE t ADD INDEX (a), RENAME TO crm.u", "shop");
/// assert_eq!(statement.kind, StatementKind::AlterTable { renames: true });
/// assert_eq!(statement.renames(), [(TableName::new("shop", "t"), TableName::new("crm", "u"))]);
/// ```
pub fn classify(statement: &str, default_database: &str) -> Statement {
    classify_in(statement, default_database, Dialect::default())
}

/// Does what [`classify`] does, for a statement that ran under another `sql_mode`.
pub fn classify_in(statement: &str, default_database: &str, dialect: Dialect) -> Statement {
    let (kind, names) = match statement {
        // Nearly all statements of a row-based binary log.
        "BEGIN" => (StatementKind::Begin, Vec::new()),
        "COMMIT" => (StatementKind::Commit, Vec::new()),
        _ => parse(statement, default_database, dialect).unwrap_or((StatementKind::Unknown, Vec::new())),
    };
    Statement { kind, names, is_lowered: false }
}

/// Puts the names that the route gives into a statement; see [`Statement::rewrite`].
pub fn rewrite(statement: &str, default_database: &str, route: &Route) -> String {
    classify(statement, default_database).rewrite(statement, route)
}

/// Returns whether a statement does nothing but set a table's next `AUTO_INCREMENT` number: neither its rows nor its columns change.
pub fn sets_counter_alone(statement: &str) -> bool {
    let Some(tokens) = Tokens::new(statement, Dialect::default()) else { return false };
    let after_name = if tokens.is_punctuation(3, b'.') { 5 } else { 3 };
    let number = after_name + 1 + usize::from(tokens.is_punctuation(after_name + 1, b'='));
    tokens.are(0, &["ALTER", "TABLE"])
        && tokens.is(after_name, "AUTO_INCREMENT")
        && tokens.len() == number + 1
}

/// Returns a `CREATE TABLE … START TRANSACTION` without its last two words, which only a replica's own applier may use.
pub fn without_start_transaction(statement: &str) -> String {
    without_start_transaction_in(statement, Dialect::default())
}

/// Does what [`without_start_transaction`] does, for a statement that ran under another `sql_mode`.
pub fn without_start_transaction_in(statement: &str, dialect: Dialect) -> String {
    let Some(tokens) = Tokens::new(statement, dialect) else { return statement.to_owned() };
    let Some(at) = find_start_transaction(&tokens).filter(|_| tokens.is(0, "CREATE")) else {
        return statement.to_owned();
    };
    let mut edits = Edits::default();
    edits.replace(tokens.span(at..at + 2), "");
    edits.apply(statement).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
