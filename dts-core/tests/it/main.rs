//! Tests of `dts-core` against real servers.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]
#![allow(clippy::print_stderr, reason = "seeds and figures belong into a test's output")]
mod accounts;
mod apply;
mod apply_transactions;
mod apply_windows;
mod binlog_decode;
mod cascades;
mod check;
mod check_charsets;
mod check_live;
mod check_structure;
mod chunks;
mod connect;
mod cutover;
mod ddl;
mod divergence;
mod handover_crash;
mod key_identity;
mod keyless;
mod load_sessions;
mod migrate;
mod rollback;
mod source_weather;
mod spool;
mod structure;
mod support;
mod tidy;
mod touched;
mod types;
mod validate;
mod validate_access;
mod validate_docs;
mod validate_faults;
mod validate_hidden;
mod validate_items;
mod validate_looks;
