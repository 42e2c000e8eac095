//! Every item on real servers: once where it fails or warns, once where it passes.
use std::fs;
use std::thread;
use std::time::Duration;

use dts_core::source::SourceOptions;
use dts_core::target::TargetOptions;
use dts_core::validator::{EndpointKind, ItemResult, TaskType, WriteMethod, entries};
use dts_testbed::{Proxy, ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::validate::{
    PASSWORD, RDS_GRANTS, READER_GRANTS, SHOP, WRITER_GRANTS, at, connection, expect, one, options, start,
    transform, validate,
};

/// Settings: broken, seen, mended, seen again.
#[test]
fn settings_of_both_servers() {
    use ItemResult::{Fail, Pass, Warn};
    let source = start(ServerOptions::new(Version::Mysql97));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec(
        "CREATE TABLE shop.u (id INT NOT NULL UNIQUE); \
         CREATE FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1; \
         CREATE EVENT shop.e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
    );
    source.create_account("dts", PASSWORD, &[READER_GRANTS, "XA_RECOVER_ADMIN ON *.*"]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let options = options(connection(&source, "dts"), connection(&target, "dts"));

    let set = |id: &str, result, server: &dts_testbed::Server, wrong: &str, right: &str| {
        server.exec(&format!("SET GLOBAL {wrong}"));
        let item = one(&options, id, result);
        assert!(!item.fix.is_empty(), "{item:#?}");
        server.exec(&format!("SET GLOBAL {right}"));
        one(&options, id, Pass);
    };
    set("max_allowed_packet", Fail, &target, "max_allowed_packet = 1048576", "max_allowed_packet = 67108864");
    set(
        "max_allowed_packet",
        Warn,
        &target,
        "max_allowed_packet = 16777216",
        "max_allowed_packet = 67108864",
    );
    set(
        "character_set_server",
        Warn,
        &target,
        "character_set_server = latin1",
        "character_set_server = utf8mb4",
    );
    set(
        "collation_server",
        Warn,
        &target,
        "collation_server = utf8mb4_bin",
        "collation_server = utf8mb4_0900_ai_ci",
    );
    set("sql_mode", Warn, &target, "sql_mode = 'ANSI'", "sql_mode = DEFAULT");
    set("time_zone", Warn, &target, "time_zone = '+03:00'", "time_zone = 'SYSTEM'");
    let levels = ("transaction_isolation = 'READ-COMMITTED'", "transaction_isolation = 'REPEATABLE-READ'");
    set("transaction_isolation", Warn, &target, levels.0, levels.1);
    set("connect_timeout", Fail, &target, "connect_timeout = 5", "connect_timeout = 10");
    set("connect_timeout", Fail, &source, "connect_timeout = 5", "connect_timeout = 10");
    let explicit = ("explicit_defaults_for_timestamp = 0", "explicit_defaults_for_timestamp = 1");
    set("explicit_defaults_for_timestamp", Warn, &target, explicit.0, explicit.1);
    set("local_infile", Warn, &target, "local_infile = 0", "local_infile = 1");
    set(
        "innodb_stats_on_metadata",
        Warn,
        &source,
        "innodb_stats_on_metadata = 1",
        "innodb_stats_on_metadata = 0",
    );
    set(
        "sql_require_primary_key",
        Fail,
        &target,
        "sql_require_primary_key = 1",
        "sql_require_primary_key = 0",
    );
    set("target_read_only", Fail, &target, "read_only = 1", "read_only = 0");
    set("target_read_only", Fail, &target, "super_read_only = 1", "read_only = 0");
    set("source_is_primary", Warn, &source, "read_only = 1", "read_only = 0");
    set("event_scheduler", Warn, &target, "event_scheduler = 1", "event_scheduler = 0");
    let trust = ("log_bin_trust_function_creators = 0", "log_bin_trust_function_creators = 1");
    set("log_bin_trust_function_creators", Fail, &target, trust.0, trust.1);
    let seconds = ("binlog_expire_logs_seconds = 60", "binlog_expire_logs_seconds = 2592000");
    set("binlog_retention", Warn, &source, seconds.0, seconds.1);

    target.exec("INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'");
    let semi_sync = ("rpl_semi_sync_source_enabled = 1", "rpl_semi_sync_source_enabled = 0");
    set("target_replication_async", Warn, &target, semi_sync.0, semi_sync.1);
    target.exec(
        "SET GLOBAL rpl_semi_sync_source_timeout = 4294967295, GLOBAL rpl_semi_sync_source_enabled = 1",
    );
    let mut tencent = options.clone();
    tencent.target_kind = EndpointKind::TencentDb;
    one(&tencent, "target_replication_async", Fail);
    target.exec("SET GLOBAL rpl_semi_sync_source_enabled = 0");
    one(&tencent, "target_replication_async", Pass);
    target.exec("UNINSTALL PLUGIN rpl_semi_sync_source");
    // A TencentDB always has it: what it does not show is not known.
    assert_eq!(one(&tencent, "target_replication_async", Warn).actual, "unknown");
    one(&options, "target_replication_async", Pass);

    // Sessions and transactions on the source.
    let mut session = source.root();
    session.query_drop("SET SESSION binlog_format = 'STATEMENT'").unwrap();
    one(&options, "binlog_statement_sessions", Warn);
    session.query_drop("SET SESSION binlog_format = 'ROW'").unwrap();
    one(&options, "binlog_statement_sessions", Pass);
    for statement in ["XA START 'x'", "INSERT INTO shop.u VALUES (1)", "XA END 'x'", "XA PREPARE 'x'"] {
        session.query_drop(statement).unwrap();
    }
    one(&options, "xa_prepared", Warn);
    session.query_drop("XA ROLLBACK 'x'").unwrap();
    session.query_drop("BEGIN").unwrap();
    session.query_drop("INSERT INTO shop.u VALUES (1)").unwrap();
    let mut impatient = options.clone();
    impatient.long_transaction = Duration::from_secs(0);
    thread::sleep(Duration::from_millis(1100));
    one(&impatient, "long_transactions", Warn);
    one(&options, "long_transactions", Pass);
    session.query_drop("ROLLBACK").unwrap();
    one(&options, "xa_prepared", Pass);
    source.exec("REVOKE XA_RECOVER_ADMIN ON *.* FROM dts");
    let hidden = one(&options, "xa_prepared", Warn);
    source.exec(&hidden.fix);
    one(&options, "xa_prepared", Pass);

    // A far target.
    let proxy = Proxy::start(target.addr());
    let mut far = options.clone();
    far.target = TargetOptions::new(at("127.0.0.1", proxy.port(), "dts"));
    proxy.set_latency(Duration::from_millis(20));
    one(&far, "latency", Warn);
    one(&options, "latency", Pass);

    // An address that leads to two servers.
    let mut sides = options.clone();
    sides.only = Some(vec!["source_is_primary".into(), "latency".into()]);
    assert_eq!(validate(&sides).items.len(), 2);
    sides.only = Some(vec!["nothing".into()]);
    let error =
        dts_core::validator::Validator::new(sides).run(&dts_core::stop::StopToken::new()).unwrap_err();
    assert_eq!(error.code().0, 1001);

    // What the account may set, and for whom it may create objects.
    one(&options, "definers", Warn);
    let refused = one(&options, "target_session_settings", Warn);
    target.exec(&refused.fix);
    one(&options, "target_session_settings", Pass);
    let refused = one(&options, "definers", Warn);
    target.exec(&refused.fix);
    target.exec("GRANT SELECT ON mysql.user TO dts");
    one(&options, "definers", Pass);
    source.exec("CREATE DEFINER = 'gone'@'%' VIEW shop.of_gone AS SELECT 1 AS a");
    let missing = one(&options, "definers", Warn);
    assert_eq!(missing.objects, ["view shop.of_gone"]);

    // Triggers on the target.
    target.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.u (id INT); CREATE TRIGGER shop.tr BEFORE INSERT ON shop.u FOR EACH ROW SET \
         @a = 1",
    );
    let triggers = one(&options, "target_triggers", Fail);
    target.exec(triggers.fix.strip_prefix("On the target: ").unwrap());
    one(&options, "target_triggers", Pass);

    // Accounts.
    one(&options, "accounts", Pass);
    let mut with_accounts = options.clone();
    with_accounts.accounts = true;
    one(&with_accounts, "accounts", Pass);
    source.create_account("writer", PASSWORD, &[]);
    target.create_account("writer", PASSWORD, &[WRITER_GRANTS]);
    with_accounts.target = TargetOptions::new(connection(&target, "writer"));
    one(&with_accounts, "accounts", Fail);
    source.exec("DROP USER writer; CREATE USER old IDENTIFIED WITH sha256_password BY 'Old-Login-1'; GRANT SUPER ON *.* TO old");
    one(&with_accounts, "accounts", Pass);
    one(&with_accounts, "upgrade.auth_methods", Warn);
    with_accounts.target_kind = EndpointKind::TencentDb;
    let degraded = one(&with_accounts, "accounts", Warn);
    assert!(degraded.objects[0].contains("degraded"), "{degraded:#?}");
}

/// Each of these is something that only an old server has.
const OLD: &str = "CREATE DATABASE old DEFAULT CHARACTER SET utf8; USE old; SET sql_mode = ''; \
    CREATE TABLE enum_long (id INT PRIMARY KEY, e ENUM('a', 'LONG')) ENGINE=InnoDB; \
    CREATE TABLE zero (id INT PRIMARY KEY, d DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00') ENGINE=InnoDB; \
    CREATE TABLE of_float (f FLOAT NOT NULL AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE TABLE parent (id INT PRIMARY KEY, k INT, KEY (k)) ENGINE=InnoDB; \
    CREATE TABLE child (id INT PRIMARY KEY, k INT, FOREIGN KEY (k) REFERENCES parent (k) ON DELETE CASCADE) ENGINE=InnoDB; \
    CREATE DATABASE other; CREATE TABLE other.parent (id INT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE TABLE stray (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES other.parent (id) ON DELETE CASCADE) ENGINE=InnoDB; \
    CREATE TABLE short (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id)) ENGINE=InnoDB; \
    RENAME TABLE short TO a23456789012345678901234567890123456789012345678901234567890; \
    CREATE TABLE by_prefix (a VARCHAR(100) NOT NULL, b INT NOT NULL, PRIMARY KEY (a(10), b)) ENGINE=InnoDB PARTITION BY KEY () \
    PARTITIONS 2; \
    CREATE TABLE by_date (d DATE NOT NULL PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE COLUMNS (d) (PARTITION p0 VALUES LESS \
    THAN ('2020.01.01')); \
    CREATE TABLE compact (v VARCHAR(300) NOT NULL PRIMARY KEY) ENGINE=MyISAM ROW_FORMAT=COMPACT; \
    CREATE TABLE fixed (id INT PRIMARY KEY) ENGINE=MyISAM ROW_FORMAT=FIXED; \
    CREATE TABLE wide (id INT PRIMARY KEY, t VARCHAR(9)) DEFAULT CHARSET=utf8mb4 ENGINE=InnoDB; \
    CREATE TABLE place (id INT PRIMARY KEY, g POINT) ENGINE=MyISAM; \
    CREATE TABLE log (a INT) ENGINE=InnoDB; \
    CREATE TABLE per_group (g INT NOT NULL, id INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (g, id)) ENGINE=MyISAM; \
    CREATE TABLE parts (id INT PRIMARY KEY) ENGINE=MyISAM PARTITION BY HASH (id) PARTITIONS 2; \
    CREATE TABLE heap_parent (id INT PRIMARY KEY) ENGINE=InnoDB; \
    CREATE TABLE of_heap (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES heap_parent (id)) ENGINE=InnoDB; \
    SET foreign_key_checks = 0; DROP TABLE heap_parent; CREATE TABLE heap_parent (id INT PRIMARY KEY) ENGINE=MyISAM; SET \
    foreign_key_checks = 1; \
    CREATE DATABASE gone; CREATE PROCEDURE gone.p() SELECT 1; CREATE EVENT gone.e ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1; \
    CREATE VIEW by_group AS SELECT k, COUNT(*) AS n FROM parent GROUP BY k DESC; \
    CREATE PROCEDURE removed() SELECT PASSWORD('x'); \
    CREATE PROCEDURE grouped() SELECT k FROM parent GROUP BY k DESC; \
    CREATE PROCEDURE ranked() SELECT 1 AS rank; \
    CREATE PROCEDURE dollar() SELECT 1 AS $x; \
    CREATE PROCEDURE dotted() SELECT * FROM .parent; \
    CREATE TRIGGER tr BEFORE INSERT ON wide FOR EACH ROW SET NEW.t = 'a'; \
    SET sql_mode = 'NO_AUTO_CREATE_USER'; CREATE PROCEDURE moded() SELECT 1";

#[test]
fn what_only_an_old_server_has() {
    use ItemResult::{Fail, Pass, Warn};
    let source = start(ServerOptions::new(Version::Mysql56).rds_like());
    let target = start(ServerOptions::new(Version::Mysql97).arg("--lower-case-table-names=1"));
    source.exec(SHOP);
    source.exec(&OLD.replace("LONG", &"x".repeat(256)));
    source.create_account("dts", PASSWORD, &[RDS_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    // A folder that no server of this version made.
    fs::create_dir(source.datadir().join("a-b")).unwrap();
    // A database that somebody removed by hand.
    fs::remove_dir_all(source.datadir().join("gone")).unwrap();
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.source_kind = EndpointKind::AliyunRds;
    let good = validate(&options);
    options.transform = transform(&["old", "#mysql50#*", "gon*"], &[], &[]);
    let bad = validate(&options);
    for (id, result, object) in [
        ("upgrade.tables", Fail, "old.of_float"),
        ("upgrade.views", Fail, "old.by_group"),
        ("upgrade.syntax", Fail, "procedure old.grouped"),
        ("upgrade.removed_functions", Warn, "procedure old.removed: PASSWORD"),
        ("upgrade.group_by_asc", Warn, "procedure old.grouped"),
        ("upgrade.sql_mode_flags", Warn, "procedure old.moded"),
        ("upgrade.zero_dates", Warn, "old.zero.d"),
        ("upgrade.enum_set_length", Fail, "old.enum_long.e"),
        ("upgrade.foreign_key_length", Fail, "old.a23456789"),
        ("upgrade.foreign_key_references", Warn, "old.child"),
        ("upgrade.index_too_large", Warn, "old.compact"),
        ("upgrade.invalid_engine_foreign_key", Warn, "old.of_heap"),
        ("upgrade.non_native_partitioning", Warn, "old.parts"),
        ("upgrade.orphaned_objects", Warn, "gone.p"),
        ("upgrade.partition_bounds", Warn, "old.by_date"),
        ("upgrade.partitions_with_prefix_keys", Fail, "old.by_prefix"),
        ("upgrade.auto_increment_float", Fail, "old.of_float.f"),
        ("upgrade.empty_dot_table_syntax", Warn, "procedure old.dotted"),
        ("upgrade.dollar_sign_name", Warn, "procedure old.dollar"),
        ("upgrade.invalid_57_names", Fail, "#mysql50#a-b"),
        ("upgrade.default_collation", Warn, "old.wide"),
        ("reserved_words", Warn, "procedure old.ranked: RANK"),
        ("cascades", Fail, "old.stray"),
        ("engine", Warn, "old.fixed"),
        ("row_format_fixed", Warn, "old.fixed"),
        ("tables_without_key", Warn, "old.log"),
    ] {
        let item = expect(&bad, id, result);
        assert!(item.objects.iter().any(|found| found.starts_with(object)), "{item:#?}");
        expect(&good, id, Pass);
    }
    // What is said to fail is refused by the target, too; and what becomes an InnoDB table is taken or not.
    let refused = expect(&bad, "upgrade.tables", Fail).objects;
    let is_refused = |table: &str| refused.iter().any(|object| object.starts_with(table));
    for table in ["old.of_float", "old.enum_long", "old.by_prefix", "old.a23456789"] {
        assert!(is_refused(table), "{table}: {refused:#?}");
    }
    for table in
        ["old.parts", "old.fixed", "old.place", "old.heap_parent", "old.of_heap", "old.zero", "old.per_group"]
    {
        assert!(!is_refused(table), "{table}: {refused:#?}");
    }
    // With its parent at hand the other one is carried.
    let item = expect(&bad, "cascades", Fail);
    assert!(!item.objects.iter().any(|found| found == "old.child"), "{item:#?}");
    // utf8 of three bytes is in both.
    expect(&bad, "upgrade.utf8mb3", Warn);
    for (id, object) in [("partitioned", "old.by_date"), ("spatial", "old.place")] {
        assert!(expect(&bad, id, Pass).objects.iter().any(|found| found == object), "{id}");
    }
    let names: Vec<&str> = entries().map(|entry| entry.id).collect();
    assert!(good.items.iter().map(|item| item.id).eq(names));

    // The plan.
    let plan = bad.plan.unwrap();
    assert_eq!((plan.table_count, plan.view_count), (18, 1));
    assert!(plan.short_lock.iter().any(|name| name.table == "log"), "{:?}", plan.short_lock);
    assert!(plan.lock_free.iter().any(|name| name.table == "zero"), "{:?}", plan.lock_free);
    assert_eq!(plan.write_method, WriteMethod::LoadData);
    assert!(
        plan.rewrites.iter().any(|rewrite| rewrite.contains("ENGINE=MyISAM to InnoDB")),
        "{:?}",
        plan.rewrites
    );
    assert!(plan.rewrites.iter().any(|rewrite| rewrite.contains("DEFINER")), "{:?}", plan.rewrites);
    // What MyISAM takes and InnoDB does not (1075) is mended, and told.
    let is_told =
        |rewrite: &String| rewrite.starts_with("old.per_group") && rewrite.contains("AUTO_INCREMENT column");
    assert!(plan.rewrites.iter().any(is_told), "{:?}", plan.rewrites);
    assert!(plan.duration_estimated > Duration::ZERO && plan.spool_bytes > 0 && plan.target_bytes > 0);

    // Rows that are not the table's own; names that TencentDB does not take; accounts.
    source.exec(
        "CREATE DATABASE odd; CREATE TABLE odd.one (id INT PRIMARY KEY) ENGINE=MyISAM; CREATE TABLE odd.all_of (id INT PRIMARY \
         KEY) ENGINE=MERGE UNION=(odd.one)",
    );
    source.exec("SET NAMES utf8; CREATE TABLE odd.`订单` (id INT PRIMARY KEY) ENGINE=InnoDB");
    options.transform = transform(&["odd"], &[], &[]);
    assert_eq!(one(&options, "engine", Fail).objects, ["odd.all_of"]);
    one(&options, "object_names", Pass);
    options.target_kind = EndpointKind::TencentDb;
    assert_eq!(one(&options, "object_names", Fail).objects, ["odd.订单"]);
    options.accounts = true;
    source.create_account("app", PASSWORD, &["SUPER ON *.*"]);
    // The task's own account is on both sides, with one password and one name: nothing is overwritten.
    let accounts = one(&options, "accounts", Warn);
    assert!(accounts.objects.iter().any(|account| account.contains("app@%: impossible")), "{accounts:#?}");
    one(&options, "upgrade.auth_methods", Warn);

    // A large table: told by the statistics that InnoDB keeps.
    source.exec(
        "UPDATE mysql.innodb_table_stats SET n_rows = 1000, clustered_index_size = 9000000 WHERE database_name = 'shop'; \
         FLUSH TABLES",
    );
    options.transform = transform(&["shop"], &[], &[]);
    let space = one(&options, "target_space", Warn);
    assert!(space.expected.contains("GiB"), "{space:#?}");
    one(&options, "max_allowed_packet", Warn);
    expect(&good, "target_space", Pass);
    options.task_type = TaskType::Structure;
    one(&options, "target_space", Pass);
}

#[test]
fn between_two_56_and_what_a_replica_loses() {
    use ItemResult::{Fail, Pass, Warn};
    let source = start(ServerOptions::new(Version::Mysql56).rds_like());
    let target = start(ServerOptions::new(Version::Mysql56).rds_like());
    source.exec(SHOP);
    source.create_account("dts", PASSWORD, &[RDS_GRANTS]);
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let options_of = |source: &dts_testbed::Server| {
        let mut options = options(connection(source, "dts"), connection(&target, "dts"));
        options.source_kind = EndpointKind::AliyunRds;
        options
    };
    crate::validate::expect_warnings(&validate(&options_of(&source)), &["definers"]);
    for id in ["binlog_filters", "log_slave_updates", "source_is_primary"] {
        one(&options_of(&source), id, Pass);
    }
    let replica = start(ServerOptions::new(Version::Mysql56).arg("--binlog-ignore-db=secret"));
    replica.exec(SHOP);
    replica.create_account("dts", PASSWORD, &[RDS_GRANTS]);
    one(&options_of(&replica), "log_slave_updates", Pass);
    replica.exec("CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1");
    for id in ["binlog_filters", "log_slave_updates", "source_is_primary"] {
        one(&options_of(&replica), id, Fail);
    }
    one(&options_of(&replica), "gtid_mode", Warn);
}

#[test]
fn between_mariadb_and_mysql() {
    use ItemResult::{Fail, Pass, Warn};
    let source = start(ServerOptions::new(Version::Mariadb1011));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(9), g CHAR(9) AS (CAST(v AS CHAR(9))) STORED, \
         KEY (g), d TEXT DEFAULT 'x', h CHAR(32) AS (MD5(v)) STORED); \
         CREATE TABLE shop.p (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2; \
         CREATE TABLE shop.s (id INT PRIMARY KEY, g POINT); \
         CREATE DATABASE plain; CREATE TABLE plain.t (id INT PRIMARY KEY)",
    );
    source.create_account(
        "dts",
        PASSWORD,
        &["SELECT, SHOW VIEW, TRIGGER, EVENT, PROCESS, REPLICATION SLAVE, BINLOG MONITOR, LOCK TABLES, SLAVE MONITOR ON *.*"],
    );
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(connection(&source, "dts"), connection(&target, "dts"));
    options.source_kind = EndpointKind::MariaDb;
    let special = validate(&options);
    options.transform = transform(&["plain"], &[], &[]);
    let plain = validate(&options);
    for (id, result) in [
        ("generated_columns", Warn),
        ("spatial", Warn),
        ("partitioned", Warn),
        ("upgrade.functions_in_generated_columns", Warn),
        ("upgrade.removed_functions", Warn),
        ("upgrade.columns_which_cannot_have_defaults", Fail),
        ("upgrade.tables", Fail),
    ] {
        expect(&special, id, result);
        expect(&plain, id, Pass);
    }
    // Between two of the same flavor these are only told.
    let other = start(ServerOptions::new(Version::Mariadb1011));
    other.create_account("dts", PASSWORD, &["ALL PRIVILEGES ON *.*"]);
    options.target = TargetOptions::new(connection(&other, "dts"));
    options.target_kind = EndpointKind::MariaDb;
    options.transform = transform(&["shop"], &[], &[]);
    let report = validate(&options);
    for id in ["generated_columns", "spatial", "partitioned", "upgrade.tables", "upgrade.reserved", "version"]
    {
        if entries().any(|entry| entry.id == id) {
            expect(&report, id, Pass);
        }
    }
    options.source = SourceOptions::new(connection(&source, "dts"));
    one(&options, "upgrade.fts_in_table_name", Pass);
}
