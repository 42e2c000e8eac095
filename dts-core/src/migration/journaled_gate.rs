//! How the source was closed, for whoever is to close the target.
use crate::data::GateKind;
use crate::error::Result;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::journal::CutoverJournal;
use crate::target::ledger::Ledger;

use super::Migration;

impl Migration {
    /// Returns the kind of gate for a way back that names none: that of the way back if it was begun, else that of the cut-over.
    /// `None` when the journal has neither. Only the target is asked.
    ///
    /// # Errors
    /// What the target answered.
    pub fn gate_of_rollback(&self, stop: &StopToken) -> Result<Option<GateKind>> {
        let name = &self.options.name;
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        let mut control = target.control(stop)?;
        if !Ledger::new(name.clone()).exists(&mut control)? {
            return Ok(None);
        }
        for journal in [CutoverJournal::of_rollback(name), CutoverJournal::new(name.clone())] {
            if let Some(row) = journal.read(&mut control)? {
                return Ok(Some(row.gate.kind));
            }
        }
        Ok(None)
    }
}
