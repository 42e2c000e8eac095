//! What the target's version no longer takes: found in the definitions, and by trying them on the target.
//!
//! Ids follow those of MySQL Shell's upgrade checker where it has one. A check applies when the source is older than the version
//! that made the change and the target is not. Checks of file formats have no item: a logical copy writes new files.
mod columns;
mod keys;
mod logins;
mod names;
mod texts;
mod tried;
mod words;

use std::fmt::Display;

use crate::error::Side;
use crate::format::few;
use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::validator::definitions::with_unread;
use crate::validator::finding::Verdict;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

pub(super) use tried::needs_trial;
pub(super) use words::{functions_removed_between, words_reserved_between};

const GROUP: &str = "upgrade";
const REFUSED: &str = "the target refuses to create these objects";

pub(super) const CHECKS: [&[Check]; 6] =
    [tried::CHECKS, texts::CHECKS, columns::CHECKS, keys::CHECKS, names::CHECKS, logins::CHECKS];

/// Whether a change of MySQL made in a version lies between source and target. A MariaDB as the source is older than any.
fn crosses(source: &ServerFacts, target: &ServerFacts, since: ServerVersion) -> bool {
    target.flavor == Flavor::MySql
        && target.version >= since
        && (source.flavor == Flavor::MariaDb || source.version < since)
}

/// The verdict of a check that looks at definitions.
struct Scan {
    since: ServerVersion,
    fails: bool,
    /// It looks into the texts of programs, which may be hidden.
    reads_texts: bool,
    expected: &'static str,
    message: &'static str,
    fix: String,
}

impl Scan {
    fn new(since: (u16, u16, u16), expected: &'static str) -> Scan {
        let (major, minor, patch) = since;
        let since = ServerVersion(major, minor, patch);
        Scan { since, fails: false, reads_texts: false, expected, message: "", fix: String::new() }
    }

    fn fails(mut self) -> Self {
        self.fails = true;
        self
    }

    fn of_texts(mut self) -> Self {
        self.reads_texts = true;
        self
    }

    fn trouble(mut self, message: &'static str, fix: impl Into<String>) -> Self {
        (self.message, self.fix) = (message, fix.into());
        self
    }

    /// Looks, unless the change does not lie between source and target.
    fn run<T: Display>(
        self,
        survey: &Survey,
        find: impl FnOnce() -> Result<Vec<T>, Blocked>,
    ) -> Result<Verdict, Blocked> {
        let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
        if !crosses(source, target, self.since) {
            let why = if target.flavor == Flavor::MariaDb {
                "a change of MySQL's; the target is MariaDB".to_owned()
            } else {
                format!(
                    "the change of {} does not lie between {} and {}",
                    self.since, source.version, target.version
                )
            };
            return Ok(Verdict::not_needed(why));
        }
        let found = find()?;
        let verdict = if found.is_empty() {
            Verdict::pass(self.expected, "none")
        } else if self.fails {
            Verdict::fail(self.expected, few(&found))
        } else {
            Verdict::warn(self.expected, few(&found))
        };
        let verdict = verdict.trouble(self.message, self.fix).objects(found);
        if self.reads_texts { with_unread(survey, verdict) } else { Ok(verdict) }
    }
}
