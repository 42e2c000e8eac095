//! Measuring tools shared by the benchmarks: a process with its CPU time and memory, medians, a table of ratios.
//!
//! Absolute times mean little on a shared machine. Everything is measured in turn, in one run, and read as a ratio.
use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a measured process used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU seconds of the process and its children.
    pub cpu: f64,
    /// Largest resident memory of one of them, in MiB.
    pub rss_mib: f64,
}

/// Runs a command to its end and measures it.
///
/// # Errors
/// When it cannot be started or ends with another status than 0; the text then holds what it printed.
pub fn measure(command: &mut Command) -> io::Result<Usage> {
    let begun = Instant::now();
    let before = children();
    let output = command.stdin(Stdio::null()).output()?;
    let after = children();
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stderr);
        let tail: String = printed.lines().rev().take(15).collect::<Vec<_>>().join("\n");
        return Err(io::Error::other(format!("{command:?} ended with {}: {tail}", output.status)));
    }
    Ok(Usage { wall: begun.elapsed().as_secs_f64(), cpu: after.0 - before.0, rss_mib: after.1 })
}

/// Returns what this process itself has used so far; `wall` is 0.
pub fn own_usage() -> Usage {
    let (cpu, rss_mib) = used_by(libc::RUSAGE_SELF);
    Usage { wall: 0.0, cpu, rss_mib }
}

/// CPU seconds of all children that ended, and the largest memory of one of them in MiB (never goes down).
fn children() -> (f64, f64) {
    used_by(libc::RUSAGE_CHILDREN)
}

fn used_by(whom: libc::c_int) -> (f64, f64) {
    // SAFETY: getrusage fills the struct that it is given, and the struct is plain data.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(whom, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss as f64 / 1024.0)
}

/// Returns the middle one; 0 of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
