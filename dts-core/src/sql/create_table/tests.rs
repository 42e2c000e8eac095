use super::*;
use crate::transform::Route;

fn parse(shown: &str) -> CreateTable {
    CreateTable::parse(shown).unwrap()
}

fn target() -> TableName {
    TableName::new("new", "t2")
}

fn column(column: &str, charset: &str, collation: &str) -> ColumnCharset {
    ColumnCharset { column: column.into(), charset: charset.into(), collation: collation.into() }
}

/// Makes the table explicit for a MySQL 9.7 target.
fn explicit(shown: &str, collation: &str, columns: &[ColumnCharset]) -> (String, Vec<Rewrite>) {
    explicit_for(shown, collation, columns, CharsetNames::of_mysql(90700))
}

fn explicit_for(
    shown: &str,
    collation: &str,
    columns: &[ColumnCharset],
    names: CharsetNames,
) -> (String, Vec<Rewrite>) {
    let mut table = parse(shown);
    let rewrites = table
        .explicit(&Explicit { table_collation: collation, columns, names, mariadb_target: false })
        .unwrap();
    let sql = table.to_sql(&target());
    // What was written must be readable, and be at rest.
    let mut again = parse(&sql);
    again.explicit(&Explicit { table_collation: collation, columns, names, mariadb_target: false }).unwrap();
    assert_eq!(again.to_sql(&target()), sql);
    (sql, rewrites)
}

fn kinds(table: &CreateTable) -> String {
    let kinds = table.definitions().iter().map(|definition| match &definition.kind {
        DefinitionKind::Column { name } => format!("column {name}"),
        DefinitionKind::PrimaryKey { .. } => "primary".into(),
        DefinitionKind::Index { name, class, .. } => format!("{class:?} {name}"),
        DefinitionKind::ForeignKey { name, .. } => format!("foreign {}", name.as_deref().unwrap_or("-")),
        DefinitionKind::Check => "check".into(),
        DefinitionKind::Other => "other".into(),
    });
    kinds.collect::<Vec<_>>().join(", ")
}

const AWKWARD: &str = r"CREATE TABLE `we``ird.表` (
  `key` bigint(20) unsigned NOT NULL AUTO_INCREMENT COMMENT 'it''s a (comment), with \'quotes\'\\',
  `primary` enum('a,b','c)','d''e','\\') CHARACTER SET latin1 DEFAULT 'c)',
  `a``b` varchar(10) COLLATE utf8mb4_bin NOT NULL DEFAULT 'x\'y`z\\',
  `价格` decimal(10,2) DEFAULT '0.00' COMMENT '单价, (元)',
  `unique` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  `g` varchar(30) GENERATED ALWAYS AS (concat(`a``b`,'),KEY (`,')) VIRTUAL,
  `constraint` int DEFAULT NULL /*!80023 INVISIBLE */,
  PRIMARY KEY (`key`) USING BTREE,
  UNIQUE KEY `u` (`a``b`(5),`价格` DESC) USING BTREE COMMENT 'a, b',
  KEY `index` (`primary`) /*!80000 INVISIBLE */,
  KEY `fn` ((lower(`a``b`)),((`价格` + 1))),
  FULLTEXT KEY `ft` (`a``b`) /*!50100 WITH PARSER `ngram` */ ,
  SPATIAL KEY `sp` (`pt`),
  CONSTRAINT `fk_1` FOREIGN KEY (`constraint`) REFERENCES `other db`.`p,` (`id`) ON DELETE CASCADE,
  CONSTRAINT `c``1` CHECK ((`价格` > 0) and (`a``b` <> ')')) /*!80016 NOT ENFORCED */
) ENGINE=InnoDB AUTO_INCREMENT=17 DEFAULT CHARSET=utf8mb4 COMMENT='PARTITION BY (a), ENGINE=MyISAM'";

