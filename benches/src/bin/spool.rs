//! The spool alone: nanoseconds of CPU per row event for writing and for reading it, what compression brings, and the memory that a
//! large transaction takes.
//!
//! ```text
//! cargo run --release -p dts-bench --bin spool [FOLDER] [TRANSACTIONS] [ROWS PER TRANSACTION]
//! ```
//! Row events are like those of sysbench `oltp_write_only`: about 400 bytes, half of them digits that do not repeat. The folder may lie
//! on a small disk: what happens then is printed, too.
use std::time::{Duration, Instant};

use dts_core::binlog::{EventHeader, EventType, RawEvent};
use dts_core::data::GtidSet;
use dts_core::spool::{Spool, SpoolOptions, SpoolWriter};
use dts_core::transform::ObjectSelection;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a number"))
    };
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = arguments.first().map_or_else(|| temporary.path().join("spool"), Into::into);
    let (transactions, rows) = (number(1, 100_000), number(2, 4));

    let mut options = SpoolOptions::new(&folder);
    options.free_bytes_min = number(3, 256) << 20;
    let selection = ObjectSelection::new(&["sbtest"], &[], &[]).expect("a selection");
    let (spool, mut writer) =
        Spool::open(options, "bench", &selection, &GtidSet::new()).expect("an open spool");
    println!("rss before: {} MiB", rss_mib());
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let mut bytes = 0;
    for gno in 1..=transactions {
        match transaction(&mut writer, gno, rows) {
            Ok(more) => bytes += more,
            Err(error) => {
                println!("after {gno} transactions: {error:?}");
                writer.rewind().expect("taken back");
                return println!("files: {} MiB, kept {}", spool.bytes_waiting() >> 20, spool.spooled());
            }
        }
    }
    writer.flush().expect("written");
    writer.complete_file().expect("complete");
    let events = transactions * rows;
    report("written", events, bytes, begun, cpu);
    println!("{} MiB on the disk for {} MiB of log", spool.bytes_waiting() >> 20, bytes >> 20);

    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let mut reader = spool.reader(&GtidSet::new()).expect("a reader");
    let mut seen = 0;
    while let Some(batch) = reader.next(Duration::ZERO).expect("whole") {
        seen += batch.events().filter(|event| event.header.event_type == EventType::UpdateRows).count();
    }
    assert_eq!(seen as u64, events);
    report("read", events, bytes, begun, cpu);

    // Near the head every transaction is flushed by itself.
    let begun = Instant::now();
    let rounds = 2000;
    for gno in transactions + 1..=transactions + rounds {
        transaction(&mut writer, gno, 4).expect("written");
        writer.flush().expect("flushed");
        reader.next(Duration::from_secs(1)).expect("whole").expect("a batch");
    }
    println!(
        "one by one: {:.1} us from the writer to the reader",
        begun.elapsed().as_secs_f64() * 1e6 / rounds as f64
    );
    println!("largest rss: {} MiB", rss_peak_mib());
}

fn report(what: &str, events: u64, bytes: u64, begun: Instant, cpu: f64) {
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{what}: {events} row events in {wall:.2} s, {:.0} ns CPU each, {:.0} MiB/s of log; rss {} MiB",
        cpu * 1e9 / events as f64,
        bytes as f64 / wall / f64::from(1 << 20),
        rss_mib()
    );
}

fn transaction(writer: &mut SpoolWriter, gno: u64, rows: u64) -> dts_core::error::Result<u64> {
    let mut bytes = 0;
    let mut append = |event_type: EventType, body: &[u8]| {
        let event_size = u32::try_from(EventHeader::LENGTH + body.len()).expect("small");
        bytes += u64::from(event_size);
        let header = EventHeader {
            timestamp: 1_700_000_000,
            event_type,
            server_id: 1,
            event_size,
            log_pos: 0,
            flags: 0,
        };
        writer.append(&RawEvent { header, body })
    };
    append(EventType::Gtid, &[&[0; 1][..], &[7; 16], &gno.to_le_bytes()].concat())?;
    append(EventType::Query, &[&[0; 14][..], b"BEGIN"].concat())?;
    for row in 0..rows {
        append(
            EventType::TableMap,
            b"\x01\0\0\0\0\0\x01\0\x06sbtest\0\x07sbtest1\0\x04\x03\x03\xfe\xfe\x04\xee\xfe\xee\xfe\0",
        )?;
        let mut body = b"\x01\0\0\0\0\0\x01\0\x02\0\x04\xff\xff".to_vec();
        let mut state = (gno << 20 | row).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for half in 0..2 {
            body.extend(row.to_le_bytes());
            for _ in 0..9 + half {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                body.extend(format!("{:020}-", state).bytes());
            }
        }
        append(EventType::UpdateRows, &body)?;
    }
    append(EventType::Xid, &gno.to_le_bytes())?;
    Ok(bytes)
}

fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") >> 10
}

fn rss_mib() -> u64 {
    status("VmRSS:")
}

fn rss_peak_mib() -> u64 {
    status("VmHWM:")
}

/// CPU seconds of this process, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("our own stat");
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks: u32 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    f64::from(ticks) / 100.0
}
