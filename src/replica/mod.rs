//! Replica: one server's share of the ensemble, as a value. It owns the Zab role, the pipeline and the sessions; the
//! database is lent to it, since connections read it as well.
//!
//! Surface: [`Replica::handle`], [`Replica::handle_timeout`], [`Replica::apply_committed`], [`Replica::poll_timeout`],
//! [`Replica::poll_output`]. No clock, no file, no thread: time and bytes come in, [`Output`]s go out.
//!
//! Invariants:
//! 1. A reply to a write leaves after its txn is durable here, committed and applied (`Persist` is answered by
//!    `Persisted` before the leader counts its own ack).
//! 2. Requests of one connection are answered in order: a read that comes behind a write waits for it here, and is answered
//!    before the next write of that connection is applied.
//! 3. Everything this does to the database happens in `apply_committed`, txn by txn, in zxid order.
//!
//! A standalone server is a leader whose quorum is itself; nothing here asks whether it is one.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{
    db::{Database, Map, watch::EventSink},
    ids::{ConnId, Millis, SessionId, Sid, Zxid},
    pipeline::{
        prep::{Prep, PrepRules, Prepared, WriteRequest},
        projection::Projection,
        read::{self, ReadRules, Reader},
        reply,
    },
    proto::{
        ErrorCode, OpCode,
        client::{EventType, put_connect_response, put_event},
        data::AclId,
        txn,
    },
    session::{self, Lease, Owner, SessionTracker},
    zab::{broadcast::Broadcast, quorum::Voters},
};

/// The two clocks a replica is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Never goes back; for timers and leases.
    pub mono: Millis,
    /// For txn headers and TTLs.
    pub wall: Millis,
}

#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// 0 for a standalone server in everything but session ids, where it is 1 (B§1.3).
    pub sid: Sid,
    pub tick_ms: Millis,
    /// B§6.6
    pub snap_count: u32,
    /// Whether to write down what was loaded (B§6.5); not where it has just been.
    pub snapshot_at_start: bool,
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

/// Confirms that an effect is durable. Tokens grow; a `Persisted` answers every token up to its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

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
    Persisted {
        token: Token,
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
    /// Append a txn to the log; answer with `Persisted` when it is durable.
    Persist { token: Token, zxid: Zxid, txn: Bytes },
    /// Begin a new log file with the next txn.
    RollLog,
    /// Write the state as of this moment to a snapshot, in the background; answer with `SnapshotDone`.
    TakeSnapshot,
    /// The state cannot be trusted any more.
    Fatal(String),
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
}

#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    broadcast: Broadcast,
    projection: Projection,
    sessions: SessionTracker,
    conns: Map<ConnId, Conn>,
    by_session: Map<SessionId, ConnId>,
    /// Proposals in zxid order, with whoever waits for an answer.
    proposals: VecDeque<Proposal>,
    /// The zxid each token stands for.
    persisting: VecDeque<(Token, Zxid)>,
    next_token: u64,
    outputs: VecDeque<Output>,
    /// Replies and txns are encoded behind each other and split off, a batch's worth to an allocation.
    arena: BytesMut,
    snapshots: SnapshotPace,
    reaper: Reaper,
}

/// A connection with requests here, or a session.
#[derive(Debug)]
struct Conn {
    session: SessionId,
    handshake: Handshake,
    waiting: VecDeque<Waiting>,
}

/// A request in its connection's order.
#[derive(Debug)]
enum Waiting {
    Write { zxid: Zxid, xid: i32, op: OpCode, received: Millis },
    Read(Request),
    Refused { xid: i32, op: OpCode, err: ErrorCode, empty_multi: bool, received: Millis },
    Open { zxid: Zxid, lease: Arc<Lease>, received: Millis },
}

#[derive(Debug)]
struct Proposal {
    zxid: Zxid,
    txn: Bytes,
    /// `None`: the server's own, as for an expired session.
    conn: Option<ConnId>,
}

impl Replica {
    /// A server that has loaded `db` and leads: for now, one that is its own quorum.
    pub fn standalone(config: ReplicaConfig, db: &Database, now: Now) -> Replica {
        // A standalone server's id is 0 but its sessions' is 1.
        let mut sessions =
            SessionTracker::new(Sid(config.sid.0.max(1)), config.tick_ms, config.session_seed_ms);
        for (id, timeout_ms) in db.sessions() {
            sessions.add(id, timeout_ms, now.mono);
        }
        let mut replica = Replica {
            broadcast: Broadcast::new(Voters::new([config.sid]), db.last_zxid()),
            projection: Projection::default(),
            sessions,
            conns: Map::default(),
            by_session: Map::default(),
            proposals: VecDeque::new(),
            persisting: VecDeque::new(),
            next_token: 1,
            outputs: VecDeque::new(),
            arena: BytesMut::new(),
            snapshots: SnapshotPace::new(config.snap_count, config.seed),
            reaper: Reaper::new(&config, now),
            config,
        };
        if replica.config.snapshot_at_start {
            replica.take_snapshot();
        }
        replica
    }

