//! Databases, tables, indexes, foreign keys, views, stored programs, triggers and events on the target.
//!
//! [`Structure::create`] makes empty tables without secondary indexes and foreign keys: a lock-free copy may for a moment
//! hold one UNIQUE value twice, and rows are loaded faster. [`Structure::build_indexes`] adds them when the copy is
//! consistent; a duplicate found then is a real divergence and is reported as one. Tables that were copied from an exact
//! snapshot get theirs earlier, by [`Structure::finish_snapshot_tables`].
//!
//! Procedures, functions and views are created with the tables. Triggers and events would do a second time what comes as
//! changes of rows: [`Structure::create_held_back`] creates them when the task is completed.
//!
//! All can be repeated after a crash at any point: the ledger's row of a table or another object is written before it is
//! created, so that one that is there and not in the ledger is somebody else's and is never touched.
mod anew;
mod definer;
mod events;
mod hold;
mod index_build;
mod object;
mod programs;
mod removal;
mod triggers;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use crate::data::{ObjectKind, TableName, TableSchema};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::full_loader::TablePlan;
use crate::server::{Flavor, ServerFacts, catalog};
use crate::source::SourceEndpoint;
use crate::sql::create_table::{self, ColumnCharset, CreateTable, Explicit};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};
use crate::target::TargetEndpoint;
use crate::target::ledger::{CopyState, Deferred, Ledger, TableRow};
use crate::transform::{ObjectKinds, Transform};
use crate::wire::Connection;

pub use hold::RestoreReport;
pub use removal::drop_created;

/// Creates what rows are loaded into.
pub struct Structure<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    ledger: &'a Ledger,
    transform: &'a Transform,
    objects: ObjectKinds,
}

/// What was created.
#[derive(Debug)]
#[non_exhaustive]
pub struct StructureReport {
    /// The tables, as the full load takes them.
    pub tables: Vec<TablePlan>,
    /// What is different on the target and why, for people.
    pub rewrites: Vec<String>,
}

/// What was held back and is now there.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct HeldBackReport {
    /// Triggers created by this call.
    pub triggers: usize,
    /// Events created by this call.
    pub events: usize,
    /// Procedures and functions that came to be on the source after the structure was made.
    pub programs: usize,
    /// Views that came to be on the source after the structure was made.
    pub views: usize,
    /// What is different on the target and why, for people.
    pub rewrites: Vec<String>,
}

/// The objects besides tables that take part.
struct PlannedObjects {
    views: Vec<Planned>,
    programs: Vec<Planned>,
    triggers: Vec<Planned>,
    events: Vec<Planned>,
}

impl PlannedObjects {
    fn all(&self) -> impl Iterator<Item = &Planned> {
        self.views.iter().chain(&self.programs).chain(&self.triggers).chain(&self.events)
    }
}

