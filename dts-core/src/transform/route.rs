//! Names on the target.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::data::TableName;
use crate::error::{Error, Result};
use crate::transform::pattern::{Pattern, lower, split_name};
use crate::transform::selection::is_system_database;

/// The most characters of a name.
const NAME_LENGTH_MAX: usize = 64;

/// What databases and tables are called on the target.
///
/// A rule for a table wins over the rule for its database. What no rule names keeps its name.
///
/// # Examples
///
/// ```
/// use dts_core::data::TableName;
/// use dts_core::transform::Route;
///
/// let route = Route::new([("shop", "shop_new"), ("shop.orders", "shop_new.orders2")])?;
/// assert_eq!(route.target_of(&TableName::new("shop", "orders")), TableName::new("shop_new", "orders2"));
/// assert_eq!(route.target_of(&TableName::new("shop", "items")), TableName::new("shop_new", "items"));
/// assert_eq!(route.target_database("crm"), "crm");
/// assert!(Route::new([("a", "x"), ("b", "x")]).is_err());
/// # Ok::<(), dts_core::error::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Route {
    databases: BTreeMap<String, String>,
    tables: BTreeMap<TableName, TableName>,
    lowers_target: bool,
    ignores_case: bool,
}

impl Route {
    /// Returns the route that keeps every name.
    pub fn identity() -> Self {
        Route::default()
    }

    /// Reads the rules of a task file: `database` to `database`, `database.table` to `database.table`; a name with a dot is
    /// written in backticks.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] when a rule cannot be read (patterns are not allowed here), leads to a system
    /// database, or two rules lead to the same name.
    pub fn new<S, T>(rules: impl IntoIterator<Item = (S, T)>) -> Result<Self>
    where
        S: AsRef<str>,
        T: AsRef<str>,
    {
        let mut route = Route::default();
        for (from, to) in rules {
            let (from, to) = (from.as_ref(), to.as_ref());
            let wrong = |expected| Error::invalid("objects.rename", format!("{from} = {to}"), expected);
            let names = (plain_names(from), plain_names(to));
            let (Some(source), Some(target)) = names else {
                return Err(wrong("plain names without '*' and '?'; write a name with a dot in backticks"));
            };
            if target.iter().any(|name| name.chars().count() > NAME_LENGTH_MAX) {
                return Err(wrong("names of at most 64 characters"));
            }
            if is_system_database(&source[0]) || is_system_database(&target[0]) {
                return Err(wrong("no system database"));
            }
            let is_repeated = match (source.as_slice(), target.as_slice()) {
                ([source], [target]) => route.databases.insert(source.clone(), target.clone()).is_some(),
                ([database, table], [target_database, target_table]) => route
                    .tables
                    .insert(TableName::new(database, table), TableName::new(target_database, target_table))
                    .is_some(),
                _ => return Err(wrong("'database' = 'database' or 'database.table' = 'database.table'")),
            };
            if is_repeated {
                return Err(wrong("one rule for each name"));
            }
        }
        route.check_rules()?;
        Ok(route)
    }

    /// Writes all names on the target in lower case, for a target whose `lower_case_table_names` is 1.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] when two rules lead to the same name then.
    pub fn lowering_target(mut self) -> Result<Self> {
        self.lowers_target = true;
        self.check_rules()?;
        Ok(self)
    }

    /// Compares the names of the source without regard to case, for a source whose `lower_case_table_names` is not 0.
    #[must_use]
    pub fn ignoring_case(mut self) -> Self {
        self.ignores_case = true;
        self.databases = self.databases.iter().map(|(from, to)| (lower(from), to.clone())).collect();
        self.tables = self.tables.iter().map(|(from, to)| (lower_table(from), to.clone())).collect();
        self
    }

    /// Returns whether every name stays as it is.
    pub fn is_identity(&self) -> bool {
        self.databases.is_empty() && self.tables.is_empty() && !self.lowers_target
    }

    /// Returns whether all names on the target are written in lower case.
    pub fn lowers_target(&self) -> bool {
        self.lowers_target
    }

    /// Returns the database's name on the target.
    pub fn target_database(&self, database: &str) -> String {
        let target = if self.ignores_case {
            self.databases.get(&lower(database))
        } else {
            self.databases.get(database)
        };
        self.finish(target.map_or(database, String::as_str))
    }

    /// Returns the table's name on the target.
    pub fn target_of(&self, table: &TableName) -> TableName {
        let rule =
            if self.ignores_case { self.tables.get(&lower_table(table)) } else { self.tables.get(table) };
        match rule {
            Some(target) => TableName::new(self.finish(&target.database), self.finish(&target.table)),
            None => TableName::new(self.target_database(&table.database), self.finish(&table.table)),
        }
    }

