//! What flows: values, rows, schemas, changes, positions. No I/O and no locks in this room.
mod account;
mod coordinates;
mod gate;
mod gtid;
pub(crate) mod json_number;
mod key_identity;
mod ledger_name;
mod log_offsets;
mod object;
mod position;
mod rung;
mod schema;
#[cfg(test)]
mod schema_examples;
mod span;
mod table_name;
mod text_equality;
mod value;

pub use account::{
    Account, AccountDefinition, Attribute, AuthString, Grant, PASSWORD_WITHHELD, RoutineKind, Scope,
};
pub use coordinates::BinlogCoordinates;
pub use gate::{GateKind, GateRecord, HeldAccount, HeldEvent};
pub use gtid::{Gtid, GtidInterval, GtidSet};
pub use key_identity::{KeyIdentity, KeyParts};
pub use ledger_name::{CHECKPOINT_TABLE, LEDGER_SCHEMA, is_mark};
pub use log_offsets::LogOffsets;
pub use object::ObjectKind;
pub use position::Position;
pub use rung::Rung;
pub use schema::{Column, ColumnKind, ForeignKey, Index, IndexPart, RowKey, TableSchema};
pub use span::Span;
pub use table_name::TableName;
pub use text_equality::{CharacterUnit, TextEquality};
pub use value::{AsciiText, JsonDiff, JsonDiffOperation, RowImage, Value};
