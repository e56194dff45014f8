//! Links over real sockets: the bytes of B§3.1, streams between two of ours, and peers that misbehave.

use std::{net::SocketAddr, path::Path};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    db::{Database, watch::NoEvents},
    ids::{Epoch, SessionId},
    proto::{
        OpCode,
        quorum::PacketType,
        txn::{self, CreateSessionTxn, CreateTxn, Txn, TxnHeader},
    },
    server::snapshot_job,
    storage::{LogOptions, LogWriter, testing::CrashDisk},
};

const DIR: &str = "/d/version-2";

struct Side {
    net: LearnerNet,
    inbox: mpsc::Receiver<CoreMsg>,
    disk: CrashDisk,
}

impl Side {
    fn new() -> Side {
        let disk = CrashDisk::with_dir("/");
        disk.create_dir_all(Path::new(DIR)).expect("mkdir");
        let options = NetOptions {
            limits: Limits::default(),
            db: DbOptions::default(),
            leader_nodelay: true,
            follower_nodelay: true,
            connect_timeout: Duration::from_secs(5),
            disk: Arc::new(disk.clone()),
            snap_dir: DIR.into(),
            log_dir: DIR.into(),
            snapshot_size_factor: 0.33,
        };
        let (core, inbox) = mpsc::channel(100);
        Side { net: LearnerNet::new(core, options), inbox, disk }
    }

    /// The next input, which must come soon.
    async fn next(&mut self) -> Input {
        match tokio::time::timeout(Duration::from_secs(10), self.inbox.recv()).await {
            Ok(Some(CoreMsg::Input(input))) => input,
            other => panic!("no input but {other:?}"),
        }
    }

    async fn zab(&mut self) -> zab::Input {
        match self.next().await {
            Input::Zab(input) => input,
            other => panic!("{other:?}"),
        }
    }

    async fn stays_silent(&mut self) {
        let more = tokio::time::timeout(Duration::from_millis(100), self.inbox.recv()).await;
        assert!(more.is_err(), "{more:?}");
    }

    /// A port that works; its address.
    async fn open_port(&mut self) -> u16 {
        let port = free_port();
        self.net.open_port(address(port));
        match self.zab().await {
            zab::Input::QuorumPort(Ok(())) => port,
            other => panic!("{other:?}"),
        }
    }

    async fn learner_opened(&mut self) -> (LinkId, String) {
        match self.zab().await {
            zab::Input::LearnerOpened { link, peer } => (link, peer),
            other => panic!("{other:?}"),
        }
    }

    async fn learner_packets(&mut self, of: LinkId) -> Vec<QuorumPacket> {
        match self.zab().await {
            zab::Input::LearnerPackets { link, packets } if link == of => packets,
            other => panic!("{other:?}"),
        }
    }

    async fn learner_closed(&mut self, of: LinkId) -> String {
        match self.zab().await {
            zab::Input::LearnerClosed { link, why } if link == of => why,
            other => panic!("{other:?}"),
        }
    }

    async fn leader_closed(&mut self) -> String {
        match self.zab().await {
            zab::Input::LeaderClosed { link: LEADER, why } => why,
            other => panic!("{other:?}"),
        }
    }

    /// The packets that come next, in as many batches as they like.
    async fn leader_packets(&mut self, n: usize) -> Vec<QuorumPacket> {
        let mut all = Vec::new();
        while all.len() < n {
            match self.zab().await {
                zab::Input::LeaderPackets { link: LEADER, packets } => all.extend(packets),
                zab::Input::Progress { link: LEADER } => {}
                other => panic!("{other:?}"),
            }
        }
        all
    }
}

const LEADER: LinkId = LinkId(77);

fn address(port: u16) -> ClientAddress {
    ClientAddress { host: Some(HOST.to_owned()), port }
}

const HOST: &str = "127.71.8.1";

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((HOST, 0)).expect("bind");
    socket.local_addr().expect("address").port()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

async fn read(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut bytes))
        .await
        .expect("soon")
        .expect("read");
    bytes
}

