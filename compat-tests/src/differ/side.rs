//! One server and its connections: carries out steps and tells what was observed, as comparable text.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::names::Names;
use super::render;
use super::step::{Hello, Password, Step, hex};
use super::words;
use crate::process::four_letter;
use crate::wire::{Conn, ConnectReply, ConnectRequest, Dec, Enc, Incoming, frame, op, request, xid};

/// How long a server may take for what it must do; a second side that is slower than this is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(15);

/// Xids of the request that ends a batch; the generator uses none of them.
const MARK: i32 = 0x7000_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub conn: Option<usize>,
    /// Which frame of the step it answers, where it answers one.
    pub frame: Option<usize>,
    pub text: String,
    pub raw: Vec<u8>,
    pub fact: Fact,
}

/// What the generator learns from an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    Connected,
    Refused,
    Closed,
    Reply { zxid: i64, err: i32, created: Option<String> },
    Other,
}

#[derive(Debug)]
pub struct Side {
    addr: SocketAddr,
    dir: PathBuf,
    conns: HashMap<usize, Live>,
    sessions: HashMap<String, (i64, Vec<u8>)>,
    names: Names,
    /// Whether the zxid in the header of an event is compared.
    pub event_zxids: bool,
}

#[derive(Debug)]
struct Live {
    conn: Conn,
    awaited: VecDeque<Awaited>,
    marks: i32,
    /// The answer to the connect request is still to come.
    connecting: Option<(String, bool)>,
    session: Option<i64>,
    event_zxids: bool,
}

#[derive(Debug)]
struct Awaited {
    xid: i32,
    op: i32,
    frame: Option<usize>,
}

impl Side {
    /// `dir` is the server's folder when it was started here; its answers may name it.
    pub fn new(addr: SocketAddr, dir: &Path) -> Side {
        Side {
            addr,
            dir: dir.to_path_buf(),
            conns: HashMap::new(),
            sessions: HashMap::new(),
            names: Names::new(),
            event_zxids: true,
        }
    }

