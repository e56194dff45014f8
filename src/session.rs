//! Sessions of clients: ids, passwords, leases and expiry in buckets (B§1.3, B§1.8; `SessionTrackerImpl`, `ExpiryQueue`).
//!
//! A request must not need the core to keep its session alive, so each session has a [`Lease`] that connections renew with
//! one atomic store. A bucket that comes due looks at the leases: who has renewed moves on, the rest expire. What a client
//! can observe is what Java does: a session ends between its timeout and one tick more after it was last heard.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use crate::{
    db::{Map, Set},
    ids::{LinkId, Millis, SessionId, Sid},
    proto::ErrorCode,
};

/// The 16 bytes that prove a session is a client's: java.util.Random seeded with the id, the same on every server of an
/// ensemble (`ZooKeeperServer.generatePasswd`).
pub fn password(session: SessionId) -> [u8; 16] {
    const SECRET: i64 = 0xb341_5c00;
    const MULTIPLIER: i64 = 0x5_deec_e66d;
    const MASK: i64 = (1 << 48) - 1;
    let mut state = ((session.0 ^ SECRET) ^ MULTIPLIER) & MASK;
    let mut out = [0; 16];
    for word in out.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        word.copy_from_slice(&((state >> 16) as i32).to_le_bytes());
    }
    out
}

/// Session 0 never validates, whatever comes with it.
pub fn password_matches(session: SessionId, sent: Option<&[u8]>) -> bool {
    session != SessionId::NONE && sent == Some(&password(session)[..])
}

/// What a connection holds of its session.
#[derive(Debug)]
pub struct Lease {
    expires: AtomicI64,
    closed: AtomicBool,
}

impl Lease {
    fn new(expires: Millis) -> Arc<Lease> {
        Arc::new(Lease { expires: AtomicI64::new(expires), closed: AtomicBool::new(false) })
    }

    /// Renews until `now + timeout_ms`. False once the session is closing: its requests are dropped without an answer
    /// (`ZooKeeperServer.submitRequest`).
    #[inline]
    pub fn touch(&self, now: Millis, timeout_ms: i32) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        self.expires.store(now + Millis::from(timeout_ms), Ordering::Relaxed);
        true
    }

    /// When it ends unless it is renewed.
    pub fn expires(&self) -> Millis {
        self.expires.load(Ordering::Relaxed)
    }
}

/// Where requests of a session come from; a session has one owner at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A connection of this server.
    Local,
    /// A learner that forwards for its clients.
    Learner(LinkId),
}

#[derive(Debug)]
struct Session {
    timeout_ms: i32,
    bucket: Millis,
    owner: Option<Owner>,
    lease: Arc<Lease>,
}

impl Session {
    fn is_closing(&self) -> bool {
        self.lease.closed.load(Ordering::Acquire)
    }
}

/// All sessions this server answers for.
///
/// Invariant: a session is in the bucket its entry names, and that bucket is never later than its lease says.
#[derive(Debug)]
pub struct SessionTracker {
    sessions: Map<SessionId, Session>,
    buckets: BTreeMap<Millis, Set<SessionId>>,
    tick_ms: Millis,
    next_id: i64,
}

impl SessionTracker {
    /// `seed_ms`: a clock that does not go back over a restart, so that ids are not given out twice.
    pub fn new(server: Sid, tick_ms: Millis, seed_ms: Millis) -> SessionTracker {
        let low = ((seed_ms << 24) as u64 >> 8) as i64;
        let first = low | (server.0 << 56);
        SessionTracker {
            sessions: Map::default(),
            buckets: BTreeMap::new(),
            tick_ms,
            next_id: if first == i64::MIN { first + 1 } else { first },
        }
    }

