//! What both accounts may do: everything that is missing at once, as statements to copy.
use std::collections::{BTreeMap, BTreeSet};

use crate::data::{ObjectKind, TableName};
use crate::error::Side;
use crate::server::ServerFacts;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::definitions::Program;
use crate::validator::finding::Verdict;
use crate::validator::grants::Grants;
use crate::validator::options::{EndpointKind, TaskType};
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, SourceObjects, Survey};

const GROUP: &str = "privileges";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "source_privileges",
        source_privileges,
        "The source's account has SELECT on the selected tables, SHOW VIEW, TRIGGER and EVENT where those objects are chosen, \
         PROCESS, for changes REPLICATION SLAVE and REPLICATION CLIENT, and LOCK TABLES or RELOAD where a table needs an exact \
         snapshot. Where routines are carried it sees all of them with their texts: SELECT on everything or (8.0.20 and later) \
         SHOW_ROUTINE, before 8.0 and on MariaDB SELECT on mysql.proc; or, when it is the definer of all, EXECUTE, CREATE ROUTINE or \
         ALTER ROUTINE on the database. Where databases are chosen by a pattern it sees all of them: SHOW DATABASES or any right on \
         everything; where tables are, SELECT on the whole database. Fails otherwise, with all missing ones as GRANT statements: what \
         is not seen would be left behind. Warns when the account may write: dts never writes on the source.",
    )
    .not_ignorable("the task would stop at the first statement that the server refuses"),
    Check::fails(
        GROUP,
        "target_privileges",
        target_privileges,
        "The target's account has on the databases written to: ALTER, CREATE, CREATE TEMPORARY TABLES, DELETE, DROP, INDEX, \
         INSERT, LOCK TABLES, REFERENCES, SELECT, UPDATE; for views CREATE VIEW and SHOW VIEW, for routines CREATE ROUTINE, \
         ALTER ROUTINE and EXECUTE, TRIGGER, EVENT; PROCESS and SHOW DATABASES; for accounts CREATE USER and GRANT OPTION; and on dts's \
         own schema __dts__ ALTER, CREATE, DELETE, DROP, INDEX, INSERT, LOCK TABLES, SELECT and UPDATE. Fails otherwise, with all \
         missing ones as GRANT statements.",
    )
    .not_ignorable("the task would stop at the first statement that the server refuses"),
    Check::warns(
        GROUP,
        "target_session_settings",
        target_session_settings,
        "The target lets the account set what a session of the load needs: innodb_strict_mode off where it is on, and \
         sql_log_bin off where target_binlog = \"off\" asks for it. Warns where it refuses, and says what follows.",
    ),
];

/// Where a privilege is missing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Global,
    Database(String),
    Table(TableName),
}

#[derive(Default)]
struct Missing {
    privileges: BTreeMap<Level, Vec<&'static str>>,
    /// What the account has already, and would lose by a more specific grant without it.
    again: BTreeMap<Level, Vec<&'static str>>,
    /// What follows, and how else it can be mended, where that is more than a statement that is refused.
    reasons: Vec<&'static str>,
}

impl Missing {
    fn add(&mut self, level: Level, privilege: &'static str) {
        let privileges = self.privileges.entry(level).or_default();
        if !privileges.contains(&privilege) {
            privileges.push(privilege);
        }
    }

