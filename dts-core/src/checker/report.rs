//! What a check found.
use serde::ser::{SerializeMap, Serializer};

use super::{CheckMode, StructureReport, WritersReport};
use crate::data::TableName;

/// What a check comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conclusion {
    /// All that was to be compared was compared, and is equal.
    Same,
    /// At least one difference is confirmed.
    Different,
    /// No difference is confirmed, but something was not compared, or nothing was.
    Incomplete,
}

/// What a check found. Serializes to the `check` document of the JSON contract.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// What it comes to.
    pub conclusion: Conclusion,
    /// How thoroughly was compared.
    pub mode: CheckMode,
    /// From what chunks were chosen, for [`CheckMode::Partial`].
    pub seed: Option<u64>,
    /// Rows compared, in all tables.
    pub rows_compared: u64,
    /// Chunks that were not compared now, because an earlier run of this check that was killed had found them equal.
    pub chunks_resumed: u64,
    /// Each table, in the order of the pairs given.
    pub tables: Vec<TableCheck>,
    /// The structure, where it was compared. It has no say in the conclusion, which is about rows.
    pub structure: Option<StructureReport>,
    /// Who else wrote on the target, where that was looked for. It has no say in the conclusion.
    pub target_writers: Option<WritersReport>,
}

/// What a check found in one table.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct TableCheck {
    /// Its name on the source.
    #[serde(rename = "table", serialize_with = "as_text")]
    pub source: TableName,
    /// Its name on the target.
    #[serde(serialize_with = "as_text")]
    pub target: TableName,
    /// Rows on the source: those of the compared chunks, or of the whole table when it was counted.
    pub rows_source: u64,
    /// Rows on the target, likewise.
    pub rows_target: u64,
    /// Rows compared.
    pub rows_compared: u64,
    /// Chunks compared.
    pub chunks: u64,
    /// Chunks that the table was cut into: more than `chunks` when only some were chosen.
    pub chunks_total: u64,
    /// Chunks with a confirmed difference.
    pub chunks_different: u64,
    /// The first differences, at most [`differences_max`](super::CheckOptions::differences_max), by key.
    pub differences: Vec<Difference>,
    /// How many differences there are; those that were repaired are not among them.
    pub differences_count: u64,
    /// Rows that were repaired and found equal since.
    pub rows_repaired: u64,
    /// Rows that could not be settled: they kept changing, the applied position did not come, or a server could not
    /// compute their hash.
    pub rows_unsettled: u64,
    /// Why something of this table was not compared.
    pub incomplete: Option<String>,
    /// Why nothing of this table was compared.
    pub skipped: Option<String>,
}

/// One row that is not the same on both sides.
///
/// Holds the values of the row's key, which is row content: for the person who asked for the check, not for logs.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The key's columns and their values, printable: bytes that are no text are written `0x…`. For a table without a key
    /// one entry, `row_hash`.
    #[serde(serialize_with = "as_map")]
    pub key: Vec<(String, String)>,
    /// What is wrong.
    pub kind: DifferenceKind,
    /// [`DifferenceKind::Different`]: which columns differ.
    pub columns: Vec<String>,
    /// Their values, when they were asked for.
    pub values: Vec<ColumnValues>,
    /// The row was repaired, and its chunk was compared again since.
    pub repaired: bool,
}

/// The values of a differing column, printable; long ones are cut.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ColumnValues {
    /// The column's name on the source.
    pub column: String,
    /// Its value on the source; `None` is NULL.
    pub source: Option<String>,
    /// Its value on the target.
    pub target: Option<String>,
}

/// What is wrong with a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// The target does not have it (for a table without a key: has it less often).
    Missing,
    /// Only the target has it (for a table without a key: has it more often).
    Extra,
    /// Both have it, with other values.
    Different,
}

impl Difference {
    /// Orders by key: numbers as numbers, everything else as text.
    pub(super) fn compare_keys(one: &Difference, other: &Difference) -> std::cmp::Ordering {
        let number = |value: &str| value.parse::<i128>().ok();
        let pairs = one.key.iter().zip(&other.key);
        let differing = pairs.map(|((_, a), (_, b))| match (number(a), number(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.cmp(b),
        });
        differing.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    }
}

impl TableCheck {
    pub(super) fn new(source: TableName, target: TableName) -> Self {
        TableCheck {
            source,
            target,
            rows_source: 0,
            rows_target: 0,
            rows_compared: 0,
            chunks: 0,
            chunks_total: 0,
            chunks_different: 0,
            differences: Vec::new(),
            differences_count: 0,
            rows_repaired: 0,
            rows_unsettled: 0,
            incomplete: None,
            skipped: None,
        }
    }

