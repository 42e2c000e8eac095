//! Which way a hand-over goes, and what is said of both sides when it stops. Whoever reads that at night must know first which
//! side can be written.
use super::handover::Hooks;
use crate::cutover::CutoverOptions;
use crate::data::{GateKind, GateRecord};
use crate::error::{Error, Result, Side, Stage};

/// Which way the writers go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the source to the target.
    There,
    /// From the target back to the source.
    Back,
}

impl Way {
    /// The side that is closed.
    pub(super) fn from(self) -> Side {
        match self {
            Way::There => Side::Source,
            Way::Back => Side::Target,
        }
    }

    /// The side that is opened.
    pub(super) fn to(self) -> Side {
        match self {
            Way::There => Side::Target,
            Way::Back => Side::Source,
        }
    }

    /// The program's command.
    fn command(self) -> &'static str {
        match self {
            Way::There => "cutover",
            Way::Back => "rollback",
        }
    }

    /// Looks whether a hand-over that was cut short can go on with what was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with another gate: the one of the journal would not be closed, or not be opened again.
    pub(super) fn refuse_other_gate(
        self,
        begun: &GateRecord,
        options: &CutoverOptions,
        hooks: &Hooks<'_>,
    ) -> Result<()> {
        let (kind, from) = (begun.kind, self.from());
        let given = match (options.gate, hooks.gate) {
            (GateKind::Hook, None) => "hook, without its command".to_owned(),
            (gate, _) if gate == kind => return Ok(()),
            (gate, _) => gate.to_string(),
        };
        let gate = if kind == GateKind::Hook { "hook=CMD".to_owned() } else { kind.to_string() };
        let expected = format!("the one that it began with: --gate {gate}");
        Err(Error::invalid("gate", given, expected).in_stage(Stage::CutOver).with_hint(format!(
            "Go on with --gate {gate}; or open the {from} again with --abort (and the command, if it was one) and begin anew."
        )))
    }

    /// Says how both sides are left when a take-back did what it should.
    pub(super) fn taken_back(self) -> String {
        let goes_on = match self {
            Way::There => "the task goes on syncing",
            Way::Back => "the reverse channel goes on",
        };
        format!("The gate was opened again: applications write on the {} as before, {goes_on}.", self.from())
    }

    /// Says how both sides are left when neither the hand-over nor its take-back came to its end.
    pub(super) fn stuck(self) -> String {
        format!(
            "The gate could not be opened again either (see the log): the {} may be closed for applications, the {} is not open. \
             Run `dts {}` again to go on, or take it back with --abort.",
            self.from(),
            self.to(),
            self.command()
        )
    }

    /// Says how both sides are left when a take-back that was asked for did not come to its end.
    pub(super) fn not_taken_back(self) -> String {
        format!(
            "It did not come to its end: the {} may still be closed for applications, the {} is not open. Run it again, or go on with \
             `dts {}`.",
            self.from(),
            self.to(),
            self.command()
        )
    }
    /// Says how both sides are left when the last step fails: with the phase `Opening` noted or not, after the opening or not.
    pub(super) fn while_opening(self, is_noted: bool, is_open: bool) -> String {
        let (from, to, command) = (self.from(), self.to(), self.command());
        if is_open {
            format!("The {to} is open, and everything is on it. Run `dts {command}` again: it does the rest.")
        } else if is_noted {
            format!(
                "The {from} is closed, and everything is on the {to}, which may not be open yet. Run `dts {command}` again: it opens it."
            )
        } else {
            format!(
                "The {from} is closed, and the {to} was not opened. Run `dts {command}` again to go on; --abort opens the {from} again \
                 instead."
            )
        }
    }
}
