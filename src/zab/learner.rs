//! Following and observing: join the leader's epoch, take over its history, then log, ack and commit what it proposes
//! (B§3.3, B§3.6, B§3.7; `Learner`, `Follower`, `Observer`).
//!
//! Invariants:
//! 1. Synced txns on disk → currentEpoch on disk → ACK of NEWLEADER → ACKs of single txns (ZOOKEEPER-3911, 4643, 4646, 4685).
//! 2. No ACK of a zxid whose token is unanswered.
//! 3. Txns are committed in the order in which they are pending; a commit that does not fit ends the link.
//! 4. While a database is being replaced nothing of the leader's is handled; it waits here.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Output, PeerConfig, Persist, Standing,
    effects::{Delivery, Durable, Effects, Event},
    history::{History, follows},
};
use crate::{
    config::PeerType,
    ids::{Epoch, LinkId, Millis, SessionId, Sid, Zxid},
    jute,
    proto::quorum::{LearnerInfo, PacketType, QuorumPacket},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    AwaitsLeaderInfo,
    /// The new epoch goes to disk before it is promised.
    Promising,
    AwaitsSync,
    /// The database is being replaced, from the leader's snapshot or from a log that was cut.
    Replacing,
    Syncing,
    /// NEWLEADER has come; txns and currentEpoch are on their way to disk.
    Accepting,
    AwaitsUpToDate,
    Serving,
}

#[derive(Debug)]
pub struct Learner {
    config: Arc<PeerConfig>,
    leader: Sid,
    link: LinkId,
    stage: Stage,
    accepted: Epoch,
    current: Epoch,
    epoch: Epoch,
    since: Millis,
    last_heard: Millis,
    /// Where the leader has had the log cut.
    cut: Option<Zxid>,
    /// Durable and not acked yet: NEWLEADER comes first.
    held: Vec<Zxid>,
    waiting: VecDeque<QuorumPacket>,
}

/// Why a learner gives its leader up.
pub type GaveUp = String;

impl Learner {
    pub(super) fn start(
        config: Arc<PeerConfig>,
        now: Millis,
        leader: Sid,
        link: LinkId,
        epochs: (Epoch, Epoch),
        fx: &mut Effects,
    ) -> Learner {
        fx.push(Output::DialLeader { link, leader });
        let (accepted, current) = epochs;
        Learner {
            leader,
            link,
            stage: Stage::Connecting,
            accepted,
            current,
            epoch: Epoch(0),
            since: now,
            last_heard: now,
            cut: None,
            held: Vec::new(),
            waiting: VecDeque::new(),
            config,
        }
    }

    pub fn leader(&self) -> Sid {
        self.leader
    }

