//! Schema changes in the stream: which are carried, under which session, and how each is carried exactly once.
//!
//! # Which definition decodes a change
//! A row event has no types of its own: its table's definition *at its place in the log* decodes it. From the moment on in which a
//! table of the target is as the source's table was at the applied position, schema changes are carried in order, so the
//! target's own definition is that one ([`super::tables`]). What is left are tables in the making. A table is created from the
//! source's definition of *now* and its rows are read later still, while the log is replayed from P0: a schema change between
//! P0 and the converge point leaves it open whether definition and rows are of before or after. Such a table is **created and
//! copied anew**, it alone, from a position after that change:
//!
//! - Until then nothing of the log is applied to it ([`Standing::Waiting`]): all of that is before the new copy begins.
//! - Its new `start_position` S is read from the source *before* its definition, so what is in S is in the definition and
//!   visible to every read of its rows: changes and schema changes in S are left out ([`Standing::Included`]). What is not
//!   in S is replayed, and the theorem of [`start_position`](crate::source::start_position) holds with S for P0.
//! - A schema change of it that is not in S and before the new converge point restarts it again. A table that never rests is
//!   copied, from the third time on, from one exact snapshot, whose metadata lock keeps schema changes away; the
//!   definition is then older than the snapshot only if a schema change lies between the two, which the log tells.
//!
//! Changes before that schema change may meet a definition that is not theirs, and fail. So where a table is in the making, a change
//! that does not fit restarts the table, as the schema change itself would have a moment later ([`KnownTables::may_misfit`]);
//! a change that fits by chance does no harm, because everything in that table is thrown away. That the schema change does
//! come is certain: the definition was read after P0 and before the converge point, so what changed it is in between.
//!
//! # Exactly once
//! DDL is no part of a transaction. Everything before is durable and nothing after has begun when a schema change is run. Its
//! row in the ledger says "started", with a digest of what the tables look like, before it is sent; "finished" is
//! written with the checkpoint. Whoever finds "started" first waits for the session that may still run it, then looks: tables
//! that look as before mean that it was not run, because it alone can have changed them, and a server of 8.0 or later
//! makes it as a whole or not at all. Statements that leave the same when they are run twice are run again. Where
//! neither is sure (two tables that look alike are swapped, and the account may not see InnoDB's numbers) the operator is asked.
mod journal;
mod known;
mod plan;
mod session;

use std::collections::BTreeSet;

use crate::binlog::QueryEvent;
use crate::data::{Gtid, ObjectKind, TableName};
use crate::error::{Error, ErrorKind, Recovery, Result, Side};
use crate::server::catalog;
use crate::source::SourceEndpoint;
use crate::sql::Dialect;
use crate::sql::mend::{self, Mending};
use crate::sql::quote;
use crate::sql::statement::{self, NameRole, Statement, StatementKind};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::deferred;
use crate::target::ledger::{ChangeState, CopyState, Ledger, SchemaChangeRow, TableRow};
use crate::transform::{ObjectKinds, Transform};
use crate::wire::Connection;

use super::ApplyMode;
use super::change::Span;
pub(super) use known::{KnownTables, Standing};
use plan::{Effect, Plan, Planner, Sort, Verdict};
use session::ChangeSession;

/// Characters of a statement that are shown.
const SHOWN_MAX: usize = 300;

/// A statement of the log that is no change of rows, parsed.
pub(super) struct SchemaChange {
    pub(super) statement: Statement,
    text: String,
    database: String,
    dialect: Dialect,
    /// What it ended with on the source; 0 for success.
    error_code: u16,
    /// The text is byte for byte what the client sent.
    is_as_sent: bool,
    /// The text is not UTF-8 and what stands here is a makeshift.
    is_makeshift: bool,
}