    /// Adds what is missing of the privileges `needed` on a database.
    fn add_on_database(&mut self, grants: &Grants, needed: &[&'static str], database: &str) {
        let missing = grants.missing_on_database(needed, database);
        if !missing.is_empty() && grants.is_by_pattern(database) {
            let is_there = |privilege: &&&str| !missing.contains(privilege) && !grants.has_global(privilege);
            let again = needed.iter().filter(is_there).copied();
            self.again.entry(Level::Database(database.to_owned())).or_default().extend(again);
        }
        for privilege in missing {
            self.add(Level::Database(database.to_owned()), privilege);
        }
    }

    /// Adds one without which something is not seen.
    fn add_because(&mut self, level: Level, privilege: &'static str, reason: &'static str) {
        self.add(level, privilege);
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn is_empty(&self) -> bool {
        self.privileges.is_empty()
    }

    /// `SELECT on shop, PROCESS`.
    fn summary(&self) -> String {
        let mut parts = Vec::new();
        for (level, privileges) in &self.privileges {
            let privileges = privileges.join(", ");
            parts.push(match level {
                Level::Global => privileges,
                Level::Database(name) => format!("{privileges} on {name}.*"),
                Level::Table(name) => format!("{privileges} on {name}"),
            });
        }
        parts.join("; ")
    }

    /// One GRANT for each level that something is missing on: the server allows no more in one statement.
    fn statements(&self, account: &str, grants: &Grants) -> String {
        let account = quoted_account(account);
        let grant = |(level, privileges): (&Level, &Vec<&str>)| {
            let object = match level {
                Level::Global => "*.*".to_owned(),
                Level::Database(name) => format!("{}.*", grants.database_to_grant_on(name)),
                Level::Table(name) => quote::table(name),
            };
            let again = self.again.get(level).into_iter().flatten();
            let all: Vec<&str> = privileges.iter().chain(again).copied().collect();
            format!("GRANT {} ON {object} TO {account};", all.join(", "))
        };
        self.privileges.iter().map(grant).collect::<Vec<_>>().join("\n")
    }
}

/// `'dts'@'%'` of the server's `dts@%`.
pub(super) fn quoted_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("{}@{}", quote::string_literal(user), quote::string_literal(host))
}

fn verdict(survey: &Survey, side: Side, expected: &str, missing: &Missing) -> Result<Verdict, Blocked> {
    let account = &survey.facts(side)?.current_user;
    let console = match survey.kind(side) {
        EndpointKind::AliyunRds => {
            "\nOr in the RDS console: the instance > Accounts > Create Account, type Privileged Account."
        }
        EndpointKind::TencentDb => {
            "\nOr in the TencentDB console: the instance > Database Management > Account Management > Modify Permissions."
        }
        EndpointKind::MySql | EndpointKind::MariaDb => "",
    };
    let mut message = format!("account '{account}' may not do all that the task needs");
    for reason in &missing.reasons {
        message.push_str("; ");
        message.push_str(reason);
    }
    Ok(Verdict::fail(expected, format!("missing: {}", missing.summary()))
        .message(message)
        .fix(format!("{}{console}", missing.statements(account, survey.grants(side)?))))
}

/// The databases that the task reads, those included that the account cannot see.
fn source_databases(survey: &Survey, objects: &SourceObjects) -> Result<Vec<String>, Blocked> {
    let selection = &survey.transform()?.selection;
    let mut names: Vec<String> = objects
        .databases
        .iter()
        .map(|database| database.name.clone())
        .filter(|name| selection.selects_database(name))
        .chain(selection.named_databases())
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Tables whose rows cannot be told apart, or that a foreign key changes without a trace in the log.
pub(super) fn needs_exact_snapshot(objects: &SourceObjects) -> Vec<&TableName> {
    let cascading = |name: &TableName| {
        objects.tables.iter().any(|table| {
            table
                .foreign_keys
                .iter()
                .any(|key| key.cascades && (table.name == *name || key.referenced_table == *name))
        })
    };
    objects
        .tables
        .iter()
        .filter(|table| table.row_key().is_none() || !objects.logs_cascades && cascading(&table.name))
        .map(|table| &table.name)
        .collect()
}

/// Privileges that a reader never needs.
const WRITING: [&str; 14] = [
    "INSERT",
    "UPDATE",
    "DELETE",
    "DROP",
    "ALTER",
    "CREATE",
    "INDEX",
    "CREATE USER",
    "CREATE VIEW",
    "CREATE ROUTINE",
    "SUPER",
    "SHUTDOWN",
    "FILE",
    "GRANT OPTION",
];

const UNSEEN_DATABASES: &str = "the server shows it only the databases that it has rights on: others that fit a pattern of the task would \
                                be left out (or name each database)";
const UNSEEN_TABLES: &str = "the server shows it only the tables that it has rights on: others that fit a pattern of the task would be \
                             left out (or name each table)";
const UNSEEN_ROUTINES: &str = "the server does not show it all routines with their texts: they could not be carried (or set \
                               objects.routines = false)";

/// The right that shows all routines with their texts, and nothing else where there is such a one.
fn routine_privilege(facts: &ServerFacts) -> (Level, &'static str) {
    if facts.is_mysql_at_least(8, 0, 20) {
        (Level::Global, "SHOW_ROUTINE")
    } else if facts.is_mysql_at_least(8, 0, 0) {
        (Level::Global, "SELECT")
    } else {
        (Level::Table(TableName::new("mysql", "proc")), "SELECT")
    }
}

/// The statement with which the account would see the texts of all routines of the source.
pub(super) fn routine_grant(survey: &Survey) -> Result<String, Blocked> {
    let facts = survey.facts(Side::Source)?;
    let (level, privilege) = routine_privilege(facts);
    let mut missing = Missing::default();
    missing.add(level, privilege);
    Ok(format!("On the source: {}", missing.statements(&facts.current_user, survey.grants(Side::Source)?)))
}

/// Whether the account sees all routines of a database, and the text of each.
fn sees_routines(survey: &Survey, grants: &Grants, database: &str) -> Result<bool, Blocked> {
    if !grants.lists_routines(survey.facts(Side::Source)?, database) {
        return Ok(false);
    }
    // The texts of those listed are there or not, whatever the reason.
    let is_hidden = |program: &Program| {
        matches!(program.kind, ObjectKind::Procedure | ObjectKind::Function)
            && program.name.database == database
            && program.body.is_empty()
    };
    Ok(!survey.definitions()?.programs.iter().any(is_hidden))
}

fn source_privileges(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let grants = survey.grants(Side::Source)?;
    let objects = survey.source_objects()?;
    let options = &survey.options;
    let selection = &survey.transform()?.selection;
    let mut missing = Missing::default();

    let mut global: Vec<&'static str> = vec!["PROCESS"];
    if options.needs_binlog() {
        global.extend(["REPLICATION SLAVE", "REPLICATION CLIENT"]);
    }
    for privilege in global {
        if !grants.has_global(privilege) {
            missing.add(Level::Global, privilege);
        }
    }
    if selection.has_database_pattern() && !grants.sees_all_databases() {
        missing.add_because(Level::Global, "SHOW DATABASES", UNSEEN_DATABASES);
    }

    let mut of_tables: Vec<&'static str> = vec!["SELECT"];
    of_tables.extend(options.views.then_some("SHOW VIEW"));
    of_tables.extend(options.triggers.then_some("TRIGGER"));
    let is_locking = options.task_type != TaskType::Structure && !grants.has_global("RELOAD");
    let locked: BTreeSet<&str> =
        needs_exact_snapshot(objects).iter().map(|table| table.database.as_str()).collect();
    for database in source_databases(survey, objects)? {
        let is_whole = selection.is_whole_database(&database);
        if is_whole {
            let mut needed = of_tables.clone();
            needed.extend(options.events.then_some("EVENT"));
            needed.extend((is_locking && locked.contains(database.as_str())).then_some("LOCK TABLES"));
            missing.add_on_database(grants, &needed, &database);
            if options.routines && !sees_routines(survey, grants, &database)? {
                let (level, privilege) = routine_privilege(survey.facts(Side::Source)?);
                missing.add_because(level, privilege, UNSEEN_ROUTINES);
            }
            continue;
        }
        for privilege in &of_tables {
            if grants.has_on_database(privilege, &database) {
                continue;
            }
            if *privilege == "SELECT" && selection.has_table_pattern(&database) {
                missing.add_because(Level::Database(database.clone()), privilege, UNSEEN_TABLES);
                continue;
            }
            let seen = objects.tables.iter().map(|table| &table.name).chain(&objects.views);
            let tables = seen.cloned().chain(selection.named_tables()).filter(|t| t.database == database);
            for table in tables.filter(|table| !grants.has_on_table(privilege, table)) {
                missing.add(Level::Table(table), privilege);
            }
        }
        if is_locking && locked.contains(database.as_str()) {
            let mut needed: Vec<&'static str> = of_tables.clone();
            needed.retain(|privilege| grants.has_on_database(privilege, &database));
            needed.push("LOCK TABLES");
            missing.add_on_database(grants, &needed, &database);
        }
    }
    let expected = "all privileges for reading";
    if !missing.is_empty() {
        return verdict(survey, Side::Source, expected, &missing);
    }
    let more = more_than_needed(survey, grants);
    if !more.is_empty() {
        return Ok(Verdict::warn(expected, format!("also {}", more.join(", ")))
            .message("the account may write on the source; dts never does, so a smaller account is safer")
            .fix("Create an account of its own for dts, with no more than the privileges that docs/validation.md lists."));
    }
    Ok(Verdict::pass(expected, "all"))
}

/// Accounts of RDS are of fixed types and cannot be made smaller.
fn more_than_needed(survey: &Survey, grants: &Grants) -> Vec<&'static str> {
    if survey.kind(Side::Source) == EndpointKind::AliyunRds { Vec::new() } else { grants.any_of(&WRITING) }
}

fn target_privileges(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let grants = survey.grants(Side::Target)?;
    let options = &survey.options;
    let mut missing = Missing::default();

    let mut global: Vec<&'static str> = vec!["PROCESS", "SHOW DATABASES"];
    if options.accounts {
        // Nobody can give what he may not pass on.
        global.extend(["CREATE USER", "GRANT OPTION"]);
    }
    for privilege in global {
        if !grants.has_global(privilege) {
            missing.add(Level::Global, privilege);
        }
    }

    const OWN: [&str; 9] =
        ["ALTER", "CREATE", "DELETE", "DROP", "INDEX", "INSERT", "LOCK TABLES", "SELECT", "UPDATE"];
    let mut needed: Vec<&'static str> = OWN.to_vec();
    needed.extend(["CREATE TEMPORARY TABLES", "REFERENCES"]);
    if options.views {
        needed.extend(["CREATE VIEW", "SHOW VIEW"]);
    }
    if options.routines {
        needed.extend(["CREATE ROUTINE", "ALTER ROUTINE", "EXECUTE"]);
    }
    needed.extend(options.triggers.then_some("TRIGGER"));
    needed.extend(options.events.then_some("EVENT"));
    needed.sort_unstable();
    for database in target_databases(survey)? {
        missing.add_on_database(grants, &needed, &database);
    }
    missing.add_on_database(grants, &OWN, "__dts__");
    let expected = "all privileges for writing";
    if missing.is_empty() {
        return Ok(Verdict::pass(expected, "all"));
    }
    verdict(survey, Side::Target, expected, &missing)
}

fn target_session_settings(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let facts = survey.facts(Side::Target)?;
    let account = quoted_account(&facts.current_user);
    let expected = "the account may set what a session of the load needs";
    let mut wanted: Vec<(&str, &str, &str)> = Vec::new();
    if facts.is_on("innodb_strict_mode") != Some(false) {
        wanted.push((
            "innodb_strict_mode",
            "SET SESSION innodb_strict_mode = 0",
            "a table whose row format or row size only a lenient server takes is refused (upgrade.tables shows which)",
        ));
    }
    if !survey.options.target.load_binlog {
        wanted.push((
            "sql_log_bin",
            "SET SESSION sql_log_bin = 0",
            "load.target_binlog = \"off\" is not possible, and the load stops",
        ));
    }
    let mut connection = survey.connect(Side::Target, stop)?;
    let mut refused = Vec::new();
    for (name, statement, consequence) in &wanted {
        match connection.execute(*statement, "trying a session setting") {
            Ok(_) => {}
            Err(error) if error.server_error().is_some() => refused.push((*name, *consequence)),
            Err(error) => return Err(error.into()),
        }
    }
    if refused.is_empty() {
        return Ok(Verdict::pass(expected, "all that is needed"));
    }
    let names: Vec<&str> = refused.iter().map(|(name, _)| *name).collect();
    let consequences: Vec<&str> = refused.iter().map(|(_, consequence)| *consequence).collect();
    let fix = match survey.kind(Side::Target) {
        EndpointKind::TencentDb => "TencentDB gives nobody this privilege: set innodb_strict_mode to OFF in the console (the \
                                    instance > Database Management > Parameter Settings), and leave load.target_binlog on."
            .to_owned(),
        _ if facts.is_mysql_at_least(8, 0, 14) => {
            format!("GRANT SESSION_VARIABLES_ADMIN ON *.* TO {account};")
        }
        _ => format!("GRANT SUPER ON *.* TO {account};"),
    };
    Ok(Verdict::warn(expected, format!("refused: {}", names.join(", ")))
        .message(consequences.join("; "))
        .fix(fix))
}

/// The databases that the task writes to.
pub(super) fn target_databases(survey: &Survey) -> Result<Vec<String>, Blocked> {
    let objects = survey.source_objects()?;
    let transform = survey.transform()?;
    let mut names: Vec<String> = objects
        .databases
        .iter()
        .filter(|database| transform.selection.selects_database(&database.name))
        .flat_map(|database| {
            let mut names = transform.route.target_databases(&database.name);
            if !transform.selection.is_whole_database(&database.name) {
                // Only where tables of it really go.
                let used: Vec<String> = objects
                    .tables
                    .iter()
                    .map(|table| &table.name)
                    .chain(&objects.views)
                    .filter(|name| name.database == database.name)
                    .map(|name| transform.route.target_of(name).database)
                    .collect();
                names.retain(|name| used.contains(name));
            }
            names
        })
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_at_once() {
        let mut missing = Missing::default();
        missing.add(Level::Database("shop_1".into()), "SELECT");
        missing.add(Level::Global, "PROCESS");
        missing.add(Level::Global, "REPLICATION SLAVE");
        missing.add(Level::Global, "PROCESS");
        assert_eq!(
            missing.statements("d'ts@%", &Grants::default()),
            "GRANT PROCESS, REPLICATION SLAVE ON *.* TO 'd\\'ts'@'%';\nGRANT SELECT ON `shop\\_1`.* TO 'd\\'ts'@'%';"
        );
        assert_eq!(missing.summary(), "PROCESS, REPLICATION SLAVE; SELECT on shop_1.*");
    }
}
