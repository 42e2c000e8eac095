use super::*;

/// Prints kind and names: `role database.name`, with `!` where the text gives the database.
fn show(statement: &str) -> String {
    let statement = classify(statement, "d");
    let names = statement.names.iter().map(|name| {
        let mark = if name.database_span.is_some() { "!" } else { "" };
        format!("{:?} {}.{}{mark}", name.role, name.database, name.name)
    });
    let mut shown = format!("{:?}", statement.kind);
    for name in names {
        shown.push_str(", ");
        shown.push_str(&name);
    }
    shown
}

fn kind(statement: &str) -> StatementKind {
    classify(statement, "d").kind
}

fn routed(statement: &str) -> String {
    let route = Route::new([("d", "new"), ("d.a", "x.a2"), ("e.keep", "e.keep")]).unwrap();
    rewrite(statement, "d", &route)
}

const CREATE: &str = "CreateTable { like: false, select: false, if_not_exists: false, temporary: false, start_transaction: false }";

#[test]
fn transaction_control() {
    assert_eq!(kind("BEGIN"), StatementKind::Begin);
    assert_eq!(kind(" start transaction /*!40100 WITH CONSISTENT SNAPSHOT */;"), StatementKind::Begin);
    assert_eq!(kind("COMMIT /* x */"), StatementKind::Commit);
    assert_eq!(kind("ROLLBACK"), StatementKind::Rollback);
    assert_eq!(kind("ROLLBACK WORK"), StatementKind::Rollback);
    assert_eq!(kind("SAVEPOINT `s``p`"), StatementKind::Savepoint { name: "s`p".into() });
    assert_eq!(kind("rollback to `s`"), StatementKind::RollbackTo { name: "s".into() });
    assert_eq!(kind("ROLLBACK WORK TO SAVEPOINT s"), StatementKind::RollbackTo { name: "s".into() });
    assert_eq!(kind("RELEASE SAVEPOINT s"), StatementKind::ReleaseSavepoint { name: "s".into() });
    assert!(kind("BEGIN").is_transaction_control() && !kind("DROP TABLE a").is_transaction_control());
    for nothing in ["", " ", "# Dum", "-- x", "/* a */"] {
        assert_eq!(kind(nothing), StatementKind::Empty);
    }
}

#[test]
fn distributed_transactions() {
    let xid = || "X'61',X'',1".to_owned();
    assert_eq!(kind("XA START X'61',X'',1"), StatementKind::XaStart { xid: xid() });
    assert_eq!(kind("XA BEGIN X'61', X'', 1 JOIN"), StatementKind::XaStart { xid: xid() });
    assert_eq!(kind("XA END X'61',X'',1"), StatementKind::XaEnd { xid: xid() });
    assert_eq!(kind("XA END X'61',X'',1 SUSPEND FOR MIGRATE"), StatementKind::XaEnd { xid: xid() });
    assert_eq!(kind("XA PREPARE X'61',X'',1"), StatementKind::XaPrepare { xid: xid() });
    assert_eq!(kind("XA COMMIT X'61',X'',1"), StatementKind::XaCommit { xid: xid(), one_phase: false });
    assert_eq!(
        kind("XA COMMIT X'61',X'',1 ONE PHASE;"),
        StatementKind::XaCommit { xid: xid(), one_phase: true }
    );
    assert_eq!(kind("XA ROLLBACK X'61',X'',1"), StatementKind::XaRollback { xid: xid() });
    assert_eq!(kind("XA COMMIT"), StatementKind::Unknown);
}

