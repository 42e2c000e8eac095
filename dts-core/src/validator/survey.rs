//! What several items need to know, read once: connections, tables, grants.
//!
//! Each part is filled by one step; a part that could not be read blocks the items that need it, with the reason.
use std::sync::OnceLock;

use crate::data::{TableName, TableSchema};
use crate::error::{Error, Side};
use crate::server::{ServerFacts, catalog};
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::transform::{Transform, is_system_database};
use crate::validator::connection;
use crate::validator::definitions::Definitions;
use crate::validator::finding::{ItemResult, Verdict};
use crate::validator::grants::Grants;
use crate::validator::options::{EndpointKind, ValidatorOptions};
use crate::validator::registry::Severity;
use crate::validator::trial::Trial;
use crate::wire::Connection;

/// Why something could not be looked at.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    reason: String,
    /// An earlier item has failed for the same reason.
    by_earlier: bool,
    /// The deadline passed.
    is_late: bool,
}

impl Blocked {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Blocked { reason: reason.into(), by_earlier: false, is_late: false }
    }

    fn by_earlier(reason: impl Into<String>) -> Self {
        Blocked { reason: reason.into(), by_earlier: true, is_late: false }
    }

    /// Blocked; but an item that at worst warns does not keep a task from starting because it alone could not be looked at.
    pub(super) fn into_verdict(self, severity: Severity) -> Verdict {
        let mut verdict = Verdict::warn("", "not looked at").message(self.reason);
        if severity == Severity::Fail || self.by_earlier {
            verdict.result = ItemResult::Blocked;
        }
        verdict
    }
}

impl From<Error> for Blocked {
    fn from(error: Error) -> Self {
        if error.is_interrupted() {
            return Blocked { is_late: true, ..Blocked::new("no answer in time") };
        }
        Blocked::new(format!("{error}. {}", error.hint()))
    }
}

/// What the source has, as far as the account sees it.
pub(super) struct SourceObjects {
    /// All databases but the system's.
    pub(super) databases: Vec<catalog::Database>,
    /// The selected tables.
    pub(super) tables: Vec<TableSchema>,
    /// The selected views; none where views are not carried.
    pub(super) views: Vec<TableName>,
    /// The log holds what foreign keys change by themselves.
    pub(super) logs_cascades: bool,
}

/// What the items share.
pub(super) struct Survey {
    pub(super) options: ValidatorOptions,
    source: Part<SourceEndpoint>,
    target: Part<TargetEndpoint>,
    source_connect: OnceLock<Verdict>,
    target_connect: OnceLock<Verdict>,
    transform: OnceLock<Transform>,
    source_objects: Part<SourceObjects>,
    source_grants: Part<Grants>,
    target_grants: Part<Grants>,
    definitions: Part<Definitions>,
    trial: Part<Trial>,
}

type Part<T> = OnceLock<Result<T, Blocked>>;

/// A step that fills a part of the survey.
pub(super) type Step = fn(&Survey, &StopToken);

/// First: both connections.
pub(super) const CONNECTING: &[Step] = &[Survey::connect_source, Survey::connect_target];
/// Then, over them, what the items share.
pub(super) const READING: &[Step] =
    &[Survey::read_source_objects, Survey::read_source_grants, Survey::read_target_grants];
/// Then what needs the list of objects.
pub(super) const DEFINING: &[Step] = &[Survey::read_definitions];
/// Last, what needs all of it.
pub(super) const TRYING: &[Step] = &[Survey::try_structure];

impl Survey {
    pub(super) fn new(mut options: ValidatorOptions) -> Self {
        // A connection that is not made must end before the item's deadline does, so that its own error can be told.
        let patience = options.item_deadline.mul_f32(0.8);
        for connection in [&mut options.source.connection, &mut options.target.connection] {
            connection.connect_timeout = connection.connect_timeout.min(patience);
        }
        Survey {
            options,
            source: OnceLock::new(),
            target: OnceLock::new(),
            source_connect: OnceLock::new(),
            target_connect: OnceLock::new(),
            transform: OnceLock::new(),
            source_objects: OnceLock::new(),
            source_grants: OnceLock::new(),
            target_grants: OnceLock::new(),
            definitions: OnceLock::new(),
            trial: OnceLock::new(),
        }
    }

