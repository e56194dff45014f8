//! The thread that owns what must be durable: the txn log, the epoch files, and the log's truncation. It takes everything
//! that has queued up, carries it out in order, makes it durable with one fsync and says so; while it syncs, the next batch
//! gathers (`SyncRequestProcessor`).
//!
//! 1. An epoch is written only when everything queued before it is durable (ZOOKEEPER-3911, 4643, 4646).
//! 2. A snapshot asked for here is the whole history from then on: what the disk has beyond its zxid is cut. What is newer
//!    must be queued behind it; what is queued behind it and is not newer, it has already.
//! 3. The first error is the last (fsyncgate: a retried fsync may claim what is lost).

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

use super::{
    clock::Clock,
    fatal,
    restore::Restore,
    shared::{CoreMsg, Shared},
    snapshot_job,
};
use crate::{
    db::{Database, capture::Capture},
    ids::{Epoch, Millis, Zxid},
    replica::Input,
    storage::{self, Disk, EpochFile, LogWriter, RecoveryOptions, StorageError, recovery::VERSION_DIR},
    zab::{self, Token},
};

#[derive(Debug)]
enum Item {
    Append {
        zxid: Zxid,
        txn: Bytes,
    },
    Roll,
    Epoch(EpochFile, Epoch),
    Snapshot(Arc<Capture>),
    /// `before`: the newest token queued before this one, to be answered first.
    Truncate {
        to: Zxid,
        token: Token,
        before: Option<Token>,
    },
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    last: Option<Token>,
    sleeping: bool,
}

/// What the core has for the disk. Tokens must grow; each is answered by `Persisted` of it or of a later one, except a
/// truncation's, which `Reloaded` answers.
#[derive(Debug, Default)]
pub struct LogQueue {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl LogQueue {
    pub fn append(&self, token: Token, zxid: Zxid, txn: Bytes) {
        self.push(token, Item::Append { zxid, txn });
    }

    pub fn epoch(&self, token: Token, which: EpochFile, epoch: Epoch) {
        self.push(token, Item::Epoch(which, epoch));
    }

    /// `capture`: of the state that replaces what the disk has. It is ended when it is written.
    pub fn snapshot(&self, token: Token, capture: Arc<Capture>) {
        self.push(token, Item::Snapshot(capture));
    }

    pub fn truncate(&self, token: Token, to: Zxid) {
        let mut queue = self.queue.lock();
        let before = queue.last.take();
        queue.items.push(Item::Truncate { to, token, before });
    }

    pub fn roll(&self) {
        self.queue.lock().items.push(Item::Roll);
    }

    fn push(&self, token: Token, item: Item) {
        let mut queue = self.queue.lock();
        queue.items.push(item);
        queue.last = Some(token);
    }

