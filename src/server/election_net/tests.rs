//! Real sockets on loopback: the other side is either played byte by byte, or another net.

use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use bytes::Bytes;

use super::*;
use crate::{
    config::PeerType,
    ids::{Epoch, Millis, Zxid},
    proto::quorum::{ServerState, Vote},
    zab::{
        election::{Election, ElectionConfig, Output},
        quorum::{Quorums, Voters},
    },
};

const PORT: u16 = 33899;
const PATIENCE: Duration = Duration::from_secs(10);

/// Every test has a network of its own, where server `sid` has the address 127.66.`net`.`sid`.
fn ip(net: u8, sid: i64) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, net, sid as u8)
}

fn settings(net: u8, sid: i64, sids: &[i64]) -> NetSettings {
    let lines: Vec<String> =
        sids.iter().map(|sid| format!("server.{sid}={}:2888:{PORT}", ip(net, *sid))).collect();
    NetSettings {
        sid: Sid(sid),
        ensemble: Ensemble::parse(&lines.join("\n")).unwrap(),
        last_seen: None,
        connect_timeout: Duration::from_secs(5),
        greeting_timeout: Duration::from_secs(5),
        bind_retry: 1,
        listen_on_all_ips: false,
        tcp_keep_alive: false,
    }
}

struct Server {
    net: ElectionNet,
    inbox: mpsc::Receiver<CoreMsg>,
}

/// Server 10 of 5, 10 and 20.
async fn server(net: u8) -> Server {
    start(settings(net, 10, &[5, 10, 20])).await
}

async fn start(settings: NetSettings) -> Server {
    let (core, inbox) = mpsc::channel(16);
    Server { net: ElectionNet::bind(settings, core).await.unwrap(), inbox }
}

impl Server {
    async fn hears(&mut self) -> zab::Input {
        match timeout(PATIENCE, self.inbox.recv()).await.expect("nothing happens").unwrap() {
            CoreMsg::Input(replica::Input::Zab(input)) => input,
            other => panic!("{other:?}"),
        }
    }

    async fn hears_link(&mut self, sid: i64, up: bool) {
        match self.hears().await {
            zab::Input::ElectionLink { sid: s, up: u } => assert_eq!((s, u), (Sid(sid), up)),
            other => panic!("{other:?}"),
        }
    }

    async fn hears_vote(&mut self, sid: i64) -> Notification {
        match self.hears().await {
            zab::Input::Notification { from, notification } if from == Sid(sid) => notification,
            other => panic!("{other:?}"),
        }
    }
}

fn vote_for(leader: i64) -> Notification {
    let vote = Vote { leader: Sid(leader), zxid: Zxid(0x1_0000_0002), round: 3, peer_epoch: 1 };
    Notification { state: ServerState::Looking, vote, version: 2, config: Bytes::from_static(b"version=0") }
}

/// The frame of `vote_for`, written out.
fn frame_for(leader: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 53, 0, 0, 0, 0];
    frame.extend([0, 0, 0, 0, 0, 0, 0, leader]);
    frame.extend([0, 0, 0, 1, 0, 0, 0, 2]);
    frame.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    frame.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([0, 0, 0, 2, 0, 0, 0, 9]);
    frame.extend(b"version=0");
    frame
}

fn greeting(sid: u8, address: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, sid];
    bytes.extend((address.len() as u32).to_be_bytes());
    bytes.extend(address.as_bytes());
    bytes
}

