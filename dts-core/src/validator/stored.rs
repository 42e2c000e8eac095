//! Views, stored programs and accounts: who they belong to, and whether the target can have them.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::data::TableName;
use crate::error::{Result as ServerResult, Side};
use crate::server::{Flavor, ServerFacts, is_system_account};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::definitions::{Definitions, words_used};
use crate::validator::finding::Verdict;
use crate::validator::fix::{count, few};
use crate::validator::options::EndpointKind;
use crate::validator::privileges::{quoted_account, target_databases};
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::validator::upgrade;
use crate::wire::Connection;

const GROUP: &str = "objects";

pub(super) const CHECKS: &[Check] = &[
    Check::warns(
        GROUP,
        "definers",
        definers,
        "The definers of views, routines, triggers and events exist on the target (or are carried), and the account may create \
         objects for them. Warns otherwise: such objects belong to the task's account there.",
    ),
    Check::fails(
        GROUP,
        "target_triggers",
        target_triggers,
        "No trigger is on a table of the target that the task writes to. Fails otherwise: it would change rows while they are \
         copied.",
    )
    .not_ignorable("rows would be changed while they are copied"),
    Check::warns(
        GROUP,
        "reserved_words",
        reserved_words,
        "Views, routines, triggers and events use no unquoted name that is a reserved word on the target and was none on the \
         source. Warns otherwise.",
    ),
    Check::fails(
        GROUP,
        "accounts",
        accounts,
        "Where accounts are carried: every one is possible on the target (its login plugin is there), and none has the name of \
         the task's own account there. Warns of those that are degraded (privileges that the target does not give) or \
         impossible; fails when the task's own account would be overwritten.",
    ),
];

/// A login.
pub(super) struct Account {
    user: String,
    host: String,
    pub(super) plugin: String,
    is_role: bool,
}

impl Account {
    pub(super) fn name(&self) -> String {
        format!("{}@{}", self.user, self.host)
    }
}

