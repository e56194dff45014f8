//! A server's disk in memory: what programs see apart from what a loss of power leaves.
//!
//! Of a file, what was written since its last sync may survive in part, to the sector; of a directory, a prefix of the
//! changes since its last sync. Unlike `storage::testing::CrashDisk`, which enumerates every image, this draws one.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::rng::Rng;
use crate::{
    ids::Millis,
    storage::{Disk, DiskFile, disk::DiskLock},
};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Debug)]
enum NameChange {
    Set(String, Entry),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Debug)]
enum FileChange {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Debug, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<FileChange>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, Entry>,
    durable_names: BTreeMap<String, Entry>,
    unsynced_names: Vec<NameChange>,
    files: Vec<File>,
    /// Changes until the machine stops in the middle of what it does.
    fuse: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// After `changes` more, nothing reaches the disk any more and every change fails.
    pub fn stop_after(&self, changes: u64) {
        self.state().fuse = Some(changes);
    }

    /// The process is killed; what it wrote, the machine still has.
    pub fn kill(&self) {
        self.state().fuse = None;
    }

    /// The power fails: what was not synced survives in part.
    pub fn lose_power(&self, rng: &mut Rng) {
        let mut state = self.state();
        let state = &mut *state;
        state.fuse = None;
        let kept = rng.below(state.unsynced_names.len() as u64 + 1) as usize;
        for change in state.unsynced_names.drain(..).take(kept) {
            apply_to_names(&mut state.durable_names, change);
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            file.lose_power(rng);
        }
        let mut used = vec![false; state.files.len()];
        state.names.values().for_each(|entry| {
            if let Entry::File(id) = entry {
                used[*id] = true;
            }
        });
        for (file, _) in state.files.iter_mut().zip(used).filter(|(_, used)| !used) {
            *file = File::default();
        }
    }

