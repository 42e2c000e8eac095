//! The reverse channel: what is written on the target after the cut-over goes to the source, so that the writers can come back.
//!
//! # Why nothing is lost or carried in a circle
//! - It begins at the target's position of the cut-over, which is read while neither side can be written and everything of the
//!   source is applied. Its first row in the ledger *of the source* is durable before the target is opened.
//! - It is the applier of the other direction with the ends exchanged: strict, transaction by transaction, exactly once by the
//!   checkpoint in the same transactions.
//! - Each channel leaves out transactions with the other one's row of the checkpoint (`loop_guard`), and both begin after all that the
//!   other one had written.
//! - The source's triggers are away as long as it runs: what they do on the target comes as changes of rows. Its events are
//!   disabled by the gate.
//!
//! Names are those of the tables that there were at the cut-over, each of them written out. A change of any definition in their
//! databases ends the channel: what a newer server is told may not be possible on the older one.
use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::{Ends, Migration, MigrationOptions, RunReport, Until, table_pairs};
use crate::binlog_applier::{
    ApplyMode, ApplyUntil, BinlogApplier, BinlogApplyOptions, EngineChoice, OnDivergence,
};
use crate::checker::TablePair;
use crate::data::{Position, TableName, TableSchema};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::progress::{Progress, Step, StepState};
use crate::server::{self, catalog};
use crate::source::binlog_stream::BinlogStream;
use crate::source::{SourceEndpoint, SourceOptions};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::structure::{RestoreReport, Structure};
use crate::target::ledger::{Ledger, Phase};
use crate::target::{TargetEndpoint, TargetOptions, held_triggers};
use crate::transform::{ObjectSelection, Route, Transform};
use crate::wire::Connection;

/// What a task's name may be long in the channel's name.
const NAME_LENGTH_MAX: usize = 32;

/// The channel of one task. Its `ends` are exchanged: its source is the task's target.
pub(super) struct Channel {
    pub(super) ends: Ends,
    /// The task's selection on the task's source, under its own names.
    own: Transform,
    /// Databases on the target whose definitions must not change.
    frozen: BTreeSet<String>,
    task: String,
}

/// Returns the name that a task's channel has in the ledger on the source: nobody else's, wherever both servers are used else.
pub(super) fn channel_name(task: &str, target_uuid: &str) -> String {
    let digest = Sha256::digest(format!("{task}\n{target_uuid}"));
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let short: String = task.chars().take(NAME_LENGTH_MAX).collect();
    format!("{short}:back:{digits}")
}

impl Channel {
    /// Connects both servers the other way round. `name`: the channel's in the ledger on the source.
    pub(super) fn connect(
        options: &MigrationOptions,
        there: &Ends,
        name: &str,
        stop: &StopToken,
    ) -> Result<Channel> {
        let pairs = table_pairs(there, stop)?;
        let quoted = |table: &TableName| quote::table(table);
        let folds = there.target.facts().lower_case_table_names() == 1;
        let target_name = |pair: &TablePair| {
            if folds {
                TableName::new(pair.target.database.to_lowercase(), pair.target.table.to_lowercase())
            } else {
                pair.target.clone()
            }
        };
        let named: Vec<String> = pairs.iter().map(|pair| quoted(&target_name(pair))).collect();
        let selection = ObjectSelection::new(&[], &named, &[])?;
        let rules = pairs.iter().map(|pair| (quoted(&target_name(pair)), quoted(&pair.source)));
        let transform = Transform::new(selection, Route::new(rules)?)?;
        let source = SourceEndpoint::connect(SourceOptions::new(options.target.connection.clone()), stop)
            .map_err(Error::mirrored)?;
        let target = TargetEndpoint::connect(TargetOptions::new(options.source.connection.clone()), stop)
            .map_err(Error::mirrored)?;
        let frozen = pairs.iter().map(|pair| target_name(pair).database).collect();
        let own = Transform { selection: there.transform.selection.clone(), route: Route::identity() };
        let ends = Ends { source, target, transform, ledger: Ledger::new(name) };
        Ok(Channel { ends, own, frozen, task: options.name.clone() })
    }

    /// Returns the tables of both sides; the task's target is the source.
    pub(super) fn pairs(&self) -> Vec<TablePair> {
        let route = &self.ends.transform.route;
        route
            .renamed_tables()
            .map(|name| TablePair { source: name.clone(), target: route.target_of(name) })
            .collect()
    }

