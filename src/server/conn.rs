//! One client connection: a single task that reads whatever the socket has, answers what it can from the tree under one
//! read lock, hands the rest to the core, and writes once (`NIOServerCnxn`).
//!
//! Invariants:
//! 1. While the core holds requests of this connection, everything but auth goes to the core, so replies keep the order of
//!    their requests.
//! 2. What the core left in the outbox is taken before anything is answered here, under the read lock that the answer is
//!    made with: an event precedes every reply that shows its change.
//! 3. No frame is allocated before its bytes are there, and nothing is read while the client does not read.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::PollSender;

use super::{
    auth, four_letter,
    registry::{CloseCause, ConnShared, SessionReply},
    shared::{CoreMsg, Shared},
};
use crate::{
    ids::{Millis, SessionId, Zxid},
    jute,
    pipeline::read::{self, Reader},
    proto::{
        ErrorCode, OpCode,
        client::{ConnectRequest, put_reply},
        data::AclId,
    },
    replica::{CloseReason, Done, Handshake, Input, Opened, Request},
    session::Lease,
};

/// Unsent replies up to which more requests are read.
const UNSENT_LIMIT: usize = 1 << 20;
/// Reads that may wait in the core behind a write: their replies can be large, and nobody knows how large before. As many more
/// as have lately been small, see `Outbox::small_reads`.
const READS_IN_CORE: u32 = 4;
/// Bytes of requests handed to the core since it last held none: the limit on their number alone would let one client put
/// a thousand frames of a megabyte each into memory.
const BYTES_IN_CORE: usize = 16 << 20;
/// What a worker reads at once.
const SCRATCH: usize = 64 * 1024;
/// A buffer that a burst has made larger than this is given back when it is empty.
const KEEP: usize = 16 * 1024;

