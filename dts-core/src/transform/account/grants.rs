//! What the rights of an account become on the target.
use std::collections::{BTreeMap, BTreeSet};

use super::{AccountTransform, MappedAccount, Note, some};
use crate::data::{AccountDefinition, Grant, Scope, TableName};
use crate::sql::account::{DatabasePattern, database_pattern};
use crate::transform::is_system_database;

/// What SUPER of a server before 8.0 allows, as the servers' own upgrade gives it. `SYSTEM_USER` is left out on purpose: it
/// would put the account out of the reach of the task's own one.
const SUPER_PARTS: [&str; 14] = [
    "BINLOG_ADMIN",
    "BINLOG_ENCRYPTION_ADMIN",
    "CONNECTION_ADMIN",
    "ENCRYPTION_KEY_ADMIN",
    "GROUP_REPLICATION_ADMIN",
    "PERSIST_RO_VARIABLES_ADMIN",
    "REPLICATION_SLAVE_ADMIN",
    "RESOURCE_GROUP_ADMIN",
    "RESOURCE_GROUP_USER",
    "ROLE_ADMIN",
    "SERVICE_CONNECTION_ADMIN",
    "SYSTEM_VARIABLES_ADMIN",
    "XA_RECOVER_ADMIN",
    "SET_USER_ID",
];

/// `SET_USER_ID` was split in 8.2.
const SET_USER_ID_PARTS: [&str; 2] = ["SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER"];

/// What a managed service gives to nobody.
const NEVER_MANAGED: [&str; 3] = ["SUPER", "FILE", "SHUTDOWN"];

/// What can be granted on a table.
const TABLE_PRIVILEGES: [&str; 13] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    Grant::OPTION,
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE VIEW",
    "SHOW VIEW",
    "TRIGGER",
];

fn split_set_user_id(name: &str) -> Vec<&'static str> {
    if name == "SET_USER_ID" { SET_USER_ID_PARTS.to_vec() } else { Vec::new() }
}

