//! Servers from a Debian archive, unpacked into a folder of their own.
//!
//! The machine's own package lists and installed packages are neither used nor touched: apt gets a source list, a
//! state and a cache of its own, with nothing installed, so that it downloads the C library too. The archive's
//! address comes from the machine's own sources, with only the suite replaced, so that mirrors, proxies and
//! credentials that the machine is set up with are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::npm::run;

/// Suites of the main Debian archive; a source that names none of them is somebody else's archive.
const DEBIAN_SUITES: [&str; 11] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "unstable",
    "testing",
    "stable",
    "oldstable",
    "oldoldstable",
];

/// An archive that the machine is set up to use.
#[derive(Debug, PartialEq)]
struct Archive {
    uri: String,
    /// The remaining fields to be carried over, such as `Signed-By`, as lines of a deb822 stanza.
    fields: String,
}

/// Downloads `packages` of `suite` with all they depend on and unpacks them into the new folder `root`.
///
/// # Errors
/// The text says which program failed and what it printed.
pub(crate) fn fetch(suite: &str, packages: &[&str], scratch: &Path, root: &Path) -> Result<(), String> {
    let archives = machine_archives(Path::new("/etc/apt"));
    if archives.is_empty() {
        return Err(
            "no Debian archive is named in /etc/apt/sources.list or /etc/apt/sources.list.d".to_owned()
        );
    }
    let mut failure = String::new();
    for archive in archives {
        match download(&archive, suite, packages, scratch) {
            Ok(files) => return unpack(&files, root),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn download(
    archive: &Archive,
    suite: &str,
    packages: &[&str],
    scratch: &Path,
) -> Result<Vec<PathBuf>, String> {
    let private = scratch.join("apt");
    let downloaded = private.join("archives");
    let text = |error: std::io::Error| format!("making apt's folders: {error}");
    if private.exists() {
        fs::remove_dir_all(&private).map_err(text)?;
    }
    for sub in ["state/lists/partial", "cache", "log", "archives/partial"] {
        fs::create_dir_all(private.join(sub)).map_err(text)?;
    }
    fs::write(private.join("state/status"), "").map_err(text)?;
    let stanza =
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n{}", archive.uri, archive.fields);
    fs::write(private.join("archive.sources"), stanza).map_err(text)?;

    let apt_get = || {
        let mut command = Command::new("apt-get");
        for (option, sub) in [
            ("Dir::Etc::sourcelist", "archive.sources"),
            ("Dir::State", "state"),
            ("Dir::State::status", "state/status"),
            ("Dir::State::lists", "state/lists"),
            ("Dir::Cache", "cache"),
            ("Dir::Cache::archives", "archives"),
            ("Dir::Log", "log"),
        ] {
            command.arg("-o").arg(format!("{option}={}", private.join(sub).display()));
        }
        for option in [
            "Dir::Etc::sourceparts=-",
            "Dir::Etc::preferences=-",
            "Dir::Etc::preferencesparts=-",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
            // As root apt would download as a user that may not be able to write into our folder.
            "APT::Sandbox::User=root",
            "APT::Update::Error-Mode=any",
        ] {
            command.arg("-o").arg(option);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        command
    };
    eprintln!("dts-testbed: reading the package list of the archive's suite '{suite}' with apt-get");
    run(apt_get().args(["-q", "update"]))?;
    eprintln!("dts-testbed: downloading {} with all they depend on", packages.join(", "));
    run(apt_get()
        .args(["-q", "-y", "--no-install-recommends", "--download-only", "install"])
        .args(packages))?;
    let mut files: Vec<PathBuf> = fs::read_dir(&downloaded)
        .map_err(text)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    files.sort();
    Ok(files)
}

fn unpack(files: &[PathBuf], root: &Path) -> Result<(), String> {
    eprintln!("dts-testbed: unpacking {} packages", files.len());
    fs::create_dir_all(root).map_err(|error| format!("making '{}': {error}", root.display()))?;
    for file in files {
        run(Command::new("dpkg-deb").arg("-x").arg(file).arg(root))?;
    }
    Ok(())
}

/// Reads the machine's sources, in apt's own order.
fn machine_archives(folder: &Path) -> Vec<Archive> {
    let mut files = vec![folder.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(folder.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    parts.sort();
    files.append(&mut parts);
    let mut archives: Vec<Archive> = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_archives(&text),
            Some("sources") => deb822_archives(&text),
            _ => Vec::new(),
        };
        for archive in found {
            if !archives.contains(&archive) {
                archives.push(archive);
            }
        }
    }
    archives
}

fn is_main_archive<'a>(suites: impl IntoIterator<Item = &'a str>, components: &str) -> bool {
    suites.into_iter().any(|suite| DEBIAN_SUITES.contains(&suite))
        && components.split_whitespace().any(|component| component == "main")
}

/// Parses lines such as `deb [signed-by=/a/key] scheme://host/path suite main`.
fn one_line_archives(text: &str) -> Vec<Archive> {
    let mut archives = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.split('#').next().and_then(|line| line.trim().strip_prefix("deb ")) else {
            continue;
        };
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest.trim()),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        let components: Vec<&str> = words.collect();
        if uri.starts_with("cdrom:") || !is_main_archive([suite], &components.join(" ")) {
            continue;
        }
        let mut fields = String::new();
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match name {
                "signed-by" => fields += &format!("Signed-By: {}\n", value.replace(',', " ")),
                "trusted" => fields += &format!("Trusted: {value}\n"),
                _ => {}
            }
        }
        archives.push(Archive { uri: uri.to_owned(), fields });
    }
    archives
}

