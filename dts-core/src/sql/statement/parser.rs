//! Reads a statement as far as its kind and the names in it.
use std::ops::Range;

use crate::sql::statement::{Action, NameReference, NameRole, StatementKind, StoredObject};
use crate::sql::token::{Dialect, Tokens};

/// Returns where a `CREATE TABLE` ends in `START TRANSACTION`.
pub(super) fn find_start_transaction(tokens: &Tokens<'_>) -> Option<usize> {
    let at = end_of(tokens).checked_sub(2)?;
    tokens.are(at, &["START", "TRANSACTION"]).then_some(at)
}

/// Returns how many tokens there are without semicolons at the end.
fn end_of(tokens: &Tokens<'_>) -> usize {
    (0..tokens.len()).rev().find(|index| !tokens.is_punctuation(*index, b';')).map_or(0, |last| last + 1)
}

/// A kind and names.
type Parsed = (StatementKind, Vec<NameReference>);

/// Reads a statement; `None` when it is none that is known.
pub(super) fn parse(statement: &str, default_database: &str, dialect: Dialect) -> Option<Parsed> {
    let tokens = Tokens::new(statement, dialect)?;
    let mut parser =
        Parser { tokens: &tokens, default_database: default_database.to_owned(), names: Vec::new(), at: 1 };
    let kind = parser.statement()?;
    let mut names = parser.names;
    names.sort_by_key(|name| name.name_span.start);
    Some((kind, names))
}

pub(super) struct Parser<'t, 'a> {
    pub(super) tokens: &'t Tokens<'a>,
    /// Where a name without a database is looked up.
    default_database: String,
    pub(super) names: Vec<NameReference>,
    /// The next token.
    pub(super) at: usize,
}

impl Parser<'_, '_> {
    /// Each method returns `None` when the text is not what it should be; the statement is unknown then.
    fn statement(&mut self) -> Option<StatementKind> {
        if self.tokens.len() == 0 {
            return Some(StatementKind::Empty);
        }
        if self.tokens.is_punctuation(0, b'(') {
            return Some(self.dml());
        }
        match self.tokens.word(0).to_ascii_uppercase().as_str() {
            "BEGIN" => Some(StatementKind::Begin),
            "START" if self.tokens.is(1, "TRANSACTION") => Some(StatementKind::Begin),
            "COMMIT" => Some(StatementKind::Commit),
            "ROLLBACK" => {
                self.skip(&["WORK"]);
                if !self.skip(&["TO"]) {
                    return Some(StatementKind::Rollback);
                }
                self.skip(&["SAVEPOINT"]);
                Some(StatementKind::RollbackTo { name: self.tokens.name(self.at)? })
            }
            "SAVEPOINT" => Some(StatementKind::Savepoint { name: self.tokens.name(1)? }),
            "RELEASE" if self.tokens.is(1, "SAVEPOINT") => {
                Some(StatementKind::ReleaseSavepoint { name: self.tokens.name(2)? })
            }
            "XA" => self.xa(),
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop(),
            "TRUNCATE" => {
                self.skip(&["TABLE"]);
                self.name(NameRole::Table)?;
                Some(StatementKind::TruncateTable)
            }
            "RENAME" if self.tokens.is(1, "USER") => Some(StatementKind::Account),
            "RENAME" => {
                self.skip_any(&["TABLE", "TABLES"]);
                self.skip(&["IF", "EXISTS"]);
                loop {
                    self.name(NameRole::Table)?;
                    if !self.skip(&["TO"]) {
                        return None;
                    }
                    self.name(NameRole::NewName)?;
                    if !self.skip_punctuation(b',') {
                        return Some(StatementKind::RenameTable);
                    }
                }
            }
            "GRANT" | "REVOKE" => Some(StatementKind::Account),
            "SET"
                if self.tokens.is_any(1, &["PASSWORD", "ROLE"])
                    || self.tokens.are(1, &["DEFAULT", "ROLE"]) =>
            {
                Some(StatementKind::Account)
            }
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "SELECT" | "WITH" | "CALL" | "DO" | "VALUES"
            | "TABLE" => Some(self.dml()),
            "LOAD" => {
                if let Some(into) = (0..self.tokens.len()).find(|at| self.tokens.are(*at, &["INTO", "TABLE"]))
                {
                    self.at = into + 2;
                    self.name(NameRole::Table)?;
                }
                Some(StatementKind::Dml)
            }
            "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" | "CHECKSUM" => {
                self.skip_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
                if self.skip_any(&["TABLE", "TABLES"]) {
                    self.list(NameRole::Table)?;
                }
                Some(StatementKind::Admin)
            }
            "INSTALL" | "UNINSTALL" => Some(StatementKind::ServerObject),
            "FLUSH" | "RESET" | "PURGE" | "KILL" | "SET" | "SHOW" | "USE" | "LOCK" | "UNLOCK" | "CACHE"
            | "CHANGE" | "START" | "STOP" | "CLONE" | "SHUTDOWN" | "RESTART" | "HELP" | "EXPLAIN"
            | "DESCRIBE" | "DESC" | "BINLOG" | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "HANDLER" => {
                Some(StatementKind::Admin)
            }
            _ => None,
        }
    }

