//! Foreign keys, indexes and partitions that the target refuses.
use std::collections::{BTreeSet, HashMap, HashSet};

use super::{GROUP, REFUSED, Scan};
use crate::data::{Column, ColumnKind, TableName, TableSchema};
use crate::error::Side;
use crate::format::few;
use crate::sql::{Dialect, LexemeKind, lexemes, quote};
use crate::stop::StopToken;
use crate::validator::definitions::Partition;
use crate::validator::finding::Verdict;
use crate::validator::registry::Check;
use crate::validator::survey::{Blocked, Survey};
use crate::wire::Connection;

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "upgrade.foreign_key_length",
        foreign_key_length,
        "No name of a foreign key is longer than 64 characters when the target is 8.0.11 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::warns(
        GROUP,
        "upgrade.foreign_key_references",
        foreign_key_references,
        "Every foreign key refers to all columns of a UNIQUE key when the target is 8.4 or later. Warns otherwise: the target \
         refuses it unless restrict_fk_on_non_standard_key is off.",
    ),
    Check::warns(
        GROUP,
        "upgrade.index_too_large",
        index_too_large,
        "No table that asks for ROW_FORMAT REDUNDANT or COMPACT has an index part of more than 767 bytes when the target is 8.0 \
         or later. Warns otherwise; upgrade.tables tells whether the target takes it.",
    ),
    Check::warns(
        GROUP,
        "upgrade.partition_bounds",
        partition_bounds,
        "No bound of a partition is a date or time with other delimiters than '-' and ':' when the target is 8.0.29 or later. Warns \
         otherwise; upgrade.tables tells whether the target takes it.",
    ),
    Check::fails(
        GROUP,
        "upgrade.partitions_with_prefix_keys",
        partitions_with_prefix_keys,
        "No table is partitioned by KEY over a column that its key has only a prefix of, when the target is 8.4 or later. Fails \
         otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::warns(
        GROUP,
        "upgrade.invalid_engine_foreign_key",
        invalid_engine_foreign_key,
        "Every table that a foreign key refers to is an InnoDB table. Warns otherwise: the source does not enforce such a key, so \
         that rows without a parent may be there, and on the target, where all tables are of InnoDB, it is enforced.",
    ),
    Check::warns(
        GROUP,
        "upgrade.non_native_partitioning",
        non_native_partitioning,
        "Every partitioned table is an InnoDB table when the target is 8.0.11 or later, which has no other. Warns otherwise: it \
         becomes one; upgrade.tables tells whether the target takes it.",
    ),
];

fn foreign_key_length(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 11), "names of foreign keys of at most 64 characters")
        .fails()
        .trouble(
            "the target refuses such names; they come from a long name of the table with _ibfk_ behind it",
            "On the source: ALTER TABLE … DROP FOREIGN KEY …, ADD CONSTRAINT <a shorter name> FOREIGN KEY …;",
        )
        .run(survey, || {
            let objects = survey.source_objects()?;
            if objects.tables.iter().all(|table| table.foreign_keys.is_empty()) {
                return Ok(Vec::new());
            }
            let names: HashSet<&TableName> = objects.tables.iter().map(|table| &table.name).collect();
            let mut connection = survey.connect(Side::Source, stop)?;
            let long = tables_with_long_keys(&mut connection)?;
            Ok(long.into_iter().filter(|name| names.contains(name)).collect())
        })
}

/// Tables with a foreign key whose name has more than 64 characters.
///
/// information_schema cuts names of constraints after 64 characters; InnoDB's own list has them whole. It has the table as
/// `database/table` in the encoding of file names (`order@002ditems`), and the key as `database/name` with only the database in it
/// (tried on 5.6).
fn tables_with_long_keys(connection: &mut Connection) -> Result<BTreeSet<TableName>, Blocked> {
    let sql = "SELECT FOR_NAME, ID FROM information_schema.INNODB_SYS_FOREIGN WHERE CHAR_LENGTH(SUBSTRING(ID, LOCATE('/', ID) + 1)) > 64";
    let mut tables = BTreeSet::new();
    for row in connection.query(sql, "reading the names of foreign keys")? {
        let encoded = row.string(0);
        let Some((database, table)) = encoded.split_once('/') else { continue };
        let decoded = |name| format!("CONVERT(_filename{} USING utf8mb4)", quote::string_literal(name));
        let sql = format!("SELECT {}, {}", decoded(database), decoded(table));
        if let Some(row) = connection.query_row(sql, "decoding the name of a table's file")? {
            tables.insert(TableName::new(row.string(0), row.string(1)));
        }
    }
    Ok(tables)
}

