//! Leading: a new epoch with a quorum, each learner brought to this history, then broadcast (B§3.3, B§3.5, B§3.7–3.9; `Leader`,
//! `LearnerHandler`).
//!
//! Invariants:
//! 1. LEADERINFO leaves after this server's own acceptedEpoch is on disk; the leader serves after its own currentEpoch is.
//! 2. A learner gets every proposal from the moment its plan was made, in zxid order and without a gap.
//! 3. Only voters count, each once, in every configuration that counts.
//! 4. A commit goes out after a quorum of acks, and after every earlier one.

mod discovery;
mod figures;
mod link;
mod syncing;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::{BufMut, Bytes, BytesMut};

pub use self::figures::{Figures, ProposalSizes, Sizes};
use self::{
    discovery::Summary,
    link::{Link, LinkStage, Unacked},
};
use super::{
    Output, PeerConfig, Persist, Standing,
    broadcast::Broadcast,
    effects::{Delivery, Durable, Effects, Event},
    history::History,
    quorum::{AckSet, Quorums},
};
use crate::{
    ids::{Epoch, LinkId, Millis, Sid, Zxid},
    proto::quorum::{PacketType, QuorumPacket},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until a quorum has connected and the new epoch is on disk.
    Discovery,
    /// Until a quorum has promised the new epoch.
    AwaitsEpochAcks,
    /// Until a quorum has this history on disk.
    AwaitsNewLeaderAcks,
    Serving,
}

#[derive(Debug)]
pub struct Leader {
    config: Arc<PeerConfig>,
    stage: Stage,
    /// Each stage before the last may take initLimit.
    since: Millis,
    /// This server's history as it was elected.
    own: Summary,
    /// Decided when a quorum has connected.
    epoch: Option<Epoch>,
    highest_accepted: Epoch,
    connected: BTreeSet<Sid>,
    epoch_acks: AckSet,
    new_leader_acks: AckSet,
    links: BTreeMap<LinkId, Link>,
    broadcast: Broadcast,
    proposal_sizes: ProposalSizes,
    /// Learners whose sync is answered when this zxid is committed.
    syncs: VecDeque<(Zxid, LinkId)>,
    /// Pings go out twice a tick, and every other time the quorum is looked after.
    half_tick_due: Millis,
    half_ticks: u64,
    /// Why this cannot go on.
    resigned: Option<Resigned>,
}

/// Why a leader stops leading.
pub type Resigned = String;

impl Leader {
    /// Just elected. Listening for learners is begun.
    pub(super) fn start(
        config: Arc<PeerConfig>,
        now: Millis,
        accepted: Epoch,
        current: Epoch,
        history: &History,
        fx: &mut Effects,
    ) -> Leader {
        fx.push(Output::OpenQuorumPort);
        let quorums = config.quorums.clone();
        let mut leader = Leader::new(config, now, current, history, quorums);
        leader.connect(leader.config.sid, accepted, fx);
        leader
    }

    /// A server that is alone: it serves at once, and its epoch never changes.
    pub(super) fn standalone(config: Arc<PeerConfig>, now: Millis, history: &History) -> Leader {
        let quorums = config.quorums.clone();
        Leader { stage: Stage::Serving, ..Leader::new(config, now, Epoch(0), history, quorums) }
    }

    fn new(
        config: Arc<PeerConfig>,
        now: Millis,
        current: Epoch,
        history: &History,
        quorums: Quorums,
    ) -> Leader {
        let last = history.last_committed();
        Leader {
            stage: Stage::Discovery,
            since: now,
            own: Summary { epoch: current, zxid: last },
            epoch: None,
            highest_accepted: Epoch(0),
            connected: BTreeSet::new(),
            epoch_acks: AckSet::default(),
            new_leader_acks: AckSet::default(),
            links: BTreeMap::new(),
            broadcast: Broadcast::new(quorums, last),
            proposal_sizes: ProposalSizes::default(),
            syncs: VecDeque::new(),
            half_tick_due: now + config.timing.tick_ms / 2,
            half_ticks: 0,
            resigned: None,
            config,
        }
    }

    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    pub fn last_proposed(&self) -> Zxid {
        self.broadcast.last_proposed()
    }

