//! Opening the data of a server: directories, lock, newest good snapshot, replay (B§6.1, B§6.5).
//!
//! 1. One process owns the directories from here until [`Recovered`] is dropped.
//! 2. The state returned is every txn that was acknowledged, or an error says why it cannot be.
//! 3. What a crash left unfinished is removed, so that a Java server can open the directory later as well.
//!
//! Counterpart: `FileTxnSnapLog` (constructor, `restore`).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Disk, StorageError,
    disk::DiskLock,
    error::Doing,
    file_name,
    snapshot::{self, Loaded, SnapshotSink},
    txn_log::{LogReader, TornTail},
};
use crate::{ids::Zxid, jute::Limits, proto::txn::TxnHeader};

/// A tree that can be filled from a snapshot and brought forward by txns.
pub trait Replay: SnapshotSink {
    /// Replay rules of B§6.5: what cannot be applied because a fuzzy snapshot has it already is no error. An error here
    /// means that the record cannot be read, and stops the start.
    fn apply(&mut self, header: &TxnHeader, record: &[u8]) -> Result<(), String>;
    /// The txn just applied, header and record as logged: for the window of committed txns.
    fn committed(&mut self, _zxid: Zxid, _txn: &[u8]) {}
}

#[derive(Clone, Copy, Debug)]
pub struct RecoveryOptions {
    /// `zookeeper.snapshot.trust.empty`
    pub trust_empty: bool,
    /// `zookeeper.datadir.autocreate`
    pub autocreate: bool,
    pub limits: Limits,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        RecoveryOptions { trust_empty: false, autocreate: true, limits: Limits::default() }
    }
}

pub struct Recovered<S> {
    pub sink: S,
    pub last_zxid: Zxid,
    /// The snapshot that was loaded.
    pub snapshot: Option<(Zxid, PathBuf)>,
    /// Txns applied on top of it.
    pub replayed: u64,
    /// Nothing was there: the caller must write `snapshot.0` before it serves.
    pub fresh: bool,
    /// To be logged.
    pub warnings: Vec<String>,
    /// `<dataDir>/version-2`: snapshots and epoch files.
    pub snap_dir: PathBuf,
    /// `<dataLogDir>/version-2`
    pub log_dir: PathBuf,
    /// Keep it as long as the files are in use.
    pub lock: DirLock,
}

/// No other server opens these directories while this lives.
pub struct DirLock {
    _locks: Vec<DiskLock>,
}

/// Opens `data_dir` and `log_dir` as configured (without `version-2`).
pub fn open<S: Replay>(
    disk: &Arc<dyn Disk>,
    data_dir: &Path,
    log_dir: &Path,
    options: RecoveryOptions,
    make_sink: impl FnMut() -> S,
) -> Result<Recovered<S>, StorageError> {
    let snap_dir = data_dir.join(VERSION_DIR);
    let log_dir = log_dir.join(VERSION_DIR);
    let lock = claim_dirs(&**disk, &snap_dir, &log_dir, options.autocreate)?;
    let mut warnings = Vec::new();
    for path in snapshot::remove_unfinished(&**disk, &snap_dir)? {
        warnings.push(format!("{} was never finished; removed", path.display()));
    }
    let mut restored = reload(disk, &snap_dir, &log_dir, options, make_sink)?;
    warnings.append(&mut restored.warnings);
    let Restored { sink, last_zxid, snapshot, replayed, .. } = restored;
    let loaded = snapshot.as_ref().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
    make_durable(&**disk, &snap_dir, &log_dir, loaded.next())?;
    let fresh = snapshot.is_none() && replayed == 0;
    Ok(Recovered { sink, last_zxid, snapshot, replayed, fresh, warnings, snap_dir, log_dir, lock })
}

/// What the files hold.
pub struct Restored<S> {
    pub sink: S,
    pub last_zxid: Zxid,
    /// The snapshot that was loaded.
    pub snapshot: Option<(Zxid, PathBuf)>,
    /// Txns applied on top of it.
    pub replayed: u64,
    /// To be logged.
    pub warnings: Vec<String>,
}

