//! The objects themselves: do they exist, do they fit, what is special about them.
use std::collections::{BTreeSet, HashSet};

use crate::data::{TableName, TableSchema};
use crate::error::Side;
use crate::format::{counted, few};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::options::TaskType;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "objects";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "objects_exist",
        objects_exist,
        "Every database and table that the task names exists, and at least one table or view is selected (views only where they \
         are carried). Fails otherwise. Warns when a rename rule is for a table that does not exist.",
    )
    .not_ignorable("there would be less to move than the task says"),
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
    let actual = format!(
        "{}, {}",
        counted(objects.tables.len(), "table", "tables"),
        counted(objects.views.len(), "view", "views")
    );
    let fix = format!(
        "Check the names (and their case) in [objects], and that the account may see them (source_privileges).{}",
        if survey.options.views { "" } else { " Views take no part (objects.views = false)." }
    );
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

fn tables_without_key(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let keyless: Vec<&TableSchema> =
        objects.tables.iter().filter(|table| table.row_key().is_none()).collect();
    let expected = "every table has a primary key or a UNIQUE key of NOT NULL columns";
    if keyless.is_empty() {
        return Ok(Verdict::pass(expected, "all have one"));
    }
    let names: Vec<&TableName> = keyless.iter().map(|table| &table.name).collect();
    let actual = format!("{} without: {}", counted(names.len(), "table", "tables"), few(&names));
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
        return Ok(Verdict::pass(expected, counted(total, "foreign key", "foreign keys")));
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
