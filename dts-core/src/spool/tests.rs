//! Against a model: a list of transactions. What a spool holds after anything that can happen to it is a beginning of that list.
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::binlog::{EventHeader, EventType, RawEvent};
use crate::data::{Gtid, GtidInterval};
use crate::error::{Code, Error};

const UUID: [u8; 16] = [7; 16];

fn options(folder: &Path) -> SpoolOptions {
    let mut options = SpoolOptions::new(folder);
    options.segment_bytes = 3000;
    options.block_bytes = 700;
    options.free_bytes_min = 0;
    options
}

fn selection() -> ObjectSelection {
    ObjectSelection::new(&["shop"], &[], &[]).unwrap()
}

fn open(options: SpoolOptions, applied: &GtidSet) -> Result<(Spool, SpoolWriter)> {
    Spool::open(options, "task", &selection(), applied)
}

fn set(from: u64, to: u64) -> GtidSet {
    let mut set = GtidSet::new();
    set.insert_interval(&UUID, None, GtidInterval { start: from, end: to + 1 });
    set
}

fn append(writer: &mut SpoolWriter, event_type: EventType, body: &[u8]) -> Result<()> {
    let event_size = u32::try_from(EventHeader::LENGTH + body.len()).unwrap();
    let header = EventHeader { timestamp: 9, event_type, server_id: 1, event_size, log_pos: 77, flags: 0 };
    writer.append(&RawEvent { header, body })
}

fn query(text: &str) -> Vec<u8> {
    [&[0; 8][..], &[0, 0, 0, 0, 0, 0], text.as_bytes()].concat()
}

fn map(database: &str, id: u8) -> Vec<u8> {
    let length = u8::try_from(database.len()).unwrap();
    [&[id, 0, 0, 0, 0, 0, 0, 0, length], database.as_bytes(), &[0, 1, b't', 0, 0]].concat()
}

