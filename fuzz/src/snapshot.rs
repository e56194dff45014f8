//! Any bytes as a snapshot: a file as it is, the same with its checksum made good, and a leader's stream in small parts.
//!
//! What loads is a tree that holds together; written again, it is read as the same; parts or whole make no difference.

use std::path::Path;

use ferrokeeper::{
    db::{DbOptions, load::Loader},
    ids::{SessionId, Zxid},
    jute::Limits,
    proto::{Acl, data::StatPersisted},
    storage::{
        SnapshotEncoder, SnapshotSink,
        snapshot::{SnapshotDecoder, is_candidate, read_file},
    },
};

use super::{memory::MemoryDisk, tree};

const HEADER: usize = 16;

pub fn run(data: &[u8]) {
    let name = match data {
        [0x1f, 0x8b, ..] => "/snapshot.1.gz",
        [0x82, b'S', ..] => "/snapshot.1.snappy",
        _ => "/snapshot.1",
    };
    let disk = MemoryDisk::default();
    disk.put(name, data.to_vec());
    let _ = is_candidate(&disk, Path::new(name));
    let as_it_is = load(&disk, name);

    let body = data.get(HEADER..).unwrap_or_default();
    let (Some((items, consumed)), stepwise) = (decode(body, body.len()), decode(body, 1 + data.len() % 7))
    else {
        assert!(as_it_is.is_none() || name != "/snapshot.1");
        return;
    };
    assert_eq!(stepwise, Some((items.clone(), consumed)));
    let mut whole = data[..HEADER + consumed].to_vec();
    whole[..4].copy_from_slice(b"ZKSN");
    let sum = simd_adler32::adler32(&&whole[..]);
    whole.extend_from_slice(&u64::from(sum).to_be_bytes());
    whole.extend_from_slice(b"\0\0\0\x01/");
    disk.put("/snapshot.2", whole);
    assert!(is_candidate(&disk, Path::new("/snapshot.2")));
    assert_eq!(load(&disk, "/snapshot.2"), Some(items.clone()));

    assert_eq!(decode(&items.encode(), usize::MAX).map(|(again, _)| again).as_ref(), Some(&items));
}

/// What a file holds, if it proves whole.
fn load(disk: &MemoryDisk, name: &str) -> Option<Items> {
    let mut items = Items::default();
    read_file(disk, Path::new(name), Limits::default().for_files(), &mut items).ok()?;
    items.load();
    Some(items)
}

/// Decodes a body that comes `step` bytes at a time, as from a socket; and how long it was.
fn decode(body: &[u8], step: usize) -> Option<(Items, usize)> {
    let mut items = Items::default();
    let mut decoder = SnapshotDecoder::new(Limits::default().for_files());
    let (mut consumed, mut have) = (0, 0);
    loop {
        let progress = decoder.decode(&body[consumed..have], &mut items).ok()?;
        consumed += progress.consumed;
        if progress.need == 0 {
            return Some((items, consumed));
        }
        assert!(progress.need > have - consumed, "it wants no more than it has");
        if have == body.len() {
            return None;
        }
        have = body.len().min(have.saturating_add(step));
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Items {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<(String, Option<Vec<u8>>, i64, StatPersisted)>,
}

impl SnapshotSink for Items {
    fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.sessions.push((id, timeout_ms));
    }
    fn acl(&mut self, key: i64, acl: Vec<Acl>) {
        self.acls.push((key, acl));
    }
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        self.nodes.push((path.to_owned(), data.map(<[u8]>::to_vec), key, *stat));
        Ok(())
    }
}

impl Items {
    fn encode(&self) -> Vec<u8> {
        let mut out = SnapshotEncoder::new(Vec::new());
        out.sessions(self.sessions.iter().copied()).expect("memory");
        out.acls(self.acls.iter().map(|(key, acl)| (*key, &acl[..]))).expect("memory");
        for (path, data, key, stat) in &self.nodes {
            out.node(path, data.as_deref(), *key, stat).expect("memory");
        }
        out.end_nodes().expect("memory");
        out.flush().expect("memory");
        std::mem::take(out.get_mut())
    }

    fn load(&self) {
        let mut loader = Loader::new(DbOptions::default());
        self.sessions.iter().for_each(|(id, timeout_ms)| loader.session(*id, *timeout_ms));
        self.acls.iter().for_each(|(key, acl)| loader.acl(*key, acl.clone()));
        let mut nodes = self.nodes.iter();
        if nodes.all(|(path, data, key, stat)| loader.node(path, data.as_deref(), *key, stat).is_ok()) {
            let mut db = loader.finish(Zxid(1));
            tree::check(&db);
            tree::can_go_on(&mut db);
        }
    }
}
