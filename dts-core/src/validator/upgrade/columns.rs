//! Columns that the target refuses, or that mean something else there.
use super::{GROUP, REFUSED, Scan};
use crate::data::{Column, ColumnKind, TableName, TableSchema};
use crate::error::Side;
use crate::format::{counted, few};
use crate::sql::{Dialect, lexemes};
use crate::stop::StopToken;
use crate::validator::definitions::functions_called;
use crate::validator::finding::Verdict;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};

pub(super) const CHECKS: &[Check] = &[
    Check::warns(
        GROUP,
        "upgrade.zero_dates",
        zero_dates,
        "No column has a zero date as its default while the target's global sql_mode has NO_ZERO_DATE or NO_ZERO_IN_DATE. Warns \
         otherwise: the task's sessions allow it, later schema changes of the table do not.",
    ),
    Check::warns(
        GROUP,
        "upgrade.utf8mb3",
        utf8mb3,
        "No selected table uses utf8 (utf8mb3) when the target is 8.0.11 or later. Warns otherwise: it is deprecated there, and \
         kept as it is.",
    ),
    Check::fails(
        GROUP,
        "upgrade.enum_set_length",
        enum_set_length,
        "No element of an ENUM or SET is longer than 255 characters when the target is 8.0.11 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::fails(
        GROUP,
        "upgrade.columns_which_cannot_have_defaults",
        columns_which_cannot_have_defaults,
        "No BLOB, TEXT, GEOMETRY or JSON column has a literal default when the target is 8.0.12 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::fails(
        GROUP,
        "upgrade.auto_increment_float",
        auto_increment_float,
        "No FLOAT or DOUBLE column is AUTO_INCREMENT when the target is 8.4 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::warns(
        GROUP,
        "upgrade.functions_in_generated_columns",
        functions_in_generated_columns,
        "No indexed generated column uses CAST or CONVERT when the target is 8.0.28 or later and the source older. Warns \
         otherwise: results of these functions changed.",
    ),
    Check::warns(
        GROUP,
        "upgrade.default_collation",
        default_collation,
        "The source's default collation of utf8mb4 is the target's. Warns otherwise: the task writes every collation out, but \
         applications that create tables or compare literals get another one.",
    ),
];

fn zero_dates(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let target = survey.facts(Side::Target)?;
    let expected = "no default of a zero date, or a target that allows them";
    let definitions = survey.definitions()?;
    let found: Vec<String> = definitions
        .columns
        .iter()
        .filter(|column| column.default.as_deref().is_some_and(|text| text.contains("0000-00-00")))
        .filter(|column| matches!(column.data_type.as_str(), "date" | "datetime" | "timestamp"))
        .map(|column| format!("{}.{}", column.table, column.column))
        .collect();
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "no such default"));
    }
    let Some(mode) = target.variable("sql_mode") else {
        return Ok(Verdict::hidden(expected, "the target's sql_mode").objects(found));
    };
    let refuses =
        mode.split(',').any(|flag| matches!(flag, "NO_ZERO_DATE" | "NO_ZERO_IN_DATE" | "TRADITIONAL"));
    if !refuses {
        return Ok(Verdict::pass(
            expected,
            counted(found.len(), "column with such a default", "columns with such a default"),
        ));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message("the task's sessions allow them; ALTER TABLE and INSERT by applications are refused on the target (1067)")
        .fix("On the source: ALTER TABLE … ALTER COLUMN … DROP DEFAULT; or leave NO_ZERO_DATE out of the target's sql_mode.")
        .objects(found))
}

fn utf8mb3(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let is_mb3 = |charset: &str| matches!(charset, "utf8" | "utf8mb3");
    Scan::new((8, 0, 11), "no utf8 of three bytes")
        .trouble(
            "utf8 of three bytes is deprecated on the target; it is kept as it is, under the name utf8mb3",
            "Nothing must be done. After the cut-over: ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4;",
        )
        .run(survey, || {
            let objects = survey.source_objects()?;
            let has = |table: &&TableSchema| {
                is_mb3(&table.charset)
                    || table.columns.iter().any(|column| column.charset.as_deref().is_some_and(is_mb3))
            };
            Ok(objects.tables.iter().filter(has).map(|table| table.name.clone()).collect())
        })
}

