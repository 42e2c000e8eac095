//! One row of `mysql.user` as an account.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::data::{Account, AccountDefinition, Attribute, AuthString, Grant, Scope};
use crate::sql::quote;
use crate::wire::TextRow;

/// The columns of `mysql.user` and `mysql.db` that hold a privilege each.
const PRIVILEGE_COLUMNS: [(&str, &str); 32] = [
    ("select_priv", "SELECT"),
    ("insert_priv", "INSERT"),
    ("update_priv", "UPDATE"),
    ("delete_priv", "DELETE"),
    ("create_priv", "CREATE"),
    ("drop_priv", "DROP"),
    ("reload_priv", "RELOAD"),
    ("shutdown_priv", "SHUTDOWN"),
    ("process_priv", "PROCESS"),
    ("file_priv", "FILE"),
    ("grant_priv", Grant::OPTION),
    ("references_priv", "REFERENCES"),
    ("index_priv", "INDEX"),
    ("alter_priv", "ALTER"),
    ("show_db_priv", "SHOW DATABASES"),
    ("super_priv", "SUPER"),
    ("create_tmp_table_priv", "CREATE TEMPORARY TABLES"),
    ("lock_tables_priv", "LOCK TABLES"),
    ("execute_priv", "EXECUTE"),
    ("repl_slave_priv", "REPLICATION SLAVE"),
    ("repl_client_priv", "REPLICATION CLIENT"),
    ("create_view_priv", "CREATE VIEW"),
    ("show_view_priv", "SHOW VIEW"),
    ("create_routine_priv", "CREATE ROUTINE"),
    ("alter_routine_priv", "ALTER ROUTINE"),
    ("create_user_priv", "CREATE USER"),
    ("event_priv", "EVENT"),
    ("trigger_priv", "TRIGGER"),
    ("create_tablespace_priv", "CREATE TABLESPACE"),
    ("create_role_priv", "CREATE ROLE"),
    ("drop_role_priv", "DROP ROLE"),
    ("delete_history_priv", "DELETE HISTORY"),
];

/// Rows with the names of their columns, in lower case.
pub(super) struct Named {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<TextRow>,
}

impl Named {
    pub(super) fn index(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    pub(super) fn text(&self, row: &TextRow, column: &str) -> Option<String> {
        row.text(self.index(column)?).map(String::from)
    }

    pub(super) fn string(&self, row: &TextRow, column: &str) -> String {
        self.text(row, column).unwrap_or_default()
    }

    pub(super) fn account(&self, row: &TextRow) -> Account {
        Account::new(self.string(row, "user"), self.string(row, "host"))
    }

    pub(super) fn privileges(&self, row: &TextRow) -> impl Iterator<Item = &'static str> {
        PRIVILEGE_COLUMNS
            .iter()
            .filter(|(column, _)| self.text(row, column).is_some_and(|value| value == "Y"))
            .map(|(_, privilege)| *privilege)
    }
}

/// Reads a row; its rights elsewhere are added later.
pub(super) fn definition(named: &Named, row: &TextRow) -> AccountDefinition {
    let bytes =
        |column: &str| named.index(column).and_then(|index| row.bytes(index)).unwrap_or_default().to_vec();
    // Up to 5.6 the hash of the old plugins is in a column of its own.
    let (old, new) = (bytes("password"), bytes("authentication_string"));
    let auth = if new.is_empty() { old } else { new };
    let plugin = named.string(row, "plugin");
    let plugin = match plugin.as_str() {
        // 5.6 leaves the plugin out where it is the default, and tells the two by the hash.
        "" if auth.len() == 16 => "mysql_old_password".to_owned(),
        "" => "mysql_native_password".to_owned(),
        _ => plugin,
    };
    let mut grants: BTreeSet<Grant> =
        named.privileges(row).map(|privilege| Grant::new(Scope::Global, privilege)).collect();
    let more: Value = named
        .text(row, "user_attributes")
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or(Value::Null);
    for restriction in more["Restrictions"].as_array().into_iter().flatten() {
        let database = restriction["Database"].as_str().unwrap_or_default();
        for privilege in restriction["Privileges"].as_array().into_iter().flatten() {
            let privilege = privilege.as_str().unwrap_or_default().to_ascii_uppercase();
            grants.insert(Grant::new(Scope::Except(database.to_owned()), privilege));
        }
    }
    let unknown = named
        .columns
        .iter()
        .filter(|column| column.ends_with("_priv"))
        .filter(|column| PRIVILEGE_COLUMNS.iter().all(|(known, _)| known != column))
        .filter(|column| named.string(row, column) == "Y")
        .map(|column| format!("its privilege of the column {column}"))
        .collect();
    let mut attributes = attributes(named, row, &more);
    if let Some(changed) = named.text(row, "password_last_changed") {
        attributes.insert(Attribute::PasswordMark, password_mark(&changed, &plugin, &auth));
    }
    AccountDefinition {
        account: named.account(row),
        plugin,
        auth: AuthString(auth),
        has_more_secrets: more.get("additional_password").is_some()
            || more.get("multi_factor_authentication").is_some(),
        attributes,
        grants,
        unknown,
    }
}

