//! Actions that the process which works on a task does beside its work when another process asks for them.
use dts_core::checker::CheckOptions;
use dts_core::error::Result;
use dts_core::migration::State;
use dts_core::stop::StopToken;
use serde_json::Value;

use crate::commands::check::CheckService;
use crate::commands::cutover::{CutoverLook, RollbackLook};
use crate::engine::Engine;
use crate::store::{Answer, RequestId, Store};

/// An action that is done beside the applier, in a thread of its own.
///
/// It is asked for over the store, see [`request`](crate::store::request). While one runs, `pause`, `stop` and `complete` are
/// refused. One that is asked for again after its process died must go on or begin anew by itself.
pub(crate) trait Service: Sync {
    /// The kind of request, which is the name of the command.
    fn kind(&self) -> &'static str;

    /// Checks that it may be asked for in this state.
    ///
    /// # Errors
    /// [`IllegalState`](dts_core::error::ErrorKind::IllegalState) with what is allowed.
    fn allow(&self, state: State) -> Result<()>;

    /// Does it. What it returns is printed by the asking command, which ends with its exit status.
    ///
    /// # Errors
    /// Why it was not done; printed by the asking command, too.
    fn serve(&self, call: &mut Call<'_>) -> Result<Answer>;
}

/// What a service needs to know.
pub(crate) struct Call<'c> {
    /// The task's name.
    pub(crate) task: &'c str,
    /// What the asker wrote.
    pub(crate) payload: &'c Value,
    /// What does the work. An applier runs beside the service.
    pub(crate) engine: &'c dyn Engine,
    /// The comparison as the task file describes it.
    pub(crate) check: &'c CheckOptions,
    /// Stopped when the run ends, and when the asker does not want it any more.
    pub(crate) stop: &'c StopToken,
    /// A connection of its own to the task store.
    pub(crate) store: Store,
    /// Who listens.
    pub(crate) request: RequestId,
}

impl Call<'_> {
    /// Prints a line on the asking shell's stdout, at once; nothing with `--json`.
    pub(crate) fn say(&mut self, line: &str) {
        self.line(false, line);
    }

    /// Prints a line of progress on the asking shell's stderr, at once.
    pub(crate) fn progress(&mut self, line: &str) {
        self.line(true, line);
    }

    fn line(&mut self, is_progress: bool, line: &str) {
        if let Err(error) = self.store.add_line(self.request, is_progress, line) {
            log::warn!("a line of an answer could not be written: {error}");
        }
    }
}

/// Returns every service there is.
pub(crate) fn services() -> &'static [&'static dyn Service] {
    &[&CheckService, &CutoverLook, &RollbackLook]
}
