//! Connections between servers and from clients: each direction a queue in order, which delay, one-way cuts, resets and
//! closes act upon; and the election's connections, on which the newest notification replaces one that has not gone out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::{client::Hello, invariants::Logged, world::Micros};
use crate::{
    ids::{LinkId, Sid},
    proto::{
        OpCode,
        quorum::{Notification, QuorumPacket},
    },
};

/// Whoever has an address: a server by its sid, a client by a negative number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(pub i64);

impl Node {
    pub fn server(sid: Sid) -> Node {
        Node(sid.0)
    }
    pub fn client(n: usize) -> Node {
        Node(-1 - n as i64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PipeId(pub u64);

/// What the two ends of a pipe call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// At the leader.
    Learner,
    /// At the learner.
    Leader(LinkId),
    /// At a server.
    Conn,
    Client,
}

#[derive(Clone, Copy, Debug)]
pub struct End {
    pub node: Node,
    /// Which life of the server this is an end of.
    pub life: u32,
    pub port: Port,
    pub open: bool,
}

#[derive(Clone, Debug)]
pub enum Item {
    /// The connection is established.
    Syn,
    Packet(QuorumPacket),
    /// A snapshot's body, and whose history it is.
    Snapshot {
        body: Bytes,
        history: Vec<Logged>,
    },
    /// Part of a long transfer.
    Progress,
    Hello(Hello),
    Request {
        xid: i32,
        op: OpCode,
        body: Bytes,
    },
    Frames(Bytes),
    Close {
        why: &'static str,
    },
}

#[derive(Debug)]
pub struct Pipe {
    pub ends: [End; 2],
    /// `queues[n]` is on its way to `ends[n]`.
    pub queues: [Queue; 2],
}

#[derive(Debug, Default)]
pub struct Queue {
    pub items: VecDeque<Item>,
    /// When the last one arrives.
    pub last_at: Micros,
    /// Arrivals that a cut holds up.
    pub stalled: usize,
}

/// An election connection between two servers, the lower sid first.
#[derive(Debug, Default)]
pub struct ElectionPair {
    pub up: bool,
    pub dialing: bool,
    /// Tells messages of an earlier connection.
    pub incarnation: u32,
    /// Held up by a cut, to be delivered when it heals: receiver, message.
    pub stalled: Vec<(Sid, Notification)>,
}

#[derive(Debug, Default)]
pub struct ElectionOutbox {
    pub pending: Option<Notification>,
    pub departing: bool,
    pub last_at: Micros,
}

#[derive(Debug, Default)]
pub struct Net {
    pub pipes: BTreeMap<PipeId, Pipe>,
    next_pipe: u64,
    /// Directions in which nothing gets through.
    pub cuts: BTreeSet<(Node, Node)>,
    pub pairs: BTreeMap<(Sid, Sid), ElectionPair>,
    pub outboxes: BTreeMap<(Sid, Sid), ElectionOutbox>,
}

impl Net {
    pub fn connect(&mut self, from: End, to: End) -> PipeId {
        let id = PipeId(self.next_pipe);
        self.next_pipe += 1;
        self.pipes.insert(id, Pipe { ends: [from, to], queues: Default::default() });
        id
    }

    pub fn passes(&self, from: Node, to: Node) -> bool {
        !self.cuts.contains(&(from, to))
    }

    pub fn pair(&mut self, a: Sid, b: Sid) -> &mut ElectionPair {
        self.pairs.entry((a.min(b), a.max(b))).or_default()
    }

    /// Pipes that end at a server.
    pub fn of(&self, node: Node) -> Vec<PipeId> {
        let here = |pipe: &Pipe| pipe.ends.iter().any(|end| end.node == node);
        self.pipes.iter().filter(|(_, pipe)| here(pipe)).map(|(id, _)| *id).collect()
    }
}
