//! Clients that mean harm, or behave as if: their connection ends, memory stays bounded, everybody else is served.
//!
//! Every test starts a server of its own, does one bad thing, and then asks `Server` the same questions: is an ordinary
//! client served, does `Outstanding` return to 0, is the memory back within bounds. A panic ends the process (and so the
//! test), also in a debug build.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use compat_tests::java::JavaHome;
use compat_tests::need;
use compat_tests::process::{Builder, Kind, Server};
use compat_tests::test_name;
use compat_tests::wire::{
    Acl, Client, Conn, ConnectRequest, Dec, Enc, Incoming, Reply, frame, op, request, xid,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const MAX: usize = 0xf_ffff;
const PATIENCE: Duration = Duration::from_secs(30);

fn builder() -> Builder {
    Builder::new(Kind::Ferrokeeper).line("tickTime=500")
}

fn rss_mib(server: &Server) -> u64 {
    let pid = server.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The largest resident size while `during` runs on this thread.
fn peak_mib(server: &Server, during: impl FnOnce()) -> u64 {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || {
            let mut peak = 0;
            while is_done.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
                peak = peak.max(rss_mib(server));
            }
            peak
        });
        // Dropped by a panic as well, or the scope would wait for ever.
        let done = done;
        during();
        drop(done);
        watcher.join().unwrap()
    })
}

fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn srvr(server: &Server, key: &str) -> i64 {
    let text = server.four_letter("srvr").unwrap();
    let value = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("{text}"));
    value.parse().unwrap()
}

/// An ordinary client's life, start to end, quickly.
fn serves(server: &Server) {
    let before = Instant::now();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    client.patience = Duration::from_secs(10);
    let path = client.create("/ordinary", b"x", 1).unwrap().unwrap();
    assert_eq!(client.get_data(&path, false).unwrap().unwrap().0.unwrap(), b"x");
    client.set_data(&path, b"y", 0).unwrap().unwrap();
    client.delete(&path, 1).unwrap().unwrap();
    client.close().unwrap();
    let took = before.elapsed();
    assert!(took < Duration::from_secs(5), "an ordinary client took {took:?}");
}

/// The state every test must leave: served, nothing outstanding, nobody left behind.
fn recovers(server: &Server) {
    serves(server);
    eventually("Outstanding is 0", Duration::from_secs(15), || srvr(server, "Outstanding") == 0);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

fn ends(conn: &mut Conn, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match conn.read_frame(Duration::from_secs(10)).unwrap() {
            Incoming::Closed => return,
            Incoming::Frame(_) if Instant::now() < deadline => {}
            other => panic!("{what}: the connection lives: {other:?}"),
        }
    }
}

fn length(n: i32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

#[test]
fn frames_that_cannot_be_end_their_connection_before_a_session() {
    let server = builder().start().unwrap();
    let lying_password = Enc::new().int(0).long(0).int(10_000).long(0).int(i32::MAX).raw(&[0; 16]).bytes();
    let negative_password = Enc::new().int(0).long(0).int(10_000).long(0).int(-2).raw(&[0; 16]).bytes();
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("-1", length(-1)),
        ("the most negative", length(i32::MIN)),
        ("one too long", length(MAX as i32 + 1)),
        ("the longest", length(i32::MAX)),
        ("nothing", length(0)),
        ("a connect request without its end", frame(&ConnectRequest::new(10_000).encode()[..20])),
        ("a password of 2 GiB", frame(&lying_password)),
        ("a password of -2 bytes", frame(&negative_password)),
        ("a TLS ClientHello", [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 506]].concat()),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("a request before the session", frame(&request(1, op::GET_DATA, &[0, 0, 0, 1]))),
    ];
    for (what, bytes) in table {
        let mut conn = Conn::open(server.client_addr()).unwrap();
        conn.send_raw(&bytes).unwrap();
        assert_eq!(conn.read_frame(Duration::from_secs(10)).unwrap(), Incoming::Closed, "{what}");
    }
    recovers(&server);
}