fn enum_set_length(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 11), "elements of at most 255 characters")
        .fails()
        .trouble(
            "the target refuses such columns",
            "Shorten the elements on the source: ALTER TABLE … MODIFY COLUMN … ENUM(…);",
        )
        .run(survey, || {
            columns_where(survey, |_, column| match &column.kind {
                ColumnKind::Enum(labels) | ColumnKind::Set(labels) => {
                    labels.iter().any(|label| label.chars().count() > 255)
                }
                _ => false,
            })
        })
}

fn columns_which_cannot_have_defaults(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 12), "no literal default on BLOB, TEXT, GEOMETRY or JSON")
        .fails()
        .trouble(
            "the target refuses such columns (1101)",
            "On the source: ALTER TABLE … ALTER COLUMN … DROP DEFAULT;",
        )
        .run(survey, || {
            let is_long = |data_type: &str| {
                data_type.ends_with("blob")
                    || data_type.ends_with("text")
                    || matches!(data_type, "json" | "geometry" | "point")
            };
            let columns = survey.definitions()?.columns.iter();
            let found = columns.filter(|column| {
                is_long(&column.data_type)
                    && column.default.as_deref().is_some_and(|default| !default.is_empty())
            });
            Ok(found.map(|column| format!("{}.{}", column.table, column.column)).collect())
        })
}

fn auto_increment_float(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 4, 0), "AUTO_INCREMENT only on integers")
        .fails()
        .trouble(
            "the target refuses such columns",
            "On the source: ALTER TABLE … MODIFY COLUMN … BIGINT NOT NULL AUTO_INCREMENT;",
        )
        .run(survey, || {
            columns_where(survey, |_, column| {
                column.auto_increment && matches!(column.kind, ColumnKind::Float | ColumnKind::Double)
            })
        })
}

fn functions_in_generated_columns(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 28), "no CAST or CONVERT in indexed generated columns")
        .trouble(
            "results of these functions changed: the target computes the values anew, and a UNIQUE index may find other duplicates",
            "Check these tables with `dts check --mode full`.",
        )
        .run(survey, || {
            let objects = survey.source_objects()?;
            let definitions = survey.definitions()?;
            let is_indexed = |table: &TableName, name: &str| {
                objects.tables.iter().filter(|schema| schema.name == *table).any(|schema| {
                    schema.indexes.iter().flat_map(|index| &index.parts).any(|part| {
                        part.column.and_then(|column| schema.columns.get(column)).is_some_and(|c| c.name == name)
                    })
                })
            };
            let found = definitions.columns.iter().filter(|column| !column.expression.is_empty()).filter(|column| {
                let pieces = lexemes(&column.expression, Dialect::default()).unwrap_or_default();
                !functions_called(&pieces, &["CAST", "CONVERT"]).is_empty() && is_indexed(&column.table, &column.column)
            });
            Ok(found.map(|column| format!("{}.{}", column.table, column.column)).collect())
        })
}

fn default_collation(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    let sql = "SELECT DEFAULT_COLLATE_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = 'utf8mb4'";
    let of = |side| -> Result<String, Blocked> {
        let row = survey.connect(side, stop)?.query_row(sql, "asking for the default collation")?;
        Ok(row.map(|row| row.string(0)).unwrap_or_default())
    };
    let (source, target) = (of(Side::Source)?, of(Side::Target)?);
    let expected = format!("{source}, as on the source");
    if source == target {
        return Ok(Verdict::pass(expected, target));
    }
    let uses = |table: &&TableSchema| {
        table.charset == "utf8mb4"
            || table.columns.iter().any(|column| column.charset.as_deref() == Some("utf8mb4"))
    };
    let users: Vec<&TableName> =
        survey.source_objects()?.tables.iter().filter(uses).map(|table| &table.name).collect();
    if users.is_empty() {
        return Ok(Verdict::pass(expected, format!("{target}; no selected table uses utf8mb4")));
    }
    Ok(Verdict::warn(expected, target)
        .message("the task writes every collation out; what applications create without one compares otherwise, and joins of the \
                  two fail (1267)")
        .fix("In applications write COLLATE out in CREATE TABLE, and set collation_connection; or set collation_server on the target.")
        .objects(users))
}

fn columns_where(
    survey: &Survey,
    has: impl Fn(&TableSchema, &Column) -> bool,
) -> Result<Vec<String>, Blocked> {
    let objects = survey.source_objects()?;
    let mut found = Vec::new();
    for table in &objects.tables {
        let columns = table.columns.iter().filter(|column| has(table, column));
        found.extend(columns.map(|column| format!("{}.{}", table.name, column.name)));
    }
    Ok(found)
}
