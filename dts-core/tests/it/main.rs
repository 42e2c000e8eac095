//! Tests of `dts-core` against real servers.