#[test]
fn frames_that_cannot_be_end_their_connection_within_a_session() {
    let server = builder().start().unwrap();
    let mut table: Vec<(String, Vec<u8>)> = vec![
        ("-1".into(), length(-1)),
        ("the most negative".into(), length(i32::MIN)),
        ("one too long".into(), length(MAX as i32 + 1)),
        ("a four-letter word".into(), b"ruok".to_vec()),
        ("an unknown request".into(), frame(&request(1, 4711, b""))),
        ("a notification".into(), frame(&request(1, op::NOTIFICATION, b""))),
    ];
    table.extend((0..8).map(|n| (format!("a header of {n} bytes"), frame(&[0; 8][..n]))));
    for (what, bytes) in table {
        for written in [false, true] {
            let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
            if written {
                // The requests before the bad one have been handed to the core.
                let create = Enc::new().string("/w-").buffer(None).acls(&Acl::open()).int(3).bytes();
                client.conn.send_request(7, op::CREATE, &create).unwrap();
            }
            client.conn.send_raw(&bytes).unwrap();
            ends(&mut client.conn, &what);
        }
    }
    recovers(&server);
}

/// Cut at every byte, by an orderly close and by a reset.
#[test]
fn a_conversation_may_break_off_anywhere() {
    let server = builder().start().unwrap();
    let create = Enc::new().string("/cut").buffer(Some(b"data")).acls(&Acl::open()).int(1).bytes();
    let conversation =
        [frame(&ConnectRequest::new(10_000).encode()), frame(&request(1, op::CREATE, &create))].concat();
    for cut in 0..conversation.len() {
        let mut stream = TcpStream::connect(server.client_addr()).unwrap();
        stream.write_all(&conversation[..cut]).unwrap();
        if cut % 2 == 0 {
            rustix_linger_zero(&stream);
        }
    }
    eventually("all connections are gone", PATIENCE, || srvr(&server, "Connections") == 1);
    recovers(&server);
}

