//! Request → txn: every check of a write, in Java's order, against the projection (B§1.7; `PrepRequestProcessor`).
//!
//! Invariants:
//! 1. Every write takes a zxid before it is checked, and a failed one is logged as an ErrorTxn with it. Exceptions: a
//!    reconfig that cannot be decoded takes none; a multi with a null path takes one and logs nothing.
//! 2. Nothing that cannot be applied or read back is ever proposed: what would stop a 3.5.7 server when applied or replayed
//!    (B§13) is refused here, and `readable` refuses what has grown beyond what a reader takes.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    multi::{self, MultiOp},
    projection::{ChangeRecord, Projection},
};
use crate::{
    db::{
        Database, acl,
        owner::{self, Owner as NodeOwner},
        path,
    },
    ids::{Millis, SessionId, Zxid},
    jute::{self, Limits},
    proto::{
        ErrorCode, OpCode,
        client::{
            CreateMode, CreateRequest, CreateTtlRequest, PathVersionRequest, ReconfigRequest, SetAclRequest,
            SetDataRequest,
        },
        data::{AclId, perms},
        txn::{
            self, CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, DeleteTxn,
            ErrorTxn, SetAclTxn, SetDataTxn, Txn, TxnHeader,
        },
    },
    session::{Owner, SessionTracker},
};

/// Settings that decide what a write may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrepRules {
    pub skip_acl: bool,
    pub reconfig_enabled: bool,
    /// In an ensemble: whatever comes in becomes a txn, since a learner answers by it and no zxid may be left out
    /// (3.6+ followers give up a leader whose proposals have a gap).
    pub always_logged: bool,
    /// Where local sessions are on: this server's id, as the first byte of its sessions' ids. Those of others may be unknown here
    /// (`LeaderSessionTracker.checkSession`).
    pub local_sessions_of: Option<u8>,
}

/// A write as prep sees it.
#[derive(Clone, Copy)]
pub struct WriteRequest<'a> {
    pub session: SessionId,
    pub owner: Owner,
    pub cxid: i32,
    pub op: OpCode,
    pub body: &'a [u8],
    pub auth: &'a [AclId],
    /// Of a session that only this server knows.
    pub is_local: bool,
}

/// What became of a write.
pub enum Prepared {
    /// To be proposed: header and record, encoded.
    Txn { zxid: Zxid, bytes: Bytes },
    /// Answered at its turn without a txn. `empty_multi`: with the body of a multi that has no results, as Java does.
    Refused { err: ErrorCode, empty_multi: bool },
}

/// What prep may look at and change.
pub struct Prep<'a> {
    pub db: &'a Database,
    pub projection: &'a mut Projection,
    pub sessions: &'a mut SessionTracker,
    pub rules: PrepRules,
    pub wall_now: Millis,
    pub mono_now: Millis,
    /// Txns are encoded behind each other into one buffer, a batch's worth at a time.
    pub arena: &'a mut BytesMut,
}

