//! A report as one page.
use askama::Template;
use dts_core::error::{Error, Result};

use super::view::Block;
use super::{ReportDocument, View, chart};
use crate::output::table::Tone;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'v> {
    view: &'v View,
    legend: Vec<(&'static str, String)>,
}

/// Returns the report as an HTML page that needs no other file, no script and no network.
///
/// # Errors
/// [`Internal`](dts_core::error::ErrorKind::Internal) when the template cannot be filled, which has no reason to happen.
pub(crate) fn page(document: &ReportDocument) -> Result<String> {
    let page = Page { view: &View::new(document), legend: chart::legend() };
    page.render().map_err(|error| Error::internal(format!("the report's page: {error}")))
}

impl Tone {
    /// Returns the name of the class that the page gives to it.
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Good => "good",
            Tone::Doubtful => "doubtful",
            Tone::Bad => "bad",
            Tone::Faint => "faint",
        }
    }
}
