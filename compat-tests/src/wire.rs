//! A byte-level ZooKeeper client: it can say anything, also what no client would, and sees every frame and the close.
//!
//! Blocking, on `std::net` alone, with an encoder and decoder of its own: it judges Java and Ferrokeeper alike, so it
//! shares no code with either. Layouts are those of B§1; op codes and records of 3.6 to 3.9 are those of B§12.1.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

pub mod op {
    pub const NOTIFICATION: i32 = 0;
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
}

pub mod xid {
    pub const EVENT: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}

pub const PERM_ALL: i32 = 31;

/// Builds a record, field by field.
#[derive(Clone, Debug, Default)]
pub struct Enc(pub Vec<u8>);

impl Enc {
    pub fn new() -> Enc {
        Enc::default()
    }
    pub fn byte(mut self, v: u8) -> Enc {
        self.0.push(v);
        self
    }
    pub fn bool(self, v: bool) -> Enc {
        self.byte(v.into())
    }
    pub fn int(mut self, v: i32) -> Enc {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub fn long(mut self, v: i64) -> Enc {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub fn raw(mut self, v: &[u8]) -> Enc {
        self.0.extend_from_slice(v);
        self
    }
    /// A buffer or string; None is jute's null.
    pub fn buffer(self, v: Option<&[u8]>) -> Enc {
        match v {
            Some(bytes) => self.int(bytes.len() as i32).raw(bytes),
            None => self.int(-1),
        }
    }
    pub fn string(self, v: &str) -> Enc {
        self.buffer(Some(v.as_bytes()))
    }
    pub fn strings(self, v: &[&str]) -> Enc {
        v.iter().fold(self.int(v.len() as i32), |e, s| e.string(s))
    }
    pub fn acls(self, v: &[Acl]) -> Enc {
        v.iter().fold(self.int(v.len() as i32), |e, a| e.int(a.perms).string(&a.scheme).string(&a.id))
    }
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes a record apart; every method fails where the bytes end.
#[derive(Clone, Debug)]
pub struct Dec<'a>(pub &'a [u8]);

impl<'a> Dec<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        if n > self.0.len() {
            bail!("the record ends: {n} bytes wanted, {} left", self.0.len());
        }
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(head)
    }
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.byte()? != 0)
    }
    pub fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }
    pub fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        match self.int()? {
            -1 => Ok(None),
            n => Ok(Some(self.take(usize::try_from(n).context("negative length")?)?)),
        }
    }
    /// Null reads as an empty string here; `buffer` tells them apart.
    pub fn string(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(self.buffer()?.unwrap_or_default()).into_owned())
    }
    pub fn strings(&mut self) -> Result<Vec<String>> {
        let n = self.int()?;
        (0..n).map(|_| self.string()).collect()
    }
    pub fn acls(&mut self) -> Result<Vec<Acl>> {
        let n = self.int()?;
        (0..n).map(|_| Ok(Acl { perms: self.int()?, scheme: self.string()?, id: self.string()? })).collect()
    }
    pub fn stat(&mut self) -> Result<Stat> {
        Ok(Stat {
            czxid: self.long()?,
            mzxid: self.long()?,
            ctime: self.long()?,
            mtime: self.long()?,
            version: self.int()?,
            cversion: self.int()?,
            aversion: self.int()?,
            ephemeral_owner: self.long()?,
            data_length: self.int()?,
            num_children: self.int()?,
            pzxid: self.long()?,
        })
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub perms: i32,
    pub scheme: String,
    pub id: String,
}

