//! May the accounts do what they must, and what is said when a server cannot be reached at all.
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use dts_core::source::SourceOptions;
use dts_core::target::TargetOptions;
use dts_core::validator::{EndpointKind, Item, ItemResult};
use dts_core::wire::{ConnectionOptions, Secret, TlsMode};
use dts_testbed::{ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::validate::{
    PASSWORD, READER_GRANTS, SHOP, WRITER_GRANTS, at, connection, expect, one, options, start, transform,
    validate,
};

#[test]
fn privileges() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec("CREATE TABLE shop.keyless (a INT)");
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    source.create_account("reader", PASSWORD, &["REPLICATION SLAVE ON *.*", "SELECT ON `shop`.*"]);
    let mut options = options(connection(&source, "reader"), connection(&target, "dts"));
    let missing = one(&options, "source_privileges", ItemResult::Fail);
    assert_eq!(
        missing.fix,
        "GRANT PROCESS, REPLICATION CLIENT, SHOW_ROUTINE ON *.* TO 'reader'@'%';\n\
         GRANT SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON `shop`.* TO 'reader'@'%';"
    );
    // The statements are right as they are.
    source.exec(&missing.fix);
    one(&options, "source_privileges", ItemResult::Pass);
    // Tables of one database, granted one by one; a role; a partial revoke.
    source.create_account(
        "narrow",
        PASSWORD,
        &["PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.*", "SELECT, SHOW VIEW ON shop.orders"],
    );
    options.source = SourceOptions::new(connection(&source, "narrow"));
    options.transform = transform(&[], &["shop.orders", "shop.customers"], &[]);
    let missing = one(&options, "source_privileges", ItemResult::Fail);
    assert_eq!(
        missing.fix,
        "GRANT SELECT, SHOW VIEW, TRIGGER ON `shop`.`customers` TO 'narrow'@'%';\n\
         GRANT TRIGGER ON `shop`.`orders` TO 'narrow'@'%';"
    );
    source.exec(
        "CREATE ROLE r; GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON *.* TO r; GRANT r TO narrow",
    );
    one(&options, "source_privileges", ItemResult::Fail);
    source.exec("SET DEFAULT ROLE r TO narrow");
    options.transform = transform(&["shop"], &[], &[]);
    one(&options, "source_privileges", ItemResult::Pass);
    source.exec("SET GLOBAL partial_revokes = ON; REVOKE SELECT ON shop.* FROM r");
    let missing = one(&options, "source_privileges", ItemResult::Fail);
    assert_eq!(
        missing.fix,
        "GRANT SHOW_ROUTINE ON *.* TO 'narrow'@'%';\nGRANT SELECT ON `shop`.* TO 'narrow'@'%';"
    );
    source.exec("GRANT SELECT ON shop.* TO r; SET GLOBAL partial_revokes = OFF");
    one(&options, "source_privileges", ItemResult::Pass);
    source.exec("GRANT INSERT ON shop.* TO narrow");
    one(&options, "source_privileges", ItemResult::Warn);

    // An account that sees nothing is told what to ask for, not only that the database is missing.
    source.create_account("blind", PASSWORD, &[]);
    options.source = SourceOptions::new(connection(&source, "blind"));
    let report = validate(&options);
    expect(&report, "objects_exist", ItemResult::Fail);
    let missing = expect(&report, "source_privileges", ItemResult::Fail);
    assert!(missing.fix.contains("ON `shop`.* TO 'blind'@'%'"), "{missing:#?}");

    target.create_account("writer", PASSWORD, &["PROCESS ON *.*", "ALL PRIVILEGES ON `shop`.*"]);
    options.source = SourceOptions::new(connection(&source, "reader"));
    options.target = TargetOptions::new(connection(&target, "writer"));
    let missing = one(&options, "target_privileges", ItemResult::Fail);
    assert_eq!(
        missing.fix,
        "GRANT SHOW DATABASES ON *.* TO 'writer'@'%';\n\
         GRANT ALTER, CREATE, DELETE, DROP, INDEX, INSERT, LOCK TABLES, SELECT, UPDATE ON `\\_\\_dts\\_\\_`.* TO 'writer'@'%';"
    );
    target.exec(&missing.fix);
    one(&options, "target_privileges", ItemResult::Pass);
}

