//! Writers that remember what was acknowledged, so that it can be looked for after the server was killed under them.
//!
//! Each writer has a node of its own and one request in flight: when the connection ends, everything acknowledged must be
//! there, and the one request without an answer may be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use compat_tests::wire::{Acl, Client, Dec, Enc, PERM_ALL, Reply, Stat, op};

use crate::dump::{SESSION_MS, Tree};

/// What an acknowledgement said about a node. Fields of the Stat are known where a reply had one.
#[derive(Clone, Debug)]
struct Known {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    version: i32,
    aversion: i32,
    owner: i64,
    czxid: Option<i64>,
    mzxid: Option<i64>,
}

/// What a request does when it succeeds: nodes by path, None for a deleted one.
type Change = Vec<(String, Option<Known>)>;

#[derive(Debug)]
pub struct Ledger {
    root: String,
    known: BTreeMap<String, Known>,
    /// The request that was never answered.
    pending: Change,
    pub session: i64,
    pub password: Vec<u8>,
}

impl Ledger {
    /// What is wrong in `tree` with the nodes of this writer.
    pub fn complaints(&self, tree: &Tree) -> Vec<String> {
        let without = self.compare(&self.known, tree);
        if without.is_empty() || self.pending.is_empty() {
            return without;
        }
        let mut with = self.known.clone();
        apply(&mut with, self.pending.clone());
        if self.compare(&with, tree).is_empty() { Vec::new() } else { without }
    }

    /// The unanswered request has happened or not: from now on `tree` is what is known.
    pub fn settle(&mut self, tree: &Tree) {
        if !self.compare(&self.known, tree).is_empty() {
            apply(&mut self.known, std::mem::take(&mut self.pending));
        }
        self.pending.clear();
    }

    pub fn ephemerals(&self) -> Vec<String> {
        let mine = self.known.iter().filter(|(_, k)| k.owner == self.session);
        mine.map(|(path, _)| path.clone()).collect()
    }

    fn compare(&self, known: &BTreeMap<String, Known>, tree: &Tree) -> Vec<String> {
        let below = format!("{}/", self.root);
        let mut found = Vec::new();
        for (path, known) in known {
            let Some(node) = tree.get(path) else {
                found.push(format!("{path} was acknowledged and is not there"));
                continue;
            };
            let stat = &node.stat;
            let same = node.data == known.data
                && node.acl == known.acl
                && (stat.version, stat.aversion) == (known.version, known.aversion)
                && stat.ephemeral_owner == known.owner
                && known.czxid.is_none_or(|z| z == stat.czxid)
                && known.mzxid.is_none_or(|z| z == stat.mzxid);
            if !same {
                found.push(format!("{path} is {:?} {:?}, acknowledged was {known:?}", stat, node.acl));
            }
        }
        for path in tree.keys().filter(|p| p.starts_with(&below) && !known.contains_key(*p)) {
            found.push(format!("{path} is there and should not be"));
        }
        found
    }
}

fn apply(known: &mut BTreeMap<String, Known>, change: Change) {
    for (path, node) in change {
        match node {
            Some(node) => known.insert(path, node),
            None => known.remove(&path),
        };
    }
}

