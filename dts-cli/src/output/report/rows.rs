//! The parts of stored documents that a report shows.
//!
//! They were written by this version of dts or another one, so that everything may be missing.
use serde::Deserialize;
use serde_json::{Map, Value};

/// `dts validate`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Validation {
    pub(super) result: String,
    pub(super) items: Vec<ValidationItem>,
}

/// One item of a validation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ValidationItem {
    pub(super) id: String,
    pub(super) result: String,
    pub(super) expected: String,
    pub(super) actual: String,
    pub(super) message: String,
    pub(super) fix: String,
    pub(super) objects: Vec<String>,
}

/// `dts check`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Comparison {
    pub(super) mode: String,
    pub(super) seed: Option<u64>,
    pub(super) rows_compared: u64,
    pub(super) tables: Vec<ComparedTable>,
    pub(super) structure: Option<Structure>,
    pub(super) target_writers: Option<Writers>,
}

/// One table of a check.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ComparedTable {
    pub(super) table: String,
    pub(super) rows_source: u64,
    pub(super) rows_target: u64,
    pub(super) rows_compared: u64,
    pub(super) chunks: u64,
    pub(super) chunks_total: u64,
    pub(super) differences: Vec<Difference>,
    pub(super) differences_count: u64,
    pub(super) rows_repaired: u64,
    pub(super) rows_unsettled: u64,
    pub(super) incomplete: Option<String>,
    pub(super) skipped: Option<String>,
}

/// A differing row: its key and the names of its differing columns. Values are no business of a report that is passed on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Difference {
    pub(super) key: Map<String, Value>,
    pub(super) kind: String,
    pub(super) columns: Vec<String>,
    pub(super) repaired: bool,
}

/// The comparison of the structure.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Structure {
    pub(super) compared: u64,
    pub(super) differences: Vec<StructurePart>,
    pub(super) unclear: Vec<StructurePart>,
    pub(super) not_yet: Vec<String>,
    pub(super) only_on_target: Vec<String>,
}

/// What is not the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StructurePart {
    pub(super) object: String,
    pub(super) part: String,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
}

/// Who else wrote on the target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Writers {
    pub(super) incomplete: Option<String>,
    pub(super) transactions: u64,
}

/// `dts cutover`, and `dts rollback`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cutover {
    /// The writers went back to the source.
    pub(super) back: bool,
    /// A reverse channel began.
    pub(super) reverse: bool,
    pub(super) resumed: bool,
    pub(super) steps: Vec<CutoverStep>,
    pub(super) source_position: Option<String>,
    pub(super) target_position: Option<String>,
    pub(super) write_stop_seconds: Option<f64>,
    pub(super) rewrites: Vec<String>,
}

/// One step of a cut-over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CutoverStep {
    pub(super) name: String,
    pub(super) saw: Vec<String>,
    pub(super) seconds: f64,
}

/// `dts complete`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion {
    pub(super) immediately: bool,
    pub(super) source_position: Option<String>,
    pub(super) applied_position: Option<String>,
    pub(super) target_position: Option<String>,
    pub(super) not_applied: Option<String>,
    pub(super) triggers: u64,
    pub(super) events: u64,
    pub(super) counters: u64,
    pub(super) rewrites: Vec<String>,
    pub(super) seconds: f64,
}
