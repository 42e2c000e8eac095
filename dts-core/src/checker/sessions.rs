//! A worker's connections to both servers.
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use super::CheckMethod;
use crate::data::TableName;
use crate::error::{Error, Result, Side};
use crate::source::SourceEndpoint;
use crate::sql::digest::{self, RowDigest, Rows};
use crate::sql::row_identity::Identity;
use crate::sql::row_reader::Digest;
use crate::sql::row_text;
use crate::sql::select::KeyRange;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::wire::{Connection, TextRow};

/// A table without a key that can be cut into ranges is digested by one statement, however large it is. A dead peer is
/// noticed earlier, by TCP keepalive.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// A connection to each server, set up so that no byte of a value is converted; each is opened when it is first needed.
pub(super) struct Sessions<'a> {
    ends: Ends<'a>,
    source: Option<Connection>,
    target: Option<Connection>,
    methods: Methods,
    /// Tables without a key with a row that the server cannot hash, and thus cannot find again: they are read and hashed here.
    unhashable: Vec<(Side, TableName)>,
}

/// Where connections come from, and what ends their waits.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    pub(super) source: &'a SourceEndpoint,
    pub(super) target: &'a TargetEndpoint,
    pub(super) stop: &'a StopToken,
}

/// How each side is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Methods {
    source: CheckMethod,
    target: CheckMethod,
}

impl Methods {
    /// Takes the wanted method, and finds out whether the servers can do it.
    pub(super) fn find(
        wanted: CheckMethod,
        source: &SourceEndpoint,
        target: &TargetEndpoint,
        stop: &StopToken,
    ) -> Result<Self> {
        if wanted == CheckMethod::Stream {
            return Ok(Methods { source: wanted, target: wanted });
        }
        let can = |connection: &mut Connection, side: Side| -> Result<CheckMethod> {
            let answer = connection.query_row(digest::PROBE, "asking whether the server can hash");
            if digest::can_hash(&answer_of(answer)?) {
                return Ok(CheckMethod::Digest);
            }
            log::warn!("the {side} cannot compute the hashes of rows: its rows are read and hashed here");
            Ok(CheckMethod::Stream)
        };
        Ok(Methods {
            source: can(&mut source.reader(stop)?, Side::Source)?,
            target: can(&mut target.writer(stop)?, Side::Target)?,
        })
    }

    pub(super) fn on(self, side: Side) -> CheckMethod {
        match side {
            Side::Source => self.source,
            Side::Target => self.target,
        }
    }
}

/// The cells of a probe's answer; none when the server refused it, as one without the function does.
fn answer_of(answer: Result<Option<TextRow>>) -> Result<Vec<Option<Vec<u8>>>> {
    match answer {
        Ok(Some(row)) => Ok((0..row.len()).map(|cell| row.bytes(cell).map(<[u8]>::to_vec)).collect()),
        Ok(None) => Ok(Vec::new()),
        Err(error) if error.server_error().is_some() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A row as one read saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// The first 128 bits of its hash in hexadecimal; `None` when the server could not compute it.
    hash: Option<[u8; 32]>,
    /// How many rows there are with this identity: more than one without a key, or where the target lacks the key's index.
    copies: u64,
}

/// Rows by the cells of their identity.
pub(super) type SeenRows = HashMap<Vec<Vec<u8>>, Seen>;

/// A hash of each column, by the cells of the row's key; `None` where the server could not compute it.
pub(super) type ColumnHashes = HashMap<Vec<Vec<u8>>, Vec<Option<Vec<u8>>>>;

/// Returns whether two reads saw the same; a row whose hash is not known is never the same as anything.
pub(super) fn is_same(one: Option<&Seen>, other: Option<&Seen>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one.hash.is_some() && one == other,
        _ => false,
    }
}

impl Seen {
    pub(super) fn new(hash: Option<[u8; 32]>, copies: u64) -> Self {
        Seen { hash, copies }
    }

    /// Returns whether the server could compute the row's hash.
    pub(super) fn is_known(&self) -> bool {
        self.hash.is_some()
    }

    pub(super) fn copies(&self) -> u64 {
        self.copies
    }

