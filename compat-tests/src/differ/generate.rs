//! Transcripts from a seed: every op, every mode, the broken forms of each, sessions that come, go and move.
//!
//! A request's `Place` says where in a pipelined batch its effect does not depend on Java's threads; elsewhere two
//! Java servers would differ from each other.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::side::{Fact, Observed};
use super::step::{Hello, Password, Step};
use super::universe::{
    AUTHS, BAD, BAD_ENTRIES, ENTRIES, Entry, OPEN, PATHS, QUOTA, SPECIAL, WORDS, stranger,
};
use crate::wire::{Dec, Enc, op, request, xid};

/// jute.maxbuffer's default, the longest frame that is accepted (B§1.1).
const MAX_FRAME: usize = 1_048_575;
const NO_NODE: i32 = -101;

/// Session timeouts of the servers under the differ: nothing expires during a run.
pub const MIN_TIMEOUT_MS: i32 = 1_000_000;
pub const MAX_TIMEOUT_MS: i32 = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modern {
    /// The ops of 3.6 to 3.9 are not sent.
    Absent,
    /// They are sent to servers that refuse them (−6 and close).
    Refused,
    /// They are sent to servers that know them.
    Known,
}

/// What the servers are set up for, and so what makes sense to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    pub modern: Modern,
    /// Only what 3.5.7 and 3.9 answer alike (B§12): no broken requests, no node that is not everybody's.
    pub narrow: bool,
    /// Four-letter words between the requests.
    pub words: bool,
    /// Restarts between the requests, which take a second or two each.
    pub restarts: bool,
    /// ACL ids and users with characters beyond U+FFFF (see `deliberate`).
    pub astral: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Any,
    /// Answered by Java's IO thread, ahead of what is queued.
    First,
    /// Leaves records that later requests of the batch may or may not see: setACL's pending entry keeps the old ACL, a
    /// multi that throws leaves its pending entries (B§2.3, B§2.8).
    Last,
    /// The server closes after answering, in the order of the queue.
    LastCloses,
    /// The IO thread closes: what was queued before might be answered or not.
    AloneCloses,
}

type Planned = (Vec<u8>, Place);

#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    profile: Profile,
    conns: Vec<Option<String>>,
    next_xid: Vec<i32>,
    sessions: Vec<String>,
    recent: Vec<Vec<u8>>,
    /// What exists, as far as the answers tell: multis and closed sessions change more. A hint, nothing rests on it.
    alive: BTreeSet<Vec<u8>>,
    /// Paths that each connection watched lately.
    watched: Vec<Vec<Vec<u8>>>,
    last_zxid: i64,
}

impl Generator {
    pub fn new(seed: u64, conns: usize, profile: Profile) -> Generator {
        Generator {
            rng: Rng::with_seed(seed),
            profile,
            conns: vec![None; conns.max(1)],
            next_xid: vec![1; conns.max(1)],
            sessions: Vec::new(),
            recent: Vec::new(),
            alive: BTreeSet::new(),
            watched: vec![Vec::new(); conns.max(1)],
            last_zxid: 0,
        }
    }

    pub fn next_step(&mut self) -> Step {
        if self.profile.restarts && self.rng.u32(..1500) == 0 {
            // Swapped in most cases: that is a restart as well.
            return Step::Restart { kill: self.rng.bool(), swap: self.chance(70) };
        }
        let conn = self.rng.usize(..self.conns.len());
        if self.conns[conn].is_none() {
            return self.connect(conn);
        }
        match self.rng.u32(..1000) {
            0..12 => self.connect(conn),
            12..18 => Step::Drop { conn },
            18..32 if self.profile.words => {
                Step::Word { bytes: WORDS[self.rng.usize(..WORDS.len())].to_vec() }
            }
            32..36 => Step::Stranger { bytes: stranger(&mut self.rng) },
            36..39 => Step::Break { conn, bytes: self.impossible_length() },
            39..500 => self.batch(conn, 1),
            500..950 => {
                let n = self.rng.usize(2..12);
                self.batch(conn, n)
            }
            _ => {
                let n = self.rng.usize(12..48);
                self.batch(conn, n)
            }
        }
    }

