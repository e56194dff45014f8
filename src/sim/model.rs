//! What clients may expect: the tree after every txn that has been delivered, kept with its past.
//!
//! Written anew from the text of B§2, so that a mistake in `db` does not hide in here as well. Only what the workload
//! uses: open ACLs, no quotas, containers or TTLs.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
};

use foldhash::fast::FixedState;

use crate::{
    db::Database,
    ids::{SessionId, Zxid},
    jute::Limits,
    proto::{
        OpCode, Stat,
        client::EventType,
        data::StatPersisted,
        txn::{self, Txn, TxnHeader},
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub stat: StatPersisted,
    children: i32,
}

impl Node {
    pub fn client_stat(&self) -> Stat {
        let s = self.stat;
        Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: 2 * s.cversion - self.children,
            aversion: s.aversion,
            ephemeral_owner: SessionId(s.ephemeral_owner),
            data_length: self.data.as_ref().map_or(0, Vec::len) as i32,
            num_children: self.children,
            pzxid: s.pzxid,
        }
    }
}

/// A delivered txn, as far as a reply can show it.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    pub session: SessionId,
    pub cxid: i32,
    pub kind: OpCode,
    /// Of an ErrorTxn.
    pub err: i32,
}

#[derive(Debug)]
pub struct Model {
    nodes: BTreeMap<String, Node>,
    past: BTreeMap<String, Vec<(Zxid, Option<Node>)>>,
    data_events: BTreeMap<String, Vec<(Zxid, EventType)>>,
    child_events: BTreeMap<String, Vec<(Zxid, EventType)>>,
    sessions: BTreeMap<SessionId, i32>,
    closed: BTreeMap<SessionId, Zxid>,
    txns: BTreeMap<Zxid, Delivered>,
    /// The last cxid of each session that was not refused.
    cxids: BTreeMap<SessionId, i32>,
    digest: u64,
    /// After the n-th txn.
    digests: Vec<u64>,
}

/// Nodes whose contents are a server's own business.
const LOCAL: &str = "/zookeeper/config";

impl Default for Model {
    fn default() -> Self {
        let mut model = Model {
            nodes: BTreeMap::new(),
            past: BTreeMap::new(),
            data_events: BTreeMap::new(),
            child_events: BTreeMap::new(),
            sessions: BTreeMap::new(),
            closed: BTreeMap::new(),
            txns: BTreeMap::new(),
            cxids: BTreeMap::new(),
            digest: 0,
            digests: Vec::new(),
        };
        for (path, children) in [("", 1), ("/zookeeper", 2), ("/zookeeper/quota", 0), (LOCAL, 0)] {
            let node = Node { data: Some(Vec::new()), stat: StatPersisted::default(), children };
            model.set(Zxid::ZERO, path, Some(node));
        }
        model.digests.push(model.digest);
        model
    }
}

impl Model {
    /// The digest of the tree after the first `n` txns.
    pub fn digest_after(&self, n: usize) -> Option<u64> {
        self.digests.get(n).copied()
    }

    pub fn txn(&self, zxid: Zxid) -> Option<Delivered> {
        self.txns.get(&zxid).copied()
    }

    /// The node as of `zxid`.
    pub fn node_at(&self, path: &str, zxid: Zxid) -> Option<&Node> {
        let states = self.past.get(canonical(path))?;
        let n = states.partition_point(|(z, _)| *z <= zxid);
        states[..n].last()?.1.as_ref()
    }

    /// Names of the children as of `zxid`, sorted.
    pub fn children_at(&self, path: &str, zxid: Zxid) -> Vec<String> {
        let prefix = format!("{}/", canonical(path));
        let below = self.past.range(prefix.clone()..).take_while(|(p, _)| p.starts_with(&prefix));
        below
            .filter_map(|(p, _)| {
                let name = &p[prefix.len()..];
                (!name.contains('/') && self.node_at(p, zxid).is_some()).then(|| name.to_owned())
            })
            .collect()
    }

    /// What a data watch (or a child watch) on `path` would have fired for in `after < zxid <= through`, the first of it.
    pub fn first_event(
        &self,
        path: &str,
        children: bool,
        after: Zxid,
        through: Zxid,
    ) -> Option<(Zxid, EventType)> {
        let events = if children { &self.child_events } else { &self.data_events };
        let events = events.get(canonical(path))?;
        let n = events.partition_point(|(z, _)| *z <= after);
        events[n..].first().copied().filter(|(z, _)| *z <= through)
    }

