//! Tries it: creates the structure in scratch databases on the target, notes what the target refuses, and removes them.
//!
//! One database `__dts_scratch_<task>_<n>` stands for each database of the source. Nothing in them runs: tables stay empty,
//! triggers never fire, and an event is tried as a procedure with its body. A user lock on the target keeps two validations
//! of one task apart, so that each may remove what an earlier one that was killed has left behind.
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::data::{TableName, TableSchema};
use crate::error::{Error, Result, Side};
use crate::server::{Flavor, ServerFacts, catalog};
use crate::sql::create_table::{self, CharsetNames, ColumnCharset, CreateTable, Explicit};
use crate::sql::statement::StatementKind;
use crate::sql::stored::REMOVED_SQL_MODES;
use crate::sql::{Dialect, LexemeKind, lexemes, quote, statement};
use crate::stop::StopToken;
use crate::transform::Route;
use crate::validator::definitions::{Definitions, Program, ProgramKind, without_definer};
use crate::validator::survey::{Blocked, SourceObjects, Survey};
use crate::wire::Connection;

/// Tables of one shape are tried once; this many shapes at most.
const TABLES_MAX: usize = 500;
const PROGRAMS_MAX: usize = 500;
/// How much of the deadline may go into creating; the rest is for removing.
const SHARE: f32 = 0.7;

/// What the target refused, with its own words.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) object: String,
    pub(super) answer: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Trial {
    pub(super) tables: Outcome,
    pub(super) views: Outcome,
    pub(super) programs: Outcome,
    /// What will be different on the target.
    pub(super) rewrites: Vec<String>,
    /// Why nothing was tried: what to say, and the statement to copy.
    pub(super) not_possible: Option<(String, String)>,
}

/// One kind of objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) tried: usize,
    pub(super) refused: Vec<Refused>,
    /// Not tried or not to be judged, with the reason.
    pub(super) skipped: Vec<(String, &'static str)>,
}

impl Trial {
    /// Creates and removes everything.
    pub(super) fn run(survey: &Survey, stop: &StopToken) -> Result<Trial, Blocked> {
        let mut trial = Trial::default();
        if !survey.options.try_structure {
            trial.not_possible = Some(("validate.try_structure is off".to_owned(), String::new()));
            return Ok(trial);
        }
        let objects = survey.source_objects()?;
        let definitions = survey.definitions()?;
        let deadline = Instant::now() + survey.options.item_deadline.mul_f32(SHARE);
        let mut source = survey.connect(Side::Source, stop)?;
        let mut target = survey.connect(Side::Target, stop)?;
        // Where the account may, nothing of this enters the target's binary log.
        match target.execute("SET SESSION sql_log_bin = 0", "leaving the trial out of the binary log") {
            Err(error) if error.server_error().is_none() => return Err(error.into()),
            _ => {}
        }
        let prefix = prefix(&survey.options.task);
        let lock = format!("SELECT GET_LOCK({}, 0)", quote::string_literal(&prefix));
        let locked = target.query_row(lock, "keeping two validations apart")?;
        if locked.and_then(|row| row.u64(0)) != Some(1) {
            trial.not_possible =
                Some(("another validation of this task is under way".to_owned(), "Run it again.".to_owned()));
            return Ok(trial);
        }
        remove(&mut target, &prefix)?;
        let outcome = Attempt { survey, objects, definitions, deadline, prefix: &prefix, stop }.create(
            &mut source,
            &mut target,
            &mut trial,
        );
        let removed = if target.is_broken() || stop.is_stopped() {
            // The connection is in an unknown state, or its token is stopped: another one, and a few seconds for it.
            let end = StopToken::new();
            survey.connect(Side::Target, &end).and_then(|mut connection| {
                connection.set_answer_timeout(Duration::from_secs(10));
                let _ = connection
                    .execute("SET SESSION sql_log_bin = 0", "leaving the trial out of the binary log");
                Ok(remove(&mut connection, &prefix)?)
            })
        } else {
            remove(&mut target, &prefix).map_err(Blocked::from)
        };
        outcome?;
        removed?;
        Ok(trial)
    }
}

