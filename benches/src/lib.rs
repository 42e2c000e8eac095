//! Data sets and measuring tools shared by the benchmarks.
