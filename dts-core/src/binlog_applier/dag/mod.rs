//! Whole transactions, applied by several workers in any order that gives the same result as the log's.
//!
//! The [`engine`] turns what each transaction changes into keys ([`write_set`]), keeps the [`graph`] of who must wait for whom, and
//! gives ready transactions to workers, several for one target commit; a [`job`] is what a worker does with them.
mod engine;
mod graph;
mod job;
mod write_set;

pub(super) use engine::DagEngine;
pub(super) use write_set::TableKeys;