#[test]
fn create_table() {
    assert_eq!(show("CREATE TABLE t (a INT, `like` INT)"), format!("{CREATE}, Table d.t"));
    assert_eq!(
        show("CREATE TABLE IF NOT EXISTS db . t (a INT COMMENT 'SELECT')"),
        format!("{}, Table db.t!", CREATE.replace("if_not_exists: false", "if_not_exists: true"))
    );
    let like = CREATE.replace("like: false", "like: true");
    assert_eq!(show("create table `a``b` like c.`d`"), format!("{like}, Table d.a`b, Like c.d!"));
    assert_eq!(show("CREATE TABLE a (LIKE b)"), format!("{like}, Table d.a, Like d.b"));
    let select = CREATE.replace("select: false", "select: true");
    assert_eq!(
        show("CREATE TABLE a (x INT) ENGINE=InnoDB IGNORE AS SELECT * FROM b JOIN e.c USING (id)"),
        format!("{select}, Table d.a, Read d.b, Read e.c!")
    );
    assert_eq!(show("CREATE TABLE a AS (SELECT 1 FROM b)"), format!("{select}, Table d.a, Read d.b"));
    assert_eq!(show("CREATE TABLE a TABLE b"), format!("{select}, Table d.a"));
    assert_eq!(
        show("CREATE /*!80000 TEMPORARY */ TABLE a (b INT)"),
        format!("{}, Table d.a", CREATE.replace("temporary: false", "temporary: true"))
    );
    assert_eq!(
        show("CREATE TABLE `a` (\n  `b` int DEFAULT NULL\n) START TRANSACTION"),
        format!("{}, Table d.a", CREATE.replace("transaction: false", "transaction: true"))
    );
    assert_eq!(
        show(
            "CREATE TABLE c (p INT REFERENCES x(id), FOREIGN KEY (q) REFERENCES `e`.`y` (id), KEY (p)) UNION=(m1,m2)"
        ),
        format!("{CREATE}, Table d.c, Parent d.x, Parent e.y!, Merged d.m1, Merged d.m2")
    );
    assert_eq!(
        show(
            "CREATE TABLE p (a INT) PARTITION BY RANGE (a) (PARTITION p0 VALUES LESS THAN (1), PARTITION p1 VALUES IN (2))"
        ),
        format!("{CREATE}, Table d.p")
    );
    assert_eq!(show("CREATE TABLE 1a.2b (a INT)"), format!("{CREATE}, Table 1a.2b!"));
    assert_eq!(show("CREATE TABLE 订单 (编号 INT)"), format!("{CREATE}, Table d.订单"));
    assert_eq!(show("CREATE OR REPLACE TABLE a (b INT)"), format!("{CREATE}, Table d.a"));
}

#[test]
fn names_are_looked_up_where_the_server_does() {
    // Tried on 5.6, 9.7 and MariaDB 10.11.
    assert_eq!(
        show("CREATE TABLE e.c (x INT, FOREIGN KEY (x) REFERENCES p (id))"),
        format!("{CREATE}, Table e.c!, Parent e.p")
    );
    assert_eq!(
        show("ALTER TABLE e.c ADD FOREIGN KEY (x) REFERENCES p (id)"),
        "AlterTable { renames: false }, Table e.c!, Parent e.p"
    );
    assert_eq!(show("ALTER TABLE e.c RENAME u"), "AlterTable { renames: true }, Table e.c!, NewName d.u");
    assert_eq!(
        show("CREATE TRIGGER e.tr BEFORE INSERT ON t FOR EACH ROW INSERT INTO u VALUES (1)"),
        "StoredProgram { action: Create, object: Trigger }, Stored e.tr!, Table e.t, Table e.u"
    );
    assert_eq!(show("CREATE VIEW e.v AS SELECT 1 FROM t"), "CreateView, Table e.v!, Read d.t");
}

#[test]
fn start_transaction_is_cut_off() {
    assert_eq!(
        without_start_transaction("CREATE TABLE `a` (`b` int) START TRANSACTION"),
        "CREATE TABLE `a` (`b` int)"
    );
    let other = "CREATE TABLE `a` (`b` int COMMENT 'START TRANSACTION')";
    assert_eq!(without_start_transaction(other), other);
}

