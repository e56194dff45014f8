//! Request types (`ZooDefs.OpCode`; B§1.5, B§12.1). An unknown number is kept, so that a message can name it.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpCode(pub i32);

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $java:literal;)*) => {
        impl OpCode {
            $($(#[$doc])* pub const $name: OpCode = OpCode($value);)*

            /// Java's name of the op, as `Request.op2String` and the log tools print it.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(OpCode::$name => Some($java),)*
                    _ => None,
                }
            }
        }
    };
}

ops! {
    NOTIFICATION = 0, "notification";
    CREATE = 1, "create";
    DELETE = 2, "delete";
    EXISTS = 3, "exists";
    GET_DATA = 4, "getData";
    SET_DATA = 5, "setData";
    GET_ACL = 6, "getACL";
    SET_ACL = 7, "setACL";
    GET_CHILDREN = 8, "getChildren";
    SYNC = 9, "sync";
    PING = 11, "ping";
    GET_CHILDREN2 = 12, "getChildren2";
    CHECK = 13, "check";
    MULTI = 14, "multi";
    CREATE2 = 15, "create2";
    RECONFIG = 16, "reconfig";
    CHECK_WATCHES = 17, "checkWatches";
    REMOVE_WATCHES = 18, "removeWatches";
    CREATE_CONTAINER = 19, "createContainer";
    DELETE_CONTAINER = 20, "deleteContainer";
    CREATE_TTL = 21, "createTtl";
    /// 3.6+, answered without a txn; see `Settings::modern_client_ops`.
    MULTI_READ = 22, "multiRead";
    AUTH = 100, "auth";
    SET_WATCHES = 101, "setWatches";
    SASL = 102, "sasl";
    /// 3.6+
    GET_EPHEMERALS = 103, "getEphemerals";
    /// 3.6+
    GET_ALL_CHILDREN_NUMBER = 104, "getAllChildrenNumber";
    /// 3.6+
    SET_WATCHES2 = 105, "setWatches2";
    /// 3.6+
    ADD_WATCH = 106, "addWatch";
    /// 3.7+
    WHO_AM_I = 107, "whoAmI";
    CREATE_SESSION = -10, "createSession";
    CLOSE_SESSION = -11, "closeSession";
    ERROR = -1, "error";
}

impl fmt::Debug for OpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "op {}", self.0),
        }
    }
}

/// Reserved xids (B§1.4).
pub mod xid {
    pub const NOTIFICATION: i32 = -1;
    pub const PING: i32 = -2;
    pub const AUTH: i32 = -4;
    pub const SET_WATCHES: i32 = -8;
}
