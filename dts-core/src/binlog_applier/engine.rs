//! What an engine is: it takes transactions in the order of the log and makes them durable, by the workers.
use crate::data::GtidSet;
use crate::error::Result;

use super::change::TransactionPart;
use super::coordinator::Coordinator;

/// Makes transactions durable. It may do so in another order where nobody can tell, but never in part: what the checkpoint
/// holds is there as a whole.
pub(super) trait Engine {
    /// Takes the next part of the log. Waits when too much is under way.
    ///
    /// # Errors
    /// A divergence, or what the target answered, also to earlier changes.
    fn take(&mut self, coordinator: &mut Coordinator<'_>, part: TransactionPart) -> Result<()>;

    /// Nothing more came for a moment, or enough time passed: gives whole transactions that wait for company to the workers.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn flush(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()>;

    /// More is to be expected, and nothing of it is here at the moment: moves what is under way, and begins what has waited for
    /// company long enough.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn proceed(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        self.flush(coordinator)
    }

    /// A barrier: when it returns, every whole transaction that was taken is durable and known to be.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn drain(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        self.flush(coordinator)?;
        coordinator.settle_all()
    }

    /// After a divergence: the transactions among which it may be, when they were applied together and nothing of them was
    /// committed. One by one they may show which it is, or that there is none.
    fn suspects(&self) -> GtidSet {
        GtidSet::new()
    }

    /// Returns whether whole transactions wait that no worker has yet, or that need another turn.
    fn is_waiting(&self) -> bool;
}
