//! Columns of every type with their edge values, and how a decoded value is compared with what the server prints.
use dts_core::data::Value;
use dts_testbed::Version;

/// How a value is compared.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Compare {
    /// As text.
    Text,
    /// As a number of the type without its text form: BIT, ENUM, SET, ZEROFILL.
    Number,
    /// To the bit, through a text that reads back.
    Float,
    /// As bytes.
    Hex,
}

/// One column, and its values in the rows of a test.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) definition: String,
    pub(super) compare: Compare,
    pub(super) values: Vec<String>,
}

impl Column {
    /// Returns what the server prints for the comparison.
    pub(super) fn expression(&self) -> String {
        let name = &self.name;
        match self.compare {
            Compare::Text => format!("CAST(`{name}` AS CHAR)"),
            Compare::Number => format!("CAST(CAST(`{name}` AS UNSIGNED) AS CHAR)"),
            // A FLOAT prints six digits; as a DOUBLE it prints all.
            Compare::Float => format!("`{name}` + 0e0"),
            Compare::Hex => format!("HEX(`{name}`)"),
        }
    }

    /// Returns whether a decoded value is what the server printed.
    pub(super) fn is_equal(&self, value: &Value, printed: Option<&str>) -> bool {
        let Some(printed) = printed else { return value.is_null() };
        match (self.compare, value) {
            (Compare::Float, Value::Float(value)) => printed.parse() == Ok(f64::from(*value)),
            (Compare::Float, Value::Double(value)) => printed.parse() == Ok(*value),
            (Compare::Hex, Value::Bytes(bytes)) => {
                printed == bytes.iter().map(|b| format!("{b:02X}")).collect::<String>()
            }
            (Compare::Text, Value::Int(value)) => printed == value.to_string(),
            (Compare::Text, Value::UInt(value)) if self.definition.starts_with("YEAR") => {
                printed == format!("{value:04}")
            }
            (Compare::Text | Compare::Number, Value::UInt(value)) => printed == value.to_string(),
            (Compare::Text, Value::Ascii(text)) => printed.as_bytes() == text.as_bytes(),
            (Compare::Text, Value::Json(text)) => printed.as_bytes() == text,
            _ => false,
        }
    }

