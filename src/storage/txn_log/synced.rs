//! How far the newest log is known to be durable: `.log.synced`, a hint that Java does not look at.
//!
//! Synced when a file begins, and from then on only written, after every sync of the log: on disk it may be old but is
//! never ahead. It settles what the log
//! alone cannot: a batch of which the disk wrote the end and not the beginning looks like rot in the middle of the log.
//! Behind this mark it is the former, before it the latter (the persist records of CTRL, FAST'18).

use std::{io, path::Path};

use super::adler32;
use crate::{
    ids::Zxid,
    storage::{Disk, DiskFile},
};

/// Everything in `log.<file>` before `offset` has been synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Synced {
    pub(super) file: Zxid,
    pub(super) offset: u64,
}

impl Synced {
    /// `None` if there is no mark, or none that checks.
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Option<Synced> {
        let mut bytes = [0; LEN];
        let n = disk.open(&dir.join(NAME)).ok()?.read_at(&mut bytes, 0).ok()?;
        let (file, rest) = bytes.split_first_chunk::<8>()?;
        let (offset, sum) = rest.split_first_chunk::<8>()?;
        let is_whole = n == LEN && *sum == u64::from(adler32(&bytes[..16])).to_be_bytes();
        is_whole
            .then(|| Synced { file: Zxid(i64::from_be_bytes(*file)), offset: u64::from_be_bytes(*offset) })
    }

    pub(super) fn write(self, mark: &mut dyn DiskFile) -> io::Result<()> {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.file.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_be_bytes());
        let sum = u64::from(adler32(&bytes[..16]));
        bytes[16..].copy_from_slice(&sum.to_be_bytes());
        mark.write_all_at(&bytes, 0)
    }
}

pub(super) const NAME: &str = ".log.synced";
const LEN: usize = 24;