impl Prep<'_> {
    /// Prepares one write. `next_zxid` is called once, unless nothing is to be numbered.
    pub fn prepare(&mut self, request: WriteRequest<'_>, next_zxid: impl FnOnce() -> Zxid) -> Prepared {
        let limits = self.limits();
        if request.op == OpCode::RECONFIG
            && !self.rules.always_logged
            && jute::from_bytes::<ReconfigRequest<'_>>(request.body, limits).is_err()
        {
            return Prepared::Refused { err: ErrorCode::MARSHALLING_ERROR, empty_multi: false };
        }
        let zxid = next_zxid();
        let header = TxnHeader {
            session: request.session,
            cxid: request.cxid,
            zxid,
            time: self.wall_now,
            kind: request.op.0,
        };
        if request.op == OpCode::MULTI {
            return self.multi(request, header);
        }
        match self.write(request, zxid) {
            Ok(txn) => txn::encode(&header, &txn, self.arena),
            Err(err) => return self.failed(header, err),
        }
        self.readable(header)
    }

    fn limits(&self) -> Limits {
        self.db.options().limits
    }

    /// What has been encoded, unless nobody could read such a txn back (ZOOKEEPER-2101): `auth` in an ACL may stand for
    /// more than the request had bytes.
    fn readable(&mut self, header: TxnHeader) -> Prepared {
        if self.arena.len() > self.limits().max_field {
            self.projection.roll_back(header.zxid);
            self.arena.clear();
            return self.failed(header, ErrorCode::MARSHALLING_ERROR);
        }
        Prepared::Txn { zxid: header.zxid, bytes: self.arena.split().freeze() }
    }

    fn logged(&mut self, header: TxnHeader, txn: &Txn<'_>) -> Prepared {
        txn::encode(&header, txn, self.arena);
        Prepared::Txn { zxid: header.zxid, bytes: self.arena.split().freeze() }
    }

    fn failed(&mut self, header: TxnHeader, err: ErrorCode) -> Prepared {
        let header = TxnHeader { kind: OpCode::ERROR.0, ..header };
        self.logged(header, &Txn::Error(ErrorTxn { err: err.0 }))
    }

    fn write<'a>(&mut self, request: WriteRequest<'a>, zxid: Zxid) -> Result<Txn<'a>, ErrorCode> {
        let body = request.body;
        match request.op {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
                let create: CreateRequest<'a> = self.decode(body)?;
                self.create(request, zxid, request.op, create, -1)
            }
            OpCode::CREATE_TTL => {
                let CreateTtlRequest { path, data, acl, flags, ttl } = self.decode(body)?;
                self.create(request, zxid, request.op, CreateRequest { path, data, acl, flags }, ttl)
            }
            OpCode::DELETE => {
                self.check_session(request)?;
                let delete = self.decode(body)?;
                self.delete(request, zxid, delete)
            }
            OpCode::DELETE_CONTAINER => self.delete_container(request, zxid),
            OpCode::SET_DATA => {
                self.check_session(request)?;
                let set = self.decode(body)?;
                self.set_data(request, zxid, set)
            }
            OpCode::SET_ACL => {
                self.check_session(request)?;
                let set = self.decode(body)?;
                self.set_acl(request, zxid, set)
            }
            OpCode::RECONFIG if !self.rules.reconfig_enabled => Err(ErrorCode::RECONFIG_DISABLED),
            OpCode::RECONFIG => {
                self.check_session(request)?;
                Err(ErrorCode::UNIMPLEMENTED)
            }
            OpCode::CREATE_SESSION => {
                let txn: CreateSessionTxn = self.decode(body)?;
                self.sessions.add(request.session, txn.timeout_ms, self.mono_now);
                Ok(Txn::CreateSession(txn))
            }
            OpCode::CLOSE_SESSION => {
                for path in self.projection.ephemerals_of(self.db, request.session) {
                    self.projection.delete(zxid, &path);
                }
                self.sessions.set_closing(request.session);
                Ok(Txn::CloseSession)
            }
            _ => Err(ErrorCode::UNIMPLEMENTED),
        }
    }

    fn decode<'a, T: serde::Deserialize<'a>>(&self, body: &'a [u8]) -> Result<T, ErrorCode> {
        jute::from_bytes(body, self.limits()).map_err(|_| ErrorCode::MARSHALLING_ERROR)
    }

    fn check_session(&mut self, request: WriteRequest<'_>) -> Result<(), ErrorCode> {
        if request.is_local {
            return Ok(());
        }
        match (self.sessions.check(request.session, request.owner), self.rules.local_sessions_of) {
            (Err(ErrorCode::UNKNOWN_SESSION), Some(own)) if (request.session.0 >> 56) as u8 != own => Ok(()),
            (Err(ErrorCode::UNKNOWN_SESSION), Some(_)) => Err(ErrorCode::SESSION_EXPIRED),
            (checked, _) => checked,
        }
    }

    fn check_acl(&self, record: &ChangeRecord, wanted: i32, auth: &[AclId]) -> Result<(), ErrorCode> {
        acl::check(record.acl.as_deref(), wanted, auth, self.rules.skip_acl)
    }

    fn record(&self, path: &str) -> Result<ChangeRecord, ErrorCode> {
        self.projection.get(self.db, path).ok_or(ErrorCode::NO_NODE)
    }

    fn create<'a>(
        &mut self,
        request: WriteRequest<'_>,
        zxid: Zxid,
        kind: OpCode,
        create: CreateRequest<'a>,
        ttl: i64,
    ) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_flag(create.flags).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        self.check_mode(kind, mode, ttl)?;
        if mode.is_ephemeral() {
            self.sessions.check_global(request.session, request.owner)?;
        } else {
            self.check_session(request)?;
        }
        let mut path = create.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let (parent_path, _) = path::split(&path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if path.contains('\0') {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let parent_path = parent_path.to_owned();
        let acl = acl::fix_up(create.acl.as_deref(), request.auth, self.limits().max_field)?;
        let mut parent = self.record(&parent_path)?;
        self.check_acl(&parent, perms::CREATE, request.auth)?;
        if mode.is_sequential() {
            path = format!("{}{}", path.as_str(), sequence(parent.cversion)).into();
        }
        if !path::is_valid(&path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if self.projection.get(self.db, &path).is_some() {
            return Err(ErrorCode::NODE_EXISTS);
        }
        if self.db.owner(parent.ephemeral_owner) == NodeOwner::Session {
            return Err(ErrorCode::NO_CHILDREN_FOR_EPHEMERALS);
        }
        let parent_cversion = parent.cversion.wrapping_add(1);
        parent.cversion = parent_cversion;
        parent.child_count += 1;
        self.projection.put(zxid, &parent_path, parent);
        self.projection.put(
            zxid,
            &path,
            ChangeRecord {
                version: 0,
                cversion: 0,
                aversion: 0,
                ephemeral_owner: if mode.is_ephemeral() { request.session.0 } else { 0 },
                child_count: 0,
                acl: Some(acl.as_slice().into()),
            },
        );
        let data = create.data;
        Ok(match kind {
            OpCode::CREATE_CONTAINER => {
                Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion })
            }
            OpCode::CREATE_TTL => Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl }),
            _ => Txn::Create(CreateTxn { path, data, acl, ephemeral: mode.is_ephemeral(), parent_cversion }),
        })
    }

    /// `EphemeralType.validateTTL`, and the case it forgets: op 21 with a plain flag and a negative ttl passes in 3.5.7 and
    /// stops the server when it is applied (B§2.2).
    fn check_mode(&self, kind: OpCode, mode: CreateMode, ttl: i64) -> Result<(), ErrorCode> {
        if mode.is_ttl() && !self.db.options().owners.extended_types {
            return Err(ErrorCode::UNIMPLEMENTED);
        }
        let fits =
            if mode.is_ttl() { owner::of_ttl(ttl).is_some() } else { ttl < 0 && kind != OpCode::CREATE_TTL };
        if fits { Ok(()) } else { Err(ErrorCode::BAD_ARGUMENTS) }
    }

    fn delete<'a>(
        &mut self,
        request: WriteRequest<'_>,
        zxid: Zxid,
        delete: PathVersionRequest<'a>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let path = delete.path.ok_or(ErrorCode::MARSHALLING_ERROR)?;
        let (parent, node) = self.parent_and_node(&path)?;
        self.check_acl(&parent, perms::DELETE, request.auth)?;
        check_version(node.version, delete.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        self.note_delete(zxid, &path, parent);
        Ok(Txn::Delete(DeleteTxn { path }))
    }

    /// Internal, from the container reaper. A client's op 20 never gets past the path: Java reads it from the buffer with
    /// the request header's NULs in front (B§1.5).
    fn delete_container<'a>(&mut self, request: WriteRequest<'a>, zxid: Zxid) -> Result<Txn<'a>, ErrorCode> {
        if request.session != SessionId::NONE {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let path = std::str::from_utf8(request.body).map_err(|_| ErrorCode::BAD_ARGUMENTS)?;
        let (parent, node) = self.parent_and_node(path)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NOT_EMPTY);
        }
        if self.db.owner(node.ephemeral_owner) == NodeOwner::Session {
            return Err(ErrorCode::BAD_VERSION);
        }
        self.note_delete(zxid, path, parent);
        Ok(Txn::Delete(DeleteTxn { path: path.into() }))
    }

    fn parent_and_node(&self, path: &str) -> Result<(ChangeRecord, ChangeRecord), ErrorCode> {
        let (parent, _) = path::split(path).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        if path.contains('\0') || path::is_special(path) {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        Ok((self.record(parent)?, self.record(path)?))
    }

    fn note_delete(&mut self, zxid: Zxid, path: &str, mut parent: ChangeRecord) {
        parent.child_count -= 1;
        if let Some((parent_path, _)) = path::split(path) {
            self.projection.put(zxid, parent_path, parent);
        }
        self.projection.delete(zxid, path);
    }

    fn set_data<'a>(
        &mut self,
        request: WriteRequest<'_>,
        zxid: Zxid,
        set: SetDataRequest<'a>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let path = set.path.filter(|p| path::is_valid(p)).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let mut node = self.record(&path)?;
        self.check_acl(&node, perms::WRITE, request.auth)?;
        let version = check_version(node.version, set.version)?;
        node.version = version;
        self.projection.put(zxid, &path, node);
        Ok(Txn::SetData(SetDataTxn { path, data: set.data, version }))
    }

    fn set_acl<'a>(
        &mut self,
        request: WriteRequest<'_>,
        zxid: Zxid,
        set: SetAclRequest<'a>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let path = set.path.filter(|p| path::is_valid(p)).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let acl = acl::fix_up(set.acl.as_deref(), request.auth, self.limits().max_field)?;
        let mut node = self.record(&path)?;
        self.check_acl(&node, perms::ADMIN, request.auth)?;
        let version = check_version(node.aversion, set.version)?;
        node.aversion = version;
        self.projection.put(zxid, &path, node);
        Ok(Txn::SetAcl(SetAclTxn { path, acl, version }))
    }

    fn check<'a>(
        &mut self,
        request: WriteRequest<'_>,
        check: PathVersionRequest<'a>,
    ) -> Result<Txn<'a>, ErrorCode> {
        let path = check.path.filter(|p| path::is_valid(p)).ok_or(ErrorCode::BAD_ARGUMENTS)?;
        let node = self.record(&path)?;
        self.check_acl(&node, perms::READ, request.auth)?;
        let version = check_version(node.version, check.version)?;
        Ok(Txn::Check(CheckVersionTxn { path, version }))
    }

    fn multi(&mut self, request: WriteRequest<'_>, header: TxnHeader) -> Prepared {
        let Ok(ops) = multi::decode(request.body, self.limits()) else {
            return self.failed(header, ErrorCode::MARSHALLING_ERROR);
        };
        if !ops.iter().all(MultiOp::has_path) {
            if self.rules.always_logged {
                return self.failed(header, ErrorCode::MARSHALLING_ERROR);
            }
            return Prepared::Refused { err: ErrorCode::MARSHALLING_ERROR, empty_multi: true };
        }
        jute::put(self.arena, &header);
        self.arena.put_i32(ops.len() as i32);
        let mut failed = false;
        for op in ops {
            if failed {
                put_error(ErrorCode::RUNTIME_INCONSISTENCY, self.arena);
                continue;
            }
            match self.multi_op(request, header.zxid, op) {
                Ok((kind, txn)) => txn::encode_sub(kind, &txn, self.arena),
                // What is an exception of another kind in Java fails the whole multi, not one op of it.
                Err(ErrorCode::MARSHALLING_ERROR) => {
                    self.projection.roll_back(header.zxid);
                    self.arena.clear();
                    return self.failed(header, ErrorCode::MARSHALLING_ERROR);
                }
                Err(err) => {
                    self.projection.roll_back(header.zxid);
                    put_error(err, self.arena);
                    failed = true;
                }
            }
        }
        self.readable(header)
    }

    fn multi_op<'a>(
        &mut self,
        request: WriteRequest<'_>,
        zxid: Zxid,
        op: MultiOp<'a>,
    ) -> Result<(OpCode, Txn<'a>), ErrorCode> {
        Ok(match op {
            MultiOp::Create { kind, request: create } => {
                (kind, self.create(request, zxid, kind, create, -1)?)
            }
            MultiOp::CreateTtl(CreateTtlRequest { path, data, acl, flags, ttl }) => {
                let create = CreateRequest { path, data, acl, flags };
                (OpCode::CREATE_TTL, self.create(request, zxid, OpCode::CREATE_TTL, create, ttl)?)
            }
            MultiOp::Delete(delete) => {
                self.check_session(request)?;
                (OpCode::DELETE, self.delete(request, zxid, delete)?)
            }
            MultiOp::SetData(set) => {
                self.check_session(request)?;
                (OpCode::SET_DATA, self.set_data(request, zxid, set)?)
            }
            MultiOp::Check(check) => {
                self.check_session(request)?;
                (OpCode::CHECK, self.check(request, check)?)
            }
            MultiOp::Unpreparable { .. } => return Err(ErrorCode::MARSHALLING_ERROR),
        })
    }
}

fn put_error(err: ErrorCode, out: &mut BytesMut) {
    txn::encode_sub(OpCode::ERROR, &Txn::Error(ErrorTxn { err: err.0 }), out);
}

/// −1 matches anything; the new version wraps.
fn check_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != -1 && expected != current {
        return Err(ErrorCode::BAD_VERSION);
    }
    Ok(current.wrapping_add(1))
}

/// `String.format("%010d")`: ten places, the sign one of them.
fn sequence(counter: i32) -> String {
    format!("{counter:010}")
}
