//! Writes a captured image of the tree to a snapshot file while the server goes on (`ZooKeeperServer.takeSnapshot`).

use std::{
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

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
    storage::{self, SnapshotFile, SnapshotOptions, StorageError},
};

/// Nodes handed out under one read lock: short enough that writers do not notice.
const STEP: usize = 256;
/// Work between two rests.
const SLICE_MS: Millis = 1;

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

fn run(shared: &Arc<Shared>, capture: &Capture) {
    if let Err(e) = write(shared, capture) {
        fatal::stop(fatal::SNAPSHOT, &format!("Severe unrecoverable error, exiting: {e}"));
    }
    shared.db.write().end_capture();
    let _ = shared.core.blocking_send(CoreMsg::Input(Input::SnapshotDone));
}

fn write(shared: &Shared, capture: &Capture) -> Result<(), StorageError> {
    let mut by_depth = Vec::new();
    for start in (0..capture.slots()).step_by(STEP * 16) {
        capture.collect(&shared.db.read(), start..start.saturating_add((STEP * 16) as u32), &mut by_depth);
    }
    let snap_dir = shared.config.data_dir.join(storage::recovery::VERSION_DIR);
    let name = storage::file_name::snapshot_name(capture.zxid);
    tracing::info!("Snapshotting: {} to {}", capture.zxid, snap_dir.join(name).display());
    let mut file = begin_file(&snap_dir, capture)?;
    let mut pace = Pace::new(&shared.clock);
    for ids in by_depth.iter().flat_map(|level| level.chunks(STEP)) {
        let mut step = Step { nodes: Vec::with_capacity(ids.len()), data: Vec::new() };
        let Ok(()) = capture.emit(&shared.db.read(), ids, &mut step);
        file.add(&step)?;
        pace.rest();
    }
    let path = file.file.finish()?;
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
    let mut by_depth = Vec::new();
    capture.collect(db, 0..capture.slots(), &mut by_depth);
    let mut file = begin_file(snap_dir, &capture)?;
    for ids in &by_depth {
        let mut step = Step { nodes: Vec::new(), data: Vec::new() };
        let Ok(()) = capture.emit(db, ids, &mut step);
        file.add(&step)?;
    }
    db.end_capture();
    file.file.finish()?;
    Ok(())
}

struct Writing {
    file: SnapshotFile,
    dir: PathBuf,
}

fn begin_file(snap_dir: &Path, capture: &Capture) -> Result<Writing, StorageError> {
    let file = SnapshotFile::create(super::real_disk(), snap_dir, capture.zxid, SnapshotOptions::default())?;
    let mut writing = Writing { file, dir: snap_dir.to_owned() };
    let encoder = writing.file.encoder();
    let written = encoder
        .sessions(capture.sessions.iter().copied())
        .and_then(|()| encoder.acls(capture.acls.iter().map(|(key, list)| (key.0, &list[..]))));
    written.map_err(|e| StorageError::io("write a snapshot in", snap_dir, e))?;
    Ok(writing)
}

impl Writing {
    fn add(&mut self, step: &Step) -> Result<(), StorageError> {
        let encoder = self.file.encoder();
        let text = |range: &Range<usize>| std::str::from_utf8(&step.data[range.clone()]).unwrap_or_default();
        let written = step.nodes.iter().try_for_each(|node| {
            let data = node.data.clone().map(|range| &step.data[range]);
            encoder.node(text(&node.path), data, node.acl.0, &node.stat)
        });
        written.map_err(|e| StorageError::io("write a snapshot in", &self.dir, e))
    }
}

/// What one step copies under the lock, to be encoded and written after it.
struct Step {
    nodes: Vec<Copied>,
    data: Vec<u8>,
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
