//! Tests of `dts-core` against real servers.
mod binlog_decode;
