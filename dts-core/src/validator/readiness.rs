//! What the servers let be done, and what they are doing right now.
use crate::data::ObjectKind;
use crate::error::Side;
use crate::format::{counted, few};
use crate::server::{Flavor, ServerVersion};
use crate::sql::quote::string_literal;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix;
use crate::validator::options::EndpointKind;
use crate::validator::plan::{self, WriteMethod};
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "parameters";
/// Changeable while running in all versions.
const ALWAYS: Option<ServerVersion> = Some(ServerVersion(5, 6, 0));
const ASYNC_IN_CONSOLE: &str = "In the TencentDB console: the instance > Instance Details > Availability Info > Modify Replication \
                                Mode: Async; it may be raised again after the cut-over.";

pub(super) const CHECKS: &[Check] = &[
    Check::warns(
        GROUP,
        "local_infile",
        local_infile,
        "The target's local_infile is ON, or INSERT is asked for. Warns otherwise: rows are written by INSERT, which is slower.",
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
    )
    .not_ignorable("the task stops at functions and triggers that the target refuses"),
];

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
    if target.variable(name).is_none() && target.is_mysql_at_least(8, 0, 13) && !keyless.is_empty() {
        return Ok(Verdict::hidden(expected, name).objects(keyless));
    }
    // Before 8.0.13, and on MariaDB, there is no such rule.
    let value = target.variable(name).unwrap_or("OFF");
    if target.is_on(name) != Some(true) || keyless.is_empty() {
        let actual = format!("{value}, {} without a primary key", counted(keyless.len(), "table", "tables"));
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
            EndpointKind::TencentDb => ASYNC_IN_CONSOLE.to_owned(),
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
            return Ok(Verdict::warn(
                expected,
                format!("group replication, {}", counted(members, "member", "members")),
            )
            .message(
                "each commit of the load is agreed on by the group; tables without a primary key are refused",
            )
            .fix("On the target: STOP GROUP_REPLICATION; and start it again after the load."));
        }
    }
    // Elsewhere the settings come and go with a plugin. TencentDB always has it, but may not show its settings.
    let is_told = ["source", "master"]
        .iter()
        .any(|end| target.variable(&format!("rpl_semi_sync_{end}_enabled")).is_some());
    if kind == EndpointKind::TencentDb && !is_told {
        return Ok(Verdict::hidden(expected, "how it replicates").fix(ASYNC_IN_CONSOLE));
    }
    Ok(Verdict::pass(expected, "asynchronous"))
}

fn target_read_only(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let grants = survey.grants(Side::Target)?;
    let expected = "the account may write";
    let is_on = |name: &str| target.variable(name).is_some_and(|value| !matches!(value, "OFF" | "0"));
    // MySQL has super_read_only since 5.7.8, MariaDB has no such thing.
    let all = if target.is_mysql_at_least(5, 7, 8) { 3 } else { 2 };
    let names = ["read_only", "innodb_read_only", "super_read_only"].into_iter().take(all);
    if let Some(name) = names.into_iter().find(|name| target.variable(name).is_none()) {
        return Ok(Verdict::hidden(expected, name));
    }
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
        .filter(|program| program.kind == ObjectKind::Event)
        .map(|program| program.name.to_string())
        .collect();
    let is_on = target.is_on("event_scheduler");
    if is_on.is_none() && !events.is_empty() {
        return Ok(Verdict::hidden(expected, "event_scheduler").objects(events));
    }
    if events.is_empty() || is_on != Some(true) {
        let actual = format!(
            "{}, {}",
            target.variable("event_scheduler").unwrap_or("hidden"),
            counted(events.len(), "event", "events")
        );
        return Ok(Verdict::pass(expected, actual));
    }
    Ok(Verdict::warn(expected, format!("ON, {}", counted(events.len(), "event", "events")))
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
        .filter(|program| matches!(program.kind, ObjectKind::Function | ObjectKind::Trigger))
        .map(ToString::to_string)
        .collect();
    let actual = target.variable(name).unwrap_or("hidden");
    // A server that hides whether it writes a binary log most likely does.
    let may_log = target.is_on("log_bin") != Some(false);
    let is_off = target.is_on(name) == Some(false) && may_log;
    // MySQL wants SUPER whatever else the account has; MariaDB split it.
    let is_exempt = survey.grants(Side::Target)?.has_global("SUPER")
        || (target.flavor == Flavor::MariaDb && survey.grants(Side::Target)?.has_global("BINLOG ADMIN"));
    if target.variable(name).is_none() && may_log && !wanted.is_empty() && !is_exempt {
        return Ok(Verdict::hidden(expected, name).objects(wanted));
    }
    if wanted.is_empty() || !is_off || is_exempt {
        return Ok(Verdict::pass(
            expected,
            format!("{actual}, {}", counted(wanted.len(), "function or trigger", "functions or triggers")),
        ));
    }
    Ok(Verdict::fail(
        expected,
        format!("{actual}, {}", counted(wanted.len(), "function or trigger", "functions or triggers")),
    )
    .message("the target refuses to create these while it writes a binary log")
    .fix(fix::set_variable(survey.kind(Side::Target), target, name, "ON", ALWAYS))
    .objects(wanted))
}
