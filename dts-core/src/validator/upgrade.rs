//! What the target's version no longer takes: found in the definitions, and by trying them on the target.
//!
//! Ids follow those of MySQL Shell's upgrade checker where it has one. A check applies when the source is older than the version
//! that made the change and the target is not. Checks of file formats have no item: a logical copy writes new files.
use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;

use crate::data::{ColumnKind, TableName};
use crate::error::Side;
use crate::server::{Flavor, ServerFacts, ServerVersion, accounts as catalog};
use crate::sql::LexemeKind;
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::stop::StopToken;
use crate::validator::definitions::{Program, functions_called};
use crate::validator::finding::Verdict;
use crate::validator::fix::{count, few};
use crate::validator::privileges::quoted_account;
use crate::validator::registry::Check;
use crate::validator::stored;
use crate::validator::survey::{Blocked, Survey};
use crate::validator::trial::Outcome;

const GROUP: &str = "upgrade";
const REFUSED: &str = "the target refuses to create these objects";

pub(super) const CHECKS: &[Check] = &[
    Check::fails(
        GROUP,
        "upgrade.tables",
        tables,
        "Every table, with its indexes and foreign keys, can be created on the target: it is tried without rows in a scratch \
         database that is removed again (validate.try_structure). Fails otherwise, with the target's own error. Tables of one \
         shape are tried once.",
    )
    .not_ignorable(REFUSED),
    Check::fails(
        GROUP,
        "upgrade.views",
        views,
        "Every view can be created on the target; tried in the same way. Fails otherwise, with the target's own error.",
    ),
    Check::fails(
        GROUP,
        "upgrade.syntax",
        syntax,
        "Every procedure, function, trigger and event is accepted by the target's grammar; tried in the same way (an event as a \
         procedure with its body, so that nothing runs). Fails otherwise, with the target's own error.",
    ),
    Check::warns(
        GROUP,
        "upgrade.removed_functions",
        removed_functions,
        "No view, stored program or generated column calls a function that the target no longer has (8.0: ENCODE, DECODE, \
         ENCRYPT, DES_ENCRYPT, DES_DECRYPT, PASSWORD and the spatial names without ST_; 9.6: MD5, SHA, SHA1). Warns otherwise: \
         it is created and fails when it is used.",
    ),
    Check::warns(
        GROUP,
        "upgrade.group_by_asc",
        group_by_asc,
        "No view or stored program has GROUP BY … ASC or DESC, gone since 8.0.13. Warns otherwise.",
    ),
    Check::warns(
        GROUP,
        "upgrade.sql_mode_flags",
        sql_mode_flags,
        "No stored program was created under a sql_mode flag that 8.0.11 removed (NO_AUTO_CREATE_USER, ORACLE, …). Warns \
         otherwise: the flag is left out. MAXDB also makes every TIMESTAMP a DATETIME.",
    ),
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
    Check::fails(
        GROUP,
        "upgrade.columns_which_cannot_have_defaults",
        columns_which_cannot_have_defaults,
        "No BLOB, TEXT, GEOMETRY or JSON column has a literal default when the target is 8.0.12 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::fails(
        GROUP,
        "upgrade.partition_bounds",
        partition_bounds,
        "No bound of a partition is written with other date delimiters than '-' when the target is 8.0.29 or later. Warns \
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
    Check::fails(
        GROUP,
        "upgrade.auto_increment_float",
        auto_increment_float,
        "No FLOAT or DOUBLE column is AUTO_INCREMENT when the target is 8.4 or later. Fails otherwise.",
    )
    .not_ignorable(REFUSED),
    Check::warns(
        GROUP,
        "upgrade.empty_dot_table_syntax",
        empty_dot_table_syntax,
        "No stored program names a table as `.table`, gone since 8.0. Warns otherwise; upgrade.syntax tells whether the target \
         takes it.",
    ),
    Check::warns(
        GROUP,
        "upgrade.dollar_sign_name",
        dollar_sign_name,
        "No view or stored program has an unquoted name that begins with $ when the target is 8.0.31 or later. Warns otherwise.",
    ),
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
        "upgrade.functions_in_generated_columns",
        functions_in_generated_columns,
        "No indexed generated column uses CAST or CONVERT when the target is 8.0.28 or later and the source older. Warns \
         otherwise: results of these functions changed.",
    ),
    Check::warns(
        GROUP,
        "upgrade.auth_methods",
        auth_methods,
        "Where accounts are carried: the login plugin of each is one that the target has and will keep. Warns otherwise: \
         mysql_native_password is gone in 9.0, sha256_password is deprecated.",
    ),
    Check::warns(
        GROUP,
        "upgrade.default_collation",
        default_collation,
        "The source's default collation of utf8mb4 is the target's. Warns otherwise: the task writes every collation out, but \
         applications that create tables or compare literals get another one.",
    ),
];

