//! Looks at everything that could go wrong, before anything is moved.
//!
//! (The comparison of rows afterwards is another stage, the checker.)
//!
//! - [`Validator`] looks, with [`ValidatorOptions`];
//! - [`ValidationReport`] is what it saw: one [`Item`] for every thing, with what was expected, what was seen and what
//!   to do.
//!
//! Everything that may be wrong with a server is an item, not an error: a server that cannot be reached fails
//! `source_connect`, and what could not be looked at because of that is *blocked*. An item never passes without having been
//! looked at. Items run several at once, and each has a deadline.
mod binlog;
mod conflict;
mod connection;
mod definitions;
mod finding;
mod fix;
mod grants;
mod longest_row;
mod objects;
mod options;
mod parallel;
mod parameters;
mod plan;
mod privileges;
mod readiness;
mod registry;
mod stored;
mod survey;
mod tables;
mod trial;
mod upgrade;

use std::sync::Arc;

pub use finding::{Item, ItemResult, ValidationReport};
pub use options::{EndpointKind, TaskType, ValidatorOptions};
pub use plan::{Plan, WriteMethod};
pub use registry::{ItemEntry, entries};

use crate::error::{Error, Result, Stage};
use crate::stop::StopToken;
use finding::Verdict;
use parallel::{Ended, Job};
use registry::Check;
use survey::{Blocked, Survey};

/// How many items are looked at at once: each may hold one connection per side.
const WIDTH: usize = 8;

/// Looks at both servers and says whether a task may start. It does not compare rows; that is the checker's work.
///
/// Nothing is changed on the source. On the target, scratch databases `__dts_scratch_…` are made to try the structure, and are
/// removed again; [`try_structure`](ValidatorOptions::try_structure) turns that off.
pub struct Validator {
    options: ValidatorOptions,
}

impl Validator {
    /// Takes what is going to be done.
    pub fn new(options: ValidatorOptions) -> Self {
        Validator { options }
    }

    /// Looks at everything and returns all items, in the order of the documentation.
    ///
    /// Opens its own connections. Takes about a second per thousand tables; at worst (both servers hang) about
    /// a dozen times [`item_deadline`](ValidatorOptions::item_deadline).
    ///
    /// # Errors
    /// Only [`InvalidInput`](crate::error::ErrorKind::InvalidInput) for an id in `ignore` that does not exist, and
    /// [`Interrupted`](crate::error::ErrorKind::Interrupted). What is wrong with a server is an item.
    pub fn run(&self, stop: &StopToken) -> Result<ValidationReport> {
        self.look(stop).map_err(|error| error.in_stage(Stage::Validate))
    }

    fn look(&self, stop: &StopToken) -> Result<ValidationReport> {
        let exists = |id: &str| registry::checks().any(|check| check.entry.id == id);
        if let Some(id) = self.options.ignore.iter().find(|id| !exists(id)) {
            return Err(Error::invalid("validate.ignore", id, "ids of items, see docs/validation.md"));
        }
        if let Some(id) = self.options.only.iter().flatten().find(|id| !exists(id)) {
            return Err(Error::invalid("--item", id, "the id of an item, see docs/validation.md"));
        }
        let wanted = |check: &&'static Check| match &self.options.only {
            None => true,
            Some(only) => only.iter().any(|id| id == check.entry.id),
        };
        let checks: Vec<&'static Check> = registry::checks().filter(wanted).collect();
        let deadline = self.options.item_deadline;
        let survey = Arc::new(Survey::new(self.options.clone()));
        let mut phases = vec![survey::CONNECTING, survey::READING, survey::DEFINING];
        if self.options.only.is_none() || checks.iter().any(|check| upgrade::needs_trial(check.entry.id)) {
            phases.push(survey::TRYING);
        }
        for steps in phases {
            let jobs = steps.iter().map(|step| {
                let survey = Arc::clone(&survey);
                Box::new(move |stop: &StopToken| step(&survey, stop)) as Job<()>
            });
            parallel::run_all(jobs.collect(), WIDTH, deadline, stop)?;
        }
        let jobs = checks.iter().map(|check| {
            let (survey, run) = (Arc::clone(&survey), check.run);
            Box::new(move |stop: &StopToken| run(&survey, stop)) as Job<_>
        });
        let ended = parallel::run_all(jobs.collect(), WIDTH, deadline, stop)?;
        let items = checks.into_iter().zip(ended).map(|(check, ended)| {
            let found = match ended {
                Ended::Done(found) => found,
                Ended::Late => {
                    Err(Blocked::new(format!("could not be looked at within {} s", deadline.as_secs_f32())))
                }
                Ended::Panicked => Err(Blocked::new("a bug of dts: please report it with the log")),
            };
            self.item(check, found)
        });
        Ok(ValidationReport { items: items.collect(), plan: plan::of(&survey) })
    }

    fn item(&self, check: &'static Check, found: Result<Verdict, Blocked>) -> Item {
        let ItemEntry { id, group, .. } = check.entry;
        let mut verdict = match found {
            Ok(verdict) => verdict,
            Err(blocked) => blocked.into_verdict(check.severity),
        };
        if verdict.result != ItemResult::Pass && self.options.ignore.iter().any(|ignored| ignored == id) {
            match verdict.not_ignorable.or(check.entry.not_ignorable) {
                None => verdict.result = ItemResult::Ignored,
                Some(_) if verdict.result == ItemResult::Warn => verdict.result = ItemResult::Ignored,
                Some(because) => {
                    verdict.message = format!("{} (cannot be ignored: {because})", verdict.message);
                }
            }
        }
        let Verdict { result, expected, actual, message, fix, objects, .. } = verdict;
        Item { id, group, result, expected, actual, message, fix, objects }
    }
}