/// The close of such a socket is a reset.
fn rustix_linger_zero(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_slow_client_is_served_byte_by_byte() {
    let server = builder().start().unwrap();
    let create = Enc::new().string("/slow").buffer(Some(&[7; 300])).acls(&Acl::open()).int(0).bytes();
    let get = Enc::new().string("/slow").bool(false).bytes();
    let mut conn = Conn::open(server.client_addr()).unwrap();
    let frames = [
        frame(&ConnectRequest::new(10_000).encode()),
        frame(&request(1, op::CREATE, &create)),
        frame(&request(2, op::GET_DATA, &get)),
    ];
    for byte in frames.concat() {
        conn.send_raw(&[byte]).unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
    let mut replies = Vec::new();
    while replies.len() < 3 {
        let Incoming::Frame(reply) = conn.read_frame(PATIENCE).unwrap() else { panic!("{replies:?}") };
        replies.push(reply);
    }
    let got = Reply::decode(&replies[2]).unwrap();
    assert_eq!((got.xid, got.err), (2, 0));
    assert_eq!(Dec(&got.body).buffer().unwrap().unwrap(), &[7; 300]);
    recovers(&server);
}

/// B§1.6: what cannot be decoded is −5, and the connection goes on. Nothing is allocated for elements that are not there.
#[test]
fn records_that_lie_about_their_lengths_are_refused() {
    let server = builder().start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let huge = i32::MAX;
    let table: Vec<(&str, i32, Enc)> = vec![
        ("path", op::GET_DATA, Enc::new().int(huge).raw(b"/a\0")),
        ("path -2", op::GET_DATA, Enc::new().int(-2).raw(b"/a\0")),
        ("no payload", op::GET_DATA, Enc::new()),
        ("data", op::SET_DATA, Enc::new().string("/a").int(huge).raw(b"xyz")),
        ("acls", op::CREATE, Enc::new().string("/a").buffer(None).int(huge).raw(&[0; 12])),
        ("acl scheme", op::CREATE, Enc::new().string("/a").buffer(None).int(1).int(31).int(huge)),
        ("setACL", op::SET_ACL, Enc::new().string("/a").int(huge)),
        ("setWatches", op::SET_WATCHES, Enc::new().long(0).int(huge).raw(&[0; 8])),
        ("setWatches' last", op::SET_WATCHES, Enc::new().long(0).int(0).int(0).int(huge)),
        ("multi's path", op::MULTI, Enc::new().int(2).bool(false).int(-1).int(huge)),
        ("multi without end", op::MULTI, Enc::new().int(2).bool(false).int(-1).string("/a").int(0)),
        ("multi of nothing known", op::MULTI, Enc::new().int(77).bool(false).int(-1)),
    ];
    let before = rss_mib(&server);
    for round in 0..20 {
        for (what, kind, body) in &table {
            let reply = client.call(*kind, &body.0).unwrap();
            assert_eq!(reply.err, -5, "{what}, round {round}");
        }
    }
    let after = rss_mib(&server);
    assert!(after < before + 30, "{before} MiB before, {after} after");
    client.create("/a", b"", 0).unwrap().unwrap();
    client.close().unwrap();
    recovers(&server);
}

/// Identities are taken in the connection, in the middle of a batch of reads: nothing there may wait for a writer.
#[test]
fn auth_between_reads_holds_no_writer_up() {
    let server = builder().start().unwrap();
    let exists = Enc::new().string("/").bool(false).bytes();
    let auth = Enc::new().int(0).string("digest").buffer(Some(b"a:b")).bytes();
    let set = Enc::new().string("/a").buffer(Some(b"x")).int(-1).bytes();
    let rounds = |send: &(dyn Fn(i32) -> Vec<u8> + Sync), replies: usize| {
        let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
        let _ = client.create("/a", b"", 0).unwrap();
        for round in 0..300 {
            client.conn.send_raw(&send(round)).unwrap();
            for _ in 0..replies {
                let answer = client.conn.read_frame(PATIENCE).unwrap();
                assert!(matches!(answer, Incoming::Frame(_)), "no answer in round {round}");
            }
        }
        client.close().unwrap();
    };
    let reads = |_: i32| {
        let mut batch = Vec::new();
        for _ in 0..20 {
            batch.extend(frame(&request(1, op::EXISTS, &exists)));
            batch.extend(frame(&request(-4, op::AUTH, &auth)));
        }
        batch
    };
    let writes = |_: i32| (0..20).flat_map(|n| frame(&request(n, op::SET_DATA, &set))).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| rounds(&reads, 40));
            scope.spawn(|| rounds(&writes, 20));
        }
    });
    recovers(&server);
}

#[test]
fn random_bytes_do_no_harm() {
    let server = builder().start().unwrap();
    let mut random = fastrand::Rng::with_seed(20_200_210);
    let ops = [
        -11, -10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 100, 101,
        102, 105,
    ];
    for _ in 0..150 {
        let mut conn = Conn::open(server.client_addr()).unwrap();
        if random.bool() {
            let noise: Vec<u8> = (0..random.usize(1..200)).map(|_| random.u8(..)).collect();
            let _ = conn.send_raw(&noise);
            continue;
        }
        conn.handshake(&ConnectRequest::new(4000)).unwrap().unwrap();
        for xid in 1..40 {
            // Small numbers make lengths that fit, now and then.
            let body: Vec<u8> = (0..random.usize(0..60))
                .map(|_| if random.u8(..) < 160 { 0 } else { random.u8(0..48) })
                .collect();
            let kind = ops[random.usize(0..ops.len())];
            if conn.send_request(if random.u8(..) < 200 { xid } else { random.i32(..) }, kind, &body).is_err()
            {
                break;
            }
        }
        let _ = conn.read_frame(Duration::from_millis(5));
    }
    eventually("all connections are gone", PATIENCE, || srvr(&server, "Connections") == 1);
    recovers(&server);
    // What has been logged can be read back.
    let mut server = server;
    server.kill9().unwrap();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    recovers(&server);
}