/// Loads what the files hold, for a process that owns them already. Directories are those with the files in them.
pub fn reload<S: Replay>(
    disk: &Arc<dyn Disk>,
    snap_dir: &Path,
    log_dir: &Path,
    options: RecoveryOptions,
    mut make_sink: impl FnMut() -> S,
) -> Result<Restored<S>, StorageError> {
    let loaded = load_snapshot(disk, snap_dir, log_dir, options, &mut make_sink)?;
    let mut warnings = Vec::new();
    let (sink, snapshot, fell_back) = match loaded {
        None => (make_sink(), None, false),
        Some(Loaded { sink, zxid, path, rejected }) => {
            for (bad, reason) in &rejected {
                warnings.push(format!("{} is not used: {reason}", bad.display()));
            }
            (sink, Some((zxid, path)), !rejected.is_empty())
        }
    };
    let last_zxid = snapshot.as_ref().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
    let mut restored = Restored { sink, last_zxid, snapshot, replayed: 0, warnings };
    let torn = replay(disk, log_dir, &mut restored, options.limits, fell_back)?;
    if fell_back {
        reaches_newest(&**disk, snap_dir, &restored)?;
    }
    repair(&**disk, log_dir, &torn, &mut restored.warnings)?;
    Ok(restored)
}

/// `None` where starting without a snapshot is right.
fn load_snapshot<S: Replay>(
    disk: &Arc<dyn Disk>,
    snap_dir: &Path,
    log_dir: &Path,
    options: RecoveryOptions,
    make_sink: impl FnMut() -> S,
) -> Result<Option<Loaded<S>>, StorageError> {
    let loaded = match snapshot::load_newest(&**disk, snap_dir, options.limits, make_sink) {
        // A `snapshot.0` that Java had not finished when it crashed holds nothing. Any other is a state that is lost, and
        // Java would start empty over it when no log is there.
        Err(StorageError::BadSnapshots { .. }) if only_the_first(&**disk, snap_dir)? => None,
        other => other?,
    };
    if loaded.is_none() && !options.trust_empty {
        let mut log = LogReader::open(disk.clone(), log_dir, Zxid::ZERO, options.limits)?;
        if let Some(entry) = log.next()? {
            let log = entry.file.to_owned();
            return Err(StorageError::NoSnapshot { snap_dir: snap_dir.to_owned(), log });
        }
    }
    Ok(loaded)
}

fn only_the_first(disk: &dyn Disk, snap_dir: &Path) -> Result<bool, StorageError> {
    let files = snapshot::files(disk, snap_dir).doing("list", snap_dir)?;
    Ok(files.iter().all(|(zxid, _)| *zxid == Zxid::ZERO))
}

/// Applies every txn behind the snapshot; returns what a crash tore off the logs.
fn replay<S: Replay>(
    disk: &Arc<dyn Disk>,
    log_dir: &Path,
    to: &mut Restored<S>,
    limits: Limits,
    fell_back: bool,
) -> Result<Vec<TornTail>, StorageError> {
    let mut log = LogReader::open(disk.clone(), log_dir, to.last_zxid.next(), limits)?;
    while let Some(entry) = log.next()? {
        let zxid = entry.zxid();
        if !follows(to.last_zxid, zxid) {
            let reason = format!("the log goes from {} to {zxid}", to.last_zxid);
            // Without the newer snapshot that made this gap harmless, the txns in it are missing.
            if fell_back && zxid > to.last_zxid {
                return Err(StorageError::corrupt(entry.file, entry.offset, reason));
            }
            if to.warnings.len() < MAX_WARNINGS {
                to.warnings.push(format!("{} at byte {}: {reason}", entry.file.display(), entry.offset));
            }
        }
        if zxid <= to.last_zxid {
            continue;
        }
        to.sink.apply(&entry.header, entry.record).map_err(|reason| StorageError::Replay {
            file: entry.file.to_owned(),
            offset: entry.offset,
            zxid,
            reason,
        })?;
        to.sink.committed(zxid, entry.txn);
        to.last_zxid = zxid;
        to.replayed += 1;
    }
    Ok(log.torn().to_vec())
}

/// A damaged snapshot is made up for only by logs that lead as far; without them its txns would silently be gone.
fn reaches_newest<S>(disk: &dyn Disk, dir: &Path, restored: &Restored<S>) -> Result<(), StorageError> {
    match snapshot::files(disk, dir).doing("list", dir)?.pop() {
        Some((newest, path)) if newest > restored.last_zxid => Err(StorageError::BadSnapshots {
            dir: dir.to_owned(),
            tried: format!(
                "{} is damaged, and what older snapshots and the logs hold ends at {}",
                path.display(),
                restored.last_zxid
            ),
        }),
        _ => Ok(()),
    }
}

/// Within an epoch every zxid is logged; a new epoch begins at 1.
pub fn follows(last: Zxid, zxid: Zxid) -> bool {
    zxid == last.next() || zxid.epoch() > last.epoch() && zxid.counter() <= 1
}

