//! Writes a captured image of the tree, to a snapshot file (`ZooKeeperServer.takeSnapshot`) or to a learner, while the server
//! goes on.

use std::{
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;

use super::{
    clock::Clock,
    fatal,
    shared::{CoreMsg, Shared},
};
use crate::{
    db::{
        Database,
        acl::AclKey,
        capture::{Capture, NodeSink},
    },
    ids::Millis,
    jute::Limits,
    proto::data::StatPersisted,
    replica::Input,
    storage::{self, Disk, SnapshotEncoder, SnapshotFile, SnapshotOptions, StorageError},
};

/// Nodes handed out under one read lock: short enough that writers do not notice.
const STEP: usize = 256;
/// Work between two rests.
const SLICE_MS: Millis = 1;

/// Where a database can be looked at, for a moment at a time.
pub trait Look {
    fn look<R>(&self, at: impl FnOnce(&Database) -> R) -> R;
}

impl Look for RwLock<Database> {
    fn look<R>(&self, at: impl FnOnce(&Database) -> R) -> R {
        at(&self.read())
    }
}

impl Look for Shared {
    fn look<R>(&self, at: impl FnOnce(&Database) -> R) -> R {
        self.db.look(at)
    }
}

/// One that images can be taken of while it changes.
pub trait Lend: Look + Send + Sync + 'static {
    fn end_capture(&self, capture: &Arc<Capture>);
}

impl Lend for RwLock<Database> {
    fn end_capture(&self, capture: &Arc<Capture>) {
        self.write().end_capture(capture);
    }
}

impl Lend for Shared {
    fn end_capture(&self, capture: &Arc<Capture>) {
        self.db.end_capture(capture);
    }
}

/// One that nobody else holds yet.
impl Look for Database {
    fn look<R>(&self, at: impl FnOnce(&Database) -> R) -> R {
        at(self)
    }
}

/// Captures the state as of now; the rest happens on a thread of its own.
pub fn begin(shared: &Arc<Shared>, db: &mut Database) {
    let capture = db.begin_capture();
    let shared = shared.clone();
    let spawned =
        std::thread::Builder::new().name("Snapshot".to_owned()).spawn(move || run(&shared, &capture));
    if let Err(e) = spawned {
        fatal::stop(
            fatal::SNAPSHOT,
            &format!("Severe unrecoverable error, exiting: no thread for the snapshot: {e}"),
        );
    }
}

fn run(shared: &Arc<Shared>, capture: &Arc<Capture>) {
    let mut pace = Pace::new(&shared.clock);
    let snap_dir = shared.config.data_dir.join(storage::recovery::VERSION_DIR);
    let written = write(&super::real_disk(), &snap_dir, &**shared, capture, || pace.rest());
    if let Err(e) = written.and_then(|file| finish(file, capture)) {
        fatal::stop(fatal::SNAPSHOT, &format!("Severe unrecoverable error, exiting: {e}"));
    }
    shared.db.write().end_capture(capture);
    let _ = shared.core.blocking_send(CoreMsg::Input(Input::SnapshotDone));
}

/// A snapshot of what has been cut off since must not come back (ZOOKEEPER-4837).
fn finish(file: SnapshotFile, capture: &Capture) -> Result<(), StorageError> {
    let given_up = capture.given_up();
    if *given_up {
        tracing::info!("The snapshot of {} is dropped: the log was cut before that", capture.zxid);
        return Ok(());
    }
    let path = file.finish()?;
    tracing::info!("Snapshot {} is complete", path.display());
    Ok(())
}

/// Rests as long as was worked, a slice at a time, so that neither a processor nor the disk is taken from the writes that go
/// on: a snapshot has time, a client has not.
struct Pace<'a> {
    clock: &'a Clock,
    since: Millis,
}

impl Pace<'_> {
    fn new(clock: &Clock) -> Pace<'_> {
        Pace { clock, since: clock.mono() }
    }

    fn rest(&mut self) {
        let worked = self.clock.mono() - self.since;
        if worked >= SLICE_MS {
            std::thread::sleep(Duration::from_millis(worked.unsigned_abs()));
            self.since = self.clock.mono();
        }
    }
}

/// Writes the snapshot of a database that nobody else holds yet, and waits for it.
pub fn write_first(db: &mut Database, snap_dir: &Path) -> Result<(), StorageError> {
    let capture = db.begin_capture();
    let written = write_now(&super::real_disk(), snap_dir, db, &capture);
    db.end_capture(&capture);
    written.map(drop)
}

/// Writes an image as fast as it goes; returns when the snapshot is durable.
pub fn write_now<L: Look>(
    disk: &Arc<dyn Disk>,
    snap_dir: &Path,
    db: &L,
    capture: &Capture,
) -> Result<PathBuf, StorageError> {
    write(disk, snap_dir, db, capture, || {})?.finish()
}

