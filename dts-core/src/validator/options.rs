//! What is going to be done, as far as the validator must know it.
use std::fmt;
use std::time::Duration;

use crate::source::SourceOptions;
use crate::target::TargetOptions;
use crate::transform::Transform;

/// What kind of service an endpoint is: thresholds and the steps to mend something differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointKind {
    /// Alibaba Cloud RDS for MySQL; a source only.
    AliyunRds,
    /// TencentDB for MySQL; a target only.
    TencentDb,
    /// A MySQL server (or one compatible with it) with its own my.cnf.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl EndpointKind {
    /// Returns the word used in task files.
    pub fn as_str(self) -> &'static str {
        match self {
            EndpointKind::AliyunRds => "aliyun-rds",
            EndpointKind::TencentDb => "tencentdb",
            EndpointKind::MySql => "mysql",
            EndpointKind::MariaDb => "mariadb",
        }
    }
}

impl fmt::Display for EndpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a task goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskType {
    /// Databases, tables and other objects, without rows.
    Structure,
    /// Structure and the rows that exist.
    Full,
    /// All that, and every change since.
    FullAndIncremental,
}

impl TaskType {
    /// Returns the word used in task files.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskType::Structure => "structure",
            TaskType::Full => "full",
            TaskType::FullAndIncremental => "full-and-incremental",
        }
    }
}

/// What is going to be done, and how to look at it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ValidatorOptions {
    /// The task's name: leftovers of this task on the target are recognised by it.
    pub task: String,
    /// The server read from.
    pub source: SourceOptions,
    /// The server written to.
    pub target: TargetOptions,
    /// What kind of service the source is. Default [`EndpointKind::MySql`].
    pub source_kind: EndpointKind,
    /// What kind of service the target is. Default [`EndpointKind::MySql`].
    pub target_kind: EndpointKind,
    /// Which tables take part and what they are called on the target. Case is adjusted to the source by the validator.
    pub transform: Transform,
    /// How far the task goes. Default [`TaskType::FullAndIncremental`].
    pub task_type: TaskType,
    /// Whether views are carried. Default true.
    pub views: bool,
    /// Whether procedures and functions are carried. Default true.
    pub routines: bool,
    /// Whether triggers are carried. Default true.
    pub triggers: bool,
    /// Whether events are carried. Default true.
    pub events: bool,
    /// Whether accounts and their grants are carried. Default false.
    pub accounts: bool,
    /// Ids of items whose failure the operator takes on. Those that cannot be survived fail all the same and say why.
    pub ignore: Vec<String>,
    /// Looks only at these items; their ids. Default `None`: all. Items that others need (connections) are looked at all the
    /// same, and not reported.
    pub only: Option<Vec<String>>,
    /// Creates the structure without rows in scratch databases `__dts_scratch_…` on the target and removes them again, so
    /// that what passes can really be created. Default true; false leaves the target untouched.
    pub try_structure: bool,
    /// Whether `load.method` asks for INSERT although LOAD DATA is possible. Default false. Only the plan depends on it.
    pub load_by_insert: bool,
    /// From what age on a running transaction, schema change or backup of the source is worth a warning. Default 60 s.
    pub long_transaction: Duration,
    /// How long one item may take. Default 30 s. Shorter ones report servers that hang sooner, and slow ones falsely.
    pub item_deadline: Duration,
}

impl ValidatorOptions {
    /// Starts from the two ends and the selection; everything else has its default.
    pub fn new(
        task: impl Into<String>,
        source: SourceOptions,
        target: TargetOptions,
        transform: Transform,
    ) -> Self {
        ValidatorOptions {
            task: task.into(),
            source,
            target,
            source_kind: EndpointKind::MySql,
            target_kind: EndpointKind::MySql,
            transform,
            task_type: TaskType::FullAndIncremental,
            views: true,
            routines: true,
            triggers: true,
            events: true,
            accounts: false,
            ignore: Vec::new(),
            only: None,
            try_structure: true,
            load_by_insert: false,
            long_transaction: Duration::from_secs(60),
            item_deadline: Duration::from_secs(30),
        }
    }

    /// Whether the source's binary log is read: a full load without changes needs it too, up to the point where the copy is
    /// of one moment.
    pub(super) fn needs_binlog(&self) -> bool {
        match self.task_type {
            TaskType::Structure => false,
            TaskType::Full | TaskType::FullAndIncremental => true,
        }
    }
}
