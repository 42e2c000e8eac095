//! Starts server processes that cannot outlive this process.
//!
//! Linux can send a child a signal when its parent dies (`PR_SET_PDEATHSIG`), but "parent" means the *thread* that
//! forked it: a server started from a test's own thread would die with that test's thread while another test still
//! uses it. One thread that lives as long as the process therefore starts all of them.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

struct Request {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// Starts `command`; the new process gets a SIGKILL when this process ends, and keeps `inherited` open.
pub(crate) fn spawn(mut command: Command, inherited: RawFd) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();
    die_with_parent(&mut command, inherited);
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = channel::<Request>();
        std::thread::Builder::new()
            .name("dts-testbed-spawner".to_owned())
            .spawn(move || {
                for mut request in receiver {
                    let _ = request.answer.send(request.command.spawn());
                }
            })
            .expect("a thread can be started");
        Mutex::new(sender)
    });
    let (answer, answered) = channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send(Request { command, answer })
        .expect("the spawner's receiver lives as long as the process");
    answered.recv().expect("the spawner answers every request")
}

fn die_with_parent(command: &mut Command, inherited: RawFd) {
    let parent = std::process::id();
    // A group of its own: Ctrl-C in the terminal reaches us, and we stop the server.
    command.process_group(0);
    // SAFETY: the closure runs between fork and exec in the child and makes only async-signal-safe system calls
    // (prctl, getppid, fcntl), allocates nothing and touches no lock. `inherited` is a descriptor number that was
    // open in the parent at fork, so the child has it too; fcntl on a wrong one only fails.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the call above; then nobody would send the signal.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            if libc::fcntl(inherited, libc::F_SETFD, 0) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}
