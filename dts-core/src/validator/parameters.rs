//! Settings of both servers: which must be equal, and which must be large enough.
use std::collections::BTreeSet;

use crate::error::Side;
use crate::format;
use crate::server::{ServerFacts, ServerVersion};
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix;
use crate::validator::longest_row;
use crate::validator::options::EndpointKind;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "parameters";
/// Changeable while running in all versions.
const ALWAYS: Option<ServerVersion> = Some(ServerVersion(5, 6, 0));

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "lower_case_table_names",
        lower_case_table_names,
        "lower_case_table_names is equal on both sides. Fails otherwise; warns instead when it is 1 on the source and the task \
         writes all names on the target in lower case (objects.lower_case_names).",
    ),
    Check::fails(
        GROUP,
        "max_allowed_packet",
        max_allowed_packet,
        "The target's max_allowed_packet is at least 4 MiB and more than the longest row seen (fails otherwise), at least the \
         source's, and at least twice the longest row seen and the longest average row of a selected table (warns otherwise). Rows \
         are looked at where columns hold megabytes: a few megabytes at either end of up to 20 tables.",
    ),
    Check::warns(
        GROUP,
        "character_set_server",
        character_set_server,
        "character_set_server is equal on both sides (utf8 and utf8mb3 are one). Warns otherwise: what is created later without \
         a character set of its own differs.",
    ),
    Check::warns(
        GROUP,
        "collation_server",
        collation_server,
        "collation_server is equal on both sides. Warns otherwise, for the same reason.",
    ),
    Check::warns(
        GROUP,
        "sql_mode",
        sql_mode,
        "The global sql_mode is equal on both sides, flags left out that the target no longer has. Warns otherwise: applications \
         may be refused what they were allowed.",
    ),
    Check::warns(
        GROUP,
        "time_zone",
        time_zone,
        "The global time_zone is equal on both sides; SYSTEM counts as the system's time zone. Warns otherwise: NOW() and \
         TIMESTAMP columns show other times to applications.",
    ),
    Check::warns(
        GROUP,
        "transaction_isolation",
        transaction_isolation,
        "The global transaction_isolation (tx_isolation) is equal on both sides. Warns otherwise.",
    ),
    Check::fails(
        GROUP,
        "connect_timeout",
        connect_timeout,
        "connect_timeout is at least 10 s on both sides. Fails otherwise: connections over a slow network break while they are \
         made.",
    ),
    Check::warns(
        GROUP,
        "explicit_defaults_for_timestamp",
        explicit_defaults_for_timestamp,
        "explicit_defaults_for_timestamp is equal on both sides. Warns otherwise: CREATE TABLE with a bare TIMESTAMP means \
         another column, and NULL written to a NOT NULL TIMESTAMP is refused.",
    ),
    Check::warns(
        GROUP,
        "innodb_stats_on_metadata",
        innodb_stats_on_metadata,
        "The source's innodb_stats_on_metadata is OFF. Warns otherwise: reading the list of tables makes the source count rows.",
    ),
];

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
    // Names of such a source are in lower case already, also in its views and programs.
    let lowers = survey.transform()?.route.lowers_target() && of_source == 1;
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
    Ok(verdict.message(message).fix(if of_source == 1 {
        format!("{how} Or let the task write all names in lower case: objects.lower_case_names = true.")
    } else {
        how
    }))
}

fn max_allowed_packet(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const LEAST: u64 = 4 << 20;
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let name = "max_allowed_packet";
    let Some(of_target) = target.number(name) else {
        return Ok(Verdict::hidden("at least 4 MiB and the source's", name));
    };
    let told = source.number(name);
    let of_source = told.unwrap_or(LEAST);
    let seen = longest_row::look(survey, stop)?;
    // A table of few rows has pages, not rows, of that size.
    let average = survey
        .source_objects()?
        .tables
        .iter()
        .filter(|table| table.rows_estimated >= 100)
        .max_by_key(|table| longest_row::average(table))
        .map(|table| (&table.name, longest_row::average(table)));
    let seen = seen.as_ref().map(|row| (&row.table, row.bytes));
    let row = seen.into_iter().chain(average).max_by_key(|(_, bytes)| *bytes);
    let row_bytes = row.map_or(0, |(_, bytes)| bytes);
    let wanted = LEAST.max(of_source).max(2 * row_bytes);
    let expected = format!("at least {}", format::bytes(wanted));
    let fix = fix::set_variable(survey.kind(Side::Target), target, name, &wanted.to_string(), ALWAYS);
    let actual = format::bytes(of_target);
    if of_target < LEAST {
        return Ok(Verdict::fail(expected, actual)
            .message("statements of less than 4 MiB are too small for the load")
            .fix(fix)
            .not_ignorable("rows would be refused in the middle of the load"));
    }
    if let Some((table, bytes)) = seen.filter(|(_, bytes)| of_target <= *bytes) {
        return Ok(Verdict::fail(expected, actual)
            .message(format!(
                "a row of {table} has {}: a change of it does not fit into one statement",
                format::bytes(bytes)
            ))
            .fix(fix)
            .objects([table]));
    }
    if let Some((table, bytes)) = row.filter(|(_, bytes)| of_target < 2 * bytes) {
        let what = if seen.is_some_and(|seen| seen == (table, bytes)) { "up to" } else { "on average" };
        return Ok(Verdict::warn(expected, actual)
            .message(format!(
                "rows of {table} have {what} {}; with escapes the longest may not fit",
                format::bytes(bytes)
            ))
            .fix(fix)
            .objects([table]));
    }
    if of_target < of_source {
        return Ok(Verdict::warn(expected, actual)
            .message(
                "the source may hold rows, and applications may send statements, that the target refuses",
            )
            .fix(fix));
    }
    if told.is_none() {
        return Ok(Verdict::hidden(expected, "the source's max_allowed_packet"));
    }
    Ok(Verdict::pass(expected, actual))
}