/// Parses stanzas of `Name: value` lines; a line that starts with a blank continues the field before it.
fn deb822_archives(text: &str) -> Vec<Archive> {
    let mut archives = Vec::new();
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line.trim_end(), "\n"]).collect();
    for stanza in text.split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    *value += "\n";
                    *value += line;
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let field =
            |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
        let enabled = !matches!(field("enabled"), "no" | "false" | "0" | "off");
        let binary = field("types").split_whitespace().any(|kind| kind == "deb");
        if !enabled || !binary || !is_main_archive(field("suites").split_whitespace(), field("components")) {
            continue;
        }
        let carried: String = [("signed-by", "Signed-By"), ("trusted", "Trusted")]
            .iter()
            .filter(|(name, _)| !field(name).is_empty())
            .map(|(name, shown)| format!("{shown}: {}\n", field(name)))
            .collect();
        for uri in field("uris").split_whitespace() {
            archives.push(Archive { uri: uri.to_owned(), fields: carried.clone() });
        }
    }
    archives
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(uri: &str, fields: &str) -> Archive {
        Archive { uri: uri.to_owned(), fields: fields.to_owned() }
    }

    #[test]
    fn one_line_sources_give_the_main_archive_only() {
        let text = "# deb http://a.invalid/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://b.invalid/debian bookworm main contrib # here\n\
            deb-src http://b.invalid/debian bookworm main\n\
            deb http://b.invalid/debian-security bookworm-security main\n\
            deb http://c.invalid/tool stable-tool main\n";
        assert_eq!(one_line_archives(text), [archive("http://b.invalid/debian", "Signed-By: /k.gpg\n")]);
    }

    #[test]
    fn deb822_sources_keep_an_inline_key() {
        let text = "Types: deb\n# a note\nURIs: http://a.invalid/debian http://b.invalid/debian\n\
            Suites: trixie trixie-updates\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n\n\
            Types: deb\nURIs: http://a.invalid/security\nSuites: trixie-security\nComponents: main\n\n\
            Enabled: no\nTypes: deb\nURIs: http://c.invalid/debian\nSuites: sid\nComponents: main\n";
        let key = "Signed-By: \n -----BEGIN\n .\n abc\n";
        assert_eq!(
            deb822_archives(text),
            [archive("http://a.invalid/debian", key), archive("http://b.invalid/debian", key)]
        );
    }
}
