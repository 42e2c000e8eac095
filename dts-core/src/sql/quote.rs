//! Quoting and escaping, for every name and value that goes into a statement. Nothing else in dts escapes anything.
//!
//! Literals are written for a session where `NO_BACKSLASH_ESCAPES` and `ANSI_QUOTES` are off and `character_set_client` is
//! `binary` or a character set in which every byte below 0x80 is ASCII (never gbk, sjis, big5, cp932, gb18030: their
//! second bytes may look like a backslash).
use crate::data::TableName;

/// Returns a name in backticks, each backtick in it doubled.
pub fn identifier(name: &str) -> String {
    let mut sql = String::with_capacity(name.len() + 2);
    sql.push('`');
    for character in name.chars() {
        if character == '`' {
            sql.push('`');
        }
        sql.push(character);
    }
    sql.push('`');
    sql
}

/// Appends what [`identifier`] returns.
pub fn push_identifier(sql: &mut Vec<u8>, name: &str) {
    sql.reserve(name.len() + 2);
    sql.push(b'`');
    for byte in name.bytes() {
        if byte == b'`' {
            sql.push(b'`');
        }
        sql.push(byte);
    }
    sql.push(b'`');
}

/// Returns `` `database`.`table` ``.
pub fn table(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.database), identifier(&name.table))
}

/// Appends what [`table`] returns.
pub fn push_table(sql: &mut Vec<u8>, name: &TableName) {
    push_identifier(sql, &name.database);
    sql.push(b'.');
    push_identifier(sql, &name.table);
}

/// Returns a list of names in backticks, separated by `, `.
pub fn identifiers<I>(names: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    names.into_iter().map(|name| identifier(name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// What follows the backslash when a byte is escaped; 0 for a byte that stands for itself.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    table[0] = b'0';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[0x1a] = b'Z';
    table[b'\\' as usize] = b'\\';
    table[b'\'' as usize] = b'\'';
    table
};

/// Appends `'…'` with backslash escapes for NUL, line feed, carriage return, Control-Z, backslash and quote.
///
/// The bytes are the value's own, in whatever character set; all others are copied as they are.
pub fn push_string_literal(sql: &mut Vec<u8>, bytes: &[u8]) {
    sql.reserve(bytes.len() + 2);
    sql.push(b'\'');
    let mut copied = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let escape = ESCAPE[usize::from(*byte)];
        if escape != 0 {
            sql.extend_from_slice(&bytes[copied..index]);
            sql.extend_from_slice(&[b'\\', escape]);
            copied = index + 1;
        }
    }
    sql.extend_from_slice(&bytes[copied..]);
    sql.push(b'\'');
}

/// Returns the literal of a text that dts itself made (a name in a `WHERE` of information_schema, a comment).
pub fn string_literal(text: &str) -> String {
    let mut sql = Vec::with_capacity(text.len() + 2);
    push_string_literal(&mut sql, text.as_bytes());
    // Escaping puts ASCII between whole characters, so the text stays UTF-8.
    String::from_utf8_lossy(&sql).into_owned()
}

/// Appends `0x…`, or `''` for no bytes at all (`0x` alone is a name to the server).
///
/// A binary string to the server; beware that a bare hexadecimal literal counts as a number in a numeric context.
pub fn push_hex_literal(sql: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if bytes.is_empty() {
        sql.extend_from_slice(b"''");
        return;
    }
    sql.reserve(2 * bytes.len() + 2);
    sql.extend_from_slice(b"0x");
    for byte in bytes {
        sql.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Appends a literal whose bytes are in the given character set: `_utf8mb4'…'`, or `_gbk 0x…` for the character sets whose
/// text may hold ASCII bytes that are no ASCII characters.
///
/// The server takes the bytes as they are, whatever `character_set_client` is, and answers with an error (or NULL and a
/// warning) when they are not well-formed in the character set. `charset` is the server's name of it and is not escaped.
pub fn push_introduced_literal(sql: &mut Vec<u8>, charset: &str, bytes: &[u8]) {
    sql.push(b'_');
    sql.extend_from_slice(charset.as_bytes());
    if is_ascii_safe(charset) {
        push_string_literal(sql, bytes);
    } else {
        sql.push(b' ');
        push_hex_literal(sql, bytes);
    }
}

/// Returns whether every byte below 0x80 in text of this character set is that ASCII character, so that a quote or a
/// backslash can never be the second half of something else.
///
/// Character sets that are not known are taken for unsafe.
pub fn is_ascii_safe(charset: &str) -> bool {
    matches!(
        charset,
        "armscii8"
            | "ascii"
            | "binary"
            | "cp1250"
            | "cp1251"
            | "cp1256"
            | "cp1257"
            | "cp850"
            | "cp852"
            | "cp866"
            | "dec8"
            | "eucjpms"
            | "gb2312"
            | "geostd8"
            | "greek"
            | "hebrew"
            | "hp8"
            | "keybcs2"
            | "koi8r"
            | "koi8u"
            | "latin1"
            | "latin2"
            | "latin5"
            | "latin7"
            | "macce"
            | "macroman"
            | "tis620"
            | "ujis"
            | "utf8"
            | "utf8mb3"
            | "utf8mb4"
    )
}

/// Returns the name that a quoted identifier stands for: `` `a``b` `` is ``a`b``. Double quotes (`ANSI_QUOTES`) work alike.
///
/// `None` when the text is not exactly one quoted identifier.
pub fn unquote_identifier(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '`' | '"'))?;
    let inner = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut name = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character == quote && characters.next() != Some(quote) {
            return None;
        }
        name.push(character);
    }
    Some(name)
}

