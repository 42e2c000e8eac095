//! Where a password comes from: the task file itself, an environment variable, a file, or a command's output.
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dts_core::error::{ErrorKind, Result};
use dts_core::wire::Secret;

use super::reader::{Section, TextOrSection};

/// How long a password command may take; it may have to ask a vault.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

const FORMS: &str = "a text in quotes, { env = \"…\" }, { file = \"…\" } or { command = \"…\" }";

/// Reads a `password` key. Without one the account has none.
pub(super) fn read(
    section: &Section<'_, '_>,
    side: &str,
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Result<Secret> {
    let inner = match section.text_or_section("password", &["env", "file", "command"], FORMS)? {
        None => return Ok(Secret::default()),
        Some(TextOrSection::Text(text)) => {
            warnings.push(format!(
                "{side}.password stands in the task file in plain text; better {{ env = \"…\" }}, {{ file = \"…\" }} or \
                 {{ command = \"…\" }}"
            ));
            return Ok(Secret::new(text));
        }
        Some(TextOrSection::Section(inner)) => inner,
    };
    let env = inner.string("env")?;
    let file = inner.string("file")?;
    let command = inner.string("command")?;
    let secret = match (env, file, command) {
        (Some(name), None, None) => from_env(&name.value)
            .map_err(|(actual, expected)| inner.wrong("env", name.at, &actual, expected))?,
        (None, Some(path), None) => from_file(&folder.join(path.value), warnings)?,
        (None, None, Some(line)) => from_command(&line.value, folder).map_err(|problem| {
            inner.wrong("command", line.at, &line.value, format!("a command that works: {problem}"))
        })?,
        _ => return Err(section.missing("password", "exactly one of env, file and command")),
    };
    Ok(Secret::new(secret))
}

fn from_env(name: &str) -> std::result::Result<String, (String, String)> {
    match std::env::var(name) {
        Ok(value) => Ok(value),
        Err(std::env::VarError::NotPresent) => Err((
            name.to_owned(),
            format!("a variable that is set: run `export {name}=…` in this shell first"),
        )),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err((name.to_owned(), "a variable that holds UTF-8".to_owned()))
        }
    }
}

fn from_file(path: &PathBuf, warnings: &mut Vec<String>) -> Result<String> {
    let file_error = |source| ErrorKind::File {
        action: "read the password file",
        path: path.display().to_string(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(file_error)?;
    warn_if_readable(path, warnings).map_err(file_error)?;
    Ok(first_line(&text))
}

/// Warns when others may read a file with passwords.
pub(super) fn warn_if_readable(path: &Path, warnings: &mut Vec<String>) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            warnings.push(format!(
                "others may read the password file {0}; better `chmod 600 {0}`",
                path.display()
            ));
        }
    }
    Ok(())
}

fn from_command(line: &str, folder: &Path) -> std::result::Result<String, String> {
    let mut child = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text)).map(|_| text)
    });
    let deadline = Instant::now() + COMMAND_WITHIN;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {} s", COMMAND_WITHIN.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    match reader.join() {
        Ok(Ok(text)) => Ok(first_line(&text)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its output could not be read".to_owned()),
    }
}

/// Editors and `echo` end a file with a line break that is not part of the password.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