    /// Applies until `until`.
    pub(super) fn apply(
        &self,
        options: &BinlogApplyOptions,
        until: &ApplyUntil,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        let mut options = options.clone();
        options.engine = EngineChoice::Transactions;
        options.on_divergence = OnDivergence::Stop;
        let ends = &self.ends;
        BinlogApplier::new(&ends.source, &ends.target, &ends.ledger, &ends.transform, ApplyMode::Strict)
            .with_options(options)
            .without_changes_of(&self.task)
            .refusing_schema_changes(self.frozen.clone())
            .run(until, stop, progress)
            .map(drop)
            .map_err(Error::mirrored)
    }

    /// Does `work` while the channel applies in a thread of this call; without `here` another process is expected to.
    pub(super) fn beside<T>(
        &self,
        options: &BinlogApplyOptions,
        here: bool,
        (stop, applying): (&StopToken, &StopToken),
        work: impl FnOnce(&StopToken) -> Result<T>,
    ) -> Result<T> {
        if !here {
            return work(stop);
        }
        super::beside(
            stop,
            applying,
            |stop| self.apply(options, &ApplyUntil::Stopped, stop, &Progress::new()),
            work,
        )
    }

    /// Looks whether changes can be carried back, and returns what was seen. With `try_out` the schema `__dts__` is created on the
    /// source and the privileges there are tried, which changes no row.
    ///
    /// # Errors
    /// [`ErrorKind::CutOver`] with all that is in the way.
    pub(super) fn preflight(&self, try_out: bool, stop: &StopToken) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let (from, to) = (self.ends.source.facts(), self.ends.target.facts());
        for (name, wanted) in [
            ("log_bin", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_value_options", ""),
        ] {
            let Some(value) = from.variable(name) else { continue };
            let is_so = match name {
                "log_bin" => from.is_on(name) == Some(true),
                _ => value.eq_ignore_ascii_case(wanted),
            };
            if !is_so {
                wrong.push(format!("{name} on the target is '{value}', expected '{wanted}'"));
            }
        }
        if wrong.is_empty() {
            let position =
                server::gtid_executed(&mut self.ends.source.control(stop).map_err(Error::mirrored)?)?;
            let read = BinlogStream::open(&self.ends.source, &Position::Gtid(position), stop)
                .and_then(|mut stream| stream.next_packet().map(drop));
            if let Err(error) = read {
                if error.is_interrupted() {
                    return Err(error);
                }
                wrong.push(format!(
                    "the target's binary log cannot be read ({}); the account there needs REPLICATION SLAVE and REPLICATION CLIENT",
                    error.mirrored()
                ));
            }
        }
        let tables = self.compare_tables(&mut wrong, stop)?;
        if try_out && wrong.is_empty() {
            self.try_out(&tables, &mut wrong, stop)?;
        }
        if !wrong.is_empty() {
            if try_out {
                self.forget(stop)?;
            }
            return Err(Error::from(ErrorKind::CutOver {
                why: format!("there can be no reverse channel: {}", wrong.join("; ")),
            })
            .with_hint("Mend what is named, or cut over without --reverse: then there is no way back."));
        }
        let proven = if try_out { "proven by trial" } else { "not tried in a dry run" };
        Ok(vec![
            format!(
                "reverse channel: {} tables, {} on the target to {} on the source; writing on the source {proven}",
                tables.len(),
                from.version_text,
                to.version_text,
            ),
            "its state is kept on the source, in the schema __dts__".into(),
        ])
    }

    /// Compares what both sides' tables can hold; returns those of the source.
    fn compare_tables(&self, wrong: &mut Vec<String>, stop: &StopToken) -> Result<Vec<TableSchema>> {
        let read = |connection: &mut Connection, facts, names: &BTreeSet<TableName>| {
            let databases: BTreeSet<_> = names.iter().map(|name| name.database.clone()).collect();
            let mut tables = Vec::new();
            for database in databases {
                tables.extend(catalog::tables(connection, facts, &database, |name| names.contains(name))?);
            }
            Ok::<_, Error>(tables)
        };
        let route = &self.ends.transform.route;
        let from_names: BTreeSet<TableName> = route.renamed_tables().cloned().collect();
        let to_names = from_names.iter().map(|name| route.target_of(name)).collect();
        let mut from = self.ends.source.control(stop).map_err(Error::mirrored)?;
        let mut to = self.ends.target.control(stop).map_err(Error::mirrored)?;
        let here = read(&mut from, self.ends.source.facts(), &from_names)?;
        let there = read(&mut to, self.ends.target.facts(), &to_names)?;
        for table in &here {
            let name = route.target_of(&table.name);
            let Some(other) = there.iter().find(|other| other.name == name) else {
                wrong.push(format!("{name} is not on the source"));
                continue;
            };
            if other.engine != "InnoDB" {
                wrong.push(format!(
                    "{name} on the source is {}, which takes part in no transaction",
                    other.engine
                ));
            }
            let is_alike = table.columns.len() == other.columns.len()
                && table.columns.iter().zip(&other.columns).all(|(one, other)| {
                    let charset = |name: &Option<String>| {
                        name.as_deref().map(|name| if name == "utf8" { "utf8mb3" } else { name }.to_owned())
                    };
                    one.name.eq_ignore_ascii_case(&other.name)
                        && one.kind == other.kind
                        && one.unsigned == other.unsigned
                        && charset(&one.charset) == charset(&other.charset)
                        && one.nullable == other.nullable
                });
            if !is_alike {
                wrong.push(format!(
                    "the columns of {name} on the source cannot hold all that the target's can"
                ));
            }
        }
        if here.len() < from_names.len() {
            wrong.push(format!("{} tables are not on the target", from_names.len() - here.len()));
        }
        Ok(there)
    }

