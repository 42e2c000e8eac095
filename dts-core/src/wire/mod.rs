//! One connection to a MySQL server, down to the packet.
//!
//! dts speaks the client protocol itself, on the packet types of `mysql_common`, for four reasons that a general client
//! does not serve (measurements in `docs/decisions.md`):
//!
//! - a result row is read as a slice of the receive buffer, without an allocation per row or cell;
//! - a statement is bytes, not UTF-8 text, so that a literal can hold a column's own bytes;
//! - every wait can be ended by a [`StopToken`](crate::stop::StopToken) or a deadline;
//! - a connection that saw any I/O or protocol error is *broken* for good and refuses further use, so that an answer can
//!   never be taken for the answer to another question.
//!
//! [`Connection`] is the only type that talks; [`ConnectionOptions`] says to whom and how.
mod connection;
mod handshake;
mod options;
mod packet;
mod passwords;
mod result;
mod stream;
mod tls;

pub use connection::{BinlogPacket, Connection};
pub use options::{Address, ConnectionOptions, Secret, TlsMode, TlsOptions};
pub use passwords::AccountPasswords;
pub use result::{Cells, Done, TextRow};
