//! What counts is what the task carries and what is its own: views left out, objects that it made, accounts that go along, versions.
use dts_core::source::SourceOptions;
use dts_core::target::TargetOptions;
use dts_core::validator::EndpointKind;
use dts_core::validator::ItemResult::{Fail, Pass, Warn};
use dts_testbed::{ServerOptions, Version};

use crate::validate::{
    PASSWORD, READER_GRANTS, SHOP, WRITER_GRANTS, connection, one, options, start, transform, validate,
};
use crate::validate_hidden::edited;

#[test]
fn views_that_are_left_out() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec(
        "CREATE DATABASE seen; CREATE TABLE seen.t (id INT PRIMARY KEY); CREATE VIEW seen.`名` AS SELECT 1 AS a; CREATE DATABASE \
         only_views; CREATE VIEW only_views.orders AS SELECT 1 AS a",
    );
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    target.exec("CREATE DATABASE shop; CREATE VIEW shop.names AS SELECT 1 AS a");
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.target_kind = EndpointKind::TencentDb;
    one(&options, "target_conflict", Fail);
    options.views = false;
    one(&options, "target_conflict", Pass);
    // Two that would go to one name are two only when both go.
    options.transform =
        transform(&["shop", "only_views"], &[], &[("shop.orders", "x.orders"), ("only_views", "x")]);
    one(&options, "target_conflict", Pass);
    options.views = true;
    one(&options, "target_conflict", Fail);
    options.transform = transform(&["seen"], &[], &[]);
    one(&options, "object_names", Fail);
    options.views = false;
    one(&options, "object_names", Pass);
    assert_eq!(validate(&options).plan.unwrap().view_count, 0);
    // Nothing is left to move, or not what is named.
    options.transform = transform(&["only_views"], &[], &[]);
    one(&options, "objects_exist", Fail);
    options.transform = transform(&[], &["shop.names", "shop.orders", "shop.customers"], &[]);
    let named = one(&options, "objects_exist", Fail);
    assert!(named.objects == ["shop.names"] && named.fix.contains("objects.views"), "{named:#?}");
    options.views = true;
    one(&options, "objects_exist", Pass);
    options.transform = transform(&["only_views"], &[], &[]);
    one(&options, "objects_exist", Pass);
}

/// The triggers that a task has made at its cut-over stand in its ledger.
#[test]
fn triggers_of_the_task_itself() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[READER_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    target.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT); CREATE TRIGGER shop.own BEFORE INSERT ON shop.orders FOR EACH ROW SET \
         @a = 1; CREATE DATABASE __dts__; CREATE TABLE __dts__.object (task VARCHAR(64), kind VARCHAR(20), database_name VARCHAR(64), \
         object_name VARCHAR(64)); INSERT INTO __dts__.object VALUES ('another', 'trigger', 'shop', 'own'), ('test', 'procedure', \
         'shop', 'own')",
    );
    let options = options(connection(&source, "dts"), connection(&target, "dts"));
    one(&options, "target_triggers", Fail);
    target.exec("INSERT INTO __dts__.object VALUES ('test', 'trigger', 'shop', 'own')");
    assert!(one(&options, "target_triggers", Pass).actual.contains("this task itself"));
    target.exec("CREATE TRIGGER shop.foreign_one AFTER INSERT ON shop.orders FOR EACH ROW SET @a = 1");
    assert_eq!(one(&options, "target_triggers", Fail).objects, ["shop.foreign_one"]);
}

/// An account that is not carried is no definer on the target, whatever `objects.accounts` says.
#[test]
fn definers_that_are_not_carried() {
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec("CREATE DATABASE crm; DROP VIEW shop.names");
    for server in [&source, &target] {
        server.create_account(
            "dts",
            PASSWORD,
            &[READER_GRANTS, WRITER_GRANTS, "SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER ON *.*"],
        );
    }
    source.create_account("app", PASSWORD, &["SELECT ON shop.*"]);
    source.create_account("crm_app", PASSWORD, &["SELECT ON crm.*"]);
    source.exec(
        "CREATE DEFINER = 'app'@'%' VIEW shop.of_app AS SELECT 1 AS a; CREATE DEFINER = 'root'@'10.%' VIEW shop.of_root AS SELECT 1 AS a; \
         CREATE DEFINER = 'crm_app'@'%' VIEW shop.of_crm AS SELECT 1 AS a; CREATE DEFINER = 'gone'@'%' VIEW shop.of_gone AS SELECT 1 AS a; \
         CREATE DEFINER = 'dts'@'%' VIEW shop.of_dts AS SELECT 1 AS a",
    );
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.accounts = true;
    let missing = one(&options, "definers", Warn);
    assert_eq!(missing.objects, ["view shop.of_crm", "view shop.of_gone", "view shop.of_root"]);
    assert!(!missing.fix.contains("objects.accounts"), "{missing:#?}");
    options.accounts = false;
    let missing = one(&options, "definers", Warn);
    assert_eq!(
        missing.objects,
        ["view shop.of_app", "view shop.of_crm", "view shop.of_gone", "view shop.of_root"]
    );
    assert!(missing.fix.contains("objects.accounts"), "{missing:#?}");
    // With the missing ones on the target nothing is.
    options.accounts = true;
    target.exec("CREATE USER 'root'@'10.%', crm_app, gone");
    one(&options, "definers", Pass);
    // What cannot be read is not known to be carried.
    source.create_account("blind", PASSWORD, &[&READER_GRANTS.replace("SELECT, ", ""), "SELECT ON shop.*"]);
    options.source = SourceOptions::new(connection(&source, "blind"));
    assert_eq!(one(&options, "definers", Warn).actual, "unknown");
}

/// No pair of such releases can be had: a 9.7 says that it is one.
#[test]
fn releases_of_one_series() {
    const NEWER: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '8.0.40'")];
    const OLDER: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '8.0.11'")];
    const OF_57: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '5.7.44'")];
    let server = start(ServerOptions::new(Version::Mysql97));
    server.create_account("dts", PASSWORD, &[READER_GRANTS, WRITER_GRANTS]);
    let mut options = options(edited(&server, NEWER), edited(&server, OLDER));
    let older = one(&options, "version", Warn);
    assert!(older.message.contains("older release"), "{older:#?}");
    // A wrong kind hides nothing.
    options.source_kind = EndpointKind::MariaDb;
    let both = one(&options, "version", Warn);
    assert!(both.message.contains("older release") && both.message.contains("source.kind"), "{both:#?}");
    assert!(both.fix.contains("source.kind"), "{both:#?}");
    options.target = TargetOptions::new(edited(&server, OF_57));
    one(&options, "version", Fail);
    options.source_kind = EndpointKind::MySql;
    one(&options, "version", Fail);
    options.target = TargetOptions::new(edited(&server, NEWER));
    one(&options, "version", Pass);
}
