//! What an account does not see: databases, tables, routines and their texts. None of it may be left out without a word.
use dts_core::source::SourceOptions;
use dts_core::validator::ItemResult::{Fail, Pass, Warn};
use dts_core::validator::ValidatorOptions;
use dts_testbed::{Server, ServerOptions, Version};

use crate::validate::{
    PASSWORD, READER_GRANTS, SHOP, WRITER_GRANTS, connection, one, options, start, transform,
};
use crate::validate_hidden::edited;

/// What all accounts need beside the rights on databases.
fn replication(version: Version) -> &'static str {
    match version {
        Version::Mariadb1011 => "PROCESS, REPLICATION SLAVE, BINLOG MONITOR ON *.*",
        Version::Mysql56 | Version::Mysql97 => "PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.*",
    }
}

fn looking_as(user: &str, source: &Server, target: &Server) -> ValidatorOptions {
    options(connection(source, user), connection(target, "dts"))
}

/// Servers leave routines out of their lists for who has no right on them: they would be left behind.
#[test]
fn routines_that_are_not_listed() {
    let target = start(ServerOptions::new(Version::Mysql97));
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    for version in [Version::Mysql56, Version::Mysql97, Version::Mariadb1011] {
        let source = start(ServerOptions::new(version));
        source.exec(SHOP);
        source.exec("CREATE PROCEDURE shop.p() SELECT 1");
        let of_database = "SELECT, SHOW VIEW, TRIGGER, EVENT ON `shop`.*";
        source.create_account("narrow", PASSWORD, &[of_database, replication(version)]);
        let mut options = looking_as("narrow", &source, &target);
        let unseen = one(&options, "source_privileges", Fail);
        assert!(unseen.message.contains("routine"), "{version}: {unseen:#?}");
        options.routines = false;
        one(&options, "source_privileges", Pass);
        // Without routines of whole databases nothing of it is needed.
        options.routines = true;
        options.transform = transform(&[], &["shop.orders", "shop.customers"], &[]);
        one(&options, "source_privileges", Pass);
        // The statement that is printed is enough, and the texts are seen.
        options.transform = transform(&["shop"], &[], &[]);
        source.exec(&unseen.fix);
        one(&options, "source_privileges", Pass);
        assert!(one(&options, "upgrade.syntax", Pass).actual.starts_with("1 created"), "{version}");

        // A right to run lists them and hides their texts, at which the task would stop.
        source.create_account(
            "caller",
            PASSWORD,
            &[of_database, replication(version), "EXECUTE ON `shop`.*"],
        );
        let mut options = looking_as("caller", &source, &target);
        let hidden = one(&options, "source_privileges", Fail);
        assert_eq!(hidden.fix.replace("caller", "narrow"), unseen.fix);
        // Who has made them sees them.
        source.exec("DROP PROCEDURE shop.p; CREATE DEFINER = 'caller'@'%' PROCEDURE shop.p() SELECT 1");
        one(&options, "source_privileges", Pass);
        options.routines = false;
        one(&options, "source_privileges", Pass);
    }
}

/// A pattern stands for what fits, not for what fits and happens to be seen.
#[test]
fn patterns_need_an_account_that_sees_everything() {
    let target = start(ServerOptions::new(Version::Mysql97));
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    for version in [Version::Mysql56, Version::Mysql97] {
        let source = start(ServerOptions::new(version));
        source.exec(
            "CREATE DATABASE crm_a; CREATE TABLE crm_a.t (id INT PRIMARY KEY); CREATE TABLE crm_a.log (id INT PRIMARY KEY); \
             CREATE DATABASE crm_b; CREATE TABLE crm_b.t (id INT PRIMARY KEY)",
        );
        source.create_account(
            "narrow",
            PASSWORD,
            &[replication(version), "SELECT, SHOW VIEW, TRIGGER, EVENT ON `crm\\_a`.*"],
        );
        let mut options = looking_as("narrow", &source, &target);
        options.routines = false;
        options.transform = transform(&["crm_a"], &[], &[]);
        one(&options, "source_privileges", Pass);
        for (databases, tables) in [(&["crm_*"][..], &[][..]), (&[], &["crm_?.t"])] {
            options.transform = transform(databases, tables, &[]);
            let unseen = one(&options, "source_privileges", Fail);
            assert_eq!(unseen.fix.lines().next(), Some("GRANT SHOW DATABASES ON *.* TO 'narrow'@'%';"));
            assert!(unseen.message.contains("pattern"), "{unseen:#?}");
        }
        // One that sees them all is told what it lacks on each.
        source.exec("GRANT SHOW DATABASES ON *.* TO narrow");
        options.transform = transform(&["crm_*"], &[], &[]);
        let missing = one(&options, "source_privileges", Fail);
        assert_eq!(missing.fix, "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `crm\\_b`.* TO 'narrow'@'%';");
        source.exec(&missing.fix);
        one(&options, "source_privileges", Pass);

        // The same for tables: one table by name, all that fit only with a right on the database.
        source.create_account(
            "few",
            PASSWORD,
            &[replication(version), "SELECT, SHOW VIEW, TRIGGER ON crm_a.t"],
        );
        options.source = SourceOptions::new(connection(&source, "few"));
        options.transform = transform(&[], &["crm_a.t"], &[]);
        one(&options, "source_privileges", Pass);
        options.transform = transform(&[], &["crm_a.*"], &[]);
        let unseen = one(&options, "source_privileges", Fail);
        source.exec(&unseen.fix);
        let now = one(&options, "source_privileges", Fail);
        assert_eq!(now.fix, "GRANT SHOW VIEW, TRIGGER ON `crm_a`.`log` TO 'few'@'%';");
        source.exec(&now.fix);
        one(&options, "source_privileges", Pass);

        // Any right on everything makes databases seen.
        source.create_account("reader", PASSWORD, &[READER_GRANTS]);
        options.source = SourceOptions::new(connection(&source, "reader"));
        options.transform = transform(&["crm_*"], &["shop.o*"], &[]);
        one(&options, "source_privileges", Pass);
    }
}

