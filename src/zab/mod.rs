//! Zab: agreement on the order of txns. A txn is opaque bytes with a zxid here; what it means is the pipeline's business.
//!
//! [`peer::Peer`] is one server's part in it: it owns the election and, once that is over, a leader or a learner. All of them
//! have the four verbs `handle…`, `handle_timeout`, `poll_timeout`, `poll_output`; none knows a clock, a socket or a file.
//!
//! Order of what must be durable (B§3.3, B§3.6; ZOOKEEPER-3911, 4643, 4646, 4685): synced txns → currentEpoch → ACK of
//! NEWLEADER → ACKs of single txns. Whatever waits for the disk is a [`Persist`] with a [`Token`].

pub mod broadcast;
pub mod effects;
pub mod election;
pub mod history;
pub mod leader;
pub mod learner;
pub mod peer;
pub mod quorum;
pub mod sync;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::{
    config::{Ensemble, PeerType},
    ids::{Epoch, LinkId, Millis, Sid, Zxid},
    proto::quorum::{Notification, QuorumPacket},
};

/// Confirms that an effect is durable. Tokens grow; a `Persisted` answers every token up to its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What the disk is to do, strictly in this order: one thread owns log and epoch files.
#[derive(Clone, Debug)]
pub enum Persist {
    /// Append a txn to the log.
    Append { zxid: Zxid, txn: Bytes },
    /// Cut the log behind `to`, then load the database anew; answered by `Reloaded` instead of `Persisted`.
    Truncate { to: Zxid },
    /// `acceptedEpoch`: the newest epoch promised to a prospective leader.
    AcceptedEpoch(Epoch),
    /// `currentEpoch`: the epoch whose history is on disk.
    CurrentEpoch(Epoch),
    /// The database as it is when the driver gets here, as a snapshot. Whatever the log has behind its zxid is cut, and the log
    /// begins a new file.
    Snapshot,
}

/// What a leader finds in its log on disk for a learner that stands at `from` (B§3.5, case 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogProbe {
    /// The last record before `from`, where the log has one.
    pub before: Option<Zxid>,
    /// The first record at or behind `from`.
    pub first: Zxid,
    /// The last record that can be read without a gap.
    pub last: Zxid,
}

/// Effects that concern other servers and the disk. The driver carries them out in order and never waits inside one.
#[derive(Debug)]
pub enum Output {
    /// To the election port of `to`: the newest replaces one that has not gone out (B§4.1).
    SendNotification {
        to: Sid,
        notification: Notification,
    },
    /// Nobody has answered for a while: dial every member whose election connection is down.
    ReconnectElection,
    /// Listen for learners; answered by `QuorumPort`. Learner links are named by the driver.
    OpenQuorumPort,
    /// Stop listening and close every learner link, without an answer.
    CloseQuorumPort,
    /// Connect to the quorum port of `leader`, trying again until `LeaderOpened` or `CloseLeader`. The link's name is new.
    DialLeader {
        link: LinkId,
        leader: Sid,
    },
    CloseLeader {
        link: LinkId,
    },
    SendToLearner {
        link: LinkId,
        packet: QuorumPacket,
    },
    CloseLearner {
        link: LinkId,
        why: String,
    },
    SendToLeader {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// Look into the log on disk on behalf of a learner, as far as `until`: the log may grow as fast as it is read. Answered by
    /// `LogProbed`.
    ProbeLog {
        link: LinkId,
        from: Zxid,
        until: Zxid,
    },
    /// Send PROPOSAL and COMMIT of every logged txn in `after < zxid <= through`; what is sent to this link later comes after.
    StreamLog {
        link: LinkId,
        after: Zxid,
        through: Zxid,
    },
    /// Send the body of a snapshot of the database as it is now: sessions, ACLs and nodes without header and checksum, then
    /// "BenWasHere" as a string (B§3.5); what is sent to this link later comes after.
    StreamSnapshot {
        link: LinkId,
        zxid: Zxid,
    },
    Persist {
        token: Token,
        what: Persist,
    },
}

/// What reaches a peer from other servers and from the disk.
#[derive(Debug)]
pub enum Input {
    Notification {
        from: Sid,
        notification: Notification,
    },
    /// An election connection came up or broke.
    ElectionLink {
        sid: Sid,
        up: bool,
    },
    /// Whether listening for learners worked.
    QuorumPort(Result<(), String>),
    /// `peer`: its address, for the log.
    LearnerOpened {
        link: LinkId,
        peer: String,
    },
    LearnerPackets {
        link: LinkId,
        packets: Vec<QuorumPacket>,
    },
    /// Bytes are still going out to a learner, or coming in from the leader, within one snapshot or log.
    Progress {
        link: LinkId,
    },
    LearnerClosed {
        link: LinkId,
        why: String,
    },
    LeaderOpened {
        link: LinkId,
    },
    LeaderPackets {
        link: LinkId,
        packets: Vec<QuorumPacket>,
    },
    LeaderClosed {
        link: LinkId,
        why: String,
    },
    /// `None`: the log does not reach back that far, or is larger than what a snapshot would be.
    LogProbed {
        link: LinkId,
        found: Option<LogProbe>,
    },
    Persisted {
        token: Token,
    },
}

/// A server's standing, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Looking,
    Standalone,
    Leading { epoch: Epoch },
    Following { leader: Sid, epoch: Epoch },
    Observing { leader: Sid, epoch: Epoch },
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Standing::Looking => f.write_str("LOOKING"),
            Standing::Standalone => f.write_str("standalone"),
            Standing::Leading { epoch } => write!(f, "LEADING in epoch {epoch}"),
            Standing::Following { leader, epoch } => write!(f, "FOLLOWING server {leader} in epoch {epoch}"),
            Standing::Observing { leader, epoch } => write!(f, "OBSERVING server {leader} in epoch {epoch}"),
        }
    }
}

/// Everything a peer is told of itself and of the others.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub sid: Sid,
    pub role: PeerType,
    pub ensemble: Ensemble,
    pub quorums: quorum::Quorums,
    pub timing: Timing,
    pub sync: sync::SyncRules,
    /// Whether an observer keeps a log and snapshots: syncEnabled.
    pub observer_logs: bool,
    /// `zookeeper.testingonly.initialZxid`, its counter.
    pub initial_counter: Option<u32>,
}

impl PeerConfig {
    /// A configuration without a version gets that of the first leader's epoch (ZOOKEEPER-1783).
    fn config_led_in(&self, epoch: Epoch) -> String {
        let mut ensemble = self.ensemble.clone();
        if ensemble.version == 0 {
            ensemble.version = Zxid::new(epoch, 0).0;
        }
        ensemble.to_string()
    }
}

/// Limits and manners, from zoo.cfg.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub tick_ms: Millis,
    /// Ticks to connect and to synchronise.
    pub init_limit: u32,
    /// Ticks without a sign of life.
    pub sync_limit: u32,
}

impl Timing {
    pub fn init_ms(&self) -> Millis {
        self.tick_ms * Millis::from(self.init_limit)
    }

    pub fn sync_ms(&self) -> Millis {
        self.tick_ms * Millis::from(self.sync_limit)
    }
}
