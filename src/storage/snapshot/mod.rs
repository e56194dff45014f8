//! Snapshots: `snapshot.<hex zxid>` (B§6.4), and the same body as a leader streams it.
//!
//! Sessions, then ACLs by key, then nodes with parents first (the root's path is empty), then the path `/`; in a file also
//! a header in front and behind it the Adler-32 of everything and `/` again.
//!
//! 1. A file under a snapshot's name is whole: written under a temporary name, synced, renamed, the directory synced.
//!    Java writes in place and does not sync, so Java's are checked to the last byte before one is believed.
//! 2. A snapshot that fails half-way leaves nothing behind: the next older one is read into a fresh sink.
//!
//! Counterpart: `FileSnap`, `SerializeUtils`, and `SnapStream` of 3.6 for reading compressed ones.

mod compressed;
mod decode;
mod encode;
mod file;
mod load;

use crate::{
    ids::{SessionId, Zxid},
    proto::data::{Acl, StatPersisted},
};

pub use decode::{Progress, SnapshotDecoder};
pub use encode::SnapshotEncoder;
pub use file::{SnapshotFile, SnapshotOptions, SnapshotOutput};
pub use load::{
    Loaded, any_candidate_up_to, files, is_candidate, load_newest, read_file, remove_unfinished, verify,
};

/// Takes what a snapshot holds, in file order.
pub trait SnapshotSink {
    fn session(&mut self, id: SessionId, timeout_ms: i32);
    fn acl(&mut self, key: i64, acl: Vec<Acl>);
    /// `acl_key` −1 is the open ACL. A fuzzy snapshot of Java's may name a key that no `acl` call had. An error (a
    /// missing parent, say) makes the snapshot invalid.
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String>;
    /// The snapshot has proved whole and is the tree as of `zxid` (or a little later, if fuzzy).
    fn end(&mut self, _zxid: Zxid) -> Result<(), String> {
        Ok(())
    }
}

/// "ZKSN", version 2, database id −1.
const FILE_HEADER: [u8; 16] = *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
const MAGIC: &[u8; 4] = b"ZKSN";
/// The path `/`, which ends the nodes and the file.
const TERMINATOR: [u8; 5] = *b"\0\0\0\x01/";