/// Writers that run until the server is gone. An answer that should not be is a panic of the writer.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// `label` keeps the nodes of one round apart from another's.
    pub fn start(addr: SocketAddr, label: &str, writers: usize, seed: u64, quotas: bool) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let writers = (0..writers)
            .map(|nth| {
                let root = format!("/{label}-{nth}");
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                let random = fastrand::Rng::with_seed(seed + nth as u64);
                std::thread::spawn(move || {
                    let mut writer = Writer::connect(addr, root, random).expect("the server serves");
                    if quotas && nth == 0 {
                        writer.set_quota().expect("the server serves");
                    }
                    while !stop.load(Ordering::Relaxed) {
                        // Shown only when the test fails: the kill ends every writer this way.
                        if let Err(e) = writer.step() {
                            println!("{}: {e:#}", writer.ledger.root);
                            break;
                        }
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    writer.ledger
                })
            })
            .collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until that many requests were answered; the load goes on.
    pub fn wait_for(&self, requests: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.acknowledged.load(Ordering::Relaxed) < requests {
            assert!(!self.writers.iter().any(JoinHandle::is_finished), "a writer has ended too early");
            assert!(
                Instant::now() < deadline,
                "{} of {requests} requests",
                self.acknowledged.load(Ordering::Relaxed)
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What each writer knows, after the server was killed (or now, with no request in flight).
    pub fn finish(self) -> Vec<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.into_iter().map(|w| w.join().expect("a writer does not panic")).collect()
    }
}

struct Writer {
    addr: SocketAddr,
    client: Client,
    random: fastrand::Rng,
    ledger: Ledger,
    next: u32,
}

const DIGEST_ID: &str = "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=";

impl Writer {
    fn connect(addr: SocketAddr, root: String, random: fastrand::Rng) -> Result<Writer> {
        let mut client = Client::connect(addr, SESSION_MS)?;
        if client.auth("digest", b"u:p")?.is_err() {
            panic!("digest auth was refused");
        }
        let ledger = Ledger {
            root: root.clone(),
            known: BTreeMap::new(),
            pending: Vec::new(),
            session: client.connect.session,
            password: client.connect.password.clone(),
        };
        let mut writer = Writer { addr, client, random, ledger, next: 0 };
        writer.create(op::CREATE2, root, 0, Some(Vec::new()))?;
        Ok(writer)
    }

    fn step(&mut self) -> Result<()> {
        match self.random.u32(0..100) {
            0..16 => self.create_some(op::CREATE2, 0),
            16..24 => self.create_some(op::CREATE2, 1),
            24..30 => self.create_sequential(),
            30..34 => self.create_some(op::CREATE_CONTAINER, 4),
            34..38 => self.create_some(op::CREATE_TTL, 5),
            38..64 => self.set_some(),
            64..76 => self.delete_some(),
            76..84 => self.set_acl_of_some(),
            84..93 => self.multi(),
            93..96 => self.fail(),
            96..98 => self.failing_multi(),
            _ => self.side_session(),
        }
    }

    /// Sends the request; its change is pending until the reply, which may tell more of the changed nodes.
    fn ask(&mut self, op: i32, body: Enc, change: Change) -> Result<Reply> {
        self.ledger.pending = change;
        let reply = self.client.call(op, &body.bytes())?;
        if reply.err != 0 {
            panic!("op {op} answered {}", reply.err);
        }
        let change = std::mem::take(&mut self.ledger.pending);
        apply(&mut self.ledger.known, change);
        Ok(reply)
    }

    fn learn(&mut self, path: &str, stat: Stat) {
        if let Some(known) = self.ledger.known.get_mut(path) {
            known.czxid = Some(stat.czxid);
            known.mzxid = Some(stat.mzxid);
        }
    }

    fn create(&mut self, op: i32, path: String, flags: i32, data: Option<Vec<u8>>) -> Result<()> {
        let acl = self.some_acl();
        let owner = if flags & 1 == 1 && op == op::CREATE2 { self.ledger.session } else { 0 };
        let body = create_body(op, &path, data.as_deref(), &acl, flags);
        let change = vec![(path.clone(), Some(Known::new(data, acl, owner)))];
        let reply = self.ask(op, body, change)?;
        let mut d = Dec(&reply.body);
        d.string()?;
        self.learn(&path, d.stat()?);
        Ok(())
    }

    fn create_some(&mut self, op: i32, flags: i32) -> Result<()> {
        let (parent, data) = (self.some_parent(), self.some_data());
        let path = format!("{parent}/{}", self.name());
        self.create(op, path, flags, data)
    }

    /// Below a new node, so that the number can be told: it is the first create there.
    fn create_sequential(&mut self) -> Result<()> {
        let parent = self.new_path();
        self.create(op::CREATE2, parent.clone(), 0, None)?;
        let acl = Acl::open();
        let body = create_body(op::CREATE2, &format!("{parent}/s-"), Some(b"s"), &acl, 2);
        let path = format!("{parent}/s-0000000000");
        let known = Known::new(Some(b"s".to_vec()), acl, 0);
        self.ask(op::CREATE2, body, vec![(path, Some(known))]).map(drop)
    }

    fn set_some(&mut self) -> Result<()> {
        let (path, known) = self.some_node();
        let data = self.some_data();
        let body = Enc::new().string(&path).buffer(data.as_deref()).int(known.version);
        let after = Known { data, version: known.version + 1, mzxid: None, ..known };
        let reply = self.ask(op::SET_DATA, body, vec![(path.clone(), Some(after))])?;
        self.learn(&path, Dec(&reply.body).stat()?);
        Ok(())
    }

    fn delete_some(&mut self) -> Result<()> {
        let Some((path, known)) = self.some_leaf() else { return Ok(()) };
        let body = Enc::new().string(&path).int(known.version);
        self.ask(op::DELETE, body, vec![(path, None)]).map(drop)
    }

    fn set_acl_of_some(&mut self) -> Result<()> {
        let (path, known) = self.some_node();
        let acl = self.some_acl();
        let body = Enc::new().string(&path).acls(&acl).int(known.aversion);
        let after = Known { acl, aversion: known.aversion + 1, ..known };
        self.ask(op::SET_ACL, body, vec![(path, Some(after))]).map(drop)
    }

    /// A create of each kind that a multi may hold, a set, a check and a delete.
    fn multi(&mut self) -> Result<()> {
        let (set, known) = self.some_node();
        let [plain, ephemeral, container, ttl, gone] = [0; 5].map(|_| self.new_path());
        let (mut data, acl) = (self.some_data(), Acl::open());
        // It is sent seven times in one request.
        data.iter_mut().for_each(|d| d.truncate(20_000));
        let header = |e: Enc, op: i32| e.int(op).bool(false).int(-1);
        let create = |e: Enc, op: i32, path: &str, flags: i32| {
            header(e, op).raw(&create_body(op, path, data.as_deref(), &acl, flags).bytes())
        };
        let mut e = create(Enc::new(), op::CREATE, &plain, 0);
        e = create(e, op::CREATE, &ephemeral, 1);
        e = create(e, op::CREATE_CONTAINER, &container, 4);
        e = create(e, op::CREATE_TTL, &ttl, 5);
        e = create(e, op::CREATE, &gone, 0);
        e = header(e, op::SET_DATA).string(&set).buffer(data.as_deref()).int(known.version);
        e = header(e, op::CHECK).string(&set).int(known.version + 1);
        e = header(e, op::DELETE).string(&gone).int(0);
        e = e.int(-1).bool(true).int(-1);
        let session = self.ledger.session;
        let new = |owner| Some(Known::new(data.clone(), acl.clone(), owner));
        let change = vec![
            (plain.clone(), new(0)),
            (ephemeral, new(session)),
            (container, new(0)),
            (ttl, new(0)),
            (set, Some(Known { data: data.clone(), version: known.version + 1, mzxid: None, ..known })),
        ];
        let reply = self.ask(op::MULTI, e, change)?;
        if Dec(&reply.body).int()? != op::CREATE {
            panic!("the multi that creates {plain} failed");
        }
        Ok(())
    }

    fn failing_multi(&mut self) -> Result<()> {
        let name = self.new_path();
        let body = Enc::new().int(op::CREATE).bool(false).int(-1);
        let body = body.raw(&create_body(op::CREATE, &name, None, &Acl::open(), 0).bytes());
        let body = body.int(op::CHECK).bool(false).int(-1).string(&self.ledger.root).int(1_000_000);
        let body = body.int(-1).bool(true).int(-1);
        let reply = self.ask(op::MULTI, body, Vec::new())?;
        if Dec(&reply.body).int()? != -1 {
            panic!("a multi with a wrong version passed");
        }
        Ok(())
    }

    /// Failed writes are logged as well.
    fn fail(&mut self) -> Result<()> {
        let body = create_body(op::CREATE, &self.ledger.root, None, &Acl::open(), 0);
        let reply = self.client.call(op::CREATE, &body.bytes())?;
        if reply.err != -110 {
            panic!("a create of what exists answered {}", reply.err);
        }
        Ok(())
    }

    /// A session that comes and goes, with an ephemeral that goes with it.
    fn side_session(&mut self) -> Result<()> {
        let mut side = Client::connect(self.addr, SESSION_MS)?;
        let path = format!("/side{}-{}", self.ledger.root.replace('/', "-"), self.name());
        if side.create(&path, b"", 1)?.is_err() {
            panic!("{path} could not be created");
        }
        side.close()
    }

    /// A quota on the writer's own node.
    fn set_quota(&mut self) -> Result<()> {
        let dir = format!("/zookeeper/quota{}", self.ledger.root);
        let limits = (format!("{dir}/zookeeper_limits"), &b"count=100000,bytes=-1"[..]);
        let stats = (format!("{dir}/zookeeper_stats"), &b"count=0,bytes=0"[..]);
        for (path, data) in [(dir, &b""[..]), limits, stats] {
            if let Err(code) = self.client.create(&path, data, 0)? {
                panic!("{path} answered {code}");
            }
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn new_path(&mut self) -> String {
        let name = self.name();
        format!("{}/{name}", self.ledger.root)
    }

    fn some_node(&mut self) -> (String, Known) {
        let nth = self.random.usize(0..self.ledger.known.len());
        let (path, known) = self.ledger.known.iter().nth(nth).expect("the root is always known");
        (path.clone(), known.clone())
    }

    fn some_parent(&mut self) -> String {
        let (path, known) = self.some_node();
        // Two levels below the root are enough, and an ephemeral has no children.
        let shallow = path.matches('/').count() < 3;
        if known.owner == 0 && shallow { path } else { self.ledger.root.clone() }
    }

    fn some_leaf(&mut self) -> Option<(String, Known)> {
        let (path, known) = self.some_node();
        let below = format!("{path}/");
        let childless =
            self.ledger.known.range(below.clone()..).next().is_none_or(|(p, _)| !p.starts_with(&below));
        (childless && path != self.ledger.root).then_some((path, known))
    }

    fn some_data(&mut self) -> Option<Vec<u8>> {
        let length = match self.random.u32(0..100) {
            0..8 => return None,
            8..16 => 0,
            16..97 => self.random.usize(1..600),
            97..99 => self.random.usize(1000..20_000),
            _ => self.random.usize(100_000..400_000),
        };
        let letter = self.random.u8(b'a'..=b'z');
        Some(vec![letter; length])
    }

    /// Every one lets the writer itself do everything.
    fn some_acl(&mut self) -> Vec<Acl> {
        let mine = Acl::new(PERM_ALL, "digest", DIGEST_ID);
        match self.random.u32(0..6) {
            0..3 => Acl::open(),
            3 => vec![mine],
            4 => vec![Acl::new(1, "world", "anyone"), mine],
            _ => vec![mine, Acl::new(3, "ip", "127.0.0.0/8"), Acl::new(1, "ip", "10.0.0.1")],
        }
    }
}

impl Known {
    fn new(data: Option<Vec<u8>>, acl: Vec<Acl>, owner: i64) -> Known {
        Known { data, acl, version: 0, aversion: 0, owner, czxid: None, mzxid: None }
    }
}

fn create_body(op: i32, path: &str, data: Option<&[u8]>, acl: &[Acl], flags: i32) -> Enc {
    let body = Enc::new().string(path).buffer(data).acls(acl).int(flags);
    if op == op::CREATE_TTL { body.long(3_600_000) } else { body }
}
