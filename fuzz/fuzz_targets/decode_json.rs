//! Any bytes as a binary JSON document, and as differences of one.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dts_core::fuzzing::decode_json(bytes));