/// `__dts_scratch_<task>_`, the task's name cut and hashed when it is long.
fn prefix(task: &str) -> String {
    const LENGTH_MAX: usize = 30;
    let mut name: String = task.chars().filter(char::is_ascii).take(LENGTH_MAX).collect();
    if name != task {
        let mut hasher = DefaultHasher::new();
        task.hash(&mut hasher);
        name = format!("{}_{:08x}", name.chars().take(16).collect::<String>(), hasher.finish() & 0xffff_ffff);
    }
    format!("__dts_scratch_{}_", name.to_ascii_lowercase())
}

fn remove(target: &mut Connection, prefix: &str) -> Result<()> {
    let databases = catalog::databases(target)?;
    for database in databases.iter().map(|database| &database.name) {
        let number = database.strip_prefix(prefix);
        if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let sql = format!("DROP DATABASE IF EXISTS {}", quote::identifier(database));
            target.execute(sql, "removing a scratch database")?;
        }
    }
    Ok(())
}

struct Attempt<'a> {
    survey: &'a Survey,
    objects: &'a SourceObjects,
    definitions: &'a Definitions,
    deadline: Instant,
    prefix: &'a str,
    stop: &'a StopToken,
}

impl Attempt<'_> {
    fn create(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        trial: &mut Trial,
    ) -> Result<(), Blocked> {
        let facts = self.survey.facts(Side::Target)?;
        let names = charset_names(facts);
        let tables = self.objects.tables.iter().map(|table| &table.name.database);
        let programs = self.definitions.programs.iter().map(|program| &program.name.database);
        let mut used: Vec<&String> = tables.chain(programs).collect();
        used.sort_unstable();
        used.dedup();
        let scratch: BTreeMap<&str, String> = used
            .iter()
            .enumerate()
            .map(|(number, name)| (name.as_str(), format!("{}{number}", self.prefix)))
            .collect();
        let rules = scratch.iter().map(|(from, to)| (quote::identifier(from), to.clone()));
        let route = Route::new(rules)?;
        for database in self.objects.databases.iter().filter(|db| scratch.contains_key(db.name.as_str())) {
            let sql = format!(
                "CREATE DATABASE {} DEFAULT CHARACTER SET {} COLLATE {}",
                quote::identifier(&scratch[database.name.as_str()]),
                names.charset(&database.charset),
                names.collation(&database.collation)
            );
            match target.execute(sql, "creating a scratch database") {
                Ok(_) => {}
                Err(error) if is_privilege(&error) => {
                    let account = self.survey.facts(Side::Target)?.current_user.clone();
                    let fix = scratch_grant(self.prefix, &account);
                    let because = format!("'{account}' may not create scratch databases on the target");
                    trial.not_possible = Some((because, fix));
                    return Ok(());
                }
                Err(error) if error.server_error().is_some() => {
                    trial.tables.tried += 1;
                    trial.tables.refused.push(refused(format!("database {}", database.name), &error));
                    let plain =
                        format!("CREATE DATABASE {}", quote::identifier(&scratch[database.name.as_str()]));
                    target.execute(plain, "creating a scratch database")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let whole = self.tables(source, target, &route, names, trial)?;
        self.views(source, target, &route, whole, trial)?;
        self.programs(source, target, &route, trial)
    }

    fn is_over(&self) -> Result<bool, Blocked> {
        self.stop.check()?;
        Ok(Instant::now() >= self.deadline)
    }

    /// Returns whether every table was created.
    fn tables(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        route: &Route,
        names: CharsetNames,
        trial: &mut Trial,
    ) -> Result<bool, Blocked> {
        let mut shapes = HashSet::new();
        let mut foreign_keys = Vec::new();
        let mut whole = true;
        let referenced: HashSet<&TableName> = self
            .objects
            .tables
            .iter()
            .flat_map(|table| table.foreign_keys.iter().map(|key| &key.referenced_table))
            .collect();
        for table in &self.objects.tables {
            let is_new = shapes.insert(self.shape(table));
            if !is_new && !referenced.contains(&table.name) {
                whole = false;
                continue;
            }
            if trial.tables.tried >= TABLES_MAX || self.is_over()? {
                whole = false;
                trial.tables.skipped.push((table.name.to_string(), "there was no more time"));
                continue;
            }
            trial.tables.tried += 1;
            match self.table(source, target, table, route, names, trial) {
                Ok(clauses) if clauses.is_empty() => {}
                Ok(clauses) => foreign_keys.push((table, clauses)),
                Err(error) if is_answer(&error) => {
                    whole = false;
                    trial.tables.refused.push(refused(table.name.to_string(), &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (table, clauses) in foreign_keys {
            if self.is_over()? {
                trial
                    .tables
                    .skipped
                    .push((table.name.to_string(), "there was no more time for its foreign keys"));
                continue;
            }
            let scratch = route.target_of(&table.name);
            let sql = create_table::add_foreign_keys_sql(&scratch, &clauses, &table.name.database, route)?;
            match target.execute(sql.unwrap_or_default(), "adding foreign keys") {
                Ok(_) => {}
                Err(error) if is_answer(&error) => {
                    trial.tables.refused.push(refused(format!("{} (foreign keys)", table.name), &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(whole)
    }

    /// Everything that decides whether the target takes the table, but its name.
    fn shape(&self, table: &TableSchema) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}{:?}", table.columns, table.indexes).hash(&mut hasher);
        (&table.engine, &table.collation, table.partitioned.then_some(&table.name)).hash(&mut hasher);
        (!table.foreign_keys.is_empty()).then_some(&table.name).hash(&mut hasher);
        for column in self.definitions.columns.iter().filter(|column| column.table == table.name) {
            (&column.column, &column.default, &column.expression).hash(&mut hasher);
        }
        if let Some((_, options)) = self.definitions.options.iter().find(|(name, _)| *name == table.name) {
            options.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Creates one table with its indexes and returns its foreign keys.
    fn table(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        table: &TableSchema,
        route: &Route,
        names: CharsetNames,
        trial: &mut Trial,
    ) -> Result<Vec<String>> {
        let shown = catalog::show_create_table(source, &table.name)?;
        let mut definition = CreateTable::parse(&shown)?;
        let charset = |column: &crate::data::Column| {
            Some(ColumnCharset {
                column: column.name.clone(),
                charset: column.charset.clone()?,
                collation: column.collation.clone()?,
            })
        };
        let columns: Vec<ColumnCharset> = table.columns.iter().filter_map(charset).collect();
        let is_mariadb = self.survey.facts(Side::Target).is_ok_and(|facts| facts.flavor == Flavor::MariaDb);
        let explicit = Explicit {
            table_collation: &table.collation,
            columns: &columns,
            names,
            mariadb_target: is_mariadb,
        };
        for rewrite in definition.explicit(&explicit)? {
            trial.rewrites.push(format!("{}: {} ({})", table.name, rewrite.what, rewrite.why));
        }
        let keep: Vec<&str> = table.indexes.iter().map(|index| index.name.as_str()).collect();
        let deferred = definition.without_deferred(&route.target_of(&table.name), &keep);
        target.execute(deferred.create_sql, "creating a table")?;
        Ok(deferred.foreign_keys)
    }

    fn views(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        route: &Route,
        whole: bool,
        trial: &mut Trial,
    ) -> Result<(), Blocked> {
        let views = self.definitions.programs.iter().filter(|program| program.kind == ProgramKind::View);
        let mut waiting: Vec<(&Program, String)> = Vec::new();
        for view in views {
            if waiting.len() >= PROGRAMS_MAX || self.is_over()? {
                trial.views.skipped.push((view.name.to_string(), "there was no more time"));
                continue;
            }
            match show(source, view) {
                Ok(Some(shown)) => waiting.push((view, shown)),
                Ok(None) => trial.views.skipped.push((view.name.to_string(), "its text is hidden")),
                Err(error) if is_answer(&error) => {
                    trial.views.refused.push(refused(format!("{} (on the source)", view.name), &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        trial.views.tried += waiting.len();
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
                if !self.creates_scratch_view(&sql, &route.target_database(&view.name.database)) {
                    trial.views.skipped.push((view.name.to_string(), "its text was not understood"));
                    continue;
                }
                match target.execute(sql, "creating a view") {
                    Ok(_) => {}
                    Err(error) if is_answer(&error) => failed.push((view, shown, error)),
                    Err(error) => return Err(error.into()),
                }
            }
            if failed.is_empty() || failed.len() == before {
                for (view, _, error) in failed {
                    let name = view.name.to_string();
                    match error.server_error().map(|answer| answer.code) {
                        // 1305: a function, which is not created in the scratch database. 1146: perhaps a table that was
                        // left out of the trial.
                        Some(1305) => trial.views.skipped.push((name, "it calls a stored function")),
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

    fn programs(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        route: &Route,
        trial: &mut Trial,
    ) -> Result<(), Blocked> {
        let programs = self.definitions.programs.iter().filter(|program| program.kind != ProgramKind::View);
        for (number, program) in programs.enumerate() {
            if trial.programs.tried >= PROGRAMS_MAX || self.is_over()? {
                trial.programs.skipped.push((program.to_string(), "there was no more time"));
                continue;
            }
            if program.body.is_empty() {
                trial.programs.skipped.push((program.to_string(), "its text is hidden from the account"));
                continue;
            }
            let scratch = route.target_database(&program.name.database);
            let name = quote::table(&TableName::new(&scratch, format!("t{number}")));
            let sql = match (program.kind, &program.trigger) {
                (ProgramKind::Trigger, Some((time, event, table))) => format!(
                    "CREATE TRIGGER {name} {time} {event} ON {} FOR EACH ROW {}",
                    quote::table(&route.target_of(table)),
                    program.body
                ),
                (ProgramKind::Event, _) => format!("CREATE PROCEDURE {name}() {}", program.body),
                _ => match show(source, program)? {
                    Some(shown) if has_bare_name(&shown) => without_definer(&shown),
                    Some(_) => {
                        trial.programs.skipped.push((program.to_string(), "its text was not understood"));
                        continue;
                    }
                    None => {
                        trial
                            .programs
                            .skipped
                            .push((program.to_string(), "its text is hidden from the account"));
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
                Err(error) if is_answer(&error) => {
                    trial.programs.refused.push(refused(program.to_string(), &error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
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

/// Returns the server's text of a view or routine; `None` when it is hidden.
fn show(source: &mut Connection, program: &Program) -> Result<Option<String>> {
    let (kind, column) = match program.kind {
        ProgramKind::View => ("VIEW", 1),
        ProgramKind::Procedure => ("PROCEDURE", 2),
        ProgramKind::Function => ("FUNCTION", 2),
        ProgramKind::Trigger => ("TRIGGER", 2),
        ProgramKind::Event => ("EVENT", 3),
    };
    let sql = format!("SHOW CREATE {kind} {}", quote::table(&program.name));
    let row = source.query_row(sql, "reading a definition")?;
    Ok(row.and_then(|row| row.text(column).map(String::from)).filter(|text| !text.is_empty()))
}

/// The server answered with an error: a finding. Anything else means that we could not find out.
fn is_answer(error: &Error) -> bool {
    error.server_error().is_some() && error.recovery() != crate::error::Recovery::Retry
}

fn is_privilege(error: &Error) -> bool {
    error.server_error().is_some_and(crate::error::ServerError::is_privilege)
}

fn refused(object: String, error: &Error) -> Refused {
    let answer = error.server_error().map_or_else(|| error.to_string(), ToString::to_string);
    Refused { object, answer }
}

/// The grant with which the trial becomes possible.
fn scratch_grant(prefix: &str, account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let pattern = format!("{}%", prefix.replace('_', "\\_"));
    format!(
        "GRANT ALTER, ALTER ROUTINE, CREATE, CREATE ROUTINE, CREATE VIEW, DROP, INDEX, REFERENCES, SELECT, SHOW VIEW, TRIGGER \
         ON {}.* TO {}@{};",
        quote::identifier(&pattern),
        quote::string_literal(user),
        quote::string_literal(host)
    )
}

pub(super) fn charset_names(facts: &ServerFacts) -> CharsetNames {
    let version = facts.version;
    let number = u32::from(version.0) * 1_00_00 + u32::from(version.1) * 1_00 + u32::from(version.2);
    match facts.flavor {
        Flavor::MySql => CharsetNames::of_mysql(number),
        Flavor::MariaDb => CharsetNames::of_mariadb(number),
    }
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

    #[test]
    fn scratch_names_fit_and_differ() {
        assert_eq!(prefix("shop-1"), "__dts_scratch_shop-1_");
        let (a, b) = (prefix(&"a".repeat(64)), prefix(&format!("{}b", "a".repeat(63))));
        assert!(a != b && a.len() < 50 && a.starts_with("__dts_scratch_aaaa"), "{a} {b}");
        assert!(
            scratch_grant("__dts_scratch_x_", "dts@%")
                .contains("`\\_\\_dts\\_scratch\\_x\\_%`.* TO 'dts'@'%'")
        );
    }
}
