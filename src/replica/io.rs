//! What goes into a Replica and what comes out.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    db::Database,
    ids::{ConnId, LinkId, Millis, SessionId, Zxid},
    proto::{OpCode, data::AclId},
    session::Lease,
    zab::{self, Token},
};

/// The two clocks a replica is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Never goes back; for timers and leases.
    pub mono: Millis,
    /// For txn headers and TTLs.
    pub wall: Millis,
}

/// A client's request, as its connection received it.
#[derive(Debug)]
pub struct Request {
    pub conn: ConnId,
    pub session: SessionId,
    pub xid: i32,
    pub op: OpCode,
    pub body: Bytes,
    pub auth: Arc<[AclId]>,
    /// Monotonic ms, for the latency it is counted with.
    pub received: Millis,
}

#[derive(Debug)]
pub enum Input {
    Request(Request),
    /// A client without a session.
    OpenSession {
        conn: ConnId,
        handshake: Handshake,
        received: Millis,
    },
    /// A client that comes back with a session.
    ResumeSession {
        conn: ConnId,
        handshake: Handshake,
        session: SessionId,
        passwd: Option<Box<[u8]>>,
    },
    ConnClosed {
        conn: ConnId,
    },
    /// From other servers, and `Persisted`.
    Zab(zab::Input),
    /// The leader's SNAP packet of `zxid`, and the database that came behind it.
    LeaderSnapshot {
        link: LinkId,
        zxid: Zxid,
        db: Box<Database>,
    },
    /// The answer to `Persist::Truncate`: what the disk holds now.
    Reloaded {
        token: Token,
        db: Box<Database>,
    },
    /// The snapshot asked for last is on disk, or could not be begun.
    SnapshotDone,
}

/// What the driver is to do, in this order. It never waits inside one; what takes time is answered by an input.
#[derive(Debug)]
pub enum Output {
    /// Append to the connection's outbox.
    Reply { conn: ConnId, bytes: Bytes, done: Done },
    /// Append to the connection's outbox, before anything that shows the change. The driver hands these over while it
    /// still holds the write lock under which they arose.
    Event { conn: ConnId, bytes: Bytes },
    /// The connection has a session now; `bytes` is the handshake's reply.
    SessionOpened { conn: ConnId, bytes: Bytes, opened: Opened },
    /// The session is gone or the password wrong: send the reply, then close.
    SessionRefused { conn: ConnId, bytes: Bytes, session: SessionId, wrong_password: bool },
    /// Close, after what is in the outbox is out.
    CloseConn { conn: ConnId, why: CloseReason },
    /// To other servers, and to the log.
    Zab(zab::Output),
    /// Begin a new log file with the next txn.
    RollLog,
    /// Write the state as of this moment to a snapshot, in the background; answer with `SnapshotDone`.
    TakeSnapshot,
    /// Whether clients are served, and as what. Not serving any more: close every client connection, whether the replica
    /// has heard of it or not.
    Standing { standing: zab::Standing, serving: bool },
    /// The state cannot be trusted any more; `code` is the exit code of B§7.3.
    Fatal { code: i32, why: String },
}

/// What a client and this server have agreed on before there is a session.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    pub timeout_ms: i32,
    /// Whether the client knows the `readOnly` flag.
    pub with_read_only: bool,
}

#[derive(Clone, Debug)]
pub struct Opened {
    pub session: SessionId,
    pub timeout_ms: i32,
    pub lease: Arc<Lease>,
    /// When a new session was asked for; none for one that came back.
    pub received: Option<Millis>,
}

/// What a reply was to, for statistics.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub xid: i32,
    pub op: OpCode,
    pub zxid: Zxid,
    pub received: Millis,
    /// The reply, and the events of its own connection that precede it.
    pub frames: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said so; its reply precedes.
    ClosedByClient,
    SessionExpired,
    /// The session has come back on another connection.
    SessionReopened,
    SessionMoved,
    /// Refused with −6.
    UnknownRequest,
    /// This server is no member of a working quorum any more.
    NotServing,
}