    fn connect_source(&self, stop: &StopToken) {
        let opened = SourceEndpoint::connect(self.options.source.clone(), stop)
            .and_then(|endpoint| Ok((endpoint.control(stop)?, endpoint)));
        let _ = match opened {
            Ok((connection, endpoint)) => {
                let _ = self.source_connect.set(connection::connected(&connection, endpoint.facts()));
                let _ = self.transform.set(match endpoint.facts().lower_case_table_names() {
                    0 => self.options.transform.clone(),
                    _ => self.options.transform.clone().ignoring_case(),
                });
                self.source.set(Ok(endpoint))
            }
            // The deadline passed: `connect_verdict` says so.
            Err(error) if error.is_interrupted() => Ok(()),
            Err(error) => {
                let verdict = connection::not_connected(
                    &error,
                    Side::Source,
                    self.options.source_kind,
                    &self.options.source.connection,
                );
                let _ = self.source_connect.set(verdict);
                self.source.set(Err(Blocked::by_earlier("the source cannot be reached, see source_connect")))
            }
        };
    }

    fn connect_target(&self, stop: &StopToken) {
        let opened = TargetEndpoint::connect(self.options.target.clone(), stop)
            .and_then(|endpoint| Ok((endpoint.control(stop)?, endpoint)));
        let _ = match opened {
            Ok((connection, endpoint)) => {
                let _ = self.target_connect.set(connection::connected(&connection, endpoint.facts()));
                self.target.set(Ok(endpoint))
            }
            // The deadline passed: `connect_verdict` says so.
            Err(error) if error.is_interrupted() => Ok(()),
            Err(error) => {
                let verdict = connection::not_connected(
                    &error,
                    Side::Target,
                    self.options.target_kind,
                    &self.options.target.connection,
                );
                let _ = self.target_connect.set(verdict);
                self.target.set(Err(Blocked::by_earlier("the target cannot be reached, see target_connect")))
            }
        };
    }

    fn read_source_objects(&self, stop: &StopToken) {
        let read = || -> Result<SourceObjects, Blocked> {
            let facts = self.source()?.facts();
            let selection = &self.transform()?.selection;
            let mut connection = self.connect(Side::Source, stop)?;
            let mut databases = catalog::databases(&mut connection)?;
            databases.retain(|database| !is_system_database(&database.name));
            let mut objects = SourceObjects {
                databases,
                tables: Vec::new(),
                views: Vec::new(),
                logs_cascades: facts.logs_cascades(),
            };
            for database in objects.databases.iter().filter(|db| selection.selects_database(&db.name)) {
                stop.check()?;
                let wanted = |name: &TableName| selection.selects_table(name);
                objects.tables.extend(catalog::tables(&mut connection, facts, &database.name, wanted)?);
                if self.options.views {
                    let views = catalog::view_names(&mut connection, &database.name)?;
                    objects.views.extend(views.into_iter().filter(wanted));
                }
            }
            Ok(objects)
        };
        let _ = self.source_objects.set(read());
    }

    fn read_source_grants(&self, stop: &StopToken) {
        let read = || -> Result<Grants, Blocked> {
            let mut connection = self.connect(Side::Source, stop)?;
            Ok(Grants::read(&mut connection, self.source()?.facts())?)
        };
        let _ = self.source_grants.set(read());
    }

    fn read_target_grants(&self, stop: &StopToken) {
        let read = || -> Result<Grants, Blocked> {
            let mut connection = self.connect(Side::Target, stop)?;
            Ok(Grants::read(&mut connection, self.target()?.facts())?)
        };
        let _ = self.target_grants.set(read());
    }

