//! Requests and sessions of this server's own clients.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, BytesMut};

use super::{
    ARENA, ARENA_LOW, CloseReason, Conn, Done, Handshake, Now, Opened, Output, Replica, Request, Waiting,
};
use crate::{
    db::Database,
    ids::{ConnId, Millis, SessionId, Zxid},
    pipeline::{
        prep::{Prep, Prepared, WriteRequest},
        read::{self, Reader},
        reply,
    },
    proto::{ErrorCode, OpCode, client::put_connect_response, data::AclId},
    session::{self, Lease, Owner},
};

impl Replica {
    pub(super) fn request(&mut self, now: Now, request: Request, db: &Database) {
        if request.op == OpCode::SYNC && self.peer.forwards() {
            return self.sync(request);
        }
        if read::is_read(request.op, self.config.read) {
            return self.read(request, db);
        }
        if read::is_write(request.op) && !self.prepare_local(now, &request, db) {
            return;
        }
        let Request { conn, session, xid, op, ref body, ref auth, received } = request;
        if !read::is_write(op) {
            tracing::warn!(%session, "Received packet at server of unknown type {}", op.0);
            let refused =
                Waiting::Refused { xid, op, err: ErrorCode::UNIMPLEMENTED, empty_multi: false, received };
            self.wait(conn, refused);
            return self.answer_reads(conn, db);
        }
        if self.peer.forwards() {
            self.forward(session, xid, op, body, auth);
            return self.wait(conn, Waiting::Write { zxid: None, xid, op, received });
        }
        let is_local = self.locals.contains(session);
        let write = WriteRequest { session, owner: Owner::Local, cxid: xid, op, body, auth, is_local };
        match self.propose(now, write, Some(conn), db) {
            Ok(zxid) => self.wait(conn, Waiting::Write { zxid: Some(zxid), xid, op, received }),
            Err((err, empty_multi)) => {
                self.wait(conn, Waiting::Refused { xid, op, err, empty_multi, received });
                self.answer_reads(conn, db);
            }
        }
    }

    /// The answer comes once what the leader has committed so far is applied here (B§3.8).
    fn sync(&mut self, request: Request) {
        let Some(state) = self.conns.get_mut(&request.conn) else { return };
        self.syncing.push_back(request.conn);
        let (session, xid, body, auth) =
            (request.session, request.xid, request.body.clone(), request.auth.clone());
        state.waiting.push_back(Waiting::Sync(request));
        self.forward(session, xid, OpCode::SYNC, &body, &auth);
    }

    pub(super) fn forward(&mut self, session: SessionId, xid: i32, op: OpCode, body: &[u8], auth: &[AclId]) {
        let mut data = BytesMut::with_capacity(16 + body.len());
        data.put_i64(session.0);
        data.put_i32(xid);
        data.put_i32(op.0);
        data.put_slice(body);
        self.peer.forward(data.freeze(), auth.to_vec());
    }

    fn read(&mut self, request: Request, db: &Database) {
        let conn = request.conn;
        let sessions = match self.locals.contains(request.session) {
            true => &mut self.locals,
            false => &mut self.sessions,
        };
        let waiting = match sessions.check(request.session, Owner::Local) {
            Ok(()) => Waiting::Read(request),
            Err(err) => {
                let Request { xid, op, received, .. } = request;
                Waiting::Refused { xid, op, err, empty_multi: false, received }
            }
        };
        self.wait(conn, waiting);
        self.answer_reads(conn, db);
    }