async fn connect(net: u8, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(SocketAddrV4::new(ip(net, 10), PORT)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn listener(net: u8, sid: i64) -> TcpListener {
    listen(SocketAddrV4::new(ip(net, sid), PORT).into()).unwrap()
}

async fn accepts(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.expect("nobody dials").unwrap().0
}

async fn expects(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.expect("nothing comes").unwrap();
    assert_eq!(got, bytes);
}

async fn expects_end(stream: &mut TcpStream) {
    let end = timeout(PATIENCE, stream.read(&mut [0])).await.expect("it stays open");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

/// B§14 #33: the greeting in one segment, and larger sids win.
#[tokio::test]
async fn to_a_larger_sid_it_only_says_who_it_is() {
    let larger = listener(1, 20).await;
    let server = server(1).await;
    server.net.send(Sid(20), &vote_for(10));
    let mut dialed = accepts(&larger).await;
    // In one segment, so that one read brings it all.
    let mut first = [0; 100];
    let n = timeout(PATIENCE, dialed.read(&mut first)).await.unwrap().unwrap();
    assert_eq!(first[..n], greeting(10, "127.66.1.10:33899"));
    expects_end(&mut dialed).await;
}

/// What a 3.5.7 server 10 at 127.0.0.1:33899 sent (B§4.1).
#[tokio::test]
async fn the_greeting_of_java() {
    let java = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x0a\0\0\0\x0f127.0.0.1:33899";
    assert_eq!(Greeting::encode(Sid(10), "127.0.0.1:33899")[..], java[..]);
    let address = Some(HostPort { host: "127.0.0.1".into(), port: 33899 });
    assert_eq!(Greeting::read(&mut &java[..]).await.unwrap(), Greeting { sid: Sid(10), address });
    let v6 = greeting(3, "[0:0:0:0:0:0:0:1]:3888");
    let address = Some(HostPort { host: "0:0:0:0:0:0:0:1".into(), port: 3888 });
    assert_eq!(Greeting::read(&mut &v6[..]).await.unwrap(), Greeting { sid: Sid(3), address });
    assert_eq!(greeting::java_text("[::1]:3888".parse().unwrap()), "[0:0:0:0:0:0:0:1]:3888");
}

#[tokio::test]
async fn a_larger_sid_is_let_in() {
    let mut server = server(2).await;
    let mut peer = connect(2, &greeting(20, "127.66.2.20:33899")).await;
    server.hears_link(20, true).await;
    peer.write_all(&frame_for(20)).await.unwrap();
    assert_eq!(server.hears_vote(20).await, vote_for(20));
    server.net.send(Sid(20), &vote_for(10));
    expects(&mut peer, &frame_for(10)).await;
    drop(peer);
    server.hears_link(20, false).await;
}

#[tokio::test]
async fn a_greeting_in_pieces_a_bare_sid_and_an_anonymous_observer() {
    let mut server = server(3).await;
    let mut slow = connect(3, &greeting(20, "host20:33899")[..25]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    slow.write_all(&greeting(20, "host20:33899")[25..]).await.unwrap();
    server.hears_link(20, true).await;
    // Replaces it.
    let _bare = connect(3, &20i64.to_be_bytes()).await;
    server.hears_link(20, true).await;
    expects_end(&mut slow).await;
    let mut anonymous = greeting(0, "127.66.3.99:1");
    anonymous[8..16].copy_from_slice(&i64::MAX.to_be_bytes());
    for assigned in [-1, -2] {
        let mut observer = connect(3, &anonymous).await;
        server.hears_link(assigned, true).await;
        server.net.send(Sid(assigned), &vote_for(10));
        expects(&mut observer, &frame_for(10)).await;
        drop(observer);
        server.hears_link(assigned, false).await;
    }
}

/// B§14 #33: the address that is dialed back.
#[tokio::test]
async fn a_smaller_sid_is_dialed_back_at_the_address_it_tells() {
    let mut server = server(4).await;
    let elsewhere = listener(4, 77).await;
    let configured = listener(4, 5).await;
    let mut rings = connect(4, &greeting(5, "127.66.4.77:33899")).await;
    expects_end(&mut rings).await;
    let mut dialed = accepts(&elsewhere).await;
    expects(&mut dialed, &greeting(10, "127.66.4.10:33899")).await;
    server.hears_link(5, true).await;
    // "Every address" would be this server itself.
    for wildcard in ["0.0.0.0:33899", "[::]:33899", "[0:0:0:0:0:0:0:0]:33899"] {
        let mut rings = connect(4, &greeting(5, wildcard)).await;
        expects_end(&mut rings).await;
        let mut again = accepts(&configured).await;
        expects(&mut again, &greeting(10, "127.66.4.10:33899")).await;
        // It had rung because it had no connection any more.
        expects_end(&mut dialed).await;
        server.hears_link(5, true).await;
        dialed = again;
    }
}

#[tokio::test]
async fn where_nothing_listens_at_the_told_address_the_configured_one_is_tried() {
    let mut server = server(5).await;
    let configured = listener(5, 5).await;
    let _rings = connect(5, &greeting(5, "127.66.5.78:33899")).await;
    accepts(&configured).await;
    server.hears_link(5, true).await;
}

#[tokio::test]
async fn its_own_sid_is_refused() {
    let mut server = server(6).await;
    let mut twin = connect(6, &greeting(10, "127.66.6.66:33899")).await;
    expects_end(&mut twin).await;
    assert!(server.inbox.try_recv().is_err());
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let mut server = server(7).await;
    let mut bad_version = greeting(20, "a:1");
    bad_version[7] = 1;
    let mut lengths = [-1i32, 0, 2049, i32::MAX].map(|length| {
        let mut bytes = greeting(20, "");
        bytes[16..20].copy_from_slice(&length.to_be_bytes());
        bytes
    });
    let addresses = ["a", "a:b", "a:1:2", "a:65536", "[::1:1", "[::1]"].map(|address| greeting(20, address));
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    // The first letters of HTTP are a positive long, so it passes for a very large sid, which is a stranger's.
    let mut browser = connect(7, &http).await;
    let Ok(zab::Input::ElectionLink { up: true, .. }) = timeout(PATIENCE, server.hears()).await else {
        panic!()
    };
    expects_end(&mut browser).await;
    let Ok(zab::Input::ElectionLink { up: false, .. }) = timeout(PATIENCE, server.hears()).await else {
        panic!()
    };
    for bytes in lengths.iter_mut().map(|b| &*b).chain(&addresses).chain([&bad_version]) {
        let mut peer = connect(7, bytes).await;
        expects_end(&mut peer).await;
    }
    for length in [0i32, -1, 524_289, i32::MIN] {
        let mut peer = connect(7, &greeting(20, "127.66.7.20:33899")).await;
        server.hears_link(20, true).await;
        peer.write_all(&length.to_be_bytes()).await.unwrap();
        expects_end(&mut peer).await;
        server.hears_link(20, false).await;
    }
    // A message that makes no sense is dropped, and what comes after it is heard.
    let mut peer = connect(7, &greeting(20, "127.66.7.20:33899")).await;
    server.hears_link(20, true).await;
    peer.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
    let mut largest = vec![0xff; 4 + 524_288];
    largest[..4].copy_from_slice(&524_288i32.to_be_bytes());
    peer.write_all(&largest).await.unwrap();
    peer.write_all(&frame_for(20)).await.unwrap();
    assert_eq!(server.hears_vote(20).await, vote_for(20));
}

#[tokio::test]
async fn only_the_newest_waits_and_the_last_is_said_again() {
    let mut server = server(8).await;
    for leader in [5, 10, 20] {
        server.net.send(Sid(20), &vote_for(leader));
    }
    let mut first = connect(8, &greeting(20, "127.66.8.20:33899")).await;
    expects(&mut first, &frame_for(20)).await;
    let mut second = connect(8, &greeting(20, "127.66.8.20:33899")).await;
    expects_end(&mut first).await;
    expects(&mut second, &frame_for(20)).await;
    // The core says it too when it hears of the connection; the peer need not hear it twice.
    server.net.send(Sid(20), &vote_for(20));
    server.net.send(Sid(20), &vote_for(5));
    expects(&mut second, &frame_for(5)).await;
    // Nobody listens at 20, and 20 was told in the end: down once, then up twice.
    let mut heard = Vec::new();
    while let Ok(CoreMsg::Input(replica::Input::Zab(zab::Input::ElectionLink { up, .. }))) =
        server.inbox.try_recv()
    {
        heard.push(up);
    }
    assert!(heard.ends_with(&[true, true]), "{heard:?}");
}

#[tokio::test]
async fn who_is_out_of_reach_is_tried_again_and_delays_nobody() {
    let mut server = server(9).await;
    let mut larger = connect(9, &greeting(20, "127.66.9.20:33899")).await;
    server.hears_link(20, true).await;
    server.net.send(Sid(5), &vote_for(10));
    server.hears_link(5, false).await;
    server.net.send(Sid(20), &vote_for(10));
    expects(&mut larger, &frame_for(10)).await;
    let smaller = listener(9, 5).await;
    let mut dialed = accepts(&smaller).await;
    server.hears_link(5, true).await;
    expects(&mut dialed, &greeting(10, "127.66.9.10:33899")).await;
    expects(&mut dialed, &frame_for(10)).await;
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let _taken = listener(10, 10).await;
    let (core, _inbox) = mpsc::channel(16);
    let error = ElectionNet::bind(settings(10, 10, &[5, 10]), core.clone()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the election port 127.66.10.10:33899 cannot be listened on, tried 1 times: "),
        "{error}"
    );
    let error = ElectionNet::bind(settings(10, 11, &[5, 10]), core).await.unwrap_err().to_string();
    assert!(error.starts_with("server.11 is not in the list of servers"), "{error}");
}

#[tokio::test]
async fn a_server_that_listens_everywhere_tells_the_address_it_dials_from() {
    let mut settings = settings(11, 10, &[5, 10, 20]);
    settings.ensemble.servers.get_mut(&Sid(10)).unwrap().host = "0.0.0.0".into();
    settings.ensemble.servers.get_mut(&Sid(10)).unwrap().election_port = 33901;
    let mut server = start(settings).await;
    let smaller = listener(11, 5).await;
    server.net.send(Sid(5), &vote_for(10));
    let mut dialed = accepts(&smaller).await;
    let from = dialed.peer_addr().unwrap().ip();
    expects(&mut dialed, &greeting(10, &format!("{from}:33901"))).await;
    server.hears_link(5, true).await;
}

/// The machine and the net together, as the server runs them.
async fn elect(settings: NetSettings, zxid: Zxid, decided: mpsc::Sender<(Sid, Sid)>) {
    let sid = settings.sid;
    let config = ElectionConfig {
        sid,
        role: PeerType::Participant,
        quorums: Quorums::new(Voters::of(&settings.ensemble)),
        config: settings.ensemble.to_string().into(),
        config_version: 0,
    };
    let mut server = start(settings).await;
    let began = tokio::time::Instant::now();
    let now = || began.elapsed().as_millis() as Millis;
    let mut election = Election::new(config);
    election.look(now(), zxid, Epoch(1));
    loop {
        while let Some(output) = election.poll_output() {
            match output {
                Output::Send { to, notification } => server.net.send(to, &notification),
                Output::Reconnect => server.net.connect_all(),
                Output::Decided { leader } => decided.send((sid, leader)).await.unwrap(),
            }
        }
        let due = election.poll_timeout().map_or(60_000, |at| at - now()).max(0);
        match timeout(Duration::from_millis(due as u64), server.inbox.recv()).await {
            Err(_) => election.handle_timeout(now()),
            Ok(Some(CoreMsg::Input(replica::Input::Zab(input)))) => match input {
                zab::Input::Notification { from, notification } => {
                    election.handle(now(), from, &notification)
                }
                zab::Input::ElectionLink { sid, up } => election.link(now(), sid, up),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn three_servers_elect_the_one_with_the_higher_zxid() {
    let (tx, mut decided) = mpsc::channel(16);
    let mut servers = JoinSet::new();
    for (sid, zxid) in [(1, 7), (2, 8), (3, 7)] {
        servers.spawn(elect(settings(12, sid, &[1, 2, 3]), Zxid(zxid), tx.clone()));
    }
    for _ in 0..3 {
        let (sid, leader) = timeout(PATIENCE, decided.recv()).await.unwrap().unwrap();
        assert_eq!(leader, Sid(2), "server {sid}");
    }
    // One that is started anew is told who leads.
    let mut late = JoinSet::new();
    servers.abort_all();
    while servers.join_next().await.is_some() {}
    for sid in [1, 2] {
        servers.spawn(elect(settings(12, sid, &[1, 2, 3]), Zxid(9), tx.clone()));
    }
    for _ in 0..2 {
        assert_eq!(timeout(PATIENCE, decided.recv()).await.unwrap().unwrap().1, Sid(2));
    }
    late.spawn(elect(settings(12, 3, &[1, 2, 3]), Zxid(10), tx));
    assert_eq!(timeout(PATIENCE, decided.recv()).await.unwrap().unwrap(), (Sid(3), Sid(2)));
}
