//! A browser without a window, for tests that look at pages.
//!
//! [`Chromium::obtain`] takes the program that `$DTS_TESTBED_CHROMIUM` names, else one of the machine's, else Debian's
//! `chromium-headless-shell`, unpacked with all its libraries into the cache folder like the servers. Pages come from files;
//! nothing is asked of the network.
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::installation::own_loader;
use crate::obtain::cached;
use crate::{TestbedError, apt};

/// Names a program to be used instead.
const VARIABLE: &str = "DTS_TESTBED_CHROMIUM";
/// What the machine's own may be called.
const NAMES: [&str; 5] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// Attempts: a browser that does not come up on a busy machine comes up at the next one.
const ATTEMPTS: u32 = 3;

/// A browser without a window.
#[derive(Clone, Debug)]
pub struct Chromium {
    program: PathBuf,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The window's width in CSS pixels; see [`Chromium::narrow`] for less than 500.
    pub width: u32,
    /// The window's height in CSS pixels.
    pub height: u32,
    /// Whether the person prefers dark colours.
    pub dark: bool,
}

/// What a look has shown.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The page after its scripts, as HTML.
    pub dom: String,
    /// What the page wrote to the console, errors of loading included.
    pub console: Vec<String>,
}

impl Chromium {
    /// Finds or fetches the browser.
    ///
    /// # Errors
    /// [`TestbedError::Chromium`] says what to install or to set.
    pub fn obtain() -> Result<Self, TestbedError> {
        if let Some(program) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            return Ok(Chromium { program: program.into() });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let installed = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        if let Some(program) = installed.into_iter().find(|program| program.is_file()) {
            return Ok(Chromium { program });
        }
        let folder = cached("chromium", |scratch, folder| {
            let packages = ["chromium-headless-shell", "fonts-dejavu-core"];
            apt::fetch("bookworm", &packages, scratch, &folder.join("packages"))
                .and_then(|()| write_launcher(folder).map_err(|error| error.to_string()))
                // What does not run here must not get into the cache, where it would be believed.
                .and_then(|()| Chromium { program: folder.join("run") }.prove(scratch))
                .map_err(TestbedError::Chromium)
        })?;
        Ok(Chromium { program: folder.join("run") })
    }

    fn prove(&self, scratch: &Path) -> Result<(), String> {
        let page = scratch.join("page.html");
        fs::write(&page, "<!doctype html><title>t</title><p>a page").map_err(|error| error.to_string())?;
        let seen = self.look(&page, Look { width: 600, height: 400, dark: false })?;
        if seen.dom.contains("a page") { Ok(()) } else { Err(format!("it showed '{}'", seen.dom)) }
    }

    /// Opens the page of a file and returns what is there once its scripts have run.
    ///
    /// # Errors
    /// The text says how the browser ended and what it printed.
    pub fn look(&self, page: &Path, look: Look) -> Result<Seen, String> {
        self.run(page, look, "--dump-dom", None)
    }