#[test]
fn alter_table() {
    assert_eq!(
        show("ALTER TABLE t ADD INDEX (a), RENAME TO u"),
        "AlterTable { renames: true }, Table d.t, NewName d.u"
    );
    assert_eq!(show("alter table t rename `e`.u"), "AlterTable { renames: true }, Table d.t, NewName e.u!");
    assert_eq!(show("ALTER TABLE t RENAME = u"), "AlterTable { renames: true }, Table d.t, NewName d.u");
    assert_eq!(
        show("ALTER TABLE t RENAME INDEX a TO b, RENAME COLUMN c TO e, RENAME KEY f TO g, ADD `rename` INT"),
        "AlterTable { renames: false }, Table d.t"
    );
    assert_eq!(
        show("ALTER IGNORE TABLE t EXCHANGE PARTITION p WITH TABLE e.u WITHOUT VALIDATION"),
        "AlterTable { renames: false }, Table d.t, Exchanged e.u!"
    );
    assert_eq!(
        show("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES p (id), RENAME AS v"),
        "AlterTable { renames: true }, Table d.t, Parent d.p, NewName d.v"
    );
    assert_eq!(show("/*!40000 ALTER TABLE `t` DISABLE KEYS */"), "AlterTable { renames: false }, Table d.t");
    assert_eq!(
        show("ALTER TABLE `t` ADD COLUMN c VARCHAR(9) DEFAULT ') RENAME TO x' COMMENT \"RENAME\""),
        "AlterTable { renames: false }, Table d.t"
    );
}

#[test]
fn other_table_statements() {
    let drop = "DropTable { if_exists: true, temporary: false }";
    assert_eq!(
        show("DROP TABLE IF EXISTS a, db.b /* generated by server */"),
        format!("{drop}, Table d.a, Table db.b!")
    );
    assert_eq!(
        kind("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `x`"),
        StatementKind::DropTable { if_exists: true, temporary: true }
    );
    assert!(!kind("DROP TEMPORARY TABLE x").is_table_ddl() && kind("DROP TABLES x CASCADE").is_table_ddl());
    assert_eq!(show("TRUNCATE a"), "TruncateTable, Table d.a");
    assert_eq!(show("TRUNCATE TABLE e.a"), "TruncateTable, Table e.a!");
    let statement = classify("RENAME TABLE a TO b, c TO e.a", "d");
    let table = TableName::new;
    assert_eq!(statement.kind, StatementKind::RenameTable);
    assert_eq!(statement.renames(), [(table("d", "a"), table("d", "b")), (table("d", "c"), table("e", "a"))]);
    assert_eq!(statement.changed_tables().count(), 4);
    assert_eq!(show("create unique index i using btree on t(a)"), "CreateIndex, Table d.t");
    assert_eq!(show("CREATE SPATIAL INDEX `on` ON e.t (g)"), "CreateIndex, Table e.t!");
    assert_eq!(show("DROP INDEX `i` ON `t`"), "DropIndex, Table d.t");
    assert_eq!(show("DROP INDEX IF EXISTS i ON t"), "DropIndex, Table d.t");
    assert_eq!(show("ANALYZE LOCAL TABLE a, b"), "Admin, Table d.a, Table d.b");
    assert_eq!(show("OPTIMIZE TABLE a"), "Admin, Table d.a");
}

#[test]
fn views() {
    assert_eq!(
        show(
            "CREATE ALGORITHM=UNDEFINED DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW v (x) AS select `t`.`a` from `e`.`t` join u"
        ),
        "CreateView, Table d.v, Read e.t!, Read d.u"
    );
    for definer in ["root@localhost", "root@10.0.0.%", "root@my-host.net", "CURRENT_USER()", "'a'@'%'", "app"]
    {
        let text = format!("CREATE OR REPLACE DEFINER={definer} VIEW e.v AS SELECT 1");
        // A bare % is not allowed by the server either; quoted hosts are the rule.
        assert_eq!(show(&text), "CreateView, Table e.v!", "{definer}");
    }
    assert_eq!(
        show("ALTER SQL SECURITY INVOKER VIEW v AS SELECT * FROM t"),
        "AlterView, Table d.v, Read d.t"
    );
    assert_eq!(show("DROP VIEW IF EXISTS v, e.w"), "DropView, Table d.v, Table e.w!");
    assert_eq!(show("CREATE VIEW IF NOT EXISTS v AS SELECT 1"), "CreateView, Table d.v");
}