/// The server starts with a soft limit of 512 files, as a shell may give it; a JVM lifts that by itself.
#[test]
fn ten_thousand_silent_connections_are_ended_and_others_are_served() {
    const SILENT: u64 = 10_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|max| max < SILENT + 500) {
        return need::skipped(test_name!(), "needs ulimit -Hn of 10500 or more");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..limit }).unwrap();
    let server = builder().line("nio.sessionlessCnxnTimeout=6000").start();
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let server = server.unwrap();
    let before = rss_mib(&server);
    let start = Instant::now();
    let mut silent: Vec<TcpStream> = Vec::new();
    for n in 0..SILENT {
        // A listen queue that overflows answers late; a second address keeps ports from running out.
        silent
            .push(TcpStream::connect(server.client_addr()).unwrap_or_else(|e| panic!("connection {n}: {e}")));
        if n % 2500 == 0 {
            serves(&server);
        }
    }
    serves(&server);
    let at_peak = rss_mib(&server);
    let took = start.elapsed();
    assert!(at_peak < before + 100, "{before} MiB before, {at_peak} with {SILENT} connections");
    eventually("all of them are ended", Duration::from_secs(20), || srvr(&server, "Connections") == 1);
    assert!(start.elapsed() >= Duration::from_secs(6), "ended before their time");
    println!("{SILENT} connections in {took:?}; {before} MiB before, {at_peak} with them");
    let mut byte = [0];
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(stream.read(&mut byte), Ok(0) | Err(_)));
    }
    recovers(&server);
}

/// A node of nearly a mebibyte at `/big`.
fn big_node(server: &Server) -> usize {
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let data = vec![b'x'; MAX - 100];
    client.create("/big", &data, 0).unwrap().unwrap();
    client.close().unwrap();
    data.len()
}

/// Sends what the socket takes within `patience`; the server stops reading at some point.
fn push(conn: &mut Conn, bytes: &[u8], patience: Duration) {
    conn.stream().set_write_timeout(Some(patience)).unwrap();
    let _ = conn.send_raw(bytes);
}

fn greedy(server: &Server, write_first: bool, timeout_ms: i32) -> Client {
    let mut client = Client::connect(server.client_addr(), timeout_ms).unwrap();
    let mut bytes = Vec::new();
    if write_first {
        let create = Enc::new().string("/front-").buffer(None).acls(&Acl::open()).int(3).bytes();
        bytes.extend(frame(&request(1, op::CREATE, &create)));
    }
    for xid in 2..2002 {
        bytes.extend(frame(&request(xid, op::GET_DATA, &Enc::new().string("/big").bool(false).bytes())));
    }
    push(&mut client.conn, &bytes, Duration::from_secs(2));
    client
}

#[test]
fn a_client_that_never_reads_its_replies_is_cut_off() {
    for write_first in [false, true] {
        let server = builder().start().unwrap();
        big_node(&server);
        let before = rss_mib(&server);
        let peak = peak_mib(&server, || {
            let client = greedy(&server, write_first, 4000);
            serves(&server);
            eventually("its connection is ended", Duration::from_secs(12), || {
                srvr(&server, "Connections") == 1
            });
            drop(client);
        });
        println!("write first {write_first}: {before} MiB before, {peak} at the peak");
        assert!(peak < 200, "write first {write_first}: {before} MiB before, {peak} at the peak");
        recovers(&server);
    }
}

#[test]
fn many_clients_that_never_read_are_bounded_together() {
    for write_first in [false, true] {
        let server = builder().start().unwrap();
        big_node(&server);
        let peak = peak_mib(&server, || {
            let clients: Vec<Client> = (0..24).map(|_| greedy(&server, write_first, 6000)).collect();
            serves(&server);
            eventually("all are ended", Duration::from_secs(20), || srvr(&server, "Connections") == 1);
            drop(clients);
        });
        println!("write first {write_first}: {peak} MiB at the peak");
        assert!(peak < 600, "write first {write_first}: {peak} MiB at the peak");
        recovers(&server);
    }
}