thread_local! {
    /// Bytes just read: an idle connection holds no buffer of its own.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Why a connection ended, for the log.
#[derive(Debug)]
enum End {
    /// The client went away.
    Gone,
    /// The server is done with it: everything is sent.
    Done,
    Io(std::io::Error),
    Misbehaved(String),
}

enum Phase {
    /// Nothing read yet: a handshake or a four-letter word.
    Fresh,
    /// The core is opening or resuming the session; nothing is read meanwhile.
    Connecting,
    Active {
        session: SessionId,
        lease: Arc<Lease>,
        timeout_ms: i32,
    },
    /// Send what there is, then close.
    Closing,
}

pub struct Connection {
    shared: Arc<Shared>,
    conn: Arc<ConnShared>,
    stream: TcpStream,
    phase: Phase,
    /// The begin of a frame whose end has not come; when `paused`, whole frames as well.
    partial: BytesMut,
    /// There are frames that could not be handled yet: the session is being opened, or replies must go out first.
    paused: bool,
    unsent: BytesMut,
    auth: Arc<[AclId]>,
    /// How many more reads the core may be given.
    reads_left: u32,
    /// Requests of this turn for the core.
    to_core: Vec<Request>,
    /// A message the core's inbox had no room for, and what waits for the room.
    stalled: Option<(CoreMsg, PollSender<CoreMsg>)>,
}

impl Connection {
    pub fn new(shared: Arc<Shared>, conn: Arc<ConnShared>, stream: TcpStream) -> Connection {
        let auth = auth::initial(&shared.config.settings, conn.peer);
        Connection {
            shared,
            conn,
            stream,
            phase: Phase::Fresh,
            partial: BytesMut::new(),
            paused: false,
            unsent: BytesMut::new(),
            auth,
            reads_left: 0,
            to_core: Vec::new(),
            stalled: None,
        }
    }

    pub async fn run(mut self) {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.log_end(&end);
        self.conn.close(CloseCause::Ended);
        self.shared.conns.remove(&self.conn);
        if !matches!(self.phase, Phase::Fresh) || self.conn.session() != SessionId::NONE {
            let _ = self.shared.core.send(CoreMsg::Input(Input::ConnClosed { conn: self.conn.id })).await;
        }
        use tokio::io::AsyncWriteExt;
        let _ = self.stream.shutdown().await;
    }

    /// Works until there is nothing left to do, then sleeps on whatever may change that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(end) = self.take_outbox(cx) {
                return Poll::Ready(end);
            }
            if let Err(e) = self.send(cx) {
                return Poll::Ready(End::Io(e));
            }
            if matches!(self.phase, Phase::Closing) && self.unsent.is_empty() {
                return Poll::Ready(End::Done);
            }
            if self.poll_stalled(cx).is_pending() || !self.wants_to_read() {
                return Poll::Pending;
            }
            if std::mem::take(&mut self.paused) {
                let waiting = std::mem::take(&mut self.partial);
                if let Err(end) = self.received(&waiting, self.shared.clock.mono()) {
                    let _ = self.send(cx);
                    return Poll::Ready(end);
                }
                continue;
            }
            match ready!(self.receive(cx)) {
                Ok(()) => {}
                Err(end) => {
                    // The client may have closed only its half: what is ready goes out (B§9.2).
                    let _ = self.send(cx);
                    return Poll::Ready(end);
                }
            }
        }
    }

    /// Moves what the core left into `unsent` and arms the waker.
    fn take_outbox(&mut self, cx: &Context<'_>) -> Option<End> {
        let (session, close) = {
            let mut outbox = self.conn.outbox.lock();
            take_buf(&mut self.unsent, &mut outbox.buf);
            if !outbox.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                outbox.waker = Some(cx.waker().clone());
            }
            (outbox.session.take(), outbox.close)
        };
        if let Some(reply) = session {
            self.session_reply(reply);
        }
        match close {
            None | Some(CloseCause::Ended) => None,
            // Whoever is silent and does not read either would keep what is unsent, and its place, for ever.
            Some(CloseCause::Idle) => Some(End::Done),
            Some(CloseCause::NotReading) => {
                Some(End::Misbehaved("it does not read what it is sent; giving that up".to_owned()))
            }
            Some(cause) => {
                tracing::debug!(peer = %self.conn.peer, ?cause, "closing a client's connection");
                self.phase = Phase::Closing;
                None
            }
        }
    }

    fn wants_to_read(&mut self) -> bool {
        let wants = match self.phase {
            Phase::Connecting | Phase::Closing => false,
            Phase::Fresh => true,
            Phase::Active { .. } => {
                let mut outbox = self.conn.outbox.lock();
                outbox.unsent = self.unsent.len();
                self.reads_left = (READS_IN_CORE + outbox.small_reads).saturating_sub(outbox.reads);
                self.unsent.len() < UNSENT_LIMIT
                    && self.reads_left > 0
                    && outbox.bytes < BYTES_IN_CORE
                    && !(outbox.in_flight > 0 && self.shared.is_busy())
            }
        };
        self.conn.reading.store(wants, Relaxed);
        wants
    }

    fn send(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.took_some();
                    self.unsent.advance(n);
                }
                Poll::Ready(Err(e)) => return Err(e),
            }
        }
        if self.unsent.capacity() > KEEP {
            self.unsent = BytesMut::new();
        } else {
            self.unsent.clear();
        }
        Ok(())
    }

    /// A client that is slow to take a long reply is alive, although its pings are not read meanwhile.
    fn took_some(&self) {
        if self.unsent.len() < UNSENT_LIMIT && !matches!(self.phase, Phase::Closing) {
            return;
        }
        let now = self.shared.clock.mono();
        self.conn.last_heard.store(now, Relaxed);
        if let Phase::Active { lease, timeout_ms, .. } = &self.phase {
            lease.touch(now, *timeout_ms);
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        READ_BUFFER.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Err(e) => return Poll::Ready(Err(End::Io(e))),
                Ok(()) if buf.filled().is_empty() => return Poll::Ready(Err(End::Gone)),
                Ok(()) => {}
            }
            let now = self.shared.clock.mono();
            self.conn.last_heard.store(now, Relaxed);
            Poll::Ready(self.received(buf.filled(), now))
        })
    }

    fn received(&mut self, bytes: &[u8], now: Millis) -> Result<(), End> {
        let mut failed = None;
        if self.partial.is_empty() {
            match self.frames(bytes, now) {
                Ok(used) => self.partial.extend_from_slice(&bytes[used..]),
                Err(end) => failed = Some(end),
            }
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            match self.frames(&joined, now) {
                Ok(used) => joined.advance(used),
                Err(end) => failed = Some(end),
            }
            // An empty buffer is dropped, and its memory with it.
            if !joined.is_empty() {
                self.partial = joined;
            }
        }
        // What stood before a bad frame was asked for in good order.
        self.submit()?;
        failed.map_or(Ok(()), Err)
    }

    /// Handles every whole frame at the front of `bytes`; returns how many bytes that was.
    fn frames(&mut self, bytes: &[u8], now: Millis) -> Result<usize, End> {
        let mut used = 0;
        while let Some(word) = bytes[used..].first_chunk::<4>() {
            match self.phase {
                Phase::Closing => return Ok(bytes.len()),
                Phase::Connecting => self.paused = true,
                Phase::Fresh | Phase::Active { .. } => {}
            }
            if self.paused {
                break;
            }
            if matches!(self.phase, Phase::Fresh)
                && let Some(taken) = self.four_letter_word(*word, &bytes[used + 4..])
            {
                return Ok(used + 4 + taken);
            }
            let length = i32::from_be_bytes(*word);
            let limit = self.shared.config.settings.jute_max_buffer;
            let length = usize::try_from(length).ok().filter(|n| *n <= limit).ok_or_else(|| {
                End::Misbehaved(format!("Len error {length}: a frame may have 0 to {limit} bytes"))
            })?;
            if bytes.len() - used - 4 < length {
                break;
            }
            if matches!(self.phase, Phase::Fresh) {
                let frame = &bytes[used + 4..used + 4 + length];
                used += 4 + length;
                self.connect(frame, now)?;
                continue;
            }
            used += self.requests(&bytes[used..], now)?;
        }
        Ok(used)
    }

    /// Requests of an established session: whole frames from the front of `bytes`, as many as there are.
    fn requests(&mut self, bytes: &[u8], now: Millis) -> Result<usize, End> {
        let Phase::Active { session, ref lease, timeout_ms } = self.phase else { return Ok(0) };
        let alive = lease.touch(now, timeout_ms);
        let shared = self.shared.clone();
        let limit = shared.config.settings.jute_max_buffer;
        // One lock for the batch, taken with its first read.
        let mut db = None;
        let mut idle = true;
        let mut failed = None;
        let mut reads_left = self.reads_left;
        let (mut used, mut answered, mut received) = (0, None::<(i32, OpCode)>, 0u64);
        let (mut answers, mut frames) = (0u64, 0u64);
        while let Some(frame) = next_frame(&bytes[used..], limit) {
            let [x0, x1, x2, x3, o0, o1, o2, o3, body @ ..] = frame else {
                received += 1;
                failed = Some(End::Misbehaved(format!("a request of {} bytes has no header", frame.len())));
                break;
            };
            let xid = i32::from_be_bytes([*x0, *x1, *x2, *x3]);
            let op = OpCode(i32::from_be_bytes([*o0, *o1, *o2, *o3]));
            // A learner's sync is the leader's to answer.
            let is_read =
                read::is_read(op, shared.read_rules) && !(op == OpCode::SYNC && shared.standing.learns());
            // The first read looks whether the core has anything of this connection, and takes what it has left here.
            if alive && is_read && idle && db.is_none() {
                let guard = shared.db.read();
                let mut outbox = self.conn.outbox.lock();
                take_buf(&mut self.unsent, &mut outbox.buf);
                idle = outbox.in_flight == 0;
                drop(outbox);
                db = idle.then_some(guard);
            }
            if self.unsent.len() > UNSENT_LIMIT || (is_read && !idle && reads_left == 0) {
                self.paused = true;
                break;
            }
            used += 4 + frame.len();
            received += 1;
            self.conn.stats.note_drift(xid, op);
            match op {
                OpCode::AUTH => failed = self.authenticate(xid, body).err(),
                OpCode::SASL => self.sasl(xid),
                // The session is closing: no answer, as in Java (B§1.8).
                _ if !alive => {}
                _ => match &db {
                    Some(db) if is_read && idle => {
                        let (conn, rules) = (self.conn.id, shared.read_rules);
                        let reader = Reader { db, conn, session, auth: &self.auth, rules };
                        frames += read::answer(reader, op, xid, body, &mut self.unsent);
                        answers += 1;
                        answered = Some((xid, op));
                    }
                    _ => {
                        idle = false;
                        reads_left = reads_left.saturating_sub(u32::from(is_read));
                        self.queue(session, xid, op, body, now);
                    }
                },
            }
            if failed.is_some() || matches!(self.phase, Phase::Closing) {
                break;
            }
        }
        let zxid = db.map(|db| db.last_zxid()).unwrap_or_default();
        self.count(received, answers, frames, answered, zxid, now);
        failed.map_or(Ok(used), Err)
    }

    fn queue(&mut self, session: SessionId, xid: i32, op: OpCode, body: &[u8], now: Millis) {
        self.to_core.push(Request {
            conn: self.conn.id,
            session,
            xid,
            op,
            body: bytes::Bytes::copy_from_slice(body),
            auth: self.auth.clone(),
            received: now,
        });
    }

    fn count(
        &self,
        received: u64,
        answers: u64,
        frames: u64,
        last: Option<(i32, OpCode)>,
        zxid: Zxid,
        now: Millis,
    ) {
        self.conn.stats.received.fetch_add(received, Relaxed);
        self.shared.stats.received.fetch_add(received, Relaxed);
        let Some((xid, op)) = last else { return };
        self.conn.stats.sent.fetch_add(frames, Relaxed);
        self.shared.stats.sent.fetch_add(frames, Relaxed);
        self.shared.stats.latency.record(0, answers);
        self.conn.stats.latency.record(0, answers - 1);
        self.conn.stats.replied(Done { xid, op, zxid, received: now, frames }, now);
    }

    /// Sends this turn's requests to the core.
    fn submit(&mut self) -> Result<(), End> {
        if self.to_core.is_empty() {
            return Ok(());
        }
        let requests = std::mem::take(&mut self.to_core);
        {
            let mut outbox = self.conn.outbox.lock();
            if outbox.close.is_some() {
                return Ok(());
            }
            outbox.in_flight += requests.len() as u32;
            outbox.bytes += requests.iter().map(|r| r.body.len()).sum::<usize>();
            outbox.reads +=
                requests.iter().filter(|r| read::is_read(r.op, self.shared.read_rules)).count() as u32;
            self.shared.in_process.fetch_add(requests.len(), Relaxed);
        }
        self.tell_core(CoreMsg::Requests(requests));
        Ok(())
    }

    fn tell_core(&mut self, message: CoreMsg) {
        use tokio::sync::mpsc::error::TrySendError;
        match self.shared.core.try_send(message) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(message)) => {
                self.stalled = Some((message, PollSender::new(self.shared.core.clone())));
            }
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, sender)) = &mut self.stalled {
            let room = ready!(sender.poll_reserve(cx)).is_ok();
            if let Some((message, mut sender)) = self.stalled.take()
                && room
            {
                let _ = sender.send_item(message);
            }
        }
        Poll::Ready(())
    }

    /// Whether the first word of a connection is a command; if so, how many further bytes it took.
    fn four_letter_word(&mut self, word: [u8; 4], rest: &[u8]) -> Option<usize> {
        let command = four_letter::Command::parse(word)?;
        self.conn.stats.received.fetch_add(1, Relaxed);
        self.shared.stats.received.fetch_add(1, Relaxed);
        self.phase = Phase::Closing;
        self.conn.reading.store(false, Relaxed);
        match four_letter::run(command, rest, self.conn.peer, &self.shared) {
            four_letter::Answer::Text(text) => {
                self.unsent.extend_from_slice(text.as_bytes());
                count_answer(&self.shared, &self.conn, &text);
            }
            four_letter::Answer::Later(command) => self.answer_later(command),
            four_letter::Answer::Nothing => {}
        }
        Some(rest.len())
    }

    /// `dump` asks the core; a task of its own waits for it and leaves the text in the outbox.
    fn answer_later(&mut self, command: four_letter::Slow) {
        self.phase = Phase::Connecting;
        let (shared, conn) = (self.shared.clone(), self.conn.clone());
        #[allow(clippy::disallowed_methods, reason = "server/ owns the tasks")]
        tokio::spawn(async move {
            let text = command.answer(&shared).await;
            conn.outbox.lock().buf.extend_from_slice(text.as_bytes());
            count_answer(&shared, &conn, &text);
            conn.close(CloseCause::Core(CloseReason::ClosedByClient));
        });
    }

    /// The handshake (`ZooKeeperServer.processConnectRequest`, B§1.3).
    fn connect(&mut self, frame: &[u8], now: Millis) -> Result<(), End> {
        self.conn.stats.received.fetch_add(1, Relaxed);
        self.shared.stats.received.fetch_add(1, Relaxed);
        let limits = self.shared.limits;
        if !self.shared.standing.is_serving() {
            return Err(End::Misbehaved("ZooKeeperServer not running".to_owned()));
        }
        let (request, read_only) = ConnectRequest::decode(frame, limits)
            .map_err(|e| End::Misbehaved(format!("its connect request is malformed: {e}")))?;
        let ours = self.shared.db.read().last_zxid();
        if request.last_zxid_seen > ours {
            let peer = java_address(self.conn.peer);
            return Err(End::Misbehaved(format!(
                "Refusing session request for client {peer} as it has seen zxid {} our last zxid is {ours} client must try \
                 another server",
                request.last_zxid_seen
            )));
        }
        let config = &self.shared.config;
        let timeout = i64::from(request.timeout_ms)
            .max(config.min_session_timeout_ms)
            .min(config.max_session_timeout_ms);
        let timeout_ms = timeout as i32;
        self.conn.timeout_ms.store(timeout_ms, Relaxed);
        self.phase = Phase::Connecting;
        let conn = self.conn.id;
        let handshake = Handshake { timeout_ms, with_read_only: read_only.is_some() };
        let input = match request.session {
            SessionId::NONE => Input::OpenSession { conn, handshake, received: now },
            session => {
                let passwd = request.passwd.map(|p| Box::from(&**p));
                Input::ResumeSession { conn, handshake, session, passwd }
            }
        };
        self.tell_core(CoreMsg::Hello(self.conn.clone(), input));
        Ok(())
    }

    fn session_reply(&mut self, reply: SessionReply) {
        self.phase = match reply {
            SessionReply::Opened(Opened { session, timeout_ms, lease, .. }) => {
                self.conn.session.store(session.0, Relaxed);
                Phase::Active { session, lease, timeout_ms }
            }
            SessionReply::Refused { session, wrong_password } => {
                let peer = java_address(self.conn.peer);
                if wrong_password {
                    tracing::warn!("Incorrect password from {peer} for session {session}");
                }
                tracing::info!("Invalid session {session} for client {peer}, probably expired");
                Phase::Closing
            }
        };
    }

    /// Answered at once, ahead of requests that wait (B§1.5).
    fn authenticate(&mut self, xid: i32, body: &[u8]) -> Result<(), End> {
        tracing::info!("got auth packet {}", java_address(self.conn.peer));
        let settings = &self.shared.config.settings;
        let limits = self.shared.limits;
        let ids = auth::authenticate(body, limits, settings, self.conn.peer.ip())
            .map_err(|e| End::Misbehaved(format!("its auth packet is malformed: {e}")))?;
        let err = match ids {
            Some(ids) => {
                tracing::info!("auth success {}", java_address(self.conn.peer));
                self.auth = auth::with(&self.auth, ids).ok_or_else(|| {
                    End::Misbehaved(format!("it has more than {} identities", auth::MOST_IDS))
                })?;
                ErrorCode::OK
            }
            None => {
                tracing::warn!("Authentication failed for client {}", java_address(self.conn.peer));
                self.phase = Phase::Closing;
                ErrorCode::AUTH_FAILED
            }
        };
        put_reply(&mut self.unsent, xid, Zxid::ZERO, err, |_| {});
        self.conn.stats.sent.fetch_add(1, Relaxed);
        self.shared.stats.sent.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Without SASL configured: a null token (B§10.1).
    fn sasl(&mut self, xid: i32) {
        tracing::error!(peer = %self.conn.peer, "a client wants SASL, which is not configured");
        put_reply(&mut self.unsent, xid, Zxid::ZERO, ErrorCode::OK, |out| jute::put_bytes(out, None));
        self.conn.stats.sent.fetch_add(1, Relaxed);
        self.shared.stats.sent.fetch_add(1, Relaxed);
    }

    fn log_end(&self, end: &End) {
        let peer = java_address(self.conn.peer);
        let session = self.conn.session();
        match end {
            End::Done => tracing::debug!(%session, "Closed socket connection for client {peer}"),
            End::Gone => tracing::debug!(%session, "client {peer} has closed its socket"),
            End::Io(e) => tracing::debug!(%session, "client {peer}: {e}"),
            End::Misbehaved(why) => {
                tracing::warn!("Exception causing close of session {session}: {why} (client {peer})")
            }
        }
    }
}

