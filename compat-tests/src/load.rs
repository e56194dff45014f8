//! Clients that write and read on all servers of an ensemble at once, move to another server when theirs is lost, and record
//! what they were told.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fastrand::Rng;

use crate::history::{Answer, History, Op, Record, Told};
use crate::wire::{Acl, Client, ConnectRequest, Dec, Enc, Reply, op};

/// A session that outlives its connections, as a client library keeps one.
#[derive(Debug)]
pub struct Session {
    addrs: Vec<SocketAddr>,
    at: usize,
    pub id: i64,
    pub password: Vec<u8>,
    pub timeout_ms: i32,
    pub last_zxid: i64,
    client: Option<Client>,
}

/// How a session came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    Kept,
    Expired,
}

impl Session {
    /// A new session on `addrs[first]`; the others are where it may go.
    pub fn open(addrs: &[SocketAddr], first: usize, timeout_ms: i32) -> Result<Session> {
        let mut session = Session {
            addrs: addrs.to_vec(),
            at: first % addrs.len(),
            id: 0,
            password: vec![0; 16],
            timeout_ms,
            last_zxid: 0,
            client: None,
        };
        session.attach(Duration::from_secs(30))?;
        Ok(session)
    }

    pub fn server(&self) -> SocketAddr {
        self.addrs[self.at]
    }

    pub fn client(&mut self) -> Result<&mut Client> {
        self.client.as_mut().context("the session is not connected")
    }

    pub fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    /// Drops the connection without a word.
    pub fn drop_connection(&mut self) {
        self.client = None;
    }

    /// Leaves for another server, or back to the same one.
    pub fn move_to(&mut self, addr: SocketAddr) -> Result<Attached> {
        self.client = None;
        self.at = self.addrs.iter().position(|a| *a == addr).context("not one of the session's servers")?;
        self.try_attach()
    }