/// One reply of 10 MB, taken over many times the session's timeout: the server does not read the client's pings meanwhile, but
/// sees that it is there.
#[test]
fn a_client_that_reads_a_long_reply_slowly_keeps_its_session() {
    let server = builder().start().unwrap();
    children(&server, 20, 5000, &"n".repeat(90));
    let mut client = Client::connect(server.client_addr(), 2500).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(client.conn.stream(), 32 * 1024).unwrap();
    let list = frame(&request(1, op::GET_CHILDREN, &Enc::new().string("/wide").bool(false).bytes()));
    client.conn.send_raw(&list).unwrap();
    let mut stream = client.conn.stream().try_clone().unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    let mut left = u32::from_be_bytes(word) as usize;
    assert!(left > 10_000_000, "{left}");
    let mut chunk = vec![0; 64 * 1024];
    let (start, mut pings) = (Instant::now(), 0);
    while left > 0 {
        if start.elapsed() > Duration::from_millis(300) * pings {
            client.conn.send_request(xid::PING, op::PING, &[]).unwrap();
            pings += 1;
        }
        let most = left.min(chunk.len());
        let n = stream.read(&mut chunk[..most]).unwrap();
        assert!(n > 0, "cut off after {:?}, {left} bytes to go", start.elapsed());
        left -= n;
        std::thread::sleep(Duration::from_micros(n as u64));
    }
    assert!(start.elapsed() > Duration::from_secs(5));
    for _ in 0..pings {
        let Incoming::Frame(pong) = client.conn.read_frame(PATIENCE).unwrap() else {
            panic!("a ping's reply")
        };
        assert_eq!(Reply::decode(&pong).unwrap().xid, xid::PING);
    }
    client.close().unwrap();
    recovers(&server);
}

/// `/wide` with `batches` times `each` children: a number of six digits and `suffix`.
fn children(server: &Server, batches: usize, each: usize, suffix: &str) {
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    client.create("/wide", b"", 0).unwrap().unwrap();
    for batch in 0..batches {
        let mut ops = Enc::new();
        for n in 0..each {
            let path = format!("/wide/{:06}{suffix}", batch * each + n);
            ops =
                ops.int(op::CREATE).bool(false).int(-1).string(&path).buffer(None).acls(&Acl::open()).int(0);
        }
        assert_eq!(client.call(op::MULTI, &ops.int(-1).bool(true).int(-1).bytes()).unwrap().err, 0);
    }
    client.close().unwrap();
}

/// A thousand writes of a mebibyte are under way before globalOutstandingLimit says anything.
#[test]
fn a_flood_of_large_writes_is_taken_piece_by_piece() {
    let server = builder().start().unwrap();
    big_node(&server);
    let set = frame(&request(
        1,
        op::SET_DATA,
        &Enc::new().string("/big").buffer(Some(&[1; MAX - 100])).int(-1).bytes(),
    ));
    let peak = peak_mib(&server, || {
        let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
        let mut replies = client.conn.stream().try_clone().unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut replies, &mut std::io::sink()));
        for _ in 0..200 {
            client.conn.send_raw(&set).unwrap();
        }
        serves(&server);
        eventually("the writes are done", PATIENCE, || srvr(&server, "Outstanding") == 0);
        client.conn.stream().shutdown(Shutdown::Both).unwrap();
        let _ = reader.join();
    });
    println!("{peak} MiB at the peak");
    assert!(peak < 150, "{peak} MiB at the peak");
    recovers(&server);
}

#[test]
fn a_client_that_never_reads_its_events_is_cut_off() {
    const WATCHES: usize = 1500;
    let server = builder().line("maxSessionTimeout=120000").start().unwrap();
    let name = "n".repeat(60_000);
    let path = |n: usize| format!("/{n}-{name}");
    let mut writer = Client::connect(server.client_addr(), 120_000).unwrap();
    let mut watcher = Client::connect(server.client_addr(), 120_000).unwrap();
    for n in 0..WATCHES {
        assert_eq!(watcher.exists(&path(n), true).unwrap().unwrap_err(), -101);
    }
    let before = rss_mib(&server);
    let peak = peak_mib(&server, || {
        for n in 0..WATCHES {
            writer.create(&path(n), b"", 1).unwrap().unwrap();
        }
        eventually("the watcher is cut off", Duration::from_secs(15), || srvr(&server, "Connections") == 2);
    });
    println!("{before} MiB before, {peak} at the peak");
    // Nodes and their paths are 90 MB, the unread events 64 MiB.
    assert!(peak < before + 350, "{before} MiB before, {peak} at the peak");
    assert!(server.log().contains("does not read"), "{}", server.log());
    writer.close().unwrap();
    recovers(&server);
}

