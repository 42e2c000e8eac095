//! From a chunk whose digests differ to the rows that really differ.
//!
//! # The problem
//! While the source is written and an applier keeps applying, the two sides are never read at the same point of the
//! history. A row that was read on the source, changed, applied and then read on the target looks different and is not;
//! a row that is really different must still be found, and no lock may be taken.
//!
//! # The method
//! One *round* over some rows: read `L`, the source's position; read the rows on the source (`S`); read `H`, the
//! source's position again; wait until the applied position includes `H`, and meanwhile read rows that were seen moving on
//! the source again and again (`S1`, `S2`, ...); read the rows on the target (`T`); read them on the source again (`S'`);
//! read the position once more (`H'`). All rows under question, of all chunks of a window, share a round: the applier's lag
//! is waited for once.
//!
//! - **`T` is one of `S`, `S1`, ..., `S'`: settled, equal.** The target held exactly a version of the row that the source held during
//!   the round. That this needs no position at all is why an equal *chunk* is settled by one comparison: equal contents
//!   are equal, whenever they were read. What is proved is equality as of the source's read; what the applier does
//!   wrong later is a later check's business.
//! - **`S = S'` and `T` is something else: a vote for a difference.** Everything that was visible in `S` is in `H` and
//!   thus applied before `T`, so that `T` can differ without being wrong only if the row changed after `S` and changed back
//!   before `S'` (and `T` saw the middle), or if a transaction was visible in `S` but not yet in `H` (the server makes rows
//!   visible and adds the GTID in two steps). Votes count only while `S` and `T` stay what they were in the vote before.
//! - **Anything else: the row is being changed.** The votes are forgotten and the row is remembered as *moving*.
//!
//! A difference is confirmed by six votes; by two when the source executed nothing at all during the round (`L = H'`);
//! by eight when the row was ever seen moving. A row that flips between two versions all the time, and is read on whichever foot it
//! stands, gives a first vote in one of four rounds and each further one in one of eight: three votes made an equal row a difference
//! once in 256 times (seen in a test under load), six do once in 130,000 times, and such a row is soon seen moving, which needs two
//! more. Between two rounds there is a growing pause: the step between visibility and GTID is
//! over long before the third vote. A counter that is raised a thousand times a second is never the same in `S`, `T` and `S'`;
//! the reads in between see the version that the target then has. A row that neither settles nor is confirmed within the patience is reported as
//! unsettled, and the conclusion is not "same".
//!
//! When nothing applies there is nothing to wait for: the rows are read once more by key on both sides, and what still
//! differs is a difference.
//!
//! # Why no row falls between two chunks
//! Ranges of a chunk are compared by each server in its own order: `> bound` and `<= bound` exclude each other and cover
//! everything *on each server*, whatever its collation makes of the bound. So each row of either side is in exactly one
//! chunk of that side. If the two orders disagree about a row, it shows up as missing in one chunk and as extra in
//! another, and both times the rounds above read it *by its key*, not by its range, and find it equal. So another order
//! costs time, never a wrong answer.
//!
//! # What is assumed
//! What [`AppliedPosition`](super::AppliedPosition) tells is visible to later reads on the target. Reads on the source are
//! plain consistent reads, each of its own moment.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::alignment::Alignment;
use super::plan::TablePlan;
use super::report::Difference;
use super::sessions::{Seen, SeenRows, Sessions, is_same};
use crate::data::Position;
use crate::error::{Result, Side};
use crate::server::ServerFacts;
use crate::sql::digest::Rows;
use crate::sql::row_identity::Identity;
use crate::sql::select::KeyRange;
use crate::stop::StopToken;

/// Rows of a chunk that are fetched one by one at a time; a larger chunk is cut into buckets. About 150 bytes each.
const FETCH_ROWS_MAX: u64 = 100_000;
/// Rows looked up by key in one statement.
pub(super) const LOOKUP_ROWS: usize = 200;
/// Rows that share a round.
const ROUND_ROWS: usize = 2_000;
/// Moving rows that are watched while a round waits, and how many of their versions are remembered.
const WATCHED_ROWS: usize = 200;
const VERSIONS_MAX: usize = 10_000;

const VOTES: u32 = 6;
const VOTES_QUIET: u32 = 2;
const VOTES_MOVING: u32 = 8;

/// What a chunk with unequal digests came to.
#[derive(Default)]
pub(super) struct Settled {
    /// The first differences.
    pub(super) differences: Vec<Difference>,
    /// How many there are.
    pub(super) differences_count: u64,
    /// How many rows were repaired and then found equal.
    pub(super) rows_repaired: u64,
    /// Rows that did not settle.
    pub(super) rows_unsettled: u64,
    /// Why not.
    pub(super) reason: Option<String>,
}

