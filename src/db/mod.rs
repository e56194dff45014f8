//! Database: the replicated state, and the one function that changes it (`DataTree`, `ZKDatabase`).
//!
//! Invariants:
//! 1. Only [`Database::apply`] changes what is replicated, one txn at a time; a multi is applied whole before
//!    `last_zxid` moves (ZOOKEEPER-3127).
//! 2. Applying is idempotent: replaying any suffix of the log over a state that has some of it gives the same tree.
//! 3. Watch events leave through the sink while the caller still holds the write lock.
//! 4. Soft-quota text that cannot be read, or a txn that cannot apply, changes nothing and stops nobody.

pub mod acl;
pub mod capture;
pub mod nodes;
pub mod owner;
pub mod path;
pub mod quota;
pub mod watch;

mod apply;
pub mod load;

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::FixedState;
use parking_lot::Mutex;

pub use apply::{Effect, Outcome};
use capture::Capture;
use nodes::{Node, NodeId, Nodes};
use owner::{Owner, OwnerRules};
use watch::Watches;

use crate::{
    ids::{Millis, SessionId, Zxid},
    jute::Limits,
    proto::{Acl, Stat, data::StatPersisted, data::perms},
};

/// Maps and sets of the core. Deterministic unless the shell has called [`seed_hashes`]: clients choose many of the keys, and
/// must not be able to choose keys that collide.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seeded>;
pub type Set<T> = hashbrown::HashSet<T, Seeded>;

static SEED: AtomicU64 = AtomicU64::new(0);

/// For every map made from now on.
pub fn seed_hashes(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
}

/// A hasher with the seed of the time it was made.
#[derive(Clone, Debug)]
pub struct Seeded(FixedState);

impl Default for Seeded {
    fn default() -> Self {
        Seeded(FixedState::with_seed(SEED.load(Ordering::Relaxed)))
    }
}

impl BuildHasher for Seeded {
    type Hasher = <FixedState as BuildHasher>::Hasher;
    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// What about the state is a setting.
#[derive(Clone, Copy, Debug, Default)]
pub struct DbOptions {
    pub owners: OwnerRules,
    pub limits: Limits,
    /// Seeds the path index.
    pub hash_seed: u64,
}

#[derive(Debug)]
pub struct Database {
    nodes: Nodes,
    acls: acl::AclTable,
    /// Global sessions and their timeouts, as txns created them.
    sessions: Map<SessionId, i32>,
    /// Ephemerals by raw owner. A session whose ephemerals are all gone stays listed until it closes, as in Java's dump.
    ephemerals: Map<i64, Set<NodeId>>,
    containers: Set<NodeId>,
    ttls: Set<NodeId>,
    quotas: quota::QuotaTrie,
    pub watches: Mutex<Watches>,
    last_zxid: Zxid,
    /// Images being written, oldest first.
    captures: Vec<Arc<Capture>>,
    /// Images of states that this one has replaced.
    retired_captures: Vec<Weak<Capture>>,
    generation: u32,
    options: DbOptions,
}

impl Database {
    /// A fresh tree: the root and the three built-in nodes (B§2.1).
    pub fn new(options: DbOptions) -> Database {
        let mut db = Database::empty(options);
        for built_in in [path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            let id = db.add_linked(Node::new(built_in, Some(&[]), acl::OPEN, StatPersisted::default(), 0));
            debug_assert!(id.is_ok());
        }
        db.close_config_node();
        db
    }

    fn empty(options: DbOptions) -> Database {
        let root = Node::new("", Some(&[]), acl::OPEN, StatPersisted::default(), 0);
        Database {
            nodes: Nodes::new(root, options.hash_seed),
            acls: acl::AclTable::default(),
            sessions: Map::default(),
            ephemerals: Map::default(),
            containers: Set::default(),
            ttls: Set::default(),
            quotas: quota::QuotaTrie::default(),
            watches: Mutex::new(Watches::default()),
            last_zxid: Zxid::ZERO,
            captures: Vec::new(),
            retired_captures: Vec::new(),
            generation: 0,
            options,
        }
    }

    /// `/zookeeper/config` is readable by all and written by nobody but super (`DataTree.addConfigNode`).
    fn close_config_node(&mut self) {
        let Some(id) = self.nodes.find(path::CONFIG) else { return };
        let key = self.acls.intern(&[Acl::new(perms::READ, "world", "anyone")]);
        if let Some(node) = self.nodes.slot_mut(id) {
            node.acl = key;
            node.stat.aversion = -1;
        }
    }

