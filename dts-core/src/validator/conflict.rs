//! What is on the target already under a name that the task needs.
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use crate::data::{ObjectKind, TableName};
use crate::error::Side;
use crate::format::{counted, few};
use crate::server::{ServerFacts, catalog};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::transform::Route;
use crate::validator::definitions::Program;
use crate::validator::finding::Verdict;
use crate::validator::privileges::target_databases;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::wire::Connection;

pub(super) const CHECKS: &[Check] = &[Check::fails(
    "objects",
    "target_conflict",
    target_conflict,
    "No table, view, procedure, function, trigger or event of a name that the task writes to is on the target, and no two tables \
     go to one name. Fails otherwise. What this very task left there is recognised and passes.",
)
.not_ignorable("what is on the target would be overwritten, or the task stops at it")];

/// Which objects may not have one name: tables and views share theirs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Sort {
    Table,
    Procedure,
    Function,
    Trigger,
    Event,
}

impl Sort {
    fn of(kind: ObjectKind) -> Sort {
        match kind {
            ObjectKind::View => Sort::Table,
            ObjectKind::Procedure => Sort::Procedure,
            ObjectKind::Function => Sort::Function,
            ObjectKind::Trigger => Sort::Trigger,
            ObjectKind::Event => Sort::Event,
        }
    }

    /// What lists the names of this sort, see [`catalog::object_names`].
    fn listed_as(self) -> ObjectKind {
        match self {
            Sort::Table => ObjectKind::View,
            Sort::Procedure => ObjectKind::Procedure,
            Sort::Function => ObjectKind::Function,
            Sort::Trigger => ObjectKind::Trigger,
            Sort::Event => ObjectKind::Event,
        }
    }
}

/// A name on the target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    sort: Sort,
    name: TableName,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sort {
            Sort::Table => write!(f, "{}", self.name),
            sort => write!(f, "{} {}", sort.listed_as().name(), self.name),
        }
    }
}

/// How the target compares names.
#[derive(Clone, Copy)]
pub(super) struct Folding {
    tables_ignore_case: bool,
}

impl Folding {
    pub(super) fn of(target: &ServerFacts) -> Folding {
        Folding { tables_ignore_case: target.lower_case_table_names() != 0 }
    }

    pub(super) fn fold(self, sort: Sort, name: &TableName) -> Name {
        let lower =
            |is_folded: bool, text: &str| if is_folded { text.to_lowercase() } else { text.to_owned() };
        let object_folds = match sort {
            Sort::Table | Sort::Trigger => self.tables_ignore_case,
            // Whatever lower_case_table_names says.
            Sort::Procedure | Sort::Function | Sort::Event => true,
        };
        let name =
            TableName::new(lower(self.tables_ignore_case, &name.database), lower(object_folds, &name.table));
        Name { sort, name }
    }
}

/// Where a program goes.
fn target_of(program: &Program, route: &Route) -> TableName {
    match (&program.trigger, program.kind) {
        (Some((_, _, table)), _) => TableName::new(route.target_of(table).database, &program.name.table),
        (None, ObjectKind::View) => route.target_of(&program.name),
        (None, _) => TableName::new(route.target_database(&program.name.database), &program.name.table),
    }
}

fn target_conflict(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let programs = &survey.definitions()?.programs;
    let route = &survey.transform()?.route;
    let expected = "no object of these names on the target";
    let tables: Vec<&TableName> =
        objects.tables.iter().map(|table| &table.name).chain(&objects.views).collect();
    if let Err(error) = route.check_collisions(tables.iter().copied()) {
        return Ok(Verdict::fail(expected, error.kind().to_string())
            .message("two tables of the source would become one")
            .fix("Give them names of their own in objects.rename."));
    }
    let folding = Folding::of(survey.facts(Side::Target)?);
    let mut wanted: BTreeSet<Name> =
        tables.iter().map(|name| folding.fold(Sort::Table, &route.target_of(name))).collect();
    wanted.extend(
        programs.iter().map(|program| folding.fold(Sort::of(program.kind), &target_of(program, route))),
    );
    let sorts: BTreeSet<Sort> = wanted.iter().map(|name| name.sort).collect();

    let mut connection = survey.connect(Side::Target, stop)?;
    // As the target spells them, which the statements to copy must do, too.
    let mut present: HashMap<Name, TableName> = HashMap::new();
    for database in target_databases(survey)? {
        for &sort in &sorts {
            stop.check()?;
            for name in catalog::object_names(&mut connection, sort.listed_as(), &database)? {
                let name = TableName::new(&database, name);
                present.insert(folding.fold(sort, &name), name);
            }
        }
    }
    let own = leftovers(&mut connection, &survey.options.task, folding)?;
    let (ours, foreign): (Vec<&Name>, Vec<&Name>) =
        wanted.iter().filter(|name| present.contains_key(*name)).partition(|name| own.contains(*name));
    if foreign.is_empty() {
        let actual = if ours.is_empty() {
            "none".to_owned()
        } else {
            format!("{} that this task itself left there", counted(ours.len(), "object", "objects"))
        };
        return Ok(Verdict::pass(expected, actual));
    }
    let drops: Vec<String> = foreign
        .iter()
        .take(20)
        .map(|name| {
            let what = match name.sort {
                Sort::Table => "TABLE",
                sort => sort.listed_as().keyword(),
            };
            format!("DROP {what} {};", quote::table(&present[*name]))
        })
        .collect();
    Ok(Verdict::fail(expected, format!("{}: {}", counted(foreign.len(), "object", "objects"), few(&foreign)))
        .message("the target already has objects of the names that the task would create")
        .fix(format!(
            "Give the task's objects other names in objects.rename; or, when they are not needed, on the target (DROP VIEW for \
             views): {}{}",
            drops.join(" "),
            if foreign.len() > drops.len() { " and so on for all of them" } else { "" }
        ))
        .objects(foreign))
}

/// What this task has created on the target before; nothing when dts was never there.
pub(super) fn leftovers(
    connection: &mut Connection,
    task: &str,
    folding: Folding,
) -> Result<HashSet<Name>, Blocked> {
    let task = quote::string_literal(task);
    let tables =
        format!("SELECT target_database, target_table, '' FROM `__dts__`.`table_copy` WHERE task = {task}");
    let others =
        format!("SELECT database_name, object_name, kind FROM `__dts__`.`object` WHERE task = {task}");
    let mut names = HashSet::new();
    for sql in [tables, others] {
        match connection.query(sql, "looking for what this task left on the target") {
            Ok(rows) => names.extend(rows.iter().map(|row| {
                let kind = ObjectKind::ALL.into_iter().find(|kind| kind.name() == row.string(2));
                let sort = kind.map_or(Sort::Table, Sort::of);
                folding.fold(sort, &TableName::new(row.string(0), row.string(1)))
            })),
            // 1049 no such database, 1146 no such table; 1044 and 1142: the account may not see one that is not its own.
            Err(error)
                if error.server_error().is_some_and(|e| matches!(e.code, 1044 | 1049 | 1142 | 1146)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names)
}
