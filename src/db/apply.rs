//! Applying a txn: what each type does to the tree, and what the server that owns the request will answer.

use serde_bytes::Bytes as Buf;

use super::{
    Database, Set,
    nodes::{Node, NodeId, ROOT},
    owner, path,
    quota::{self, Usage},
    watch::EventSink,
};
use crate::{
    ids::{SessionId, Zxid},
    jute::Ustring,
    proto::{
        Acl, ErrorCode, OpCode, Stat,
        data::StatPersisted,
        txn::{CreateContainerTxn, CreateTtlTxn, CreateTxn, MultiTxn, SubTxn, Txn, TxnError, TxnHeader},
    },
};

/// What a txn did, as far as a reply needs it (`DataTree.ProcessTxnResult`).
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<'t> {
    pub err: ErrorCode,
    pub effect: Effect<'t>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'t> {
    None,
    Created {
        path: Ustring<'t>,
        stat: Stat,
    },
    Changed(Stat),
    /// One outcome per op, with the type it is answered as.
    Multi(Vec<(OpCode, Outcome<'t>)>),
}

impl<'t> Outcome<'t> {
    fn ok(effect: Effect<'t>) -> Self {
        Outcome { err: ErrorCode::OK, effect }
    }
    fn err(err: ErrorCode) -> Self {
        Outcome { err, effect: Effect::None }
    }
}

/// What a txn's header says to each of its ops.
#[derive(Clone, Copy)]
struct Context {
    session: SessionId,
    zxid: Zxid,
    time: i64,
}

struct Creation<'t> {
    path: Ustring<'t>,
    data: Option<&'t Buf>,
    acl: Vec<Acl>,
    owner: i64,
    parent_cversion: i32,
}

impl Database {
    /// Applies one txn; events go to `events` as they arise. Fails only where the record cannot be read, which leaves the
    /// state as it was.
    pub fn apply<'t>(
        &mut self,
        header: &TxnHeader,
        record: &'t [u8],
        events: &mut dyn EventSink,
    ) -> Result<Outcome<'t>, TxnError> {
        let txn = Txn::decode(header.kind, record, self.options.limits.for_files())?;
        let context = Context { session: header.session, zxid: header.zxid, time: header.time };
        let outcome = match txn {
            Txn::Multi(multi) => self.apply_multi(context, multi, events)?,
            txn => self.apply_op(context, txn, events),
        };
        if header.zxid > self.last_zxid {
            self.last_zxid = header.zxid;
        }
        Ok(outcome)
    }

    /// All or nothing: one error among the ops means that none is applied (`DataTree.processTxn`, B§2.8).
    fn apply_multi<'t>(
        &mut self,
        context: Context,
        multi: MultiTxn<'t>,
        events: &mut dyn EventSink,
    ) -> Result<Outcome<'t>, TxnError> {
        let limits = self.options.limits.for_files();
        let decode = |sub: &SubTxn<'t>| Ok((OpCode(sub.kind), Txn::decode_sub(sub, limits)?));
        let ops = multi.ops.iter().map(decode).collect::<Result<Vec<_>, TxnError>>()?;
        let failed = ops.iter().any(|(kind, _)| *kind == OpCode::ERROR);
        let mut err = ErrorCode::OK;
        let mut results = Vec::with_capacity(ops.len());
        for (kind, txn) in ops {
            let result = match txn {
                Txn::Error(e) => (kind, Outcome::err(ErrorCode(e.err))),
                _ if failed => (OpCode::ERROR, Outcome::err(ErrorCode::OK)),
                txn => (kind, self.apply_op(context, txn, events)),
            };
            if err == ErrorCode::OK {
                err = result.1.err;
            }
            results.push(result);
        }
        Ok(Outcome { err, effect: Effect::Multi(results) })
    }

    fn apply_op<'t>(&mut self, context: Context, txn: Txn<'t>, events: &mut dyn EventSink) -> Outcome<'t> {
        match txn {
            Txn::Create(t) => {
                let owner = if t.ephemeral { context.session.0 } else { 0 };
                let CreateTxn { path, data, acl, parent_cversion, .. } = t;
                self.create(context, Creation { path, data, acl, owner, parent_cversion }, events)
            }
            Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion }) => {
                let owner = owner::CONTAINER;
                self.create(context, Creation { path, data, acl, owner, parent_cversion }, events)
            }
            Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl }) => {
                match owner::of_ttl(ttl) {
                    Some(owner) => {
                        self.create(context, Creation { path, data, acl, owner, parent_cversion }, events)
                    }
                    None => {
                        tracing::error!(zxid = %context.zxid, ttl, "ignoring a TTL node whose ttl no node can have");
                        Outcome::err(ErrorCode::BAD_ARGUMENTS)
                    }
                }
            }
            Txn::Delete(t) => match self.delete(&t.path, context.zxid, events) {
                Ok(()) => Outcome::ok(Effect::None),
                Err(err) => Outcome::err(err),
            },
            Txn::SetData(t) => self.set_data(context, &t.path, t.data.map(|d| &**d), t.version, events),
            Txn::SetAcl(t) => self.set_acl(context, &t.path, &t.acl, t.version),
            Txn::Check(_) => Outcome::ok(Effect::None),
            Txn::CreateSession(t) => {
                self.sessions.insert(context.session, t.timeout_ms);
                Outcome::ok(Effect::None)
            }
            Txn::CloseSession => {
                self.sessions.remove(&context.session);
                self.delete_ephemerals(context.session, context.zxid, events);
                Outcome::ok(Effect::None)
            }
            Txn::Error(t) => Outcome::err(ErrorCode(t.err)),
            Txn::Multi(_) => Outcome::err(ErrorCode::MARSHALLING_ERROR),
        }
    }

    fn create<'t>(&mut self, context: Context, new: Creation<'t>, events: &mut dyn EventSink) -> Outcome<'t> {
        match self.try_create(context, &new, events) {
            Ok(stat) => Outcome::ok(Effect::Created { path: new.path, stat }),
            Err(err) => Outcome::err(err),
        }
    }

    fn try_create(
        &mut self,
        context: Context,
        new: &Creation<'_>,
        events: &mut dyn EventSink,
    ) -> Result<Stat, ErrorCode> {
        let (parent_path, name) = path::split(&new.path).ok_or(ErrorCode::NO_NODE)?;
        let parent = self.nodes.find(parent_path).ok_or(ErrorCode::NO_NODE)?;
        if self.nodes.find(&new.path).is_some() {
            self.raise_parent(parent, new.parent_cversion, context.zxid);
            return Err(ErrorCode::NODE_EXISTS);
        }
        self.save_for_capture(parent);
        if let Some(node) = self.nodes.slot_mut(parent) {
            node.stat.cversion = match new.parent_cversion {
                -1 => node.stat.cversion.wrapping_add(1),
                given => given,
            };
            node.stat.pzxid = context.zxid;
        }
        let stat = StatPersisted {
            czxid: context.zxid,
            mzxid: context.zxid,
            pzxid: context.zxid,
            ctime: context.time,
            mtime: context.time,
            ephemeral_owner: new.owner,
            ..StatPersisted::default()
        };
        let acl = self.acls.intern(&new.acl);
        let node = Node::new(&new.path, new.data.map(|d| &**d), acl, stat, self.current_generation());
        let seen = self.stat(&node);
        let id = self.nodes.add(node);
        self.nodes.link(parent, id);
        self.note_owner(new.owner, id);

        self.quota_node_created(parent_path, name);
        self.charge(&new.path, 1, new.data.map_or(0, |d| d.len() as i64));
        self.watches.get_mut().created(&new.path, parent_path, events);
        Ok(seen)
    }

    /// The node is there because a fuzzy snapshot had it already; its parent may be older than the create
    /// (ZOOKEEPER-1269, `DataTree.setCversionPzxid`).
    fn raise_parent(&mut self, parent: NodeId, cversion: i32, zxid: Zxid) {
        self.save_for_capture(parent);
        let Some(node) = self.nodes.slot_mut(parent) else { return };
        let cversion = if cversion == -1 { node.stat.cversion.wrapping_add(1) } else { cversion };
        if cversion > node.stat.cversion {
            node.stat.cversion = cversion;
            node.stat.pzxid = zxid;
        }
    }

    fn delete(&mut self, path: &str, zxid: Zxid, events: &mut dyn EventSink) -> Result<(), ErrorCode> {
        let (parent_path, name) = path::split(path).ok_or(ErrorCode::NO_NODE)?;
        let parent = self.nodes.find(parent_path).ok_or(ErrorCode::NO_NODE)?;
        // Also where the node is gone already, for the sake of a fuzzy snapshot (ZOOKEEPER-3125).
        self.save_for_capture(parent);
        if let Some(node) = self.nodes.slot_mut(parent)
            && zxid > node.stat.pzxid
        {
            node.stat.pzxid = zxid;
        }
        let id = self.find_of_this_life(path, zxid).filter(|id| *id != ROOT).ok_or(ErrorCode::NO_NODE)?;
        self.remove_descendants(id);
        let bytes = self.remove_node(parent, id).ok_or(ErrorCode::NO_NODE)?;

        self.quota_node_deleted(parent_path, name);
        self.charge(path, -1, -bytes);
        self.watches.get_mut().deleted(path, parent_path, events);
        Ok(())
    }

    /// The node, unless it was created after `zxid`: over a fuzzy snapshot, a txn of its path's earlier life must not touch
    /// the later one, which may not be created again (ZOOKEEPER-3145).
    fn find_of_this_life(&self, path: &str, zxid: Zxid) -> Option<NodeId> {
        let id = self.nodes.find(path)?;
        self.nodes.slot(id).is_some_and(|node| node.stat.czxid <= zxid).then_some(id)
    }

    /// A node that is deleted has no children, except over a fuzzy snapshot: then they are of its next life, and the log
    /// makes them again when it comes to it. Left behind, they would be out of reach for ever.
    fn remove_descendants(&mut self, id: NodeId) {
        let mut found: Vec<(NodeId, NodeId)> = self.child_ids(id).collect();
        let mut next = 0;
        while let Some((_, child)) = found.get(next).copied() {
            found.extend(self.child_ids(child));
            next += 1;
        }
        for (parent, child) in found.into_iter().rev() {
            self.remove_node(parent, child);
        }
    }

    fn child_ids(&self, parent: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.nodes.slot(parent).into_iter().flat_map(Node::child_ids).map(move |child| (parent, child))
    }

    /// Takes a node out of every table; returns how long its data was.
    fn remove_node(&mut self, parent: NodeId, id: NodeId) -> Option<i64> {
        let node = self.nodes.remove(parent, id)?;
        self.acls.remove_use(node.acl);
        self.forget_owner(node.stat.ephemeral_owner, id);
        let bytes = node.data_len() as i64;
        self.save_removed(id, node);
        Some(bytes)
    }

    fn set_data<'t>(
        &mut self,
        context: Context,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        events: &mut dyn EventSink,
    ) -> Outcome<'t> {
        let Some(id) = self.find_of_this_life(path, context.zxid) else {
            return Outcome::err(ErrorCode::NO_NODE);
        };
        self.save_for_capture(id);
        let old_len = self.nodes.set_data(id, data);
        let Some(node) = self.nodes.slot_mut(id) else { return Outcome::err(ErrorCode::NO_NODE) };
        node.stat.mtime = context.time;
        node.stat.mzxid = context.zxid;
        node.stat.version = version;
        self.charge(path, 0, data.map_or(0, |d| d.len() as i64) - old_len as i64);
        self.watches.get_mut().data_changed(path, events);
        self.changed(id)
    }

    fn set_acl<'t>(&mut self, context: Context, path: &str, acl: &[Acl], version: i32) -> Outcome<'t> {
        let Some(id) = self.find_of_this_life(path, context.zxid) else {
            return Outcome::err(ErrorCode::NO_NODE);
        };
        self.save_for_capture(id);
        let key = self.acls.intern(acl);
        let Some(node) = self.nodes.slot_mut(id) else { return Outcome::err(ErrorCode::NO_NODE) };
        let old = std::mem::replace(&mut node.acl, key);
        node.stat.aversion = version;
        self.acls.remove_use(old);
        self.changed(id)
    }

    fn changed<'t>(&self, id: NodeId) -> Outcome<'t> {
        match self.nodes.slot(id) {
            Some(node) => Outcome::ok(Effect::Changed(self.stat(node))),
            None => Outcome::err(ErrorCode::NO_NODE),
        }
    }

    fn delete_ephemerals(&mut self, session: SessionId, zxid: Zxid, events: &mut dyn EventSink) {
        let Some(mut ids) = self.ephemerals.remove(&session.0) else { return };
        let later: Set<NodeId> =
            ids.extract_if(|id| self.nodes.slot(*id).is_some_and(|node| node.stat.czxid > zxid)).collect();
        // Before the deletes, which take a later child out of it.
        if !later.is_empty() {
            self.ephemerals.insert(session.0, later);
        }
        let paths: Vec<String> = self.paths(&ids).map(str::to_owned).collect();
        for path in paths {
            if let Err(err) = self.delete(&path, zxid, events) {
                tracing::warn!(%session, path, ?err, "an ephemeral of a closed session cannot be removed");
            }
        }
    }

    /// Removes ephemerals whose session is in no table, as a leader or standalone server does when it has loaded its data
    /// (`ZooKeeperServer.loadData`; nothing is logged for them). Returns those sessions.
    pub fn purge_dead_sessions(&mut self) -> Vec<SessionId> {
        let dead: Vec<SessionId> = self
            .ephemerals
            .keys()
            .map(|id| SessionId(*id))
            .filter(|id| !self.sessions.contains_key(id))
            .collect();
        for session in &dead {
            self.delete_ephemerals(*session, self.last_zxid, &mut super::watch::NoEvents);
        }
        dead
    }

    fn quota_node_created(&mut self, parent: &str, name: &str) {
        let Some(subtree) = parent.strip_prefix(path::QUOTA) else { return };
        match name {
            quota::LIMITS => self.quotas.add(subtree),
            quota::STATS => self.recount(subtree),
            _ => {}
        }
    }

    fn quota_node_deleted(&mut self, parent: &str, name: &str) {
        if name == quota::LIMITS
            && let Some(subtree) = parent.strip_prefix(path::QUOTA)
        {
            self.quotas.remove(subtree);
        }
    }

    /// Charges the longest prefix with a quota, in place: no version, no watch, no txn (B§2.10).
    fn charge(&mut self, path: &str, count: i32, bytes: i64) {
        let Some(prefix) = self.quotas.longest_prefix(path) else { return };
        let Some(id) = self.nodes.find(&quota::stat_path(prefix)) else {
            return tracing::error!(subtree = prefix, "Missing count node for stats");
        };
        let stats = self.nodes.slot(id).and_then(|n| n.data.as_deref()).and_then(Usage::parse);
        let Some(mut usage) = stats else {
            return tracing::error!(subtree = prefix, "the quota's count cannot be read; not charging");
        };
        usage.count = usage.count.wrapping_add(count);
        usage.bytes = usage.bytes.wrapping_add(bytes);
        self.save_for_capture(id);
        self.nodes.set_data(id, Some(usage.to_string().as_bytes()));
        self.warn_if_exceeded(prefix, usage, count != 0);
    }

    fn warn_if_exceeded(&self, prefix: &str, usage: Usage, count_changed: bool) {
        let limit =
            self.nodes.get(&quota::limit_path(prefix)).and_then(|n| n.data.as_deref()).and_then(Usage::parse);
        let Some(limit) = limit else { return };
        if count_changed && limit.count > -1 && limit.count < usage.count {
            tracing::warn!("Quota exceeded: {prefix} count={} limit={}", usage.count, limit.count);
        }
        if limit.bytes > -1 && limit.bytes < usage.bytes {
            tracing::warn!("Quota exceeded: {prefix} bytes={} limit={}", usage.bytes, limit.bytes);
        }
    }

    /// Sets the stat node of a subtree from what is there now.
    pub(super) fn recount(&mut self, subtree: &str) {
        let mut usage = Usage { count: 0, bytes: 0 };
        let mut left: Vec<&Node> = self.nodes.get(subtree).into_iter().collect();
        while let Some(node) = left.pop() {
            usage.count = usage.count.wrapping_add(1);
            usage.bytes += node.data_len() as i64;
            left.extend(self.nodes.children(node));
        }
        match self.nodes.find(&quota::stat_path(subtree)) {
            Some(id) => {
                self.save_for_capture(id);
                self.nodes.set_data(id, Some(usage.to_string().as_bytes()));
            }
            None => tracing::warn!(subtree, "Missing quota stat node"),
        }
    }
}