/// Bytes that compress badly, so that lengths on disk follow.
fn noise(gno: u64, length: usize) -> Vec<u8> {
    let mut state = gno.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

fn begin(writer: &mut SpoolWriter, gno: u64) -> Result<()> {
    append(writer, EventType::Gtid, &[&[1][..], &UUID, &gno.to_le_bytes()].concat())?;
    append(writer, EventType::Query, &query("BEGIN"))
}

/// A transaction with one event of rows of the selected table and one of another.
fn rows(writer: &mut SpoolWriter, gno: u64, length: usize) -> Result<()> {
    append(writer, EventType::TableMap, &map("mysql", 1))?;
    append(writer, EventType::WriteRows, &[&[1, 0, 0, 0, 0, 0, 0, 0][..], b"secret"].concat())?;
    append(writer, EventType::TableMap, &map("shop", 2))?;
    append(writer, EventType::WriteRows, &[&[2, 0, 0, 0, 0, 0, 0, 0][..], &noise(gno, length)].concat())
}

fn transaction(writer: &mut SpoolWriter, gno: u64, length: usize) -> Result<()> {
    begin(writer, gno)?;
    rows(writer, gno, length)?;
    append(writer, EventType::Xid, &gno.to_le_bytes())
}

/// Reads until nothing more comes; checks each transaction's events and returns their numbers.
fn read_all(reader: &mut SpoolReader, lengths: &dyn Fn(u64) -> usize) -> Result<Vec<u64>> {
    let mut seen = Vec::new();
    let mut at = 0;
    while let Some(batch) = reader.next(Duration::ZERO)? {
        for event in batch.events() {
            assert_eq!((event.header.timestamp, event.header.log_pos), (9, 77));
            match (at, event.header.event_type) {
                (_, EventType::Rotate) => {}
                (0, EventType::Gtid) => {
                    seen.push(u64::from_le_bytes(*event.body.last_chunk().unwrap()));
                    at = 1;
                }
                (1, EventType::Query) => at = 2,
                (2, EventType::TableMap) => {
                    assert_eq!(event.body, map("shop", 2));
                    at = 3;
                }
                (3, EventType::WriteRows) => {
                    let gno = *seen.last().unwrap();
                    assert_eq!(&event.body[8..], noise(gno, lengths(gno)));
                    at = 4;
                }
                (4, EventType::Xid) => at = 0,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(at, 0, "a transaction was not whole");
    Ok(seen)
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    disk::numbers(folder).unwrap().into_iter().map(|number| disk::path_of(folder, number)).collect()
}

fn code(error: &Error) -> Code {
    error.code()
}

#[test]
fn a_reader_follows_the_writer_and_files_go_when_they_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = |gno: u64| if gno == 20 { 9000 } else { 300 };
    let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    let mut reader = spool.reader(&GtidSet::new()).unwrap();
    let mut seen = Vec::new();
    append(&mut writer, EventType::Rotate, b"x").unwrap();
    for gno in 1..=40 {
        transaction(&mut writer, gno, lengths(gno)).unwrap();
        if gno % 3 == 0 {
            writer.flush().unwrap();
            seen.extend(read_all(&mut reader, &lengths).unwrap());
            assert_eq!(seen, (1..=gno).collect::<Vec<_>>());
        }
    }
    assert!(files(folder.path()).len() > 4);
    assert!(spool.bytes_waiting() > 40 * 300);
    writer.flush().unwrap();
    assert_eq!(spool.spooled(), set(1, 40));
    // Another reader, of what a restarted applier lacks.
    let mut second = spool.reader(&set(1, 17).union(&set(19, 30))).unwrap();
    assert_eq!(read_all(&mut second, &lengths).unwrap(), [18].into_iter().chain(31..=40).collect::<Vec<_>>());
    let before = files(folder.path()).len();
    spool.release(&set(1, 30)).unwrap();
    assert!(files(folder.path()).len() < before);
    spool.release(&set(31, 40)).unwrap();
    assert_eq!((spool.bytes_waiting(), spool.is_applied()), (0, true));
    writer.complete_file().unwrap();
    spool.release(&GtidSet::new()).unwrap();
    assert!(files(folder.path()).is_empty());
    transaction(&mut writer, 41, 300).unwrap();
    writer.flush().unwrap();
    assert_eq!(read_all(&mut second, &lengths).unwrap(), [41]);
}

/// A large transaction is on the disk in parts before its end has come; nobody sees it, and it can be taken back.
#[test]
fn a_stream_that_breaks_off_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    let mut reader = spool.reader(&GtidSet::new()).unwrap();
    transaction(&mut writer, 1, 100).unwrap();
    writer.flush().unwrap();
    let lengths = |_| 100;
    assert_eq!(read_all(&mut reader, &lengths).unwrap(), [1]);
    let before = fs::metadata(&files(folder.path())[0]).unwrap().len();
    begin(&mut writer, 2).unwrap();
    for _ in 0..20 {
        rows(&mut writer, 2, 500).unwrap();
    }
    assert!(fs::metadata(&files(folder.path())[0]).unwrap().len() > before + 5000);
    assert!(read_all(&mut reader, &lengths).unwrap().is_empty());
    writer.rewind().unwrap();
    assert_eq!(fs::metadata(&files(folder.path())[0]).unwrap().len(), before);
    assert_eq!(spool.spooled(), set(1, 1));
    for gno in 2..=3 {
        transaction(&mut writer, gno, 100).unwrap();
    }
    // The next stream begins with a transaction that is there already.
    writer.flush().unwrap();
    transaction(&mut writer, 2, 100).unwrap();
    writer.flush().unwrap();
    assert_eq!(read_all(&mut reader, &lengths).unwrap(), [2, 3]);
}

/// A log file that ends in the middle of a transaction, because the source died: the next file begins with others.
#[test]
fn a_source_that_died_in_a_transaction_leaves_no_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    transaction(&mut writer, 1, 50).unwrap();
    begin(&mut writer, 2).unwrap();
    append(&mut writer, EventType::Rotate, b"next").unwrap();
    transaction(&mut writer, 3, 50).unwrap();
    writer.flush().unwrap();
    let mut reader = spool.reader(&GtidSet::new()).unwrap();
    assert_eq!(read_all(&mut reader, &|_| 50).unwrap(), [1, 3]);
    assert_eq!(spool.spooled(), set(1, 1).union(&set(3, 3)));
}

#[test]
fn a_full_spool_stops_before_its_limit_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.bytes_max = 20_000;
    let (spool, mut writer) = open(options, &GtidSet::new()).unwrap();
    let mut gno = 0;
    let error = loop {
        gno += 1;
        if let Err(error) = transaction(&mut writer, gno, 300).and_then(|()| writer.flush()) {
            break error;
        }
    };
    assert_eq!(code(&error), Code(4009));
    assert!(error.hint().contains("apply.spool_gib_max"), "{error:?}");
    writer.rewind().unwrap();
    writer.complete_file().unwrap();
    let on_disk: u64 = files(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(on_disk <= 20_000 + 16, "{on_disk}");
    assert!(!spool.has_room() && !spool.is_applied());
    let mut reader = spool.reader(&GtidSet::new()).unwrap();
    assert_eq!(read_all(&mut reader, &|_| 300).unwrap(), (1..gno).collect::<Vec<_>>());
    spool.release(&set(1, gno - 1)).unwrap();
    assert!(spool.has_room());
    transaction(&mut writer, gno, 300).unwrap();
    writer.flush().unwrap();
    assert_eq!(read_all(&mut reader, &|_| 300).unwrap(), [gno]);
}

#[test]
fn the_disk_is_never_filled() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.free_bytes_min = u64::MAX / 2;
    let (_spool, mut writer) = open(options, &GtidSet::new()).unwrap();
    transaction(&mut writer, 1, 300).unwrap();
    let error = writer.flush().unwrap_err();
    assert_eq!(code(&error), Code(4009));
    assert!(error.to_string().contains("must stay free"), "{error}");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_spool_belongs_to_one_process_and_one_task() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    transaction(&mut writer, 1, 300).unwrap();
    writer.flush().unwrap();
    assert_eq!(code(&open(options(folder.path()), &GtidSet::new()).map(drop).unwrap_err()), Code(1003));
    assert_eq!(code(&Spool::discard(folder.path()).unwrap_err()), Code(1003));
    drop((spool, writer));
    let (spool, writer) = Spool::open(options(folder.path()), "other", &selection(), &set(1, 9)).unwrap();
    assert_eq!((spool.spooled(), files(folder.path()).len()), (set(1, 9), 0));
    drop((spool, writer));
    Spool::discard(folder.path()).unwrap();
    assert!(!folder.path().exists());
    Spool::discard(folder.path()).unwrap();
}

