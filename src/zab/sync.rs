//! How a learner is brought to the leader's history: DIFF, TRUNC or SNAP (B§3.5; `LearnerHandler.syncFollower`,
//! `queueCommittedProposals`).
//!
//! Two traps decide the rules: a learner whose zxid has a counter of 0 has never logged that zxid and is never told to cut;
//! and a cut never goes across an epoch, which a Java learner cannot do.

use super::{LogProbe, history::History};
use crate::ids::Zxid;

/// What the learner is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// `zxid` is for information.
    Diff {
        zxid: Zxid,
    },
    Trunc {
        to: Zxid,
    },
    /// The database as it is applied.
    Snap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub opening: Opening,
    /// Logged txns in `.0 < zxid <= .1` come from the disk, before those of the window.
    pub from_log: Option<(Zxid, Zxid)>,
    /// Of the window, what is newer than this.
    pub after: Zxid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Plan(Plan),
    /// The window does not reach back that far: look into the log on disk first.
    ProbeLog,
}

/// `zookeeper.forceSnapshotSync`, `zookeeper.snapshotSizeFactor`, `zookeeper.leader.maxConcurrentSnapshots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncRules {
    pub force_snapshot: bool,
    pub may_read_log: bool,
    /// With as many being sent, observers are refused one.
    pub max_snapshots: usize,
}

impl Plan {
    fn of_window(opening: Opening, after: Zxid) -> Plan {
        Plan { opening, from_log: None, after }
    }

    fn snap(history: &History) -> Plan {
        Plan::of_window(Opening::Snap, history.applied())
    }
}

/// For a learner whose last logged zxid is `peer`.
pub fn choose(peer: Zxid, history: &History, rules: SyncRules) -> Choice {
    let window = history.window();
    let last = history.last_committed();
    let (min, max) = match (window.front(), window.back()) {
        (Some((min, _)), Some((max, _))) => (*min, *max),
        _ => (last, last),
    };
    let plan = if rules.force_snapshot {
        Plan::snap(history)
    } else if peer == last || peer == max {
        Plan::of_window(Opening::Diff { zxid: max.max(peer) }, peer)
    } else if peer > max && !is_new_epoch(peer) {
        Plan::of_window(Opening::Trunc { to: max }, max)
    } else if (min..=max).contains(&peer) && !window.is_empty() {
        let at = window.partition_point(|(zxid, _)| *zxid < peer);
        let before = at.checked_sub(1).map(|at| window[at].0);
        match opening(peer, before, window[at].0, max) {
            Some((opening, after)) => Plan::of_window(opening, after),
            None => Plan::snap(history),
        }
    } else if peer > max {
        // A new epoch's zero, behind everything there is.
        Plan::of_window(Opening::Diff { zxid: max }, max)
    } else if rules.may_read_log {
        return Choice::ProbeLog;
    } else {
        Plan::snap(history)
    };
    Choice::Plan(plan)
}

/// The same with what the disk has. The window may have moved on since it was asked.
pub fn choose_with_log(peer: Zxid, history: &History, probe: Option<LogProbe>) -> Plan {
    let Some(LogProbe { before, first, last }) = probe else { return Plan::snap(history) };
    let (min, max) = match (history.window().front(), history.window().back()) {
        (Some((min, _)), Some((max, _))) => (*min, *max),
        _ => return Plan::snap(history),
    };
    // ZOOKEEPER-2846: the log must reach, without a break, what this server has seen go by since: the window, or what left it while
    // the log was read. That the log's last txn and the window's first could follow each other proves nothing: a whole epoch may
    // be missing between them.
    if first > last || last < history.unbroken_since() {
        return Plan::snap(history);
    }
    match opening(peer, before, first, max) {
        None => Plan::snap(history),
        Some((opening, after)) => {
            let through = Zxid(min.0 - 1);
            Plan {
                opening,
                from_log: (after < through).then_some((after, through)),
                after: after.max(through),
            }
        }
    }
}

/// `before` and `first` stand around where `peer` stands or would stand.
fn opening(peer: Zxid, before: Option<Zxid>, first: Zxid, max: Zxid) -> Option<(Opening, Zxid)> {
    if first == peer || is_new_epoch(peer) {
        return Some((Opening::Diff { zxid: max }, peer));
    }
    let to = before.filter(|before| first.epoch() == peer.epoch() && before.epoch() == peer.epoch())?;
    Some((Opening::Trunc { to }, to))
}