    /// Takes in what counting the whole table found beside the chosen chunks.
    pub(super) fn add_count(&mut self, count: &TableCheck, differences_max: usize) {
        self.rows_source = count.rows_source;
        self.rows_target = count.rows_target;
        self.rows_unsettled += count.rows_unsettled;
        if self.incomplete.is_none() {
            self.incomplete.clone_from(&count.incomplete);
        }
        // A missing row of a chosen chunk was found twice.
        let known = self.differences.len();
        for difference in &count.differences {
            if !self.differences[..known].iter().any(|other| other.key == difference.key) {
                self.differences_count += 1;
                if self.differences.len() < differences_max {
                    self.differences.push(difference.clone());
                }
            }
        }
        self.differences_count = self.differences_count.max(count.differences_count);
    }

    /// Returns what the check of this table comes to.
    pub fn conclusion(&self) -> Conclusion {
        if self.differences_count > 0 {
            Conclusion::Different
        } else if self.skipped.is_some()
            || self.incomplete.is_some()
            || self.rows_unsettled > 0
            || self.chunks == 0
        {
            Conclusion::Incomplete
        } else {
            Conclusion::Same
        }
    }
}

impl CheckReport {
    /// Returns whether anything was found that somebody should look at: anything but equal rows and an equal structure.
    pub fn has_findings(&self) -> bool {
        self.conclusion != Conclusion::Same
            || self.structure.as_ref().is_some_and(|structure| !structure.differences.is_empty())
            || self.target_writers.as_ref().is_some_and(|writers| writers.transactions > 0)
    }

    pub(super) fn new(mode: CheckMode, seed: Option<u64>, tables: Vec<TableCheck>) -> Self {
        let any = |conclusion| tables.iter().any(|table| table.conclusion() == conclusion);
        let conclusion = if any(Conclusion::Different) {
            Conclusion::Different
        } else if tables.is_empty() || any(Conclusion::Incomplete) {
            Conclusion::Incomplete
        } else {
            Conclusion::Same
        };
        let rows_compared = tables.iter().map(|table| table.rows_compared).sum();
        CheckReport {
            conclusion,
            mode,
            seed,
            rows_compared,
            chunks_resumed: 0,
            tables,
            structure: None,
            target_writers: None,
        }
    }
}

fn as_text<S: Serializer>(name: &TableName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

fn as_map<S: Serializer>(key: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(key.len()))?;
    for (column, value) in key {
        map.serialize_entry(column, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(change: impl FnOnce(&mut TableCheck)) -> TableCheck {
        let mut table = TableCheck::new(TableName::new("d", "t"), TableName::new("d", "t"));
        table.chunks = 1;
        change(&mut table);
        table
    }

    fn conclusion(tables: Vec<TableCheck>) -> Conclusion {
        CheckReport::new(CheckMode::Full, None, tables).conclusion
    }

    #[test]
    fn nothing_compared_is_never_same() {
        assert_eq!(conclusion(vec![]), Conclusion::Incomplete);
        assert_eq!(conclusion(vec![table(|t| t.chunks = 0)]), Conclusion::Incomplete);
        assert_eq!(
            conclusion(vec![table(|_| ()), table(|t| t.skipped = Some("a view".into()))]),
            Conclusion::Incomplete
        );
        assert_eq!(conclusion(vec![table(|t| t.rows_unsettled = 1)]), Conclusion::Incomplete);
        assert_eq!(conclusion(vec![table(|t| t.incomplete = Some("no".into()))]), Conclusion::Incomplete);
        assert_eq!(conclusion(vec![table(|_| ())]), Conclusion::Same, "an empty table is a table");
    }

    #[test]
    fn one_difference_outweighs_everything() {
        let different = table(|t| t.differences_count = 1);
        assert_eq!(conclusion(vec![different, table(|t| t.rows_unsettled = 1)]), Conclusion::Different);
    }

    #[test]
    fn the_json_is_the_contracts() {
        let report = CheckReport::new(
            CheckMode::RowsCount,
            None,
            vec![table(|t| {
                t.differences_count = 1;
                t.differences.push(Difference {
                    key: vec![("id".into(), "7".into())],
                    kind: DifferenceKind::Different,
                    columns: vec!["v".into()],
                    values: vec![],
                    repaired: false,
                });
            })],
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["conclusion"], "different");
        assert_eq!(json["mode"], "rows-count");
        assert_eq!(json["tables"][0]["table"], "d.t");
        assert_eq!(
            json["tables"][0]["differences"][0],
            serde_json::json!({"key": {"id": "7"}, "kind": "different", "columns": ["v"], "values": [], "repaired": false})
        );
        assert_eq!(json["tables"][0]["skipped"], serde_json::Value::Null);
    }
}
