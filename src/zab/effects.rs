//! What the machines of this room leave behind, in order: outputs for the driver, deliveries and events for the replica.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Output, Persist, Standing, Token};
use crate::{
    ids::{Epoch, LinkId, SessionId, Zxid},
    proto::quorum::{PacketType, QuorumPacket},
};

/// What changes the database or depends on how far it has come: handled strictly in this order.
#[derive(Debug)]
pub enum Delivery {
    /// Apply a decided txn.
    Txn { zxid: Zxid, txn: Bytes },
    /// Begin to serve clients. A leader's history begins anew at `from`.
    Serving { standing: Standing, from: Option<Zxid> },
    /// The leader has answered the first sync that is unanswered.
    Synced,
}

/// What the replica answers at once.
#[derive(Debug)]
pub enum Event {
    /// No member of a working quorum any more: clients and sessions go.
    Stopped,
    /// A learner's client wants something: session, cxid, op and payload, with its identities.
    Forwarded {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// A learner asks whether a session is alive.
    Revalidate {
        link: LinkId,
        packet: QuorumPacket,
    },
    /// Sessions that a learner has heard, with their timeouts.
    Touched {
        table: Bytes,
    },
    /// The leader wants to know which sessions have been heard here.
    Ping {
        zxid: Zxid,
    },
    Revalidated {
        session: SessionId,
        valid: bool,
    },
}

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Txn(Zxid),
    AcceptedEpoch(Epoch),
    CurrentEpoch(Epoch),
    Snapshot,
    Truncated,
}

#[derive(Debug)]
pub(super) struct Effects {
    pub outputs: VecDeque<Output>,
    pub deliveries: VecDeque<Delivery>,
    pub events: VecDeque<Event>,
    next_token: u64,
    awaiting: VecDeque<(Token, Durable)>,
}

impl Effects {
    pub fn new() -> Effects {
        Effects {
            outputs: VecDeque::new(),
            deliveries: VecDeque::new(),
            events: VecDeque::new(),
            next_token: 1,
            awaiting: VecDeque::new(),
        }
    }

    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub fn persist(&mut self, what: Persist) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let durable = match &what {
            Persist::Append { zxid, .. } => Durable::Txn(*zxid),
            Persist::AcceptedEpoch(epoch) => Durable::AcceptedEpoch(*epoch),
            Persist::CurrentEpoch(epoch) => Durable::CurrentEpoch(*epoch),
            Persist::Snapshot => Durable::Snapshot,
            Persist::Truncate { .. } => Durable::Truncated,
        };
        self.awaiting.push_back((token, durable));
        self.push(Output::Persist { token, what });
    }

    /// The next effect that `token` confirms.
    pub fn confirmed(&mut self, token: Token) -> Option<Durable> {
        let (pending, _) = self.awaiting.front()?;
        if *pending > token {
            return None;
        }
        self.awaiting.pop_front().map(|(_, durable)| durable)
    }

    /// Whether the disk still has something to do.
    pub fn awaits_disk(&self) -> bool {
        !self.awaiting.is_empty()
    }

    pub fn tell_learner(&mut self, link: LinkId, packet: QuorumPacket) {
        self.push(Output::SendToLearner { link, packet });
    }

    pub fn tell_leader(&mut self, link: LinkId, kind: PacketType, zxid: Zxid, data: Option<Bytes>) {
        self.push(Output::SendToLeader { link, packet: QuorumPacket { kind, zxid, data, auth: None } });
    }
}
