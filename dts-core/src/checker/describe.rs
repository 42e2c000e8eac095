//! From rows that differ to differences that people can read: key, kind, columns, and values where they are asked for.
use std::collections::HashMap;

use super::report::{ColumnValues, Difference, DifferenceKind};
use super::sessions::{ColumnHashes, Seen, Sessions};
use super::settle::{Confirmed, LOOKUP_ROWS, Settled, Settler};
use crate::data::{Column, ColumnKind};
use crate::error::{Result, Side};
use crate::sql::row_identity::Identity;

/// Cells of rows by the cells of their key.
type RowCells = HashMap<Vec<Vec<u8>>, Vec<Option<Vec<u8>>>>;

/// Values longer than this are cut.
const SHOWN_CHARACTERS: usize = 200;

fn shortened(text: String) -> String {
    let length = text.chars().count();
    if length <= SHOWN_CHARACTERS {
        return text;
    }
    let head: String = text.chars().take(SHOWN_CHARACTERS).collect();
    format!("{head}… ({length} characters)")
}

/// Writes a cell of a key for people.
fn printable(column: &Column, cell: &[u8]) -> String {
    let label = |labels: &[String]| {
        let ordinal: usize = std::str::from_utf8(cell).ok()?.parse().ok()?;
        labels.get(ordinal.checked_sub(1)?).cloned()
    };
    if let ColumnKind::Enum(labels) = &column.kind
        && let Some(label) = label(labels)
    {
        return label;
    }
    match std::str::from_utf8(cell) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => cell.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02X}")),
    }
}

impl Settler<'_> {
    /// Reads the compared cells of some rows.
    fn cells(&self, sessions: &mut Sessions<'_>, side: Side, identities: &[Identity]) -> Result<RowCells> {
        let (digest, columns) = match side {
            Side::Source => (&self.plan.source, &self.plan.compared.0),
            Side::Target => (&self.plan.target, &self.plan.compared.1),
        };
        let columns: Vec<&Column> = columns.iter().collect();
        let key_length = digest.key_columns().len();
        let mut rows = RowCells::new();
        for batch in identities.chunks(LOOKUP_ROWS) {
            for row in sessions.on(side)?.query(digest.values(&columns, batch)?, "reading values")? {
                let cell = |position: usize| row.bytes(position).map(<[u8]>::to_vec);
                let key = (0..key_length).map(|position| cell(position).unwrap_or_default()).collect();
                rows.insert(key, (key_length..row.len()).map(cell).collect());
            }
        }
        Ok(rows)
    }

    fn column_hashes(
        &self,
        sessions: &mut Sessions<'_>,
        side: Side,
        identities: &[Identity],
    ) -> Result<ColumnHashes> {
        let digest = if side == Side::Source { &self.plan.source } else { &self.plan.target };
        let mut hashes = ColumnHashes::new();
        for batch in identities.chunks(LOOKUP_ROWS) {
            hashes.extend(sessions.column_hashes(side, digest, batch)?);
        }
        Ok(hashes)
    }

    /// Turns confirmed rows into differences that people can read.
    pub(super) fn describe(
        &self,
        sessions: &mut Sessions<'_>,
        mut confirmed: Vec<Confirmed>,
        settled: &mut [Settled],
        chunk: usize,
    ) -> Result<()> {
        let described: usize = settled.iter().map(|settled| settled.differences.len()).sum();
        let settled = &mut settled[chunk];
        settled.differences_count += confirmed.len() as u64;
        confirmed.truncate(self.differences_max.saturating_sub(described));
        let digest = &self.plan.source;
        let both: Vec<Identity> = confirmed
            .iter()
            .filter(|row| digest.has_key() && row.source.is_some() && row.target.is_some())
            .map(|row| row.identity.clone())
            .collect();
        let (source_columns, target_columns) = if both.is_empty() {
            Default::default()
        } else {
            (
                self.column_hashes(sessions, Side::Source, &both)?,
                self.column_hashes(sessions, Side::Target, &both)?,
            )
        };
        let (source_values, target_values) = if self.show_values && !both.is_empty() {
            (self.cells(sessions, Side::Source, &both)?, self.cells(sessions, Side::Target, &both)?)
        } else {
            Default::default()
        };
        for Confirmed { identity, source, target } in confirmed {
            let copies = |seen: Option<Seen>| seen.map_or(0, |seen| seen.copies());
            let kind = match (source, target) {
                (Some(_), None) => DifferenceKind::Missing,
                (None, Some(_)) => DifferenceKind::Extra,
                _ if digest.has_key() => DifferenceKind::Different,
                _ if copies(source) > copies(target) => DifferenceKind::Missing,
                _ => DifferenceKind::Extra,
            };
            let columns = match (source_columns.get(&identity.cells), target_columns.get(&identity.cells)) {
                (Some(source), Some(target)) => digest
                    .column_names()
                    .zip(source.iter().zip(target))
                    .filter(|(_, (source, target))| source != target || source.is_none())
                    .map(|(name, _)| name.to_owned())
                    .collect(),
                _ => Vec::new(),
            };
            let key = if digest.has_key() {
                let names = digest.key_columns().iter().map(|column| column.name.clone());
                let values =
                    digest.key_columns().iter().zip(&identity.cells).map(|(c, cell)| printable(c, cell));
                names.zip(values).collect()
            } else {
                let hash = identity.cells.first().map(|hash| String::from_utf8_lossy(hash).into_owned());
                vec![("row_hash".to_owned(), hash.unwrap_or_default())]
            };
            let mut values = Vec::new();
            if let (Some(source), Some(target)) =
                (source_values.get(&identity.cells), target_values.get(&identity.cells))
            {
                for (position, column) in self.plan.compared.0.iter().enumerate() {
                    if columns.contains(&column.name) {
                        let shown = |cells: &[Option<Vec<u8>>]| {
                            cells.get(position)?.as_ref().map(|cell| shortened(printable(column, cell)))
                        };
                        let (source, target) = (shown(source), shown(target));
                        values.push(ColumnValues { column: column.name.clone(), source, target });
                    }
                }
            }
            settled.differences.push(Difference { key, kind, columns, values, repaired: false });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_for_people() {
        let mut column = Column { type_text: "varchar(9)".into(), ..Column::example("c", ColumnKind::Text) };
        assert_eq!(printable(&column, "é 1".as_bytes()), "é 1");
        assert_eq!(printable(&column, &[0xff, 0x0a]), "0xFF0A");
        assert_eq!(printable(&column, b"a\0"), "0x6100");
        column.kind = ColumnKind::Enum(vec!["x".into(), "y".into()]);
        assert_eq!(printable(&column, b"2"), "y");
        assert_eq!(printable(&column, b"0"), "0");
    }
}