impl Acl {
    pub fn new(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.to_string(), id: id.to_string() }
    }
    pub fn open() -> Vec<Acl> {
        vec![Acl::new(PERM_ALL, "world", "anyone")]
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    pub protocol: i32,
    pub last_zxid: i64,
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Option<Vec<u8>>,
    /// None leaves the byte out, as clients before 3.4 do.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    pub fn new(timeout_ms: i32) -> ConnectRequest {
        ConnectRequest {
            protocol: 0,
            last_zxid: 0,
            timeout_ms,
            session: 0,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }

    pub fn reattach(timeout_ms: i32, session: i64, password: &[u8]) -> ConnectRequest {
        ConnectRequest { session, password: Some(password.to_vec()), ..ConnectRequest::new(timeout_ms) }
    }

    pub fn encode(&self) -> Vec<u8> {
        let e = Enc::new().int(self.protocol).long(self.last_zxid).int(self.timeout_ms).long(self.session);
        let e = e.buffer(self.password.as_deref());
        match self.read_only {
            Some(flag) => e.bool(flag).bytes(),
            None => e.bytes(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectReply {
    pub protocol: i32,
    pub timeout_ms: i32,
    pub session: i64,
    pub password: Vec<u8>,
    pub read_only: Option<bool>,
}

impl ConnectReply {
    pub fn decode(frame: &[u8]) -> Result<ConnectReply> {
        let mut d = Dec(frame);
        Ok(ConnectReply {
            protocol: d.int()?,
            timeout_ms: d.int()?,
            session: d.long()?,
            password: d.buffer()?.unwrap_or_default().to_vec(),
            read_only: if d.is_empty() { None } else { Some(d.bool()?) },
        })
    }
}

/// A reply or an event: header and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn decode(frame: &[u8]) -> Result<Reply> {
        let mut d = Dec(frame);
        Ok(Reply { xid: d.int()?, zxid: d.long()?, err: d.int()?, body: d.0.to_vec() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: i32,
    pub state: i32,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Frame(Vec<u8>),
    /// The server closed the connection, orderly or with a reset.
    Closed,
    TimedOut,
}

/// One TCP connection to a server's client port.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    inbox: Vec<u8>,
    closed: bool,
}

impl Conn {
    pub fn open(addr: SocketAddr) -> Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))
            .with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Conn { stream, inbox: Vec::new(), closed: false })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("cannot send")
    }

    pub fn send_frame(&mut self, body: &[u8]) -> Result<()> {
        self.send_raw(&frame(body))
    }

    pub fn send_request(&mut self, xid: i32, op: i32, body: &[u8]) -> Result<()> {
        self.send_frame(&request(xid, op, body))
    }

    /// The next frame; what is left when the server closes in the middle of one counts as closed.
    pub fn read_frame(&mut self, patience: Duration) -> Result<Incoming> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Incoming::Frame(frame));
            }
            if self.closed {
                return Ok(Incoming::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Incoming::TimedOut);
            }
            self.fill(left)?;
        }
    }

    fn buffered_frame(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(head) = self.inbox.first_chunk::<4>() else { return Ok(None) };
        let length =
            usize::try_from(i32::from_be_bytes(*head)).context("the server sent a negative length")?;
        if self.inbox.len() < 4 + length {
            return Ok(None);
        }
        let frame = self.inbox[4..4 + length].to_vec();
        self.inbox.drain(..4 + length);
        Ok(Some(frame))
    }

    fn fill(&mut self, patience: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                self.closed = true
            }
            Err(e) => return Err(e).context("cannot read"),
        }
        Ok(())
    }

    /// Sends the connect request; None when the server closes instead of answering.
    pub fn handshake(&mut self, request: &ConnectRequest) -> Result<Option<ConnectReply>> {
        self.send_frame(&request.encode())?;
        match self.read_frame(Duration::from_secs(20))? {
            Incoming::Frame(frame) => Ok(Some(ConnectReply::decode(&frame)?)),
            Incoming::Closed => Ok(None),
            Incoming::TimedOut => bail!("no answer to the connect request"),
        }
    }
}

/// The length and the body.
pub fn frame(body: &[u8]) -> Vec<u8> {
    Enc::new().buffer(Some(body)).bytes()
}

/// Request header and payload, without the length.
pub fn request(xid: i32, op: i32, body: &[u8]) -> Vec<u8> {
    Enc::new().int(xid).int(op).raw(body).bytes()
}

/// A session with one request in flight, for tests that want to say `create` and not bytes. Errors of the server come back
/// as its code; events are collected in `events`.
#[derive(Debug)]
pub struct Client {
    pub conn: Conn,
    pub connect: ConnectReply,
    pub events: Vec<Event>,
    pub last_zxid: i64,
    pub patience: Duration,
    next_xid: i32,
}

/// `Err` is the error code of the reply.
pub type Answer<T> = Result<std::result::Result<T, i32>>;

impl Client {
    pub fn connect(addr: SocketAddr, timeout_ms: i32) -> Result<Client> {
        Client::connect_with(addr, &ConnectRequest::new(timeout_ms))
    }

    pub fn connect_with(addr: SocketAddr, request: &ConnectRequest) -> Result<Client> {
        let mut conn = Conn::open(addr)?;
        let connect =
            conn.handshake(request)?.ok_or_else(|| anyhow!("{addr} closed instead of a session"))?;
        if connect.session == 0 {
            bail!("{addr} refused the session");
        }
        Ok(Client::on(conn, connect))
    }

    /// A client on a connection that has its session.
    pub fn on(conn: Conn, connect: ConnectReply) -> Client {
        let patience = Duration::from_secs(30);
        Client { conn, connect, events: Vec::new(), last_zxid: 0, patience, next_xid: 1 }
    }

    /// Sends one request and waits for its reply.
    pub fn call(&mut self, op: i32, body: &[u8]) -> Result<Reply> {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.conn.send_request(xid, op, body)?;
        self.reply(xid)
    }

    fn reply(&mut self, xid: i32) -> Result<Reply> {
        loop {
            match self.conn.read_frame(self.patience)? {
                Incoming::Frame(frame) => {
                    let reply = Reply::decode(&frame)?;
                    if reply.xid == self::xid::EVENT {
                        self.events.push(decode_event(&reply.body)?);
                    } else if reply.xid == xid {
                        self.last_zxid = self.last_zxid.max(reply.zxid);
                        return Ok(reply);
                    } else {
                        bail!("a reply to xid {} while {xid} was awaited", reply.xid);
                    }
                }
                Incoming::Closed => bail!("the server closed the connection"),
                Incoming::TimedOut => bail!("no reply to xid {xid} within {:?}", self.patience),
            }
        }
    }

