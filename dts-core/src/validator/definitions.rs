//! The source's definitions beyond tables and columns, read once: views, stored programs, defaults, options, partitions.
use std::fmt;

use crate::data::{ObjectKind, TableName};
use crate::error::Result;
use crate::server::{Flavor, ServerFacts};
use crate::sql::quote::string_literal;
use crate::sql::{Dialect, Lexeme, LexemeKind, lexemes};
use crate::stop::StopToken;
use crate::validator::options::ValidatorOptions;
use crate::validator::survey::SourceObjects;
use crate::wire::Connection;

/// Anything with SQL text of its own.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) kind: ObjectKind,
    pub(super) name: TableName,
    pub(super) definer: String,
    pub(super) sql_mode: String,
    /// The text after the head; empty when the server does not show it to the account.
    pub(super) body: String,
    /// Triggers: time, event and table.
    pub(super) trigger: Option<(String, String, TableName)>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Program {
    /// The pieces of the text; none when it cannot be split or is hidden.
    pub(super) fn lexemes(&self) -> Vec<Lexeme<'_>> {
        let has = |flag: &str| self.sql_mode.split(',').any(|mode| mode.eq_ignore_ascii_case(flag));
        // The server prints views in its own way, whatever the sql_mode was.
        let is_view = self.kind == ObjectKind::View;
        let dialect = Dialect {
            ansi_quotes: !is_view && has("ANSI_QUOTES"),
            no_backslash_escapes: !is_view && has("NO_BACKSLASH_ESCAPES"),
        };
        lexemes(&self.body, dialect).unwrap_or_default()
    }
}

/// A column whose default or expression matters.
#[derive(Clone, Debug)]
pub(super) struct SpecialColumn {
    pub(super) table: TableName,
    pub(super) column: String,
    pub(super) data_type: String,
    pub(super) default: Option<String>,
    pub(super) expression: String,
}

/// A partition.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) table: TableName,
    pub(super) method: String,
    pub(super) expression: String,
    pub(super) bound: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    pub(super) programs: Vec<Program>,
    pub(super) columns: Vec<SpecialColumn>,
    /// `CREATE_OPTIONS` of the selected tables that have some.
    pub(super) options: Vec<(TableName, String)>,
    pub(super) partitions: Vec<Partition>,
}

impl Definitions {
    /// Reads what is selected: at most seven queries for each database, however many objects it has.
    pub(super) fn read(
        connection: &mut Connection,
        facts: &ServerFacts,
        options: &ValidatorOptions,
        objects: &SourceObjects,
        is_whole: impl Fn(&str) -> bool,
        selects: impl Fn(&TableName) -> bool,
        stop: &StopToken,
    ) -> Result<Definitions> {
        let mut found = Definitions::default();
        for database in &objects.databases {
            stop.check()?;
            let name = database.name.as_str();
            let has_table = objects.tables.iter().any(|table| table.name.database == name);
            let has_view = objects.views.iter().any(|view| view.database == name);
            let whole = is_whole(name);
            if options.views && has_view {
                found.read_views(connection, name, &selects)?;
            }
            if options.routines && whole {
                found.read_routines(connection, name)?;
            }
            if options.events && whole {
                found.read_events(connection, name)?;
            }
            if has_table {
                if options.triggers {
                    found.read_triggers(connection, name, &selects)?;
                }
                found.read_columns(connection, facts, name, &selects)?;
                found.read_options(connection, name, &selects)?;
            }
            if objects.tables.iter().any(|table| table.partitioned && table.name.database == name) {
                found.read_partitions(connection, name, &selects)?;
            }
        }
        Ok(found)
    }

    fn read_views(
        &mut self,
        connection: &mut Connection,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let sql = format!(
            "SELECT TABLE_NAME, DEFINER, VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {} ORDER BY \
             TABLE_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading views")? {
            let name = TableName::new(database, row.string(0));
            if selects(&name) {
                self.programs.push(Program {
                    kind: ObjectKind::View,
                    name,
                    definer: row.string(1),
                    sql_mode: String::new(),
                    body: row.string(2),
                    trigger: None,
                });
            }
        }
        Ok(())
    }

