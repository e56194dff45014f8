//! A snapshot file being written: temporary name, periodic syncs, rename.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::SnapshotEncoder;
use crate::{
    ids::Zxid,
    storage::{Disk, DiskFile, StorageError, error::Doing, file_name},
};

#[derive(Clone, Copy, Debug)]
pub struct SnapshotOptions {
    /// Data is synced whenever this much has been written: one large sync at the end would stall the log's.
    pub sync_every: u64,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions { sync_every: 1 << 20 }
    }
}

/// Not a snapshot until [`SnapshotFile::finish`] has returned. Dropped before that, the temporary file is removed.
pub struct SnapshotFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    encoder: SnapshotEncoder<SnapshotOutput>,
    finished: bool,
}

impl SnapshotFile {
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        zxid: Zxid,
        options: SnapshotOptions,
    ) -> Result<SnapshotFile, StorageError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Two images of one zxid may be under way: one in the background, one for a sync.
        let tmp = dir.join(tmp_name(zxid, NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = disk.create(&tmp).doing("create", &tmp)?;
        let output =
            SnapshotOutput { file, tmp: tmp.clone(), at: 0, synced: 0, sync_every: options.sync_every };
        let mut snapshot = SnapshotFile {
            path: dir.join(file_name::snapshot_name(zxid)),
            dir: dir.to_owned(),
            disk,
            encoder: SnapshotEncoder::new(output),
            finished: false,
        };
        snapshot.encoder.file_header().doing("write", &tmp)?;
        Ok(snapshot)
    }

    /// For sessions, ACLs and nodes; header, end of nodes and checksum are not the caller's.
    pub fn encoder(&mut self) -> &mut SnapshotEncoder<SnapshotOutput> {
        &mut self.encoder
    }

    /// Returns the snapshot's path when it is durable under that name.
    pub fn finish(mut self) -> Result<PathBuf, StorageError> {
        let tmp = self.encoder.get_mut().tmp.clone();
        self.encoder.end_nodes().doing("write", &tmp)?;
        self.encoder.checksum().doing("write", &tmp)?;
        self.encoder.flush().doing("write", &tmp)?;
        self.encoder.get_mut().file.sync_all().doing("sync", &tmp)?;
        self.disk.rename(&tmp, &self.path).doing("rename the finished snapshot to", &self.path)?;
        self.finished = true;
        self.disk.sync_dir(&self.dir).doing("sync directory", &self.dir)?;
        Ok(self.path.clone())
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, the next start removes it.
            let _ = self.disk.remove(&self.encoder.get_mut().tmp);
        }
    }
}

/// The temporary file.
pub struct SnapshotOutput {
    file: Box<dyn DiskFile>,
    tmp: PathBuf,
    at: u64,
    synced: u64,
    sync_every: u64,
}

impl io::Write for SnapshotOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= self.sync_every {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name that Java neither reads as a snapshot nor counts as one in the log directory (`Util.isSnapshotFileName`).
fn tmp_name(zxid: Zxid, n: u64) -> String {
    format!(".{}.{n}.tmp", file_name::snapshot_name(zxid))
}

pub(super) fn is_tmp_name(name: &str) -> bool {
    name.starts_with(".snapshot.") && name.ends_with(".tmp")
}
