//! Logs that were cut or changed: the exact prefix comes back, or the damage is named.

use super::*;
use crate::storage::testing::CrashDisk;

const DIR: &str = "/log";

/// Three entries in `log.1`, and where each ends; `sizes` are lengths of znode data.
fn small_log(sizes: &[usize], prealloc_kib: i64) -> (Vec<u8>, Vec<usize>) {
    let disk = CrashDisk::with_dir(DIR);
    let options = LogOptions { prealloc_kib, ..LogOptions::default() };
    let mut log = LogWriter::new(Arc::new(disk.clone()), DIR, options);
    let mut ends = vec![16];
    for (zxid, size) in (1..).zip(sizes) {
        let txn = create_txn(zxid, *size);
        log.append(Zxid(zxid), &txn).expect("append");
        log.sync().expect("sync");
        ends.push(ends[ends.len() - 1] + 12 + txn.len() + 1);
    }
    (disk.contents(&Path::new(DIR).join("log.1")).expect("log.1"), ends)
}

/// What is read from a directory with these files, and what is said about torn tails.
fn read(files: &[(&str, &[u8])], from: i64) -> Result<(Vec<i64>, Vec<TornTail>), StorageError> {
    let disk = CrashDisk::with_dir(DIR);
    files.iter().for_each(|(name, bytes)| disk.put(&Path::new(DIR).join(name), bytes));
    let mut log = LogReader::open(Arc::new(disk), Path::new(DIR), Zxid(from), Limits::default())?;
    let mut zxids = Vec::new();
    while let Some(entry) = log.next()? {
        assert_eq!(entry.txn, create_txn(entry.zxid().0, entry.txn.len() - empty_len(entry.zxid().0)));
        zxids.push(entry.zxid().0);
    }
    Ok((zxids, log.torn().to_vec()))
}

fn empty_len(zxid: i64) -> usize {
    create_txn(zxid, 0).len()
}

fn first(n: usize) -> Vec<i64> {
    (1..=n as i64).collect()
}

fn corrupt_at(result: Result<(Vec<i64>, Vec<TornTail>), StorageError>) -> (u64, String) {
    match result {
        Err(StorageError::Corrupt { offset, reason, .. }) => (offset, reason),
        other => panic!("corruption was not noticed: {other:?}"),
    }
}

#[test]
fn a_log_cut_anywhere_gives_the_entries_before_the_cut() {
    let (bytes, ends) = small_log(&[30, 900, 100], 1);
    for cut in 0..=ends[3] {
        let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        let (zxids, torn) = read(&[("log.1", &bytes[..cut])], 0).expect("readable");
        assert_eq!(zxids, first(whole), "cut at {cut}");
        // Only zeros can be left of an entry whose checksum begins with them.
        let is_silent = cut >= 16 && bytes[ends[whole]..cut].iter().all(|b| *b == 0);
        assert_eq!(torn.is_empty(), is_silent, "cut at {cut}: {torn:?}");
    }
}

