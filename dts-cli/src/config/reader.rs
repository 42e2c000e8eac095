//! Reads a TOML document key by key, so that every complaint names the key, its line and its column.
//!
//! A section is opened with the list of its keys; a key that is not in it is refused at once, with the closest one that
//! is, because a misspelt key explains best why another one is missing. The values of keys are shown only where they
//! cannot be a secret.
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::OnceLock;

use dts_core::error::{Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A document with the name by which people know it.
#[derive(Clone, Copy)]
pub(crate) struct Document<'d> {
    path: &'d Path,
    text: &'d str,
}

impl<'d> Document<'d> {
    pub(crate) fn new(path: &'d Path, text: &'d str) -> Self {
        Document { path, text }
    }

    /// Parses the text as TOML.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'d>>> {
        DeTable::parse(self.text).map_err(|error| {
            // Only the message: the parser's own display shows the line, which may hold a password.
            let place = self.place(error.span().unwrap_or_default());
            Error::invalid(format!("{place}: the text"), error.message(), "TOML (https://toml.io)")
        })
    }

    /// Reads a document that holds nothing but keys with texts.
    pub(crate) fn flat_texts(&self) -> Result<Vec<(String, String)>> {
        let table = self.parse()?;
        table
            .get_ref()
            .iter()
            .map(|(key, value)| match value.get_ref().as_str() {
                Some(text) => Ok((key.get_ref().to_string(), text.to_owned())),
                None => {
                    let what = format!("{}: {}", self.place(value.span()), key.get_ref());
                    Err(Error::invalid(what, described(value.get_ref()), "a text in quotes"))
                }
            })
            .collect()
    }

    /// Opens the table as the document's outermost section.
    pub(crate) fn root<'t>(&self, table: &'t Spanned<DeTable<'d>>, keys: Keys) -> Result<Section<'t, 'd>> {
        Section { document: *self, name: String::new(), at: 0..0, table: table.get_ref(), keys }
            .only_known_keys()
    }

    fn place(&self, span: Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}, line {line}, column {column}", self.path.display())
    }
}

/// The keys that a section may have.
pub(crate) type Keys = &'static [&'static str];

/// One table of the document.
pub(crate) struct Section<'t, 'd> {
    document: Document<'d>,
    name: String,
    at: Range<usize>,
    table: &'t DeTable<'d>,
    keys: Keys,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Range<usize>,
}

impl<'t, 'd> Section<'t, 'd> {
    /// Returns a complaint about a key's value.
    pub(crate) fn wrong(
        &self,
        key: &str,
        at: Range<usize>,
        actual: &str,
        expected: impl Into<String>,
    ) -> Error {
        let what = format!("{}: {}", self.document.place(at), self.path_of(key));
        Error::invalid(what, actual, expected.into())
    }