    fn read_definitions(&self, stop: &StopToken) {
        let read = || -> Result<Definitions, Blocked> {
            let objects = self.source_objects()?;
            let selection = &self.transform()?.selection;
            let mut connection = self.connect(Side::Source, stop)?;
            Ok(Definitions::read(
                &mut connection,
                self.source()?.facts(),
                &self.options,
                objects,
                |database| selection.is_whole_database(database),
                |table| selection.selects_table(table),
                stop,
            )?)
        };
        let _ = self.definitions.set(read());
    }

    fn try_structure(&self, stop: &StopToken) {
        let _ = self.trial.set(Trial::run(self, stop));
    }

    pub(super) fn connect_verdict(&self, side: Side) -> Verdict {
        let verdict = match side {
            Side::Source => self.source_connect.get(),
            Side::Target => self.target_connect.get(),
        };
        verdict.cloned().unwrap_or_else(|| {
            let seconds = self.options.item_deadline.as_secs_f32();
            connection::late(side, self.kind(side), &self.connection_options(side).address, seconds)
        })
    }

    pub(super) fn connection_options(&self, side: Side) -> &crate::wire::ConnectionOptions {
        match side {
            Side::Source => &self.options.source.connection,
            Side::Target => &self.options.target.connection,
        }
    }

    pub(super) fn kind(&self, side: Side) -> EndpointKind {
        match side {
            Side::Source => self.options.source_kind,
            Side::Target => self.options.target_kind,
        }
    }

    pub(super) fn source(&self) -> Result<&SourceEndpoint, Blocked> {
        let missing = || Blocked::by_earlier("the source did not answer, see source_connect");
        self.source.get().ok_or_else(missing)?.as_ref().map_err(Clone::clone)
    }

    pub(super) fn target(&self) -> Result<&TargetEndpoint, Blocked> {
        let missing = || Blocked::by_earlier("the target did not answer, see target_connect");
        self.target.get().ok_or_else(missing)?.as_ref().map_err(Clone::clone)
    }

    pub(super) fn facts(&self, side: Side) -> Result<&ServerFacts, Blocked> {
        match side {
            Side::Source => Ok(self.source()?.facts()),
            Side::Target => Ok(self.target()?.facts()),
        }
    }

    /// Opens a connection for one item.
    pub(super) fn connect(&self, side: Side, stop: &StopToken) -> Result<Connection, Blocked> {
        Ok(match side {
            Side::Source => self.source()?.control(stop)?,
            Side::Target => self.target()?.control(stop)?,
        })
    }

    /// What is selected and renamed, with the source's rule for upper and lower case.
    pub(super) fn transform(&self) -> Result<&Transform, Blocked> {
        self.source()?;
        self.transform.get().ok_or_else(|| Blocked::by_earlier("the source cannot be reached"))
    }

    pub(super) fn source_objects(&self) -> Result<&SourceObjects, Blocked> {
        self.part(&self.source_objects, "reading the source's tables")
    }

    pub(super) fn definitions(&self) -> Result<&Definitions, Blocked> {
        self.part(&self.definitions, "reading the source's definitions")
    }

    pub(super) fn trial(&self) -> Result<&Trial, Blocked> {
        self.part(&self.trial, "trying the structure on the target")
    }

    pub(super) fn grants(&self, side: Side) -> Result<&Grants, Blocked> {
        match side {
            Side::Source => self.part(&self.source_grants, "reading the account's grants on the source"),
            Side::Target => self.part(&self.target_grants, "reading the account's grants on the target"),
        }
    }

    fn part<'s, T>(&self, part: &'s Part<T>, doing: &str) -> Result<&'s T, Blocked> {
        let late = || {
            let seconds = self.options.item_deadline.as_secs_f32();
            Blocked::new(format!("{doing} took longer than {seconds} s"))
        };
        match part.get() {
            None => Err(late()),
            Some(Ok(value)) => Ok(value),
            Some(Err(blocked)) if blocked.is_late => Err(late()),
            Some(Err(blocked)) => {
                Err(Blocked { reason: format!("{doing}: {}", blocked.reason), ..blocked.clone() })
            }
        }
    }
}