    pub fn next_id(&mut self) -> SessionId {
        // A clock that was set back over a restart must not give a living session to somebody else.
        loop {
            let id = SessionId(self.next_id);
            self.next_id = self.next_id.wrapping_add(1);
            if id != SessionId::NONE && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Tracks a session, or renews it where it is known.
    pub fn add(&mut self, id: SessionId, timeout_ms: i32, now: Millis) -> Arc<Lease> {
        let expires = now + Millis::from(timeout_ms);
        if let Some(session) = self.sessions.get(&id) {
            let lease = session.lease.clone();
            lease.touch(now, timeout_ms);
            self.place(id, expires);
            return lease;
        }
        let lease = Lease::new(expires);
        let session = Session { timeout_ms, bucket: Millis::MIN, owner: None, lease: lease.clone() };
        self.sessions.insert(id, session);
        self.place(id, expires);
        lease
    }

    /// A session whose txn has been applied. One that is known already keeps its lease as it is.
    pub fn note(&mut self, id: SessionId, timeout_ms: i32, now: Millis) {
        if !self.sessions.contains_key(&id) {
            self.add(id, timeout_ms, now);
        }
    }

    /// Forgets every session; whoever holds a lease is refused. Ids that were given out are not given out again.
    pub fn clear(&mut self) {
        for session in self.sessions.values() {
            session.lease.closed.store(true, Ordering::Release);
        }
        self.sessions.clear();
        self.buckets.clear();
    }

    /// Renews with the timeout a connection has negotiated. `None`: unknown or closing.
    pub fn touch(&mut self, id: SessionId, timeout_ms: i32, now: Millis) -> Option<Arc<Lease>> {
        let lease = self.sessions.get(&id)?.lease.clone();
        if !lease.touch(now, timeout_ms) {
            return None;
        }
        // A shorter timeout may move it to an earlier bucket.
        self.place(id, now + Millis::from(timeout_ms));
        Some(lease)
    }

    /// Whether `owner` may act for this session; the first to ask becomes the owner.
    pub fn check(&mut self, id: SessionId, owner: Owner) -> Result<(), ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::UNKNOWN_SESSION)?;
        if session.is_closing() {
            return Err(ErrorCode::SESSION_EXPIRED);
        }
        if *session.owner.get_or_insert(owner) == owner { Ok(()) } else { Err(ErrorCode::SESSION_MOVED) }
    }

    /// The same for what needs a global session: an unknown one counts as expired.
    pub fn check_global(&mut self, id: SessionId, owner: Owner) -> Result<(), ErrorCode> {
        self.check(id, owner)
            .map_err(|e| if e == ErrorCode::UNKNOWN_SESSION { ErrorCode::SESSION_EXPIRED } else { e })
    }

    pub fn set_owner(&mut self, id: SessionId, owner: Owner) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.owner = Some(owner);
        }
    }

    /// From here on its requests are refused; the closeSession txn is on its way.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            session.lease.closed.store(true, Ordering::Release);
        }
    }

    pub fn remove(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        session.lease.closed.store(true, Ordering::Release);
        self.unplace(id, session.bucket);
    }

    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Gives a session to `other`, with the lease that its connection holds.
    pub fn move_to(&mut self, other: &mut SessionTracker, id: SessionId, now: Millis) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.unplace(id, session.bucket);
        let timeout_ms = session.timeout_ms;
        other.sessions.insert(id, Session { bucket: Millis::MIN, ..session });
        other.touch(id, timeout_ms, now);
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// When the next bucket comes due.
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.buckets.keys().next().copied()
    }

    /// Sessions that have not been heard in time, marked as closing, with the timeout each had.
    pub fn handle_timeout(&mut self, now: Millis) -> Vec<(SessionId, i32)> {
        let mut expired = Vec::new();
        while let Some(entry) = self.buckets.first_entry()
            && *entry.key() <= now
        {
            for id in entry.remove() {
                let Some(session) = self.sessions.get_mut(&id) else { continue };
                session.bucket = Millis::MIN;
                let due = session.lease.expires.load(Ordering::Relaxed);
                if round_up(due, self.tick_ms) > now {
                    self.place(id, due);
                } else {
                    session.lease.closed.store(true, Ordering::Release);
                    expired.push((id, session.timeout_ms));
                }
            }
        }
        expired
    }

    /// Sessions by the time they would expire, as `dump` shows them.
    pub fn buckets(&self) -> BTreeMap<Millis, Vec<SessionId>> {
        let mut shown: BTreeMap<Millis, Vec<SessionId>> = BTreeMap::new();
        for (id, session) in self.sessions.iter().filter(|(_, s)| !s.is_closing()) {
            let due = round_up(session.lease.expires.load(Ordering::Relaxed), self.tick_ms);
            shown.entry(due).or_default().push(*id);
        }
        shown
    }

    fn place(&mut self, id: SessionId, expires: Millis) {
        let due = round_up(expires, self.tick_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let old = std::mem::replace(&mut session.bucket, due);
        if old != due {
            self.unplace(id, old);
            self.buckets.entry(due).or_default().insert(id);
        }
    }

    fn unplace(&mut self, id: SessionId, bucket: Millis) {
        if let Some(ids) = self.buckets.get_mut(&bucket) {
            ids.remove(&id);
            if ids.is_empty() {
                self.buckets.remove(&bucket);
            }
        }
    }
}

