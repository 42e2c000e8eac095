//! Splits the text into its parts.
use super::{Definition, DefinitionKind, IndexClass, TableOption};
use crate::data::TableName;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::token::{Dialect, TokenKind, Tokens};

impl Definition {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let tokens =
            Tokens::new(text, Dialect::default()).ok_or_else(|| not_understood("a quote is not closed"))?;
        let kind = definition_kind(&tokens).ok_or_else(|| not_understood("a definition has no name"))?;
        Ok(Definition { kind, text: text.to_owned() })
    }
}

fn definition_kind(tokens: &Tokens<'_>) -> Option<DefinitionKind> {
    let mut at = 0;
    let mut constraint = None;
    if tokens.is(0, "CONSTRAINT") {
        at = 1;
        if !tokens.is_any(1, &["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
            constraint = Some(tokens.name(1)?);
            at = 2;
        }
    }
    if tokens.are(at, &["PRIMARY", "KEY"]) {
        return Some(DefinitionKind::PrimaryKey { columns: index_columns(tokens, at + 2) });
    }
    if tokens.are(at, &["FOREIGN", "KEY"]) {
        let (range, parent) = find_parent(tokens, "")?;
        let database = (range.len() > 1).then_some(parent.database);
        return Some(DefinitionKind::ForeignKey { name: constraint, database, table: parent.table });
    }
    if tokens.is(at, "CHECK") {
        return Some(DefinitionKind::Check);
    }
    if tokens.are(at, &["PERIOD", "FOR"]) {
        return Some(DefinitionKind::Other);
    }
    let words = (at..).take_while(|index| tokens.is_any(*index, &INDEX_WORDS)).count();
    let is_index = tokens.is_any(at, &["UNIQUE", "FULLTEXT", "SPATIAL"])
        || (at..at + words).any(|index| tokens.is_any(index, &["KEY", "INDEX"]));
    if !is_index {
        return Some(DefinitionKind::Column { name: tokens.name(at)? });
    }
    let class = match tokens.word(at).to_ascii_uppercase().as_str() {
        "UNIQUE" => IndexClass::Unique,
        "FULLTEXT" => IndexClass::FullText,
        "SPATIAL" => IndexClass::Spatial,
        "VECTOR" => IndexClass::Vector,
        _ => IndexClass::Plain,
    };
    at += words;
    let is_named = !tokens.is_punctuation(at, b'(') && !tokens.is(at, "USING");
    let name = if is_named { tokens.name(at)? } else { constraint.unwrap_or_default() };
    Some(DefinitionKind::Index { name, class, columns: index_columns(tokens, at) })
}

const INDEX_WORDS: [&str; 7] = ["UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "CLUSTERING", "KEY", "INDEX"];

/// Returns the columns of the first list in parentheses from `at` on, `None` for an expression.
fn index_columns(tokens: &Tokens<'_>, at: usize) -> Vec<Option<String>> {
    let Some(open) = (at..tokens.len()).find(|index| tokens.is_punctuation(*index, b'(')) else {
        return Vec::new();
    };
    let close = tokens.after_group(open) - 1;
    split_list(tokens, open + 1, close).map(|part| tokens.name(part.start)).collect()
}

/// Splits tokens at the commas outside parentheses.
pub(super) fn split_list(
    tokens: &Tokens<'_>,
    from: usize,
    to: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (from, from);
    while at < to {
        if tokens.is_punctuation(at, b',') {
            parts.push(start..at);
            start = at + 1;
        }
        at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
    }
    parts.push(start..to);
    parts.into_iter().filter(|part| !part.is_empty())
}

pub(super) fn parse_options(tokens: &Tokens<'_>, from: usize) -> Result<(Vec<TableOption>, Option<String>)> {
    let mut options = Vec::new();
    let mut at = from;
    while let Some(first) = tokens.get(at) {
        if matches!(first.kind, TokenKind::Punctuation(b',' | b';')) {
            at += 1;
            continue;
        }
        let version = first
            .comment
            .map(|index| &tokens.comments[index])
            .map(|c| tokens.text[c.start..c.contents].to_owned());
        if tokens.are(at, &["PARTITION", "BY"]) {
            let rest = tokens.text[first.start..].trim_end_matches(|c: char| c.is_whitespace() || c == ';');
            let partition = version.map_or_else(|| rest.to_owned(), |version| format!("{version} {rest}"));
            return Ok((options, Some(partition)));
        }
        let start = first.start;
        if tokens.is(at, "DEFAULT") {
            at += 1;
        }
        let (name, words, has_value) = if tokens.are(at, &["CHARACTER", "SET"]) {
            ("CHARSET".to_owned(), 2, true)
        } else if tokens.are(at, &["START", "TRANSACTION"]) {
            ("START TRANSACTION".to_owned(), 2, false)
        } else if tokens.are(at, &["WITH", "SYSTEM", "VERSIONING"]) {
            ("SYSTEM VERSIONING".to_owned(), 3, false)
        } else if tokens.is_any(at, &["DATA", "INDEX"]) && tokens.is(at + 1, "DIRECTORY") {
            (format!("{} DIRECTORY", tokens.word(at).to_ascii_uppercase()), 2, true)
        } else {
            // MariaDB quotes the options of an engine.
            let name = tokens.name(at).ok_or_else(|| not_understood("a table option has no name"))?;
            (name.to_ascii_uppercase(), 1, true)
        };
        at += words;
        if tokens.is_punctuation(at, b'=') {
            at += 1;
        }
        let value_start = at;
        if has_value {
            at = if tokens.is_punctuation(at, b'(') { tokens.after_group(at) } else { at + 1 };
        }
        let end = tokens.get(at - 1).ok_or_else(|| not_understood("a table option has no value"))?.end;
        let value =
            tokens.get(value_start).filter(|_| has_value).map_or("", |value| &tokens.text[value.start..end]);
        options.push(TableOption {
            name,
            value: value.to_owned(),
            text: tokens.text[start..end].to_owned(),
            version,
        });
    }
    Ok((options, None))
}

/// Returns the tokens of the name after `REFERENCES`, and the name.
pub(super) fn find_parent(
    tokens: &Tokens<'_>,
    database: &str,
) -> Option<(std::ops::Range<usize>, TableName)> {
    let at = (0..tokens.len()).find(|index| tokens.is(*index, "REFERENCES"))? + 1;
    let first = tokens.name(at)?;
    if tokens.is_punctuation(at + 1, b'.') {
        return Some((at..at + 3, TableName::new(first, tokens.name(at + 2)?)));
    }
    Some((at..at + 1, TableName::new(database, first)))
}

pub(super) fn not_understood(why: &str) -> Error {
    ErrorKind::Protocol { what: format!("the text of SHOW CREATE TABLE is not understood: {why}") }.into()
}
