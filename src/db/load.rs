//! Building a Database from a snapshot's items, whoever wrote it and however fuzzy it is.

use super::{
    Database, DbOptions, acl,
    acl::AclKey,
    nodes::{Node, NodeId, ROOT},
    path, quota,
};
use crate::{
    ids::{SessionId, Zxid},
    proto::{Acl, data::StatPersisted},
};

/// Takes sessions, then ACL lists, then nodes, parents first (`DataTree.deserialize`).
pub struct Loader {
    db: Database,
    /// Lists that a node names and the snapshot lacks (ZOOKEEPER-3306): logged once each.
    missing_acls: Vec<AclKey>,
}

impl Loader {
    pub fn new(options: DbOptions) -> Loader {
        Loader { db: Database::empty(options), missing_acls: Vec::new() }
    }

    pub fn session(&mut self, id: SessionId, timeout_ms: i32) {
        self.db.sessions.insert(id, timeout_ms);
    }

    pub fn acl(&mut self, key: i64, list: Vec<Acl>) {
        self.db.acls.load(AclKey(key), list);
    }

    /// Fails for a node without a parent: the snapshot is not whole.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_key: i64,
        stat: &StatPersisted,
    ) -> Result<(), String> {
        let key = AclKey(acl_key);
        if key != acl::OPEN && self.db.acls.get(key).is_none() && !self.missing_acls.contains(&key) {
            self.missing_acls.push(key);
        }
        self.db.acls.add_use(key);
        if path.is_empty() {
            self.root(data, key, stat);
            return Ok(());
        }
        if self.db.nodes.find(path).is_some() {
            return Err(format!("node {path} is there twice"));
        }
        match self.db.add_linked(Node::new(path, data, key, *stat, 0)) {
            Ok(_) => Ok(()),
            Err(node) => Err(format!("node {} comes before its parent", node.path())),
        }
    }

    fn root(&mut self, data: Option<&[u8]>, key: AclKey, stat: &StatPersisted) {
        self.db.nodes.set_data(ROOT, data);
        if let Some(root) = self.db.nodes.slot_mut(ROOT) {
            root.acl = key;
            root.stat = *stat;
        }
    }

    /// The database as of `zxid`, the one in the snapshot's name.
    pub fn finish(self, zxid: Zxid) -> Database {
        for key in &self.missing_acls {
            tracing::error!(
                key = key.0,
                "the snapshot lacks an ACL list that nodes name (ZOOKEEPER-3306): nobody but super may use those nodes"
            );
        }
        let mut db = self.db;
        db.last_zxid = zxid;
        db.add_missing_built_ins();
        db.set_up_quotas();
        db.acls.purge_unused();
        db
    }
}

impl Database {
    /// A 3.4 snapshot has no `/zookeeper/config` (`ZKDatabase.initConfigInZKDatabase`).
    fn add_missing_built_ins(&mut self) {
        for built_in in [path::ZOOKEEPER, path::QUOTA, path::CONFIG] {
            if self.nodes.find(built_in).is_some() {
                continue;
            }
            let node = Node::new(built_in, Some(&[]), acl::OPEN, StatPersisted::default(), 0);
            if self.add_linked(node).is_ok() && built_in == path::CONFIG {
                self.close_config_node();
            }
        }
    }

    /// Registers every limit under `/zookeeper/quota` and counts its subtree anew (`DataTree.setupQuota`).
    fn set_up_quotas(&mut self) {
        let mut subtrees = Vec::new();
        let mut left: Vec<NodeId> = self.nodes.find(path::QUOTA).into_iter().collect();
        while let Some(node) = left.pop().and_then(|id| self.nodes.slot(id)) {
            if node.child_count() == 0
                && let Some((parent, quota::LIMITS)) = path::split(node.path())
                && let Some(subtree) = parent.strip_prefix(path::QUOTA)
            {
                subtrees.push(subtree.to_owned());
            }
            left.extend(node.child_ids());
        }
        for subtree in subtrees {
            self.recount(&subtree);
            self.quotas.add(&subtree);
        }
    }
}