#[test]
fn awkward_names_and_strings_are_split_right() {
    let table = parse(AWKWARD);
    assert_eq!(table.name(), "we`ird.表");
    assert_eq!(
        kinds(&table),
        "column key, column primary, column a`b, column 价格, column unique, column g, column constraint, primary, \
         Unique u, Plain index, Plain fn, FullText ft, Spatial sp, foreign fk_1, check"
    );
    assert_eq!(table.option("ENGINE"), Some("InnoDB"));
    assert_eq!(table.option("COMMENT"), Some("'PARTITION BY (a), ENGINE=MyISAM'"));
    assert!(!table.is_partitioned());
    assert_eq!(table.referenced_tables("d"), [TableName::new("other db", "p,")]);
    let written = AWKWARD.replace("`we``ird.表`", "`new`.`t2`").replace(" */ ,", " */,");
    assert_eq!(table.to_sql(&target()), written);
}

#[test]
fn indexes_and_foreign_keys_are_taken_out() {
    let deferred = parse(AWKWARD).without_deferred(&target(), &[]);
    assert_eq!(
        deferred.indexes,
        [
            "UNIQUE KEY `u` (`a``b`(5),`价格` DESC) USING BTREE COMMENT 'a, b'",
            "KEY `index` (`primary`) /*!80000 INVISIBLE */",
            "KEY `fn` ((lower(`a``b`)),((`价格` + 1)))",
            "FULLTEXT KEY `ft` (`a``b`) /*!50100 WITH PARSER `ngram` */",
            "SPATIAL KEY `sp` (`pt`)",
        ]
    );
    assert_eq!(deferred.foreign_keys.len(), 1);
    assert!(deferred.create_sql.contains(
        "PRIMARY KEY (`key`) USING BTREE,\n  CONSTRAINT `c``1` CHECK ((`价格` > 0) and (`a``b` <> ')')) /*!80016 NOT \
         ENFORCED */\n) ENGINE=InnoDB AUTO_INCREMENT=17"
    ));
    let kept = parse(AWKWARD).without_deferred(&target(), &["u"]);
    assert_eq!(kept.indexes.len(), 4);
    assert!(kept.create_sql.contains("UNIQUE KEY `u`"));
}

#[test]
fn an_index_that_auto_increment_needs_stays() {
    let shown = "CREATE TABLE `t` (\n  `a` int NOT NULL,\n  `id` int NOT NULL AUTO_INCREMENT,\n  PRIMARY KEY (`a`,`id`),\n  \
                 KEY `x` (`a`),\n  KEY `i` (`id`),\n  UNIQUE KEY `i2` (`id`,`a`)\n) ENGINE=InnoDB";
    let deferred = parse(shown).without_deferred(&target(), &[]);
    assert_eq!(deferred.indexes, ["KEY `x` (`a`)", "UNIQUE KEY `i2` (`id`,`a`)"]);
    let kept = parse(shown).without_deferred(&target(), &["i2"]);
    assert_eq!(kept.indexes, ["KEY `x` (`a`)", "KEY `i` (`id`)"]);
    let commented = shown.replace("AUTO_INCREMENT,", "COMMENT 'AUTO_INCREMENT',");
    assert_eq!(parse(&commented).without_deferred(&target(), &[]).indexes.len(), 3);
}

#[test]
fn statements_that_add_things_later() {
    let clauses =
        ["KEY `a` (`a`)", "FULLTEXT KEY `f` (`f`)", "UNIQUE KEY `b` (`b`)", "FULLTEXT KEY `g` (`g`)"];
    assert_eq!(
        build_indexes_sql(&target(), &clauses[..2]).unwrap(),
        "ALTER TABLE `new`.`t2`\n  ADD KEY `a` (`a`),\n  ADD FULLTEXT KEY `f` (`f`)"
    );
    assert_eq!(
        build_indexes_statements(&target(), &clauses),
        [
            "ALTER TABLE `new`.`t2`\n  ADD KEY `a` (`a`),\n  ADD UNIQUE KEY `b` (`b`)",
            "ALTER TABLE `new`.`t2`\n  ADD FULLTEXT KEY `f` (`f`)",
            "ALTER TABLE `new`.`t2`\n  ADD FULLTEXT KEY `g` (`g`)",
        ]
    );
    assert_eq!(build_indexes_sql::<&str>(&target(), &[]), None);
}

