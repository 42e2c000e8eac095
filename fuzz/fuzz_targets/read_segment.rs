//! Any bytes as a file of the spool.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dts_core::fuzzing::read_segment(bytes));
