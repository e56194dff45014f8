//! Newtypes for ZooKeeper's numbers, each with only the arithmetic that means something.
//!
//! A `Zxid` is printed `0x…`, lower-case and unpadded, as `Long.toHexString` prints it: operators grep for that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds on whatever clock the caller keeps: monotonic for timers and sessions, wall clock in txn headers.
pub type Millis = i64;

/// Transaction id: the epoch in the high 32 bits, a counter in the low 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zxid(pub i64);

impl Zxid {
    pub const ZERO: Zxid = Zxid(0);

    #[inline]
    pub const fn new(epoch: Epoch, counter: u32) -> Zxid {
        Zxid(((epoch.0 as i64) << 32) | counter as i64)
    }
    #[inline]
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }
    #[inline]
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }
    #[inline]
    pub const fn next(self) -> Zxid {
        Zxid(self.0.wrapping_add(1))
    }
    /// No further zxid of this epoch may be proposed: the leader steps down and a new epoch begins (ZOOKEEPER-1277).
    #[inline]
    pub const fn is_rollover(self) -> bool {
        self.counter() == u32::MAX
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::LowerHex for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// A leader's term. Always qualified where it is stored: `accepted_epoch`, `current_epoch`, `election_round`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Server id: the number in `myid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sid(pub i64);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client session. High byte: the server that created it (B§1.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session": the id a client sends to ask for a new one; never validates.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client connection on this server; never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnId(pub u64);

/// A quorum connection between a leader and a learner, on either side; never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LinkId(pub u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_splits_into_epoch_and_counter() {
        let z = Zxid::new(Epoch(7), 0xffff_fffe);
        assert_eq!(z.epoch(), Epoch(7));
        assert_eq!(z.counter(), 0xffff_fffe);
        assert!(!z.is_rollover());
        assert!(z.next().is_rollover());
        assert_eq!(z.to_string(), "0x7fffffffe");
    }

    #[test]
    fn negative_ids_print_as_java_does() {
        assert_eq!(Zxid(-1).to_string(), "0xffffffffffffffff");
        assert_eq!(SessionId(i64::MIN).to_string(), "0x8000000000000000");
    }
}
