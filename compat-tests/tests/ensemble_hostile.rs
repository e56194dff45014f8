//! What should not come to the ports 2888 and 3888 of an ensemble that works: the link ends with a line in the log that names
//! the peer, and nothing else changes. No leader falls, no client notices, no vote or ack of a stranger counts.

#[path = "ensembles/support.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use compat_tests::ensemble::{Ensemble, Plan, eventually};
use compat_tests::load::Load;
use compat_tests::need_mixes;
use compat_tests::net::{ELECTION_PORT, QUORUM_PORT};
use compat_tests::process::{Builder, Kind};
use compat_tests::wire::{Enc, request};
use support::{PATIENCE, load, verify};

const FOLLOWERINFO: i32 = 11;
const OBSERVERINFO: i32 = 16;
const ACKEPOCH: i32 = 18;
const ACK: i32 = 3;
const PROTOCOL: i32 = 0x10000;
/// In no configuration.
const STRANGER: i64 = 9;

/// What is sent, and whether the server must close the connection then.
struct Harm {
    name: &'static str,
    bytes: Vec<Vec<u8>>,
    closes: bool,
}

fn harm(name: &'static str, bytes: Vec<u8>) -> Harm {
    Harm { name, bytes: vec![bytes], closes: true }
}

/// May be taken for a peer as long as it does no harm.
fn tolerated(name: &'static str, bytes: &[Vec<u8>]) -> Harm {
    Harm { name, bytes: bytes.to_vec(), closes: false }
}

/// The head of an election connection (B§4.1).
fn greeting(sid: i64, address: &str) -> Vec<u8> {
    Enc::new().long(-65536).long(sid).string(address).bytes()
}

fn notification(leader: i64, zxid: i64, round: i64, epoch: i64) -> Vec<u8> {
    let vote = Enc::new().int(0).long(leader).long(zxid).long(round).long(epoch).int(1).bytes();
    Enc::new().buffer(Some(&vote)).bytes()
}

fn packet(kind: i32, zxid: i64, data: Option<&[u8]>) -> Vec<u8> {
    Enc::new().int(kind).long(zxid).buffer(data).int(-1).bytes()
}

fn info(kind: i32, sid: i64, accepted_epoch: i64, config_version: i64) -> Vec<u8> {
    let data = Enc::new().long(sid).int(PROTOCOL).long(config_version).bytes();
    packet(kind, accepted_epoch << 32, Some(&data))
}

fn on_the_election_port(own: i64) -> Vec<Harm> {
    let hello = greeting(STRANGER, "127.0.0.1:3888");
    // Each in a name of its own: all come at once, and of two in one name the older is replaced before it is heard.
    let names = std::cell::Cell::new(STRANGER);
    let after = |bytes: &[u8]| {
        names.set(names.get() + 1);
        [&greeting(names.get(), "127.0.0.1:3888"), bytes].concat()
    };
    let random: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(151) ^ 0xa5).collect();
    vec![
        harm("random bytes", random),
        harm("a magic that is none", Enc::new().long(-7).long(STRANGER).string("127.0.0.1:3888").bytes()),
        harm("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        harm("an address of no bytes", greeting(STRANGER, "")),
        harm("an address of -1 bytes", Enc::new().long(-65536).long(STRANGER).int(-1).bytes()),
        harm("an address of 2 GiB", Enc::new().long(-65536).long(STRANGER).int(i32::MAX).bytes()),
        harm("an address that is none", greeting(STRANGER, "nowhere")),
        harm("an address with a port that is none", greeting(STRANGER, "127.0.0.1:port")),
        harm("half a greeting", hello[..12].to_vec()),
        harm("nothing", Vec::new()),
        harm("the server's own sid", greeting(own, "127.0.0.1:3888")),
        harm("a message of 0 bytes", after(&0i32.to_be_bytes())),
        harm("a message of -1 bytes", after(&(-1i32).to_be_bytes())),
        harm("a message of 2 GiB", after(&i32::MAX.to_be_bytes())),
        harm("a message one byte too long", after(&524_289i32.to_be_bytes())),
        tolerated("a message too short for a vote", &[after(&[0, 0, 0, 3, 1, 2, 3])]),
        tolerated("a vote of a stranger", &[hello.clone(), notification(STRANGER, i64::MAX, 99, 99)]),
        tolerated(
            "a vote for a stranger in a server's name",
            &[greeting(3, "127.0.0.1:3888"), notification(STRANGER, i64::MAX, 99, 99)],
        ),
        tolerated(
            "a vote with a state that is none",
            &[hello.clone(), Enc::new().int(28).int(77).long(1).long(1).long(1).bytes()],
        ),
    ]
}

