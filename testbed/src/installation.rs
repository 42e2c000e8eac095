//! Where a server's programs and message files lie, and how they are run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{TestbedError, Version};

/// A server's programs, ready to be run.
///
/// Three layouts are understood: a root folder with a `usr` inside that may bring its own C library (made from
/// distribution packages), a prefix with `bin` or `sbin` and `share` (a vendor's archive, or `/usr` itself), and a
/// flat folder with the server and `share` side by side (the 5.6 package).
#[derive(Clone, Debug)]
pub struct Installation {
    version: Version,
    /// What stands before the program: the root's own loader with its library path, or nothing.
    loader: Vec<OsString>,
    /// Folders in which programs are looked for.
    program_dirs: Vec<PathBuf>,
    server: PathBuf,
    basedir: PathBuf,
    share: PathBuf,
    plugin_dir: Option<PathBuf>,
    library_path: Option<PathBuf>,
    full_version: String,
}

impl Installation {
    /// Finds a server in `folder`.
    ///
    /// # Errors
    /// The text says what was looked for or what the program printed when asked for its version.
    pub(crate) fn find(version: Version, folder: &Path) -> Result<Self, String> {
        let names: &[&str] = match version {
            Version::Mysql56 | Version::Mysql97 => &["mysqld"],
            Version::Mariadb1011 => &["mariadbd", "mysqld"],
        };
        let usr = folder.join("usr");
        let is_root_folder = usr.is_dir();
        let basedir = if is_root_folder { usr } else { folder.to_owned() };
        let program_dirs: Vec<PathBuf> =
            ["sbin", "bin", "libexec", ""].iter().map(|sub| basedir.join(sub)).collect();
        let server = program_dirs
            .iter()
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                format!("there is no {} in it or in its bin, sbin or usr/sbin", names.join(" or "))
            })?;
        let share = ["share/mysql", "share/mariadb", "share"]
            .iter()
            .map(|sub| basedir.join(sub))
            .find(|path| path.join("english/errmsg.sys").is_file())
            .or_else(|| {
                // Newer servers have their messages compiled in and keep only the character sets.
                ["share/mysql", "share"]
                    .iter()
                    .map(|sub| basedir.join(sub))
                    .find(|p| p.join("charsets").is_dir())
            })
            .ok_or_else(|| "there is no share folder with the server's messages".to_owned())?;
        let plugin_dir =
            ["lib/mysql/plugin", "lib/plugin"].iter().map(|sub| basedir.join(sub)).find(|p| p.is_dir());
        // The 5.6 package ships the one library that distributions have since renamed beside the server.
        let library_path = basedir.join("libaio.so.1").is_file().then(|| basedir.clone());
        let mut installation = Self {
            version,
            loader: if is_root_folder { own_loader(folder) } else { Vec::new() },
            program_dirs,
            server,
            basedir,
            share,
            plugin_dir,
            library_path,
            full_version: String::new(),
        };
        installation.full_version = installation.ask_version()?;
        Ok(installation)
    }

    /// Returns which server this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the exact version, such as `5.6.24`.
    pub fn full_version(&self) -> &str {
        &self.full_version
    }

    /// Returns the folder with the SQL scripts and messages.
    pub(crate) fn share(&self) -> &Path {
        &self.share
    }

    /// Returns a command for a program of this installation such as `mysqlbinlog` or `mysqldump`, if it is there.
    pub fn client_program(&self, name: &str) -> Option<Command> {
        let program = self.program_dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file())?;
        Some(self.command(&program))
    }

    /// Returns a command that runs the server with the options that tell it where its own files are.
    pub(crate) fn server_command(&self) -> Command {
        let mut command = self.command(&self.server);
        let named = |option: &str, path: &Path| {
            let mut arg = OsString::from(option);
            arg.push(path);
            arg
        };
        command.arg("--no-defaults");
        command.arg(named("--basedir=", &self.basedir));
        command.arg(named("--lc-messages-dir=", &self.share));
        command.arg(named("--character-sets-dir=", &self.share.join("charsets")));
        if let Some(plugin_dir) = &self.plugin_dir {
            command.arg(named("--plugin-dir=", plugin_dir));
        }
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.loader.split_first() {
            Some((loader, rest)) => {
                let mut command = Command::new(loader);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    /// Asks the program, which also shows that it runs on this machine at all.
    fn ask_version(&self) -> Result<String, String> {
        let output = self
            .command(&self.server)
            .args(["--no-defaults", "--version"])
            .output()
            .map_err(|error| format!("'{}' cannot be run: {error}", self.server.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // "mysqld  Ver 9.7.0-1 for Linux on x86_64 ((Debian))"
        let version = text.split_once("Ver ").and_then(|(_, rest)| rest.split_whitespace().next());
        match version {
            Some(version) if output.status.success() => {
                self.check_version(version)?;
                Ok(version.to_owned())
            }
            _ => Err(format!(
                "'{} --version' says '{}{}'",
                self.server.display(),
                text.trim(),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    /// Refuses a server that would make tests pass or fail for another version than the one they name.
    fn check_version(&self, full: &str) -> Result<(), String> {
        let numbers: Vec<u32> = full.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
        let fits = match self.version {
            Version::Mysql56 => numbers.starts_with(&[5, 6]),
            // Later minor versions are let in: the archive's unstable suite moves on.
            Version::Mysql97 => numbers.as_slice() >= [9, 7].as_slice() && !full.contains("MariaDB"),
            Version::Mariadb1011 => numbers.starts_with(&[10, 11]) && full.contains("MariaDB"),
        };
        if fits { Ok(()) } else { Err(format!("the server there is '{full}'")) }
    }
}

/// Returns the command words that run a program with the C library inside `root`, if there is one.
///
/// Links are not followed: in some packages the loader's link is absolute and would lead to the machine's own.
pub(crate) fn own_loader(root: &Path) -> Vec<OsString> {
    let (triplet, name) = match std::env::consts::ARCH {
        "aarch64" => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
        _ => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
    };
    let library_dirs: Vec<PathBuf> = ["usr/lib", "lib"]
        .iter()
        .map(|dir| root.join(dir).join(triplet))
        .filter(|dir| dir.is_dir())
        .collect();
    let candidates =
        library_dirs.iter().cloned().chain(["usr/lib64", "lib64"].iter().map(|dir| root.join(dir)));
    let loader = candidates
        .map(|dir| dir.join(name))
        .find(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()));
    match loader {
        Some(loader) => vec![
            loader.into_os_string(),
            "--library-path".into(),
            std::env::join_paths(library_dirs).unwrap_or_default(),
        ],
        None => Vec::new(),
    }
}

/// Reads the folder variable of a version and finds the server in it.
pub(crate) fn from_variable(version: Version) -> Option<Result<Installation, TestbedError>> {
    let variable = version.folder_variable();
    let folder = PathBuf::from(std::env::var_os(variable).filter(|value| !value.is_empty())?);
    Some(Installation::find(version, &folder).map_err(|reason| TestbedError::NoServerInFolder {
        version,
        variable,
        folder,
        reason,
    }))
}
