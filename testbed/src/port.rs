//! A port, a server id and a folder that no other test server on this machine has.
//!
//! A file lock per port decides. The server process inherits it, so that it is released only when the server and the
//! process that started it are both gone; a folder whose lock can be had is therefore nobody's and is removed.

use std::fs::{self, File, TryLockError};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::TestbedError;

/// Below what systems hand out to outgoing connections, which could otherwise take a port between stop and restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A reserved port with the folder that goes with it.
#[derive(Debug)]
pub(crate) struct PortClaim {
    port: u16,
    folder: PathBuf,
    lock: File,
}

impl PortClaim {
    /// Reserves `wanted`, or else any free port, and makes its empty folder.
    pub(crate) fn take(wanted: Option<u16>) -> Result<Self, TestbedError> {
        static CLEANED: Once = Once::new();
        let base = base_folder()?;
        CLEANED.call_once(|| remove_abandoned(&base));
        if let Some(port) = wanted {
            return Self::try_take(&base, port)?.ok_or(TestbedError::PortInUse(port));
        }
        let count = PORTS.end - PORTS.start;
        // Processes that start together begin at different places.
        let first = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(count)).unwrap_or(0);
        for step in 0..count {
            if let Some(claim) = Self::try_take(&base, PORTS.start + (first + step) % count)? {
                return Ok(claim);
            }
        }
        Err(TestbedError::NoFreePort(PORTS.start, PORTS.end))
    }

    fn try_take(base: &Path, port: u16) -> Result<Option<Self>, TestbedError> {
        let Some(lock) = try_lock(base, port)? else { return Ok(None) };
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            return Ok(None);
        }
        let folder = base.join(port.to_string());
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(TestbedError::io("removing", &folder))?;
        }
        fs::create_dir(&folder).map_err(TestbedError::io("making", &folder))?;
        Ok(Some(Self { port, folder, lock }))
    }

    /// Returns the port, which is also the server id.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder for everything this server writes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the locked file, for the server process to inherit.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }
}

impl Drop for PortClaim {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the folder under the system's temporary folder that all test servers of this user share.
fn base_folder() -> Result<PathBuf, TestbedError> {
    let itself = Path::new("/proc/self");
    let uid = fs::metadata(itself).map_err(TestbedError::io("reading", itself))?.uid();
    let base = std::env::temp_dir().join(format!("dts-testbed-{uid}"));
    fs::create_dir_all(&base).map_err(TestbedError::io("making", &base))?;
    Ok(base)
}

fn try_lock(base: &Path, port: u16) -> Result<Option<File>, TestbedError> {
    let path = base.join(format!("{port}.lock"));
    // Lock files are never deleted: somebody could be about to lock the one that is being unlinked.
    let file = File::create(&path).map_err(TestbedError::io("creating", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(TestbedError::io("locking", &path)(error)),
    }
}

/// Removes the folders of servers whose owner was killed before it could.
fn remove_abandoned(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let port = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if let Some(port) = port
            && path.is_dir()
            && let Ok(Some(_lock)) = try_lock(base, port)
        {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
