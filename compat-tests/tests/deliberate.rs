//! What Java 3.5.7 breaks on and the differ therefore never sends: here it goes to Ferrokeeper alone, which must answer,
//! go on serving, and start again on the log it wrote (B§13).

use std::net::TcpStream;
use std::time::{Duration, Instant};

use compat_tests::process::{Builder, Kind, Server};
use compat_tests::wire::{Client, Enc, op};

const OK: i32 = 0;
const UNIMPLEMENTED: i32 = -6;
const BAD_ARGUMENTS: i32 = -8;
const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;

fn server() -> Server {
    Builder::new(Kind::Ferrokeeper).flag("-Dzookeeper.extendedTypesEnabled=true").start().unwrap()
}

fn client(server: &Server) -> Client {
    let mut client = Client::connect(server.client_addr(), 20_000).unwrap();
    client.patience = Duration::from_secs(5);
    client
}

/// The server serves, and serves the same after kill -9 and a start on what it logged.
fn survives(mut server: Server) {
    let mut before = client(&server);
    assert_eq!(before.create("/after", b"1", 0).unwrap(), Ok("/after".to_string()));
    server.kill9().unwrap();
    server.restart().unwrap();
    server.wait_serving(Duration::from_secs(30)).unwrap();
    let mut after = client(&server);
    assert_eq!(after.get_data("/after", false).unwrap().unwrap().0.unwrap(), b"1");
    assert_eq!(after.create("/again", b"", 0).unwrap(), Ok("/again".to_string()));
}

#[test]
fn a_check_outside_a_multi_is_answered_and_never_logged() {
    let server = server();
    client(&server).create("/a", b"", 0).unwrap().unwrap();
    // Java standalone answers a check that fails; one that passes gets nothing. Refusing the op altogether is an answer too.
    for (path, version, err) in [("/a", 0, OK), ("/a", 7, BAD_VERSION), ("/nowhere", -1, NO_NODE)] {
        let body = Enc::new().string(path).int(version).bytes();
        let reply = client(&server).call(op::CHECK, &body).unwrap();
        assert!([err, UNIMPLEMENTED].contains(&reply.err), "{path} {version}: {}", reply.err);
    }
    survives(server);
}

#[test]
fn a_negative_ttl_is_refused_whatever_the_flags() {
    let server = server();
    let mut c = client(&server);
    for flags in 0..=6 {
        let body = Enc::new().string("/t").buffer(Some(b"")).int(1).int(31).string("world").string("anyone");
        let body = body.int(flags).long(-1).bytes();
        assert_eq!(c.call(op::CREATE_TTL, &body).unwrap().err, BAD_ARGUMENTS, "flags {flags}");
    }
    assert_eq!(c.exists("/t", false).unwrap(), Err(NO_NODE));
    survives(server);
}

#[test]
fn quota_nodes_with_any_text_do_not_stop_the_server() {
    let server = server();
    let mut c = client(&server);
    c.create("/q", b"", 0).unwrap().unwrap();
    c.create("/zookeeper/quota/q", b"", 0).unwrap().unwrap();
    c.create("/zookeeper/quota/q/zookeeper_limits", b"nonsense", 0).unwrap().unwrap();
    c.create("/zookeeper/quota/q/zookeeper_stats", b"count=,bytes=x", 0).unwrap().unwrap();
    c.create("/q/child", b"data", 0).unwrap().unwrap();
    c.set_data("/zookeeper/quota/q/zookeeper_stats", b"", -1).unwrap().unwrap();
    c.set_data("/q/child", b"more", -1).unwrap().unwrap();
    c.delete("/q/child", -1).unwrap().unwrap();
    // Java's trie refuses the empty path of the quota root itself by throwing.
    c.create("/zookeeper/quota/zookeeper_limits", b"count=1,bytes=1", 0).unwrap().unwrap();
    c.create("/zookeeper/quota/zookeeper_stats", b"count=1,bytes=1", 0).unwrap().unwrap();
    c.create("/q/other", b"", 0).unwrap().unwrap();
    c.delete("/zookeeper/quota/zookeeper_limits", -1).unwrap().unwrap();
    let null = Enc::new().string("/zookeeper/quota/q/zookeeper_limits").buffer(None).int(-1).bytes();
    assert_eq!(c.call(op::SET_DATA, &null).unwrap().err, OK);
    c.create("/q/third", b"", 0).unwrap().unwrap();
    survives(server);
}

/// Java listens a moment before it can answer; a client that comes in that moment waits for ever. Here whoever gets through is
/// served, also the very first one, whom no four-letter word precedes.
#[test]
fn whoever_gets_through_is_served() {
    let server = Builder::new(Kind::Ferrokeeper).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(server.client_addr()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
    }
    client(&server).create("/first", b"", 0).unwrap().unwrap();
}