#[test]
fn a_spool_that_begins_behind_what_is_applied_is_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut writer) = open(options(folder.path()), &set(1, 5)).unwrap();
    transaction(&mut writer, 6, 300).unwrap();
    writer.flush().unwrap();
    drop((spool, writer));
    let (spool, _writer) = open(options(folder.path()), &set(1, 4)).unwrap();
    assert_eq!(spool.spooled(), set(1, 4));
    assert!(files(folder.path()).is_empty());
}

/// Damage in the middle is never skipped.
#[test]
fn damage_in_the_middle_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    for gno in 1..=30 {
        transaction(&mut writer, gno, 300).unwrap();
    }
    writer.flush().unwrap();
    drop((spool, writer));
    let second = files(folder.path())[1].clone();
    let bytes = fs::read(&second).unwrap();
    let mut wrong = bytes.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 4;
    fs::write(&second, &wrong).unwrap();
    let (spool, writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
    let mut reader = spool.reader(&GtidSet::new()).unwrap();
    let error = read_all(&mut reader, &|_| 300).unwrap_err();
    assert_eq!(code(&error), Code(4010));
    assert!(error.to_string().contains(".segment"), "{error}");
    assert!(error.hint().contains("delete"), "{error:?}");
    drop((spool, writer, reader));
    // Cut off, with other files behind it.
    fs::write(&second, &bytes[..middle]).unwrap();
    let error = open(options(folder.path()), &GtidSet::new()).map(drop).unwrap_err();
    assert_eq!(code(&error), Code(4010));
}

/// What can happen to the last file when the machine dies.
#[derive(Clone, Debug)]
enum Harm {
    Cut(usize),
    Flip(usize, u8),
    Zeros(usize),
    Garbage(Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<usize>().prop_map(Harm::Cut),
        (any::<usize>(), 1..255_u8).prop_map(|(at, bits)| Harm::Flip(at, bits)),
        any::<usize>().prop_map(Harm::Zeros),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(Harm::Garbage),
    ]
}

