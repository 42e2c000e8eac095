//! When two texts are equal to a server, as far as that can be known without asking it.

/// How texts of one collation are told apart here.
///
/// Only what is certain: collations that are not in the lists below are [`Unknown`](Self::Unknown). The lists are verified against
/// real servers, in both directions, by the test `key_identity`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextEquality {
    /// Texts are equal when their bytes are.
    Bytes {
        /// Spaces at the end do not count (PAD SPACE).
        pad: bool,
        /// How characters are cut from the bytes, for prefixes.
        unit: CharacterUnit,
    },
    /// Texts of printable ASCII are equal when their bytes are; of others nothing is known.
    Ascii {
        /// Letters count without their case.
        fold: bool,
        /// Spaces at the end do not count (PAD SPACE).
        pad: bool,
    },
    /// Nothing is known.
    Unknown,
}

/// How many bytes a character has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CharacterUnit {
    /// One.
    Byte,
    /// As UTF-8 says.
    Utf8,
    /// One for ASCII; of others nothing is known.
    AsciiOnly,
}

/// Character sets of one byte a character, apart from those that put letters in the place of ASCII (`swe7`).
const SINGLE_BYTE: [&str; 25] = [
    "armscii8", "ascii", "cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "dec8",
    "geostd8", "greek", "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7",
    "macce", "macroman", "tis620", "binary",
];

const UTF8: [&str; 3] = ["utf8", "utf8mb3", "utf8mb4"];

/// Character sets in which a byte below 128 that begins a character is that ASCII character.
const MULTI_BYTE: [&str; 8] = ["big5", "cp932", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "ujis"];

/// Collations that see ASCII letters without their case and every other printable ASCII character as itself, apart from
/// `_general_ci`.
const ASCII_FOLDED: [&str; 3] = ["latin1_swedish_ci", "latin1_german1_ci", "latin1_danish_ci"];

/// Character sets whose `_general_ci` takes different printable ASCII characters for one, or tells some letter's cases apart:
/// `M` is `N` in macce, a grave accent is a space in koi8u, `J` is not `j` in cp866. (`gbk_chinese_ci`, `gb2312_chinese_ci` and
/// `big5_chinese_ci` have such pairs, too.)
const ODD_GENERAL: [&str; 5] = ["cp866", "geostd8", "koi8u", "latin7", "macce"];

/// The same, by what follows the character set's name, for UTF-8 only.
const UTF8_FOLDED: [&str; 4] = ["_unicode_ci", "_unicode_520_ci", "_0900_ai_ci", "_0900_as_ci"];

impl TextEquality {
    /// Looks a collation up by its name, for example `utf8mb4_general_ci`.
    pub fn of_collation(name: &str) -> Self {
        let Some(charset) = name.split('_').next() else { return Self::Unknown };
        let unit = if SINGLE_BYTE.contains(&charset) {
            CharacterUnit::Byte
        } else if UTF8.contains(&charset) {
            CharacterUnit::Utf8
        } else if MULTI_BYTE.contains(&charset) {
            CharacterUnit::AsciiOnly
        } else {
            // Characters of two or four bytes each, and those that are not known.
            return Self::Unknown;
        };
        let after_charset = &name[charset.len()..];
        match after_charset {
            "_bin" => Self::Bytes { pad: true, unit },
            "_nopad_bin" | "_0900_bin" => Self::Bytes { pad: false, unit },
            "_general_ci" | "_general_nopad_ci" if ODD_GENERAL.contains(&charset) => Self::Unknown,
            "_general_ci" => Self::Ascii { fold: true, pad: true },
            "_general_nopad_ci" => Self::Ascii { fold: true, pad: false },
            "_0900_as_cs" if unit == CharacterUnit::Utf8 => Self::Ascii { fold: false, pad: false },
            _ if unit == CharacterUnit::Utf8 && UTF8_FOLDED.contains(&after_charset) => {
                Self::Ascii { fold: true, pad: !after_charset.starts_with("_0900_") }
            }
            _ if ASCII_FOLDED.contains(&name) => Self::Ascii { fold: true, pad: true },
            _ => Self::Unknown,
        }
    }

