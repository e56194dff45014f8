//! What servers say to each other: packets of the quorum port and notifications of the election port (B§3.1, B§4.2).

#[cfg(test)]
mod golden;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::AclId;
use crate::{
    ids::{Sid, Zxid},
    jute::{self, Limits},
};

/// `Leader.*` packet numbers. Unknown ones are kept: both sides log and ignore them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PacketType(pub i32);

impl PacketType {
    pub const REQUEST: PacketType = PacketType(1);
    pub const PROPOSAL: PacketType = PacketType(2);
    pub const ACK: PacketType = PacketType(3);
    pub const COMMIT: PacketType = PacketType(4);
    pub const PING: PacketType = PacketType(5);
    pub const REVALIDATE: PacketType = PacketType(6);
    pub const SYNC: PacketType = PacketType(7);
    pub const INFORM: PacketType = PacketType(8);
    pub const COMMITANDACTIVATE: PacketType = PacketType(9);
    pub const NEWLEADER: PacketType = PacketType(10);
    pub const FOLLOWERINFO: PacketType = PacketType(11);
    pub const UPTODATE: PacketType = PacketType(12);
    pub const DIFF: PacketType = PacketType(13);
    pub const TRUNC: PacketType = PacketType(14);
    pub const SNAP: PacketType = PacketType(15);
    pub const OBSERVERINFO: PacketType = PacketType(16);
    pub const LEADERINFO: PacketType = PacketType(17);
    pub const ACKEPOCH: PacketType = PacketType(18);
    pub const INFORMANDACTIVATE: PacketType = PacketType(19);

    pub fn name(self) -> &'static str {
        const NAMES: [&str; 19] = [
            "REQUEST",
            "PROPOSAL",
            "ACK",
            "COMMIT",
            "PING",
            "REVALIDATE",
            "SYNC",
            "INFORM",
            "COMMITANDACTIVATE",
            "NEWLEADER",
            "FOLLOWERINFO",
            "UPTODATE",
            "DIFF",
            "TRUNC",
            "SNAP",
            "OBSERVERINFO",
            "LEADERINFO",
            "ACKEPOCH",
            "INFORMANDACTIVATE",
        ];
        usize::try_from(self.0.wrapping_sub(1)).ok().and_then(|n| NAMES.get(n)).copied().unwrap_or("UNKNOWN")
    }
}

/// One packet of the quorum port: `int type, long zxid, buffer data, vector<Id> authinfo`, without an outer length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumPacket {
    pub kind: PacketType,
    pub zxid: Zxid,
    pub data: Option<Bytes>,
    /// Identities of the client whose request is forwarded.
    pub auth: Option<Vec<AclId>>,
}

impl QuorumPacket {
    pub fn new(kind: PacketType, zxid: Zxid) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: None, auth: None }
    }

    pub fn with_data(kind: PacketType, zxid: Zxid, data: Bytes) -> QuorumPacket {
        QuorumPacket { kind, zxid, data: Some(data), auth: None }
    }

    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i32(self.kind.0);
        out.put_i64(self.zxid.0);
        jute::put_bytes(out, self.data.as_deref());
        match &self.auth {
            None => out.put_i32(-1),
            Some(ids) => {
                out.put_i32(ids.len() as i32);
                for id in ids {
                    jute::put_string(out, &id.scheme);
                    jute::put_string(out, &id.id);
                }
            }
        }
    }

    /// Takes one packet off the front of `buf`; `None` while its end has not come. Its data is a slice of `buf`.
    pub fn take(buf: &mut BytesMut, limits: Limits) -> Result<Option<QuorumPacket>, jute::Error> {
        let Some((head, data)) = measure(buf, limits)? else { return Ok(None) };
        let auth = match &buf[head + data.unwrap_or(0)..] {
            rest if rest[..4] == [0xff; 4] => (None, 4),
            rest => {
                let (ids, left) = match jute::take_from_bytes::<Vec<AclId>>(rest, limits) {
                    Ok(taken) => taken,
                    Err(jute::Error::Truncated { .. }) => {
                        // A count that announces more than any client has must not be waited for.
                        let count = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
                        if count < 0 || rest.len() > limits.max_field {
                            return Err(jute::Error::Length { length: count.into(), at: head });
                        }
                        return Ok(None);
                    }
                    Err(e) => return Err(e),
                };
                (Some(ids), rest.len() - left.len())
            }
        };
        let kind = PacketType(buf.get_i32());
        let zxid = Zxid(buf.get_i64());
        buf.advance(4);
        let data = data.map(|len| buf.split_to(len).freeze());
        buf.advance(auth.1);
        Ok(Some(QuorumPacket { kind, zxid, data, auth: auth.0 }))
    }
}

