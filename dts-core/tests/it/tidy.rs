//! The walls of `ARCHITECTURE.md` stand, and the documents know every error code.
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let found = sources_below(folder);
    assert!(!found.is_empty(), "{} holds no sources: was it moved?", folder.display());
    found
}

fn sources_below(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Lines of code that hold `word`, outside of comments and of a file's tests.
fn lines_with(folder: &str, words: &[&str]) -> Vec<String> {
    let mut hits = Vec::new();
    for (path, text) in sources(&root().join(folder)) {
        if path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(word) = words.iter().find(|word| line.contains(*word)) {
                hits.push(format!("{}: {word}", path.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    hits
}

fn assert_none(what: &str, hits: &[String]) {
    assert!(hits.is_empty(), "{what}:\n{}", hits.join("\n"));
}

#[test]
fn tidy_pure_rooms_do_no_io() {
    for room in ["data", "binlog", "sql", "transform"] {
        let mut words =
            vec!["std::net", "std::fs", "std::thread", "crate::server", "crate::source", "crate::target"];
        if room != "sql" {
            // `sql::load` turns the cells of a packet into lines: the one value of `wire` that the pure rooms know.
            words.push("crate::wire");
        }
        assert_none("a pure room reaches out", &lines_with(&format!("dts-core/src/{room}"), &words));
    }
    assert_none("sql knows connections", &lines_with("dts-core/src/sql", &["wire::Connection"]));
}

#[test]
fn tidy_the_spool_knows_no_server() {
    let words = ["crate::wire", "crate::server", "crate::source", "crate::target", "std::net"];
    assert_none("the spool knows servers", &lines_with("dts-core/src/spool", &words));
}

#[test]
fn tidy_stages_do_not_know_each_other() {
    let stages =
        ["validator", "structure", "full_loader", "binlog_applier", "checker", "cutover", "accounts"];
    for stage in stages {
        let others: Vec<String> = stages
            .iter()
            .filter(|other| **other != stage && !(stage == "structure" && **other == "full_loader"))
            .map(|other| format!("crate::{other}"))
            .collect();
        let words: Vec<&str> = others.iter().map(String::as_str).chain(["crate::migration"]).collect();
        assert_none("a stage imports another", &lines_with(&format!("dts-core/src/{stage}"), &words));
    }
}

#[test]
fn tidy_the_library_keeps_to_itself() {
    let words = ["println!", "print!(", "std::env", "process::exit", "mysql::"];
    assert_none("the library reaches into the process", &lines_with("dts-core/src", &words));
}

#[test]
fn tidy_the_program_holds_no_sql() {
    let words = ["SELECT ", "INSERT INTO", "mysql::", "mysql_common"];
    let hits: Vec<String> =
        lines_with("dts-cli/src", &words).into_iter().filter(|hit| !hit.contains("/store/")).collect();
    assert_none("the program speaks SQL to a server", &hits);
}

#[test]
fn tidy_every_error_code_is_documented() {
    let error = fs::read_to_string(root().join("dts-core/src/error/kind.rs")).unwrap();
    let documented = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let block = error.split("pub fn code(&self)").nth(1).unwrap().split("pub fn recovery").next().unwrap();
    let codes: Vec<&str> = block
        .split("=> ")
        .skip(1)
        .map(|rest| &rest[..4])
        .filter(|code| code.chars().all(|c| c.is_ascii_digit()))
        .collect();
    assert!(codes.len() > 20, "the codes were not found");
    for code in codes {
        assert_eq!(documented.matches(&format!("## DTS-{code} ")).count(), 1, "DTS-{code} in docs/errors.md");
    }
}

/// Every test in the tables of docs/testing.md: `name` and `file::name` are functions, or what such a name begins with where a test
/// runs on several pairs of servers; what stands in brackets behind it is a word of that code.
#[test]
fn tidy_tests_that_documents_name_exist() {
    let text = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let tables = text.split_once("## What the nearest peer got wrong").expect("the tables of bugs").1;
    let folders = ["dts-core/src", "dts-core/tests", "dts-cli/src", "dts-cli/tests"];
    let code: Vec<(PathBuf, String)> =
        folders.iter().flat_map(|folder| sources(&root().join(folder))).collect();
    let is_there = |file: Option<&str>, text: &str| {
        code.iter().any(|(path, code)| {
            file.is_none_or(|file| path.file_stem().is_some_and(|stem| stem == file)) && code.contains(text)
        })
    };
    let mut seen = 0;
    for row in tables.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let mut in_brackets = false;
        for (place, part) in cell.split('`').enumerate() {
            if place % 2 == 0 {
                in_brackets = part.rfind('(') > part.rfind(')') || in_brackets && !part.contains(')');
                continue;
            }
            seen += 1;
            let (file, name) = match part.split_once("::") {
                Some((file, name)) => (Some(file), name),
                None => (None, part),
            };
            let found = match name.strip_suffix('*') {
                _ if in_brackets || name.contains('/') => is_there(None, name) || root().join(name).exists(),
                Some(start) => is_there(file, &format!("fn {start}")),
                None => is_there(file, &format!("fn {name}(")) || is_there(file, &format!("fn {name}_")),
            };
            assert!(found, "docs/testing.md names '{part}'");
        }
    }
    assert!(seen > 100, "the tests were not found: {seen}");
}

#[test]
fn tidy_links_in_documents_lead_somewhere() {
    let mut documents: Vec<PathBuf> =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    documents.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)),
    );
    for document in
        documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = document.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
        }
    }
}
