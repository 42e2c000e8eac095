//! What is special about the tables: room, engines, cascades, names, kinds of columns.
use std::collections::BTreeSet;

use crate::data::{ColumnKind, TableName, TableSchema};
use crate::error::Side;
use crate::format::{bytes, counted, few};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::options::EndpointKind;
use crate::validator::plan;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

const GROUP: &str = "objects";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "target_space",
        target_space,
        "The target has room for 1.2 times the selected data and indexes and for the binary log of the load. Fails where the \
         target tells that it has not (MariaDB with the plugin DISKS). Where it does not tell: warns from 1 GiB on, passes below, \
         and says how much is needed.",
    ),
    Check::fails(
        GROUP,
        "cascades",
        cascades,
        "Where a foreign key changes rows by itself (CASCADE, SET NULL), its parent takes part, too. Such changes are not in the \
         binary log before MySQL 9.6; they are repeated on the target from the parent's changes, and the tables are copied \
         together from one exact snapshot. Fails where the parent is not selected and such a source is followed.",
    )
    .not_ignorable("changes would be lost without a trace"),
    Check::fails(
        GROUP,
        "engine",
        engine,
        "Every table is an InnoDB table. Others become InnoDB: warns. Fails for tables whose rows are not their own (MERGE, \
         FEDERATED, SPIDER, CONNECT) and for tables that the source cannot open.",
    ),
    Check::warns(
        GROUP,
        "row_format_fixed",
        row_format_fixed,
        "No table asks for a row format that InnoDB does not have (FIXED, PAGE). Warns otherwise: it is left out on the target.",
    ),
    Check::fails(
        GROUP,
        "object_names",
        object_names,
        "On a TencentDB all names of tables are ASCII. Fails otherwise. Passes on other targets.",
    ),
    Check::warns(
        GROUP,
        "generated_columns",
        generated_columns,
        "Informative: which tables have generated columns. They are computed by the target and not copied. Warns where a \
         MariaDB and a MySQL meet: their expressions may differ.",
    ),
    Check::warns(
        GROUP,
        "spatial",
        spatial,
        "Informative: which tables have columns of geometry. They are carried as they are. Warns where a MariaDB and a MySQL \
         meet: only MySQL keeps a reference system per column.",
    ),
    Check::warns(
        GROUP,
        "partitioned",
        partitioned,
        "Informative: which tables are partitioned. They are carried with their partitions. Warns where a MariaDB and a MySQL \
         meet: not every kind of partition exists on both.",
    ),
];

fn target_space(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    survey.facts(Side::Target)?;
    let plan = plan::estimated(&survey.options, survey.source_objects()?, plan::write_method(survey));
    let needed = plan.target_bytes;
    let mut connection = survey.connect(Side::Target, stop)?;
    // Sizes are in KiB. Only MariaDB has this table, as a plugin; others answer 1109 (unknown table) or 1044, 1142.
    let sql = "SELECT d.Available FROM information_schema.DISKS d WHERE @@datadir LIKE CONCAT(d.Path, '%') ORDER BY \
               LENGTH(d.Path) DESC LIMIT 1";
    let free = match connection.query_row(sql, "asking for the free space") {
        Ok(row) => row.and_then(|row| row.u64(0)).map(|kib| kib.saturating_mul(1024)),
        Err(error) if error.server_error().is_some() => None,
        Err(error) => return Err(error.into()),
    };
    let fix = match survey.kind(Side::Target) {
        EndpointKind::TencentDb => {
            "In the TencentDB console: the instance > Adjust Configuration: raise the disk, or lower the local binlog retention."
        }
        _ => "Free space on the target, or give it a larger disk.",
    };
    Ok(space(needed, free, fix))
}

/// Judges the free space; `None` where the target does not tell it.
fn space(needed: u64, free: Option<u64>, fix: &str) -> Verdict {
    let expected = format!("{} free", bytes(needed));
    match free {
        Some(free) if free < needed => Verdict::fail(expected, format!("{} free", bytes(free)))
            .message("the target would be full before the copy ends")
            .fix(fix),
        Some(free) => Verdict::pass(expected, format!("{} free", bytes(free))),
        None if needed < 1 << 30 => Verdict::pass(expected, "the target does not tell its free space"),
        None => Verdict::warn(expected, "the target does not tell its free space")
            .message("1.2 times the data and indexes, and the binary log of the load, must fit")
            .fix(format!("Look at the target's free disk space. {fix}")),
    }
}