    fn dml(&mut self) -> StatementKind {
        self.query(0);
        StatementKind::Dml
    }

    fn xa(&self) -> Option<StatementKind> {
        const SUFFIXES: [&str; 4] = ["ONE", "SUSPEND", "JOIN", "RESUME"];
        let end = (2..end_of(self.tokens))
            .find(|at| self.tokens.is_any(*at, &SUFFIXES))
            .unwrap_or(end_of(self.tokens));
        let xid: String = (2..end).map(|at| self.tokens.text_of(at)).collect();
        match self.tokens.word(1).to_ascii_uppercase().as_str() {
            "RECOVER" => Some(StatementKind::Admin),
            _ if xid.is_empty() => None,
            "START" | "BEGIN" => Some(StatementKind::XaStart { xid }),
            "END" => Some(StatementKind::XaEnd { xid }),
            "PREPARE" => Some(StatementKind::XaPrepare { xid }),
            "COMMIT" => Some(StatementKind::XaCommit { xid, one_phase: self.tokens.is(end, "ONE") }),
            "ROLLBACK" => Some(StatementKind::XaRollback { xid }),
            _ => None,
        }
    }

    fn create(&mut self) -> Option<StatementKind> {
        let mut temporary = false;
        loop {
            temporary |= self.tokens.is(self.at, "TEMPORARY");
            if self.skip(&["OR", "REPLACE"])
                || self.skip_any(&["TEMPORARY", "ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "AGGREGATE"])
                || self.skip_view_option()
            {
                continue;
            }
            break;
        }
        if self.skip(&["TABLE"]) {
            return self.create_table(temporary);
        }
        if self.tokens.are(self.at, &["SPATIAL", "INDEX"]) || self.tokens.is(self.at, "INDEX") {
            self.skip(&["SPATIAL"]);
            self.skip(&["INDEX"]);
            return self.index_on(StatementKind::CreateIndex);
        }
        if self.skip(&["VIEW"]) {
            self.skip(&["IF", "NOT", "EXISTS"]);
            self.name(NameRole::Table)?;
            self.query(self.at);
            return Some(StatementKind::CreateView);
        }
        if self.skip_any(&["DATABASE", "SCHEMA"]) {
            self.skip(&["IF", "NOT", "EXISTS"]);
            self.database()?;
            return Some(StatementKind::CreateDatabase);
        }
        if let Some(object) = self.stored_object() {
            return self.create_stored(object);
        }
        self.server_object()
    }

    fn create_table(&mut self, temporary: bool) -> Option<StatementKind> {
        let if_not_exists = self.skip(&["IF", "NOT", "EXISTS"]);
        self.name(NameRole::Table)?;
        let start_transaction = find_start_transaction(self.tokens).is_some();
        let like_at = self.at + usize::from(self.tokens.is_punctuation(self.at, b'('));
        let like = self.tokens.is(like_at, "LIKE");
        if like {
            self.at = like_at + 1;
            self.name(NameRole::Like)?;
        }
        let select = (self.at..self.tokens.len()).find(|at| {
            // All reserved words: as names they would be quoted. `TABLE` and `VALUES` begin a query only outside the list and the
            // partition clause, where `AS` or nothing stands before them.
            self.tokens.is(*at, "SELECT")
                || (self.tokens.is(*at, "AS") && self.tokens.is_any(*at + 1, &["TABLE", "VALUES", "WITH"]))
                || (*at == self.at && self.tokens.is_any(*at, &["TABLE", "VALUES", "WITH"]))
        });
        self.table_references(self.at, select.unwrap_or(self.tokens.len()));
        if let Some(select) = select {
            self.query(select);
        }
        Some(StatementKind::CreateTable {
            like,
            select: select.is_some(),
            if_not_exists,
            temporary,
            start_transaction,
        })
    }

    /// Finds the other tables that a definition of columns and keys names.
    fn table_references(&mut self, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            if self.tokens.is(at, "REFERENCES") {
                self.at = at + 1;
                self.parent();
            } else if self.tokens.is(at, "UNION") {
                self.at = at + 1;
                self.skip_punctuation(b'=');
                if self.skip_punctuation(b'(') && !self.tokens.is(self.at, "SELECT") {
                    let _ = self.list(NameRole::Merged);
                }
            }
            at += 1;
        }
    }

    /// A parent without a database is looked up in the child's database.
    fn parent(&mut self) {
        let child = self.names.first().map(|child| child.database.clone());
        if self.name(NameRole::Parent).is_some()
            && let (Some(parent), Some(child)) = (self.names.last_mut(), child)
            && parent.database_span.is_none()
        {
            parent.database = child;
        }
    }

    fn index_on(&mut self, kind: StatementKind) -> Option<StatementKind> {
        let on = (self.at..self.tokens.len()).find(|at| self.tokens.is(*at, "ON"))?;
        self.at = on + 1;
        self.name(NameRole::Table)?;
        Some(kind)
    }

    fn create_stored(&mut self, object: StoredObject) -> Option<StatementKind> {
        self.skip(&["IF", "NOT", "EXISTS"]);
        self.name(NameRole::Stored)?;
        // A program looks names up in its own database, and so does a trigger for its table.
        self.default_database = self.names.first()?.database.clone();
        let body = match object {
            StoredObject::Trigger => {
                let on = (self.at..self.tokens.len()).find(|at| self.tokens.is(*at, "ON"))?;
                self.at = on + 1;
                self.name(NameRole::Table)?;
                self.skip(&["FOR", "EACH", "ROW"]);
                self.at
            }
            StoredObject::Event => (self.at..self.tokens.len()).find(|at| self.tokens.is(*at, "DO"))?,
            StoredObject::Procedure | StoredObject::Function => {
                if (self.at..self.tokens.len()).any(|at| self.tokens.is(at, "SONAME")) {
                    self.names.clear();
                    return Some(StatementKind::ServerObject);
                }
                self.tokens.after_group(self.at)
            }
        };
        self.query(body);
        Some(StatementKind::StoredProgram { action: Action::Create, object })
    }

    fn alter(&mut self) -> Option<StatementKind> {
        while self.skip_any(&["ONLINE", "OFFLINE", "IGNORE"]) || self.skip_view_option() {}
        if self.skip(&["TABLE"]) {
            return self.alter_table();
        }
        if self.skip(&["VIEW"]) {
            self.name(NameRole::Table)?;
            self.query(self.at);
            return Some(StatementKind::AlterView);
        }
        if self.skip_any(&["DATABASE", "SCHEMA"]) {
            const OPTIONS: [&str; 7] =
                ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "ENCRYPTION", "READ", "UPGRADE"];
            if !self.tokens.is_any(self.at, &OPTIONS) {
                self.database()?;
            }
            return Some(StatementKind::AlterDatabase);
        }
        if self.tokens.is(self.at, "INSTANCE") {
            return Some(StatementKind::Admin);
        }
        if let Some(object) = self.stored_object() {
            self.skip(&["IF", "EXISTS"]);
            self.name(NameRole::Stored)?;
            let program_database = self.names.first()?.database.clone();
            if object == StoredObject::Event {
                let body = (self.at..self.tokens.len()).find(|at| self.tokens.is(*at, "DO"));
                let end = body.unwrap_or(self.tokens.len());
                if let Some(rename) = (self.at..end).find(|at| self.tokens.are(*at, &["RENAME", "TO"])) {
                    self.at = rename + 2;
                    self.name(NameRole::Stored)?;
                }
                self.default_database = program_database;
                self.query(end);
            }
            return Some(StatementKind::StoredProgram { action: Action::Alter, object });
        }
        self.server_object()
    }