fn foreign_key_references(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 4, 0), "foreign keys refer to UNIQUE keys")
        .trouble(
            "the target refuses them unless the account may set restrict_fk_on_non_standard_key; upgrade.tables tells whether it \
             may",
            "On the source add a UNIQUE key over exactly the columns referred to; or on the target: SET PERSIST \
             restrict_fk_on_non_standard_key = OFF;",
        )
        .run(survey, || {
            let objects = survey.source_objects()?;
            let by_name: HashMap<&TableName, &TableSchema> =
                objects.tables.iter().map(|table| (&table.name, table)).collect();
            let mut found = Vec::new();
            for table in &objects.tables {
                for key in &table.foreign_keys {
                    let Some(parent) = by_name.get(&key.referenced_table) else { continue };
                    let wanted: HashSet<&str> = key.referenced_columns.iter().map(String::as_str).collect();
                    let is_standard = parent.indexes.iter().any(|index| {
                        let columns: HashSet<&str> = index
                            .parts
                            .iter()
                            .filter(|part| part.prefix.is_none())
                            .filter_map(|part| Some(parent.columns.get(part.column?)?.name.as_str()))
                            .collect();
                        index.unique && columns.len() == index.parts.len() && columns == wanted
                    });
                    if !is_standard {
                        found.push(format!("{}: {}", table.name, key.name));
                    }
                }
            }
            Ok(found)
        })
}

fn index_too_large(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 0), "no long index in an old row format")
        .trouble(
            "index parts of more than 767 bytes need the row format DYNAMIC; upgrade.tables tells whether the target takes them",
            "On the source: ALTER TABLE … ROW_FORMAT = DYNAMIC; (with innodb_large_prefix on 5.6)",
        )
        .run(survey, || {
            let objects = survey.source_objects()?;
            let definitions = survey.definitions()?;
            let is_old = |name: &TableName| {
                definitions.options.iter().any(|(table, options)| {
                    table == name
                        && (options.contains("row_format=compact") || options.contains("row_format=redundant"))
                })
            };
            let has = |table: &&TableSchema| {
                table.indexes.iter().filter(|index| index.index_type == "BTREE").any(|index| {
                    index.parts.iter().any(|part| {
                        part.column.and_then(|column| table.columns.get(column)).is_some_and(|column| {
                            octets(column, part.prefix) > 767
                        })
                    })
                }) && is_old(&table.name)
            };
            Ok(objects.tables.iter().filter(has).map(|table| table.name.clone()).collect())
        })
}

/// How many bytes of a text or binary column an index part may take; 0 for others.
fn octets(column: &Column, prefix: Option<u32>) -> u64 {
    let inner = |text: &str| text.split('(').nth(1)?.split(')').next()?.parse::<u64>().ok();
    let characters = match column.kind {
        ColumnKind::Text | ColumnKind::Blob | ColumnKind::Binary(_) => {
            prefix.map(u64::from).or_else(|| inner(&column.type_text)).unwrap_or(0)
        }
        _ => 0,
    };
    let width = match column.charset.as_deref() {
        Some("utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030") => 4,
        Some("utf8" | "utf8mb3" | "ujis" | "eucjpms") => 3,
        Some("gbk" | "gb2312" | "big5" | "sjis" | "cp932" | "euckr" | "ucs2") => 2,
        _ => 1,
    };
    characters * width
}

fn partition_bounds(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 29), "dates in bounds of partitions are written with dashes")
        .trouble(
            "the target refuses or warns of such bounds",
            "On the source: ALTER TABLE … REORGANIZE PARTITION … with 'YYYY-MM-DD hh:mm:ss'.",
        )
        .run(survey, || {
            let tables: HashMap<&TableName, &TableSchema> =
                survey.source_objects()?.tables.iter().map(|table| (&table.name, table)).collect();
            let has_odd_bound = |partition: &&Partition| {
                tables.get(&partition.table).is_some_and(|table| has_odd_date(partition, table))
            };
            let partitions = survey.definitions()?.partitions.iter();
            let found: BTreeSet<&TableName> =
                partitions.filter(has_odd_bound).map(|partition| &partition.table).collect();
            Ok(found.into_iter().cloned().collect())
        })
}

/// Whether a bound of a date column is written with odd delimiters. Bounds are those of several columns (`1,'2020-01-01'`), and
/// several of these (`(1,'2020-01-01'),(2,'2021-01-01')`).
fn has_odd_date(partition: &Partition, table: &TableSchema) -> bool {
    let is_date = |name: &str| {
        let name = quote::unquote_identifier(name.trim()).unwrap_or_else(|| name.trim().to_owned());
        table.columns.iter().any(|column| {
            column.name.eq_ignore_ascii_case(&name)
                && matches!(column.kind, ColumnKind::Date | ColumnKind::DateTime | ColumnKind::Timestamp)
        })
    };
    let are_dates: Vec<bool> = partition.expression.split(',').map(is_date).collect();
    let mut place = 0;
    for piece in lexemes(&partition.bound, Dialect::default()).unwrap_or_default() {
        match piece.kind {
            LexemeKind::Punctuation if piece.text == "," => place += 1,
            LexemeKind::Text if are_dates[place % are_dates.len()] && is_odd_date(piece.text) => return true,
            _ => {}
        }
    }
    false
}

