//! Where no definition may change: the reverse channel.
//!
//! It ties two servers of different versions whose tables were made alike once; what a newer server is told about a table may
//! not be possible on the older one, and what is changed there must also be there when the writers come back.
use std::collections::BTreeSet;

use crate::error::Result;
use crate::sql::statement::{Action, NameRole, StatementKind, StoredObject};

use super::{LoggedChange, SchemaChanger};
use crate::data::Span;

impl SchemaChanger<'_> {
    /// Refuses a statement that changes a definition in one of these databases of the log, or rows without showing which.
    ///
    /// # Errors
    /// [`SchemaChange`](crate::error::ErrorKind::SchemaChange), unless an operator has seen to it;
    /// [`BinlogEvent`](crate::error::ErrorKind::BinlogEvent) for a change of rows that is logged as a statement.
    pub(in super::super) fn refuse_in(
        &self,
        databases: &BTreeSet<String>,
        logged: &LoggedChange<'_>,
    ) -> Result<()> {
        let change = self.readable(logged)?;
        let statement = &change.statement;
        let temporary = matches!(
            statement.kind,
            StatementKind::CreateTable { temporary: true, .. }
                | StatementKind::DropTable { temporary: true, .. }
        );
        let is_harmless = matches!(
            statement.kind,
            StatementKind::Account
                | StatementKind::Admin
                | StatementKind::ServerObject
                | StatementKind::Empty
                // Switched on and off, by the gate of the way back among others.
                | StatementKind::StoredProgram { action: Action::Alter, object: StoredObject::Event }
        );
        let is_skipped =
            logged.span.is_some_and(|span| self.skipped.iter().any(|gtid| Span::from(gtid.clone()) == *span));
        if temporary || is_harmless || is_skipped {
            return Ok(());
        }
        let named = statement.names.iter().filter(|name| name.role != NameRole::Read);
        let names_any = named.clone().any(|name| databases.contains(&name.database));
        let means_default = named.count() == 0 && databases.contains(&change.database);
        if !names_any && !means_default {
            return Ok(());
        }
        if statement.kind == StatementKind::Dml {
            return Err(change.logged_as_statement());
        }
        let error = change.refused("the reverse channel carries changes of rows, not of definitions");
        let Some(gtid) = logged.span else { return Err(error) };
        Err(error.at(gtid).with_hint(format!(
            "It was run on the target after the cut-over. Do by hand on the source what it does, or undo it on the target. Then run \
             with --skip-ddl {gtid} to go on after it. Nothing after it is carried to the source until then: to stay on the target for \
             good, complete the task."
        )))
    }
}