/// Length of the fixed head and of the data of the packet at the front, once both and the authinfo's count are there.
fn measure(buf: &[u8], limits: Limits) -> Result<Option<(usize, Option<usize>)>, jute::Error> {
    const HEAD: usize = 16;
    let Some(length) = buf.get(12..HEAD) else { return Ok(None) };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    let data = match length {
        -1 => None,
        n => Some(
            usize::try_from(n)
                .ok()
                .filter(|n| *n <= limits.max_field)
                .ok_or(jute::Error::Length { length: n.into(), at: 12 })?,
        ),
    };
    let whole = buf.len() >= HEAD + data.unwrap_or(0) + 4;
    Ok(whole.then_some((HEAD, data)))
}

/// What a learner says of itself in FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnerInfo {
    pub sid: Sid,
    pub protocol_version: i32,
    /// Of the committed configuration.
    pub config_version: i64,
}

impl LearnerInfo {
    /// The only one that 3.4 to 3.9 speak.
    pub const PROTOCOL_VERSION: i32 = 0x10000;

    /// Older peers send less: 8 bytes are a sid alone, 12 a sid and a version (`LearnerHandler.run`).
    pub fn decode(data: &[u8]) -> Option<LearnerInfo> {
        let mut data = data;
        let sid = Sid(data.try_get_i64().ok()?);
        let protocol_version = data.try_get_i32().unwrap_or(1);
        let config_version = data.try_get_i64().unwrap_or(0);
        Some(LearnerInfo { sid, protocol_version, config_version })
    }
}

/// `QuorumPeer.ServerState`, as notifications number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    Looking,
    Following,
    Leading,
    Observing,
}

impl ServerState {
    pub fn from_wire(number: i32) -> Option<ServerState> {
        use ServerState::*;
        [Looking, Following, Leading, Observing].get(usize::try_from(number).ok()?).copied()
    }

    pub fn to_wire(self) -> i32 {
        self as i32
    }
}

impl std::fmt::Display for ServerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ServerState::Looking => "LOOKING",
            ServerState::Following => "FOLLOWING",
            ServerState::Leading => "LEADING",
            ServerState::Observing => "OBSERVING",
        })
    }
}

/// Who is to lead, and why. The fields of an observer's own vote are `i64::MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    pub leader: Sid,
    /// The candidate's last logged zxid.
    pub zxid: Zxid,
    /// The election's round: Java's logicalclock, `electionEpoch` on the wire.
    pub round: i64,
    /// The candidate's current epoch.
    pub peer_epoch: i64,
}

/// A message of the election port, as a peer of any version sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub state: ServerState,
    pub vote: Vote,
    /// 0 for peers that send 28 or 40 bytes; 2 with a configuration.
    pub version: i32,
    /// The sender's configuration text; empty where its version has none.
    pub config: Bytes,
}

/// Why a message of the election port is dropped. 3.5.7's receiver thread dies of some of them (ZOOKEEPER-3769).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationError {
    #[error("it has {0} bytes, fewer than any version of ZooKeeper sends")]
    Short(usize),
    #[error("its {0} bytes end within a field")]
    Truncated(usize),
    #[error("it announces a configuration of {announced} bytes and brings {brought}")]
    Config { announced: i32, brought: usize },
    #[error("{0} is the number of no state")]
    UnknownState(i32),
}

impl Notification {
    /// The version that this server speaks, as every one from 3.5.0 on.
    pub const VERSION: i32 = 2;

