//! The state as it will be when everything proposed has committed (`outstandingChanges`; B§2.3, B§14 row 8).
//!
//! Java's quirks that a client can observe are kept: the root has one pending record as a parent (`""`) and another as a
//! target (`"/"`); setACL's record keeps the old list until it is applied; pending containers and TTL nodes own nothing;
//! a pending closeSession does not lower child counts.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    db::{Database, Map, Set, nodes::Node},
    ids::{SessionId, Zxid},
    proto::Acl,
};

/// What a write needs to know of a node.
#[derive(Clone, Debug)]
pub struct ChangeRecord {
    pub version: i32,
    /// Internal: the number of creates.
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub child_count: i32,
    /// `None`: a foreign snapshot lost the list; nobody but super passes.
    pub acl: Option<Arc<[Acl]>>,
}

impl ChangeRecord {
    fn of(db: &Database, node: &Node) -> ChangeRecord {
        ChangeRecord {
            version: node.stat.version,
            cversion: node.stat.cversion,
            aversion: node.stat.aversion,
            ephemeral_owner: node.stat.ephemeral_owner,
            child_count: node.child_count() as i32,
            acl: db.acl_of(node).cloned(),
        }
    }
}

/// One change on its way; `None` in `record` is a deletion.
#[derive(Clone, Debug)]
struct Pending {
    zxid: Zxid,
    record: Option<ChangeRecord>,
}

#[derive(Debug, Default)]
pub struct Projection {
    /// In zxid order.
    queue: VecDeque<(Arc<str>, Pending)>,
    latest: Map<Arc<str>, Pending>,
}

impl Projection {
    /// The node as it will be, or `None` where it will not be there.
    pub fn get(&self, db: &Database, path: &str) -> Option<ChangeRecord> {
        if !self.latest.is_empty()
            && let Some(pending) = self.latest.get(path)
        {
            return pending.record.clone();
        }
        db.find(path).map(|node| ChangeRecord::of(db, node))
    }

    pub fn put(&mut self, zxid: Zxid, path: &str, record: ChangeRecord) {
        self.push(zxid, path, Some(record));
    }

    pub fn delete(&mut self, zxid: Zxid, path: &str) {
        self.push(zxid, path, None);
    }

    fn push(&mut self, zxid: Zxid, path: &str, record: Option<ChangeRecord>) {
        debug_assert!(self.queue.back().is_none_or(|(_, p)| p.zxid <= zxid));
        let pending = Pending { zxid, record };
        let path: Arc<str> = match self.latest.get_key_value(path) {
            Some((known, _)) => known.clone(),
            None => Arc::from(path),
        };
        self.queue.push_back((path.clone(), pending.clone()));
        self.latest.insert(path, pending);
    }

    /// Everything up to `zxid` is in the database now.
    pub fn forget_through(&mut self, zxid: Zxid) {
        while let Some((_, pending)) = self.queue.front()
            && pending.zxid <= zxid
        {
            let Some((path, pending)) = self.queue.pop_front() else { return };
            // A later change of the same path stays.
            if self.latest.get(&path).is_some_and(|latest| latest.zxid <= pending.zxid) {
                self.latest.remove(&path);
            }
        }
    }

    /// Takes back what a multi that failed had put in (`rollbackPendingChanges`).
    pub fn roll_back(&mut self, zxid: Zxid) {
        let mut changed = Set::default();
        while let Some((_, pending)) = self.queue.back()
            && pending.zxid == zxid
        {
            let Some((path, _)) = self.queue.pop_back() else { return };
            self.latest.remove(&path);
            changed.insert(path);
        }
        // Once for all of them: a multi may have changed thirty thousand.
        for (path, earlier) in self.queue.iter().rev() {
            if changed.is_empty() {
                return;
            }
            if changed.remove(path) {
                self.latest.insert(path.clone(), earlier.clone());
            }
        }
    }

    /// The ephemerals a session will have: those it has, less pending deletes, plus pending creates.
    pub fn ephemerals_of(&self, db: &Database, session: SessionId) -> Vec<String> {
        // By hash: thousands of ephemerals of many sessions may expire at one moment.
        let mut paths: Set<&str> = db.ephemerals_of(session).collect();
        for (path, pending) in &self.queue {
            match &pending.record {
                None => drop(paths.remove(&**path)),
                Some(record) if record.ephemeral_owner == session.0 => drop(paths.insert(path)),
                Some(_) => {}
            }
        }
        paths.into_iter().map(str::to_owned).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::DbOptions;

    fn record(version: i32) -> ChangeRecord {
        ChangeRecord { version, cversion: 0, aversion: 0, ephemeral_owner: 0, child_count: 0, acl: None }
    }

    #[test]
    fn the_latest_change_wins_until_it_is_applied() {
        let db = Database::new(DbOptions::default());
        let mut p = Projection::default();
        p.put(Zxid(1), "/a", record(1));
        p.put(Zxid(2), "/a", record(2));
        assert_eq!(p.get(&db, "/a").map(|r| r.version), Some(2));
        p.forget_through(Zxid(1));
        assert_eq!(p.get(&db, "/a").map(|r| r.version), Some(2));
        p.forget_through(Zxid(2));
        assert!(p.get(&db, "/a").is_none() && p.is_empty());
    }

    #[test]
    fn rolling_back_restores_what_was_pending_before() {
        let db = Database::new(DbOptions::default());
        let mut p = Projection::default();
        p.put(Zxid(1), "/a", record(1));
        p.put(Zxid(2), "/a", record(2));
        p.put(Zxid(2), "/b", record(7));
        p.delete(Zxid(2), "/a");
        assert!(p.get(&db, "/a").is_none());
        p.roll_back(Zxid(2));
        assert_eq!(p.get(&db, "/a").map(|r| r.version), Some(1));
        assert!(p.get(&db, "/b").is_none());
    }

    #[test]
    fn the_root_is_pending_as_parent_and_as_target_apart() {
        let db = Database::new(DbOptions::default());
        let mut p = Projection::default();
        p.put(Zxid(1), "", record(9));
        assert_eq!(p.get(&db, "").map(|r| r.version), Some(9));
        assert_eq!(p.get(&db, "/").map(|r| r.version), Some(0));
    }
}