    /// Learners that take part: (sid, whether it is an observer, whether it is synced).
    pub fn learners(&self) -> impl Iterator<Item = (Sid, bool, bool)> + '_ {
        self.links
            .values()
            .filter_map(|link| Some((link.sid?, link.observer, link.stage >= LinkStage::Synced)))
    }

    pub fn figures(&self) -> Figures {
        let mut syncs: Vec<Zxid> = self.syncs.iter().map(|(zxid, _)| *zxid).collect();
        syncs.dedup();
        Figures {
            learners: self.links.len(),
            forwarding_followers: self.links.values().filter(|l| l.is_forwarded_to() && !l.observer).count(),
            pending_syncs: syncs.len(),
            proposals: self.proposal_sizes,
        }
    }

    /// srst
    pub fn reset_proposal_sizes(&mut self) {
        self.proposal_sizes = ProposalSizes::default();
    }

    pub(super) fn opened(&mut self, now: Millis, link: LinkId, peer: String) {
        let state = Link {
            peer,
            sid: None,
            observer: false,
            stage: LinkStage::AwaitsInfo,
            last_heard: now,
            last_zxid: Zxid::ZERO,
            early_ack: Zxid::ZERO,
            by_snapshot: false,
            unacked: Unacked::default(),
        };
        self.links.insert(link, state);
    }

    pub(super) fn closed(&mut self, link: LinkId, why: &str) {
        if let Some(state) = self.links.remove(&link) {
            tracing::info!("******* GOODBYE {} ******** {why}", state.name());
        }
        self.syncs.retain(|(_, waiting)| *waiting != link);
    }

    pub(super) fn take_resignation(&mut self) -> Option<Resigned> {
        self.resigned.take()
    }

    pub(super) fn progress(&mut self, now: Millis, link: LinkId) {
        if let Some(state) = self.links.get_mut(&link) {
            state.last_heard = now;
        }
    }

    fn drop_link(&mut self, link: LinkId, why: String, fx: &mut Effects) {
        self.closed(link, &why);
        fx.push(Output::CloseLearner { link, why });
    }

    pub(super) fn packet(
        &mut self,
        now: Millis,
        link: LinkId,
        packet: QuorumPacket,
        history: &mut History,
        fx: &mut Effects,
    ) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.last_heard = now;
        let done = match state.stage {
            LinkStage::AwaitsInfo => self.info(link, &packet, fx),
            LinkStage::AwaitsEpochAck => self.epoch_ack(now, link, &packet, history, fx),
            LinkStage::Syncing => self.new_leader_ack(link, &packet, history, fx),
            LinkStage::Synced | LinkStage::Serving => return self.synced_packet(link, packet, fx),
            LinkStage::AwaitsEpoch | LinkStage::AwaitsQuorum | LinkStage::ReadsLog => {
                Err(format!("{} came before it was asked for anything", packet.kind.name()))
            }
        };
        if let Err(why) = done {
            self.drop_link(link, why, fx);
        }
    }

    fn check_new_leader_acks(&mut self, history: &mut History, fx: &mut Effects) {
        if self.stage != Stage::AwaitsNewLeaderAcks || !self.new_leader_acks.has_quorum(&self.config.quorums)
        {
            return;
        }
        let Some(epoch) = self.epoch else { return };
        self.stage = Stage::Serving;
        let sids: Vec<String> = self.new_leader_acks.members().iter().map(Sid::to_string).collect();
        tracing::info!(
            "Have quorum of supporters, sids: [ {} ]; starting up with epoch {epoch}",
            sids.join(",")
        );
        // `zookeeper.testingonly.initialZxid` brings the end of an epoch near (ZOOKEEPER-1277).
        let from = Zxid::new(epoch, self.config.initial_counter.unwrap_or(0));
        history.begin_epoch(Zxid::new(epoch, 0));
        self.broadcast = Broadcast::new(self.config.quorums.clone(), from);
        fx.deliveries.push_back(Delivery::Serving {
            standing: Standing::Leading { epoch },
            from: Some(Zxid::new(epoch, 0)),
        });
        let synced: Vec<LinkId> =
            self.links.iter().filter(|(_, l)| l.stage == LinkStage::Synced).map(|(id, _)| *id).collect();
        for link in synced {
            self.welcome(link, fx);
        }
    }

    /// UPTODATE, once this server serves itself.
    fn welcome(&mut self, link: LinkId, fx: &mut Effects) {
        let serving = self.is_serving();
        if let Some(state) = self.links.get_mut(&link)
            && state.stage == LinkStage::Synced
            && serving
        {
            state.stage = LinkStage::Serving;
            tracing::info!("{} is up to date", state.name());
            fx.tell_learner(link, QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
        }
    }

    /// The ack of UPTODATE has a counter of 0, and means nothing (`Leader.processAck`).
    fn ack(&mut self, link: LinkId, zxid: Zxid) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.unacked.acked(zxid);
        if let Some(sid) = state.sid
            && !state.observer
            && zxid.counter() != 0
        {
            self.broadcast.ack_through(sid, zxid);
        }
    }

    fn synced_packet(&mut self, link: LinkId, packet: QuorumPacket, fx: &mut Effects) {
        let Some(state) = self.links.get(&link) else { return };
        match packet.kind {
            PacketType::ACK => self.ack(link, packet.zxid),
            PacketType::PING => {
                if let Some(table) = packet.data {
                    fx.events.push_back(Event::Touched { table });
                }
            }
            PacketType::REVALIDATE => fx.events.push_back(Event::Revalidate { link, packet }),
            PacketType::REQUEST => fx.events.push_back(Event::Forwarded { link, packet }),
            other => tracing::warn!(
                "unexpected quorum packet, type: {} ({}) from {}",
                other.name(),
                other.0,
                state.name()
            ),
        }
    }

    /// This server's own disk has confirmed something.
    pub(super) fn durable(&mut self, now: Millis, durable: Durable, history: &mut History, fx: &mut Effects) {
        match durable {
            Durable::Txn(zxid) => self.broadcast.ack_through(self.config.sid, zxid),
            Durable::AcceptedEpoch(epoch) if self.epoch == Some(epoch) => {
                self.stage = Stage::AwaitsEpochAcks;
                self.since = now;
                let waiting: Vec<LinkId> = self
                    .links
                    .iter()
                    .filter(|(_, l)| l.stage == LinkStage::AwaitsEpoch)
                    .map(|(id, _)| *id)
                    .collect();
                for link in waiting {
                    self.send_epoch(link, fx);
                }
                self.epoch_acks.add(self.config.sid, &self.config.quorums);
                self.check_epoch_acks(now, history, fx);
            }
            Durable::CurrentEpoch(epoch) if self.epoch == Some(epoch) => {
                self.new_leader_acks.add(self.config.sid, &self.config.quorums);
                self.check_new_leader_acks(history, fx);
            }
            _ => {}
        }
    }

    /// The next zxid, or why there is none left in this epoch.
    pub(super) fn next_zxid(&mut self) -> Zxid {
        self.broadcast.next_zxid()
    }

    /// Whether the epoch has no zxid left: the leader steps down, and a new epoch begins (ZOOKEEPER-1277).
    pub(super) fn is_rolling_over(&self) -> bool {
        self.epoch.is_some() && self.broadcast.last_proposed().next().is_rollover()
    }

    pub(super) fn propose(
        &mut self,
        now: Millis,
        zxid: Zxid,
        txn: Bytes,
        history: &mut History,
        fx: &mut Effects,
    ) {
        debug_assert_eq!(zxid, self.broadcast.last_proposed());
        self.proposal_sizes.note(txn.len());
        for (link, state) in self.links.iter_mut().filter(|(_, l)| l.is_forwarded_to() && !l.observer) {
            if state.stage >= LinkStage::Synced {
                state.unacked.proposed(zxid, now);
            }
            fx.tell_learner(*link, QuorumPacket::with_data(PacketType::PROPOSAL, zxid, txn.clone()));
        }
        history.append(zxid, txn.clone());
        fx.persist(Persist::Append { zxid, txn });
    }

    /// Commits whatever has become decided.
    pub(super) fn commit(&mut self, history: &mut History, fx: &mut Effects) {
        if !self.is_serving() {
            return;
        }
        let decided = self.broadcast.decided();
        while history.first_pending().is_some_and(|zxid| zxid <= decided)
            && let Some((zxid, txn)) = history.commit_first()
        {
            for (link, state) in self.links.iter().filter(|(_, l)| l.is_forwarded_to()) {
                let packet = match state.observer {
                    false => QuorumPacket::new(PacketType::COMMIT, zxid),
                    true => QuorumPacket::with_data(PacketType::INFORM, zxid, txn.clone()),
                };
                fx.tell_learner(*link, packet);
            }
            fx.deliveries.push_back(Delivery::Txn { zxid, txn });
            while let Some((after, link)) = self.syncs.front().copied()
                && after <= zxid
            {
                self.syncs.pop_front();
                fx.tell_learner(link, QuorumPacket::new(PacketType::SYNC, Zxid::ZERO));
            }
        }
    }

    /// Answers a learner's sync when everything outstanding now is committed (B§3.8).
    pub(super) fn sync(&mut self, link: LinkId, history: &History, fx: &mut Effects) {
        match history.first_pending() {
            None => fx.tell_learner(link, QuorumPacket::new(PacketType::SYNC, Zxid::ZERO)),
            Some(_) => self.syncs.push_back((history.last_logged(), link)),
        }
    }

    pub(super) fn revalidated(&mut self, link: LinkId, request: QuorumPacket, valid: bool, fx: &mut Effects) {
        let mut data = BytesMut::with_capacity(9);
        data.extend_from_slice(request.data.as_deref().and_then(|d| d.get(..8)).unwrap_or(&[0; 8]));
        data.put_u8(valid.into());
        fx.tell_learner(link, QuorumPacket { data: Some(data.freeze()), ..request });
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        // Alone there is nobody to ping.
        self.epoch
            .is_some()
            .then_some(self.half_tick_due)
            .or_else(|| (self.stage == Stage::Discovery).then_some(self.half_tick_due))
    }

    pub(super) fn handle_timeout(&mut self, now: Millis, fx: &mut Effects) -> Result<(), Resigned> {
        if now < self.half_tick_due {
            return Ok(());
        }
        let timing = &self.config.timing;
        self.half_tick_due = now + (timing.tick_ms / 2).max(1);
        self.half_ticks += 1;
        let (init, limit) = (timing.init_ms(), timing.sync_ms());
        if !self.is_serving() && now - self.since >= init {
            return Err(format!(
                "Waiting for a quorum of followers, only synced with sids: [ {} ] after {init} ms",
                join(self.new_leader_acks.members())
            ));
        }
        self.drop_silent(now, init, limit, fx);
        if self.is_serving() {
            if self.half_ticks.is_multiple_of(2) {
                self.check_quorum()?;
            }
            let last = self.broadcast.last_proposed();
            for (link, _) in self.links.iter().filter(|(_, l)| l.is_forwarded_to()) {
                fx.tell_learner(*link, QuorumPacket::new(PacketType::PING, last));
            }
        }
        Ok(())
    }

    fn drop_silent(&mut self, now: Millis, init: Millis, limit: Millis, fx: &mut Effects) {
        let mut silent = Vec::new();
        for (id, link) in &self.links {
            let patience = if link.stage >= LinkStage::Synced { limit } else { init };
            if now - link.last_heard >= patience && link.stage != LinkStage::AwaitsEpoch {
                silent.push((*id, format!("nothing heard for {} ms", now - link.last_heard)));
            } else if let Some((zxid, at)) = link.unacked.current
                && now - at >= limit
            {
                silent.push((*id, format!("{zxid} has not been acked for {} ms", now - at)));
            }
        }
        for (link, why) in silent {
            self.drop_link(link, why, fx);
        }
    }

    /// Java counts who is connected and not silent, whether it has synchronised or not (`LearnerHandler.synced`): with a quorum
    /// that is still taking the history over, giving up would only begin everything anew.
    fn check_quorum(&self) -> Result<(), Resigned> {
        let mut synced: BTreeSet<Sid> = self.links.values().filter_map(|l| l.sid).collect();
        synced.insert(self.config.sid);
        if self.config.quorums.is_quorum(&synced) {
            return Ok(());
        }
        synced.retain(|sid| self.config.quorums.contains(*sid));
        Err(format!("Not sufficient followers synced, only synced with sids: [ {} ]", join(&synced)))
    }
}

fn join(sids: &BTreeSet<Sid>) -> String {
    sids.iter().map(Sid::to_string).collect::<Vec<_>>().join(",")
}