/// What a client that shuts down its sending side still gets: as much, or as little, as from Java.
#[test]
fn after_a_half_close_replies_come_as_from_java() {
    let ours = after_half_close(&builder().start().unwrap());
    // A four-letter word is answered (B§9.2); a session's end of input ends the connection, ZooKeeper has no half-closed
    // sessions. The requests before it count.
    assert_eq!(ours, (String::from("imok"), true));
    match JavaHome::find("3.5.7") {
        Ok(_) => {
            let java = Builder::new(Kind::java("3.5.7")).line("tickTime=500").start().unwrap();
            assert_eq!(ours, after_half_close(&java));
        }
        Err(why) => need::skipped(test_name!(), &why),
    }
}

/// The answer to `ruok`, and whether the node of a create before the half-close is there in the end.
fn after_half_close(server: &Server) -> (String, bool) {
    let mut stream = TcpStream::connect(server.client_addr()).unwrap();
    stream.write_all(b"ruok").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let create = Enc::new().string("/half").buffer(None).acls(&Acl::open()).int(0).bytes();
    client.conn.send_request(1, op::CREATE, &create).unwrap();
    client.conn.stream().shutdown(Shutdown::Write).unwrap();
    ends(&mut client.conn, "half-closed");
    let mut other = Client::connect(server.client_addr(), 10_000).unwrap();
    let mut created = false;
    for _ in 0..50 {
        created = other.exists("/half", false).unwrap().is_ok();
        if created {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    (answer, created)
}

#[test]
fn connections_beyond_the_limit_are_reset_and_logged() {
    let server = builder().line("maxClientCnxns=10").start().unwrap();
    // The limit is per address: what asks how the server is comes from another one.
    let to = server.client_addr();
    let from = |host: u8| connect_from(Ipv4Addr::new(127, 9, 9, host), to);
    let first: Vec<TcpStream> = (0..10).map(|_| from(1).unwrap()).collect();
    let mut resets = 0;
    for _ in 0..300 {
        let Ok(mut stream) = from(1) else {
            resets += 1;
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let refused = stream.read(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
        resets += 1;
    }
    assert_eq!(resets, 300);
    assert!(server.log().contains("Too many connections from /127.9.9.1 - max is 10"), "{}", server.log());
    drop(from(2).unwrap());
    drop(first);
    eventually("there is room again", PATIENCE, || {
        let Ok(mut stream) = from(1) else { return false };
        let mut answer = String::new();
        stream.write_all(b"ruok").is_ok() && stream.read_to_string(&mut answer).is_ok() && answer == "imok"
    });
    recovers(&server);
}

fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

#[test]
fn sessions_expire_while_the_server_is_busy() {
    let server = builder().start().unwrap();
    let mut writer = Client::connect(server.client_addr(), 10_000).unwrap();
    writer.create("/live", b"", 0).unwrap().unwrap();
    let dying: Vec<Client> = (0..200)
        .map(|n| {
            let mut client = Client::connect(server.client_addr(), 1000).unwrap();
            client.create(&format!("/live/{n}"), b"", 1).unwrap().unwrap();
            client
        })
        .collect();
    let start = Instant::now();
    let mut writes = 0;
    // Half of them hold their connection and say nothing, half are gone.
    let dying: Vec<Client> = dying.into_iter().step_by(2).collect();
    while !writer.get_children("/live", false).unwrap().unwrap().is_empty() {
        writer.set_data("/live", b"busy", -1).unwrap().unwrap();
        writes += 1;
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "sessions of 1 s live on after {:?}",
            start.elapsed()
        );
    }
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert!(writes > 10, "{writes} writes beside the expiry");
    for mut client in dying {
        ends(&mut client.conn, "expired");
    }
    writer.close().unwrap();
    recovers(&server);
}

#[test]
fn clients_that_vanish_in_the_middle_of_their_writes_leave_nothing_behind() {
    let server = builder().start().unwrap();
    let addr = server.client_addr();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..40 {
                    let mut client = Client::connect(addr, 2000).unwrap();
                    let mut burst = Vec::new();
                    for xid in 0..50 {
                        let path = format!("/v-{thread}-{round}-{xid}");
                        let body = Enc::new().string(&path).buffer(Some(&[1; 500])).acls(&Acl::open()).int(1);
                        burst.extend(frame(&request(xid + 1, op::CREATE, &body.bytes())));
                    }
                    client.conn.send_raw(&burst[..burst.len() - round]).unwrap();
                    if round % 2 == 0 {
                        rustix_linger_zero(client.conn.stream());
                    }
                }
            });
        }
    });
    eventually("all connections are gone", PATIENCE, || srvr(&server, "Connections") == 1);
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    eventually("their ephemerals are gone", PATIENCE, || {
        client.get_children("/", false).unwrap().unwrap() == ["zookeeper"]
    });
    client.close().unwrap();
    recovers(&server);
}

