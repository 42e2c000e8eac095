//! Makes a schema change of the source one that the target takes and understands alike, and tells what in it matters.
//!
//! What [`create_table`](super::create_table) does to the text of `SHOW CREATE TABLE`, done to a statement that somebody
//! wrote: every engine becomes InnoDB, places on the source's disk go, `utf8` is named as the target names it, and the
//! collation of `utf8mb4` is written out where the versions mean different ones. Everything else stays byte for byte.
use crate::sql::create_table::Rewrite;
use crate::sql::create_table::{CharsetNames, is_innodb_row_format, rename_charsets, why_not};
use crate::sql::token::{Dialect, Edits, Tokens};

/// What the target needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mending<'a> {
    /// The names that the target knows.
    pub names: CharsetNames,
    /// The collation that `utf8mb4` alone means to the source, where the target means another.
    pub utf8mb4_collation: Option<&'a str>,
}

/// Changes a CREATE, ALTER or DROP of a table, index or database; `None` when the text cannot be split.
///
/// # Examples
///
/// ```
/// use dts_core::sql::Dialect;
/// use dts_core::sql::create_table::CharsetNames;
/// use dts_core::sql::mend::{Mending, mend};
///
/// let mending = Mending { names: CharsetNames::of_mysql(90700), utf8mb4_collation: Some("utf8mb4_general_ci") };
/// let (text, rewrites) = mend("CREATE TABLE t (a INT) ENGINE=MyISAM CHARSET utf8mb4", Dialect::default(), &mending).unwrap();
/// assert_eq!(text, "CREATE TABLE t (a INT) ENGINE=InnoDB CHARSET utf8mb4 COLLATE utf8mb4_general_ci");
/// assert_eq!(rewrites.len(), 1);
/// ```
pub fn mend(statement: &str, dialect: Dialect, mending: &Mending<'_>) -> Option<(String, Vec<Rewrite>)> {
    let tokens = Tokens::new(statement, dialect)?;
    let mut edits = Edits::default();
    let mut rewrites = Vec::new();
    let is_create = tokens.is(0, "CREATE");
    let mut depth = 0_usize;
    let mut in_partitions = false;
    for at in 0..tokens.len() {
        if tokens.is_punctuation(at, b'(') {
            depth += 1;
        } else if tokens.is_punctuation(at, b')') {
            depth = depth.saturating_sub(1);
        }
        in_partitions |= depth == 0 && tokens.is(at, "PARTITION");
        if depth > 0 && !in_partitions {
            continue;
        }
        let value = at + 1 + usize::from(tokens.is_punctuation(at + 1, b'='));
        if tokens.is(at, "ENGINE") && is_engine_option(&tokens, at) {
            let engine = tokens.text_of(value).trim_matches(['`', '\'', '"']).to_owned();
            if !engine.eq_ignore_ascii_case("InnoDB") {
                edits.replace(tokens.span(value..value + 1), "InnoDB");
                if !in_partitions {
                    let what = format!("ENGINE={engine} to InnoDB");
                    rewrites.push(Rewrite { what, why: why_not(&engine).into() });
                }
            }
        } else if tokens.is(at, "ROW_FORMAT") && !is_innodb_row_format(tokens.text_of(value)) {
            edits.replace(tokens.span(value..value + 1), "DEFAULT");
            let what = format!("ROW_FORMAT={} to DEFAULT", tokens.text_of(value));
            rewrites.push(Rewrite { what, why: "InnoDB does not have this row format".into() });
        } else if (is_create || in_partitions)
            && let Some(end) = disk_option(&tokens, at)
        {
            // Options may be separated by commas, so something must stay; InnoDB has no packed keys.
            edits.replace(tokens.span(at..end), if depth == 0 { "PACK_KEYS=DEFAULT" } else { "" });
            rewrites.push(Rewrite {
                what: format!("{} left out", tokens.slice(at..at + 1)),
                why: "it names a place on the source's disk; the target decides where the table lies".into(),
            });
        }
    }
    if let Some(collation) = mending.utf8mb4_collation {
        write_collation(&tokens, collation, &mut edits);
    }
    rename_charsets(&tokens, mending.names, &mut edits);
    Some((edits.apply(statement), rewrites))
}