#[test]
fn a_log_zeroed_from_anywhere_on_gives_the_entries_before() {
    let (bytes, ends) = small_log(&[30, 900, 100], 1);
    for cut in 0..=ends[3] {
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        // A header whose rest is zero is still a header, and one whose magic is half there is no torn sector's work.
        match read(&[("log.1", &zeroed)], 0) {
            Ok((zxids, _)) => assert_eq!(zxids, first(whole), "zeros from {cut}"),
            Err(StorageError::Corrupt { offset, .. }) => assert!(cut > 0 && cut < 4 && offset == 0, "{cut}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed_or_in_the_padding() {
    let (mut bytes, ends) = small_log(&[30, 300, 100], 0);
    bytes.resize(ends[3] + 60, 0);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let result = read(&[("log.1", &flipped)], 0);
            let what = format!("byte {at} bit {bit}");
            match at {
                0..4 => assert_eq!(corrupt_at(result).0, 0, "{what}"),
                // Java checks neither version nor database id.
                4..16 => assert_eq!(result.expect("readable").0, first(3), "{what}"),
                _ if at < ends[3] => {
                    let entry = ends.iter().rfind(|end| **end <= at).expect("16 is below");
                    assert_eq!(corrupt_at(result).0, *entry as u64, "{what}");
                }
                _ => {
                    let (zxids, torn) = result.expect("readable");
                    assert_eq!(zxids, first(3), "{what}");
                    assert_eq!(torn.len(), 1, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_lost_trailer_is_not_the_end_when_more_follows() {
    let (mut bytes, ends) = small_log(&[30, 40, 50], 1);
    bytes[ends[2] - 1] = 0;
    let (offset, reason) = corrupt_at(read(&[("log.1", &bytes)], 0));
    assert_eq!(offset, ends[1] as u64);
    assert!(reason.contains(&format!("byte {}", ends[2])), "{reason}");
}

#[test]
fn a_zeroed_entry_is_not_the_end_when_more_follows() {
    let (mut bytes, ends) = small_log(&[30, 40, 50], 1);
    bytes[ends[1]..ends[2]].fill(0);
    assert_eq!(corrupt_at(read(&[("log.1", &bytes)], 0)).0, ends[1] as u64);
}

#[test]
fn a_torn_tail_is_harmless_where_the_next_file_goes_on() {
    let (bytes, ends) = small_log(&[30, 40, 50], 1);
    let torn = &bytes[..ends[2] - 5];
    let next_log = |zxid: i64| {
        let disk = CrashDisk::with_dir(DIR);
        let mut log = LogWriter::new(
            Arc::new(disk.clone()),
            DIR,
            LogOptions { prealloc_kib: 1, ..LogOptions::default() },
        );
        log.append(Zxid(zxid), &create_txn(zxid, 5)).expect("append");
        log.sync().expect("sync");
        let name = file_name::log_name(Zxid(zxid));
        (name.clone(), disk.contents(&Path::new(DIR).join(name)).expect("log"))
    };
    let with_next = |zxid: i64, from: i64| {
        let (name, next) = next_log(zxid);
        read(&[("log.1", torn), (&name, &next)], from)
    };
    let (zxids, tails) = with_next(2, 0).expect("2 was written again");
    assert_eq!((zxids, tails.len()), (vec![1, 2], 1));
    let epoch_2 = 0x2_0000_0001;
    assert_eq!(with_next(epoch_2, 0).expect("2 was given up by the new leader").0, [1, epoch_2]);
    assert_eq!(with_next(9, 9).expect("a snapshot holds what is missing").0, [9]);
    assert_eq!(corrupt_at(with_next(9, 0)).0, ends[1] as u64);
}

#[test]
fn a_file_without_a_header_is_empty() {
    for empty in [&[][..], &[0; 9], &[0; 5000], b"ZKLG\0\0"] {
        let (zxids, torn) = read(&[("log.1", empty)], 0).expect("readable");
        assert_eq!(zxids, [0; 0]);
        assert_eq!((torn.len(), torn[0].offset), (1, 0));
    }
    let (bytes, ends) = small_log(&[30], 1);
    let mut headless = bytes.clone();
    headless[..16].fill(0);
    let (offset, reason) = corrupt_at(read(&[("log.1", &headless)], 0));
    assert_eq!(offset, 0);
    assert!(reason.contains("byte 16"), "{reason}");
    assert_eq!(read(&[("log.1", &bytes[..16])], 0).expect("readable"), (vec![], vec![]));
    assert_eq!(ends[0], 16);
}

#[test]
fn lengths_are_not_believed() {
    let (bytes, ends) = small_log(&[30, 40], 0);
    for length in [-1, i32::MIN, i32::MAX, 2_000_000] {
        let mut bad = bytes.clone();
        bad[ends[1] + 8..ends[1] + 12].copy_from_slice(&i32::to_be_bytes(length));
        assert_eq!(corrupt_at(read(&[("log.1", &bad)], 0)).0, ends[1] as u64);
    }
}

#[test]
fn an_entry_above_the_limit_is_named_as_such() {
    let (bytes, ends) = small_log(&[30, 5000], 1);
    let disk = CrashDisk::with_dir(DIR);
    disk.put(&Path::new(DIR).join("log.1"), &bytes);
    let limits = Limits { max_field: 1000, ..Limits::default() };
    let mut log = LogReader::open(Arc::new(disk), Path::new(DIR), Zxid(0), limits).expect("open");
    assert!(log.next().expect("the first is small").is_some());
    match log.next() {
        Err(e @ StorageError::TooLarge { offset, .. }) => {
            assert_eq!(offset, ends[1] as u64);
            assert!(e.to_string().contains("jute.maxbuffer"), "{e}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unknown_type_stops_the_reading() {
    let disk = CrashDisk::with_dir(DIR);
    let mut log = LogWriter::new(Arc::new(disk.clone()), DIR, LogOptions::default());
    let mut txn = create_txn(1, 3);
    txn[28..32].copy_from_slice(&13i32.to_be_bytes());
    log.append(Zxid(1), &txn).expect("append");
    log.sync().expect("sync");
    let bytes = disk.contents(&Path::new(DIR).join("log.1")).expect("log.1");
    let (offset, reason) = corrupt_at(read(&[("log.1", &bytes)], 0));
    assert_eq!(offset, 16);
    assert!(reason.contains("type=13"), "{reason}");
}

/// The end of the last entry is zeros, as if it had not reached the disk; but it had been synced.
#[test]
fn what_was_synced_cannot_be_torn() {
    let disk = CrashDisk::with_dir(DIR);
    let log_1 = Path::new(DIR).join("log.1");
    let mut log =
        LogWriter::new(Arc::new(disk.clone()), DIR, LogOptions { prealloc_kib: 8, ..LogOptions::default() });
    for zxid in 1..=2 {
        log.append(Zxid(zxid), &create_txn(zxid, 900)).expect("append");
    }
    log.sync().expect("sync");
    let end_of_first = 16 + 12 + create_txn(1, 900).len() + 1;
    let mut bytes = disk.contents(&log_1).expect("log.1");
    bytes[end_of_first + 700..].fill(0);
    disk.put(&log_1, &bytes);
    let read = |disk: &CrashDisk| {
        let mut log = LogReader::open(Arc::new(disk.clone()), Path::new(DIR), Zxid(0), Limits::default())?;
        log.next()?.expect("the first is whole");
        assert!(log.next()?.is_none());
        Ok((vec![], log.torn().to_vec()))
    };
    let (offset, reason) = corrupt_at(read(&disk));
    assert_eq!(offset, end_of_first as u64);
    assert!(reason.contains("synced"), "{reason}");
    disk.remove(&Path::new(DIR).join(".log.synced")).expect("remove");
    assert_eq!(read(&disk).expect("readable").1.len(), 1);
}

/// The beginning of a batch is missing and its end is there: a legal crash only behind what is known to be synced.
#[test]
fn a_hole_in_a_batch_is_torn_only_if_it_was_never_synced() {
    let disk = CrashDisk::with_dir(DIR);
    let dir = Path::new(DIR);
    let mut log =
        LogWriter::new(Arc::new(disk.clone()), DIR, LogOptions { prealloc_kib: 8, ..LogOptions::default() });
    log.append(Zxid(1), &create_txn(1, 100)).expect("append");
    log.sync().expect("sync");
    let old_mark = disk.contents(&dir.join(".log.synced")).expect("mark");
    for zxid in 2..=3 {
        log.append(Zxid(zxid), &create_txn(zxid, 1500)).expect("append");
    }
    log.sync().expect("sync");
    let mut bytes = disk.contents(&dir.join("log.1")).expect("log.1");
    bytes[512..1024].fill(0);
    let hole_at = 16 + 12 + create_txn(1, 100).len() as u64 + 1;
    let read = |mark: Option<&[u8]>| {
        let disk = CrashDisk::with_dir(DIR);
        disk.put(&dir.join("log.1"), &bytes);
        mark.into_iter().for_each(|mark| disk.put(&dir.join(".log.synced"), mark));
        let mut log = LogReader::open(Arc::new(disk), dir, Zxid(0), Limits::default())?;
        let mut zxids = Vec::new();
        while let Some(entry) = log.next()? {
            zxids.push(entry.zxid().0);
        }
        Ok((zxids, log.torn().to_vec()))
    };
    let (zxids, torn) = read(Some(&old_mark)).expect("readable");
    assert_eq!((zxids, torn[0].offset), (vec![1], hole_at));
    assert_eq!(corrupt_at(read(None)).0, hole_at);
    let new_mark = disk.contents(&dir.join(".log.synced")).expect("mark");
    assert_eq!(corrupt_at(read(Some(&new_mark))).0, hole_at);
    let mut bad_mark = old_mark;
    bad_mark[10] ^= 1;
    assert_eq!(corrupt_at(read(Some(&bad_mark))).0, hole_at, "a mark that does not check says nothing");
}