    pub fn link(&self) -> LinkId {
        self.link
    }

    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Serving
    }

    pub fn is_replacing(&self) -> bool {
        self.stage == Stage::Replacing
    }

    fn is_observer(&self) -> bool {
        self.config.role == PeerType::Observer
    }

    pub(super) fn opened(&mut self, now: Millis, history: &History, fx: &mut Effects) {
        if self.stage != Stage::Connecting {
            return;
        }
        tracing::info!("connected to leader {}; last zxid {}", self.leader, history.last_logged());
        self.stage = Stage::AwaitsLeaderInfo;
        self.last_heard = now;
        let kind = if self.is_observer() { PacketType::OBSERVERINFO } else { PacketType::FOLLOWERINFO };
        let mut info = BytesMut::with_capacity(20);
        jute::put(
            &mut info,
            &LearnerInfo {
                sid: self.config.sid,
                protocol_version: LearnerInfo::PROTOCOL_VERSION,
                config_version: self.config.quorums.committed.version(),
            },
        );
        fx.tell_leader(self.link, kind, Zxid::new(self.accepted, 0), Some(info.freeze()));
    }

    pub(super) fn progress(&mut self, now: Millis) {
        self.last_heard = now;
    }

    pub(super) fn packet(
        &mut self,
        now: Millis,
        packet: QuorumPacket,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), GaveUp> {
        self.last_heard = now;
        match self.stage {
            Stage::Connecting | Stage::Promising => Err(unexpected(&packet)),
            Stage::AwaitsLeaderInfo => self.leader_info(&packet, history, fx),
            Stage::AwaitsSync => self.sync(&packet, history, fx),
            Stage::Replacing => {
                self.waiting.push_back(packet);
                Ok(())
            }
            _ => self.synced_packet(packet, history, fx),
        }
    }

    fn leader_info(
        &mut self,
        packet: &QuorumPacket,
        history: &History,
        fx: &mut Effects,
    ) -> Result<(), GaveUp> {
        if packet.kind != PacketType::LEADERINFO {
            return Err(unexpected(packet));
        }
        self.epoch = packet.zxid.epoch();
        if self.epoch < self.accepted {
            return Err(format!(
                "Leaders epoch, {} is less than accepted epoch, {}",
                self.epoch, self.accepted
            ));
        }
        if self.epoch == self.accepted {
            // Promised before: this must not count once more.
            self.ack_epoch(-1, history, fx);
        } else {
            self.stage = Stage::Promising;
            fx.persist(Persist::AcceptedEpoch(self.epoch));
        }
        Ok(())
    }

    fn ack_epoch(&mut self, current: i32, history: &History, fx: &mut Effects) {
        self.stage = Stage::AwaitsSync;
        let data = Bytes::copy_from_slice(&current.to_be_bytes());
        fx.tell_leader(self.link, PacketType::ACKEPOCH, history.last_logged(), Some(data));
    }

    fn sync(&mut self, packet: &QuorumPacket, history: &mut History, fx: &mut Effects) -> Result<(), GaveUp> {
        match packet.kind {
            PacketType::DIFF => {
                tracing::info!("Getting a diff from the leader {}", packet.zxid);
                self.stage = Stage::Syncing;
                Ok(())
            }
            PacketType::TRUNC => {
                tracing::warn!("Truncating log to get in sync with the leader {}", packet.zxid);
                if packet.zxid > history.last_logged() {
                    return Err(format!(
                        "told to cut the log behind {}, which ends at {}",
                        packet.zxid,
                        history.last_logged()
                    ));
                }
                self.stage = Stage::Replacing;
                self.cut = Some(packet.zxid);
                history.forget();
                fx.persist(Persist::Truncate { to: packet.zxid });
                Ok(())
            }
            _ => Err(unexpected(packet)),
        }
    }

    /// The leader's SNAP has come whole. False: it came at a time when it cannot be taken.
    pub(super) fn snapshot(&mut self, now: Millis, history: &mut History) -> bool {
        self.last_heard = now;
        if self.stage != Stage::AwaitsSync {
            return false;
        }
        self.stage = Stage::Replacing;
        history.forget();
        true
    }

    /// The database has been replaced; what came meanwhile is handled now.
    pub(super) fn replaced(
        &mut self,
        now: Millis,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), GaveUp> {
        if self.stage != Stage::Replacing {
            return Ok(());
        }
        if let Some(to) = self.cut.take()
            && history.last_committed() != to
        {
            // The log may never have held `to`: what came with a snapshot is cut with it, an observer may keep no log, and no txn has a
            // counter of 0. Whatever lies between is asked for again, from where this server stands now.
            return Err(format!(
                "the log was cut behind {to}, and what is left ends at {}",
                history.last_committed()
            ));
        }
        self.stage = Stage::Syncing;
        while let Some(packet) = self.waiting.pop_front() {
            self.packet(now, packet, history, fx)?;
        }
        Ok(())
    }

    fn synced_packet(
        &mut self,
        packet: QuorumPacket,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), GaveUp> {
        match packet.kind {
            // Of these an observer hears while it synchronises (B§3.5); afterwards it is informed (`Observer.processPacket`).
            PacketType::PROPOSAL | PacketType::COMMIT if self.is_serving() && self.is_observer() => {
                tracing::warn!("Ignoring {} {}", packet.kind.name(), packet.zxid);
                Ok(())
            }
            PacketType::PROPOSAL => self.proposal(packet.zxid, packet.data, history, fx),
            PacketType::COMMIT => self.commit(packet.zxid, history, fx),
            PacketType::INFORM => {
                // Whatever is informed of is decided, and so is everything before it.
                while history.first_pending().is_some_and(|first| first < packet.zxid) {
                    self.commit_first(history, fx);
                }
                self.proposal(packet.zxid, packet.data, history, fx)?;
                self.commit(packet.zxid, history, fx)
            }
            PacketType::COMMITANDACTIVATE | PacketType::INFORMANDACTIVATE => {
                Err("the leader reconfigures the ensemble, which this server cannot follow yet".to_owned())
            }
            PacketType::NEWLEADER if self.stage == Stage::Syncing => {
                if packet.zxid.epoch() != self.epoch {
                    return Err(format!("NEWLEADER of {} in epoch {}", packet.zxid, self.epoch));
                }
                tracing::info!("Learner received NEWLEADER message");
                self.stage = Stage::Accepting;
                fx.persist(Persist::CurrentEpoch(self.epoch));
                Ok(())
            }
            PacketType::UPTODATE if self.stage == Stage::AwaitsUpToDate => {
                tracing::info!("Learner received UPTODATE message");
                self.stage = Stage::Serving;
                fx.tell_leader(self.link, PacketType::ACK, Zxid::new(self.epoch, 0), None);
                let (leader, epoch) = (self.leader, self.epoch);
                let standing = match self.is_observer() {
                    true => Standing::Observing { leader, epoch },
                    false => Standing::Following { leader, epoch },
                };
                fx.deliveries.push_back(Delivery::Serving { standing, from: None });
                Ok(())
            }
            PacketType::NEWLEADER | PacketType::UPTODATE if !self.is_serving() => Err(unexpected(&packet)),
            PacketType::PING if self.is_serving() => {
                fx.events.push_back(Event::Ping { zxid: packet.zxid });
                Ok(())
            }
            // The leader gives a learner that synchronises initLimit, without answers (`Learner.syncWithLeader`).
            PacketType::PING => Ok(()),
            PacketType::SYNC => {
                fx.deliveries.push_back(Delivery::Synced);
                Ok(())
            }
            PacketType::REVALIDATE => {
                let data = packet.data.as_deref().unwrap_or_default();
                let (Some(id), Some(valid)) = (data.first_chunk::<8>(), data.get(8)) else {
                    return Err(format!("a REVALIDATE of {} bytes", data.len()));
                };
                let session = SessionId(i64::from_be_bytes(*id));
                fx.events.push_back(Event::Revalidated { session, valid: *valid != 0 });
                Ok(())
            }
            other => {
                tracing::warn!("Unknown packet type: {} ({}) from the leader", other.name(), other.0);
                Ok(())
            }
        }
    }

    fn proposal(
        &mut self,
        zxid: Zxid,
        txn: Option<Bytes>,
        history: &mut History,
        fx: &mut Effects,
    ) -> Result<(), GaveUp> {
        let txn = txn.ok_or_else(|| format!("a proposal of {zxid} without a txn"))?;
        let last = history.last_logged();
        // 3.5.7 may repeat outstanding proposals that a snapshot or the window already covers (B§3.5).
        if zxid <= last {
            return Ok(());
        }
        if !follows(last, zxid) {
            tracing::warn!("Got zxid {zxid} expected {}", last.next());
        }
        history.append(zxid, txn.clone());
        if self.keeps_log() {
            fx.persist(Persist::Append { zxid, txn });
        }
        Ok(())
    }

    /// An observer may be told to keep everything in memory (syncEnabled=false).
    fn keeps_log(&self) -> bool {
        !self.is_observer() || self.config.observer_logs
    }

    fn commit(&mut self, zxid: Zxid, history: &mut History, fx: &mut Effects) -> Result<(), GaveUp> {
        match history.first_pending() {
            Some(first) if first == zxid => {
                self.commit_first(history, fx);
                Ok(())
            }
            _ if zxid <= history.last_committed() => Ok(()),
            first => Err(format!("Committing {zxid} but next pending txn is {first:?}")),
        }
    }

    fn commit_first(&mut self, history: &mut History, fx: &mut Effects) {
        if let Some((zxid, txn)) = history.commit_first() {
            fx.deliveries.push_back(Delivery::Txn { zxid, txn });
        }
    }

    pub(super) fn durable(&mut self, durable: Durable, history: &History, fx: &mut Effects) {
        match durable {
            Durable::AcceptedEpoch(epoch) if self.stage == Stage::Promising && epoch == self.epoch => {
                self.accepted = epoch;
                self.ack_epoch(self.current.0 as i32, history, fx);
            }
            Durable::Txn(_) if self.is_observer() => {}
            Durable::Txn(zxid) if self.stage >= Stage::AwaitsUpToDate => {
                fx.tell_leader(self.link, PacketType::ACK, zxid, None);
            }
            Durable::Txn(zxid) => self.held.push(zxid),
            Durable::CurrentEpoch(epoch) if self.stage == Stage::Accepting && epoch == self.epoch => {
                self.stage = Stage::AwaitsUpToDate;
                fx.tell_leader(self.link, PacketType::ACK, Zxid::new(self.epoch, 0), None);
                // What the leader sent as committed needs no ack.
                for zxid in self.held.drain(..).filter(|zxid| *zxid > history.last_committed()) {
                    fx.tell_leader(self.link, PacketType::ACK, zxid, None);
                }
            }
            _ => {}
        }
    }

    /// A client's request, to be answered by its txn.
    pub(super) fn forward(&self, data: Bytes, auth: Vec<crate::proto::AclId>, fx: &mut Effects) {
        let packet =
            QuorumPacket { kind: PacketType::REQUEST, zxid: Zxid(-1), data: Some(data), auth: Some(auth) };
        fx.push(Output::SendToLeader { link: self.link, packet });
    }

    pub(super) fn revalidate(&self, session: SessionId, timeout_ms: i32, fx: &mut Effects) {
        let mut data = BytesMut::with_capacity(12);
        data.put_i64(session.0);
        data.put_i32(timeout_ms);
        fx.tell_leader(self.link, PacketType::REVALIDATE, Zxid(-1), Some(data.freeze()));
    }

    /// `touched`: sessions heard since the last ping, with their timeouts.
    pub(super) fn answer_ping(&self, zxid: Zxid, touched: Bytes, fx: &mut Effects) {
        fx.tell_leader(self.link, PacketType::PING, zxid, Some(touched));
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        Some(self.last_heard.max(self.since) + self.patience())
    }

    pub(super) fn handle_timeout(&mut self, now: Millis) -> Result<(), GaveUp> {
        if Some(now) < self.poll_timeout() {
            return Ok(());
        }
        Err(match self.stage {
            Stage::Connecting => format!("server {} cannot be reached on its quorum port", self.leader),
            _ => format!("the leader has been silent for {} ms", now - self.last_heard),
        })
    }

    fn patience(&self) -> Millis {
        let timing = &self.config.timing;
        match self.stage {
            // `Learner.connectToLeader`: five attempts, a second apart.
            Stage::Connecting => timing.init_ms().min(5000),
            Stage::Serving => timing.sync_ms(),
            _ => timing.init_ms(),
        }
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Stage) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

fn unexpected(packet: &QuorumPacket) -> GaveUp {
    format!("unexpected packet from the leader: {} ({}) {}", packet.kind.name(), packet.kind.0, packet.zxid)
}
