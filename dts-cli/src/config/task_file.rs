//! One task file, read and checked.
use std::path::{Path, PathBuf};

use dts_core::binlog_applier::OnDivergence;
use dts_core::checker::{CheckMethod, CheckMode, CheckOptions};
use dts_core::error::{ErrorKind, Result};
use dts_core::full_loader::{LoadMethod, RateLimit};
use dts_core::migration::{MigrationOptions, ObjectKinds};
use dts_core::source::SourceOptions;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::validator::{EndpointKind, TaskType};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::connection;
use super::reader::{Document, Keys, Placed, Section};

/// One task file, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct TaskFile {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// SHA-256 of the content, so that a changed file is noticed.
    pub(crate) hash: String,
    /// When the task may start at the earliest; without one at once.
    pub(crate) start_at: Option<Timestamp>,
    /// What is allowed but unwise.
    pub(crate) warnings: Vec<String>,
    /// The shell command that is told of changes of state.
    pub(crate) notify: Option<String>,
    /// What the migration is to do.
    pub(crate) options: MigrationOptions,
    /// The comparison that is made when the task gets in sync.
    pub(crate) check: CheckOptions,
}

const SECTIONS: Keys =
    &["task", "source", "target", "objects", "load", "apply", "check", "validate", "notify"];
const OBJECT_KEYS: Keys = &[
    "databases",
    "tables",
    "exclude",
    "rename",
    "lower_case_names",
    "views",
    "routines",
    "triggers",
    "events",
    "accounts",
];
const CHECK_KEYS: Keys = &["mode", "ratio", "row_count_ratio", "method", "threads", "max_threads_running"];
const LOAD_KEYS: Keys = &["threads", "chunk_mib", "rows_per_second_max", "method", "target_binlog"];

const TASK_TYPES: [(&str, TaskType); 3] = [
    ("structure", TaskType::Structure),
    ("full", TaskType::Full),
    ("full-and-incremental", TaskType::FullAndIncremental),
];
const SOURCE_KINDS: [(&str, EndpointKind); 3] = [
    ("aliyun-rds", EndpointKind::AliyunRds),
    ("mysql", EndpointKind::MySql),
    ("mariadb", EndpointKind::MariaDb),
];
const TARGET_KINDS: [(&str, EndpointKind); 3] = [
    ("tencentdb", EndpointKind::TencentDb),
    ("mysql", EndpointKind::MySql),
    ("mariadb", EndpointKind::MariaDb),
];
const ACCESS_TYPES: [(&str, ()); 4] = [("public", ()), ("direct-connect", ()), ("vpn", ()), ("cvm", ())];
const LOAD_METHODS: [(&str, LoadMethod); 3] =
    [("auto", LoadMethod::Auto), ("load-data", LoadMethod::LoadData), ("insert", LoadMethod::Insert)];
const ON_DIVERGENCE: [(&str, OnDivergence); 3] =
    [("stop", OnDivergence::Stop), ("repair", OnDivergence::Repair), ("log", OnDivergence::Log)];
/// The modes of a comparison by name; the command line uses the same words.
pub(crate) const CHECK_MODES: [(&str, CheckMode); 4] = [
    ("full", CheckMode::Full),
    ("partial", CheckMode::Partial),
    ("rows-count", CheckMode::RowsCount),
    ("none", CheckMode::None),
];
const CHECK_METHODS: [(&str, CheckMethod); 2] =
    [("digest", CheckMethod::Digest), ("stream", CheckMethod::Stream)];
const THREADS: std::ops::RangeInclusive<u64> = 1..=64;

