//! The harness against a real Java server: what the other tests rest on.

use std::time::Duration;

use compat_tests::need_java;
use compat_tests::process::{Builder, Kind};
use compat_tests::wire::{Client, Conn, ConnectRequest, Incoming, frame};

#[test]
fn a_java_server_keeps_its_data_over_kill_and_restart() {
    need_java!("3.5.7");
    let mut server = Builder::new(Kind::java("3.5.7")).line("minSessionTimeout=4000").start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    assert_eq!(client.create("/a", b"one", 0).unwrap().unwrap(), "/a");
    assert_eq!(client.create("/a", b"two", 0).unwrap().unwrap_err(), -110);
    assert!(client.exists("/a", true).unwrap().is_ok());
    assert_eq!(client.set_data("/a", b"three", -1).unwrap().unwrap().version, 1);
    assert_eq!(client.events.len(), 1);
    assert_eq!((client.events[0].kind, client.events[0].path.as_str()), (3, "/a"));
    let (session, password) = (client.connect.session, client.connect.password.clone());

    server.kill9().unwrap();
    assert!(!server.is_running());
    server.restart().unwrap();
    server.wait_serving(Duration::from_secs(30)).unwrap();
    let again = ConnectRequest::reattach(10_000, session, &password);
    let mut client = Client::connect_with(server.client_addr(), &again).unwrap();
    assert_eq!(client.connect.session, session);
    assert_eq!(client.get_data("/a", false).unwrap().unwrap().0.unwrap(), b"three");
    client.close().unwrap();
    assert!(server.four_letter("ruok").unwrap() == "imok");
    assert!(server.log().contains("binding to port"));
}

#[test]
fn the_wire_client_sees_a_close_without_reply() {
    need_java!("3.5.7");
    let server = Builder::new(Kind::java("3.5.7")).start().unwrap();
    let mut conn = Conn::open(server.client_addr()).unwrap();
    let ahead = ConnectRequest { last_zxid: 1 << 40, ..ConnectRequest::new(10_000) };
    assert_eq!(conn.handshake(&ahead).unwrap(), None);
    let mut conn = Conn::open(server.client_addr()).unwrap();
    conn.send_raw(&frame(&ConnectRequest::new(1).encode())).unwrap();
    let Incoming::Frame(reply) = conn.read_frame(Duration::from_secs(10)).unwrap() else {
        panic!("no session")
    };
    // Timeout 1 is clamped to two ticks; the 37 bytes end with the readOnly flag (B§1.3).
    assert_eq!((reply.len(), &reply[4..8]), (37, &4000i32.to_be_bytes()[..]));
    assert_eq!(conn.read_frame(Duration::from_millis(200)).unwrap(), Incoming::TimedOut);
    conn.send_raw(&1_048_576i32.to_be_bytes()).unwrap();
    assert_eq!(conn.read_frame(Duration::from_secs(10)).unwrap(), Incoming::Closed);
}
