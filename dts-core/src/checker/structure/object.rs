//! Views, stored programs, triggers and events.
use std::collections::BTreeSet;

use super::{Look, difference, normal};
use crate::data::{ObjectKind, TableName};
use crate::error::{Result, Side};
use crate::server::catalog::{self, ObjectDefinition};
use crate::sql::{statement, stored};
use crate::stop::StopToken;

impl Look<'_> {
    /// Compares what a database has besides tables.
    pub(super) fn objects(&mut self, database: &str, stop: &StopToken) -> Result<()> {
        for kind in ObjectKind::ALL {
            stop.check()?;
            let objects = self.checker.objects;
            let (takes_part, is_held_back) = match kind {
                ObjectKind::View => (objects.views, false),
                ObjectKind::Procedure | ObjectKind::Function => (objects.routines, false),
                ObjectKind::Trigger => (objects.triggers, true),
                ObjectKind::Event => (objects.events, true),
            };
            let comes_later = is_held_back && !self.checker.is_completed;
            if takes_part {
                self.kind(kind, database, comes_later)?;
            }
        }
        Ok(())
    }

    fn kind(&mut self, kind: ObjectKind, database: &str, comes_later: bool) -> Result<()> {
        let checker = self.checker;
        let home = checker.transform.route.target_database(database);
        let sources = catalog::objects(&mut self.source, kind, database)?;
        let targets = catalog::objects(&mut self.target, kind, &home)?;
        let mut expected = BTreeSet::new();
        for definition in &sources {
            let Some(name) = self.target_of(definition) else { continue };
            let object = format!("{kind} {}", definition.name);
            let found = if name.database == home {
                targets.iter().find(|target| target.name == name).cloned()
            } else {
                let there = catalog::objects(&mut self.target, kind, &name.database)?;
                there.into_iter().find(|target| target.name == name)
            };
            expected.insert(name);
            match found {
                None if comes_later => self.report.not_yet.push(object),
                None => {
                    self.report.compared += 1;
                    self.report.differ(&object, "", Some(&format!("a {kind}")), None);
                }
                Some(_) if comes_later => {
                    self.report.compared += 1;
                    let what = "on the target before the task is completed";
                    self.report.differ(
                        &object,
                        "",
                        Some(&format!("a {kind}, to be created later")),
                        Some(what),
                    );
                }
                Some(found) => {
                    self.report.compared += 1;
                    self.object(&object, definition, &found)?;
                }
            }
        }
        if checker.transform.selection.is_whole_database(database) {
            let extra = targets.iter().map(|target| target.name.clone());
            let extra = extra.filter(|name| !expected.contains(name)).collect();
            self.only_on_target(kind.name(), extra);
        }
        Ok(())
    }

    /// Returns an object's name on the target, or `None` when it takes no part: stored programs and events belong to a whole
    /// database, triggers to their table.
    fn target_of(&self, definition: &ObjectDefinition) -> Option<TableName> {
        let transform = self.checker.transform;
        let name = &definition.name;
        match definition.kind {
            ObjectKind::View => transform.target_of(name),
            ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Event => transform
                .selection
                .is_whole_database(&name.database)
                .then(|| TableName::new(transform.route.target_database(&name.database), &name.table)),
            ObjectKind::Trigger => {
                let table = TableName::new(&name.database, definition.table.as_ref()?);
                transform.target_of(&table).map(|target| TableName::new(target.database, &name.table))
            }
        }
    }

    fn object(&mut self, object: &str, source: &ObjectDefinition, target: &ObjectDefinition) -> Result<()> {
        let one = self.text(source, Side::Source)?;
        let other = self.text(target, Side::Target)?;
        // A view is printed from what the server understood, everything else as it was written.
        let is_printed_alike = source.kind != ObjectKind::View || self.checker.same_version();
        let is_view = source.kind == ObjectKind::View;
        let normal = |text: &Option<String>, definition: &ObjectDefinition| {
            let dialect = stored::dialect_of(&definition.context.sql_mode);
            normal::statement(text.as_ref()?, dialect, &target.name.database, is_view)
        };
        match (normal(&one, source), normal(&other, target)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) if is_printed_alike && self.checker.same_flavor() => {
                self.report.differ(object, "definition", Some(&one), Some(&other));
            }
            (one, other) => {
                self.report.unclear.push(difference(object, "definition", one.as_deref(), other.as_deref()));
            }
        }
        let modes = |definition: &ObjectDefinition| {
            let (mode, _) = stored::without_removed_modes(&definition.context.sql_mode);
            mode.split(',').map(str::to_owned).collect::<BTreeSet<String>>()
        };
        if source.kind != ObjectKind::View && modes(source) != modes(target) {
            let (one, other) = (&source.context.sql_mode, &target.context.sql_mode);
            self.report.differ(object, "sql_mode", Some(one), Some(other));
        }
        Ok(())
    }

    /// Reads an object's text, the source's with the names of the target; `None` when the account may not see it.
    fn text(&mut self, definition: &ObjectDefinition, side: Side) -> Result<Option<String>> {
        let connection = if side == Side::Source { &mut self.source } else { &mut self.target };
        let shown = match catalog::show_create_object(connection, definition.kind, &definition.name) {
            Ok(shown) => shown,
            Err(error) if error.server_error().is_some() => None,
            Err(error) => return Err(error),
        };
        if side == Side::Target {
            return Ok(shown);
        }
        let dialect = stored::dialect_of(&definition.context.sql_mode);
        let route = &self.checker.transform.route;
        Ok(shown.map(|text| {
            statement::classify_in(&text, &definition.name.database, dialect).rewrite(&text, route)
        }))
    }
}