impl TaskFile {
    /// Reads and checks a file. `home` is where the task's own files will lie.
    ///
    /// Passwords are fetched from where the file says, so that what is missing is found before any server is asked.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when it cannot be read; [`ErrorKind::InvalidInput`] with key, line and column.
    pub(crate) fn read(path: &Path, home: &Path) -> Result<Self> {
        let file_error = |source| ErrorKind::File {
            action: "read the task file",
            path: path.display().to_string(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(file_error)?;
        let absolute = std::fs::canonicalize(path).map_err(file_error)?;
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();

        let document = Document::new(path, &text);
        let table = document.parse()?;
        let root = document.root(&table, SECTIONS)?;
        let mut warnings = Vec::new();

        let task = root.section("task", &["name", "type", "start_at"])?;
        let name = task.string("name")?;
        let task_type = task.choice("type", &TASK_TYPES)?.unwrap_or(TaskType::FullAndIncremental);
        let start_at = start_at(&task)?;
        let Some(name) = name else { return Err(task.missing("name", "the task's name")) };

        let section = root.section("source", connection::SOURCE_KEYS)?;
        let (source_kind, source) =
            connection::read(&section, "source", &SOURCE_KINDS, &folder, &mut warnings)?;
        section.choice("access", &ACCESS_TYPES)?;
        let section = root.section("target", connection::TARGET_KEYS)?;
        let (target_kind, target) =
            connection::read(&section, "target", &TARGET_KINDS, &folder, &mut warnings)?;

        let section = root.section("objects", OBJECT_KEYS)?;
        let selection = ObjectSelection::new(
            &section.strings("databases")?,
            &section.strings("tables")?,
            &section.strings("exclude")?,
        )?;
        let route = Route::new(section.pairs("rename")?)?;
        let lowers = section.boolean("lower_case_names")?.unwrap_or(false);
        let transform = Transform::new(selection, if lowers { route.lowering_target()? } else { route })?;
        let mut options = MigrationOptions::new(
            name.value.as_str(),
            SourceOptions::new(source),
            TargetOptions::new(target),
            transform,
        )
        .map_err(|_| task.wrong("name", name.at, &name.value, "1 to 64 letters, digits, '-' and '_'"))?;
        options.task_type = task_type;
        options.source_kind = source_kind;
        options.target_kind = target_kind;
        options.objects = object_kinds(&section)?;

        load(&root.section("load", LOAD_KEYS)?, &mut options)?;
        apply(&root.section("apply", &["workers", "on_divergence", "spool_gib_max"])?, &mut options)?;
        options.apply.spool_folder = Some(home.join("spool").join(&options.name));
        let check = check(&root.section("check", CHECK_KEYS)?)?;
        let validate = root.section("validate", &["ignore", "try_structure"])?;
        options.validate_ignore = validate.strings("ignore")?;
        options.try_structure = validate.boolean("try_structure")?.unwrap_or(true);

        let notify = root.section("notify", &["command"])?.string("command")?.map(|command| command.value);

        let hash = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(TaskFile { path: absolute, hash, start_at, warnings, notify, options, check })
    }
}

fn start_at(task: &Section<'_, '_>) -> Result<Option<Timestamp>> {
    let Some(Placed { value, at }) = task.string("start_at")? else { return Ok(None) };
    match value.parse::<Timestamp>() {
        Ok(time) => Ok(Some(time)),
        Err(_) => {
            let expected = "a time with its offset as in RFC 3339, for example 2026-12-01T02:00:00+08:00";
            Err(task.wrong("start_at", at, &value, expected))
        }
    }
}

fn object_kinds(section: &Section<'_, '_>) -> Result<ObjectKinds> {
    let usual = ObjectKinds::default();
    Ok(ObjectKinds {
        views: section.boolean("views")?.unwrap_or(usual.views),
        routines: section.boolean("routines")?.unwrap_or(usual.routines),
        triggers: section.boolean("triggers")?.unwrap_or(usual.triggers),
        events: section.boolean("events")?.unwrap_or(usual.events),
        accounts: section.boolean("accounts")?.unwrap_or(usual.accounts),
    })
}

fn load(section: &Section<'_, '_>, options: &mut MigrationOptions) -> Result<()> {
    if let Some(threads) = section.integer("threads", THREADS)? {
        options.load.threads = usize::try_from(threads).unwrap_or(usize::MAX);
    }
    if let Some(mib) = section.integer("chunk_mib", 1..=1024)? {
        options.load.chunk_bytes = mib << 20;
    }
    if let Some(rows) = section.integer("rows_per_second_max", 0..=u64::MAX)? {
        options.load.rate_limit = RateLimit::new(rows);
    }
    if let Some(method) = section.choice("method", &LOAD_METHODS)? {
        options.load.method = method;
    }
    if let Some(is_on) = section.choice("target_binlog", &[("on", true), ("off", false)])? {
        options.target.load_binlog = is_on;
    }
    Ok(())
}

fn apply(section: &Section<'_, '_>, options: &mut MigrationOptions) -> Result<()> {
    if let Some(workers) = section.integer("workers", THREADS)? {
        options.apply.workers = usize::try_from(workers).unwrap_or(usize::MAX);
    }
    if let Some(what) = section.choice("on_divergence", &ON_DIVERGENCE)? {
        options.apply.on_divergence = what;
    }
    if let Some(gib) = section.integer("spool_gib_max", 1..=1 << 20)? {
        options.apply.spool_bytes_max = gib << 30;
    }
    Ok(())
}

fn check(section: &Section<'_, '_>) -> Result<CheckOptions> {
    let mut options = CheckOptions::default();
    options.mode = section.choice("mode", &CHECK_MODES)?.unwrap_or(CheckMode::Partial);
    options.ratio = section.percent("ratio")?.unwrap_or(10.0);
    options.row_count_ratio = section.percent("row_count_ratio")?.unwrap_or(100.0);
    options.method = section.choice("method", &CHECK_METHODS)?.unwrap_or_default();
    if let Some(threads) = section.integer("threads", THREADS)? {
        options.threads = usize::try_from(threads).unwrap_or(usize::MAX);
    }
    options.threads_running_max =
        section.integer("max_threads_running", 0..=u64::MAX)?.filter(|limit| *limit > 0);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::TEMPLATE;

    fn read(text: &str) -> Result<TaskFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.toml");
        std::fs::write(&path, text).unwrap();
        TaskFile::read(&path, Path::new("/home"))
    }

    /// A task file with one line replaced or added.
    fn with(section: &str, line: &str) -> String {
        let sections = [
            ("task", "name = \"t\"\n"),
            ("source", "host = \"a\"\nuser = \"u\"\npassword = \"p\"\n"),
            ("target", "host = \"b\"\nuser = \"u\"\npassword = \"p\"\n"),
            ("objects", "databases = [\"shop\"]\n"),
            ("load", ""),
            ("apply", ""),
            ("check", ""),
            ("validate", ""),
            ("notify", ""),
        ];
        let mut text = String::new();
        for (name, body) in sections {
            text.push_str(&format!(
                "[{name}]\n{}{body}",
                if name == section { format!("{line}\n") } else { String::new() }
            ));
        }
        text
    }

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let error = read(text).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "'{part}' is not in: {error}");
        }
    }

    #[test]
    fn the_template_is_a_task_file() {
        // The template takes its passwords from the environment; here they are plain.
        let text = TEMPLATE
            .replace("{ env = \"DTS_SOURCE_PASSWORD\" }", "\"a\"")
            .replace("{ env = \"DTS_TARGET_PASSWORD\" }", "\"b\"");
        let task = read(&text).unwrap();
        assert_eq!(task.warnings.len(), 2);
        // Every key that is commented out is one that the reader knows, with a value it takes.
        let all: String = text
            .lines()
            .map(|line| {
                let line = line.strip_prefix("#= ").unwrap_or(line);
                format!("{line}\n")
            })
            .collect();
        assert_ne!(all, text);
        let task = read(&all).unwrap();
        assert!(task.start_at.is_some());
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let task = read(&with("", "")).unwrap();
        let options = task.options;
        assert_eq!(options.task_type, TaskType::FullAndIncremental);
        assert_eq!(
            (options.load.threads, options.load.chunk_bytes, options.load.rate_limit.get()),
            (4, 16 << 20, 0)
        );
        assert_eq!((options.apply.workers, options.apply.spool_bytes_max), (4, 50 << 30));
        assert_eq!(options.apply.on_divergence, OnDivergence::Stop);
        assert_eq!(task.check.mode, CheckMode::Partial);
        assert_eq!((task.check.method, task.check.threads), (CheckMethod::Digest, 2));
        assert_eq!(task.check.threads_running_max, None);
        assert!((task.check.ratio - 10.0).abs() < f64::EPSILON);
        assert!(options.target.load_binlog);
        assert_eq!(options.source.connection.address.to_string(), "a:3306");
        assert_eq!(options.source.connection.connect_timeout, Duration::from_secs(10));
        assert_eq!(options.apply.spool_folder.unwrap(), Path::new("/home/spool/t"));
    }

    #[test]
    fn unknown_keys_are_named_with_their_place_and_the_closest_known_key() {
        refused(
            &with("load", "thread = 4"),
            &["line 14, column 1", "'load.thread'", "expected 'load.threads'"],
        );
        refused("[taks]\nname = 'x'\n", &["line 1", "'task"]);
        refused(
            &with("source", "tls = { mod = 'required' }"),
            &["line 4, column 9", "source.tls.mod", "source.tls.mode"],
        );
        refused(&with("target", "access = 'vpn'"), &["line 8, column 1", "target.access"]);
    }

    #[test]
    fn a_misspelt_section_is_named_even_though_its_keys_are_missing() {
        let text = with("", "").replace("[source]", "[sourc]");
        refused(&text, &["[DTS-1001]", "sourc", "expected 'source'"]);
    }

    #[test]
    fn wrong_types_and_ranges_are_named_with_their_place() {
        refused(
            &with("load", "threads = \"four\""),
            &["line 14, column 11", "load.threads is 'a text'", "from 1 to 64"],
        );
        refused(&with("load", "threads = 65"), &["load.threads is '65'"]);
        refused(&with("load", "threads = -1"), &["load.threads is '-1'"]);
        refused(&with("load", "rows_per_second_max = 99999999999999999999999"), &["rows_per_second_max"]);
        refused(
            &with("apply", "on_divergence = 'ignore'"),
            &["apply.on_divergence is 'ignore'", "expected one of 'stop'"],
        );
        refused(&with("check", "ratio = 0"), &["check.ratio is '0'"]);
        refused(&with("check", "ratio = 100.5"), &["check.ratio is '100.5'"]);
        refused(&with("check", "mode = 'ful'"), &["check.mode is 'ful'", "expected 'full'"]);
        refused(&with("source", "port = 65536"), &["source.port is '65536'"]);
        refused(&with("source", "socket = '/s'"), &["either a host or a socket"]);
        refused(&with("task", "start_at = '2026-12-01'"), &["line 2, column 12", "RFC 3339"]);
        refused(&with("objects", "views = 'yes'"), &["objects.views is 'a text'", "true or false"]);
        refused(&with("validate", "ignore = [1]"), &["validate.ignore is 'a whole number'"]);
        refused(&with("", "").replace("name = \"t\"", "name = \"a b\""), &["task.name is 'a b'", "line 2"]);
        refused(&with("", "").replace("name = \"t\"", ""), &["task.name is 'missing'"]);
        refused("[task", &["line 1", "TOML"]);
    }

    #[test]
    fn passwords_come_from_four_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("task.toml");
        std::fs::write(folder.path().join("secret"), "from file\n").unwrap();
        let text = with("", "");
        let text = text.replacen("\"p\"", "{ file = 'secret' }", 1).replacen(
            "\"p\"",
            "{ command = 'echo \"from command\"' }",
            1,
        );
        std::fs::write(&path, text).unwrap();
        let options = TaskFile::read(&path, Path::new("/")).unwrap().options;
        assert!(options.source.connection.password == dts_core::wire::Secret::new("from file"));
        assert!(options.target.connection.password == dts_core::wire::Secret::new("from command"));
    }

    #[test]
    fn a_password_that_cannot_be_had_says_where_it_was_looked_for() {
        let plain = with("", "");
        let replaced = |with: &str| plain.replacen("\"p\"", with, 1);
        refused(
            &replaced("{ env = 'DTS_NOT_SET' }"),
            &["source.password.env is 'DTS_NOT_SET'", "export DTS_NOT_SET=", "line 6"],
        );
        refused(&replaced("{ file = 'nowhere' }"), &["read the password file", "nowhere"]);
        refused(&replaced("{ command = 'exit 3' }"), &["source.password.command", "exit status: 3"]);
        refused(&replaced("{ env = 'A', file = 'b' }"), &["exactly one of"]);
        refused(&replaced("{ }"), &["exactly one of"]);
        refused(&replaced("{ vault = 'b' }"), &["unknown key", "source.password.vault"]);
        refused(&replaced("5"), &["source.password is 'a whole number'"]);
    }

    #[test]
    fn a_syntax_error_never_shows_a_password() {
        let error = read("[source]\npassword = \"hunter2\nuser = 1\n").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
