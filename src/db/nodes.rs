//! The znodes: an arena that never moves a node, and an index from path to node.
//!
//! Invariants:
//! 1. Each path is stored once, in its node; the index holds a hash and an id.
//! 2. A node's id is stable until it is removed; ids of removed nodes are used again.
//! 3. `ROOT` exists always and answers to `""` and `"/"`.
//!
//! A million small nodes should cost little more than their bytes (design.md), so there is no per-node map entry with a
//! second copy of the path, as Java's `ConcurrentHashMap<String, DataNode>` and child-name sets have.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{Set, acl::AclKey, path};
use crate::proto::{Stat, data::StatPersisted};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

pub const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
pub struct Node {
    path: Box<str>,
    pub data: Option<Box<[u8]>>,
    /// As files hold it: internal cversion, raw owner.
    pub stat: StatPersisted,
    pub acl: AclKey,
    children: Option<Box<Set<NodeId>>>,
    /// The capture that has this node's point-in-time image already, or in which it did not exist.
    pub(super) generation: u32,
}

impl Node {
    pub fn new(path: &str, data: Option<&[u8]>, acl: AclKey, stat: StatPersisted, generation: u32) -> Node {
        Node { path: path.into(), data: data.map(Into::into), stat, acl, children: None, generation }
    }

    /// Full path; `""` for the root.
    #[inline]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[inline]
    pub fn child_count(&self) -> usize {
        self.children.as_ref().map_or(0, |c| c.len())
    }

    pub(super) fn child_ids(&self) -> impl Iterator<Item = NodeId> {
        self.children.iter().flat_map(|children| children.iter().copied())
    }

    #[inline]
    pub fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |d| d.len())
    }

    /// The client's view (`DataNode.copyStat`): cversion counts deletes as well, and neither containers nor TTL nodes
    /// show an owner. `is_session` says whether the raw owner is a session.
    #[inline]
    pub fn client_stat(&self, is_session: bool) -> Stat {
        let s = &self.stat;
        let children = self.child_count() as i32;
        Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: s.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: s.aversion,
            ephemeral_owner: crate::ids::SessionId(if is_session { s.ephemeral_owner } else { 0 }),
            data_length: self.data_len() as i32,
            num_children: children,
            pzxid: s.pzxid,
        }
    }
}

const CHUNK: usize = 1024;

#[derive(Debug)]
pub struct Nodes {
    chunks: Vec<Vec<Option<Node>>>,
    free: Vec<NodeId>,
    index: HashTable<(u32, NodeId)>,
    hasher: FixedState,
    live: usize,
    /// Path lengths as Java counts them, plus data lengths; the root's two keys included (B§2.1).
    approximate_size: i64,
}

impl Nodes {
    /// A tree with nothing but its root. `seed` keeps clients from choosing paths that collide.
    pub fn new(root: Node, seed: u64) -> Nodes {
        let mut nodes = Nodes {
            chunks: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            live: 0,
            approximate_size: 0,
        };
        nodes.add(root);
        nodes
    }

    pub fn len(&self) -> usize {
        self.live
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// One past the highest id ever given out.
    pub fn slots(&self) -> u32 {
        self.chunks.last().map_or(0, |last| ((self.chunks.len() - 1) * CHUNK + last.len()) as u32)
    }

    pub fn approximate_size(&self) -> i64 {
        self.approximate_size
    }

    #[inline]
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.len() <= 1 {
            return matches!(path, "" | "/").then_some(ROOT);
        }
        let hash = self.hash(path);
        self.index
            .find(spread(hash), |(h, id)| *h == hash && self.slot(*id).is_some_and(|n| n.path() == path))
            .map(|(_, id)| *id)
    }

    #[inline]
    pub fn slot(&self, id: NodeId) -> Option<&Node> {
        self.chunks.get(id.0 as usize / CHUNK)?.get(id.0 as usize % CHUNK)?.as_ref()
    }