fn cascades(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let source = survey.facts(Side::Source)?;
    let tables = &survey.source_objects()?.tables;
    let selected: BTreeSet<&TableName> = tables.iter().map(|table| &table.name).collect();
    let (mut tied, mut lost) = (Vec::new(), Vec::new());
    for table in tables {
        let mut keys = table.foreign_keys.iter().filter(|key| key.cascades).peekable();
        if keys.peek().is_some() {
            tied.push(&table.name);
        }
        if keys.any(|key| !selected.contains(&key.referenced_table)) {
            lost.push(&table.name);
        }
    }
    let expected = "every parent of a foreign key with CASCADE or SET NULL is selected";
    if tied.is_empty() {
        return Ok(Verdict::pass(expected, "no such key"));
    }
    if source.logs_cascades() || !survey.options.needs_binlog() {
        return Ok(Verdict::pass(
            expected,
            format!("{}: {}", counted(tied.len(), "table", "tables"), few(&tied)),
        )
        .message("the source logs what its foreign keys change: it is carried row by row"));
    }
    if lost.is_empty() {
        let verdict =
            Verdict::pass(expected, format!("{}: {}", counted(tied.len(), "table", "tables"), few(&tied)));
        return Ok(verdict.message(
            "what these foreign keys change is not in the source's binary log: it is repeated on the target from the changes of \
             the parents, and the tables tied by them are copied together from one exact snapshot",
        ));
    }
    Ok(Verdict::fail(expected, format!("without their parents: {}", few(&lost)))
        .message(
            "what these foreign keys change is not in the source's binary log, and the parents' changes are not carried: the \
             target's rows would stay as they were",
        )
        .fix("Select the parents, too, or name the tables in objects.exclude.")
        .objects(lost))
}

fn engine(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let tables = &survey.source_objects()?.tables;
    let expected = "InnoDB";
    let others: Vec<&TableSchema> =
        tables.iter().filter(|table| !table.engine.eq_ignore_ascii_case("InnoDB")).collect();
    if others.is_empty() {
        return Ok(Verdict::pass(expected, "InnoDB"));
    }
    const ELSEWHERE: [&str; 4] = ["MRG_MYISAM", "FEDERATED", "SPIDER", "CONNECT"];
    let is_elsewhere =
        |table: &&&TableSchema| ELSEWHERE.contains(&table.engine.to_ascii_uppercase().as_str());
    let broken: Vec<&TableName> =
        others.iter().filter(|table| table.engine.is_empty()).map(|table| &table.name).collect();
    if !broken.is_empty() {
        return Ok(Verdict::fail(expected, format!("the source cannot open {}", few(&broken)))
            .message("the table is damaged, or its storage engine is not loaded")
            .fix("Repair them (CHECK TABLE tells more), or name them in objects.exclude.")
            .objects(broken));
    }
    let elsewhere: Vec<&TableName> = others.iter().filter(is_elsewhere).map(|table| &table.name).collect();
    if !elsewhere.is_empty() {
        return Ok(Verdict::fail(expected, few(&elsewhere))
            .message("the rows of these tables are those of other tables or servers and would be copied as their own")
            .fix("Name them in objects.exclude, and create them on the target by hand.")
            .objects(elsewhere));
    }
    let engines: BTreeSet<&str> = others.iter().map(|table| table.engine.as_str()).collect();
    let engines: Vec<&str> = engines.into_iter().collect();
    Ok(Verdict::warn(
        expected,
        format!("{} of {}", counted(others.len(), "table", "tables"), engines.join(", ")),
    )
    .message("they become InnoDB tables on the target: larger on disk, with transactions and row locks")
    .fix(format!(
        "Nothing must be done. To see it beforehand on the source: ALTER TABLE {} ENGINE = InnoDB;",
        quote::table(&others[0].name)
    ))
    .objects(others.iter().map(|table| &table.name)))
}

