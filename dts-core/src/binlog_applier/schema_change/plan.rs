//! Decides what a schema change of the log means for the target. No I/O: the statement, the selection, and how the tables stand.
use std::collections::{BTreeSet, HashMap};

use crate::data::{ObjectKind, TableName};
use crate::error::Result;
use crate::sql::mend;
use crate::sql::quote;
use crate::sql::statement::{Action, NameRole, StatementKind, StoredObject};
use crate::transform::{ObjectKinds, Transform};

use super::super::change::Span;
use super::SchemaChange;
use super::known::{KnownTables, Standing};

/// What is to be done with a statement.
#[derive(Debug, PartialEq)]
pub(in super::super) enum Verdict {
    /// Nothing, for this reason.
    Skip(&'static str),
    /// It waits for the completion of the task.
    HoldBack,
    /// It is carried.
    Carry(Plan),
}

/// What is run on the target and what becomes of the tables.
#[derive(Debug, PartialEq, Default)]
pub(in super::super) struct Plan {
    /// Statements, in order. At most one of them cannot be run twice.
    pub(super) runs: Vec<Run>,
    /// What is recorded with the checkpoint.
    pub(super) effects: Vec<Effect>,
    /// Databases that are dropped afterwards, unless they hold what is not ours.
    pub(super) dropped_databases: Vec<String>,
}

/// A statement for the target.
#[derive(Debug, PartialEq)]
pub(super) struct Run {
    pub(super) sql: String,
    pub(super) sort: Sort,
    /// The tables that it changes, as they are called on the source.
    pub(super) tables: Vec<TableName>,
}

/// How a statement is run, and run again after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    /// Running it a second time would be wrong: what the tables look like tells whether it was run.
    Once,
    /// As `Once`, and it swaps tables that may look alike: when these do not tell, an operator must.
    Swap,
    /// It leaves the same when it is run twice.
    Again,
    /// As `Again`; a view or a program, whose definer the target may not let us name.
    Object(ObjectKind),
}

/// What becomes of a table or another object of the task.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// It is created and copied anew.
    Restart(TableName),
    /// It begins to exist, empty.
    Create(TableName),
    /// It is gone.
    Drop(TableName),
    /// They have other names, all at once.
    Rename(Vec<(TableName, TableName)>),
    /// A view or program is there, under this name on the target.
    AddObject(ObjectKind, TableName),
    /// A view or program is gone.
    DropObject(ObjectKind, TableName),
}

/// What a decision rests on.
pub(super) struct Planner<'a> {
    pub(super) transform: &'a Transform,
    pub(super) objects: ObjectKinds,
    pub(super) known: &'a KnownTables,
    pub(super) gtid: Option<&'a Span>,
    /// Which of the statement's tables have a key, when it numbers their rows.
    pub(super) keyed: &'a BTreeSet<TableName>,
}

/// Where the content of a table comes from after a rename.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    /// The table that had this name.
    Of(TableName),
    /// What the target does not have, or does not have right.
    Foreign,
    /// Nothing: there is no table of that name.
    Gone,
}