/// A path of ten thousand components (20 KB), and half a million bytes in one name.
#[test]
fn deep_paths_and_long_names_survive_a_restart() {
    let mut server = builder().start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let mut path = String::new();
    let mut ops = Enc::new();
    for depth in 1..=10_000 {
        path += "/a";
        ops = ops.int(op::CREATE).bool(false).int(-1).string(&path).buffer(None).acls(&Acl::open()).int(0);
        if ops.0.len() > MAX - 25_000 || depth == 10_000 {
            let reply = client.call(op::MULTI, &ops.int(-1).bool(true).int(-1).bytes()).unwrap();
            assert_eq!(reply.err, 0, "at depth {depth}");
            ops = Enc::new();
        }
    }
    let long = format!("/{}", "x".repeat(MAX - 200));
    client.create(&long, b"", 0).unwrap().unwrap();
    assert_eq!(client.get_children("/", false).unwrap().unwrap().len(), 3);
    recovers(&server);
    server.kill9().unwrap();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    assert!(client.exists(&path, false).unwrap().is_ok());
    assert!(client.exists(&long, false).unwrap().is_ok());
    client.delete(&path, -1).unwrap().unwrap();
    assert_eq!(client.delete("/a", -1).unwrap().unwrap_err(), -111);
    client.close().unwrap();
    recovers(&server);
}

#[test]
fn a_hundred_thousand_children_are_listed_whole() {
    const CHILDREN: usize = 100_000;
    let server = builder().start().unwrap();
    children(&server, 10, CHILDREN / 10, "");
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let names = client.get_children("/wide", false).unwrap().unwrap();
    assert_eq!(
        (names.len(), names[0].as_str(), names[CHILDREN - 1].as_str()),
        (CHILDREN, "000000", "099999")
    );
    client.close().unwrap();
    recovers(&server);
}

/// As large as a frame may be: whole or not at all, and nobody waits for it long.
#[test]
fn huge_multis_hold_nobody_up() {
    let server = builder().start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    for fails in [true, false] {
        let mut ops = Enc::new();
        let mut count = 0;
        while ops.0.len() < MAX - 200 {
            let path = format!("/m{count:05}");
            ops =
                ops.int(op::CREATE).bool(false).int(-1).string(&path).buffer(None).acls(&Acl::open()).int(0);
            count += 1;
        }
        if fails {
            ops = ops.int(op::DELETE).bool(false).int(-1).string("/nowhere").int(-1);
        }
        let start = Instant::now();
        client.conn.send_request(9, op::MULTI, &ops.int(-1).bool(true).int(-1).bytes()).unwrap();
        serves(&server);
        println!("{count} creates, failing {fails}: others waited {:?}", start.elapsed());
        let Incoming::Frame(reply) = client.conn.read_frame(PATIENCE).unwrap() else { panic!("no reply") };
        let reply = Reply::decode(&reply).unwrap();
        assert_eq!((reply.xid, reply.err), (9, 0));
        let children = client.get_children("/", false).unwrap().unwrap().len();
        assert_eq!(children, if fails { 1 } else { count + 1 });
    }
    client.close().unwrap();
    recovers(&server);
}

