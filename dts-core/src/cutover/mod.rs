//! Moving the writers: the pieces of a cut-over, each of them re-entrant.
//!
//! [`Migration::cutover`](crate::migration::Migration::cutover) puts them in order; what each step saw is a [`CutoverStep`].
//!
//! # Why nothing committed is lost
//! 1. The gate is closed, then the sessions of before are ended: from then on no transaction of an application can commit on
//!    the source (see `gate.rs`).
//! 2. *Only then* the end position is read, twice, until both are equal (a position read before the gate misses what was
//!    committed in between: vitess#16563). A cut-over that was cut short and goes on closes the gate again, ends sessions again
//!    and reads it anew: somebody may have opened the source meanwhile.
//! 3. The applied set must include the end position. So every acknowledged commit is on the target.
//! 4. What was touched since the last clean check is compared.
//! 5. Only then triggers and events are created, the phase [`Opening`](crate::target::journal::CutoverPhase::Opening) is
//!    written down, the target is opened, and its events are enabled: what they write is in its log after the reverse channel's
//!    beginning.
//!
//! # Why there are never two writable sides
//! The gate is opened again only in a phase before `Opening`, the target only after that phase is durable. A process that dies
//! in between leaves both sides closed and the journal says so; running the cut-over again goes on. One that dies while it takes a
//! cut-over back has noted that before it let anybody write.
mod acting_key;
pub(crate) mod counters;
pub(crate) mod gate;
pub(crate) mod session;
pub(crate) mod touched;

use std::time::Duration;

pub use session::AppSession;

use crate::data::GateKind;
use crate::wire::AccountPasswords;

/// How a cut-over is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CutoverOptions {
    /// How the source's applications are kept from writing.
    pub gate: GateKind,
    /// Only look: nothing is changed, and what would stop the cut-over is said.
    pub dry_run: bool,
    /// The cut-over does not begin while the target is further behind than this. Default 10 s.
    pub max_lag: Duration,
    /// How long sessions of applications may take to end, and the target to catch up, once the gate is closed. Default 30 s.
    /// Then the gate is opened again.
    pub patience: Duration,
    /// Users that are no applications: neither locked nor waited for.
    pub keep: Vec<String>,
    /// Passwords of the applications' accounts: where the task carries accounts, each of these must be able to log in on the target
    /// before the gate is closed.
    pub passwords: AccountPasswords,
    /// Go on although applications' accounts cannot log in on the target.
    pub ignore_accounts: bool,
    /// Refuse to begin without a check of all rows that found both sides equal. Default off.
    pub require_clean_check: bool,
    /// Let what is written on the target afterwards go to the source, so that there is a way back. Default off.
    pub reverse: bool,
    /// End the sessions that are left once the gate is closed. Default on with the gates that dts closes itself.
    pub end_sessions: bool,
}

impl CutoverOptions {
    /// Starts from the gate; everything else has its default.
    pub fn new(gate: GateKind) -> Self {
        CutoverOptions {
            gate,
            dry_run: false,
            max_lag: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            keep: Vec::new(),
            passwords: AccountPasswords::default(),
            ignore_accounts: false,
            require_clean_check: false,
            reverse: false,
            end_sessions: matches!(gate, GateKind::ReadOnly | GateKind::LockAccounts),
        }
    }
}

/// A step of a cut-over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepName {
    /// Looks whether all that follows can work.
    Preflight,
    /// Carries the accounts a last time, and looks whether they can log in on the target.
    Accounts,
    /// Closes the gate.
    Gate,
    /// Waits until no session of an application from before is left.
    Sessions,
    /// Reads where the source's log ends.
    EndPosition,
    /// Waits until everything up to there is applied.
    Drain,
    /// Compares what was touched since the last clean check.
    Verify,
    /// Raises AUTO_INCREMENT counters.
    Counters,
    /// Creates triggers and events.
    Objects,
    /// Begins the reverse channel.
    Reverse,
    /// Opens the other side.
    Open,
}

impl StepName {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            StepName::Preflight => "preflight",
            StepName::Accounts => "accounts",
            StepName::Gate => "gate",
            StepName::Sessions => "sessions",
            StepName::EndPosition => "end_position",
            StepName::Drain => "drain",
            StepName::Verify => "verify",
            StepName::Counters => "counters",
            StepName::Objects => "objects",
            StepName::Reverse => "reverse",
            StepName::Open => "open",
        }
    }
}

/// What a step saw.
#[derive(Clone, Debug)]
pub struct CutoverStep {
    /// Which one.
    pub name: StepName,
    /// Lines for people.
    pub saw: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// What a cut-over did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CutoverReport {
    /// The steps in order.
    pub steps: Vec<CutoverStep>,
    /// An earlier run had begun it.
    pub resumed: bool,
    /// Nothing was changed.
    pub dry_run: bool,
    /// There is a reverse channel now.
    pub reverse: bool,
    /// The source's position after its last write; of a way back, when it was opened.
    pub source_position: Option<String>,
    /// The target's own position when it was opened; of a way back, after its last write.
    pub target_position: Option<String>,
    /// From the first refused write on the one side until the other was open; `None` when another run closed the gate.
    pub write_stop: Option<Duration>,
    /// What is different on the target and why.
    pub rewrites: Vec<String>,
}

/// The points of a cut-over that [`Hooks::passing`](crate::migration::Hooks::passing) is told, in order: between each two of them
/// something is changed. A test ends the process at each.
pub const POINTS: &[&str] = &[
    "preflight",
    "begun",
    "gate",
    "sessions",
    "end_position",
    "drain",
    "verify",
    "drained",
    "counters",
    "completing",
    "objects",
    "reverse",
    "opening",
    "ended",
    "opened",
    "events",
    "open",
];

/// The same of a way back.
pub const POINTS_BACK: &[&str] = &[
    "preflight",
    "begun",
    "gate",
    "sessions",
    "end_position",
    "drain",
    "verify",
    "drained",
    "counters",
    "completing",
    "objects",
    "opening",
    "dropped",
    "taken_over",
    "opened",
    "ended",
    "forgotten",
    "open",
];

/// The same of a hand-over that is taken back, whichever way it went.
pub const POINTS_TAKEN_BACK: &[&str] = &["taking_back", "withdrawn", "reopened"];
