//! How exact a snapshot is made: the rungs of a ladder.

/// How an exact snapshot was taken. Each is exact; they differ in what the account must be allowed to do, and in whom they
/// disturb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rung {
    /// `LOCK TABLES … READ` on these tables, for milliseconds.
    TableLock,
    /// `FLUSH TABLES WITH READ LOCK`, for milliseconds.
    GlobalLock,
    /// No lock: a moment was found in which nothing was committed.
    Optimistic,
}

impl Rung {
    const ALL: [Rung; 3] = [Rung::TableLock, Rung::GlobalLock, Rung::Optimistic];

    /// Returns the name used in outputs and in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Rung::TableLock => "table lock",
            Rung::GlobalLock => "global lock",
            Rung::Optimistic => "optimistic",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Rung::ALL.into_iter().find(|rung| rung.name() == name)
    }
}