/// A raw connection to a port of ours, and how the leader calls it.
async fn connect(leader: &mut Side, port: u16) -> (TcpStream, LinkId) {
    let stream = TcpStream::connect((HOST, port)).await.expect("connect");
    let (link, peer) = leader.learner_opened().await;
    assert_eq!(peer, format!("/{}", stream.local_addr().expect("address")));
    (stream, link)
}

fn zxid(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

fn create(counter: u32, len: usize) -> (TxnHeader, Vec<u8>) {
    let header =
        TxnHeader { session: SessionId(1), cxid: 1, zxid: zxid(counter), time: 1, kind: OpCode::CREATE.0 };
    let path = format!("/n{counter}");
    let data = vec![b'x'; len];
    let txn = Txn::Create(CreateTxn {
        path: path.as_str().into(),
        data: Some(serde_bytes::Bytes::new(&data)),
        acl: vec![crate::proto::Acl::new(31, "world", "anyone")],
        ephemeral: false,
        parent_cversion: -1,
    });
    let mut out = BytesMut::new();
    txn::encode(&header, &txn, &mut out);
    (header, out.to_vec())
}

fn database(nodes: u32, len: usize) -> Database {
    let mut db = Database::new(DbOptions::default());
    let session =
        TxnHeader { session: SessionId(5), cxid: 0, zxid: zxid(1), time: 1, kind: OpCode::CREATE_SESSION.0 };
    let mut record = BytesMut::new();
    Txn::CreateSession(CreateSessionTxn { timeout_ms: 4000 }).encode(&mut record);
    db.apply(&session, &record, &mut NoEvents).expect("session");
    for n in 2..nodes + 2 {
        let (header, bytes) = create(n, len);
        db.apply(&header, &bytes[TxnHeader::LEN..], &mut NoEvents).expect("create");
    }
    db
}

type Row = (String, Option<Vec<u8>>, crate::proto::data::StatPersisted);

fn rows(db: &Database) -> (Vec<Row>, Vec<(SessionId, i32)>, Zxid) {
    let mut nodes: Vec<_> = db
        .nodes()
        .iter()
        .map(|(_, n)| (n.path().to_owned(), n.data.as_deref().map(<[u8]>::to_vec), n.stat))
        .collect();
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    (nodes, db.sessions().collect(), db.last_zxid())
}

/// Recorded from 3.5.7: an observer with sid 10 says hello; UPTODATE.
const OBSERVERINFO: &str =
    "00000010 0000000000000000 00000014 000000000000000a 00010000 0000000000000000 ffffffff";
const UPTODATE: &str = "0000000c ffffffffffffffff ffffffff ffffffff";

#[tokio::test]
async fn packets_are_java_s_in_both_directions_and_in_any_pieces() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (mut stream, link) = connect(&mut leader, port).await;
    let mut bytes = [hex(OBSERVERINFO), hex(UPTODATE)].concat();
    let last = bytes.split_off(bytes.len() - 3);
    stream.write_all(&bytes).await.expect("write");
    let packets = leader.learner_packets(link).await;
    let info = Bytes::from(hex("000000000000000a 00010000 0000000000000000"));
    assert_eq!(packets, [QuorumPacket::with_data(PacketType::OBSERVERINFO, Zxid::ZERO, info)]);
    stream.write_all(&last).await.expect("write");
    assert_eq!(leader.learner_packets(link).await, [QuorumPacket::new(PacketType::UPTODATE, Zxid(-1))]);

    let commit = QuorumPacket::new(PacketType::COMMIT, Zxid(0x1_0000_0002));
    leader.net.send(link, &QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
    leader.net.send(link, &commit);
    leader.net.send(LinkId(99), &commit);
    leader.net.flush();
    let expected = [hex(UPTODATE), hex("00000004 0000000100000002 ffffffff ffffffff")].concat();
    assert_eq!(read(&mut stream, 40).await, expected);
}

#[tokio::test]
async fn a_peer_that_sends_garbage_is_closed_and_named() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    for (bytes, says) in [
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "what is no packet"),
        (&hex("00000003 0000000000000000 7fffffff")[..], "what is no packet"),
        (&hex("00000003 0000000000000000 fffffffe")[..], "what is no packet"),
        (&hex("00000001 0000000000000000 ffffffff 7fffffff 00000000 00000000")[..], "what is no packet"),
    ] {
        let (mut stream, link) = connect(&mut leader, port).await;
        stream.write_all(bytes).await.expect("write");
        // A count of ids that nobody has may still be waited for; no longer than there are bytes.
        drop(stream.shutdown().await);
        let why = leader.learner_closed(link).await;
        let peer = stream.local_addr().expect("address").to_string();
        assert!(why.contains(&peer), "{why}");
        assert!(why.contains(says) || why.contains("bytes of a packet"), "{why}");
        assert_eq!(stream.read(&mut [0; 1]).await.ok().unwrap_or(0), 0, "closed");
    }
}

