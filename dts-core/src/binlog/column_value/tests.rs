use proptest::prelude::*;

use super::*;
use crate::binlog::decimal;

fn layout(type_code: u8, meta: u16, hint: ColumnHint) -> Result<ColumnLayout> {
    ColumnLayout::new(&WireColumn { type_code, meta, ..WireColumn::default() }, hint)
}

fn read_with(type_code: u8, meta: u16, hint: ColumnHint, bytes: &[u8]) -> Result<Value> {
    let layout = layout(type_code, meta, hint)?;
    let mut left = Bytes::new(bytes, "test");
    let mut image = RowImage::new();
    layout.read(&mut left, &mut image)?;
    let value = image.pop().unwrap();
    assert!(image.is_empty());
    let mut skipped = Bytes::new(bytes, "test");
    layout.skip(&mut skipped)?;
    assert_eq!(left.left(), skipped.left(), "reading and skipping end at the same byte");
    assert!(left.is_empty(), "{} bytes were not read", left.left());
    Ok(value)
}

fn read(type_code: u8, meta: u16, bytes: &[u8]) -> Value {
    read_with(type_code, meta, ColumnHint::default(), bytes).unwrap()
}

fn text(type_code: u8, meta: u16, bytes: &[u8]) -> String {
    match read(type_code, meta, bytes) {
        Value::Ascii(text) => String::from_utf8(text.as_bytes().to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn integers_of_every_width_signed_and_unsigned() {
    let unsigned = ColumnHint::new(true, false);
    for (type_code, width) in
        [(ty::TINY, 1), (ty::SHORT, 2), (ty::INT24, 3), (ty::LONG, 4), (ty::LONGLONG, 8)]
    {
        let bits = u32::try_from(width * 8).unwrap();
        for value in [0, 1, -1, i64::MAX >> (64 - bits), i64::MIN >> (64 - bits), -2] {
            let bytes = &value.to_le_bytes()[..width];
            assert_eq!(read(type_code, 0, bytes), Value::Int(value));
            let mask = u64::MAX >> (64 - bits);
            let expected = u64::from_le_bytes(value.to_le_bytes()) & mask;
            assert_eq!(read_with(type_code, 0, unsigned, bytes).unwrap(), Value::UInt(expected));
        }
    }
}

#[test]
fn the_table_maps_word_counts_more_than_the_hint() {
    let column = WireColumn { type_code: ty::TINY, unsigned: Some(true), ..WireColumn::default() };
    assert_eq!(ColumnLayout::new(&column, ColumnHint::default()).unwrap(), ColumnLayout::UInt(1));
    let column = WireColumn { type_code: ty::STRING, meta: 4, collation: Some(46), ..WireColumn::default() };
    let layout = ColumnLayout::new(&column, ColumnHint::new(false, true)).unwrap();
    assert_eq!(layout, ColumnLayout::Bytes { prefix: 1, length_max: 4, pad_to: 0 });
}

#[test]
fn floats_to_the_bit() {
    assert_eq!(read(ty::FLOAT, 4, &16_777_217_f32.to_le_bytes()), Value::Float(16_777_216.0));
    assert_eq!(read(ty::DOUBLE, 8, &0.1_f64.to_le_bytes()), Value::Double(0.1));
    match read(ty::DOUBLE, 8, &(-0.0_f64).to_le_bytes()) {
        Value::Double(zero) => assert!(zero.is_sign_negative()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn decimals() {
    let meta = |precision: u16, scale: u16| precision << 8 | scale;
    assert_eq!(text(ty::NEWDECIMAL, meta(5, 2), &[0x80, 0, 10]), "0.10");
    let longest = "-99999999999999999999999999999999999.999999999999999999999999999999";
    assert_eq!(text(ty::NEWDECIMAL, meta(65, 30), &decimal::tests::encode(longest, 65, 30)), longest);
    assert!(layout(ty::NEWDECIMAL, meta(5, 6), ColumnHint::default()).is_err());
}

#[test]
fn bits() {
    assert_eq!(read(ty::BIT, 0x0001, &[1]), Value::UInt(1));
    assert_eq!(read(ty::BIT, 0x0101, &[1, 2]), Value::UInt(258));
    assert_eq!(read(ty::BIT, 0x0800, &[0xff; 8]), Value::UInt(u64::MAX));
    for meta in [0x0000, 0x0801, 0x0900, 0x0008, 0xffff] {
        assert!(layout(ty::BIT, meta, ColumnHint::default()).is_err(), "{meta}");
    }
}

#[test]
fn years_and_dates() {
    assert_eq!(read(ty::YEAR, 0, &[0]), Value::UInt(0));
    assert_eq!(read(ty::YEAR, 0, &[1]), Value::UInt(1901));
    assert_eq!(read(ty::YEAR, 0, &[255]), Value::UInt(2155));
    let date = |year: u32, month: u32, day: u32| {
        let bytes = (year << 9 | month << 5 | day).to_le_bytes();
        text(ty::DATE, 0, &bytes[..3])
    };
    assert_eq!(date(0, 0, 0), "0000-00-00");
    assert_eq!(date(2024, 0, 0), "2024-00-00");
    assert_eq!(date(2024, 2, 31), "2024-02-31");
    assert_eq!(date(9999, 12, 31), "9999-12-31");
    assert!(read_with(ty::DATE, 0, ColumnHint::default(), &[0xff; 3]).is_err());
}

#[test]
fn times_of_every_fraction() {
    assert_eq!(text(ty::TIME2, 0, &[0x80, 0, 0]), "00:00:00");
    assert_eq!(text(ty::TIME2, 0, &[0x7f, 0xff, 0xff]), "-00:00:01");
    // -00:00:00.1 and -00:00:00.01: mysql_common printed 624:63:63.
    assert_eq!(text(ty::TIME2, 1, &[0x7f, 0xff, 0xff, 0xf6]), "-00:00:00.1");
    assert_eq!(text(ty::TIME2, 2, &[0x7f, 0xff, 0xff, 0xff]), "-00:00:00.01");
    assert_eq!(text(ty::TIME2, 2, &[0x7f, 0xff, 0xfe, 0xff]), "-00:00:01.01");
    assert_eq!(text(ty::TIME2, 3, &[0x7f, 0xff, 0xff, 0xff, 0xf6]), "-00:00:00.001");
    assert_eq!(text(ty::TIME2, 6, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff]), "-00:00:00.000001");
    assert_eq!(text(ty::TIME2, 6, &[0x80, 0, 0, 0, 0, 1]), "00:00:00.000001");
    let packed = 838_u32 << 12 | 59 << 6 | 59;
    let [_, high, middle, low] = (0x80_0000 + packed).to_be_bytes();
    assert_eq!(text(ty::TIME2, 0, &[high, middle, low]), "838:59:59");
    assert_eq!(text(ty::TIME2, 4, &[high, middle, low, 0, 0]), "838:59:59.0000");
    let [_, high, middle, low] = (0x80_0000 - packed).to_be_bytes();
    assert_eq!(text(ty::TIME2, 0, &[high, middle, low]), "-838:59:59");
    for (meta, bytes) in [(0, &[0xff; 3][..]), (0, &[0; 3]), (7, &[0x80; 7]), (1, &[0x80, 0, 0, 0xff])] {
        assert!(read_with(ty::TIME2, meta, ColumnHint::default(), bytes).is_err(), "{meta} {bytes:?}");
    }
}

#[test]
fn times_and_datetimes_of_before_5_6_4() {
    assert_eq!(text(ty::TIME, 0, &8_385_959_u32.to_le_bytes()[..3]), "838:59:59");
    assert_eq!(text(ty::TIME, 0, &(-10_203_i32).to_le_bytes()[..3]), "-01:02:03");
    assert_eq!(text(ty::DATETIME, 0, &20_240_229_235_958_u64.to_le_bytes()), "2024-02-29 23:59:58");
    assert_eq!(text(ty::DATETIME, 0, &[0; 8]), "0000-00-00 00:00:00");
    assert_eq!(text(ty::TIMESTAMP, 0, &[0; 4]), "0000-00-00 00:00:00");
    assert_eq!(text(ty::TIMESTAMP, 0, &1_u32.to_le_bytes()), "1970-01-01 00:00:01");
    assert!(read_with(ty::DATETIME, 0, ColumnHint::default(), &[0xff; 8]).is_err());
    assert!(read_with(ty::TIME, 0, ColumnHint::default(), &[0xff, 0xff, 0x7f]).is_err());
}

fn datetime2(parts: [u64; 6]) -> [u8; 5] {
    let [year, month, day, hour, minute, second] = parts;
    let packed = ((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second;
    let [_, _, _, bytes @ ..] = (packed + 0x80_0000_0000).to_be_bytes();
    bytes
}

#[test]
fn datetimes_of_every_fraction() {
    let bytes = datetime2([1000, 1, 1, 0, 0, 0]);
    assert_eq!(text(ty::DATETIME2, 0, &bytes), "1000-01-01 00:00:00");
    let bytes = datetime2([9999, 12, 31, 23, 59, 59]);
    for (fsp, fraction, expected) in [
        (1, &[90][..], ".9"),
        (2, &[99], ".99"),
        (3, &[0x27, 0x06], ".999"),
        (4, &[0x27, 0x0f], ".9999"),
        (5, &[0x0f, 0x42, 0x36], ".99999"),
        (6, &[0x0f, 0x42, 0x3f], ".999999"),
    ] {
        let expected = format!("9999-12-31 23:59:59{expected}");
        assert_eq!(text(ty::DATETIME2, fsp, &[&bytes[..], fraction].concat()), expected);
    }
    assert_eq!(text(ty::DATETIME2, 6, &[0x80, 0, 0, 0, 0, 0, 0, 0]), "0000-00-00 00:00:00.000000");
    assert_eq!(text(ty::DATETIME2, 0, &datetime2([2024, 0, 0, 1, 2, 3])), "2024-00-00 01:02:03");
    for bytes in [[0; 5], [0xff; 5]] {
        assert!(read_with(ty::DATETIME2, 0, ColumnHint::default(), &bytes).is_err());
    }
}

#[test]
fn timestamps_are_utc() {
    assert_eq!(text(ty::TIMESTAMP2, 0, &[0; 4]), "0000-00-00 00:00:00");
    assert_eq!(text(ty::TIMESTAMP2, 3, &[0; 6]), "0000-00-00 00:00:00.000");
    assert_eq!(text(ty::TIMESTAMP2, 0, &1_704_067_200_u32.to_be_bytes()), "2024-01-01 00:00:00");
    assert_eq!(text(ty::TIMESTAMP2, 0, &1_709_251_199_u32.to_be_bytes()), "2024-02-29 23:59:59");
    assert_eq!(
        text(ty::TIMESTAMP2, 6, &[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f]),
        "2038-01-19 03:14:07.999999"
    );
    assert_eq!(text(ty::TIMESTAMP2, 0, &[0xff; 4]), "2106-02-07 06:28:15");
}

#[test]
fn texts_and_blobs() {
    assert_eq!(read(ty::VARCHAR, 255, b"\x02ab"), Value::Bytes(b"ab".to_vec()));
    assert_eq!(read(ty::VARCHAR, 256, b"\x02\0ab"), Value::Bytes(b"ab".to_vec()));
    assert_eq!(read(ty::STRING, 1020, b"\x01\0a"), Value::Bytes(b"a".to_vec()));
    for (meta, bytes) in [(1, &b"\x01x"[..]), (2, b"\x01\0x"), (3, b"\x01\0\0x"), (4, b"\x01\0\0\0x")] {
        for type_code in [ty::BLOB, ty::TINY_BLOB, ty::GEOMETRY, ty::VECTOR] {
            assert_eq!(read(type_code, meta, bytes), Value::Bytes(b"x".to_vec()));
        }
    }
    // spirit PR 1123: an empty blob is not NULL and not a zero byte.
    assert_eq!(read(ty::BLOB, 2, b"\0\0"), Value::Bytes(Vec::new()));
    // The length is checked before anything is allocated.
    assert!(read_with(ty::BLOB, 4, ColumnHint::default(), &[0xff; 6]).is_err());
    assert!(read_with(ty::VARCHAR, 2, ColumnHint::default(), b"\x03abc").is_err());
    assert!(layout(ty::BLOB, 5, ColumnHint::default()).is_err());
}

// gh-ost#909 and vitess#8743.
#[test]
fn binary_gets_its_zero_bytes_back_and_char_does_not() {
    let binary = ColumnHint::new(false, true);
    assert_eq!(read_with(ty::STRING, 4, binary, b"\x02ab").unwrap(), Value::Bytes(b"ab\0\0".to_vec()));
    assert_eq!(read_with(ty::STRING, 4, binary, b"\0").unwrap(), Value::Bytes(vec![0; 4]));
    assert_eq!(read(ty::STRING, 4, b"\x02ab"), Value::Bytes(b"ab".to_vec()));
    // VARBINARY keeps its own.
    assert_eq!(read_with(ty::VARCHAR, 4, binary, b"\x03ab\0").unwrap(), Value::Bytes(b"ab\0".to_vec()));
}

#[test]
fn enums_and_sets_are_numbers() {
    assert_eq!(read(ty::ENUM, 1, &[0]), Value::UInt(0));
    assert_eq!(read(ty::ENUM, 2, &[1, 1]), Value::UInt(257));
    assert_eq!(read(ty::SET, 3, &[1, 0, 2]), Value::UInt(0x0002_0001));
    assert_eq!(read(ty::SET, 8, &[0xff; 8]), Value::UInt(u64::MAX));
    for (type_code, meta) in [(ty::ENUM, 0), (ty::ENUM, 3), (ty::SET, 0), (ty::SET, 9)] {
        assert!(layout(type_code, meta, ColumnHint::default()).is_err());
    }
}

#[test]
fn what_cannot_be_carried_is_said_so() {
    for type_code in
        [ty::MARIADB_BLOB_COMPRESSED, ty::MARIADB_VARCHAR_COMPRESSED, ty::TYPED_ARRAY, ty::DECIMAL, 200]
    {
        let error = layout(type_code, 1, ColumnHint::default()).unwrap_err();
        assert!(matches!(error.kind(), crate::error::ErrorKind::BinlogEvent { .. }), "{error}");
    }
}

proptest! {
    #[test]
    fn any_column_and_any_bytes_are_safe(
        type_code: u8,
        meta in prop_oneof![0_u16..10, any::<u16>()],
        unsigned: bool,
        binary: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(layout) = layout(type_code, meta, ColumnHint::new(unsigned, binary)) {
            let mut read = Bytes::new(&bytes, "test");
            if layout.read(&mut read, &mut RowImage::new()).is_ok() {
                let mut skipped = Bytes::new(&bytes, "test");
                prop_assert!(layout.skip(&mut skipped).is_ok());
                prop_assert_eq!(read.left(), skipped.left());
            }
            let _ = layout.read_json_diffs(&mut Bytes::new(&bytes, "test"));
        }
    }

    #[test]
    fn epochs_read_as_jiff_prints_them(seconds in 1_u32..) {
        let expected = jiff::Timestamp::from_second(seconds.into()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        prop_assert_eq!(text(ty::TIMESTAMP2, 0, &seconds.to_be_bytes()), expected.strftime("%Y-%m-%d %H:%M:%S").to_string());
    }

    #[test]
    fn times_round_trip(is_negative: bool, hour in 0_u32..=838, minute in 0_u32..60, second in 0_u32..60, micro in 0_u32..1_000_000, fsp in 0_u16..=6) {
        let unit = 10_u32.pow(u32::from(6 - fsp));
        let micro = micro / unit * unit;
        let stored_unit = 10_u32.pow(u32::from(6 - fsp.div_ceil(2) * 2));
        let bits = 8 * u32::from(fsp.div_ceil(2));
        let magnitude = i64::from(hour << 12 | minute << 6 | second) << bits | i64::from(micro / stored_unit);
        let stored = (0x80_0000_i64 << bits) + if is_negative { -magnitude } else { magnitude };
        let bytes = stored.to_be_bytes();
        let sign = if is_negative && magnitude != 0 { "-" } else { "" };
        let mut expected = format!("{sign}{hour:02}:{minute:02}:{second:02}");
        if fsp > 0 {
            expected.push_str(&format!(".{micro:06}")[..usize::from(fsp) + 1]);
        }
        prop_assert_eq!(text(ty::TIME2, fsp, &bytes[bytes.len() - 3 - usize::from(fsp.div_ceil(2))..]), expected);
    }
}
