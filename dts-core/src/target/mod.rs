//! Room 3: all that speaks to the target server.
//!
//! - [`TargetEndpoint`]: where the target is, what it says of itself, and connections to it with the right session;
//! - [`ledger`]: what is durable there, in the schema `__dts__`, written in the same transactions as the data;
//! - [`journal`]: how far a cut-over is; [`held_accounts`]: what its gate does to accounts;
//! - [`account_journal`]: what was carried of accounts.
pub mod account_journal;
pub mod clean_check;
pub mod deferred;
mod endpoint;
pub mod held_accounts;
pub mod held_triggers;
pub mod journal;
pub mod ledger;
pub mod prepared_mark;
pub mod repair_mark;
mod session_lock;
pub mod watch_mark;

pub use endpoint::{TargetEndpoint, TargetOptions};
pub use session_lock::SessionKind;
