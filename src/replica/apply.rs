//! What Zab delivers, applied to the database in order, and whoever waited for it answered.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{CloseReason, Done, Output, Replica, Waiting, clients::put_session};
use crate::{
    db::{Database, Outcome, watch::EventSink},
    ids::{ConnId, Zxid},
    pipeline::{projection::Projection, reply},
    proto::{
        ErrorCode, OpCode,
        client::{EventType, put_event},
        txn::{self, TxnHeader},
    },
    zab::{Standing, effects::Delivery},
};

impl Replica {
    /// Whether [`Replica::apply_committed`] has something to do.
    pub fn has_committed(&self) -> bool {
        self.peer.has_delivery() || self.arriving.is_some()
    }

    /// Applies what is decided, in order, and answers whoever waited: the write, then the reads behind it.
    ///
    /// The driver carries outputs out after each call, and calls again while [`Replica::has_committed`]: when a database has
    /// been put into place, its snapshot is taken before anything is applied to it.
    pub fn apply_committed(&mut self, db: &mut Database) {
        while let Some(delivery) = self.peer.poll_delivery() {
            match delivery {
                Delivery::Txn { zxid, txn } => {
                    if let Err(why) = self.apply(zxid, &txn, db) {
                        let why = format!("txn {zxid} cannot be applied: {why}");
                        return self.outputs.push_back(Output::Fatal { code: 1, why });
                    }
                    self.peer.applied(zxid);
                    self.projection.forget_through(zxid);
                }
                Delivery::Serving { standing, from } => self.serve(standing, from, db),
                Delivery::Synced => self.synced(db),
            }
        }
        let Some(arriving) = self.arriving.take() else { return };
        db.replace(*arriving);
        // What the leader's snapshot says may be another server's view (ZOOKEEPER-2819).
        let ensemble = &self.peer.config().ensemble;
        db.init_config(&ensemble.to_string(), ensemble.version, self.now.wall);
        self.projection = Projection::default();
        self.peer.replaced(self.now.mono, db.last_zxid());
        self.pump(db);
    }

    fn serve(&mut self, standing: Standing, from: Option<Zxid>, db: &mut Database) {
        if let Some(zxid) = from {
            db.begin_epoch(zxid);
            self.peer.applied(zxid);
        }
        self.sessions.clear();
        for (id, timeout_ms) in db.sessions() {
            self.sessions.add(id, timeout_ms, self.now.mono);
        }
        self.proposed.clear();
        let leads = matches!(standing, Standing::Leading { .. });
        let serving = self.config.leader_serves || !leads;
        self.standing = Some(standing.clone());
        self.outputs.push_back(Output::Standing { standing, serving });
    }

    fn apply(&mut self, zxid: Zxid, txn: &Bytes, db: &mut Database) -> Result<(), String> {
        let limits = db.options().limits;
        let (header, record) = txn::split_header(txn, limits).map_err(|e| e.to_string())?;
        let mut events = Events { outputs: &mut self.outputs, arena: &mut self.arena };
        let outcome = db.apply(&header, record, &mut events).map_err(|e| e.to_string())?;
        let waiter = self.waiter(zxid, &header);
        match header.op() {
            OpCode::CREATE_SESSION if self.standing.is_some() => {
                if let Some(timeout_ms) = record.first_chunk::<4>() {
                    self.sessions.note(header.session, i32::from_be_bytes(*timeout_ms), self.now.mono);
                }
            }
            OpCode::CLOSE_SESSION => self.sessions.remove(header.session),
            _ => {}
        }
        if let Some(conn) = waiter {
            self.answer(conn, &header, outcome, db);
            // Behind a closeSession nothing is answered any more.
            if header.op() != OpCode::CLOSE_SESSION {
                self.answer_reads(conn, db);
            }
        }
        if header.op() == OpCode::CLOSE_SESSION
            && let Some(conn) = self.by_session.remove(&header.session)
        {
            let why = match waiter {
                Some(_) => CloseReason::ClosedByClient,
                None => CloseReason::SessionExpired,
            };
            self.conns.remove(&conn);
            self.outputs.push_back(Output::CloseConn { conn, why });
        }
        Ok(())
    }

    /// The connection that waits for this txn: the one it was proposed for, or on a learner the one whose first write it is
    /// by session and cxid (`FollowerZooKeeperServer`).
    fn waiter(&mut self, zxid: Zxid, header: &TxnHeader) -> Option<ConnId> {
        if let Some((proposed, conn)) = self.proposed.front().copied()
            && proposed == zxid
        {
            self.proposed.pop_front();
            let conn = conn?;
            let waits = match self.conns.get(&conn)?.waiting.front()? {
                Waiting::Write { zxid: Some(expected), .. } => *expected == zxid,
                Waiting::Open { .. } => true,
                _ => false,
            };
            debug_assert!(waits, "reads are answered before the write behind them is applied");
            return waits.then_some(conn);
        }
        let conn = *self.by_session.get(&header.session)?;
        let waits = match self.conns.get(&conn)?.waiting.front()? {
            Waiting::Write { zxid: None, xid, .. } => *xid == header.cxid,
            Waiting::Open { .. } => header.op() == OpCode::CREATE_SESSION,
            _ => false,
        };
        waits.then_some(conn)
    }

    fn answer(&mut self, conn: ConnId, header: &TxnHeader, outcome: Outcome<'_>, db: &Database) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let handshake = state.handshake;
        match state.waiting.pop_front() {
            Some(Waiting::Write { xid, op, received, .. }) => {
                if outcome.err == ErrorCode::SESSION_MOVED {
                    self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::SessionMoved });
                    return self.forget_conn(conn);
                }
                if op == OpCode::CREATE_SESSION && outcome.err == ErrorCode::OK {
                    // A client that asks for a session once more is answered as if it had just connected (B§1.5).
                    put_session(&mut self.arena, header.session, handshake);
                } else {
                    reply::write(&mut self.arena, op, xid, db.last_zxid(), &outcome);
                }
                let done = Done { xid, op, zxid: db.last_zxid(), received, frames: 1 };
                self.outputs.push_back(Output::Reply { conn, bytes: self.arena.split().freeze(), done });
            }
            Some(Waiting::Open { lease, received }) => {
                self.session_opened(conn, header.session, handshake, lease, Some(received));
            }
            Some(
                Waiting::Read(_) | Waiting::Sync(_) | Waiting::Refused { .. } | Waiting::CloseLocal { .. },
            )
            | None => {}
        }
    }
}

struct Events<'a> {
    outputs: &'a mut VecDeque<Output>,
    arena: &'a mut BytesMut,
}

impl EventSink for Events<'_> {
    fn event(&mut self, conn: ConnId, kind: EventType, path: &str) {
        put_event(self.arena, kind, path);
        self.outputs.push_back(Output::Event { conn, bytes: self.arena.split().freeze() });
    }
}
