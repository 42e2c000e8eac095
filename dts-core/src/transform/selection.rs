//! Which tables take part.
use crate::data::TableName;
use crate::error::{Error, Result};
use crate::transform::pattern::{Pattern, lower, split_name};

/// Returns whether a database belongs to the server or to a provider and never takes part.
pub fn is_system_database(name: &str) -> bool {
    const SYSTEM: [&str; 7] = [
        "mysql",
        "information_schema",
        "performance_schema",
        "sys",
        // Where dts keeps its own progress on the target.
        "__dts__",
        // The recycle bins of TencentDB and of Alibaba RDS.
        "__cdb_recycle_bin__",
        "__recycle_bin__",
    ];
    SYSTEM.iter().any(|system| system.eq_ignore_ascii_case(name))
}

/// A pattern for tables: all of a database, or some.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TablePattern {
    database: Pattern,
    table: Pattern,
}

/// Which databases and tables a task moves.
///
/// A table takes part when its database fits one of `databases` or its name fits one of `tables`, and nothing of
/// `exclude` fits. System databases never take part. The answer for a name that does not exist yet is as good: tables that are
/// created while the task runs are judged alike.
///
/// # Examples
///
/// ```
/// use dts_core::data::TableName;
/// use dts_core::transform::ObjectSelection;
///
/// let selection = ObjectSelection::new(&["shop", "crm_*"], &["`old.db`.orders"], &["shop.tmp_*", "crm_test"])?;
/// assert!(selection.selects_table(&TableName::new("shop", "orders")));
/// assert!(!selection.selects_table(&TableName::new("shop", "tmp_1")));
/// assert!(!selection.selects_database("crm_test"));
/// assert!(selection.selects_database("old.db") && !selection.is_whole_database("old.db"));
/// assert!(ObjectSelection::new(&["mysql"], &[], &[]).is_err());
/// # Ok::<(), dts_core::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSelection {
    databases: Vec<Pattern>,
    tables: Vec<TablePattern>,
    excluded_databases: Vec<Pattern>,
    excluded_tables: Vec<TablePattern>,
    ignores_case: bool,
}

impl ObjectSelection {
    /// Reads the patterns of a task file: `*` is any characters, `?` is one, a name in backticks stands for itself.
    ///
    /// `databases` holds patterns for database names, `tables` holds `database.table`, `exclude` both (`database.*` is the
    /// same as `database`).
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] when nothing is selected, a pattern cannot be read, or a system database is
    /// asked for by name.
    pub fn new<S: AsRef<str>>(databases: &[S], tables: &[S], exclude: &[S]) -> Result<Self> {
        let mut selection = ObjectSelection {
            databases: Vec::new(),
            tables: Vec::new(),
            excluded_databases: Vec::new(),
            excluded_tables: Vec::new(),
            ignores_case: false,
        };
        for text in databases {
            let text = text.as_ref();
            let [database] = parts(text).ok_or_else(|| {
                Error::invalid(
                    "objects.databases",
                    text,
                    "a database name or pattern; write a name with a dot in backticks",
                )
            })?;
            selection.databases.push(not_system("objects.databases", text, database)?);
        }
        for text in tables {
            let text = text.as_ref();
            let [database, table] = parts(text).ok_or_else(|| {
                Error::invalid(
                    "objects.tables",
                    text,
                    "'database.table'; write a name with a dot in backticks",
                )
            })?;
            let database = not_system("objects.tables", text, database)?;
            selection.tables.push(TablePattern { database, table });
        }
        for text in exclude {
            let text = text.as_ref();
            if let Some([database]) = parts(text) {
                selection.excluded_databases.push(database);
            } else if let Some([database, table]) = parts(text) {
                if table.is_everything() {
                    selection.excluded_databases.push(database);
                } else {
                    selection.excluded_tables.push(TablePattern { database, table });
                }
            } else {
                return Err(Error::invalid(
                    "objects.exclude",
                    text,
                    "'database', 'database.*' or 'database.table'",
                ));
            }
        }
        if selection.databases.is_empty() && selection.tables.is_empty() {
            return Err(Error::invalid("objects", "empty", "at least one of 'databases' and 'tables'"));
        }
        Ok(selection)
    }

    /// Compares names without regard to case, for a source whose `lower_case_table_names` is not 0.
    #[must_use]
    pub fn ignoring_case(mut self) -> Self {
        self.ignores_case = true;
        self.databases.iter_mut().chain(&mut self.excluded_databases).for_each(Pattern::lower);
        for pattern in self.tables.iter_mut().chain(&mut self.excluded_tables) {
            pattern.database.lower();
            pattern.table.lower();
        }
        self
    }

    /// Returns whether anything in the database may take part.
    pub fn selects_database(&self, database: &str) -> bool {
        self.with_case(database, |name| {
            !is_system_database(name)
                && (matches_any(&self.databases, name)
                    || self.tables.iter().any(|p| p.database.matches(name)))
                && !matches_any(&self.excluded_databases, name)
        })
    }

    /// Returns whether the table takes part. Views are judged alike.
    pub fn selects_table(&self, table: &TableName) -> bool {
        self.with_case(&table.database, |database| {
            self.with_case(&table.table, |name| {
                let fits = |pattern: &TablePattern| {
                    pattern.database.matches(database) && pattern.table.matches(name)
                };
                !is_system_database(database)
                    && (matches_any(&self.databases, database) || self.tables.iter().any(fits))
                    && !matches_any(&self.excluded_databases, database)
                    && !self.excluded_tables.iter().any(fits)
            })
        })
    }

    /// Returns whether the database takes part as such, with what is created in it later; single tables may be excluded.
    ///
    /// `false` when only tables named by `tables` take part: then the database's own options, its routines and its events do not.
    pub fn is_whole_database(&self, database: &str) -> bool {
        self.selects_database(database) && self.with_case(database, |name| matches_any(&self.databases, name))
    }

    /// Returns the databases that the task names without a wildcard: they must exist.
    pub fn named_databases(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .databases
            .iter()
            .chain(self.tables.iter().map(|pattern| &pattern.database))
            .filter_map(Pattern::as_name)
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns the tables that the task names without a wildcard: they must exist.
    pub fn named_tables(&self) -> Vec<TableName> {
        let name = |pattern: &TablePattern| {
            Some(TableName::new(pattern.database.as_name()?, pattern.table.as_name()?))
        };
        self.tables.iter().filter_map(name).collect()
    }

    /// Returns whether databases are chosen by a pattern: then those count that the account cannot see, too.
    pub fn has_database_pattern(&self) -> bool {
        let of_tables = self.tables.iter().map(|pattern| &pattern.database);
        self.databases.iter().chain(of_tables).any(|pattern| pattern.as_name().is_none())
    }

    /// Returns whether tables of the database are chosen by a pattern, for their own names or for that of the database.
    pub fn has_table_pattern(&self, database: &str) -> bool {
        let is_pattern = |pattern: &TablePattern| {
            pattern.database.as_name().is_none() || pattern.table.as_name().is_none()
        };
        self.with_case(database, |name| {
            self.tables.iter().any(|pattern| is_pattern(pattern) && pattern.database.matches(name))
        })
    }

    fn with_case<R>(&self, name: &str, f: impl FnOnce(&str) -> R) -> R {
        if self.ignores_case { f(&lower(name)) } else { f(name) }
    }
}

