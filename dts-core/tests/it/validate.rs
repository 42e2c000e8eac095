//! Each item of the validator on real servers: one case where it passes, one where it does not.
use std::time::{Duration, Instant};

use dts_core::source::SourceOptions;
use dts_core::stop::StopToken;
use dts_core::target::TargetOptions;
use dts_core::transform::{ObjectSelection, Route, Transform};
use dts_core::validator::{
    EndpointKind, Item, ItemResult, TaskType, ValidationReport, Validator, ValidatorOptions,
};
use dts_core::wire::{Address, ConnectionOptions, Secret};
use dts_testbed::{Server, ServerOptions, Version};

/// What the account of an RDS instance has ("privileged account"), as far as 5.6 knows it.
pub(crate) const RDS_GRANTS: &str = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, \
                          CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, REPLICATION CLIENT, CREATE VIEW, \
                          SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT, TRIGGER ON *.*";
pub(crate) const READER_GRANTS: &str =
    "SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, REPLICATION SLAVE, REPLICATION CLIENT, LOCK TABLES ON *.*";
pub(crate) const WRITER_GRANTS: &str = "ALTER, ALTER ROUTINE, CREATE, CREATE ROUTINE, CREATE TEMPORARY TABLES, CREATE USER, CREATE VIEW, \
                             DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, LOCK TABLES, PROCESS, REFERENCES, RELOAD, SELECT, \
                             SHOW DATABASES, SHOW VIEW, TRIGGER, UPDATE ON *.*";
pub(crate) const PASSWORD: &str = "Dts-Test-1";

pub(crate) fn start(options: ServerOptions) -> Server {
    Server::start(options).unwrap()
}

pub(crate) fn connection(server: &Server, user: &str) -> ConnectionOptions {
    at("127.0.0.1", server.port(), user)
}

pub(crate) fn at(host: &str, port: u16, user: &str) -> ConnectionOptions {
    ConnectionOptions::new(Address::Tcp { host: host.into(), port }, user, Secret::new(PASSWORD))
}

pub(crate) fn transform(databases: &[&str], tables: &[&str], rename: &[(&str, &str)]) -> Transform {
    let selection = ObjectSelection::new(databases, tables, &[]).unwrap();
    Transform::new(selection, Route::new(rename.iter().copied()).unwrap()).unwrap()
}

pub(crate) fn options(source: ConnectionOptions, target: ConnectionOptions) -> ValidatorOptions {
    ValidatorOptions::new(
        "test",
        SourceOptions::new(source),
        TargetOptions::new(target),
        transform(&["shop"], &[], &[]),
    )
}

pub(crate) fn validate(options: &ValidatorOptions) -> ValidationReport {
    Validator::new(options.clone()).run(&StopToken::new()).unwrap()
}

pub(crate) fn item<'r>(report: &'r ValidationReport, id: &str) -> &'r Item {
    report.item(id).unwrap_or_else(|| panic!("no item {id}"))
}

/// Looks at one item only.
#[track_caller]
pub(crate) fn one(options: &ValidatorOptions, id: &str, result: ItemResult) -> Item {
    let mut options = options.clone();
    options.only = Some(vec![id.to_owned()]);
    let report = validate(&options);
    assert_eq!(report.items.len(), 1);
    expect(&report, id, result)
}

#[track_caller]
pub(crate) fn expect(report: &ValidationReport, id: &str, result: ItemResult) -> Item {
    let item = item(report, id);
    assert_eq!(item.result, result, "{item:#?}");
    let needs_fix = matches!(result, ItemResult::Fail);
    assert!(!needs_fix || !item.fix.is_empty(), "no fix: {item:#?}");
    item.clone()
}

/// Everything passes but these, which warn.
#[track_caller]
pub(crate) fn expect_warnings(report: &ValidationReport, ids: &[&str]) {
    let others: Vec<_> = report.items.iter().filter(|item| item.result != ItemResult::Pass).collect();
    let mut found: Vec<&str> = others.iter().map(|item| item.id).collect();
    found.sort_unstable();
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    assert_eq!(found, ids, "{others:#?}");
    assert!(others.iter().all(|item| item.result == ItemResult::Warn), "{others:#?}");
}

pub(crate) const SHOP: &str = "CREATE DATABASE shop; \
    CREATE TABLE shop.customers (id INT PRIMARY KEY, name VARCHAR(50)) ENGINE=InnoDB; \
    CREATE TABLE shop.orders (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES shop.customers (id)) \
    ENGINE=InnoDB; \
    CREATE VIEW shop.names AS SELECT name FROM shop.customers;";

