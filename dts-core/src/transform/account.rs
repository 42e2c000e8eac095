//! What an account of the source becomes on the target: its login, its settings, its rights, and what is lost on the way.
//!
//! # Rules
//! - Nothing is invented: an account gets on the target at most what it has on the source. Where a right cannot be written down
//!   there it is left out, never widened.
//! - Nothing is left out silently: everything that is not as on the source is a [`Note`].
//! - A password that the target cannot look at is replaced by one that nobody knows, and the account is locked.
//! - The task's own logins come first: an account that would take them over is not carried.
mod grants;

use std::collections::{BTreeMap, BTreeSet};

use crate::data::{Account, AccountDefinition, Attribute, AuthString, Grant, PASSWORD_WITHHELD, Scope};
use crate::sql::account::{DatabasePattern, account as account_literal};
use crate::transform::Transform;

/// What must be known of the source.
#[derive(Clone, Debug)]
pub struct AccountSource {
    /// The task's own account there.
    pub own: Account,
    /// Its databases.
    pub databases: Vec<String>,
    /// It is MySQL 8.0 or later: SUPER and the privileges that it was split into are different things.
    pub has_dynamic_privileges: bool,
    /// `partial_revokes` is on: `%` and `_` in a database's name stand for themselves.
    pub wildcards_are_literal: bool,
    /// Tables with grants that could not be read.
    pub hidden: Vec<&'static str>,
}

/// What must be known of the target.
#[derive(Clone, Debug)]
pub struct AccountTarget {
    /// The task's own account there.
    pub own: Account,
    /// From where the target sees the task's sessions come.
    pub seen_from: String,
    /// All privileges that it knows, in capitals.
    pub privileges: BTreeSet<String>,
    /// The plugins that look at passwords there.
    pub plugins: BTreeSet<String>,
    /// The settings that its accounts have.
    pub attributes: BTreeSet<Attribute>,
    /// `partial_revokes` is on.
    pub wildcards_are_literal: bool,
    /// A managed service runs it: SUPER, FILE and SHUTDOWN are given to nobody.
    pub is_managed: bool,
}

/// Something that people should know of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// As a sentence without its full stop.
    pub text: String,
    /// The account can do less on the target, or cannot log in as it does on the source.
    pub is_loss: bool,
}

impl Note {
    pub(crate) fn loss(text: impl Into<String>) -> Note {
        Note { text: text.into(), is_loss: true }
    }

    pub(crate) fn remark(text: impl Into<String>) -> Note {
        Note { text: text.into(), is_loss: false }
    }
}

/// An account as it should be on the target.
#[derive(Clone, Debug)]
pub struct MappedAccount {
    /// All of it. The plugin and what it keeps are empty when the password is withheld.
    pub definition: AccountDefinition,
    /// Its password cannot be looked at on the target: it is locked there.
    pub is_withheld: bool,
    /// Tables whose rights could not be read: what is missing here may still be granted on the source.
    pub hidden: Vec<&'static str>,
    /// It can log in on the source, and its password is withheld.
    pub loses_login: bool,
    /// What is not as on the source.
    pub notes: Vec<Note>,
    /// For one whose password is withheld: what an operator has to run on the target, with `…` for the password.
    pub login_statement: Option<String>,
}

impl MappedAccount {
    /// Returns whether a right may be granted on the source without being seen here.
    pub fn may_be_hidden(&self, grant: &Grant) -> bool {
        let tables: &[&str] = match &grant.scope {
            Scope::Global | Scope::Except(_) | Scope::Role(_) => &[],
            Scope::Database(_) => &["db"],
            // Those of a database become those of a table where the task moves it elsewhere.
            Scope::Table(_) => &["tables_priv", "db"],
            Scope::Column(..) => &["columns_priv"],
            Scope::Routine(..) => &["procs_priv"],
            Scope::Proxy(_) => &["proxies_priv"],
        };
        tables.iter().any(|table| self.hidden.contains(table))
    }
}

/// What becomes of an account.
#[derive(Clone, Debug)]
pub enum AccountFate {
    /// It is carried.
    Carried(Box<MappedAccount>),
    /// It is not, for this reason.
    Skipped(String),
}

