//! `dts report`: what happened to a task.
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dts_core::error::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::ReportArgs;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::Console;
use crate::output::report::{self, ReportDocument};
use crate::store::Store;

/// Prints the report, or writes it as a page.
pub(super) fn execute(args: &ReportArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let document = ReportDocument::read(&mut store, &args.name)?;
    let Some(file) = &args.html else {
        console.text(&report::text(&document, console.has_color()));
        console.document(&document);
        return Ok(ExitStatus::Done);
    };
    let path = write_page(file.as_deref(), &document, home)?;
    console.text(&format!("{}: the report is {}", args.name, path.display()));
    console.document(&json!({ "task": args.name, "html": path.display().to_string() }));
    Ok(ExitStatus::Done)
}

/// Writes the page and returns where: into `file`, else into the home's folder for reports. One that is there is replaced when
/// the new one is whole.
///
/// # Errors
/// [`ErrorKind::File`].
pub(super) fn write_page(file: Option<&Path>, document: &ReportDocument, home: &Home) -> Result<PathBuf> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => home.reports()?.join(format!("{}.html", document.task)),
    };
    let page = report::page(document)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = (|| {
        // Names of tables and keys of rows are in it: nobody else's business unless somebody passes it on.
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(page.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)
    })();
    written.map_err(|source| {
        let error = ErrorKind::File { action: "write the report", path: path.display().to_string(), source };
        Error::from(error)
            .with_hint("Name a file in a folder that exists and that this user may write to: --html FILE.")
    })?;
    Ok(path)
}