/// Returns the bytes that a string literal stands for, in single or double quotes, with backslash escapes and doubled
/// quotes, as the server reads them.
///
/// `None` when the text is not exactly one literal. `\%` and `\_` keep their backslash, as on the server.
pub fn unquote_string(literal: &[u8]) -> Option<Vec<u8>> {
    let quote = *literal.first().filter(|quote| matches!(quote, b'\'' | b'"'))?;
    let mut bytes = Vec::with_capacity(literal.len());
    let mut rest = literal[1..].iter();
    loop {
        match *rest.next()? {
            b'\\' => match *rest.next()? {
                b'0' => bytes.push(0),
                b'n' => bytes.push(b'\n'),
                b'r' => bytes.push(b'\r'),
                b't' => bytes.push(b'\t'),
                b'b' => bytes.push(8),
                b'Z' => bytes.push(0x1a),
                wildcard @ (b'%' | b'_') => bytes.extend_from_slice(&[b'\\', wildcard]),
                other => bytes.push(other),
            },
            byte if byte == quote => match rest.next() {
                None => return Some(bytes),
                Some(byte) if *byte == quote => bytes.push(quote),
                Some(_) => return None,
            },
            byte => bytes.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literal(bytes: &[u8]) -> Vec<u8> {
        let mut sql = Vec::new();
        push_string_literal(&mut sql, bytes);
        sql
    }

    fn introduced(charset: &str, bytes: &[u8]) -> String {
        let mut sql = Vec::new();
        push_introduced_literal(&mut sql, charset, bytes);
        String::from_utf8(sql).unwrap()
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(identifier("a"), "`a`");
        assert_eq!(identifier("a`b``"), "`a``b`````");
        assert_eq!(identifier("订单"), "`订单`");
        assert_eq!(table(&TableName::new("my.db", "t`")), "`my.db`.`t```");
        assert_eq!(identifiers(["a", "b"]), "`a`, `b`");
        let mut sql = b"SELECT * FROM ".to_vec();
        push_table(&mut sql, &TableName::new("d", "t"));
        assert_eq!(sql, b"SELECT * FROM `d`.`t`");
    }

    #[test]
    fn the_six_dangerous_bytes_are_escaped() {
        assert_eq!(literal(b"\0\n\r\x1a\\'\"\t%_"), b"'\\0\\n\\r\\Z\\\\\\'\"\t%_'");
        assert_eq!(literal(b""), b"''");
        assert_eq!(string_literal("a'é"), "'a\\'é'");
    }

    #[test]
    fn double_byte_character_sets_are_written_in_hex() {
        // 0x5C, the backslash, is the second byte of a character in these.
        assert_eq!(introduced("gbk", b"\xd5\x5c"), "_gbk 0xD55C");
        assert_eq!(introduced("utf16", b"\0'"), "_utf16 0x0027");
        assert_eq!(introduced("ucs2", b""), "_ucs2 ''");
        assert_eq!(introduced("utf8mb4", "a'é".as_bytes()), "_utf8mb4'a\\'é'");
        for charset in
            ["gbk", "sjis", "big5", "cp932", "gb18030", "utf16", "utf16le", "utf32", "ucs2", "new2030"]
        {
            assert!(!is_ascii_safe(charset), "{charset}");
        }
    }

    #[test]
    fn unquoting_refuses_what_is_not_one_token() {
        for wrong in ["", "`", "a", "`a", "`a`b`", "`a\""] {
            assert_eq!(unquote_identifier(wrong), None, "{wrong}");
        }
        assert_eq!(unquote_identifier("\"a\"\"b\"").unwrap(), "a\"b");
        for wrong in ["", "'", "a", "'a", "'a'b'", "'a\\'", "'a\""] {
            assert_eq!(unquote_string(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(unquote_string(b"'it''s \\%\\x\\t'").unwrap(), b"it's \\%x\t");
    }

    proptest! {
        #[test]
        fn identifiers_round_trip(name in "\\PC{1,20}|[`\"a]{1,9}") {
            let quoted = identifier(&name);
            prop_assert_eq!(unquote_identifier(&quoted), Some(name.clone()));
            let mut sql = Vec::new();
            push_identifier(&mut sql, &name);
            prop_assert_eq!(sql, quoted.into_bytes());
        }

        #[test]
        fn strings_round_trip_and_have_no_bare_quote(bytes: Vec<u8>) {
            let sql = literal(&bytes);
            prop_assert_eq!(unquote_string(&sql), Some(bytes));
        }

        #[test]
        fn hex_has_two_digits_a_byte(bytes in prop::collection::vec(any::<u8>(), 1..50)) {
            let mut sql = Vec::new();
            push_hex_literal(&mut sql, &bytes);
            let text = String::from_utf8(sql).unwrap();
            let digits = text.strip_prefix("0x").unwrap();
            let back: Vec<u8> =
                (0..bytes.len()).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect();
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn unquoting_never_panics(text in "[`'\"\\\\ab]{0,12}") {
            let _ = unquote_identifier(&text);
            let _ = unquote_string(text.as_bytes());
        }
    }
}
