//! FastLeaderElection (B§4.3; `FastLeaderElection`, `Vote`, `QuorumPeer.updateElectionVote`). Not written yet: the surface.

use std::collections::VecDeque;

use bytes::Bytes;

use super::quorum::Quorums;
use crate::{
    config::PeerType,
    ids::{Epoch, Millis, Sid, Zxid},
    proto::quorum::{Notification, ServerState, Vote},
};

#[derive(Clone, Debug)]
pub struct ElectionConfig {
    pub sid: Sid,
    pub role: PeerType,
    /// Voters of the committed configuration, and of the last seen one where that differs.
    pub quorums: Quorums,
    /// The configuration's text, sent with every notification.
    pub config: Bytes,
    pub config_version: i64,
}

#[derive(Debug)]
pub enum Output {
    Send { to: Sid, notification: Notification },
    Reconnect,
    /// The election is over; `leader` is this server itself or whom it follows or observes.
    Decided { leader: Sid },
}

/// Lives as long as the server: it looks for a leader, and answers others that look while this one does not.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    state: ServerState,
    vote: Vote,
    outputs: VecDeque<Output>,
}

impl Election {
    /// Settled in nothing; `look` must follow.
    pub fn new(config: ElectionConfig) -> Election {
        let vote = Vote { leader: config.sid, zxid: Zxid::ZERO, round: 0, peer_epoch: 0 };
        Election { config, state: ServerState::Looking, vote, outputs: VecDeque::new() }
    }

    /// Begins a new round with this server's own history as the first vote.
    pub fn look(&mut self, _now: Millis, last_zxid: Zxid, current_epoch: Epoch) {
        self.vote = Vote {
            leader: self.config.sid,
            zxid: last_zxid,
            round: self.vote.round + 1,
            peer_epoch: current_epoch.0.into(),
        };
    }

    pub fn state(&self) -> ServerState {
        self.state
    }

    /// The standing vote: this round's proposal, or what was decided.
    pub fn vote(&self) -> Vote {
        self.vote
    }

    /// The leader has been established in `epoch`: late joiners must be told so (`updateElectionVote`).
    pub fn established(&mut self, epoch: Epoch) {
        self.vote.peer_epoch = epoch.0.into();
    }

    pub fn handle(&mut self, _now: Millis, _from: Sid, _notification: &Notification) {}

    /// An election connection came up or broke.
    pub fn link(&mut self, _now: Millis, _sid: Sid, _up: bool) {}

    pub fn poll_timeout(&self) -> Option<Millis> {
        None
    }

    pub fn handle_timeout(&mut self, _now: Millis) {}

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
