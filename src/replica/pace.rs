//! When snapshots and the removal of containers are due.

use std::collections::VecDeque;

use super::{Now, ReplicaConfig};
use crate::{db::Database, ids::Millis};

/// When to begin a new log and a snapshot: after snapCount/2 txns and a random share of as many more, so that servers of an
/// ensemble do not snapshot together (`SyncRequestProcessor`; B§6.6).
#[derive(Debug)]
pub(super) struct SnapshotPace {
    half: u32,
    logged: u32,
    limit: u32,
    random: u64,
    running: bool,
}

impl SnapshotPace {
    pub fn new(snap_count: u32, seed: u64) -> SnapshotPace {
        let mut pace =
            SnapshotPace { half: snap_count / 2, logged: 0, limit: 0, random: seed, running: false };
        pace.draw();
        pace
    }

    /// splitmix64: a fixed sequence for a seed.
    fn draw(&mut self) {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.limit = self.half + ((z ^ (z >> 31)) % u64::from(self.half.max(1))) as u32;
    }

    /// True when it is time.
    pub fn txn_logged(&mut self) -> bool {
        self.logged += 1;
        if self.logged <= self.limit {
            return false;
        }
        self.logged = 0;
        self.draw();
        true
    }

    /// False while one is being written.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    pub fn done(&mut self) {
        self.running = false;
    }
}

/// Removes containers and TTL nodes that are due, spaced out (`ContainerManager`; B§2.5).
#[derive(Debug)]
pub(super) struct Reaper {
    interval_ms: Millis,
    spacing_ms: Millis,
    next_check: Millis,
    candidates: VecDeque<String>,
    next_candidate: Millis,
}

impl Reaper {
    pub fn new(config: &ReplicaConfig, now: Now) -> Reaper {
        let interval_ms = config.container_check_interval_ms.max(1);
        Reaper {
            interval_ms,
            spacing_ms: 60_000 / Millis::from(config.container_max_per_minute.max(1)),
            next_check: now.mono + interval_ms,
            candidates: VecDeque::new(),
            next_candidate: 0,
        }
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        if self.candidates.is_empty() { Some(self.next_check) } else { Some(self.next_candidate) }
    }

    pub fn handle_timeout(&mut self, now: Now, db: &Database) -> Vec<String> {
        let mut due = Vec::new();
        if self.candidates.is_empty() && now.mono >= self.next_check {
            self.candidates = db.reapable(now.wall).into();
            self.next_check = now.mono + self.interval_ms;
            self.next_candidate = now.mono;
        }
        while !self.candidates.is_empty() && now.mono >= self.next_candidate {
            due.extend(self.candidates.pop_front());
            self.next_candidate += self.spacing_ms;
        }
        due
    }
}
