//! Connections: every way to log in and to encrypt, and what is said when it does not work.
use std::time::Duration;

use dts_core::error::{Code, Result, Side};
use dts_core::stop::StopToken;
use dts_core::wire::{Address, Connection, ConnectionOptions, Secret, TlsMode};
use dts_testbed::{Server, ServerOptions, Version};

const PASSWORD: &str = "p\u{e4}ss'w\\rd";

fn options(server: &Server, user: &str, password: &str, tls: TlsMode) -> ConnectionOptions {
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port() };
    let mut options = ConnectionOptions::new(address, user, Secret::new(password));
    options.tls.mode = tls;
    options
}

fn open(options: &ConnectionOptions) -> Result<Connection> {
    Connection::open(options, Side::Source, &StopToken::new())
}

fn answer(connection: &mut Connection) -> String {
    connection.query_row("SELECT 'it answers'", "asking").unwrap().unwrap().string(0)
}

#[test]
fn connect_to_9_7_in_every_way() {
    let server = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    server.exec(&format!(
        "CREATE USER sha@'%' IDENTIFIED BY '{}'",
        PASSWORD.replace('\\', "\\\\").replace('\'', "''")
    ));
    // First without TLS: the password goes encrypted with the server's key, and is cached afterwards.
    for mode in [TlsMode::Disabled, TlsMode::Disabled, TlsMode::Preferred, TlsMode::Required] {
        let mut connection = open(&options(&server, "sha", PASSWORD, mode)).unwrap();
        assert_eq!(connection.is_tls(), mode != TlsMode::Disabled, "{mode:?}");
        assert_eq!(answer(&mut connection), "it answers");
    }
    server.exec("FLUSH PRIVILEGES"); // Empties the cache: full authentication again, now inside TLS.
    open(&options(&server, "sha", PASSWORD, TlsMode::Required)).unwrap();
    server.exec("FLUSH PRIVILEGES");
    let mut socket = options(&server, "sha", PASSWORD, TlsMode::Preferred);
    socket.address = Address::Socket(server.socket().to_owned());
    assert_eq!(answer(&mut open(&socket).unwrap()), "it answers");

    let mut verified = options(&server, "sha", PASSWORD, TlsMode::VerifyCa);
    verified.tls.ca = Some(server.tls_ca_path());
    assert!(open(&verified).unwrap().is_tls());
    // The server's self-made certificate is for no host.
    verified.tls.mode = TlsMode::VerifyIdentity;
    assert_eq!(open(&verified).map(drop).unwrap_err().code(), Code(4004));
    let other = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    let mut wrong = options(&server, "sha", PASSWORD, TlsMode::VerifyCa);
    // Initialised data folders are clones, so that an authority of one's own must be made to differ.
    let strange = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(strange.path(), "no certificate").unwrap();
    wrong.tls.ca = Some(strange.path().to_owned());
    assert_eq!(open(&wrong).map(drop).unwrap_err().code(), Code(4004));
    drop(other);

    let refused = open(&options(&server, "sha", "wrong", TlsMode::Preferred)).map(drop).unwrap_err();
    assert_eq!((refused.code(), refused.server_error().unwrap().code), (Code(4003), 1045));
    assert!(!format!("{refused:?}").contains("wrong\""), "{refused:?}");
}

#[test]
fn connect_to_5_6_and_mariadb() {
    for version in [Version::Mysql56, Version::Mariadb1011] {
        let server = Server::start(ServerOptions::new(version)).unwrap();
        server.create_account("native", PASSWORD, &["SELECT ON *.*"]);
        for mode in [TlsMode::Disabled, TlsMode::Preferred] {
            let mut connection = open(&options(&server, "native", PASSWORD, mode)).unwrap();
            assert_eq!(answer(&mut connection), "it answers", "{version}");
        }
        let mut socket = options(&server, "native", PASSWORD, TlsMode::Disabled);
        socket.address = Address::Socket(server.socket().to_owned());
        socket.user = "root".into();
        socket.password = Secret::new("");
        assert_eq!(answer(&mut open(&socket).unwrap()), "it answers");
    }
}

