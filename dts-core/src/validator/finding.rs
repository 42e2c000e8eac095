//! What the validator found: one [`Item`] per thing looked at.
use std::fmt;

use crate::validator::plan::Plan;

/// How an item ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ItemResult {
    /// As it must be.
    Pass,
    /// May affect a database during or after the migration, but does not stop it.
    Warn,
    /// The task cannot be started until this is mended.
    Fail,
    /// Could not be looked at; the message says why. Counts as not passed.
    Blocked,
    /// Failed or warned, and the operator takes that on (`validate.ignore`).
    Ignored,
}

impl ItemResult {
    /// Returns the word used in the JSON documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ItemResult::Pass => "pass",
            ItemResult::Warn => "warn",
            ItemResult::Fail => "fail",
            ItemResult::Blocked => "blocked",
            ItemResult::Ignored => "ignored",
        }
    }

    /// 0 is the worst.
    fn rank(self) -> u8 {
        match self {
            ItemResult::Fail => 0,
            ItemResult::Blocked => 1,
            ItemResult::Warn => 2,
            ItemResult::Ignored => 3,
            ItemResult::Pass => 4,
        }
    }
}

impl fmt::Display for ItemResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that was looked at: what was expected, what was seen, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Stable name, for `validate.ignore` and scripts.
    pub id: &'static str,
    /// Which part of the list it belongs to.
    pub group: &'static str,
    /// How it ended.
    pub result: ItemResult,
    /// What should be.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// What that means, in a sentence; for a blocked item the reason.
    pub message: String,
    /// What to do: a statement or a console step to copy. Empty when there is nothing to do.
    pub fix: String,
    /// The databases, tables, views … that it is about. Not cut: may be long.
    pub objects: Vec<String>,
}

/// All items, in the order of the documentation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ValidationReport {
    /// One per thing looked at, also when it could not be looked at.
    pub items: Vec<Item>,
    /// What the task will do; `None` when the source's tables could not be read.
    pub plan: Option<Plan>,
}

impl ValidationReport {
    /// Returns [`Fail`](ItemResult::Fail) when anything failed or could not be looked at, else [`Warn`](ItemResult::Warn) when
    /// anything warned, else [`Pass`](ItemResult::Pass).
    pub fn result(&self) -> ItemResult {
        let has = |result| self.items.iter().any(|item| item.result == result);
        if self.items.is_empty() || has(ItemResult::Fail) || has(ItemResult::Blocked) {
            ItemResult::Fail
        } else if has(ItemResult::Warn) {
            ItemResult::Warn
        } else {
            ItemResult::Pass
        }
    }

    /// Returns the items that keep the task from starting: failed and blocked ones.
    pub fn failed(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| matches!(item.result, ItemResult::Fail | ItemResult::Blocked))
    }

    /// Returns the item of that id.
    pub fn item(&self, id: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    /// Returns the items grouped as they are documented, the groups with the worst item first, and within a group the worst
    /// items first.
    pub fn worst_first(&self) -> Vec<&Item> {
        let mut groups: Vec<(&'static str, u8)> = Vec::new();
        for item in &self.items {
            match groups.iter_mut().find(|(group, _)| *group == item.group) {
                Some((_, worst)) => *worst = (*worst).min(item.result.rank()),
                None => groups.push((item.group, item.result.rank())),
            }
        }
        groups.sort_by_key(|(_, worst)| *worst);
        let place = |item: &Item| groups.iter().position(|(group, _)| *group == item.group);
        let mut items: Vec<&Item> = self.items.iter().collect();
        items.sort_by_key(|item| (place(item), item.result.rank()));
        items
    }
}

/// What an item's check says, without the item's names.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) result: ItemResult,
    pub(super) expected: String,
    pub(super) actual: String,
    pub(super) message: String,
    pub(super) fix: String,
    pub(super) objects: Vec<String>,
    /// Why this failure cannot be ignored, where the item's others can.
    pub(super) not_ignorable: Option<&'static str>,
}

impl Verdict {
    fn new(result: ItemResult, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Verdict {
            result,
            expected: expected.into(),
            actual: actual.into(),
            message: String::new(),
            fix: String::new(),
            objects: Vec::new(),
            not_ignorable: None,
        }
    }

    pub(super) fn pass(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::new(ItemResult::Pass, expected, actual)
    }

    /// The task does not need what the item looks at.
    pub(super) fn not_needed(because: impl Into<String>) -> Self {
        Self::new(ItemResult::Pass, "nothing", "not looked at").message(because)
    }

    pub(super) fn warn(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::new(ItemResult::Warn, expected, actual)
    }

    pub(super) fn fail(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::new(ItemResult::Fail, expected, actual)
    }

    /// Pass or fail.
    pub(super) fn fail_unless(good: bool, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::new(if good { ItemResult::Pass } else { ItemResult::Fail }, expected, actual)
    }

    /// The server hides a setting, or cannot be asked.
    pub(super) fn hidden(expected: impl Into<String>, what: &str) -> Self {
        Self::new(ItemResult::Warn, expected, "unknown").message(format!("the server does not show {what}"))
    }

    pub(super) fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// What to do; dropped from a verdict that passes.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        if self.result != ItemResult::Pass {
            self.fix = fix.into();
        }
        self
    }

    /// What it means and what to do, unless the verdict is a pass.
    pub(super) fn trouble(mut self, message: impl Into<String>, fix: impl Into<String>) -> Self {
        if self.result != ItemResult::Pass {
            self.message = message.into();
            self.fix = fix.into();
        }
        self
    }

    pub(super) fn objects(mut self, objects: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        self.objects = objects.into_iter().map(|object| object.to_string()).collect();
        self
    }

    pub(super) fn not_ignorable(mut self, because: &'static str) -> Self {
        self.not_ignorable = Some(because);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(items: &[(&'static str, ItemResult)]) -> ValidationReport {
        let items = items.iter().map(|&(group, result)| Item {
            id: "x",
            group,
            result,
            expected: String::new(),
            actual: String::new(),
            message: String::new(),
            fix: String::new(),
            objects: Vec::new(),
        });
        ValidationReport { items: items.collect(), plan: None }
    }

    #[test]
    fn blocked_and_nothing_at_all_are_no_pass() {
        assert_eq!(report(&[("a", ItemResult::Blocked), ("a", ItemResult::Pass)]).result(), ItemResult::Fail);
        assert_eq!(report(&[]).result(), ItemResult::Fail);
        assert_eq!(report(&[("a", ItemResult::Ignored)]).result(), ItemResult::Pass);
        assert_eq!(report(&[("a", ItemResult::Ignored), ("b", ItemResult::Warn)]).result(), ItemResult::Warn);
    }

    #[test]
    fn worst_groups_come_first_and_stay_together() {
        use ItemResult::{Fail, Pass, Warn};
        let report = report(&[("a", Pass), ("b", Warn), ("c", Pass), ("c", Fail), ("b", Pass)]);
        let seen: Vec<_> = report.worst_first().iter().map(|item| (item.group, item.result)).collect();
        assert_eq!(seen, [("c", Fail), ("c", Pass), ("b", Warn), ("b", Pass), ("a", Pass)]);
    }
}
