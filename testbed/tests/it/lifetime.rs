//! Servers end with the value and with the process, and not before.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dts_testbed::{Server, ServerOptions, Version};

/// Returns whether a process exists and is not just waiting to be reaped.
fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `dts-testbed start` and returns it with what it says about its server.
fn run_binary(version: Version) -> (Child, u32, PathBuf) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dts-testbed"))
        .args(["start", version.slug()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let field = |name: &str| {
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in '{line}'")).to_owned()
    };
    (child, field("pid=").parse().unwrap(), PathBuf::from(field("socket=")))
}

#[test]
fn a_killed_parent_takes_its_server_along() {
    for version in Version::ALL {
        let (mut parent, pid, socket) = run_binary(version);
        assert!(is_alive(pid));
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_until("the server dies with its parent", || !is_alive(pid));

        // What it left behind is removed by the next process that starts a server.
        let folder = socket.parent().unwrap();
        assert!(folder.is_dir());
        let (mut next, pid, _) = run_binary(Version::Mariadb1011);
        assert!(
            !folder.is_dir() || Path::new(&folder).join("data").is_dir(),
            "abandoned folder is still there"
        );
        drop(next.stdin.take());
        assert!(next.wait().unwrap().success());
        assert!(!is_alive(pid));
    }
}

#[test]
fn an_interrupt_stops_the_binary_cleanly() {
    let (mut parent, pid, socket) = run_binary(Version::Mysql56);
    Command::new("kill").args(["-INT", &parent.id().to_string()]).status().unwrap();
    assert!(parent.wait().unwrap().success());
    assert!(!is_alive(pid));
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it_and_dies_with_its_value() {
    let server =
        std::thread::spawn(|| Server::start(ServerOptions::new(Version::Mysql56)).unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.query_one::<u8>("SELECT 1"), 1);
    let (pid, folder) = (server.pid(), server.socket().parent().unwrap().to_owned());
    drop(server);
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}
