//! What happened to a task, from its first validation to its end: as a document for programs, as text, and as one page that
//! needs nothing but itself.
//!
//! Everything comes from the task store: no server is asked, so a report can be made at any time, also when both servers are
//! gone. [`ReportDocument`] is what the store has; [`View`] is the same in words, in the order in which a person reads it; text
//! and page only differ in how they lay a view out.
//!
//! Names of tables, keys of differing rows and messages of servers are other people's text: the page's template escapes every
//! value, and the page forbids itself scripts and the network.
mod chart;
mod document;
mod page;
mod rows;
mod text;
mod view;

pub(crate) use document::ReportDocument;
pub(crate) use page::page;
pub(crate) use text::text;

use view::View;
