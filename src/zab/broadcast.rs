//! Which proposals are decided: acks of voters, in zxid order (B§3.7; `Leader.processAck`, `tryToCommit`).
//!
//! Invariants:
//! 1. Proposals have growing zxids of one epoch; whoever has logged one has logged every earlier one, so an ack covers them.
//! 2. What is decided has a quorum of acks in every configuration that counts, and never shrinks.

use std::collections::BTreeMap;

use super::quorum::Quorums;
use crate::ids::{Sid, Zxid};

#[derive(Debug)]
pub struct Broadcast {
    quorums: Quorums,
    /// How far each voter has logged.
    acked: BTreeMap<Sid, Zxid>,
    last_proposed: Zxid,
    decided: Zxid,
    /// There are acks that `decided` does not know of.
    stale: bool,
}

impl Broadcast {
    pub fn new(quorums: Quorums, last_zxid: Zxid) -> Broadcast {
        Broadcast {
            quorums,
            acked: BTreeMap::new(),
            last_proposed: last_zxid,
            decided: last_zxid,
            stale: false,
        }
    }

    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    /// Takes the next zxid. What is numbered and never proposed leaves a gap, as in Java (B§1.7).
    pub fn next_zxid(&mut self) -> Zxid {
        self.last_proposed = self.last_proposed.next();
        self.last_proposed
    }

    /// `sid` has everything up to `zxid` on disk. Acks of strangers, and for what has not been proposed, change nothing.
    pub fn ack_through(&mut self, sid: Sid, zxid: Zxid) {
        if zxid > self.last_proposed || zxid <= self.decided || !self.quorums.contains(sid) {
            return;
        }
        let acked = self.acked.entry(sid).or_insert(zxid);
        *acked = zxid.max(*acked);
        self.stale = true;
    }

    /// `sid` has come back and holds nothing behind `zxid`, whatever it had acked: it is about to cut that, or has lost it. An
    /// ack that still counted would decide what is on too few disks.
    pub fn holds_through(&mut self, sid: Sid, zxid: Zxid) {
        if let Some(acked) = self.acked.get_mut(&sid) {
            *acked = zxid.min(*acked);
        }
    }

    /// Everything up to here is decided.
    pub fn decided(&mut self) -> Zxid {
        if std::mem::take(&mut self.stale) {
            let has = |sid, zxid: Zxid| self.acked.get(&sid).is_some_and(|acked| *acked >= zxid);
            let decided = self
                .acked
                .values()
                .filter(|zxid| **zxid > self.decided && self.quorums.is_quorum_of(|sid| has(sid, **zxid)))
                .max();
            self.decided = decided.copied().unwrap_or(self.decided);
        }
        self.decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ids::Epoch, zab::quorum::Voters};

    fn zxid(counter: u32) -> Zxid {
        Zxid::new(Epoch(1), counter)
    }

    fn broadcast(voters: i64, proposed: u32) -> Broadcast {
        let mut b = Broadcast::new(Quorums::new(Voters::new((1..=voters).map(Sid))), zxid(0));
        for n in 1..=proposed {
            assert_eq!(b.next_zxid(), zxid(n));
        }
        b
    }

    #[test]
    fn a_quorum_decides_what_it_has_in_common() {
        let mut b = broadcast(3, 3);
        b.ack_through(Sid(1), zxid(3));
        assert_eq!(b.decided(), zxid(0));
        b.ack_through(Sid(2), zxid(1));
        assert_eq!(b.decided(), zxid(1), "the others have one ack");
        b.ack_through(Sid(3), zxid(2));
        assert_eq!(b.decided(), zxid(2));
        b.ack_through(Sid(3), zxid(1));
        assert_eq!(b.decided(), zxid(2), "a late ack takes nothing back");
        b.ack_through(Sid(2), zxid(3));
        assert_eq!(b.decided(), zxid(3));
    }

    #[test]
    fn strangers_and_the_future_do_not_count() {
        let mut b = broadcast(3, 1);
        b.ack_through(Sid(1), zxid(1));
        b.ack_through(Sid(9), zxid(1));
        b.ack_through(Sid(2), zxid(2));
        assert_eq!(b.decided(), zxid(0));
    }

    #[test]
    fn an_ack_of_what_was_cut_is_taken_back() {
        let mut b = broadcast(3, 3);
        b.ack_through(Sid(2), zxid(3));
        b.holds_through(Sid(2), zxid(1));
        b.ack_through(Sid(1), zxid(3));
        assert_eq!(b.decided(), zxid(1));
        b.holds_through(Sid(2), zxid(0));
        assert_eq!(b.decided(), zxid(1), "what is decided stays so");
        b.ack_through(Sid(2), zxid(3));
        assert_eq!(b.decided(), zxid(3));
    }

    #[test]
    fn one_voter_decides_alone() {
        let mut b = broadcast(1, 2);
        b.ack_through(Sid(1), zxid(2));
        assert_eq!(b.decided(), zxid(2));
    }
}
