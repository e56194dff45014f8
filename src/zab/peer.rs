//! One server's part in Zab: looking for a leader, then leading, following or observing until that ends (`QuorumPeer`).
//!
//! Invariants:
//! 1. The role owns its machine; leaving a role drops it whole, and nothing of it is answered any more (ZOOKEEPER-4712).
//! 2. An election begins when the disk has confirmed everything: then what is logged is what this server votes with.
//! 3. What is logged counts as decided while looking, as in Java (`ZKDatabase.fastForwardDataBase`); a leader that knows better
//!    has it cut, and then the database is loaded anew.
//! 4. A database from a leader's snapshot is never voted with before it is on disk (ZOOKEEPER-3642, 5094).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Input, Output, PeerConfig, Persist, Standing, Token,
    effects::{Delivery, Durable, Effects, Event},
    election::{self, Election, ElectionConfig},
    history::{History, WINDOW},
    leader::Leader,
    learner::Learner,
};
use crate::{
    ids::{Epoch, LinkId, Millis, SessionId, Sid, Zxid},
    proto::{AclId, quorum::QuorumPacket},
};

/// What recovery knows.
#[derive(Debug, Default)]
pub struct Recovered {
    pub last_zxid: Zxid,
    pub accepted_epoch: Epoch,
    pub current_epoch: Epoch,
    /// The last txns of the log, for learners.
    pub recent: Vec<(Zxid, Bytes)>,
}

#[derive(Debug)]
pub struct Peer {
    config: Arc<PeerConfig>,
    /// None for a server that is alone.
    election: Option<Election>,
    role: Role,
    history: History,
    accepted_epoch: Epoch,
    current_epoch: Epoch,
    /// The next link to a leader.
    next_link: u64,
    /// A database is on its way into place.
    replacing: Option<Replacing>,
    fx: Effects,
}

#[derive(Debug)]
enum Role {
    /// Between two roles: the disk has not confirmed everything.
    Settling,
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacing {
    /// It is in memory alone and goes to disk before anything else.
    Snapshot,
    /// It came from the disk.
    Log,
}

impl Peer {
    /// A member of an ensemble, looking for a leader.
    pub fn member(config: PeerConfig, now: Millis, recovered: Recovered) -> Peer {
        let config = Arc::new(config);
        let election = Election::new(ElectionConfig {
            sid: config.sid,
            role: config.role,
            quorums: config.quorums.clone(),
            config: Bytes::from(config.ensemble.to_string()),
            config_version: config.ensemble.version,
        });
        let mut peer = Peer {
            election: Some(election),
            role: Role::Settling,
            history: History::new(recovered.last_zxid, recovered.recent, WINDOW),
            accepted_epoch: recovered.accepted_epoch,
            current_epoch: recovered.current_epoch,
            next_link: 1,
            replacing: None,
            fx: Effects::new(),
            config,
        };
        peer.settle(now);
        peer
    }

    /// A server that is its own quorum, for ever.
    pub fn standalone(config: PeerConfig, now: Millis, last_zxid: Zxid) -> Peer {
        let config = Arc::new(config);
        let history = History::new(last_zxid, Vec::new(), 0);
        let leader = Leader::standalone(config.clone(), now, &history);
        let mut fx = Effects::new();
        let standing = Standing::Standalone;
        fx.deliveries.push_back(Delivery::Serving { standing, from: None });
        Peer {
            election: None,
            role: Role::Leading(Box::new(leader)),
            history,
            accepted_epoch: Epoch(0),
            current_epoch: Epoch(0),
            next_link: 1,
            replacing: None,
            fx,
            config,
        }
    }

    pub fn config(&self) -> &PeerConfig {
        &self.config
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn current_epoch(&self) -> Epoch {
        self.current_epoch
    }

    pub fn accepted_epoch(&self) -> Epoch {
        self.accepted_epoch
    }

    pub fn election(&self) -> Option<&Election> {
        self.election.as_ref()
    }

    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leading(leader) => Some(leader),
            _ => None,
        }
    }

