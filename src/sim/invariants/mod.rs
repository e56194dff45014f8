//! What must hold after every event, one property a file, named as in ZooKeeper's own TLA+ specifications where it is one
//! of theirs. They look at a [`Witness`]: what the servers have been seen to do, not what they think of themselves.

mod agreement;
mod committed_log_durability;
mod committed_log_monotonicity;
mod global_primary_order;
mod integrity;
mod leader_log_completeness;
mod leadership;
mod local_primary_order;
mod no_ack_before_durable;
mod prefix_consistency;
mod primary_integrity;
mod process_consistency;
mod total_order;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ids::{Epoch, Sid, Zxid},
    zab::Standing,
};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

pub fn violated<T>(invariant: &'static str, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { invariant, what: what.into() })
}

/// A txn in a log: two with the same zxid need not be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    pub zxid: Zxid,
    pub hash: u64,
}

/// Txns in the order in which a log has them, since the beginning of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    list: Vec<Logged>,
    /// How much of it is known to be what was delivered; never more than is there.
    agreed: usize,
}

impl History {
    pub fn list(&self) -> &[Logged] {
        &self.list
    }

    pub fn last(&self) -> Zxid {
        self.list.last().map_or(Zxid::ZERO, |l| l.zxid)
    }

    /// How many are not newer than `zxid`.
    pub fn through(&self, zxid: Zxid) -> usize {
        self.list.partition_point(|l| l.zxid <= zxid)
    }

    pub fn push(&mut self, logged: Logged) {
        self.list.push(logged);
    }

    pub fn cut(&mut self, len: usize) {
        self.list.truncate(len);
        self.agreed = self.agreed.min(len);
    }

    pub fn replace(&mut self, list: Vec<Logged>) {
        let same = self.list.iter().zip(&list).take_while(|(a, b)| a == b).count();
        self.agreed = self.agreed.min(same);
        self.list = list;
    }

    pub fn starts_with(&self, list: &[Logged]) -> bool {
        self.list.starts_with(list)
    }

    fn refresh(&mut self, delivered: &[Logged]) {
        let more = self.list[self.agreed..].iter().zip(&delivered[self.agreed..]);
        self.agreed += more.take_while(|(a, b)| a == b).count();
    }

    /// How long the common beginning with what was delivered is.
    pub fn agreed(&self) -> usize {
        self.agreed
    }
}

/// One server, as it is seen from outside.
#[derive(Clone, Debug)]
pub struct Ghost {
    pub sid: Sid,
    pub votes: bool,
    pub up: bool,
    pub serving: bool,
    pub standing: Standing,
    /// Logged, or on its way to the log.
    pub history: History,
    /// What a crash at this moment leaves.
    pub durable: History,
    pub current_epoch: Epoch,
    pub accepted_epoch: Epoch,
    /// The last txn in the tree.
    pub applied: Zxid,
    /// The same at the last check, if it served then.
    pub applied_before: Option<Zxid>,
}

impl Ghost {
    pub fn new(sid: Sid, votes: bool) -> Ghost {
        Ghost {
            sid,
            votes,
            up: false,
            serving: false,
            standing: Standing::Looking,
            history: History::default(),
            durable: History::default(),
            current_epoch: Epoch(0),
            accepted_epoch: Epoch(0),
            applied: Zxid::ZERO,
            applied_before: None,
        }
    }

    /// How many txns it has shown to clients.
    pub fn shown(&self) -> usize {
        self.history.through(self.applied)
    }

    fn leads(&self) -> Option<Epoch> {
        match self.standing {
            Standing::Leading { epoch } if self.up && self.serving => Some(epoch),
            _ => None,
        }
    }
}

/// What is known of an epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochRecord {
    pub leaders: BTreeSet<Sid>,
    /// What its leader had logged before its first own txn.
    pub initial: Vec<Logged>,
    pub proposals: Vec<Logged>,
}

/// An acknowledgement that left a server, and what was durable there at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    pub sid: Sid,
    pub zxid: Zxid,
    /// Of NEWLEADER; else of a txn.
    pub new_leader: bool,
    pub durable: Zxid,
    /// The last txn of the leader's history.
    pub logged: Zxid,
    pub current_epoch: Epoch,
}