/// Whether the report needs the structure to be tried.
pub(super) fn needs_trial(id: &str) -> bool {
    matches!(id, "upgrade.tables" | "upgrade.views" | "upgrade.syntax")
}

/// Whether a change of MySQL made in a version lies between source and target. A MariaDB as the source is older than any.
fn crosses(source: &ServerFacts, target: &ServerFacts, since: ServerVersion) -> bool {
    target.flavor == Flavor::MySql
        && target.version >= since
        && (source.flavor == Flavor::MariaDb || source.version < since)
}

/// The verdict of a check that looks at definitions.
struct Scan {
    since: ServerVersion,
    fails: bool,
    expected: &'static str,
    message: &'static str,
    fix: String,
}

impl Scan {
    fn new(since: (u16, u16, u16), expected: &'static str) -> Scan {
        let (major, minor, patch) = since;
        let since = ServerVersion(major, minor, patch);
        Scan { since, fails: false, expected, message: "", fix: String::new() }
    }

    fn fails(mut self) -> Self {
        self.fails = true;
        self
    }

    fn trouble(mut self, message: &'static str, fix: impl Into<String>) -> Self {
        (self.message, self.fix) = (message, fix.into());
        self
    }

    /// Looks, unless the change does not lie between source and target.
    fn run<T: Display>(
        self,
        survey: &Survey,
        find: impl FnOnce() -> Result<Vec<T>, Blocked>,
    ) -> Result<Verdict, Blocked> {
        let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
        if !crosses(source, target, self.since) {
            let why = if target.flavor == Flavor::MariaDb {
                "a change of MySQL's; the target is MariaDB".to_owned()
            } else {
                format!(
                    "the change of {} does not lie between {} and {}",
                    self.since, source.version, target.version
                )
            };
            return Ok(Verdict::not_needed(why));
        }
        let found = find()?;
        if found.is_empty() {
            return Ok(Verdict::pass(self.expected, "none"));
        }
        let verdict = if self.fails {
            Verdict::fail(self.expected, few(&found))
        } else {
            Verdict::warn(self.expected, few(&found))
        };
        Ok(verdict.message(self.message).fix(self.fix).objects(found))
    }
}

fn programs_where(survey: &Survey, has: impl Fn(&Program) -> bool) -> Result<Vec<String>, Blocked> {
    Ok(survey
        .definitions()?
        .programs
        .iter()
        .filter(|program| has(program))
        .map(ToString::to_string)
        .collect())
}

/// What the trial says of one kind of objects.
fn tried(
    survey: &Survey,
    noun: &str,
    of: fn(&crate::validator::trial::Trial) -> &Outcome,
) -> Result<Verdict, Blocked> {
    let facts = survey.facts(Side::Source)?;
    let account = quoted_account(&facts.current_user);
    survey.facts(Side::Target)?;
    let trial = survey.trial()?;
    let expected = format!("the target takes every {noun}");
    if let Some((because, fix)) = &trial.not_possible {
        return Ok(Verdict::warn(expected, "not tried").message(because.clone()).fix(fix.clone()));
    }
    let outcome = of(trial);
    if !outcome.refused.is_empty() {
        let names: Vec<&str> = outcome.refused.iter().map(|refused| refused.object.as_str()).collect();
        let answers: Vec<String> =
            outcome.refused.iter().map(|refused| format!("{}: {}", refused.object, refused.answer)).collect();
        return Ok(Verdict::fail(expected, format!("refused: {}", few(&names)))
            .message(few(&answers))
            .fix("Change the definitions on the source so that the target takes them, or leave these objects out.")
            .objects(answers));
    }
    if !outcome.skipped.is_empty() {
        let reasons: BTreeSet<&str> = outcome.skipped.iter().map(|(_, reason)| *reason).collect();
        let reasons: Vec<&str> = reasons.into_iter().collect();
        return Ok(Verdict::warn(
            expected,
            format!("{} created, {} not tried", outcome.tried, outcome.skipped.len()),
        )
        .message(reasons.join("; "))
        .fix(match facts.is_mysql_at_least(8, 0, 20) {
            true => format!("Where texts are hidden, on the source: GRANT SHOW_ROUTINE ON *.* TO {account};"),
            false => {
                format!("Where texts are hidden, on the source: GRANT SELECT ON mysql.proc TO {account};")
            }
        })
        .objects(outcome.skipped.iter().map(|(name, reason)| format!("{name}: {reason}"))));
    }
    Ok(Verdict::pass(expected, format!("{} created and removed again", outcome.tried)))
}

