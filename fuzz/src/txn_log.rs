//! Any bytes as the log files of a directory, once as they are and once with every checksum made good.
//!
//! The reader returns what a plain walk over the files finds, in order, and says so wherever it leaves something out: an
//! error, a torn tail with nothing valid behind it, or zeros to the end.

use std::{path::Path, sync::Arc};

use ferrokeeper::{
    ids::Zxid,
    jute::Limits,
    proto::txn::{self, Txn, TxnError, TxnHeader},
    storage::{LogOptions, LogReader, LogWriter},
};

use super::memory::MemoryDisk;

const DIR: &str = "/log";
const HEADER: usize = 16;

pub fn run(data: &[u8]) {
    read(split_files(data));
    let mut mended = split_files(data);
    mended.iter_mut().for_each(|(_, file)| mend(file));
    read(mended);
}

/// A new file begins at each magic; it is named after its first txn, as a writer would.
fn split_files(data: &[u8]) -> Vec<(Zxid, Vec<u8>)> {
    let mut starts: Vec<usize> = (1..data.len()).filter(|at| data[*at..].starts_with(b"ZKLG")).collect();
    starts.push(data.len());
    let mut from = 0;
    let mut files: Vec<(Zxid, Vec<u8>)> = Vec::new();
    for end in starts {
        let bytes = data[from..end].to_vec();
        let header = bytes.get(HEADER + 12..).and_then(|txn| txn::split_header(txn, Limits::default()).ok());
        let zxid = header.map_or(1 + from as i64, |(header, _)| header.zxid.0.max(0));
        if files.iter().all(|(known, _)| known.0 != zxid) {
            files.push((Zxid(zxid), bytes));
        }
        from = end;
    }
    files.sort();
    files
}

/// The entry at `at`: from its checksum to its trailer, if it is that long.
fn entry_at(file: &[u8], at: usize) -> Option<&[u8]> {
    let word = file.get(at + 8..at + 12)?;
    let length = i32::from_be_bytes(word.try_into().ok()?);
    if length <= 0 {
        return None;
    }
    file.get(at..at + 13 + length as usize)
}

fn mend(file: &mut [u8]) {
    let mut at = HEADER;
    while let Some(length) = entry_at(file, at).map(<[u8]>::len) {
        let sum = adler32(&file[at + 12..at + length - 1]);
        file[at..at + 8].copy_from_slice(&u64::from(sum).to_be_bytes());
        file[at + length - 1] = b'B';
        at += length;
    }
}

/// RFC 1950, written out: not the implementation under test.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

fn valid_txn(file: &[u8], at: usize) -> Option<&[u8]> {
    let entry = entry_at(file, at)?;
    let txn = &entry[12..entry.len() - 1];
    let sum = u64::from(adler32(txn)).to_be_bytes();
    (entry.ends_with(b"B") && entry[..8] == sum && txn.len() >= TxnHeader::LEN).then_some(txn)
}

fn has_known_kind(txn: &[u8]) -> bool {
    let kind = txn[28..32].try_into().map_or(0, i32::from_be_bytes);
    !matches!(Txn::decode(kind, &[], Limits::default()), Err(TxnError::UnknownType(_)))
}

/// The valid entries at the front of a file, and where they end.
fn walk(file: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut at = HEADER;
    let mut txns = Vec::new();
    while let Some(txn) = valid_txn(file, at).filter(|_| file.starts_with(b"ZKLG")) {
        txns.push(txn);
        at += 13 + txn.len();
    }
    (txns, at)
}

fn read(files: Vec<(Zxid, Vec<u8>)>) {
    let disk = Arc::new(MemoryDisk::default());
    for (zxid, bytes) in &files {
        disk.put(format!("{DIR}/log.{:x}", zxid.0), bytes.clone());
    }
    let mut log =
        LogReader::open(disk.clone(), Path::new(DIR), Zxid(i64::MIN), Limits::default()).expect("list");
    let expected: Vec<&[u8]> = files.iter().flat_map(|(_, file)| walk(file).0).collect();
    let mut found: Vec<Vec<u8>> = Vec::new();
    let ended = loop {
        match log.next() {
            Ok(Some(entry)) => found.push(entry.txn.to_vec()),
            Ok(None) => break true,
            Err(e) => {
                assert!(!e.to_string().is_empty());
                break false;
            }
        }
    };
    assert!(expected.len() >= found.len() && expected.iter().zip(&found).all(|(e, f)| *e == &f[..]));
    if !ended {
        return;
    }
    assert_eq!(found.len(), expected.len(), "entries were left out without a word");
    for (zxid, file) in &files {
        let (_, end) = walk(file);
        let rest = file.get(end..).unwrap_or_default();
        let name = format!("{DIR}/log.{:x}", zxid.0);
        let torn = log.torn().iter().any(|tail| tail.file == Path::new(&name));
        assert!(torn || rest.iter().all(|b| *b == 0), "{name}: bytes were passed over without a word");
        let behind = (end..file.len()).find(|at| valid_txn(file, *at).is_some_and(has_known_kind));
        assert_eq!(behind, None, "{name}: there is a valid entry behind what was taken for the end");
    }
    truncate(disk, &expected);
}

/// Cut in the middle, the log ends there.
fn truncate(disk: Arc<MemoryDisk>, txns: &[&[u8]]) {
    let zxids: Vec<i64> =
        txns.iter().map(|t| i64::from_be_bytes(t[12..20].try_into().expect("eight"))).collect();
    let Some(to) = zxids.get(zxids.len() / 2).filter(|_| zxids.is_sorted() && zxids[0] > 0) else { return };
    disk.put(format!("{DIR}/snapshot.0"), b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\x01/".to_vec());
    let mut writer = LogWriter::new(disk.clone(), DIR, LogOptions::default());
    if writer.truncate(Path::new(DIR), Zxid(*to)).is_ok() {
        let mut log = LogReader::open(disk, Path::new(DIR), Zxid::ZERO, Limits::default()).expect("list");
        while let Some(entry) = log.next().expect("a log that was cut can be read") {
            assert!(entry.zxid() <= Zxid(*to));
        }
    }
}