/// Returns whether `ENGINE` begins a table option and is no column of that name.
fn is_engine_option(tokens: &Tokens<'_>, at: usize) -> bool {
    const COLUMN: [&str; 9] = ["ADD", "COLUMN", "CHANGE", "MODIFY", "DROP", "AFTER", "BY", "ALTER", "TO"];
    const ENGINES: [&str; 14] = [
        "InnoDB",
        "MyISAM",
        "MEMORY",
        "HEAP",
        "CSV",
        "ARCHIVE",
        "BLACKHOLE",
        "MERGE",
        "MRG_MYISAM",
        "FEDERATED",
        "Aria",
        "TokuDB",
        "RocksDB",
        "XtraDB",
    ];
    if tokens.is_punctuation(at + 1, b'=') {
        return true;
    }
    let value = tokens.text_of(at + 1).trim_matches(['`', '\'', '"']);
    !(at > 0 && tokens.is_any(at - 1, &COLUMN))
        && ENGINES.iter().any(|engine| engine.eq_ignore_ascii_case(value))
}

/// Returns the end of an option that names a place on the source's disk or an engine beside InnoDB.
fn disk_option(tokens: &Tokens<'_>, at: usize) -> Option<usize> {
    let words = if tokens.is_any(at, &["DATA", "INDEX"]) && tokens.is(at + 1, "DIRECTORY") {
        2
    } else if tokens.is_any(at, &["TABLESPACE", "SECONDARY_ENGINE", "CONNECTION"]) {
        1
    } else {
        return None;
    };
    let value = at + words;
    let value = value + usize::from(tokens.is_punctuation(value, b'='));
    (value < tokens.len()).then_some(value + 1)
}

/// Writes the collation behind each `CHARSET utf8mb4` that has none.
fn write_collation(tokens: &Tokens<'_>, collation: &str, edits: &mut Edits) {
    let is_create_table = tokens.is(0, "CREATE");
    let mut depth = 0_usize;
    for at in 0..tokens.len() {
        if tokens.is_punctuation(at, b'(') {
            depth += 1;
        } else if tokens.is_punctuation(at, b')') {
            depth = depth.saturating_sub(1);
        }
        let words = if tokens.are(at, &["CHARACTER", "SET"]) {
            2
        } else if tokens.is(at, "CHARSET") {
            1
        } else {
            continue;
        };
        let value = at + words + usize::from(tokens.is_punctuation(at + words, b'='));
        let name = tokens.text_of(value).trim_matches(['\'', '"', '`']);
        // Deeper there are only expressions: CAST(… AS CHAR CHARACTER SET utf8mb4) takes no collation.
        if depth > 1 || !name.eq_ignore_ascii_case("utf8mb4") {
            continue;
        }
        let is_option = depth == 0 && is_create_table;
        if !has_collation(tokens, at, value + 1, is_option) {
            let end = tokens.span(value..value + 1).end;
            edits.replace(end..end, format!(" COLLATE {collation}"));
        }
    }
}

/// Looks for `COLLATE` beside a character set: in the same column or item of an ALTER, or among all options of a CREATE.
fn has_collation(tokens: &Tokens<'_>, charset: usize, from: usize, all_options: bool) -> bool {
    let mut at = from;
    while at < tokens.len() {
        if tokens.is(at, "COLLATE") {
            return true;
        }
        if tokens.is_punctuation(at, b')') {
            break;
        }
        if tokens.is_punctuation(at, b',') && !all_options {
            // `ALTER TABLE t DEFAULT CHARSET=utf8mb4, COLLATE=utf8mb4_bin`
            let next = at + 1 + usize::from(tokens.is(at + 1, "DEFAULT"));
            if tokens.is(next, "COLLATE") {
                return true;
            }
            break;
        }
        at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
    }
    // `COLLATE utf8mb4_bin CHARSET utf8mb4`: in front of it, back to the comma or parenthesis.
    let mut at = charset;
    while at > 0 {
        at -= 1;
        if tokens.is(at, "COLLATE") {
            return true;
        }
        if tokens.is_punctuation(at, b',') && !all_options
            || tokens.is_punctuation(at, b'(')
            || tokens.is_punctuation(at, b')')
        {
            return false;
        }
    }
    false
}

/// What a schema change does to rows, as far as its text says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowEffects {
    /// `ALTER IGNORE TABLE`: rows that are twice vanish, and which ones is left to the server.
    pub ignores: bool,
    /// A new AUTO_INCREMENT column: the numbers follow the order in which the server finds the rows.
    pub numbers_rows: bool,
    /// A new column's default is computed for each row by a function whose value nobody can repeat.
    pub is_nondeterministic: bool,
    /// Names the type TIMESTAMP, which means other things under other settings.
    pub names_timestamp: bool,
}

