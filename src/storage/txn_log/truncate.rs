//! Truncation, which a leader asks of a learner whose log has txns that nobody else kept (B§6.7).
//!
//! Behind it the newest txn on disk is `to`, or the one before it if there is no `to`. Java keeps the next *higher* one in
//! that case, and keeps snapshots newer than the cut, from which what was cut comes back (ZOOKEEPER-4837).
//!
//! Steps are ordered so that a crash between any two leaves a directory without a gap: newer snapshots go first, then
//! newer logs from the newest on, then the file that spans the cut is shortened.

use std::path::{Path, PathBuf};

use super::{LogReader, LogWriter};
use crate::{
    ids::Zxid,
    storage::{Disk, StorageError, error::Doing, file_name, snapshot},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// The newest txn that is left, if any is left in the logs.
    pub last: Option<Zxid>,
    pub removed: Vec<PathBuf>,
}

impl LogWriter {
    /// Cuts everything newer than `to`. What was appended and not synced is cut or given up, too.
    pub fn truncate(&mut self, snap_dir: &Path, to: Zxid) -> Result<Truncated, StorageError> {
        self.roll().doing("sync", &self.dir)?;
        let disk = self.disk.clone();
        let refuse =
            |reason: &str| StorageError::Truncate { dir: self.dir.clone(), to, reason: reason.to_owned() };
        let logs = file_name::sorted(&*disk, &self.dir, file_name::LOG).doing("list", &self.dir)?;
        // A server that came by a leader's snapshot and has logged nothing since has no log; an older snapshot will do.
        if !snapshot::any_candidate_up_to(&*disk, snap_dir, to)? {
            return Err(refuse(match logs.is_empty() {
                true => "No log files found to truncate! They were deleted, or dataLogDir was changed",
                false => "there is no valid snapshot that old to replay the log from",
            }));
        }
        self.cut(snap_dir, to, logs)
    }

    /// Cuts everything newer than `to`, of which a snapshot is on disk: it belongs to a history that was given up, and
    /// would be replayed over the snapshot. Appends go on behind `to`, in a file of their own.
    pub fn cut_behind_snapshot(&mut self, snap_dir: &Path, to: Zxid) -> Result<Truncated, StorageError> {
        self.roll().doing("sync", &self.dir)?;
        let logs = file_name::sorted(&*self.disk, &self.dir, file_name::LOG).doing("list", &self.dir)?;
        self.cut(snap_dir, to, logs)
    }

    fn cut(
        &mut self,
        snap_dir: &Path,
        to: Zxid,
        logs: Vec<(Zxid, PathBuf)>,
    ) -> Result<Truncated, StorageError> {
        let disk = self.disk.clone();
        let cut = self.find_cut(&logs, to)?;
        let mut done = Truncated { last: cut.last, removed: Vec::new() };
        let snapshots = snapshot::files(&*disk, snap_dir).doing("list", snap_dir)?;
        let newer = snapshots.into_iter().filter(|(zxid, _)| *zxid > to).map(|(_, path)| path).collect();
        remove_newest_first(&*disk, snap_dir, newer, &mut done.removed)?;
        let newer = |(start, path): &(Zxid, PathBuf)| *start > to || cut.beyond.contains(path);
        let newer = logs.into_iter().filter(newer).map(|(_, path)| path).collect();
        remove_newest_first(&*disk, &self.dir, newer, &mut done.removed)?;
        if let Some((path, offset)) = cut.file {
            let mut file = disk.open_rw(&path).doing("open", &path)?;
            file.set_len(offset).doing("cut", &path)?;
            file.sync_all().doing("sync", &path)?;
        }
        self.restart_behind(to);
        Ok(done)
    }

    /// The last entry up to `to`, and where its file must end.
    fn find_cut(&self, logs: &[(Zxid, PathBuf)], to: Zxid) -> Result<Cut, StorageError> {
        let mut cut = Cut::default();
        for (start, path) in logs.iter().rev().filter(|(start, _)| *start <= to) {
            let mut reader = LogReader::open(self.disk.clone(), &self.dir, *start, self.options.limits)?;
            while let Some(entry) = reader.next()? {
                if entry.zxid() > to {
                    // Its name promises an older txn than it holds.
                    if cut.last.is_none() && entry.file == path {
                        cut.beyond.push(path.clone());
                    }
                    break;
                }
                cut.last = Some(entry.zxid());
                cut.file = Some((entry.file.to_owned(), entry.end()));
            }
            if cut.last.is_some() {
                break;
            }
        }
        Ok(cut)
    }
}

#[derive(Default)]
struct Cut {
    last: Option<Zxid>,
    file: Option<(PathBuf, u64)>,
    /// Files that hold nothing up to there, whatever their names say.
    beyond: Vec<PathBuf>,
}

/// `files`: oldest first.
fn remove_newest_first(
    disk: &dyn Disk,
    dir: &Path,
    files: Vec<PathBuf>,
    removed: &mut Vec<PathBuf>,
) -> Result<(), StorageError> {
    for path in files.into_iter().rev() {
        disk.remove(&path).doing("remove", &path)?;
        // One at a time: an older file must not be gone while a newer one is still there.
        disk.sync_dir(dir).doing("sync directory", dir)?;
        removed.push(path);
    }
    Ok(())
}
