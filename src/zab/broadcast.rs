//! The leader's broadcast: proposals in zxid order, acks, and commits strictly in that order (B§3.7; `Leader.propose`,
//! `processAck`, `tryToCommit`).
//!
//! Invariants:
//! 1. Proposals have consecutive zxids of one epoch.
//! 2. A zxid is committed only with a quorum of acks, and after every smaller one.

use std::collections::VecDeque;

use super::quorum::{AckSet, Voters};
use crate::ids::{Sid, Zxid};

#[derive(Debug)]
pub struct Broadcast {
    voters: Voters,
    outstanding: VecDeque<Proposal>,
    last_proposed: Zxid,
    last_committed: Zxid,
}

#[derive(Debug)]
struct Proposal {
    zxid: Zxid,
    acks: AckSet,
}

impl Broadcast {
    pub fn new(voters: Voters, last_zxid: Zxid) -> Broadcast {
        Broadcast {
            voters,
            outstanding: VecDeque::new(),
            last_proposed: last_zxid,
            last_committed: last_zxid,
        }
    }

    pub fn last_proposed(&self) -> Zxid {
        self.last_proposed
    }

    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// Takes the next zxid without proposing anything: what could not even be read uses one up, as in Java (B§1.7).
    pub fn skip(&mut self) -> Zxid {
        self.last_proposed = self.last_proposed.next();
        self.last_proposed
    }

    /// `zxid` must be the one the last [`Broadcast::skip`] gave out.
    pub fn propose(&mut self, zxid: Zxid) {
        debug_assert_eq!(zxid, self.last_proposed);
        debug_assert!(self.outstanding.back().is_none_or(|p| p.zxid < zxid));
        self.outstanding.push_back(Proposal { zxid, acks: AckSet::default() });
    }

    /// `sid` has everything up to `zxid` on disk. Acks for what is committed or unknown change nothing.
    pub fn ack_through(&mut self, sid: Sid, zxid: Zxid) {
        for proposal in self.outstanding.iter_mut().take_while(|p| p.zxid <= zxid) {
            proposal.acks.add(sid, &self.voters);
        }
    }

    /// The next zxid that is decided, in order.
    pub fn poll_committed(&mut self) -> Option<Zxid> {
        let decided = self.outstanding.front()?.acks.has_quorum(&self.voters);
        if !decided {
            return None;
        }
        let proposal = self.outstanding.pop_front()?;
        self.last_committed = proposal.zxid;
        Some(proposal.zxid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;

    fn zxid(counter: u32) -> Zxid {
        Zxid::new(Epoch(1), counter)
    }

    fn propose(b: &mut Broadcast) -> Zxid {
        let zxid = b.skip();
        b.propose(zxid);
        zxid
    }

    #[test]
    fn commits_wait_for_a_quorum_and_for_their_turn() {
        let mut b = Broadcast::new(Voters::new([Sid(1), Sid(2), Sid(3)]), zxid(0));
        let (first, second) = (propose(&mut b), propose(&mut b));
        assert_eq!((first, second), (zxid(1), zxid(2)));
        b.ack_through(Sid(1), second);
        assert_eq!(b.poll_committed(), None);
        b.ack_through(Sid(2), first);
        assert_eq!(b.poll_committed(), Some(first));
        assert_eq!(b.poll_committed(), None, "the second has one ack");
        b.ack_through(Sid(3), second);
        assert_eq!(b.poll_committed(), Some(second));
        assert_eq!(b.last_committed(), second);
    }

    #[test]
    fn a_skipped_zxid_leaves_a_gap_and_holds_nothing_up() {
        let mut b = Broadcast::new(Voters::new([Sid(0)]), zxid(0));
        b.skip();
        let second = propose(&mut b);
        assert_eq!(second, zxid(2));
        b.ack_through(Sid(0), second);
        assert_eq!(b.poll_committed(), Some(second));
    }
}