impl Planner<'_> {
    /// Decides.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a change of rows logged as a statement;
    /// [`ErrorKind::SchemaChange`](crate::error::ErrorKind::SchemaChange) for one that cannot be carried.
    pub(super) fn decide(&self, change: &SchemaChange) -> Result<Verdict> {
        use StatementKind as Kind;
        match &change.statement.kind {
            Kind::CreateTable { temporary: true, .. } | Kind::DropTable { temporary: true, .. } => {
                Ok(Verdict::Skip("it is about a temporary table"))
            }
            Kind::CreateDatabase | Kind::AlterDatabase | Kind::DropDatabase => Ok(self.database(change)),
            kind if kind.is_table_ddl() => self.tables(change),
            Kind::CreateView | Kind::AlterView | Kind::DropView => Ok(self.view(change)),
            Kind::StoredProgram { action, object } => Ok(self.program(change, *action, *object)),
            Kind::Account => Ok(Verdict::Skip("accounts and privileges are not carried from the log")),
            Kind::ServerObject => Ok(Verdict::Skip("it belongs to the source's server as a whole")),
            Kind::Admin => Ok(Verdict::Skip("it changes neither definitions nor rows")),
            Kind::Dml => {
                if self.touches_selected(change) {
                    return Err(change.logged_as_statement());
                }
                Ok(Verdict::Skip("it changes rows of tables that are not selected"))
            }
            _ => {
                let selection = &self.transform.selection;
                if self.touches_selected(change) || selection.selects_database(&change.database) {
                    return Err(change.refused("dts does not know this statement"));
                }
                Ok(Verdict::Skip("it is about nothing that is selected"))
            }
        }
    }

    fn selects(&self, table: &TableName) -> bool {
        self.transform.selection.selects_table(table)
    }

    fn standing(&self, table: &TableName) -> Standing {
        self.known.standing(table, self.gtid)
    }

    fn target_of(&self, table: &TableName) -> TableName {
        self.known.row(table).map_or_else(|| self.transform.route.target_of(table), |row| row.target)
    }

    fn run(&self, change: &SchemaChange, sort: Sort, tables: Vec<TableName>) -> Run {
        let sql = change.statement.rewrite(&change.text, &self.transform.route);
        let sql = match sort {
            Sort::Object(_) => mend::repeatable(&sql, change.dialect).unwrap_or(sql),
            Sort::Once | Sort::Swap | Sort::Again => sql,
        };
        Run { sql, sort, tables }
    }

    fn touches_selected(&self, change: &SchemaChange) -> bool {
        let mut any = false;
        for (_, table) in change.statement.tables() {
            any = true;
            if self.selects(&table) {
                return true;
            }
        }
        !any && self.transform.selection.selects_database(&change.database)
    }

    fn tables(&self, change: &SchemaChange) -> Result<Verdict> {
        let names: BTreeSet<TableName> = change.statement.changed_tables().collect();
        let selected: Vec<TableName> = names.iter().filter(|table| self.selects(table)).cloned().collect();
        if selected.is_empty() {
            return Ok(Verdict::Skip("it is about no table that is selected"));
        }
        let later = |standing| matches!(standing, Standing::Waiting | Standing::Included);
        if selected.iter().all(|table| later(self.standing(table))) {
            return Ok(Verdict::Skip("the tables are copied anew from a later position"));
        }
        match &change.statement.kind {
            StatementKind::CreateTable { like, select, .. } => {
                Ok(self.create(change, &selected[0], *like, *select))
            }
            StatementKind::DropTable { if_exists, .. } => {
                Ok(self.drop(&selected, *if_exists || change.error_code != 0))
            }
            StatementKind::TruncateTable => Ok(self.truncate(change, &selected[0])),
            StatementKind::RenameTable => Ok(self.rename(change, &selected, false)),
            StatementKind::AlterTable { renames: true } => Ok(self.rename(change, &selected, true)),
            _ => self.alter(change, &names, &selected),
        }
    }

    fn create(&self, change: &SchemaChange, table: &TableName, like: bool, select: bool) -> Verdict {
        if self.standing(table) == Standing::Copying {
            return Verdict::Skip("the table was seen and copied after it was created");
        }
        // Rows of a query that the log does not hold as rows, and a definition that the target may not have, are fetched.
        let model =
            change.statement.tables().find(|(role, _)| *role == NameRole::Like).map(|(_, model)| model);
        let has_model = model.as_ref().is_none_or(|model| {
            self.selects(model) && self.standing(model) == Standing::Settled
                || self.known.is_strict() && self.selects(model) && self.standing(model) == Standing::Unknown
        });
        if select || (like && !has_model) {
            return carry(Vec::new(), vec![Effect::Restart(table.clone())]);
        }
        let tables = [Some(table.clone()), model].into_iter().flatten().collect();
        carry(vec![self.run(change, Sort::Once, tables)], vec![Effect::Create(table.clone())])
    }

    fn drop(&self, selected: &[TableName], if_exists: bool) -> Verdict {
        let (mut gone, mut effects) = (Vec::new(), Vec::new());
        for table in selected {
            match self.standing(table) {
                Standing::Settled => {
                    effects.push(Effect::Drop(table.clone()));
                    gone.push(table.clone());
                }
                Standing::Unknown if self.known.is_strict() => gone.push(table.clone()),
                // It may be there again by now; that is looked up when it would be copied.
                Standing::Copying => effects.push(Effect::Restart(table.clone())),
                Standing::Unknown | Standing::Waiting | Standing::Included => {}
            }
        }
        if effects.is_empty() && gone.is_empty() {
            return Verdict::Skip("the tables were dropped before the copy began");
        }
        let run = (!gone.is_empty()).then(|| {
            let targets: Vec<String> =
                gone.iter().map(|table| quote::table(&self.target_of(table))).collect();
            let if_exists = if if_exists { "IF EXISTS " } else { "" };
            let sql = format!("DROP TABLE {if_exists}{}", targets.join(", "));
            Run { sql, sort: Sort::Once, tables: gone }
        });
        carry(run.into_iter().collect(), effects)
    }

    fn truncate(&self, change: &SchemaChange, table: &TableName) -> Verdict {
        // At this point of the log the table is empty, whatever was copied; every later row is in a later change.
        let is_in_rows = self.known.is_in_rows(table, self.gtid);
        match self.standing(table) {
            Standing::Copying if is_in_rows => Verdict::Skip("the table was copied after it was emptied"),
            Standing::Unknown if !self.known.is_strict() => {
                Verdict::Skip("the table was dropped before the copy began")
            }
            _ => carry(vec![self.run(change, Sort::Again, vec![table.clone()])], Vec::new()),
        }
    }

    /// `RENAME TABLE` and `ALTER TABLE … RENAME`; `alters`: the definition may change, too.
    fn rename(&self, change: &SchemaChange, selected: &[TableName], alters: bool) -> Verdict {
        let pairs = change.statement.renames();
        let mut contents: HashMap<TableName, Content> = HashMap::new();
        let mut is_clean = true;
        for (old, new) in &pairs {
            let content = contents.remove(old).unwrap_or_else(|| self.content_of(old));
            is_clean &= content != Content::Foreign && self.selects(new);
            contents.insert(old.clone(), Content::Gone);
            contents.insert(new.clone(), content);
        }
        if !self.known.is_strict()
            && pairs.iter().all(|(old, new)| {
                [old, new].iter().all(|name| !self.selects(name) || self.standing(name) == Standing::Unknown)
            })
            && pairs.iter().all(|(old, _)| self.selects(old))
        {
            return Verdict::Skip("the tables were dropped before the copy began");
        }
        if is_clean && !(alters && self.must_be_copied(change, selected)) {
            let moved = contents
                .into_iter()
                .filter_map(|(new, content)| match content {
                    Content::Of(old) if old != new => Some((old, new)),
                    _ => None,
                })
                .collect();
            let sort = if alters { Sort::Once } else { Sort::Swap };
            let run = self.run(change, sort, selected.to_vec());
            return carry(vec![run], vec![Effect::Rename(moved)]);
        }
        // Something comes from where we have nothing, or goes there. What comes is copied, what has left is dropped.
        let (mut gone, mut effects) = (Vec::new(), Vec::new());
        for table in selected {
            let is_gone = contents.get(table) == Some(&Content::Gone);
            if is_gone && self.standing(table) == Standing::Settled {
                effects.push(Effect::Drop(table.clone()));
                gone.push(table.clone());
            } else if self.standing(table) != Standing::Waiting
                && !(is_gone && self.standing(table) == Standing::Unknown)
            {
                effects.push(Effect::Restart(table.clone()));
            }
        }
        let run = (!gone.is_empty()).then(|| {
            let targets: Vec<String> =
                gone.iter().map(|table| quote::table(&self.target_of(table))).collect();
            Run {
                sql: format!("DROP TABLE IF EXISTS {}", targets.join(", ")),
                sort: Sort::Again,
                tables: gone,
            }
        });
        carry(run.into_iter().collect(), effects)
    }

    fn content_of(&self, table: &TableName) -> Content {
        if !self.selects(table) {
            return Content::Foreign;
        }
        match self.standing(table) {
            Standing::Settled => Content::Of(table.clone()),
            // A view, or a table of a task without rows in the ledger.
            Standing::Unknown if self.known.is_strict() => Content::Of(table.clone()),
            _ => Content::Foreign,
        }
    }

    fn alter(
        &self,
        change: &SchemaChange,
        names: &BTreeSet<TableName>,
        selected: &[TableName],
    ) -> Result<Verdict> {
        let standings: Vec<Standing> = selected.iter().map(|table| self.standing(table)).collect();
        if !self.known.is_strict() && standings.iter().all(|standing| *standing == Standing::Unknown) {
            return Ok(Verdict::Skip("the table was dropped before the copy began"));
        }
        let is_settled = |standing: &Standing| {
            *standing == Standing::Settled || (self.known.is_strict() && *standing == Standing::Unknown)
        };
        let all_here = selected.len() == names.len() && standings.iter().all(is_settled);
        if !all_here || self.must_be_copied(change, selected) {
            let effects = selected
                .iter()
                .zip(&standings)
                .filter(|(_, standing)| !matches!(standing, Standing::Waiting))
                .map(|(table, _)| Effect::Restart(table.clone()))
                .collect();
            return Ok(carry(Vec::new(), effects));
        }
        if mend::row_effects(&change.text, change.dialect).is_nondeterministic {
            let why = "the default of a new column is another value each time it is computed, so the rows of the target would not \
                       get those of the source";
            return Err(change.refused(why).for_table(&selected[0]));
        }
        let sort = if selected.len() > 1 { Sort::Swap } else { Sort::Once };
        Ok(carry(vec![self.run(change, sort, selected.to_vec())], Vec::new()))
    }

    /// Returns whether the server decides by the order in which it finds the rows.
    fn must_be_copied(&self, change: &SchemaChange, selected: &[TableName]) -> bool {
        let effects = mend::row_effects(&change.text, change.dialect);
        effects.ignores || (effects.numbers_rows && selected.iter().any(|table| !self.keyed.contains(table)))
    }

    fn database(&self, change: &SchemaChange) -> Verdict {
        let selection = &self.transform.selection;
        let named = change.statement.databases().next().unwrap_or(&change.database).to_owned();
        if !selection.selects_database(&named) {
            return Verdict::Skip("the database is not selected");
        }
        let targets = self.transform.route.target_databases(&named);
        if change.statement.kind == StatementKind::DropDatabase {
            let rows = self.known.rows_of(&named);
            let mut effects = Vec::new();
            let mut gone = Vec::new();
            for row in &rows {
                match self.standing(&row.source) {
                    Standing::Settled => {
                        effects.push(Effect::Drop(row.source.clone()));
                        gone.push(row.source.clone());
                    }
                    Standing::Copying => effects.push(Effect::Restart(row.source.clone())),
                    _ => {}
                }
            }
            let mut runs = Vec::new();
            if !gone.is_empty() {
                let list: Vec<String> =
                    gone.iter().map(|table| quote::table(&self.target_of(table))).collect();
                let sql = format!("DROP TABLE IF EXISTS {}", list.join(", "));
                runs.push(Run { sql, sort: Sort::Again, tables: gone });
            }
            let is_whole = selection.is_whole_database(&named);
            let dropped_databases = if is_whole { targets.into_iter().collect() } else { Vec::new() };
            return Verdict::Carry(Plan { runs, effects, dropped_databases });
        }
        let runs = targets
            .iter()
            .map(|target| Run {
                sql: change.text_for_database(target),
                sort: Sort::Again,
                tables: Vec::new(),
            })
            .collect();
        carry(runs, Vec::new())
    }

    fn view(&self, change: &SchemaChange) -> Verdict {
        let views: Vec<TableName> = change
            .statement
            .tables()
            .filter(|(role, view)| *role == NameRole::Table && self.selects(view))
            .map(|(_, view)| view)
            .collect();
        if !self.objects.views || views.is_empty() {
            return Verdict::Skip("the view is not selected");
        }
        let targets: Vec<TableName> = views.iter().map(|view| self.transform.route.target_of(view)).collect();
        if change.statement.kind == StatementKind::DropView {
            let list: Vec<String> = targets.iter().map(quote::table).collect();
            let sql = format!("DROP VIEW IF EXISTS {}", list.join(", "));
            let effects =
                targets.into_iter().map(|view| Effect::DropObject(ObjectKind::View, view)).collect();
            return carry(vec![Run { sql, sort: Sort::Again, tables: Vec::new() }], effects);
        }
        let effects = targets.into_iter().map(|view| Effect::AddObject(ObjectKind::View, view)).collect();
        carry(vec![self.run(change, Sort::Object(ObjectKind::View), Vec::new())], effects)
    }

    fn program(&self, change: &SchemaChange, action: Action, object: StoredObject) -> Verdict {
        let Some(name) = change.statement.names.first().map(|name| name.table_name()) else {
            return Verdict::Skip("it names no program");
        };
        let (kind, wanted) = match object {
            StoredObject::Procedure => (ObjectKind::Procedure, self.objects.routines),
            StoredObject::Function => (ObjectKind::Function, self.objects.routines),
            StoredObject::Trigger | StoredObject::Event => {
                let selected = self.transform.selection.selects_database(&name.database);
                return if selected {
                    Verdict::HoldBack
                } else {
                    Verdict::Skip("its database is not selected")
                };
            }
        };
        if !wanted || !self.transform.selection.is_whole_database(&name.database) {
            return Verdict::Skip("procedures and functions of this database are not selected");
        }
        let target = TableName::new(self.transform.route.target_database(&name.database), &name.table);
        let run = |sort| self.run(change, sort, Vec::new());
        match action {
            Action::Create => {
                let sql = format!("DROP {} IF EXISTS {}", kind.keyword(), quote::table(&target));
                let first = Run { sql, sort: Sort::Again, tables: Vec::new() };
                carry(vec![first, run(Sort::Object(kind))], vec![Effect::AddObject(kind, target)])
            }
            Action::Alter => carry(vec![run(Sort::Again)], Vec::new()),
            Action::Drop => carry(vec![run(Sort::Object(kind))], vec![Effect::DropObject(kind, target)]),
        }
    }
}

fn carry(runs: Vec<Run>, effects: Vec<Effect>) -> Verdict {
    Verdict::Carry(Plan { runs, effects, dropped_databases: Vec::new() })
}
