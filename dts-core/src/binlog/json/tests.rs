use proptest::prelude::*;

use super::*;

/// A document to encode, and to print by other code than that under test.
#[derive(Clone, Debug)]
enum Json {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    String(String),
    Opaque(u8, Vec<u8>),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn type_byte(json: &Json, large: bool) -> u8 {
    match json {
        Json::Null | Json::Bool(_) => kind::LITERAL,
        Json::Int(value) if i16::try_from(*value).is_ok() => kind::INT16,
        Json::Int(value) if i32::try_from(*value).is_ok() => kind::INT32,
        Json::Int(_) => kind::INT64,
        Json::UInt(value) if u16::try_from(*value).is_ok() => kind::UINT16,
        Json::UInt(value) if u32::try_from(*value).is_ok() => kind::UINT32,
        Json::UInt(_) => kind::UINT64,
        Json::Double(_) => kind::DOUBLE,
        Json::String(_) => kind::STRING,
        Json::Opaque(..) => kind::OPAQUE,
        Json::Array(_) => kind::SMALL_ARRAY + u8::from(large),
        Json::Object(_) => kind::SMALL_OBJECT + u8::from(large),
    }
}

fn number(value: usize, large: bool) -> Vec<u8> {
    if large {
        u32::try_from(value).unwrap().to_le_bytes().to_vec()
    } else {
        u16::try_from(value).unwrap().to_le_bytes().to_vec()
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut length = bytes.len();
    while length >= 0x80 {
        encoded.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    encoded.push(u8::try_from(length).unwrap());
    encoded.extend(bytes);
    encoded
}

/// Returns a value without its type byte; `large` is for every container in it.
fn value(json: &Json, large: bool) -> Vec<u8> {
    match json {
        Json::Null => vec![0],
        Json::Bool(value) => vec![2 - u8::from(*value)],
        Json::Int(value) => {
            let length = match type_byte(json, large) {
                kind::INT16 => 2,
                kind::INT32 => 4,
                _ => 8,
            };
            value.to_le_bytes()[..length].to_vec()
        }
        Json::UInt(value) => {
            let length = match type_byte(json, large) {
                kind::UINT16 => 2,
                kind::UINT32 => 4,
                _ => 8,
            };
            value.to_le_bytes()[..length].to_vec()
        }
        Json::Double(value) => value.to_le_bytes().to_vec(),
        Json::String(value) => with_length(value.as_bytes()),
        Json::Opaque(type_code, value) => [&[*type_code][..], &with_length(value)].concat(),
        Json::Array(elements) => {
            container(&elements.iter().map(|element| (None, element)).collect::<Vec<_>>(), large)
        }
        Json::Object(members) => container(
            &members.iter().map(|(key, member)| (Some(key.as_str()), member)).collect::<Vec<_>>(),
            large,
        ),
    }
}

fn container(members: &[(Option<&str>, &Json)], large: bool) -> Vec<u8> {
    let width = if large { 4 } else { 2 };
    let is_inlined = |json: &Json| match type_byte(json, large) {
        kind::LITERAL | kind::INT16 | kind::UINT16 => true,
        kind::INT32 | kind::UINT32 => large,
        _ => false,
    };
    let keys: Vec<&str> = members.iter().filter_map(|(key, _)| *key).collect();
    let tables = 2 * width + keys.len() * (width + 2) + members.len() * (1 + width);
    let mut offset = tables;
    let mut head = Vec::new();
    for key in &keys {
        head.extend(number(offset, large));
        head.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
        offset += key.len();
    }
    let mut values = Vec::new();
    for (_, member) in members {
        head.push(type_byte(member, large));
        let encoded = value(member, large);
        if is_inlined(member) {
            head.extend(&encoded);
            head.extend(vec![0; width - encoded.len()]);
        } else {
            head.extend(number(offset, large));
            offset += encoded.len();
            values.extend(encoded);
        }
    }
    [&number(members.len(), large), &number(offset, large), &head, keys.concat().as_bytes(), &values].concat()
}

fn document(json: &Json, large: bool) -> Vec<u8> {
    let mut document = vec![type_byte(json, large)];
    document.extend(value(json, large));
    document
}

fn printed(json: &Json) -> String {
    let quoted = |string: &str| {
        let mut text = String::from("\"");
        for character in string.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
                other => text.push(other),
            }
        }
        text + "\""
    };
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Int(value) => value.to_string(),
        Json::UInt(value) => value.to_string(),
        Json::Double(_) | Json::Opaque(..) => unreachable!("compared in their own tests"),
        Json::String(value) => quoted(value),
        Json::Array(elements) => format!("[{}]", elements.iter().map(printed).collect::<Vec<_>>().join(", ")),
        Json::Object(members) => {
            let member = |(key, member): &(String, Json)| format!("{}: {}", quoted(key), printed(member));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
    }
}

fn text(json: &Json) -> String {
    let small = json_text(&document(json, false)).unwrap();
    assert_eq!(small, json_text(&document(json, true)).unwrap());
    String::from_utf8(small).unwrap()
}

fn double(value: f64) -> String {
    text(&Json::Double(value))
}

#[test]
fn scalars() {
    assert_eq!(json_text(&[]).unwrap(), b"null");
    assert_eq!(text(&Json::Null), "null");
    assert_eq!(text(&Json::Bool(true)), "true");
    assert_eq!(text(&Json::Bool(false)), "false");
    for value in [0, -1, 32_767, -32_768, 32_768, -2_147_483_648, 2_147_483_648, i64::MIN, i64::MAX] {
        assert_eq!(text(&Json::Int(value)), value.to_string());
    }
    for value in [65_535, 65_536, 4_294_967_296, u64::MAX] {
        assert_eq!(text(&Json::UInt(value)), value.to_string());
    }
}

#[test]
fn the_manuals_example() {
    // {"a": "x", "b": "y", "c": "z"} as the server's source shows it.
    let bytes = b"\x00\x03\x00\x24\x00\x19\x00\x01\x00\x1a\x00\x01\x00\x1b\x00\x01\x00\x0c\x1c\x00\x0c\x1e\x00\x0c\x20\x00abc\x01x\x01y\x01z";
    // The length in the head counts from behind the type byte: 0x24 is too much by two.
    assert!(json_text(bytes).is_err());
    let mut bytes = bytes.to_vec();
    bytes[3] = 0x22;
    for (place, offset) in [(5, 0x19), (9, 0x1a), (13, 0x1b), (18, 0x1c), (21, 0x1e), (24, 0x20)] {
        assert_eq!(bytes[place], offset);
    }
    assert_eq!(json_text(&bytes).unwrap(), br#"{"a": "x", "b": "y", "c": "z"}"#);
}

#[test]
fn strings_are_escaped_as_the_server_does() {
    let string = "a\"b\\c/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}é🦀";
    assert_eq!(
        text(&Json::String(string.to_owned())),
        "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}é🦀\""
    );
    // canal#5482: nothing is cut at a zero byte; lengths of two and three bytes.
    for length in [127, 128, 16_383, 16_384] {
        assert_eq!(text(&Json::String("x\0".repeat(length / 2))).len(), length / 2 * 7 + 2);
    }
}

#[test]
fn doubles_as_the_server_prints_them() {
    for (value, expected) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (100_000_000_000_000.0, "100000000000000.0"),
        (999_999_999_999_999.0, "999999999999999.0"),
        (1e15, "1e15"),
        (1_234_567_890_123_456.0, "1.234567890123456e15"),
        (123_456_789_012_345.6, "123456789012345.6"),
        (1_234_567_890_123_456.8, "1234567890123456.8"),
        // Ties go to the even digit.
        (217_924_808_980_594.0 + 0.125, "217924808980594.12"),
        (-217_924_808_980_594.0 - 0.375, "-217924808980594.38"),
        (217_924_808_980_594.0 + 0.625, "217924808980594.62"),
        (1e100, "1e100"),
        (1.5e300, "1.5e300"),
        (f64::MAX, "1.7976931348623157e308"),
        (1e-5, "0.00001"),
        (1e-15, "0.000000000000001"),
        (1e-16, "1e-16"),
        (1.2345e-20, "1.2345e-20"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (5e-324, "5e-324"),
    ] {
        assert_eq!(double(value), expected);
    }
    for value in [f64::INFINITY, f64::NAN] {
        assert!(json_text(&document(&Json::Double(value), false)).is_err());
    }
}

#[test]
fn values_that_json_has_not() {
    let decimal = [&[5, 2][..], &crate::binlog::decimal::tests::encode("1.10", 5, 2)].concat();
    assert_eq!(text(&Json::Opaque(246, decimal)), "1.10");
    let packed = |year: i64, month: i64, day: i64, hour: i64, minute: i64, second: i64| {
        ((((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second) << 24)
            .to_le_bytes()
            .to_vec()
    };
    assert_eq!(text(&Json::Opaque(10, packed(2015, 1, 15, 0, 0, 0))), "\"2015-01-15\"");
    let datetime = packed(2015, 1, 15, 23, 24, 25);
    assert_eq!(text(&Json::Opaque(12, datetime.clone())), "\"2015-01-15 23:24:25.000000\"");
    assert_eq!(text(&Json::Opaque(7, datetime)), "\"2015-01-15 23:24:25.000000\"");
    let time = -(((10_i64 << 12 | 20 << 6 | 30) << 24) + 5);
    assert_eq!(text(&Json::Opaque(11, time.to_le_bytes().to_vec())), "\"-10:20:30.000005\"");
    assert_eq!(text(&Json::Opaque(15, b"a".to_vec())), "\"base64:type15:YQ==\"");
    assert_eq!(text(&Json::Opaque(252, b"ab".to_vec())), "\"base64:type252:YWI=\"");
    assert_eq!(text(&Json::Opaque(16, b"abc".to_vec())), "\"base64:type16:YWJj\"");
    assert_eq!(text(&Json::Opaque(252, vec![0; 57])), format!("\"base64:type252:{}\"", "A".repeat(76)));
    assert_eq!(
        text(&Json::Opaque(252, vec![0; 60])),
        format!("\"base64:type252:{}\\nAAAA\"", "A".repeat(76))
    );
    assert!(json_text(&document(&Json::Opaque(12, vec![0; 7]), false)).is_err());
}

#[test]
fn depth_is_limited() {
    let nested = |depth: usize| (0..depth).fold(Json::Null, |inner, _| Json::Array(vec![inner]));
    assert_eq!(text(&nested(100)), format!("{}null{}", "[".repeat(100), "]".repeat(100)));
    assert!(json_text(&document(&nested(101), false)).is_err());
}

#[test]
fn two_values_in_one_place_are_refused() {
    // Each array's two elements are the next array: 2^n values in 11 n bytes.
    let mut bytes = vec![kind::SMALL_ARRAY];
    for _ in 0..90 {
        let left = u16::try_from(1000).unwrap();
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(left.to_le_bytes());
        for _ in 0..2 {
            bytes.push(kind::SMALL_ARRAY);
            bytes.extend(10_u16.to_le_bytes());
        }
    }
    // Lengths shrink towards the end.
    for level in 0..90 {
        let length = u16::try_from((90 - level) * 10 + 4).unwrap();
        bytes[1 + level * 10 + 2..][..2].copy_from_slice(&length.to_le_bytes());
    }
    bytes.extend([0, 0, 4, 0]);
    let error = json_text(&bytes).unwrap_err();
    assert!(error.to_string().contains("same place"), "{error}");
}

#[test]
fn differences_of_a_partial_update() {
    let new_value = document(&Json::Array(vec![Json::Int(1)]), false);
    let mut bytes = vec![0, 3];
    bytes.extend(b"$.a");
    bytes.push(u8::try_from(new_value.len()).unwrap());
    bytes.extend(&new_value);
    bytes.extend(b"\x02\x04$[3]");
    let diffs = json_diffs(&bytes).unwrap();
    assert!(
        diffs
            == [
                JsonDiff {
                    operation: JsonDiffOperation::Replace,
                    path: b"$.a".to_vec(),
                    value: b"[1]".to_vec()
                },
                JsonDiff { operation: JsonDiffOperation::Remove, path: b"$[3]".to_vec(), value: Vec::new() },
            ]
    );
    for length in 1..bytes.len() {
        let is_boundary = length == 2 + 3 + 1 + new_value.len();
        assert_eq!(json_diffs(&bytes[..length]).is_ok(), is_boundary, "{length}");
    }
    assert!(json_diffs(&[3, 0]).is_err());
}

fn any_json() -> impl Strategy<Value = Json> {
    let scalar = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Int),
        (-70_000_i64..70_000).prop_map(Json::Int),
        any::<u64>().prop_map(Json::UInt),
        (0_u64..70_000).prop_map(Json::UInt),
        "\\PC{0,20}|[\\x00-\\x7f]{0,300}".prop_map(Json::String),
    ];
    scalar.prop_recursive(5, 60, 10, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..10).prop_map(Json::Array),
            proptest::collection::vec((".{0,10}", inner), 0..10).prop_map(Json::Object),
        ]
    })
}

proptest! {
    #[test]
    fn documents_print_as_other_code_prints_them(json in any_json()) {
        prop_assert_eq!(text(&json), printed(&json));
    }

    #[test]
    fn doubles_read_back(bits: u64) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let text = double(value);
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        prop_assert!(text.len() <= 34, "{}", text);
        prop_assert!(text.contains(['.', 'e']));
    }

    #[test]
    fn damaged_documents_are_safe(json in any_json(), large: bool, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = document(&json, large);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = json_text(&bytes);
        let _ = json_text(&bytes[..cut.index(bytes.len())]);
        let _ = json_diffs(&bytes);
    }

    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json_text(&bytes);
        let _ = json_diffs(&bytes);
    }
}
