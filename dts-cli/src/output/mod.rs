//! Everything that people and programs read: the only place that prints.
//!
//! - [`Console`]: where output goes: people's text and JSON documents to stdout, notes and progress to stderr;
//! - [`json`]: the documents for programs; [`validation`], [`check`], [`status`], [`summary`]: the same for people;
//! - [`report`]: what happened to a task, for programs, as text and as a page;
//! - [`progress`]: bars on a terminal, one line now and then elsewhere.
pub(crate) mod accounts;
pub(crate) mod check;
mod console;
pub(crate) mod cutover;
pub(crate) mod demo;
pub(crate) mod ending;
pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod next_action;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod summary;
mod table;
mod usage;
pub(crate) mod validation;

pub(crate) use console::Console;
pub(crate) use usage::usage;