fn tables(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "table", |trial| &trial.tables)
}

fn views(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "view", |trial| &trial.views)
}

fn syntax(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    tried(survey, "procedure, function, trigger and event", |trial| &trial.programs)
}

/// When each word became reserved. Words of MySQL Shell's check, and those that it misses (8.4 and 9.x).
const RESERVED: [(ServerVersion, &[&str]); 7] = [
    (ServerVersion(5, 7, 6), &["GENERATED", "OPTIMIZER_COSTS", "STORED", "VIRTUAL"]),
    (
        ServerVersion(8, 0, 11),
        &[
            "ADMIN",
            "CUBE",
            "CUME_DIST",
            "DENSE_RANK",
            "EMPTY",
            "EXCEPT",
            "FIRST_VALUE",
            "FUNCTION",
            "GROUPING",
            "GROUPS",
            "JSON_TABLE",
            "LAG",
            "LAST_VALUE",
            "LEAD",
            "NTH_VALUE",
            "NTILE",
            "OF",
            "OVER",
            "PERCENT_RANK",
            "PERSIST",
            "PERSIST_ONLY",
            "RANK",
            "RECURSIVE",
            "ROW",
            "ROWS",
            "ROW_NUMBER",
            "SYSTEM",
            "WINDOW",
        ],
    ),
    (ServerVersion(8, 0, 14), &["LATERAL"]),
    (ServerVersion(8, 0, 17), &["ARRAY", "MEMBER"]),
    (ServerVersion(8, 0, 31), &["FULL", "INTERSECT"]),
    (ServerVersion(8, 4, 0), &["MANUAL", "PARALLEL", "QUALIFY", "TABLESAMPLE"]),
    (ServerVersion(9, 4, 0), &["EXTERNAL", "LIBRARY"]),
];

/// The words that the target reserves and the source does not.
pub(super) fn words_reserved_between(source: &ServerFacts, target: &ServerFacts) -> Vec<&'static str> {
    RESERVED
        .iter()
        .filter(|(since, _)| crosses(source, target, *since))
        .flat_map(|(_, words)| words.iter().copied())
        .collect()
}

const REMOVED_FUNCTIONS: [(ServerVersion, &[&str]); 2] = [
    (
        ServerVersion(8, 0, 11),
        &[
            "ENCODE",
            "DECODE",
            "ENCRYPT",
            "DES_ENCRYPT",
            "DES_DECRYPT",
            "PASSWORD",
            "AREA",
            "ASBINARY",
            "ASTEXT",
            "ASWKB",
            "ASWKT",
            "BUFFER",
            "CENTROID",
            "CONTAINS",
            "CROSSES",
            "DIMENSION",
            "DISJOINT",
            "DISTANCE",
            "ENDPOINT",
            "ENVELOPE",
            "EQUALS",
            "EXTERIORRING",
            "GEOMCOLLFROMTEXT",
            "GEOMCOLLFROMWKB",
            "GEOMETRYFROMTEXT",
            "GEOMETRYFROMWKB",
            "GEOMETRYN",
            "GEOMETRYTYPE",
            "GEOMFROMTEXT",
            "GEOMFROMWKB",
            "GLENGTH",
            "INTERIORRINGN",
            "INTERSECTS",
            "ISCLOSED",
            "ISEMPTY",
            "ISSIMPLE",
            "LINEFROMTEXT",
            "LINEFROMWKB",
            "MLINEFROMTEXT",
            "MLINEFROMWKB",
            "MPOINTFROMTEXT",
            "MPOINTFROMWKB",
            "MPOLYFROMTEXT",
            "MPOLYFROMWKB",
            "NUMGEOMETRIES",
            "NUMINTERIORRINGS",
            "NUMPOINTS",
            "OVERLAPS",
            "POINTFROMTEXT",
            "POINTFROMWKB",
            "POINTN",
            "POLYFROMTEXT",
            "POLYFROMWKB",
            "SRID",
            "STARTPOINT",
            "TOUCHES",
            "WITHIN",
        ],
    ),
    (ServerVersion(9, 6, 0), &["MD5", "SHA", "SHA1"]),
];