/// A four-letter word's answer counts as many packets as Java sends it in: what its `BufferedWriter` holds at a time.
fn count_answer(shared: &Shared, conn: &ConnShared, text: &str) {
    let flushes = text.len().div_ceil(8192) as u64;
    conn.stats.sent.fetch_add(flushes, Relaxed);
    shared.stats.sent.fetch_add(flushes, Relaxed);
}

/// The body of the frame at the front of `bytes`, if it is whole and of a length that is allowed.
fn next_frame(bytes: &[u8], limit: usize) -> Option<&[u8]> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*word)).ok().filter(|n| *n <= limit)?;
    rest.get(..length)
}

fn take_buf(unsent: &mut BytesMut, buf: &mut BytesMut) {
    if buf.is_empty() {
        return;
    }
    if unsent.is_empty() {
        std::mem::swap(unsent, buf);
        buf.clear();
    } else {
        unsent.extend_from_slice(buf);
        buf.clear();
    }
}

/// `InetSocketAddress.toString()`: a slash first, IPv6 without brackets and without `::`.
pub fn java_address(address: std::net::SocketAddr) -> String {
    match address {
        std::net::SocketAddr::V4(v4) => format!("/{v4}"),
        std::net::SocketAddr::V6(v6) => {
            let groups: Vec<String> = v6.ip().segments().iter().map(|s| format!("{s:x}")).collect();
            format!("/{}:{}", groups.join(":"), v6.port())
        }
    }
}
