//! Passwords of an application's accounts, in a file: one line for each, never on the command line.
use std::path::{Path, PathBuf};

use dts_core::error::{ErrorKind, Result};
use dts_core::wire::{AccountPasswords, Secret};

use super::password::warn_if_readable;
use super::reader::Document;

/// Reads a TOML file with lines such as `"app@%" = "secret"` or `"app" = "secret"`.
///
/// # Errors
/// [`ErrorKind::File`] when it cannot be read; [`ErrorKind::InvalidInput`] with line and column, never with a value.
pub(crate) fn read(path: &Path, warnings: &mut Vec<String>) -> Result<AccountPasswords> {
    let file_error = |source| ErrorKind::File {
        action: "read the file with the accounts' passwords",
        path: path.display().to_string(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(file_error)?;
    warn_if_readable(path, warnings).map_err(file_error)?;
    let mut passwords = AccountPasswords::default();
    for (name, password) in Document::new(path, &text).flat_texts()? {
        passwords.add(&name, Secret::new(password));
    }
    Ok(passwords)
}

/// Returns the path as other processes may know it.
///
/// # Errors
/// [`ErrorKind::File`] when there is no such file.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).map_err(|source| {
        ErrorKind::File {
            action: "read the file with the accounts' passwords",
            path: path.display().to_string(),
            source,
        }
        .into()
    })
}

#[cfg(test)]
mod tests {
    use dts_core::data::Account;

    use super::*;

    fn read_text(text: &str) -> Result<AccountPasswords> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords.toml");
        std::fs::write(&path, text).unwrap();
        read(&path, &mut Vec::new())
    }

    #[test]
    fn accounts_and_users_have_passwords() {
        let passwords = read_text("\"app@10.%\" = \"one\"\napp = 'two'\n").unwrap();
        assert!(passwords.of(&Account::new("app", "10.%")) == Some(Secret::new("one")));
        assert!(passwords.of(&Account::new("app", "%")) == Some(Secret::new("two")));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for text in ["app = 'hunter2\n", "app = 'a'\ncrm = 12345678\n", "[app]\nx = 'hunter2'\n"] {
            let error = read_text(text).unwrap_err();
            let shown = format!("{error} {error:?} {}", error.hint());
            assert!(!shown.contains("hunter2") && !shown.contains("12345678"), "{shown}");
            assert!(shown.contains("line"), "{shown}");
        }
        assert!(read(Path::new("/nowhere/at-all"), &mut Vec::new()).is_err());
    }
}