/// `'2020.01.01'`: what MySQL 9.7 does not take as a bound (1654) and 5.6 does.
fn is_odd_date(literal: &str) -> bool {
    let text = literal.trim_matches('\'');
    let digits = text.split(|character: char| !character.is_ascii_digit());
    let is_undelimited = digits.clone().next().is_some_and(|first| first.len() >= 8);
    let delimiters: Vec<&str> =
        text.split(|character: char| character.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    const OF_DATE: [&[&str]; 2] = [&["-"], &["-"]];
    const OF_TIME: [&[&str]; 4] = [&[" ", "T", "t"], &[":"], &[":"], &["."]];
    let expected = OF_DATE.iter().skip(if is_undelimited { 2 } else { 0 }).chain(&OF_TIME);
    delimiters.iter().zip(expected).any(|(delimiter, allowed)| !allowed.contains(delimiter))
}

fn partitions_with_prefix_keys(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 4, 0), "no KEY partitions over a prefix")
        .fails()
        .trouble(
            "the target refuses such tables",
            "On the source: name whole columns in PARTITION BY KEY (…), or in the primary key.",
        )
        .run(survey, || {
            let definitions = survey.definitions()?;
            let objects = survey.source_objects()?;
            let by_key: BTreeSet<(&TableName, &str)> = definitions
                .partitions
                .iter()
                .filter(|partition| partition.method.to_ascii_uppercase().contains("KEY"))
                .map(|partition| (&partition.table, partition.expression.as_str()))
                .collect();
            let has_prefix = |(name, expression): &(&TableName, &str)| {
                objects.tables.iter().filter(|table| table.name == **name).any(|table| {
                    table.indexes.iter().filter(|index| index.unique).flat_map(|index| &index.parts).any(
                        |part| {
                            let column = part.column.and_then(|column| table.columns.get(column));
                            part.prefix.is_some()
                                && column.is_some_and(|column| {
                                    expression.is_empty()
                                        || expression.contains(&format!("`{}`", column.name))
                                        || expression.split(',').any(|name| name.trim() == column.name)
                                })
                        },
                    )
                })
            };
            Ok(by_key.into_iter().filter(has_prefix).map(|(name, _)| name.clone()).collect())
        })
}

fn invalid_engine_foreign_key(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let objects = survey.source_objects()?;
    let is_other = |table: &&TableSchema| !table.engine.eq_ignore_ascii_case("InnoDB");
    let others: HashSet<&TableName> =
        objects.tables.iter().filter(is_other).map(|table| &table.name).collect();
    let mut found = Vec::new();
    for table in &objects.tables {
        let keys = table.foreign_keys.iter().filter(|key| others.contains(&key.referenced_table));
        found.extend(keys.map(|key| format!("{}: {} to {}", table.name, key.name, key.referenced_table)));
    }
    let expected = "foreign keys refer to InnoDB tables";
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "all do"));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message(
            "the source does not enforce these keys and the target will: rows that have no parent are carried as they are, and \
             later changes of them are refused",
        )
        .fix("On the source: ALTER TABLE <the table referred to> ENGINE = InnoDB; or drop the foreign key.")
        .objects(found))
}

fn non_native_partitioning(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 11), "only InnoDB tables are partitioned")
        .trouble(
            "the target has partitions only of InnoDB: the tables become InnoDB tables with the same partitions",
            "Nothing must be done. To see it beforehand on the source: ALTER TABLE … ENGINE = InnoDB;",
        )
        .run(survey, || {
            let is_other =
                |table: &&TableSchema| table.partitioned && !table.engine.eq_ignore_ascii_case("InnoDB");
            let tables = survey.source_objects()?.tables.iter().filter(is_other);
            Ok(tables.map(|table| table.name.clone()).collect())
        })
}

#[cfg(test)]
mod tests {
    use super::is_odd_date;

    #[test]
    fn delimiters_of_dates_and_times() {
        for text in [
            "2020-01-01",
            "20200101",
            "20-1-1",
            "2020-01-01 10:11:12.5",
            "20200101T10:11:12",
            "2020-01-01 10",
        ] {
            assert!(!is_odd_date(&format!("'{text}'")), "{text}");
        }
        for text in
            ["2020.01.01", "2020-01.01", "2020/1/1", "2020--01-01", "2020-01-01 10.11.12", "2020-01-01  10"]
        {
            assert!(is_odd_date(&format!("'{text}'")), "{text}");
        }
    }
}
