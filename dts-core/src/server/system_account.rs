//! Accounts that belong to a server or to the service that runs it: never an application's.

const NAMES: [&str; 16] = [
    "aliyun_root",
    "replicator",
    "aurora",
    "aurora_proxy",
    "mysql",
    "tencentroot",
    "xtrabak",
    "xdb",
    "rdsadmin",
    "mariadb.sys",
    "mysql.sys",
    "mysql.session",
    "mysql.infoschema",
    "event_scheduler",
    "cdb_kill_user_extra",
    "PUBLIC",
];

/// Returns whether an account of this name belongs to the server or the service. `root` does not: applications use it, too.
pub(crate) fn is_system_account(user: &str) -> bool {
    NAMES.contains(&user)
}
