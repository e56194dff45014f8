//! Point-in-time images of the tree, written out while writes go on: a snapshot for the disk, and one for each learner that
//! is sent the whole state.
//!
//! At the start (under the write lock) nothing is copied but the session and ACL tables. A txn that changes or deletes a
//! node of an image for the first time leaves the node's old state with it; the job that writes the image walks the
//! arena in short read-locked steps and prefers what was left. So no fuzzy snapshots (ZOOKEEPER-3144, 3145, 3306) and no
//! pause, at the cost of one copy per node changed before its turn, and nothing at all while there is no image.
//!
//! 1. A node's generation is that of the newest image when it was last changed. An image that is newer than that finds its
//!    state of the node in the tree; an older one has it saved, has written it, or never had the node.
//! 2. An image outlives its database: one that is replaced ([`Database::replace`]) is kept until its images are written.
//!
//! Nodes go out by depth: a reader needs each parent before its children and nothing else.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, MutexGuard};

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
    /// Shared between the images that lack the same state.
    saved: Mutex<Map<NodeId, Arc<Saved>>>,
    /// One bit a slot: written already, nothing to save any more.
    written: Vec<AtomicU64>,
    /// The image's database, once it has been replaced.
    retired: OnceLock<Arc<Database>>,
    void: Mutex<bool>,
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

    /// Whether `id` has been left alone since the image began, so that the tree still shows it.
    fn shows(&self, node: &Node) -> bool {
        node.generation < self.generation
    }

    /// Where the image's nodes are, while the caller holds the read lock of `current`: there, or in the database that
    /// `current` has replaced.
    pub fn home<'a>(&'a self, current: &'a Database) -> Option<&'a Database> {
        match self.retired.get() {
            Some(old) => Some(old),
            None => current.captures.iter().any(|c| std::ptr::eq(&**c, self)).then_some(current),
        }
    }

    /// Whether the state has been given up, as truncation does with what is behind the cut. Nothing gives it up while the
    /// guard is held: a snapshot of it that becomes visible meanwhile is seen by whoever gives it up.
    pub fn given_up(&self) -> MutexGuard<'_, bool> {
        self.void.lock()
    }

    /// Ids of the image in `range` of slots, sorted into `by_depth`. `db`: the image's home.
    pub fn collect(&self, db: &Database, range: std::ops::Range<u32>, by_depth: &mut Vec<Vec<NodeId>>) {
        let saved = self.saved.lock();
        for id in (range.start..range.end.min(self.slots)).map(NodeId) {
            let path = match saved.get(&id) {
                Some(old) => &*old.path,
                None => match db.nodes.slot(id) {
                    Some(node) if self.shows(node) => node.path(),
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

    /// Hands out the image's state of each id. `db`: the image's home. The caller holds the read lock for as long as this takes.
    pub fn emit<S: NodeSink>(&self, db: &Database, ids: &[NodeId], sink: &mut S) -> Result<(), S::Error> {
        let mut saved = self.saved.lock();
        for id in ids {
            match saved.remove(id) {
                Some(old) => sink.node(&old.path, old.data.as_deref(), old.acl, &old.stat)?,
                None => match db.nodes.slot(*id) {
                    Some(node) if self.shows(node) => {
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
    /// Starts an image of this very state; `end_capture` must follow.
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
            retired: OnceLock::new(),
            void: Mutex::new(false),
        });
        self.captures.push(capture.clone());
        capture
    }

    /// The image is written or no longer wanted.
    pub fn end_capture(&mut self, capture: &Arc<Capture>) {
        self.captures.retain(|c| !Arc::ptr_eq(c, capture));
        self.retired_captures.retain(|c| c.strong_count() > 0 && !std::ptr::eq(c.as_ptr(), &**capture));
    }

    /// Whether any image is still being written.
    pub fn is_captured(&self) -> bool {
        !self.captures.is_empty()
    }

    /// Puts another state in the place of this one, which is returned unless images need it. They stay what they are; those
    /// of what is now given up are said to be.
    pub fn replace(&mut self, new: Database) -> Option<Database> {
        let mut old = std::mem::replace(self, new);
        let captures = std::mem::take(&mut old.captures);
        self.retired_captures = std::mem::take(&mut old.retired_captures);
        self.retired_captures.extend(captures.iter().map(Arc::downgrade));
        self.give_up_captures_beyond(self.last_zxid);
        if captures.is_empty() {
            return Some(old);
        }
        let old = Arc::new(old);
        captures.iter().for_each(|capture| drop(capture.retired.set(old.clone())));
        None
    }

    /// No image of a later state than `zxid` may become a snapshot any more.
    pub fn give_up_captures_beyond(&self, zxid: Zxid) {
        let retired = self.retired_captures.iter().filter_map(Weak::upgrade);
        for capture in self.captures.iter().cloned().chain(retired).filter(|c| c.zxid > zxid) {
            *capture.void.lock() = true;
        }
    }

    /// The generation a node created now belongs to.
    pub(super) fn current_generation(&self) -> u32 {
        self.generation
    }

    /// To be called before anything of `id` but its child list changes.
    pub(super) fn save_for_capture(&mut self, id: NodeId) {
        if self.captures.is_empty() {
            return;
        }
        let Some(node) = self.nodes.slot_mut(id) else { return };
        let changed = std::mem::replace(&mut node.generation, self.generation);
        if changed == self.generation {
            return;
        }
        let mut old = None;
        for capture in self.captures.iter().filter(|c| changed < c.generation && c.wants(id)) {
            let old = old.get_or_insert_with(|| {
                Arc::new(Saved {
                    path: node.path().into(),
                    data: node.data.clone(),
                    acl: node.acl,
                    stat: node.stat,
                })
            });
            capture.saved.lock().insert(id, old.clone());
        }
    }

    /// The same for a node that has just left the tree.
    pub(super) fn save_removed(&mut self, id: NodeId, node: Node) {
        let changed = node.generation;
        let mut wanting = self.captures.iter().filter(|c| changed < c.generation && c.wants(id)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let old = Saved { path: node.path().into(), data: node.data, acl: node.acl, stat: node.stat };
        let old = Arc::new(old);
        for capture in wanting {
            capture.saved.lock().insert(id, old.clone());
        }
    }
}
