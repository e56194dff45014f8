//! Answers that need no txn (`FinalRequestProcessor`; B§1.5, B§2.9).
//!
//! The caller holds the database's read lock for as long as an answer takes, so a watch is registered at the very state
//! that the reply shows. Replies are encoded straight from the node into the connection's buffer.

use std::ops::ControlFlow;

use bytes::{BufMut, BytesMut};

use super::multi::{self, MultiReadOp};
use crate::{
    db::{
        Database, acl,
        nodes::Node,
        path,
        watch::{Mode, WatcherType},
    },
    ids::{ConnId, SessionId, Zxid},
    jute::{self, Limits, Ustring},
    proto::{
        ErrorCode, OpCode,
        client::{
            EventType, MultiHeader, PathRequest, PathVersionRequest, ReadRequest, WatchRequest,
            put_acl_and_stat, put_event, put_frame,
        },
        data::{AclId, perms},
        op::xid,
    },
};

#[derive(Clone, Copy, Debug)]
pub struct ReadRules {
    pub skip_acl: bool,
    /// Whether the ops that came with 3.6 and later are answered (`ferrokeeper.modernClientOps`).
    pub modern: bool,
}

/// Who asks, and of what.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub db: &'a Database,
    pub conn: ConnId,
    pub session: SessionId,
    pub auth: &'a [AclId],
    pub rules: ReadRules,
}

/// Whether the server answers `op` at all; anything else is refused and its connection closed.
pub fn is_known(op: OpCode, rules: ReadRules) -> bool {
    is_read(op, rules) || is_write(op)
}

/// Ops answered from this server's own state.
pub fn is_read(op: OpCode, rules: ReadRules) -> bool {
    match op {
        OpCode::EXISTS
        | OpCode::GET_DATA
        | OpCode::GET_ACL
        | OpCode::GET_CHILDREN
        | OpCode::GET_CHILDREN2
        | OpCode::SYNC
        | OpCode::PING
        | OpCode::SET_WATCHES
        | OpCode::CHECK
        | OpCode::CHECK_WATCHES
        | OpCode::REMOVE_WATCHES => true,
        OpCode::MULTI_READ
        | OpCode::GET_EPHEMERALS
        | OpCode::GET_ALL_CHILDREN_NUMBER
        | OpCode::SET_WATCHES2
        | OpCode::ADD_WATCH
        | OpCode::WHO_AM_I => rules.modern,
        _ => false,
    }
}

/// Ops that take a zxid. `check` outside a multi is not among them: 3.5.7 logs a txn for it that nobody can read back
/// (ZOOKEEPER-2623); here it is a question like any other.
pub fn is_write(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_TTL
            | OpCode::CREATE_CONTAINER
            | OpCode::DELETE
            | OpCode::DELETE_CONTAINER
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::MULTI
            | OpCode::RECONFIG
            | OpCode::CREATE_SESSION
            | OpCode::CLOSE_SESSION
    )
}

/// Appends the whole reply to a read, watch events of its own included; returns how many frames that makes.
pub fn answer(reader: Reader<'_>, op: OpCode, xid: i32, body: &[u8], out: &mut BytesMut) -> u64 {
    let xid = if op == OpCode::PING { xid::PING } else { xid };
    // Events of setWatches precede the reply, each in a frame of its own.
    if matches!(op, OpCode::SET_WATCHES | OpCode::SET_WATCHES2) {
        let mut events = 0;
        let err = reader.set_watches(op, body, out, &mut events).err().unwrap_or(ErrorCode::OK);
        put_frame(out, |out| put_header(out, xid, reader.db.last_zxid(), err));
        return events + 1;
    }
    put_frame(out, |out| {
        let header_at = out.len();
        put_header(out, xid, reader.db.last_zxid(), ErrorCode::OK);
        let body_at = out.len();
        if let Err(failure) = reader.body(op, body, out) {
            if !failure.keeps_body {
                out.truncate(body_at);
            }
            out[header_at + 12..header_at + 16].copy_from_slice(&failure.err.0.to_be_bytes());
        }
    });
    1
}

