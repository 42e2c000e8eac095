//! JSON text as an expression that the server stores without changing how it prints.
//!
//! The server's JSON parser turns every number with a fraction or an exponent into a DOUBLE. A document may hold DECIMAL
//! numbers all the same (made by JSON_OBJECT and its like), which print with their scale: `1.10`. Sent as plain text
//! such a number would come back as `1.1`. So a document is looked through for numbers that would not print the same as a
//! DOUBLE; one that has any is sent as nested JSON_OBJECT and JSON_ARRAY calls with the number cast to DECIMAL.
//! Dates print as strings and stay strings (`docs/types.md`).
use super::quote;
use crate::data::json_number::push_double;

/// Deepest nesting that is followed; the server itself stops at 100.
const DEPTH_MAX: usize = 128;

/// Appends an expression whose value is the document.
pub fn push_expression(sql: &mut Vec<u8>, text: &[u8]) {
    if needs_constructors(text) {
        let mut constructed = Vec::with_capacity(text.len() * 2);
        if push_constructed(&mut constructed, text).is_some() {
            // A DECIMAL by itself is not a document until it is made one (3140).
            sql.extend_from_slice(b"CAST(");
            sql.extend_from_slice(&constructed);
            sql.extend_from_slice(b" AS JSON)");
            return;
        }
    }
    quote::push_introduced_literal(sql, "utf8mb4", text);
}

/// Returns whether plain text would print differently after the server has parsed it.
pub fn needs_constructors(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        match byte {
            b'"' => rest = skip_string(rest),
            b'-' | b'0'..=b'9' => {
                let (number, after) = split_number(rest);
                if !survives_as_double(number) {
                    return true;
                }
                rest = after;
            }
            _ => rest = &rest[1..],
        }
    }
    false
}

/// Skips a string that starts at the first byte; all of the rest when it does not end.
fn skip_string(text: &[u8]) -> &[u8] {
    let mut index = 1;
    while let Some(&byte) = text.get(index) {
        match byte {
            b'\\' => index += 2,
            b'"' => return &text[index + 1..],
            _ => index += 1,
        }
    }
    &[]
}

fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Returns whether the server prints the number the same way after parsing it: as an integer of 64 bits, or as a DOUBLE.
fn survives_as_double(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else { return true };
    if !text.contains(['.', 'e', 'E']) {
        // Longer integers can only be DECIMAL.
        return text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    }
    let Ok(double) = text.parse::<f64>() else { return true };
    let mut printed = Vec::with_capacity(number.len());
    push_double(&mut printed, double);
    // DECIMAL never prints an exponent.
    printed == number || text.contains(['e', 'E'])
}

/// Appends the document as nested constructor calls. `None` when the text is not the JSON that a server prints.
fn push_constructed(sql: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let mut rest = text;
    push_element(sql, &mut rest, 0)?;
    rest.trim_ascii().is_empty().then_some(())
}

fn push_element(sql: &mut Vec<u8>, rest: &mut &[u8], depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    *rest = rest.trim_ascii_start();
    match rest.first()? {
        b'{' => push_members(sql, rest, depth, b'}'),
        b'[' => push_members(sql, rest, depth, b']'),
        b'-' | b'0'..=b'9' => {
            let (number, after) = split_number(rest);
            *rest = after;
            if survives_as_double(number) {
                push_cast(sql, number);
            } else {
                push_decimal(sql, number)?;
            }
            Some(())
        }
        b'"' => {
            let after = skip_string(rest);
            push_cast(sql, &rest[..rest.len() - after.len()]);
            *rest = after;
            Some(())
        }
        _ => {
            let end = rest.iter().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if !matches!(word, b"null" | b"true" | b"false") {
                return None;
            }
            push_cast(sql, word);
            *rest = after;
            Some(())
        }
    }
}

fn push_members(sql: &mut Vec<u8>, rest: &mut &[u8], depth: usize, close: u8) -> Option<()> {
    let is_object = close == b'}';
    sql.extend_from_slice(if is_object { b"JSON_OBJECT(" } else { b"JSON_ARRAY(" });
    *rest = rest[1..].trim_ascii_start();
    let mut first = true;
    while *rest.first()? != close {
        if !first {
            *rest = rest.strip_prefix(b",")?.trim_ascii_start();
            sql.push(b',');
        }
        first = false;
        if is_object {
            if *rest.first()? != b'"' {
                return None;
            }
            let after = skip_string(rest);
            // The key as a document, unquoted by the server: its escapes are the server's business.
            sql.extend_from_slice(b"JSON_UNQUOTE(");
            push_cast(sql, &rest[..rest.len() - after.len()]);
            sql.extend_from_slice(b"),");
            *rest = after.trim_ascii_start().strip_prefix(b":")?;
        }
        push_element(sql, rest, depth + 1)?;
        *rest = rest.trim_ascii_start();
    }
    *rest = &rest[1..];
    sql.push(b')');
    Some(())
}

fn push_cast(sql: &mut Vec<u8>, text: &[u8]) {
    sql.extend_from_slice(b"CAST(");
    quote::push_introduced_literal(sql, "utf8mb4", text);
    sql.extend_from_slice(b" AS JSON)");
}

fn push_decimal(sql: &mut Vec<u8>, number: &[u8]) -> Option<()> {
    use std::io::Write;
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let scale = digits.iter().position(|byte| *byte == b'.').map_or(0, |point| digits.len() - point - 1);
    let precision = digits.len() - usize::from(digits.contains(&b'.'));
    if precision > 65 || scale > 30 || !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return None;
    }
    sql.extend_from_slice(b"CAST('");
    sql.extend_from_slice(number);
    write!(sql, "' AS DECIMAL({precision},{scale}))").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> String {
        let mut sql = Vec::new();
        push_expression(&mut sql, text.as_bytes());
        String::from_utf8(sql).unwrap()
    }

    #[test]
    fn ordinary_documents_go_as_text() {
        for text in [
            r#"{"a": 1, "b": [1.5, "1.10", null, true], "c": -0.25}"#,
            "1.0",
            "18446744073709551615",
            "-9223372036854775808",
            "1e100",
            r#""quote \" 1.10""#,
        ] {
            assert!(!needs_constructors(text.as_bytes()), "{text}");
        }
        assert_eq!(expression(r#"{"a": 1.5}"#), r#"_utf8mb4'{"a": 1.5}'"#);
    }

    #[test]
    fn decimals_go_as_casts() {
        assert_eq!(expression("1.10"), "CAST(CAST('1.10' AS DECIMAL(3,2)) AS JSON)");
        assert_eq!(
            expression(r#"{"p": [1.10, 2]}"#),
            r#"CAST(JSON_OBJECT(JSON_UNQUOTE(CAST(_utf8mb4'"p"' AS JSON)),JSON_ARRAY(CAST('1.10' AS DECIMAL(3,2)),CAST(_utf8mb4'2' AS JSON))) AS JSON)"#
        );
        assert_eq!(
            expression("123456789012345678901234567890"),
            "CAST(CAST('123456789012345678901234567890' AS DECIMAL(30,0)) AS JSON)"
        );
    }
}
