//! Replies to writes, encoded when the txn is applied (`FinalRequestProcessor`).

use bytes::BytesMut;

use super::read::put_multi_error;
use crate::{
    db::{Effect, Outcome},
    ids::Zxid,
    jute,
    proto::{
        ErrorCode, OpCode,
        client::{MultiHeader, put_reply},
    },
};

/// Appends the reply to a write of type `op` whose txn had this outcome. `zxid` is what the state includes now.
pub fn write(out: &mut BytesMut, op: OpCode, xid: i32, zxid: Zxid, outcome: &Outcome<'_>) {
    // A failed multi is a success with errors inside; one that could not be prepared has no results (B§2.8).
    if let Effect::Multi(results) = &outcome.effect {
        return put_reply(out, xid, zxid, ErrorCode::OK, |out| put_results(out, results));
    }
    put_reply(out, xid, zxid, outcome.err, |out| match (&outcome.effect, op) {
        (Effect::Created { path, .. }, OpCode::CREATE) => jute::put(out, path),
        (Effect::Created { path, stat }, _) => {
            jute::put(out, path);
            jute::put(out, stat);
        }
        (Effect::Changed(stat), _) => jute::put(out, stat),
        (Effect::None | Effect::Multi(_), _) => {}
    });
}

/// Appends the reply to a write that led to no txn.
pub fn refusal(out: &mut BytesMut, xid: i32, zxid: Zxid, err: ErrorCode, empty_multi: bool) {
    put_reply(out, xid, zxid, err, |out| {
        if empty_multi {
            jute::put(out, &MultiHeader::END);
        }
    });
}

fn put_results(out: &mut BytesMut, results: &[(OpCode, Outcome<'_>)]) {
    for (kind, result) in results {
        if *kind == OpCode::ERROR {
            put_multi_error(out, result.err);
            continue;
        }
        // Containers and TTL nodes are answered as create2 (B§2.8).
        let shown = match *kind {
            OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => OpCode::CREATE2,
            other => other,
        };
        jute::put(out, &MultiHeader { kind: shown.0, done: false, err: 0 });
        match &result.effect {
            Effect::Created { path, .. } if *kind == OpCode::CREATE => jute::put(out, path),
            Effect::Created { path, stat } => {
                jute::put(out, path);
                jute::put(out, stat);
            }
            Effect::Changed(stat) => jute::put(out, stat),
            Effect::None | Effect::Multi(_) => {}
        }
    }
    jute::put(out, &MultiHeader::END);
}