#[test]
fn parents_are_routed() {
    let route = Route::new([("shop", "new"), ("crm.p", "x.q")]).unwrap();
    let clauses = [
        "CONSTRAINT `REFERENCES` FOREIGN KEY (`a`) REFERENCES `t` (`id`)",
        "CONSTRAINT `b` FOREIGN KEY (`b`) REFERENCES `crm`.`p` (`id`) ON DELETE SET NULL",
        "FOREIGN KEY (`c`) REFERENCES `crm` . `o` (`id`)",
    ];
    assert_eq!(
        add_foreign_keys_sql(&target(), &clauses, "shop", &route).unwrap().unwrap(),
        "ALTER TABLE `new`.`t2`\n  \
         ADD CONSTRAINT `REFERENCES` FOREIGN KEY (`a`) REFERENCES `new`.`t` (`id`),\n  \
         ADD CONSTRAINT `b` FOREIGN KEY (`b`) REFERENCES `x`.`q` (`id`) ON DELETE SET NULL,\n  \
         ADD FOREIGN KEY (`c`) REFERENCES `crm`.`o` (`id`)"
    );
    assert_eq!(add_foreign_keys_sql::<&str>(&target(), &[], "shop", &route).unwrap(), None);
    assert!(add_foreign_keys_sql(&target(), &["KEY `a` (`a`)"], "shop", &route).is_err());
}

#[test]
fn collations_are_written_out() {
    let shown = "CREATE TABLE `t` (
  `a` varchar(10) DEFAULT NULL,
  `b` varchar(10) CHARACTER SET utf8mb4 DEFAULT 'CHARACTER SET x',
  `c` text CHARACTER SET latin1 COLLATE latin1_bin COMMENT 'COLLATE utf8_bin',
  `d` enum('x','y') COLLATE utf8_bin NOT NULL,
  `e` char(3),
  `j` json DEFAULT NULL,
  `n` int DEFAULT NULL,
  `g` varchar(9) CHARACTER SET utf8 GENERATED ALWAYS AS (concat(`a`,_utf8'x',convert(`b` using utf8) collate utf8_bin)) STORED
) ENGINE=InnoDB DEFAULT CHARSET=utf8";
    let columns = [
        column("a", "utf8", "utf8_general_ci"),
        column("b", "utf8mb4", "utf8mb4_general_ci"),
        column("c", "latin1", "latin1_bin"),
        column("d", "utf8", "utf8_bin"),
        column("e", "ascii", "ascii_general_ci"),
        column("g", "utf8", "utf8_general_ci"),
    ];
    let (sql, rewrites) = explicit(shown, "utf8_general_ci", &columns);
    assert_eq!(
        sql,
        "CREATE TABLE `new`.`t2` (
  `a` varchar(10) DEFAULT NULL,
  `b` varchar(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci DEFAULT 'CHARACTER SET x',
  `c` text CHARACTER SET latin1 COLLATE latin1_bin COMMENT 'COLLATE utf8_bin',
  `d` enum('x','y') CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `e` char(3) CHARACTER SET ascii COLLATE ascii_general_ci,
  `j` json DEFAULT NULL,
  `n` int DEFAULT NULL,
  `g` varchar(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci GENERATED ALWAYS AS (concat(`a`,_utf8mb3'x',convert(`b` \
         using utf8mb3) collate utf8mb3_bin)) STORED
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci"
    );
    assert_eq!(rewrites, []);
}

#[test]
fn names_of_three_byte_utf8_depend_on_the_target() {
    let shown =
        "CREATE TABLE `t` (\n  `a` char(1) COLLATE utf8mb3_bin\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb3";
    let columns = [column("a", "utf8mb3", "utf8mb3_bin")];
    let line = |names| explicit_for(shown, "utf8mb3_general_ci", &columns, names).0;
    assert!(line(CharsetNames::of_mysql(50744)).contains("CHARACTER SET utf8 COLLATE utf8_bin"));
    assert!(line(CharsetNames::of_mysql(80028)).contains("CHARACTER SET utf8mb3 COLLATE utf8_bin"));
    assert!(line(CharsetNames::of_mysql(80030)).contains("CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"));
    assert!(line(CharsetNames::of_mariadb(100500)).ends_with("DEFAULT CHARSET=utf8 COLLATE=utf8_general_ci"));
    assert!(
        line(CharsetNames::of_mariadb(100600))
            .ends_with("DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci")
    );
}

#[test]
fn a_binary_table_is_explicit_too() {
    let shown = "CREATE TABLE `t` (\n  `a` varbinary(3),\n  `b` varchar(3) CHARACTER SET latin1\n) ENGINE=InnoDB DEFAULT CHARSET=binary";
    let (sql, _) = explicit(shown, "binary", &[column("b", "latin1", "latin1_swedish_ci")]);
    assert!(sql.ends_with(") ENGINE=InnoDB DEFAULT CHARSET=binary COLLATE=binary"));
    assert!(sql.contains("`b` varchar(3) CHARACTER SET latin1 COLLATE latin1_swedish_ci\n"));
}

#[test]
fn other_engines_become_innodb() {
    let shown = "CREATE TABLE `t` (
  `g` int(11) NOT NULL,
  `id` int(11) NOT NULL AUTO_INCREMENT,
  PRIMARY KEY (`g`,`id`),
  FULLTEXT KEY `f` (`x`)
) ENGINE=MyISAM AUTO_INCREMENT=5 DEFAULT CHARSET=latin1 PACK_KEYS=1 CHECKSUM=1 ROW_FORMAT=FIXED KEY_BLOCK_SIZE=1024 \
                 DATA DIRECTORY='/data/x/' COMMENT='a b'";
    let (sql, rewrites) = explicit(shown, "latin1_swedish_ci", &[]);
    assert_eq!(
        sql,
        "CREATE TABLE `new`.`t2` (
  `g` int(11) NOT NULL,
  `id` int(11) NOT NULL AUTO_INCREMENT,
  PRIMARY KEY (`g`,`id`),
  FULLTEXT KEY `f` (`x`),
  KEY `dts_auto_increment` (`id`)
) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=latin1 COLLATE=latin1_swedish_ci PACK_KEYS=1 CHECKSUM=1 COMMENT='a b'"
    );
    let what: Vec<&str> = rewrites.iter().map(|rewrite| rewrite.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "ENGINE=MyISAM to InnoDB",
            "ROW_FORMAT=FIXED left out",
            "KEY_BLOCK_SIZE=1024 left out",
            "DATA DIRECTORY='/data/x/' left out",
            "KEY `dts_auto_increment` (`id`) added",
        ]
    );
    for engine in ["MEMORY", "ARCHIVE", "TokuDB", "XENGINE", "CSV", "Aria", "ROCKSDB", "MRG_MyISAM"] {
        let shown = format!("CREATE TABLE `t` (\n  `a` int\n) ENGINE={engine} DEFAULT CHARSET=latin1");
        let (sql, rewrites) = explicit(&shown, "latin1_swedish_ci", &[]);
        assert!(sql.contains("ENGINE=InnoDB") && rewrites.len() == 1, "{sql}");
    }
}

