//! Anything that is written is read back.

use proptest::prelude::*;

use super::*;
use crate::storage::testing::CrashDisk;

const DIR: &str = "/p";

fn stat() -> impl Strategy<Value = StatPersisted> {
    (any::<[i64; 5]>(), any::<[i32; 3]>(), any::<i64>()).prop_map(|(l, i, owner)| StatPersisted {
        czxid: Zxid(l[0]),
        mzxid: Zxid(l[1]),
        ctime: l[2],
        mtime: l[3],
        version: i[0],
        cversion: i[1],
        aversion: i[2],
        ephemeral_owner: owner,
        pzxid: Zxid(l[4]),
    })
}

/// Without characters beyond U+FFFF, which Java cannot read back itself (B§1.2).
fn text() -> impl Strategy<Value = String> {
    "[\u{1}-\u{d7ff}\u{e000}-\u{ffff}]{0,12}"
}

fn kept() -> impl Strategy<Value = Kept> {
    let data = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    let node = (text(), data, any::<i64>(), stat());
    let acl = (any::<i32>(), text(), text()).prop_map(|(perms, scheme, id)| Acl::new(perms, scheme, id));
    let acls = (any::<i64>(), prop::collection::vec(acl, 0..4));
    (
        prop::collection::vec(any::<(i64, i32)>(), 0..5),
        prop::collection::vec(acls, 0..5),
        prop::collection::vec(node, 0..20),
    )
        .prop_map(|(sessions, acls, mut nodes)| {
            nodes.iter_mut().for_each(|node| node.0.insert_str(0, "/x"));
            Kept { sessions, acls, nodes, ..Kept::default() }
        })
}

proptest! {
    #[test]
    fn snapshots(kept in kept(), sync_every in 1u64..2000) {
        let disk = CrashDisk::with_dir(DIR);
        let arc: Arc<dyn Disk> = Arc::new(disk.clone());
        let options = SnapshotOptions { sync_every };
        let mut file = SnapshotFile::create(arc, Path::new(DIR), Zxid(1), options).expect("create");
        kept.encode(file.encoder());
        let path = file.finish().expect("finish");
        let mut read = Kept::default();
        prop_assert_eq!(snapshot::read_file(&disk, &path, Limits::default(), &mut read), Ok(()));
        prop_assert_eq!(read, kept);
    }

    /// Batches and rolls anywhere, with and without preallocation; the mark of B§6.2, zeros, behind the data.
    #[test]
    fn logs(
        steps in prop::collection::vec((0usize..3000, 0u8..4), 1..40),
        prealloc_kib in 0i64..9,
        from in 0i64..45,
    ) {
        let disk: Arc<dyn Disk> = Arc::new(CrashDisk::with_dir(DIR));
        let options = LogOptions { prealloc_kib, ..LogOptions::default() };
        let mut log = LogWriter::new(disk.clone(), DIR, options);
        let mut expected = Vec::new();
        for (zxid, (size, then)) in (1..).zip(steps) {
            let txn = create_txn(zxid, size);
            log.append(Zxid(zxid), &txn).expect("append");
            if zxid >= from {
                expected.push(txn);
            }
            match then {
                0 => log.roll().expect("roll"),
                1 => drop(log.sync().expect("sync")),
                _ => {}
            }
        }
        log.sync().expect("sync");
        let mut reader = LogReader::open(disk, Path::new(DIR), Zxid(from), Limits::default()).expect("open");
        let mut read = Vec::new();
        while let Some(entry) = reader.next().expect("entry") {
            read.push(entry.txn.to_vec());
        }
        prop_assert_eq!(read, expected);
        prop_assert_eq!(reader.torn(), &[]);
    }

    /// Bytes that nobody wrote are refused or read as nothing; they never panic and never size an allocation.
    #[test]
    fn strange_files(bytes in prop::collection::vec(any::<u8>(), 0..600), header in any::<bool>()) {
        let disk = CrashDisk::with_dir(DIR);
        let dir = Path::new(DIR);
        let with = |magic: &[u8]| if header { [magic, &bytes].concat() } else { bytes.clone() };
        disk.put(&dir.join("log.1"), &with(b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0"));
        disk.put(&dir.join("snapshot.1"), &with(b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"));
        disk.put(&dir.join("snapshot.2.gz"), &with(b"\x1f\x8b"));
        disk.put(&dir.join("snapshot.3.snappy"), &with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
        let arc: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut log = LogReader::open(arc, dir, Zxid(0), Limits::default()).expect("open");
        if let Ok(entry) = log.next() {
            prop_assert!(entry.is_none());
        }
        let loaded = snapshot::load_newest(&disk, dir, Limits::default(), Kept::default);
        prop_assert!(loaded.is_err());
    }
}
