//! In whose name views, stored programs, triggers and events run on the target.
//!
//! The definer of the source is kept where the target lets us name another account. That is found out by trying: which
//! privilege it takes differs by version and provider (`SUPER`, `SET_USER_ID`, `SET_ANY_DEFINER`,
//! `ALLOW_NONEXISTENT_DEFINER`). Where it is refused, the task's own account becomes the definer, and what can run in the
//! name of whoever uses it does: with the privileges of the task's account everybody could do too much.
use std::collections::{BTreeMap, BTreeSet};

use crate::data::ObjectKind;
use crate::error::ServerError;

/// What became of the definers.
#[derive(Debug, Default)]
pub(super) struct Definers {
    refused: BTreeSet<String>,
    rewritten: BTreeMap<String, Vec<(ObjectKind, String)>>,
    missing: BTreeMap<String, usize>,
}

impl Definers {
    /// Returns whether a definer is worth a try.
    pub(super) fn may_be_kept(&self, definer: &str) -> bool {
        !self.refused.contains(definer)
    }

    /// Returns whether the answer means that this definer cannot be named.
    pub(super) fn is_refusal(answer: &ServerError) -> bool {
        // ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_NO_SUCH_USER
        matches!(answer.code, 1227 | 1449)
    }

    /// Takes note that an object got the task's account as definer.
    pub(super) fn add_rewritten(&mut self, definer: &str, kind: ObjectKind, name: String) {
        self.refused.insert(definer.to_owned());
        self.rewritten.entry(definer.to_owned()).or_default().push((kind, name));
    }

    /// Takes note that an object kept a definer that the target does not know.
    pub(super) fn add_missing(&mut self, definer: &str) {
        *self.missing.entry(definer.to_owned()).or_default() += 1;
    }

    /// Returns what people should know.
    pub(super) fn notes(&self, current_account: &str) -> Vec<String> {
        let mut notes = Vec::new();
        for (definer, objects) in &self.rewritten {
            for (kind, name) in objects {
                let security = match kind {
                    ObjectKind::View | ObjectKind::Procedure | ObjectKind::Function => {
                        ", SQL SECURITY INVOKER"
                    }
                    ObjectKind::Trigger | ObjectKind::Event => "",
                };
                notes.push(format!(
                    "{kind} {name}: DEFINER {definer} to {current_account}{security} (the target does not let the task's account \
                     name this definer)"
                ));
            }
        }
        for (definer, count) in &self.missing {
            let objects =
                if *count == 1 { "1 object has".to_owned() } else { format!("{count} objects have") };
            notes.push(format!(
                "definer {definer}: {objects} it and cannot be used before this account is on the target (it does not exist there)"
            ));
        }
        notes
    }
}
