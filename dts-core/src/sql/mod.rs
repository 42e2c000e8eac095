//! Statement text: quoting, the text of `SHOW CREATE TABLE`, statements of the binary log. No I/O in this room.
//!
//! Nothing here interprets DDL: what a statement does to a table is the server's business. This room finds kinds and names.
pub mod account;
pub mod create_table;
pub mod digest;
pub mod json;
pub mod literal;
pub mod load;
pub mod mend;
pub mod quote;
pub mod row_identity;
pub mod row_match;
pub mod row_reader;
pub mod row_text;
pub mod select;
pub mod statement;
pub mod stored;
mod token;
pub mod write;

pub use token::{Dialect, Lexeme, LexemeKind, lexemes};
