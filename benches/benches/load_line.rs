//! The hot path of the full load: a row's packet from the source into a line of LOAD DATA.
//!
//! `cargo bench -p dts-bench --bench load_line`
//!
//! Time is per row. That it allocates nothing is `benches/tests/allocations.rs`.
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use dts_core::sql::load::{self, CellCoding};
use dts_core::wire::Cells;

/// What a packet of LOAD DATA holds before it is sent.
const PACKET: usize = 192 << 10;

/// Builds a row's packet of the text protocol.
fn packet(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut packet = Vec::new();
    for cell in cells {
        match cell {
            None => packet.push(0xfb),
            Some(cell) => {
                match cell.len() {
                    length @ 0..=250 => packet.push(u8::try_from(length).expect("small")),
                    length @ 251..=0xffff => {
                        packet.push(0xfc);
                        packet.extend_from_slice(&u16::try_from(length).expect("two bytes").to_le_bytes());
                    }
                    length => {
                        packet.push(0xfd);
                        packet.extend_from_slice(&u32::try_from(length).expect("small").to_le_bytes()[..3]);
                    }
                }
                packet.extend_from_slice(cell);
            }
        }
    }
    packet
}

fn append_lines(criterion: &mut Criterion) {
    use CellCoding::{Bare, EnumLabel, Escaped, Json};
    let text = b"68487932199-96439406143-93774651418-41631865787-96406072701-20604855487-25459966574-28203206787-41238978918-19503783441";
    let bytes: Vec<u8> = (0..16_u32 << 10).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let document = br#"{"name": "shop", "sizes": [1, 2, 3], "open": true, "note": "a \"quoted\" word"}"#;
    let sets: [(&str, &[CellCoding], Vec<u8>); 4] = [
        (
            "sysbench, 195 bytes",
            &[Bare, Bare, Escaped, Escaped],
            packet(&[Some(b"500001"), Some(b"249937"), Some(text), Some(&text[..59])]),
        ),
        (
            "ten columns, 3 NULL",
            &[Bare, Escaped, Escaped, Bare, Bare, Bare, Bare, Bare, EnumLabel, Escaped],
            packet(&[
                Some(b"18446744073709551615"),
                Some(b"000000123ab12cd34"),
                Some("c4ca4238a0b923820dcc509a6f75849b \u{e4}\u{4e2d} 1".as_bytes()),
                Some(b"12345.67"),
                None,
                None,
                Some(b"2024-01-01 00:00:00.123"),
                Some(b"2017-07-14 02:40:01"),
                Some(b"paid"),
                None,
            ]),
        ),
        ("BLOB, 16 KiB of any bytes", &[Bare, Escaped], packet(&[Some(b"1"), Some(&bytes)])),
        ("JSON, 80 bytes", &[Bare, Json], packet(&[Some(b"1"), Some(document)])),
    ];
    let mut group = criterion.benchmark_group("append_line");
    for (name, codings, packet) in sets {
        group.throughput(Throughput::Bytes(packet.len() as u64));
        let mut output = Vec::with_capacity(PACKET + (64 << 10));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                if output.len() >= PACKET {
                    output.clear();
                }
                load::append_line(&mut output, Cells::new(black_box(&packet)), codings)
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    append_lines(&mut criterion);
    criterion.final_summary();
}
