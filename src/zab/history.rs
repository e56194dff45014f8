//! What this server has logged, what of it is decided, and the recent part of that for learners that come back
//! (`ZKDatabase.committedLog`).
//!
//! Invariants:
//! 1. `pending` begins right behind what is committed and ends with the last txn handed to the log.
//! 2. `window` is decided, and ends with the last committed txn. Behind a gap it begins anew (ZOOKEEPER-4925): a learner that
//!    was given a window with a hole would lose txns in silence.
//! 3. Nothing leaves the window that has not been applied: what a learner is sent behind a snapshot is found here.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::Zxid;

#[derive(Debug)]
pub struct History {
    window: VecDeque<(Zxid, Bytes)>,
    pending: VecDeque<(Zxid, Bytes)>,
    last_committed: Zxid,
    applied: Zxid,
    /// From here on every txn is known to have followed the one before.
    unbroken_since: Zxid,
    /// 0 for a server that never has learners.
    keep: usize,
}

/// `ZKDatabase.commitLogCount`, and the one more that it keeps.
pub const WINDOW: usize = 501;

impl History {
    /// After recovery everything logged counts as applied. `recent`: the last txns of it.
    pub fn new(last: Zxid, recent: Vec<(Zxid, Bytes)>, keep: usize) -> History {
        let mut history = History {
            window: VecDeque::new(),
            pending: VecDeque::new(),
            last_committed: Zxid::ZERO,
            applied: Zxid::ZERO,
            unbroken_since: Zxid::ZERO,
            keep,
        };
        for (zxid, txn) in recent {
            history.note_committed(zxid, txn);
        }
        history.restart(last);
        history
    }

    /// The database has been replaced by one that ends with `last`.
    pub fn restart(&mut self, last: Zxid) {
        if self.window.back().is_none_or(|(zxid, _)| *zxid != last) {
            self.window.clear();
        }
        self.pending.clear();
        self.last_committed = last;
        self.applied = last;
    }

    /// A new database is on its way: nothing of what is known here may be told to anybody.
    pub fn forget(&mut self) {
        self.window.clear();
    }

    /// The last txn that is in the log or on its way there.
    pub fn last_logged(&self) -> Zxid {
        self.pending.back().map_or(self.last_committed, |(zxid, _)| *zxid)
    }

    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    pub fn applied(&self) -> Zxid {
        self.applied
    }

    pub fn set_applied(&mut self, zxid: Zxid) {
        self.applied = zxid;
    }

    pub fn append(&mut self, zxid: Zxid, txn: Bytes) {
        self.pending.push_back((zxid, txn));
    }

    /// Logged and not decided.
    pub fn pending(&self) -> impl Iterator<Item = &(Zxid, Bytes)> {
        self.pending.iter()
    }

    pub fn first_pending(&self) -> Option<Zxid> {
        self.pending.front().map(|(zxid, _)| *zxid)
    }

    /// Decides the first pending txn.
    pub fn commit_first(&mut self) -> Option<(Zxid, Bytes)> {
        let (zxid, txn) = self.pending.pop_front()?;
        self.note_committed(zxid, txn.clone());
        Some((zxid, txn))
    }

    fn note_committed(&mut self, zxid: Zxid, txn: Bytes) {
        self.last_committed = zxid;
        if self.keep == 0 {
            return;
        }
        if self.window.back().is_some_and(|(last, _)| !follows(*last, zxid)) {
            let applied = self.applied;
            self.window.retain(|(zxid, _)| *zxid > applied);
            self.unbroken_since = zxid;
        }
        if self.window.is_empty() {
            self.unbroken_since = zxid;
        }
        self.window.push_back((zxid, txn));
        while self.window.len() > self.keep && self.window.front().is_some_and(|(z, _)| *z <= self.applied) {
            self.window.pop_front();
        }
    }

    /// A leader that is established stands at the beginning of its epoch (`Leader.startZkServer`).
    pub fn begin_epoch(&mut self, zxid: Zxid) {
        debug_assert!(self.pending.is_empty());
        self.last_committed = zxid;
    }

    /// At or before the window's first: whatever left the window since was followed by what is in it.
    pub fn unbroken_since(&self) -> Zxid {
        self.unbroken_since
    }

    /// Decided txns that are kept, oldest first.
    pub fn window(&self) -> &VecDeque<(Zxid, Bytes)> {
        &self.window
    }
}

/// Within an epoch zxids are consecutive; a new epoch begins at 1 (or at 0, by which nothing is logged).
pub fn follows(last: Zxid, zxid: Zxid) -> bool {
    zxid == last.next() || zxid.epoch() > last.epoch() && zxid.counter() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn committed(keep: usize, zxids: &[Zxid]) -> History {
        let mut history = History::new(Zxid::ZERO, Vec::new(), keep);
        for zxid in zxids {
            history.append(*zxid, Bytes::new());
            history.commit_first();
            history.set_applied(*zxid);
        }
        history
    }

    fn kept(history: &History) -> Vec<Zxid> {
        history.window().iter().map(|(zxid, _)| *zxid).collect()
    }

    #[test]
    fn a_gap_empties_the_window() {
        let history = committed(10, &[z(1, 1), z(1, 2), z(2, 1), z(2, 2)]);
        assert_eq!(kept(&history), [z(1, 1), z(1, 2), z(2, 1), z(2, 2)]);
        let history = committed(10, &[z(1, 1), z(1, 3)]);
        assert_eq!(kept(&history), [z(1, 3)]);
        let history = committed(10, &[z(1, 1), z(2, 2)]);
        assert_eq!(kept(&history), [z(2, 2)]);
    }

    /// A snapshot that is sent now ends with 1:2; whoever gets it needs 1:3 as well.
    #[test]
    fn a_gap_takes_nothing_that_is_not_applied() {
        let mut history = committed(10, &[z(1, 1), z(1, 2)]);
        for zxid in [z(1, 3), z(1, 5)] {
            history.append(zxid, Bytes::new());
            history.commit_first();
        }
        assert_eq!(kept(&history), [z(1, 3), z(1, 5)]);
    }

    #[test]
    fn what_is_not_applied_stays() {
        let mut history = committed(2, &[z(1, 1), z(1, 2)]);
        for n in 3..=6 {
            history.append(z(1, n), Bytes::new());
            history.commit_first();
        }
        assert_eq!(kept(&history), [z(1, 3), z(1, 4), z(1, 5), z(1, 6)]);
        assert_eq!(history.last_logged(), z(1, 6));
    }

    #[test]
    fn another_database_keeps_only_a_window_that_ends_with_it() {
        let mut history = committed(10, &[z(1, 1), z(1, 2)]);
        history.append(z(1, 3), Bytes::new());
        history.restart(z(1, 2));
        assert_eq!((kept(&history), history.last_logged()), (vec![z(1, 1), z(1, 2)], z(1, 2)));
        history.restart(z(2, 0));
        assert_eq!((kept(&history), history.last_logged()), (vec![], z(2, 0)));
    }
}
