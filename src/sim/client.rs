//! Clients that wander between servers with their session, and believe no answer unseen.
//!
//! Every reply carries a zxid, so the order of everything is known, and no search is needed to find one that explains it:
//! (a) a write comes behind every txn whose answer somebody had before it was asked for, (b) every result is the model's at
//! the reply's zxid, (c) per session zxids never go back and replies come in order, (d) a watch's event comes before any
//! reply that shows the change.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use serde::Serialize;

use super::{
    net::{End, Item, Node, PipeId, Port},
    rng::Rng,
    scenario::Scenario,
    world::{Event, MS, Micros, Phase, World},
};
use crate::{
    ids::{SessionId, Sid, Zxid},
    jute::{self, Limits, Ustring},
    proto::{
        ErrorCode, OpCode, Stat,
        client::{
            ConnectResponse, CreateRequest, EventType, MultiHeader, PathRequest, PathVersionRequest,
            ReadRequest, ReplyHeader, SetDataRequest,
        },
        data::{WireAcl, perms},
        op::xid,
    },
};

#[derive(Clone, Debug)]
pub struct Hello {
    pub session: Option<(SessionId, [u8; 16])>,
    pub last_zxid: Zxid,
    pub timeout_ms: i32,
}

#[derive(Debug)]
pub struct Client {
    pipe: Option<PipeId>,
    /// The session is open on this connection.
    is_open: bool,
    session: Option<(SessionId, [u8; 16])>,
    timeout_ms: i32,
    last_zxid: Zxid,
    xid: i32,
    outstanding: VecDeque<Sent>,
    watches: Vec<Watch>,
    /// Sequential nodes it was told of.
    made: Vec<String>,
    last_heard: Micros,
    last_sent: Micros,
    /// When it asks for something next.
    acts_at: Micros,
    think: Micros,
    pub served_since_heal: bool,
}

#[derive(Clone, Debug)]
struct Sent {
    xid: i32,
    op: OpCode,
    /// The newest txn anybody had heard of.
    floor: Zxid,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Write { path: String, data: Option<Vec<u8>>, is_sequential: bool },
    Read { path: String, watches: bool },
    SetWatches,
    Other,
}

#[derive(Clone, Debug)]
struct Watch {
    path: String,
    children: bool,
    /// The node was not there.
    awaits: bool,
    /// It has seen everything up to here.
    since: Zxid,
    /// The connection's server knows of it.
    is_set: bool,
}

const PATHS: &[&str] = &["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/e1", "/e2"];

impl Client {
    pub fn new(scenario: &Scenario, rng: &mut Rng) -> Client {
        Client {
            pipe: None,
            is_open: false,
            session: None,
            timeout_ms: (scenario.tick_ms * rng.between(3, 20)) as i32,
            last_zxid: Zxid::ZERO,
            xid: 0,
            outstanding: VecDeque::new(),
            watches: Vec::new(),
            made: Vec::new(),
            last_heard: 0,
            last_sent: 0,
            acts_at: 0,
            think: scenario.think,
            served_since_heal: false,
        }
    }

    pub fn waits(&self) -> bool {
        !self.outstanding.is_empty()
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.last_zxid = Zxid::ZERO;
        self.watches.clear();
        self.made.clear();
    }

    /// Outcomes of what was under way are unknown from here on.
    fn lose_connection(&mut self) {
        self.pipe = None;
        self.is_open = false;
        self.outstanding.clear();
        self.watches.iter_mut().for_each(|w| w.is_set = false);
    }
}

fn encoded(record: &impl Serialize) -> Bytes {
    let mut body = BytesMut::new();
    jute::put(&mut body, record);
    body.freeze()
}

fn open_acl() -> Vec<WireAcl<'static>> {
    vec![WireAcl { perms: perms::ALL, scheme: Some("world".into()), id: Some("anyone".into()) }]
}

fn create_request<'a>(path: &'a str, data: &'a [u8], flags: i32) -> CreateRequest<'a> {
    CreateRequest {
        path: Some(path.into()),
        data: Some(serde_bytes::Bytes::new(data)),
        acl: Some(open_acl()),
        flags,
    }
}

