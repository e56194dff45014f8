//! A disk that keeps what programs see apart from what would survive a loss of power.
//!
//! Every change is recorded. [`CrashDisk::images`] builds the disks that a crash after a given number of changes may leave
//! behind: of each file any part of what was written since its last sync, to the sector; of each directory any part of
//! its changes since its last sync.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use super::disk::{Disk, DiskFile, DiskLock};
use crate::ids::Millis;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    MakeDir(PathBuf),
    /// A new, empty file under that name, in the place of whatever had it.
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    SyncFile(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Entry>,
    files: Vec<Vec<u8>>,
    start: Option<Box<State>>,
    changes: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    failing_syncs: bool,
}

#[derive(Clone, Debug, Default)]
pub struct CrashDisk {
    state: Arc<Mutex<State>>,
}

impl CrashDisk {
    /// With one directory, durable.
    pub fn with_dir(dir: &str) -> CrashDisk {
        let disk = CrashDisk::default();
        disk.state().names.insert(dir.into(), Entry::Dir);
        disk.restart()
    }

    /// A disk that holds, durably, what programs see on this one now.
    pub fn restart(&self) -> CrashDisk {
        let now = self.state();
        let start = State { names: now.names.clone(), files: now.files.clone(), ..State::default() };
        let state = State { start: Some(Box::new(start.clone())), ..start };
        CrashDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The number of changes so far, as [`CrashDisk::images`] counts them.
    pub fn now(&self) -> usize {
        self.state().changes.len()
    }

    /// From now on every sync fails, as on a broken device.
    pub fn fail_syncs(&self) {
        self.state().failing_syncs = true;
    }

    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.names.get(path)? {
            Entry::File(id) => Some(state.files[*id].clone()),
            Entry::Dir => None,
        }
    }

    pub fn put(&self, path: &Path, contents: &[u8]) {
        let mut file = self.create(path).expect("create");
        file.write_all_at(contents, 0).expect("write");
    }

    /// Disks that a crash right after the first `at` changes may leave behind.
    pub fn images(&self, at: usize) -> Vec<CrashDisk> {
        let state = self.state();
        let start = state.start.clone().unwrap_or_default();
        let changes = &state.changes[..at];
        let mut images = Vec::new();
        for names in surviving_names(&start.names, changes) {
            let mut used: Vec<usize> = names.values().filter_map(Entry::file).collect();
            used.sort_unstable();
            used.dedup();
            let mut of_files: Vec<Vec<Vec<u8>>> = vec![Vec::new(); state.files.len()];
            for id in used {
                of_files[id] = surviving_contents(start.files.get(id), id, changes);
            }
            // One file at a time shows each of its fates, the others keep all or nothing of theirs.
            for id in 0..of_files.len() {
                for fate in 0..of_files[id].len() {
                    for others_whole in [false, true] {
                        let files = of_files.iter().enumerate().map(|(i, fates)| match i == id {
                            true => fates[fate].clone(),
                            false if others_whole => fates.last().cloned().unwrap_or_default(),
                            false => fates.first().cloned().unwrap_or_default(),
                        });
                        images.push((names.clone(), files.collect::<Vec<_>>()));
                    }
                }
            }
            if of_files.iter().all(Vec::is_empty) {
                images.push((names, vec![Vec::new(); state.files.len()]));
            }
        }
        images.sort();
        images.dedup();
        images
            .into_iter()
            .map(|(names, files)| {
                let disk = CrashDisk::default();
                *disk.state() = State { names, files, ..State::default() };
                disk.restart()
            })
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    fn change(&self, change: Change) {
        let mut state = self.state();
        apply_to_names(&mut state.names, &change);
        match &change {
            Change::Create(..) => state.files.push(Vec::new()),
            Change::Write(id, ..) | Change::SetLen(id, _) => apply_to_file(&mut state.files[*id], &change),
            _ => {}
        }
        state.changes.push(change);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        self.state().names.get(path).and_then(Entry::file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self, change: Change) -> io::Result<()> {
        if self.state().failing_syncs {
            return Err(io::Error::other("Input/output error"));
        }
        self.change(change);
        Ok(())
    }
}

impl Entry {
    fn file(&self) -> Option<usize> {
        match self {
            Entry::File(id) => Some(*id),
            Entry::Dir => None,
        }
    }
}

fn apply_to_names(names: &mut BTreeMap<PathBuf, Entry>, change: &Change) {
    match change {
        Change::MakeDir(path) => {
            names.insert(path.clone(), Entry::Dir);
        }
        Change::Create(path, id) => {
            names.insert(path.clone(), Entry::File(*id));
        }
        Change::Rename(from, to) => {
            if let Some(entry) = names.remove(from) {
                names.insert(to.clone(), entry);
            }
        }
        Change::Remove(path) => {
            names.remove(path);
        }
        _ => {}
    }
}

fn apply_to_file(contents: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(_, offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[*offset as usize..end].copy_from_slice(bytes);
        }
        Change::SetLen(_, len) => contents.resize(*len as usize, 0),
        _ => {}
    }
}

/// The directory a change is about.
fn dir_of(change: &Change) -> Option<&Path> {
    match change {
        Change::MakeDir(path) | Change::Create(path, _) | Change::Rename(_, path) | Change::Remove(path) => {
            path.parent()
        }
        _ => None,
    }
}

/// Every subset of the unsynced changes of names, if they are few; else every prefix.
fn surviving_names(start: &BTreeMap<PathBuf, Entry>, changes: &[Change]) -> Vec<BTreeMap<PathBuf, Entry>> {
    let is_open = |i: usize| {
        let dir = dir_of(&changes[i]);
        !changes[i..].iter().any(|later| matches!(later, Change::SyncDir(d) if Some(d.as_path()) == dir))
    };
    let open: Vec<usize> =
        (0..changes.len()).filter(|i| dir_of(&changes[*i]).is_some() && is_open(*i)).collect();
    let subsets: Vec<BTreeSet<usize>> = if open.len() <= 4 {
        (0..1 << open.len())
            .map(|mask| {
                open.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, c)| *c).collect()
            })
            .collect()
    } else {
        (0..=open.len()).map(|n| open[..n].iter().copied().collect()).collect()
    };
    let mut all: Vec<BTreeMap<PathBuf, Entry>> = Vec::new();
    for subset in subsets {
        let mut names = start.clone();
        for (i, change) in changes.iter().enumerate() {
            if !open.contains(&i) || subset.contains(&i) {
                apply_to_names(&mut names, change);
            }
        }
        let reachable = |path: &Path| {
            path.ancestors().skip(1).all(|a| {
                a.parent().is_none() || a.as_os_str().is_empty() || names.get(a) == Some(&Entry::Dir)
            })
        };
        all.push(names.iter().filter(|(p, _)| reachable(p)).map(|(p, e)| (p.clone(), *e)).collect());
    }
    all.sort();
    all.dedup();
    all
}