fn do_harm(bytes: &mut Vec<u8>, harm: &Harm) {
    match harm {
        Harm::Cut(at) => bytes.truncate(at % (bytes.len() + 1)),
        Harm::Flip(at, bits) => {
            let at = at % bytes.len();
            bytes[at] ^= bits;
        }
        Harm::Zeros(at) => {
            let at = at % bytes.len();
            bytes[at..].fill(0);
        }
        Harm::Garbage(garbage) => bytes.extend(garbage),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens to the newest file, what is left is a beginning, `spooled` says which, and the rest can be written again.
    #[test]
    fn a_damaged_end_is_cut_off_and_written_again(
        lengths in prop::collection::vec(0..2500_usize, 1..25),
        flushes in prop::collection::vec(any::<bool>(), 25),
        applied in 0..25_u64,
        unfinished: bool,
        harms in prop::collection::vec(harm(), 1..3),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let length_of = |gno: u64| lengths[usize::try_from(gno).unwrap() - 1];
        let count = lengths.len() as u64;
        for round in harms.iter().map(Some).chain([None]) {
            let known = {
                let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
                let known = spool.spooled();
                let before = known.count();
                let expected = if before == 0 { GtidSet::new() } else { set(1, before) };
                prop_assert_eq!(known, expected);
                for gno in before + 1..=count {
                    transaction(&mut writer, gno, length_of(gno)).unwrap();
                    if flushes[usize::try_from(gno).unwrap() % 25] {
                        writer.flush().unwrap();
                    }
                }
                if unfinished {
                    begin(&mut writer, count + 1).unwrap();
                    rows(&mut writer, count + 1, 5000).unwrap();
                }
                if round.is_none() {
                    writer.flush().unwrap();
                    let applied = if applied == 0 { GtidSet::new() } else { set(1, applied) };
                    let mut reader = spool.reader(&applied).unwrap();
                    let seen = read_all(&mut reader, &length_of).unwrap();
                    prop_assert_eq!(seen, (applied.count() + 1..=count).collect::<Vec<_>>());
                }
                spool.spooled()
            };
            if let Some(harm) = round {
                let Some(last) = files(folder.path()).pop() else { continue };
                let mut bytes = fs::read(&last).unwrap();
                do_harm(&mut bytes, harm);
                fs::write(&last, &bytes).unwrap();
                let (spool, writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
                prop_assert!(spool.spooled().is_subset(&known));
                let mut reader = spool.reader(&GtidSet::new()).unwrap();
                let seen = read_all(&mut reader, &length_of).unwrap();
                prop_assert_eq!(&seen, &(1..=seen.len() as u64).collect::<Vec<_>>());
                prop_assert_eq!(spool.spooled().count(), seen.len() as u64);
                drop(writer);
            }
        }
    }

    /// No file, whatever is in it, makes a reader panic or hand out what was not written.
    #[test]
    fn any_file_is_read_or_refused(at: prop::sample::Index, harm in harm()) {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut writer) = open(options(folder.path()), &GtidSet::new()).unwrap();
        for gno in 1..=20 {
            transaction(&mut writer, gno, 400).unwrap();
        }
        writer.flush().unwrap();
        drop((spool, writer));
        let files = files(folder.path());
        let file = &files[at.index(files.len())];
        let mut bytes = fs::read(file).unwrap();
        do_harm(&mut bytes, &harm);
        fs::write(file, &bytes).unwrap();
        let read = open(options(folder.path()), &GtidSet::new()).and_then(|(spool, _writer)| {
            read_all(&mut spool.reader(&GtidSet::new())?, &|_| 400)
        });
        match read {
            Ok(seen) => prop_assert_eq!(&seen, &(1..=seen.len() as u64).collect::<Vec<_>>()),
            Err(error) => prop_assert_eq!(code(&error), Code(4010)),
        }
    }

    #[test]
    fn any_bytes_are_no_segment_or_one(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert_eq!(segment::count_events(&bytes), 0);
    }
}

#[test]
fn a_length_is_not_believed() {
    // A header and blocks that claim 4 GiB, with and without a right checksum.
    let header = SegmentHeader { identity: "x".into(), number: 1, start: GtidSet::new() };
    let mut bytes = header.to_bytes().unwrap();
    bytes.extend([0xff; 8]);
    bytes.extend([1, 0, 0, 0, 9, 9, 9, 9, 1, 2, 3]);
    assert_eq!(segment::count_events(&bytes), 0);
    let mut block = bytes[..bytes.len() - 19].to_vec();
    let mut head = [[0; 4], [0xff; 4], [1, 0, 0, 0]].concat();
    head.extend(crc32fast::hash(&head).to_le_bytes());
    block.extend(head);
    assert_eq!(segment::count_events(&block), 0);
    let mut bytes = header.to_bytes().unwrap();
    bytes[12..16].fill(0xff);
    assert_eq!(segment::count_events(&bytes), 0);
}

#[test]
fn gtids_of_several_servers_with_tags() {
    let folder = tempfile::tempdir().unwrap();
    let start = GtidSet::parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:tag:7-9").unwrap();
    let (spool, mut writer) = open(options(folder.path()), &start).unwrap();
    transaction(&mut writer, 1, 10).unwrap();
    writer.flush().unwrap();
    drop((spool, writer));
    let (spool, _writer) = open(options(folder.path()), &start).unwrap();
    assert_eq!(spool.spooled(), start.union(&set(1, 1)));
    assert!(spool.spooled().contains(&Gtid { uuid: UUID, tag: None, gno: 1 }));
}