#[test]
fn a_source_that_cannot_be_reached() {
    let target = start(ServerOptions::new(Version::Mysql97));
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let reaching = |source: ConnectionOptions| -> Item {
        let mut options = options(source, connection(&target, "dts"));
        options.source_kind = EndpointKind::AliyunRds;
        options.item_deadline = Duration::from_secs(3);
        let start = Instant::now();
        let report = validate(&options);
        assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
        expect(&report, "target_connect", ItemResult::Pass);
        for blocked in
            ["same_server", "version", "log_bin", "source_privileges", "objects_exist", "target_conflict"]
        {
            let item = expect(&report, blocked, ItemResult::Blocked);
            assert!(item.message.contains("source_connect"), "{item:#?}");
        }
        expect(&report, "source_connect", ItemResult::Fail)
    };
    let of_nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let refused = reaching(at("127.0.0.1", of_nobody, "dts"));
    assert!(refused.actual.contains("refuses"), "{refused:#?}");
    let unknown = reaching(at("no-such-host.invalid", 3306, "dts"));
    assert!(unknown.actual.contains("no-such-host.invalid"), "{unknown:#?}");
    // A wrong password: the server's text shows the host that it sees.
    let mut wrong = connection(&target, "dts");
    wrong.password = Secret::new("wrong");
    let denied = reaching(wrong);
    assert!(denied.actual.contains("127.0.0.1") && denied.actual.contains("1045"), "{denied:#?}");
    // Something that is not MySQL, and something that says nothing.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other_port = other.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in other.incoming().flatten() {
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\nand more of it, so that a packet is whole\r\n");
            thread::sleep(Duration::from_millis(200));
        }
    });
    let wrong_port = reaching(at("127.0.0.1", other_port, "dts"));
    assert!(wrong_port.fix.contains("source.port"), "{wrong_port:#?}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = reaching(at("127.0.0.1", silent.local_addr().unwrap().port(), "dts"));
    assert!(silence.actual.contains("does not answer"), "{silence:#?}");

    // A whitelist that drops packets: an address whose queue of connections is full answers to none.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> =
        (0..4).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200))).collect();
    let dropped = reaching(at("127.0.0.1", address.port(), "dts"));
    assert!(dropped.actual.contains("no answer from") && dropped.fix.contains("Whitelist"), "{dropped:#?}");
    assert!(dropped.message.contains("from local address 127.0.0.1"), "{dropped:#?}");

    // TLS that is asked for and not there, or not trusted.
    let old = start(ServerOptions::new(Version::Mysql56));
    old.create_account("dts", PASSWORD, &[READER_GRANTS]);
    let mut demanding = connection(&old, "dts");
    demanding.tls.mode = TlsMode::Required;
    let plain = reaching(demanding);
    assert!(plain.actual.contains("no TLS") && plain.fix.contains("tls.mode"), "{plain:#?}");
    let mut distrustful = connection(&target, "dts");
    distrustful.tls.mode = TlsMode::VerifyCa;
    let untrusted = reaching(distrustful);
    assert!(untrusted.actual.contains("no TLS") && !untrusted.fix.is_empty(), "{untrusted:#?}");

    // A server that has no account for this host at all: what RDS answers to who is not in its whitelist.
    old.exec("DROP USER dts; DELETE FROM mysql.user WHERE Host IN ('127.0.0.1', '::1'); FLUSH PRIVILEGES");
    let not_let_in = reaching(connection(&old, "dts"));
    assert!(
        not_let_in.actual.contains("127.0.0.1") && not_let_in.actual.contains("let this host in"),
        "{not_let_in:#?}"
    );
    assert!(not_let_in.fix.contains("Whitelist"), "{not_let_in:#?}");
}

