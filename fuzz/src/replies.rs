//! Replies as a client reads them.

use ferrokeeper::{
    jute::{self, Limits, Ustring},
    proto::{
        Acl, OpCode, Stat,
        client::{MultiHeader, ReplyHeader},
    },
};
use serde::Deserialize;
use serde_bytes::ByteBuf;

/// Panics unless `out` is whole frames with the bodies that replies to `op` have, events in front; returns how many.
pub fn check(mut out: &[u8], op: OpCode) -> u64 {
    let mut frames = 0;
    while let Some((word, rest)) = out.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*word)).expect("a length");
        let (frame, rest) = rest.split_at(length);
        let (header, body): (ReplyHeader, _) = take(frame);
        let rest_of_body = match header {
            ReplyHeader { xid: -1, zxid, .. } if zxid.0 == -1 => take::<(i32, i32, Ustring<'_>)>(body).1,
            ReplyHeader { err: 0, .. } => check_body(body, op),
            _ if matches!(op, OpCode::MULTI | OpCode::MULTI_READ) && !body.is_empty() => check_multi(body),
            _ => body,
        };
        assert!(rest_of_body.is_empty(), "{op:?}: {} bytes too many", rest_of_body.len());
        frames += 1;
        out = rest;
    }
    assert!(out.is_empty());
    frames
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> (T, &'a [u8]) {
    jute::take_from_bytes(bytes, Limits::default()).expect("a client could not read this")
}

fn check_body(body: &[u8], op: OpCode) -> &[u8] {
    match op {
        OpCode::GET_DATA => take::<(Option<ByteBuf>, Stat)>(body).1,
        OpCode::EXISTS | OpCode::SET_DATA | OpCode::SET_ACL => take::<Stat>(body).1,
        OpCode::GET_CHILDREN | OpCode::GET_EPHEMERALS => take::<Vec<Ustring<'_>>>(body).1,
        OpCode::GET_CHILDREN2 => take::<(Vec<Ustring<'_>>, Stat)>(body).1,
        OpCode::GET_ACL => take::<(Vec<Acl>, Stat)>(body).1,
        OpCode::SYNC => take::<Option<Ustring<'_>>>(body).1,
        OpCode::CREATE => take::<Ustring<'_>>(body).1,
        OpCode::CREATE2 | OpCode::CREATE_CONTAINER | OpCode::CREATE_TTL => {
            take::<(Ustring<'_>, Stat)>(body).1
        }
        OpCode::GET_ALL_CHILDREN_NUMBER | OpCode::ADD_WATCH => take::<i32>(body).1,
        OpCode::WHO_AM_I => take::<Vec<(Ustring<'_>, Ustring<'_>)>>(body).1,
        OpCode::MULTI | OpCode::MULTI_READ => check_multi(body),
        _ => body,
    }
}

fn check_multi(mut body: &[u8]) -> &[u8] {
    loop {
        let (header, rest): (MultiHeader, _) = take(body);
        let op = OpCode(header.kind);
        body = match op {
            _ if header.done => return rest,
            OpCode::ERROR => take::<i32>(rest).1,
            _ => check_body(rest, op),
        };
    }
}
