//! The source's definitions beyond tables and columns, read once: views, stored programs, defaults, options, partitions.
use std::fmt;

use crate::data::{ObjectKind, TableName};
use crate::error::Result;
use crate::format::few;
use crate::server::catalog::{self, ObjectText};
use crate::server::{Flavor, ServerFacts, ServerVersion};
use crate::sql::quote::string_literal;
use crate::sql::{Dialect, Lexeme, LexemeKind, lexemes};
use crate::stop::StopToken;
use crate::validator::finding::{ItemResult, Verdict};
use crate::validator::options::ValidatorOptions;
use crate::validator::privileges::routine_grant;
use crate::validator::survey::{Blocked, SourceObjects, Survey};
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
    /// Whether nobody could look into the text: it is hidden from the account, or it cannot be split.
    pub(super) fn is_unread(&self) -> bool {
        self.lexemes().is_empty()
    }

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

/// A column with a default, or one that is computed.
#[derive(Clone, Debug)]
pub(super) struct SpecialColumn {
    pub(super) table: TableName,
    pub(super) column: String,
    pub(super) data_type: String,
    /// A literal.
    pub(super) default: Option<String>,
    /// A default that is computed when a row is inserted.
    pub(super) computed_default: Option<String>,
    /// The expression of a generated column; empty for others.
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
    /// Checks, and the parts of indexes that are expressions.
    pub(super) expressions: Vec<(TableName, String)>,
    /// `CREATE_OPTIONS` of the selected tables that have some.
    pub(super) options: Vec<(TableName, String)>,
    pub(super) partitions: Vec<Partition>,
}

