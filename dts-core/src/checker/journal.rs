//! Which chunks are verified, in a file, so that a check that was killed can go on.
//!
//! One line is written for each chunk that was found equal, after it was. Chunks with differences are not noted: they are
//! compared again. A line counts only for a table whose digests, on both sides, are made by the same statement as now, and
//! only where the chunk begins at the same key: so a line that no longer fits costs a comparison, never an answer.
//!
//! Each line reaches the operating system before the next chunk is compared; a crash of this machine may lose the last ones,
//! and a line that was cut off is left out.
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::sql::select::{Bound, KeyRange};

/// What was verified longer ago is verified again.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// What must be the same for a check to go on where another one ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) mode: super::CheckMode,
    pub(super) ratio: f64,
    pub(super) chunk_rows: u64,
    pub(super) seed: u64,
    /// Identity of both servers.
    pub(super) servers: Vec<String>,
    pub(super) tables: Option<Vec<String>>,
}

/// A verified chunk.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Line {
    table: String,
    /// What the digests are made by, hashed.
    fingerprint: u64,
    number: u64,
    lower: Option<Bound>,
    upper: Option<Bound>,
    rows: u64,
}

/// The verified chunks of one table by their number.
pub(super) type Verified = HashMap<u64, (KeyRange, u64)>;

/// The file of one check.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    lines: HashMap<(String, u64), Verified>,
    /// The seed of the check that is continued.
    pub(super) seed: Option<u64>,
}

impl Journal {
    /// Opens the file. One of another check is begun anew; `any_seed`: the seed may be another one.
    pub(super) fn open(path: &Path, header: &Header, any_seed: bool) -> Result<Self> {
        let wrong = |action: &'static str| {
            let path = path.display().to_string();
            move |source: std::io::Error| Error::from(ErrorKind::File { action, path, source })
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(wrong("create the folder of"))?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(wrong("open the journal of the check"))?;
        let age = file.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_fresh = age.is_none_or(|age| age < AGE_MAX);
        let mut content = BufReader::new(&file).lines().map_while(std::result::Result::ok);
        let known = content.next().and_then(|line| serde_json::from_str::<Header>(&line).ok());
        let fits = |known: &Header| {
            *known == Header { seed: if any_seed { known.seed } else { header.seed }, ..header.clone() }
        };
        let known = known.filter(|known| is_fresh && fits(known));
        let mut lines: HashMap<(String, u64), Verified> = HashMap::new();
        if known.is_some() {
            for line in content.filter_map(|line| serde_json::from_str::<Line>(&line).ok()) {
                let range = KeyRange { lower: line.lower, upper: line.upper };
                lines
                    .entry((line.table, line.fingerprint))
                    .or_default()
                    .insert(line.number, (range, line.rows));
            }
            // A line that was cut off must not swallow the next one.
            file.write_all(b"\n").map_err(wrong("write the journal of the check"))?;
        } else {
            drop(content);
            file.set_len(0).map_err(wrong("empty the journal of the check"))?;
            let text = serde_json::to_string(header).map_err(|error| Error::internal(error.to_string()))?;
            file.write_all(format!("{text}\n").as_bytes())
                .map_err(wrong("write the journal of the check"))?;
        }
        let seed = known.map(|known| known.seed);
        Ok(Journal { path: path.to_owned(), file: Mutex::new(file), lines, seed })
    }

    /// Returns the verified chunks of a table.
    pub(super) fn verified(&self, table: &str, fingerprint: u64) -> Verified {
        self.lines.get(&(table.to_owned(), fingerprint)).cloned().unwrap_or_default()
    }

    /// Notes a verified chunk.
    pub(super) fn add(
        &self,
        table: &str,
        fingerprint: u64,
        number: u64,
        range: &KeyRange,
        rows: u64,
    ) -> Result<()> {
        let line = Line {
            table: table.to_owned(),
            fingerprint,
            number,
            lower: range.lower.clone(),
            upper: range.upper.clone(),
            rows,
        };
        let mut text = serde_json::to_string(&line).map_err(|error| Error::internal(error.to_string()))?;
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).map_err(|source| {
            let path = self.path.display().to_string();
            ErrorKind::File { action: "write the journal of the check", path, source }.into()
        })
    }

    /// Removes the file: the check has ended.
    pub(super) fn finish(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seed: u64) -> Header {
        Header {
            version: 1,
            mode: crate::checker::CheckMode::Full,
            ratio: 10.0,
            chunk_rows: 5,
            seed,
            servers: vec!["a".into()],
            tables: None,
        }
    }

    #[test]
    fn what_was_noted_is_there_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checks/t.journal");
        let range = KeyRange { lower: None, upper: Some(vec![vec![0, 255]]) };
        let journal = Journal::open(&path, &header(7), false).unwrap();
        assert_eq!(journal.seed, None);
        journal.add("d.t", 1, 0, &range, 5).unwrap();
        journal.add("d.t", 1, 1, &range, 6).unwrap();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();

        let journal = Journal::open(&path, &header(9), true).unwrap();
        assert_eq!(journal.seed, Some(7));
        assert_eq!(journal.verified("d.t", 1), Verified::from([(0, (range.clone(), 5))]));
        assert_eq!(journal.verified("d.t", 2), Verified::new(), "another definition");
        journal.add("d.t", 1, 2, &range, 7).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, &header(7), false).unwrap().verified("d.t", 1).len(), 2);
        // Other options: begun anew.
        let journal = Journal::open(&path, &header(8), false).unwrap();
        assert_eq!((journal.seed, journal.verified("d.t", 1).len()), (None, 0));
        journal.finish();
        assert!(!path.exists());
    }
}
