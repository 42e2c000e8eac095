//! What of a table is compared, and in which pieces.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::journal::Verified;
use super::{CheckMode, CheckOptions, TablePair};
use crate::data::{Column, ColumnKind, RowKey, TableSchema};
use crate::error::{Error, Result};
use crate::server::ServerFacts;
use crate::sql::digest::{Content, DigestSide, RowDigest, Rows};
use crate::sql::row_identity;
use crate::sql::row_text::ColumnPair;
use crate::sql::select::{Bound, KeyRange};
use crate::wire::Connection;

/// How one table is compared.
pub(super) struct TablePlan {
    /// The position of the table in the report.
    pub(super) position: usize,
    /// The digests of both sides.
    pub(super) source: RowDigest,
    pub(super) target: RowDigest,
    /// The columns that a repair writes: as the source has them, and as the target has them.
    pub(super) written: (Vec<Column>, Vec<Column>),
    /// The compared columns likewise.
    pub(super) compared: (Vec<Column>, Vec<Column>),
    /// Whether the key can be cut into ranges.
    pub(super) rangeable: bool,
    pub(super) rows_estimated: u64,
    /// Whether the number of all rows is compared first, and chunks only where it differs.
    counts_first: bool,
    cursor: Mutex<Cursor>,
    /// Workers that found no chunk left.
    passed: AtomicUsize,
    /// Chunks that an earlier run of this check has verified.
    verified: Verified,
    /// What the digests are made by, hashed.
    pub(super) fingerprint: u64,
}

#[derive(Default)]
struct Cursor {
    range: KeyRange,
    /// The key's ends when chunks are cut by counting; the outer `None`: not decided yet.
    counted_ends: Option<Option<(i128, i128)>>,
    chunks: u64,
    chosen: u64,
    done: bool,
    counted: bool,
}

/// A piece of a table.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) range: KeyRange,
    /// Its number within the table.
    pub(super) number: u64,
    /// An earlier run of this check found it equal, with so many rows.
    pub(super) verified: Option<u64>,
    /// Whether it is the whole table, counted before its chunks are looked at.
    pub(super) whole_count: bool,
}

/// What a pair's planning needs to know.
pub(super) struct Facts<'a> {
    pub(super) source: &'a ServerFacts,
    pub(super) target: &'a ServerFacts,
}

