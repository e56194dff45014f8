//! What the writer refuses, truncation and purging.

use std::path::PathBuf;

use super::*;
use crate::storage::testing::CrashDisk;

const DIR: &str = "/d";

fn setup() -> (Arc<dyn Disk>, LogWriter) {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::with_dir(DIR));
    let log = LogWriter::new(disk.clone(), DIR, LogOptions { prealloc_kib: 4, ..LogOptions::default() });
    (disk, log)
}

fn dir() -> &'static Path {
    Path::new(DIR)
}

/// One file with these txns.
fn file(log: &mut LogWriter, zxids: &[i64]) {
    for zxid in zxids {
        log.append(Zxid(*zxid), &create_txn(*zxid, 30)).expect("append");
    }
    log.roll().expect("roll");
}

fn logged(disk: &Arc<dyn Disk>) -> Vec<i64> {
    let mut log = LogReader::open(disk.clone(), dir(), Zxid(0), Limits::default()).expect("open");
    let mut zxids = Vec::new();
    while let Some(entry) = log.next().expect("entry") {
        zxids.push(entry.zxid().0);
    }
    zxids
}

fn names(disk: &Arc<dyn Disk>) -> Vec<String> {
    let mut names = disk.list(dir()).expect("list");
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    names
}

#[test]
fn txns_out_of_order_and_strange_bytes_are_refused() {
    let (disk, mut log) = setup();
    log.append(Zxid(5), &create_txn(5, 1)).expect("append");
    assert!(log.append(Zxid(5), &create_txn(5, 1)).is_err());
    assert!(log.append(Zxid(4), &create_txn(4, 1)).is_err());
    assert!(log.append(Zxid(6), &create_txn(7, 1)).is_err(), "the header says 7");
    assert!(log.append(Zxid(6), &[0; 31]).is_err());
    log.append(Zxid(6), &create_txn(6, 1)).expect("the refused ones did no harm");
    log.sync().expect("sync");
    assert_eq!(logged(&disk), [5, 6]);
}

#[test]
fn a_log_with_txns_is_never_overwritten() {
    let (disk, mut log) = setup();
    file(&mut log, &[5, 6]);
    let mut second = LogWriter::new(disk.clone(), DIR, LogOptions::default());
    let error = second.append(Zxid(5), &create_txn(5, 1)).expect_err("log.5 is there");
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(logged(&disk), [5, 6]);
}

#[test]
fn truncation_ends_the_log_with_the_zxid() {
    let (disk, mut log) = setup();
    empty_snapshot(&disk, dir(), Zxid(0));
    file(&mut log, &[1, 2, 3, 4, 5]);
    file(&mut log, &[6, 7]);
    empty_snapshot(&disk, dir(), Zxid(4));
    let done = log.truncate(dir(), Zxid(3)).expect("truncate");
    assert_eq!(done.last, Some(Zxid(3)));
    assert_eq!(done.removed, [PathBuf::from("/d/snapshot.4"), PathBuf::from("/d/log.6")]);
    assert_eq!(logged(&disk), [1, 2, 3]);
    assert_eq!(names(&disk), ["log.1", "snapshot.0"]);
    let len = disk.len(&dir().join("log.1")).expect("len");
    assert_eq!(
        len,
        16 + 3 * (12 + create_txn(1, 30).len() as u64 + 1),
        "cut right behind the entry, as Java does"
    );
    file(&mut log, &[4]);
    assert_eq!(logged(&disk), [1, 2, 3, 4]);
}

/// Java keeps the next higher txn instead.
#[test]
fn a_zxid_that_does_not_exist_cuts_before_the_next_higher() {
    let (disk, mut log) = setup();
    let next_epoch = 0x1_0000_0001;
    empty_snapshot(&disk, dir(), Zxid(0));
    file(&mut log, &[1, 2, next_epoch]);
    let done = log.truncate(dir(), Zxid(9)).expect("truncate");
    assert_eq!(done.last, Some(Zxid(2)));
    assert_eq!(logged(&disk), [1, 2]);
}

