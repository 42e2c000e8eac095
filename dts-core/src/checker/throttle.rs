//! Holding back while a server is busy with other work.
use std::time::{Duration, Instant};

use super::sessions::Sessions;
use crate::error::{Result, Side};
use crate::stop::StopToken;

/// How often a busy server is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks at `Threads_running` of both servers, for one worker.
pub(super) struct Throttle {
    threads_running_max: Option<u64>,
    asked: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(threads_running_max: Option<u64>) -> Self {
        Throttle { threads_running_max, asked: None }
    }

    /// Returns when neither server has more running threads than allowed.
    pub(super) fn wait(&mut self, sessions: &mut Sessions<'_>, stop: &StopToken) -> Result<()> {
        let Some(limit) = self.threads_running_max else { return Ok(()) };
        if self.asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
            return Ok(());
        }
        let mut told = false;
        for side in [Side::Source, Side::Target] {
            loop {
                let running = running(sessions, side)?;
                if running <= limit {
                    break;
                }
                if !told {
                    log::info!("the check waits: {running} threads run on the {side}, allowed are {limit}");
                    told = true;
                }
                stop.sleep(PAUSE)?;
            }
        }
        self.asked = Some(Instant::now());
        Ok(())
    }
}

fn running(sessions: &mut Sessions<'_>, side: Side) -> Result<u64> {
    let sql = "SHOW GLOBAL STATUS LIKE 'Threads_running'";
    let row = sessions.on(side)?.query_row(sql, "asking how busy the server is")?;
    Ok(row.and_then(|row| row.u64(1)).unwrap_or(0))
}
