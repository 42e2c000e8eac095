//! What views, stored programs, triggers and events have in common: which take part, and how one is created.
//!
//! # Whose object it is
//! A row of the ledger says that a name on the target is the task's; it is written before the object is created. An object
//! that is there without a row is somebody else's: it is never replaced, and nothing is created when there is one.
use std::collections::{BTreeMap, BTreeSet};

use crate::data::{ObjectKind, TableName};
use crate::error::{Error, ErrorKind, Recovery, Result, ServerError, Side};
use crate::server::catalog::{self, ObjectDefinition};
use crate::sql::create_table::CharsetNames;
use crate::sql::statement::{StatementKind, classify_in};
use crate::sql::{Dialect, quote, stored};
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::structure::definer::Definers;
use crate::wire::Connection;

/// An object of the source and what is known of its name on the target.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) definition: ObjectDefinition,
    pub(super) target: TableName,
    /// Something of this name is on the target.
    pub(super) is_there: bool,
    /// The ledger says that it is ours.
    pub(super) is_ours: bool,
}

impl Planned {
    pub(super) fn is_conflict(&self) -> bool {
        self.is_there && !self.is_ours
    }
}

/// How a text is changed before it is used: with the dialect that it is written in.
pub(super) type Change = fn(&str, Dialect) -> Option<String>;

/// Creates objects, one after another, and collects what people must know.
pub(super) struct ObjectMaker<'a> {
    structure: &'a Structure<'a>,
    source: Connection,
    /// For the ledger and questions.
    control: Connection,
    /// Runs the definitions; its settings change with each object.
    session: Connection,
    names: CharsetNames,
    definers: Definers,
    /// Flags of `sql_mode` that were left out, with the number of objects.
    removed_modes: BTreeMap<String, usize>,
    /// The default collations of databases on the target.
    collations: BTreeMap<String, String>,
    notes: Vec<String>,
    refused: Vec<String>,
}

