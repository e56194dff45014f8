//! Replica: one server's share of the ensemble, as a value. It owns the Zab peer, the pipeline and the sessions; the
//! database is lent to it, since connections read it as well.
//!
//! Surface: [`Replica::handle`], [`Replica::handle_timeout`], [`Replica::apply_committed`], [`Replica::poll_timeout`],
//! [`Replica::poll_output`]. No clock, no file, no thread: time and bytes come in, [`Output`]s go out.
//!
//! Invariants:
//! 1. A reply to a write leaves after its txn is decided and applied; a txn is decided with a quorum that has it on disk.
//! 2. Requests of one connection are answered in order: a read that comes behind a write waits for it here, and is answered
//!    before the next write of that connection is applied.
//! 3. Everything this does to the database happens in `apply_committed`, in the order in which Zab delivers it.
//! 4. Clients, sessions and proposals belong to one standing; when it ends they are dropped as a whole (ZOOKEEPER-4712).
//!
//! A standalone server is a leader whose quorum is itself.

mod apply;
mod clients;
mod io;
mod learners;
mod local;
mod pace;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use self::pace::{Reaper, SnapshotPace};
pub use self::{
    io::{CloseReason, Done, Handshake, Input, Now, Opened, Output, Request},
    local::LocalSessions,
};
use crate::{
    db::{Database, Map},
    ids::{ConnId, Millis, SessionId, Sid, Zxid},
    pipeline::{
        prep::{PrepRules, WriteRequest},
        projection::Projection,
        read::ReadRules,
    },
    proto::{ErrorCode, OpCode},
    session::{Lease, Owner, SessionTracker},
    zab::{
        self, PeerConfig, Persist, Standing,
        effects::Event,
        peer::{Peer, Recovered},
    },
};

#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// 0 for a standalone server in everything but session ids, where it is 1 (B§1.3).
    pub sid: Sid,
    pub tick_ms: Millis,
    /// B§6.6
    pub snap_count: u32,
    /// Whether to write down what was loaded (B§6.5); not where it has just been.
    pub snapshot_at_start: bool,
    /// `zookeeper.leaderServes`: whether clients may connect to a leader.
    pub leader_serves: bool,
    /// None: every session is known to all. Only in an ensemble.
    pub local_sessions: Option<LocalSessions>,
    /// B§2.5
    pub container_check_interval_ms: Millis,
    pub container_max_per_minute: u32,
    pub prep: PrepRules,
    pub read: ReadRules,
    /// Seeds what Java draws at random.
    pub seed: u64,
    /// Seeds session ids: wall-clock ms, so that a restart gives out new ones.
    pub session_seed_ms: Millis,
}

#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    peer: Peer,
    /// None: not serving.
    standing: Option<Standing>,
    projection: Projection,
    sessions: SessionTracker,
    /// Sessions that nobody else knows.
    locals: SessionTracker,
    conns: Map<ConnId, Conn>,
    by_session: Map<SessionId, ConnId>,
    /// Proposals of this leader in zxid order, with whoever waits for an answer here.
    proposed: VecDeque<(Zxid, Option<ConnId>)>,
    /// Connections whose sessions the leader is asked about.
    resuming: Map<SessionId, (ConnId, Handshake)>,
    /// Connections that wait for the leader's SYNC, in order.
    syncing: VecDeque<ConnId>,
    /// A database on its way into place.
    arriving: Option<Box<Database>>,
    outputs: VecDeque<Output>,
    /// Replies and txns are encoded behind each other and split off, a batch's worth to an allocation.
    arena: BytesMut,
    snapshots: SnapshotPace,
    reaper: Reaper,
    now: Now,
}

/// A connection with requests here, or a session.
#[derive(Debug)]
struct Conn {
    session: SessionId,
    handshake: Handshake,
    waiting: VecDeque<Waiting>,
    /// Of its session, once it is open; and what it said when the leader was last told (B§3.7).
    lease: Option<Arc<Lease>>,
    told: Millis,
}

/// A request in its connection's order.
#[derive(Debug)]
enum Waiting {
    /// `zxid`: none where a leader elsewhere gives it out.
    Write {
        zxid: Option<Zxid>,
        xid: i32,
        op: OpCode,
        received: Millis,
    },
    Read(Request),
    /// Until the leader has answered.
    Sync(Request),
    Refused {
        xid: i32,
        op: OpCode,
        err: ErrorCode,
        empty_multi: bool,
        received: Millis,
    },
    Open {
        lease: Arc<Lease>,
        received: Millis,
    },
    CloseLocal {
        xid: i32,
        received: Millis,
    },
}

impl Replica {
    /// A server that has loaded `db` and is its own quorum.
    pub fn standalone(config: ReplicaConfig, peer: PeerConfig, db: &Database, now: Now) -> Replica {
        let peer = Peer::standalone(peer, now.mono, db.last_zxid());
        let snapshot = config.snapshot_at_start;
        // Its id is 0 but its sessions' is 1.
        let mut replica = Replica::new(config, Sid(1), peer, now);
        if snapshot {
            replica.take_snapshot();
        }
        replica
    }

    /// A member of an ensemble, looking for a leader.
    pub fn member(config: ReplicaConfig, peer: PeerConfig, recovered: Recovered, now: Now) -> Replica {
        let peer = Peer::member(peer, now.mono, recovered);
        let sid = config.sid;
        let mut replica = Replica::new(config, sid, peer, now);
        replica.outputs.push_back(Output::Standing { standing: Standing::Looking, serving: false });
        replica.carry_peer_outputs();
        replica
    }