/// `auth` in an ACL stands for every identity of the client: a small request, a txn that no server could read back.
#[test]
fn a_txn_too_large_to_be_read_back_is_not_logged() {
    let mut server = builder().start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    for n in 0..300 {
        client.auth("digest", format!("user{n}:{}", "p".repeat(40)).as_bytes()).unwrap().unwrap();
    }
    let auth = |count: i32| -> Vec<Acl> {
        let acl = |perms| Acl { perms, scheme: "auth".into(), id: String::new() };
        (0..count).map(acl).collect()
    };
    assert!(client.create_acl("/some", b"", &auth(20), 0).unwrap().is_ok());
    assert_eq!(client.create_acl("/lots", b"", &auth(1000), 0).unwrap().unwrap_err(), -5);
    assert_eq!(client.set_acl("/some", &auth(1000), -1).unwrap().unwrap_err(), -5);
    let one =
        Enc::new().int(op::CREATE).bool(false).int(-1).string("/lots").buffer(None).acls(&auth(1000)).int(0);
    assert_eq!(client.call(op::MULTI, &one.int(-1).bool(true).int(-1).bytes()).unwrap().err, -5);
    assert_eq!(client.exists("/lots", false).unwrap().unwrap_err(), -101);
    client.create("/lots", b"", 0).unwrap().unwrap();
    server.kill9().unwrap();
    server.restart().unwrap();
    server.wait_serving(PATIENCE).unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    assert!(client.exists("/some", false).unwrap().is_ok());
    assert!(client.exists("/lots", false).unwrap().is_ok());
    recovers(&server);
}

/// Java compares each entry of an ACL with each other one, while everybody waits.
#[test]
fn a_long_acl_and_many_identities_hold_nobody_up() {
    let server = builder().start().unwrap();
    let mut client = Client::connect(server.client_addr(), 10_000).unwrap();
    let entries = 80_000;
    let mut acl = Enc::new().string("/acl").buffer(None).int(entries);
    for _ in 0..entries {
        acl = acl.int(31).buffer(Some(b"")).buffer(Some(b""));
    }
    // Every entry differs from the others in its permissions, or they would be dropped at once.
    let mut different = Enc::new().string("/acl").buffer(None).int(entries);
    for n in 0..entries {
        different = different.int(n).buffer(Some(b"")).buffer(Some(b""));
    }
    for body in [acl.int(0).bytes(), different.int(0).bytes()] {
        let start = Instant::now();
        client.conn.send_request(5, op::CREATE, &body).unwrap();
        serves(&server);
        println!("beside an ACL of {entries}: {:?}", start.elapsed());
        let Incoming::Frame(reply) = client.conn.read_frame(PATIENCE).unwrap() else { panic!("no reply") };
        assert_eq!(Reply::decode(&reply).unwrap().err, -114);
    }
    // Whoever collects identities without end loses the connection.
    let mut bytes = Vec::new();
    for n in 0..20_000 {
        let body = Enc::new().int(0).string("digest").buffer(Some(format!("u{n}:p").as_bytes())).bytes();
        bytes.extend(frame(&request(xid::AUTH, op::AUTH, &body)));
    }
    let start = Instant::now();
    push(&mut client.conn, &bytes, Duration::from_secs(10));
    serves(&server);
    println!("beside {} auth packets: {:?}", 20_000, start.elapsed());
    ends(&mut client.conn, "20,000 identities");
    recovers(&server);
}