    /// Sends. Reading is `finish`, so that two sides work at the same time.
    pub fn begin(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Connect { conn, hello, frames } => self.connect(*conn, hello, frames),
            Step::Send { conn, frames, closes } => {
                let Some(live) = self.conns.get_mut(conn) else { return Ok(()) };
                live.send(frames, !closes);
                Ok(())
            }
            Step::Break { conn, bytes } => {
                if let Some(live) = self.conns.get_mut(conn) {
                    // An error shows as the close that `finish` observes.
                    let _ = live.conn.send_raw(bytes);
                }
                Ok(())
            }
            Step::Drop { conn } => self.hang_up(*conn),
            Step::Stranger { .. } | Step::Word { .. } | Step::Restart { .. } => Ok(()),
        }
    }

    pub fn finish(&mut self, step: &Step) -> Result<Vec<Observed>> {
        let mut seen = Vec::new();
        match step {
            Step::Connect { conn, hello, .. } => {
                self.read_answers(*conn, false, &mut seen)?;
                self.look_for_kicked(*conn, &hello.session, &mut seen)?;
            }
            Step::Send { conn, closes, .. } => self.read_answers(*conn, *closes, &mut seen)?,
            Step::Break { conn, .. } => self.read_answers(*conn, true, &mut seen)?,
            Step::Drop { .. } | Step::Restart { .. } => {}
            Step::Stranger { bytes } => seen.push(self.stranger(bytes)?),
            Step::Word { bytes } => seen.push(self.word(bytes)),
        }
        Ok(seen)
    }

    /// Reads what is under way to connections that `step` makes the server close: an event that was queued a moment ago
    /// may or may not be written before an abrupt close.
    pub fn settle(&mut self, step: &Step) -> Result<Vec<Observed>> {
        let session = match step {
            Step::Connect { hello, .. } => self.sessions.get(&hello.session).map(|(id, _)| *id),
            Step::Send { closes: true, .. } | Step::Break { .. } | Step::Drop { .. } => None,
            _ => return Ok(Vec::new()),
        };
        let holds = |live: &Live| session.is_some() && live.session == session;
        let concerned =
            |(slot, live): (&usize, &Live)| (step.conn() == Some(*slot) || holds(live)).then_some(*slot);
        let mut closing: Vec<usize> = self.conns.iter().filter_map(concerned).collect();
        closing.sort_unstable();
        let mut seen = Vec::new();
        for conn in closing {
            self.mark(conn, &mut seen)?;
        }
        Ok(seen)
    }

    fn mark(&mut self, conn: usize, seen: &mut Vec<Observed>) -> Result<()> {
        if let Some(live) = self.conns.get_mut(&conn) {
            live.send(&[], true);
        }
        self.read_answers(conn, false, seen)
    }

    /// The server went away, and its connections with it.
    pub fn forget_connections(&mut self) {
        self.conns.clear();
    }

    /// Reads what every open connection has to say; `sorted` for events whose order is unspecified.
    pub fn barrier(&mut self, sorted: bool) -> Result<Vec<Observed>> {
        let mut open: Vec<usize> = self.conns.keys().copied().collect();
        open.sort_unstable();
        let mut seen = Vec::new();
        for conn in open {
            let mut of_conn = Vec::new();
            self.mark(conn, &mut of_conn)?;
            if sorted {
                of_conn.sort_by(|a, b| a.text.cmp(&b.text));
            }
            seen.append(&mut of_conn);
        }
        Ok(seen)
    }

    /// Closes the client's end and waits for the server's: until then it may still send events, and count them.
    fn hang_up(&mut self, slot: usize) -> Result<()> {
        let Some(mut live) = self.conns.remove(&slot) else { return Ok(()) };
        let _ = live.conn.stream().shutdown(std::net::Shutdown::Write);
        while let Ok(Incoming::Frame(_)) = live.conn.read_frame(PATIENCE) {}
        Ok(())
    }

    fn connect(&mut self, slot: usize, hello: &Hello, frames: &[Vec<u8>]) -> Result<()> {
        self.hang_up(slot)?;
        let (session, password) = match self.sessions.get(&hello.session) {
            Some((id, password)) if !hello.new => (*id, password.clone()),
            // A session that a shrunk transcript no longer creates: an id nobody has.
            None if !hello.new => (0x7777, vec![7; 16]),
            _ => (0, vec![0; 16]),
        };
        let password = match hello.password {
            Password::Right => Some(password),
            Password::Wrong => Some(password.iter().map(|b| !b).collect()),
            Password::Null => None,
            Password::Empty => Some(Vec::new()),
            Password::Short => Some(password[..8].to_vec()),
        };
        let request = ConnectRequest {
            protocol: hello.protocol,
            last_zxid: hello.last_zxid,
            timeout_ms: hello.timeout_ms,
            session,
            password,
            read_only: hello.read_only,
        };
        let conn = Conn::open(self.addr)?;
        self.names.learn_port(conn.stream().local_addr()?.port(), slot);
        let connecting = Some((hello.session.clone(), hello.new));
        let mut live = Live {
            conn,
            awaited: VecDeque::new(),
            marks: 0,
            connecting,
            session: None,
            event_zxids: self.event_zxids,
        };
        live.send_after(frame(&request.encode()), frames, true);
        self.conns.insert(slot, live);
        Ok(())
    }

    /// A session that moved: its old connection must have been closed (B§1.3).
    fn look_for_kicked(&mut self, new: usize, session: &str, seen: &mut Vec<Observed>) -> Result<()> {
        let Some((id, _)) = self.sessions.get(session).cloned() else { return Ok(()) };
        let mut others: Vec<usize> = self.conns.keys().copied().filter(|c| *c != new).collect();
        others.sort_unstable();
        for conn in others {
            let holds = self.conns.get(&conn).is_some_and(|l| l.session == Some(id));
            if holds {
                self.mark(conn, seen)?;
            }
        }
        Ok(())
    }

    /// Reads until the mark's reply or the close. With `closes` there is no mark.
    fn read_answers(&mut self, slot: usize, closes: bool, seen: &mut Vec<Observed>) -> Result<()> {
        let note = |text: &str, fact| Observed {
            conn: Some(slot),
            frame: None,
            text: text.to_string(),
            raw: Vec::new(),
            fact,
        };
        let Some(live) = self.conns.get_mut(&slot) else {
            seen.push(note("no such connection", Fact::Other));
            return Ok(());
        };
        loop {
            let end = match live.conn.read_frame(PATIENCE) {
                Ok(Incoming::Frame(bytes)) => {
                    let (observed, done) = live.take(slot, bytes, &mut self.sessions, &mut self.names);
                    seen.push(observed);
                    if done && !closes {
                        return Ok(());
                    }
                    continue;
                }
                Ok(Incoming::Closed) => "closed".to_string(),
                Ok(Incoming::TimedOut) if closes => "stays open".to_string(),
                Ok(Incoming::TimedOut) => "silent, though an answer is due".to_string(),
                Err(e) => format!("broken: {e:#}"),
            };
            seen.push(note(&end, Fact::Closed));
            self.conns.remove(&slot);
            return Ok(());
        }
    }

    fn stranger(&mut self, bytes: &[u8]) -> Result<Observed> {
        let mut conn = Conn::open(self.addr)?;
        conn.send_raw(bytes)?;
        let mut text = String::new();
        loop {
            match conn.read_frame(PATIENCE) {
                Ok(Incoming::Frame(bytes)) => text += &format!("frame {} ", hex(&bytes)),
                Ok(Incoming::Closed) => text += "closed",
                Ok(Incoming::TimedOut) => text += "stays open",
                Err(e) => text += &format!("{e:#}"),
            }
            if !text.ends_with(' ') {
                return Ok(Observed { conn: None, frame: None, text, raw: Vec::new(), fact: Fact::Other });
            }
        }
    }

    /// One answer of a four-letter word, normalised.
    pub fn word(&mut self, bytes: &[u8]) -> Observed {
        let (text, raw) = match four_letter(self.addr, bytes, PATIENCE) {
            Ok(answer) => (words::normalise(bytes, &answer, &self.names, &self.dir), answer),
            Err(e) => (format!("no answer: {e:#}"), Vec::new()),
        };
        Observed { conn: None, frame: None, text, raw, fact: Fact::Other }
    }
}

