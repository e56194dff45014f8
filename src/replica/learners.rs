//! What goes between a leader and its learners' clients: forwarded requests, sessions that are heard elsewhere, revalidation
//! (B§3.8; `LearnerHandler`, `LearnerSessionTracker`).

use bytes::{BufMut, BytesMut};

use super::{Replica, Waiting};
use crate::{
    db::Database,
    ids::{LinkId, SessionId, Zxid},
    pipeline::{prep::WriteRequest, read},
    proto::{OpCode, quorum::QuorumPacket},
    session::Owner,
};

impl Replica {
    /// A request of a learner's client. Whatever becomes of it becomes a txn, by which the learner answers.
    pub(super) fn forwarded(&mut self, link: LinkId, packet: QuorumPacket, db: &Database) {
        let data = packet.data.unwrap_or_default();
        let Some((head, body)) = data.split_first_chunk::<16>() else {
            return tracing::warn!("{link} forwards a request of {} bytes", data.len());
        };
        let [s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3, o0, o1, o2, o3] = *head;
        let session = SessionId(i64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let cxid = i32::from_be_bytes([c0, c1, c2, c3]);
        let op = OpCode(i32::from_be_bytes([o0, o1, o2, o3]));
        if op == OpCode::SYNC {
            self.peer.sync_learner(link);
            return;
        }
        // A check outside a multi must never become a txn (B§1.5), and nothing else is a learner's to forward.
        if !read::is_write(op) {
            return tracing::warn!("{link} forwards {op:?} of session {session}, which is no write");
        }
        let owner = Owner::Learner(link);
        let auth = packet.auth.unwrap_or_default();
        let write = WriteRequest { session, owner, cxid, op, body, auth: &auth, is_local: false };
        let proposed = self.propose(self.now, write, None, db);
        if op == OpCode::CREATE_SESSION && proposed.is_ok() {
            self.sessions.set_owner(session, owner);
        }
    }

    pub(super) fn revalidate(&mut self, link: LinkId, packet: QuorumPacket) {
        let data = packet.data.as_deref().unwrap_or_default();
        let (Some(id), Some(timeout)) =
            (data.first_chunk::<8>(), data.get(8..12).and_then(|t| t.first_chunk::<4>()))
        else {
            return tracing::warn!("{link} asks for a session with {} bytes", data.len());
        };
        let (session, timeout_ms) = (SessionId(i64::from_be_bytes(*id)), i32::from_be_bytes(*timeout));
        let valid = self.sessions.touch(session, timeout_ms, self.now.mono).is_some();
        if valid {
            self.sessions.set_owner(session, Owner::Learner(link));
        }
        self.peer.answer_revalidate(link, packet, valid);
    }

    /// `(session, timeout)` pairs of 12 bytes.
    pub(super) fn touched(&mut self, table: &[u8]) {
        for entry in table.chunks_exact(12) {
            let (id, timeout) = entry.split_at(8);
            let (Some(id), Some(timeout)) = (id.first_chunk(), timeout.first_chunk()) else { return };
            let session = SessionId(i64::from_be_bytes(*id));
            self.sessions.touch(session, i32::from_be_bytes(*timeout), self.now.mono);
        }
    }

    pub(super) fn answer_ping(&mut self, zxid: Zxid) {
        let mut table = BytesMut::new();
        for state in self.conns.values_mut() {
            let Some(lease) = &state.lease else { continue };
            if self.locals.contains(state.session) {
                continue;
            }
            let expires = lease.expires();
            if std::mem::replace(&mut state.told, expires) != expires {
                table.put_i64(state.session.0);
                table.put_i32(state.handshake.timeout_ms);
            }
        }
        self.peer.answer_ping(zxid, table.freeze());
    }

    pub(super) fn revalidated(&mut self, session: SessionId, valid: bool) {
        let Some((conn, handshake)) = self.resuming.remove(&session) else { return };
        let lease = valid.then(|| self.sessions.add(session, handshake.timeout_ms, self.now.mono));
        self.resumed(conn, handshake, session, lease, false);
    }

    /// The leader has answered the sync that has waited longest.
    pub(super) fn synced(&mut self, db: &Database) {
        let Some(conn) = self.syncing.pop_front() else { return };
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let Some(at) = state.waiting.iter().position(|w| matches!(w, Waiting::Sync(_))) else { return };
        if let Some(Waiting::Sync(request)) = state.waiting.remove(at) {
            state.waiting.insert(at, Waiting::Read(request));
        }
        self.answer_reads(conn, db);
    }
}
