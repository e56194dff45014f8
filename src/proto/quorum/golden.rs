//! Packets of the quorum port against bytes of Java 3.5.7, and streams of them however they are cut.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::jute::put;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Both ways, and `take` leaves nothing.
fn check(hex: &str, packet: &QuorumPacket) {
    let mut out = BytesMut::new();
    packet.encode(&mut out);
    assert_eq!(out[..], bytes(hex), "{packet:?}");
    assert_eq!(QuorumPacket::take(&mut out, Limits::default()), Ok(Some(packet.clone())));
    assert!(out.is_empty());
}

/// B§3.1, B§3.8: captured.
#[test]
fn packets_of_java() {
    check("0000000c ffffffffffffffff ffffffff ffffffff", &QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));

    let info = LearnerInfo { sid: Sid(10), protocol_version: 0x10000, config_version: 0 };
    let mut data = BytesMut::new();
    put(&mut data, &info);
    assert_eq!(LearnerInfo::decode(&data), Some(info));
    check(
        "00000010 0000000000000000 00000014 000000000000000a 00010000 0000000000000000 ffffffff",
        &QuorumPacket::with_data(PacketType::OBSERVERINFO, Zxid(0), data.freeze()),
    );

    let session = 0x0100_1234_5678_9abc_i64;
    let mut data = BytesMut::new();
    data.put_i64(session);
    data.put_u8(1);
    check(
        "00000006 ffffffffffffffff 00000009 0100123456789abc 01 ffffffff",
        &QuorumPacket::with_data(PacketType::REVALIDATE, Zxid(-1), data.freeze()),
    );
}

/// What the layout says where nothing was captured (zookeeper.jute, `QuorumPacket`): null and empty are not the same.
#[test]
fn identities_and_empty_buffers() {
    let auth = vec![AclId::new("ip", "127.0.0.1"), AclId::new("digest", "")];
    let data = Some(Bytes::from_static(b"\x01"));
    check(
        "00000001 ffffffffffffffff 00000001 01 00000002
         00000002 6970 00000009 3132372e302e302e31 00000006 646967657374 00000000",
        &QuorumPacket { kind: PacketType::REQUEST, zxid: Zxid(-1), data, auth: Some(auth) },
    );
    let ping = QuorumPacket::with_data(PacketType::PING, Zxid(0x2_0000_0003), Bytes::new());
    check("00000005 0000000200000003 00000000 ffffffff", &ping);
    check("00000005 0000000200000003 00000000 00000000", &QuorumPacket { auth: Some(vec![]), ..ping });
}

/// B§3.1.
#[test]
fn numbers_and_names() {
    for (number, kind, name) in [
        (1, PacketType::REQUEST, "REQUEST"),
        (4, PacketType::COMMIT, "COMMIT"),
        (9, PacketType::COMMITANDACTIVATE, "COMMITANDACTIVATE"),
        (10, PacketType::NEWLEADER, "NEWLEADER"),
        (13, PacketType::DIFF, "DIFF"),
        (14, PacketType::TRUNC, "TRUNC"),
        (15, PacketType::SNAP, "SNAP"),
        (18, PacketType::ACKEPOCH, "ACKEPOCH"),
        (19, PacketType::INFORMANDACTIVATE, "INFORMANDACTIVATE"),
        (0, PacketType(0), "UNKNOWN"),
        (20, PacketType(20), "UNKNOWN"),
        (i32::MIN, PacketType(i32::MIN), "UNKNOWN"),
    ] {
        assert_eq!((kind.0, kind.name()), (number, name));
    }
}

/// `LearnerHandler.run` goes by the length.
#[test]
fn a_learner_says_as_much_as_its_version_knows() {
    let whole = bytes("0000000000000003 00010000 0000000100000000");
    let info = |protocol_version, config_version| {
        Some(LearnerInfo { sid: Sid(3), protocol_version, config_version })
    };
    assert_eq!(LearnerInfo::decode(&whole), info(0x10000, 1 << 32));
    assert_eq!(LearnerInfo::decode(&whole[..12]), info(0x10000, 0));
    assert_eq!(LearnerInfo::decode(&whole[..8]), info(1, 0));
    assert_eq!(LearnerInfo::decode(&whole[..7]), None);
}