fn row_format_fixed(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let options = &survey.definitions()?.options;
    let tables: Vec<&TableName> = options
        .iter()
        .filter(|(_, options)| options.contains("row_format=fixed") || options.contains("row_format=page"))
        .map(|(table, _)| table)
        .collect();
    let expected = "no ROW_FORMAT=FIXED";
    if tables.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    Ok(Verdict::warn(expected, format!("{}: {}", counted(tables.len(), "table", "tables"), few(&tables)))
        .message("InnoDB does not have this row format; the target's default is used")
        .fix("Nothing must be done.")
        .objects(tables))
}

fn object_names(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let transform = survey.transform()?;
    let objects = survey.source_objects()?;
    let names: Vec<TableName> = objects
        .tables
        .iter()
        .map(|table| &table.name)
        .chain(&objects.views)
        .filter(|name| {
            let target = transform.route.target_of(name);
            !target.database.is_ascii() || !target.table.is_ascii()
        })
        .cloned()
        .collect();
    let expected = "names of ASCII characters on a TencentDB";
    if names.is_empty() || survey.kind(Side::Target) != EndpointKind::TencentDb {
        return Ok(Verdict::pass(
            expected,
            format!("{} not of ASCII", counted(names.len(), "name", "names")),
        ));
    }
    let rules: Vec<String> = names.iter().take(5).map(|name| format!("\"{name}\" = \"…\"")).collect();
    Ok(Verdict::fail(expected, few(&names))
        .message("TencentDB does not support such names of databases and tables")
        .fix(format!("Give them other names in objects.rename: {}", rules.join(", ")))
        .objects(names))
}

/// Says which tables have something special; warns only between different flavors.
fn informative(
    survey: &Survey,
    noun: &str,
    tables: Vec<&TableName>,
    between_flavors: &str,
) -> Result<Verdict, Blocked> {
    let expected = format!("known: tables with {noun}");
    if tables.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    let actual = format!("{}: {}", counted(tables.len(), "table", "tables"), few(&tables));
    if survey.facts(Side::Source)?.flavor == survey.facts(Side::Target)?.flavor {
        return Ok(Verdict::pass(expected, actual).objects(tables));
    }
    Ok(Verdict::warn(expected, actual)
        .message(between_flavors)
        .fix("See upgrade.tables for what the target really takes, and check these with `dts check --mode full`.")
        .objects(tables))
}

fn tables_where(survey: &Survey, has: impl Fn(&TableSchema) -> bool) -> Result<Vec<&TableName>, Blocked> {
    Ok(survey.source_objects()?.tables.iter().filter(|table| has(table)).map(|table| &table.name).collect())
}

fn generated_columns(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let tables = tables_where(survey, |table| table.columns.iter().any(|column| column.generated))?;
    informative(survey, "generated columns", tables, "expressions may mean something else in another flavor")
}

fn spatial(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let tables =
        tables_where(survey, |table| table.columns.iter().any(|column| column.kind == ColumnKind::Geometry))?;
    informative(survey, "geometry", tables, "reference systems (SRID) are kept otherwise in another flavor")
}

fn partitioned(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let tables = tables_where(survey, |table| table.partitioned)?;
    informative(survey, "partitions", tables, "not every kind of partition exists in another flavor")
}

#[cfg(test)]
mod tests {
    use super::space;
    use crate::validator::ItemResult;

    /// Only a MariaDB with its plugin DISKS tells its free space, and the disks of test servers are large.
    #[test]
    fn the_target_must_have_room() {
        let gib = 1 << 30;
        let full = space(10 * gib, Some(9 * gib), "Free space.");
        assert!(
            full.result == ItemResult::Fail && full.fix == "Free space." && full.actual == "9.0 GiB free",
            "{full:?}"
        );
        assert_eq!(space(10 * gib, Some(10 * gib), "").result, ItemResult::Pass);
        assert_eq!(space(10 * gib, None, "").result, ItemResult::Warn);
        assert_eq!(space(gib - 1, None, "").result, ItemResult::Pass);
    }
}
