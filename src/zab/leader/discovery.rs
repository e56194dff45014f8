//! A new epoch: who has connected, and who has promised it (B§3.3; `Leader.getEpochToPropose`, `waitForEpochAck`).

use bytes::{Buf, Bytes};

use super::{Leader, LinkStage, Stage};
use crate::{
    ids::{Epoch, LinkId, Millis, Sid, Zxid},
    proto::quorum::{LearnerInfo, PacketType, QuorumPacket},
    zab::{Persist, effects::Effects, history::History},
};

/// How much of history somebody has (`StateSummary`): epochs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Summary {
    pub epoch: Epoch,
    pub zxid: Zxid,
}

impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn info(
        &mut self,
        link: LinkId,
        packet: &QuorumPacket,
        fx: &mut Effects,
    ) -> Result<(), String> {
        let observer = match packet.kind {
            PacketType::FOLLOWERINFO => false,
            PacketType::OBSERVERINFO => true,
            other => {
                return Err(format!("First packet {} is not FOLLOWERINFO or OBSERVERINFO!", other.name()));
            }
        };
        let data = packet.data.as_deref().ok_or("a learner that does not say who it is")?;
        let info =
            LearnerInfo::decode(data).ok_or_else(|| format!("a LearnerInfo of {} bytes", data.len()))?;
        if info.protocol_version < LearnerInfo::PROTOCOL_VERSION {
            return Err(format!(
                "server {} speaks version {:#x} of the protocol, from before ZooKeeper 3.4",
                info.sid, info.protocol_version
            ));
        }
        if info.config_version > self.config.quorums.committed.version() {
            return Err("Follower is ahead of the leader (has a later activated configuration)".to_owned());
        }
        match self.config.ensemble.servers.get(&info.sid) {
            Some(spec) => tracing::info!("Follower sid: {} : info : {spec}", info.sid),
            None => tracing::info!(
                "Follower sid: {} not in the current config {:x}",
                info.sid,
                self.config.quorums.committed.version()
            ),
        }
        self.refuse_second(info.sid)?;
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        state.sid = Some(info.sid);
        state.observer = observer;
        state.stage = LinkStage::AwaitsEpoch;
        self.connect(info.sid, packet.zxid.epoch(), fx);
        if self.stage != Stage::Discovery {
            self.send_epoch(link, fx);
        }
        Ok(())
    }

    /// A voter has one link: whatever an older one may still bring is of a time before the sync that would begin now, and an ack in
    /// it could be for a txn that is about to be cut. The older one stays – it may be the true one – until it closes or falls
    /// silent; a voter that has really come back tries again.
    fn refuse_second(&self, sid: Sid) -> Result<(), String> {
        match self.links.values().find(|link| link.sid == Some(sid)) {
            Some(first) if self.config.quorums.contains(sid) => Err(format!(
                "it says that it is server {sid}, which is connected already, from {}",
                first.peer
            )),
            _ => Ok(()),
        }
    }

    /// `getEpochToPropose`: an epoch that nobody of a quorum has accepted before.
    pub(super) fn connect(&mut self, sid: Sid, accepted: Epoch, fx: &mut Effects) {
        if let Some(epoch) = self.epoch {
            // It was elected, or followed somebody who was, and nothing came of it. It must refuse this epoch for ever; the next
            // one will be above both. Java leaves such a voter outside.
            if accepted > epoch && self.config.quorums.contains(sid) {
                self.resigned = Some(format!(
                    "server {sid} has accepted epoch {accepted} and cannot follow in {epoch}: a newer epoch is needed"
                ));
            }
            return;
        }
        self.highest_accepted = self.highest_accepted.max(accepted);
        if self.config.quorums.contains(sid) {
            self.connected.insert(sid);
        }
        if self.config.quorums.is_quorum(&self.connected) {
            let epoch = Epoch(self.highest_accepted.0.wrapping_add(1));
            self.epoch = Some(epoch);
            fx.persist(Persist::AcceptedEpoch(epoch));
        }
    }

    pub(super) fn send_epoch(&mut self, link: LinkId, fx: &mut Effects) {
        let (Some(state), Some(epoch)) = (self.links.get_mut(&link), self.epoch) else { return };
        state.stage = LinkStage::AwaitsEpochAck;
        let version = Bytes::copy_from_slice(&LearnerInfo::PROTOCOL_VERSION.to_be_bytes());
        fx.tell_learner(link, QuorumPacket::with_data(PacketType::LEADERINFO, Zxid::new(epoch, 0), version));
    }

    pub(super) fn epoch_ack(
        &mut self,
        now: Millis,
        link: LinkId,
        packet: &QuorumPacket,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), String> {
        if packet.kind != PacketType::ACKEPOCH {
            return Err(format!("{} is not ACKEPOCH", packet.kind.name()));
        }
        let epoch = packet.data.as_deref().and_then(|mut data| data.try_get_i32().ok());
        let epoch = epoch.ok_or("an ACKEPOCH without an epoch")?;
        let own = self.own;
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        state.last_zxid = packet.zxid;
        state.stage = LinkStage::AwaitsQuorum;
        let sid = state.sid;
        if self.stage != Stage::AwaitsEpochAcks {
            self.choose_sync(link, history, fx);
            return Ok(());
        }
        // −1: it had accepted this epoch already, and does not count (B§3.3).
        if let Ok(epoch) = u32::try_from(epoch) {
            let theirs = Summary { epoch: Epoch(epoch), zxid: packet.zxid };
            if theirs > own {
                return Err(format!(
                    "Follower is ahead of the leader, leader summary: {} (current epoch), {} (last zxid); the follower has {epoch}, {}",
                    own.epoch, own.zxid, packet.zxid
                ));
            }
            if let Some(sid) = sid {
                self.epoch_acks.add(sid, &self.config.quorums);
            }
        }
        self.check_epoch_acks(now, history, fx);
        Ok(())
    }

    pub(super) fn check_epoch_acks(&mut self, now: Millis, history: &mut History, fx: &mut Effects) {
        if self.stage != Stage::AwaitsEpochAcks || !self.epoch_acks.has_quorum(&self.config.quorums) {
            return;
        }
        let Some(epoch) = self.epoch else { return };
        self.stage = Stage::AwaitsNewLeaderAcks;
        self.since = now;
        fx.persist(Persist::CurrentEpoch(epoch));
        let waiting: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, l)| l.stage == LinkStage::AwaitsQuorum)
            .map(|(id, _)| *id)
            .collect();
        for link in waiting {
            self.choose_sync(link, history, fx);
        }
    }
}
