//! The objects themselves: do they exist, do they fit, what is special about them.
use std::collections::{BTreeSet, HashSet};

use crate::data::{ObjectKind, TableName, TableSchema};
use crate::error::Side;
use crate::server::catalog;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::fix::{count, few};
use crate::validator::options::TaskType;
use crate::validator::privileges::target_databases;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::wire::Connection;

const GROUP: &str = "objects";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "objects_exist",
        objects_exist,
        "Every database and table that the task names exists, and at least one table or view is selected. Fails otherwise. \
         Warns when a rename rule is for a table that does not exist.",
    )
    .not_ignorable("there would be less to move than the task says"),
    Check::fails(
        GROUP,
        "target_conflict",
        target_conflict,
        "No table or view of a name that the task writes to is on the target, and no two tables go to one name. Fails \
         otherwise. What this very task left there is recognised and passes.",
    )
    .not_ignorable("data of the target would be overwritten"),
    Check::fails(
        GROUP,
        "tables_without_key",
        tables_without_key,
        "Every table has a primary key or a UNIQUE key of NOT NULL columns. Warns otherwise: such a table is copied from one exact \
         snapshot, and its changes are slow. Fails when it is not of InnoDB and its rows are carried.",
    ),
    Check::fails(
        GROUP,
        "foreign_keys",
        foreign_keys,
        "The tables that foreign keys refer to are selected too. Fails otherwise.",
    )
    .not_ignorable("the target would refuse the rows, or hold rows without their parents"),
];

fn objects_exist(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let transform = survey.transform()?;
    let ignores_case = survey.facts(Side::Source)?.lower_case_table_names() != 0;
    let fold = |name: &str| if ignores_case { name.to_lowercase() } else { name.to_owned() };
    let fold_table = |name: &TableName| (fold(&name.database), fold(&name.table));

    let databases: HashSet<String> = objects.databases.iter().map(|database| fold(&database.name)).collect();
    let tables: HashSet<(String, String)> =
        objects.tables.iter().map(|table| &table.name).chain(&objects.views).map(fold_table).collect();
    let mut missing: Vec<String> = transform
        .selection
        .named_databases()
        .into_iter()
        .filter(|name| !databases.contains(&fold(name)))
        .collect();
    missing.extend(
        transform
            .selection
            .named_tables()
            .iter()
            // A named table that is excluded as well is somebody's wish.
            .filter(|name| transform.selection.selects_table(name) && !tables.contains(&fold_table(name)))
            .filter(|name| !missing.contains(&name.database))
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    );
    let expected = "all that the task names, at least one table";
    let actual = format!("{}, {}", count(objects.tables.len(), "table"), count(objects.views.len(), "view"));
    let fix = "Check the names (and their case) in [objects], and that the account may see them (source_privileges).";
    if !missing.is_empty() {
        return Ok(Verdict::fail(expected, format!("missing: {}", few(&missing)))
            .message("the source does not have these, or does not show them to the account")
            .fix(fix)
            .objects(missing));
    }
    if objects.tables.is_empty() && objects.views.is_empty() {
        return Ok(Verdict::fail(expected, actual)
            .message("nothing on the source fits the patterns of [objects]")
            .fix(fix));
    }
    let idle: Vec<&TableName> =
        transform.route.renamed_tables().filter(|name| !tables.contains(&fold_table(name))).collect();
    if !idle.is_empty() {
        return Ok(Verdict::warn(expected, actual)
            .message(format!("objects.rename has rules for tables that do not exist: {}", few(&idle)))
            .fix("Correct or remove these rules; they will work for tables that are created later.")
            .objects(idle));
    }
    Ok(Verdict::pass(expected, actual))
}

fn target_conflict(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let route = &survey.transform()?.route;
    let target = survey.facts(Side::Target)?;
    let expected = "no object of these names on the target";
    let names: Vec<&TableName> =
        objects.tables.iter().map(|table| &table.name).chain(&objects.views).collect();
    if let Err(error) = route.check_collisions(names.iter().copied()) {
        return Ok(Verdict::fail(expected, error.kind().to_string())
            .message("two tables of the source would become one")
            .fix("Give them names of their own in objects.rename."));
    }
    let ignores_case = target.lower_case_table_names() != 0;
    let fold = |name: &TableName| {
        if ignores_case {
            TableName::new(name.database.to_lowercase(), name.table.to_lowercase())
        } else {
            name.clone()
        }
    };
    let mut connection = survey.connect(Side::Target, stop)?;
    let mut present: HashSet<TableName> = HashSet::new();
    for database in target_databases(survey)? {
        stop.check()?;
        let tables = catalog::table_names(&mut connection, &database)?;
        let views = catalog::view_names(&mut connection, &database)?;
        present.extend(tables.iter().chain(&views).map(fold));
    }
    let own: HashSet<TableName> =
        leftovers(&mut connection, &survey.options.task)?.iter().map(fold).collect();
    let wanted: BTreeSet<TableName> = names.iter().map(|name| fold(&route.target_of(name))).collect();
    let (ours, foreign): (Vec<&TableName>, Vec<&TableName>) =
        wanted.iter().filter(|name| present.contains(name)).partition(|name| own.contains(name));
    if foreign.is_empty() {
        let actual = if ours.is_empty() {
            "none".to_owned()
        } else {
            format!("{} that this task itself left there", count(ours.len(), "object"))
        };
        return Ok(Verdict::pass(expected, actual));
    }
    let drops: Vec<String> = foreign.iter().take(20).map(|name| quote::table(name)).collect();
    Ok(Verdict::fail(expected, format!("{}: {}", count(foreign.len(), "object"), few(&foreign)))
        .message("the target already has objects of the names that the task would create")
        .fix(format!(
            "Give the task's objects other names in objects.rename; or, when they are not needed, on the target: DROP TABLE \
             {}; (DROP VIEW for views){}",
            drops.join(", "),
            if foreign.len() > drops.len() { " and so on for all of them" } else { "" }
        ))
        .objects(foreign))
}

