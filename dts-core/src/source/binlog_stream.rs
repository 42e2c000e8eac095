//! Events of the binary log.
