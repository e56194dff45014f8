//! What the log, proposals and replay carry: a header and one record (`org.apache.zookeeper.txn`; B§6.3).
//!
//! A txn is encoded once, when it is prepared, and travels as opaque bytes from there on; bytes behind the record
//! (3.6+ digests, 3.6+ closeSession paths) are kept by whoever relogs it and ignored by whoever applies it.

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use serde_bytes::Bytes as Buf;

use super::{
    OpCode,
    data::{Acl, WireAcl},
};
use crate::{
    ids::{SessionId, Zxid},
    jute::{self, Limits, Ustring},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnHeader {
    pub session: SessionId,
    pub cxid: i32,
    pub zxid: Zxid,
    /// Wall clock of the server that prepared the txn, ms since 1970.
    pub time: i64,
    /// [`OpCode`] number; `OpCode::ERROR` for a request that failed.
    pub kind: i32,
}

impl TxnHeader {
    /// Encoded length.
    pub const LEN: usize = 32;

    pub fn op(&self) -> OpCode {
        OpCode(self.kind)
    }
}

/// Types 1 and 15.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    #[serde(with = "acls")]
    pub acl: Vec<Acl>,
    pub ephemeral: bool,
    /// The parent's new internal cversion; −1 where an old log does not say (CreateTxnV0).
    pub parent_cversion: i32,
}

/// Type 1 as 3.4 and older wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CreateTxnV0<'a> {
    #[serde(borrow)]
    path: Ustring<'a>,
    #[serde(borrow)]
    data: Option<&'a Buf>,
    #[serde(with = "acls")]
    acl: Vec<Acl>,
    ephemeral: bool,
}

/// Type 19.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainerTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    #[serde(with = "acls")]
    pub acl: Vec<Acl>,
    pub parent_cversion: i32,
}

/// Type 21.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTtlTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    #[serde(with = "acls")]
    pub acl: Vec<Acl>,
    pub parent_cversion: i32,
    pub ttl: i64,
}

/// Types 2 and 20.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
}

/// Types 5 and 16; `version` is the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDataTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    #[serde(borrow)]
    pub data: Option<&'a Buf>,
    pub version: i32,
}

/// Type 7; `version` is the new aversion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAclTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    #[serde(with = "acls")]
    pub acl: Vec<Acl>,
    pub version: i32,
}

/// Sub-type 13 of a multi; never a txn of its own (ZOOKEEPER-2623).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckVersionTxn<'a> {
    #[serde(borrow)]
    pub path: Ustring<'a>,
    pub version: i32,
}

/// Type −10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSessionTxn {
    pub timeout_ms: i32,
}

/// Type −1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorTxn {
    pub err: i32,
}

/// One op inside a multi, its record still encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTxn<'a> {
    pub kind: i32,
    #[serde(borrow)]
    pub record: &'a Buf,
}

/// Type 14.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiTxn<'a> {
    #[serde(borrow)]
    pub ops: Vec<SubTxn<'a>>,
}