    fn read_routines(&mut self, connection: &mut Connection, database: &str) -> Result<()> {
        let sql = format!(
            "SELECT ROUTINE_NAME, ROUTINE_TYPE, DEFINER, SQL_MODE, ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE \
             ROUTINE_SCHEMA = {} AND ROUTINE_TYPE IN ('PROCEDURE', 'FUNCTION') ORDER BY ROUTINE_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading routines")? {
            self.programs.push(Program {
                kind: if row.string(1) == "FUNCTION" { ObjectKind::Function } else { ObjectKind::Procedure },
                name: TableName::new(database, row.string(0)),
                definer: row.string(2),
                sql_mode: row.string(3),
                body: row.string(4),
                trigger: None,
            });
        }
        Ok(())
    }

    fn read_events(&mut self, connection: &mut Connection, database: &str) -> Result<()> {
        let sql = format!(
            "SELECT EVENT_NAME, DEFINER, SQL_MODE, EVENT_DEFINITION FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {} \
             ORDER BY EVENT_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading events")? {
            self.programs.push(Program {
                kind: ObjectKind::Event,
                name: TableName::new(database, row.string(0)),
                definer: row.string(1),
                sql_mode: row.string(2),
                body: row.string(3),
                trigger: None,
            });
        }
        Ok(())
    }

    fn read_triggers(
        &mut self,
        connection: &mut Connection,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let sql = format!(
            "SELECT TRIGGER_NAME, DEFINER, SQL_MODE, ACTION_STATEMENT, ACTION_TIMING, EVENT_MANIPULATION, \
             EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {} ORDER BY TRIGGER_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading triggers")? {
            let table = TableName::new(database, row.string(6));
            if selects(&table) {
                self.programs.push(Program {
                    kind: ObjectKind::Trigger,
                    name: TableName::new(database, row.string(0)),
                    definer: row.string(1),
                    sql_mode: row.string(2),
                    body: row.string(3),
                    trigger: Some((row.string(4), row.string(5), table)),
                });
            }
        }
        Ok(())
    }

    fn read_columns(
        &mut self,
        connection: &mut Connection,
        facts: &ServerFacts,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let has_expressions = match facts.flavor {
            Flavor::MySql => facts.is_mysql_at_least(5, 7, 6),
            Flavor::MariaDb => true,
        };
        let expression = if has_expressions { "GENERATION_EXPRESSION" } else { "''" };
        let is_generated = if has_expressions { " OR GENERATION_EXPRESSION <> ''" } else { "" };
        let sql = format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_DEFAULT, {expression}, EXTRA FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND (COLUMN_DEFAULT LIKE '%0000-00-00%' OR (COLUMN_DEFAULT IS NOT NULL AND DATA_TYPE IN \
             ('tinyblob', 'blob', 'mediumblob', 'longblob', 'tinytext', 'text', 'mediumtext', 'longtext', 'json', 'geometry', \
             'point')){is_generated}) ORDER BY TABLE_NAME, COLUMN_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading defaults")? {
            let table = TableName::new(database, row.string(0));
            // An expression default has no literal.
            let is_expression = row.string(5).to_ascii_uppercase().contains("DEFAULT_GENERATED");
            if selects(&table) {
                self.columns.push(SpecialColumn {
                    table,
                    column: row.string(1),
                    data_type: row.string(2).to_ascii_lowercase(),
                    default: row.text(3).filter(|text| !is_expression && text != "NULL").map(Into::into),
                    expression: row.string(4),
                });
            }
        }
        Ok(())
    }

    fn read_options(
        &mut self,
        connection: &mut Connection,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let sql = format!(
            "SELECT TABLE_NAME, CREATE_OPTIONS, ROW_FORMAT FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND \
             TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading table options")? {
            let table = TableName::new(database, row.string(0));
            if selects(&table) {
                let effective = format!("{} effective={}", row.string(1), row.string(2));
                self.options.push((table, effective.to_ascii_lowercase()));
            }
        }
        Ok(())
    }

    fn read_partitions(
        &mut self,
        connection: &mut Connection,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let sql = format!(
            "SELECT TABLE_NAME, PARTITION_METHOD, PARTITION_EXPRESSION, PARTITION_DESCRIPTION FROM \
             information_schema.PARTITIONS WHERE TABLE_SCHEMA = {} AND PARTITION_NAME IS NOT NULL ORDER BY TABLE_NAME, \
             PARTITION_ORDINAL_POSITION",
            string_literal(database)
        );
        for row in connection.query(sql, "reading partitions")? {
            let table = TableName::new(database, row.string(0));
            if selects(&table) {
                self.partitions.push(Partition {
                    table,
                    method: row.string(1),
                    expression: row.string(2),
                    bound: row.string(3),
                });
            }
        }
        Ok(())
    }
}