#[tokio::test]
async fn what_stands_before_garbage_is_delivered() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (mut stream, link) = connect(&mut leader, port).await;
    let bytes = [hex(UPTODATE), hex("00000003 0000000000000000 fffffffe")].concat();
    stream.write_all(&bytes).await.expect("write");
    assert_eq!(leader.learner_packets(link).await.len(), 1);
    assert!(leader.learner_closed(link).await.contains("unreasonable length -2"));
}

#[tokio::test]
async fn a_half_packet_and_then_the_end() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (mut stream, link) = connect(&mut leader, port).await;
    stream.write_all(&hex(OBSERVERINFO)[..17]).await.expect("write");
    stream.shutdown().await.expect("shutdown");
    let why = leader.learner_closed(link).await;
    assert!(why.ends_with("the connection ended after 17 bytes of a packet"), "{why}");
}

#[tokio::test]
async fn what_the_core_closes_is_not_reported() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (mut one, link) = connect(&mut leader, port).await;
    let (mut other, _) = connect(&mut leader, port).await;
    leader.net.close(link, "a test wants it so");
    assert_eq!(one.read(&mut [0; 1]).await.expect("end"), 0);
    leader.net.close_port();
    assert_eq!(other.read(&mut [0; 1]).await.expect("end"), 0);
    leader.stays_silent().await;
    assert!(TcpStream::connect((HOST, port)).await.is_err(), "nobody listens");
    // The next time of leading may begin at once.
    for _ in 0..3 {
        leader.net.open_port(address(port));
        assert!(matches!(leader.zab().await, zab::Input::QuorumPort(Ok(()))));
        let (_stream, _) = connect(&mut leader, port).await;
        leader.net.close_port();
    }
}

#[tokio::test]
async fn a_port_that_cannot_be_opened() {
    let taken = std::net::TcpListener::bind((HOST, 0)).expect("bind");
    let port = taken.local_addr().expect("address").port();
    let mut leader = Side::new();
    leader.net.open_port(address(port));
    match leader.zab().await {
        zab::Input::QuorumPort(Err(why)) => {
            assert!(why.starts_with(&format!("the quorum port {HOST}:{port} cannot be bound")), "{why}");
        }
        other => panic!("{other:?}"),
    }
    drop(taken);
    leader.net.open_port(address(port));
    assert!(matches!(leader.zab().await, zab::Input::QuorumPort(Ok(()))));
}

/// B§3.5: a file's body without header and checksum, then the signature.
#[tokio::test]
async fn a_snapshot_is_streamed_as_a_file_holds_it() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (mut stream, link) = connect(&mut leader, port).await;
    let db = Arc::new(RwLock::new(database(300, 50)));
    let at = db.read().last_zxid();
    let disk: Arc<dyn Disk> = Arc::new(leader.disk.clone());
    let capture = db.write().begin_capture();
    let path = snapshot_job::write_now(&disk, Path::new(DIR), &*db, &capture).expect("file");
    db.write().end_capture(&capture);
    let file = leader.disk.contents(&path).expect("file");
    let body = &file[16..file.len() - 8 - 5];

    let snap = QuorumPacket::new(PacketType::SNAP, at);
    leader.net.send(link, &snap);
    let capture = db.write().begin_capture();
    leader.net.stream_snapshot(link, at, db.clone(), capture);
    leader.net.send(link, &QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
    leader.net.flush();
    let mut expected = BytesMut::new();
    snap.encode(&mut expected);
    expected.extend_from_slice(body);
    expected.extend_from_slice(b"\0\0\0\x0aBenWasHere");
    expected.extend_from_slice(&hex(UPTODATE));
    assert_eq!(read(&mut stream, expected.len()).await, expected);
    assert!(!db.read().is_captured());
}

