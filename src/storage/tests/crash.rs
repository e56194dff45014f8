//! Power is lost after every single change to the disk, in every way the disk may then look: what was acknowledged is
//! there, in order, with nothing missing in between, and the server goes on from it.

use super::*;
use crate::storage::testing::CrashDisk;

const DATA: &str = "/data";

/// A disk, and what was promised after how many changes to it.
struct Story {
    disk: CrashDisk,
    /// (changes, newest zxid that was acknowledged by then)
    acked: Vec<(usize, i64)>,
    /// (changes, newest snapshot that was finished by then)
    saved: Vec<(usize, i64)>,
    /// (changes, newest zxid that may exist from then on), where the log was truncated
    cut: Option<(usize, usize, i64)>,
}

impl Story {
    fn begin() -> (Story, Arc<dyn Disk>) {
        let disk = CrashDisk::with_dir("/");
        let arc: Arc<dyn Disk> = Arc::new(disk.clone());
        (Story { disk, acked: vec![(0, 0)], saved: Vec::new(), cut: None }, arc)
    }

    fn ack(&mut self, zxid: i64) {
        self.acked.push((self.disk.now(), zxid));
    }

    fn save(&mut self, disk: &Arc<dyn Disk>, zxid: i64) {
        empty_snapshot(disk, &dirs(), Zxid(zxid));
        self.saved.push((self.disk.now(), zxid));
    }

    /// Loses power after every change and recovers each time.
    fn check(&self) {
        let mut images = 0;
        for at in 0..=self.disk.now() {
            let acked = self.acked.iter().rfind(|(when, _)| *when <= at).map_or(0, |(_, zxid)| *zxid);
            for (n, image) in self.disk.images(at).into_iter().enumerate() {
                let what = format!("image {n} after {at} changes");
                self.check_image(&image, at, acked, &what);
                images += 1;
            }
        }
        assert!(images > self.disk.now(), "only {images} images");
    }

    fn check_image(&self, image: &CrashDisk, at: usize, acked: i64, what: &str) {
        let recovered = recover(image).unwrap_or_else(|e| panic!("{what}: {e}"));
        let last = recovered.last_zxid.0;
        let saved = self.saved.iter().rfind(|(when, _)| *when <= at).map(|(_, zxid)| Zxid(*zxid));
        let snapshot = recovered.snapshot.as_ref().map(|(zxid, _)| *zxid);
        assert!(snapshot >= saved || self.cut.is_some(), "{what}: snapshot {saved:?} was finished");
        let base = recovered.snapshot.as_ref().map_or(0, |(zxid, _)| zxid.0);
        match self.cut {
            Some((from, to, cut)) if at >= from => {
                assert!(last >= cut, "{what}: {last}");
                assert!(at < to || last == cut, "{what}: {last} was cut");
            }
            _ => assert!(last >= acked, "{what}: {acked} was acknowledged, {last} is there"),
        }
        assert_eq!(recovered.sink.zxids(), (base + 1..=last).collect::<Vec<_>>(), "{what}");
        for (header, txn) in &recovered.sink.txns {
            assert_eq!(*txn, create_txn(header.zxid.0, size(header.zxid.0)), "{what}");
        }
        if !recovered.warnings.is_empty() {
            self.check_second_crash(image, last, what);
        }
        self.check_goes_on(image, recovered, what);
    }

    /// Power is lost again while the first crash is being cleaned up.
    fn check_second_crash(&self, image: &CrashDisk, last: i64, what: &str) {
        for at in 0..=image.now() {
            for again in image.images(at) {
                let recovered =
                    recover(&again).unwrap_or_else(|e| panic!("{what}, then after {at} more: {e}"));
                assert_eq!(recovered.last_zxid.0, last, "{what}, then after {at} more");
            }
        }
    }

    /// The next server life logs one more txn, which is there in the life after.
    fn check_goes_on(&self, image: &CrashDisk, recovered: Recovered<Kept>, what: &str) {
        let disk: Arc<dyn Disk> = Arc::new(image.clone());
        let next = recovered.last_zxid.next();
        if recovered.fresh {
            empty_snapshot(&disk, &recovered.snap_dir, Zxid::ZERO);
        }
        let mut log = writer(&disk, &recovered.log_dir);
        log.append(next, &create_txn(next.0, 1)).unwrap_or_else(|e| panic!("{what}: {e}"));
        log.sync().unwrap_or_else(|e| panic!("{what}: {e}"));
        drop(recovered);
        let again = recover(&image.restart()).unwrap_or_else(|e| panic!("{what}, second start: {e}"));
        assert_eq!(again.last_zxid, next, "{what}");
        assert_eq!(again.warnings, Vec::<String>::new(), "{what}: what was torn should have been cut");
    }
}

fn recover(disk: &CrashDisk) -> Result<Recovered<Kept>, StorageError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let data = Path::new(DATA);
    open(&disk, data, data, RecoveryOptions::default(), Kept::default)
}

fn writer(disk: &Arc<dyn Disk>, dir: &Path) -> LogWriter {
    LogWriter::new(disk.clone(), dir, LogOptions { prealloc_kib: 16, ..LogOptions::default() })
}