impl AccountTransform<'_> {
    /// Returns what is left out because the task does not carry it.
    pub(super) fn grants(
        &self,
        definition: &AccountDefinition,
        mapped: &mut MappedAccount,
    ) -> BTreeSet<String> {
        // Before 8.0 this one option is for all global privileges.
        let may_pass_on = definition.grants.contains(&Grant::new(Scope::Global, Grant::OPTION));
        let mut left_out = BTreeSet::new();
        let mut lost: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for grant in &definition.grants {
            match &grant.scope {
                Scope::Global => self.global(grant, may_pass_on, mapped),
                Scope::Except(database) => self.except(grant, database, mapped),
                Scope::Database(pattern) => {
                    let place = DatabasePattern::parse(pattern, self.source.wildcards_are_literal);
                    if place.as_name().is_some_and(|name| is_system_database(&name)) {
                        lost.entry(grant.scope.to_string()).or_default().insert(grant.privilege.clone());
                    } else if !self.database(grant, pattern, &place, mapped) {
                        left_out.insert(grant.scope.to_string());
                    }
                }
                Scope::Table(table) | Scope::Column(table, _) if is_system_database(&table.database) => {
                    lost.entry(grant.scope.to_string()).or_default().insert(grant.privilege.clone());
                }
                Scope::Table(table) => match self.transform.target_of(table) {
                    Some(target) => self.keep(grant, Scope::Table(target), mapped),
                    None => drop(left_out.insert(table.to_string())),
                },
                Scope::Column(table, column) => match self.transform.target_of(table) {
                    Some(target) => self.keep(grant, Scope::Column(target, column.clone()), mapped),
                    None => drop(left_out.insert(table.to_string())),
                },
                Scope::Routine(kind, name) if self.transform.selection.selects_database(&name.database) => {
                    let database = self.transform.route.target_database(&name.database);
                    self.keep(grant, Scope::Routine(*kind, TableName::new(database, &name.table)), mapped);
                }
                Scope::Routine(..) => drop(left_out.insert(grant.scope.to_string())),
                Scope::Proxy(_) | Scope::Role(_) => drop(mapped.definition.grants.insert(grant.clone())),
            }
        }
        for (place, privileges) in lost {
            mapped.notes.push(Note::loss(format!(
                "{} on {place} is not carried: the server's own tables are different on every server",
                some(&privileges)
            )));
        }
        left_out
    }

    fn keep(&self, grant: &Grant, scope: Scope, mapped: &mut MappedAccount) {
        if self.knows(&grant.privilege) {
            mapped.definition.grants.insert(Grant { scope, ..grant.clone() });
        } else {
            mapped.notes.push(Note::loss(format!("the target does not know {grant}")));
        }
    }

    fn knows(&self, privilege: &str) -> bool {
        privilege == Grant::OPTION || self.target.privileges.contains(privilege)
    }

    fn global(&self, grant: &Grant, may_pass_on: bool, mapped: &mut MappedAccount) {
        let name = grant.privilege.as_str();
        if self.target.is_managed && NEVER_MANAGED.contains(&name) {
            mapped.notes.push(Note::loss(format!("{name}: a managed server gives it to nobody")));
            return;
        }
        let target_splits_super = self.knows("CONNECTION_ADMIN");
        let parts: Vec<&str> = match name {
            "SUPER" if !self.source.has_dynamic_privileges && target_splits_super => SUPER_PARTS
                .into_iter()
                .flat_map(|part| if self.knows(part) { vec![part] } else { split_set_user_id(part) })
                .collect(),
            _ if self.knows(name) => {
                mapped.definition.grants.insert(grant.clone());
                return;
            }
            _ => split_set_user_id(name),
        };
        let parts: Vec<&str> = parts.into_iter().filter(|part| self.knows(part)).collect();
        if parts.is_empty() {
            mapped.notes.push(Note::loss(format!("the target's version has no privilege {name}")));
            return;
        }
        mapped.notes.push(Note::remark(format!("{name} became {}", parts.join(", "))));
        for part in parts {
            let is_grantable = grant.is_grantable || (name == "SUPER" && may_pass_on);
            mapped.definition.grants.insert(Grant {
                privilege: part.to_owned(),
                is_grantable,
                ..grant.clone()
            });
        }
    }

    /// A partial revoke: written down where the target has such, otherwise the global privilege is narrowed to single databases.
    fn except(&self, grant: &Grant, database: &str, mapped: &mut MappedAccount) {
        if self.target.wildcards_are_literal {
            let database = self.transform.route.target_database(database);
            mapped.definition.grants.insert(Grant { scope: Scope::Except(database), ..grant.clone() });
            return;
        }
        let global = Grant::new(Scope::Global, grant.privilege.clone());
        let was_global = mapped.definition.grants.remove(&global);
        let selected: Vec<&String> = self
            .source
            .databases
            .iter()
            .filter(|name| self.transform.selection.selects_database(name))
            .collect();
        for name in selected {
            for target in self.transform.route.target_databases(name) {
                let pattern = database_pattern(&target, false);
                let narrowed = Grant::new(Scope::Database(pattern), grant.privilege.clone());
                if name == database {
                    mapped.definition.grants.remove(&narrowed);
                } else if was_global {
                    mapped.definition.grants.insert(narrowed);
                }
            }
        }
        if was_global {
            mapped.notes.push(Note::loss(format!(
                "{} on everything but some databases became a right on each database that the task carries: partial_revokes is \
                 off on the target",
                grant.privilege
            )));
        }
    }

    /// Returns whether the task carries anything that the grant is for.
    fn database(
        &self,
        grant: &Grant,
        pattern: &str,
        place: &DatabasePattern,
        mapped: &mut MappedAccount,
    ) -> bool {
        let route = &self.transform.route;
        let name = place.as_name();
        let fits = |database: &&String| match &name {
            Some(name) => *database == name,
            None => place.matches(database),
        };
        let selected: Vec<&String> = self
            .source
            .databases
            .iter()
            .filter(fits)
            .filter(|database| self.transform.selection.selects_database(database))
            .collect();
        if selected.is_empty() {
            return false;
        }
        let keeps_name = |database: &String| route.target_database(database) == *database;
        // The pattern itself goes along where its databases keep their names: it holds for future ones, too.
        if selected.iter().any(|database| keeps_name(database)) {
            let is_literal = (self.source.wildcards_are_literal, self.target.wildcards_are_literal);
            let scopes = match (is_literal, &name) {
                ((false, false) | (true, true), _) => vec![pattern.to_owned()],
                (_, Some(name)) => vec![database_pattern(name, self.target.wildcards_are_literal)],
                // Here wildcards stand for themselves, so each database has its own grant.
                (_, None) => {
                    mapped.notes.push(Note::remark(format!(
                        "the pattern {pattern} became a right on each of its databases: partial_revokes is on on the target"
                    )));
                    selected.iter().copied().filter(|database| keeps_name(database)).cloned().collect()
                }
            };
            for scope in scopes {
                self.keep(grant, Scope::Database(scope), mapped);
            }
        }
        for database in selected {
            let target = route.target_database(database);
            if target != *database {
                let scope = database_pattern(&target, self.target.wildcards_are_literal);
                self.keep(grant, Scope::Database(scope), mapped);
            }
            // Tables that go elsewhere take the rights along that a table can have.
            for table in route.renamed_tables().filter(|table| table.database == *database) {
                let renamed = route.target_of(table);
                if renamed.database != target && TABLE_PRIVILEGES.contains(&grant.privilege.as_str()) {
                    self.keep(grant, Scope::Table(renamed), mapped);
                }
            }
        }
        true
    }
}