/// From nothing of the unsynced changes (first) to all of them (last).
fn surviving_contents(start: Option<&Vec<u8>>, id: usize, changes: &[Change]) -> Vec<Vec<u8>> {
    let mine: Vec<&Change> = changes
        .iter()
        .filter(
            |c| matches!(c, Change::Write(i, ..) | Change::SetLen(i, _) | Change::SyncFile(i) if *i == id),
        )
        .collect();
    let synced = mine.iter().rposition(|c| matches!(c, Change::SyncFile(_))).map_or(0, |i| i + 1);
    let mut durable = start.cloned().unwrap_or_default();
    mine[..synced].iter().for_each(|c| apply_to_file(&mut durable, c));
    let open = &mine[synced..];
    let mut all = durable.clone();
    open.iter().for_each(|c| apply_to_file(&mut all, c));

    let mut fates = vec![durable.clone()];
    // Lengths are metadata: they may get there before any data.
    let mut only_length = durable.clone();
    only_length.resize(all.len().max(durable.len()), 0);
    fates.push(only_length.clone());
    let changed: Vec<usize> =
        (0..all.len().div_ceil(SECTOR)).filter(|s| sector(&all, *s) != sector(&only_length, *s)).collect();
    // Sectors arrive one after the other, or all but one, or one alone.
    for n in 0..changed.len() {
        fates.push(with_sectors(&only_length, &all, &changed[..n]));
        let but_one: Vec<usize> = changed.iter().copied().filter(|s| *s != changed[n]).collect();
        fates.push(with_sectors(&only_length, &all, &but_one));
        fates.push(with_sectors(&only_length, &all, &changed[n..=n]));
    }
    fates.push(all);
    fates
}

fn sector(bytes: &[u8], n: usize) -> &[u8] {
    let start = (n * SECTOR).min(bytes.len());
    &bytes[start..bytes.len().min(start + SECTOR)]
}

fn with_sectors(base: &[u8], new: &[u8], sectors: &[usize]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for s in sectors {
        let part = sector(new, *s);
        bytes[s * SECTOR..s * SECTOR + part.len()].copy_from_slice(part);
    }
    bytes
}

impl Disk for CrashDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.exists(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }
    fn exists(&self, path: &Path) -> bool {
        path.parent().is_none() || self.state().names.contains_key(path)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !self.exists(d)).collect();
        missing.iter().rev().for_each(|d| self.change(Change::MakeDir((*d).to_owned())));
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync(Change::SyncDir(dir.to_owned()))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(CrashFile { disk: self.clone(), id: self.file(path)? }))
    }
    fn open_rw(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let id = self.state().files.len();
        self.change(Change::Create(path.to_owned(), id));
        Ok(Box::new(CrashFile { disk: self.clone(), id }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.file(from)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        let id = self.file(path)?;
        Ok(self.state().files[id].len() as u64)
    }
    fn mtime_ms(&self, path: &Path) -> io::Result<Millis> {
        self.file(path).map(|id| id as Millis)
    }
    fn lock(&self, path: &Path) -> io::Result<DiskLock> {
        if !self.exists(path) {
            self.create(path)?;
        }
        if !self.state().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Unlock { disk: self.clone(), path: path.to_owned() }))
    }
}

struct Unlock {
    disk: CrashDisk,
    path: PathBuf,
}

impl Drop for Unlock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

struct CrashFile {
    disk: CrashDisk,
    id: usize,
}

impl DiskFile for CrashFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files[self.id].get(offset as usize..).unwrap_or_default();
        let n = buf.len().min(rest.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(Change::Write(self.id, offset, bytes.to_vec()));
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.disk.change(Change::SetLen(self.id, len));
        Ok(())
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.sync(Change::SyncFile(self.id))
    }
    fn sync_all(&mut self) -> io::Result<()> {
        self.disk.sync(Change::SyncFile(self.id))
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.id].len() as u64)
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.len()?).then_some(offset))
    }
}