#[inline]
fn put_header(out: &mut BytesMut, xid: i32, zxid: Zxid, err: ErrorCode) {
    out.put_i32(xid);
    out.put_i64(zxid.0);
    out.put_i32(err.0);
}

/// An error, and whether what was written before it is sent along: Java serializes the response object it had begun.
struct Failure {
    err: ErrorCode,
    keeps_body: bool,
}

impl From<ErrorCode> for Failure {
    fn from(err: ErrorCode) -> Self {
        Failure { err, keeps_body: false }
    }
}

impl<'a> Reader<'a> {
    fn limits(&self) -> Limits {
        self.db.options().limits
    }

    fn decode<'b, T: serde::Deserialize<'b>>(&self, body: &'b [u8]) -> Result<T, ErrorCode> {
        jute::from_bytes(body, self.limits()).map_err(|_| ErrorCode::MARSHALLING_ERROR)
    }

    #[inline]
    fn body(&self, op: OpCode, body: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        match op {
            OpCode::PING => {}
            OpCode::GET_DATA => self.get_data(self.decode(body)?, out)?,
            OpCode::EXISTS => self.exists(self.decode(body)?, out)?,
            OpCode::GET_CHILDREN => {
                let node = self.children(self.decode(body)?)?;
                self.put_children(node, out);
            }
            OpCode::GET_CHILDREN2 => {
                let node = self.children(self.decode(body)?)?;
                self.put_children(node, out);
                jute::put(out, &self.db.stat(node));
            }
            OpCode::GET_ACL => self.get_acl(self.decode(body)?, out)?,
            OpCode::SYNC => {
                let request: PathRequest<'_> = self.decode(body)?;
                jute::put(out, &request.path);
            }
            OpCode::CHECK => self.check_version(self.decode(body)?)?,
            OpCode::CHECK_WATCHES | OpCode::REMOVE_WATCHES => self.check_or_remove(op, self.decode(body)?)?,
            OpCode::ADD_WATCH => self.add_watch(self.decode(body)?, out)?,
            OpCode::MULTI_READ => self.multi_read(body, out)?,
            OpCode::GET_EPHEMERALS => self.get_ephemerals(self.decode(body)?, out),
            OpCode::GET_ALL_CHILDREN_NUMBER => self.count_descendants(self.decode(body)?, out)?,
            OpCode::WHO_AM_I => self.who_am_i(out),
            _ => return Err(ErrorCode::UNIMPLEMENTED.into()),
        }
        Ok(())
    }