fn removed_functions(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let gone: Vec<&str> = REMOVED_FUNCTIONS
        .iter()
        .filter(|(since, _)| crosses(source, target, *since))
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let scan = Scan::new(if crosses(source, target, ServerVersion(8, 0, 11)) { (8, 0, 11) } else { (9, 6, 0) }, "no function that the target lacks")
        .trouble(
            "they can be created, and fail when they are used (1305)",
            "Rewrite them on the source: AES_ENCRYPT for ENCODE, ENCRYPT and DES_…, SHA2() for MD5, SHA1 and PASSWORD, ST_… for \
             spatial functions.",
        );
    scan.run(survey, || {
        let definitions = survey.definitions()?;
        let mut found = Vec::new();
        for program in &definitions.programs {
            let called = functions_called(&program.lexemes(), &gone);
            if !called.is_empty() {
                found.push(format!("{program}: {}", called.join(", ")));
            }
        }
        for column in definitions.columns.iter().filter(|column| !column.expression.is_empty()) {
            let pieces =
                crate::sql::lexemes(&column.expression, crate::sql::Dialect::default()).unwrap_or_default();
            let called = functions_called(&pieces, &gone);
            if !called.is_empty() {
                found.push(format!("column {}.{}: {}", column.table, column.column, called.join(", ")));
            }
        }
        Ok(found)
    })
}

/// `GROUP BY a DESC`: ASC or DESC before what can follow the list, at the same depth of brackets.
fn has_group_by_order(program: &Program) -> bool {
    const ENDS: [&str; 9] = ["HAVING", "ORDER", "LIMIT", "UNION", "INTO", "FOR", "END", "PROCEDURE", "WITH"];
    let pieces = program.lexemes();
    let is = |at: usize, word: &str| {
        pieces.get(at).is_some_and(|piece: &crate::sql::Lexeme<'_>| {
            piece.kind == LexemeKind::Word && piece.text.eq_ignore_ascii_case(word)
        })
    };
    (0..pieces.len()).filter(|at| is(*at, "GROUP") && is(at + 1, "BY")).any(|start| {
        let mut depth = 0_i32;
        for (at, piece) in pieces.iter().enumerate().skip(start + 2) {
            match piece.text {
                "(" => depth += 1,
                ")" => depth -= 1,
                ";" => return false,
                _ if depth == 0 && ENDS.iter().any(|word| is(at, word)) => return false,
                _ if depth == 0 && (is(at, "ASC") || is(at, "DESC")) => return true,
                _ => {}
            }
            if depth < 0 {
                return false;
            }
        }
        false
    })
}

fn group_by_asc(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    Scan::new((8, 0, 13), "no GROUP BY … ASC or DESC")
        .trouble(
            "the target's grammar does not have it; upgrade.views and upgrade.syntax tell what it refuses",
            "Write GROUP BY … ORDER BY … instead, on the source.",
        )
        .run(survey, || programs_where(survey, has_group_by_order))
}

