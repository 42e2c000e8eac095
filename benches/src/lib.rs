//! Measuring tools shared by the benchmarks: processes with their CPU time and memory, medians, data sets.
//!
//! Absolute times mean little on a shared machine. Everything is measured in turn, in one run, and read as a ratio.
pub mod data;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What measured processes used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds from the start of the first to the end of the last.
    pub wall: f64,
    /// CPU seconds of all.
    pub cpu: f64,
    /// Largest resident memory of one of them, in MiB.
    pub rss_mib: f64,
}

impl Usage {
    /// Joins what ran one after the other.
    #[must_use]
    pub fn then(self, next: Usage) -> Usage {
        Usage {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            rss_mib: self.rss_mib.max(next.rss_mib),
        }
    }
}

/// Runs a command to its end and measures it.
///
/// # Errors
/// When it cannot be started or ends with another status than 0; the text then holds what it printed last.
pub fn measure(command: &mut Command) -> io::Result<Usage> {
    let begun = Instant::now();
    let mut errors = tempfile::tempfile()?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.try_clone()?).spawn()?;
    let (status, usage) = wait(child)?;
    check(command, status, &mut errors)?;
    Ok(Usage { wall: begun.elapsed().as_secs_f64(), ..usage })
}

/// Runs `left | right` to their ends and measures both.
///
/// # Errors
/// As [`measure`].
pub fn measure_pipe(left: &mut Command, right: &mut Command) -> io::Result<Usage> {
    let begun = Instant::now();
    let (mut left_errors, mut right_errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut first =
        left.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(left_errors.try_clone()?).spawn()?;
    let pipe = first.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    let second = right.stdin(pipe).stdout(Stdio::null()).stderr(right_errors.try_clone()?).spawn()?;
    // Our end of the pipe is with the second process only, so that the first one notices when that ends.
    right.stdin(Stdio::null());
    let (first_status, first) = wait(first)?;
    let (second_status, second) = wait(second)?;
    check(left, first_status, &mut left_errors)?;
    check(right, second_status, &mut right_errors)?;
    Ok(Usage { wall: begun.elapsed().as_secs_f64(), ..first.then(second) })
}

/// Waits for a process and returns its status and what it alone (with the children it waited for) used.
fn wait(child: Child) -> io::Result<(i32, Usage)> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: wait4 fills the two values that it is given, and both are plain data. The process is ours and nobody else
    // waits for it: `child` is consumed.
    let (ended, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
    };
    if ended != pid {
        return Err(io::Error::last_os_error());
    }
    Ok((status, used(&usage)))
}

fn check(command: &Command, status: i32, errors: &mut File) -> io::Result<()> {
    if status == 0 {
        return Ok(());
    }
    let mut printed = Vec::new();
    errors.seek(SeekFrom::Start(0))?;
    errors.read_to_end(&mut printed)?;
    let printed = String::from_utf8_lossy(&printed);
    let lines: Vec<&str> = printed.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(io::Error::other(format!("{command:?} ended with status {status}: {tail}")))
}

/// Returns what this process itself has used so far; `wall` is 0.
pub fn own_usage() -> Usage {
    // SAFETY: getrusage fills the struct that it is given, and the struct is plain data.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    used(&usage)
}

fn used(usage: &libc::rusage) -> Usage {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Usage { wall: 0.0, cpu, rss_mib: usage.ru_maxrss as f64 / 1024.0 }
}

/// Returns the middle one; the mean of the two middle ones of an even number, 0 of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn each_process_is_measured_by_itself() {
        let large =
            measure(Command::new("sh").args(["-c", "x=$(head -c 60000000 /dev/zero | tr '\\0' x); :"]))
                .unwrap();
        let small = measure(&mut Command::new("true")).unwrap();
        assert!(large.rss_mib > 50.0 && small.rss_mib < large.rss_mib / 2.0, "{large:?} {small:?}");
        assert!(large.cpu > small.cpu, "{large:?} {small:?}");
    }

    #[test]
    fn a_failure_says_what_was_printed() {
        let error = measure(Command::new("sh").args(["-c", "echo so it is >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("so it is"), "{error}");
        let mut left = Command::new("sh");
        let mut right = Command::new("sh");
        let error = measure_pipe(left.args(["-c", "echo 1"]), right.args(["-c", "cat; echo no >&2; exit 1"]));
        assert!(error.unwrap_err().to_string().contains("no"));
    }
}