    /// Connects wherever it can, trying the servers in turn. `Expired`: it has a new session now.
    pub fn attach(&mut self, patience: Duration) -> Result<Attached> {
        let deadline = Instant::now() + patience;
        loop {
            match self.try_attach() {
                Ok(attached) => return Ok(attached),
                Err(e) if Instant::now() > deadline => {
                    return Err(e.context(format!("no server took the session for {patience:?}")));
                }
                Err(_) => self.at = (self.at + 1) % self.addrs.len(),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_attach(&mut self) -> Result<Attached> {
        let addr = self.server();
        let fresh = self.id == 0;
        let request = ConnectRequest {
            last_zxid: self.last_zxid,
            ..ConnectRequest::reattach(self.timeout_ms, self.id, &self.password)
        };
        let mut conn = crate::wire::Conn::open(addr)?;
        conn.send_frame(&request.encode())?;
        let reply = match conn.read_frame(CONNECT)? {
            crate::wire::Incoming::Frame(frame) => crate::wire::ConnectReply::decode(&frame)?,
            other => bail!("{addr} answered the connect request with {other:?}"),
        };
        if reply.session == 0 && !fresh {
            self.id = 0;
            self.password = vec![0; 16];
            self.last_zxid = 0;
            self.attach(Duration::from_secs(30))?;
            return Ok(Attached::Expired);
        }
        self.id = reply.session;
        self.password = reply.password.clone();
        let mut client = Client::on(conn, reply);
        client.patience = REPLY;
        self.client = Some(client);
        Ok(Attached::Kept)
    }

    /// None when the connection ended (or stayed silent) before the reply.
    pub fn call(&mut self, op: i32, body: &[u8]) -> Option<Reply> {
        let reply = self.client.as_mut()?.call(op, body);
        match reply {
            Ok(reply) => {
                self.last_zxid = self.last_zxid.max(reply.zxid);
                Some(reply)
            }
            Err(_) => {
                self.client = None;
                None
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Shape {
    pub sessions: usize,
    pub timeout_ms: i32,
    /// Between two requests of a session.
    pub pause: Duration,
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { sessions: 6, timeout_ms: 30_000, pause: Duration::from_millis(2), seed: 1 }
    }
}

/// The load while it runs.
#[derive(Debug)]
pub struct Load {
    workers: Vec<JoinHandle<Result<Worker>>>,
    shared: Arc<Shared>,
    history: History,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    acked: AtomicU64,
}

impl Load {
    /// Makes the nodes and starts the sessions, spread over `addrs`.
    pub fn start(addrs: &[SocketAddr], shape: Shape) -> Result<Load> {
        let shared = Arc::new(Shared::default());
        let mut founder = Worker::open(addrs, 0, &shape, shared.clone())?;
        founder.found()?;
        let mut workers = Vec::new();
        for n in 0..shape.sessions {
            let mut worker = Worker::open(addrs, n, &shape, shared.clone())?;
            workers.push(thread::spawn(move || worker.run().map(|()| worker)));
        }
        founder.close()?;
        let history = History { closed: founder.closed, expired: founder.expired, records: founder.records };
        Ok(Load { workers, shared, history })
    }

    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Waits until `n` more writes have been acknowledged; how long that took.
    pub fn progress(&self, n: u64, patience: Duration) -> Result<Duration> {
        let (from, began) = (self.acked(), Instant::now());
        while self.acked() < from + n {
            if let Some(ended) = self.workers.iter().find(|w| w.is_finished()) {
                bail!("{:?} of the load has ended; `stop` says why", ended.thread().id());
            }
            if began.elapsed() > patience {
                bail!("{} of {n} writes were acknowledged within {patience:?}", self.acked() - from);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(began.elapsed())
    }

    /// Stops the clients. Their sessions stay open until they are dropped or closed.
    pub fn stop(mut self) -> Result<(History, Vec<Session>)> {
        self.shared.over.store(true, Ordering::Relaxed);
        let mut history = std::mem::take(&mut self.history);
        let mut sessions = Vec::new();
        for worker in self.workers.drain(..) {
            let worker = worker.join().map_err(|_| anyhow!("a client panicked"))??;
            history.records.extend(worker.records);
            history.expired.extend(worker.expired);
            history.closed.extend(worker.closed);
            sessions.push(worker.session);
        }
        Ok((history, sessions))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

/// One client.
#[derive(Debug)]
struct Worker {
    number: usize,
    session: Session,
    rng: Rng,
    pause: Duration,
    /// Of the values, so that no two writes are the same.
    written: u64,
    ephemerals: VecDeque<String>,
    versions: [i32; SHARED],
    records: Vec<Record>,
    expired: Vec<i64>,
    closed: Vec<i64>,
    shared: Arc<Shared>,
}

impl Worker {
    fn open(addrs: &[SocketAddr], number: usize, shape: &Shape, shared: Arc<Shared>) -> Result<Worker> {
        Ok(Worker {
            number,
            session: Session::open(addrs, number, shape.timeout_ms)?,
            rng: Rng::with_seed(shape.seed.wrapping_mul(1000).wrapping_add(number as u64)),
            pause: shape.pause,
            written: 0,
            ephemerals: VecDeque::new(),
            versions: [-1; SHARED],
            records: Vec::new(),
            expired: Vec::new(),
            closed: Vec::new(),
            shared,
        })
    }

    /// The nodes that everybody uses.
    fn found(&mut self) -> Result<()> {
        let parents = ["/load", SEQUENCE, EPHEMERALS].map(str::to_string);
        for path in parents.into_iter().chain((0..SHARED).map(shared_path)) {
            self.create(&path, 0);
            if matches!(self.records.last(), Some(Record { answer: Some(a), .. }) if a.told == Told::Refused(NODE_EXISTS))
            {
                // A load before this one has made it. What it holds is not known to this history.
                self.records.pop();
                continue;
            }
            if !matches!(self.records.last(), Some(Record { answer: Some(a), .. }) if matches!(a.told, Told::Created(_)))
            {
                bail!("cannot create {path}: {:?}", self.records.last());
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if self.session.call(op::CLOSE_SESSION, &[]).is_some() {
            self.closed.push(self.session.id);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        while !self.shared.over.load(Ordering::Relaxed) {
            if !self.session.is_connected() {
                self.reattach()?;
            }
            self.step();
            thread::sleep(self.pause);
        }
        if !self.session.is_connected() {
            self.reattach()?;
        }
        Ok(())
    }

    fn reattach(&mut self) -> Result<()> {
        let id = self.session.id;
        if self.session.attach(Duration::from_secs(60))? == Attached::Expired {
            self.expired.push(id);
            self.ephemerals.clear();
        }
        Ok(())
    }

    fn step(&mut self) {
        let n = self.rng.usize(..SHARED);
        let other = (n + 1 + self.rng.usize(..SHARED - 1)) % SHARED;
        match self.rng.u8(..100) {
            0..35 => self.set(n, -1),
            35..45 => self.set(n, self.versions[n]),
            45..55 => self.set_both(n, other),
            55..63 => self.create(&format!("{SEQUENCE}/n"), SEQUENTIAL),
            63..69 if self.ephemerals.len() < 4 => {
                let path = format!("{EPHEMERALS}/{}-{}", self.number, self.written);
                self.create(&path, EPHEMERAL);
            }
            63..73 => self.delete_ephemeral(),
            73..75 => self.children(),
            75..77 => self.sync(),
            _ => self.get(n),
        }
    }

    fn value(&mut self) -> String {
        self.written += 1;
        format!("{}-{}-{}", self.number, self.session.id, self.written)
    }

    fn set(&mut self, n: usize, version: i32) {
        let (path, value) = (shared_path(n), self.value());
        let body = Enc::new().string(&path).buffer(Some(value.as_bytes())).int(version);
        self.ask(Op::Set { paths: vec![path], value }, op::SET_DATA, body, |d| {
            Ok(Told::Stats(vec![d.stat()?]))
        });
        if let Some(Record { answer: Some(Answer { told: Told::Stats(stats), .. }), .. }) =
            self.records.last()
        {
            self.versions[n] = stats[0].version;
        }
    }

    fn set_both(&mut self, a: usize, b: usize) {
        let (paths, value) = (vec![shared_path(a), shared_path(b)], self.value());
        let mut body = Enc::new();
        for path in &paths {
            body = body.int(op::SET_DATA).bool(false).int(-1);
            body = body.string(path).buffer(Some(value.as_bytes())).int(-1);
        }
        let body = body.int(-1).bool(true).int(-1);
        self.ask(Op::Set { paths, value }, op::MULTI, body, |d| {
            let mut stats = Vec::new();
            loop {
                match (d.int()?, d.bool()?, d.int()?) {
                    (-1, true, -1) => return Ok(Told::Stats(stats)),
                    (op::SET_DATA, false, 0) => stats.push(d.stat()?),
                    (-1, false, _) => return Ok(Told::Refused(d.int()?)),
                    other => bail!("a multi of setData was answered with {other:?}"),
                }
            }
        });
    }

    fn create(&mut self, path: &str, flags: i32) {
        let value = self.value();
        let body = Enc::new().string(path).buffer(Some(value.as_bytes())).acls(&Acl::open()).int(flags);
        let op = Op::Create { path: path.to_string(), value, ephemeral: flags == EPHEMERAL };
        self.ask(op, op::CREATE, body, |d| Ok(Told::Created(d.string()?)));
        if flags == EPHEMERAL
            && let Some(Record { answer: Some(Answer { told: Told::Created(path), .. }), .. }) =
                self.records.last()
        {
            self.ephemerals.push_back(path.clone());
        }
    }

    fn delete_ephemeral(&mut self) {
        let Some(path) = self.ephemerals.pop_front() else { return };
        let body = Enc::new().string(&path).int(-1);
        self.ask(Op::Delete { path }, op::DELETE, body, |_| Ok(Told::Deleted));
    }

    fn children(&mut self) {
        let body = Enc::new().string(SEQUENCE).bool(false);
        self.ask(Op::Children { path: SEQUENCE.to_string() }, op::GET_CHILDREN, body, |d| {
            Ok(Told::Names(BTreeSet::from_iter(d.strings()?)))
        });
    }

    fn sync(&mut self) {
        self.ask(Op::Sync, op::SYNC, Enc::new().string("/"), |_| Ok(Told::Synced));
    }

    fn get(&mut self, n: usize) {
        let path = shared_path(n);
        let body = Enc::new().string(&path).bool(false);
        self.ask(Op::Get { path }, op::GET_DATA, body, |d| Ok(Told::Value(d.string()?, d.stat()?)));
    }

    fn ask(&mut self, what: Op, op: i32, body: Enc, read: impl FnOnce(&mut Dec) -> Result<Told>) {
        let (session, server, sent) = (self.session.id, self.session.server(), Instant::now());
        let reply = self.session.call(op, &body.bytes());
        let at = Instant::now();
        let answer = reply.map(|reply| {
            let told = match reply.err {
                0 => read(&mut Dec(&reply.body)).unwrap_or(Told::Refused(UNREADABLE)),
                err => Told::Refused(err),
            };
            Answer { at, zxid: reply.zxid, told }
        });
        let done = matches!(&answer, Some(a) if !matches!(a.told, Told::Refused(_)));
        if done && op != op::GET_DATA && op != op::GET_CHILDREN && op != op::SYNC {
            self.shared.acked.fetch_add(1, Ordering::Relaxed);
        }
        // A session that another connection has taken over or that has ended starts anew.
        if matches!(&answer, Some(Answer { told: Told::Refused(SESSION_EXPIRED | SESSION_MOVED), .. })) {
            self.session.drop_connection();
        }
        self.records.push(Record { session, server, op: what, sent, answer });
    }
}

fn shared_path(n: usize) -> String {
    format!("/load/v{n}")
}

const SHARED: usize = 8;
const SEQUENCE: &str = "/load/sequence";
const EPHEMERALS: &str = "/load/ephemerals";
const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;
const NODE_EXISTS: i32 = -110;
const SESSION_EXPIRED: i32 = -112;
const SESSION_MOVED: i32 = -118;
/// No code of ZooKeeper: the body was not what its op promises.
const UNREADABLE: i32 = -9999;
/// A server that is stopped or cut off answers nothing; a client goes elsewhere.
const CONNECT: Duration = Duration::from_secs(2);
const REPLY: Duration = Duration::from_secs(4);