/// Which grants count is the server's business: what the validator says is compared with what the server lets be done.
#[test]
fn grants_count_as_the_server_counts_them() {
    let target = start(ServerOptions::new(Version::Mysql97));
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    for version in [Version::Mysql56, Version::Mysql97, Version::Mariadb1011] {
        let source = start(ServerOptions::new(version));
        source.exec("CREATE DATABASE my_shop; CREATE TABLE my_shop.t (id INT PRIMARY KEY, b INT)");
        let replication =
            if version == Version::Mariadb1011 { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
        let global = format!("PROCESS, REPLICATION SLAVE, {replication} ON *.*");
        let all = "SELECT, SHOW VIEW, TRIGGER, EVENT";
        let mut options = options(connection(&source, "u"), connection(&target, "dts"));
        options.transform = transform(&["my_shop"], &[], &[]);
        options.routines = false;
        for grants in [
            vec![format!("{all} ON `my%`.*")],
            // The more specific one hides the others, whatever it grants.
            vec![format!("{all} ON `my%`.*"), "INSERT ON `my\\_shop`.*".to_owned()],
            vec![format!("{all} ON `%`.*"), "SELECT ON `my%`.*".to_owned()],
            vec!["SELECT ON `my%`.*".to_owned(), format!("{all} ON `my_sh%`.*")],
            vec![format!("{all} ON `my\\_shop`.*"), "INSERT ON `my%`.*".to_owned()],
            vec!["ALL PRIVILEGES ON `my_shop`.*".to_owned()],
            vec![format!("{all} ON `other`.*")],
            vec!["SELECT (id), INSERT ON my_shop.t".to_owned()],
        ] {
            let mut lines: Vec<&str> = grants.iter().map(String::as_str).collect();
            lines.push(&global);
            source.create_account("u", PASSWORD, &lines);
            let may_select = || source.conn("u", PASSWORD).query_drop("SELECT * FROM my_shop.t").is_ok();
            let mut look = options.clone();
            look.only = Some(vec!["source_privileges".into()]);
            let item = validate(&look).items.remove(0);
            // Of all that is needed only SELECT can be tried without a trace.
            let says_select = !(item.actual.starts_with("missing") && item.actual.contains("SELECT"));
            assert_eq!(says_select, may_select(), "{version} {grants:?}: {item:#?}");
            if item.result == ItemResult::Fail {
                source.exec(&item.fix);
                let mended = validate(&look).items.remove(0);
                assert_ne!(mended.result, ItemResult::Fail, "{version} {grants:?}: {mended:#?}");
                assert!(may_select(), "{version} {grants:?}");
            }
            source.exec("DROP USER u");
        }
    }
}

/// Roles and partial revokes change which grants count.
#[test]
fn roles_and_revokes_count_as_the_server_counts_them() {
    let server = start(ServerOptions::new(Version::Mysql97));
    server.exec("CREATE DATABASE my_shop; CREATE TABLE my_shop.t (id INT PRIMARY KEY, b INT); CREATE ROLE r; CREATE DATABASE copy");
    server.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&server, "u"), connection(&server, "dts"));
    options.transform = transform(&["my_shop"], &[], &[]);
    options.routines = false;
    options.only = Some(vec!["source_privileges".into()]);
    let global = "PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.*";
    for (of_role, of_user, partial) in [
        ("SELECT, SHOW VIEW, TRIGGER, EVENT ON `my%`.*", "INSERT ON `my\\_shop`.*", false),
        ("INSERT ON `my\\_shop`.*", "SELECT, SHOW VIEW, TRIGGER, EVENT ON `my%`.*", false),
        ("SELECT, SHOW VIEW, TRIGGER, EVENT ON `my%`.*", "SELECT ON `%`.*", false),
        ("SELECT, SHOW VIEW, TRIGGER, EVENT ON `my_shop`.*", "SELECT ON `other`.*", true),
        ("SELECT, SHOW VIEW, TRIGGER, EVENT ON `my%`.*", "SELECT ON `other`.*", true),
    ] {
        server.exec(&format!("SET GLOBAL partial_revokes = {}", if partial { "ON" } else { "OFF" }));
        server.create_account("u", PASSWORD, &[global, of_user]);
        server.exec(&format!("GRANT {of_role} TO r; GRANT r TO u; SET DEFAULT ROLE r TO u"));
        let may_select = || server.conn("u", PASSWORD).query_drop("SELECT * FROM my_shop.t").is_ok();
        let item = validate(&options).items.remove(0);
        let says_select = !(item.actual.starts_with("missing") && item.actual.contains("SELECT"));
        assert_eq!(says_select, may_select(), "{of_role}; {of_user}; {partial}: {item:#?}");
        if item.result == ItemResult::Fail {
            server.exec(&item.fix);
            let mended = validate(&options).items.remove(0);
            assert_ne!(mended.result, ItemResult::Fail, "{of_role}; {of_user}; {partial}: {mended:#?}");
            assert!(may_select(), "{of_role}; {of_user}; {partial}");
        }
        server.exec("DROP USER u; DROP ROLE r; SET GLOBAL partial_revokes = OFF; CREATE ROLE r");
    }
}