    /// A connection that has been let go of may still have requests on their way here: nobody waits for those.
    pub(super) fn wait(&mut self, conn: ConnId, waiting: Waiting) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.waiting.push_back(waiting);
        }
    }

    /// Answers what stands at the front of a connection's queue, up to its next write.
    pub(super) fn answer_reads(&mut self, conn: ConnId, db: &Database) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        while let Some(waiting) = state.waiting.front() {
            let done = match waiting {
                Waiting::Write { .. } | Waiting::Open { .. } | Waiting::Sync(_) => return,
                Waiting::CloseLocal { xid, received } => {
                    let (xid, received, session, op) =
                        (*xid, *received, state.session, OpCode::CLOSE_SESSION);
                    reply::refusal(&mut self.arena, xid, db.last_zxid(), ErrorCode::OK, false);
                    let done = Done { xid, op, zxid: db.last_zxid(), received, frames: 1 };
                    self.outputs.push_back(Output::Reply { conn, bytes: self.arena.split().freeze(), done });
                    self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::ClosedByClient });
                    self.locals.remove(session);
                    return self.forget_conn(conn);
                }
                Waiting::Read(request) => {
                    let reader = Reader {
                        db,
                        conn,
                        session: request.session,
                        auth: &request.auth,
                        rules: self.config.read,
                    };
                    let frames =
                        read::answer(reader, request.op, request.xid, &request.body, &mut self.arena);
                    let Request { xid, op, received, .. } = *request;
                    Done { xid, op, zxid: db.last_zxid(), received, frames }
                }
                Waiting::Refused { xid, op, err, empty_multi, received } => {
                    if *err == ErrorCode::SESSION_MOVED {
                        self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::SessionMoved });
                        return self.forget_conn(conn);
                    }
                    // `UnimplementedRequestProcessor`: no zxid, and the connection ends.
                    let unknown = !read::is_known(*op, self.config.read);
                    let zxid = if unknown { Zxid(-1) } else { db.last_zxid() };
                    reply::refusal(&mut self.arena, *xid, zxid, *err, *empty_multi);
                    let done = Done { xid: *xid, op: *op, zxid, received: *received, frames: 1 };
                    if unknown {
                        let bytes = self.arena.split().freeze();
                        self.outputs.push_back(Output::Reply { conn, bytes, done });
                        self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::UnknownRequest });
                        self.forget_conn(conn);
                        return;
                    }
                    done
                }
            };
            state.waiting.pop_front();
            self.outputs.push_back(Output::Reply { conn, bytes: self.arena.split().freeze(), done });
        }
    }

    /// Proposes a write, where this server leads.
    pub(super) fn propose(
        &mut self,
        now: Now,
        write: WriteRequest<'_>,
        conn: Option<ConnId>,
        db: &Database,
    ) -> Result<Zxid, (ErrorCode, bool)> {
        if !self.peer.may_propose(now.mono) {
            self.pump(db);
            return Err((ErrorCode::CONNECTION_LOSS, false));
        }
        if self.arena.capacity() < ARENA_LOW {
            self.arena.reserve(ARENA);
        }
        let mut prep = Prep {
            db,
            projection: &mut self.projection,
            sessions: &mut self.sessions,
            rules: self.config.prep,
            wall_now: now.wall,
            mono_now: now.mono,
            arena: &mut self.arena,
        };
        let peer = &mut self.peer;
        match prep.prepare(write, || peer.next_zxid()) {
            Prepared::Refused { err, empty_multi } => Err((err, empty_multi)),
            Prepared::Txn { zxid, bytes } => {
                self.peer.propose(now.mono, zxid, bytes);
                self.proposed.push_back((zxid, conn));
                self.carry_peer_outputs();
                Ok(zxid)
            }
        }
    }

    pub(super) fn propose_own(&mut self, now: Now, write: WriteRequest<'_>, db: &Database) {
        if let Err((err, _)) = self.propose(now, write, None, db) {
            tracing::warn!(?err, op = ?write.op, "the server's own request was refused");
        }
    }

    pub(super) fn open_session(
        &mut self,
        now: Now,
        conn: ConnId,
        handshake: Handshake,
        received: Millis,
        db: &Database,
    ) {
        if self.standing.is_none() {
            return self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::NotServing });
        }
        if self.opens_locally() {
            return self.open_locally(now, conn, handshake, received);
        }
        let session = self.sessions.next_id();
        let lease = self.sessions.add(session, handshake.timeout_ms, now.mono);
        self.sessions.set_owner(session, Owner::Local);
        let body = handshake.timeout_ms.to_be_bytes();
        self.attach(conn, session, handshake);
        if self.peer.forwards() {
            self.forward(session, 0, OpCode::CREATE_SESSION, &body, &[]);
            return self.wait(conn, Waiting::Open { lease, received });
        }
        let write = WriteRequest {
            session,
            owner: Owner::Local,
            cxid: 0,
            op: OpCode::CREATE_SESSION,
            body: &body,
            auth: &[],
            is_local: false,
        };
        match self.propose(now, write, Some(conn), db) {
            Ok(_) => self.wait(conn, Waiting::Open { lease, received }),
            Err((err, _)) => {
                tracing::error!("createSession was refused: {err:?}");
                self.forget_conn(conn);
                self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::NotServing });
            }
        }
    }

    pub(super) fn attach(&mut self, conn: ConnId, session: SessionId, handshake: Handshake) {
        let state = Conn { session, handshake, waiting: VecDeque::new(), lease: None, told: 0 };
        self.conns.insert(conn, state);
        self.by_session.insert(session, conn);
    }

    /// Whoever holds the session here is cut off before the password is looked at, as in Java (B§1.3).
    pub(super) fn resume_session(
        &mut self,
        now: Now,
        conn: ConnId,
        handshake: Handshake,
        session: SessionId,
        passwd: Option<&[u8]>,
    ) {
        if self.standing.is_none() {
            return self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::NotServing });
        }
        if let Some(old) = self.by_session.remove(&session) {
            self.conns.remove(&old);
            self.outputs.push_back(Output::CloseConn { conn: old, why: CloseReason::SessionReopened });
        }
        let wrong_password = !session::password_matches(session, passwd);
        let is_local = self.locals.contains(session);
        if self.peer.forwards() && !wrong_password && !is_local {
            if let Some((old, _)) = self.resuming.insert(session, (conn, handshake)) {
                self.outputs.push_back(Output::CloseConn { conn: old, why: CloseReason::SessionReopened });
            }
            self.peer.revalidate(session, handshake.timeout_ms);
            return self.carry_peer_outputs();
        }
        let lease = match wrong_password {
            true => None,
            false if is_local => self.locals.touch(session, handshake.timeout_ms, now.mono),
            false => self.sessions.touch(session, handshake.timeout_ms, now.mono),
        };
        self.resumed(conn, handshake, session, lease, wrong_password);
    }

    pub(super) fn resumed(
        &mut self,
        conn: ConnId,
        handshake: Handshake,
        session: SessionId,
        lease: Option<Arc<Lease>>,
        wrong_password: bool,
    ) {
        match lease {
            Some(lease) => {
                self.sessions.set_owner(session, Owner::Local);
                self.attach(conn, session, handshake);
                self.session_opened(conn, session, handshake, lease, None);
            }
            None => {
                put_connect_response(&mut self.arena, SessionId::NONE, 0, &[0; 16], handshake.with_read_only);
                let bytes = self.arena.split().freeze();
                self.outputs.push_back(Output::SessionRefused { conn, bytes, session, wrong_password });
            }
        }
    }

    pub(super) fn session_opened(
        &mut self,
        conn: ConnId,
        session: SessionId,
        handshake: Handshake,
        lease: Arc<Lease>,
        received: Option<Millis>,
    ) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.lease = Some(lease.clone());
        }
        put_session(&mut self.arena, session, handshake);
        let bytes = self.arena.split().freeze();
        let opened = Opened { session, timeout_ms: handshake.timeout_ms, lease, received };
        self.outputs.push_back(Output::SessionOpened { conn, bytes, opened });
    }

    pub(super) fn close_session(&mut self, now: Now, session: SessionId, db: &Database) {
        let write = WriteRequest {
            session,
            owner: Owner::Local,
            cxid: 0,
            op: OpCode::CLOSE_SESSION,
            body: &[],
            auth: &[],
            is_local: false,
        };
        self.propose_own(now, write, db);
    }

    pub(super) fn conn_closed(&mut self, conn: ConnId, db: &Database) {
        db.watches.lock().remove_conn(conn);
        self.resuming.retain(|_, (waiting, _)| *waiting != conn);
        self.forget_conn(conn);
    }

    pub(super) fn forget_conn(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.remove(&conn)
            && self.by_session.get(&state.session) == Some(&conn)
        {
            self.by_session.remove(&state.session);
        }
    }
}

pub(super) fn put_session(out: &mut BytesMut, session: SessionId, handshake: Handshake) {
    let passwd = session::password(session);
    put_connect_response(out, session, handshake.timeout_ms, &passwd, handshake.with_read_only);
}
