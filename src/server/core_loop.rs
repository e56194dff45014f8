//! The task that owns the Replica: inputs from one bounded inbox, a batch at a time; outputs carried out in order.
//!
//! It never waits for anybody: outboxes and the log's queue take what they are given. A batch ends with one pass over what
//! has committed, under the write lock, and that is also when events and replies reach the outboxes.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::sync::mpsc;

use super::{
    election_log::ElectionLog,
    fatal,
    log_thread::LogQueue,
    net::Net,
    registry::{CloseCause, ConnShared, SessionReply},
    shared::{CoreMsg, Sessions, Shared},
    snapshot_job,
};
use crate::{
    db::{Database, Map},
    ids::{ConnId, Millis},
    pipeline::read,
    proto::OpCode,
    replica::{CloseReason, Done, Input, Output, Replica},
    storage::EpochFile,
    zab::{self, Persist, Standing, Token},
};

/// How many messages are taken at once.
const BATCH: usize = 1024;
/// Events for a client that reads nothing are kept up to here; then it is cut off.
const OUTBOX_LIMIT: usize = 64 << 20;

pub struct Core {
    shared: Arc<Shared>,
    replica: Replica,
    log: Arc<LogQueue>,
    /// None for a server that is alone.
    net: Option<Net>,
    /// Of a member of an ensemble.
    elections: Option<ElectionLog>,
    conns: Map<ConnId, Arc<ConnShared>>,
    /// Connections with something new in their outbox, to be woken when the batch is done.
    touched: Vec<Arc<ConnShared>>,
    now_mono: Millis,
}

impl Core {
    pub fn new(shared: Arc<Shared>, replica: Replica, log: Arc<LogQueue>, net: Option<Net>) -> Core {
        Core {
            shared,
            replica,
            log,
            net,
            elections: None,
            conns: Map::default(),
            touched: Vec::new(),
            now_mono: 0,
        }
    }

    /// Elections are written down.
    pub fn telling(self, elections: Option<ElectionLog>) -> Core {
        Core { elections, ..self }
    }

