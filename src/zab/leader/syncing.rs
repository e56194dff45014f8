//! Each learner brought to this leader's history, up to its ack of NEWLEADER (B§3.5; `LearnerHandler.syncFollower`,
//! `Leader.startForwarding`). What the plan is, [`sync`] decides.

use bytes::Bytes;

use super::{Leader, LinkStage, Unacked};
use crate::{
    ids::{LinkId, Zxid},
    proto::quorum::{PacketType, QuorumPacket},
    zab::{
        LogProbe, Output,
        effects::Effects,
        history::History,
        sync::{self, Choice, Opening, Plan},
    },
};

impl Leader {
    pub(super) fn choose_sync(&mut self, link: LinkId, history: &History, fx: &mut Effects) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let peer = state.last_zxid;
        let window = history.window();
        tracing::info!(
            "Synchronizing with Follower sid: {} maxCommittedLog={} minCommittedLog={} lastProcessedZxid={} peerLastZxid={peer}",
            state.sid.unwrap_or_default(),
            window.back().map_or(history.last_committed(), |(zxid, _)| *zxid),
            window.front().map_or(history.last_committed(), |(zxid, _)| *zxid),
            history.applied(),
        );
        match sync::choose(peer, history, self.config.sync) {
            Choice::Plan(plan) => self.carry_out(link, plan, history, fx),
            Choice::ProbeLog => {
                state.stage = LinkStage::ReadsLog;
                let until = window.front().map_or(history.last_committed(), |(zxid, _)| *zxid);
                fx.push(Output::ProbeLog { link, from: peer, until });
            }
        }
    }

    pub(in crate::zab) fn log_probed(
        &mut self,
        link: LinkId,
        found: Option<LogProbe>,
        history: &History,
        fx: &mut Effects,
    ) {
        let Some(state) = self.links.get(&link).filter(|l| l.stage == LinkStage::ReadsLog) else { return };
        let plan = sync::choose_with_log(state.last_zxid, history, found);
        self.carry_out(link, plan, history, fx);
    }

    /// Everything the learner lacks, then NEWLEADER; from here on it gets what is proposed.
    fn carry_out(&mut self, link: LinkId, plan: Plan, history: &History, fx: &mut Effects) {
        if plan.opening == Opening::Snap && self.is_crowded(link) {
            return self.drop_link(link, "too many snapshots are being sent already".to_owned(), fx);
        }
        let (Some(state), Some(epoch)) = (self.links.get_mut(&link), self.epoch) else { return };
        state.stage = LinkStage::Syncing;
        state.by_snapshot = plan.opening == Opening::Snap;
        let holds = match plan.opening {
            Opening::Diff { .. } => state.last_zxid,
            Opening::Trunc { to } => to,
            Opening::Snap => history.applied(),
        };
        if let Some(sid) = state.sid {
            self.broadcast.holds_through(sid, holds);
        }
        let name = state.name();
        match plan.opening {
            Opening::Diff { zxid } => {
                tracing::info!("Sending DIFF zxid={zxid} for {name}");
                fx.tell_learner(link, QuorumPacket::new(PacketType::DIFF, zxid));
            }
            Opening::Trunc { to } => {
                tracing::info!("Sending TRUNC zxid to send={to} for {name}");
                fx.tell_learner(link, QuorumPacket::new(PacketType::TRUNC, to));
            }
            Opening::Snap => {
                let zxid = history.applied();
                tracing::info!(
                    "Sending snapshot of {zxid} to {name}, whose last zxid is {}",
                    state.last_zxid
                );
                fx.tell_learner(link, QuorumPacket::new(PacketType::SNAP, zxid));
                fx.push(Output::StreamSnapshot { link, zxid });
            }
        }
        if let Some((after, through)) = plan.from_log {
            fx.push(Output::StreamLog { link, after, through });
        }
        let window = history.window();
        for (zxid, txn) in window.range(window.partition_point(|(zxid, _)| *zxid <= plan.after)..) {
            fx.tell_learner(link, QuorumPacket::with_data(PacketType::PROPOSAL, *zxid, txn.clone()));
            fx.tell_learner(link, QuorumPacket::new(PacketType::COMMIT, *zxid));
        }
        if !state.observer {
            for (zxid, txn) in history.pending() {
                fx.tell_learner(link, QuorumPacket::with_data(PacketType::PROPOSAL, *zxid, txn.clone()));
            }
        }
        let config = Bytes::from(self.config.config_led_in(epoch));
        fx.tell_learner(link, QuorumPacket::with_data(PacketType::NEWLEADER, Zxid::new(epoch, 0), config));
    }

    /// Whether an observer must come back later (`LearnerSnapshotThrottler`): only so many learners get snapshots at a time.
    fn is_crowded(&self, link: LinkId) -> bool {
        let observes = self.links.get(&link).is_some_and(|l| l.observer);
        let sent = self.links.values().filter(|l| l.stage == LinkStage::Syncing && l.by_snapshot).count();
        observes && sent >= self.config.sync.max_snapshots
    }

    pub(super) fn new_leader_ack(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), String> {
        if packet.kind != PacketType::ACK {
            return Err(format!(
                "Next packet was supposed to be an ACK, but received packet: {}",
                packet.kind.name()
            ));
        }
        let (Some(state), Some(epoch)) = (self.links.get_mut(&link), self.epoch) else { return Ok(()) };
        if packet.zxid != Zxid::new(epoch, 0) {
            tracing::error!(
                "NEWLEADER of {} is acked with {} by {}",
                Zxid::new(epoch, 0),
                packet.zxid,
                state.name()
            );
            state.early_ack = packet.zxid.max(state.early_ack);
            return Ok(());
        }
        state.stage = LinkStage::Synced;
        // Its sync may have taken longer than syncLimit; from now on it must keep up.
        state.unacked = Unacked::default();
        let early = std::mem::take(&mut state.early_ack);
        if let Some(sid) = state.sid {
            self.new_leader_acks.add(sid, &self.config.quorums);
        }
        self.ack(link, early);
        self.check_new_leader_acks(history, fx);
        self.welcome(link, fx);
        Ok(())
    }
}