/// Compares a setting, with the names that older and newer versions give its values.
fn equal(
    survey: &Survey,
    names: &[&'static str],
    normal: impl Fn(&ServerFacts, &str) -> String,
    message: &str,
) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let value = |facts: &ServerFacts| {
        names
            .iter()
            .find_map(|name| facts.variable(name))
            .map(|value| (value.to_owned(), normal(facts, value)))
    };
    let (Some((shown, of_source)), Some((actual, of_target))) = (value(source), value(target)) else {
        return Ok(Verdict::hidden("equal on both sides", names[0]));
    };
    let expected = format!("{}, as on the source", if shown.is_empty() { "''" } else { &shown });
    if of_source == of_target {
        return Ok(Verdict::pass(expected, actual));
    }
    let name = names.iter().find(|name| target.variable(name).is_some()).unwrap_or(&names[0]);
    let value = if of_source.is_empty() { "" } else { shown.as_str() };
    Ok(Verdict::warn(expected, if actual.is_empty() { "''".to_owned() } else { actual })
        .message(message)
        .fix(fix::set_variable(survey.kind(Side::Target), target, name, value, ALWAYS)))
}

fn without_mb3(text: &str) -> String {
    text.to_ascii_lowercase().replace("utf8mb3", "utf8")
}

fn character_set_server(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    equal(
        survey,
        &["character_set_server"],
        |_, value| without_mb3(value),
        "the task writes all character sets out; databases that are created later without one get another one",
    )
}

fn collation_server(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    equal(
        survey,
        &["collation_server"],
        |_, value| without_mb3(value),
        "the task writes all collations out; databases that are created later without one compare and sort otherwise",
    )
}

fn sql_mode(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let is_gone = survey.facts(Side::Target)?.is_mysql_at_least(8, 0, 11);
    let normal = |_: &ServerFacts, value: &str| {
        let flags: BTreeSet<String> = value
            .split(',')
            .map(|flag| flag.trim().to_ascii_uppercase())
            .filter(|flag| !(flag.is_empty() || is_gone && REMOVED_SQL_MODES.contains(&flag.as_str())))
            .collect();
        flags.into_iter().collect::<Vec<_>>().join(",")
    };
    equal(
        survey,
        &["sql_mode"],
        normal,
        "the task's own sessions set what they need; applications may be refused, or allowed, what they were not before",
    )
}

fn time_zone(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let normal = |facts: &ServerFacts, value: &str| {
        let zone = if value.eq_ignore_ascii_case("SYSTEM") {
            facts.variable("system_time_zone")
        } else {
            Some(value)
        };
        match zone.unwrap_or(value).to_ascii_uppercase().as_str() {
            "UTC" | "+00:00" | "GMT" | "ETC/UTC" => "+00:00".to_owned(),
            "CST" | "+08:00" | "ASIA/SHANGHAI" | "ASIA/CHONGQING" | "PRC" => "+08:00".to_owned(),
            other => other.to_owned(),
        }
    };
    equal(
        survey,
        &["time_zone"],
        normal,
        "stored values are carried as they are; NOW() and TIMESTAMP columns show other times to applications",
    )
}

fn transaction_isolation(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    equal(
        survey,
        &["transaction_isolation", "tx_isolation"],
        |_, value| value.to_ascii_uppercase(),
        "applications that do not set it themselves see and lock other rows than before",
    )
}

fn connect_timeout(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let name = "connect_timeout";
    let expected = "at least 10 s on both sides";
    let (mut texts, mut fixes) = (Vec::new(), Vec::new());
    for side in [Side::Source, Side::Target] {
        let facts = survey.facts(side)?;
        let Some(seconds) = facts.number(name) else { return Ok(Verdict::hidden(expected, name)) };
        texts.push(format!("{side} {seconds} s"));
        if seconds < 10 {
            fixes.push(format!(
                "On the {side}: {}",
                fix::set_variable(survey.kind(side), facts, name, "10", ALWAYS)
            ));
        }
    }
    Ok(Verdict::fail_unless(fixes.is_empty(), expected, texts.join(", "))
        .trouble("connections over a slow network are closed while they are made", fixes.join("\n")))
}

fn explicit_defaults_for_timestamp(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    equal(
        survey,
        &["explicit_defaults_for_timestamp"],
        |_, value| value.to_ascii_uppercase(),
        "the task's own sessions are explicit; for applications a bare TIMESTAMP column in CREATE TABLE means something else, \
         and NULL for a NOT NULL TIMESTAMP may be refused",
    )
}

fn innodb_stats_on_metadata(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let source = survey.facts(Side::Source)?;
    let name = "innodb_stats_on_metadata";
    let Some(is_on) = source.is_on(name) else { return Ok(Verdict::hidden("OFF", name)) };
    if !is_on {
        return Ok(Verdict::pass("OFF", "OFF"));
    }
    Ok(Verdict::warn("OFF", "ON")
        .message("each look at the list of tables makes the source count rows anew")
        .fix(fix::set_variable(survey.kind(Side::Source), source, name, "OFF", ALWAYS)))
}