    /// In the form of [`Notification::VERSION`], whatever version this one came in.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(44 + self.config.len());
        out.put_i32(self.state.to_wire());
        out.put_i64(self.vote.leader.0);
        out.put_i64(self.vote.zxid.0);
        out.put_i64(self.vote.round);
        out.put_i64(self.vote.peer_epoch);
        out.put_i32(Notification::VERSION);
        out.put_i32(self.config.len() as i32);
        out.put_slice(&self.config);
        out.freeze()
    }

    /// The forms of every version since 3.3 (B§4.2; `FastLeaderElection.WorkerReceiver`).
    pub fn decode(message: Bytes) -> Result<Notification, NotificationError> {
        use NotificationError::*;
        let whole = message.len();
        if whole < 28 {
            return Err(Short(whole));
        }
        let cut = |_| Truncated(whole);
        let mut rest = &message[..];
        let state = rest.try_get_i32().map_err(cut)?;
        let leader = Sid(rest.try_get_i64().map_err(cut)?);
        let zxid = Zxid(rest.try_get_i64().map_err(cut)?);
        let round = rest.try_get_i64().map_err(cut)?;
        let (peer_epoch, version) = match whole {
            28 => (zxid.0 >> 32, 0),
            // Java goes by the length: the version that such a message carries is not looked at.
            40 => (rest.try_get_i64().map_err(cut)?, 0),
            _ => (rest.try_get_i64().map_err(cut)?, rest.try_get_i32().map_err(cut)?),
        };
        let config = match version {
            ..=1 => Bytes::new(),
            _ => {
                let announced = rest.try_get_i32().map_err(cut)?;
                let brought = rest.len();
                let length = usize::try_from(announced).ok().filter(|length| *length <= brought);
                let length = length.ok_or(Config { announced, brought })?;
                message.slice_ref(&rest[..length])
            }
        };
        let state = ServerState::from_wire(state).ok_or(UnknownState(state))?;
        let vote = Vote { leader, zxid, round, peer_epoch };
        Ok(Notification { state, vote, version, config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// state, leader, zxid, round, peer epoch: LEADING, 3, 0x2_0000_0007, 5, 2.
    const BODY: [u8; 36] = [
        0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0,
        0, 2,
    ];

    fn vote() -> Vote {
        Vote { leader: Sid(3), zxid: Zxid(0x2_0000_0007), round: 5, peer_epoch: 2 }
    }

    fn message(tail: &[u8]) -> Bytes {
        [&BODY[..], tail].concat().into()
    }

    /// B§14 #34: 40 bytes are version 0, whatever they say.
    #[test]
    fn every_version_is_understood_by_its_length() {
        let config = Bytes::from_static(b"version=0");
        let with =
            |version, config| Notification { state: ServerState::Leading, vote: vote(), version, config };
        let v2 = message(b"\0\0\0\x02\0\0\0\x09version=0");
        assert_eq!(Notification::decode(v2.clone()), Ok(with(2, config.clone())));
        assert_eq!(with(2, config.clone()).encode(), v2);
        // The peer epoch is in the zxid.
        assert_eq!(Notification::decode(Bytes::copy_from_slice(&BODY[..28])), Ok(with(0, Bytes::new())));
        // Java looks at the length alone, so version 1 counts as 0.
        assert_eq!(Notification::decode(message(b"\0\0\0\x01")), Ok(with(0, Bytes::new())));
        assert_eq!(Notification::decode(message(b"\0\0\0\x01ignored")), Ok(with(1, Bytes::new())));
        assert_eq!(Notification::decode(message(b"\0\0\0\x03\0\0\0\x09version=0more")), Ok(with(3, config)));
    }

    #[test]
    fn a_message_from_java() {
        // What a 3.5.7 server 1 that follows server 2 answered (B§4.2): state, leader, zxid, round, peer epoch, version, length.
        let mut wire = BytesMut::new();
        wire.put_i32(1);
        [2i64, 0, 1, 1].into_iter().for_each(|field| wire.put_i64(field));
        wire.put_i32(2);
        wire.put_i32(146);
        wire.put_bytes(b'x', 146);
        let n = Notification::decode(wire.freeze()).unwrap();
        assert_eq!(n.state, ServerState::Following);
        assert_eq!(n.vote, Vote { leader: Sid(2), zxid: Zxid(0), round: 1, peer_epoch: 1 });
        assert_eq!((n.version, n.config.len()), (2, 146));
    }

    /// B§14 #34.
    #[test]
    fn what_would_kill_the_receiver_of_java_is_refused() {
        use NotificationError::*;
        let cases: [(Bytes, NotificationError); 8] = [
            (Bytes::new(), Short(0)),
            (Bytes::copy_from_slice(&BODY[..27]), Short(27)),
            (Bytes::copy_from_slice(&BODY[..29]), Truncated(29)),
            (message(b"\0\0\0"), Truncated(39)),
            (message(b"\0\0\0\x02\0\0\0"), Truncated(43)),
            (message(b"\0\0\0\x02\0\0\0\x02v"), Config { announced: 2, brought: 1 }),
            (message(b"\0\0\0\x02\xff\xff\xff\xffv"), Config { announced: -1, brought: 1 }),
            (message(b"\0\0\0\x02\x7f\xff\xff\xff"), Config { announced: i32::MAX, brought: 0 }),
        ];
        for (bytes, error) in cases {
            assert_eq!(Notification::decode(bytes), Err(error));
        }
        for state in [-1, 4, i32::MAX, i32::MIN] {
            let mut bytes = BODY.to_vec();
            bytes[..4].copy_from_slice(&state.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 0]);
            assert_eq!(Notification::decode(bytes.into()), Err(UnknownState(state)));
        }
    }
}
