//! Tables, with their indexes and foreign keys.
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Attempt, Trial, is_answer, is_privilege, refused};
use crate::data::{ObjectKind, TableName, TableSchema};
use crate::error::{Result, Side};
use crate::server::{Flavor, catalog};
use crate::sql::create_table::{self, CharsetNames, ColumnCharset, CreateTable, Explicit};
use crate::sql::quote;
use crate::transform::Route;
use crate::validator::definitions::SpecialColumn;
use crate::validator::survey::Blocked;
use crate::wire::Connection;

/// Tables of one shape are tried once; this many shapes at most.
const TABLES_MAX: usize = 500;

impl Attempt<'_> {
    /// Returns whether every table was created.
    pub(super) fn tables(
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
        let mut needed: HashSet<&TableName> = self
            .objects
            .tables
            .iter()
            .flat_map(|table| table.foreign_keys.iter().map(|key| &key.referenced_table))
            .chain(self.definitions.programs.iter().filter_map(|program| Some(&program.trigger.as_ref()?.2)))
            .collect();
        let named = self.named_by_views();
        needed.extend(&named);
        let details = self.details();
        for table in &self.objects.tables {
            let is_new = shapes.insert(shape(table, details.get(&table.name)));
            if !is_new && !needed.contains(&table.name) {
                whole = false;
                continue;
            }
            if trial.tables.tried >= TABLES_MAX || self.is_over()? {
                whole = false;
                trial.tables.skipped.push((table.name.to_string(), "there was no more time"));
                continue;
            }
            trial.tables.tried += 1;
            let shown = match catalog::show_create_table(source, &table.name) {
                Ok(shown) => shown,
                Err(error) if is_answer(&error) && !is_privilege(&error) => {
                    whole = false;
                    trial.tables.refused.push(refused(format!("{} (on the source)", table.name), &error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match self.table(&shown, target, table, route, names, trial) {
                Ok(clauses) if clauses.is_empty() => {}
                Ok(clauses) => foreign_keys.push((table, clauses)),
                Err(error) => {
                    whole = false;
                    trial.refuse(|trial| &mut trial.tables, table.name.to_string(), error)?;
                }
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
                Err(error) => {
                    let object = format!("{} (foreign keys)", table.name);
                    trial.refuse(|trial| &mut trial.tables, object, error)?;
                }
            }
        }
        Ok(whole)
    }

    /// What may be tables in the texts of views: the server writes their names out as `database`.`table`.
    fn named_by_views(&self) -> HashSet<TableName> {
        let views = self.definitions.programs.iter().filter(|program| program.kind == ObjectKind::View);
        let mut names = HashSet::new();
        for view in views {
            for piece in view.lexemes().windows(3).filter(|piece| piece[1].text == ".") {
                let [database, table] = [piece[0], piece[2]].map(|piece| {
                    quote::unquote_identifier(piece.text).unwrap_or_else(|| piece.text.to_owned())
                });
                names.insert(TableName::new(database, table));
            }
        }
        names
    }

    /// What the list of tables does not have: defaults, expressions, checks and options, by table.
    fn details(&self) -> HashMap<&TableName, String> {
        let mut details: HashMap<&TableName, String> = HashMap::new();
        for SpecialColumn { table, column, default, computed_default, expression, .. } in
            &self.definitions.columns
        {
            let detail = format!("{column:?}{default:?}{computed_default:?}{expression:?}");
            details.entry(table).or_default().push_str(&detail);
        }
        for (table, detail) in self.definitions.expressions.iter().chain(&self.definitions.options) {
            details.entry(table).or_default().push_str(detail);
        }
        details
    }

    /// Creates one table with its indexes and returns its foreign keys.
    fn table(
        &self,
        shown: &str,
        target: &mut Connection,
        table: &TableSchema,
        route: &Route,
        names: CharsetNames,
        trial: &mut Trial,
    ) -> Result<Vec<String>> {
        let mut definition = CreateTable::parse(shown)?;
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
}

/// Everything that decides whether the target takes a table, but its name.
fn shape(table: &TableSchema, details: Option<&String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}{:?}", table.columns, table.indexes).hash(&mut hasher);
    (&table.engine, &table.collation, table.partitioned.then_some(&table.name)).hash(&mut hasher);
    (!table.foreign_keys.is_empty()).then_some(&table.name).hash(&mut hasher);
    details.hash(&mut hasher);
    hasher.finish()
}