impl TablePlan {
    /// Plans the comparison of two tables; the inner error is the reason why they cannot be compared.
    pub(super) fn new(
        position: usize,
        facts: &Facts<'_>,
        source: &TableSchema,
        target: &TableSchema,
        content: Content,
    ) -> Result<TablePlan, String> {
        let columns = pair_columns(source, target)?;
        let by_position: Vec<usize> = columns.iter().map(|(position, _)| *position).collect();
        let pairs: Vec<ColumnPair<'_>> = columns.iter().map(|(_, pair)| *pair).collect();
        for ColumnPair { source: column, target: other } in &pairs {
            for kind in [&column.kind, &other.kind] {
                if let ColumnKind::Other(name) = kind {
                    return Err(format!(
                        "column '{}' has the type '{name}', which dts does not know",
                        column.name
                    ));
                }
            }
        }
        let findable =
            |key: &RowKey| key.columns.iter().all(|&c| row_identity::is_findable(&source.columns[c]));
        let row_key = source.row_key().filter(findable);
        // Positions among the compared columns; none of a key with a generated column, which is not compared.
        let key: Option<Vec<usize>> = row_key.as_ref().and_then(|key| {
            key.columns.iter().map(|column| by_position.iter().position(|other| other == column)).collect()
        });
        let row_key = row_key.filter(|_| key.is_some());
        let key = key.unwrap_or_default();
        let whole_columns = row_key.as_ref().is_some_and(|row_key| {
            source.indexes.iter().any(|index| {
                index.name == row_key.index && index.parts.iter().all(|part| part.prefix.is_none())
            })
        });
        let rangeable = whole_columns && key.iter().all(|&c| pairs[c].source.is_rangeable());
        let target_key: Vec<&str> = key.iter().map(|&c| pairs[c].target.name.as_str()).collect();
        let (source_digest, target_digest) = RowDigest::pair(
            DigestSide {
                table: &source.name,
                index: row_key.as_ref().map(|key| key.index.as_str()),
                binary_xor: facts.source.is_mysql_at_least(8, 0, 0),
            },
            DigestSide {
                table: &target.name,
                index: index_of(target, &target_key),
                binary_xor: facts.target.is_mysql_at_least(8, 0, 0),
            },
            &pairs,
            &key,
            content,
        );
        let fingerprint = fingerprint(&source_digest, &target_digest);
        let both = |pairs: &mut dyn Iterator<Item = &ColumnPair<'_>>| -> (Vec<Column>, Vec<Column>) {
            pairs.map(|pair| (pair.source.clone(), pair.target.clone())).unzip()
        };
        Ok(TablePlan {
            position,
            written: both(&mut pairs.iter().filter(|pair| !pair.source.generated && !pair.target.generated)),
            compared: both(&mut pairs.iter()),
            verified: Verified::new(),
            fingerprint,
            source: source_digest,
            target: target_digest,
            rangeable,
            rows_estimated: source.rows_estimated,
            counts_first: content == Content::Existence,
            cursor: Mutex::new(Cursor::default()),
            passed: AtomicUsize::new(0),
        })
    }

    /// Returns the next chunk, whose end is asked from the source; `None` when there is none left.
    pub(super) fn next_chunk(
        &self,
        source: &mut Connection,
        options: &CheckOptions,
        seed: u64,
    ) -> Result<Option<Chunk>> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if cursor.done {
                return Ok(None);
            }
            if self.counts_first && !cursor.counted {
                cursor.counted = true;
                cursor.done = true;
                cursor.chunks = 1;
                return Ok(Some(self.whole(self.rangeable)));
            }
            if !self.rangeable {
                cursor.done = true;
                cursor.chunks = 1;
                return Ok(Some(self.whole(false)));
            }
            let verified = self.verified(cursor.chunks, &cursor.range.lower);
            let range = match verified {
                Some((range, _)) => range.clone(),
                None => {
                    let upper = self.upper(&mut cursor, source, options.chunk_rows)?;
                    KeyRange { lower: cursor.range.lower.clone(), upper }
                }
            };
            cursor.done = range.upper.is_none();
            cursor.range.lower.clone_from(&range.upper);
            let chosen = options.mode != CheckMode::Partial
                || self.counts_first
                || is_chosen(seed, &self.source.table().to_string(), cursor.chunks, options.ratio)
                || (cursor.done && cursor.chosen == 0);
            let number = cursor.chunks;
            cursor.chunks += 1;
            if chosen {
                cursor.chosen += 1;
                let verified = verified.map(|(_, rows)| *rows);
                return Ok(Some(Chunk { range, number, verified, whole_count: false }));
            }
        }
    }

    /// Returns where the next chunk ends; `None`: it is the last.
    ///
    /// Up to the largest key a dense integer key is cut by counting, because asking for the end of a chunk reads its keys. What
    /// was added above it since is cut as all other keys are.
    fn upper(&self, cursor: &mut Cursor, source: &mut Connection, rows: u64) -> Result<Option<Bound>> {
        let ends = match cursor.counted_ends {
            Some(ends) => ends,
            None => *cursor.counted_ends.insert(self.ends(source)?),
        };
        if let Some((first, last)) = ends {
            let below = match &cursor.range.lower {
                Some(bound) => bound.first().and_then(|cell| std::str::from_utf8(cell).ok()?.parse().ok()),
                None => Some(first - 1),
            };
            let upper = below.map(|below: i128| below + i128::from(rows));
            if let Some(upper) = upper.filter(|upper| *upper < last) {
                return Ok(Some(vec![upper.to_string().into_bytes()]));
            }
        }
        let sql = self.source.boundary(&cursor.range, rows)?;
        let row = source.query_row(sql, "finding the end of a chunk")?;
        Ok(row.map(|row| (0..row.len()).map(|c| row.bytes(c).unwrap_or_default().to_vec()).collect()))
    }

    /// Returns the smallest and the largest key when at least half of the numbers between are in use, as far as the statistics
    /// know. (When they are wrong, chunks only become smaller.)
    fn ends(&self, source: &mut Connection) -> Result<Option<(i128, i128)>> {
        let Some(sql) = self.source.extremes() else { return Ok(None) };
        let row = source.query_row(sql, "looking for the ends of a key")?;
        let number = |column: usize| row.as_ref()?.text(column)?.parse::<i128>().ok();
        let (Some(first), Some(last)) = (number(0), number(1)) else { return Ok(None) };
        let is_dense = i128::from(self.rows_estimated) * 2 >= last - first;
        Ok(is_dense.then_some((first, last)))
    }

    fn whole(&self, whole_count: bool) -> Chunk {
        let range = KeyRange::default();
        let verified = self.verified(0, &None).filter(|(known, _)| *known == range).map(|(_, rows)| *rows);
        Chunk { range, number: 0, verified: verified.filter(|_| !whole_count), whole_count }
    }

    fn verified(&self, number: u64, lower: &Option<Bound>) -> Option<&(KeyRange, u64)> {
        self.verified.get(&number).filter(|(range, _)| range.lower == *lower)
    }

    /// Takes over what an earlier run of this check has verified.
    pub(super) fn set_verified(&mut self, verified: Verified) {
        self.verified = verified;
    }

    /// Lets the table be cut into chunks after all: its rows were counted, and the numbers differ.
    pub(super) fn reopen(&self) {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        *cursor = Cursor { counted: true, ..Cursor::default() };
    }

    /// Notes that a worker found no chunk left, and returns how many did.
    pub(super) fn pass(&self) -> usize {
        self.passed.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the table: no further chunk is handed out.
    pub(super) fn abandon(&self) {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner).done = true;
    }

    /// Returns how many chunks the table was cut into so far.
    pub(super) fn chunks(&self) -> u64 {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner).chunks
    }
}