#[test]
fn truncation_before_every_log_leaves_the_snapshot() {
    let (disk, mut log) = setup();
    empty_snapshot(&disk, dir(), Zxid(50));
    file(&mut log, &[51, 52]);
    let done = log.truncate(dir(), Zxid(50)).expect("truncate");
    assert_eq!(done.last, None);
    assert_eq!(names(&disk), ["snapshot.32"]);
}

#[test]
fn truncation_is_refused_where_nothing_could_be_replayed() {
    let (disk, mut log) = setup();
    let refused = |result: Result<_, StorageError>| matches!(result, Err(StorageError::Truncate { .. }));
    assert!(refused(log.truncate(dir(), Zxid(5)).map(|_| ())), "no logs");
    file(&mut log, &[1, 2, 3]);
    empty_snapshot(&disk, dir(), Zxid(3));
    assert!(refused(log.truncate(dir(), Zxid(2)).map(|_| ())), "no snapshot up to 2");
    assert_eq!(names(&disk), ["log.1", "snapshot.3"], "a refusal changes nothing");
}

#[test]
fn purging_keeps_what_the_kept_snapshots_need() {
    let (disk, mut log) = setup();
    for n in 0..6 {
        empty_snapshot(&disk, dir(), Zxid(n * 10));
        file(&mut log, &[n * 10 + 5]);
    }
    let mut told = Vec::new();
    let failed =
        purge(&*disk, dir(), dir(), 3, Limits::default(), |p| told.push(p.path.to_owned())).expect("purge");
    assert!(failed.is_empty());
    // Kept: snapshots 30, 40, 50 and log.25, which may go on behind 30.
    assert_eq!(
        names(&disk),
        ["log.19", "log.23", "log.2d", "log.37", "snapshot.1e", "snapshot.28", "snapshot.32"]
    );
    assert_eq!(told.len(), 5);
}

/// ZOOKEEPER-3231: three broken snapshots must not push out the good ones.
#[test]
fn purging_counts_only_good_snapshots() {
    let (disk, mut log) = setup();
    for n in 0..4 {
        empty_snapshot(&disk, dir(), Zxid(n * 10));
        file(&mut log, &[n * 10 + 5]);
    }
    for name in ["snapshot.64", "snapshot.65"] {
        disk.create(&dir().join(name)).expect("create").write_all_at(b"ZKSN unfinished", 0).expect("write");
    }
    empty_snapshot(&disk, dir(), Zxid(0x66));
    let mut rotten = disk.open_rw(&dir().join("snapshot.66")).expect("open");
    rotten.write_all_at(&[0xff], 40).expect("write");
    purge(&*disk, dir(), dir(), 3, Limits::default(), |_| {}).expect("purge");
    let kept = names(&disk);
    for good in ["snapshot.a", "snapshot.14", "snapshot.1e", "log.5", "log.f"] {
        assert!(kept.contains(&good.to_owned()), "{good} is gone: {kept:?}");
    }
    assert!(!kept.contains(&"snapshot.0".to_owned()));
}

#[test]
fn nothing_is_purged_without_a_good_snapshot() {
    let (disk, mut log) = setup();
    file(&mut log, &[1]);
    file(&mut log, &[2]);
    disk.create(&dir().join("snapshot.2")).expect("create");
    purge(&*disk, dir(), dir(), 3, Limits::default(), |p| panic!("{} was to go", p.path.display()))
        .expect("purge");
}

#[test]
fn dates_look_like_java_s() {
    let utc = jiff::tz::TimeZone::UTC;
    // jshell, JDK 17, TZ=UTC: DateFormat.getDateTimeInstance(…, Locale.US).format(1700000000000L)
    assert_eq!(purge::java_date(1_700_000_000_000, &utc), "Nov 14, 2023, 10:13:20 PM");
    assert_eq!(purge::java_date(0, &utc), "Jan 1, 1970, 12:00:00 AM");
}

#[test]
fn a_directory_s_size_is_the_sum_of_its_files() {
    let (disk, mut log) = setup();
    let empty = dir_size(&*disk, dir());
    assert_eq!(empty, 0);
    file(&mut log, &[1]);
    assert_eq!(dir_size(&*disk, dir()), 16 + 4096 + 24, "a log of one step and the mark of its sync");
    assert_eq!(dir_size(&*disk, Path::new("/nowhere")), 0);
}