    fn alter_table(&mut self) -> Option<StatementKind> {
        self.skip(&["IF", "EXISTS"]);
        self.name(NameRole::Table)?;
        self.table_references(self.at, self.tokens.len());
        // `table_references` moves on; the specifications begin after the first name.
        let first = self.names.first()?.name_span.end;
        let mut at =
            (0..self.tokens.len()).find(|at| self.tokens.get(*at).is_some_and(|token| token.start >= first));
        let mut renames = false;
        while let Some(index) = at.filter(|index| *index < self.tokens.len()) {
            let mut next = index + 1;
            if self.tokens.is_punctuation(index, b'(') {
                next = self.tokens.after_group(index);
            } else if self.tokens.is(index, "RENAME")
                && !self.tokens.is_any(index + 1, &["INDEX", "KEY", "COLUMN"])
            {
                self.at = index + 1;
                let _ = self.skip_any(&["TO", "AS"]) || self.skip_punctuation(b'=');
                self.name(NameRole::NewName)?;
                renames = true;
                next = self.at;
            } else if self.tokens.are(index, &["EXCHANGE", "PARTITION"])
                && self.tokens.are(index + 3, &["WITH", "TABLE"])
            {
                self.at = index + 5;
                self.name(NameRole::Exchanged)?;
                next = self.at;
            }
            at = Some(next);
        }
        Some(StatementKind::AlterTable { renames })
    }