impl World {
    pub fn client_acts(&mut self, n: usize) {
        // A client that lives pings in time.
        let patience = self.clients[n].timeout_ms as Micros * MS / 4;
        let is_due = self.clients[n].acts_at <= self.now;
        if is_due {
            self.clients[n].acts_at = self.now + self.rng.about(self.clients[n].think);
        }
        self.at(self.clients[n].acts_at.min(self.now + patience), Event::Client(n));
        let client = &self.clients[n];
        let timeout = client.timeout_ms as Micros * MS;
        let silent = self.now - client.last_heard;
        match client.pipe {
            None => return self.client_connects(n),
            Some(_) if !client.is_open && silent > timeout / 3 => return self.client_leaves(n, "no session"),
            Some(_) if client.waits() && silent > timeout * 2 / 3 => {
                return self.client_leaves(n, "no answer");
            }
            Some(_) if !client.is_open => return,
            Some(_) => {}
        }
        if self.phase >= Phase::Settling || !is_due {
            if self.now - self.clients[n].last_sent >= patience {
                self.ask(n, OpCode::PING, Bytes::new(), What::Other);
            }
            return;
        }
        let burst = if self.rng.chance(150) { self.rng.between(2, 6) } else { 1 };
        for _ in 0..burst {
            if self.clients[n].outstanding.len() < 8 && self.clients[n].pipe.is_some() {
                self.client_asks(n);
            }
        }
    }

    fn client_connects(&mut self, n: usize) {
        let sids: Vec<Sid> = self.sids().collect();
        let sid = *self.rng.pick(&sids);
        let (here, there) = (Node::client(n), Node::server(sid));
        let server = self.server(sid);
        if server.process.is_none() || !self.net.passes(here, there) || !self.net.passes(there, here) {
            return;
        }
        let from = End { node: here, life: 0, port: Port::Client, open: true };
        let to = End { node: there, life: self.server(sid).life, port: Port::Conn, open: true };
        let pipe = self.connect(from, to);
        let client = &mut self.clients[n];
        client.pipe = Some(pipe);
        client.last_heard = self.now;
        let hello =
            Hello { session: client.session, last_zxid: client.last_zxid, timeout_ms: client.timeout_ms };
        self.trace
            .line(self.now, || format!("c{n} connects to s{sid} with {:?}", hello.session.map(|s| s.0)));
        self.send(pipe, 0, Item::Hello(hello));
    }

    pub fn client_leaves(&mut self, n: usize, why: &'static str) {
        let Some(pipe) = self.clients[n].pipe else { return };
        self.trace.line(self.now, || format!("c{n} leaves: {why}"));
        self.clients[n].lose_connection();
        self.close(pipe, 0, "the client has left", 0);
    }

    fn ask(&mut self, n: usize, op: OpCode, body: Bytes, what: What) {
        let floor = self.acked;
        let now = self.now;
        let client = &mut self.clients[n];
        let Some(pipe) = client.pipe else { return };
        let xid = match op {
            OpCode::PING => xid::PING,
            OpCode::SET_WATCHES => xid::SET_WATCHES,
            _ => {
                client.xid += 1;
                client.xid
            }
        };
        client.last_sent = now;
        client.outstanding.push_back(Sent { xid, op, floor, what: what.clone() });
        self.trace.line(now, || format!("c{n} asks {op:?} {xid} {what:?}"));
        self.send(pipe, 0, Item::Request { xid, op, body });
    }

    fn client_asks(&mut self, n: usize) {
        let unique = format!("{n}.{}", self.clients[n].xid + 1).into_bytes();
        let path = (*self.rng.pick(PATHS)).to_owned();
        match self.rng.below(100) {
            0..20 => {
                let is_ephemeral = path.starts_with("/e") || self.rng.chance(150);
                self.create(n, OpCode::CREATE, path, unique, i32::from(is_ephemeral));
            }
            20..28 => self.create(n, OpCode::CREATE2, "/a/s-".to_owned(), unique, 2),
            28..33 => self.create(n, OpCode::CREATE, "/b/q-".to_owned(), unique, 3),
            33..55 => {
                let version = if self.rng.chance(800) { -1 } else { self.rng.below(5) as i32 };
                let data = Some(serde_bytes::Bytes::new(&unique));
                let body = encoded(&SetDataRequest { path: Some(path.as_str().into()), data, version });
                let what = What::Write { path, data: Some(unique), is_sequential: false };
                self.ask(n, OpCode::SET_DATA, body, what);
            }
            55..65 => {
                let made = self.clients[n].made.pop();
                let path = made.filter(|_| self.rng.chance(600)).unwrap_or(path);
                let body = encoded(&PathVersionRequest { path: Some(path.as_str().into()), version: -1 });
                self.ask(n, OpCode::DELETE, body, What::Write { path, data: None, is_sequential: false });
            }
            65..70 => self.multi(n, &path, &unique),
            70..94 => {
                let op = *self.rng.pick(&[OpCode::GET_DATA, OpCode::EXISTS, OpCode::GET_CHILDREN2]);
                let watches = self.rng.chance(400);
                let body = encoded(&ReadRequest { path: Some(path.as_str().into()), watch: watches });
                self.ask(n, op, body, What::Read { path, watches });
            }
            94..97 => {
                let body = encoded(&PathRequest { path: Some(path.as_str().into()) });
                self.ask(n, OpCode::SYNC, body, What::Other);
            }
            97..99 => self.ask(n, OpCode::PING, Bytes::new(), What::Other),
            _ => self.ask(n, OpCode::CLOSE_SESSION, Bytes::new(), What::Other),
        }
    }

