//! Views, stored programs and accounts: who they belong to, and whether the target can have them.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::data::{Account, AccountDefinition, TableName};
use crate::error::{ErrorKind, Result as ServerResult, Side};
use crate::format::{counted, few};
use crate::server::{Flavor, accounts as catalog, is_system_account};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::transform::account::AccountFate;
use crate::validator::accounts;
use crate::validator::conflict::{self, Folding, Sort};
use crate::validator::definitions::{Definitions, with_unread, words_used};
use crate::validator::finding::Verdict;
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
         objects for them. Warns otherwise: such objects belong to the task's account there, or cannot be used. Accounts of the \
         servers, root and accounts of other databases are not carried (objects.accounts).",
    ),
    Check::fails(
        GROUP,
        "target_triggers",
        target_triggers,
        "No trigger is on a table of the target that the task writes to. Fails otherwise: it would change rows while they are \
         copied. Those that this very task made at its cut-over are recognised and pass.",
    )
    .not_ignorable("rows would be changed while they are copied"),
    Check::warns(
        GROUP,
        "reserved_words",
        reserved_words,
        "Views, routines, triggers and events use no unquoted name that is a reserved word on the target and was none on the \
         source. Warns otherwise, and when the text of one is hidden.",
    ),
];

/// Lists the accounts of a server; `None` when the account may not.
fn account_list(connection: &mut Connection) -> ServerResult<Option<Vec<AccountDefinition>>> {
    match catalog::accounts(connection) {
        Ok(catalog) => Ok(Some(catalog.accounts)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An account as `CURRENT_USER()` and definers are printed.
pub(super) fn name_of(account: &Account) -> String {
    format!("{}@{}", account.user, account.host)
}

/// The accounts whose passwords a task carries: none that belong to the server or the service.
pub(super) fn carried_accounts(connection: &mut Connection) -> ServerResult<Option<Vec<AccountDefinition>>> {
    // `root` and the nameless account are the servers' own on both sides.
    let is_carried = |definition: &AccountDefinition| {
        let user = definition.account.user.as_str();
        !matches!(user, "root" | "") && !is_system_account(user)
    };
    Ok(account_list(connection)?.map(|list| list.into_iter().filter(is_carried).collect()))
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
                counted(objects, "object", "objects"),
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
        return Ok(Verdict::pass(
            expected,
            counted(definitions.programs.len(), "object with a definer", "objects with a definer"),
        ));
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
    let mut connection = survey.connect(Side::Target, stop)?;
    let Some(there) = account_list(&mut connection)? else {
        return Ok(Verdict::hidden(expected, "its accounts (mysql.user) to this account")
            .fix(format!("GRANT SELECT ON mysql.user TO {};", quoted_account(&target.current_user))));
    };
    let mut present: HashSet<String> = there.iter().map(|definition| name_of(&definition.account)).collect();
    if survey.options.accounts {
        let Some(fates) = accounts::fates(survey, stop)? else {
            return Ok(Verdict::hidden(expected, "which accounts the source has, see accounts_readable"));
        };
        // Not all are: those of the servers, root and those of other databases stay behind.
        let is_carried = |fate: &AccountFate| matches!(fate, AccountFate::Carried(_));
        present
            .extend(fates.iter().filter(|(_, fate)| is_carried(fate)).map(|(account, _)| name_of(account)));
    }
    let missing: Vec<&str> = others.iter().copied().filter(|definer| !present.contains(*definer)).collect();
    if missing.is_empty() {
        return Ok(Verdict::pass(
            expected,
            if survey.options.accounts { "all are there or carried" } else { "all are there" },
        ));
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
        .fix(format!(
            "{}n the target: {}",
            if survey.options.accounts { "O" } else { "Set objects.accounts = true, or o" },
            create.join(" ")
        ))
        .objects(objects))
}

fn target_triggers(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let route = &survey.transform()?.route;
    let folding = Folding::of(survey.facts(Side::Target)?);
    let fold = |name: &TableName| folding.fold(Sort::Table, name);
    let wanted: HashSet<conflict::Name> =
        survey.source_objects()?.tables.iter().map(|table| fold(&route.target_of(&table.name))).collect();
    let mut connection = survey.connect(Side::Target, stop)?;
    let own = conflict::leftovers(&mut connection, &survey.options.task, folding)?;
    let mut own_count = 0;
    let mut found: Vec<TableName> = Vec::new();
    for database in target_databases(survey)? {
        stop.check()?;
        let sql = format!(
            "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {}",
            quote::string_literal(&database)
        );
        for row in connection.query(sql, "reading the target's triggers")? {
            if !wanted.contains(&fold(&TableName::new(&database, row.string(1)))) {
                continue;
            }
            let trigger = TableName::new(&database, row.string(0));
            if own.contains(&folding.fold(Sort::Trigger, &trigger)) {
                own_count += 1;
            } else {
                found.push(trigger);
            }
        }
    }
    let expected = "no trigger on the tables written to";
    if found.is_empty() {
        return Ok(Verdict::pass(
            expected,
            match own_count {
                0 => "none".to_owned(),
                _ => {
                    format!("{} that this task itself made there", counted(own_count, "trigger", "triggers"))
                }
            },
        ));
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
    if words.is_empty() {
        return Ok(Verdict::not_needed("the target reserves no more words than the source"));
    }
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
        return with_unread(survey, Verdict::pass(expected, "none"));
    }
    let used: Vec<&str> = used.into_iter().collect();
    let verdict = Verdict::warn(expected, few(&used))
        .message(format!("{} may not be created on the target; upgrade.syntax tells which it really refuses", {
            counted(objects.len(), "object", "objects")
        }))
        .fix("Put backticks around these names in the definitions on the source, and in the applications' SQL.")
        .objects(objects);
    with_unread(survey, verdict)
}
