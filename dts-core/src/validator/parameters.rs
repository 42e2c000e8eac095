//! Settings of both servers that decide whether and how well the task works.
use std::collections::BTreeSet;

use crate::error::Side;
use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::sql::quote::string_literal;
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::stop::StopToken;
use crate::validator::definitions::ProgramKind;
use crate::validator::finding::Verdict;
use crate::validator::fix::{self, count, few};
use crate::validator::longest_row;
use crate::validator::options::EndpointKind;
use crate::validator::plan::{self, WriteMethod, size};
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
        "lower_case_table_names is equal on both sides. Fails otherwise; warns instead when the task writes all names on the \
         target in lower case.",
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
        "local_infile",
        local_infile,
        "The target's local_infile is ON, or INSERT is asked for. Warns otherwise: rows are written by INSERT, which is slower.",
    ),
    Check::warns(
        GROUP,
        "innodb_stats_on_metadata",
        innodb_stats_on_metadata,
        "The source's innodb_stats_on_metadata is OFF. Warns otherwise: reading the list of tables makes the source count rows.",
    ),
    Check::fails(
        GROUP,
        "sql_require_primary_key",
        sql_require_primary_key,
        "Where a selected table has no primary key, the target's sql_require_primary_key is OFF, or the account may switch it \
         off for its sessions. Fails otherwise.",
    )
    .not_ignorable("the target refuses to create these tables"),
    Check::fails(
        GROUP,
        "target_replication_async",
        target_replication_async,
        "The target replicates asynchronously while data is transferred: no semi-synchronous replication, no group \
         replication. Warns otherwise; fails on a TencentDB with strong synchronous replication.",
    ),
    Check::fails(
        GROUP,
        "target_read_only",
        target_read_only,
        "The target lets the account write: read_only is OFF or the account is exempt, super_read_only and innodb_read_only \
         are OFF. Fails otherwise.",
    )
    .not_ignorable("the target refuses every change"),
    Check::warns(
        GROUP,
        "long_transactions",
        long_transactions,
        "No transaction, schema change or backup runs on the source for more than 60 s. Warns otherwise, with what runs and \
         since when: locks may wait for it, and the copy's reads make it slower.",
    ),
    Check::warns(
        GROUP,
        "event_scheduler",
        event_scheduler,
        "Where events are carried, the target's event_scheduler is OFF until the cut-over. Warns otherwise: from the moment they \
         are created they run on both servers.",
    ),
    Check::fails(
        GROUP,
        "log_bin_trust_function_creators",
        log_bin_trust_function_creators,
        "Where functions or triggers are carried and the target writes a binary log, its log_bin_trust_function_creators is ON \
         or the account has SUPER. Fails otherwise: the target refuses to create them (1418, 1419).",
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

fn max_allowed_packet(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const LEAST: u64 = 4 << 20;
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let name = "max_allowed_packet";
    let Some(of_target) = target.number(name) else {
        return Ok(Verdict::hidden("at least 4 MiB and the source's", name));
    };
    let of_source = source.number(name).unwrap_or(LEAST);
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
    let expected = format!("at least {}", size(wanted));
    let fix = fix::set_variable(survey.kind(Side::Target), target, name, &wanted.to_string(), ALWAYS);
    let actual = size(of_target);
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
                size(bytes)
            ))
            .fix(fix)
            .objects([table]));
    }
    if let Some((table, bytes)) = row.filter(|(_, bytes)| of_target < 2 * bytes) {
        let what = if seen.is_some_and(|seen| seen == (table, bytes)) { "up to" } else { "on average" };
        return Ok(Verdict::warn(expected, actual)
            .message(format!(
                "rows of {table} have {what} {}; with escapes the longest may not fit",
                size(bytes)
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

fn local_infile(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let expected = "ON on the target";
    let method = plan::write_method(survey);
    let actual = format!(
        "{}: rows are written by {}",
        target.variable("local_infile").unwrap_or("hidden"),
        match method {
            WriteMethod::LoadData => "LOAD DATA",
            WriteMethod::Insert => "INSERT",
        }
    );
    if method == WriteMethod::LoadData || survey.options.load_by_insert {
        return Ok(Verdict::pass(expected, actual));
    }
    Ok(Verdict::warn(expected, actual)
        .message("LOAD DATA takes about 0.6 of the target's work; without it the copy takes longer")
        .fix(fix::set_variable(survey.kind(Side::Target), target, "local_infile", "ON", ALWAYS)))
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

fn sql_require_primary_key(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let name = "sql_require_primary_key";
    let expected = "OFF, or every table has a primary key";
    let keyless: Vec<_> = survey
        .source_objects()?
        .tables
        .iter()
        .filter(|table| table.indexes.first().is_none_or(|index| index.name != "PRIMARY"))
        .map(|table| &table.name)
        .collect();
    // Before 8.0.13, and on MariaDB, there is no such rule.
    let value = target.variable(name).unwrap_or("OFF");
    if target.is_on(name) != Some(true) || keyless.is_empty() {
        let actual = format!("{value}, {} without a primary key", count(keyless.len(), "table"));
        return Ok(Verdict::pass(expected, actual));
    }
    let mut connection = survey.connect(Side::Target, stop)?;
    match connection.execute("SET SESSION sql_require_primary_key = 0", "trying a session setting") {
        Ok(_) => Ok(Verdict::pass(expected, "ON, and the account may switch it off for its sessions")),
        Err(error) if error.server_error().is_some() => Ok(Verdict::fail(
            expected,
            format!("ON; without a primary key: {}", few(&keyless)),
        )
        .message("the target refuses tables without a primary key, and the account may not switch that off")
        .fix(fix::set_variable(survey.kind(Side::Target), target, name, "OFF", ALWAYS))
        .objects(keyless)),
        Err(error) => Err(error.into()),
    }
}

fn target_replication_async(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let kind = survey.kind(Side::Target);
    let expected = "asynchronous replication while data is transferred";
    let found = [("rpl_semi_sync_source", "timeout"), ("rpl_semi_sync_master", "timeout")]
        .into_iter()
        .find(|(prefix, _)| target.is_on(&format!("{prefix}_enabled")) == Some(true));
    if let Some((prefix, _)) = found {
        // TencentDB's strong mode is a semi-synchronous one that never falls back.
        let waits_for_ever = target.number(&format!("{prefix}_timeout")).is_some_and(|ms| ms >= 86_400_000);
        let name = format!("{prefix}_enabled");
        let fix = match kind {
            EndpointKind::TencentDb => {
                "In the TencentDB console: the instance > Instance Details > Availability Info > Modify \
                                        Replication Mode: Async; it may be raised again after the cut-over."
                    .to_owned()
            }
            _ => fix::set_variable(kind, target, &name, "OFF", ALWAYS),
        };
        if kind == EndpointKind::TencentDb && waits_for_ever {
            return Ok(Verdict::fail(expected, "strong synchronous replication")
                .message("every commit waits for a replica without end; TencentDB requires asynchronous mode while transferring")
                .fix(fix));
        }
        return Ok(Verdict::warn(expected, format!("{name} is ON"))
            .message("each commit of the load waits for a replica; without one, for the whole timeout")
            .fix(fix));
    }
    if target.variable("group_replication_group_name").is_some_and(|name| !name.is_empty()) {
        let sql =
            "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE MEMBER_STATE = 'ONLINE'";
        let mut connection = survey.connect(Side::Target, stop)?;
        let members = match connection.query_row(sql, "counting the members of the group") {
            Ok(row) => row.and_then(|row| row.u64(0)).unwrap_or(0),
            // The group is configured, and we may not look whether it runs.
            Err(error) if error.server_error().is_some() => 1,
            Err(error) => return Err(error.into()),
        };
        if members > 0 {
            return Ok(Verdict::warn(expected, format!("group replication, {members} members"))
                .message("each commit of the load is agreed on by the group; tables without a primary key are refused")
                .fix("On the target: STOP GROUP_REPLICATION; and start it again after the load."));
        }
    }
    Ok(Verdict::pass(expected, "asynchronous"))
}

fn target_read_only(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let grants = survey.grants(Side::Target)?;
    let expected = "the account may write";
    let is_on = |name: &str| target.variable(name).is_some_and(|value| !matches!(value, "OFF" | "0"));
    let fix = match survey.kind(Side::Target) {
        EndpointKind::TencentDb => {
            "Use the primary instance's address, not that of a read-only instance or of a read-only group."
                .to_owned()
        }
        kind => fix::set_variable(kind, target, "read_only", "OFF", ALWAYS),
    };
    // MariaDB has values of read_only that nobody is exempt from.
    let is_strict = target.variable("read_only").is_some_and(|value| value.starts_with("NO_LOCK"));
    for name in ["innodb_read_only", "super_read_only"] {
        if is_on(name) {
            return Ok(Verdict::fail(expected, format!("{name} is ON"))
                .message("nobody may write")
                .fix(fix.replace("read_only", name)));
        }
    }
    let is_exempt = !is_strict
        && ["SUPER", "CONNECTION_ADMIN", "READ_ONLY ADMIN", "READ ONLY ADMIN"]
            .iter()
            .any(|privilege| grants.has_global(privilege));
    if is_on("read_only") && !is_exempt {
        return Ok(Verdict::fail(expected, "read_only is ON")
            .message("the account has no privilege to write nevertheless")
            .fix(fix));
    }
    Ok(Verdict::pass(
        expected,
        if is_on("read_only") { "read_only is ON, the account is exempt" } else { "OFF" },
    ))
}

fn long_transactions(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let expected = format!("nothing runs for more than {} s", survey.options.long_transaction.as_secs());
    let mut connection = survey.connect(Side::Source, stop)?;
    let seconds = survey.options.long_transaction.as_secs();
    let sql = format!(
        "SELECT trx_mysql_thread_id, UNIX_TIMESTAMP() - UNIX_TIMESTAMP(trx_started) FROM information_schema.INNODB_TRX WHERE \
         trx_mysql_thread_id > 0 AND UNIX_TIMESTAMP() - UNIX_TIMESTAMP(trx_started) > {seconds} ORDER BY trx_started LIMIT 100"
    );
    let mut found: Vec<String> = Vec::new();
    for row in connection.query(sql, "looking for long transactions")? {
        found.push(format!("a transaction of session {} for {} s", row.string(0), row.u64(1).unwrap_or(0)));
    }
    // Only the first words are shown: the rest may hold row content.
    let sql = format!(
        "SELECT ID, USER, TIME, SUBSTRING_INDEX(LTRIM(INFO), ' ', 2), STATE FROM information_schema.PROCESSLIST WHERE \
         TIME > {seconds} AND COMMAND = 'Query' AND INFO IS NOT NULL AND USER NOT IN ('system user', 'event_scheduler') AND \
         (INFO REGEXP {} OR INFO LIKE 'SELECT /*!40001 SQL\\_NO\\_CACHE */%') ORDER BY TIME DESC LIMIT 100",
        string_literal(
            "^[[:space:]]*(ALTER|CREATE|DROP|RENAME|TRUNCATE|OPTIMIZE|REPAIR|ANALYZE|FLUSH|LOCK|BACKUP)"
        )
    );
    for row in connection.query(sql, "looking for running schema changes")? {
        let words = row.string(3);
        let what =
            if words.starts_with("SELECT") { "a backup (SELECT of mysqldump)".to_owned() } else { words };
        found.push(format!("{what} of session {} for {} s", row.string(0), row.u64(2).unwrap_or(0)));
    }
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "nothing"));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message("short locks of the task wait for these, and others wait behind them; a schema change during the copy makes a \
                  table start again")
        .fix("Start the task when they have ended, or end them: KILL <session>;")
        .objects(found))
}

fn event_scheduler(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let expected = "OFF on the target until the cut-over, where events are carried";
    if !survey.options.events {
        return Ok(Verdict::pass(expected, "no events are carried"));
    }
    let programs = &survey.definitions()?.programs;
    let events: Vec<String> = programs
        .iter()
        .filter(|program| program.kind == ProgramKind::Event)
        .map(|program| program.name.to_string())
        .collect();
    let is_on = target.is_on("event_scheduler");
    if events.is_empty() || is_on != Some(true) {
        let actual = format!(
            "{}, {}",
            target.variable("event_scheduler").unwrap_or("hidden"),
            count(events.len(), "event")
        );
        return Ok(Verdict::pass(expected, actual));
    }
    Ok(Verdict::warn(expected, format!("ON, {}", count(events.len(), "event")))
        .message("events are created when the task is completed and run from then on; make sure that they no longer run on the \
                  source")
        .fix(fix::set_variable(survey.kind(Side::Target), target, "event_scheduler", "OFF", ALWAYS))
        .objects(events))
}

fn log_bin_trust_function_creators(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let name = "log_bin_trust_function_creators";
    let expected = "ON, where functions or triggers are carried";
    let wanted: Vec<String> = survey
        .definitions()?
        .programs
        .iter()
        .filter(|program| matches!(program.kind, ProgramKind::Function | ProgramKind::Trigger))
        .map(ToString::to_string)
        .collect();
    let actual = target.variable(name).unwrap_or("hidden");
    let is_off = target.is_on(name) == Some(false) && target.is_on("log_bin") == Some(true);
    // MySQL wants SUPER whatever else the account has; MariaDB split it.
    let is_exempt = survey.grants(Side::Target)?.has_global("SUPER")
        || (target.flavor == Flavor::MariaDb && survey.grants(Side::Target)?.has_global("BINLOG ADMIN"));
    if wanted.is_empty() || !is_off || is_exempt {
        return Ok(Verdict::pass(
            expected,
            format!("{actual}, {}", count(wanted.len(), "function or trigger")),
        ));
    }
    Ok(Verdict::fail(expected, format!("{actual}, {}", count(wanted.len(), "function or trigger")))
        .message("the target refuses to create these while it writes a binary log")
        .fix(fix::set_variable(survey.kind(Side::Target), target, name, "ON", ALWAYS))
        .objects(wanted))
}
