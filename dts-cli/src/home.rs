//! The folder that keeps everything of dts on this machine.
use std::path::{Path, PathBuf};

use dts_core::error::{Error, ErrorKind, Result};

/// The folder that keeps the task store, the spool and the reports.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// Chooses the folder: what was given (`--home` or `$DTS_HOME`), else `dts` in the XDG state folder.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when nothing was given and there is no `$HOME` either.
    pub(crate) fn choose(given: Option<PathBuf>) -> Result<Self> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        given
            .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join("dts")))
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state/dts")))
            .and_then(|path| std::path::absolute(path).ok())
            .map(Home)
            .ok_or_else(|| Error::invalid("$HOME", "", "a folder; or give one with --home"))
    }

    /// Takes this folder.
    pub(crate) fn at(path: PathBuf) -> Self {
        Home(path)
    }

    /// Creates the folder, readable only by this user, unless it is there.
    ///
    /// # Errors
    /// [`ErrorKind::File`].
    pub(crate) fn create(&self) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.0).map_err(|source| {
            let path = self.0.display().to_string();
            let hint = "Choose a folder that this user may write to, with --home or $DTS_HOME.";
            Error::from(ErrorKind::File { action: "create", path, source }).with_hint(hint)
        })
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the folder of reports, and creates it unless it is there.
    ///
    /// # Errors
    /// [`ErrorKind::File`].
    pub(crate) fn reports(&self) -> Result<PathBuf> {
        let reports = Home(self.0.join("reports"));
        reports.create()?;
        Ok(reports.0)
    }

    /// Returns the file of the task store.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("tasks.sqlite")
    }
}
