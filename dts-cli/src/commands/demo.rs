//! `dts demo`: the whole flow on two throw-away servers, with an application that keeps writing.
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dts_core::checker::{CheckProgress, CheckReport};
use dts_core::data::GateKind;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::Migration;
use dts_core::stop::StopToken;
use dts_testbed::shop::{SOURCE_GRANTS, Shop, ShopOptions, TARGET_GRANTS, Writer, WriterOptions};
use dts_testbed::{Server, ServerOptions, TestbedError, Version, dump};

use super::report::write_page;
use super::validate::exit_status;
use crate::args::DemoArgs;
use crate::config::TaskFile;
use crate::engine::CutoverWish;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::demo::{self, DemoDocument};
use crate::output::json::{CheckDocument, StatusDocument, ValidationDocument};
use crate::output::report::ReportDocument;
use crate::output::{Console, check, status, validation};
use crate::runner::{Goal, Job, Outcome, Runner, What};
use crate::signals;
use crate::store::Store;

/// The account of dts on both servers.
const ACCOUNT: &str = "dts";
/// The account of the application, on both servers.
const APPLICATION: &str = "shop_app";
/// How far the target may be behind when the cut-over begins, and how long sessions may take to end.
const PATIENCE_SECONDS: u64 = 30;
/// The task's name.
const TASK: &str = "demo";

/// Both servers and what was put on them.
struct Stage {
    source: Server,
    target: Server,
    shop: Shop,
    rows: u64,
    password: String,
}

/// Prints what happens, with the time since the beginning.
struct Story<'c> {
    console: &'c Console,
    begun: Instant,
}

impl Story<'_> {
    fn tell(&self, text: &str) {
        self.console.text(&format!("[{:5.1} s] {text}", self.begun.elapsed().as_secs_f64()));
    }
}

/// Runs the demo. Its servers and files are gone when it returns, and when it is killed.
/// What stays is the report, in the folder of reports of `kept`.
pub(super) fn execute(args: &DemoArgs, kept: &Home, console: &Console) -> Result<ExitStatus> {
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "ending the demo…")?;
    match play(args, kept, console, &stop) {
        // Nothing of a demo can be resumed.
        Err(error) if error.is_interrupted() => Ok(ExitStatus::Interrupted),
        result => result,
    }
}

fn play(args: &DemoArgs, kept: &Home, console: &Console, stop: &StopToken) -> Result<ExitStatus> {
    let story = Story { console, begun: Instant::now() };
    let seed =
        args.seed.unwrap_or_else(|| u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()));
    let stage = set_up(args.rows, seed, &story)?;
    stop.check()?;

    let folder =
        tempfile::tempdir().map_err(|error| file_error("create", Path::new("a temporary folder"), error))?;
    let home = Home::at(folder.path().join("home"));
    let file = TaskFile::read(&write_task_file(folder.path(), &stage)?, home.path())?;
    let migration = Migration::new(file.options.clone());
    let mut store = Store::open(&home)?;
    store.enter(&file)?;

    story.tell("an application begins to write on the source: up to 200 transactions a second");
    let account = (APPLICATION.to_owned(), stage.password.clone());
    let options = WriterOptions { seed, account: Some(account.clone()), ..WriterOptions::default() };
    let writer = Writer::start(&stage.source, &stage.shop, &options);

    let lease = store.take_lease(TASK, "demo", stop)?;
    let runner = Runner::new(Job::new(&file, &migration), store.reopen()?, lease, console, stop)?;
    let report = runner.validate()?;
    if exit_status(&report) != ExitStatus::Done {
        console.text(&validation::full(&report, console.has_color()));
        console.document(&ValidationDocument::from(&report));
        return Ok(ExitStatus::Findings);
    }
    story.tell(&validation::conclusion(&report));

    story.tell("copying, catching up, building indexes; then a full check while the application goes on");
    let moved = runner.run(Goal::Synced)?;
    drop(runner);
    let copied = status_of(&mut store)?;
    let live = checked(&moved)?;
    story.tell(&format!("in sync; live {}", check::in_one_line(live)));

    story.tell("cutting over, while the application goes on writing: its account is locked, the rest applied, the target opened");
    let lease = store.take_lease(TASK, "demo", stop)?;
    let runner = Runner::new(Job::new(&file, &migration), store.reopen()?, lease, console, stop)?;
    let wish = CutoverWish {
        gate: Some(GateKind::LockAccounts),
        max_lag_seconds: PATIENCE_SECONDS,
        patience_seconds: PATIENCE_SECONDS,
        ..CutoverWish::default()
    };
    let over = runner.hand_over(What::CutOver, &wish)?;
    drop(runner);
    let written = writer.stop();
    let over = over.cutover.ok_or_else(|| Error::internal("the demo's cut-over left no record"))?;
    story.tell(&format!("the application had {} acknowledged", demo::written(&written)));
    let moved_over = [&stage.source, &stage.target].map(|server| stage.shop.may_be_written(server, &account))
        == [false, true];

    let at_rest = migration.check(file.check.clone(), false, stop, &CheckProgress::new())?;
    let final_check = CheckDocument::from(&at_rest);
    let text = serde_json::to_string(&final_check).unwrap_or_default();
    store.add_comparison(TASK, final_check.conclusion, &text)?;
    story.tell(&format!("both at rest; {}", check::in_one_line(&at_rest)));

    story.tell("comparing once more, byte by byte, with a reader that shares no code with dts");
    let database = stage.shop.database();
    let differences = dump::differences(&stage.source, database, &stage.target, database);
    let rows = stage.shop.row_count(&stage.target);
    let report = write_page(None, &ReportDocument::read(&mut store, TASK)?, kept)?;
    let document = DemoDocument {
        seed,
        from: format!("MySQL {}", stage.source.installation().full_version()),
        to: format!("MySQL {}", stage.target.installation().full_version()),
        rows_at_the_beginning: stage.rows,
        rows,
        copy: demo::Copy::of(&copied),
        application: demo::Application::of(&written),
        write_stop_seconds: over.write_stop_seconds,
        moved_over,
        live_check: CheckDocument::from(live),
        final_check,
        differences,
        report: report.display().to_string(),
        seconds: story.begun.elapsed().as_secs_f64(),
    };
    console.text(&demo::summary(&document, console.has_color()));
    console.document(&document);
    if args.keep {
        keep(&stage, console, stop);
    }
    Ok(if document.is_proved() { ExitStatus::Done } else { ExitStatus::Findings })
}