/// Lists the accounts of a server; `None` when the account may not.
fn account_list(connection: &mut Connection, facts: &ServerFacts) -> ServerResult<Option<Vec<Account>>> {
    let role = if facts.flavor == Flavor::MariaDb { "is_role" } else { "'N'" };
    // RDS hides mysql.user and shows mysql.user_view instead.
    for table in ["user", "user_view"] {
        let sql = format!("SELECT User, Host, plugin, {role} FROM mysql.{table}");
        match connection.query(sql, "reading accounts") {
            Ok(rows) => {
                let account = |row: &crate::wire::TextRow| Account {
                    user: row.string(0),
                    host: row.string(1),
                    // 5.6 leaves the plugin out where it is the old default.
                    plugin: row
                        .text(2)
                        .filter(|plugin| !plugin.is_empty())
                        .map_or_else(|| "mysql_native_password".to_owned(), String::from),
                    is_role: row.string(3) == "Y",
                };
                return Ok(Some(rows.iter().map(account).collect()));
            }
            Err(error) if error.server_error().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The accounts that a task carries: no roles, and none that belong to the server or the service.
pub(super) fn carried_accounts(
    connection: &mut Connection,
    facts: &ServerFacts,
) -> ServerResult<Option<Vec<Account>>> {
    let list = account_list(connection, facts)?;
    // `root` and the nameless account are the servers' own on both sides.
    let is_carried = |account: &Account| {
        !account.is_role && !matches!(account.user.as_str(), "root" | "") && !is_system_account(&account.user)
    };
    Ok(list.map(|list| list.into_iter().filter(is_carried).collect()))
}

/// May the target's account create objects for others?
fn may_set_definer(survey: &Survey) -> bool {
    survey.grants(Side::Target).is_ok_and(|grants| {
        ["SUPER", "SET_USER_ID", "SET_ANY_DEFINER", "SET USER"]
            .iter()
            .any(|privilege| grants.has_global(privilege))
    })
}

fn by_definer(definitions: &Definitions) -> BTreeMap<&str, usize> {
    let mut by_definer: BTreeMap<&str, usize> = BTreeMap::new();
    for program in &definitions.programs {
        *by_definer.entry(program.definer.as_str()).or_default() += 1;
    }
    by_definer
}

/// What the plan says of definers.
pub(super) fn definer_rewrites(survey: &Survey, definitions: &Definitions) -> Vec<String> {
    let Ok(target) = survey.facts(Side::Target) else { return Vec::new() };
    if may_set_definer(survey) {
        return Vec::new();
    }
    by_definer(definitions)
        .into_iter()
        .filter(|(definer, _)| *definer != target.current_user)
        .map(|(definer, objects)| {
            format!(
                "DEFINER '{definer}' of {} to '{}' (the account may not create objects for others)",
                count(objects, "object"),
                target.current_user
            )
        })
        .collect()
}

fn definers(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let definitions = survey.definitions()?;
    let target = survey.facts(Side::Target)?;
    let expected = "definers exist on the target, and the account may create objects for them";
    let by_definer = by_definer(definitions);
    let others: Vec<&str> =
        by_definer.keys().copied().filter(|definer| *definer != target.current_user).collect();
    if others.is_empty() {
        return Ok(Verdict::pass(expected, count(definitions.programs.len(), "object with a definer")));
    }
    let affected = || {
        definitions
            .programs
            .iter()
            .filter(|program| others.contains(&program.definer.as_str()))
            .map(ToString::to_string)
    };
    if !may_set_definer(survey) {
        let privilege = match target.flavor {
            Flavor::MariaDb => "SET USER",
            Flavor::MySql if target.is_mysql_at_least(8, 2, 0) => "SET_ANY_DEFINER",
            Flavor::MySql if target.is_mysql_at_least(8, 0, 0) => "SET_USER_ID",
            Flavor::MySql => "SUPER",
        };
        let fix = match survey.kind(Side::Target) {
            EndpointKind::TencentDb => {
                "TencentDB gives nobody this privilege: grant the task's account what the objects need, or create them anew by \
                 their owners after the cut-over."
                    .to_owned()
            }
            _ => format!("GRANT {privilege} ON *.* TO {};", quoted_account(&target.current_user)),
        };
        return Ok(Verdict::warn(expected, format!("other definers: {}", few(&others)))
            .message(format!(
                "the account may not create objects for others: they belong to '{}' on the target, with SQL SECURITY INVOKER",
                target.current_user
            ))
            .fix(fix)
            .objects(affected()));
    }
    if survey.options.accounts {
        return Ok(Verdict::pass(expected, "accounts are carried"));
    }
    let mut connection = survey.connect(Side::Target, stop)?;
    let Some(accounts) = account_list(&mut connection, target)? else {
        return Ok(Verdict::hidden(expected, "its accounts (mysql.user) to this account")
            .fix(format!("GRANT SELECT ON mysql.user TO {};", quoted_account(&target.current_user))));
    };
    let present: HashSet<String> = accounts.iter().map(Account::name).collect();
    let missing: Vec<&str> = others.iter().copied().filter(|definer| !present.contains(*definer)).collect();
    if missing.is_empty() {
        return Ok(Verdict::pass(expected, "all are there"));
    }
    let create: Vec<String> = missing
        .iter()
        .map(|name| format!("CREATE USER {} IDENTIFIED BY '…';", quoted_account(name)))
        .collect();
    let objects: Vec<String> = definitions
        .programs
        .iter()
        .filter(|program| missing.contains(&program.definer.as_str()))
        .map(ToString::to_string)
        .collect();
    Ok(Verdict::warn(expected, format!("missing on the target: {}", few(&missing)))
        .message("objects of a definer that does not exist cannot be used (1449)")
        .fix(format!("Set objects.accounts = true, or on the target: {}", create.join(" ")))
        .objects(objects))
}

fn target_triggers(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let route = &survey.transform()?.route;
    let target = survey.facts(Side::Target)?;
    let folds = target.lower_case_table_names() != 0;
    let fold = |name: &TableName| {
        if folds {
            TableName::new(name.database.to_lowercase(), name.table.to_lowercase())
        } else {
            name.clone()
        }
    };
    let wanted: HashSet<TableName> =
        survey.source_objects()?.tables.iter().map(|table| fold(&route.target_of(&table.name))).collect();
    let mut connection = survey.connect(Side::Target, stop)?;
    let mut found: Vec<TableName> = Vec::new();
    for database in target_databases(survey)? {
        stop.check()?;
        let sql = format!(
            "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {}",
            quote::string_literal(&database)
        );
        for row in connection.query(sql, "reading the target's triggers")? {
            if wanted.contains(&fold(&TableName::new(&database, row.string(1)))) {
                found.push(TableName::new(&database, row.string(0)));
            }
        }
    }
    let expected = "no trigger on the tables written to";
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    let drops: Vec<String> =
        found.iter().take(20).map(|name| format!("DROP TRIGGER {};", quote::table(name))).collect();
    Ok(Verdict::fail(expected, few(&found))
        .message("triggers run for copied rows as well and change them, or other tables")
        .fix(format!("On the target: {}", drops.join(" ")))
        .objects(found))
}

fn reserved_words(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let words = upgrade::words_reserved_between(survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "no unquoted name that the target reserves";
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut objects = Vec::new();
    for program in &survey.definitions()?.programs {
        let found = words_used(&program.lexemes(), &words);
        if !found.is_empty() {
            objects.push(format!("{program}: {}", found.join(", ")));
            used.extend(found);
        }
    }
    if objects.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    let used: Vec<&str> = used.into_iter().collect();
    Ok(Verdict::warn(expected, few(&used))
        .message(format!("{} may not be created on the target; upgrade.syntax tells which it really refuses", {
            count(objects.len(), "object")
        }))
        .fix("Put backticks around these names in the definitions on the source, and in the applications' SQL.")
        .objects(objects))
}

fn accounts(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let expected = "every account is possible on the target";
    if !survey.options.accounts {
        return Ok(Verdict::not_needed("accounts are not carried (objects.accounts)"));
    }
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let mut connection = survey.connect(Side::Source, stop)?;
    let Some(accounts) = carried_accounts(&mut connection, source)? else {
        return Ok(Verdict::hidden(expected, "its accounts (mysql.user, mysql.user_view) to this account")
            .fix(format!("GRANT SELECT ON mysql.* TO {};", quoted_account(&source.current_user))));
    };
    let plugins = upgrade::login_plugins(&mut survey.connect(Side::Target, stop)?)?;
    let impossible: Vec<String> = accounts
        .iter()
        .filter(|account| !plugins.contains(&account.plugin))
        .map(|account| format!("{}: impossible, the target has no {}", account.name(), account.plugin))
        .collect();
    let mut degraded = Vec::new();
    let sql = "SELECT GRANTEE, PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN ('SUPER', 'FILE', \
               'SHUTDOWN', 'SET_USER_ID')";
    let restricted = survey.kind(Side::Target) == EndpointKind::TencentDb;
    for row in connection.query(sql, "reading global privileges")? {
        let grantee = row.string(0).replace('\'', "");
        let privilege = row.string(1);
        let is_lost = restricted || (privilege == "SET_USER_ID" && target.is_mysql_at_least(8, 4, 0));
        if is_lost && accounts.iter().any(|account| account.name() == grantee) {
            degraded.push(format!("{grantee}: degraded, the target does not give {privilege}"));
        }
    }
    let is_present = accounts.iter().any(|account| account.name() == target.current_user);
    let is_same_login = source.current_user == target.current_user
        && survey.options.source.connection.password == survey.options.target.connection.password;
    if is_present && !is_same_login {
        return Ok(Verdict::fail(expected, format!("'{}' is on both sides", target.current_user))
            .message(
                "the task would overwrite the password of its own account on the target and lock itself out",
            )
            .fix("Use an account of another name for the target, or give both the same password.")
            .objects([target.current_user.clone()])
            .not_ignorable("the task would lock itself out of the target"));
    }
    if impossible.is_empty() && degraded.is_empty() {
        return Ok(Verdict::pass(expected, format!("{}, all normal", count(accounts.len(), "account"))));
    }
    let objects: Vec<String> = impossible.iter().chain(&degraded).cloned().collect();
    Ok(Verdict::warn(
        expected,
        format!("of {}: {} impossible, {} degraded", accounts.len(), impossible.len(), degraded.len()),
    )
    .message("these accounts cannot log in on the target as they do now, or can do less there")
    .fix(
        "Give them a plugin that both have, on the source: ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'; where the \
         source has none, create them on the target by hand.",
    )
    .objects(objects))
}
