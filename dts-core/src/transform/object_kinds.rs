//! Kinds of objects that take part.

/// Which kinds of objects besides tables are carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectKinds {
    /// Views.
    pub views: bool,
    /// Procedures and functions.
    pub routines: bool,
    /// Triggers, created at completion.
    pub triggers: bool,
    /// Events, created at completion.
    pub events: bool,
    /// Accounts and their grants.
    pub accounts: bool,
}

impl Default for ObjectKinds {
    fn default() -> Self {
        ObjectKinds { views: true, routines: true, triggers: true, events: true, accounts: false }
    }
}