/// Functions whose value is another one each time, or on each server.
const NONDETERMINISTIC: [&str; 12] = [
    "UUID",
    "UUID_SHORT",
    "RAND",
    "RANDOM_BYTES",
    "SYSDATE",
    "CONNECTION_ID",
    "USER",
    "CURRENT_USER",
    "SESSION_USER",
    "SYSTEM_USER",
    "VERSION",
    "LAST_INSERT_ID",
];

/// Reads what a statement does to rows that are there.
///
/// ```
/// use dts_core::sql::{Dialect, mend::row_effects};
///
/// let effects = row_effects("ALTER TABLE t ADD COLUMN u CHAR(36) DEFAULT (UUID())", Dialect::default());
/// assert!(effects.is_nondeterministic && !effects.numbers_rows);
/// assert!(row_effects("ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY", Dialect::default()).numbers_rows);
/// assert!(!row_effects("ALTER TABLE t AUTO_INCREMENT = 7, ADD c INT", Dialect::default()).numbers_rows);
/// ```
pub fn row_effects(statement: &str, dialect: Dialect) -> RowEffects {
    let mut effects = RowEffects::default();
    let Some(tokens) = Tokens::new(statement, dialect) else { return effects };
    effects.names_timestamp = (0..tokens.len()).any(|at| tokens.is(at, "TIMESTAMP"));
    if !tokens.is(0, "ALTER") {
        return effects;
    }
    effects.ignores = tokens.is(1, "IGNORE");
    let (mut depth, mut adds) = (0_usize, false);
    for at in 1..tokens.len() {
        if tokens.is_punctuation(at, b'(') {
            depth += 1;
        } else if tokens.is_punctuation(at, b')') {
            depth = depth.saturating_sub(1);
        } else if tokens.is_punctuation(at, b',') && depth == 0 {
            adds = false;
        }
        adds |= depth == 0 && tokens.is(at, "ADD");
        if !adds {
            continue;
        }
        effects.numbers_rows |= tokens.is(at, "AUTO_INCREMENT") && !tokens.is_punctuation(at + 1, b'=');
        if tokens.is(at, "DEFAULT") && tokens.is_punctuation(at + 1, b'(') {
            let end = tokens.after_group(at + 1);
            effects.is_nondeterministic |= (at + 2..end).any(|at| {
                tokens.is_any(at, &NONDETERMINISTIC)
                    && (tokens.is_punctuation(at + 1, b'(') || tokens.is(at, "CURRENT_USER"))
            });
        }
    }
    effects
}

