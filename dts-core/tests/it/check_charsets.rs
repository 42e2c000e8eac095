//! Every character set that both servers have: equal bytes are same, and one wrong byte is found with its key.
use std::collections::BTreeSet;

use dts_core::checker::{
    CheckMethod, CheckOptions, CheckProgress, CheckReport, Checker, NothingApplies, TablePair,
};
use dts_core::data::TableName;
use dts_core::source::{SourceEndpoint, SourceOptions};
use dts_core::stop::StopToken;
use dts_core::target::{TargetEndpoint, TargetOptions};
use dts_testbed::Server;

use crate::support::{Generation, Pair, connection};

/// Key, three values and a label, in HEX.
type HexRow = (String, Option<String>, Option<String>, Option<String>, Option<String>);

fn charsets(server: &Server) -> BTreeSet<String> {
    let names: Vec<String> = server.query("SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS");
    names.into_iter().map(|name| name.replace("utf8mb3", "utf8")).filter(|name| name != "binary").collect()
}

fn check(pair: &Pair, tables: &[String], method: CheckMethod) -> CheckReport {
    let stop = StopToken::new();
    let source = SourceEndpoint::connect(SourceOptions::new(connection(&pair.source)), &stop).unwrap();
    let target = TargetEndpoint::connect(TargetOptions::new(connection(&pair.target)), &stop).unwrap();
    let pairs = tables.iter().map(|table| TablePair::same(TableName::new("c", table))).collect();
    let mut options = CheckOptions::default();
    options.method = method;
    options.chunk_rows = 2;
    Checker::new(&source, &target, pairs, options, &NothingApplies).run(&stop, &CheckProgress::new()).unwrap()
}

#[test]
fn check_of_every_character_set() {
    let pair = Pair::start(Generation::Old);
    let common: Vec<String> = charsets(&pair.source).intersection(&charsets(&pair.target)).cloned().collect();
    assert!(common.len() >= 38, "{common:?}");
    let mut sql = "SET NAMES utf8mb4; SET sql_mode = ''; CREATE DATABASE c; USE c;".to_owned();
    for name in &common {
        // The key is text of the character set, too; what it does not have becomes '?'. Raw bytes go in as they are.
        sql += &format!(
            "CREATE TABLE t_{name} (k VARCHAR(20) CHARACTER SET {name} PRIMARY KEY, v VARCHAR(60) CHARACTER SET {name}, w TEXT CHARACTER SET {name},
               e ENUM('a','b') CHARACTER SET {name}, c CHAR(9) CHARACTER SET {name});
             INSERT IGNORE INTO t_{name} VALUES ('a','plain','a''b\\\\c ','a','x '), ('b','é ü ß','中文 テスト','b',''), ('Z',NULL,'',NULL,NULL), ('é','日本','😀',2,'ñ'),
               ('1','Ж','א','a','ก');"
        );
    }
    pair.source.exec(&sql);
    // The two servers do not convert all characters alike: the target gets the source's bytes.
    pair.target.exec("SET sql_mode = ''; CREATE DATABASE c");
    for name in &common {
        let (_, create): (String, String) = pair.source.query_one(&format!("SHOW CREATE TABLE c.t_{name}"));
        let rows: Vec<HexRow> =
            pair.source.query(&format!("SELECT HEX(k), HEX(v), HEX(w), e+0, HEX(c) FROM c.t_{name}"));
        let bytes = |hex: &Option<String>| hex.as_ref().map_or("NULL".to_owned(), |hex| format!("x'{hex}'"));
        let rows: Vec<String> = rows
            .iter()
            .map(|(k, v, w, e, c)| {
                let label = e.clone().unwrap_or_else(|| "NULL".into());
                format!("(x'{k}',{},{},{label},{})", bytes(v), bytes(w), bytes(c))
            })
            .collect();
        pair.target.exec(&format!(
            "SET sql_mode = ''; USE c; {create}; INSERT INTO t_{name} VALUES {}",
            rows.join(",")
        ));
    }
    let tables: Vec<String> = common.iter().map(|name| format!("t_{name}")).collect();
    for method in [CheckMethod::Digest, CheckMethod::Stream] {
        for table in check(&pair, &tables, method).tables {
            assert_eq!(
                (table.differences, &table.incomplete, &table.skipped),
                (vec![], &None, &None),
                "{}",
                table.source
            );
            assert!(table.rows_compared >= 4);
        }
    }
    // One byte of one value, in the column's own bytes.
    for name in &common {
        pair.target.exec(&format!(
            "SET sql_mode = ''; UPDATE c.t_{name} SET v = CONVERT('plaim' USING {name}) WHERE k = CONVERT('a' USING {name})"
        ));
    }
    for method in [CheckMethod::Digest, CheckMethod::Stream] {
        for table in check(&pair, &tables, method).tables {
            assert_eq!(table.differences_count, 1, "{}", table.source);
            assert_eq!(table.differences[0].columns, ["v"], "{}", table.source);
        }
    }
}