/// The record of a txn, by the type in its header or sub-header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    Create(CreateTxn<'a>),
    CreateContainer(CreateContainerTxn<'a>),
    CreateTtl(CreateTtlTxn<'a>),
    Delete(DeleteTxn<'a>),
    SetData(SetDataTxn<'a>),
    SetAcl(SetAclTxn<'a>),
    Check(CheckVersionTxn<'a>),
    CreateSession(CreateSessionTxn),
    CloseSession,
    Error(ErrorTxn),
    Multi(MultiTxn<'a>),
}

/// Why a txn cannot be read. Fatal in a log: a txn that cannot be read cannot be skipped (`SerializeUtils`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxnError {
    #[error("Unsupported Txn with type={0}")]
    UnknownType(i32),
    #[error("txn of type {kind} is malformed: {source}")]
    Malformed { kind: i32, source: jute::Error },
}

impl<'a> Txn<'a> {
    /// Decodes the record of a txn of type `kind`; trailing bytes are ignored.
    pub fn decode(kind: i32, record: &'a [u8], limits: Limits) -> Result<Txn<'a>, TxnError> {
        let malformed = |source| TxnError::Malformed { kind, source };
        Ok(match OpCode(kind) {
            OpCode::CREATE | OpCode::CREATE2 => {
                Txn::Create(decode_create(record, limits).map_err(malformed)?)
            }
            OpCode::CREATE_CONTAINER => {
                Txn::CreateContainer(jute::from_bytes(record, limits).map_err(malformed)?)
            }
            OpCode::CREATE_TTL => Txn::CreateTtl(jute::from_bytes(record, limits).map_err(malformed)?),
            OpCode::DELETE | OpCode::DELETE_CONTAINER => {
                Txn::Delete(jute::from_bytes(record, limits).map_err(malformed)?)
            }
            OpCode::SET_DATA | OpCode::RECONFIG => {
                Txn::SetData(jute::from_bytes(record, limits).map_err(malformed)?)
            }
            OpCode::SET_ACL => Txn::SetAcl(jute::from_bytes(record, limits).map_err(malformed)?),
            OpCode::CREATE_SESSION => {
                Txn::CreateSession(jute::from_bytes(record, limits).map_err(malformed)?)
            }
            OpCode::CLOSE_SESSION => Txn::CloseSession,
            OpCode::ERROR => Txn::Error(jute::from_bytes(record, limits).map_err(malformed)?),
            OpCode::MULTI => Txn::Multi(jute::from_bytes(record, limits).map_err(malformed)?),
            _ => return Err(TxnError::UnknownType(kind)),
        })
    }

    /// Decodes one op of a multi, where `check` is allowed and a multi is not.
    pub fn decode_sub(sub: &SubTxn<'a>, limits: Limits) -> Result<Txn<'a>, TxnError> {
        match OpCode(sub.kind) {
            OpCode::CHECK => jute::from_bytes(sub.record, limits)
                .map(Txn::Check)
                .map_err(|source| TxnError::Malformed { kind: sub.kind, source }),
            OpCode::MULTI | OpCode::CREATE_SESSION | OpCode::CLOSE_SESSION | OpCode::SET_ACL => {
                Err(TxnError::UnknownType(sub.kind))
            }
            _ => Txn::decode(sub.kind, sub.record, limits),
        }
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Txn::Create(t) => jute::put(out, t),
            Txn::CreateContainer(t) => jute::put(out, t),
            Txn::CreateTtl(t) => jute::put(out, t),
            Txn::Delete(t) => jute::put(out, t),
            Txn::SetData(t) => jute::put(out, t),
            Txn::SetAcl(t) => jute::put(out, t),
            Txn::Check(t) => jute::put(out, t),
            Txn::CreateSession(t) => jute::put(out, t),
            Txn::CloseSession => {}
            Txn::Error(t) => jute::put(out, t),
            Txn::Multi(t) => jute::put(out, t),
        }
    }
}

/// Splits the bytes of a txn into its header and its still encoded record.
pub fn split_header(bytes: &[u8], limits: Limits) -> Result<(TxnHeader, &[u8]), jute::Error> {
    jute::take_from_bytes(bytes, limits)
}

/// Appends header and record.
pub fn encode(header: &TxnHeader, txn: &Txn<'_>, out: &mut BytesMut) {
    jute::put(out, header);
    txn.encode(out);
}

/// Appends one sub-txn of a multi: type, then the record behind its length.
pub fn encode_sub(kind: OpCode, txn: &Txn<'_>, out: &mut BytesMut) {
    out.put_i32(kind.0);
    let at = out.len();
    out.put_i32(0);
    txn.encode(out);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn decode_create(record: &[u8], limits: Limits) -> Result<CreateTxn<'_>, jute::Error> {
    jute::from_bytes(record, limits).or_else(|newer| {
        let old: CreateTxnV0<'_> = jute::from_bytes(record, limits).map_err(|_| newer)?;
        Ok(CreateTxn {
            path: old.path,
            data: old.data,
            acl: old.acl,
            ephemeral: old.ephemeral,
            parent_cversion: -1,
        })
    })
}

/// ACL vectors of txns: null strings are read as Java wrote them in some old logs, and never written.
mod acls {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Acl, WireAcl};

    pub fn serialize<S: Serializer>(acl: &Vec<Acl>, serializer: S) -> Result<S::Ok, S::Error> {
        acl.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Acl>, D::Error> {
        Ok(Vec::<WireAcl<'de>>::deserialize(deserializer)?.into_iter().map(Acl::from).collect())
    }
}
