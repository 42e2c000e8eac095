//! The source's binary log: does it hold every change, as rows, whole.
use crate::error::Side;
use crate::format::few;
use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::source::log_age;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix;
use crate::validator::options::EndpointKind;
use crate::validator::privileges::quoted_account;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::validator::{connection, plan};

const GROUP: &str = "binlog";
const LOSES: &str = "changes would be lost without a trace";
const NO_BINLOG: &str = "the task carries no rows, so it does not read the binary log";

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
        "The source's gtid_mode is ON. Warns when it is OFF: the binary log is then followed by file and position, which mean \
         something to this one server only. Fails in between, while the mode is being changed.",
    )
    .not_ignorable("a task cannot follow a log whose transactions only sometimes have a GTID"),
    Check::fails(
        GROUP,
        "binlog_filters",
        binlog_filters,
        "The source's binary log leaves no database out: Binlog_Do_DB and Binlog_Ignore_DB are empty. Fails otherwise.",
    )
    .not_ignorable(LOSES),
    Check::fails(
        GROUP,
        "log_slave_updates",
        log_slave_updates,
        "Where the source is itself a replica, log_slave_updates (log_replica_updates) is ON. Fails otherwise.",
    )
    .not_ignorable(LOSES),
    Check::warns(
        GROUP,
        "binlog_retention",
        binlog_retention,
        "The source keeps its binary log at least 6 hours and twice as long as the copy is estimated to take. Warns otherwise, \
         also when the oldest file that is left shows that it does not, whatever is configured. An Aliyun RDS that does not say \
         keeps 18 hours.",
    ),
    Check::warns(
        GROUP,
        "binlog_statement_sessions",
        binlog_statement_sessions,
        "No open session of the source still logs statements although binlog_format is ROW. Warns otherwise; where the server \
         does not tell the format of a session (before 8.0, or without performance_schema), warns of sessions that are idle \
         for more than an hour.",
    ),
    Check::warns(
        GROUP,
        "xa_prepared",
        xa_prepared,
        "No prepared XA transaction is open on the source. Warns otherwise: the copy starts only when they have ended.",
    ),
];

/// 5.7.6 made most of these settings changeable while running; `binlog_format` always was.
const ALWAYS: Option<ServerVersion> = Some(ServerVersion(5, 6, 0));

fn source(survey: &Survey) -> Result<Option<&ServerFacts>, Blocked> {
    let facts = survey.facts(Side::Source)?;
    Ok(survey.options.needs_binlog().then_some(facts))
}

fn log_bin(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
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
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
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
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
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
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
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
    if value.eq_ignore_ascii_case("OFF") {
        return Ok(Verdict::warn("ON", value)
            .message("the log is followed by file and position: the task cannot go on with another server after a fail-over")
            .fix(fix));
    }
    Ok(Verdict::fail_unless(value.eq_ignore_ascii_case("ON"), "ON", value)
        .trouble("the mode is being changed: only some transactions have a GTID", fix))
}

