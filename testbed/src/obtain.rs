//! Servers in the cache folder: fetched once, by one process at a time, whole or not at all.
//!
//! The cache is `$DTS_TESTBED_CACHE`, else `dts-testbed` in `$XDG_CACHE_HOME` or in `~/.cache`. A lock file beside
//! each entry keeps processes that start together from fetching twice; an entry is made under another name and
//! renamed when it is complete, so that what carries the final name is never half of something.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::{Installation, TestbedError, Version, apt, installation, npm};

/// Returns a server's programs, fetching them first if this machine does not have them.
///
/// A folder named by the version's variable ([`Version::folder_variable`]) wins. The answer is remembered for the
/// life of the process.
///
/// # Errors
/// [`TestbedError::Obtain`] and [`TestbedError::NoServerInFolder`] say what to install or to set.
pub fn obtain(version: Version) -> Result<Arc<Installation>, TestbedError> {
    static FOUND: OnceLock<Mutex<HashMap<Version, Arc<Installation>>>> = OnceLock::new();
    // Held while fetching: the other threads of this process need the same thing.
    let mut found = FOUND.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(installation) = found.get(&version) {
        return Ok(Arc::clone(installation));
    }
    let installation = Arc::new(find_or_fetch(version)?);
    found.insert(version, Arc::clone(&installation));
    Ok(installation)
}

/// Returns the cache folder; it need not exist yet.
pub fn cache_folder() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("DTS_TESTBED_CACHE").unwrap_or_else(|| {
        variable("XDG_CACHE_HOME")
            .or_else(|| Some(variable("HOME")?.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("dts-testbed")
    })
}

fn find_or_fetch(version: Version) -> Result<Installation, TestbedError> {
    if let Some(given) = installation::from_variable(version) {
        return given;
    }
    if version == Version::Mariadb1011
        && let Some(installed) = installed_mariadb()
    {
        return Ok(installed);
    }
    let fail = |reason| TestbedError::Obtain { version, reason, remedy: remedy(version) };
    let folder = cached(version.slug(), |scratch, folder| {
        match version {
            Version::Mysql56 => npm::fetch_mysql56(scratch, folder),
            // No stable release of Debian carries a MySQL server.
            Version::Mysql97 => {
                apt::fetch("sid", &["mysql-server-core", "mysql-client-core"], scratch, folder)
            }
            Version::Mariadb1011 => {
                apt::fetch("bookworm", &["mariadb-server-core", "mariadb-client-core"], scratch, folder)
            }
        }
        // What does not run here must not get into the cache, where it would be believed.
        .and_then(|()| Installation::find(version, folder).map(drop))
        .map_err(fail)
    })?;
    let found = Installation::find(version, &folder);
    found.map_err(|reason| {
        fail(format!("'{}' in the cache is unusable, remove it: {reason}", folder.display()))
    })
}

fn installed_mariadb() -> Option<Installation> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .filter(|dir| dir.join("mariadbd").is_file())
        .find_map(|dir| Installation::find(Version::Mariadb1011, dir.parent()?).ok())
}

fn remedy(version: Version) -> String {
    let variable = version.folder_variable();
    match version {
        Version::Mysql56 => format!(
            "install npm and tar and allow access to the npm registry, or set {variable} to a folder with the \
             'mysqld' and 'share' of a MySQL 5.6"
        ),
        Version::Mysql97 => format!(
            "use a Debian system (apt-get, dpkg-deb) with access to its archive, or set {variable} to an unpacked \
             MySQL 9.7 (a folder with 'bin/mysqld')"
        ),
        Version::Mariadb1011 => format!(
            "install MariaDB 10.11 (package mariadb-server-core), or use a Debian system with access to its archive, \
             or set {variable} to an unpacked MariaDB 10.11 (a folder with 'bin/mariadbd')"
        ),
    }
}

/// Returns the cache's folder `name`, which `make` fills when it is not there yet.
///
/// `make` gets a folder to work in and the path that it has to create; both lie on one file system. Other processes
/// and threads wait meanwhile.
pub(crate) fn cached(
    name: &str,
    make: impl FnOnce(&Path, &Path) -> Result<(), TestbedError>,
) -> Result<PathBuf, TestbedError> {
    let cache = cache_folder();
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).map_err(TestbedError::io("making", &cache))?;
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(TestbedError::io("creating", &lock_path))?;
    lock.lock().map_err(TestbedError::io("locking", &lock_path))?;
    if folder.is_dir() {
        return Ok(folder);
    }
    // Nobody else works on this name while the lock is held, so what lies here is from a process that died.
    let scratch = cache.join(format!("{name}.part"));
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(TestbedError::io("removing", &scratch))?;
    }
    fs::create_dir(&scratch).map_err(TestbedError::io("making", &scratch))?;
    let new = scratch.join("new");
    let made = make(&scratch, &new)
        .and_then(|()| fs::rename(&new, &folder).map_err(TestbedError::io("renaming", &new)));
    let _ = fs::remove_dir_all(&scratch);
    made.map(|()| folder)
}