impl Definitions {
    /// Reads what is selected: at most eleven queries for each database, however many objects it has.
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
            for (kind, is_carried) in [
                (ObjectKind::View, has_view),
                (ObjectKind::Procedure, options.routines && whole),
                (ObjectKind::Function, options.routines && whole),
                (ObjectKind::Event, options.events && whole),
                (ObjectKind::Trigger, options.triggers && has_table),
            ] {
                if is_carried {
                    found.read_programs(connection, kind, name, &selects)?;
                }
            }
            if has_table {
                found.read_columns(connection, facts, name, &selects)?;
                found.read_expressions(connection, facts, name, &selects)?;
                found.read_options(connection, name, &selects)?;
            }
            if objects.tables.iter().any(|table| table.partitioned && table.name.database == name) {
                found.read_partitions(connection, name, &selects)?;
            }
        }
        Ok(found)
    }

    fn read_programs(
        &mut self,
        connection: &mut Connection,
        kind: ObjectKind,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        for ObjectText { definition, body, acts } in catalog::object_texts(connection, kind, database)? {
            let table = definition.table.map(|table| TableName::new(database, table));
            // Views are selected by their own names, triggers by that of their table.
            let is_selected = match kind {
                ObjectKind::View => selects(&definition.name),
                ObjectKind::Trigger => table.as_ref().is_some_and(&selects),
                ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Event => true,
            };
            if is_selected {
                self.programs.push(Program {
                    kind,
                    name: definition.name,
                    definer: definition.definer,
                    sql_mode: definition.context.sql_mode,
                    body,
                    trigger: acts.zip(table).map(|((time, event), table)| (time, event, table)),
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
             WHERE TABLE_SCHEMA = {} AND (COLUMN_DEFAULT IS NOT NULL{is_generated}) ORDER BY TABLE_NAME, COLUMN_NAME",
            string_literal(database)
        );
        for row in connection.query(sql, "reading defaults")? {
            let table = TableName::new(database, row.string(0));
            let is_computed = row.string(5).to_ascii_uppercase().contains("DEFAULT_GENERATED");
            let default = row.text(3).filter(|text| text != "NULL").map(Into::into);
            let (default, computed_default) = if is_computed { (None, default) } else { (default, None) };
            if selects(&table) {
                self.columns.push(SpecialColumn {
                    table,
                    column: row.string(1),
                    data_type: row.string(2).to_ascii_lowercase(),
                    default,
                    computed_default,
                    expression: row.string(4),
                });
            }
        }
        Ok(())
    }

    fn read_expressions(
        &mut self,
        connection: &mut Connection,
        facts: &ServerFacts,
        database: &str,
        selects: impl Fn(&TableName) -> bool,
    ) -> Result<()> {
        let schema = string_literal(database);
        let mut queries = Vec::new();
        match facts.flavor {
            Flavor::MariaDb if facts.version >= ServerVersion(10, 2, 22) => queries.push(format!(
                "SELECT TABLE_NAME, CHECK_CLAUSE, '' FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {schema} \
                 ORDER BY TABLE_NAME, CONSTRAINT_NAME"
            )),
            // None of these was there before.
            Flavor::MariaDb => {}
            Flavor::MySql => {
                if facts.is_mysql_at_least(8, 0, 16) {
                    queries.push(format!(
                        "SELECT t.TABLE_NAME, c.CHECK_CLAUSE, t.ENFORCED FROM information_schema.TABLE_CONSTRAINTS t JOIN \
                         information_schema.CHECK_CONSTRAINTS c ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME \
                         = t.CONSTRAINT_NAME WHERE t.TABLE_SCHEMA = {schema} AND t.CONSTRAINT_TYPE = 'CHECK' ORDER BY t.TABLE_NAME, \
                         t.CONSTRAINT_NAME"
                    ));
                }
                if facts.is_mysql_at_least(8, 0, 13) {
                    queries.push(format!(
                        "SELECT TABLE_NAME, EXPRESSION, INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = {schema} AND \
                         EXPRESSION IS NOT NULL ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
                    ));
                }
            }
        }
        for sql in queries {
            for row in connection.query(sql, "reading expressions of checks and indexes")? {
                let table = TableName::new(database, row.string(0));
                if selects(&table) {
                    self.expressions.push((table, format!("{:?}{:?}", row.string(1), row.string(2))));
                }
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

/// Completes what was found in the texts of programs by those that nobody could look into: they are no pass.
pub(super) fn with_unread(survey: &Survey, verdict: Verdict) -> std::result::Result<Verdict, Blocked> {
    let unread: Vec<&Program> =
        survey.definitions()?.programs.iter().filter(|program| program.is_unread()).collect();
    if unread.is_empty() {
        return Ok(verdict);
    }
    let hidden = format!("not looked at, because the account may not see the text: {}", few(&unread));
    let grant = routine_grant(survey)?;
    if verdict.result == ItemResult::Pass {
        return Ok(Verdict::warn(verdict.expected, "unknown").message(hidden).fix(grant).objects(unread));
    }
    let message = format!("{}; {hidden}", verdict.message);
    let fix = format!("{} {grant}", verdict.fix);
    Ok(verdict.message(message).fix(fix))
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

/// Returns which of these functions of the server are called in the text.
pub(super) fn functions_called<'w>(pieces: &[Lexeme<'_>], functions: &[&'w str]) -> Vec<&'w str> {
    // Behind these a table, a procedure or a function of somebody is named: `INSERT INTO x (…)`, `CALL x(…)`, `shop.x(…)`.
    const BEFORE_NAMES: [&str; 10] =
        [".", "INTO", "INSERT", "REPLACE", "IGNORE", "TABLE", "CALL", "REFERENCES", "KEY", "INDEX"];
    let is_name = |at: usize| {
        at > 0 && BEFORE_NAMES.iter().any(|before| before.eq_ignore_ascii_case(pieces[at - 1].text))
    };
    let mut called: Vec<&'w str> = pieces
        .windows(2)
        .enumerate()
        .filter(|(at, pair)| pair[0].kind == LexemeKind::Word && pair[1].text == "(" && !is_name(*at))
        .filter_map(|(_, pair)| {
            functions.iter().find(|name| name.eq_ignore_ascii_case(pair[0].text)).copied()
        })
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
        let text = "BEGIN INSERT INTO x (a) VALUES (y(NEW.g)); CALL x(1); SET @a = shop.x(1); REPLACE x (a) VALUES (1); END";
        assert_eq!(functions_called(&pieces(text), &["X", "Y"]), ["Y"]);
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