    /// At the end of a batch: until then the thread may as well sleep.
    pub fn wake(&self) {
        let mut queue = self.queue.lock();
        if queue.sleeping && !queue.items.is_empty() {
            queue.sleeping = false;
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Waits for something to do and takes all of it.
    fn take(&self, items: &mut Vec<Item>) -> Option<Token> {
        let mut queue = self.queue.lock();
        while queue.items.is_empty() {
            queue.sleeping = true;
            self.wake.wait(&mut queue);
        }
        queue.sleeping = false;
        std::mem::swap(&mut queue.items, items);
        queue.last.take()
    }
}

/// Runs until the process ends.
pub fn run(queue: Arc<LogQueue>, log: LogWriter, shared: Arc<Shared>) {
    let config = &shared.config;
    let mut worker = Worker {
        log,
        disk: super::real_disk(),
        snap_dir: config.data_dir.join(VERSION_DIR),
        log_dir: config.data_log_dir.join(VERSION_DIR),
        recovery: RecoveryOptions {
            trust_empty: config.settings.snapshot_trust_empty,
            autocreate: false,
            limits: shared.limits.for_files(),
        },
        clock: shared.clock,
        slow_sync_ms: config.settings.fsync_warning_ms,
        slow_syncs: 0,
        covered: Zxid::ZERO,
    };
    let mut items = Vec::new();
    loop {
        let last = queue.take(&mut items);
        let mut answered = true;
        let mut answer =
            |input| answered = answered && shared.core.blocking_send(CoreMsg::Input(input)).is_ok();
        if let Err(failure) = worker.batch(&mut items, last, &shared.db, &mut answer) {
            fatal::stop(failure.code, &failure.why);
        }
        shared.stats.fsyncs_over_threshold.fetch_add(std::mem::take(&mut worker.slow_syncs), Relaxed);
        if !answered {
            return;
        }
    }
}

/// Why the process must end.
#[derive(Debug)]
struct Failure {
    code: i32,
    why: String,
}

impl Failure {
    fn log(e: impl std::fmt::Display) -> Failure {
        let why = format!(
            "Severe unrecoverable error: the txn log cannot be written: {e}; nothing unlogged was acknowledged"
        );
        Failure { code: fatal::UNEXPECTED, why }
    }

    fn severe(code: i32) -> impl Fn(StorageError) -> Failure {
        move |e| Failure { code, why: format!("Severe unrecoverable error, exiting: {e}") }
    }
}

struct Worker {
    log: LogWriter,
    disk: Arc<dyn Disk>,
    snap_dir: PathBuf,
    log_dir: PathBuf,
    recovery: RecoveryOptions,
    clock: Clock,
    slow_sync_ms: Millis,
    /// Since the last look.
    slow_syncs: u64,
    /// The zxid of the snapshot asked for last: up to there nothing needs to be logged.
    covered: Zxid,
}

impl Worker {
    fn batch(
        &mut self,
        items: &mut Vec<Item>,
        last: Option<Token>,
        db: &RwLock<Database>,
        answer: &mut dyn FnMut(Input),
    ) -> Result<(), Failure> {
        let persisted = |token| Input::Zab(zab::Input::Persisted { token });
        let mut since = self.clock.mono();
        for item in items.drain(..) {
            match item {
                // Committed between the swap and the moment the image was taken.
                Item::Append { zxid, .. } if zxid <= self.covered => continue,
                Item::Append { zxid, txn } => {
                    self.log.append(zxid, &txn).map_err(Failure::log)?;
                    continue;
                }
                Item::Roll => {
                    self.log.roll().map_err(Failure::log)?;
                    continue;
                }
                Item::Epoch(which, epoch) => {
                    self.sync(since)?;
                    storage::write_epoch(&*self.disk, &self.snap_dir, which, epoch)
                        .map_err(Failure::severe(fatal::UNEXPECTED))?;
                }
                Item::Snapshot(capture) => {
                    self.sync(since)?;
                    self.snapshot(db, &capture).map_err(Failure::severe(fatal::SNAPSHOT))?;
                }
                Item::Truncate { to, token, before } => {
                    self.sync(since)?;
                    let db = Box::new(self.truncate(db, to)?);
                    before.into_iter().for_each(|token| answer(persisted(token)));
                    answer(Input::Reloaded { token, db });
                }
            }
            since = self.clock.mono();
        }
        self.sync(since)?;
        last.into_iter().for_each(|token| answer(persisted(token)));
        Ok(())
    }

    /// A slow fsync (rolling and what was written since `since` included) is what operators look for first when everything is
    /// slow (B§6.2, B§11.5).
    fn sync(&mut self, since: Millis) -> Result<(), Failure> {
        let report = self.log.sync().map_err(Failure::log)?;
        let took = self.clock.mono() - since;
        if took > self.slow_sync_ms {
            self.slow_syncs += 1;
            tracing::warn!(
                "fsync-ing the write ahead log in SyncThread:0 took {took}ms which will adversely effect operation latency. \
                 File size is {} bytes. See the ZooKeeper troubleshooting guide",
                report.file_len
            );
        }
        Ok(())
    }

    /// The snapshot is durable before anything is cut: at every moment the disk holds the old history or the new one.
    fn snapshot(&mut self, db: &RwLock<Database>, capture: &Arc<Capture>) -> Result<(), StorageError> {
        db.read().give_up_captures_beyond(capture.zxid);
        let path = snapshot_job::write_now(&self.disk, &self.snap_dir, db, capture)?;
        let cut = self.log.cut_behind_snapshot(&self.snap_dir, capture.zxid)?;
        db.write().end_capture(capture);
        self.covered = capture.zxid;
        for removed in &cut.removed {
            tracing::warn!(
                "{} is removed: it is beyond {}, which the leader's history goes on from",
                removed.display(),
                capture.zxid
            );
        }
        tracing::info!("Snapshot {} is complete", path.display());
        Ok(())
    }

    fn truncate(&mut self, db: &RwLock<Database>, to: Zxid) -> Result<Database, Failure> {
        let options = {
            let db = db.read();
            db.give_up_captures_beyond(to);
            *db.options()
        };
        let cut = self.log.truncate(&self.snap_dir, to).map_err(Failure::severe(fatal::SYNC))?;
        self.covered = Zxid::ZERO;
        for removed in &cut.removed {
            tracing::warn!("{} is removed: the leader's history ends at {to}", removed.display());
        }
        let restored = storage::reload(&self.disk, &self.snap_dir, &self.log_dir, self.recovery, || {
            Restore::new(options)
        })
        .map_err(Failure::severe(fatal::SYNC))?;
        restored.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        tracing::warn!("Truncated the log to {to}; the last zxid is now {}", restored.last_zxid);
        Ok(restored.sink.into_database())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::BytesMut;

    use super::*;
    use crate::{
        db::{DbOptions, watch::NoEvents},
        ids::SessionId,
        proto::{
            OpCode,
            txn::{self, CreateTxn, Txn, TxnHeader},
        },
        storage::{LogOptions, read_epoch, testing::CrashDisk},
    };

    const DATA: &str = "/data/version-2";

    fn create(zxid: i64) -> (TxnHeader, Bytes) {
        let header =
            TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(zxid), time: 1, kind: OpCode::CREATE.0 };
        let path = format!("/n{zxid:x}");
        let txn = Txn::Create(CreateTxn {
            path: path.as_str().into(),
            data: None,
            acl: vec![],
            ephemeral: false,
            parent_cversion: -1,
        });
        let mut out = BytesMut::new();
        txn::encode(&header, &txn, &mut out);
        (header, out.freeze())
    }

    fn database(zxids: impl IntoIterator<Item = i64>) -> Database {
        let mut db = Database::new(DbOptions::default());
        for (header, bytes) in zxids.into_iter().map(create) {
            db.apply(&header, &bytes[TxnHeader::LEN..], &mut NoEvents).expect("apply");
        }
        db
    }

    fn paths(db: &Database) -> Vec<String> {
        let mut paths: Vec<String> = db.nodes().iter().map(|(_, n)| n.path().to_owned()).collect();
        paths.retain(|path| path.starts_with("/n"));
        paths.sort();
        paths
    }

    /// A worker on a disk with `snapshot.0`, and the queue that feeds it.
    struct Setup {
        disk: CrashDisk,
        worker: Worker,
        queue: LogQueue,
        db: RwLock<Database>,
    }

    impl Setup {
        fn new() -> Setup {
            let disk = CrashDisk::with_dir("/");
            disk.create_dir_all(Path::new(DATA)).expect("mkdir");
            let arc: Arc<dyn Disk> = Arc::new(disk.clone());
            let first = RwLock::new(database([]));
            let capture = first.write().begin_capture();
            snapshot_job::write_now(&arc, Path::new(DATA), &first, &capture).expect("snapshot.0");
            Setup::on(disk.restart())
        }

        fn on(disk: CrashDisk) -> Setup {
            let arc: Arc<dyn Disk> = Arc::new(disk.clone());
            let options = LogOptions { prealloc_kib: 16, ..LogOptions::default() };
            let worker = Worker {
                log: LogWriter::new(arc.clone(), DATA, options),
                disk: arc,
                snap_dir: DATA.into(),
                log_dir: DATA.into(),
                recovery: RecoveryOptions::default(),
                clock: Clock::start(),
                slow_sync_ms: 1_000_000,
                slow_syncs: 0,
                covered: Zxid::ZERO,
            };
            Setup { disk, worker, queue: LogQueue::default(), db: RwLock::new(database([])) }
        }

        fn append(&self, zxids: impl IntoIterator<Item = i64>) {
            zxids.into_iter().for_each(|z| self.queue.append(Token(z as u64), Zxid(z), create(z).1));
        }

        /// One batch of all that is queued; what was answered.
        fn run(&mut self) -> Result<Vec<Input>, Failure> {
            let (mut items, mut answers) = (Vec::new(), Vec::new());
            let last = self.queue.take(&mut items);
            self.worker.batch(&mut items, last, &self.db, &mut |input| answers.push(input))?;
            Ok(answers)
        }

        fn reload(disk: &CrashDisk) -> Database {
            let disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let make = || Restore::new(DbOptions::default());
            let data = Path::new(DATA);
            let restored = storage::reload(&disk, data, data, RecoveryOptions::default(), make);
            restored.expect("reload").sink.into_database()
        }
    }

    /// ZOOKEEPER-4643: a currentEpoch without the txns that were synced in it lets a stale server win an election.
    #[test]
    fn an_epoch_is_on_disk_only_with_everything_before_it() {
        let mut setup = Setup::new();
        setup.append(1..=3);
        setup.queue.epoch(Token(4), EpochFile::Current, Epoch(7));
        setup.append(5..=6);
        let answers = setup.run().expect("batch");
        assert!(
            matches!(answers[..], [Input::Zab(zab::Input::Persisted { token: Token(6) })]),
            "{answers:?}"
        );
        let mut seen = [false; 2];
        for at in 0..=setup.disk.now() {
            for image in setup.disk.images(at) {
                let epoch = read_epoch(&image, Path::new(DATA), EpochFile::Current).expect("readable");
                seen[usize::from(epoch.is_some())] = true;
                if epoch == Some(Epoch(7)) {
                    assert!(Setup::reload(&image).last_zxid() >= Zxid(3), "after {at} changes");
                }
            }
        }
        assert_eq!(seen, [true, true]);
    }

    #[test]
    fn truncation_is_answered_with_what_the_disk_then_holds() {
        let mut setup = Setup::new();
        setup.append(1..=5);
        setup.queue.truncate(Token(6), Zxid(3));
        setup.append([7]);
        let answers = setup.run().expect("batch");
        let [
            Input::Zab(zab::Input::Persisted { token: Token(5) }),
            Input::Reloaded { token: Token(6), db },
            Input::Zab(zab::Input::Persisted { token: Token(7) }),
        ] = &answers[..]
        else {
            panic!("{answers:?}")
        };
        assert_eq!((db.last_zxid(), paths(db)), (Zxid(3), vec!["/n1".into(), "/n2".into(), "/n3".into()]));
        assert_eq!(paths(&Setup::reload(&setup.disk)), ["/n1", "/n2", "/n3", "/n7"]);
    }

    /// Whoever came by a leader's snapshot has no log: what is left is the older snapshot.
    #[test]
    fn without_a_log_an_older_snapshot_is_what_is_left() {
        let mut setup = Setup::new();
        setup.queue.truncate(Token(1), Zxid(3));
        let answers = setup.run().expect("snapshot.0 is there");
        let [Input::Reloaded { token: Token(1), db }] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(db.last_zxid(), Zxid::ZERO);
    }

    #[test]
    fn truncation_that_is_impossible_ends_the_process_with_13() {
        let mut setup = Setup::new();
        setup.disk.remove(&Path::new(DATA).join("snapshot.0")).expect("remove");
        setup.queue.truncate(Token(1), Zxid(3));
        let failure = setup.run().expect_err("there is no log, and no snapshot");
        assert_eq!(failure.code, 13, "{}", failure.why);
        assert!(failure.why.contains("No log files found to truncate!"), "{}", failure.why);
    }

    /// A leader that sends its whole state may be behind what this server had logged for another one.
    #[test]
    fn a_synced_snapshot_replaces_what_the_disk_had_beyond_it() {
        let mut setup = Setup::new();
        setup.append(1..=5);
        setup.run().expect("batch");
        *setup.db.write() = database(1..=5);
        let background = setup.db.write().begin_capture();
        setup.db.write().replace(database(1..=3));
        let capture = setup.db.write().begin_capture();
        setup.queue.snapshot(Token(6), capture);
        setup.queue.epoch(Token(7), EpochFile::Current, Epoch(2));
        // 3 was committed before the image was taken.
        setup.append([3, 4, 6]);
        let before = setup.disk.now();
        let answers = setup.run().expect("batch");
        assert!(
            matches!(answers[..], [Input::Zab(zab::Input::Persisted { token: Token(6) })]),
            "{answers:?}"
        );
        assert!(*background.given_up(), "it would bring /n5 back");
        assert!(!setup.db.read().is_captured());
        assert_eq!(paths(&Setup::reload(&setup.disk)), ["/n1", "/n2", "/n3", "/n4", "/n6"]);
        let names = setup.disk.list(Path::new(DATA)).expect("list");
        assert!(names.contains(&"log.4".to_owned()) && !names.contains(&"log.3".to_owned()), "{names:?}");
        for at in before..=setup.disk.now() {
            for image in setup.disk.images(at) {
                let epoch = read_epoch(&image, Path::new(DATA), EpochFile::Current).expect("readable");
                let has_old = paths(&Setup::reload(&image)).contains(&"/n5".to_owned());
                assert!(
                    !(has_old && epoch.is_some()),
                    "the new epoch over the old history, after {at} changes"
                );
            }
        }
    }
}
