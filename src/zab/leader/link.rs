//! A learner as its leader sees it (`LearnerHandler`).

use crate::ids::{Millis, Sid, Zxid};

#[derive(Debug)]
pub(super) struct Link {
    pub peer: String,
    /// From its first packet on.
    pub sid: Option<Sid>,
    pub observer: bool,
    pub stage: LinkStage,
    pub last_heard: Millis,
    /// Where its log ended when it came.
    pub last_zxid: Zxid,
    /// A txn acked before NEWLEADER was, which followers between 3.5.8 and 3.8 do (ZOOKEEPER-4685).
    pub early_ack: Zxid,
    /// Its sync began with the whole database.
    pub by_snapshot: bool,
    pub unacked: Unacked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkStage {
    AwaitsInfo,
    /// The new epoch is not known or not on disk.
    AwaitsEpoch,
    AwaitsEpochAck,
    /// It has promised; a quorum has not.
    AwaitsQuorum,
    ReadsLog,
    /// Has its plan, and gets what is proposed.
    Syncing,
    /// Has acked NEWLEADER; the leader does not serve yet.
    Synced,
    Serving,
}

impl Link {
    pub fn is_forwarded_to(&self) -> bool {
        self.stage >= LinkStage::Syncing
    }

    pub fn name(&self) -> String {
        match self.sid {
            Some(sid) => format!("server {sid} ({})", self.peer),
            None => self.peer.clone(),
        }
    }
}

/// The oldest proposal a learner has not acked, and the newest, which takes its place (`LearnerHandler.SyncLimitCheck`).
#[derive(Debug, Default)]
pub(super) struct Unacked {
    pub current: Option<(Zxid, Millis)>,
    next: Option<(Zxid, Millis)>,
}

impl Unacked {
    pub fn proposed(&mut self, zxid: Zxid, now: Millis) {
        match self.current {
            None => self.current = Some((zxid, now)),
            Some(_) => self.next = Some((zxid, now)),
        }
    }

    pub fn acked(&mut self, zxid: Zxid) {
        if self.current.is_some_and(|(current, _)| zxid >= current) {
            self.current = self.next.take().filter(|(next, _)| zxid < *next);
        }
    }
}