    /// Returns a complaint about a key that must be there.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> Error {
        self.wrong(key, self.at.clone(), "missing", expected)
    }

    fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'d>>> {
        debug_assert!(self.keys.contains(&key), "'{key}' is not among the keys of [{}]", self.name);
        self.table.get(key)
    }

    /// Reads a value through `convert`, which gets `None` for a value of another type.
    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'t DeValue<'d>) -> Option<T>,
    ) -> Result<Option<Placed<T>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match convert(value.get_ref()) {
            Some(converted) => Ok(Some(Placed { value: converted, at: value.span() })),
            None => Err(self.wrong(key, value.span(), described(value.get_ref()), expected)),
        }
    }

    /// Reads a text.
    pub(crate) fn string(&self, key: &str) -> Result<Option<Placed<String>>> {
        self.read(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// Reads a whole number of a range.
    pub(crate) fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let (least, most) = (*range.start(), *range.end());
        let expected = if most == u64::MAX {
            format!("a whole number from {least}")
        } else {
            format!("a whole number from {least} to {most}")
        };
        let Some(number) = self.read(key, &expected, |value| {
            value
                .as_integer()
                .map(|number| (number.to_string(), i128::from_str_radix(number.as_str(), number.radix())))
        })?
        else {
            return Ok(None);
        };
        let (text, parsed) = number.value;
        match parsed
            .ok()
            .and_then(|parsed| u64::try_from(parsed).ok())
            .filter(|parsed| range.contains(parsed))
        {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.wrong(key, number.at, &text, expected)),
        }
    }

    /// Reads a percentage above 0, whole or with a fraction.
    pub(crate) fn percent(&self, key: &str) -> Result<Option<f64>> {
        const EXPECTED: &str = "a percentage above 0, up to 100";
        let Some(number) = self.read(key, EXPECTED, |value| match value {
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            _ => None,
        })?
        else {
            return Ok(None);
        };
        match number.value.parse::<f64>().ok().filter(|parsed| *parsed > 0.0 && *parsed <= 100.0) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.wrong(key, number.at, &number.value, EXPECTED)),
        }
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        Ok(self.read(key, "true or false", DeValue::as_bool)?.map(|read| read.value))
    }

    /// Reads one of several words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", quoted(&names));
        let Some(word) = self.read(key, &expected, |value| value.as_str())? else { return Ok(None) };
        match choices.iter().find(|(name, _)| *name == word.value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let expected = match closest(word.value, &names) {
                    Some(name) => format!("'{name}' ({expected})"),
                    None => expected,
                };
                Err(self.wrong(key, word.at, word.value, expected))
            }
        }
    }

    /// Reads a list of texts; a missing key is an empty list.
    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>> {
        const EXPECTED: &str = "a list of texts, for example [\"shop\", \"crm_*\"]";
        let Some(list) = self.read(key, EXPECTED, DeValue::as_array)? else { return Ok(Vec::new()) };
        list.value
            .iter()
            .map(|item| match item.get_ref().as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(self.wrong(key, item.span(), described(item.get_ref()), EXPECTED)),
            })
            .collect()
    }

    /// Reads a table whose keys are free; a missing key is an empty table.
    pub(crate) fn pairs(&self, key: &str) -> Result<Vec<(String, String)>> {
        const EXPECTED: &str = "pairs of texts, for example { \"shop\" = \"shop_new\" }";
        let Some(table) = self.read(key, EXPECTED, DeValue::as_table)? else { return Ok(Vec::new()) };
        table
            .value
            .iter()
            .map(|(from, to)| match to.get_ref().as_str() {
                Some(text) => Ok((from.get_ref().to_string(), text.to_owned())),
                None => Err(self.wrong(key, to.span(), described(to.get_ref()), EXPECTED)),
            })
            .collect()
    }

    /// Opens a section; one that is not there is empty.
    pub(crate) fn section(&self, key: &str, keys: Keys) -> Result<Section<'t, 'd>> {
        static EMPTY: OnceLock<DeTable<'static>> = OnceLock::new();
        match self.optional_section(key, keys)? {
            Some(section) => Ok(section),
            None => {
                let table: &'t DeTable<'d> = EMPTY.get_or_init(DeTable::default);
                Ok(Section {
                    document: self.document,
                    name: self.path_of(key),
                    at: self.at.clone(),
                    table,
                    keys,
                })
            }
        }
    }

    /// Opens a section when it is there.
    pub(crate) fn optional_section(&self, key: &str, keys: Keys) -> Result<Option<Section<'t, 'd>>> {
        let table = self.read(key, "a section", DeValue::as_table)?;
        table.map(|table| self.inner(key, table.value, table.at, keys)).transpose()
    }

    /// Reads a value that is a text, or a section with `keys`.
    pub(crate) fn text_or_section(
        &self,
        key: &str,
        keys: Keys,
        expected: &str,
    ) -> Result<Option<TextOrSection<'t, 'd>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(TextOrSection::Text(text.to_string()))),
            DeValue::Table(table) => {
                Ok(Some(TextOrSection::Section(self.inner(key, table, value.span(), keys)?)))
            }
            other => Err(self.wrong(key, value.span(), described(other), expected)),
        }
    }

    fn inner(
        &self,
        key: &str,
        table: &'t DeTable<'d>,
        at: Range<usize>,
        keys: Keys,
    ) -> Result<Section<'t, 'd>> {
        Section { document: self.document, name: self.path_of(key), at, table, keys }.only_known_keys()
    }

    fn only_known_keys(self) -> Result<Self> {
        let unknown = self.table.keys().filter(|key| !self.keys.contains(&key.get_ref().as_ref()));
        let Some(first) = unknown.min_by_key(|key| key.span().start) else { return Ok(self) };
        let name = first.get_ref().as_ref();
        let all = if self.name.is_empty() {
            format!("one of the sections {}", quoted(self.keys))
        } else {
            format!("a key of [{}]: {}", self.name, self.keys.join(", "))
        };
        let expected = match closest(name, self.keys) {
            Some(known) => format!("'{}' ({all})", self.path_of(known)),
            None => all,
        };
        let what = format!("{}: unknown key; it", self.document.place(first.span()));
        Err(Error::invalid(what, self.path_of(name), expected))
    }
}

/// A value that is a text or a section.
pub(crate) enum TextOrSection<'t, 'd> {
    Text(String),
    Section(Section<'t, 'd>),
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

/// Returns the name that was probably meant.
fn closest<'n>(actual: &str, names: &[&'n str]) -> Option<&'n str> {
    let limit = (actual.chars().count() / 3).max(2);
    let distances = names.iter().map(|name| (distance(actual, name), *name));
    distances
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be put in, left out or changed to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let change = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("threads", "threads"), 0);
        assert_eq!(distance("thread", "threads"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(closest("thred", &["threads", "method"]), Some("threads"));
        assert_eq!(closest("unrelated", &["threads", "method"]), None);
    }

    #[test]
    fn places_count_from_one_in_characters() {
        let document = Document::new(Path::new("t.toml"), "é = 1\näö = 2\n");
        assert_eq!(document.place(0..1), "t.toml, line 1, column 1");
        assert_eq!(document.place("é = 1\näö".len()..20), "t.toml, line 2, column 3");
    }
}