/// `ExpiryQueue.roundToNextInterval`.
fn round_up(time: Millis, tick_ms: Millis) -> Millis {
    (time / tick_ms + 1) * tick_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn passwords_are_javas() {
        // B§1.3, the last one taken from a running 3.5.7.
        for (id, expected) in [
            (1, "054cc74a37327db215e702e20c73f005"),
            (0x100000000000000, "f22acd4a97e69d6d20a49bb638eadb38"),
            (-1, "20f62cb5648dc2d771471c8a2486a9ee"),
            (0x1000018f55e0000, "c07b80a44d6278db9ed48fa7dec38d2c"),
        ] {
            assert_eq!(hex(&password(SessionId(id))), expected);
        }
        assert!(!password_matches(SessionId::NONE, Some(&password(SessionId::NONE))));
        assert!(password_matches(SessionId(7), Some(&password(SessionId(7)))));
        assert!(!password_matches(SessionId(7), None));
    }

    #[test]
    fn ids_carry_the_server_and_the_clock() {
        let mut tracker = SessionTracker::new(Sid(1), 2000, 0x12_3456_789a);
        assert_eq!(tracker.next_id(), SessionId(0x0112_3456_789a_0000));
        tracker.add(SessionId(0x0112_3456_789a_0001), 4000, 0);
        assert_eq!(tracker.next_id(), SessionId(0x0112_3456_789a_0002), "the next one lives already");
    }

    #[test]
    fn a_session_expires_up_to_a_tick_after_its_timeout() {
        let mut tracker = SessionTracker::new(Sid(1), 2000, 1);
        let id = SessionId(5);
        let lease = tracker.add(id, 4000, 1000);
        assert_eq!(tracker.poll_timeout(), Some(6000));
        assert!(lease.touch(3500, 4000));
        assert!(tracker.handle_timeout(6000).is_empty(), "it was renewed");
        assert_eq!(tracker.poll_timeout(), Some(8000));
        assert_eq!(tracker.handle_timeout(8000), [(id, 4000)]);
        assert!(!lease.touch(8001, 4000));
        assert_eq!(tracker.check(id, Owner::Local), Err(ErrorCode::SESSION_EXPIRED));
        tracker.remove(id);
        assert_eq!(tracker.check(id, Owner::Local), Err(ErrorCode::UNKNOWN_SESSION));
        assert_eq!(tracker.check_global(id, Owner::Local), Err(ErrorCode::SESSION_EXPIRED));
        assert_eq!(tracker.poll_timeout(), None);
    }

    #[test]
    fn a_shorter_timeout_moves_a_session_forward() {
        let mut tracker = SessionTracker::new(Sid(1), 2000, 1);
        tracker.add(SessionId(5), 40_000, 0);
        assert!(tracker.touch(SessionId(5), 4000, 100).is_some());
        assert_eq!(tracker.poll_timeout(), Some(6000));
        assert_eq!(tracker.buckets().into_keys().collect::<Vec<_>>(), [6000]);
    }

    #[test]
    fn another_owner_means_moved() {
        let mut tracker = SessionTracker::new(Sid(1), 2000, 1);
        tracker.add(SessionId(5), 4000, 0);
        assert_eq!(tracker.check(SessionId(5), Owner::Learner(LinkId(2))), Ok(()));
        assert_eq!(tracker.check(SessionId(5), Owner::Local), Err(ErrorCode::SESSION_MOVED));
        tracker.set_owner(SessionId(5), Owner::Local);
        assert_eq!(tracker.check(SessionId(5), Owner::Local), Ok(()));
    }
}