/// A server that speaks only what no current library speaks is told apart from one that is not there.
#[test]
fn connect_to_a_server_with_old_tls() {
    let certificates = tempfile::tempdir().unwrap();
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-sha256", "-subj", "/CN=dts"])
        .args(["-keyout", &path("pkcs8.pem"), "-out", &path("cert.pem")])
        .output()
        .expect("openssl makes the certificate");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = std::process::Command::new("openssl")
        .args(["rsa", "-traditional", "-in", &path("pkcs8.pem"), "-out", &path("key.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = Server::start(
        ServerOptions::new(Version::Mysql56)
            .arg(format!("--ssl-ca={}", path("cert.pem")))
            .arg(format!("--ssl-cert={}", path("cert.pem")))
            .arg(format!("--ssl-key={}", path("key.pem"))),
    )
    .unwrap();
    assert_eq!(server.query_one::<(String, String)>("SHOW GLOBAL VARIABLES LIKE 'have_ssl'").1, "YES");
    let error = open(&options(&server, "root", "", TlsMode::Required)).map(drop).unwrap_err();
    assert_eq!(error.code(), Code(4004), "{error}");
    assert!(error.to_string().contains("TLS 1.0"), "{error}");
    assert!(error.hint().contains("tunnel"), "{}", error.hint());
    let mut plain = open(&options(&server, "root", "", TlsMode::Preferred)).unwrap();
    assert!(!plain.is_tls());
    assert_eq!(answer(&mut plain), "it answers");
}

#[test]
fn connect_says_what_is_wrong_with_the_address() {
    let mut nowhere =
        ConnectionOptions::new(Address::Tcp { host: "127.0.0.1".into(), port: 1 }, "root", Secret::default());
    assert_eq!(open(&nowhere).map(drop).unwrap_err().code(), Code(4002));
    nowhere.address = Address::Tcp { host: "no-such-host.invalid".into(), port: 3306 };
    assert_eq!(open(&nowhere).map(drop).unwrap_err().code(), Code(4001));
    nowhere.address = Address::Socket("/no/such/socket".into());
    assert_eq!(open(&nowhere).map(drop).unwrap_err().code(), Code(4002));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nowhere.address = Address::Tcp { host: "127.0.0.1".into(), port: silent.local_addr().unwrap().port() };
    nowhere.connect_timeout = Duration::from_millis(500);
    assert_eq!(open(&nowhere).map(drop).unwrap_err().code(), Code(4006));
}

/// After a timeout the next answer read would belong to the earlier question.
#[test]
fn connect_breaks_for_good() {
    let server = Server::start(ServerOptions::new(Version::Mysql56)).unwrap();
    let mut connection = open(&options(&server, "root", "", TlsMode::Disabled)).unwrap();
    connection.set_answer_timeout(Duration::from_millis(300));
    let error = connection.query("SELECT SLEEP(3)", "sleeping").map(drop).unwrap_err();
    assert_eq!(error.code(), Code(4006));
    assert!(connection.is_broken());
    assert_eq!(connection.query("SELECT 1", "asking").map(drop).unwrap_err().code(), Code(9001));

    let stop = StopToken::new();
    let mut connection =
        Connection::open(&options(&server, "root", "", TlsMode::Disabled), Side::Source, &stop).unwrap();
    let stopper = {
        let stop = stop.clone();
        std::thread::spawn(move || stop.stop())
    };
    assert!(connection.query("SELECT SLEEP(30)", "sleeping").map(drop).unwrap_err().is_interrupted());
    stopper.join().unwrap();
}

/// A row and a statement of 20 MB pass, and leave no giant buffer behind.
#[test]
fn connect_carries_giants() {
    let server = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    let mut connection = open(&options(&server, "root", "", TlsMode::Disabled)).unwrap();
    for length in [0xff_fffb_usize, 0xff_ffff, 0x100_0000, 20_000_000] {
        let text = "x".repeat(length);
        let row =
            connection.query_row(format!("SELECT '{text}', LENGTH('{text}')"), "asking").unwrap().unwrap();
        assert_eq!((row.bytes(0).unwrap().len(), row.u64(1)), (length, u64::try_from(length).ok()));
        assert_eq!(answer(&mut connection), "it answers");
    }
}
