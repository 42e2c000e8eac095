//! Triggers that are taken away while changes are applied to a server that had them, and brought back afterwards.
//!
//! For the reverse channel: the source has its triggers, the writers are on the target, and what the triggers do there comes as
//! changes of rows. Here the source is both ends of a [`Structure`]: a trigger is made again where it was read.
use crate::data::ObjectKind;
use crate::error::{Result, Stage};
use crate::sql::quote;
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::structure::object::{ObjectMaker, Planned};
use crate::target::held_triggers::{self, HeldTrigger};

/// Triggers that were brought back.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RestoreReport {
    /// How many.
    pub triggers: usize,
    /// What is different from before and why, for people.
    pub rewrites: Vec<String>,
}

impl Structure<'_> {
    /// Writes the triggers of all selected tables down and drops them. Returns how many are away now. Can be repeated.
    ///
    /// # Errors
    /// [`ObjectsRefused`](crate::error::ErrorKind::ObjectsRefused) when the text of one cannot be had; what the server answered.
    pub fn hold_triggers(&self, stop: &StopToken) -> Result<usize> {
        self.hold_staged(stop).map_err(|error| error.in_stage(Stage::Structure))
    }

    fn hold_staged(&self, stop: &StopToken) -> Result<usize> {
        let databases = self.selected_databases(&mut self.source.control(stop)?)?;
        let mut control = self.target.control(stop)?;
        held_triggers::create(&mut control)?;
        let task = self.ledger.task_name();
        let mut maker = ObjectMaker::new(self, stop)?;
        let triggers = maker.plan(ObjectKind::Trigger, &databases)?;
        let mut written = Vec::new();
        for trigger in &triggers {
            if let Some(text) = maker.text_of(trigger, None)? {
                written.push((trigger, HeldTrigger::new(&trigger.definition, text)));
            }
        }
        // All or none: a text that cannot be had ends it before anything is dropped.
        maker.finish()?;
        for (_, held) in &written {
            held_triggers::add(&mut control, task, held)?;
        }
        for (trigger, _) in &written {
            stop.check()?;
            let sql = format!("DROP TRIGGER IF EXISTS {}", quote::table(&trigger.target));
            control.execute(sql, "dropping a trigger that is held back")?;
        }
        Ok(held_triggers::list(&mut control, task)?.len())
    }

    /// Makes the triggers again that [`hold_triggers`](Self::hold_triggers) has dropped. They stay written down. Can be repeated.
    ///
    /// # Errors
    /// [`ObjectsRefused`](crate::error::ErrorKind::ObjectsRefused) with all that the server does not take; what it answered.
    pub fn restore_triggers(&self, stop: &StopToken) -> Result<RestoreReport> {
        self.restore_staged(stop).map_err(|error| error.in_stage(Stage::Structure))
    }

    fn restore_staged(&self, stop: &StopToken) -> Result<RestoreReport> {
        let held = held_triggers::list(&mut self.target.control(stop)?, self.ledger.task_name())?;
        if held.is_empty() {
            return Ok(RestoreReport::default());
        }
        let databases = self.selected_databases(&mut self.source.control(stop)?)?;
        let mut maker = ObjectMaker::new(self, stop)?;
        let there = maker.plan(ObjectKind::Trigger, &databases)?;
        let mut triggers = 0;
        for trigger in held {
            stop.check()?;
            let definition = trigger.definition();
            triggers += 1;
            if there.iter().any(|other| other.target == definition.name) {
                continue;
            }
            let planned =
                Planned { target: definition.name.clone(), definition, is_there: false, is_ours: true };
            if let Some(answer) = maker.run_under_its_collation(&planned, &trigger.text)? {
                maker.refuse(&planned, &answer);
            }
        }
        Ok(RestoreReport { triggers, rewrites: maker.finish()? })
    }
}