/// Batches of several entries over several sectors, and entries that share one.
fn size(zxid: i64) -> usize {
    [60, 700, 20, 1300][zxid as usize % 4]
}

fn append(log: &mut LogWriter, zxids: std::ops::RangeInclusive<i64>) {
    for zxid in zxids {
        log.append(Zxid(zxid), &create_txn(zxid, size(zxid))).expect("append");
    }
}

fn dirs() -> std::path::PathBuf {
    Path::new(DATA).join("version-2")
}

#[test]
fn the_first_start() {
    let (mut story, disk) = Story::begin();
    let recovered = recover(&story.disk).expect("open");
    empty_snapshot(&disk, &recovered.snap_dir, Zxid::ZERO);
    let mut log = writer(&disk, &recovered.log_dir);
    append(&mut log, 1..=1);
    log.sync().expect("sync");
    story.ack(1);
    append(&mut log, 2..=5);
    log.sync().expect("sync");
    story.ack(5);
    story.check();
}

#[test]
fn rolling_snapshots_and_purging() {
    let (mut story, disk) = Story::begin();
    drop(recover(&story.disk).expect("open"));
    let mut log = writer(&disk, &dirs());
    empty_snapshot(&disk, &dirs(), Zxid::ZERO);
    let mut last = 0;
    for _ in 0..5 {
        append(&mut log, last + 1..=last + 2);
        log.sync().expect("sync");
        story.ack(last + 2);
        append(&mut log, last + 3..=last + 3);
        log.roll().expect("roll");
        last += 3;
        story.ack(last);
        story.save(&disk, last);
    }
    let mut gone = Vec::new();
    purge(&*disk, &dirs(), &dirs(), 3, Limits::default(), |p| gone.push(p.path.to_owned())).expect("purge");
    assert_eq!(gone.len(), 5, "logs 1, 4 and snapshots 0, 3, 6: {gone:?}");
    story.check();
}

#[test]
fn truncation() {
    let (mut story, disk) = Story::begin();
    drop(recover(&story.disk).expect("open"));
    let mut log = writer(&disk, &dirs());
    empty_snapshot(&disk, &dirs(), Zxid::ZERO);
    append(&mut log, 1..=5);
    log.roll().expect("roll");
    append(&mut log, 6..=7);
    log.roll().expect("roll");
    empty_snapshot(&disk, &dirs(), Zxid(7));
    append(&mut log, 8..=9);
    log.sync().expect("sync");
    story.ack(9);
    let from = story.disk.now();
    let done = log.truncate(&dirs(), Zxid(3)).expect("truncate");
    assert_eq!(done.last, Some(Zxid(3)));
    story.cut = Some((from, story.disk.now(), 3));
    story.check();
}

#[test]
fn epochs_are_the_old_one_or_the_new_one() {
    let disk = CrashDisk::with_dir(DATA);
    let dir = Path::new(DATA);
    write_epoch(&disk, dir, EpochFile::Current, crate::ids::Epoch(4)).expect("write");
    let before = disk.now();
    write_epoch(&disk, dir, EpochFile::Current, crate::ids::Epoch(5)).expect("write");
    for at in before..=disk.now() {
        for image in disk.images(at) {
            let epoch = read_epoch(&image, dir, EpochFile::Current).expect("read").expect("there").0;
            assert!(epoch == 5 || epoch == 4 && at < disk.now(), "{epoch} after {at} changes");
        }
    }
    assert_eq!(disk.contents(&dir.join("currentEpoch")).as_deref(), Some(&b"5"[..]));
    assert_eq!(read_epoch(&disk, dir, EpochFile::Accepted).expect("read"), None);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = CrashDisk::with_dir(DATA);
    let mut log = writer(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(DATA));
    append(&mut log, 1..=1);
    disk.fail_syncs();
    let error = log.sync().expect_err("the device is broken").to_string();
    assert!(error.contains("/data/log.1"), "{error}");
    assert!(log.sync().is_err());
    assert!(log.append(Zxid(2), &create_txn(2, 1)).is_err());
}

/// A killed process leaves its last batch in the page cache: the next one reads it, votes with it and builds on it.
#[test]
fn what_recovery_has_read_stays() {
    let whole = CrashDisk::with_dir("/");
    drop(recover(&whole).expect("open"));
    let disk: Arc<dyn Disk> = Arc::new(whole.clone());
    empty_snapshot(&disk, &dirs(), Zxid::ZERO);
    let mut log = writer(&disk, &dirs());
    append(&mut log, 1..=1);
    log.sync().expect("sync");
    let killed = whole.restart();
    append(&mut log, 2..=3);
    log.sync().expect("sync");
    let path = dirs().join("log.1");
    let bytes = whole.contents(&path).expect("a log");
    killed.open_rw(&path).expect("open").write_all_at(&bytes, 0).expect("write");
    assert_eq!(recover(&killed).expect("open").last_zxid, Zxid(3));
    for image in killed.images(killed.now()) {
        assert_eq!(recover(&image).expect("open").last_zxid, Zxid(3));
    }
}
