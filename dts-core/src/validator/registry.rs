//! The list of all items, in the order in which they are documented and printed.
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::survey::{Blocked, Survey};
use crate::validator::{
    binlog, conflict, connection, objects, parameters, privileges, readiness, stored, tables, upgrade,
};

/// The worst that an item can say of a thing it could look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    Fail,
    Warn,
}

/// An item, as the documentation lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ItemEntry {
    /// Stable name.
    pub id: &'static str,
    /// Which part of the list it belongs to.
    pub group: &'static str,
    /// The condition, and what happens where it does not hold.
    pub about: &'static str,
    /// Why a failure cannot be ignored; `None` where it can. Warnings always can.
    pub not_ignorable: Option<&'static str>,
}

/// An item and how it is looked at.
pub(super) struct Check {
    pub(super) entry: ItemEntry,
    pub(super) severity: Severity,
    pub(super) run: fn(&Survey, &StopToken) -> Result<Verdict, Blocked>,
}

impl Check {
    pub(super) const fn fails(
        group: &'static str,
        id: &'static str,
        run: fn(&Survey, &StopToken) -> Result<Verdict, Blocked>,
        about: &'static str,
    ) -> Check {
        Check { entry: ItemEntry { id, group, about, not_ignorable: None }, severity: Severity::Fail, run }
    }

    pub(super) const fn warns(
        group: &'static str,
        id: &'static str,
        run: fn(&Survey, &StopToken) -> Result<Verdict, Blocked>,
        about: &'static str,
    ) -> Check {
        Check { severity: Severity::Warn, ..Check::fails(group, id, run, about) }
    }

    pub(super) const fn not_ignorable(mut self, because: &'static str) -> Check {
        self.entry.not_ignorable = Some(because);
        self
    }
}

pub(super) fn checks() -> impl Iterator<Item = &'static Check> {
    let others = [
        binlog::CHECKS,
        privileges::CHECKS,
        parameters::CHECKS,
        readiness::CHECKS,
        objects::CHECKS,
        conflict::CHECKS,
        tables::CHECKS,
        stored::CHECKS,
    ];
    std::iter::once(connection::CHECKS).chain(upgrade::CHECKS).chain(others).flatten()
}

/// Lists all items that a [`Validator`](crate::validator::Validator) looks at, in their order.
pub fn entries() -> impl Iterator<Item = ItemEntry> {
    checks().map(|check| check.entry)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_described() {
        let mut ids = HashSet::new();
        for entry in entries() {
            assert!(ids.insert(entry.id), "{} twice", entry.id);
            assert!(entry.about.ends_with('.'), "{}", entry.id);
        }
    }
}