#[test]
fn queries() {
    let reads = |query: &str| {
        let shown = show(&format!("CREATE VIEW v AS {query}"));
        shown.replace("CreateView, Table d.v", "").replace(", Read ", " ").trim().to_owned()
    };
    assert_eq!(
        reads("SELECT 1 FROM a, (b AS x, e.c) LEFT JOIN f ON f.id = a.id, g WHERE 1 IN (SELECT h FROM i)"),
        "d.a d.b e.c! d.f d.g d.i"
    );
    assert_eq!(reads("SELECT EXTRACT(YEAR FROM y), TRIM(BOTH 'x' FROM z) FROM t"), "d.t");
    assert_eq!(
        reads("SELECT x FROM (SELECT y FROM ((a JOIN b))) q UNION ALL (SELECT 1 FROM c ORDER BY a, b)"),
        "d.a d.b d.c"
    );
    assert_eq!(
        reads(
            "WITH RECURSIVE q (n) AS (SELECT 1 UNION SELECT n FROM q), r AS (SELECT 1 FROM t) SELECT * FROM q, r, DUAL, e.q"
        ),
        "d.t e.q!"
    );
    assert_eq!(
        reads(
            "SELECT * FROM a USE INDEX FOR JOIN (i) JOIN b PARTITION (p0) AS x, JSON_TABLE(a.j, '$' COLUMNS (n INT PATH '$')) j, c"
        ),
        "d.a d.b d.c"
    );
    assert_eq!(
        reads("SELECT `e`.`t`.`c`, a.b, e.f(1), t.*, 1.5, @from FROM `e`.`t`"),
        "Column e.t!, Stored e.f! e.t!".replace("Column", ", Column").trim()
    );
    assert_eq!(reads("SELECT a, b FROM t GROUP BY a, b WITH ROLLUP"), "d.t");
    assert_eq!(reads("SELECT * FROM t, LATERAL (SELECT 1 FROM u) x FOR UPDATE"), "d.t d.u");
}

#[test]
fn databases() {
    assert_eq!(
        show("CREATE DATABASE IF NOT EXISTS `a b` CHARACTER SET utf8"),
        "CreateDatabase, Database a b.!"
    );
    assert_eq!(show("create schema x"), "CreateDatabase, Database x.!");
    assert_eq!(show("ALTER DATABASE x COLLATE utf8_bin"), "AlterDatabase, Database x.!");
    assert_eq!(show("ALTER DATABASE CHARACTER SET utf8"), "AlterDatabase");
    assert_eq!(show("DROP DATABASE IF EXISTS x"), "DropDatabase, Database x.!");
    assert_eq!(classify("DROP SCHEMA x", "").databases().collect::<Vec<_>>(), ["x"]);
}

#[test]
fn stored_programs() {
    let stored = |action: &str, object: &str| {
        format!("StoredProgram {{ action: {action}, object: {object} }}, Stored")
    };
    assert_eq!(
        show(
            "CREATE DEFINER=`a`@`%` PROCEDURE p(IN x INT) BEGIN DECLARE c CURSOR FOR SELECT a FROM t1; FETCH NEXT FROM c INTO x; \
             SELECT b INTO x FROM t2; INSERT INTO e.t3 SELECT * FROM t4 ON DUPLICATE KEY UPDATE a = 1; UPDATE t5, t6 SET a = 1; \
             DELETE FROM t7 WHERE a IN (SELECT 1 FROM t8); CALL e.q(REPLACE(x, 'a', 'b')); TRUNCATE TABLE t9; END"
        ),
        format!(
            "{} d.p, Read d.t1, Read d.t2, Table e.t3!, Read d.t4, Read d.t5, Read d.t6, Table d.t7, Read d.t8, Stored e.q!, Table \
             d.t9",
            stored("Create", "Procedure")
        )
    );
    assert_eq!(
        show("CREATE DEFINER=`a`@`b` TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW FOLLOWS x SET NEW.a = OLD.a"),
        format!("{} d.tr, Table d.t", stored("Create", "Trigger"))
    );
    assert_eq!(
        show("CREATE EVENT e.ev ON SCHEDULE EVERY 1 DAY DO DELETE FROM log"),
        format!("{} e.ev!, Table e.log", stored("Create", "Event"))
    );
    assert_eq!(
        show("CREATE FUNCTION f() RETURNS INT RETURN 1"),
        format!("{} d.f", stored("Create", "Function"))
    );
    assert_eq!(show("CREATE FUNCTION f RETURNS STRING SONAME 'f.so'"), "ServerObject");
    assert_eq!(
        show("ALTER EVENT ev RENAME TO ew"),
        format!("{} d.ev, Stored d.ew", stored("Alter", "Event"))
    );
    assert_eq!(show("DROP TRIGGER IF EXISTS e.tr"), format!("{} e.tr!", stored("Drop", "Trigger")));
    assert_eq!(show("DROP PROCEDURE p"), format!("{} d.p", stored("Drop", "Procedure")));
}

