//! Tables: columns, indexes, foreign keys, options, partitions.
use std::collections::{BTreeMap, BTreeSet};

use super::{Look, StructureDifference, difference, normal};
use crate::data::{TableName, TableSchema};
use crate::error::{Error, Result, Side};
use crate::server::{Flavor, ServerFacts, catalog};
use crate::sql::create_table::{CharsetNames, ColumnCharset, CreateTable, DefinitionKind, Explicit};
use crate::sql::quote;
use crate::stop::StopToken;

/// How a server calls the three-byte UTF-8.
pub(super) fn charset_names(facts: &ServerFacts) -> CharsetNames {
    let version =
        u32::from(facts.version.0) * 10_000 + u32::from(facts.version.1) * 100 + u32::from(facts.version.2);
    match facts.flavor {
        Flavor::MySql => CharsetNames::of_mysql(version),
        Flavor::MariaDb => CharsetNames::of_mariadb(version),
    }
}

/// A table's definition in parts that can be compared one by one.
struct Definition {
    /// `column v` or `index k` to its text.
    parts: BTreeMap<String, String>,
    columns: Vec<String>,
    auto_increment: Option<u64>,
}

impl Look<'_> {
    /// Compares the tables of a database.
    pub(super) fn tables(&mut self, database: &str, stop: &StopToken) -> Result<()> {
        let checker = self.checker;
        let transform = checker.transform;
        let wanted = |name: &TableName| {
            transform.selection.selects_table(name)
                && checker.tables.is_none_or(|tables| tables.contains(name))
        };
        let sources = catalog::tables(&mut self.source, checker.source.facts(), database, wanted)?;
        let mut there: BTreeMap<String, Vec<TableSchema>> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for source in &sources {
            stop.check()?;
            let name = transform.route.target_of(&source.name);
            if !there.contains_key(&name.database) {
                let tables =
                    catalog::tables(&mut self.target, checker.target.facts(), &name.database, |_| true)?;
                there.insert(name.database.clone(), tables);
            }
            let target = there[&name.database].iter().find(|table| table.name == name);
            self.report.compared += 1;
            let object = format!("table {}", source.name);
            match target {
                None => self.report.differ(&object, "", Some("a table"), None),
                Some(target) => self.table(&object, source, target)?,
            }
            expected.insert(name);
        }
        if checker.tables.is_none() && transform.selection.is_whole_database(database) {
            let home = transform.route.target_database(database);
            if !there.contains_key(&home) {
                let tables = catalog::tables(&mut self.target, checker.target.facts(), &home, |_| true)?;
                there.insert(home.clone(), tables);
            }
            let extra = there[&home].iter().map(|table| table.name.clone());
            let extra = extra.filter(|name| !expected.contains(name)).collect();
            self.only_on_target("table", extra);
        }
        Ok(())
    }

    fn table(&mut self, object: &str, source: &TableSchema, target: &TableSchema) -> Result<()> {
        let one = self.definition(source, Side::Source)?;
        let other = self.definition(target, Side::Target)?;
        let (Some(one), Some(other)) = (one, other) else {
            // Dropped or changed while it was read; the rows' comparison says so, too.
            self.report.unclear.push(difference(object, "definition", None, None));
            return Ok(());
        };
        let mut found: Vec<StructureDifference> = Vec::new();
        let parts: BTreeSet<&String> = one.parts.keys().chain(other.parts.keys()).collect();
        for part in parts {
            let (source, target) = (one.parts.get(part), other.parts.get(part));
            if source != target {
                found.push(difference(
                    object,
                    part.as_str(),
                    source.map(String::as_str),
                    target.map(String::as_str),
                ));
            }
        }
        let common = |from: &Definition, of: &Definition| -> Vec<String> {
            from.columns.iter().filter(|column| of.columns.contains(column)).cloned().collect()
        };
        let (order, target_order) = (common(&one, &other), common(&other, &one));
        if order != target_order {
            let (source, target) = (order.join(", "), target_order.join(", "));
            found.push(difference(object, "order of columns", Some(&source), Some(&target)));
        }
        if !target.engine.eq_ignore_ascii_case("InnoDB") {
            found.push(difference(object, "engine", Some("InnoDB"), Some(&target.engine)));
        }
        if self.checker.same_flavor() {
            self.report.differences.extend(found);
        } else {
            self.report.unclear.extend(found);
        }
        self.auto_increment(object, &one, &other, source)
    }

    fn auto_increment(
        &mut self,
        object: &str,
        one: &Definition,
        other: &Definition,
        source: &TableSchema,
    ) -> Result<()> {
        let Some(counted) = source.columns.iter().find(|column| column.auto_increment) else { return Ok(()) };
        let (from, to) = (one.auto_increment.unwrap_or(1), other.auto_increment.unwrap_or(1));
        if from == to {
            return Ok(());
        }
        if from > to && !self.checker.is_completed {
            self.report.not_yet.push(format!("{object}: AUTO_INCREMENT is {to}, on the source {from}"));
            return Ok(());
        }
        // Rows may have come, and been applied, between the two readings.
        let now = self.definition(source, Side::Source)?.and_then(|table| table.auto_increment).unwrap_or(1);
        // Before 8.0 a number that an UPDATE makes is not counted, later it is.
        let sql =
            format!("SELECT MAX({}) FROM {}", quote::identifier(&counted.name), quote::table(&source.name));
        let largest =
            self.source.query_row(sql, "looking for the largest number")?.and_then(|row| row.u64(0));
        let explained = largest.map_or(now, |largest| now.max(largest.saturating_add(1)));
        if !(from..=explained).contains(&to) {
            let (from, to) = (now.to_string(), to.to_string());
            self.report.differ(object, "AUTO_INCREMENT", Some(&from), Some(&to));
        }
        Ok(())
    }

    /// Reads a table's definition; `None` when it is gone.
    fn definition(&mut self, schema: &TableSchema, side: Side) -> Result<Option<Definition>> {
        let connection = if side == Side::Source { &mut self.source } else { &mut self.target };
        let shown = match catalog::show_create_table(connection, &schema.name) {
            Ok(shown) => shown,
            Err(error) if error.server_error().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut create =
            CreateTable::parse(&shown).map_err(|error| error.for_table(&schema.name).on(side))?;
        let auto_increment = create.option("AUTO_INCREMENT").and_then(|value| value.parse().ok());
        let facts = self.checker.target.facts();
        let names = charset_names(facts);
        let charsets: Vec<ColumnCharset> = schema
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
        // The same is done to both: then each says what it means in the same words.
        create.explicit(&Explicit {
            table_collation: &schema.collation,
            columns: &charsets,
            names,
            mariadb_target: facts.flavor == Flavor::MariaDb,
        })?;
        let mut definition = Definition { parts: BTreeMap::new(), columns: Vec::new(), auto_increment };
        for part in create.definitions() {
            let text = normal::definition(&part.text)
                .ok_or_else(|| Error::internal("a definition that cannot be split").on(side))?;
            let (name, text) = match &part.kind {
                DefinitionKind::Column { name } if name == "my_row_id" && side == Side::Target => continue,
                DefinitionKind::Column { name } => {
                    definition.columns.push(name.clone());
                    let mut text = normal::column(&part.text).unwrap_or(text);
                    let column = schema.columns.iter().find(|column| column.name == *name);
                    if let Some(collation) = column.and_then(|column| column.collation.as_ref()) {
                        text.push_str(&format!(" collate {}", names.collation(collation)));
                    }
                    (format!("column {name}"), text)
                }
                DefinitionKind::PrimaryKey { .. } => ("primary key".to_owned(), text),
                DefinitionKind::Index { name, .. } => (format!("index {name}"), text),
                DefinitionKind::ForeignKey { name, database, table } => {
                    let parent = TableName::new(database.as_ref().unwrap_or(&schema.name.database), table);
                    let parent = if side == Side::Source {
                        self.checker.transform.route.target_of(&parent)
                    } else {
                        parent
                    };
                    (
                        format!("foreign key {}", name.clone().unwrap_or_default()),
                        with_parent(&text, &quote::table(&parent)),
                    )
                }
                DefinitionKind::Check | DefinitionKind::Other => (format!("constraint {text}"), text),
            };
            definition.parts.insert(name, text);
        }
        for (option, name) in [("COMMENT", "comment"), ("COLLATE", "collation")] {
            if let Some(value) = create.option(option) {
                definition.parts.insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some(partition) = create.partition() {
            let text = normal::definition(partition).unwrap_or_default();
            definition.parts.insert("partitions".to_owned(), text.replace('`', ""));
        }
        Ok(Some(definition))
    }
}

/// Puts a name in place of the one after REFERENCES, in a text of words between single spaces.
fn with_parent(text: &str, parent: &str) -> String {
    let Some((before, after)) = text.split_once(" references ") else { return text.to_owned() };
    // The list of columns begins with the parenthesis after the name, which may have a dot in it.
    let columns = after.find(" ( ").map_or("", |at| &after[at..]);
    format!("{before} references {parent}{columns}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_foreign_key_is_renamed() {
        let text = "constraint `c` foreign key ( `a` ) references `d` . `p` ( `id` ) on delete cascade";
        assert_eq!(
            with_parent(text, "`e`.`q`"),
            "constraint `c` foreign key ( `a` ) references `e`.`q` ( `id` ) on delete cascade"
        );
    }
}
