//! What is written is read back, on the real disk.

use super::*;

fn real() -> (tempfile::TempDir, Arc<dyn Disk>) {
    (tempfile::tempdir().expect("tempdir"), Arc::new(RealDisk))
}

fn recover(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Recovered<Kept>, StorageError> {
    open(disk, dir, dir, RecoveryOptions::default(), Kept::default)
}

#[test]
fn a_fresh_directory_is_made_and_wants_a_snapshot() {
    let (dir, disk) = real();
    let data = dir.path().join("a/b");
    let recovered = recover(&disk, &data).expect("open");
    assert!(recovered.fresh);
    assert_eq!(recovered.last_zxid, Zxid::ZERO);
    assert!(data.join("version-2").is_dir());
    empty_snapshot(&disk, &recovered.snap_dir, Zxid::ZERO);
    drop(recovered);
    let again = recover(&disk, &data).expect("open again");
    assert!(!again.fresh);
    assert_eq!(again.snapshot.map(|(zxid, _)| zxid), Some(Zxid::ZERO));
}

#[test]
fn logged_txns_come_back_in_order_across_files() {
    let (dir, disk) = real();
    let first = recover(&disk, dir.path()).expect("open");
    empty_snapshot(&disk, &first.snap_dir, Zxid::ZERO);
    let mut log = LogWriter::new(disk.clone(), &first.log_dir, LogOptions::default());
    for zxid in 1..=5 {
        log.append(Zxid(zxid), &create_txn(zxid, 100)).expect("append");
    }
    assert_eq!(log.sync().expect("sync").file_len, 67108880);
    log.append(Zxid(6), &create_txn(6, 0)).expect("append");
    log.roll().expect("roll");
    log.append(Zxid(7), &create_txn(7, 3000)).expect("append");
    log.sync().expect("sync");
    let log_dir = first.log_dir.clone();
    drop(first);

    let again = recover(&disk, dir.path()).expect("open again");
    assert_eq!(again.sink.zxids(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(again.sink.txns[6].1, create_txn(7, 3000));
    assert_eq!(again.warnings, Vec::<String>::new());
    assert_eq!(again.last_zxid, Zxid(7));
    let logs = file_name::sorted(&*disk, &log_dir, file_name::LOG).expect("list");
    assert_eq!(logs.iter().map(|(z, _)| z.0).collect::<Vec<_>>(), [1, 7]);
}

#[test]
fn two_servers_cannot_open_one_directory() {
    let (dir, disk) = real();
    let _first = recover(&disk, dir.path()).expect("open");
    let second = recover(&disk, dir.path()).err().expect("refused");
    assert!(matches!(second, StorageError::InUse { .. }) && second.is_data_dir());
    assert!(second.to_string().contains(&*dir.path().join("version-2").to_string_lossy()), "{second}");
}