/// Returns a `CREATE VIEW` or `ALTER VIEW` as `CREATE OR REPLACE VIEW`, a `CREATE DATABASE` with `IF NOT EXISTS`, a `CREATE` of a
/// program without it, and a `DROP` with `IF EXISTS`: what can be run twice. `None` when the text is none of these.
pub fn repeatable(statement: &str, dialect: Dialect) -> Option<String> {
    let tokens = Tokens::new(statement, dialect)?;
    let mut edits = Edits::default();
    let first = tokens.span(0..1);
    if tokens.is(0, "DROP") {
        if !tokens.are(2, &["IF", "EXISTS"]) {
            let end = tokens.span(1..2).end;
            edits.replace(end..end, " IF EXISTS");
        }
    } else if tokens.is(0, "ALTER") {
        edits.replace(first, "CREATE OR REPLACE");
    } else if tokens.is(0, "CREATE") {
        const SORTS: [&str; 5] = ["VIEW", "PROCEDURE", "FUNCTION", "DATABASE", "SCHEMA"];
        let head = (1..tokens.len()).find(|at| tokens.is_any(*at, &SORTS))?;
        if tokens.is_any(head, &["DATABASE", "SCHEMA"]) && !tokens.is(head + 1, "IF") {
            let end = tokens.span(head..head + 1).end;
            edits.replace(end..end, " IF NOT EXISTS");
            return Some(edits.apply(statement));
        }
        if tokens.is(head, "VIEW") && !tokens.are(1, &["OR", "REPLACE"]) {
            edits.replace(first, "CREATE OR REPLACE");
        }
        if tokens.are(head + 1, &["IF", "NOT", "EXISTS"]) && !tokens.is_any(head, &["DATABASE", "SCHEMA"]) {
            edits.replace(tokens.span(head + 1..head + 4), "");
        }
    } else {
        return None;
    }
    Some(edits.apply(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> String {
        let mending =
            Mending { names: CharsetNames::of_mysql(90700), utf8mb4_collation: Some("utf8mb4_general_ci") };
        mend(text, Dialect::default(), &mending).unwrap().0
    }

    #[test]
    fn what_the_target_lacks_is_replaced() {
        for (from, to) in [
            (
                "CREATE TABLE t (engine INT, a INT CHECK (engine = 1)) engine = 'myisam' ROW_FORMAT=FIXED",
                "CREATE TABLE t (engine INT, a INT CHECK (engine = 1)) engine = InnoDB ROW_FORMAT=DEFAULT",
            ),
            (
                "ALTER TABLE t ADD COLUMN engine MEMORY, ENGINE MyISAM",
                "ALTER TABLE t ADD COLUMN engine MEMORY, ENGINE InnoDB",
            ),
            (
                "CREATE TABLE t (a INT) DATA DIRECTORY='/x', COMMENT 'c' PARTITION BY HASH(a) (PARTITION p ENGINE = MyISAM DATA DIRECTORY '/y')",
                "CREATE TABLE t (a INT) PACK_KEYS=DEFAULT, COMMENT 'c' PARTITION BY HASH(a) (PARTITION p ENGINE = InnoDB )",
            ),
            (
                "CREATE TABLE t (a TEXT CHARSET utf8 COLLATE utf8_bin) CHARSET=utf8",
                "CREATE TABLE t (a TEXT CHARSET utf8mb3 COLLATE utf8mb3_bin) CHARSET=utf8mb3",
            ),
        ] {
            assert_eq!(mended(from), to);
        }
    }

    // DM PR 3769: the default collation of a character set differs between versions.
    #[test]
    fn collations_are_written_out() {
        for (from, to) in [
            (
                "CREATE TABLE t (a TEXT CHARACTER SET utf8mb4, b TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) DEFAULT CHARSET utf8mb4",
                "CREATE TABLE t (a TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, b TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin) DEFAULT CHARSET utf8mb4 COLLATE utf8mb4_general_ci",
            ),
            (
                "CREATE TABLE t (a TEXT) CHARSET=utf8mb4, COLLATE=utf8mb4_bin",
                "CREATE TABLE t (a TEXT) CHARSET=utf8mb4, COLLATE=utf8mb4_bin",
            ),
            (
                "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4, ADD b TEXT COLLATE utf8mb4_bin",
                "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, ADD b TEXT COLLATE utf8mb4_bin",
            ),
            (
                "ALTER TABLE t DEFAULT CHARSET=utf8mb4, COLLATE=utf8mb4_bin",
                "ALTER TABLE t DEFAULT CHARSET=utf8mb4, COLLATE=utf8mb4_bin",
            ),
            (
                "CREATE DATABASE d CHARACTER SET = utf8mb4",
                "CREATE DATABASE d CHARACTER SET = utf8mb4 COLLATE utf8mb4_general_ci",
            ),
            (
                "CREATE TABLE t (a TEXT AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
                "CREATE TABLE t (a TEXT AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
            ),
        ] {
            assert_eq!(mended(from), to);
        }
    }

    #[test]
    fn objects_are_made_so_that_they_can_be_made_twice() {
        for (from, to) in [
            (
                "CREATE ALGORITHM=MERGE VIEW v AS SELECT 1",
                "CREATE OR REPLACE ALGORITHM=MERGE VIEW v AS SELECT 1",
            ),
            (
                "ALTER DEFINER=`a`@`b` VIEW v AS SELECT 1",
                "CREATE OR REPLACE DEFINER=`a`@`b` VIEW v AS SELECT 1",
            ),
            ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW v AS SELECT 1"),
            ("CREATE PROCEDURE IF NOT EXISTS p() SELECT 1", "CREATE PROCEDURE  p() SELECT 1"),
            ("CREATE DATABASE d CHARSET latin1", "CREATE DATABASE IF NOT EXISTS d CHARSET latin1"),
            ("DROP VIEW a, b", "DROP VIEW IF EXISTS a, b"),
            ("DROP FUNCTION IF EXISTS f", "DROP FUNCTION IF EXISTS f"),
        ] {
            assert_eq!(repeatable(from, Dialect::default()).as_deref(), Some(to));
        }
        assert_eq!(repeatable("TRUNCATE t", Dialect::default()), None);
    }
}