fn binlog_filters(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
    let expected = "no database is left out";
    let mut connection = survey.connect(Side::Source, stop)?;
    let sql = if facts.is_mysql_at_least(8, 2, 0) { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    let Some(row) = connection.query_row(sql, "reading the binary log's filters")? else {
        return Ok(Verdict::hidden(expected, "a binary log, see log_bin"));
    };
    let mut filters = Vec::new();
    for (name, column) in [("binlog_do_db", 2), ("binlog_ignore_db", 3)] {
        if let Some(value) = row.text(column).filter(|value| !value.is_empty()) {
            filters.push(format!("{name} = {value}"));
        }
    }
    Ok(Verdict::fail_unless(
        filters.is_empty(),
        expected,
        if filters.is_empty() { "none".to_owned() } else { filters.join("; ") },
    )
    .trouble(
        "changes of the databases left out are in no log",
        "In my.cnf under [mysqld]: remove binlog_do_db and binlog_ignore_db, then restart the server.",
    ))
}

fn log_slave_updates(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
    let name = if facts.is_mysql_at_least(8, 0, 26) { "log_replica_updates" } else { "log_slave_updates" };
    let expected = format!("{name} ON where the source is a replica");
    let is_on = facts.is_on(name).or_else(|| facts.is_on("log_slave_updates"));
    if is_on == Some(true) {
        return Ok(Verdict::pass(expected, "ON"));
    }
    let mut connection = survey.connect(Side::Source, stop)?;
    match connection::is_replica(&mut connection, facts)? {
        Some(false) => Ok(Verdict::pass(expected, "OFF, and the source is no replica")),
        None => Ok(Verdict::hidden(expected, "whether it is a replica")
            .fix("GRANT REPLICATION CLIENT, see source_privileges.")),
        Some(true) if is_on.is_none() => Ok(Verdict::hidden(expected, name)
            .fix("Use the primary as the source; or make sure that it is ON in the replica's settings.")),
        Some(true) => Ok(Verdict::fail(expected, "OFF on a replica")
            .message("what it gets from its own source is not in its binary log")
            .fix(format!(
                "In my.cnf under [mysqld]: {name} = ON, then restart; or use the primary as the source."
            ))),
    }
}

/// How long the source keeps its binary log; `None` for ever. The second is whether the server says it.
fn retention_hours(kind: EndpointKind, facts: &ServerFacts) -> (Option<f64>, bool) {
    let seconds = facts.number("binlog_expire_logs_seconds").filter(|seconds| *seconds > 0);
    let days = facts
        .variable("expire_logs_days")
        .and_then(|days| days.parse::<f64>().ok())
        .filter(|days| *days > 0.0);
    match (seconds, days) {
        (Some(seconds), _) => (Some(std::time::Duration::from_secs(seconds).as_secs_f64() / 3600.0), true),
        (None, Some(days)) => (Some(days * 24.0), true),
        // RDS removes logs by rules of its own, whatever the server's settings say.
        (None, None) if kind == EndpointKind::AliyunRds => (Some(18.0), false),
        (None, None) => (None, true),
    }
}

/// Returns how old the oldest log file is, when older ones were removed: that long the source really keeps its log.
/// `None` where nothing was removed yet, or where the source does not tell.
fn kept_hours(survey: &Survey, stop: &StopToken) -> Result<Option<f64>, Blocked> {
    match log_age::oldest(survey.source()?, stop) {
        Ok(Some(oldest)) if !oldest.is_first() => Ok(oldest.age.map(|age| age.as_secs_f64() / 3600.0)),
        Ok(_) => Ok(None),
        // The account may not, or a proxy does not pass it on: source_privileges and others say so.
        Err(error) if error.server_error().is_some() => {
            log::debug!("the age of the binary log is not known: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn binlog_retention(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const LEAST_HOURS: f64 = 6.0;
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
    let kind = survey.kind(Side::Source);
    let plan = plan::estimated(&survey.options, survey.source_objects()?, plan::write_method(survey));
    let copy_hours = plan.duration_estimated.as_secs_f64() / 3600.0;
    let wanted = LEAST_HOURS.max(2.0 * copy_hours);
    let expected = format!("at least {wanted:.0} h (the copy takes about {copy_hours:.1} h)");
    const SETTINGS: [&str; 2] = ["binlog_expire_logs_seconds", "expire_logs_days"];
    let is_told = SETTINGS.iter().any(|name| facts.variable(name).is_some());
    if !is_told && kind != EndpointKind::AliyunRds {
        return Ok(Verdict::hidden(expected, &SETTINGS.join(" and ")));
    }
    let (hours, is_said) = retention_hours(kind, facts);
    let kept = kept_hours(survey, stop)?;
    if let Some(kept) = kept.filter(|kept| *kept < wanted && hours.is_none_or(|hours| hours >= wanted)) {
        return Ok(Verdict::warn(expected, format!("the oldest file is {kept:.1} h old, and older ones are gone"))
            .message("whatever is configured, something removes them: the disk's limit, a backup's schedule, or somebody by hand")
            .fix("Find out what removes them (a PURGE in a job, the local log space of a managed instance), and let it wait until \
                  the task has ended."));
    }
    let Some(hours) = hours else { return Ok(Verdict::pass(expected, "kept until removed by hand")) };
    let actual =
        if is_said { format!("{hours:.1} h") } else { format!("not told; RDS's default is {hours:.0} h") };
    if hours >= wanted {
        return Ok(Verdict::pass(expected, actual));
    }
    let fix = match kind {
        EndpointKind::AliyunRds => {
            "In the RDS console: the instance > Backup and Restoration > Backup Settings > Local Log Retention: set Retention \
             Hours to the most that the disk allows."
                .to_owned()
        }
        _ if facts.variable("binlog_expire_logs_seconds").is_some() => {
            fix::set_variable(kind, facts, "binlog_expire_logs_seconds", "604800", ALWAYS)
        }
        _ => fix::set_variable(kind, facts, "expire_logs_days", "7", ALWAYS),
    };
    Ok(Verdict::warn(expected, actual)
        .message(
            "a task that is interrupted for longer than that cannot go on and must start from the beginning",
        )
        .fix(fix))
}

fn binlog_statement_sessions(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
    let expected = "no session that logs statements";
    let fix = "End these sessions (KILL <id>;) or restart the applications that hold them.";
    let mut connection = survey.connect(Side::Source, stop)?;
    if facts.is_mysql_at_least(8, 0, 0) && facts.is_on("performance_schema") == Some(true) {
        let sql = "SELECT t.PROCESSLIST_ID, t.PROCESSLIST_USER, v.VARIABLE_VALUE FROM \
                   performance_schema.variables_by_thread v JOIN performance_schema.threads t ON t.THREAD_ID = v.THREAD_ID \
                   WHERE v.VARIABLE_NAME = 'binlog_format' AND v.VARIABLE_VALUE <> 'ROW'";
        match connection.query(sql, "looking for sessions that log statements") {
            Ok(rows) => {
                let sessions: Vec<String> = rows
                    .iter()
                    .map(|row| format!("session {} of '{}': {}", row.string(0), row.string(1), row.string(2)))
                    .collect();
                if sessions.is_empty() {
                    return Ok(Verdict::pass(expected, "none"));
                }
                return Ok(Verdict::warn(expected, few(&sessions))
                    .message(
                        "what they write is logged as statements, and the task stops at the first of those",
                    )
                    .fix(fix)
                    .objects(sessions));
            }
            Err(error) if error.server_error().is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let sql = "SELECT ID, USER, TIME FROM information_schema.PROCESSLIST WHERE COMMAND = 'Sleep' AND TIME > 3600 ORDER BY \
               TIME DESC LIMIT 100";
    let rows = connection.query(sql, "looking for old sessions")?;
    let sessions: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "session {} of '{}': idle for {} h",
                row.string(0),
                row.string(1),
                row.u64(2).unwrap_or(0) / 3600
            )
        })
        .collect();
    if sessions.is_empty() {
        return Ok(Verdict::pass(
            expected,
            "the server does not tell; no session is idle for more than an hour",
        ));
    }
    Ok(Verdict::warn(expected, few(&sessions))
        .message("sessions keep the binlog_format that they began with; if it was changed lately, these log statements")
        .fix(fix)
        .objects(sessions))
}

fn xa_prepared(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let Some(facts) = source(survey)? else { return Ok(Verdict::not_needed(NO_BINLOG)) };
    let expected = "no prepared XA transaction";
    let mut connection = survey.connect(Side::Source, stop)?;
    let rows = match connection.query("XA RECOVER", "looking for prepared XA transactions") {
        Ok(rows) => rows,
        // 1401: what 8.0 answers to an account without XA_RECOVER_ADMIN.
        Err(error) if error.server_error().is_some_and(|e| e.is_privilege() || e.code == 1401) => {
            return Ok(Verdict::hidden(expected, "prepared XA transactions to this account")
                .fix(format!("GRANT XA_RECOVER_ADMIN ON *.* TO {};", quoted_account(&facts.current_user))));
        }
        Err(error) => return Err(error.into()),
    };
    if rows.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    Ok(Verdict::warn(expected, format!("{} prepared", rows.len()))
        .message("their rows are not visible yet and already logged: the copy waits until they have ended")
        .fix("On the source: XA RECOVER; then XA COMMIT or XA ROLLBACK of each, by the application that prepared it."))
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