    /// The last txn this state includes.
    /// A leader stands at the beginning of its epoch before it has proposed anything (`Leader.startZkServer`).
    pub fn begin_epoch(&mut self, zxid: Zxid) {
        self.last_zxid = self.last_zxid.max(zxid);
    }

    /// `/zookeeper/config` says what this server's own configuration says (`ZKDatabase.initConfigInZKDatabase`).
    pub fn init_config(&mut self, text: &str, version: i64, wall_now: Millis) {
        let Some(id) = self.nodes.find(path::CONFIG) else { return };
        self.save_for_capture(id);
        self.nodes.set_data(id, Some(text.as_bytes()));
        if let Some(node) = self.nodes.slot_mut(id) {
            node.stat.version = -1;
            node.stat.mzxid = Zxid(version);
            node.stat.mtime = wall_now;
        }
    }

    pub fn last_zxid(&self) -> Zxid {
        self.last_zxid
    }

    pub fn options(&self) -> &DbOptions {
        &self.options
    }

    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    #[inline]
    pub fn find(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The list of a node; `None` where a foreign snapshot lost it.
    #[inline]
    pub fn acl_of(&self, node: &Node) -> Option<&Arc<[Acl]>> {
        self.acls.get(node.acl)
    }

    #[inline]
    pub fn owner(&self, raw: i64) -> Owner {
        self.options.owners.classify(raw)
    }

    #[inline]
    pub fn stat(&self, node: &Node) -> Stat {
        node.client_stat(
            node.stat.ephemeral_owner != 0 && self.owner(node.stat.ephemeral_owner) == Owner::Session,
        )
    }

    /// As Java counts: the root twice, for its two keys.
    pub fn node_count(&self) -> usize {
        self.nodes.len() + 1
    }

    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.sessions.iter().map(|(id, timeout)| (*id, *timeout))
    }

    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(|set| set.len()).sum()
    }

    /// Sessions with ephemerals, and the paths of each.
    pub fn ephemerals(&self) -> impl Iterator<Item = (SessionId, impl Iterator<Item = &str>)> {
        self.ephemerals.iter().map(|(owner, ids)| (SessionId(*owner), self.paths(ids)))
    }

    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &str> {
        self.ephemerals.get(&session.0).into_iter().flat_map(|ids| self.paths(ids))
    }

    fn paths<'a>(&'a self, ids: &'a Set<NodeId>) -> impl Iterator<Item = &'a str> {
        ids.iter().filter_map(|id| Some(self.nodes.slot(*id)?.path()))
    }

    /// Containers that had children and have none, and TTL nodes that are due (`ContainerManager.getCandidates`).
    pub fn reapable(&self, wall_now: Millis) -> Vec<String> {
        let empty = |id: &NodeId| self.nodes.slot(*id).filter(|node| node.child_count() == 0);
        let containers = self.containers.iter().filter_map(empty).filter(|node| node.stat.cversion > 0);
        let ttls = self.ttls.iter().filter_map(empty).filter(|node| {
            let ttl = self.options.owners.ttl(node.stat.ephemeral_owner);
            ttl != 0 && wall_now.saturating_sub(node.stat.mtime) > ttl
        });
        containers.chain(ttls).map(|node| node.path().to_owned()).collect()
    }

    /// Adds a node under its parent, or says that the parent is missing.
    fn add_linked(&mut self, node: Node) -> Result<NodeId, Node> {
        let Some(parent) = path::split(node.path()).and_then(|(parent, _)| self.nodes.find(parent)) else {
            return Err(node);
        };
        let raw = node.stat.ephemeral_owner;
        let id = self.nodes.add(node);
        self.nodes.link(parent, id);
        self.note_owner(raw, id);
        Ok(id)
    }

    fn note_owner(&mut self, raw: i64, id: NodeId) {
        match self.owner(raw) {
            Owner::None => {}
            Owner::Container => drop(self.containers.insert(id)),
            Owner::Ttl => drop(self.ttls.insert(id)),
            Owner::Session => drop(self.ephemerals.entry(raw).or_default().insert(id)),
        }
    }

    fn forget_owner(&mut self, raw: i64, id: NodeId) {
        match self.owner(raw) {
            Owner::None => {}
            Owner::Container => drop(self.containers.remove(&id)),
            Owner::Ttl => drop(self.ttls.remove(&id)),
            Owner::Session => {
                if let Some(ids) = self.ephemerals.get_mut(&raw) {
                    ids.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
