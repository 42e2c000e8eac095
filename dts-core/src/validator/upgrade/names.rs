//! Names that the target cannot have.
use super::{GROUP, Scan};
use crate::data::TableName;
use crate::error::Side;
use crate::format::few;
use crate::server::{Flavor, ServerVersion};
use crate::stop::StopToken;
use crate::validator::finding::Verdict;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "upgrade.invalid_57_names",
        invalid_57_names,
        "No selected database or table is still named as 5.0 encoded it (#mysql50#…). Fails otherwise.",
    )
    .not_ignorable("such names cannot be written on any target"),
    Check::warns(
        GROUP,
        "upgrade.fts_in_table_name",
        fts_in_table_name,
        "No table's name contains FTS when the target is 8.0.11 to 8.0.17: their upgrade code mistakes it for an internal table. \
         Warns otherwise.",
    ),
    Check::warns(
        GROUP,
        "upgrade.orphaned_objects",
        orphaned_objects,
        "No procedure, function or event belongs to a database that is not there any more (its folder was removed by hand). Warns \
         otherwise: it cannot be carried. From 8.0 on a server has no such objects.",
    ),
];

fn invalid_57_names(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    const ENCODED: &str = "#mysql50#";
    let objects = survey.source_objects()?;
    let selection = &survey.transform()?.selection;
    let expected = "no name of the form #mysql50#…";
    let found: Vec<String> = objects
        .databases
        .iter()
        .map(|database| database.name.clone())
        .filter(|name| selection.selects_database(name))
        .chain(objects.tables.iter().map(|table| table.name.table.clone()))
        .filter(|name| name.starts_with(ENCODED))
        .collect();
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    Ok(Verdict::fail(expected, few(&found))
        .message("such a folder or file was not made by this version of the server")
        .fix("On the source: ALTER DATABASE `#mysql50#…` UPGRADE DATA DIRECTORY NAME; or move the folder out of the data folder.")
        .objects(found))
}

fn fts_in_table_name(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    if target.flavor == Flavor::MySql && !mistakes_fts(target.version) {
        return Ok(Verdict::not_needed(format!("{} knows such names", target.version)));
    }
    Scan::new((8, 0, 11), "no FTS in names of tables")
        .trouble(
            "a later upgrade of the target may mistake them for internal tables",
            "Rename them, or choose a later target.",
        )
        .run(survey, || Ok(like_fts(survey.source_objects()?.tables.iter().map(|table| &table.name))))
}

fn orphaned_objects(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let source = survey.facts(Side::Source)?;
    let options = &survey.options;
    let expected = "no program of a database that is not there";
    if source.is_mysql_at_least(8, 0, 0) {
        return Ok(Verdict::pass(expected, format!("{} has no such objects", source.version)));
    }
    let selection = &survey.transform()?.selection;
    let mut connection = survey.connect(Side::Source, stop)?;
    let mut found = Vec::new();
    let kinds = [
        (options.routines, "ROUTINES", "ROUTINE_SCHEMA", "ROUTINE_NAME"),
        (options.events, "EVENTS", "EVENT_SCHEMA", "EVENT_NAME"),
    ];
    for (_, table, schema, name) in kinds.into_iter().filter(|(is_carried, ..)| *is_carried) {
        let sql = format!(
            "SELECT {schema}, {name} FROM information_schema.{table} WHERE {schema} NOT IN (SELECT SCHEMA_NAME FROM \
             information_schema.SCHEMATA) ORDER BY {schema}, {name}"
        );
        let rows = connection.query(sql, "looking for programs without a database")?;
        let names = rows.iter().map(|row| TableName::new(row.string(0), row.string(1)));
        found.extend(names.filter(|name| selection.is_whole_database(&name.database)));
    }
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "none"));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message("their database is gone, so they are not carried")
        .fix("Nothing must be done. To be rid of them on the source: CREATE DATABASE …; DROP DATABASE …; of the same name.")
        .objects(found))
}

/// Returns whether an upgrade of a target of this version takes such a table for an internal one; 8.0.18 no longer does.
fn mistakes_fts(target: ServerVersion) -> bool {
    target < ServerVersion(8, 0, 18)
}

fn like_fts<'t>(tables: impl Iterator<Item = &'t TableName>) -> Vec<TableName> {
    tables.filter(|name| name.table.contains("FTS")).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_fts_trouble_targets_before_8_0_18() {
        assert!(mistakes_fts(ServerVersion(8, 0, 17)) && mistakes_fts(ServerVersion(8, 0, 11)));
        assert!(!mistakes_fts(ServerVersion(8, 0, 18)) && !mistakes_fts(ServerVersion(9, 7, 4)));
        let names =
            [TableName::new("d", "FTS_1"), TableName::new("d", "xFTSx"), TableName::new("FTS", "fts")];
        assert_eq!(like_fts(names.iter()), names[..2]);
    }
}
