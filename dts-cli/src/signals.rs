//! Ctrl-C and SIGTERM: the first asks to pause, the second ends at once.
use dts_core::error::{ErrorKind, Result};
use dts_core::stop::StopToken;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::ExitStatus;
use crate::output::Console;

/// Turns the first SIGINT or SIGTERM into a stop of `token`, with `notice` for people. The second ends the process at
/// once: what is recorded is durable, so that this costs nothing but a part of the work in hand.
///
/// # Errors
/// [`ErrorKind::Internal`] when the system refuses the handlers.
pub(crate) fn stop_on_signals(token: &StopToken, console: &Console, notice: &'static str) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| ErrorKind::Internal { what: format!("no signal handlers: {error}") })?;
    let (token, console) = (token.clone(), console.clone());
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if token.is_stopped() {
                std::process::exit(i32::from(ExitStatus::Interrupted.number()));
            }
            console.note(notice);
            token.stop();
        }
    });
    Ok(())
}
