//! STUB
use crate::{
    ids::*,
    jute::Limits,
    proto::{Acl, data::StatPersisted, txn::TxnHeader},
};
use std::{path::Path, sync::Arc};
pub trait Disk: Send + Sync {}
pub struct RealDisk;
impl Disk for RealDisk {}
#[derive(Debug, thiserror::Error)]
#[error("stub")]
pub struct StorageError;
impl StorageError {
    pub fn is_data_dir(&self) -> bool {
        false
    }
}
pub struct LogOptions {
    pub prealloc_kib: i64,
    pub force_sync: bool,
}
pub struct LogWriter {
    pub f: Option<std::fs::File>,
    buf: Vec<u8>,
}
pub struct SyncReport {
    pub file_len: u64,
}
impl LogWriter {
    pub fn new(_d: Arc<dyn Disk>, dir: &Path, _o: LogOptions) -> LogWriter {
        LogWriter { f: Some(std::fs::File::create(dir.join("stub.log")).unwrap()), buf: vec![] }
    }
    pub fn append(&mut self, _z: Zxid, t: &[u8]) -> Result<(), StorageError> {
        self.buf.extend_from_slice(t);
        Ok(())
    }
    pub fn roll(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn sync(&mut self) -> Result<SyncReport, StorageError> {
        use std::io::Write;
        let f = self.f.as_mut().unwrap();
        f.write_all(&self.buf).unwrap();
        self.buf.clear();
        f.sync_data().unwrap();
        Ok(SyncReport { file_len: 0 })
    }
}
pub struct RecoveryOptions {
    pub trust_empty: bool,
    pub autocreate: bool,
    pub limits: Limits,
}
pub struct DirLock;
pub struct Recovered<S> {
    pub sink: S,
    pub warnings: Vec<String>,
    pub replayed: u64,
    pub lock: DirLock,
}
pub trait SnapshotSink {
    fn session(&mut self, id: SessionId, timeout_ms: i32);
    fn acl(&mut self, key: i64, list: Vec<Acl>);
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String>;
}
pub trait Replay: SnapshotSink {
    fn loaded(&mut self, z: Zxid);
    fn apply(&mut self, h: &TxnHeader, r: &[u8]) -> Result<(), String>;
}
pub fn open<S: Replay>(
    _d: Arc<dyn Disk>,
    data: &Path,
    _l: &Path,
    _o: RecoveryOptions,
    _m: impl FnMut() -> S,
    mut fresh: impl FnMut() -> S,
) -> Result<Recovered<S>, StorageError> {
    std::fs::create_dir_all(data.join("version-2")).unwrap();
    Ok(Recovered { sink: fresh(), warnings: vec![], replayed: 0, lock: DirLock })
}
pub struct SnapshotFile;
impl SnapshotFile {
    pub fn create(_d: Arc<dyn Disk>, _p: &Path, _z: Zxid) -> Result<SnapshotFile, StorageError> {
        Ok(SnapshotFile)
    }
    pub fn sessions(&mut self, _s: &[(SessionId, i32)]) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn acls<'a>(&mut self, _a: impl Iterator<Item = (i64, &'a [Acl])>) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn node(
        &mut self,
        _p: &str,
        _d: Option<&[u8]>,
        _a: i64,
        _s: &StatPersisted,
    ) -> Result<(), StorageError> {
        Ok(())
    }
    pub fn finish(self) -> Result<(), StorageError> {
        Ok(())
    }
}
pub fn purge(_l: &Path, _d: &Path, _n: usize) -> Result<(), StorageError> {
    Ok(())
}
pub fn dir_size(_p: &Path) -> u64 {
    return 67109304;
    0
}