fn sql_mode_flags(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let has = |program: &Program| {
        program
            .sql_mode
            .split(',')
            .any(|flag| REMOVED_SQL_MODES.contains(&flag.to_ascii_uppercase().as_str()))
    };
    Scan::new((8, 0, 11), "no sql_mode flag that the target lacks")
        .trouble(
            "the flags are left out on the target; MAXDB, ORACLE and the like also change how the text is read",
            "Nothing must be done for NO_AUTO_CREATE_USER. For others create the programs anew on the source with SET SESSION \
             sql_mode = '…' of flags that both have.",
        )
        .run(survey, || programs_where(survey, has))
}

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
    let mode = target.variable("sql_mode").unwrap_or_default();
    let refuses =
        mode.split(',').any(|flag| matches!(flag, "NO_ZERO_DATE" | "NO_ZERO_IN_DATE" | "TRADITIONAL"));
    if found.is_empty() || !refuses {
        return Ok(Verdict::pass(expected, count(found.len(), "column with such a default")));
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
            let has = |table: &&crate::data::TableSchema| {
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

fn columns_where(
    survey: &Survey,
    has: impl Fn(&crate::data::TableSchema, &crate::data::Column) -> bool,
) -> Result<Vec<String>, Blocked> {
    let objects = survey.source_objects()?;
    let mut found = Vec::new();
    for table in &objects.tables {
        let columns = table.columns.iter().filter(|column| has(table, column));
        found.extend(columns.map(|column| format!("{}.{}", table.name, column.name)));
    }
    Ok(found)
}

fn foreign_key_length(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    // information_schema cuts names of constraints after 64 characters; InnoDB's own list has them whole, as
    // `database/name` in the encoding of file names, where `@` and four digits are one character.
    let decoded_length = |name: &str| name.chars().count().saturating_sub(4 * name.matches('@').count());
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
            let mut connection = survey.connect(Side::Source, stop)?;
            let sql =
                "SELECT FOR_NAME, ID FROM information_schema.INNODB_SYS_FOREIGN WHERE CHAR_LENGTH(ID) > 64";
            let names: HashSet<String> = objects
                .tables
                .iter()
                .map(|table| format!("{}/{}", table.name.database, table.name.table))
                .collect();
            let rows = connection.query(sql, "reading the names of foreign keys")?;
            let long = rows.iter().filter(|row| {
                let id = row.string(1);
                names.contains(&row.string(0))
                    && id.split_once('/').is_some_and(|(_, name)| decoded_length(name) > 64)
            });
            Ok(long.map(|row| row.string(0).replacen('/', ".", 1)).collect())
        })
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
            let by_name: std::collections::HashMap<&TableName, &crate::data::TableSchema> =
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
            let has = |table: &&crate::data::TableSchema| {
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
fn octets(column: &crate::data::Column, prefix: Option<u32>) -> u64 {
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

fn partition_bounds(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    // '2020.01.01': digits with another delimiter than the dash between them, in a string.
    let is_odd = |bound: &str| {
        let text = bound.trim_matches('\'');
        bound.starts_with('\'')
            && text.len() >= 8
            && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
            && text.as_bytes().get(4).is_some_and(|byte| byte.is_ascii_punctuation() && *byte != b'-')
    };
    Scan::new((8, 0, 29), "dates in bounds of partitions are written with dashes")
        .trouble(
            "the target refuses or warns of such bounds",
            "On the source: ALTER TABLE … REORGANIZE PARTITION … with 'YYYY-MM-DD'.",
        )
        .run(survey, || {
            let definitions = survey.definitions()?;
            let tables: BTreeSet<&TableName> = definitions
                .partitions
                .iter()
                .filter(|partition| is_odd(&partition.bound))
                .map(|partition| &partition.table)
                .collect();
            Ok(tables.into_iter().cloned().collect())
        })
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

fn empty_dot_table_syntax(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    const BEFORE: [&str; 8] = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "SELECT", "DELETE", "REPLACE"];
    let has = |program: &Program| {
        program.lexemes().windows(2).any(|pair| {
            pair[1].text == "."
                && (pair[0].text == ","
                    || (pair[0].kind == LexemeKind::Word
                        && BEFORE.iter().any(|word| word.eq_ignore_ascii_case(pair[0].text))))
        })
    };
    Scan::new((8, 0, 0), "no `.table`")
        .trouble(
            "the target's grammar does not have it",
            "Leave the dot out, or write the database before it, on the source.",
        )
        .run(survey, || programs_where(survey, has))
}

fn dollar_sign_name(survey: &Survey, _: &StopToken) -> Result<Verdict, Blocked> {
    let has = |program: &Program| {
        program.lexemes().iter().any(|piece| piece.kind == LexemeKind::Word && piece.text.starts_with('$'))
    };
    Scan::new((8, 0, 31), "no unquoted name that begins with $")
        .trouble(
            "such names are deprecated on the target and will be refused",
            "Put backticks around them on the source.",
        )
        .run(survey, || programs_where(survey, has))
}

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

/// Returns whether an upgrade of a target of this version takes such a table for an internal one; 8.0.18 no longer does.
fn mistakes_fts(target: ServerVersion) -> bool {
    target < ServerVersion(8, 0, 18)
}

fn like_fts<'t>(tables: impl Iterator<Item = &'t TableName>) -> Vec<TableName> {
    tables.filter(|name| name.table.contains("FTS")).cloned().collect()
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
                let pieces = crate::sql::lexemes(&column.expression, crate::sql::Dialect::default()).unwrap_or_default();
                !functions_called(&pieces, &["CAST", "CONVERT"]).is_empty() && is_indexed(&column.table, &column.column)
            });
            Ok(found.map(|column| format!("{}.{}", column.table, column.column)).collect())
        })
}

