//! Sessions that only this server knows (B§1.8; `LocalSessionTracker`, `UpgradeableSessionTracker`,
//! `QuorumZooKeeperServer.checkUpgradeSession`): opening, closing and expiring them costs no txn. They have no ephemerals; one
//! that asks for some is made global first, where that is allowed.

use super::{CloseReason, Handshake, Now, Output, Replica, Request, Waiting};
use crate::{
    db::Database,
    ids::{ConnId, Millis, SessionId},
    pipeline::{
        multi::{self, MultiOp},
        prep::WriteRequest,
    },
    proto::{
        ErrorCode, OpCode,
        client::{CreateMode, CreateRequest},
    },
    session::Owner,
};

/// localSessionsEnabled, localSessionsUpgradingEnabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSessions {
    pub upgrading: bool,
}

impl Replica {
    /// Whether a new session is to be a local one.
    pub(super) fn opens_locally(&self) -> bool {
        self.config.local_sessions.is_some()
    }

    pub(super) fn open_locally(&mut self, now: Now, conn: ConnId, handshake: Handshake, received: Millis) {
        let session = self.sessions.next_id();
        let lease = self.locals.add(session, handshake.timeout_ms, now.mono);
        tracing::debug!("Adding local session {session}");
        self.attach(conn, session, handshake);
        self.session_opened(conn, session, handshake, lease, Some(received));
    }

    /// What a local session's write needs first. False: the request has been dealt with.
    pub(super) fn prepare_local(&mut self, now: Now, request: &Request, db: &Database) -> bool {
        let Request { conn, session, xid, op, received, .. } = *request;
        if !self.locals.contains(session) {
            return true;
        }
        if op == OpCode::CLOSE_SESSION {
            self.wait(conn, Waiting::CloseLocal { xid, received });
            self.answer_reads(conn, db);
            return false;
        }
        if !asks_for_ephemerals(op, &request.body, db) {
            return true;
        }
        if !self.config.local_sessions.is_some_and(|local| local.upgrading) {
            let err = ErrorCode::EPHEMERAL_ON_LOCAL_SESSION;
            self.wait(conn, Waiting::Refused { xid, op, err, empty_multi: false, received });
            self.answer_reads(conn, db);
            return false;
        }
        self.upgrade(now, conn, session, db);
        true
    }

    fn upgrade(&mut self, now: Now, conn: ConnId, session: SessionId, db: &Database) {
        let Some(timeout_ms) = self.conns.get(&conn).map(|state| state.handshake.timeout_ms) else { return };
        tracing::info!("Upgrading session {session}");
        self.locals.move_to(&mut self.sessions, session, now.mono);
        let body = timeout_ms.to_be_bytes();
        if self.peer.forwards() {
            return self.forward(session, 0, OpCode::CREATE_SESSION, &body, &[]);
        }
        self.sessions.set_owner(session, Owner::Local);
        let write = WriteRequest {
            session,
            owner: Owner::Local,
            cxid: 0,
            op: OpCode::CREATE_SESSION,
            body: &body,
            auth: &[],
            is_local: false,
        };
        self.propose_own(now, write, db);
    }

    pub(super) fn expire_locals(&mut self, now: Now) {
        for (session, timeout_ms) in self.locals.handle_timeout(now.mono) {
            tracing::info!("Expiring session {session}, timeout of {timeout_ms}ms exceeded");
            self.locals.remove(session);
            if let Some(conn) = self.by_session.get(&session).copied() {
                self.forget_conn(conn);
                self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::SessionExpired });
            }
        }
    }
}

/// createTTL and createContainer never do, as in Java.
fn asks_for_ephemerals(op: OpCode, body: &[u8], db: &Database) -> bool {
    let limits = db.options().limits;
    let is_ephemeral = |request: &CreateRequest<'_>| {
        CreateMode::from_flag(request.flags).is_some_and(CreateMode::is_ephemeral)
    };
    match op {
        OpCode::CREATE | OpCode::CREATE2 => {
            crate::jute::from_bytes::<CreateRequest<'_>>(body, limits).is_ok_and(|r| is_ephemeral(&r))
        }
        OpCode::MULTI => multi::decode(body, limits).is_ok_and(|ops| {
            ops.iter().any(|op| matches!(op, MultiOp::Create { request, .. } if is_ephemeral(request)))
        }),
        _ => false,
    }
}