fn set_up(rows: u64, seed: u64, story: &Story<'_>) -> Result<Stage> {
    story.tell("starting two throw-away servers: MySQL 5.6, set up like an RDS instance, and MySQL 9.7");
    let started = |server: std::result::Result<Server, TestbedError>, version: Version| {
        server.map_err(|error| {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            file_error("start", Path::new(&version.to_string()), std::io::Error::other(text))
                .with_hint("The first start fetches the servers, for which this machine needs the network; see the message.")
        })
    };
    // As on RDS, table names are lower case; the target must agree.
    let lower = "--lower-case-table-names=1";
    let (source, target) = std::thread::scope(|scope| {
        let source = scope.spawn(|| Server::start(ServerOptions::new(Version::Mysql56).rds_like()));
        let target = Server::start(ServerOptions::new(Version::Mysql97).arg(lower));
        (source.join(), target)
    });
    let source = source.map_err(|_| Error::internal("a thread that starts a server panicked"))?;
    let (source, target) = (started(source, Version::Mysql56)?, started(target, Version::Mysql97)?);
    // The servers listen on this machine only and live for a minute; still the password is no constant.
    let password = format!("demo-{}-{seed}", std::process::id());
    source.create_account(ACCOUNT, &password, &SOURCE_GRANTS);
    target.create_account(ACCOUNT, &password, &TARGET_GRANTS);
    // What the cut-over needs besides: it locks an account and ends its sessions, and opens a target that was closed until then.
    source.exec(&format!("GRANT CREATE USER, SUPER ON *.* TO {ACCOUNT}"));
    target.exec(&format!(
        "GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO {ACCOUNT}; SET GLOBAL read_only = 1"
    ));
    story.tell(&format!(
        "source 127.0.0.1:{} ({}), target 127.0.0.1:{} ({})",
        source.port(),
        source.installation().full_version(),
        target.port(),
        target.installation().full_version()
    ));
    story.tell(&format!("filling a shop with awkward data (seed {seed})"));
    let shop = Shop::create(&source, &ShopOptions { rows, seed, ..ShopOptions::default() });
    for server in [&source, &target] {
        server.create_account(APPLICATION, &password, &[&format!("ALL PRIVILEGES ON {}.*", shop.database())]);
    }
    let rows = shop.row_count(&source);
    story.tell(&format!("the shop has {}", crate::output::format::counted(rows, "row")));
    Ok(Stage { source, target, shop, rows, password })
}

fn write_task_file(folder: &Path, stage: &Stage) -> Result<PathBuf> {
    let secret = folder.join("password");
    let write = |path: &Path, text: &str| -> std::io::Result<()> {
        let mut options = fs::File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(text.as_bytes())
    };
    let task = folder.join("demo.toml");
    let text = format!(
        "[task]\nname = \"{TASK}\"\n\
         [source]\nkind = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{ACCOUNT}\"\npassword = {{ file = \"password\" }}\n\
         [target]\nkind = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"{ACCOUNT}\"\npassword = {{ file = \"password\" }}\n\
         [objects]\ndatabases = [\"{}\"]\n\
         [check]\nmode = \"full\"\n",
        stage.source.port(),
        stage.target.port(),
        stage.shop.database(),
    );
    write(&secret, &stage.password).map_err(|error| file_error("write", &secret, error))?;
    write(&task, &text).map_err(|error| file_error("write", &task, error))?;
    Ok(task)
}

fn status_of(store: &mut Store) -> Result<StatusDocument> {
    Ok(status::document(&store.get(TASK)?, None))
}

fn checked(outcome: &Outcome) -> Result<&CheckReport> {
    outcome.check.as_ref().ok_or_else(|| Error::internal("the demo's run made no check"))
}

/// Waits for Enter or Ctrl-C; without somebody at the keyboard only for Ctrl-C.
fn keep(stage: &Stage, console: &Console, stop: &StopToken) {
    for (name, server) in [("source", &stage.source), ("target", &stage.target)] {
        console.note(&format!(
            "{name}: mysql --socket={} --user=root {}",
            server.socket().display(),
            stage.shop.database()
        ));
    }
    console.note("Both servers run until Enter or Ctrl-C.");
    let (sender, entered) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok_and(|length| length > 0) {
            let _ = sender.send(());
        } else {
            // Nobody is there to press Enter.
            loop {
                std::thread::park();
            }
        }
    });
    while !stop.is_stopped() && entered.recv_timeout(Duration::from_millis(200)).is_err() {}
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    ErrorKind::File { action, path: path.display().to_string(), source }.into()
}