    fn answer<T>(&mut self, op: i32, body: Enc, read: impl FnOnce(&mut Dec) -> Result<T>) -> Answer<T> {
        let reply = self.call(op, &body.bytes())?;
        if reply.err != 0 {
            return Ok(Err(reply.err));
        }
        read(&mut Dec(&reply.body)).map(Ok)
    }

    /// Collects the events that arrive within `patience`.
    pub fn poll_events(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while let left = deadline.saturating_duration_since(Instant::now())
            && let Incoming::Frame(frame) = self.conn.read_frame(left)?
        {
            self.events.push(decode_event(&Reply::decode(&frame)?.body)?);
        }
        Ok(())
    }

    pub fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Answer<String> {
        self.create_acl(path, data, &Acl::open(), flags)
    }
    pub fn create_acl(&mut self, path: &str, data: &[u8], acl: &[Acl], flags: i32) -> Answer<String> {
        let body = Enc::new().string(path).buffer(Some(data)).acls(acl).int(flags);
        self.answer(op::CREATE, body, |d| d.string())
    }
    pub fn delete(&mut self, path: &str, version: i32) -> Answer<()> {
        self.answer(op::DELETE, Enc::new().string(path).int(version), |_| Ok(()))
    }
    pub fn exists(&mut self, path: &str, watch: bool) -> Answer<Stat> {
        self.answer(op::EXISTS, Enc::new().string(path).bool(watch), |d| d.stat())
    }
    pub fn get_data(&mut self, path: &str, watch: bool) -> Answer<(Option<Vec<u8>>, Stat)> {
        let body = Enc::new().string(path).bool(watch);
        self.answer(op::GET_DATA, body, |d| Ok((d.buffer()?.map(<[u8]>::to_vec), d.stat()?)))
    }
    pub fn set_data(&mut self, path: &str, data: &[u8], version: i32) -> Answer<Stat> {
        let body = Enc::new().string(path).buffer(Some(data)).int(version);
        self.answer(op::SET_DATA, body, |d| d.stat())
    }
    pub fn get_acl(&mut self, path: &str) -> Answer<(Vec<Acl>, Stat)> {
        self.answer(op::GET_ACL, Enc::new().string(path), |d| Ok((d.acls()?, d.stat()?)))
    }
    pub fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Answer<Stat> {
        self.answer(op::SET_ACL, Enc::new().string(path).acls(acl).int(version), |d| d.stat())
    }
    /// Sorted: the server's order is that of a hash table.
    pub fn get_children(&mut self, path: &str, watch: bool) -> Answer<Vec<String>> {
        let body = Enc::new().string(path).bool(watch);
        let answer = self.answer(op::GET_CHILDREN, body, |d| d.strings())?;
        Ok(answer.map(|mut names| {
            names.sort();
            names
        }))
    }
    pub fn sync(&mut self, path: &str) -> Answer<String> {
        self.answer(op::SYNC, Enc::new().string(path), |d| d.string())
    }
    pub fn auth(&mut self, scheme: &str, auth: &[u8]) -> Answer<()> {
        let body = Enc::new().int(0).string(scheme).buffer(Some(auth)).bytes();
        self.conn.send_request(xid::AUTH, op::AUTH, &body)?;
        let reply = self.reply(xid::AUTH)?;
        Ok(if reply.err == 0 { Ok(()) } else { Err(reply.err) })
    }
    /// What a client sends after it has moved; the events of what it missed are in `events` then.
    pub fn set_watches(&mut self, zxid: i64, data: &[&str], exist: &[&str], child: &[&str]) -> Answer<()> {
        let body = Enc::new().long(zxid).strings(data).strings(exist).strings(child).bytes();
        self.conn.send_request(xid::SET_WATCHES, op::SET_WATCHES, &body)?;
        let reply = self.reply(xid::SET_WATCHES)?;
        Ok(if reply.err == 0 { Ok(()) } else { Err(reply.err) })
    }
    pub fn ping(&mut self) -> Result<i64> {
        self.conn.send_request(xid::PING, op::PING, &[])?;
        Ok(self.reply(xid::PING)?.zxid)
    }
    /// Ends the session and waits until the server has closed.
    pub fn close(mut self) -> Result<()> {
        let reply = self.call(op::CLOSE_SESSION, &[])?;
        if reply.err != 0 {
            bail!("closeSession answered {}", reply.err);
        }
        match self.conn.read_frame(Duration::from_secs(10))? {
            Incoming::Closed => Ok(()),
            other => bail!("after closeSession came {other:?}"),
        }
    }
}

pub fn decode_event(body: &[u8]) -> Result<Event> {
    let mut d = Dec(body);
    Ok(Event { kind: d.int()?, state: d.int()?, path: d.string()? })
}