#[test]
fn accounts_rows_and_the_rest() {
    for text in [
        "CREATE USER 'a'@'%' IDENTIFIED BY 'x'",
        "DROP USER a",
        "ALTER USER a IDENTIFIED WITH 'mysql_native_password' AS '*A'",
        "RENAME USER a TO b",
        "GRANT ALL ON *.* TO a",
        "REVOKE SELECT ON d.* FROM a",
        "SET PASSWORD FOR 'a'@'%' = '*A'",
        "CREATE ROLE r",
        "SET DEFAULT ROLE ALL TO a",
    ] {
        assert_eq!(kind(text), StatementKind::Account, "{text}");
    }
    assert_eq!(show("INSERT INTO `t` VALUES (1)"), "Dml, Table d.t");
    assert_eq!(show("/* x */ DELETE FROM `e`.`mem`"), "Dml, Table e.mem!");
    assert_eq!(show("UPDATE t SET a = 1"), "Dml, Read d.t");
    assert_eq!(show("REPLACE t (a) VALUES (1)"), "Dml, Table d.t");
    assert_eq!(show("LOAD DATA LOCAL INFILE 'x' INTO TABLE `t` FIELDS TERMINATED BY ','"), "Dml, Table d.t");
    for text in ["FLUSH TABLES", "SET GLOBAL x = 1", "USE d", "ALTER INSTANCE ROTATE INNODB MASTER KEY"] {
        assert_eq!(kind(text), StatementKind::Admin, "{text}");
    }
    for text in ["CREATE TABLESPACE x ADD DATAFILE 'x.ibd'", "INSTALL PLUGIN a SONAME 'b'", "DROP SERVER s"] {
        assert_eq!(kind(text), StatementKind::ServerObject, "{text}");
    }
    for text in
        ["CREATE TABLE", "ALTER TABLE", "RENAME TABLE a", "DROP TABLE 'x", "CREATE SEQUENCE s", "x", "?"]
    {
        assert_eq!(show(text), "Unknown", "{text}");
    }
}

