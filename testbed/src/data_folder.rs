//! Data folders: initialised once per server version, copied for each server.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::last_lines;
use crate::{Installation, ServerOptions, TestbedError, Version, obtain};

/// Counts up when what [`initialise`] makes changes, so that caches of older code are not used.
const REVISION: u32 = 1;

/// Small files make small copies; a server resizes them at its first start if its options say so.
const SMALL_LOG_FILES: &[&str] = &["--innodb-log-file-size=8M"];
const SMALL_REDO_LOG: &[&str] = &["--innodb-redo-log-capacity=8M"];

/// Makes `destination` a fresh data folder for `options`.
pub(crate) fn create(
    installation: &Installation,
    options: &ServerOptions,
    destination: &Path,
) -> Result<(), TestbedError> {
    let fixed = options.initialisation_args();
    let variant: String =
        fixed.iter().map(|arg| arg.trim_start_matches('-').replace('=', "-") + "-").collect();
    let name = format!(
        "data-{}-{}-{variant}r{REVISION}",
        options.version().slug(),
        installation.full_version().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-")
    );
    let template = obtain::cached(&name, |_, new| {
        eprintln!(
            "dts-testbed: initialising a data folder of {} {}",
            options.version(),
            installation.full_version()
        );
        initialise(installation, &fixed, new)
    })?;
    copy(&template, destination).map_err(TestbedError::io("copying to", destination))
}

/// Makes a data folder with no user databases, no anonymous accounts and a `root` without password that may connect
/// over the socket and from 127.0.0.1. Nothing of this is in a binary log.
fn initialise(installation: &Installation, fixed: &[String], folder: &Path) -> Result<(), TestbedError> {
    fs::create_dir(folder).map_err(TestbedError::io("making", folder))?;
    match installation.version() {
        Version::Mysql56 => {
            fs::create_dir(folder.join("mysql")).map_err(TestbedError::io("making", folder))?;
            let mut sql = "USE mysql;\n".to_owned();
            sql += &scripts(installation, &["mysql_system_tables.sql", "mysql_system_tables_data.sql"])?;
            sql += "DELETE FROM user WHERE User <> 'root' OR Host NOT IN ('localhost', '127.0.0.1', '::1');\n\
                    DELETE FROM db;\nDELETE FROM proxies_priv WHERE Host <> 'localhost';\n";
            bootstrap(installation, folder, SMALL_LOG_FILES, &sql)?;
        }
        Version::Mariadb1011 => {
            let mut sql = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n".to_owned();
            sql += &scripts(
                installation,
                &[
                    "mysql_system_tables.sql",
                    "mysql_performance_tables.sql",
                    "mysql_system_tables_data.sql",
                    "maria_add_gis_sp_bootstrap.sql",
                    "mysql_sys_schema.sql",
                ],
            )?;
            sql += "USE mysql;\n\
                    DELETE FROM global_priv WHERE User = '' OR (User = 'root' AND Host NOT IN \
                    ('localhost', '127.0.0.1', '::1'));\nDELETE FROM db WHERE User = '';\n";
            bootstrap(installation, folder, SMALL_LOG_FILES, &sql)?;
        }
        Version::Mysql97 => {
            let script = folder.with_extension("sql");
            // Over TCP the server sees 127.0.0.1, which is not 'localhost' when names are not resolved.
            let sql = "CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
                       GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";
            fs::write(&script, sql).map_err(TestbedError::io("writing", &script))?;
            let mut command = server_command(installation, folder);
            command
                .args(["--initialize-insecure", "--mysqlx=OFF", "--secure-file-priv="])
                .args(SMALL_REDO_LOG)
                .args(fixed);
            command.arg(option("--init-file=", &script));
            run(installation, command, "")?;
        }
    }
    // The server gives itself a new server_uuid when it finds none.
    let _ = fs::remove_file(folder.join("auto.cnf"));
    Ok(())
}

/// Returns the texts of SQL scripts that come with the server.
fn scripts(installation: &Installation, names: &[&str]) -> Result<String, TestbedError> {
    let mut all = String::new();
    for name in names {
        let path = installation.share().join(name);
        let bytes = fs::read(&path).map_err(TestbedError::io("reading", &path))?;
        all += &String::from_utf8_lossy(&bytes);
        all += "\n";
    }
    Ok(all)
}

fn bootstrap(
    installation: &Installation,
    folder: &Path,
    args: &[&str],
    sql: &str,
) -> Result<(), TestbedError> {
    let mut command = server_command(installation, folder);
    command.arg("--bootstrap").args(args);
    run(installation, command, sql)
}

fn run(installation: &Installation, mut command: Command, input: &str) -> Result<(), TestbedError> {
    let program = Path::new(command.get_program()).to_owned();
    let fail = |error| TestbedError::io("running", &program)(error);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(fail)?;
    let mut stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A server that ends early stops reading; its own words say why.
        scope.spawn(move || stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.map_err(|error| TestbedError::io("running", &program)(error))?;
    let text = String::from_utf8_lossy(&output.stderr);
    // In bootstrap mode a failed statement is reported as an error line, and older servers then still end with 0.
    if !output.status.success() || text.contains("ERROR: ") {
        return Err(TestbedError::Initialise {
            version: installation.version(),
            status: output.status,
            output: last_lines(&text, 60),
        });
    }
    Ok(())
}

/// Returns the server's command with its data folder; used for initialising and for running.
pub(crate) fn server_command(installation: &Installation, folder: &Path) -> Command {
    let mut command = installation.server_command();
    command.arg(option("--datadir=", folder));
    // Servers refuse to run as root unless told so; as anybody else they would warn about the option.
    if is_root() {
        command.arg("--user=root");
    }
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Returns `name` with `path` behind it.
pub(crate) fn option(name: &str, path: &Path) -> OsString {
    let mut arg = OsString::from(name);
    arg.push(path);
    arg
}

/// Copies a folder with all that is in it; file systems that can share blocks do.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