    /// Applies the next delivered txn; an error is a txn that should never have been made.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<TxnHeader, String> {
        let limits = Limits::default().for_files();
        let (header, record) = txn::split_header(bytes, limits).map_err(|e| e.to_string())?;
        let txn = Txn::decode(header.kind, record, limits).map_err(|e| e.to_string())?;
        let ops = match &txn {
            Txn::Multi(multi) => multi.ops.iter().map(|sub| Txn::decode_sub(sub, limits)).collect(),
            _ => Ok(vec![txn.clone()]),
        };
        let ops: Vec<Txn<'_>> = ops.map_err(|e| e.to_string())?;
        let refused = ops.iter().any(|op| matches!(op, Txn::Error(_)));
        self.note(&header, &txn, refused)?;
        let applied = if refused { Ok(()) } else { ops.into_iter().try_for_each(|op| self.op(&header, op)) };
        applied.map_err(|why| format!("txn {} of session {}: {why}", header.zxid, header.session))?;
        self.digests.push(self.digest);
        Ok(header)
    }

    /// A request is carried out once, and those of a session in their order.
    fn note(&mut self, header: &TxnHeader, txn: &Txn<'_>, refused: bool) -> Result<(), String> {
        let err = if let Txn::Error(e) = txn { e.err } else { 0 };
        let TxnHeader { session, cxid, zxid, .. } = *header;
        self.txns.insert(zxid, Delivered { session, cxid, kind: header.op(), err });
        // A refused request of an earlier connection may come late; refused, it does nothing. A late closeSession is carried
        // out, as in Java, where the server itself asks for most of them.
        if cxid <= 0 || refused || matches!(txn, Txn::CloseSession) {
            return Ok(());
        }
        match self.cxids.insert(session, cxid) {
            Some(last) if last >= cxid => Err(format!(
                "request {cxid} of session {session} is carried out at {zxid}, after request {last}"
            )),
            _ => Ok(()),
        }
    }

    fn op(&mut self, header: &TxnHeader, txn: Txn<'_>) -> Result<(), String> {
        let zxid = header.zxid;
        match txn {
            Txn::Create(t) => {
                let owner = if t.ephemeral { header.session.0 } else { 0 };
                self.create(header, &t.path, t.data.map(|d| d.to_vec()), owner, t.parent_cversion)
            }
            Txn::Delete(t) => self.delete(zxid, &t.path),
            Txn::SetData(t) => {
                let mut node =
                    self.nodes.get(t.path.as_str()).ok_or("sets a node that is not there")?.clone();
                if t.version != node.stat.version.wrapping_add(1) {
                    return Err(format!("version {} follows {}", t.version, node.stat.version));
                }
                node.data = t.data.map(|d| d.to_vec());
                node.stat =
                    StatPersisted { mzxid: zxid, mtime: header.time, version: t.version, ..node.stat };
                self.set(zxid, &t.path, Some(node));
                self.data_event(&t.path, zxid, EventType::NodeDataChanged);
                Ok(())
            }
            Txn::CreateSession(t) => {
                if self.closed.contains_key(&header.session) {
                    return Err("opens a session that was closed before".to_owned());
                }
                if self.sessions.insert(header.session, t.timeout_ms).is_none() {
                    self.digest = self.digest.wrapping_add(of_session(header.session, t.timeout_ms));
                }
                Ok(())
            }
            Txn::CloseSession => {
                if let Some(timeout) = self.sessions.remove(&header.session) {
                    self.digest = self.digest.wrapping_sub(of_session(header.session, timeout));
                }
                self.closed.insert(header.session, zxid);
                let owned = |(_, node): &(&String, &Node)| node.stat.ephemeral_owner == header.session.0;
                let paths: Vec<String> = self.nodes.iter().filter(owned).map(|(p, _)| p.clone()).collect();
                paths.iter().try_for_each(|path| self.delete(zxid, path))
            }
            Txn::Check(_) | Txn::Error(_) => Ok(()),
            other => Err(format!("nobody asked for {other:?}")),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<Vec<u8>>,
        owner: i64,
        parent_cversion: i32,
    ) -> Result<(), String> {
        if owner != 0 && !self.sessions.contains_key(&header.session) {
            return Err(format!("{path} is an ephemeral of a session that does not exist"));
        }
        if self.nodes.contains_key(path) {
            return Err(format!("creates {path}, which is there"));
        }
        let (parent_path, _) = path.rsplit_once('/').ok_or("the path has no parent")?;
        let mut parent = self.nodes.get(parent_path).ok_or("creates below a node that is not there")?.clone();
        let zxid = header.zxid;
        parent.stat.cversion += 1;
        parent.stat.pzxid = zxid;
        parent.children += 1;
        if parent.stat.cversion != parent_cversion {
            return Err(format!(
                "cversion of {parent_path} becomes {parent_cversion}, not {}",
                parent.stat.cversion
            ));
        }
        self.set(zxid, parent_path, Some(parent));
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: header.time,
            mtime: header.time,
            ephemeral_owner: owner,
            ..StatPersisted::default()
        };
        self.set(zxid, path, Some(Node { data, stat, children: 0 }));
        self.data_event(path, zxid, EventType::NodeCreated);
        self.child_event(parent_path, zxid, EventType::NodeChildrenChanged);
        Ok(())
    }

    fn delete(&mut self, zxid: Zxid, path: &str) -> Result<(), String> {
        let node = self.nodes.get(path).ok_or_else(|| format!("deletes {path}, which is not there"))?;
        if node.children > 0 {
            return Err(format!("deletes {path}, which has children"));
        }
        let (parent_path, _) = path.rsplit_once('/').ok_or("the path has no parent")?;
        let mut parent = self.nodes.get(parent_path).ok_or("a node without a parent")?.clone();
        parent.children -= 1;
        parent.stat.pzxid = zxid;
        self.set(zxid, parent_path, Some(parent));
        self.set(zxid, path, None);
        self.data_event(path, zxid, EventType::NodeDeleted);
        self.child_event(path, zxid, EventType::NodeDeleted);
        self.child_event(parent_path, zxid, EventType::NodeChildrenChanged);
        Ok(())
    }

    fn set(&mut self, zxid: Zxid, path: &str, node: Option<Node>) {
        if let Some(old) = self.nodes.remove(path) {
            self.digest = self.digest.wrapping_sub(of_node(path, old.data.as_deref(), &old.stat));
        }
        self.past.entry(path.to_owned()).or_default().push((zxid, node.clone()));
        if let Some(node) = node {
            self.digest = self.digest.wrapping_add(of_node(path, node.data.as_deref(), &node.stat));
            self.nodes.insert(path.to_owned(), node);
        }
    }

    fn data_event(&mut self, path: &str, zxid: Zxid, kind: EventType) {
        self.data_events.entry(path.to_owned()).or_default().push((zxid, kind));
    }

    fn child_event(&mut self, path: &str, zxid: Zxid, kind: EventType) {
        self.child_events.entry(path.to_owned()).or_default().push((zxid, kind));
    }

    /// Where a tree with another digest differs.
    pub fn differences(&self, db: &Database, zxid: Zxid) -> String {
        let mut found = Vec::new();
        let theirs: BTreeSet<&str> = db.nodes().iter().map(|(_, node)| node.path()).collect();
        let ours: BTreeSet<&str> =
            self.past.keys().map(String::as_str).filter(|p| self.node_at(p, zxid).is_some()).collect();
        for path in theirs.union(&ours) {
            let ours = self.node_at(path, zxid).map(|n| (n.data.as_deref(), n.stat));
            let theirs = db.find(path).map(|n| (n.data.as_deref(), n.stat));
            if ours != theirs && *path != LOCAL {
                found.push(format!("{path}: {theirs:?}, expected {ours:?}"));
            }
        }
        let theirs: BTreeMap<SessionId, i32> = db.sessions().collect();
        found.push(format!("sessions {theirs:?}; expected, at the newest txn, {:?}", self.sessions));
        found.join("\n  ")
    }
}

/// The root has two names.
fn canonical(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Independent of the order in which nodes are found.
pub fn digest_of(db: &Database) -> u64 {
    let nodes = db.nodes().iter().map(|(_, n)| of_node(n.path(), n.data.as_deref(), &n.stat));
    let sessions = db.sessions().map(|(id, timeout)| of_session(id, timeout));
    nodes.chain(sessions).fold(0, u64::wrapping_add)
}

fn of_node(path: &str, data: Option<&[u8]>, s: &StatPersisted) -> u64 {
    if path == LOCAL {
        return 0;
    }
    let versions = (s.version, s.cversion, s.aversion, s.ephemeral_owner);
    hasher().hash_one((path, data, s.czxid, s.mzxid, s.pzxid, s.ctime, s.mtime, versions))
}

fn of_session(id: SessionId, timeout_ms: i32) -> u64 {
    hasher().hash_one((id, timeout_ms))
}

pub fn hash_of(bytes: &[u8]) -> u64 {
    hasher().hash_one(bytes)
}

fn hasher() -> FixedState {
    FixedState::with_seed(0x5eed)
}
