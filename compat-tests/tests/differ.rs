//! The differ in a bounded form: fixed seeds, one more from `DIFFER_SEED`, and proof that it sees what it is for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use compat_tests::differ::compare::{self, EXTENDED, MODERN, PLAIN, Peer, REFUSED, Setup};
use compat_tests::differ::generate::Profile;
use compat_tests::java::target_dir;
use compat_tests::need_java;
use compat_tests::process::Kind;

const REQUESTS: usize = 3000;
const SESSIONS: usize = 6;

/// Panics with the report, and says how to get the shortest transcript that shows the difference.
fn no_difference(left: Kind, right: Kind, profile: Profile, seed: u64) {
    let setup = Setup::new(Peer::Start(left), Peer::Start(right), profile);
    let run = compare::run(&setup, seed, REQUESTS, SESSIONS).expect("both servers run");
    if let Some(found) = run.found {
        let file = target_dir().join(format!("differ-{}-{seed}.transcript", profile.name));
        let text: String = run.steps.iter().map(|s| format!("{s}\n")).collect();
        std::fs::write(&file, text).expect("the target folder can be written");
        let file = file.display();
        panic!(
            "seed {seed}:\n{}\nshorter: cargo run -p compat-tests --bin differ -- --profile {} --replay {file} --shrink 120",
            found.report, profile.name
        );
    }
    assert!(run.requests >= REQUESTS);
}

#[test]
fn two_java_servers_do_not_differ() {
    need_java!("3.5.7");
    no_difference(Kind::java("3.5.7"), Kind::java("3.5.7"), PLAIN, 1);
}

#[test]
fn ferrokeeper_answers_as_java_does() {
    need_java!("3.5.7");
    for seed in [1, 2] {
        no_difference(Kind::java("3.5.7"), Kind::Ferrokeeper, PLAIN, seed);
    }
}

#[test]
fn ferrokeeper_answers_as_java_does_with_ttl_nodes_and_a_super_user() {
    need_java!("3.5.7");
    no_difference(Kind::java("3.5.7"), Kind::Ferrokeeper, EXTENDED, 3);
}

#[test]
fn without_modern_ops_ferrokeeper_refuses_what_java_refuses() {
    need_java!("3.5.7");
    no_difference(Kind::java("3.5.7"), Kind::Ferrokeeper, REFUSED, 4);
}

#[test]
fn the_ops_of_later_releases_are_answered_as_3_9_does() {
    need_java!("3.9.3");
    no_difference(Kind::java("3.9.3"), Kind::Ferrokeeper, MODERN, 5);
}

#[test]
fn a_seed_from_outside() {
    let Ok(seed) = std::env::var("DIFFER_SEED") else { return };
    need_java!("3.5.7");
    let seed = seed.parse().expect("DIFFER_SEED is a number");
    no_difference(Kind::java("3.5.7"), Kind::Ferrokeeper, PLAIN, seed);
    no_difference(Kind::java("3.5.7"), Kind::Ferrokeeper, EXTENDED, seed);
}

/// What a server could get wrong now and then.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The low byte of what lies at this offset of a reply is one more.
    OffByOne(usize),
    EventLost,
    /// The last 8 bytes of a body are missing.
    Short,
}

/// Two Java servers, one behind a proxy that breaks a reply now and then: the differ must say so, whatever it is.
#[test]
fn one_wrong_byte_is_seen() {
    need_java!("3.5.7");
    let faults = [
        Fault::OffByOne(3),
        Fault::OffByOne(11),
        Fault::OffByOne(15),
        // ctime, cversion and pzxid of the Stat in a reply of 16 + 68 bytes.
        Fault::OffByOne(16 + 23),
        Fault::OffByOne(16 + 39),
        Fault::OffByOne(16 + 67),
        Fault::EventLost,
        Fault::Short,
    ];
    let setup = Setup::new(Peer::Start(Kind::java("3.5.7")), Peer::Start(Kind::java("3.5.7")), PLAIN);
    for fault in faults {
        let left = setup.builder(Kind::java("3.5.7"), false).spawn().unwrap();
        let right = setup.builder(Kind::java("3.5.7"), true).spawn().unwrap();
        for server in [&left, &right] {
            server.wait_serving(Duration::from_secs(60)).unwrap();
        }
        let behind = Peer::At(proxy(right.client_addr(), fault));
        // Without a server's own folder, words are left out: conf prints it.
        let profile = Profile { words: false, restarts: false, ..PLAIN };
        let setup = Setup::new(Peer::At(left.client_addr()), behind, profile);
        let run = compare::run(&setup, 7, 2000, SESSIONS).unwrap();
        assert!(run.found.is_some(), "{fault:?} was not seen in {} requests", run.requests);
    }
}

/// Passes everything on to `server`; of the replies, breaks every 20th that can be broken this way.
fn proxy(server: SocketAddr, fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(server) else { return };
            let (mut up_in, mut down_out) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut up_in, &mut down_out);
                let _ = down_out.shutdown(std::net::Shutdown::Both);
            });
            thread::spawn(move || pass_replies(upstream, client, fault));
        }
    });
    addr
}

fn pass_replies(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut breakable = 0;
    let mut length = [0; 4];
    while from.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        if from.read_exact(&mut frame).is_err() {
            break;
        }
        let event = frame.starts_with(&[0xff; 12]);
        let fits = match fault {
            Fault::OffByOne(at) if at < 16 => frame.len() >= 16 && !event,
            Fault::OffByOne(_) => frame.len() == 84,
            Fault::EventLost => event,
            Fault::Short => frame.len() > 40 && !event,
        };
        breakable += usize::from(fits);
        if fits && breakable % 20 == 0 {
            match fault {
                Fault::OffByOne(at) => frame[at] = frame[at].wrapping_add(1),
                Fault::EventLost => continue,
                Fault::Short => frame.truncate(frame.len() - 8),
            }
        }
        let length = (frame.len() as i32).to_be_bytes();
        if to.write_all(&length).and_then(|()| to.write_all(&frame)).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