    /// srst
    pub fn reset_proposal_sizes(&mut self) {
        if let Role::Leading(leader) = &mut self.role {
            leader.reset_proposal_sizes();
        }
    }

    pub fn learner(&self) -> Option<&Learner> {
        match &self.role {
            Role::Learning(learner) => Some(learner),
            _ => None,
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.fx.outputs.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.fx.events.pop_front()
    }

    pub fn has_delivery(&self) -> bool {
        !self.fx.deliveries.is_empty()
    }

    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.fx.deliveries.pop_front()
    }

    /// The database is as of `zxid`.
    pub fn applied(&mut self, zxid: Zxid) {
        self.history.set_applied(zxid);
    }

    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::Notification { from, notification } => {
                if let Some(election) = &mut self.election {
                    election.handle(now, from, &notification);
                }
                self.pump_election(now);
            }
            Input::ElectionLink { sid, up } => {
                if let Some(election) = &mut self.election {
                    election.link(now, sid, up);
                }
                self.pump_election(now);
            }
            Input::Persisted { token } => self.persisted(now, token),
            Input::QuorumPort(bound) => {
                if let (Err(why), Role::Leading(_)) = (bound, &self.role) {
                    self.leave(now, &format!("Couldn't bind the quorum port: {why}"));
                }
            }
            Input::LearnerOpened { .. }
            | Input::LearnerPackets { .. }
            | Input::LearnerClosed { .. }
            | Input::LogProbed { .. } => self.learner_input(now, input),
            Input::LeaderOpened { .. } | Input::LeaderPackets { .. } | Input::LeaderClosed { .. } => {
                self.leader_input(now, input);
            }
            Input::Progress { link } => match &mut self.role {
                Role::Leading(leader) => leader.progress(now, link),
                Role::Learning(learner) if learner.link() == link => learner.progress(now),
                _ => {}
            },
        }
    }

    fn learner_input(&mut self, now: Millis, input: Input) {
        let Role::Leading(leader) = &mut self.role else { return };
        let (history, fx) = (&mut self.history, &mut self.fx);
        match input {
            Input::LearnerOpened { link, peer } => leader.opened(now, link, peer),
            Input::LearnerPackets { link, packets } => {
                for packet in packets {
                    leader.packet(now, link, packet, history, fx);
                }
                leader.commit(history, fx);
            }
            Input::LearnerClosed { link, why } => leader.closed(link, &why),
            Input::LogProbed { link, found } => leader.log_probed(link, found, history, fx),
            _ => {}
        }
        let resigned = leader.take_resignation();
        self.note_established();
        if let Some(why) = resigned {
            self.leave(now, &why);
        }
    }

    fn leader_input(&mut self, now: Millis, input: Input) {
        let Role::Learning(learner) = &mut self.role else { return };
        let (history, fx) = (&mut self.history, &mut self.fx);
        let done = match input {
            Input::LeaderOpened { link } if link == learner.link() => {
                learner.opened(now, history, fx);
                Ok(())
            }
            Input::LeaderPackets { link, packets } if link == learner.link() => {
                packets.into_iter().try_for_each(|packet| learner.packet(now, packet, history, fx))
            }
            Input::LeaderClosed { link, why } if link == learner.link() => Err(why),
            _ => Ok(()),
        };
        self.note_established();
        if let Err(why) = done {
            self.leave(now, &why);
        }
    }

    /// The leader's snapshot has come. True: the caller puts the database into place and then calls
    /// [`Peer::replaced`].
    pub fn snapshot_received(&mut self, now: Millis, link: LinkId) -> bool {
        let Role::Learning(learner) = &mut self.role else { return false };
        let taken = learner.link() == link && learner.snapshot(now, &mut self.history);
        if taken {
            self.replacing = Some(Replacing::Snapshot);
        } else if learner.link() == link {
            self.leave(now, "a snapshot from the leader that nobody asked for");
        }
        taken
    }

    /// A log that was cut has been loaded anew; as [`Peer::snapshot_received`].
    pub fn reloaded(&mut self, now: Millis, token: Token) {
        self.replacing = Some(Replacing::Log);
        self.persisted(now, token);
    }

    /// The database ends with `last` now.
    pub fn replaced(&mut self, now: Millis, last: Zxid) {
        let Some(replacing) = self.replacing.take() else { return };
        self.history.restart(last);
        if replacing == Replacing::Snapshot {
            self.fx.persist(Persist::Snapshot);
        }
        if let Role::Learning(learner) = &mut self.role
            && let Err(why) = learner.replaced(now, &mut self.history, &mut self.fx)
        {
            self.leave(now, &why);
        }
        self.settle(now);
    }

    fn persisted(&mut self, now: Millis, token: Token) {
        while let Some(durable) = self.fx.confirmed(token) {
            match durable {
                Durable::AcceptedEpoch(epoch) => self.accepted_epoch = epoch,
                Durable::CurrentEpoch(epoch) => self.current_epoch = epoch,
                Durable::Txn(_) | Durable::Snapshot | Durable::Truncated => {}
            }
            match &mut self.role {
                Role::Leading(leader) => leader.durable(now, durable, &mut self.history, &mut self.fx),
                Role::Learning(learner) => learner.durable(durable, &self.history, &mut self.fx),
                Role::Settling | Role::Looking => {}
            }
        }
        if let Role::Leading(leader) = &mut self.role {
            leader.commit(&mut self.history, &mut self.fx);
        }
        self.note_established();
        self.settle(now);
    }

    /// Late joiners must hear of the epoch that has been established (ZOOKEEPER-1732).
    fn note_established(&mut self) {
        let (Some(election), epoch) = (&mut self.election, self.current_epoch) else { return };
        let serving = match &self.role {
            Role::Leading(leader) => leader.is_serving(),
            Role::Learning(learner) => learner.is_serving(),
            _ => false,
        };
        if serving && election.vote().peer_epoch != i64::from(epoch.0) {
            election.established(epoch);
        }
    }

    pub fn poll_timeout(&self) -> Option<Millis> {
        let role = match &self.role {
            Role::Leading(leader) => leader.poll_timeout(),
            Role::Learning(learner) => learner.poll_timeout(),
            Role::Settling | Role::Looking => None,
        };
        let election = self.election.as_ref().and_then(Election::poll_timeout);
        role.into_iter().chain(election).min()
    }

    pub fn handle_timeout(&mut self, now: Millis) {
        let done = match &mut self.role {
            Role::Leading(leader) => leader.handle_timeout(now, &mut self.fx),
            Role::Learning(learner) => learner.handle_timeout(now),
            Role::Settling | Role::Looking => Ok(()),
        };
        if let Err(why) = done {
            self.leave(now, &why);
        }
        self.note_established();
        if let Some(election) = &mut self.election
            && election.poll_timeout().is_some_and(|due| due <= now)
        {
            election.handle_timeout(now);
        }
        self.pump_election(now);
    }

    /// Back to looking. Everything of the role is gone; what it has logged stays.
    fn leave(&mut self, now: Millis, why: &str) {
        match std::mem::replace(&mut self.role, Role::Settling) {
            Role::Leading(_) => {
                tracing::warn!("Shutdown called: {why}");
                self.fx.push(Output::CloseQuorumPort);
            }
            Role::Learning(learner) => {
                tracing::warn!("leaving leader {}: {why}", learner.leader());
                self.fx.push(Output::CloseLeader { link: learner.link() });
            }
            looking => {
                self.role = looking;
                return;
            }
        }
        self.fx.deliveries.retain(|delivery| matches!(delivery, Delivery::Txn { .. }));
        self.fx.events.clear();
        self.fx.events.push_back(Event::Stopped);
        self.settle(now);
    }

    /// When everything is on disk, what is logged is this server's history, and an election begins.
    fn settle(&mut self, now: Millis) {
        if !matches!(self.role, Role::Settling) || self.fx.awaits_disk() || self.replacing.is_some() {
            return;
        }
        while let Some((zxid, txn)) = self.history.commit_first() {
            self.fx.deliveries.push_back(Delivery::Txn { zxid, txn });
        }
        self.role = Role::Looking;
        if let Some(election) = &mut self.election {
            tracing::info!("LOOKING");
            election.look(now, self.history.last_logged(), self.current_epoch);
        }
        self.pump_election(now);
    }

    fn pump_election(&mut self, now: Millis) {
        while let Some(output) = self.election.as_mut().and_then(Election::poll_output) {
            match output {
                election::Output::Send { to, notification } => {
                    self.fx.push(Output::SendNotification { to, notification });
                }
                election::Output::Reconnect => self.fx.push(Output::ReconnectElection),
                election::Output::Decided { leader } => self.decided(now, leader),
            }
        }
    }

    fn decided(&mut self, now: Millis, leader: Sid) {
        if !matches!(self.role, Role::Looking) {
            return;
        }
        let (accepted, current) = (self.accepted_epoch, self.current_epoch);
        let config = self.config.clone();
        self.role = if leader == self.config.sid {
            tracing::info!("LEADING");
            let leader = Leader::start(config, now, accepted, current, &self.history, &mut self.fx);
            Role::Leading(Box::new(leader))
        } else {
            tracing::info!("FOLLOWING or OBSERVING server {leader}");
            let link = LinkId(self.next_link);
            self.next_link += 1;
            let learner = Learner::start(config, now, leader, link, (accepted, current), &mut self.fx);
            Role::Learning(Box::new(learner))
        };
    }

    /// Whether this server proposes (any more).
    pub fn may_propose(&mut self, now: Millis) -> bool {
        match &self.role {
            Role::Leading(leader) if leader.is_rolling_over() => {
                self.leave(
                    now,
                    "zxid lower 32 bits have rolled over, forcing re-election, and therefore new epoch start",
                );
                false
            }
            Role::Leading(leader) => leader.is_serving(),
            _ => false,
        }
    }

    /// The next zxid for a proposal, where [`Peer::may_propose`] has said yes.
    pub fn next_zxid(&mut self) -> Zxid {
        match &mut self.role {
            Role::Leading(leader) => leader.next_zxid(),
            _ => Zxid::ZERO,
        }
    }

    /// `zxid` is the one that [`Peer::next_zxid`] gave out last.
    pub fn propose(&mut self, now: Millis, zxid: Zxid, txn: Bytes) {
        if let Role::Leading(leader) = &mut self.role {
            leader.propose(now, zxid, txn, &mut self.history, &mut self.fx);
        }
    }

    /// Whether clients' writes go to a leader elsewhere.
    pub fn forwards(&self) -> bool {
        matches!(self.role, Role::Learning(_))
    }

    pub fn forward(&mut self, request: Bytes, auth: Vec<AclId>) {
        if let Role::Learning(learner) = &self.role {
            learner.forward(request, auth, &mut self.fx);
        }
    }

    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        if let Role::Learning(learner) = &self.role {
            learner.revalidate(session, timeout_ms, &mut self.fx);
        }
    }

    pub fn answer_ping(&mut self, zxid: Zxid, touched: Bytes) {
        if let Role::Learning(learner) = &self.role {
            learner.answer_ping(zxid, touched, &mut self.fx);
        }
    }

    /// A learner's client wants to be brought up to date.
    pub fn sync_learner(&mut self, link: LinkId) {
        if let Role::Leading(leader) = &mut self.role {
            leader.sync(link, &self.history, &mut self.fx);
        }
    }

    pub fn answer_revalidate(&mut self, link: LinkId, request: QuorumPacket, valid: bool) {
        if let Role::Leading(leader) = &mut self.role {
            leader.revalidated(link, request, valid, &mut self.fx);
        }
    }
}
