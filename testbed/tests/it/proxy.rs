//! Faults, seen by a plain echo server and by a MySQL client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dts_testbed::{Proxy, Server, ServerOptions, Version};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

/// Starts a server that sends everything back.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    addr
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<()> {
    stream.write_all(text)?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, text);
    Ok(())
}

#[test]
fn latency_delays_but_does_not_slow_down() {
    let proxy = Proxy::start(echo_server());
    let mut stream = connect(&proxy);
    echo(&mut stream, b"warm").unwrap();
    proxy.set_latency(Duration::from_millis(50));
    let begun = Instant::now();
    echo(&mut stream, b"ping").unwrap();
    let round_trip = begun.elapsed();
    assert!(round_trip >= Duration::from_millis(100), "{round_trip:?}");
    assert!(round_trip < Duration::from_millis(400), "{round_trip:?}");

    // 8 MiB are hundreds of chunks; delayed one after the other they would take half a minute.
    let sender = stream.try_clone().unwrap();
    let begun = Instant::now();
    let writer = std::thread::spawn(move || (&sender).write_all(&vec![7; 8 << 20]).unwrap());
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    while received < 8 << 20 {
        received += stream.read(&mut buffer).unwrap();
    }
    writer.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(proxy.client_bytes(), 8 + (8 << 20));
}

#[test]
fn a_narrow_link_is_shared_by_its_connections() {
    let proxy = Proxy::start(echo_server());
    proxy.set_bytes_per_second(1 << 20);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| echo(&mut connect(&proxy), &vec![7; 64 << 10]).unwrap());
        }
    });
    // Two times 64 KiB, there and back: a quarter of a second of this link, and no less.
    assert!(begun.elapsed() >= Duration::from_millis(245), "{:?}", begun.elapsed());
}

#[test]
fn a_cut_is_a_reset_and_new_connections_work() {
    let proxy = Proxy::start(echo_server());
    let mut stream = connect(&proxy);
    echo(&mut stream, b"ping").unwrap();
    proxy.cut();
    let error = stream.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    echo(&mut connect(&proxy), b"ping").unwrap();
    assert_eq!(proxy.accepted_count(), 2);
}

#[test]
fn refusing_leaves_present_connections_alone() {
    let proxy = Proxy::start(echo_server());
    let mut present = connect(&proxy);
    echo(&mut present, b"ping").unwrap();
    proxy.refuse(true);
    assert!(echo(&mut connect(&proxy), b"ping").is_err());
    echo(&mut present, b"ping").unwrap();
    proxy.refuse(false);
    echo(&mut connect(&proxy), b"ping").unwrap();
}

#[test]
fn hanging_holds_bytes_back_until_it_ends() {
    let proxy = Proxy::start(echo_server());
    let mut stream = connect(&proxy);
    echo(&mut stream, b"ping").unwrap();
    proxy.hang(true);
    stream.write_all(b"held").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(stream.read(&mut [0; 8]).is_err());
    proxy.hang(false);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"held");
    // A hanging connection can still be cut.
    proxy.hang(true);
    stream.write_all(b"lost").unwrap();
    proxy.cut();
    assert!(stream.read(&mut [0; 8]).is_err());
}

#[test]
fn cuts_after_so_many_bytes() {
    let proxy = Proxy::start(echo_server());
    let mut stream = connect(&proxy);
    proxy.cut_after_client_bytes(6);
    echo(&mut stream, b"1234").unwrap();
    assert!(!proxy.has_triggered());
    stream.write_all(b"5678").unwrap();
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_err());
    assert!(proxy.has_triggered());
    assert_eq!(proxy.client_bytes(), 6);
}

#[test]
fn a_closed_connection_is_closed_on_the_other_side() {
    let proxy = Proxy::start(echo_server());
    let mut stream = connect(&proxy);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last words");
}

#[test]
fn a_commit_is_done_or_not_done_when_its_answer_is_lost() {
    let server = Server::start(ServerOptions::new(Version::Mysql97)).unwrap();
    server.exec("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)");
    let proxy = Proxy::start(server.addr());
    let is_commit = |bytes: &[u8]| bytes.ends_with(b"COMMIT");
    let insert_and_commit = |id: u32| {
        let opts = OptsBuilder::new()
            .user(Some("root"))
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(proxy.port())
            .prefer_socket(false);
        let mut conn = Conn::new(opts).unwrap();
        conn.query_drop("BEGIN").unwrap();
        conn.query_drop(format!("INSERT INTO d.t VALUES ({id})")).unwrap();
        conn.query_drop("COMMIT")
    };
    proxy.cut_when(is_commit);
    assert!(insert_and_commit(1).is_err());
    proxy.cut_before(is_commit);
    assert!(insert_and_commit(2).is_err());
    assert!(proxy.has_triggered());
    insert_and_commit(3).unwrap();
    assert_eq!(server.query::<u32>("SELECT id FROM d.t ORDER BY id"), [1, 3]);
}
