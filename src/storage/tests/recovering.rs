//! Which state a start takes, and when it refuses to start.

use super::*;
use crate::storage::testing::CrashDisk;

const DATA: &str = "/data";
const LOGS: &str = "/logs";

struct Setup {
    disk: CrashDisk,
}

impl Setup {
    fn new() -> Setup {
        let disk = CrashDisk::with_dir("/");
        for dir in [DATA, LOGS] {
            disk.create_dir_all(&Path::new(dir).join("version-2")).expect("mkdir");
        }
        Setup { disk }
    }

    fn arc(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn log(&self, zxids: &[i64]) {
        let mut log =
            LogWriter::new(self.arc(), dir_of(LOGS), LogOptions { prealloc_kib: 4, ..LogOptions::default() });
        for zxid in zxids {
            log.append(Zxid(*zxid), &create_txn(*zxid, 30)).expect("append");
        }
        log.sync().expect("sync");
    }

    fn snapshot(&self, zxid: i64) {
        empty_snapshot(&self.arc(), &dir_of(DATA), Zxid(zxid));
    }

    fn spoil(&self, name: &str) {
        let path = dir_of(DATA).join(name);
        let mut bytes = self.disk.contents(&path).expect(name);
        let in_the_stat = bytes.len() - 30;
        bytes[in_the_stat] ^= 0x40;
        self.disk.put(&path, &bytes);
    }

    fn open_with(&self, options: RecoveryOptions) -> Result<Recovered<Kept>, StorageError> {
        open(&self.arc(), Path::new(DATA), Path::new(LOGS), options, Kept::default)
    }

    fn open(&self) -> Result<Recovered<Kept>, StorageError> {
        self.open_with(RecoveryOptions::default())
    }

    fn refusal(&self) -> StorageError {
        self.open().err().expect("the start must be refused")
    }
}

fn dir_of(dir: &str) -> std::path::PathBuf {
    Path::new(dir).join("version-2")
}

#[test]
fn txns_behind_the_snapshot_are_replayed() {
    let setup = Setup::new();
    setup.log(&[1, 2, 3]);
    setup.snapshot(2);
    let recovered = setup.open().expect("open");
    assert_eq!(recovered.sink.zxids(), [3]);
    assert_eq!(recovered.sink.ended, Some(Zxid(2)));
    assert_eq!((recovered.last_zxid, recovered.replayed, recovered.fresh), (Zxid(3), 1, false));
    assert_eq!(recovered.snapshot, Some((Zxid(2), dir_of(DATA).join("snapshot.2"))));
}

#[test]
fn logs_without_a_snapshot_stop_the_start() {
    let setup = Setup::new();
    setup.log(&[1, 2]);
    let error = setup.refusal().to_string();
    assert!(
        error.starts_with("No snapshot found, but there are log entries. Something is broken!"),
        "{error}"
    );
    assert!(error.contains("/logs/version-2/log.1"), "{error}");
    let trusting = RecoveryOptions { trust_empty: true, ..RecoveryOptions::default() };
    let recovered = setup.open_with(trusting).expect("trust.empty");
    assert_eq!(recovered.sink.zxids(), [1, 2]);
    assert!(!recovered.fresh);
}

#[test]
fn a_broken_snapshot_gives_way_to_the_one_before() {
    let setup = Setup::new();
    setup.snapshot(0);
    setup.log(&[1, 2, 3]);
    setup.snapshot(2);
    setup.spoil("snapshot.2");
    let recovered = setup.open().expect("open");
    assert_eq!(recovered.snapshot.map(|(zxid, _)| zxid), Some(Zxid(0)));
    assert_eq!(recovered.sink.zxids(), [1, 2, 3]);
    assert_eq!(recovered.sink.nodes.len(), 1, "nothing of the broken one is left");
    assert!(recovered.warnings[0].contains("snapshot.2"), "{:?}", recovered.warnings);
}

/// After SNAP a learner's log begins behind the snapshot. Without that snapshot, the older one and the log do not make the
/// state that was acknowledged.
#[test]
fn a_gap_behind_an_older_snapshot_is_not_jumped() {
    let setup = Setup::new();
    setup.snapshot(0);
    setup.log(&[1, 2]);
    setup.snapshot(50);
    setup.log(&[51]);
    assert_eq!(setup.open().expect("open").sink.zxids(), [51]);
    setup.spoil("snapshot.32");
    assert!(matches!(setup.refusal(), StorageError::Corrupt { .. }));
}

#[test]
fn a_state_that_is_lost_is_not_taken_for_a_fresh_start() {
    let setup = Setup::new();
    setup.snapshot(50);
    setup.spoil("snapshot.32");
    let error = setup.refusal();
    assert!(matches!(error, StorageError::BadSnapshots { .. }), "{error}");
    assert!(error.to_string().contains("/data/version-2/snapshot.32 (CRC corruption)"), "{error}");
}

#[test]
fn an_unfinished_first_snapshot_is_a_fresh_start() {
    let setup = Setup::new();
    setup.disk.put(&dir_of(DATA).join("snapshot.0"), b"ZKSN\0\0");
    assert!(setup.open().expect("open").fresh);
    setup.log(&[1]);
    assert!(matches!(setup.refusal(), StorageError::NoSnapshot { .. }));
}

#[test]
fn unfinished_snapshots_are_removed() {
    let setup = Setup::new();
    setup.snapshot(0);
    let tmp = dir_of(DATA).join(".snapshot.7.tmp");
    setup.disk.put(&tmp, b"ZKSN");
    let recovered = setup.open().expect("open");
    assert!(!setup.disk.exists(&tmp));
    assert!(recovered.warnings[0].contains(".snapshot.7.tmp"), "{:?}", recovered.warnings);
}

#[test]
fn swapped_directories_are_refused() {
    let setup = Setup::new();
    setup.disk.put(&dir_of(LOGS).join("snapshot.0"), b"");
    let error = setup.refusal();
    assert!(error.is_data_dir());
    assert!(
        error.to_string().starts_with("Log directory has snapshot files. Check if dataLogDir"),
        "{error}"
    );

    let setup = Setup::new();
    setup.disk.put(&dir_of(DATA).join("log.1"), b"");
    let error = setup.refusal();
    assert!(error.is_data_dir());
    assert!(
        error.to_string().starts_with("Snapshot directory has log files. Check if dataLogDir"),
        "{error}"
    );
}

#[test]
fn a_missing_directory_is_made_unless_that_is_forbidden() {
    let disk: Arc<dyn Disk> = Arc::new(CrashDisk::with_dir("/"));
    let strict = RecoveryOptions { autocreate: false, ..RecoveryOptions::default() };
    let data = Path::new(DATA);
    let error = open(&disk, data, data, strict, Kept::default).err().expect("refused");
    assert!(error.is_data_dir());
    assert_eq!(
        error.to_string(),
        "Missing data directory /data/version-2, automatic data directory creation is disabled \
         (zookeeper.datadir.autocreate is false). Please create this directory manually."
    );
    assert!(open(&disk, data, data, RecoveryOptions::default(), Kept::default).expect("open").fresh);
}

#[test]
fn a_txn_that_cannot_be_decoded_stops_the_start() {
    let setup = Setup::new();
    setup.snapshot(0);
    let mut log = LogWriter::new(setup.arc(), dir_of(LOGS), LogOptions::default());
    let txn = create_txn(1, 0);
    log.append(Zxid(1), &txn[..40]).expect("append");
    log.sync().expect("sync");
    match setup.refusal() {
        e @ StorageError::Replay { offset: 16, zxid: Zxid(1), .. } => {
            assert!(e.to_string().contains("/logs/version-2/log.1"), "{e}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_empty_newest_log_does_not_stop_the_start() {
    let setup = Setup::new();
    setup.snapshot(0);
    setup.log(&[1, 2]);
    let empty = dir_of(LOGS).join("log.3");
    setup.disk.put(&empty, b"");
    let recovered = setup.open().expect("open");
    assert_eq!(recovered.last_zxid, Zxid(2));
    assert!(recovered.warnings[0].contains("log.3"), "{:?}", recovered.warnings);
    assert!(!setup.disk.exists(&empty), "Java could not open the directory");
}

#[test]
fn a_gap_in_the_log_is_reported() {
    let setup = Setup::new();
    setup.snapshot(0);
    setup.log(&[1, 2, 0x1_0000_0001, 0x1_0000_0003]);
    let recovered = setup.open().expect("Java would start, too");
    assert_eq!(recovered.replayed, 4);
    assert_eq!(recovered.warnings.len(), 1);
    assert!(recovered.warnings[0].contains("0x100000001 to 0x100000003"), "{:?}", recovered.warnings);
}

/// Servers of old have logged txns again that they had already; once is enough, and no reason to refuse the start.
#[test]
fn a_txn_that_was_logged_twice_is_replayed_once() {
    let setup = Setup::new();
    setup.snapshot(0);
    setup.log(&[1, 2, 3, 4]);
    setup.log(&[3, 4, 5]);
    setup.snapshot(4);
    setup.spoil("snapshot.4");
    assert_eq!(setup.open().expect("open").sink.zxids(), [1, 2, 3, 4, 5]);
}