/// A statement and its place in the log.
pub(super) struct LoggedChange<'e> {
    pub(super) change: &'e SchemaChange,
    pub(super) query: &'e QueryEvent<'e>,
    /// Seconds since 1970, from the event's header.
    pub(super) timestamp: u32,
    pub(super) span: Option<&'e Span>,
    /// It stands between BEGIN and COMMIT.
    pub(super) is_inside: bool,
}

/// A schema change that is to be carried: everything before it must be durable first.
pub(super) struct Prepared {
    change: SchemaChange,
    verdict: Verdict,
    /// An operator has seen to it.
    is_skipped: bool,
}

/// Carries schema changes.
pub(super) struct SchemaChanger<'a> {
    pub(super) source: &'a SourceEndpoint,
    pub(super) target: &'a TargetEndpoint,
    pub(super) ledger: &'a Ledger,
    pub(super) transform: &'a Transform,
    pub(super) objects: ObjectKinds,
    /// Schema changes that an operator has seen to.
    pub(super) skipped: &'a [Gtid],
    pub(super) known: KnownTables,
    pub(super) stop: &'a StopToken,
}

impl SchemaChange {
    /// Reads the statement of a Query event.
    pub(super) fn read(query: &QueryEvent<'_>) -> Self {
        let (text, is_makeshift) = match std::str::from_utf8(query.statement) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (String::from_utf8_lossy(query.statement).into_owned(), true),
        };
        SchemaChange { is_makeshift, ..SchemaChange::of_text(text, query, false) }
    }

    fn of_text(text: String, query: &QueryEvent<'_>, folds: bool) -> Self {
        let dialect = Dialect::of_sql_mode(query.status.sql_mode.unwrap_or(0));
        let statement = statement::classify_in(&text, &query.database, dialect);
        SchemaChange {
            statement: if folds { statement.lowering() } else { statement },
            is_as_sent: text.as_bytes() == query.statement,
            text,
            database: query.database.clone(),
            dialect,
            error_code: query.error_code,
            is_makeshift: false,
        }
    }

    /// Makes the error that stops the task at this statement.
    fn refused(&self, why: &str) -> Error {
        let statement = self.text.chars().take(SHOWN_MAX).collect();
        ErrorKind::SchemaChange { why: why.into(), statement }.into()
    }

    fn logged_as_statement(&self) -> Error {
        let what = "a change of rows was logged as a statement (binlog_format is not ROW in some session)";
        ErrorKind::BinlogEvent { what: what.into() }.into()
    }

    /// Returns the text of a statement about a database for another one.
    fn text_for_database(&self, target: &str) -> String {
        let mut text = self.text.clone();
        let name = quote::identifier(target);
        if let Some(found) = self.statement.names.iter().find(|name| name.role == NameRole::Database) {
            text.replace_range(found.name_span.clone(), &name);
        } else if let Some(at) = ["DATABASE", "SCHEMA"]
            .iter()
            .find_map(|word| text.to_ascii_uppercase().find(word).map(|at| at + word.len()))
        {
            // The default database is meant.
            text.insert_str(at, &format!(" {name}"));
        }
        if self.statement.kind == StatementKind::CreateDatabase {
            mend::repeatable(&text, self.dialect).unwrap_or(text)
        } else {
            text
        }
    }
}

