//! The codec against bytes of the real thing: a session of ZooKeeper 3.5.7's own client with its own server, every frame
//! of both directions, and the txn log that came of it.

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::{
    OpCode, Stat,
    client::*,
    txn::{self, Txn, TxnHeader},
};
use crate::{
    ids::Zxid,
    jute::{self, Limits, Ustring},
};

const FRAMES: &str = include_str!("testdata/client-session-3.5.7.txt");
const LOG: &[u8] = include_bytes!("testdata/client-session-3.5.7.log");

fn frames(direction: &str) -> Vec<Vec<u8>> {
    let lines = FRAMES.lines().filter_map(|line| line.split_once(' ')).filter(|(d, _)| *d == direction);
    lines
        .map(|(_, hex)| {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        })
        .collect()
}

/// Decodes `bytes` as `T` and wants exactly the same bytes back.
fn round_trip<'a, T: Deserialize<'a> + Serialize + std::fmt::Debug>(bytes: &'a [u8]) -> T {
    let (value, rest): (T, _) = jute::take_from_bytes(bytes, Limits::default()).unwrap();
    assert!(rest.is_empty(), "{value:?} leaves {} bytes", rest.len());
    let mut out = BytesMut::new();
    jute::put(&mut out, &value);
    assert_eq!(&out[..], bytes, "{value:?}");
    value
}

#[test]
fn requests_of_the_java_client() {
    let frames = frames(">");
    let (connect, read_only) = ConnectRequest::decode(&frames[0], Limits::default()).unwrap();
    assert_eq!((connect.timeout_ms, read_only), (30_000, Some(false)));
    let mut seen = Vec::new();
    for frame in &frames[1..] {
        let header: RequestHeader = round_trip(&frame[..RequestHeader::LEN]);
        let body = &frame[RequestHeader::LEN..];
        seen.push(header.op());
        match header.op() {
            OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
                drop(round_trip::<CreateRequest<'_>>(body))
            }
            OpCode::CREATE_TTL => assert_eq!(round_trip::<CreateTtlRequest<'_>>(body).ttl, 5000),
            OpCode::DELETE => drop(round_trip::<PathVersionRequest<'_>>(body)),
            OpCode::SET_DATA => assert_eq!(&**round_trip::<SetDataRequest<'_>>(body).data.unwrap(), b"world"),
            OpCode::SET_ACL => {
                let acl = round_trip::<SetAclRequest<'_>>(body).acl.unwrap();
                assert_eq!(acl[1].id, Some(Ustring::from("127.0.0.1")));
            }
            OpCode::EXISTS | OpCode::GET_DATA | OpCode::GET_CHILDREN2 => {
                assert!(round_trip::<ReadRequest<'_>>(body).watch)
            }
            OpCode::GET_ACL | OpCode::SYNC => drop(round_trip::<PathRequest<'_>>(body)),
            OpCode::AUTH => {
                assert_eq!(round_trip::<AuthPacket<'_>>(body).scheme, Some(Ustring::from("digest")))
            }
            OpCode::REMOVE_WATCHES => assert_eq!(round_trip::<WatchRequest<'_>>(body).kind, 1),
            OpCode::CLOSE_SESSION => assert!(body.is_empty()),
            other => panic!("{other:?} was not expected"),
        }
    }
    for op in [OpCode::CREATE, OpCode::CREATE_CONTAINER, OpCode::CREATE_TTL, OpCode::SET_ACL, OpCode::AUTH] {
        assert!(seen.contains(&op), "the capture has no {op:?}");
    }
}

#[test]
fn replies_of_the_java_server() {
    let frames = frames("<");
    assert_eq!(frames[0].len(), 37, "with the readOnly flag");
    let response: ConnectResponse<'_> = round_trip(&frames[0][..36]);
    assert_eq!((response.timeout_ms, response.passwd.len()), (30_000, 16));

    let reply = |xid: i32| {
        let frame = frames[1..].iter().find(|f| f[..4] == xid.to_be_bytes()).unwrap();
        (round_trip::<ReplyHeader>(&frame[..16]), &frame[16..])
    };
    let (header, body) = reply(1);
    assert_eq!((header.zxid, header.err), (Zxid(2), 0));
    assert_eq!(&*round_trip::<Ustring<'_>>(body), "/a");
    let (_, body) = reply(6);
    let stat: Stat = round_trip(body);
    assert_eq!((stat.czxid, stat.data_length, stat.num_children), (Zxid(2), 5, 1));
    let (header, body) = reply(14);
    assert_eq!((header.err, body.len()), (-101, 0));
    let (_, body) = reply(-1);
    assert_eq!(body, b"\0\0\0\x03\0\0\0\x03\0\0\0\x02/a");
}

/// Checksums and framing are storage's business; this reads through them.
#[test]
fn txns_of_the_java_log() {
    let mut at = 16;
    let mut kinds = Vec::new();
    while at + 12 < LOG.len() {
        let length = i32::from_be_bytes(LOG[at + 8..at + 12].try_into().unwrap()) as usize;
        let bytes = &LOG[at + 12..at + 12 + length];
        let (header, record) = txn::split_header(bytes, Limits::default()).unwrap();
        let txn = Txn::decode(header.kind, record, Limits::default()).unwrap();
        let mut out = BytesMut::new();
        txn::encode(&header, &txn, &mut out);
        assert_eq!(&out[..], bytes, "{header:?} {txn:?}");
        assert_eq!(bytes.len() - record.len(), TxnHeader::LEN);
        kinds.push(header.op());
        at += 12 + length + 1;
    }
    use OpCode as O;
    assert_eq!(
        kinds,
        [
            O::CREATE_SESSION,
            O::CREATE,
            O::CREATE,
            O::CREATE_CONTAINER,
            O::CREATE_TTL,
            O::SET_DATA,
            O::SET_ACL,
            O::DELETE,
            O::ERROR,
            O::ERROR,
            O::CLOSE_SESSION
        ]
    );
}
