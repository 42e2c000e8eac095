//! What the schema is called that dts keeps its own records in, and the table by which its transactions are known.

/// Name of the schema.
pub const LEDGER_SCHEMA: &str = "__dts__";
/// The table of which every transaction that applies changes writes a row.
pub const CHECKPOINT_TABLE: &str = "checkpoint";

/// Returns whether a table is the one whose rows mark a transaction as ours.
pub fn is_mark(database: &[u8], table: &[u8]) -> bool {
    database == LEDGER_SCHEMA.as_bytes() && table == CHECKPOINT_TABLE.as_bytes()
}
