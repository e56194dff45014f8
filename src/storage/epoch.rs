//! `acceptedEpoch` and `currentEpoch`: a decimal number without a newline, in the snapshot directory (B§3.4).
//!
//! Written as tmp file, fsync, rename, directory fsync; Java leaves the last step out (`AtomicFileOutputStream`).

use std::path::Path;

use super::{Disk, StorageError, error::Doing};
use crate::ids::Epoch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochFile {
    /// The newest epoch this server has promised to a prospective leader.
    Accepted,
    /// The epoch whose history this server has on disk.
    Current,
}

impl EpochFile {
    pub fn name(self) -> &'static str {
        match self {
            EpochFile::Accepted => "acceptedEpoch",
            EpochFile::Current => "currentEpoch",
        }
    }
}

/// `None` where the file has never been written.
pub fn read_epoch(disk: &dyn Disk, snap_dir: &Path, which: EpochFile) -> Result<Option<Epoch>, StorageError> {
    let path = snap_dir.join(which.name());
    if !disk.exists(&path) {
        return Ok(None);
    }
    let file = disk.open(&path).doing("open", &path)?;
    let mut buf = [0; 64];
    let n = file.read_at(&mut buf, 0).doing("read", &path)?;
    let text = String::from_utf8_lossy(&buf[..n]);
    // Java reads one line and parses a long, which may carry a sign.
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let epoch = line.parse::<i64>().ok().and_then(|e| u32::try_from(e).ok());
    epoch.map(|e| Some(Epoch(e))).ok_or_else(|| StorageError::BadEpoch { file: path, found: line.to_owned() })
}

/// Returns when the epoch is durable.
pub fn write_epoch(
    disk: &dyn Disk,
    snap_dir: &Path,
    which: EpochFile,
    epoch: Epoch,
) -> Result<(), StorageError> {
    let path = snap_dir.join(which.name());
    let tmp = snap_dir.join(format!("{}.tmp", which.name()));
    let mut file = disk.create(&tmp).doing("create", &tmp)?;
    file.write_all_at(epoch.to_string().as_bytes(), 0).doing("write", &tmp)?;
    file.sync_all().doing("sync", &tmp)?;
    disk.rename(&tmp, &path).doing("rename the temporary file of", &path)?;
    disk.sync_dir(snap_dir).doing("sync directory", snap_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::CrashDisk;

    fn read(text: &str) -> Result<Option<Epoch>, StorageError> {
        let disk = CrashDisk::with_dir("/d");
        disk.put(Path::new("/d/acceptedEpoch"), text.as_bytes());
        read_epoch(&disk, Path::new("/d"), EpochFile::Accepted)
    }

    #[test]
    fn one_line_with_a_number_is_an_epoch() {
        for text in ["12", "12\n", "+12", "12\r\nmore"] {
            assert_eq!(read(text).expect(text), Some(Epoch(12)));
        }
        for text in ["", "\n12", " 12", "-1", "4294967296", "0x1"] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.starts_with("/d/acceptedEpoch holds"), "{error}");
        }
    }

    #[test]
    fn an_epoch_is_written_without_a_newline() {
        let disk = CrashDisk::with_dir("/d");
        write_epoch(&disk, Path::new("/d"), EpochFile::Current, Epoch(4_000_000_000)).expect("write");
        assert_eq!(disk.contents(Path::new("/d/currentEpoch")), Some(b"4000000000".to_vec()));
        assert!(!disk.exists(Path::new("/d/currentEpoch.tmp")));
    }
}