    /// Appends bytes that are the same for two texts exactly when the server takes them, or their first `prefix` characters,
    /// for equal. Returns false, with `into` in any state, when that is not known.
    pub fn push_identity(self, text: &[u8], prefix: Option<u32>, into: &mut Vec<u8>) -> bool {
        match self {
            Self::Bytes { pad, unit } => {
                let Some(text) = cut(text, prefix, unit) else { return false };
                into.extend_from_slice(if pad { trimmed(text) } else { text });
                true
            }
            Self::Ascii { fold, pad } => {
                let Some(text) = cut(text, prefix, CharacterUnit::AsciiOnly) else { return false };
                if !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                    return false;
                }
                let text = if pad { trimmed(text) } else { text };
                let start = into.len();
                into.extend_from_slice(text);
                if fold {
                    into[start..].make_ascii_lowercase();
                }
                true
            }
            Self::Unknown => false,
        }
    }
}

fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

/// Returns the first `prefix` characters; `None` when it is not known how long they are.
fn cut(text: &[u8], prefix: Option<u32>, unit: CharacterUnit) -> Option<&[u8]> {
    let Some(count) = prefix.and_then(|prefix| usize::try_from(prefix).ok()) else { return Some(text) };
    if text.len() <= count {
        return Some(text);
    }
    match unit {
        CharacterUnit::Byte => Some(&text[..count]),
        CharacterUnit::Utf8 => {
            // Every byte but the continuations (10xxxxxx) begins a character.
            let end = text
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte & 0xC0 != 0x80)
                .map(|(place, _)| place)
                .nth(count);
            Some(&text[..end.unwrap_or(text.len())])
        }
        CharacterUnit::AsciiOnly => text[..count].is_ascii().then(|| &text[..count]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(collation: &str, text: &[u8], prefix: Option<u32>) -> Option<Vec<u8>> {
        let mut into = Vec::new();
        TextEquality::of_collation(collation).push_identity(text, prefix, &mut into).then_some(into)
    }

    #[test]
    fn only_what_is_certain() {
        for (collation, text, prefix, expected) in [
            ("utf8mb4_general_ci", "ABC  ".as_bytes(), None, Some("abc".as_bytes())),
            ("utf8mb4_0900_ai_ci", b"ABC  ", None, Some(b"abc  ")),
            ("utf8mb4_0900_as_cs", b"ABC", None, Some(b"ABC")),
            ("utf8mb4_bin", "\u{e4}  ".as_bytes(), None, Some("\u{e4}".as_bytes())),
            ("utf8mb4_0900_bin", b"a ", None, Some(b"a ")),
            ("utf8mb4_bin", "\u{e4}\u{1f600}x".as_bytes(), Some(2), Some("\u{e4}\u{1f600}".as_bytes())),
            ("latin1_bin", b"\xe4\xf6x", Some(2), Some(b"\xe4\xf6")),
            ("gbk_bin", b"\xe4\xf6x", Some(2), None),
            ("gbk_bin", b"\xe4\xf6x", None, Some(b"\xe4\xf6x")),
            ("utf8mb3_unicode_ci", "\u{e4}".as_bytes(), None, None),
            ("utf8mb3_unicode_ci", "ab\u{e4}".as_bytes(), Some(2), Some(b"ab")),
            ("utf8mb4_general_ci", b"a\0", None, None),
            ("utf8mb4_general_ci", b"a\x7f", None, None),
            ("utf8mb4_turkish_ci", b"a", None, None),
            ("utf8mb4_roman_ci", b"a", None, None),
            ("macce_general_ci", b"m", None, None),
            ("swe7_bin", b"a", None, None),
            ("utf16_bin", b"\0a", None, None),
            ("", b"a", None, None),
        ] {
            assert_eq!(
                identity(collation, text, prefix).as_deref(),
                expected,
                "{collation} {prefix:?} {text:?}"
            );
        }
    }
}
