//! Tries it: creates the structure in scratch databases on the target, notes what the target refuses, and removes them.
//!
//! One database `__dts_scratch_<task>_<n>` stands for each database of the source. Nothing in them runs: tables stay empty,
//! triggers never fire, and an event is tried as a procedure with its body. A user lock on the target keeps two validations
//! of one task apart, so that each may remove what an earlier one that was killed has left behind.
mod programs;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Side};
use crate::server::catalog;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::transform::Route;
use crate::validator::definitions::Definitions;
use crate::validator::privileges::quoted_account;
use crate::validator::survey::{Blocked, SourceObjects, Survey};
use crate::wire::Connection;

/// How much of the deadline may go into creating; the rest is for removing.
const SHARE: f32 = 0.7;

/// Why a routine, trigger or event is not tried whose text the account may not see.
pub(super) const HIDDEN: &str = "its text is hidden from the account";

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
    /// The first thing that the account may not do in a scratch database.
    denied: Option<String>,
    /// The scratch databases that were created.
    scratch: Vec<String>,
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
        remove(&mut target, &prefix, &[])?;
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
                Ok(remove(&mut connection, &prefix, &trial.scratch)?)
            })
        } else {
            remove(&mut target, &prefix, &trial.scratch).map_err(Blocked::from)
        };
        outcome?;
        removed?;
        if let Some(answer) = &trial.denied {
            let account = &survey.facts(Side::Target)?.current_user;
            let because =
                format!("'{account}' may not try the structure in scratch databases on the target: {answer}");
            trial.not_possible = Some((because, scratch_grant(&prefix, account)));
        }
        Ok(trial)
    }

    /// Takes note that the target answered with an error to the creation of an object. An account that may not create things
    /// in scratch databases says nothing of the object.
    fn refuse(
        &mut self,
        outcome: fn(&mut Trial) -> &mut Outcome,
        object: String,
        error: Error,
    ) -> Result<(), Blocked> {
        // Denied for a database, a table, columns, a routine.
        let is_denial = error.server_error().is_some_and(|e| matches!(e.code, 1044 | 1142 | 1143 | 1370));
        if !is_answer(&error) {
            return Err(error.into());
        }
        let refused = refused(object, &error);
        if is_denial {
            self.denied.get_or_insert(refused.answer);
        } else {
            outcome(self).refused.push(refused);
        }
        Ok(())
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

/// Removes the scratch databases of this task, those `created` and what an earlier validation left behind.
///
/// # Errors
/// What the target answered; an account that has lost its privileges does not see what it created, and must not pass over it.
fn remove(target: &mut Connection, prefix: &str, created: &[String]) -> Result<()> {
    let is_ours = |database: &String| {
        let number = database.strip_prefix(prefix);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let found = catalog::databases(target)?.into_iter().map(|database| database.name).filter(is_ours);
    let all: BTreeSet<String> = found.chain(created.iter().cloned()).collect();
    for database in all {
        let sql = format!("DROP DATABASE IF EXISTS {}", quote::identifier(&database));
        target.execute(sql, "removing a scratch database of the trial (drop it by hand if it stays)")?;
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
        let names = self.survey.facts(Side::Target)?.charset_names();
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
            trial.scratch.push(scratch[database.name.as_str()].clone());
            match target.execute(sql, "creating a scratch database") {
                Ok(_) => {}
                Err(error) if is_privilege(&error) => {
                    let account = self.survey.facts(Side::Target)?.current_user.clone();
                    let fix = scratch_grant(self.prefix, &account);
                    let because = format!("'{account}' may not create scratch databases on the target");
                    trial.not_possible = Some((because, fix));
                    trial.scratch.pop();
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
        // Nothing looks into a program's body before it runs, and views may call functions.
        self.programs(source, target, &route, trial)?;
        self.views(source, target, &route, whole, trial)
    }

    fn is_over(&self) -> Result<bool, Blocked> {
        self.stop.check()?;
        Ok(Instant::now() >= self.deadline)
    }
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
    let pattern = format!("{}%", prefix.replace('_', "\\_"));
    format!(
        "GRANT ALTER, ALTER ROUTINE, CREATE, CREATE ROUTINE, CREATE VIEW, DROP, INDEX, REFERENCES, SELECT, SHOW VIEW, TRIGGER \
         ON {}.* TO {};",
        quote::identifier(&pattern),
        quoted_account(account)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