/// A length that nobody means is refused as soon as it is there, and nothing is waited for.
#[test]
fn lengths_that_are_not_believed() {
    let limits = Limits { max_field: 100, ..Limits::default() };
    let take = |hex: &str| QuorumPacket::take(&mut BytesMut::from(&bytes(hex)[..]), limits);
    assert_eq!(take("00000002 0000000100000001 00000064"), Ok(None), "100 bytes may come");
    for hex in [
        "00000002 0000000100000001 00000065",
        "00000002 0000000100000001 7fffffff",
        "00000002 0000000100000001 fffffffe",
        "00000002 0000000100000001 80000000",
        "00000001 0000000100000001 ffffffff 00000001 00000065",
        "00000001 0000000100000001 ffffffff 00000001 fffffffe",
    ] {
        assert!(take(hex).is_err(), "{hex}: {:?}", take(hex));
    }
    // As many identities as nobody has, one byte at a time.
    let mut endless = BytesMut::from(&bytes("00000001 0000000100000001 ffffffff 7fffffff")[..]);
    let mut refused_at = None;
    for n in 0..1000 {
        if QuorumPacket::take(&mut endless, limits).is_err() {
            refused_at = Some(n);
            break;
        }
        endless.put_u8(0);
    }
    assert!(refused_at.is_some_and(|n| n <= 101), "{refused_at:?}");
}

fn packet() -> impl Strategy<Value = QuorumPacket> {
    let id = (".{0,8}", ".{0,20}").prop_map(|(scheme, id)| AclId::new(scheme, id));
    let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let auth = proptest::option::of(proptest::collection::vec(id, 0..4));
    (any::<i32>(), any::<i64>(), data, auth).prop_map(|(kind, zxid, data, auth)| QuorumPacket {
        kind: PacketType(kind),
        zxid: Zxid(zxid),
        data: data.map(Bytes::from),
        auth,
    })
}

/// What `take` finds in a stream that arrives in pieces of these lengths, over and over; and the first error.
fn taken(stream: &[u8], pieces: &[usize], limits: Limits) -> (Vec<QuorumPacket>, Option<jute::Error>) {
    let (mut buf, mut found) = (BytesMut::new(), Vec::new());
    let (mut rest, mut lengths) = (stream, pieces.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        rest = behind;
        buf.extend_from_slice(piece);
        loop {
            match QuorumPacket::take(&mut buf, limits) {
                Ok(Some(packet)) => found.push(packet),
                Ok(None) => break,
                Err(e) => return (found, Some(e)),
            }
        }
    }
    (found, None)
}

proptest! {
    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        packets in proptest::collection::vec(packet(), 0..8),
        pieces in proptest::collection::vec(1usize..70, 1..10),
    ) {
        let mut stream = BytesMut::new();
        packets.iter().for_each(|packet| packet.encode(&mut stream));
        // Identities may hold what Java writes and does not read back (B§1.2); servers mean what they wrote.
        let limits = Limits::default().for_files();
        prop_assert_eq!(taken(&stream, &pieces, limits), (packets.clone(), None));
        // Without its last byte the last packet is missing, and nothing else.
        if let Some((_, whole)) = packets.split_last() {
            let cut = &stream[..stream.len() - 1];
            prop_assert_eq!(taken(cut, &pieces, limits), (whole.to_vec(), None));
        }
    }

    /// Damage is found or not, but the same way in pieces; and no packet is longer than what came.
    #[test]
    fn a_damaged_stream_is_refused_and_no_more(
        packets in proptest::collection::vec(packet(), 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        pieces in proptest::collection::vec(1usize..70, 1..10),
    ) {
        let mut stream = BytesMut::new();
        packets.iter().for_each(|packet| packet.encode(&mut stream));
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let limits = Limits { max_field: 4096, ..Limits::default() };
        let (whole, error) = taken(&stream, &[stream.len()], limits);
        let (in_pieces, same_error) = taken(&stream, &pieces, limits);
        prop_assert_eq!(&whole, &in_pieces);
        prop_assert_eq!(error.is_some(), same_error.is_some());
        let length: usize = whole.iter().map(|p| 20 + p.data.as_ref().map_or(0, Bytes::len)).sum();
        prop_assert!(length <= stream.len());
    }
}
