//! Splits statement text into tokens, as far as names and kinds need it.
//!
//! Works on the text as the server reads it: three kinds of quotes with doubling and backslashes, comments of all kinds,
//! and version comments (`/*!80023 … */`, MariaDB's `/*M! … */`), whose contents are SQL. Version comments numbered 99990 to
//! 99999 hold what only a provider's own server understands (PolarDB and others write them) and are skipped.
//!
//! Offsets are bytes. Everything that ends a token is ASCII, so each offset is at a character's border.
use std::ops::Range;

use crate::sql::quote;

/// The parts of `sql_mode` that change how text is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dialect {
    /// `ANSI_QUOTES`: double quotes hold names, not strings.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: a backslash in a string stands for itself.
    pub no_backslash_escapes: bool,
}

impl Dialect {
    /// Takes the two flags from the `sql_mode` number that a Query event carries.
    pub fn of_sql_mode(sql_mode: u64) -> Self {
        // MODE_ANSI_QUOTES and MODE_NO_BACKSLASH_ESCAPES of the server, the same since 5.0, MariaDB included.
        Dialect { ansi_quotes: sql_mode & (1 << 2) != 0, no_backslash_escapes: sql_mode & (1 << 20) != 0 }
    }
}

/// What a [`Lexeme`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LexemeKind {
    /// A keyword, an unquoted name, a number.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    QuotedName,
    /// A string.
    Text,
    /// Any other single byte.
    Punctuation,
}

/// A piece of SQL text, as written, with its place in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lexeme<'a> {
    /// What it is.
    pub kind: LexemeKind,
    /// As it is written, quotes included.
    pub text: &'a str,
    /// Where it begins.
    pub start: usize,
}

/// Splits SQL text into pieces, comments left out; `None` when a quote or comment is not closed.
///
/// # Examples
/// ```
/// use dts_core::sql::{Dialect, lexemes};
///
/// let pieces = lexemes("SELECT `rank` /* of */ FROM t", Dialect::default()).unwrap();
/// assert_eq!(pieces.iter().map(|piece| piece.text).collect::<Vec<_>>(), ["SELECT", "`rank`", "FROM", "t"]);
/// ```
pub fn lexemes(text: &str, dialect: Dialect) -> Option<Vec<Lexeme<'_>>> {
    let tokens = Tokens::new(text, dialect)?;
    let lexeme = |token: &Token| Lexeme {
        kind: match token.kind {
            TokenKind::Word => LexemeKind::Word,
            TokenKind::QuotedName => LexemeKind::QuotedName,
            TokenKind::Text => LexemeKind::Text,
            TokenKind::Punctuation(_) => LexemeKind::Punctuation,
        },
        text: &text[token.start..token.end],
        start: token.start,
    };
    Some(tokens.tokens.iter().map(lexeme).collect())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenKind {
    /// A keyword, an unquoted name, a number, a character set introducer.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    QuotedName,
    /// A string in single or double quotes.
    Text,
    /// Any other single byte.
    Punctuation(u8),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The version comment that it stands in, as an index of [`Tokens::comments`].
    pub(super) comment: Option<usize>,
}

/// One version comment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct VersionComment {
    /// Where `/*!` begins.
    pub(super) start: usize,
    /// Where the contents begin, after the number.
    pub(super) contents: usize,
    /// After `*/`.
    pub(super) end: usize,
}

/// A text and its tokens.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token>,
    pub(super) comments: Vec<VersionComment>,
}