/// The tables and views that this task has created on the target before; none when dts was never there.
fn leftovers(connection: &mut Connection, task: &str) -> Result<Vec<TableName>, Blocked> {
    let task = quote::string_literal(task);
    let tables =
        format!("SELECT target_database, target_table FROM `__dts__`.`table_copy` WHERE task = {task}");
    let views = format!(
        "SELECT database_name, object_name FROM `__dts__`.`object` WHERE task = {task} AND kind = '{}'",
        ObjectKind::View
    );
    let mut names = recorded(connection, tables)?;
    names.extend(recorded(connection, views)?);
    Ok(names)
}

fn recorded(connection: &mut Connection, sql: String) -> Result<Vec<TableName>, Blocked> {
    match connection.query(sql, "looking for what this task left on the target") {
        Ok(rows) => Ok(rows.iter().map(|row| TableName::new(row.string(0), row.string(1))).collect()),
        // 1049 no such database, 1146 no such table; 1044 and 1142: the account may not see one that is not its own.
        Err(error) if error.server_error().is_some_and(|e| matches!(e.code, 1044 | 1049 | 1142 | 1146)) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

fn tables_without_key(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let keyless: Vec<&TableSchema> =
        objects.tables.iter().filter(|table| table.row_key().is_none()).collect();
    let expected = "every table has a primary key or a UNIQUE key of NOT NULL columns";
    if keyless.is_empty() {
        return Ok(Verdict::pass(expected, "all have one"));
    }
    let names: Vec<&TableName> = keyless.iter().map(|table| &table.name).collect();
    let actual = format!("{} without: {}", count(names.len(), "table"), few(&names));
    let fix = |table: &TableName| {
        format!(
            "Add a key on the source: ALTER TABLE {} ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY; or name \
             the tables in objects.exclude.",
            quote::table(table)
        )
    };
    if survey.options.task_type == TaskType::Structure {
        let verdict = Verdict::warn(expected, actual).message("only their structure is carried");
        return Ok(verdict.fix(fix(names[0])).objects(names));
    }
    // Other engines have no consistent read, and so no exact snapshot.
    let refused: Vec<&TableName> = keyless
        .iter()
        .filter(|table| !table.engine.eq_ignore_ascii_case("InnoDB"))
        .map(|table| &table.name)
        .collect();
    if !refused.is_empty() {
        return Ok(Verdict::fail(expected, format!("{actual}; not of InnoDB: {}", few(&refused)))
            .message("the full load refuses tables that have neither a key nor consistent reads")
            .not_ignorable("the full load refuses these tables")
            .fix(fix(refused[0]))
            .objects(refused));
    }
    Ok(Verdict::warn(expected, actual)
        .message(
            "each is copied whole from one exact snapshot, under a read lock of milliseconds where the account may lock; each of \
             its changes searches the whole table on the target, which is slow for a large one",
        )
        .fix(fix(names[0]))
        .objects(names))
}

fn foreign_keys(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let selection = &survey.transform()?.selection;
    let mut missing: BTreeSet<&TableName> = BTreeSet::new();
    let mut children: BTreeSet<&TableName> = BTreeSet::new();
    let mut total = 0;
    for table in &objects.tables {
        for key in &table.foreign_keys {
            total += 1;
            if !selection.selects_table(&key.referenced_table) {
                missing.insert(&key.referenced_table);
                children.insert(&table.name);
            }
        }
    }
    let expected = "referenced tables are selected";
    if missing.is_empty() {
        return Ok(Verdict::pass(expected, count(total, "foreign key")));
    }
    let missing: Vec<&TableName> = missing.into_iter().collect();
    Ok(Verdict::fail(expected, format!("not selected: {}", few(&missing)))
        .message(format!(
            "{} to tables that the task leaves out",
            if children.len() == 1 {
                "1 table refers".to_owned()
            } else {
                format!("{} tables refer", children.len())
            }
        ))
        .fix(format!(
            "Add to objects.tables: {}; or exclude the tables that refer to them.",
            missing.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
        ))
        .objects(children))
}