    #[inline]
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.slot(self.find(path)?)
    }

    /// For everything but data lengths: those go through [`Nodes::set_data`].
    #[inline]
    pub(super) fn slot_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.chunks.get_mut(id.0 as usize / CHUNK)?.get_mut(id.0 as usize % CHUNK)?.as_mut()
    }

    /// Sets a node's data and returns how long the old one was. Data of the same length is written in place: the usual
    /// case of a counter or a heartbeat then allocates nothing.
    pub(super) fn set_data(&mut self, id: NodeId, data: Option<&[u8]>) -> usize {
        let keys = if id == ROOT { 2 } else { 1 };
        let Some(node) = self.slot_mut(id) else { return 0 };
        let old_len = node.data_len();
        match (&mut node.data, data) {
            (Some(old), Some(new)) if old.len() == new.len() => old.copy_from_slice(new),
            (old, new) => *old = new.map(Into::into),
        }
        self.approximate_size += keys * (data.map_or(0, |d| d.len()) as i64 - old_len as i64);
        old_len
    }

    /// Adds a node that is not there yet and returns its id; linking it to its parent is [`Nodes::link`].
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        self.approximate_size += size_of_entry(&node);
        self.live += 1;
        let hash = self.hash(node.path());
        let id = self.place(node);
        if id != ROOT {
            self.index.insert_unique(spread(hash), (hash, id), |(h, _)| spread(*h));
        }
        id
    }

    pub(super) fn link(&mut self, parent: NodeId, child: NodeId) {
        if let Some(parent) = self.slot_mut(parent) {
            parent.children.get_or_insert_default().insert(child);
        }
    }

    /// Takes a node out of the tree and off its parent's list.
    pub(super) fn remove(&mut self, parent: NodeId, id: NodeId) -> Option<Node> {
        if let Some(parent) = self.slot_mut(parent)
            && let Some(children) = &mut parent.children
        {
            children.remove(&id);
            if children.is_empty() {
                parent.children = None;
            }
        }
        let node = self.chunks.get_mut(id.0 as usize / CHUNK)?.get_mut(id.0 as usize % CHUNK)?.take()?;
        let hash = self.hash(node.path());
        if let Ok(entry) = self.index.find_entry(spread(hash), |(_, known)| *known == id) {
            entry.remove();
        }
        self.free.push(id);
        self.live -= 1;
        self.approximate_size -= size_of_entry(&node);
        Some(node)
    }

    /// Names of a node's children, in no particular order.
    pub fn child_names(&self, node: &Node) -> impl Iterator<Item = &str> {
        let prefix = node.path().len() + 1;
        self.children(node).map(move |child| &child.path()[prefix..])
    }

    pub fn children(&self, node: &Node) -> impl Iterator<Item = &Node> {
        node.children.iter().flat_map(|c| c.iter()).filter_map(|id| self.slot(*id))
    }

    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let slots = self.chunks.iter().flatten().enumerate();
        slots.filter_map(|(i, node)| Some((NodeId(i as u32), node.as_ref()?)))
    }

    fn place(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.free.pop() {
            self.chunks[id.0 as usize / CHUNK][id.0 as usize % CHUNK] = Some(node);
            return id;
        }
        let id = NodeId(self.slots());
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(Some(node)),
            _ => {
                // The first chunk is the only one of most servers: it grows as needed, later ones are made whole.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 16 } else { CHUNK });
                chunk.push(Some(node));
                self.chunks.push(chunk);
            }
        }
        id
    }

    #[inline]
    fn hash(&self, path: &str) -> u32 {
        self.hasher.hash_one(path) as u32
    }
}

/// The index keeps 32 bits of hash, so that growing it touches no node; the table wants its bits at both ends.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn size_of_entry(node: &Node) -> i64 {
    let data = node.data_len() as i64;
    if node.path().is_empty() { 2 * data + 1 } else { path::java_length(node.path()) as i64 + data }
}
