//! Finds the tables in queries and in the bodies of stored programs.
use std::collections::HashSet;

use crate::sql::statement::NameRole;
use crate::sql::statement::parser::Parser;
use crate::sql::token::{TokenKind, Tokens};

/// What is known about the query in one pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// `FROM` means tables here, not a part of `EXTRACT(… FROM …)`.
    selects: bool,
    /// The table of a single-table DELETE may not have an alias.
    deletes: bool,
    /// Between `FROM` and what ends the list of tables.
    in_from: bool,
    /// A table must come next.
    expects: bool,
}

/// Words that end a list of tables.
const AFTER_FROM: [&str; 13] = [
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "WINDOW",
    "INTO",
    "PROCEDURE",
    "LOCK",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SET",
];

/// Words that may follow a table and are no alias.
const NO_ALIAS: [&str; 18] = [
    "JOIN",
    "INNER",
    "CROSS",
    "LEFT",
    "RIGHT",
    "NATURAL",
    "STRAIGHT_JOIN",
    "ON",
    "USING",
    "USE",
    "FORCE",
    "IGNORE",
    "FOR",
    "WITH",
    "PARTITION",
    "END",
    "DO",
    "THEN",
];

impl Parser<'_, '_> {
    /// Finds the tables of queries and of the statements in a stored program, from a token to the end.
    ///
    /// It follows parentheses and a handful of reserved words and does not parse expressions.
    pub(super) fn query(&mut self, from: usize) {
        let tokens = self.tokens;
        let common = common_tables(tokens, from);
        let mut frames = vec![Frame::default()];
        self.at = from;
        while let Some(token) = tokens.get(self.at) {
            let is_nested = frames.len() > 1;
            let Some(frame) = frames.last_mut() else { return };
            match token.kind {
                TokenKind::Punctuation(b'(') => {
                    let nested = Frame {
                        selects: frame.expects,
                        in_from: frame.expects,
                        expects: frame.expects,
                        deletes: false,
                    };
                    frame.expects = false;
                    frames.push(nested);
                }
                TokenKind::Punctuation(b')') if is_nested => {
                    frames.pop();
                }
                TokenKind::Punctuation(b',') => frame.expects = frame.in_from,
                TokenKind::Punctuation(b';') => *frame = Frame::default(),
                // A variable.
                TokenKind::Punctuation(b'@') => self.at += 1,
                TokenKind::Punctuation(_) => {}
                TokenKind::Text if !(frame.expects && tokens.text_of(self.at).starts_with('"')) => {}
                TokenKind::Word | TokenKind::QuotedName | TokenKind::Text => {
                    if frame.expects
                        && !tokens.is_any(self.at, &["SELECT", "WITH", "VALUES", "TABLE", "LATERAL"])
                    {
                        frame.expects = false;
                        let role = if frame.deletes { NameRole::Table } else { NameRole::Read };
                        self.table_of_query(role, &common);
                        continue;
                    }
                    if self.keyword(&mut frames) {
                        continue;
                    }
                }
            }
            self.at += 1;
        }
    }

    /// Reads one table of a `FROM`, unless it is a function, a common table expression or `DUAL`.
    fn table_of_query(&mut self, role: NameRole, common: &HashSet<String>) {
        let start = self.at;
        let is_function = self.tokens.is_punctuation(start + 1, b'(');
        let is_alone = !self.tokens.is_punctuation(start + 1, b'.');
        let is_no_table = self.tokens.is(start, "DUAL")
            || self.tokens.name(start).is_some_and(|name| common.contains(&name.to_lowercase()));
        if is_function || (is_alone && is_no_table) || self.name(role).is_none() {
            self.at = start + 1;
            return;
        }
        let mut after = self.at;
        if self.tokens.is(after, "PARTITION") && self.tokens.is_punctuation(after + 1, b'(') {
            after = self.tokens.after_group(after + 1);
        }
        let has_alias = self.tokens.get(after).is_some_and(|token| match token.kind {
            TokenKind::Word => {
                !self.tokens.is_any(after, &AFTER_FROM) && !self.tokens.is_any(after, &NO_ALIAS)
            }
            TokenKind::QuotedName => true,
            TokenKind::Text | TokenKind::Punctuation(_) => false,
        });
        if let Some(name) = self.names.last_mut() {
            name.has_alias = has_alias;
        }
    }

