//! Tests of `dts-core` against real servers.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]
mod binlog_decode;
mod validate;
mod validate_docs;
mod validate_faults;
mod validate_items;
