//! Where a spool is and how much it may hold.
use std::path::PathBuf;
use std::time::Duration;

/// Where a spool is and how much it may hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpoolOptions {
    /// The folder, created when missing. It belongs to one spool alone.
    pub folder: PathBuf,
    /// Bytes that the files may have together. Default 50 GiB.
    pub bytes_max: u64,
    /// Bytes that must stay free on the disk. Default 256 MiB.
    pub free_bytes_min: u64,
    /// A file of so many bytes is completed and another one begun. Default 64 MiB, at most an eighth of `bytes_max`.
    pub segment_bytes: u64,
    /// Uncompressed bytes of a block. Default 1 MiB, at most those of a file; a larger event has a block of its own.
    pub block_bytes: usize,
    /// How often the file being written is flushed to the device, besides when it is completed. Default 5 s.
    pub sync_every: Duration,
}

impl SpoolOptions {
    /// Starts from a folder; everything else has its default.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        SpoolOptions {
            folder: folder.into(),
            bytes_max: 50 << 30,
            free_bytes_min: 256 << 20,
            segment_bytes: 64 << 20,
            block_bytes: 1 << 20,
            sync_every: Duration::from_secs(5),
        }
    }

    pub(super) fn segment_limit(&self) -> u64 {
        self.segment_bytes.min(self.bytes_max / 8).max(1)
    }

    pub(super) fn block_limit(&self) -> usize {
        usize::try_from(self.segment_limit()).map_or(self.block_bytes, |limit| self.block_bytes.min(limit))
    }
}
