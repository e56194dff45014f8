//! `org.apache.zookeeper.data`: Stat, StatPersisted, ACL, Id.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{SessionId, Zxid},
    jute::Ustring,
};

/// What clients see of a znode (68 bytes; B§1.5). `cversion` and `ephemeral_owner` are the client's view (B§2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: SessionId,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: Zxid,
}

/// What a snapshot keeps of a znode (60 bytes; B§6.4). `cversion` is the number of creates under it and
/// `ephemeral_owner` the raw value of B§2.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatPersisted {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub pzxid: Zxid,
}

/// An ACL entry as it stands on the wire, where scheme and id may be null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireAcl<'a> {
    pub perms: i32,
    #[serde(borrow)]
    pub scheme: Option<Ustring<'a>>,
    #[serde(borrow)]
    pub id: Option<Ustring<'a>>,
}

/// An authentication identity: `scheme:id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclId {
    pub scheme: String,
    pub id: String,
}

impl AclId {
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> AclId {
        AclId { scheme: scheme.into(), id: id.into() }
    }
}

/// An ACL entry after fix-up, as txns and snapshots hold it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acl {
    pub perms: i32,
    pub id: AclId,
}

impl Acl {
    pub fn new(perms: i32, scheme: impl Into<String>, id: impl Into<String>) -> Acl {
        Acl { perms, id: AclId::new(scheme, id) }
    }
}

/// Permission bits (`ZooDefs.Perms`).
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// A null string of an id in a file reads as empty: no txn of a healthy server holds one.
impl From<WireAcl<'_>> for Acl {
    fn from(wire: WireAcl<'_>) -> Acl {
        let text = |t: Option<Ustring<'_>>| t.map(Ustring::into_owned).unwrap_or_default();
        Acl { perms: wire.perms, id: AclId { scheme: text(wire.scheme), id: text(wire.id) } }
    }
}
