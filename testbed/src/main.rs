//! Test servers for people: `dts-testbed fetch` and `dts-testbed start mysql56`.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dts_testbed::{Chromium, Server, ServerOptions, TestbedError, Version};

const USAGE: &str = "\
usage: dts-testbed fetch
           obtain all servers and initialise a data folder of each, and the browser that looks at reports
       dts-testbed start mysql56|mysql97|mariadb [--rds-like] [--durable] [--port N] [--arg SERVER_OPTION]...
           run one server until Ctrl-C or the end of standard input; root has no password";

/// Set by the signal handler.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["fetch"] => fetch(),
        ["start", rest @ ..] => match parse_start(rest) {
            Some(options) => start(options),
            None => return usage(),
        },
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("dts-testbed: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn fetch() -> Result<(), TestbedError> {
    for version in Version::ALL {
        let begun = Instant::now();
        let server = Server::start(ServerOptions::new(version))?;
        println!(
            "{version}: {} ({:.1} s)",
            server.installation().full_version(),
            begun.elapsed().as_secs_f64()
        );
    }
    Chromium::obtain()?;
    println!("Chromium: it shows pages");
    Ok(())
}

fn parse_start(words: &[&str]) -> Option<ServerOptions> {
    let (name, mut rest) = words.split_first()?;
    let version = Version::ALL.into_iter().find(|version| version.slug() == *name)?;
    let mut options = ServerOptions::new(version);
    loop {
        (options, rest) = match rest {
            [] => return Some(options),
            ["--rds-like", rest @ ..] => (options.rds_like(), rest),
            ["--durable", rest @ ..] => (options.durable(), rest),
            ["--port", port, rest @ ..] => (options.port(port.parse().ok()?), rest),
            ["--arg", arg, rest @ ..] => (options.arg(*arg), rest),
            _ => return None,
        };
    }
}

fn start(options: ServerOptions) -> Result<(), TestbedError> {
    // SAFETY: the handler only stores into an atomic, which is async-signal-safe.
    unsafe {
        libc::signal(libc::SIGINT, on_signal as *const () as libc::sighandler_t);
        libc::signal(libc::SIGTERM, on_signal as *const () as libc::sighandler_t);
    }
    let mut server = Server::start(options)?;
    // Whoever reads this may have gone; the server is wanted all the same.
    let mut stdout = std::io::stdout();
    let _ =
        writeln!(stdout, "port={} socket={} pid={}", server.port(), server.socket().display(), server.pid());
    let _ = stdout.flush();
    let input_ended = watch_stdin();
    while !INTERRUPTED.load(Ordering::Relaxed) && !input_ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    server.stop();
    Ok(())
}

extern "C" fn on_signal(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Returns a flag that is set when a terminal's or pipe's input ends.
///
/// Other kinds of input, such as the null device that shells give background jobs, have an end from the beginning,
/// which says nothing.
fn watch_stdin() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let is_pipe =
        std::fs::metadata("/dev/stdin").is_ok_and(|m| m.file_type().is_fifo() || m.file_type().is_socket());
    if is_pipe || std::io::stdin().is_terminal() {
        let flag = Arc::clone(&ended);
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            flag.store(true, Ordering::Relaxed);
        });
    }
    ended
}
