//! The writing side, owned by the log thread.
//!
//! 1. `append` only fills a buffer; `sync` is one write and one fdatasync for all of it.
//! 2. Header, preallocated length and name of a file are durable before its first entry is written (ALICE).
//! 3. After a failed sync nothing is written any more: a retry could report success with the data gone (fsyncgate).
//!
//! Preallocated space is sparse, as Java's is: a file that a restart ends early must not take 64 MiB. But zeros are written
//! a little ahead of the data, so that fdatasync finds no metadata to change; on ext4 that takes 90 us instead of 150-175
//! behind 8 to 33 KB. fallocate does not help: the first write to such an extent changes metadata, too.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    END_OF_ENTRY, FILE_HEADER, adler32,
    padding::Padding,
    reader::LogFile,
    synced::{self, Synced},
};
use crate::{
    ids::Zxid,
    jute::Limits,
    proto::txn::TxnHeader,
    storage::{Disk, DiskFile, file_name},
};

#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// `zookeeper.preAllocSize`; 0 or less: files grow with their contents.
    pub prealloc_kib: i64,
    /// `zookeeper.forceSync`; without it nothing is synced and a crash of the machine loses txns.
    pub force_sync: bool,
    /// For what is read when the log is truncated.
    pub limits: Limits,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { prealloc_kib: 65536, force_sync: true, limits: Limits::default() }
    }
}

/// What a sync did, for the warning about slow ones (B§6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncReport {
    /// Length of the current file, preallocation included; 0 before the first append.
    pub file_len: u64,
}

pub struct LogWriter {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    current: Option<Current>,
    /// Appended and not yet written; its allocation is kept.
    pending: Vec<u8>,
    last: Option<Zxid>,
    mark: Option<Box<dyn DiskFile>>,
    failed: bool,
}

/// The file that appends go to.
struct Current {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    start: Zxid,
    /// Where `pending` will go.
    written: u64,
    /// Length of the file.
    file_len: u64,
    /// Up to here zeros or data have been written, not only preallocated.
    zeroed: u64,
    padding: Padding,
}

