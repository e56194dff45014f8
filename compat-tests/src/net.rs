//! The network between the servers of an ensemble, as a TCP proxy that can be made faulty.
//!
//! 1. For every ordered pair there is an address where `from` reaches `to`: it takes the name of `to` for that address, so
//!    whatever passes between two servers passes here. A fault belongs to a direction of bytes, whoever opened the connection.
//! 2. The election header names the address to dial back to (B§4.1). It is rewritten, or the answer would go round the proxy.
//! 3. A stall holds bytes back and loses none, as TCP does; a cut resets what is open and refuses what comes.
//! 4. The first bytes that a leader sends to a learner are kept: which sync it chose is read from the wire, not from a log.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::process::loopback_address;
use crate::wire::Dec;

pub const QUORUM_PORT: u16 = 2888;
pub const ELECTION_PORT: u16 = 3888;

/// What happens to bytes that travel one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Pass,
    /// Held back until the way is changed.
    Stall,
    /// Every chunk waits this long.
    Delay(Duration),
    /// Connections that use this way are reset, new ones as well.
    Cut,
}

/// Which sync a learner was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSeen {
    pub learner: u64,
    pub leader: u64,
    /// 13 DIFF, 14 TRUNC, 15 SNAP (B§3.1).
    pub packet: i32,
    pub zxid: i64,
}

pub const DIFF: i32 = 13;
pub const TRUNC: i32 = 14;
pub const SNAP: i32 = 15;

/// Dropping it closes every connection and port.
#[derive(Debug)]
pub struct Net {
    shared: Arc<Shared>,
    entrances: HashMap<(u64, u64), Ipv4Addr>,
}

#[derive(Debug)]
struct Shared {
    real: HashMap<u64, Ipv4Addr>,
    ways: Mutex<HashMap<(u64, u64), Way>>,
    changed: Condvar,
    live: Mutex<Vec<Live>>,
    openings: Mutex<Vec<Opening>>,
    over: AtomicBool,
}

/// A connection in use: who dialled whom, and both of its halves.
#[derive(Debug)]
struct Live {
    dialer: u64,
    dialed: u64,
    ends: [TcpStream; 2],
}

/// The first bytes of a leader to one learner connection.
#[derive(Debug)]
struct Opening {
    learner: u64,
    leader: u64,
    bytes: Vec<u8>,
}