    /// Carries out what there is to do from the start: a standalone server serves from here on, without anybody's asking.
    pub fn begin(&mut self) {
        self.turn(&mut Vec::new());
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<CoreMsg>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wait = self.replica.poll_timeout().map(|due| self.shared.clock.until(due));
            let received = match wait {
                None => inbox.recv_many(&mut batch, BATCH).await,
                Some(wait) => match tokio::time::timeout(wait, inbox.recv_many(&mut batch, BATCH)).await {
                    Ok(received) => received,
                    Err(_) => {
                        self.turn(&mut batch);
                        continue;
                    }
                },
            };
            if received == 0 {
                return;
            }
            self.turn(&mut batch);
        }
    }

    fn turn(&mut self, batch: &mut Vec<CoreMsg>) {
        let shared = self.shared.clone();
        let now = shared.clock.now();
        self.now_mono = now.mono;
        {
            let db = shared.db.read();
            for message in batch.drain(..) {
                match message {
                    CoreMsg::Input(input) => self.input(input, &db),
                    CoreMsg::Hello(conn, input) => {
                        self.conns.insert(conn.id, conn);
                        self.input(input, &db);
                    }
                    CoreMsg::Requests(requests) => {
                        for request in requests {
                            self.replica.handle(now, Input::Request(request), &db);
                        }
                    }
                    CoreMsg::Sessions(answer) => {
                        let config = &shared.config;
                        let local = (config.is_distributed() && config.local_sessions_enabled)
                            .then(|| self.replica.local_sessions().buckets());
                        let _ = answer.send(Sessions { all: self.replica.sessions().buckets(), local });
                    }
                    CoreMsg::Figures(answer) => {
                        if let Some(leader) = self.replica.peer().leader() {
                            let _ = answer.send(leader.figures());
                        }
                    }
                    CoreMsg::ResetProposalSizes => self.replica.reset_proposal_sizes(),
                }
            }
            if self.replica.poll_timeout().is_some_and(|due| due <= now.mono) {
                self.replica.handle_timeout(now, &db);
            }
        }
        self.carry_out(None);
        while self.replica.has_committed() {
            let mut db = shared.db.write();
            self.replica.apply_committed(&mut db);
            self.carry_out(Some(&mut db));
        }
        self.log.wake();
        if let Some(net) = &mut self.net {
            net.flush();
        }
        if let (Some(log), Some(election)) = (&mut self.elections, self.replica.peer().election()) {
            log.take(election.story(), now);
        }
        self.wake_touched();
    }

    fn input(&mut self, input: Input, db: &Database) {
        if let Input::ConnClosed { conn } = input {
            self.let_go(conn, CloseCause::Ended);
        }
        let now = self.shared.clock.now();
        self.replica.handle(now, input, db);
    }

    /// `db`: the write lock, where the caller has it.
    fn carry_out(&mut self, mut db: Option<&mut Database>) {
        while let Some(output) = self.replica.poll_output() {
            match output {
                Output::Reply { conn, bytes, done } => self.reply(conn, &bytes, done),
                Output::Event { conn, bytes } => self.event(conn, &bytes),
                Output::Zab(output) => self.zab(output, db.as_deref_mut()),
                Output::Standing { standing, serving } => self.standing(standing, serving),
                Output::RollLog => self.log.roll(),
                Output::TakeSnapshot => match db.as_deref_mut() {
                    Some(db) => snapshot_job::begin(&self.shared, db),
                    None => snapshot_job::begin(&self.shared, &mut self.shared.db.write()),
                },
                Output::SessionOpened { conn, bytes, opened } => {
                    if let Some(received) = opened.received {
                        self.record_open(conn, received);
                    }
                    self.hand_session(conn, &bytes, SessionReply::Opened(opened));
                }
                Output::SessionRefused { conn, bytes, session, wrong_password } => {
                    self.hand_session(conn, &bytes, SessionReply::Refused { session, wrong_password });
                }
                Output::CloseConn { conn, why } => self.let_go(conn, CloseCause::Core(why)),
                Output::Fatal { code, why } => fatal::stop(code, &why),
            }
        }
    }

    /// What concerns other servers and the disk. `db`: as for [`Core::carry_out`].
    fn zab(&mut self, output: zab::Output, db: Option<&mut Database>) {
        match output {
            zab::Output::Persist { token, what } => self.persist(token, what, db),
            other => {
                if let Some(net) = &mut self.net {
                    net.carry_out(other, &self.shared, db);
                }
            }
        }
    }

    fn persist(&self, token: Token, what: Persist, db: Option<&mut Database>) {
        match what {
            Persist::Append { zxid, txn } => self.log.append(token, zxid, txn),
            Persist::Truncate { to } => self.log.truncate(token, to),
            Persist::AcceptedEpoch(epoch) => self.log.epoch(token, EpochFile::Accepted, epoch),
            Persist::CurrentEpoch(epoch) => self.log.epoch(token, EpochFile::Current, epoch),
            Persist::Snapshot => {
                let capture = match db {
                    Some(db) => db.begin_capture(),
                    None => self.shared.db.write().begin_capture(),
                };
                self.log.snapshot(token, capture);
            }
        }
    }

    /// Clients are served, or not any more: then every connection ends, whether the core has heard of it or not.
    fn standing(&mut self, standing: Standing, serving: bool) {
        tracing::info!("this server is {standing}{}", if serving { "" } else { ", and serves no clients" });
        self.shared.standing.set(standing, serving);
        if serving {
            // Java's counters belong to the server object of a role (`ServerStats`).
            self.shared.stats.begin_role();
        } else {
            for conn in self.shared.conns.all() {
                self.let_go(conn.id, CloseCause::Core(CloseReason::NotServing));
                conn.close(CloseCause::Core(CloseReason::NotServing));
            }
        }
    }

    /// From here on nothing is answered to this connection. What it had under way is no longer counted; it submits no more,
    /// since it looks at `close` under the lock that its submissions take.
    fn let_go(&mut self, conn: ConnId, cause: CloseCause) {
        let Some(conn) = self.conns.remove(&conn) else { return };
        {
            let mut outbox = conn.outbox.lock();
            outbox.close.get_or_insert(cause);
            let unanswered = std::mem::take(&mut outbox.in_flight);
            self.shared.in_process.fetch_sub(unanswered as usize, Relaxed);
        }
        self.touched.push(conn);
    }

    fn reply(&mut self, conn: ConnId, bytes: &[u8], done: Done) {
        let Some(conn) = self.conns.get(&conn) else { return };
        {
            let mut outbox = conn.outbox.lock();
            outbox.buf.extend_from_slice(bytes);
            outbox.in_flight -= 1;
            if outbox.in_flight == 0 {
                outbox.bytes = 0;
            }
            if read::is_read(done.op, self.shared.read_rules) {
                outbox.note_read(bytes.len());
            }
        }
        self.shared.in_process.fetch_sub(1, Relaxed);
        conn.stats.replied(done, self.now_mono);
        conn.stats.sent.fetch_add(done.frames, Relaxed);
        self.shared.stats.sent.fetch_add(done.frames, Relaxed);
        self.shared.stats.latency.record(self.now_mono - done.received, 1);
        self.touched.push(conn.clone());
    }

    fn event(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get(&conn) else { return };
        {
            let mut outbox = conn.outbox.lock();
            if outbox.buf.len() + outbox.unsent > OUTBOX_LIMIT {
                outbox.close = Some(CloseCause::NotReading);
            } else {
                outbox.buf.extend_from_slice(bytes);
            }
        }
        conn.stats.sent.fetch_add(1, Relaxed);
        self.shared.stats.sent.fetch_add(1, Relaxed);
        self.touched.push(conn.clone());
    }

    fn record_open(&self, conn: ConnId, received: Millis) {
        let Some(conn) = self.conns.get(&conn) else { return };
        let done = Done { xid: 0, op: OpCode::CREATE_SESSION, zxid: Default::default(), received, frames: 1 };
        conn.stats.replied(done, self.now_mono);
        self.shared.stats.latency.record(self.now_mono - received, 1);
    }

    fn hand_session(&mut self, conn: ConnId, bytes: &[u8], reply: SessionReply) {
        let Some(conn) = self.conns.get(&conn) else { return };
        {
            let mut outbox = conn.outbox.lock();
            outbox.buf.extend_from_slice(bytes);
            outbox.session = Some(reply);
        }
        conn.stats.sent.fetch_add(1, Relaxed);
        self.shared.stats.sent.fetch_add(1, Relaxed);
        self.touched.push(conn.clone());
    }

    fn wake_touched(&mut self) {
        for conn in self.touched.drain(..) {
            let waker = conn.outbox.lock().waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}
