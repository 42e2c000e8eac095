//! Several jobs at once, each with a deadline, none of which can hold up the others or the caller.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::stop::StopToken;

/// A job; its token stops when its deadline passes.
pub(super) type Job<T> = Box<dyn FnOnce(&StopToken) -> T + Send>;

/// How a job ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended<T> {
    /// With a value, in time.
    Done(T),
    /// Its deadline passed.
    Late,
    /// It panicked: a bug of dts.
    Panicked,
}

/// How long a job has to notice that its deadline passed. Then its thread is left behind: resolving a name, for example,
/// cannot be interrupted.
const GRACE: Duration = Duration::from_secs(1);
/// How often a stop of the caller is looked for.
const TICK: Duration = Duration::from_millis(100);

struct Running {
    index: usize,
    end: Instant,
    stop: StopToken,
    late: bool,
}

/// Runs `jobs`, at most `width` at once, and returns how each ended, in their order.
///
/// Returns within about (number of jobs / width) x (deadline + 1 s), whatever the jobs do.
///
/// # Errors
/// [`ErrorKind::Interrupted`] when `stop` was stopped.
pub(super) fn run_all<T: Send + 'static>(
    jobs: Vec<Job<T>>,
    width: usize,
    deadline: Duration,
    stop: &StopToken,
) -> Result<Vec<Ended<T>>> {
    let mut ended: Vec<Option<Ended<T>>> = jobs.iter().map(|_| None).collect();
    let mut waiting = jobs.into_iter().enumerate();
    let mut running: Vec<Running> = Vec::new();
    let (sender, receiver) = channel();
    loop {
        while running.len() < width {
            let Some((index, job)) = waiting.next() else { break };
            let token = stop.child();
            let end = Instant::now() + deadline;
            if spawn(index, job, token.clone(), sender.clone()) {
                running.push(Running { index, end, stop: token, late: false });
            } else {
                ended[index] = Some(Ended::Late);
            }
        }
        if running.is_empty() {
            break;
        }
        match receiver.recv_timeout(TICK) {
            Ok((index, value)) => {
                if let Some(position) = running.iter().position(|job| job.index == index) {
                    let job = running.swap_remove(position);
                    ended[index] = Some(match value {
                        None => Ended::Panicked,
                        Some(_) if job.late => Ended::Late,
                        Some(value) => Ended::Done(value),
                    });
                }
            }
            // The sender of this function is alive, so it can only be the time.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if stop.is_stopped() {
            return Err(ErrorKind::Interrupted.into());
        }
        let now = Instant::now();
        for job in &mut running {
            if now >= job.end && !job.late {
                job.late = true;
                job.stop.stop();
            }
        }
        running.retain(|job| {
            let is_left_behind = now >= job.end + GRACE;
            if is_left_behind {
                ended[job.index] = Some(Ended::Late);
            }
            !is_left_behind
        });
    }
    Ok(ended.into_iter().map(|ended| ended.unwrap_or(Ended::Late)).collect())
}

fn spawn<T: Send + 'static>(
    index: usize,
    job: Job<T>,
    stop: StopToken,
    sender: Sender<(usize, Option<T>)>,
) -> bool {
    let body = move || {
        let value = catch_unwind(AssertUnwindSafe(|| job(&stop))).ok();
        // Nobody listens any more when the job was left behind.
        let _ = sender.send((index, value));
    };
    thread::Builder::new().name(format!("dts-validate-{index}")).spawn(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job<T>(body: impl FnOnce(&StopToken) -> T + Send + 'static) -> Job<T> {
        Box::new(body)
    }

    #[test]
    fn each_job_ends_by_its_deadline_and_the_others_go_on() {
        let jobs = vec![
            job(|_| 1),
            job(|stop| stop.sleep(Duration::from_secs(60)).map_or(2, |()| 0)),
            job(|_| {
                thread::sleep(Duration::from_secs(60));
                3
            }),
            job(|_| 4),
        ];
        let start = Instant::now();
        let ended = run_all(jobs, 2, Duration::from_millis(200), &StopToken::new()).unwrap();
        assert_eq!(ended, [Ended::Done(1), Ended::Late, Ended::Late, Ended::Done(4)]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn a_panic_is_one_jobs_own() {
        let jobs = vec![job(|_| panic!("on purpose")), job(|_| 2)];
        let ended = run_all::<i32>(jobs, 4, Duration::from_secs(5), &StopToken::new()).unwrap();
        assert_eq!(ended, [Ended::Panicked, Ended::Done(2)]);
    }

    #[test]
    fn a_stop_ends_everything() {
        let stop = StopToken::new();
        stop.stop();
        let jobs = vec![job(|_| thread::sleep(Duration::from_secs(60)))];
        assert!(run_all(jobs, 1, Duration::from_secs(60), &stop).unwrap_err().is_interrupted());
    }
}
