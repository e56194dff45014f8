//! A disk in memory: enough of one to read logs and snapshots, and to cut them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ferrokeeper::storage::{Disk, DiskFile, disk::DiskLock};

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

#[derive(Clone, Default)]
pub struct MemoryDisk(Files);

struct MemoryFile(Files, PathBuf);

fn locked<T>(files: &Files, act: impl FnOnce(&mut BTreeMap<PathBuf, Vec<u8>>) -> T) -> T {
    act(&mut files.lock().unwrap_or_else(PoisonError::into_inner))
}

impl MemoryDisk {
    pub fn put(&self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        locked(&self.0, |files| files.insert(path.into(), bytes));
    }
}

impl Disk for MemoryDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| Some(path.strip_prefix(dir).ok()?.to_str()?.to_owned());
        Ok(locked(&self.0, |files| files.keys().filter_map(name).collect()))
    }
    fn exists(&self, path: &Path) -> bool {
        locked(&self.0, |files| files.keys().any(|known| known.starts_with(path)))
    }
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match locked(&self.0, |files| files.contains_key(path)) {
            true => Ok(Box::new(MemoryFile(self.0.clone(), path.to_owned()))),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.put(path, Vec::new());
        self.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        locked(&self.0, |files| files.remove(from).map(|bytes| files.insert(to.to_owned(), bytes)));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        locked(&self.0, |files| files.remove(path)).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.open(path)?.len()
    }
    fn mtime_ms(&self, _: &Path) -> io::Result<i64> {
        Ok(0)
    }
    fn lock(&self, _: &Path) -> io::Result<DiskLock> {
        Ok(Box::new(()))
    }
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        locked(&self.0, |files| files.get_mut(&self.1).map(act)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|bytes| {
            let left = bytes.get(offset as usize..).unwrap_or_default();
            let n = left.len().min(buf.len());
            buf[..n].copy_from_slice(&left[..n]);
            n
        })
    }
    fn write_all_at(&mut self, new: &[u8], offset: u64) -> io::Result<()> {
        self.with(|bytes| {
            let end = offset as usize + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset as usize..end].copy_from_slice(new);
        })
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.with(|bytes| bytes.resize(len as usize, 0))
    }
    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.with(|bytes| bytes.len() as u64)
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }
}
