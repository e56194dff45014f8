//! Writes a captured image of the tree to a snapshot file while the server goes on (`ZooKeeperServer.takeSnapshot`).

use std::{sync::Arc, time::Duration};

use super::{
    fatal,
    shared::{CoreMsg, Shared},
};
use crate::{
    db::{
        Database,
        acl::AclKey,
        capture::{Capture, NodeSink},
    },
    proto::data::StatPersisted,
    replica::Input,
    storage::{SnapshotFile, StorageError},
};

/// Nodes handed out under one read lock: short enough that writers do not notice.
const STEP: usize = 256;

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
        fatal::stop(
            fatal::SNAPSHOT,
            &format!("Severe unrecoverable error, exiting: snapshot {}: {e}", capture.zxid),
        );
    }
    shared.db.write().end_capture();
    let _ = shared.core.blocking_send(CoreMsg::Input(Input::SnapshotDone));
}

fn write(shared: &Shared, capture: &Capture) -> Result<(), StorageError> {
    let mut by_depth = Vec::new();
    for start in (0..capture.slots()).step_by(STEP * 16) {
        capture.collect(&shared.db.read(), start..start.saturating_add((STEP * 16) as u32), &mut by_depth);
    }
    let mut file =
        SnapshotFile::create(super::real_disk(), &shared.config.data_dir.join("version-2"), capture.zxid)?;
    file.sessions(&capture.sessions)?;
    file.acls(capture.acls.iter().map(|(key, list)| (key.0, &list[..])))?;
    for ids in by_depth.iter().flat_map(|level| level.chunks(STEP)) {
        let mut step = Step { nodes: Vec::with_capacity(ids.len()), data: Vec::new() };
        let Ok(()) = capture.emit(&shared.db.read(), ids, &mut step);
        for node in &step.nodes {
            let path = &step.data[node.path.clone()];
            let data = node.data.clone().map(|range| &step.data[range]);
            file.node(std::str::from_utf8(path).unwrap_or_default(), data, node.acl.0, &node.stat)?;
        }
    }
    file.finish()?;
    Ok(())
}

/// What one step copies under the lock, to be encoded and written after it.
struct Step {
    nodes: Vec<Copied>,
    data: Vec<u8>,
}

struct Copied {
    path: std::ops::Range<usize>,
    data: Option<std::ops::Range<usize>>,
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
            crate::storage::purge(
                &config.data_log_dir,
                &config.data_dir,
                config.autopurge_snap_retain_count as usize,
            )
        });
        match purged.await {
            Ok(Ok(_)) => tracing::info!("Purge task completed."),
            Ok(Err(e)) => tracing::error!("Error occurred while purging: {e}"),
            Err(e) => tracing::error!("The purge task ended: {e}"),
        }
        tokio::time::sleep(Duration::from_secs(hours * 3600)).await;
    }
}