    fn drop(&mut self) -> Option<StatementKind> {
        let temporary = self.skip(&["TEMPORARY"]);
        while self.skip_any(&["ONLINE", "OFFLINE"]) {}
        if self.skip_any(&["TABLE", "TABLES"]) {
            let if_exists = self.skip(&["IF", "EXISTS"]);
            self.list(NameRole::Table)?;
            return Some(StatementKind::DropTable { if_exists, temporary });
        }
        if self.skip(&["VIEW"]) {
            self.skip(&["IF", "EXISTS"]);
            self.list(NameRole::Table)?;
            return Some(StatementKind::DropView);
        }
        if self.skip(&["INDEX"]) {
            return self.index_on(StatementKind::DropIndex);
        }
        if self.skip_any(&["DATABASE", "SCHEMA"]) {
            self.skip(&["IF", "EXISTS"]);
            self.database()?;
            return Some(StatementKind::DropDatabase);
        }
        if self.tokens.is(self.at, "PREPARE") {
            return Some(StatementKind::Admin);
        }
        if let Some(object) = self.stored_object() {
            self.skip(&["IF", "EXISTS"]);
            self.name(NameRole::Stored)?;
            return Some(StatementKind::StoredProgram { action: Action::Drop, object });
        }
        self.server_object()
    }

