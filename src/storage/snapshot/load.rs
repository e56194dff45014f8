//! Finds and reads snapshot files: the newest that proves whole.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    FILE_HEADER, MAGIC, SnapshotDecoder, SnapshotSink, TERMINATOR,
    compressed::{GZIP_MAGIC, SNAPPY_MAGIC, SnappyReader},
    file::is_tmp_name,
};
use crate::{
    ids::{SessionId, Zxid},
    jute::Limits,
    proto::data::{Acl, StatPersisted},
    storage::{Disk, DiskFile, StorageError, error::Doing, file_name},
};

pub struct Loaded<S> {
    pub sink: S,
    pub zxid: Zxid,
    pub path: PathBuf,
    /// Newer files that proved bad, and why.
    pub rejected: Vec<(PathBuf, String)>,
}

/// All snapshots by ascending zxid, compressed ones of newer versions included; not checked.
pub fn files(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(Zxid, PathBuf)>> {
    let mut files: Vec<(Zxid, PathBuf)> = disk
        .list(dir)?
        .into_iter()
        .filter_map(|name| {
            let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".snappy")).unwrap_or(&name);
            Some((file_name::zxid_of(plain, file_name::SNAPSHOT)?, dir.join(&name)))
        })
        .collect();
    files.sort();
    Ok(files)
}

/// The quick look that Java gives a file before it reads it (`Util.isValidSnapshot`): is the end there?
pub fn is_candidate(disk: &dyn Disk, path: &Path) -> bool {
    look_at_ends(disk, path).unwrap_or(false)
}

pub fn any_candidate_up_to(disk: &dyn Disk, dir: &Path, zxid: Zxid) -> Result<bool, StorageError> {
    let files = files(disk, dir).doing("list", dir)?;
    Ok(files.iter().any(|(z, path)| *z <= zxid && is_candidate(disk, path)))
}

/// Reads the newest snapshot that proves whole, each attempt into a fresh sink. `None` where there is no candidate.
pub fn load_newest<S: SnapshotSink>(
    disk: &dyn Disk,
    dir: &Path,
    limits: Limits,
    mut make_sink: impl FnMut() -> S,
) -> Result<Option<Loaded<S>>, StorageError> {
    let mut rejected = Vec::new();
    for (zxid, path) in files(disk, dir).doing("list", dir)?.into_iter().rev() {
        if !is_candidate(disk, &path) {
            rejected.push((path, "its end is missing: it was not written to the end".to_owned()));
            continue;
        }
        let mut sink = make_sink();
        let result = read_file(disk, &path, limits, &mut sink).and_then(|()| sink.end(zxid));
        match result {
            Ok(()) => return Ok(Some(Loaded { sink, zxid, path, rejected })),
            Err(reason) => rejected.push((path, reason)),
        }
    }
    if rejected.is_empty() {
        return Ok(None);
    }
    let tried: Vec<String> =
        rejected.iter().map(|(path, reason)| format!("{} ({reason})", path.display())).collect();
    Err(StorageError::BadSnapshots { dir: dir.to_owned(), tried: tried.join(", ") })
}

/// Reads one snapshot file into `sink`; what the sink got is worth nothing if this fails.
pub fn read_file<S: SnapshotSink + ?Sized>(
    disk: &dyn Disk,
    path: &Path,
    limits: Limits,
    sink: &mut S,
) -> Result<(), String> {
    let file = disk.open(path).map_err(|e| e.to_string())?;
    let input = FromStart { file, at: 0 };
    match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => read(flate2::read::GzDecoder::new(input), limits, sink),
        Some("snappy") => read(SnappyReader::new(input), limits, sink),
        _ => read(input, limits, sink),
    }
}

/// Whether a snapshot would load, as far as it can tell by itself.
pub fn verify(disk: &dyn Disk, path: &Path, limits: Limits) -> Result<(), String> {
    struct Nowhere;
    impl SnapshotSink for Nowhere {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, _: i64, _: Vec<Acl>) {}
        fn node(&mut self, _: &str, _: Option<&[u8]>, _: i64, _: &StatPersisted) -> Result<(), String> {
            Ok(())
        }
    }
    read_file(disk, path, limits, &mut Nowhere)
}

/// What a snapshot that was being written leaves behind in a crash.
pub fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, StorageError> {
    let mut removed = Vec::new();
    for name in disk.list(dir).doing("list", dir)? {
        if is_tmp_name(&name) {
            let path = dir.join(name);
            disk.remove(&path).doing("remove", &path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

fn read<S: SnapshotSink + ?Sized>(input: impl Read, limits: Limits, sink: &mut S) -> Result<(), String> {
    let mut window = Window { input, buf: Vec::new(), at: 0, sum: simd_adler32::Adler32::new() };
    if !window.take(FILE_HEADER.len())?.starts_with(MAGIC) {
        return Err("it does not begin with ZKSN".to_owned());
    }
    let mut decoder = SnapshotDecoder::new(limits);
    loop {
        let progress = decoder.decode(window.rest(), sink)?;
        window.consume(progress.consumed);
        if progress.need == 0 {
            break;
        }
        window.require(progress.need)?;
    }
    let sum = u64::from(window.sum.finish());
    let stored = window.take(8)?;
    if stored != sum.to_be_bytes() {
        return Err("CRC corruption".to_owned());
    }
    // 3.6 and newer go on with digest sections (B§12.3), which a 3.5 server has no use for.
    match window.take(TERMINATOR.len())? == TERMINATOR {
        true => Ok(()),
        false => Err("the checksum is not followed by /".to_owned()),
    }
}

/// The bytes between what the file has given and what has been consumed, and the checksum of the latter.
struct Window<R> {
    input: R,
    buf: Vec<u8>,
    at: usize,
    sum: simd_adler32::Adler32,
}

impl<R: Read> Window<R> {
    fn rest(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    fn consume(&mut self, n: usize) {
        self.sum.write(&self.buf[self.at..self.at + n]);
        self.at += n;
    }

    fn take(&mut self, n: usize) -> Result<Vec<u8>, String> {
        self.require(n)?;
        let bytes = self.rest()[..n].to_vec();
        self.consume(n);
        Ok(bytes)
    }

    /// Reads until `n` bytes are there, and as many more as fit.
    fn require(&mut self, n: usize) -> Result<(), String> {
        if self.rest().len() >= n {
            return Ok(());
        }
        self.buf.drain(..self.at);
        self.at = 0;
        let mut filled = self.buf.len();
        // `n` is at most one field beyond what is there, and a field is at most `Limits::max_field`.
        self.buf.resize(n + WINDOW, 0);
        while filled < n {
            match self.input.read(&mut self.buf[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        self.buf.truncate(filled);
        if filled < n { Err("it ends in the middle of a record".to_owned()) } else { Ok(()) }
    }
}

/// A file as a stream.
struct FromStart {
    file: Box<dyn DiskFile>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

fn look_at_ends(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    let file = disk.open(path)?;
    let len = file.len()?;
    let mut start = [0; 8];
    file.read_at(&mut start, 0)?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => return Ok(start.starts_with(GZIP_MAGIC)),
        Some("snappy") => return Ok(start == *SNAPPY_MAGIC),
        _ if len < 10 => return Ok(false),
        _ => {}
    }
    let mut end = [0; TERMINATOR.len()];
    let n = file.read_at(&mut end, len - TERMINATOR.len() as u64)?;
    Ok(n == TERMINATOR.len() && end == TERMINATOR)
}

const WINDOW: usize = 1 << 20;