impl<'a> Structure<'a> {
    /// Joins the two ends, the ledger and the selection.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        ledger: &'a Ledger,
        transform: &'a Transform,
        objects: ObjectKinds,
    ) -> Self {
        Structure { source, target, ledger, transform, objects }
    }

    /// Creates databases and tables that are not there yet, then procedures, functions and views.
    ///
    /// Triggers and events are only tried: created and at once dropped again.
    ///
    /// # Errors
    /// [`ErrorKind::TargetConflict`] before anything is created, when an object is there that is not ours;
    /// [`ErrorKind::ObjectsRefused`] with all objects whose definitions the target does not take; else what a server
    /// answered.
    pub fn create(&self, stop: &StopToken) -> Result<StructureReport> {
        self.create_staged(stop).map_err(|error| error.in_stage(Stage::Structure))
    }

    fn create_staged(&self, stop: &StopToken) -> Result<StructureReport> {
        let mut source = self.source.control(stop)?;
        let mut target = self.target.control(stop)?;
        let databases = self.selected_databases(&mut source)?;
        let mut maker = ObjectMaker::new(self, stop)?;
        let objects = self.planned_objects(&mut maker, &databases)?;
        let schemas = self.selected_tables(&mut source, &databases, &objects.views)?;
        let recorded: BTreeMap<TableName, TableRow> =
            self.ledger.tables(&mut target)?.into_iter().map(|row| (row.source.clone(), row)).collect();
        self.refuse_conflicts(&mut target, &schemas, &recorded, &objects)?;

        let names = self.target.facts().charset_names();
        for database in &databases {
            for target_name in self.transform.route.target_databases(&database.name) {
                let sql = format!(
                    "CREATE DATABASE IF NOT EXISTS {} DEFAULT CHARACTER SET {} COLLATE {}",
                    quote::identifier(&target_name),
                    names.charset(&database.charset),
                    names.collation(&database.collation)
                );
                target.execute(sql, "creating a database")?;
            }
        }
        let mut next_id = recorded.values().map(|row| row.id).max().unwrap_or(0) + 1;
        let mut report = StructureReport { tables: Vec::new(), rewrites: Vec::new() };
        for schema in schemas {
            stop.check()?;
            let id = recorded.get(&schema.name).map_or(next_id, |row| row.id);
            next_id = next_id.max(id + 1);
            let is_new = !recorded.contains_key(&schema.name);
            let plan =
                self.create_table(&mut source, &mut target, schema, id, is_new, &mut report.rewrites)?;
            report.tables.push(plan);
        }
        programs::create(&mut maker, &objects.programs, stop)?;
        views::create(&mut maker, objects.views, stop)?;
        triggers::rehearse(&mut maker, &objects.triggers, stop)?;
        events::rehearse(&mut maker, &objects.events, stop)?;
        report.rewrites.extend(maker.finish()?);
        Ok(report)
    }

    /// Creates the triggers and events of the source that are not there yet: from now on the target does by itself what
    /// the source did until now. An event is enabled when it is enabled on the source.
    ///
    /// Procedures, functions and views that are new on the source since [`create`](Self::create) come, too.
    ///
    /// May be called again after a crash; what an earlier call created stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::TargetConflict`] before anything is created, when one is there that is not ours;
    /// [`ErrorKind::ObjectsRefused`] with all that the target does not take, the others are created then; else what a
    /// server answered.
    pub fn create_held_back(&self, stop: &StopToken) -> Result<HeldBackReport> {
        self.held_back_staged(stop).map_err(|error| error.in_stage(Stage::Structure))
    }

    fn held_back_staged(&self, stop: &StopToken) -> Result<HeldBackReport> {
        let databases = self.selected_databases(&mut self.source.control(stop)?)?;
        let mut maker = ObjectMaker::new(self, stop)?;
        let mut objects = self.planned_objects(&mut maker, &databases)?;
        conflict(
            objects
                .all()
                .filter(|object| object.is_conflict())
                .map(|object| object.target.to_string())
                .collect(),
        )?;
        objects.views.retain(|view| !view.is_there);
        objects.programs.retain(|program| !program.is_there);
        let programs = programs::create(&mut maker, &objects.programs, stop)?;
        let views = views::create(&mut maker, objects.views, stop)?;
        let triggers = triggers::create(&mut maker, &objects.triggers, stop)?;
        let events = events::create(&mut maker, &objects.events, stop)?;
        Ok(HeldBackReport { triggers, events, programs, views, rewrites: maker.finish()? })
    }

    /// Drops the triggers and events that the task has created: a cut-over that created them is taken back. Can be repeated.
    ///
    /// # Errors
    /// What the target answered.
    pub fn drop_held_back(&self, stop: &StopToken) -> Result<()> {
        let mut target = self.target.control(stop)?;
        for (kind, name) in
            removal::drop_objects(self.ledger, &mut target, &[ObjectKind::Event, ObjectKind::Trigger], stop)?
        {
            self.ledger.remove_object(&mut target, kind, &name)?;
        }
        Ok(())
    }

    fn planned_objects(
        &self,
        maker: &mut ObjectMaker<'_>,
        databases: &[catalog::Database],
    ) -> Result<PlannedObjects> {
        let mut plan = |wanted: bool, kind: ObjectKind| {
            if wanted { maker.plan(kind, databases) } else { Ok(Vec::new()) }
        };
        let mut programs = plan(self.objects.routines, ObjectKind::Function)?;
        programs.extend(plan(self.objects.routines, ObjectKind::Procedure)?);
        Ok(PlannedObjects {
            programs,
            views: plan(self.objects.views, ObjectKind::View)?,
            triggers: plan(self.objects.triggers, ObjectKind::Trigger)?,
            events: plan(self.objects.events, ObjectKind::Event)?,
        })
    }

    /// Reads the tables that an earlier run created: while rows are being copied as the source has them now, and afterwards,
    /// with `loaded`, as the target has them, because the source may have changed or dropped them since.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when one of them is gone; else what a server answered.
    pub fn recorded(&self, loaded: bool, stop: &StopToken) -> Result<Vec<TablePlan>> {
        let mut target = self.target.control(stop)?;
        let rows = self.ledger.tables(&mut target)?;
        let (mut connection, facts, side) = if loaded {
            (target, self.target.facts(), Side::Target)
        } else {
            (self.source.control(stop)?, self.source.facts(), Side::Source)
        };
        let named = |row: &TableRow| if loaded { row.target.clone() } else { row.source.clone() };
        let mut schemas: BTreeMap<TableName, TableSchema> = BTreeMap::new();
        for database in rows.iter().map(|row| named(row).database).collect::<BTreeSet<_>>() {
            for schema in catalog::tables(&mut connection, facts, &database, |_| true)? {
                schemas.insert(schema.name.clone(), schema);
            }
        }
        rows.into_iter()
            // What is copied anew is made with its own definition, and what has left the source is looked at then.
            .filter(|row| row.state != CopyState::Restart && (loaded || schemas.contains_key(&named(row))))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|row| {
                let name = named(&row);
                let mut schema = schemas.remove(&name).ok_or_else(|| {
                    Error::from(ErrorKind::NotFound { what: "table", name: name.to_string() }).on(side)
                })?;
                schema.name = row.source;
                Ok(TablePlan { id: row.id, schema, target: row.target, is_exact: row.is_exact })
            })
            .collect()
    }

    fn selected_databases(&self, source: &mut Connection) -> Result<Vec<catalog::Database>> {
        let mut databases = catalog::databases(source)?;
        databases.retain(|database| self.transform.selection.selects_database(&database.name));
        Ok(databases)
    }

    fn selected_tables(
        &self,
        source: &mut Connection,
        databases: &[catalog::Database],
        views: &[Planned],
    ) -> Result<Vec<TableSchema>> {
        let mut schemas = Vec::new();
        for database in databases {
            schemas.extend(catalog::tables(source, self.source.facts(), &database.name, |name| {
                self.transform.selection.selects_table(name)
            })?);
        }
        if schemas.is_empty() && views.is_empty() {
            return Err(Error::from(ErrorKind::NotFound { what: "table", name: "that objects selects".into() })
                .on(Side::Source)
                .with_hint("Check objects.databases, objects.tables and objects.exclude, and that the account may see them."));
        }
        let views = views.iter().map(|view| &view.definition.name);
        self.transform.route.check_collisions(schemas.iter().map(|schema| &schema.name).chain(views))?;
        Ok(schemas)
    }

    fn refuse_conflicts(
        &self,
        target: &mut Connection,
        schemas: &[TableSchema],
        recorded: &BTreeMap<TableName, TableRow>,
        objects: &PlannedObjects,
    ) -> Result<()> {
        let mut existing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for schema in schemas.iter().filter(|schema| !recorded.contains_key(&schema.name)) {
            let name = self.transform.route.target_of(&schema.name);
            if !existing.contains_key(&name.database) {
                let mut there = catalog::table_names(target, &name.database)?;
                there.extend(catalog::view_names(target, &name.database)?);
                existing.insert(name.database.clone(), there.into_iter().map(|name| name.table).collect());
            }
            if existing[&name.database].contains(&name.table) {
                conflicts.push(name.to_string());
            }
        }
        conflicts.extend(
            objects.all().filter(|object| object.is_conflict()).map(|object| object.target.to_string()),
        );
        conflict(conflicts)
    }

    fn create_table(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        schema: TableSchema,
        id: u32,
        is_new: bool,
        rewrites: &mut Vec<String>,
    ) -> Result<TablePlan> {
        let name = self.transform.route.target_of(&schema.name);
        let plan = TablePlan { id, schema, target: name, is_exact: false };
        let shown = catalog::show_create_table(source, &plan.schema.name)?;
        let (deferred, notes) = definition(&shown, &plan, self.target.facts())
            .map_err(|error| error.for_table(&plan.schema.name))?;
        rewrites.extend(notes.into_iter().map(|note| format!("{}: {note}", plan.schema.name)));
        if is_new {
            let row = TableRow {
                id,
                source: plan.schema.name.clone(),
                target: plan.target.clone(),
                state: CopyState::Created,
                deferred: Deferred { indexes: deferred.indexes, foreign_keys: deferred.foreign_keys },
                start_position: None,
                is_exact: false,
                restarts: 0,
                snapshot_position: None,
                snapshot_rung: None,
                row_count: 0,
                byte_count: 0,
                chunks_begun: 0,
                chunks_again: 0,
            };
            self.ledger.add_table(target, &row)?;
        }
        // The ledger says that the name is ours, so a table that is there already is this one.
        let sql = deferred.create_sql.replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1);
        target.execute(sql, "creating a table").map_err(|error| error.for_table(&plan.target))?;
        Ok(plan)
    }
}