    /// Takes in another row of the same identity.
    fn add(&mut self, hash: Option<[u8; 32]>, copies: u64) {
        self.copies += copies;
        self.hash = match (self.hash, hash) {
            (Some(mut sum), Some(hash)) => {
                for (byte, other) in sum.iter_mut().zip(hash) {
                    *byte = byte.wrapping_add(other);
                }
                Some(sum)
            }
            _ => None,
        };
    }
}

impl<'a> Sessions<'a> {
    pub(super) fn new(ends: Ends<'a>, methods: Methods) -> Self {
        Sessions { ends, source: None, target: None, methods, unhashable: Vec::new() }
    }

    /// Lets connections go that broke: the next use opens others. What was begun on them is lost, so only who begins anew may
    /// ask for this.
    pub(super) fn renew(&mut self) {
        for connection in [&mut self.source, &mut self.target] {
            if connection.as_ref().is_some_and(Connection::is_broken) {
                *connection = None;
            }
        }
    }

    /// Returns a side's connection, which is opened when there is none.
    pub(super) fn on(&mut self, side: Side) -> Result<&mut Connection> {
        let Ends { source, target, stop } = self.ends;
        let slot = if side == Side::Source { &mut self.source } else { &mut self.target };
        if slot.is_none() {
            let mut connection =
                if side == Side::Source { source.reader(stop)? } else { target.writer(stop)? };
            connection.set_answer_timeout(ANSWER_TIMEOUT);
            *slot = Some(connection);
        }
        slot.as_mut().ok_or_else(|| Error::internal("a connection that was opened is not there"))
    }

    /// Returns whether both servers hash.
    pub(super) fn servers_hash(&self) -> bool {
        [Side::Source, Side::Target].iter().all(|side| self.methods.on(*side) == CheckMethod::Digest)
    }

    /// Whether the rows of a side are hashed here.
    fn streams(&self, side: Side, digest: &RowDigest) -> bool {
        self.methods.on(side) == CheckMethod::Stream && digest.hashes_values()
    }

    /// Computes the digest of the rows in a range.
    pub(super) fn digest(&mut self, side: Side, digest: &RowDigest, range: &KeyRange) -> Result<Digest> {
        let rows = Rows::Range(range);
        if self.streams(side, digest) {
            let mut sum = Digest::EMPTY;
            let mut reader = digest.reader(rows);
            let mut stream = self.on(side)?.stream(digest.cells(rows)?, "reading rows")?;
            while let Some(mut cells) = stream.next_row()? {
                sum.add(&reader.read_hash(&mut cells)?, digest.has_key());
            }
            return Ok(sum);
        }
        let row = self.on(side)?.query_row(digest.digest(rows)?, "computing a digest")?;
        let row = row.ok_or_else(|| Error::internal("a digest without a row").on(side))?;
        let cells: Vec<Option<&[u8]>> = (0..row.len()).map(|cell| row.bytes(cell)).collect();
        Digest::parse(&cells).ok_or_else(|| Error::internal("a digest that cannot be read").on(side))
    }

    /// Reads the cells of some rows and hashes them here.
    fn stream_rows(&mut self, side: Side, digest: &RowDigest, rows: Rows<'_>) -> Result<SeenRows> {
        let mut seen = SeenRows::new();
        let mut reader = digest.reader(rows);
        let mut stream = self.on(side)?.stream(digest.cells(rows)?, "reading rows")?;
        while let Some(mut cells) = stream.next_row()? {
            let Some((identity, hash)) = reader.read(&mut cells)? else { continue };
            let hash = Some(row_text::hex(&hash));
            match seen.entry(identity) {
                // Without a key the hash is the identity: one more of the same.
                Entry::Occupied(mut entry) if !digest.has_key() => entry.get_mut().copies += 1,
                Entry::Occupied(mut entry) => entry.get_mut().add(hash, 1),
                Entry::Vacant(entry) => {
                    entry.insert(Seen::new(hash, 1));
                }
            }
        }
        Ok(seen)
    }