    fn new(config: ReplicaConfig, sessions_of: Sid, peer: Peer, now: Now) -> Replica {
        let tracker = || SessionTracker::new(sessions_of, config.tick_ms, config.session_seed_ms);
        let (sessions, locals) = (tracker(), tracker());
        Replica {
            peer,
            standing: None,
            projection: Projection::default(),
            sessions,
            locals,
            conns: Map::default(),
            by_session: Map::default(),
            proposed: VecDeque::new(),
            resuming: Map::default(),
            syncing: VecDeque::new(),
            arriving: None,
            outputs: VecDeque::new(),
            arena: BytesMut::new(),
            snapshots: SnapshotPace::new(config.snap_count, config.seed),
            reaper: Reaper::new(&config, now),
            now,
            config,
        }
    }

    pub fn sessions(&self) -> &SessionTracker {
        &self.sessions
    }

    /// Sessions that no other server knows.
    pub fn local_sessions(&self) -> &SessionTracker {
        &self.locals
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// srst, on a leader
    pub fn reset_proposal_sizes(&mut self) {
        self.peer.reset_proposal_sizes();
    }

    /// `None` while clients are not served.
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Takes one input. The database is only read; what is decided is applied by [`Replica::apply_committed`].
    pub fn handle(&mut self, now: Now, input: Input, db: &Database) {
        self.now = now;
        match input {
            Input::Request(request) => self.request(now, request, db),
            Input::OpenSession { conn, handshake, received } => {
                self.open_session(now, conn, handshake, received, db);
            }
            Input::ResumeSession { conn, handshake, session, passwd } => {
                self.resume_session(now, conn, handshake, session, passwd.as_deref());
            }
            Input::ConnClosed { conn } => self.conn_closed(conn, db),
            Input::Zab(input) => self.peer.handle(now.mono, input),
            Input::LeaderSnapshot { link, zxid, db } => {
                if self.peer.snapshot_received(now.mono, link) {
                    debug_assert_eq!(db.last_zxid(), zxid);
                    self.arriving = Some(db);
                }
            }
            Input::Reloaded { token, db } => {
                self.arriving = Some(db);
                self.peer.reloaded(now.mono, token);
            }
            Input::SnapshotDone => self.snapshots.done(),
        }
        self.pump(db);
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        let mut due = self.peer.poll_timeout().into_iter().chain(self.locals.poll_timeout()).min();
        if self.is_leader() {
            due = due.into_iter().chain(self.sessions.poll_timeout()).chain(self.reaper.poll_timeout()).min();
        }
        due
    }

    pub fn handle_timeout(&mut self, now: Now, db: &Database) {
        self.now = now;
        if self.peer.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.peer.handle_timeout(now.mono);
            self.pump(db);
        }
        self.expire_locals(now);
        if !self.is_leader() {
            return;
        }
        for (session, timeout_ms) in self.sessions.handle_timeout(now.mono) {
            tracing::info!("Expiring session {session}, timeout of {timeout_ms}ms exceeded");
            self.close_session(now, session, db);
        }
        for path in self.reaper.handle_timeout(now, db) {
            tracing::info!("Attempting to delete candidate container: {path}");
            let write = WriteRequest {
                session: SessionId::NONE,
                owner: Owner::Local,
                cxid: 0,
                op: OpCode::DELETE_CONTAINER,
                body: path.as_bytes(),
                auth: &[],
                is_local: false,
            };
            self.propose_own(now, write, db);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Serving, and the one that proposes.
    fn is_leader(&self) -> bool {
        matches!(self.standing, Some(Standing::Standalone | Standing::Leading { .. }))
    }

    /// Handles what the peer has to say until it is silent.
    fn pump(&mut self, db: &Database) {
        self.carry_peer_outputs();
        while let Some(event) = self.peer.poll_event() {
            self.event(event, db);
            self.carry_peer_outputs();
        }
    }

    fn event(&mut self, event: Event, db: &Database) {
        match event {
            Event::Stopped => self.stop(),
            Event::Forwarded { link, packet } => self.forwarded(link, packet, db),
            Event::Revalidate { link, packet } => self.revalidate(link, packet),
            Event::Touched { table } => self.touched(&table),
            Event::Ping { zxid } => self.answer_ping(zxid),
            Event::Revalidated { session, valid } => self.revalidated(session, valid),
        }
    }

    fn carry_peer_outputs(&mut self) {
        while let Some(output) = self.peer.poll_output() {
            let appends = matches!(&output, zab::Output::Persist { what: Persist::Append { .. }, .. });
            self.outputs.push_back(Output::Zab(output));
            if appends && self.snapshots.txn_logged() {
                self.outputs.push_back(Output::RollLog);
                self.take_snapshot();
            }
        }
    }

    /// No quorum any more: whatever belonged to the last one is gone.
    fn stop(&mut self) {
        self.standing = None;
        self.conns.clear();
        self.by_session.clear();
        self.proposed.clear();
        self.resuming.clear();
        self.syncing.clear();
        self.sessions.clear();
        self.locals.clear();
        self.projection = Projection::default();
        self.outputs.push_back(Output::Standing { standing: Standing::Looking, serving: false });
    }

    fn take_snapshot(&mut self) {
        if self.snapshots.begin() {
            self.outputs.push_back(Output::TakeSnapshot);
        } else {
            tracing::warn!("Too busy to snap, skipping");
        }
    }
}

/// New space for txns and replies, and when to get it.
const ARENA: usize = 64 * 1024;
const ARENA_LOW: usize = 4 * 1024;

#[cfg(test)]
mod tests;