/// Marks a password by when it was changed and 16 bits of a digest: the server's time has whole seconds, and a password can be
/// changed twice in one (an account is created, then given its password). More bits would help to guess it.
fn password_mark(changed: &str, plugin: &str, auth: &[u8]) -> String {
    let digest = Sha256::new().chain_update(plugin).chain_update([0]).chain_update(auth).finalize();
    format!("{changed} {:02x}{:02x}", digest[0], digest[1])
}

fn attributes(named: &Named, row: &TextRow, more: &Value) -> BTreeMap<Attribute, String> {
    let mut attributes = BTreeMap::new();
    let literal = |column: &str| quote::string_literal(&named.string(row, column));
    let require = match named.string(row, "ssl_type").as_str() {
        "ANY" => "REQUIRE SSL".to_owned(),
        "X509" => "REQUIRE X509".to_owned(),
        "SPECIFIED" => {
            let parts: Vec<String> =
                [("CIPHER", "ssl_cipher"), ("ISSUER", "x509_issuer"), ("SUBJECT", "x509_subject")]
                    .into_iter()
                    .filter(|(_, column)| !named.string(row, column).is_empty())
                    .map(|(word, column)| format!("{word} {}", literal(column)))
                    .collect();
            format!("REQUIRE {}", parts.join(" AND "))
        }
        _ => "REQUIRE NONE".to_owned(),
    };
    attributes.insert(Attribute::Require, require);
    let limits: Vec<String> = [
        ("MAX_QUERIES_PER_HOUR", "max_questions"),
        ("MAX_UPDATES_PER_HOUR", "max_updates"),
        ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
        ("MAX_USER_CONNECTIONS", "max_user_connections"),
    ]
    .into_iter()
    .map(|(word, column)| format!("{word} {}", named.text(row, column).unwrap_or_else(|| "0".into())))
    .collect();
    attributes.insert(Attribute::Limits, format!("WITH {}", limits.join(" ")));
    if let Some(locked) = named.text(row, "account_locked") {
        let word = if locked == "Y" { "ACCOUNT LOCK" } else { "ACCOUNT UNLOCK" };
        attributes.insert(Attribute::Lock, word.to_owned());
    }
    let expired = if named.string(row, "password_expired") == "Y" { "PASSWORD EXPIRE" } else { "" };
    attributes.insert(Attribute::Expired, expired.to_owned());
    if named.index("password_lifetime").is_some() {
        attributes.insert(
            Attribute::Lifetime,
            match named.text(row, "password_lifetime").as_deref() {
                None => "PASSWORD EXPIRE DEFAULT".to_owned(),
                Some("0") => "PASSWORD EXPIRE NEVER".to_owned(),
                Some(days) => format!("PASSWORD EXPIRE INTERVAL {days} DAY"),
            },
        );
    }
    if named.index("password_require_current").is_some() {
        let or_default = |column: &str| named.text(row, column);
        let history = or_default("password_reuse_history").unwrap_or_else(|| "DEFAULT".into());
        let reuse =
            or_default("password_reuse_time").map_or_else(|| "DEFAULT".into(), |days| format!("{days} DAY"));
        let current = match or_default("password_require_current").as_deref() {
            Some("Y") => "",
            Some(_) => " OPTIONAL",
            None => " DEFAULT",
        };
        attributes.insert(
            Attribute::PasswordRules,
            format!(
                "PASSWORD HISTORY {history} PASSWORD REUSE INTERVAL {reuse} PASSWORD REQUIRE CURRENT{current}"
            ),
        );
    }
    if named.index("user_attributes").is_some() {
        let locking = &more["Password_locking"];
        let attempts = locking["failed_login_attempts"].as_i64().unwrap_or(0);
        let days = match locking["password_lock_time_days"].as_i64().unwrap_or(0) {
            -1 => "UNBOUNDED".to_owned(),
            days => days.to_string(),
        };
        attributes.insert(
            Attribute::LoginAttempts,
            format!("FAILED_LOGIN_ATTEMPTS {attempts} PASSWORD_LOCK_TIME {days}"),
        );
        if let Some(notes) = more.get("metadata") {
            attributes
                .insert(Attribute::Notes, format!("ATTRIBUTE {}", quote::string_literal(&notes.to_string())));
        }
    }
    attributes
}
