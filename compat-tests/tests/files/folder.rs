//! A data folder that changes hands: servers of either kind are opened on it or on a copy of it, one at a time.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use compat_tests::process::{Builder, Kind, Server};
use tempfile::TempDir;

use crate::dump::SUPER_FLAG;

/// How the servers of one test are set up, all of them alike.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub lines: Vec<String>,
    pub flags: Vec<String>,
    /// Logs in a folder of their own (`dataLogDir`).
    pub apart: bool,
}

impl Setup {
    /// Small files and many of them, so that a short load rolls logs and takes snapshots.
    pub fn small() -> Setup {
        Setup::default().line("snapCount=400").line("preAllocSize=64")
    }
    pub fn line(mut self, line: &str) -> Setup {
        self.lines.push(line.to_string());
        self
    }
    pub fn flag(mut self, flag: &str) -> Setup {
        self.flags.push(flag.to_string());
        self
    }
    pub fn apart(mut self) -> Setup {
        self.apart = true;
        self
    }
}

#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
    setup: Setup,
}

impl Folder {
    pub fn new(setup: &Setup) -> Folder {
        let dir = tempfile::Builder::new().prefix("files-").tempdir().unwrap();
        for name in ["data", "log"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Folder { dir, setup: setup.clone() }
    }

    pub fn copy(&self) -> Folder {
        let copy = Folder::new(&self.setup);
        copy_files(self.dir.path(), copy.dir.path());
        copy
    }

    /// What a failing test leaves for the eye.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_path_buf()
    }

    pub fn start(&self, kind: &Kind) -> Server {
        self.builder(kind).start().unwrap()
    }

    /// As `start`, for folders that a server may refuse: `Err` is its exit code.
    pub fn try_start(&self, kind: &Kind) -> Result<Server, Option<i32>> {
        let mut server = self.builder(kind).spawn().unwrap();
        if server.wait_serving(Duration::from_secs(20)).is_ok() {
            return Ok(server);
        }
        Err(server.wait(Duration::from_secs(10)).expect("it serves or ends").code())
    }

    fn builder(&self, kind: &Kind) -> Builder {
        let path = self.dir.path().display();
        let mut builder = Builder::new(kind.clone()).line(format!("dataDir={path}/data"));
        if self.setup.apart {
            builder = builder.line(format!("dataLogDir={path}/log"));
        }
        // Containers and TTL nodes stay: what a server reaps is no matter of files.
        builder = builder.line("maxSessionTimeout=600000").flag(SUPER_FLAG);
        builder = builder.flag("-Dzookeeper.extendedTypesEnabled=true");
        builder = builder.flag("-Dznode.container.checkIntervalMs=3600000");
        // Most of a test is Java starting.
        builder = builder.flag("-XX:TieredStopAtLevel=1");
        builder = self.setup.lines.iter().fold(builder, |b, line| b.line(line));
        self.setup.flags.iter().fold(builder, |b, flag| b.flag(flag))
    }

    fn version_2(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("version-2")
    }

    fn log_dir(&self) -> PathBuf {
        self.version_2(if self.setup.apart { "log" } else { "data" })
    }

    pub fn forget_what_was_synced(&self) {
        let _ = fs::remove_file(self.log_dir().join(".log.synced"));
    }

    /// Log files, oldest first.
    pub fn logs(&self) -> Vec<PathBuf> {
        numbered(&self.log_dir(), "log")
    }
    /// Snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<PathBuf> {
        numbered(&self.version_2("data"), "snapshot")
    }
}

/// The files `prefix.<hex zxid>` and `prefix.<hex zxid>.<compression>`, by zxid.
fn numbered(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(rest) = name.strip_prefix(prefix).and_then(|r| r.strip_prefix('.')) else { continue };
        if let Ok(zxid) = u64::from_str_radix(rest.split('.').next().unwrap_or(rest), 16) {
            found.push((zxid, entry.path()));
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Copies keep holes: a preallocated log of 64 MiB must not become 64 MiB of zeros on a disk.
fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            copy_sparse(&entry.path(), &target);
        }
    }
}

fn copy_sparse(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap();
    let file = fs::File::create(to).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (nth, chunk) in bytes.chunks(4096).enumerate() {
        if chunk.iter().any(|b| *b != 0) {
            file.write_all_at(chunk, nth as u64 * 4096).unwrap();
        }
    }
}

/// Where the entries of a txn log lie: from the first byte of the checksum to the one after the trailer (B§6.2).
pub fn entries(log: &Path) -> Vec<(usize, usize)> {
    const HEADER: usize = 16;
    let bytes = fs::read(log).unwrap();
    let mut found = Vec::new();
    let mut at = HEADER;
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = i32::from_be_bytes(length.try_into().unwrap());
        let end = at + 12 + length as usize + 1;
        if length <= 0 || bytes.get(end - 1) != Some(&0x42) {
            break;
        }
        found.push((at, end));
        at = end;
    }
    found
}
