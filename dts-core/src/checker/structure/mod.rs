//! Is the structure of both sides the same?
//!
//! Rows may be equal while an index is missing, so this is a section of its own beside the comparison of rows. Tables are
//! compared by what both servers print of them, views, stored programs, triggers and events likewise, after what is
//! knowingly different was taken out: storage engines, definers, display widths, row formats, two names of one character
//! set, names that the task changes.
//!
//! - Triggers and events are created when the task is completed. Until then they are *not yet* there, and one that is there
//!   nevertheless is a difference: it would do a second time what comes as changes of rows.
//! - The next AUTO_INCREMENT value of the target follows the rows. Numbers that the source has given away without a row (a
//!   statement that was rolled back, INSERT IGNORE) are caught up when the task is completed: until then a smaller value is
//!   *not yet* the source's, a larger one is a difference.
//! - How a server prints a view depends on its version. Where versions differ and the texts do too, that is *unclear*: it is
//!   told, and does not count as a difference. So are tables between MySQL and MariaDB.
//! - Something in a database of the task that only the target has is told, and does not count.
mod normal;
mod object;
mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use super::alignment::{Alignment, AppliedPosition};
use crate::data::TableName;
use crate::error::{Result, Stage};
use crate::server::{ServerFacts, catalog};
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::transform::{ObjectKinds, Transform};
use crate::wire::Connection;

/// A structure that differs while it is being changed is looked at so many times.
const LOOKS: u32 = 3;

/// What the comparison of the structure found.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct StructureReport {
    /// Tables, views, stored programs, triggers and events that were compared.
    pub compared: u64,
    /// What is different.
    pub differences: Vec<StructureDifference>,
    /// What comes when the task is completed.
    pub not_yet: Vec<String>,
    /// What is printed differently and may yet be the same.
    pub unclear: Vec<StructureDifference>,
    /// What only the target has, in the databases of the task.
    pub only_on_target: Vec<String>,
}

/// Something that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct StructureDifference {
    /// The object, for example `table shop.orders`, by its name on the source.
    pub object: String,
    /// Which part of it, for example `index k_1`; empty for the whole.
    pub part: String,
    /// What the source has; `None` for nothing.
    pub source: Option<String>,
    /// What the target has; `None` for nothing.
    pub target: Option<String>,
}

impl StructureReport {
    fn differ(&mut self, object: &str, part: impl Into<String>, source: Option<&str>, target: Option<&str>) {
        self.differences.push(difference(object, part, source, target));
    }
}

fn difference(
    object: &str,
    part: impl Into<String>,
    source: Option<&str>,
    target: Option<&str>,
) -> StructureDifference {
    StructureDifference {
        object: object.to_owned(),
        part: part.into(),
        source: source.map(str::to_owned),
        target: target.map(str::to_owned),
    }
}

/// Compares the structure of both sides; reads only.
pub struct StructureChecker<'a> {
    /// The source.
    pub source: &'a SourceEndpoint,
    /// The target.
    pub target: &'a TargetEndpoint,
    /// Which objects take part, and their names on the target.
    pub transform: &'a Transform,
    /// Which kinds besides tables take part.
    pub objects: ObjectKinds,
    /// The task has ended: triggers, events and AUTO_INCREMENT values are expected, too.
    pub is_completed: bool,
    /// Only these tables, by their names on the source, and no other objects.
    pub tables: Option<&'a [TableName]>,
    /// What of the source's changes is applied.
    pub applied: &'a dyn AppliedPosition,
    /// How long it may stand still.
    pub patience: Duration,
}

/// Both ends of one look.
struct Look<'a> {
    checker: &'a StructureChecker<'a>,
    source: Connection,
    target: Connection,
    report: StructureReport,
}

impl StructureChecker<'_> {
    /// Compares.
    ///
    /// A difference that a schema change under way may explain is looked at again when the target has what the source had.
    ///
    /// # Errors
    /// What a server answered; [`Interrupted`](crate::error::ErrorKind::Interrupted).
    pub fn run(&self, stop: &StopToken) -> Result<StructureReport> {
        self.run_staged(stop).map_err(|error| error.in_stage(Stage::Check))
    }

    fn run_staged(&self, stop: &StopToken) -> Result<StructureReport> {
        let alignment = Alignment::new(self.applied, self.patience)?;
        let mut looks_left = LOOKS;
        loop {
            let report = self.look(stop)?;
            looks_left -= 1;
            if report.differences.is_empty() || looks_left == 0 || !alignment.is_live() {
                return Ok(report);
            }
            let high = alignment.source_position(self.source.facts(), &mut self.source.control(stop)?)?;
            alignment.wait(high.as_ref(), stop)?;
        }
    }

    fn look(&self, stop: &StopToken) -> Result<StructureReport> {
        let mut look = Look {
            checker: self,
            source: self.source.control(stop)?,
            target: self.target.control(stop)?,
            report: StructureReport::default(),
        };
        let mut databases = catalog::databases(&mut look.source)?;
        databases.retain(|database| self.transform.selection.selects_database(&database.name));
        for database in &databases {
            stop.check()?;
            look.tables(&database.name, stop)?;
            if self.tables.is_none() {
                look.objects(&database.name, stop)?;
                look.defaults(database)?;
            }
        }
        Ok(look.report)
    }

    /// Returns whether both servers print alike.
    fn same_version(&self) -> bool {
        let of = |facts: &ServerFacts| (facts.flavor, facts.version.0, facts.version.1);
        of(self.source.facts()) == of(self.target.facts())
    }

    fn same_flavor(&self) -> bool {
        self.source.facts().flavor == self.target.facts().flavor
    }
}

impl Look<'_> {
    /// Compares the defaults of a database.
    fn defaults(&mut self, source: &catalog::Database) -> Result<()> {
        let checker = self.checker;
        if !checker.transform.selection.is_whole_database(&source.name) {
            return Ok(());
        }
        let name = checker.transform.route.target_database(&source.name);
        let target = catalog::databases(&mut self.target)?.into_iter().find(|found| found.name == name);
        let names = table::charset_names(checker.target.facts());
        let wanted = names.collation(&source.collation);
        let found = target.map(|target| target.collation);
        if found.as_deref() != Some(&wanted) {
            let object = format!("database {}", source.name);
            self.report.differ(&object, "collation", Some(&source.collation), found.as_deref());
        }
        Ok(())
    }

    fn only_on_target(&mut self, kind: &str, names: BTreeSet<TableName>) {
        self.report.only_on_target.extend(names.into_iter().map(|name| format!("{kind} {name}")));
    }
}
