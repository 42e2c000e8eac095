//! Views and stored programs.
use super::{Attempt, HIDDEN, Trial, is_answer, refused};
use crate::data::{ObjectKind, TableName};
use crate::error::{Result, Side};
use crate::server::catalog;
use crate::sql::statement::StatementKind;
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::sql::{Dialect, Lexeme, LexemeKind, lexemes, quote, statement};
use crate::transform::Route;
use crate::validator::definitions::{Program, functions_called, without_definer};
use crate::validator::survey::Blocked;
use crate::validator::upgrade::functions_removed_between;
use crate::wire::Connection;

/// Views, and other programs, that are tried at most.
const PROGRAMS_MAX: usize = 500;

impl Attempt<'_> {
    pub(super) fn views(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        route: &Route,
        whole: bool,
        trial: &mut Trial,
    ) -> Result<(), Blocked> {
        let views = self.definitions.programs.iter().filter(|program| program.kind == ObjectKind::View);
        let mut waiting: Vec<(&Program, String)> = Vec::new();
        for view in views {
            if waiting.len() >= PROGRAMS_MAX || self.is_over()? {
                trial.views.skipped.push((view.name.to_string(), "there was no more time"));
                continue;
            }
            match show(source, view) {
                Ok(Some(shown)) => waiting.push((view, shown)),
                Ok(None) => trial.views.skipped.push((view.name.to_string(), HIDDEN)),
                Err(error) if is_answer(&error) => {
                    trial.views.refused.push(refused(format!("{} (on the source)", view.name), &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        trial.views.tried += waiting.len();
        let facts = |side| self.survey.facts(side);
        let gone = functions_removed_between(facts(Side::Source)?, facts(Side::Target)?);
        // A view may need another one: as long as one more can be created, the others are tried again.
        loop {
            let mut failed = Vec::new();
            let before = waiting.len();
            for (view, shown) in waiting {
                if self.is_over()? {
                    trial.views.skipped.push((view.name.to_string(), "there was no more time"));
                    continue;
                }
                let sql = statement::rewrite(&without_definer(&shown), &view.name.database, route);
                let scratch = route.target_database(&view.name.database);
                if !self.creates_scratch_view(&sql, &scratch) {
                    trial.views.skipped.push((view.name.to_string(), "its text was not understood"));
                    continue;
                }
                // Without a current database the target does not tell of a function that it lacks (1305 becomes 1046).
                let database = format!("USE {}", quote::identifier(&scratch));
                let chosen = target.execute(database, "choosing the scratch database");
                match chosen.and_then(|_| target.execute(sql, "creating a view")) {
                    Ok(_) => {}
                    Err(error) if is_answer(&error) => failed.push((view, shown, error)),
                    Err(error) => return Err(error.into()),
                }
            }
            if failed.is_empty() || failed.len() == before {
                for (view, _, error) in failed {
                    let name = view.name.to_string();
                    match error.server_error().map(|answer| answer.code) {
                        // 1305: a function that was left out of the trial, or is outside of it. 1146: perhaps a table.
                        Some(1305) if !lacks_built_in(view, &gone) => {
                            trial
                                .views
                                .skipped
                                .push((name, "it calls a stored function that was not created"));
                        }
                        Some(1146) if !whole => {
                            trial.views.skipped.push((name, "not all tables were created for the trial"));
                        }
                        _ => trial.views.refused.push(refused(name, &error)),
                    }
                }
                return Ok(());
            }
            waiting = failed.into_iter().map(|(view, shown, _)| (view, shown)).collect();
        }
    }

    /// Nothing may ever be created outside the scratch databases.
    fn creates_scratch_view(&self, sql: &str, database: &str) -> bool {
        let statement = statement::classify(sql, database);
        let mut created = statement.changed_tables().peekable();
        statement.kind == StatementKind::CreateView
            && created.peek().is_some()
            && created.all(|name| name.database.starts_with(self.prefix))
    }

    pub(super) fn programs(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        route: &Route,
        trial: &mut Trial,
    ) -> Result<(), Blocked> {
        let programs = self.definitions.programs.iter().filter(|program| program.kind != ObjectKind::View);
        let usual = target.query_row("SELECT @@SESSION.sql_mode", "reading the session's sql_mode")?;
        for (number, program) in programs.enumerate() {
            if trial.programs.tried >= PROGRAMS_MAX || self.is_over()? {
                trial.programs.skipped.push((program.to_string(), "there was no more time"));
                continue;
            }
            if program.body.is_empty() {
                trial.programs.skipped.push((program.to_string(), HIDDEN));
                continue;
            }
            let scratch = route.target_database(&program.name.database);
            let name = quote::table(&TableName::new(&scratch, format!("__dts_{number}")));
            let sql = match (program.kind, &program.trigger) {
                (ObjectKind::Trigger, Some((time, event, table))) => format!(
                    "CREATE TRIGGER {name} {time} {event} ON {} FOR EACH ROW {}",
                    quote::table(&route.target_of(table)),
                    program.body
                ),
                (ObjectKind::Event, _) => format!("CREATE PROCEDURE {name}() {}", program.body),
                _ => match show(source, program)? {
                    Some(shown) if has_bare_name(&shown) => without_definer(&shown),
                    Some(_) => {
                        trial.programs.skipped.push((program.to_string(), "its text was not understood"));
                        continue;
                    }
                    None => {
                        trial.programs.skipped.push((program.to_string(), HIDDEN));
                        continue;
                    }
                },
            };
            trial.programs.tried += 1;
            let mode = program
                .sql_mode
                .split(',')
                .filter(|mode| !REMOVED_SQL_MODES.contains(&mode.to_ascii_uppercase().as_str()))
                .collect::<Vec<_>>()
                .join(",");
            let mode = format!("SET SESSION sql_mode = {}", quote::string_literal(&mode));
            let database = format!("USE {}", quote::identifier(&scratch));
            let mut created = target.execute(database, "choosing the scratch database");
            for step in [mode, sql] {
                created = created.and_then(|_| target.execute(step, "creating a routine"));
            }
            match created {
                Ok(_) => {}
                // 1418, 1419: log_bin_trust_function_creators has an item of its own. 1146: a trigger's table was not tried.
                Err(error) if error.server_error().is_some_and(|e| matches!(e.code, 1418 | 1419)) => trial
                    .programs
                    .skipped
                    .push((program.to_string(), "log_bin_trust_function_creators is off on the target")),
                Err(error) if error.server_error().is_some_and(|e| e.code == 1146) => {
                    trial
                        .programs
                        .skipped
                        .push((program.to_string(), "its table was not created for the trial"));
                }
                Err(error) => trial.refuse(|trial| &mut trial.programs, program.to_string(), error)?,
            }
        }
        let usual = quote::string_literal(&usual.map(|row| row.string(0)).unwrap_or_default());
        target.execute(format!("SET SESSION sql_mode = {usual}"), "setting the session's sql_mode back")?;
        Ok(())
    }
}

/// Whether a view that fails for a function that is not there fails for one of the server's own: it calls one that was removed, or
/// no stored function at all. The server writes the names of stored functions in quotes.
fn lacks_built_in(view: &Program, gone: &[&str]) -> bool {
    let pieces = view.lexemes();
    let is_call = |pair: &[Lexeme<'_>]| pair[0].kind == LexemeKind::QuotedName && pair[1].text == "(";
    !functions_called(&pieces, gone).is_empty() || !(pieces.is_empty() || pieces.windows(2).any(is_call))
}

/// Whether a routine's text names it without a database, so that it goes into the current one.
fn has_bare_name(shown: &str) -> bool {
    let text = without_definer(shown);
    let pieces = lexemes(&text, Dialect::default()).unwrap_or_default();
    let is_kind =
        |text: &str| text.eq_ignore_ascii_case("PROCEDURE") || text.eq_ignore_ascii_case("FUNCTION");
    let kind = pieces.iter().position(|piece| piece.kind == LexemeKind::Word && is_kind(piece.text));
    kind.and_then(|kind| pieces.get(kind + 2)).is_some_and(|after_name| after_name.text == "(")
}

/// Returns the source's text of a view or program; `None` when it is hidden.
fn show(source: &mut Connection, program: &Program) -> Result<Option<String>> {
    let text = catalog::show_create_object(source, program.kind, &program.name)?;
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_names_of_routines_are_run() {
        assert!(has_bare_name("CREATE DEFINER=`a`@`%` PROCEDURE `p`(IN `x` INT)\nSELECT 1"));
        assert!(has_bare_name("CREATE AGGREGATE FUNCTION f() RETURNS INT RETURN 1"));
        assert!(!has_bare_name("CREATE DEFINER=`a`@`%` PROCEDURE `shop`.`p`() SELECT 1"));
        assert!(!has_bare_name("SELECT 'not closed"));
    }
}