#[test]
fn what_other_engines_have_goes() {
    let shown = "CREATE TABLE `t` (
  `a` int,
  CLUSTERING KEY `c` (`a`),
  UNIQUE KEY `d` (`a`) CLUSTERING=YES
) ENGINE=TokuDB DEFAULT CHARSET=latin1 ROW_FORMAT=TOKUDB_ZLIB `compression`='tokudb_zlib'";
    let (sql, _) = explicit(shown, "latin1_swedish_ci", &[]);
    assert!(
        sql.contains("  KEY `c` (`a`),\n  UNIQUE KEY `d` (`a`)\n) ENGINE=InnoDB DEFAULT CHARSET=latin1"),
        "{sql}"
    );
    assert!(!sql.to_lowercase().contains("tokudb"));
    let shown = "CREATE TABLE `t` (\n  `a` int\n) ENGINE=FEDERATED DEFAULT CHARSET=latin1 CONNECTION='mysql://u:secret@h/d/t'";
    let (sql, rewrites) = explicit(shown, "latin1_swedish_ci", &[]);
    assert!(!format!("{sql}{rewrites:?}").contains("secret"));
    let shown = "CREATE TABLE `t` (\n  `a` int\n) ENGINE=MRG_MyISAM DEFAULT CHARSET=latin1 INSERT_METHOD=LAST UNION=(`x`,`y`)";
    assert!(explicit(shown, "latin1_swedish_ci", &[]).0.ends_with("COLLATE=latin1_swedish_ci"));
}