    /// The node at a request's path, which needs no valid syntax: garbage is just not there (B§1.7).
    fn node(&self, path: Option<&Ustring<'_>>) -> Result<&'a Node, ErrorCode> {
        let path = path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        self.db.find(path).ok_or(ErrorCode::NO_NODE)
    }

    fn check_acl(&self, node: &Node, wanted: i32) -> Result<(), ErrorCode> {
        acl::check(self.db.acl_of(node).map(|list| &**list), wanted, self.auth, self.rules.skip_acl)
    }

    fn get_data(&self, request: ReadRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        let node = self.node(request.path.as_ref())?;
        self.check_acl(node, perms::READ)?;
        if let (true, Some(path)) = (request.watch, &request.path) {
            self.db.watches.lock().add_data(path, self.conn);
        }
        jute::put_bytes(out, node.data.as_deref());
        jute::put(out, &self.db.stat(node));
        Ok(())
    }

    /// Watches a node that is not there as well, and asks for no permission.
    fn exists(&self, request: ReadRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        if path.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if request.watch {
            self.db.watches.lock().add_data(&path, self.conn);
        }
        let node = self.db.find(&path).ok_or(ErrorCode::NO_NODE)?;
        jute::put(out, &self.db.stat(node));
        Ok(())
    }

    fn children(&self, request: ReadRequest<'_>) -> Result<&'a Node, ErrorCode> {
        let node = self.node(request.path.as_ref())?;
        self.check_acl(node, perms::READ)?;
        if let (true, Some(path)) = (request.watch, &request.path) {
            self.db.watches.lock().add_child(path, self.conn);
        }
        Ok(node)
    }

    fn put_children(&self, node: &Node, out: &mut BytesMut) {
        out.put_i32(node.child_count() as i32);
        for name in self.db.nodes().child_names(node) {
            jute::put_string(out, name);
        }
    }

    /// READ or ADMIN lets in; without ADMIN the hashes of digest ids are hidden.
    fn get_acl(&self, request: PathRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        let node = self.node(request.path.as_ref())?;
        self.check_acl(node, perms::READ | perms::ADMIN)?;
        let list = self.db.acl_of(node).ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let stat = self.db.stat(node);
        match self.check_acl(node, perms::ADMIN) {
            Ok(()) => put_acl_and_stat(out, list, &stat),
            Err(_) => put_acl_and_stat(out, &acl::masked(list), &stat),
        }
        Ok(())
    }

    /// With the checks of a multi's `check`, in their order; nothing but the error code is answered.
    fn check_version(&self, request: PathVersionRequest<'_>) -> Result<(), ErrorCode> {
        let path = request.path.filter(|p| path::is_valid(p)).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let node = self.db.find(&path).ok_or(ErrorCode::NO_NODE)?;
        self.check_acl(node, perms::READ)?;
        if request.version == -1 || request.version == node.stat.version {
            Ok(())
        } else {
            Err(ErrorCode::BAD_VERSION)
        }
    }

    fn check_or_remove(&self, op: OpCode, request: WatchRequest<'_>) -> Result<(), ErrorCode> {
        let kind =
            WatcherType::from_wire(request.kind, self.rules.modern).ok_or(ErrorCode::MARSHALLING_ERROR)?;
        // No watch is ever kept for a null path.
        let path = request.path.ok_or(ErrorCode::NO_WATCHER)?;
        let mut watches = self.db.watches.lock();
        let found = match op {
            OpCode::CHECK_WATCHES => watches.contains(&path, self.conn, kind),
            _ => watches.remove(&path, self.conn, kind),
        };
        if found { Ok(()) } else { Err(ErrorCode::NO_WATCHER) }
    }

    fn add_watch(&self, request: WatchRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        let mode = match request.kind {
            0 => Mode::PERSISTENT,
            1 => Mode::RECURSIVE,
            _ => return Err(ErrorCode::MARSHALLING_ERROR),
        };
        let path = request.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        self.db.watches.lock().add_persistent(&path, self.conn, mode);
        out.put_i32(ErrorCode::OK.0);
        Ok(())
    }

    fn multi_read(&self, body: &[u8], out: &mut BytesMut) -> Result<(), Failure> {
        let ops = multi::decode_reads(body, self.limits()).map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
        let begin = out.len();
        for op in ops {
            let at = out.len();
            // A small request may ask for the same large node many times over.
            if at - begin > self.limits().max_field.saturating_mul(4) {
                return Err(ErrorCode::MARSHALLING_ERROR.into());
            }
            let kind = match op {
                MultiReadOp::GetData(_) => OpCode::GET_DATA,
                MultiReadOp::GetChildren(_) => OpCode::GET_CHILDREN,
            };
            jute::put(out, &MultiHeader { kind: kind.0, done: false, err: 0 });
            // Java's decoder drops the watch flag of these.
            let result = match op {
                MultiReadOp::GetData(request) => self.get_data(ReadRequest { watch: false, ..request }, out),
                MultiReadOp::GetChildren(request) => self
                    .children(ReadRequest { watch: false, ..request })
                    .map(|node| self.put_children(node, out)),
            };
            match result {
                Ok(()) => {}
                Err(err) => {
                    out.truncate(at);
                    if err == ErrorCode::MARSHALLING_ERROR {
                        jute::put(out, &MultiHeader::END);
                        return Err(Failure { err, keeps_body: true });
                    }
                    put_multi_error(out, err);
                }
            }
        }
        jute::put(out, &MultiHeader::END);
        Ok(())
    }

    fn get_ephemerals(&self, request: PathRequest<'_>, out: &mut BytesMut) {
        let prefix = request
            .path
            .as_deref()
            .filter(|p| !matches!(p.trim_matches(|c| c <= ' '), "" | "/"))
            .unwrap_or("");
        let paths: Vec<&str> =
            self.db.ephemerals_of(self.session).filter(|p| p.starts_with(prefix)).collect();
        jute::put(out, &paths);
    }

    fn count_descendants(&self, request: PathRequest<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        let node = self.node(request.path.as_ref())?;
        self.check_acl(node, perms::READ)?;
        let nodes = self.db.nodes();
        if node.path().is_empty() {
            out.put_i32((nodes.len() - 1) as i32);
            return Ok(());
        }
        let mut count = 0i32;
        let mut left: Vec<&Node> = nodes.children(node).collect();
        while let Some(node) = left.pop() {
            count = count.wrapping_add(1);
            left.extend(nodes.children(node));
        }
        out.put_i32(count);
        Ok(())
    }

    fn who_am_i(&self, out: &mut BytesMut) {
        let infos: Vec<(&str, &str)> = self
            .auth
            .iter()
            .map(|id| match id.scheme.as_str() {
                "digest" => ("digest", id.id.split(':').next().unwrap_or("")),
                "ip" => ("ip", id.id.as_str()),
                // No provider knows `super`.
                other => (other, ""),
            })
            .collect();
        jute::put(out, &infos);
    }

    /// Re-arms what a client held when it last saw `relative_zxid`, and tells it what it has missed.
    fn set_watches(
        &self,
        op: OpCode,
        body: &[u8],
        out: &mut BytesMut,
        events: &mut u64,
    ) -> Result<(), ErrorCode> {
        type Paths<'b> = Option<Vec<Option<Ustring<'b>>>>;
        let malformed = |_| ErrorCode::MARSHALLING_ERROR;
        let (relative, rest): (Zxid, _) = jute::take_from_bytes(body, self.limits()).map_err(malformed)?;
        let (lists, rest): ([Paths<'_>; 3], _) =
            jute::take_from_bytes(rest, self.limits()).map_err(malformed)?;
        let [data, exist, child] = lists;
        let more: Option<[Paths<'_>; 2]> = match op {
            OpCode::SET_WATCHES2 => Some(jute::from_bytes(rest, self.limits()).map_err(malformed)?),
            _ => None,
        };

        let mut watches = self.db.watches.lock();
        let mut tell = |kind, path: &str| {
            *events += 1;
            put_event(out, kind, path);
        };
        each(data, |path| match self.db.find(path) {
            None => tell(EventType::NodeDeleted, path),
            Some(node) if node.stat.mzxid > relative => tell(EventType::NodeDataChanged, path),
            Some(_) => watches.add_data(path, self.conn),
        })?;
        each(exist, |path| match self.db.find(path) {
            Some(_) => tell(EventType::NodeCreated, path),
            None => watches.add_data(path, self.conn),
        })?;
        each(child, |path| match self.db.find(path) {
            None => tell(EventType::NodeDeleted, path),
            Some(node) if node.stat.pzxid > relative => tell(EventType::NodeChildrenChanged, path),
            Some(_) => watches.add_child(path, self.conn),
        })?;
        let Some([persistent, recursive]) = more else { return Ok(()) };
        each(persistent, |path| watches.add_persistent(path, self.conn, Mode::PERSISTENT))?;
        each(recursive, |path| watches.add_persistent(path, self.conn, Mode::RECURSIVE))
    }
}

/// A null list or path stops Java half-way through, with what came before done.
fn each(paths: Option<Vec<Option<Ustring<'_>>>>, mut act: impl FnMut(&str)) -> Result<(), ErrorCode> {
    let paths = paths.ok_or(ErrorCode::MARSHALLING_ERROR)?;
    let all = paths.iter().try_for_each(|path| match path {
        Some(path) => {
            act(path);
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    });
    if all.is_break() { Err(ErrorCode::MARSHALLING_ERROR) } else { Ok(()) }
}

/// One failed op in a multi's reply.
pub fn put_multi_error(out: &mut BytesMut, err: ErrorCode) {
    jute::put(out, &MultiHeader { kind: OpCode::ERROR.0, done: false, err: err.0 });
    out.put_i32(err.0);
}
