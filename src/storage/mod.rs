//! ZooKeeper's files, byte for byte as Java 3.5.7 writes them (B§6), on a disk that can be swapped for one that crashes.
//!
//! 1. What is reported durable is durable: data, length and directory entry (ALICE). A failed sync is never retried.
//! 2. A checksum is believed before a length; no length from a file sizes an allocation unchecked.
//! 3. An entry that a crash may have torn is cut and reported; anything else that cannot be read stops the start.
//!
//! The tree is reached through [`SnapshotSink`] and [`Replay`] only. Counterpart: `server.persistence`, `PurgeTxnLog`.

pub mod disk;
pub mod epoch;
mod error;
pub mod file_name;
mod probe;
pub mod purge;
pub mod recovery;
pub mod snapshot;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod txn_log;

pub use disk::{Disk, DiskFile, RealDisk};
pub use epoch::{EpochFile, Epochs, open_epochs, read_epoch, write_epoch};
pub use error::StorageError;
pub use probe::{LogProbe, probe_log};
pub use purge::{Purged, dir_size, purge};
pub use recovery::{Recovered, RecoveryOptions, Replay, Restored, open, reload};
pub use snapshot::{SnapshotEncoder, SnapshotFile, SnapshotOptions, SnapshotSink};
pub use txn_log::{LogEntry, LogOptions, LogReader, LogWriter, SyncReport, TornTail};
