//! Any bytes as one binlog event, and as a table map with rows of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dts_core::fuzzing::decode_event(bytes));