/// Says that objects are there which are not ours, if there are any.
fn conflict(names: Vec<String>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Err(Error::from(ErrorKind::TargetConflict { count: names.len(), names: shown }).on(Side::Target))
}

/// Turns the source's definition into the one for the target, and says what changed.
fn definition(
    shown: &str,
    plan: &TablePlan,
    target: &ServerFacts,
) -> Result<(create_table::Deferred, Vec<String>)> {
    let mut definition = CreateTable::parse(shown)?;
    let columns: Vec<ColumnCharset> = plan
        .schema
        .columns
        .iter()
        .filter_map(|column| {
            Some(ColumnCharset {
                column: column.name.clone(),
                charset: column.charset.clone()?,
                collation: column.collation.clone()?,
            })
        })
        .collect();
    let explicit = Explicit {
        table_collation: &plan.schema.collation,
        columns: &columns,
        names: target.charset_names(),
        mariadb_target: target.flavor == Flavor::MariaDb,
    };
    let rewrites = definition.explicit(&explicit)?;
    let key = plan.schema.row_key().filter(|key| key.index != "PRIMARY").map(|key| key.index);
    let keep: Vec<&str> = key.iter().map(String::as_str).collect();
    let notes = rewrites.into_iter().map(|rewrite| format!("{} ({})", rewrite.what, rewrite.why)).collect();
    Ok((definition.without_deferred(&plan.target, &keep), notes))
}
