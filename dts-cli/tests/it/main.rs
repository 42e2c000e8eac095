//! Tests of the program `dts` as people and scripts use it: the real binary, and real servers where it needs some.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::print_stderr, reason = "seeds and figures belong into a test's output")]

mod accounts;
mod check;
mod crash;
mod cutover;
mod demo;
mod faults;
mod flow;
mod program;
mod report;
mod rollback;
mod run;
mod usage;
mod validate;
mod walk;