fn matches_any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

/// Reads exactly `N` parts.
fn parts<const N: usize>(text: &str) -> Option<[Pattern; N]> {
    let parts: Vec<Pattern> = split_name(text)?.iter().map(|part| Pattern::parse(part)).collect();
    parts.try_into().ok()
}

fn not_system(what: &'static str, text: &str, database: Pattern) -> Result<Pattern> {
    if database.as_name().is_some_and(|name| is_system_database(&name)) {
        return Err(Error::invalid(what, text, "no system database"));
    }
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(databases: &[&str], tables: &[&str], exclude: &[&str]) -> ObjectSelection {
        ObjectSelection::new(databases, tables, exclude).unwrap()
    }

    fn table(database: &str, table: &str) -> TableName {
        TableName::new(database, table)
    }

    #[test]
    fn everything_leaves_out_what_belongs_to_the_server() {
        let all = selection(&["*"], &["*.*"], &[]);
        for system in [
            "mysql",
            "INFORMATION_SCHEMA",
            "performance_schema",
            "sys",
            "__dts__",
            "__cdb_recycle_bin__",
            "__recycle_bin__",
        ] {
            assert!(!all.selects_database(system) && !all.selects_table(&table(system, "t")), "{system}");
            assert!(!all.is_whole_database(system));
        }
        assert!(all.is_whole_database("mysql2"));
    }

    #[test]
    fn exclusion_wins() {
        let selection = selection(&["shop", "crm_*"], &["x.a"], &["shop.tmp_*", "crm_t*", "x.*", "*.junk"]);
        assert!(
            selection.selects_table(&table("shop", "a")) && !selection.selects_table(&table("shop", "tmp_a"))
        );
        assert!(!selection.selects_table(&table("shop", "junk")) && selection.is_whole_database("shop"));
        assert!(!selection.selects_database("crm_test") && !selection.selects_table(&table("crm_test", "a")));
        assert!(!selection.selects_database("x"));
        assert!(!selection.selects_database("other"));
    }

    #[test]
    fn single_tables_do_not_make_a_whole_database() {
        let selection = selection(&[], &["shop.order_*", "`a.b`.`c.*`"], &[]);
        assert!(
            selection.selects_table(&table("shop", "order_1"))
                && !selection.selects_table(&table("shop", "orders"))
        );
        assert!(selection.selects_database("shop") && !selection.is_whole_database("shop"));
        assert!(
            selection.selects_table(&table("a.b", "c.*")) && !selection.selects_table(&table("a.b", "c.d"))
        );
    }

    #[test]
    fn wrong_patterns_are_refused() {
        let none: [&str; 0] = [];
        assert!(ObjectSelection::new(&none, &none, &["a"]).is_err());
        for (databases, tables, exclude) in [
            ("a.b", "a.b", "a"),
            ("a", "a", "a"),
            ("a", "a.b.c", "a"),
            ("a", "a.b", "a.b.c"),
            ("", "a.b", "a"),
            ("a", "mysql.user", "a"),
            ("SYS", "a.b", "a"),
            ("`a", "a.b", "a"),
        ] {
            assert!(
                ObjectSelection::new(&[databases], &[tables], &[exclude]).is_err(),
                "{databases} {tables} {exclude}"
            );
        }
    }
}
