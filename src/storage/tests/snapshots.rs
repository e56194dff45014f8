//! Snapshots that were cut or changed, and what streams through the encoder and decoder.

use super::*;
use crate::storage::{
    snapshot::{SnapshotDecoder, is_candidate, load_newest, read_file},
    testing::CrashDisk,
};

const DIR: &str = "/snap";

fn sample() -> Kept {
    let stat = |n: i64| StatPersisted {
        czxid: Zxid(n),
        mzxid: Zxid(n + 1),
        ctime: 1_700_000_000_000 + n,
        mtime: n,
        version: 3,
        cversion: -1,
        aversion: 2,
        ephemeral_owner: -n,
        pzxid: Zxid(n + 2),
    };
    Kept {
        sessions: vec![(0x1000_0000_0000_0001, 30000), (-5, 4000)],
        acls: vec![
            (1, vec![Acl::new(31, "world", "anyone")]),
            (2, vec![Acl::new(1, "digest", "\u{e9}:x"), Acl::new(31, "ip", "10.0.0.0/8")]),
        ],
        nodes: vec![
            (String::new(), Some(vec![]), -1, stat(0)),
            ("/a".into(), None, 1, stat(5)),
            ("/a/\u{5b57}".into(), Some(vec![0; 600]), 2, stat(7)),
            ("/b".into(), Some(b"b".to_vec()), 1, stat(9)),
        ],
        ..Kept::default()
    }
}

fn write(kept: &Kept, zxid: i64) -> (CrashDisk, Vec<u8>) {
    let disk = CrashDisk::with_dir(DIR);
    let options = SnapshotOptions { sync_every: 100 };
    let mut file =
        SnapshotFile::create(Arc::new(disk.clone()), Path::new(DIR), Zxid(zxid), options).expect("create");
    kept.encode(file.encoder());
    let path = file.finish().expect("finish");
    let bytes = disk.contents(&path).expect("the snapshot");
    (disk, bytes)
}

fn read(bytes: &[u8]) -> Result<Kept, String> {
    let disk = CrashDisk::with_dir(DIR);
    let path = Path::new(DIR).join("snapshot.5");
    disk.put(&path, bytes);
    let mut kept = Kept::default();
    let result = read_file(&disk, &path, Limits::default(), &mut kept).map(|()| kept);
    if !is_candidate(&disk, &path) {
        assert!(load_newest(&disk, Path::new(DIR), Limits::default(), Kept::default).is_err());
    }
    result
}

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    let (_, bytes) = write(&sample(), 5);
    assert_eq!(read(&bytes), Ok(sample()));
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let root = Kept { nodes: vec![(String::new(), None, -1, StatPersisted::default())], ..Kept::default() };
    let (_, bytes) = write(&root, 5);
    let mut expected = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    expected.extend([0; 8]); // no sessions, no ACLs
    expected.extend([0; 4]); // the root's path
    expected.extend([0xff; 4]); // null data
    expected.extend([0xff; 8]); // open ACL
    expected.extend([0; 60]);
    expected.extend(*b"\0\0\0\x01/");
    let sum = u64::from(simd_adler32::adler32(&&expected[..]));
    expected.extend(sum.to_be_bytes());
    expected.extend(*b"\0\0\0\x01/");
    assert_eq!(bytes, expected);
}

#[test]
fn a_snapshot_cut_anywhere_is_refused() {
    let (_, bytes) = write(&sample(), 5);
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_, bytes) = write(&sample(), 5);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(read(&flipped).is_err(), "byte {at} bit {bit}");
        }
    }
}

/// 3.6 and newer append sections that a 3.5 server does not read.
#[test]
fn what_newer_versions_append_is_accepted() {
    let (_, mut bytes) = write(&sample(), 5);
    bytes.extend([7; 28]);
    bytes.extend(*b"\0\0\0\x01/");
    assert_eq!(read(&bytes), Ok(sample()));
}

#[test]
fn no_length_is_believed() {
    let (_, bytes) = write(&Kept { sessions: vec![], acls: vec![], ..sample() }, 5);
    for (field, name) in [(24, "path"), (28, "data")] {
        for length in [-2, i32::MIN, i32::MAX, 3 << 20] {
            let mut bad = bytes.clone();
            bad[field..field + 4].copy_from_slice(&i32::to_be_bytes(length));
            let reason = read(&bad).expect_err(name);
            assert!(reason.contains("Unreasonable length"), "{name} {length}: {reason}");
        }
    }
    for count in [16, 20] {
        let mut bad = bytes.clone();
        bad[count..count + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(read(&bad).is_err());
    }
}

#[test]
fn a_dropped_snapshot_leaves_nothing() {
    let disk = CrashDisk::with_dir(DIR);
    let options = SnapshotOptions::default();
    let file =
        SnapshotFile::create(Arc::new(disk.clone()), Path::new(DIR), Zxid(5), options).expect("create");
    let names = disk.list(Path::new(DIR)).expect("list");
    assert!(names.len() == 1 && names[0].starts_with(".snapshot.5."), "{names:?}");
    drop(file);
    assert_eq!(disk.list(Path::new(DIR)).expect("list"), [""; 0]);
}

/// A leader's stream: no header, no checksum, and it may arrive in any pieces.
#[test]
fn a_stream_is_decoded_in_any_pieces() {
    let mut encoder = SnapshotEncoder::new(Vec::new());
    sample().encode(&mut encoder);
    encoder.end_nodes().expect("end");
    encoder.flush().expect("flush");
    let mut stream = encoder.get_mut().clone();
    let body = stream.len();
    stream.extend(*b"BenWasHere");
    for piece in [1, 7, 64, 1000, usize::MAX] {
        let mut kept = Kept::default();
        let mut decoder = SnapshotDecoder::new(Limits::default());
        let (mut start, mut end) = (0, 0);
        loop {
            let progress = decoder.decode(&stream[start..end], &mut kept).expect("decode");
            start += progress.consumed;
            if progress.need == 0 {
                break;
            }
            assert!(start + progress.need > end, "it asked for what it has");
            end = end.saturating_add(piece).min(stream.len());
        }
        assert_eq!((start, &kept), (body, &sample()), "pieces of {piece}");
    }
}

#[test]
fn a_node_that_the_sink_refuses_makes_the_snapshot_bad() {
    struct Refusing;
    impl SnapshotSink for Refusing {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, _: i64, _: Vec<Acl>) {}
        fn node(&mut self, path: &str, _: Option<&[u8]>, _: i64, _: &StatPersisted) -> Result<(), String> {
            if path == "/b" { Err(format!("no parent of {path}")) } else { Ok(()) }
        }
    }
    let (disk, _) = write(&sample(), 5);
    let error = load_newest(&disk, Path::new(DIR), Limits::default(), || Refusing).err().expect("refused");
    assert!(error.to_string().contains("no parent of /b"), "{error}");
}
