//! The source room alone: prints the events of a server's binary log as they come.
//!
//! `cargo run --example tail_binlog -- HOST PORT USER` with the password in `DTS_PASSWORD`.
#![allow(clippy::print_stdout, reason = "an example prints")]
use dts_core::binlog::Event;
use dts_core::data::Position;
use dts_core::error::{Error, Result};
use dts_core::server;
use dts_core::source::binlog_stream::BinlogStream;
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::wire::{Address, ConnectionOptions, Secret};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, user] = &arguments[..] else {
        return Err(Error::invalid("arguments", arguments.join(" "), "HOST PORT USER"));
    };
    let port = port.parse().map_err(|_| Error::invalid("port", port.as_str(), "a number"))?;
    let address = Address::Tcp { host: host.clone(), port };
    let password = Secret::new(std::env::var("DTS_PASSWORD").unwrap_or_default());
    let stop = StopToken::new();
    let source =
        SourceEndpoint::connect(SourceOptions::new(ConnectionOptions::new(address, user, password)), &stop)?;
    let now = server::gtid_executed(&mut source.control(&stop)?)?;
    let mut stream = BinlogStream::open(&source, &Position::Gtid(now), &stop)?;
    loop {
        let raw = stream.next_packet()?;
        let at = raw.header.log_pos;
        match Event::parse(&raw)? {
            Event::Gtid(event) => println!("{at}: transaction {}", event.gno),
            Event::TableMap(map) => println!("{at}: table {}.{}", map.database, map.table),
            Event::Rows(rows) => println!("{at}: {:?} of {} bytes", rows.kind, rows.row_bytes()),
            Event::Xid(_) => println!("{at}: commit"),
            other => println!("{at}: {:?}", std::mem::discriminant(&other)),
        }
    }
}