impl<'a> ObjectMaker<'a> {
    pub(super) fn new(structure: &'a Structure<'a>, stop: &StopToken) -> Result<Self> {
        Ok(ObjectMaker {
            structure,
            source: structure.source.control(stop)?,
            control: structure.target.control(stop)?,
            session: structure.target.control(stop)?,
            names: structure.target.facts().charset_names(),
            definers: Definers::default(),
            removed_modes: BTreeMap::new(),
            collations: BTreeMap::new(),
            notes: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// Reads which objects of a kind take part.
    pub(super) fn plan(&mut self, kind: ObjectKind, databases: &[catalog::Database]) -> Result<Vec<Planned>> {
        let ours = self.structure.ledger.objects(&mut self.control, kind)?;
        let ignores_case = match kind {
            ObjectKind::View | ObjectKind::Trigger => {
                self.structure.target.facts().lower_case_table_names() != 0
            }
            ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Event => true,
        };
        let fold = |name: &str| if ignores_case { name.to_lowercase() } else { name.to_owned() };
        let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut planned = Vec::new();
        for database in databases {
            for definition in catalog::objects(&mut self.source, kind, &database.name)? {
                let Some(target) = self.target_of(&definition) else { continue };
                if !there.contains_key(&target.database) {
                    let names = catalog::object_names(&mut self.control, kind, &target.database)?;
                    there.insert(target.database.clone(), names.iter().map(|name| fold(name)).collect());
                }
                planned.push(Planned {
                    is_there: there[&target.database].contains(&fold(&target.table)),
                    is_ours: ours.contains(&target),
                    definition,
                    target,
                });
            }
        }
        Ok(planned)
    }

    /// Returns an object's name on the target, or `None` when it takes no part.
    ///
    /// Stored programs and events belong to a whole database, triggers to their table.
    fn target_of(&self, definition: &ObjectDefinition) -> Option<TableName> {
        let transform = self.structure.transform;
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

    /// Creates an object anew: what an earlier run of this task left under its name goes first.
    ///
    /// Returns the target's answer when it refuses the definition; [`refuse`](Self::refuse) takes it, or another try is
    /// made.
    pub(super) fn create(
        &mut self,
        planned: &Planned,
        change: Option<Change>,
    ) -> Result<Option<ServerError>> {
        let kind = planned.definition.kind;
        if planned.is_ours {
            self.drop_object(planned)?;
        } else {
            self.structure.ledger.add_object(&mut self.control, kind, &planned.target)?;
        }
        let answer = match self.text_of(planned, change)? {
            Some(text) => self.run_under_its_collation(planned, &text)?,
            None => return self.forget(planned).map(|()| None),
        };
        if answer.is_some() {
            self.forget(planned)?;
        }
        Ok(answer)
    }

    /// Runs an object's text as it was run when it was made. Returns the server's answer when it refuses it.
    pub(super) fn run_under_its_collation(
        &mut self,
        planned: &Planned,
        text: &str,
    ) -> Result<Option<ServerError>> {
        let definition = &planned.definition;
        let wanted = self.names.collation(&definition.context.database_collation);
        let usual = self.default_collation(&planned.target.database)?;
        // A text without character sets takes them from its database, as it was then.
        let differs = !wanted.is_empty() && !usual.is_empty() && wanted != usual;
        if differs && let Err(error) = self.set_default_collation(&planned.target.database, &wanted) {
            return refusal(error).map(Some);
        }
        let answer = self.run(planned, text);
        if differs {
            self.set_default_collation(&planned.target.database, &usual)?;
        }
        answer
    }

    /// Creates an object for a moment, to see whether the target takes it.
    pub(super) fn rehearse(&mut self, planned: &Planned, change: Option<Change>) -> Result<()> {
        let refused_before = self.refused.len();
        if let Some(answer) = self.create(planned, change)? {
            self.refuse(planned, &answer);
        }
        if self.refused.len() > refused_before {
            return Ok(()); // Nothing was created.
        }
        self.drop_object(planned)?;
        self.forget(planned)
    }

    /// Takes the record back of an object that is not there.
    fn forget(&mut self, planned: &Planned) -> Result<()> {
        self.structure.ledger.remove_object(&mut self.control, planned.definition.kind, &planned.target)
    }

    fn drop_object(&mut self, planned: &Planned) -> Result<()> {
        let kind = planned.definition.kind;
        let sql = format!("DROP {} IF EXISTS {}", kind.keyword(), quote::table(&planned.target));
        self.control.execute(sql, "dropping an object that this task created").map(drop)
    }

    /// Reads an object's text and puts the target's names into it; `None` when it cannot be had, which is noted.
    pub(super) fn text_of(&mut self, planned: &Planned, change: Option<Change>) -> Result<Option<String>> {
        let definition = &planned.definition;
        let shown = match catalog::show_create_object(&mut self.source, definition.kind, &definition.name) {
            Ok(Some(shown)) => shown,
            Ok(None) => {
                self.refused.push(format!(
                    "{} {}: the source does not show its text to the account (grant SHOW_ROUTINE, or SELECT on mysql.proc \
                     before 8.0)",
                    definition.kind, definition.name
                ));
                return Ok(None);
            }
            Err(error) => {
                let answer = refusal(error)?;
                self.refused.push(format!("{} {} on the source: {answer}", definition.kind, definition.name));
                return Ok(None);
            }
        };
        let dialect = stored::dialect_of(&definition.context.sql_mode);
        let is_utf8 = definition.context.charset_client.starts_with("utf8");
        let has_head =
            matches!(definition.kind, ObjectKind::Procedure | ObjectKind::Function | ObjectKind::Event);
        let shown = if is_utf8 || !has_head {
            shown
        } else {
            let (keyword, name) = (definition.kind.keyword(), &definition.name.table);
            stored::with_name_and_comment(&shown, dialect, keyword, name, &definition.comment)
                .unwrap_or(shown)
        };
        let statement = classify_in(&shown, &definition.name.database, dialect);
        let route = &self.structure.transform.route;
        if statement.kind == StatementKind::Unknown && !route.is_identity() {
            self.notes.push(format!(
                "{} {}: names in its text are as on the source (dts cannot split the text)",
                definition.kind, definition.name
            ));
        }
        let text = statement.rewrite(&shown, route);
        Ok(Some(change.and_then(|change| change(&text, dialect)).unwrap_or(text)))
    }

    /// Runs a definition in the session that it needs.
    fn run(&mut self, planned: &Planned, text: &str) -> Result<Option<ServerError>> {
        let definition = &planned.definition;
        if let Err(error) = self.prepare_session(planned) {
            return refusal(error).map(Some);
        }
        let dialect = stored::dialect_of(&definition.context.sql_mode);
        if self.definers.may_be_kept(&definition.definer) {
            match self.execute(definition, text) {
                Ok(()) => return Ok(None),
                Err(error) => {
                    let answer = refusal(error)?;
                    if !Definers::is_refusal(&answer) {
                        return Ok(Some(answer));
                    }
                }
            }
        }
        let text = stored::with_current_user(text, dialect).unwrap_or_else(|| text.to_owned());
        let mut outcome = self.execute(definition, &text);
        let is_program = matches!(definition.kind, ObjectKind::Procedure | ObjectKind::Function);
        if outcome.is_ok() && is_program && !definition.is_invoker {
            let (keyword, name) = (definition.kind.keyword(), quote::table(&planned.target));
            let sql = format!("ALTER {keyword} {name} SQL SECURITY INVOKER");
            outcome = self.control.execute(sql, "changing the security of a stored program").map(drop);
            if outcome.is_err() {
                // It would run for everybody with the rights of the task's account.
                self.drop_object(planned)?;
            }
        }
        match outcome {
            Ok(()) => {
                self.definers.add_rewritten(
                    &definition.definer,
                    definition.kind,
                    definition.name.to_string(),
                );
                Ok(None)
            }
            Err(error) => refusal(error).map(Some),
        }
    }

    fn prepare_session(&mut self, planned: &Planned) -> Result<()> {
        let context = &planned.definition.context;
        let is_modern = self.structure.target.facts().is_mysql_at_least(8, 0, 0);
        let (mode, removed) = if is_modern {
            stored::without_removed_modes(&context.sql_mode)
        } else {
            (context.sql_mode.clone(), Vec::new())
        };
        for flag in removed {
            *self.removed_modes.entry(flag.to_owned()).or_default() += 1;
        }
        let literal = quote::string_literal;
        let mut sql = format!(
            "USE {}; SET SESSION sql_mode = {}, character_set_client = {}, collation_connection = {}",
            quote::identifier(&planned.target.database),
            literal(&mode),
            literal(self.names.charset(&context.charset_client)),
            literal(&self.names.collation(&context.collation_connection)),
        );
        if let Some(zone) = &planned.definition.time_zone {
            sql.push_str(&format!(", time_zone = {}", literal(zone)));
        }
        // The literals above are for a session with backslash escapes; the object before may have had others.
        let first = "SET SESSION sql_mode = '', character_set_client = 'utf8mb4'; ";
        self.session.execute_all(
            format!("{first}{sql}").as_bytes(),
            "setting up the session",
            &mut Vec::new(),
        )
    }

    fn execute(&mut self, definition: &ObjectDefinition, text: &str) -> Result<()> {
        let bytes = self.encode(text, &definition.context.charset_client)?;
        let done = self.session.execute(bytes, "creating an object")?;
        if done.warnings > 0 {
            // Another way to see whether an account exists needs rights on the system tables.
            let warnings = self.session.query("SHOW WARNINGS", "reading warnings")?;
            if warnings.iter().any(|row| row.u64(1) == Some(1449)) {
                self.definers.add_missing(&definition.definer);
            }
        }
        Ok(())
    }

    /// Writes a text in the character set in which the server will read it; the target itself converts.
    fn encode(&mut self, text: &str, charset: &str) -> Result<Vec<u8>> {
        if text.is_ascii() || charset.starts_with("utf8") || charset.is_empty() {
            return Ok(text.as_bytes().to_vec());
        }
        let mut sql = b"SELECT HEX(CONVERT(_utf8mb4 ".to_vec();
        quote::push_hex_literal(&mut sql, text.as_bytes());
        sql.extend_from_slice(format!(" USING {}))", quote::identifier(charset)).as_bytes());
        let row = self.control.query_row(sql, "converting a definition")?;
        let digits = row.and_then(|row| row.bytes(0).map(<[u8]>::to_vec)).unwrap_or_default();
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        Ok(digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
    }

    /// Returns the default collation that a database of the target has for good.
    fn default_collation(&mut self, database: &str) -> Result<String> {
        if let Some(known) = self.collations.get(database) {
            return Ok(known.clone());
        }
        // A crash may have left the collation of one object there: the source's database says what is right.
        let route = &self.structure.transform.route;
        let own = catalog::databases(&mut self.source)?
            .into_iter()
            .find(|found| route.target_database(&found.name) == database)
            .map_or_else(String::new, |found| self.names.collation(&found.collation));
        self.collations.insert(database.to_owned(), own.clone());
        Ok(own)
    }

    fn set_default_collation(&mut self, database: &str, collation: &str) -> Result<()> {
        let sql = format!(
            "ALTER DATABASE {} COLLATE {}",
            quote::identifier(database),
            quote::identifier(collation)
        );
        self.control.execute(sql, "setting a database's default collation for one definition").map(drop)
    }

    /// Takes note that the target does not take an object.
    pub(super) fn refuse(&mut self, planned: &Planned, answer: &ServerError) {
        let ObjectDefinition { kind, name, .. } = &planned.definition;
        let mut advice = advice(answer).to_owned();
        if *kind == ObjectKind::View && self.is_broken_on_source(name) {
            advice = "it does not work on the source either: drop it there, or exclude it".to_owned();
        }
        self.refused.push(format!("{kind} {name}: {answer} ({advice})"));
    }

    fn is_broken_on_source(&mut self, view: &TableName) -> bool {
        let sql = format!("SELECT 1 FROM {} LIMIT 0", quote::table(view));
        let outcome = self.source.query(sql, "looking whether a view works");
        outcome.is_err_and(|error| error.server_error().is_some_and(|answer| !answer.is_privilege()))
    }

    /// Returns what people should know, or the error that says all that was refused.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        if !self.refused.is_empty() {
            let (count, objects) = (self.refused.len(), self.refused.join("; "));
            return Err(Error::from(ErrorKind::ObjectsRefused { count, objects }).on(Side::Target));
        }
        self.notes.extend(self.definers.notes(&self.structure.target.facts().current_user));
        for (flag, count) in &self.removed_modes {
            self.notes.push(format!(
                "sql_mode {flag} left out of {count} stored programs, triggers and events (MySQL 8.0 removed it)"
            ));
        }
        Ok(self.notes)
    }
}

/// Returns the answer of a server that will not change its mind; any other error goes on up.
fn refusal(error: Error) -> Result<ServerError> {
    match error.server_error() {
        Some(answer) if error.recovery() == Recovery::Operator => Ok(answer.clone()),
        _ => Err(error),
    }
}

fn advice(answer: &ServerError) -> &'static str {
    match answer.code {
        1064 | 1149 => {
            "the target's version does not have this syntax, or has made an unquoted name a reserved word: write it anew on the \
             source so that both understand it"
        }
        1418 | 1419 => "set log_bin_trust_function_creators = ON on the target",
        1146 | 1356 => "it reads what the task does not carry: select that too, or exclude this",
        1054 | 1305 => {
            "it uses a function or column that the target does not have: write it anew on the source"
        }
        1298 => "load the time zone tables on the target (mysql_tzinfo_to_sql)",
        _ if answer.is_privilege() => {
            "grant the task's account on the target what is missing; `dts validate` prints it"
        }
        _ => "write it anew on the source, or leave it out",
    }
}