    fn server_object(&self) -> Option<StatementKind> {
        match self.tokens.word(self.at).to_ascii_uppercase().as_str() {
            "USER" | "ROLE" => Some(StatementKind::Account),
            "SERVER" | "TABLESPACE" | "UNDO" | "LOGFILE" | "RESOURCE" | "SPATIAL" => {
                Some(StatementKind::ServerObject)
            }
            _ => None,
        }
    }

    fn stored_object(&mut self) -> Option<StoredObject> {
        let object = match self.tokens.word(self.at).to_ascii_uppercase().as_str() {
            "PROCEDURE" => StoredObject::Procedure,
            "FUNCTION" => StoredObject::Function,
            "TRIGGER" => StoredObject::Trigger,
            "EVENT" => StoredObject::Event,
            _ => return None,
        };
        self.at += 1;
        Some(object)
    }

    /// Skips `ALGORITHM = …`, `DEFINER = …` and `SQL SECURITY …`.
    fn skip_view_option(&mut self) -> bool {
        if self.tokens.are(self.at, &["SQL", "SECURITY"]) {
            self.at += 3;
            return true;
        }
        if !self.tokens.is_any(self.at, &["ALGORITHM", "DEFINER"])
            || !self.tokens.is_punctuation(self.at + 1, b'=')
        {
            return false;
        }
        self.at += 3;
        if self.skip_punctuation(b'@') {
            // A host without quotes may be of several tokens: 10.0.0.1, my-host.
            let mut end = self.tokens.get(self.at).map_or(0, |token| token.end);
            self.at += 1;
            while let Some(token) = self.tokens.get(self.at).filter(|token| token.start == end) {
                end = token.end;
                self.at += 1;
            }
        }
        if self.skip_punctuation(b'(') {
            self.skip_punctuation(b')');
        }
        true
    }

    pub(super) fn skip(&mut self, keywords: &[&str]) -> bool {
        let found = self.tokens.are(self.at, keywords);
        if found {
            self.at += keywords.len();
        }
        found
    }

    pub(super) fn skip_any(&mut self, keywords: &[&str]) -> bool {
        let found = self.tokens.is_any(self.at, keywords);
        self.at += usize::from(found);
        found
    }

    fn skip_punctuation(&mut self, byte: u8) -> bool {
        let found = self.tokens.is_punctuation(self.at, byte);
        self.at += usize::from(found);
        found
    }

    fn token_span(&self, at: usize) -> Range<usize> {
        self.tokens.get(at).map_or(0..0, |token| token.start..token.end)
    }

    /// Reads names separated by commas.
    fn list(&mut self, role: NameRole) -> Option<()> {
        loop {
            self.name(role)?;
            if !self.skip_punctuation(b',') {
                return Some(());
            }
        }
    }

    /// Reads `name` or `database.name`.
    pub(super) fn name(&mut self, role: NameRole) -> Option<()> {
        let first = self.tokens.name(self.at)?;
        let reference = if self.tokens.is_punctuation(self.at + 1, b'.') {
            let name = self.tokens.name(self.at + 2)?;
            self.at += 3;
            NameReference {
                role,
                database: first,
                name,
                database_span: Some(self.token_span(self.at - 3)),
                name_span: self.token_span(self.at - 1),
                has_alias: false,
            }
        } else {
            self.at += 1;
            NameReference {
                role,
                database: self.default_database.clone(),
                name: first,
                database_span: None,
                name_span: self.token_span(self.at - 1),
                has_alias: false,
            }
        };
        self.names.push(reference);
        Some(())
    }

    fn database(&mut self) -> Option<()> {
        let span = self.token_span(self.at);
        self.names.push(NameReference {
            role: NameRole::Database,
            database: self.tokens.name(self.at)?,
            name: String::new(),
            database_span: Some(span.clone()),
            name_span: span,
            has_alias: false,
        });
        self.at += 1;
        Some(())
    }
}
