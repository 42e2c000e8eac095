//! The program with a home of its own, and servers for it.
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dts_testbed::shop::{SOURCE_GRANTS, TARGET_GRANTS};
use dts_testbed::{Server, ServerOptions, Version};
use serde_json::Value;

/// How long anything may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program with a home and a working folder of its own.
pub(crate) struct Dts {
    folder: tempfile::TempDir,
}

/// What the program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Returns the one JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit status.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl Dts {
    pub(crate) fn new() -> Self {
        Dts { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the path of a file in the working folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the working folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dts"));
        command.args(args).current_dir(self.folder.path()).env("DTS_HOME", self.path("home"));
        command.env_remove("DTS_SOURCE_PASSWORD").env_remove("DTS_TARGET_PASSWORD").stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let ended = self.start(args).end();
        // For people, and for the documents that show real output.
        if std::env::var_os("DTS_ECHO").is_some() && !args.contains(&"--json") {
            eprintln!("$ dts {}\n{}{}", args.join(" "), ended.out, ended.err);
        }
        ended
    }

    /// Starts the program.
    #[track_caller]
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running::new(child)
    }

    /// Returns the status of a task.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> Value {
        self.run(&["status", name, "--json"]).ends_with(0).json()
    }

    /// Waits until the task's status is as wanted.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.run(&["status", name, "--json"]);
            if ended.code == 0 && wanted(&ended.json()) {
                return ended.json();
            }
            assert!(Instant::now() < deadline, "the status never became as wanted: {ended:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A program that was started. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    out: Printed,
    err: Printed,
}

/// What was printed so far, and the thread that reads on.
type Printed = (Arc<Mutex<String>>, Option<JoinHandle<()>>);

fn collect(stream: impl Read + Send + 'static) -> Printed {
    let text = Arc::new(Mutex::new(String::new()));
    let printed = text.clone();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let mut text = printed.lock().unwrap();
            text.push_str(&line.unwrap());
            text.push('\n');
        }
    });
    (text, Some(reader))
}

impl Running {
    pub(crate) fn new(mut child: Child) -> Self {
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        Running { child, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, for example `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until this was printed to stderr.
    #[track_caller]
    pub(crate) fn wait_for_note(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.err.0.lock().unwrap().contains(text) {
            assert!(Instant::now() < deadline, "'{text}' is not in: {}", self.err.0.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end: {}", self.err.0.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        };
        let text = |printed: &mut Printed| {
            printed.1.take().unwrap().join().unwrap();
            printed.0.lock().unwrap().clone()
        };
        Ended { code: status.code().unwrap_or(-1), out: text(&mut self.out), err: text(&mut self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A 5.6 set up like an RDS instance, a 9.7, and an account on each.
pub(crate) struct Pair {
    pub(crate) source: Server,
    pub(crate) target: Server,
}

pub(crate) const PASSWORD: &str = "s3cret-$'\"";

impl Pair {
    pub(crate) fn start() -> Self {
        let (source, target) = std::thread::scope(|scope| {
            let source =
                scope.spawn(|| Server::start(ServerOptions::new(Version::Mysql56).rds_like()).unwrap());
            let options = ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1");
            let target = Server::start(options).unwrap();
            (source.join().unwrap(), target)
        });
        source.create_account("dts", PASSWORD, &SOURCE_GRANTS);
        target.create_account("dts", PASSWORD, &TARGET_GRANTS);
        Pair { source, target }
    }

    /// Writes the task file `shop.toml` of the task `shop`, with further sections.
    pub(crate) fn task(&self, dts: &Dts, sections: &str) -> PathBuf {
        dts.write("password", PASSWORD);
        dts.write("shop.toml", &task_file(self.source.port(), self.target.port(), sections))
    }

    /// Returns whether dts has left anything on the target.
    pub(crate) fn target_is_untouched(&self) -> bool {
        self.target.query_one::<u64>(
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ('__dts__', 'shop')",
        ) == 0
    }
}

/// Returns a task file of the task `shop`. The password comes from the file `password` beside it.
pub(crate) fn task_file(source: u16, target: u16, sections: &str) -> String {
    let end = |port| {
        format!(
            "kind = \"mysql\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"dts\"\npassword = {{ file = \"password\" }}\n"
        )
    };
    format!(
        "[task]\nname = \"shop\"\n[source]\n{}[target]\n{}[objects]\ndatabases = [\"shop\"]\n{sections}",
        end(source),
        end(target)
    )
}

/// Returns the path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the seed of a test and prints it; `DTS_SEED` gives one.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("DTS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 1);
    eprintln!("DTS_SEED={seed}");
    seed
}