fn write<L: Look>(
    disk: &Arc<dyn Disk>,
    snap_dir: &Path,
    db: &L,
    capture: &Capture,
    rest: impl FnMut(),
) -> Result<SnapshotFile, StorageError> {
    let name = storage::file_name::snapshot_name(capture.zxid);
    tracing::info!("Snapshotting: {} to {}", capture.zxid, snap_dir.join(name).display());
    let mut file = SnapshotFile::create(disk.clone(), snap_dir, capture.zxid, SnapshotOptions::default())?;
    let written = encode(db, capture, file.encoder(), rest);
    written.map_err(|e| StorageError::io("write a snapshot in", snap_dir, e))?;
    Ok(file)
}

/// Sessions, ACL lists and nodes of an image. `rest` is called between steps, with no lock held.
pub(super) fn encode<L: Look, W: io::Write>(
    db: &L,
    capture: &Capture,
    encoder: &mut SnapshotEncoder<W>,
    mut rest: impl FnMut(),
) -> io::Result<()> {
    let gone = || io::Error::other("the database of the image is gone");
    let mut by_depth = Vec::new();
    for start in (0..capture.slots()).step_by(STEP * 16) {
        let range = start..start.saturating_add((STEP * 16) as u32);
        db.look(|db| capture.home(db).map(|home| capture.collect(home, range, &mut by_depth)))
            .ok_or_else(gone)?;
    }
    encoder.sessions(capture.sessions.iter().copied())?;
    encoder.acls(capture.acls.iter().map(|(key, list)| (key.0, &list[..])))?;
    for ids in by_depth.iter().flat_map(|level| level.chunks(STEP)) {
        let mut step = Step { nodes: Vec::with_capacity(ids.len()), data: Vec::new() };
        let Ok(()) =
            db.look(|db| capture.home(db).map(|home| capture.emit(home, ids, &mut step))).ok_or_else(gone)?;
        step.encode(encoder)?;
        rest();
    }
    Ok(())
}

/// What one step copies under the lock, to be encoded and written after it.
struct Step {
    nodes: Vec<Copied>,
    data: Vec<u8>,
}

impl Step {
    fn encode<W: io::Write>(&self, encoder: &mut SnapshotEncoder<W>) -> io::Result<()> {
        let text = |range: &Range<usize>| std::str::from_utf8(&self.data[range.clone()]).unwrap_or_default();
        self.nodes.iter().try_for_each(|node| {
            let data = node.data.clone().map(|range| &self.data[range]);
            encoder.node(text(&node.path), data, node.acl.0, &node.stat)
        })
    }
}

struct Copied {
    path: Range<usize>,
    data: Option<Range<usize>>,
    acl: AclKey,
    stat: StatPersisted,
}

impl NodeSink for Step {
    type Error = std::convert::Infallible;

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclKey,
        stat: &StatPersisted,
    ) -> Result<(), Self::Error> {
        let mut copy = |bytes: &[u8]| {
            let start = self.data.len();
            self.data.extend_from_slice(bytes);
            start..self.data.len()
        };
        let path = copy(path.as_bytes());
        let data = data.map(&mut copy);
        self.nodes.push(Copied { path, data, acl, stat: *stat });
        Ok(())
    }
}

/// `autopurge.*`: at once, then every interval (`DatadirCleanupManager`).
pub async fn autopurge(shared: Arc<Shared>) {
    let hours = u64::from(shared.config.autopurge_purge_interval_hours);
    if hours == 0 {
        return tracing::info!("Purge task is not scheduled.");
    }
    loop {
        tracing::info!("Purge task started.");
        let shared = shared.clone();
        let purged = tokio::task::spawn_blocking(move || {
            let config = &shared.config;
            purge(&config.data_log_dir, &config.data_dir, config.autopurge_snap_retain_count as usize)
        });
        match purged.await {
            Ok(Ok(())) => tracing::info!("Purge task completed."),
            Ok(Err(e)) => tracing::error!("Error occurred while purging: {e}"),
            Err(e) => tracing::error!("The purge task ended: {e}"),
        }
        tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
    }
}

/// What `PurgeTxnLog` does and prints: directories as configured, without `version-2`.
pub fn purge(data_log_dir: &Path, data_dir: &Path, keep: usize) -> Result<(), StorageError> {
    let version_2 = |dir: &Path| dir.join(storage::recovery::VERSION_DIR);
    let zone = jiff::tz::TimeZone::system();
    let say = |file: &storage::Purged<'_>| {
        // A full or closed stdout must not end a server that purges.
        let _ = writeln!(
            std::io::stdout(),
            "Removing file: {}\t{}",
            storage::purge::java_date(file.mtime_ms, &zone),
            file.path.display()
        );
    };
    // Whether a snapshot is whole must not depend on this command's jute.maxbuffer.
    let limits = Limits { max_field: i32::MAX as usize, ..Limits::default() }.for_files();
    let (snap_dir, log_dir) = (version_2(data_dir), version_2(data_log_dir));
    for (path, e) in storage::purge(&storage::RealDisk, &snap_dir, &log_dir, keep, limits, say)? {
        let _ = writeln!(std::io::stderr(), "Failed to remove {}: {e}", path.display());
    }
    Ok(())
}