    /// Reads identities and hashes of some rows.
    ///
    /// Rows that the server cannot hash (their text is longer than its `max_allowed_packet`) are hashed here: those of a keyed table
    /// when they are looked up by identity; without a key, where the hash is the identity, all of the table from then on.
    pub(super) fn rows(&mut self, side: Side, digest: &RowDigest, rows: Rows<'_>) -> Result<SeenRows> {
        let is_unhashable =
            |(known_side, table): &(Side, TableName)| *known_side == side && table == digest.table();
        if self.streams(side, digest) || !digest.has_key() && self.unhashable.iter().any(is_unhashable) {
            return self.stream_rows(side, digest, rows);
        }
        let seen = self.hashed_rows(side, digest, rows)?;
        if seen.values().all(Seen::is_known) || digest.has_key() && !matches!(rows, Rows::Identities(_)) {
            return Ok(seen);
        }
        if !digest.has_key() {
            self.unhashable.push((side, digest.table().clone()));
        }
        self.stream_rows(side, digest, rows)
    }

    /// Reads identities and hashes of some rows of the target, and locks them until the transaction ends. Only where the
    /// target hashes.
    pub(super) fn lock_rows(&mut self, digest: &RowDigest, identities: &[Identity]) -> Result<SeenRows> {
        self.read_rows(Side::Target, digest, digest.locked_rows(identities)?)
    }

    fn hashed_rows(&mut self, side: Side, digest: &RowDigest, rows: Rows<'_>) -> Result<SeenRows> {
        self.read_rows(side, digest, digest.rows(rows)?)
    }

    fn read_rows(&mut self, side: Side, digest: &RowDigest, sql: Vec<u8>) -> Result<SeenRows> {
        let mut seen = SeenRows::new();
        let mut stream = self.on(side)?.stream(sql, "reading keys and hashes")?;
        let key_length = digest.key_columns().len();
        while let Some(mut cells) = stream.next_row()? {
            let mut identity = Vec::with_capacity(key_length.max(1));
            for _ in 0..key_length {
                identity.push(cells.next_cell()?.unwrap_or_default().to_vec());
            }
            let hash = cells.next_cell()?.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
            let copies = if digest.has_key() {
                1
            } else {
                identity.push(hash.map(|hash| hash.to_vec()).unwrap_or_default());
                let count =
                    cells.next_cell()?.and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
                count.ok_or_else(|| Error::internal("a count that is no number").on(side))?
            };
            match seen.entry(identity) {
                Entry::Occupied(mut entry) => entry.get_mut().add(hash, copies),
                Entry::Vacant(entry) => {
                    entry.insert(Seen::new(hash, copies));
                }
            }
        }
        Ok(seen)
    }

    /// Reads a hash of every column of some rows, by the cells of their key.
    pub(super) fn column_hashes(
        &mut self,
        side: Side,
        digest: &RowDigest,
        identities: &[Identity],
    ) -> Result<ColumnHashes> {
        let key_length = digest.key_columns().len();
        let hash_here = |sessions: &mut Self| {
            let rows = Rows::Identities(identities);
            let mut hashes = ColumnHashes::new();
            let mut reader = digest.reader(rows);
            let mut stream = sessions.on(side)?.stream(digest.cells(rows)?, "comparing columns")?;
            while let Some(mut cells) = stream.next_row()? {
                if let Some((key, _)) = reader.read(&mut cells)? {
                    let columns = reader.column_hashes();
                    let columns = columns.iter().map(|hash| Some(row_text::hex(hash).to_vec())).collect();
                    hashes.insert(key, columns);
                }
            }
            Ok(hashes)
        };
        if self.streams(side, digest) {
            return hash_here(self);
        }
        let rows = self.on(side)?.query(digest.column_hashes(identities)?, "comparing columns")?;
        let hashes: ColumnHashes = rows
            .iter()
            .map(|row| {
                let cell = |position: usize| row.bytes(position).map(<[u8]>::to_vec);
                let key = (0..key_length).map(|position| cell(position).unwrap_or_default()).collect();
                (key, (key_length..row.len()).map(cell).collect())
            })
            .collect();
        if hashes.values().flatten().any(Option::is_none) { hash_here(self) } else { Ok(hashes) }
    }
}
