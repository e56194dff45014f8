//! Removing what newer snapshots have made superfluous (B§6.8), and the directory sizes that `dirs` and `conf` print.
//!
//! Only snapshots that prove whole are counted: Java counts names, and may keep three broken ones while it removes the
//! last good one (ZOOKEEPER-3231). Kept with the snapshots: every log from the one that spans the oldest of them.
//!
//! Counterpart: `PurgeTxnLog`.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use super::{Disk, StorageError, error::Doing, file_name, snapshot};
use crate::{
    ids::{Millis, Zxid},
    jute::Limits,
};

/// A file that was taken, or could not be.
#[derive(Debug)]
pub struct Purged<'a> {
    pub path: &'a Path,
    pub mtime_ms: Millis,
}

/// Keeps the newest `keep` good snapshots. `removing` is told of every file before it goes, for Java's line
/// `Removing file: <date>\t<path>`; what could not be removed is returned, for its `Failed to remove <path>`.
pub fn purge(
    disk: &dyn Disk,
    snap_dir: &Path,
    log_dir: &Path,
    keep: usize,
    limits: Limits,
    mut removing: impl FnMut(&Purged<'_>),
) -> Result<Vec<(PathBuf, io::Error)>, StorageError> {
    let snapshots = snapshot::files(disk, snap_dir).doing("list", snap_dir)?;
    let good = snapshots.iter().rev().filter(|(_, path)| snapshot::verify(disk, path, limits).is_ok());
    let Some(oldest_kept) = good.take(keep.max(MIN_KEPT)).last().map(|(zxid, _)| *zxid) else {
        return Ok(Vec::new());
    };
    let logs = file_name::sorted(disk, log_dir, file_name::LOG).doing("list", log_dir)?;
    let kept: HashSet<Zxid> =
        file_name::covering(logs.clone(), oldest_kept).into_iter().map(|(zxid, _)| zxid).collect();
    let old_logs = logs.into_iter().filter(|(zxid, _)| !kept.contains(zxid));
    let old_snapshots = snapshots.into_iter().filter(|(zxid, _)| *zxid < oldest_kept);

    let mut failed = Vec::new();
    for (_, path) in old_logs.chain(old_snapshots) {
        removing(&Purged { path: &path, mtime_ms: disk.mtime_ms(&path).unwrap_or(0) });
        if let Err(e) = disk.remove(&path) {
            failed.push((path, e));
        }
    }
    Ok(failed)
}

/// Sum of the file lengths in `dir`; 0 where it cannot be read.
pub fn dir_size(disk: &dyn Disk, dir: &Path) -> u64 {
    let names = disk.list(dir).unwrap_or_default();
    names.iter().filter_map(|name| disk.len(&dir.join(name)).ok()).sum()
}

/// `DateFormat.getDateTimeInstance()` in the English locale, JDK 9 to 19: `Nov 24, 2026, 1:02:21 PM`.
pub fn java_date(mtime_ms: Millis, zone: &jiff::tz::TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(mtime_ms) {
        Ok(time) => time.to_zoned_datetime(zone.clone()).strftime("%b %-d, %Y, %-I:%M:%S %p").to_string(),
        Err(_) => mtime_ms.to_string(),
    }
}

/// `PurgeTxnLog` and autopurge refuse less.
pub const MIN_KEPT: usize = 3;