/// Settles the rows of one table.
pub(super) struct Settler<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) alignment: &'a Alignment<'a>,
    pub(super) source_facts: &'a ServerFacts,
    pub(super) stop: &'a StopToken,
    /// Differences that are worked out in detail; the rest is counted.
    pub(super) differences_max: usize,
    /// Whether the values of differing columns are shown.
    pub(super) show_values: bool,
}

/// A row that is confirmed to differ.
#[derive(Clone)]
pub(super) struct Confirmed {
    pub(super) identity: Identity,
    pub(super) source: Option<Seen>,
    pub(super) target: Option<Seen>,
}

/// What is known of a row that is not settled yet.
struct Candidate {
    /// Which of the chunks it belongs to.
    chunk: usize,
    identity: Identity,
    votes: u32,
    moving: bool,
    last: Option<(Option<Seen>, Option<Seen>)>,
    /// What the source was seen to have while the round waited.
    versions: Vec<Option<Seen>>,
}

/// What a round says of a row.
enum Verdict {
    Equal,
    Different(Option<Seen>, Option<Seen>),
    Unknown,
}

impl Candidate {
    fn new(chunk: usize, identity: Identity) -> Self {
        Candidate { chunk, identity, votes: 0, moving: false, last: None, versions: Vec::new() }
    }

    fn judge(
        &mut self,
        before: Option<Seen>,
        target: Option<Seen>,
        after: Option<Seen>,
        quiet: bool,
    ) -> Verdict {
        if self.versions.iter().chain([&before, &after]).any(|seen| is_same(seen.as_ref(), target.as_ref())) {
            return Verdict::Equal;
        }
        if before != after || self.versions.iter().any(|seen| *seen != before) {
            self.moving = true;
            self.votes = 0;
            self.last = None;
            return Verdict::Unknown;
        }
        if self.last.as_ref().is_some_and(|last| *last != (before, target)) {
            self.moving = true;
            self.votes = 0;
        }
        self.last = Some((before, target));
        self.votes += 1;
        let needed = match (self.moving, quiet) {
            (true, _) => VOTES_MOVING,
            (false, true) => VOTES_QUIET,
            (false, false) => VOTES,
        };
        if self.votes >= needed { Verdict::Different(before, target) } else { Verdict::Unknown }
    }
}

