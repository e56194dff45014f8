//! A point-in-time image of the tree, written out while writes go on.
//!
//! At the start (under the write lock) nothing is copied but the session and ACL tables. A txn that changes or deletes a
//! node of the image for the first time leaves the node's old state here; the job that writes the snapshot walks the
//! arena in short read-locked steps and prefers what was left. So no fuzzy snapshots (ZOOKEEPER-3144, 3145, 3306) and no
//! pause, at the cost of one copy per node changed before its turn.
//!
//! Nodes go out by depth: a reader needs each parent before its children and nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    Database, Map,
    acl::AclKey,
    nodes::{Node, NodeId},
};
use crate::{
    ids::{SessionId, Zxid},
    proto::{Acl, data::StatPersisted},
};

/// The image being written. Shared between the database, which saves old states, and the job, which takes them.
#[derive(Debug)]
pub struct Capture {
    pub zxid: Zxid,
    pub sessions: Vec<(SessionId, i32)>,
    pub acls: Vec<(AclKey, Arc<[Acl]>)>,
    /// Slots in use at the start; later ones are not part of the image.
    slots: u32,
    generation: u32,
    saved: Mutex<Map<NodeId, Saved>>,
    /// One bit a slot: written already, nothing to save any more.
    written: Vec<AtomicU64>,
}

#[derive(Debug)]
struct Saved {
    path: Box<str>,
    data: Option<Box<[u8]>>,
    acl: AclKey,
    stat: StatPersisted,
}

/// What the job does with a node.
pub trait NodeSink {
    type Error;
    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl: AclKey,
        stat: &StatPersisted,
    ) -> Result<(), Self::Error>;
}

impl Capture {
    /// Whether `id`'s state of the image still has to be kept when it changes.
    fn wants(&self, id: NodeId) -> bool {
        let word = self.written.get(id.0 as usize / 64);
        word.is_some_and(|w| w.load(Ordering::Relaxed) & (1 << (id.0 % 64)) == 0)
    }

    fn mark_written(&self, id: NodeId) {
        if let Some(word) = self.written.get(id.0 as usize / 64) {
            word.fetch_or(1 << (id.0 % 64), Ordering::Relaxed);
        }
    }

    /// Ids of the image in `range` of slots, sorted into `by_depth`.
    pub fn collect(&self, db: &Database, range: std::ops::Range<u32>, by_depth: &mut Vec<Vec<NodeId>>) {
        let saved = self.saved.lock();
        for id in (range.start..range.end.min(self.slots)).map(NodeId) {
            let path = match saved.get(&id) {
                Some(old) => &*old.path,
                None => match db.nodes.slot(id) {
                    Some(node) if node.generation != self.generation => node.path(),
                    _ => continue,
                },
            };
            let depth = path.bytes().filter(|b| *b == b'/').count();
            if by_depth.len() <= depth {
                by_depth.resize_with(depth + 1, Vec::new);
            }
            by_depth[depth].push(id);
        }
    }

    /// Hands out the image's state of each id. The caller holds the read lock for as long as this takes.
    pub fn emit<S: NodeSink>(&self, db: &Database, ids: &[NodeId], sink: &mut S) -> Result<(), S::Error> {
        let mut saved = self.saved.lock();
        for id in ids {
            match saved.remove(id) {
                Some(old) => sink.node(&old.path, old.data.as_deref(), old.acl, &old.stat)?,
                None => match db.nodes.slot(*id) {
                    Some(node) if node.generation != self.generation => {
                        sink.node(node.path(), node.data.as_deref(), node.acl, &node.stat)?;
                    }
                    _ => debug_assert!(false, "a node of the image was changed without being saved"),
                },
            }
            self.mark_written(*id);
        }
        Ok(())
    }

    pub fn slots(&self) -> u32 {
        self.slots
    }
}

impl Database {
    /// Starts an image of this very state. One at a time: a second one replaces the first, whose job must have ended.
    pub fn begin_capture(&mut self) -> Arc<Capture> {
        self.generation = self.generation.wrapping_add(1);
        let slots = self.nodes.slots();
        let capture = Arc::new(Capture {
            zxid: self.last_zxid,
            sessions: self.sessions().collect(),
            acls: self.acls.iter().map(|(key, list)| (key, list.clone())).collect(),
            slots,
            generation: self.generation,
            saved: Mutex::new(Map::default()),
            written: (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        });
        self.capture = Some(capture.clone());
        capture
    }

    pub fn end_capture(&mut self) {
        self.capture = None;
    }

    /// The generation a node created now belongs to.
    pub(super) fn current_generation(&self) -> u32 {
        self.generation
    }

    /// To be called before anything of `id` but its child list changes.
    pub(super) fn save_for_capture(&mut self, id: NodeId) {
        let Some(capture) = &self.capture else { return };
        let Some(node) = self.nodes.slot_mut(id) else { return };
        if node.generation == capture.generation {
            return;
        }
        if !capture.wants(id) {
            node.generation = capture.generation;
            return;
        }
        node.generation = capture.generation;
        let old = Saved { path: node.path().into(), data: node.data.clone(), acl: node.acl, stat: node.stat };
        capture.saved.lock().insert(id, old);
    }

    /// The same for a node that has just left the tree.
    pub(super) fn save_removed(&mut self, id: NodeId, node: Node) {
        let Some(capture) = &self.capture else { return };
        if node.generation == capture.generation || !capture.wants(id) {
            return;
        }
        let old = Saved { path: node.path().into(), data: node.data, acl: node.acl, stat: node.stat };
        capture.saved.lock().insert(id, old);
    }
}