#[derive(Debug, Default)]
pub struct Witness {
    pub servers: BTreeMap<Sid, Ghost>,
    /// The longest sequence that a serving server has shown.
    pub delivered: Vec<Logged>,
    pub epochs: BTreeMap<u32, EpochRecord>,
    /// Since the last check.
    pub acks: Vec<Ack>,
    /// Since the last check: who promised an epoch, as leader or as learner, and what was on its disk.
    pub promises: Vec<(Sid, Epoch, Epoch)>,
    dirty: bool,
}

impl Witness {
    pub fn server(&mut self, sid: Sid) -> &mut Ghost {
        self.dirty = true;
        self.servers.entry(sid).or_insert_with(|| Ghost::new(sid, false))
    }

    pub fn leads(&mut self, sid: Sid, epoch: Epoch) {
        self.dirty = true;
        let initial = self.servers.get(&sid).map(|g| g.history.list.clone()).unwrap_or_default();
        let record = self.epochs.entry(epoch.0).or_default();
        if record.leaders.is_empty() {
            record.initial = initial;
        }
        record.leaders.insert(sid);
    }

    /// A txn goes to the log of `sid`: its own proposal, if it leads the txn's epoch.
    pub fn logs(&mut self, sid: Sid, logged: Logged) {
        let ghost = self.server(sid);
        ghost.history.push(logged);
        // Whoever has led an epoch and follows now may be sent txns of it that it has lost.
        if ghost.leads() == Some(logged.zxid.epoch()) {
            self.epochs.entry(logged.zxid.epoch().0).or_default().proposals.push(logged);
        }
    }

    /// `synced`: what the leader has sent before NEWLEADER ends at this zxid.
    pub fn acks(&mut self, sid: Sid, zxid: Zxid, new_leader: bool, synced: Zxid) {
        let ghost = self.server(sid);
        let logged = ghost.history.list[..ghost.history.through(synced)].last();
        let logged = logged.map_or(Zxid::ZERO, |l| l.zxid);
        let durable = ghost.durable.last();
        let ack = Ack { sid, zxid, new_leader, durable, logged, current_epoch: ghost.current_epoch };
        self.acks.push(ack);
    }

    pub fn promises(&mut self, sid: Sid, epoch: Epoch) {
        let accepted = self.server(sid).accepted_epoch;
        self.promises.push((sid, epoch, accepted));
    }

    /// Takes what `sid` shows now for delivered. Returns what was not before.
    pub fn deliver(&mut self, sid: Sid) -> Vec<Logged> {
        let Some(ghost) = self.servers.get(&sid) else { return Vec::new() };
        let shown = ghost.shown();
        let new = ghost.history.list[..shown].get(self.delivered.len()..).unwrap_or_default().to_vec();
        self.delivered.extend_from_slice(&new);
        new
    }

    pub fn voters(&self) -> usize {
        self.servers.values().filter(|g| g.votes).count()
    }

    pub fn serving(&self) -> impl Iterator<Item = &Ghost> {
        self.servers.values().filter(|g| g.up && g.serving)
    }

    /// Every property but those named in `except`.
    pub fn check(&mut self, except: &[&str]) -> Result<(), Violation> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        for ghost in self.servers.values_mut() {
            ghost.history.refresh(&self.delivered);
            ghost.durable.refresh(&self.delivered);
        }
        for (invariant, check) in ALL {
            if !except.contains(invariant) {
                check(self).map_err(|what| Violation { invariant, what })?;
            }
        }
        self.acks.clear();
        self.promises.clear();
        for ghost in self.servers.values_mut() {
            ghost.applied_before = (ghost.up && ghost.serving).then_some(ghost.applied);
        }
        Ok(())
    }
}

type Check = fn(&Witness) -> Result<(), String>;

const ALL: &[(&str, Check)] = &[
    ("NoAckBeforeDurable", no_ack_before_durable::check),
    ("Leadership", leadership::check),
    ("PrefixConsistency", prefix_consistency::check),
    ("Agreement", agreement::check),
    ("TotalOrder", total_order::check),
    ("ProcessConsistency", process_consistency::check),
    ("Integrity", integrity::check),
    ("LocalPrimaryOrder", local_primary_order::check),
    ("GlobalPrimaryOrder", global_primary_order::check),
    ("PrimaryIntegrity", primary_integrity::check),
    ("LeaderLogCompleteness", leader_log_completeness::check),
    ("CommittedLogDurability", committed_log_durability::check),
    ("CommittedLogMonotonicity", committed_log_monotonicity::check),
];

#[cfg(test)]
mod tests;