#[test]
fn innodb_options_stay_and_places_go() {
    let shown = "CREATE TABLE `t` (
  `a` int NOT NULL
) /*!50100 TABLESPACE `ts``1` STORAGE DISK */ ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci \
                 STATS_PERSISTENT=1 ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 COMPRESSION='zlib' ENCRYPTION='Y' \
                 /*!80021 ENGINE_ATTRIBUTE='{\"a\": 1}' */ /*!80023 AUTOEXTEND_SIZE=4194304 */ SECONDARY_ENGINE=RAPID /*!99990 800020201 BLOCK_FORMAT=ENCRYPTED */";
    let (sql, rewrites) = explicit(shown, "utf8mb4_0900_ai_ci", &[]);
    assert!(
        sql.ends_with(
            ") ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci STATS_PERSISTENT=1 \
             ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8 COMPRESSION='zlib' ENCRYPTION='Y' /*!80023 AUTOEXTEND_SIZE=4194304 */"
        ),
        "{sql}"
    );
    assert_eq!(rewrites.len(), 4);
}

#[test]
fn partitions_are_kept_with_innodb() {
    let range = "CREATE TABLE `t` (
  `id` int(11) NOT NULL,
  `d` date NOT NULL,
  UNIQUE KEY `u` (`id`,`d`)
) ENGINE=MyISAM DEFAULT CHARSET=utf8
/*!50100 PARTITION BY RANGE ( YEAR(d))
SUBPARTITION BY HASH ( TO_DAYS(d))
(PARTITION p0 VALUES LESS THAN (1990) DATA DIRECTORY = '/a' INDEX DIRECTORY = '/b' COMMENT = 'ENGINE = x' ENGINE = MyISAM,
 PARTITION engine VALUES LESS THAN MAXVALUE TABLESPACE = `ts` ENGINE = MyISAM) */";
    let (sql, rewrites) = explicit(range, "utf8_general_ci", &[]);
    assert!(
        sql.ends_with(
            ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci
/*!50100 PARTITION BY RANGE ( YEAR(d))
SUBPARTITION BY HASH ( TO_DAYS(d))
(PARTITION p0 VALUES LESS THAN (1990)   COMMENT = 'ENGINE = x' ENGINE = InnoDB,
 PARTITION engine VALUES LESS THAN MAXVALUE  ENGINE = InnoDB) */"
        ),
        "{sql}"
    );
    assert_eq!(rewrites.len(), 2);
    for clause in [
        "/*!50100 PARTITION BY HASH (id)\nPARTITIONS 4 */",
        "/*!50500 PARTITION BY LIST  COLUMNS(a,b)\n(PARTITION p VALUES IN (('x,)',1),(NULL,2)) ENGINE = InnoDB) */",
        "/*!50100 PARTITION BY KEY */ /*!50611 ALGORITHM = 1 */ /*!50100 (id)\nPARTITIONS 3 */",
        "/*!50100 PARTITION BY LINEAR KEY ()\nPARTITIONS 3 */",
        "PARTITION BY RANGE (`id`)\n(PARTITION `p0` VALUES LESS THAN (10) ENGINE = InnoDB)",
    ] {
        let shown = format!(
            "CREATE TABLE `t` (\n  `id` int\n) ENGINE=InnoDB DEFAULT CHARSET=latin1 COLLATE=latin1_bin\n{clause}"
        );
        let table = parse(&shown);
        assert!(table.is_partitioned());
        assert_eq!(table.to_sql(&TableName::new("d", "t")), shown.replace("`t`", "`d`.`t`"));
        assert_eq!(explicit(&shown, "latin1_bin", &[]).0, shown.replace("`t`", "`new`.`t2`"));
    }
}