impl Settler<'_> {
    /// Finds the rows that differ in some ranges, of each of which so many rows were counted on the side that has more.
    ///
    /// `confirmed` is told of every row that differs, with the position of its range, before the next ones are looked at.
    pub(super) fn settle(
        &self,
        sessions: &mut Sessions<'_>,
        ranges: &[(&KeyRange, u64)],
        confirmed: &mut dyn FnMut(usize, &Confirmed),
    ) -> Result<Vec<Settled>> {
        let mut settled: Vec<Settled> = ranges.iter().map(|_| Settled::default()).collect();
        let mut parts: Vec<(usize, Rows<'_>)> = Vec::new();
        let mut rows_held = 0;
        for (chunk, &(range, rows)) in ranges.iter().enumerate() {
            let count = rows.div_ceil(FETCH_ROWS_MAX).max(1);
            for index in 0..count {
                let rows_of_part = rows / count;
                if !parts.is_empty() && rows_held + rows_of_part > FETCH_ROWS_MAX {
                    self.settle_parts(sessions, &parts, &mut settled, confirmed)?;
                    parts.clear();
                    rows_held = 0;
                }
                rows_held += rows_of_part;
                let part = if count == 1 { Rows::Range(range) } else { Rows::Bucket { range, index, count } };
                parts.push((chunk, part));
            }
        }
        self.settle_parts(sessions, &parts, &mut settled, confirmed)?;
        Ok(settled)
    }

    /// Settles the rows of some parts of one table, each with the position that its findings belong to.
    pub(super) fn settle_parts(
        &self,
        sessions: &mut Sessions<'_>,
        parts: &[(usize, Rows<'_>)],
        settled: &mut [Settled],
        confirmed: &mut dyn FnMut(usize, &Confirmed),
    ) -> Result<()> {
        self.stop.check()?;
        let mut sources = Vec::with_capacity(parts.len());
        for (_, part) in parts {
            sources.push(sessions.rows(Side::Source, &self.plan.source, *part)?);
        }
        let high = self.alignment.source_position(self.source_facts, sessions.on(Side::Source)?)?;
        // Should the wait be in vain, the rounds below find that out again and say so.
        self.alignment.wait(high.as_ref(), self.stop)?;
        let mut open = Vec::new();
        for ((chunk, part), source) in parts.iter().zip(sources) {
            let target = sessions.rows(Side::Target, &self.plan.target, *part)?;
            open.extend(candidates(&source, &target).into_iter().map(|identity| (*chunk, identity)));
        }
        while !open.is_empty() {
            let rest = open.split_off(open.len().min(ROUND_ROWS));
            self.settle_batch(sessions, open, settled, confirmed)?;
            open = rest;
        }
        Ok(())
    }

    /// Looks rows up by key, in statements of a bounded size.
    fn look_up(&self, sessions: &mut Sessions<'_>, side: Side, asked: &[Identity]) -> Result<SeenRows> {
        let digest = if side == Side::Source { &self.plan.source } else { &self.plan.target };
        let mut seen = SeenRows::new();
        for batch in asked.chunks(LOOKUP_ROWS) {
            seen.extend(sessions.rows(side, digest, Rows::Identities(batch))?);
        }
        Ok(seen)
    }

    fn settle_batch(
        &self,
        sessions: &mut Sessions<'_>,
        identities: Vec<(usize, Identity)>,
        settled: &mut [Settled],
        told: &mut dyn FnMut(usize, &Confirmed),
    ) -> Result<()> {
        let mut open: Vec<Candidate> =
            identities.into_iter().map(|(chunk, identity)| Candidate::new(chunk, identity)).collect();
        let mut confirmed = Vec::new();
        let mut pause = Duration::from_millis(5);
        let begun = Instant::now();
        loop {
            let asked: Vec<Identity> = open.iter().map(|candidate| candidate.identity.clone()).collect();
            let position = |sessions: &mut Sessions<'_>| {
                self.alignment.source_position(self.source_facts, sessions.on(Side::Source)?)
            };
            let low = position(sessions)?;
            let before = self.look_up(sessions, Side::Source, &asked)?;
            let high = position(sessions)?;
            if !self.wait_watching(sessions, high.as_ref(), &mut open)? {
                give_up(settled, &open, "the applied position stood still");
                break;
            }
            let target = self.look_up(sessions, Side::Target, &asked)?;
            let (after, quiet) = if self.alignment.is_live() {
                let after = self.look_up(sessions, Side::Source, &asked)?;
                (after, low == position(sessions)?)
            } else {
                (before.clone(), true)
            };
            open.retain_mut(|candidate| {
                let cells = &candidate.identity.cells;
                let seen = |rows: &SeenRows| rows.get(cells).copied();
                if !self.alignment.is_live() {
                    // Nothing applies: this second look is the last.
                    candidate.votes = VOTES_MOVING;
                }
                match candidate.judge(seen(&before), seen(&target), seen(&after), quiet) {
                    Verdict::Equal => false,
                    Verdict::Unknown => true,
                    Verdict::Different(source, target) => {
                        let known = |seen: &Option<Seen>| seen.as_ref().is_none_or(Seen::is_known);
                        if known(&source) && known(&target) {
                            let identity = candidate.identity.clone();
                            confirmed.push((candidate.chunk, Confirmed { identity, source, target }));
                        } else {
                            let settled = &mut settled[candidate.chunk];
                            settled.rows_unsettled += 1;
                            settled.reason = Some("a server could not compute the hash of a row".into());
                        }
                        false
                    }
                }
            });
            if open.is_empty() {
                break;
            }
            if begun.elapsed() >= self.alignment.patience() {
                give_up(settled, &open, "rows kept changing for as long as the check was told to be patient");
                break;
            }
            self.stop.sleep(pause)?;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
        for (chunk, row) in &confirmed {
            told(*chunk, row);
        }
        let mut by_chunk: BTreeMap<usize, Vec<Confirmed>> = BTreeMap::new();
        for (chunk, row) in confirmed {
            by_chunk.entry(chunk).or_default().push(row);
        }
        for (chunk, rows) in by_chunk {
            self.describe(sessions, rows, settled, chunk)?;
        }
        Ok(())
    }

    /// Waits for a position, and meanwhile looks what the source makes of the rows that were seen moving.
    fn wait_watching(
        &self,
        sessions: &mut Sessions<'_>,
        high: Option<&Position>,
        open: &mut [Candidate],
    ) -> Result<bool> {
        for candidate in open.iter_mut() {
            candidate.versions.clear();
        }
        let mut watched: Vec<&mut Candidate> =
            open.iter_mut().filter(|candidate| candidate.moving).take(WATCHED_ROWS).collect();
        let asked: Vec<Identity> = watched.iter().map(|candidate| candidate.identity.clone()).collect();
        if high.is_none() || asked.is_empty() || !self.plan.source.has_key() {
            return self.alignment.wait(high, self.stop);
        }
        let mut watch = |pause: Duration| {
            let seen = sessions.rows(Side::Source, &self.plan.source, Rows::Identities(&asked))?;
            for candidate in &mut watched {
                let version = seen.get(&candidate.identity.cells).copied();
                if candidate.versions.last() != Some(&version) && candidate.versions.len() < VERSIONS_MAX {
                    candidate.versions.push(version);
                }
            }
            self.stop.sleep(pause.min(Duration::from_micros(500)))
        };
        watch(Duration::ZERO)?;
        self.alignment.wait_doing(high, self.stop, watch)
    }
}

fn give_up(settled: &mut [Settled], open: &[Candidate], reason: &str) {
    for candidate in open {
        let settled = &mut settled[candidate.chunk];
        settled.rows_unsettled += 1;
        settled.reason = Some(reason.to_owned());
    }
}

/// Lists the rows that are not the same in two reads, in the order of their identity.
fn candidates(source: &SeenRows, target: &SeenRows) -> Vec<Identity> {
    let differing = source
        .iter()
        .filter(|(cells, seen)| !is_same(Some(seen), target.get(*cells)))
        .map(|(cells, _)| Identity { cells: cells.clone(), from_target: false });
    let extra = target
        .keys()
        .filter(|cells| !source.contains_key(*cells))
        .map(|cells| Identity { cells: cells.clone(), from_target: true });
    let mut candidates: Vec<Identity> = differing.chain(extra).collect();
    candidates.sort_unstable();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        let identity = Identity { cells: vec![b"1".to_vec()], from_target: false };
        Candidate::new(0, identity)
    }

    /// A row in version `v`.
    fn row(v: u8) -> Option<Seen> {
        Some(Seen::new(Some([v; 32]), 1))
    }

    fn rounds_to_confirm(candidate: &mut Candidate, quiet: bool) -> u32 {
        let mut rounds = 1;
        while !matches!(candidate.judge(row(1), row(2), row(1), quiet), Verdict::Different(..)) {
            rounds += 1;
            assert!(rounds < 100);
        }
        rounds
    }

    #[test]
    fn a_steady_difference_is_confirmed() {
        assert_eq!(rounds_to_confirm(&mut candidate(), true), VOTES_QUIET);
        assert_eq!(rounds_to_confirm(&mut candidate(), false), VOTES);
        let mut missing = candidate();
        assert!(matches!(missing.judge(row(1), None, row(1), true), Verdict::Unknown));
        assert!(matches!(missing.judge(row(1), None, row(1), true), Verdict::Different(Some(_), None)));
    }

    #[test]
    fn a_version_of_the_source_settles() {
        assert!(matches!(candidate().judge(row(1), row(1), row(2), false), Verdict::Equal));
        assert!(matches!(candidate().judge(row(1), row(2), row(2), false), Verdict::Equal));
        assert!(
            matches!(candidate().judge(row(1), None, None, false), Verdict::Equal),
            "deleted on both sides"
        );
    }

    #[test]
    fn a_moving_row_needs_more_votes_and_forgets_old_ones() {
        let mut moving = candidate();
        assert!(matches!(moving.judge(row(1), row(3), row(2), true), Verdict::Unknown));
        assert_eq!(rounds_to_confirm(&mut moving, true), VOTES_MOVING);
        // The source did not move within a round, but between two.
        let mut flipping = candidate();
        for version in 1..20 {
            assert!(matches!(flipping.judge(row(version), row(99), row(version), true), Verdict::Unknown));
        }
    }

    #[test]
    fn a_version_seen_while_waiting_settles_and_shows_that_the_row_moves() {
        let mut counter = candidate();
        counter.versions = vec![row(2), row(3)];
        assert!(matches!(counter.judge(row(1), row(3), row(9), false), Verdict::Equal));
        let mut aba = candidate();
        aba.versions = vec![row(2)];
        assert!(matches!(aba.judge(row(1), row(7), row(1), true), Verdict::Unknown));
        aba.versions.clear();
        assert_eq!(rounds_to_confirm(&mut aba, true), VOTES_MOVING);
    }

    #[test]
    fn a_row_without_a_hash_is_never_equal() {
        let unknown = Some(Seen::new(None, 1));
        assert!(!is_same(unknown.as_ref(), unknown.as_ref()));
        assert!(matches!(candidate().judge(unknown, unknown, unknown, true), Verdict::Unknown));
    }

    #[test]
    fn candidates_of_both_sides() {
        let seen = |version: u8| Seen::new(Some([version; 32]), 1);
        let key = |k: &str| vec![k.as_bytes().to_vec()];
        let source = SeenRows::from([(key("a"), seen(1)), (key("b"), seen(1)), (key("c"), seen(1))]);
        let target = SeenRows::from([(key("a"), seen(1)), (key("b"), seen(2)), (key("d"), seen(1))]);
        let found: Vec<_> =
            candidates(&source, &target).into_iter().map(|c| (c.cells, c.from_target)).collect();
        assert_eq!(found, [(key("b"), false), (key("c"), false), (key("d"), true)]);
    }
}