#[test]
fn rds_like_56_to_97() {
    let source = start(ServerOptions::new(Version::Mysql56).rds_like());
    let target = start(ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1"));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[RDS_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.source_kind = EndpointKind::AliyunRds;
    options.target_kind = EndpointKind::TencentDb;
    // As every TencentDB.
    target.exec("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'");
    let of_versions = [
        "upgrade.utf8mb3",
        "target_session_settings",
        "character_set_server",
        "collation_server",
        "sql_mode",
        "transaction_isolation",
        "explicit_defaults_for_timestamp",
        "definers",
    ];
    expect_warnings(&validate(&options), &of_versions);

    source.exec("SET GLOBAL binlog_format = 'MIXED'; SET GLOBAL binlog_row_image = 'MINIMAL'");
    let report = validate(&options);
    let format = expect(&report, "binlog_format", ItemResult::Fail);
    assert!(format.actual == "MIXED" && format.fix.contains("RDS console"), "{format:#?}");
    assert_eq!(expect(&report, "binlog_row_image", ItemResult::Fail).actual, "MINIMAL");
    assert_eq!(report.result(), ItemResult::Fail);
    // A full load needs them up to the point where it is of one moment; a structure does not.
    options.task_type = TaskType::Full;
    one(&options, "binlog_format", ItemResult::Fail);
    options.task_type = TaskType::Structure;
    one(&options, "binlog_format", ItemResult::Pass);
    options.task_type = TaskType::FullAndIncremental;
    source.exec("SET GLOBAL binlog_format = 'ROW'; SET GLOBAL binlog_row_image = 'FULL'");

    let target_id: u64 = target.query_one("SELECT @@server_id");
    source.exec(&format!("SET GLOBAL server_id = {target_id}"));
    one(&options, "server_id", ItemResult::Fail);
    // Ignoring is possible here, and impossible for some.
    options.ignore = vec!["server_id".into(), "log_bin".into()];
    one(&options, "server_id", ItemResult::Ignored);
    options.ignore = vec!["no_such_item".into()];
    assert_eq!(Validator::new(options.clone()).run(&StopToken::new()).unwrap_err().code().0, 1001);
    options.ignore.clear();
    source.exec("SET GLOBAL server_id = 0");
    one(&options, "server_id", ItemResult::Fail);
    source.exec(&format!("SET GLOBAL server_id = {}", source.port()));

    // The other way round the target is too old.
    let mut backwards = options.clone();
    backwards.source = SourceOptions::new(connection(&target, "dts"));
    backwards.target = TargetOptions::new(connection(&source, "dts"));
    backwards.source_kind = EndpointKind::MySql;
    one(&backwards, "version", ItemResult::Fail);
    expect_warnings(&validate(&options), &of_versions);
}

#[test]
fn what_the_source_must_have_and_names_of_case() {
    let source =
        start(ServerOptions::new(Version::Mysql56).arg("--skip-log-bin").arg("--lower-case-table-names=1"));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    // SHOW BINARY LOGS fails without a log; nothing may pass because of that.
    let report = validate(&options);
    expect(&report, "log_bin", ItemResult::Fail);
    let gtid_mode = expect(&report, "gtid_mode", ItemResult::Warn);
    assert!(gtid_mode.fix.contains("my.cnf"), "{gtid_mode:#?}");
    let case = expect(&report, "lower_case_table_names", ItemResult::Fail);
    assert!(case.expected.starts_with('1') && case.actual == "0", "{case:#?}");

    let lowering = Route::identity().lowering_target().unwrap();
    options.transform = Transform::new(ObjectSelection::new(&["shop"], &[], &[]).unwrap(), lowering).unwrap();
    one(&options, "lower_case_table_names", ItemResult::Warn);
    options.ignore = vec!["log_bin".into()];
    let log_bin = one(&options, "log_bin", ItemResult::Fail);
    assert!(log_bin.message.contains("cannot be ignored"), "{log_bin:#?}");
}

#[test]
fn between_two_97() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[READER_GRANTS, "XA_RECOVER_ADMIN ON *.*"]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    expect_warnings(&validate(&options), &["target_session_settings", "definers"]);

    source.exec("SET GLOBAL gtid_mode = ON_PERMISSIVE");
    let gtid_mode = one(&options, "gtid_mode", ItemResult::Fail);
    assert!(gtid_mode.fix.contains("SET GLOBAL gtid_mode = ON;"), "{gtid_mode:#?}");
    source.exec("SET GLOBAL gtid_mode = ON; SET GLOBAL binlog_row_value_options = PARTIAL_JSON");
    one(&options, "binlog_row_image", ItemResult::Fail);
    source.exec("SET GLOBAL binlog_row_value_options = ''");

    // Objects that are not there.
    options.transform = transform(&["shop", "crm"], &["blog.posts"], &[("shop.no_such", "shop.x")]);
    let missing = one(&options, "objects_exist", ItemResult::Fail);
    assert_eq!(missing.objects, ["blog", "crm"]);
    options.transform = transform(&[], &["shop.orders", "shop.no_such"], &[]);
    let report = validate(&options);
    assert_eq!(expect(&report, "objects_exist", ItemResult::Fail).objects, ["shop.no_such"]);
    // ... and a parent that is left out.
    let foreign_keys = expect(&report, "foreign_keys", ItemResult::Fail);
    assert!(foreign_keys.fix.contains("shop.customers"), "{foreign_keys:#?}");
    options.transform = transform(&["nothing_*"], &[], &[]);
    one(&options, "objects_exist", ItemResult::Fail);
    options.transform = transform(&["shop"], &[], &[("shop.no_such", "shop.x")]);
    one(&options, "objects_exist", ItemResult::Warn);

    // Objects that are there already, under the new name only.
    target.exec(
        "CREATE DATABASE other; CREATE TABLE other.orders (id INT); CREATE TABLE other.foreign_one (id INT)",
    );
    options.transform = transform(&["shop"], &[], &[]);
    one(&options, "target_conflict", ItemResult::Pass);
    options.transform = transform(&["shop"], &[], &[("shop", "other")]);
    let conflict = one(&options, "target_conflict", ItemResult::Fail);
    assert_eq!(conflict.objects, ["other.orders"]);
    // ... unless this task put them there.
    target.exec(
        "CREATE DATABASE __dts__; CREATE TABLE __dts__.table_copy (task VARCHAR(64), target_database VARCHAR(64), \
         target_table VARCHAR(64)); INSERT INTO __dts__.table_copy VALUES ('another', 'other', 'orders')",
    );
    one(&options, "target_conflict", ItemResult::Fail);
    target.exec("INSERT INTO __dts__.table_copy VALUES ('test', 'other', 'orders')");
    one(&options, "target_conflict", ItemResult::Pass);
    // Programs, triggers and events of these names are in the way as well.
    source.exec(
        "CREATE PROCEDURE shop.p() SELECT 1; CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1; CREATE EVENT shop.e ON \
         SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; CREATE TRIGGER shop.tr BEFORE INSERT ON shop.orders FOR EACH ROW SET @a = 1",
    );
    one(&options, "target_conflict", ItemResult::Pass);
    target.exec(
        "CREATE TABLE __dts__.object (task VARCHAR(64), kind VARCHAR(20), database_name VARCHAR(64), object_name VARCHAR(64))",
    );
    for (create, drop, kind) in [
        ("PROCEDURE other.P() SELECT 1", "PROCEDURE other.P", "procedure"),
        ("FUNCTION other.f() RETURNS INT DETERMINISTIC RETURN 2", "FUNCTION other.f", "function"),
        ("EVENT other.E ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1", "EVENT other.E", "event"),
        (
            "TRIGGER other.tr BEFORE INSERT ON other.foreign_one FOR EACH ROW SET @a = 1",
            "TRIGGER other.tr",
            "trigger",
        ),
        ("VIEW other.names AS SELECT 1", "VIEW other.names", "view"),
    ] {
        target.exec(&format!("CREATE {create}"));
        let conflict = one(&options, "target_conflict", ItemResult::Fail);
        assert_eq!(conflict.objects.len(), 1, "{conflict:#?}");
        let name = conflict.objects[0].rsplit('.').next().unwrap();
        target.exec(&format!("INSERT INTO __dts__.object VALUES ('test', '{kind}', 'other', '{name}')"));
        one(&options, "target_conflict", ItemResult::Pass);
        target.exec(&format!("DELETE FROM __dts__.object; DROP {drop}"));
        one(&options, "target_conflict", ItemResult::Pass);
    }
    source.exec("CREATE DATABASE crm; CREATE TABLE crm.orders (id INT PRIMARY KEY)");
    options.transform = transform(&["shop", "crm"], &[], &[("shop.orders", "x.orders"), ("crm", "x")]);
    one(&options, "target_conflict", ItemResult::Fail);

    // Tables without a key.
    options.transform = transform(&["shop"], &[], &[]);
    source.exec("CREATE TABLE shop.log (a INT, b INT, UNIQUE (a))");
    let keyless = one(&options, "tables_without_key", ItemResult::Warn);
    assert_eq!(keyless.objects, ["shop.log"]);
    source.exec("CREATE TABLE shop.heap (a INT) ENGINE=MyISAM");
    let refused = one(&options, "tables_without_key", ItemResult::Fail);
    assert_eq!(refused.objects, ["shop.heap"]);
    source.exec("DROP TABLE shop.heap");

    // One server for both.
    options.target = TargetOptions::new(connection(&source, "dts"));
    let report = validate(&options);
    expect(&report, "same_server", ItemResult::Fail);
    expect(&report, "target_privileges", ItemResult::Fail);
}

#[test]
fn a_server_that_hangs_ends_nothing_but_its_own_items() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.item_deadline = Duration::from_secs(2);
    target.pause();
    let start = Instant::now();
    let report = validate(&options);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    target.resume();
    expect(&report, "source_connect", ItemResult::Pass);
    expect(&report, "target_connect", ItemResult::Fail);
    expect(&report, "target_conflict", ItemResult::Blocked);
    expect(&report, "source_privileges", ItemResult::Pass);
}
