//! Which tables take part, and under which names they appear on the target. No I/O in this room.
//!
//! - [`ObjectSelection`]: the `[objects]` patterns of a task.
//! - [`Route`]: new names.
//! - [`ObjectKinds`]: which other objects take part.
//! - [`account`]: what accounts become on the target.
//! - [`Transform`]: both, checked against each other.
pub mod account;
mod object_kinds;
mod pattern;
mod route;
mod selection;

pub use object_kinds::ObjectKinds;
pub use route::Route;
pub use selection::{ObjectSelection, is_system_database};

use crate::data::TableName;
use crate::error::{Error, Result};

/// What a task selects and how it names it on the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Which tables take part.
    pub selection: ObjectSelection,
    /// What they are called on the target.
    pub route: Route,
}

impl Transform {
    /// Joins a selection and a route.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::InvalidInput`] when the route renames something that is not selected.
    pub fn new(selection: ObjectSelection, route: Route) -> Result<Self> {
        if let Some(database) =
            route.renamed_databases().find(|database| !selection.selects_database(database))
        {
            return Err(Error::invalid("objects.rename", database, "a database that 'objects' selects"));
        }
        if let Some(table) = route.renamed_tables().find(|table| !selection.selects_table(table)) {
            return Err(Error::invalid(
                "objects.rename",
                table.to_string(),
                "a table that 'objects' selects",
            ));
        }
        Ok(Transform { selection, route })
    }

    /// Compares the names of the source without regard to case, for a source whose `lower_case_table_names` is not 0.
    #[must_use]
    pub fn ignoring_case(self) -> Self {
        Transform { selection: self.selection.ignoring_case(), route: self.route.ignoring_case() }
    }

    /// Returns the table's name on the target, or `None` when it is not selected.
    pub fn target_of(&self, table: &TableName) -> Option<TableName> {
        self.selection.selects_table(table).then(|| self.route.target_of(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    fn transform(databases: &[&str], tables: &[&str], rename: &[(&str, &str)]) -> Result<Transform> {
        Transform::new(
            ObjectSelection::new(&text(databases), &text(tables), &[])?,
            Route::new(rename.iter().copied())?,
        )
    }

    #[test]
    fn a_rule_for_something_unselected_is_refused() {
        assert!(transform(&["shop"], &[], &[("shop", "s2"), ("shop.a", "s2.b")]).is_ok());
        assert!(transform(&["shop"], &[], &[("crm", "c2")]).is_err());
        assert!(transform(&[], &["shop.a"], &[("shop.b", "shop.c")]).is_err());
        assert!(transform(&[], &["shop.a*"], &[("shop", "s2")]).is_ok());
    }

    #[test]
    fn only_selected_tables_have_a_target() {
        let transform = transform(&["shop"], &[], &[("shop", "s2")]).unwrap();
        assert_eq!(transform.target_of(&TableName::new("shop", "t")), Some(TableName::new("s2", "t")));
        assert_eq!(transform.target_of(&TableName::new("crm", "t")), None);
    }

    #[test]
    fn case_can_be_ignored() {
        let transform = transform(&["Shop"], &[], &[("Shop.T", "S2.T")]).unwrap();
        assert_eq!(transform.target_of(&TableName::new("shop", "t")), None);
        let transform = transform.ignoring_case();
        assert_eq!(transform.target_of(&TableName::new("shop", "t")), Some(TableName::new("S2", "T")));
    }
}
