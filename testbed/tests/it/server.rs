//! Starting, accounts, restarting.

use std::time::Instant;

use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

fn start(options: ServerOptions) -> Server {
    Server::start(options).unwrap_or_else(|error| panic!("{error}"))
}

fn starts(version: Version, expected: &str) {
    let begun = Instant::now();
    let server = start(ServerOptions::new(version));
    eprintln!("{version}: ready after {:.2} s", begun.elapsed().as_secs_f64());
    assert!(server.query_one::<String>("SELECT VERSION()").starts_with(expected));
    assert_eq!(server.query_one::<u16>("SELECT @@server_id"), server.port());
    assert_eq!(server.query_one::<String>("SELECT @@binlog_format"), "ROW");
    assert!(server.query_one::<bool>("SELECT @@local_infile"));
    assert_eq!(server.query_one::<u8>("SELECT COUNT(*) FROM mysql.user WHERE user = ''"), 0);

    // Root comes in over TCP too, and so does an account with the version's own authentication.
    assert_eq!(
        server.conn("root", "").query_first("SELECT CURRENT_USER()").unwrap(),
        Some("root@127.0.0.1".to_owned())
    );
    server.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (7)",
    );
    server.create_account("it's", "p'\\w", &["SELECT ON shop.*"]);
    let mut conn = server.conn("it's", "p'\\w");
    assert_eq!(conn.query_first("SELECT id FROM shop.t").unwrap(), Some(7));
    assert!(conn.query_drop("DELETE FROM shop.t").is_err());

    assert!(server.cpu_seconds() > 0.0);
    assert!(server.rss_kib() > 10_000);
}

#[test]
fn mysql56_starts() {
    starts(Version::Mysql56, "5.6.24");
}

#[test]
fn mysql97_starts() {
    starts(Version::Mysql97, "9.");
}

#[test]
fn mariadb_starts() {
    starts(Version::Mariadb1011, "10.11");
}

#[test]
fn two_servers_at_once_are_two_servers() {
    for version in [Version::Mysql56, Version::Mysql97] {
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| start(ServerOptions::new(version)));
            let two = scope.spawn(|| start(ServerOptions::new(version)));
            (one.join().unwrap(), two.join().unwrap())
        });
        let identity = |server: &Server| {
            server.query_one::<(String, u32, u16)>("SELECT @@server_uuid, @@server_id, @@port")
        };
        let (one, two) = (identity(&one), identity(&two));
        assert!(one.0 != two.0 && one.1 != two.1 && one.2 != two.2, "{one:?} {two:?}");
    }
}

#[test]
fn rds_like_56_has_the_settings_of_a_managed_service() {
    let server = start(ServerOptions::new(Version::Mysql56).rds_like().durable().buffer_pool_mib(64));
    let settings: (String, u8, String, String, u8, u64) = server.query_one(
        "SELECT @@gtid_mode, @@lower_case_table_names, @@character_set_server, @@tx_isolation, @@sync_binlog, \
         @@innodb_buffer_pool_size",
    );
    assert_eq!(settings, ("ON".into(), 1, "utf8".into(), "READ-COMMITTED".into(), 1, 64 << 20));
    // A new server has no history.
    assert_eq!(server.query_one::<String>("SELECT @@gtid_executed"), "");
}

#[test]
fn mysql97_has_gtids_tls_and_the_options_fixed_at_initialisation() {
    let server = start(ServerOptions::new(Version::Mysql97).arg("--lower_case_table_names=1"));
    let settings: (String, String, u8) =
        server.query_one("SELECT @@gtid_mode, @@gtid_executed, @@lower_case_table_names");
    assert_eq!(settings, ("ON".into(), String::new(), 1));
    assert!(server.tls_ca_path().is_file());
    let mut client = server.installation().client_program("mysql").expect("the client is in the packages");
    let output = client
        .args([
            "--no-defaults",
            "-uroot",
            "-h127.0.0.1",
            "--ssl-mode=VERIFY_CA",
            "-N",
            "-e",
            "SHOW STATUS LIKE 'Ssl_cipher'",
        ])
        .arg(format!("--port={}", server.port()))
        .arg(format!("--ssl-ca={}", server.tls_ca_path().display()))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("_"), "{output:?}");
}

#[test]
fn restarts_and_crashes_keep_data_and_port() {
    for version in Version::ALL {
        let mut server = start(ServerOptions::new(version));
        server.exec("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE = InnoDB; INSERT INTO d.t VALUES (1)");
        let port = server.port();
        server.restart();
        server.exec("INSERT INTO d.t VALUES (2)");
        server.kill();
        assert!(!server.is_running());
        server.restart();
        assert_eq!(server.query::<u32>("SELECT id FROM d.t ORDER BY id"), [1, 2], "{version}");
        assert_eq!(server.port(), port);
        server.restart_with(ServerOptions::new(version).arg("--max-connections=77"));
        assert_eq!(server.query_one::<u32>("SELECT @@max_connections"), 77);
    }
}

#[test]
fn a_failed_start_shows_the_error_log() {
    let error = Server::start(ServerOptions::new(Version::Mysql56).arg("--no-such-option")).unwrap_err();
    assert!(error.to_string().contains("unknown option '--no-such-option'"), "{error}");
}

#[test]
#[should_panic(expected = "SELECT nothing")]
fn an_error_in_a_later_statement_is_seen() {
    start(ServerOptions::new(Version::Mariadb1011)).exec("SELECT 1; SELECT nothing; SELECT 2");
}
