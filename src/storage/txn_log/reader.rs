//! The reading side: entries in zxid order across files, and what to make of a file's end.
//!
//! 1. An entry is returned only with a good checksum, a good trailer and a type that is known.
//! 2. A file ends at its length, at a zero entry, or at something that a crash can have left ([`TornTail`]). Java takes
//!    any entry without its trailer for the end; here, a valid entry behind it makes it corruption (PAR, FAST'18).
//! 3. Memory is bounded by the largest entry that `Limits` allow.

use std::{
    collections::VecDeque,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ENTRY_HEADER, FILE_HEADER, MAGIC,
    damage::{self, Verdict},
    is_known_kind,
    synced::Synced,
};
use crate::{
    ids::Zxid,
    jute::Limits,
    proto::txn::{self, TxnHeader},
    storage::{Disk, DiskFile, StorageError, error::Doing, file_name},
};

/// One logged txn.
#[derive(Debug)]
pub struct LogEntry<'a> {
    pub header: TxnHeader,
    /// Header and record as logged; what newer versions appended is still there.
    pub txn: &'a [u8],
    /// `txn` without the header.
    pub record: &'a [u8],
    pub file: &'a Path,
    /// Of the entry's checksum.
    pub offset: u64,
}

impl LogEntry<'_> {
    pub fn zxid(&self) -> Zxid {
        self.header.zxid
    }

    /// Behind the entry's trailer.
    pub fn end(&self) -> u64 {
        self.offset + (ENTRY_HEADER + self.txn.len() + 1) as u64
    }
}

/// What a crash left at the end of a file: nothing that was ever acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    /// Where the last whole entry ends; less than a file header where not even that is whole.
    pub offset: u64,
    /// Up to the last byte that is not zero.
    pub bytes: u64,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.bytes {
            0 => write!(f, "{file} was created and never written to; nothing was lost"),
            n => write!(
                f,
                "{file} ends with {n} bytes of an unfinished write at byte {}; ignored",
                self.offset
            ),
        }
    }
}

/// All entries of a directory from one zxid on.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    from: Zxid,
    limits: Limits,
    files: VecDeque<(Zxid, PathBuf)>,
    current: Option<LogFile>,
    /// What the next entry is expected to be, if nothing is missing.
    expected: Option<Zxid>,
    torn: Vec<TornTail>,
    synced: Option<Synced>,
}

impl LogReader {
    /// Positions before the first entry whose zxid is `from` or more.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        from: Zxid,
        limits: Limits,
    ) -> Result<LogReader, StorageError> {
        let files = file_name::sorted(&*disk, dir, file_name::LOG).doing("list", dir)?;
        let files = VecDeque::from(file_name::covering(files, from));
        let synced = Synced::read(&*disk, dir);
        Ok(LogReader { disk, from, limits, files, current: None, expected: None, torn: Vec::new(), synced })
    }

    /// The next entry, `None` behind the last.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<LogEntry<'_>>, StorageError> {
        let header = loop {
            let Some(file) = &mut self.current else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            match file.advance()? {
                None => self.end_file()?,
                Some(header) => {
                    self.expected = Some(header.zxid.next());
                    if header.zxid >= self.from {
                        break header;
                    }
                }
            }
        };
        Ok(self.current.as_ref().map(|file| file.entry(header)))
    }

    /// The torn tails met so far, in file order.
    pub fn torn(&self) -> &[TornTail] {
        &self.torn
    }

    fn open_next(&mut self) -> Result<bool, StorageError> {
        let Some((start, path)) = self.files.pop_front() else { return Ok(false) };
        self.expected.get_or_insert(start);
        match LogFile::open(&*self.disk, &path, self.limits)? {
            Some(mut file) => {
                file.synced = self.synced.filter(|s| s.file == start).map(|s| s.offset);
                self.current = Some(file);
            }
            None => self.take_for_torn(TornTail { file: path, offset: 0, bytes: 0 })?,
        }
        Ok(true)
    }

    fn end_file(&mut self) -> Result<(), StorageError> {
        let Some(file) = self.current.take() else { return Ok(()) };
        let offset = file.offset;
        match damage::examine(&*file.file, offset, file.len, file.limits, file.synced)
            .doing("read", &file.path)?
        {
            Verdict::Clean => Ok(()),
            // The file has grown since its end was read: the server that writes it is alive.
            Verdict::ValidAt(at) if at == offset => {
                self.current = LogFile::open(&*self.disk, &file.path, self.limits)?;
                if let Some(current) = &mut self.current {
                    current.seek(offset);
                }
                Ok(())
            }
            Verdict::ValidAt(at) => {
                let reason = format!("no valid entry there, but one at byte {at}");
                Err(StorageError::corrupt(&file.path, offset, reason))
            }
            Verdict::Corrupt(reason) => Err(StorageError::corrupt(&file.path, offset, reason)),
            Verdict::Torn { bytes } => self.take_for_torn(TornTail { file: file.path, offset, bytes }),
        }
    }

    /// A torn tail is harmless at the end of everything, or where the next file goes on without a gap, as after a crash
    /// and a restart. Otherwise what was there is gone, and newer txns were built on it.
    fn take_for_torn(&mut self, tail: TornTail) -> Result<(), StorageError> {
        if let (Some((next, path)), Some(expected)) = (self.files.front(), self.expected) {
            let goes_on =
                *next <= expected.max(self.from) || next.epoch() > expected.epoch() && next.counter() <= 1;
            if !goes_on {
                let reason = format!(
                    "the entries from {expected} on are damaged, and the log goes on only with {next} in {}",
                    path.display()
                );
                return Err(StorageError::corrupt(&tail.file, tail.offset, reason));
            }
        }
        self.torn.push(tail);
        Ok(())
    }
}