    pub fn sessions(&self) -> &SessionTracker {
        &self.sessions
    }

    /// Takes one input. The database is only read; what is decided is applied by [`Replica::apply_committed`].
    pub fn handle(&mut self, now: Now, input: Input, db: &Database) {
        match input {
            Input::Request(request) => self.request(now, request, db),
            Input::OpenSession { conn, handshake, received } => {
                self.open_session(now, conn, handshake, received, db);
            }
            Input::ResumeSession { conn, handshake, session, passwd } => {
                self.resume_session(now, conn, handshake, session, passwd.as_deref());
            }
            Input::ConnClosed { conn } => self.conn_closed(conn, db),
            Input::Persisted { token } => self.persisted(token),
            Input::SnapshotDone => self.snapshots.done(),
        }
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        self.sessions.poll_timeout().into_iter().chain(self.reaper.poll_timeout()).min()
    }

    pub fn handle_timeout(&mut self, now: Now, db: &Database) {
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
            };
            self.propose_own(now, write, db);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Replica::apply_committed`] has something to do.
    pub fn has_committed(&mut self) -> bool {
        self.proposals.front().is_some_and(|p| p.zxid <= self.broadcast.last_committed())
    }

    /// Applies every decided txn, in order, and answers whoever waited: the write, then the reads behind it.
    pub fn apply_committed(&mut self, db: &mut Database) {
        while let Some(proposal) = self.proposals.front()
            && proposal.zxid <= self.broadcast.last_committed()
        {
            let Some(proposal) = self.proposals.pop_front() else { return };
            if let Err(why) = self.apply(&proposal, db) {
                self.outputs
                    .push_back(Output::Fatal(format!("txn {} cannot be applied: {why}", proposal.zxid)));
                return;
            }
            self.projection.forget_through(proposal.zxid);
        }
    }

    fn request(&mut self, now: Now, request: Request, db: &Database) {
        if read::is_read(request.op, self.config.read) {
            return self.read(request, db);
        }
        let Request { conn, session, xid, op, body, auth, received } = request;
        if !read::is_write(op) {
            tracing::warn!(%session, "Received packet at server of unknown type {}", op.0);
            let refused =
                Waiting::Refused { xid, op, err: ErrorCode::UNIMPLEMENTED, empty_multi: false, received };
            self.wait(conn, refused);
            return self.answer_reads(conn, db);
        }
        let write = WriteRequest { session, owner: Owner::Local, cxid: xid, op, body: &body, auth: &auth };
        match self.propose(now, write, Some(conn), db) {
            Ok(zxid) => self.wait(conn, Waiting::Write { zxid, xid, op, received }),
            Err((err, empty_multi)) => {
                self.wait(conn, Waiting::Refused { xid, op, err, empty_multi, received });
                self.answer_reads(conn, db);
            }
        }
    }

    fn read(&mut self, request: Request, db: &Database) {
        let conn = request.conn;
        let waiting = match self.sessions.check(request.session, Owner::Local) {
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
    fn wait(&mut self, conn: ConnId, waiting: Waiting) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.waiting.push_back(waiting);
        }
    }

    /// Answers what stands at the front of a connection's queue, up to its next write.
    fn answer_reads(&mut self, conn: ConnId, db: &Database) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        while let Some(waiting) = state.waiting.front() {
            let done = match waiting {
                Waiting::Write { .. } | Waiting::Open { .. } => return,
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

    fn propose(
        &mut self,
        now: Now,
        write: WriteRequest<'_>,
        conn: Option<ConnId>,
        db: &Database,
    ) -> Result<Zxid, (ErrorCode, bool)> {
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
        let broadcast = &mut self.broadcast;
        match prep.prepare(write, || broadcast.skip()) {
            Prepared::Refused { err, empty_multi } => Err((err, empty_multi)),
            Prepared::Txn { zxid, bytes } => {
                self.broadcast.propose(zxid);
                let token = Token(self.next_token);
                self.next_token += 1;
                self.persisting.push_back((token, zxid));
                self.outputs.push_back(Output::Persist { token, zxid, txn: bytes.clone() });
                self.proposals.push_back(Proposal { zxid, txn: bytes, conn });
                if self.snapshots.txn_logged() {
                    self.outputs.push_back(Output::RollLog);
                    self.take_snapshot();
                }
                Ok(zxid)
            }
        }
    }

    fn propose_own(&mut self, now: Now, write: WriteRequest<'_>, db: &Database) {
        if let Err((err, _)) = self.propose(now, write, None, db) {
            tracing::warn!(?err, op = ?write.op, "the server's own request was refused");
        }
    }

    fn take_snapshot(&mut self) {
        if self.snapshots.begin() {
            self.outputs.push_back(Output::TakeSnapshot);
        } else {
            tracing::warn!("Too busy to snap, skipping");
        }
    }

    fn persisted(&mut self, token: Token) {
        while let Some((pending, zxid)) = self.persisting.front().copied()
            && pending <= token
        {
            self.persisting.pop_front();
            if self.persisting.front().is_none_or(|(next, _)| *next > token) {
                self.broadcast.ack_through(self.config.sid, zxid);
            }
        }
        while self.broadcast.poll_committed().is_some() {}
    }

    fn open_session(
        &mut self,
        now: Now,
        conn: ConnId,
        handshake: Handshake,
        received: Millis,
        db: &Database,
    ) {
        let session = self.sessions.next_id();
        let lease = self.sessions.add(session, handshake.timeout_ms, now.mono);
        self.sessions.set_owner(session, Owner::Local);
        let body = handshake.timeout_ms.to_be_bytes();
        let write = WriteRequest {
            session,
            owner: Owner::Local,
            cxid: 0,
            op: OpCode::CREATE_SESSION,
            body: &body,
            auth: &[],
        };
        match self.propose(now, write, Some(conn), db) {
            Ok(zxid) => {
                self.attach(conn, session, handshake);
                self.wait(conn, Waiting::Open { zxid, lease, received });
            }
            Err((err, _)) => {
                self.outputs.push_back(Output::Fatal(format!("createSession was refused: {err:?}")))
            }
        }
    }

    fn attach(&mut self, conn: ConnId, session: SessionId, handshake: Handshake) {
        self.conns.insert(conn, Conn { session, handshake, waiting: VecDeque::new() });
        self.by_session.insert(session, conn);
    }

    /// Whoever holds the session here is cut off before the password is looked at, as in Java (B§1.3).
    fn resume_session(
        &mut self,
        now: Now,
        conn: ConnId,
        handshake: Handshake,
        session: SessionId,
        passwd: Option<&[u8]>,
    ) {
        if let Some(old) = self.by_session.remove(&session) {
            self.conns.remove(&old);
            self.outputs.push_back(Output::CloseConn { conn: old, why: CloseReason::SessionReopened });
        }
        let wrong_password = !session::password_matches(session, passwd);
        let lease = match wrong_password {
            true => None,
            false => self.sessions.touch(session, handshake.timeout_ms, now.mono),
        };
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

    fn session_opened(
        &mut self,
        conn: ConnId,
        session: SessionId,
        handshake: Handshake,
        lease: Arc<Lease>,
        received: Option<Millis>,
    ) {
        put_session(&mut self.arena, session, handshake);
        let bytes = self.arena.split().freeze();
        let opened = Opened { session, timeout_ms: handshake.timeout_ms, lease, received };
        self.outputs.push_back(Output::SessionOpened { conn, bytes, opened });
    }

    fn close_session(&mut self, now: Now, session: SessionId, db: &Database) {
        let write = WriteRequest {
            session,
            owner: Owner::Local,
            cxid: 0,
            op: OpCode::CLOSE_SESSION,
            body: &[],
            auth: &[],
        };
        self.propose_own(now, write, db);
    }

    fn conn_closed(&mut self, conn: ConnId, db: &Database) {
        db.watches.lock().remove_conn(conn);
        self.forget_conn(conn);
    }

    fn forget_conn(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.remove(&conn)
            && self.by_session.get(&state.session) == Some(&conn)
        {
            self.by_session.remove(&state.session);
        }
    }

    fn apply(&mut self, proposal: &Proposal, db: &mut Database) -> Result<(), String> {
        let limits = db.options().limits;
        let (header, record) = txn::split_header(&proposal.txn, limits).map_err(|e| e.to_string())?;
        let mut events = Events { outputs: &mut self.outputs, arena: &mut self.arena };
        let outcome = db.apply(&header, record, &mut events).map_err(|e| e.to_string())?;
        if header.op() == OpCode::CLOSE_SESSION {
            self.sessions.remove(header.session);
        }
        if let Some(conn) = proposal.conn
            && let Some(state) = self.conns.get_mut(&conn)
            && let Some(waiting) = state.waiting.pop_front()
        {
            let handshake = state.handshake;
            match waiting {
                Waiting::Write { zxid, xid, op, received } => {
                    if zxid != proposal.zxid {
                        return Err(format!("the connection waits for {zxid}"));
                    }
                    if outcome.err == ErrorCode::SESSION_MOVED {
                        self.outputs.push_back(Output::CloseConn { conn, why: CloseReason::SessionMoved });
                        self.forget_conn(conn);
                        return Ok(());
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
                Waiting::Open { zxid, lease, received } => {
                    debug_assert_eq!(zxid, proposal.zxid);
                    self.session_opened(conn, header.session, handshake, lease, Some(received));
                }
                Waiting::Read(_) | Waiting::Refused { .. } => {
                    debug_assert!(false, "reads are answered before the write behind them is applied");
                }
            }
            // Behind a closeSession nothing is answered any more.
            if header.op() != OpCode::CLOSE_SESSION {
                self.answer_reads(conn, db);
            }
        }
        if header.op() == OpCode::CLOSE_SESSION
            && let Some(conn) = self.by_session.remove(&header.session)
        {
            let why = match proposal.conn {
                Some(_) => CloseReason::ClosedByClient,
                None => CloseReason::SessionExpired,
            };
            self.conns.remove(&conn);
            self.outputs.push_back(Output::CloseConn { conn, why });
        }
        Ok(())
    }
}

fn put_session(out: &mut BytesMut, session: SessionId, handshake: Handshake) {
    let passwd = session::password(session);
    put_connect_response(out, session, handshake.timeout_ms, &passwd, handshake.with_read_only);
}

/// New space for txns and replies, and when to get it.
const ARENA: usize = 64 * 1024;
const ARENA_LOW: usize = 4 * 1024;

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

/// When to begin a new log and a snapshot: after snapCount/2 txns and a random share of as many more, so that servers of an
/// ensemble do not snapshot together (`SyncRequestProcessor`; B§6.6).
#[derive(Debug)]
struct SnapshotPace {
    half: u32,
    logged: u32,
    limit: u32,
    random: u64,
    running: bool,
}

impl SnapshotPace {
    fn new(snap_count: u32, seed: u64) -> SnapshotPace {
        let mut pace =
            SnapshotPace { half: snap_count / 2, logged: 0, limit: 0, random: seed, running: false };
        pace.draw();
        pace
    }

    /// splitmix64: a fixed sequence for a seed.
    fn draw(&mut self) {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.limit = self.half + ((z ^ (z >> 31)) % u64::from(self.half.max(1))) as u32;
    }

    /// True when it is time.
    fn txn_logged(&mut self) -> bool {
        self.logged += 1;
        if self.logged <= self.limit {
            return false;
        }
        self.logged = 0;
        self.draw();
        true
    }

    /// False while one is being written.
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    fn done(&mut self) {
        self.running = false;
    }
}

/// Removes containers and TTL nodes that are due, spaced out (`ContainerManager`; B§2.5).
#[derive(Debug)]
struct Reaper {
    interval_ms: Millis,
    spacing_ms: Millis,
    next_check: Millis,
    candidates: VecDeque<String>,
    next_candidate: Millis,
}

impl Reaper {
    fn new(config: &ReplicaConfig, now: Now) -> Reaper {
        let interval_ms = config.container_check_interval_ms.max(1);
        Reaper {
            interval_ms,
            spacing_ms: 60_000 / Millis::from(config.container_max_per_minute.max(1)),
            next_check: now.mono + interval_ms,
            candidates: VecDeque::new(),
            next_candidate: 0,
        }
    }

    fn poll_timeout(&self) -> Option<Millis> {
        if self.candidates.is_empty() { Some(self.next_check) } else { Some(self.next_candidate) }
    }

    fn handle_timeout(&mut self, now: Now, db: &Database) -> Vec<String> {
        let mut due = Vec::new();
        if self.candidates.is_empty() && now.mono >= self.next_check {
            self.candidates = db.reapable(now.wall).into();
            self.next_check = now.mono + self.interval_ms;
            self.next_candidate = now.mono;
        }
        while !self.candidates.is_empty() && now.mono >= self.next_candidate {
            due.extend(self.candidates.pop_front());
            self.next_candidate += self.spacing_ms;
        }
        due
    }
}

#[cfg(test)]
mod tests;