impl Live {
    fn send(&mut self, frames: &[Vec<u8>], mark: bool) {
        self.send_after(Vec::new(), frames, mark);
    }

    /// `head`, the frames and the mark in one write. A write that fails shows as a close when reading.
    fn send_after(&mut self, head: Vec<u8>, frames: &[Vec<u8>], mark: bool) {
        let mut bytes = head;
        for (i, body) in frames.iter().enumerate() {
            let mut d = Dec(body);
            if let (Ok(xid), Ok(op)) = (d.int(), d.int()) {
                let xid = if op == op::PING { xid::PING } else { xid };
                self.awaited.push_back(Awaited { xid, op, frame: Some(i) });
            }
            bytes.extend(frame(body));
        }
        if mark {
            self.marks += 1;
            let xid = MARK + self.marks;
            self.awaited.push_back(Awaited { xid, op: op::EXISTS, frame: None });
            bytes.extend(frame(&request(xid, op::EXISTS, &Enc::new().string("/").bool(false).bytes())));
        }
        let _ = self.conn.send_raw(&bytes);
    }

    /// Interprets one frame; true when it was the reply to the mark.
    fn take(
        &mut self,
        slot: usize,
        raw: Vec<u8>,
        sessions: &mut HashMap<String, (i64, Vec<u8>)>,
        names: &mut Names,
    ) -> (Observed, bool) {
        let mut seen =
            Observed { conn: Some(slot), frame: None, text: String::new(), raw, fact: Fact::Other };
        if let Some((name, new)) = self.connecting.take() {
            (seen.text, seen.fact) = self.connected(&seen.raw, &name, new, sessions, names);
            return (seen, false);
        }
        let mut d = Dec(&seen.raw);
        let header = (d.int().unwrap_or_default(), d.long().unwrap_or_default(), d.int().unwrap_or_default());
        let (xid, zxid, err) = header;
        // An event's zxid is -1 in 3.5.7 and that of its txn since 3.6; a request with xid -1 is told apart by the former.
        let ours = self.awaited.front().is_some_and(|a| a.xid == xid::EVENT);
        if (xid, err) == (xid::EVENT, 0) && (zxid == -1 || !ours) {
            seen.text = render::event(&seen.raw, self.event_zxids);
            return (seen, false);
        }
        let headless = self.awaited.front().is_some_and(|a| a.op == op::CREATE_SESSION);
        let position = if headless { Some(0) } else { self.awaited.iter().position(|a| a.xid == xid) };
        let Some(position) = position else {
            seen.text = format!("a reply nobody awaits: {}", hex(&seen.raw));
            return (seen, false);
        };
        let skipped = self.awaited.drain(..position).count();
        let Some(asked) = self.awaited.pop_front() else { return (seen, false) };
        if skipped > 0 {
            seen.text = format!("({skipped} requests without a reply) ");
        }
        seen.text += &render::reply(asked.op, &seen.raw, names);
        seen.frame = asked.frame;
        let creates = [op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL].contains(&asked.op);
        let created = if creates && err == 0 { d.string().ok() } else { None };
        seen.fact = if headless { Fact::Other } else { Fact::Reply { zxid, err, created } };
        (seen, asked.frame.is_none() && xid == MARK + self.marks)
    }

    fn connected(
        &mut self,
        raw: &[u8],
        name: &str,
        new: bool,
        sessions: &mut HashMap<String, (i64, Vec<u8>)>,
        names: &mut Names,
    ) -> (String, Fact) {
        let Ok(reply) = ConnectReply::decode(raw) else {
            return (format!("no connect reply: {}", hex(raw)), Fact::Refused);
        };
        if reply.session != 0 {
            self.session = Some(reply.session);
            if new {
                names.learn_session(reply.session, name);
                sessions.insert(name.to_string(), (reply.session, reply.password.clone()));
            }
        }
        let fact = if reply.session == 0 { Fact::Refused } else { Fact::Connected };
        (format!("{}B {}", raw.len(), render::connect_reply(&reply, names)), fact)
    }
}