impl<'a> Tokens<'a> {
    /// Splits a text; `None` when a quote or a comment is not closed.
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Option<Self> {
        let mut tokens = Tokens { text, tokens: Vec::new(), comments: Vec::new() };
        let bytes = text.as_bytes();
        let mut open_comment = None;
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            let rest = &bytes[at..];
            let start = at;
            let kind = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                    at += 1;
                    continue;
                }
                b'#' => {
                    at += end_of_line(rest);
                    continue;
                }
                b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(|byte| *byte <= b' ') => {
                    at += end_of_line(rest);
                    continue;
                }
                b'/' if rest.starts_with(b"/*") => {
                    match version_comment_length(rest) {
                        Some(length) if open_comment.is_none() => {
                            open_comment = Some(tokens.comments.len());
                            tokens.comments.push(VersionComment {
                                start,
                                contents: at + length,
                                end: bytes.len(),
                            });
                            at += length;
                        }
                        // A version comment inside another is a plain comment to the server.
                        _ => at += 4 + find(rest.get(2..)?, b"*/")?,
                    }
                    continue;
                }
                b'*' if open_comment.is_some() && rest.starts_with(b"*/") => {
                    at += 2;
                    if let Some(index) = open_comment.take() {
                        tokens.comments[index].end = at;
                    }
                    continue;
                }
                b'`' => {
                    at += quoted_length(rest, false)?;
                    TokenKind::QuotedName
                }
                b'"' if dialect.ansi_quotes => {
                    at += quoted_length(rest, false)?;
                    TokenKind::QuotedName
                }
                b'\'' | b'"' => {
                    at += quoted_length(rest, !dialect.no_backslash_escapes)?;
                    TokenKind::Text
                }
                byte if is_word_byte(byte) => {
                    at += rest.iter().position(|byte| !is_word_byte(*byte)).unwrap_or(rest.len());
                    TokenKind::Word
                }
                other => {
                    at += 1;
                    TokenKind::Punctuation(other)
                }
            };
            tokens.tokens.push(Token { kind, start, end: at, comment: open_comment });
        }
        open_comment.is_none().then_some(tokens)
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Token> {
        self.tokens.get(index)
    }

    /// Returns the text of a token; empty past the end.
    pub(super) fn text_of(&self, index: usize) -> &'a str {
        self.get(index).map_or("", |token| &self.text[token.start..token.end])
    }

    /// Returns the token when it is an unquoted word; empty otherwise.
    pub(super) fn word(&self, index: usize) -> &'a str {
        if self.get(index).is_some_and(|token| token.kind == TokenKind::Word) {
            self.text_of(index)
        } else {
            ""
        }
    }

    /// Returns whether the token is this keyword.
    pub(super) fn is(&self, index: usize, keyword: &str) -> bool {
        self.word(index).eq_ignore_ascii_case(keyword)
    }

    /// Returns whether the token is one of these keywords.
    pub(super) fn is_any(&self, index: usize, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is(index, keyword))
    }

    /// Returns whether these keywords follow each other from `index` on.
    pub(super) fn are(&self, index: usize, keywords: &[&str]) -> bool {
        keywords.iter().enumerate().all(|(offset, keyword)| self.is(index + offset, keyword))
    }

    pub(super) fn is_punctuation(&self, index: usize, byte: u8) -> bool {
        self.get(index).is_some_and(|token| token.kind == TokenKind::Punctuation(byte))
    }

    pub(super) fn is_text(&self, index: usize) -> bool {
        self.get(index).is_some_and(|token| token.kind == TokenKind::Text)
    }

    /// Returns the name that a token stands for, where a name must stand: double quotes count as a name here.
    pub(super) fn name(&self, index: usize) -> Option<String> {
        let token = self.get(index)?;
        let text = &self.text[token.start..token.end];
        match token.kind {
            TokenKind::Word => Some(text.to_owned()),
            TokenKind::QuotedName => quote::unquote_identifier(text),
            TokenKind::Text if text.starts_with('"') => quote::unquote_identifier(text),
            TokenKind::Text | TokenKind::Punctuation(_) => None,
        }
    }

    /// Returns the index after the parenthesis that closes the one at `index`, or the end when it is never closed.
    pub(super) fn after_group(&self, index: usize) -> usize {
        let mut depth = 0_usize;
        let mut at = index;
        while let Some(token) = self.get(at) {
            match token.kind {
                TokenKind::Punctuation(b'(') => depth += 1,
                TokenKind::Punctuation(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        at
    }

    /// Returns the bytes that tokens take, with the whole of each version comment that begins or ends among them.
    pub(super) fn span(&self, tokens: Range<usize>) -> Range<usize> {
        let (Some(first), Some(last)) =
            (self.get(tokens.start), tokens.end.checked_sub(1).and_then(|last| self.get(last)))
        else {
            return 0..0;
        };
        let begins_comment = tokens.start == 0 || self.tokens[tokens.start - 1].comment != first.comment;
        let ends_comment = self.get(tokens.end).is_none_or(|next| next.comment != last.comment);
        let start = match first.comment {
            Some(comment) if begins_comment => self.comments[comment].start,
            _ => first.start,
        };
        let end = match last.comment {
            Some(comment) if ends_comment => self.comments[comment].end,
            _ => last.end,
        };
        start..end
    }

    /// Returns the text that [`Tokens::span`] covers.
    pub(super) fn slice(&self, tokens: Range<usize>) -> &'a str {
        &self.text[self.span(tokens)]
    }
}

/// Replacements in a text.
#[derive(Debug, Default)]
pub(super) struct Edits {
    edits: Vec<(Range<usize>, String)>,
}

impl Edits {
    pub(super) fn replace(&mut self, span: Range<usize>, by: impl Into<String>) {
        self.edits.push((span, by.into()));
    }

    /// Returns the text with all replacements made; of two that overlap the first in the text wins.
    pub(super) fn apply(mut self, text: &str) -> String {
        self.edits.sort_by_key(|(span, _)| (span.start, span.end));
        let mut edited = String::with_capacity(text.len() + 64);
        let mut copied = 0;
        for (span, by) in self.edits {
            if span.start < copied {
                continue;
            }
            edited.push_str(&text[copied..span.start]);
            edited.push_str(&by);
            copied = span.end;
        }
        edited.push_str(&text[copied..]);
        edited
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn end_of_line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
}

fn find(rest: &[u8], wanted: &[u8]) -> Option<usize> {
    rest.windows(wanted.len()).position(|window| window == wanted)
}

/// Returns the length of the opening of a version comment (`/*!50100`); `None` for a comment that holds no SQL.
fn version_comment_length(rest: &[u8]) -> Option<usize> {
    let prefix = if rest.starts_with(b"/*!") {
        3
    } else if rest.starts_with(b"/*M!") {
        4
    } else {
        return None;
    };
    let digits = rest[prefix..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    // Fewer than five digits are no version.
    let digits = if digits < 5 { 0 } else { digits };
    let number =
        rest[prefix..prefix + digits].iter().fold(0_u32, |sum, digit| 10 * sum + u32::from(digit - b'0'));
    let is_private = (99_990..=99_999).contains(&number) || number == 999_999;
    (!is_private).then_some(prefix + digits)
}

/// Returns the length of a quoted token, its quotes included.
fn quoted_length(rest: &[u8], has_escapes: bool) -> Option<usize> {
    let quote = *rest.first()?;
    let mut at = 1;
    loop {
        match *rest.get(at)? {
            b'\\' if has_escapes => at += 2,
            byte if byte == quote => {
                if rest.get(at + 1) != Some(&quote) {
                    return Some(at + 1);
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let tokens = Tokens::new(text, Dialect::default()).unwrap();
        (0..tokens.len()).map(|index| tokens.text_of(index)).collect()
    }

    #[test]
    fn comments_are_no_tokens_and_version_comments_are_transparent() {
        assert_eq!(split("a -- x\nb--c # d\n/* e ' */ f"), ["a", "b", "-", "-", "c", "f"]);
        assert_eq!(
            split("a /*!50100 b `*/` */ c /*! d*/ /*M!100203 e */"),
            ["a", "b", "`*/`", "c", "d", "e"]
        );
        assert_eq!(split("a /*!99990 800020201 b */ c/*!999999\\- d */"), ["a", "c"]);
        assert_eq!(split("a --"), ["a"]);
        assert_eq!(split("SELECT 2 */* x */ 3"), ["SELECT", "2", "*", "3"]);
    }

    #[test]
    fn quotes_hold_everything() {
        assert_eq!(split(r"'a''b\'c' `a``b\` x"), [r"'a''b\'c'", r"`a``b\`", "x"]);
        assert_eq!(split("订单.`客户`"), ["订单", ".", "`客户`"]);
        for open in ["'a", "`a", "\"a", "/* a", "/*!50100 a", "'a\\'", "'a''"] {
            assert!(Tokens::new(open, Dialect::default()).is_none(), "{open}");
        }
    }

    #[test]
    fn the_sql_mode_changes_quotes() {
        let dialect = Dialect::of_sql_mode((1 << 2) | (1 << 20));
        let tokens = Tokens::new(r#"'\' "a""b\""#, dialect).unwrap();
        assert_eq!((tokens.text_of(0), tokens.name(1).unwrap().as_str()), (r"'\'", r#"a"b\"#));
    }

    proptest! {
        #[test]
        fn any_text_is_split_or_refused(text in "[a-c`'\"\\\\/*!# \n.(),;0-9é-]{0,40}") {
            if let Some(tokens) = Tokens::new(&text, Dialect::default()) {
                let mut end = 0;
                for index in 0..tokens.len() {
                    let token = tokens.get(index).unwrap();
                    prop_assert!(token.start >= end && token.end > token.start);
                    end = token.end;
                    tokens.name(index);
                    tokens.span(index..index + 1);
                    tokens.after_group(index);
                }
            }
        }
    }
}