    /// Makes a picture (PNG) of the window.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn picture(&self, page: &Path, look: Look, into: &Path) -> Result<Seen, String> {
        self.run(page, look, &format!("--screenshot={}", into.display()), Some(into))
    }

    /// Prints the page (PDF).
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub fn print(&self, page: &Path, into: &Path) -> Result<Seen, String> {
        let look = Look { width: 1000, height: 1000, dark: false };
        self.run(page, look, &format!("--print-to-pdf={}", into.display()), Some(into))
    }

    /// Writes a page that shows `page` in a frame of a phone's width, which windows do not always have, and that says in its
    /// `<output>` how wide and how high the content is: `width x height`. Returns its path, beside `page`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn narrow(page: &Path, width: u32, height: u32) -> std::io::Result<PathBuf> {
        let wrapper = page.with_extension("narrow.html");
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        fs::write(
            &wrapper,
            format!(
                "<!doctype html><style>body{{margin:0}}iframe{{border:0;display:block}}output{{position:absolute;opacity:0}}\
                 </style><output></output><iframe src=\"{name}\" width={width} height={height} onload=\"\
                 let e = this.contentDocument.documentElement; \
                 document.querySelector('output').textContent = e.scrollWidth + ' x ' + e.scrollHeight\"></iframe>"
            ),
        )?;
        Ok(wrapper)
    }

    fn run(&self, page: &Path, look: Look, action: &str, made: Option<&Path>) -> Result<Seen, String> {
        let mut failure = String::new();
        for _ in 0..ATTEMPTS {
            match self.run_once(page, look, action, made) {
                Ok(seen) => return Ok(seen),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn run_once(&self, page: &Path, look: Look, action: &str, made: Option<&Path>) -> Result<Seen, String> {
        let profile = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (out, err) = (profile.path().join("out"), profile.path().join("err"));
        let create = |path: &Path| fs::File::create(path).map_err(|error| error.to_string());
        let mut flag = OsString::from("--user-data-dir=");
        flag.push(profile.path().join("profile"));
        let mut command = Command::new(&self.program);
        command.args([
            "--headless",
            // Tests run as root, too, and the pages are our own.
            "--no-sandbox",
            "--no-zygote",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--hide-scrollbars",
            "--no-pdf-header-footer",
            // A frame may be measured by the page around it.
            "--allow-file-access-from-files",
            "--enable-logging=stderr",
        ]);
        command.arg(flag).arg(format!("--window-size={},{}", look.width, look.height));
        command.arg(format!("--blink-settings=preferredColorScheme={}", if look.dark { 0 } else { 1 }));
        command.arg(action).arg(page);
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?);
        let mut child = command
            .spawn()
            .map_err(|error| format!("'{}' cannot be run: {error}", self.program.display()))?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let said = text(&err);
        let is_made = made.is_none_or(|path| path.is_file());
        if !status.is_some_and(|status| status.success()) || !is_made {
            let how = status.map_or("it did not end in time".to_owned(), |status| status.to_string());
            return Err(format!("{how}: {}", crate::error::last_lines(said.trim(), 12)));
        }
        let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
        Ok(Seen { dom: text(&out), console })
    }
}

/// Writes the script that runs the browser with the libraries and fonts beside it, for its child processes, too.
fn write_launcher(folder: &Path) -> std::io::Result<()> {
    let root = folder.join("packages");
    let program = root.join("usr/lib/chromium/chromium-headless-shell");
    let missing =
        |what: &str| std::io::Error::other(format!("the packages have no {what} where it is expected"));
    if !program.is_file() {
        return Err(missing("program"));
    }
    let loader = own_loader(&root);
    let (Some(file), Some(libraries)) = (loader.first(), loader.get(2)) else {
        return Err(missing("loader"));
    };
    // The browser looks for its data where the file lies that was executed, and that is the loader.
    fs::copy(file, root.join("usr/lib/chromium/loader"))?;
    // The folder gets its final name later, so that paths begin where the script lies. The last one: a library looks for its
    // other half by a path of its own.
    let libraries = libraries.to_string_lossy().replace(&*folder.to_string_lossy(), "$here");
    let more = format!("$here/packages/usr/lib/{}-linux-gnu/pulseaudio", std::env::consts::ARCH);
    let script = format!(
        "#!/bin/sh\nhere=$(cd \"$(dirname \"$0\")\" && pwd)\nexport FONTCONFIG_FILE=\"$here/fonts.conf\"\n\
         exec \"$here/packages/usr/lib/chromium/loader\" --library-path \"{libraries}:{more}\" \
         \"$here/packages/usr/lib/chromium/chromium-headless-shell\" --browser-subprocess-path=\"$here/run\" \"$@\"\n"
    );
    let fonts = "<?xml version=\"1.0\"?><!DOCTYPE fontconfig SYSTEM \"fonts.dtd\"><fontconfig>\
                 <dir prefix=\"relative\">packages/usr/share/fonts</dir></fontconfig>\n";
    fs::write(folder.join("fonts.conf"), fonts)?;
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o755).open(folder.join("run"))?;
    file.write_all(script.as_bytes())
}