impl Net {
    pub fn between(real: HashMap<u64, Ipv4Addr>) -> Result<Net> {
        let shared = Arc::new(Shared {
            real: real.clone(),
            ways: Mutex::default(),
            changed: Condvar::new(),
            live: Mutex::default(),
            openings: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let mut entrances = HashMap::new();
        for from in real.keys() {
            for to in real.keys().filter(|to| *to != from) {
                entrances.insert((*from, *to), loopback_address());
            }
        }
        for (&(from, to), addr) in &entrances {
            let dial_back = *entrances.get(&(to, from)).context("a pair has two ways")?;
            for port in [QUORUM_PORT, ELECTION_PORT] {
                let listener = TcpListener::bind((*addr, port)).with_context(|| format!("{addr}:{port}"))?;
                let entrance = Entrance { shared: shared.clone(), from, to, port, dial_back };
                thread::spawn(move || entrance.accept(listener));
            }
        }
        Ok(Net { shared, entrances })
    }

    /// The name of a server in every configuration.
    pub fn name(id: u64) -> String {
        format!("zk{id}.test")
    }

    /// The address at which `from` finds `to`.
    pub fn entrance(&self, from: u64, to: u64) -> Result<Ipv4Addr> {
        self.entrances.get(&(from, to)).copied().ok_or_else(|| anyhow!("no way from {from} to {to}"))
    }

    pub fn one_way(&self, from: u64, to: u64, way: Way) {
        lock(&self.shared.ways).insert((from, to), way);
        self.shared.changed.notify_all();
        if way == Way::Cut {
            self.reset(from, to);
        }
    }

    pub fn both_ways(&self, a: u64, b: u64, way: Way) {
        self.one_way(a, b, way);
        self.one_way(b, a, way);
    }

    /// Everything between `id` and the others.
    pub fn isolate(&self, id: u64, way: Way) {
        for other in self.shared.real.keys().filter(|other| **other != id) {
            self.both_ways(id, *other, way);
        }
    }

    pub fn heal(&self) {
        lock(&self.shared.ways).clear();
        self.shared.changed.notify_all();
    }

    /// Ends the connections between the two once; new ones are welcome.
    pub fn reset(&self, a: u64, b: u64) {
        lock(&self.shared.live).retain(|live| {
            let hit = (live.dialer, live.dialed) == (a, b) || (live.dialer, live.dialed) == (b, a);
            if hit {
                live.ends.iter().for_each(reset);
            }
            !hit
        });
    }

    /// The syncs that `learner` was given so far, in order.
    pub fn syncs(&self, learner: u64) -> Vec<SyncSeen> {
        lock(&self.shared.openings)
            .iter()
            .filter(|o| o.learner == learner)
            .filter_map(Opening::sync)
            .collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        lock(&self.shared.live).drain(..).for_each(|live| live.ends.iter().for_each(reset));
        for addr in self.entrances.values() {
            for port in [QUORUM_PORT, ELECTION_PORT] {
                let _ = TcpStream::connect((*addr, port));
            }
        }
    }
}

impl Shared {
    fn way(&self, from: u64, to: u64) -> Way {
        lock(&self.ways).get(&(from, to)).copied().unwrap_or(Way::Pass)
    }

    /// Waits out a stall or delay; false when the bytes must not go on.
    fn let_pass(&self, from: u64, to: u64) -> bool {
        let arrived = Instant::now();
        let mut ways = lock(&self.ways);
        loop {
            if self.over.load(Ordering::SeqCst) {
                return false;
            }
            let wait = match ways.get(&(from, to)).copied().unwrap_or(Way::Pass) {
                Way::Pass => return true,
                Way::Cut => return false,
                Way::Delay(d) if arrived.elapsed() >= d => return true,
                Way::Delay(d) => d.saturating_sub(arrived.elapsed()),
                Way::Stall => Duration::from_secs(3600),
            };
            ways = self.changed.wait_timeout(ways, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Where `from` reaches one port of `to`.
struct Entrance {
    shared: Arc<Shared>,
    from: u64,
    to: u64,
    port: u16,
    dial_back: Ipv4Addr,
}

impl Entrance {
    fn accept(self, listener: TcpListener) {
        let this = Arc::new(self);
        for inner in listener.incoming().flatten() {
            if this.shared.over.load(Ordering::SeqCst) {
                return;
            }
            let this = this.clone();
            thread::spawn(move || {
                if let Err(inner) = this.connect(inner) {
                    reset(&inner);
                }
            });
        }
    }

    /// Dials on and pumps both ways; gives the connection back when there is nobody or no way.
    fn connect(&self, inner: TcpStream) -> std::result::Result<(), TcpStream> {
        let (there, back) = (self.shared.way(self.from, self.to), self.shared.way(self.to, self.from));
        if there == Way::Cut || back == Way::Cut {
            return Err(inner);
        }
        // Nothing of a connection comes about while a direction is stalled, not even its handshake.
        if !self.shared.let_pass(self.from, self.to) || !self.shared.let_pass(self.to, self.from) {
            return Err(inner);
        }
        let Some(outer) = self.dial() else { return Err(inner) };
        for end in [&inner, &outer] {
            let _ = end.set_nodelay(true);
        }
        let halves = (inner.try_clone(), outer.try_clone(), inner.try_clone(), outer.try_clone());
        let (Ok(inner_in), Ok(outer_in), Ok(kept_inner), Ok(kept_outer)) = halves else { return Err(inner) };
        lock(&self.shared.live).push(Live {
            dialer: self.from,
            dialed: self.to,
            ends: [kept_inner, kept_outer],
        });
        thread::scope(|scope| {
            scope.spawn(|| self.pump_there(inner_in, &outer));
            scope.spawn(|| self.pump_back(outer_in, &inner));
        });
        Ok(())
    }

    /// A learner that is refused asks again a second later (B§3.2); one that was accepted and then cut off starts an
    /// election. A leader that has not opened its port yet must look like the former.
    fn dial(&self) -> Option<TcpStream> {
        let target = SocketAddr::from((*self.shared.real.get(&self.to)?, self.port));
        let attempts = if self.port == QUORUM_PORT { 50 } else { 1 };
        for attempt in 0..attempts {
            if attempt > 0 {
                thread::sleep(Duration::from_millis(20));
            }
            if let Ok(stream) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) {
                return Some(stream);
            }
        }
        None
    }

    fn pump_there(&self, mut inner: TcpStream, outer: &TcpStream) {
        if self.port == ELECTION_PORT {
            match read_election_header(&mut inner, self.dial_back) {
                Ok(header) if self.shared.let_pass(self.from, self.to) => {
                    let _ = (&*outer).write_all(&header);
                }
                _ => {}
            }
        }
        pump(inner, outer, |_| self.shared.let_pass(self.from, self.to));
    }

    fn pump_back(&self, outer: TcpStream, inner: &TcpStream) {
        let opening = (self.port == QUORUM_PORT).then(|| {
            let mut openings = lock(&self.shared.openings);
            openings.push(Opening { learner: self.from, leader: self.to, bytes: Vec::new() });
            openings.len() - 1
        });
        pump(outer, inner, |chunk| {
            if let Some(n) = opening {
                let bytes = &mut lock(&self.shared.openings)[n].bytes;
                let room = OPENING - bytes.len();
                bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
            self.shared.let_pass(self.to, self.from)
        });
    }
}

/// Copies until either side ends or `may_pass` forbids it.
fn pump(mut from: TcpStream, mut to: &TcpStream, may_pass: impl Fn(&[u8]) -> bool) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let n = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if !may_pass(&chunk[..n]) {
            reset(&from);
            reset(to);
            return;
        }
        if to.write_all(&chunk[..n]).is_err() {
            break;
        }
    }
    // What ended on one side ends on the other: servers never half-close these links.
    may_pass(&[]);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// −65536, sid, length, "host:port" with the host replaced. Anything else is passed on as it came.
fn read_election_header(from: &mut TcpStream, dial_back: Ipv4Addr) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; 20];
    let got = read_up_to(from, &mut head)?;
    head.truncate(got);
    let mut fields = Dec(&head);
    let (Ok(-65536), Ok(_sid), Ok(length @ 1..=2048)) = (fields.long(), fields.long(), fields.int()) else {
        return Ok(head);
    };
    let mut text = vec![0; length as usize];
    let got = read_up_to(from, &mut text)?;
    text.truncate(got);
    let port = String::from_utf8_lossy(&text).rsplit(':').next().map_or(String::new(), str::to_string);
    let text = format!("{dial_back}:{port}");
    head.truncate(16);
    head.extend_from_slice(&(text.len() as i32).to_be_bytes());
    head.extend_from_slice(text.as_bytes());
    Ok(head)
}

fn read_up_to(from: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..])? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

impl Opening {
    /// The first packet that is a sync, behind LEADERINFO.
    fn sync(&self) -> Option<SyncSeen> {
        let mut d = Dec(&self.bytes);
        loop {
            let (packet, zxid) = (d.int().ok()?, d.long().ok()?);
            if (DIFF..=SNAP).contains(&packet) {
                return Some(SyncSeen { learner: self.learner, leader: self.leader, packet, zxid });
            }
            d.buffer().ok()?;
            if d.int().ok()? > 0 {
                return None;
            }
        }
    }
}

/// With a reset, not with an orderly end.
fn reset(end: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(end, Some(Duration::ZERO));
    let _ = end.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough for LEADERINFO and the packet behind it.
const OPENING: usize = 512;
