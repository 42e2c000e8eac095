//! The source's binary log: does it hold every change, as rows, whole.
use crate::error::Side;
use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix;
use crate::validator::options::EndpointKind;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "binlog";
const LOSES: &str = "changes would be lost without a trace";
const NOT_INCREMENTAL: &str = "the task carries no changes, so it does not read the binary log";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(GROUP, "log_bin", log_bin, "The source writes a binary log (log_bin ON). Fails otherwise.")
        .not_ignorable(LOSES),
    Check::fails(
        GROUP,
        "binlog_format",
        binlog_format,
        "The source's binlog_format is ROW. Fails otherwise: statements cannot be replayed exactly.",
    )
    .not_ignorable(LOSES),
    Check::fails(
        GROUP,
        "binlog_row_image",
        binlog_row_image,
        "The source's binlog_row_image is FULL, and binlog_row_value_options is empty. Fails otherwise: the rows in the log \
         would not be whole.",
    )
    .not_ignorable(LOSES),
    Check::fails(
        GROUP,
        "gtid_mode",
        gtid_mode,
        "The source's gtid_mode is ON. Fails otherwise: streaming by file and position is not built yet, so every \
         transaction must have a GTID.",
    )
    .not_ignorable("a task without GTIDs cannot be started yet"),
];

/// 5.7.6 made most of these settings changeable while running; `binlog_format` always was.
const ALWAYS: Option<ServerVersion> = Some(ServerVersion(5, 6, 0));

fn source(survey: &Survey) -> Result<Option<&ServerFacts>, Blocked> {
    let facts = survey.facts(Side::Source)?;
    Ok(survey.options.is_incremental().then_some(facts))
}

fn log_bin(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NOT_INCREMENTAL)) };
    let Some(value) = facts.variable("log_bin") else {
        return Ok(Verdict::hidden("ON", "log_bin"));
    };
    let fix = match survey.kind(Side::Source) {
        EndpointKind::AliyunRds => {
            "Use the primary instance's own address: read-only instances and proxy addresses have no usable binary log."
                .to_owned()
        }
        _ => "In my.cnf under [mysqld]: log_bin = binlog, server_id = a number of its own; then restart the server."
            .to_owned(),
    };
    Ok(Verdict::fail_unless(facts.is_on("log_bin") == Some(true), "ON", value)
        .trouble("without a binary log no change can be followed", fix))
}

fn binlog_format(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NOT_INCREMENTAL)) };
    let Some(value) = facts.variable("binlog_format") else {
        return Ok(Verdict::hidden("ROW", "binlog_format"));
    };
    let mut fix = fix::set_variable(survey.kind(Side::Source), facts, "binlog_format", "ROW", ALWAYS);
    fix.push_str(
        " Sessions that are open keep the old value: restart the applications, or wait until they reconnect.",
    );
    Ok(Verdict::fail_unless(value.eq_ignore_ascii_case("ROW"), "ROW", value).trouble(
        "changes are logged as statements, which give other results when they run elsewhere or later",
        fix,
    ))
}

fn binlog_row_image(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NOT_INCREMENTAL)) };
    let kind = survey.kind(Side::Source);
    let Some(value) = facts.variable("binlog_row_image") else {
        return Ok(Verdict::hidden("FULL", "binlog_row_image"));
    };
    if !value.eq_ignore_ascii_case("FULL") {
        let mut fix = fix::set_variable(kind, facts, "binlog_row_image", "FULL", ALWAYS);
        fix.push_str(" Sessions that are open keep the old value: restart the applications, or wait until they reconnect.");
        return Ok(Verdict::fail("FULL", value)
            .message("the log leaves columns out, so that rows cannot be rebuilt from it")
            .fix(fix));
    }
    if let Some(options) = facts.variable("binlog_row_value_options").filter(|options| !options.is_empty()) {
        return Ok(Verdict::fail("FULL, no binlog_row_value_options", format!("FULL, {options}"))
            .message("JSON columns are logged as differences only")
            .fix(fix::set_variable(kind, facts, "binlog_row_value_options", "", ALWAYS)));
    }
    Ok(Verdict::pass("FULL", value))
}

fn gtid_mode(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NOT_INCREMENTAL)) };
    if facts.flavor == Flavor::MariaDb {
        return Ok(Verdict::fail("ON", "MariaDB has GTIDs of another kind")
            .message("following the changes of a MariaDB source is not built yet")
            .fix("Set task.type = \"full\" while nobody writes on the source."));
    }
    let Some(value) = facts.variable("gtid_mode") else {
        return Ok(Verdict::hidden("ON", "gtid_mode"));
    };
    let fix = match survey.kind(Side::Source) {
        EndpointKind::AliyunRds => {
            "RDS for MySQL 5.6 and later has GTIDs on: use the primary instance's own address, or upgrade the instance's minor \
             version in the console."
                .to_owned()
        }
        _ if facts.is_mysql_at_least(5, 7, 6) => gtid_statements(value),
        _ => "In my.cnf under [mysqld]: gtid_mode = ON, enforce_gtid_consistency = ON, log_slave_updates = ON, log_bin = \
              binlog; then restart the server."
            .to_owned(),
    };
    Ok(Verdict::fail_unless(value.eq_ignore_ascii_case("ON"), "ON", value).trouble(
        "not every transaction has a GTID, and streaming by file and position is not built yet",
        fix,
    ))
}

/// The manual's steps from the present mode on; each may be run while the server is in use.
fn gtid_statements(mode: &str) -> String {
    const STEPS: [&str; 4] = [
        "SET GLOBAL enforce_gtid_consistency = ON;",
        "SET GLOBAL gtid_mode = OFF_PERMISSIVE;",
        "SET GLOBAL gtid_mode = ON_PERMISSIVE;",
        "SET GLOBAL gtid_mode = ON;",
    ];
    let done = match mode.to_ascii_uppercase().as_str() {
        "OFF_PERMISSIVE" => 2,
        "ON_PERMISSIVE" => 3,
        _ => 1,
    };
    let steps: Vec<&str> = std::iter::once(STEPS[0]).chain(STEPS[done..].iter().copied()).collect();
    format!(
        "{} Before the last one wait until SHOW STATUS LIKE 'ONGOING_ANONYMOUS_TRANSACTION_COUNT' is 0. And in my.cnf under \
         [mysqld]: gtid_mode = ON, enforce_gtid_consistency = ON",
        steps.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::gtid_statements;

    #[test]
    fn steps_begin_at_the_present_mode() {
        assert!(gtid_statements("OFF").starts_with(
            "SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = OFF_PERMISSIVE; SET GLOBAL gtid_mode = ON_"
        ));
        assert!(
            gtid_statements("ON_PERMISSIVE")
                .starts_with("SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = ON; Before")
        );
    }
}
