//! Whole transactions, applied by several workers in any order that gives the same result as the log's.
mod graph;
mod write_set;