    /// Handles a keyword or a chain of names; returns whether it has moved on by itself.
    fn keyword(&mut self, frames: &mut [Frame]) -> bool {
        let tokens = self.tokens;
        let at = self.at;
        let Some(frame) = frames.last_mut() else { return false };
        if tokens.is_punctuation(at + 1, b'.') {
            self.name_chain();
            return true;
        }
        if tokens.is(at, "SELECT") {
            *frame = Frame { selects: true, ..Frame::default() };
        } else if tokens.is(at, "DELETE") {
            *frame = Frame { selects: true, deletes: true, ..Frame::default() };
        } else if tokens.is(at, "FROM") && frame.selects && !frame.in_from {
            (frame.in_from, frame.expects) = (true, true);
            // The tables of a multi-table DELETE stand before FROM, those after it may have aliases.
            let is_multiple =
                at > 0 && !tokens.is_any(at - 1, &["DELETE", "LOW_PRIORITY", "QUICK", "IGNORE"]);
            frame.deletes &= !is_multiple;
        } else if tokens.is_any(at, &["JOIN", "STRAIGHT_JOIN"]) {
            frame.expects = frame.in_from;
            frame.deletes = false;
        } else if tokens.is(at, "FOR") {
            let is_hint = at > 0
                && tokens.is_any(at - 1, &["INDEX", "KEY"])
                && tokens.is_any(at + 1, &["JOIN", "ORDER", "GROUP"]);
            if is_hint {
                self.at += 2;
                return true;
            }
            frame.in_from = false;
        } else if tokens.is_any(at, &["INSERT", "REPLACE"]) && !tokens.is_punctuation(at + 1, b'(') {
            self.at += 1;
            while self.skip_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"]) {}
            // `AFTER INSERT ON t` of a trigger, `INSERT` as an action of a privilege.
            if !tokens.is_any(self.at, &["ON"]) {
                let _ = self.name(NameRole::Table);
            }
            return true;
        } else if tokens.is(at, "UPDATE")
            && (at == 0 || !tokens.is_any(at - 1, &["KEY", "FOR", "ON", "BEFORE", "AFTER"]))
        {
            *frame = Frame { selects: true, in_from: true, expects: true, deletes: false };
            self.at += 1;
            while self.skip_any(&["LOW_PRIORITY", "IGNORE"]) {}
            return true;
        } else if tokens.is(at, "TRUNCATE") && !tokens.is_punctuation(at + 1, b'(') {
            self.at += 1;
            self.skip(&["TABLE"]);
            let _ = self.name(NameRole::Table);
            return true;
        } else if tokens.is(at, "CALL") {
            self.at += 1;
            let _ = self.name(NameRole::Stored);
            return true;
        } else if tokens.is_any(at, &AFTER_FROM) {
            frame.in_from = false;
        }
        false
    }

    /// Handles `a.b`, `a.b.c` and `a.b(…)` in an expression.
    fn name_chain(&mut self) {
        let start = self.at;
        let mut parts = 1;
        while self.tokens.is_punctuation(start + 2 * parts - 1, b'.')
            && self.tokens.name(start + 2 * parts).is_some()
        {
            parts += 1;
        }
        let role = if parts == 2 && self.tokens.is_punctuation(start + 3, b'(') {
            Some(NameRole::Stored)
        } else {
            let is_star = parts == 2 && self.tokens.is_punctuation(start + 3, b'.');
            (parts > 2 || is_star).then_some(NameRole::Column)
        };
        if let Some(role) = role {
            let _ = self.name(role);
        }
        // The parts and the dots between them; a lone dot after the first part goes with it.
        self.at = start + (2 * parts - 1).max(2);
    }
}

/// Returns the names of common table expressions, in lower case.
fn common_tables(tokens: &Tokens<'_>, from: usize) -> HashSet<String> {
    let mut names = HashSet::new();
    for with in (from..tokens.len()).filter(|at| tokens.is(*at, "WITH")) {
        let mut at = with + 1 + usize::from(tokens.is(with + 1, "RECURSIVE"));
        while let Some(name) = tokens.name(at) {
            let mut next = at + 1;
            if tokens.is_punctuation(next, b'(') {
                next = tokens.after_group(next);
            }
            if !tokens.is(next, "AS") || !tokens.is_punctuation(next + 1, b'(') {
                break;
            }
            names.insert(name.to_lowercase());
            at = tokens.after_group(next + 1);
            if !tokens.is_punctuation(at, b',') {
                break;
            }
            at += 1;
        }
    }
    names
}
