//! Events of the event scheduler: held back until the task is completed.
//!
//! Until then they run on the source, and what they do comes as changes of rows. Whether the target takes them is seen early
//! all the same: each is created as disabled and dropped again.
use crate::error::Result;
use crate::sql::stored;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};

/// Creates each event for a moment, disabled.
pub(super) fn rehearse(maker: &mut ObjectMaker<'_>, events: &[Planned], stop: &StopToken) -> Result<()> {
    for event in events {
        stop.check()?;
        maker.rehearse(event, Some(stored::with_event_disabled))?;
    }
    Ok(())
}

/// Creates the events that are not there yet, enabled or disabled as on the source, and returns how many.
pub(super) fn create(maker: &mut ObjectMaker<'_>, events: &[Planned], stop: &StopToken) -> Result<usize> {
    let mut created = 0;
    for event in events.iter().filter(|event| !event.is_there) {
        stop.check()?;
        match maker.create(event, None)? {
            None => created += 1,
            Some(answer) => maker.refuse(event, &answer),
        }
    }
    Ok(created)
}
