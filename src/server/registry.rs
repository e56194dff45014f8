//! Connections that exist, and what the rest of the server may touch of each: its outbox and its counters.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use bytes::BytesMut;
use parking_lot::Mutex;

use super::stats::Latency;
use crate::{
    ids::{ConnId, Millis, SessionId, Zxid},
    proto::OpCode,
    replica::{CloseReason, Done, Opened},
};

/// What the core leaves for a connection's task.
///
/// Invariant: `in_flight` is how many requests of this connection the core holds whose replies are not in `buf` yet; while
/// it is above zero, nothing of this connection may be answered elsewhere.
#[derive(Debug, Default)]
pub struct Outbox {
    pub buf: BytesMut,
    pub in_flight: u32,
    /// How many of those are reads.
    pub reads: u32,
    /// How many reads in a row the core has answered in few bytes, up to [`Outbox::SMALL_READS`].
    pub small_reads: u32,
    /// Bytes of requests handed to the core since `in_flight` was last zero.
    pub bytes: usize,
    /// What the task has taken from `buf` and could not send yet.
    pub unsent: usize,
    pub session: Option<SessionReply>,
    pub close: Option<CloseCause>,
    /// The task, when it sleeps.
    pub waker: Option<Waker>,
}

impl Outbox {
    pub const SMALL_READS: u32 = 28;

    /// A read has been answered with `bytes`.
    pub fn note_read(&mut self, bytes: usize) {
        self.reads -= 1;
        self.small_reads = if bytes > 32 << 10 { 0 } else { (self.small_reads + 1).min(Self::SMALL_READS) };
    }
}

#[derive(Debug)]
pub enum SessionReply {
    Opened(Opened),
    Refused { session: SessionId, wrong_password: bool },
}

/// Why the server ends a connection, apart from its own reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    Core(CloseReason),
    /// Silent for too long: what it has not read is given up as well.
    Idle,
    /// Events pile up and the client reads none of them.
    NotReading,
    /// The task itself has ended.
    Ended,
}

/// A client connection as others see it.
#[derive(Debug)]
pub struct ConnShared {
    pub id: ConnId,
    pub peer: SocketAddr,
    pub established: Millis,
    pub outbox: Mutex<Outbox>,
    pub session: AtomicI64,
    /// Of the session; before there is one, how long the server waits for it.
    pub timeout_ms: AtomicI32,
    pub last_heard: AtomicI64,
    /// Whether the task wants to read, for the interest ops that `stat` shows.
    pub reading: AtomicBool,
    pub stats: ConnStats,
}

#[derive(Debug, Default)]
pub struct ConnStats {
    pub received: AtomicU64,
    pub sent: AtomicU64,
    /// By how much Java's count of queued requests is off (B§1.9).
    pub drift: AtomicI64,
    /// `i32::MAX` before the first op, 0 for `NA` after a reset.
    pub last_op: AtomicI32,
    pub last_cxid: AtomicI64,
    pub last_zxid: AtomicI64,
    pub last_response: AtomicI64,
    pub last_latency: AtomicI64,
    pub latency: Latency,
}

/// `last_op` of a connection that has not asked anything.
pub const NO_OP_YET: i32 = i32::MAX;

impl ConnStats {
    /// Special xids do not count as the client's last request.
    pub fn replied(&self, done: Done, now: Millis) {
        if done.xid >= 0 {
            self.last_cxid.store(done.xid.into(), Relaxed);
        }
        self.last_zxid.store(done.zxid.0, Relaxed);
        self.last_op.store(done.op.0, Relaxed);
        self.last_response.store(now, Relaxed);
        let latency = now - done.received;
        self.last_latency.store(latency, Relaxed);
        self.latency.record(latency, 1);
    }

    /// What `stat` and `cons` show as queued drifts in Java: a request of xid ≥ 0 is counted when it comes and uncounted with a
    /// reply of xid > 0, but auth and SASL packets are never counted, and some replies bear another xid.
    #[inline]
    pub fn note_drift(&self, xid: i32, op: OpCode) {
        let drift = match op {
            OpCode::AUTH | OpCode::SASL => -i64::from(xid > 0),
            OpCode::PING | OpCode::CREATE_SESSION => i64::from(xid >= 0),
            _ => i64::from(xid == 0),
        };
        if drift != 0 {
            self.drift.fetch_add(drift, Relaxed);
        }
    }

    /// crst
    pub fn reset(&self) {
        self.received.store(0, Relaxed);
        self.sent.store(0, Relaxed);
        self.last_op.store(OpCode::NOTIFICATION.0, Relaxed);
        self.last_cxid.store(-1, Relaxed);
        self.last_zxid.store(-1, Relaxed);
        self.last_response.store(0, Relaxed);
        self.last_latency.store(0, Relaxed);
        self.latency.reset_conn();
    }
}

impl ConnShared {
    pub fn session(&self) -> SessionId {
        SessionId(self.session.load(Relaxed))
    }

    pub fn last_zxid(&self) -> Zxid {
        Zxid(self.stats.last_zxid.load(Relaxed))
    }

    /// Bytes that wait for the client to read.
    pub fn unread(&self) -> usize {
        let outbox = self.outbox.lock();
        outbox.buf.len() + outbox.unsent
    }

    /// Asks the task to end: after what is in the outbox is out, or at once, where the client is not there to read it.
    pub fn close(&self, cause: CloseCause) {
        let waker = {
            let mut outbox = self.outbox.lock();
            match cause {
                CloseCause::Idle | CloseCause::NotReading => outbox.close = Some(cause),
                _ => drop(outbox.close.get_or_insert(cause)),
            }
            outbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    conns: HashMap<ConnId, Arc<ConnShared>>,
    per_ip: HashMap<IpAddr, u32>,
}

impl Registry {
    /// `None` where this address has `limit` connections already (0: no limit).
    pub fn admit(
        &self,
        peer: SocketAddr,
        limit: u32,
        wall: Millis,
        mono: Millis,
        wait_ms: i32,
    ) -> Option<Arc<ConnShared>> {
        let mut inner = self.inner.lock();
        let from_here = inner.per_ip.entry(peer.ip()).or_insert(0);
        if limit > 0 && *from_here >= limit {
            return None;
        }
        *from_here += 1;
        inner.next += 1;
        let conn = Arc::new(ConnShared {
            id: ConnId(inner.next),
            peer,
            established: wall,
            outbox: Mutex::default(),
            session: AtomicI64::new(0),
            timeout_ms: AtomicI32::new(wait_ms),
            last_heard: AtomicI64::new(mono),
            reading: AtomicBool::new(true),
            stats: ConnStats { last_op: AtomicI32::new(NO_OP_YET), ..ConnStats::default() },
        });
        inner.conns.insert(conn.id, conn.clone());
        Some(conn)
    }

    pub fn remove(&self, conn: &ConnShared) {
        let mut inner = self.inner.lock();
        if inner.conns.remove(&conn.id).is_none() {
            return;
        }
        if let Some(count) = inner.per_ip.get_mut(&conn.peer.ip()) {
            *count -= 1;
            if *count == 0 {
                inner.per_ip.remove(&conn.peer.ip());
            }
        }
    }

    pub fn len(&self) -> usize {
        self.inner.lock().conns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn all(&self) -> Vec<Arc<ConnShared>> {
        self.inner.lock().conns.values().cloned().collect()
    }
}
