//! Servers that hide settings, or say what none of the test servers says, behind a proxy that changes the validator's questions.
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use dts_core::target::TargetOptions;
use dts_core::validator::EndpointKind;
use dts_core::validator::ItemResult::{Fail, Pass, Warn};
use dts_core::wire::{ConnectionOptions, TlsMode};
use dts_testbed::{ServerOptions, Version};

use crate::validate::{
    PASSWORD, RDS_GRANTS, READER_GRANTS, SHOP, WRITER_GRANTS, at, connection, expect, item, one, options,
    start, transform, validate,
};

/// Passes connections on and puts `to` for `from` in every statement. Lives until the test program ends.
fn editor(server: SocketAddr, edits: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            thread::spawn(move || {
                let _ = edit_requests(client, &server, edits);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

fn edit_requests(mut client: TcpStream, mut server: &TcpStream, edits: &[(&str, &str)]) -> io::Result<()> {
    loop {
        let mut head = [0; 4];
        client.read_exact(&mut head)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        // A COM_QUERY is the first packet of its exchange; those of a login are not.
        if head[3] == 0 && body.first() == Some(&3) {
            let mut sql = String::from_utf8_lossy(&body[1..]).into_owned();
            for (from, to) in edits {
                sql = sql.replace(from, to);
            }
            body.truncate(1);
            body.extend_from_slice(sql.as_bytes());
        }
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        server.write_all(&[length[0], length[1], length[2], head[3]])?;
        server.write_all(&body)?;
    }
}

/// The way to a server through [`editor`].
pub(crate) fn edited(
    server: &dts_testbed::Server,
    edits: &'static [(&'static str, &'static str)],
) -> ConnectionOptions {
    let mut options = at("127.0.0.1", editor(server.addr(), edits), "dts");
    options.tls.mode = TlsMode::Disabled;
    options
}

/// As RDS's `rds_enable_shield_var` at its worst: nothing is shown. Nothing may pass for that.
#[test]
fn settings_that_are_hidden_are_unknown() {
    const SHIELD: &[(&str, &str)] = &[("SHOW GLOBAL VARIABLES", "SHOW GLOBAL VARIABLES WHERE 1 = 0")];
    let source = start(ServerOptions::new(Version::Mysql56).rds_like());
    let target = start(ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1"));
    source.exec(SHOP);
    source.exec(
        "CREATE TABLE shop.log (a INT) ENGINE=InnoDB; CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1; CREATE EVENT \
         shop.e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; SET sql_mode = ''; CREATE TABLE shop.zero (id INT PRIMARY KEY, d \
         DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00') ENGINE=InnoDB",
    );
    source.create_account("dts", PASSWORD, &[RDS_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(edited(&source, SHIELD), edited(&target, SHIELD));
    options.target_kind = EndpointKind::TencentDb;
    let report = validate(&options);
    for id in [
        "same_server",
        "server_id",
        "source_is_primary",
        "log_bin",
        "binlog_format",
        "binlog_row_image",
        "gtid_mode",
        "binlog_retention",
        "lower_case_table_names",
        "max_allowed_packet",
        "character_set_server",
        "collation_server",
        "sql_mode",
        "time_zone",
        "transaction_isolation",
        "connect_timeout",
        "explicit_defaults_for_timestamp",
        "local_infile",
        "innodb_stats_on_metadata",
        "sql_require_primary_key",
        "target_replication_async",
        "target_read_only",
        "target_session_settings",
        "event_scheduler",
        "log_bin_trust_function_creators",
        "upgrade.zero_dates",
    ] {
        let item = expect(&report, id, Warn);
        let says = [&item.actual, &item.message, &item.expected].map(|text| text.as_str()).join(" ");
        assert!(
            says.contains("unknown") || says.contains("hidden") || says.contains("refused"),
            "{id} does not say that it could not see: {item:#?}"
        );
    }
    // What does not rest on settings is looked at all the same.
    assert_eq!(item(&report, "upgrade.tables").result, Pass, "{:#?}", item(&report, "upgrade.tables"));
    expect(&report, "tables_without_key", Warn);
    expect(&report, "source_privileges", Warn);
}

/// One of several settings that decide is enough to leave it open.
#[test]
fn each_setting_that_is_hidden_counts() {
    const NO_SUPER: &[(&str, &str)] =
        &[("SHOW GLOBAL VARIABLES", "SHOW GLOBAL VARIABLES WHERE Variable_name <> 'super_read_only'")];
    let server = start(ServerOptions::new(Version::Mysql97));
    server.create_account("dts", PASSWORD, &[READER_GRANTS, WRITER_GRANTS]);
    let mut options = options(connection(&server, "dts"), edited(&server, NO_SUPER));
    let hidden = one(&options, "target_read_only", Warn);
    assert!(hidden.actual == "unknown" && hidden.message.contains("super_read_only"), "{hidden:#?}");
    options.target = TargetOptions::new(connection(&server, "dts"));
    one(&options, "target_read_only", Pass);
}

/// RDS hides `mysql.user` and shows a view of it.
#[test]
fn accounts_are_read_from_the_view_of_rds() {
    let source = start(ServerOptions::new(Version::Mysql56).rds_like());
    let target = start(ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1"));
    source.exec(SHOP);
    source.create_account("app", PASSWORD, &["SELECT ON shop.*"]);
    let narrow = RDS_GRANTS.replace("SELECT, INSERT", "INSERT");
    source.create_account("dts", PASSWORD, &[&narrow, "SELECT ON shop.*"]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.source_kind = EndpointKind::AliyunRds;
    options.accounts = true;
    let hidden = one(&options, "accounts_readable", Fail);
    assert!(hidden.fix.contains("GRANT SELECT"), "{hidden:#?}");
    assert_eq!(one(&options, "accounts", Warn).message, "accounts_readable failed");
    assert_eq!(one(&options, "upgrade.auth_methods", Warn).actual, "unknown");
    source.exec(
        "CREATE VIEW mysql.user_view AS SELECT * FROM mysql.user; GRANT SELECT ON mysql.user_view TO dts",
    );
    let seen = one(&options, "accounts", Warn);
    assert!(
        seen.objects.iter().any(|account| account.starts_with("'app'@'%': degraded: locked")),
        "{seen:#?}"
    );
    assert!(one(&options, "upgrade.auth_methods", Warn).objects[0].contains("mysql_native_password"));
}

/// No server of 8.0.11 to 8.0.17 can be had: a 9.7 says that it is one.
#[test]
fn names_with_fts() {
    const OLD: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '8.0.17'")];
    const NEWER: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '8.0.18'")];
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec("CREATE DATABASE words; CREATE TABLE words.FTS_log (id INT PRIMARY KEY); CREATE TABLE words.fts (id INT PRIMARY KEY)");
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), edited(&target, OLD));
    one(&options, "upgrade.fts_in_table_name", Pass);
    options.transform = transform(&["words"], &[], &[]);
    let found = one(&options, "upgrade.fts_in_table_name", Warn);
    assert_eq!(found.objects, ["words.FTS_log"]);
    options.target = TargetOptions::new(edited(&target, NEWER));
    one(&options, "upgrade.fts_in_table_name", Pass);
    options.target = TargetOptions::new(connection(&target, "dts"));
    one(&options, "upgrade.fts_in_table_name", Pass);
}

/// Only a MariaDB with its plugin DISKS tells its free space, and few packages bring the plugin: a table of its shape stands in
/// for it.
#[test]
fn room_on_the_target() {
    const DISKS: &[(&str, &str)] = &[("information_schema.DISKS", "space.disks")];
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mariadb1011));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &["ALL PRIVILEGES ON *.*"]);
    target.exec(
        "CREATE DATABASE space; CREATE TABLE space.disks (Disk VARCHAR(99), Path VARCHAR(99), Total BIGINT, Used BIGINT, Available \
         BIGINT); INSERT INTO space.disks VALUES ('root', '/', 9, 9, 0)",
    );
    let mut options = options(connection(&source, "dts"), edited(&target, DISKS));
    options.target_kind = EndpointKind::MariaDb;
    let full = one(&options, "target_space", Fail);
    assert!(full.actual == "0 B free" && full.fix.contains("Free space"), "{full:#?}");
    // The disk of the data folder counts, not the one of the root.
    target.exec("INSERT INTO space.disks VALUES ('data', TRIM(TRAILING '/' FROM @@datadir), 9, 9, 1048576)");
    let roomy = one(&options, "target_space", Pass);
    assert_eq!(roomy.actual, "1.0 GiB free");
    // The source's statistics grow beyond that; and the server alone tells nothing.
    source.exec(
        "UPDATE mysql.innodb_table_stats SET n_rows = 1000, clustered_index_size = 100000 WHERE database_name = 'shop'; FLUSH TABLES",
    );
    one(&options, "target_space", Fail);
    options.ignore = vec!["target_space".into()];
    one(&options, "target_space", dts_core::validator::ItemResult::Ignored);
    options.target = TargetOptions::new(connection(&target, "dts"));
    options.ignore.clear();
    one(&options, "target_space", Warn);
}
