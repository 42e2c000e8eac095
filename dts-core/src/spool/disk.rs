//! The folder of a spool: its files, its lock, the space that is left.
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

const SUFFIX: &str = "segment";
const LOCK: &str = "lock";

/// Makes an [`ErrorKind::File`], or an [`ErrorKind::Full`] when the disk is full.
pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return disk_full(path, "nothing is free");
    }
    ErrorKind::File { action, path: path.display().to_string(), source }.into()
}

pub(super) fn disk_full(path: &Path, limit: impl Into<String>) -> Error {
    let what = format!("the disk of the spool '{}'", path.display());
    Error::from(ErrorKind::Full { what, limit: limit.into() })
        .with_hint("Free space on that disk, then run again: it resumes where it stood. Nothing was lost.")
}

/// Makes an [`ErrorKind::SpoolDamaged`].
pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Error {
    ErrorKind::SpoolDamaged { path: path.display().to_string(), what: what.into() }.into()
}

/// Creates the folder and takes the lock, which ends with the file or the process.
pub(super) fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
    let path = folder.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| failed("create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::from(ErrorKind::IllegalState {
            action: "run".into(),
            state: format!("run by another process, which holds the spool '{}'", folder.display()),
            allowed: "waiting until it ends".into(),
        })),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path, error)),
    }
}

pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.{SUFFIX}"))
}

/// Returns the numbers of the segments in order.
pub(super) fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| failed("read", folder, error))? {
        let path = entry.map_err(|error| failed("read", folder, error))?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == SUFFIX)
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// Makes names in the folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|error| failed("write", folder, error))
}

/// Returns how many bytes this user may still write.
pub(super) fn free_bytes(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| failed("read", folder, error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