/// Plugins for which an empty string means that there is no password. For others it means something else: `auth_socket` asks
/// the operating system.
const PASSWORD_PLUGINS: [&str; 4] =
    ["mysql_native_password", "mysql_old_password", "sha256_password", "caching_sha2_password"];

/// Turns accounts of the source into those of the target.
#[derive(Clone, Debug)]
pub struct AccountTransform<'a> {
    /// Which databases and tables take part, under which names.
    pub transform: &'a Transform,
    /// The side that they come from.
    pub source: &'a AccountSource,
    /// The side that they go to.
    pub target: &'a AccountTarget,
}

impl AccountTransform<'_> {
    /// Decides about all accounts. `is_system`: accounts of a server or the service that runs it. `is_known`: accounts that were
    /// carried before, which go on being carried when they lose their last right.
    pub fn all(
        &self,
        accounts: &[AccountDefinition],
        is_system: &dyn Fn(&Account) -> bool,
        is_known: &dyn Fn(&Account) -> bool,
    ) -> BTreeMap<Account, AccountFate> {
        let mut fates: BTreeMap<Account, AccountFate> = BTreeMap::new();
        for definition in accounts {
            let name = &definition.account;
            let fate = match self.reason_to_skip(name, is_system(name)) {
                Some(reason) => AccountFate::Skipped(reason),
                None => self.one(definition, is_known(name)),
            };
            fates.insert(name.clone(), fate);
        }
        self.drop_lost_roles(&mut fates);
        fates
    }

    fn reason_to_skip(&self, name: &Account, is_system: bool) -> Option<String> {
        let own = &self.target.own;
        if is_system {
            return Some("belongs to the server or to the service that runs it".into());
        }
        if name.user == "root" {
            return Some(
                "every server has its own root; its password and rights on the target stay as they are"
                    .into(),
            );
        }
        if *name == self.source.own {
            return Some("the task's own account on the source".into());
        }
        if name.user == own.user {
            return Some(format!(
                "has the user name of the task's own account on the target ({own}) and would take over its logins, or be \
                 overwritten by it"
            ));
        }
        // The server looks for the most specific host first, and `%` is the last.
        let is_before_own =
            name.host != "%" && name.host != own.host && host_matches(&name.host, &self.target.seen_from);
        if name.user.is_empty() && is_before_own {
            return Some(format!(
                "a nameless account for {} would take over the task's own logins on the target, which come from {}",
                name.host, self.target.seen_from
            ));
        }
        None
    }

    fn one(&self, definition: &AccountDefinition, is_known: bool) -> AccountFate {
        let mut mapped = MappedAccount {
            definition: AccountDefinition {
                grants: BTreeSet::new(),
                unknown: Vec::new(),
                ..definition.clone()
            },
            is_withheld: false,
            hidden: self.source.hidden.clone(),
            loses_login: false,
            notes: Vec::new(),
            login_statement: None,
        };
        let left_out = self.grants(definition, &mut mapped);
        if !definition.grants.is_empty()
            && mapped.definition.grants.is_empty()
            && !mapped.notes.iter().any(|note| note.is_loss)
            && !is_known
        {
            return AccountFate::Skipped(format!(
                "has rights only on what the task does not carry: {}",
                some(&left_out)
            ));
        }
        if !left_out.is_empty() {
            mapped.notes.push(Note::remark(format!(
                "its rights on what the task does not carry stay behind: {}",
                some(&left_out)
            )));
        }
        self.login(definition, &mut mapped);
        self.attributes(definition, &mut mapped);
        mapped
            .notes
            .extend(definition.unknown.iter().map(|what| Note::loss(format!("{what} has no counterpart"))));
        if definition.has_more_secrets {
            mapped.notes.push(Note::loss("its second password or second factor is not carried"));
        }
        if !mapped.hidden.is_empty() {
            mapped.notes.push(Note::loss(format!(
                "a part of its rights could not be read on the source (hidden: mysql.{})",
                self.source.hidden.join(", mysql.")
            )));
        }
        AccountFate::Carried(Box::new(mapped))
    }

    fn login(&self, definition: &AccountDefinition, mapped: &mut MappedAccount) {
        let plugins = &self.target.plugins;
        let plugin = definition.plugin.as_str();
        let has_password = !definition.auth.is_empty() || !PASSWORD_PLUGINS.contains(&plugin);
        // 5.6 has the old plugin still, but no statement that takes its hashes.
        if plugins.contains(plugin) && plugin != "mysql_old_password" {
            return;
        }
        if !has_password {
            let usual = ["caching_sha2_password", "mysql_native_password"];
            let usual = usual.into_iter().find(|usual| plugins.contains(*usual)).unwrap_or_default();
            mapped.definition.plugin = usual.into();
            mapped
                .notes
                .push(Note::remark(format!("has no password, as on the source; {plugin} became {usual}")));
            return;
        }
        let name = account_literal(&definition.account);
        let is_locked =
            definition.attributes.get(&Attribute::Lock).is_some_and(|lock| lock == "ACCOUNT LOCK");
        let unlock = if is_locked || !self.target.attributes.contains(&Attribute::Lock) {
            ""
        } else {
            " ACCOUNT UNLOCK"
        };
        mapped.is_withheld = true;
        mapped.loses_login = !is_locked;
        mapped.definition.plugin = String::new();
        mapped.definition.auth = AuthString::default();
        mapped.login_statement = Some(format!("ALTER USER {name} IDENTIFIED BY '…'{unlock};"));
    }

    fn attributes(&self, definition: &AccountDefinition, mapped: &mut MappedAccount) {
        let attributes = &mut mapped.definition.attributes;
        for (attribute, clause) in &definition.attributes {
            let is_kept = *attribute == Attribute::PasswordMark || self.target.attributes.contains(attribute);
            if !is_kept {
                attributes.remove(attribute);
                if !attribute.is_default(clause) {
                    mapped
                        .notes
                        .push(Note::loss(format!("the target's version has no {}", attribute.name())));
                }
            }
        }
        if mapped.is_withheld {
            attributes.remove(&Attribute::Lock);
            attributes.remove(&Attribute::Expired);
            attributes.insert(Attribute::PasswordMark, PASSWORD_WITHHELD.to_owned());
        } else {
            attributes.entry(Attribute::PasswordMark).or_default();
        }
    }

    /// Roles that are not carried, and proxies of such accounts, cannot be given.
    fn drop_lost_roles(&self, fates: &mut BTreeMap<Account, AccountFate>) {
        let carried: BTreeSet<Account> = fates
            .iter()
            .filter(|(_, fate)| matches!(fate, AccountFate::Carried(_)))
            .map(|(name, _)| name.clone())
            .collect();
        for fate in fates.values_mut() {
            let AccountFate::Carried(mapped) = fate else { continue };
            let MappedAccount { definition, notes, .. } = mapped.as_mut();
            definition.grants.retain(|grant| {
                let (Scope::Role(other) | Scope::Proxy(other)) = &grant.scope else { return true };
                let is_kept = carried.contains(other);
                if !is_kept && grant.privilege == Grant::MEMBER {
                    notes.push(Note::loss(format!(
                        "{} is not given: that account is not carried",
                        grant.scope
                    )));
                }
                is_kept
            });
        }
    }
}

/// Returns whether an account's host part fits a client that the server sees come from `from`: with the wildcards `%` and `_`, or
/// as an address with a netmask. Names in another case are equal.
pub fn host_matches(pattern: &str, from: &str) -> bool {
    if pattern.is_empty() || pattern == "%" {
        return true;
    }
    if let Some((network, mask)) = pattern.split_once('/') {
        let Ok(network) = network.parse::<core::net::Ipv4Addr>() else { return false };
        let Ok(from) = from.parse::<core::net::Ipv4Addr>() else { return false };
        let mask = match mask.parse::<u32>() {
            Ok(bits) if bits <= 32 => u32::MAX.checked_shl(32 - bits).unwrap_or(0),
            _ => match mask.parse::<core::net::Ipv4Addr>() {
                Ok(mask) => u32::from(mask),
                Err(_) => return false,
            },
        };
        return u32::from(from) & mask == u32::from(network);
    }
    DatabasePattern::parse(&pattern.to_lowercase(), false).matches(&from.to_lowercase())
}

/// The first few and how many more there are.
fn some(names: &BTreeSet<String>) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests;
