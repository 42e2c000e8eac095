//! What we take for equal keys against what servers do, over every collation that we say we know.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use dts_core::data::TextEquality;
use dts_testbed::{Server, ServerOptions, Version};
use mysql::prelude::Queryable;

use crate::support::{Dice, seed};

/// Letters that collations take for one another, ignore, expand, or turn into others.
const AWKWARD: [&str; 34] = [
    "é",
    "É",
    "e\u{301}",
    "ß",
    "ss",
    "SS",
    "\u{fb01}",
    "fi",
    "ı",
    "İ",
    "i\u{307}",
    "ſ",
    "\u{212a}",
    "Å",
    "å",
    "\u{212b}",
    "aa",
    "Æ",
    "ae",
    "ａ",
    "\0",
    "\t",
    "\u{7f}",
    "\u{200b}",
    "\u{ad}",
    "ー",
    "あ",
    "ア",
    "\u{1f600}",
    "\u{1f363}",
    "ü",
    "ue",
    "中",
    "Я",
];

fn texts(dice: &mut Dice) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let printable: Vec<char> = (' '..='~').collect();
    for character in &printable {
        texts.push(character.to_string());
        texts.push(format!("x{character}"));
        texts.push(format!("{character}x "));
    }
    // Two letters that some languages take for one.
    for pair in [
        "ch", "CH", "Ch", "ll", "LL", "dz", "lj", "nj", "ij", "oe", "ue", "cs", "gy", "sz", "zs", "th", "rr",
        "ng", "aa", "AA",
    ] {
        texts.push(pair.to_owned());
        texts.push(format!("a{pair}z"));
    }
    for _ in 0..120 {
        let mut text = String::new();
        for _ in 0..dice.roll(6) {
            let index = |sides: usize, dice: &mut Dice| usize::try_from(dice.roll(sides as u64)).unwrap();
            match dice.roll(4) {
                0 => text.push_str(AWKWARD[index(AWKWARD.len(), dice)]),
                1 => text.push(' '),
                _ => text.push(['a', 'A', 'e', 'E', 's', 'i', 'I', '-', '0'][index(9, dice)]),
            }
        }
        texts.push(text);
    }
    texts.extend(AWKWARD.iter().map(|text| (*text).to_owned()));
    texts
}

fn agrees_with_the_server(version: Version) {
    let mut dice = Dice(seed());
    let server = Server::start(ServerOptions::new(version)).unwrap();
    let mut connection = server.root();
    connection.query_drop("CREATE DATABASE k; USE k").unwrap();
    connection.query_drop("SET NAMES utf8mb4").unwrap();
    connection.query_drop("SET SESSION sql_mode = ''").unwrap();
    let collations: Vec<(String, String)> = connection
        .query(
            "SELECT COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE CHARACTER_SET_NAME IS NOT NULL",
        )
        .unwrap();
    let texts = texts(&mut dice);
    let mut insert = "INSERT INTO t VALUES ".to_owned();
    for (id, text) in texts.iter().enumerate() {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        write!(insert, "{}({id}, _utf8mb4 X'{hex}')", if id == 0 { "" } else { "," }).unwrap();
    }
    let (mut known, mut exact_pairs) = (0, 0);
    let mut wrong: BTreeMap<String, String> = BTreeMap::new();
    for (collation, charset) in collations {
        let equality = TextEquality::of_collation(&collation);
        if equality == TextEquality::Unknown {
            continue;
        }
        known += 1;
        connection
            .query_drop(format!(
                "CREATE TABLE t (id INT PRIMARY KEY, s VARCHAR(60) CHARACTER SET {charset} COLLATE {collation}, KEY (s), KEY p (s(2)))"
            ))
            .unwrap();
        connection.query_drop(&insert).unwrap();
        let stored: Vec<(usize, Vec<u8>)> = connection.query("SELECT id, CAST(s AS BINARY) FROM t").unwrap();
        for prefix in [None, Some(2)] {
            let side = |table: &str| match prefix {
                Some(count) => format!("LEFT({table}.s, {count})"),
                None => format!("{table}.s"),
            };
            let pairs: HashSet<(usize, usize)> = connection
                .query(format!(
                    "SELECT a.id, b.id FROM t a JOIN t b ON {} = {} WHERE a.id < b.id",
                    side("a"),
                    side("b")
                ))
                .unwrap()
                .into_iter()
                .collect();
            let identities: HashMap<usize, Vec<u8>> = stored
                .iter()
                .filter_map(|(id, text)| {
                    let mut into = Vec::new();
                    equality.push_identity(text, prefix, &mut into).then_some((*id, into))
                })
                .collect();
            assert!(identities.len() > 100, "{collation}: hardly anything is known");
            let show = |id: &usize| format!("{:?}", texts[*id]);
            for (one, other) in &pairs {
                if let (Some(first), Some(second)) = (identities.get(one), identities.get(other)) {
                    exact_pairs += 1;
                    if first != second {
                        let what = format!("{prefix:?}: the server takes {} for {}", show(one), show(other));
                        wrong.insert(collation.clone(), what);
                    }
                }
            }
            let mut by_identity: HashMap<&Vec<u8>, Vec<usize>> = HashMap::new();
            for (id, identity) in &identities {
                by_identity.entry(identity).or_default().push(*id);
            }
            for group in by_identity.values() {
                for one in group {
                    for other in group.iter().filter(|other| one < other) {
                        if !pairs.contains(&(*one, *other)) {
                            let what = format!("{prefix:?}: we take {} for {}", show(one), show(other));
                            wrong.insert(collation.clone(), what);
                        }
                    }
                }
            }
        }
        connection.query_drop("DROP TABLE t").unwrap();
    }
    eprintln!("{version}: {known} collations, {exact_pairs} pairs that are equal");
    assert!(wrong.is_empty(), "only one side thinks so: {wrong:#?}");
    assert!(known > 40 && exact_pairs > 1000);
}

#[test]
fn key_identity_agrees_with_5_6() {
    agrees_with_the_server(Version::Mysql56);
}

#[test]
fn key_identity_agrees_with_9_7() {
    agrees_with_the_server(Version::Mysql97);
}

#[test]
fn key_identity_agrees_with_mariadb() {
    agrees_with_the_server(Version::Mariadb1011);
}
