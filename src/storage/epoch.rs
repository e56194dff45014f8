//! `acceptedEpoch` and `currentEpoch`: a decimal number without a newline, in the snapshot directory (B§3.4).
//!
//! Written as tmp file, fsync, rename, directory fsync; Java leaves the last step out (`AtomicFileOutputStream`).

use std::path::Path;

use super::{Disk, StorageError, error::Doing};
use crate::ids::{Epoch, Zxid};

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

/// What a server knows of epochs when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    pub accepted: Epoch,
    pub current: Epoch,
}

/// Reads both files; writes what is missing, as after an upgrade from 3.4, and what a crash kept from being written
/// (`QuorumPeer.loadDataBase`; Java refuses to start in the latter cases, ZOOKEEPER-2354).
pub fn open_epochs(disk: &dyn Disk, snap_dir: &Path, last_zxid: Zxid) -> Result<Epochs, StorageError> {
    let found_current = read_epoch(disk, snap_dir, EpochFile::Current)?;
    let found_accepted = read_epoch(disk, snap_dir, EpochFile::Accepted)?;
    let current = match found_current {
        // Txns of an epoch are taken only from a leader of it, and that only after acceptedEpoch was written.
        Some(current) if last_zxid.epoch() > current && found_accepted >= Some(last_zxid.epoch()) => {
            tracing::warn!(
                "{} says {current}, but the last zxid is {last_zxid}: it was not written before the last crash, and is now",
                snap_dir.join(EpochFile::Current.name()).display()
            );
            last_zxid.epoch()
        }
        Some(current) if last_zxid.epoch() > current => {
            return Err(StorageError::OldEpoch { dir: snap_dir.to_owned(), current, last_zxid });
        }
        Some(current) => current,
        None => {
            tracing::info!("currentEpoch not found; it is now {}, of the last zxid", last_zxid.epoch());
            last_zxid.epoch()
        }
    };
    let accepted = match found_accepted {
        Some(accepted) if accepted < current => {
            tracing::warn!(
                "{} says {accepted}, which is less than the current epoch, {current}; it is now that",
                snap_dir.join(EpochFile::Accepted.name()).display()
            );
            current
        }
        Some(accepted) => accepted,
        None => {
            tracing::info!("acceptedEpoch not found; it is now {current}");
            current
        }
    };
    // In this order: acceptedEpoch is never the older one.
    if found_accepted != Some(accepted) {
        write_epoch(disk, snap_dir, EpochFile::Accepted, accepted)?;
    }
    if found_current != Some(current) {
        write_epoch(disk, snap_dir, EpochFile::Current, current)?;
    }
    Ok(Epochs { accepted, current })
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

    /// accepted and current as found, the last zxid's epoch; accepted and current as opened.
    fn check(found: (Option<u32>, Option<u32>), last: u32, expected: Result<(u32, u32), &str>) {
        let dir = Path::new("/d");
        let disk = CrashDisk::with_dir("/d");
        for (which, epoch) in [(EpochFile::Accepted, found.0), (EpochFile::Current, found.1)] {
            if let Some(epoch) = epoch {
                write_epoch(&disk, dir, which, Epoch(epoch)).expect("write");
            }
        }
        let disk = disk.restart();
        let opened = open_epochs(&disk, dir, Zxid::new(Epoch(last), 5));
        match expected {
            Err(text) => {
                let error = opened.expect_err(text).to_string();
                assert!(error.starts_with(text), "{error}");
                assert_eq!(disk.now(), 0, "nothing was changed");
            }
            Ok((accepted, current)) => {
                let epochs = Epochs { accepted: Epoch(accepted), current: Epoch(current) };
                assert_eq!(opened.expect("open"), epochs, "{found:?}, {last}");
                for at in 0..=disk.now() {
                    for image in disk.images(at) {
                        let again = open_epochs(&image, dir, Zxid::new(Epoch(last), 5));
                        assert_eq!(again.expect("open"), epochs, "{found:?}, {last}, after {at} changes");
                    }
                }
                let durable = read_epoch(&disk, dir, EpochFile::Current).expect("read");
                assert_eq!(durable, Some(Epoch(current)));
                let durable = read_epoch(&disk, dir, EpochFile::Accepted).expect("read");
                assert_eq!(durable, Some(Epoch(accepted)));
            }
        }
    }

    #[test]
    fn epochs_at_a_start() {
        check((Some(4), Some(3)), 3, Ok((4, 3)));
        check((Some(4), Some(4)), 2, Ok((4, 4)));
        check((None, None), 0, Ok((0, 0)));
        check((None, None), 7, Ok((7, 7)));
        check((Some(9), None), 7, Ok((9, 7)));
        check((None, Some(8)), 7, Ok((8, 8)));
    }

    #[test]
    fn what_a_crash_kept_from_being_written_is_written() {
        check((Some(5), Some(4)), 5, Ok((5, 5)));
        check((Some(6), Some(4)), 5, Ok((6, 5)));
        check((Some(3), Some(4)), 4, Ok((4, 4)));
    }

    #[test]
    fn epochs_of_other_data_stop_the_start() {
        check((Some(4), Some(4)), 5, Err("The current epoch, 4, is older than the last zxid, 0x500000005,"));
        check((None, Some(4)), 5, Err("The current epoch, 4, is older"));
    }
}
