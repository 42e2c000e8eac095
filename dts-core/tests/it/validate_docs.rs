//! `docs/validation.md` lists every item as the validator itself describes it.
use std::fmt::Write;
use std::path::PathBuf;

use dts_core::validator::entries;

const BEGIN: &str = "<!-- items: begin (made from the items; DTS_WRITE_DOCS=1 cargo test -p dts-core --test it validat writes it) -->\n";
const END: &str = "<!-- items: end -->\n";

fn rendered() -> String {
    let mut text = String::new();
    let mut group = "";
    for entry in entries() {
        if entry.group != group {
            group = entry.group;
            let title = match group {
                "connection" => "Connection and identity",
                "version" => "Version",
                "upgrade" => "What the target's version no longer takes",
                "binlog" => "The source's binary log",
                "privileges" => "Privileges",
                "parameters" => "Settings of the servers",
                "objects" => "Objects",
                other => panic!("group {other} has no title"),
            };
            write!(text, "## {title} (`{group}`)\n\n").unwrap();
        }
        write!(text, "### `{}`\n\n{}\n\n", entry.id, entry.about).unwrap();
        match entry.not_ignorable {
            Some(because) => write!(text, "A failure cannot be ignored: {because}.\n\n").unwrap(),
            None => text.push_str("May be ignored (`validate.ignore`).\n\n"),
        }
    }
    text
}

#[test]
fn validation_md_lists_every_item() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/validation.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = text.find(BEGIN).unwrap() + BEGIN.len();
    let end = text.find(END).unwrap();
    if std::env::var_os("DTS_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{}{}", &text[..begin], rendered(), &text[end..])).unwrap();
        return;
    }
    assert!(text[begin..end] == rendered(), "docs/validation.md is not what the items say: write it anew");
}