/// A leader and a learner of ours, connected.
async fn pair() -> (Side, LinkId, Side) {
    let (mut leader, mut learner) = (Side::new(), Side::new());
    let port = leader.open_port().await;
    learner.net.dial(LEADER, Sid(3), HOST, port);
    let (link, _) = leader.learner_opened().await;
    assert!(matches!(learner.zab().await, zab::Input::LeaderOpened { link: LEADER }));
    (leader, link, learner)
}

#[tokio::test]
async fn a_snapshot_arrives_as_the_database_it_was_however_it_changes_meanwhile() {
    let (mut leader, link, mut learner) = pair().await;
    learner.net.send_to_leader(LEADER, &QuorumPacket::new(PacketType::FOLLOWERINFO, Zxid::ZERO));
    learner.net.flush();
    assert_eq!(leader.learner_packets(link).await.len(), 1);

    let db = Arc::new(RwLock::new(database(3000, 1000)));
    let expected = rows(&db.read());
    let at = expected.2;
    let new_leader = QuorumPacket::new(PacketType::NEWLEADER, Zxid(1 << 32));
    leader.net.send(link, &QuorumPacket::new(PacketType::DIFF, at));
    leader.net.send(link, &QuorumPacket::new(PacketType::SNAP, at));
    let capture = db.write().begin_capture();
    leader.net.stream_snapshot(link, at, db.clone(), capture);
    leader.net.send(link, &new_leader);
    leader.net.flush();
    for n in 4000..4500 {
        let (header, bytes) = create(n, 10);
        db.write().apply(&header, &bytes[TxnHeader::LEN..], &mut NoEvents).expect("create");
        tokio::task::yield_now().await;
    }
    assert_eq!(learner.leader_packets(1).await, [QuorumPacket::new(PacketType::DIFF, at)]);
    loop {
        match learner.next().await {
            Input::LeaderSnapshot { link: LEADER, zxid, db } => {
                assert_eq!(zxid, at);
                assert_eq!(rows(&db), expected);
                break;
            }
            Input::Zab(zab::Input::Progress { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(learner.leader_packets(1).await, [new_leader]);
    learner.net.close_leader(LEADER);
    assert!(leader.learner_closed(link).await.contains("closed the connection"));
    learner.stays_silent().await;
}

fn write_log(disk: &CrashDisk, files: &[&[u32]], len: usize) {
    let options = LogOptions { prealloc_kib: 0, ..LogOptions::default() };
    let mut log = LogWriter::new(Arc::new(disk.clone()), DIR, options);
    for file in files {
        for n in *file {
            log.append(zxid(*n), &create(*n, len).1).expect("append");
        }
        log.roll().expect("roll");
    }
}

#[tokio::test]
async fn the_log_is_streamed_as_proposals_and_commits() {
    let (mut leader, link, mut learner) = pair().await;
    write_log(&leader.disk, &[&[1, 2, 3], &[4, 5, 6]], 300_000);
    leader.net.stream_log(link, zxid(2), zxid(5));
    leader.net.send(link, &QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
    leader.net.flush();
    let expected: Vec<QuorumPacket> = (3..=5)
        .flat_map(|n| {
            let txn = Bytes::from(create(n, 300_000).1);
            let proposal = QuorumPacket::with_data(PacketType::PROPOSAL, zxid(n), txn);
            [proposal, QuorumPacket::new(PacketType::COMMIT, zxid(n))]
        })
        .chain([QuorumPacket::new(PacketType::UPTODATE, Zxid(-1))])
        .collect();
    assert!(learner.leader_packets(7).await == expected);
}

/// The txns in memory begin with 2:1; what precedes 2:0, which is no txn's, is all that the log must bring.
#[tokio::test]
async fn the_log_ends_before_an_epoch_begins() {
    let (mut leader, link, mut learner) = pair().await;
    write_log(&leader.disk, &[&[1, 2, 3]], 10);
    leader.net.stream_log(link, zxid(2), Zxid(2 << 32));
    leader.net.send(link, &QuorumPacket::new(PacketType::UPTODATE, Zxid(-1)));
    leader.net.flush();
    let kinds: Vec<PacketType> = learner.leader_packets(3).await.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [PacketType::PROPOSAL, PacketType::COMMIT, PacketType::UPTODATE]);
}

#[tokio::test]
async fn a_log_with_a_gap_is_not_sent() {
    for (after, through, says) in [
        (1, 6, "it goes from 0x100000002 to 0x100000004"),
        (4, 9, "it ends at 0x100000006, before 0x100000009"),
    ] {
        let (mut leader, link, _learner) = pair().await;
        write_log(&leader.disk, &[&[1, 2], &[4, 5, 6]], 10);
        leader.net.stream_log(link, zxid(after), zxid(through));
        leader.net.flush();
        let why = leader.learner_closed(link).await;
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn the_log_is_probed_for_a_learner() {
    let mut leader = Side::new();
    write_log(&leader.disk, &[&[1, 2, 3, 4]], 10);
    leader.net.probe_log(LinkId(4), zxid(3), zxid(1000));
    let expected = zab::LogProbe { before: Some(zxid(2)), first: zxid(3), last: zxid(4) };
    match leader.zab().await {
        zab::Input::LogProbed { link: LinkId(4), found } => assert_eq!(found, Some(expected)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_leader_is_tried_until_it_listens() {
    let mut learner = Side::new();
    let port = free_port();
    learner.net.dial(LEADER, Sid(1), HOST, port);
    tokio::time::sleep(Duration::from_millis(100)).await;
    learner.stays_silent().await;
    let listener = TcpListener::bind((HOST, port)).await.expect("bind");
    let (_stream, _) =
        tokio::time::timeout(Duration::from_secs(2), listener.accept()).await.expect("soon").expect("accept");
    assert!(matches!(learner.zab().await, zab::Input::LeaderOpened { link: LEADER }));

    // Told to stop, it stops.
    drop(listener);
    learner.net.dial(LinkId(78), Sid(1), HOST, port);
    tokio::time::sleep(Duration::from_millis(30)).await;
    learner.net.close_leader(LinkId(78));
    let listener = TcpListener::bind((HOST, port)).await.expect("bind");
    assert!(tokio::time::timeout(Duration::from_millis(300), listener.accept()).await.is_err());
    learner.stays_silent().await;
}

/// What a leader of another making sends, and how the learner's link ends.
async fn after_snap(bytes: &[u8]) -> String {
    let listener = TcpListener::bind((HOST, 0)).await.expect("bind");
    let address: SocketAddr = listener.local_addr().expect("address");
    let mut learner = Side::new();
    learner.net.dial(LEADER, Sid(3), HOST, address.port());
    let (mut stream, _) = listener.accept().await.expect("accept");
    assert!(matches!(learner.zab().await, zab::Input::LeaderOpened { link: LEADER }));
    let mut all = BytesMut::new();
    QuorumPacket::new(PacketType::SNAP, Zxid(0x5_0000_0007)).encode(&mut all);
    all.extend_from_slice(bytes);
    stream.write_all(&all).await.expect("write");
    stream.shutdown().await.expect("shutdown");
    let why = learner.leader_closed().await;
    assert!(why.starts_with(&format!("leader 3 ({HOST}:{})", address.port())), "{why}");
    assert!(why.contains("its SNAP of 0x500000007 is no snapshot behind"), "{why}");
    why
}

#[tokio::test]
async fn a_snapshot_that_is_none_closes_the_link() {
    let sessions_and_acls = [0; 8];
    // The root: path, data, ACL key, stat.
    let root = [hex("00000000 00000000 ffffffffffffffff"), vec![0; 60]].concat();
    let body = [&sessions_and_acls[..], &root, b"\0\0\0\x01/"].concat();
    let cut = after_snap(&body[..50]).await;
    assert!(cut.contains("behind 50 bytes: the connection ended"), "{cut}");
    let orphan = [&sessions_and_acls[..], &hex("00000004"), b"/a/b", &root[4..]].concat();
    let orphan = after_snap(&orphan).await;
    assert!(orphan.contains("behind 0 bytes: node /a/b comes before its parent"), "{orphan}");
    let huge = after_snap(&[&sessions_and_acls[..], &hex("7fffffff")].concat()).await;
    assert!(huge.contains("Unreasonable length = 2147483647"), "{huge}");
    let unsigned = after_snap(&[&body[..], b"\0\0\0\x0aBenWasGone"].concat()).await;
    assert!(
        unsigned.contains(&format!("behind {} bytes: it is not followed by BenWasHere", body.len())),
        "{unsigned}"
    );
}

/// A learner that takes nothing holds neither the core nor the image of the state for longer than its link lives.
#[tokio::test]
async fn a_stream_to_a_learner_that_reads_nothing_ends_with_its_link() {
    let mut leader = Side::new();
    let port = leader.open_port().await;
    let (_stream, link) = connect(&mut leader, port).await;
    let db = Arc::new(RwLock::new(database(20_000, 1000)));
    let capture = db.write().begin_capture();
    leader.net.stream_snapshot(link, db.read().last_zxid(), db.clone(), capture);
    leader.net.flush();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(db.read().is_captured(), "20 MB do not fit into socket buffers and chunks");
    leader.net.close(link, "a test wants it so");
    for _ in 0..100 {
        if !db.read().is_captured() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the image is kept for nobody");
}

/// Says hello to a Java leader as server 3 and takes what it sends: FERROKEEPER_JAVA_LEADER=host:quorumPort, and with
/// FERROKEEPER_JAVA_ZXID=hex what this server claims to have. A leader sends SNAP to one that has nothing, once it has more
/// than 500 txns.
#[tokio::test]
#[ignore = "needs a leading Java server, named by FERROKEEPER_JAVA_LEADER"]
async fn a_java_leader_synchronises_this_learner() {
    let leader = std::env::var("FERROKEEPER_JAVA_LEADER").expect("FERROKEEPER_JAVA_LEADER");
    let (host, port) = leader.split_once(':').expect("host:port");
    let last = std::env::var("FERROKEEPER_JAVA_ZXID").unwrap_or_else(|_| "0".to_owned());
    let last = Zxid(i64::from_str_radix(&last, 16).expect("hex"));
    let mut learner = Side::new();
    learner.net.dial(LEADER, Sid(3), host, port.parse().expect("port"));
    assert!(matches!(learner.zab().await, zab::Input::LeaderOpened { link: LEADER }));
    let info = Bytes::from(hex("0000000000000003 00010000 0000000000000000"));
    learner.net.send_to_leader(LEADER, &QuorumPacket::with_data(PacketType::FOLLOWERINFO, Zxid::ZERO, info));
    learner.net.flush();
    let hello = learner.leader_packets(1).await.remove(0);
    assert_eq!((hello.kind, hello.data.as_deref()), (PacketType::LEADERINFO, Some(&[0, 1, 0, 0][..])));
    let epoch = Bytes::from((last.epoch().0 as i32).to_be_bytes().to_vec());
    learner.net.send_to_leader(LEADER, &QuorumPacket::with_data(PacketType::ACKEPOCH, last, epoch));
    learner.net.flush();

    let mut kinds = Vec::new();
    let mut up_to_date = false;
    while !up_to_date {
        match learner.next().await {
            Input::LeaderSnapshot { db, zxid, .. } => {
                println!("SNAP {zxid}: {} nodes, {} sessions", db.node_count(), db.sessions().count());
                assert!(db.node_count() > 500 && db.find("/zookeeper/quota").is_some());
            }
            Input::Zab(zab::Input::LeaderPackets { packets, .. }) => {
                for packet in packets {
                    if packet.kind == PacketType::NEWLEADER {
                        let ack = QuorumPacket::new(PacketType::ACK, packet.zxid);
                        learner.net.send_to_leader(LEADER, &ack);
                        learner.net.flush();
                    }
                    up_to_date |= packet.kind == PacketType::UPTODATE;
                    kinds.push((packet.kind.name(), packet.zxid));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{} packets: {:?} ... {:?}", kinds.len(), &kinds[..2.min(kinds.len())], kinds.last());
}