/// Returns whether two readings of a table have the same columns and indexes.
pub(super) fn is_same_definition(one: &TableSchema, other: &TableSchema) -> bool {
    one.name == other.name && one.columns == other.columns && one.indexes == other.indexes
}

/// A number that changes with the statements that make the digests.
fn fingerprint(source: &RowDigest, target: &RowDigest) -> u64 {
    let whole = KeyRange::default();
    let text = [source, target].map(|digest| digest.digest(Rows::Range(&whole)).unwrap_or_default());
    let hash = Sha256::digest(text.join(&0));
    u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// Finds each compared column of the source on the target.
///
/// A hidden key that the target added for itself is not looked at.
fn pair_columns<'a>(
    source: &'a TableSchema,
    target: &'a TableSchema,
) -> Result<Vec<(usize, ColumnPair<'a>)>, String> {
    let mut pairs = Vec::new();
    for (position, column) in source.columns.iter().enumerate() {
        let other = target.columns.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name));
        match other {
            Some(other) if column.generated && other.generated => {}
            Some(other) => pairs.push((position, ColumnPair { source: column, target: other })),
            None if column.generated => {}
            None => return Err(format!("the target's table has no column '{}'", column.name)),
        }
    }
    let is_own = |column: &Column| column.generated || (column.invisible && column.name == "my_row_id");
    for column in target.columns.iter().filter(|column| !is_own(column)) {
        if !source.columns.iter().any(|other| other.name.eq_ignore_ascii_case(&column.name)) {
            return Err(format!("only the target's table has a column '{}'", column.name));
        }
    }
    if pairs.is_empty() { Err("the table has no column to compare".into()) } else { Ok(pairs) }
}

/// Finds an index whose first parts are exactly these columns, whole.
fn index_of<'a>(table: &'a TableSchema, key: &[&str]) -> Option<&'a str> {
    let starts_with = |index: &&crate::data::Index| {
        index.parts.len() >= key.len()
            && index.parts.iter().zip(key).all(|(part, name)| {
                part.prefix.is_none()
                    && part
                        .column
                        .and_then(|c| table.columns.get(c))
                        .is_some_and(|column| column.name == *name)
            })
            && matches!(index.index_type.as_str(), "BTREE" | "")
    };
    if key.is_empty() {
        return None;
    }
    table.indexes.iter().find(starts_with).map(|index| index.name.as_str())
}

/// Finds the two sides of a pair among what the servers have, or says which is missing.
pub(super) fn find<'a>(
    pair: &TablePair,
    sources: &'a [TableSchema],
    targets: &'a [TableSchema],
) -> Result<(&'a TableSchema, &'a TableSchema), String> {
    let source = sources.iter().find(|table| table.name == pair.source);
    let target = targets.iter().find(|table| table.name == pair.target);
    match (source, target) {
        (Some(source), Some(target)) => Ok((source, target)),
        (None, _) => Err("no base table of this name on the source".into()),
        (_, None) => Err("no base table of this name on the target".into()),
    }
}

/// Returns whether something is among `ratio` percent, by a number that depends on nothing but its name and the seed: so
/// that the choice does not depend on which worker comes first.
pub(super) fn is_chosen(seed: u64, name: &str, number: u64, ratio: f64) -> bool {
    // FNV-1a over the name, then the finalizer of splitmix64.
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    let percent = f64::from(u32::try_from(hash >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX) * 100.0;
    percent < ratio
}

/// Checks the options.
pub(super) fn validate(options: &CheckOptions) -> Result<()> {
    for (what, ratio) in [("check.ratio", options.ratio), ("check.row_count_ratio", options.row_count_ratio)]
    {
        if !(0.0..=100.0).contains(&ratio) {
            return Err(Error::invalid(what, ratio.to_string(), "0 to 100 percent"));
        }
    }
    if options.chunk_rows == 0 {
        return Err(Error::invalid("check.chunk_rows", "0", "at least 1"));
    }
    if options.threads == 0 {
        return Err(Error::invalid("check.threads", "0", "at least 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_chooses_the_same_again_and_about_as_many_as_asked() {
        let chosen =
            |seed| -> Vec<u64> { (0..10_000).filter(|&n| is_chosen(seed, "d.t", n, 10.0)).collect() };
        assert_eq!(chosen(7), chosen(7));
        assert_ne!(chosen(7), chosen(8));
        assert!((900..1100).contains(&chosen(7).len()), "{}", chosen(7).len());
        assert!(!is_chosen(7, "d.t", 1, 0.0));
        assert!((0..10_000).all(|n| is_chosen(7, "d.t", n, 100.0)));
    }
}
