//! Requests, replies and events of the client port (`org.apache.zookeeper.proto`; B§1.3–1.5, B§12.1).

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Buf;

use super::{
    ErrorCode, OpCode,
    data::{Acl, Stat, WireAcl},
};
use crate::{
    ids::{SessionId, Zxid},
    jute::{self, Limits, Ustring},
};

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectRequest<'a> {
    pub protocol_version: i32,
    pub last_zxid_seen: Zxid,
    pub timeout_ms: i32,
    pub session: SessionId,
    #[serde(borrow)]
    pub passwd: Option<&'a Buf>,
}

impl<'a> ConnectRequest<'a> {
    /// The request and its `readOnly` flag; `None` for a client too old to send one (3.3 and older), whose reply must
    /// not carry it either.
    pub fn decode(frame: &'a [u8], limits: Limits) -> Result<(Self, Option<bool>), jute::Error> {
        let (request, rest) = jute::take_from_bytes(frame, limits)?;
        Ok((request, rest.first().map(|byte| *byte != 0)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectResponse<'a> {
    pub protocol_version: i32,
    pub timeout_ms: i32,
    pub session: SessionId,
    #[serde(borrow)]
    pub passwd: &'a Buf,
}

/// Appends the handshake's reply. `session` is `NONE` for one that is refused. A client that sent no `readOnly` flag gets
/// none (`cnxn.isOldClient`).
pub fn put_connect_response(
    out: &mut BytesMut,
    session: SessionId,
    timeout_ms: i32,
    passwd: &[u8; 16],
    with_read_only: bool,
) {
    put_frame(out, |out| {
        jute::put(
            out,
            &ConnectResponse { protocol_version: 0, timeout_ms, session, passwd: Buf::new(passwd) },
        );
        if with_read_only {
            jute::put(out, &false);
        }
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHeader {
    pub xid: i32,
    pub op: i32,
}

impl RequestHeader {
    pub const LEN: usize = 8;

    pub fn op(&self) -> OpCode {
        OpCode(self.op)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: Zxid,
    pub err: i32,
}

/// Ops 1, 15 and 19.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    #[serde(borrow)]
    pub acl: Option<Vec<WireAcl<'a>>>,
    pub flags: i32,
}

/// Op 21.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTtlRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    #[serde(borrow)]
    pub acl: Option<Vec<WireAcl<'a>>>,
    pub flags: i32,
    pub ttl: i64,
}

/// Op 2, and 13 inside a multi.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathVersionRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    pub version: i32,
}

/// Op 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDataRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    pub version: i32,
}

/// Op 7.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAclRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub acl: Option<Vec<WireAcl<'a>>>,
    pub version: i32,
}

/// Ops 3, 4, 8 and 12.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    pub watch: bool,
}

/// Ops 6, 9, 103 and 104.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
}

/// Ops 17 and 18 (`kind` is a watcher type), and 106 (`kind` is an add-watch mode).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest<'a> {
    #[serde(borrow)]
    pub path: Option<Ustring<'a>>,
    pub kind: i32,
}

/// Op 16.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconfigRequest<'a> {
    #[serde(borrow)]
    pub joining: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub leaving: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub new_members: Option<Ustring<'a>>,
    pub config_id: i64,
}

/// Op 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthPacket<'a> {
    pub kind: i32,
    #[serde(borrow)]
    pub scheme: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub auth: Option<&'a Buf>,
}

/// Stands before each op of a multi request and each result of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiHeader {
    pub kind: i32,
    pub done: bool,
    pub err: i32,
}

impl MultiHeader {
    pub const END: MultiHeader = MultiHeader { kind: -1, done: true, err: -1 };
}

/// `ZooDefs`/`CreateMode` flags (B§2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    Persistent,
    Ephemeral,
    PersistentSequential,
    EphemeralSequential,
    Container,
    Ttl,
    SequentialTtl,
}

impl CreateMode {
    pub fn from_flag(flag: i32) -> Option<CreateMode> {
        Some(match flag {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::Ttl,
            6 => CreateMode::SequentialTtl,
            _ => return None,
        })
    }
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }
    pub fn is_sequential(self) -> bool {
        use CreateMode::*;
        matches!(self, PersistentSequential | EphemeralSequential | SequentialTtl)
    }
    pub fn is_ttl(self) -> bool {
        matches!(self, CreateMode::Ttl | CreateMode::SequentialTtl)
    }
}

/// `Watcher.Event.EventType` numbers that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum EventType {
    NodeCreated = 1,
    NodeDeleted = 2,
    NodeDataChanged = 3,
    NodeChildrenChanged = 4,
}

/// Appends a frame that `body` fills: the length word is set when it is done.
#[inline]
pub fn put_frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_i32(0);
    body(out);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a reply frame: header and whatever `body` writes.
#[inline]
pub fn put_reply(out: &mut BytesMut, xid: i32, zxid: Zxid, err: ErrorCode, body: impl FnOnce(&mut BytesMut)) {
    put_frame(out, |out| {
        jute::put(out, &ReplyHeader { xid, zxid, err: err.0 });
        body(out);
    });
}

/// Appends a watch event frame: xid −1, zxid −1, state always SyncConnected (B§2.9).
pub fn put_event(out: &mut BytesMut, kind: EventType, path: &str) {
    const SYNC_CONNECTED: i32 = 3;
    put_reply(out, super::op::xid::NOTIFICATION, Zxid(-1), ErrorCode::OK, |out| {
        out.put_i32(kind as i32);
        out.put_i32(SYNC_CONNECTED);
        jute::put_string(out, path);
    });
}

/// Body of getACL.
pub fn put_acl_and_stat(out: &mut BytesMut, acl: &[Acl], stat: &Stat) {
    jute::put(out, acl);
    jute::put(out, stat);
}
