//! What the trial on the target says.
use std::collections::BTreeSet;

use super::{GROUP, REFUSED};
use crate::error::Side;
use crate::format::few;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::privileges::routine_grant;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::validator::trial::{HIDDEN, Outcome, Trial};

const STOPS: &str = "the task stops at objects that the target refuses; leave them out (objects.exclude, objects.views, \
                     objects.routines, objects.triggers, objects.events)";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "upgrade.tables",
        tables,
        "Every table, with its indexes and foreign keys, can be created on the target: it is tried without rows in a scratch \
         database that is removed again (validate.try_structure). Fails otherwise, with the target's own error. Tables of one \
         shape are tried once.",
    )
    .not_ignorable(REFUSED),
    Check::fails(
        GROUP,
        "upgrade.views",
        views,
        "Every view can be created on the target; tried in the same way. Fails otherwise, with the target's own error.",
    )
    .not_ignorable(STOPS),
    Check::fails(
        GROUP,
        "upgrade.syntax",
        syntax,
        "Every procedure, function, trigger and event is accepted by the target's grammar; tried in the same way (an event as a \
         procedure with its body, so that nothing runs). Fails otherwise, with the target's own error.",
    )
    .not_ignorable(STOPS),
];

/// Whether the report needs the structure to be tried.
pub(in crate::validator) fn needs_trial(id: &str) -> bool {
    matches!(id, "upgrade.tables" | "upgrade.views" | "upgrade.syntax")
}

/// What the trial says of one kind of objects.
fn tried(survey: &Survey, noun: &str, of: fn(&Trial) -> &Outcome) -> Result<Verdict, Blocked> {
    survey.facts(Side::Source)?;
    survey.facts(Side::Target)?;
    let trial = survey.trial()?;
    let expected = format!("the target takes every {noun}");
    if let Some((because, fix)) = &trial.not_possible {
        return Ok(Verdict::warn(expected, "not tried").message(because.clone()).fix(fix.clone()));
    }
    let outcome = of(trial);
    if !outcome.refused.is_empty() {
        let names: Vec<&str> = outcome.refused.iter().map(|refused| refused.object.as_str()).collect();
        let answers: Vec<String> =
            outcome.refused.iter().map(|refused| format!("{}: {}", refused.object, refused.answer)).collect();
        return Ok(Verdict::fail(expected, format!("refused: {}", few(&names)))
            .message(few(&answers))
            .fix("Change the definitions on the source so that the target takes them, or leave these objects out.")
            .objects(answers));
    }
    if !outcome.skipped.is_empty() {
        let reasons: BTreeSet<&str> = outcome.skipped.iter().map(|(_, reason)| *reason).collect();
        // Other reasons say what to do, or that there is nothing.
        let fix = if reasons.contains(HIDDEN) { routine_grant(survey)? } else { String::new() };
        let reasons: Vec<&str> = reasons.into_iter().collect();
        return Ok(Verdict::warn(
            expected,
            format!("{} created, {} not tried", outcome.tried, outcome.skipped.len()),
        )
        .message(reasons.join("; "))
        .fix(fix)
        .objects(outcome.skipped.iter().map(|(name, reason)| format!("{name}: {reason}"))));
    }
    Ok(Verdict::pass(expected, format!("{} created and removed again", outcome.tried)))
}

fn tables(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "table", |trial| &trial.tables)
}

fn views(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "view", |trial| &trial.views)
}

fn syntax(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "procedure, function, trigger and event", |trial| &trial.programs)
}
