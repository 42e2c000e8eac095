//! Procedures and functions: created under the settings that they were written under.
//!
//! The server looks into their bodies only when they run, so they can be created in any order, before the views that use
//! them.
use crate::error::Result;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};

/// Creates procedures and functions, and returns how many.
pub(super) fn create(maker: &mut ObjectMaker<'_>, programs: &[Planned], stop: &StopToken) -> Result<usize> {
    let mut created = 0;
    for program in programs {
        stop.check()?;
        match maker.create(program, None)? {
            None => created += 1,
            Some(answer) => maker.refuse(program, &answer),
        }
    }
    Ok(created)
}
