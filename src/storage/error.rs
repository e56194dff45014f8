//! What can be wrong with the files. Every message names the file, the place in it, and what the operator can do.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::ids::{Epoch, Zxid};

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A directory is missing, not writable, or holds what belongs in the other one (`DatadirException`; exit code 3).
    #[error("{reason}")]
    DataDir { dir: PathBuf, reason: String },

    /// Exit code 3 too: two servers on one directory destroy each other's log.
    #[error(
        "another server is running on {} (its lock {} is held); stop it, or give this server a directory of its own",
        dir.display(),
        lock.display()
    )]
    InUse { dir: PathBuf, lock: PathBuf },

    #[error(
        "{} is corrupt at byte {offset}: {reason}. Acknowledged transactions may be lost, so this server does not \
         start with a shortened history. In an ensemble with a healthy quorum: move version-2 of dataDir and \
         dataLogDir away, and this server will copy the leader's state. Standalone: restore the file from a backup, \
         or cut it at that byte (truncate -s {offset}) to give up everything behind it",
        file.display()
    )]
    Corrupt { file: PathBuf, offset: u64, reason: String },

    #[error(
        "{} holds at byte {offset} an entry of {length} bytes, more than jute.maxbuffer and its extra size allow \
         ({limit}); start with a larger -Djute.maxbuffer",
        file.display()
    )]
    TooLarge { file: PathBuf, offset: u64, length: u64, limit: usize },

    #[error(
        "{}: the transaction {zxid} at byte {offset} cannot be applied: {reason}. It cannot be skipped; in an \
         ensemble, move version-2 away and let this server copy the leader's state",
        file.display()
    )]
    Replay { file: PathBuf, offset: u64, zxid: Zxid, reason: String },

    /// Java's text, which operators search for, and what it leaves out.
    #[error(
        "No snapshot found, but there are log entries. Something is broken! (no snapshot.* in {}, but {} has entries; \
         restore the snapshot, or, only when upgrading from 3.4, set -Dzookeeper.snapshot.trust.empty=true)",
        snap_dir.display(),
        log.display()
    )]
    NoSnapshot { snap_dir: PathBuf, log: PathBuf },

    #[error(
        "Not able to find valid snapshots in {}: {tried}. Restore one of them from a backup; in an ensemble, move \
         version-2 away and let this server copy the leader's state",
        dir.display()
    )]
    BadSnapshots { dir: PathBuf, tried: String },

    #[error(
        "{} holds {found:?} where the number of an epoch must be; in an ensemble, move version-2 away and let this \
         server copy the leader's state",
        file.display()
    )]
    BadEpoch { file: PathBuf, found: String },

    /// Java's text, and what to do.
    #[error(
        "The current epoch, {current}, is older than the last zxid, {last_zxid}, and acceptedEpoch does not say that this \
         server knew of a newer one: the epoch files in {} are not those of the data beside them. Restore them from where \
         the data came from; or, in an ensemble with a healthy quorum, move version-2 away and let this server copy the \
         leader's state",
        dir.display()
    )]
    OldEpoch { dir: PathBuf, current: Epoch, last_zxid: Zxid },

    #[error("cannot truncate the log in {} to {to}: {reason}", dir.display())]
    Truncate { dir: PathBuf, to: Zxid, reason: String },

    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl StorageError {
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> StorageError {
        StorageError::Io { action, path: path.to_owned(), source }
    }

    /// Java ends with exit code 3 for these and with 1 for all others (B§7.3).
    pub fn is_data_dir(&self) -> bool {
        matches!(self, StorageError::DataDir { .. } | StorageError::InUse { .. })
    }

    pub(super) fn corrupt(file: &Path, offset: u64, reason: impl Into<String>) -> StorageError {
        StorageError::Corrupt { file: file.to_owned(), offset, reason: reason.into() }
    }
}

/// Says what was being done to which file when the system refused.
pub(super) trait Doing<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StorageError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { action, path: path.to_owned(), source })
    }
}