/// A cursor over the entries of one file.
pub(super) struct LogFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    limits: Limits,
    /// Known to have been durable up to here, if that is known.
    synced: Option<u64>,
    buf: Vec<u8>,
    /// File offset of `buf[0]`.
    buf_at: u64,
    /// Of the next entry.
    offset: u64,
    /// Of the entry returned last, and the length of its txn.
    entry_at: u64,
    entry_len: usize,
}

impl LogFile {
    /// `None` for a file that a crash left without a whole header; such a file holds nothing.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        limits: Limits,
    ) -> Result<Option<LogFile>, StorageError> {
        let file = disk.open(path).doing("open", path)?;
        let len = file.len().doing("measure", path)?;
        let header_len = FILE_HEADER.len() as u64;
        let mut log = LogFile {
            file,
            path: path.to_owned(),
            len,
            limits,
            synced: None,
            buf: Vec::new(),
            buf_at: 0,
            offset: header_len,
            entry_at: 0,
            entry_len: 0,
        };
        log.fill(0, FILE_HEADER.len())?;
        let header = log.bytes(0, FILE_HEADER.len());
        let magic_is_good = header.starts_with(MAGIC);
        if magic_is_good && len >= header_len {
            return Ok(Some(log));
        }
        let could_be_torn = MAGIC.starts_with(header) || magic_is_good || header.iter().all(|b| *b == 0);
        if !could_be_torn {
            let reason = "this is not a transaction log: it does not begin with ZKLG";
            return Err(StorageError::corrupt(path, 0, reason));
        }
        match damage::examine(&*log.file, len.min(header_len), len, limits, None).doing("read", path)? {
            Verdict::ValidAt(at) => {
                let reason = format!("the file header is lost, but there is an entry at byte {at}");
                Err(StorageError::corrupt(path, 0, reason))
            }
            _ => Ok(None),
        }
    }

    /// Goes to the next entry. `None` where no valid entry is; what that means, [`damage::examine`] finds out.
    pub(super) fn advance(&mut self) -> Result<Option<TxnHeader>, StorageError> {
        let at = self.offset;
        let Some(length) = self.entry_length(at)? else { return Ok(None) };
        self.fill(at, ENTRY_HEADER + length + 1)?;
        let Some(txn) = damage::checked_txn(self.bytes(at, ENTRY_HEADER + length + 1)) else {
            return Ok(None);
        };
        let corrupt = |reason| StorageError::corrupt(&self.path, at, reason);
        let (header, _) = txn::split_header(txn, self.limits)
            .map_err(|e| corrupt(format!("the entry has no txn header: {e}")))?;
        if !is_known_kind(header.kind) {
            return Err(corrupt(format!("Unsupported Txn with type={} (zxid {})", header.kind, header.zxid)));
        }
        self.entry_at = at;
        self.entry_len = length;
        self.offset = at + (ENTRY_HEADER + length + 1) as u64;
        Ok(Some(header))
    }

    pub(super) fn first_entry(&mut self) -> Option<TxnHeader> {
        self.advance().ok().flatten()
    }

    fn seek(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The length of the entry at `at`, if one of that length can be there at all.
    fn entry_length(&mut self, at: u64) -> Result<Option<usize>, StorageError> {
        let left = self.len.saturating_sub(at);
        if left <= ENTRY_HEADER as u64 {
            return Ok(None);
        }
        self.fill(at, ENTRY_HEADER)?;
        let Some(length) = damage::claimed_length(self.bytes(at, ENTRY_HEADER)) else { return Ok(None) };
        if length as u64 > left - ENTRY_HEADER as u64 - 1 {
            return Ok(None);
        }
        if length <= self.limits.max_field {
            return Ok(Some(length));
        }
        if !damage::is_valid_at(&*self.file, at, self.len, usize::MAX).doing("read", &self.path)? {
            return Ok(None);
        }
        Err(StorageError::TooLarge {
            file: self.path.clone(),
            offset: at,
            length: length as u64,
            limit: self.limits.max_field,
        })
    }

    fn entry(&self, header: TxnHeader) -> LogEntry<'_> {
        let start = (self.entry_at - self.buf_at) as usize + ENTRY_HEADER;
        let txn = &self.buf[start..start + self.entry_len];
        LogEntry { header, txn, record: &txn[TxnHeader::LEN..], file: &self.path, offset: self.entry_at }
    }

    /// Makes `n` bytes at `offset` available, or as many as the file has.
    fn fill(&mut self, offset: u64, n: usize) -> Result<(), StorageError> {
        let have = self.buf_at + self.buf.len() as u64;
        if offset >= self.buf_at && offset + n as u64 <= have {
            return Ok(());
        }
        let keep = match offset.checked_sub(self.buf_at) {
            Some(skip) if offset < have => {
                self.buf.drain(..skip as usize);
                self.buf.len()
            }
            _ => 0,
        };
        let room = self.len.saturating_sub(offset).min(n.max(CHUNK) as u64) as usize;
        self.buf.resize(room.max(keep), 0);
        self.buf_at = offset;
        let read = read_full(&*self.file, &mut self.buf[keep..], offset + keep as u64);
        self.buf.truncate(keep + read.doing("read", &self.path)?);
        Ok(())
    }

    /// What `fill` made available.
    fn bytes(&self, offset: u64, n: usize) -> &[u8] {
        let start = offset.saturating_sub(self.buf_at) as usize;
        let end = self.buf.len().min(start + n);
        self.buf.get(start..end).unwrap_or_default()
    }
}

/// As much of `buf` as the file has from `offset` on.
pub(super) fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

const CHUNK: usize = 256 << 10;