/// What has been read is about to be voted with and built upon. A process that was killed in the middle of a batch may have
/// left it in the page cache alone, and a power failure after this start would take it back.
fn make_durable(disk: &dyn Disk, snap_dir: &Path, log_dir: &Path, from: Zxid) -> Result<(), StorageError> {
    let logs = file_name::sorted(disk, log_dir, file_name::LOG).doing("list", log_dir)?;
    let first = logs.iter().rposition(|(start, _)| *start <= from).unwrap_or(0);
    for (_, path) in &logs[first..] {
        let mut file = disk.open_rw(path).doing("open", path)?;
        file.sync_all().doing("sync", path)?;
    }
    disk.sync_dir(log_dir).doing("sync directory", log_dir)?;
    disk.sync_dir(snap_dir).doing("sync directory", snap_dir)
}

/// Cuts what a crash tore off the newest log. This server would read over it, but Java takes a bad checksum for
/// corruption and does not open a file without a header.
fn repair(
    disk: &dyn Disk,
    log_dir: &Path,
    torn: &[TornTail],
    warnings: &mut Vec<String>,
) -> Result<(), StorageError> {
    let newest = file_name::sorted(disk, log_dir, file_name::LOG).doing("list", log_dir)?.pop();
    for tail in torn {
        warnings.push(tail.to_string());
        if tail.offset == 0 {
            disk.remove(&tail.file).doing("remove", &tail.file)?;
            disk.sync_dir(log_dir).doing("sync directory", log_dir)?;
        } else if newest.as_ref().is_some_and(|(_, path)| *path == tail.file) {
            let mut file = disk.open_rw(&tail.file).doing("open", &tail.file)?;
            file.set_len(tail.offset).doing("cut", &tail.file)?;
            file.sync_all().doing("sync", &tail.file)?;
        }
    }
    Ok(())
}

/// Creates, checks and locks the directories, the log's first, with Java's texts.
fn claim_dirs(
    disk: &dyn Disk,
    snap_dir: &Path,
    log_dir: &Path,
    autocreate: bool,
) -> Result<DirLock, StorageError> {
    let mut locks = vec![claim_dir(disk, log_dir, "data", autocreate)?];
    if snap_dir != log_dir {
        locks.push(claim_dir(disk, snap_dir, "snap", autocreate)?);
        check_contents(disk, log_dir, file_name::SNAPSHOT, "Log directory has snapshot files")?;
        check_contents(disk, snap_dir, file_name::LOG, "Snapshot directory has log files")?;
    }
    Ok(DirLock { _locks: locks })
}

fn claim_dir(disk: &dyn Disk, dir: &Path, what: &str, autocreate: bool) -> Result<DiskLock, StorageError> {
    let refuse = |reason: String| StorageError::DataDir { dir: dir.to_owned(), reason };
    if !disk.exists(dir) {
        if !autocreate {
            return Err(refuse(format!(
                "Missing {what} directory {}, automatic data directory creation is disabled \
                 (zookeeper.datadir.autocreate is false). Please create this directory manually.",
                dir.display()
            )));
        }
        create_durably(disk, dir)
            .map_err(|e| refuse(format!("Unable to create {what} directory {}: {e}", dir.display())))?;
    }
    let lock = dir.join(LOCK_FILE);
    disk.lock(&lock).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => StorageError::InUse { dir: dir.to_owned(), lock },
        _ => refuse(format!("Cannot write to {what} directory {}: {e}", dir.display())),
    })
}

/// A directory whose name is lost in a crash takes everything in it along.
fn create_durably(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|d| !disk.exists(d)).collect();
    disk.create_dir_all(dir)?;
    for parent in missing.iter().rev().filter_map(|d| d.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        disk.sync_dir(parent)?;
    }
    Ok(())
}

fn check_contents(disk: &dyn Disk, dir: &Path, prefix: &str, what: &str) -> Result<(), StorageError> {
    let names = disk.list(dir).doing("list", dir)?;
    match names.iter().find(|n| n.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))) {
        None => Ok(()),
        Some(name) => Err(StorageError::DataDir {
            dir: dir.to_owned(),
            reason: format!(
                "{what}. Check if dataLogDir and dataDir configuration is correct. ({} is in the way)",
                dir.join(name).display()
            ),
        }),
    }
}

/// Java's `version-` + `FileTxnSnapLog.VERSION`.
pub const VERSION_DIR: &str = "version-2";
/// A log with many gaps says so often enough.
const MAX_WARNINGS: usize = 20;
/// Neither a log nor a snapshot to Java.
const LOCK_FILE: &str = ".lock";
