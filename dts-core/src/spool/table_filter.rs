//! Leaves out what no applier needs: rows of tables that are not selected.
use std::collections::HashMap;

use crate::binlog::{EventType, RawEvent, mapped_name};
use crate::data::{TableName, is_mark};
use crate::error::{ErrorKind, Result};
use crate::transform::ObjectSelection;

/// Tells which events are worth keeping, by the names in table maps. Rows are not decoded.
///
/// Transactions keep their frame (GTID, BEGIN, COMMIT), so that they still count as applied, and all statements.
pub(super) struct TableFilter {
    selection: ObjectSelection,
    /// By the number that the table map gives; the name as it stands there, and whether it is selected.
    by_id: HashMap<u64, (Box<[u8]>, bool)>,
}

impl TableFilter {
    pub(super) fn new(selection: ObjectSelection) -> Self {
        TableFilter { selection, by_id: HashMap::new() }
    }

    /// Returns whether the event is to be kept.
    pub(super) fn wants(&mut self, event: &RawEvent<'_>) -> Result<bool> {
        match event.header.event_type {
            EventType::TableMap => self.map(event.body),
            EventType::WriteRows
            | EventType::UpdateRows
            | EventType::DeleteRows
            | EventType::PartialUpdateRows
            | EventType::WriteRowsV1
            | EventType::UpdateRowsV1
            | EventType::DeleteRowsV1
            | EventType::MariadbWriteRowsCompressed
            | EventType::MariadbUpdateRowsCompressed
            | EventType::MariadbDeleteRowsCompressed
            | EventType::MariadbWriteRowsCompressedV1
            | EventType::MariadbUpdateRowsCompressedV1
            | EventType::MariadbDeleteRowsCompressedV1 => {
                let id = event
                    .body
                    .first_chunk::<6>()
                    .map(|low| low.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte)));
                // Rows without a map are kept: who applies them knows what to say.
                Ok(id.and_then(|id| self.by_id.get(&id)).is_none_or(|(_, selected)| *selected))
            }
            EventType::Rotate | EventType::FormatDescription => {
                // Table numbers are given anew.
                self.by_id.clear();
                Ok(true)
            }
            // Text of statements, and signs of life.
            EventType::RowsQuery
            | EventType::MariadbAnnotateRows
            | EventType::Heartbeat
            | EventType::HeartbeatV2
            | EventType::PreviousGtids
            | EventType::MariadbGtidList
            | EventType::MariadbBinlogCheckpoint => Ok(false),
            _ => Ok(true),
        }
    }

    fn map(&mut self, body: &[u8]) -> Result<bool> {
        let (id, database, table) = mapped_name(body)?;
        let name = [database, table].join(&0);
        if let Some((known, selected)) = self.by_id.get(&id)
            && **known == *name
        {
            return Ok(*selected);
        }
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| ErrorKind::BinlogDamaged {
                what: format!("table map: a name of {} bytes is not UTF-8", bytes.len()),
            })
        };
        // By this row of its own an applier knows what it must not carry back to where it came from.
        let selected = is_mark(database, table)
            || self.selection.selects_table(&TableName::new(text(database)?, text(table)?));
        self.by_id.insert(id, (name.into(), selected));
        Ok(selected)
    }
}