/// Each version has its own right that shows routines. No 8.0.19 can be had: a 9.7 says that it is one.
#[test]
fn the_right_that_shows_routines() {
    const OLD: &[(&str, &str)] = &[("SELECT VERSION()", "SELECT '8.0.19'")];
    let server = start(ServerOptions::new(Version::Mysql97));
    server.exec(SHOP);
    server.exec("CREATE PROCEDURE shop.p() SELECT 1");
    server.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = options(edited(&server, OLD), connection(&server, "dts"));
    server.create_account("narrow", PASSWORD, &["EXECUTE ON *.*"]);
    options.source.connection.user = "narrow".into();
    assert_eq!(
        one(&options, "upgrade.syntax", Warn).fix,
        "On the source: GRANT SELECT ON *.* TO 'narrow'@'%';"
    );
    options.source = SourceOptions::new(connection(&server, "narrow"));
    let untried = one(&options, "upgrade.syntax", Warn);
    assert_eq!(untried.fix, "On the source: GRANT SHOW_ROUTINE ON *.* TO 'narrow'@'%';");
    server.exec(untried.fix.strip_prefix("On the source: ").unwrap());
    one(&options, "upgrade.syntax", Pass);
}

/// Words that nobody could look for were not looked for.
#[test]
fn texts_that_are_hidden_are_unknown() {
    let source = start(ServerOptions::new(Version::Mysql56));
    let target = start(ServerOptions::new(Version::Mysql97));
    source.exec(SHOP);
    source.exec("CREATE PROCEDURE shop.p() SELECT PASSWORD('x') AS rank FROM shop.orders GROUP BY id DESC");
    source.create_account(
        "caller",
        PASSWORD,
        &["SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE ON `shop`.*", replication(Version::Mysql56)],
    );
    target.create_account("dts", PASSWORD, &[WRITER_GRANTS]);
    let mut options = looking_as("caller", &source, &target);
    let of_texts = [
        "reserved_words",
        "upgrade.removed_functions",
        "upgrade.group_by_asc",
        "upgrade.empty_dot_table_syntax",
        "upgrade.dollar_sign_name",
    ];
    for id in of_texts {
        let hidden = one(&options, id, Warn);
        assert_eq!(
            (hidden.actual.as_str(), &hidden.objects[..]),
            ("unknown", &["procedure shop.p".to_owned()][..])
        );
        assert_eq!(hidden.fix, "On the source: GRANT SELECT ON `mysql`.`proc` TO 'caller'@'%';");
    }
    let untried = one(&options, "upgrade.syntax", Warn);
    assert_eq!(untried.fix, "On the source: GRANT SELECT ON `mysql`.`proc` TO 'caller'@'%';", "{untried:#?}");
    // What is found is told, and that there may be more.
    source.exec("CREATE VIEW shop.ranked AS SELECT id AS `rank` FROM shop.orders; CREATE TRIGGER shop.tr BEFORE INSERT ON shop.orders \
                 FOR EACH ROW SET @rank = rank");
    let found = one(&options, "reserved_words", Warn);
    assert_eq!(found.objects, ["trigger shop.tr: RANK"]);
    assert!(found.message.contains("procedure shop.p"), "{found:#?}");
    source.exec("GRANT SELECT ON mysql.proc TO caller; DROP TRIGGER shop.tr");
    for (id, at) in of_texts.iter().zip([Some("RANK"), Some("PASSWORD"), Some("shop.p"), None, None]) {
        match at {
            Some(word) => assert!(one(&options, id, Warn).objects[0].contains(word), "{id}"),
            None => drop(one(&options, id, Pass)),
        }
    }
    // What is not tried for another reason needs no such grant.
    source.exec("SET GLOBAL log_bin_trust_function_creators = 1; CREATE FUNCTION shop.f() RETURNS INT RETURN 1; DROP PROCEDURE shop.p");
    target.exec("SET GLOBAL log_bin_trust_function_creators = 0");
    let untried = one(&options, "upgrade.syntax", Warn);
    assert!(untried.message.contains("log_bin_trust") && untried.fix.is_empty(), "{untried:#?}");
    // Nothing is hidden in what is not carried.
    source.exec("REVOKE SELECT ON mysql.proc FROM caller");
    options.routines = false;
    for id in of_texts {
        one(&options, id, Pass);
    }
}