impl LogWriter {
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>, options: LogOptions) -> LogWriter {
        LogWriter {
            disk,
            dir: dir.into(),
            options,
            current: None,
            pending: Vec::with_capacity(1 << 20),
            last: None,
            mark: None,
            failed: false,
        }
    }

    /// Buffers one txn (header and record). The first one after a start or a roll creates `log.<zxid>`.
    pub fn append(&mut self, zxid: Zxid, txn: &[u8]) -> io::Result<()> {
        self.check_alive()?;
        self.check_txn(zxid, txn)?;
        if self.pending.len() >= MAX_BATCH {
            self.sync()?;
        }
        if self.current.is_none() {
            let path = self.dir.join(file_name::log_name(zxid));
            self.check_nothing_lost(&path)?;
            let begun = self.begin(zxid, &path);
            self.current = Some(self.survive("begin", &path, begun)?);
        }
        if let Some(current) = &mut self.current {
            current.padding.before_append();
            current.padding.append(txn.len());
        }
        self.pending.extend_from_slice(&u64::from(adler32(txn)).to_be_bytes());
        self.pending.extend_from_slice(&(txn.len() as u32).to_be_bytes());
        self.pending.extend_from_slice(txn);
        self.pending.push(END_OF_ENTRY);
        self.last = Some(zxid);
        Ok(())
    }

    /// Bytes that the next sync will write.
    pub fn buffered(&self) -> usize {
        self.pending.len()
    }

    /// Returns when everything appended is durable (unless `force_sync` is off).
    pub fn sync(&mut self) -> io::Result<SyncReport> {
        self.check_alive()?;
        let Some(current) = &mut self.current else { return Ok(SyncReport { file_len: 0 }) };
        if self.pending.is_empty() {
            return Ok(SyncReport { file_len: current.file_len });
        }
        let mut written = current.write(&mut self.pending);
        if self.options.force_sync {
            written = written.and_then(|()| current.file.sync_data());
        }
        let report = SyncReport { file_len: current.file_len };
        if let (Ok(()), Some(mark)) = (&written, &mut self.mark) {
            written = Synced { file: current.start, offset: current.written }.write(&mut **mark);
        }
        let path = current.path.clone();
        self.survive("write", &path, written)?;
        Ok(report)
    }

    /// Syncs and ends the current file; the next append begins a new one.
    pub fn roll(&mut self) -> io::Result<()> {
        self.sync()?;
        self.current = None;
        Ok(())
    }

    /// For truncation: nothing buffered, no file open, and appends may go back to `last`.
    pub(super) fn restart_behind(&mut self, last: Zxid) {
        self.current = None;
        self.pending.clear();
        self.mark = None;
        self.last = Some(last);
    }

    /// A new file, whose first sync will find only data to write.
    fn begin(&mut self, zxid: Zxid, path: &Path) -> io::Result<Current> {
        tracing::info!("Creating new log file: {}", file_name::log_name(zxid));
        let mut file = self.disk.create(path)?;
        let padding = Padding::new(self.options.prealloc_kib);
        let header_len = FILE_HEADER.len() as u64;
        let file_len = padding.size_for_append();
        file.write_all_at(&FILE_HEADER, 0)?;
        if file_len > header_len {
            file.set_len(file_len)?;
        }
        if self.options.force_sync {
            file.sync_all()?;
            let mut mark = self.disk.create(&self.dir.join(synced::NAME))?;
            Synced { file: zxid, offset: header_len }.write(&mut *mark)?;
            mark.sync_all()?;
            self.mark = Some(mark);
            self.disk.sync_dir(&self.dir)?;
        }
        let path = path.to_owned();
        let (written, zeroed) = (header_len, header_len);
        Ok(Current { file, path, start: zxid, written, file_len, zeroed, padding })
    }

    /// Marks the writer as failed if `result` is an error.
    fn survive<T>(&mut self, action: &str, path: &Path, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| {
            self.failed = true;
            io::Error::new(e.kind(), format!("cannot {action} {}: {e}", path.display()))
        })
    }

    /// Java opens with truncation; a file of this name can only be what a crash left of the same txn. If it holds a whole
    /// entry, zxids are being handed out twice.
    fn check_nothing_lost(&self, path: &Path) -> io::Result<()> {
        if !self.disk.exists(path) {
            return Ok(());
        }
        let holds_entry = LogFile::open(&*self.disk, path, self.options.limits)
            .is_ok_and(|opened| opened.is_some_and(|mut file| file.first_entry().is_some()));
        if holds_entry {
            let reason =
                format!("{} exists and holds transactions; it will not be overwritten", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
        }
        Ok(())
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the transaction log failed before; this server must be restarted"));
        }
        Ok(())
    }

    fn check_txn(&self, zxid: Zxid, txn: &[u8]) -> io::Result<()> {
        let invalid = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        if txn.len() < TxnHeader::LEN || txn.len() > i32::MAX as usize || txn[12..20] != zxid.0.to_be_bytes()
        {
            return invalid(format!("{} bytes that are not the txn {zxid} were to be logged", txn.len()));
        }
        match self.last {
            Some(last) if zxid <= last => invalid(format!("txn {zxid} was to be logged behind {last}")),
            _ => Ok(()),
        }
    }
}

impl Current {
    /// Writes `pending` and leaves it empty.
    fn write(&mut self, pending: &mut Vec<u8>) -> io::Result<()> {
        self.padding.flush();
        let end = self.written + pending.len() as u64;
        let file_len = self.padding.size.max(end);
        let is_padded = self.padding.step > 0;
        if file_len > self.file_len {
            if is_padded {
                self.file.set_len(file_len)?;
            }
            self.file_len = file_len;
        }
        if is_padded && end > self.zeroed {
            self.zeroed = end.next_multiple_of(ZERO_AHEAD).min(file_len);
            pending.resize((self.zeroed - self.written) as usize, 0);
        }
        self.file.write_all_at(pending, self.written)?;
        pending.clear();
        pending.shrink_to(2 * MAX_BATCH);
        self.written = end;
        Ok(())
    }
}

/// More than this is not kept back for a sync to come.
const MAX_BATCH: usize = 4 << 20;
/// Zeros are written ahead up to a multiple of this.
const ZERO_AHEAD: u64 = 256 << 10;