    /// Tries every statement that the channel will need on the source; none of them hits a row.
    fn try_out(&self, tables: &[TableSchema], wrong: &mut Vec<String>, stop: &StopToken) -> Result<()> {
        let mut source = self.ends.target.control(stop).map_err(Error::mirrored)?;
        let outcome = self.try_statements(tables, &mut source);
        match outcome {
            Err(error) if error.server_error().is_some() => {
                wrong.push(format!(
                    "the account cannot write on the source as it must ({})",
                    error.mirrored()
                ));
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn try_statements(&self, tables: &[TableSchema], source: &mut Connection) -> Result<()> {
        self.ends.ledger.create_schema(source)?;
        held_triggers::create(source)?;
        for table in tables {
            let name = quote::table(&table.name);
            let columns: Vec<String> = table
                .columns
                .iter()
                .filter(|column| !column.generated)
                .map(|column| quote::identifier(&column.name))
                .collect();
            let list = columns.join(", ");
            let sql = match columns.first() {
                Some(first) => format!(
                    "DELETE FROM {name} WHERE FALSE; UPDATE {name} SET {first} = {first} WHERE FALSE; INSERT INTO {name} ({list}) \
                     SELECT {list} FROM {name} WHERE FALSE"
                ),
                None => continue,
            };
            source
                .execute(sql, "trying whether the source can be written")
                .map_err(|error| error.for_table(&table.name))?;
        }
        let mut definers = BTreeSet::new();
        for database in tables.iter().map(|table| table.name.database.as_str()).collect::<BTreeSet<_>>() {
            for trigger in catalog::objects(source, crate::data::ObjectKind::Trigger, database)? {
                definers.insert(trigger.definer);
            }
        }
        for definer in definers {
            let Some((user, host)) = definer.rsplit_once('@') else { continue };
            let sql = format!(
                "DROP TRIGGER IF EXISTS `__dts__`.`trial`; CREATE DEFINER = {}@{} TRIGGER `__dts__`.`trial` BEFORE INSERT ON \
                 `__dts__`.`held_trigger` FOR EACH ROW SET @dts = 1; DROP TRIGGER `__dts__`.`trial`",
                quote::string_literal(user),
                quote::string_literal(host)
            );
            source.execute(sql, "trying whether triggers can be made again")?;
        }
        Ok(())
    }

    /// Takes the source's triggers away and writes down where the channel begins: at the target's position of now. Nobody may be
    /// able to write on either side. Can be repeated until the target is opened.
    pub(super) fn begin(&self, stop: &StopToken) -> Result<Vec<String>> {
        self.begin_staged(stop).map_err(Error::mirrored)
    }

    fn begin_staged(&self, stop: &StopToken) -> Result<Vec<String>> {
        let mut source = self.ends.target.control(stop)?;
        let ledger = &self.ends.ledger;
        ledger.create_schema(&mut source)?;
        let held = self.with_structure(stop, |structure| structure.hold_triggers(stop))?;
        let mut target = self.ends.source.control(stop)?;
        let start =
            Position::Gtid(server::gtid_visible(&mut target, std::time::Duration::from_secs(5), stop)?);
        // Nothing was applied by an earlier try: the target was never open.
        ledger.forget(&mut source)?;
        let uuid = self.ends.source.facts().server_uuid().unwrap_or_default();
        ledger.begin_task(&mut source, uuid, &start)?;
        ledger.set_phase(&mut source, Phase::InSync)?;
        let shown = start.shown(self.ends.source.facts().log_name());
        Ok(vec![
            format!("the reverse channel begins at {shown} of the target"),
            format!("{held} triggers of the source are held"),
        ])
    }

    /// Makes the source's triggers again.
    pub(super) fn restore_triggers(&self, stop: &StopToken) -> Result<RestoreReport> {
        self.with_structure(stop, |structure| structure.restore_triggers(stop)).map_err(Error::mirrored)
    }

    /// Takes them away again.
    pub(super) fn hold_triggers(&self, stop: &StopToken) -> Result<usize> {
        self.with_structure(stop, |structure| structure.hold_triggers(stop)).map_err(Error::mirrored)
    }

    /// The source is both ends: its triggers are made again where they were.
    fn with_structure<T>(
        &self,
        stop: &StopToken,
        work: impl FnOnce(&Structure<'_>) -> Result<T>,
    ) -> Result<T> {
        let options = SourceOptions::new(self.ends.target.options().connection.clone());
        let source = SourceEndpoint::connect(options, stop).map_err(Error::mirrored)?;
        let ends = &self.ends;
        work(&Structure::new(
            &source,
            &ends.target,
            &ends.ledger,
            &self.own,
            crate::transform::ObjectKinds::default(),
        ))
    }

    /// Removes all that the channel has recorded on the source. The triggers must be there again.
    pub(super) fn forget(&self, stop: &StopToken) -> Result<()> {
        let mut source = self.ends.target.control(stop).map_err(Error::mirrored)?;
        let ledger = &self.ends.ledger;
        let forget = |source: &mut Connection| -> Result<()> {
            if !ledger.exists(source)? {
                return Ok(());
            }
            ledger.create_schema(source)?;
            held_triggers::forget(source, ledger.task_name())?;
            ledger.forget(source)?;
            ledger.drop_unused_schema(source).map(drop)
        };
        forget(&mut source).map_err(Error::mirrored)
    }

    /// Returns how far the channel is; `None` when it never began.
    pub(super) fn phase(&self, stop: &StopToken) -> Result<Option<Phase>> {
        let mut source = self.ends.target.control(stop).map_err(Error::mirrored)?;
        let ledger = &self.ends.ledger;
        if !ledger.exists(&mut source).map_err(Error::mirrored)? {
            return Ok(None);
        }
        Ok(ledger.task(&mut source).map_err(Error::mirrored)?.map(|task| task.phase))
    }
}

impl Migration {
    /// Returns whether the writers are on the target with a reverse channel to the source. Only the target is asked.
    ///
    /// # Errors
    /// What the target answered.
    pub fn is_reversed(&self, stop: &StopToken) -> Result<bool> {
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        let ledger = Ledger::new(self.options.name.clone());
        let mut control = target.control(stop)?;
        Ok(ledger.exists(&mut control)?
            && ledger.task(&mut control)?.is_some_and(|task| task.phase == Phase::Reversed))
    }

    /// Carries what is written on the target to the source, until `until`.
    pub(super) fn run_reverse(
        &self,
        there: &Ends,
        until: Until,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<RunReport> {
        let begun = std::time::Instant::now();
        let channel = self.channel(there, stop)?;
        progress.set_log_name(channel.ends.source.facts().log_name());
        for step in [Step::Structure, Step::FullLoad, Step::CatchUp, Step::IndexBuild] {
            progress.set_step(step, StepState::Done);
        }
        progress.set_step(Step::InSync, StepState::Running);
        if channel.phase(stop)? != Some(Phase::InSync) {
            return Err(ErrorKind::IllegalState {
                action: "run".into(),
                state: "in the middle of the way back".into(),
                allowed: "rollback (goes on), rollback --abort (the application stays on the target)".into(),
            }
            .into());
        }
        let until = match until {
            Until::Stopped => ApplyUntil::Stopped,
            Until::Loaded | Until::Synced => {
                ApplyUntil::Applied(server::gtid_executed(&mut there.target.control(stop)?)?)
            }
        };
        channel.apply(&self.options.apply, &until, stop, progress)?;
        let mut source = channel.ends.target.control(stop)?;
        let applied = channel.ends.ledger.checkpoint(&mut source)?.applied;
        let mut target = there.target.control(stop)?;
        Ok(RunReport {
            resumed: true,
            applied_position: Some(Position::Gtid(applied).shown(channel.ends.source.facts().log_name())),
            target_position: server::binlog_position(&mut target, there.target.facts())?,
            elapsed: begun.elapsed(),
            ..RunReport::default()
        })
    }

    /// Returns the task's reverse channel, as the journal names it.
    pub(super) fn channel(&self, there: &Ends, stop: &StopToken) -> Result<Channel> {
        let mut target = there.target.control(stop)?;
        let row = crate::target::journal::CutoverJournal::new(self.options.name.clone()).read(&mut target)?;
        let name = row.and_then(|row| row.channel).ok_or_else(|| {
            Error::from(ErrorKind::IllegalState {
                action: "go back".into(),
                state: "without a reverse channel".into(),
                allowed: "cutover --reverse".into(),
            })
            .on(Side::Target)
        })?;
        Channel::connect(&self.options, there, &name, stop)
    }
}
