//! What servers say to each other: packets of the quorum port and notifications of the election port (B§3.1, B§4.2).

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
            "REQUEST", "PROPOSAL", "ACK", "COMMIT", "PING", "REVALIDATE", "SYNC", "INFORM", "COMMITANDACTIVATE",
            "NEWLEADER", "FOLLOWERINFO", "UPTODATE", "DIFF", "TRUNC", "SNAP", "OBSERVERINFO", "LEADERINFO", "ACKEPOCH",
            "INFORMANDACTIVATE",
        ];
        usize::try_from(self.0 - 1).ok().and_then(|n| NAMES.get(n)).copied().unwrap_or("UNKNOWN")
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
