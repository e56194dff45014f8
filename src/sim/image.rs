//! The tree as it is at one moment: into a snapshot file, over a link, and back.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;

use crate::{
    db::{Database, DbOptions, load::Loader, watch::NoEvents},
    ids::{SessionId, Zxid},
    proto::{Acl, data::StatPersisted, txn::TxnHeader},
    storage::{
        Disk, Replay, SnapshotEncoder, SnapshotFile, SnapshotOptions, SnapshotSink, StorageError,
        snapshot::SnapshotDecoder,
    },
};

#[derive(Clone, Debug)]
pub struct Image {
    pub zxid: Zxid,
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<Copied>,
}

#[derive(Clone, Debug)]
struct Copied {
    path: String,
    data: Option<Vec<u8>>,
    acl: i64,
    stat: StatPersisted,
}

impl Image {
    pub fn of(db: &Database) -> Image {
        let copied = |path: &str, data: Option<&[u8]>, acl: i64, stat: StatPersisted| Copied {
            path: path.to_owned(),
            data: data.map(<[u8]>::to_vec),
            acl,
            stat,
        };
        let nodes = db.nodes().iter().map(|(_, n)| copied(n.path(), n.data.as_deref(), n.acl.0, n.stat));
        let mut nodes: Vec<Copied> = nodes.collect();
        // Parents before children.
        nodes.sort_by(|a, b| a.path.cmp(&b.path));
        let mut acls: Vec<(i64, Vec<Acl>)> = (db.nodes().iter())
            .filter(|(_, n)| n.acl.0 != -1)
            .filter_map(|(_, n)| Some((n.acl.0, db.acl_of(n)?.to_vec())))
            .collect();
        acls.sort_by_key(|(key, _)| *key);
        acls.dedup_by_key(|(key, _)| *key);
        let mut sessions: Vec<(SessionId, i32)> = db.sessions().collect();
        sessions.sort();
        Image { zxid: db.last_zxid(), sessions, acls, nodes }
    }

    fn put<W: io::Write>(&self, encoder: &mut SnapshotEncoder<W>) -> io::Result<()> {
        encoder.sessions(self.sessions.iter().copied())?;
        encoder.acls(self.acls.iter().map(|(key, list)| (*key, &list[..])))?;
        self.nodes.iter().try_for_each(|n| encoder.node(&n.path, n.data.as_deref(), n.acl, &n.stat))
    }

    /// As it goes over a link.
    pub fn body(&self) -> Bytes {
        let mut encoder = SnapshotEncoder::new(Vec::new());
        let written =
            self.put(&mut encoder).and_then(|()| encoder.end_nodes()).and_then(|()| encoder.flush());
        debug_assert!(written.is_ok(), "a Vec takes everything");
        std::mem::take(encoder.get_mut()).into()
    }

    pub fn write(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), StorageError> {
        let mut file = SnapshotFile::create(disk.clone(), dir, self.zxid, SnapshotOptions::default())?;
        self.put(file.encoder()).map_err(|e| StorageError::io("write a snapshot in", dir, e))?;
        file.finish().map(drop)
    }
}

/// The database that came over a link.
pub fn decode(body: &[u8], zxid: Zxid, options: DbOptions) -> Result<Database, String> {
    let mut restore = Restore::new(options);
    let progress = SnapshotDecoder::new(options.limits.for_files()).decode(body, &mut restore)?;
    if progress.need != 0 || progress.consumed != body.len() {
        return Err(format!("{} of {} bytes were read", progress.consumed, body.len()));
    }
    restore.end(zxid)?;
    Ok(restore.into_database())
}

/// A snapshot being read, then the log being replayed over it.
pub struct Restore {
    options: DbOptions,
    loader: Option<Loader>,
    db: Option<Database>,
    pub committed: Vec<(Zxid, Bytes)>,
}

impl Restore {
    pub fn new(options: DbOptions) -> Restore {
        Restore { options, loader: Some(Loader::new(options)), db: None, committed: Vec::new() }
    }

    fn database(&mut self) -> &mut Database {
        self.loader = None;
        self.db.get_or_insert_with(|| Database::new(self.options))
    }

    pub fn into_database(mut self) -> Database {
        self.database();
        self.db.unwrap_or_else(|| Database::new(self.options))
    }
}

impl SnapshotSink for Restore {
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        if let Some(loader) = &mut self.loader {
            loader.session(id, timeout_ms);
        }
    }

    fn acl(&mut self, key: i64, list: Vec<Acl>) {
        if let Some(loader) = &mut self.loader {
            loader.acl(key, list);
        }
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        match &mut self.loader {
            Some(loader) => loader.node(path, data, acl_key, stat),
            None => Err("a node outside a snapshot".to_owned()),
        }
    }

    fn end(&mut self, zxid: Zxid) -> Result<(), String> {
        self.db = self.loader.take().map(|loader| loader.finish(zxid));
        Ok(())
    }
}

impl Replay for Restore {
    fn apply(&mut self, header: &TxnHeader, record: &[u8]) -> Result<(), String> {
        self.database().apply(header, record, &mut NoEvents).map(drop).map_err(|e| e.to_string())
    }

    fn committed(&mut self, zxid: Zxid, txn: &[u8]) {
        self.committed.push((zxid, Bytes::copy_from_slice(txn)));
    }
}