    fn create(&mut self, n: usize, op: OpCode, path: String, data: Vec<u8>, flags: i32) {
        let body = encoded(&create_request(&path, &data, flags));
        let what = What::Write { path, data: Some(data), is_sequential: flags >= 2 };
        self.ask(n, op, body, what);
    }

    /// Two nodes, or none of them.
    fn multi(&mut self, n: usize, path: &str, data: &[u8]) {
        let mut body = BytesMut::new();
        let header = |kind: OpCode| MultiHeader { kind: kind.0, done: false, err: -1 };
        jute::put(&mut body, &header(OpCode::CREATE));
        jute::put(&mut body, &create_request(path, data, 0));
        jute::put(&mut body, &header(OpCode::SET_DATA));
        let data = Some(serde_bytes::Bytes::new(data));
        jute::put(&mut body, &SetDataRequest { path: Some(path.into()), data, version: 0 });
        jute::put(&mut body, &MultiHeader::END);
        self.ask(n, OpCode::MULTI, body.freeze(), What::Other);
    }

    pub fn client_hears(&mut self, pipe: PipeId, node: Node, item: Item) {
        let n = (-1 - node.0) as usize;
        if self.clients[n].pipe != Some(pipe) {
            return;
        }
        self.clients[n].last_heard = self.now;
        match item {
            Item::Frames(mut bytes) => {
                while bytes.len() >= 4 && self.clients[n].pipe == Some(pipe) {
                    let length = bytes.get_i32() as usize;
                    let frame = bytes.split_to(length);
                    self.frame(n, frame);
                }
            }
            Item::Close { why } => {
                self.trace.line(self.now, || format!("c{n} is cut off: {why}"));
                self.clients[n].lose_connection();
            }
            _ => {}
        }
    }

    fn frame(&mut self, n: usize, frame: Bytes) {
        if !self.clients[n].is_open {
            return self.session_answer(n, &frame);
        }
        let Ok((header, body)) = jute::take_from_bytes::<ReplyHeader>(&frame, Limits::default()) else {
            return self.fail("Replies", format!("client {n} gets {} bytes that are no reply", frame.len()));
        };
        let body = frame.slice_ref(body);
        if header.xid == xid::NOTIFICATION {
            return self.watch_event(n, &body);
        }
        self.reply(n, header, &body);
    }