/// Returns which of these words stand in the text unquoted and where a name could be.
pub(super) fn words_used<'w>(pieces: &[Lexeme<'_>], words: &[&'w str]) -> Vec<&'w str> {
    let is_name = |at: usize, piece: &Lexeme<'_>| {
        // After a dot any word is a name.
        piece.kind == LexemeKind::Word && (at == 0 || !matches!(pieces[at - 1].text, "." | "@"))
    };
    let mut used: Vec<&'w str> = pieces
        .iter()
        .enumerate()
        .filter(|(at, piece)| is_name(*at, piece))
        .filter_map(|(_, piece)| words.iter().find(|word| word.eq_ignore_ascii_case(piece.text)).copied())
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// Returns which of these functions are called in the text.
pub(super) fn functions_called<'w>(pieces: &[Lexeme<'_>], functions: &[&'w str]) -> Vec<&'w str> {
    let mut called: Vec<&'w str> = pieces
        .windows(2)
        .filter(|pair| pair[0].kind == LexemeKind::Word && pair[1].text == "(")
        .filter_map(|pair| functions.iter().find(|name| name.eq_ignore_ascii_case(pair[0].text)).copied())
        .collect();
    called.sort_unstable();
    called.dedup();
    called
}

/// Returns the text without its `DEFINER = …`, so that whoever creates it becomes the definer.
pub(super) fn without_definer(text: &str) -> String {
    const AFTER: [&str; 7] = ["SQL", "VIEW", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "AGGREGATE"];
    let Some(pieces) = lexemes(text, Dialect::default()) else { return text.to_owned() };
    let is = |piece: &Lexeme<'_>, word: &str| {
        piece.kind == LexemeKind::Word && piece.text.eq_ignore_ascii_case(word)
    };
    let begin = pieces.windows(2).position(|pair| is(&pair[0], "DEFINER") && pair[1].text == "=");
    let Some(begin) = begin else { return text.to_owned() };
    let end = pieces[begin + 2..].iter().find(|piece| AFTER.iter().any(|word| is(piece, word)));
    match end {
        Some(end) => format!("{}{}", &text[..pieces[begin].start], &text[end.start..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Lexeme<'_>> {
        lexemes(text, Dialect::default()).unwrap()
    }

    #[test]
    fn words_count_only_where_a_name_may_be() {
        let text = "SELECT rank, `rows`, t.groups, 'lag' FROM t WHERE PASSWORD ('x') = password";
        assert_eq!(words_used(&pieces(text), &["RANK", "ROWS", "GROUPS", "LAG"]), ["RANK"]);
        assert_eq!(functions_called(&pieces(text), &["PASSWORD", "ENCODE"]), ["PASSWORD"]);
    }

    #[test]
    fn definers_go() {
        for (text, without) in [
            ("CREATE DEFINER=`a view`@`%` PROCEDURE `p`()\nSELECT 1", "CREATE PROCEDURE `p`()\nSELECT 1"),
            (
                "CREATE ALGORITHM=UNDEFINED DEFINER='a'@'b' SQL SECURITY DEFINER VIEW `v` AS select 1",
                "CREATE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW `v` AS select 1",
            ),
            ("CREATE FUNCTION f() RETURNS INT RETURN 1", "CREATE FUNCTION f() RETURNS INT RETURN 1"),
        ] {
            assert_eq!(without_definer(text), without);
        }
    }
}