    pub(super) fn show(value: &Value) -> String {
        match value {
            Value::Int(value) => value.to_string(),
            Value::UInt(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Double(value) => value.to_string(),
            Value::Ascii(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
            Value::Bytes(bytes) => format!("{bytes:02X?}"),
            Value::Json(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        }
    }
}

/// Returns the columns that a version can have.
pub(super) fn columns(version: Version) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut add = |definition: &str, compare: Compare, values: &[&str]| {
        let name = format!("c{}", columns.len());
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        columns.push(Column { name, definition: definition.to_owned(), compare, values });
    };
    for (name, bits) in [("TINYINT", 8), ("SMALLINT", 16), ("MEDIUMINT", 24), ("INT", 32), ("BIGINT", 64)] {
        let (min, max) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
        let (min, max) = (min.to_string(), max.to_string());
        add(name, Compare::Text, &["0", "1", "-1", &min, &max, "-2"]);
        let max = (u64::MAX >> (64 - bits)).to_string();
        add(&format!("{name} UNSIGNED"), Compare::Text, &["0", "1", &max, "128", "200"]);
    }
    add("INT(7) ZEROFILL", Compare::Number, &["0", "42", "4294967295"]);
    add("BOOLEAN", Compare::Text, &["TRUE", "FALSE"]);
    for (precision, scale) in
        [(1, 0), (1, 1), (5, 2), (9, 9), (10, 0), (18, 9), (19, 10), (30, 30), (37, 7), (65, 0), (65, 30)]
    {
        let integer = "9".repeat(precision - scale);
        let fraction = "9".repeat(scale);
        let max = format!("{integer}.{fraction}");
        let min = format!("-{max}");
        let small = format!("0.{}1", "0".repeat(scale.saturating_sub(1)));
        add(
            &format!("DECIMAL({precision},{scale})"),
            Compare::Text,
            &["0", &max, &min, &small, "-0.1", "0.1", "-0", "1e-40", "-1e-40", "0.10"],
        );
    }
    add("FLOAT", Compare::Float, &["0", "16777217", "0.1", "-3.4028234e38", "1.17549e-38", "-0e0", "1e-45"]);
    add("FLOAT UNSIGNED", Compare::Float, &["0", "3.1415927"]);
    add("FLOAT(7,3)", Compare::Float, &["0", "1.2345", "-9999.999"]);
    add(
        "DOUBLE",
        Compare::Float,
        &["0", "0.1", "1.7976931348623157e308", "5e-324", "-2.5", "123456789012345678"],
    );
    add("DOUBLE(10,2) UNSIGNED", Compare::Float, &["0", "1.255"]);
    add("BIT(1)", Compare::Number, &["b'0'", "b'1'"]);
    add("BIT(8)", Compare::Number, &["0", "255", "128"]);
    add("BIT(9)", Compare::Number, &["0", "256", "511"]);
    add("BIT(33)", Compare::Number, &["0", "8589934591", "4294967296"]);
    add("BIT(64)", Compare::Number, &["0", "18446744073709551615", "9223372036854775808", "1"]);
    add("YEAR", Compare::Text, &["0000", "1901", "2155", "2024"]);
    // A number behind YEAR: is YEAR counted among the numbers whose signs the table map tells?
    add("TINYINT UNSIGNED", Compare::Text, &["200", "0"]);
    add("TINYINT", Compare::Text, &["-100", "0"]);
    add(
        "DATE",
        Compare::Text,
        &[
            "'0000-00-00'",
            "'2024-00-00'",
            "'2024-02-00'",
            "'2024-02-31'",
            "'1000-01-01'",
            "'9999-12-31'",
            "'0000-01-01'",
        ],
    );
    for fsp in 0..=6 {
        add(
            &format!("TIME({fsp})"),
            Compare::Text,
            &[
                "'00:00:00'",
                "'-00:00:00.1'",
                "'-00:00:00.000001'",
                "'-00:00:01.01'",
                "'-01:00:00.9'",
                "'00:00:00.123456'",
                "'838:59:59'",
                "'-838:59:59'",
                "'-00:00:01'",
                "'23:59:59.654321'",
                "'-100:59:59.999994'",
                "'-00:00:00.5'",
            ],
        );
        add(
            &format!("DATETIME({fsp})"),
            Compare::Text,
            &[
                "'0000-00-00'",
                "'2024-00-00 01:02:03.5'",
                "'1000-01-01 00:00:00'",
                "'9999-12-31 23:59:59.4'",
                "'1969-12-31 23:59:59.000001'",
                "'2024-02-29 12:34:56.654321'",
                "'0001-01-01 00:00:00.1'",
            ],
        );
        add(
            &format!("TIMESTAMP({fsp}) NULL"),
            Compare::Text,
            &[
                "'0000-00-00'",
                "'1970-01-01 00:00:01'",
                "'2038-01-19 03:14:07'",
                "'2024-02-29 23:59:59.123456'",
                "'2000-03-01 00:00:00.1'",
                "'1999-12-31 23:59:59.4'",
            ],
        );
    }
    add("CHAR(10) CHARACTER SET utf8mb4", Compare::Hex, &["''", "'a  '", "'äöü🦀'", "'  a'"]);
    add(
        "CHAR(255) CHARACTER SET utf8mb4",
        Compare::Hex,
        &["''", "REPEAT('🦀', 255)", "REPEAT('a', 255)", "'b'"],
    );
    add("CHAR(64) CHARACTER SET utf8", Compare::Hex, &["''", "'é'", "REPEAT('é', 64)"]);
    add("CHAR(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", Compare::Hex, &["''", "'ab'", "'ab '"]);
    add("CHAR(5) CHARACTER SET latin1", Compare::Hex, &["_latin1 x'e4f6'", "''"]);
    add("CHAR(5) CHARACTER SET utf16", Compare::Hex, &["'a🦀'", "''"]);
    add("CHAR(5) CHARACTER SET ucs2", Compare::Hex, &["'aé'", "''"]);
    add("CHAR(0)", Compare::Hex, &["''"]);
    add("VARCHAR(10) CHARACTER SET gbk", Compare::Hex, &["_gbk x'c4e3bac3'", "_gbk x'815c'", "''", "'a '"]);
    add("VARCHAR(255) CHARACTER SET latin1", Compare::Hex, &["REPEAT('x', 255)", "''", "_latin1 x'80ff'"]);
    add("VARCHAR(256) CHARACTER SET latin1", Compare::Hex, &["REPEAT('x', 256)", "''"]);
    add(
        "VARCHAR(300) CHARACTER SET utf8mb4",
        Compare::Hex,
        &["REPEAT('🦀', 300)", "'a'", "'tab\\tzero\\0end'"],
    );
    add("BINARY(1)", Compare::Hex, &["x'00'", "'a'"]);
    add(
        "BINARY(8)",
        Compare::Hex,
        &["x'0000000000000000'", "x'6162000000000000'", "'ab'", "''", "'abcdefgh'", "x'00000000000000ff'"],
    );
    add("BINARY(255)", Compare::Hex, &["'a'", "REPEAT(x'00', 255)"]);
    add("VARBINARY(20)", Compare::Hex, &["''", "x'00'", "x'6100'", "x'ff00ff'"]);
    add("VARBINARY(300)", Compare::Hex, &["''", "REPEAT(x'00', 300)"]);
    for size in ["TINY", "", "MEDIUM", "LONG"] {
        add(&format!("{size}BLOB"), Compare::Hex, &["''", "x'00'", "REPEAT(x'ff', 200)"]);
        add(&format!("{size}TEXT CHARACTER SET latin1"), Compare::Hex, &["''", "'x'", "_latin1 x'e9'"]);
    }
    add("MEDIUMTEXT CHARACTER SET utf8mb4", Compare::Hex, &["REPEAT('🦀', 20000)"]);
    add("ENUM('a','b')", Compare::Number, &["'a'", "'b'", "''", "'no such label'"]);
    let labels =
        |count: usize| (0..count).map(|label| format!("'label{label}'")).collect::<Vec<_>>().join(",");
    add(&format!("ENUM({})", labels(300)), Compare::Number, &["1", "255", "256", "300", "0"]);
    add("SET('x','y','z')", Compare::Number, &["''", "'x'", "'x,z'", "7"]);
    for count in [8, 9, 24, 33] {
        let all = ((1_u64 << count) - 1).to_string();
        add(&format!("SET({})", labels(count)), Compare::Number, &["0", "1", &all]);
    }
    add(
        &format!("SET({})", labels(64)),
        Compare::Number,
        &["0", "18446744073709551615", "9223372036854775808"],
    );
    match version {
        Version::Mysql97 => {
            add(
                "GEOMETRY",
                Compare::Hex,
                &["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 2)', 4326)"],
            );
            add("POLYGON", Compare::Hex, &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]);
            add("VECTOR(3)", Compare::Hex, &["TO_VECTOR('[1,2.5,-3]')"]);
            add("INT AS (c0 + 1) VIRTUAL", Compare::Text, &["DEFAULT"]);
            add("INT AS (c0 + 2) STORED", Compare::Text, &["DEFAULT"]);
            add("INT UNSIGNED DEFAULT 7 INVISIBLE", Compare::Text, &["4294967295"]);
            add("JSON", Compare::Text, JSON);
        }
        Version::Mysql56 | Version::Mariadb1011 => {
            add(
                "GEOMETRY",
                Compare::Hex,
                &["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 2)', 4326)"],
            );
            add("POLYGON", Compare::Hex, &["ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]);
        }
    }
    columns
}

const JSON: &[&str] = &[
    "'null'",
    "'true'",
    "'[]'",
    "'{}'",
    "'\"\"'",
    "'0'",
    "'-32769'",
    "'65536'",
    "'18446744073709551615'",
    "'-9223372036854775808'",
    "'1.0'",
    "'-0.0'",
    "'1e100'",
    "'1.5e-300'",
    "'123456789012345680000'",
    "'{\"a\": 1, \"b\": [1, 2], \"\": null, \"nested\": {\"x\": [true, false, null]}}'",
    "CAST('\"\\\\u0000\\\\u0001\\\\b\\\\f\\\\n\\\\r\\\\t\\\\\"\\\\\\\\ é 🦀 /\\\\u001f\\\\u007f\"' AS JSON)",
    "JSON_ARRAY(1.10, -0.10, 123456789.123456789, CAST(1e0 AS DECIMAL(65,30)), 0.00)",
    "JSON_ARRAY(0.1e0, 1e15, 1e14, 1.5e15, 1234567890123456.8e0, 1e-15, 1e-16, 0.00001e0, -1e0)",
    "JSON_OBJECT('d', CAST('2015-01-15' AS DATE), 't', CAST('-10:20:30.5' AS TIME(6)), 'dt', CAST('2015-01-15 23:24:25' AS DATETIME))",
    "JSON_ARRAY(CAST('2015-01-15 23:24:25.123456' AS DATETIME(6)), TIMESTAMP'2020-02-02 02:02:02.12')",
    "JSON_ARRAY(CAST('abc' AS BINARY), x'00ff', b'101')",
    "CAST(REPEAT(x'41', 57) AS JSON)",
    "CAST(REPEAT(x'41', 200) AS JSON)",
    "JSON_ARRAY(REPEAT('x', 127), REPEAT('y', 128), REPEAT('z', 16384))",
    // Large objects and arrays: offsets of four bytes, 32-bit integers inlined.
    "JSON_ARRAY(REPEAT('x', 70000), 100000, 4000000000, -100000, 1, JSON_OBJECT('k', 5))",
    "JSON_OBJECT('k', REPEAT('x', 70000), 'n', 100000, 'm', 70000.5e0, 'small', JSON_ARRAY(1, 100000))",
    "CAST(CONCAT(REPEAT('[', 100), REPEAT(']', 100)) AS JSON)",
    "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)",
    "JSON_ARRAY(YEAR('2024-01-01'), TRUE, NULL, CAST(1 AS UNSIGNED))",
];
