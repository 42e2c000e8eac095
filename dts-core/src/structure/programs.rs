//! Procedures and functions: created under the settings that they were written under.
//!
//! The server looks into their bodies only when they run, so they can be created in any order, before the views that use
//! them.
use crate::error::Result;
use crate::stop::StopToken;
use crate::structure::object::{ObjectMaker, Planned};

/// Creates procedures and functions.
pub(super) fn create(maker: &mut ObjectMaker<'_>, programs: &[Planned], stop: &StopToken) -> Result<()> {
    for program in programs {
        stop.check()?;
        if let Some(answer) = maker.create(program, None)? {
            maker.refuse(program, &answer);
        }
    }
    Ok(())
}
