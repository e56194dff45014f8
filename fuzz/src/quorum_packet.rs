//! What comes over a quorum link, first the length of the pieces it arrives in: pieces or whole make no difference, what is taken is
//! encoded and taken again, and nothing is longer than what came.

use bytes::{Bytes, BytesMut};
use ferrokeeper::{
    jute::Limits,
    proto::quorum::{LearnerInfo, QuorumPacket},
};

pub fn run(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    // As large as a learner's packets can be in a test: a small limit reaches more of the code.
    let limits = Limits { max_field: 1024, ..Limits::default().for_files() };
    let (whole, good) = taken(stream, stream.len(), limits);
    let (in_pieces, still_good) = taken(stream, usize::from(*piece), limits);
    assert_eq!(whole, in_pieces);
    assert_eq!(good, still_good);
    let mut again = BytesMut::new();
    for packet in &whole {
        packet.encode(&mut again);
        // Names appear in log lines, whatever the number is.
        assert!(!packet.kind.name().is_empty());
        if let Some(info) = packet.data.as_deref().and_then(LearnerInfo::decode) {
            assert!(info.protocol_version == 1 || packet.data.as_ref().is_some_and(|data| data.len() >= 12));
        }
    }
    let length: usize = whole.iter().map(|packet| packet.data.as_ref().map_or(0, Bytes::len)).sum();
    assert!(length <= stream.len());
    // Text that is no UTF-8 is read with replacement characters, which may make a name longer than the limit.
    if again.len() <= stream.len() {
        assert_eq!(taken(&again, again.len(), limits), (whole, true));
    }
}

/// What a stream in pieces of this length brings, and whether it was good to its end.
fn taken(stream: &[u8], piece: usize, limits: Limits) -> (Vec<QuorumPacket>, bool) {
    let (mut buf, mut packets) = (BytesMut::new(), Vec::new());
    for piece in stream.chunks(piece.max(1)) {
        buf.extend_from_slice(piece);
        loop {
            match QuorumPacket::take(&mut buf, limits) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return (packets, false),
            }
        }
    }
    (packets, true)
}