    /// Learns from what the left side answered: which connections live, what was created, how far the zxid is.
    pub fn observe(&mut self, step: &Step, seen: &[Observed]) {
        if let Step::Drop { conn } = step {
            self.conns[*conn] = None;
        }
        if let Step::Restart { .. } = step {
            self.conns.fill(None);
        }
        if let Step::Connect { conn, hello, .. } = step {
            self.conns[*conn] = Some(hello.session.clone());
        }
        for observed in seen {
            match &observed.fact {
                Fact::Closed | Fact::Refused => {
                    if let Some(conn) = observed.conn.and_then(|c| self.conns.get_mut(c)) {
                        *conn = None;
                    }
                }
                Fact::Reply { zxid, err, created } => {
                    self.last_zxid = self.last_zxid.max(*zxid);
                    if let Some(path) = created {
                        self.remember(path.clone().into_bytes());
                        self.alive.insert(path.clone().into_bytes());
                    }
                    if let (Step::Send { frames, .. }, Some(i)) = (step, observed.frame)
                        && let Some(frame) = frames.get(i)
                    {
                        self.learn(step.conn().unwrap_or(0), frame, *err);
                    }
                }
                Fact::Connected | Fact::Other => {}
            }
        }
    }

    /// What a reply tells about the path its request named.
    fn learn(&mut self, conn: usize, frame: &[u8], err: i32) {
        let mut d = Dec(frame.get(4..).unwrap_or_default());
        let (Ok(op), Ok(Some(path))) = (d.int(), d.buffer()) else { return };
        let creates = [op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL].contains(&op);
        let reads = [op::EXISTS, op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2].contains(&op);
        if op == op::DELETE && err == 0 || !creates && err == NO_NODE {
            self.alive.remove(path);
        }
        if reads && path.len() < 40 && d.bool().unwrap_or(false) {
            let watched = &mut self.watched[conn];
            if watched.len() >= 6 {
                watched.remove(0);
            }
            watched.push(path.to_vec());
        }
    }