    fn session_answer(&mut self, n: usize, frame: &[u8]) {
        let Ok((response, _)) = jute::take_from_bytes::<ConnectResponse<'_>>(frame, Limits::default()) else {
            return self.fail("Replies", format!("client {n} gets no ConnectResponse"));
        };
        let session = response.session;
        self.trace.line(self.now, || format!("c{n} has session {session}"));
        let client = &mut self.clients[n];
        if session == SessionId::NONE {
            self.counts.expired += 1;
            return client.forget_session();
        }
        if client.session.is_some_and(|(known, _)| known != session) {
            return self
                .fail("Sessions", format!("client {n} came back and was given another session, {session}"));
        }
        client.session = <[u8; 16]>::try_from(&response.passwd[..]).ok().map(|passwd| (session, passwd));
        client.is_open = true;
        if !client.watches.is_empty() {
            self.set_watches(n);
        }
    }

    fn set_watches(&mut self, n: usize) {
        let client = &self.clients[n];
        let paths = |children: bool, awaits: bool| -> Vec<String> {
            let wanted =
                client.watches.iter().filter(|w| w.children == children && (children || w.awaits == awaits));
            wanted.map(|w| w.path.clone()).collect()
        };
        let lists = (client.last_zxid, paths(false, false), paths(false, true), paths(true, false));
        let body = encoded(&lists);
        self.ask(n, OpCode::SET_WATCHES, body, What::SetWatches);
    }

    fn watch_event(&mut self, n: usize, body: &[u8]) {
        let Ok((kind, _state, path)) = jute::from_bytes::<(i32, i32, Ustring<'_>)>(body, Limits::default())
        else {
            return self.fail("Watches", format!("client {n} gets an event that cannot be read"));
        };
        let path = path.into_owned();
        self.trace.line(self.now, || format!("c{n} hears event {kind} {path}"));
        self.counts.watch_events += 1;
        let meant = |w: &Watch| {
            w.path == path
                && match kind {
                    k if k == EventType::NodeChildrenChanged as i32 => w.children,
                    k if k == EventType::NodeDeleted as i32 => true,
                    _ => !w.children,
                }
        };
        // setWatches tells of a deleted node once for each way in which it was watched, a server's watches only once.
        let one_by_one = self.clients[n].outstanding.iter().any(|s| matches!(s.what, What::SetWatches));
        let mut spent = Vec::new();
        self.clients[n].watches.retain(|w| {
            let is_spent = meant(w) && (!one_by_one || spent.is_empty());
            if is_spent {
                spent.push(w.clone());
            }
            !is_spent
        });
        if spent.is_empty() {
            return self
                .fail("Watches", format!("client {n} is told of {path} ({kind}), which it does not watch"));
        }
        for watch in spent {
            let change = self.model.first_event(&path, watch.children, watch.since, Zxid(i64::MAX));
            if change.is_none() {
                let what = format!(
                    "client {n} is told of {path} ({kind}), which has not changed since {}",
                    watch.since
                );
                return self.fail("Watches", what);
            }
        }
    }

    fn reply(&mut self, n: usize, header: ReplyHeader, body: &[u8]) {
        let ReplyHeader { xid, zxid, err } = header;
        self.trace.line(self.now, || format!("c{n} hears {xid} zxid {zxid} err {err}"));
        self.counts.replies += 1;
        let Some(sent) = self.clients[n].outstanding.pop_front() else {
            return self
                .fail("SessionOrder", format!("client {n} gets an answer to {xid} and has asked nothing"));
        };
        if sent.xid != xid {
            return self.fail(
                "SessionOrder",
                format!("client {n} gets an answer to {xid} before that to {}", sent.xid),
            );
        }
        let last = self.clients[n].last_zxid;
        if zxid < last {
            return self.fail(
                "SessionOrder",
                format!("client {n} has seen {last} and gets an answer of {zxid} to {sent:?}"),
            );
        }
        self.clients[n].last_zxid = zxid;
        self.missed_events(n, zxid, &sent);
        match &sent.what {
            What::Write { path, data, is_sequential } => {
                let path = path.clone();
                self.write_answer(n, &sent, header, body, &path, data.as_deref(), *is_sequential);
            }
            What::Read { path, watches } => self.read_answer(n, &sent, header, body, path, *watches),
            What::SetWatches => {
                for watch in &mut self.clients[n].watches {
                    (watch.is_set, watch.since) = (true, zxid);
                }
            }
            What::Other if sent.op == OpCode::MULTI => {
                self.check_write(n, &sent, header);
            }
            What::Other if sent.op == OpCode::CLOSE_SESSION => {
                self.check_write(n, &sent, header);
                self.clients[n].forget_session();
                self.client_leaves(n, "its session is closed");
            }
            What::Other => {}
        }
    }

    fn missed_events(&mut self, n: usize, zxid: Zxid, sent: &Sent) {
        if matches!(sent.what, What::SetWatches) {
            return;
        }
        let missed = self.clients[n].watches.iter().filter(|w| w.is_set).find_map(|w| {
            let event = self.model.first_event(&w.path, w.children, w.since, zxid)?;
            Some(format!("client {n} sees {zxid}, but was not told of {event:?} on {:?}", w))
        });
        if let Some(what) = missed {
            self.fail("Watches", what);
        }
    }

    /// Whether the txn of the reply's zxid is the one that was asked for, and in its place.
    fn check_write(&mut self, n: usize, sent: &Sent, header: ReplyHeader) -> bool {
        let ReplyHeader { xid, zxid, err } = header;
        let session = self.clients[n].session.map_or(SessionId::NONE, |s| s.0);
        let Some(txn) = self.model.txn(zxid) else {
            self.fail("Results", format!("client {n} is told that {xid} was {zxid}, which is no txn"));
            return false;
        };
        if txn.session != session || txn.cxid != xid {
            self.fail(
                "Results",
                format!("client {n} ({session}) is told that {xid} was {zxid}, which is {txn:?}"),
            );
            return false;
        }
        if zxid <= sent.floor {
            self.fail(
                "RealTime",
                format!("client {n} asked when {} was known, and was given {zxid}", sent.floor),
            );
        }
        self.acked = self.acked.max(zxid);
        if self.phase >= Phase::Healing {
            self.clients[n].served_since_heal = true;
        }
        let expected = if txn.kind == OpCode::ERROR { txn.err } else { 0 };
        if err != expected {
            self.fail("Results", format!("client {n} gets error {err} for {txn:?}"));
            return false;
        }
        err == 0
    }

    #[allow(clippy::too_many_arguments)]
    fn write_answer(
        &mut self,
        n: usize,
        sent: &Sent,
        header: ReplyHeader,
        body: &[u8],
        path: &str,
        data: Option<&[u8]>,
        is_sequential: bool,
    ) {
        if !self.check_write(n, sent, header) {
            return;
        }
        let (made, stat): (Option<String>, Option<Stat>) = match sent.op {
            OpCode::CREATE => {
                (jute::from_bytes::<Ustring<'_>>(body, Limits::default()).ok().map(Ustring::into_owned), None)
            }
            OpCode::CREATE2 => match jute::from_bytes::<(Ustring<'_>, Stat)>(body, Limits::default()) {
                Ok((path, stat)) => (Some(path.into_owned()), Some(stat)),
                Err(_) => (None, None),
            },
            OpCode::SET_DATA => (None, jute::from_bytes(body, Limits::default()).ok()),
            _ => (None, None),
        };
        let is_create = matches!(sent.op, OpCode::CREATE | OpCode::CREATE2);
        let at = made.clone().unwrap_or_else(|| path.to_owned());
        let fits = !is_create
            || if is_sequential { at.starts_with(path) && at.len() == path.len() + 10 } else { at == path };
        let node = self.model.node_at(&at, header.zxid).cloned();
        let as_expected = match (sent.op, &node) {
            (OpCode::DELETE, None) => true,
            (OpCode::DELETE, Some(_)) | (_, None) => false,
            (_, Some(node)) => {
                fits && node.data.as_deref() == data && stat.is_none_or(|stat| stat == node.client_stat())
            }
        };
        if !as_expected {
            let what = format!(
                "client {n} is told {made:?} {stat:?} for {sent:?} at {}: expected {node:?}",
                header.zxid
            );
            return self.fail("Results", what);
        }
        if is_sequential {
            self.clients[n].made.push(at);
        }
    }

    fn read_answer(
        &mut self,
        n: usize,
        sent: &Sent,
        header: ReplyHeader,
        body: &[u8],
        path: &str,
        watches: bool,
    ) {
        let ReplyHeader { zxid, err, .. } = header;
        // The session is gone: nothing was read.
        if [ErrorCode::SESSION_EXPIRED.0, ErrorCode::SESSION_MOVED.0, ErrorCode::UNKNOWN_SESSION.0]
            .contains(&err)
        {
            return;
        }
        let node = self.model.node_at(path, zxid);
        let children = sent.op == OpCode::GET_CHILDREN2;
        let limits = Limits::default();
        let as_expected = match node {
            None => err == ErrorCode::NO_NODE.0,
            Some(_) if err != 0 => false,
            Some(node) => match sent.op {
                OpCode::GET_DATA => {
                    let answer = jute::from_bytes::<(Option<&serde_bytes::Bytes>, Stat)>(body, limits);
                    answer.is_ok_and(|(data, stat)| {
                        data.map(|d| d.to_vec()) == node.data && stat == node.client_stat()
                    })
                }
                OpCode::EXISTS => {
                    jute::from_bytes::<Stat>(body, limits).is_ok_and(|stat| stat == node.client_stat())
                }
                _ => jute::from_bytes::<(Vec<String>, Stat)>(body, limits).is_ok_and(|(mut names, stat)| {
                    names.sort();
                    names == self.model.children_at(path, zxid) && stat == node.client_stat()
                }),
            },
        };
        if !as_expected {
            let what = format!("client {n}: the answer to {sent:?} at {zxid} (error {err}) is not {node:?}");
            return self.fail("Results", what);
        }
        let sets = watches && (err == 0 || sent.op == OpCode::EXISTS);
        if !sets {
            return;
        }
        let awaits = err != 0;
        let list = &mut self.clients[n].watches;
        match list.iter_mut().find(|w| w.path == path && w.children == children) {
            Some(known) => (known.since, known.is_set, known.awaits) = (zxid, true, awaits),
            None => list.push(Watch { path: path.to_owned(), children, awaits, since: zxid, is_set: true }),
        }
    }
}
