//! Tests of `dts-core` against real servers.
mod validate;
