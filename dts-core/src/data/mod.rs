//! What flows: values, rows, schemas, changes, positions. No I/O and no locks in this room.
mod table_name;
mod value;

pub use table_name::TableName;
pub use value::{AsciiText, JsonDiff, JsonDiffOperation, RowImage, Value};
