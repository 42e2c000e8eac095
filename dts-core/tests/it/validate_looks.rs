//! What no setting tells and the validator finds by looking: several servers behind one address, a log that is purged early,
//! rows that are too long.
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use dts_core::source::SourceOptions;
use dts_core::validator::ItemResult::{Fail, Pass, Warn};
use dts_testbed::{ServerOptions, Version};

use crate::validate::{
    PASSWORD, READER_GRANTS, SHOP, WRITER_GRANTS, at, connection, one, options, start, transform,
};

/// An address that leads to each of the servers in turn, connection by connection. Lives until the test program ends.
fn balancer(servers: [SocketAddr; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (client, server) in listener.incoming().zip(servers.into_iter().cycle()) {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let ways = [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
            for (mut from, mut to) in ways {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn what_only_a_look_tells() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    for server in [&source, &target] {
        server.create_account("dts", PASSWORD, &[READER_GRANTS, WRITER_GRANTS, "XA_RECOVER_ADMIN ON *.*"]);
    }
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));

    // One address, two servers; with a way of its own for every connection the first two already differ.
    one(&options, "source_is_primary", Pass);
    let mut balanced = options.clone();
    balanced.source = SourceOptions::new(at("127.0.0.1", balancer([source.addr(), target.addr()]), "dts"));
    let found = one(&balanced, "source_is_primary", Fail);
    assert!(found.actual.contains("several servers"), "{found:#?}");

    // Nothing was ever purged, so only the setting counts; then everything but the newest file is.
    source.exec("RESET BINARY LOGS AND GTIDS");
    one(&options, "binlog_retention", Pass);
    source.exec("FLUSH BINARY LOGS; FLUSH BINARY LOGS");
    one(&options, "binlog_retention", Pass);
    let logs: Vec<(String, u64, String)> = source.query("SHOW BINARY LOGS");
    source.exec(&format!("PURGE BINARY LOGS TO '{}'", logs.last().unwrap().0));
    let purged = one(&options, "binlog_retention", Warn);
    assert!(purged.actual.contains("0.0 h old"), "{purged:#?}");

    // Rows of megabytes: at both ends of the key, and without a key. Averages would not show them.
    source.exec(
        "CREATE DATABASE files; CREATE TABLE files.f (id INT PRIMARY KEY, t LONGTEXT, b MEDIUMBLOB); INSERT INTO files.f VALUES (1, 'a', \
         'b'), (2, NULL, NULL), (3, REPEAT('t', 3000000), REPEAT('b', 2500000)); CREATE TABLE files.keyless (d JSON)",
    );
    options.transform = transform(&["files"], &[], &[]);
    one(&options, "max_allowed_packet", Pass);
    target.exec("SET GLOBAL max_allowed_packet = 8388608");
    source.exec("SET GLOBAL max_allowed_packet = 8388608");
    let tight = one(&options, "max_allowed_packet", Warn);
    assert_eq!(tight.objects, ["files.f"]);
    assert!(tight.message.contains("up to 5.2 MiB"), "{tight:#?}");
    target.exec("SET GLOBAL max_allowed_packet = 5242880");
    let too_long = one(&options, "max_allowed_packet", Fail);
    assert!(too_long.objects == ["files.f"] && too_long.fix.contains("11000000"), "{too_long:#?}");
    // A table that may not be read tells nothing, and harms nothing.
    source.exec("SET GLOBAL max_allowed_packet = 67108864; SET GLOBAL partial_revokes = ON; REVOKE SELECT ON files.* FROM dts");
    target.exec("SET GLOBAL max_allowed_packet = 67108864");
    one(&options, "max_allowed_packet", Pass);
}
