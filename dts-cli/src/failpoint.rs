//! Ends this process at a point of a cut-over or a rollback, as `kill -9` would: a test says which by an environment variable.
use std::sync::OnceLock;

use signal_hook::consts::SIGKILL;

/// Names the point. For tests only; documented in CONTRIBUTING.
const VARIABLE: &str = "DTS_TEST_DIE_AT";

/// Ends the process when this is the point.
pub(crate) fn pass(point: &'static str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var(VARIABLE).ok());
    if wanted.as_deref() == Some(point)
        && let Err(error) = signal_hook::low_level::raise(SIGKILL)
    {
        log::error!("{VARIABLE}: {error}");
    }
}