#[test]
fn the_sql_mode_is_heeded() {
    let dialect = Dialect { ansi_quotes: true, no_backslash_escapes: true };
    let statement = classify_in(r#"CREATE TABLE "a""b" (x CHAR(1) DEFAULT '\')"#, "d", dialect);
    assert_eq!(statement.changed_tables().collect::<Vec<_>>(), [TableName::new("d", "a\"b")]);
}

#[test]
fn names_are_rewritten_and_nothing_else() {
    assert_eq!(
        routed("ALTER TABLE  t /* t */ ADD `t` INT COMMENT 't', RENAME TO d . `u`"),
        "ALTER TABLE  `new`.`t` /* t */ ADD `t` INT COMMENT 't', RENAME TO `new`.`u`"
    );
    assert_eq!(
        routed("RENAME TABLE a TO b, e.c TO keep"),
        "RENAME TABLE `x`.`a2` TO `new`.`b`, e.c TO `new`.`keep`"
    );
    assert_eq!(routed("DROP TABLE IF EXISTS `a`,`e`.`keep`"), "DROP TABLE IF EXISTS `x`.`a2`,`e`.`keep`");
    assert_eq!(
        routed("CREATE TABLE t (p INT, FOREIGN KEY (p) REFERENCES a (id))"),
        "CREATE TABLE `new`.`t` (p INT, FOREIGN KEY (p) REFERENCES `x`.`a2` (id))"
    );
    assert_eq!(routed("CREATE DATABASE d"), "CREATE DATABASE `new`");
    assert_eq!(routed("create index i on a(a)"), "create index i on `x`.`a2`(a)");
    assert_eq!(routed("BEGIN"), "BEGIN");
    assert_eq!(rewrite("DROP TABLE t", "d", &Route::identity()), "DROP TABLE t");
    // What stays behind must say so, as the default database moves.
    let route = Route::new([("d", "new"), ("d.t", "d.t")]).unwrap();
    assert_eq!(rewrite("DROP TABLE t, d.t", "d", &route), "DROP TABLE `d`.`t`, d.t");
    assert_eq!(rewrite("DROP TABLE t", "", &route), "DROP TABLE t");
}

#[test]
fn queries_are_rewritten_with_aliases() {
    assert_eq!(
        routed("CREATE VIEW `v` AS select `a`.`id`, `d`.`a`.`n`, `d`.`t`.`m` from (`d`.`a` join `t` `q`)"),
        "CREATE VIEW `new`.`v` AS select `a`.`id`, `x`.`a`.`n`, `new`.`t`.`m` from (`x`.`a2` AS `a` join `new`.`t` `q`)"
    );
    assert_eq!(
        routed("CREATE VIEW v AS SELECT y.* FROM a AS y"),
        "CREATE VIEW `new`.`v` AS SELECT y.* FROM `x`.`a2` AS y"
    );
    assert_eq!(
        routed("CREATE TRIGGER tr AFTER INSERT ON a FOR EACH ROW INSERT INTO d.log VALUES (NEW.id)"),
        "CREATE TRIGGER `x`.`tr` AFTER INSERT ON `x`.`a2` FOR EACH ROW INSERT INTO `new`.`log` VALUES (NEW.id)"
    );
    assert_eq!(routed("DROP PROCEDURE d.p"), "DROP PROCEDURE `new`.`p`");
}

proptest::proptest! {
    #[test]
    fn any_text_is_classified(text in "(CREATE|ALTER|DROP|RENAME|SELECT|WITH|XA|DELETE)?( (TABLE|VIEW|TRIGGER|ON|TO|AS|FROM|JOIN|UPDATE|a|`b`|'c'|\"d\"|LIKE|REFERENCES|RENAME|\\.|,|\\(|\\)|;|@|=|/\\*!50100|\\*/)){0,12}") {
        let route = Route::new([("d", "new"), ("d.a", "x.a2")]).unwrap();
        let statement = classify(&text, "d");
        let rewritten = statement.rewrite(&text, &route);
        // Other names, the same kind.
        proptest::prop_assert_eq!(classify(&rewritten, "new").kind, statement.kind.clone());
        proptest::prop_assert!(statement.names.windows(2).all(|pair| pair[0].name_span.end <= pair[1].name_span.start));
    }

    #[test]
    fn awkward_names_round_trip(database in "[a`'\".,() 表]{1,6}", name in "[a`'\".,() 表]{1,6}") {
        let table = TableName::new(database, name);
        let text = format!("RENAME TABLE {} TO t", quote::table(&table));
        let statement = classify(&text, "d");
        proptest::prop_assert_eq!(statement.renames(), vec![(table, TableName::new("d", "t"))]);
    }
}

#[test]
fn a_counter_alone_is_told_from_other_changes() {
    for alone in [
        "ALTER TABLE `d`.`t` AUTO_INCREMENT = 7",
        "/* x */ alter table t auto_increment 7",
        "ALTER TABLE t AUTO_INCREMENT=7",
    ] {
        assert!(sets_counter_alone(alone), "{alone}");
    }
    for more in [
        "ALTER TABLE t AUTO_INCREMENT = 7, DROP COLUMN a",
        "ALTER TABLE t AUTO_INCREMENT = 7 ENGINE = InnoDB",
        "ALTER TABLE t AUTO_INCREMENT = 7 /*!50100 , DROP COLUMN a */",
        "ALTER TABLE t ADD a INT AUTO_INCREMENT PRIMARY KEY",
        "ALTER TABLE auto_increment DROP a",
        "CREATE TABLE t (a INT) AUTO_INCREMENT = 7",
        "ALTER TABLE t",
    ] {
        assert!(!sets_counter_alone(more), "{more}");
    }
}