#[test]
fn mariadb_texts_are_read() {
    let shown = "CREATE TABLE `t` (
  `a` int(11) NOT NULL DEFAULT nextval(`d`.`s`),
  `u` varchar(36) DEFAULT uuid() COMMENT 'DEFAULT x()',
  `n` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  `t` text NOT NULL DEFAULT '',
  `b` varchar(9) /*!100301 COMPRESSED*/ CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `j` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`j`)),
  `s` timestamp(6) GENERATED ALWAYS AS ROW START,
  PRIMARY KEY (`a`),
  KEY `k` (`b`) IGNORED,
  PERIOD FOR SYSTEM_TIME (`s`, `e`),
  CONSTRAINT `c` CHECK (`a` > 0)
) ENGINE=Aria DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci PAGE_CHECKSUM=1 TRANSACTIONAL=1 WITH SYSTEM VERSIONING";
    assert_eq!(
        kinds(&parse(shown)),
        "column a, column u, column n, column t, column b, column j, column s, primary, Plain k, other, check"
    );
    let (sql, rewrites) = explicit(shown, "utf8mb4_general_ci", &[column("b", "utf8mb3", "utf8mb3_bin")]);
    assert!(sql.contains(
        "`b` varchar(9) /*!100301 COMPRESSED*/ CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL"
    ));
    assert!(sql.contains("`a` int(11) NOT NULL DEFAULT (nextval(`d`.`s`)),\n  `u` varchar(36) DEFAULT (uuid()) COMMENT 'DEFAULT x()',"));
    assert!(sql.contains(
        "DEFAULT current_timestamp() ON UPDATE current_timestamp(),\n  `t` text NOT NULL DEFAULT (''),"
    ));
    assert!(sql.contains("KEY `k` (`b`) INVISIBLE,"));
    assert_eq!(rewrites.len(), 4);

    let mut table = parse(shown);
    let names = CharsetNames::of_mariadb(101100);
    let explicit =
        Explicit { table_collation: "utf8mb4_general_ci", columns: &[], names, mariadb_target: true };
    assert_eq!(table.explicit(&explicit).unwrap().len(), 3);
    let sql = table.to_sql(&target());
    assert!(
        sql.contains("DEFAULT uuid()") && sql.contains("IGNORED") && sql.ends_with("WITH SYSTEM VERSIONING"),
        "{sql}"
    );
}

#[test]
fn unquoted_texts_are_read() {
    let shown = "CREATE TABLE t (\n  id int(11) NOT NULL,\n  period int,\n  PRIMARY KEY (id),\n  KEY k (period)\n) ENGINE=InnoDB";
    assert_eq!(kinds(&parse(shown)), "column id, column period, primary, Plain k");
}

#[test]
fn other_texts_are_refused() {
    for wrong in [
        "",
        "CREATE VIEW `v` AS SELECT 1",
        "CREATE TABLE `t` LIKE `u`",
        "CREATE TABLE `t` (",
        "CREATE TABLE `t` (`a` int",
        "CREATE TABLE `t` (`a` int) COMMENT=",
        "CREATE TABLE `t` (`a` int) COMMENT='x",
    ] {
        assert!(CreateTable::parse(wrong).is_err(), "{wrong}");
    }
}

proptest::proptest! {
    #[test]
    fn names_and_comments_survive(name in "[a`'\"\\\\,()/* 表#-]{1,8}", comment in "[a`'\"\\\\,()/* 表#-]{0,12}") {
        let quoted = crate::sql::quote::identifier(&name);
        let literal = crate::sql::quote::string_literal(&comment);
        let shown = format!(
            "CREATE TABLE {quoted} (\n  {quoted} int COMMENT {literal},\n  KEY {quoted} ({quoted})\n) ENGINE=InnoDB COMMENT={literal}"
        );
        let table = parse(&shown);
        proptest::prop_assert_eq!(table.name(), name.as_str());
        proptest::prop_assert_eq!(table.definitions().len(), 2);
        let sql = table.to_sql(&TableName::new("d", "t"));
        proptest::prop_assert_eq!(sql, shown.replacen(&quoted, "`d`.`t`", 1));
    }
}

#[test]
fn parents_whose_changes_change_rows() {
    let parent = |clause: &str| cascading_parent(clause, "d").map(|name| name.to_string());
    let clause = |rest: &str| format!("CONSTRAINT `ON DELETE CASCADE` FOREIGN KEY (`a`) REFERENCES {rest}");
    assert_eq!(parent(&clause("`p` (`id`)")), None);
    assert_eq!(parent(&clause("`p` (`id`) ON DELETE RESTRICT ON UPDATE NO ACTION")), None);
    assert_eq!(parent(&clause("`p` (`id`) ON UPDATE CASCADE")).as_deref(), Some("d.p"));
    assert_eq!(
        parent(&clause("`o`.`p` (`id`) ON DELETE SET NULL ON UPDATE RESTRICT")).as_deref(),
        Some("o.p")
    );
}