fn auth_methods(survey: &Survey, stop: &StopToken) -> Result<Verdict, Blocked> {
    const DEPRECATED: [(&str, ServerVersion); 2] =
        [("sha256_password", ServerVersion(8, 0, 16)), ("mysql_native_password", ServerVersion(8, 0, 34))];
    let (source, target) = (survey.facts(Side::Source)?, survey.facts(Side::Target)?);
    let expected = "login plugins that the target has and will keep";
    if !survey.options.accounts {
        return Ok(Verdict::not_needed("accounts are not carried (objects.accounts)"));
    }
    let Some(accounts) = stored::carried_accounts(&mut survey.connect(Side::Source, stop)?)? else {
        return Ok(Verdict::hidden(expected, "the source's accounts (mysql.user) to this account")
            .fix(format!("GRANT SELECT ON mysql.user TO {};", quoted_account(&source.current_user))));
    };
    let plugins = catalog::login_plugins(&mut survey.connect(Side::Target, stop)?)?;
    let is_deprecated = |plugin: &str| {
        target.flavor == Flavor::MySql
            && DEPRECATED.iter().any(|(name, since)| *name == plugin && target.version >= *since)
    };
    let found: Vec<String> = accounts
        .iter()
        .filter(|account| !plugins.contains(&account.plugin) || is_deprecated(&account.plugin))
        .map(|account| format!("{}: {}", stored::name_of(&account.account), account.plugin))
        .collect();
    if found.is_empty() {
        return Ok(Verdict::pass(expected, "all"));
    }
    Ok(Verdict::warn(expected, few(&found))
        .message(format!("{} {} does not have these login plugins, or only until a later version", target.flavor, target.version))
        .fix("Create them on the target with a plugin that it keeps: CREATE USER … IDENTIFIED WITH caching_sha2_password BY '…';")
        .objects(found))
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
    let uses = |table: &&crate::data::TableSchema| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::definitions::ProgramKind;

    #[test]
    fn names_with_fts_trouble_targets_before_8_0_18() {
        assert!(mistakes_fts(ServerVersion(8, 0, 17)) && mistakes_fts(ServerVersion(8, 0, 11)));
        assert!(!mistakes_fts(ServerVersion(8, 0, 18)) && !mistakes_fts(ServerVersion(9, 7, 4)));
        let names =
            [TableName::new("d", "FTS_1"), TableName::new("d", "xFTSx"), TableName::new("FTS", "fts")];
        assert_eq!(like_fts(names.iter()), names[..2]);
    }

    fn program(body: &str) -> Program {
        Program {
            kind: ProgramKind::Procedure,
            name: TableName::new("d", "p"),
            definer: String::new(),
            sql_mode: String::new(),
            body: body.to_owned(),
            trigger: None,
        }
    }

    #[test]
    fn group_by_with_an_order_of_its_own() {
        for (body, has) in [
            ("SELECT a FROM t GROUP BY a DESC", true),
            ("SELECT a FROM t GROUP BY a, (b) ASC HAVING a", true),
            ("SELECT a FROM t GROUP BY a ORDER BY a DESC", false),
            ("SELECT (SELECT 1 FROM t GROUP BY a) FROM u ORDER BY 1 DESC", false),
            ("BEGIN SELECT a FROM t GROUP BY a; SELECT b FROM t ORDER BY b DESC; END", false),
        ] {
            assert_eq!(has_group_by_order(&program(body)), has, "{body}");
        }
    }
}