fn on_the_quorum_port() -> Vec<Harm> {
    let stranger = info(FOLLOWERINFO, STRANGER, 0, 0);
    let epoch = Enc::new().int(-1).bytes();
    let ack_epoch = packet(ACKEPOCH, 0, Some(&epoch));
    let ahead = packet(ACKEPOCH, 99 << 32, Some(&Enc::new().int(99).bytes()));
    let lying = |length: i32| Enc::new().int(FOLLOWERINFO).long(0).int(length).raw(&[7; 40]).bytes();
    let synced = |bytes: Vec<u8>| vec![stranger.clone(), ack_epoch.clone(), bytes];
    vec![
        harm("random bytes", (0..200u8).map(|n| n.wrapping_mul(151) ^ 0xa5).collect()),
        harm("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        harm("a first packet that is none", packet(77, 0, None)),
        harm("an ACK first", packet(ACK, 1, None)),
        harm("data of -2 bytes", lying(-2)),
        harm("data of 2 GiB", lying(i32::MAX)),
        harm("a LearnerInfo of 3 bytes", packet(FOLLOWERINFO, 0, Some(&[1, 2, 3]))),
        harm("half a FOLLOWERINFO", stranger[..10].to_vec()),
        harm("nothing", Vec::new()),
        harm("a learner of a later configuration", info(FOLLOWERINFO, STRANGER, 0, 5)),
        Harm {
            name: "no ACKEPOCH after LEADERINFO",
            bytes: vec![stranger.clone(), packet(ACK, 1, None)],
            closes: true,
        },
        tolerated("a stranger that is ahead of the leader", &[stranger.clone(), ahead.clone()]),
        tolerated("a follower twice, and ahead of the leader", &[info(FOLLOWERINFO, 1, 0, 0), ahead]),
        tolerated("a follower twice, from a later epoch", &[info(FOLLOWERINFO, 1, 0x7fff, 0)]),
        tolerated("an observer from a later epoch", &[info(OBSERVERINFO, STRANGER, 0x7fff, 0)]),
        tolerated("acks of what nobody proposed", &synced(packet(ACK, i64::MAX, None))),
        tolerated("a REQUEST of 3 bytes", &synced(packet(1, -1, Some(&[1, 2, 3])))),
        tolerated("a REQUEST of an op that is none", &synced(packet(1, -1, Some(&request(0, 0, &[9; 30]))))),
        tolerated("a REVALIDATE of 3 bytes", &synced(packet(6, -1, Some(&[1, 2, 3])))),
        tolerated("a PING of 5 bytes", &synced(packet(5, 0, Some(&[1, 2, 3, 4, 5])))),
        tolerated("a PROPOSAL to the leader", &synced(packet(2, 1 << 33, Some(&[0; 60])))),
    ]
}

/// Does it, and waits for the end of the connection where there must be one. The local address, by which the server knows us.
fn inflict(addr: SocketAddr, harm: &Harm) -> Result<SocketAddr, String> {
    let mut stream = TcpStream::connect(addr).map_err(|e| e.to_string())?;
    let from = stream.local_addr().map_err(|e| e.to_string())?;
    for bytes in &harm.bytes {
        if stream.write_all(bytes).is_err() {
            return Ok(from);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let patience = if harm.closes { Duration::from_secs(8) } else { Duration::from_millis(150) };
    let deadline = Instant::now() + patience;
    let mut chunk = [0; 4096];
    while Instant::now() < deadline {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(from),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Ok(from),
        }
    }
    if harm.closes { Err("the connection lives".to_string()) } else { Ok(from) }
}

/// All at once, for half of them wait for a timeout. What a Ferrokeeper did not do as it should; Java keeps some of these
/// connections, and only has to go on.
fn inflict_all(ensemble: &Ensemble, id: u64, port: u16, harms: &[Harm]) -> Vec<String> {
    let addr = SocketAddr::from((ensemble[id].address(), port));
    std::thread::scope(|scope| {
        let running: Vec<_> =
            harms.iter().map(|harm| (harm, scope.spawn(move || inflict(addr, harm)))).collect();
        let ended: Vec<_> =
            running.into_iter().map(|(harm, thread)| (harm, thread.join().unwrap())).collect();
        if *ensemble[id].kind() != Kind::Ferrokeeper {
            return Vec::new();
        }
        let verdict = |(harm, ended): (&Harm, Result<SocketAddr, String>)| {
            let from = match ended {
                Ok(from) if harm.closes => from,
                Ok(_) => return None,
                Err(e) => return Some(format!("{} to {id}:{port}: {e}", harm.name)),
            };
            one_line(ensemble, id, from).err().map(|e| format!("{} to {id}:{port}: {e}", harm.name))
        };
        ended.into_iter().filter_map(verdict).collect()
    })
}

/// The log says once why it closed the connection of `from`.
fn one_line(ensemble: &Ensemble, id: u64, from: SocketAddr) -> Result<(), String> {
    let lines = || -> Vec<String> {
        let log = ensemble[id].log();
        let of_peer = log.lines().filter(|l| l.contains(&from.to_string()));
        of_peer.filter(|l| l.contains("- WARN ") || l.contains("- ERROR ")).map(str::to_string).collect()
    };
    let _ = eventually("a line in the log", Duration::from_secs(3), || !lines().is_empty());
    match lines().len() {
        1 => Ok(()),
        0 => Err(format!("no line in the log names {from}")),
        _ => Err(format!("more than one line:\n{}", lines().join("\n"))),
    }
}

/// As before: the same leader in the same epoch, and writes go on.
fn unmoved(ensemble: &Ensemble, load: &Load, before: (u64, i64), what: &str) {
    load.progress(30, PATIENCE).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let leader = ensemble.settled().unwrap();
    let now = (leader, ensemble.zxid(leader).unwrap() >> 32);
    assert_eq!(now, before, "{what}: leader and epoch\n{}", ensemble.logs(40));
}

#[test]
fn what_should_not_come_to_the_ports_changes_nothing() {
    for mix in need_mixes!(["FFF", "JFF"], ["JJJ", "FJF"]) {
        let plan = Plan::new(&mix).line("syncLimit=4").line("initLimit=8");
        let ensemble = plan.start_led_by(3).unwrap();
        let load = load(&ensemble);
        load.progress(30, PATIENCE).unwrap();
        let before = (3, ensemble.zxid(3).unwrap() >> 32);
        let mut wrong = Vec::new();
        for id in ensemble.ids() {
            let what = format!("{mix}, election port of {id}");
            wrong.extend(inflict_all(&ensemble, id, ELECTION_PORT, &on_the_election_port(id as i64)));
            unmoved(&ensemble, &load, before, &what);
        }
        let (closed, tolerated): (Vec<Harm>, Vec<Harm>) =
            on_the_quorum_port().into_iter().partition(|harm| harm.closes);
        wrong.extend(inflict_all(&ensemble, 3, QUORUM_PORT, &closed));
        unmoved(&ensemble, &load, before, &format!("{mix}, quorum port of the leader"));
        for harm in tolerated {
            let what = format!("{mix}, quorum port of the leader, {}", harm.name);
            wrong.extend(inflict_all(&ensemble, 3, QUORUM_PORT, std::slice::from_ref(&harm)));
            unmoved(&ensemble, &load, before, &what);
        }
        let (history, ..) = verify(&ensemble, load, &mix);
        assert_eq!((history.lost_answers(), history.expired.len()), (0, 0), "{mix}: no client notices");
        assert!(wrong.is_empty(), "{mix}:\n{}", wrong.join("\n"));
    }
}

/// A server of another configuration, which names ours: it may follow as a stranger, and its word counts for nothing.
#[test]
fn a_server_of_another_ensemble_is_no_vote() {
    for mix in need_mixes!(["FFFJ", "FFFF"], ["JJJJ", "JJJF"]) {
        let mut plan = Plan::new(&mix[..3]).line("syncLimit=4");
        plan = plan.line("initLimit=8");
        let mut ensemble = plan.start_led_by(3).unwrap();
        let kind = compat_tests::ensemble::kinds(&mix[3..]).unwrap().remove(0);
        let mut builder =
            Builder::new(kind).myid(9).line("tickTime=500").line("initLimit=8").line("syncLimit=4");
        for id in ensemble.ids() {
            builder = builder.line(format!("server.{id}={}:2888:3888", ensemble[id].address()));
        }
        let own = builder.address();
        let stranger = builder.line(format!("server.9={own}:2888:3888")).spawn().unwrap();
        let load = load(&ensemble);
        load.progress(30, PATIENCE).unwrap();
        let before = (3, ensemble.zxid(3).unwrap() >> 32);
        std::thread::sleep(Duration::from_secs(3));
        unmoved(&ensemble, &load, before, &format!("{mix}: beside a stranger"));
        ensemble.kill9(&[1]).unwrap();
        load.progress(30, PATIENCE).unwrap();

        // One of three is no majority, whoever else is connected to it.
        ensemble.kill9(&[2]).unwrap();
        let alone = || ensemble[3].mode().is_none();
        eventually("the leader gives up", Duration::from_secs(10), alone)
            .unwrap_or_else(|e| panic!("{mix}: {e:#}\n{}", ensemble.logs(30)));
        drop(stranger);
        ensemble.launch(&[1, 2]).unwrap();
        verify(&ensemble, load, &mix);
    }
}
