//! Settings of both servers that must agree or suffice.
use crate::error::Side;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::options::EndpointKind;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "parameters";

pub(super) const CHECKS: &[Check] = &[Check::fails(
    GROUP,
    "lower_case_table_names",
    lower_case_table_names,
    "lower_case_table_names is equal on both sides. Fails otherwise; warns instead when the task writes all names on the \
     target in lower case.",
)];

fn lower_case_table_names(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let name = "lower_case_table_names";
    let (Some(of_source), Some(of_target)) = (source.number(name), target.number(name)) else {
        return Ok(Verdict::hidden("equal on both sides", name));
    };
    let expected = format!("{of_source}, as on the source");
    let actual = of_target.to_string();
    if of_source == of_target {
        return Ok(Verdict::pass(expected, actual));
    }
    let lowers = survey.transform()?.route.lowers_target();
    if lowers {
        return Ok(Verdict::warn(expected, actual)
            .message("the task writes all names in lower case; applications must use them in lower case on the target")
            .fix("Look through the applications' SQL for names with capitals."));
    }
    let how = match survey.kind(Side::Target) {
        EndpointKind::TencentDb => format!(
            "In the TencentDB console set lower_case_table_names to {of_source}: for 5.7 under Parameter Settings (restarts \
             the instance), for 8.0 only while buying the instance (Table Name Case-Sensitivity)."
        ),
        _ if target.is_mysql_at_least(8, 0, 0) => format!(
            "The target must be initialised anew with lower_case_table_names = {of_source} in my.cnf: from 8.0 on it cannot \
             be changed later."
        ),
        _ => format!(
            "In the target's my.cnf under [mysqld]: lower_case_table_names = {of_source}, then restart it."
        ),
    };
    let (message, verdict) = match (of_source, of_target) {
        (_, 0) => (
            "names differ by case on the target: SQL that spells a name in another case than the table has works on the \
             source and fails on the target",
            Verdict::fail(expected, actual),
        ),
        _ => (
            "the target writes names in lower case: two names of the source that differ by case alone would become one",
            Verdict::fail(expected, actual).not_ignorable("tables could be merged into one"),
        ),
    };
    Ok(verdict.message(message).fix(how))
}