    pub fn wipe(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, unless the machine has stopped.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.fuse {
            Some(0) => return Err(io::Error::other("the machine has stopped")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.state().names.get(text(path)) {
            Some(Entry::File(id)) => Ok(*id),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl State {
    fn rename_change(&mut self, change: NameChange, twice: NameChange) {
        apply_to_names(&mut self.names, change);
        self.unsynced_names.push(twice);
    }
}

impl File {
    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply_to_file(&mut self.durable, &change);
        }
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        if self.unsynced.is_empty() {
            return;
        }
        let whole = rng.below(self.unsynced.len() as u64 + 1) as usize;
        let torn = rng.chance(700);
        for (n, change) in self.unsynced.drain(..).enumerate() {
            match change {
                _ if n < whole => apply_to_file(&mut self.durable, &change),
                FileChange::Write(at, bytes) if torn => {
                    for (start, sector) in sectors(at, &bytes) {
                        if rng.chance(500) {
                            write(&mut self.durable, start, sector);
                        }
                    }
                }
                _ => {}
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

/// Cuts what is written at `at` where the disk's sectors end.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - at % SECTOR).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let behind = rest.chunks(SECTOR).enumerate().map(move |(n, part)| (at + first + n * SECTOR, part));
    std::iter::once((at, head)).chain(behind)
}

fn apply_to_names(names: &mut BTreeMap<String, Entry>, change: NameChange) {
    match change {
        NameChange::Set(path, entry) => {
            names.insert(path, entry);
        }
        NameChange::Rename(from, to) => {
            if let Some(entry) = names.remove(&from) {
                names.insert(to, entry);
            }
        }
        NameChange::Remove(path) => {
            names.remove(&path);
        }
    }
}

fn apply_to_file(contents: &mut Vec<u8>, change: &FileChange) {
    match change {
        FileChange::Write(at, bytes) => write(contents, *at, bytes),
        FileChange::SetLen(len) => contents.resize(*len, 0),
    }
}

fn write(contents: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if contents.len() < end {
        contents.resize(end, 0);
    }
    contents[at..end].copy_from_slice(bytes);
}

/// The simulator's own paths are text.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

impl Disk for SimDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let dir = text(dir);
        let state = self.state();
        if !state.names.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.keys().filter_map(|path| path.strip_prefix(dir)?.strip_prefix('/'));
        Ok(inside.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        path.parent().is_none() || self.state().names.contains_key(text(path))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !self.exists(d)).collect();
        for dir in missing.iter().rev() {
            let change = || NameChange::Set(text(dir).to_owned(), Entry::Dir);
            self.change()?.rename_change(change(), change());
        }
        Ok(())
    }

    /// Of all directories: what a server does in one does not depend on another's.
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.change()?;
        let state = &mut *state;
        for change in state.unsynced_names.drain(..) {
            apply_to_names(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Handle { disk: self.clone(), id: self.file(path)? }))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.change()?;
        let id = state.files.len();
        state.files.push(File::default());
        let change = || NameChange::Set(text(path).to_owned(), Entry::File(id));
        state.rename_change(change(), change());
        drop(state);
        Ok(Box::new(Handle { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.file(from)?;
        let change = || NameChange::Rename(text(from).to_owned(), text(to).to_owned());
        self.change()?.rename_change(change(), change());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        let change = || NameChange::Remove(text(path).to_owned());
        self.change()?.rename_change(change(), change());
        Ok(())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let id = self.file(path)?;
        Ok(self.state().files[id].seen.len() as u64)
    }

    fn mtime_ms(&self, path: &Path) -> io::Result<Millis> {
        self.file(path).map(|id| id as Millis)
    }

    /// Nobody else can reach this disk.
    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        if !self.exists(path) {
            self.create(path)?;
        }
        Ok(Box::new(()))
    }
}

struct Handle {
    disk: SimDisk,
    id: usize,
}

impl Handle {
    fn change(&self, change: FileChange) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let file = &mut state.files[self.id];
        apply_to_file(&mut file.seen, &change);
        file.unsynced.push(change);
        Ok(())
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files[self.id].seen.get(offset as usize..).unwrap_or_default();
        let n = buf.len().min(rest.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(FileChange::Write(offset as usize, bytes.to_vec()))
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(FileChange::SetLen(len as usize))
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.change()?.files[self.id].sync();
        Ok(())
    }

    fn sync_all(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.id].seen.len() as u64)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        let disk = SimDisk::default();
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk
    }

    fn contents(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(Path::new(path)).ok()?;
        let mut buf = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut buf, 0).unwrap();
        Some(buf)
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_may_not() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let disk = disk();
            let mut file = disk.create(Path::new("/d/f")).unwrap();
            file.write_all_at(&[1; 600], 0).unwrap();
            file.sync_all().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_all_at(&[2; 600], 600).unwrap();
            disk.lose_power(&mut Rng::new(seed));
            let left = contents(&disk, "/d/f").unwrap();
            assert_eq!(left[..600], [1; 600]);
            outcomes.insert((left.len(), left[600..].iter().filter(|b| **b == 2).count()));
        }
        assert!(outcomes.contains(&(600, 0)) && outcomes.contains(&(1200, 600)), "{outcomes:?}");
        assert!(outcomes.len() > 2, "writes are torn: {outcomes:?}");
    }

    #[test]
    fn a_name_is_lost_without_a_sync_of_its_directory() {
        let mut kept = 0;
        for seed in 0..20 {
            let disk = disk();
            disk.create(Path::new("/d/f")).unwrap().sync_all().unwrap();
            disk.lose_power(&mut Rng::new(seed));
            kept += usize::from(disk.exists(Path::new("/d/f")));
        }
        assert!((1..20).contains(&kept), "{kept}");
    }

    #[test]
    fn a_stopped_machine_writes_nothing() {
        let disk = disk();
        let mut file = disk.create(Path::new("/d/f")).unwrap();
        disk.stop_after(1);
        file.write_all_at(&[1], 0).unwrap();
        file.write_all_at(&[2], 1).unwrap_err();
        file.sync_all().unwrap_err();
        disk.kill();
        assert_eq!(contents(&disk, "/d/f"), Some(vec![1]));
    }
}
