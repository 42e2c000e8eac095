//! Triggers: held back until the task is completed.
//!
//! What a trigger does on the source comes as changes of rows. A trigger on the target would do it a second time, so none is
//! there while rows are copied or changes applied. Whether the target takes them is seen early all the same: each is
//! created and dropped again while the tables are still empty and nobody writes them.
use crate::error::Result;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};

/// Creates each trigger for a moment.
pub(super) fn rehearse(maker: &mut ObjectMaker<'_>, triggers: &[Planned], stop: &StopToken) -> Result<()> {
    for trigger in triggers {
        stop.check()?;
        maker.rehearse(trigger, None)?;
    }
    Ok(())
}

/// Creates the triggers that are not there yet, and returns how many.
///
/// Several triggers of one table, time and action act in the order in which they are created, and they come in that order:
/// the server takes `FOLLOWS` and `PRECEDES` out of the text that it keeps.
pub(super) fn create(maker: &mut ObjectMaker<'_>, triggers: &[Planned], stop: &StopToken) -> Result<usize> {
    let mut created = 0;
    for trigger in triggers.iter().filter(|trigger| !trigger.is_there) {
        stop.check()?;
        match maker.create(trigger, None)? {
            None => created += 1,
            Some(answer) => maker.refuse(trigger, &answer),
        }
    }
    Ok(created)
}