impl SchemaChanger<'_> {
    /// Decides about a statement; `None` when nothing is to be done.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogEvent`] for a change of rows logged as a statement; [`ErrorKind::SchemaChange`] for one that cannot
    /// be carried.
    pub(super) fn prepare(&self, logged: &LoggedChange<'_>) -> Result<Option<Prepared>> {
        let change = self.readable(logged)?;
        let keyed = self.keyed(&change)?;
        let planner = Planner {
            transform: self.transform,
            objects: self.objects,
            known: &self.known,
            gtid: logged.span,
            keyed: &keyed,
        };
        let is_skipped =
            logged.span.is_some_and(|span| self.skipped.iter().any(|gtid| Span::from(gtid.clone()) == *span));
        let verdict = match planner.decide(&change) {
            Err(_) if is_skipped => Verdict::Carry(Plan::default()),
            decided => decided.map_err(|error| advise(error, logged))?,
        };
        if let Verdict::Skip(why) = verdict {
            log::info!("not carried ({why}): {}", change.text.chars().take(SHOWN_MAX).collect::<String>());
            return Ok(None);
        }
        let is_create = matches!(change.statement.kind, StatementKind::CreateTable { .. });
        if logged.is_inside && !is_create && !is_skipped {
            return Err(advise(
                change.refused("it stands inside a transaction with changes of rows"),
                logged,
            ));
        }
        Ok(Some(Prepared { change, verdict, is_skipped }))
    }

    /// Runs what was prepared, unless an earlier life did. Everything before it must be durable. Returns what belongs into the
    /// transaction that records it as applied.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaChange`] when the target refuses it, or when values were changed to fit; what breaks a connection.
    pub(super) fn carry(&self, prepared: &Prepared, logged: &LoggedChange<'_>) -> Result<Vec<String>> {
        self.carry_located(prepared, logged).map_err(|error| advise(error, logged))
    }

    fn carry_located(&self, prepared: &Prepared, logged: &LoggedChange<'_>) -> Result<Vec<String>> {
        let Some(gtid) = logged.span else {
            return Err(Error::internal("a schema change outside of any transaction"));
        };
        let change = &prepared.change;
        let plan = match &prepared.verdict {
            Verdict::Carry(plan) => plan,
            Verdict::HoldBack => return Ok(vec![self.record(gtid, ChangeState::HeldBack, change)]),
            Verdict::Skip(_) => return Ok(Vec::new()),
        };
        let mut control = self.target.control(self.stop)?;
        if prepared.is_skipped {
            log::warn!("left out as the operator wished: {gtid}");
            let effects: Vec<Effect> =
                plan.effects.iter().filter(|effect| !matches!(effect, Effect::Restart(_))).cloned().collect();
            let mut recorded = self.take_effect(&effects, &mut control)?;
            recorded.push(self.record(gtid, ChangeState::Skipped, change));
            return Ok(recorded);
        }
        if !plan.runs.is_empty() || !plan.dropped_databases.is_empty() {
            self.run(plan, change, logged, gtid, &mut control)?;
        }
        let mut recorded = self.take_effect(&plan.effects, &mut control)?;
        recorded.push(self.record(gtid, ChangeState::Finished, change));
        if logged.is_inside {
            // The rows of a CREATE TABLE … SELECT follow, and are recorded as applied with their own end.
            control
                .execute(format!("BEGIN; {}; COMMIT", recorded.join("; ")), "recording a schema change")?;
            recorded.clear();
        }
        Ok(recorded)
    }

    fn run(
        &self,
        plan: &Plan,
        change: &SchemaChange,
        logged: &LoggedChange<'_>,
        gtid: &Span,
        control: &mut Connection,
    ) -> Result<()> {
        let mut session = ChangeSession::open(self.target, self.ledger, change, self.stop)?;
        let journaled = self.ledger.schema_change(control, &gtid.to_string())?;
        let tables: BTreeSet<TableName> =
            plan.runs.iter().flat_map(|run| &run.tables).map(|table| self.target_of(table)).collect();
        let facts = self.target.facts();
        let before = match &journaled {
            Some(row) if row.state == ChangeState::Finished => return Ok(()),
            Some(row) if row.state == ChangeState::Lossy => return Err(self.lossy(change, plan, None)),
            Some(row) => row.before_digest.clone(),
            None => {
                self.complete(plan, control)?;
                let digest = journal::digest(control, facts, &tables)?.digest;
                let row = SchemaChangeRow { state: ChangeState::Started, before_digest: digest };
                // A name on the target is ours before there is anything of that name.
                let mut sql = self.claim(plan, control)?;
                sql.push(self.ledger.schema_change_statement(&gtid.to_string(), &row, &change.text));
                control.execute(format!("BEGIN; {}; COMMIT", sql.join("; ")), "recording a schema change")?;
                row.before_digest
            }
        };
        let was_run = match &journaled {
            Some(_) => self.was_run(plan, change, &before, &tables, control)?,
            None => false,
        };
        let database = self.transform.route.target_database(&change.database);
        session.prepare(self.source, self.target, logged.query, logged.timestamp, &database, self.stop)?;
        let mending = Mending {
            names: facts.charset_names(),
            utf8mb4_collation: session::utf8mb4_collation(logged.query, self.target),
        };
        for run in &plan.runs {
            if was_run && matches!(run.sort, Sort::Once | Sort::Swap) {
                log::info!("was run before: {gtid}");
                continue;
            }
            let mut run = plan::Run { sql: run.sql.clone(), sort: run.sort, tables: run.tables.clone() };
            if !matches!(run.sort, Sort::Object(_)) {
                let text = statement::without_start_transaction_in(&run.sql, change.dialect);
                let (text, rewrites) =
                    mend::mend(&text, change.dialect, &mending).unwrap_or((text, Vec::new()));
                run.sql = text;
                for rewrite in rewrites {
                    log::info!("{gtid}: {} ({})", rewrite.what, rewrite.why);
                }
            }
            let outcome = session.run(&run);
            if let Some(code) = self.forgiven(change, outcome)? {
                let row = SchemaChangeRow { state: ChangeState::Lossy, before_digest: before.clone() };
                let sql = self.ledger.schema_change_statement(&gtid.to_string(), &row, &change.text);
                control.execute(sql, "recording a schema change")?;
                return Err(self.lossy(change, plan, Some(code)));
            }
        }
        for database in &plan.dropped_databases {
            self.drop_database(database, change, control)?;
        }
        Ok(())
    }

    /// A view or program that cannot be made while tables are in the making is made when the task is completed.
    fn forgiven(&self, change: &SchemaChange, outcome: Result<Option<u16>>) -> Result<Option<u16>> {
        let is_object = matches!(
            change.statement.kind,
            StatementKind::CreateView
                | StatementKind::AlterView
                | StatementKind::DropView
                | StatementKind::StoredProgram { .. }
        );
        match outcome {
            Err(error)
                if is_object
                    && !self.known.is_strict()
                    && matches!(error.kind(), ErrorKind::SchemaChange { .. }) =>
            {
                log::warn!("left for the completion of the task: {error}");
                Ok(None)
            }
            outcome => outcome,
        }
    }

    /// Returns whether a statement that was started was run.
    fn was_run(
        &self,
        plan: &Plan,
        change: &SchemaChange,
        before: &str,
        tables: &BTreeSet<TableName>,
        control: &mut Connection,
    ) -> Result<bool> {
        let Some(run) = plan.runs.iter().find(|run| matches!(run.sort, Sort::Once | Sort::Swap)) else {
            return Ok(false);
        };
        let now = journal::digest(control, self.target.facts(), tables)?;
        let is_as_before = now.digest == before;
        let is_atomic = self.target.facts().is_mysql_at_least(8, 0, 0) || tables.len() == 1;
        if (is_as_before && run.sort == Sort::Swap && !now.has_numbers) || (!is_as_before && !is_atomic) {
            return Err(change.refused(
                "a run ended while it was carried, and the tables do not tell whether it was (look at them)",
            ));
        }
        Ok(!is_as_before)
    }

    /// Builds what is still to be built on the tables that are changed: the source has it, and the change may be about it.
    fn complete(&self, plan: &Plan, control: &mut Connection) -> Result<()> {
        for run in plan.runs.iter().filter(|run| matches!(run.sort, Sort::Once | Sort::Swap)) {
            for table in &run.tables {
                let Some(mut row) = self.known.row(table) else { continue };
                // One that waited to be copied anew and was gone by then has left its row, and nothing to build.
                let has_nothing_to_build = matches!(row.state, CopyState::Indexed | CopyState::Restart);
                if has_nothing_to_build || run.sql.starts_with("DROP TABLE") {
                    continue;
                }
                log::info!("{table}: indexes are built before its definition is changed");
                let facts = self.target.facts();
                let mut connection = self.target.control(self.stop)?;
                connection.set_answer_timeout(session::PATIENCE);
                deferred::build_indexes(&mut connection, facts, &row)?;
                let keys = row.deferred.foreign_keys.iter().collect();
                deferred::add_foreign_keys(&mut connection, facts, &row, keys, &self.transform.route)?;
                self.ledger.set_table_state(control, row.id, CopyState::Indexed)?;
                row.state = CopyState::Indexed;
                self.known.put(row);
            }
        }
        Ok(())
    }

    /// Builds the statements that make names on the target the task's.
    fn claim(&self, plan: &Plan, control: &mut Connection) -> Result<Vec<String>> {
        let mut statements = Vec::new();
        for effect in &plan.effects {
            match effect {
                // An earlier life may have claimed it.
                Effect::Create(table)
                    if self.known.row(table).is_none_or(|row| row.state == CopyState::Restart) =>
                {
                    self.refuse_foreign(&self.transform.route.target_of(table), control)?;
                    statements.push(self.ledger.table_statement(&self.live_row(table))?);
                }
                Effect::AddObject(kind, name) => statements.push(self.ledger.object_statement(*kind, name)),
                _ => {}
            }
        }
        Ok(statements)
    }

    /// Somebody else's table of that name is never touched.
    fn refuse_foreign(&self, target: &TableName, control: &mut Connection) -> Result<()> {
        let is_there = catalog::table_names(control, &target.database)?.contains(target);
        if is_there && !self.known.is_ours(target) {
            return Err(Error::from(ErrorKind::TargetConflict { count: 1, names: target.to_string() })
                .on(Side::Target));
        }
        Ok(())
    }

    fn drop_database(&self, database: &str, change: &SchemaChange, control: &mut Connection) -> Result<()> {
        let foreign: Vec<String> = catalog::table_names(control, database)?
            .into_iter()
            .filter(|table| !self.known.is_ours(table))
            .map(|table| table.to_string())
            .collect();
        if !foreign.is_empty() {
            let shown = foreign.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let why = format!("the target's database holds tables that are not this task's: {shown}");
            return Err(change.refused(&why));
        }
        let sql = format!("DROP DATABASE IF EXISTS {}", quote::identifier(database));
        control.execute(sql, "dropping a database").map(drop)
    }

    /// Brings the known tables up to date and returns what is recorded of it.
    fn take_effect(&self, effects: &[Effect], control: &mut Connection) -> Result<Vec<String>> {
        let mut recorded = Vec::new();
        let tied = self.tied(effects, control)?;
        for effect in effects.iter().chain(&tied) {
            match effect {
                Effect::Restart(table) => {
                    let mut row = match self.known.row(table) {
                        Some(row) => row,
                        None => {
                            let target = self.transform.route.target_of(table);
                            self.refuse_foreign(&target, control)?;
                            self.known.new_row(table, target, CopyState::Restart)
                        }
                    };
                    log::warn!(
                        "{table} will be copied anew: its definition was changed, or it came from outside"
                    );
                    row.state = CopyState::Restart;
                    row.snapshot_position = None;
                    recorded.push(self.ledger.table_statement(&row)?);
                    self.put(row, &mut recorded);
                }
                Effect::Create(table) => {
                    let row = self.live_row(table);
                    recorded.push(self.ledger.table_statement(&row)?);
                    self.put(row, &mut recorded);
                }
                Effect::Drop(table) => {
                    if let Some(row) = self.known.remove(table) {
                        recorded.extend(self.ledger.forget_table_statements(row.id));
                    }
                }
                Effect::Rename(moved) => {
                    let mut rows = Vec::new();
                    for (old, new) in moved {
                        match self.known.remove(old) {
                            Some(row) => rows.push((row, new)),
                            None => recorded.extend(self.rename_view(old, new, control)?),
                        }
                    }
                    for (mut row, new) in rows {
                        row.source = new.clone();
                        row.target = self.transform.route.target_of(new);
                        recorded.push(self.ledger.table_statement(&row)?);
                        self.put(row, &mut recorded);
                    }
                }
                Effect::AddObject(kind, name) => recorded.push(self.ledger.object_statement(*kind, name)),
                Effect::DropObject(kind, name) => {
                    recorded.push(self.ledger.forget_object_statement(*kind, name));
                }
            }
        }
        Ok(recorded)
    }

    /// Returns what happens to the tables that are tied, by foreign keys that change rows by themselves, to one that is copied anew: as
    /// long as that one waits, nothing repeats on them what its changes changed.
    fn tied(&self, effects: &[Effect], control: &mut Connection) -> Result<Vec<Effect>> {
        let is_restart = |effect: &Effect| matches!(effect, Effect::Restart(_));
        if self.source.facts().logs_cascades() || !effects.iter().any(is_restart) {
            return Ok(Vec::new());
        }
        let rows = self.known.rows();
        let mut ties = Vec::new();
        for database in rows.iter().map(|row| &row.target.database).collect::<BTreeSet<_>>() {
            for table in catalog::tables(control, self.target.facts(), database, |_| true)? {
                let keys = table.foreign_keys.into_iter().filter(|key| key.cascades);
                ties.extend(keys.map(|key| (table.name.clone(), key.referenced_table)));
            }
        }
        let mut marked: BTreeSet<TableName> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Restart(table) => Some(self.target_of(table)),
                _ => None,
            })
            .collect();
        let first = marked.clone();
        loop {
            let count = marked.len();
            for (child, parent) in &ties {
                if marked.contains(child) || marked.contains(parent) {
                    marked.extend([child.clone(), parent.clone()]);
                }
            }
            if marked.len() == count {
                break;
            }
        }
        let is_tied = |row: &&TableRow| marked.contains(&row.target) && !first.contains(&row.target);
        Ok(rows.iter().filter(is_tied).map(|row| Effect::Restart(row.source.clone())).collect())
    }

    /// Returns the row of a table that exists since a place in the log: an earlier life's, or a new one, in place of one that says
    /// that no such table was there.
    fn live_row(&self, table: &TableName) -> TableRow {
        let known = self.known.row(table);
        let fresh = self.known.new_row(table, self.transform.route.target_of(table), CopyState::Indexed);
        match known {
            Some(row) if row.state == CopyState::Restart => TableRow { id: row.id, ..fresh },
            Some(row) => row,
            None => fresh,
        }
    }

    fn put(&self, row: TableRow, recorded: &mut Vec<String>) {
        if let Some(replaced) = self.known.put(row) {
            recorded.extend(self.ledger.forget_table_statements(replaced));
        }
    }

    /// `RENAME TABLE` takes views, too.
    fn rename_view(&self, old: &TableName, new: &TableName, control: &mut Connection) -> Result<Vec<String>> {
        let kind = ObjectKind::View;
        let (old, new) = (self.transform.route.target_of(old), self.transform.route.target_of(new));
        if !self.ledger.objects(control, kind)?.contains(&old) {
            return Ok(Vec::new());
        }
        Ok(vec![self.ledger.forget_object_statement(kind, &old), self.ledger.object_statement(kind, &new)])
    }

    fn target_of(&self, table: &TableName) -> TableName {
        self.known.row(table).map_or_else(|| self.transform.route.target_of(table), |row| row.target)
    }

    fn record(&self, gtid: &Span, state: ChangeState, change: &SchemaChange) -> String {
        let row = SchemaChangeRow { state, before_digest: String::new() };
        self.ledger.schema_change_statement(&gtid.to_string(), &row, &change.text)
    }

    fn lossy(&self, change: &SchemaChange, plan: &Plan, code: Option<u16>) -> Error {
        let code = code.map_or(String::new(), |code| format!(" (warning {code})"));
        let why = format!(
            "the target made the change, and changed values of rows to make them fit{code}; another version may change them otherwise \
             (compare the table, mend what differs)"
        );
        let error = change.refused(&why);
        match plan.runs.iter().find_map(|run| run.tables.first()) {
            Some(table) => error.for_table(table),
            None => error,
        }
    }

    /// Returns which tables of a statement that numbers rows have a key.
    fn keyed(&self, change: &SchemaChange) -> Result<BTreeSet<TableName>> {
        if !mend::row_effects(&change.text, change.dialect).numbers_rows {
            return Ok(BTreeSet::new());
        }
        let mut control = self.target.control(self.stop)?;
        let mut keyed = BTreeSet::new();
        for table in change.statement.changed_tables() {
            match catalog::table(&mut control, self.target.facts(), &self.target_of(&table)) {
                Ok(schema) if schema.row_key().is_some() => {
                    keyed.insert(table);
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keyed)
    }

    /// Reads a text that is not UTF-8 with the help of the target, which knows all character sets.
    fn readable(&self, logged: &LoggedChange<'_>) -> Result<SchemaChange> {
        let (change, query) = (logged.change, logged.query);
        let folds = self.source.facts().lower_case_table_names() != 0;
        if !change.is_makeshift {
            return Ok(SchemaChange::of_text(change.text.clone(), query, folds));
        }
        let mut control = self.target.control(self.stop)?;
        let collation = query.status.character_set_client.unwrap_or(0);
        let sql =
            format!("SELECT CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID = {collation}");
        let charset = control.query_row(sql, "looking up a character set")?.map(|row| row.string(0));
        let Some(charset) = charset else {
            return Err(change.refused("its text is in a character set that the target does not have"));
        };
        let mut sql = b"SELECT CONVERT(CONVERT(".to_vec();
        quote::push_hex_literal(&mut sql, query.statement);
        sql.extend_from_slice(format!(" USING {}) USING utf8mb4)", quote::identifier(&charset)).as_bytes());
        let text = control.query_row(sql, "converting a statement")?.map(|row| row.string(0));
        Ok(SchemaChange::of_text(text.unwrap_or_default(), query, folds))
    }
}

/// Marks the table that an error is about to be copied anew, when the change that failed may be one of another definition of
/// it. Returns whether that was so: then the log can be taken up again.
///
/// # Errors
/// What the target answered.
pub(super) fn restart_misfit(
    error: &Error,
    target: &TargetEndpoint,
    ledger: &Ledger,
    mode: ApplyMode,
    stop: &StopToken,
) -> Result<bool> {
    let Some(table) = error.table() else { return Ok(false) };
    let is_about_rows =
        error.recovery() == Recovery::Operator && !matches!(error.kind(), ErrorKind::SchemaChange { .. });
    if mode == ApplyMode::Strict || !is_about_rows {
        return Ok(false);
    }
    let mut control = target.control(stop)?;
    let known = KnownTables::new(ledger.tables(&mut control)?, false, mode);
    let Some(row) = known.row(table).filter(|_| known.may_misfit(table)) else { return Ok(false) };
    log::warn!(
        "{table} will be copied anew: a change does not fit it, so its definition was changed meanwhile ({error})"
    );
    ledger.set_table_state(&mut control, row.id, CopyState::Restart)?;
    Ok(true)
}

/// Adds the position, and what the operator can do.
fn advise(error: Error, logged: &LoggedChange<'_>) -> Error {
    let Some(gtid) = logged.span else { return error };
    let error = error.at(gtid);
    if matches!(error.kind(), ErrorKind::SchemaChange { .. }) {
        return error.with_hint(format!(
            "Do by hand on the target what the statement does, or mend what hinders it. Then run with --skip-ddl {gtid} to go on after \
             it; without that it is tried again."
        ));
    }
    error
}