    /// Returns the databases on the target that tables of this database go to, the ones that only a rule for a table leads to included.
    pub fn target_databases(&self, database: &str) -> BTreeSet<String> {
        let of_tables = self.tables.iter().filter(|(from, _)| {
            from.database == database || (self.ignores_case && from.database == lower(database))
        });
        of_tables
            .map(|(_, target)| self.finish(&target.database))
            .chain([self.target_database(database)])
            .collect()
    }

    /// Returns the databases that have a rule of their own.
    pub fn renamed_databases(&self) -> impl Iterator<Item = &str> {
        self.databases.keys().map(String::as_str)
    }

    /// Returns the tables that have a rule of their own.
    pub fn renamed_tables(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }

    /// Checks that no two of the tables that really exist go to the same name.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] naming the first two that do.
    pub fn check_collisions<'a>(&self, tables: impl IntoIterator<Item = &'a TableName>) -> Result<()> {
        let mut sources: HashMap<TableName, &TableName> = HashMap::new();
        for table in tables {
            let target = self.target_of(table);
            if let Some(other) = sources.insert(target.clone(), table)
                && other != table
            {
                return Err(collision(&other.to_string(), &table.to_string(), &target.to_string()));
            }
        }
        Ok(())
    }

    fn finish(&self, name: &str) -> String {
        if self.lowers_target { lower(name) } else { name.to_owned() }
    }

    fn check_rules(&self) -> Result<()> {
        let mut databases: HashMap<String, &str> = HashMap::new();
        for from in self.databases.keys() {
            let target = self.target_database(from);
            if let Some(other) = databases.insert(target.clone(), from) {
                return Err(collision(other, from, &target));
            }
        }
        self.check_collisions(self.tables.keys())
    }
}

fn collision(one: &str, other: &str, target: &str) -> Error {
    Error::invalid(
        "objects.rename",
        format!("{one} and {other} to {target}"),
        "a target name of its own for each source name",
    )
}

fn lower_table(table: &TableName) -> TableName {
    TableName::new(lower(&table.database), lower(&table.table))
}

fn plain_names(text: &str) -> Option<Vec<String>> {
    split_name(text)?.iter().map(|part| Pattern::parse(part).as_name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(database: &str, table: &str) -> TableName {
        TableName::new(database, table)
    }

    #[test]
    fn rules_for_tables_win() {
        let route = Route::new([("shop", "s2"), ("shop.a", "x.b"), ("`my.db`.`t.1`", "m.t")]).unwrap();
        assert_eq!(route.target_of(&table("shop", "a")), table("x", "b"));
        assert_eq!(route.target_of(&table("shop", "c")), table("s2", "c"));
        assert_eq!(route.target_of(&table("my.db", "t.1")), table("m", "t"));
        assert_eq!(route.target_databases("shop").into_iter().collect::<Vec<_>>(), ["s2", "x"]);
        assert!(!route.is_identity() && Route::identity().is_identity());
    }

    #[test]
    fn names_may_be_swapped() {
        let route = Route::new([("a", "b"), ("b", "a")]).unwrap();
        assert_eq!((route.target_database("a"), route.target_database("b")), ("b".into(), "a".into()));
    }

    #[test]
    fn the_target_can_be_lower_case() {
        let route = Route::new([("Shop", "New")]).unwrap().lowering_target().unwrap();
        assert_eq!(route.target_of(&table("Shop", "Orders")), table("new", "orders"));
        assert_eq!(route.target_of(&table("İx", "É")), table("İx", "é"));
        assert!(Route::new([("a", "X"), ("b", "x")]).unwrap().lowering_target().is_err());
    }

    #[test]
    fn wrong_rules_are_refused() {
        for rules in [
            vec![("a", "x"), ("b", "x")],
            vec![("a.t", "x.t"), ("b.t", "x.t")],
            vec![("a", "x"), ("`a`", "y")],
            vec![("a*", "x")],
            vec![("a", "x?")],
            vec![("a.t", "x")],
            vec![("a", "x.t")],
            vec![("a.t.u", "x.t.u")],
            vec![("a", "")],
            vec![("a", "mysql")],
            vec![("sys", "a")],
            vec![("a", "a2345678901234567890123456789012345678901234567890123456789012345")],
        ] {
            assert!(Route::new(rules.clone()).is_err(), "{rules:?}");
        }
    }

    #[test]
    fn collisions_of_real_tables_are_found() {
        let route = Route::new([("shop", "crm")]).unwrap();
        let tables = [table("shop", "a"), table("crm", "b")];
        route.check_collisions(&tables).unwrap();
        let tables = [table("shop", "a"), table("crm", "a")];
        assert!(
            route.check_collisions(&tables).unwrap_err().to_string().contains("shop.a and crm.a to crm.a")
        );
    }
}