/// Such a zxid was taken over from a leader that had proposed nothing yet; no txn has it.
fn is_new_epoch(zxid: Zxid) -> bool {
    zxid.counter() == 0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::Epoch;

    const RULES: SyncRules = SyncRules { force_snapshot: false, may_read_log: true, max_snapshots: 10 };

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn history(zxids: &[Zxid]) -> History {
        let mut history = History::new(Zxid::ZERO, Vec::new(), 501);
        for zxid in zxids {
            history.append(*zxid, Bytes::new());
            history.commit_first();
            history.set_applied(*zxid);
        }
        history
    }

    fn planned(opening: Opening, after: Zxid) -> Choice {
        Choice::Plan(Plan { opening, from_log: None, after })
    }

    /// Every row of B§3.5.
    #[test]
    fn the_window_decides() {
        let h = history(&[z(1, 5), z(1, 6), z(1, 7), z(2, 1), z(2, 2), z(3, 1)]);
        let max = z(3, 1);
        let diff = Opening::Diff { zxid: max };
        for (peer, expected) in [
            (z(3, 1), planned(diff, z(3, 1))),
            (z(3, 4), planned(Opening::Trunc { to: max }, max)),
            (z(4, 0), planned(diff, max)),
            (z(2, 1), planned(diff, z(2, 1))),
            (z(1, 5), planned(diff, z(1, 5))),
            (z(2, 0), planned(diff, z(2, 0))),
            (z(3, 0), planned(diff, z(3, 0))),
            // The learner has txns of epoch 2 that nobody kept, and what follows is of epoch 3.
            (z(2, 9), planned(Opening::Snap, max)),
            (z(1, 9), planned(Opening::Snap, max)),
            (z(1, 4), Choice::ProbeLog),
            (z(0, 0), Choice::ProbeLog),
        ] {
            assert_eq!(choose(peer, &h, RULES), expected, "{peer}");
        }
        let force = SyncRules { force_snapshot: true, ..RULES };
        assert_eq!(choose(z(3, 1), &h, force), planned(Opening::Snap, max));
        let no_log = SyncRules { may_read_log: false, ..RULES };
        assert_eq!(choose(z(1, 4), &h, no_log), planned(Opening::Snap, max));
    }

    #[test]
    fn a_missing_txn_in_the_same_epoch_is_cut() {
        // Txns 3 and 4 of the learner were skipped over: its epoch goes on at 5.
        let mut h = History::new(Zxid::ZERO, Vec::new(), 501);
        for zxid in [z(1, 1), z(1, 2), z(2, 1), z(2, 2)] {
            h.append(zxid, Bytes::new());
            h.commit_first();
        }
        assert_eq!(choose(z(1, 4), &h, RULES), planned(Opening::Snap, z(0, 0)));
        assert_eq!(
            opening(z(1, 4), Some(z(1, 2)), z(1, 5), z(1, 9)),
            Some((Opening::Trunc { to: z(1, 2) }, z(1, 2)))
        );
    }

    #[test]
    fn an_empty_window_means_the_last_zxid() {
        let mut h = history(&[]);
        h.restart(z(1, 7));
        assert_eq!(choose(z(1, 7), &h, RULES), planned(Opening::Diff { zxid: z(1, 7) }, z(1, 7)));
        assert_eq!(choose(z(1, 9), &h, RULES), planned(Opening::Trunc { to: z(1, 7) }, z(1, 7)));
        assert_eq!(choose(z(1, 5), &h, RULES), Choice::ProbeLog);
    }

    #[test]
    fn the_log_must_reach_the_window() {
        let h = history(&[z(1, 5), z(1, 6)]);
        let probe = |before, first, last| Some(LogProbe { before, first, last });
        let diff = Opening::Diff { zxid: z(1, 6) };
        let with = |peer, probe| choose_with_log(peer, &h, probe);
        assert_eq!(
            with(z(1, 2), probe(Some(z(1, 1)), z(1, 2), z(1, 6))),
            Plan { opening: diff, from_log: Some((z(1, 2), z(1, 4))), after: z(1, 4) }
        );
        assert_eq!(
            with(z(1, 2), probe(None, z(1, 2), z(1, 4))).opening,
            Opening::Snap,
            "it ends before the window"
        );
        assert_eq!(with(z(1, 2), probe(None, z(1, 2), z(1, 3))).opening, Opening::Snap, "1:4 is missing");
        assert_eq!(with(z(1, 2), None).opening, Opening::Snap);
        // The window has moved back to the learner meanwhile.
        assert_eq!(
            with(z(1, 5), probe(None, z(1, 5), z(1, 6))),
            Plan { opening: diff, from_log: None, after: z(1, 5) }
        );
        assert_eq!(
            with(z(0, 9), probe(Some(z(0, 8)), z(1, 1), z(1, 6))).opening,
            Opening::Snap,
            "another epoch"
        );
    }
}