    fn remember(&mut self, path: Vec<u8>) {
        if self.recent.len() < 12 {
            self.recent.push(path);
        } else {
            let i = self.rng.usize(..self.recent.len());
            self.recent[i] = path;
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn connect(&mut self, conn: usize) -> Step {
        let again = self.sessions.len() > 3 && self.chance(55);
        let session = if again {
            let from = self.sessions.len().saturating_sub(12);
            self.sessions[self.rng.usize(from..self.sessions.len())].clone()
        } else {
            let name = format!("S{}", self.sessions.len() + 1);
            self.sessions.push(name.clone());
            name
        };
        let password = match self.rng.u8(..20) {
            0 => Password::Wrong,
            1 => Password::Null,
            2 => Password::Empty,
            3 => Password::Short,
            _ => Password::Right,
        };
        let last_zxid = match self.rng.u8(..12) {
            0 => self.last_zxid + 1_000_000,
            1 => i64::MAX,
            2 => -1,
            3..7 => self.last_zxid,
            _ => 0,
        };
        let timeout_ms =
            self.pick(&[30_000, 1, 0, -5, i32::MIN, i32::MAX, MIN_TIMEOUT_MS + 77, MAX_TIMEOUT_MS]);
        let read_only = self.pick(&[Some(false), Some(false), Some(true), None]);
        let protocol = self.pick(&[0, 0, 0, 1, -1, 77]);
        let hello = Hello { session, new: !again, password, protocol, last_zxid, timeout_ms, read_only };
        let frames = if self.chance(25) { self.plain_requests(conn) } else { Vec::new() };
        Step::Connect { conn, hello, frames }
    }

    /// Requests for the write that carries the connect request itself.
    fn plain_requests(&mut self, conn: usize) -> Vec<Vec<u8>> {
        let n = self.rng.usize(1..5);
        let mut frames = Vec::new();
        while frames.len() < n {
            let (frame, place) = self.request(conn);
            if place == Place::Any && frame.len() < 1000 {
                frames.push(frame);
            }
        }
        frames
    }

    fn impossible_length(&mut self) -> Vec<u8> {
        let length: &[u8] = self.pick(&[
            b"\0\x10\0\0".as_slice(),
            b"\x7f\xff\xff\xff",
            b"\xff\xff\xff\xff",
            b"\x80\0\0\0",
            b"ruok",
            b"stat",
        ]);
        length.to_vec()
    }

    fn batch(&mut self, conn: usize, n: usize) -> Step {
        let mut frames: Vec<Vec<u8>> = Vec::new();
        let mut big = 0;
        while frames.len() < n {
            let (frame, place) = self.request(conn);
            let alone = matches!(place, Place::First | Place::AloneCloses);
            big += frame.len();
            if (alone && !frames.is_empty()) || (big > 1_200_000 && !frames.is_empty()) {
                continue;
            }
            frames.push(frame);
            match place {
                Place::Any | Place::First => {}
                Place::Last => break,
                Place::LastCloses | Place::AloneCloses => return Step::Send { conn, frames, closes: true },
            }
        }
        Step::Send { conn, frames, closes: false }
    }

    fn xid(&mut self, conn: usize) -> i32 {
        if self.chance(3) {
            // An event of 3.6 and later cannot be told from a reply to xid -1.
            let odd: &[i32] = match self.profile.narrow {
                true => &[0, -2, -4, -8, -3, i32::MIN, i32::MAX, 1],
                false => &[0, -1, -2, -4, -8, -3, i32::MIN, i32::MAX, 1],
            };
            return self.pick(odd);
        }
        self.next_xid[conn] += 1;
        self.next_xid[conn]
    }

    fn request(&mut self, conn: usize) -> Planned {
        let xid = self.xid(conn);
        if self.rng.u32(..3000) == 0 {
            return self.big(xid);
        }
        let (op, body, place) = self.op_and_body(conn);
        if self.chance(if self.profile.narrow { 0 } else { 3 })
            && let Some(planned) = self.broken(xid, op, &body, place)
        {
            return planned;
        }
        let xid = match op {
            op::AUTH if self.rng.bool() => xid::AUTH,
            op::SET_WATCHES | op::SET_WATCHES2 if self.rng.bool() => xid::SET_WATCHES,
            op::PING if self.rng.bool() => xid::PING,
            _ => xid,
        };
        (request(xid, op, &body), place)
    }

    fn op_and_body(&mut self, conn: usize) -> (i32, Vec<u8>, Place) {
        let watch = self.chance(40);
        if self.profile.modern == Modern::Known && self.chance(20) {
            return self.modern();
        }
        match self.rng.u32(..1000) {
            0..130 => (op::CREATE, self.create_body(op::CREATE), Place::Any),
            130..190 => (op::CREATE2, self.create_body(op::CREATE2), Place::Any),
            190..220 => (op::CREATE_CONTAINER, self.create_body(op::CREATE_CONTAINER), Place::Any),
            220..250 => (op::CREATE_TTL, self.create_body(op::CREATE_TTL), Place::Any),
            250..390 => (op::DELETE, self.path_and_version().bytes(), Place::Any),
            390..490 => (op::SET_DATA, self.set_data_body(), Place::Any),
            490..560 => (op::EXISTS, self.path_field().bool(watch).bytes(), Place::Any),
            560..640 => (op::GET_DATA, self.path_field().bool(watch).bytes(), Place::Any),
            640..675 => (op::GET_CHILDREN, self.path_field().bool(watch).bytes(), Place::Any),
            675..710 => (op::GET_CHILDREN2, self.path_field().bool(watch).bytes(), Place::Any),
            710..745 => (op::GET_ACL, self.path_field().bytes(), Place::Any),
            745..785 => (op::SET_ACL, self.set_acl_body(), Place::Last),
            785..800 => (op::SYNC, self.path_field().bytes(), Place::Any),
            800..890 => self.multi(),
            890..915 => (op::SET_WATCHES, self.set_watches_body(3), Place::Any),
            915..930 => (op::CHECK_WATCHES, self.watches_body(conn), Place::Any),
            930..950 => (op::REMOVE_WATCHES, self.watches_body(conn), Place::Any),
            950..960 => (op::PING, Vec::new(), Place::Any),
            960..974 => self.auth(),
            974..982 if self.profile.narrow => self.modern(),
            974..978 => (op::RECONFIG, self.reconfig_body(), Place::Any),
            978..982 => (op::DELETE_CONTAINER, self.path().unwrap_or_default(), Place::Any),
            982..984 => (
                op::SASL,
                Enc::new().buffer(self.pick(&[Some(b"x".as_slice()), Some(b"")])).bytes(),
                Place::First,
            ),
            984..986 => (op::CREATE_SESSION, Enc::new().int(MAX_TIMEOUT_MS).bytes(), Place::Last),
            986..989 => (op::CLOSE_SESSION, Vec::new(), Place::LastCloses),
            989..991 => (
                self.pick(&[0, 10, -1, -2, 99, 108, 1000, i32::MIN, i32::MAX]),
                Vec::new(),
                Place::AloneCloses,
            ),
            _ => self.modern(),
        }
    }

    fn modern(&mut self) -> (i32, Vec<u8>, Place) {
        let place = match self.profile.modern {
            Modern::Absent => return (op::GET_DATA, self.path_field().bool(true).bytes(), Place::Any),
            Modern::Refused => Place::AloneCloses,
            Modern::Known => Place::Any,
        };
        match self.rng.u8(..9) {
            0..3 => {
                let mode = self.pick(&[0, 1, 0, 1, 2, -1]);
                (op::ADD_WATCH, self.path_field().int(mode).bytes(), place)
            }
            3..5 => (op::SET_WATCHES2, self.set_watches_body(5), place),
            5 => (op::GET_EPHEMERALS, self.path_field().bytes(), place),
            6 => {
                // 3.9 counts the root below the empty path, by accident of its two keys.
                let path = self.path().filter(|p| !p.is_empty()).unwrap_or_else(|| b"/".to_vec());
                (op::GET_ALL_CHILDREN_NUMBER, Enc::new().buffer(Some(&path)).bytes(), place)
            }
            7 => (op::WHO_AM_I, Vec::new(), place),
            _ => (op::MULTI_READ, self.multi_read_body(), place),
        }
    }

    /// A value up to the longest frame, or a frame one byte too long.
    fn big(&mut self, xid: i32) -> Planned {
        let path = PATHS[self.rng.usize(..PATHS.len())];
        let head = Enc::new().string(path);
        let fixed = 8 + head.0.len() + 4 + 4;
        let over = self.rng.u8(..8) == 0;
        let size = if over || self.rng.bool() {
            MAX_FRAME - fixed
        } else {
            self.rng.usize(50_000..MAX_FRAME - fixed)
        };
        let data = vec![self.rng.u8(..); size + usize::from(over)];
        let body = head.buffer(Some(&data)).int(-1).bytes();
        (request(xid, op::SET_DATA, &body), if over { Place::AloneCloses } else { Place::Any })
    }

    /// A broken form of a good request: cut, longer than needed, with a length that lies, or no header.
    fn broken(&mut self, xid: i32, op: i32, body: &[u8], place: Place) -> Option<Planned> {
        // These are closed or answered by the IO thread, or must not be bent (see `deliberate`).
        let fixed = [op::AUTH, op::SASL, op::CREATE_SESSION, op::CLOSE_SESSION, op::DELETE_CONTAINER];
        if fixed.contains(&op) || matches!(place, Place::AloneCloses) || contains(body, b"quota") {
            return None;
        }
        let mut body = body.to_vec();
        match self.rng.u8(..10) {
            0 => {
                let mut frame = request(xid, op, &body);
                frame.truncate(self.rng.usize(..8));
                return Some((frame, Place::AloneCloses));
            }
            1..5 => body.truncate(self.rng.usize(..=body.len())),
            5..8 => body.extend(std::iter::repeat_n(0xa5, self.rng.usize(1..9))),
            _ if op == op::CREATE_TTL || body.len() < 4 => return None,
            _ => {
                let lie: i32 = self.pick(&[-1, -2, i32::MIN, i32::MAX, 2_097_150, 2_097_151, 0, 1, 3]);
                body[..4].copy_from_slice(&lie.to_be_bytes());
            }
        }
        // A multi that throws half way leaves pending records.
        let place = if op == op::MULTI { Place::Last } else { place };
        Some((request(xid, op, &body), place))
    }

    /// A path for a request that wants a node: often one that exists.
    fn path(&mut self) -> Option<Vec<u8>> {
        if self.chance(45) && !self.alive.is_empty() {
            let i = self.rng.usize(..self.alive.len());
            return self.alive.iter().nth(i).cloned();
        }
        self.any_path()
    }

    /// A path for a create: often a free one below a parent that exists.
    fn new_path(&mut self) -> Option<Vec<u8>> {
        for _ in 0..if self.chance(60) { 6 } else { 0 } {
            let path =
                if !self.profile.narrow && self.chance(15) { self.pick(QUOTA) } else { self.pick(PATHS) }
                    .as_bytes();
            let parent = &path[..path.iter().rposition(|b| *b == b'/').unwrap_or(0)];
            let parent_exists =
                parent.is_empty() || parent == b"/zookeeper/quota" || self.alive.contains(parent);
            if parent_exists && !self.alive.contains(path) {
                return Some(path.to_vec());
            }
        }
        self.any_path()
    }

    /// None is a null path.
    fn any_path(&mut self) -> Option<Vec<u8>> {
        let text = match self.rng.u32(..100) {
            0..64 => self.pick(PATHS),
            64..80 if !self.recent.is_empty() => {
                return Some(self.recent[self.rng.usize(..self.recent.len())].clone());
            }
            64..86 => self.pick(SPECIAL),
            // Accounting changed in 3.6 and later.
            86..92 if !self.profile.narrow => self.pick(QUOTA),
            86..92 => self.pick(PATHS),
            92..98 => {
                let path = self.pick(BAD);
                // 3.9 asks for permission on the parent before it looks for the node.
                let spared = self.profile.narrow && contains(path, b"zookeeper");
                return Some(if spared { b"/".to_vec() } else { path.to_vec() });
            }
            98 if !self.profile.narrow => return None,
            _ => self.pick(PATHS),
        };
        Some(text.as_bytes().to_vec())
    }

    fn path_field(&mut self) -> Enc {
        Enc::new().buffer(self.path().as_deref())
    }

    fn path_and_version(&mut self) -> Enc {
        self.path_field().int(self.version())
    }

    fn version(&mut self) -> i32 {
        self.pick(&[-1, -1, -1, -1, -1, -1, 0, 0, 1, 2, 5, -2, i32::MAX, i32::MIN])
    }

    /// Quota nodes get well-formed text only: Java's pipeline dies of other text (see `deliberate`).
    fn data(&mut self, path: Option<&[u8]>) -> Option<Vec<u8>> {
        if path.is_some_and(|p| contains(p, b"quota")) {
            let limits = [-1, 0, 1, 3, 1000];
            return Some(format!("count={},bytes={}", self.pick(&limits), self.pick(&limits)).into_bytes());
        }
        match self.rng.u8(..20) {
            0 => None,
            1 | 2 => Some(Vec::new()),
            3 => Some(vec![self.rng.u8(..); self.rng.usize(..3000)]),
            _ => Some((0..self.rng.usize(1..12)).map(|_| self.rng.u8(b'a'..=b'z')).collect()),
        }
    }

    fn create_body(&mut self, op: i32) -> Vec<u8> {
        let path = self.new_path();
        let data = self.data(path.as_deref());
        let e = Enc::new().buffer(path.as_deref()).buffer(data.as_deref());
        let acl = self.acl(path.as_deref());
        let (flags, ttl) = self.mode(op, path.as_deref());
        let e = e.raw(&acl).int(flags);
        if op == op::CREATE_TTL { e.long(ttl).bytes() } else { e.bytes() }
    }

    /// Flags, and the ttl where the op has one. A negative ttl goes with TTL modes only (see `deliberate`).
    fn mode(&mut self, op: i32, path: Option<&[u8]>) -> (i32, i64) {
        let odd = self.chance(4);
        let flags = match op {
            op::CREATE_CONTAINER if self.profile.narrow => 4,
            _ if odd => self.pick(&[-1, 7, 100, i32::MIN, i32::MAX]),
            op::CREATE_CONTAINER => self.pick(&[4, 4, 4, 4, 4, 0, 1, 2, 3, 5, 6]),
            op::CREATE_TTL => self.pick(&[5, 5, 5, 5, 6, 6, 0, 1, 2, 3, 4]),
            _ => self.pick(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6]),
        };
        // Whether a session's limit or its nodes below the limit go first changes what is counted: neither is ephemeral.
        let flags = match flags {
            1 | 3 if path.is_some_and(|p| contains(p, b"quota")) => flags - 1,
            _ => flags,
        };
        let ttl = match flags {
            5 | 6 => self.pick(&[1, 1000, 60_000, (1 << 40) - 1, 1 << 40, 0, -1, i64::MIN, i64::MAX]),
            _ => self.pick(&[0, 1, 1000]),
        };
        (flags, ttl)
    }

    fn set_data_body(&mut self) -> Vec<u8> {
        let path = self.path();
        let data = self.data(path.as_deref());
        Enc::new().buffer(path.as_deref()).buffer(data.as_deref()).int(self.version()).bytes()
    }

    fn set_acl_body(&mut self) -> Vec<u8> {
        let path = self.path();
        let acl = self.acl(path.as_deref());
        Enc::new().buffer(path.as_deref()).raw(&acl).int(self.version()).bytes()
    }

    /// A vector of entries. The root always keeps an open entry, or nothing could be created any more.
    fn acl(&mut self, path: Option<&[u8]>) -> Vec<u8> {
        let mut entries: Vec<Entry> = match self.rng.u32(..100) {
            0..70 => vec![OPEN],
            70..90 => (0..self.rng.usize(1..4)).map(|_| self.pick(ENTRIES)).collect(),
            90..95 => (0..self.rng.usize(1..4))
                .map(|_| if self.rng.bool() { self.pick(BAD_ENTRIES) } else { self.pick(ENTRIES) })
                .collect(),
            95..97 => vec![OPEN, self.pick(ENTRIES), OPEN],
            97 if !self.profile.narrow => return Enc::new().int(-1).bytes(),
            98 => return Enc::new().int(-5).bytes(),
            _ => Vec::new(),
        };
        if !self.profile.astral {
            entries.retain(|(_, _, id)| !id.is_some_and(is_astral));
        }
        let everybodys = self.profile.narrow
            || path.is_some_and(|p| p == b"/" || p == b"/zookeeper" || p == b"/zookeeper/quota");
        if everybodys && !entries.is_empty() {
            entries.push(OPEN);
        }
        let e = Enc::new().int(entries.len() as i32);
        entries.iter().fold(e, |e, (perms, scheme, id)| e.int(*perms).buffer(*scheme).buffer(*id)).bytes()
    }

    fn paths_field(&mut self, e: Enc) -> Enc {
        let n = self.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, -1]);
        let mut e = e.int(n);
        for _ in 0..n {
            e = e.buffer(self.path().as_deref());
        }
        e
    }

    fn set_watches_body(&mut self, lists: usize) -> Vec<u8> {
        let last = self.last_zxid;
        let since = self.pick(&[0, last, last - 5, last / 2, last + 1, i64::MAX, -1]);
        (0..lists).fold(Enc::new().long(since), |e, _| self.paths_field(e)).bytes()
    }

    fn watches_body(&mut self, conn: usize) -> Vec<u8> {
        let kinds: &[i32] = match self.profile.modern {
            Modern::Absent => &[1, 2, 3, 1, 2, 3, 0, 6, -1, 99],
            _ => &[1, 2, 3, 1, 2, 3, 4, 5, 0, 6, -1, 99],
        };
        let path = match self.watched[conn].is_empty() || self.chance(30) {
            true => self.path(),
            false => Some(self.watched[conn][self.rng.usize(..self.watched[conn].len())].clone()),
        };
        Enc::new().buffer(path.as_deref()).int(self.pick(kinds)).bytes()
    }

    fn auth(&mut self) -> (i32, Vec<u8>, Place) {
        let (scheme, auth, closes) = match self.pick(AUTHS) {
            (_, Some(id), _) if is_astral(id) && !self.profile.astral => AUTHS[0],
            other => other,
        };
        let body = Enc::new().int(self.pick(&[0, 0, 5, -1])).buffer(scheme).buffer(auth).bytes();
        (op::AUTH, body, if closes { Place::AloneCloses } else { Place::First })
    }

    fn reconfig_body(&mut self) -> Vec<u8> {
        let server = b"server.9=127.0.0.1:1:2;3".as_slice();
        let texts: [Option<&[u8]>; 4] = [None, Some(b""), Some(server), Some(b"9")];
        let e = Enc::new().buffer(self.pick(&texts)).buffer(self.pick(&texts)).buffer(self.pick(&texts));
        e.long(self.pick(&[-1, 0, 77])).bytes()
    }

    fn multi(&mut self) -> (i32, Vec<u8>, Place) {
        let n = self.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 6]);
        let mut e = Enc::new();
        let mut place = Place::Any;
        for _ in 0..n {
            let (op, body, throws) = self.sub_op();
            if throws {
                place = Place::Last;
            }
            e = e.int(op).bool(false).int(self.pick(&[-1, -1, 0])).raw(&body);
        }
        let e = match self.rng.u8(..40) {
            0..3 if self.profile.narrow => e.int(-1).bool(true).int(-1),
            0 => e,
            1 => e.int(op::DELETE).bool(true).int(0),
            2 => e.int(-1).bool(false).int(-1),
            _ => e.int(-1).bool(true).int(-1),
        };
        (op::MULTI, e.bytes(), place)
    }

    /// One op of a multi; true when it makes Java throw with the records of earlier ops pending.
    fn sub_op(&mut self) -> (i32, Vec<u8>, bool) {
        match self.rng.u32(..100) {
            0..30 => self.sub_create(),
            30..55 => self.sub_path_op(op::DELETE),
            55..80 => {
                let body = self.set_data_body();
                (op::SET_DATA, body.clone(), starts_null(&body))
            }
            80..97 => self.sub_path_op(op::CHECK),
            97.. if self.profile.narrow => self.sub_path_op(op::CHECK),
            97 => (op::GET_DATA, self.path_field().bool(false).bytes(), false),
            98 => (op::SET_ACL, self.set_acl_body(), false),
            _ => (self.pick(&[op::MULTI, op::PING, op::CLOSE_SESSION, 0, 99]), Vec::new(), false),
        }
    }

    fn sub_create(&mut self) -> (i32, Vec<u8>, bool) {
        let op = match self.profile.narrow {
            true => op::CREATE,
            false => self.pick(&[op::CREATE, op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL]),
        };
        let path = self.new_path();
        let data = self.data(path.as_deref());
        let acl = self.acl(path.as_deref());
        let (mut flags, ttl) = self.mode(op, path.as_deref());
        if self.profile.narrow {
            flags &= 3;
        }
        let e = Enc::new().buffer(path.as_deref()).buffer(data.as_deref()).raw(&acl).int(flags);
        let body = if op == op::CREATE_TTL { e.long(ttl).bytes() } else { e.bytes() };
        // TTL modes are decoded into the wrong class; nulls in paths and ACLs are dereferenced.
        let throws = path.is_none() || matches!(flags, 5 | 6) || contains(&acl, &[0xff; 4]);
        (op, body, throws)
    }

    fn sub_path_op(&mut self, op: i32) -> (i32, Vec<u8>, bool) {
        let body = self.path_and_version().bytes();
        (op, body.clone(), starts_null(&body))
    }

    fn multi_read_body(&mut self) -> Vec<u8> {
        let mut e = Enc::new();
        for _ in 0..self.pick(&[0, 1, 2, 3]) {
            let op = self.pick(&[op::GET_DATA, op::GET_CHILDREN]);
            let body = self.path_field().bool(false).bytes();
            e = e.int(op).bool(false).int(-1).raw(&body);
        }
        e.int(-1).bool(true).int(-1).bytes()
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w == word)
}

/// UTF-8 of four bytes begins with 0xf0 or more; 0xff begins nothing.
fn is_astral(id: &[u8]) -> bool {
    id.iter().any(|b| (0xf0..0xf8).contains(b))
}

fn starts_null(body: &[u8]) -> bool {
    body.starts_with(&[0xff; 4])
}
